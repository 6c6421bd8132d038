"""Requests by branch and class of status, for Prometheus: bounded, and never backwards. Pure.

At most ``SHOWN`` branches are counted by name. Each request is counted once and for all, where its
branch stands at that moment: what was counted as ``other`` stays there when its branch gets a name
later, and a branch that makes room for a busier one goes on from its old count if it comes back.
"""

from collections import OrderedDict
from collections.abc import Mapping

SHOWN = 50
"""Branches that are counted by name: some 200 series, where 2,000 branches would be 8,000."""

OTHER = "other"
"""Stands for all branches that are not; one that is really called so is always among them."""

NO_BRANCH = ""
"""Stands for requests to hosts that belong to no branch. No branch has an empty name."""

KEPT = 5_000
"""Counts of branches that made room, kept for when they come back: 2 MB, the oldest go first."""

CLASSES = ("2xx", "3xx", "4xx", "5xx")
"""What every branch has from the start; a series that begins above 0 hides its first requests."""

TURN_S = 60.0
"""Between two looks at which branches are counted by name."""

HALF_LIFE_S = 1800.0
"""A request counts half as much after so long, when branches are compared."""

FORGOTTEN = 1 / 16
"""Of a request: what a single one is worth after two hours."""

TIMES, AND = 2, 10
"""A branch makes room for one with more than twice as many requests lately, and ten more: names
that come and go are of no use in a graph."""


class Counters:
    """Counts by branch and class of status.

    Args:
        shown: How many branches are counted by name at most.
        kept: Of how many that made room the counts are kept.
    """

    def __init__(self, *, shown: int = SHOWN, kept: int = KEPT) -> None:
        self._most = shown
        self._kept_most = kept
        self._shown: dict[str, dict[str, int]] = {}
        self._rest = {OTHER: _zeros(), NO_BRANCH: _zeros()}
        self._kept: OrderedDict[str, dict[str, int]] = OrderedDict()
        self._lately: dict[str, float] = {}

    def welcome(self, branches: set[str]) -> None:
        """Count these by name from the start, if there is room for all of them."""
        new = branches - self._shown.keys() - self._rest.keys()
        if len(self._shown) + len(new) <= self._most:
            for branch in new:
                self._show(branch)

    def count(self, branch: str, status: str, count: int) -> None:
        """Count so many requests of a branch.

        Args:
            status: Its three digits.
        """
        is_named = branch in self._shown or branch in self._rest
        if not is_named and len(self._shown) < self._most:
            self._show(branch)
        counts = self._shown.get(branch) or self._rest.get(branch) or self._rest[OTHER]
        kind = f"{status[0]}xx" if status[0] in "12345" else OTHER
        counts[kind] = counts.get(kind, 0) + count
        if branch not in self._rest:
            self._lately[branch] = self._lately.get(branch, 0.0) + count

    def requests(self) -> Mapping[tuple[str, str], int]:
        """Requests so far by branch and class of status; no number is ever less than it was."""
        return {
            (branch, status): count
            for by_branch in (self._shown, self._rest)
            for branch, counts in by_branch.items()
            for status, count in counts.items()
        }

    def turn(self, there: set[str], *, past_s: float) -> None:
        """Look which branches are counted by name from now on.

        Args:
            there: All branches that there are.
            past_s: Since this was called last.
        """
        share = 0.5 ** (past_s / HALF_LIFE_S)
        aged = {branch: score * share for branch, score in self._lately.items()}
        self._lately = {branch: score for branch, score in aged.items() if score >= FORGOTTEN}
        kept = self._lately.keys() | there
        for branch in [one for one in self._shown if one not in kept]:
            self._hide(branch)
        outside = self._lately.keys() - self._shown.keys()
        busiest = sorted(outside, key=lambda one: (-self._lately[one], one))
        least = sorted(self._shown, key=lambda one: (self._lately.get(one, 0.0), one))
        free = self._most - len(self._shown)
        for branch in busiest[:free]:
            self._show(branch)
        for branch, than in zip(busiest[free:], least, strict=False):
            if not self._is_busier(branch, than):
                break
            # in this order, or its own old count might be the one that is dropped
            self._show(branch)
            self._hide(than)

    def _is_busier(self, branch: str, than: str) -> bool:
        score = self._lately.get(than, 0.0)
        return not score or self._lately[branch] > TIMES * score + AND

    def _show(self, branch: str) -> None:
        self._shown[branch] = self._kept.pop(branch) if branch in self._kept else _zeros()

    def _hide(self, branch: str) -> None:
        self._kept[branch] = self._shown.pop(branch)
        while len(self._kept) > self._kept_most:
            self._kept.popitem(last=False)


def _zeros() -> dict[str, int]:
    return dict.fromkeys(CLASSES, 0)
