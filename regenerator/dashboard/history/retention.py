"""What a history forgets: a little at a time, so that nobody waits for it."""

# ruff: noqa: S608 - queries are put together of words of ours alone; values are bound

import sqlite3
from itertools import pairwise

from regenerator.dashboard.history.archive import PAGES_MOST

OF_ROUTE = 500
"""Changes that are kept of one route; one that is restarted each minute has those of 2 hours."""

CHANGES = 200_000
"""Changes that are kept in all, some 40 MiB."""

GENERATIONS = 50_000
"""Generations that are kept, however young they are: 50 reloads an hour for as long as below."""

AGE_S = 30 * 86400.0
"""How long it is known what was served, and when a route had its last request."""

STEP = 500
"""Rows that are deleted at once: some 5 ms."""

LOOK = 50
"""Routes that are looked at in one step."""


class Retention:
    """Keeps a file within its bounds."""

    def __init__(
        self,
        *,
        of_route: int = OF_ROUTE,
        changes: int = CHANGES,
        generations: int = GENERATIONS,
        pages: int = PAGES_MOST,
    ) -> None:
        self._of_route = of_route
        self._changes = changes
        self._generations = generations
        self._pages = pages
        self._route = 0

    def step(self, db: sqlite3.Connection, *, now: float) -> bool:
        """Forget a little; says whether there is more to forget."""
        deleted = self._step_routes(db)
        deleted.append(self._step_changes(db))
        deleted += self._step_generations(db, now=now)
        deleted.append(
            _delete(db, "last_seen.route", "WHERE at < ? ORDER BY at", now - AGE_S, most=STEP)
        )
        return max(deleted) >= STEP

    def squeeze(self, db: sqlite3.Connection) -> bool:
        """Forget a twentieth of all, if the file is nearly as large as it may be; says whether."""
        [pages] = db.execute("PRAGMA page_count").fetchone()
        [free] = db.execute("PRAGMA freelist_count").fetchone()
        if (pages - free) * 10 < self._pages * 9:
            return False
        for table in ("changes", "generations"):
            [first, last] = db.execute(f"SELECT min(id), max(id) FROM {table}").fetchone()
            if last is not None:
                # the newest generation stays: it is what is served
                cut = min(first + (last - first) // 20 + 1, last)
                db.execute(f"DELETE FROM {table} WHERE id < ?", (cut,))
        self._drop_intervals(db, most=-1)
        return True

    def _step_routes(self, db: sqlite3.Connection) -> list[int]:
        """Look at some routes, in turn: those that nothing is known of any more go."""
        found = [
            row[0]
            for row in db.execute(
                "SELECT id FROM routes WHERE id > ? ORDER BY id LIMIT ?", (self._route, LOOK)
            )
        ]
        self._route = found[-1] if len(found) == LOOK else 0
        deleted = [0]
        for route in found:
            deleted.append(
                _delete(
                    db,
                    "changes.id",
                    "WHERE route = ? AND id <= (SELECT id FROM changes WHERE route = ?"
                    " ORDER BY id DESC LIMIT 1 OFFSET ?) ORDER BY id",
                    route,
                    route,
                    self._of_route,
                    most=STEP,
                )
            )
            db.execute(
                "DELETE FROM routes WHERE id = ?1"
                " AND NOT EXISTS (SELECT 1 FROM changes WHERE route = ?1)"
                " AND NOT EXISTS (SELECT 1 FROM hosts WHERE route = ?1)"
                " AND NOT EXISTS (SELECT 1 FROM serving WHERE route = ?1)",
                (route,),
            )
        return deleted

    def _step_changes(self, db: sqlite3.Connection) -> int:
        # those of busy routes are deleted from the midst, so there are fewer than this says
        [first, last] = db.execute("SELECT min(id), max(id) FROM changes").fetchone()
        if last is None or last - first < self._changes:
            return 0
        [count] = db.execute("SELECT count(*) FROM changes").fetchone()
        most = min(STEP, count - self._changes)
        return _delete(db, "changes.id", "ORDER BY id", most=most) if most > 0 else 0

    def _step_generations(self, db: sqlite3.Connection, *, now: float) -> list[int]:
        rows = db.execute("SELECT id, at FROM generations ORDER BY id LIMIT ?", (STEP + 1,))
        found = rows.fetchall()
        [newest] = db.execute("SELECT max(id) FROM generations").fetchone()
        # each was served until the next one came
        old = [
            one[0]
            for one, other in pairwise(found)
            if other[1] < now - AGE_S or one[0] <= newest - self._generations
        ]
        deleted = 0
        if old:
            deleted = _delete(db, "generations.id", "WHERE id <= ?", old[-1], most=STEP)
        db.execute("DELETE FROM gaps WHERE to_at < ?", (now - AGE_S,))
        return [deleted, *self._drop_intervals(db, most=STEP)]

    def _drop_intervals(self, db: sqlite3.Connection, *, most: int) -> list[int]:
        """Forget who was served with generations alone that are forgotten."""
        [first] = db.execute("SELECT min(id) FROM generations").fetchone()
        where = "WHERE to_id <= ?"
        return [
            _delete(db, f"{name}.rowid", where, first, most=most) for name in ("hosts", "serving")
        ]


def _delete(db: sqlite3.Connection, which: str, tail: str, *given: object, most: int) -> int:
    """Delete some rows; gives how many.

    Args:
        which: Table and column that tell them apart.
        tail: Which of them, and in which order.
    """
    table, _, column = which.partition(".")
    return db.execute(
        f"DELETE FROM {table} WHERE {column} IN (SELECT {column} FROM {table} {tail} LIMIT ?)",
        (*given, most),
    ).rowcount
