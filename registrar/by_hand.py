"""Registrations by hand: ``add`` and ``remove``."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from registrar.hosts import HostBook, Hosts
from registrar.served import probe_frontends, unreached
from registrar.settings import Reach, check_branch_and_service
from registry.etcd import Etcd
from registry.faults import (
    LeaseLost,
    LeftOut,
    NotApplied,
    NotLetIn,
    NotReached,
    NotRegistered,
    UsageInvalid,
)
from registry.keys import RouteKey
from registry.records import Address, InstanceRecord, State
from registry.registrations import Registered, Registrations, instant
from registry.snapshot import Entry
from registry.transactions import drop, put, unchanged

BATCH = 100
"""Keys in one transaction; etcd takes 128 unless it is told otherwise."""

log = logging.getLogger("registrar")


@dataclass(frozen=True, slots=True)
class Removed:
    """What ``remove`` took away.

    Attributes:
        revision: Of the last deletion.
        leased: How many of the routes were on a lease, so that a registrar may put them back.
    """

    revision: int
    routes: int
    claims: int
    leased: int


def open_registrations(reach: Reach) -> Registrations:
    """The registry that the settings name."""
    return Registrations(Etcd(reach.etcd), keys=reach.keys)


def parse_addition(branch: str, service: str, address: str) -> tuple[RouteKey, Address]:
    """Judge the arguments of ``add``.

    Raises:
        UsageInvalid: One of them cannot be registered.
    """
    try:
        check_branch_and_service(branch, service)
        parsed = Address.parse(address)
    except ValueError as exc:
        raise UsageInvalid(str(exc)) from exc
    return RouteKey(branch, service, str(parsed)), parsed


def add(
    registrations: Registrations, key: RouteKey, address: Address, *, ttl_s: int, default: str
) -> Registered:
    """Write one route with its claim; without a time it stays until it is removed."""
    lease = registrations.store.grant(ttl_s).id if ttl_s else 0
    record = InstanceRecord(address, State.READY, instant(time.time()))
    return registrations.register(
        key,
        record,
        lease=lease,
        default_service=registrations.default_service() or default,
    )


def remove(
    registrations: Registrations, branch: str, *, service: str = "", instance: str = ""
) -> Removed:
    """Take routes away; of a whole branch its claims as well.

    Each is written as draining before it is deleted, so that a frontend takes it for a leaving and
    not for a loss.

    Raises:
        NotRegistered: There is nothing to take away.
        UsageInvalid: A name cannot be one.
    """
    store, keys = registrations.store, registrations.keys
    try:
        below_routes, below_claims = keys.within(branch)
        exact = [keys.raw(RouteKey(branch, service, instance))] if service else []
    except ValueError as exc:
        raise UsageInvalid(str(exc)) from exc
    routes = [
        entry
        for entry in store.list(below_routes).entries.values()
        if not exact
        or entry.key in exact
        or (not instance and entry.key.startswith(exact[0] + b"/"))
    ]
    claims = [] if service else list(store.list(below_claims).entries.values())
    if not routes and not claims:
        what = " ".join(filter(None, (branch, service, instance)))
        raise NotRegistered(f"nothing is registered as {what!r}; registrar list shows what is")
    _drain(registrations, routes)
    revision = 0
    for batch in _batches([entry.key for entry in (*routes, *claims)]):
        revision = store.commit([], then=[drop(key) for key in batch]).revision
    leased = sum(entry.lease != 0 for entry in routes)
    return Removed(revision, len(routes), len(claims), leased)


def wait_applied(
    registrations: Registrations, revision: int, *, removal: bool, within_s: float
) -> None:
    """Wait until every live frontend has applied a change.

    Raises:
        NotApplied: One was late; the change itself stands.
    """
    late = registrations.wait_applied(revision, removal=removal, within_s=within_s)
    if late:
        raise NotApplied(
            f"not applied within {within_s:g} s by frontend {', '.join(late)}; the change stands"
        )


def check_served(registrations: Registrations, key: RouteKey) -> None:
    """See that no frontend leaves a registration out that it has applied.

    Raises:
        LeftOut: One does; the registration stands.
    """
    raw = registrations.keys.raw(key).decode()
    for frontend, record in registrations.frontends():
        for rejection in record.rejections:
            if rejection["key"] == raw:
                raise LeftOut(f"frontend {frontend} leaves it out: {rejection['reason']}")


def wait_reached(
    registrations: Registrations, key: RouteKey, hosts: Hosts, *, login: str, within_s: float
) -> None:
    """Ask through every live frontend until each has led to a registration.

    Args:
        login: ``user:password`` for frontends that ask for one; empty if there is none.

    Raises:
        NotLetIn: One is closed to us; the registration stands.
        NotReached: One has not, or there is none; the registration stands.
    """
    probed = probe_frontends(
        registrations.frontends,
        instance=key.instance,
        label=hosts.labels[0],
        path="/",
        login=login,
        within_s=within_s,
    )
    said = f"{'; '.join(unreached(probed))}; the registration stands"
    if any(one.is_turned_away for one in probed):
        raise NotLetIn(f"not reached: {said}")
    if unreached(probed):
        raise NotReached(f"not reached within {within_s:.3g} s: {said}")


def find_url(
    registrations: Registrations, branch: str, service: str, *, default_service: str
) -> tuple[str, tuple[str, ...]]:
    """The URL of a service, and what there is to say about it; the default service if none.

    Raises:
        NotRegistered: No frontend has reported, so nobody serves it.
        UsageInvalid: A name cannot be one.
    """
    book = host_book(registrations, default_service=default_service)
    service = service or book.default_service
    try:
        check_branch_and_service(branch, service)
    except ValueError as exc:
        raise UsageInvalid(str(exc)) from exc
    if not book.served:
        raise NotRegistered("no frontend has reported, so there is no URL; is one running?")
    hosts = book.of(branch, service)
    if hosts.claimed:
        return hosts.url, book.conflicts(branch, service)
    return hosts.url, (f"{branch!r} {service!r} has no claim; this is the URL it would get now",)


def host_book(registrations: Registrations, *, default_service: str) -> HostBook:
    """Which hosts there are now."""
    return HostBook(
        registrations.standing().claims(),
        [record for _, record in registrations.frontends()],
        default_service=default_service,
        keys=registrations.keys,
    )


def _drain(registrations: Registrations, routes: Sequence[Entry]) -> None:
    """Write the routes as draining; one that was changed meanwhile, or is no record, is left."""
    for entry in routes:
        try:
            record = InstanceRecord.parse(entry.value)
        except ValueError:
            continue
        value = replace(record, state=State.DRAINING, health="").dump()
        with suppress(LeaseLost):  # it has gone by itself meanwhile
            registrations.store.commit(
                [unchanged(entry.key, entry.mod_revision)],
                then=[put(entry.key, value, lease=entry.lease)],
            )


def _batches(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), BATCH):
        yield keys[start : start + BATCH]
