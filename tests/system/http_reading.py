"""A second reading of what a client sends, with nothing of nginx in it: which host is each request
for, and where does it end?

Where the standard lets a reader be lenient or refuse, this one takes whatever is not dangerous; a
message that could be read in two ways is unreadable, and so is all that comes behind it.

Source:
    RFC 9112 (messages), RFC 9110 (fields), RFC 3986, section 3.2 (authorities).
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

_REQUEST_LINE = re.compile(
    # RFC 9112, section 3: lenient towards several spaces; neither bytes above ASCII in a path nor
    # a long version make it another host's
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) +([\x21-\x7e\x80-\xff]+) +HTTP/1\.([0-9]{1,3}) *"
)
_SIMPLE_LINE = re.compile(rb"(GET) +([A-Za-z][A-Za-z0-9+.-]*://[\x21-\x7e\x80-\xff]+) *")
"""HTTP/0.9, which has no headers; only a whole URI names a host in it (RFC 1945, section 5)."""

_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)(.*)", re.DOTALL)
_FIELD_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_AUTHORITY = re.compile(
    rb"([A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?",
)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")


class Unreadable(ValueError):
    """It is no request, or one that can be read in two ways."""


class Incomplete(ValueError):
    """More would have to come."""


class Request(NamedTuple):
    """One request.

    Attributes:
        target: Path and query.
        authority: Host and port that it names, as they are written.
        body: As far as it came.
        is_whole: The body came to its end.
        is_last: Nothing that follows on the connection is a request.
    """

    method: bytes
    target: bytes
    authority: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    is_whole: bool
    is_last: bool

    @property
    def host(self) -> str:
        """Whom it is for: in lower case, without port and without the root's dot."""
        name = re.sub(rb":[0-9]*$", b"", self.authority).decode("latin-1").lower()
        return name.removesuffix(".")

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a header."""
        return values(self.headers, name)


class Reading(NamedTuple):
    """What a stream of bytes says.

    Attributes:
        requests: Up to the first that is unreadable.
        is_open: Who reads it has to wait for more.
    """

    requests: tuple[Request, ...]
    is_open: bool


def values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """Every value of a header."""
    return [value for found, value in headers if found.lower() == name.lower()]


def read(raw: bytes) -> Reading:
    """Read all that a client sends on one connection."""
    requests: list[Request] = []
    place = 0
    while True:
        # RFC 9112, section 2.2: empty lines in front of a request are ignored
        while raw.startswith((b"\r", b"\n"), place):
            place += 1
        try:
            request, place = _read_one(raw, place)
        except Incomplete:
            return Reading(tuple(requests), is_open=True)
        except Unreadable:
            return Reading(tuple(requests), is_open=False)
        requests.append(request)
        if request.is_last:
            return Reading(tuple(requests), is_open=not request.is_whole)


def _read_one(raw: bytes, place: int) -> tuple[Request, int]:
    simple = _SIMPLE_LINE.fullmatch(raw[place : raw.find(b"\n", place)].removesuffix(b"\r"))
    if simple:
        target, authority = _read_target(simple[1], simple[2], (), is_first=True)
        return Request(simple[1], target, authority, (), b"", is_whole=True, is_last=True), len(raw)
    lines, place = _read_head(raw, place)
    parts = _REQUEST_LINE.fullmatch(lines[0])
    if not parts:
        raise Unreadable(lines[0])
    method, target, minor = parts[1], parts[2], int(parts[3])
    headers = tuple(_read_fields(lines[1:]))
    target, authority = _read_target(method, target, headers, is_first=minor == 0)
    try:
        body, place = _read_body(raw, place, headers, is_first=minor == 0)
        is_whole = True
    except Incomplete as exc:
        body, is_whole = exc.args[0], False
    options = b",".join(values(headers, b"Connection")).lower().replace(b" ", b"").split(b",")
    is_kept = b"close" not in options and (minor > 0 or b"keep-alive" in options)
    request = Request(
        method, target, authority, headers, body, is_whole, not (is_kept and is_whole)
    )
    return request, place


def _read_head(raw: bytes, place: int) -> tuple[list[bytes], int]:
    lines: list[bytes] = []
    while True:
        end = raw.find(b"\n", place)
        if end < 0:
            if b"\0" in raw[place:]:
                raise Unreadable(b"a NUL")
            raise Incomplete(b"")
        # RFC 9112, section 2.2: a line may end without its CR
        line = raw[place:end].removesuffix(b"\r")
        place = end + 1
        if b"\r" in line or b"\0" in line:
            raise Unreadable(line)
        if not line:
            return lines, place
        lines.append(line)


def _read_fields(lines: list[bytes]) -> Iterable[tuple[bytes, bytes]]:
    for line in lines:
        name, colon, value = line.partition(b":")
        # section 5.2: a folded line; section 5.1: whitespace in front of the colon
        if line[:1] in {b" ", b"\t"} or name[-1:] in {b" ", b"\t"}:
            raise Unreadable(line)
        if colon and _FIELD_NAME.fullmatch(name):
            yield name, value.strip(b" \t")
        # what is no field says nothing, and may be left out


def _read_target(
    method: bytes, target: bytes, headers: tuple[tuple[bytes, bytes], ...], *, is_first: bool
) -> tuple[bytes, bytes]:
    """Path and query, and the authority that the request names."""
    hosts = values(headers, b"Host")
    # section 3.2: one Host, even where the target names another
    if len(hosts) > 1 or (not hosts and not is_first):
        raise Unreadable(b"no Host, or several")
    if method == b"CONNECT":
        raise Unreadable(b"a tunnel")
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        host = hosts[0] if hosts else b""
        if host and not _AUTHORITY.fullmatch(host):
            raise Unreadable(host)
        return target, host
    # section 3.2.2: what Host says does not count
    absolute = _ABSOLUTE.fullmatch(target)
    if not absolute or not _AUTHORITY.fullmatch(absolute[1]):
        # RFC 9110, section 4.2.4: a user in a URI is for deceiving people
        raise Unreadable(target)
    rest = absolute[2]
    return rest if rest.startswith(b"/") else b"/" + rest, absolute[1]


def _read_body(
    raw: bytes, place: int, headers: tuple[tuple[bytes, bytes], ...], *, is_first: bool
) -> tuple[bytes, int]:
    """RFC 9112, section 6.3, without what it lets a reader guess."""
    codings = values(headers, b"Transfer-Encoding")
    lengths = values(headers, b"Content-Length")
    if codings:
        if lengths or is_first or [one.lower() for one in codings] != [b"chunked"]:
            raise Unreadable(b"a body of two lengths")
        return _read_chunks(raw, place)
    if not lengths:
        return b"", place
    if len(lengths) > 1 or not re.fullmatch(rb"[0-9]{1,19}", lengths[0]):
        raise Unreadable(b"a length that is none")
    end = place + int(lengths[0])
    if end > len(raw):
        raise Incomplete(raw[place:])
    return raw[place:end], end


def _read_chunks(raw: bytes, place: int) -> tuple[bytes, int]:
    """The body behind its chunks; one that breaks off or is broken has no end."""
    body = b""
    while True:
        size = _CHUNK.match(raw, place)
        if not size:
            raise Incomplete(body)
        place = size.end()
        length = int(size[1], 16)
        if not length:
            break
        body += raw[place : place + length]
        place += length
        if raw[place : place + 2] != b"\r\n":
            raise Incomplete(body)
        place += 2
    # trailers, which say nothing that anybody should believe
    while True:
        end = raw.find(b"\r\n", place)
        if end < 0:
            raise Incomplete(body)
        line, place = raw[place:end], end + 2
        if not line:
            return body, place
        if b"\n" in line or b"\r" in line:
            raise Incomplete(body)
