"""Keys read back as they were written, and nothing else is read."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.keys import (
    PART_MAX_BYTES,
    ClaimKey,
    FrontendKey,
    Key,
    Keyspace,
    ReleaseKey,
    RouteKey,
    decode,
    encode,
    shown,
)
from tests.strategies import branches, services

KEYS = Keyspace()

any_key = st.one_of(
    st.builds(RouteKey, branches, services, st.just("") | branches),
    st.builds(ClaimKey, branches, services),
    st.builds(FrontendKey, branches),
    st.just(ReleaseKey()),
)


@pytest.mark.parametrize(
    ("key", "raw"),
    [
        (RouteKey("main", "web"), b"/branchfront/routes/main/web"),
        (
            RouteKey("feature/login", "api", "0123"),
            b"/branchfront/routes/feature%2Flogin/api/0123",
        ),
        (
            RouteKey("main", "web", "[fd00::7]:8080"),
            b"/branchfront/routes/main/web/%5Bfd00%3A%3A7%5D%3A8080",
        ),
        (ClaimKey("日本", "web"), b"/branchfront/claims/%E6%97%A5%E6%9C%AC/web"),
        (FrontendKey("a1"), b"/branchfront/frontends/a1"),
        (ReleaseKey(), b"/branchfront/release"),
        (ClaimKey("-._~", "50%"), b"/branchfront/claims/-._~/50%25"),
    ],
)
def test_a_key_looks_as_in_the_contract(key: Key, raw: bytes) -> None:
    assert KEYS.raw(key) == raw
    assert KEYS.parse(raw) == key


@given(any_key)
def test_a_key_reads_back_as_it_was_written(key: Key) -> None:
    assert KEYS.parse(KEYS.raw(key)) == key


@given(any_key, any_key)
def test_two_keys_are_never_written_alike(one: Key, other: Key) -> None:
    assert (KEYS.raw(one) == KEYS.raw(other)) == (one == other)


@given(any_key)
def test_a_raw_key_is_made_of_unreserved_characters_alone(key: Key) -> None:
    assert re.fullmatch(rb"[A-Za-z0-9._~%/-]+", KEYS.raw(key))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_canonical_key_or_a_reason(tail: bytes) -> None:
    raw = KEYS.root + tail
    try:
        key = KEYS.parse(raw)
    except ValueError as exc:
        assert str(exc).isprintable()
    else:
        assert KEYS.raw(key) == raw


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (b"routes/feature/login/web/1", "4 parts after routes/, not 2 or 3; a slash in a branch"),
        (b"routes/main", "1 parts after routes/"),
        (b"routes/", "0 parts after routes/"),
        (b"routes", "0 parts after routes/"),
        (b"routes/main/web/", "'' is not percent-encoded"),
        (b"routes//web", "'' is not percent-encoded"),
        (b"claims/main", "1 parts after claims/, not 2"),
        (b"claims/main/web/1", "3 parts after claims/, not 2"),
        (b"frontends", "is none of"),
        (b"frontends/a/b", "is none of"),
        (b"release/", "is none of"),
        (b"release/now", "is none of"),
        (b"", "is none of"),
        (b"other/main/web", "is none of"),
        (b"routes/a b/web", "'a b' is not percent-encoded"),
        (b"routes/a\nb/web", r"'a\x0ab' is not percent-encoded"),
        (b"routes/a%0Ab/web", "has a control character"),
        (b"routes/%00/web", "has a control character"),
        (b"routes/%C2%85/web", "has a control character"),
        (b"routes/%E2%80%A8/web", "has a control character"),
        (b"routes/feature%2flogin/web", "'feature%2flogin' is not percent-encoded"),
        (b"routes/%6Dain/web", "'%6Dain' is not canonical; it should be 'main'"),
        (b"routes/%FF/web", "'%FF' is not UTF-8"),
        (b"routes/%ED%A0%80/web", "is not UTF-8"),
        (b"routes/100%/web", "'100%' is not percent-encoded"),
        (b"routes/" + b"x" * 513 + b"/web", "is longer than 512 bytes"),
    ],
)
def test_a_key_of_another_shape_is_refused_with_a_reason(tail: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        KEYS.parse(KEYS.root + tail)


@pytest.mark.parametrize("raw", [b"/branchfront", b"/branchfront2/release", b"release", b""])
def test_a_key_outside_the_prefix_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="is none of"):
        KEYS.parse(raw)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is empty"),
        ("a\x00b", "control character"),
        ("a\x7fb", "control character"),
        ("a\ud800b", "control character"),
        ("é" * 257, "longer than 512 bytes"),
    ],
)
def test_a_name_that_cannot_be_part_of_a_key_is_refused(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        encode(name)


def test_the_longest_name_fits() -> None:
    assert decode(encode("é" * 256).encode()) == "é" * 256
    assert len(("é" * 256).encode()) == PART_MAX_BYTES


def test_a_prefix_may_have_several_parts() -> None:
    keys = Keyspace("/team-a/dev")

    assert keys.raw(RouteKey("main", "web")) == b"/team-a/dev/routes/main/web"
    assert keys.parse(b"/team-a/dev/routes/main/web") == RouteKey("main", "web")


@pytest.mark.parametrize("prefix", ["", "/", "branchfront", "/a/", "//a", "/a b", "/a\n", "/ä"])
def test_a_prefix_of_another_shape_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="is no prefix"):
        Keyspace(prefix)


def test_the_parts_of_the_registry_lie_below_its_root() -> None:
    assert KEYS.root == b"/branchfront/"
    assert KEYS.routes == b"/branchfront/routes/"
    assert KEYS.claims == b"/branchfront/claims/"
    assert KEYS.frontends == b"/branchfront/frontends/"


@given(branches, branches, services)
def test_within_covers_the_keys_of_one_branch_and_no_other(
    branch: str, other: str, service: str
) -> None:
    """Branch ``a`` covers neither ``ab`` nor ``a/b``."""
    routes, claims = KEYS.within(branch)

    assert KEYS.raw(RouteKey(other, service, "1")).startswith(routes) == (other == branch)
    assert KEYS.raw(ClaimKey(other, service)).startswith(claims) == (other == branch)


@given(st.binary(max_size=300))
def test_whatever_bytes_are_shown_are_printable_and_bounded(raw: bytes) -> None:
    text = shown(raw)

    assert text.isprintable()
    # a byte takes at most four characters, one says that the rest was cut, and eight what it was
    assert len(text) <= 4 * 200 + 1 + 8


def test_shown_bytes_that_are_printable_are_unchanged() -> None:
    assert shown(b"/branchfront/routes/a%2Fb/web") == "/branchfront/routes/a%2Fb/web"
    assert shown(b"a\tb\xff") == r"a\x09b\xff"


def test_bytes_that_are_cut_are_still_told_apart() -> None:
    one, other = shown(b"xxxyy", limit=3), shown(b"xxxyz", limit=3)

    assert one.startswith("xxx…")
    assert other.startswith("xxx…")
    assert one != other
