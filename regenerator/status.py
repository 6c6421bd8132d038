"""What all frontends report of themselves, for ``regenerator status``."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from registry.etcd import Etcd
from registry.keys import FrontendKey, Keyspace, shown
from registry.records import FrontendRecord
from registry.snapshot import Entry


@dataclass(frozen=True, slots=True)
class Frontend:
    """One frontend's record.

    Attributes:
        is_alive: Its lease keeps the record; without one nobody keeps it true.
        record: None where it cannot be read.
    """

    id: str
    is_alive: bool
    record: FrontendRecord | None


def read_frontends(etcd: Etcd, *, keys: Keyspace) -> list[Frontend]:
    """All frontends, by their id.

    Raises:
        StoreUnreachable, StoreDenied: Nothing was read.
    """
    entries = etcd.list(keys.frontends).entries.values()
    return sorted((_read(entry, keys=keys) for entry in entries), key=lambda one: one.id)


def as_json(frontends: list[Frontend]) -> str:
    """One JSON document: the record of each, with ``id`` and ``alive`` in front."""
    document = [
        {"id": one.id, "alive": one.is_alive, **(one.record.fields() if one.record else {})}
        for one in frontends
    ]
    return json.dumps(document, indent=2)


def as_text(frontends: list[Frontend], *, now: datetime | None = None) -> str:
    """A block of lines each, for people."""
    if not frontends:
        return "no frontend has reported"
    return "\n".join(_block(one, now or datetime.now(UTC)) for one in frontends)


def _read(entry: Entry, *, keys: Keyspace) -> Frontend:
    try:
        key = keys.parse(entry.key)
        name = key.id if isinstance(key, FrontendKey) else shown(entry.key)
        return Frontend(name, bool(entry.lease), FrontendRecord.parse(entry.value))
    except ValueError:
        return Frontend(shown(entry.key.removeprefix(keys.frontends)), bool(entry.lease), None)


def _block(one: Frontend, now: datetime) -> str:
    title = click.style(f"frontend {one.id}", bold=True)
    if one.record is None:
        return f"{title}  {click.style('its record cannot be read', fg='red')}"
    record = one.record
    is_well = one.is_alive and record.state == "ok"
    state = record.state if one.is_alive else "dead"
    rows = [
        ("state", click.style(state, fg="green" if is_well else "red")),
        ("serving", f"{record.routes} routes as {record.generation} at {record.url}"),
        ("revision", f"{record.revision}, released {record.released}"),
        ("applied", f"{record.applied_at}{_age(record.applied_at, now)}"),
        ("left out", f"{record.rejected} records" if record.rejected else "nothing"),
    ]
    if record.held and record.state == "ok":
        rows.append(("sparing", f"{record.held} whose lease was lost a moment ago"))
    elif record.held:
        text = f"{record.held} that the registry lost; regenerator release lets go of them"
        rows.append(("holding", click.style(text, fg="red")))
    if record.missed:
        rows.append(("missed", f"{record.missed} keys that a list had to correct"))
    lines = [title, *(f"  {name:<9} {_plain(text)}" for name, text in rows)]
    for rejection in record.rejections:
        lines.append(click.style(f"    {_plain(rejection['key'])}", fg="yellow"))
        lines.append(f"      {_plain(rejection['reason'])}")
    return "\n".join(lines)


def _age(applied_at: str, now: datetime) -> str:
    if not applied_at:
        return "never"
    try:
        seconds = int((now - datetime.fromisoformat(applied_at)).total_seconds())
    except (ValueError, OverflowError):
        return ""
    return f" ({max(0, seconds)} s ago)"


def _plain(text: str) -> str:
    """Text from the registry must not steer a terminal; our own colours may."""
    return "".join(char if char.isprintable() or char == "\x1b" else "?" for char in text)
