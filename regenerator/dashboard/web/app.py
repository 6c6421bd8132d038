"""The HTTP of the dashboard: who is asked for what, and which headers every answer has.

All of it is read only, so every answer is to GET or HEAD. What goes wrong is an RFC 9457 problem
with a sentence; where people asked, nginx shows what is on disk in its place.
"""

import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from traceback import walk_tb
from typing import Protocol

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from regenerator.dashboard.board import Board
from regenerator.dashboard.reasons.reasons import Answer
from regenerator.dashboard.web import documents
from regenerator.dashboard.web.answers import Answers
from regenerator.dashboard.web.api import Api, Desk
from regenerator.dashboard.web.hub import Hub
from regenerator.dashboard.web.parameters import QUERY_MAX
from regenerator.dashboard.web.streams import Channel, Event

log = logging.getLogger("dashboard")

DRAWN_S = 1.0
"""A page is good for so long if nothing changes: the times in it are minutes."""

TRACE_S = 60.0
"""Between two traces of one bug: strangers may run into it a thousand times a second."""


class Page(Protocol):
    """The page, drawn."""

    @property
    def policy(self) -> str:
        """Its ``Content-Security-Policy``."""

    def html(self, board: Board, *, version: str, query: str, now: float) -> str:
        """The whole."""

    def parts(self, before: Board, after: Board, *, now: float) -> Mapping[str, object]:
        """What has changed of it; empty for nothing."""


class Reasons(Protocol):
    """Why a request got no answer from a branch."""

    async def answer(
        self,
        status: int,
        *,
        is_json: bool,
        host: str,
        branch: str,
        service: str,
        address: str,
        request_id: str,
        method: str,
    ) -> Answer:
        """The page that says so."""


class Numbers(Protocol):
    """What is counted."""

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""


def _nobody(status: int) -> None:
    """Counts no pages."""


def build_app(
    desk: Desk,
    *,
    page: Page,
    reasons: Reasons,
    hub: Hub,
    tell_page: Callable[[int], None] = _nobody,
) -> ASGIApp:
    """What nginx asks.

    Args:
        hub: It outlives the app, which is built anew when a template was saved.
        tell_page: Is called with the status of each page of ours that was answered.
    """
    hub.forget()
    return _Guard(routes(desk, page=page, reasons=reasons, hub=hub, tell_page=tell_page))


def routes(
    desk: Desk,
    *,
    page: Page,
    reasons: Reasons,
    hub: Hub,
    tell_page: Callable[[int], None] = _nobody,
) -> list[Route]:
    """Everything that nginx may ask for."""
    answers = Answers()
    api = Api(desk, hub, answers)
    views = _Views(desk, page, reasons, hub=hub, api=api, tell_page=tell_page)
    return [
        Route("/", views.home, middleware=[Middleware(answers.wrap)]),
        Route("/events", views.events),
        *api.routes(),
        Route("/readyz", _readiness(desk)),
        Route("/{status:int}.{kind}", views.reason),
    ]


def build_metrics_app(desk: Desk, *, numbers: Numbers) -> ASGIApp:
    """What Prometheus asks, and whoever looks after it."""

    async def metrics(_: Request) -> Response:
        return Response(numbers.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def health(_: Request) -> Response:
        return Response("ok\n", media_type="text/plain")

    return _Guard(
        [
            Route("/metrics", metrics),
            Route("/healthz", health),
            Route("/readyz", _readiness(desk)),
        ]
    )


class _Views:
    """What people are shown."""

    def __init__(
        self,
        desk: Desk,
        page: Page,
        reasons: Reasons,
        *,
        hub: Hub,
        api: Api,
        tell_page: Callable[[int], None],
    ) -> None:
        self._desk = desk
        self._page = page
        self._reasons = reasons
        self._hub = hub
        self._api = api
        self._tell_page = tell_page
        self._channel = Channel(hub, self._tell)
        self._drawn: tuple[tuple[str, str], float, bytes] | None = None

    async def home(self, request: Request) -> Response:
        """The page, or what is on it as JSON, for who wants that."""
        if wants_json(request.headers.get("accept", "")):
            answer = await self._api.branches(request)
        else:
            self._api.check_known()
            answer = Response(
                self._html(request.query_params.get("q", "")[:QUERY_MAX]),
                media_type="text/html",
                headers={"Content-Security-Policy": self._page.policy},
            )
        answer.headers["Vary"] = "Accept"
        return answer

    async def events(self, request: Request) -> Response:
        """What changes on the page."""
        self._api.check_known()
        return self._channel.answer(request, since=request.query_params.get("since", ""))

    async def reason(self, request: Request) -> Response:
        """A page of ours; nginx puts the status that it has decided upon over it."""
        # who does not know the branches yet would say that there are none
        self._api.check_known()
        kind = request.path_params["kind"]
        if kind not in {"html", "json"}:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        about = {
            name: request.headers.get(f"x-page-{name}", "")
            for name in ("host", "branch", "service", "address", "method")
        }
        status = request.path_params["status"]
        found = await self._reasons.answer(
            status,
            is_json=kind == "json",
            request_id=request.headers.get("x-page-request", ""),
            **about,
        )
        self._tell_page(status)
        return Response(found.body, headers={"Content-Type": found.content_type, **found.headers})

    def _html(self, query: str) -> bytes:
        """The page as bytes: the same ones to all who ask for it at a time."""
        now = time.time()
        asked = (self._hub.note(), query)
        if self._drawn and self._drawn[0] == asked and 0 <= now - self._drawn[1] < DRAWN_S:
            return self._drawn[2]
        text = self._page.html(self._desk.board, version=asked[0], query=query, now=now)
        html = text.encode()
        self._drawn = asked, now, html
        return html

    def _tell(self, before: Board | None, after: Board) -> Iterable[Event]:
        if before is None:
            # the browser fetches the page anew: no whole table goes through a stream
            yield Event("anew", b"{}")
        elif parts := self._page.parts(before, after, now=time.time()):
            yield Event("parts", documents.write(parts))


_JSON = re.compile(r"application/(?:[a-z.]+\+)?json", re.IGNORECASE)


def wants_json(accept: str) -> bool:
    """Whether somebody asks for JSON rather than a page; nginx goes by the same rule."""
    return "text/html" not in accept.lower() and _JSON.search(accept) is not None


def _readiness(desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    async def readiness(_: Request) -> Response:
        is_ready, facts = desk.readiness()
        return Response(
            documents.write(facts) + b"\n",
            HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE,
            media_type="application/json",
        )

    return readiness


_SENTENCES = {
    HTTPStatus.NOT_FOUND: "there is nothing here; /api/v1/openapi.json says what there is",
    HTTPStatus.METHOD_NOT_ALLOWED: "this can only be read: ask with GET or HEAD",
    HTTPStatus.INTERNAL_SERVER_ERROR: "a bug of ours; the log of the frontend has the details",
}
"""What is said where nobody has said more."""


async def _problem(request: Request, exc: Exception) -> Response:
    """What went wrong, by RFC 9457."""
    fault = exc if isinstance(exc, HTTPException) else HTTPException(500)
    status = HTTPStatus(fault.status_code)
    fields = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": fault.detail if fault.detail != status.phrase else _SENTENCES[status],
        "request_id": request.headers.get("x-request-id", ""),
    }
    headers = dict(fault.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = "GET, HEAD"
    return Response(
        documents.write(fields) + b"\n",
        status,
        headers=headers,
        media_type="application/problem+json",
    )


class _Guard:
    """What is true of every answer: its headers, and that a bug in one ends no other."""

    def __init__(self, found: Sequence[Route]) -> None:
        self._app = Starlette(
            routes=found, exception_handlers={HTTPException: _problem, Exception: _problem}
        )
        self._app.router.redirect_slashes = False
        self._traced_at: dict[tuple[str, int], float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("Content-Security-Policy", "default-src 'none'")
            await send(message)

        try:
            await self._app(scope, receive, send_guarded)
        except Exception as exc:  # noqa: BLE001 - a bug in one answer ends no other
            # the problem was sent already, unless an answer had begun; then the server breaks off
            self._trace(exc, scope["path"])

    def _trace(self, exc: Exception, path: str) -> None:
        *_, (frame, line) = walk_tb(exc.__traceback__)
        place = (frame.f_code.co_filename, line)
        now = time.monotonic()
        if now - self._traced_at.get(place, -TRACE_S) >= TRACE_S:
            self._traced_at[place] = now
            log.error("a bug of ours, in an answer to %s", path, exc_info=exc)
