"""Ports on loopback: whether one is free, who has it, and which one to take instead."""

import socket
import time
from contextlib import ExitStack, suppress
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL
from os import strerror
from pathlib import Path

from registry.faults import ProgramMissing
from standalone.processes import Process, all_processes

LOOPBACK = "127.0.0.1"

REFUSED = frozenset({*range(2375, 2381), 10250, *range(51678, 51681)})
"""Ports that a regenerator refuses as an address unless told otherwise: Docker's, etcd's, ECS's."""

POLL_S = 0.01
"""Between two looks at a port that somebody is leaving."""

PROC = Path("/proc")

_LISTEN = "0A"
"""A listening socket's state in /proc/net/tcp. Source: include/net/tcp_states.h of Linux."""


def check_free(port: int, *, flag: str, patience_s: float = 0.0) -> None:
    """Make sure that a program can listen on a port of loopback.

    Args:
        port: Which one.
        flag: What gives another one, for the sentence.
        patience_s: How long to wait for somebody who is just leaving.

    Raises:
        ProgramMissing: Somebody else has it, or it is not for us; says who and what to do.
    """
    give_up_at = time.monotonic() + patience_s
    for address in loopbacks():
        while (trouble := _bind(address, port)) == EADDRINUSE and time.monotonic() < give_up_at:
            time.sleep(POLL_S)
        if trouble == EADDRINUSE:
            holder = next(iter(holders(port)), None)
            by = f" by {holder}" if holder else ""
            raise ProgramMissing(f"port {port} is taken{by}; end that, or take another with {flag}")
        if trouble:
            why = "is for root alone" if trouble == EACCES else f"is refused ({strerror(trouble)})"
            raise ProgramMissing(f"port {port} {why}; take another with {flag}")


def loopbacks() -> tuple[str, ...]:
    """The addresses that ``localhost`` means to a browser; it asks whichever answers."""
    return (LOOPBACK, "::1") if not _bind("::1", 0) else (LOOPBACK,)


def _bind(address: str, port: int) -> int:
    """Listen for a moment; gives back what went wrong, 0 if nothing did."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            # as servers do: connections that have just ended do not count
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            probe.listen()
    except OSError as exc:
        return exc.errno or EADDRNOTAVAIL
    return 0


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, and that an instance may have."""
    with ExitStack() as held:
        found: list[int] = []
        while len(found) < count:
            # held until all are found, so that none comes twice
            probe = held.enter_context(socket.socket())
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
            if port not in REFUSED and not any(_bind(ip, port) for ip in loopbacks()[1:]):
                found.append(port)
        return found


def holders(port: int) -> list[Process]:
    """Who listens on a port; nobody where that cannot be seen (not Linux, or somebody else's)."""
    inodes = {
        f"socket:[{inode}]"
        for table in ("net/tcp", "net/tcp6")
        for inode in _listening(PROC / table, port)
    }
    if not inodes:
        return []
    return [process for process in all_processes() if inodes & _open_files(process.pid)]


def _listening(table: Path, port: int) -> list[str]:
    """Inodes of the sockets in ``/proc/net/tcp`` that listen on a port."""
    try:
        rows = [line.split() for line in table.read_text(encoding="ascii").splitlines()[1:]]
    except OSError:
        return []
    # columns: number, local address:port in hex, remote, state, …, inode
    return [
        row[9] for row in rows if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port
    ]


def _open_files(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):  # it has ended, or is somebody else's
        for file in (PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):  # this one was closed meanwhile
                found.add(str(file.readlink()))
    return found
