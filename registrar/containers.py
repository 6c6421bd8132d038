"""What a container is, and what it asks to be registered as. Pure.

Shape:
    The answer of ``GET /containers/<id>/json``.

Source:
    Docker Engine API 1.41, ContainerInspect; podman answers in the same shape.
"""

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from registrar.documents import object_in, text_in
from registrar.health import parse_path
from registry.keys import RouteKey, check_name
from registry.names import service_slug
from registry.records import Address
from registry.values import parse_port

BRANCH = "branchfront.branch"
SERVICE = "branchfront.service"
PORT = "branchfront.port"
HEALTH = "branchfront.health"

LABELS = (BRANCH, SERVICE, PORT, HEALTH)
"""What is read of a container's labels."""

ID_SHOWN = 12
"""Digits of a container's id that Docker itself shows."""

UNSPECIFIED = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound to
"""How the engine writes that a port is published at every address of the host."""

HOST_NETWORK = "host"


@dataclass(frozen=True, slots=True)
class Container:
    """One container, as far as it matters here.

    Attributes:
        state: ``running``, ``paused``, ``exited`` and so on.
        started_at: In milliseconds since 1970; 0 for one that never was.
        health: ``starting``, ``healthy`` or ``unhealthy``; empty where nothing is checked.
        labels: Those of ``LABELS`` that it carries.
        network_mode: ``host``, ``container:<id>``, or the name of a network.
        networks: Its ip in each network that it has one in.
        published: Where each of its TCP ports is published: ip and port of the host.
        ports: The TCP ports that it exposes or publishes.
        stop_signal: What asks it to end.
    """

    id: str
    name: str = ""
    state: str = "running"
    started_at: int = 0
    health: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    network_mode: str = ""
    networks: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    ports: tuple[int, ...] = ()
    stop_signal: str = "SIGTERM"

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Read what the engine says; what it leaves out, or says in another type, is empty."""
        state, config = object_in(document, "State"), object_in(document, "Config")
        network = object_in(document, "NetworkSettings")
        labels = object_in(config, "Labels")
        published = dict(_published(object_in(network, "Ports")))
        exposed = {port for name in object_in(config, "ExposedPorts") if (port := _tcp(name))}
        return cls(
            id=text_in(document, "Id"),
            name=text_in(document, "Name").removeprefix("/"),
            state=text_in(state, "Status"),
            started_at=_milliseconds(text_in(state, "StartedAt")),
            health=text_in(object_in(state, "Health"), "Status").replace("none", ""),
            labels={name: str(labels[name]) for name in LABELS if name in labels},
            network_mode=text_in(object_in(document, "HostConfig"), "NetworkMode"),
            networks={
                name: ip
                for name, one in object_in(network, "Networks").items()
                if isinstance(one, Mapping)
                and (ip := text_in(one, "IPAddress") or text_in(one, "GlobalIPv6Address"))
            },
            published=published,
            ports=tuple(sorted(exposed | published.keys())),
            stop_signal=text_in(config, "StopSignal") or "SIGTERM",
        )

    @property
    def instance(self) -> str:
        """Its id and this start of it: a container that is started again is another instance."""
        return f"{self.id[:ID_SHOWN]}-{self.started_at:x}"

    @property
    def stop_number(self) -> int:
        """The signal that asks it to end, as a number; an image may write it in several ways.

        As Docker reads it: ``3``, ``QUIT``, ``SIGQUIT``, and ``SIGRTMIN+3`` for systemd.
        """
        text = self.stop_signal.upper().removeprefix("SIG")
        if re.fullmatch(r"[1-9][0-9]?", text):
            return int(text)
        found = re.fullmatch(r"([A-Z0-9]+)((?:\+|-)[0-9]{1,2})?", text)
        named = signal.Signals.__members__.get(f"SIG{found[1]}") if found else None
        if found is None or named is None:
            return int(signal.SIGTERM)
        return int(named) + int(found[2] or 0)


@dataclass(frozen=True, slots=True)
class Reached:
    """Where containers of this host are reached.

    Attributes:
        network: Containers are reached at their address in this network; empty for the ports
            that they publish.
        host_ip: At which the published ports of this host are reached; empty if nobody knows.
    """

    network: str = ""
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a container is registered as.

    Attributes:
        port: That it listens on, inside.
        health_path: What it is asked for; empty for none.
        is_checked: The engine itself checks its health.
    """

    key: RouteKey
    address: Address
    port: int
    health_path: str = ""
    is_checked: bool = False


def read_wanted(container: Container, reached: Reached) -> Wanted:
    """What a labelled container asks for.

    Raises:
        ValueError: It asks for what cannot be; says which label, and what to do.
    """
    labels = container.labels
    for name in (BRANCH, SERVICE):
        if not labels.get(name):
            raise ValueError(f"the label {name} is missing; it needs {BRANCH} and {SERVICE}")
    try:
        check_name(labels[BRANCH])
        check_name(labels[SERVICE])
        service_slug(labels[SERVICE])
    except ValueError as exc:
        raise ValueError(f"the labels cannot be registered: {exc}") from exc
    port = _port(container)
    return Wanted(
        RouteKey(labels[BRANCH], labels[SERVICE], container.instance),
        _address(container, port, reached),
        port,
        health_path=_health_path(labels.get(HEALTH, "")),
        is_checked=bool(container.health),
    )


def published_at(container: Container, port: int, *, host_ip: str) -> Address | None:
    """Where a port of a container is published; None where it is not.

    Raises:
        ValueError: It is, at every address of a host of which nobody knows one.
    """
    if port not in container.published:
        return None
    ip, host_port = container.published[port]
    if ip in UNSPECIFIED:
        ip = host_ip
    if not ip:
        raise ValueError(
            f"port {port} is published as port {host_port} of the host, and nothing says at"
            " which ip others reach the host; set IP"
        )
    return Address(ip, host_port)


def _address(container: Container, port: int, reached: Reached) -> Address:
    if reached.network:
        ip = container.networks.get(reached.network, "")
        if not ip:
            has = ", ".join(sorted(container.networks)) or container.network_mode or "no network"
            raise ValueError(
                f"it has no address in the network {reached.network} (it is in: {has}); connect it"
                f" with: docker network connect {reached.network} {container.name}"
            )
        return Address(ip, port)
    if container.network_mode == HOST_NETWORK:
        if not reached.host_ip:
            raise ValueError("it is in the host's network, and the host's ip is not known; set IP")
        return Address(reached.host_ip, port)
    address = published_at(container, port, host_ip=reached.host_ip)
    if address is None:
        raise ValueError(
            f"port {port} is not published (docker run -p {port}); publish it, or name with"
            " DOCKER_NETWORK a network in which frontends reach containers"
        )
    return address


def _port(container: Container) -> int:
    text = container.labels.get(PORT, "")
    if text:
        try:
            return parse_port(text)
        except ValueError as exc:
            raise ValueError(f"the label {PORT} is {text[:20]!r}: {exc}") from exc
    if len(container.ports) == 1:
        return container.ports[0]
    if container.ports:
        has = ", ".join(map(str, container.ports))
        raise ValueError(f"it has the ports {has}; say which with the label {PORT}")
    raise ValueError(f"it exposes no port; say on which it listens with the label {PORT}")


def _health_path(text: str) -> str:
    if not text:
        return ""
    try:
        return parse_path(text)
    except ValueError as exc:
        raise ValueError(f"the label {HEALTH} is {text[:60]!r}: {exc}") from exc


def _published(ports: Mapping[str, Any]) -> dict[int, tuple[str, int]]:
    """Of each TCP port the first place where it is published; IPv4 stands before IPv6."""
    found: dict[int, tuple[str, int]] = {}
    for name, bindings in ports.items():
        inside = _tcp(name)
        if not inside or not isinstance(bindings, list):
            continue
        places = [
            (ip, int(port))
            for one in bindings
            if isinstance(one, Mapping)
            and re.fullmatch(r"[0-9]{1,5}", port := text_in(one, "HostPort"))
            and (ip := text_in(one, "HostIp")) is not None
        ]
        if places:
            found[inside] = min(places, key=lambda place: ":" in place[0])
    return found


def _tcp(name: str) -> int:
    """``8000/tcp`` as a number, or ``8000``, as Compose v2 exposes it; 0 for what is none."""
    found = re.fullmatch(r"([0-9]{1,5})(?:/tcp)?", name)
    return int(found[1]) if found else 0


def _milliseconds(text: str) -> int:
    """``2026-11-21T13:16:31.512343Z`` as a number; the engine writes the year 1 for never."""
    found = re.fullmatch(r"([0-9T:-]{19})(?:\.([0-9]{1,9}))?(Z|[+-][0-9:]{5})", text)
    if found is None or found[1].startswith("0001"):
        return 0
    offset = "+00:00" if found[3] == "Z" else found[3]
    try:
        at = datetime.fromisoformat(found[1] + offset).astimezone(UTC)
    except (ValueError, OverflowError):
        return 0
    return int(at.timestamp()) * 1000 + int((found[2] or "0").ljust(3, "0")[:3])
