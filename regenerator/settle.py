"""When to apply: at once after quiet, together while a reload runs, and never too often.

Pure: time is an argument.
"""

from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, slots=True)
class Settle:
    """Whether there is something to apply, and from when on it may be.

    Units:
        Seconds, on one monotonic clock.

    Attributes:
        pause_s: Between the end of one run and the start of the next.
        budget: Old generations that nginx may keep alive before the pause grows.
        free_at: No run before this.
        is_due: Something changed since the last run began.
    """

    pause_s: float
    budget: int
    free_at: float = float("-inf")
    is_due: bool = False

    def saw_change(self) -> Self:
        """Something changed; the first change after quiet waits for nothing."""
        return replace(self, is_due=True)

    def began(self) -> Self:
        """A run began with all that is known; what comes now waits for the next one."""
        return replace(self, is_due=False)

    def ended(self, now: float, *, old_generations: int) -> Self:
        """A run ended.

        Each old generation over the budget doubles the pause: sockets that live long are worth
        more than changes that come fast. 60 s bounds it, so that no change is held up for good.
        """
        over = max(0, old_generations - self.budget)
        pause_s = min(self.pause_s * 2 ** min(over, 16), max(60.0, self.pause_s))
        return replace(self, free_at=now + pause_s)

    def wait_s(self, now: float) -> float | None:
        """Seconds until a run should begin, 0 for now, None while there is nothing to do."""
        return max(0.0, self.free_at - now) if self.is_due else None
