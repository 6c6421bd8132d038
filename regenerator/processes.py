"""What the kernel tells of processes: who lives, who is whose, what they call themselves."""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

POLL_S = 0.005
"""Between two looks at what cannot be waited for; one at nginx's socket takes 0.2 ms."""

_PROC = Path("/proc")

_ENDED = {"Z", "X", "x"}
"""States of a zombie, and of what is left of one (proc(5))."""


def title(pid: int) -> str:
    """What a process calls itself; empty if it is gone or a zombie, and as it starts."""
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def arguments(pid: int) -> list[str]:
    """The command line of a process; programs may have written a title there instead.

    Raises:
        OSError: It is gone, or somebody else's.
    """
    parts = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    # a title in place of arguments ends in any number of NULs
    return [os.fsdecode(part) for part in parts if part]


def is_alive(pid: int) -> bool:
    """Whether a process runs: it is neither gone nor a zombie.

    Its title does not tell: one that is just being started has none. Nor does its first thread: the
    others may outlive that for a moment, and keep what it had open.
    """
    folder = _PROC / str(pid)
    try:
        stat = _Stat.parse((folder / "stat").read_text(errors="replace"))
        return stat.state not in _ENDED or len(list((folder / "task").iterdir())) > 1
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """The processes that one has started, in whichever of its threads, and that are its own."""
    try:
        tasks = (_PROC / str(pid) / "task").iterdir()
        return [int(part) for task in tasks for part in (task / "children").read_text().split()]
    except OSError:
        return [child for child, stat in _all() if stat.parent == pid]


def group(pgid: int) -> list[int]:
    """The processes of one process group, zombies left out."""
    return [pid for pid, stat in _all() if stat.group == pgid and is_alive(pid)]


def within(folder: Path) -> list[int]:
    """The processes that work in a folder, as far as we may ask; zombies left out."""
    real = str(folder.resolve())
    found = []
    for pid, _ in _all():
        try:
            is_there = str((_PROC / str(pid) / "cwd").readlink()) == real
        except OSError:
            # gone, or somebody else's
            continue
        if is_there and is_alive(pid):
            found.append(pid)
    return found


def end(pids: list[int], ending: signal.Signals, *, within_s: float) -> list[int]:
    """Signal processes and wait for their end; returns those that are left."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, ending)
    give_up_at = time.monotonic() + within_s
    while any(map(is_alive, pids)) and time.monotonic() < give_up_at:
        time.sleep(POLL_S)
    return [pid for pid in pids if is_alive(pid)]


def reap(pids: Iterable[int]) -> None:
    """Let go of ended processes that are ours to wait for; a zombie stays until somebody has.

    The workers of a killed master are: where we are a container's first process, the kernel gives
    them to us.
    """
    for pid in pids:
        if not is_alive(pid):
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


class _Stat(NamedTuple):
    """What of ``/proc/<pid>/stat`` is asked for (proc(5))."""

    state: str
    parent: int
    group: int

    @classmethod
    def parse(cls, text: str) -> Self:
        # the name in the middle may hold spaces and brackets; the fields follow its last one
        state, parent, group, *_ = text.rpartition(")")[2].split()
        return cls(state, int(parent), int(group))


def _all() -> list[tuple[int, _Stat]]:
    """The pid of every process, and how it is."""
    found = []
    for name in os.listdir(_PROC):  # noqa: PTH208 - a third of the time, and it is asked in a loop
        if name.isdigit():
            try:
                stat = (_PROC / name / "stat").read_text(errors="replace")
            except OSError:
                continue
            found.append((int(name), _Stat.parse(stat)))
    return found
