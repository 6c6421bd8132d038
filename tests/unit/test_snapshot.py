"""Applying what a watch tells leads to what a list would show."""

from hypothesis import given
from hypothesis import strategies as st

from registry.snapshot import Change, Entry, Snapshot


def put(key: bytes, revision: int, *, created: int = 0, value: bytes = b"v") -> Change:
    return Change(key, Entry(key, value, created or revision, revision, 0), revision)


def test_a_change_gives_a_new_snapshot_and_leaves_the_old_one_alone() -> None:
    before = Snapshot("c", 1)

    after = before.after([put(b"a", 2)], revision=2)

    assert before.entries == {}
    assert before.revision == 1
    assert after == Snapshot("c", 2, {b"a": Entry(b"a", b"v", 2, 2, 0)})


def test_a_deleted_key_is_gone() -> None:
    before = Snapshot("c", 1).after([put(b"a", 2), put(b"b", 3)], revision=3)

    after = before.after([Change(b"a", None, 4)], revision=4)

    assert set(after.entries) == {b"b"}


def test_deleting_a_key_that_is_not_there_costs_nothing() -> None:
    assert Snapshot("c", 1).after([Change(b"a", None, 2)], revision=2) == Snapshot("c", 2)


def test_a_change_that_the_list_has_already_shown_is_left_out() -> None:
    """After a reconnect etcd may tell again what is known."""
    listed = Snapshot("c", 5, {b"a": Entry(b"a", b"new", 2, 5, 0)})

    assert listed.after([put(b"a", 3), Change(b"a", None, 4)], revision=4) == listed


def test_a_revision_without_changes_moves_the_snapshot_on() -> None:
    assert Snapshot("c", 1).after([], revision=7).revision == 7


def test_the_revision_never_goes_back() -> None:
    assert Snapshot("c", 9).after([], revision=7).revision == 9


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.booleans()), max_size=20))
def test_changes_in_batches_lead_where_changes_at_once_lead(
    history: list[tuple[bytes, bool]],
) -> None:
    changes = [
        put(key, revision) if is_put else Change(key, None, revision)
        for revision, (key, is_put) in enumerate(history, start=1)
    ]
    at_once = Snapshot("c", 0).after(changes, revision=len(changes))

    one_by_one = Snapshot("c", 0)
    for change in changes:
        one_by_one = one_by_one.after([change], revision=change.revision)

    assert one_by_one == at_once
    # what is known already may be told once more, the last change included
    assert one_by_one.after(changes[-1:], revision=len(changes)) == at_once
