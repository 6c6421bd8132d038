"""Ten thousand requests of an attacker: none reaches anybody but the service that it names.

Which service a request names is worked out a second time, by a reader that knows nothing of nginx.
"""

import os
import re
import shutil
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from regenerator.templates import default_folder
from tests.etcd_server import EtcdServer
from tests.system import hostile_grammar
from tests.system.frontend import Frontend
from tests.system.http_reading import Request, read
from tests.system.recorder import Reached, Recorder

pytestmark = pytest.mark.system

COUNT = 10_000

SEED = int(os.environ.get("HOSTILE_SEED", "1"))
"""The same requests each time; other ones for who looks further."""

CLIENTS = 24
"""So many at once, because some wait for bytes that never come."""

PATIENCE_S = 10.0
"""Who was told the whole of a request answers, or hangs up, in milliseconds; machines are busy."""

UNFINISHED_S = 0.1
"""Who waits for more bytes may wait for a minute; nothing would come of it."""

BRANCHES = ("one", "two", "one-two")

OURS = {
    b"x-forwarded-for": b"127.0.0.1",
    b"x-forwarded-proto": b"http",
}
"""What a service is told of where a request comes from, where that is always the same."""

TELLING = re.compile(
    rb"forwarded|real.ip|client.ip|connecting.ip|^proxy$|original|rewrite|host.override"
    rb"|front.end.https|x.request.id"
)
"""Headers, in lower case, by which services are told where a request comes from."""

STATUSES = frozenset({100, 200, 400, 404, 405, 408, 413, 414, 421, 431, 501, 505, 508})
"""What a hostile request may be answered with: never a fault of a service or of our own."""


@pytest.fixture(scope="module", name="services")
def _services() -> Iterator[dict[str, Recorder]]:
    """A recorder of each branch, by the hosts that lead to it."""
    with ExitStack() as running:
        found: dict[str, Recorder] = {}
        for branch in BRANCHES:
            recorder = running.enter_context(Recorder(branch))
            found |= dict.fromkeys((f"{branch}.localhost", f"{branch}-web.localhost"), recorder)
        yield found


class Siege:
    """Hostile requests sent to a frontend, and what came of each.

    Attributes:
        sent: All that went over each connection.
        answers: All that came back; None where the end of it did not.
        asked: What was asked for, by case; by what it says where it has no headers.
    """

    def __init__(self, frontend: Frontend, services: dict[str, Recorder], *, count: int) -> None:
        self.services = services
        self.recorders = list(dict.fromkeys(services.values()))
        for recorder in self.recorders:
            recorder.reached.clear()
        hosts = [f"{branch}.localhost" for branch in BRANCHES]
        self.sent = hostile_grammar.requests(hosts, count=count, seed=SEED)
        asked = [one for sent in self.sent for one in read(sent).requests]
        self.asked = {_case(one) or _bare(one, one.authority): one for one in asked}
        with ThreadPoolExecutor(CLIENTS) as clients:
            self.answers = list(clients.map(partial(converse, frontend.port), self.sent))

    def reached(self) -> int:
        """How many requests reached a service."""
        return sum(len(one.reached) for one in self.recorders)

    def wrongs(self) -> list[str]:
        """Whatever happened that must not, in words."""
        found = []
        seen: Counter[bytes] = Counter()
        for recorder in self.recorders:
            for one in recorder.reached:
                seen[_case(one)] += 1
                if reason := self._objection(recorder, one):
                    found.append(f"{reason}: {recorder.name} was sent {one.raw!r}")
        found += [
            f"{case!r} came {count} times" for case, count in seen.items() if case and count > 1
        ]
        for sent, answer in zip(self.sent, self.answers, strict=True):
            if reason := _bad_answer(answer):
                found.append(f"{reason}: {sent!r} was answered {answer!r}")
        return found

    def _objection(self, recorder: Recorder, one: Reached) -> str:
        """Why this should not have reached this service; empty if it should."""
        if one.trouble:
            return one.trouble
        asked = self.asked.get(_case(one) or _bare(one, b",".join(one.values(b"Host"))))
        if asked is None:
            return "nobody asked for this"
        if self.services.get(asked.host) is not recorder:
            return f"this is for {asked.host!r}"
        if (one.method, one.target) != (asked.method, asked.target):
            return f"this was {asked.method!r} {asked.target!r}"
        is_same = one.body == asked.body if one.is_whole else asked.body.startswith(one.body)
        if not is_same or (one.is_whole and not asked.is_whole):
            return f"its body was {asked.body!r}"
        return _false_tale(one, asked)


def _case(request: Request | Reached) -> bytes:
    return b",".join(request.values(b"X-Case"))


def _bare(request: Request | Reached, authority: bytes) -> bytes:
    """What there is of a request of HTTP/0.9: it has no headers to tell it by."""
    return b" ".join((request.method, request.target, authority))


def _false_tale(one: Reached, asked: Request) -> str:
    """What the service was told of where the request comes from, if it is not the truth."""
    told = [(name.lower(), value) for name, value in one.headers if TELLING.search(name.lower())]
    expected = OURS | {b"x-forwarded-host": asked.authority}
    identity = dict(told).get(b"x-request-id", b"")
    if not re.fullmatch(rb"[0-9a-f]{32}", identity):
        return f"its id is {identity!r}"
    if sorted(told) != sorted({**expected, b"x-request-id": identity}.items()):
        return "it was told lies"
    if one.values(b"Host") != [asked.authority]:
        return f"its Host was {asked.authority!r}"
    wishes = [wish.lower() for wish in asked.values(b"Upgrade")]
    if one.values(b"Upgrade") != ([b"websocket"] if wishes == [b"websocket"] else []):
        return f"it was asked for {one.values(b'Upgrade')}, of {wishes}"
    return "" if one.values(b"CDN-Loop")[-1].endswith(b"branchfront") else "it shows no loop"


def _bad_answer(answer: bytes | None) -> str:
    if answer is None:
        return "neither answered nor hung up on"
    statuses = set(map(int, re.findall(rb"(?m)^HTTP/1\.1 ([0-9]{3}) ", answer)))
    if not statuses <= STATUSES:
        return f"answered {statuses - STATUSES}"
    # by a service, or by the list of branches
    heads = re.findall(rb"(?s)HTTP/1\.1 200 OK\r\n(.*?)\r\n\r\n", answer)
    is_known = all(
        b"\r\nX-Served-By: 127" in one or b"content-security" in one.lower() for one in heads
    )
    return "" if is_known else "answered by nobody"


def converse(port: int, sent: bytes) -> bytes | None:
    """Send bytes as they are; everything that comes back, None where the end of it does not."""
    is_open = read(sent).is_open
    found = b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as link:
        # who has refused the beginning does not wait for the end
        with suppress(ConnectionError):
            link.sendall(sent)
        link.settimeout(UNFINISHED_S if is_open else PATIENCE_S)
        try:
            while more := link.recv(65536):
                found += more
        except TimeoutError:
            return found if is_open else None
        except ConnectionError:
            pass
    return found


@contextmanager
def defended(
    folder: Path, etcd: EtcdServer, services: dict[str, Recorder], **settings: str
) -> Iterator[Frontend]:
    """A frontend that serves the branches, below a prefix of its own."""
    with Frontend(folder, etcd=etcd, REGISTRY_PREFIX=f"/{folder.name}", **settings) as frontend:
        for recorder in dict.fromkeys(services.values()):
            frontend.put(recorder.name, "web", recorder.address)
        yield frontend


def test_a_hostile_request_reaches_the_service_that_it_names_or_nobody(
    tmp_path: Path, etcd: EtcdServer, services: dict[str, Recorder]
) -> None:
    with defended(tmp_path, etcd, services) as frontend:
        workers = frontend.workers()

        siege = Siege(frontend, services, count=COUNT)

        wrongs = siege.wrongs()
        assert not wrongs, f"{len(wrongs)} with seed {SEED}, such as:\n" + "\n\n".join(wrongs[:5])
        # nobody is defended by serving nobody: every fourth trick is harmless
        assert siege.reached() > COUNT / 4
        # none of them is a new one in the place of one that crashed
        assert set(frontend.workers()) <= set(workers)
        errors = (frontend.state / "logs" / "error.log").read_text(errors="replace")
        assert not re.findall(r".*\[(?:alert|emerg|crit)\].*", errors)
        # each line of it is a document, whatever was asked
        assert len(frontend.access_log()) > COUNT / 2
        # and the regenerator goes on
        frontend.put("behind-the-siege", "web", siege.recorders[0].address)
        assert frontend.ask("behind-the-siege.localhost").text == siege.recorders[0].name


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        pytest.param(
            "templates/routes.conf.j2",
            "map $host $route {",
            "map $http_x_forwarded_host $named {\n    default $http_x_forwarded_host;\n"
            '    "" $host;\n}\nmap $named $route {',
            id="routed by a header",
        ),
        pytest.param(
            "templates/routes.conf.j2",
            "map $host $route {",
            "map $http_host $route {",
            id="routed by Host where a URI names another",
        ),
        pytest.param(
            "forward.conf",
            "proxy_set_header Host $client_host;",
            "proxy_set_header Host $http_host;",
            id="shows another host than it was routed by",
        ),
        pytest.param("forward.conf", 'proxy_set_header Forwarded "";', "", id="passes a header on"),
        pytest.param(
            "nginx.conf",
            "server_tokens off;",
            "server_tokens off; underscores_in_headers on;",
            id="passes an alias of a header on",
        ),
        pytest.param("request.conf", '"^websocket$"', '"."', id="passes any upgrade on"),
        pytest.param(
            "branches.conf",
            "proxy_pass http://$target;",
            "proxy_pass http://$target$uri;",
            id="decodes the path",
        ),
    ],
)
def test_the_siege_finds_a_frontend_that(
    tmp_path: Path,
    etcd: EtcdServer,
    services: dict[str, Recorder],
    name: str,
    right: str,
    wrong: str,
) -> None:
    """The templates are made wrong on purpose, each time in one place."""
    templates = shutil.copytree(default_folder(), tmp_path / "wrong")
    text = (templates / name).read_text()
    assert right in text
    (templates / name).write_text(text.replace(right, wrong))

    with defended(tmp_path, etcd, services, TEMPLATES=str(templates)) as frontend:
        assert Siege(frontend, services, count=COUNT // 20).wrongs()
