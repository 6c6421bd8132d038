"""What a history tells, as text for people and as one JSON document for programs. Pure."""

import json
import textwrap
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from regenerator.dashboard.history.archive import About, Gap
from regenerator.dashboard.history.changes import Change, ChangeKind
from regenerator.dashboard.history.moments import local, zone_of
from regenerator.dashboard.history.past import Generation, Served
from regenerator.instants import precise
from registry.tables import GAP, Cell, Page, Tone, plain_row, width_of
from registry.terminal import escaped

SILENT_S = 30.0
"""A dashboard that lives has left a sign of it three times by then."""

_TONES = {
    **dict.fromkeys((ChangeKind.READY, ChangeKind.ACCEPTED), Tone.GOOD),
    **dict.fromkeys(
        (ChangeKind.EXPIRED, ChangeKind.LOST, ChangeKind.REJECTED, ChangeKind.UNHEALTHY), Tone.BAD
    ),
    **dict.fromkeys(
        (ChangeKind.HELD, ChangeKind.DRAINING, ChangeKind.DEREGISTERED, ChangeKind.REMOVED),
        Tone.DOUBTFUL,
    ),
}

_INDENT = "    "

YIELD = 20
"""Columns of a terminal; as much of a long name still says which one it is."""


def tell_changes(changes: Sequence[Change], page: Page) -> list[str]:
    """A line for each change, the oldest first, and its reason below it."""
    zone = zone_of(one.at for one in changes)
    headings = (f"TIME ({zone})", "CHANGE", "BRANCH", "SERVICE", "ADDRESS")
    rows = [plain_row(*headings, "INSTANCE", "REVISION", "GENERATION", tone=Tone.STRONG)]
    rows += [_change_row(one) for one in changes]
    table = _table(rows, page, spare=("INSTANCE", "REVISION", "GENERATION"), yielding=("BRANCH",))
    lines = [table[0]]
    for one, line in zip(changes, table[1:], strict=True):
        lines += [line, *_sentence(one.reason, page, tone=Tone.DIM, indent=_INDENT)]
    return lines


def tell_served(
    at: float, generation: Generation, served: Sequence[Served], *, gap: Gap | None, page: Page
) -> list[str]:
    """Where requests went at a time."""
    zone = zone_of((at, generation.at))
    text = (
        f"{local(at)} {zone}: generation {generation.name} of revision {generation.revision},"
        f" served since {local(generation.at)}"
    )
    lines = _sentence(text, page, tone=Tone.STRONG)
    if gap is not None:
        text = (
            f"from {local(gap.from_at)} to {local(gap.to_at)} nobody watched: this is what was"
            " served before, and it may have changed earlier than it is told"
        )
        lines += _sentence(text, page, tone=Tone.DOUBTFUL)
    if served:
        headings = ("BRANCH", "SERVICE", "ADDRESS", "INSTANCE", "SINCE", "HOSTS")
        rows = [plain_row(*headings, tone=Tone.STRONG)]
        rows += [
            plain_row(*_served_cells(one), local(one.since), _joined(one.hosts), tone=_tone_of(one))
            for one in served
        ]
        lines += _table(rows, page, spare=("INSTANCE", "SINCE"), yielding=("HOSTS",))
    return lines


def tell_diff(
    points: tuple[Generation, Generation],
    before: Sequence[Served],
    after: Sequence[Served],
    *,
    page: Page,
) -> list[str]:
    """What one generation has and another one has not, as a diff."""
    one, other = points
    zone = zone_of((one.at, other.at))
    lines = [
        page.line(
            f"{sign} {escaped(point.name)}  {local(point.at)} {zone}  revision {point.revision}",
            tone,
        )
        for sign, tone, point in (("---", Tone.BAD, one), ("+++", Tone.GOOD, other))
    ]
    old, new = _by_line(before), _by_line(after)
    gone = [("-", Tone.BAD, row) for key, row in old.items() if key not in new]
    came = [("+", Tone.GOOD, row) for key, row in new.items() if key not in old]
    rows = [
        plain_row(sign, *_served_cells(row), _joined(row.hosts), tone=tone)
        for sign, tone, row in sorted(
            gone + came, key=lambda it: (it[2].branch, it[2].service, it[0] == "+", it[2].address)
        )
    ]
    if rows:
        headings = ("", "BRANCH", "SERVICE", "ADDRESS", "INSTANCE", "HOSTS")
        rows.insert(0, plain_row(*headings, tone=Tone.STRONG))
        lines += _table(rows, page, spare=("INSTANCE",), yielding=("HOSTS",))
    changes = [change for _, change, _, _ in compare_routes(before, after)]
    counts = (f"{changes.count(word)} {word}" for word in ("added", "removed", "changed"))
    same = "both are the same generation" if one.name == other.name else "their routes are the same"
    lines.append(f"routes: {', '.join(counts)}" if changes else same)
    return lines


def tell_silence(about: About, *, now: float, page: Page) -> list[str]:
    """That nobody writes the history, if that is so."""
    if now - about.seen_at < SILENT_S:
        return []
    text = (
        f"nothing was written since {local(about.seen_at)} {zone_of([about.seen_at])}: the"
        " regenerator, or its dashboard, is away, or it cannot write: its log says so"
    )
    return _sentence(text, page, tone=Tone.DOUBTFUL)


def changes_document(changes: Iterable[Change]) -> str:
    """The changes, the oldest first."""
    return _document([{**one._asdict(), "at": precise(one.at)} for one in changes])


def served_document(
    at: float, generation: Generation, served: Iterable[Served], *, gap: Gap | None
) -> str:
    """Where requests went at a time."""
    return _document(
        {
            "at": precise(at),
            **_point(generation),
            "unwatched": {"from": precise(gap.from_at), "to": precise(gap.to_at)} if gap else None,
            "served": [{**one._asdict(), "since": precise(one.since)} for one in served],
        }
    )


def diff_document(
    points: tuple[Generation, Generation], before: Iterable[Served], after: Iterable[Served]
) -> str:
    """What one generation has and another one has not, by routes."""
    return _document(
        {
            "before": _point(points[0]),
            "after": _point(points[1]),
            "routes": [
                {
                    "branch": owner[0],
                    "service": owner[1],
                    "change": change,
                    "before": _side(old),
                    "after": _side(new),
                }
                for owner, change, old, new in compare_routes(before, after)
            ],
        }
    )


_Route = tuple[str, str]


def compare_routes(
    before: Iterable[Served], after: Iterable[Served]
) -> list[tuple[_Route, str, list[Served], list[Served]]]:
    """The routes that differ: whose, in a word how, and what they were and are."""
    old, new = _by_route(before), _by_route(after)
    found = []
    for owner in sorted(old.keys() | new.keys()):
        one, other = old.get(owner, []), new.get(owner, [])
        if _by_line(one).keys() != _by_line(other).keys():
            change = "changed" if one and other else "added" if other else "removed"
            found.append((owner, change, one, other))
    return found


def _by_route(served: Iterable[Served]) -> dict[_Route, list[Served]]:
    found: dict[_Route, list[Served]] = {}
    for one in served:
        found.setdefault((one.branch, one.service), []).append(one)
    return found


def _by_line(served: Iterable[Served]) -> dict[tuple[Any, ...], Served]:
    """What tells them apart is all but since when."""
    return {one[:-1]: one for one in served}


def _change_row(one: Change) -> tuple[Cell, ...]:
    names = (one.branch, one.service, one.address, one.instance)
    return (
        Cell(local(one.at)),
        Cell(one.kind.value, _TONES.get(one.kind, Tone.PLAIN)),
        *(Cell(escaped(name) or "-") for name in names),
        Cell(str(one.revision)),
        Cell(escaped(one.generation)),
    )


def _sentence(text: str, page: Page, *, tone: Tone, indent: str = "") -> list[str]:
    """A text, in as many lines as it takes on a terminal."""
    if not text:
        return []
    text = escaped(text)
    room = page.columns - len(indent)
    wrapped = textwrap.wrap(text, room) if page.columns and room > 0 else [text]
    return [page.line(f"{indent}{one}", tone) for one in wrapped]


def _table(
    rows: Sequence[Sequence[Cell]], page: Page, *, spare: Sequence[str], yielding: Collection[str]
) -> list[str]:
    """A table, with as many of its columns as a terminal has room for.

    Args:
        rows: The headings first.
        spare: The headings of columns that are left out, in this order.
        yielding: Those of columns that may be cut.
    """
    headings = [cell.text for cell in rows[0]]
    widths = [max(width_of(cell.text) for cell in column) for column in zip(*rows, strict=True)]
    kept = list(range(len(headings)))
    for heading in (*spare, None):
        needed = [min(widths[n], YIELD) if headings[n] in yielding else widths[n] for n in kept]
        if not page.columns or sum(needed) + len(GAP) * (len(kept) - 1) <= page.columns:
            break
        kept = [n for n in kept if headings[n] != heading]
    return page.table(
        [[row[n] for n in kept] for row in rows],
        right=[at for at, n in enumerate(kept) if headings[n] == "REVISION"],
        yielding=[at for at, n in enumerate(kept) if headings[n] in yielding],
    )


def _served_cells(one: Served) -> tuple[str, str, str, str]:
    address = one.address or "nothing runs"
    return escaped(one.branch), escaped(one.service), escaped(address), escaped(one.instance) or "-"


def _tone_of(one: Served) -> Tone:
    return Tone.PLAIN if one.address else Tone.DIM


def _joined(hosts: Iterable[str]) -> str:
    return escaped(" ".join(hosts)) or "-"


def _point(generation: Generation) -> dict[str, Any]:
    return {
        "generation": generation.name,
        "since": precise(generation.at),
        "revision": generation.revision,
    }


def _side(served: Sequence[Served]) -> dict[str, Any] | None:
    if not served:
        return None
    return {
        "hosts": served[0].hosts,
        "instances": [
            {"instance": one.instance, "address": one.address} for one in served if one.address
        ],
    }


def _document(content: Any) -> str:
    return json.dumps(content, indent=2)
