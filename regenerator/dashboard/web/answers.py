"""Answers that have an end, on their way out: compressed, in pieces, and only so many at a time.

Streams have bounds of their own, so that neither keeps people from the other.
"""

import asyncio
import gzip
import re
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from regenerator.dashboard.web.streams import pieces

ANSWERS_MAX = 16
"""Answers at a time. Each stays in memory until it is taken, and may have megabytes; who reads as
fast as it comes is done in milliseconds."""

PATIENCE_S = 2.0
"""For who comes when there are as many: nginx has given its client no answer yet."""

TAKEN_S = 60.0
"""For an answer until it is taken as a whole; nginx gives up on who takes nothing for as long."""

LEVEL = 1
"""Of gzip. A page of 2,000 branches, 2.8 MB, becomes 250 kB in 9 ms; level 6 makes 205 kB of it in
18 ms. Of 1.7 MB of JSON, level 1 makes the least of all: 61 kB, in 3 ms."""

SMALL_BYTES = 1024
"""Below this an answer goes into one packet as it is."""


class Answers:
    """Lets answers out."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(ANSWERS_MAX)
        self._compressed = (b"", b"")

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """What answers as the app does, which sends each body in one message."""

        async def bounded(scope: Scope, receive: Receive, send: Send) -> None:
            # before anything is written: what waits for room takes none
            await self._wait()
            try:
                await app(scope, receive, self._sending(scope, send))
            finally:
                self._room.release()

        return bounded

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._room.acquire()
        except TimeoutError as exc:
            raise HTTPException(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{ANSWERS_MAX} answers are on their way to who reads them slowly, "
                "which is all there may be",
                headers={"Retry-After": "1"},
            ) from exc

    def _sending(self, scope: Scope, send: Send) -> Send:
        is_compressed = takes_gzip(Headers(scope=scope).get("accept-encoding", ""))
        start: Message = {}

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                # its headers are known when the body is
                start.update(message)
                return
            headers = MutableHeaders(scope=start)
            headers.add_vary_header("Accept-Encoding")
            body: bytes = message["body"]
            if is_compressed and len(body) >= SMALL_BYTES:
                body = self._compress(body)
                headers["Content-Encoding"] = "gzip"
                headers["Content-Length"] = str(len(body))
            try:
                async with asyncio.timeout(TAKEN_S):
                    await send(start)
                    for piece in pieces(body):
                        await send({**message, "body": piece, "more_body": True})
                    # comes back when the client has nearly all
                    await send({**message, "body": b""})
            except TimeoutError:
                # what has begun cannot end well any more; the server closes the connection
                return

        return send_on

    def _compress(self, body: bytes) -> bytes:
        """The same for all who come for the same page, which is drawn once for them."""
        known, compressed = self._compressed
        if known is not body:
            compressed = gzip.compress(body, LEVEL, mtime=0)
            self._compressed = body, compressed
        return compressed


_NEVER = re.compile(r"\s*q\s*=\s*0(?:\.0*)?\s*")


def takes_gzip(accept: str) -> bool:
    """Whether somebody takes gzip, by the header ``Accept-Encoding``."""
    for part in accept.lower().split(","):
        name, _, weight = part.partition(";")
        if name.strip() == "gzip":
            return _NEVER.fullmatch(weight) is None
    return False
