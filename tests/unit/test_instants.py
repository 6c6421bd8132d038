"""Points in time, as pages write them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regenerator.instants import absolute, ago, iso, precise, seconds_of

NOW = 1_763_719_200.0
"""2025-11-21T10:00:00Z."""


@pytest.mark.parametrize(
    ("passed_s", "words"),
    [
        (-5, "just now"),  # the clocks of two machines
        (0, "just now"),
        (59.9, "just now"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (47 * 3600, "47 h ago"),
        (48 * 3600, "2 days ago"),
        (400 * 86400, "400 days ago"),
    ],
)
def test_an_age_is_told_in_the_largest_unit_that_says_something(
    passed_s: float, words: str
) -> None:
    assert ago(NOW - passed_s, now=NOW) == words


@pytest.mark.parametrize(
    "written",
    [NOW, "2025-11-21T10:00:00Z", "2025-11-21T11:00:00+01:00", "2025-11-21T10:00:00"],
)
def test_an_instant_is_written_in_utc_to_the_second(written: float | str) -> None:
    assert iso(written) == "2025-11-21T10:00:00Z"
    assert absolute(written) == "2025-11-21 10:00:00 UTC"


@pytest.mark.parametrize(
    ("at", "written"),
    [
        (NOW, "2025-11-21T10:00:00.000Z"),
        (NOW + 0.25, "2025-11-21T10:00:00.250Z"),
        # never later than it was, though the nearest millisecond would be
        (NOW + 0.9999995, "2025-11-21T10:00:00.999Z"),
    ],
)
def test_for_programs_an_instant_is_written_to_the_millisecond(at: float, written: str) -> None:
    assert precise(at) == written


@pytest.mark.parametrize("written", ["yesterday", "", "2025-99-99T00:00:00Z"])
def test_what_is_no_time_stays_as_it_is(written: str) -> None:
    assert iso(written) == written
    assert seconds_of(written) is None


@pytest.mark.parametrize("written", [1e300, -1e300])
def test_a_time_that_no_calendar_has_harms_nobody(written: float) -> None:
    assert iso(written) == str(written)


@given(at=st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 2)))  # noqa: DTZ001
def test_an_instant_reads_back(at: datetime) -> None:
    assert seconds_of(iso(at.timestamp())) == at.replace(microsecond=0).timestamp()
