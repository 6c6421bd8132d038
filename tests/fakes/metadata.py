"""EC2's instance metadata (IMDSv2) and ECS's task metadata v4, together on one port of loopback.

Each test has a server of its own and changes what it says through the object: there is no control
URL. The two services decide and touch no socket; ``MetadataServer`` listens and remembers.

Sources: the EC2 user guide (how IMDSv2 works, responses and errors, hop limit, Spot notices,
rebalance recommendations); the ECS developer guide (task metadata endpoint version 4, container
metadata file); amazon-ecs-agent 1.105 (``ecs-agent/tmds``: paths, 404, 500, 429, their words);
amazon-ec2-metadata-mock (token, range of its TTL); botocore, which asks for a leaf with a slash
behind it. ``tests/contract/test_metadata_fake.py`` holds it to botocore's own clients. AWS does
not say what it answers to a throttled request or to a PUT through a proxy: 503 and 403 here.

The documents in ``aws-samples`` have invented ids and the fields that AWS lists; nobody has
recorded them from AWS. The role's credentials and the stats are invented as well.
"""

import json
import math
import secrets
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import unquote, urlsplit

SAMPLES = Path(__file__).parent / "aws-samples"

TTL = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "x-aws-ec2-metadata-token"
TTLS_S = range(1, 21601)
"""How long a token may be wanted for: up to six hours."""

BRIDGE = "tmds-v4-task-bridge-ec2.json"
NOT_READY = "tmds-v4-task-bridge-ec2-not-ready.json"
ROLE = "branches-instance"
SPOT = "spot/instance-action"
REBALANCE = "events/recommendations/rebalance"

TRICKLE_S = 0.05
"""Between two bytes of an answer that never ends: far below any time-out for one read."""

_META_DATA = "/latest/meta-data/"
_IDENTITY = "/latest/dynamic/instance-identity/document"
_TASKS = "/v4/"
_JSON = "application/json"
_LIMITED = b"You have reached maximum request limit."
_NO_TASK = "unable to get task arn from request: unable to get task Arn from v3 endpoint ID"
_NO_CONTAINER = (
    "unable to get container ID from request: unable to get docker ID from v3 endpoint ID"
)
_UNKNOWN_ID = {
    "": f"V4 container metadata handler: {_NO_CONTAINER}",
    "/task": f"V4 task metadata handler: {_NO_TASK}",
    "/taskWithTags": f"V4 task metadata handler: {_NO_TASK}",
    "/stats": f"V4 container stats handler: {_NO_TASK}",
    "/task/stats": f"V4 task stats handler: {_NO_TASK}",
}

GARBAGE = {
    "nothing": b"",
    "a page": b"<html><body>502 Bad Gateway</body></html>",
    "bytes that are no text": b'{"Containers": "\xff\xfe"}',
    "half a document": b'{"TaskARN": "arn:aws:ecs:eu-west-1:1111',
    "nested too deep": b"[" * 200_000,
    "null": b"null",
    "a string": b'"throttled"',
    "a list": b"[]",
    "an empty object": b"{}",
    "containers that are null": b'{"Containers": null}',
    "containers that are an object": b'{"Containers": {"Name": "web"}}',
    "containers that are none": b'{"Containers": ["web", null, 1, []]}',
    "a name that is a list": b'{"Containers": [{"Name": ["web"], "Type": "NORMAL"}]}',
    "ports that are text": b'{"Containers": [{"Name": "web", "Type": "NORMAL", "Ports": "80"}]}',
    "ports that are none": b'{"Containers": [{"Name": "web", "Ports": [null, 80, "80/tcp"]}]}',
    "a network that is text": b'{"Containers": [{"Name": "web", "Networks": "bridge"}]}',
    "addresses that are none": (
        b'{"Containers": [{"Name": "web", "Networks":'
        b' [{"NetworkMode": "awsvpc", "IPv4Addresses": [null, 7, "10.0.3.300"]}]}]}'
    ),
}
"""Answers with status 200 that are no document, or one of a wrong shape."""


def sample(name: str) -> Any:
    """A sample document, new at every call: a test may change it."""
    return json.loads((SAMPLES / name).read_text())


def metadata_file(status: Literal["initial", "ready"]) -> Path:
    """What ``ECS_CONTAINER_METADATA_FILE`` names, as first written or as written once more."""
    return SAMPLES / f"ecs-container-metadata-file-{status}.json"


def many_megabytes(document: Mapping[str, Any], *, count: int = 32) -> bytes:
    """The document, with so much white space before it. It is right, and nobody should read it."""
    return b" " * (count << 20) + json.dumps(document).encode()


class Answer(NamedTuple):
    """What is sent back.

    Attributes:
        status: 0 for an answer that never comes.
        is_endless: A byte now and then follows instead of the body.
    """

    status: int
    body: bytes = b""
    content_type: str = "text/plain"
    headers: Mapping[str, str] = {}
    is_endless: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and what it got.

    Attributes:
        path: As it stood in the request line.
        headers: By name in lower case.
        at: When it came, by ``time.monotonic``.
        status: 0 where no answer was sent.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    at: float
    status: int


@dataclass
class TokenBucket:
    """The agent's limit, ``ECS_TASK_METADATA_RPS_LIMIT``: so many a second, so many at once.

    The documentation has it for all traffic together, so there is one bucket here. The agent's
    library (tollbooth) keeps one for each address and path, which is never stricter.
    """

    rate: float = 40.0
    burst: float = 60.0
    _left: float = field(default=math.inf, init=False)
    _seen_at: float = field(default=0.0, init=False)

    def take(self, now: float) -> bool:
        """Take one; false if there is none."""
        self._left = min(self.burst, self._left + (now - self._seen_at) * self.rate)
        self._seen_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _container(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    containers: dict[str, dict[str, Any]] = {one["Name"]: one for one in document["Containers"]}
    if name not in containers:
        raise KeyError(f"no container {name!r} in the task: it has {', '.join(containers)}")
    return containers[name]


def _leaves() -> dict[str, str]:
    paths: dict[str, str] = sample("imds-meta-data-paths.json")
    credentials = {
        "Code": "Success",
        "LastUpdated": "2026-11-21T07:00:00Z",
        "Type": "AWS-HMAC",
        "AccessKeyId": "ASIAINVENTED00000000",
        "SecretAccessKey": "an invented key",
        "Token": "an invented token",
        "Expiration": "2126-11-21T07:00:00Z",  # far off: botocore moves what is near
    }
    leaves = {path: value for path, value in paths.items() if not path.startswith("_")}
    return leaves | {f"iam/security-credentials/{ROLE}": json.dumps(credentials)}


def _tags() -> dict[str, Any]:
    tagged = sample("tmds-v4-taskWithTags-bridge-ec2.json")
    return {name: tagged[name] for name in ("TaskTags", "ContainerInstanceTags")}


def _stats(container: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": container["DockerId"],
        "name": f"/{container['DockerName']}",
        "read": "2026-11-21T07:31:00.000000001Z",
        "cpu_stats": {"cpu_usage": {"total_usage": 360968065}, "online_cpus": 2},
        "memory_stats": {"usage": 6504448, "limit": 536870912},
    }


def _document(status: int, content: Any) -> Answer:
    return Answer(status, json.dumps(content).encode(), _JSON)


def _page(status: int) -> Answer:
    """An error of the instance metadata: a short page that nobody should read."""
    title = f"{status} - {HTTPStatus(status).phrase}"
    page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return Answer(status, page.encode(), "text/html")


def _zulu(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class InstanceMetadata:
    """What EC2 says of the instance.

    Attributes:
        clock: What tokens end by.
        imds_mode: ``disabled`` refuses everything; ``hop1`` sends no answer to a PUT, as to a
            container behind a bridge where the hop limit is 1.
        imds_tokens: ``optional`` answers without a token, too: IMDSv1.
        imds_throttled: So many requests to come get 503.
        imds_delay_s: Before each answer.
        leaves: What stands below ``/latest/meta-data/``, by path; what is not in here is 404.
    """

    clock: Callable[[], float] = time.monotonic
    imds_mode: Literal["normal", "disabled", "hop1"] = "normal"
    imds_tokens: Literal["required", "optional"] = "required"
    imds_throttled: int = 0
    imds_delay_s: float = 0.0
    leaves: dict[str, str] = field(default_factory=_leaves)
    _tokens: dict[str, float] = field(default_factory=dict, init=False)

    def expire_tokens(self) -> None:
        """Let every token that was given be of no use."""
        self._tokens.clear()

    def announce_spot(
        self,
        action: Literal["terminate", "stop", "hibernate"] = "terminate",
        *,
        at: datetime | None = None,
    ) -> None:
        """Let EC2 take the instance back at that time, or at the sample's."""
        notice = sample(f"imds-spot-instance-action-{action}.json")
        self.leaves[SPOT] = json.dumps(notice | ({"time": _zulu(at)} if at else {}))

    def recommend_rebalance(self, *, at: datetime | None = None) -> None:
        """Let EC2 have said at that time, or at the sample's, that it may take it back."""
        notice = sample("imds-rebalance-recommendation.json")
        self.leaves[REBALANCE] = json.dumps(notice | ({"noticeTime": _zulu(at)} if at else {}))

    def answer_imds(self, method: str, target: str, headers: Mapping[str, str]) -> Answer:
        """What a request gets; headers are by name in lower case."""
        path = unquote(urlsplit(target).path)
        if self.imds_mode == "disabled":
            return _page(403)
        if self.imds_throttled:
            self.imds_throttled -= 1
            return _page(503)
        if method == "PUT":
            return Answer(0) if self.imds_mode == "hop1" else self._give_token(path, headers)
        if method not in {"GET", "HEAD"}:
            return _page(405)
        return self._read(path) if self._is_allowed(headers.get(TOKEN)) else _page(401)

    def _is_allowed(self, token: str | None) -> bool:
        if token is None:
            return self.imds_tokens == "optional"
        return self.clock() < self._tokens.get(token, -math.inf)

    def _give_token(self, path: str, headers: Mapping[str, str]) -> Answer:
        if "x-forwarded-for" in headers:
            return _page(403)
        if path != "/latest/api/token":
            # refused below a version's date; what else may be PUT, AWS does not say: nothing here
            return _page(403 if path.endswith("/api/token") else 405)
        wanted = headers.get(TTL, "")
        if not (wanted.isascii() and wanted.isdigit() and int(wanted) in TTLS_S):
            return _page(400)
        token = secrets.token_urlsafe(42)
        self._tokens[token] = self.clock() + int(wanted)
        return Answer(200, token.encode(), headers={"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": wanted})

    def _read(self, path: str) -> Answer:
        if path == _IDENTITY:
            return Answer(200, (SAMPLES / "imds-instance-identity-document.json").read_bytes())
        name = path.removeprefix(_META_DATA)
        if not path.startswith(_META_DATA):
            return _page(404)
        if (value := self.leaves.get(name.removesuffix("/"))) is not None:
            return Answer(200, value.encode())
        below = [leaf.removeprefix(name) for leaf in self.leaves if leaf.startswith(name)]
        if not below or not path.endswith("/"):
            return _page(404)
        entries = {"".join(leaf.partition("/")[:2]) for leaf in below}
        return Answer(200, "\n".join(sorted(entries)).encode())


@dataclass
class TaskMetadata:
    """What the ECS agent says of the task.

    Attributes:
        clock: What the rate limit goes by.
        task_mode: ``broken`` fails inside; ``silent`` takes requests and never answers;
            ``trickling`` never stops answering.
        task_limited: So many requests to come get 429.
        task_rate_limit: Answers 429 by the agent's rule; none unless given.
        task_delay_s: Before each answer.
        task_garbage: Sent in place of every document; see ``GARBAGE``.
        task_id: The opaque part of the URL.
        task_document: What ``/task`` says. ``own_document`` is a part of it.
        own_name: The container that asks.
        tags: What ``/taskWithTags`` says besides.
        ports_after: So many requests to come see ``unready_document`` in place of the task's.
    """

    clock: Callable[[], float] = time.monotonic
    task_mode: Literal["normal", "broken", "silent", "trickling"] = "normal"
    task_limited: int = 0
    task_rate_limit: TokenBucket | None = None
    task_delay_s: float = 0.0
    task_garbage: bytes | None = None
    task_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    task_document: dict[str, Any] = field(default_factory=partial(sample, BRIDGE))
    own_name: str = "web"
    tags: dict[str, Any] = field(default_factory=_tags)
    ports_after: int = 0
    unready_document: dict[str, Any] = field(default_factory=partial(sample, NOT_READY))

    def play(self, task: str, *, own: str = "", own_name: str = "web") -> None:
        """Be another task.

        Args:
            task: The sample of it.
            own: The sample of the container that asks, in place of the task's own words.
            own_name: The container that asks, unless ``own`` says it.
        """
        document = sample(task)
        asking = sample(own) if own else _container(document, own_name)
        place = document["Containers"].index(_container(document, asking["Name"]))
        document["Containers"][place] = asking
        self.task_document, self.own_name = document, asking["Name"]

    @property
    def own_document(self) -> dict[str, Any]:
        """The container that asks, as the task has it."""
        return _container(self.task_document, self.own_name)

    @property
    def desired(self) -> str:
        """Whether the task is to run: ``RUNNING`` or ``STOPPED``; set for its containers, too."""
        return str(self.task_document["DesiredStatus"])

    @desired.setter
    def desired(self, status: str) -> None:
        for one in (self.task_document, *self.task_document["Containers"]):
            one["DesiredStatus"] = status

    def set_health(self, name: str, status: str) -> None:
        """Let a container's health check come to ``HEALTHY``, ``UNHEALTHY`` or ``UNKNOWN``."""
        health: dict[str, Any] = {"status": status, "statusSince": _zulu(datetime.now(UTC))}
        # an exit code of 0 is left out
        failed = {"exitCode": 1} if status == "UNHEALTHY" else {}
        _container(self.task_document, name)["Health"] = health | failed

    def answer_task(self, target: str) -> Answer:
        """What a request gets, whatever its method."""
        path = unquote(urlsplit(target).path)
        task_id, slash, below = path.removeprefix(_TASKS).partition("/")
        what = slash + below
        if self.task_mode == "silent":
            return Answer(0)
        if self._is_limited():
            return Answer(429, _LIMITED, "text/plain; charset=utf-8")
        if what not in _UNKNOWN_ID:
            return Answer(404, b"404 page not found\n")
        if task_id != self.task_id:
            return _document(404, f"{_UNKNOWN_ID[what]}: {task_id}")
        return self._answer(what)

    def _answer(self, what: str) -> Answer:
        if self.task_mode == "broken":
            return _document(500, self._failure(what))
        if self.task_mode == "trickling":
            return Answer(200, content_type=_JSON, is_endless=True)
        if self.task_garbage is not None:
            return Answer(200, self.task_garbage, _JSON)
        return _document(200, self._say(what))

    def _is_limited(self) -> bool:
        if self.task_limited:
            self.task_limited -= 1
            return True
        return self.task_rate_limit is not None and not self.task_rate_limit.take(self.clock())

    def _failure(self, what: str) -> str:
        container, task = self.own_document["DockerId"], self.task_document["TaskARN"]
        return {
            "": f"unable to generate metadata for container '{container}'",
            "/stats": f"Unable to get container stats for: {container}",
            "/task/stats": f"Unable to get task stats for: {task}",
        }.get(what, f"Unable to generate metadata for v4 task: '{task}'")

    def _say(self, what: str) -> Any:
        if what == "/stats":
            return _stats(self.own_document)
        if what == "/task/stats":
            return {one["DockerId"]: _stats(one) for one in self.task_document["Containers"]}
        document = self.task_document
        if self.ports_after:
            self.ports_after -= 1
            document = self.unready_document
        if what == "":
            return _container(document, self.own_name)
        return document | (self.tags if what == "/taskWithTags" else {})


class MetadataServer(InstanceMetadata, TaskMetadata):
    """Both on loopback, until the end of the context.

    Attributes:
        url: Of the instance metadata.
        task_url: Of the container that asks, as its environment has it.
    """

    def __init__(self) -> None:
        InstanceMetadata.__init__(self)
        TaskMetadata.__init__(self)
        self.ended = threading.Event()
        self._came = threading.Condition()
        self._requests: list[Asked] = []
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.hang_up()

    @property
    def task_url(self) -> str:
        return f"{self.url}/v4/{self.task_id}"

    @property
    def task_environ(self) -> dict[str, str]:
        """What the agent gives to a container."""
        return {"ECS_CONTAINER_METADATA_URI_V4": self.task_url}

    @property
    def imds_environ(self) -> dict[str, str]:
        """What leads AWS's own clients, and ours, here."""
        return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.url}

    @property
    def environ(self) -> dict[str, str]:
        """Both."""
        return self.task_environ | self.imds_environ

    @property
    def requests(self) -> list[Asked]:
        """Every request so far, in the order of arrival."""
        with self._came:
            return list(self._requests)

    @property
    def task_requests(self) -> list[Asked]:
        """Those to the task metadata."""
        return [one for one in self.requests if one.path.startswith(_TASKS)]

    @property
    def imds_requests(self) -> list[Asked]:
        """Those to the instance metadata."""
        return [one for one in self.requests if not one.path.startswith(_TASKS)]

    def wait_for(self, claim: Callable[[list[Asked]], object], *, within_s: float = 10.0) -> None:
        """Wait until the claim is true of all requests so far; asked at once and at each request.

        Raises:
            TimeoutError: It was not, in time.
        """
        with self._came:
            if not self._came.wait_for(lambda: claim(list(self._requests)), within_s):
                seen = [f"{one.method} {one.path} {one.status}" for one in self._requests]
                raise TimeoutError(f"not so within {within_s:g} s, after {seen}")

    def meet(self, method: str, target: str, headers: Mapping[str, str]) -> Answer:
        """Answer a request that came, and remember it: before anybody can see the answer."""
        # one at a time, so that requests are remembered in the order in which they were answered
        with self._came:
            at = time.monotonic()
            is_task = target.startswith(_TASKS)
            answer = (
                self.answer_task(target) if is_task else self.answer_imds(method, target, headers)
            )
            self._requests.append(Asked(method, target, headers, at, answer.status))
            self._came.notify_all()
            return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, aws: MetadataServer) -> None:
        self.aws = aws
        self._links: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Exchange)

    def process_request(self, request: socket.socket, client_address: Any) -> None:  # type: ignore[override]
        self._links.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        self._links.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        """Let a client go when it likes; a fault of our own fails the test."""
        if not isinstance(sys.exception(), OSError):
            raise  # noqa: PLE0704 - called where it was caught

    def hang_up(self) -> None:
        """End every connection that is still open."""
        for link in list(self._links):
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a body waits 40 ms behind its headers
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""

    def _answer(self) -> None:
        aws = self.server.aws
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = aws.meet(self.command, self.path, headers)
        aws.ended.wait(aws.task_delay_s if self.path.startswith(_TASKS) else aws.imds_delay_s)
        if answer.status == 0:
            self.close_connection = True
            self.rfile.read()  # until the client goes, or the server hangs up
        elif answer.is_endless:
            self._trickle(answer)
        else:
            self._send(answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = do_OPTIONS = _answer  # noqa: N815

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _trickle(self, answer: Answer) -> None:
        self.close_connection = True
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.end_headers()
        while not self.server.aws.ended.wait(TRICKLE_S):
            self.wfile.write(b" ")


@contextmanager
def dropping() -> Iterator[str]:
    """A URL behind which packets are dropped: connections are neither taken nor refused."""
    with socket.socket() as listener, ExitStack() as fillers:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # Linux takes one connection more than it was told to; to who comes then it says nothing
        for _ in range(2):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
