"""What is counted, and where it is given."""

import urllib.request

import pytest

from regenerator.metrics import Metrics
from regenerator.pipeline import Outcome
from registry.claims import Rejection
from registry.faults import ProgramMissing, RenderFault
from registry.records import Address
from tests.etcd_server import free_ports


def served(metrics: Metrics) -> dict[str, float]:
    """What Prometheus would read."""
    address = Address("127.0.0.1", free_ports(1)[0])
    metrics.serve(address)
    with urllib.request.urlopen(f"http://{address}/metrics") as response:
        lines = response.read().decode().splitlines()
    pairs = [line.split(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, value in pairs if not name.endswith("_created")}


def test_everything_is_given_from_the_start() -> None:
    assert set(served(Metrics()).values()) == {0.0}


def test_what_a_run_came_to_is_counted() -> None:
    metrics = Metrics()
    rejections = (Rejection("/branchfront/routes/x", "the key is not a route's"),)
    metrics.tell(
        Outcome("c", 11, "aaaaaaaaaaaa", 3, rejections, is_new=True, held=2, is_braking=True)
    )
    metrics.tell(
        Outcome("c", 12, "aaaaaaaaaaaa", 3, rejections, is_new=False, held=2, is_braking=True)
    )
    metrics.tell(RenderFault("template hosts.j2: no"))
    metrics.tell_missed(3)
    metrics.tell_missed(5)

    assert served(metrics) == {
        "branchfront_routes": 3,
        "branchfront_rejected_records": 1,
        "branchfront_held_instances": 2,
        "branchfront_revision": 12,
        "branchfront_failing": 1,
        "branchfront_reloads_total": 1,
        "branchfront_missed_keys_total": 5,
    }


def test_a_single_lost_lease_rings_no_alarm() -> None:
    metrics = Metrics()
    metrics.tell(Outcome("c", 11, "aaaaaaaaaaaa", 3, (), is_new=True, held=1))

    assert served(metrics)["branchfront_held_instances"] == 0


def test_an_address_that_somebody_has_is_said() -> None:
    address = Address("127.0.0.1", free_ports(1)[0])
    Metrics().serve(address)

    with pytest.raises(ProgramMissing, match=rf"METRICS cannot listen on {address}: Address alr"):
        Metrics().serve(address)
