"""The verbs of the registry: register, check, restate, deregister, and who has applied it.

A registration is a route on a lease and the claim that gives it a host. Both are written in one
transaction, so nobody ever sees the one without the other. Everything here may be called again
after a fault: a write that timed out may have been applied, and doing it once more is harmless.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from registry.claims import Claim, Rejection, read_claims, settle_labels
from registry.faults import StoreUnreachable
from registry.keys import ClaimKey, FrontendKey, Keyspace, RouteKey
from registry.records import ClaimRecord, FrontendRecord, InstanceRecord
from registry.snapshot import Entry
from registry.standing import Standing
from registry.store import Store
from registry.transactions import (
    Condition,
    Operation,
    absent,
    created_at,
    drop,
    holds,
    on_lease,
    put,
    unchanged,
)

CLAIM_TRIES = 5
"""A claim is made once in a branch's life; even a crowd of its instances needs two or three."""

POLL_S = 0.05
"""A frontend applies a change in about 100 ms, so a shorter pause would only ask twice."""

log = logging.getLogger("registry")


@dataclass(frozen=True, slots=True)
class Registered:
    """What a registration came to.

    Attributes:
        revision: Of the write; a frontend that has reported it has applied the registration.
        claim: What it is served under.
        conflicts: Labels that were lost to somebody who claimed them at the same time.
    """

    revision: int
    claim: Claim
    conflicts: tuple[Rejection, ...] = ()


class _Found(NamedTuple):
    """A claim as it stands, and how to see that it has not changed.

    Attributes:
        claim: None if there is none, or one that cannot be read and is to be replaced.
        created_at: The revision at which such a one was made; 0 if there is none.
    """

    claim: Claim | None
    condition: Condition
    created_at: int = 0


class Registrations:
    """Registrations below one prefix of one registry; threads may share it."""

    def __init__(
        self, store: Store, *, keys: Keyspace, now: Callable[[], float] = time.time
    ) -> None:
        self.store = store
        self.keys = keys
        self._now = now

    def register(
        self,
        key: RouteKey,
        record: InstanceRecord,
        *,
        lease: int,
        default_service: str,
        held: Claim | None = None,
        known: Standing | None = None,
    ) -> Registered:
        """Write a route, and the claim that it needs, at one revision.

        A claim that stands is used as it is.

        Args:
            lease: 0 for a route that stays until it is removed.
            held: The claim that this program had before; if the registry has lost it, it is
                written again as it was.
            known: For who registers many at once: what ``standing`` gave, so that the claims are
                read once. Whoever gives it calls ``settle_races`` with it in the end.

        Raises:
            LeaseLost: Nothing was written; the lease is gone.
            LabelsExhausted: Nothing was written.
            StoreUnreachable: It may have been written; registering again is harmless.
            StoreDenied: Nothing was written.
        """
        name = ClaimKey(key.branch, key.service)
        route = put(self.keys.raw(key), record.dump(), lease=lease)
        found = self._known_claim(name, known) if known is not None else self._read_claim(name)
        for _ in range(CLAIM_TRIES):
            if found.claim is not None:
                commit = self.store.commit([found.condition], then=[route])
                made = Registered(commit.revision, found.claim) if commit.succeeded else None
            else:
                standing = known or self.standing()
                labels = standing.choose(name, default_service=default_service, held=held)
                created = (held and held.created) or instant(self._now())
                claim = Claim(name, labels, found.created_at, created)
                made = self._claim(claim, found.condition, route, standing=standing)
                if made is not None and known is None:
                    made = self._give_way(made, standing)
            if made is not None:
                return made
            found = self._read_claim(name)
        raise StoreUnreachable(
            f"the claim of branch {key.branch!r} service {key.service!r} changed"
            f" {CLAIM_TRIES} times while it was read"
        )

    def standing(self) -> Standing:
        """Every claim there is, for registering many at once."""
        snapshot = self.store.list(self.keys.claims)
        claims, rejections = read_claims(snapshot.entries.values(), keys=self.keys)
        if rejections:
            log.warning("%d claims cannot be read, such as %s", len(rejections), rejections[0].key)
        return Standing(snapshot.revision, claims)

    def settle_races(self, known: Standing) -> tuple[Rejection, ...]:
        """Give way where another made a claim for the same label, and made it first.

        Only claims that came after those known are read. Frontends come to the same answer from
        the claims alone, so nothing is served wrongly before, or without, this.

        Returns:
            What was lost to others; each claim of ours has been written again with another label.
        """
        later = self.store.list(self.keys.claims, created_after=known.revision)
        claims, _ = read_claims(later.entries.values(), keys=self.keys)
        if not known.learn(claims, revision=later.revision):
            return ()
        ownership = settle_labels(known.claims(), keys=self.keys)
        lost: list[Rejection] = []
        for claim, written_at in known.written():
            labels = ownership.labels[claim.key]
            if not labels or labels == claim.labels:
                continue
            raw = self.keys.raw(claim.key)
            commit = self.store.commit(
                [unchanged(raw, written_at)],
                then=[put(raw, ClaimRecord(labels, claim.created).dump())],
            )
            if commit.succeeded:
                given = Claim(claim.key, labels, claim.create_revision, claim.created)
                known.note(given, written_at=commit.revision)
                lost += [one for one in ownership.conflicts if one.key == raw.decode()]
        return tuple(lost)

    def check(
        self, key: RouteKey, record: InstanceRecord, *, lease: int, claim: Claim | None = None
    ) -> bool:
        """Whether the route is there, on this lease, with our value, and its claim stands."""
        raw = self.keys.raw(key)
        conditions = [on_lease(raw, lease), holds(raw, record.dump())]
        if claim is not None:
            conditions.append(created_at(self.keys.raw(claim.key), claim.create_revision))
        return self.store.commit(conditions, then=[]).succeeded

    def restate(self, key: RouteKey, record: InstanceRecord, *, lease: int) -> int:
        """Write another state of a route; the revision of it.

        Raises:
            LeaseLost: The lease is gone, and the route with it.
        """
        return self.store.write(self.keys.raw(key), record.dump(), lease=lease)

    def give_way_to(
        self, other: Entry, key: RouteKey, record: InstanceRecord, *, lease: int
    ) -> int:
        """Write another state of a route, but only if the other's stands as it was read.

        Of two that give way to each other in the same moment one stays.

        Returns:
            The revision of it; 0 if the other's has changed, and nothing was written.
        """
        raw = self.keys.raw(key)
        conditions = [unchanged(other.key, other.mod_revision), on_lease(raw, lease)]
        commit = self.store.commit(conditions, then=[put(raw, record.dump(), lease=lease)])
        return commit.revision if commit.succeeded else 0

    def deregister(self, key: RouteKey, *, lease: int) -> int:
        """Delete a route, unless somebody else has it on another lease by now; the revision of it.

        The claim stays: the host is the branch's own.
        """
        raw = self.keys.raw(key)
        return self.store.commit([on_lease(raw, lease)], then=[drop(raw)]).revision

    def frontends(self) -> tuple[tuple[str, FrontendRecord], ...]:
        """Every live frontend, by its id; one that cannot be read is left out."""
        found: list[tuple[str, FrontendRecord]] = []
        for entry in self.store.list(self.keys.frontends).entries.values():
            try:
                key = self.keys.parse(entry.key)
                record = FrontendRecord.parse(entry.value)
            except ValueError:
                # its regenerator writes it anew when it reports next
                continue
            if isinstance(key, FrontendKey):
                found.append((key.id, record))
        return tuple(sorted(found, key=lambda one: one[0]))

    def default_service(self) -> str:
        """The service that frontends give the short host; empty if none has reported."""
        return next((record.default_service for _, record in self.frontends()), "")

    def wait_applied(
        self,
        revision: int,
        *,
        removal: bool = False,
        within_s: float,
        wait: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> tuple[str, ...]:
        """Wait until every live frontend has applied a revision.

        Args:
            removal: Wait for ``released``: nothing older is served on any connection.
            wait: Given the seconds; what is true ends the waiting early, such as ``Event.wait``.

        Returns:
            The ids of the frontends that are late; none if all have applied it.
        """
        give_up_at = clock() + within_s
        while True:
            late = tuple(
                frontend
                for frontend, record in self.frontends()
                if (record.released if removal else record.revision) < revision
            )
            left_s = give_up_at - clock()
            if not late or left_s <= 0 or wait(min(POLL_S, left_s)):
                return late

    def _known_claim(self, name: ClaimKey, known: Standing) -> _Found:
        claim = known.get(name)
        raw = self.keys.raw(name)
        return _Found(claim, created_at(raw, claim.create_revision) if claim else absent(raw))

    def _read_claim(self, name: ClaimKey) -> _Found:
        raw = self.keys.raw(name)
        entry = self.store.read(raw)
        if entry is None:
            return _Found(None, absent(raw))
        claims, _ = read_claims([entry], keys=self.keys)
        if not claims:
            return _Found(None, unchanged(raw, entry.mod_revision), entry.create_revision)
        return _Found(claims[0], created_at(raw, entry.create_revision))

    def _claim(
        self, claim: Claim, condition: Condition, route: Operation, *, standing: Standing
    ) -> Registered | None:
        """Write a route with a new claim; None if somebody else has made the claim meanwhile."""
        record = ClaimRecord(claim.labels, claim.created)
        commit = self.store.commit(
            [condition], then=[route, put(self.keys.raw(claim.key), record.dump())]
        )
        if not commit.succeeded:
            standing.forget(claim.key)
            return None
        claim = replace(claim, create_revision=claim.create_revision or commit.revision)
        standing.note(claim, written_at=commit.revision)
        return Registered(commit.revision, claim)

    def _give_way(self, made: Registered, standing: Standing) -> Registered:
        """Look for a race over the labels of a claim that was just made."""
        lost = self.settle_races(standing)
        return replace(made, claim=standing.get(made.claim.key) or made.claim, conflicts=lost)


def instant(at: float) -> str:
    """A point in time as it stands in records: UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
