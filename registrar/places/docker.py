"""The Docker socket, where it is mounted: the published port of one's own container.

It is asked only where it is there, and who mounted it wants its answer: what cannot be found out
by it is a fault with a sentence, and no reason to register an address that nobody reaches.
"""

import logging
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from registrar.containers import HOST_NETWORK, Container, published_at
from registrar.engine import Engine, is_mounted
from registrar.places.search import Finding, Search
from registry.faults import Fault, PlaceUnknown

SIGNS = (
    # the engine mounts three files of its own into every container; other containers' files lie
    # at the same place in the host's list, but are not mounted there
    (
        Path("/proc/self/mountinfo"),
        re.compile(r"containers/([0-9a-f]{64})/\S* /etc/(?:hostname|hosts|resolv\.conf) "),
    ),
    # version 1, or a container that has the host's cgroups
    (Path("/proc/self/cgroup"), re.compile(r"(?:/docker/|docker-|libpod-)([0-9a-f]{64})\b")),
)
"""Files of the kernel that tell in which container we are, and how."""

log = logging.getLogger("registrar")

Inspect = Callable[[str], Container | None]


def look(search: Search) -> Finding:
    """Where our own container's port is published.

    Returns:
        Nothing where no engine is mounted or no port is known, and where the port is not published:
        then the container is reached at its own address.

    Raises:
        PlaceUnknown: The port is published, and the host's ip is not known; or our own container is
            not among the engine's.
        EngineUnreachable, EngineDenied: The engine does not say.
        SettingsInvalid: The package that asks it is not installed.
    """
    settings = search.settings
    if not settings.port or not is_mounted(settings.docker_host):
        search.note("", "not asked: no socket of a Docker engine is mounted")
        return Finding()
    own = own_id()
    if not own:
        search.note("", "not asked: we run in no container, and the socket is simply the host's")
        return Finding()
    # what is published at all addresses of the host is reached at the one that is known
    ip = search.ip.value if search.ip else ""
    asked = f"container {own[:12]}"
    search.note(asked, "")
    try:
        with Engine(settings.docker_host) as engine:
            found_ip, found_port = read_place(own, ip, settings.port, inspect=engine.inspect)
    except Fault as fault:
        if is_mounted():
            raise
        # DOCKER_HOST alone may mean the engine that a service works with, not the one it runs in
        log.warning("%s; registering the container's own address", fault)
        search.note(asked, str(fault))
        return Finding()
    published = f"port {settings.port} is published at {found_ip}:{found_port}"
    search.note(asked, published if found_port else f"port {settings.port} is not published")
    return Finding(found_ip, found_port)


def read_place(own: str, ip: str, port: int, *, inspect: Inspect) -> tuple[str, int]:
    """The same, of a container whose id is known."""
    container = inspect(own)
    if container is None:
        raise PlaceUnknown(
            f"the mounted Docker engine has no container {own[:12]}, which is ours; mount the"
            " socket of the engine that runs it, or set IP and HOST_PORT"
        )
    try:
        address = published_at(container, port, host_ip=ip)
    except ValueError as exc:
        raise PlaceUnknown(str(exc)) from exc
    if container.network_mode == HOST_NETWORK:
        # nothing is published, and nothing has to be
        return "", 0
    if address is None:
        log.warning(
            "a Docker socket is mounted, and port %d of this container is not published;"
            " registering its own address",
            port,
        )
        return "", 0
    if ip and address.ip != ip:
        raise PlaceUnknown(
            f"port {port} is published at {address} alone, and IP is {ip}; publish it at all"
            " addresses, or leave IP away"
        )
    return address.ip, address.port


def own_id(signs: Iterable[tuple[Path, re.Pattern[str]]] = SIGNS) -> str:
    """The id of the container that we run in; empty outside of one."""
    for path, sign in signs:
        with suppress(OSError, UnicodeDecodeError):
            found = sign.search(path.read_text(encoding="utf-8"))
            if found:
                return found[1]
    return ""
