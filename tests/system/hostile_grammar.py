"""Requests as an attacker writes them: a good one, and one to three tricks played on it.

Which tricks and where comes from a seeded generator, so a seed and a number are a request. Each
request carries a header ``X-Case: <number>.<part>``: part 0 is the request itself, part 1 an
honest one behind it, parts from 11 on are hidden in a body.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.system.hostile_words import (
    BEFORE,
    CHUNKS,
    CODING_LINES,
    LENGTHS,
    LIES,
    LYING,
    METHODS,
    NAME_LINES,
    NAMES,
    ODD_LINES,
    PATHS,
    TARGETS,
    UPGRADES,
    VERSIONS,
)

Rng = random.Random


@dataclass(slots=True)
class Draft:
    """A request that is not put together yet.

    Attributes:
        host: Whom it is for, to begin with.
        other: Whom a trick would like to reach.
        ends: What ends each line.
        before: Bytes in front of it.
        after: Bytes behind it.
        is_followed: An honest request for the other one comes behind it.
    """

    case: int
    host: str
    other: str
    method: bytes = b"GET"
    target: bytes = b"/"
    version: bytes = b" HTTP/1.1"
    hosts: list[bytes] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    body: bytes = b""
    ends: bytes = b"\r\n"
    before: bytes = b""
    after: bytes = b""
    is_followed: bool = False
    hidden_parts: int = 0

    def fill(self, pattern: str) -> bytes:
        """A pattern with the names put in."""
        text = pattern.replace("<h>", self.host).replace("<H>", self.host.upper())
        return text.replace("<o>", self.other).encode("latin-1")

    def hidden(self) -> bytes:
        """A request for the other one that must not come to be one."""
        self.hidden_parts += 1
        return honest(self.case, 10 + self.hidden_parts, self.other)

    def written(self) -> bytes:
        """All of it, as it goes over the wire."""
        # the case comes first: a line in here may end the head
        lines = [b"X-Case: %d.0" % self.case, *self.hosts, *self.lines]
        if not self.is_followed:
            lines.append(b"Connection: close")
        else:
            self.after += honest(self.case, 1, self.other, more=b"Connection: close\r\n")
        first = self.method + b" " + self.target + self.version
        head = b"".join(line + self.ends for line in (first, *lines, b""))
        return self.before + head + self.body + self.after


Trick = Callable[[Rng, Draft], None]


def honest(case: int, part: int, host: str, *, more: bytes = b"") -> bytes:
    """A request with nothing wrong in it."""
    head = f"GET /{part} HTTP/1.1\r\nHost: {host}\r\nX-Case: {case}.{part}\r\n".encode()
    return head + more + b"\r\n"


def requests(hosts: Sequence[str], *, count: int, seed: int) -> list[bytes]:
    """So many hostile requests, each with what comes before and behind it."""
    rng = random.Random(seed)  # noqa: S311 - requests, no secrets
    return [_request(rng, hosts, case) for case in range(count)]


def _request(rng: Rng, hosts: Sequence[str], case: int) -> bytes:
    host, other = rng.sample(list(hosts), 2)
    draft = Draft(case, host, other, hosts=[f"Host: {host}".encode()])
    draft.is_followed = rng.random() < 0.3
    # one trick alone goes deepest; several meet where nobody has looked
    for trick in rng.choices(TRICKS, k=rng.choice((1, 1, 1, 2, 2, 3))):
        trick(rng, draft)
    return draft.written()


def _name(rng: Rng, draft: Draft) -> None:
    draft.hosts = [b"Host: " + draft.fill(rng.choice(NAMES))]


def _name_lines(rng: Rng, draft: Draft) -> None:
    draft.hosts = [draft.fill(line) for line in rng.choice(NAME_LINES)]


def _method(rng: Rng, draft: Draft) -> None:
    draft.method = rng.choice(METHODS)


def _version(rng: Rng, draft: Draft) -> None:
    draft.version = rng.choice(VERSIONS)


def _target(rng: Rng, draft: Draft) -> None:
    draft.target = draft.fill(rng.choice(TARGETS))
    if rng.random() < 0.1:
        draft.method = b"CONNECT"


def _path(rng: Rng, draft: Draft) -> None:
    draft.target = draft.fill("".join(rng.choices(PATHS, k=rng.choice((1, 1, 2, 4)))))


def _lies(rng: Rng, draft: Draft) -> None:
    for _ in range(rng.randint(1, 6)):
        name, value = rng.choice(LYING), draft.fill(rng.choice(LIES))
        draft.lines.append(name + b": " + value)


def _odd_lines(rng: Rng, draft: Draft) -> None:
    draft.lines.insert(rng.randrange(len(draft.lines) + 1), draft.fill(rng.choice(ODD_LINES)))


def _lengths(rng: Rng, draft: Draft) -> None:
    """A body that is as long as somebody believes."""
    hidden = draft.hidden()
    draft.method = rng.choice((b"POST", b"PUT", b"GET", b"HEAD", b"OPTIONS"))
    draft.body = rng.choice((hidden, b"0\r\n\r\n" + hidden, b"x" * rng.randrange(64), b""))
    length = rng.choice((0, len(draft.body), len(draft.body), 5, len(draft.body) + 7))
    texts = [
        rng.choice(LENGTHS).replace("<n>", str(length)) for _ in range(rng.choice((1, 1, 1, 2)))
    ]
    names = ("Content-Length", "content-length", "Content_Length", "Content-Length ", "Content-Len")
    draft.lines += [
        f"{rng.choice(names[:2] * 6 + names)}: {text}".encode("latin-1") for text in texts
    ]


def _codings(rng: Rng, draft: Draft) -> None:
    """A body in chunks, for those who believe it."""
    hidden, behind = draft.hidden(), draft.hidden()
    draft.method = rng.choice((b"POST", b"PUT", b"GET", b"DELETE"))
    draft.lines += [
        line.encode("latin-1") for line in rng.choice(CODING_LINES + CODING_LINES[:1] * 12)
    ]
    chunks = draft.fill(rng.choice(CHUNKS))
    draft.body = chunks.replace(b"<hidden>", hidden).replace(b"<size>", b"%x" % len(hidden))
    draft.after += rng.choice((b"", b"", behind))


def _both_lengths(rng: Rng, draft: Draft) -> None:
    _codings(rng, draft)
    length = rng.choice((0, 3, 5, len(draft.body), len(draft.body) + 10))
    draft.lines.insert(rng.randrange(len(draft.lines) + 1), b"Content-Length: %d" % length)


def _ends(rng: Rng, draft: Draft) -> None:
    draft.ends = rng.choice((b"\n", b"\r\r\n", b"\n\r", b"\r", b"\r\n ", b"\0\r\n"))


def _before(rng: Rng, draft: Draft) -> None:
    draft.before = draft.fill(rng.choice(BEFORE))


def _after(rng: Rng, draft: Draft) -> None:
    """Something behind a request that is none, or that was not asked for."""
    draft.is_followed = True
    draft.after = rng.choice((b"\r\n", b"\n\n", b"0\r\n\r\n", b"x", b"\0", b"GET /\r\n", b" "))


def _upgrade(rng: Rng, draft: Draft) -> None:
    """Who is let through an upgrade sends requests that nobody looks at."""
    draft.lines += rng.choice(UPGRADES)
    draft.after += rng.choice(
        (draft.hidden(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x81\x05hello")
    )


def _long(rng: Rng, draft: Draft) -> None:
    size = rng.choice((1_000, 8_000, 16_384, 20_000, 70_000))
    match rng.randrange(7):
        case 0:
            draft.target = b"/" + b"a" * size
        case 1:
            draft.target = b"/" + b"a/../" * (size // 5)
        case 2:
            draft.lines.append(b"Cookie: " + b"x" * size)
        case 3:
            draft.lines += [b"X-%d: x" % number for number in range(size // 20)]
        case 4:
            draft.lines.append(b"X" * size + b": x")
        case 5:
            draft.method = b"A" * size
        case _:
            draft.hosts = [b"Host: " + b"a" * size + b"." + draft.host.encode()]


TRICKS: Sequence[Trick] = (
    *(_name, _name, _name_lines, _method, _version, _target, _target, _path, _lies, _lies),
    *(_odd_lines, _lengths, _codings, _both_lengths, _ends, _before, _after, _upgrade, _long),
)
