"""Ports of loopback: who has one, and which are free."""

import os
import socket
from collections.abc import Iterator

import pytest

from registry.faults import ProgramMissing
from standalone.ports import REFUSED, check_free, free_ports, holders, loopbacks


@pytest.fixture(name="taken", params=["127.0.0.1", "0.0.0.0", "::1"])  # noqa: S104 - one's whole machine
def _taken(request: pytest.FixtureRequest) -> Iterator[int]:
    if request.param == "::1" and "::1" not in loopbacks():
        pytest.skip("this machine has no IPv6 on loopback")
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family) as held:
        held.bind((request.param, 0))
        held.listen()
        yield held.getsockname()[1]


def test_a_taken_port_is_told_with_its_holder_and_a_way_out(taken: int) -> None:
    with pytest.raises(ProgramMissing) as caught:
        check_free(taken, flag="--port")

    said = str(caught.value)
    assert said.startswith(f"port {taken} is taken by ")
    assert f"(process {os.getpid()}); end that, or take another with --port" in said


def test_a_free_port_is_free_also_after_it_was_looked_at() -> None:
    ports = free_ports(8)

    assert len(set(ports)) == 8
    assert not REFUSED & set(ports)
    for port in ports:
        check_free(port, flag="--port")
        check_free(port, flag="--port")
        assert not holders(port)
