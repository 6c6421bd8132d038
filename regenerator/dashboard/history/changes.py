"""What happened between two states of the registry, told one by one. Pure.

A state is what a frontend served from one moment on. Between two of them there may have been
several writes, of which the registry has the last; what came and went in between is told by the
keys that ended.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from regenerator.dashboard.feed import State
from regenerator.dashboard.history.seen import Hold, Seen, Stage, look, see_ended
from regenerator.routes import RouteTable, Rules
from registry.keys import ClaimKey, Keyspace
from registry.records import ClaimRecord


class ChangeKind(StrEnum):
    """What became of an instance, or of a claim, in a word."""

    REGISTERED = "registered"  # it is there, and gets no requests before it is ready
    READY = "ready"
    STARTING = "starting"  # it was ready, and has to become so again
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"
    DEREGISTERED = "deregistered"  # it had said that it would leave, and left
    LOST = "lost"  # its lease is lost, and it is served while it answers
    EXPIRED = "expired"  # it is gone without having said so
    REMOVED = "removed"  # somebody took it away
    MOVED = "moved"  # it has another address
    REJECTED = "rejected"
    ACCEPTED = "accepted"  # it is rejected no more
    HELD = "held"  # the registry lost it, and the brake serves it
    RELEASED = "released"  # the brake let go of it
    CLAIMED = "claimed"
    UNCLAIMED = "unclaimed"  # its branch was removed, and its hosts with it


class Change(NamedTuple):
    """One change, as it is told.

    Attributes:
        at: Since when it is served so, in seconds since 1970.
        revision: Of the write; where nobody knows it, of the state in which it was seen.
        generation: What nginx served with it.
        branch: Empty, like the service, where the key cannot be read.
        instance: Empty for the form that a hand writes and for what is about the claim; the key
            as text where that cannot be read.
        address: Empty for what is about the claim, and where the record cannot be read.
        reason: A sentence; may be empty.
    """

    at: float
    revision: int
    generation: str
    branch: str
    service: str
    instance: str
    address: str
    kind: ChangeKind
    reason: str = ""


UNSEEN = "when nobody watched"
"""How the reason of a change ends that was found later."""


def is_seen(change: Change) -> bool:
    """Whether a change tells what happened, and not only what came of it.

    Who left in good order while nobody watched is found gone like one that was killed.
    """
    return change.kind is not ChangeKind.EXPIRED or not change.reason.endswith(UNSEEN)


@dataclass(frozen=True, slots=True)
class Stamp:
    """When changes were seen.

    Attributes:
        since: The revision of the state before.
    """

    at: float
    revision: int
    generation: str
    since: int = 0


def find_changes(
    before: State | None,
    after: State,
    *,
    table_before: RouteTable | None,
    table_after: RouteTable,
    rules: Rules,
) -> tuple[Change, ...]:
    """What happened between two states, by their revisions.

    Args:
        before: None where nothing was known.
        table_before: Of the state before, and None with it.
    """
    old, new = look(before, after, table_before=table_before, table_after=table_after, rules=rules)
    since = before.snapshot.revision if before else 0
    stamp = Stamp(after.at, after.snapshot.revision, after.generation, since)
    return compare(old, new, ended=see_ended(after, rules=rules), stamp=stamp, keys=rules.keys)


def compare(
    before: Mapping[bytes, Seen],
    after: Mapping[bytes, Seen],
    *,
    ended: Mapping[bytes, Seen],
    stamp: Stamp,
    keys: Keyspace,
) -> tuple[Change, ...]:
    """What happened between two views of the same keys, by their revisions."""
    told: list[tuple[int, bool, Change]] = []
    for raw in sorted(before.keys() | after.keys() | ended.keys()):
        old, new, last = before.get(raw), after.get(raw), ended.get(raw)
        if old is None and new is None and last is not None and last.created <= stamp.since:
            # the state before has told of its end already
            continue
        gone = last or old or after[raw]
        if gone.stage is Stage.CLAIM:
            steps = _claim_steps(old, new, gone)
        else:
            is_unclaimed = False
            if new is None and gone.branch:
                claim = keys.raw(ClaimKey(gone.branch, gone.service))
                is_unclaimed = (claim in before or claim in ended) and claim not in after
            steps = _steps(old, new, last, gone=gone, is_unclaimed=is_unclaimed)
        least = 0
        for step in steps:
            # what a brake or a backup has set back by some trillions says nothing
            is_told = 0 < step.revision <= stamp.revision
            least = max(least, step.revision if is_told else stamp.revision)
            is_last = step.kind is ChangeKind.UNCLAIMED
            told.append((least, is_last, _change(step, least, stamp)))
    told.sort(key=lambda one: one[:2])
    return tuple(change for _, _, change in told)


class _Step(NamedTuple):
    seen: Seen
    kind: ChangeKind
    revision: int
    reason: str = ""


_UNKNOWN = 0
"""In place of a revision: a delete does not tell its own."""


def _steps(
    old: Seen | None, new: Seen | None, last: Seen | None, *, gone: Seen, is_unclaimed: bool
) -> list[_Step]:
    """What became of an instance.

    Args:
        last: What it was when it was deleted, if it was.
        gone: The same; what it was before, where nobody knows.
    """
    steps: list[_Step] = []
    if new is None:
        if old is None:
            steps.append(_arrival(gone))
        return [*steps, _leaving(gone, old, is_unclaimed=is_unclaimed, revision=_UNKNOWN)]
    is_back = new.hold is Hold.NONE and last is not None and new.created > last.created
    if is_back and last is not None and (old is None or old.created != new.created):
        if old is None:
            steps.append(_arrival(last))
        # it was deleted before it was written again
        steps.append(_leaving(last, old, is_unclaimed=False, revision=new.created))
        old = None
    if old is None:
        return steps + _first_steps(new)
    if old.hold and not new.hold:
        again = _Step(new, ChangeKind.REGISTERED, new.created, "again")
        return [again, *_next_steps(old._replace(address=new.address, stage=Stage.STARTING), new)]
    return _next_steps(old, new)


def _arrival(new: Seen) -> _Step:
    return _Step(new, ChangeKind.REGISTERED, new.created, "" if new.is_leased else "by hand")


def _first_steps(new: Seen) -> list[_Step]:
    """What there is to tell of an instance that was not there before."""
    blank = new._replace(stage=Stage.STARTING, hold=Hold.NONE, rejected="")
    if new.hold:
        # the brake brings back what was gone already; the registry does not have it
        return _next_steps(blank._replace(stage=Stage.READY), new)
    return [_arrival(new), *_next_steps(blank, new)]


def _next_steps(old: Seen, new: Seen) -> list[_Step]:
    """What there is to tell of an instance that was there before."""
    steps: list[_Step] = []
    if old.address != new.address:
        reason = f"it was at {old.address}" if old.address else ""
        steps.append(_Step(new, ChangeKind.MOVED, new.revision, reason))
    if new.hold is not old.hold and new.hold:
        kind = ChangeKind.HELD if new.hold is Hold.HELD else ChangeKind.LOST
        steps.append(_Step(new, kind, _UNKNOWN, _HOLDING[new.hold]))
    if old.stage is not new.stage:
        steps.append(_Step(new, ChangeKind(new.stage), new.revision, new.text))
    return steps + _judgement(old, new)


_HOLDING = {
    Hold.SPARED: "its lease is lost; it is served while it answers",
    Hold.HELD: "the registry lost it; the brake serves it while it accepts connections",
}


def _judgement(old: Seen, new: Seen) -> list[_Step]:
    if old.rejected == new.rejected:
        return []
    kind = ChangeKind.REJECTED if new.rejected else ChangeKind.ACCEPTED
    # it may be another's record that made the difference
    return [_Step(new, kind, _UNKNOWN, new.rejected)]


def _leaving(gone: Seen, old: Seen | None, *, is_unclaimed: bool, revision: int) -> _Step:
    """How an instance left.

    Args:
        gone: What it was last.
        old: What it was before, as a frontend served it.
    """
    hold = old.hold if old is not None and gone.stage is not Stage.DRAINING else Hold.NONE
    if hold is Hold.HELD:
        kind, reason = ChangeKind.RELEASED, "the brake let go of it; the registry had lost it"
    elif is_unclaimed:
        kind, reason = ChangeKind.REMOVED, "the branch was removed"
    elif not gone.is_leased:
        kind, reason = ChangeKind.REMOVED, "somebody removed it"
    elif gone.stage is Stage.DRAINING:
        kind, reason = ChangeKind.DEREGISTERED, ""
    else:
        kind = ChangeKind.EXPIRED
        reason = "its lease expired: its registrar was killed, or lost the registry"
    return _Step(gone, kind, revision, reason)


def _claim_steps(old: Seen | None, new: Seen | None, gone: Seen) -> list[_Step]:
    steps: list[_Step] = []
    if new is None:
        if old is None:
            steps.append(_Step(gone, ChangeKind.CLAIMED, gone.created, _labels(gone)))
        reason = "the branch was removed, and its hosts are free"
        return [*steps, _Step(gone, ChangeKind.UNCLAIMED, _UNKNOWN, reason)]
    if old is None or (old.text != new.text and _labels(old) != _labels(new)):
        steps.append(_Step(new, ChangeKind.CLAIMED, new.revision, _labels(new)))
    return steps + _judgement(old or new._replace(rejected=""), new)


def _labels(claim: Seen) -> str:
    try:
        return ", ".join(ClaimRecord.parse(claim.text.encode()).labels)
    except ValueError:
        return ""


def _change(step: _Step, revision: int, stamp: Stamp) -> Change:
    seen = step.seen
    return Change(
        stamp.at,
        revision,
        stamp.generation,
        seen.branch,
        seen.service,
        seen.instance,
        seen.address,
        step.kind,
        step.reason,
    )
