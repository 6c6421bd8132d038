"""Included: the table and the JSON document of ``list``, from entries as anyone may write them."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registrar.hosts import HostBook
from registrar.listing import (
    Listing,
    Row,
    build_listing,
    compile_listing,
    draw,
    render_json,
    render_table,
)
from registry.keys import ClaimKey, FrontendKey, Keyspace, RouteKey
from registry.records import FrontendRecord
from registry.snapshot import Entry, Snapshot
from registry.tables import Page
from registry.terminal import escaped
from tests.strategies import branches, services

KEYS = Keyspace()
BOOK = HostBook([], [], default_service="web", keys=KEYS)

PIPE = Page()
TERMINAL = Page(columns=70, lines=24, is_coloured=True)


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

    ages = [render_table(Listing((row,), ()), PIPE, now=now)[1].split()[-1] for row in rows]

    assert ages == ["5s", "1m", "2h", "0s"]


def test_a_service_that_gets_no_requests_yet_is_told_from_one_that_does() -> None:
    raw = KEYS.raw(RouteKey("main", "web", "i1"))
    starting = entry(raw)._replace(value=b'{"address":"10.0.0.5:80","state":"starting"}')

    listing = build_listing([starting], BOOK, keys=KEYS)

    assert "starting" in render_table(listing, PIPE, now=0)[1]


UNHEALTHY = (
    b'{"address":"10.0.0.5:80","state":"starting","health":"GET http://10.0.0.5/ answered 500"}'
)


def test_who_is_not_healthy_is_listed_with_its_last_answer() -> None:
    raw = KEYS.raw(RouteKey("main", "web", "i1"))

    listing = build_listing([entry(raw, UNHEALTHY)], BOOK, keys=KEYS)

    _, line, reason = render_table(listing, PIPE, now=0)
    assert line.split()[4] == "unhealthy"
    assert reason == "    GET http://10.0.0.5/ answered 500"
    [document] = json.loads(render_json(listing))
    assert document["state"] == "starting"
    assert document["health"] == "GET http://10.0.0.5/ answered 500"


@pytest.mark.parametrize("state", ["ready", "draining"])
def test_what_is_not_starting_is_not_called_unhealthy_whatever_was_written(state: str) -> None:
    raw = KEYS.raw(RouteKey("main", "web", "i1"))
    value = UNHEALTHY.replace(b"starting", state.encode())

    listing = build_listing([entry(raw, value)], BOOK, keys=KEYS)

    [_, line] = render_table(listing, PIPE, now=0)
    assert line.split()[4] == state


def snapshots(*rejections: tuple[bytes, str]) -> list[Snapshot]:
    """Two registrations, and a frontend that leaves something out."""
    raws = [KEYS.raw(RouteKey("main", service, "i1")) for service in ("web", "api")]
    left_out = tuple({"key": key.decode(), "reason": reason} for key, reason in rejections)
    record = FrontendRecord(rejections=left_out, domain="dev.test", url="http://dev.test")
    frontend = entry(KEYS.raw(FrontendKey("f1")), record.dump())
    return [
        Snapshot("1", 5, {raw: entry(raw) for raw in raws}),
        Snapshot("1", 5),
        Snapshot("1", 5, {frontend.key: frontend, b"strange": entry(b"strange", b"{")}),
    ]


def test_what_frontends_leave_out_is_said_where_it_is_listed() -> None:
    """Registered and served are two things, and people look here first."""
    raw = KEYS.raw(RouteKey("main", "web", "i1"))

    listing = compile_listing(snapshots((raw, "it is far away")), keys=KEYS, default_service="web")

    table = render_table(listing, PIPE, now=0)
    assert [line.split()[4] for line in table[1:3]] == ["ready", "rejected"]
    assert table[3:] == ["    frontends leave it out: it is far away"]
    assert listing.rows[0].url == "http://main-api.dev.test"


def test_a_claim_that_lost_its_label_is_told_at_its_service() -> None:
    claim = KEYS.raw(ClaimKey("main", "api"))

    picture = draw(
        snapshots((claim, "label main-api belongs to another")), keys=KEYS, default_service="web"
    )

    _, line, conflict, _ = picture.lines(PIPE)
    assert line.split()[4] == "ready"
    assert conflict == "    label main-api belongs to another"


def test_claims_that_cannot_be_read_are_told_in_one_sentence() -> None:
    routes, _, frontends = snapshots()
    claims = [entry(KEYS.raw(ClaimKey("main", one)), b"{") for one in ("api", "web")]
    standing = Snapshot("1", 5, {one.key: one for one in claims})

    picture = draw([routes, standing, frontends], keys=KEYS, default_service="web")

    [problem] = picture.remarks
    assert problem.startswith("2 claims cannot be read, such as /branchfront/claims/main/api: ")


def test_a_narrow_terminal_has_whole_lines_and_first_loses_what_is_least_needed() -> None:
    raw = KEYS.raw(RouteKey("feature/login", "web", "a-very-long-name-of-a-host-0123456789"))
    listing = build_listing([entry(raw, UNHEALTHY)], BOOK, keys=KEYS)

    lines = [re.sub("\x1b[^m]*m", "", one) for one in render_table(listing, TERMINAL, now=0)]

    assert max(map(len, lines)) <= 70
    assert "…" in lines[1]
    assert "10.0.0.5:80" in lines[1]
    assert "unhealthy" in lines[1]


def test_an_empty_registry_is_said_to_be_empty() -> None:
    assert render_table(Listing((), ()), PIPE, now=0) == ["nothing is registered"]


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


@given(branches, services, st.text(max_size=20), st.text(max_size=20), st.integers(1, 80))
def test_nothing_that_steers_a_terminal_is_in_the_table(
    branch: str, service: str, health: str, reason: str, columns: int
) -> None:
    raw = KEYS.raw(RouteKey(branch, service, "i1"))
    fields = {"address": "10.0.0.5:80", "state": "starting", "health": health}
    started = entry(raw, json.dumps(fields).encode())
    told = {raw.decode(): reason}
    listing = build_listing([started], BOOK, keys=KEYS, told=told)

    for page in (PIPE, Page(columns=columns)):
        table = render_table(listing, page, now=0)
        assert len(table) == 2 + len(listing.rows[0].reasons)
        assert all(line.isprintable() for line in table)
    assert re.fullmatch(r"[ -~]*", render_json(listing))
    assert json.loads(render_json(listing))[0]["branch"] == branch
