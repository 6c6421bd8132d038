"""nginx workers killed: only what was in flight in the killed one may fail.

Which connections a worker has is read from the kernel while the worker is frozen, just before it
is killed: so a failed request can be told to have been the killed worker's own, or not.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.torture.clients import Failure
from tests.torture.load import Load, between, examples
from tests.torture.place import WORKERS, Place, hosts, place, until
from tests.torture.run import Run
from tests.torture.table import Line

ASKED = 24

BETWEEN_S = 0.5
"""Between two kills: all clients but the idle ones are back on some worker by then."""

GONE_S = 5.0


@dataclass(frozen=True, slots=True)
class Kill:
    """One killed worker.

    Attributes:
        began_at: When it was frozen.
        gone_at: When it was seen to be gone, and its connections with it.
        ports: The clients' ends of its connections.
    """

    began_at: float
    gone_at: float
    ports: frozenset[int]

    def explains(self, failure: Failure) -> bool:
        """Whether the request was in flight in this worker when it was killed."""
        was_sent = failure.sent_at <= self.gone_at and failure.at >= self.began_at
        return was_sent and failure.port in self.ports


def measure(run: Run) -> Iterator[Line]:
    """Kill one worker after the other."""
    kills = run.counts.kills
    run.say(f"workers: {kills} killed")
    with place(run.new_folder("workers")) as at:
        numbers = range(ASKED)
        at.frontend.wait_for(at.write_by_hand(numbers))
        # so that no request goes by way of two workers
        until(lambda: len(at.frontend.workers()) == WORKERS, within_s=30)
        with Load(at.frontend.port, hosts(numbers)) as load:
            time.sleep(BETWEEN_S)
            before = load.tally()
            done = [_kill(at) for _ in range(kills)]
            took_s, found = load.since_s, between(before, load.tally())
    others = [one for one in found.failures if not any(kill.explains(one) for kill in done)]
    held = sum(len(kill.ports) for kill in done)
    yield Line(
        f"{kills} nginx workers killed -9",
        "only requests in flight in the killed worker fail",
        f"{len(others)} others of {found.asked:,} failed ({found.asked / took_s:.0f}/s)"
        f"{examples(others)}; {len(found.failures) - len(others)} in flight in a killed worker"
        f" failed, of {held} connections that they had",
        not others,
        found.wrong,
        found.asked,
    )


def _kill(at: Place) -> Kill:
    victim = max(at.frontend.workers(), key=lambda pid: len(_ports(at, *_look(pid))))
    began_at = time.monotonic()
    os.kill(victim, signal.SIGSTOP)
    until(lambda: _state(victim) == "T", within_s=GONE_S, every_s=0.001)
    # read now and understood later: it should not be frozen for longer than it must
    seen = _look(victim)
    os.kill(victim, signal.SIGKILL)
    # a process loses its title before its connections; they are closed once it is a zombie
    until(lambda: _state(victim) in {"", "Z"}, within_s=GONE_S, every_s=0.001)
    gone_at = time.monotonic()
    until(lambda: len(at.frontend.workers()) == WORKERS, within_s=GONE_S)
    time.sleep(BETWEEN_S)
    return Kill(began_at, gone_at, frozenset(_ports(at, *seen)))


def _state(pid: int) -> str:
    """The kernel's letter for what a process does; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return ""


def _look(pid: int) -> tuple[set[str], str]:
    """What a process has open, and all TCP connections of the machine."""
    folder = f"/proc/{pid}/fd"
    opened = set()
    for name in os.listdir(folder):  # noqa: PTH208 - a fifth of the time
        with suppress(OSError):
            opened.add(os.readlink(f"{folder}/{name}"))  # noqa: PTH115 - likewise
    return opened, Path("/proc/net/tcp").read_text()


def _ports(at: Place, opened: set[str], table: str) -> set[int]:
    """The other ends of the connections that clients have to a process.

    Source:
        Linux, Documentation/networking/proc_net_tcp.rst: a line is slot, own end, other end, and
        so on; the tenth field is the inode.
    """
    listens = f":{at.frontend.port:04X}"
    lines = map(str.split, table.splitlines()[1:])
    return {
        int(fields[2].rpartition(":")[2], 16)
        for fields in lines
        if fields[1].endswith(listens) and f"socket:[{fields[9]}]" in opened
    }
