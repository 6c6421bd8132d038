"""The one module that runs nginx: start, take over, check, reload, ask, stop."""

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from regenerator import processes
from regenerator.error_log import ErrorLog, grave
from regenerator.processes import POLL_S
from registry.faults import ConfigRejected, NginxDown

TEST_S = 30.0
"""For ``nginx -t``: 20,000 blocks took 1.5 s on two cores; a hanging disk must not hang us."""

START_S = 15.0
"""Until a started nginx answers: 0.5 s at 10,000 routes; it retries a taken port for 2.5 s."""

STOP_S = 3.0
"""For requests in flight when all is stopped; what is left then is cut off."""

LOG_MOST_BYTES = 64 << 20
"""About 150,000 requests in the access log; with the one before it twice as much."""

DASHBOARD = "dashboard.sock"
"""Among nginx's sockets, the one that it only calls; see ``dashboard``."""

_RETIRING = "shutting down"
_LINKED = "conf.d/nginx.conf"


class Nginx:
    """One nginx below one state folder, in a process group of its own.

    The folder is its prefix and its working directory, so that every path in its configuration
    is short: a unix socket's may not be longer than 107 characters.
    """

    def __init__(self, binary: str, state: Path) -> None:
        self._binary = binary
        self._state = state
        self._child: subprocess.Popen[bytes] | None = None
        self._master = 0
        self._error_log = ErrorLog(state / "logs" / "error.log")

    def version(self) -> str:
        """What ``nginx -v`` says.

        Raises:
            NginxDown: It cannot be run.
        """
        try:
            done = subprocess.run(
                [self._binary, "-v"], capture_output=True, text=True, check=False, timeout=TEST_S
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise NginxDown(f"{self._binary} cannot be run: {exc}") from exc
        return done.stderr.strip()

    def test(self, folder: Path) -> None:
        """Let nginx check a configuration, away from what serves.

        Raises:
            ConfigRejected: It refused; nothing changed.
        """
        # a prefix of its own: the check leaves an empty pid file and makes logs
        arguments = ["-t", "-q", "-p", str(self._state / "check"), "-c", str(folder / "nginx.conf")]
        try:
            done = subprocess.run(
                [self._binary, *arguments, "-e", "stderr"],
                cwd=self._state / "check",
                env=_environ(),
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=TEST_S,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise ConfigRejected(f"{self._binary} could not check it: {exc}") from exc
        if done.returncode:
            raise ConfigRejected(" ".join(done.stderr.split()) or f"exit code {done.returncode}")

    def start(self) -> None:
        """Start it on the linked generation, after whatever an earlier one left behind has ended.

        Raises:
            NginxDown: It ended at once, or does not answer.
        """
        self.end_group()
        self._error_log.mark()
        try:
            with (self._state / "logs" / "nginx.out").open("wb") as out:
                self._child = subprocess.Popen(
                    self._command(),
                    cwd=self._state,
                    env=_environ(),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    process_group=0,
                )
        except OSError as exc:
            raise NginxDown(f"nginx cannot be started: {exc}") from exc
        self._master = self._child.pid
        give_up_at = time.monotonic() + START_S
        while not self.serving():
            if not self.is_alive() or time.monotonic() > give_up_at:
                self.end_group()
                raise NginxDown(f"nginx does not start: {self._last_words()}")
            time.sleep(POLL_S)

    def _command(self) -> list[str]:
        prefix = ["-p", str(self._state), "-c", _LINKED]
        return [self._binary, *prefix, "-e", "stderr", "-g", "daemon off;"]

    def take_over(self) -> bool:
        """Take an nginx that an earlier regenerator left serving; say whether there is one."""
        masters = [pid for pid in self._left_behind() if "nginx: master" in processes.title(pid)]
        if not masters or not self.serving():
            return False
        self._child, self._master = None, masters[0]
        return True

    def is_alive(self) -> bool:
        """Whether the master runs."""
        if self._child is not None:
            return self._child.poll() is None
        return bool(self._master) and "nginx: master" in processes.title(self._master)

    def is_leaving(self) -> bool:
        """Whether the master was told to quit: it lives for its last streams, and accepts nothing.

        Between a worker's death and its successor nobody accepts either, but then the socket is
        there, and the successor answers.
        """
        return self.is_alive() and not self.workers() and not self.serving()

    def serving(self) -> str:
        """The generation that nginx answers with on a new connection; empty if it does not.

        For about 100 ms after a reload that may be the one before.
        """
        return self._ask("marker")

    def answers(self, generation: str) -> bool:
        """Whether workers of this generation accept connections."""
        return self._ask(generation) == generation

    def _ask(self, name: str) -> str:
        # by way of the folder's descriptor: its path may be too long for a socket
        folder = os.open(self._state / "run", os.O_RDONLY | os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(1.0)  # nothing but a stuck nginx needs longer
                link.connect(f"/proc/self/fd/{folder}/{name}.sock")
                link.sendall(b"GET /generation HTTP/1.0\r\nHost: marker\r\n\r\n")
                answer = b"".join(iter(lambda: link.recv(4096), b""))
        except OSError:
            return ""
        finally:
            os.close(folder)
        head, _, body = answer.partition(b"\r\n\r\n")
        return body.decode("ascii", "replace") if head.startswith(b"HTTP/1.1 200") else ""

    def workers(self) -> set[int]:
        """The workers that accept connections."""
        own = processes.children(self._master) if self._master else []
        # one that died and has no successor yet has no title
        return {pid for pid in own if (called := processes.title(pid)) and _RETIRING not in called}

    def retiring(self) -> set[int]:
        """The workers of older generations that still serve a connection."""
        own = processes.children(self._master) if self._master else []
        return {pid for pid in own if _RETIRING in processes.title(pid)}

    def reload(self) -> None:
        """Ask it to read the linked generation; whether it did is another question."""
        self._error_log.mark()
        self._signal(signal.SIGHUP)

    def rotate_logs(self) -> None:
        """Put a log of the state folder aside that has grown too large, in place of the last one.

        nginx bounds none of its logs, and a disk that is full serves nobody.
        """
        large = [log for log in (self._state / "logs").glob("*.log") if _size(log) > LOG_MOST_BYTES]
        for log in large:
            with suppress(OSError):
                log.replace(log.with_name(f"{log.name}.1"))
        if large:
            self._signal(signal.SIGUSR1)

    def objection(self) -> str:
        """Why nginx stays with its old configuration; empty while it is still trying."""
        said = self._error_log.grave()
        return said[0] if any(not line.startswith("bind() to") for line in said) else ""

    def stop(self) -> None:
        """Stop it: requests in flight get ``STOP_S``, then all of it ends."""
        if self.is_alive():
            self._signal(signal.SIGQUIT)
            give_up_at = time.monotonic() + STOP_S
            while self.is_alive() and time.monotonic() < give_up_at:
                time.sleep(POLL_S)
        self.end_group()

    def end_group(self) -> None:
        """End the master and its workers, orphans of a killed master too, and their sockets.

        Orphans hold the port and go on serving what they had; a socket file that nobody listens
        on keeps a new master from starting just as well.
        """
        own = processes.group(self._master) if self._master else []
        members = {*filter(_is_nginx, own), *self._left_behind()}
        left = list(members)
        for ending in (signal.SIGTERM, signal.SIGKILL):
            # told to end, a worker does so in milliseconds
            left = processes.end(left, ending, within_s=0.5)
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        processes.reap(members - {self._master})
        self._child, self._master = None, 0
        for path in (self._state / "run").glob("*.sock"):
            if path.name != DASHBOARD:
                path.unlink(missing_ok=True)

    def _left_behind(self) -> list[int]:
        """Whatever of nginx works in our folder.

        The pid file would not do: it may be gone, or name a process of somebody else by now.
        """
        return [pid for pid in processes.within(self._state) if _is_nginx(pid)]

    def _signal(self, number: signal.Signals) -> None:
        # it may have died this moment; whoever looks next sees that
        with suppress(ProcessLookupError):
            os.kill(self._master, number)

    def _last_words(self) -> str:
        said = (self._state / "logs" / "nginx.out").read_text(errors="replace").splitlines()
        return next(iter(grave(said) or self._error_log.grave() or said[-1:]), "it said nothing")


def bound(folder: Path, name: str) -> socket.socket:
    """A socket in a folder, by way of its descriptor: the path may be too long for it."""
    (folder / name).unlink(missing_ok=True)
    inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    link = socket.socket(socket.AF_UNIX)
    try:
        link.bind(f"/proc/self/fd/{inside}/{name}")
    except OSError:
        link.close()
        raise
    finally:
        os.close(inside)
    return link


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _environ() -> dict[str, str]:
    """Ours without ``NGINX``: nginx takes that for the sockets that an older one leaves it."""
    return {name: value for name, value in os.environ.items() if name != "NGINX"}


def _is_nginx(pid: int) -> bool:
    """Whether it is master, worker, or one that was started this moment and has no title yet."""
    called = processes.title(pid)
    return called.startswith("nginx: ") or f" {_LINKED} " in called
