"""Programs that are started again when they end; with the shell as the program, on fake time."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regenerator.processes import group
from standalone.children import FIRST_PAUSE_S, LONGEST_PAUSE_S, STEADY_S, Child, Command
from standalone.stopping import Stop
from tests.etcd_server import wait_until
from tests.fakes.spare_time import SpareTime


class Upper(random.Random):
    """Draws the longest pause every time."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


def shell(script: str, **more: object) -> Command:
    return Command("sample", ("/bin/sh", "-c", script), os.environ, **more)  # type: ignore[arg-type]


@contextmanager
def child(command: Command, times: SpareTime | None = None) -> Iterator[Child]:
    clock = times.clock if times else time.monotonic
    one = Child(command, clock=clock, rng=Upper())
    one.start()
    try:
        yield one
    finally:
        if one.process and one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def ended(one: Child) -> None:
    wait_until(lambda: one.ended is not None)


def test_one_that_ends_is_started_again_after_a_pause(tmp_path: Path) -> None:
    times = SpareTime()
    with child(shell("exec sleep 60", log=tmp_path / "log"), times) as one:
        assert one.process
        first = one.process.pid
        times.wait(STEADY_S)
        one.process.kill()
        ended(one)

        one.tend()
        assert one.process.pid == first
        times.wait(FIRST_PAUSE_S)
        one.tend()

        assert one.process.pid != first
        assert one.ended is None


def test_one_that_cannot_run_is_tried_with_growing_pauses_for_ever(tmp_path: Path) -> None:
    times = SpareTime()
    with child(shell("exit 3", log=tmp_path / "log"), times) as one:
        pauses = []
        for _ in range(9):
            ended(one)
            one.tend()
            assert one.due_at is not None
            pauses.append(one.due_at - times.now_s)
            times.wait(pauses[-1])
            one.tend()

    assert pauses == sorted(pauses)
    assert pauses[0] == 2 * FIRST_PAUSE_S
    assert pauses[-1] == LONGEST_PAUSE_S


def test_a_program_that_is_gone_for_good_does_not_end_us(tmp_path: Path) -> None:
    times = SpareTime()
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    with child(Command("sample", (str(program),), os.environ), times) as one:
        ended(one)
        program.unlink()
        one.tend()
        times.wait(LONGEST_PAUSE_S)

        one.tend()

        assert one.due_at == times.now_s + LONGEST_PAUSE_S


def test_a_log_is_begun_anew_by_a_run_and_goes_on_over_its_restarts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("of yesterday\n", encoding="utf-8")
    times = SpareTime()
    with child(shell("echo here; echo there >&2", log=log), times) as one:
        ended(one)
        one.tend()
        times.wait(LONGEST_PAUSE_S)
        one.tend()
        ended(one)

    assert log.read_text() == "here\nthere\n" * 2


def test_one_that_ends_when_asked_is_not_killed() -> None:
    with child(shell("trap 'exit 0' TERM; echo; while :; do sleep 0.01; done")) as one:
        wait_until(lambda: bool(one.process and group(one.process.pid)))

        assert one.end(stop=Stop())


def test_one_that_does_not_end_is_killed_with_all_it_has_started(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"trap '' TERM; sleep 60 & touch {ready}; while :; do sleep 0.01; done"
    with child(shell(script, ends_within_s=0.05)) as one:
        assert one.process
        pid = one.process.pid
        wait_until(ready.exists)
        assert len(group(pid)) >= 2

        assert not one.end(stop=Stop())

        wait_until(lambda: not group(pid))


def test_pressing_cuts_the_waiting_short(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    stop = Stop()
    stop.ask()
    stop.ask()
    script = f"trap '' TERM; touch {ready}; while :; do sleep 0.01; done"
    with child(shell(script, ends_within_s=3600)) as one:
        wait_until(ready.exists)

        assert not one.end(stop=stop)
        assert one.process
        assert one.process.returncode == -signal.SIGKILL


def test_it_is_in_a_group_of_its_own_so_that_ctrl_c_comes_through_us() -> None:
    with child(shell("exec sleep 60")) as one:
        assert one.process
        assert os.getpgid(one.process.pid) == one.process.pid
