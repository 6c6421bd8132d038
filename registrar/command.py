"""COMMAND as a child, with the duties that a container's first process has towards it."""

import os
import signal
import threading
from collections.abc import Sequence

from registrar.probe_settings import LOGIN
from registrar.signals import IGNORED_BY_PYTHON
from registry.faults import CommandMissing, CommandNotExecutable

SIGNALLED = 128
"""What a shell adds to the number of the signal that ended a command."""


class Command:
    """A running command; stdin, stdout and the process group stay as they were given to us."""

    def __init__(self, arguments: Sequence[str]) -> None:
        """Start it.

        Raises:
            CommandMissing: Nothing was started.
            CommandNotExecutable: Nothing was started.
        """
        self.exit_code: int | None = None
        self._lock = threading.Lock()
        self._told_to_end = False
        name = arguments[0]
        try:
            self.pid = os.posix_spawnp(
                name,
                list(arguments),
                {name: text for name, text in os.environ.items() if name != LOGIN},
                setsigmask=(),
                setsigdef=IGNORED_BY_PYTHON,
            )
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise CommandMissing(f"command {name!r} was not found") from exc
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else str(exc)
            raise CommandNotExecutable(f"command {name!r} cannot be run: {reason}") from exc

    def send(self, number: int) -> None:
        """Pass a signal on; nothing happens if the command has ended."""
        with self._lock:
            self._send(number)

    def end(self) -> bool:
        """Send SIGTERM, unless it has got one from us; two threads may ask for it.

        Returns:
            Whether it was sent.
        """
        with self._lock:
            if self._told_to_end or self.exit_code is not None:
                return False
            self._send(signal.SIGTERM)
            return True

    def reap(self) -> None:
        """Bury every child that has ended: the command, and orphans that we inherited as PID 1."""
        with self._lock:
            while True:
                try:
                    pid, status = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    return
                if pid == 0:
                    return
                if pid == self.pid:
                    code = os.waitstatus_to_exitcode(status)
                    self.exit_code = code if code >= 0 else SIGNALLED - code

    def _send(self, number: int) -> None:
        # after it was reaped its number may be somebody else's
        if self.exit_code is None:
            os.kill(self.pid, number)
            self._told_to_end |= number == signal.SIGTERM
