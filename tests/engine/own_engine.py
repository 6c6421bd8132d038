"""A Docker engine that a test may stop, kill and start again: ``dockerd`` on a folder of its own.

It needs root, and shares nothing with the engine of the environment but the machine: data, sockets
and bridge are its own, and no rule of the firewall is touched.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import docker
from docker.utils import parse_repository_tag

from tests.etcd_server import wait_until

DOCKERD = shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or ""

READY_S = 60.0
"""An engine starts in a second, and takes longer over containers that it has to start again."""

STOP_S = 30.0
"""It ends its containers first."""


class OwnEngine:
    """One ``dockerd``, with a containerd of its own. Its containers are in the network ``bridge``.

    Attributes:
        url: Where it listens, as ``DOCKER_HOST``.
    """

    def __init__(self) -> None:
        """Starts nothing yet."""
        # short: the path of a socket has 108 characters at most
        self.folder = Path(tempfile.mkdtemp(prefix="bfe-", dir="/tmp"))
        self.url = f"unix://{self.folder}/docker.sock"
        number = secrets.randbelow(250)
        self._bridge = f"bfe{secrets.token_hex(3)}"
        self._address = f"10.213.{number}.1/24"
        self._process: subprocess.Popen[bytes] | None = None
        self._client: docker.DockerClient | None = None

    def __enter__(self) -> Self:
        _run("ip", "link", "add", self._bridge, "type", "bridge")
        _run("ip", "address", "add", self._address, "dev", self._bridge)
        _run("ip", "link", "set", self._bridge, "up")
        try:
            self.start()
        except BaseException:
            self._clear()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clear()

    @property
    def client(self) -> docker.DockerClient:
        """Asks it."""
        if self._client is None:
            self._client = docker.DockerClient(self.url, version="1.41", timeout=60)
        return self._client

    def copy_image(self, other: docker.DockerClient, name: str) -> None:
        """Have an image that another engine has."""
        [image] = self.client.images.load(b"".join(other.images.get(name).save()))
        image.tag(*parse_repository_tag(name))

    def start(self, *, wait: bool = True) -> None:
        """Start it if it does not run, and wait until it answers."""
        if self._process is not None:
            return
        folder = self.folder
        (folder / "pid").unlink(missing_ok=True)
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(DOCKERD, "--host", self.url, "--data-root", str(folder / "data")),
                    *("--exec-root", str(folder / "exec"), "--pidfile", str(folder / "pid")),
                    *("--bridge", self._bridge, "--iptables=false", "--ip-masq=false"),
                    *("--ip-forward=false", "--log-level", "warn"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until it answers."""

        def answers() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "log").read_text()[-3000:]
            # by hand: the SDK leaves the socket open of a connection that is refused
            with suppress(OSError), socket.socket(socket.AF_UNIX) as link:
                link.settimeout(READY_S)
                link.connect(f"{self.folder}/docker.sock")
                link.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in link.recv(100)
            return False

        wait_until(answers, within_s=READY_S)

    def stop(self) -> None:
        """SIGTERM: it ends its containers, and then itself."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9: its containers go on, without anybody who looks after them."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            if self._client is not None:
                # its connections are of no use any more; it makes others
                self._client.close()
            if process.poll() is None:
                process.send_signal(number)
            process.wait(STOP_S)
            # it dies with the engine. The next engine would wait for it in vain, even where it is
            # dead and not buried yet
            wait_until(lambda: not self._has_containerd(), within_s=STOP_S)
            (self.folder / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)

    def _has_containerd(self) -> bool:
        commands = [Path(f"/proc/{pid}/cmdline") for pid in self._started()]
        for command in commands:
            with suppress(OSError):
                if command.read_bytes().startswith((b"containerd\0", b"/usr/bin/containerd\0")):
                    return True
        return False

    def _clear(self) -> None:
        """End all that is left, wherever a test has stopped, and take everything away."""
        try:
            self._end(signal.SIGTERM)
        except subprocess.TimeoutExpired:
            self._end(signal.SIGKILL)
        if self._client is not None:
            self._client.close()
        # containers outlive an engine that was killed, and hold on to mounts
        wait_until(self._is_alone, within_s=STOP_S)
        for mount in reversed(self._mounts()):
            _run("umount", "--lazy", mount)
        _run("ip", "link", "delete", self._bridge)
        for _ in range(3):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                break
            time.sleep(0.2)

    def _is_alone(self) -> bool:
        """Whether nothing runs any more that this engine has started; ends what does."""
        pids = self._started()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids

    def _started(self) -> list[int]:
        """Processes that name our folder, and those that they have started: containers."""
        parents: dict[int, int] = {}
        found = set()
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, ValueError):
                pid = int(folder.name)
                if (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    continue
                parents[pid] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if str(self.folder).encode() in (folder / "cmdline").read_bytes():
                    found.add(pid)
        found -= {os.getpid()}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found)

    def _mounts(self) -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        points = [line.split()[4] for line in lines]
        return [point for point in points if point.startswith(f"{self.folder}/")]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
