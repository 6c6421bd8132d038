"""Programs that run as long as we do: started, started again when they end, ended with us."""

import logging
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from standalone.stopping import Stop

log = logging.getLogger("branchfront")

STEADY_S = 10.0
"""One that ran this long was well; it is started again at once when it ends."""

FIRST_PAUSE_S = 0.1
"""Before the first new start: long enough for the kernel to give back its port."""

LONGEST_PAUSE_S = 5.0
"""One that cannot run, since somebody took its port, is tried this often, for ever."""

POLL_S = 0.01
"""Between two looks at a program that is asked to end; most are gone in 5 to 50 ms."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to start.

    Attributes:
        name: What it is called in our log.
        arguments: The program and its arguments.
        environ: The whole of its environment.
        log: File for what it says; None for our own stderr.
        stdin: What it reads from; nothing unless told.
        ends_within_s: How long it may take to end when it is asked to.
    """

    name: str
    arguments: Sequence[str]
    environ: Mapping[str, str]
    log: Path | None = None
    stdin: int = subprocess.DEVNULL
    ends_within_s: float = 5.0


@dataclass(slots=True)
class Child:
    """One program, in a process group of its own, so that Ctrl-C reaches it through us alone."""

    command: Command
    clock: Callable[[], float] = time.monotonic
    rng: random.Random = field(default_factory=random.SystemRandom)
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    due_at: float | None = None
    pause_s: float = FIRST_PAUSE_S

    def start(self) -> None:
        """Start it.

        Raises:
            OSError: The program cannot be started at all.
        """
        with ExitStack() as files:
            said: int | None = None
            if self.command.log is not None:
                mode = "ab" if self.process else "wb"  # one run's log, and its restarts'
                said = files.enter_context(self.command.log.open(mode)).fileno()
            self.process = subprocess.Popen(
                self.command.arguments,
                env=self.command.environ,
                stdin=self.command.stdin,
                # our own stdout carries the ready line and the table, and nothing else
                stdout=2 if said is None else said,
                stderr=said,
                process_group=0,
            )
        self.started_at = self.clock()
        self.due_at = None

    @property
    def ended(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self.process.poll() if self.process else None

    def tend(self) -> None:
        """Start it again if it has ended, with growing pauses if it does so over and over."""
        code = self.ended
        if code is None:
            return
        now = self.clock()
        if self.due_at is None:
            well = now - self.started_at >= STEADY_S
            self.pause_s = FIRST_PAUSE_S if well else min(self.pause_s * 2, LONGEST_PAUSE_S)
            pause_s = self.pause_s * self.rng.uniform(0.5, 1.0)
            self.due_at = now + pause_s
            log.warning(
                "%s ended (%s), starts again in %.1f s", self.command.name, _how(code), pause_s
            )
        elif now >= self.due_at:
            try:
                self.start()
            except OSError as exc:
                log.warning("%s cannot be started: %s", self.command.name, exc)
                self.due_at = now + LONGEST_PAUSE_S

    def ask_to_end(self) -> None:
        """Send SIGTERM to the program alone: what it has started is its to end."""
        if self.process and self.process.poll() is None:
            self.process.terminate()

    def end(self, *, stop: Stop) -> bool:
        """Ask it to end and wait; kill its whole group if it takes too long or we are pressed.

        Returns:
            Whether it ended by itself.
        """
        if self.process is None:
            return True
        self.ask_to_end()
        give_up_at = self.clock() + self.command.ends_within_s
        while self.process.poll() is None and not stop.pressed() and self.clock() < give_up_at:
            stop.pause(POLL_S)
        by_itself = self.process.poll() is not None
        if not by_itself:
            log.warning("%s does not end, killed", self.command.name)
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return by_itself


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
