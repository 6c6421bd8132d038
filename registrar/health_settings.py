"""What the registrar is told about when a service may get requests."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from registrar.aws.task_metadata import RATE
from registrar.health import HealthSettings, parse_path
from registry.records import Address
from registry.settings import Problems, option
from registry.values import parse_seconds

Command = TypeVar("Command", bound=Callable[..., object])

HEALTH_LEAST_S = 0.1
"""Asked more often, a service would be busy with our questions."""

ECS_INTERVAL_LEAST_S = 1 / RATE
"""Our share of the requests that ECS's agent answers."""

IN_A_ROW_MOST = 1000
"""At the longest interval that is more than two years."""

FAILURES, PASSES = 3, 2
"""In a row, unless told otherwise: a single answer may be lost, and one that passed by chance."""

WORDS = {"on": True, "yes": True, "true": True, "1": True}
WORDS |= {"off": False, "no": False, "false": False, "0": False}
"""What says whether something is wanted."""


def health_options(command: Command) -> Command:
    """Give a click command the flags that say when a service may get requests."""
    options = (
        option("--health-path", "path that answers 200 to 399 to GET when the service is healthy"),
        option(
            "--health-ecs",
            "on: healthy when ECS's own check of its container says so",
            default="off",
        ),
        option("--health-address", "ip:port that is asked; the registered address unless given"),
    )
    command = health_pace_options(command)
    for add in reversed(options):
        command = add(command)
    return command


def health_pace_options(command: Command) -> Command:
    """Give a click command the flags that say how often, and how patiently, it is asked."""
    options = (
        option("--health-tcp", "on: healthy when the port accepts a connection", default="on"),
        option("--health-interval", "seconds between two questions when healthy", default="5"),
        option("--health-timeout", "seconds for an answer", default="2"),
        option(
            "--health-failures", "as many in a row take it out of rotation", default=str(FAILURES)
        ),
        option("--health-passes", "as many in a row bring it back", default=str(PASSES)),
    )
    for add in reversed(options):
        command = add(command)
    return command


def read_health(given: Mapping[str, str], problems: Problems) -> HealthSettings | None:
    """Judge them; problems are noted, not raised. None where nothing is to be asked."""
    path, address = given["health_path"], given["health_address"]
    wants_tcp = read_health_tcp(given, problems)
    wants_ecs = problems.read("HEALTH_ECS", given["health_ecs"], parse_wish, False)  # noqa: FBT003
    pace = read_health_pace(given, problems)
    if wants_ecs and (path or address):
        problems.note(
            "HEALTH_ECS is on, and HEALTH_PATH or HEALTH_ADDRESS is set; choose one of them"
        )
    if wants_ecs and (pace.failures not in {1, FAILURES} or pace.passes not in {1, PASSES}):
        problems.note(
            "HEALTH_ECS is on, and HEALTH_FAILURES or HEALTH_PASSES is set: ECS counts by itself"
            " (retries); take them away"
        )
    if wants_ecs and pace.interval_s < ECS_INTERVAL_LEAST_S:
        problems.note(
            f"HEALTH_INTERVAL is {pace.interval_s:g} s: with HEALTH_ECS at least"
            f" {ECS_INTERVAL_LEAST_S:g}, because all tasks of an instance share what it may ask"
        )
    settings = replace(
        pace,
        of_task=wants_ecs,
        # ECS has counted what failed already, and what passed
        failures=1 if wants_ecs else pace.failures,
        passes=1 if wants_ecs else pace.passes,
        path=problems.read("HEALTH_PATH", path, parse_path, "") if path else "",
        address=problems.read("HEALTH_ADDRESS", address, Address.parse, None) if address else None,
    )
    return settings if path or wants_tcp or wants_ecs else None


def read_health_tcp(given: Mapping[str, str], problems: Problems) -> bool:
    """Judge whether it is enough that a port accepts connections; problems are noted."""
    return problems.read("HEALTH_TCP", given["health_tcp"], parse_wish, True)  # noqa: FBT003


def read_health_pace(given: Mapping[str, str], problems: Problems) -> HealthSettings:
    """Judge how often is asked; problems are noted, not raised."""

    def seconds(name: str, default: float) -> float:
        return problems.read(
            f"HEALTH_{name}", given[f"health_{name.lower()}"], _parse_pause, default
        )

    def count(name: str, default: int) -> int:
        return problems.read(
            f"HEALTH_{name}", given[f"health_{name.lower()}"], _parse_count, default
        )

    return HealthSettings(
        interval_s=seconds("INTERVAL", 5.0),
        timeout_s=seconds("TIMEOUT", 2.0),
        failures=count("FAILURES", FAILURES),
        passes=count("PASSES", PASSES),
    )


def parse_wish(text: str) -> bool:
    """Read whether something is wanted.

    Raises:
        ValueError: It says neither.
    """
    if text.lower() not in WORDS:
        raise ValueError(f"expected one of {', '.join(WORDS)}")
    return WORDS[text.lower()]


def _parse_pause(text: str) -> float:
    return parse_seconds(text, least=HEALTH_LEAST_S)


def _parse_count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= IN_A_ROW_MOST:
        raise ValueError(f"expected a whole number, 1 to {IN_A_ROW_MOST}")
    return int(text)
