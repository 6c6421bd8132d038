"""Included: ``where -v`` as a process in a task of ECS: every network mode, and every way in which
ECS's agent, its file and EC2 can fail to say where we are. AWS is a fake on loopback.

A registry is always named, so that there is something to guess by wherever guessing would be wrong.
Those who wait for seconds are started together, once.
"""

import json
import os
import pty
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from registrar.aws.endpoint import parse_base
from registrar.places import Finder, PlaceSettings
from tests.etcd_server import wait_until
from tests.fakes.metadata import (
    BRIDGE,
    GARBAGE,
    NOT_READY,
    TOKEN,
    TTL,
    Asked,
    MetadataServer,
    TokenBucket,
    dropping,
    many_megabytes,
    metadata_file,
    sample,
)
from tests.registrar_process import PROGRAM, Registrar, run_once
from tests.system.origin import refusing

pytestmark = pytest.mark.system

HOST = "tmds-v4-task-host-ec2.json"
AWSVPC = "tmds-v4-task-awsvpc-ec2.json"
FARGATE = "tmds-v4-task-fargate.json"
MANY_PORTS = "tmds-v4-task-bridge-ec2-many-ports.json"
PORT_ZERO = "tmds-v4-task-bridge-ec2-hostport-zero.json"

ECS, FILE, EC2 = "ECS task metadata", "ECS metadata file", "EC2 instance metadata"
ENGINE, OWN_PORT, OWN_IP = "the Docker engine", "PORT", "the interface that reaches the registry"
GUESSES = (ENGINE, OWN_PORT, OWN_IP)

BURST, RATE = 4, 0.4
"""Requests to the agent that one process may send at once, and a second: a hundredth of 40."""

LATE_S = 1.0
"""By which a request may be late on its way here, so that those behind it seem to come too soon: on
a machine that is busy with other tests."""


@dataclass(frozen=True)
class Said:
    """What ``where -v`` said.

    Attributes:
        steps: What came of each source, by its name: all of its lines.
    """

    code: int
    out: str
    err: str

    @property
    def address(self) -> str:
        """What would be registered."""
        return self.out.partition(" ")[0] if self.code == 0 else ""

    @property
    def steps(self) -> dict[str, str]:
        found: dict[str, str] = {}
        name = ""
        for line in self.out.splitlines()[1 if self.code == 0 else 0 :]:
            if not line.startswith(" "):
                name, _, rest = line.partition(". ")[2].partition(": ")
                found[name] = rest
            else:
                found[name] += f"{' '.join(line.split())}\n"
        return found

    def check_nothing_was_guessed(self) -> None:
        """It is better not to be registered than to be where another task is."""
        assert (self.code, self.address) == (69, "")
        for guess in GUESSES:
            assert self.steps[guess].startswith("not asked: "), guess
        # one sentence
        assert len(self.err.splitlines()) == 1
        assert self.err.startswith("registrar: ")
        assert "172.17." not in self.out + self.err


def environ(*parts: Mapping[str, str], **more: str) -> dict[str, str]:
    """Of a container, with what AWS adds."""
    plain = {
        "PATH": "/usr/bin:/bin",
        "PORT": "8080",
        "REGISTRY_URL": "http://127.0.0.1:2379",
        "LOG_FORMAT": "text",
    }
    for part in parts:
        plain |= part
    return plain | more


def where(*parts: Mapping[str, str], **more: str) -> Said:
    done = run_once(["where", "-v"], environ(*parts, **more))
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture(name="aws")
def _aws() -> Iterator[MetadataServer]:
    with MetadataServer() as aws:
        yield aws


def check_share(asked: list[Asked]) -> None:
    """One process asked no more than its share, in any span of time."""
    for first, since in enumerate(asked):
        for last, until in enumerate(asked[first:], start=1):
            assert last <= BURST + RATE * (until.at - since.at + LATE_S), (first, last)


# every network mode


def test_in_a_bridge_the_port_of_the_host_and_the_ip_of_the_instance_are_registered(
    aws: MetadataServer,
) -> None:
    said = where(aws.environ)

    assert said.address == "10.0.3.17:32769"
    assert said.out.startswith(f"10.0.3.17:32769  (ip: {EC2}; port: {ECS})\n")
    assert said.steps[ECS].startswith(
        f"asked GET {aws.task_url}/task\n"
        "answered network mode bridge, web: port 8080 is 32769 of the host ("
    )
    assert said.steps[ECS].endswith(" ms)\ntook port 32769\n")
    assert said.steps[FILE] == "not asked: ECS_CONTAINER_METADATA_FILE is not set"
    assert said.steps[EC2].startswith(f"asked GET {aws.url}/latest/meta-data/local-ipv4\nanswered")
    assert said.steps[EC2].endswith("took ip 10.0.3.17\n")
    for guess in GUESSES:
        assert said.steps[guess] == "not asked: all is known"
    # no more was asked than that takes
    assert [(one.method, one.path) for one in aws.requests] == [
        ("GET", f"/v4/{aws.task_id}/task"),
        ("PUT", "/latest/api/token"),
        ("GET", "/latest/meta-data/local-ipv4"),
    ]


def test_in_a_bridge_a_port_may_be_mapped_to_the_same_one(aws: MetadataServer) -> None:
    for mapping in aws.own_document["Ports"]:
        mapping["HostPort"] = 8080

    said = where(aws.environ)

    assert (said.address, f"port: {ECS}" in said.out) == ("10.0.3.17:8080", True)


def test_in_the_hosts_network_the_port_is_our_own(aws: MetadataServer) -> None:
    aws.play(HOST)

    assert where(aws.environ).address == "10.0.3.17:8080"


@pytest.mark.parametrize("task", [AWSVPC, FARGATE])
def test_a_task_with_an_interface_of_its_own_is_reached_there_and_ec2_is_not_asked(
    aws: MetadataServer, task: str
) -> None:
    aws.play(task)
    for one in aws.task_document["Containers"]:
        # what ECS put beside us to hold the network is none of us
        if one.get("Type") != "NORMAL":
            one["Networks"][0]["IPv4Addresses"] = ["10.0.9.9"]

    said = where(aws.environ, PORT="3000")

    assert said.address == "10.0.3.121:3000"
    assert aws.imds_requests == []
    assert len(aws.task_requests) == 1


@pytest.mark.parametrize(("port", "expected"), [("8080", "32769"), ("9102", "32770")])
def test_of_several_ports_ours_counts_and_of_two_families_ipv4s(
    aws: MetadataServer, port: str, expected: str
) -> None:
    aws.play(MANY_PORTS)

    assert where(aws.environ, PORT=port).address == f"10.0.3.17:{expected}"


def test_the_instances_ip_is_never_found_out_through_a_proxy(aws: MetadataServer) -> None:
    """Nor is anything else: to a proxy the address of metadata means its own machine."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        names = ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")

        said = where(aws.environ, dict.fromkeys(names, url))

        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()
    assert said.address == "10.0.3.17:32769"


@pytest.mark.parametrize("tokens", ["required", "optional"])
def test_ec2_is_asked_by_version_2_alone(aws: MetadataServer, tokens: Any) -> None:
    aws.imds_tokens = tokens

    assert where(aws.environ).address == "10.0.3.17:32769"

    put, get = aws.imds_requests
    assert (put.method, put.path, put.headers[TTL]) == ("PUT", "/latest/api/token", "21600")
    assert TOKEN in get.headers
    for one in aws.requests:
        assert "x-forwarded-for" not in one.headers
        assert "connection" in one.headers


# what was said by somebody who knows better


def test_where_the_ip_is_given_ec2_is_not_asked(aws: MetadataServer) -> None:
    assert where(aws.environ, IP="10.9.9.9").address == "10.9.9.9:32769"
    assert aws.imds_requests == []


def test_where_the_port_is_given_the_ip_is_still_the_instances(aws: MetadataServer) -> None:
    assert where(aws.environ, HOST_PORT="31000").address == "10.0.3.17:31000"


def test_where_both_are_given_nobody_is_asked(aws: MetadataServer) -> None:
    assert where(aws.environ, IP="10.9.9.9", HOST_PORT="31000").address == "10.9.9.9:31000"
    assert aws.requests == []


# which container


def add_twin(aws: MetadataServer) -> None:
    """Let a second container of the task map the same port."""
    web = aws.own_document
    admin = json.loads(json.dumps(web)) | {"Name": "admin", "DockerId": "f" * 64}
    for mapping in admin["Ports"]:
        mapping["HostPort"] = 40000
    aws.task_document["Containers"].append(admin)


def test_beside_the_service_its_container_is_found_by_the_port_that_it_maps(
    aws: MetadataServer,
) -> None:
    aws.own_name = "registrar"

    assert where(aws.environ).address == "10.0.3.17:32769"


def test_beside_two_that_map_the_port_it_has_to_be_said_which_is_meant(
    aws: MetadataServer,
) -> None:
    add_twin(aws)
    aws.own_name = "registrar"

    said = where(aws.environ)

    said.check_nothing_was_guessed()
    assert "containers web, admin all map port 8080; say which with CONTAINER" in said.err
    assert where(aws.environ, CONTAINER="admin").address == "10.0.3.17:40000"
    assert where(aws.environ, CONTAINER="web").address == "10.0.3.17:32769"


def test_within_one_of_two_that_map_the_port_ours_is_meant(aws: MetadataServer) -> None:
    add_twin(aws)

    aws.own_name = "admin"
    assert where(aws.environ).address == "10.0.3.17:40000"
    aws.own_name = "web"
    assert where(aws.environ).address == "10.0.3.17:32769"


# what passes


def gaps(asked: list[Asked]) -> list[float]:
    return [later.at - sooner.at for sooner, later in pairwise(asked)]


def test_ports_that_come_late_are_waited_for(aws: MetadataServer) -> None:
    """Docker tells the agent of them a moment after the start."""
    aws.ports_after = 3

    said = where(aws.environ)

    assert said.address == "10.0.3.17:32769"
    # ever longer, by a tenth more or less
    first, second, third = gaps(aws.task_requests)
    assert (first > 0.22, second > 0.45, third > 0.9) == (True, True, True)
    check_share(aws.task_requests)


def test_an_agent_that_is_asked_too_often_is_asked_again(aws: MetadataServer) -> None:
    aws.task_limited = 2

    assert where(aws.environ).address == "10.0.3.17:32769"
    assert [one.status for one in aws.task_requests] == [429, 429, 200]
    check_share(aws.task_requests)


def test_ec2_that_is_asked_too_often_is_asked_again(aws: MetadataServer) -> None:
    aws.imds_throttled = 2

    assert where(aws.environ).address == "10.0.3.17:32769"
    assert [one.status for one in aws.imds_requests] == [503, 503, 200, 200]


def test_a_hundred_tasks_that_start_at_once_all_find_their_place(aws: MetadataServer) -> None:
    """By the agent's own rule for an instance: 60 at once, and 40 a second."""
    aws.task_rate_limit = TokenBucket()
    settings = PlaceSettings(
        port=8080, task_url=parse_base(aws.task_url), ec2_url=parse_base(aws.url)
    )

    with ThreadPoolExecutor(100) as tasks:
        places = list(tasks.map(lambda _: str(Finder(settings).find().address), range(100)))

    assert set(places) == {"10.0.3.17:32769"}
    refused = [one for one in aws.task_requests if one.status == 429]
    assert 0 < len(refused) < 200


# the file


def test_with_the_file_ec2_is_not_asked(aws: MetadataServer) -> None:
    """A hop limit of 1 does not matter then."""
    aws.imds_mode = "hop1"

    said = where(aws.environ, ECS_CONTAINER_METADATA_FILE=str(metadata_file("initial")))

    assert said.address == "10.0.3.17:32769"
    assert f"(ip: {FILE}; port: {ECS})" in said.out
    assert aws.imds_requests == []


def test_an_old_agent_has_the_file_alone() -> None:
    said = where(
        ECS_CONTAINER_METADATA_FILE=str(metadata_file("ready")), AWS_EC2_METADATA_DISABLED="true"
    )

    assert said.address == "10.0.3.17:32769"
    assert f"(ip: {FILE}; port: {FILE})" in said.out
    assert said.steps[ECS] == "not asked: ECS_CONTAINER_METADATA_URI_V4 is not set"


def test_a_file_that_is_not_ready_is_waited_for(tmp_path: Path) -> None:
    """Its second version is written over the first one, so for a moment there is half of it."""
    ready = metadata_file("ready").read_text()
    # a pipe, so that it is known what was read when
    file = tmp_path / "ecs-container-metadata.json"
    os.mkfifo(file)
    given = environ(ECS_CONTAINER_METADATA_FILE=str(file), AWS_EC2_METADATA_DISABLED="true")

    with Registrar(["where"], given) as process:
        for text in (metadata_file("initial").read_text(), ready[:300], ready):
            hand_over(text, file, process.pid)
        assert process.wait() == 0

    assert process.out.startswith("10.0.3.17:32769 ")


def hand_over(text: str, pipe: Path, pid: int) -> None:
    """Let a process read the text, and wait until it has."""
    writers: list[int] = []

    def is_opened() -> bool:
        with suppress(OSError):
            # nobody reads it yet
            writers.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        return bool(writers)

    def is_held() -> bool:
        # a process that has ended holds nothing
        with suppress(FileNotFoundError):
            return pipe in [link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()]
        return False

    wait_until(is_opened)
    with open(writers[0], "w", encoding="utf-8") as writer:  # noqa: PTH123 - it is open already
        wait_until(is_held)
        writer.write(text)
    wait_until(lambda: not is_held())


# bad words


HOSTILE = "web\x1b]0;owned\x07\x1b[31m\x9b2J\u202e\x7f"


def on_terminal(given: Mapping[str, str]) -> str:
    """What a terminal is told."""
    ours, theirs = pty.openpty()
    with closing(open(ours, "rb", buffering=0)) as screen:  # noqa: PTH123 - it is open already
        process = subprocess.Popen(
            [PROGRAM, "where", "-v"], env=dict(given), stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        shown = b""
        # Linux says so when the last one that had the terminal is gone
        with suppress(OSError):
            while more := screen.read(65536):
                shown += more
        process.wait()
    return shown.decode()


def test_what_others_wrote_steers_no_terminal(aws: MetadataServer, tmp_path: Path) -> None:
    known = environ(aws.environ)
    for one in aws.task_document["Containers"]:
        one["Networks"][0]["NetworkMode"] = HOSTILE
    # what can be read of a file that is not there is its name
    unknown = environ(
        ECS_CONTAINER_METADATA_FILE=str(tmp_path / HOSTILE), AWS_EC2_METADATA_DISABLED="true"
    )

    shown = [on_terminal(known), on_terminal(unknown)]

    assert "10.0.3.17:32769" in shown[0]
    assert "cannot be read (No such file or directory)" in shown[1]
    for text in shown:
        assert "owned" in text
        assert all(line.isprintable() for line in text.split("\r\n"))


def test_a_container_whose_name_is_none_is_not_told_of(aws: MetadataServer) -> None:
    add_twin(aws)
    aws.own_document["Name"] = aws.own_name = HOSTILE

    said = where(aws.environ)

    assert said.address == "10.0.3.17:40000"
    assert "owned" not in said.out + said.err


@pytest.mark.parametrize(
    "name", ["ECS_CONTAINER_METADATA_URI_V4", "AWS_EC2_METADATA_SERVICE_ENDPOINT"]
)
@pytest.mark.parametrize("url", ["169.254.170.2/v4/x", "https://a/v4", "http://a..b/v4"])
def test_a_url_that_is_none_is_named_and_nothing_is_asked(name: str, url: str) -> None:
    said = where({name: url})

    assert said.code == 78
    assert said.err == f"registrar: {name} is '{url}': expected http://host:port/path\n"


# what does not pass, or takes its time: all at once, for as long as the longest of them takes


Set = Callable[[ExitStack, MetadataServer, Path], Mapping[str, str]]
"""Makes AWS as it is to be; gives what is set besides its own variables."""


def act(change: Callable[[MetadataServer], object]) -> Set:
    """Only the fake has to be told."""

    def work(_: ExitStack, aws: MetadataServer, __: Path) -> Mapping[str, str]:
        change(aws)
        return {}

    return work


def put(task: str = "", **changes: Any) -> Set:
    """The same, by setting attributes of it; and another task, if that is named."""

    def change(aws: MetadataServer) -> None:
        if task:
            aws.play(task)
        for name, value in changes.items():
            assert hasattr(aws, name)
            setattr(aws, name, value)

    return act(change)


def leave(**given: str) -> Set:
    """AWS is well, and something is set."""
    return lambda _, __, ___: given


def at_refused_ec2(stack: ExitStack, _: MetadataServer, __: Path) -> Mapping[str, str]:
    return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{stack.enter_context(refusing())}"}


def at_dropped_ec2(stack: ExitStack, _: MetadataServer, __: Path) -> Mapping[str, str]:
    return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": stack.enter_context(dropping())}


def at_dropped_agent(stack: ExitStack, _: MetadataServer, __: Path) -> Mapping[str, str]:
    return {"ECS_CONTAINER_METADATA_URI_V4": f"{stack.enter_context(dropping())}/v4/x"}


def with_file(text: str | None, *, is_alone: bool) -> Set:
    """A metadata file of these words, or none where there should be one."""

    def work(_: ExitStack, aws: MetadataServer, folder: Path) -> Mapping[str, str]:
        file = folder / "file.json"
        if text is not None:
            file.write_text(text)
        # an agent that is so old has no task metadata; EC2 would answer
        alone = {"ECS_CONTAINER_METADATA_URI_V4": "", **aws.imds_environ} if is_alone else {}
        return {"ECS_CONTAINER_METADATA_FILE": str(file), **alone}

    return work


INITIAL = metadata_file("initial").read_text()
READY = metadata_file("ready").read_text()

SLOW: dict[str, Set] = {
    "ports never": put(task_document=sample(NOT_READY)),
    "host port 0": put(PORT_ZERO),
    "no such container": leave(CONTAINER="nope"),
    "container without the port": leave(CONTAINER="registrar"),
    "another port": leave(PORT="9999"),
    "limited": put(task_limited=10**6),
    "broken": put(task_mode="broken"),
    "unknown id": put(task_id="00000000-0000-4000-8000-000000000000"),
    "silent": put(task_mode="silent"),
    "trickling": put(task_mode="trickling"),
    "garbage": put(task_garbage=GARBAGE["a page"]),
    "huge": put(task_garbage=many_megabytes(sample(BRIDGE))),
    "dropped agent": at_dropped_agent,
    "silent agent, file ready": lambda stack, aws, folder: {
        **put(task_mode="silent")(stack, aws, folder),
        "ECS_CONTAINER_METADATA_FILE": str(metadata_file("ready")),
    },
    "hop1": put(imds_mode="hop1"),
    "throttled": put(imds_throttled=10**6),
    "slow": put(imds_delay_s=0.5),
    "too slow": put(imds_delay_s=3.0),
    "disabled": put(imds_mode="disabled"),
    "turned off": leave(AWS_EC2_METADATA_DISABLED="true"),
    "no ip": act(lambda aws: aws.leaves.pop("local-ipv4")),
    "no such ip": act(lambda aws: aws.leaves.update({"local-ipv4": "10.0.3.300"})),
    "refused": at_refused_ec2,
    "dropped": at_dropped_ec2,
    "hop1 in the host's network": put(HOST, imds_mode="hop1"),
    "file missing": with_file(None, is_alone=False),
    "file half": with_file(READY[:300], is_alone=False),
    "file alone, initial": with_file(INITIAL, is_alone=True),
    "file alone, missing": with_file(None, is_alone=True),
    "file alone, garbage": with_file("\x00\x1b[31m{}", is_alone=True),
    "file alone, another port": lambda stack, aws, folder: {
        **with_file(READY, is_alone=True)(stack, aws, folder),
        "PORT": "9999",
    },
}


@dataclass(frozen=True)
class Outcome:
    """How one of them ended, and what was asked of AWS by then."""

    said: Said
    task_requests: list[Asked]
    imds_requests: list[Asked]

    def check_unknown(self, *words: str) -> None:
        """It said one sentence with these words, and guessed nothing."""
        self.said.check_nothing_was_guessed()
        for text in words:
            assert text in self.said.err
        check_share(self.task_requests)


@pytest.fixture(name="slow", scope="module")
def _slow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    with ExitStack() as fakes:
        running: dict[str, tuple[MetadataServer, Registrar]] = {}
        with ExitStack() as processes:
            for name, make in SLOW.items():
                aws = fakes.enter_context(MetadataServer())
                usual = aws.environ
                more = make(fakes, aws, tmp_path_factory.mktemp("aws"))
                given = environ(usual, more)
                running[name] = aws, processes.enter_context(Registrar(["where", "-v"], given))
            codes = {name: process.wait(within_s=30) for name, (_, process) in running.items()}
        # all has been read that they wrote
        return {
            name: Outcome(
                Said(codes[name], process.out, process.log), aws.task_requests, aws.imds_requests
            )
            for name, (aws, process) in running.items()
        }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "ports never",
            "maps port 8080 yet, by what ECS knows; is there a port mapping with containerPort",
        ),
        ("host port 0", "no container (web, registrar) maps port 8080 yet"),
        ("no such container", "CONTAINER is 'nope', and ECS knows of these in the task: web, regi"),
        ("container without the port", "no container called registrar maps port"),
        ("another port", "is there a port mapping with containerPort 9999 in the task definition?"),
        ("limited", "/task answered 429: the tasks of this instance ask too often together"),
        ("broken", "/task answered 500: the agent has a fault of its own"),
        ("silent", "/task: no answer within 1 s"),
        ("trickling", "/task: no answer within 1 s"),
        ("garbage", "/task was answered with what is no such document: the value is no JSON doc"),
        ("huge", "the body has more than 1048576 bytes"),
        ("dropped agent", "/v4/x/task: no connection within 1 s; something drops it"),
    ],
)
def test_what_the_agent_does_not_say_is_waited_for_a_while_and_never_guessed(
    slow: dict[str, Outcome], name: str, words: str
) -> None:
    outcome = slow[name]

    outcome.check_unknown(words)
    assert words[:40] in outcome.said.steps[ECS]
    assert outcome.said.steps[EC2].startswith("not asked: ")
    assert outcome.imds_requests == []
    if name != "dropped agent":
        assert 3 <= len(outcome.task_requests) <= 7
        assert outcome.task_requests[-1].at - outcome.task_requests[0].at > 2


def test_a_url_that_the_agent_does_not_know_is_not_waited_for_in_vain(
    slow: dict[str, Outcome],
) -> None:
    """For a moment it is so of a container that is being made; then it is somebody's mistake."""
    slow["unknown id"].check_unknown("the agent knows no such container; is the URL ECS's own?")
    assert {one.status for one in slow["unknown id"].task_requests} == {404}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "hop1",
            "the hop limit of this instance may be 1, and an answer needs 2 to get into a",
        ),
        ("throttled", "answered 503: asked too often by all of this instance, or failing"),
        ("too slow", "/latest/api/token: no answer within 1 s"),
        ("disabled", "answered 403: metadata is turned off for this instance (HttpEndpoint)"),
        ("turned off", "AWS_EC2_METADATA_DISABLED is set"),
        ("no ip", "gave '' as the instance's ip"),
        ("no such ip", "gave '10.0.3.300' as the instance's ip"),
        ("refused", "/latest/api/token: no connection (Connection refused)"),
        ("dropped", "/latest/api/token: no connection within 1 s; something drops it"),
    ],
)
def test_where_ec2_does_not_say_the_ip_it_is_told_why_and_what_to_do(
    slow: dict[str, Outcome], name: str, words: str
) -> None:
    outcome = slow[name]

    outcome.check_unknown(
        f"port 32769 of the instance leads here, and its ip is not known ({words}"[:60],
        words,
        "ECS_ENABLE_CONTAINER_METADATA=true), or set IP",
    )
    assert words in outcome.said.steps[EC2]
    assert "took port 32769" in outcome.said.steps[ECS]
    # version 1 is not asked instead
    assert all(one.method == "PUT" or TOKEN in one.headers for one in outcome.imds_requests)
    assert len(outcome.imds_requests) <= 8


def test_ec2_is_not_asked_at_all_where_that_is_not_wanted(slow: dict[str, Outcome]) -> None:
    assert slow["turned off"].imds_requests == []
    assert slow["turned off"].said.steps[EC2] == "not asked: AWS_EC2_METADATA_DISABLED is set"


def test_ec2_may_take_half_a_second(slow: dict[str, Outcome]) -> None:
    assert slow["slow"].said.address == "10.0.3.17:32769"


def test_in_the_hosts_network_ec2_is_not_needed(slow: dict[str, Outcome]) -> None:
    """Our own address is the instance's there, so the guess is right."""
    outcome = slow["hop1 in the host's network"]

    assert outcome.said.address == "127.0.0.1:8080"
    assert "HttpPutResponseHopLimit" in outcome.said.steps[EC2]


def test_the_port_of_the_file_is_not_believed_while_the_agent_is_silent(
    slow: dict[str, Outcome],
) -> None:
    """It is that of the first start, and does not say whether there was another one."""
    outcome = slow["silent agent, file ready"]

    assert (outcome.said.code, outcome.said.address) == (69, "")
    assert "/task: no answer within 1 s" in outcome.said.err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("file missing", "cannot be read (No such file or directory)"),
        ("file half", "is no metadata file of ECS: the value is no JSON document"),
    ],
)
def test_ec2_makes_up_for_a_file_that_cannot_be_read(
    slow: dict[str, Outcome], name: str, words: str
) -> None:
    outcome = slow[name]

    assert outcome.said.address == "10.0.3.17:32769"
    assert f"(ip: {EC2}; port: {ECS})" in outcome.said.out
    assert words in outcome.said.steps[FILE]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("file alone, initial", "file.json is not READY"),
        ("file alone, missing", "file.json cannot be read (No such file or directory)"),
        ("file alone, garbage", "file.json is no metadata file of ECS: the value is no JSON"),
        ("file alone, another port", "which port of the host leads to port 9999"),
    ],
)
def test_a_file_that_does_not_say_it_is_told_and_nothing_is_guessed(
    slow: dict[str, Outcome], name: str, words: str
) -> None:
    slow[name].check_unknown(words)


def test_a_task_of_an_agent_that_is_too_old_is_not_guessed() -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "REGISTRY_URL": "http://127.0.0.1:2379",
        "PORT": "8080",
        "ECS_CONTAINER_METADATA_URI": "http://169.254.170.2/v3/an-id",
    }

    said = run_once(["where"], environ)

    assert said.returncode == 69
    assert "its agent is older than 1.39" in said.stderr
