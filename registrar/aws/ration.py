"""How often an endpoint may be asked that all tasks of a machine share. Pure.

Source:
    Amazon ECS container agent, ``ECS_TASK_METADATA_RPS_LIMIT``: 40 requests a second and bursts of
    60, for all tasks of an instance together. EC2 throttles its metadata an instance as well, and
    does not say where.
"""


class Ration:
    """So many requests at once, and so many a second in the long run: a token bucket."""

    def __init__(self, *, burst: int, rate: float) -> None:
        """All of the burst is there.

        Args:
            burst: Requests that may follow each other at once.
            rate: Requests a second that it fills up by.
        """
        self._burst = burst
        self._rate = rate
        self._left = float(burst)
        self._at: float | None = None

    def pause_s(self, now: float) -> float:
        """Seconds until the next request may be sent; 0 for at once."""
        self._fill(now)
        return max(0.0, (1 - self._left) / self._rate)

    def take(self, now: float) -> None:
        """Take note of a request that is being sent."""
        self._fill(now)
        self._left -= 1

    def _fill(self, now: float) -> None:
        if self._at is not None:
            self._left = min(float(self._burst), self._left + (now - self._at) * self._rate)
        self._at = now
