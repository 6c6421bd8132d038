"""Whether a service may get requests, from what it answered. Pure."""

import re
from dataclasses import dataclass, replace
from typing import Self

from registry.records import Address, State

PAUSE_LEAST_S = 0.05
"""Between two questions to a service that has just begun: who answers at once waits no longer."""

PAUSE_MOST_S = 1.0
"""Between two questions to one that takes long; a question costs both sides next to nothing."""

SHARE = 10
"""A service that took ten seconds to get ready may wait one more until that is noticed."""

FIRST_TOLD_S = 10.0
"""Most services have begun by then; who looks for the reason looks about now."""


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """What a service is asked, and what follows from its answers.

    Attributes:
        path: Asked for with GET; empty where it is enough that the port accepts a connection.
        address: Where it is asked; None for the address that is registered, because that is what
            frontends will reach.
        interval_s: Between two questions to a service that is healthy.
        timeout_s: For the whole of an answer.
        failures: As many in a row take it out of rotation.
        passes: As many in a row bring it back; the first time one is enough.
        of_task: Nobody asks the service; ECS's own check of its container counts.
    """

    path: str = ""
    address: Address | None = None
    interval_s: float = 5.0
    timeout_s: float = 2.0
    failures: int = 3
    passes: int = 2
    of_task: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """How a service fares, by all that it has answered so far.

    Attributes:
        state: READY if it may get requests, else STARTING.
        answer: What it answered last, as a sentence.
    """

    settings: HealthSettings
    state: State = State.STARTING
    answer: str = "nothing was asked yet"
    _was_ready: bool = False
    _in_a_row: int = 0

    def answered(self, passed: bool | None, answer: str) -> Self:  # noqa: FBT001 - of three
        """It passed, or not; None for an answer that says nothing of it, so that all stays."""
        if passed is None:
            return replace(self, answer=answer)
        return self.passed(answer) if passed else self.failed(answer)

    def passed(self, answer: str) -> Self:
        """It answered as it should."""
        if self.state is State.READY:
            return replace(self, answer=answer, _in_a_row=0)
        needed = self.settings.passes if self._was_ready else 1
        if self._in_a_row + 1 < needed:
            return replace(self, answer=answer, _in_a_row=self._in_a_row + 1)
        return replace(self, state=State.READY, answer=answer, _was_ready=True, _in_a_row=0)

    def failed(self, answer: str) -> Self:
        """It answered otherwise, or not at all."""
        if self.state is not State.READY:
            return replace(self, answer=answer, _in_a_row=0)
        if self._in_a_row + 1 < self.settings.failures:
            return replace(self, answer=answer, _in_a_row=self._in_a_row + 1)
        return replace(self, state=State.STARTING, answer=answer, _was_ready=True, _in_a_row=0)

    def pause_s(self, since_s: float) -> float:
        """Seconds until the next question, ``since_s`` seconds after it came into its state."""
        if self.state is State.READY:
            return self.settings.interval_s
        most_s = min(self.settings.interval_s, PAUSE_MOST_S)
        return min(max(PAUSE_LEAST_S, since_s / SHARE), most_s)


def parse_path(text: str) -> str:
    """Read a path that is asked for.

    Raises:
        ValueError: It cannot stand in a request.
    """
    if not re.fullmatch(r"/[!-~]*", text) or "#" in text:
        raise ValueError("expected a path such as /healthz, as it stands in a request")
    return text
