"""Everybody who is told what a regenerator does: etcd, its dashboard, its metrics, its log."""

import logging
import socket
import time
from collections.abc import Iterable

from prometheus_client import Metric

from regenerator.dashboard.beginning import Begin
from regenerator.dashboard.feed import State
from regenerator.echo import Echo
from regenerator.guard import Guard
from regenerator.listeners import reached_at
from regenerator.metrics import Metrics, metrics_socket
from regenerator.pipeline import Outcome
from regenerator.report import Reporter
from regenerator.settings import RegeneratorSettings
from regenerator.showing import Dashboard
from registry.etcd import Etcd
from registry.faults import Fault
from registry.keys import FrontendKey, ReleaseKey
from registry.records import FrontendRecord

STOP_S = 0.5
"""For taking our record away at the end; its lease does it if etcd is slow."""

log = logging.getLogger("regenerator")


class Audience:
    """Passes on what happens; whoever tells never waits.

    Attributes:
        etcd: Where the frontend's own record is written.
        metrics: The regenerator's own numbers.
    """

    def __init__(
        self,
        settings: RegeneratorSettings,
        *,
        frontend: str,
        requests: socket.socket,
        log_format: str,
    ) -> None:
        """Starts nothing yet.

        Args:
            frontend: The frontend's own id.
            requests: On which nginx tells of requests.
            log_format: Of the dashboard's log.

        Raises:
            ProgramMissing: Somebody else has the address of METRICS.
        """
        self.etcd = Etcd(settings.etcd)
        self.metrics = Metrics()
        keys = settings.keys
        self._heeded = (keys.routes, keys.claims, keys.raw(ReleaseKey()))
        self._own = keys.raw(FrontendKey(frontend))
        self._echo = Echo(self.metrics.watch_lag)
        self._reporter = Reporter(
            self.etcd, keys=keys, frontend=frontend, blank=_blank(settings), echo=self._echo
        )
        # kept here, or they would be closed
        self._sockets = [requests]
        asked = metrics_socket(settings.metrics)
        if asked is not None:
            self._sockets.append(asked)
        self._dashboard = Dashboard(
            Begin(
                settings,
                frontend,
                log_format,
                requests.fileno(),
                asked.fileno() if asked is not None else -1,
            ),
            sockets=self._sockets,
            families=self._collect,
        )
        self._welcome = _Welcome(settings.text.public_url)
        self._trouble = _Trouble()
        self._guard: Guard | None = None

    def start(self) -> None:
        """Begin to pass on."""
        self._reporter.start()
        self._dashboard.start()

    def stop(self) -> None:
        """Say goodbye to those who have to know."""
        self._dashboard.stop()
        self._reporter.stop(within_s=STOP_S)

    def watch(self, guard: Guard) -> None:
        """Name who knows what is served since a run."""
        self._guard = guard

    def tell(self, news: Outcome | Fault) -> None:
        """Tell what a run came to."""
        self._reporter.tell(news)
        self.metrics.tell(news)
        if isinstance(news, Fault):
            self._dashboard.complain(news)
            return
        self._welcome.tell()
        guard = self._guard
        if guard is not None and (snapshot := guard.view()) is not None:
            state = State(snapshot, news.generation, time.time(), guard.kept, guard.spared)
            self._dashboard.tell(state, ended=guard.take_ended())

    def tell_old(self, generations: int) -> None:
        """Tell how many old generations live."""
        self.metrics.old_generations(generations)

    def tell_resumed(self, generation: str) -> None:
        """Tell what is served from disk, before the registry has answered."""
        self._dashboard.tell_resumed(generation)

    def tell_trouble(self, fault: Fault | None) -> None:
        """Tell why etcd does not answer; None as soon as it does."""
        self._trouble.tell(fault)
        self._dashboard.tell_trouble(fault)
        if fault is None:
            self.metrics.reconnected()

    def tell_missed(self, keys: int) -> None:
        """Tell how many keys a list has corrected so far."""
        self._reporter.tell_missed(keys)
        self.metrics.tell_missed(keys)

    def heeds(self, key: bytes) -> bool:
        """Which keys set a run off; our own record does not, or frontends would wake each other."""
        if key == self._own:
            self._echo.hear()
        return key.startswith(self._heeded)

    def _collect(self) -> Iterable[Metric]:
        self.metrics.dashboard_starts(self._dashboard.starts)
        return self.metrics.collect()


class _Welcome:
    """Says where people find the branches, once, when they do."""

    def __init__(self, url: str) -> None:
        self._url = url

    def tell(self) -> None:
        if self._url:
            log.info("open %s", self._url)
            self._url = ""


class _Trouble:
    """Says that etcd is away once, and that it is back once, however often it was asked."""

    def __init__(self) -> None:
        self._said = ""

    def tell(self, fault: Fault | None) -> None:
        if fault is None:
            log.info("etcd answers again")
        elif str(fault) != self._said:
            log.warning("%s; going on with what is known", fault)
        self._said = str(fault or "")


def _blank(settings: RegeneratorSettings) -> FrontendRecord:
    text = settings.text
    return FrontendRecord(
        domain=text.domain,
        default_service=settings.rules.default_service,
        url=text.public_url,
        address=str(reached_at(settings.listeners[0])),
    )
