"""One misfortune of the registry, and what it cost those who are alive."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.torture.fleet import Fleet
from tests.torture.load import Load, between, examples
from tests.torture.place import Place, hosts
from tests.torture.run import Run
from tests.torture.table import Line

STEADY = 1.2
"""Times the TTL: a lease that nobody refreshes any more is seen to be dead by then."""


@dataclass(slots=True)
class Scene:
    """Who is alive while the registry suffers.

    Attributes:
        living: Branches whose registrars are alive and that have to be served all the time.
        addresses: Where they are registered.
        asked: What the clients ask, and who may answer.
        beside: A branch that nobody has used yet.
        by_hand: Branches that were written without a lease meanwhile.
    """

    run: Run
    at: Place
    fleet: Fleet
    load: Load
    living: Sequence[int]
    addresses: set[str] = field(init=False)
    asked: dict[str, str] = field(init=False)
    beside: int = field(init=False)
    by_hand: Sequence[int] = ()

    def __post_init__(self) -> None:
        self.addresses = set(map(self.at.address, self.living))
        self.asked = hosts(self.living)
        self.beside = max(self.living) + 1


Fate = Callable[[Scene], str]
"""Hurts the registry and puts it right again; gives what else is worth saying, or nothing."""


def suffer(scene: Scene, name: str, fate: Fate) -> Line:
    """Let it happen, wait until all is as it was and stays so, and ask every host."""
    run, at, count = scene.run, scene.at, len(scene.living)
    run.say(f"registry: {name}")
    created = {one: entry.create_revision for one, entry in at.leased().items()}
    before, began_at = scene.load.tally(), time.monotonic()
    said = fate(scene)
    calm_s = at.wait_calm(scene.addresses)
    time.sleep(STEADY * run.counts.ttl_s)
    at.wait_calm(scene.addresses)
    leased = at.leased()
    own = {one: leased[one] for one in scene.addresses}
    dead = sum(not at.lease_lives(entry) for entry in own.values())
    anew = sum(created.get(one) != entry.create_revision for one, entry in own.items())
    missing = at.not_served(scene.living)
    took_s = time.monotonic() - began_at
    found = between(before, scene.load.tally())
    lost, first = found.failed + found.cut, "".join(f" ({one})" for one in missing[:1])
    return Line(
        f"{count} registrars: {name}",
        "0 lost",
        f"{lost} of {found.asked:,} requests failed ({found.asked / took_s:.0f}/s)"
        f"{examples(found.failures)}; at the end {len(missing)} of {count} routes missing{first},"
        f" {dead} leases dead; {anew} registered anew, {calm_s:.1f} s until all was as"
        f" before{said}",
        lost == 0 and not missing and not dead,
        found.wrong,
        found.asked,
    )
