"""What an earlier regenerator has left of its dashboard, and what is somebody else's."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from regenerator import processes
from regenerator.showing import end_left_behind
from tests.etcd_server import wait_until

DASHBOARD = (sys.executable, "-P", "-m", "regenerator.dashboard")


@contextmanager
def waiting(feed: socket.socket, *command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for as long as nobody tells it anything."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[feed.fileno()]) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_dashboard_that_does_not_end_is_killed_and_nobody_elses(tmp_path: Path) -> None:
    state, other, link = (tmp_path / name for name in ("state", "other", "link"))
    state.mkdir()
    other.mkdir()
    link.symlink_to(state)
    ours, its = socket.socketpair()
    with ours, its, ExitStack() as running:
        number = str(its.fileno())
        left = [
            running.enter_context(waiting(its, *DASHBOARD, number, folder))
            for folder in (state, link)
        ]
        strangers = [
            running.enter_context(waiting(its, *command))
            for command in (
                (*DASHBOARD, number, other),
                (*DASHBOARD, number, state / "nowhere"),
                ("/bin/sh", "-c", "read _", *DASHBOARD[1:], number, state),
            )
        ]
        # for a moment of its start a process has no command line
        wait_until(lambda: all(processes.title(one.pid) for one in left + strangers))
        left[0].send_signal(signal.SIGSTOP)

        end_left_behind(state, within_s=0.1)

        assert [one.wait(30) for one in left] == [-signal.SIGKILL] * 2
        assert [one.poll() for one in strangers] == [None] * 3
        # and where there is none nobody waits
        end_left_behind(state)
