"""What ECS says of a task and its containers. Pure.

Shape:
    ``${ECS_CONTAINER_METADATA_URI_V4}`` is one container, ``…/task`` a task with ``Containers``;
    the metadata file is one container with other names for some fields. What is not known yet is
    left out: a container has no ``Ports`` until Docker has told the agent of them.

Source:
    Amazon ECS Developer Guide, "Amazon ECS task metadata endpoint version 4" and "Amazon ECS
    container metadata file".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeGuard, TypeVar

from registrar.documents import list_in, object_in, text_in
from registry.faults import MetadataUnavailable
from registry.fields import read_object
from registry.records import Address

T = TypeVar("T")

NORMAL = "NORMAL"
"""The type of a container that somebody wrote into the task definition; others are ECS's own."""

AWSVPC, HOST, NO_NETWORK = "awsvpc", "host", "none"
"""Network modes that are not told from each other by ports; in all others ports are mapped."""

DYNAMIC_FROM = 32768
"""Where Linux begins to choose ports (``net.ipv4.ip_local_port_range``); below they are fixed."""

NAME_MAX = 255
"""ECS's own limit."""

STOPPED = "STOPPED"

SETTLED = frozenset({"RUNNING", "RESOURCES_PROVISIONED"})

READY = "READY"
"""The metadata file's status when all is in it; the first version has no status at all."""


@dataclass(frozen=True, slots=True)
class TaskContainer:
    """One container of a task.

    Attributes:
        mode: Its network mode; empty while that is not known.
        ip: Its own address; empty in host mode, and while it is not known.
        ports: The port of the host for each TCP port inside that is mapped, as far as known.
        health: ``HEALTHY``, ``UNHEALTHY`` or ``UNKNOWN``; empty where nobody defined a check.
        health_exit_code: Of the last check that failed; None if none is told.
        restarts: How often ECS has started it again in place.
        known_status: ``RUNNING`` or ``STOPPED``, among others.
        desired_status: What it is to become.
    """

    name: str
    task_arn: str = ""
    mode: str = ""
    ip: str = ""
    ports: Mapping[int, int] = field(default_factory=dict)
    health: str = ""
    health_exit_code: int | None = None
    restarts: int = 0
    known_status: str = ""
    desired_status: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether ECS knows all of it that it will know: the ports come when it runs."""
        is_known = bool(self.mode) and self.known_status in SETTLED
        return is_known or self.known_status == STOPPED

    def tells_port(self, port: int) -> bool:
        """Whether the port of the host is the one that it has now.

        The agent notes ports once. A container that is restarted in place gets another one from
        Docker, and the agent goes on telling the first (``updateContainerMetadata`` in its source).
        """
        return not self.restarts or self.ports.get(port, 0) < DYNAMIC_FROM

    @property
    def task_id(self) -> str:
        """The last part of the task's ARN, which is unique by itself; empty if there is none."""
        return self.task_arn.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Task:
    """A task, as far as it can be told.

    Attributes:
        containers: Those of the task definition; what ECS adds is left out.
        is_on_fargate: There is no instance that could be asked.
    """

    containers: tuple[TaskContainer, ...]
    is_on_fargate: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a task document.

        Raises:
            ValueError: It is none.
        """
        document = read_object(text)
        found = document.get("Containers")
        if not isinstance(found, list):
            raise ValueError("it has no Containers")
        containers = [_container(one) for one in found if isinstance(one, Mapping)]
        arn = text_in(document, "TaskARN")
        return cls(
            tuple(
                replace(one, task_arn=one.task_arn or arn)
                for one, kind in containers
                # a container that is being made has no type yet
                if kind in {NORMAL, ""} and one.name
            ),
            text_in(document, "LaunchType") == "FARGATE",
        )


@dataclass(frozen=True, slots=True)
class MetadataFile:
    """What the metadata file says.

    Attributes:
        container: The one that it is mounted into.
        host_ip: At which the instance is reached within its VPC.
        is_ready: All is in it; until then the ports are missing.
    """

    container: TaskContainer
    host_ip: str
    is_ready: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read it.

        Raises:
            ValueError: It is none, or only half of it is written.
        """
        document = read_object(text)
        mode, ip = _network(document)
        container = TaskContainer(
            _name(document, "ContainerName"),
            text_in(document, "TaskARN"),
            mode,
            ip,
            _ports(list_in(document, "PortMappings"), at="BindIp"),
        )
        return cls(
            container,
            _ip(text_in(document, "HostPrivateIPv4Address")),
            text_in(document, "MetadataFileStatus") == READY,
        )


def parse_container(text: str) -> TaskContainer:
    """Read the document of one container.

    Raises:
        ValueError: It is none.
    """
    container, _ = _container(read_object(text))
    if not container.name:
        raise ValueError("it has no Name")
    return container


def parse_document(raw: bytes, parse: Callable[[str], T], *, otherwise: str) -> T:
    """Read one of these documents, as it came.

    Args:
        otherwise: What to say of one that is none, before the reason.

    Raises:
        MetadataUnavailable: It is none; one that is being written is whole in a moment.
    """
    try:
        return parse(raw.decode())
    except ValueError as exc:
        # UnicodeDecodeError is one; it quotes bytes
        reason = "it is not UTF-8" if isinstance(exc, UnicodeDecodeError) else exc
        raise MetadataUnavailable(f"{otherwise}: {reason}", may_pass=True) from None


def _container(document: Mapping[str, Any]) -> tuple[TaskContainer, str]:
    """One container, and its type."""
    mode, ip = _network(document)
    health = object_in(document, "Health")
    exit_code, restarts = health.get("exitCode"), document.get("RestartCount")
    container = TaskContainer(
        _name(document, "Name"),
        text_in(object_in(document, "Labels"), "com.amazonaws.ecs.task-arn"),
        mode,
        ip,
        _ports(list_in(document, "Ports"), at="HostIp"),
        text_in(health, "status"),
        exit_code if type(exit_code) is int else None,
        restarts if type(restarts) is int else 0,
        text_in(document, "KnownStatus"),
        text_in(document, "DesiredStatus"),
    )
    return container, text_in(document, "Type")


def _network(document: Mapping[str, Any]) -> tuple[str, str]:
    """The mode, and the first address: of IPv4 if there is one."""
    for network in list_in(document, "Networks"):
        if isinstance(network, Mapping) and (mode := text_in(network, "NetworkMode")):
            addresses = [*list_in(network, "IPv4Addresses"), *list_in(network, "IPv6Addresses")]
            # in host mode the only address is an empty text
            return mode, next(filter(None, map(_ip, addresses)), "")
    return "", ""


def _ports(mappings: list[Any], *, at: str) -> dict[int, int]:
    """Docker binds each port for IPv4 and for IPv6, to two ports that may differ: IPv4's counts."""
    found: dict[int, int] = {}
    for one in mappings:
        if not isinstance(one, Mapping) or one.get("Protocol", "tcp") != "tcp":
            continue
        inside, outside = one.get("ContainerPort"), one.get("HostPort")
        # a port that is not known yet is left out, or 0
        if _is_port(inside) and _is_port(outside) and ":" not in text_in(one, at):
            found.setdefault(inside, outside)
    return found


def _is_port(found: object) -> TypeGuard[int]:
    return type(found) is int and 0 < found < 65536  # noqa: PLR2004 - TCP's


def _ip(text: object) -> str:
    """An ip that can be registered; empty for every other."""
    try:
        return Address(text, 1).ip if isinstance(text, str) else ""
    except ValueError:
        return ""


def _name(document: Mapping[str, Any], field: str) -> str:
    """A container's name: ECS takes letters, digits, hyphens and underscores, and it is told."""
    found = text_in(document, field)
    return found if found.isprintable() and len(found) <= NAME_MAX else ""
