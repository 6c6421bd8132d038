"""Times are read as people write them, in their own zone."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from regenerator.dashboard.history.moments import local, parse_moment, zone_of
from regenerator.instants import precise

NOW = datetime(2026, 11, 21, 20, 30, tzinfo=UTC).timestamp()
"""21:30 in Berlin, and the 22nd in Auckland."""


@pytest.fixture(name="zone", params=["UTC", "Europe/Berlin", "Pacific/Auckland"])
def _zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def utc(text: str, *, now: float = NOW) -> str:
    at = parse_moment(text, now=now)
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f").removesuffix(".000000")


@pytest.mark.parametrize(
    ("zone", "text", "expected"),
    [
        ("Europe/Berlin", "14:03", "2026-11-21 13:03:00"),
        ("Europe/Berlin", "21:30", "2026-11-21 20:30:00"),
        ("Europe/Berlin", "21:30:01", "2026-11-20 20:30:01"),
        ("Europe/Berlin", "14:03Z", "2026-11-21 14:03:00"),
        ("Europe/Berlin", "23:00Z", "2026-11-20 23:00:00"),
        ("Europe/Berlin", "01:00+05:00", "2026-11-21 20:00:00"),
        ("Europe/Berlin", "2026-07-01 12:00", "2026-07-01 10:00:00"),
        ("Europe/Berlin", "2026-07-01T12:00:30.5", "2026-07-01 10:00:30.500000"),
        ("Europe/Berlin", "2026-11-21T14:03-01:00", "2026-11-21 15:03:00"),
        ("Europe/Berlin", "2026-11-21", "2026-11-20 23:00:00"),
        ("Pacific/Auckland", "09:00", "2026-11-21 20:00:00"),
        ("Pacific/Auckland", "10:00", "2026-11-20 21:00:00"),
        ("UTC", "20:31", "2026-11-20 20:31:00"),
    ],
    indirect=["zone"],
)
def test_a_time_is_in_the_zone_of_the_machine_unless_it_says_another(
    zone: str, text: str, expected: str
) -> None:
    del zone
    assert utc(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "14", "1403", "2:03", "14:3", "24:00", "14:60", "2026-13-01", "2026-02-30"),
        *(
            "Z",
            "2026-11-21T",
            "2026-11-2114:03",
            "14:03 tomorrow",
            "-1",
            "14:03+99:00",
            "0000-01-01",
        ),
        *("9999-12-31T23:59-23:00", "0001-01-01T00:00+14:00", "١٤:٠٣", "14:03\n"),
    ],
)
def test_what_is_no_time_is_refused_in_a_sentence(text: str) -> None:
    try:
        at = parse_moment(text, now=NOW)
    except ValueError as exc:
        assert "is no time" in str(exc)
    else:
        # the ends of the calendar are times for whoever can count so far
        assert text[:4] in {"9999", "0001"}
        assert isinstance(at, float)


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        parse_moment(text, now=NOW)
    except ValueError:
        return


@given(st.floats(0, 4e9))
@example(1_800_000_000.9999999)
def test_what_is_shown_is_read_as_the_same_second(at: float) -> None:
    assert parse_moment(local(at), now=NOW) == int(at)
    assert abs(parse_moment(precise(at)[:-1] + "Z", now=NOW) - at) < 0.0011


def test_two_zones_are_both_told(zone: str) -> None:
    summer, winter = 1_782_900_000.0, NOW

    names = {"UTC": "UTC", "Europe/Berlin": "CEST/CET", "Pacific/Auckland": "NZST/NZDT"}
    assert zone_of([summer, winter, summer]) == names[zone]
