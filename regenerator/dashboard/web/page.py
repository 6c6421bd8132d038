"""The page of the bare domain, and what of it has changed. Pure but for Jinja.

Rows are rendered once a branch and kept; ages are filled in whenever a row is sent, so that a page
is right without JavaScript, which then keeps them right.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain, zip_longest
from typing import Any, NamedTuple

from markupsafe import Markup

from regenerator.dashboard.board import Board, BranchView, ServiceView, Status
from regenerator.instants import ago, iso, seconds_of
from regenerator.render import RenderSettings, page_environment, page_policy

LEFT_OUT_MOST = 100
"""Records that were left out, on the page; whoever has more of them has one reason for most."""

_TIME = re.compile(r'<time datetime="([^"]*)"[^>]*>(?=</time>)')
"""A time whose age is to be filled in. No name can look like one: its ``<`` is escaped."""


_SCHEME = re.compile("^https?://")


class _Row(NamedTuple):
    """How one branch stands on the page.

    Attributes:
        id: Of its element.
        text: What is searched, in lower case.
        bits: The HTML, cut where an age is to be written.
        instants: One for each cut, in seconds since 1970.
    """

    id: str
    text: str
    bits: tuple[str, ...]
    instants: tuple[float, ...]

    def html(self, now: float) -> str:
        """With the ages of now."""
        ages = [ago(at, now=now) for at in self.instants]
        return "".join(chain.from_iterable(zip_longest(self.bits, ages, fillvalue="")))


class _Pieces(NamedTuple):
    """What stands around the branches, with empty times; the fields are named as the elements."""

    alarms: str
    counts: str
    left_out: str
    frontends: str


class Page:
    """Renders boards.

    Attributes:
        policy: What a browser may do with the page: ``Content-Security-Policy``.
    """

    def __init__(self, templates: Mapping[str, str], settings: RenderSettings) -> None:
        """Compile the templates.

        Raises:
            jinja2.TemplateError: One of them does not parse.
        """
        environment = page_environment(templates)
        self.policy = page_policy(templates)
        self._settings = settings
        self._whole = environment.get_template("pages/board.html.j2")
        self._macros: Any = environment.get_template("pages/board_row.html.j2").make_module(
            {"settings": settings}
        )
        self._rows: dict[str, tuple[BranchView, _Row]] = {}
        self._pieces: tuple[Board, _Pieces] | None = None

    def html(self, board: Board, *, version: str, query: str = "", now: float) -> str:
        """The whole page.

        Args:
            version: The board's; a browser asks for what came after it.
            query: Words that a branch has to have to be listed.
        """
        rows = self._rows_of(board.branches)
        words = words_of(query, domain=self._settings.domain)
        shown = [row for row in rows if all(word in row.text for word in words)] if words else rows
        pieces = self._pieces_of(board)
        return self._whole.render(
            settings=self._settings,
            version=version,
            query=query,
            now=now,
            count=len(rows),
            shown=len(shown),
            rows=_markup("".join(row.html(now) for row in shown)),
            **{name: _markup(_filled(text, now=now)) for name, text in pieces._asdict().items()},
        )

    def parts(self, before: Board, after: Board, *, now: float) -> dict[str, object]:
        """What a browser that shows one board has to change to show another; JSON will take it.

        Shape:
            ``{"rows": [{"id", "after", "html"}], "gone": ["id"], "traffic": {"id": ["requests",
            "errors", "last request"]}, "pieces": {"id": "html"}, "count": 12}``. A row stands
            behind the one named in ``after``, the first behind none; the rows come in their order.
            What is not there has not changed.
        """
        if before is after:
            return {}
        found: dict[str, object] = {}
        old = {one.branch: one for one in before.branches}
        rows: list[dict[str, str]] = []
        traffic: dict[str, list[str]] = {}
        previous = ""
        for view in after.branches:
            known = old.pop(view.branch, None)
            if view is not known:
                if known is not None and (counted := self._counted(known, view)) is not None:
                    traffic |= counted
                else:
                    row = self._row(view)
                    rows.append({"id": row.id, "after": previous, "html": row.html(now)})
            previous = element_id(view.branch)
        was, pieces = self._pieces_of(before), self._pieces_of(after)
        changed = {
            name.replace("_", "-"): _filled(text, now=now)
            for (name, text), other in zip(pieces._asdict().items(), was, strict=True)
            if text != other
        }
        if rows:
            found["rows"] = rows
        if old:
            found["gone"] = [element_id(branch) for branch in old]
        if traffic:
            found["traffic"] = traffic
        if changed:
            found["pieces"] = changed
        if found and len(before.branches) != len(after.branches):
            found["count"] = len(after.branches)
        return found

    def _rows_of(self, branches: Iterable[BranchView]) -> list[_Row]:
        """The rows of all branches; what is not among them is forgotten."""
        kept = self._rows
        self._rows = {}
        for view in branches:
            known = kept.get(view.branch)
            is_known = known is not None and known[0] is view
            self._rows[view.branch] = known if known and is_known else (view, self._render(view))
        return [row for _, row in self._rows.values()]

    def _row(self, view: BranchView) -> _Row:
        known = self._rows.get(view.branch)
        if known is None or known[0] is not view:
            known = self._rows[view.branch] = (view, self._render(view))
        return known[1]

    def _render(self, view: BranchView) -> _Row:
        id_, text = element_id(view.branch), searched(view)
        since = [
            min((held.registered_at for held in one.instances if held.registered_at), default="")
            for one in view.services
        ]
        bits, instants = _cut(str(self._macros.row(view, id_, text, since)))
        return _Row(id_, text, bits, instants)

    def _counted(self, before: BranchView, after: BranchView) -> dict[str, list[str]] | None:
        """The traffic that has changed; None if anything else has."""
        if len(before.services) != len(after.services):
            return None
        found = {}
        for old, new in zip(before.services, after.services, strict=True):
            if old is new or old == new:
                continue
            if not new.id or not _is_same_but_for_traffic(old, new):
                return None
            counted = new.traffic
            last = iso(counted.last_at) if counted.last_at else ""
            share = str(self._macros.share(counted)) if counted.errors else ""
            found[f"r{new.id}"] = [str(counted.requests or ""), share, last]
        return found

    def _pieces_of(self, board: Board) -> _Pieces:
        if self._pieces is not None and self._pieces[0] is board:
            return self._pieces[1]
        macros = self._macros
        found = Counter(one.status for view in board.branches for one in view.services)
        by_status = [(status, found[status]) for status in Status if found[status]]
        pieces = _Pieces(
            str(macros.alarms(board)),
            str(macros.counts(by_status, len(board.branches))),
            str(macros.left_out(board, LEFT_OUT_MOST)),
            str(macros.frontends(board)),
        )
        self._pieces = (board, pieces)
        return pieces


def element_id(branch: str) -> str:
    """What a branch's element is called: any name makes one."""
    digest = hashlib.blake2b(branch.encode("utf-8", "surrogatepass"), digest_size=8)
    return f"b{digest.hexdigest()}"


def searched(view: BranchView) -> str:
    """What a search looks through; a state is found as ``is:unhealthy``."""
    words = [view.branch]
    for one in view.services:
        labels = [host.partition(".")[0] for host in one.hosts]
        words += [one.service, *labels, f"is:{one.status.name}"]
        words += [held.address for held in one.instances]
    return " ".join(dict.fromkeys(words)).lower()


def words_of(query: str, *, domain: str) -> list[str]:
    """What a branch has to have; of a host, or of its URL, the label. board.js does the same."""
    words = [_SCHEME.sub("", word).split(f".{domain}")[0] for word in query.lower().split()]
    return [word for word in words if word]


def _is_same_but_for_traffic(old: ServiceView, new: ServiceView) -> bool:
    names = [name for name in ServiceView.__slots__ if name != "traffic"]
    return all(getattr(old, name) == getattr(new, name) for name in names)


def _cut(text: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """HTML in bits, and the instants whose ages belong between them."""
    bits, instants, begin = [], [], 0
    for found in _TIME.finditer(text):
        if (at := seconds_of(found[1])) is not None:
            bits.append(text[begin : found.end()])
            instants.append(at)
            begin = found.end()
    return (*bits, text[begin:]), tuple(instants)


def _filled(text: str, *, now: float) -> str:
    return _Row("", "", *_cut(text)).html(now)


def _markup(text: str) -> Markup:
    return Markup(text)  # noqa: S704 - a template has rendered it, so it is escaped
