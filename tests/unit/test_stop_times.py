"""Included: which times are warned about, and with which words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registrar.aws.times import NOTICE_S, STOP_TIMEOUT_S, check_times
from registrar.registration import Patience

seconds = st.floats(0, 400)

USUAL_S = Patience(release_timeout_s=10, drain_s=2).most_s
"""With the defaults of RELEASE_TIMEOUT and DRAIN."""


@pytest.mark.parametrize("comes_first", [True, False])
def test_what_is_usual_fits(comes_first: bool) -> None:
    assert check_times(USUAL_S, 30, comes_first=comes_first) == ()


def test_who_leaves_longer_than_its_container_has_is_told_so() -> None:
    (warning,) = check_times(35.4, 30, comes_first=True)

    assert warning == (
        "leaving may take 35 s (RELEASE_TIMEOUT, DRAIN and the registry's answers), and ECS kills"
        " this container after 30 s; give it a longer stopTimeout, and STOP_TIMEOUT the same, or"
        " make RELEASE_TIMEOUT or DRAIN shorter"
    )


def test_beside_a_service_both_ends_have_to_fit_into_a_notice() -> None:
    (warning,) = check_times(95, 120, comes_first=True)

    assert warning == (
        "leaving may take 95 s and the service's own end 30 s, and a Spot instance is gone 120 s"
        " after its notice; make RELEASE_TIMEOUT or DRAIN shorter"
    )


def test_around_a_command_the_containers_time_is_all_there_is() -> None:
    assert check_times(95, 120, comes_first=False) == ()

    (warning,) = check_times(95, 121, comes_first=False)

    assert warning == (
        "STOP_TIMEOUT is 121 s, and a Spot instance is gone 120 s after its notice: more is cut"
        " short there"
    )


def test_two_things_can_be_wrong_at_once() -> None:
    assert len(check_times(120, 30, comes_first=True)) == 2


@given(seconds, seconds, st.booleans())
def test_nothing_is_said_exactly_where_all_fits(
    leaves_s: float, stop_s: float, comes_first: bool
) -> None:
    fits_container = leaves_s < stop_s
    fits_notice = leaves_s + STOP_TIMEOUT_S < NOTICE_S if comes_first else stop_s <= NOTICE_S

    warnings = check_times(leaves_s, stop_s, comes_first=comes_first)

    assert len(warnings) == (not fits_container) + (not fits_notice)
    assert all(warning.isprintable() for warning in warnings)
