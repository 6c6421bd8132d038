"""What the kernel tells of processes: who lives, who is whose, what they call themselves."""

import os
from pathlib import Path

_PROC = Path("/proc")


def has_proc() -> bool:
    """Whether this machine tells; Linux does."""
    return (_PROC / "self" / "stat").exists()


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
