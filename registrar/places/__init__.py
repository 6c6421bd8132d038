"""Where am I? The sources, one module each, in the order in which they are asked.

A source gives what it knows: an ip, a port, both or neither. The first answer wins, for each of
the two on its own, so a given port goes together with an ip that was found out.

Not there yet: ECS task metadata and EC2 instance metadata. They belong right behind the first;
until then a container of ECS says ``IP`` and ``HOST_PORT``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from registrar.places import docker, given, socket
from registry.faults import PlaceUnknown
from registry.records import Address


@dataclass(frozen=True, slots=True)
class PlaceSettings:
    """What the sources are told.

    Attributes:
        ip: ``IP``, or empty.
        host_port: ``HOST_PORT``, or 0.
        port: ``PORT``, where the service listens inside its container, or 0.
        endpoints: Of the registry, such as ``http://etcd:2379``.
        docker_host: Where the Docker engine listens; empty for the usual socket.
    """

    ip: str = ""
    host_port: int = 0
    port: int = 0
    endpoints: tuple[str, ...] = ()
    docker_host: str = ""


class Part(NamedTuple):
    """The ip or the port of an address, and which source said so."""

    value: str
    source: str


class Place(NamedTuple):
    """Where an instance is reached, and who said so."""

    ip: Part
    port: Part

    @property
    def address(self) -> Address:
        """As it is registered."""
        return Address(self.ip.value, int(self.port.value))


Source = Callable[[PlaceSettings], tuple[str, int]]
"""Gives ip and port; empty and 0 for what it does not know."""

SOURCES: tuple[tuple[str, Source], ...] = (
    ("IP and HOST_PORT", lambda settings: given.look(settings.ip, settings.host_port)),
    (
        "the Docker engine",
        lambda settings: docker.look(settings.ip, settings.port, url=settings.docker_host),
    ),
    ("PORT", lambda settings: ("", settings.port)),
    ("the interface that reaches the registry", lambda settings: socket.look(settings.endpoints)),
)


def find_place(
    settings: PlaceSettings, *, sources: Sequence[tuple[str, Source]] = SOURCES
) -> Place:
    """Ask the sources in order; one that is not needed any more is not asked.

    Raises:
        PlaceUnknown: None of them knows the ip, or the port.
    """
    ip: Part | None = None
    port: Part | None = None
    for name, look in sources:
        found_ip, found_port = look(settings)
        if ip is None and found_ip:
            ip = Part(found_ip, name)
        if port is None and found_port:
            port = Part(str(found_port), name)
        if ip and port:
            return Place(ip, port)
    if ip is None:
        raise PlaceUnknown(socket.explain(settings.endpoints))
    raise PlaceUnknown("no source knows the port at which this service is reached; set PORT")
