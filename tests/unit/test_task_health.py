"""Included: whose check counts, what its word means, and what holds when the agent is away."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registrar.aws.endpoint import parse_base
from registrar.aws.task_health import TaskHealth, choose, judge
from registrar.aws.task_metadata import TaskMetadata
from registrar.aws.tasks import Task, TaskContainer
from registrar.probing import Answer
from registry.records import Address
from tests.fakes.metadata import MetadataServer
from tests.fakes.spare_time import SpareTime

REGISTERED = Address("192.0.2.1", 32769)
"""Nobody answers there, and nobody is asked: it has the port that the sample maps."""


@pytest.fixture(name="aws")
def _aws() -> Iterator[MetadataServer]:
    with MetadataServer() as aws:
        yield aws


@pytest.fixture(name="time")
def _time() -> SpareTime:
    return SpareTime()


def health_of(
    aws: MetadataServer,
    time: SpareTime,
    *,
    container: str = "",
    is_within: bool = False,
    maps: bool = True,
) -> TaskHealth:
    metadata = TaskMetadata(parse_base(aws.task_url), clock=time.clock, sleep=time.wait)
    return TaskHealth(metadata, port=8080, container=container, is_within=is_within, maps=maps)


def ask(health: TaskHealth) -> Answer:
    return health(REGISTERED, within_s=2)


WEB = TaskContainer("web", ports={8080: 32769}, health="HEALTHY")
API = TaskContainer("api", ports={9000: 32770})
PLAIN = TaskContainer("registrar")


@pytest.mark.parametrize(
    ("containers", "name", "port", "chosen"),
    [
        ((WEB, PLAIN), "", 8080, WEB),
        ((WEB, API), "", 9000, API),
        ((WEB, API), "api", 8080, API),
        # nothing is mapped on Fargate: the only one that has a check is meant
        ((TaskContainer("web", health="UNKNOWN"), PLAIN), "", 8080, "web"),
        ((TaskContainer("web", health="UNKNOWN"), PLAIN), "registrar", 8080, PLAIN),
        ((WEB, PLAIN), "", 9999, WEB),
        ((WEB, PLAIN), "nope", 8080, None),
        ((API, PLAIN), "", 8080, None),
        ((), "", 8080, None),
        # two could be meant
        ((WEB, TaskContainer("admin", ports={8080: 1})), "", 8080, WEB),
        ((WEB, TaskContainer("admin", ports={8080: 1}, health="HEALTHY")), "", 8080, None),
    ],
)
def test_the_container_that_is_meant_is_asked_about(
    containers: tuple[TaskContainer, ...], name: str, port: int, chosen: TaskContainer | str | None
) -> None:
    found = choose(Task(containers), name, port)

    assert (found.name if found and isinstance(chosen, str) else found) == chosen


@pytest.mark.parametrize(
    ("container", "passed", "words"),
    [
        (TaskContainer("web", health="HEALTHY"), True, "ECS says that container web is HEALTHY"),
        (
            TaskContainer("web", health="UNHEALTHY", health_exit_code=7),
            False,
            "ECS says that container web is UNHEALTHY (exit code 7)",
        ),
        (TaskContainer("web", health="UNKNOWN"), None, "ECS says that container web is UNKNOWN"),
        (TaskContainer("web"), False, "ECS knows of no health check of container web"),
        # a check that has an exit code of before
        (
            TaskContainer("web", health="HEALTHY", health_exit_code=1),
            True,
            "ECS says that container web is HEALTHY",
        ),
        (
            TaskContainer("web", health="HEALTHY", known_status="STOPPED"),
            False,
            "ECS says that container web is being stopped",
        ),
        (
            TaskContainer("web", health="HEALTHY", desired_status="STOPPED"),
            False,
            "ECS says that container web is being stopped",
        ),
        (None, None, "ECS does not tell which container is the service's"),
    ],
)
def test_a_container_gets_requests_when_its_check_says_so(
    container: TaskContainer | None, passed: bool | None, words: str
) -> None:
    assert judge(container) == Answer(passed=passed, words=words)


@given(st.text(), st.none() | st.integers(), st.text(), st.text())
def test_no_word_but_one_lets_requests_in(
    health: str, code: int | None, known: str, desired: str
) -> None:
    container = TaskContainer(
        "web",
        health=health,
        health_exit_code=code,
        known_status=known,
        desired_status=desired,
    )

    is_healthy = health == "HEALTHY" and "STOPPED" not in {known, desired}
    assert (judge(container).passed is True) == is_healthy


def test_ecs_is_believed_as_it_changes_its_mind(aws: MetadataServer, time: SpareTime) -> None:
    health = health_of(aws, time)
    seen: list[bool | None] = []

    for status in ("UNKNOWN", "HEALTHY", "UNHEALTHY", "HEALTHY"):
        aws.set_health("web", status)
        seen.append(ask(health).passed)
        time.freeze(5)

    assert seen == [None, True, False, True]
    # our own name is asked once: our own check is not the service's
    own = aws.task_id
    asked = [one.path.rpartition("/")[2] for one in aws.requests]
    assert asked == [own, *["task"] * 4]


def test_a_task_that_is_to_stop_gets_no_more_requests(aws: MetadataServer, time: SpareTime) -> None:
    health = health_of(aws, time)
    assert ask(health).passed

    aws.desired = "STOPPED"

    assert not ask(health).passed


def test_an_agent_that_is_away_says_nothing_of_the_service(
    aws: MetadataServer, time: SpareTime
) -> None:
    aws.task_mode = "broken"

    away = ask(health_of(aws, time))

    assert away.passed is None
    assert away.words.startswith("its health is not known: GET http://127.0.0.1:")


def test_asked_more_often_than_its_share_the_agent_is_not_asked_again(
    aws: MetadataServer, time: SpareTime
) -> None:
    health = health_of(aws, time)

    for _ in range(50):
        assert ask(health).passed

    assert len(aws.requests) == 4
    assert time.now_s == 0


def test_a_container_that_was_restarted_in_place_is_not_healthy_at_a_port_of_before(
    aws: MetadataServer, time: SpareTime
) -> None:
    aws.task_document["Containers"][0]["RestartCount"] = 1

    answer = ask(health_of(aws, time, container="web"))

    assert answer == Answer(
        passed=False, words="container web was restarted in place, and its port is not known"
    )
    # somebody has said HOST_PORT, and knows better
    assert ask(health_of(aws, time, container="web", maps=False)).passed


def test_the_registrars_own_check_is_not_the_services(aws: MetadataServer, time: SpareTime) -> None:
    aws.play("tmds-v4-task-fargate.json", own_name="registrar")
    aws.set_health("registrar", "HEALTHY")

    assert ask(health_of(aws, time)).passed is None
    assert ask(health_of(aws, time, is_within=True)).passed


def test_of_two_the_one_that_is_named_is_asked_about(aws: MetadataServer, time: SpareTime) -> None:
    aws.set_health("registrar", "UNHEALTHY")

    assert ask(health_of(aws, time, container="web")).passed
    assert not ask(health_of(aws, time, container="registrar")).passed
    assert "does not tell which" in ask(health_of(aws, time, container="nope")).words
