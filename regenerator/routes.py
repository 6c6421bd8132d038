"""From a snapshot to the table of routes: who is served where, and who is left out, and why.

Pure: the result depends on the contents of the snapshot alone, never on the order in which
records arrived. One bad record never touches another branch's route.
"""

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter

from registry.claims import (
    Ownership,
    Rejection,
    RejectionKind,
    new_labels,
    read_claims,
    settle_labels,
)
from registry.faults import LabelsExhausted
from registry.keys import ClaimKey, Keyspace, RouteKey, container_of, encode, shown
from registry.names import service_slug
from registry.records import Address, InstanceRecord, State
from registry.remembering import remembered
from registry.snapshot import Entry, Snapshot

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PRIVATE = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7"
"""Where containers live unless told otherwise (RFC 1918, RFC 4193)."""

PORTS = "80,443,1024-2374,2381-10249,10251-51677,51681-65535"
"""Ports of ordinary services: without Docker's and etcd's (2375-2380), the kubelet's (10250) and
those of the ECS agent (51678-51680)."""

_NEVER = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",  # this host (RFC 1122)
            "169.254.0.0/16",  # link-local; the metadata services of EC2 and ECS
            "224.0.0.0/4",  # multicast
            "255.255.255.255/32",  # broadcast
            "::/128",  # unspecified
            "fe80::/10",  # link-local
            "ff00::/8",  # multicast
            "fd00:ec2::/32",  # EC2's metadata service and its neighbours
        ),
    )
)


# Compared by what it is: it is part of what each of 10,000 records is remembered by.
@dataclass(frozen=True, slots=True, eq=False)
class AddressRules:
    """Which addresses a record may name: nobody makes a frontend reach into what is not a service.

    Attributes:
        networks: An address lies in one of them; loopback only where one of them is loopback's.
        ports: Each an inclusive range.
        own: Where the frontend itself listens; never an address of a service.
    """

    networks: tuple[Network, ...]
    ports: tuple[tuple[int, int], ...]
    own: frozenset[Address] = frozenset()

    def objection(self, address: Address) -> str:
        """Why the address may not be used; empty if it may."""
        ip = ipaddress.ip_address(address.ip)
        if any(ip in network for network in _NEVER if network.version == ip.version):
            return f"address {address} is link-local, multicast, unspecified or a metadata service"
        if not any(ip in network for network in self.networks if network.version == ip.version):
            return f"address {address} is outside the networks of ALLOW_NETWORKS"
        if not any(low <= address.port <= high for low, high in self.ports):
            return f"port {address.port} of {address} is outside ALLOW_PORTS"
        if address in self.own:
            return f"address {address} is the frontend's own"
        return ""


@dataclass(frozen=True, slots=True, order=True)
class Instance:
    """One running copy of a service that gets requests.

    Attributes:
        name: What its registrar called it; its address where a hand wrote it.
    """

    address: Address
    name: str


@dataclass(frozen=True, slots=True)
class Route:
    """The hosts of one service of one branch, and the instances behind them.

    Attributes:
        id: 16 to 47 hex digits that stand for branch and service wherever a short word is needed.
        hosts: Without the domain; the long label first.
        instances: Empty where nothing of it runs.
        newest: The revision at which the newest of them was registered.
    """

    id: str
    branch: str
    service: str
    labels: tuple[str, ...]
    instances: tuple[Instance, ...]
    newest: int

    def __hash__(self) -> int:
        # the id says whose it is; a route is looked up for each of 10,000 at each change
        return hash((self.id, self.newest))


@dataclass(frozen=True, slots=True)
class RouteTable:
    """All routes, by branch and service, and what was left out.

    Attributes:
        held: How many of the instances the registry has lost.
    """

    routes: tuple[Route, ...]
    rejections: tuple[Rejection, ...]
    held: int = 0


def host_url(label: str, *, url: str) -> str:
    """Where people open the host of a label.

    Args:
        url: Where they open the bare domain.
    """
    scheme, _, authority = url.partition("://")
    return f"{scheme}://{label}.{authority}"


def build_routes(
    snapshot: Snapshot, *, keys: Keyspace, rules: AddressRules, default_service: str
) -> RouteTable:
    """Group the instances into routes, give them hosts, and tell what was left out."""
    rejections: list[Rejection] = []
    claims, bad_claims = read_claims(_below(snapshot, keys.claims), keys=keys)
    owned = settle_labels(claims, keys=keys)
    rejections += bad_claims + owned.conflicts

    held: list[_Held] = []
    for entry in _below(snapshot, keys.routes):
        found = _read(entry, keys, rules)
        if isinstance(found, _Held):
            held.append(found)
        else:
            rejections.append(found)
    evicted = _evicted(held)
    rejections += evicted.values()

    groups: dict[ClaimKey, list[_Held]] = {claim: [] for claim in owned.labels}
    for one in sorted(held, key=attrgetter("age")):
        if one.key not in evicted:
            groups.setdefault(one.owner, []).append(one)
    labels, unnamed = _labels(groups, owned, default_service=default_service)
    rejections += unnamed
    routes = (
        _route(key, labels[key], tuple(groups[key]))
        for key in sorted(labels, key=attrgetter("branch", "service"))
    )
    table = RouteTable(tuple(routes), tuple(sorted(rejections)))
    _read.turn()
    _route.turn()
    return table


def read_instance(
    entry: Entry, *, keys: Keyspace, rules: AddressRules
) -> tuple[ClaimKey, InstanceRecord] | None:
    """Whose a route is, and its record; None for one that the table leaves out."""
    found = _read(entry, keys, rules)
    return None if isinstance(found, Rejection) else (found.owner, found.record)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a registry means to this frontend."""

    keys: Keyspace
    addresses: AddressRules
    default_service: str

    def read(self, entry: Entry) -> tuple[ClaimKey, InstanceRecord] | None:
        """One route by these rules: whose it is, and its record; None if it is left out."""
        return read_instance(entry, keys=self.keys, rules=self.addresses)

    def table(self, snapshot: Snapshot) -> RouteTable:
        """The routes of a snapshot by these rules."""
        return build_routes(
            snapshot, keys=self.keys, rules=self.addresses, default_service=self.default_service
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A good record of an instance.

    Attributes:
        key: As it stands in the registry.
        owner: The claim that the route goes by.
        created_at: The revision at which it was registered.
    """

    key: bytes
    owner: ClaimKey
    instance: Instance
    record: InstanceRecord
    is_leased: bool
    created_at: int

    @property
    def age(self) -> tuple[int, bytes]:
        """By which the newer one is greater; of those that one transaction wrote, the later key."""
        return self.created_at, self.key


def _below(snapshot: Snapshot, prefix: bytes) -> Iterable[Entry]:
    return [entry for key, entry in snapshot.entries.items() if key.startswith(prefix)]


# The same record gives the same object, which is why they can be compared by what they are.
@remembered
def _read(entry: Entry, keys: Keyspace, rules: AddressRules) -> _Held | Rejection:
    try:
        key = keys.parse(entry.key)
        if not isinstance(key, RouteKey):  # pragma: no cover - nothing else lies below routes/
            raise ValueError("the key is not a route's")
        service_slug(key.service)
        record = InstanceRecord.parse(entry.value)
        if key.instance and not entry.lease:
            _check_hand_written(key)
    except ValueError as exc:
        return Rejection(shown(entry.key), str(exc))
    if reason := rules.objection(record.address):
        return Rejection(shown(entry.key), reason, RejectionKind.ADDRESS)
    return _Held(
        entry.key,
        ClaimKey(key.branch, key.service),
        Instance(record.address, key.instance or str(record.address)),
        record,
        bool(entry.lease),
        entry.create_revision,
    )


def _check_hand_written(key: RouteKey) -> None:
    """Tell a branch's name that was not percent-encoded from an instance that a hand added.

    Raises:
        ValueError: The last part is no address.
    """
    try:
        Address.parse(key.instance)
    except ValueError as exc:
        raise ValueError(
            "a route without a lease has three parts, and the last is no address; a slash in a"
            " branch's name is written %2F"
        ) from exc


def _evicted(held: Iterable[_Held]) -> dict[bytes, Rejection]:
    """The leased routes whose address a newer lease of another branch, or container, holds.

    Two services of one container may share an address. Those of two containers cannot: the
    older one has left without a word, and its address was given to the other.
    """
    newest: dict[Address, _Held] = {}
    rivals: list[_Held] = []
    for one in held:
        if one.is_leased:
            other = newest.setdefault(one.instance.address, one)
            if other is not one:
                rivals += [one, other]
                if one.age > other.age:
                    newest[one.instance.address] = one
    evicted: dict[bytes, Rejection] = {}
    for one in rivals:
        holder = newest[one.instance.address]
        if _has_moved_in(holder, one):
            reason = (
                f"address {one.instance.address} was registered later by branch"
                f" {holder.owner.branch!r}"
            )
            if holder.owner.branch == one.owner.branch:
                reason += f" service {holder.owner.service!r}, in another container"
            evicted[one.key] = Rejection(shown(one.key), reason, RejectionKind.EVICTED)
    return evicted


def _has_moved_in(holder: _Held, former: _Held) -> bool:
    """Whether an address that two leased routes have is the holder's alone by now."""
    if holder.owner.branch != former.owner.branch:
        return True
    containers = [container_of(one.instance.name) for one in (holder, former)]
    return (
        holder.owner.service != former.owner.service
        and all(containers)
        and containers[0] != containers[1]
    )


def _labels(
    groups: Mapping[ClaimKey, list[_Held]], owned: Ownership, *, default_service: str
) -> tuple[dict[ClaimKey, tuple[str, ...]], list[Rejection]]:
    """The labels of every group: those of its claim, else those that a claim would get now."""
    labels = dict(owned.labels)
    taken = set(owned.owners)
    rejections: list[Rejection] = []
    unclaimed = [key for key in groups if key not in labels]
    for key in sorted(unclaimed, key=lambda key: (groups[key][0].created_at, key)):
        try:
            labels[key] = new_labels(
                key.branch, key.service, default_service=default_service, taken=taken
            )
        except (LabelsExhausted, ValueError) as exc:
            rejections += [
                Rejection(shown(one.key), str(exc), RejectionKind.NO_LABEL) for one in groups[key]
            ]
        else:
            taken |= set(labels[key])
    return labels, rejections


@remembered
def _route(key: ClaimKey, labels: tuple[str, ...], held: tuple[_Held, ...]) -> Route:
    # two records of one address are one instance, of which the newer one tells; held is by age.
    # One that starts says nothing of an older one: a sidecar may come back to a running service
    newest = {one.instance.address: one for one in held if one.record.state is not State.STARTING}
    ready = [one for one in newest.values() if one.record.state is State.READY]
    return Route(
        id=_id(key),
        branch=key.branch,
        service=key.service,
        labels=labels,
        instances=tuple(sorted(one.instance for one in ready)),
        newest=max((one.created_at for one in ready), default=0),
    )


def _id(key: ClaimKey) -> str:
    named = f"{encode(key.branch)}/{encode(key.service)}"
    digest = hashlib.sha256(named.encode()).hexdigest()
    # nginx looks an upstream up one by one, and compares names byte by byte only where their
    # lengths are the same: so they differ, from 16 to 47
    return digest[: 16 + int(digest[:2], 16) % 32]
