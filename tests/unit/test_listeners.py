"""Where nginx listens, and which addresses nobody may register because they are its own."""

import ipaddress

import pytest

from regenerator.listeners import machine_ips, own_addresses, parse_listeners, reached_at
from registry.records import Address


@pytest.mark.parametrize(
    ("text", "listeners"),
    [
        ("8080", ["0.0.0.0:8080"]),
        ("127.0.0.1:8080", ["127.0.0.1:8080"]),
        ("[::1]:8080", ["[::1]:8080"]),
        (" 80 , [::]:80 ,", ["0.0.0.0:80", "[::]:80"]),
    ],
)
def test_a_listener_is_a_port_or_an_address_with_one(text: str, listeners: list[str]) -> None:
    assert list(map(str, parse_listeners(text))) == listeners


@pytest.mark.parametrize(
    "text", ["", " , ", "localhost:80", "::1:80", "0", "65536", "80;", "unix:x", "*:80", "80 443"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_listeners(text)


def test_a_listener_on_one_address_is_that_address() -> None:
    assert own_addresses(parse_listeners("10.0.0.1:80,[::1]:81")) == {
        Address("10.0.0.1", 80),
        Address("::1", 81),
    }
    assert reached_at(Address("10.0.0.1", 80)) == Address("10.0.0.1", 80)


@pytest.mark.parametrize("wildcard", ["80", "[::]:80"])
def test_a_listener_on_all_addresses_is_every_address_of_the_machine(wildcard: str) -> None:
    own = own_addresses(parse_listeners(wildcard))

    assert {Address("127.0.0.1", 80), Address("::1", 80)} <= own
    assert {one.ip for one in own} == machine_ips()
    assert {one.port for one in own} == {80}


def test_a_wildcard_is_reached_at_an_address_of_this_machine() -> None:
    reached = reached_at(Address("0.0.0.0", 8080))  # noqa: S104 - what is asked about

    assert reached.port == 8080
    assert reached.ip in machine_ips()


def test_the_addresses_of_the_machine_are_written_as_addresses_are() -> None:
    assert {str(ipaddress.ip_address(ip)) for ip in machine_ips()} == machine_ips()
