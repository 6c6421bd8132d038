"""Which TCP connections a port still has, read from the kernel's own tables. The parser is pure.

Shape:
    A line of ``/proc/net/tcp``: ``0: 0100007F:1F90 00000000:0000 0A …``: slot, own address and
    port in hexadecimal, the other end, state.

Source:
    Linux, Documentation/networking/proc_net_tcp.rst; states in include/net/tcp_states.h.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))

ESTABLISHED = "01"
LISTEN = "0A"

FIELDS_LEAST = 4

LOOK_S = 0.05
"""Between two looks at the open connections."""


class Connections(NamedTuple):
    """What one port has.

    Attributes:
        listens: Somebody takes new connections.
        established: How many connections are open.
    """

    listens: bool
    established: int


def parse_connections(table: str, *, port: int) -> Connections:
    """Read one table; a line that is none is left out."""
    states = [
        fields[3]
        for fields in map(str.split, table.splitlines()[1:])
        if len(fields) >= FIELDS_LEAST and fields[1].rpartition(":")[2] == f"{port:04X}"
    ]
    return Connections(LISTEN in states, states.count(ESTABLISHED))


def read_connections(port: int, *, tables: Iterable[Path] = TABLES) -> Connections | None:
    """What a port has in our network namespace; None where that cannot be read."""
    found: list[Connections] = []
    for path in tables:
        try:
            found.append(parse_connections(path.read_text(encoding="ascii"), port=port))
        except (OSError, UnicodeDecodeError):
            # without IPv6 in the kernel there is no tcp6; without /proc there is neither
            continue
    if not found:
        return None
    return Connections(any(one.listens for one in found), sum(one.established for one in found))


def wait_idle(
    look: Callable[[], Connections | None],
    *,
    sees_all: bool,
    within_s: float,
    wait: Callable[[float], bool],
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Wait until no request can be in flight; says whether that is so.

    Args:
        sees_all: Whoever sees nobody listen sees the right port all the same: nobody does.
        within_s: Where connections stay, or cannot be seen, it takes as long as this.
        wait: Given the seconds; what is true ends the waiting early.
    """
    give_up_at = clock() + within_s
    while (left_s := give_up_at - clock()) > 0:
        found = look()
        if found is not None and (sees_all or found.listens) and not found.established:
            return True
        if wait(min(LOOK_S, left_s)):
            return False
    return False
