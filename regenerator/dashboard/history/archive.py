"""The file that a history is kept in: its shape, and what is written into it.

Shape::

    about        one row: the domain, since when there is a history, and when it was last alive
    routes       a number for each branch and service
    changes      what became of instances and claims, in the order in which it was seen
    generations  what nginx served, and from when
    hosts        which label led to a route, from one generation until before another
    serving      which instance had a route's requests, likewise
    gaps         when nobody watched
    standing     what is known of each key: whoever comes next tells what differs from it
    last_seen    when each route had its last request

``to_id`` is NULL for what still holds.
"""

# ruff: noqa: S608 - queries are put together of words of ours alone; values are bound

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from regenerator.dashboard.history.changes import Change
from regenerator.dashboard.history.seen import Hold, Seen, Stage
from regenerator.routes import RouteTable

VERSION = 1
"""Of the shape; a file of another one is put aside."""

PAGE_BYTES = 4096
"""SQLite's own default."""

PAGES_MOST = 65536
"""256 MiB. With all that is kept of 10,000 routes it has some 60."""

WAIT_S = 0.25
"""For somebody else's lock, such as that of a person with ``sqlite3``: longer is tried later."""

_SHAPE = """
CREATE TABLE about (domain TEXT NOT NULL, began_at REAL NOT NULL, seen_at REAL NOT NULL,
                    revision INTEGER NOT NULL);
CREATE TABLE routes (id INTEGER PRIMARY KEY, branch TEXT NOT NULL, service TEXT NOT NULL,
                     UNIQUE (branch, service));
CREATE TABLE changes (id INTEGER PRIMARY KEY, route INTEGER NOT NULL, at REAL NOT NULL,
                      revision INTEGER NOT NULL, generation TEXT NOT NULL, instance TEXT NOT NULL,
                      address TEXT NOT NULL, kind TEXT NOT NULL, reason TEXT NOT NULL);
CREATE INDEX changes_of_route ON changes (route);
CREATE TABLE generations (id INTEGER PRIMARY KEY, name TEXT NOT NULL, at REAL NOT NULL,
                          revision INTEGER NOT NULL, routes INTEGER NOT NULL);
CREATE INDEX generations_by_name ON generations (name);
CREATE TABLE hosts (route INTEGER NOT NULL, label TEXT NOT NULL, since REAL NOT NULL,
                    from_id INTEGER NOT NULL, to_id INTEGER);
CREATE INDEX hosts_by_label ON hosts (label);
CREATE INDEX hosts_of_route ON hosts (route);
CREATE INDEX hosts_by_end ON hosts (to_id);
CREATE TABLE serving (route INTEGER NOT NULL, instance TEXT NOT NULL, address TEXT NOT NULL,
                      since REAL NOT NULL, from_id INTEGER NOT NULL, to_id INTEGER);
CREATE INDEX serving_of_route ON serving (route);
CREATE INDEX serving_by_end ON serving (to_id);
CREATE TABLE gaps (from_at REAL NOT NULL, to_at REAL NOT NULL);
CREATE TABLE standing (key BLOB PRIMARY KEY, branch TEXT NOT NULL, service TEXT NOT NULL,
                       instance TEXT NOT NULL, address TEXT NOT NULL, stage TEXT NOT NULL,
                       text TEXT NOT NULL, rejected TEXT NOT NULL, hold TEXT NOT NULL,
                       is_leased INTEGER NOT NULL, created INTEGER NOT NULL,
                       revision INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE last_seen (route TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX last_seen_by_time ON last_seen (at);
"""

_ROUTE = "(SELECT id FROM routes WHERE branch = ? AND service = ?)"

_BROKEN = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FORMAT,
    # no such table, or column: a file of ours has them all
    sqlite3.SQLITE_ERROR,
}


class BrokenFile(Exception):
    """The file is none that can be gone on with; says why."""


class About(NamedTuple):
    """What a file says of itself.

    Attributes:
        seen_at: When its writer was last alive.
        revision: Of the state that it tells of.
    """

    domain: str
    began_at: float
    seen_at: float
    revision: int


class Gap(NamedTuple):
    """When nobody watched."""

    from_at: float
    to_at: float


HostRow = tuple[str, str, str]
"""Branch, service, label."""

ServingRow = tuple[str, str, str, str]
"""Branch, service, instance, address."""


class Lines(NamedTuple):
    """What is served, line by line; in order, and quick to compare."""

    hosts: dict[HostRow, None]
    serving: dict[ServingRow, None]


def is_broken(fault: sqlite3.Error) -> bool:
    """Whether a file will not become better by waiting."""
    code = getattr(fault, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in _BROKEN


def open_archive(path: Path, *, pages: int = PAGES_MOST) -> sqlite3.Connection:
    """Open the file for writing; it is made if there is none.

    Raises:
        BrokenFile: It has another version, or is no such file.
        sqlite3.Error: It cannot be opened, or written.
    """
    db = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
    try:
        [version] = db.execute("PRAGMA user_version").fetchone()
        [tables] = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and version != VERSION:
            raise BrokenFile(f"it has version {version}, not {VERSION}")
        db.execute("PRAGMA journal_mode = WAL")
        # a power cut may cost the last seconds, and never the file
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA max_page_count = {pages:d}")
        if not tables:
            db.executescript(f"BEGIN IMMEDIATE; {_SHAPE} PRAGMA user_version = {VERSION}; COMMIT;")
    except BaseException:
        db.close()
        raise
    return db


def read_about(db: sqlite3.Connection) -> About | None:
    """What the file says of itself; None as long as nothing was written."""
    row = db.execute("SELECT domain, began_at, seen_at, revision FROM about").fetchone()
    return About(*row) if row else None


def write_about(db: sqlite3.Connection, about: About) -> None:
    """Say of the file what there is to say."""
    db.execute("DELETE FROM about")
    db.execute("INSERT INTO about VALUES (?, ?, ?, ?)", about)


def touch(db: sqlite3.Connection, at: float) -> None:
    """Leave a sign of life."""
    db.execute("UPDATE about SET seen_at = ?", (at,))


def read_standing(db: sqlite3.Connection) -> dict[bytes, Seen]:
    """What was known of each key."""
    return {
        row[0]: Seen._make(
            (*row[1:5], Stage(row[5]), *row[6:8], Hold(row[8]), bool(row[9]), *row[10:])
        )
        for row in db.execute("SELECT * FROM standing")
    }


def write_standing(
    db: sqlite3.Connection, before: Iterable[bytes], after: Mapping[bytes, Seen]
) -> None:
    """Put what is known of some keys in the place of what was known of them."""
    gone = [(raw,) for raw in before if raw not in after]
    db.executemany("DELETE FROM standing WHERE key = ?", gone)
    db.executemany(
        f"INSERT OR REPLACE INTO standing VALUES ({', '.join('?' * 12)})",
        ((raw, *seen) for raw, seen in after.items()),
    )


def write_changes(db: sqlite3.Connection, changes: Iterable[Change]) -> None:
    """Add what happened."""
    db.executemany(
        "INSERT INTO changes (route, at, revision, generation, instance, address, kind, reason)"
        f" VALUES ({_ROUTE}, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                c.branch,
                c.service,
                c.at,
                c.revision,
                c.generation,
                c.instance,
                c.address,
                c.kind,
                c.reason,
            )
            for c in changes
        ),
    )


def write_routes(db: sqlite3.Connection, names: Iterable[tuple[str, str]]) -> None:
    """Give each branch and service a number, if it has none."""
    db.executemany("INSERT OR IGNORE INTO routes (branch, service) VALUES (?, ?)", names)


def lines_of(table: RouteTable, *, but: frozenset[int] = frozenset()) -> Lines:
    """What a table serves.

    Args:
        but: Routes to leave out, by their ``id()``.
    """
    routes = [route for route in table.routes if id(route) not in but]
    return Lines(
        {(one.branch, one.service, label): None for one in routes for label in one.labels},
        {
            (one.branch, one.service, instance.name, str(instance.address)): None
            for one in routes
            for instance in one.instances
        },
    )


def read_lines(db: sqlite3.Connection) -> Lines:
    """What was served last."""
    return Lines(
        dict.fromkeys(
            db.execute(
                "SELECT branch, service, label FROM hosts JOIN routes ON id = route"
                " WHERE to_id IS NULL"
            )
        ),
        dict.fromkeys(
            db.execute(
                "SELECT branch, service, instance, address FROM serving JOIN routes ON id = route"
                " WHERE to_id IS NULL"
            )
        ),
    )


def write_generation(
    db: sqlite3.Connection, name: str, *, at: float, revision: int, routes: int
) -> int:
    """Note that a generation is served from now on; gives its number."""
    cursor = db.execute(
        "INSERT INTO generations (name, at, revision, routes) VALUES (?, ?, ?, ?)",
        (name, at, revision, routes),
    )
    return cursor.lastrowid or 0


def write_lines(
    db: sqlite3.Connection, before: Lines, after: Lines, *, generation: int, at: float
) -> None:
    """Note what is served from a generation on, and what was served until then."""
    write_routes(db, {(row[0], row[1]) for row in (*after.hosts, *after.serving)})
    for name, columns, old, new in (
        ("hosts", ("label",), before.hosts, after.hosts),
        ("serving", ("instance", "address"), before.serving, after.serving),
    ):
        matches = " AND ".join(f"{column} = ?" for column in columns)
        db.executemany(
            f"UPDATE {name} SET to_id = ? WHERE to_id IS NULL AND route = {_ROUTE} AND {matches}",
            ((generation, *row) for row in old if row not in new),
        )
        db.executemany(
            f"INSERT INTO {name} (route, {', '.join(columns)}, since, from_id)"
            f" VALUES ({_ROUTE}, {', '.join('?' * len(columns))}, ?, ?)",
            ((*row, at, generation) for row in new if row not in old),
        )


def write_gap(db: sqlite3.Connection, gap: Gap) -> None:
    """Note that nobody watched for a while."""
    db.execute("INSERT INTO gaps VALUES (?, ?)", gap)


def write_requests(db: sqlite3.Connection, requests: Mapping[str, float]) -> None:
    """Note when routes had their last requests, by their ids; older news changes nothing."""
    db.executemany(
        "INSERT INTO last_seen VALUES (?, ?)"
        " ON CONFLICT (route) DO UPDATE SET at = max(at, excluded.at)",
        requests.items(),
    )
