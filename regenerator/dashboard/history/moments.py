"""Points in time, as people write and read them: in their own zone unless they say another."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

_SHAPE = re.compile(
    r"(?:(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ](?=[0-9])|$))?"
    r"(?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)?"
    r"(?P<zone>Z|[+-][0-9]{2}:[0-9]{2})?"
)

FORMS = "14:03, 14:03:12, 2026-11-21 or 2026-11-21T14:03Z"


def parse_moment(text: str, *, now: float) -> float:
    """Read a time, in seconds since 1970; one without a day is the last that there was.

    Raises:
        ValueError: It is none.
    """
    found = _SHAPE.fullmatch(text)
    if found is None or not (found["day"] or found["time"]):
        raise ValueError(f"{text[:40]!r} is no time such as {FORMS}")
    zone = found["zone"] or ""
    try:
        # without a zone it is the machine's own
        offset = datetime.fromisoformat(f"2000-01-01T00:00{zone}").tzinfo
        day = found["day"] or datetime.fromtimestamp(now, offset).date().isoformat()
        moment = datetime.fromisoformat(f"{day}T{found['time'] or '00:00'}{zone}")
        if not found["day"] and moment.timestamp() > now:
            moment -= timedelta(days=1)
        return moment.timestamp()
    except (ValueError, OverflowError) as exc:
        raise ValueError(f"{text[:40]!r} is no time: {exc}") from exc


def local(at: float) -> str:
    """A time to the second, without its zone."""
    return _local(at).strftime("%Y-%m-%d %H:%M:%S")


def zone_of(moments: Iterable[float]) -> str:
    """The zone that they are told in; of two, such as in a year with summer time, both."""
    return "/".join(dict.fromkeys(_local(at).tzname() or "" for at in moments))


def _local(at: float) -> datetime:
    # Python rounds what is nearly the next second up to it
    return datetime.fromtimestamp(int(at), UTC).astimezone()
