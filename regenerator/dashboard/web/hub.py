"""What all streams are told of: the newest board, at most once a second. The event loop's alone."""

import asyncio
import secrets
from typing import Protocol

from regenerator.dashboard.board import Board

EVERY_S = 1.0
"""Between two looks at the board: people read no faster."""

BOARDS_KEPT = 20
"""Boards that a client may come back with: 20 s of traffic, and hours of a quiet registry."""

IDLE_S = 60.0
"""A wait without an end would be one that nobody can look into."""


class Boards(Protocol):
    """What a hub needs of a desk."""

    @property
    def board(self) -> Board:
        """The newest."""

    @property
    def version(self) -> int:
        """Of the board; it rises."""

    async def changed(self, version: int, *, within_s: float) -> int:
        """Wait until there is a newer one than a version, or time is up; gives its version."""


class Hub:
    """Keeps the streams going.

    Attributes:
        board: The one that all streams are told of, or were.
        version: Of that one.
        viewers: Streams that are open.
        is_over: The process ends, and so do all streams.
    """

    def __init__(self, desk: Boards) -> None:
        self._desk = desk
        self._looking: asyncio.Task[None] | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self.viewers = 0
        self.is_over = False
        self.forget()
        self._look()

    def forget(self) -> None:
        """Know no board that was shown before: it was drawn by others, or in another process."""
        # a version alone would be another board's after a restart, and on another frontend
        self._nonce = secrets.token_hex(4)
        self._kept: dict[int, Board] = {}

    def note(self) -> str:
        """Keep the newest board, for who comes back with it; gives what it is called."""
        version, board = self._desk.version, self._desk.board
        if version not in self._kept:
            self._kept[version] = board
            while len(self._kept) > BOARDS_KEPT:
                del self._kept[min(self._kept)]
        return self.name(version)

    def name(self, version: int) -> str:
        """What a version is called outside of this process."""
        return f"{self._nonce}-{version}"

    def version_of(self, name: str) -> int | None:
        """The version of a board that is kept; None for any other."""
        return next((version for version in self._kept if self.name(version) == name), None)

    def kept(self, version: int | None) -> Board | None:
        """A board that is kept."""
        return None if version is None else self._kept.get(version)

    async def newer(self, version: int, *, within_s: float) -> None:
        """Wait until streams are to be told of a newer board than a version, or time is up."""
        if self.version <= version and within_s > 0:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(waiting)
            await asyncio.wait([waiting], timeout=within_s)
            self._waiting.discard(waiting)

    def end(self) -> None:
        """Let all streams end."""
        self.is_over = True
        self._wake()

    def enter(self) -> None:
        """One stream more."""
        self.viewers += 1
        if self._looking is None:
            self._look()
            self._looking = asyncio.create_task(self._keep_looking())

    def leave(self) -> None:
        """One stream less; the last one lets the hub rest."""
        self.viewers -= 1
        if not self.viewers and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def _keep_looking(self) -> None:
        while True:
            await self._desk.changed(self.version, within_s=IDLE_S)
            self._look()
            await self._rest()

    async def _rest(self) -> None:
        """Let a moment pass; a new generation ends it, since streams of the old one have to end."""
        clock = asyncio.get_running_loop().time
        ends_at = clock() + EVERY_S
        seen = self.version
        while (left_s := ends_at - clock()) > 0:
            seen = await self._desk.changed(seen, within_s=left_s)
            if self._desk.board.generation != self.board.generation:
                return

    def _look(self) -> None:
        self.note()
        self.version, self.board = self._desk.version, self._desk.board
        self._wake()

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()
