"""Who had an address before us, and may be served there still.

A container that died without a word leaves its address to the next one, and its route to the end
of its lease. Registering takes the address from it; here is asked whether a frontend may send
requests of the former holder there all the same, because it has not come that far yet.
"""

from registry.faults import Fault, StoreDenied
from registry.keys import ClaimKey, Keyspace, RouteKey
from registry.records import Address, InstanceRecord, State
from registry.registrations import Registrations
from registry.snapshot import Entry


def former_holder(
    registrations: Registrations, key: RouteKey, address: Address, *, revision: int
) -> str:
    """Why a frontend may still send requests of others to an address that is ours now.

    Args:
        key: Our route.
        revision: At which we were registered; a frontend that has released it serves nobody else
            there.

    Returns:
        The reason as a sentence; empty if none does. What cannot be known counts as a reason.

    Raises:
        StoreUnreachable, StoreDenied: Not even the frontends can be read.
    """
    store, keys = registrations.store, registrations.keys
    frontends = registrations.frontends()
    for frontend, record in frontends:
        if record.held:
            return f"frontend {frontend} may serve what the registry does not have"
    released = min((record.released for _, record in frontends), default=revision)
    if released >= revision:
        return ""
    if not released:
        # to etcd, revision 0 means now
        return "a frontend does not say what it serves"
    try:
        served = store.list(keys.routes, at=released).entries
        since = store.list(keys.routes, created_after=released).entries
    except Fault as fault:
        return f"who had it is not known: {fault}"
    for entry in (*served.values(), *since.values()):
        owner = _holder(entry, address, keys)
        if owner is not None and owner != ClaimKey(key.branch, key.service):
            return f"branch {owner.branch!r} service {owner.service!r} had it"
    return ""


def present_holder(registrations: Registrations, key: RouteKey, address: Address) -> str:
    """Which other branch has an address registered on a lease now, as a sentence; empty if none.

    A role that may not see it cannot know, and is not held up.

    Raises:
        StoreUnreachable: The routes cannot be read.
    """
    keys = registrations.keys
    try:
        entries = registrations.store.list(keys.routes).entries
    except StoreDenied:
        return ""
    for entry in entries.values():
        owner = _holder(entry, address, keys) if entry.lease else None
        if owner is not None and owner.branch != key.branch:
            return f"branch {owner.branch!r} service {owner.service!r} has it"
    return ""


def successor(registrations: Registrations, key: RouteKey, address: Address) -> Entry | None:
    """An instance of our own branch and service that gets requests at another ip, if one does.

    One at our own ip lives on the same machine, and ends with it.

    Raises:
        StoreUnreachable: The routes cannot be read.
    """
    keys = registrations.keys
    below, _ = keys.within(key.branch)
    try:
        entries = registrations.store.list(below).entries
    except StoreDenied:
        # a role that may only write cannot know
        return None
    ours = ClaimKey(key.branch, key.service)
    for entry in entries.values():
        if not entry.lease:
            # nobody keeps that one true
            continue
        try:
            found, record = keys.parse(entry.key), InstanceRecord.parse(entry.value)
        except ValueError:
            continue
        is_ours = isinstance(found, RouteKey) and ClaimKey(found.branch, found.service) == ours
        if is_ours and record.state is State.READY and record.address.ip != address.ip:
            return entry
    return None


def _holder(entry: Entry, address: Address, keys: Keyspace) -> ClaimKey | None:
    """Whose route it is, if it leads to the address."""
    try:
        key = keys.parse(entry.key)
        leads_to = InstanceRecord.parse(entry.value).address
    except ValueError:
        # frontends leave it out as well
        return None
    if leads_to != address or not isinstance(key, RouteKey):
        return None
    return ClaimKey(key.branch, key.service)
