"""What of ``Etcd`` the verbs of the registry use, so that a test may put another store there."""

from collections.abc import Sequence
from typing import Protocol

from registry.etcd import Deleted, Lease
from registry.snapshot import Entry, Snapshot
from registry.transactions import Commit, Condition, Operation


class Store(Protocol):
    """What of ``Etcd`` is used here."""

    def read(self, key: bytes) -> Entry | None:
        """Read one key."""

    def list(
        self, prefix: bytes, *, keys_only: bool = False, created_after: int = 0, at: int = 0
    ) -> Snapshot:
        """Read all keys below a prefix."""

    def write(self, key: bytes, value: bytes, *, lease: int = 0) -> int:
        """Write one key; the revision of it."""

    def commit(
        self,
        conditions: Sequence[Condition],
        *,
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> Commit:
        """Do several things at one revision, if the conditions hold."""

    def delete(self, key: bytes) -> Deleted:
        """Delete one key."""

    def grant(self, ttl_s: int) -> Lease:
        """A new lease."""

    def refresh(self, lease_id: int) -> int:
        """Keep a lease; the seconds that it has left."""

    def revoke(self, lease_id: int) -> None:
        """End a lease, and every key on it."""
