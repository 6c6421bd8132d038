"""Counts reloads from outside, by the workers that nginx starts: a full set for each reload."""

import threading
from types import TracebackType
from typing import Self

from benchmarks.frontend import Frontend
from benchmarks.processes import children_of

LOOK_EVERY_S = 0.005
"""A worker that is replaced at once still lives until the next reload is through: 20 ms or more."""


class ReloadCount:
    """While it is entered, notes every child that the nginx master has had."""

    def __init__(self, frontend: Frontend) -> None:
        self._master = frontend.nginx_pid
        self._first = set(children_of(self._master))
        self._workers = len(frontend.worker_pids())
        self._seen = set(self._first)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    @property
    def reloads(self) -> int:
        """How many there were."""
        return round(len(self._seen - self._first) / max(1, self._workers))

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

    def _look(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            self._seen |= set(children_of(self._master))
