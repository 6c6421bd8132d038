"""Where everything stands in a board: whose a host is, and which hosts are like one. Pure."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import NamedTuple

from regenerator.dashboard.board import Board, Place, ServiceView
from regenerator.dashboard.reasons.nearest import Nearest
from registry.keys import ClaimKey
from registry.names import plain_labels


class Suggestion(NamedTuple):
    """A host that there is, and that is like the one that was asked for."""

    host: str
    url: str


class Whereabouts:
    """The hosts of one board. To make it takes some 30 ms at 10,000 services.

    Hosts are the same in all boards of one revision and generation.
    """

    def __init__(self, board: Board) -> None:
        self._place = Place(board.domain, board.url)
        self._hosts: dict[str, ClaimKey] = {}
        for branch in board.branches:
            for service in branch.services:
                owner = ClaimKey(service.branch, service.service)
                self._hosts |= dict.fromkeys(service.hosts, owner)
        left_out = {ClaimKey(one.branch, one.service) for one in board.rejections if one.branch}
        self._hostless = _would_have(left_out, board)
        self._nearest = Nearest(host.removesuffix(f".{board.domain}") for host in self._hosts)

    def owner_of(self, host: str) -> ClaimKey | None:
        """Whose a host is, or would be, were it not left out."""
        return self._hosts.get(host) or self._hostless.get(host)

    def suggest(self, host: str) -> Iterator[Suggestion]:
        """Hosts like one, the most alike first; of each service one alone."""
        domain = self._place.domain
        if not host.endswith(f".{domain}"):
            return
        seen: set[ClaimKey] = set()
        for label in self._nearest.find(host.removesuffix(f".{domain}")):
            owner = self._hosts[f"{label}.{domain}"]
            if owner not in seen:
                seen.add(owner)
                yield Suggestion(f"{label}.{domain}", self._place.url_of(label))


def find_service(board: Board, owner: ClaimKey) -> ServiceView | None:
    """A service of a board, whose branches stand by their names."""
    place = bisect_left(board.branches, owner.branch, key=attrgetter("branch"))
    for branch in board.branches[place : place + 1]:
        for service in branch.services:
            if (service.branch, service.service) == owner:
                return service
    return None


def _would_have(owners: set[ClaimKey], board: Board) -> Mapping[str, ClaimKey]:
    """The plain hosts of those of whom something is left out, were it not."""
    found: dict[str, ClaimKey] = {}
    for owner in sorted(owners):
        try:
            long, short = plain_labels(*owner)
        except ValueError:
            # no host can be made of its name, so nobody can ask for it by one
            continue
        found.setdefault(f"{long}.{board.domain}", owner)
        if owner.service == board.default_service:
            found.setdefault(f"{short}.{board.domain}", owner)
    return found
