"""ECS task metadata: a task's own address, or the port of the instance that leads to us.

A container is started before the agent knows its ports, so they are waited for. ``PORT`` is never
taken in their place: another task has it, on an instance that runs two.
"""

from collections.abc import Callable

from registrar.aws.endpoint import insist
from registrar.aws.task_metadata import TaskMetadata
from registrar.aws.tasks import AWSVPC, HOST, NO_NETWORK, Task, TaskContainer
from registrar.places.search import Finding, Reached, Search
from registry.faults import MetadataUnavailable, PlaceUnknown

PATIENCE_S = 5.0
"""The agent learns the ports within a second; who asks on after that says what is missing."""


def look(search: Search, metadata: TaskMetadata | None) -> Finding:
    """Where our task is reached, in its network mode.

    Raises:
        MetadataUnavailable: The agent does not answer, or does not know yet.
        PlaceUnknown: It will never know.
    """
    if metadata is None and search.settings.has_old_agent:
        raise MetadataUnavailable(
            "this is a task of ECS, and its agent is older than 1.39, which told of the port in the"
            " metadata file alone; update the agent, or set IP and HOST_PORT"
        )
    if metadata is None:
        search.note("", "not asked: ECS_CONTAINER_METADATA_URI_V4 is not set")
        return Finding()
    search.note(f"GET {metadata.url}/task", "")

    def read() -> Finding:
        name = search.settings.container
        if search.settings.is_within:
            name = name or metadata.own_name()
        finding, said = read_task(metadata.task(), search, name=name, own=metadata.own_name)
        search.note(f"GET {metadata.url}/task", said)
        return finding

    return insist(read, within_s=PATIENCE_S)


def read_task(
    task: Task, search: Search, *, name: str, own: Callable[[], str]
) -> tuple[Finding, str]:
    """What a task document says of us, and the same as a sentence.

    Args:
        name: Of the service's container; empty for the one that maps its port.
        own: Gives the name of the container that we run in; asked where several could be meant.

    Raises:
        MetadataUnavailable: Not yet; it may in a moment.
        PlaceUnknown: It never will.
    """
    port = search.settings.port
    mode = next((one.mode for one in task.containers if one.mode), "")
    if name:
        mode = find_named(task, name).mode or mode
    if not mode:
        raise MetadataUnavailable("the agent does not know the task's network yet", may_pass=True)
    if mode == NO_NETWORK:
        raise PlaceUnknown("the task has network mode none, so nobody reaches it; choose another")
    if mode == HOST:
        return Finding("", port, Reached.BY_THE_HOST), "network mode host"
    if mode == AWSVPC:
        # all containers of the task share one interface
        ip = next((one.ip for one in task.containers if one.ip), "")
        if not ip:
            raise MetadataUnavailable("the agent does not know the task's ip yet", may_pass=True)
        return Finding(ip, port, Reached.AT_ITS_OWN), f"network mode awsvpc, ip {ip}"
    if search.port is not None:
        return Finding("", 0, Reached.THROUGH_THE_HOST), f"network mode {mode}"
    container = _find(task, port, name=name, own=own)
    host_port = container.ports[port]
    said = f"network mode {mode}, {container.name}: port {port} is {host_port} of the host"
    return Finding("", host_port, Reached.THROUGH_THE_HOST), said


def _find(task: Task, port: int, *, name: str, own: Callable[[], str]) -> TaskContainer:
    """The service's container, of which a port of the host is known."""
    if not port:
        raise PlaceUnknown("PORT is not set, so it is not known which port of the host leads here")
    container = find_named(task, name) if name else _mapping(task, port, own=own)
    if port not in container.ports:
        raise MetadataUnavailable(_unmapped(f"no container called {name}", port), may_pass=True)
    if not container.tells_port(port):
        raise PlaceUnknown(explain_restart(container.name))
    return container


def _mapping(task: Task, port: int, *, own: Callable[[], str]) -> TaskContainer:
    """The one container that maps a port; of several, the one that we run in."""
    mapping = [one for one in task.containers if port in one.ports]
    making = [one.name for one in task.containers if not (one.ports or one.is_settled)]
    if len(mapping) > 1:
        ours = own()
        mapping = [one for one in mapping if one.name == ours] or mapping
    if len(mapping) > 1:
        names = ", ".join(one.name for one in mapping)
        raise PlaceUnknown(f"containers {names} all map port {port}; say which with CONTAINER")
    if not mapping:
        names = ", ".join(one.name for one in task.containers)
        raise MetadataUnavailable(_unmapped(f"no container ({names})", port), may_pass=True)
    if making:
        text = (
            f"container {mapping[0].name} maps port {port}, and so may {', '.join(making)}, which"
            " ECS is still starting; CONTAINER says which is meant"
        )
        raise MetadataUnavailable(text, may_pass=True)
    return mapping[0]


def find_named(task: Task, name: str) -> TaskContainer:
    """The container of a name.

    Raises:
        MetadataUnavailable: The agent knows of none; it may be that it has to be made yet.
    """
    for one in task.containers:
        if one.name == name:
            return one
    names = ", ".join(one.name for one in task.containers)
    text = f"CONTAINER is {name!r}, and ECS knows of these in the task: {names}"
    raise MetadataUnavailable(text, may_pass=True)


def explain_restart(name: str) -> str:
    """Why the port that ECS tells of a container is not to be believed; a sentence."""
    return (
        f"container {name} was restarted in place, and ECS still tells the port that it had before;"
        " take its restartPolicy away, so that ECS starts a new task, or map a fixed hostPort below"
        " 32768"
    )


def _unmapped(who: str, port: int) -> str:
    return (
        f"{who} maps port {port} yet, by what ECS knows; is there a port mapping with containerPort"
        f" {port} in the task definition?"
    )
