"""Clients that never ask twice, in a process of their own: whatever breaks, counts.

Reads a ``Crowd`` from stdin, then orders, one JSON line each, and says one line for each of them:
``tally``, ``lead`` (to other hosts), ``pause`` and ``resume``. It ends with stdin.

A client keeps its connection and opens a new one only where the last answer said that it would be
closed, or where it finds it closed before it sends: the latter is counted as cut, for clients that
do not look would have lost a request. Each answer has to be 200 and come from the branch that was
asked.
"""

import asyncio
import json
import random
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Self

ANSWER_S = 10.0
"""Loopback answers in a millisecond; ten seconds is what people wait before they reload."""

IDLE_S = (0.5, 8.0)
"""What an idle client thinks between two requests: shorter than the 10 s that a retiring worker
leaves it, as browsers and load balancers are."""

SLOW_S = 0.3
"""How long a slow request takes at the service."""

SLOW_PART = 0.02
"""Of all requests: enough that one is in flight at every moment that matters."""

POST_PART = 0.1
"""Of all requests: nginx never repeats one that it sent."""

TOLD_MOST = 2_000
"""Failures that are told one by one; all are counted."""

NOBODY = ""
"""In place of an ip: nobody may answer 200 for this host; any other status is right."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who asks.

    Attributes:
        port: The frontend's.
        busy: Clients that ask again after ``pause_s``, on average.
        idle: Clients that think for some seconds.
        hosts: What the ip begins with that may answer for a host.
    """

    port: int
    busy: int
    idle: int
    pause_s: float
    hosts: Mapping[str, str]

    def dump(self) -> str:
        """As one line."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read the line."""
        return cls(**json.loads(line))


class Failure(NamedTuple):
    """One request that was not answered as it should.

    Attributes:
        sent_at: When it was sent, on the monotonic clock.
        at: When it had failed.
        port: The client's own, which says which connection it was.
    """

    host: str
    what: str
    sent_at: float
    at: float
    port: int

    def __str__(self) -> str:
        took_ms = (self.at - self.sent_at) * 1000
        return f"{self.host}: {self.what} after {took_ms:.0f} ms"


@dataclass(slots=True)
class Tally:
    """What came of all requests so far.

    Attributes:
        cut: Connections that were closed while nothing was asked, without a word before.
        wrong: Answers of another branch's container.
    """

    asked: int = 0
    failed: int = 0
    cut: int = 0
    wrong: int = 0
    failures: list[Failure] = field(default_factory=list)

    def dump(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def parse(cls, fields: dict[str, Any]) -> Self:
        """Read it back."""
        failures = [Failure(*one) for one in fields.pop("failures")]
        return cls(failures=failures, **fields)


class _Closed(Exception):
    """The other side hung up in the middle of an answer, or before it."""


class _Client:
    """One client; it lives on one connection as long as it can."""

    def __init__(self, room: "_Room", *, think_s: tuple[float, float]) -> None:
        self._room = room
        self._think_s = think_s
        self._link: socket.socket | None = None

    async def live(self) -> None:
        room = self._room
        # not all at the same moment
        await room.think(room.rng.uniform(0, self._think_s[1]))
        while True:
            if room.is_pausing:
                self._hang_up()
                await room.park()
            await self._ask()
            await room.think(room.rng.uniform(*self._think_s))

    async def _ask(self) -> None:
        room = self._room
        host, ip = room.choose()
        room.tally.asked += 1
        if self._link is not None and _is_closed(self._link):
            room.tally.cut += 1
            self._hang_up()
        sent_at = time.monotonic()
        port = 0
        try:
            async with asyncio.timeout(ANSWER_S):
                link = self._link or await self._connect()
                port = link.getsockname()[1]
                sent_at = time.monotonic()
                await room.loop.sock_sendall(link, room.request(host))
                status, closes, body = await self._read(link)
        except (OSError, TimeoutError, _Closed) as exc:
            what = f"no answer in {ANSWER_S:g} s" if isinstance(exc, TimeoutError) else repr(exc)
            self._hang_up()
        else:
            if closes or status != 200:
                self._hang_up()
            is_right = body.startswith(ip) if ip else status != 200
            if is_right and (status == 200 or not ip):
                return
            is_wrong = status == 200 and not is_right
            room.tally.wrong += is_wrong
            what = f"{body} answered" if is_wrong else f"status {status}"
        room.fail(Failure(host, what, sent_at, time.monotonic(), port))

    async def _connect(self) -> socket.socket:
        self._link = socket.socket()
        self._link.setblocking(False)
        await self._room.loop.sock_connect(self._link, ("127.0.0.1", self._room.crowd.port))
        self._link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._link

    async def _read(self, link: socket.socket) -> tuple[int, bool, str]:
        """Status, whether the connection ends with it, and the body."""
        found = b""
        while b"\r\n\r\n" not in found:
            found += await self._receive(link)
        head, _, body = found.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        status = int(first.split(" ", 2)[1])
        if status != 200:
            # a page: who gets one hangs up
            return status, True, ""
        while len(body) < int(fields["content-length"]):
            body += await self._receive(link)
        return status, fields.get("connection") == "close", body.decode("latin-1")

    async def _receive(self, link: socket.socket) -> bytes:
        found = await self._room.loop.sock_recv(link, 65536)
        if not found:
            raise _Closed("hung up")
        return found

    def _hang_up(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


class _Room:
    """What all clients share."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.loop = asyncio.get_running_loop()
        self.rng = random.Random()  # noqa: S311 - hosts and pauses
        self.tally = Tally()
        self._hosts = list(crowd.hosts.items())
        self._pausing = asyncio.Event()
        self._resumed = asyncio.Event()
        self._parked = 0
        self._all_parked = asyncio.Event()

    @property
    def is_pausing(self) -> bool:
        return self._pausing.is_set()

    def choose(self) -> tuple[str, str]:
        return self.rng.choice(self._hosts)

    def request(self, host: str) -> bytes:
        path = f"/slow/{SLOW_S}" if self.rng.random() < SLOW_PART else "/"
        head = f"{path} HTTP/1.1\r\nHost: {host}:{self.crowd.port}\r\n"
        if self.rng.random() < POST_PART:
            return f"POST {head}Content-Length: 5\r\n\r\nhello".encode()
        return f"GET {head}\r\n".encode()

    def fail(self, failure: Failure) -> None:
        self.tally.failed += 1
        if len(self.tally.failures) < TOLD_MOST:
            self.tally.failures.append(failure)

    async def think(self, for_s: float) -> None:
        """Think, unless all are told to pause."""
        try:
            async with asyncio.timeout(for_s):
                await self._pausing.wait()
        except TimeoutError:
            pass

    async def park(self) -> None:
        self._parked += 1
        if self._parked == self.crowd.busy + self.crowd.idle:
            self._all_parked.set()
        await self._resumed.wait()
        self._parked -= 1

    async def pause(self) -> None:
        self._resumed.clear()
        self._all_parked.clear()
        self._pausing.set()
        await self._all_parked.wait()

    def resume(self) -> None:
        self._pausing.clear()
        self._resumed.set()

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        if order["do"] == "lead":
            self._hosts = list(order["hosts"].items())
        elif order["do"] == "pause":
            await self.pause()
        elif order["do"] == "resume":
            self.resume()
        return self.tally.dump()


def _is_closed(link: socket.socket) -> bool:
    """Whether the other side has closed it, or said something that nobody asked for."""
    try:
        link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


async def _run() -> None:
    orders = asyncio.StreamReader(limit=1 << 22)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    crowd = Crowd.parse((await orders.readline()).decode())
    room = _Room(crowd)
    pauses = [(0.0, 2 * crowd.pause_s)] * crowd.busy + [IDLE_S] * crowd.idle
    clients = [asyncio.create_task(_Client(room, think_s=think_s).live()) for think_s in pauses]
    watch = asyncio.gather(*clients)
    while line := await orders.readline():
        said = await room.obey(json.loads(line))
        sys.stdout.write(f"{json.dumps(said)}\n")
        sys.stdout.flush()
        if watch.done():
            # a mistake in here must not look like silence
            watch.result()
    watch.cancel()


if __name__ == "__main__":
    # Ctrl-C is for who started us; with our stdin, we end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_run())
