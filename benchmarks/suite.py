"""What the rows of the table share: sizes, a scratch folder, and a place with etcd and services."""

import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.origin import Origin, serve_origin
from benchmarks.store import Store, run_store
from benchmarks.table import Line


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Attributes:
        small: Routes of the smaller registry.
        large: Routes of the larger one.
        newest: Hosts drawn from the newest routes, and routes of the smallest registry.
        samples: Of a latency at the smaller size; half as many at the larger.
        burst: Registrations at once.
        runs: Of what is measured several times.
        rounds: Alternating throughput rounds.
        seconds: Of each throughput round.
        reloads: With clients at work.
        registrars: At scale.
        deploys: In the morning rush.
        lease_s: How long a registrar's lease lasts there.
        at_rest_s: For how long they are watched at rest.
        outages: How often etcd is taken from them.
    """

    small: int = 1_000
    large: int = 10_000
    newest: int = 300
    samples: int = 60
    burst: int = 1_000
    runs: int = 5
    rounds: int = 5
    seconds: int = 3
    reloads: int = 100
    registrars: int = 1_000
    deploys: int = 100
    lease_s: int = 15
    at_rest_s: int = 20
    outages: int = 3


QUICK = Sizes(
    small=100,
    large=500,
    newest=50,
    samples=6,
    burst=100,
    runs=2,
    rounds=2,
    seconds=1,
    reloads=8,
    registrars=40,
    deploys=4,
    lease_s=3,
    at_rest_s=2,
    outages=1,
)
"""Shows in a minute or two that every row still runs; its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of the table.

    Attributes:
        folder: Scratch space, removed afterwards.
    """

    sizes: Sizes
    folder: Path
    _count: Iterator[int] = field(default_factory=itertools.count)

    def new_folder(self, name: str) -> Path:
        """A path that is not there yet."""
        return self.folder / f"{next(self._count)}-{name}"

    @contextlib.contextmanager
    def place(self, *, services: int = 1_000) -> Iterator[tuple[Store, Origin]]:
        """A fresh etcd, and services to put behind routes."""
        with (
            run_store(self.new_folder("etcd")) as store,
            serve_origin(self.new_folder("origin"), count=services) as origin,
        ):
            yield store, origin

    def say(self, text: str) -> None:
        """Progress, beside the table."""
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


Row = Callable[[Bench], Iterator[Line]]
