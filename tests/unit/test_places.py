"""Included: which source's answer is taken. The last source is asked about real addresses, AWS's
are the fake on loopback.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registrar.aws.endpoint import parse_base
from registrar.aws.tasks import Task
from registrar.containers import Container
from registrar.places import (
    Finder,
    Finding,
    Place,
    PlaceSettings,
    Reached,
    Search,
    Source,
    docker,
    search_through,
    socket,
)
from registrar.places.ecs import read_task
from registrar.places.search import Step
from registrar.places.showing import show_steps
from registry.faults import Fault, MetadataUnavailable, PlaceUnknown
from registry.records import Address
from tests.fakes.metadata import BRIDGE, NOT_READY, MetadataServer, metadata_file, sample


def says(name: str, ip: str = "", port: int = 0) -> Source:
    return Source(name, lambda _: Finding(ip, port))


def never(_: Search) -> Finding:
    raise AssertionError("asked, though all was known")


def find(settings: PlaceSettings) -> Place:
    return Finder(settings).find()


def test_the_first_answer_wins_for_each_part_on_its_own() -> None:
    sources = [says("a", port=32768), says("b", "10.0.0.5", 8080), Source("c", never)]

    place = search_through(sources, Search(PlaceSettings()))

    assert place.address == Address("10.0.0.5", 32768)
    assert (place.ip.source, place.port.source) == ("b", "a")


@pytest.mark.parametrize(
    ("source", "missing"), [(says("a", port=80), "set IP"), (says("a", "10.0.0.5"), "set PORT")]
)
def test_what_nobody_knows_is_named(source: Source, missing: str) -> None:
    with pytest.raises(PlaceUnknown, match=missing):
        search_through([source], Search(PlaceSettings()))


def test_what_was_given_wins_over_what_could_be_found_out() -> None:
    settings = PlaceSettings("10.1.2.3", 32768, 8080, ("http://127.0.0.1:2379",))

    assert find(settings).address == Address("10.1.2.3", 32768)


def test_the_port_is_the_services_own_unless_somebody_knows_better() -> None:
    place = find(PlaceSettings(port=8080, endpoints=("http://127.0.0.1:2379",)))

    assert place.address == Address("127.0.0.1", 8080)
    assert place.port.source == "PORT"


@pytest.mark.parametrize(
    ("endpoint", "ip"), [("http://127.0.0.1:2379", "127.0.0.1"), ("https://[::1]:2379", "::1")]
)
def test_the_address_is_the_one_that_we_speak_from(endpoint: str, ip: str) -> None:
    found = socket.find_own_ip([endpoint])

    if not found and ip == "::1":
        pytest.skip("this machine has no IPv6, not even on loopback")
    assert found == ip


def test_an_endpoint_without_a_route_is_passed_over() -> None:
    # no name server is asked for a name that cannot be one, and the kernel does not let us speak
    # to everybody at once
    endpoints = [f"http://{'x' * 64}:1", "http://255.255.255.255:1", "http://127.0.0.1:2379"]

    assert socket.find_own_ip(endpoints) == "127.0.0.1"
    assert not socket.find_own_ip(endpoints[:2])


ID = "16244e385446a397f3317b08dcb18e2be636ebb78a6bfc2efa3d49a7538ffae5"
OTHER = "c" * 64

HOST_MOUNTS = (
    f"120 92 0:5 / /var/lib/docker/containers/{OTHER}/mounts/shm rw - tmpfs shm rw\n"
    f"121 92 0:6 / /var/lib/docker/overlay2/{OTHER}/merged rw - overlay overlay rw\n"
)

MOUNTED = "121 92 254:0 {folder}/{id}/{file} /etc/{file} rw,relatime - ext4 /dev/vda rw\n"


def mountinfo(folder: str, file: str = "hostname", container: str = ID) -> str:
    """What the kernel says inside a container, and the usual beside it."""
    mounted = MOUNTED.format(folder=folder, id=container, file=file)
    return f"92 91 0:40 / / rw,relatime - overlay overlay rw\n{mounted}"


@pytest.mark.parametrize(
    ("mounts", "cgroup", "own"),
    [
        (mountinfo("/var/lib/docker/containers"), "0::/\n", ID),
        (mountinfo("/srv/docker\\040data/containers", "hosts"), "", ID),
        (mountinfo("/var/lib/docker/containers", "resolv.conf"), "", ID),
        # podman
        (f"9 8 0:1 /overlay-containers/{ID}/userdata/hostname /etc/hostname rw - x y rw\n", "", ID),
        # nothing of ours is mounted: the cgroup's word counts
        ("", f"9:name=systemd:/docker/{ID}\n8:pids:/docker/{ID}\n", ID),
        ("", f"0::/system.slice/docker-{ID}.scope\n", ID),
        ("", f"0::/user.slice/user@1000.service/libpod-{ID}.scope/container\n", ID),
        # the host: what is mounted there for its containers is not mounted at our own files
        (HOST_MOUNTS, "0::/user.slice/user-1000.slice/session-1.scope\n", ""),
        ("", "", ""),
    ],
)
def test_the_kernel_says_in_which_container_we_are(
    tmp_path: Path, mounts: str, cgroup: str, own: str
) -> None:
    files = (tmp_path / "mountinfo", tmp_path / "cgroup")
    for file, text in zip(files, (mounts, cgroup), strict=True):
        file.write_text(text)

    signs = [sign for _, sign in docker.SIGNS]

    assert docker.own_id(list(zip(files, signs, strict=True))) == own


def test_files_that_are_not_there_say_nothing(tmp_path: Path) -> None:
    [(_, sign), _] = docker.SIGNS
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")

    assert docker.own_id([(tmp_path / "none", sign), (tmp_path / "bytes", sign)]) == ""


def look(settings: PlaceSettings) -> Finding:
    search = Search(settings)
    search.begin("the Docker engine")
    return docker.look(search)


def own(**more: object) -> Container:
    return Container(ID, "shop-web-1", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("container", "ip", "expected"),
    [
        (own(published={8000: ("0.0.0.0", 32768)}), "10.0.0.7", ("10.0.0.7", 32768)),  # noqa: S104
        (own(published={8000: ("127.0.0.1", 32768)}), "", ("127.0.0.1", 32768)),
        (own(published={8000: ("127.0.0.1", 32768)}), "127.0.0.1", ("127.0.0.1", 32768)),
        (own(published={9000: ("127.0.0.1", 32768)}), "10.0.0.7", ("", 0)),
        (own(network_mode="host"), "", ("", 0)),
    ],
)
def test_the_published_port_is_read(
    container: Container, ip: str, expected: tuple[str, int]
) -> None:
    assert docker.read_place(ID, ip, 8000, inspect=lambda _: container) == expected


def test_a_port_that_is_published_elsewhere_than_ip_says_is_not_registered() -> None:
    container = own(published={8000: ("127.0.0.1", 32768)})

    with pytest.raises(PlaceUnknown, match=r"published at 127\.0\.0\.1:32768 alone, and IP"):
        docker.read_place(ID, "10.0.0.7", 8000, inspect=lambda _: container)


def test_an_engine_that_is_named_and_not_mounted_may_be_anothers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a container that builds images: its DOCKER_HOST is what it works with."""
    monkeypatch.setattr(docker, "own_id", lambda: ID)
    monkeypatch.setattr("registrar.engine.SOCKET", "/nowhere/docker.sock")

    assert look(PlaceSettings(port=8000, docker_host="tcp://127.0.0.1:1")) == Finding()
    assert "registering the container's own address" in caplog.text


def test_a_host_that_cannot_be_resolved_is_named() -> None:
    settings = PlaceSettings(port=8000, endpoints=("http://no-such-host.invalid:2379",))

    with pytest.raises(PlaceUnknown, match=r"the host 'no-such-host\.invalid' of REGISTRY_URL"):
        find(settings)


def test_only_who_could_have_published_a_port_is_told_to(
    caplog: pytest.LogCaptureFixture,
) -> None:
    docker.read_place(ID, "", 8000, inspect=lambda _: own(network_mode="host"))
    assert caplog.text == ""

    docker.read_place(ID, "", 8000, inspect=lambda _: own(network_mode="bridge"))
    assert "port 8000 of this container is not published" in caplog.text


@pytest.mark.parametrize(
    ("container", "sentence"),
    [
        (None, f"has no container {ID[:12]}, which is ours; mount the socket of the engine that"),
        (own(published={8000: ("::", 32768)}), "published as port 32768 of the host, and nothing"),
        (own(published={8000: ("nowhere", 32768)}), "nowhere"),
    ],
)
def test_what_the_engine_cannot_say_is_a_fault(container: Container | None, sentence: str) -> None:
    with pytest.raises(PlaceUnknown, match=sentence):
        docker.read_place(ID, "", 8000, inspect=lambda _: container)


def test_without_a_port_no_engine_is_asked(tmp_path: Path) -> None:
    (tmp_path / "docker.sock").touch()

    assert look(PlaceSettings(docker_host=f"unix://{tmp_path}/docker.sock")) == Finding()


HOST = "tmds-v4-task-host-ec2.json"
AWSVPC = "tmds-v4-task-awsvpc-ec2.json"
FARGATE = "tmds-v4-task-fargate.json"
MANY_PORTS = "tmds-v4-task-bridge-ec2-many-ports.json"
PORT_ZERO = "tmds-v4-task-bridge-ec2-hostport-zero.json"


def fails(name: str, fault: Fault) -> Source:
    def look(search: Search) -> Finding:
        search.note(f"GET {name}", "")
        raise fault

    return Source(name, look)


def guesses(name: str, ip: str = "", port: int = 0) -> Source:
    return Source(name, lambda _: Finding(ip, port), knows_host=False)


def reaches(name: str, finding: Finding) -> Source:
    return Source(name, lambda _: finding)


def test_a_source_that_fails_though_it_should_know_keeps_the_guesses_from_being_made() -> None:
    sources = [
        fails("a", MetadataUnavailable("the first")),
        fails("b", MetadataUnavailable("the second")),
        Source("c", never, knows_host=False),
    ]
    search = Search(PlaceSettings(port=8080))

    with pytest.raises(MetadataUnavailable, match=r"^the first$"):
        search_through(sources, search)

    assert [(step.asked, step.answered) for step in search.steps] == [
        ("GET a", "the first"),
        ("GET b", "the second"),
        ("", "not asked: it knows only this container's own address"),
    ]


def test_another_one_that_knows_makes_up_for_it() -> None:
    sources = [fails("a", MetadataUnavailable("no")), says("b", "10.0.0.5", 80), Source("c", never)]

    assert search_through(sources, Search(PlaceSettings())).address == Address("10.0.0.5", 80)


def test_nobody_overrules_who_says_that_there_is_no_answer() -> None:
    """As the metadata file would: it has the port from before a restart as well."""
    sources = [fails("ecs", PlaceUnknown("never")), Source("the file", never), Source("c", never)]

    with pytest.raises(PlaceUnknown, match=r"^never$"):
        search_through(sources, Search(PlaceSettings()))


@pytest.mark.parametrize("guess", [guesses("the socket", "172.17.0.5"), guesses("PORT", port=8080)])
def test_who_is_reached_through_its_host_is_never_registered_at_its_own_address(
    guess: Source,
) -> None:
    through = Finding("" if guess.look(Search(PlaceSettings())).ip else "10.0.3.17", 0)
    sources = [reaches("ecs", through._replace(reached=Reached.THROUGH_THE_HOST)), guess]

    with pytest.raises(PlaceUnknown):
        search_through(sources, Search(PlaceSettings(port=8080)))


@pytest.mark.parametrize("reached", [Reached.BY_THE_HOST, Reached.AT_ITS_OWN, None])
def test_who_is_reached_at_an_address_of_its_own_may_be_guessed(reached: Reached | None) -> None:
    sources = [reaches("ecs", Finding("", 8080, reached)), guesses("the socket", "10.0.3.17")]

    place = search_through(sources, Search(PlaceSettings(port=8080)))

    assert place.address == Address("10.0.3.17", 8080)


def test_why_the_hosts_ip_is_not_known_is_told_with_what_to_do() -> None:
    search = Search(PlaceSettings(port=8080))
    search.why_no_ip.append("it is raining")

    with pytest.raises(PlaceUnknown) as caught:
        search_through([reaches("e", Finding("", 32769, Reached.THROUGH_THE_HOST))], search)

    assert str(caught.value) == (
        "port 32769 of the instance leads here, and its ip is not known (it is raining); make"
        " EC2's metadata reachable, have ECS's agent write it into its file"
        " (ECS_ENABLE_CONTAINER_METADATA=true), or set IP"
    )


def test_a_port_that_nobody_maps_is_not_called_missing() -> None:
    """PORT is set; that is not what is wrong."""
    finding = Finding("10.0.3.17", 0, Reached.THROUGH_THE_HOST)

    with pytest.raises(PlaceUnknown, match="which port of the host leads to port 8080"):
        search_through([reaches("file", finding)], Search(PlaceSettings(port=8080)))


# what ECS says of a task


def nobody() -> str:
    raise AssertionError("asked, though only one could be meant")


def read(
    document: Any, *, port: int = 8080, name: str = "", own: Callable[[], str] = nobody, **more: Any
) -> Finding:
    search = Search(PlaceSettings(port=port))
    search.begin("ECS")
    search.take(Finding(more.get("ip", ""), more.get("host_port", 0)))
    finding, said = read_task(Task.parse(json.dumps(document)), search, name=name, own=own)
    assert said
    return finding


def twin(document: Any, name: str = "admin", host_port: int = 40000, **more: Any) -> None:
    """Let a second container map the port that the first one maps."""
    first = document["Containers"][0]
    second = json.loads(json.dumps(first)) | {"Name": name, "DockerId": "f" * 64} | more
    second["Ports"] = [{"ContainerPort": 8080, "Protocol": "tcp", "HostPort": host_port}]
    document["Containers"].append(second)


@pytest.mark.parametrize(
    ("task", "port", "expected"),
    [
        (BRIDGE, 8080, Finding("", 32769, Reached.THROUGH_THE_HOST)),
        (MANY_PORTS, 8080, Finding("", 32769, Reached.THROUGH_THE_HOST)),
        (MANY_PORTS, 9102, Finding("", 32770, Reached.THROUGH_THE_HOST)),
        (HOST, 8080, Finding("", 8080, Reached.BY_THE_HOST)),
        (AWSVPC, 8080, Finding("10.0.3.121", 8080, Reached.AT_ITS_OWN)),
        (FARGATE, 3000, Finding("10.0.3.121", 3000, Reached.AT_ITS_OWN)),
    ],
)
def test_a_task_is_reached_as_its_network_mode_has_it(
    task: str, port: int, expected: Finding
) -> None:
    assert read(sample(task), port=port) == expected


def test_a_mode_of_its_own_name_is_taken_for_a_bridge() -> None:
    """On EC2 default and a network's own name are bridges as well."""
    document = sample(BRIDGE)
    for one in document["Containers"]:
        one["Networks"][0]["NetworkMode"] = "default"

    assert read(document) == Finding("", 32769, Reached.THROUGH_THE_HOST)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (NOT_READY, "is there a port mapping with containerPort 8080 in the task definition"),
        (PORT_ZERO, "is there a port mapping with containerPort 8080 in the task definition"),
    ],
)
def test_what_the_agent_does_not_know_yet_may_come(task: str, words: str) -> None:
    with pytest.raises(MetadataUnavailable, match=words) as caught:
        read(sample(task))
    assert caught.value.may_pass


def test_a_task_whose_network_is_not_known_yet_is_waited_for() -> None:
    document = sample(BRIDGE)
    for one in document["Containers"]:
        del one["Networks"]

    with pytest.raises(MetadataUnavailable, match="does not know the task's network") as caught:
        read(document)
    assert caught.value.may_pass


def test_a_task_whose_ip_is_not_known_yet_is_waited_for() -> None:
    document = sample(AWSVPC)
    for one in document["Containers"][1:]:
        one["Networks"] = [{"NetworkMode": "awsvpc"}]

    with pytest.raises(MetadataUnavailable, match="task's ip") as caught:
        read(document)
    assert caught.value.may_pass


def test_a_task_without_a_network_is_reached_by_nobody() -> None:
    document = sample(BRIDGE)
    for one in document["Containers"]:
        one["Networks"] = [{"NetworkMode": "none"}]

    with pytest.raises(PlaceUnknown, match="network mode none"):
        read(document)


def test_a_port_that_no_container_maps_is_named_with_the_containers() -> None:
    with pytest.raises(MetadataUnavailable, match=r"no container \(web, registrar\).*port 9999"):
        read(sample(BRIDGE), port=9999)


def test_the_container_that_is_named_is_meant() -> None:
    document = sample(BRIDGE)
    twin(document)

    assert read(document, name="web").port == 32769
    assert read(document, name="admin").port == 40000
    with pytest.raises(
        MetadataUnavailable, match="no container called registrar maps port 8080 yet"
    ):
        read(document, name="registrar")
    with pytest.raises(
        MetadataUnavailable, match=r"CONTAINER is 'nope', and ECS.*: web, registrar"
    ):
        read(document, name="nope")


def test_of_two_that_map_the_port_ours_is_meant() -> None:
    document = sample(BRIDGE)
    twin(document)

    assert read(document, own=lambda: "web").port == 32769
    assert read(document, own=lambda: "admin").port == 40000
    with pytest.raises(PlaceUnknown, match="web, admin all map port 8080; say which with CONTAI"):
        read(document, own=lambda: "registrar")


def test_the_ports_of_one_are_not_taken_while_another_is_being_started() -> None:
    """They come one by one, and another container may be the one that was meant."""
    document = sample(BRIDGE)
    twin(document)
    web = document["Containers"][0]
    del web["Ports"]
    web["KnownStatus"] = "CREATED"

    with pytest.raises(MetadataUnavailable, match="and so may web, which ECS is still") as caught:
        read(document)

    assert caught.value.may_pass
    # who is named is not mistaken
    assert read(document, name="admin").port == 40000
    with pytest.raises(MetadataUnavailable, match="no container called web maps"):
        read(document, name="web")


@given(
    st.lists(st.booleans(), min_size=2, max_size=2), st.lists(st.booleans(), min_size=2, max_size=2)
)
def test_the_entrypoint_of_one_is_never_registered_at_anothers_port(
    knows_ports: list[bool], runs: list[bool]
) -> None:
    """Whatever of the two is known so far."""
    document = sample(BRIDGE)
    twin(document)
    web, _, admin = document["Containers"]
    for one, knows, is_running in zip((web, admin), knows_ports, runs, strict=True):
        one["KnownStatus"] = "RUNNING" if is_running else "CREATED"
        if not knows:
            del one["Ports"]

    try:
        finding = read(document, name="web")
    except MetadataUnavailable as fault:
        assert fault.may_pass
        assert not knows_ports[0]
    else:
        assert finding.port == 32769


def test_a_host_port_that_was_given_is_not_looked_for() -> None:
    document = sample(BRIDGE)
    del document["Containers"][0]["Ports"]

    assert read(document, host_port=31000) == Finding("", 0, Reached.THROUGH_THE_HOST)


# all sources, asked of the fake


@pytest.fixture(name="aws")
def _aws() -> Iterator[MetadataServer]:
    with MetadataServer() as aws:
        yield aws


def on_ecs(aws: MetadataServer, **more: Any) -> PlaceSettings:
    given: dict[str, Any] = {
        "port": 8080,
        "task_url": parse_base(aws.task_url),
        "ec2_url": parse_base(aws.url),
    }
    return PlaceSettings(**(given | more))


def test_in_a_bridge_ecs_knows_the_port_and_ec2_the_ip(aws: MetadataServer) -> None:
    place = find(on_ecs(aws))

    assert place.address == Address("10.0.3.17", 32769)
    assert (place.ip.source, place.port.source) == ("EC2 instance metadata", "ECS task metadata")


def test_in_a_bridge_the_file_knows_the_ip_as_well_and_costs_nothing(aws: MetadataServer) -> None:
    place = find(on_ecs(aws, metadata_file=str(metadata_file("initial"))))

    assert place.address == Address("10.0.3.17", 32769)
    assert (place.ip.source, place.port.source) == ("ECS metadata file", "ECS task metadata")
    assert aws.imds_requests == []


@pytest.mark.parametrize("task", [AWSVPC, FARGATE])
def test_a_task_with_an_interface_of_its_own_does_not_ask_ec2(
    aws: MetadataServer, task: str
) -> None:
    aws.play(task)

    assert find(on_ecs(aws)).address == Address("10.0.3.121", 8080)
    assert aws.imds_requests == []
    assert len(aws.task_requests) == 1


def test_in_the_hosts_network_the_ip_is_ec2s_and_the_port_our_own(aws: MetadataServer) -> None:
    aws.play(HOST)

    assert find(on_ecs(aws)).address == Address("10.0.3.17", 8080)


def test_in_the_hosts_network_our_own_address_will_do(aws: MetadataServer) -> None:
    aws.play(HOST)
    settings = on_ecs(aws, ec2_url=None, endpoints=("http://127.0.0.1:2379",))

    assert find(settings).address == Address("127.0.0.1", 8080)


@pytest.mark.parametrize(
    ("task", "given", "expected"),
    [
        (BRIDGE, {"ip": "10.9.9.9"}, Address("10.9.9.9", 32769)),
        (BRIDGE, {"host_port": 31000}, Address("10.0.3.17", 31000)),
        (HOST, {"ip": "10.9.9.9"}, Address("10.9.9.9", 8080)),
        (HOST, {"host_port": 31000}, Address("10.0.3.17", 31000)),
        (FARGATE, {"ip": "10.9.9.9"}, Address("10.9.9.9", 8080)),
        (FARGATE, {"host_port": 31000}, Address("10.0.3.121", 31000)),
    ],
)
def test_what_was_given_wins_and_the_rest_is_asked_for(
    aws: MetadataServer, task: str, given: dict[str, Any], expected: Address
) -> None:
    aws.play(task)

    assert find(on_ecs(aws, **given)).address == expected


def test_where_both_were_given_nobody_is_asked(aws: MetadataServer) -> None:
    assert find(on_ecs(aws, ip="10.9.9.9", host_port=1)).address == Address("10.9.9.9", 1)
    assert aws.requests == []


def test_an_endpoint_that_was_named_says_that_we_are_on_ec2(aws: MetadataServer) -> None:
    """Without ECS: on the instance itself."""
    settings = on_ecs(aws, task_url=None)
    endpoints = ("http://127.0.0.1:2379",)

    named = find(PlaceSettings(port=8080, ec2_url=settings.ec2_url, is_on_ec2=True))
    asked = len(aws.imds_requests)
    unnamed = find(PlaceSettings(port=8080, ec2_url=settings.ec2_url, endpoints=endpoints))

    assert named.address == Address("10.0.3.17", 8080)
    # an instance's ip says nothing of a container in a network of Docker's
    assert unnamed.address == Address("127.0.0.1", 8080)
    assert len(aws.imds_requests) == asked == 2


def written(tmp_path: Path, **changes: Any) -> str:
    document = json.loads(metadata_file("ready").read_text()) | changes
    path = tmp_path / "ecs-container-metadata.json"
    path.write_text(json.dumps(document))
    return str(path)


def networks(mode: str, *addresses: str) -> list[dict[str, Any]]:
    return [{"NetworkMode": mode, "IPv4Addresses": list(addresses)}]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Address("10.0.3.17", 32769)),
        ({"Networks": networks("host", "")}, Address("10.0.3.17", 8080)),
        ({"Networks": networks("awsvpc", "10.0.3.121")}, Address("10.0.3.121", 8080)),
    ],
)
def test_an_old_agents_file_says_all_by_itself(
    tmp_path: Path, changes: dict[str, Any], expected: Address
) -> None:
    place = find(PlaceSettings(port=8080, metadata_file=written(tmp_path, **changes)))

    assert place.address == expected


@pytest.mark.parametrize(("port", "container"), [(9999, ""), (8080, "api")])
def test_the_file_of_another_container_or_port_does_not_say_ours(
    aws: MetadataServer, tmp_path: Path, port: int, container: str
) -> None:
    settings = on_ecs(
        aws,
        port=port,
        container=container,
        task_url=None,
        metadata_file=written(tmp_path),
        endpoints=("http://127.0.0.1:2379",),
    )

    with pytest.raises(PlaceUnknown, match=f"which port of the host leads to port {port}"):
        find(settings)
    # EC2 knows of no ports
    assert aws.requests == []


def test_a_file_without_the_hosts_ip_leaves_it_to_ec2(aws: MetadataServer, tmp_path: Path) -> None:
    file = written(tmp_path, HostPrivateIPv4Address="")

    place = find(on_ecs(aws, metadata_file=file))

    assert (place.address, place.ip.source) == (
        Address("10.0.3.17", 32769),
        "EC2 instance metadata",
    )


# for people


def test_every_step_is_shown_with_whom_it_asked_and_what_came_of_it() -> None:
    steps = [
        Step("ECS task metadata", "GET http://a/task", "port 1 is 2", "port 2", 0.0123),
        Step("EC2 instance metadata", "GET http://b", "nothing of use", "", 1.0),
        Step("PORT", "", "not asked: all is known", "", 0.0),
    ]

    assert show_steps(steps) == (
        "1. ECS task metadata\n"
        "     asked     GET http://a/task\n"
        "     answered  port 1 is 2  (12 ms)\n"
        "     took      port 2\n"
        "2. EC2 instance metadata\n"
        "     asked     GET http://b\n"
        "     answered  nothing of use  (1000 ms)\n"
        "     took      nothing\n"
        "3. PORT: not asked: all is known"
    )


@given(st.text(), st.text())
def test_what_others_say_steers_no_terminal(asked: str, answered: str) -> None:
    shown = show_steps([Step("ECS", asked, answered, "", 0.0)])

    assert all(line.isprintable() for line in shown.split("\n"))
    assert len(shown.split("\n")) == (4 if asked else 1)
