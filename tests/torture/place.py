"""A place to torture: etcd, services, a frontend; and which branch is reached where.

Branch number ``n`` is ``team/t<n>``, and its instances have ips of its own: whoever answers at
``127.x.y.1``, ``127.x.y.2`` and so on can be nobody else's.
"""

import http.client
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry.etcd import Etcd
from registry.keys import RouteKey
from registry.records import InstanceRecord, State
from registry.snapshot import Entry
from tests.etcd_server import EtcdServer
from tests.system.frontend import Frontend, Link, exchange
from tests.torture.origin import Origin, serve_origin

WORKERS = 2
"""Of nginx: one dies and the other goes on."""

BUDGET = 8
"""Old generations that a frontend lets live before its reloads slow down, unless told otherwise."""

SERVICE = "web"

REGISTERED_S = 60.0
"""For some dozens of registrars: 6 s of two cores, and others want them too."""

CALM_S = 150.0
"""Until all is as it was after a fault: the brake looks back a minute, leases take their time."""


def until(claim: Callable[[], object], *, within_s: float, every_s: float = 0.1) -> None:
    """Ask until the claim is true, at leisure: an answer may be a list of a thousand routes.

    Raises:
        TimeoutError: It was not, in time.
    """
    ends_at = time.monotonic() + within_s
    while not claim():
        if time.monotonic() > ends_at:
            raise TimeoutError(f"not so within {within_s:g} s")
        time.sleep(every_s)


def branch(number: int) -> str:
    """By its real name, with a slash in it as most have."""
    return f"team/t{number}"


def host(number: int) -> str:
    """The short host of its default service."""
    return f"team-t{number}.localhost"


def ips(number: int) -> str:
    """What the ips of all its instances begin with."""
    return f"127.{16 + number // 250 % 200}.{number % 250}."


def ip(number: int, instance: int = 1) -> str:
    """Of one instance, from 1 to 254."""
    return f"{ips(number)}{instance}"


def hosts(numbers: Iterable[int]) -> dict[str, str]:
    """What clients expect: for each host, who may answer."""
    return {host(number): ips(number) for number in numbers}


@dataclass(frozen=True, slots=True)
class Place:
    """etcd, services on all of loopback, and a frontend."""

    etcd: EtcdServer
    origin: Origin
    frontend: Frontend
    folder: Path

    @property
    def store(self) -> Etcd:
        """A client of etcd."""
        return self.frontend.etcd

    def write_by_hand(self, numbers: Iterable[int], *, instance: int = 1) -> int:
        """Register branches without a lease; gives the revision of the last."""
        revision = 0
        for number in numbers:
            key = self.frontend.keys.raw(RouteKey(branch(number), SERVICE))
            revision = self.store.write(key, self.address(number, instance).encode())
        return revision

    def address(self, number: int, instance: int = 1) -> str:
        """Where an instance answers."""
        return f"{ip(number, instance)}:{self.origin.port}"

    def leased(self) -> dict[str, Entry]:
        """The routes that registrars have written and that are ready, by address."""
        found: dict[str, Entry] = {}
        for entry in self.store.list(self.frontend.keys.routes).entries.values():
            record = InstanceRecord.parse(entry.value)
            if entry.lease and record.state is State.READY:
                found[str(record.address)] = entry
        return found

    def lease_lives(self, entry: Entry) -> bool:
        """Whether its lease has time left."""
        return int(self.store.call("lease/timetolive", ID=entry.lease)["TTL"]) > 0

    def wait_registered(self, addresses: Iterable[str]) -> None:
        """Wait until all of these are registered and ready."""
        wanted = set(addresses)
        try:
            until(lambda: wanted <= self.leased().keys(), within_s=REGISTERED_S)
        except TimeoutError as exc:
            absent = sorted(wanted - self.leased().keys())
            raise AssertionError(f"not registered: {', '.join(absent[:5])}") from exc

    def is_calm(self, addresses: Iterable[str]) -> bool:
        """Whether these are registered, and the frontend serves just what stands there."""
        leased = self.leased()
        record = self.frontend.record()
        wanted = set(addresses)
        return (
            wanted <= leased.keys()
            and record is not None
            and (record.state, record.held) == ("ok", 0)
            and record.revision >= max((leased[one].mod_revision for one in wanted), default=0)
        )

    def wait_calm(self, addresses: Iterable[str]) -> float:
        """Wait until it is so; gives the seconds that it took."""
        wanted = tuple(addresses)
        began_at = time.monotonic()
        try:
            until(lambda: self.is_calm(wanted), within_s=CALM_S, every_s=0.25)
        except TimeoutError as exc:
            absent = len(set(wanted) - self.leased().keys())
            raise AssertionError(
                f"not calm within {CALM_S:g} s: {absent} not registered, frontend says"
                f" {self.frontend.record()}"
            ) from exc
        return time.monotonic() - began_at

    def not_served(self, numbers: Iterable[int]) -> list[str]:
        """Ask each host once; those that its own branch did not answer, with what came."""
        with self.frontend.connect() as link:
            return [said for number in numbers if (said := self._fault_of(link, number))]

    def serves(self, number: int) -> bool:
        """Whether one host is answered by its branch right now."""
        with self.frontend.connect() as link:
            return not self._fault_of(link, number)

    def _fault_of(self, link: Link, number: int) -> str:
        try:
            if link.sock is None:
                # the last answer ended the connection, and a link never opens itself anew
                link.connect()
            answer = exchange(link, self.frontend.named(host(number)))
        except (OSError, http.client.HTTPException) as exc:
            link.close()
            return f"{host(number)}: {exc!r}"
        is_right = answer.status == 200 and answer.text.startswith(ips(number))
        return "" if is_right else f"{host(number)}: {answer.status} {answer.text[:40]}"


@contextmanager
def place(folder: Path, *, etcd: EtcdServer | None = None, **settings: str) -> Iterator[Place]:
    """All of it, gone afterwards.

    Args:
        etcd: One that runs already, or stands for a cluster that does.
        settings: Further variables of the frontend.
    """
    with ExitStack() as running:
        # etcd's own sync to disk stays on: a place without it would be kinder than the world
        server = etcd or running.enter_context(EtcdServer(folder / "etcd"))
        origin = running.enter_context(serve_origin())
        settings = {
            "WORKERS": str(WORKERS),
            "ALLOW_NETWORKS": "127.0.0.0/8",
            "LOG_FORMAT": "text",
            **settings,
        }
        frontend = running.enter_context(Frontend(folder, etcd=server, **settings))
        yield Place(server, origin, frontend, folder)
