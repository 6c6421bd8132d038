"""Time that passes only where somebody waits for it."""

import heapq
from collections.abc import Callable
from itertools import count


class SpareTime:
    """A clock, a waiting, and what is to happen meanwhile."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits: list[float] = []
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()
        self._stopped = self._rung = False

    def at(self, at_s: float, event: Callable[[], object]) -> None:
        """Let something happen at a point in time."""
        heapq.heappush(self._events, (at_s, next(self._order), event))

    def stop_at(self, at_s: float) -> None:
        """Let the waiting say that it is time to stop."""
        self.at(at_s, self._stop)

    def ring(self) -> None:
        """Let the waiting end here, or the next one at once."""
        self._rung = True

    def freeze(self, for_s: float) -> None:
        """Let time pass in which nobody does anything."""
        self.now_s += for_s

    def clock(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> bool:
        """Let time pass, with all that happens in it."""
        assert seconds >= 0
        self.waits.append(seconds)
        until_s = self.now_s + seconds
        while self._events and self._events[0][0] <= until_s and not self._is_over():
            self.now_s, _, event = heapq.heappop(self._events)
            event()
        if not self._is_over():
            # who was stopped meanwhile comes back later
            self.now_s = max(self.now_s, until_s)
        self._rung = False
        return self._stopped

    def _stop(self) -> None:
        self._stopped = True

    def _is_over(self) -> bool:
        return self._stopped or self._rung
