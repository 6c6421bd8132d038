"""The one client of etcd, for every program: reads, writes, transactions, leases, watches.

It speaks to etcd's JSON gateway, because no client package survives the failures that matter here
(docs/decisions). Each call asks every endpoint at most once and then raises; trying for ever is
the caller's part, for only the caller knows what else has to be done meanwhile.
"""

import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from registry.faults import LeaseLost
from registry.gateway import Gateway, Parse
from registry.snapshot import Entry, Snapshot
from registry.transactions import (
    Commit,
    Condition,
    Operation,
    absent,
    created_at,
    drop,
    fetch,
    holds,
    on_lease,
    put,
    unchanged,
)
from registry.transport import EtcdSettings
from registry.watch import Following
from registry.wire import (
    Batch,
    below,
    body,
    commit_body,
    parse_commit,
    parse_first,
    parse_snapshot,
    revision_of,
)

__all__ = [
    "Batch",
    "Commit",
    "Condition",
    "Deleted",
    "Etcd",
    "EtcdSettings",
    "Following",
    "Lease",
    "Operation",
    "absent",
    "created_at",
    "drop",
    "fetch",
    "holds",
    "on_lease",
    "put",
    "unchanged",
]

T = TypeVar("T")

CALL_TIMEOUT_S = 2.0
"""etcd answers in milliseconds; an election takes about a second, then the next call succeeds."""

READ_TIMEOUT_S = 30.0
"""Silence that ends a watch: opening it again is one cheap request, and finds a dead link."""


class Lease(NamedTuple):
    """What keeps keys alive for ``ttl_s`` after the last refresh; etcd chooses both."""

    id: int
    ttl_s: int


class Deleted(NamedTuple):
    """The store's revision after a deletion, and how many keys it took."""

    revision: int
    keys: int


class Etcd:
    """A connection to one etcd cluster. Thread safe; make it after a fork, not before.

    Every call may raise:

    * ``StoreUnreachable``: no endpoint answered in time. **A write may have been applied all the
      same**; read before writing again.
    * ``StoreDenied``: user, password, role or certificate is not good enough. Nothing changed.
    * ``StoreMisspoken``: what answers is no JSON gateway of etcd, or does not take the call.
      Nothing changed.

    Args:
        call_timeout_s: How long each endpoint has for an answer to begin.
        rng: Chooses which endpoint is asked first.
    """

    def __init__(
        self,
        settings: EtcdSettings,
        *,
        call_timeout_s: float = CALL_TIMEOUT_S,
        rng: random.Random | None = None,
    ) -> None:
        self._gateway = Gateway(
            settings,
            call_timeout_s=call_timeout_s,
            rng=rng or random.Random(),  # noqa: S311 - spreads load, guards nothing
        )
        self._watches = 0

    def read(self, key: bytes) -> Entry | None:
        """One key, or None where there is none."""
        found = self._ask("kv/range", body(key=key), parse_snapshot)
        return found.entries.get(key)

    def list(
        self, prefix: bytes, *, keys_only: bool = False, created_after: int = 0, at: int = 0
    ) -> Snapshot:
        """All keys below a prefix, as of one revision.

        Args:
            prefix: What the keys begin with.
            keys_only: Leave the values empty.
            created_after: Only keys that came into being after this revision.
            at: A revision of the past, 0 for now; the snapshot names the store's own all the same.
                One that was compacted away is refused as ``StoreMisspoken``.
        """
        least = created_after + 1 if created_after else 0
        content = body(**below(prefix), keys_only=keys_only, min_create_revision=least, revision=at)
        return self._ask("kv/range", content, parse_snapshot)

    def write(self, key: bytes, value: bytes, *, lease: int = 0) -> int:
        """Write a key; without ``lease`` it is cut loose from the one it was on.

        Returns:
            The revision that it was written at.

        Raises:
            LeaseLost: The lease is gone. Nothing changed.
        """
        return self._change("kv/put", body(key=key, value=value, lease=lease), revision_of)

    def delete(self, key: bytes) -> Deleted:
        """Delete a key; nothing happens where there is none."""
        return self._change("kv/deleterange", body(key=key), _parse_deleted)

    def delete_prefix(self, prefix: bytes) -> Deleted:
        """Delete every key that begins so."""
        return self._change("kv/deleterange", body(**below(prefix)), _parse_deleted)

    def commit(
        self,
        conditions: Sequence[Condition],
        *,
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> Commit:
        """Carry out ``then`` if all conditions hold, else ``otherwise``, at one revision.

        It is never sent twice: after ``StoreUnreachable`` it may have been applied, and a second
        one would meet its own traces.

        Raises:
            LeaseLost: A ``put`` names a lease that is gone. Nothing changed.
        """
        return self._change("kv/txn", commit_body(conditions, then, otherwise), parse_commit)

    def grant(self, ttl_s: int) -> Lease:
        """A new lease. One whose answer is lost dies unused after its time."""
        return self._ask(
            "lease/grant",
            body(TTL=ttl_s),
            lambda document: Lease(int(document["ID"]), int(document["TTL"])),
        )

    def refresh(self, lease_id: int) -> int:
        """Start the lease's time anew.

        Returns:
            The time it has from now on, in seconds.

        Raises:
            LeaseLost: It is gone, and so are its keys.
        """
        ttl_s = self._ask(
            "lease/keepalive",
            body(ID=lease_id),
            lambda document: int(parse_first(document).get("TTL", 0)),
        )
        if ttl_s <= 0:
            raise LeaseLost("etcd does not know the lease any more")
        return ttl_s

    def revoke(self, lease_id: int) -> None:
        """End a lease and delete its keys; one that is gone already is fine."""
        with suppress(LeaseLost):
            self._ask("lease/revoke", body(ID=lease_id), dict)

    def follow(
        self, prefix: bytes, *, from_revision: int, read_timeout_s: float = READ_TIMEOUT_S
    ) -> Following:
        """Open a watch: every change below the prefix from this revision on.

        It returns when the watch stands, at another endpoint than the last time where there are
        several.

        Raises:
            WatchCompacted: The start lies below what etcd still has.
        """
        self._watches += 1

        def open_at(endpoint: str, token: str) -> Following:
            return Following(
                self._gateway, endpoint, token, prefix=prefix, from_revision=from_revision
            )

        following = self._gateway.try_endpoints(open_at, turn=self._watches)
        following.wait_at_most(read_timeout_s)
        return following

    def call(self, path: str, **fields: Any) -> dict[str, Any]:
        """A call of etcd's API that has no word of its own here, such as those about accounts.

        Returns:
            Etcd's answer, with its own names in it.
        """
        return self._change(path, body(**fields), dict)

    def close(self) -> None:
        """Let go of all connections. Watches are closed by whoever opened them."""
        self._gateway.close()

    def _ask(self, path: str, content: bytes, parse: Parse[T]) -> T:
        return self._gateway.call(path, content, parse, repeatable=True)

    def _change(self, path: str, content: bytes, parse: Parse[T]) -> T:
        return self._gateway.call(path, content, parse, repeatable=False)


def _parse_deleted(document: dict[str, Any]) -> Deleted:
    return Deleted(revision_of(document), int(document.get("deleted", 0)))
