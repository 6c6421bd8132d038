"""The health of a service by the word of ECS: its own check of the container, as the agent has it.

It costs a request of a few kilobytes to the agent, and needs no way to the service itself.
"""

from collections.abc import Callable

from registrar.aws.task_metadata import TaskMetadata
from registrar.aws.tasks import Task, TaskContainer
from registrar.probing import Answer
from registry.faults import MetadataUnavailable
from registry.records import Address

HEALTHY, STOPPED = "HEALTHY", "STOPPED"

HINT = "the container's healthCheck in the task definition counts; CONTAINER says whose"


class TaskHealth:
    """Answers the registrar's question from the task's document, whatever address is asked about.

    That the agent does not answer says nothing of the service: its last word holds.
    """

    def __init__(
        self, metadata: TaskMetadata, *, container: Callable[[], str], port: int, is_followed: bool
    ) -> None:
        """Asks nothing yet.

        Args:
            container: Gives its name; empty for the one that maps the port, or has the only check.
            port: That the service listens on, inside.
            is_followed: The registered port is the one that ECS maps; nobody has said another.
        """
        self._metadata = metadata
        self._container = container
        self._port = port
        self._is_followed = is_followed
        self._has_passed = False

    def __call__(self, address: Address, *, within_s: float) -> Answer:
        """What the agent says now, or said a moment ago where now would be too often."""
        del within_s  # a request has a limit of its own
        try:
            name = self._container()
            task = self._metadata.lately()
        except MetadataUnavailable as fault:
            return Answer(passed=self._has_passed, words=f"its health is not known: {fault}")
        container = choose(task, name, self._port)
        answer = judge(container)
        if self._is_followed and container and answer.passed:
            answer = self._judge_port(container, address.port) or answer
        self._has_passed = answer.passed
        return answer

    def _judge_port(self, container: TaskContainer, registered: int) -> Answer | None:
        """A container that was restarted may have another port of the host."""
        mapped = container.ports.get(self._port, registered)
        if not container.tells_port(self._port):
            words = f"container {container.name} was restarted in place, and its port is not known"
            return Answer(passed=False, words=words)
        if mapped == registered:
            return None
        words = f"port {self._port} of container {container.name} is {mapped} of the host by now"
        return Answer(passed=False, words=words)


def choose(task: Task, name: str, port: int) -> TaskContainer | None:
    """The container whose check counts; None if it cannot be told which that is. Pure."""
    if name:
        return next((one for one in task.containers if one.name == name), None)
    mapping = [one for one in task.containers if port in one.ports]
    checked = [one for one in task.containers if one.health]
    for found in (mapping, checked):
        if len(found) == 1:
            return found[0]
    return None


def judge(container: TaskContainer | None) -> Answer:
    """Whether a container may get requests. Pure."""
    if container is None:
        return Answer(passed=False, words="ECS does not tell which container is the service's")
    name = f"container {container.name}"
    if STOPPED in {container.known_status, container.desired_status}:
        return Answer(passed=False, words=f"ECS says that {name} is being stopped")
    if not container.health:
        return Answer(passed=False, words=f"ECS knows of no health check of {name}")
    code = container.health_exit_code
    ended = "" if container.health == HEALTHY or code is None else f" (exit code {code})"
    passed = container.health == HEALTHY
    return Answer(passed=passed, words=f"ECS says that {name} is {container.health}{ended}")
