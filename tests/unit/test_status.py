"""Included: what ``regenerator status`` shows of the frontends, whatever they have written."""

import json
import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from regenerator.status import as_json, as_table, read_frontends
from registry.keys import FrontendKey, Keyspace
from registry.records import FrontendRecord
from registry.snapshot import Entry
from registry.tables import Page

KEYS = Keyspace()

NOW = 1795251600.0  # 2026-11-21T09:00:00Z

RECORD = FrontendRecord(
    cluster_id="1",
    revision=812,
    released=812,
    generation="7dac2604b091",
    routes=41,
    applied_at="2026-11-21T08:59:48Z",
    domain="localhost",
    url="http://localhost:8080",
)


def entry(name: str, record: FrontendRecord | bytes, *, lease: int = 7) -> Entry:
    value = record if isinstance(record, bytes) else record.dump()
    return Entry(KEYS.raw(FrontendKey(name)), value, 5, 5, lease)


def table(*entries: Entry, page: Page | None = None) -> list[str]:
    return as_table(read_frontends(entries, keys=KEYS), page or Page(), now=NOW)


def test_a_frontend_is_a_line() -> None:
    assert table(entry("f1", RECORD)) == [
        "FRONTEND  STATE  ROUTES  REVISION  BEHIND  GENERATION    APPLIED  LEFT-OUT  HELD",
        "f1        ok         41       812       0  7dac2604b091  12s ago         0     0",
        "served at http://localhost:8080",
    ]


def test_nobody_has_to_have_reported() -> None:
    assert table() == ["no frontend has reported"]


def test_who_is_behind_is_told_by_how_much_and_the_dead_count_for_nothing() -> None:
    entries = (
        entry("f1", RECORD),
        entry("f2", replace(RECORD, revision=800)),
        entry("f3", replace(RECORD, revision=9999), lease=0),
        entry("f4", b"{"),
    )

    lines = table(*entries)
    documents = json.loads(as_json(read_frontends(entries, keys=KEYS)))

    assert [line.split()[4] for line in lines[1:5]] == ["0", "12", "0", "-"]
    assert [line.split()[1] for line in lines[1:5]] == ["ok", "ok", "dead", "unreadable"]
    assert [one["behind_by"] for one in documents] == [0, 12, 0, 0]
    assert [one["alive"] for one in documents] == [True, True, False, True]
    assert any(line.startswith("f3: ") and "no lease" in line for line in lines)
    assert any(line.startswith("f4: ") and "cannot be read" in line for line in lines)


def test_who_serves_the_same_routes_is_not_behind_whatever_the_store_has_seen() -> None:
    entries = (
        entry("f1", replace(RECORD, table="aaaaaaaaaaaa")),
        entry("f2", replace(RECORD, table="aaaaaaaaaaaa", revision=800)),
        entry("f3", replace(RECORD, table="bbbbbbbbbbbb", revision=801)),
    )

    documents = json.loads(as_json(read_frontends(entries, keys=KEYS)))

    assert [one["behind_by"] for one in documents] == [0, 0, 11]


def test_the_document_has_all_that_the_record_has() -> None:
    [document] = json.loads(as_json(read_frontends([entry("f1", RECORD)], keys=KEYS)))

    assert document == {"id": "f1", "alive": True, "behind_by": 0} | json.loads(RECORD.dump())


def test_what_is_left_out_is_told_once_and_by_whom_if_not_by_all() -> None:
    far, odd = (
        {"key": f"/branchfront/routes/{one}", "reason": f"{one}!"} for one in ("far", "odd")
    )
    lines = table(
        entry("f1", replace(RECORD, rejected=14, rejections=(odd, far))),
        entry("f2", replace(RECORD, rejected=1, rejections=(far,))),
    )

    assert lines[lines.index("left out:") :] == [
        "left out:",
        "  /branchfront/routes/far",
        "    far!",
        "  /branchfront/routes/odd, by f1",
        "    odd!",
        "  and 12 more; the regenerator's log names all",
    ]


def test_what_the_brake_holds_is_told_with_what_to_do() -> None:
    holding = replace(RECORD, held=41, state="holding lost routes")

    lines = table(entry("f1", holding), entry("f2", replace(RECORD, held=2, missed=3)))

    assert "f1: holds 41 that the registry lost; regenerator release lets go of them" in lines
    assert "f2: spares 2 whose lease was lost a moment ago" in lines
    assert "f2: missed 3 keys that a list had to correct" in lines


def test_each_url_is_told() -> None:
    other = replace(RECORD, url="https://dev.example.com")

    lines = table(entry("f1", RECORD), entry("f2", other), entry("f3", RECORD))

    assert lines[4:] == ["served at http://localhost:8080", "served at https://dev.example.com"]


lines_of_text = st.text(max_size=10)


@given(
    st.text(min_size=1, max_size=10).filter(str.isprintable),
    lines_of_text,
    lines_of_text,
    lines_of_text,
    st.integers(1, 100),
)
def test_nothing_that_was_written_steers_a_terminal(
    name: str, state: str, url: str, reason: str, columns: int
) -> None:
    record = replace(
        RECORD,
        state=state,
        url=url,
        generation=reason,
        rejected=1,
        rejections=({"key": reason, "reason": url},),
    )
    found = read_frontends([entry(name, RECORD)], keys=KEYS)
    # past the parser, which lets none of it through
    frontends = [replace(one, record=record) for one in found]

    plain = as_table(frontends, Page(columns=columns), now=NOW)
    coloured = as_table(frontends, Page(is_coloured=True), now=NOW)

    assert all(line.isprintable() for line in plain)
    assert all(re.sub("\x1b\\[[0-9]*m", "", line).isprintable() for line in coloured)
