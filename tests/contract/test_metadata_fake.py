"""The fake of AWS's metadata is taken for the real one by AWS's own client, on its bad days too."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse, RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.exceptions import (  # type: ignore[import-untyped]
    ConnectTimeoutError,
    EndpointConnectionError,
    MetadataRetrievalError,
)
from botocore.httpsession import URLLib3Session  # type: ignore[import-untyped]
from botocore.session import Session  # type: ignore[import-untyped]
from botocore.utils import (  # type: ignore[import-untyped]
    BadIMDSRequestError,
    ContainerMetadataFetcher,
    IMDSFetcher,
    InstanceMetadataFetcher,
    InstanceMetadataRegionFetcher,
)

from tests.etcd_server import wait_until
from tests.fakes.metadata import (
    GARBAGE,
    ROLE,
    SAMPLES,
    TOKEN,
    TTL,
    MetadataServer,
    TokenBucket,
    dropping,
    many_megabytes,
    sample,
)
from tests.system.origin import refusing

pytestmark = pytest.mark.contract

TOKENS = "/latest/api/token"
ADDRESS = "/latest/meta-data/local-ipv4"
ZONE = "/latest/meta-data/placement/availability-zone/"
CREDENTIALS = "/latest/meta-data/iam/security-credentials/"

SHORT_S = 0.1
"""For who waits in vain."""
FAIR_S = 0.5
"""For who waits in vain first, and then has to be answered: that takes a few milliseconds."""


@pytest.fixture(name="aws")
def _aws() -> Iterator[MetadataServer]:
    with MetadataServer() as aws:
        yield aws


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Botocore goes through a proxy where the environment names one."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def fetcher(kind: Any, url: str, *, timeout_s: float = 5.0, **config: Any) -> Any:
    return kind(base_url=url, env={}, timeout=timeout_s, config=config)


def credentials(url: str, **more: Any) -> dict[str, str]:
    found: dict[str, str] = fetcher(
        InstanceMetadataFetcher, url, **more
    ).retrieve_iam_role_credentials()
    return found


def task_fetcher(*, timeout_s: float = 5.0) -> ContainerMetadataFetcher:
    """Three attempts, without the seconds between them."""
    return ContainerMetadataFetcher(URLLib3Session(timeout=timeout_s), sleep=lambda _: None)


def ask(
    aws: MetadataServer, method: str, path: str, headers: Mapping[str, str] | None = None
) -> tuple[HTTPResponse, bytes]:
    with closing(HTTPConnection(urlsplit(aws.url).netloc, timeout=10)) as link:
        link.request(method, path, headers=dict(headers or {}))
        response = link.getresponse()
        return response, response.read()


def trace(aws: MetadataServer) -> list[tuple[str, str, int]]:
    return [(one.method, one.path, one.status) for one in aws.requests]


def test_botocore_gets_a_token_and_uses_it(aws: MetadataServer) -> None:
    found = credentials(aws.url)

    assert (found["role_name"], found["access_key"]) == (ROLE, "ASIAINVENTED00000000")
    assert found["expiry_time"] == "2126-11-21T07:00:00Z"
    assert trace(aws) == [
        ("PUT", TOKENS, 200),
        ("GET", CREDENTIALS, 200),
        ("GET", CREDENTIALS + ROLE, 200),
    ]
    put, *gets = aws.requests
    assert put.headers[TTL] == "21600"
    tokens = {one.headers[TOKEN] for one in gets}
    assert len(tokens) == 1
    assert len(tokens.pop()) > 40
    assert put.at <= gets[0].at <= gets[1].at <= time.monotonic()


def test_botocore_reads_the_region(aws: MetadataServer) -> None:
    assert fetcher(InstanceMetadataRegionFetcher, aws.url).retrieve_region() == "eu-west-1"
    assert trace(aws) == [("PUT", TOKENS, 200), ("GET", ZONE, 200)]


def test_the_environment_leads_a_whole_session_here(
    aws: MetadataServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nobody has told botocore anything but what a process is told by its environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "BOTO_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    for name, value in aws.environ.items():
        monkeypatch.setenv(name, value)

    found = Session().get_credentials()

    assert (found.method, found.token) == ("iam-role", "an invented token")
    assert {one.headers["host"] for one in aws.requests} == {urlsplit(aws.url).netloc}
    assert aws.environ == aws.imds_environ | aws.task_environ
    assert aws.environ["ECS_CONTAINER_METADATA_URI_V4"] == aws.task_url


@pytest.mark.parametrize("ttl", ["0", "21601", "soon", ""])
def test_a_bad_ttl_is_refused_to_botocore(aws: MetadataServer, ttl: str) -> None:
    asking = fetcher(InstanceMetadataFetcher, aws.url)
    asking._TOKEN_TTL = ttl

    with pytest.raises(BadIMDSRequestError):
        asking._fetch_metadata_token()
    assert asking.retrieve_iam_role_credentials() == {}
    assert trace(aws) == [("PUT", TOKENS, 400)] * 2


def test_turned_off_it_refuses_botocore_both_versions(aws: MetadataServer) -> None:
    aws.imds_mode = "disabled"

    assert credentials(aws.url) == {}
    assert trace(aws) == [("PUT", TOKENS, 403), ("GET", CREDENTIALS, 403)]
    with pytest.raises(MetadataRetrievalError, match="IMDSv1 has been disabled"):
        credentials(aws.url, ec2_metadata_v1_disabled=True)


def test_an_instance_without_a_role_has_no_credentials(aws: MetadataServer) -> None:
    del aws.leaves[f"iam/security-credentials/{ROLE}"]

    assert credentials(aws.url) == {}
    assert trace(aws) == [("PUT", TOKENS, 200), ("GET", CREDENTIALS, 404)]


@pytest.mark.parametrize(("tokens", "region"), [("required", None), ("optional", "eu-west-1")])
def test_with_hop_limit_1_botocore_runs_out_of_time_and_falls_back(
    aws: MetadataServer, tokens: Any, region: str | None
) -> None:
    """The token never comes; without it there is an answer where IMDSv1 is still allowed."""
    aws.imds_mode, aws.imds_tokens = "hop1", tokens
    began_at = time.monotonic()

    found = fetcher(InstanceMetadataRegionFetcher, aws.url, timeout_s=FAIR_S).retrieve_region()

    assert found == region
    assert time.monotonic() - began_at >= FAIR_S
    assert trace(aws) == [("PUT", TOKENS, 0), ("GET", ZONE, 200 if region else 401)]
    assert TOKEN not in aws.requests[1].headers


def test_with_hop_limit_1_and_without_version_1_botocore_raises(aws: MetadataServer) -> None:
    aws.imds_mode, aws.imds_tokens = "hop1", "optional"

    with pytest.raises(MetadataRetrievalError, match="IMDSv1 has been disabled"):
        credentials(aws.url, timeout_s=SHORT_S, ec2_metadata_v1_disabled=True)
    assert trace(aws) == [("PUT", TOKENS, 0)]


def test_an_expired_token_is_refused_and_a_new_one_is_not(aws: MetadataServer) -> None:
    asking = fetcher(IMDSFetcher, aws.url)
    token = asking._fetch_metadata_token()

    def read(token: str) -> int:
        """What botocore is told; it takes anything, so that the status can be seen."""
        response = asking._get_request(ADDRESS.lstrip("/"), lambda _: False, token)
        return int(response.status_code)

    assert read(token) == 200
    aws.expire_tokens()
    assert read(token) == 401
    assert read(asking._fetch_metadata_token()) == 200
    assert credentials(aws.url)["role_name"] == ROLE


def test_a_throttled_botocore_comes_through_by_asking_again(aws: MetadataServer) -> None:
    aws.imds_throttled = 2
    asking = InstanceMetadataRegionFetcher(base_url=aws.url, env={}, num_attempts=3)

    assert asking.retrieve_region() == "eu-west-1"
    assert trace(aws) == [("PUT", TOKENS, 503)] * 2 + [("PUT", TOKENS, 200), ("GET", ZONE, 200)]


def test_a_slow_answer_is_right_for_who_waits_and_none_for_who_does_not(
    aws: MetadataServer,
) -> None:
    aws.imds_delay_s = 2 * SHORT_S
    assert fetcher(InstanceMetadataRegionFetcher, aws.url).retrieve_region() == "eu-west-1"

    asking = fetcher(InstanceMetadataRegionFetcher, aws.url, timeout_s=SHORT_S)
    assert asking.retrieve_region() is None


@pytest.mark.parametrize("proxy", ["203.0.113.9", ""])
def test_a_token_is_not_given_through_a_proxy(aws: MetadataServer, proxy: str) -> None:
    refused, _ = ask(aws, "PUT", TOKENS, {TTL: "60", "X-Forwarded-For": proxy})
    given, _ = ask(aws, "PUT", TOKENS, {TTL: "60"})

    assert (refused.status, given.status) == (403, 200)
    assert given.headers["X-Aws-Ec2-Metadata-Token-Ttl-Seconds"] == "60"


def test_a_head_has_no_body_and_other_methods_are_not_allowed(aws: MetadataServer) -> None:
    _, token = ask(aws, "PUT", TOKENS, {TTL: "60"})
    headers = {TOKEN: token.decode()}

    with closing(HTTPConnection(urlsplit(aws.url).netloc, timeout=10)) as link:
        link.request("HEAD", ADDRESS, headers=headers)
        head = link.getresponse()
        assert (head.status, head.headers["Content-Length"], head.read()) == (200, "9", b"")
        # a body would be taken for the start of what comes next
        link.request("GET", ADDRESS, headers=headers)
        assert link.getresponse().read() == b"10.0.3.17"
    for method in ("POST", "DELETE", "PATCH", "OPTIONS"):
        assert ask(aws, method, ADDRESS, headers)[0].status == 405


def test_nobody_listens() -> None:
    with refusing() as address:
        asking = fetcher(IMDSFetcher, f"http://{address}")
        assert asking._fetch_metadata_token() is None
        with pytest.raises(EndpointConnectionError):
            URLLib3Session().send(request_for(f"http://{address}{ADDRESS}"))


def test_packets_are_dropped() -> None:
    """Not refused and not taken: botocore runs out of time while it connects."""
    with dropping() as url:
        for _ in range(3):
            with pytest.raises(ConnectTimeoutError):
                URLLib3Session(timeout=SHORT_S).send(request_for(f"{url}{ADDRESS}"))


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("tmds-v4-task-*.json")))
def test_botocore_reads_the_sample_of_every_task(aws: MetadataServer, name: str) -> None:
    aws.play(name)

    assert task_fetcher().retrieve_full_uri(f"{aws.task_url}/task") == sample(name)
    assert task_fetcher().retrieve_full_uri(aws.task_url) == aws.own_document
    assert aws.own_document in sample(name)["Containers"]
    assert [one.status for one in aws.task_requests] == [200, 200]
    assert aws.imds_requests == []


def test_botocore_reads_the_other_documents(aws: MetadataServer) -> None:
    asking = task_fetcher()

    tagged = asking.retrieve_full_uri(f"{aws.task_url}/taskWithTags")
    assert tagged == sample("tmds-v4-taskWithTags-bridge-ec2.json")
    own = asking.retrieve_full_uri(f"{aws.task_url}/stats")
    assert asking.retrieve_full_uri(f"{aws.task_url}/task/stats")[own["id"]] == own


def test_an_unknown_task_is_told_to_botocore_as_the_agent_says_it(aws: MetadataServer) -> None:
    with pytest.raises(MetadataRetrievalError) as told:
        task_fetcher().retrieve_full_uri(f"{aws.url}/v4/deadbeef")

    body = json.dumps(sample("tmds-v4-error-404-unknown-id.json"))
    assert f"non 200 response 404 from container metadata: {body}" in str(told.value)


def test_an_agent_that_fails_inside_says_so_in_json(aws: MetadataServer) -> None:
    aws.task_mode = "broken"

    with pytest.raises(MetadataRetrievalError, match=r"500 .*: \"Unable to generate metadata"):
        task_fetcher().retrieve_full_uri(f"{aws.task_url}/task")
    assert [one.status for one in aws.requests] == [500] * 3


def test_a_limited_botocore_comes_through_by_asking_again(aws: MetadataServer) -> None:
    aws.task_limited = 2

    assert task_fetcher().retrieve_full_uri(f"{aws.task_url}/task") == aws.task_document
    assert [one.status for one in aws.requests] == [429, 429, 200]


def test_the_agents_limit_lets_a_burst_through_and_little_more(aws: MetadataServer) -> None:
    aws.task_rate_limit = TokenBucket()
    statuses = []
    with closing(HTTPConnection(urlsplit(aws.url).netloc, timeout=10)) as link:
        for _ in range(300):
            link.request("GET", urlsplit(aws.task_url).path)
            response = link.getresponse()
            response.read()
            statuses.append(response.status)

    took_s = aws.requests[-1].at - aws.requests[0].at
    assert statuses[:60] == [200] * 60
    assert set(statuses) == {200, 429}
    assert 60 <= statuses.count(200) <= 61 + 40 * took_s


def test_ports_that_come_late_come(aws: MetadataServer) -> None:
    aws.ports_after = 2
    asking = task_fetcher()

    known = [asking.retrieve_full_uri(aws.task_url).get("Ports", []) for _ in range(3)]

    assert [len(ports) for ports in known] == [0, 0, 2]


def test_an_agent_that_never_answers_is_left_by_botocore(aws: MetadataServer) -> None:
    aws.task_mode = "silent"

    with pytest.raises(MetadataRetrievalError, match="Read timeout"):
        task_fetcher(timeout_s=SHORT_S).retrieve_full_uri(f"{aws.task_url}/task")
    assert [one.status for one in aws.requests] == [0] * 3


@pytest.mark.parametrize("kind", ["nothing", "a page", "half a document"])
def test_garbage_is_refused_by_botocore(aws: MetadataServer, kind: str) -> None:
    aws.task_garbage = GARBAGE[kind]

    with pytest.raises(MetadataRetrievalError, match="Unable to parse JSON"):
        task_fetcher().retrieve_full_uri(f"{aws.task_url}/task")


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_arrives_as_it_is(aws: MetadataServer, kind: str) -> None:
    aws.task_garbage = GARBAGE[kind]

    response, body = ask(aws, "GET", f"{urlsplit(aws.task_url).path}/task")

    assert (response.status, body) == (200, GARBAGE[kind])


def test_many_megabytes_arrive_or_the_client_hangs_up(aws: MetadataServer) -> None:
    """Both at once: one who stops reading holds nobody up."""
    aws.task_garbage = many_megabytes(aws.task_document)
    path = f"{urlsplit(aws.task_url).path}/task"
    with socket.create_connection(("127.0.0.1", urlsplit(aws.url).port or 0)) as deaf:
        deaf.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert json.loads(ask(aws, "GET", path)[1]) == aws.task_document


def test_an_answer_that_trickles_never_ends(aws: MetadataServer) -> None:
    """A time-out for each read is not enough: every read brings something."""
    aws.task_mode = "trickling"
    with closing(HTTPConnection(urlsplit(aws.url).netloc, timeout=10)) as link:
        link.request("GET", f"{urlsplit(aws.task_url).path}/task")
        with link.getresponse() as response:
            assert response.status == 200
            assert response.read(5) == b" " * 5
            assert not response.isclosed()


@pytest.mark.parametrize("mode", ["silent", "trickling", "slow", "hop1", "many megabytes", "idle"])
def test_the_server_ends_at_once_whatever_its_clients_wait_for(mode: str) -> None:
    before = threading.active_count()
    with MetadataServer() as aws:
        path = f"{urlsplit(aws.task_url).path}/task"
        if mode == "slow":
            aws.task_delay_s = 3600
        elif mode == "hop1":
            aws.imds_mode, path = "hop1", TOKENS
        elif mode == "many megabytes":
            aws.task_garbage = many_megabytes(aws.task_document)
        elif mode in {"silent", "trickling"}:
            aws.task_mode = mode  # type: ignore[assignment]
        clients = [socket.create_connection(("127.0.0.1", aws_port(aws))) for _ in range(3)]
        if mode != "idle":
            for client in clients:
                method = "PUT" if mode == "hop1" else "GET"
                client.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            aws.wait_for(lambda asked: len(asked) == 3)
        wait_until(lambda: threading.active_count() == before + 1 + 3)
        began_at = time.monotonic()
    took_s = time.monotonic() - began_at

    wait_until(lambda: threading.active_count() == before)
    for client in clients:
        client.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", aws_port(aws)))
    assert took_s < 5  # at once, on a busy machine: the shortest of these waits is an hour


def test_a_test_can_wait_for_a_request(aws: MetadataServer) -> None:
    asking = threading.Timer(SHORT_S, ask, (aws, "GET", "/later"))
    asking.start()
    began_at = time.monotonic()
    aws.wait_for(lambda asked: any(one.path == "/later" for one in asked), within_s=60)
    assert time.monotonic() - began_at < 30  # not at the end of the time, but when it came
    asking.join(10)

    with pytest.raises(TimeoutError, match=r"not so within 0.01 s, after \['GET /later 401'\]"):
        aws.wait_for(lambda asked: len(asked) > 1, within_s=0.01)


def test_a_fault_of_the_fake_itself_is_not_hidden(
    aws: MetadataServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda told: faults.append(told.exc_type))
    aws.own_name = "nobody"

    with pytest.raises(RemoteDisconnected):
        ask(aws, "GET", urlsplit(aws.task_url).path)
    wait_until(lambda: faults == [KeyError])


def test_no_request_is_lost_where_many_ask_at_once(aws: MetadataServer) -> None:
    aws.task_limited = 30
    path = urlsplit(aws.task_url).path
    threads = [
        threading.Thread(target=lambda: [ask(aws, "GET", path) for _ in range(10)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    statuses = [one.status for one in aws.requests]
    assert statuses == [429] * 30 + [200] * 50
    times = [one.at for one in aws.requests]
    assert times == sorted(times)


def aws_port(aws: MetadataServer) -> int:
    return urlsplit(aws.url).port or 0


def request_for(url: str) -> Any:
    return AWSRequest(method="GET", url=url).prepare()
