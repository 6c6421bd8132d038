"""Points in time, as pages write them. Pure.

An instant is a number of seconds since 1970, or text as records have it (``2026-11-21T09:00:00Z``).
"""

from datetime import UTC, datetime
from functools import lru_cache

_MINUTE_S = 60
_HOUR_MIN = 60
_DAY_MIN = 24 * 60


def seconds_of(instant: float | str) -> float | None:
    """Seconds since 1970; None if the text is no time at all."""
    if not isinstance(instant, str):
        return instant
    try:
        found = datetime.fromisoformat(instant)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def iso(instant: float | str) -> str:
    """For a ``datetime`` attribute: to the second, in UTC; what is no time stays as it is."""
    at = seconds_of(instant)
    try:
        found = datetime.fromtimestamp(at, UTC) if at is not None else None
    except (OverflowError, ValueError, OSError):
        found = None
    return found.isoformat("T", "seconds").replace("+00:00", "Z") if found else str(instant)


def precise(at: float) -> str:
    """For programs: to the millisecond, in UTC."""
    # Python rounds what is nearly the next second up to it
    return f"{datetime.fromtimestamp(int(at), UTC):%Y-%m-%dT%H:%M:%S}.{int(at % 1 * 1000):03}Z"


def absolute(instant: float | str) -> str:
    """For people who want to know exactly."""
    return iso(instant).replace("T", " ").replace("Z", " UTC")


def ago(at: float, *, now: float) -> str:
    """How long ago a number of seconds since 1970 was, such as ``3 min ago``.

    Coarse on purpose: what counts seconds never stands still. board.js uses the same words.
    """
    return _words(int((now - at) // _MINUTE_S))


@lru_cache(maxsize=1 << 12)
def _words(minutes: int) -> str:
    if minutes < 1:
        return "just now"
    if minutes < _HOUR_MIN:
        return f"{minutes} min ago"
    if minutes < 2 * _DAY_MIN:
        return f"{minutes // _HOUR_MIN} h ago"
    return f"{minutes // _DAY_MIN} days ago"
