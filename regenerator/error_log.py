"""What nginx logs when it cannot go on."""

import re
from collections.abc import Iterable
from pathlib import Path

_EMERG = re.compile(r"\[emerg\] (?:\d+#\d+: )?(.*)")


def grave(lines: Iterable[str]) -> list[str]:
    """What nginx says of why it cannot go on, without time and pid."""
    return [found[1] for line in lines if (found := _EMERG.search(line))]


class ErrorLog:
    """One error log, read from a mark on: what it said of earlier troubles is past."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark_bytes = 0

    def mark(self) -> None:
        """Forget all that is logged up to now."""
        self._mark_bytes = self._size_bytes()

    def grave(self) -> list[str]:
        """What has made nginx give up since the mark."""
        if self._size_bytes() < self._mark_bytes:
            # it was rotated
            self._mark_bytes = 0
        try:
            with self._path.open("rb") as file:
                file.seek(self._mark_bytes)
                return grave(file.read().decode(errors="replace").splitlines())
        except OSError:
            return []

    def _size_bytes(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0
