"""Finding branches and routes in a board, some at a time. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from regenerator.dashboard.board import Board, BranchView, Status

_SERVED = frozenset({Status.SERVING, Status.HELD})
"""What nginx sends requests to."""


class RouteView(NamedTuple):
    """A public host, and where nginx sends its requests."""

    host: str
    branch: str
    service: str
    url: str
    addresses: tuple[str, ...]


Shown = TypeVar("Shown", BranchView, RouteView)


@dataclass(frozen=True, slots=True)
class Part(Generic[Shown]):
    """Some of a list that is in order.

    Attributes:
        count: How many there are in all.
        next: What to give as ``after`` for those that follow; None if none do.
    """

    shown: Sequence[Shown]
    count: int
    next: str | None


def matching(branches: Sequence[BranchView], query: str) -> Sequence[BranchView]:
    """The branches in which every word of a query occurs, somewhere in names and hosts."""
    words = query.lower().split()
    if not words:
        return branches
    return [one for one in branches if _holds(_text_of(one), words)]


def routes(board: Board, *, query: str = "") -> list[RouteView]:
    """What nginx serves, a host each, by their names."""
    scheme, _, authority = board.url.partition("://")
    port = authority.removeprefix(board.domain)
    words = query.lower().split()
    return sorted(
        RouteView(
            host,
            service.branch,
            service.service,
            f"{scheme}://{host}{port}",
            tuple(one.address for one in service.instances if one.status in _SERVED),
        )
        for branch in board.branches
        for service in branch.services
        for host in service.hosts
        if _holds(f"{service.branch}\n{service.service}\n{host}".lower(), words)
    )


def branch_part(branches: Sequence[BranchView], *, after: str, limit: int) -> Part[BranchView]:
    """At most so many of the branches, from behind a name on."""
    return _part(branches, [one.branch for one in branches], after=after, limit=limit)


def route_part(found: Sequence[RouteView], *, after: str, limit: int) -> Part[RouteView]:
    """At most so many of the routes, from behind a host on."""
    return _part(found, [one.host for one in found], after=after, limit=limit)


def _part(found: Sequence[Shown], names: Sequence[str], *, after: str, limit: int) -> Part[Shown]:
    begin = next((at for at, name in enumerate(names) if name > after), len(names))
    end = min(begin + limit, len(names)) if limit else len(names)
    last = names[end - 1] if begin < end < len(names) else None
    return Part(found[begin:end], len(names), last)


def _text_of(branch: BranchView) -> str:
    words = [branch.branch]
    for service in branch.services:
        words += [service.service, *service.hosts]
    return "\n".join(words).lower()


def _holds(text: str, words: Iterable[str]) -> bool:
    return all(word in text for word in words)
