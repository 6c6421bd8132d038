"""The registry fails in every way that it can; the routes of living services may not."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from registry.etcd import Etcd, EtcdSettings
from tests.etcd_server import EtcdServer, cluster
from tests.torture import fates
from tests.torture.fleet import Fleet
from tests.torture.load import Load
from tests.torture.misfortune import Scene, suffer
from tests.torture.place import Place, hosts, place, until
from tests.torture.run import Run
from tests.torture.table import Line

BY_HAND = 10_000
"""Numbers of branches that a hand writes, up to as many routes as there shall be, from here on."""

CURRENT_GOAL_S = 2.0


def measure(run: Run) -> Iterator[Line]:
    """One etcd: start the registrars, and then let one misfortune follow the other."""
    ttl_s = run.counts.ttl_s
    with ExitStack() as running:
        at = running.enter_context(place(run.new_folder("registry")))
        scene = _set(run, at, running)
        yield suffer(scene, "etcd killed -9 and started again", fates.restart)
        yield suffer(scene, "compaction while the regenerator is frozen", fates.compact)
        yield suffer(scene, "every lease revoked", fates.revoke)
        yield suffer(scene, f"all frozen for {2 * ttl_s} s", fates.freeze)
        yield suffer(scene, "etcd restored from an older snapshot", fates.restore)
        yield suffer(scene, "etcd comes back empty", fates.empty)
        yield from _be_away(scene)


def measure_leader(run: Run) -> Iterator[Line]:
    """Three etcds: the one that leads is killed."""
    with ExitStack() as running:
        folder = run.new_folder("leader")
        members = running.enter_context(cluster(folder, size=3))
        urls = tuple(member.url for member in members)
        # stands for all three, and never runs itself
        whole = EtcdServer(folder, settings=EtcdSettings(urls))
        at = running.enter_context(place(folder, etcd=whole))
        scene = _set(run, at, running)

        def kill_leader(_: Scene) -> str:
            _leader(members).kill()
            return ""

        yield suffer(scene, "the leader of three etcds killed -9", kill_leader)


def _set(run: Run, at: Place, running: ExitStack) -> Scene:
    """Registrars that are alive, and clients that ask for what they registered."""
    living = range(run.counts.registrars)
    run.say(f"registry: starting {len(living)} registrars")
    fleet = running.enter_context(Fleet(at, ttl_s=run.counts.ttl_s))
    fleet.start(living)
    at.wait_calm(map(at.address, living))
    load = running.enter_context(Load(at.frontend.port, hosts(living)))
    return Scene(run, at, fleet, load, living)


def _be_away(scene: Scene) -> Iterator[Line]:
    """Etcd is away for longer than any lease lasts; nginx is killed meanwhile."""
    run, at = scene.run, scene.at
    others = range(BY_HAND, BY_HAND + run.counts.routes - len(scene.living))
    at.frontend.wait_for(at.write_by_hand(others))
    every, fresh = [*scene.living, *others], BY_HAND + run.counts.routes
    away_s = run.counts.away_s
    found: list[_Away] = []

    def be_away(_: Scene) -> str:
        at.etcd.kill()
        ends_at = time.monotonic() + away_s
        missing = _restart_nginx(scene, every)
        time.sleep(max(0.0, ends_at - time.monotonic()))
        at.etcd.start()
        back_at = time.monotonic()
        at.write_by_hand([fresh])
        until(lambda: at.serves(fresh), within_s=60, every_s=0.01)
        found.append(_Away(len(missing), time.monotonic() - back_at))
        return ""

    yield suffer(scene, f"etcd away for {away_s:.0f} s", be_away)
    (away,) = found
    yield Line(
        "nginx killed -9 while etcd is away: routes that the next one does not serve",
        "0",
        f"{away.missing} of {len(every):,}",
        away.missing == 0,
    )
    yield Line(
        f"etcd back after {away_s:.0f} s → what is written then is served, {len(every):,} routes",
        f"< {CURRENT_GOAL_S:g} s",
        f"{away.current_s:.2f} s",
        away.current_s < CURRENT_GOAL_S,
    )


class _Away(NamedTuple):
    """What was seen while etcd was away, and when it came back."""

    missing: int
    current_s: float


def _restart_nginx(scene: Scene, numbers: Sequence[int]) -> list[str]:
    """Kill nginx's master while nobody asks; gives what the next one does not serve."""
    at = scene.at
    scene.load.pause()
    master = at.frontend.nginx_pid()
    os.kill(master, signal.SIGKILL)
    until(lambda: _other_master(at, master) and at.serves(scene.living[0]), within_s=30)
    missing = at.not_served(numbers)
    scene.load.resume()
    return missing


def _other_master(at: Place, old: int) -> bool:
    try:
        return at.frontend.nginx_pid() != old
    except (OSError, ValueError):
        # it writes the file anew
        return False


def _leader(members: Sequence[EtcdServer]) -> EtcdServer:
    for member in members:
        etcd = Etcd(member.settings)
        try:
            status = etcd.call("maintenance/status")
        finally:
            etcd.close()
        if status["leader"] == status["header"]["member_id"]:
            return member
    raise AssertionError("nobody leads")
