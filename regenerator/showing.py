"""The dashboard's process: started, fed, and started again whenever it is gone."""

import logging
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from regenerator import processes
from regenerator.dashboard.beginning import Begin
from regenerator.dashboard.feed import Pulse, Sender, State
from regenerator.nginx import DASHBOARD, bound
from registry.snapshot import Entry
from registry.spread import vary

PULSE_S = 1.0
"""Between two signs of life, with the numbers that go with them."""

STUCK_S = 10.0
"""A dashboard that takes nothing in for so long is ended; it reads within milliseconds."""

WAITING_BYTES = 1 << 13
"""What may wait for a dashboard that does not read: two signs of life, and then it is noticed."""

AGAIN_S = (0.2, 10.0)
"""First and longest pause before one that ended is started again; each is twice the one before."""

WELL_S = 30.0
"""One that has lived for so long starts over with the first pause."""

STOP_S = 2.0
"""For its last writes to the history."""

LEFT_S = 6.0
"""For the orderly end of one whose regenerator is gone: after five seconds it ends by itself."""

KILLED_S = 2.0
"""For one that is killed, which takes milliseconds."""

_PROGRAM = ["-P", "-m", "regenerator.dashboard"]
"""Without any module of the folder we are in."""

log = logging.getLogger("regenerator")


class Dashboard:
    """Shows what the regenerator does, in a process of its own.

    All work is done on a thread: whoever tells never waits, and only the newest state is sent.
    """

    def __init__(
        self,
        begin: Begin,
        *,
        sockets: Iterable[socket.socket],
        families: Callable[[], Iterable[Any]],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        """Starts nothing yet.

        Args:
            begin: The first message.
            sockets: What it inherits; ``begin`` names their descriptors.
            families: Collects the regenerator's own metrics.
        """
        self._begin = begin
        self._inherited = [one.fileno() for one in sockets]
        self._families = families
        self._clock = clock
        self._now = now
        self._rng = rng or random.Random()  # noqa: S311 - spreads tries, guards nothing
        self._changed = threading.Condition()
        self._state: State | None = None
        self._ended: tuple[Entry, ...] = ()
        self._is_told = True
        self._fault = self._resumed = ""
        self._etcd_fault, self._etcd_since = "", 0.0
        self._is_stopping = False
        self._child: subprocess.Popen[bytes] | None = None
        self._pause_s = AGAIN_S[0]
        self.starts = 0
        self._thread = threading.Thread(target=self._run, name="dashboard", daemon=True)

    def start(self) -> None:
        """Begin to show."""
        run = self._begin.settings.state / "run"
        if not (run / DASHBOARD).exists():
            # until there is one, nginx is to be refused, and not to miss a file
            bound(run, DASHBOARD).close()
        self._thread.start()

    def stop(self) -> None:
        """End it; what it has been told is in its history by then, unless it is stuck."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join(STOP_S)
        if (child := self._child) is not None:
            child.kill()
            child.wait()
        (self._begin.settings.state / "run" / DASHBOARD).unlink(missing_ok=True)

    def tell(self, state: State, *, ended: tuple[Entry, ...]) -> None:
        """Note what is served now."""
        with self._changed:
            self._state, self._is_told, self._fault = state, False, ""
            self._ended += ended
            self._changed.notify()

    def complain(self, fault: Exception) -> None:
        """Note why the newest change is not served."""
        with self._changed:
            self._fault = str(fault)
            self._changed.notify()

    def tell_resumed(self, generation: str) -> None:
        """Note what is served from disk."""
        with self._changed:
            self._resumed = generation

    def tell_trouble(self, fault: Exception | None) -> None:
        """Note why etcd does not answer; None as soon as it does."""
        with self._changed:
            said = str(fault or "")
            if bool(said) != bool(self._etcd_fault) or not self._etcd_since:
                self._etcd_since = self._now()
            self._etcd_fault = said

    def _run(self) -> None:
        while True:
            began_at = self._clock()
            # it has ended, or is stuck: both are told below
            with suppress(OSError):
                self._show()
            self._end_child()
            if self._is_stopping:
                return
            if self._clock() - began_at > WELL_S:
                self._pause_s = AGAIN_S[0]
            log.warning("the dashboard has ended; starting it again")
            with self._changed:
                pause_s = vary(self._pause_s, self._rng)
                self._changed.wait_for(lambda: self._is_stopping, pause_s)
            self._pause_s = min(2 * self._pause_s, AGAIN_S[1])

    def _show(self) -> None:
        """Start one and feed it until it ends, or we do.

        Raises:
            OSError: It takes nothing in any more, or could not be started.
        """
        ours, its = socket.socketpair()
        with ours, its:
            seconds = struct.pack("ll", int(STUCK_S), 0)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WAITING_BYTES)
            self._start_child(its)
            its.close()
            # the connection closes what it has
            with Connection(os.dup(ours.fileno())) as feed:
                feed.send(self._begin)
                self._feed(feed)

    def _start_child(self, feed: socket.socket) -> None:
        self.starts += 1
        self._child = subprocess.Popen(
            # the folder says whose it is, to people and to the next regenerator
            [sys.executable, *_PROGRAM, str(feed.fileno()), str(self._begin.settings.state)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[feed.fileno(), *self._inherited],
        )

    def _feed(self, feed: Connection) -> None:
        sender = Sender()
        is_first = True
        pulse_at = 0.0
        while True:
            with self._changed:
                wait_s = max(0.0, pulse_at - self._clock())
                self._changed.wait_for(lambda: self._is_stopping or not self._is_told, wait_s)
                if self._is_stopping:
                    return
                state, ended = self._state, self._ended
                is_new = state is not None and (is_first or not self._is_told)
                if is_new:
                    self._is_told, self._ended = True, ()
                pulse = self._pulse()
            if state is not None and is_new:
                try:
                    feed.send(sender.served(state, ended=ended))
                except OSError:
                    # the next one is told all of it, but for what is not there any more
                    with self._changed:
                        self._ended = ended + self._ended
                    raise
                is_first = False
            # with each state, too: what keeps it from being the newest goes with it
            feed.send(pulse)
            pulse_at = self._clock() + PULSE_S
            if self._child is not None and self._child.poll() is not None:
                return

    def _pulse(self) -> Pulse:
        return Pulse(
            self._now(),
            self._fault,
            self._etcd_fault,
            self._etcd_since,
            tuple(self._families()),
            self._resumed,
        )

    def _end_child(self) -> None:
        """See that it is gone: its feed has ended, which it takes for a wish to end."""
        if (child := self._child) is None:
            return
        with suppress(subprocess.TimeoutExpired):
            child.wait(STOP_S / 2)
        child.kill()
        child.wait()
        self._child = None


def end_left_behind(state: Path, *, within_s: float = LEFT_S) -> None:
    """See that no dashboard is left of an earlier regenerator: it has the addresses that ours gets.

    Its feed has ended, so it ends as well; one that was stopped has to be woken for that.

    Args:
        state: The folder's lock is held by the caller, so none of them belongs to one that lives.
        within_s: Then it is killed.
    """
    found = _left_behind(state)
    if not found:
        return
    log.info("waiting for the dashboard of an earlier regenerator to end")
    left = processes.end(found, signal.SIGCONT, within_s=within_s)
    if left:
        log.warning("the dashboard of an earlier regenerator does not end; killing it")
        processes.end(left, signal.SIGKILL, within_s=KILLED_S)


def _left_behind(state: Path) -> list[int]:
    """The dashboards that were started on a folder, as far as we may ask."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        # gone, or somebody else's
        with suppress(OSError):
            arguments = processes.arguments(int(process.name))
            # elsewhere than in our container another folder may be called so
            if arguments[1:-2] == _PROGRAM and (
                Path(f"{process}/root{arguments[-1]}").samefile(state)
            ):
                found.append(int(process.name))
    return found
