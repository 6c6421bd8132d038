"""What the two programs cost: resident memory, and how soon a container is registered."""

import sys
import time
from collections.abc import Iterator

from benchmarks.frontend import ROOT, run_frontend
from benchmarks.processes import Child, resident_mib, until
from benchmarks.store import KEYS, Store, plan_routes
from benchmarks.suite import Bench
from benchmarks.table import Line, Samples, yes_or_no

LOOK_EVERY_S = 0.001
"""A read of etcd takes half a millisecond; nobody sees a finer difference."""

REFRESHED_S = 3.0
"""With the TTL below, long enough for three refreshes: what they load is in the memory as well."""

TTL_S = 3


def measure_sidecar(bench: Bench) -> Iterator[Line]:
    """``registrar sidecar``: from exec to its key in etcd, and its memory after some refreshes."""
    taken_ms: list[float] = []
    sizes_mib: list[float] = []
    with bench.place(services=1) as (store, _):
        for run in range(2 * bench.sizes.runs):
            bench.say(f"sidecar: run {run + 1}")
            taken, size = _run_sidecar(bench, store, f"run-{run}", settle=run == 0)
            taken_ms.append(taken)
            sizes_mib.append(size)
    taken_all, size_all = Samples(tuple(taken_ms)), Samples(tuple(sizes_mib))
    yield Line(
        "registrar sidecar: exec → key in etcd",
        "< 300 ms",
        taken_all.show(" ms"),
        yes_or_no(taken_all.median < 300),
    )
    yield Line(
        "registrar sidecar: resident memory",
        "< 40 MiB",
        size_all.show(" MiB"),
        yes_or_no(max(size_all.values) < 40),
    )


def _run_sidecar(bench: Bench, store: Store, branch: str, *, settle: bool) -> tuple[float, float]:
    """Milliseconds until the key was there, and MiB.

    Args:
        settle: Let it refresh some times before its memory is read.
    """
    env = {
        "REGISTRY_URL": store.url,
        "NAME": branch,
        "SERVICE": "web",
        "PORT": "8080",
        "IP": "127.0.0.1",
        "TTL": str(TTL_S),
        "PYTHONPATH": str(ROOT),
    }
    began_at = time.perf_counter()
    command = [sys.executable, "-m", "registrar", "sidecar"]
    with Child(command, log=bench.new_folder("sidecar.log"), env=env) as child:
        until(
            lambda: store.etcd.list(KEYS.within(branch)[0], keys_only=True).entries,
            what="the sidecar's key is in etcd",
            within_s=20,
            every_s=LOOK_EVERY_S,
            child=child,
        )
        taken_ms = (time.perf_counter() - began_at) * 1000
        time.sleep(REFRESHED_S if settle else 0.3)  # the latter: what follows a registration
        return taken_ms, resident_mib(child.pid)


def measure_regenerator(bench: Bench) -> Iterator[Line]:
    """``regenerator run`` with 10,000 routes, after some changes."""
    large = bench.sizes.large
    bench.say(f"regenerator: memory with {large:,} routes")
    with bench.place() as (store, origin):
        store.fill(plan_routes(origin.addresses, large))
        with run_frontend(bench.new_folder("frontend"), store) as frontend:
            for route in plan_routes(origin.addresses, bench.sizes.runs, kind="more"):
                frontend.wait_applied(store.fill([route]))
            now, peak = resident_mib(frontend.pid), resident_mib(frontend.pid, peak=True)
    yield Line(
        f"regenerator: resident memory, {large:,} routes",
        "< 150 MiB",
        f"{now:.0f} MiB (at its highest {peak:.0f})",
        yes_or_no(now < 150),
    )
