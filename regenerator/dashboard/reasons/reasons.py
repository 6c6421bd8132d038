"""Our own pages, by what is known: why a host is not served, for people and for programs.

nginx asks for them with what a request was about. Whatever goes wrong in here raises, and nginx
then shows the page that lies on disk, which knows nothing but the status.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import unquote

from regenerator.dashboard.board import Board, ServiceView, Status
from regenerator.dashboard.desk import Desk
from regenerator.dashboard.history.changes import Change, ChangeKind
from regenerator.dashboard.reasons.asking import Asking, Verdict
from regenerator.dashboard.reasons.explaining import Asked, Known, Reason, explain, look_again_s
from regenerator.dashboard.reasons.nearest import HOST_MAX
from regenerator.dashboard.reasons.sentences import Word
from regenerator.dashboard.reasons.whereabouts import Suggestion, Whereabouts, find_service
from regenerator.instants import absolute, ago, iso
from regenerator.policy import content_security_policy
from regenerator.render import page_environment
from registry.keys import ClaimKey
from registry.records import Address

SUGGESTIONS = 3
"""Hosts behind "did you mean": more would be a list, and there is one already."""

WAITING = frozenset({502, 503, 504})
"""Statuses that say when to come back (RFC 9110, section 10.2.3)."""

NOT_FOUND = 404

NOBODY = ClaimKey("", "")
"""Has a host that nobody has."""

_STYLE = "pages/page.css"
_SCRIPT = "pages/reason.js"


class Answer(NamedTuple):
    """A page or a problem document."""

    body: bytes
    content_type: str
    headers: Mapping[str, str]


class Reasons:
    """Makes the pages. The event loop's alone."""

    def __init__(
        self,
        desk: Desk,
        *,
        asking: Asking | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._desk = desk
        self._asking = asking or Asking()
        self._now = now
        self._environment = page_environment(desk.templates)
        self._policy = content_security_policy(
            styles=[desk.templates.get(_STYLE, "")], scripts=[desk.templates.get(_SCRIPT, "")]
        )
        self._located: Whereabouts | None = None
        self._located_at = (0, "")

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
        method: str = "GET",
    ) -> Answer:
        """The page for a status. It is not to be asked for before the desk knows anything.

        Args:
            host: In lower case; empty where it cannot be shown.
            branch: As nginx writes it: percent-encoded if it is unusual; empty if nobody's.
            service: Likewise.
            address: The last one that was tried; empty if none was.
            method: Of the request. A page that came instead of an answer to a form is not to be
                asked for again by itself: the form would be lost.
        """
        board = self._desk.board
        asked = Asked(
            status,
            host if len(host) <= HOST_MAX else "",
            unquote(branch),
            unquote(service),
            address,
        )
        asked, known = await self._look_up(asked, board)
        reason = explain(asked, known)
        if method not in {"GET", "HEAD"}:
            reason = replace(reason, is_watched=False)
        suggestions: tuple[Suggestion, ...] = ()
        if reason.word is Word.NEVER_REGISTERED and known.is_open:
            suggestions = tuple(islice(self._whereabouts(board).suggest(asked.host), SUGGESTIONS))
        write = self._problem if is_json else self._page
        answer = write(asked, reason, suggestions=suggestions, request_id=request_id)
        headers = {**answer.headers, "X-Reason": reason.word.value}
        if status in WAITING and reason.wait_s:
            headers["Retry-After"] = str(reason.wait_s)
        return answer._replace(headers=headers)

    async def _look_up(self, asked: Asked, board: Board) -> tuple[Asked, Known]:
        """All that is known of what was asked for."""
        owner = ClaimKey(asked.branch, asked.service)
        change: Change | None = None
        if asked.status == NOT_FOUND:
            owner = self._whereabouts(board).owner_of(asked.host) or NOBODY
            if owner is NOBODY:
                change = self._last_change_of(asked.host, board)
        elif owner.branch:
            change = self._desk.last_change(*owner)
        service = find_service(board, owner) if owner is not NOBODY else None
        named = ClaimKey(change.branch, change.service) if owner is NOBODY and change else owner
        known = Known(
            domain=board.domain,
            service=service,
            rejections=tuple(
                one for one in board.rejections if (one.branch, one.service) == named != NOBODY
            ),
            change=change,
            verdict=await self._ask(asked, service),
            read_timeout_s=self._desk.settings.text.read_timeout_s,
            is_open=self._desk.settings.text.is_listed_openly,
        )
        return replace(asked, branch=named.branch, service=named.service), known

    def _last_change_of(self, host: str, board: Board) -> Change | None:
        """What became of who had a host that nobody has now."""
        if host.partition(".")[2] != board.domain:
            return None
        last = self._desk.history.owner_of(host)
        if last is None or self._desk.history.is_up_to_date():
            return self._desk.last_change(*last) if last else None
        if find_service(board, ClaimKey(*last)) is not None:
            return None
        # that it is gone is sure; the history cannot tell since when
        return Change(0.0, 0, "", *last, "", "", ChangeKind.UNCLAIMED)

    async def _ask(self, asked: Asked, service: ServiceView | None) -> Verdict:
        """What the address says that was tried, if it is one of this service's."""
        if asked.status not in {502, 504} or service is None:
            return Verdict.UNKNOWN
        served = {
            one.address for one in service.instances if one.status in (Status.SERVING, Status.HELD)
        }
        if asked.address not in served:
            return Verdict.UNKNOWN
        address = Address.parse(asked.address)
        if self._desk.settings.rules.addresses.objection(address):
            return Verdict.UNKNOWN
        return await self._asking.ask(address)

    def _whereabouts(self, board: Board) -> Whereabouts:
        """Of this board; made anew when the registry has changed, and not for every request."""
        if self._located is None or self._located_at != (board.revision, board.generation):
            self._located = Whereabouts(board)
            self._located_at = (board.revision, board.generation)
        return self._located

    def _page(
        self,
        asked: Asked,
        reason: Reason,
        *,
        suggestions: tuple[Suggestion, ...],
        request_id: str,
    ) -> Answer:
        now = self._now()
        text = self._environment.get_template("pages/reason.html.j2").render(
            settings=self._desk.settings.text,
            status=asked.status,
            asked=asked,
            reason=reason,
            since=_moment(reason.since, now=now) if reason.since else "",
            since_at=iso(reason.since),
            again_s=look_again_s(reason, now=now),
            suggestions=suggestions,
            request_id=request_id,
        )
        policy = {"Content-Security-Policy": self._policy}
        return Answer(text.encode(), "text/html; charset=utf-8", policy)

    def _problem(
        self,
        asked: Asked,
        reason: Reason,
        *,
        suggestions: tuple[Suggestion, ...],
        request_id: str,
    ) -> Answer:
        """RFC 9457."""
        words: Any = self._environment.get_template("pages/words.j2").module
        detail = reason.detail or str(words.detail(asked.status))
        advice = reason.advice or str(words.hint(asked.status))
        document = {
            "type": "about:blank",
            "title": reason.title or str(words.title(asked.status)),
            "status": asked.status,
            "detail": f"{detail} {advice}",
            "reason": reason.word.value,
            "since": iso(reason.since) if reason.since else None,
            "host": asked.host,
            "branch": asked.branch,
            "service": asked.service,
            "addresses": [one.address for one in reason.instances],
            "instances": [
                {
                    "name": one.name,
                    "address": one.address,
                    "status": one.status.value,
                    "reason": one.reason,
                }
                for one in reason.instances
            ],
            "conflicts": list(reason.conflicts),
            "did_you_mean": [one._asdict() for one in suggestions],
            "command": reason.command,
            "request_id": request_id,
        }
        return Answer(f"{json.dumps(document)}\n".encode(), "application/problem+json", {})


def _moment(at: float, *, now: float) -> str:
    """A time for people: ``14:03:12 UTC, 5 min ago``, with the date unless it is today's."""
    today = absolute(now)[: len("2026-11-21 ")]
    return f"{absolute(at).removeprefix(today)}, {ago(at, now=now)}"
