"""How busy one etcd is, looked at several times a second."""

import http.client
import threading
import time
from types import TracebackType
from typing import NamedTuple, Self

from benchmarks.members import Member, total
from benchmarks.processes import BenchmarkFault

LOOK_EVERY_S = 0.25
"""Its figures are 160 kB of text, which take etcd some milliseconds."""


class Beat(NamedTuple):
    """One look.

    Attributes:
        requests: Calls of gRPC that etcd has dealt with since it was started.
        health_s: How long its answer to ``GET /health`` took, which writes to its log.
    """

    at: float
    requests: float
    health_s: float


class Pulse:
    """While it is entered, looks at one member of etcd.

    Attributes:
        beats: Every look that was answered.
        missed: Looks that were not, though it had answered before.
    """

    def __init__(self, member: Member) -> None:
        self.beats: list[Beat] = []
        self.missed = 0
        self._member = member
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def peak(self) -> float:
        """Most requests a second between two looks."""
        pairs = zip(self.beats, self.beats[1:], strict=False)
        return max(
            (
                (after.requests - before.requests) / (after.at - before.at)
                for before, after in pairs
            ),
            default=0.0,
        )

    @property
    def slowest_health_s(self) -> float:
        """Its slowest answer to the question whether it is well."""
        return max((beat.health_s for beat in self.beats), default=0.0)

    def _run(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            try:
                began_at = time.monotonic()
                self._member.get("/health")
                health_s = time.monotonic() - began_at
                requests = total(self._member.figures(), "grpc_server_handled_total")
            except (OSError, http.client.HTTPException, BenchmarkFault):
                self.missed += bool(self.beats)
            else:
                self.beats.append(Beat(time.monotonic(), requests, health_s))
