"""What the rows share: how much is done, a scratch folder, and progress beside the table."""

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture.table import Line


@dataclass(frozen=True, slots=True)
class Counts:
    """How much of each is done.

    Attributes:
        replaces: Instances replaced, one after the other.
        reloads: By changes of other branches.
        lived_through: Changes during which a WebSocket and a download of ``download_s`` live.
        kills: Of nginx workers.
        registrars: Alive while the registry fails.
        ttl_s: Theirs.
        away_s: How long etcd is away; longer than the TTL.
        routes: With those that a hand wrote.
        stops: Of instances, timed.
        soak_s: The long row.
        growth: Part by which the last third of it may hold more than the third before.
    """

    replaces: int = 50
    reloads: int = 100
    lived_through: int = 50
    download_s: int = 30
    kills: int = 20
    registrars: int = 300
    ttl_s: int = 15
    away_s: float = 60.0
    routes: int = 1_000
    stops: int = 50
    soak_s: float = 1_800.0
    growth: float = 0.05


SHORT = Counts(
    replaces=8,
    reloads=20,
    lived_through=10,
    download_s=10,
    kills=5,
    registrars=60,
    ttl_s=5,
    away_s=20.0,
    routes=200,
    stops=10,
    soak_s=60.0,
    # in a minute nginx has five generations of workers or eight, as it happens
    growth=0.25,
)
"""For CI: every row, in less than ten minutes."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the table.

    Attributes:
        folder: Scratch space, removed afterwards.
    """

    counts: Counts
    folder: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def new_folder(self, name: str) -> Path:
        """A folder of its own."""
        folder = self.folder / f"{next(self._numbers)}-{name}"
        folder.mkdir()
        return folder

    def say(self, text: str) -> None:
        """Progress, beside the table."""
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        sys.stderr.flush()


Row = Callable[[Run], Iterator[Line]]
