"""Where a fuzzer begins: one input of every kind that each target knows, and all that were found.

An input that was found stands here with what it found, so that it is tried at every test run.
"""

import json
from collections.abc import Mapping, Sequence

from registry.records import Address, ClaimRecord, FrontendRecord, InstanceRecord, State
from tests.fuzz.targets import ENTRY, KEY

_INSTANCE = InstanceRecord(
    Address("fd00::7", 8080), State.DRAINING, "2026-11-21T09:00:00.5Z", 15
).dump()
_CLAIM = ClaimRecord(("a-b", "a-b-ca9781-c"), "2026-11-21T09:00:00Z").dump()
_FRONTEND = FrontendRecord(rejections=({"key": "k", "reason": "r"},), url="http://x:1").dump()

_HEADER = {"cluster_id": "14841639068965178418", "revision": "9"}
_KV = {"key": "L2E=", "value": "eA==", "create_revision": "7", "mod_revision": "9", "lease": "5"}


def _entry(key: str, value: bytes | str, *, age: int = 0) -> bytes:
    raw = value if isinstance(value, bytes) else value.encode()
    return bytes([age]) + key.encode() + KEY + raw


def _message(**result: object) -> bytes:
    return json.dumps({"result": {"header": _HEADER, **result}}).encode() + b"\n"


_REGISTRY = (
    _entry("routes/main/web/i1", "10.0.0.1:8080", age=0x09),
    _entry("routes/main/web", "10.0.0.2:80"),
    _entry("routes/feature%2Flogin/api/i2", _INSTANCE, age=0x12),
    _entry("routes/a/b-c/%22%3B%7D", "10.0.0.1:8080", age=0x1B),
    _entry("routes/a-b/c/i3", '{"address":"10.0.0.3:80","state":"starting"}', age=0x0C),
    _entry("claims/a-b/c", '{"version":1,"labels":["a-b-c"]}'),
    _entry("claims/a/b-c", '{"version":1,"labels":["a-b-c"]}', age=1),
    _entry("release", "me"),
    _entry("routes/x", "no address"),
)

WORDS = (
    *("routes/", "claims/", "frontends/", "release", "main", "web", "a", "a-b", "b-c", "c", "i1"),
    *("10.0.0.1:8080", "10.0.0.2:80", "[fd00::7]:80", "169.254.169.254:80", "127.0.0.1:80"),
    *("%2F", "%22", "%3B", "%7B", "%7D", "%0A", "%23", "%24", "%27", "%5C", "%20", "%C3%A9", "%2f"),
    *("address", "state", "ready", "starting", "draining", "registered_at", "ttl", "labels"),
    *("version", "created", "rejections", "key", "reason", "generation", "2026-11-21T09:00:00Z"),
    *("result", "header", "cluster_id", "revision", "events", "kv", "kvs", "type", "DELETE"),
    *("canceled", "created", "compact_revision", "cancel_reason", "error", "message", "code"),
    *("mod_revision", "create_revision", "lease", "value", "responses", "response_range"),
)
"""Words that the targets know: libFuzzer puts them where it likes."""

SEEDS: Mapping[str, Sequence[bytes]] = {
    "records": (b"10.0.3.17:32768", b"[fd00::7]:8080", _INSTANCE, _CLAIM, _FRONTEND, b"{}"),
    "keys": (
        *(b"routes/feature%2Flogin/web/i-1", b"routes/main/web", b"claims/%E6%97%A5/web"),
        *(b"frontends/7dac2604b091", b"release", b"%2f", b"a/../b", b"\xff"),
    ),
    "names": (
        _entry("fix/foo", "web") + ENTRY + _entry("fix-foo", "web"),
        _entry("a", "b-c") + ENTRY + _entry("a-b", "c", age=0x81),
        _entry("a", "b", age=0x81) + ENTRY + _entry("a-b", "web", age=0x81),
        _entry("日本", "web") + ENTRY + _entry("x" * 64, "x" * 40),
        _entry("branchfront", "web") + ENTRY + _entry("--x--", "Web"),
    ),
    "renderer": (*_REGISTRY, ENTRY.join(_REGISTRY)),
    "wire": (
        _message(created=True) + _message(events=[{"kv": _KV}, {"type": "DELETE", "kv": _KV}]),
        _message(canceled=True, compact_revision="5") + _message(canceled=True, cancel_reason="x"),
        json.dumps({"header": _HEADER, "kvs": [_KV], "count": "1"}).encode(),
        json.dumps(
            {
                "header": _HEADER,
                "succeeded": True,
                "responses": [{"response_range": {"kvs": [_KV]}}],
            }
        ).encode(),
        b'{"error":{"grpc_code":7,"http_code":403,"message":"etcdserver: permission denied"}}',
        b'{"error":"etcdserver: invalid auth token","code":16}',
    ),
    "brake": (
        b"\xff".join((b"\x01" + ENTRY.join(_REGISTRY), b"\x01", b"\x01" + _REGISTRY[0])),
        b"\xff".join((b"\x81" + ENTRY.join(_REGISTRY[:5]), b"\x61", b"\x3f" + _REGISTRY[2])),
        b"\xff".join((b"\x01" + ENTRY.join(_REGISTRY), b"\x21" + ENTRY.join(_REGISTRY[:2]))),
    ),
}
