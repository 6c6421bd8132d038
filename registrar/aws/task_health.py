"""The health of a service by the word of ECS: its own check of the container, as the agent has it.

It costs a request of a few kilobytes to the agent, and needs no way to the service itself.
"""

from registrar.aws.task_metadata import TaskMetadata
from registrar.aws.tasks import STOPPED, Task, TaskContainer
from registrar.probing import Answer
from registry.faults import MetadataUnavailable
from registry.records import Address

HEALTHY, UNHEALTHY = "HEALTHY", "UNHEALTHY"

HINT = "the container's healthCheck in the task definition counts; CONTAINER says whose"


class TaskHealth:
    """Answers the registrar's question from the task's document, whatever address is asked about.

    That the agent does not answer, or does not know, says nothing of the service.
    """

    def __init__(
        self, metadata: TaskMetadata, *, port: int, container: str, is_within: bool, maps: bool
    ) -> None:
        """Asks nothing yet.

        Args:
            port: That the service listens on, inside.
            container: Its name; empty for our own if we run in it, else for the one that maps the
                port, or has the only check beside us.
            is_within: We run in its container.
            maps: The registered port is the one that ECS maps; nobody has said another.
        """
        self._metadata = metadata
        self._port = port
        self._container = container
        self._is_within = is_within
        self._maps = maps

    def __call__(self, address: Address, *, within_s: float) -> Answer:
        """What the agent says now, or said a moment ago where now would be too often."""
        del address, within_s  # nobody is asked there, and a request has a limit of its own
        try:
            own = "" if self._container else self._metadata.own_name()
            task = self._metadata.lately()
        except MetadataUnavailable as fault:
            return Answer(passed=None, words=f"its health is not known: {fault}")
        name = self._container or (own if self._is_within else "")
        container = choose(task, name, self._port, beside=own)
        if container and self._maps and not container.tells_port(self._port):
            words = f"container {container.name} was restarted in place, and its port is not known"
            return Answer(passed=False, words=words)
        return judge(container)


def choose(task: Task, name: str, port: int, *, beside: str = "") -> TaskContainer | None:
    """The container whose check counts; None if it cannot be told which that is. Pure.

    Args:
        beside: The registrar's own, which is not meant unless it is named.
    """
    if name:
        return next((one for one in task.containers if one.name == name), None)
    mapping = [one for one in task.containers if port in one.ports]
    checked = [one for one in task.containers if one.health and one.name != beside]
    for found in (mapping, checked):
        if len(found) == 1:
            return found[0]
    return None


def judge(container: TaskContainer | None) -> Answer:
    """Whether a container may get requests. Pure."""
    if container is None:
        return Answer(passed=None, words="ECS does not tell which container is the service's")
    name = f"container {container.name}"
    if STOPPED in {container.known_status, container.desired_status}:
        return Answer(passed=False, words=f"ECS says that {name} is being stopped")
    if not container.health:
        return Answer(passed=False, words=f"ECS knows of no health check of {name}")
    code = container.health_exit_code
    ended = "" if container.health == HEALTHY or code is None else f" (exit code {code})"
    passed = {HEALTHY: True, UNHEALTHY: False}.get(container.health)
    return Answer(passed=passed, words=f"ECS says that {name} is {container.health}{ended}")
