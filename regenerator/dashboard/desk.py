"""What a dashboard knows: fed from outside, asked by whoever shows it. The event loop's alone."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from regenerator.dashboard import feed
from regenerator.dashboard.board import (
    Board,
    BranchView,
    End,
    EtcdView,
    FrontendView,
    Place,
    RejectionView,
    Traffic,
    build_branches,
    build_frontends,
    build_rejections,
    gone_services,
    with_ends,
    with_traffic,
)
from regenerator.dashboard.history.changes import Change, ChangeKind, is_seen
from regenerator.dashboard.history.history import History
from regenerator.settings import RegeneratorSettings
from registry.keys import ClaimKey
from registry.snapshot import Entry

SILENT_S = 10.0
"""A regenerator tells of itself once a second; after so long without a word it is stuck or gone."""

LOOK_UP = 500
"""Services that are gone, looked up at a time: 0.2 ms each, and all others the next time."""

_ENDS = {
    ChangeKind.DEREGISTERED: "it was deregistered",
    ChangeKind.EXPIRED: "its lease expired: its registrar, or its machine, ended without a word",
    ChangeKind.REMOVED: "somebody removed it",
    ChangeKind.RELEASED: "it was lost, and the brake let go of it",
}


class Desk:
    """Everything that is shown, at its newest.

    Attributes:
        settings: Those of the regenerator.
        templates: Sources of the pages, by their names.
        board: What is shown; another object whenever anything in it has changed.
        version: Of the board; it rises.
        history: What was served when.
        families: The regenerator's own metrics, as it collected them last.
    """

    def __init__(
        self,
        settings: RegeneratorSettings,
        *,
        frontend: str,
        templates: Mapping[str, str],
        history: History,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.templates = templates
        self.history = history
        self.version = 0
        self.families: tuple[Any, ...] = ()
        self._frontend = frontend
        self._place = Place(settings.text.domain, settings.text.public_url)
        self._now = now
        self._fed: feed.State | None = None
        self._pulse: feed.Pulse | None = None
        self._branches: tuple[BranchView, ...] = ()
        self._rejections: tuple[RejectionView, ...] = ()
        self._frontends: tuple[FrontendView, ...] = ()
        self._traffic: Mapping[str, Traffic] = {}
        self._ends: Mapping[ClaimKey, End | None] = {}
        self._are_ends_missing = False
        self._waiting: set[asyncio.Future[None]] = set()
        self.board = self._build()

    @property
    def generation(self) -> str:
        """What nginx serves; empty if nothing is known yet."""
        return self._fed.generation if self._fed else ""

    @property
    def fed(self) -> feed.State | None:
        """The registry as it is served; None if nothing is known yet."""
        return self._fed

    def last_change(self, branch: str, service: str) -> Change | None:
        """The newest change that explains why a service is not there."""
        return self.history.last(branch, service)

    def take(self, news: feed.Served | feed.Pulse) -> None:
        """Note what the regenerator tells."""
        if isinstance(news, feed.Pulse):
            self._pulse = news
            self.families = news.families
            self.refresh()
            return
        self._fed = fed = feed.take(self._fed, news)
        table = self.settings.rules.table(fed.snapshot)
        self.history.note(fed, table, at=fed.at)
        rules = self.settings.rules
        branches = build_branches(fed, table, rules=rules, place=self._place)
        self._ends = self._find_ends(branches)
        branches = with_ends(branches, self._ends)
        # what has not changed stays the same object: whoever has drawn it need not draw it anew
        known = {one.branch: one for one in self._branches}
        self._branches = tuple(
            known[one.branch] if known.get(one.branch) == one else one
            for one in with_traffic(branches, self._traffic)
        )
        self._rejections = build_rejections(fed, table, rules=rules)
        self.refresh()

    def take_frontends(self, entries: Iterable[Entry]) -> None:
        """Note what the frontends report of themselves."""
        self._frontends = build_frontends(entries, rules=self.settings.rules, own=self._frontend)
        self.refresh()

    def take_traffic(self, traffic: Mapping[str, Traffic]) -> None:
        """Note what was counted of requests, by the routes' ids."""
        self._traffic = traffic
        if self._are_ends_missing:
            self._ends = self._find_ends(self._branches)
            self._branches = with_ends(self._branches, self._ends)
        self._branches = with_traffic(self._branches, traffic)
        self.refresh()

    def refresh(self) -> None:
        """Look whether there is something else to show than before."""
        board = self._build()
        if board == self.board:
            return
        self.board = board
        self.version += 1
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()

    async def changed(self, version: int, *, within_s: float) -> int:
        """Wait until the board is newer than a version, or time is up; gives its version."""
        if self.version <= version:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(waiting)
            await asyncio.wait([waiting], timeout=within_s)
            self._waiting.discard(waiting)
        return self.version

    def readiness(self) -> tuple[bool, Mapping[str, object]]:
        """Whether requests should come to this frontend, and what there is to know of that.

        It should have them for as long as it serves what its regenerator has found out: with etcd
        away that is what was known last, as with every other frontend.
        """
        board = self.board
        # before etcd has answered, what is served is what lay on disk
        generation = board.generation or (self._pulse.resumed if self._pulse else "")
        is_ready = bool(generation) and board.is_fresh
        return is_ready, {
            "ready": is_ready,
            "generation": generation,
            "revision": board.revision,
            "regenerator": "alive" if board.is_fresh else "silent",
            "fault": board.fault,
            "etcd": board.etcd.fault or "ok",
            "held": board.held,
        }

    def _find_ends(self, branches: tuple[BranchView, ...]) -> dict[ClaimKey, End | None]:
        """How services that are gone came to that; who is gone for long is not looked up again."""
        gone = gone_services(branches)
        found = {key: self._ends[key] for key in gone if key in self._ends}
        missing = [key for key in gone if key not in found]
        if not self.history.is_up_to_date():
            # it would tell of what was before
            self._are_ends_missing = bool(missing)
            return found
        self._are_ends_missing = len(missing) > LOOK_UP
        for key in missing[:LOOK_UP]:
            change = self.history.last(*key)
            reason = _ENDS.get(change.kind) if change and is_seen(change) else None
            found[key] = End(reason, change.at) if change and reason else None
        return found

    def _build(self) -> Board:
        fed, pulse = self._fed, self._pulse
        return Board(
            domain=self._place.domain,
            url=self._place.url,
            default_service=self.settings.rules.default_service,
            revision=fed.snapshot.revision if fed else 0,
            generation=fed.generation if fed else "",
            at=fed.at if fed else 0.0,
            fault=pulse.fault if pulse else "",
            held=len(fed.held) if fed else 0,
            is_fresh=pulse is not None and self._now() - pulse.at < SILENT_S,
            branches=self._branches,
            rejections=self._rejections,
            frontends=self._frontends,
            etcd=EtcdView(pulse.etcd_fault, pulse.etcd_since) if pulse else EtcdView(),
        )
