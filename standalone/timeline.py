"""When a route was written, and when the frontend had applied it: told by the registry itself."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

from registry.etcd import Batch, Etcd
from registry.faults import StoreUnreachable
from registry.keys import FrontendKey, Keyspace, RouteKey
from registry.records import FrontendRecord, InstanceRecord, State
from standalone.stopping import Stop

SILENCE_S = 0.2
"""How long to listen before looking whether to go on; listening anew costs a request."""

Name = tuple[str, str]
"""A branch and a service."""


class Moment(NamedTuple):
    """A change of the registry, and when we saw it."""

    at: float
    revision: int


@dataclass(slots=True)
class Timeline:
    """What has happened to the routes since a revision.

    Attributes:
        ready: When each service was written to be served.
        draining: When each was written to be served no more.
        applied: The revisions that the frontend gives to new connections.
        released: The revisions behind which nothing older is served.
    """

    etcd: Etcd
    keys: Keyspace
    revision: int
    stop: Stop
    clock: Callable[[], float] = time.monotonic
    ready: dict[Name, Moment] = field(default_factory=dict)
    draining: dict[Name, Moment] = field(default_factory=dict)
    applied: list[Moment] = field(default_factory=list)
    released: list[Moment] = field(default_factory=list)

    def served(self, name: Name) -> Moment | None:
        """When the frontend had applied that a service is ready."""
        return _first(self.applied, self.ready.get(name))

    def let_go(self, name: Name) -> Moment | None:
        """When the frontend had applied that a service is draining."""
        return _first(self.released, self.draining.get(name))

    def follow_until(self, done: Callable[[], bool], *, within_s: float) -> bool:
        """Listen until something has come true; says whether it has."""
        give_up_at = self.clock() + within_s
        while not done() and self.clock() < give_up_at and not self.stop.asked():
            try:
                self._listen(done)
            except StoreUnreachable:
                self.stop.wait(SILENCE_S)
        return done()

    def _listen(self, done: Callable[[], bool]) -> None:
        start = self.revision + 1
        opened = self.etcd.follow(self.keys.root, from_revision=start, read_timeout_s=SILENCE_S)
        with closing(opened) as following:
            for batch in following:
                self.note(batch)
                if done():
                    return

    def note(self, batch: Batch) -> None:
        """Take in what a watch brought."""
        at = self.clock()
        self.revision = max(self.revision, batch.revision)
        for change in batch.changes:
            if change.entry is None:
                continue
            try:
                self._note(change.key, change.entry.value, Moment(at, change.revision))
            except ValueError:
                continue  # somebody else's bad record is the regenerator's to report

    def _note(self, raw: bytes, value: bytes, moment: Moment) -> None:
        match self.keys.parse(raw):
            case RouteKey(branch, service):
                state = InstanceRecord.parse(value).state
                if state is State.READY:
                    self.ready.setdefault((branch, service), moment)
                elif state is State.DRAINING:
                    self.draining.setdefault((branch, service), moment)
            case FrontendKey():
                record = FrontendRecord.parse(value)
                self.applied.append(Moment(moment.at, record.revision))
                self.released.append(Moment(moment.at, record.released))
            case _:
                pass


def _first(reports: list[Moment], written: Moment | None) -> Moment | None:
    """The first report that covers a write."""
    if written is None:
        return None
    return next((report for report in reports if report.revision >= written.revision), None)
