"""A thousand registrations at once: how long until the last is served, and how many reloads."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from benchmarks.frontend import ROOT, run_frontend
from benchmarks.probe import is_served, seconds_until_served
from benchmarks.processes import BenchmarkFault
from benchmarks.registering import Burst
from benchmarks.reloading import ReloadCount
from benchmarks.store import Planned, Store, plan_routes
from benchmarks.suite import Bench
from benchmarks.table import Line, Samples, yes_or_no

PROCESSES = 2
"""A thousand registrars would be a thousand processes; two keep both cores busy asking etcd."""

SERVED_WITHIN_S = 60.0


def measure(bench: Bench) -> Iterator[Line]:
    """On an empty registry, several times, each in a fresh place."""
    count = bench.sizes.burst
    taken_s: list[float] = []
    written_s: list[float] = []
    reloads: list[float] = []
    for run in range(bench.sizes.runs):
        bench.say(f"burst: {count:,} registrations, run {run + 1}")
        with bench.place(services=count) as (store, origin):
            routes = plan_routes(origin.addresses, count, kind="burst")
            with run_frontend(bench.new_folder("frontend"), store) as frontend:
                with ReloadCount(frontend) as counted:
                    written, served = _run(routes, store, port=frontend.port)
                written_s.append(written)
                taken_s.append(served)
                reloads.append(counted.reloads)
    served_s, hups = Samples(tuple(taken_s)), Samples(tuple(reloads))
    yield Line(
        f"{count:,} registrations at once → the last is served",
        "< 1.5 s",
        f"{served_s.show(' s')}; written after {Samples(tuple(written_s)).median:.2f} s",
        yes_or_no(served_s.median < 1.5),
    )
    yield Line(
        f"reloads for {count:,} registrations at once",
        "≤ 10",
        hups.show(""),
        yes_or_no(max(hups.values) <= 10),
    )


def _run(routes: Sequence[Planned], store: Store, *, port: int) -> tuple[float, float]:
    """Seconds until all are written, and until all are served."""
    share = -(-len(routes) // PROCESSES)
    parts = [routes[at : at + share] for at in range(0, len(routes), share)]
    command = [sys.executable, "-m", "benchmarks.registering"]
    children = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        for _ in parts
    ]
    try:
        for child, part in zip(children, parts, strict=True):
            _tell(child, Burst(store.url, tuple(part)).dump())
        for child in children:
            _hear(child)
        began_at = time.perf_counter()
        for child in children:
            _tell(child, "go")
        newest = max((json.loads(_hear(child)) for child in children), key=lambda done: done[0])
        written_s = time.perf_counter() - began_at
        return written_s, _await_all(routes, newest[1], port=port, since_at=began_at)
    finally:
        for child in children:
            child.kill()
            child.communicate()


def _await_all(routes: Sequence[Planned], last: str, *, port: int, since_at: float) -> float:
    """Wait for the host that was written last, then make sure of all the others."""
    by_host = {route.host: route.address for route in routes}
    served_s: float | None = 0.0
    for host in (last, *by_host):
        if host != last and is_served(port, host, by_host[host]):
            continue
        served_s = seconds_until_served(
            port, host, by_host[host], since_at=since_at, within_s=SERVED_WITHIN_S
        )
        if served_s is None:
            raise BenchmarkFault(f"{host} was not served within {SERVED_WITHIN_S:g} s")
    return served_s or 0.0


def _tell(child: "subprocess.Popen[str]", text: str) -> None:
    if child.stdin is None:
        raise BenchmarkFault("the registering process has no stdin")
    child.stdin.write(f"{text}\n")
    child.stdin.flush()


def _hear(child: "subprocess.Popen[str]") -> str:
    line = child.stdout.readline() if child.stdout else ""
    if not line:
        raise BenchmarkFault("the registering process ended; its reason stands above")
    return line
