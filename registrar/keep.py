"""Keeps one registration alive, for ever: register, refresh, look, put back.

Nothing that the registry does ends it: an outage of an hour is an hour of tries, and a lease that
is gone is a new lease. Clock and waiting are arguments, so an hour takes no time in a test.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from registrar.listener import Listener
from registrar.news import News
from registry.claims import Claim
from registry.faults import (
    AddressTaken,
    Fault,
    LeaseLost,
    MetadataUnavailable,
    PlaceUnknown,
    StoreDenied,
)
from registry.holders import present_holder, successor
from registry.keys import RouteKey
from registry.records import HEALTH_MAX, Address, InstanceRecord, State
from registry.registrations import Registrations, instant
from registry.snapshot import Entry
from registry.spread import vary
from registry.terminal import escaped

RETRY_FIRST_S = 0.05
"""The upper end of the first pause; it doubles, so that a crowd of registrars spreads."""

RETRY_MOST_S = 1.0
"""The upper end of every later one: nobody is missed for longer than a second (contract 5)."""

DENIED_S = 30.0
"""Between tries where we were refused: only an operator can change that (contract 5)."""

REFRESHES = 3
"""Refreshes in the life of a lease, so that two may fail."""

RETIRING_S = 1.0
"""Between two turns when there is a date to leave by: a turn, and a read of the branch's keys."""

log = logging.getLogger("registrar")


def run_beside(work: Callable[[], None]) -> None:
    """On a thread of its own, which ends with the process."""
    threading.Thread(target=work, name="beside", daemon=True).start()


@dataclass(frozen=True, slots=True)
class Timing:
    """Where time comes from.

    Attributes:
        wait: Waits for so many seconds, until it is rung, or until we are to stop; says whether
            we are.
        ring: Ends the waiting.
        clock: A clock that only goes forward.
        now: The time of day, for the record.
        beside: Does something that may take seconds, without waiting for it.
    """

    wait: Callable[[float], bool]
    ring: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    beside: Callable[[Callable[[], None]], object] = run_beside


@dataclass(frozen=True, slots=True)
class Retirement:
    """That we are to leave the rotation before we are told to end.

    Attributes:
        by: On the clock, when it is high time even if nobody serves in our place; None for never.
    """

    by: float | None

    def is_due(self, now: float) -> bool:
        """Whether nobody is waited for any more."""
        return self.by is not None and now >= self.by


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to stand in the registry of how an instance fares.

    Attributes:
        health: Why it gets no requests, as a sentence; only of one that is starting.
    """

    state: State
    health: str = ""


@dataclass(slots=True)
class Hold:
    """What this registration has in the registry, as far as we know.

    Attributes:
        lease: 0 for none. A key may be on it even if we have not heard so.
        registered: The route was written on this lease.
        address: Where we are; None while that has to be found out, for the first time or anew.
        record: What stood in the route last; None until the first address was known.
        claim: The labels that are ours; kept when the registry loses them.
    """

    lease: int = 0
    registered: bool = False
    address: Address | None = None
    record: InstanceRecord | None = None
    claim: Claim | None = None


class Keep:
    """One registration, kept alive by whoever calls ``run``.

    Attributes:
        held: What it has; to be changed by nobody while ``run`` runs.
    """

    def __init__(  # noqa: PLR0913 - each is told by who knows it
        self,
        registrations: Registrations,
        key: RouteKey,
        *,
        locate: Callable[[], Address],
        ttl_s: int,
        default_service: str,
        timing: Timing,
        listener: Listener | None = None,
        recalls: bool = False,
        give_up_when_denied: bool = False,
        rng: random.Random | None = None,
    ) -> None:
        """Touches nothing yet. What it registers is starting until ``wish`` says otherwise.

        Args:
            locate: Finds out where we are; asked until it answers, and anew with a new lease.
            recalls: An earlier process may have registered this very instance.
            give_up_when_denied: Let ``run`` end with the refusal instead of trying on.
        """
        self.registrations = registrations
        self.key = key
        self.held = Hold()
        self._locate = locate
        self._ttl_s = ttl_s
        self._lasts_s = ttl_s
        self._default_service = default_service
        self._timing = timing
        self._listener = listener or Listener()
        self._recalls = recalls
        self._give_up_when_denied = give_up_when_denied
        self._rng = rng or random.Random()  # noqa: S311 - spreads tries, guards nothing
        self._backoff_s = RETRY_FIRST_S
        self._relief = ""
        self._trouble_at = 0.0
        self._wish = Wish(State.STARTING)
        self._is_tried = self._was_registered = self._was_ready = False
        self._looks_around = self._has_retired = False
        self._found: Address | None = None
        self._news, self._lost = News(), News()
        self._retirement: Retirement | None = None
        self._heard_at = 0.0

    def run(self) -> None:
        """Go on until ``wait`` says stop. The registration is left as it is then.

        Raises:
            StoreDenied: Only if it was made to give up then.
        """
        delay_s = 0.0
        while not self._timing.wait(delay_s):
            delay_s = self._turn()

    def wish(self, state: State, health: str = "") -> None:
        """Have this state in the registry from now on; any thread may say so. Never waits.

        Args:
            health: Why it gets no requests, as a sentence; with as much of it as a record has room
                for, and nothing that could not stand there.
        """
        self._wish = Wish(state, escaped(health)[:HEALTH_MAX])
        self._timing.ring()

    def look_around(self) -> None:
        """Find out anew where we are, and register there; any thread may say so. Never waits.

        Not by the thread that keeps the lease: who knows it may take seconds to say so.
        """
        if not self._looks_around:
            self._looks_around = True
            self._timing.beside(self._look)

    def retire(self, retirement: Retirement) -> None:
        """Leave the rotation as soon as it says; any thread may say so. Never waits."""
        self._retirement = retirement
        self._timing.ring()

    @property
    def wished(self) -> State:
        """What was wished for last; of who has retired, that it drains."""
        return self._wanted.state

    @property
    def _wanted(self) -> Wish:
        return Wish(State.DRAINING) if self._has_retired else self._wish

    def write_draining(self) -> int:
        """Have frontends let go; the revision of it. For whoever waited until ``run`` has ended.

        Where the lease is gone it takes a new one: frontends spare what vanished without a word.

        Raises:
            LeaseLost: That one is gone as well, or the address may be somebody else's by now.
        """
        held = self.held
        if held.record is None:
            raise LeaseLost("nothing was registered")
        record = replace(held.record, state=State.DRAINING, health="")
        try:
            return self.registrations.restate(self.key, record, lease=held.lease)
        except LeaseLost:
            if self._was_silent():
                raise
            held.lease = self.registrations.store.grant(self._ttl_s).id
            return self.registrations.restate(self.key, record, lease=held.lease)

    def _turn(self) -> float:
        """One step: register, or refresh and look. Gives the seconds until the next one."""
        try:
            return self._step()
        finally:
            if not self._is_tried:
                self._is_tried = True
                self._listener.tried()

    def _step(self) -> float:
        started_at = self._timing.clock()
        try:
            if self.held.registered:
                self._refresh()
                self._try_to_retire()
            else:
                self._register()
        except LeaseLost as fault:
            log.warning("%s; registering again", fault, extra=self._words())
            self.held.lease, self.held.registered = 0, False
            # who was away for so long may be somewhere else now
            self.look_around()
            # a registry that loses every lease at once must not be asked in a circle
            return self._pause()
        except StoreDenied as fault:
            if self._give_up_when_denied:
                raise
            self._tell(fault)
            return vary(DENIED_S, self._rng)
        except Fault as fault:
            self._tell(fault)
            return self._pause()
        self._tell(None)
        # from before the question: whoever is frozen over the answer was silent all the while
        self._heard_at = started_at
        self._backoff_s = RETRY_FIRST_S
        pause_s = self._lasts_s / REFRESHES
        retirement = self._retirement
        if retirement is not None and retirement.by is not None and self.wished is State.READY:
            pause_s = min(pause_s, RETIRING_S)
        return max(0.0, vary(pause_s, self._rng) - (self._timing.clock() - started_at))

    def _register(self) -> None:
        held = self.held
        self._move()
        if held.address is None:
            held.address = self._find_address()
        if held.record is None and self._recalls:
            self._recall(held.address)
        if held.record is None:
            self._listener.located(held.address)
        if self._was_registered and self._was_silent():
            self._check_address(held.address)
        if not held.lease:
            lease = self.registrations.store.grant(self._ttl_s)
            held.lease, self._lasts_s = lease.id, lease.ttl_s
        since = held.record.registered_at if held.record else instant(self._timing.now())
        wanted = self._wanted
        held.record = InstanceRecord(held.address, wanted.state, since, self._ttl_s, wanted.health)
        default_service = self._default_service
        if held.claim is None:
            default_service = self.registrations.default_service() or default_service
        done = self.registrations.register(
            self.key,
            held.record,
            lease=held.lease,
            default_service=default_service,
            held=held.claim,
        )
        held.claim, held.registered = done.claim, True
        words = self._words(revision=done.revision)
        log.info("registered %s as %s", held.record.address, held.record.state, extra=words)
        for conflict in done.conflicts:
            log.warning("%s", conflict.reason, extra=self._words())
        if not self._was_registered:
            self._was_registered = True
            self._listener.registered(done, held.record)
        self._note_state(held.record.state, done.revision)

    def _find_address(self) -> Address:
        """Where we are; as far as that can be found out anew, else where we were."""
        try:
            return self._locate()
        except Fault as fault:
            if self.held.record is None:
                raise
            address = self.held.record.address
            log.warning("%s; going on with %s", fault, address, extra=self._words())
            return address

    def _recall(self, address: Address) -> None:
        """Go on with what an earlier process registered for this very instance, as it stands.

        Whoever is served is not taken out only because the one that registers it began anew.
        """
        entry = self.registrations.store.read(self.registrations.keys.raw(self.key))
        if entry is None:
            return
        try:
            record = InstanceRecord.parse(entry.value)
        except ValueError:
            # written over in a moment
            return
        if record.address == address and record.state is State.READY:
            self.held.record, self._wish = record, Wish(record.state)

    def _was_silent(self) -> bool:
        """Whether a lease may have ended because nothing was heard of us for so long."""
        return self._timing.clock() - self._heard_at > self._lasts_s

    def _check_address(self, address: Address) -> None:
        """Whoever was silent for long may find somebody else at the address that it was told.

        Raises:
            AddressTaken: Registering would take it from them.
        """
        holder = present_holder(self.registrations, self.key, address)
        if holder:
            self.held.address = None
            raise AddressTaken(f"{address} is not ours any more: {holder}")

    def _refresh(self) -> None:
        if self._move():
            self._register()
            return
        held, wanted = self.held, self._wanted
        before = held.record
        if before is not None and wanted != Wish(before.state, before.health):
            wished = replace(before, state=wanted.state, health=wanted.health)
            revision = self.registrations.restate(self.key, wished, lease=held.lease)
            held.record = wished
            if wished.state is not before.state:
                words = self._words(revision=revision)
                log.info("%s is %s", wished.address, wished.state, extra=words)
                self._note_state(wished.state, revision)
        self._lasts_s = self.registrations.store.refresh(held.lease)
        if held.record is None or self.registrations.check(
            self.key, held.record, lease=held.lease, claim=held.claim
        ):
            return
        log.warning("somebody removed our key or changed it; putting it back", extra=self._words())
        held.registered = False
        self._register()

    def _look(self) -> None:
        """Find out where we are; whatever keeps that from being known is told, not each time."""
        try:
            self._found = self._locate()
        except Fault as fault:
            if self._lost.is_new(str(fault), self._timing.clock()):
                log.warning("%s; going on as it was", fault, extra=self._words())
        else:
            self._lost.forget()
        finally:
            self._looks_around = False
        self._timing.ring()

    def _move(self) -> bool:
        """Take note of what was found, before anything more is said of where we were.

        Returns:
            Whether it is somewhere else, and has to be registered there.
        """
        held, found, self._found = self.held, self._found, None
        if found is None or held.address is None or found == held.address:
            return False
        log.warning("we are at %s now", found, extra=self._words())
        held.address, held.registered = found, False
        return True

    def _try_to_retire(self) -> None:
        """Leave the rotation if another instance serves in our place, or it is high time.

        And come back if that one has gone, and there is time.
        """
        held, retirement = self.held, self._retirement
        if retirement is None or held.record is None:
            return
        is_due = retirement.is_due(self._timing.clock())
        if not self._has_retired and held.record.state is State.READY:
            other = successor(self.registrations, self.key, held.record.address)
            if other is not None or is_due:
                self._leave_rotation(other, replace(held.record, state=State.DRAINING))
        elif self._has_retired and not is_due and not self._has_successor(held.record.address):
            self._has_retired = False
            text = "nobody serves in our place any more; back in rotation"
            log.warning(text, extra=self._words())
            self._timing.ring()

    def _has_successor(self, address: Address) -> bool:
        return successor(self.registrations, self.key, address) is not None

    def _leave_rotation(self, other: Entry | None, draining: InstanceRecord) -> None:
        held = self.held
        if other is None:
            revision = self.registrations.restate(self.key, draining, lease=held.lease)
        else:
            revision = self.registrations.give_way_to(other, self.key, draining, lease=held.lease)
        if not revision:
            # the other one has changed: it may be leaving as well
            return
        held.record, self._has_retired = draining, True
        why = "another instance serves" if other else "no other instance serves, and time is up"
        log.info("%s; out of rotation", why, extra=self._words(revision=revision))

    def _note_state(self, state: State, revision: int) -> None:
        if state is State.READY and not self._was_ready:
            self._was_ready = True
            self._listener.ready(revision)

    def _tell(self, fault: Fault | None) -> None:
        """Say when trouble begins, changes, goes on for long, and ends; not every second."""
        now = self._timing.clock()
        if fault is None:
            if self._relief:
                text = "%s after %.0f s"
                log.info(text, self._relief, now - self._trouble_at, extra=self._words())
            self._relief = ""
            self._news.forget()
            return
        if not self._relief:
            self._trouble_at = now
        if self._news.is_new(str(fault), now):
            log.warning("%s; trying on", fault, extra=self._words())
        is_ours = isinstance(fault, PlaceUnknown | MetadataUnavailable)
        self._relief = "we know where we are" if is_ours else "the registry takes us again"

    def _pause(self) -> float:
        pause_s = self._rng.uniform(0, self._backoff_s)
        self._backoff_s = min(2 * self._backoff_s, RETRY_MOST_S)
        return pause_s

    def _words(self, **more: object) -> dict[str, object]:
        return {"branch": self.key.branch, "service": self.key.service, **more}
