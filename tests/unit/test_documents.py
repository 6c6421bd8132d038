"""Boards as JSON, and what is found in them: every board fits what openapi.json says of it."""

import importlib.resources
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator, oas31_format_checker

from regenerator.dashboard.board import (
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
from regenerator.dashboard.history.changes import Change, ChangeKind
from regenerator.dashboard.web import documents
from regenerator.dashboard.web.documents import Branches, instant
from regenerator.dashboard.web.finding import branch_part, matching, route_part, routes
from regenerator.dashboard.web.parameters import Parameters, read_parameters
from registry.claims import RejectionKind
from registry.records import FrontendRecord

DESCRIPTION = json.loads(
    importlib.resources.files("regenerator.dashboard.web").joinpath("openapi.json").read_text()
)


def check(document: bytes, name: str) -> Any:
    """Hold a document to its schema; gives it, parsed."""
    found = json.loads(document)
    schema = {"$ref": f"#/components/schemas/{name}", "components": DESCRIPTION["components"]}
    OAS31Validator(schema, format_checker=oas31_format_checker).validate(found)
    return found


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
times = st.just(0.0) | st.floats(1.0, 4e9)
counts = st.integers(0, 2**40)

instances = st.builds(
    InstanceView,
    name=texts,
    address=st.just("10.0.3.17:32768"),
    status=st.sampled_from(Status),
    reason=texts,
    registered_at=st.sampled_from(["", "2026-11-21T09:00:00Z", "2026-11-21T09:00:00.25Z"]),
    is_leased=st.booleans(),
)
services = st.builds(
    ServiceView,
    id=st.just("1f" * 8),
    branch=names,
    service=names,
    hosts=st.lists(names, max_size=2).map(tuple),
    url=texts,
    status=st.sampled_from(Status),
    reason=texts,
    instances=st.lists(instances, max_size=3).map(tuple),
    conflicts=st.lists(texts, max_size=2).map(tuple),
    traffic=st.builds(Traffic, requests=counts, errors=counts, last_at=times),
    gone_at=times,
)


def _branch(name: str, found: list[ServiceView]) -> BranchView:
    return BranchView(name, tuple(replace(one, branch=name) for one in found))


branch_lists = st.dictionaries(names, st.lists(services, min_size=1, max_size=2), max_size=5).map(
    lambda found: tuple(_branch(*one) for one in sorted(found.items()))
)

boards = st.builds(
    Board,
    domain=st.just("dev.test"),
    url=st.just("http://dev.test:8080"),
    default_service=st.just("web"),
    revision=counts,
    generation=st.just("7dac2604b091"),
    at=times,
    fault=texts,
    held=counts,
    is_fresh=st.booleans(),
    branches=branch_lists,
    rejections=st.lists(
        st.builds(
            RejectionView,
            key=texts,
            branch=texts,
            service=texts,
            kind=st.sampled_from(RejectionKind),
            reason=texts,
        ),
        max_size=3,
    ).map(tuple),
    frontends=st.lists(
        st.builds(
            FrontendView,
            id=texts,
            is_this=st.booleans(),
            is_alive=st.booleans(),
            behind_by=counts,
            record=st.none()
            | st.builds(
                FrontendRecord,
                revision=counts,
                rejections=st.just(({"key": "k", "reason": "r"},)),
                state=texts,
            ),
        ),
        max_size=3,
    ).map(tuple),
    etcd=st.builds(EtcdView, fault=texts, since=times),
)

LOGIN = ServiceView(
    id="1f" * 8,
    branch="feature/login",
    service="web",
    hosts=("feature-login-web.dev.test", "feature-login.dev.test"),
    url="http://feature-login.dev.test:8080",
    status=Status.SERVING,
    reason="",
    instances=(
        InstanceView("a-1", "10.0.0.1:80", Status.SERVING, "", "2026-11-21T09:00:00Z", True),
        InstanceView("a-2", "10.0.0.2:80", Status.UNHEALTHY, "it answered 500", "", True),
        InstanceView("a-3", "10.0.0.3:80", Status.HELD, "the registry lost it", "", True),
    ),
    traffic=Traffic(12, 3, 1_795_000_000.25),
)
MAIN = ServiceView(
    id="2f" * 8,
    branch="main",
    service="api",
    hosts=("main-api.dev.test",),
    url="http://main-api.dev.test:8080",
    status=Status.GONE,
    reason="nothing of it runs",
    instances=(),
)
BOARD = Board(
    domain="dev.test",
    url="http://dev.test:8080",
    default_service="web",
    revision=812,
    generation="7dac2604b091",
    at=1_795_000_000.0,
    fault="",
    held=1,
    is_fresh=True,
    branches=(BranchView("feature/login", (LOGIN,)), BranchView("main", (MAIN,))),
    rejections=(),
    frontends=(),
    etcd=EtcdView("", 1_794_000_000.0),
)


def whole(board: Board) -> Any:
    """The document of all branches."""
    part = branch_part(board.branches, after="", limit=0)
    return json.loads(Branches().document(board, part))


@given(boards)
def test_every_board_fits_its_description(board: Board) -> None:
    written = Branches()
    part = branch_part(board.branches, after="", limit=0)
    found = check(written.document(board, part), "Branches")
    assert [one["branch"] for one in found["branches"]] == [one.branch for one in board.branches]

    check(documents.routes_document(board, route_part(routes(board), after="", limit=0)), "Routes")
    check(documents.frontends_document(board), "Frontends")
    check(documents.rejections_document(board), "Rejections")
    check(documents.write(documents.head(board)), "Head")
    for one in board.branches:
        assert check(written.one(one), "Branch") in found["branches"]


@given(st.lists(st.builds(Change, at=st.floats(1.0, 4e9), revision=counts, generation=texts,
    branch=texts, service=texts, instance=texts, address=texts,
    kind=st.sampled_from(ChangeKind), reason=texts)))  # fmt: skip
def test_every_history_fits_its_description(changes: list[Change]) -> None:
    check(documents.history_document(changes), "Changes")


def test_the_description_knows_every_word_of_the_code_and_no_other() -> None:
    schemas = DESCRIPTION["components"]["schemas"]

    assert schemas["Status"]["enum"] == [*Status]
    assert schemas["Rejection"]["properties"]["kind"]["enum"] == [*RejectionKind]
    assert schemas["Change"]["properties"]["kind"]["enum"] == [*ChangeKind]
    assert {*schemas["Frontend"]["properties"]} == {
        "id",
        "this",
        "alive",
        "behind_by",
        *FrontendRecord().fields(),
    }


def test_a_service_is_told_with_all_that_is_known_of_it() -> None:
    service = whole(BOARD)["branches"][0]["services"][0]

    assert service == {
        "service": "web",
        "url": "http://feature-login.dev.test:8080",
        "hosts": ["feature-login-web.dev.test", "feature-login.dev.test"],
        "status": "serving",
        "reason": "",
        "instances": [
            {
                "name": "a-1",
                "address": "10.0.0.1:80",
                "status": "serving",
                "reason": "",
                "registered_at": "2026-11-21T09:00:00Z",
                "leased": True,
            },
            {
                "name": "a-2",
                "address": "10.0.0.2:80",
                "status": "unhealthy",
                "reason": "it answered 500",
                "registered_at": None,
                "leased": True,
            },
            {
                "name": "a-3",
                "address": "10.0.0.3:80",
                "status": "held",
                "reason": "the registry lost it",
                "registered_at": None,
                "leased": True,
            },
        ],
        "conflicts": [],
        "gone_at": None,
        "requests_per_minute": 12,
        "errors_per_minute": 3,
        "last_request_at": "2026-11-18T11:06:40.250Z",
    }


def test_a_time_that_nobody_knows_is_null() -> None:
    assert instant(0.0) is None
    assert instant(1_795_000_000.0) == "2026-11-18T11:06:40.000Z"


def test_a_branch_is_written_once_as_long_as_nothing_of_it_changes() -> None:
    written = Branches()
    first = written.one(BOARD.branches[0])

    assert written.one(BOARD.branches[0]) is first
    busier = replace(LOGIN, traffic=Traffic(13, 3, 1_795_000_001.0))
    assert json.loads(written.one(BranchView("feature/login", (busier,)))) != json.loads(first)


@given(boards, boards)
def test_who_follows_changes_knows_as_much_as_who_asks_for_the_whole(
    before: Board, after: Board
) -> None:
    written = Branches()
    known: dict[str, Any] = {}
    for one, two in ((None, before), (before, after)):
        text = written.changes(one, two)
        if text is None:
            continue
        told = check(text, "ChangedBranches")
        if told["complete"]:
            known.clear()
        for name in told["gone"]:
            del known[name]
        known |= {found["branch"]: found for found in told["changed"]}

    assert [known[name] for name in sorted(known)] == whole(after)["branches"]


def test_nothing_is_told_of_a_board_on_which_no_branch_has_changed() -> None:
    assert Branches().changes(BOARD, replace(BOARD, revision=813)) is None


def test_branches_that_are_gone_are_forgotten() -> None:
    written = Branches()
    empty = replace(BOARD, branches=())
    for number in range(10):
        other = replace(BOARD, branches=(BranchView(f"b{number}", (LOGIN,)),))
        written.changes(empty, other)

    assert len(vars(written)["_written"]) < 5


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["feature/login", "main"]),
        ("LOGIN", ["feature/login"]),
        ("login web", ["feature/login"]),
        ("login api", []),
        ("api", ["main"]),
        ("main-api.dev", ["main"]),
        ("  ", ["feature/login", "main"]),
        ("feature-login.dev.test", ["feature/login"]),
    ],
)
def test_a_search_finds_where_every_word_occurs(query: str, found: list[str]) -> None:
    assert [one.branch for one in matching(BOARD.branches, query)] == found


@given(boards, st.integers(1, 4))
def test_page_after_page_everything_comes_once(board: Board, limit: int) -> None:
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        part = branch_part(board.branches, after=after, limit=limit)
        assert len(part.shown) <= limit
        assert part.count == len(board.branches)
        # nobody is sent for a rest of nothing
        assert part.shown or not board.branches
        seen += [one.branch for one in part.shown]
        after = part.next

    assert seen == [one.branch for one in board.branches]


def test_a_route_leads_to_what_nginx_sends_requests_to_and_nowhere_else() -> None:
    addresses = ("10.0.0.1:80", "10.0.0.3:80")

    assert [tuple(one) for one in routes(BOARD)] == [
        ("feature-login-web.dev.test", "feature/login", "web",
         "http://feature-login-web.dev.test:8080", addresses),
        ("feature-login.dev.test", "feature/login", "web",
         "http://feature-login.dev.test:8080", addresses),
        ("main-api.dev.test", "main", "api", "http://main-api.dev.test:8080", ()),
    ]  # fmt: skip


def read(*given_: tuple[str, str]) -> Parameters:
    return read_parameters(given_, known=("q", "after", "limit", "before"))


def test_what_is_not_said_is_as_if_nothing_was() -> None:
    assert read() == Parameters()
    assert read(("limit", "5"), ("q", "ä")) == Parameters(q="ä", limit=5)
    assert read(("before", "2026-11-18T12:06:40+01:00")).before == 1_795_000_000.0


@pytest.mark.parametrize(
    ("given_", "problems"),
    [
        ([("max", "5")], ["there is no parameter 'max'; there are q, after, limit and before"]),
        ([("limit", "0")], ["limit is '0': expected a number from 1 to 10000"]),
        ([("limit", "10001")], ["limit is '10001': expected"]),
        ([("limit", "٣")], ["expected a number"]),
        ([("limit", "9" * 5000)], ["expected a number"]),
        ([("limit", "-1")], ["expected a number"]),
        ([("q", "x" * 251)], ["at most 250 characters"]),
        ([("q", "x"), ("q", "y")], ["q is given twice"]),
        ([("before", "yesterday")], ["expected a time such as 2026-11-21T14:03:00Z"]),
        ([("before", "2026-11-21T14:03")], ["expected a time with its zone"]),
        ([("limit", "x"), ("before", "y"), ("z", "")], ["limit is", "before is", "'z'"]),
    ],
)
def test_all_that_is_wrong_is_said_at_once(
    given_: Sequence[tuple[str, str]], problems: Sequence[str]
) -> None:
    with pytest.raises(ValueError, match=r"expected|there is no|twice") as raised:
        read(*given_)

    for problem in problems:
        assert problem in str(raised.value)
    assert len(str(raised.value)) < 400
