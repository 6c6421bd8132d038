"""The long row: many registrars, changes all the time, clients at work; nothing may grow."""

import itertools
import signal
import statistics
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import NamedTuple, Self

from registry.etcd import Etcd
from registry.faults import StoreUnreachable
from registry.keys import RouteKey
from registry.records import Address, InstanceRecord, State
from tests.torture.fleet import Fleet
from tests.torture.gauges import Holding, WorkerWatch, holding
from tests.torture.load import Load, between, shown
from tests.torture.place import BUDGET, SERVICE, Place, branch, hosts, ip, place
from tests.torture.run import Run
from tests.torture.table import Line

CHURN = 5.0
"""Changes a second: one registers, another one leaves."""

PRESENT = 40
"""Churning registrations at one time: each stays for 16 s."""

FIRST = 10_000
BRANCHES = 2_000
"""Churning branches: each comes back after a quarter of an hour, as branches do."""

LEASE_S = 3_600
"""For all that churns: it goes because it leaves."""

RESTARTED = 10
"""Registrars that are restarted in turn; their branches have a second instance."""

RESTART_S = 10.0
"""From one restart to the next."""

LOOK_S = 1.0


class Look(NamedTuple):
    """What was held at one moment."""

    regenerator: Holding
    nginx: Holding
    old: int


def measure(run: Run) -> Iterator[Line]:
    """Let it run, and look every second."""
    counts = run.counts
    living = range(counts.registrars)
    run.say(f"soak: starting {len(living)} registrars")
    with ExitStack() as running:
        at = running.enter_context(place(run.new_folder("soak")))
        fleet = running.enter_context(Fleet(at, ttl_s=counts.ttl_s))
        fleet.start(living)
        at.write_by_hand(living[:RESTARTED], instance=2)
        at.wait_calm(map(at.address, living))
        load = running.enter_context(Load(at.frontend.port, hosts(living)))
        watch = running.enter_context(WorkerWatch(at))
        churn = running.enter_context(Churn(at))
        restarts = running.enter_context(Restarts(at, fleet))
        before = load.tally()
        looks = _look_on(run, at, watch)
        took_s, found = load.since_s, between(before, load.tally())
        missing = at.not_served(living)
        changes = churn.changes + 2 * restarts.done
    for one in (churn, restarts):
        assert not one.fault, one.fault
    name = f"soak of {counts.soak_s / 60:g} min, {len(living)} registrars, {CHURN:g} changes/s"
    yield Line(
        f"{name}: requests",
        "0 failed",
        f"{shown(found, for_s=took_s)}; {changes / took_s:.1f} changes/s, {restarts.done} of them"
        f" restarts, {watch.reloads} reloads; {len(missing)} routes missing at the end",
        found.failed + found.cut == 0 and not missing,
        found.wrong,
        found.asked,
    )
    yield _bounded(f"{name}: regenerator", [look.regenerator for look in looks], most=counts.growth)
    yield _bounded(f"{name}: nginx", [look.nginx for look in looks], most=counts.growth)
    yield Line(
        f"{name}: old generations of workers",
        f"at most {BUDGET} + 1",
        f"{watch.most_old} at most; {_at_points([look.old for look in looks], '')}",
        watch.most_old <= BUDGET + 1,
    )


class Chore:
    """Something that is done at intervals, on a thread of its own, while it is entered.

    Attributes:
        fault: What ended it, in words.
    """

    def __init__(self, *, every_s: float) -> None:
        self.fault = ""
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def work(self) -> None:
        """Do it once."""
        raise NotImplementedError

    def _run(self) -> None:
        due_at = time.monotonic()
        while not self._over.wait(max(0.0, due_at - time.monotonic())):
            # at a rate, however long one of them takes
            due_at += self._every_s
            try:
                self.work()
            except StoreUnreachable:
                # a busy disk may keep etcd from answering for two seconds; the next one is due soon
                continue
            except Exception as exc:  # noqa: BLE001 - told by whoever started it
                self.fault = repr(exc)
                return


class Churn(Chore):
    """Registrations that come and go, written as registrars write them.

    Attributes:
        changes: Done so far.
    """

    def __init__(self, at: Place) -> None:
        super().__init__(every_s=1 / CHURN)
        self.changes = 0
        self._at = at
        self._etcd = Etcd(at.etcd.settings)
        self._lease = self._etcd.grant(LEASE_S).id
        self._numbers = (FIRST + count % BRANCHES for count in itertools.count())
        self._present: deque[tuple[bytes, InstanceRecord]] = deque()

    def work(self) -> None:
        """One comes, or the one that has been there longest leaves."""
        if self.changes % 2 and len(self._present) >= PRESENT:
            key, record = self._present[0]
            draining = replace(record, state=State.DRAINING)
            self._etcd.write(key, draining.dump(), lease=self._lease)
            self._etcd.delete(key)
            # only now: an answer that came late leaves it there, for the next turn
            self._present.popleft()
        else:
            number = next(self._numbers)
            name = RouteKey(branch(number), SERVICE, f"churn-{self.changes}")
            address = Address(ip(number), self._at.origin.port)
            key, record = self._at.frontend.keys.raw(name), InstanceRecord(address)
            self._etcd.write(key, record.dump(), lease=self._lease)
            self._present.append((key, record))
        self.changes += 1


class Restarts(Chore):
    """Registrars that are stopped and started again, one after the other.

    Attributes:
        done: So many so far.
    """

    def __init__(self, at: Place, fleet: Fleet) -> None:
        super().__init__(every_s=RESTART_S)
        self.done = 0
        self._at = at
        self._fleet = fleet

    def work(self) -> None:
        """Restart the next one."""
        number = self.done % RESTARTED
        old = self._fleet.sidecars[number, 1]
        old.send(signal.SIGTERM)
        old.wait()
        self._fleet.start([number])
        self.done += 1


def _look_on(run: Run, at: Place, watch: WorkerWatch) -> list[Look]:
    assert at.frontend.process is not None
    regenerator = at.frontend.process.pid
    began_at = time.monotonic()
    looks: list[Look] = []
    while (passed_s := time.monotonic() - began_at) < run.counts.soak_s:
        nginx = [at.frontend.nginx_pid(), *at.frontend.workers()]
        looks.append(Look(holding([regenerator]), holding(nginx), watch.old))
        if len(looks) % 60 == 0:
            run.say(f"soak: {passed_s / 60:.0f} min, {looks[-1]}")
        time.sleep(LOOK_S)
    return looks


def _bounded(name: str, holdings: Sequence[Holding], *, most: float) -> Line:
    memory, files = [one.memory_mib for one in holdings], [float(one.files) for one in holdings]
    growth = [_growth(memory), _growth(files)]
    return Line(
        name,
        f"last third at most {most:.0%} over the one before",
        f"{_at_points(memory, ' MiB')}, {_at_points(files, ' files')};"
        f" last third {growth[0]:+.1%} and {growth[1]:+.1%}",
        max(growth) <= most,
    )


def _growth(values: Sequence[float]) -> float:
    third = len(values) // 3
    return statistics.mean(values[-third:]) / statistics.mean(values[-2 * third : -third]) - 1


def _at_points(values: Sequence[float], unit: str) -> str:
    """As they were at 10 %, at half of the time and at the end, each over a few looks."""
    few = max(1, len(values) // 20)
    ends = (len(values) // 10, len(values) // 2, len(values))
    means = [statistics.mean(values[max(0, end - few) : end]) for end in ends]
    return f"{' → '.join(f'{mean:.0f}' for mean in means)}{unit}"
