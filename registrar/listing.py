"""What is registered, for ``list``: as a table for people, or as one JSON document."""

import calendar
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from registrar.hosts import HostBook
from registry.faults import LabelsExhausted, UsageInvalid
from registry.keys import Keyspace, RouteKey, shown
from registry.records import Address, InstanceRecord
from registry.registrations import Registrations
from registry.snapshot import Entry
from registry.terminal import escaped

HEADINGS = ("BRANCH", "SERVICE", "INSTANCE", "ADDRESS", "STATE", "HOSTS", "AGE")

UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
"""Seconds in each; an age is told in the largest that it has one of."""


@dataclass(frozen=True, slots=True)
class Row:
    """One registration.

    Attributes:
        hosts: With the domain; labels alone where no frontend has reported.
        url: Empty where no frontend has reported.
        registered_at: As it stands in the record; empty if nobody said.
        state: Whether it gets requests: only if it is ready.
    """

    branch: str
    service: str
    instance: str
    address: str
    hosts: tuple[str, ...]
    url: str
    registered_at: str
    state: str


@dataclass(frozen=True, slots=True)
class Listing:
    """All registrations, and a sentence for each record that is none."""

    rows: tuple[Row, ...]
    problems: tuple[str, ...]


def read_listing(registrations: Registrations, book: HostBook, *, branch: str = "") -> Listing:
    """Read what is registered, of one branch or of all.

    Raises:
        UsageInvalid: The branch's name cannot be one.
    """
    try:
        below = registrations.keys.within(branch)[0] if branch else registrations.keys.routes
    except ValueError as exc:
        raise UsageInvalid(str(exc)) from exc
    return build_listing(
        registrations.store.list(below).entries.values(), book, keys=registrations.keys
    )


def build_listing(entries: Iterable[Entry], book: HostBook, *, keys: Keyspace) -> Listing:
    """Parse the entries below ``routes/``; whatever is wrong is told apart. Pure."""
    rows: list[Row] = []
    problems: list[str] = []
    for entry in entries:
        try:
            rows.append(_row(entry, book, keys=keys))
        except (ValueError, LabelsExhausted) as exc:
            problems.append(f"{shown(entry.key)}: {exc}")
    rows.sort(key=lambda row: (row.branch, row.service, row.instance))
    return Listing(tuple(rows), tuple(sorted(problems)))


def render_json(listing: Listing) -> str:
    """One JSON document, ASCII alone."""
    names = ("branch", "service", "instance", "address", "hosts", "url", "registered_at")
    return json.dumps([{name: getattr(row, name) for name in names} for row in listing.rows])


def render_table(listing: Listing, *, now: float) -> str:
    """Aligned columns; what could steer a terminal is escaped."""
    if not listing.rows:
        return "nothing is registered"
    return align([HEADINGS, *(_cells(row, now=now) for row in listing.rows)])


def align(lines: Sequence[Sequence[str]]) -> str:
    """A table as text: its columns as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_aligned(line, widths) for line in lines)


def _row(entry: Entry, book: HostBook, *, keys: Keyspace) -> Row:
    key = keys.parse(entry.key)
    if not isinstance(key, RouteKey):
        raise ValueError("the key is not a route's")
    if key.instance and not entry.lease:
        _check_hand_written(key)
    record = InstanceRecord.parse(entry.value)
    hosts = book.of(key.branch, key.service)
    return Row(
        key.branch,
        key.service,
        key.instance,
        str(record.address),
        hosts.hosts or hosts.labels,
        hosts.url,
        record.registered_at,
        record.state.value,
    )


def _check_hand_written(key: RouteKey) -> None:
    try:
        Address.parse(key.instance)
    except ValueError as exc:
        raise ValueError(
            f"a route of three parts without a lease ends in an address, not in {key.instance!r};"
            " a slash in a branch's name is written %2F"
        ) from exc


def _cells(row: Row, *, now: float) -> tuple[str, ...]:
    age = _age(row.registered_at, now=now)
    instance = row.instance or "-"
    names = (row.branch, row.service, instance, row.address, row.state)
    return tuple(map(escaped, (*names, " ".join(row.hosts), age)))


def _age(registered_at: str, *, now: float) -> str:
    try:
        at = calendar.timegm(time.strptime(registered_at[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return "-"
    age_s = max(0, int(now - at))
    size, unit = next((one for one in UNITS if age_s >= one[0]), UNITS[-1])
    return f"{age_s // size}{unit}"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
