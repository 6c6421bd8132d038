"""The registry under measurement: a real etcd on loopback, filled many routes at a time."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Child, answers, find_program, free_port, until
from registry.claims import new_labels
from registry.etcd import Etcd, EtcdSettings, Operation, put
from registry.keys import ClaimKey, Keyspace, RouteKey
from registry.records import Address, ClaimRecord, InstanceRecord

DOMAIN = "localhost"
SERVICE = "api"
KEYS = Keyspace()

ROUTES_EACH_WRITE = 60
"""A route is two keys, and etcd takes 128 operations in a transaction (--max-txn-ops)."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A route as it will be registered.

    Attributes:
        host: What it will be served under.
        address: ``ip:port`` of the service behind it, which is also what that service answers.
    """

    branch: str
    host: str
    address: str
    service: str = SERVICE


@dataclass(frozen=True, slots=True)
class Store:
    """A running etcd.

    Attributes:
        url: As in ``REGISTRY_URL``.
        endpoint: ``ip:port``, as Traefik wants it.
    """

    url: str
    endpoint: str
    etcd: Etcd

    def fill(self, routes: Sequence[Planned]) -> int:
        """Write routes with their claims, without leases; the last are the newest."""
        revision = 0
        for at in range(0, len(routes), ROUTES_EACH_WRITE):
            some = routes[at : at + ROUTES_EACH_WRITE]
            operations = [operation for route in some for operation in _operations(route)]
            revision = self.etcd.commit([], then=operations).revision
        return revision


def _operations(route: Planned) -> tuple[Operation, Operation]:
    labels = new_labels(route.branch, route.service, default_service="web", taken=())
    claim = ClaimRecord(labels, created="2026-11-21T09:00:00Z")
    record = InstanceRecord(Address.parse(route.address))
    return (
        put(KEYS.raw(ClaimKey(route.branch, route.service)), claim.dump()),
        put(KEYS.raw(RouteKey(route.branch, route.service)), record.dump()),
    )


def plan_routes(addresses: Sequence[str], count: int, *, kind: str = "present") -> list[Planned]:
    """Routes of as many branches, over the addresses in turn.

    Args:
        kind: Part of each branch's name, so that the routes of one run stay apart.
    """
    return [
        Planned(
            branch=f"feature/{kind}-{at:05}",
            host=f"feature-{kind}-{at:05}-{SERVICE}.{DOMAIN}",
            address=addresses[at % len(addresses)],
        )
        for at in range(count)
    ]


@contextlib.contextmanager
def run_store(folder: Path) -> Iterator[Store]:
    """Run etcd with an empty store.

    Its data lies on disk with fsync off: the disk of the machine is not what is measured, and
    both peers write to the same etcd.
    """
    folder.mkdir(parents=True)
    endpoint = f"127.0.0.1:{free_port()}"
    url = f"http://{endpoint}"
    # port 0 for the peers: one member never uses it, and it cannot clash (facts of the etcd flags)
    peers = "http://127.0.0.1:0"
    command: list[str | Path] = [
        find_program("etcd"),
        *("--data-dir", folder / "data", "--log-level", "warn", "--unsafe-no-fsync"),
        *("--listen-client-urls", url, "--advertise-client-urls", url),
        *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
        *("--initial-cluster", f"default={peers}"),
    ]
    with Child(command, log=folder / "etcd.log") as child:
        port = int(endpoint.rpartition(":")[2])
        until(lambda: answers(port), what="etcd answers", within_s=20, child=child)
        # filling writes 120 keys at a time, which takes longer than one put
        etcd = Etcd(EtcdSettings((url,)), call_timeout_s=10)
        until(lambda: _is_up(etcd), what="etcd has a leader", within_s=20, child=child)
        try:
            yield Store(url, endpoint, etcd)
        finally:
            etcd.close()


def _is_up(etcd: Etcd) -> bool:
    try:
        etcd.read(KEYS.root)
    except Exception:  # noqa: BLE001 - whatever it says before it has a leader; `until` ends it
        return False
    return True
