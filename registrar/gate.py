"""What has to be so before a service gets requests: its address is free, and it is healthy.

A thread of its own sees to it, in this order: the first registration, frontends that let go of
whoever had our address before, the command, its health. It says through ``Keep.wish`` what is to
stand in the registry, and writes nothing itself.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from registrar.bell import Bell
from registrar.health import FIRST_TOLD_S, Health, HealthSettings
from registrar.keep import DENIED_S, Keep
from registrar.news import REPEAT_S
from registrar.probing import Answer, Ask
from registry.faults import Fault
from registry.holders import former_holder
from registry.records import Address, InstanceRecord, State
from registry.spread import vary

FIRST_ANSWER_S = 1.0
"""A registry that is there answers in milliseconds; for another one the command does not wait."""

GLANCE_S = 0.1
"""For the first answer of a service that runs already: who takes longer is registered meanwhile."""

NOTED_S = 10.0
"""Between two sentences in the registry: a service that answers otherwise each time must not have
etcd write, and frontends read, each time."""

SLACK_S = 2.0
"""Over the time that frontends have: a call of that length may have begun at its end."""

log = logging.getLogger("registrar")


@dataclass(frozen=True, slots=True)
class GateSettings:
    """How the gate is opened.

    Attributes:
        ask: How a service is asked; None where it counts as healthy as soon as it is started.
        release_timeout_s: For frontends to let go of who had our address before.
        hint: What to look at where it does not get healthy.
    """

    health: HealthSettings
    ask: Ask | None
    release_timeout_s: float
    hint: str = ""


class Gate:
    """Says when the command may start, and from then on whether it may get requests."""

    def __init__(
        self,
        keep: Keep,
        settings: GateSettings,
        *,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        """Starts nothing yet.

        Args:
            wake: Called when whoever waits for ``may_begin`` should look again.
        """
        self._keep = keep
        self._settings = settings
        self._wake = wake
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads questions, guards nothing
        self._bell = Bell()
        self._may_begin = self._is_begun = self._is_free = False
        self._registered: tuple[Address, int] | None = None
        self._give_up_at = 0.0
        self._thread = threading.Thread(target=self._work, name="gate", daemon=True)

    def start(self) -> None:
        """Begin to see to it."""
        self._give_up_at = self._clock() + FIRST_ANSWER_S
        self._thread.start()

    def located(self, address: Address) -> None:
        """Who runs already, and answers at once, is never registered as starting.

        That saves frontends a reload, and whoever waits for the service the time between two.
        """
        ask = self._settings.ask
        if not self._is_begun or ask is None:
            return
        within_s = min(self._settings.health.timeout_s, GLANCE_S)
        answer = ask(self._settings.health.address or address, within_s=within_s)
        if answer.passed is not None:
            self._wish(State.READY if answer.passed else State.STARTING)

    def tried(self) -> None:
        """The first attempt to register is over; without a registration nothing is waited for."""
        if self._registered is None:
            self._may_begin = True
            self._wake()

    def registered(self, record: InstanceRecord, revision: int) -> None:
        """Take note of the first registration, which has not to be the first attempt."""
        self._registered = record.address, revision
        self._bell.ring()

    def begin(self) -> None:
        """Take note that the service was started."""
        self._is_begun = True
        self._bell.ring()

    def ask_again(self) -> None:
        """Ask the service now, however long it was to be left alone."""
        self._bell.ring()

    def stop(self) -> None:
        """Ask and wish nothing any more."""
        self._bell.stop()

    @property
    def may_begin(self) -> bool:
        """Whether the command may start: nobody else is sent to it, or that cannot be awaited."""
        return self._may_begin

    @property
    def patience_s(self) -> float:
        """Seconds that are left for that; then it starts all the same."""
        return self._give_up_at - self._clock()

    def _work(self) -> None:
        while not self._bell.stopped:
            try:
                self._await(lambda: self._registered is not None)
                self._free_address()
                self._await(lambda: self._is_begun)
                self._watch_health()
            except Exception:
                # a mistake of ours must not keep a service from its requests
                log.exception("a mistake of ours; please report it with this trace")
                self._wish(State.READY)
                self._bell.wait(DENIED_S)

    def _await(self, claim: Callable[[], bool]) -> None:
        while not (claim() or self._bell.wait()):
            pass

    def _wish(self, state: State, health: str = "") -> None:
        if not self._bell.stopped:
            self._keep.wish(state, health)

    def _free_address(self) -> None:
        """Wait until no frontend sends requests of others to our address; once."""
        if self._is_free or self._registered is None:
            return
        try:
            self._await_release(*self._registered)
        except Fault as fault:
            log.warning("%s; not waiting for frontends", fault, extra=self._words())
        self._is_free = self._may_begin = True
        self._wake()

    def _await_release(self, address: Address, revision: int) -> None:
        keep, within_s = self._keep, self._settings.release_timeout_s
        reason = former_holder(keep.registrations, keep.key, address, revision=revision)
        if not reason:
            return
        began_at = self._clock()
        self._give_up_at = began_at + within_s + SLACK_S
        text = "waiting until frontends have let go of %s: %s"
        log.info(text, address, reason, extra=self._words())
        late = keep.registrations.wait_applied(
            revision, removal=True, within_s=within_s, wait=self._bell.wait, clock=self._clock
        )
        took_s = self._clock() - began_at
        if self._bell.stopped:
            return
        if late:
            text = "not let go of %s in time by frontend %s; not waiting any longer"
            log.warning(text, address, ", ".join(late), extra=self._words(took_s=took_s))
        else:
            text = "all frontends have let go of %s after %.2f s"
            log.info(text, address, took_s, extra=self._words(took_s=took_s))

    def _watch_health(self) -> None:
        """Ask again and again, and wish what follows."""
        settings, ask = self._settings.health, self._settings.ask
        if ask is None:
            self._wish(State.READY)
            self._bell.wait()
            return
        health = Health(settings, self._keep.wished)
        since = self._clock()
        tell_at = note_at = since + FIRST_TOLD_S
        noted = ""
        pause_s = 0.0
        while not self._bell.wait(vary(pause_s, self._rng)):
            before = health
            answer = self._ask(ask)
            health = health.answered(answer.passed, answer.words)
            now = self._clock()
            if health.state is not before.state:
                self._tell_change(health, now - since)
                since, tell_at, note_at = now, now + FIRST_TOLD_S, now + NOTED_S
                noted = health.answer if health.state is State.STARTING else ""
                self._wish(health.state, noted)
            elif health.state is State.STARTING and not answer.passed:
                if now >= tell_at:
                    self._tell_unhealthy(health, now - since)
                    tell_at = now + REPEAT_S
                if now >= note_at and health.answer != noted:
                    noted, note_at = health.answer, now + NOTED_S
                    self._wish(State.STARTING, noted)
            pause_s = health.pause_s(now - since)

    def _ask(self, ask: Ask) -> Answer:
        """Ask where we were told to, else where frontends are told that we are."""
        record, settings = self._keep.held.record, self._settings.health
        address = settings.address or (record.address if record else None)
        if address is None:
            return Answer(passed=False, words="the address is not known")
        return ask(address, within_s=settings.timeout_s)

    def _tell_change(self, health: Health, took_s: float) -> None:
        if health.state is State.READY:
            log.info("healthy after %.1f s", took_s, extra=self._words(took_s=took_s))
        else:
            text = "no longer healthy: %s; out of rotation"
            log.warning(text, health.answer, extra=self._words())

    def _tell_unhealthy(self, health: Health, took_s: float) -> None:
        log.warning(
            "not healthy for %.0f s: %s; no requests are sent here (%s)",
            took_s,
            health.answer,
            self._settings.hint,
            extra=self._words(took_s=took_s),
        )

    def _words(self, **more: float) -> dict[str, object]:
        key, rounded = self._keep.key, {name: round(value, 3) for name, value in more.items()}
        return {"branch": key.branch, "service": key.service, **rounded}
