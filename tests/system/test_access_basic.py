"""Included: BASIC_AUTH and ALLOW_CLIENTS, for the page alone and for branches as well.

Real nginx and etcd. What a stranger gets never tells whether a branch exists.
"""

import base64
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.etcd_server import EtcdServer, wait_until
from tests.system.frontend import Answer, Frontend, exchange
from tests.system.origin import Origin, refusing

pytestmark = pytest.mark.system

CLAIM = '{"version":1,"created":"2026-11-21T09:00:00Z","labels":["stopped-web","stopped"]}'


def login(name: str, password: str) -> dict[str, str]:
    told = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {told}"}


ANNA = login("anna", "open sesame")


def htpasswd(name: str, password: str) -> str:
    """A line as ``htpasswd`` writes it, by openssl."""
    command = ["openssl", "passwd", "-apr1", password]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return f"{name}:{done.stdout.strip()}\n"


@pytest.fixture(scope="module", name="passwords")
def _passwords(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("passwords") / "htpasswd"
    path.write_text(htpasswd("anna", "open sesame"))
    return path


@pytest.fixture(scope="module", name="page")
def _page(start_frontend: Callable[..., Frontend], passwords: Path) -> Frontend:
    """A frontend of which the page is closed, and branches are open."""
    return start_frontend(BASIC_AUTH=str(passwords), RELOAD_PAUSE="0")


@pytest.fixture(scope="module", name="closed")
def _closed(start_frontend: Callable[..., Frontend], passwords: Path) -> Iterator[Frontend]:
    """A frontend of which everything is closed, with a branch for each kind of trouble."""
    frontend = start_frontend(BASIC_AUTH=str(passwords), PROTECT="all", RELOAD_PAUSE="0")
    with Origin("mine") as mine, refusing() as nobody:
        frontend.put("mine", "web", mine.address)
        frontend.put("refusing", "web", nobody)
        frontend.write("claims/stopped/web", CLAIM)
        yield frontend


HOSTS = {"mine": 200, "unknown": 404, "stopped": 503, "refusing": 502}


@pytest.mark.parametrize("path", ["/", "/api/v1/branches", "/events", "/nothing", "/index.html"])
@pytest.mark.parametrize("who", [{}, login("anna", "wrong"), login("bob", "open sesame")])
def test_a_stranger_sees_no_list(page: Frontend, path: str, who: dict[str, str]) -> None:
    with Origin() as origin:
        page.put("feature/told-nobody", "web", origin.address)

        answer = page.ask("localhost", path, headers=who)

    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="localhost"'
    assert b"told-nobody" not in answer.body
    assert '<p class="status">401</p>' in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_who_has_the_password_sees_it(page: Frontend) -> None:
    with Origin() as origin:
        page.put("feature/shown", "web", origin.address)

        answer = page.ask("localhost", headers={**ANNA, "Accept": "application/json"})

    assert answer.status == 200
    assert "feature/shown" in answer.text


def test_a_program_is_told_in_json(page: Frontend) -> None:
    answer = page.ask("localhost", headers={"Accept": "application/json"})

    problem = answer.json()
    assert (answer.status, problem["status"]) == (401, 401)
    assert problem["request_id"] == answer.headers["x-request-id"]


def test_branches_stay_open_where_only_the_page_is_closed(page: Frontend) -> None:
    with Origin("open") as origin:
        page.put("open", "web", origin.address)

        answer = page.ask("open.localhost", headers=login("their", "own"))

    assert (answer.status, answer.text) == (200, "open")
    # it is the service's own
    assert origin.seen[-1].values("Authorization") == [login("their", "own")["Authorization"]]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("host", ["localhost", "10.1.2.3", "elsewhere.example"])
def test_a_load_balancer_needs_no_password(closed: Frontend, host: str, path: str) -> None:
    assert closed.ask(host, path).status in ({200} if path == "/healthz" else {200, 503})


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
def test_a_stranger_does_not_learn_whether_a_branch_exists(closed: Frontend, method: str) -> None:
    answers: dict[str, Answer] = {
        name: closed.ask(f"{name}.localhost", method=method) for name in HOSTS
    }

    seen = {
        name: (answer.status, {*answer.headers}, answer.body.replace(name.encode(), b"NAME"))
        for name, answer in answers.items()
    }
    told = [(status, headers) for status, headers, _ in seen.values()]
    assert told == [told[0]] * len(told)
    assert told[0][0] == 401
    # but for its own name, and the request's id
    lengths = {len(body) for _, _, body in seen.values()}
    assert len(lengths) == 1
    for answer in answers.values():
        assert "x-served-by" not in answer.headers


@pytest.mark.parametrize(("name", "status"), HOSTS.items())
def test_who_has_the_password_gets_what_there_is(closed: Frontend, name: str, status: int) -> None:
    assert closed.ask(f"{name}.localhost", headers=ANNA).status == status


@pytest.mark.parametrize(
    "headers",
    [
        {"Upgrade": "websocket", "Connection": "upgrade"},
        {"Accept": "text/event-stream"},
        {"CDN-Loop": ", ".join(["branchfront"] * 6)},
    ],
)
def test_streams_are_closed_as_well(closed: Frontend, headers: dict[str, str]) -> None:
    assert closed.ask("mine.localhost", "/socket", headers=headers).status == 401


def test_our_password_reaches_no_service(closed: Frontend) -> None:
    with Origin("seen") as origin:
        closed.put("seen", "web", origin.address)
        for headers in ({}, {"Accept": "text/event-stream"}):
            assert closed.ask("seen.localhost", headers={**ANNA, **headers}).status == 200

        assert [one.values("Authorization") for one in origin.seen] == [[], []]


def test_a_late_request_needs_the_password_once(closed: Frontend) -> None:
    """Its worker is retiring; the new one asks, and the old one does not."""
    with Origin("old") as old, Origin("new") as new:
        closed.put("late", "web", old.address)
        host = closed.named("late.localhost")
        closed.wait_until_settled()
        with closed.connect() as known, closed.connect() as stranger:
            assert exchange(known, host, headers=ANNA).text == "old"
            assert exchange(stranger, host, headers=ANNA).text == "old"

            closed.put("late", "web", new.address)

            answer = exchange(known, host, headers=ANNA)
            refused = exchange(stranger, host)

    assert (answer.text, answer.headers["connection"]) == ("new", "close")
    assert refused.status == 401
    assert refused.headers["www-authenticate"] == 'Basic realm="localhost"'
    assert not any("401" in str(line["instance_status"]) for line in closed.access_log())


def test_a_password_that_is_changed_counts_at_once(
    start_frontend: Callable[..., Frontend], tmp_path: Path
) -> None:
    path = tmp_path / "htpasswd"
    path.write_text(htpasswd("anna", "open sesame"))
    frontend = start_frontend(BASIC_AUTH=str(path))
    workers = frontend.workers()
    assert frontend.ask("localhost", headers=ANNA).status == 200

    path.write_text(htpasswd("bob", "another"))

    assert frontend.ask("localhost", headers=ANNA).status == 401
    assert frontend.ask("localhost", headers=login("bob", "another")).status == 200
    assert frontend.workers() == workers


def test_only_named_clients_are_let_in(start_frontend: Callable[..., Frontend]) -> None:
    frontend = start_frontend(
        ALLOW_CLIENTS="10.1.0.0/16,fd00::/8", PROTECT="all", TRUSTED_PROXIES="127.0.0.0/8"
    )
    with Origin("mine") as mine:
        # its own check of a start comes from 127.0.0.1, and would be refused
        frontend.put("mine", "web", mine.address)
        statuses = {
            (host, ip): frontend.ask(host, headers={"X-Forwarded-For": ip}).status
            for host in ("localhost", "mine.localhost", "unknown.localhost")
            for ip in ("10.1.2.3", "fd00::5", "10.2.0.1", "203.0.113.9")
        }
        refused = frontend.ask("mine.localhost", headers={"Accept": "application/json"})

    allowed = {("localhost", 200), ("mine.localhost", 200), ("unknown.localhost", 404)}
    assert {(host, statuses[host, "10.1.2.3"]) for host, _ in statuses} == allowed
    assert {(host, statuses[host, "fd00::5"]) for host, _ in statuses} == allowed
    assert {statuses[key] for key in statuses if key[1] in {"10.2.0.1", "203.0.113.9"}} == {403}
    assert refused.status == refused.json()["status"] == 403
    assert "branch" not in json.dumps(refused.json()["branch"]) or not refused.json()["branch"]


def test_robots_are_kept_out(closed: Frontend) -> None:
    answer = closed.ask("localhost", "/robots.txt", headers=ANNA)

    assert answer.text == "User-agent: *\nDisallow: /\n"


def test_each_request_of_a_connection_is_judged(closed: Frontend) -> None:
    closed.wait_until_settled()
    with closed.connect() as link:
        host = closed.named("mine.localhost")
        assert exchange(link, host, headers=ANNA).status == 200
        assert exchange(link, host).status == 401


def test_what_lies_on_disk_from_before_it_was_closed_lets_nobody_in(
    tmp_path: Path, passwords: Path
) -> None:
    """With etcd away at the start there is nothing but what lies on disk."""
    with (
        EtcdServer(tmp_path / "etcd") as etcd,
        Frontend(tmp_path, etcd=etcd) as frontend,
        Origin("mine") as mine,
    ):
        frontend.put("mine", "web", mine.address)
        frontend.stop()
        frontend.settings |= {"BASIC_AUTH": str(passwords), "PROTECT": "all"}

        etcd.freeze()
        try:
            frontend.start(wait=False)
            wait_until(lambda: "lets in others than it should" in frontend.log.read_text())
            with pytest.raises(ConnectionRefusedError):
                frontend.ask("mine.localhost")
        finally:
            etcd.thaw()

        wait_until(lambda: is_answered(frontend))
        assert frontend.ask("mine.localhost").status == 401
        assert frontend.ask("mine.localhost", headers=ANNA).status == 200


def is_answered(frontend: Frontend) -> bool:
    try:
        return frontend.ask("mine.localhost").status != 404
    except OSError:
        # nginx starts
        return False
