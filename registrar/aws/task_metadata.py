"""ECS task metadata, version 4: what the agent says of our task.

All tasks of an instance share the agent's limit, so each process takes a hundredth of it.

Source:
    Amazon ECS Developer Guide, "Amazon ECS task metadata endpoint version 4"; the limit: see
    ``ration``.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from registrar.aws.endpoint import Base, Endpoint
from registrar.aws.ration import Ration
from registrar.aws.tasks import Task, TaskContainer, parse_container, parse_document
from registry.faults import MetadataUnavailable

T = TypeVar("T")

TASKS = 100
"""On one instance, with a registrar each, that the agent's 40 requests a second are shared by."""

BURST = 4
"""Requests of a start, within a second or two: the agent takes 60 at once."""

RATE = 40 / TASKS

OK, UNKNOWN, TOO_MANY = 200, 404, 429


class TaskMetadata:
    """Asks the endpoint of one container; threads may share it."""

    def __init__(
        self,
        base: Base,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Asks nothing yet."""
        ration = Ration(burst=BURST, rate=RATE)
        self._endpoint = Endpoint(base, ration, clock=clock, sleep=sleep)
        self._last: Task | None = None
        self._own_name = ""

    @property
    def url(self) -> str:
        """Of our own container."""
        return str(self._endpoint.base)

    @property
    def last(self) -> Task | None:
        """The task as it was told last; None if it never was."""
        return self._last

    def own(self) -> TaskContainer:
        """The container that we run in.

        Raises:
            MetadataUnavailable: It is not told.
        """
        found = self._read("", parse_container)
        self._own_name = found.name
        return found

    def own_name(self) -> str:
        """The name of the container that we run in; it keeps it, so it is asked once.

        Raises:
            MetadataUnavailable: It is not told.
        """
        return self._own_name or self.own().name

    def task(self) -> Task:
        """The task, as it is now.

        Raises:
            MetadataUnavailable: It is not told.
        """
        self._last = self._read("/task", Task.parse)
        return self._last

    def lately(self) -> Task:
        """The task as it is now, or, where that would ask too often, as it was a moment ago.

        Raises:
            MetadataUnavailable: It is not told.
        """
        if self._last is not None and not self._endpoint.may_ask:
            return self._last
        return self.task()

    def _read(self, path: str, parse: Callable[[str], T]) -> T:
        response = self._endpoint.ask(path)
        asked = f"GET {self.url}{path}"
        if response.status == TOO_MANY:
            text = f"{asked} answered 429: the tasks of this instance ask too often together"
            raise MetadataUnavailable(text, may_pass=True)
        if response.status == UNKNOWN:
            # for a moment that is so of a container that is being made
            text = f"{asked} answered 404: the agent knows no such container; is the URL ECS's own?"
            raise MetadataUnavailable(text, may_pass=True)
        if response.status != OK:
            text = f"{asked} answered {response.status}: the agent has a fault of its own"
            raise MetadataUnavailable(text, may_pass=True)
        return parse_document(
            response.body, parse, otherwise=f"{asked} was answered with what is no such document"
        )
