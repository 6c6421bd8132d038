"""A stand-in for the ECS agent: containers of a task as processes, started and stopped in order.

A container is started when those that it depends on run. At the end it is told so (SIGTERM) when
those that depend on it have ended, and killed ``stopTimeout`` later; containers that do not depend
on each other are told at the same time. What a task can ask about itself is the fake's.

Source: Amazon ECS Developer Guide, task definition parameters ("Container dependency": at shutdown
the order is reversed; "Container timeouts"); amazon-ecs-agent 1.105, ``verifyShutdownOrder``.
"""

import json
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.etcd_server import wait_until
from tests.fakes.metadata import MetadataServer
from tests.registrar_process import PROGRAM, Place, Registrar

BRIDGE, FARGATE = "tmds-v4-task-bridge-ec2.json", "tmds-v4-task-fargate.json"

SAMPLE_TASK = "7c1f0b6c2f0e4d0f9b7a1d2e3f405162"

PORT = 8080
"""That the samples' container listens on; on an instance it is reached by another one."""

STOP_TIMEOUT_S = 30.0
"""The agent's own, where a definition says nothing."""

END_S = 60.0
"""For a test's task to end: longer than any of its stop timeouts together."""

KILLED = 128 + signal.SIGKILL

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Container:
    """One of a task definition.

    Attributes:
        depends_on: Names of those that are started before it, and stopped after it.
    """

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str]
    depends_on: tuple[str, ...] = ()
    stop_timeout_s: float = STOP_TIMEOUT_S


@dataclass
class Task:
    """A task that runs, until the end of the context at most.

    Attributes:
        running: Each container's process.
    """

    aws: MetadataServer
    containers: tuple[Container, ...]
    running: dict[str, Registrar] = field(default_factory=dict)
    _all: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        waiting = list(self.containers)
        while waiting:
            ready = [one for one in waiting if self.running.keys() >= set(one.depends_on)]
            assert ready, f"they wait for each other: {', '.join(one.name for one in waiting)}"
            for one in ready:
                first, *arguments = one.command
                process = Registrar(arguments, one.environ, program=[first])
                self.running[one.name] = self._all.enter_context(process)
                waiting.remove(one)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._all.close()

    def stop(self) -> dict[str, int]:
        """End it as ECS does; exit codes, in the order in which the containers ended."""
        self.aws.desired = "STOPPED"
        told_at: dict[str, float] = {}
        codes: dict[str, int] = {}

        def is_over() -> bool:
            for one in self.containers:
                if one.name not in codes:
                    self._push(one, told_at, codes)
            return len(codes) == len(self.containers)

        wait_until(is_over, within_s=END_S)
        return codes

    def _push(self, one: Container, told_at: dict[str, float], codes: dict[str, int]) -> None:
        """Bring one container a step nearer to its end."""
        process = self.running[one.name]
        if not process.is_running():
            code = process.wait()
            codes[one.name] = code if code >= 0 else 128 - code
            return
        if any(
            one.name in other.depends_on for other in self.containers if other.name not in codes
        ):
            return
        if one.name not in told_at:
            told_at[one.name] = time.monotonic()
            process.send(signal.SIGTERM)
        elif time.monotonic() - told_at[one.name] >= one.stop_timeout_s:
            process.send(signal.SIGKILL)
            process.wait()


def play_instance(
    aws: MetadataServer, *, ip: str, host_port: int, own_name: str = "registrar"
) -> str:
    """Be a new task in bridge mode; its id.

    Args:
        ip: Of the instance.
        host_port: That leads to the port of container ``web``.
    """
    aws.play(BRIDGE, own_name=own_name)
    aws.leaves["local-ipv4"] = ip
    map_port(aws, host_port)
    return _name_task(aws)


def play_fargate(aws: MetadataServer, *, ip: str, own_name: str = "registrar") -> str:
    """Be a new task on Fargate, which is reached at its own ip; its id."""
    aws.play(FARGATE, own_name=own_name)
    for one in aws.task_document["Containers"]:
        one["Networks"][0]["IPv4Addresses"] = [ip]
    return _name_task(aws)


def map_port(aws: MetadataServer, host_port: int) -> None:
    """Let another port of the instance lead to ``web``: what a restart of the container does."""
    for mapping in service_of(aws)["Ports"]:
        mapping["HostPort"] = host_port


def service_of(aws: MetadataServer) -> dict[str, Any]:
    """The container ``web``, as the task has it."""
    found: list[dict[str, Any]] = aws.task_document["Containers"]
    return next(one for one in found if one["Name"] == "web")


def registrar_environ(place: Place, aws: MetadataServer, **more: str) -> dict[str, str]:
    """For a registrar in a task: nobody tells it where it is."""
    given = {"IP": "", "PORT": str(PORT), "HEALTH_TCP": "on", "DRAIN": "0.2", **aws.environ}
    return place.instance_environ(**given | more)


def sidecar(environ: Mapping[str, str], *, stop_timeout_s: float = STOP_TIMEOUT_S) -> Container:
    """The registrar beside a service, as docs and templates have it: it depends on the service."""
    return Container("registrar", (PROGRAM, "sidecar"), environ, ("web",), stop_timeout_s)


def origin(port: int, *, ip: str = "127.0.0.1") -> tuple[str, ...]:
    """A service that answers its address, and ends at once when it is told to."""
    return (sys.executable, "-m", "tests.torture.origin", str(port), ip, "0")


def service(port: int) -> Container:
    """It."""
    return Container("web", origin(port), {"PYTHONPATH": str(ROOT)})


def _name_task(aws: MetadataServer) -> str:
    """Give the task an id that no other has."""
    task_id = secrets.token_hex(16)
    text = json.dumps(aws.task_document).replace(SAMPLE_TASK, task_id)
    aws.task_document = json.loads(text)
    return task_id
