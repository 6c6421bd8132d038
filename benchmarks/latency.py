"""From a put that etcd has acknowledged to the first right answer through nginx."""

import math
import time
from collections.abc import Callable, Iterator

from benchmarks.frontend import run_frontend
from benchmarks.probe import seconds_until_served
from benchmarks.processes import BenchmarkFault
from benchmarks.store import Planned, plan_routes
from benchmarks.suite import Bench
from benchmarks.table import Line, Samples, yes_or_no

WRITE_EVERY_S = 0.5
"""As the goal says: branches come one by one, and every write finds quiet."""

SERVED_WITHIN_S = 60.0
"""Traefik with 10,000 routes takes several seconds; past a minute something is broken."""

SAMPLES_MIN = 3
"""Fewer have no median worth the name."""


def measure_small(bench: Bench) -> Iterator[Line]:
    """With 1,000 routes present."""
    found = _measure(bench, routes=bench.sizes.small, samples=bench.sizes.samples)
    yield Line(
        f"put acknowledged → first right answer, {bench.sizes.small:,} routes",
        "p50 < 150 ms, p99 < 300 ms",
        found.show_tail(" ms"),
        yes_or_no(found.median < 150 and found.p99 < 300),
    )


def measure_large(bench: Bench) -> Iterator[Line]:
    """With 10,000 routes present."""
    found = _measure(bench, routes=bench.sizes.large, samples=bench.sizes.samples // 2)
    yield Line(
        f"put acknowledged → first right answer, {bench.sizes.large:,} routes",
        "p50 < 300 ms",
        found.show_tail(" ms"),
        yes_or_no(found.median < 300),
    )


def _measure(bench: Bench, *, routes: int, samples: int) -> Samples:
    bench.say(f"latency: {samples} writes with {routes:,} routes present")
    with bench.place() as (store, origin):
        store.fill(plan_routes(origin.addresses, routes))
        with run_frontend(bench.new_folder("frontend"), store) as frontend:
            new = plan_routes(origin.addresses, samples, kind="new")
            return time_writes(lambda route: store.fill([route]), new, port=frontend.port)


def time_writes(
    write: Callable[[Planned], object],
    routes: list[Planned],
    *,
    port: int,
    within_s: float = math.inf,
) -> Samples:
    """Write routes one by one, and time each until it is served, in milliseconds.

    Writes stay on a grid of ``WRITE_EVERY_S``: who is slower than that loses a place on the grid,
    but is not asked again the moment it has answered.

    Args:
        within_s: No write after so long, once there are ``SAMPLES_MIN``.

    Raises:
        BenchmarkFault: One was never served.
    """
    give_up_at = time.monotonic() + within_s
    taken_ms: list[float] = []
    for route in routes:
        if len(taken_ms) >= SAMPLES_MIN and time.monotonic() > give_up_at:
            break
        write(route)
        acknowledged_at = time.perf_counter()
        taken_s = seconds_until_served(
            port, route.host, route.address, since_at=acknowledged_at, within_s=SERVED_WITHIN_S
        )
        if taken_s is None:
            raise BenchmarkFault(f"{route.host} was not served within {SERVED_WITHIN_S:g} s")
        taken_ms.append(taken_s * 1000)
        time.sleep(WRITE_EVERY_S - taken_s % WRITE_EVERY_S)
    return Samples(tuple(taken_ms))
