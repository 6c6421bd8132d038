"""A host that is not served says why: every case brought about for real, by the installed commands.

nginx has decided the status at once. The dashboard hears of a change a few milliseconds after
nginx serves it, so a reason is waited for; the status has to be right each time.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from registry.keys import RouteKey
from registry.names import short_labels
from registry.records import Address, InstanceRecord, State
from registry.registrations import Registrations
from tests.etcd_server import EtcdServer, wait_until
from tests.registrar_process import Place
from tests.system.frontend import Answer, Frontend
from tests.system.origin import Forwarder, Origin, refusing
from tests.system.service_process import Branch
from tests.system.test_dashboard import STATIC_WITHIN_S

pytestmark = pytest.mark.system

JSON = {"Accept": "application/json"}


@pytest.fixture(scope="module", name="troubled")
def _troubled(start_frontend: Callable[..., Frontend]) -> Frontend:
    # a second is the least that can be set
    return start_frontend(READ_TIMEOUT="1")


@pytest.fixture(name="branch")
def _branch(
    etcd: EtcdServer, troubled: Frontend, request: pytest.FixtureRequest
) -> Callable[[str], Branch]:
    def of(name: str) -> Branch:
        made = Branch(troubled, etcd, name)
        request.addfinalizer(made.place.etcd.close)
        return made

    return of


@pytest.fixture(name="place")
def _place(etcd: EtcdServer, troubled: Frontend) -> Iterator[Place]:
    place = Place(etcd, troubled.keys.prefix)
    yield place
    place.etcd.close()


def explained(
    frontend: Frontend, host: str, status: int, reason: str, *, path: str = "/"
) -> tuple[dict[str, Any], Answer]:
    """The problem document as soon as it has this reason, and the page; the status holds always."""
    found: list[Answer] = []

    def is_told() -> bool:
        found.append(frontend.ask(host, path, headers=JSON))
        assert found[-1].status == status, (found[-1], frontend.story())
        return found[-1].headers.get("x-reason") == reason

    try:
        wait_until(is_told)
    except TimeoutError as exc:
        raise AssertionError(f"{found[-1].text}\n{frontend.story()}") from exc
    problem, page = found[-1], frontend.ask(host, path)
    assert problem.headers["content-type"].startswith("application/problem+json")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for one in (problem, page):
        assert one.status == status
        assert one.headers["x-reason"] == reason
        assert one.headers["cache-control"] == "no-store"
        assert one.headers["vary"] == "Accept"
        assert one.headers["x-robots-tag"] == "noindex"
    document: dict[str, Any] = problem.json()
    assert document["status"] == status
    assert document["request_id"] == problem.headers["x-request-id"]
    assert f'<p class="status">{status}</p>' in page.text
    assert page.headers["x-request-id"] in page.text
    assert f"<h1>{escape(document['title'])}</h1>" in page.text
    return document, page


def wait_for_status(frontend: Frontend, host: str, status: int) -> None:
    wait_until(lambda: frontend.ask(host).status == status)


def age_s(written: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(written)).total_seconds()


def record(address: str, state: State) -> bytes:
    return InstanceRecord(Address.parse(address), state).dump()


def test_a_host_that_nobody_has_had_offers_those_like_it(troubled: Frontend) -> None:
    with Origin() as origin:
        troubled.put("nearly/right", "web", origin.address)
        wait_until(
            lambda: troubled.ask("nearly-rihgt.localhost", headers=JSON).json().get("did_you_mean")
        )

        problem, page = explained(troubled, "nearly-rihgt.localhost", 404, "never-registered")

    url = f"http://nearly-right.localhost:{troubled.port}"
    assert problem["did_you_mean"] == [{"host": "nearly-right.localhost", "url": url}]
    assert f'href="{url}/"' in page.text
    assert "retry-after" not in page.headers


def test_one_that_is_stopped_says_since_when(
    branch: Callable[[str], Branch], troubled: Frontend
) -> None:
    stopped = branch("reason-stopped")
    with stopped.start("one") as registrar:
        stopped.wait_served("one")
        # as its command ends
        assert registrar.stop()[0] == 128 + signal.SIGTERM

    problem, page = explained(troubled, stopped.host, 503, "deregistered")

    assert (problem["branch"], problem["service"]) == ("reason-stopped", "web")
    assert 0 <= age_s(problem["since"]) < 60
    assert "UTC, just now" in page.text
    assert page.headers["retry-after"] == "5"


def test_one_that_was_killed_says_that_its_lease_ran_out(
    branch: Callable[[str], Branch], troubled: Frontend
) -> None:
    killed = branch("reason-killed")
    with killed.start("one", TTL="2") as registrar:
        killed.wait_served("one")
        os.killpg(registrar.pid, signal.SIGKILL)

        # until the lease is gone it is registered, and its port refuses
        explained(troubled, killed.host, 502, "refused")
        wait_for_status(troubled, killed.host, 503)
        problem, _ = explained(troubled, killed.host, 503, "expired")

    assert 0 <= age_s(problem["since"]) < 60
    assert problem["command"] == "regenerator history reason-killed web"


def test_what_a_hand_removed_says_so_and_a_branch_that_is_gone_as_well(
    place: Place, troubled: Frontend
) -> None:
    with Origin() as origin:
        for service in ("web", "api"):
            done = place.ask("add", "by/hand", service, origin.address, "--wait", "10")
            assert done.returncode == 0, done.stderr

        assert place.ask("remove", "by/hand", "api", "--wait", "10").returncode == 0
        explained(troubled, "by-hand-api.localhost", 503, "removed")

        assert place.ask("remove", "by/hand", "--wait", "10").returncode == 0
        for host in ("by-hand.localhost", "by-hand-web.localhost", "by-hand-api.localhost"):
            problem, page = explained(troubled, host, 404, "removed")
            assert problem["branch"] == "by/hand"
            assert 0 <= age_s(problem["since"]) < 60
            assert "UTC, just now" in page.text


def test_one_that_is_ill_says_what_it_answered_until_it_is_well(
    branch: Callable[[str], Branch], troubled: Frontend, tmp_path: Path
) -> None:
    ill = tmp_path / "ill"
    sick = branch("reason-sick")
    with sick.start("one", "--health-path", "/healthz", ill=ill):
        sick.wait_served("one")
        ill.touch()
        wait_for_status(troubled, sick.host, 503)
        problem, page = explained(troubled, sick.host, 503, "unhealthy")
        ill.unlink()
        sick.wait_served("one")

    (address,) = problem["addresses"]
    assert f"GET http://{address}/healthz answered 503" in problem["detail"]
    assert f"GET http://{address}/healthz answered 503" in page.text
    assert 0 <= age_s(problem["since"]) < 60
    assert page.headers["retry-after"] == "5"
    assert 'http-equiv="refresh"' in page.text


@pytest.mark.parametrize(
    ("state", "reason", "retry_after"),
    [(State.STARTING, "starting", "2"), (State.DRAINING, "leaving", "5")],
)
def test_one_that_comes_or_goes_says_so(
    troubled: Frontend, state: State, reason: str, retry_after: str
) -> None:
    label = f"reason-{reason}"
    claim = f'{{"version":1,"created":"","labels":["{label}-web","{label}"]}}'
    troubled.write(f"claims/{label}/web", claim)
    troubled.write(f"routes/{label}/web", record("127.0.0.1:8000", state))

    problem, page = explained(troubled, f"{label}.localhost", 503, reason)

    assert page.headers["retry-after"] == retry_after
    assert problem["addresses"] == ["127.0.0.1:8000"]


def test_a_port_that_refuses_is_told_from_one_that_breaks_off(troubled: Frontend) -> None:
    with refusing() as nobody, Origin() as origin:
        troubled.put("reason-refused", "web", nobody)
        troubled.put("reason-broken", "web", origin.address)

        refused, page = explained(troubled, "reason-refused.localhost", 502, "refused")
        broken, other = explained(
            troubled, "reason-broken.localhost", 502, "broke-off", path="/drop"
        )

    assert f"{nobody} refuses connections" in refused["detail"]
    assert page.headers["retry-after"] == other.headers["retry-after"] == "5"
    assert f"{origin.address} accepts connections now" in broken["detail"]
    # who reads of a crash does not bring about the next one
    assert 'http-equiv="refresh"' in page.text
    assert 'http-equiv="refresh"' not in other.text


def test_whose_connections_nobody_takes_cannot_be_reached(troubled: Frontend) -> None:
    """As with a host that is gone: nginx waits for a second, and says 504."""
    with ExitStack() as links, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        links.enter_context(socket.create_connection(address))
        troubled.put("reason-silent", "web", f"{address[0]}:{address[1]}")

        problem, _ = explained(troubled, "reason-silent.localhost", 504, "unreachable")

    assert f"{address[0]}:{address[1]} does not answer" in problem["detail"]


def test_one_that_is_late_says_which_and_after_how_long(troubled: Frontend) -> None:
    with Origin() as origin:
        troubled.put("reason-slow", "web", origin.address)

        problem, page = explained(troubled, "reason-slow.localhost", 504, "late", path="/wait")

    assert f"{origin.address} took the request, and had not answered after 1 s" in problem["detail"]
    assert page.headers["retry-after"] == "5"


def test_a_circle_is_told(troubled: Frontend) -> None:
    with Forwarder(troubled.port) as loop:
        troubled.put("reason-loop", "web", loop.address)
        wait_until(
            lambda: (
                troubled.ask("reason-loop.localhost", headers=JSON).headers.get("x-reason")
                == "loop"
            )
        )
        answer = troubled.ask("reason-loop.localhost", headers=JSON)

    assert answer.status == 508
    assert answer.json()["addresses"] == [loop.address]


def test_an_address_that_nobody_may_have_is_told_at_the_host_it_would_have(
    troubled: Frontend,
) -> None:
    troubled.write("routes/reason-outside/web", "8.8.8.8:8000")

    problem, _ = explained(troubled, "reason-outside.localhost", 404, "rejected")

    assert "8.8.8.8:8000 is outside the networks of ALLOW_NETWORKS" in problem["detail"]


def test_whose_address_was_given_to_another_says_to_whom(troubled: Frontend) -> None:
    registrations = Registrations(troubled.etcd, keys=troubled.keys)
    with Origin("new") as origin:
        for name in ("reason-former", "reason-newer"):
            lease = troubled.etcd.grant(60).id
            done = registrations.register(
                RouteKey(name, "web", f"{name}-1"),
                InstanceRecord(Address.parse(origin.address), State.READY, ttl_s=60),
                lease=lease,
                default_service="web",
            )
            troubled.wait_for(done.revision)

        problem, _ = explained(troubled, "reason-former.localhost", 503, "rejected")

        assert troubled.ask("reason-newer.localhost").text == "new"
    assert "was registered later by branch 'reason-newer'" in problem["detail"]
    assert [one["status"] for one in problem["instances"]] == ["rejected"]


def test_what_the_brake_holds_says_so_when_it_does_not_answer(
    start_frontend: Callable[..., Frontend],
) -> None:
    frontend = start_frontend()
    registrations = Registrations(frontend.etcd, keys=frontend.keys)
    with ExitStack() as running:
        services = [running.enter_context(Origin(f"s{number}")) for number in range(4)]
        keys = [RouteKey(f"b{number}", "web", "one") for number in range(4)]
        for key, one in zip(keys, services, strict=True):
            lease = frontend.etcd.grant(60).id
            given = InstanceRecord(Address.parse(one.address), State.READY, ttl_s=60)
            done = registrations.register(key, given, lease=lease, default_service="web")
            frontend.wait_for(done.revision)
        lost = [frontend.etcd.delete(frontend.keys.raw(key)) for key in keys]
        frontend.wait_for(lost[-1].revision)
        wait_until(lambda: (found := frontend.record()) is not None and found.held == 4)

        problem, _ = explained(frontend, "b1.localhost", 502, "held", path="/drop")

    assert "The registry has lost it" in problem["detail"]
    assert "regenerator release" in problem["detail"]


@pytest.mark.parametrize("method", ["HEAD", "DELETE"])
def test_a_method_without_a_body_meets_the_same_reason(troubled: Frontend, method: str) -> None:
    explained(troubled, "nobody-at-all.localhost", 404, "never-registered")

    answer = troubled.ask("nobody-at-all.localhost", method=method)

    assert (answer.status, answer.headers["x-reason"]) == (404, "never-registered")
    assert bool(answer.body) == (method != "HEAD")


HOSTILE = "re/<script>alert(1)</script>'\"&--" + "x" * 300


def test_a_hostile_name_is_shown_as_text(troubled: Frontend) -> None:
    with refusing() as nobody:
        troubled.put(HOSTILE, "web", nobody)
        host = f"{short_labels(HOSTILE)[0]}.localhost"

        problem, page = explained(troubled, host, 502, "refused")

    assert problem["branch"] == HOSTILE
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text
    assert "'unsafe-inline'" not in page.headers["content-security-policy"]


@pytest.mark.parametrize("protect", ["page", "all"])
def test_where_the_list_is_for_some_alone_a_page_names_nobody_else_and_no_address(
    start_frontend: Callable[..., Frontend], protect: str
) -> None:
    frontend = start_frontend(ALLOW_CLIENTS="127.0.0.1/32", PROTECT=protect)
    with refusing() as nobody:
        frontend.put("nearly/right", "web", nobody)
        refused, page = explained(frontend, "nearly-right.localhost", 502, "refused")
        unknown, other = explained(frontend, "nearly-rihgt.localhost", 404, "never-registered")

    is_told = protect == "all"
    assert bool(unknown["did_you_mean"]) == is_told
    assert ("nearly-right" in other.text) == is_told
    assert (nobody in refused["detail"]) == is_told
    assert (nobody in page.text) == is_told
    assert bool(refused["addresses"]) == is_told


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_without_a_dashboard_the_page_on_disk_comes_in_time(
    start_frontend: Callable[..., Frontend], number: signal.Signals
) -> None:
    frontend = start_frontend()
    explained(frontend, "nobody.localhost", 404, "never-registered")
    (pid,) = frontend.dashboards()
    assert frontend.process is not None
    # so that it is not started anew before it is asked
    frontend.process.send_signal(signal.SIGSTOP)
    os.kill(pid, number)
    try:
        began_at = time.monotonic()
        page = frontend.ask("nobody.localhost")
        problem = frontend.ask("nobody.localhost", headers=JSON)
        took_s = time.monotonic() - began_at
    finally:
        frontend.process.send_signal(signal.SIGCONT)
        if number == signal.SIGSTOP:
            os.kill(pid, signal.SIGCONT)

    assert (page.status, problem.status) == (404, 404)
    assert "No branch has this host" in page.text
    assert problem.json()["host"] == "nobody.localhost"
    assert "x-reason" not in page.headers
    assert took_s < STATIC_WITHIN_S
    explained(frontend, "nobody.localhost", 404, "never-registered")
