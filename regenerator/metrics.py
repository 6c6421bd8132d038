"""What the regenerator counts for Prometheus; its dashboard gives it out, with its own numbers.

A number that is kept for an alarm is there from the start, at 0: what appears with the first
trouble is not seen to rise.
"""

import socket
from collections import Counter as Tally

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    disable_created_metrics,
)

from regenerator.dashboard.feed import Settled
from regenerator.pipeline import Outcome
from registry.claims import RejectionKind
from registry.faults import (
    ConfigRejected,
    Fault,
    GenerationUnconfirmed,
    NginxDown,
    ProgramMissing,
)
from registry.records import Address

BACKLOG = 16
"""Connections that may wait: Prometheus and health checks come a few at a time."""

SERVED_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)
"""A change is served in 0.1 to 0.3 s; 0.5 to 1 s while many come, and 20 s are a reload's limit."""

LAG_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""A watch tells within some 10 ms; one that is silent for 11 s is opened anew."""

_RESULTS: dict[type[Fault], Settled] = {
    ConfigRejected: Settled.REFUSED,
    GenerationUnconfirmed: Settled.UNCONFIRMED,
    NginxDown: Settled.UNCONFIRMED,
}


class Metrics:
    """What one regenerator counts."""

    def __init__(self) -> None:
        # when a counter began is when the regenerator did: nothing that anybody asks for
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._routes = self._gauge("routes", "Routes that lead to an instance.")
        self._rejected = self._gauge(
            "rejected_records", "Records that are left out, by what is wrong with them.", "kind"
        )
        self._held = self._gauge(
            "held_instances", "Instances that the registry lost and the brake still serves."
        )
        self._braking = self._gauge("braking", "1 while the registry is not taken at its word.")
        self._brakes = self._counter("brakes", "Times that the brake took hold.")
        self._revision = self._gauge("revision", "Revision of the registry that is served.")
        self._failing = self._gauge("failing", "1 while a change cannot be applied.")
        self._reloads = self._counter("reloads", "Runs, by what they came to.", "result")
        self._served = self._histogram(
            "write_to_served_seconds",
            "From the watch's word of a change until nginx serves it.",
            SERVED_S,
        )
        self._lag = self._histogram(
            "watch_lag_seconds", "From the write of our own record until the watch tells.", LAG_S
        )
        self._reconnects = self._counter(
            "watch_reconnects", "Times that etcd answered again after it had not."
        )
        self._missed = self._counter(
            "missed_keys", "Keys that a list had to correct, because the watch had not told."
        )
        self._old = self._gauge(
            "old_generations", "Generations before the newest whose workers still live."
        )
        self._starts = self._counter("dashboard_starts", "Starts of the dashboard's process.")
        self._certificate: Gauge | None = None
        for kind in RejectionKind:
            self._rejected.labels(as_label(kind))
        for result in Settled:
            self._reloads.labels(result)
        self._is_braking = False
        self._told: Fault | None = None
        self._totals: dict[Counter, int] = {}

    def collect(self) -> tuple[Metric, ...]:
        """All of it as it is now; may be sent to another process."""
        return tuple(self._registry.collect())

    def tell(self, news: Outcome | Fault) -> None:
        """Note what a run came to; a fault that is told again is counted once."""
        self._failing.set(isinstance(news, Fault))
        if isinstance(news, Fault):
            if news is not self._told:
                self._reloads.labels(_RESULTS.get(type(news), Settled.BROKEN)).inc()
            self._told = news
            return
        self._reloads.labels(Settled.CONFIRMED if news.is_new else Settled.UNCHANGED).inc()
        if news.waited_s > 0:
            self._served.observe(news.waited_s)
        self._routes.set(news.routes)
        kinds = Tally(rejection.kind for rejection in news.rejections)
        for kind in RejectionKind:
            self._rejected.labels(as_label(kind)).set(kinds[kind])
        self._held.set(news.held if news.is_braking else 0)
        self._braking.set(news.is_braking)
        self._brakes.inc(news.is_braking and not self._is_braking)
        self._is_braking = news.is_braking
        self._revision.set(news.revision)

    def tell_missed(self, keys: int) -> None:
        """Note how many keys a list has corrected so far."""
        self._raise_to(self._missed, keys)

    def watch_lag(self, seconds: float) -> None:
        """Note how long the watch took to tell of our own record."""
        self._lag.observe(seconds)

    def reconnected(self) -> None:
        """Note that etcd answers again."""
        self._reconnects.inc()

    def old_generations(self, count: int) -> None:
        """Note how many old generations live."""
        self._old.set(count)

    def dashboard_starts(self, starts: int) -> None:
        """Note how often the dashboard was started so far."""
        self._raise_to(self._starts, starts)

    def certificate(self, not_after: float) -> None:
        """Note when the certificate in use ends, in seconds since 1970."""
        if self._certificate is None:
            # where there is none, a 0 would say that it ended long ago
            self._certificate = self._gauge(
                "certificate_expiry_timestamp_seconds", "When the certificate in use ends."
            )
        self._certificate.set(not_after)

    def _raise_to(self, counter: Counter, total: int) -> None:
        counter.inc(total - self._totals.get(counter, 0))
        self._totals[counter] = total

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"branchfront_{name}", text, labels, registry=self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"branchfront_{name}", text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"branchfront_{name}", text, registry=self._registry, buckets=buckets)


def as_label(word: str) -> str:
    """One of our words as the value of a label: with a space it would be awkward to ask for."""
    return word.replace(" ", "_")


def metrics_socket(address: Address | None) -> socket.socket | None:
    """Where numbers are given, listening, so that a taken address is told at the start.

    Raises:
        ProgramMissing: Somebody else has the address.
    """
    if address is None:
        return None
    family = socket.AF_INET6 if ":" in address.ip else socket.AF_INET
    link = socket.socket(family)
    try:
        # its last connections may linger
        link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        link.bind((address.ip, address.port))
        link.listen(BACKLOG)
    except OSError as exc:
        link.close()
        raise ProgramMissing(
            f"METRICS cannot listen on {address}: {exc.strerror}; give it another address"
        ) from exc
    return link
