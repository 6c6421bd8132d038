"""What the regenerator counts, and the socket where it is given."""

import pickle
import socket

import pytest
from prometheus_client import Metric

from regenerator.metrics import Metrics, metrics_socket
from regenerator.pipeline import Outcome
from registry.claims import Rejection, RejectionKind
from registry.faults import (
    ConfigRejected,
    Fault,
    GenerationUnconfirmed,
    NginxDown,
    ProgramMissing,
    RenderFault,
    StateUnwritable,
)
from registry.records import Address
from tests.etcd_server import free_ports

FAULTS: list[tuple[Fault, str]] = [
    (ConfigRejected("no"), "refused"),
    (GenerationUnconfirmed("no"), "unconfirmed"),
    (NginxDown("no"), "unconfirmed"),
    (RenderFault("no"), "broken"),
    (StateUnwritable("no"), "broken"),
]


def counted(metrics: Metrics) -> dict[str, float]:
    """What is not 0, by name and labels."""
    return {
        " ".join((sample.name.removeprefix("branchfront_"), *sample.labels.values())): sample.value
        for family in metrics.collect()
        for sample in family.samples
        if sample.value
    }


def outcome(
    revision: int = 11,
    *,
    is_new: bool = True,
    held: int = 0,
    is_braking: bool = False,
    waited_s: float = 0.0,
    rejections: tuple[Rejection, ...] = (),
) -> Outcome:
    return Outcome("c", revision, "aaaaaaaaaaaa", 3, rejections, is_new, held, is_braking, waited_s)


def test_everything_is_given_from_the_start() -> None:
    """What appears with the first trouble is not seen to rise."""
    metrics = Metrics()
    before = {(s.name, *s.labels.items()) for f in metrics.collect() for s in f.samples}
    for fault, _ in FAULTS:
        metrics.tell(fault)
    for kind in RejectionKind:
        metrics.tell(outcome(rejections=(Rejection("k", "r", kind),), waited_s=1.0))
    metrics.tell_missed(1)
    metrics.watch_lag(0.1)

    assert counted(Metrics()) == {}
    assert before == {(s.name, *s.labels.items()) for f in metrics.collect() for s in f.samples}


def test_what_a_run_came_to_is_counted() -> None:
    metrics = Metrics()
    rejections = (
        Rejection("/branchfront/routes/x", "the key is not a route's"),
        Rejection("/branchfront/claims/x/y", "label x belongs to", RejectionKind.CONFLICT),
        Rejection("/branchfront/claims/x/z", "label x belongs to", RejectionKind.CONFLICT),
        Rejection("/branchfront/routes/a/b", "no name", RejectionKind.NO_LABEL),
    )
    metrics.tell(outcome(held=2, is_braking=True, rejections=rejections))
    metrics.tell(outcome(12, is_new=False, held=2, is_braking=True, rejections=rejections))
    metrics.tell_missed(3)
    metrics.tell_missed(5)
    metrics.old_generations(4)
    metrics.reconnected()
    metrics.dashboard_starts(1)
    metrics.dashboard_starts(1)
    metrics.dashboard_starts(3)

    assert counted(metrics) == {
        "routes": 3,
        "rejected_records invalid": 1,
        "rejected_records conflict": 2,
        "rejected_records no_label": 1,
        "held_instances": 2,
        "braking": 1,
        "brakes_total": 1,
        "revision": 12,
        "reloads_total confirmed": 1,
        "reloads_total unchanged": 1,
        "missed_keys_total": 5,
        "old_generations": 4,
        "watch_reconnects_total": 1,
        "dashboard_starts_total": 3,
    }


def test_what_is_mended_is_not_told_any_more() -> None:
    metrics = Metrics()
    metrics.tell(outcome(held=2, is_braking=True, rejections=(Rejection("k", "r"),)))
    metrics.tell(RenderFault("template hosts.j2: no"))
    assert counted(metrics)["failing"] == 1

    metrics.tell(outcome())
    assert counted(metrics) == {
        "routes": 3,
        "revision": 11,
        "brakes_total": 1,
        "reloads_total confirmed": 2,
        "reloads_total broken": 1,
    }


@pytest.mark.parametrize(("fault", "result"), FAULTS)
def test_a_run_that_failed_is_counted_by_why(fault: Fault, result: str) -> None:
    metrics = Metrics()
    metrics.tell(fault)

    assert counted(metrics) == {"failing": 1, f"reloads_total {result}": 1}


def test_a_fault_that_lasts_is_told_again_with_each_run_and_counted_once() -> None:
    """Broken templates stay a fault while the routes go on with the ones before."""
    metrics = Metrics()
    broken = RenderFault("template hosts.j2: no")
    metrics.tell(broken)
    for _ in range(3):
        metrics.tell(outcome())
        metrics.tell(broken)

    assert counted(metrics)["reloads_total broken"] == 1
    assert counted(metrics)["reloads_total confirmed"] == 3
    assert counted(metrics)["failing"] == 1

    metrics.tell(RenderFault("template hosts.j2: no"))
    assert counted(metrics)["reloads_total broken"] == 2


def test_the_brake_is_counted_each_time_that_it_takes_hold() -> None:
    metrics = Metrics()
    for is_braking in (True, True, False, True, False):
        metrics.tell(outcome(held=4, is_braking=is_braking))

    assert counted(metrics)["brakes_total"] == 2
    assert "braking" not in counted(metrics)


def test_a_single_lost_lease_rings_no_alarm() -> None:
    metrics = Metrics()
    metrics.tell(outcome(held=1))

    assert "held_instances" not in counted(metrics)


def test_how_long_a_change_waited_is_in_a_histogram() -> None:
    metrics = Metrics()
    metrics.tell(outcome(waited_s=0.25))
    metrics.tell(outcome(waited_s=40.0))
    metrics.tell(outcome(is_new=False))
    found = counted(metrics)

    assert found["write_to_served_seconds_count"] == 2
    assert found["write_to_served_seconds_sum"] == 40.25
    assert "write_to_served_seconds_bucket 0.2" not in found
    assert found["write_to_served_seconds_bucket 0.3"] == 1
    assert found["write_to_served_seconds_bucket +Inf"] == 2


def test_how_long_the_watch_takes_is_in_a_histogram() -> None:
    metrics = Metrics()
    metrics.watch_lag(0.02)

    assert counted(metrics)["watch_lag_seconds_bucket 0.025"] == 1
    assert "watch_lag_seconds_bucket 0.01" not in counted(metrics)


def test_a_certificates_end_is_told_where_there_is_a_certificate() -> None:
    metrics = Metrics()
    name = "branchfront_certificate_expiry_timestamp_seconds"
    assert name not in {family.name for family in metrics.collect()}

    metrics.certificate(2_000_000_000.0)
    metrics.certificate(2_100_000_000.0)
    assert counted(metrics) == {"certificate_expiry_timestamp_seconds": 2_100_000_000.0}


def test_what_is_collected_travels_to_another_process() -> None:
    collected = Metrics().collect()
    there: tuple[Metric, ...] = pickle.loads(pickle.dumps(collected))  # noqa: S301 - our own

    assert there == collected


def listening(address: Address) -> socket.socket:
    link = metrics_socket(address)
    assert link is not None
    return link


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
def test_the_socket_of_metrics_listens(ip: str) -> None:
    with listening(Address(ip, free_ports(1)[0])) as link:
        socket.create_connection(link.getsockname()[:2]).close()


def test_without_metrics_nothing_listens() -> None:
    assert metrics_socket(None) is None


def test_an_address_that_somebody_has_is_said() -> None:
    address = Address("127.0.0.1", free_ports(1)[0])
    with (
        listening(address),
        pytest.raises(ProgramMissing, match=rf"METRICS cannot listen on {address}: Address alr"),
    ):
        metrics_socket(address)
