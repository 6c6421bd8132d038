"""Tables for people: aligned, cut to a terminal's width, coloured where that is wanted. Pure."""

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

GAP = "  "

ELLIPSIS = "…"

COLUMN_LEAST, YIELDING_LEAST = 4, 8
"""Columns that are narrower tell nothing. First those that yield are cut, then all of them; in the
end the last ones go."""

UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
"""Seconds in each; an age is told in the largest that it has one of."""


class Tone(StrEnum):
    """How a text looks, as terminals are told (ECMA-48, SGR)."""

    PLAIN = ""
    STRONG = "1"
    DIM = "2"
    BAD = "31"
    GOOD = "32"
    DOUBTFUL = "33"


class Cell(NamedTuple):
    """A text that cannot steer a terminal, and how it looks."""

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Page:
    """What a text is written on.

    Attributes:
        columns: What is longer is cut; 0 for what takes a line of any length, such as a pipe.
        lines: Likewise, for what is drawn again and again.
        is_coloured: It shows tones.
    """

    columns: int = 0
    lines: int = 0
    is_coloured: bool = False

    def line(self, text: str, tone: Tone = Tone.PLAIN) -> str:
        """One line."""
        return self._toned(cut(text, self.columns) if self.columns else text, tone)

    def table(
        self,
        rows: Sequence[Sequence[Cell]],
        *,
        right: Collection[int] = (),
        yielding: Collection[int] = (),
    ) -> list[str]:
        """A line for each row, its columns as wide as they need to be; the widest are cut first.

        Args:
            rows: The headings first; as many cells in each.
            right: The columns that are numbers, and stand on the right.
            yielding: Those that are cut before any other.
        """
        widths = [max(width_of(cell.text) for cell in column) for column in zip(*rows, strict=True)]
        if self.columns:
            widths = _fitted(widths, self.columns, yielding=yielding)
        return [self._row(row, widths, right=right) for row in rows]

    def _row(self, row: Sequence[Cell], widths: Sequence[int], *, right: Collection[int]) -> str:
        shown = []
        for at, (cell, width) in enumerate(zip(row, widths, strict=False)):
            text = cut(cell.text, width)
            blank = " " * (width - width_of(text))
            toned = self._toned(text, cell.tone)
            shown.append(blank + toned if at in right else toned + blank)
        return GAP.join(shown).rstrip()

    def _toned(self, text: str, tone: Tone) -> str:
        return f"\x1b[{tone}m{text}\x1b[0m" if tone and text and self.is_coloured else text


def plain_row(*texts: str, tone: Tone = Tone.PLAIN) -> tuple[Cell, ...]:
    """Cells that all look the same."""
    return tuple(Cell(text, tone) for text in texts)


def width_of(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_width, text))


def cut(text: str, columns: int) -> str:
    """As much of a text as there is room for, with an ellipsis where something is missing."""
    if width_of(text) <= columns:
        return text
    kept, left = [], columns - 1
    for char in text:
        left -= _width(char)
        if left < 0:
            break
        kept.append(char)
    return "".join(kept) + ELLIPSIS


def age(since: str, *, now: float) -> str:
    """How long ago a time in UTC was, such as ``5m``; a hyphen if that is none.

    Args:
        now: In seconds since 1970.
    """
    try:
        at = datetime.fromisoformat(since[:19]).replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return "-"
    age_s = max(0, int(now - at))
    size, unit = next((one for one in UNITS if age_s >= one[0]), UNITS[-1])
    return f"{age_s // size}{unit}"


def _width(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me"}:
        # drawn over the one before
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def _fitted(widths: Sequence[int], columns: int, *, yielding: Collection[int]) -> list[int]:
    """Column widths that fit; as few of them as there is room for."""
    fitted = list(widths)
    while sum(fitted) + len(GAP) * (len(fitted) - 1) > columns:
        # of those that are as wide the last: what comes first says what it is about
        by_width = sorted(range(len(fitted)), key=lambda at: (fitted[at], at))
        at = next((one for one in by_width[::-1] if one in yielding), by_width[-1])
        if fitted[at] <= YIELDING_LEAST:
            at = by_width[-1]
        if fitted[at] > COLUMN_LEAST:
            fitted[at] -= 1
        elif len(fitted) > 1:
            fitted.pop()
        else:
            return [columns]
    return fitted
