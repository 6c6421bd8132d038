"""Included: which source's answer is taken. The last source is asked about real addresses."""

import pytest

from registrar.places import PlaceSettings, Source, find_place, given, socket
from registry.faults import PlaceUnknown
from registry.records import Address


def says(ip: str = "", port: int = 0) -> Source:
    return lambda _: (ip, port)


def never(_: PlaceSettings) -> tuple[str, int]:
    raise AssertionError("asked, though all was known")


def test_the_first_answer_wins_for_each_part_on_its_own() -> None:
    sources = [("a", says(port=32768)), ("b", says("10.0.0.5", 8080)), ("c", never)]

    place = find_place(PlaceSettings(), sources=sources)

    assert place.address == Address("10.0.0.5", 32768)
    assert (place.ip.source, place.port.source) == ("b", "a")


@pytest.mark.parametrize(
    ("source", "missing"), [(says(port=80), "set IP"), (says("10.0.0.5"), "set PORT")]
)
def test_what_nobody_knows_is_named(source: Source, missing: str) -> None:
    with pytest.raises(PlaceUnknown, match=missing):
        find_place(PlaceSettings(), sources=[("a", source)])


def test_what_was_given_wins_over_what_could_be_found_out() -> None:
    settings = PlaceSettings("10.1.2.3", 32768, 8080, ("http://127.0.0.1:2379",))

    assert find_place(settings).address == Address("10.1.2.3", 32768)
    assert given.look("10.1.2.3", 32768) == ("10.1.2.3", 32768)


def test_the_port_is_the_services_own_unless_somebody_knows_better() -> None:
    place = find_place(PlaceSettings(port=8080, endpoints=("http://127.0.0.1:2379",)))

    assert place.address == Address("127.0.0.1", 8080)
    assert place.port.source == "PORT"


@pytest.mark.parametrize(
    ("endpoint", "ip"), [("http://127.0.0.1:2379", "127.0.0.1"), ("https://[::1]:2379", "::1")]
)
def test_the_address_is_the_one_that_we_speak_from(endpoint: str, ip: str) -> None:
    found, _ = socket.look([endpoint])

    if not found and ip == "::1":
        pytest.skip("this machine has no IPv6, not even on loopback")
    assert found == ip


def test_an_endpoint_without_a_route_is_passed_over() -> None:
    # no name server is asked for a name that cannot be one, and the kernel does not let us speak
    # to everybody at once
    endpoints = [f"http://{'x' * 64}:1", "http://255.255.255.255:1", "http://127.0.0.1:2379"]

    assert socket.look(endpoints) == ("127.0.0.1", 0)
    assert socket.look(endpoints[:2]) == ("", 0)
