"""How long the watch takes: from the write of our own record until the watch tells of it.

Both ends are on one clock, which no other change can say of itself.
"""

import threading
import time
from collections.abc import Callable


class Echo:
    """Times one write at a time.

    Args:
        tell: Given the seconds that one took.
    """

    def __init__(
        self, tell: Callable[[float], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._lock = threading.Lock()
        self._called_at: float | None = None

    def call(self) -> None:
        """Note that our record is about to be written; an earlier call that is unheard counts."""
        with self._lock:
            if self._called_at is None:
                self._called_at = self._clock()

    def hear(self) -> None:
        """Note that the watch has told of our record."""
        with self._lock:
            called_at, self._called_at = self._called_at, None
        if called_at is not None:
            self._tell(self._clock() - called_at)

    def forget(self) -> None:
        """Note that the write has failed: nobody will tell of it."""
        with self._lock:
            self._called_at = None
