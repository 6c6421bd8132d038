"""Traefik over the same etcd, the same services and the same machine, in the same run."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.frontend import Frontend, run_frontend
from benchmarks.latency import time_writes
from benchmarks.load import compare_throughput
from benchmarks.probe import is_served
from benchmarks.processes import Child, find_program, free_port, until
from benchmarks.store import Planned, Store, plan_routes
from benchmarks.suite import Bench
from benchmarks.table import Line, Samples
from registry.etcd import Operation, put

ROUTES_EACH_WRITE = 40
"""A route is three keys to Traefik, and etcd takes 128 operations in a transaction."""

THROTTLES = (("as shipped, 2 s throttle", "2s"), ("no throttle", "0s"))
"""``providersThrottleDuration`` spares Traefik rebuilds; 0 s is the fastest it can be set to."""

START_WITHIN_S = 120.0
"""With 10,000 routes it takes about ten seconds on two cores."""

WRITES_WITHIN_S = 45.0
"""It needs up to ten seconds for each write there; the whole table has to fit into 15 minutes."""


def measure_small(bench: Bench) -> Iterator[Line]:
    """With 1,000 routes."""
    yield from _measure(bench, routes=bench.sizes.small)


def measure_large(bench: Bench) -> Iterator[Line]:
    """With 10,000 routes."""
    yield from _measure(bench, routes=bench.sizes.large)


def _measure(bench: Bench, *, routes: int) -> Iterator[Line]:
    # a quarter of the latency row's samples: Traefik needs seconds for each
    samples = max(3, bench.sizes.samples // 4)
    with bench.place() as (store, origin):
        planned = plan_routes(origin.addresses, routes)
        store.fill(planned)
        _fill(store, planned)
        with run_frontend(bench.new_folder("frontend"), store) as frontend:
            bench.say(f"traefik: {routes:,} routes, ours writes")
            new = plan_routes(origin.addresses, samples, kind="new")
            ours = time_writes(lambda route: store.fill([route]), new, port=frontend.port)
            for name, throttle in THROTTLES:
                bench.say(f"traefik: {routes:,} routes, {name}, its writes")
                new = plan_routes(origin.addresses, samples, kind=f"new-{throttle}")
                folder = bench.new_folder("traefik")
                with _run_traefik(folder, store, planned[-1], throttle=throttle) as port:
                    theirs = time_writes(
                        lambda route: _fill(store, [route]),
                        new,
                        port=port,
                        within_s=WRITES_WITHIN_S,
                    )
                    yield _compare_writes(ours, theirs, routes=routes, name=name)
                    if throttle == THROTTLES[0][1]:
                        yield _compare_load(bench, frontend, planned, port=port)


def _compare_writes(ours: Samples, theirs: Samples, *, routes: int, name: str) -> Line:
    return Line(
        f"write → routable, {routes:,} routes, Traefik {name}",
        "beside Traefik",
        ours.show_tail(" ms"),
        peer=f"{theirs.show_tail(' ms')} Traefik",
        ratio=f"{theirs.median / ours.median:.1f} times as fast",
    )


def _compare_load(
    bench: Bench, frontend: Frontend, planned: Sequence[Planned], *, port: int
) -> Line:
    bench.say(f"traefik: requests/s with {len(planned):,} routes")
    found = compare_throughput(
        {"ours": frontend.port, "Traefik": port},
        [route.host for route in planned],
        folder=bench.new_folder("load"),
        rounds=bench.sizes.rounds,
        seconds=bench.sizes.seconds,
    )
    return Line(
        f"requests/s, {len(planned):,} routes, all asked",
        "beside Traefik",
        found["ours"].show("/s"),
        peer=f"{found['Traefik'].show('/s')} Traefik",
        ratio=f"{found['ours'].median / found['Traefik'].median:.2f}",
    )


def _fill(store: Store, routes: Sequence[Planned]) -> None:
    """Write routes as Traefik's etcd provider reads them."""
    for at in range(0, len(routes), ROUTES_EACH_WRITE):
        some = routes[at : at + ROUTES_EACH_WRITE]
        store.etcd.commit([], then=[one for route in some for one in _operations(route)])


def _operations(route: Planned) -> list[Operation]:
    name = route.host.partition(".")[0]
    values = {
        f"traefik/http/routers/{name}/rule": f"Host(`{route.host}`)",
        f"traefik/http/routers/{name}/service": name,
        f"traefik/http/services/{name}/loadbalancer/servers/0/url": f"http://{route.address}",
    }
    return [put(key.encode(), value.encode()) for key, value in values.items()]


@contextlib.contextmanager
def _run_traefik(folder: Path, store: Store, last: Planned, *, throttle: str) -> Iterator[int]:
    """Run it with its etcd provider until a route is served; yields the port."""
    provider = (f"--providers.etcd.endpoints={store.endpoint}", "--providers.etcd.rootkey=traefik")
    with run_traefik(folder, provider, throttle=throttle) as (port, child):
        until(
            lambda: is_served(port, last.host, last.address),
            what=f"Traefik serves {last.host}",
            within_s=START_WITHIN_S,
            child=child,
        )
        yield port


@contextlib.contextmanager
def run_traefik(
    folder: Path, provider: Sequence[str], *, throttle: str
) -> Iterator[tuple[int, Child]]:
    """Run it; yields the port, and the process.

    It writes an access log in JSON as we do; everything that would leave the machine is off.

    Args:
        provider: The flags that say where its routes come from.
    """
    folder.mkdir(parents=True)
    port = free_port()
    command = [
        find_program("traefik"),
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
        "--log.level=ERROR",
        "--accesslog=true",
        "--accesslog.format=json",
        f"--accesslog.filepath={folder / 'access.log'}",
        f"--entrypoints.web.address=127.0.0.1:{port}",
        *provider,
        f"--providers.providersthrottleduration={throttle}",
    ]
    with Child(command, log=folder / "traefik.log") as child:
        yield port, child
