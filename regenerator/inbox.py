"""Where the threads of a regenerator leave what they saw, and its loop finds it."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from registry.records import Address
from registry.snapshot import Entry, Snapshot


@dataclass(frozen=True, slots=True)
class News:
    """What came since the loop looked last.

    Attributes:
        ended: What was deleted on the way to the snapshot, as it was last.
        answers: Of addresses, whether they accept connections.
        heard_at: When the first of the snapshots came that were not looked at yet.
    """

    snapshot: Snapshot | None = None
    ended: tuple[Entry, ...] = ()
    answers: Mapping[Address, bool] = field(default_factory=dict)
    are_templates_saved: bool = False
    is_stopping: bool = False
    heard_at: float = field(default=0.0, compare=False)

    def __bool__(self) -> bool:
        return (
            self.snapshot is not None
            or bool(self.answers)
            or self.are_templates_saved
            or self.is_stopping
        )


class Inbox:
    """Holds the newest of each kind; what is overtaken before it was looked at is gone."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._snapshot: Snapshot | None = None
        self._heard_at = 0.0
        self._ended: tuple[Entry, ...] = ()
        self._answers: dict[Address, bool] = {}
        self._are_templates_saved = False
        self._is_stopping = False
        self._raised: BaseException | None = None

    def put(self, snapshot: Snapshot) -> None:
        """Leave the registry's newest state."""
        with self._changed:
            if self._snapshot is None:
                self._heard_at = self._clock()
            self._snapshot = snapshot
            self._ended += snapshot.ended
            self._changed.notify()

    def answered(self, answers: Mapping[Address, bool]) -> None:
        """Leave which addresses accept connections."""
        with self._changed:
            self._answers |= answers
            self._changed.notify()

    def saved_templates(self) -> None:
        """Say that a template was saved."""
        with self._changed:
            self._are_templates_saved = True
            self._changed.notify()

    def stop(self) -> None:
        """Ask the loop to end. Callable from a signal handler's thread, not from the handler."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()

    def fail(self, raised: BaseException) -> None:
        """Say that a thread has ended by what nobody expected; the loop cannot go on blind."""
        with self._changed:
            self._raised = raised
            self._changed.notify()

    def wait(self, seconds: float) -> News:
        """What is new, as soon as there is something, or nothing after so many seconds.

        Raises:
            BaseException: What a thread has ended by.
        """
        with self._changed:
            self._changed.wait_for(self._has_news, timeout=seconds)
            if self._raised is not None:
                raise self._raised
            news = News(
                self._snapshot,
                self._ended,
                self._answers,
                self._are_templates_saved,
                self._is_stopping,
                self._heard_at,
            )
            self._snapshot, self._ended, self._answers = None, (), {}
            self._are_templates_saved = False
            return news

    def _has_news(self) -> bool:
        has_news = self._snapshot is not None or self._answers or self._are_templates_saved
        return bool(has_news) or self._is_stopping or self._raised is not None
