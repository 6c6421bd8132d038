"""Numbers for Prometheus: what an alarm should ring on. Off unless an address is given."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
    start_http_server,
)

from regenerator.pipeline import Outcome
from registry.faults import Fault, ProgramMissing
from registry.records import Address


class Metrics:
    """What one regenerator counts."""

    def __init__(self) -> None:
        # when a counter began is when the regenerator did: nothing that anybody asks for
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._routes = self._gauge("routes", "Routes that lead to an instance.")
        self._rejected = self._gauge("rejected_records", "Records that are left out.")
        self._held = self._gauge(
            "held_instances", "Instances that the registry lost and the brake still serves."
        )
        self._revision = self._gauge("revision", "Revision of the registry that is served.")
        self._failing = self._gauge("failing", "1 while a change cannot be applied.")
        self._reloads = self._counter("reloads", "Reloads of nginx that were confirmed.")
        self._missed = self._counter(
            "missed_keys", "Keys that a list had to correct, because the watch had not told."
        )
        self._missed_before = 0

    def serve(self, address: Address) -> None:
        """Answer ``GET /metrics`` there, on a thread of its own.

        Raises:
            ProgramMissing: Somebody else has the address.
        """
        try:
            start_http_server(address.port, addr=address.ip, registry=self.registry)
        except OSError as exc:
            raise ProgramMissing(
                f"METRICS cannot listen on {address}: {exc.strerror}; give it another address"
            ) from exc

    def tell(self, news: Outcome | Fault) -> None:
        """Note what a run came to."""
        self._failing.set(isinstance(news, Fault))
        if isinstance(news, Outcome):
            self._routes.set(news.routes)
            self._rejected.set(len(news.rejections))
            self._held.set(news.held if news.is_braking else 0)
            self._revision.set(news.revision)
            self._reloads.inc(news.is_new)

    def tell_missed(self, keys: int) -> None:
        """Note how many keys a list has corrected so far."""
        self._missed.inc(keys - self._missed_before)
        self._missed_before = keys

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"branchfront_{name}", text, registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"branchfront_{name}", text, registry=self.registry)
