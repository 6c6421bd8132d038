"""The brake on mass removal: routes that the registry lost are served while they still answer.

A registrar that takes its instance out writes ``draining`` first; a route that vanishes without
that is a loss. A few losses are containers that died, or leases that were lost under living
registrars: what still accepts connections is spared for as long as such a registrar takes to come
back. Many at once, or all of them, is a registry in trouble: leases that were cut off together, an
empty folder, an old backup. Then all lost routes come back and are held: those that do not accept
connections go, and the rest stay until they are registered again or an operator lets go of them.

Pure: snapshots, what addresses answered, and the time come from outside.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import NamedTuple

from registry.keys import ClaimKey, Keyspace, ReleaseKey
from registry.records import Address, InstanceRecord, State
from registry.snapshot import Entry, Snapshot

SHARE = 4
"""Losses of more than one in so many routes are no accident of single containers."""

LEAST = 2
"""As many losses are never too many: of three routes two may well die together."""

LEASES = 2
"""Leases that were cut off together vanish within the length of one; two leave room."""

TTL_S = 15
"""Of a lease whose record does not say, as the registrar's own default."""

EXPIRY_S = 3.0
"""How much later than its time etcd may end a lease: it looks twice a second, a few at a time."""

DEAF = 2
"""Refused connections in a row after which what is held is gone; one may be a restart."""

SPARED = 1 / 2
"""Of a TTL: a registrar that lost its lease notices within a third of one, and a bit of jitter."""

_AN_AGE = 1 << 48
"""More revisions than a store will ever have, so whatever is set back by it is older than all."""

Read = Callable[[Entry], tuple[ClaimKey, InstanceRecord] | None]
"""Reads a route: whose it is, and its record; None for one that is left out anyway."""


class Doubt(Enum):
    """Why a registry is not taken at its word."""

    LOSSES = auto()  # too many routes vanished within a window
    EMPTY = auto()  # neither a route nor a claim is left
    ELSEWHERE = auto()  # it is another cluster
    BACKWARDS = auto()  # its revision is lower than it was: restored, or begun anew


class Alarm(NamedTuple):
    """The brake took hold.

    Attributes:
        lost: How many instances are brought back.
        of: How many there were.
    """

    doubt: Doubt
    lost: int
    of: int


@dataclass(frozen=True, slots=True)
class Memory:
    """What was known when it was last written down, so that a restart does not forget it.

    Attributes:
        snapshot: As it was served, lost routes among it.
        held: Keys of those that the registry did not have.
        is_recent: It was written within the window; what is gone since then was lost just now.
    """

    snapshot: Snapshot
    held: frozenset[bytes] = frozenset()
    is_recent: bool = False


@dataclass(slots=True)
class _Lost:
    """A ready instance that vanished.

    Attributes:
        entry: As it was last, at the age by which it compares with what is there.
        at: When it was missed first.
        until: When it does not count any more, unless it is held.
        spared_until: How long it is served before that.
    """

    entry: Entry
    owner: ClaimKey
    address: Address
    at: float
    until: float
    spared_until: float
    refusals: int = 0


class _Present(NamedTuple):
    """A route that is there, with the revision by which it compares with a lost one."""

    age: int
    owner: ClaimKey
    record: InstanceRecord


class _LostClaim(NamedTuple):
    entry: Entry
    until: float


class _Ghost(NamedTuple):
    """A leased route that a restore brought back, with perhaps nobody behind it."""

    mod_revision: int
    until: float


class _Twin(NamedTuple):
    """What is served in the place of an entry that a restore brought back, until it is rewritten.

    Attributes:
        mod_revision: Of the entry; another one shows that somebody is behind it.
    """

    mod_revision: int
    entry: Entry


@dataclass(slots=True)
class Brake:
    """What stands between the registry and the routes.

    Attributes:
        keys: Where routes and claims lie.
        read: Judges a record as the table of routes does.
        window_s: Losses are counted together for so long, and for twice their TTL at least.
    """

    keys: Keyspace
    read: Read
    window_s: float
    memory: Memory | None = None
    _known: Snapshot | None = None
    _losses: dict[bytes, _Lost] = field(default_factory=dict)
    _spared: dict[bytes, _Lost] = field(default_factory=dict)
    _held: dict[bytes, _Lost] = field(default_factory=dict)
    _claims: dict[bytes, _LostClaim] = field(default_factory=dict)
    _ghosts: dict[bytes, _Ghost] = field(default_factory=dict)
    _twins: dict[bytes, _Twin] = field(default_factory=dict)
    _release: int = 0

    def saw(self, fresh: Snapshot, *, ended: Iterable[Entry] = (), now: float) -> Alarm | None:
        """Take the registry's newest state; tells when that makes the brake take hold.

        Args:
            ended: The last values of keys that were deleted on the way to it.
        """
        known, self._known = self._known, fresh
        if known is None:
            alarm = self._remember(fresh, now=now)
        elif fresh.cluster_id != known.cluster_id or fresh.revision < known.revision:
            alarm = self._change_history(self._served(known), fresh, raw=known, now=now)
        else:
            alarm = self._count(known, fresh, ended, now=now)
        self._settle_doubts(fresh)
        self._settle_lost(fresh, now=now)
        release = fresh.entries.get(self.keys.raw(ReleaseKey()))
        if release is not None and release.mod_revision != self._release:
            self._release = release.mod_revision
            self.let_go()
            return None
        return alarm

    def view(self) -> Snapshot | None:
        """The registry as it is to be served; None before it was seen."""
        return None if self._known is None else self._served(self._known)

    @property
    def held(self) -> int:
        """How many lost instances are served."""
        return len(self._held) + len(self._spared)

    @property
    def kept(self) -> frozenset[bytes]:
        """The keys of those among them that are held."""
        return frozenset(self._held)

    @property
    def spared(self) -> frozenset[bytes]:
        """The keys of those among them whose registrars may well be back in a moment."""
        return frozenset(self._spared)

    @property
    def is_braking(self) -> bool:
        """Whether the registry is not taken at its word."""
        return bool(self._held)

    def memorable(self) -> Memory | None:
        """What to write down."""
        view = self.view()
        return None if view is None else Memory(view, self.kept)

    def asked(self) -> frozenset[Address]:
        """The addresses of which it has to be known whether they accept connections."""
        return frozenset(one.address for one in (*self._held.values(), *self._spared.values()))

    def heard(self, answers: Mapping[Address, bool]) -> tuple[Entry, ...]:
        """Take what addresses answered; gives the lost routes that are dropped for it."""
        for one in self._held.values():
            if (accepts := answers.get(one.address)) is not None:
                one.refusals = 0 if accepts else one.refusals + 1
        dead = [key for key, one in self._spared.items() if answers.get(one.address) is False]
        deaf = [key for key, one in self._held.items() if one.refusals >= DEAF]
        gone = [self._spared.pop(key) for key in dead] + [self._held.pop(key) for key in deaf]
        return tuple(one.entry for one in gone)

    def tick(self, now: float) -> bool:
        """Forget what is over; says whether that changes what is to be served."""
        for key in [key for key, loss in self._losses.items() if loss.until <= now]:
            del self._losses[key]
        over = [key for key, ghost in self._ghosts.items() if ghost.until <= now]
        for key in over:
            del self._ghosts[key]
        silent = [key for key, one in self._spared.items() if one.spared_until <= now]
        for key in silent:
            del self._spared[key]
        if self._claims and not self.held:
            self._claims = {key: one for key, one in self._claims.items() if one.until > now}
        return bool(over or silent)

    def let_go(self) -> None:
        """Take the registry at its word."""
        for kept in (self._held, self._spared, self._losses, self._claims):
            kept.clear()
        self._ghosts.clear()
        self._twins.clear()

    def _remember(self, fresh: Snapshot, *, now: float) -> Alarm | None:
        """Hold the first state after a start against what was written down."""
        if (memory := self.memory) is None:
            return None
        before, self.memory = memory.snapshot, None
        if fresh.cluster_id != before.cluster_id or fresh.revision < before.revision:
            return self._change_history(before, fresh, raw=before, now=now)
        self._miss_claims(before, fresh, now=now)
        for key in memory.held & self._gone_routes(before, fresh):
            self._lose(before.entries[key], self._held, now=now)
        if not memory.is_recent:
            return None
        return self._count(before, fresh, (), now=now)

    def _change_history(
        self, before: Snapshot, fresh: Snapshot, *, raw: Snapshot, now: float
    ) -> Alarm | None:
        """Go on with another store, or with an older state of the same one.

        Its revisions do not compare with those before, so all that was known is set back by more
        than any of them: it is older than what comes, in the order that it had.
        """
        doubt = Doubt.BACKWARDS if fresh.cluster_id == raw.cluster_id else Doubt.ELSEWHERE
        before = replace(before, entries={key: _aged(e) for key, e in before.entries.items()})
        self.let_go()
        # what a backup brings back was said of another day
        release = fresh.entries.get(self.keys.raw(ReleaseKey()))
        self._release = release.mod_revision if release is not None else 0
        if any(_is_same(entry, raw.entries.get(key)) for key, entry in fresh.entries.items()):
            self._compare(before, fresh, now=now)
        self._miss_claims(before, fresh, now=now)
        for key in self._gone_routes(before, fresh):
            self._lose(before.entries[key], self._held, now=now)
        if not self._held:
            return None
        return Alarm(doubt, len(self._held), self._count_routes(before))

    def _count(
        self, known: Snapshot, fresh: Snapshot, ended: Iterable[Entry], *, now: float
    ) -> Alarm | None:
        """Note what was lost, and take hold where it is too much."""
        gone = self._gone_routes(known, fresh)
        if gone:
            last = {entry.key: entry for entry in ended}
            served = self._served(known).entries
            for key in sorted(gone):
                entry = last.get(key, known.entries[key])
                aged = served.get(key)
                if aged is not None and entry.lease:
                    lost = entry._replace(create_revision=aged.create_revision)
                    self._lose(lost, self._losses, now=now)
                    if key in self._losses:
                        self._spared[key] = self._losses[key]
        self._miss_claims(self._served(known), fresh, now=now)
        self._leave_removed(fresh, ended)
        if not self._losses:
            return None
        if self._held:
            # it goes on; told at its beginning
            self._hold_losses()
            return None
        before = self._count_routes(fresh) + len(self._losses)
        if not any(map(self._is_ours, fresh.entries)):
            doubt = Doubt.EMPTY
        elif len(self._losses) > max(LEAST, before / SHARE):
            doubt = Doubt.LOSSES
        else:
            return None
        self._hold_losses()
        return Alarm(doubt, len(self._held), before)

    def _lose(self, entry: Entry, into: dict[bytes, _Lost], *, now: float) -> None:
        found = self.read(entry)
        if found is not None and found[1].state is State.READY:
            owner, record = found
            ttl_s = record.ttl_s or TTL_S
            until = now + max(self.window_s, LEASES * ttl_s)
            spared_until = now + SPARED * ttl_s
            into[entry.key] = _Lost(entry, owner, record.address, now, until, spared_until)

    def _hold_losses(self) -> None:
        self._held |= self._losses
        self._losses.clear()
        self._spared.clear()

    def _miss_claims(self, before: Snapshot, fresh: Snapshot, *, now: float) -> None:
        for key in _gone(before, fresh, below=self.keys.claims):
            self._claims[key] = _LostClaim(before.entries[key], now + self.window_s)

    def _leave_removed(self, fresh: Snapshot, ended: Iterable[Entry]) -> None:
        """Let go of branches whose claims somebody took away while others stand."""
        removed = {entry.key for entry in ended if entry.key.startswith(self.keys.claims)}
        removed -= fresh.entries.keys()
        if removed and any(key.startswith(self.keys.claims) for key in fresh.entries):
            for lost in (self._held, self._spared, self._losses):
                for key in [k for k, one in lost.items() if self.keys.raw(one.owner) in removed]:
                    del lost[key]

    def _compare(self, before: Snapshot, fresh: Snapshot, *, now: float) -> None:
        """Take an old backup of the same store for what it is.

        What we knew stays as we knew it, a leased route's newer value included: its registrar
        finds the old one and writes it anew. A leased route that we did not know had left, and
        stays out until its lease has proved alive.
        """
        for key, entry in fresh.entries.items():
            known = before.entries.get(key)
            if known is not None:
                newer = known if entry.lease else entry
                twin = newer._replace(create_revision=known.create_revision)
                self._twins[key] = _Twin(entry.mod_revision, twin)
            elif entry.lease and key.startswith(self.keys.routes):
                found = self.read(entry)
                ttl_s = (found[1].ttl_s if found else 0) or TTL_S
                self._ghosts[key] = _Ghost(entry.mod_revision, now + ttl_s + EXPIRY_S)

    def _settle_doubts(self, fresh: Snapshot) -> None:
        """Take at its word what somebody has written anew."""
        self._claims = {k: one for k, one in self._claims.items() if k not in fresh.entries}
        if not (self._ghosts or self._twins):
            return
        written = {key: entry.mod_revision for key, entry in fresh.entries.items()}
        self._ghosts = {
            k: one for k, one in self._ghosts.items() if written.get(k) == one.mod_revision
        }
        self._twins = {
            k: one for k, one in self._twins.items() if written.get(k) == one.mod_revision
        }

    def _settle_lost(self, fresh: Snapshot, *, now: float) -> None:
        """Let go of what is there again, by its key or by its address."""
        if not (self._held or self._losses):
            return
        there: dict[Address, list[_Present]] = {}
        for key, entry in self._plain(fresh).entries.items():
            if key.startswith(self.keys.routes) and (found := self.read(entry)) is not None:
                present = _Present(entry.create_revision, *found)
                there.setdefault(present.record.address, []).append(present)

        def is_back(key: bytes, one: _Lost) -> bool:
            return key in fresh.entries or any(
                _has_taken(one, present, now=now) for present in there.get(one.address, ())
            )

        self._held = {k: one for k, one in self._held.items() if not is_back(k, one)}
        self._losses = {k: one for k, one in self._losses.items() if not is_back(k, one)}
        self._spared = {k: one for k, one in self._spared.items() if k in self._losses}

    def _served(self, known: Snapshot) -> Snapshot:
        """A state with what was lost, and without what is in doubt."""
        plain = self._plain(known)
        lost = self._held | self._spared
        if not lost:
            return plain
        held = {key: one.entry for key, one in lost.items()}
        needed = {self.keys.raw(one.owner) for one in lost.values()}
        claims = {key: one.entry for key, one in self._claims.items() if key in needed}
        return replace(plain, entries={**plain.entries, **claims, **held})

    def _plain(self, known: Snapshot) -> Snapshot:
        """What the registry has, at the age that it had, without what is in doubt."""
        if not (self._ghosts or self._twins):
            return known
        twins = {key: one.entry for key, one in self._twins.items()}
        entries = {key: entry for key, entry in known.entries.items() if key not in self._ghosts}
        return replace(known, entries={**entries, **twins})

    def _is_ours(self, key: bytes) -> bool:
        return key.startswith((self.keys.routes, self.keys.claims))

    def _count_routes(self, snapshot: Snapshot) -> int:
        return sum(key.startswith(self.keys.routes) for key in snapshot.entries)

    def _gone_routes(self, before: Snapshot, fresh: Snapshot) -> frozenset[bytes]:
        return _gone(before, fresh, below=self.keys.routes)


def _gone(before: Snapshot, fresh: Snapshot, *, below: bytes) -> frozenset[bytes]:
    gone = before.entries.keys() - fresh.entries.keys()
    return frozenset(key for key in gone if key.startswith(below))


def _has_taken(one: _Lost, present: _Present, *, now: float) -> bool:
    """Whether a record that is there shows that a lost one's address is not its own any more.

    Its own service that starts does not: a sidecar may come back to a running one. Nor does a
    record that is older than the lost one, until its lease has proved alive.
    """
    owner, record = present.owner, present.record
    if owner == one.owner and record.state is State.STARTING:
        return False
    if present.age > one.entry.create_revision:
        return True
    proved_s = (record.ttl_s or TTL_S) + EXPIRY_S
    return owner.branch != one.owner.branch and now >= one.at + proved_s


def _aged(entry: Entry) -> Entry:
    return entry._replace(create_revision=entry.create_revision - _AN_AGE)


def _is_same(entry: Entry, other: Entry | None) -> bool:
    """Whether two stores have an entry from the same write, so that one is a copy of the other."""
    return (
        other is not None
        and entry.value == other.value
        and entry.lease == other.lease
        and entry.mod_revision == other.mod_revision
    )
