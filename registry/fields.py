"""Values and fields of a JSON record, each checked by type when it is read.

Every reader raises ``ValueError`` with the reason as a sentence, which repeats nothing that a
terminal would obey.
"""

import json
import re
from datetime import datetime
from typing import Any

VALUE_MAX_BYTES = 8192
"""Longest value that is read; the longest sensible record has a tenth of it."""

COUNT_MAX = 2**63 - 1
"""Etcd's revisions have 64 bits; what is larger is not even a number for whoever counts."""

_AT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]{1,9})?Z")


def read_text(value: bytes, *, limit: int = VALUE_MAX_BYTES) -> str:
    """A value as text, if it is no longer than the limit of bytes."""
    if len(value) > limit:
        raise ValueError(f"the value has {len(value)} bytes, more than {limit}")
    try:
        return value.decode()
    except UnicodeDecodeError as exc:
        raise ValueError("the value is not UTF-8") from exc


def read_object(text: str) -> dict[str, Any]:
    """The fields of a JSON object."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ValueError("the value is no JSON document") from exc
    if not isinstance(found, dict):
        raise ValueError("the value is no JSON object")
    return found


def write_object(fields: dict[str, Any]) -> bytes:
    """A JSON object, in as few bytes as it takes."""
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


def check_version(fields: dict[str, Any]) -> None:
    """Refuse a record of a later version: what it means is not known."""
    found = fields.get("version", 1)
    # to Python true is 1
    if type(found) is not int or found != 1:
        raise ValueError("version is not 1: a newer branchfront wrote it")


def read_string(fields: dict[str, Any], name: str, *, default: str | None = None) -> str:
    """A text; without a default it has to be there."""
    found = fields.get(name, default)
    if not isinstance(found, str):
        raise ValueError(f"{name} is missing" if found is None else f"{name} is no text")
    return found


def read_line(fields: dict[str, Any], name: str, *, default: str = "") -> str:
    """A text for people: whatever would steer a terminal, or cannot be encoded, is a blank."""
    found = read_string(fields, name, default=default)
    return "".join(char if char.isprintable() else " " for char in found)


def read_instant(fields: dict[str, Any], name: str) -> str:
    """A time in UTC such as ``2026-11-21T09:00:00Z``; empty if it is not there."""
    found = read_string(fields, name, default="")
    parts = _AT.fullmatch(found)
    if found and not (parts and _is_date(parts[1])):
        raise ValueError(f"{name} {found[:40]!r} is no time such as 2026-11-21T09:00:00Z")
    return found


def read_count(fields: dict[str, Any], name: str) -> int:
    """A whole number from 0 up; 0 if it is not there."""
    found = fields.get(name, 0)
    # true is an int in Python
    if type(found) is not int or not 0 <= found <= COUNT_MAX:
        raise ValueError(f"{name} is no count")
    return found


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
