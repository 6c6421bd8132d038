"""The one module that runs nginx: start, take over, check, reload, ask, stop."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from regenerator import processes
from registry.faults import ConfigRejected, NginxDown

TEST_S = 30.0
"""For ``nginx -t``: 20,000 blocks took 1.5 s on two cores; a hanging disk must not hang us."""

START_S = 15.0
"""Until a started nginx answers: 0.5 s at 10,000 routes; it retries a taken port for 2.5 s."""

STOP_S = 3.0
"""For requests in flight when all is stopped; what is left then is cut off."""

POLL_S = 0.005
"""Between two looks at what cannot be waited for; an answer on the unix socket takes 0.2 ms."""

_RETIRING = "shutting down"


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
        with (self._state / "logs" / "nginx.out").open("wb") as out:
            self._child = subprocess.Popen(
                self._command(),
                cwd=self._state,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        self._master = self._child.pid
        give_up_at = time.monotonic() + START_S
        while not self.serving():
            if not self.is_alive() or time.monotonic() > give_up_at:
                self.end_group()
                raise NginxDown(f"nginx does not start: {self._last_words()}")
            time.sleep(POLL_S)

    def _command(self) -> list[str]:
        prefix = ["-p", str(self._state), "-c", "conf.d/nginx.conf"]
        return [self._binary, *prefix, "-e", "stderr", "-g", "daemon off;"]

    def take_over(self) -> bool:
        """Take an nginx that an earlier regenerator left serving; say whether there is one."""
        master = self._written_pid()
        called = processes.title(master) if master else ""
        if "nginx: master" not in called or f"-p {self._state} " not in called:
            return False
        if self.serving():
            self._child, self._master = None, master
        return bool(self._master)

    def is_alive(self) -> bool:
        """Whether the master runs."""
        if self._child is not None:
            return self._child.poll() is None
        return bool(self._master) and "nginx: master" in processes.title(self._master)

    def serving(self) -> str:
        """The generation that nginx answers with on a new connection; empty if it does not."""
        # by way of the folder's descriptor: its path may be too long for a socket
        folder = os.open(self._state / "run", os.O_RDONLY | os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(1.0)  # nothing but a stuck nginx needs longer
                link.connect(f"/proc/self/fd/{folder}/marker.sock")
                link.sendall(b"GET /generation HTTP/1.0\r\n\r\n")
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
        return {pid for pid in own if _RETIRING not in processes.title(pid)}

    def retiring(self) -> set[int]:
        """The workers of older generations that still serve a connection."""
        own = processes.children(self._master) if self._master else []
        return {pid for pid in own if _RETIRING in processes.title(pid)}

    def reload(self) -> None:
        """Ask it to read the linked generation; whether it did is another question."""
        os.kill(self._master, signal.SIGHUP)

    def stop(self) -> None:
        """Stop it: requests in flight get ``STOP_S``, then all of it ends."""
        if self.is_alive():
            os.kill(self._master, signal.SIGQUIT)
            give_up_at = time.monotonic() + STOP_S
            while self.is_alive() and time.monotonic() < give_up_at:
                time.sleep(POLL_S)
        self.end_group()

    def end_group(self) -> None:
        """End the master and its workers, orphans of a killed master too, and their sockets.

        Orphans hold the port and go on serving what they had; a socket file that nobody listens
        on keeps a new master from starting just as well.
        """
        leader = self._master or self._written_pid()
        members = [pid for pid in processes.group(leader) if "nginx: " in processes.title(pid)]
        for ending in (signal.SIGTERM, signal.SIGKILL):
            members = _end(members, ending)
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        self._child, self._master = None, 0
        for path in (self._state / "run").glob("*.sock"):
            path.unlink(missing_ok=True)

    def _written_pid(self) -> int:
        try:
            return int((self._state / "run" / "nginx.pid").read_text())
        except (OSError, ValueError):
            return 0

    def _last_words(self) -> str:
        for name in ("nginx.out", "error.log"):
            try:
                lines = (self._state / "logs" / name).read_text(errors="replace").splitlines()
            except OSError:
                continue
            telling = [line for line in lines if "[emerg]" in line] or lines[-1:]
            if telling:
                return telling[0].partition("[emerg] ")[2] or telling[0]
        return "it said nothing"


def _end(pids: list[int], ending: signal.Signals) -> list[int]:
    """Signal processes and give them half a second; returns those that are left."""
    for pid in pids:
        try:
            os.kill(pid, ending)
        except ProcessLookupError:
            continue
    give_up_at = time.monotonic() + 0.5  # a worker that is told to end does so in milliseconds
    while any(map(processes.title, pids)) and time.monotonic() < give_up_at:
        time.sleep(POLL_S)
    return [pid for pid in pids if processes.title(pid)]
