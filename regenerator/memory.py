"""What the brake has to know after a restart, as a file of the state folder.

Without it a regenerator that starts beside an empty registry would take it at its word, and clear
what its nginx has served all the while.

Shape::

    {"version": 1, "cluster_id": "…", "revision": 812, "held": ["<key>", …],
     "entries": [["<key>", "<value>", create revision, mod revision, lease], …]}

    Keys and values in base64: nobody has parsed them.
"""

import json
import os
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from regenerator.brake import Memory
from regenerator.whole_file import write_whole
from registry.faults import StateUnwritable
from registry.snapshot import Entry, Snapshot


class MemoryFile:
    """Reads and writes it."""

    def __init__(
        self, path: Path, *, recent_s: float, now: Callable[[], float] = time.time
    ) -> None:
        """Touches nothing yet.

        Args:
            recent_s: A file that is older does not tell what was lost just now.
            now: The time of day, by which files have their age.
        """
        self._path = path
        self._recent_s = recent_s
        self._now = now

    def read(self) -> Memory | None:
        """What was written last; None if there is nothing that can be read."""
        try:
            document = json.loads(self._path.read_bytes())
            entries = [
                Entry(b64decode(key), b64decode(value), int(created), int(modified), int(lease))
                for key, value, created, modified, lease in document["entries"]
            ]
            snapshot = Snapshot(
                str(document["cluster_id"]),
                int(document["revision"]),
                {entry.key: entry for entry in entries},
            )
            held = frozenset(map(b64decode, document["held"]))
            age_s = self._now() - self._path.stat().st_mtime
        except (OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
            # not there yet, or cut short with the power: as good as none
            return None
        return Memory(snapshot, held & snapshot.entries.keys(), abs(age_s) <= self._recent_s)

    def touch(self) -> None:
        """Note that what was written last still holds."""
        # without a file there is nothing that holds
        with suppress(OSError):
            os.utime(self._path)

    def write(self, memory: Memory) -> None:
        """Put it in the place of what was there.

        Raises:
            StateUnwritable: What was there is still there.
        """
        entries = memory.snapshot.entries.values()
        document = {
            "version": 1,
            "cluster_id": memory.snapshot.cluster_id,
            "revision": memory.snapshot.revision,
            "held": sorted(map(_text, memory.held)),
            "entries": [[_text(one.key), _text(one.value), *one[2:]] for one in entries],
        }
        try:
            write_whole(self._path, json.dumps(document, separators=(",", ":")))
        except OSError as exc:
            raise StateUnwritable(f"{self._path} cannot be written: {exc.strerror}") from exc


def _text(raw: bytes) -> str:
    return b64encode(raw).decode()
