"""Included: ``docker/register.sh`` in a task, by a fake of ECS's and EC2's metadata. Real etcd."""

import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registrar.aws.tasks import parse_container
from registry.keys import RouteKey
from registry.records import InstanceRecord, State
from tests.etcd_server import EtcdServer, wait_until
from tests.fakes.metadata import (
    GARBAGE,
    MetadataServer,
    dropping,
    many_megabytes,
    metadata_file,
    sample,
)
from tests.registrar_process import Place
from tests.shell_process import SCRIPT, SHELLS, Shell, ShellRegistrar, find_shell, run_once

pytestmark = pytest.mark.system

TASK = "7c1f0b6c2f0e4d0f9b7a1d2e3f405162"
"""The samples' task."""

COMMAND = ["sh", "-c", 'trap "exit 5" TERM; echo started; while :; do sleep 0.02; done']

LATEST_S = 5.0
"""Until the command is started; a second is waited, and two cores may be busy."""

ENDED_S = 1.9
"""Less than the 2 s of one unanswered call; one second is given."""

NO_NETWORK = {"NetworkMode": "none", "IPv4Addresses": []}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return find_shell(request.param, tmp_path_factory.mktemp("tools"))


@pytest.fixture
def place(server: EtcdServer) -> Iterator[Place]:
    place = Place(server, f"/{secrets.token_hex(4)}")
    yield place
    place.etcd.close()


@pytest.fixture
def aws() -> Iterator[MetadataServer]:
    with MetadataServer() as aws:
        yield aws


class InTask:
    """Starts ``register.sh`` in a task, by one shell."""

    def __init__(self, shell: Shell, place: Place, aws: MetadataServer) -> None:
        self.shell = shell
        self.place = place
        self.aws = aws

    def environ(self, **more: str) -> dict[str, str]:
        """Nothing of an address but what the task tells; a proxy leads nowhere."""
        given = {"NAME": "feature/login", "SERVICE": "web", "PORT": "8080", "TTL": "6"}
        proxies = {"http_proxy": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1"}
        return self.place.environ | given | proxies | self.aws.environ | more

    def __call__(self, **more: str) -> ShellRegistrar:
        return ShellRegistrar(self.shell, COMMAND, self.environ(**more))

    def address(self, **more: str) -> str:
        """Where it is registered, once it is; and that it deregisters."""
        with self(**more) as registrar:
            self.place.wait_registered()
            address = str(self.place.record().address)
            code, _ = registrar.stop()
        assert code == 5
        assert self.place.routes() == []
        return address

    @property
    def own(self) -> dict[str, Any]:
        """What ECS says of the container, to be changed."""
        return self.aws.own_document


@pytest.fixture
def task(shell: Shell, place: Place, aws: MetadataServer) -> InTask:
    return InTask(shell, place, aws)


def asked(aws: MetadataServer) -> list[str]:
    return [f"{one.method} {one.path}" for one in aws.requests]


@pytest.mark.prompt
def test_in_bridge_mode_it_is_the_instances_ip_and_the_port_of_the_host(task: InTask) -> None:
    with task(TTL="2") as registrar:
        entry = task.place.wait_registered()
        # some refreshes and another lease later nobody has been asked again
        task.place.etcd.revoke(entry.lease)
        registrar.wait_said("the lease is gone; registering again")
        task.place.wait_registered()
        registrar.stop()

    key = RouteKey("feature/login", "web", f"{TASK}-web")
    assert entry.key == task.place.keys.raw(key)
    assert str(InstanceRecord.parse(entry.value).address) == "10.0.3.17:32769"
    assert "registered 10.0.3.17:32769 as starting" in registrar.log
    assert "trying on" not in registrar.log
    assert task.place.routes() == []
    task_path = f"/v4/{task.aws.task_id}"
    assert asked(task.aws) == [
        f"GET {task_path}",
        "PUT /latest/api/token",
        "GET /latest/meta-data/local-ipv4",
    ]
    assert all("x-forwarded-for" not in one.headers for one in task.aws.requests)


@pytest.mark.prompt
def test_ports_that_come_late_are_waited_for_before_the_command_starts(task: InTask) -> None:
    task.aws.ports_after = 1
    with task() as registrar:
        registrar.wait_said("is ready")

        assert "registered 10.0.3.17:32769 as starting" in registrar.log
        assert "trying on" not in registrar.log
        assert "all the same" not in registrar.log


@pytest.mark.prompt
def test_the_command_does_not_wait_for_ports_that_come_later(task: InTask) -> None:
    task.aws.ports_after = 5
    began_at = time.monotonic()
    with task() as registrar:
        registrar.wait_said("started\n")
        assert time.monotonic() - began_at < LATEST_S
        assert task.place.routes() == []
        entry = task.place.wait_registered()
        code, _ = registrar.stop()

    told = "the agent does not know the task's network yet"
    assert registrar.log.count(told) == 1
    assert f"{told}; the command starts all the same" in registrar.log
    assert str(InstanceRecord.parse(entry.value).address) == "10.0.3.17:32769"
    # it was told before the command started
    assert entry.key.endswith(f"/{TASK}-web".encode())
    assert code == 5
    # the shell that ended it is not the one that registered it
    assert task.place.routes() == []


def test_it_takes_no_more_than_its_share_of_the_agent(task: InTask) -> None:
    task.aws.ports_after = 10**6
    with task() as registrar:
        registrar.wait_said("started\n")
        task.aws.wait_for(lambda requests: len(requests) == 6, within_s=20.0)

        times = [one.at for one in task.aws.task_requests]
        for count, at in enumerate(times, 1):
            assert count <= 4 + 0.45 * (at - times[0]) + 0.1, times
        assert times[-1] - times[-2] > 2.0
        assert task.place.routes() == []
        assert registrar.log.count("network yet") == 1


@pytest.mark.parametrize("document", ["tmds-v4-task-awsvpc-ec2.json", "tmds-v4-task-fargate.json"])
def test_with_an_interface_of_its_own_ec2_is_not_asked(task: InTask, document: str) -> None:
    task.aws.play(document)

    assert task.address() == "10.0.3.121:8080"
    assert task.aws.imds_requests == []


def test_an_interface_without_ipv4_is_reached_by_ipv6(task: InTask) -> None:
    task.own["Networks"] = [{"IPv6Addresses": ["2001:db8::7"], "NetworkMode": "awsvpc"}]

    assert task.address() == "[2001:db8::7]:8080"


def test_in_the_hosts_network_it_is_the_instances_ip_and_its_own_port(task: InTask) -> None:
    task.aws.play("tmds-v4-task-host-ec2.json")

    assert task.address() == "10.0.3.17:8080"


@pytest.mark.prompt
@pytest.mark.parametrize("given", [{}, {"AWS_EC2_METADATA_DISABLED": "True"}])
def test_in_the_hosts_network_its_own_interface_will_do(
    task: InTask, given: dict[str, str]
) -> None:
    task.aws.play("tmds-v4-task-host-ec2.json")
    task.aws.imds_mode = "disabled"

    assert task.address(**given) == "127.0.0.1:8080"
    assert len(task.aws.imds_requests) == (0 if given else 3)


@pytest.mark.parametrize("state", ["initial", "ready"])
def test_the_ip_in_the_metadata_file_is_taken_before_ec2_is_asked(
    task: InTask, tmp_path: Path, state: Any
) -> None:
    written = json.loads(metadata_file(state).read_text()) | {"HostPrivateIPv4Address": "10.0.9.9"}
    file = tmp_path / "a file"
    file.write_text(json.dumps(written))
    task.aws.imds_mode = "hop1"

    assert task.address(ECS_CONTAINER_METADATA_FILE=str(file)) == "10.0.9.9:32769"
    assert task.aws.imds_requests == []


@pytest.mark.parametrize("shell", ["busybox"], indirect=True)
@pytest.mark.parametrize("text", ["", '{"HostPrivateIPv4Address": "10.0.9.', "10.0.9.9", "\0[[["])
def test_a_metadata_file_that_says_nothing_is_passed_over(
    task: InTask, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "file"
    file.write_text(text)

    assert task.address(ECS_CONTAINER_METADATA_FILE=str(file)) == "10.0.3.17:32769"


@pytest.mark.prompt
def test_a_hop_limit_of_1_is_told_once_and_tried_on(task: InTask) -> None:
    task.aws.imds_mode, task.aws.imds_tokens = "hop1", "optional"
    began_at = time.monotonic()
    with task() as registrar:
        registrar.wait_said("started\n")
        assert time.monotonic() - began_at < LATEST_S
        task.aws.wait_for(lambda _: len(task.aws.imds_requests) == 3)
        assert task.place.routes() == []
        assert registrar.log.count("set HttpPutResponseHopLimit to 2") == 1
        assert "ECS_ENABLE_CONTAINER_METADATA=true" in registrar.log
        # version 1 would have answered
        assert {one.method for one in task.aws.imds_requests} == {"PUT"}
        # the port is known, and does not change
        assert len(task.aws.task_requests) == 1

        task.aws.imds_mode = "normal"
        entry = task.place.wait_registered()
        assert str(InstanceRecord.parse(entry.value).address) == "10.0.3.17:32769"
        assert entry.key.endswith(f"/{TASK}-web".encode())


@pytest.mark.prompt
@pytest.mark.parametrize(
    ("given", "mode", "told"),
    [
        ({"AWS_EC2_METADATA_DISABLED": "true"}, "normal", "AWS_EC2_METADATA_DISABLED is set"),
        ({}, "disabled", "answered 403: metadata is turned off for this instance (HttpEndpoint)"),
    ],
)
def test_behind_a_bridge_its_own_interface_is_never_taken(
    task: InTask, given: dict[str, str], mode: Any, told: str
) -> None:
    task.aws.imds_mode = mode
    with task(**given) as registrar:
        registrar.wait_said("started\n")
        until = time.monotonic() + 1.0
        wait_until(lambda: time.monotonic() > until)

        assert task.place.routes() == []
        assert registrar.log.count(told) == 1
        assert "port 32769 of the instance leads here, and its ip is not known" in registrar.log
        assert bool(task.aws.imds_requests) is not bool(given)
        code, took_s = registrar.stop()
    assert code == 5
    assert took_s < ENDED_S


def test_ec2_that_is_asked_too_often_is_asked_again(task: InTask) -> None:
    task.aws.imds_throttled = 2

    assert task.address() == "10.0.3.17:32769"
    refused, *given = [one.status for one in task.aws.imds_requests][1:]
    # a try that the first second cut short begins anew
    assert (refused, set(given)) == (503, {200})


@pytest.mark.parametrize("shell", ["dash"], indirect=True)
@pytest.mark.parametrize("ip", ["10.0.3.300", "", 'x"\noutput = /tmp/x', "10.0.3.17 10.0.3.18"])
def test_what_ec2_gives_is_checked(task: InTask, ip: str) -> None:
    task.aws.leaves["local-ipv4"] = ip
    with task() as registrar:
        registrar.wait_said("EC2 gave no ip of the instance")
        registrar.wait_said("started\n")

        assert task.place.routes() == []
        task.aws.leaves["local-ipv4"] = "10.0.3.17"
        task.place.wait_registered()


@pytest.mark.prompt
def test_an_agent_that_is_asked_too_often_is_asked_again(task: InTask) -> None:
    task.aws.task_limited = 2
    with task() as registrar:
        registrar.wait_said("started\n")
        entry = task.place.wait_registered()

        assert entry.key.endswith(f"/{TASK}-web".encode())
        first, second, third = (one.at for one in task.aws.task_requests)
        assert second - first > 0.2
        assert third - second > 0.4


class Bad(NamedTuple):
    """A bad time of the agent's, and what is said of it."""

    mode: Any
    told: str


BAD = [Bad("broken", "answered 500"), Bad("silent", "no answer"), Bad("trickling", "no answer")]


@pytest.mark.prompt
@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.mode)
def test_an_agent_that_does_not_answer_does_not_hold_up_the_command(task: InTask, bad: Bad) -> None:
    task.aws.task_mode = bad.mode
    began_at = time.monotonic()
    with task() as registrar:
        registrar.wait_said("started\n")
        assert time.monotonic() - began_at < LATEST_S
        asked_before = len(task.aws.task_requests)
        task.aws.wait_for(lambda requests: len(requests) > asked_before)
        assert registrar.log.count(bad.told) == 1
        assert "the command starts all the same" in registrar.log
        assert task.place.routes() == []

        task.aws.task_mode = "normal"
        entry = task.place.wait_registered()
        assert str(InstanceRecord.parse(entry.value).address) == "10.0.3.17:32769"
        assert "the registry takes us again" not in registrar.log
        # both shells know of the name that it had at the start
        assert TASK.encode() not in entry.key
        registrar.stop()
    assert task.place.routes() == []


@pytest.mark.prompt
def test_neither_ecs_nor_the_registry_nor_both_hold_it_up(
    shell: Shell, place: Place, aws: MetadataServer
) -> None:
    aws.task_mode = "silent"
    with dropping() as nowhere:
        mute = nowhere.replace("http://", "http://u:p@")
        began_at = time.monotonic()
        with InTask(shell, place, aws)(REGISTRY_URL=mute) as registrar:
            registrar.wait_said("started\n")
            assert time.monotonic() - began_at < LATEST_S
            code, took_s = registrar.stop()

    assert code == 5
    assert took_s < ENDED_S


def test_what_drops_packets_is_told_as_such(task: InTask) -> None:
    with dropping() as nowhere, task(AWS_EC2_METADATA_SERVICE_ENDPOINT=nowhere) as registrar:
        registrar.wait_said("no connection within a second; something drops it")
        registrar.wait_said("started\n")

        assert "HttpPutResponseHopLimit" not in registrar.log


@pytest.mark.prompt
def test_sigterm_while_ecs_is_waited_for_keeps_the_command_from_starting(task: InTask) -> None:
    task.aws.ports_after = 10**6
    with task() as registrar:
        task.aws.wait_for(lambda requests: len(requests) == 2)
        code, took_s = registrar.stop()

        assert (code, registrar.out) == (143, "")
        assert took_s < 5


def test_nobody_is_asked_where_all_is_given(task: InTask) -> None:
    assert task.address(IP="10.0.0.5", HOST_PORT="31000") == "10.0.0.5:31000"
    assert task.aws.requests == []


def test_only_what_is_not_given_is_asked_for(task: InTask) -> None:
    assert task.address(IP="10.0.0.5") == "10.0.0.5:32769"
    assert task.aws.imds_requests == []

    del task.own["Ports"]
    assert task.address(HOST_PORT="031000") == "10.0.3.17:31000"


def test_outside_of_ecs_nobody_is_asked(task: InTask) -> None:
    assert task.address(ECS_CONTAINER_METADATA_URI_V4="") == "127.0.0.1:8080"
    assert task.aws.requests == []


def test_a_task_without_a_network_is_told_so(task: InTask) -> None:
    task.own["Networks"] = [NO_NETWORK]
    with task() as registrar:
        registrar.wait_said("network mode none, so nobody reaches it; choose another")
        registrar.wait_said("started\n")

        assert len(task.aws.task_requests) <= 2
        assert task.place.routes() == []


@pytest.mark.parametrize(
    "name", ["ECS_CONTAINER_METADATA_URI_V4", "AWS_EC2_METADATA_SERVICE_ENDPOINT"]
)
@pytest.mark.parametrize("shell", ["busybox"], indirect=True)
@pytest.mark.parametrize("url", ["https://10.0.0.1/v4", "http://a b/", 'http://x/"\noutput = y'])
def test_urls_that_cannot_be_used_are_refused(task: InTask, name: str, url: str) -> None:
    done = run_once(task.shell, COMMAND, task.environ(**{name: url}))

    assert (done.returncode, done.stdout) == (78, "")
    assert f"{name} is 'http" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_document_of_many_megabytes_is_not_read(task: InTask) -> None:
    task.aws.task_garbage = many_megabytes(task.own)
    with task() as registrar:
        registrar.wait_said("curl's error 63")
        registrar.wait_said("started\n")
        assert task.place.routes() == []

        task.aws.task_garbage = None
        task.place.wait_registered()


def test_a_container_that_was_restarted_in_place_goes_on_with_its_key(task: InTask) -> None:
    with task() as killed:
        before = task.place.wait_registered()
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    # a fixed one: of a port that Docker chose the agent tells the first for ever
    task.own["Ports"][0]["HostPort"] = 8081
    task.own["RestartCount"] = 1
    assert len(task.place.routes()) == 1

    with task() as registrar:
        registrar.wait_said("is ready")
        (after,) = task.place.routes()
        record = InstanceRecord.parse(after.value)
        assert after.key == before.key
        assert (str(record.address), record.state) == ("10.0.3.17:8081", State.READY)
        task.place.etcd.revoke(before.lease)
        assert len(task.place.routes()) == 1
        registrar.stop()
    assert task.place.routes() == []


def test_a_port_from_before_a_restart_in_place_is_not_believed(task: InTask) -> None:
    task.own["RestartCount"] = 1

    with task() as registrar:
        registrar.wait_said("this container was restarted in place, and ECS still tells the port")
        registrar.wait_said("started\n")
        assert task.place.routes() == []
        registrar.stop()


# ---- what documents say, without a process of its own for each


NOTHING = "   "


def told(shell: Shell, folder: Path, document: bytes, **environ: str) -> str:
    """What the script's functions take from a document: network mode, ip, port and instance."""
    functions, _, _ = SCRIPT.read_text().partition("\n# ---- the program")
    file = folder / "document"
    file.write_bytes(document)
    body = """
        fetch() { _document=$(tr -d '\\000' <"$DOCUMENT"); }
        name_instance() { _name=$1; }
        _port=$PORT _host_port='' _own_ip='' _network='' _name='' _until=1 _agent_url=the-agent
        ask_agent
        printf '%s %s %s %s' "$_network" "$_own_ip" "$_host_port" "$_name" """
    done = subprocess.run(
        [*shell.arguments, "-c", functions + body],
        env=shell.environ({"PORT": "8080", "DOCUMENT": str(file)} | environ),
        capture_output=True,
        check=True,
        text=True,
        timeout=10.0,
    )
    assert not done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", GARBAGE)
def test_of_garbage_nothing_is_taken(shell: Shell, tmp_path: Path, name: str) -> None:
    assert told(shell, tmp_path, GARBAGE[name]) == NOTHING


@pytest.mark.parametrize(
    ("port", "expected"), [("8080", "32769"), ("9102", "32770"), ("80", ""), ("808", "")]
)
def test_each_port_has_its_own_mapping(
    shell: Shell, tmp_path: Path, port: str, expected: str
) -> None:
    document = sample("tmds-v4-task-bridge-ec2-many-ports.json")["Containers"][0]
    document["Ports"].reverse()

    said = told(shell, tmp_path, json.dumps(document).encode(), PORT=port)

    assert said == (f"bridge  {expected} {TASK}-web" if expected else f"{NOTHING}{TASK}-web")


def test_a_port_that_is_not_known_yet_is_not_taken(shell: Shell, tmp_path: Path) -> None:
    document = sample("tmds-v4-task-bridge-ec2-hostport-zero.json")["Containers"][0]

    for port in (None, 0, 70000):
        if port is not None:
            document["Ports"] = [{"ContainerPort": 8080, "HostPort": port}]
        said = told(shell, tmp_path, json.dumps(document).encode())
        assert said == f"{NOTHING}{TASK}-web"


PORT = {"ContainerPort": 8080, "HostPort": 666, "HostIp": "10.0.3.17", "Protocol": "tcp"}
NETWORK = {"NetworkMode": "awsvpc", "IPv4Addresses": ["6.6.6.6"]}
HOSTILE = json.dumps({"Ports": [PORT], "Networks": [NETWORK]})
HOSTILE_LABELS = {
    "Ports": HOSTILE,
    "Networks": json.dumps([NETWORK]),
    "a": HOSTILE[1:-1],
    "b": "}" + HOSTILE,
    '","Ports":[{"ContainerPort":8080,"HostPort":666}],"x":"': "]}",
    "c": "\\",
    "d": '\\","Networks":[{"NetworkMode":"host"}],"e":"',
    "f": "\n\t'$(touch x)`touch x`",
    "g": '"',
    "com.amazonaws.ecs.task-arn-": "arn:x/evil",
}


@pytest.mark.parametrize("where", ["Labels", "LogOptions"])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_label_is_only_a_label(
    shell: Shell, tmp_path: Path, where: str, indent: int | None
) -> None:
    document = sample("tmds-v4-container-bridge-ec2.json")
    document[where] = HOSTILE_LABELS | document[where]
    for turned in (document, dict(reversed(document.items()))):
        text = json.dumps(turned, indent=indent).encode()
        assert told(shell, tmp_path, text) == f"bridge  32769 {TASK}-web"
    assert [one.name for one in tmp_path.iterdir()] == ["document"]


@pytest.mark.prompt
def test_a_hostile_label_is_no_part_of_the_key(task: InTask) -> None:
    task.own["Labels"] = HOSTILE_LABELS | task.own["Labels"]
    with task():
        entry = task.place.wait_registered()

        assert entry.key.endswith(f"/{TASK}-web".encode())
        assert str(InstanceRecord.parse(entry.value).address) == "10.0.3.17:32769"


@pytest.mark.parametrize("shell", ["busybox"], indirect=True)
@pytest.mark.parametrize("label", ["arn:aws:ecs:x/a b", "arn:x/", 'arn:x/"\n', "", "arn:x/ü"])
def test_a_task_without_an_id_is_named_after_its_host(task: InTask, label: str) -> None:
    task.own["Labels"]["com.amazonaws.ecs.task-arn"] = label
    with task():
        entry = task.place.wait_registered()

        (instance,) = (entry.key.rpartition(b"/")[2],)
        assert not instance.endswith(b"-web")
        assert b"%" not in instance


TEXTS = st.text(st.sampled_from('"\\{}[],: a\n\t80ü/') | st.characters(codec="utf-8"), max_size=40)
PORTS = st.sampled_from([0, 80, 808, 8080, 80801, 32769, 65535, 65536, 99999, 123456])
MAPPINGS = st.fixed_dictionaries(
    {},
    optional={
        "ContainerPort": st.just(8080) | PORTS,
        "HostPort": PORTS,
        "Protocol": st.sampled_from(["tcp", "udp", "sctp"]),
        "HostIp": st.sampled_from(["10.0.3.17", "::", "fd00::1", ""]),
    },
)


# as few examples as it takes: each is a dozen processes
@settings(max_examples=40, deadline=None)
@given(
    labels=st.dictionaries(TEXTS, TEXTS, max_size=4),
    mappings=st.lists(MAPPINGS, max_size=4),
    order=st.randoms(use_true_random=False),
    indent=st.sampled_from([None, 0, 3]),
    is_ascii=st.booleans(),
)
def test_any_document_says_what_it_says_to_python(
    shell: Shell,
    tmp_path_factory: pytest.TempPathFactory,
    labels: Mapping[str, str],
    mappings: list[Mapping[str, Any]],
    order: Any,
    indent: int | None,
    *,
    is_ascii: bool,
) -> None:
    document = sample("tmds-v4-container-bridge-ec2.json") | {"Ports": mappings}
    document["Labels"] = labels | document["Labels"]
    items = list(document.items())
    order.shuffle(items)
    text = json.dumps(dict(items), indent=indent, ensure_ascii=is_ascii)

    said = told(shell, tmp_path_factory.mktemp("any"), text.encode("utf-8", "surrogatepass"))

    port = parse_container(text).ports.get(8080)
    assert said == (f"bridge  {port} {TASK}-web" if port else f"{NOTHING}{TASK}-web")
