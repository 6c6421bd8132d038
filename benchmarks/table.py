"""The one table that is printed, the machine it was measured on, and how samples become a cell."""

import os
import platform
import re
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from benchmarks.processes import BenchmarkFault, find_program

HEAD = ("what", "goal", "ours", "met", "peer", "ours : peer")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table, every cell as it is printed.

    Attributes:
        met: ``yes``, ``no``, or empty where a row has no goal.
        ratio: How ours compares; more than 1 is better for us.
    """

    what: str
    goal: str
    ours: str
    met: str = ""
    peer: str = ""
    ratio: str = ""


@dataclass(frozen=True, slots=True)
class Samples:
    """Measured values of one thing, in the unit they are printed in."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The value in the middle."""
        return statistics.median(self.values)

    @property
    def p99(self) -> float:
        """The smallest value that 99 of 100 do not exceed; with fewer samples the largest."""
        ordered = sorted(self.values)
        return ordered[-(-99 * len(ordered) // 100) - 1]

    @property
    def spread(self) -> str:
        """The smallest and the largest."""
        return f"{_short(min(self.values))} to {_short(max(self.values))}"

    def show(self, unit: str) -> str:
        """Median and spread of several runs."""
        return f"{_short(self.median)}{unit} ({self.spread}, n={len(self.values)})"

    def show_tail(self, unit: str) -> str:
        """Median, 99th percentile and spread of many samples."""
        return (
            f"p50 {_short(self.median)}, p99 {_short(self.p99)}{unit}"
            f" ({self.spread}, n={len(self.values)})"
        )


def yes_or_no(met: bool) -> str:  # noqa: FBT001 - the only thing it is about
    """How a goal that was met is printed."""
    return "yes" if met else "**no**"


def show_table(lines: Iterable[Line]) -> str:
    """The lines as a markdown table, columns aligned for people who read it as text."""
    rows = [HEAD, *(astuple(line) for line in lines)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEAD))]
    rule = "|".join("-" * (width + 2) for width in widths)
    shown = [
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join([f"| {shown[0]} |", f"|{rule}|", *(f"| {row} |" for row in shown[1:])])


def describe_machine(programs: Sequence[str]) -> str:
    """Cores, memory, kernel and the versions of the programs that take part."""
    memory_kib = int(Path("/proc/meminfo").read_text().split()[1])
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    cores = len(os.sched_getaffinity(0))
    parts = [
        f"{cores} cores ({model[1] if model else platform.machine()})",
        f"{memory_kib / 1024 / 1024:.1f} GiB",
        f"Linux {platform.release()}",
        f"Python {platform.python_version()}",
        *(_version(name) for name in programs),
    ]
    return ", ".join(parts)


def _version(name: str) -> str:
    flag = {"nginx": "-v", "wrk": "-v", "etcd": "--version", "traefik": "version"}[name]
    try:
        done = subprocess.run(  # each prints its version at once; 10 s means it hangs
            [find_program(name), flag], capture_output=True, text=True, timeout=10, check=False
        )
    except BenchmarkFault:
        return f"no {name}"
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return f"{name} {found[0] if found else '(version unknown)'}"


def _short(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
