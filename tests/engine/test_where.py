"""Included: what ``registrar where`` and ``run`` find out through a mounted Docker socket."""

import os
import socket
import sys
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import docker
import pytest
from docker.models.containers import Container

from registrar.engine import SOCKET
from registry.keys import Keyspace
from registry.records import InstanceRecord
from tests.engine.containers import Place
from tests.engine.host import SERVICE, short_id
from tests.engine.own_engine import DOCKERD, OwnEngine
from tests.registrar_process import run_once

PORT = 8000

SLEEP = ["python3", "-c", "import signal; signal.pause()"]
"""Keeps a container there while it is asked."""


@pytest.fixture(scope="module")
def mounted(engine: docker.DockerClient) -> str:  # noqa: ARG001 - without one, all is skipped
    """The socket of the engine, as it can be mounted."""
    path = urlsplit(os.environ.get("DOCKER_HOST", "")).path or SOCKET
    if not Path(path).exists():
        pytest.skip(f"the engine has no socket at {path} that could be mounted")
    return path


def with_socket(path: str, *, readable: bool = True, **more: Any) -> dict[str, Any]:
    """Options of a container that has the engine's socket, and may use it or not."""
    group = [os.stat(path).st_gid] if readable else []  # noqa: PTH116 - the group alone
    return {"volumes": {path: {"bind": SOCKET, "mode": "ro"}}, "group_add": group, **more}


def ask_where(container: Container, **environ: str) -> tuple[int, str, str]:
    """Run ``registrar where`` in a container: exit code, stdout and stderr."""
    given = {"PORT": str(PORT), "REGISTRY_URL": "http://192.0.2.1:2379", **environ}
    done = container.exec_run(["registrar", "where"], environment=given, demux=True)
    streams = cast("tuple[bytes | None, bytes | None]", done.output)
    out, err = ((text or b"").decode().strip() for text in streams)
    return done.exit_code or 0, out, err


def start(place: Place, options: dict[str, Any]) -> Container:
    """A container of the registrar's image that only waits."""
    container = place.run(place.images.registrar, options={**options, "entrypoint": SLEEP})
    container.reload()
    return container


def host_port(container: Container) -> str:
    """Where its port is published."""
    container.reload()
    [found, *_] = container.ports[f"{PORT}/tcp"] or []
    return str(found["HostPort"])


def test_the_published_port_goes_with_the_ip_that_is_given(place: Place, mounted: str) -> None:
    container = start(place, with_socket(mounted, ports={PORT: None}))

    code, out, err = ask_where(container, IP="10.9.8.7")

    assert (code, err) == (0, "")
    port = host_port(container)
    assert out == f"10.9.8.7:{port}  (ip: IP and HOST_PORT; port: the Docker engine)"


def test_who_publishes_at_one_ip_is_reached_there(place: Place, mounted: str) -> None:
    container = start(place, with_socket(mounted, ports={PORT: ("127.0.0.1", None)}))

    code, out, err = ask_where(container)

    assert (code, err) == (0, "")
    port = host_port(container)
    assert out == f"127.0.0.1:{port}  (ip: the Docker engine; port: the Docker engine)"


def test_a_published_port_without_an_ip_is_no_address(place: Place, mounted: str) -> None:
    container = start(place, with_socket(mounted, ports={PORT: None}))

    code, out, err = ask_where(container)

    assert (code, out) == (69, "")
    assert err == (
        f"registrar: port {PORT} is published as port {host_port(container)} of the host, and"
        " nothing says at which ip others reach the host; set IP"
    )


def test_who_publishes_nothing_has_its_own_address_and_is_told_so(
    place: Place, mounted: str
) -> None:
    container = start(place, with_socket(mounted))

    code, out, err = ask_where(container)

    assert code == 0
    ip = place.address(container)
    assert out == f"{ip}:{PORT}  (ip: the interface that reaches the registry; port: PORT)"
    assert "port 8000 of this container is not published; registering its own address" in err


def test_in_the_hosts_network_nothing_has_to_be_published(place: Place, mounted: str) -> None:
    container = start(place, with_socket(mounted, network_mode="host"))

    code, out, err = ask_where(container, REGISTRY_URL="http://127.0.0.1:2379")

    assert (code, err) == (0, "")
    assert out == f"127.0.0.1:{PORT}  (ip: the interface that reaches the registry; port: PORT)"


def test_a_sidecar_is_where_its_neighbour_is(place: Place, mounted: str) -> None:
    """They share a network namespace, and the ports are published for the other one."""
    app = start(place, {"ports": {PORT: ("127.0.0.1", None)}})
    sidecar = start(place, with_socket(mounted, network_mode=f"container:{app.id}"))

    code, out, _ = ask_where(sidecar)

    assert code == 0
    assert out.startswith(f"127.0.0.1:{host_port(app)} ")


def test_a_socket_that_may_not_be_used_is_told(place: Place, mounted: str) -> None:
    container = start(place, with_socket(mounted, readable=False, ports={PORT: None}))

    code, out, err = ask_where(container, IP="10.9.8.7")

    assert (code, out) == (77, "")
    assert err == (
        f"registrar: unix://{SOCKET} may not be used by user 65534; give the process the socket's"
        " group, or a proxy that only reads"
    )


def test_another_engines_socket_is_told(place: Place) -> None:
    if os.geteuid() != 0 or not DOCKERD:
        pytest.skip("an engine of one's own needs root, and dockerd on PATH")
    with OwnEngine() as other:
        container = start(place, with_socket(f"{other.folder}/docker.sock", ports={PORT: None}))

        code, out, err = ask_where(container, IP="10.9.8.7")

        container.remove(force=True)
    assert (code, out) == (69, "")
    assert err == (
        f"registrar: the mounted Docker engine has no container {short_id(container)}, which is"
        " ours; mount the socket of the engine that runs it, or set IP and HOST_PORT"
    )


def test_what_was_given_in_full_is_not_asked_for(place: Place, mounted: str) -> None:
    container = start(place, with_socket(mounted, readable=False))

    code, out, _ = ask_where(container, IP="10.9.8.7", HOST_PORT="32768")

    assert code == 0
    assert out.startswith("10.9.8.7:32768 ")


def test_outside_of_a_container_no_engine_is_asked(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(tmp_path / "docker.sock"))
        engine.listen()
        engine.settimeout(0)

        done = run_once(
            ["where"],
            {
                "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
                "DOCKER_HOST": f"unix://{tmp_path}/docker.sock",
                "REGISTRY_URL": "http://127.0.0.1:2379",
                "PORT": str(PORT),
            },
        )

        assert done.stdout.startswith(f"127.0.0.1:{PORT} ")
        # nobody has connected
        with pytest.raises(BlockingIOError):
            engine.accept()


def test_a_container_is_served_at_the_port_that_it_finds_out(place: Place, mounted: str) -> None:
    place.etcd()
    frontend = place.frontend()
    place.network.reload()
    [network] = place.network.attrs["IPAM"]["Config"]
    app = place.run(
        place.images.registrar,
        *("run", "--", "python3", "-c", SERVICE),
        options=with_socket(mounted, ports={PORT: None}),
        NAME="main",
        SERVICE="web",
        PORT=str(PORT),
        # as others reach this host from within the network
        IP=network["Gateway"],
        REGISTRY_URL="http://etcd:2379",
        SAYS="through the published port",
    )

    answer = frontend.wait_for("main.localhost")

    assert answer.text == "through the published port"
    [entry] = place.registry.list(Keyspace().routes).entries.values()
    record = InstanceRecord.parse(entry.value)
    assert str(record.address) == f"{network['Gateway']}:{host_port(app)}"
