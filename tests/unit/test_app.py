"""The HTTP of the dashboard, asked without a server: what is answered, with which headers."""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.types import ASGIApp

from regenerator.dashboard.board import Board, BranchView
from regenerator.dashboard.history.changes import Change, ChangeKind
from regenerator.dashboard.reasons.reasons import Answer as Reason
from regenerator.dashboard.web.app import build_app, build_metrics_app, routes, wants_json
from regenerator.dashboard.web.hub import Hub
from tests.asgi import Answer, Asking, SkippingLoop, ask
from tests.unit.test_documents import BOARD, DESCRIPTION, LOGIN, check

HOSTILE = '<script>alert("1")</script>\u2028/"é日本'

EXPIRED = Change(
    1_795_000_000.5,
    811,
    "7dac2604b091",
    "feature/login",
    "web",
    "a-1",
    "10.0.0.1:80",
    ChangeKind.EXPIRED,
    "its lease expired",
)


class History:
    """A history that notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def changes(
        self, branch: str = "", service: str = "", *, limit: int, before_at: float | None
    ) -> Sequence[Change]:
        self.asked.append(
            {"branch": branch, "service": service, "limit": limit, "before_at": before_at}
        )
        return [EXPIRED]


class Desk:
    """A desk with a board on it."""

    def __init__(self) -> None:
        hostile = BranchView(HOSTILE, (replace(LOGIN, branch=HOSTILE),))
        self.board = replace(BOARD, branches=(hostile, *BOARD.branches))
        self.version = 7
        self.history = History()
        self.is_ready = True

    @property
    def generation(self) -> str:
        return self.board.generation

    async def changed(self, version: int, *, within_s: float) -> int:
        for _ in range(int(within_s / 0.05)):
            if self.version > version:
                break
            await asyncio.sleep(0.05)
        return self.version

    def readiness(self) -> tuple[bool, Mapping[str, object]]:
        return self.is_ready, {"ready": self.is_ready}


class Page:
    """A page of one line."""

    policy = "default-src 'none'; style-src 'sha256-x'"

    def __init__(self) -> None:
        self.drawn = 0

    def html(self, board: Board, *, version: str, query: str, now: float) -> str:
        self.drawn += 1
        if query == "bug":
            raise RuntimeError("drawn badly")
        assert now > 1_000_000_000.0
        return f"<p>{len(board.branches)} {version} {query}"

    def parts(self, before: Board, after: Board, *, now: float) -> Mapping[str, object]:
        assert now > 1_000_000_000.0
        if after.fault == "bug":
            raise RuntimeError("parted badly")
        return {"rows": [before.revision, after.revision]} if before.held != after.held else {}


class Reasons:
    """Says what it was asked."""

    def __init__(self) -> None:
        self.fails = False

    async def answer(self, status: int, **about: Any) -> Reason:
        if self.fails:
            raise LookupError("no reason")
        text = json.dumps({"status": status, **about})
        return Reason(text.encode(), "application/problem+json", {"Retry-After": "5"})


class Numbers:
    """Numbers."""

    def text(self) -> bytes:
        return b"branchfront_routes 2.0\n"


class Scene:
    """An app, what stands behind it, and a way to ask it."""

    def __init__(self, run: Callable[[Any], Any], *, page: Page | None = None) -> None:
        self.desk = Desk()
        self.page = page or Page()
        self.reasons = Reasons()
        self.hub = Hub(self.desk)
        self.app = build_app(self.desk, page=self.page, reasons=self.reasons, hub=self.hub)
        self.metrics = build_metrics_app(self.desk, numbers=Numbers())
        self.run = run

    def ask(
        self, path: str, *, method: str = "GET", app: ASGIApp | None = None, **headers: str
    ) -> Answer:
        """Ask, with headers whose names have underscores here."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        found: Answer = self.run(ask(app or self.app, path, method=method, headers=sent))
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["cache-control"] == "no-store"
        assert found.headers["content-security-policy"]
        return found


@pytest.fixture(name="scene")
def _scene() -> Iterator[Scene]:
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:

        async def build() -> Scene:
            return Scene(runner.run)

        yield runner.run(build())


def problem(answer: Answer, status: int) -> str:
    """Check that it is a problem; gives what it says."""
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    found = check(answer.body, "Problem")
    assert found["status"] == status
    return str(found["detail"])


def test_every_route_of_the_api_is_described_and_the_other_way_round(scene: Scene) -> None:
    found = routes(scene.desk, page=scene.page, reasons=scene.reasons, hub=scene.hub)

    ours = {route.path.replace(":path}", "}") for route in found}
    assert ours - {"/", "/events", "/{status:int}.{kind}"} == {*DESCRIPTION["paths"]}
    assert all({*one} == {"get"} for one in DESCRIPTION["paths"].values())


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/api/v1/branches", "Branches"),
        ("/api/v1/branches/main", "Branch"),
        ("/api/v1/routes", "Routes"),
        ("/api/v1/frontends", "Frontends"),
        ("/api/v1/rejections", "Rejections"),
        ("/api/v1/history", "Changes"),
    ],
)
def test_each_document_fits_its_schema_and_a_head_has_the_same_headers(
    scene: Scene, path: str, schema: str
) -> None:
    answer = scene.ask(path)

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.body.endswith(b"}\n")
    check(answer.body, schema)
    assert scene.ask(path, method="HEAD").headers == answer.headers


def test_the_description_is_served_as_it_is(scene: Scene) -> None:
    assert scene.ask("/api/v1/openapi.json").json() == DESCRIPTION


@pytest.mark.parametrize("slash", ["/", "%2F", "%2f"])
def test_a_branch_is_found_by_its_real_name_however_its_slash_is_written(
    scene: Scene, slash: str
) -> None:
    answer = scene.ask(f"/api/v1/branches/feature{slash}login")

    assert answer.json()["branch"] == "feature/login"


def test_a_hostile_name_is_a_name_like_any_other(scene: Scene) -> None:
    answer = scene.ask(f"/api/v1/branches/{quote(HOSTILE, safe='')}")

    assert answer.json()["branch"] == HOSTILE


@pytest.mark.parametrize(
    "name", ["", "feature", "feature/login/", "MAIN", "%FF", "main%00", "main%0A", ".."]
)
def test_another_name_is_no_branch(scene: Scene, name: str) -> None:
    assert "there is no branch" in problem(scene.ask(f"/api/v1/branches/{name}"), 404)


def test_a_branch_that_is_not_there_is_named_in_the_problem(scene: Scene) -> None:
    said = problem(scene.ask("/api/v1/branches/a%1Bb"), 404)

    assert said == "there is no branch 'a\\x1bb': nothing of it is registered"


def test_a_list_is_searched_and_read_part_by_part(scene: Scene) -> None:
    first = scene.ask("/api/v1/branches?limit=1&q=login").json()
    assert (first["count"], len(first["branches"])) == (2, 1)

    second = scene.ask(f"/api/v1/routes?limit=2&after={'feature-login-web.dev.test'}&q=login")
    assert [one["host"] for one in second.json()["routes"]] == ["feature-login.dev.test"] * 2


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api/v1/branches?limit=0", "limit is '0': expected a number from 1 to 10000"),
        ("/api/v1/branches?max=5", "no parameter 'max'; there are q, after and limit"),
        ("/api/v1/branches/main?q=x", "no parameter 'q'; this takes none"),
        ("/api/v1/frontends?x", "no parameter 'x'"),
        ("/api/v1/rejections?x=", "no parameter 'x'"),
        ("/api/v1/history?limit=1001", "limit is '1001': expected a number from 1 to 1000"),
        ("/api/v1/history?after=1", "no parameter 'after'"),
        ("/api/v1/history?before=now", "expected a time such as"),
        ("/api/v1/events?from=1", "no parameter 'from'; there is since"),
        ("/api/v1/openapi.json?x=1", "no parameter 'x'"),
    ],
)
def test_what_is_wrong_with_a_question_is_said(scene: Scene, path: str, said: str) -> None:
    assert said in problem(scene.ask(path), 400)


def test_a_history_is_asked_for_what_was_asked(scene: Scene) -> None:
    scene.ask("/api/v1/history")
    answer = scene.ask(
        "/api/v1/history?branch=feature/login&service=web&limit=1000&before=2026-11-18T11:06:40Z"
    )

    assert scene.desk.history.asked == [
        {"branch": "", "service": "", "limit": 100, "before_at": None},
        {"branch": "feature/login", "service": "web", "limit": 1000, "before_at": 1_795_000_000.0},
    ]
    assert answer.json()["changes"][0]["at"] == "2026-11-18T11:06:40.500Z"
    assert answer.json()["changes"][0]["kind"] == "expired"


def test_who_has_the_newest_already_is_not_sent_it_again(scene: Scene) -> None:
    tag = scene.ask("/api/v1/branches").headers["etag"]

    again = scene.ask("/api/v1/branches", If_None_Match=f'"other", {tag}')
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    scene.desk.version += 1
    assert scene.ask("/api/v1/branches", If_None_Match=tag).status == 200


def test_a_dashboard_that_has_started_again_does_not_take_old_tags_for_its_own(
    scene: Scene,
) -> None:
    tag = scene.ask("/api/v1/branches").headers["etag"]
    scene.hub.forget()

    assert scene.ask("/api/v1/branches", If_None_Match=tag).status == 200


def test_a_page_that_was_drawn_by_other_templates_is_fetched_anew(scene: Scene) -> None:
    since = scene.hub.note()
    # as for every template that is saved
    scene.app = build_app(scene.desk, page=scene.page, reasons=scene.reasons, hub=scene.hub)

    body = follow(scene, f"/events?since={since}", 1, show=scene.desk.board)

    assert data(body, "anew") == [{}]


PATHS = [
    "/",
    "/events",
    "/api/v1/branches",
    "/api/v1/branches/main",
    "/api/v1/events",
    "/api/v1/openapi.json",
    "/readyz",
    "/404.html",
]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", PATHS)
def test_nothing_can_be_written(scene: Scene, path: str, method: str) -> None:
    answer = scene.ask(path, method=method)

    assert "GET or HEAD" in problem(answer, 405)
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path",
    ["/api", "/api/v1", "/api/v1/", "/api/v1/branch", "/api/v2/branches", "/api/v1/routes/", "//"],
)
def test_other_paths_are_told_where_there_is_something(scene: Scene, path: str) -> None:
    assert "/api/v1/openapi.json" in problem(scene.ask(path), 404)


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        ("", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("application/json", True),
        ("APPLICATION/JSON", True),
        ("application/json, text/html", False),
        ("application/problem+json", True),
        ("application/jsonp", True),
        ("text/plain", False),
    ],
)
def test_the_bare_domain_is_a_page_or_json_for_who_asks(
    scene: Scene, accept: str, is_json: bool
) -> None:
    answer = scene.ask("/", Accept=accept)

    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    if is_json:
        check(answer.body, "Branches")
    else:
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["content-security-policy"] == Page.policy
        assert answer.body == f"<p>3 {scene.hub.name(7)} ".encode()
    assert wants_json(accept) is is_json


def test_a_search_on_the_page_reaches_it_cut_to_a_length(scene: Scene) -> None:
    answer = scene.ask(f"/?q={'x' * 300}&utm=1")

    assert answer.body.endswith(b" " + b"x" * 250)


def test_a_page_that_many_ask_for_is_drawn_once(scene: Scene) -> None:
    first = scene.ask("/")
    assert scene.ask("/").body == first.body
    assert scene.page.drawn == 1

    scene.ask("/?q=x")
    scene.desk.version += 1
    scene.ask("/?q=x")
    assert scene.page.drawn == 3


@pytest.mark.parametrize(
    "path",
    ["/", "/events", "/api/v1/branches", "/api/v1/events", "/api/v1/history", "/404.json"],
)
def test_before_the_branches_are_known_nobody_is_told_that_there_are_none(
    scene: Scene, path: str
) -> None:
    """nginx shows the pages on disk for a 503."""
    scene.desk.board = replace(scene.desk.board, generation="", branches=())

    answer = scene.ask(path)
    assert "does not know the branches yet" in problem(answer, 503)
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(("kind", "is_json"), [("html", False), ("json", True)])
def test_a_page_of_ours_is_what_the_reasons_say(scene: Scene, kind: str, is_json: bool) -> None:
    answer = scene.ask(
        f"/503.{kind}",
        X_Page_Host="main.dev.test",
        X_Page_Branch="main",
        X_Page_Service="web",
        X_Page_Address="10.0.0.1:80",
        X_Page_Request="6b0f",
        X_Page_Method="POST",
    )

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "5"
    assert answer.json() == {
        "status": 503,
        "is_json": is_json,
        "host": "main.dev.test",
        "branch": "main",
        "service": "web",
        "address": "10.0.0.1:80",
        "request_id": "6b0f",
        "method": "POST",
    }


@pytest.mark.parametrize("path", ["/404.xml", "/x.html", "/-1.html", "/404.html/x"])
def test_other_pages_are_not_there(scene: Scene, path: str) -> None:
    assert problem(scene.ask(path), 404)


@pytest.mark.parametrize("path", ["/404.html", "/404.json"])
def test_a_reason_that_fails_is_a_500_so_that_nginx_shows_what_is_on_disk(
    scene: Scene, path: str
) -> None:
    scene.reasons.fails = True

    assert "no reason" not in problem(scene.ask(path), 500)


def test_a_bug_is_told_without_details_and_logged_once_with_them(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            assert "drawn badly" not in problem(scene.ask("/?q=bug"), 500)

    (line,) = caplog.records
    assert line.name == "dashboard"
    assert line.exc_info
    assert "drawn badly" in str(line.exc_info[1])


def test_a_request_is_named_in_its_problem(scene: Scene) -> None:
    assert scene.ask("/x", X_Request_Id="6b0f").json()["request_id"] == "6b0f"


@pytest.mark.parametrize(("is_ready", "status"), [(True, 200), (False, 503)])
def test_readiness_is_what_the_desk_says(scene: Scene, is_ready: bool, status: int) -> None:
    scene.desk.is_ready = is_ready

    for app in (scene.app, scene.metrics):
        answer = scene.ask("/readyz", app=app)
        assert (answer.status, answer.json()) == (status, {"ready": is_ready})


def test_prometheus_is_given_numbers(scene: Scene) -> None:
    answer = scene.ask("/metrics", app=scene.metrics)

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.body == b"branchfront_routes 2.0\n"
    assert scene.ask("/healthz", app=scene.metrics).body == b"ok\n"
    assert problem(scene.ask("/", app=scene.metrics), 404)


def follow(scene: Scene, path: str, count: int, *, show: Board) -> str:
    """What a stream brings when the board changes once."""

    async def part() -> str:
        client = Asking(scene.app, path)
        await client.until(1)
        scene.desk.version += 1
        scene.desk.board = show
        body = await client.until(count)
        await client.hang_up()
        assert client.answer.headers["cache-control"] == "no-store"
        return body.decode()

    found: str = scene.run(part())
    return found


def data(body: str, event: str) -> list[Any]:
    """What the events of a kind say."""
    blocks = [block.split("\n") for block in body.split("\n\n")]
    return [
        json.loads(block[1].removeprefix("data: "))
        for block in blocks
        if block[0] == f"event: {event}"
    ]


def test_programs_follow_the_frontend_and_its_branches(scene: Scene) -> None:
    busier = BranchView("main", (replace(LOGIN, branch="main"),))
    shown = replace(scene.desk.board, revision=900, branches=(BOARD.branches[0], busier))

    body = follow(scene, "/api/v1/events", 2, show=shown)

    heads, changes = data(body, "board"), data(body, "branches")
    assert [one["revision"] for one in heads] == [812, 900]
    for one in changes:
        check(json.dumps(one).encode(), "ChangedBranches")
    assert changes[0]["complete"]
    assert [one["branch"] for one in changes[0]["changed"]] == [HOSTILE, "feature/login", "main"]
    assert changes[1]["gone"] == [HOSTILE]
    assert [one["branch"] for one in changes[1]["changed"]] == ["main"]


def test_where_only_the_frontend_has_changed_nothing_is_said_of_branches(scene: Scene) -> None:
    body = follow(scene, "/api/v1/events", 2, show=replace(scene.desk.board, held=5))

    assert len(data(body, "board")) == 2
    assert len(data(body, "branches")) == 1


def test_a_browser_is_told_the_parts_that_have_changed(scene: Scene) -> None:
    since = scene.hub.note()

    async def part() -> str:
        client = Asking(scene.app, f"/events?since={since}")
        await client.until(1, b": \n")
        scene.desk.version += 1
        scene.desk.board = replace(scene.desk.board, held=5, revision=813)
        body = await client.until(2)
        await client.hang_up()
        return body.decode()

    body = scene.run(part())
    assert data(body, "parts") == [{"rows": [812, 813]}]
    assert not data(body, "anew")


def test_a_browser_with_an_unknown_page_is_told_to_fetch_it_anew(scene: Scene) -> None:
    body = follow(scene, "/events", 2, show=replace(scene.desk.board, revision=813))

    assert data(body, "anew") == [{}]
    assert not data(body, "parts")
    # nothing that is shown has changed: the client learns only how far it is
    assert f"id: {scene.hub.name(8)}\n" in body


def test_a_bug_in_a_stream_breaks_it_off_and_is_logged(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    since = scene.hub.note()

    async def part() -> Asking:
        client = Asking(scene.app, f"/events?since={since}")
        await client.until(1, b": \n")
        scene.desk.version += 1
        scene.desk.board = replace(scene.desk.board, fault="bug")
        await client.task
        return client

    client = scene.run(part())
    assert not client.answer.is_complete
    assert scene.hub.viewers == 0
    (line,) = caplog.records
    assert "parted badly" in str(line.exc_info and line.exc_info[1])


def test_the_page_about_the_api_names_every_path_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()

    assert re.findall(r"^\| `(/[^`]*)` \|", page, re.MULTILINE) == [*DESCRIPTION["paths"]]


def test_the_page_about_the_api_names_every_parameter() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    components = DESCRIPTION["components"]["parameters"]
    for path, operation in DESCRIPTION["paths"].items():
        given = operation["get"].get("parameters", [])
        found = [components[one["$ref"].split("/")[-1]] if "$ref" in one else one for one in given]
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{path}` |")]
        assert {one["name"] for one in found if one["in"] == "query"} == {
            *re.findall("`([a-z]+)`", row)
        }
