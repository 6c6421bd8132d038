"""The loop of ``regenerator run``: it owns waiting, retries, and what is said about them."""

import logging
import time
from collections.abc import Callable

from regenerator.inbox import Inbox
from regenerator.pipeline import Outcome, Rules, regenerate
from regenerator.proxy import Proxy
from regenerator.render import Renderer
from regenerator.settle import Settle
from registry.faults import Fault, RenderFault
from registry.snapshot import Snapshot

LOOK_S = 0.1
"""Between two looks at nginx: as long as a dead one may stay unnoticed."""

RETRY_S = (0.5, 30.0)
"""First and longest pause before a run that failed is tried again; each is twice the one before."""

log = logging.getLogger("regenerator")


class Daemon:
    """Keeps one proxy at what the registry says.

    Args:
        load: Reads the templates anew.
        report: Told of every outcome, and of every fault with the last outcome that holds.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        proxy: Proxy,
        rules: Rules,
        load: Callable[[], Renderer],
        inbox: Inbox,
        settle: Settle,
        report: Callable[[Outcome | Fault], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._proxy = proxy
        self._rules = rules
        self._load = load
        self._inbox = inbox
        self._settle = settle
        self._report = report
        self._clock = clock
        self._renderer: Renderer | None = None
        self._snapshot: Snapshot | None = None
        self._failures = 0
        self._retry_at = float("inf")

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
            if news.snapshot is not None:
                self._snapshot = news.snapshot
                self._settle = self._settle.saw_change()
            self._keep_nginx()
            now = self._clock()
            if now >= self._retry_at or self._settle.wait_s(now) == 0:
                self._regenerate()
        self._proxy.stop()

    def _wait_s(self) -> float:
        now = self._clock()
        due_s = self._settle.wait_s(now)
        waits = [LOOK_S, self._retry_at - now, due_s if due_s is not None else LOOK_S]
        return max(0.0, min(waits))

    def _load_templates(self) -> None:
        try:
            self._renderer = self._load()
        except RenderFault as fault:
            self._complain(fault)

    def _keep_nginx(self, *, is_first: bool = False) -> None:
        """Take nginx over or start it, at first and whenever it is gone."""
        if not is_first and (not self._proxy.is_down() or self._clock() < self._settle.free_at):
            return
        if not is_first:
            log.warning("nginx is gone; starting it again")
        try:
            log.info(self._proxy.resume())
        except Fault as fault:
            # a taken port is the usual reason; whoever has it may leave at any time
            self._settle = self._settle.ended(self._clock() + 1.0, old_generations=0)
            self._complain(fault)

    def _regenerate(self) -> None:
        self._settle = self._settle.began()
        self._retry_at = float("inf")
        if self._snapshot is None or self._renderer is None:
            return
        began_at = self._clock()
        try:
            outcome = regenerate(
                self._snapshot, rules=self._rules, renderer=self._renderer, proxy=self._proxy
            )
        except Fault as fault:
            self._complain(fault)
            first_s, longest_s = RETRY_S
            self._retry_at = self._clock() + min(longest_s, first_s * 2 ** min(self._failures, 8))
            self._failures += 1
            self._pause()
            return
        self._failures = 0
        self._report(outcome)
        if outcome.is_new:
            took_s = round(self._clock() - began_at, 3)
            log.info("%s", outcome, extra={"revision": outcome.revision, "took_s": took_s})
            self._pause()

    def _pause(self) -> None:
        old = self._proxy.old_generations()
        self._settle = self._settle.ended(self._clock(), old_generations=old)

    def _complain(self, fault: Fault) -> None:
        log.error("%s; still serving %s", fault, self._proxy.serving() or "nothing")
        self._report(fault)
