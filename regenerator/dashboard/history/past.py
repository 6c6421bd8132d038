"""What a history tells, read from its file: for the dashboard, and for commands beside it."""

# ruff: noqa: S608 - queries are put together of words of ours alone; values are bound

import sqlite3
from typing import NamedTuple

from regenerator.dashboard.history.archive import About, Gap, read_about
from regenerator.dashboard.history.changes import Change, ChangeKind

_COLUMNS = "at, revision, generation, branch, service, instance, address, kind, reason"

_EXPLAINING = (
    ChangeKind.DEREGISTERED,
    ChangeKind.EXPIRED,
    ChangeKind.REMOVED,
    ChangeKind.RELEASED,
    ChangeKind.UNCLAIMED,
    ChangeKind.UNHEALTHY,
    ChangeKind.DRAINING,
    ChangeKind.REJECTED,
)
"""Why a service is not there."""

_SETTLING = (ChangeKind.READY, ChangeKind.ACCEPTED)
"""What was said before these explains nothing any more."""

_AT_ONCE = "from_id <= :id AND (to_id IS NULL OR to_id > :id)"


class Generation(NamedTuple):
    """One generation that was served; one that was served twice is there twice.

    Attributes:
        id: They are numbered as they came.
        at: Since when it was served.
        routes: Those that led to an instance.
    """

    id: int
    name: str
    at: float
    revision: int
    routes: int


class Served(NamedTuple):
    """Where a service's requests went; instance and address are empty where nothing of it ran.

    Attributes:
        hosts: With the domain; the long one first.
        since: Since when, in seconds since 1970.
    """

    branch: str
    service: str
    hosts: tuple[str, ...]
    instance: str
    address: str
    since: float


class Past:
    """Questions to the file.

    Raises:
        sqlite3.Error: From every method: it cannot be read, or is broken.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def about(self) -> About | None:
        """What the file says of itself; None as long as nothing was written."""
        return read_about(self._db)

    def changes(
        self,
        *,
        branch: str = "",
        service: str = "",
        limit: int = 50,
        before_at: float | None = None,
    ) -> list[Change]:
        """The newest changes, the newest first.

        Args:
            before_at: Older ones than that alone.
        """
        where = ["TRUE"]
        if branch:
            # the numbers of a branch's routes first, or every change would be looked at
            where.append(
                "route IN (SELECT id FROM routes WHERE branch = :branch"
                " AND (:service = '' OR service = :service))"
            )
        elif service:
            where.append("service = :service")
        if before_at is not None:
            where.append("at < :before_at")
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM changes JOIN routes ON routes.id = route"
            f" WHERE {' AND '.join(where)} ORDER BY changes.id DESC LIMIT :limit",
            {"branch": branch, "service": service, "before_at": before_at, "limit": limit},
        )
        return [_change(row) for row in rows]

    def last(self, branch: str, service: str) -> Change | None:
        """The newest change that explains why a service is not there; None if it is there."""
        kinds = (*_EXPLAINING, *_SETTLING)
        row = self._db.execute(
            f"SELECT {_COLUMNS} FROM changes JOIN routes ON routes.id = route"
            " WHERE route = (SELECT id FROM routes WHERE branch = ? AND service = ?)"
            f" AND kind IN ({', '.join('?' * len(kinds))})"
            # a claim that is rejected keeps nobody from being served
            " AND (address <> '' OR kind <> 'rejected') ORDER BY changes.id DESC LIMIT 1",
            (branch, service, *kinds),
        ).fetchone()
        found = _change(row) if row else None
        return found if found and found.kind not in _SETTLING else None

    def owner_of(self, host: str) -> tuple[str, str] | None:
        """Branch and service of the route that had a host last; with or without the domain."""
        row = self._db.execute(
            "SELECT branch, service FROM hosts JOIN routes ON id = route WHERE label = ?"
            " ORDER BY to_id IS NULL DESC, to_id DESC, from_id DESC LIMIT 1",
            (host.partition(".")[0].lower(),),
        ).fetchone()
        return (row[0], row[1]) if row else None

    def generation_at(self, at: float) -> Generation | None:
        """What was served at a time; None if that is before all that is known."""
        return self._generation("WHERE at <= ? ORDER BY id DESC LIMIT 1", at)

    def newest_generation(self) -> Generation | None:
        """What is served now."""
        return self._generation("ORDER BY id DESC LIMIT 1")

    def generations(self, *, limit: int) -> list[Generation]:
        """The newest ones, the newest first."""
        rows = self._db.execute(f"{_GENERATIONS} ORDER BY id DESC LIMIT ?", (limit,))
        return [Generation(*row) for row in rows]

    def generations_called(self, beginning: str) -> list[Generation]:
        """Each that has a name with this beginning, as it was served last."""
        end = beginning[:-1] + chr(ord(beginning[-1]) + 1)
        rows = self._db.execute(
            f"{_GENERATIONS} WHERE id IN (SELECT max(id) FROM generations"
            " WHERE name >= ? AND name < ? GROUP BY name) ORDER BY id",
            (beginning, end),
        )
        return [Generation(*row) for row in rows]

    def served(self, generation: Generation, branch: str = "", service: str = "") -> list[Served]:
        """Where requests went with a generation, by branch, service and address."""
        about = self.about()
        domain = f".{about.domain}" if about and about.domain else ""
        given = {"id": generation.id, "branch": branch, "service": service}
        whose = "(:branch = '' OR branch = :branch) AND (:service = '' OR service = :service)"
        hosts: dict[tuple[str, str], list[str]] = {}
        since: dict[tuple[str, str], float] = {}
        for one_branch, one_service, label, begun_at in self._db.execute(
            "SELECT branch, service, label, since FROM hosts JOIN routes ON id = route"
            f" WHERE {_AT_ONCE} AND {whose} ORDER BY branch, service",
            given,
        ):
            owner = (one_branch, one_service)
            hosts.setdefault(owner, []).append(f"{label}{domain}")
            since[owner] = max(begun_at, since.get(owner, begun_at))
        for names in hosts.values():
            names.sort(key=lambda name: (-len(name), name))
        found = [
            Served(row[0], row[1], tuple(hosts.get(row[:2], ())), *row[2:])
            for row in self._db.execute(
                "SELECT branch, service, instance, address, since FROM serving"
                f" JOIN routes ON id = route WHERE {_AT_ONCE} AND {whose}",
                given,
            )
        ]
        running = {one[:2] for one in found}
        found += [
            Served(*owner, tuple(names), "", "", since[owner])
            for owner, names in hosts.items()
            if owner not in running
        ]
        return sorted(found, key=lambda one: (one.branch, one.service, one.address, one.instance))

    def gap_at(self, at: float) -> Gap | None:
        """When nobody watched, if that was so at a time."""
        row = self._db.execute(
            "SELECT from_at, to_at FROM gaps WHERE from_at < ? AND to_at > ? LIMIT 1", (at, at)
        ).fetchone()
        return Gap(*row) if row else None

    def knows(self, branch: str, service: str = "") -> bool:
        """Whether anything is told of a branch, or of a service of it."""
        return bool(
            self._db.execute(
                "SELECT 1 FROM routes WHERE branch = ? AND (? = '' OR service = ?) LIMIT 1",
                (branch, service, service),
            ).fetchone()
        )

    def last_requests(self) -> dict[str, float]:
        """When each route had its last request, by its id."""
        return dict(self._db.execute("SELECT route, at FROM last_seen"))

    def _generation(self, tail: str, *given: float) -> Generation | None:
        row = self._db.execute(f"{_GENERATIONS} {tail}", given).fetchone()
        return Generation(*row) if row else None


_GENERATIONS = "SELECT id, name, at, revision, routes FROM generations"


def _change(row: tuple[float, int, str, str, str, str, str, str, str]) -> Change:
    found = Change._make(row)
    return found._replace(kind=ChangeKind(found.kind))
