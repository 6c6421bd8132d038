"""Processes of this machine as /proc shows them, and those that an earlier run left behind.

Elsewhere than on Linux nothing is seen: then a ``branchfront up`` that was killed has to be cleaned
up after by hand.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from regenerator.processes import arguments, group, is_alive, title

PROC = Path("/proc")

KILLED_WITHIN_S = 5.0
"""A killed process is gone in milliseconds; one that waits for a disk may take longer."""

POLL_S = 0.01
"""Between two looks at a killed process."""

SHOWN_MAX = 60
"""Characters of a command line in a sentence: enough to know it by."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process.

    Attributes:
        arguments: Its command line; programs may have written a title there instead.
    """

    pid: int
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        first, *others = self.arguments or ("a program",)
        # a title such as nginx's is one argument, with a path in it; a program is one path
        called = first.partition(" /")[0] if " " in first else Path(first).name
        text = " ".join((called, *others))
        text = text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"
        printable = "".join(char if char.isprintable() else "?" for char in text)
        return f"{printable} (process {self.pid})"


def all_processes() -> Iterator[Process]:
    """Every process that can be seen."""
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError):
            pid = int(folder.name)
            yield Process(pid, tuple(arguments(pid)))


def left_behind(state: Path) -> list[Process]:
    """Etcd and regenerator of an earlier run: those that were given this folder to keep things in.

    The folder's lock is held by the caller, so none of them belongs to a run that lives.
    """
    theirs = {
        ("--data-dir", str(state / "etcd")),
        ("--data-dir", str(state / "etcd.new")),
        ("--state", str(state / "regenerator")),
    }
    return [one for one in all_processes() if not theirs.isdisjoint(pairwise(one.arguments))]


def nginx_left_behind(state: Path) -> set[int]:
    """The processes of an nginx that a regenerator on this folder has started, if they live."""
    try:
        leader = int((state / "run" / "nginx.pid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return set()
    return {pid for pid in group(leader) if title(pid).startswith("nginx: ")}


def end(
    processes: list[Process],
    *,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> list[Process]:
    """Kill processes and wait until they are gone; gives back those that are not.

    They are killed, not asked: a regenerator that is asked to end would end its nginx as well,
    which goes on serving until the next one takes it over. Etcd loses nothing by it.
    """
    for process in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, signal.SIGKILL)
    give_up_at = clock() + KILLED_WITHIN_S
    while (left := [one for one in processes if is_alive(one.pid)]) and clock() < give_up_at:
        wait(POLL_S)
    return left
