"""What all frontends report of themselves, for ``regenerator status``."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from regenerator.lagging import behind
from registry.etcd import Etcd
from registry.keys import FrontendKey, Keyspace, shown
from registry.records import FrontendRecord
from registry.settings import Problems, needed_etcd, read_registry
from registry.snapshot import Entry, Snapshot
from registry.tables import Cell, Page, Tone, age, plain_row
from registry.terminal import escaped
from registry.watching import Picture, show_for_ever, show_once

HEADINGS = (
    "FRONTEND",
    "STATE",
    "ROUTES",
    "REVISION",
    "BEHIND",
    "GENERATION",
    "APPLIED",
    "LEFT-OUT",
    "HELD",
)

NUMBERS = {HEADINGS.index(one) for one in ("ROUTES", "REVISION", "BEHIND", "LEFT-OUT", "HELD")}

YIELDING = {HEADINGS.index("GENERATION")}

OK, DEAD, UNREADABLE = "ok", "dead", "unreadable"

INDENT = "  "


@dataclass(frozen=True, slots=True)
class Frontend:
    """One frontend's record.

    Attributes:
        is_alive: Its lease keeps the record; without one nobody keeps it true.
        record: None where it cannot be read.
        behind_by: How many revisions the newest that a living frontend serves is ahead.
    """

    id: str
    is_alive: bool
    record: FrontendRecord | None
    behind_by: int = 0

    @property
    def state(self) -> str:
        """How it fares, in a word or two."""
        if self.record is None:
            return UNREADABLE
        return self.record.state if self.is_alive else DEAD


def show(given: Mapping[str, str], *, as_json: bool, watch: bool) -> None:
    """Print what every frontend reports; once, or again whenever it changes.

    Raises:
        SettingsInvalid: There is no registry to ask.
        StoreUnreachable, StoreDenied: Nothing was read.
    """
    problems = Problems()
    registry = read_registry(given, problems)
    settings = needed_etcd(registry, problems)
    problems.settle()
    etcd, prefix = Etcd(settings), registry.keys.frontends
    draw = partial(draw_frontends, keys=registry.keys)
    if watch:
        show_for_ever(etcd, [prefix], draw, program="regenerator", as_json=as_json)
    else:
        show_once(draw([etcd.list(prefix)]), program="regenerator", as_json=as_json)


def draw_frontends(snapshots: Sequence[Snapshot], *, keys: Keyspace) -> Picture:
    """What is shown of what lies below ``frontends/``."""
    [snapshot] = snapshots
    frontends = read_frontends(snapshot.entries.values(), keys=keys)
    return Picture(
        frontends,
        lambda: as_json(frontends),
        lambda page: as_table(frontends, page, now=time.time()),
    )


def read_frontends(entries: Iterable[Entry], *, keys: Keyspace) -> list[Frontend]:
    """All frontends, by their ids. Pure."""
    read = sorted((_read(entry, keys) for entry in entries), key=lambda one: one[0])
    living = [record for _, is_alive, record in read if is_alive and record]
    return [
        Frontend(name, is_alive, record, behind(record, living) if record else 0)
        for name, is_alive, record in read
    ]


def as_json(frontends: Iterable[Frontend]) -> str:
    """One JSON document: the record of each, with what is known besides in front."""
    return json.dumps(
        [
            {
                "id": one.id,
                "alive": one.is_alive,
                "behind_by": one.behind_by,
                **(one.record.fields() if one.record else {}),
            }
            for one in frontends
        ]
    )


def as_table(frontends: Sequence[Frontend], page: Page, *, now: float) -> list[str]:
    """A line for each, then what there is to say of them, then what they leave out.

    Args:
        now: In seconds since 1970.
    """
    if not frontends:
        return ["no frontend has reported"]
    headings = plain_row(*HEADINGS, tone=Tone.STRONG)
    rows = [_cells(one, now=now) for one in frontends]
    lines = page.table([headings, *rows], right=NUMBERS, yielding=YIELDING)
    for one in frontends:
        lines += [page.line(escaped(text), tone) for text, tone in _remarks(one)]
    urls = {one.record.url: None for one in frontends if one.record and one.is_alive}
    lines += [page.line(escaped(f"served at {url}")) for url in urls if url]
    return lines + _rejections(frontends, page)


def _read(entry: Entry, keys: Keyspace) -> tuple[str, bool, FrontendRecord | None]:
    try:
        key = keys.parse(entry.key)
        name = key.id if isinstance(key, FrontendKey) else shown(entry.key)
        return name, bool(entry.lease), FrontendRecord.parse(entry.value)
    except ValueError:
        return shown(entry.key.removeprefix(keys.frontends)), bool(entry.lease), None


def _cells(one: Frontend, *, now: float) -> tuple[Cell, ...]:
    state = Cell(escaped(one.state), Tone.GOOD if one.state == OK else Tone.BAD)
    record = one.record
    if record is None:
        return Cell(escaped(one.id)), state, *plain_row(*"-" * (len(HEADINGS) - 2))
    applied = age(record.applied_at, now=now)
    return (
        Cell(escaped(one.id)),
        state,
        Cell(str(record.routes)),
        Cell(str(record.revision)),
        _count(one.behind_by, Tone.DOUBTFUL),
        Cell(escaped(record.generation) or "-"),
        Cell(f"{applied} ago" if applied != "-" else applied),
        _count(record.rejected, Tone.DOUBTFUL),
        _count(record.held, Tone.BAD if record.state != OK else Tone.DOUBTFUL),
    )


def _count(number: int, tone: Tone) -> Cell:
    return Cell(str(number), tone if number else Tone.PLAIN)


def _remarks(one: Frontend) -> Iterable[tuple[str, Tone]]:
    """What there is to say of a frontend that a number does not."""
    record = one.record
    if record is None:
        yield (
            f"{one.id}: its record cannot be read; a newer branchfront may have written it",
            Tone.BAD,
        )
        return
    if not one.is_alive:
        yield f"{one.id}: its record is on no lease, so nobody keeps it true", Tone.BAD
    if record.held and record.state == OK:
        yield f"{one.id}: spares {record.held} whose lease was lost a moment ago", Tone.DOUBTFUL
    elif record.held:
        text = f"{one.id}: holds {record.held} that the registry lost"
        yield f"{text}; regenerator release lets go of them", Tone.BAD
    if record.missed:
        yield f"{one.id}: missed {record.missed} keys that a list had to correct", Tone.DOUBTFUL


def _rejections(frontends: Sequence[Frontend], page: Page) -> list[str]:
    """What is left out and why, each once; by whom, where others do not."""
    records = {one.id: one.record for one in frontends if one.record and one.is_alive}
    by_whom: dict[tuple[str, str], list[str]] = {}
    for name, record in records.items():
        for told in record.rejections:
            by_whom.setdefault((told["key"], told["reason"]), []).append(name)
    unsaid = max((one.rejected - len(one.rejections) for one in records.values()), default=0)
    lines: list[str] = []
    for (key, reason), names in sorted(by_whom.items()):
        by = "" if len(names) == len(records) else f", by {', '.join(names)}"
        lines.append(page.line(f"{INDENT}{escaped(key + by)}", Tone.DOUBTFUL))
        lines.append(page.line(f"{INDENT * 2}{escaped(reason)}"))
    if unsaid > 0:
        lines.append(page.line(f"{INDENT}and {unsaid} more; the regenerator's log names all"))
    return [page.line("left out:", Tone.STRONG), *lines] if lines else []
