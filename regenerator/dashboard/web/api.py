"""``/api/v1``: what is shown, for programs. ``openapi.json`` describes it."""

import importlib.resources
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Protocol

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from regenerator.dashboard.board import Board
from regenerator.dashboard.history.changes import Change
from regenerator.dashboard.web import documents, finding
from regenerator.dashboard.web.answers import Answers
from regenerator.dashboard.web.hub import Boards, Hub
from regenerator.dashboard.web.parameters import (
    CHANGES,
    CHANGES_MAX,
    LIMIT_MAX,
    Parameters,
    read_parameters,
)
from regenerator.dashboard.web.streams import Channel, Event

ROOT = "/api/v1"

_LIST = ("q", "after", "limit")


class Changes(Protocol):
    """What is asked of a history."""

    def changes(
        self, branch: str = "", service: str = "", *, limit: int, before_at: float | None
    ) -> Sequence[Change]:
        """The newest first."""


class Desk(Boards, Protocol):
    """What is asked of a desk."""

    @property
    def generation(self) -> str:
        """What nginx serves; empty if nothing is known yet."""

    @property
    def history(self) -> Changes:
        """What was served when."""

    def readiness(self) -> tuple[bool, Mapping[str, object]]:
        """Whether requests should come here, and what there is to know of that."""


class Api:
    """Answers from one desk."""

    def __init__(self, desk: Desk, hub: Hub, answers: Answers) -> None:
        self._desk = desk
        self._hub = hub
        self._answers = answers
        self._written = documents.Branches()
        self._channel = Channel(hub, self._tell)
        self._description = (
            importlib.resources.files("regenerator.dashboard.web")
            .joinpath("openapi.json")
            .read_bytes()
        )

    def routes(self) -> list[Route]:
        """Where what is."""
        whole = [Middleware(self._answers.wrap)]
        return [
            Route(f"{ROOT}/branches", self.branches, middleware=whole),
            # a branch's name has slashes, as they are or as %2F
            Route(f"{ROOT}/branches/{{branch:path}}", self.branch, middleware=whole),
            Route(f"{ROOT}/routes", self.hosts, middleware=whole),
            Route(f"{ROOT}/frontends", self.frontends, middleware=whole),
            Route(f"{ROOT}/rejections", self.rejections, middleware=whole),
            Route(f"{ROOT}/history", self.history, middleware=whole),
            Route(f"{ROOT}/events", self.events),
            Route(f"{ROOT}/openapi.json", self.description, middleware=whole),
        ]

    def check_known(self) -> None:
        """See to it that nobody is shown an empty board because it is not there yet.

        Raises:
            HTTPException: Nothing is known yet, which lasts for a moment after a start.
        """
        if not self._desk.generation:
            raise HTTPException(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "the dashboard has just started, and does not know the branches yet",
                headers={"Retry-After": "1"},
            )

    async def branches(self, request: Request) -> Response:
        """All branches, or those that hold what is looked for."""
        asked = _read(request, _LIST)

        def document(board: Board) -> bytes:
            found = finding.matching(board.branches, asked.q)
            part = finding.branch_part(found, after=asked.after, limit=asked.limit)
            return self._written.document(board, part)

        return self._answer(request, document)

    async def branch(self, request: Request) -> Response:
        """One branch."""
        _read(request, ())
        # not as the router takes it, which loses a line break at its end
        name = request.scope["path"].removeprefix(f"{ROOT}/branches/")

        def document(board: Board) -> bytes:
            for one in board.branches:
                if one.branch == name:
                    return self._written.one(one) + b"\n"
            raise HTTPException(
                HTTPStatus.NOT_FOUND,
                f"there is no branch {name[:250]!r}: nothing of it is registered",
            )

        return self._answer(request, document)

    async def hosts(self, request: Request) -> Response:
        """Every host, with the addresses behind it."""
        asked = _read(request, _LIST)

        def document(board: Board) -> bytes:
            found = finding.routes(board, query=asked.q)
            part = finding.route_part(found, after=asked.after, limit=asked.limit)
            return documents.routes_document(board, part)

        return self._answer(request, document)

    async def frontends(self, request: Request) -> Response:
        """All frontends, by what they report."""
        _read(request, ())
        return self._answer(request, documents.frontends_document)

    async def rejections(self, request: Request) -> Response:
        """What is left out, and why."""
        _read(request, ())
        return self._answer(request, documents.rejections_document)

    async def history(self, request: Request) -> Response:
        """What became of routes, the newest first."""
        asked = _read(request, ("branch", "service", "limit", "before"), limit_max=CHANGES_MAX)
        self.check_known()
        changes = self._desk.history.changes(
            asked.branch,
            asked.service,
            limit=asked.limit or CHANGES,
            before_at=asked.before,
        )
        return Response(documents.history_document(changes), media_type="application/json")

    async def events(self, request: Request) -> Response:
        """What changes, as it does."""
        asked = _read(request, ("since",))
        self.check_known()
        return self._channel.answer(request, since=asked.since)

    async def description(self, request: Request) -> Response:
        """All of this, for programs."""
        _read(request, ())
        return Response(self._description, media_type="application/json")

    def _answer(self, request: Request, document: Callable[[Board], bytes]) -> Response:
        """A document, unless the client has it already."""
        self.check_known()
        headers = {"ETag": f'W/"{self._hub.name(self._desk.version)}"'}
        known = request.headers.get("if-none-match", "").split(",")
        if headers["ETag"] in map(str.strip, known):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        body = document(self._desk.board)
        return Response(body, headers=headers, media_type="application/json")

    def _tell(self, before: Board | None, after: Board) -> Iterable[Event]:
        fields = documents.head(after)
        if before is None or documents.head(before) != fields:
            yield Event("board", documents.write(fields))
        if changes := self._written.changes(before, after):
            yield Event("branches", changes)


def _read(request: Request, known: tuple[str, ...], *, limit_max: int = LIMIT_MAX) -> Parameters:
    given = request.query_params.multi_items()
    try:
        return read_parameters(given, known=known, limit_max=limit_max)
    except ValueError as exc:
        raise HTTPException(HTTPStatus.BAD_REQUEST, str(exc)) from exc
