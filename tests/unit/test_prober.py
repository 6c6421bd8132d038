"""Who accepts connections, asked of real sockets."""

import resource
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from queue import SimpleQueue

import pytest

from regenerator.prober import Prober, accepting
from registry.records import Address

PATIENCE_S = 10.0


@pytest.fixture(name="listener")
def _listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def address_of(listener: socket.socket) -> Address:
    return Address(*listener.getsockname()[:2])


def test_who_listens_accepts_and_who_does_not_refuses(listener: socket.socket) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        asked = [address_of(listener), address_of(deaf)]

        assert accepting(asked) == dict(zip(asked, (True, False), strict=True))


def test_who_says_nothing_at_all_is_not_waited_for_long() -> None:
    """A full backlog drops what comes: like a machine that is gone."""
    with socket.socket() as listener, ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            one = waiting.enter_context(socket.socket())
            one.settimeout(0)
            one.connect_ex(listener.getsockname())

        assert accepting([address_of(listener)], within_s=0.1) == {address_of(listener): False}


def test_an_address_without_a_way_to_it_refuses() -> None:
    # the documentation range of IPv6; where there is a default route it is silent instead
    assert accepting([Address("2001:db8::1", 80)], within_s=0.1) == {
        Address("2001:db8::1", 80): False
    }


def test_what_cannot_be_tried_says_nothing(listener: socket.socket) -> None:
    """All descriptors are taken."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as held:
        lowest = held.enter_context(socket.socket()).fileno()
        # room for the selector alone
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 2, hard))
        try:
            assert accepting([address_of(listener)]) in ({}, {address_of(listener): True})
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_time_that_was_up_before_we_looked_is_no_refusal(listener: socket.socket) -> None:
    """We may have been stopped meanwhile; on loopback who listens has answered by then."""
    assert accepting([address_of(listener)], within_s=0) == {address_of(listener): True}


def test_it_asks_for_as_long_as_somebody_wants_to_know(listener: socket.socket) -> None:
    told: SimpleQueue[Mapping[Address, bool]] = SimpleQueue()
    prober = Prober(told.put)
    prober.start()
    try:
        prober.ask(frozenset({address_of(listener)}))
        assert told.get(timeout=PATIENCE_S) == {address_of(listener): True}
        assert told.get(timeout=PATIENCE_S) == {address_of(listener): True}
        prober.ask(frozenset())
    finally:
        prober.stop()
