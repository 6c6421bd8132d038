"""Clients that never repeat a request, in a process of their own: whatever breaks, counts.

Reads a ``Crowd`` from stdin, says ``ready`` once every client has had an answer, goes on until
stdin ends, and prints what was asked and what failed. A client keeps its connection, does not look
whether it is still there before it sends, and opens a new one only where the last answer said that
it would be closed: the strictest way to count.
"""

import http.client
import json
import random
import sys
import threading
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Self

ANSWER_WITHIN_S = 10.0
"""Loopback answers in a millisecond; ten seconds is what people wait before they reload."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who asks.

    Attributes:
        busy: Clients that ask again at once.
        thinking: Clients that think for up to ``think_s`` before they ask again.
        hosts: Host and the address that has to answer, drawn at random by each client at each
            request.
    """

    port: int
    busy: int
    thinking: int
    think_s: float
    hosts: tuple[tuple[str, str], ...]

    def dump(self) -> str:
        """As one line."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read the line."""
        fields = json.loads(line)
        return cls(**fields | {"hosts": tuple(map(tuple, fields["hosts"]))})


@dataclass(slots=True)
class Tally:
    """What came of the requests of one client.

    Attributes:
        failures: By what happened.
    """

    asked: int = 0
    failures: Counter[str] = field(default_factory=Counter)


def _ask_until(
    ended: threading.Event, crowd: Crowd, *, think_s: float, tally: Tally, rng: random.Random
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", crowd.port, timeout=ANSWER_WITHIN_S)
    while not ended.is_set():
        host, address = rng.choice(crowd.hosts)
        tally.asked += 1
        try:
            connection.request("GET", "/", headers={"Host": host})
            answer = connection.getresponse()
            body = answer.read().decode(errors="replace")
            if answer.status != 200:
                tally.failures[f"status {answer.status}"] += 1
            elif address not in body:
                tally.failures["another service answered"] += 1
        except (OSError, http.client.HTTPException) as exc:
            tally.failures[type(exc).__name__] += 1
            connection.close()
        if think_s:
            ended.wait(rng.uniform(0, think_s))
    connection.close()


def _main() -> None:
    crowd = Crowd.parse(sys.stdin.readline())
    ended = threading.Event()
    tallies = [Tally() for _ in range(crowd.busy + crowd.thinking)]
    threads = [
        threading.Thread(
            target=_ask_until,
            args=(ended, crowd),
            kwargs={
                "think_s": 0.0 if at < crowd.busy else crowd.think_s,
                "tally": tally,
                "rng": random.Random(at),
            },
        )
        for at, tally in enumerate(tallies)
    ]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.read()
    ended.set()
    for thread in threads:
        thread.join()
    failures = sum((tally.failures for tally in tallies), Counter[str]())
    print(json.dumps({"asked": sum(tally.asked for tally in tallies), "failures": failures}))


if __name__ == "__main__":
    _main()
