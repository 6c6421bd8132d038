"""Notices that EC2 wants an instance back: two minutes before, or as a recommendation.

Source:
    Amazon EC2 User Guide, "Spot Instance interruption notices" (asked every 5 s at most) and "EC2
    instance rebalance recommendations".
"""

import logging
import random
import time
from calendar import timegm
from collections.abc import Callable
from typing import NamedTuple

from registrar.aws.instance_metadata import InstanceMetadata
from registrar.aws.times import NOTICE_S
from registry.faults import Fault
from registry.fields import read_object
from registry.spread import vary

LOOK_S = 5.0
"""Between two questions, as AWS asks for; of a notice's 120 s that leaves 115."""

REBALANCE_EACH = 6
"""Every so many times the recommendation is asked for as well: it sets no date."""

RETRY_MOST_S = 60.0
"""Between two questions to a service that does not answer."""

LIFE_CYCLE, SPOT = "instance-life-cycle", "spot"

INSTANCE_ACTION = "spot/instance-action"

ACTIONS = frozenset({"terminate", "stop", "hibernate"})

REBALANCE = "events/recommendations/rebalance"

log = logging.getLogger("registrar")


class Notice(NamedTuple):
    """That an instance is to go.

    Attributes:
        text: What was announced, to be told.
        at: When it is over, in seconds since 1970; None where nobody set a date.
    """

    text: str
    at: float | None


def parse_action(text: str) -> Notice:
    """Read a Spot interruption notice: ``{"action":"terminate","time":"2026-11-21T08:22:00Z"}``.

    Raises:
        ValueError: It is none.
    """
    document = read_object(text)
    action, at = document.get("action"), document.get("time")
    if not isinstance(at, str):
        raise ValueError("it has no time")
    try:
        seconds = float(timegm(time.strptime(at[:20], "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:
        raise ValueError("its time is none") from None
    word = action if isinstance(action, str) and action in ACTIONS else "take away"
    return Notice(f"EC2 is going to {word} this Spot instance at {at[:20]}", seconds)


class NoticeWatch:
    """Asks again and again whether the instance is to go; for a thread of its own."""

    def __init__(
        self,
        metadata: InstanceMetadata,
        *,
        heed: Callable[[Notice], None],
        wait: Callable[[float], bool],
        now: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        """Asks nothing yet.

        Args:
            heed: Told of each notice once.
            wait: Waits for so many seconds; says whether to stop.
        """
        self._metadata = metadata
        self._heed = heed
        self._wait = wait
        self._now = now
        self._rng = rng or random.Random()  # noqa: S311 - spreads questions, guards nothing
        self._life_cycle: str | None = None
        self._is_recommended = False
        self._turn = 0
        self._is_deaf = False

    def run(self) -> None:
        """Go on until an interruption is announced, none can come, or ``wait`` says stop."""
        pause_s = LOOK_S
        while True:
            try:
                if self._look():
                    return
                pause_s, self._is_deaf = LOOK_S, False
            except Fault as fault:
                pause_s = min(2 * pause_s, RETRY_MOST_S)
                if not self._is_deaf:
                    log.warning("notices of EC2 are not heard: %s; trying on", fault)
                self._is_deaf = True
            if self._wait(vary(pause_s, self._rng)):
                return

    def _look(self) -> bool:
        """Ask once; whether that was the last time."""
        if self._life_cycle is None:
            self._life_cycle = self._metadata.read(LIFE_CYCLE) or ""
            if self._life_cycle != SPOT:
                kind = self._life_cycle or "unknown"
                log.info("SPOT_NOTICE: this instance is %s, so no notice will come", kind[:20])
                return True
        text = self._metadata.read(INSTANCE_ACTION)
        if text is not None:
            self._heed(self._read_action(text))
            return True
        if self._turn % REBALANCE_EACH == 0 and not self._is_recommended:
            self._is_recommended = self._metadata.read(REBALANCE) is not None
            if self._is_recommended:
                self._heed(Notice("EC2 recommends to leave this Spot instance", None))
        self._turn += 1
        return False

    def _read_action(self, text: str) -> Notice:
        try:
            return parse_action(text)
        except ValueError as exc:
            log.warning("a Spot notice cannot be read, and is heeded all the same: %s", exc)
            text = "EC2 is going to take this Spot instance away within two minutes"
            return Notice(text, self._now() + NOTICE_S)
