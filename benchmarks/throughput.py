"""Requests a second beside a hand-written nginx configuration with one upstream."""

from collections.abc import Iterator, Sequence

from benchmarks.baseline import serve_baseline
from benchmarks.frontend import run_frontend
from benchmarks.load import compare_throughput
from benchmarks.store import plan_routes
from benchmarks.suite import Bench
from benchmarks.table import Line, yes_or_no


def measure(bench: Bench) -> Iterator[Line]:
    """At 300, 1,000 and 10,000 routes; at 10,000 over the newest and over all."""
    sizes = bench.sizes
    yield from _measure(bench, routes=sizes.newest, drawn=[(sizes.newest, 0.9)])
    yield from _measure(bench, routes=sizes.small, drawn=[(sizes.small, 0.8)])
    yield from _measure(bench, routes=sizes.large, drawn=[(sizes.newest, 0.8), (sizes.large, 0.3)])


def _measure(bench: Bench, *, routes: int, drawn: Sequence[tuple[int, float]]) -> Iterator[Line]:
    """Compare at one size of registry.

    Args:
        drawn: How many of the newest hosts are asked, and the ratio that is the goal.
    """
    with bench.place() as (store, origin):
        planned = plan_routes(origin.addresses, routes)
        store.fill(planned)
        with (
            run_frontend(bench.new_folder("frontend"), store) as frontend,
            serve_baseline(
                bench.new_folder("baseline"),
                address=origin.addresses[0],
                ours=frontend.configuration(),
            ) as baseline,
        ):
            for newest, goal in drawn:
                bench.say(f"throughput: {routes:,} routes, {newest:,} of them asked")
                found = compare_throughput(
                    {"ours": frontend.port, "by hand": baseline},
                    [route.host for route in planned[-newest:]],
                    folder=bench.new_folder("load"),
                    rounds=bench.sizes.rounds,
                    seconds=bench.sizes.seconds,
                )
                ratio = found["ours"].median / found["by hand"].median
                yield Line(
                    f"requests/s beside nginx by hand, {routes:,} routes, "
                    + ("all asked" if newest == routes else f"newest {newest:,} asked"),
                    f"≥ {goal} of it",
                    found["ours"].show("/s"),
                    yes_or_no(ratio >= goal),
                    f"{found['by hand'].show('/s')} nginx by hand",
                    f"{ratio:.2f}",
                )
