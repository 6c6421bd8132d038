"""Registers many instances as fast as it can, in a process of its own: the registrars' side.

Reads a ``Burst`` from stdin, says ``ready``, waits for a line, registers all of them, and prints
the revision and host of the last.
"""

import json
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Self

from benchmarks.store import KEYS, Planned
from registry.etcd import Etcd, EtcdSettings
from registry.keys import RouteKey
from registry.records import Address, InstanceRecord
from registry.registrations import Registrations

THREADS = 4
"""One waits for etcd while another computes; more only wait for each other."""

LEASE_S = 120
"""Longer than a run, which refreshes nothing."""


@dataclass(frozen=True, slots=True)
class Burst:
    """What one process is to register."""

    url: str
    routes: tuple[Planned, ...]

    def dump(self) -> str:
        """As one line."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read the line."""
        fields = json.loads(line)
        return cls(fields["url"], tuple(Planned(**route) for route in fields["routes"]))


def _main(lines: Iterable[str]) -> None:
    told = iter(lines)
    burst = Burst.parse(next(told))
    etcd = Etcd(EtcdSettings((burst.url,)), call_timeout_s=10)
    registrations = Registrations(etcd, keys=KEYS)
    known = registrations.standing()

    def register(route: Planned) -> tuple[int, str]:
        record = InstanceRecord(Address.parse(route.address))
        made = registrations.register(
            RouteKey(route.branch, route.service, f"host-{route.branch[-5:]}"),
            record,
            lease=etcd.grant(LEASE_S).id,
            default_service="web",
            known=known,
        )
        return made.revision, route.host

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda _: etcd.read(KEYS.root), range(THREADS)))  # opens the connections
        print("ready", flush=True)
        next(told)
        done = list(pool.map(register, burst.routes))
    registrations.settle_races(known)
    print(json.dumps(max(done)), flush=True)


if __name__ == "__main__":
    _main(sys.stdin)
