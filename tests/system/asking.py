"""A client that asks all the time while a test does something to the frontend."""

import http.client
import threading
from collections import Counter
from types import TracebackType
from typing import Self

from tests.etcd_server import wait_until
from tests.system.frontend import Frontend

PAUSE_S = 0.005
"""Between two requests: often enough to meet a gap of a few milliseconds."""


class Asking:
    """Asks for one host, each time on a connection of its own and once.

    Attributes:
        answers: How often each text came with status 200.
        failures: Whatever else came, in words.
    """

    def __init__(self, frontend: Frontend, host: str) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._frontend = frontend
        self._host = host
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self.answers or self.failures)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(PAUSE_S):
            try:
                answer = self._frontend.ask(self._host)
            except (OSError, http.client.HTTPException) as exc:
                self.failures.append(repr(exc))
                continue
            if answer.status == 200:
                self.answers[answer.text] += 1
            else:
                self.failures.append(f"{answer.status} {answer.text[:200]}")
