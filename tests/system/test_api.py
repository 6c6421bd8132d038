"""The API of a real frontend: what happens in the registry and at nginx is what it tells."""

import gzip
import http.client
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Self

import pytest

from regenerator.dashboard.web.streams import STREAMS_MAX
from registry.keys import RouteKey, encode
from tests.etcd_server import wait_until
from tests.system.frontend import Answer, Frontend
from tests.system.origin import Origin
from tests.unit.test_documents import check

pytestmark = pytest.mark.system

HOSTILE = '<script>alert("1")</script>/é日本'

WAITING = 64
"""Answers that nginx asks for at a time, by routes.conf."""

SLOW_S = 60.0
"""For a dashboard that has been stopped, on a machine that many share."""

READ_S = 20.0
"""A stream says something after 15 s of silence at the latest."""


class Following:
    """A client of an event stream, which is told and never asks again by itself.

    Attributes:
        last: The id of the last event, or of the last heartbeat.
    """

    def __init__(self, frontend: Frontend, path: str, *, last: str = "") -> None:
        self.last = last
        self._link = frontend.connect(within_s=READ_S)
        self._link.connect()
        headers = {"Host": frontend.named("localhost"), "Accept": "text/event-stream"}
        if last:
            headers["Last-Event-ID"] = last
        self._link.request("GET", path, headers=headers)
        self.response = self._link.getresponse()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._link.close()

    def events(self, *, within_s: float = READ_S) -> Iterator[tuple[str, Any]]:
        """Every event until the stream ends, which has to be in time."""
        name, data = "", ""
        ends_at = time.monotonic() + within_s
        for raw in self.response:
            assert time.monotonic() < ends_at, "the stream goes on"
            field, _, value = raw.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                data = value
            elif field == "id":
                self.last = value
            elif not field and name:
                yield name, json.loads(data)
                name = data = ""

    def until(self, is_it: Callable[[str, Any], bool]) -> Any:
        """What the first event says that is it."""
        for name, found in self.events():
            if is_it(name, found):
                return found
        raise AssertionError("the stream has ended before")


def names(found: Any) -> list[str]:
    """The branches that have changed."""
    return [one["branch"] for one in found["changed"]]


def tells_of(branch: str) -> Callable[[str, Any], bool]:
    """The event that tells of a branch."""
    return lambda name, found: name == "branches" and branch in names(found)


def ask(frontend: Frontend, path: str, **headers: str) -> Answer:
    """Ask the API."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return frontend.ask("localhost", f"/api/v1/{path}", headers=sent)


def service_of(frontend: Frontend, branch: str) -> Any:
    """The one service of a branch; None before it is shown."""
    answer = ask(frontend, f"branches/{encode(branch)}")
    return check(answer.body, "Branch")["services"][0] if answer.status == 200 else None


def wait_for(frontend: Frontend, branch: str, **fields: Any) -> Any:
    """A branch's one service as soon as it is shown with these fields."""
    found: list[Any] = []

    def is_so() -> bool:
        found.append(service_of(frontend, branch))
        return bool(found[-1]) and fields.items() <= found[-1].items()

    try:
        wait_until(is_so)
    except TimeoutError as exc:
        raise AssertionError(f"{found[-1]}\n{frontend.story()}") from exc
    return found[-1]


@pytest.fixture(scope="module", name="start_told")
def _start_told(start_frontend: Callable[..., Frontend]) -> Callable[[], Frontend]:
    """Starts frontends; nginx answers a moment before their dashboards do."""

    def start() -> Frontend:
        frontend = start_frontend()
        wait_until(lambda: ask(frontend, "branches").status == 200, within_s=READ_S)
        return frontend

    return start


@pytest.fixture(scope="module", name="told")
def _told(start_told: Callable[[], Frontend]) -> Frontend:
    return start_told()


@pytest.fixture(name="origin")
def _origin() -> Iterator[Origin]:
    with Origin("here") as origin:
        yield origin


def test_a_service_that_registers_is_shown_as_it_is_served(told: Frontend, origin: Origin) -> None:
    told.put(HOSTILE, "web", origin.address)

    service = wait_for(told, HOSTILE, status="serving")

    hosts = service["hosts"]
    routes = {one["host"]: one for one in ask(told, "routes").json()["routes"]}
    for host in hosts:
        assert told.ask(host).status == 200
        assert routes[host]["branch"] == HOSTILE
        assert routes[host]["addresses"] == [str(origin.address)]
    assert service["url"] == f"http://{hosts[-1]}:{told.port}"


def test_what_keeps_a_service_from_being_served_is_said(told: Frontend) -> None:
    lease = told.etcd.grant(600).id
    record = {"address": "127.0.0.1:9999", "state": "starting", "health": "GET / answered 500"}
    told.write("routes/sick/web/one", json.dumps(record), lease=lease)
    told.write("routes/far/web/one", "8.8.8.8:80", lease=lease)
    told.write("routes/broken/web", "nonsense")

    sick = wait_for(told, "sick", status="unhealthy")
    far = wait_for(told, "far", status="rejected")

    assert "GET / answered 500" in sick["reason"]
    assert "8.8.8.8" in far["instances"][0]["reason"]
    left_out = {one["branch"]: one for one in ask(told, "rejections").json()["rejections"]}
    assert left_out["far"]["kind"] == "address"
    assert left_out["broken"]["kind"] == "invalid"
    assert "nonsense" in left_out["broken"]["reason"]


def test_requests_are_counted_for_their_service(told: Frontend, origin: Origin) -> None:
    told.put("counted", "web", origin.address)
    wait_for(told, "counted", requests_per_minute=0, last_request_at=None)

    for _ in range(30):
        assert told.ask("counted.localhost").status == 200

    service = wait_for(told, "counted", requests_per_minute=30, errors_per_minute=0)
    assert service["last_request_at"].startswith("20")


def test_each_frontend_says_how_it_fares(told: Frontend) -> None:
    def is_shown() -> bool:
        found = ask(told, "frontends").json()["frontends"]
        return any(one["this"] and one.get("generation") for one in found)

    wait_until(is_shown)
    found = check(ask(told, "frontends").body, "Frontends")

    (own,) = [one for one in found["frontends"] if one["this"]]
    assert own["id"] == told.id
    assert (own["alive"], own["state"], own["behind_by"]) == (True, "ok", 0)
    assert found["etcd"]["fault"] == ""


def test_what_became_of_a_route_is_told_with_its_time(told: Frontend, origin: Origin) -> None:
    begun_at = time.time()
    told.put("past", "web", origin.address)
    wait_for(told, "past", status="serving")
    told.remove("past", "web")

    def is_gone() -> bool:
        return service_of(told, "past") is None

    wait_until(is_gone)
    changes = check(ask(told, "history?branch=past").body, "Changes")["changes"]
    kinds = [one["kind"] for one in changes]
    assert kinds[0] == "removed"
    assert "ready" in kinds
    assert {one["branch"] for one in changes} == {"past"}

    before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begun_at - 60))
    assert ask(told, f"history?branch=past&before={before}").json() == {"changes": []}


def test_who_has_the_newest_gets_304_through_nginx(told: Frontend) -> None:
    tag = ask(told, "rejections").headers["etag"]

    def is_known() -> bool:
        nonlocal tag
        answer = ask(told, "rejections", If_None_Match=tag)
        tag = answer.headers["etag"]
        return answer.status == 304

    # traffic of other tests makes it new each second for a while
    wait_until(is_known)


@pytest.mark.parametrize("path", ["/", "/api/v1/branches", "/api/v1/openapi.json"])
def test_who_takes_gzip_gets_it_through_nginx(told: Frontend, path: str) -> None:
    # an answer that is short is sent as it is
    told.put("shown/once", "web", *(f"127.0.0.1:{port}" for port in range(9981, 9996)))
    wait_for(told, "shown/once", status="serving")

    answer = told.ask("localhost", path, headers={"Accept-Encoding": "gzip, deflate"})
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert "Accept-Encoding" in answer.headers["vary"]
    assert path.endswith("openapi.json") or b"shown/once" in gzip.decompress(answer.body)
    plain = told.ask("localhost", path)
    assert "content-encoding" not in plain.headers
    assert len(plain.body) > len(answer.body)


def test_what_ends_never_or_is_about_a_branch_is_not_compressed(told: Frontend) -> None:
    packed = {"Accept-Encoding": "gzip"}
    for path in ("/events", "/api/v1/events"):
        with told.connect(within_s=READ_S) as link:
            link.request("GET", path, headers={"Host": told.named("localhost"), **packed})
            stream = link.getresponse()
            assert stream.getheader("Content-Encoding") is None
            assert stream.readline().startswith(b"retry: ")
    page = told.ask("nobody.localhost", headers=packed)
    assert page.status == 404
    assert "content-encoding" not in page.headers
    assert "nobody.localhost" in page.text


def test_the_api_of_the_frontend_is_on_the_bare_domain_alone(
    told: Frontend, origin: Origin
) -> None:
    told.put("own", "web", origin.address)
    wait_for(told, "own", status="serving")

    assert told.ask("own.localhost", "/api/v1/branches").headers["x-served-by"]
    assert told.ask("nobody.localhost", "/api/v1/branches").status == 404
    assert told.ask("127.0.0.1", "/api/v1/branches").status == 404
    assert told.ask("127.0.0.1", "/api/v1/events").status == 404


@pytest.mark.parametrize("path", ["/api/v1/branches", "/api/v1/events", "/events", "/readyz"])
def test_every_answer_has_its_headers_once(told: Frontend, path: str) -> None:
    headers = told.ask("localhost", path, method="HEAD").headers

    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'"
    assert headers["x-robots-tag"] == "noindex"
    assert len(headers["x-request-id"]) == 32


def test_a_program_follows_who_comes_and_goes(told: Frontend, origin: Origin) -> None:
    with Following(told, "/api/v1/events") as client:
        assert client.response.status == 200
        assert client.response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        first = client.until(lambda name, _: name == "board")
        check(json.dumps(first).encode(), "Head")
        assert client.until(lambda name, _: name == "branches")["complete"]
        key = told.keys.raw(RouteKey("followed", "web"))
        told.etcd.write(key, str(origin.address).encode())
        found = client.until(tells_of("followed"))
        check(json.dumps(found).encode(), "ChangedBranches")
        assert not found["complete"]
        last = client.last

    told.remove("followed", "web")
    with Following(told, "/api/v1/events", last=last) as client:
        found = client.until(lambda name, found: name == "branches" and bool(found["gone"]))
        assert found["gone"] == ["followed"]
        assert not found["complete"]


def test_a_reload_ends_streams_and_none_keeps_an_old_worker(
    start_told: Callable[[], Frontend], origin: Origin
) -> None:
    """A stream would keep its worker for as long as its page is open."""
    frontend = start_told()
    with ExitStack() as open_:
        clients = [open_.enter_context(Following(frontend, "/api/v1/events")) for _ in range(20)]
        for client in clients:
            client.until(lambda name, _: name == "branches")
        (old,) = frontend.workers()

        frontend.put("newer", "web", origin.address)

        for client in clients:
            # what has made nginx reload is told before the stream ends
            client.until(tells_of("newer"))
            assert list(client.events()) == []

    def is_gone() -> bool:
        return old not in frontend.workers()

    # and then it is free to go, as after any answer
    wait_until(is_gone)


def test_after_many_reloads_nobody_has_missed_anything(
    start_told: Callable[[], Frontend], origin: Origin
) -> None:
    frontend = start_told()
    known: dict[str, Any] = {}
    last = ""
    for number in range(6):
        with Following(frontend, "/api/v1/events", last=last) as client:
            if number == 0:
                known |= _learnt(client)
            frontend.put(f"b{number}", "web", origin.address)
            if number == 3:
                frontend.remove("b1", "web")
            for name, found in client.events():
                if name == "branches":
                    _learn(known, found)
            last = client.last

    # the first state of the last generation was told before its stream ended
    assert {*known} == {"b0", "b2", "b3", "b4", "b5"}


def test_who_follows_a_dashboard_that_is_killed_is_told_everything_by_the_next(
    start_told: Callable[[], Frontend], origin: Origin
) -> None:
    frontend = start_told()
    frontend.put("kept", "web", origin.address)
    wait_for(frontend, "kept", status="serving")
    with Following(frontend, "/api/v1/events") as client:
        client.until(tells_of("kept"))
        last = client.last
        (first,) = frontend.dashboards()
        os.kill(first, signal.SIGKILL)
        with pytest.raises((http.client.HTTPException, OSError, AssertionError)):
            client.until(lambda *_: False)

    def is_told() -> bool:
        with Following(frontend, "/api/v1/events", last=last) as client:
            if client.response.status != 200:
                check(client.response.read(), "Problem")
                return False
            found = client.until(lambda name, _: name == "branches")
            return bool(found["complete"]) and names(found) == ["kept"]

    wait_until(is_told)


def test_a_browser_is_told_what_has_changed_since_its_page_was_drawn(
    told: Frontend, origin: Origin
) -> None:
    told.put("drawn", "web", origin.address)
    wait_for(told, "drawn", status="serving")
    page = told.ask("localhost")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    with Following(told, "/api/v1/events") as client:
        client.until(lambda name, _: name == "branches")
        since = client.last

    # the id of one stream holds for the other: both name the same board
    with Following(told, f"/events?since={since}") as client:
        key = told.keys.raw(RouteKey("drawn-later", "web"))
        told.etcd.write(key, str(origin.address).encode())
        found = client.until(lambda _, found: "drawn-later" in json.dumps(found))
        assert found
    with Following(told, "/events", last="of-long-ago") as client:
        assert next(client.events()) == ("anew", {})


def test_there_are_only_so_many_streams_and_who_leaves_makes_room(
    start_told: Callable[[], Frontend],
) -> None:
    frontend = start_told()
    with ExitStack() as open_:
        for _ in range(STREAMS_MAX):
            client = open_.enter_context(Following(frontend, "/api/v1/events"))
            assert client.response.status == 200
        refused = frontend.ask("localhost", "/events")
        assert refused.status == 503
        assert int(refused.headers["retry-after"]) > 0
        assert "streams are open" in check(refused.body, "Problem")["detail"]
        assert ask(frontend, "branches").status == 200

    def is_room() -> bool:
        with Following(frontend, "/events") as client:
            return client.response.status == 200

    wait_until(is_room)


def test_only_so_many_wait_for_the_dashboard_and_streams_are_others(
    start_told: Callable[[], Frontend],
) -> None:
    """Of one that is stuck, nginx knows nothing but how many it has asked."""
    frontend = start_told()
    (pid,) = frontend.dashboards()
    host = {"Host": frontend.named("localhost")}
    with ExitStack() as open_:
        links = [
            open_.enter_context(frontend.connect(within_s=SLOW_S)) for _ in range(WAITING + 16)
        ]
        stream = open_.enter_context(frontend.connect(within_s=SLOW_S))
        os.kill(pid, signal.SIGSTOP)
        try:
            for link in links:
                link.request("GET", "/api/v1/branches", headers=host)
            stream.request("GET", "/events", headers=host)
            # what one worker answers at once it has taken in after all of these
            page = frontend.ask("localhost", within_s=SLOW_S)
        finally:
            # its regenerator ends one that is stuck for long
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        answers = [link.getresponse() for link in links]
        refused = [answer for answer in answers if answer.status != 200]
        problems = [(answer, check(answer.read(), "Problem")) for answer in refused]
        followed = stream.getresponse()
        turned_away = followed.read() if followed.status != 200 else b""

    busy = [answer for answer, problem in problems if "busy" in problem["title"]]
    # where they were sent for longer than nginx waits, some have made room
    assert 1 <= len(busy) <= 16
    assert {(one.status, one.headers["Retry-After"]) for one in busy} == {(503, "1")}
    assert {one.headers["Content-Type"] for one in busy} == {
        "application/problem+json; charset=utf-8"
    }
    assert b"busy" not in turned_away
    assert page.status == 200
    assert "without live numbers" in page.text


def _learnt(client: Following) -> dict[str, Any]:
    found = client.until(lambda name, _: name == "branches")
    return {one["branch"]: one for one in found["changed"]}


def _learn(known: dict[str, Any], found: Any) -> None:
    if found["complete"]:
        known.clear()
    for name in found["gone"]:
        known.pop(name, None)
    known |= {one["branch"]: one for one in found["changed"]}
