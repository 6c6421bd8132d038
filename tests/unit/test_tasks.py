"""Included: what is read of ECS's documents, sample by sample, and that nothing else is."""

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registrar.aws.tasks import MetadataFile, Task, TaskContainer, parse_container
from registry.records import Address
from tests.fakes.metadata import BRIDGE, GARBAGE, NOT_READY, SAMPLES, metadata_file, sample

TASK_ARN = "arn:aws:ecs:eu-west-1:111122223333:task/branches/7c1f0b6c2f0e4d0f9b7a1d2e3f405162"
TASK_ID = "7c1f0b6c2f0e4d0f9b7a1d2e3f405162"

MANY_PORTS = "tmds-v4-task-bridge-ec2-many-ports.json"
PORT_ZERO = "tmds-v4-task-bridge-ec2-hostport-zero.json"
HOST = "tmds-v4-task-host-ec2.json"
AWSVPC = "tmds-v4-task-awsvpc-ec2.json"
FARGATE = "tmds-v4-task-fargate.json"

any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["NORMAL", "bridge", "awsvpc", "host", "tcp", "0.0.0.0", "::", "READY"]),  # noqa: S104
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["Containers", "Name", "Ports", "Networks", "NetworkMode", "IPv4Addresses"]
            )
            | st.text(max_size=8),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)

documents = st.sampled_from(
    [sample(path.name) for path in SAMPLES.glob("*.json") if "v4-task" in path.name]
    + [sample(metadata_file("ready").name), sample("tmds-v4-container-bridge-ec2.json")]
)


@st.composite
def meddled(draw: st.DrawFn) -> str:
    """A sample in which one thing, anywhere, is something else."""
    document: Any = deepcopy(draw(documents))
    where, key, place = document, None, document
    while isinstance(place, dict | list) and place and (key is None or draw(st.booleans())):
        where = place
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        place = where[key]
    where[key] = draw(any_json)
    return json.dumps(document)


def one_of(task: Task, name: str = "web") -> TaskContainer:
    (found,) = [one for one in task.containers if one.name == name]
    return found


def parse(document: Any) -> Task:
    return Task.parse(json.dumps(document))


def with_ports(*ports: Any) -> dict[int, int]:
    document = sample(BRIDGE)
    document["Containers"][0]["Ports"] = list(ports)
    return dict(one_of(parse(document)).ports)


def mapping(inside: Any, outside: Any, at: str = "0.0.0.0", **more: Any) -> dict[str, Any]:  # noqa: S104
    named = {"ContainerPort": inside, "HostPort": outside, "HostIp": at, "Protocol": "tcp"}
    return named | more


@pytest.mark.parametrize(
    ("name", "mode", "ip", "ports"),
    [
        (BRIDGE, "bridge", "172.17.0.5", {8080: 32769}),
        (MANY_PORTS, "bridge", "172.17.0.5", {8080: 32769, 9102: 32770}),
        (NOT_READY, "", "", {}),
        (PORT_ZERO, "bridge", "172.17.0.5", {}),
        (HOST, "host", "", {}),
        (AWSVPC, "awsvpc", "10.0.3.121", {8080: 8080}),
        (FARGATE, "awsvpc", "10.0.3.121", {}),
        ("tmds-v4-taskWithTags-bridge-ec2.json", "bridge", "172.17.0.5", {8080: 32769}),
    ],
)
def test_every_sample_says_how_its_service_is_reached(
    name: str, mode: str, ip: str, ports: dict[int, int]
) -> None:
    task = Task.parse((SAMPLES / name).read_text())
    web = one_of(task)

    assert (web.mode, web.ip, web.ports) == (mode, ip, ports)
    # not the one that ECS put beside them to hold the network
    assert [one.name for one in task.containers] == ["web", "registrar"]
    assert {one.task_id for one in task.containers} == {TASK_ID}


def test_a_container_tells_of_itself() -> None:
    own = parse_container((SAMPLES / "tmds-v4-container-bridge-ec2.json").read_text())

    assert (own.name, own.task_arn, own.task_id) == ("web", TASK_ARN, TASK_ID)
    assert own == one_of(parse(sample(BRIDGE)))
    assert (own.health, own.health_exit_code) == ("HEALTHY", None)
    assert (own.known_status, own.desired_status) == ("RUNNING", "RUNNING")


@pytest.mark.parametrize("order", [list, lambda both: list(reversed(both))])
def test_of_two_ports_the_one_of_ipv4_counts(order: Callable[[Any], list[Any]]) -> None:
    """Docker binds both families, and may choose another port for each."""
    both = [mapping(8080, 32774, "::"), mapping(8080, 32769)]

    assert with_ports(*order(both)) == {8080: 32769}


def test_a_port_that_ipv6_alone_leads_to_is_none() -> None:
    assert with_ports(mapping(8080, 32774, "::")) == {}


def test_a_port_of_udp_is_none_of_tcp() -> None:
    assert with_ports(mapping(8080, 32768, Protocol="udp"), mapping(8080, 32769)) == {8080: 32769}
    assert with_ports(mapping(8080, 32768, Protocol="sctp"), mapping(53, 32770)) == {53: 32770}


@pytest.mark.parametrize("port", [0, -1, 65536, "32769", 32769.0, True, None, [32769], 10**400])
def test_what_is_no_port_is_not_known(port: Any) -> None:
    assert with_ports(mapping(8080, port), mapping(port, 8080)) == {}


def test_a_port_that_is_mapped_twice_is_reached_at_the_first() -> None:
    assert with_ports(mapping(8080, 32769), mapping(8080, 32770)) == {8080: 32769}


def test_a_mapping_without_what_it_may_leave_out_counts() -> None:
    """Fargate and awsvpc mode name no HostIp."""
    assert with_ports({"ContainerPort": 8080, "HostPort": 8080}) == {8080: 8080}


@pytest.mark.parametrize("kind", ["CNI_PAUSE", "SERVICE_CONNECT", "EMPTY_HOST_VOLUME", "new"])
def test_what_ecs_adds_is_left_out_of_the_task(kind: str) -> None:
    document = sample(BRIDGE)
    document["Containers"][1]["Type"] = kind

    assert [one.name for one in parse(document).containers] == ["web"]


HOSTILE_NAMES = [
    "",
    "web\x1b[31m",
    "web\n1. root",
    "web\u202e",
    "\ud800",
    "x" * 256,
    None,
    7,
    ["web"],
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_container_whose_name_cannot_be_told_is_none(name: Any) -> None:
    document = sample(BRIDGE)
    document["Containers"][0]["Name"] = name
    file = json.loads(metadata_file("ready").read_text()) | {"ContainerName": name}

    assert [one.name for one in parse(document).containers] == ["registrar"]
    assert MetadataFile.parse(json.dumps(file)).container.name == ""
    with pytest.raises(ValueError, match="no Name"):
        parse_container(json.dumps(document["Containers"][0]))


def test_a_name_may_be_as_long_as_ecs_has_it() -> None:
    document = sample(BRIDGE)
    document["Containers"][0]["Name"] = "x" * 255

    assert one_of(parse(document), "x" * 255).ports == {8080: 32769}


def test_a_container_that_is_being_made_has_no_type_yet() -> None:
    document = sample(BRIDGE)
    del document["Containers"][0]["Type"]

    assert one_of(parse(document)).ports == {8080: 32769}


def test_the_first_address_is_taken_and_ipv4_before_ipv6() -> None:
    document = sample(AWSVPC)
    for one in document["Containers"]:
        one["Networks"][0]["IPv6Addresses"] = ["2001:db8:0::7"]
        one["Networks"][0]["IPv4Addresses"] = ["10.0.3.121", "10.0.3.122"]
    both = one_of(parse(document)).ip
    for one in document["Containers"]:
        del one["Networks"][0]["IPv4Addresses"]

    assert (both, one_of(parse(document)).ip) == ("10.0.3.121", "2001:db8::7")


@pytest.mark.parametrize(
    "address",
    ["10.0.3.300", "web", "", None, 7, "10.0.3.121/24", "fe80::1%eth0", "::ffff:10.0.3.121"],
)
def test_what_cannot_be_registered_is_no_address(address: Any) -> None:
    document = sample(AWSVPC)
    for one in document["Containers"]:
        one["Networks"][0]["IPv4Addresses"] = [address]

    assert one_of(parse(document)).ip == ""


@pytest.mark.parametrize(
    ("health", "read"),
    [
        ({"status": "UNHEALTHY", "exitCode": 7}, ("UNHEALTHY", 7)),
        ({"status": "UNKNOWN"}, ("UNKNOWN", None)),
        ({"status": "HEALTHY", "exitCode": True}, ("HEALTHY", None)),
        ({"status": 1, "exitCode": "7"}, ("", None)),
        ("HEALTHY", ("", None)),
        (None, ("", None)),
    ],
)
def test_health_is_read_as_far_as_it_is_told(health: Any, read: tuple[str, int | None]) -> None:
    document = sample(BRIDGE)
    document["Containers"][0]["Health"] = health

    web = one_of(parse(document))

    assert (web.health, web.health_exit_code) == read


def test_the_tasks_name_is_taken_from_the_task_where_a_label_is_missing() -> None:
    document = sample(BRIDGE)
    del document["Containers"][0]["Labels"]
    document["Containers"][1]["Labels"] = {"com.amazonaws.ecs.task-arn": "…:task/other"}

    web, registrar = parse(document).containers

    assert (web.task_id, registrar.task_id) == (TASK_ID, "other")


def test_the_file_that_is_ready_has_all_that_is_needed() -> None:
    found = MetadataFile.parse(metadata_file("ready").read_text())

    assert (found.is_ready, found.host_ip) == (True, "10.0.3.17")
    assert (found.container.name, found.container.mode) == ("web", "bridge")
    assert found.container.ports == {8080: 32769}
    assert found.container.task_id == TASK_ID


def test_the_first_version_of_the_file_has_the_hosts_ip_alone() -> None:
    found = MetadataFile.parse(metadata_file("initial").read_text())

    assert (found.is_ready, found.host_ip) == (False, "10.0.3.17")
    assert (found.container.mode, found.container.ports) == ("", {})


@pytest.mark.parametrize("status", ["INITIAL", "ready", "", 1, True, None])
def test_a_file_is_ready_only_if_it_says_so(status: Any) -> None:
    document = json.loads(metadata_file("ready").read_text())
    document["MetadataFileStatus"] = status

    assert not MetadataFile.parse(json.dumps(document)).is_ready


@pytest.mark.parametrize("address", ["fe80::1%eth0", "::ffff:10.0.0.1", "10.0.3", None, 7])
def test_what_cannot_be_registered_is_no_ip_of_the_host(address: Any) -> None:
    document = json.loads(metadata_file("ready").read_text())
    document["HostPrivateIPv4Address"] = address

    assert MetadataFile.parse(json.dumps(document)).host_ip == ""


@given(st.integers(0, 2000))
def test_a_file_that_is_half_written_is_none(length: int) -> None:
    text = metadata_file("ready").read_text().rstrip()

    with pytest.raises(ValueError, match="no JSON"):
        MetadataFile.parse(text[: min(length, len(text) - 1)])


def test_a_document_of_something_else_is_none() -> None:
    with pytest.raises(ValueError, match="no Containers"):
        parse(sample("imds-instance-identity-document.json"))
    with pytest.raises(ValueError, match="no Name"):
        parse_container((SAMPLES / BRIDGE).read_text())


@pytest.mark.parametrize("containers", [None, {}, {"Name": "web"}, "web", 7, True])
def test_containers_are_a_list(containers: Any) -> None:
    with pytest.raises(ValueError, match="no Containers"):
        parse(sample(BRIDGE) | {"Containers": containers})


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_refused_or_says_nothing(name: str) -> None:
    try:
        task = Task.parse(GARBAGE[name].decode())
    except ValueError as exc:
        assert "\n" not in str(exc) or isinstance(exc, UnicodeDecodeError)
    else:
        assert all(one.ip == "" and not one.ports for one in task.containers)


def containers_of(found: Task | TaskContainer | MetadataFile) -> tuple[TaskContainer, ...]:
    match found:
        case Task():
            return found.containers
        case MetadataFile():
            return (found.container,)
        case TaskContainer():
            return (found,)


@given(any_json.map(json.dumps) | st.text() | meddled())
def test_whatever_is_written_is_refused_or_can_be_registered(text: str) -> None:
    readers: tuple[Callable[[str], Task | TaskContainer | MetadataFile], ...] = (
        Task.parse,
        parse_container,
        MetadataFile.parse,
    )
    for read in readers:
        try:
            found = read(text)
        except ValueError:
            continue
        for one in containers_of(found):
            assert one.ip == "" or Address(one.ip, 80).ip == one.ip
            assert all(Address("10.0.0.1", port) for port in (*one.ports, *one.ports.values()))
        if isinstance(found, MetadataFile):
            assert found.host_ip == "" or Address(found.host_ip, 80).ip == found.host_ip
        if isinstance(found, Task):
            assert all(one.name for one in found.containers)
