"""What follows from the constants of the code alone, without measuring anything. Pure.

``python -m benchmarks.paper`` prints the rows as docs/scale.md has them; a test holds it to them.
"""

import math
from collections.abc import Iterable
from inspect import signature
from typing import NamedTuple

from regenerator.report import TTL_S as FRONTEND_TTL_S
from registrar.aws import notices, task_metadata
from registrar.health import HealthSettings
from registrar.keep import REFRESHES
from registrar.settings import RegistrarSettings

SERVICES, INSTANCES, FRONTENDS, DEPLOYS = 500, 2, 2, 100
"""As the issue has it: of each service so many instances; frontends; deploys within a minute."""

REGISTRARS = SERVICES * INSTANCES

TTL_S: int = signature(RegistrarSettings).parameters["ttl_s"].default

EVENTS_A_DEPLOY = 4 * INSTANCES
"""A new instance is written as starting and as ready, an old one as draining, and deleted."""

PROPOSALS_A_DEPLOY = EVENTS_A_DEPLOY + 2 * INSTANCES
"""A new instance is granted a lease besides, and that of an old one is revoked."""

TASKS = (10, 50, 100)
"""On one EC2 instance."""

LIMIT, LIMIT_BURST = 40, 60
"""Requests a second to the task metadata of an EC2 instance, of all its tasks together, and how
many may come at once.

Source:
    Amazon ECS container agent, ``ECS_TASK_METADATA_RPS_LIMIT``.
"""

START_REQUESTS = 2
"""To EC2's instance metadata: a token, and the address."""

POLL_S = 15
"""``refreshSeconds`` of Traefik's ECS provider."""

PAGE = 100
"""Tasks in an answer to ListTasks, a question of DescribeTasks, and Traefik's own chunks."""

DESCRIBED_A_SECOND, DESCRIBED_BURST = 20, 100
"""ListTasks, DescribeTasks and DescribeContainerInstances together, of one account in a Region.

Source:
    Amazon ECS API Reference, "Request throttling for the Amazon ECS API".
"""

DEFINITIONS_A_SECOND, DEFINITIONS_BURST = 20, 50
"""DescribeTaskDefinition; the same source."""


class Row(NamedTuple):
    """One row of a table on paper."""

    what: str
    formula: str
    value: str


def turns_a_second(registrars: int, *, ttl_s: int = TTL_S) -> float:
    """How often registrars refresh a lease; as often they look whether their key is right."""
    return registrars * REFRESHES / ttl_s


def reports_a_second(frontends: int) -> float:
    """How often frontends write their records while nothing happens."""
    return frontends * REFRESHES / FRONTEND_TTL_S


def rest() -> tuple[Row, ...]:
    """500 services with two instances each, while nobody comes and nobody goes."""
    turns, reports = turns_a_second(REGISTRARS), reports_a_second(FRONTENDS)
    return (
        Row("leases", "500 x 2", f"{REGISTRARS:,}"),
        Row("leases refreshed a second", f"1,000 x {REFRESHES} / {TTL_S} s", f"{turns:.0f}"),
        Row("looks at the own key a second", "one with each refresh", f"{turns:.0f}"),
        Row("writes of registrars a second", "a refresh and a look write nothing", "0"),
        Row(
            "writes of frontends a second",
            f"{FRONTENDS} x {REFRESHES} / {FRONTEND_TTL_S} s",
            f"{reports:.1f}",
        ),
        Row(
            "events at watchers a second",
            f"{reports:.1f} x {FRONTENDS} frontends",
            f"{reports * FRONTENDS:.1f}",
        ),
    )


def rush() -> tuple[Row, ...]:
    """100 deploys within a minute, of two instances each."""
    events, proposals = DEPLOYS * EVENTS_A_DEPLOY, DEPLOYS * PROPOSALS_A_DEPLOY
    return (
        Row("changes of routes", f"100 x 2 x {EVENTS_A_DEPLOY // INSTANCES}", f"{events:,}"),
        Row(
            "proposals of raft, without the frontends'",
            f"100 x 2 x {PROPOSALS_A_DEPLOY // INSTANCES}",
            f"{proposals:,}",
        ),
        Row(
            "events at watchers, without the frontends'",
            f"{events:,} x {FRONTENDS} frontends",
            f"{events * FRONTENDS:,}",
        ),
    )


class Metadata(NamedTuple):
    """Requests of a machine's registrars to the endpoints that they share.

    Attributes:
        at_once: To the task metadata, if all tasks start in the same moment.
        most: The same, for as long as it does not say what they ask for.
        health: The same, with ``HEALTH_ECS``.
        start: To EC2's instance metadata, if all tasks start in the same moment.
        notice: The same, with ``SPOT_NOTICE``.
    """

    tasks: str
    at_once: str
    most: str
    health: str
    start: str
    notice: str


def metadata() -> tuple[Metadata, ...]:
    """For so many tasks with a registrar on one EC2 instance."""
    every_s = HealthSettings().interval_s
    # now and then the recommendation is asked for as well
    notices_a_second = (1 + 1 / notices.REBALANCE_EACH) / notices.LOOK_S
    return tuple(
        Metadata(
            f"{tasks}",
            f"{tasks * task_metadata.BURST}",
            f"{tasks * task_metadata.RATE:g}/s",
            f"{tasks / every_s:g}/s",
            f"{tasks * START_REQUESTS}",
            f"{tasks * notices_a_second:.3g}/s",
        )
        for tasks in TASKS
    )


class Traefik(NamedTuple):
    """What one Traefik with its ECS provider asks AWS, of tasks on EC2 with 50 to an instance.

    Attributes:
        a_poll: Calls of each poll, without task definitions.
        share: Of the account's quota for describing tasks and instances.
        start: Calls for task definitions at a start, and 30 minutes later.
        start_s: How long their quota makes those take.
    """

    tasks: str
    a_poll: str
    a_minute: str
    share: str
    start: str
    start_s: str


def traefik() -> tuple[Traefik, ...]:
    """Its calls, as its source makes them one after the other."""
    found = []
    for tasks in (100, 500, REGISTRARS, 5_000, 10_000):
        pages = math.ceil(tasks / PAGE)
        # ListTasks, DescribeTasks, and one ARN of a container instance for each task
        described = 3 * pages
        instances = math.ceil(tasks / 50 / PAGE)
        calls = described + instances
        waits_s = max(0, tasks - DEFINITIONS_BURST) / DEFINITIONS_A_SECOND
        found.append(
            Traefik(
                f"{tasks:,}",
                f"{calls}",
                f"{calls * 60 / POLL_S:,.0f}",
                f"{described / POLL_S / DESCRIBED_A_SECOND:.0%}",
                f"{tasks:,}",
                f"{waits_s:,.0f} s",
            )
        )
    return tuple(found)


def lines(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Rows as they begin in a markdown table."""
    return [f"| {' | '.join(row)} |" for row in rows]


if __name__ == "__main__":
    for table in (rest(), rush(), metadata(), traefik()):
        print("\n".join(lines(table)), end="\n\n")
