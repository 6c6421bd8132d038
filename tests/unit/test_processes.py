"""Processes as /proc shows them, and those that a killed run has left."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from regenerator.processes import end as ask_to_end
from regenerator.processes import group, is_alive, reap, title, within
from standalone.processes import Process, end, left_behind, nginx_left_behind
from tests.etcd_server import wait_until


@contextmanager
def sleeping(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a command line of our choice."""
    with subprocess.Popen(
        ["/bin/sh", "-c", "echo; read _", *arguments], stdin=-1, stdout=-1
    ) as one:
        assert one.stdout
        one.stdout.readline()  # now it has its command line
        yield one
        one.kill()


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("/usr/bin/etcd", "--name", "default"), "etcd --name default (process 7)"),
        (("nginx: master process /opt/nginx -p /x",), "nginx: master process (process 7)"),
        (("/bin/evil\x1b[2J",), "evil?[2J (process 7)"),
        (("python3", "x" * 80), f"python3 {'x' * 52}… (process 7)"),
        ((), "a program (process 7)"),
    ],
)
def test_a_process_is_shown_so_that_a_person_knows_it(
    arguments: tuple[str, ...], shown: str
) -> None:
    assert str(Process(7, arguments)) == shown


def test_only_what_was_started_on_the_very_folder_was_left_behind(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with ExitStack() as running:
        ours = {
            running.enter_context(sleeping(*arguments)).pid
            for arguments in (
                ("--data-dir", f"{state}/etcd"),
                ("--data-dir", f"{state}/etcd.new"),
                ("run", "--state", f"{state}/regenerator"),
            )
        }
        others = [
            running.enter_context(sleeping(*arguments))
            for arguments in (
                ("--data-dir", f"{state}2/etcd"),
                ("--state", f"{state}"),
                (f"--state {state}/regenerator",),
                (f"{state}/etcd",),
            )
        ]
        found = left_behind(state)

        assert {process.pid for process in found} == ours
        assert end(found) == []
        assert left_behind(state) == []
        assert [other.poll() for other in others] == [None] * len(others)


def test_a_pid_file_that_names_a_stranger_is_not_believed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    assert nginx_left_behind(tmp_path) == set()

    for text in ("", "x", str(os.getpgid(0))):
        (run / "nginx.pid").write_text(text, encoding="ascii")
        assert nginx_left_behind(tmp_path) == set()


def test_one_that_has_ended_needs_no_ending() -> None:
    with subprocess.Popen(["/bin/true"]) as gone:
        wait_until(lambda: gone.poll() is not None)

    assert end([Process(gone.pid, ("true",))]) == []


def test_one_without_a_title_lives() -> None:
    """Each has none for a moment of its start, and would be waited for until its end."""
    anonymous = [""]
    with subprocess.Popen(anonymous, executable="/bin/cat", stdin=-1, process_group=0) as nameless:
        assert title(nameless.pid) == ""

        assert is_alive(nameless.pid)
        assert nameless.pid in group(nameless.pid)
        reap([nameless.pid])
        assert ask_to_end([nameless.pid], signal.SIGCONT, within_s=0) == [nameless.pid]
        assert ask_to_end([nameless.pid], signal.SIGKILL, within_s=30) == []
        assert not is_alive(nameless.pid)


def test_one_lives_as_long_as_any_of_its_threads() -> None:
    """A killed dashboard keeps its ports for as long."""
    first_thread_ends = (
        "import ctypes, os, sys, threading\n"
        "threading.Thread(target=sys.stdin.read).start()\n"
        "print()\n"
        "ctypes.CDLL(None).syscall({'x86_64': 60, 'aarch64': 93}[os.uname().machine], 0)"
    )
    with subprocess.Popen(
        [sys.executable, "-uc", first_thread_ends], stdin=-1, stdout=-1, process_group=0
    ) as headless:
        wait_until(lambda: not title(headless.pid))

        assert is_alive(headless.pid)
        assert group(headless.pid) == [headless.pid]
        assert ask_to_end([headless.pid], signal.SIGKILL, within_s=30) == []


def test_one_whose_name_is_no_text_hides_nobody(tmp_path: Path) -> None:
    """The kernel cuts names at 15 bytes, in the middle of a letter if need be."""
    named = (
        "import ctypes, sys; ctypes.CDLL(None).prctl(15, b'\\xff\\xfe'); print(); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-uc", named], stdin=-1, stdout=-1, cwd=tmp_path, process_group=0
    ) as strange:
        assert strange.stdout
        strange.stdout.readline()

        assert is_alive(strange.pid)
        assert within(tmp_path) == group(strange.pid) == [strange.pid]
        strange.kill()


def test_what_has_ended_and_is_ours_to_wait_for_is_no_zombie_for_long() -> None:
    """As a container's first process the regenerator inherits the workers of a killed master."""
    ended = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 3"], {})
    wait_until(lambda: not is_alive(ended))
    assert Path(f"/proc/{ended}").exists()

    with sleeping() as lives:
        # one that lives is not waited for, and what is gone or somebody else's is no trouble
        reap([ended, lives.pid, 1, 2**22 + 1])

        assert not Path(f"/proc/{ended}").exists()
        assert lives.poll() is None
