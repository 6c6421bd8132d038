"""The demo of the compose file, hurt.

Whatever dies comes back by itself, and nobody ever answers for another.
"""

import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import docker
import pytest
from docker.models.containers import Container

from registry.transport import KEEPALIVE_PAUSE_S, KEEPALIVE_S, KEEPALIVE_TRIES
from tests.engine import compose, demo
from tests.engine.compose import Project, versions
from tests.engine.containers import RUN, Images, Place, wait_for_answer
from tests.etcd_server import free_ports, wait_until

AGAIN_S = 20.0
"""Until all URLs answer again after one container was restarted or killed; 1 to 3 s are usual."""

HEALED_S = KEEPALIVE_S + KEEPALIVE_TRIES * KEEPALIVE_PAUSE_S + 8.0
"""After a cut: the kernel notices that a watch's peer went without a word; the rest is as always.

Well under the half minute of silence after which a watch is opened anew in any case.
"""

CROWD = 50

CROWD_S = 90.0
"""For 100 Pythons to start on two cores, and the engine to set up 50 networks."""

SERVICES = (
    "etcd",
    "frontend",
    "main-web",
    "main-api",
    "feature-login-web",
    "feature-login-api",
)


@dataclass(frozen=True, slots=True)
class Demo:
    """A demo that is up, and the port where its frontend is published."""

    project: Project
    port: int

    def restart(self, service: str) -> None:
        """``docker restart``."""
        self.project.container(service).restart(timeout=10)

    def kill(self, service: str) -> None:
        """kill -9, past the engine: what that has killed itself, it does not start again."""
        container = self.project.container(service)
        killer = self.project.engine.containers.run(
            self.project.images.python,
            ["sh", "-c", f"kill -9 {container.attrs['State']['Pid']}"],
            name=f"{self.project.name}-killer",
            pid_mode="host",
            detach=True,
        )
        try:
            assert killer.wait(timeout=30)["StatusCode"] == 0, killer.logs()
        finally:
            killer.remove(force=True)


@pytest.fixture(scope="module", name="standing")
def _standing(engine: docker.DockerClient, images: Images) -> Iterator[Demo]:
    if not versions():
        pytest.skip("there is no compose")
    port = free_ports(1)[0]
    settings = compose.environ(images, network=f"{RUN}-faults", port=port)
    options = ("--profile", "demo")
    with Project(engine, images, versions()[0], options=options, environ=settings) as project:
        project("up", "-d")
        demo.wait_for_all(port, within_s=60.0)
        yield Demo(project, port)


@pytest.mark.parametrize(
    "order", list(itertools.permutations(("etcd", "frontend", "main-web"))), ids=" ".join
)
def test_restarts_in_every_order_need_no_hand(standing: Demo, order: tuple[str, ...]) -> None:
    demo.wait_for_all(standing.port, within_s=AGAIN_S)

    with demo.watched(standing.port):
        for service in order:
            standing.restart(service)
            demo.wait_for_all(standing.port, within_s=AGAIN_S)


def test_all_of_them_restarted_at_once_come_back(standing: Demo) -> None:
    """As after a reboot. They get each other's addresses, and etcd is not there yet to tell.

    A service starts after a second without the registry, and the frontend serves what it served: so
    for a moment somebody may answer for another, which no single restart ever brings about.
    """
    demo.wait_for_all(standing.port, within_s=AGAIN_S)

    with ThreadPoolExecutor(len(SERVICES)) as pool:
        list(pool.map(standing.restart, SERVICES))

    in_a_row = 0

    def all_are_right_for_good() -> bool:
        nonlocal in_a_row
        in_a_row = in_a_row + 1 if demo.are_all_right(standing.port) else 0
        # whoever has a wrong instance besides the right one does not get it right so often
        return in_a_row == 20

    wait_until(all_are_right_for_good, within_s=AGAIN_S)
    with demo.watched(standing.port):
        demo.wait_for_all(standing.port, within_s=AGAIN_S)


@pytest.mark.parametrize("service", SERVICES)
def test_whatever_is_killed_comes_back(standing: Demo, service: str) -> None:
    demo.wait_for_all(standing.port, within_s=AGAIN_S)
    before = standing.project.container(service).attrs["State"]

    with demo.watched(standing.port):
        standing.kill(service)

        def runs_again() -> bool:
            state = standing.project.container(service).attrs["State"]
            return bool(state["Running"] and state["StartedAt"] != before["StartedAt"])

        wait_until(runs_again, within_s=AGAIN_S)
        demo.wait_for_all(standing.port, within_s=AGAIN_S)


def test_while_etcd_is_dead_every_url_answers(standing: Demo) -> None:
    demo.wait_for_all(standing.port, within_s=AGAIN_S)
    etcd = standing.project.container("etcd")

    etcd.kill()
    try:
        for _ in range(20):
            demo.ask_all(standing.port)
    finally:
        etcd.start()
    demo.wait_for_all(standing.port, within_s=AGAIN_S)


def test_a_frontend_that_starts_while_etcd_is_dead_serves_what_it_served(standing: Demo) -> None:
    demo.wait_for_all(standing.port, within_s=AGAIN_S)
    etcd = standing.project.container("etcd")

    etcd.kill()
    try:
        standing.restart("frontend")
        demo.wait_for_all(standing.port, within_s=AGAIN_S)
    finally:
        etcd.start()
    demo.wait_for_all(standing.port, within_s=AGAIN_S)


def test_etcd_cut_from_everybody_harms_no_url(standing: Demo) -> None:
    """What was registered meanwhile is served when the network is whole again.

    Where etcd was is the new container then, and etcd has another address.
    """
    demo.wait_for_all(standing.port, within_s=AGAIN_S)
    project = standing.project
    etcd = project.container("etcd")
    network = project.engine.networks.get(f"{RUN}-faults")

    network.disconnect(etcd)
    try:
        for _ in range(10):
            demo.ask_all(standing.port)
        late = project.engine.containers.run(
            project.images.registrar,
            ["python3", "-m", "standalone.samples"],
            name=f"{project.name}-late",
            entrypoint=["registrar", "run", "--"],
            network=network.name,
            environment={
                **SAMPLE,
                "REGISTRY_URL": "http://etcd:2379",
                "NAME": "late",
                "SERVICE": "web",
            },
            detach=True,
        )
    finally:
        network.connect(etcd, aliases=["etcd"])
    try:
        answer = wait_for_answer(standing.port, "late.localhost", within_s=HEALED_S)
        assert "late web" in answer.text
        demo.wait_for_all(standing.port, within_s=AGAIN_S)
    finally:
        late.remove(force=True)


SAMPLE = {
    "PORT": "8000",
    "BIND": "0.0.0.0",  # noqa: S104 - in a container, and nowhere else
    "PYTHONPATH": "/opt/branchfront/lib",
}
"""What the sample service needs in a container."""


def _sample(place: Place, branch: str, registry: str, **environ: str) -> Container:
    return place.run(
        place.images.registrar,
        *("python3", "-m", "standalone.samples"),
        options={"entrypoint": ["registrar", "run", "--"]},
        **SAMPLE,
        REGISTRY_URL=registry,
        NAME=branch,
        SERVICE="web",
        **environ,
    )


def test_a_frontend_cut_from_etcd_serves_and_then_catches_up(place: Place) -> None:
    """Only it is cut: the registrars go on, and what they do meanwhile is served after."""
    etcd = place.etcd()
    wire = place.engine.networks.create(f"{place.name}-wire")
    try:
        wire.connect(etcd, aliases=["etcd-wire"])
        frontend = place.frontend(REGISTRY_URL="http://etcd-wire:2379")
        wire.connect(frontend.container)
        _sample(place, "stays", "http://etcd:2379")
        goes = _sample(place, "goes", "http://etcd:2379", TTL="2")
        frontend.wait_for("stays.localhost")
        frontend.wait_for("goes.localhost")

        wire.disconnect(etcd)
        for _ in range(20):
            for branch in ("stays", "goes"):
                answer = frontend.ask(f"{branch}.localhost")
                assert answer.status == 200
                assert f"{branch} web" in answer.text
        _sample(place, "comes", "http://etcd:2379")
        wait_until(lambda: _is_ready(place, b"comes"), within_s=AGAIN_S)
        assert frontend.ask("comes.localhost").status == 404
        goes.kill()
        wire.connect(etcd, aliases=["etcd-wire"])

        assert "comes web" in frontend.wait_for("comes.localhost", within_s=HEALED_S).text
        frontend.wait_for("goes.localhost", 503, within_s=HEALED_S)
        assert frontend.ask("stays.localhost").status == 200
    finally:
        wire.disconnect(frontend.container, force=True)
        wire.disconnect(etcd, force=True)
        wire.remove()


def _is_ready(place: Place, branch: bytes) -> bool:
    found = place.registry.list(b"/branchfront/routes/" + branch + b"/").entries.values()
    return any(json.loads(entry.value).get("state", "ready") == "ready" for entry in found)


def test_fifty_containers_at_once_are_all_served_and_none_for_another(place: Place) -> None:
    place.etcd()
    frontend = place.frontend()
    frontend.wait_for("localhost")
    branches = [f"crowd-{number:02}" for number in range(CROWD)]

    with ThreadPoolExecutor(CROWD) as pool:
        list(pool.map(lambda branch: _sample(place, branch, "http://etcd:2379"), branches))

    served: set[str] = set()

    def all_are_served() -> bool:
        for branch in set(branches) - served:
            answer = frontend.ask(f"{branch}.localhost")
            if answer.status == 200:
                assert f"<title>{branch} web</title>" in answer.text
                served.add(branch)
        return len(served) == CROWD

    wait_until(all_are_served, within_s=CROWD_S)
    for branch in branches:
        answer = frontend.ask(f"{branch}.localhost")
        assert (answer.status, f"<title>{branch} web</title>" in answer.text) == (200, True)
