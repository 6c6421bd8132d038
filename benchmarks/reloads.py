"""Clients at work while nginx is reloaded again and again: none of their requests may fail."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence

from benchmarks.clients import Crowd
from benchmarks.frontend import ROOT, Frontend, run_frontend
from benchmarks.processes import BenchmarkFault
from benchmarks.reloading import ReloadCount
from benchmarks.store import Planned, plan_routes
from benchmarks.suite import Bench
from benchmarks.table import Line, yes_or_no

CLIENTS = 32
"""Of each kind, as the goal says."""

THINK_S = 2.0
"""Longest thought between two requests, as the goal says."""

APPLIED_WITHIN_S = 90.0
"""The pause between reloads grows up to a minute while many old generations live."""


def measure(bench: Bench) -> Iterator[Line]:
    """Write a route, wait until it is applied, and so on."""
    sizes = bench.sizes
    bench.say(f"reloads: {sizes.reloads} with {2 * CLIENTS} clients at work")
    with bench.place() as (store, origin):
        present = plan_routes(origin.addresses, sizes.newest)
        store.fill(present)
        changes = plan_routes(origin.addresses, sizes.reloads, kind="change")
        with (
            run_frontend(bench.new_folder("frontend"), store) as frontend,
            ReloadCount(frontend) as counted,
        ):
            asked, failures = _run(frontend, present, changes)
    if counted.reloads < sizes.reloads:
        raise BenchmarkFault(
            f"only {counted.reloads} reloads were seen for {sizes.reloads} changes"
        )
    failed = sum(failures.values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in failures.items())
    yield Line(
        f"failed requests during {counted.reloads} reloads, {CLIENTS} busy and {CLIENTS} thinking"
        " clients, none retries",
        "0",
        f"{failed} of {asked:,}" + (f" ({reasons})" if reasons else ""),
        yes_or_no(failed == 0),
    )


def _run(
    frontend: Frontend, present: Sequence[Planned], changes: Sequence[Planned]
) -> tuple[int, dict[str, int]]:
    """Requests that were asked, and failures by what happened."""
    hosts = tuple((route.host, route.address) for route in present)
    crowd = Crowd(frontend.port, CLIENTS, CLIENTS, THINK_S, hosts)
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.clients"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as clients:
        try:
            if clients.stdin is None or clients.stdout is None:
                raise BenchmarkFault("the clients have no pipes")
            clients.stdin.write(f"{crowd.dump()}\n")
            clients.stdin.flush()
            clients.stdout.readline()
            for route in changes:
                frontend.wait_applied(frontend.store.fill([route]), within_s=APPLIED_WITHIN_S)
            # a thinking client notices the end after its thought, a busy one at once
            said, _ = clients.communicate(timeout=THINK_S + 15)
        finally:
            clients.kill()
    result = json.loads(said)
    return result["asked"], result["failures"]
