"""Included: ``sidecar`` and ``run`` in a task of ECS: under which name they register, at which
address, how long they wait for it, and what they do when AWS is away. Real etcd; AWS is a fake.
"""

import json
import secrets
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from registry.keys import RouteKey
from registry.records import InstanceRecord, State
from registry.snapshot import Entry
from tests.black_hole import BlackHole
from tests.etcd_server import EtcdServer, wait_until
from tests.fakes.metadata import (
    GARBAGE,
    NOT_READY,
    Asked,
    MetadataServer,
    TokenBucket,
    metadata_file,
    sample,
)
from tests.registrar_process import Place, Registrar, run_once
from tests.system.test_where_on_ecs import add_twin, check_share

pytestmark = pytest.mark.system

FARGATE = "tmds-v4-task-fargate.json"

TASK_ID = "7c1f0b6c2f0e4d0f9b7a1d2e3f405162"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture
def place(server: EtcdServer) -> Iterator[Place]:
    place = Place(server, f"/{secrets.token_hex(4)}")
    yield place
    place.etcd.close()


@pytest.fixture(name="aws")
def _aws() -> Iterator[MetadataServer]:
    with MetadataServer() as aws:
        aws.own_name = "registrar"
        yield aws


def environ(place: Place, aws: MetadataServer, **more: str) -> dict[str, str]:
    """Of a container of the task."""
    given = place.instance_environ() | aws.environ | more
    # there it is found out
    return given if "IP" in more else {name: given[name] for name in given if name != "IP"}


def sidecar(place: Place, aws: MetadataServer, **more: str) -> Registrar:
    return Registrar(["sidecar"], environ(place, aws, **more))


def instance_of(place: Place, entry: Entry) -> str:
    key = place.keys.parse(entry.key)
    assert isinstance(key, RouteKey)
    return key.instance


def address_of(entry: Entry) -> str:
    return str(InstanceRecord.parse(entry.value).address)


def test_beside_a_service_in_a_bridge_the_mapped_port_is_registered(
    place: Place, aws: MetadataServer
) -> None:
    with sidecar(place, aws, CONTAINER="web") as registrar:
        entry = place.wait_registered()
        code, _ = registrar.stop()

    assert entry.key == place.keys.raw(RouteKey("feature/login", "web", f"{TASK_ID}-web"))
    assert address_of(entry) == "10.0.3.17:32769"
    assert entry.lease
    assert (code, place.routes()) == (0, [])


def test_a_command_in_a_bridge_is_registered_at_its_own_containers_port(
    place: Place, aws: MetadataServer
) -> None:
    """Though another container of the task maps the same one, and the agent knew that sooner."""
    aws.own_name = "web"
    add_twin(aws)
    ports = aws.own_document.pop("Ports")

    with Registrar(["run", "--", "sleep", "60"], environ(place, aws)) as registrar:
        aws.wait_for(lambda asked: len(asked) >= 4)
        assert place.routes() == []
        aws.own_document["Ports"] = ports
        entry = place.wait_registered()
        registrar.stop()

    assert instance_of(place, entry) == f"{TASK_ID}-web"
    assert address_of(entry) == "10.0.3.17:32769"


def test_on_fargate_the_tasks_own_ip_is_registered_and_ec2_is_not_asked(
    place: Place, aws: MetadataServer
) -> None:
    aws.play(FARGATE, own_name="registrar")

    with sidecar(place, aws):
        entry = place.wait_registered()

    assert instance_of(place, entry) == f"{TASK_ID}-registrar"
    assert address_of(entry) == "10.0.3.121:8080"
    assert aws.imds_requests == []


def test_two_tasks_of_one_service_are_two_instances(place: Place, aws: MetadataServer) -> None:
    with MetadataServer() as other:
        document = json.dumps(other.task_document).replace(TASK_ID, "f" * 32)
        other.task_document = json.loads(document.replace("32769", "32999"))

        with sidecar(place, aws, CONTAINER="web"), sidecar(place, other, CONTAINER="web"):
            wait_until(lambda: len(place.routes()) == 2)
            found = {instance_of(place, one): address_of(one) for one in place.routes()}

    assert found == {
        f"{TASK_ID}-web": "10.0.3.17:32769",
        f"{'f' * 32}-web": "10.0.3.17:32999",
    }


def test_a_sidecar_that_was_killed_and_started_again_goes_on_with_its_key(
    place: Place, aws: MetadataServer
) -> None:
    """As ECS does it, with a restart policy. Who is served meanwhile stays in rotation."""
    with sidecar(place, aws) as first:
        before = place.wait_registered()
        first.send(signal.SIGKILL)
        first.wait()
        (left,) = place.routes()
        with sidecar(place, aws):
            wait_until(lambda: [one.lease for one in place.routes()] not in ([], [before.lease]))
            (after,) = place.routes()

    assert left == before
    assert after.key == before.key
    assert after.create_revision == before.create_revision
    assert after.value == before.value
    assert InstanceRecord.parse(after.value).state is State.READY


def test_ports_that_are_long_in_coming_are_waited_for_for_ever(
    place: Place, aws: MetadataServer
) -> None:
    """`where` gives up after some seconds; who is to be registered does not, and asks politely."""
    ready = aws.task_document
    aws.task_document = sample(NOT_READY)

    with sidecar(place, aws) as registrar:
        registrar.wait_said("is there a port mapping with containerPort 8080 in the task defini")
        aws.wait_for(lambda asked: len(asked) >= 6)
        assert place.routes() == []
        aws.task_document = ready
        entry = place.wait_registered()
        registrar.wait_said("we know where we are after ")

    assert address_of(entry) == "10.0.3.17:32769"
    check_share(aws.task_requests)
    assert len([line for line in registrar.log.splitlines() if "port mapping" in line]) == 1


def test_a_task_that_never_knows_its_ip_is_never_registered_at_a_guess(
    place: Place, aws: MetadataServer
) -> None:
    aws.imds_mode = "disabled"

    with sidecar(place, aws) as registrar:
        registrar.wait_said("metadata is turned off for this instance (HttpEndpoint)")
        aws.wait_for(lambda asked: [one.method for one in asked].count("PUT") >= 2)
        assert place.routes() == []
        # somebody has turned it on
        aws.imds_mode = "normal"
        entry = place.wait_registered()
        code, took_s = registrar.stop()

    assert address_of(entry) == "10.0.3.17:32769"
    assert (code, took_s < 8) == (0, True)


@pytest.mark.prompt
def test_the_end_is_not_waited_for_while_an_address_is_looked_for(
    place: Place, aws: MetadataServer
) -> None:
    aws.task_mode = "silent"

    with sidecar(place, aws) as registrar:
        aws.wait_for(lambda asked: len(asked) >= 3)
        code, took_s = registrar.stop()

    assert (code, place.routes()) == (0, [])
    assert took_s < 2.5


def test_a_command_does_not_wait_for_metadata(place: Place, aws: MetadataServer) -> None:
    aws.own_name, aws.task_mode = "web", "silent"

    with Registrar(["run", "--", "sh", "-c", "echo up; exec sleep 60"], environ(place, aws)) as run:
        # within ten seconds, though nothing is answered
        run.wait_said("up")
        run.wait_said("no answer within 1 s")
        # it runs, and is registered as soon as that can be
        aws.task_mode = "normal"
        place.wait_registered()


@pytest.mark.parametrize("mode", ["silent", "broken"])
def test_who_is_not_told_its_task_is_named_after_its_host(
    place: Place, aws: MetadataServer, mode: Any
) -> None:
    aws.task_mode = mode

    with sidecar(place, aws, IP="10.0.3.17", HOST_PORT="32769") as registrar:
        registrar.wait_said("the instance is named after its host")
        entry = place.wait_registered()

    assert instance_of(place, entry).startswith(f"{socket.gethostname()[:64]}-")
    assert address_of(entry) == "10.0.3.17:32769"


def test_a_hostile_name_is_neither_a_key_nor_a_command_to_a_terminal(
    place: Place, aws: MetadataServer
) -> None:
    for one in aws.task_document["Containers"]:
        one["Labels"]["com.amazonaws.ecs.task-arn"] = "task/\x1b[31m\n1. root"

    with sidecar(place, aws) as registrar:
        entry = place.wait_registered()

    assert instance_of(place, entry).startswith(f"{socket.gethostname()[:64]}-")
    assert all(line.isprintable() for line in registrar.log.splitlines())
    assert "has a control character; the instance is named after its host" in registrar.log


def test_aws_may_go_away_and_come_back_while_we_are_registered(
    place: Place, aws: MetadataServer
) -> None:
    """Even a lease that is lost meanwhile is made up for at once, with what is known."""
    with BlackHole(aws.url) as way:
        given = environ(place, aws, TTL="2")
        given = {name: value.replace(aws.url, way.url) for name, value in given.items()}
        with Registrar(["sidecar"], given) as registrar:
            before = place.wait_registered()
            way.swallows_all = True
            place.etcd.revoke(before.lease)
            wait_until(lambda: [one.lease for one in place.routes()] not in ([], [before.lease]))
            (again,) = place.routes()
            # that it could not look whether it is still there comes later
            assert "going on as it was" not in registrar.log
            registrar.wait_said("no answer within 1 s; going on as it was")
            way.swallows_all = False
            for mapping in aws.task_document["Containers"][0]["Ports"]:
                mapping["HostPort"] = 32800
            place.etcd.revoke(again.lease)
            wait_until(lambda: {address_of(one) for one in place.routes()} == {"10.0.3.17:32800"})

    assert {address_of(one) for one in (before, again)} == {"10.0.3.17:32769"}
    assert before.key == again.key


def test_a_lease_that_was_lost_is_no_reason_to_ask_too_often(
    place: Place, aws: MetadataServer
) -> None:
    with sidecar(place, aws, TTL="2"):
        for _ in range(3):
            place.etcd.revoke(place.wait_registered().lease)
            wait_until(lambda: place.routes() == [])
        place.wait_registered()

    assert len(aws.task_requests) <= 5
    check_share(aws.task_requests)


def test_no_process_takes_more_than_its_share_whatever_the_agent_answers(place: Place) -> None:
    """Of what it answers to all tasks of an instance; each asks for as long as it is not told."""
    modes: dict[str, dict[str, Any]] = {
        "not ready": {"task_document": sample(NOT_READY)},
        "limited": {"task_limited": 10**6},
        "broken": {"task_mode": "broken"},
        "garbage": {"task_garbage": GARBAGE["a page"]},
        "unknown": {"task_id": "another"},
    }
    seen: dict[str, list[Asked]] = {}
    with ExitStack() as stack:
        fakes: dict[str, MetadataServer] = {}
        for mode, changes in modes.items():
            aws = fakes[mode] = stack.enter_context(MetadataServer())
            given = environ(place, aws, NAME=mode)
            for name, value in changes.items():
                setattr(aws, name, value)
            stack.enter_context(Registrar(["sidecar"], given))
        # that of health comes with a document that is right
        aws = fakes["health"] = stack.enter_context(MetadataServer())
        given = environ(place, aws, NAME="health", HEALTH_ECS="on", HEALTH_INTERVAL="2.5")
        stack.enter_context(Registrar(["sidecar"], given))
        for aws in fakes.values():
            aws.wait_for(lambda asked: asked and asked[-1].at - asked[0].at > 5, within_s=30)
        seen = {mode: aws.task_requests for mode, aws in fakes.items()}

    for asked in seen.values():
        check_share(asked)
        # and it is used
        assert len(asked) > 4


def test_the_limit_of_an_instance_is_enough_for_all_that_start_on_it(
    place: Place, aws: MetadataServer
) -> None:
    """By the agent's own rule; a hundred others leave these five no more than this of it."""
    aws.task_rate_limit = TokenBucket(rate=4.0, burst=2.0)
    ports = range(8080, 8085)
    web, _ = aws.task_document["Containers"]
    web["Ports"] = [
        {"ContainerPort": port, "HostPort": port + 20000, "Protocol": "tcp"} for port in ports
    ]

    with ExitStack() as stack:
        for port in map(str, ports):
            stack.enter_context(sidecar(place, aws, NAME=f"branch-{port}", PORT=port))
        wait_until(lambda: len(place.routes()) == len(ports), within_s=30)
        found = {address_of(one) for one in place.routes()}

    assert found == {f"10.0.3.17:{port + 20000}" for port in ports}
    assert 429 in {one.status for one in aws.task_requests}


def test_with_the_file_alone_a_command_is_registered(place: Place) -> None:
    """As with an agent that has no task metadata yet."""
    given = place.instance_environ(
        ECS_CONTAINER_METADATA_FILE=str(metadata_file("ready")), AWS_EC2_METADATA_DISABLED="true"
    )
    del given["IP"]

    with Registrar(["run", "--", "sleep", "60"], given):
        entry = place.wait_registered()

    assert address_of(entry) == "10.0.3.17:32769"


@pytest.mark.parametrize("command", [["sidecar"], ["run", "--", "echo", "started"]])
def test_bad_urls_are_named_before_anything_is_started(place: Place, command: list[str]) -> None:
    given = place.instance_environ(
        ECS_CONTAINER_METADATA_URI_V4="169.254.170.2/v4/x",
        AWS_EC2_METADATA_SERVICE_ENDPOINT="https://169.254.169.254",
    )

    done = run_once(command, given)

    assert (done.returncode, done.stdout) == (78, "")
    assert "ECS_CONTAINER_METADATA_URI_V4 is '169.254.170.2/v4/x'" in done.stderr
    assert "AWS_EC2_METADATA_SERVICE_ENDPOINT is 'https://169.254.169.254'" in done.stderr
    assert place.routes() == []
