"""When what happened in the registry, as one more watcher of it sees it."""

import threading
import time
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import NamedTuple, Self

from benchmarks.processes import BenchmarkFault
from benchmarks.store import KEYS
from registry.etcd import Etcd, EtcdSettings, Following
from registry.faults import Fault
from registry.keys import FrontendKey, RouteKey
from registry.records import FrontendRecord, InstanceRecord, State
from registry.snapshot import Change


class Seen(NamedTuple):
    """A point in time on the monotonic clock, and a revision."""

    at: float
    revision: int


class Timeline:
    """While it is entered, notes every change; a watch shows one about a millisecond after it.

    Attributes:
        counts: Changes by what they were: ``starting``, ``ready``, ``draining``, ``deleted``,
            ``claim``, ``report``.
        ready: When each instance was first seen as ready, by its name.
        reports: When the frontend said that it has dealt with which revision, in order.
    """

    def __init__(self, settings: EtcdSettings) -> None:
        self.counts: Counter[str] = Counter()
        self.ready: dict[str, Seen] = {}
        self.reports: list[Seen] = []
        self._etcd = Etcd(settings)
        self._following: Following | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="timeline", daemon=True)

    def __enter__(self) -> Self:
        now = self._etcd.list(KEYS.frontends).revision
        self._following = self._etcd.follow(KEYS.root, from_revision=now + 1)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._following is not None:
            self._following.close()
        self._thread.join()
        self._etcd.close()

    def wait_ready(self, names: Iterable[str], *, within_s: float) -> Seen:
        """Wait until all of them are; gives the last one."""
        wanted = set(names)
        with self._changed:
            if not self._changed.wait_for(lambda: wanted <= self.ready.keys(), within_s):
                missing = len(wanted - self.ready.keys())
                raise BenchmarkFault(f"{missing} instances were not ready within {within_s:g} s")
            return max((self.ready[name] for name in wanted), key=lambda seen: seen.revision)

    def wait_reported(self, revision: int, *, within_s: float) -> float:
        """Wait until the frontend has applied a revision; when it said so."""

        def is_reported() -> bool:
            return bool(self.reports) and self.reports[-1].revision >= revision

        with self._changed:
            if not self._changed.wait_for(is_reported, within_s):
                raise BenchmarkFault(f"the frontend was not at {revision} within {within_s:g} s")
        return self.reported(revision)

    def reported(self, revision: int) -> float:
        """When the frontend said that it has applied a revision."""
        return next(report.at for report in self.reports if report.revision >= revision)

    def _run(self) -> None:
        try:
            for batch in self._following or ():
                at = time.monotonic()
                with self._changed:
                    for change in batch.changes:
                        self._note(change, at)
                    self._changed.notify_all()
        except Fault:
            # whoever waits for what did not come says so
            return

    def _note(self, change: Change, at: float) -> None:
        key = KEYS.parse(change.key)
        if isinstance(key, FrontendKey) and change.entry is not None:
            self.counts["report"] += 1
            record = FrontendRecord.parse(change.entry.value)
            self.reports.append(Seen(at, record.revision))
        elif isinstance(key, RouteKey):
            if change.entry is None:
                self.counts["deleted"] += 1
                return
            state = InstanceRecord.parse(change.entry.value).state
            self.counts[state.value] += 1
            if state is State.READY:
                self.ready.setdefault(key.instance, Seen(at, change.revision))
        else:
            self.counts["claim"] += 1
