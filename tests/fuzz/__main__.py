"""The coverage-guided run: ``python -m tests.fuzz [--seconds CPU] [TARGET...]``, or ``make fuzz``.

It spends so many seconds of processor time over all targets, prints a line for each, and ends with
1 if one of them found something; the input is kept, and how to try it again is said.

    python -m tests.fuzz records FILE     tries one input again
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from tests.fuzz.seeds import SEEDS, WORDS
from tests.fuzz.targets import TARGETS

SECONDS = 600
"""Of processor time, over all targets."""

SHARES = {"renderer": 3, "brake": 2}
"""Of the time; others have one. A rendered tree takes 10 ms, a record a hundredth of that."""

ROUND_S = 120
"""Longest run of libFuzzer, which counts seconds of the clock: on a busy machine those are more
than seconds of the processor, so there are as many rounds as it takes."""

INPUT_MAX_BYTES = 4096
"""Longer ones find nothing that shorter ones do not, and take longer."""

HANGS_S = 20
"""One input takes milliseconds; on a machine that does other things besides, ten times that."""


class Figures(NamedTuple):
    """What became of one target.

    Attributes:
        cpu_s: Processor time spent.
        edges: Places of the code that were reached.
        inputs: How many inputs are kept, because each reached a place that no other did.
        found: Files with inputs that found something.
    """

    cpu_s: float
    runs: int
    edges: int
    inputs: int
    found: tuple[Path, ...]


def main(arguments: Sequence[str]) -> int:
    """Fuzz, or try one input again."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of processor time, in all")
    parser.add_argument(
        "--corpus", type=Path, default=Path(tempfile.gettempdir()) / "branchfront-fuzz"
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    given = parser.parse_args(arguments)
    if given.targets[1:] and Path(given.targets[1]).is_file():
        TARGETS[given.targets[0]](Path(given.targets[1]).read_bytes())
        return 0
    targets = given.targets or list(TARGETS)
    for target in targets:
        if target not in TARGETS:
            parser.error(f"{target!r} is none of {', '.join(TARGETS)}")
    shares = {target: SHARES.get(target, 1) for target in targets}
    click.echo(f"{'target':10}{'CPU':>8}{'runs':>12}{'edges':>8}{'inputs':>8}  found")
    code = 0
    for target, share in shares.items():
        cpu_s = given.seconds * share / sum(shares.values())
        figures = fuzz(target, cpu_s=cpu_s, corpus=given.corpus)
        click.echo(
            f"{target:10}{figures.cpu_s:>6.0f} s{figures.runs:>12,}{figures.edges:>8,}"
            f"{figures.inputs:>8,}  {len(figures.found) or 'nothing'}"
        )
        for found in figures.found:
            code = 1
            click.echo(f"  try it again: python -m tests.fuzz {target} {found}")
    return code


def fuzz(target: str, *, cpu_s: float, corpus: Path) -> Figures:
    """Spend so much processor time on a target, or less if it finds something."""
    inputs, findings = corpus / target, corpus / f"{target}-found"
    for folder in (inputs, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[target]):
        (inputs / f"seed-{number}").write_bytes(seed)
    words = corpus / "words"
    words.write_text("".join(f'"{word}"\n' for word in WORDS))
    before = set(findings.iterdir())
    runs = edges = 0
    began_with_s = _spent_s()
    while (left_s := cpu_s - (_spent_s() - began_with_s)) > 0:
        log = corpus / f"{target}.log"
        options = {
            "max_total_time": min(ROUND_S, int(left_s) + 1),
            "max_len": INPUT_MAX_BYTES,
            "timeout": HANGS_S,
            "dict": words,
            "artifact_prefix": f"{findings}/",
            "print_final_stats": 1,
        }
        code = _run(target, inputs, options, log=log)
        said = log.read_text(errors="replace")
        runs += sum(map(int, re.findall(r"number_of_executed_units:\s*(\d+)", said)))
        edges = max([edges, *map(int, re.findall(r"\bcov: (\d+)", said))])
        if code and not set(findings.iterdir()) - before:
            # not the target's doing: libFuzzer itself could not run
            sys.exit(f"python -m tests.fuzz: {target} ended with {code}; see {log}")
        if code:
            click.echo(said[-3000:], err=True)
            break
    found = tuple(sorted(set(findings.iterdir()) - before))
    kept = len(list(inputs.iterdir()))
    return Figures(_spent_s() - began_with_s, runs, edges, kept, found)


def _run(target: str, inputs: Path, options: Mapping[str, object], *, log: Path) -> int:
    command = [sys.executable, "-m", "tests.fuzz.one", target, str(inputs)]
    command += [f"-{name}={value}" for name, value in options.items()]
    with log.open("wb") as said:
        return subprocess.run(command, stdout=said, stderr=said, check=False).returncode


def _spent_s() -> float:
    """Processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    # whoever works beside it comes first
    os.nice(10)
    sys.exit(main(sys.argv[1:]))
