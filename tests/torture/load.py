"""The clients' process, seen from the one who hurts things meanwhile."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from tests.torture.clients import Crowd, Failure, Tally
from tests.torture.origin import ROOT

BUSY = 24
IDLE = 48
"""Most connections of people are idle."""

PAUSE_S = 0.05
"""Of a busy client: with the answers' own time about 400 requests a second from 24 clients, which
leaves most of two cores to what is tortured."""

END_S = 10.0
"""It ends in milliseconds."""


class Load:
    """Clients at work for as long as it is entered."""

    def __init__(
        self,
        port: int,
        hosts: Mapping[str, str],
        *,
        busy: int = BUSY,
        idle: int = IDLE,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._crowd = Crowd(port, busy, idle, pause_s, hosts)
        self._process: subprocess.Popen[str] | None = None
        self._began_at = 0.0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.clients"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._say(self._crowd.dump())
        self._order("tally")
        self._began_at = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate(timeout=END_S)

    @property
    def since_s(self) -> float:
        """For how long they have been asking."""
        return time.monotonic() - self._began_at

    def tally(self) -> Tally:
        """What came of all requests so far."""
        return self._order("tally")

    def lead(self, hosts: Mapping[str, str]) -> None:
        """Let all clients ask for these hosts from now on."""
        self._order("lead", hosts=hosts)

    def pause(self) -> None:
        """Let all clients finish what they ask, and hang up."""
        self._order("pause")

    def resume(self) -> Tally:
        """Let them go on, each on a new connection; gives what had come of all until now."""
        return self._order("resume")

    def _order(self, do: str, **more: Any) -> Tally:
        self._say(json.dumps({"do": do, **more}))
        assert self._process is not None
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said, "the clients have ended; what they said stands above"
        return Tally.parse(json.loads(said))

    def _say(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()


def between(before: Tally, after: Tally) -> Tally:
    """What came of the requests between two looks."""
    return Tally(
        after.asked - before.asked,
        after.failed - before.failed,
        after.cut - before.cut,
        after.wrong - before.wrong,
        after.failures[len(before.failures) :],
    )


def shown(tally: Tally, *, for_s: float) -> str:
    """A tally as a cell: ``0 of 12,345 failed, 400/s``, and what happened to the first ones."""
    failed = tally.failed + tally.cut
    text = f"{failed} of {tally.asked:,} failed ({tally.asked / for_s:.0f}/s)"
    if tally.cut:
        text += f", {tally.cut} of them idle connections cut without a word"
    return text + examples(tally.failures)


def examples(failures: Sequence[Failure]) -> str:
    """The first few failures in words, to be put behind a figure."""
    return "".join(f"; {failure}" for failure in failures[:3])
