"""Whatever a registry went through is told: who came, who left, and why."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regenerator.dashboard.feed import State
from regenerator.dashboard.history.changes import Change, ChangeKind, find_changes
from regenerator.dashboard.history.seen import see_all
from regenerator.routes import Rules
from registry.keys import ClaimKey, RouteKey
from registry.records import ClaimRecord
from registry.snapshot import Entry, Snapshot
from tests.registry_contents import KEYS, RULES, claim, entries, raw, route

MARKS = Rules(KEYS, RULES, "web")
AT = 1_800_000_000.0

K = ChangeKind


def state(
    *present: Entry,
    revision: int = 10,
    ended: Iterable[Entry] = (),
    held: Iterable[Entry] = (),
    spared: Iterable[Entry] = (),
) -> State:
    return State(
        Snapshot("c", revision, {entry.key: entry for entry in present}, tuple(ended)),
        f"generation{revision}",
        AT + revision,
        frozenset(entry.key for entry in held),
        frozenset(entry.key for entry in spared),
    )


def changes(before: State | None, after: State) -> tuple[Change, ...]:
    return find_changes(
        before,
        after,
        table_before=MARKS.table(before.snapshot) if before else None,
        table_after=MARKS.table(after.snapshot),
        rules=MARKS,
    )


def told(before: State | None, after: State) -> list[tuple[ChangeKind, str]]:
    """Kinds and reasons alone."""
    return [(one.kind, one.reason) for one in changes(before, after)]


def kinds(before: State | None, after: State) -> list[ChangeKind]:
    return [one.kind for one in changes(before, after)]


def instance(
    value: str = "10.0.0.1:8080",
    *,
    branch: str = "main",
    name: str = "i-1",
    stage: str = "",
    health: str = "",
    at: int = 5,
    modified: int = 0,
    lease: int = 7,
) -> Entry:
    """A leased instance, as a registrar writes it."""
    text = f'{{"address":"{value}","state":"{stage or "ready"}","health":"{health}"}}'
    found = route(branch, "web", name, value=text, at=at, lease=lease)
    return found._replace(mod_revision=modified or at)


STARTING, READY, LEAVING = (
    instance(stage=stage, modified=5 + step)
    for step, stage in enumerate(("starting", "ready", "draining"))
)
EMPTY = state(revision=4)


def test_a_life_is_told_from_the_first_write_to_the_last() -> None:
    path = [
        EMPTY,
        state(STARTING, revision=5),
        state(READY, revision=6),
        state(LEAVING, revision=7),
        state(revision=8, ended=[LEAVING]),
    ]
    found = [one for before, after in pairwise(path) for one in changes(before, after)]

    assert [(one.kind, one.revision, one.at - AT, one.generation) for one in found] == [
        (K.REGISTERED, 5, 5, "generation5"),
        (K.READY, 6, 6, "generation6"),
        (K.DRAINING, 7, 7, "generation7"),
        (K.DEREGISTERED, 8, 8, "generation8"),
    ]
    assert {one[3:7] for one in found} == {("main", "web", "i-1", "10.0.0.1:8080")}


def test_what_came_and_became_ready_between_two_looks_is_two_changes() -> None:
    [registered, ready] = changes(EMPTY, state(READY))

    assert (registered.kind, registered.revision) == (K.REGISTERED, 5)
    assert (ready.kind, ready.revision) == (K.READY, 6)


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (LEAVING, K.DEREGISTERED),
        (READY, K.EXPIRED),
        (STARTING, K.EXPIRED),
        (route("main", value="10.0.0.1:80", at=5), K.REMOVED),
        (route("main", value="10.0.0.1:80", at=5, instance="10.0.0.1:80"), K.REMOVED),
    ],
)
def test_what_came_and_went_between_two_looks_is_told(last: Entry, kind: ChangeKind) -> None:
    assert kinds(EMPTY, state(ended=[last])) == [K.REGISTERED, kind]
    # and once: the state before had told of it
    assert kinds(state(revision=8), state(ended=[last])) == []


@pytest.mark.parametrize("known", [READY, STARTING])
def test_how_it_left_is_told_by_what_it_was_last(known: Entry) -> None:
    assert kinds(state(known), state(revision=11, ended=[LEAVING])) == [K.DEREGISTERED]


def test_without_a_word_of_its_end_a_lease_has_expired_and_a_hand_has_removed() -> None:
    by_hand = route("other", value="10.0.0.9:80")
    [one, other] = changes(state(READY, by_hand), state(revision=11))

    assert (one.kind, one.branch) == (K.EXPIRED, "main")
    assert "its lease expired" in one.reason
    assert (other.kind, other.branch, other.reason) == (K.REMOVED, "other", "somebody removed it")
    assert (one.revision, other.revision) == (11, 11)


@pytest.mark.parametrize("last", [LEAVING, READY, route("main", value="10.0.0.1:80")])
def test_with_its_claim_a_branch_was_removed(last: Entry) -> None:
    mine = claim("main", "web", "main-web", "main")
    others = claim("other", "web", "other-web", "other")

    found = changes(state(last, mine, others), state(others, revision=11, ended=[last, mine]))

    assert [(one.kind, one.branch) for one in found] == [(K.REMOVED, "main"), (K.UNCLAIMED, "main")]
    assert "the branch was removed" in found[0].reason
    assert "the branch was removed" in found[1].reason


def test_another_lease_is_no_change() -> None:
    again = READY._replace(lease=8, mod_revision=9)

    assert changes(state(READY), state(again, revision=11)) == ()


def test_what_was_deleted_and_written_again_left_and_came() -> None:
    again = READY._replace(create_revision=12, mod_revision=12)

    found = changes(state(READY), state(again, revision=13, ended=[READY]))

    assert [(one.kind, one.revision) for one in found] == [
        (K.EXPIRED, 12),
        (K.REGISTERED, 12),
        (K.READY, 12),
    ]
    assert kinds(EMPTY, state(again, revision=13, ended=[LEAVING])) == [
        K.REGISTERED,
        K.DEREGISTERED,
        K.REGISTERED,
        K.READY,
    ]


def test_a_lost_lease_is_told_then_its_end_or_its_return() -> None:
    spared = state(READY, revision=11, ended=[READY], spared=[READY])
    assert kinds(state(READY), spared) == [K.LOST]
    assert kinds(spared, state(revision=12)) == [K.EXPIRED]

    again = READY._replace(create_revision=12, mod_revision=12)
    assert told(spared, state(again, revision=12)) == [(K.REGISTERED, "again"), (K.READY, "")]

    # a list, unlike a watch, does not know what ended
    assert kinds(state(READY), state(READY, revision=11, spared=[READY])) == [K.LOST]
    assert kinds(state(READY), state(READY, revision=11, held=[READY])) == [K.HELD]


def test_the_brake_is_told_when_it_takes_hold_and_when_it_lets_go() -> None:
    held = state(READY, revision=11, ended=[READY], held=[READY])
    assert kinds(state(READY), held) == [K.HELD]
    assert kinds(state(READY, revision=11, spared=[READY]), held) == [K.HELD]
    [gone] = changes(held, state(revision=12))
    assert gone.kind is K.RELEASED
    assert "the brake let go of it" in gone.reason

    again = READY._replace(create_revision=12, mod_revision=12)
    assert kinds(held, state(again, revision=12)) == [K.REGISTERED, K.READY]
    # and while it is held it may come and go without being served otherwise
    assert kinds(held, state(READY, revision=12, ended=[LEAVING, again], held=[READY])) == []
    # what was gone already is held once more when the whole registry is lost
    assert kinds(state(revision=11), held) == [K.HELD]


def test_what_a_brake_or_a_backup_has_set_back_has_the_revision_of_the_state() -> None:
    aged = READY._replace(create_revision=5 - (1 << 48))

    assert [one.revision for one in changes(EMPTY, state(aged))] == [10, 10]


def test_health_is_told_when_it_turns_and_not_at_each_word() -> None:
    ill = instance(stage="starting", health="/healthz answered 503", modified=7)
    worse = instance(stage="starting", health="/healthz answered 500", modified=8)

    assert told(state(READY), state(ill)) == [(K.UNHEALTHY, "/healthz answered 503")]
    assert told(state(ill), state(worse)) == []
    assert told(state(worse), state(READY)) == [(K.READY, "")]
    assert told(state(ill), state(STARTING)) == [(K.STARTING, "")]
    assert kinds(EMPTY, state(ill)) == [K.REGISTERED, K.UNHEALTHY]


def test_another_address_is_a_move() -> None:
    moved = instance("10.0.0.2:8080", modified=9)

    [found] = changes(state(READY), state(moved))

    assert (found.kind, found.address) == (K.MOVED, "10.0.0.2:8080")
    assert found.reason == "it was at 10.0.0.1:8080"


def test_a_rejection_is_told_with_its_reason_and_its_end() -> None:
    stray = instance("8.8.8.8:8080")
    [_, _, rejected] = changes(EMPTY, state(stray))
    assert rejected.kind is K.REJECTED
    assert "ALLOW_NETWORKS" in rejected.reason

    assert kinds(state(stray), state(instance(modified=9))) == [K.MOVED, K.ACCEPTED]
    assert kinds(state(stray), state(revision=11)) == [K.EXPIRED]


def test_who_loses_an_address_is_told_though_its_own_record_is_as_it_was() -> None:
    newcomer = instance(branch="other", name="i-2", at=9)

    found = changes(state(READY), state(READY, newcomer))

    assert [(one.branch, one.kind) for one in found] == [
        ("other", K.REGISTERED),
        ("other", K.READY),
        ("main", K.REJECTED),
    ]
    assert "registered later by branch 'other'" in found[2].reason
    assert kinds(state(READY, newcomer), state(READY, revision=11)) == [K.ACCEPTED, K.EXPIRED]


def test_a_record_that_cannot_be_read_is_told_with_what_there_is() -> None:
    [one, other] = changes(EMPTY, state(raw("routes/a/b/c/d", at=5)))
    assert (one.kind, one.branch, one.service) == (K.REGISTERED, "", "")
    assert one.instance == "routes/a/b/c/d"
    assert other.kind is K.REJECTED
    assert "4 parts" in other.reason

    [one, other] = changes(EMPTY, state(route("main", value="no address")))
    assert one[3:7] == ("main", "web", "", "")
    assert other.kind is K.REJECTED


def test_a_key_too_long_to_be_shown_whole_is_told_as_rejected() -> None:
    long = instance("8.8.8.8:80", branch="x" * 300)

    assert kinds(EMPTY, state(long)) == [K.REGISTERED, K.READY, K.REJECTED]
    assert kinds(state(long), state(long, revision=11)) == []


def test_a_rejection_of_a_strange_key_alone_is_found() -> None:
    """The key as it is shown is not the key: what is told must not hang on that."""
    long = instance(branch="x" * 300)
    newcomer = instance(branch="other", name="i-2", at=9)

    found = changes(state(long), state(long, newcomer))

    assert [one.kind for one in found if one.branch == "x" * 300] == [K.REJECTED]


def test_claims_are_told_with_their_labels() -> None:
    mine, other = claim("main", "web", "main-web", "main"), claim("main", "web", "main-web")

    assert told(EMPTY, state(mine)) == [(K.CLAIMED, "main-web, main")]
    assert told(state(mine), state(other)) == [(K.CLAIMED, "main-web")]
    later = ClaimRecord(("main-web", "main"), "2026-11-22T09:00:00Z").dump()
    assert told(state(mine), state(mine._replace(value=later))) == []
    assert kinds(EMPTY, state(ended=[mine._replace(create_revision=5)])) == [K.CLAIMED, K.UNCLAIMED]


def test_a_claim_that_meets_an_older_one_is_told_as_rejected() -> None:
    older, newer = (
        claim("fix-foo", "web", "fix-foo", at=1),
        claim("fix/foo", "web", "fix-foo", at=2),
    )

    found = changes(state(newer), state(older, newer))

    assert [(one.branch, one.kind) for one in found] == [
        ("fix-foo", K.CLAIMED),
        ("fix/foo", K.REJECTED),
    ]
    assert "whose claim is older" in found[1].reason


def test_all_that_is_wrong_with_a_claim_is_one_change() -> None:
    labels = ("fix-foo-web", "fix-foo")
    older, newer = claim("fix-foo", "web", *labels, at=1), claim("fix/foo", "web", *labels, at=2)

    _, _, rejected = changes(EMPTY, state(older, newer))

    assert rejected.kind is K.REJECTED
    assert all(f"label {one} belongs to" in rejected.reason for one in labels)


def test_neither_frontends_nor_a_release_are_told() -> None:
    after = state(
        raw("frontends/f", b"{}"), raw("release", b"me"), ended=[raw("frontends/g", at=5)]
    )

    assert changes(EMPTY, after) == ()


@given(entries, entries)
def test_nothing_is_told_of_what_is_the_same(one: list[Entry], other: list[Entry]) -> None:
    found = state(*one, held=other, spared=one)

    # equal, and no object of it the same
    again = State(
        Snapshot("c", 10, {bytes(bytearray(e.key)): Entry(*e) for e in one}),
        *(getattr(found, name) for name in ("generation", "at", "held", "spared")),
    )
    assert changes(found, found) == ()
    assert changes(found, again) == ()


def named(found: list[Entry]) -> list[Entry]:
    """Those whose names tell them apart: by hand there is one unreadable value a service."""
    kept = []
    for entry in found:
        try:
            key = KEYS.parse(entry.key)
        except ValueError:
            continue
        if isinstance(key, ClaimKey) or (isinstance(key, RouteKey) and key.instance):
            kept.append(entry)
    return kept


def instances(given: State | None) -> dict[tuple[str, str, str], tuple[str, str, str, bool]]:
    """What is known of each instance: address, stage, hold, and whether it is rejected."""
    if given is None:
        return {}
    found = see_all(given, MARKS.table(given.snapshot), rules=MARKS).values()
    return {
        (one.branch, one.service, one.instance): (
            one.address,
            one.stage.value,
            one.hold.value,
            bool(one.rejected),
        )
        for one in found
        if one.instance
    }


STAGES = {
    K.STARTING: "starting",
    K.READY: "ready",
    K.UNHEALTHY: "unhealthy",
    K.DRAINING: "draining",
}
HOLDS = {K.LOST: "spared", K.HELD: "held"}
ENDS = {K.DEREGISTERED, K.EXPIRED, K.REMOVED, K.RELEASED}


def replayed(
    known: dict[tuple[str, str, str], tuple[str, str, str, bool]], found: Iterable[Change]
) -> dict[tuple[str, str, str], tuple[str, str, str, bool]]:
    """What somebody knows who was told all that happened, in its order."""
    known = dict(known)
    for one in found:
        name = (one.branch, one.service, one.instance)
        if not one.instance:
            continue
        if one.kind in ENDS:
            del known[name]
            continue
        # who is held was ready, or nobody would hold it
        _, stage, hold, rejected = known.get(name, ("", "ready", "", False))
        if one.kind is K.REGISTERED:
            stage, hold = "starting", ""
        stage, hold = STAGES.get(one.kind, stage), HOLDS.get(one.kind, hold)
        rejected = (rejected or one.kind is K.REJECTED) and one.kind is not K.ACCEPTED
        known[name] = (one.address, stage, hold, rejected)
    return known


@given(
    before=st.none() | entries.map(named),
    after=entries.map(named),
    ended=entries.map(named),
    masks=st.tuples(*[st.integers(0, 4095)] * 3),
)
def test_who_is_told_all_changes_knows_what_is_there(
    before: list[Entry] | None, after: list[Entry], ended: list[Entry], masks: tuple[int, ...]
) -> None:
    def chosen(found: list[Entry], mask: int) -> list[Entry]:
        return [one for number, one in enumerate(found) if mask >> number & 1 and one.lease]

    # some are in both states, as they were; what ended came and went in between, or before
    shared = chosen(before or [], masks[0])
    there = {one.key: one for one in (*after, *shared)}
    old = state(*before, held=chosen(before, masks[1])) if before is not None else None
    new = state(
        *there.values(),
        revision=20,
        ended=[one._replace(create_revision=15) if masks[2] & 1 else one for one in ended],
        held=chosen(after, masks[1]),
        spared=chosen(after, masks[2]),
    )
    new = replace(new, spared=new.spared - new.held)

    found = changes(old, new)

    assert replayed(instances(old), found) == instances(new)
    assert list(found) == sorted(found, key=lambda one: one.revision)
    assert found == changes(old, new)
