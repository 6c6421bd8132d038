"""What the kernel tells of processes: who lives, who is whose, what they call themselves."""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

POLL_S = 0.005
"""Between two looks at what cannot be waited for; one at nginx's socket takes 0.2 ms."""

_PROC = Path("/proc")


def title(pid: int) -> str:
    """What a process calls itself; empty if it is gone or a zombie."""
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def children(pid: int) -> list[int]:
    """The processes that one has started and that are still its own."""
    try:
        text = (_PROC / str(pid) / "task" / str(pid) / "children").read_text()
        return [int(part) for part in text.split()]
    except OSError:
        return [child for child, parent, _ in _all() if parent == pid]


def group(pgid: int) -> list[int]:
    """The processes of one process group, zombies left out."""
    return [pid for pid, _, pgrp in _all() if pgrp == pgid and title(pid)]


def within(folder: Path) -> list[int]:
    """The processes that work in a folder, as far as we may ask; zombies left out."""
    real = str(folder.resolve())
    found = []
    for pid, _, _ in _all():
        try:
            is_there = str((_PROC / str(pid) / "cwd").readlink()) == real
        except OSError:
            # gone, or somebody else's
            continue
        if is_there and title(pid):
            found.append(pid)
    return found


def end(pids: list[int], ending: signal.Signals, *, within_s: float) -> list[int]:
    """Signal processes and wait for their end; returns those that are left."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, ending)
    give_up_at = time.monotonic() + within_s
    while any(map(title, pids)) and time.monotonic() < give_up_at:
        time.sleep(POLL_S)
    return [pid for pid in pids if title(pid)]


def reap(pids: Iterable[int]) -> None:
    """Let go of ended processes that are ours to wait for; a zombie stays until somebody has.

    The workers of a killed master are: where we are a container's first process, the kernel gives
    them to us.
    """
    for pid in pids:
        if not title(pid):
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _all() -> list[tuple[int, int, int]]:
    """Pid, parent and group of every process."""
    found = []
    for name in os.listdir(_PROC):  # noqa: PTH208 - a third of the time, and it is asked in a loop
        if name.isdigit():
            try:
                stat = (_PROC / name / "stat").read_text()
            except OSError:
                continue
            # the name in the middle may hold spaces and brackets; the fields follow its last one
            fields = stat.rpartition(")")[2].split()
            found.append((int(name), int(fields[1]), int(fields[2])))
    return found
