"""Aligned columns for people; colours only where click finds a terminal."""

from collections.abc import Sequence

import click

GAP = "  "


def render_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: int = 0) -> str:
    """Lines of aligned columns.

    Args:
        header: One word a column.
        rows: Cells; the style of a cell does not count into its width.
        right: How many of the last columns are numbers, and stand on the right.
    """
    lines = [[click.style(cell, bold=True) for cell in header], *map(list, rows)]
    widths = [max(len(click.unstyle(line[at])) for line in lines) for at in range(len(header))]
    first_right = len(header) - right
    return "\n".join(
        GAP.join(
            _padded(cell, widths[at], to_right=at >= first_right) for at, cell in enumerate(line)
        ).rstrip()
        for line in lines
    )


def _padded(cell: str, width: int, *, to_right: bool) -> str:
    blank = " " * (width - len(click.unstyle(cell)))
    return blank + cell if to_right else cell + blank
