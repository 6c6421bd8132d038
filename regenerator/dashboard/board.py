"""All that a page, the API and a terminal show of a frontend, worked out once. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby

from regenerator.dashboard.feed import State as Fed
from regenerator.pipeline import Rules
from regenerator.routes import Route, RouteTable
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
        scheme, _, authority = self.url.partition("://")
        return f"{scheme}://{label}.{authority}"


def build_branches(
    fed: Fed, table: RouteTable, *, rules: Rules, place: Place
) -> tuple[BranchView, ...]:
    """All branches, by their names, with all that is registered of each; without traffic.

    Args:
        table: Of the same state.
    """
    rejected = {one.key: one.reason for one in table.rejections}
    below: dict[ClaimKey, list[InstanceView]] = {}
    for key, entry in fed.snapshot.entries.items():
        if key.startswith(rules.keys.routes) and (read := _read(entry, rules.keys)):
            owner, name, record = read
            reason = rejected.get(shown(key), "")
            below.setdefault(owner, []).append(
                _instance(entry, name, record, reason=reason, fed=fed)
            )
    conflicts: dict[ClaimKey, list[str]] = {}
    for one in table.rejections:
        if one.kind is RejectionKind.CONFLICT and (claim := _claim_of(one.key, rules)) is not None:
            conflicts.setdefault(claim, []).append(one.reason)
    routes = {ClaimKey(route.branch, route.service): route for route in table.routes}
    services = [
        _service(
            owner,
            routes.get(owner),
            tuple(sorted(below.get(owner, ()), key=lambda one: (one.name, one.address))),
            conflicts=tuple(conflicts.get(owner, ())),
            place=place,
        )
        for owner in sorted(routes.keys() | below.keys())
    ]
    _read.turn()
    groups = groupby(services, key=lambda one: one.branch)
    return tuple(BranchView(branch, tuple(group)) for branch, group in groups)


def build_rejections(table: RouteTable, *, rules: Rules) -> tuple[RejectionView, ...]:
    """What was left out, with the branch and service it is about where that can be told."""
    found = []
    for one in table.rejections:
        owner = _owner_of(one.key, rules) or ClaimKey("", "")
        found.append(RejectionView(one.key, *owner, one.kind, one.reason))
    return tuple(found)


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
    newest = max((record.revision for _, _, record in read if record), default=0)
    return tuple(
        FrontendView(name, name == own, is_alive, newest - record.revision if record else 0, record)
        for name, is_alive, record in sorted(read, key=lambda one: one[0])
    )


@remembered
def _read(entry: Entry, keys: Keyspace) -> tuple[ClaimKey, str, InstanceRecord] | tuple[()]:
    """Whose a registration is, its name and its record; nothing if neither can be read."""
    try:
        key = keys.parse(entry.key)
        record = InstanceRecord.parse(entry.value)
    except ValueError:
        return ()
    if not isinstance(key, RouteKey):
        return ()
    return ClaimKey(key.branch, key.service), key.instance or str(record.address), record


def _instance(
    entry: Entry, name: str, record: InstanceRecord, *, reason: str, fed: Fed
) -> InstanceView:
    status, why = _judge(entry, record, rejected=reason, fed=fed)
    return InstanceView(
        name, str(record.address), status, why, record.registered_at, bool(entry.lease)
    )


def _judge(entry: Entry, record: InstanceRecord, *, rejected: str, fed: Fed) -> tuple[Status, str]:
    status, why = Status.SERVING, ""
    if rejected:
        status, why = Status.REJECTED, rejected
    elif entry.key in fed.held:
        status, why = Status.HELD, "the registry lost it, and it still accepts connections"
    elif record.state is State.DRAINING:
        status, why = Status.LEAVING, "it is leaving, and gets no new requests"
    elif record.state is State.STARTING and record.health:
        status, why = Status.UNHEALTHY, f"it does not pass its health check: {record.health}"
    elif record.state is State.STARTING:
        status, why = Status.STARTING, "it is starting, and has not said that it is ready"
    elif entry.key in fed.spared:
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


def _service(
    owner: ClaimKey,
    route: Route | None,
    instances: tuple[InstanceView, ...],
    *,
    conflicts: tuple[str, ...],
    place: Place,
) -> ServiceView:
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


def _claim_of(key: str, rules: Rules) -> ClaimKey | None:
    try:
        found = rules.keys.parse(key.encode())
    except ValueError:
        return None
    return found if isinstance(found, ClaimKey) else None


def _owner_of(key: str, rules: Rules) -> ClaimKey | None:
    try:
        found = rules.keys.parse(key.encode())
    except ValueError:
        return None
    if isinstance(found, RouteKey | ClaimKey):
        return ClaimKey(found.branch, found.service)
    return None


def with_traffic(
    branches: tuple[BranchView, ...], traffic: Mapping[str, Traffic]
) -> tuple[BranchView, ...]:
    """The same with what was counted, by the services' ids; who has none stays as it is."""
    found = []
    for branch in branches:
        services = tuple(
            replace(one, traffic=traffic.get(one.id, NO_TRAFFIC))
            if traffic.get(one.id, NO_TRAFFIC) != one.traffic
            else one
            for one in branch.services
        )
        is_same = all(a is b for a, b in zip(services, branch.services, strict=True))
        found.append(branch if is_same else replace(branch, services=services))
    return tuple(found)
