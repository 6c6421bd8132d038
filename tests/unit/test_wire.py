"""Etcd's JSON: what goes out, and what every message that comes back means."""

import json
from base64 import b64decode, b64encode
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.faults import WatchCompacted
from registry.refusals import TEXT_MAX, Refused, Verdict, judge, judge_answer, printable
from registry.snapshot import Change, Entry
from registry.transactions import absent, drop, fetch, holds, on_lease, put
from registry.wire import (
    Batch,
    Lines,
    Opened,
    below,
    body,
    commit_body,
    parse_commit,
    parse_first,
    parse_message,
    parse_snapshot,
    understand,
    watch_body,
)

HEADER = {"cluster_id": "14841639068965178418", "member_id": "1", "revision": "812"}


def b64(text: bytes) -> str:
    return b64encode(text).decode()


def message(**result: Any) -> dict[str, Any]:
    return {"result": {"header": HEADER, **result}}


def refused(document: dict[str, Any]) -> Verdict:
    with pytest.raises(Refused) as hit:
        parse_message(document)
    return hit.value.verdict


def put_event(key: bytes, revision: int) -> dict[str, Any]:
    return {"kv": {"key": b64(key), "mod_revision": str(revision), "create_revision": "1"}}


@given(st.lists(st.binary().filter(lambda line: b"\n" not in line)), st.data())
def test_a_stream_gives_the_same_lines_wherever_it_is_cut(
    lines: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    reader = Lines()
    found = [line for chunk in chunks for line in reader.feed(chunk)]
    assert found == [line for line in lines if line.strip()]
    assert reader.rest() == b""


def test_a_stream_cut_at_every_byte_gives_the_same_messages() -> None:
    stream = b"".join(
        json.dumps(one).encode() + b"\n"
        for one in (message(created=True), message(events=[put_event(b"a", 5)]), message())
    )
    for cut in range(len(stream) + 1):
        reader = Lines()
        lines = reader.feed(stream[:cut]) + reader.feed(stream[cut:])
        assert [understand(line, parse_message) for line in lines] == [
            Opened(HEADER["cluster_id"], 812),
            Batch(5, (Change(b"a", Entry(b"a", b"", 1, 5, 0), 5),)),
            Batch(812, ()),
        ]


def test_what_comes_after_the_last_newline_is_kept() -> None:
    reader = Lines()
    assert reader.feed(b'{"a":1}\n{"error"') == [b'{"a":1}']
    assert reader.feed(b":2}") == []
    assert reader.rest() == b'{"error":2}'


@given(st.binary(), st.binary())
def test_a_range_covers_what_begins_with_its_prefix_and_nothing_else(
    prefix: bytes, key: bytes
) -> None:
    bounds = below(prefix)
    is_inside = bounds["key"] <= key and (bounds["range_end"] == b"\0" or key < bounds["range_end"])
    # etcd has no empty key
    assert is_inside is key.startswith(prefix) or not key


def test_a_body_has_base64_and_strings_and_nothing_empty() -> None:
    sent = json.loads(body(key=b"\xff", value=b"", lease=2**62, keys_only=True, limit=0))
    assert sent == {"key": "/w==", "lease": "4611686018427387904", "keys_only": True}


def test_a_watch_asks_for_its_start_and_for_progress() -> None:
    sent = json.loads(watch_body(b"/a/", from_revision=7))["create_request"]
    assert sent == {
        "key": b64(b"/a/"),
        "range_end": b64(b"/a0"),
        "start_revision": "7",
        "progress_notify": True,
    }


def test_a_transaction_is_sent_in_etcds_words() -> None:
    sent = json.loads(
        commit_body(
            [absent(b"k"), holds(b"k", b"v"), on_lease(b"k", 9)],
            [put(b"k", b"v", lease=9), fetch(b"k")],
            [drop(b"k")],
        )
    )
    key = {"key": b64(b"k")}
    assert sent == {
        "compare": [
            key | {"target": "CREATE", "result": "EQUAL", "create_revision": "0"},
            key | {"target": "VALUE", "result": "EQUAL", "value": b64(b"v")},
            key | {"target": "LEASE", "result": "EQUAL", "lease": "9"},
        ],
        "success": [
            {"request_put": key | {"value": b64(b"v"), "lease": "9"}},
            {"request_range": key},
        ],
        "failure": [{"request_delete_range": key}],
    }


def test_fields_that_are_absent_are_zero() -> None:
    found = parse_snapshot({"header": {"cluster_id": "5"}, "kvs": [{"key": b64(b"k")}]})
    assert found.revision == 0
    assert found.entries == {b"k": Entry(b"k", b"", 0, 0, 0)}
    assert parse_snapshot({"header": HEADER}).entries == {}
    assert not parse_commit({"header": HEADER}).succeeded


def test_a_commit_has_what_its_reads_found_in_their_order() -> None:
    done = parse_commit(
        {
            "header": HEADER,
            "succeeded": True,
            "responses": [
                {"response_range": {"header": HEADER, "kvs": [{"key": b64(b"a")}]}},
                {"response_put": {"header": HEADER}},
                {"response_range": {"header": HEADER}},
            ],
        }
    )
    assert done == (True, 812, ((Entry(b"a", b"", 0, 0, 0),), ()))


def test_a_batch_ends_at_its_last_event_not_where_the_store_is() -> None:
    batch = parse_message(message(events=[put_event(b"a", 5), put_event(b"b", 6)]))
    assert isinstance(batch, Batch)
    assert batch.revision == 6


def test_a_deletion_is_a_change_without_an_entry() -> None:
    event = {"type": "DELETE", "kv": {"key": b64(b"a"), "mod_revision": "9"}}
    assert parse_message(message(events=[event])) == Batch(9, (Change(b"a", None, 9),))


def test_a_refused_watch_is_no_opened_one() -> None:
    both = message(created=True, canceled=True, cancel_reason="etcdserver: permission denied")
    assert refused(both) is Verdict.DENIED


def test_a_compacted_watch_is_told_from_a_cancelled_one() -> None:
    with pytest.raises(WatchCompacted) as hit:
        parse_message(message(canceled=True, compact_revision="700"))
    assert hit.value.compact_revision == 700


@pytest.mark.parametrize(
    ("document", "verdict"),
    [
        ({"error": {"grpc_code": 14, "http_code": 503, "message": "no leader"}}, Verdict.RETRY),
        ({"error": {"code": 1, "message": "the client connection is closing"}}, Verdict.RETRY),
        ({"error": {"code": 16, "message": "?"}}, Verdict.LOGIN),
        ({"error": "etcdserver: user name is empty", "code": 3}, Verdict.LOGIN),
        (message(canceled=True), Verdict.RETRY),
        (message(canceled=True, cancel_reason="invalid auth token"), Verdict.LOGIN),
        (message(canceled=True, cancel_reason="code = PermissionDenied"), Verdict.DENIED),
    ],
)
def test_the_end_of_a_watch_says_what_to_do(document: dict[str, Any], verdict: Verdict) -> None:
    assert refused(document) is verdict


@pytest.mark.parametrize(
    ("code", "text", "verdict"),
    [
        (3, "etcdserver: revision of auth store is old", Verdict.LOGIN),
        (2, "auth: revision in header is old", Verdict.LOGIN),
        (3, "etcdserver: authentication failed, invalid user ID or password", Verdict.DENIED),
        (9, "etcdserver: authentication is not enabled", Verdict.NO_AUTH),
        (5, "etcdserver: requested lease not found", Verdict.LEASE_GONE),
        (2, "lease: not a primary lessor", Verdict.RETRY),
        (3, "etcdserver: request is too large", Verdict.MALFORMED),
        (7, "etcdserver: permission denied", Verdict.DENIED),
        (5, "Not Found", Verdict.STRANGE),
        (12, "Method Not Allowed", Verdict.STRANGE),
        (8, "etcdserver: mvcc: database space exceeded", Verdict.RETRY),
        (99, "a code of the future", Verdict.RETRY),
        (["x"], "a code that is none", Verdict.RETRY),
    ],
)
def test_an_answer_is_sorted_by_its_text_and_then_its_code(
    code: object, text: str, verdict: Verdict
) -> None:
    document = {"error": text, "message": text, "code": code}
    found = judge_answer(500, json.dumps(document).encode())
    assert found.verdict is verdict
    assert found.text == text


@pytest.mark.parametrize(
    ("status", "text", "verdict"),
    [
        (404, b"404 page not found", Verdict.STRANGE),
        (400, b"CommonName of client sending a request against gateway", Verdict.DENIED),
        (503, b"<html>", Verdict.RETRY),
        (502, b"", Verdict.RETRY),
        (301, b"[1]", Verdict.STRANGE),
        (404, b"null", Verdict.STRANGE),
    ],
)
def test_what_speaks_no_json_is_sorted_by_its_status(
    status: int, text: bytes, verdict: Verdict
) -> None:
    assert judge_answer(status, text).verdict is verdict


@given(st.binary())
def test_nothing_that_comes_back_raises_anything_but_a_refusal(text: bytes) -> None:
    judge_answer(400, text)
    for parse in (parse_snapshot, parse_commit, parse_message, parse_first):
        with pytest.raises(Refused):
            understand(text, parse)


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                ["result", "header", "events", "kv", "kvs", "key", "error", "code", "message"]
            )
            | st.text(),
            inner,
        )
    ),
)


@given(DOCUMENTS)
def test_no_document_raises_anything_but_a_refusal(document: object) -> None:
    text = json.dumps(document).encode()
    judge_answer(400, text)
    judge(document)
    for parse in (parse_snapshot, parse_commit, parse_message, parse_first):
        with suppress(Refused):
            understand(text, parse)


@given(st.text(), st.binary())
def test_a_strangers_text_stays_on_one_short_line(text: str, raw: bytes) -> None:
    for shown in (printable(text), printable(raw)):
        assert len(shown) <= TEXT_MAX + 1
        assert shown.isprintable()


def test_base64_is_read_as_etcd_writes_it() -> None:
    assert b64decode(json.loads(body(key=bytes(range(256))))["key"]) == bytes(range(256))
