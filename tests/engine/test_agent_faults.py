"""Included: ``registrar docker`` where the engine is away, refuses, or has a bad day.

No client here asks twice where an answer has to be right. An engine that is hurt is the test's own.
"""

import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import docker
import pytest
from docker.models.containers import Container

from registrar.engine import SOCKET
from tests.engine.containers import ROOT, Images
from tests.engine.host import PYTHON_IMAGE, Host, Rounds
from tests.engine.own_engine import DOCKERD, OwnEngine
from tests.etcd_server import EtcdServer, free_ports, wait_until
from tests.registrar_process import Registrar, run_once
from tests.system.frontend import NGINX

USUAL = {"HEALTH_INTERVAL": "5", "HEALTH_TIMEOUT": "2"}
"""What a container's health is asked by where nobody says otherwise."""

ALWAYS = {"restart_policy": {"Name": "always"}}
"""Comes back with its engine."""


@pytest.fixture(scope="module")
def own_engine(engine: docker.DockerClient) -> Iterator[OwnEngine]:
    if os.geteuid() != 0 or not DOCKERD:
        pytest.skip("an engine of one's own needs root, and dockerd on PATH")
    with OwnEngine() as own:
        own.copy_image(engine, PYTHON_IMAGE)
        yield own


@pytest.fixture
def own_host(own_engine: OwnEngine, etcd: EtcdServer, tmp_path: Path) -> Iterator[Host]:
    own = Host(own_engine.client, etcd, tmp_path, docker_host=own_engine.url, network="bridge")
    with own as host:
        own_engine.start()
        yield host
        own_engine.start()


@pytest.mark.parametrize("way", ["stopped", "killed"])
def test_nobody_gets_a_wrong_answer_while_the_engine_is_started_again(
    own_engine: OwnEngine, own_host: Host, way: str
) -> None:
    """Its containers come back in any order, and at each other's addresses."""
    with own_host.agent(**USUAL) as agent:
        containers = {
            name: own_host.run(name, "web", host=ALWAYS) for name in (f"b{n}" for n in range(6))
        }
        own_host.wait_ready(*containers.values())
        before = addresses(own_host, containers)

        with Rounds(own_host.frontend, owners(containers)) as rounds:
            for _ in range(2):
                (own_engine.stop if way == "stopped" else own_engine.kill)()
                own_engine.start()
                wait_all_served(own_host, containers)

        assert rounds.wrong == []
        after = addresses(own_host, containers)
        assert after != before, "nobody has another address, so nothing was tried"
        assert sorted(after) == sorted(before)
        assert said(agent, "the engine answers again") == said(agent, "has hung up") == 2


@pytest.mark.parametrize("way", ["stopped", "killed"])
def test_an_agent_that_goes_down_with_its_engine_leaves_nobody_to_another(
    engine: docker.DockerClient, own_engine: OwnEngine, own_host: Host, images: Images, way: str
) -> None:
    """The usual place of an agent is a container of the engine that it watches."""
    own_engine.copy_image(engine, images.registrar)
    containers = {
        name: own_host.run(name, "web", host=ALWAYS) for name in (f"b{n}" for n in range(4))
    }
    environ = {**own_host.environ, **USUAL, "DOCKER_NETWORK": "bridge", "DOCKER_HOST": ""}
    environ.pop("PATH")
    agent = own_host.adopt(
        own_engine.client.containers.create(
            images.registrar,
            "docker",
            environment=environ,
            network_mode="host",
            user="0",
            restart_policy={"Name": "always"},
            volumes={f"{own_engine.folder}/docker.sock": {"bind": "/var/run/docker.sock"}},
        )
    )
    agent.start()
    own_host.wait_ready(*containers.values())

    with Rounds(own_host.frontend, owners(containers)) as rounds:
        for _ in range(2):
            (own_engine.stop if way == "stopped" else own_engine.kill)()
            if way == "stopped":
                assert own_host.routes() == {}, agent_log(agent, own_engine)
            own_engine.start()
            wait_all_served(own_host, containers)

    assert rounds.wrong == [], agent.logs().decode()


def test_the_agent_may_be_there_before_its_engine(own_engine: OwnEngine, own_host: Host) -> None:
    own_engine.stop()
    with own_host.agent() as agent:
        agent.wait_said("no Docker engine answers at unix://")
        own_engine.start()
        container = own_host.run("main", "web")
        own_host.wait_served("main.localhost", container)

        assert said(agent, "no Docker engine answers") == said(agent, "answers again") == 1


def test_whoever_comes_and_goes_is_never_taken_for_another(host: Host) -> None:
    """Ten branches at random: started, stopped, killed, restarted, paused and removed."""
    rng = random.Random(4)  # noqa: S311 - the same in every run
    names = [f"b{number}" for number in range(10)]
    running: dict[str, Container] = {}
    with (
        host.agent(TTL="3") as agent,
        Rounds(host.frontend, {f"{name}.localhost": f"{name} web" for name in names}) as rounds,
    ):
        for _ in range(60):
            name = rng.choice(names)
            container = running.pop(name, None)
            if container is None:
                running[name] = host.run(name, "web")
                continue
            match rng.choice(["stop", "kill", "remove", "restart", "pause"]):
                case "stop":
                    container.stop()
                case "kill":
                    container.kill()
                case "remove":
                    container.remove(force=True)
                case "restart":
                    container.restart()
                    running[name] = container
                case _:
                    container.pause()
                    container.unpause()
                    running[name] = container
        wait_all_served(host, running)
        for name in set(names) - set(running):
            host.wait_status(f"{name}.localhost", 503)
        # one that was ended as it came may be written for a moment, before it is taken away
        wait_until(lambda: {key.branch for key in host.routes()} == set(running))

    assert rounds.wrong == []
    assert rounds.statuses[200] > 100
    assert "a mistake of ours" not in agent.log


def test_fifty_that_start_at_once_are_served(host: Host) -> None:
    containers = {name: host.create(name, "web") for name in (f"b{n}" for n in range(50))}
    with host.agent() as agent, Rounds(host.frontend, owners(containers)) as rounds:
        with ThreadPoolExecutor(10) as starting:
            began_at = time.monotonic()
            list(starting.map(lambda one: one.start(), containers.values()))
        started_s = time.monotonic() - began_at
        wait_all_served(host, containers, within_s=30.0)
        served_s = time.monotonic() - began_at

    assert rounds.wrong == []
    # two cores start about ten containers a second; all are served soon after the last
    assert served_s < started_s + 10.0, f"started in {started_s:.1f} s, served in {served_s:.1f} s"
    assert said(agent, " is ready") + said(agent, " as ready") >= 50


def test_nothing_is_asked_but_what_reads(host: Host) -> None:
    recorder = EngineRecorder(host.environ.get("DOCKER_HOST", ""))
    with recorder, host.agent(DOCKER_HOST=recorder.url):
        check = {"Test": ["CMD-SHELL", "true"], "Interval": 200_000_000}
        container = host.run("main", "web", options={"healthcheck": check})
        host.wait_served("main.localhost", container)
        container.pause()
        host.wait_gone(container)
        container.unpause()
        host.wait_served("main.localhost", container)
        container.restart()
        host.wait_served("main.localhost", container)
        container.stop()
        host.wait_gone(container)
    asked = {re.sub(r"/[0-9a-f]{64}/", "/<id>/", one) for one in recorder.asked}

    assert recorder.refused == []
    assert {re.sub(r"^GET (/v1\.\d+)?", "", one) for one in asked} == {
        "/version",
        "/events",
        "/containers/json",
        "/containers/<id>/json",
    }


def test_the_proxy_that_only_reads_is_enough(host: Host, tmp_path: Path) -> None:
    """The one that the compose file puts before the engine's socket, by its own configuration."""
    [port] = free_ports(1)
    text = (ROOT / "docker" / "socket-proxy.conf").read_text()
    for old, new in (
        ("listen 2375;", f"listen 127.0.0.1:{port};"),
        ("/var/run/docker.sock", urlsplit(host.environ.get("DOCKER_HOST", "")).path or SOCKET),
        (" /tmp/", f" {tmp_path}/"),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "proxy.conf").write_text(text)
    command = [NGINX, "-p", str(tmp_path), "-c", "proxy.conf", "-e", "error.log"]
    with subprocess.Popen([*command, "-g", "daemon off;"]) as proxy:
        try:
            with host.agent(DOCKER_HOST=f"tcp://127.0.0.1:{port}"):
                container = host.run("main", "web")
                host.wait_served("main.localhost", container)
                container.stop()
                host.wait_gone(container)
            refused = {
                path: status_of(port, method, path)
                for method, path in (
                    ("POST", f"/containers/{container.id}/start"),
                    ("DELETE", f"/v1.41/containers/{container.id}"),
                    ("GET", f"/containers/{container.id}/logs?stdout=1"),
                    ("GET", "/info"),
                    ("GET", f"/containers/{container.id}/../../info"),
                    ("POST", "/containers/json"),
                )
            }
        finally:
            proxy.terminate()
    assert set(refused.values()) <= {403, 400}, refused


@pytest.mark.parametrize("arguments", [["docker"], ["docker", "--dry-run"]])
def test_who_has_not_the_package_is_told_where_it_is(host: Host, arguments: list[str]) -> None:
    program = "import sys; sys.modules['docker'] = None; from registrar.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=host.environ,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 78
    [line] = done.stderr.splitlines()
    assert line.endswith("not installed; get it with: pip install 'branchfront[docker]'")


def test_a_dry_run_without_an_engine_says_so(host: Host, tmp_path: Path) -> None:
    done = run_once(
        ["docker", "--dry-run"], {**host.environ, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    )
    assert done.returncode == 69
    assert done.stderr == f"registrar: no Docker engine answers at unix://{tmp_path}/none.sock\n"


@pytest.mark.parametrize("arguments", [["docker"], ["docker", "--dry-run"]])
def test_a_socket_that_may_not_be_used_ends_it_with_what_to_do(
    host: Host, images: Images, arguments: list[str]
) -> None:
    socket_path = urlsplit(host.environ.get("DOCKER_HOST", "")).path or SOCKET
    agent = host.adopt(
        host.engine.containers.create(
            images.registrar,
            arguments,
            environment={"REGISTRY_URL": "http://127.0.0.1:1", "LOG_FORMAT": "text"},
            volumes={socket_path: {"bind": SOCKET, "mode": "ro"}},
        )
    )
    agent.start()

    assert agent.wait(timeout=20)["StatusCode"] == 77
    [line] = agent.logs().decode().splitlines()
    assert "may not be used by user 65534; give the process the socket's group" in line


def agent_log(agent: Container, engine: OwnEngine) -> str:
    """What an agent has said whose engine does not run: from the engine's own files."""
    path = engine.folder / "data" / "containers" / str(agent.id) / f"{agent.id}-json.log"
    return "".join(json.loads(line)["log"] for line in path.read_text().splitlines())


def owners(containers: Mapping[str, Container]) -> dict[str, str]:
    """What each branch's host is answered with."""
    return {f"{name}.localhost": f"{name} web" for name in containers}


def addresses(host: Host, containers: Mapping[str, Container]) -> list[str]:
    """Where each is registered."""
    return [str(record.address) for record in map(host.route, containers.values()) if record]


def wait_all_served(
    host: Host, containers: Mapping[str, Container], *, within_s: float = 30.0
) -> None:
    """Wait until each branch's host is answered by its own container; told by the answers alone."""
    missing = dict(containers)

    def is_so() -> bool:
        for name, container in list(missing.items()):
            if host.ask(f"{name}.localhost")[0] == host.says(container):
                del missing[name]
        return not missing

    try:
        wait_until(is_so, within_s=within_s)
    except TimeoutError as exc:
        raise AssertionError(f"not served in {within_s:g} s: {', '.join(missing)}") from exc


def said(agent: Registrar, text: str) -> int:
    """In how many lines it said so."""
    return sum(text in line for line in agent.log.splitlines())


def status_of(port: int, method: str, path: str) -> int:
    """Ask the proxy, with a path that goes out as it is."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
        link.sendall(f"{method} {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        return int(link.recv(100).split()[1])


class EngineRecorder:
    """Passes on to an engine what only reads, refuses all else, and remembers both.

    Attributes:
        asked: Method and path of all that was passed on.
        refused: The same, of all that was not.
    """

    ALLOWED = re.compile(
        r"GET (/v1\.\d+)?/(_ping|version|events|containers/json|containers/[0-9a-f]+/json)"
    )

    def __init__(self, docker_host: str) -> None:
        self.asked: set[str] = set()
        self.refused: list[str] = []
        self._socket = urlsplit(docker_host).path or SOCKET
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # a thread that waits in accept() is woken by the one and not by the other
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(link,), daemon=True).start()

    def _pass_on(self, link: socket.socket) -> None:
        """One question for each connection: both sides are told that it closes."""
        with link, socket.socket(socket.AF_UNIX) as engine, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                got = link.recv(65536)
                if not got:
                    return
                head += got
            first, _, rest = head.partition(b"\r\n")
            method, target, _ = first.decode().split()
            asked = f"{method} {target.partition('?')[0]}"
            if not self.ALLOWED.fullmatch(asked):
                self.refused.append(asked)
                link.sendall(b"HTTP/1.0 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                return
            self.asked.add(asked)
            engine.connect(self._socket)
            lines = [one for one in rest.split(b"\r\n") if not one.startswith(b"Connection:")]
            engine.sendall(b"\r\n".join([first, b"Connection: close", *lines]))
            while got := engine.recv(65536):
                link.sendall(got)
