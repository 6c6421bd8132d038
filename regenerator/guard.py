"""The brake at work: fed with what comes in, told about, written down."""

import logging
from collections.abc import Callable
from typing import Protocol

from regenerator.brake import Alarm, Brake, Doubt, Memory
from regenerator.inbox import News
from registry.faults import StateUnwritable
from registry.keys import shown
from registry.records import Address
from registry.snapshot import Entry, Snapshot

WRITE_S = 2.0
"""Between two writings: at 10,000 routes one takes 50 ms, and a restart needs it roughly."""

TOUCH_S = 5.0
"""Between two signs of life; a restart takes what was lost within the last minute for recent."""

_WORDS = {
    Doubt.LOSSES: "{lost} of {of} instances vanished from the registry without leaving",
    Doubt.EMPTY: "the registry is empty, and {lost} of {of} instances never left",
    Doubt.ELSEWHERE: "the registry is another cluster, and {lost} of {of} instances are not in it",
    Doubt.BACKWARDS: "the registry went back in time, and {lost} of {of} instances are not in it",
}

log = logging.getLogger("regenerator")


class Asks(Protocol):
    """What of ``Prober`` is used here."""

    def ask(self, addresses: frozenset[Address]) -> None:
        """Ask these from now on."""


class Writes(Protocol):
    """What of ``MemoryFile`` is used here."""

    def touch(self) -> None:
        """Note that what was written last still holds."""

    def write(self, memory: Memory) -> None:
        """Write it down."""


class Guard:
    """Looks at what the registry says before it is served."""

    def __init__(
        self, brake: Brake, *, prober: Asks, file: Writes, clock: Callable[[], float]
    ) -> None:
        self._brake = brake
        self._prober = prober
        self._file = file
        self._clock = clock
        self._write_at: float | None = None
        self._touch_at = clock()
        self._holds = False
        self._ended: tuple[Entry, ...] = ()

    @property
    def held(self) -> int:
        """How many lost instances are served."""
        return self._brake.held

    @property
    def is_braking(self) -> bool:
        """Whether the registry is not taken at its word."""
        return self._brake.is_braking

    @property
    def kept(self) -> frozenset[bytes]:
        """The keys of those that are held."""
        return self._brake.kept

    @property
    def spared(self) -> frozenset[bytes]:
        """The keys of those whose registrars may well be back in a moment."""
        return self._brake.spared

    def take_ended(self) -> tuple[Entry, ...]:
        """What was deleted since this was asked last, as it was last."""
        ended, self._ended = self._ended, ()
        return ended

    def view(self) -> Snapshot | None:
        """The registry as it is to be served; None before it was seen."""
        return self._brake.view()

    def take(self, news: News) -> bool:
        """Look at what is new; says whether there may be something else to serve than before."""
        now, spared = self._clock(), self._brake.spared
        is_new = self._brake.tick(now)
        for key in sorted(spared - self._brake.spared):
            log.info("lost %s: its registrar has not come back", shown(key))
        if news.snapshot is not None:
            is_new = True
            self._ended += news.ended
            if alarm := self._brake.saw(news.snapshot, ended=news.ended, now=now):
                _cry(alarm)
            elif self.is_braking and not self._holds:
                log.error("brake: still holding %d instances from before the start", self.held)
            for key in sorted(self._brake.spared - spared):
                log.info("lost %s: served while it answers, for half of its TTL", shown(key))
        for entry in self._brake.heard(news.answers):
            is_new = True
            log.info("lost %s: it accepts no connections", shown(entry.key))
        self._prober.ask(self._brake.asked())
        if self._holds and not self.is_braking:
            log.info("the brake lets go: what was lost is registered again, gone, or released")
        self._holds = self.is_braking
        if is_new and self._write_at is None:
            self._write_at = now + WRITE_S
        return is_new

    def rest(self) -> None:
        """Write down what is known, if it is time to; for moments in which nothing else is due."""
        now = self._clock()
        if self._write_at is not None and now >= self._write_at:
            self.write_down()
        elif now >= self._touch_at and self._brake.view() is not None:
            # before the registry was seen, what was written last may have changed long ago
            self._touch_at = now + TOUCH_S
            self._file.touch()

    def write_down(self) -> None:
        """Write down what is known."""
        self._write_at = None
        if (memory := self._brake.memorable()) is not None:
            try:
                self._file.write(memory)
            except StateUnwritable as fault:
                log.warning("%s; a restart would not know what was served", fault)


def _cry(alarm: Alarm) -> None:
    text = _WORDS[alarm.doubt].format(lost=alarm.lost, of=alarm.of)
    log.error(
        "brake: %s; what still accepts connections stays until it is registered again"
        " (regenerator release lets go of it)",
        text,
    )
