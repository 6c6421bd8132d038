"""docker-compose.yml and the examples, brought up as a user does, by every compose there is."""

import socket
from collections.abc import Sequence

import docker
import pytest

from tests.engine import compose, demo
from tests.engine.compose import Project, versions
from tests.engine.containers import BUILD_ARGUMENTS, ROOT, RUN, Images, wait_for_answer
from tests.etcd_server import free_ports, wait_until

EXAMPLES = ROOT / "docs" / "examples"

HELLO = "feature-login-hello.localhost"

UP_S = 30.0
"""It takes 2.5 s on two quiet cores; the goal is 10 s."""

GATEWAY = "Gateway"

each_compose = pytest.mark.parametrize(
    "command",
    versions() or [pytest.param((), marks=pytest.mark.skip("there is no compose"))],
    ids=" ".join,
)


@each_compose
def test_up_from_nothing_to_answering_urls(
    engine: docker.DockerClient, images: Images, command: Sequence[str]
) -> None:
    port = free_ports(1)[0]
    # built by compose as well: it has its own way with arguments
    own = {name: f"branchfront/{name}:{RUN}-compose" for name in ("frontend", "registrar")}
    settings = {
        **compose.environ(images, network=f"{RUN}-up", port=port),
        "FRONTEND_IMAGE": own["frontend"],
        "REGISTRAR_IMAGE": own["registrar"],
    }
    with Project(
        engine, images, command, options=("--profile", "demo"), environ=settings
    ) as project:
        project("build")
        project("up", "-d")
        took_s = demo.wait_for_all(port, within_s=UP_S)
        assert took_s < 10.0

        assert f"open http://localhost:{port}" in project("logs", "--no-color")
        # those that came before the frontend had reported could not know the URL yet
        project("restart", "feature-login-web")
        demo.wait_for_all(port, within_s=UP_S)
        reached = f"reached at http://feature-login.localhost:{port}"
        assert reached in project("logs", "--no-color")

        for service, container in project.containers().items():
            bindings = container.attrs["NetworkSettings"]["Ports"]
            published = [one for found in bindings.values() for one in found or ()]
            expected = {"127.0.0.1"} if service == "frontend" else set()
            assert {one["HostIp"] for one in published} == expected, service
        network = engine.networks.get(f"{RUN}-up")
        gateway = network.attrs["IPAM"]["Config"][0][GATEWAY]
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((gateway, port), timeout=5.0)

        # a second `up` changes nothing, and interrupts nobody
        before = {name: one.id for name, one in project.containers().items()}
        project("up", "-d")
        demo.ask_all(port)
        assert {name: one.id for name, one in project.containers().items()} == before


@each_compose
def test_without_a_profile_there_is_an_empty_frontend(
    engine: docker.DockerClient, images: Images, command: Sequence[str]
) -> None:
    port = free_ports(1)[0]
    settings = compose.environ(images, network=f"{RUN}-empty", port=port)
    with Project(engine, images, command, environ=settings) as project:
        project("up", "-d")
        wait_for_answer(port, "localhost")

        assert set(project.containers()) == {"etcd", "frontend"}
        # an operator looks, from within
        table = project("exec", "-T", "frontend", "registrar", "list")
        assert "main" not in table

        def both_are_healthy() -> bool:
            states = [one.attrs["State"]["Health"] for one in project.containers().values()]
            return {state["Status"] for state in states} == {"healthy"}

        wait_until(both_are_healthy, within_s=UP_S)


@pytest.mark.parametrize("example", ["entrypoint", "sidecar"])
@each_compose
def test_an_example_answers_as_it_is_written(
    engine: docker.DockerClient, images: Images, command: Sequence[str], example: str
) -> None:
    port = free_ports(1)[0]
    settings = compose.environ(images, network=f"{RUN}-{example}", port=port)
    with Project(engine, images, command, environ=settings) as project:
        project("up", "-d")
        _wait_for_report(project)
        file = EXAMPLES / example / "docker-compose.yml"
        with Project(engine, images, command, file=file, environ=settings) as theirs:
            theirs("up", "-d")
            answer = wait_for_answer(port, HELLO)
            assert answer.text == f"hello from the {example} example\n"
            assert f"reached at http://{HELLO}:{port}" in theirs("logs", "--no-color")

            # what people do with it all day
            for service in theirs.containers():
                if service == "network":
                    continue  # holds the others' network: see the comment in the file
                theirs("restart", "-t", "5", service)
                assert wait_for_answer(port, HELLO).text == answer.text
        # it signed off: nobody waits for a lease
        wait_for_answer(port, HELLO, 503, within_s=5.0)


def _wait_for_report(project: Project) -> None:
    """Wait until the frontend has said what it is called, so that registrars can say URLs."""

    def it_has_reported() -> bool:
        code, said = project.container("frontend").exec_run(["regenerator", "status"])
        return code == 0 and b"http://localhost" in said

    wait_until(it_has_reported, within_s=UP_S)


@each_compose
def test_a_cluster_of_three_goes_on_with_two(
    engine: docker.DockerClient, images: Images, command: Sequence[str]
) -> None:
    port = free_ports(1)[0]
    settings = compose.environ(images, network=f"{RUN}-cluster", port=port)
    options = ("--env-file", "docker/cluster.env")
    with Project(engine, images, command, options=options, environ=settings) as project:
        project("up", "-d")
        wait_for_answer(port, "localhost", within_s=60.0)
        members = [name for name in project.containers() if name.startswith("etcd")]
        assert sorted(members) == ["etcd", "etcd-2", "etcd-3"]
        listed = project("exec", "-T", "etcd-2", "/usr/local/bin/etcdctl", "member", "list")
        assert listed.count("started") == 3

        for member in sorted(members):
            project("stop", "-t", "1", member)
            project(
                *("exec", "-T", "frontend", "registrar", "add"),
                *(f"without-{member}", "web", "10.99.99.99:8000", "--wait", "20"),
            )
            project("start", member)
            _wait_until_whole(project)

        # each was written while one was away, and all of them know
        table = project("exec", "-T", "frontend", "registrar", "list")
        assert all(f"without-{member}" in table for member in members)


def _wait_until_whole(project: Project) -> None:
    """Wait until all three members answer: the next one may only go then."""

    def all_answer() -> bool:
        code, _ = project.container("etcd").exec_run(
            ["/usr/local/bin/etcdctl", "endpoint", "health", "--cluster"]
        )
        return bool(code == 0)

    wait_until(all_answer, within_s=30.0)


def test_the_arguments_of_builds_are_named_alike_everywhere() -> None:
    """One eval of .ci/bases serves them all."""
    for name, base in (("frontend", "NGINX_IMAGE"), ("registrar", "PYTHON_IMAGE")):
        text = (ROOT / "docker" / f"{name}.Dockerfile").read_text()
        assert f"ARG {base}=" in text
        assert all(f"ARG {argument}\n" in text for argument in BUILD_ARGUMENTS)
        assert f"${{{base}:-" in (ROOT / "docker-compose.yml").read_text()
