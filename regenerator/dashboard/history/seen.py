"""What of the registry is looked at to tell what becomes of it: one key at a time. Pure."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from regenerator.dashboard.feed import State
from regenerator.dashboard.originals import originals
from regenerator.routes import RouteTable, Rules
from registry.fields import VALUE_MAX_BYTES
from registry.keys import ClaimKey, Keyspace, RouteKey, shown
from registry.records import InstanceRecord
from registry.records import State as RecordState
from registry.snapshot import Entry


class Stage(StrEnum):
    """How far what a key stands for is."""

    CLAIM = "claim"  # which is no instance
    STARTING = "starting"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"


class Hold(StrEnum):
    """Whether the registry has a key."""

    NONE = ""  # it has
    SPARED = "spared"  # its lease was lost a moment ago
    HELD = "held"  # the brake holds it


class Seen(NamedTuple):
    """What is to be known of a key to tell what becomes of it.

    Attributes:
        address: Empty for a claim, and where the record cannot be read.
        text: Why it is unhealthy, or the value of a claim.
        rejected: Why it is left out; empty if it is not.
        created: The revision at which it came into being.
        revision: The one at which it was last written.
    """

    branch: str
    service: str
    instance: str
    address: str
    stage: Stage
    text: str
    rejected: str
    hold: Hold
    is_leased: bool
    created: int
    revision: int


def look(
    before: State | None,
    after: State,
    *,
    table_before: RouteTable | None,
    table_after: RouteTable,
    rules: Rules,
) -> tuple[dict[bytes, Seen], dict[bytes, Seen]]:
    """Two states, as far as they may differ.

    Args:
        before: None where nothing was known.
        table_before: Of the state before, and None with it.
    """
    if before is None or table_before is None:
        return {}, see_all(after, table_after, rules=rules)
    touched = _find_touched(before, after, table_before=table_before, table_after=table_after)
    return (
        see(touched, before, table_before, rules=rules),
        see(touched, after, table_after, rules=rules),
    )


def _find_touched(
    before: State, after: State, *, table_before: RouteTable, table_after: RouteTable
) -> set[bytes]:
    """The keys of which there may be something to tell."""
    old, new = before.snapshot.entries, after.snapshot.entries
    touched = {key for key, entry in new.items() if old.get(key) is not entry}
    touched |= old.keys() - new.keys()
    touched |= before.held ^ after.held
    touched |= before.spared ^ after.spared
    # what is held stays as it was while it comes and goes in the registry
    touched |= {entry.key for entry in after.snapshot.ended}
    if table_before.rejections != table_after.rejections:
        one, other = _rejected(table_before), _rejected(table_after)
        odd = {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}
        touched |= originals(odd, old, new).keys()
    return touched


def see_all(state: State, table: RouteTable, *, rules: Rules) -> dict[bytes, Seen]:
    """All keys of a state, as they are to be known."""
    return see(state.snapshot.entries, state, table, rules=rules)


def see(
    raw_keys: Iterable[bytes], state: State, table: RouteTable, *, rules: Rules
) -> dict[bytes, Seen]:
    """Those of the keys that are there, and are routes or claims."""
    rejected = _rejected(table)
    entries = state.snapshot.entries
    ours = _prefixes(rules.keys)
    found: dict[bytes, Seen] = {}
    for raw in raw_keys:
        if (entry := entries.get(raw)) is None or not raw.startswith(ours):
            continue
        hold = Hold.HELD if raw in state.held else Hold.NONE
        if raw in state.spared and not hold:
            hold = Hold.SPARED
        why = rejected.get(shown(raw), "") if rejected else ""
        found[raw] = _seen(entry, rules, hold=hold, rejected=why)
    return found


def see_ended(state: State, *, rules: Rules) -> dict[bytes, Seen]:
    """What was deleted on the way to a state, as it was last."""
    return {
        entry.key: _seen(entry, rules, hold=Hold.NONE, rejected="")
        for entry in state.snapshot.ended
        if entry.key.startswith(_prefixes(rules.keys))
    }


def _seen(entry: Entry, rules: Rules, *, hold: Hold, rejected: str) -> Seen:
    branch, service, instance = _names(entry.key, rules.keys)
    if entry.key.startswith(rules.keys.claims):
        text = entry.value[:VALUE_MAX_BYTES].decode(errors="replace")
        address, stage = "", Stage.CLAIM
    elif branch:
        address, stage, text = _stage(entry, rules)
    else:
        address, stage, text = "", Stage.STARTING, ""
    return Seen(
        branch,
        service,
        instance,
        address,
        stage,
        text,
        rejected,
        hold,
        entry.lease != 0,
        entry.create_revision,
        entry.mod_revision,
    )


def _names(raw: bytes, keys: Keyspace) -> tuple[str, str, str]:
    """Branch, service and instance; of a key that cannot be read what there is to show."""
    try:
        match keys.parse(raw):
            case RouteKey(branch, service, instance):
                return branch, service, instance
            case ClaimKey(branch, service):
                return branch, service, ""
            case _:  # pragma: no cover - nothing else lies below routes/ and claims/
                return "", "", ""
    except ValueError:
        return "", "", shown(raw.removeprefix(keys.root))


def _stage(entry: Entry, rules: Rules) -> tuple[str, Stage, str]:
    """Address, how far it is, and why it is no further."""
    # what the table has read is remembered; what it left out has to be read here
    found = rules.read(entry)
    if found is not None:
        record = found[1]
    else:
        try:
            record = InstanceRecord.parse(entry.value)
        except ValueError:
            return "", Stage.STARTING, ""
    address = str(record.address)
    if record.state is RecordState.STARTING and record.health:
        return address, Stage.UNHEALTHY, record.health
    return address, _STAGES[record.state], ""


_STAGES = {
    RecordState.STARTING: Stage.STARTING,
    RecordState.READY: Stage.READY,
    RecordState.DRAINING: Stage.DRAINING,
}


def _prefixes(keys: Keyspace) -> tuple[bytes, bytes]:
    return keys.routes, keys.claims


def _rejected(table: RouteTable) -> dict[str, str]:
    """Why each key is left out; of a claim there may be several reasons."""
    reasons: dict[str, str] = {}
    for one in table.rejections:
        known = reasons.get(one.key)
        reasons[one.key] = f"{known}; {one.reason}" if known else one.reason
    return reasons
