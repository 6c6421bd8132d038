"""Numbers for Prometheus: the regenerator's, as it told them last, and the dashboard's own."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version

from prometheus_client import Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from regenerator.dashboard.board import Board, Status, Traffic
from regenerator.dashboard.desk import Desk
from regenerator.dashboard.history.changes import ChangeKind
from regenerator.dashboard.numbers.traffic import Tally
from regenerator.metrics import as_label

PAGES = (404, 405, 502, 503, 504, 508)
"""Statuses of pages of ours that come up by themselves; there from the start, at 0."""

KEEP_S = 30.0
"""Between two writings of when routes were asked last; a dashboard that is killed loses as much."""

_INSTANCES = tuple(status for status in Status if status is not Status.GONE)


class Numbers(Collector):
    """What this frontend counts. The event loop's alone.

    Args:
        viewers: How many event streams are open.
        lost: How many messages of nginx the kernel has dropped so far.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        viewers: Callable[[], int],
        lost: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._desk = desk
        self._viewers = viewers
        self._lost = lost
        self._clock = clock
        self._now = now
        self._last_at = desk.history.last_requests()
        self._tally = Tally(last_at=self._last_at)
        self._traffic: Mapping[str, Traffic] = {}
        self._kept_at = clock()
        self._pages: Counter[int] = Counter(dict.fromkeys(PAGES, 0))
        self._known: object = None

    def count(self, counted: Mapping[bytes, int]) -> Mapping[str, Traffic]:
        """Count what nginx has told since the last time; gives what is known of each route."""
        now = self._clock()
        if self._desk.fed is not self._known:
            self._known = self._desk.fed
            self._tally.know(
                {
                    service.id: service.branch
                    for branch in self._desk.board.branches
                    for service in branch.services
                    if service.id
                },
                now=now,
            )
        self._traffic = self._tally.take(counted, now=now, at=self._now())
        if now - self._kept_at >= KEEP_S:
            self._kept_at = now
            self.keep()
        return self._traffic

    def keep(self) -> None:
        """Have the history note when routes were asked last; to be called at the end."""
        asked = {id_: one.last_at for id_, one in self._traffic.items()}
        if fresh := dict(asked.items() - self._last_at.items()):
            self._desk.history.note_requests(fresh)
        self._last_at = asked

    def tell_page(self, status: int) -> None:
        """Note that a page of ours was answered."""
        self._pages[status] += 1

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self)

    def collect(self) -> Iterator[Metric]:
        """All of it as it is now."""
        yield from self._desk.families
        yield _gauge(
            "build_info", "1; its label says which version this is.", version=version("branchfront")
        )
        yield from _of_board(self._desk.board)
        yield _gauge("ready", "1 while requests should come here.", self._desk.readiness()[0])
        yield from self._of_requests()
        yield _gauge("viewers", "Event streams that are open.", self._viewers())
        yield _counter(
            "pages",
            "Pages of ours that the dashboard answered, by status.",
            (((str(status),), count) for status, count in sorted(self._pages.items())),
            labels=("status",),
        )
        noted = self._desk.history.noted
        yield _counter(
            "changes",
            "What became of instances and claims, by kind.",
            (((as_label(kind),), noted[kind]) for kind in ChangeKind),
            labels=("kind",),
        )

    def _of_requests(self) -> Iterator[Metric]:
        yield _counter(
            "requests",
            "Requests to hosts of branches, by branch and class of status.",
            self._tally.requests().items(),
            labels=("branch", "status"),
        )
        yield _counter(
            "responses",
            "The same requests by status alone.",
            (((code,), count) for code, count in sorted(self._tally.codes().items())),
            labels=("code",),
        )
        lost = "Requests that were not counted, because nginx told of them faster than we read."
        yield _counter("uncounted_requests", lost, [((), self._lost())])


def _of_board(board: Board) -> Iterator[Metric]:
    services = [service for branch in board.branches for service in branch.services]
    instances = [instance for service in services for instance in service.instances]
    yield _gauge("branches", "Branches that are registered or claimed.", len(board.branches))
    yield _gauges(
        "services",
        "Services of branches, by how they fare.",
        label="status",
        values=_by(Status, (one.status for one in services)),
    )
    yield _gauges(
        "instances",
        "Registered instances, by how they fare.",
        label="status",
        values=_by(_INSTANCES, (one.status for one in instances)),
    )
    leased = sum(one.is_leased for one in instances)
    yield _gauges(
        "registrations",
        "Registered instances, by who keeps them: a registrar by its lease, or a hand.",
        label="by",
        values={"lease": leased, "hand": len(instances) - leased},
    )
    alive = [one for one in board.frontends if one.is_alive]
    behind = next((one.behind_by for one in alive if one.is_this), 0)
    yield _gauge("frontends", "Frontends that report themselves in etcd.", len(alive))
    yield _gauge(
        "behind_revisions", "How far the newest that any frontend applied is ahead of us.", behind
    )
    yield _gauge("etcd_up", "1 while etcd answers the regenerator.", not board.etcd.fault)
    yield _gauge("regenerator_up", "1 while the regenerator gives signs of life.", board.is_fresh)


def _by(statuses: Iterable[Status], found: Iterable[Status]) -> dict[str, int]:
    counts = Counter(found)
    return {as_label(status): counts[status] for status in statuses}


def _gauge(name: str, text: str, value: float = 1, **labels: str) -> Metric:
    family = GaugeMetricFamily(f"branchfront_{name}", text, labels=tuple(labels))
    family.add_metric(tuple(labels.values()), float(value))
    return family


def _gauges(name: str, text: str, *, label: str, values: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(f"branchfront_{name}", text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _counter(
    name: str,
    text: str,
    values: Iterable[tuple[tuple[str, ...], int]],
    *,
    labels: tuple[str, ...] = (),
) -> Metric:
    family = CounterMetricFamily(f"branchfront_{name}", text, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family
