"""Included: the table and the JSON document of ``list``, from entries as anyone may write them."""

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from registrar.hosts import HostBook
from registrar.listing import Listing, Row, build_listing, render_json, render_table
from registry.keys import Keyspace, RouteKey
from registry.snapshot import Entry
from registry.terminal import escaped
from tests.strategies import branches, services

KEYS = Keyspace()
BOOK = HostBook([], [], default_service="web", keys=KEYS)


def entry(key: bytes, value: bytes = b"10.0.0.5:80", *, lease: int = 7) -> Entry:
    return Entry(key, value, 5, 5, lease)


def test_rows_are_in_order_and_hosts_without_a_frontend_are_labels() -> None:
    raws = [KEYS.raw(RouteKey("main", service, "i1")) for service in ("web", "api")]

    listing = build_listing(map(entry, raws), BOOK, keys=KEYS)

    expected = Row("main", "api", "i1", "10.0.0.5:80", ("main-api",), "", "", "ready")
    assert listing.rows[0] == expected
    assert listing.rows[1].hosts == ("main-web", "main")
    assert listing.problems == ()


def test_the_age_is_told_in_the_largest_unit() -> None:
    rows = [
        Row("main", "web", "", "10.0.0.5:80", (), "", f"2026-11-21T{time}Z", "ready")
        for time in ("09:00:00", "08:59:00", "07:00:00.5", "09:30:00")
    ]
    now = 1795251600.0 + 5  # 2026-11-21T09:00:05Z

    ages = [render_table(Listing((row,), ()), now=now).split()[-1] for row in rows]

    assert ages == ["5s", "1m", "2h", "0s"]


def test_a_service_that_gets_no_requests_yet_is_told_from_one_that_does() -> None:
    raw = KEYS.raw(RouteKey("main", "web", "i1"))
    starting = entry(raw)._replace(value=b'{"address":"10.0.0.5:80","state":"starting"}')

    listing = build_listing([starting], BOOK, keys=KEYS)

    assert "starting" in render_table(listing, now=0)


def test_an_empty_registry_is_said_to_be_empty() -> None:
    assert render_table(Listing((), ()), now=0) == "nothing is registered"


def test_a_hand_written_route_of_three_parts_ends_in_an_address() -> None:
    raws = [b"/branchfront/routes/feature/login/web", b"/branchfront/routes/a/b/10.0.0.5%3A80"]

    listing = build_listing((entry(raw, lease=0) for raw in raws), BOOK, keys=KEYS)

    assert len(listing.rows) == 1
    assert "%2F" in listing.problems[0]


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_whatever_was_written_is_a_row_or_a_problem(tail: bytes, value: bytes) -> None:
    listing = build_listing([entry(KEYS.routes + tail, value)], BOOK, keys=KEYS)

    assert len(listing.rows) + len(listing.problems) == 1
    assert all(escaped(problem) == problem for problem in listing.problems)


@given(branches, services)
def test_nothing_that_steers_a_terminal_is_in_the_table(branch: str, service: str) -> None:
    raw = KEYS.raw(RouteKey(branch, service, "i1"))
    listing = build_listing([entry(raw)], BOOK, keys=KEYS)

    table = render_table(listing, now=0)

    assert len(table.split("\n")) == 2
    assert table.replace("\n", "").isprintable()
    assert re.fullmatch(r"[ -~]*", render_json(listing))
    assert json.loads(render_json(listing))[0]["branch"] == branch
