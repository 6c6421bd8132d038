"""Included: health by the word of ECS, as the installed registrar follows it. Real etcd.

Nobody ever asks the service: it counts its connections, or there is none.
"""

import copy
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from registrar.aws.endpoint import parse_base
from registrar.aws.task_health import HINT, TaskHealth
from registrar.aws.task_metadata import TaskMetadata
from registrar.probing import Answer
from registry.keys import RouteKey
from registry.records import Address, InstanceRecord, State
from tests.ecs_agent import (
    PORT,
    map_port,
    play_fargate,
    play_instance,
    registrar_environ,
    service_of,
)
from tests.etcd_server import EtcdServer, wait_until
from tests.fakes.metadata import Asked, MetadataServer
from tests.registrar_process import Place, Registrar, run_once
from tests.system.origin import Origin
from tests.unit import test_health

pytestmark = pytest.mark.system

INTERVAL_S = "2.5"
"""The shortest that is allowed: our share of what the agent answers."""

SLOW_S = 30.0
"""For what takes a question or two of 2.5 s each, on a busy machine."""

IP = "127.0.0.1"

NUMBERS = count()


@dataclass(frozen=True, slots=True)
class Watched:
    """A sidecar, and the task that it asks about."""

    aws: MetadataServer
    registrar: Registrar
    key: bytes
    place: Place
    since: int

    def record(self) -> InstanceRecord | None:
        """What is registered."""
        entry = self.place.etcd.read(self.key)
        return InstanceRecord.parse(entry.value) if entry else None

    def wait_state(self, state: State) -> None:
        """Wait until it is registered so."""
        wait_until(
            lambda: (record := self.record()) is not None and record.state is state,
            within_s=SLOW_S,
        )

    def written(self) -> list[tuple[int, State]]:
        """Ports and states that were ever registered, one after the other."""
        etcd, keys = self.place.etcd, self.place.keys
        newest = etcd.list(keys.routes).revision
        found: list[tuple[int, State]] = []
        for revision in range(self.since, newest + 1):
            entry = etcd.list(keys.routes, at=revision).entries.get(self.key)
            if entry is not None:
                record = InstanceRecord.parse(entry.value)
                now = record.address.port, record.state
                found += [now] * (found[-1:] != [now])
        return found


@dataclass(frozen=True, slots=True)
class Stage:
    """Where sidecars are started."""

    place: Place
    running: ExitStack

    def aws(self) -> MetadataServer:
        """Of one more task in bridge mode, whose port leads to nobody."""
        aws = self.running.enter_context(MetadataServer())
        play_instance(aws, ip=IP, host_port=40000)
        return aws

    def start(self, aws: MetadataServer, **environ: str) -> Watched:
        """Start a sidecar that follows ECS."""
        own = {"HEALTH_ECS": "on", "HEALTH_INTERVAL": INTERVAL_S, "CONTAINER": "web", **environ}
        given = registrar_environ(self.place, aws, **own)
        since = self.place.etcd.list(self.place.keys.routes).revision
        registrar = self.running.enter_context(Registrar(["sidecar"], given))
        task_id = aws.task_document["TaskARN"].rpartition("/")[2]
        key = RouteKey("feature/login", "web", f"{task_id}-{own['CONTAINER'] or 'registrar'}")
        return Watched(aws, registrar, self.place.keys.raw(key), self.place, since)


@pytest.fixture
def stage(etcd: EtcdServer) -> Iterator[Stage]:
    place = Place(etcd, f"/ecs-health-{next(NUMBERS)}")
    with ExitStack() as running:
        running.callback(place.etcd.close)
        yield Stage(place, running)


def while_the_agent_is_away(one: Watched, health: str) -> State:
    """Let the agent fail for two questions, and the service's health change at the same time."""
    aws = one.aws
    aws.task_mode = "broken"
    aws.set_health("web", health)
    seen = len(aws.task_requests)
    aws.wait_for(lambda _: len(aws.task_requests) >= seen + 2, within_s=SLOW_S)
    record = one.record()
    aws.task_mode = "normal"
    assert record is not None
    return record.state


def is_within_share(asked: list[Asked]) -> bool:
    """Whether four came at once at most, and one in 2.5 s in the long run; one may be late."""
    times = [one.at for one in asked]
    return all(
        last - first <= 4 + 0.4 * (times[last] - times[first])
        for first in range(len(times))
        for last in range(first, len(times))
    )


def test_the_service_gets_requests_while_ecs_says_that_it_is_healthy(stage: Stage) -> None:
    aws = stage.aws()
    with Origin() as service:
        map_port(aws, service.port)
        aws.set_health("web", "UNKNOWN")
        one = stage.start(aws)
        one.registrar.wait_said("as starting")
        # the agent goes away: that says nothing of the service, whatever comes of it meanwhile
        assert while_the_agent_is_away(one, "HEALTHY") is State.STARTING
        one.wait_state(State.READY)
        assert while_the_agent_is_away(one, "UNHEALTHY") is State.READY
        one.wait_state(State.STARTING)
        record = one.record()
        assert record is not None
        assert record.health == "ECS says that container web is UNHEALTHY (exit code 1)"
        aws.set_health("web", "HEALTHY")
        one.wait_state(State.READY)

        assert service.connections == 0
    text = "no longer healthy: ECS says that container web is UNHEALTHY (exit code 1)"
    assert text in one.registrar.log
    assert one.written() == [
        (service.port, State.STARTING),
        (service.port, State.READY),
        (service.port, State.STARTING),
        (service.port, State.READY),
    ]
    assert is_within_share(aws.task_requests)


def test_who_is_healthy_already_is_never_registered_as_starting(stage: Stage) -> None:
    """On Fargate ports are not told: the container with the only check is meant."""
    aws = stage.running.enter_context(MetadataServer())
    play_fargate(aws, ip=IP)
    aws.set_health("web", "HEALTHY")
    one = stage.start(aws, CONTAINER="")
    one.wait_state(State.READY)

    assert one.written() == [(PORT, State.READY)]


def add_container(aws: MetadataServer, name: str, host_port: int) -> None:
    """One more container in the task, like ``web``."""
    other: dict[str, Any] = copy.deepcopy(service_of(aws))
    other["Name"] = name
    for mapping in other["Ports"]:
        mapping["HostPort"] = host_port
    aws.task_document["Containers"].append(other)


def test_container_says_whose_check_counts(stage: Stage) -> None:
    aws = stage.aws()
    add_container(aws, "api", 40001)
    aws.set_health("web", "UNHEALTHY")
    aws.set_health("api", "HEALTHY")

    api, web = stage.start(aws, CONTAINER="api"), stage.start(aws)
    api.wait_state(State.READY)
    web.wait_state(State.STARTING)

    assert api.written() == [(40001, State.READY)]
    assert web.written() == [(40000, State.STARTING)]


def test_a_container_that_is_being_stopped_gets_no_more_requests(stage: Stage) -> None:
    """Its document says so before anybody gets a signal, where it depends on others."""
    aws = stage.aws()
    one = stage.start(aws)
    one.wait_state(State.READY)

    aws.desired = "STOPPED"

    one.wait_state(State.STARTING)
    assert "no longer healthy: ECS says that container web is being stopped" in one.registrar.log
    assert one.registrar.stop()[0] == 0
    assert one.record() is None


def test_where_nobody_defined_a_check_the_log_says_so_after_ten_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with MetadataServer() as aws:
        del service_of(aws)["Health"]
        metadata = TaskMetadata(parse_base(aws.task_url))
        ask = TaskHealth(metadata, port=PORT, container="", is_within=False, maps=True)

        class Followed(test_health.Stage):
            def _ask(self, address: Address, *, within_s: float) -> Answer:
                return ask(address, within_s=within_s)

        followed = Followed(hint=HINT)
        with test_health.running(followed):
            followed.gate.begin()
            wait_until(lambda: aws.task_requests)
            followed.passed_s = 10.0
            wait_until(lambda: "not healthy" in caplog.text)

    assert followed.state() is State.STARTING
    [told] = [one.getMessage() for one in caplog.records if "not healthy" in one.getMessage()]
    assert told.startswith(
        "not healthy for 10 s: ECS knows of no health check of container web; no requests are sent"
        " here (the container's healthCheck in the task definition counts"
    )


def test_a_container_that_was_restarted_in_place_gets_no_more_requests(stage: Stage) -> None:
    """Its port is another one, and ECS goes on telling the first."""
    aws = stage.aws()
    one = stage.start(aws)
    one.wait_state(State.READY)

    service_of(aws)["RestartCount"] = 1

    one.wait_state(State.STARTING)
    assert "container web was restarted in place, and its port is not known" in one.registrar.log


TWO_WAYS = "HEALTH_ECS is on, and HEALTH_PATH or HEALTH_ADDRESS is set; choose one of them"
TOO_OFTEN = (
    "HEALTH_INTERVAL is 1 s: with HEALTH_ECS at least 2.5, because all tasks of an instance share"
    " what it may ask"
)
COUNTED = (
    "HEALTH_ECS is on, and HEALTH_FAILURES or HEALTH_PASSES is set: ECS counts by itself (retries);"
    " take them away"
)
NO_TASK = (
    "HEALTH_ECS is on, and ECS_CONTAINER_METADATA_URI_V4 is not set: this is no task of ECS, or its"
    " agent is older than 1.39"
)


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"HEALTH_PATH": "/healthz"}, TWO_WAYS),
        ({"HEALTH_ADDRESS": "127.0.0.1:80"}, TWO_WAYS),
        ({"HEALTH_INTERVAL": "1"}, TOO_OFTEN),
        ({"HEALTH_FAILURES": "5"}, COUNTED),
        ({"HEALTH_PASSES": "5"}, COUNTED),
        ({"ECS_CONTAINER_METADATA_URI_V4": ""}, NO_TASK),
    ],
    ids=["a path", "an address", "too often", "failures", "passes", "no task"],
)
def test_what_does_not_go_with_it_is_refused(
    stage: Stage, environ: dict[str, str], sentence: str
) -> None:
    with MetadataServer() as aws:
        given = registrar_environ(stage.place, aws, HEALTH_ECS="on", **environ)
        ended = run_once(["sidecar"], given)

    assert ended.returncode == 78
    assert sentence in ended.stderr
