"""What a list shows that a watch should have shown before. Pure."""

from typing import NamedTuple

from registry.snapshot import Snapshot


class Missed(NamedTuple):
    """Keys that the watch got wrong."""

    written: int
    gone: int


def count_missed(known: Snapshot, fresh: Snapshot) -> Missed:
    """Hold a fresh list against the snapshot that the watch had led to.

    What was written after that snapshot is no miss. A deletion leaves no revision behind, so one
    that was under way while we listed is counted, too. Another cluster has nothing in common.
    """
    if fresh.cluster_id != known.cluster_id or fresh.revision < known.revision:
        return Missed(0, 0)
    written = sum(
        known.entries.get(entry.key) != entry
        for entry in fresh.entries.values()
        if entry.mod_revision <= known.revision
    )
    return Missed(written, len(known.entries.keys() - fresh.entries.keys()))
