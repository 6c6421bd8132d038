"""Included: what a container is and asks for, from what an engine says of it. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registrar.containers import (
    BRANCH,
    HEALTH,
    LABELS,
    PORT,
    SERVICE,
    Container,
    Reached,
    Wanted,
    published_at,
    read_wanted,
)
from registry.keys import RouteKey
from registry.records import Address
from tests.strategies import any_json

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what an engine says

ID = "d0902d629042b47d78487bd4c6445dc91d445390f6b813433a5c8e77bd2ae981"

INSPECTED: dict[str, Any] = {
    "Id": ID,
    "Created": "2026-11-21T14:08:40.24950228Z",
    "State": {
        "Status": "running",
        "Running": True,
        "Paused": False,
        "Pid": 16361,
        "StartedAt": "2026-11-21T14:08:40.519025313Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
        "Health": {"Status": "healthy", "FailingStreak": 0, "Log": []},
    },
    "Name": "/shop-web-1",
    "HostConfig": {"NetworkMode": "default"},
    "Config": {
        "Hostname": "d0902d629042",
        # as Compose v2 writes the second
        "ExposedPorts": {"5353/udp": {}, "7000": {}, "8000/tcp": {}, "9000/tcp": {}},
        "Labels": {
            "branchfront.branch": "feature/login",
            "branchfront.port": "8000",
            "branchfront.service": "web",
            "other": "x",
        },
        "StopSignal": "SIGRTMIN+3",
    },
    "NetworkSettings": {
        "Ports": {
            "5353/udp": [{"HostIp": EVERYWHERE, "HostPort": "32768"}],
            "7000/tcp": None,
            "8000/tcp": [
                {"HostIp": "::", "HostPort": "32778"},
                {"HostIp": EVERYWHERE, "HostPort": "32779"},
            ],
            "9000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32774"}],
        },
        "IPAddress": "172.17.0.2",
        "Networks": {
            "bridge": {"IPAddress": "172.17.0.2", "GlobalIPv6Address": ""},
            "six": {"IPAddress": "", "GlobalIPv6Address": "fd00::2"},
            "none": {"IPAddress": "", "GlobalIPv6Address": ""},
        },
    },
}
"""As Docker 20.10 says it, less what nobody reads; two more networks."""

LABELLED = Container(
    ID,
    "shop-web-1",
    started_at=1,
    labels={BRANCH: "feature/login", SERVICE: "web", PORT: "8000"},
    network_mode="shop",
    networks={"shop": "172.18.0.5"},
)

SHOP = Reached(network="shop")
HOST = Reached(host_ip="10.0.0.7")


def labelled(**labels: str) -> Container:
    """The container with other labels; an empty one is taken away."""
    names = {"branch": BRANCH, "service": SERVICE, "port": PORT, "health": HEALTH}
    merged = {**LABELLED.labels, **{names[name]: text for name, text in labels.items()}}
    return replace(LABELLED, labels={name: text for name, text in merged.items() if text})


def test_what_an_engine_says_is_read() -> None:
    container = Container.parse(INSPECTED)

    assert container == Container(
        id=ID,
        name="shop-web-1",
        state="running",
        started_at=1795270120519,
        health="healthy",
        labels={BRANCH: "feature/login", SERVICE: "web", PORT: "8000"},
        network_mode="default",
        networks={"bridge": "172.17.0.2", "six": "fd00::2"},
        # IPv4, although IPv6 stands first
        published={8000: (EVERYWHERE, 32779), 9000: ("127.0.0.1", 32774)},
        ports=(7000, 8000, 9000),
        stop_signal="SIGRTMIN+3",
    )
    assert container.instance == f"{ID[:12]}-{1795270120519:x}"
    assert container.stop_number == 37


def test_a_container_in_the_hosts_network_has_no_address_of_its_own() -> None:
    container = Container.parse(
        {
            "Id": ID,
            "HostConfig": {"NetworkMode": "host"},
            "Config": {"Labels": None, "ExposedPorts": None},
            "NetworkSettings": {"Ports": {}, "Networks": {"host": {"IPAddress": ""}}},
        }
    )

    assert (container.networks, container.published, container.labels) == ({}, {}, {})
    assert container.network_mode == "host"


def test_a_start_of_a_container_is_another_instance() -> None:
    state = {**INSPECTED["State"], "StartedAt": "2026-11-21T14:08:40.520Z"}

    again = Container.parse({**INSPECTED, "State": state})

    assert again.instance != Container.parse(INSPECTED).instance


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T00:00:01.5Z", 1500),
        ("1970-01-01T00:00:01.002999999Z", 1002),
        ("1970-01-01T01:00:01.25+01:00", 1250),
        # never
        ("0001-01-01T00:00:00Z", 0),
        ("9999-12-31T23:59:59-23:59", 0),
        ("2026-13-01T00:00:00Z", 0),
        ("yesterday", 0),
        ("", 0),
    ],
)
def test_a_start_is_read_in_milliseconds(text: str, milliseconds: int) -> None:
    assert Container.parse({"State": {"StartedAt": text}}).started_at == milliseconds


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 15),
        ("SIGTERM", 15),
        ("TERM", 15),
        ("sigquit", 3),
        ("3", 3),
        ("SIGRTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("RTMAX-1", 63),
        ("37", 37),
        # an engine would not have taken it
        ("SIGNOTHING", 15),
        ("???", 15),
        ("SIGNOTHING+3", 15),
        ("9" * 5000, 15),
        ("0", 15),
    ],
)
def test_a_stop_signal_is_written_in_many_ways(text: str, number: int) -> None:
    assert Container.parse({"Config": {"StopSignal": text}}).stop_number == number


def _anything_at(*paths: str) -> st.SearchStrategy[dict[str, Any]]:
    """The document with any JSON in place of a part of it."""

    def put(path: str, value: Any) -> dict[str, Any]:
        document: dict[str, Any] = {**INSPECTED}
        *parents, last = path.split(".")
        inner = document
        for name in parents:
            inner[name] = {**inner[name]}
            inner = inner[name]
        inner[last] = value
        return document

    return st.builds(put, st.sampled_from(paths), any_json)


@given(
    _anything_at(
        *("Id", "Name", "State", "State.Status", "State.StartedAt", "State.Health", "Config"),
        *("State.Health.Status", "Config.Labels", "Config.ExposedPorts"),
        *("Config.StopSignal", "HostConfig", "HostConfig.NetworkMode"),
        *("NetworkSettings", "NetworkSettings.Ports", "NetworkSettings.Ports.8000/tcp"),
        *("NetworkSettings.Networks", "NetworkSettings.Networks.bridge"),
        "NetworkSettings.Networks.bridge.IPAddress",
    )
    | st.dictionaries(st.sampled_from([*INSPECTED]), any_json)
    | st.dictionaries(st.sampled_from(LABELS), any_json).map(
        lambda labels: {**INSPECTED, "Config": {"Labels": labels}}
    ),
    st.sampled_from([HOST, Reached("bridge"), Reached()]),
)
def test_whatever_an_engine_says_is_a_container_or_a_sentence(
    document: Mapping[str, Any], reached: Reached
) -> None:
    container = Container.parse(document)
    try:
        wanted = read_wanted(container, reached)
    except ValueError as exc:
        assert str(exc)
    else:
        assert wanted.address.port
    assert container.stop_number >= 0
    assert set(container.labels) <= set(LABELS)


def test_a_labelled_container_is_reached_in_a_network() -> None:
    assert read_wanted(LABELLED, SHOP) == Wanted(
        RouteKey("feature/login", "web", f"{ID[:12]}-1"), Address("172.18.0.5", 8000), 8000
    )


@pytest.mark.parametrize(
    ("published", "reached", "address"),
    [
        ({8000: (EVERYWHERE, 32768)}, HOST, "10.0.0.7:32768"),
        ({8000: ("::", 32768)}, HOST, "10.0.0.7:32768"),
        ({8000: ("", 32768)}, HOST, "10.0.0.7:32768"),
        ({8000: ("127.0.0.1", 32768)}, HOST, "127.0.0.1:32768"),
        ({8000: ("::1", 32768)}, Reached(), "[::1]:32768"),
    ],
)
def test_a_published_port_is_reached_at_its_ip_or_the_hosts(
    published: Mapping[int, tuple[str, int]], reached: Reached, address: str
) -> None:
    wanted = read_wanted(replace(LABELLED, published=published), reached)

    assert str(wanted.address) == address
    assert wanted.port == 8000


def test_in_the_hosts_network_the_port_is_the_hosts() -> None:
    container = replace(LABELLED, network_mode="host", networks={})

    assert str(read_wanted(container, HOST).address) == "10.0.0.7:8000"


@pytest.mark.parametrize(
    ("ports", "label", "port"), [((3000,), "", 3000), ((3000, 9000), "9000", 9000), ((), "80", 80)]
)
def test_the_port_is_the_labels_or_the_only_one(
    ports: tuple[int, ...], label: str, port: int
) -> None:
    container = replace(labelled(port=label), ports=ports)

    assert read_wanted(container, SHOP).port == port


def test_what_says_whether_it_is_healthy_is_read() -> None:
    assert read_wanted(labelled(health="/healthz?full=1"), SHOP).health_path == "/healthz?full=1"
    assert read_wanted(replace(LABELLED, health="starting"), SHOP).is_checked


@pytest.mark.parametrize(
    ("container", "reached", "sentence"),
    [
        (labelled(branch=""), SHOP, "label branchfront.branch is missing; it needs"),
        (labelled(service=""), SHOP, "label branchfront.service is missing; it needs"),
        (labelled(branch="a\nb"), SHOP, "cannot be registered: "),
        (labelled(branch="x" * 600), SHOP, "cannot be registered: "),
        (labelled(service="x" * 41), SHOP, "cannot be registered: "),
        (labelled(service="日本"), SHOP, "cannot be registered: "),
        (labelled(port="0"), SHOP, "branchfront.port is '0': expected a port, 1 to 65535"),
        (labelled(port="9" * 99), SHOP, f"is '{'9' * 20}': expected a port"),
        (labelled(port=""), SHOP, "exposes no port; say on which it listens with the label"),
        (replace(labelled(port=""), ports=(1, 2)), SHOP, "has the ports 1, 2; say which with"),
        (labelled(health="healthz"), SHOP, "branchfront.health is 'healthz': expected a path"),
        (labelled(health="/a b"), SHOP, "branchfront.health is '/a b': expected a path"),
        (
            LABELLED,
            Reached("mesh"),
            "in the network mesh (it is in: shop); connect it with: docker",
        ),
        (replace(LABELLED, networks={}), SHOP, "(it is in: shop)"),
        (LABELLED, HOST, "8000 is not published (docker run -p 8000); publish it, or name with"),
        (
            replace(LABELLED, published={8000: (EVERYWHERE, 32768)}),
            Reached(),
            "published as port 32768 of the host, and nothing says at which ip",
        ),
        (replace(LABELLED, network_mode="host"), Reached(), "the host's ip is not known; set IP"),
    ],
)
def test_what_cannot_be_registered_is_said_with_what_to_do(
    container: Container, reached: Reached, sentence: str
) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        read_wanted(container, reached)

    assert sentence in str(caught.value)
    # it ends up on a line of the log
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_who_publishes_another_port_publishes_not_this_one() -> None:
    container = replace(LABELLED, published={9000: ("127.0.0.1", 32768)})

    assert published_at(container, 8000, host_ip="10.0.0.7") is None
