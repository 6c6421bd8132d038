"""Server-sent events: what has changed, to all who are looking. The event loop's alone.

Everybody is told the same at the same time: a hub looks at the board at most once a second, and
what has changed is worked out and written once, whoever follows. What a stream is told is the
difference between the board that its client has and the newest one, never a queue of what happened
in between: who reads slowly, or was away for a moment, misses nothing and costs no memory.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from http import HTTPStatus
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from regenerator.dashboard.board import Board
from regenerator.dashboard.web.hub import Hub

STREAMS_MAX = 200
"""Streams at a time: a whole company looking, and still only file descriptors."""

FULL_S = 5
"""Somebody may have closed a page after so long, where there are too many."""

EVENTS = "text/event-stream"

HEARTBEAT_S = 15.0
"""After so long a silence a comment is sent: proxies close what is silent for 30 to 60 s."""

STUCK_S = 30.0
"""Whoever takes nothing for so long is dropped; he connects again if he is there at all."""

GRACE_S = 5.0
"""Within so long we hear of a generation whose nginx has asked us already, or never will."""

RETRY_MS = (1000, 2000)
"""Within so long clients come back, each at a time of its own: a reload sends them all at once."""

PIECE_BYTES = 65536
"""Sent at once: nothing but the piece under way is copied for each stream."""


class Event(NamedTuple):
    """One event.

    Attributes:
        data: On one line.
    """

    name: str
    data: bytes


Tell = Callable[[Board | None, Board], Iterable[Event]]
"""What to tell whoever has the first board of the second; None has none that is known."""


class Channel:
    """One kind of events, for as many as follow it."""

    def __init__(self, hub: Hub, tell: Tell) -> None:
        self._hub = hub
        self._tell = tell
        self._written: dict[int | None, bytes] = {}
        self._written_of = -1

    def answer(self, request: Request, *, since: str) -> Response:
        """A stream.

        Args:
            since: What the board is called that the client was shown; it may be empty, and what it
                was told in an earlier stream counts for more.

        Raises:
            HTTPException: There are as many streams as may be.
        """
        if request.method == "HEAD":
            answer = Response(media_type=EVENTS)
            # nobody knows how long a stream will be
            del answer.headers["Content-Length"]
            return answer
        if self._hub.viewers >= STREAMS_MAX:
            raise HTTPException(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{STREAMS_MAX} streams are open, which is all there may be",
                headers={"Retry-After": str(FULL_S)},
            )
        since = request.headers.get("last-event-id") or since
        # of the nginx worker that asks, which may be retiring
        generation = request.headers.get("x-generation", "")
        return _Stream(self._hub, self._events(since, generation))

    async def _events(self, since: str, generation: str) -> AsyncIterator[bytes]:
        hub = self._hub
        clock = asyncio.get_running_loop().time
        told = hub.version_of(since)
        began_at = spoke_at = clock()
        began_with = hub.board.generation
        yield b"retry: %d\n\n" % random.randint(*RETRY_MS)  # noqa: S311 - spreads load
        while not hub.is_over:
            if told is None or told < hub.version:
                text, told = self._text(told), hub.version
                for piece in pieces(text):
                    yield piece
                spoke_at = clock()
            # nginx wants the worker to retire that a stream would keep; but one that is newer than
            # all we have heard of is not retiring
            patience_s = HEARTBEAT_S
            serving = hub.board.generation
            if serving == generation:
                began_with = serving
            elif generation:
                patience_s = began_at + GRACE_S - clock()
                if serving != began_with or patience_s <= 0:
                    return
            silent_s = spoke_at + HEARTBEAT_S - clock()
            if silent_s <= 0:
                # with its name, so that who comes back after a long silence is known still
                yield b": \nid: %s\n\n" % hub.name(told).encode()
                spoke_at = clock()
                silent_s = HEARTBEAT_S
            await hub.newer(told, within_s=min(silent_s, patience_s))

    def _text(self, told: int | None) -> bytes:
        """What to send to who was told of a version; the same object to all of them."""
        hub = self._hub
        if self._written_of != hub.version:
            self._written_of = hub.version
            self._written.clear()
        text = self._written.get(told)
        if text is None:
            events = [*self._tell(hub.kept(told), hub.board)]
            text = self._written[told] = _write(events, hub.name(hub.version))
        return text


class _Stream(StreamingResponse):
    """Counts itself as long as it lasts, and gives up on who does not read."""

    def __init__(self, hub: Hub, events: AsyncIterator[bytes]) -> None:
        super().__init__(events, media_type=EVENTS)
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._hub.enter()
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._hub.leave()

    async def stream_response(self, send: Send) -> None:
        """Send it until it ends, or nobody takes it."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(STUCK_S):
                await send(message)

        try:
            await super().stream_response(send_in_time)
        except TimeoutError:
            # what has begun cannot end well any more; the server closes the connection
            return


def _write(events: list[Event], name: str) -> bytes:
    """Events as they go over the wire; the last one says what the client has by then."""
    found = [b"event: %s\ndata: %s\n" % (one.name.encode(), one.data) for one in events]
    return b"\n".join((*found[:-1], b"%sid: %s\n\n" % (b"".join(found[-1:]), name.encode())))


def pieces(text: bytes) -> Iterator[bytes]:
    """A text as it is sent: nobody has all of it copied for him."""
    return (text[at : at + PIECE_BYTES] for at in range(0, len(text), PIECE_BYTES))
