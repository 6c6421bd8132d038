"""What a list shows that the watch should have shown before."""

from registry.audit import count_missed
from registry.snapshot import Entry, Snapshot


def snapshot(revision: int, *entries: Entry, cluster_id: str = "1") -> Snapshot:
    return Snapshot(cluster_id, revision, {entry.key: entry for entry in entries})


def entry(key: bytes, revision: int) -> Entry:
    return Entry(key, b"", revision, revision, 0)


def test_what_was_written_since_is_no_miss() -> None:
    known = snapshot(5, entry(b"a", 3))
    assert count_missed(known, snapshot(9, entry(b"a", 8), entry(b"b", 9))) == (0, 0)


def test_what_was_written_before_and_never_shown_is_one() -> None:
    known = snapshot(5, entry(b"a", 3))
    assert count_missed(known, snapshot(9, entry(b"a", 4), entry(b"b", 5))) == (2, 0)


def test_what_is_gone_is_counted() -> None:
    assert count_missed(snapshot(5, entry(b"a", 3)), snapshot(5)) == (0, 1)


def test_another_history_has_nothing_in_common() -> None:
    known = snapshot(5, entry(b"a", 3))
    assert count_missed(known, snapshot(9, cluster_id="2")) == (0, 0)
    assert count_missed(known, snapshot(4)) == (0, 0)
