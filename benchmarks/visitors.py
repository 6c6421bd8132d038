"""Clients while instances come and go, in a process of their own: who answered them, and when last.

Reads ``Visits`` from stdin, says ``ready`` once it has begun, goes on until stdin ends, and prints
what was asked, what failed, and for each address when the last request began that it answered: one
later than the end of its registrar would have met a container that is gone. Nobody asks twice.
"""

import http.client
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Self

ANSWER_WITHIN_S = 10.0
"""Loopback answers in a millisecond; ten seconds is what people wait before they reload."""


@dataclass(frozen=True, slots=True)
class Visits:
    """Who asks for what.

    Attributes:
        clients: How many ask at the same time.
        think_s: Longest thought between two requests of one of them.
        hosts: With the addresses that may answer for each.
    """

    port: int
    clients: int
    think_s: float
    hosts: Mapping[str, tuple[str, ...]]

    def dump(self) -> str:
        """As one line."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read the line."""
        fields = json.loads(line)
        return cls(**fields | {"hosts": {at: tuple(to) for at, to in fields["hosts"].items()}})


@dataclass(slots=True)
class Visited:
    """What came of the requests of one client.

    Attributes:
        failures: By what happened.
        last_at: When the last request began that each address answered.
    """

    asked: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    last_at: dict[str, float] = field(default_factory=dict)


def _visit(ended: threading.Event, visits: Visits, *, visited: Visited, rng: random.Random) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", visits.port, timeout=ANSWER_WITHIN_S)
    hosts = list(visits.hosts)
    while not ended.is_set():
        host = rng.choice(hosts)
        visited.asked += 1
        began_at = time.monotonic()
        try:
            connection.request("GET", "/", headers={"Host": host})
            answer = connection.getresponse()
            body = answer.read().decode(errors="replace").strip()
            if answer.status != 200:
                visited.failures[f"status {answer.status}"] += 1
            elif body not in visits.hosts[host]:
                visited.failures["another service answered"] += 1
            else:
                visited.last_at[body] = began_at
        except (OSError, http.client.HTTPException) as exc:
            visited.failures[type(exc).__name__] += 1
            connection.close()
        ended.wait(rng.uniform(0, visits.think_s))
    connection.close()


def _main() -> None:
    visits = Visits.parse(sys.stdin.readline())
    ended = threading.Event()
    each = [Visited() for _ in range(visits.clients)]
    threads = [
        threading.Thread(
            target=_visit, args=(ended, visits), kwargs={"visited": one, "rng": random.Random(at)}
        )
        for at, one in enumerate(each)
    ]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.read()
    ended.set()
    for thread in threads:
        thread.join()
    last_at: dict[str, float] = {}
    for one in each:
        for address, at in one.last_at.items():
            last_at[address] = max(at, last_at.get(address, 0.0))
    failures = sum((one.failures for one in each), Counter[str]())
    asked = sum(one.asked for one in each)
    print(json.dumps({"asked": asked, "failures": failures, "last_at": last_at}))


if __name__ == "__main__":
    _main()
