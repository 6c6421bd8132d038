"""The registrars of a simulation, seen from outside: started, told to leave, asked about."""

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from benchmarks.frontend import ROOT
from benchmarks.members import cpu_s
from benchmarks.processes import BenchmarkFault
from benchmarks.registrars import Crew, Instance
from registry.etcd import EtcdSettings

PROCESSES = 4
"""Python computes on one core a process; more than a few only wait for two cores."""

ANSWER_WITHIN_S = 60.0
"""A process with a thousand registrars in it is slow to answer while all of them start."""


LOOK_EVERY_S = 0.5
"""Asking costs the registrars' processes some milliseconds, and does not change what they say."""


class Told(NamedTuple):
    """What one registrar says of itself.

    Attributes:
        back_at: When its lease was first refreshed, and its key looked at, since ``forget``; 0 for
            not yet.
        leases: How many it has had.
    """

    back_at: float
    leases: int


class Fleet:
    """Registrars in a few processes; all gone behind the ``with``.

    Attributes:
        left_at: When each that was told to leave was done, on the monotonic clock.
    """

    def __init__(
        self, settings: EtcdSettings, instances: Mapping[int, Instance], *, ttl_s: int
    ) -> None:
        """Starts nothing yet.

        Args:
            instances: What each registers, by number.
        """
        self.left_at: dict[int, float] = {}
        self._settings = settings
        self._instances = instances
        self._ttl_s = ttl_s
        self._children: list[subprocess.Popen[str]] = []
        self._answers: list[queue.SimpleQueue[str]] = []
        self._changed = threading.Condition()
        self._speaking = threading.Lock()

    def __enter__(self) -> Self:
        for share in range(PROCESSES):
            mine = {at: one for at, one in self._instances.items() if at % PROCESSES == share}
            child = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.registrars"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            answers: queue.SimpleQueue[str] = queue.SimpleQueue()
            self._children.append(child)
            self._answers.append(answers)
            threading.Thread(target=self._listen, args=(child, answers), daemon=True).start()
            etcd = self._settings
            crew = Crew(etcd.endpoints, etcd.user, etcd.password, self._ttl_s, mine)
            self._say(share, crew.dump())
        for share in range(PROCESSES):
            self._hear(share)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for child in self._children:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                # what was not written any more goes nowhere
                with suppress(OSError):
                    if pipe is not None:
                        pipe.close()

    def start(self, numbers: Iterable[int]) -> None:
        """Have registrars begin, all at once."""
        self._tell("start", numbers)

    def keep(self, numbers: Iterable[int]) -> None:
        """Have leases kept alive, without all that a registrar does at its start."""
        self._tell("keep", numbers)

    def leave(self, numbers: Iterable[int]) -> None:
        """Have registrars leave, as on SIGTERM."""
        self._tell("leave", numbers)

    def wait_left(self, numbers: Iterable[int], *, within_s: float) -> None:
        """Wait until they have."""
        wanted = set(numbers)
        with self._changed:
            if not self._changed.wait_for(lambda: wanted <= self.left_at.keys(), within_s):
                missing = len(wanted - self.left_at.keys())
                raise BenchmarkFault(f"{missing} registrars did not leave within {within_s:g} s")

    def ask(self) -> dict[int, Told]:
        """What all say of themselves that were started and have not left."""
        found: dict[int, Told] = {}
        for share in range(PROCESSES):
            self._say(share, "tell")
        for share in range(PROCESSES):
            for number, told in json.loads(self._hear(share)).items():
                found[int(number)] = Told(*told)
        return found

    def forget(self) -> None:
        """Have each note anew when it gets through."""
        for share in range(PROCESSES):
            self._say(share, "forget")

    def wait_back(self, *, within_s: float) -> float:
        """Wait until every registrar has got through since ``forget``; when the last one did."""
        give_up_at = time.monotonic() + within_s
        back_at: list[float] = []
        while time.monotonic() < give_up_at:
            back_at = [told.back_at for told in self.ask().values()]
            if all(back_at):
                return max(back_at)
            time.sleep(LOOK_EVERY_S)
        missing = back_at.count(0.0)
        raise BenchmarkFault(f"{missing} registrars were not back within {within_s:g} s")

    def cpu_s(self) -> float:
        """Processor time that all of them have taken."""
        return sum(cpu_s(child.pid) for child in self._children)

    def _tell(self, what: str, numbers: Iterable[int]) -> None:
        wanted = list(numbers)
        for share in range(PROCESSES):
            mine = [number for number in wanted if number % PROCESSES == share]
            if mine:
                self._say(share, f"{what} {' '.join(map(str, mine))}")

    def _say(self, share: int, line: str) -> None:
        pipe = self._children[share].stdin
        if pipe is None:
            raise BenchmarkFault("the registrars have no stdin")
        with self._speaking:
            pipe.write(f"{line}\n")
            pipe.flush()

    def _hear(self, share: int) -> str:
        try:
            line = self._answers[share].get(timeout=ANSWER_WITHIN_S)
        except queue.Empty:
            line = ""
        if not line:
            raise BenchmarkFault("a process with registrars does not answer; see above")
        return line

    def _listen(self, child: "subprocess.Popen[str]", answers: "queue.SimpleQueue[str]") -> None:
        """Take what a process says: who has left, and answers."""
        with suppress(ValueError):
            for line in child.stdout or ():
                if line.startswith("left "):
                    _, number, at = line.split()
                    with self._changed:
                        self.left_at[int(number)] = float(at)
                        self._changed.notify_all()
                else:
                    answers.put(line)
        answers.put("")
