"""Our stdout: what whoever reads it can show, and pictures on it that follow each other."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence

import click

from registry.tables import Page, Tone

HOME, CLEAR_LINE, CLEAR_BELOW, CLEAR = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[2J"
"""What a terminal does: to its upper left corner, empty the rest of a line, all below, all."""


def page_of_stdout(environ: Mapping[str, str] = os.environ) -> Page:
    """What may be written on stdout as it is now; a terminal may have been resized.

    Source:
        https://no-color.org
    """
    if not sys.stdout.isatty():
        return Page()
    size = shutil.get_terminal_size()
    is_dumb = environ.get("TERM") == "dumb"
    return Page(
        # some terminals begin a new line as soon as the last column is written
        columns=max(1, size.columns - 1),
        lines=0 if is_dumb else size.lines,
        is_coloured=not (is_dumb or environ.get("NO_COLOR")),
    )


class Screen:
    """Draws one picture over the other, without anything empty between them."""

    def __init__(self) -> None:
        """Draws nothing yet."""
        self._is_drawn = False

    def draw(self, lines: Sequence[str], page: Page) -> None:
        """Show these lines, and nothing else; of too many the first, and how many are missing."""
        # the cursor stands below the last one
        room = max(1, page.lines - 1)
        shown = list(lines)
        if len(shown) > room:
            missing = len(shown) - room + 1
            shown[room - 1 :] = [page.line(f"{missing} more lines", Tone.DIM)]
        picture = "".join(f"{line}{CLEAR_LINE}\n" for line in shown)
        begin = HOME if self._is_drawn else HOME + CLEAR
        self._is_drawn = True
        click.echo(f"{begin}{picture}{CLEAR_BELOW}", nl=False)
