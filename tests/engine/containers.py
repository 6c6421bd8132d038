"""Containers of a test, on a network of the test's own.

    with Place(engine, images) as place:
        frontend = place.frontend()
        place.run(images.registrar, "python3", "-m", "standalone.samples", NAME="main", …)
        assert frontend.ask("main.localhost").status == 200

Whatever is made here has the name of this run in its own, and goes with the place, failed test or
not. Containers are reached from the machine itself: the frontend by its published port, all others
by their address. ``ask`` asks once and never again.
"""

import http.client
import secrets
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import docker
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from registry.etcd import Etcd, EtcdSettings
from registry.faults import Fault
from registry.keys import Keyspace
from registry.records import FrontendRecord
from tests.etcd_server import free_ports, wait_until
from tests.system.frontend import Answer, Link, exchange

ROOT = Path(__file__).parents[2]

RUN = f"bf-{secrets.token_hex(4)}"
"""Is part of every name that this run gives, whether by us or by compose."""

BUILD_ARGUMENTS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")
"""Handed on to a build if they are set."""

ETCD_PORT = 2379

STOP_S = 10
"""For a container that was told to stop; then it is killed."""


@dataclass(frozen=True, slots=True)
class Images:
    """Names of images: two that were built from the tree, and the bases."""

    frontend: str
    registrar: str
    python: str
    nginx: str
    etcd: str


class Place:
    """A network, and the containers of one test on it."""

    def __init__(self, engine: docker.DockerClient, images: Images) -> None:
        self.engine = engine
        self.images = images
        self.name = f"{RUN}-{secrets.token_hex(3)}"
        self._ending = ExitStack()
        self._registry: Etcd | None = None

    def __enter__(self) -> Self:
        self.network = self.engine.networks.create(self.name, driver="bridge")
        self._ending.callback(gone, self.network.remove)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.close()

    def run(
        self,
        image: str,
        *command: str,
        name: str = "",
        options: dict[str, Any] | None = None,
        **environ: str,
    ) -> Container:
        """Start a container; it is removed, with its volumes, when the place goes.

        Args:
            name: Others on the network find it by this.
            options: Further ones of the Docker SDK's ``containers.run``.
        """
        own = options or {}
        if "network_mode" not in own:
            end = self.engine.api.create_endpoint_config(aliases=[name] if name else None)
            own = {"network": self.name, "networking_config": {self.name: end}, **own}
        container = self.engine.containers.create(
            image,
            list(command) or None,
            name=f"{self.name}-{name or secrets.token_hex(3)}",
            environment=environ,
            **own,
        )
        self._ending.callback(gone, lambda: container.remove(force=True, v=True))
        container.start()
        return container

    def etcd(self, *flags: str) -> Container:
        """Start an etcd without users, and wait until it answers; its name is ``etcd``."""
        url = f"http://0.0.0.0:{ETCD_PORT}"
        container = self.run(
            self.images.etcd,
            *("/usr/local/bin/etcd", "--log-level", "error", "--data-dir", "/var/lib/etcd"),
            *("--listen-client-urls", url, "--advertise-client-urls", f"http://etcd:{ETCD_PORT}"),
            *flags,
            name="etcd",
        )
        self._registry = etcd = Etcd(
            EtcdSettings((f"http://{self.address(container)}:{ETCD_PORT}",)), call_timeout_s=1.0
        )
        self._ending.callback(etcd.close)

        def etcd_answers() -> bool:
            with suppress(Fault):
                return etcd.read(b"ready?") is None
            return False

        wait_until(etcd_answers, within_s=20.0)
        return container

    @property
    def registry(self) -> Etcd:
        """A client of the place's etcd."""
        assert self._registry is not None, "place.etcd() comes first"
        return self._registry

    def frontend(
        self, name: str = "frontend", *, options: dict[str, Any] | None = None, **environ: str
    ) -> "FrontendContainer":
        """Start a frontend as the compose file does, published on a free port of loopback.

        It is not waited for: without a registry that has answered, nobody listens.
        """
        port = free_ports(1)[0]
        container = self.run(
            self.images.frontend,
            name=name,
            options={
                "ports": {"8080/tcp": ("127.0.0.1", port)},
                "read_only": True,
                "cap_drop": ["ALL"],
                "security_opt": ["no-new-privileges"],
                **(options or {}),
            },
            **{
                "REGISTRY_URL": f"http://etcd:{ETCD_PORT}",
                "DOMAIN": "localhost",
                "PUBLIC_URL": f"http://localhost:{port}",
                "LOG_FORMAT": "text",
                **environ,
            },
        )
        return FrontendContainer(container, port)

    def frontends(self) -> list[FrontendRecord]:
        """What the living frontends report."""
        found = self.registry.list(Keyspace().frontends).entries.values()
        return [FrontendRecord.parse(entry.value) for entry in found]

    def address(self, container: Container) -> str:
        """The ip of a container on the place's network."""
        return address(container, self.name)


@dataclass(frozen=True, slots=True)
class FrontendContainer:
    """A frontend, and the port of loopback at which it is asked."""

    container: Container
    port: int

    def ask(self, host: str, path: str = "/", *, within_s: float = 10.0) -> Answer:
        """One request on a connection of its own, like ``ask_at``."""
        return ask_at(self.port, host, path, within_s=within_s)

    def connect(self) -> Link:
        """A connection that may be asked several times."""
        return Link("127.0.0.1", self.port, timeout=10.0)

    def wait_for(self, host: str, status: int = 200, *, within_s: float = 20.0) -> Answer:
        """Ask until the answer has this status; the last answer."""
        return wait_for_answer(self.port, host, status, within_s=within_s)

    def log(self) -> str:
        """All that it has said."""
        return self.container.logs().decode(errors="replace")


def ask_at(port: int, host: str, path: str = "/", *, within_s: float = 10.0) -> Answer:
    """One request to a port of loopback.

    Args:
        host: Goes into the Host header, with the port behind it where it has none.

    Raises:
        OSError, http.client.HTTPException: There was no answer.
    """
    with Link("127.0.0.1", port, timeout=within_s) as link:
        return exchange(link, host if ":" in host else f"{host}:{port}", path)


def wait_for_answer(port: int, host: str, status: int = 200, *, within_s: float = 20.0) -> Answer:
    """Ask until the answer has this status; the answer."""
    seen: list[Answer] = []
    trouble = [""]

    def it_answers() -> bool:
        try:
            seen.append(ask_at(port, host, within_s=2.0))
        except (OSError, http.client.HTTPException) as exc:
            trouble[0] = repr(exc)
            return False
        trouble[0] = f"status {seen[-1].status}"
        return seen[-1].status == status

    try:
        wait_until(it_answers, within_s=within_s)
    except TimeoutError as exc:
        raise AssertionError(f"{host}: no {status} within {within_s:g} s; {trouble[0]}") from exc
    return seen[-1]


def address(container: Container, network: str) -> str:
    """The ip of a container on a network."""
    container.reload()
    return str(container.attrs["NetworkSettings"]["Networks"][network]["IPAddress"])


def gone(remove: Callable[[], object]) -> None:
    """Remove something that may be gone, or on its way, already."""
    try:
        remove()
    except NotFound:
        pass
    except APIError as exc:
        if "already in progress" not in str(exc):
            raise


def remove_all(engine: docker.DockerClient) -> None:
    """Remove whatever this run has made and a test has not: it was interrupted, or is broken."""
    ours: dict[str, str | list[str] | bool] = {"name": RUN}
    for container in engine.containers.list(all=True, filters=ours):
        gone(partial(container.remove, force=True, v=True))
    for network in engine.networks.list(filters=ours):
        gone(network.remove)
    for volume in engine.volumes.list(filters=ours):
        gone(volume.remove)
    for image in engine.images.list():
        for tag in image.tags:
            if RUN in tag:
                gone(partial(engine.images.remove, tag, force=True))
