"""All that a page, the API and a terminal show of a frontend, worked out once. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple

from regenerator.dashboard.feed import State as Fed
from regenerator.dashboard.originals import originals
from regenerator.lagging import behind
from regenerator.routes import Route, RouteTable, Rules, host_url
from registry.claims import RejectionKind
from registry.keys import ClaimKey, Keyspace, RouteKey, shown
from registry.records import FrontendRecord, InstanceRecord, State
from registry.remembering import remembered
from registry.snapshot import Entry


class Status(StrEnum):
    """How a service, or an instance, fares, in a word for people."""

    SERVING = "serving"
    HELD = "held"  # the registry lost it, and the brake serves it
    UNHEALTHY = "unhealthy"  # it runs, and does not pass its health check
    STARTING = "starting"
    LEAVING = "leaving"  # it gets no new requests, and ends
    REJECTED = "rejected"
    GONE = "not running"


@dataclass(frozen=True, slots=True)
class Traffic:
    """What of a route's requests was counted.

    Attributes:
        requests: Within the last minute.
        errors: Those of them that were answered with 500 or more.
        last_at: When the last one ended, in seconds since 1970; 0 if none is known.
    """

    requests: int = 0
    errors: int = 0
    last_at: float = 0.0


NO_TRAFFIC = Traffic()


@dataclass(frozen=True, slots=True)
class InstanceView:
    """One registration.

    Attributes:
        name: What its registrar called it; its address where a hand wrote it.
        reason: Why it gets no requests, or why it still does, as a sentence; empty if there is
            nothing to say.
        registered_at: In UTC, as it stands in the record; empty if nobody said.
        is_leased: A registrar keeps it; else it stays until somebody removes it.
    """

    name: str
    address: str
    status: Status
    reason: str
    registered_at: str
    is_leased: bool


@dataclass(frozen=True, slots=True)
class ServiceView:
    """One service of a branch.

    Attributes:
        id: What stands for it in the access log, 16 to 47 hex digits; empty if it has no host.
        hosts: With the domain; the long one first.
        url: Where people open it; empty if it has no host.
        reason: Why it does not answer, as a sentence; empty if it does.
        conflicts: What is wrong with its claim, as sentences.
        gone_at: Since when nothing of it is there, in seconds since 1970; 0 if something is, or
            nobody knows.
    """

    id: str
    branch: str
    service: str
    hosts: tuple[str, ...]
    url: str
    status: Status
    reason: str
    instances: tuple[InstanceView, ...]
    conflicts: tuple[str, ...] = ()
    traffic: Traffic = NO_TRAFFIC
    gone_at: float = 0.0


@dataclass(frozen=True, slots=True)
class BranchView:
    """One branch."""

    branch: str
    services: tuple[ServiceView, ...]


@dataclass(frozen=True, slots=True)
class RejectionView:
    """A record that was left out; branch and service are empty where its key cannot be read."""

    key: str
    branch: str
    service: str
    kind: RejectionKind
    reason: str


@dataclass(frozen=True, slots=True)
class FrontendView:
    """One frontend, by its own record.

    Attributes:
        is_this: It is the one that was asked.
        is_alive: Its lease keeps the record.
        behind_by: Revisions between the newest that any frontend has applied and its own.
        record: None where it cannot be read.
    """

    id: str
    is_this: bool
    is_alive: bool
    behind_by: int
    record: FrontendRecord | None


@dataclass(frozen=True, slots=True)
class EtcdView:
    """Etcd, as the regenerator last met it.

    Attributes:
        fault: Why it does not answer, as a sentence; empty if it does.
        since: Since when, in seconds since 1970; 0 if nobody has asked yet.
    """

    fault: str = ""
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Board:
    """A frontend, as it is shown.

    Attributes:
        url: Where people open the page: scheme, domain and port, without a slash at the end.
        at: Since when this is served, in seconds since 1970.
        fault: Why the newest change is not served, as a sentence; empty if it is.
        held: How many instances the brake serves though the registry lost them.
        is_fresh: The regenerator has been heard of a moment ago; else this may be old.
    """

    domain: str
    url: str
    default_service: str
    revision: int
    generation: str
    at: float
    fault: str
    held: int
    is_fresh: bool
    branches: tuple[BranchView, ...]
    rejections: tuple[RejectionView, ...]
    frontends: tuple[FrontendView, ...]
    etcd: EtcdView


@dataclass(frozen=True, slots=True)
class Place:
    """Where people find branches: what a board needs of the settings."""

    domain: str
    url: str

    def url_of(self, label: str) -> str:
        """The URL of a host."""
        return host_url(label, url=self.url)


def build_branches(
    fed: Fed, table: RouteTable, *, rules: Rules, place: Place
) -> tuple[BranchView, ...]:
    """All branches, by their names, with all that is registered of each; without traffic.

    Args:
        table: Of the same state.
    """
    raw_keys = _raw_keys(fed, table)
    rejected = {raw_keys.get(one.key, b""): one.reason for one in table.rejections}
    below: dict[ClaimKey, list[_Standing]] = {}
    for key, entry in fed.snapshot.entries.items():
        if key.startswith(rules.keys.routes) and (owner := _owner(entry, rules.keys)):
            reason = rejected.get(key, "")
            standing = _Standing(entry, reason, key in fed.held, key in fed.spared)
            below.setdefault(owner[0], []).append(standing)
    conflicts: dict[ClaimKey, tuple[str, ...]] = {}
    for one in table.rejections:
        if one.kind is RejectionKind.CONFLICT:
            claim = _owner_of(raw_keys.get(one.key, b""), rules)
            conflicts[claim] = (*conflicts.get(claim, ()), one.reason)
    routes = {ClaimKey(route.branch, route.service): route for route in table.routes}
    services = [
        _service(
            _Group(
                owner,
                routes.get(owner),
                tuple(below.get(owner, ())),
                conflicts.get(owner, ()),
            ),
            rules.keys,
            place,
        )
        for owner in sorted(routes.keys() | below.keys())
    ]
    _owner.turn()
    _service.turn()
    groups = groupby(services, key=lambda one: one.branch)
    return tuple(BranchView(branch, tuple(group)) for branch, group in groups)


def build_rejections(fed: Fed, table: RouteTable, *, rules: Rules) -> tuple[RejectionView, ...]:
    """What was left out, with the branch and service it is about where that can be told.

    Args:
        table: Of the same state.
    """
    raw_keys = _raw_keys(fed, table)
    return tuple(
        RejectionView(one.key, *_owner_of(raw_keys.get(one.key, b""), rules), one.kind, one.reason)
        for one in table.rejections
    )


def build_frontends(
    entries: Iterable[Entry], *, rules: Rules, own: str
) -> tuple[FrontendView, ...]:
    """All frontends by their ids.

    Args:
        entries: Those below ``frontends/``.
        own: The id of the frontend that this is.
    """
    read: list[tuple[str, bool, FrontendRecord | None]] = []
    for entry in entries:
        name = shown(entry.key.removeprefix(rules.keys.frontends))
        try:
            read.append((name, bool(entry.lease), FrontendRecord.parse(entry.value)))
        except ValueError:
            read.append((name, bool(entry.lease), None))
    living = [record for _, is_alive, record in read if is_alive and record]
    return tuple(
        FrontendView(
            name,
            name == own,
            is_alive,
            behind(record, living) if record else 0,
            record,
        )
        for name, is_alive, record in sorted(read, key=lambda one: one[0])
    )


class _Standing(NamedTuple):
    """A registration as it stands, and what the frontend makes of it.

    Attributes:
        reason: Why it was left out; empty if it was not.
    """

    entry: Entry
    reason: str
    is_held: bool
    is_spared: bool


class _Group(NamedTuple):
    """All that there is of one service."""

    owner: ClaimKey
    route: Route | None
    standing: tuple[_Standing, ...]
    conflicts: tuple[str, ...]


@remembered
def _owner(entry: Entry, keys: Keyspace) -> tuple[ClaimKey] | tuple[()]:
    """Whose a registration is; nothing if key or record cannot be read."""
    try:
        key, _ = _parse(entry, keys)
    except ValueError:
        return ()
    return (ClaimKey(key.branch, key.service),)


def _parse(entry: Entry, keys: Keyspace) -> tuple[RouteKey, InstanceRecord]:
    key = keys.parse(entry.key)
    if not isinstance(key, RouteKey):  # pragma: no cover - nothing else lies below routes/
        raise ValueError("the key is not a route's")
    return key, InstanceRecord.parse(entry.value)


def _instance(standing: _Standing, keys: Keyspace) -> InstanceView:
    entry = standing.entry
    key, record = _parse(entry, keys)
    address = str(record.address)
    status, why = _judge(standing, record)
    return InstanceView(
        key.instance or address, address, status, why, record.registered_at, bool(entry.lease)
    )


def _judge(standing: _Standing, record: InstanceRecord) -> tuple[Status, str]:
    status, why = Status.SERVING, ""
    if standing.reason:
        status, why = Status.REJECTED, standing.reason
    elif standing.is_held:
        status, why = Status.HELD, "the registry lost it, and it still accepts connections"
    elif record.state is State.DRAINING:
        status, why = Status.LEAVING, "it is leaving, and gets no new requests"
    elif record.state is State.STARTING and record.health:
        status, why = Status.UNHEALTHY, f"it does not pass its health check: {record.health}"
    elif record.state is State.STARTING:
        status, why = Status.STARTING, "it is starting, and has not said that it is ready"
    elif standing.is_spared:
        why = "its lease was lost a moment ago; it is served while it answers"
    return status, why


_BEST_FIRST = (
    Status.SERVING,
    Status.HELD,
    Status.UNHEALTHY,
    Status.STARTING,
    Status.LEAVING,
    Status.REJECTED,
)


# At 10,000 services hardly any is new at a change: all of them would take a fifth of a second.
@remembered
def _service(group: _Group, keys: Keyspace, place: Place) -> ServiceView:
    owner, route, standing, conflicts = group
    instances = tuple(
        sorted((_instance(one, keys) for one in standing), key=lambda one: (one.name, one.address))
    )
    found = {one.status: one for one in reversed(instances)}
    status = next((one for one in _BEST_FIRST if one in found), Status.GONE)
    if status in (Status.SERVING, Status.HELD):
        reason = ""
    elif status is Status.GONE:
        reason = "nothing of it runs"
    else:
        reason = found[status].reason
    labels = route.labels if route else ()
    return ServiceView(
        route.id if route and labels else "",
        owner.branch,
        owner.service,
        tuple(f"{label}.{place.domain}" for label in labels),
        # the short label, where there is one, comes last
        place.url_of(labels[-1]) if labels else "",
        status,
        reason,
        instances,
        conflicts,
    )


def _raw_keys(fed: Fed, table: RouteTable) -> dict[str, bytes]:
    """The keys of what was left out: a long one stands shortened in its rejection."""
    found = originals({one.key for one in table.rejections}, fed.snapshot.entries)
    return {text: raw for raw, text in found.items()}


def _owner_of(raw: bytes, rules: Rules) -> ClaimKey:
    """Whom a key is about; nobody where it cannot be read."""
    try:
        found = rules.keys.parse(raw)
    except ValueError:
        return ClaimKey("", "")
    if not isinstance(found, RouteKey | ClaimKey):  # pragma: no cover - nothing else is left out
        return ClaimKey("", "")
    return ClaimKey(found.branch, found.service)


class End(NamedTuple):
    """How a service came to an end.

    Attributes:
        reason: As a sentence.
        at: In seconds since 1970.
    """

    reason: str
    at: float


def gone_services(branches: Iterable[BranchView]) -> list[ClaimKey]:
    """Of which nothing is there."""
    found = (one for branch in branches for one in branch.services)
    return [ClaimKey(one.branch, one.service) for one in found if one.status is Status.GONE]


def with_ends(
    branches: tuple[BranchView, ...], ends: Mapping[ClaimKey, End | None]
) -> tuple[BranchView, ...]:
    """The same, where a service of which nothing is there says why and since when."""
    return tuple(
        _with_services(branch, tuple(_ended(one, ends) for one in branch.services))
        for branch in branches
    )


def _ended(service: ServiceView, ends: Mapping[ClaimKey, End | None]) -> ServiceView:
    end = ends.get(ClaimKey(service.branch, service.service))
    if end is None or service.status is not Status.GONE:
        return service
    return replace(service, reason=end.reason, gone_at=end.at)


def with_traffic(
    branches: tuple[BranchView, ...], traffic: Mapping[str, Traffic]
) -> tuple[BranchView, ...]:
    """The same with what was counted, by the services' ids; who has none stays as it is."""
    return tuple(
        _with_services(branch, tuple(_counted(one, traffic) for one in branch.services))
        for branch in branches
    )


def _counted(service: ServiceView, traffic: Mapping[str, Traffic]) -> ServiceView:
    found = traffic.get(service.id, NO_TRAFFIC)
    return service if found == service.traffic else replace(service, traffic=found)


def _with_services(branch: BranchView, services: tuple[ServiceView, ...]) -> BranchView:
    """The same object where nothing has changed: whoever has drawn it need not draw it anew."""
    is_same = all(a is b for a, b in zip(services, branch.services, strict=True))
    return branch if is_same else replace(branch, services=services)
