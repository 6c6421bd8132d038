"""One registration beside whatever is announced: kept by a thread of its own, taken out in order.

All calls to the registry are made by that one thread, so that nothing is written after it was
deleted. Whoever started it never waits for a call: each step has a point in time at which it is
given up, and then the command is told to end although the registry has not answered.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from registrar.aws.notices import Notice
from registrar.bell import Bell
from registrar.connections import Connections, wait_idle
from registrar.gate import SLACK_S, Gate
from registrar.keep import DENIED_S, Keep, Retirement
from registry.faults import Fault
from registry.records import State

ANSWER_S = 0.6
"""For the registry's first answer after we were told to stop; it takes milliseconds."""

LAST_S = 0.3
"""For deleting the key of a registry that did not give one: with it, not yet a second."""

REMOVAL_S = 0.8
"""For all of it where nothing was waited for before: not yet a second either."""

log = logging.getLogger("registrar")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long others are waited for at the end.

    Attributes:
        release_timeout_s: For frontends to let go.
        drain_s: For requests in flight.
        sees_connections: The command's connections are in our network namespace for certain; else
            they count only where somebody listens on the port.
    """

    release_timeout_s: float
    drain_s: float
    sees_connections: bool = True

    @property
    def most_s(self) -> float:
        """All of it at most, from being told to the end; as a rule some 0.3 s."""
        waiting_s = self.release_timeout_s + self.drain_s + 2 * SLACK_S
        return ANSWER_S + waiting_s + REMOVAL_S


class Registration:
    """A kept registration, and the way out of it.

    Attributes:
        refusal: What ended it before its time, if it was made to give up when refused.
    """

    def __init__(
        self,
        keep: Keep,
        gate: Gate,
        *,
        bell: Bell,
        patience: Patience,
        connections: Callable[[], Connections | None],
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Starts nothing yet.

        Args:
            bell: What ``keep`` waits by.
            connections: Looks at the connections of the service.
            wake: Called whenever whoever waits should look again.
        """
        self.refusal: Fault | None = None
        self._give_up_at: float | None = None
        self._is_abandoned = False
        self._bell = bell
        self._hurry = threading.Event()
        self._over = threading.Event()
        self._keep = keep
        self._gate = gate
        self._patience = patience
        self._connections = connections
        self._wake = wake
        self._clock = clock
        self._now = now
        self._left_at = 0.0
        self._let_go: Callable[[], None] = lambda: None
        # a daemon: a call that nobody answers must not hold up the end of the process
        self._thread = threading.Thread(target=self._work, name="registration", daemon=True)

    def start(self) -> None:
        """Begin to register, as starting."""
        self._gate.start()
        self._thread.start()

    @property
    def may_begin(self) -> bool:
        """Whether the service may be started: no frontend sends it requests of others."""
        return self._gate.may_begin

    @property
    def begin_patience_s(self) -> float:
        """Seconds that are left to wait for that."""
        return self._gate.patience_s

    def begin(self) -> None:
        """Take note that the service was started, so that it is registered as ready in time."""
        self._gate.begin()

    def leave(self, let_go: Callable[[], None] = lambda: None) -> None:
        """Begin to take it out.

        Args:
            let_go: Called when nobody sends requests any more and those in flight are done, or
                when that cannot be waited for. Twice does no harm.
        """
        if self._bell.stopped:
            return
        self._let_go = let_go
        self._left_at = self._clock()
        self._give_up_at = self._left_at + ANSWER_S
        # first, so that nothing is wished for any more
        self._gate.stop()
        self._bell.stop()

    def abandon(self) -> None:
        """Leave it in the registry as it is, for as long as its lease lasts; nothing more is done.

        For a service that goes on, and that somebody else will keep registered.
        """
        self._is_abandoned = True
        self._gate.stop()
        self._bell.stop()

    @property
    def leaves_within_s(self) -> float:
        """Seconds that leaving takes at most."""
        return self._patience.most_s

    def wait_leaving(self, within_s: float) -> bool:
        """Wait so long for it to be taken out; whether it is."""
        return self._bell.wait_stopped(within_s)

    def retire(self, notice: Notice) -> None:
        """Have it leave the rotation early, when another instance serves in its place.

        Where the notice sets a date, at last in time to leave before it.
        """
        by, within = None, ""
        if notice.at is not None:
            left_s = max(0.0, notice.at - self._now() - self._patience.most_s)
            by, within = self._clock() + left_s, f", {left_s:.0f} s at most"
        if self._keep.wished is State.DRAINING:
            log.info("%s; out of rotation already", notice.text, extra=self._words())
        else:
            text = "%s; staying in rotation until another instance serves%s"
            log.warning(text, notice.text, within, extra=self._words())
        self._keep.retire(Retirement(by))

    def join(self, within_s: float) -> None:
        """Wait until nothing is done any more, for whoever has left or abandoned it."""
        self._over.wait(within_s)

    def ask_again(self) -> None:
        """Look at the health of the service now: it may have changed."""
        self._gate.ask_again()

    def hurry(self) -> None:
        """Wait for nobody any more; what is left is to delete the key."""
        self._hurry_within(REMOVAL_S)

    def give_up(self) -> None:
        """Do not wait for the registry: let go now. It still tries to delete the key."""
        if self._keep.held.lease:
            log.warning("the registry does not answer; not waiting for it")
        self._hurry_within(LAST_S)
        self._let_go()

    @property
    def leaving(self) -> bool:
        """Whether it is being taken out, or is out."""
        return self._bell.stopped

    @property
    def gets_requests(self) -> bool:
        """Whether it is, or is to be, registered as ready."""
        return self._keep.wished is State.READY

    @property
    def over(self) -> bool:
        """Whether there is nothing left to be done."""
        return self._over.is_set()

    @property
    def patience_s(self) -> float | None:
        """Seconds that are left for what is being done; then it is time to give it up.

        None where there is nothing to wait for.
        """
        if self._give_up_at is None or self._hurry.is_set() or self.over:
            return None
        return self._give_up_at - self._clock()

    @property
    def remains(self) -> str:
        """What is left in the registry if nothing more is heard of it; a sentence."""
        if self._keep.held.lease:
            return "the registry does not answer; the key goes when its lease ends"
        return "it was not registered; nothing is left behind"

    def finish(self) -> bool:
        """Take it out at once, in less than a second; say whether that was done."""
        self.leave()
        self.hurry()
        left_s = (self._give_up_at or 0.0) - self._clock()
        return self._over.wait(max(0.0, left_s))

    def _work(self) -> None:
        while not self._bell.stopped:
            try:
                self._keep.run()
            except Fault as refusal:
                self.refusal = refusal
                break
            except Exception:
                # a mistake of ours must not leave the service unregistered for good
                log.exception("a mistake of ours; please report it with this trace")
                self._bell.wait(DENIED_S)
        if self.refusal is None and not self._is_abandoned:
            for step in (self._drain, self._end_command, self._remove):
                self._try(step)
        self._over.set()
        self._wake()

    def _try(self, step: Callable[[], None]) -> None:
        """Take one step of the way out; what comes of it must not keep the next from happening."""
        try:
            step()
        except Fault as fault:
            log.warning("%s; not waiting for frontends", fault)
        except Exception:
            log.exception("a mistake of ours; please report it with this trace")

    def _end_command(self) -> None:
        self._expect(REMOVAL_S)
        self._let_go()

    def _remove(self) -> None:
        held = self._keep.held
        if not held.lease:
            return
        try:
            self._keep.registrations.deregister(self._keep.key, lease=held.lease)
            self._keep.registrations.store.revoke(held.lease)
        except Fault as fault:
            log.warning("%s; the key goes when its lease ends", fault)
        else:
            self._say("deregistered after %.2f s in all", since=self._left_at)

    def _drain(self) -> None:
        keep, patience = self._keep, self._patience
        if keep.held.record is None or not keep.held.registered:
            return
        revision = keep.write_draining()
        if self._hurry.is_set():
            return
        text = "draining was written after %.2f s; waiting for frontends to let go"
        self._say(text, since=self._left_at)
        written_at = self._clock()
        self._expect(patience.release_timeout_s + SLACK_S)
        late = keep.registrations.wait_applied(
            revision,
            removal=True,
            within_s=patience.release_timeout_s,
            wait=self._hurry.wait,
            clock=self._clock,
        )
        if not late:
            self._say("all frontends have let go after %.2f s", since=written_at)
        elif self._hurry.is_set():
            self._say("not waiting for frontends any longer after %.2f s", since=written_at)
        else:
            took_s = self._clock() - written_at
            text = "not let go in time by frontend %s, after %.2f s"
            log.warning(text, ", ".join(late), took_s, extra=self._words(took_s))
        self._expect(patience.drain_s + SLACK_S)
        self._wait_idle()

    def _wait_idle(self) -> None:
        """Wait until no request can be in flight, at most as long as we were told to."""
        began_at, drain_s = self._clock(), self._patience.drain_s
        is_idle = wait_idle(
            self._connections,
            sees_all=self._patience.sees_connections,
            within_s=drain_s,
            wait=self._hurry.wait,
            clock=self._clock,
        )
        if is_idle:
            self._say("no connection is left after %.2f s", since=began_at)
        elif not self._hurry.is_set():
            log.info("requests in flight had %g s", drain_s, extra=self._words(drain_s))

    def _say(self, text: str, *, since: float) -> None:
        """Tell a step of the way out, with the time that it took."""
        took_s = self._clock() - since
        log.info(text, took_s, extra=self._words(took_s))

    def _words(self, took_s: float | None = None) -> dict[str, object]:
        key = self._keep.key
        took = {} if took_s is None else {"took_s": round(took_s, 3)}
        return {"branch": key.branch, "service": key.service, **took}

    def _hurry_within(self, within_s: float) -> None:
        if not self._hurry.is_set():
            self._hurry.set()
            self._give_up_at = self._clock() + within_s

    def _expect(self, within_s: float) -> None:
        if not self._hurry.is_set():
            self._give_up_at = self._clock() + within_s
            # whoever waits has an earlier time in mind
            self._wake()
