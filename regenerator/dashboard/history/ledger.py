"""A history's file in the hands of its one writer: whatever becomes of it, the writer goes on."""

import logging
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from regenerator.dashboard.history.archive import PAGES_MOST, BrokenFile, is_broken, open_archive

T = TypeVar("T")

Work = Callable[[sqlite3.Connection], object]

log = logging.getLogger("dashboard")


class Ledger:
    """One file.

    Attributes:
        is_well: What was done last was written.
        number: Of the file; another one has begun anew.
    """

    def __init__(self, path: Path, *, make_room: Work, pages: int = PAGES_MOST) -> None:
        """Opens nothing yet.

        Args:
            make_room: Asked when the file is full.
            pages: Of 4 KiB, at most.
        """
        self.is_well = True
        self.number = 0
        self._path = path
        self._make_room = make_room
        self._pages = pages
        self._db: sqlite3.Connection | None = None
        self._inode = 0

    def attempt(self, work: Work) -> bool:
        """Do something to the file as a whole, or not at all; says whether it was done.

        A file that is broken is put aside, and it is done to a new one.
        """
        try:
            self._do(work)
        except BrokenFile as exc:
            return self._begin_anew(work, str(exc))
        except sqlite3.Error as exc:
            if is_broken(exc):
                return self._begin_anew(work, str(exc))
            self._suffer(str(exc))
            return False
        if not self.is_well:
            self.is_well = True
            log.info("the history is written again")
        return True

    def read(self, ask: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """What the file answers; something else where it cannot."""
        if self._db is None:
            return otherwise
        try:
            return ask(self._db)
        except (sqlite3.Error, ValueError):
            # the next write finds out what is wrong with it
            return otherwise

    def look_after(self) -> None:
        """Begin a new file if somebody took this one away."""
        if self._db is None:
            return
        try:
            is_in_place = self._path.stat().st_ino == self._inode
        except OSError:
            is_in_place = False
        if not is_in_place:
            log.warning("%s has vanished; a new one begins", self._path)
            self.close()

    def close(self) -> None:
        """Let go of the file; the next attempt opens it anew."""
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
        self._db = None

    def _do(self, work: Work) -> None:
        if self._db is None:
            self._db = open_archive(self._path, pages=self._pages)
            self.number += 1
            with suppress(OSError):
                self._inode = self._path.stat().st_ino
        try:
            _do_whole(self._db, work)
        except sqlite3.Error as exc:
            if getattr(exc, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
                # for the next attempt
                with suppress(sqlite3.Error):
                    _do_whole(self._db, self._make_room)
            raise

    def _begin_anew(self, work: Work, reason: str) -> bool:
        self.close()
        aside = self._path.with_name(f"{self._path.name}.broken")
        try:
            self._path.replace(aside)
            for tail in ("-wal", "-shm"):
                self._path.with_name(f"{self._path.name}{tail}").unlink(missing_ok=True)
            self._do(work)
        except (OSError, sqlite3.Error, BrokenFile) as exc:
            self._suffer(f"{reason}; {exc}")
            return False
        self.is_well = True
        log.warning("%s is broken (%s): it is put aside as %s", self._path, reason, aside.name)
        return True

    def _suffer(self, reason: str) -> None:
        if self.is_well:
            log.warning(
                "%s cannot be written (%s): what changes meanwhile is told later, all at once",
                self._path,
                reason,
            )
        self.is_well = False


def _do_whole(db: sqlite3.Connection, work: Work) -> None:
    try:
        db.execute("BEGIN IMMEDIATE")
        work(db)
        db.execute("COMMIT")
    except BaseException:
        # some faults have done so already
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
