"""What a frontend's processes hold: old generations, memory, file descriptors, reloads so far."""

import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from regenerator import processes
from tests.torture.place import WORKERS, Place

LOOK_S = 0.05
"""Every worker lives longer than that, were it replaced at once: reloads are 0.2 s apart."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What some processes hold together.

    Attributes:
        memory_mib: Resident; what several of them share is counted once (PSS).
        files: Open file descriptors.
    """

    memory_mib: float
    files: int


def holding(pids: list[int]) -> Holding:
    """Look; a process that ends meanwhile holds nothing."""
    memory_kib = files = 0
    for pid in pids:
        with suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            lines = text.splitlines()
            memory_kib += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            files += len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - nothing but their number
    return Holding(memory_kib / 1024, files)


class WorkerWatch:
    """While it is entered, notes every worker that nginx has had.

    Attributes:
        old: Generations besides the newest that live.
        most_old: The most that lived at one moment.
    """

    def __init__(self, at: Place) -> None:
        self.old = self.most_old = 0
        self._at = at
        self._first = set(at.frontend.workers())
        self._seen = set(self._first)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    @property
    def reloads(self) -> int:
        """How many there were: each starts a full set of workers."""
        return round(len(self._seen - self._first) / WORKERS)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(LOOK_S):
            # between the death of nginx and the next one there is no master to ask
            with suppress(OSError, ValueError):
                alive = self._at.frontend.workers()
                self._seen |= set(alive)
                retiring = sum("shutting down" in processes.title(pid) for pid in alive)
                self.old = -(-retiring // WORKERS)
                self.most_old = max(self.most_old, self.old)
