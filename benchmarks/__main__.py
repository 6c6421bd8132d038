"""``python -m benchmarks [--quick] [ROW...]``: measure, and print one table."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import (
    burst,
    containers,
    latency,
    memory,
    pure,
    reloads,
    scale,
    throughput,
    traefik,
    viewers,
)
from benchmarks.processes import BenchmarkFault
from benchmarks.suite import QUICK, Bench, Row, Sizes
from benchmarks.table import Line, describe_machine, show_table

ROWS: dict[str, Row] = {
    "latency": latency.measure_small,
    "latency-large": latency.measure_large,
    "burst": burst.measure,
    "pure": pure.measure,
    "throughput": throughput.measure,
    "viewers": viewers.measure,
    "reloads": reloads.measure,
    "scale": scale.measure,
    "sidecar": memory.measure_sidecar,
    "regenerator": memory.measure_regenerator,
    "agent": containers.measure_agent,
    "shell": containers.measure_shell,
    "frontend": containers.measure_frontend,
    "compose": containers.measure_compose,
    "traefik": traefik.measure_small,
    "traefik-large": traefik.measure_large,
}

NAMED_ONLY: dict[str, Row] = {
    "scale-cluster": scale.measure_cluster,
    "scale-users": scale.measure_users,
    "scale-limits": scale.measure_limits,
}
"""Rows that are measured only when they are asked for: they look further than the goals."""

EVERY = ROWS | NAMED_ONLY


def main() -> int:
    """Run the rows that were asked for; 1 if one could not be measured, 0 otherwise.

    A goal that was not met is no failure: it stands in the table.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"one of {', '.join(EVERY)}")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: shows that all runs, not how fast"
    )
    given = parser.parse_args()
    unknown = [name for name in given.rows if name not in EVERY]
    if unknown:
        parser.error(f"no row is called {', '.join(unknown)}; there are {', '.join(EVERY)}")
    # so that `kill` ends every child, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began_at = time.monotonic()
    load_before = os.getloadavg()[0]
    lines: list[Line] = []
    missed: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="branchfront-bench-"))
    try:
        bench = Bench(QUICK if given.quick else Sizes(), folder)
        for name in given.rows or ROWS:
            try:
                lines.extend(EVERY[name](bench))
            except BenchmarkFault as fault:
                missed.append(name)
                lines.append(Line(name, "", f"not measured: {fault}".replace("\n", " ")))
    except KeyboardInterrupt:
        missed.append("the rest")
    finally:
        if missed:
            print(f"logs of what was not measured: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"\nOn {describe_machine(('nginx', 'etcd', 'traefik', 'wrk'))};")
    print(
        f"{time.strftime('%Y-%m-%d')}, {time.monotonic() - began_at:.0f} s in all;"
        f" load average before {load_before:.1f}: what else ran takes its share of every figure."
    )
    print("Median (smallest to largest, number of runs).\n")
    print(show_table(lines))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
