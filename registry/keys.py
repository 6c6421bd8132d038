"""Keys of the registry, written and parsed in one place.

Shape:
    ``<prefix>/routes/<branch>/<service>/<instance>``, ``<prefix>/routes/<branch>/<service>``,
    ``<prefix>/claims/<branch>/<service>``, ``<prefix>/frontends/<id>``, ``<prefix>/release``;
    each part percent-encoded by RFC 3986, section 2.3: only unreserved characters stay.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

PART_MAX_BYTES = 512
"""Longest name behind one part of a key: twice what GitHub and GitLab let a branch be called.

Percent-encoded it still fits the 4,096 bytes that nginx reads as one word.
"""

SHOWN_MAX = 200
"""Characters of a key in a log, a record or a page: a few lines of a terminal."""

_ENCODED = re.compile(rb"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+")
_UNRESERVED = re.compile(rb"[A-Za-z0-9._~-]{1,%d}" % PART_MAX_BYTES)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class RouteKey(NamedTuple):
    """Where an instance is registered.

    Attributes:
        branch: By its real name.
        service: By its real name.
        instance: One incarnation of a container; empty for the form that a hand writes.
    """

    branch: str
    service: str
    instance: str = ""


class ClaimKey(NamedTuple):
    """Where a branch and service say which labels are theirs."""

    branch: str
    service: str


@dataclass(frozen=True, slots=True, order=True)
class FrontendKey:
    """Where one nginx with its regenerator reports."""

    id: str


@dataclass(frozen=True, slots=True, order=True)
class ReleaseKey:
    """Where an operator lets go of the brake."""


Key = RouteKey | ClaimKey | FrontendKey | ReleaseKey


def container_of(instance: str) -> str:
    """What stands before the last hyphen of an instance's name; empty if it has none.

    A registrar writes the name of its container, or host, there. Behind it stands what tells
    its starts apart.
    """
    return instance.rpartition("-")[0]


def encode(part: str) -> str:
    """Write a name as one part of a key.

    Raises:
        ValueError: The name is empty, too long, or has a control character (git has none either).
    """
    if _UNRESERVED.fullmatch(part.encode("utf-8", "surrogatepass")):
        # the usual name stands as it is
        return part
    check_name(part)
    return quote_from_bytes(part.encode(), safe="")


def check_name(name: str) -> None:
    """Refuse a name that cannot be part of a key.

    Raises:
        ValueError: Says why.
    """
    if not name:
        raise ValueError("a name is empty")
    if _CONTROL.search(name):
        raise ValueError(f"the name {name[:40]!r} has a control character")
    if len(name.encode()) > PART_MAX_BYTES:
        raise ValueError(f"the name {name[:40]!r}… is longer than {PART_MAX_BYTES} bytes")


def decode(part: bytes) -> str:
    """Read one part of a key back.

    Raises:
        ValueError: It is not the canonical percent-encoding of a name.
    """
    if _UNRESERVED.fullmatch(part):
        # nothing in it could be written in another way
        return part.decode()
    if not _ENCODED.fullmatch(part):
        raise ValueError(f"'{shown(part)}' is not percent-encoded as RFC 3986 says")
    try:
        name = unquote_to_bytes(part).decode()
    except UnicodeDecodeError as exc:
        raise ValueError(f"'{shown(part)}' is not UTF-8 behind its percent-encoding") from exc
    if encode(name).encode() != part:
        raise ValueError(f"'{shown(part)}' is not canonical; it should be {encode(name)!r}")
    return name


def shown(raw: bytes, *, limit: int = SHOWN_MAX) -> str:
    """Raw bytes as text that is safe to print: ASCII, escaped, cut at a limit of characters.

    What is cut ends in digits of the whole, so that different bytes are never shown alike.
    """
    text = raw[:limit].decode("ascii", "backslashreplace")
    text = "".join(char if " " <= char <= "~" else f"\\x{ord(char):02x}" for char in text)
    return text if len(raw) <= limit else f"{text}…{hashlib.sha256(raw).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Keyspace:
    """All keys below one prefix.

    Attributes:
        prefix: Such as ``/branchfront``: begins with a slash, has none at the end.
    """

    prefix: str = "/branchfront"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"(?:/[A-Za-z0-9._~%-]+)+", self.prefix):
            raise ValueError(
                f"{self.prefix!r} is no prefix; it should look like /branchfront: begin with a"
                " slash, end without one"
            )

    def __hash__(self) -> int:
        # asked for each of 20,000 keys of a snapshot; the string remembers its own
        return hash(self.prefix)

    @property
    def root(self) -> bytes:
        """What every key begins with; ends in a slash, so that no neighbour is covered."""
        return f"{self.prefix}/".encode()

    @property
    def routes(self) -> bytes:
        """What the keys of all instances begin with."""
        return self.root + b"routes/"

    @property
    def claims(self) -> bytes:
        """What the keys of all claims begin with."""
        return self.root + b"claims/"

    @property
    def frontends(self) -> bytes:
        """What the keys of all frontends begin with."""
        return self.root + b"frontends/"

    def within(self, branch: str) -> tuple[bytes, bytes]:
        """What the route and claim keys of one branch begin with."""
        part = encode(branch).encode() + b"/"
        return self.routes + part, self.claims + part

    def raw(self, key: Key) -> bytes:
        """Write a key.

        Raises:
            ValueError: A name in it cannot be part of a key.
        """
        match key:
            case RouteKey(branch, service, instance):
                parts = ["routes", encode(branch), encode(service)]
                parts += [encode(instance)] if instance else []
            case ClaimKey(branch, service):
                parts = ["claims", encode(branch), encode(service)]
            case FrontendKey(frontend):
                parts = ["frontends", encode(frontend)]
            case _:
                parts = ["release"]
        return self.root + "/".join(parts).encode()

    def parse(self, raw: bytes) -> Key:
        """Read a key.

        Raises:
            ValueError: It has none of the shapes, or a part is not canonical.
        """
        return _parse(raw.removeprefix(self.root) if raw.startswith(self.root) else b"")


def _parse(tail: bytes) -> Key:
    kind, _, rest = tail.partition(b"/")
    parts = rest.split(b"/") if rest else []
    match kind, len(parts):
        case b"routes", 2 | 3:
            return RouteKey(*map(decode, parts))
        case b"claims", 2:
            return ClaimKey(*map(decode, parts))
        case b"frontends", 1:
            return FrontendKey(decode(parts[0]))
        case b"release", 0 if tail == b"release":
            return ReleaseKey()
        case b"routes", count:
            raise ValueError(
                f"the key has {count} parts after routes/, not 2 or 3; a slash in a branch's name"
                " is written %2F"
            )
        case b"claims", count:
            raise ValueError(f"the key has {count} parts after claims/, not 2")
        case _:
            raise ValueError("the key is none of routes/, claims/, frontends/ and release")
