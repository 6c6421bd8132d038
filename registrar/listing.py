"""What is registered, for ``list``: as a table for people, or as one JSON document."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from registrar.hosts import HostBook
from registry.claims import read_claims
from registry.faults import LabelsExhausted, UsageInvalid
from registry.keys import ClaimKey, Keyspace, RouteKey, shown
from registry.records import Address, FrontendRecord, InstanceRecord, State
from registry.remembering import remembered
from registry.snapshot import Entry, Snapshot
from registry.tables import Cell, Page, Tone, age, plain_row
from registry.terminal import escaped
from registry.watching import Picture

HEADINGS = ("BRANCH", "SERVICE", "INSTANCE", "ADDRESS", "STATE", "HOSTS", "AGE")

YIELDING = {HEADINGS.index("INSTANCE"), HEADINGS.index("HOSTS")}

UNHEALTHY, REJECTED = "unhealthy", "rejected"
"""What a table says besides a record's states: it starts and fails; frontends leave it out."""

TONES = {
    State.READY: Tone.GOOD,
    State.STARTING: Tone.DOUBTFUL,
    UNHEALTHY: Tone.DOUBTFUL,
    State.DRAINING: Tone.DIM,
    REJECTED: Tone.BAD,
}

INDENT = "    "

FIELDS = (
    "branch",
    "service",
    "instance",
    "address",
    "hosts",
    "url",
    "registered_at",
    "state",
    "health",
    "rejection",
    "conflict",
)
"""Of a row, in the JSON document."""


@dataclass(frozen=True, slots=True)
class Row:
    """One registration.

    Attributes:
        hosts: With the domain; labels alone where no frontend has reported.
        url: Empty where no frontend has reported.
        registered_at: As it stands in the record; empty if nobody said.
        state: Whether it gets requests: only if it is ready.
        health: Why it is not ready, as its registrar says.
        rejection: Why frontends leave it out, as a sentence.
        conflict: What is wrong with its claim, as a sentence.
    """

    branch: str
    service: str
    instance: str
    address: str
    hosts: tuple[str, ...]
    url: str
    registered_at: str
    state: str
    health: str = ""
    rejection: str = ""
    conflict: str = ""

    @property
    def word(self) -> str:
        """How it fares, in a word."""
        if self.rejection:
            return REJECTED
        return UNHEALTHY if self.state == State.STARTING and self.health else self.state

    @property
    def reasons(self) -> tuple[str, ...]:
        """What there is to say of it, as sentences."""
        health = self.health if self.state == State.STARTING else ""
        return tuple(filter(None, (self.rejection, health, self.conflict)))


@dataclass(frozen=True, slots=True)
class Listing:
    """All registrations, and a sentence for each record that is none."""

    rows: tuple[Row, ...]
    problems: tuple[str, ...]


def prefixes(keys: Keyspace, *, branch: str = "") -> tuple[bytes, bytes, bytes]:
    """What is read for a listing, of one branch or of all: routes, claims and frontends.

    Raises:
        UsageInvalid: The branch's name cannot be one.
    """
    try:
        below = keys.within(branch)[0] if branch else keys.routes
    except ValueError as exc:
        raise UsageInvalid(str(exc)) from exc
    return below, keys.claims, keys.frontends


def draw(snapshots: Sequence[Snapshot], *, keys: Keyspace, default_service: str) -> Picture:
    """What is shown of what lies below ``prefixes``."""
    listing = compile_listing(snapshots, keys=keys, default_service=default_service)
    return Picture(
        listing,
        lambda: render_json(listing),
        lambda page: render_table(listing, page, now=time.time()),
        listing.problems,
    )


def compile_listing(
    snapshots: Sequence[Snapshot], *, keys: Keyspace, default_service: str
) -> Listing:
    """A listing of what lies below ``prefixes``. Pure."""
    routes, standing, frontends = (one.entries.values() for one in snapshots)
    claims, unread = read_claims(standing, keys=keys)
    records = list(_records(frontends))
    book = HostBook(claims, records, default_service=default_service, keys=keys)
    listing = build_listing(routes, book, keys=keys, told=_told(records))
    if not unread:
        return listing
    first = f"{unread[0].key}: {unread[0].reason}"
    problem = f"{len(unread)} claims cannot be read, such as {first}"
    return Listing(listing.rows, (*listing.problems, problem))


def build_listing(
    entries: Iterable[Entry],
    book: HostBook,
    *,
    keys: Keyspace,
    told: Mapping[str, str] | None = None,
) -> Listing:
    """Parse the entries below ``routes/``; whatever is wrong is told apart. Pure.

    Args:
        told: What frontends say of keys, routes' and claims'.
    """
    rows: list[Row] = []
    problems: list[str] = []
    for entry in entries:
        try:
            rows.append(_row(entry, book, keys=keys, told=told or {}))
        except (ValueError, LabelsExhausted) as exc:
            problems.append(f"{shown(entry.key)}: {exc}")
    _read.turn()
    rows.sort(key=lambda row: (row.branch, row.service, row.instance))
    return Listing(tuple(rows), tuple(sorted(problems)))


def render_json(listing: Listing) -> str:
    """One JSON document, ASCII alone."""
    return json.dumps([{name: getattr(row, name) for name in FIELDS} for row in listing.rows])


def render_table(listing: Listing, page: Page, *, now: float) -> list[str]:
    """Aligned columns, and what there is to say of a row below it; nothing steers a terminal.

    Args:
        now: In seconds since 1970.
    """
    if not listing.rows:
        return ["nothing is registered"]
    headings = plain_row(*HEADINGS, tone=Tone.STRONG)
    cells = [headings, *(_cells(row, now=now) for row in listing.rows)]
    first, *table = page.table(cells, yielding=YIELDING)
    lines = [first]
    for row, line in zip(listing.rows, table, strict=True):
        lines.append(line)
        tone = Tone.BAD if row.rejection else Tone.DOUBTFUL
        lines += [page.line(INDENT + escaped(one), tone) for one in row.reasons]
    return lines


def _records(frontends: Iterable[Entry]) -> Iterable[FrontendRecord]:
    for entry in sorted(frontends, key=lambda one: one.key):
        try:
            yield FrontendRecord.parse(entry.value)
        except ValueError:
            # its regenerator writes it anew when it reports next
            continue


def _told(records: Sequence[FrontendRecord]) -> dict[str, str]:
    """What frontends say of keys; of two that differ the first."""
    found: dict[str, str] = {}
    for record in records:
        for one in record.rejections:
            found.setdefault(one["key"], one["reason"])
    return found


def _row(entry: Entry, book: HostBook, *, keys: Keyspace, told: Mapping[str, str]) -> Row:
    key, record = _read(entry, keys)
    hosts = book.of(key.branch, key.service)
    rejection = conflict = ""
    if told:
        rejection = told.get(shown(entry.key), "")
        conflict = told.get(keys.raw(ClaimKey(key.branch, key.service)).decode(), "")
    return Row(
        key.branch,
        key.service,
        key.instance,
        str(record.address),
        hosts.hosts or hosts.labels,
        hosts.url,
        record.registered_at,
        record.state.value,
        record.health,
        rejection and f"frontends leave it out: {rejection}",
        conflict,
    )


@remembered
def _read(entry: Entry, keys: Keyspace) -> tuple[RouteKey, InstanceRecord]:
    """What an entry says.

    Raises:
        ValueError: It is no route.
    """
    key = keys.parse(entry.key)
    if not isinstance(key, RouteKey):
        raise ValueError("the key is not a route's")
    if key.instance and not entry.lease:
        _check_hand_written(key)
    return key, InstanceRecord.parse(entry.value)


def _check_hand_written(key: RouteKey) -> None:
    try:
        Address.parse(key.instance)
    except ValueError as exc:
        raise ValueError(
            f"a route of three parts without a lease ends in an address, not in {key.instance!r};"
            " a slash in a branch's name is written %2F"
        ) from exc


def _cells(row: Row, *, now: float) -> tuple[Cell, ...]:
    names = plain_row(*map(escaped, (row.branch, row.service, row.instance or "-", row.address)))
    hosts = plain_row(" ".join(row.hosts), age(row.registered_at, now=now))
    return (*names, Cell(row.word, TONES[row.word]), *hosts)
