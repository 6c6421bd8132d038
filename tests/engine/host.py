"""A host with an agent: labelled containers on a real engine, and a frontend that leads to them.

    with Host(engine, etcd, folder) as host, host.agent() as agent:
        web = host.run("main", "web")
        host.wait_served("main.localhost", web)
        assert host.frontend.ask("main.localhost").text == host.says(web)

Etcd, the frontend and the agent run on the machine itself, as the installed commands; containers
are those of the engine. Everything that is made here is gone behind the ``with``.
"""

import http.client
import os
import secrets
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import docker
from docker.models.containers import Container
from docker.models.networks import Network

from registrar import containers as labels
from registry.keys import RouteKey
from registry.records import InstanceRecord, State
from tests.engine.containers import RUN, gone
from tests.etcd_server import EtcdServer, wait_until
from tests.registrar_process import Place, Registrar
from tests.system.frontend import Frontend

SERVICE = Path(__file__).with_name("container_service.py").read_text()

PYTHON_IMAGE = os.environ.get("PYTHON_IMAGE", "python:3.13-slim")

PORT = 8000
"""Where the service in a container listens."""

SERVED_S = 20.0
"""Half a second is usual; on two busy cores a container alone takes seconds to start."""

NIMBLE = {"HEALTH_INTERVAL": "0.2", "HEALTH_TIMEOUT": "1", "DRAIN": "0.2"}
"""As often as a service may be asked, or nearly; who is told to end here has nothing in flight."""

PAUSE_S = 0.005
"""Between two requests, whoever asks: often enough to meet a gap of a few milliseconds."""

NETWORKS = "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"

_NUMBERS = count()


class Host:
    """Containers on a network of their own, a frontend, and a prefix of etcd for both.

    Attributes:
        name: Begins the name of every container.
        network: That the containers are in.
        environ: What agents are started with, besides what they are given.
    """

    def __init__(
        self,
        engine: docker.DockerClient,
        etcd: EtcdServer,
        folder: Path,
        *,
        docker_host: str = "",
        network: str = "",
    ) -> None:
        """Makes nothing yet.

        Args:
            docker_host: Of the engine; else that of the environment.
            network: One that is there; else one is made.
        """
        self.engine = engine
        prefix = f"/host-{next(_NUMBERS)}"
        self.place = Place(etcd, prefix)
        self.name = f"{RUN}-{secrets.token_hex(3)}"
        self.network = network or self.name
        self._has_network = bool(network)
        self.frontend = Frontend(folder, etcd=etcd, REGISTRY_PREFIX=prefix, ALLOW_NETWORKS=NETWORKS)
        found = docker_host or os.environ.get("DOCKER_HOST", "")
        engine_environ = {"DOCKER_HOST": found} if found else {}
        self.environ = {**self.place.environ, **NIMBLE, "HEALTH_TCP": "on", **engine_environ}
        self._texts: dict[str | None, str] = {}
        self._ending = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self.place.etcd.close)
            stack.enter_context(self.frontend)
            self._ending = stack.pop_all()
        try:
            if not self._has_network:
                self.new_network(self.network)
        except BaseException:
            self._ending.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.close()

    def new_network(self, name: str) -> Network:
        """Make a network that goes with the host."""
        network = self.engine.networks.create(name, driver="bridge")
        self._ending.callback(gone, network.remove)
        return network

    def agent(self, *arguments: str, network: str | None = None, **environ: str) -> Registrar:
        """Start an agent, by default one that looks for containers in the host's network."""
        network = self.network if network is None else network
        own = {"DOCKER_NETWORK": network} if network else {}
        return Registrar(["docker", *arguments], {**self.environ, **own, **environ})

    def create(
        self,
        branch: str = "",
        service: str = "",
        *,
        port: str = str(PORT),
        more_labels: Mapping[str, str] | None = None,
        exposes: Sequence[int] = (),
        host: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        **environ: str,
    ) -> Container:
        """Make a container that answers with its branch, its service and a word of its own.

        Args:
            port: Its label; empty for none.
            exposes: Ports that the image would expose.
            host: Further arguments of the SDK's ``create_host_config``.
            options: The same, of its ``create_container``.
            environ: Further variables of the service.
        """
        api = self.engine.api
        named = {labels.BRANCH: branch, labels.SERVICE: service, labels.PORT: port}
        says = f"{branch} {service} {secrets.token_hex(3)}"
        created = api.create_container(
            PYTHON_IMAGE,
            ["python3", "-c", SERVICE],
            environment={"SAYS": says, **environ},
            labels={**{k: v for k, v in named.items() if v}, **(more_labels or {})},
            ports=list(exposes),
            host_config=api.create_host_config(**{"network_mode": self.network, **(host or {})}),
            **{"name": f"{self.name}-{secrets.token_hex(3)}", **(options or {})},
        )
        container = self.adopt(self.engine.containers.get(created["Id"]))
        self._texts[container.id] = says
        return container

    def says(self, container: Container) -> str:
        """What a container answers."""
        return self._texts[container.id]

    def adopt(self, container: Container) -> Container:
        """Have a container removed with the host."""
        self._ending.callback(gone, lambda: container.remove(force=True, v=True))
        return container

    def run(self, branch: str = "", service: str = "", **arguments: Any) -> Container:
        """Make one and start it."""
        container = self.create(branch, service, **arguments)
        container.start()
        return container

    def route(self, container: Container) -> InstanceRecord | None:
        """How a container is registered; None if it is not."""
        begins = f"{short_id(container)}-"
        return next(
            (one for key, one in self.routes().items() if key.instance.startswith(begins)), None
        )

    def routes(self) -> dict[RouteKey, InstanceRecord]:
        """All that is registered."""
        found = {}
        for entry in self.place.routes():
            key = self.place.keys.parse(entry.key)
            assert isinstance(key, RouteKey)
            found[key] = InstanceRecord.parse(entry.value)
        return found

    def wait_ready(self, *containers: Container) -> None:
        """Wait until these are registered and get requests."""
        for container in containers:

            def is_ready(container: Container = container) -> bool:
                record = self.route(container)
                return record is not None and record.state is State.READY

            wait_until(is_ready, within_s=SERVED_S)

    def wait_gone(self, *containers: Container) -> None:
        """Wait until these are not registered any more."""
        for container in containers:

            def is_gone(container: Container = container) -> bool:
                return self.route(container) is None

            wait_until(is_gone, within_s=SERVED_S)

    def wait_served(self, name: str, *containers: Container) -> None:
        """Wait until a host is answered by just these containers."""
        wanted = {self.says(container) for container in containers}

        def is_so() -> bool:
            answers = [self.ask(name) for _ in range(3 * len(wanted))]
            return {text for text, _ in answers} == wanted

        wait_until(is_so, within_s=SERVED_S)

    def ask(self, name: str) -> tuple[str, str]:
        """One request: the text, or the status where it is not 200, and who served it."""
        answer = self.frontend.ask(name)
        text = answer.text if answer.status == 200 else str(answer.status)
        return text, answer.headers.get("x-served-by", "")

    def wait_status(self, name: str, status: int) -> None:
        """Wait until a host is answered with a status."""

        def is_so() -> bool:
            try:
                return self.frontend.ask(name, within_s=1.0).status == status
            except TimeoutError:
                # on its way to a container that was paused just then, or cut off
                return False

        wait_until(is_so, within_s=SERVED_S)


def short_id(container: Container) -> str:
    """As much of its id as Docker shows, and an instance begins with."""
    return str(container.id)[:12]


class Rounds:
    """Asks many hosts all the time, each time on a connection of its own and once.

    Each host has a client of its own, so that one that has to wait keeps no other from asking.

    Attributes:
        statuses: How often each came; 0 for no answer at all.
        wrong: Answers of another branch's container.
    """

    def __init__(self, frontend: Frontend, owners: Mapping[str, str]) -> None:
        """Takes the branch and service that each host is of, as its containers say them."""
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []
        self._frontend = frontend
        self._pause_s = PAUSE_S * len(owners)
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=one, daemon=True) for one in owners.items()
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, host: str, owner: str) -> None:
        while not self._is_over.wait(self._pause_s):
            self._ask(host, owner)

    def _ask(self, host: str, owner: str) -> None:
        try:
            answer = self._frontend.ask(host)
        except (OSError, http.client.HTTPException):
            self.statuses[0] += 1
            return
        self.statuses[answer.status] += 1
        if answer.status == 200 and not answer.text.startswith(f"{owner} "):
            self.wrong.append(f"{host}: {answer.text}")
