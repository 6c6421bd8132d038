"""One thread hands things to another, one at a time, and either can end it."""

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Handover(Generic[T]):
    """A queue of one: who offers waits until the thing before was taken.

    Unlike a ``queue.Queue`` it can be ended, which frees whoever waits on either side.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[T] = []
        self.ended = False

    def offer(self, thing: T) -> None:
        """Leave a thing for the other side; it is dropped once this was ended."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended or not self._waiting)
            if not self.ended:
                self._waiting.append(thing)
                self._changed.notify_all()

    def take(self) -> T | None:
        """Wait for a thing; None once this was ended."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended or self._waiting)
            if self.ended:
                return None
            self._changed.notify_all()
            return self._waiting.pop()

    def wait(self, limit_s: float) -> None:
        """Wait for the end, at most this long."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended, timeout=limit_s)

    def end(self) -> None:
        """Free both sides."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()
