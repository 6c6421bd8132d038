"""The two images by themselves: what is in them, and how they start, stop and are hurt."""

import os
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from tests.engine.containers import BUILD_ARGUMENTS, ROOT, RUN, Images, Place, gone
from tests.etcd_server import wait_until

MIB = 1 << 20

NOBODY = 65534

ROUTE = b"/branchfront/routes/main/web"


def in_container(container: Container, *command: str) -> str:
    """What a command says in a running container; it has to succeed."""
    code, output = container.exec_run(list(command))
    assert isinstance(output, bytes)
    assert code == 0, output
    return output.decode()


def zombies(container: Container) -> list[str]:
    """What the processes of a container are called that have ended and were not waited for."""
    said = in_container(container, "sh", "-c", "grep -hs ^State: -B2 /proc/[0-9]*/status; true")
    names = [line.split()[1] for line in said.splitlines() if line.startswith("Name:")]
    states = [line.split()[1] for line in said.splitlines() if line.startswith("State:")]
    return [name for name, state in zip(names, states, strict=True) if state == "Z"]


def nginx_master(container: Container) -> str:
    """The pid of the nginx master, as it is inside; empty if there is none."""
    pid = "cat /var/lib/branchfront/run/nginx.pid 2>/dev/null; true"
    return in_container(container, "sh", "-c", pid).strip()


def size_on_top(engine: docker.DockerClient, image: str, base: str) -> int:
    """Bytes of the layers that an image has and its base has not."""
    history = engine.images.get(image).history()
    below = len(engine.images.get(base).history())
    return sum(layer["Size"] for layer in history[: len(history) - below])


def test_the_frontend_is_nobody_who_matters(engine: docker.DockerClient, images: Images) -> None:
    config = engine.images.get(images.frontend).attrs["Config"]

    assert config["User"] == "101:101"
    assert config["StopSignal"] == "SIGTERM"
    assert list(config["Volumes"]) == ["/var/lib/branchfront"]
    assert config["Entrypoint"] == ["regenerator", "run"]
    assert not config["Cmd"]
    assert "8080/tcp" in config["ExposedPorts"]
    assert config["Labels"]["org.opencontainers.image.title"] == "branchfront/frontend"


def test_the_registrar_is_small_and_has_no_installer(place: Place, images: Images) -> None:
    config = place.engine.images.get(images.registrar).attrs["Config"]
    assert config["User"] == f"{NOBODY}:{NOBODY}"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] == ["registrar"]
    assert config["Cmd"] == ["sidecar"]
    assert size_on_top(place.engine, images.registrar, images.python) < 80 * MIB

    box = place.run(images.registrar, "600", options={"entrypoint": ["sleep"], "read_only": True})
    assert in_container(box, "id", "-u").strip() == str(NOBODY)
    assert box.exec_run(["python3", "-m", "pip", "--version"])[0] != 0
    for absent in ("pip", "pip3", "gcc", "cc"):
        assert box.exec_run(["sh", "-c", f"command -v {absent}"])[0] != 0
    assert "registrar, version" in in_container(box, "registrar", "--version")
    # what ``registrar docker`` needs, with the import path that the launcher has
    search = "import sys; sys.path[0] = '/opt/branchfront/lib'; import docker"
    in_container(box, "python3", "-c", search)


def test_the_folder_of_the_registrar_works_with_any_python(
    engine: docker.DockerClient, images: Images, tmp_path: Path
) -> None:
    """Nothing in it was compiled for one Python, or knows where that lies."""
    box = engine.containers.create(images.registrar, name=f"{RUN}-folder")
    archive = tmp_path / "opt.tar"
    try:
        archive.write_bytes(b"".join(box.get_archive("/opt/branchfront")[0]))
    finally:
        gone(lambda: box.remove(force=True))
    with tarfile.open(archive) as whole:
        whole.extractall(tmp_path, filter="tar")
    folder = tmp_path / "branchfront"

    done = subprocess.run(
        [folder / "bin" / "registrar", "url", "--help"], capture_output=True, check=False, text=True
    )

    assert done.returncode == 0, done.stderr
    assert not list(folder.rglob("*.so"))
    assert (folder / "register.sh").read_text().startswith("#!/bin/sh")


def test_a_frontend_serves_within_a_second_of_its_start(place: Place) -> None:
    place.etcd()
    frontend = place.frontend()
    frontend.wait_for("localhost")
    took = []

    for _ in range(3):
        frontend.container.stop()
        frontend.container.start()
        began_at = time.monotonic()
        frontend.wait_for("localhost")
        took.append(time.monotonic() - began_at)

    # the median: two cores are shared with whatever else runs
    assert sorted(took)[1] < 1.0, took


def test_a_frontend_turns_healthy_and_says_where_to_look(place: Place) -> None:
    place.etcd()
    frontend = place.frontend()
    frontend.wait_for("localhost")

    def is_healthy() -> bool:
        frontend.container.reload()
        return bool(frontend.container.attrs["State"]["Health"]["Status"] == "healthy")

    wait_until(is_healthy, within_s=30.0)
    assert frontend.log().count(f"open http://localhost:{frontend.port}") == 1


def test_a_frontend_without_anything_to_serve_is_not_healthy(place: Place) -> None:
    frontend = place.frontend()

    def was_asked() -> bool:
        frontend.container.reload()
        return bool(frontend.container.attrs["State"]["Health"]["Log"])

    wait_until(was_asked, within_s=30.0)
    assert frontend.container.attrs["State"]["Health"]["Status"] != "healthy"
    assert "open http" not in frontend.log()


def test_requests_are_logged_in_the_volume_and_never_fill_it(place: Place) -> None:
    """In the container's log they would end all service as soon as nobody reads that."""
    place.etcd()
    frontend = place.frontend()
    frontend.wait_for("localhost")
    logs = "/var/lib/branchfront/logs"

    def is_logged(asked: str) -> bool:
        return asked in in_container(frontend.container, "tail", "-n", "20", f"{logs}/access.log")

    asked = frontend.ask("nowhere.localhost").headers["x-request-id"]
    wait_until(lambda: is_logged(asked))
    assert asked not in frontend.log()

    in_container(frontend.container, "truncate", "--size", "65M", f"{logs}/access.log")
    wait_until(lambda: "access.log.1" in in_container(frontend.container, "ls", logs))
    # nginx opens the new one when it has been told to
    wait_until(lambda: is_logged(frontend.ask("nowhere.localhost").headers["x-request-id"]))


def test_the_last_good_state_is_served_without_a_registry(place: Place, images: Images) -> None:
    volume = place.engine.volumes.create(f"{place.name}-state")
    state = {"volumes": {volume.name: {"bind": "/var/lib/branchfront", "mode": "rw"}}}
    etcd = place.etcd()
    origin = place.run(images.python, "python3", "-m", "http.server", "8000", name="origin")
    place.registry.write(ROUTE, f"{place.address(origin)}:8000".encode())
    first = place.frontend("first", options=state)
    wait_until(lambda: [f.routes for f in place.frontends()] == [1], within_s=20.0)
    first.container.stop()
    first.container.remove(v=False)
    etcd.kill()

    second = place.frontend("second", options=state)

    second.wait_for("localhost")
    assert second.ask("main.localhost").status == 200
    assert second.ask("other.localhost").status == 404


@pytest.mark.parametrize("init", [False, True], ids=["PID 1", "init"])
def test_a_killed_nginx_comes_back_and_leaves_no_zombies(place: Place, init: bool) -> None:
    place.etcd()
    frontend = place.frontend(options={"init": init})
    frontend.wait_for("localhost")

    for _ in range(3):
        killed = nginx_master(frontend.container)
        in_container(frontend.container, "sh", "-c", f"kill -9 {killed}")

        def another_serves(killed: str = killed) -> bool:
            return nginx_master(frontend.container) not in {"", killed}

        wait_until(another_serves, within_s=20.0)
        frontend.wait_for("localhost")

    # the health check's own may be on its way out at the moment we look
    wait_until(lambda: not zombies(frontend.container))


@pytest.mark.parametrize("init", [False, True], ids=["PID 1", "init"])
def test_sigterm_ends_a_frontend_at_once(place: Place, init: bool) -> None:
    place.etcd()
    frontend = place.frontend(options={"init": init})
    frontend.wait_for("localhost")

    began_at = time.monotonic()
    frontend.container.kill("SIGTERM")
    ended = frontend.container.wait(timeout=10)

    assert ended["StatusCode"] == 0
    assert time.monotonic() - began_at < 3.0
    assert not place.frontends()


def test_uploads_larger_than_memory_pass(place: Place, images: Images) -> None:
    """nginx puts them on disk, and nothing but the volume can be written."""
    place.etcd()
    frontend = place.frontend()
    place.run(
        images.registrar,
        *("run", "--", "python3", "-c", COUNTER),
        REGISTRY_URL="http://etcd:2379",
        NAME="main",
        SERVICE="web",
        PORT="8000",
    )
    frontend.wait_for("main.localhost")

    size = 3 * MIB
    with frontend.connect() as link:
        link.request("POST", "/", body=b"x" * size, headers={"Host": "main.localhost"})
        assert link.getresponse().read() == str(size).encode()


COUNTER = """
from http.server import *
class Counter(BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(len(self.rfile.read(int(self.headers.get("Content-Length", 0))))).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
ThreadingHTTPServer(("0.0.0.0", 8000), Counter).serve_forever()
"""
"""A service that answers with the length of what was sent to it."""


@pytest.mark.parametrize("name", ["frontend", "registrar"])
def test_both_builders_build(engine: docker.DockerClient, images: Images, name: str) -> None:
    """The fixtures use the older one, by way of the engine's API."""
    command = _docker_with_buildkit()
    if not command:
        pytest.skip("there is no docker command with BuildKit")
    tag = f"branchfront/{name}:{RUN}-buildkit"
    base = {"frontend": f"NGINX_IMAGE={images.nginx}", "registrar": f"PYTHON_IMAGE={images.python}"}
    arguments = [base[name], *(one for one in BUILD_ARGUMENTS if os.environ.get(one))]
    try:
        done = subprocess.run(
            [
                *(command, "build", "--quiet", "--file", f"docker/{name}.Dockerfile"),
                *(word for one in arguments for word in ("--build-arg", one)),
                *("--tag", tag, "."),
            ],
            cwd=ROOT,
            env={**os.environ, "DOCKER_BUILDKIT": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        new, old = (engine.images.get(t).attrs["Config"] for t in (tag, getattr(images, name)))
        for field in ("User", "Entrypoint", "Cmd", "Env", "StopSignal", "Healthcheck"):
            assert new.get(field) == old.get(field)
    finally:
        gone(lambda: engine.images.remove(tag, force=True))


def _docker_with_buildkit() -> str:
    """A docker command with BuildKit; newer ones need a plugin for it, 20.10's needs none."""
    for candidate in filter(None, (shutil.which("docker"), shutil.which("/usr/bin/docker"))):
        said = subprocess.run(
            [candidate, "build", "--help"],
            env={**os.environ, "DOCKER_BUILDKIT": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if "--secret" in said.stdout:
            return candidate
    return ""
