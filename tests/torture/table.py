"""The one table that is printed."""

from collections.abc import Iterable
from dataclasses import dataclass

HEAD = ("row", "goal", "measured", "")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table.

    Attributes:
        wrong: Requests that reached a container of another branch.
        asked: Requests altogether, for the sum at the end.
    """

    row: str
    goal: str
    measured: str
    is_met: bool
    wrong: int = 0
    asked: int = 0

    @property
    def cells(self) -> tuple[str, ...]:
        """As they are printed."""
        return (self.row, self.goal, self.measured, "ok" if self.is_met else "**MISSED**")


def show_table(lines: Iterable[Line]) -> str:
    """The lines as a markdown table; not aligned, for some cells are longer than a screen."""
    rows = [HEAD, ("---",) * len(HEAD), *(line.cells for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
