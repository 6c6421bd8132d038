"""A client that was connected before a reload, and asks after it.

Its worker is retiring and knows only the old table. What it is asked goes on to a new worker,
and neither the client nor the service can tell.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from regenerator import processes
from tests.etcd_server import wait_until
from tests.system.frontend import Frontend, Link, exchange
from tests.system.origin import Origin

pytestmark = pytest.mark.system

LIES = {
    "X-Real-IP": "6.6.6.6",
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Request-Id": "mine",
    "Forwarded": "for=6.6.6.6",
}


@pytest.fixture(scope="module", name="frontend")
def _frontend(start_frontend: Callable[..., Frontend]) -> Frontend:
    return start_frontend(RELOAD_PAUSE="0")


@pytest.fixture(name="link")
def _link(frontend: Frontend) -> Iterator[Link]:
    """A client that has asked once, so that some worker of today has its connection."""
    with connected(frontend) as link:
        yield link


@contextmanager
def connected(frontend: Frontend) -> Iterator[Link]:
    """A client of a worker that is not about to retire already, as some are after a reload."""

    def is_one_left() -> bool:
        titles = map(processes.title, frontend.workers())
        return ["shutting down" in title for title in titles].count(False) == 1

    wait_until(is_one_left)
    with frontend.connect() as link:
        assert exchange(link, frontend.named("localhost")).status == 200
        yield link


def test_it_gets_what_is_true_now(frontend: Frontend) -> None:
    with Origin("old") as old, Origin("new") as new:
        frontend.put("moved", "web", old.address)
        host = frontend.named("moved.localhost")
        with connected(frontend) as link:
            assert exchange(link, host).text == "old"

            frontend.put("moved", "web", new.address)
            answer = exchange(link, host, "/a%2Fb?c")

        assert answer.text == "new"
        assert answer.headers["x-served-by"] == new.address
        assert len(old.seen) == 1
        assert new.seen[-1].target == "/a%2Fb?c"
        assert frontend.wait_for_log(path="/a%2Fb?c")["client"] == "127.0.0.1"


def test_nobody_waits_until_its_worker_retires(frontend: Frontend) -> None:
    """For 100 ms after a reload the old workers accept as well."""
    with Origin("first") as first, Origin("second") as second:
        frontend.put("swapped", "web", first.address)
        host = frontend.named("swapped.localhost")
        with connected(frontend) as one, frontend.connect() as other:
            assert exchange(one, host).text == "first"
            frontend.put("swapped", "web", second.address)
            answers = [exchange(link, host).text for link in (one, other)]
        answers += [frontend.ask("swapped.localhost").text for _ in range(20)]

    assert set(answers) == {"second"}


def test_it_is_told_to_connect_anew(frontend: Frontend, link: Link) -> None:
    """A connection that is closed without a word costs the client its next request."""
    with Origin("new") as new:
        frontend.put("again", "web", new.address)
        answer = exchange(link, frontend.named("again.localhost"))

    assert (answer.text, answer.headers["connection"]) == ("new", "close")


def test_long_headers_pass_both_ways(frontend: Frontend, link: Link) -> None:
    with Origin("new") as new:
        frontend.put("long", "web", new.address)

        cookie = {"Cookie": "x" * 15_000}
        answer = exchange(link, frontend.named("long.localhost"), "/large", headers=cookie)

    assert answer.headers["x-large-2"] == "x" * 4000
    assert new.seen[-1].value("Cookie") == cookie["Cookie"]


def test_the_service_learns_who_asks_as_ever(frontend: Frontend, link: Link) -> None:
    with Origin("new") as new:
        frontend.put("asked", "web", new.address)
        answer = exchange(link, "Asked.localhost:77", headers=LIES)

    seen = new.seen[-1]
    assert seen.value("X-Forwarded-For") == "127.0.0.1"
    assert seen.value("X-Forwarded-Proto") == "http"
    assert seen.value("Host") == seen.value("X-Forwarded-Host") == "Asked.localhost:77"
    assert seen.value("X-Request-Id") == answer.headers["x-request-id"] != "mine"
    assert not any(lie in dict(seen.headers).values() for lie in LIES.values())


def test_a_trusted_proxy_is_believed_as_ever(start_frontend: Callable[..., Frontend]) -> None:
    frontend = start_frontend(TRUSTED_PROXIES="127.0.0.0/8", RELOAD_PAUSE="0")
    told = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    with Origin("new") as new, connected(frontend) as link:
        frontend.put("behind", "web", new.address)
        exchange(link, frontend.named("behind.localhost"), headers=told)

    assert new.seen[-1].value("X-Forwarded-For") == "203.0.113.9"
    assert new.seen[-1].value("X-Forwarded-Proto") == "https"


def test_a_stranger_who_plays_a_retiring_worker_is_not_believed(frontend: Frontend) -> None:
    """The hop is a unix socket in a folder of ours; over TCP nobody is taken for it."""
    with Origin("new") as new:
        frontend.put("played", "web", new.address)
        answer = frontend.ask("played.localhost", headers={**LIES, "X-Forwarded-For": "unix:"})

    assert new.seen[-1].value("X-Forwarded-For") == "127.0.0.1"
    assert new.seen[-1].value("X-Request-Id") == answer.headers["x-request-id"] != "mine"


def test_a_body_goes_along(frontend: Frontend, link: Link) -> None:
    with Origin("new") as new:
        frontend.put("posted", "web", new.address)
        host = frontend.named("posted.localhost")
        answer = exchange(link, host, "/upload", method="POST", body=b"x" * 500_000)

    assert answer.json() == {"received": 500_000}
    assert [seen.method for seen in new.seen] == ["POST"]


def test_it_sees_that_a_branch_is_gone(frontend: Frontend) -> None:
    with Origin("old") as old:
        frontend.put("gone", "web", old.address)
        host = frontend.named("gone.localhost")
        with connected(frontend) as link:
            assert exchange(link, host).text == "old"

            frontend.remove("gone", "web")
            answer = exchange(link, host)

    assert answer.status == 404
    assert '<p class="status">404</p>' in answer.text


def test_it_sees_the_list_of_now(frontend: Frontend, link: Link) -> None:
    with Origin("new") as new:
        frontend.put("just-listed", "web", new.address)
        answer = exchange(link, frontend.named("localhost"))

    assert "just-listed" in answer.text


def test_no_client_that_keeps_its_connection_loses_a_request_over_reloads(
    frontend: Frontend,
) -> None:
    """Each client asks at once again, on one connection until it is told to close it."""
    with Origin("busy") as busy:
        frontend.put("busy", "web", busy.address)
        ended = threading.Event()
        statuses: list[int | str] = []

        def ask_until_ended() -> None:
            while not ended.is_set():
                with frontend.connect() as link:
                    answer = None
                    while not ended.is_set() and link.sock is not None:
                        try:
                            answer = exchange(link, frontend.named("busy.localhost"))
                        except Exception as exc:  # noqa: BLE001 - any of them is a lost request
                            statuses.append(repr(exc))
                            return
                        statuses.append(answer.status)

        clients = [threading.Thread(target=ask_until_ended) for _ in range(4)]
        for client in clients:
            client.start()
        try:
            for number in range(8):
                frontend.put(f"other-{number}", "web", busy.address)
        finally:
            ended.set()
            for client in clients:
                client.join(10)

    assert set(statuses) == {200}
    assert len(statuses) > 100
