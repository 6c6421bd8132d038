"""Requests by branch, by status, and by route within the last minute. Pure.

nginx tells of a route by its id and of nothing else; whose it is the registry tells, a moment
earlier or later.
"""

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType

from regenerator.dashboard.board import NO_TRAFFIC, Traffic
from regenerator.dashboard.numbers.counters import NO_BRANCH, OTHER, TURN_S, Counters

WINDOW_S = 60.0
BUCKET_S = 5.0
"""The last minute, in steps: what happened falls out of it 60 to 65 s later."""

WAIT_S = 10.0
"""For the registry to tell of a route that nginx knows already; it comes within a second."""

NOTHING: Mapping[str, float] = MappingProxyType({})

_MESSAGE = re.compile(rb"([0-9a-f]{16,47})? ([0-9]{3})")

_CODES = frozenset(f"{status:d}" for status in (*HTTPStatus, 444, 494, 495, 496, 497, 499))
"""Known statuses, nginx's own among them; a service may make up 900 more."""


@dataclass(slots=True)
class _Bucket:
    """A few seconds of requests.

    Attributes:
        counts: Requests and errors by route.
    """

    began_at: float
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(slots=True)
class _Waiting:
    """Requests of a route that nobody has told of yet."""

    since: float
    statuses: dict[str, int] = field(default_factory=dict)


class Tally:
    """Counts what nginx tells of requests.

    All times but ``at`` are monotonic seconds.
    """

    def __init__(
        self,
        *,
        last_at: Mapping[str, float] = NOTHING,
        counters: Counters | None = None,
    ) -> None:
        """Begins at nothing.

        Args:
            last_at: When routes were asked last, from before, in seconds since 1970.
            counters: For branches; new ones unless given.
        """
        self._last_at = last_at
        self._counters = counters or Counters()
        self._routes: dict[str, str] = {}
        self._left: dict[str, float] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._buckets: deque[_Bucket] = deque()
        self._sums: dict[str, tuple[int, int]] = {}
        self._traffic: dict[str, Traffic] = {}
        self._codes: dict[str, int] = {}
        self._turned_at = float("inf")

    def know(self, routes: Mapping[str, str], *, now: float) -> None:
        """Note which routes there are: the branch of each, by its id.

        What has left stays known for a minute: nginx's older workers may still tell of it.
        """
        self._turned_at = min(self._turned_at, now)
        for id_ in self._routes.keys() - routes.keys() - self._left.keys():
            self._left[id_] = now
        for id_ in self._left.keys() & routes.keys():
            del self._left[id_]
        before = {
            id_: Traffic(last_at=self._last_at[id_])
            for id_ in routes.keys() & self._last_at.keys() - self._traffic.keys()
        }
        if before:
            self._traffic = {**self._traffic, **before}
        self._routes.update(routes)
        self._counters.welcome(set(routes.values()))

    def take(self, counted: Mapping[bytes, int], *, now: float, at: float) -> Mapping[str, Traffic]:
        """Count; gives what is known of each route, as the same object if nothing has changed.

        Args:
            counted: ``ROUTE STATUS``, and how often that was told since the last time.
            at: The same moment in seconds since 1970.
        """
        over = self._pass(now)
        if now - self._turned_at >= TURN_S:
            self._counters.turn(set(self._routes.values()), past_s=now - self._turned_at)
            self._turned_at = now
        asked: set[str] = set()
        for id_, waiting in list(self._waiting.items()):
            if id_ in self._routes or now - waiting.since >= WAIT_S:
                del self._waiting[id_]
                asked.add(id_)
                for status, count in waiting.statuses.items():
                    self._count(id_, status, count)
        for message, count in counted.items():
            if (found := _MESSAGE.fullmatch(message)) is None:
                continue
            id_, status = (found[1] or b"").decode(), found[2].decode()
            code = status if status in _CODES else OTHER
            self._codes[code] = self._codes.get(code, 0) + count
            if id_ in self._routes:
                asked.add(id_)
            if not id_ or id_ in self._routes:
                self._count(id_, status, count)
            else:
                statuses = self._waiting.setdefault(id_, _Waiting(now)).statuses
                statuses[status] = statuses.get(status, 0) + count
        self._tell(over, asked, at=at)
        return self._traffic

    def requests(self) -> Mapping[tuple[str, str], int]:
        """Requests so far by branch and class of status; no number is ever less than it was."""
        return self._counters.requests()

    def codes(self) -> Mapping[str, int]:
        """Requests so far by status."""
        return self._codes

    def _pass(self, now: float) -> set[str]:
        """Let go of what is over; gives the routes of which less is known now."""
        changed: set[str] = set()
        while self._buckets and self._buckets[0].began_at + BUCKET_S + WINDOW_S <= now:
            for id_, (requests, errors) in self._buckets.popleft().counts.items():
                had = self._sums[id_]
                self._sums[id_] = (had[0] - requests, had[1] - errors)
                if had[0] == requests:
                    del self._sums[id_]
                changed.add(id_)
        if not self._buckets or self._buckets[-1].began_at + BUCKET_S <= now:
            self._buckets.append(_Bucket(now))
        gone = [id_ for id_, left_at in self._left.items() if now - left_at >= WINDOW_S]
        for id_ in gone:
            del self._left[id_], self._routes[id_]
            for counts in (self._sums, *(bucket.counts for bucket in self._buckets)):
                counts.pop(id_, None)
        return changed.union(gone)

    def _count(self, id_: str, status: str, count: int) -> None:
        branch = self._routes.get(id_, OTHER) if id_ else NO_BRANCH
        self._counters.count(branch, status, count)
        if id_ in self._routes:
            errors = count if status >= "500" else 0
            for sums in (self._sums, self._buckets[-1].counts):
                had = sums.get(id_, (0, 0))
                sums[id_] = (had[0] + count, had[1] + errors)

    def _tell(self, over: set[str], asked: set[str], *, at: float) -> None:
        """Make anew what is known of these routes."""
        if changed := over | asked:
            known = dict(self._traffic)
            for id_ in changed:
                last_at = at if id_ in asked else known.get(id_, NO_TRAFFIC).last_at
                known[id_] = Traffic(*self._sums.get(id_, (0, 0)), last_at)
            self._traffic = {id_: one for id_, one in known.items() if id_ in self._routes}
