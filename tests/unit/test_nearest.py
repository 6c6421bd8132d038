"""Which labels are offered for one that nobody has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regenerator.dashboard.reasons.nearest import HOST_MAX, MOST, Nearest

LABELS = (
    "feature-login",
    "feature-login-api",
    "feature-login-web",
    "feature-logout-web",
    "fix-cart",
    "fix-cart-web",
    "main",
    "main-api",
    "main-web",
)


def found(asked: str, labels: tuple[str, ...] = LABELS) -> list[str]:
    return list(dict.fromkeys(Nearest(labels).find(asked)))


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ("fetaure-login-api", "feature-login-api"),  # two letters swapped
        ("feature-login-ap", "feature-login-api"),
        ("featurelogin-api", "feature-login-api"),
        ("feature_login-api", "feature-login-api"),
        ("feature-login-apii", "feature-login-api"),
        ("login-feature-api", "feature-login-api"),  # another order
        ("api.feature-login", "feature-login-api"),  # a dot for a hyphen, and another order
        ("mainn", "main"),
        ("cart", "fix-cart"),  # a part of it
        ("-main-web", "main-web"),
    ],
)
def test_the_most_alike_comes_first(asked: str, first: str) -> None:
    assert found(asked)[0] == first


@pytest.mark.parametrize("asked", ["", "zzz", "something-else-entirely", "-", "a", ".", "x" * 254])
def test_who_is_like_nobody_is_offered_nobody(asked: str) -> None:
    assert found(asked) == []


def test_a_name_that_is_longer_than_a_host_is_not_looked_for() -> None:
    long = "x" * HOST_MAX
    assert found(long, (long,)) == [long]
    assert found(f"{long}x", (long,)) == []


def test_more_alike_comes_before_less_alike() -> None:
    assert found("feature-logins-web")[:2] == ["feature-login-web", "feature-login"]


@given(st.text(alphabet="abc-.", max_size=20), st.lists(st.text(alphabet="abc-", min_size=1)))
def test_only_labels_that_there_are_are_offered_and_not_many(asked: str, labels: list[str]) -> None:
    offered = list(Nearest(labels).find(asked))

    assert set(offered) <= set(labels)
    assert len(offered) <= 3 * MOST
    assert offered == list(Nearest(labels[::-1]).find(asked))


def test_of_many_that_have_the_name_in_them_some_are_offered() -> None:
    labels = [f"branch-number-{number}-login" for number in range(100)]

    assert len(list(Nearest(labels).find("login"))) == MOST
