"""Containers of a Docker engine: how soon one is served, beside Traefik on the same engine."""

import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any

import docker
from docker.errors import DockerException, ImageNotFound
from docker.models.containers import Container

from benchmarks.frontend import ROOT, run_frontend
from benchmarks.probe import ask
from benchmarks.processes import BenchmarkFault, Child, free_port, until
from benchmarks.store import Store
from benchmarks.suite import Bench
from benchmarks.table import Line, Samples, yes_or_no
from benchmarks.traefik import THROTTLES, run_traefik
from registry.etcd import Etcd, EtcdSettings
from registry.faults import Fault

SERVED_WITHIN_S = 30.0
"""Traefik as shipped takes two seconds; a busy engine several times that."""

TRY_EVERY_S = 0.005
"""Three proxies are asked by turns; a try costs each 0.3 ms."""

PORT = 8000

CONFIGURATION = (
    "events {} http { access_log off; server { listen %s; location / { return 200 %s; } } }"
)

# its branch is its answer, so that a wrong container is seen
_SCRIPT = (
    f'printf \'{CONFIGURATION}\' "$PORT" "$BRANCH" > /tmp/nginx.conf'
    " && exec nginx -c /tmp/nginx.conf -g 'daemon off;'"
)
SERVICE = ("sh", "-c", _SCRIPT)
"""A service that listens a few milliseconds after its start, so that what is measured is ours."""

SETTLE_S = 12.0
"""Two refreshes of a lease of 15 s: what they load is in the memory as well."""

SOCKET = "unix:///var/run/docker.sock"

STATED = "100 to 500 ms of waiting, then a reload (nginx-proxy's docker-gen, as it is documented)"


def measure_agent(bench: Bench) -> Iterator[Line]:
    """From a container's start to its first right answer, through each proxy at the same time."""
    with (
        _engine() as engine,
        _network(engine) as network,
        bench.place(services=1) as (store, _),
        run_frontend(bench.new_folder("frontend"), store) as frontend,
        _run_agent(bench, store, network),
        contextlib.ExitStack() as stack,
    ):
        ports = {"ours": frontend.port}
        for name, throttle in THROTTLES:
            ports[name] = stack.enter_context(_run_traefik(bench, network, throttle=throttle))
        found: dict[str, list[float]] = {name: [] for name in ports}
        for run in range(max(3, bench.sizes.samples // 3)):
            bench.say(f"containers: start {run + 1}")
            # the same container for all of them, and so the same start
            for name, took_ms in _time_start(engine, network, f"branch-{run}", ports=ports).items():
                found[name].append(took_ms)
            # who changes at every start of a container is measured at rest
            time.sleep(2.5)
    ours = Samples(tuple(found.pop("ours")))
    for name, values in found.items():
        theirs = Samples(tuple(values))
        yield Line(
            f"container start → served, through the agent, Traefik's Docker provider {name}",
            "p50 < 500 ms",
            ours.show_tail(" ms"),
            yes_or_no(ours.median < 500),
            peer=f"{theirs.show_tail(' ms')} Traefik",
            ratio=f"{theirs.median / ours.median:.1f} times as fast",
        )
    yield Line("the same, nginx-proxy", "", "", peer=STATED)


def measure_shell(bench: Bench) -> Iterator[Line]:
    """What ``register.sh`` adds to the memory of a container."""
    script = ROOT / "docker" / "register.sh"
    with _engine() as engine, _network(engine) as network, _etcd(engine, network) as url:
        added: list[float] = []
        for run in range(bench.sizes.runs):
            bench.say(f"register.sh: run {run + 1}")
            environ = {
                "REGISTRY_URL": url,
                "NAME": f"branch-{run}",
                "SERVICE": "web",
                "PORT": str(PORT),
            }
            with (
                _run(
                    engine, network, *SERVICE, environ={"BRANCH": "x", "PORT": str(PORT)}
                ) as plain,
                _run(
                    engine,
                    network,
                    *("sh", "/register.sh", "--", *SERVICE),
                    environ=environ,
                    volumes={str(script): {"bind": "/register.sh", "mode": "ro"}},
                ) as registered,
            ):
                time.sleep(SETTLE_S)
                added.append(_memory_mb(registered) - _memory_mb(plain))
    found = Samples(tuple(added))
    yield Line(
        "docker/register.sh: memory that it adds to its container",
        "< 3 MB",
        found.show(" MB"),
        yes_or_no(max(found.values) < 3),
    )


def measure_frontend(bench: Bench) -> Iterator[Line]:
    """From a frontend container's start to its first answer."""
    with _engine() as engine, _network(engine) as network, _etcd(engine, network) as url:
        taken: list[float] = []
        for run in range(2 * bench.sizes.runs):
            bench.say(f"frontend image: run {run + 1}")
            port = free_port()
            environ = {"REGISTRY_URL": url, "DOMAIN": "localhost"}
            with _created(
                engine,
                network,
                image=_built("frontend", engine),
                environ=environ,
                ports={"8080/tcp": ("127.0.0.1", port)},
                read_only=True,
                cap_drop=["ALL"],
            ) as container:
                container.start()
                started_at = _started_at(container)
                until(
                    partial(_status, port),
                    what="the frontend answers",
                    within_s=SERVED_WITHIN_S,
                    every_s=TRY_EVERY_S,
                )
                taken.append((time.time() - started_at) * 1000)
    found = Samples(tuple(taken))
    yield Line(
        "frontend image: container start → serves",
        "< 1 s",
        found.show(" ms"),
        yes_or_no(found.median < 1000),
    )


def measure_compose(bench: Bench) -> Iterator[Line]:
    """From ``docker compose up`` with nothing there to the first branch that answers."""
    with _engine() as engine:
        _built("frontend", engine)
    for command in _composes():
        taken: list[float] = []
        for run in range(bench.sizes.runs):
            bench.say(f"{' '.join(command)} up: run {run + 1}")
            taken.append(_time_up(bench, command))
        found = Samples(tuple(taken))
        yield Line(
            f"`{' '.join(command)} --profile demo up`, images built → first branch answers",
            "< 10 s",
            found.show(" s"),
            yes_or_no(max(found.values) < 10),
        )


def _time_up(bench: Bench, command: list[str]) -> float:
    port = free_port()
    project = f"branchfront-bench-{secrets.token_hex(3)}"
    env = {"PORT": str(port), "COMPOSE_PROJECT_NAME": project, "NETWORK": project}
    base = [*command, "-f", str(ROOT / "docker-compose.yml"), "--profile", "demo"]
    began_at = time.perf_counter()
    try:
        with Child([*base, "up"], log=bench.new_folder("compose.log"), env=env) as child:
            until(
                lambda: ask(port, "main.localhost").status == 200,
                what="main.localhost answers",
                within_s=120,
                every_s=TRY_EVERY_S,
                child=child,
            )
            return time.perf_counter() - began_at
    finally:
        with Child([*base, "down", "-v"], log=bench.new_folder("down.log"), env=env) as child:
            until(lambda: child.ended, what="compose down", within_s=120)


def _composes() -> list[list[str]]:
    """Every compose that is here, as it is called."""
    calls = (["docker", "compose"], ["docker-compose"])
    found = [call for call in calls if _runs([*call, "version"])]
    if not found:
        raise BenchmarkFault("there is neither docker compose nor docker-compose")
    return found


def _runs(command: list[str]) -> bool:
    try:
        return not subprocess.run(command, capture_output=True, check=False).returncode
    except OSError:
        return False


def _time_start(
    engine: docker.DockerClient, network: str, branch: str, *, ports: Mapping[str, int]
) -> dict[str, float]:
    """Milliseconds from the start of one container until each proxy has led a request to it."""
    host = f"{branch}.localhost"
    labels = {
        "branchfront.branch": branch,
        "branchfront.service": "web",
        "branchfront.port": str(PORT),
        "traefik.enable": "true",
        f"traefik.http.routers.{branch}.rule": f"Host(`{host}`)",
        f"traefik.http.services.{branch}.loadbalancer.server.port": str(PORT),
    }
    environ = {"BRANCH": branch, "PORT": str(PORT)}
    with _created(engine, network, *SERVICE, environ=environ, labels=labels) as container:
        container.start()
        started_at = _started_at(container)
        served_at: dict[str, float] = {}
        give_up_at = started_at + SERVED_WITHIN_S
        while len(served_at) < len(ports):
            for name, port in ports.items():
                if name not in served_at:
                    status, body = ask(port, host)
                    if status == 200 and branch in body:
                        served_at[name] = time.time()
            if time.time() > give_up_at:
                late = ", ".join(ports.keys() - served_at.keys())
                raise BenchmarkFault(f"{host} was not served within {SERVED_WITHIN_S:g} s: {late}")
            time.sleep(TRY_EVERY_S)
        return {name: (at - started_at) * 1000 for name, at in served_at.items()}


@contextlib.contextmanager
def _run_agent(bench: Bench, store: Store, network: str) -> Iterator[None]:
    log = bench.new_folder("agent.log")
    env = {"REGISTRY_URL": store.url, "DOCKER_NETWORK": network, "PYTHONPATH": str(ROOT)}
    with Child([sys.executable, "-m", "registrar", "docker"], log=log, env=env):
        yield


@contextlib.contextmanager
def _run_traefik(bench: Bench, network: str, *, throttle: str) -> Iterator[int]:
    """Run it with its Docker provider; yields the port."""
    provider = (
        "--providers.docker=true",
        f"--providers.docker.endpoint={os.environ.get('DOCKER_HOST', SOCKET)}",
        f"--providers.docker.network={network}",
        "--providers.docker.exposedbydefault=false",
    )
    with run_traefik(bench.new_folder("traefik"), provider, throttle=throttle) as (port, child):
        until(
            lambda: ask(port, "nobody.localhost").status == 404,
            what="Traefik answers",
            within_s=SERVED_WITHIN_S,
            child=child,
        )
        yield port


@contextlib.contextmanager
def _engine() -> Iterator[docker.DockerClient]:
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as exc:
        raise BenchmarkFault("no Docker engine answers") from exc
    try:
        yield client
    finally:
        client.close()


@contextlib.contextmanager
def _network(engine: docker.DockerClient) -> Iterator[str]:
    """A network of this row's own; its name."""
    network = engine.networks.create(f"branchfront-bench-{secrets.token_hex(3)}")
    try:
        yield str(network.name)
    finally:
        network.remove()


@contextlib.contextmanager
def _created(
    engine: docker.DockerClient, network: str, *command: str, **options: Any
) -> Iterator[Container]:
    """A container that is made and not started, of nginx's image unless another one is named."""
    container = engine.containers.create(
        options.pop("image", os.environ.get("NGINX_IMAGE", "nginx:1.30")),
        list(command) or None,
        network=network,
        environment=options.pop("environ", {}),
        **options,
    )
    try:
        yield container
    finally:
        container.remove(force=True, v=True)


@contextlib.contextmanager
def _run(
    engine: docker.DockerClient, network: str, *command: str, **options: Any
) -> Iterator[Container]:
    with _created(engine, network, *command, **options) as container:
        container.start()
        yield container


@contextlib.contextmanager
def _etcd(engine: docker.DockerClient, network: str) -> Iterator[str]:
    """An etcd that containers reach; its URL."""
    image = os.environ.get("ETCD_IMAGE", "gcr.io/etcd-development/etcd:v3.5.30")
    everywhere = "http://0.0.0.0:2379"
    command = ["/usr/local/bin/etcd", "--listen-client-urls", everywhere]
    command += ["--advertise-client-urls", everywhere, "--log-level", "error"]
    with _run(engine, network, *command, image=image) as container:
        url = f"http://{_ip(container, network)}:2379"
        with contextlib.closing(Etcd(EtcdSettings((url,)))) as etcd:
            until(lambda: _answers(etcd), what="etcd answers", within_s=SERVED_WITHIN_S)
        yield url


def _answers(etcd: Etcd) -> bool:
    try:
        etcd.read(b"ready?")
    except Fault:
        return False
    return True


def _status(port: int) -> int:
    return ask(port, "localhost").status


def _built(name: str, engine: docker.DockerClient) -> str:
    """An image of ours."""
    tag = f"branchfront/{name}"
    try:
        engine.images.get(tag)
    except ImageNotFound as exc:
        raise BenchmarkFault(f"there is no image {tag}; make images") from exc
    return tag


def _ip(container: Container, network: str) -> str:
    container.reload()
    return str(container.attrs["NetworkSettings"]["Networks"][network]["IPAddress"])


def _started_at(container: Container) -> float:
    """When the engine started it, by the clock that we have too; in seconds since 1970."""
    container.reload()
    text = str(container.attrs["State"]["StartedAt"])
    whole, _, fraction = text.rstrip("Z").partition(".")
    at = datetime.fromisoformat(f"{whole}+00:00").timestamp()
    return at + float(f"0.{fraction or 0}")


def _memory_mb(container: Container) -> float:
    """What it has for itself, without files that the kernel only keeps in mind; in MB."""
    document: Any = container.stats(stream=False)
    found = document["memory_stats"]
    details = found["stats"]
    # cgroups of version 1 and 2
    forgettable = details.get("total_inactive_file", details.get("inactive_file", 0))
    return float(found["usage"] - forgettable) / 1e6
