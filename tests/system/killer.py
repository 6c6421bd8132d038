"""Kills a process the moment something happens in a folder: a program of its own, to be fast.

It shares the victim's processor and goes before it where it may, so that the kernel lets it act
before the victim's next instruction. That needs a right of root; without it, it is only quick.
"""

import ctypes
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CREATED, DELETED, MOVED_TO, TOUCHED = 0x100, 0x200, 0x80, 0x4
"""Events of inotify(7): IN_CREATE, IN_DELETE, IN_MOVED_TO, IN_ATTRIB."""

_EVENT = struct.Struct("iIII")
_LIBC = ctypes.CDLL(None, use_errno=True)

PATIENCE_S = 20.0
"""What has not happened by then does not happen: the killer ends, and its test fails."""


@contextmanager
def killed_when(pid: int, folder: Path, *, event: int, name: str) -> Iterator[None]:
    """Kill -9 a process as soon as the event befalls a name in the folder.

    Args:
        event: One of those above.
        name: A regular expression for the whole name.

    Raises:
        AssertionError: At the end, where it never happened.
    """
    command = [sys.executable, "-E", __file__, str(pid), str(folder), str(event), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as killer:
        assert killer.stdout is not None
        try:
            assert killer.stdout.readline() == b"ready\n"
            yield
            assert killer.wait(PATIENCE_S) == 0, f"{name} never came to pass in {folder}"
        finally:
            killer.kill()


def _main(pid: int, folder: bytes, event: int, name: re.Pattern[bytes]) -> None:
    watch = _LIBC.inotify_init()
    if watch < 0 or _LIBC.inotify_add_watch(watch, folder, event) < 0:
        raise OSError(ctypes.get_errno(), "inotify", folder)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.sched_setaffinity(pid, os.sched_getaffinity(0))
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    # nobody is left waiting should the test be gone
    signal.alarm(int(PATIENCE_S))
    print("ready", flush=True)  # noqa: T201 - this is how the test knows
    while True:
        events = os.read(watch, 1 << 16)
        while events:
            *_, length = _EVENT.unpack_from(events)
            found = events[_EVENT.size : _EVENT.size + length].rstrip(b"\0")
            if name.fullmatch(found):
                os.kill(pid, signal.SIGKILL)
                return
            events = events[_EVENT.size + length :]


if __name__ == "__main__":
    _, PID, FOLDER, EVENT, NAME = sys.argv
    _main(int(PID), os.fsencode(FOLDER), int(EVENT), re.compile(os.fsencode(NAME)))
