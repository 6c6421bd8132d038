"""The page of the bare domain, and what of it has changed: pure but for the templates."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regenerator import templates
from regenerator.dashboard.board import (
    NO_TRAFFIC,
    Board,
    BranchView,
    EtcdView,
    FrontendView,
    InstanceView,
    RejectionView,
    ServiceView,
    Status,
    Traffic,
)
from regenerator.dashboard.web.page import (
    LEFT_OUT_MOST,
    Page,
    element_id,
    searched,
    words_of,
)
from regenerator.policy import content_security_policy
from regenerator.render import RenderSettings
from registry.claims import RejectionKind
from registry.records import FrontendRecord

SOURCES = templates.read_sources(Path(__file__).parents[2] / "nginx")
SETTINGS = RenderSettings("dev.test", "http://dev.test:8080", ("127.0.0.1:8080",))
NOW = 1_763_719_200.0
"""2025-11-21T10:00:00Z."""

STATUSES = [*Status]


def make_page() -> Page:
    return Page(SOURCES, SETTINGS)


def service(
    branch: str = "main",
    name: str = "web",
    *,
    status: Status = Status.SERVING,
    reason: str = "",
    traffic: Traffic = NO_TRAFFIC,
    conflicts: tuple[str, ...] = (),
    registered_at: str = "2025-11-21T09:00:00Z",
    instances: int = 1,
) -> ServiceView:
    host = f"{element_id(branch)}-{name}.dev.test"
    views = tuple(
        InstanceView(f"task-{n}", f"10.0.0.{n}:80", status, reason, registered_at, is_leased=True)
        for n in range(1, instances + 1)
    )
    return ServiceView(
        f"{element_id(branch + name)[1:]}",
        branch,
        name,
        (host,),
        f"http://{host}:8080",
        status,
        reason,
        views,
        conflicts,
        traffic,
    )


def board(*branches: BranchView, **fields: object) -> Board:
    empty = Board(
        domain="dev.test",
        url="http://dev.test:8080",
        default_service="web",
        revision=812,
        generation="7dac2604b091",
        at=NOW - 120,
        fault="",
        held=0,
        is_fresh=True,
        branches=branches,
        rejections=(),
        frontends=(),
        etcd=EtcdView(),
    )
    return dataclasses.replace(empty, **fields)  # type: ignore[arg-type]


def branch(name: str = "main", *services: ServiceView) -> BranchView:
    return BranchView(name, services or (service(name),))


class Read(HTMLParser):
    """A page as a browser takes it in: texts by the id around them, all elements, all ids."""

    VOID = frozenset({"meta", "link", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.rows: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == [], "what was opened was closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        if tag == "tbody":
            self.rows.append(found["id"] or "")
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self._open):
            self.text += data


def html_of(shown: Board, *, query: str = "", page: Page | None = None) -> str:
    return (page or make_page()).html(shown, version="v-1", query=query, now=NOW)


def test_what_a_service_does_is_on_the_page() -> None:
    text = Read(
        html_of(
            board(
                branch(
                    "feature/login",
                    service("feature/login", "api", traffic=Traffic(40, 2, NOW - 180)),
                    service(
                        "feature/login",
                        "web",
                        status=Status.UNHEALTHY,
                        reason="it does not pass its health check: GET / answered 500",
                        conflicts=("label login belongs to branch 'login'",),
                        instances=2,
                    ),
                )
            )
        )
    ).text

    for words in (
        "feature/login",
        "1 h ago",
        "3 min ago",
        "40",
        "5 %",
        "unhealthy",
        "2 instances",
        "10.0.0.2:80",
        "task-2",
        "it does not pass its health check: GET / answered 500",
        "Conflict: label login belongs to branch 'login'",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"is_fresh": False}, "The regenerator has not been heard of."),
        ({"fault": "nginx refused it"}, "The newest change is not served: nginx refused it."),
        (
            {"etcd": EtcdView("connection refused", NOW - 180)},
            "etcd does not answer: connection refused. It began 3 min ago.",
        ),
        ({"held": 1}, "The registry has lost 1 instance that still answers."),
        ({"held": 2}, "The registry has lost 2 instances that still answer."),
    ],
)
def test_what_is_wrong_with_the_frontend_is_said_as_an_alarm(
    fields: dict[str, object], words: str
) -> None:
    assert words not in Read(html_of(board(branch()))).text
    html = html_of(board(branch(), **fields))

    assert words in Read(html).text
    assert 'role="alert"' in html


def test_frontends_say_how_far_they_are() -> None:
    record = FrontendRecord(
        revision=809, generation="aa12604b0912", state="holding lost routes", rejected=3, held=2
    )
    views = (
        FrontendView("7f3a91", True, True, 3, record),
        FrontendView("c01d22", False, False, 0, FrontendRecord(revision=812)),
        FrontendView("broken", False, True, 0, None),
    )

    text = Read(html_of(board(frontends=views))).text

    for words in (
        "this one",
        "holding lost routes",
        "behind by 3",
        "aa12604b0912",
        "3 records left out",
        "2 that the registry lost",
        "not alive",
        "up to date",
        "Its record cannot be read.",
    ):
        assert words in text


def test_what_was_left_out_is_listed_and_a_flood_of_it_is_cut() -> None:
    found = tuple(
        RejectionView(f"/k/{n}", "", "", RejectionKind.INVALID, f"reason {n}")
        for n in range(LEFT_OUT_MOST + 5)
    )
    named = RejectionView("/k", "fix/foo", "web", RejectionKind.ADDRESS, "outside the networks")

    text = Read(html_of(board(rejections=(named, *found)))).text

    assert "fix/foo" in text
    assert "outside the networks." in text
    assert f"reason {LEFT_OUT_MOST - 2}." in text
    assert f"reason {LEFT_OUT_MOST - 1}." not in text
    assert "And 6 more" in text


def test_an_empty_registry_says_how_to_register() -> None:
    html = html_of(board())

    assert "http://feature-login.dev.test:8080" in html
    assert '<div id="empty">' in html
    assert '<div id="empty" hidden>' in html_of(board(branch()))


def test_the_policy_allows_the_style_and_the_script_of_the_page() -> None:
    page = make_page()
    html = html_of(board(), page=page)
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)

    assert page.policy == content_security_policy(styles=[style], scripts=[script])
    assert not re.search(r"\sstyle=|\son\w+=", html), "a policy by digests allows no attribute"


names = st.one_of(
    st.text(min_size=1, max_size=20),
    st.sampled_from(["<script>x</script>", '"><b a="', "</tbody>", "{{ 1 }}", "<!--", "&lt;"]),
    st.just('<time datetime="2025-11-21T09:00:00Z"></time>'),
)


@settings(max_examples=25)
@given(name=names, reason=names, other=names)
def test_names_and_reasons_add_no_element(name: str, reason: str, other: str) -> None:
    def made(name: str, reason: str, other: str) -> Board:
        one = service(name, other, status=Status.REJECTED, reason=reason, conflicts=(reason,))
        rejection = RejectionView(name, name, other, RejectionKind.INVALID, reason)
        return board(branch(name, one), rejections=(rejection,), fault=reason)

    hostile = Read(html_of(made(name, reason, other)))
    harmless = Read(html_of(made("a", "b", "c")))

    assert [(tag, [*has]) for tag, has in hostile.elements] == [
        (tag, [*has]) for tag, has in harmless.elements
    ]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["a/login", "b/login", "c"]),
        ("login", ["a/login", "b/login"]),
        ("LOGIN b/", ["b/login"]),
        ("is:gone", ["c"]),
        ("10.0.0.1:80", ["a/login", "b/login"]),
        (f"http://{element_id('b/login')}-web.dev.test:8080/some/path", ["b/login"]),
        ("dev.test", []),
        ("nothing", []),
    ],
)
def test_the_server_finds_what_has_all_the_words(query: str, found: list[str]) -> None:
    shown = board(
        branch("a/login"),
        branch("b/login"),
        branch("c", service("c", status=Status.GONE, instances=0)),
    )

    read = Read(html_of(shown, query=query))

    assert read.rows == [element_id(name) for name in found]
    assert (f"{len(found) or 'None'} of 3" in read.text) == bool(query)


def test_a_state_is_found_by_one_word_and_a_name_by_any_part() -> None:
    view = branch("Feature/ÄB", service("Feature/ÄB", status=Status.UNHEALTHY))

    text = searched(view)
    assert {"is:unhealthy", "feature/äb", "web"} <= set(text.split())
    assert "is:serving" not in text


def test_words_of_a_query_are_names_or_the_labels_of_hosts() -> None:
    query = " Feature https://A-b.dev.test/x 10.0.0.1:80 http://"

    assert words_of(query, domain="dev.test") == ["feature", "a-b", "10.0.0.1:80"]


def test_an_age_is_that_of_now_in_a_row_that_was_rendered_before() -> None:
    page = make_page()
    shown = board(branch())

    assert "1 h ago" in page.html(shown, version="1", now=NOW)
    assert "2 h ago" in page.html(shown, version="1", now=NOW + 3600)


def test_nothing_has_changed_between_a_board_and_itself() -> None:
    shown = board(branch())

    assert make_page().parts(shown, dataclasses.replace(shown), now=NOW) == {}


def test_traffic_alone_is_told_in_a_few_words() -> None:
    quiet = service("main", "web")
    busy = dataclasses.replace(quiet, traffic=Traffic(3, 1, NOW))
    api = service("main", "api")

    parts = make_page().parts(
        board(branch("main", api, quiet)), board(branch("main", api, busy)), now=NOW
    )

    assert parts == {"traffic": {f"r{quiet.id}": ["3", "33 %", "2025-11-21T10:00:00Z"]}}
    back = make_page().parts(
        board(branch("main", api, busy)), board(branch("main", api, quiet)), now=NOW
    )
    assert back == {"traffic": {f"r{quiet.id}": ["", "", ""]}}


def test_a_share_of_errors_is_never_told_as_none() -> None:
    one = dataclasses.replace(service(), traffic=Traffic(10_000, 1, NOW))

    assert "1 %" in Read(html_of(board(branch("main", one)))).text


branch_views = st.builds(
    lambda name, statuses, requests: branch(
        name,
        *(
            service(name, f"s{n}", status=status, traffic=Traffic(requests, 0, NOW))
            for n, status in enumerate(statuses)
        ),
    ),
    st.sampled_from([*"abcdefgh"]),
    st.lists(st.sampled_from(STATUSES), min_size=1, max_size=2),
    st.integers(0, 2),
)
boards = st.builds(
    lambda views, held: board(
        *sorted({one.branch: one for one in views}.values(), key=lambda one: one.branch), held=held
    ),
    st.lists(branch_views, max_size=6),
    st.integers(0, 2),
)


@settings(max_examples=40)
@given(before=boards, after=boards)
def test_who_takes_the_parts_over_has_the_new_page(before: Board, after: Board) -> None:
    """As board.js does it: rows by their ids, each behind the one that it names."""
    page = make_page()
    parts = json.loads(json.dumps(page.parts(before, after, now=NOW)))
    shown = rows_of(html_of(before, page=page))

    for row in parts.get("rows", []):
        if row["id"] in shown:
            shown[row["id"]] = row["html"].strip()
            continue
        order = [*shown]
        at = order.index(row["after"]) + 1 if row["after"] else 0
        order.insert(at, row["id"])
        shown = {id_: shown.get(id_, row["html"].strip()) for id_ in order}
    for gone in parts.get("gone", []):
        del shown[gone]

    wanted = rows_of(html_of(after, page=page))
    assert [*shown] == [*wanted]
    for id_, html in wanted.items():
        counted = parts.get("traffic", {})
        assert shown[id_] == html or any(f'id="{name}"' in html for name in counted)


def rows_of(html: str) -> dict[str, str]:
    """The rows of a page by their ids, in their order."""
    found = re.findall(r'(<tbody[^>]* id="(b\w+)".*?</tbody>)', html, re.DOTALL)
    return {id_: row for row, id_ in found}


def test_pieces_around_the_rows_are_told_when_they_change() -> None:
    before = board(branch())
    after = dataclasses.replace(before, fault="nginx refused it", held=2)

    parts = make_page().parts(before, after, now=NOW)

    assert [*parts] == ["pieces"]
    pieces = parts["pieces"]
    assert isinstance(pieces, dict)
    assert [*pieces] == ["alarms"]
    assert "nginx refused it" in pieces["alarms"]
    # every piece has its element on the page
    ids = {has.get("id") for _, has in Read(html_of(after)).elements}
    assert {"alarms", "counts", "left-out", "frontends"} <= ids
