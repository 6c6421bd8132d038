"""The pages of our own: the right status for every method, and words for whoever meets them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from html.parser import HTMLParser
from typing import Any

import pytest
from markupsafe import escape

from tests.etcd_server import wait_until
from tests.system.frontend import Answer, Frontend, exchange
from tests.system.origin import Forwarder, Origin, refusing

pytestmark = pytest.mark.system

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

HOSTS = {
    404: "unknown.localhost",
    405: "localhost",
    502: "refusing.localhost",
    503: "stopped.localhost",
    504: "slow.localhost",
    508: "loop.localhost",
}

CLAIM = '{"version":1,"created":"2026-11-21T09:00:00Z","labels":["stopped-web","stopped"]}'


class Links(HTMLParser):
    """The targets of all links in a page, and the names of all its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.elements: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.targets += [value or "" for name, value in attrs if name == "href"]


@pytest.fixture(scope="module", name="troubled")
def _troubled(start_frontend: Callable[..., Frontend]) -> Iterator[Frontend]:
    """A frontend with one service for each kind of trouble."""
    # a second is the least that can be set
    frontend = start_frontend(READ_TIMEOUT="1")
    with ExitStack() as running:
        slow = running.enter_context(Origin("slow"))
        loop = running.enter_context(Forwarder(frontend.port))
        frontend.put("slow", "web", slow.address)
        frontend.put("loop", "web", loop.address)
        frontend.put("refusing", "web", running.enter_context(refusing()))
        frontend.write("claims/stopped/web", CLAIM)
        yield frontend


def trouble(frontend: Frontend, status: int, *, method: str = "GET", accept: str = "") -> Answer:
    """Ask for a page by its status."""
    path = "/wait" if status == 504 else "/"
    body = b"some body" if method in {"POST", "PUT", "PATCH"} else None
    headers = {"Accept": accept} if accept else {}
    return frontend.ask(HOSTS[status], path, method=method, headers=headers, body=body)


CASES = [
    (status, method)
    for status in HOSTS
    for method in METHODS
    # the list of branches answers these; a second each is enough for two slow ones
    if not (status == 405 and method in {"GET", "HEAD"})
    if not (status == 504 and method not in {"GET", "POST"})
]


@pytest.mark.parametrize(("status", "method"), CASES)
def test_a_page_has_the_right_status_for_every_method(
    troubled: Frontend, status: int, method: str
) -> None:
    answer = trouble(troubled, status, method=method)

    assert answer.status == status
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-robots-tag"] == "noindex"
    if method == "HEAD":
        assert answer.body == b""
    else:
        assert f'<p class="status">{status}</p>' in answer.text
        # in a circle the page was made on the last time round
        assert status == 508 or answer.headers["x-request-id"] in answer.text
        assert f"{troubled.url}/" in Links(answer.text).targets


@pytest.mark.parametrize("status", HOSTS)
def test_a_program_gets_a_problem_document(troubled: Frontend, status: int) -> None:
    """RFC 9457."""
    method = "POST" if status == 405 else "GET"

    answer = trouble(troubled, status, method=method, accept="application/json, */*;q=0.1")

    assert answer.status == status
    assert answer.headers["content-type"].startswith("application/problem+json")
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["host"] == HOSTS[status]
    assert status == 508 or problem["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/json", "application/problem+json"),
        ("application/problem+json", "application/problem+json"),
        ("application/vnd.api+json", "application/problem+json"),
        ("text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8", "text/html"),
        ("*/*", "text/html"),
        ("image/avif", "text/html"),
    ],
)
def test_json_is_for_those_who_ask_for_it(troubled: Frontend, accept: str, kind: str) -> None:
    answer = trouble(troubled, 404, accept=accept)

    assert answer.headers["content-type"].split(";")[0] == kind
    assert answer.headers["vary"] == "Accept"


def test_a_refused_method_is_told_which_there_are(troubled: Frontend) -> None:
    assert trouble(troubled, 405, method="DELETE").headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("status", [404, 405, 502, 503])
def test_an_upload_gets_its_page_at_once_and_leaves_no_copy_on_disk(
    troubled: Frontend, status: int
) -> None:
    """Else anybody could fill the disk with what nobody wants."""
    whole = 1_000_000_000

    with troubled.connect() as link:
        link.putrequest("POST", "/", skip_host=True)
        link.putheader("Host", troubled.named(HOSTS[status]))
        link.putheader("Content-Length", str(whole))
        link.endheaders(b"x" * 1_000_000)
        response = link.getresponse()
        kept = troubled.disk_bytes()

        assert response.status == status
        # the rest of the body would be read as the next request
        assert response.getheader("Connection") == "close"
        assert response.read().startswith(b"<!doctype html>")
    assert kept < 100_000


def test_a_page_names_the_branch_and_service_that_are_in_trouble(troubled: Frontend) -> None:
    branch = 'fix/<b>&"quoted"'
    with refusing() as nobody:
        troubled.put(branch, "web", nobody)

        host = "fix-b-quoted.localhost"
        page = troubled.ask(host).text
        problem = troubled.ask(host, headers={"Accept": "application/json"}).json()

    assert f">{escape(branch)}<" in page
    assert "b" not in Links(page).elements
    assert problem["branch"] == branch
    assert problem["service"] == "web"
    assert problem["host"] == host


@pytest.mark.parametrize(
    "host", ["<script>alert(1)</script>.localhost", '"onload="x.localhost', "é.localhost", "a'b"]
)
def test_a_host_with_markup_in_it_stands_in_no_page(troubled: Frontend, host: str) -> None:
    with troubled.connect() as link:
        page = exchange(link, host.encode().decode("latin-1")).body
    with troubled.connect() as link:
        headers = {"Accept": "application/json"}
        problem = exchange(link, host.encode().decode("latin-1"), headers=headers)

    assert b"script" not in page
    assert b"onload" not in page
    if problem.status == 404:
        assert problem.json()["host"] == ""


@pytest.mark.parametrize("status", [404, 405, 500, 502, 503, 504, 508])
def test_what_a_service_answers_itself_is_left_alone(troubled: Frontend, status: int) -> None:
    with Origin("own") as own:
        troubled.put("own", "web", own.address)

        answer = troubled.ask("own.localhost", f"/status/{status}")

    assert (answer.status, answer.text) == (status, f"the service's own {status}")
    assert answer.headers["x-served-by"] == own.address


def wait_until_listed(frontend: Frontend, branch: str, *services: str) -> dict[str, Any]:
    """Wait until the dashboard tells of a branch with these services; gives them by their names.

    It hears of a change when nginx serves it, so its list may be a moment late.
    """
    found: dict[str, Any] = {}

    def is_listed() -> bool:
        answer = frontend.ask("localhost", headers={"Accept": "application/json"})
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("application/json")
        for one in answer.json()["branches"]:
            if one["branch"] == branch:
                found.update({service["service"]: service for service in one["services"]})
        return found.keys() == set(services) and all("status" in one for one in found.values())

    wait_until(is_listed)
    return found


def test_the_bare_domain_lists_the_branches_with_links(frontend: Frontend) -> None:
    with Origin() as origin:
        frontend.put("listed/<i>one", "web", origin.address)
        frontend.put("listed/<i>one", "api", origin.address)

        services = wait_until_listed(frontend, "listed/<i>one", "api", "web")
        page = frontend.ask("localhost").text

    assert "listed/&lt;i&gt;one" in page
    assert "i" not in Links(page).elements
    for label in ("listed-i-one", "listed-i-one-api"):
        assert f"http://{label}.localhost:{frontend.port}/" in Links(page).targets
    assert services["web"]["url"] == f"http://listed-i-one.localhost:{frontend.port}"
    assert [one["address"] for one in services["api"]["instances"]] == [origin.address]


def test_the_list_shows_what_is_not_running(troubled: Frontend) -> None:
    services = wait_until_listed(troubled, "stopped", "web")

    assert services["web"]["status"] == "not running"
    assert "not running" in troubled.ask("localhost").text


def test_an_unknown_path_of_the_bare_domain_is_a_404_with_our_page(troubled: Frontend) -> None:
    for path in ("/nothing", "/index.html", "/index.json", "/404.html", "/../conf.d/main.conf"):
        answer = troubled.ask("localhost", path)
        assert answer.status in {400, 404}
        assert "worker_processes" not in answer.text


def test_a_service_that_stops_is_a_503_and_one_that_comes_back_is_served(
    frontend: Frontend,
) -> None:
    claim = CLAIM.replace("stopped", "restarted")
    frontend.write("claims/restarted/web", claim)
    with Origin("back") as origin:
        statuses = []
        for _ in range(2):
            frontend.put("restarted", "web", origin.address)
            statuses.append(frontend.ask("restarted.localhost").status)
            frontend.remove("restarted", "web")
            statuses.append(frontend.ask("restarted.localhost").status)

    assert statuses == [200, 503, 200, 503]
