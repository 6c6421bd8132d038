"""The contract's table, and what holds for any name."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.names import (
    LABEL_MAX,
    RESERVED,
    SERVICE_SLUG_MAX,
    branch_slug,
    digits,
    is_domain,
    is_label,
    long_labels,
    service_slug,
    short_labels,
    slug,
)
from tests.strategies import any_text, branches, services

DEPENDABOT = "dependabot/npm_and_yarn/frontend/very-long-package-name-and-more-1.2.3"


@pytest.mark.parametrize(
    ("branch", "service", "long", "short"),
    [
        ("main", "web", "main-web", "main"),
        ("feature/login", "api", "feature-login-api", None),
        ("Feature/JIRA-123_Foo.Bar", "api", "feature-jira-123-foo-bar-api", None),
        ("--x--", "web", "x-web", "x"),
        ("release/2026.11.21", "web", "release-2026-11-21-web", "release-2026-11-21"),
        ("x" * 63, "web", None, "x" * 63),
        ("x" * 64, "web", None, "x" * 56 + "-7ce100"),
        ("x" * 60, "api", "x" * 52 + "-42f2d9-api", None),
        (
            DEPENDABOT,
            "api",
            "dependabot-npm-and-yarn-frontend-very-long-package-n-60eb92-api",
            None,
        ),
    ],
)
def test_a_free_name_gets_the_label_of_the_contract(
    branch: str, service: str, long: str | None, short: str | None
) -> None:
    if long is not None:
        assert long_labels(branch, service)[0] == long
    if short is not None:
        assert short_labels(branch)[0] == short


@pytest.mark.parametrize(
    ("branch", "service", "long", "short"),
    [
        ("fix/foo", "web", "fix-foo-528e1f-web", "fix-foo-528e1f"),
        ("a", "b-c", "a-ca9781-b-c", None),
    ],
)
def test_a_taken_name_gets_the_second_form_of_the_contract(
    branch: str, service: str, long: str, short: str | None
) -> None:
    assert long_labels(branch, service)[1] == long
    if short is not None:
        assert short_labels(branch)[1] == short


def test_a_branch_without_a_usable_character_is_called_by_its_digits() -> None:
    assert digits("日本") == hashlib.sha256("日本".encode()).hexdigest()[:6]
    assert branch_slug("日本") == f"b-{digits('日本')}"
    assert short_labels("日本")[0] == f"b-{digits('日本')}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A__b..C", "a-b-c"),
        ("---", ""),
        ("", ""),
        ("a\nb", "a-b"),
        ("Straße", "stra-e"),
        ("١٢٣", ""),
    ],
)
def test_a_slug_has_nothing_but_ascii_letters_digits_and_single_hyphens(
    text: str, expected: str
) -> None:
    assert slug(text) == expected


@pytest.mark.parametrize("service", ["", "日本", "-", "///"])
def test_a_service_without_a_usable_character_is_refused(service: str) -> None:
    with pytest.raises(ValueError, match="no host name can be made of it"):
        service_slug(service)


def test_a_service_longer_than_40_characters_is_refused() -> None:
    assert service_slug("x" * 40) == "x" * SERVICE_SLUG_MAX
    with pytest.raises(ValueError, match="longer than 40 characters"):
        service_slug("x" * 41)


def test_our_own_label_is_nobodys() -> None:
    assert short_labels("branchfront")[0] == f"branchfront-{digits('branchfront')}"
    assert long_labels("branchfront", "web")[0] == "branchfront-web"


def test_the_longest_service_leaves_every_branch_at_least_two_forms() -> None:
    """Behind 40 characters the mark of 24 digits has no room left; 6 and 12 have."""
    forms = long_labels("x" * 60, "s" * 40)

    assert [len(form) for form in forms] == [LABEL_MAX, LABEL_MAX]
    assert forms[0] == "x" * 15 + f"-{digits('x' * 60)}-" + "s" * 40


def test_a_cut_right_behind_a_hyphen_does_not_double_it() -> None:
    branch = "x" * 55 + "-" + "y" * 20

    assert short_labels(branch)[0] == "x" * 55 + f"-{digits(branch)}"


@given(branches, services)
def test_every_form_is_a_label_that_nobody_reserved(branch: str, service: str) -> None:
    for form in long_labels(branch, service) + short_labels(branch):
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", form)
        assert is_label(form)
        assert form not in RESERVED


@given(branches, services)
def test_there_are_at_least_two_forms_and_no_two_are_equal(branch: str, service: str) -> None:
    for forms in (long_labels(branch, service), short_labels(branch)):
        assert len(forms) >= 2
        assert len(set(forms)) == len(forms)


@given(branches, services)
def test_the_service_stays_whole_in_every_long_form(branch: str, service: str) -> None:
    assert all(form.endswith(f"-{service_slug(service)}") for form in long_labels(branch, service))


@given(branches)
def test_the_marked_forms_carry_the_digits_of_the_real_name(branch: str) -> None:
    known = hashlib.sha256(branch.encode()).hexdigest()

    marks = [form.rpartition("-")[2] for form in short_labels(branch)][-3:]
    assert marks == [known[:6], known[:12], known[:24]]


@given(any_text)
def test_a_slug_of_a_slug_is_the_slug(text: str) -> None:
    assert slug(slug(text)) == slug(text)


@given(any_text)
def test_a_slug_that_fits_is_a_label(text: str) -> None:
    found = slug(text)

    assert is_label(found) == (1 <= len(found) <= LABEL_MAX)


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a.b", "a" * 64, "ä", "a\n"])
def test_what_dns_would_not_take_is_no_label(text: str) -> None:
    assert not is_label(text)


@pytest.mark.parametrize("text", ["localhost", "dev.example.com", "a.b.c.d", "1.2"])
def test_a_host_name_in_lower_case_is_a_domain(text: str) -> None:
    assert is_domain(text)


@pytest.mark.parametrize("text", ["", ".dev", "dev.", "a..b", "Dev.example.com", "a_b.c", "a b"])
def test_what_is_no_host_name_is_no_domain(text: str) -> None:
    assert not is_domain(text)


def test_a_domain_leaves_the_longest_label_room() -> None:
    longest = ".".join(["a" * 61, "b" * 61, "c" * 63, "d"])

    assert len(longest) == 253 - LABEL_MAX - 1
    assert is_domain(longest)
    assert not is_domain(longest + "e")


@given(st.text(max_size=10))
def test_digits_are_hex_of_the_length_that_was_asked_for(branch: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{12}", digits(branch, length=12))
