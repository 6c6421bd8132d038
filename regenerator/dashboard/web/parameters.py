"""What a question to the API says behind its ``?``, judged as a whole. Pure."""

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

QUERY_MAX = 250
"""Characters of a search: as many as git allows in a branch's name, or nearly."""

LIMIT_MAX = 10_000
"""Of one list: as many routes as a frontend is made for."""

CHANGES = 100
"""Changes that are told unless somebody asks for more: what a terminal shows."""

CHANGES_MAX = 1000
"""And at most: of one route no more than half as many are kept."""


class Parameters(NamedTuple):
    """What was asked for; each as if nothing was said of it, unless it was."""

    q: str = ""
    after: str = ""
    limit: int = 0
    branch: str = ""
    service: str = ""
    before: float | None = None
    since: str = ""


def read_parameters(
    given: Iterable[tuple[str, str]], *, known: tuple[str, ...], limit_max: int = LIMIT_MAX
) -> Parameters:
    """Judge parameters.

    Args:
        given: Names and values, in their order.
        known: The names that may be there.
        limit_max: The most that ``limit`` may be.

    Raises:
        ValueError: Tells every problem, not just the first.
    """
    readers: dict[str, Callable[[str], object]] = {
        "q": _query,
        "limit": partial(_limit, most=limit_max),
        "before": _instant,
    }
    found: dict[str, Any] = {}
    problems = []
    for name, value in given:
        if name not in known:
            problems.append(f"there is no parameter {name[:40]!r}; {_all(known)}")
        elif name in found:
            problems.append(f"{name} is given twice")
        else:
            found[name] = value
            try:
                found[name] = readers.get(name, str)(value)
            except ValueError as exc:
                problems.append(f"{name} is {value[:40]!r}: {exc}")
    if problems:
        raise ValueError("; ".join(dict.fromkeys(problems)))
    return Parameters()._replace(**found)


def _all(known: tuple[str, ...]) -> str:
    if not known:
        return "this takes none"
    if len(known) == 1:
        return f"there is {known[0]}"
    return f"there are {', '.join(known[:-1])} and {known[-1]}"


def _query(text: str) -> str:
    if len(text) > QUERY_MAX:
        raise ValueError(f"expected at most {QUERY_MAX} characters")
    return text


def _limit(text: str, *, most: int) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(most))
    if not is_number or not 1 <= int(text) <= most:
        raise ValueError(f"expected a number from 1 to {most}")
    return int(text)


def _instant(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ValueError("expected a time such as 2026-11-21T14:03:00Z") from exc
    if at.tzinfo is None:
        raise ValueError("expected a time with its zone, such as 2026-11-21T14:03:00Z")
    return at.timestamp()
