"""Etcd's JSON gateway in bytes: bodies that are sent, messages that come back. Pure.

On this wire keys and values are base64, 64-bit numbers are strings, and whatever is zero, false or
empty is absent. A watch answers with a stream of messages, one a line; where the stream is cut
into chunks says nothing about where a message ends.

Source:
    etcd's api/etcdserverpb/rpc.proto; what 3.4.23 and 3.5.1 really send was measured
    (tests/contract/test_etcd.py).
"""

import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from registry.faults import WatchCompacted
from registry.refusals import Refused, Verdict, judge, printable
from registry.snapshot import Change, Entry, Snapshot
from registry.transactions import Commit, Condition, Operation

T = TypeVar("T")


class Opened(NamedTuple):
    """A watch stands. Its revision is where the store is, not what the watch has shown."""

    cluster_id: str
    revision: int


class Batch(NamedTuple):
    """What a watch brought at once.

    Attributes:
        revision: Everything up to here has been shown; a later watch may go on behind it.
        changes: In etcd's order; empty for a notice of progress.
    """

    revision: int
    changes: tuple[Change, ...]


class Lines:
    """Puts the chunks of a stream together to lines."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take a chunk; give the lines that it ended, without blank ones."""
        *ended, rest = chunk.split(b"\n")
        if not ended:
            self._parts.append(rest)
            return []
        ended[0] = b"".join((*self._parts, ended[0]))
        self._parts = [rest]
        return [line for line in ended if line.strip()]

    def rest(self) -> bytes:
        """What came after the last newline: a gateway ends an error without one."""
        return b"".join(self._parts).strip()


def body(**fields: Any) -> bytes:
    """A request's body; bytes become base64, numbers strings, and what is empty is left out."""
    return json.dumps({name: _encode(value) for name, value in fields.items() if value}).encode()


def below(prefix: bytes) -> dict[str, bytes]:
    """The fields of a request that mean every key that begins so; the empty prefix is all keys."""
    stem = prefix.rstrip(b"\xff")
    end = stem[:-1] + bytes((stem[-1] + 1,)) if stem else b"\0"
    return {"key": prefix or b"\0", "range_end": end}


def watch_body(prefix: bytes, *, from_revision: int) -> bytes:
    """The request that opens a watch on a prefix."""
    return body(
        create_request={
            **below(prefix),
            "start_revision": from_revision,
            "progress_notify": True,
        }
    )


def commit_body(
    conditions: Iterable[Condition],
    then: Iterable[Operation],
    otherwise: Iterable[Operation],
) -> bytes:
    """The request of a transaction."""
    return body(
        compare=[_compare(condition) for condition in conditions],
        success=[_operation(operation) for operation in then],
        failure=[_operation(operation) for operation in otherwise],
    )


def understand(text: bytes, parse: Callable[[dict[str, Any]], T]) -> T:
    """Read an answer or a message of a watch.

    Raises:
        Refused: It is not what etcd's gateway would say, or ``parse`` refused it.
    """
    try:
        return parse(json.loads(text))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as exc:
        raise Refused(
            Verdict.STRANGE, f"the answer is not what etcd would say: {printable(text)}"
        ) from exc


def revision_of(document: dict[str, Any]) -> int:
    """The store's revision when it answered."""
    return int(document["header"].get("revision", 0))


def parse_entry(kv: dict[str, str]) -> Entry:
    """Read one key with its value."""
    return Entry(
        a2b_base64(kv["key"]),
        a2b_base64(kv.get("value", "")),
        int(kv.get("create_revision", 0)),
        int(kv.get("mod_revision", 0)),
        int(kv.get("lease", 0)),
    )


def parse_snapshot(document: dict[str, Any]) -> Snapshot:
    """Read the answer to a range."""
    entries = {entry.key: entry for entry in map(parse_entry, document.get("kvs", ()))}
    return Snapshot(str(document["header"]["cluster_id"]), revision_of(document), entries)


def parse_commit(document: dict[str, Any]) -> Commit:
    """Read the answer to a transaction."""
    ranges = (
        response["response_range"]
        for response in document.get("responses", ())
        if "response_range" in response
    )
    reads = tuple(tuple(map(parse_entry, found.get("kvs", ()))) for found in ranges)
    return Commit(bool(document.get("succeeded")), revision_of(document), reads)


def parse_first(document: dict[str, Any]) -> dict[str, Any]:
    """Read the message of a call that etcd answers with a stream of one, as it does a keepalive.

    Raises:
        Refused: The stream holds an error.
    """
    error = document.get("error")
    if error is not None:
        raise judge(error if isinstance(error, dict) else document)
    result: dict[str, Any] = document["result"]
    return result


def parse_message(document: dict[str, Any]) -> Opened | Batch:
    """Read one message of a watch, in the one order that misses nothing.

    A refused watch says *created* and *canceled* at once, and a compacted one has an ordinary
    *created* before it: who looks at *created* first waits for ever.

    Raises:
        WatchCompacted: The start lies below what etcd still has.
        Refused: Whatever else ended the watch.
    """
    result = parse_first(document)
    if int(result.get("compact_revision", 0)):
        raise WatchCompacted(int(result["compact_revision"]))
    if result.get("canceled"):
        raise judge({"message": result.get("cancel_reason", "")})
    if result.get("created"):
        return Opened(str(result["header"]["cluster_id"]), revision_of(result))
    changes = tuple(map(_parse_change, result.get("events", ())))
    # the header of a message with events names the store's revision, which may be thousands
    # ahead of what this message shows
    return Batch(changes[-1].revision if changes else revision_of(result), changes)


def _encode(value: Any) -> Any:
    if isinstance(value, bytes):
        return b2a_base64(value, newline=False).decode()
    if isinstance(value, dict):
        return {name: _encode(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_encode(inner) for inner in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _compare(condition: Condition) -> dict[str, Any]:
    target, field = {
        "absent": ("CREATE", "create_revision"),
        "created_at": ("CREATE", "create_revision"),
        "unchanged": ("MOD", "mod_revision"),
        "on_lease": ("LEASE", "lease"),
        "holds": ("VALUE", "value"),
    }[condition.kind]
    return {"key": condition.key, "target": target, "result": "EQUAL", field: condition.expected}


def _operation(operation: Operation) -> dict[str, Any]:
    match operation.kind:
        case "put":
            return {
                "request_put": {
                    "key": operation.key,
                    "value": operation.value,
                    "lease": operation.lease,
                }
            }
        case "drop":
            return {"request_delete_range": {"key": operation.key}}
        case _:
            return {"request_range": {"key": operation.key}}


def _parse_change(event: dict[str, Any]) -> Change:
    entry = parse_entry(event["kv"])
    return Change(entry.key, None if event.get("type") == "DELETE" else entry, entry.mod_revision)
