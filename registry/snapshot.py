"""The registry at one revision: the unit of work of everything that reads it.

A snapshot is never changed; applying events gives the next one. Nobody acts on an event, only on
the snapshot after it, so a missed event costs nothing once the registry has been listed anew.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self


class Entry(NamedTuple):
    """One key of etcd with what etcd knows of it.

    Attributes:
        key: The whole key, prefix included, as raw bytes: nobody has parsed it yet.
        value: The value as raw bytes.
        create_revision: When the key came into being; deleting and writing anew changes it.
        mod_revision: When the value was last written.
        lease: Id of the lease it lives on, 0 for none.
    """

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    lease: int


class Change(NamedTuple):
    """One key was written, or is gone (``entry`` is None) at a revision."""

    key: bytes
    entry: Entry | None
    revision: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All keys below one prefix at one revision of one cluster.

    Attributes:
        cluster_id: Etcd's own name for the cluster; another one means another history.
        revision: The store's revision that this is the state of.
        entries: By key.
        ended: What was deleted since the snapshot before, as it was last. A list cannot know.
    """

    cluster_id: str
    revision: int
    entries: Mapping[bytes, Entry] = field(default_factory=dict)
    ended: tuple[Entry, ...] = field(default=(), compare=False)

    def after(self, changes: Iterable[Change], *, revision: int) -> Self:
        """The snapshot that the changes lead to, at the revision of the last of them.

        A change that is older than the entry it meets is left out: after a reconnect etcd may tell
        again what a list has already shown.
        """
        entries = dict(self.entries)
        ended: list[Entry] = []
        for change in changes:
            known = entries.get(change.key)
            if known is not None and known.mod_revision >= change.revision:
                continue
            if change.entry is None:
                if known is not None:
                    ended.append(entries.pop(change.key))
            else:
                entries[change.key] = change.entry
        return type(self)(self.cluster_id, max(self.revision, revision), entries, tuple(ended))
