"""Records read back as they were written; whatever else comes in is refused with a reason."""

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from registry.fields import VALUE_MAX_BYTES
from registry.records import (
    FRONTEND_MAX_BYTES,
    LABELS_MAX,
    Address,
    ClaimRecord,
    FrontendRecord,
    InstanceRecord,
    State,
)
from tests.strategies import any_json, ports

AT = "2026-11-21T09:00:00Z"


def _plainly(ip: object) -> bool:
    return getattr(ip, "ipv4_mapped", None) is None


ips = (st.ip_addresses(v=4) | st.ip_addresses(v=6).filter(_plainly)).map(str)
addresses = st.builds(Address, ips, ports)
instants = st.sampled_from(["", AT, "2026-11-21T09:00:00.123456Z"])
labels = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
words = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20)
counts = st.integers(0, 2**63 - 1)


@pytest.mark.parametrize(
    ("text", "ip", "port"),
    [
        ("10.0.3.17:32768", "10.0.3.17", 32768),
        ("[fd00::7]:8080", "fd00::7", 8080),
        ("[FD00:0:0::7]:8080", "fd00::7", 8080),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("0.0.0.0:65535", "0.0.0.0", 65535),  # noqa: S104 - parsed here, refused by the rules
    ],
)
def test_an_address_is_read_in_its_canonical_form(text: str, ip: str, port: int) -> None:
    assert Address.parse(text) == Address(ip, port)
    assert (Address.parse(text).ip, Address.parse(text).port) == (ip, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.3.17",
        ":80",
        "10.0.3.17:",
        "10.0.3.17:0",
        "10.0.3.17:65536",
        "10.0.3.17:+80",
        "10.0.3.17:8_0",
        "10.0.3.17:٨٠",
        "10.0.3.256:80",
        "010.0.3.17:80",
        "10.0.3:80",
        "0x0a000311:80",
        "167772945:80",
        "localhost:80",
        "example.com:80",
        "fd00::7:8080",
        "[fd00::7]",
        "[fd00::7%eth0]:80",
        "[::ffff:10.0.3.17]:80",
        "[10.0.3.17]:80",
        "10.0.3.17:80 ; return 200",
        "10.0.3.17:80\nserver 10.0.0.1:80",
        "unix:/run/docker.sock:80",
        "http://10.0.3.17:80",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no address|no IP|port|zone"):
        Address.parse(text)


@pytest.mark.parametrize("ip", ["fd00::7%eth0", "::ffff:10.0.0.1", "example.com", ""])
def test_an_address_made_in_the_program_is_checked_as_well(ip: str) -> None:
    with pytest.raises(ValueError, match=r"no IP address|a zone in it"):
        Address(ip, 80)


@given(addresses)
def test_an_address_reads_back_as_it_is_written(address: Address) -> None:
    assert Address.parse(str(address)) == address


@given(addresses)
def test_an_address_is_one_word_to_nginx(address: Address) -> None:
    assert re.fullmatch(r"[0-9a-f.:\[\]]+", str(address))


@given(st.builds(InstanceRecord, addresses, st.sampled_from(State), instants))
def test_an_instance_reads_back_as_it_is_written(record: InstanceRecord) -> None:
    assert InstanceRecord.parse(record.dump()) == record


@given(addresses)
def test_an_address_alone_is_written_in_the_plain_form(address: Address) -> None:
    assert InstanceRecord(address).dump() == str(address).encode()


@pytest.mark.parametrize(
    "value",
    [
        b"10.0.3.17:32768",
        b" 10.0.3.17:32768\n",
        b'{"address":"10.0.3.17:32768"}',
        b'{"address":"10.0.3.17:32768","state":"ready"}',
        b'{"address":"10.0.3.17:32768","weight":3,"port":true,"version":"none of ours"}',
        b'\n{"address" : "10.0.3.17:32768"} ',
    ],
)
def test_both_forms_are_read_and_unknown_fields_are_ignored(value: bytes) -> None:
    assert InstanceRecord.parse(value) == InstanceRecord(Address("10.0.3.17", 32768))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "'' is no address"),
        (b"web", "'web' is no address"),
        (b"\x00", r"'\\x00' is no address"),
        (b"\xff\xfe", "not UTF-8"),
        (b"{", "no JSON document"),
        (b"{}", "address is missing"),
        (b'{"address":null}', "address is missing"),
        (b'{"address":true}', "address is no text"),
        (b'{"address":["10.0.0.1:80"]}', "address is no text"),
        (b'{"ip":"10.0.0.1","port":true}', "address is missing"),
        (b'{"address":"10.0.0.1:true"}', "is no address"),
        (b'{"address":"10.0.0.1:80","state":"gone"}', "state 'gone' is none of"),
        (b'{"address":"10.0.0.1:80","state":1}', "state is no text"),
        (b'{"address":"10.0.0.1:80","registered_at":"now"}', "'now' is no time"),
        (
            b'{"address":"10.0.0.1:80","registered_at":"2026-13-41T99:00:00Z"}',
            "'2026-13-41T99:00:00Z' is no time",
        ),
        (b'{"address":"10.0.0.1:80","registered_at":5}', "registered_at is no text"),
        (b'{"address":"10.0.0.1:80","ttl":-1}', "ttl is no count"),
        (b'{"address":"10.0.0.1:80","ttl":1' + b"0" * 12 + b"}", "ttl is more than 86400 seconds"),
        (b'{"address":"10.0.0.1:80"} {}', "no JSON document"),
        (b'{"a":' + b"[" * 4000 + b"]" * 4000 + b"}", "no JSON document"),
        (b"[]", "is no address"),
        (b'"10.0.0.1:80"', "is no address"),
        (b"x" * 1_000_000, "1000000 bytes, more than 8192"),
    ],
)
def test_a_value_that_is_no_instance_is_refused_with_a_reason(value: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        InstanceRecord.parse(value)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_value_is_an_instance_or_a_printable_reason(value: bytes) -> None:
    try:
        record = InstanceRecord.parse(value)
    except ValueError as exc:
        assert str(exc).isprintable()
        assert len(str(exc)) < 400
    else:
        assert InstanceRecord.parse(record.dump()) == record


@given(any_json, any_json, any_json, any_json)
@example(True, "ready", AT, None)
@example("10.0.0.1:80", "\ud800", AT, None)
@example("10.0.0.1:80", "ready", "\ud800", None)
def test_any_json_in_any_field_of_an_instance_is_read_or_refused(
    address: Any, state: Any, registered_at: Any, unknown: Any
) -> None:
    fields = {"address": address, "state": state, "registered_at": registered_at, "x": unknown}
    try:
        record = InstanceRecord.parse(json.dumps(fields).encode())
    except ValueError as exc:
        assert str(exc).isprintable()
    else:
        assert str(record.address) == str(Address.parse(address))
        assert record.state == state
        assert record.registered_at == registered_at


@given(any_json)
def test_any_json_document_is_an_instance_or_refused(document: Any) -> None:
    value = json.dumps(document).encode()
    try:
        InstanceRecord.parse(value)
    except ValueError as exc:
        assert str(exc).isprintable()
    else:
        assert isinstance(document, dict)


@given(st.builds(ClaimRecord, st.lists(labels, min_size=1, max_size=8, unique=True).map(tuple)))
def test_a_claim_reads_back_as_it_is_written(record: ClaimRecord) -> None:
    assert ClaimRecord.parse(record.dump()) == record


def test_a_claim_is_written_as_in_the_contract() -> None:
    record = ClaimRecord(("feature-login-web", "feature-login"), AT)

    assert record.dump() == (
        b'{"version":1,"created":"2026-11-21T09:00:00Z",'
        b'"labels":["feature-login-web","feature-login"]}'
    )
    assert ClaimRecord.parse(record.dump()) == record


def test_a_label_that_a_claim_names_twice_counts_once() -> None:
    assert ClaimRecord.parse(b'{"labels":["a","b","a"]}').labels == ("a", "b")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "no JSON document"),
        (b"[]", "no JSON object"),
        (b"{}", "labels is no list of 1 to 8"),
        (b'{"labels":[]}', "labels is no list of 1 to 8"),
        (b'{"labels":"main"}', "labels is no list"),
        (json.dumps({"labels": ["a"] * (LABELS_MAX + 1)}).encode(), "labels is no list of 1 to 8"),
        (b'{"labels":[true]}', "'True' in labels is no label"),
        (b'{"labels":["Main"]}', "'Main' in labels is no label"),
        (b'{"labels":["a.b"]}', "is no label"),
        (b'{"labels":["a;}"]}', "is no label"),
        (b'{"labels":["a\\nb"]}', "is no label"),
        (b'{"labels":["a"],"version":2}', "version is not 1"),
        (b'{"labels":["a"],"version":true}', "version is not 1"),
        (b'{"labels":["a"],"version":"1"}', "version is not 1"),
        (b'{"labels":["a"],"created":"yesterday"}', "created 'yesterday' is no time"),
        (b'{"labels":["a"],"created":1}', "created is no text"),
        (b"x" * (VALUE_MAX_BYTES + 1), "more than 8192"),
    ],
)
def test_a_value_that_is_no_claim_is_refused_with_a_reason(value: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ClaimRecord.parse(value)


@given(any_json, any_json, any_json)
@example(1, AT, [[[["deep"]]]])
@example(1, AT, ["\ud800"])
def test_any_json_in_any_field_of_a_claim_is_read_or_refused(
    version: Any, created: Any, found: Any
) -> None:
    value = json.dumps({"version": version, "created": created, "labels": found}).encode()
    try:
        record = ClaimRecord.parse(value)
    except ValueError as exc:
        assert str(exc).isprintable()
    else:
        assert set(record.labels) == set(found)


rejections = st.fixed_dictionaries({"key": words, "reason": words})


@given(
    st.builds(
        FrontendRecord,
        cluster_id=words,
        revision=counts,
        released=counts,
        generation=words,
        routes=counts,
        rejected=counts,
        rejections=st.lists(rejections, max_size=3).map(tuple),
        state=words,
        applied_at=instants,
        domain=words,
        default_service=words,
        url=words,
        address=words,
    )
)
def test_a_frontend_reads_back_as_it_is_written(record: FrontendRecord) -> None:
    assert FrontendRecord.parse(record.dump()) == record


def test_a_frontend_has_the_fields_of_the_contract_in_their_order() -> None:
    assert list(json.loads(FrontendRecord().dump())) == [
        "version",
        "cluster_id",
        "revision",
        "released",
        "generation",
        "routes",
        "rejected",
        "rejections",
        "state",
        "applied_at",
        "domain",
        "default_service",
        "url",
        "address",
        "held",
        "missed",
        "table",
    ]


def test_a_frontend_with_fifty_long_rejections_still_fits() -> None:
    rejection = {"key": "k" * 200, "reason": "r" * 200}
    record = FrontendRecord(rejected=1000, rejections=(rejection,) * 50)

    assert len(record.dump()) < FRONTEND_MAX_BYTES
    assert FrontendRecord.parse(record.dump()) == record


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "no JSON document"),
        (b"3", "no JSON object"),
        (b'{"version":2}', "version is not 1"),
        (b'{"revision":true}', "revision is no count"),
        (b'{"revision":-1}', "revision is no count"),
        # no float has room for 400 digits, and metrics are floats
        (b'{"revision":%d}' % 10**400, "revision is no count"),
        (b'{"revision":%d}' % 2**63, "revision is no count"),
        (b'{"released":1.5}', "released is no count"),
        (b'{"routes":"many"}', "routes is no count"),
        (b'{"rejections":{}}', "rejections is no list"),
        (b'{"rejections":[{"key":1}]}', "key is no text"),
        (b'{"url":null}', "url is missing"),
        (b"{" + b" " * FRONTEND_MAX_BYTES + b"}", "more than 65536"),
    ],
)
def test_a_value_that_is_no_frontend_is_refused_with_a_reason(value: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        FrontendRecord.parse(value)


def test_what_would_steer_a_terminal_is_taken_out_of_a_frontends_texts() -> None:
    record = FrontendRecord.parse(
        b'{"url":"\\u001b[31m","state":"a\\ud800b","rejections":[{"reason":"line\\nline"}]}'
    )

    assert (record.url, record.state) == (" [31m", "a b")
    assert record.rejections == ({"key": "", "reason": "line line"},)


def test_a_rejection_that_is_no_object_is_left_out() -> None:
    assert FrontendRecord.parse(b'{"rejections":[1,{"key":"k"}]}').rejections == (
        {"key": "k", "reason": ""},
    )


@given(st.dictionaries(st.sampled_from(list(FrontendRecord().fields())), any_json))
def test_any_json_in_any_field_of_a_frontend_is_read_or_refused(fields: dict[str, Any]) -> None:
    try:
        record = FrontendRecord.parse(json.dumps(fields).encode())
    except ValueError as exc:
        assert str(exc).isprintable()
    else:
        assert FrontendRecord.parse(record.dump()) == record


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_value_is_a_claim_or_a_frontend_or_a_printable_reason(value: bytes) -> None:
    for kind in (ClaimRecord, FrontendRecord):
        try:
            kind.parse(value)
        except ValueError as exc:
            assert str(exc).isprintable()
            assert len(str(exc)) < 200
