"""Included: tasks that ECS stops under load, in the order of ``dependsOn``. Real etcd and nginx.

No client here asks twice: what fails, fails. ECS's agent and metadata are stand-ins.
"""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count

import pytest

from registry.keys import RouteKey
from registry.records import InstanceRecord, State
from tests.ecs_agent import (
    KILLED,
    ROOT,
    Container,
    Task,
    origin,
    play_fargate,
    play_instance,
    registrar_environ,
    service,
    sidecar,
)
from tests.etcd_server import EtcdServer, free_ports, wait_until
from tests.fakes.metadata import MetadataServer
from tests.registrar_process import PROGRAM, Place, Registrar
from tests.system.asking import Asking
from tests.system.frontend import Answer, Frontend
from tests.system.service_process import Branch
from tests.system.test_rolling import crowd, failures

pytestmark = pytest.mark.system

NUMBERS = count()

TERMINATED = 128 + signal.SIGTERM


class Stage:
    """A branch behind the frontend, and the tasks of it that a test starts."""

    def __init__(self, branch: Branch, running: ExitStack) -> None:
        self.branch = branch
        self.keys: list[bytes] = []
        self._running = running

    def start_on_instance(
        self, *, stop_timeout_s: float = 30.0, **environ: str
    ) -> tuple[Task, str]:
        """A service and its sidecar in bridge mode; the task, and what the service answers."""
        aws, (port,) = self._aws(), free_ports(1)
        self._note(play_instance(aws, ip="127.0.0.1", host_port=port), "registrar")
        given = registrar_environ(self.branch.place, aws, NAME=self.branch.name, **environ)
        beside = sidecar(given, stop_timeout_s=stop_timeout_s)
        return self._start(aws, service(port), beside), f"127.0.0.1:{port}"

    def start_the_wrong_way_round(self) -> tuple[Task, str]:
        """The same, but it is the service that depends on the sidecar."""
        aws, (port,) = self._aws(), free_ports(1)
        play_instance(aws, ip="127.0.0.1", host_port=port)
        given = registrar_environ(self.branch.place, aws, NAME=self.branch.name)
        web = replace(service(port), depends_on=("registrar",))
        beside = replace(sidecar(given), depends_on=())
        return self._start(aws, web, beside), f"127.0.0.1:{port}"

    def start_on_fargate(self, **environ: str) -> tuple[Task, str]:
        """The same on Fargate, where both share one network."""
        aws, (port,) = self._aws(), free_ports(1)
        self._note(play_fargate(aws, ip="127.0.0.1"), "registrar")
        given = registrar_environ(
            self.branch.place, aws, NAME=self.branch.name, PORT=str(port), **environ
        )
        return self._start(aws, service(port), sidecar(given)), f"127.0.0.1:{port}"

    def start_as_entrypoint(self, **environ: str) -> tuple[Task, str]:
        """The registrar within the service's container, on Fargate."""
        aws, (port,) = self._aws(), free_ports(1)
        self._note(play_fargate(aws, ip="127.0.0.1", own_name="web"), "web")
        given = registrar_environ(
            self.branch.place,
            aws,
            NAME=self.branch.name,
            PORT=str(port),
            PYTHONPATH=str(ROOT),
            **environ,
        )
        web = Container("web", (PROGRAM, "run", "--", *origin(port)), given)
        return self._start(aws, web), f"127.0.0.1:{port}"

    def state(self, number: int = 0) -> State | None:
        """How one of the tasks is registered, in the order of their starts; None for not at all."""
        entry = self.branch.place.etcd.read(self.keys[number])
        return InstanceRecord.parse(entry.value).state if entry else None

    def _aws(self) -> MetadataServer:
        return self._running.enter_context(MetadataServer())

    def _start(self, aws: MetadataServer, *containers: Container) -> Task:
        return self._running.enter_context(Task(aws, containers))

    def _note(self, task_id: str, container: str) -> None:
        key = RouteKey(self.branch.name, "web", f"{task_id}-{container}")
        self.keys.append(self.branch.place.keys.raw(key))


@pytest.fixture
def stage(frontend: Frontend, etcd: EtcdServer) -> Iterator[Stage]:
    branch = Branch(frontend, etcd, f"ecs-{next(NUMBERS)}")
    with ExitStack() as running:
        running.callback(branch.place.etcd.close)
        yield Stage(branch, running)


WAYS: dict[str, tuple[Callable[..., tuple[Task, str]], dict[str, int]]] = {
    "sidecar on an instance": (Stage.start_on_instance, {"registrar": 0, "web": TERMINATED}),
    "sidecar on Fargate": (Stage.start_on_fargate, {"registrar": 0, "web": TERMINATED}),
    "entrypoint": (Stage.start_as_entrypoint, {"web": TERMINATED}),
}
"""How a service is registered in a task; exit codes in the order in which its containers end."""


@pytest.mark.parametrize("way", WAYS)
def test_a_task_that_is_stopped_fails_nobody_while_another_one_serves(
    stage: Stage, frontend: Frontend, way: str
) -> None:
    """In a rolling deployment both run for a while, under one branch and service."""
    start, ends = WAYS[way]
    old, said = start(stage)
    stage.branch.wait_served(said)
    with crowd(frontend, stage.branch.host) as clients:
        _, says = start(stage)
        stage.branch.wait_served(said, says)
        assert [stage.state(0), stage.state(1)] == [State.READY, State.READY]
        codes = old.stop()
        stage.branch.wait_served(says)

    assert failures(clients) == [], frontend.story()
    assert {text for client in clients for text in client.answers} == {said, says}
    assert list(codes.items()) == list(ends.items())
    assert stage.state(0) is None
    registrar = old.running["web" if way == "entrypoint" else "registrar"]
    assert "all frontends have let go" in registrar.log
    if way != "sidecar on an instance":
        # Fargate has no metadata of an instance, and its Spot tells by SIGTERM alone
        assert old.aws.imds_requests == []


@contextmanager
def slow_requests(frontend: Frontend, host: str) -> Iterator[list[Answer]]:
    """Two requests that take a while; their answers, once there are any."""
    answers: list[Answer] = []
    ask = lambda: answers.append(frontend.ask(host, "/slow/1.5"))  # noqa: E731 - for two threads
    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    yield answers
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("way", WAYS)
def test_a_task_that_is_stopped_alone_answers_until_its_host_has_a_page_for_it(
    stage: Stage, frontend: Frontend, way: str
) -> None:
    """Nobody ever meets a closed port: 200, and from one moment on 503."""
    start, _ = WAYS[way]
    task, said = start(stage, DRAIN="3")
    stage.branch.wait_served(said)
    host = stage.branch.host
    with Asking(frontend, host) as asking, slow_requests(frontend, host) as slow:
        # whoever was asked after them has answered, so they are on their way
        count_before = asking.answers[said]
        wait_until(lambda: asking.answers[said] > count_before + 5)
        assert slow == []
        task.stop()
        seen = len(asking.failures)
        wait_until(lambda: len(asking.failures) > seen + 5)

    assert {failure[:4] for failure in asking.failures} == {"503 "}, asking.failures
    assert set(asking.answers) == {said}
    assert [(answer.status, answer.text) for answer in slow] == [(200, said)] * 2


def test_a_service_that_depends_on_its_registrar_is_stopped_too_early(
    stage: Stage, frontend: Frontend
) -> None:
    """What the other tests here would see if the order were wrong."""
    task, said = stage.start_the_wrong_way_round()
    stage.branch.wait_served(said)
    with Asking(frontend, stage.branch.host) as asking:
        codes = task.stop()

    assert list(codes.items()) == [("web", TERMINATED), ("registrar", 0)]
    assert "502 " in {failure[:4] for failure in asking.failures}


def test_a_registrar_that_is_killed_while_it_drains_is_cleaned_up_after(
    stage: Stage, frontend: Frontend
) -> None:
    """Its stopTimeout is too short: what it has said until then holds, and ends with its lease."""
    task, said = stage.start_on_instance(stop_timeout_s=3.0, DRAIN="30", TTL="2")
    stage.branch.wait_served(said)
    with Asking(frontend, stage.branch.host) as asking:
        codes = task.stop()
        wait_until(lambda: stage.state() is None)
        seen = len(asking.failures)
        wait_until(lambda: len(asking.failures) > seen + 5)

    assert list(codes.items()) == [("registrar", KILLED), ("web", TERMINATED)]
    assert "all frontends have let go" in task.running["registrar"].log
    assert {failure[:4] for failure in asking.failures} == {"503 "}, asking.failures


LONGER = (
    "ECS kills this container after 30 s; give it a longer stopTimeout, and STOP_TIMEOUT the same,"
    " or make RELEASE_TIMEOUT or DRAIN shorter"
)
ANSWERS = "RELEASE_TIMEOUT, DRAIN and the registry's answers"
GONE = "a Spot instance is gone 120 s after its notice"
SPOT = f"{GONE}; make RELEASE_TIMEOUT or DRAIN shorter"


@pytest.mark.parametrize(
    ("command", "environ", "warnings"),
    [
        ("sidecar", {}, []),
        ("run", {}, []),
        ("sidecar", {"STOP_TIMEOUT": "17.5"}, []),
        (
            "sidecar",
            {"STOP_TIMEOUT": "10"},
            [f"leaving may take 17 s ({ANSWERS}), and {LONGER.replace('30 s', '10 s', 1)}"],
        ),
        (
            "sidecar",
            {"RELEASE_TIMEOUT": "30"},
            [f"leaving may take 37 s ({ANSWERS}), and {LONGER}"],
        ),
        ("run", {"DRAIN": "20"}, [f"leaving may take 35 s ({ANSWERS}), and {LONGER}"]),
        # enough for ECS, and the service would be cut off in its own time
        (
            "sidecar",
            {"DRAIN": "80", "STOP_TIMEOUT": "120"},
            [f"leaving may take 95 s and the service's own end 30 s, and {SPOT}"],
        ),
        # here the service's own end is within our time
        ("run", {"DRAIN": "80", "STOP_TIMEOUT": "120"}, []),
        (
            "run",
            {"STOP_TIMEOUT": "121"},
            [f"STOP_TIMEOUT is 121 s, and {GONE}: more is cut short there"],
        ),
        (
            "sidecar",
            {"RELEASE_TIMEOUT": "60", "DRAIN": "30"},
            [
                f"leaving may take 95 s ({ANSWERS}), and {LONGER}",
                f"leaving may take 95 s and the service's own end 30 s, and {SPOT}",
            ],
        ),
    ],
)
def test_what_would_be_cut_short_at_the_end_is_said_at_the_start(
    etcd: EtcdServer, command: str, environ: dict[str, str], warnings: list[str]
) -> None:
    with MetadataServer() as aws:
        play_fargate(aws, ip="10.0.3.121")

        assert warnings_of(etcd, command, aws.task_environ | environ) == warnings


def test_without_ecs_nobody_kills_us_and_nothing_is_said(etcd: EtcdServer) -> None:
    environ = {"RELEASE_TIMEOUT": "600", "DRAIN": "60", "STOP_TIMEOUT": "1"}

    assert warnings_of(etcd, "sidecar", environ | {"IP": "10.0.3.121"}) == []


def warnings_of(etcd: EtcdServer, command: str, environ: dict[str, str]) -> list[str]:
    """What a registrar warns of until it is registered."""
    place = Place(etcd, "/stop-times")
    arguments = [command] if command == "sidecar" else [command, "--", "sleep", "60"]
    given = {"IP": "", "LOG_FORMAT": "json", **environ}
    with Registrar(arguments, place.instance_environ(**given)) as registrar:
        registrar.wait_said("registered")
        lines = [json.loads(line) for line in registrar.log.splitlines()]
    place.etcd.close()
    return [line["message"] for line in lines if line["level"] == "warning"]
