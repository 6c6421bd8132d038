"""Asking an ASGI app without a server, in time that passes only where somebody waits.

with Runner(loop_factory=SkippingLoop) as runner:
    answer = runner.run(ask(app, "/api/v1/branches"))
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from selectors import DefaultSelector, SelectorKey
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Scope


class _Skipping(DefaultSelector):
    """Waits for nothing; it notes how long it should have waited."""

    skipped_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout:
            self.skipped_s += timeout
        return found


class SkippingLoop(asyncio.SelectorEventLoop):
    """A loop on which an hour passes at once."""

    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.skipped_s


@dataclass
class Answer:
    """One response. The body grows while it is sent."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_complete: bool = False

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Asking:
    """One request on its way; the client may read slowly, and hang up.

    Attributes:
        reads: While it is cleared the client takes nothing.
        largest: Bytes of the largest piece that came at once.
    """

    def __init__(
        self,
        app: ASGIApp,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        raw, _, query = path.partition("?")
        self.answer = Answer()
        self.reads = asyncio.Event()
        self.reads.set()
        self.largest = 0
        self._gone = asyncio.Event()
        self._news = asyncio.Event()
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(raw),
            "raw_path": raw.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()],
            "client": None,
            "server": None,
        }
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def until(self, count: int, what: bytes = b"id: ", *, within_s: float = 3600.0) -> bytes:
        """What has come as soon as there is so much of something in it."""
        async with asyncio.timeout(within_s):
            while self.answer.body.count(what) < count:
                self._news.clear()
                await self._news.wait()
        return self.answer.body

    async def hang_up(self) -> None:
        """Leave."""
        self._gone.set()
        await self.task

    async def _receive(self) -> Message:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self.reads.wait()
        if message["type"] == "http.response.start":
            self.answer.status = message["status"]
            self.answer.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            body = message.get("body", b"")
            self.largest = max(self.largest, len(body))
            self.answer.body += body
            self.answer.is_complete = not message.get("more_body")
        self._news.set()


async def ask(
    app: ASGIApp, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None
) -> Answer:
    """Ask, and wait for the end of the answer."""
    asking = Asking(app, path, method=method, headers=headers)
    await asking.task
    return asking.answer
