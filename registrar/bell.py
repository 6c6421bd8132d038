"""What wakes a thread that waits for its next turn."""

import threading


class Bell:
    """Waiting that somebody else may cut short: once by ringing, for good by stopping.

    One thread waits; any may ring. Who rings before anybody waits is heard by the next waiting.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_rung = False
        self._is_stopped = False

    def ring(self) -> None:
        """End the waiting of now, or else the next one."""
        with self._changed:
            self._is_rung = True
            self._changed.notify_all()

    def stop(self) -> None:
        """End every waiting from now on."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    @property
    def stopped(self) -> bool:
        """Whether it was stopped."""
        return self._is_stopped

    def wait_stopped(self, seconds: float) -> bool:
        """Wait so long, or until it is stopped; whether it is. As many as like may do so."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_stopped, seconds)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait so long, or until it rings; without a time for ever. Says whether to stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_rung or self._is_stopped, seconds)
            self._is_rung = False
            return self._is_stopped
