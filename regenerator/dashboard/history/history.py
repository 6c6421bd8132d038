"""What a frontend has served, kept: who came, who left, why, and what nginx served when.

The regenerator never waits for it, and a page hardly: with 10,000 routes a change takes 8 ms, most
of which is to find out what has changed.
Whatever becomes of the file, a frontend serves and shows what it does. While it cannot be written,
what is known is held against what was written last, and told as one change later.
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

from regenerator.dashboard.feed import State
from regenerator.dashboard.history import archive
from regenerator.dashboard.history.archive import About, Gap
from regenerator.dashboard.history.changes import UNSEEN, Change, ChangeKind, Stamp, compare
from regenerator.dashboard.history.ledger import Ledger
from regenerator.dashboard.history.past import Past, Served
from regenerator.dashboard.history.retention import Retention
from regenerator.dashboard.history.seen import Seen, Stage, look, see_all, see_ended
from regenerator.routes import RouteTable, Rules
from registry.snapshot import Entry

T = TypeVar("T")

REST_S = 10.0
"""Between two signs of life, and between two tries while the file cannot be written."""

UNTOLD_MOST = 10_000
"""Ends that wait until the file can be written again: some 5 MB of records of usual size."""

BEGINNING = "it was there before this history began"


class _Noted(NamedTuple):
    """A state of the registry, as it is served since a moment."""

    state: State
    table: RouteTable
    at: float


class History:
    """One file, with one writer: this.

    Attributes:
        noted: How many changes of each kind were found since the process began.
    """

    def __init__(
        self,
        path: Path,
        *,
        rules: Rules,
        domain: str = "",
        clock: Callable[[], float] = time.time,
        retention: Retention | None = None,
        pages: int = archive.PAGES_MOST,
    ) -> None:
        """Opens the file, or begins one; if neither can be done that is told, and tried again.

        Args:
            domain: What every host ends in.
            pages: Of 4 KiB, at most.
        """
        self.noted: Counter[ChangeKind] = Counter()
        self._rules = rules
        self._domain = domain
        self._clock = clock
        self._retention = retention or Retention(pages=pages)
        self._ledger = Ledger(path, make_room=self._retention.squeeze, pages=pages)
        self._newest: _Noted | None = None
        self._told: _Noted | None = None
        self._told_to = 0
        self._asked: dict[str, float] = {}
        self._rested_at = clock()
        self._ledger.attempt(self._tend)

    def note(self, state: State, table: RouteTable, *, at: float) -> None:
        """Keep what has become of everything since the state before.

        Args:
            at: Since when it is served.
        """
        if self._newest is not None and self._newest is not self._written:
            state = _with_ended(state, self._newest.state.snapshot.ended)
        self._newest = _Noted(state, table, at)
        if self._ledger.is_well:
            self._attempt_to_write()

    def note_requests(self, requests: Mapping[str, float]) -> None:
        """Keep when routes had their last requests, by their ids; later where that fails."""
        self._asked |= requests
        if self._ledger.is_well:
            self._attempt_to_write_requests()

    def rest(self) -> None:
        """Leave a sign of life, forget a little, try again what did not go; if it is time to."""
        now = self._clock()
        # the clock may be put back
        if abs(now - self._rested_at) < REST_S:
            return
        self._rested_at = now
        self._ledger.look_after()
        if self._newest is self._written:
            self._ledger.attempt(self._tend)
        else:
            self._attempt_to_write()
        if self._ledger.is_well:
            self._attempt_to_write_requests()

    def close(self) -> None:
        """End it, in good order."""
        if self.is_up_to_date():
            self._ledger.attempt(lambda db: archive.touch(db, self._clock()))
        self._ledger.close()

    def is_up_to_date(self) -> bool:
        """Whether the file tells of the state that is served."""
        return self._written is not None and self._newest is self._written

    def last(self, branch: str, service: str) -> Change | None:
        """The newest change that explains why a service is not there.

        None if it is there, and while nobody knows: what was written last tells of another time.
        """
        if not self.is_up_to_date():
            return None
        return self._ask(lambda past: past.last(branch, service), None)

    def changes(
        self,
        branch: str = "",
        service: str = "",
        *,
        limit: int = 50,
        before_at: float | None = None,
    ) -> list[Change]:
        """The newest changes, the newest first."""
        return self._ask(
            lambda past: past.changes(
                branch=branch, service=service, limit=limit, before_at=before_at
            ),
            [],
        )

    def served_at(self, at: float, branch: str = "", service: str = "") -> list[Served]:
        """Where requests went at a time; nothing if that is before all that is known."""

        def find(past: Past) -> list[Served]:
            generation = past.generation_at(at)
            return past.served(generation, branch, service) if generation else []

        return self._ask(find, [])

    def owner_of(self, host: str) -> tuple[str, str] | None:
        """Branch and service of the route that had a host last; with or without the domain."""
        return self._ask(lambda past: past.owner_of(host), None)

    def last_requests(self) -> dict[str, float]:
        """When each route had its last request, by its id."""
        return self._ask(lambda past: past.last_requests(), {})

    @property
    def _written(self) -> _Noted | None:
        """What the file tells of; None if that has to be read from it."""
        return self._told if self._told_to == self._ledger.number else None

    def _attempt_to_write(self) -> None:
        if (newest := self._newest) is None:
            return
        kinds: list[ChangeKind] = []
        if self._ledger.attempt(lambda db: kinds.extend(self._write(db, newest))):
            self._told, self._told_to = newest, self._ledger.number
            self.noted.update(kinds)

    def _attempt_to_write_requests(self) -> None:
        asked = self._asked
        if asked and self._ledger.attempt(lambda db: archive.write_requests(db, asked)):
            self._asked = {}

    def _write(self, db: sqlite3.Connection, newest: _Noted) -> list[ChangeKind]:
        """Write what a state differs in from what was written last; gives what was news."""
        about = archive.read_about(db)
        gap = self._gap(about, until=newest.at)
        written, state = self._written, newest.state
        if written is None:
            before, after = (
                archive.read_standing(db),
                see_all(state, newest.table, rules=self._rules),
            )
        else:
            before, after = look(
                written.state,
                state,
                table_before=written.table,
                table_after=newest.table,
                rules=self._rules,
            )
        if about is None:
            changes: Iterable[Change] = self._beginning(newest, after)
        else:
            stamp = Stamp(newest.at, state.snapshot.revision, state.generation, about.revision)
            ended = see_ended(state, rules=self._rules)
            changes = compare(before, after, ended=ended, stamp=stamp, keys=self._rules.keys)
        if gap is not None:
            changes = [one._replace(reason=_seen_late(one, gap)) for one in changes]
        changes = tuple(changes)
        archive.write_routes(db, {(one.branch, one.service) for one in changes})
        archive.write_changes(db, changes)
        archive.write_standing(db, before, {k: v for k, v in after.items() if before.get(k) != v})
        self._write_served(db, newest, gap=gap)
        began_at = about.began_at if about else newest.at
        archive.write_about(
            db, About(self._domain, began_at, self._clock(), state.snapshot.revision)
        )
        return [one.kind for one in changes] if about else []

    def _beginning(self, newest: _Noted, after: Mapping[bytes, Seen]) -> Iterator[Change]:
        """The first changes of all: everything is there, and nothing has happened."""
        stamp = Stamp(newest.at, newest.state.snapshot.revision, newest.state.generation)
        told = {
            raw: seen
            for raw, seen in after.items()
            if seen.rejected or seen.stage is not Stage.CLAIM
        }
        for one in compare({}, told, ended={}, stamp=stamp, keys=self._rules.keys):
            if one.kind is ChangeKind.REGISTERED:
                yield one._replace(reason=BEGINNING)
            elif one.kind not in {ChangeKind.READY, ChangeKind.CLAIMED}:
                yield one

    def _write_served(self, db: sqlite3.Connection, newest: _Noted, *, gap: Gap | None) -> None:
        """Write what nginx serves, if that is something else than before."""
        state, table, at = newest
        if (written := self._written) is None:
            last = Past(db).newest_generation()
            generation = last.name if last else ""
            before, after = archive.read_lines(db), archive.lines_of(table)
        else:
            generation = written.state.generation
            # a route that has not changed is the same object
            old, new = (frozenset(map(id, one.routes)) for one in (written.table, table))
            before = archive.lines_of(written.table, but=new)
            after = archive.lines_of(table, but=old)
        if generation == state.generation and before == after:
            return
        if gap is not None:
            archive.write_gap(db, gap)
        number = archive.write_generation(
            db,
            state.generation,
            at=at,
            revision=state.snapshot.revision,
            routes=sum(1 for route in table.routes if route.instances),
        )
        archive.write_lines(db, before, after, generation=number, at=at)

    def _gap(self, about: About | None, *, until: float) -> Gap | None:
        """When nobody watched before the newest state; None if somebody did."""
        if about is None or (self._written is not None and self._ledger.is_well):
            return None
        # the clock may have been put back meanwhile
        return Gap(min(about.seen_at, until), until)

    def _tend(self, db: sqlite3.Connection) -> None:
        now = self._clock()
        if self.is_up_to_date():
            archive.touch(db, now)
        if self._retention.step(db, now=now):
            # there is more: at the next call
            self._rested_at = 0.0

    def _ask(self, ask: Callable[[Past], T], otherwise: T) -> T:
        return self._ledger.read(lambda db: ask(Past(db)), otherwise)


def _with_ended(state: State, untold: tuple[Entry, ...]) -> State:
    """A state that also tells what came to an end before it."""
    ended = (*untold, *state.snapshot.ended)[-UNTOLD_MOST:]
    return replace(state, snapshot=replace(state.snapshot, ended=ended))


def _seen_late(change: Change, gap: Gap) -> str:
    reason = "it is gone" if change.kind is ChangeKind.EXPIRED else change.reason
    first, last = (
        datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for at in (gap.from_at, gap.to_at)
    )
    return f"{reason}{'; ' if reason else ''}between {first} and {last}, {UNSEEN}"
