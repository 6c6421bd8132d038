"""Requests a second, by wrk: the same clients and the same hosts against whatever is compared."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.processes import BenchmarkFault, find_program
from benchmarks.table import Samples

SCRIPT = Path(__file__).with_name("load.lua")

CONNECTIONS = 32
"""Kept alive; enough to keep both cores busy, few enough for every one to have a connection."""

WARM_UP_S = 1
"""Fills the upstream connections and caches of each side before anything counts."""


def compare_throughput(
    ports: Mapping[str, int], hosts: Sequence[str], *, folder: Path, rounds: int, seconds: int
) -> dict[str, Samples]:
    """Requests a second of each side; rounds alternate, so that a busy machine hits all of them.

    Args:
        ports: Where each side listens, by its name.

    Raises:
        BenchmarkFault: wrk is missing, or a request was not answered as it should.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / "hosts"
    listed.write_text("".join(f"{host}\n" for host in hosts))
    for name, port in ports.items():
        _run(port, listed, name=name, seconds=WARM_UP_S)
    found: dict[str, list[float]] = {name: [] for name in ports}
    for _ in range(rounds):
        for name, port in ports.items():
            found[name].append(_run(port, listed, name=name, seconds=seconds))
    return {name: Samples(tuple(values)) for name, values in found.items()}


def _run(port: int, listed: Path, *, name: str, seconds: int) -> float:
    command = [find_program("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(SCRIPT)]
    # wrk ends by itself after its seconds; 20 more mean that it hangs
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/", "--", str(listed)],
        capture_output=True,
        text=True,
        timeout=seconds + 20,
        check=False,
    )
    last = done.stdout.strip().rpartition("\n")[2]
    if done.returncode or not last.startswith("{"):
        raise BenchmarkFault(
            f"wrk against {name} ended with {done.returncode}: {done.stderr[-300:]}"
        )
    result = json.loads(last)
    if result["failed"]:
        raise BenchmarkFault(
            f"{result['failed']} of {result['requests']} requests to {name} were not answered 200;"
            " a comparison with errors in it says nothing"
        )
    return float(result["requests"] / result["seconds"])
