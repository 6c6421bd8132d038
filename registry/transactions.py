"""What a transaction asks and does, in our own words; ``wire`` puts it into etcd's.

A transaction is etcd's one way to write only if nobody was faster: all conditions are judged and
one of two lists of operations is carried out at one revision.
"""

from typing import Literal, NamedTuple

from registry.snapshot import Entry


class Condition(NamedTuple):
    """One thing that must be so.

    Attributes:
        kind: Which of the functions below made it.
        expected: The revision, lease or value it must have; 0 for ``absent``.
    """

    kind: Literal["absent", "created_at", "unchanged", "on_lease", "holds"]
    key: bytes
    expected: int | bytes = 0


class Operation(NamedTuple):
    """One thing to do. ``value`` and ``lease`` belong to ``put`` alone."""

    kind: Literal["put", "drop", "fetch"]
    key: bytes
    value: bytes = b""
    lease: int = 0


class Commit(NamedTuple):
    """How a transaction ended.

    Attributes:
        succeeded: All conditions held, so ``then`` was carried out; else ``otherwise`` was.
        revision: The store's revision after it. Where something was written, all of it was
            written at this revision.
        reads: What each ``fetch`` found, in their order; an absent key gives an empty tuple.
    """

    succeeded: bool
    revision: int
    reads: tuple[tuple[Entry, ...], ...]


def absent(key: bytes) -> Condition:
    """The key does not exist."""
    return Condition("absent", key)


def created_at(key: bytes, revision: int) -> Condition:
    """The key is the one that came into being at this revision; rewritten or not."""
    return Condition("created_at", key, revision)


def unchanged(key: bytes, revision: int) -> Condition:
    """The key was last written at this revision."""
    return Condition("unchanged", key, revision)


def on_lease(key: bytes, lease: int) -> Condition:
    """The key lives on this lease; 0 holds for a key without one and for no key at all."""
    return Condition("on_lease", key, lease)


def holds(key: bytes, value: bytes) -> Condition:
    """The key exists and has this value."""
    return Condition("holds", key, value)


def put(key: bytes, value: bytes, *, lease: int = 0) -> Operation:
    """Write a key. Without ``lease`` it lives until deleted, even if it was on a lease before."""
    return Operation("put", key, value, lease)


def drop(key: bytes) -> Operation:
    """Delete a key; nothing happens if there is none."""
    return Operation("drop", key)


def fetch(key: bytes) -> Operation:
    """Read a key as it is within the transaction."""
    return Operation("fetch", key)
