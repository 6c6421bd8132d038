"""``docs/ecs.md``: the registrar prints every sentence of its last table, in its situation."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.etcd_server import EtcdServer, free_ports, wait_until
from tests.fakes.metadata import MetadataServer
from tests.registrar_process import Place, Registrar

PAGE = (Path(__file__).parents[2] / "docs" / "ecs.md").read_text()

ROWS = re.findall(
    r"^\| `(.+?)` \| .+ \|$", PAGE.split("## When it does not register")[1], re.MULTILINE
)

TOLD_WITHIN_S = 40.0
"""The longest of these is told after 10 s; all of them run at once."""

Arrange = Callable[[MetadataServer], Mapping[str, str]]


def container(aws: MetadataServer, name: str) -> dict[str, Any]:
    """One of the task's, to be changed."""
    found: dict[str, Any]
    [found] = [one for one in aws.task_document["Containers"] if one["Name"] == name]
    return found


def unmapped(aws: MetadataServer) -> Mapping[str, str]:
    container(aws, "web")["Ports"] = []
    return {}


def two_that_map(aws: MetadataServer) -> Mapping[str, str]:
    aws.play("tmds-v4-task-bridge-ec2.json", own_name="registrar")
    aws.task_document["Containers"].append(container(aws, "web") | {"Name": "admin"})
    return {}


def one_still_starts(aws: MetadataServer) -> Mapping[str, str]:
    starting = container(aws, "registrar") | {"Name": "admin", "KnownStatus": "CREATED"}
    aws.task_document["Containers"].append(starting)
    return {}


def hop_limit(aws: MetadataServer) -> Mapping[str, str]:
    aws.imds_mode = "hop1"
    return {}


def turned_off(aws: MetadataServer) -> Mapping[str, str]:
    aws.imds_mode = "disabled"
    return {}


def limited(aws: MetadataServer) -> Mapping[str, str]:
    aws.task_limited = 1000
    return {}


def silent(aws: MetadataServer) -> Mapping[str, str]:
    aws.task_mode = "silent"
    return {}


def without_network(aws: MetadataServer) -> Mapping[str, str]:
    for one in aws.task_document["Containers"]:
        one["Networks"] = [{"NetworkMode": "none", "IPv4Addresses": []}]
    return {}


def restarted(aws: MetadataServer) -> Mapping[str, str]:
    container(aws, "web")["RestartCount"] = 1
    return {}


def unchecked(aws: MetadataServer) -> Mapping[str, str]:
    del container(aws, "web")["Health"]
    return {"HEALTH_ECS": "on"}


def unhealthy(aws: MetadataServer) -> Mapping[str, str]:
    aws.set_health("web", "UNHEALTHY")
    return {"HEALTH_ECS": "on"}


def nobody_listens(aws: MetadataServer) -> Mapping[str, str]:
    aws.leaves["local-ipv4"] = "127.0.0.1"
    container(aws, "web")["Ports"][0]["HostPort"] = free_ports(1)[0]
    return {"HEALTH_TCP": "on"}


SITUATIONS: Mapping[str, Arrange] = {
    "no container (…) maps port": unmapped,
    "CONTAINER is 'api'": lambda _: {"CONTAINER": "api"},
    "containers …, … all map": two_that_map,
    "container … maps port": one_still_starts,
    "port … of the instance leads here, and its ip is not known (PUT …: no answer": hop_limit,
    "port … of the instance leads here, and its ip is not known (PUT … answered 403": turned_off,
    "port … of the instance leads here, and its ip is not known (PUT …: no connection": lambda _: {
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{free_ports(1)[0]}"
    },
    "port … of the instance leads here, and its ip is not known (AWS_EC2": lambda _: {
        "AWS_EC2_METADATA_DISABLED": "true"
    },
    "GET …/task answered 429": limited,
    "GET …/task answered 404": lambda aws: {
        "ECS_CONTAINER_METADATA_URI_V4": f"{aws.url}/v4/a-container-that-is-gone"
    },
    "GET …/task: no answer": silent,
    "container … was restarted in place": restarted,
    "the task has network mode none": without_network,
    "HEALTH_ECS is on, and": lambda _: {"HEALTH_ECS": "on", "ECS_CONTAINER_METADATA_URI_V4": ""},
    "not healthy for … s: ECS knows of no health check": unchecked,
    "not healthy for … s: ECS says": unhealthy,
    "not healthy for … s: … refuses": nobody_listens,
    "no connection to etcd at": lambda _: {"REGISTRY_URL": f"http://127.0.0.1:{free_ports(1)[0]}"},
    "the host '…' of REGISTRY_URL": lambda _: {
        "REGISTRY_URL": "http://etcd.invalid:2379",
        "ECS_CONTAINER_METADATA_URI_V4": "",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": "",
    },
    "REGISTRY_CA_TEXT holds": lambda _: {"REGISTRY_CA_TEXT": "ca.pem"},
    "leaving may take": lambda _: {"RELEASE_TIMEOUT": "40"},
}
"""What each row begins with (an ellipsis for anything), and how it comes about."""


def pattern(text: str) -> re.Pattern[str]:
    """What a row promises: its words, and anything for an ellipsis."""
    return re.compile(".*?".join(re.escape(part) for part in text.split("…")))


def situation_of(row: str) -> str:
    [found] = [begin for begin in SITUATIONS if pattern(begin).match(row)]
    return found


@pytest.fixture(scope="module", name="told")
def _told(etcd: EtcdServer) -> Iterator[Mapping[str, Registrar]]:
    """A sidecar for each situation, all at once: some say what they have to say after 10 s."""
    with ExitStack() as running:
        started: dict[str, Registrar] = {}
        for number, (begin, arrange) in enumerate(SITUATIONS.items()):
            aws = running.enter_context(MetadataServer())
            aws.play("tmds-v4-task-bridge-ec2.json", own_name="registrar")
            place = Place(etcd, f"/ecs-page-{number}")
            environ = place.instance_environ(IP="", **aws.environ) | dict(arrange(aws))
            started[begin] = running.enter_context(Registrar(["sidecar"], environ))
        yield started


@pytest.mark.parametrize("row", ROWS)
def test_what_the_page_quotes_is_what_the_registrar_says(
    row: str, told: Mapping[str, Registrar]
) -> None:
    registrar = told[situation_of(row)]
    wanted = pattern(row)

    try:
        wait_until(lambda: wanted.search(registrar.log), within_s=TOLD_WITHIN_S)
    except TimeoutError:
        pytest.fail(f"{row}\nwas not said, but:\n{registrar.log}")


def test_every_situation_has_a_row() -> None:
    assert {situation_of(row) for row in ROWS} == set(SITUATIONS)
