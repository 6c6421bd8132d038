"""The loop of ``regenerator run``: it owns waiting, retries, and what is said about them."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from regenerator.guard import Guard
from regenerator.inbox import Inbox
from regenerator.pipeline import Lost, Outcome, regenerate
from regenerator.proxy import Proxy
from regenerator.render import Renderer
from regenerator.routes import Rules
from regenerator.settle import Settle
from registry.claims import Rejection
from registry.faults import Fault, RenderFault, StateUnwritable

LOOK_S = 0.1
"""Between two looks at nginx: as long as a dead one may stay unnoticed."""

RETRY_S = (0.5, 30.0)
"""First and longest pause before a run that failed is tried again; each is twice the one before."""

START_AGAIN_S = 1.0
"""Before an nginx that does not start is started again: whoever has its port may leave."""

COUNT_OLD_S = 1.0
"""Between two counts of generations that live on: whoever watches them looks as often at most."""

log = logging.getLogger("regenerator")


class Listens(Protocol):
    """What of ``Audience`` is used here."""

    def tell(self, news: Outcome | Fault) -> None:
        """Take note of an outcome, or of a fault with the last outcome that holds."""

    def tell_old(self, generations: int) -> None:
        """Take note of how many old generations live, whenever that may have changed."""

    def tell_resumed(self, generation: str) -> None:
        """Take note of what is served after a start, before the registry has answered."""


class Daemon:
    """Keeps one proxy at what the registry says.

    Args:
        guard: Looks at what the registry says before it is served.
        load: Reads the templates anew.
        audience: Told of what comes of it.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        proxy: Proxy,
        guard: Guard,
        rules: Rules,
        load: Callable[[], Renderer],
        inbox: Inbox,
        settle: Settle,
        audience: Listens,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._proxy = proxy
        self._guard = guard
        self._rules = rules
        self._load = load
        self._inbox = inbox
        self._settle = settle
        self._audience = audience
        self._heard_at: float | None = None
        self._count_old_at = float("inf")
        self._clock = clock
        self._renderer: Renderer | None = None
        self._told: set[Rejection] = set()
        # the renderer that nginx has taken, and what is wrong with the one that came after it
        self._proven: Renderer | None = None
        self._broken: Fault | None = None
        self._failures = 0
        self._retry_at = float("inf")
        self._start_at = float("-inf")

    def run(self) -> None:
        """Serve until the inbox says stop, then stop nginx."""
        self._load_templates()
        self._keep_nginx(is_first=True)
        while True:
            news = self._inbox.wait(self._wait_s())
            if news.is_stopping:
                break
            if news.are_templates_saved:
                self._load_templates()
                self._settle = self._settle.saw_change()
            if news.snapshot is not None and self._heard_at is None:
                self._heard_at = news.heard_at
            if self._guard.take(news):
                self._settle = self._settle.saw_change()
            self._keep_nginx()
            now = self._clock()
            if now >= self._retry_at:
                self._retry()
            elif self._settle.wait_s(now) == 0:
                self._regenerate()
            else:
                self._guard.rest()
                self._proxy.rest()
                if now >= self._count_old_at:
                    self._count_old()
        self._guard.write_down()
        self._proxy.stop()

    def _wait_s(self) -> float:
        now = self._clock()
        due_s = self._settle.wait_s(now)
        waits = [LOOK_S, self._retry_at - now, due_s if due_s is not None else LOOK_S]
        return max(0.0, min(waits))

    def _load_templates(self) -> None:
        try:
            self._renderer = self._load()
            self._broken = None
        except RenderFault as fault:
            self._broken = fault
            self._complain(fault)

    def _keep_nginx(self, *, is_first: bool = False) -> None:
        """Take nginx over or start it, at first and whenever it is gone."""
        if not is_first and (self._clock() < self._start_at or not self._proxy.is_down()):
            return
        if not is_first:
            log.warning("no nginx serves; starting one")
        try:
            log.info(self._proxy.resume())
            self._audience.tell_resumed(self._proxy.answering())
            # what lay on disk may be older than what the registry says by now
            self._settle = self._settle.saw_change()
        except Fault as fault:
            self._start_at = self._clock() + START_AGAIN_S
            self._complain(fault)

    def _retry(self) -> None:
        self._retry_at = float("inf")
        if self._broken is not None:
            # what nginx had against the templates may be gone, such as a port that was taken
            self._load_templates()
        self._regenerate()

    def _regenerate(self) -> None:
        self._settle = self._settle.began()
        # what comes from now on is served by the next run
        heard_at, self._heard_at = self._heard_at, None
        snapshot = self._guard.view()
        if snapshot is None or self._renderer is None:
            return
        began_at = self._clock()
        try:
            outcome = regenerate(
                snapshot,
                lost=Lost(self._guard.held, self._guard.is_braking),
                rules=self._rules,
                renderer=self._renderer,
                proxy=self._proxy,
            )
        except Fault as fault:
            self._heard_at = heard_at
            self._fall_back(fault)
            return
        if outcome.is_new and heard_at is not None:
            outcome = replace(outcome, waited_s=self._clock() - heard_at)
        self._proven = self._renderer
        self._audience.tell(outcome)
        if self._broken is None:
            self._failures, self._retry_at = 0, float("inf")
        else:
            self._audience.tell(self._broken)
        for rejection in sorted(set(outcome.rejections) - self._told):
            log.warning("left out %s: %s", rejection.key, rejection.reason)
        self._told = set(outcome.rejections)
        if outcome.is_new:
            took_s = round(self._clock() - began_at, 3)
            log.info("%s", outcome, extra={"revision": outcome.revision, "took_s": took_s})
            self._pause()

    def _fall_back(self, fault: Fault) -> None:
        """Try again later, and meanwhile go on with the templates that nginx has taken."""
        self._complain(fault)
        first_s, longest_s = RETRY_S
        self._retry_at = self._clock() + min(longest_s, first_s * 2 ** min(self._failures, 8))
        self._failures += 1
        is_new = self._proven is not None and self._proven is not self._renderer
        if is_new and not isinstance(fault, StateUnwritable):
            # a template that is wrong must not hold up the routes
            self._broken, self._renderer = fault, self._proven
            self._settle = self._settle.saw_change()
        self._pause()

    def _pause(self) -> None:
        old = self._count_old()
        self._settle = self._settle.ended(self._clock(), old_generations=old)

    def _count_old(self) -> int:
        old = self._proxy.old_generations()
        self._audience.tell_old(old)
        # they leave one by one; none comes but by a reload
        self._count_old_at = self._clock() + COUNT_OLD_S if old else float("inf")
        return old

    def _complain(self, fault: Fault) -> None:
        log.error("%s; still serving %s", fault, self._proxy.answering() or "nothing")
        self._audience.tell(fault)
