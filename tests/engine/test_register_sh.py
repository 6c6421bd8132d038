"""``register.sh`` in images of both kinds: with Debian's tools and dash, and with busybox's."""

import io
import os
from collections.abc import Iterator, Sequence
from functools import partial

import docker
import pytest
from docker.models.containers import Container

from registry.keys import Keyspace, RouteKey
from registry.records import InstanceRecord
from tests.engine import compose
from tests.engine.compose import Project, versions
from tests.engine.containers import ROOT, RUN, Images, Place, gone, wait_for_answer
from tests.etcd_server import free_ports, wait_until

EXAMPLE = ROOT / "docs" / "examples" / "shell"

HOST = "feature-login-hello.localhost"

ENVIRON = {"NAME": "feature/login", "SERVICE": "hello", "PORT": "8000"}

MORE_MOST = 3 << 20
"""Bytes that it may add to a container (the goal of the issue)."""

DASH = """
FROM {python}
RUN {{ command -v curl && command -v busybox; }} >/dev/null || \
    {{ apt-get update && apt-get install --yes --no-install-recommends curl busybox; }}
"""
"""A Debian image with what the example takes for granted where there is no ``apk``."""

MEMORY = """
cd /sys/fs/cgroup/memory 2>/dev/null || cd /sys/fs/cgroup
cat memory.stat
test ! -e memory.kmem.usage_in_bytes || echo "kmem $(cat memory.kmem.usage_in_bytes)"
"""
"""What a container takes, in the words of either version of control groups."""


@pytest.fixture(scope="module", params=["dash", "busybox"])
def base(
    engine: docker.DockerClient, images: Images, request: pytest.FixtureRequest
) -> Iterator[str]:
    """An image without the registrar, with the shell and the tools of that name."""
    if request.param == "busybox":
        yield os.environ.get("BUSYBOX_IMAGE", "alpine:3.22")
        return
    made = f"branchfront/shell:{RUN}-base"
    text = DASH.format(python=images.python)
    engine.images.build(fileobj=io.BytesIO(text.encode()), tag=made, rm=True, forcerm=True)
    yield made
    gone(partial(engine.images.remove, made, force=True))


@pytest.fixture(scope="module")
def image(engine: docker.DockerClient, images: Images, base: str) -> Iterator[str]:
    """The example, built as it stands."""
    made = f"branchfront/shell:{RUN}"
    arguments = {"BASE_IMAGE": base, "REGISTRAR_IMAGE": images.registrar}
    engine.images.build(path=str(EXAMPLE), tag=made, buildargs=arguments, rm=True, forcerm=True)
    yield made
    gone(partial(engine.images.remove, made, force=True))


def start(place: Place, image: str, *command: str, **environ: str) -> Container:
    """A container of the example, as its compose file runs it."""
    options = {"read_only": True, "cap_drop": ["ALL"]}
    given = {"REGISTRY_URL": "http://etcd:2379", **ENVIRON, **environ}
    return place.run(image, *command, options=options, **given)


def routes(place: Place) -> list[InstanceRecord]:
    """What is registered."""
    found = place.registry.list(Keyspace().routes).entries.values()
    return [InstanceRecord.parse(entry.value) for entry in found]


def test_the_example_is_served_and_signs_off(place: Place, image: str) -> None:
    place.etcd()
    frontend = place.frontend()
    service = start(place, image)
    answer = frontend.wait_for(HOST)

    assert answer.text == "hello from the shell example\n"
    assert [str(one.address) for one in routes(place)] == [f"{place.address(service)}:8000"]
    (key,) = place.registry.list(Keyspace().routes).entries
    parsed = Keyspace().parse(key)
    assert isinstance(parsed, RouteKey)
    assert parsed.instance.startswith(str(service.id)[:12])

    service.stop(timeout=10)

    assert routes(place) == []
    service.reload()
    # httpd ends by the signal that it was passed
    assert service.attrs["State"]["ExitCode"] == 143
    log = service.logs().decode()
    assert "all frontends have let go" in log
    assert "deregistered" in log
    assert frontend.ask(HOST).status == 503


@pytest.mark.parametrize(
    "command",
    versions() or [pytest.param((), marks=pytest.mark.skip("there is no compose"))],
    ids=" ".join,
)
def test_the_example_answers_as_it_is_written(
    engine: docker.DockerClient, images: Images, base: str, command: Sequence[str]
) -> None:
    port = free_ports(1)[0]
    settings = compose.environ(images, network=f"{RUN}-shell", port=port) | {"BASE_IMAGE": base}
    file = EXAMPLE / "docker-compose.yml"
    with Project(engine, images, command, environ=settings) as ours:
        ours("up", "-d")
        with Project(engine, images, command, file=file, environ=settings) as theirs:
            theirs("up", "-d", "--build")
            assert wait_for_answer(port, HOST).text == "hello from the shell example\n"
            wait_until(lambda: f"reached at http://{HOST}:{port}" in theirs("logs", "--no-color"))

            theirs("restart", "-t", "5", "hello")
            wait_for_answer(port, HOST)
        # it signed off: nobody waits for a lease
        wait_for_answer(port, HOST, 503, within_s=5.0)


def test_the_exit_code_is_the_commands(place: Place, image: str) -> None:
    place.etcd()
    script = 'trap "exit 7" TERM; echo up; while :; do sleep 0.1; done'
    service = start(place, image, "sh", "-c", script, HEALTH_TCP="off")
    wait_until(lambda: b"is ready" in service.logs(), within_s=20.0)

    service.stop(timeout=10)

    service.reload()
    assert service.attrs["State"]["ExitCode"] == 7
    assert routes(place) == []


def test_a_container_that_is_killed_goes_with_its_lease(place: Place, image: str) -> None:
    place.etcd()
    service = start(place, image, TTL="2")
    wait_until(lambda: b"is ready" in service.logs(), within_s=20.0)

    service.kill("SIGKILL")

    wait_until(lambda: not routes(place))


def taken(container: Container) -> int:
    """Bytes of memory that a container takes and that only its end gives back."""
    code, output = container.exec_run(["sh", "-c", MEMORY])
    assert code == 0, output
    assert isinstance(output, bytes)
    found = {
        name: int(number)
        for name, number in (line.split() for line in output.decode().splitlines())
    }
    return found.get("anon", found.get("rss", 0)) + found.get("kernel", found.get("kmem", 0))


def test_it_adds_less_than_3_mb(place: Place, image: str) -> None:
    place.etcd()
    plain = start(place, image, REGISTRY_URL="")
    service = start(place, image)
    wait_until(lambda: b"is ready" in service.logs(), within_s=20.0)

    # it does nothing now but wait for the next refresh
    assert 0 < taken(service) - taken(plain) < MORE_MOST
