"""What the registrar is told: by flags, else by the variables of the same names."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click

from registrar.aws.endpoint import parse_base
from registrar.aws.instance_metadata import DEFAULT_ENDPOINT
from registrar.aws.times import STOP_TIMEOUT_S
from registrar.health import HealthSettings
from registrar.health_settings import (
    health_options,
    health_pace_options,
    parse_wish,
    read_health,
    read_health_pace,
    read_health_tcp,
)
from registrar.places import PlaceSettings
from registrar.probe_settings import login_options, read_login
from registry.etcd import EtcdSettings
from registry.keys import Keyspace, check_name
from registry.names import service_slug
from registry.records import Address
from registry.settings import (
    Problems,
    needed_etcd,
    option,
    read_registry,
    registry_options,
)
from registry.values import (
    parse_port,
    parse_seconds,
)

Command = TypeVar("Command", bound=Callable[..., object])

TASK_URL, METADATA_FILE = "ECS_CONTAINER_METADATA_URI_V4", "ECS_CONTAINER_METADATA_FILE"
OLD_TASK_URL = "ECS_CONTAINER_METADATA_URI"
EC2_URL, EC2_DISABLED = "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_DISABLED"
AWS_VARIABLES = (TASK_URL, METADATA_FILE, EC2_URL, OLD_TASK_URL, EC2_DISABLED)
"""What says where AWS tells a container of itself."""

TTL_LEAST_S = 2
"""Etcd itself makes two seconds of one."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Which registry a command works on.

    Attributes:
        default_service: The service that the short host leads to, unless a frontend says another.
    """

    etcd: EtcdSettings
    keys: Keyspace
    default_service: str


@dataclass(frozen=True, slots=True)
class RegistrarSettings:
    """What is registered, where, and how patiently it is taken out.

    Attributes:
        ttl_s: How long the registration outlives its registrar.
        drain_s: How long requests in flight are waited for, at most.
        release_timeout_s: How long frontends are waited for, at most.
        wait_s: How long to wait until a registration is applied, to report it; None for not.
        probe: Report besides whether a request through each frontend reaches the instance.
        probe_login: ``user:password`` for frontends that ask for one then; empty if there is none.
        stop_timeout_s: That our container has between SIGTERM and SIGKILL.
        heeds_spot: Watch for notices that the instance is to be taken away.
        health: How it is found out whether it may get requests; None to take that for granted.
    """

    reach: Reach
    branch: str
    service: str
    place: PlaceSettings
    ttl_s: int = 15
    drain_s: float = 2.0
    release_timeout_s: float = 10.0
    wait_s: float | None = None
    probe: bool = False
    probe_login: str = field(default="", repr=False)
    stop_timeout_s: float = STOP_TIMEOUT_S
    heeds_spot: bool = False
    health: HealthSettings | None = None


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What ``docker`` registers containers with.

    Attributes:
        model: What all of them have in common; its branch and service are empty.
        network: Containers are reached in it; empty for the ports that they publish.
        asks_port: Who has no health check of its own is healthy when its port accepts connections;
            else as soon as it runs.
    """

    model: RegistrarSettings
    network: str = ""
    asks_port: bool = True


def agent_options(command: Command) -> Command:
    """Give a click command the flags of what registers other containers."""
    options = (
        option("--docker-network", "frontends reach containers at their address in this network"),
        option("--ip", "the ip at which published ports of this host are reached"),
        docker_host_option(),
        *lifetime_options(),
    )
    for add in reversed(options):
        command = add(command)
    return health_pace_options(registry_options(command))


def docker_host_option() -> Callable[[Command], Command]:
    """The flag of all that asks a Docker engine."""
    return option("--docker-host", "the Docker engine, as Docker's own tools read it")


def lifetime_options() -> tuple[Callable[[Command], Command], ...]:
    """The flags that say how long a registration lasts, and how patiently it is taken out."""
    return (
        option("--ttl", "seconds that it stays registered when we are gone", default="15"),
        option("--drain", "seconds, at most, for requests in flight at the end", default="2"),
        option("--release-timeout", "seconds, at most, for frontends to let go", default="10"),
    )


def instance_options(command: Command) -> Command:
    """Give a click command the flags of what registers itself."""
    options = (
        click.option(
            "--name",
            envvar=["NAME", "BRANCH"],
            default="",
            show_envvar=True,
            help="the branch, by the name that git knows it by",
        ),
        option("--service", "the service, such as web"),
        *lifetime_options(),
        option(
            "--stop-timeout",
            "seconds until ECS kills our container, its stopTimeout",
            default=f"{STOP_TIMEOUT_S:g}",
        ),
        option("--spot-notice", "on: leave early when EC2 wants the instance back", default="off"),
    )
    for add in reversed(options):
        command = add(command)
    return place_options(health_options(login_options(registry_options(command))))


def place_options(command: Command) -> Command:
    """Give a click command the flags that say where the service is."""
    options = (
        option("--port", "the port that the service listens on, inside its container"),
        option("--ip", "the ip at which it is reached; found out unless given"),
        option("--host-port", "the port at which it is reached; found out unless given"),
        option("--container", "the service's container in an ECS task; found by PORT unless given"),
        docker_host_option(),
    )
    for add in (*map(aws_variable, AWS_VARIABLES), *reversed(options)):
        command = add(command)
    return command


def aws_variable(name: str) -> Callable[[Command], Command]:
    """A variable that AWS sets, or that its own tools know: nobody has to know of a flag."""
    return click.option(f"--{name.lower().replace('_', '-')}", envvar=name, default="", hidden=True)


def read_registrar(
    given: Mapping[str, str], *, wait: str, probe: bool = False
) -> RegistrarSettings:
    """Judge the settings of ``run`` and ``sidecar``.

    Raises:
        SettingsInvalid: Names everything that is missing or bad.
    """
    problems = Problems()
    reach = _reach(given, problems)
    place = _place(given, reach, problems)
    if not place.port and not given["port"]:
        problems.note("PORT is not set: the port that the service listens on")
    branch = _name(
        "NAME (or BRANCH)", given["name"], hint="the branch", check=check_name, problems=problems
    )
    service = _name(
        "SERVICE", given["service"], hint="such as web", check=_check_service, problems=problems
    )
    settings = RegistrarSettings(
        reach,
        branch,
        service,
        place,
        **_lifetime(given, problems),
        wait_s=problems.read("--wait", wait, parse_seconds, None) if wait else None,
        probe=probe,
        probe_login=read_login(given, problems),
        stop_timeout_s=problems.read(
            "STOP_TIMEOUT", given["stop_timeout"], parse_seconds, STOP_TIMEOUT_S
        ),
        heeds_spot=problems.read("SPOT_NOTICE", given["spot_notice"], parse_wish, False),  # noqa: FBT003
        health=read_health(given, problems),
    )
    if settings.health and settings.health.of_task and place.task_url is None:
        problems.note(
            f"HEALTH_ECS is on, and {TASK_URL} is not set: this is no task of ECS, or its agent is"
            " older than 1.39"
        )
    if settings.heeds_spot and place.ec2_url is None:
        problems.note(f"SPOT_NOTICE is on, and {EC2_DISABLED} is set: nobody else tells of notices")
    problems.settle()
    return settings


def read_agent(given: Mapping[str, str]) -> AgentSettings:
    """Judge the settings of ``docker``.

    Raises:
        SettingsInvalid: Names everything that is missing or bad.
    """
    problems = Problems()
    reach = _reach(given, problems)
    place = PlaceSettings(
        ip=_ip(given, problems), endpoints=reach.etcd.endpoints, docker_host=given["docker_host"]
    )
    health = read_health_pace(given, problems)
    model = RegistrarSettings(reach, "", "", place, **_lifetime(given, problems), health=health)
    asks_port = read_health_tcp(given, problems)
    problems.settle()
    return AgentSettings(model, given["docker_network"], asks_port)


def read_reach(given: Mapping[str, str]) -> Reach:
    """Judge the settings of a command that only needs the registry.

    Raises:
        SettingsInvalid: Names everything that is missing or bad.
    """
    problems = Problems()
    reach = _reach(given, problems)
    problems.settle()
    return reach


def read_addition(given: Mapping[str, str]) -> tuple[Reach, str]:
    """Judge the settings of ``add``: the registry, and the login for ``--probe``.

    Raises:
        SettingsInvalid: Names everything that is missing or bad.
    """
    problems = Problems()
    reach, login = _reach(given, problems), read_login(given, problems)
    problems.settle()
    return reach, login


def read_place(given: Mapping[str, str]) -> PlaceSettings:
    """Judge the settings of ``where``, which works without a registry if it is told the ip.

    Raises:
        SettingsInvalid: Names everything that is missing or bad.
    """
    problems = Problems()
    etcd = read_registry(given, problems).etcd
    place = _place(given, Reach(etcd, Keyspace(), "") if etcd else None, problems)
    if not (given["port"] or given["host_port"]):
        problems.note("PORT is not set: the port that the service listens on")
    if not (
        given["ip"]
        or etcd
        or any(given[name.lower()] for name in (TASK_URL, METADATA_FILE, EC2_URL))
    ):
        problems.note("neither IP nor REGISTRY_URL is set, so there is nothing to find the ip by")
    problems.settle()
    return place


def read_seconds(**given: str) -> float | None:
    """Judge one flag that is a number of seconds; None if it was not given.

    Raises:
        SettingsInvalid: It is no such number.
    """
    problems = Problems()
    ((name, text),) = given.items()
    found = problems.read(f"--{name}", text, parse_seconds, None) if text else None
    problems.settle()
    return found


def check_branch_and_service(branch: str, service: str) -> None:
    """Refuse names that cannot be registered.

    Raises:
        ValueError: Says why.
    """
    check_name(branch)
    _check_service(service)


def _reach(given: Mapping[str, str], problems: Problems) -> Reach:
    registry = read_registry(given, problems)
    return Reach(needed_etcd(registry, problems), registry.keys, registry.default_service)


def _place(given: Mapping[str, str], reach: Reach | None, problems: Problems) -> PlaceSettings:
    return PlaceSettings(
        ip=_ip(given, problems),
        host_port=_port("HOST_PORT", given["host_port"], problems),
        docker_host=given["docker_host"],
        port=_port("PORT", given["port"], problems),
        endpoints=reach.etcd.endpoints if reach else (),
        container=given["container"],
        **_aws_places(given, problems),
    )


def _aws_places(given: Mapping[str, str], problems: Problems) -> dict[str, Any]:
    """What AWS says of where it is asked."""
    task, file, ec2, old, disabled = (given[name.lower()] for name in AWS_VARIABLES)
    ec2_url = problems.read(EC2_URL, ec2 or DEFAULT_ENDPOINT, parse_base, None)
    return {
        "task_url": problems.read(TASK_URL, task, parse_base, None) if task else None,
        "has_old_agent": bool(old) and not task,
        "metadata_file": file,
        # AWS's own tools take every other word for no
        "ec2_url": None if disabled.lower() == "true" else ec2_url,
        "is_on_ec2": bool(ec2),
    }


def _lifetime(given: Mapping[str, str], problems: Problems) -> dict[str, Any]:
    return {
        "ttl_s": problems.read("TTL", given["ttl"], _parse_ttl, 15),
        "drain_s": problems.read("DRAIN", given["drain"], parse_seconds, 2.0),
        "release_timeout_s": problems.read(
            "RELEASE_TIMEOUT", given["release_timeout"], parse_seconds, 10.0
        ),
    }


def _ip(given: Mapping[str, str], problems: Problems) -> str:
    return problems.read("IP", given["ip"], _parse_ip, "") if given["ip"] else ""


def _port(name: str, text: str, problems: Problems) -> int:
    return problems.read(name, text, parse_port, 0) if text else 0


def _name(
    name: str, text: str, *, hint: str, check: Callable[[str], object], problems: Problems
) -> str:
    if not text:
        problems.note(f"{name} is not set: {hint}")
        return ""

    def parse(text: str) -> str:
        check(text)
        return text

    return problems.read(name, text, parse, "")


def _check_service(service: str) -> None:
    check_name(service)
    service_slug(service)


def _parse_ip(text: str) -> str:
    return Address(text, 1).ip


def _parse_ttl(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError("expected a whole number of seconds")
    return int(parse_seconds(text, least=TTL_LEAST_S))
