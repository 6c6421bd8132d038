"""A store in memory that behaves as etcd does, with knobs for the days on which it does not.

``tests/contract/test_registrations.py`` runs the same claims over this and over real etcd.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from registry.etcd import Deleted, Lease
from registry.faults import LeaseLost, StoreDenied, StoreMisspoken, StoreUnreachable
from registry.snapshot import Entry, Snapshot
from registry.transactions import Commit, Condition, Operation


@dataclass
class MemoryStore:
    """One member, one history.

    Attributes:
        clock: What leases end by.
        up: Whether it answers.
        refuses: Whether it answers that we may not.
        loses_answers: Whether it does what it is asked, and then says nothing.
        calls: What it was asked, in order.
        meanwhile: Called before a commit is judged: what others do at the same time.
        hides: A prefix that we have no right to list.
    """

    clock: Callable[[], float] = lambda: 0.0
    up: bool = True
    refuses: bool = False
    loses_answers: bool = False
    calls: list[str] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None
    hides: bytes = b"\0"
    revision: int = 1
    entries: dict[bytes, Entry] = field(default_factory=dict)
    leases: dict[int, tuple[int, float]] = field(default_factory=dict)
    compacted: int = 0
    history: dict[int, dict[bytes, Entry]] = field(default_factory=dict)

    def read(self, key: bytes) -> Entry | None:
        self._answer("read")
        return self.entries.get(key)

    def list(
        self, prefix: bytes, *, keys_only: bool = False, created_after: int = 0, at: int = 0
    ) -> Snapshot:
        self._answer("list")
        if prefix.startswith(self.hides):
            raise StoreDenied("etcd at http://memory:2379 refused us: permission denied")
        found = {
            key: entry._replace(value=b"") if keys_only else entry
            for key, entry in sorted(self._entries(at).items())
            if key.startswith(prefix) and entry.create_revision > created_after
        }
        return Snapshot("memory", self.revision, found)

    def write(self, key: bytes, value: bytes, *, lease: int = 0) -> int:
        return self.commit([], then=[Operation("put", key, value, lease)]).revision

    def delete(self, key: bytes) -> Deleted:
        self._answer("delete")
        count = int(key in self.entries)
        self.revision += count
        self.entries.pop(key, None)
        self._remember()
        self._lose_answer()
        return Deleted(self.revision, count)

    def commit(
        self,
        conditions: Sequence[Condition],
        *,
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> Commit:
        self._answer("commit")
        self.meanwhile()
        succeeded = all(map(self._holds, conditions))
        operations = then if succeeded else otherwise
        if any(one.lease and one.lease not in self.leases for one in operations):
            raise LeaseLost("requested lease not found")
        self.revision += any(one.kind != "fetch" for one in operations)
        reads = [self._do(one) for one in operations]
        self._remember()
        self._lose_answer()
        return Commit(succeeded, self.revision, tuple(one for one in reads if one is not None))

    def grant(self, ttl_s: int) -> Lease:
        self._answer("grant")
        lease = 1000 + len(self.calls)
        self.leases[lease] = (ttl_s, self.clock() + ttl_s)
        return Lease(lease, ttl_s)

    def refresh(self, lease_id: int) -> int:
        self._answer("refresh")
        if lease_id not in self.leases:
            raise LeaseLost("etcd does not know the lease any more")
        ttl_s, _ = self.leases[lease_id]
        self.leases[lease_id] = (ttl_s, self.clock() + ttl_s)
        return ttl_s

    def revoke(self, lease_id: int) -> None:
        self._answer("revoke")
        self._end_lease(lease_id)

    def restart(self) -> None:
        """Etcd gives every lease its whole time again."""
        self.leases = {
            lease: (ttl_s, self.clock() + ttl_s) for lease, (ttl_s, _) in self.leases.items()
        }
        self.up = True

    def forget_everything(self) -> None:
        """An operator starts anew with an empty folder."""
        self.entries.clear()
        self.leases.clear()
        self.history.clear()
        self.revision = 1

    def compact(self, revision: int) -> None:
        """Forget how things were before a revision."""
        self.compacted = revision

    def _entries(self, at: int) -> dict[bytes, Entry]:
        if not at:
            return self.entries
        if not self.compacted <= at <= self.revision:
            raise StoreMisspoken("etcd at http://memory:2379 refused the call: required revision")
        return self.history.get(max((one for one in self.history if one <= at), default=0), {})

    def _remember(self) -> None:
        self.history[self.revision] = dict(self.entries)

    def _answer(self, call: str) -> None:
        self.calls.append(call)
        if not self.up:
            raise StoreUnreachable("no connection to etcd at http://memory:2379")
        for lease, (_, ends_at) in list(self.leases.items()):
            if ends_at < self.clock():
                self._end_lease(lease)
        if self.refuses:
            raise StoreDenied("etcd at http://memory:2379 refused the password")

    def _lose_answer(self) -> None:
        if self.loses_answers:
            raise StoreUnreachable("etcd at http://memory:2379 did not answer in time")

    def _end_lease(self, lease: int) -> None:
        if self.leases.pop(lease, None) is None:
            return
        gone = [key for key, entry in self.entries.items() if entry.lease == lease]
        for key in gone:
            del self.entries[key]
        self.revision += bool(gone)
        self._remember()

    def _holds(self, condition: Condition) -> bool:
        entry = self.entries.get(condition.key)
        match condition.kind:
            case "absent":
                return entry is None
            case "created_at":
                return entry is not None and entry.create_revision == condition.expected
            case "unchanged":
                return entry is not None and entry.mod_revision == condition.expected
            case "on_lease":
                return (entry.lease if entry else 0) == condition.expected
            case "holds":
                return entry is not None and entry.value == condition.expected

    def _do(self, operation: Operation) -> tuple[Entry, ...] | None:
        before = self.entries.get(operation.key)
        match operation.kind:
            case "put":
                created = before.create_revision if before else self.revision
                self.entries[operation.key] = Entry(
                    operation.key, operation.value, created, self.revision, operation.lease
                )
                return None
            case "drop":
                self.entries.pop(operation.key, None)
                return None
            case "fetch":
                return (before,) if before else ()
