"""Every label has one owner, and keeps it whoever comes or goes."""

from collections.abc import Iterable, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.claims import Claim, new_labels, read_claims, settle_labels
from registry.faults import LabelsExhausted
from registry.keys import ClaimKey, Keyspace
from registry.names import digits, long_labels, short_labels
from registry.records import ClaimRecord
from registry.snapshot import Entry
from tests.strategies import branches, services

KEYS = Keyspace()

claim_keys = st.builds(ClaimKey, branches, services)

# Names that meet each other all the time: what a property of conflicts needs.
close_keys = st.builds(
    ClaimKey,
    st.sampled_from(["a", "a-b", "A", "a/b", "a-ca9781", "a-b-c", "main", "branchfront"]),
    st.sampled_from(["web", "c", "b-c", "b", "C"]),
)


def arrive(
    keys: Iterable[ClaimKey], *, standing: Sequence[Claim] = (), default_service: str = "web"
) -> list[Claim]:
    """Claims made one after the other, each after a look at those that stand."""
    claims = list(standing)
    revision = max((claim.create_revision for claim in claims), default=0)
    for key in keys:
        if key in {claim.key for claim in claims}:
            continue
        revision += 1
        taken = {label for claim in claims for label in claim.labels}
        try:
            labels = new_labels(
                key.branch, key.service, default_service=default_service, taken=taken
            )
        except LabelsExhausted:
            continue
        claims.append(Claim(key, labels, revision))
    return claims


def hosts(claims: Iterable[Claim]) -> dict[ClaimKey, tuple[str, ...]]:
    return dict(settle_labels(claims, keys=KEYS).labels)


FIX_SLASH = ClaimKey("fix/foo", "web")
FIX_HYPHEN = ClaimKey("fix-foo", "web")


def test_of_two_branches_that_slug_alike_the_second_gets_its_digits() -> None:
    assert hosts(arrive([FIX_HYPHEN, FIX_SLASH])) == {
        FIX_HYPHEN: ("fix-foo-web", "fix-foo"),
        FIX_SLASH: ("fix-foo-528e1f-web", "fix-foo-528e1f"),
    }


def test_the_same_two_the_other_way_round() -> None:
    assert hosts(arrive([FIX_SLASH, FIX_HYPHEN])) == {
        FIX_SLASH: ("fix-foo-web", "fix-foo"),
        FIX_HYPHEN: (
            f"fix-foo-{digits('fix-foo')}-web",
            f"fix-foo-{digits('fix-foo')}",
        ),
    }


def test_a_with_b_c_and_a_b_with_c_are_kept_apart() -> None:
    one, other = ClaimKey("a-b", "c"), ClaimKey("a", "b-c")

    assert hosts(arrive([one, other])) == {one: ("a-b-c",), other: ("a-ca9781-b-c",)}
    assert hosts(arrive([other, one])) == {
        other: ("a-b-c",),
        one: (f"a-b-{digits('a-b')}-c",),
    }


def test_a_short_label_and_a_long_one_are_kept_apart() -> None:
    """The default service of branch ``a-b`` and the service ``b`` of branch ``a``."""
    one, other = ClaimKey("a-b", "web"), ClaimKey("a", "b")

    assert hosts(arrive([one, other])) == {
        one: ("a-b-web", "a-b"),
        other: (f"a-{digits('a')}-b",),
    }


def test_only_the_default_service_has_the_short_label() -> None:
    assert new_labels("main", "web", default_service="web", taken=()) == ("main-web", "main")
    assert new_labels("main", "api", default_service="web", taken=()) == ("main-api",)
    assert new_labels("main", "api", default_service="api", taken=()) == ("main-api", "main")


def test_long_and_short_label_are_made_independently_of_each_other() -> None:
    assert new_labels("main", "web", default_service="web", taken={"main"}) == (
        "main-web",
        f"main-{digits('main')}",
    )


def test_twelve_digits_follow_where_six_are_taken_as_well() -> None:
    taken = {"main", f"main-{digits('main')}"}

    assert new_labels("main", "web", default_service="web", taken=taken)[1] == (
        f"main-{digits('main', length=12)}"
    )


def test_one_claim_never_carries_one_label_twice() -> None:
    """A service that is called like its branch's digits makes long and short label meet."""
    mark = digits("main")

    labels = new_labels("main", mark, default_service=mark, taken={"main"})

    assert labels == (f"main-{mark}", f"main-{digits('main', length=12)}")


def test_a_label_with_every_form_taken_is_said_to_be_so() -> None:
    with pytest.raises(LabelsExhausted, match="every form of the label main is carried"):
        new_labels("main", "web", default_service="web", taken=set(short_labels("main")))


def test_a_service_without_a_host_name_gets_no_label() -> None:
    with pytest.raises(ValueError, match="no host name"):
        new_labels("main", "日本", default_service="web", taken=())


def test_in_a_race_the_lower_create_revision_has_the_label() -> None:
    """Both looked before either wrote, so both carry the plain forms."""
    first = Claim(FIX_SLASH, ("fix-foo-web", "fix-foo"), 7)
    second = Claim(FIX_HYPHEN, ("fix-foo-web", "fix-foo"), 8)

    owned = settle_labels([second, first], keys=KEYS)

    mark = digits("fix-foo")
    assert owned.labels == {
        FIX_SLASH: ("fix-foo-web", "fix-foo"),
        FIX_HYPHEN: (f"fix-foo-{mark}-web", f"fix-foo-{mark}"),
    }
    assert [(one.key, one.reason) for one in owned.conflicts] == [
        (
            "/branchfront/claims/fix-foo/web",
            (
                "label fix-foo-web belongs to branch 'fix/foo' service 'web', whose claim is older;"
                f" this one is served as fix-foo-{mark}-web"
            ),
        ),
        (
            "/branchfront/claims/fix-foo/web",
            (
                "label fix-foo belongs to branch 'fix/foo' service 'web', whose claim is older;"
                f" this one is served as fix-foo-{mark}"
            ),
        ),
    ]


def test_of_two_racing_labels_only_the_one_that_is_lost_changes() -> None:
    older = Claim(ClaimKey("a", "b"), ("a-b",), 1)
    younger = Claim(ClaimKey("a-b", "web"), ("a-b-web", "a-b"), 2)

    owned = settle_labels([older, younger], keys=KEYS)

    assert owned.labels[younger.key] == ("a-b-web", f"a-b-{digits('a-b')}")
    assert len(owned.conflicts) == 1


def test_a_loser_of_a_race_with_no_form_left_is_served_as_nothing() -> None:
    marks = [digits("a", length=length) for length in (6, 12, 24)]
    others = [ClaimKey("a-b", "c"), *(ClaimKey(f"a-{mark}", "b-c") for mark in marks)]
    loser = Claim(ClaimKey("a", "b-c"), ("a-b-c",), 99)

    owned = settle_labels([loser, *arrive(others)], keys=KEYS)

    assert owned.labels[loser.key] == ()
    assert "served as nothing: every form is taken" in owned.conflicts[0].reason


def test_an_owner_is_found_by_its_label() -> None:
    owned = settle_labels(arrive([FIX_HYPHEN, FIX_SLASH]), keys=KEYS)

    assert owned.owners["fix-foo"] == FIX_HYPHEN
    assert owned.owners["fix-foo-528e1f"] == FIX_SLASH
    assert owned.conflicts == ()


@given(st.lists(close_keys | claim_keys, max_size=12))
def test_claims_made_one_after_the_other_carry_what_they_are_served_under(
    keys: list[ClaimKey],
) -> None:
    claims = arrive(keys)
    owned = settle_labels(claims, keys=KEYS)

    assert owned.labels == {claim.key: claim.labels for claim in claims}
    assert owned.conflicts == ()


@given(st.lists(close_keys, max_size=12), st.sets(close_keys), st.lists(close_keys, max_size=6))
def test_nobodys_label_changes_because_somebody_left_or_came(
    came: list[ClaimKey], left: set[ClaimKey], later: list[ClaimKey]
) -> None:
    claims = arrive(came)
    before = hosts(claims)

    staying = [claim for claim in claims if claim.key not in left]
    after = hosts(arrive(later, standing=staying))

    assert {claim.key: after[claim.key] for claim in staying} == {
        claim.key: before[claim.key] for claim in staying
    }


@given(st.lists(close_keys, unique=True, max_size=8), st.lists(close_keys, unique=True, max_size=8))
def test_after_a_race_the_winner_keeps_its_labels_when_the_loser_is_given_others(
    standing: list[ClaimKey], racing: list[ClaimKey]
) -> None:
    """The racing ones all looked at the same claims, and each wrote what looked free."""
    old = arrive(standing)
    new = [arrive([key], standing=old)[-1] for key in racing]
    everybody = {claim.key: claim for claim in old}
    for revision, claim in enumerate(new, start=100):
        everybody.setdefault(claim.key, Claim(claim.key, claim.labels, revision))

    owned = settle_labels(everybody.values(), keys=KEYS)
    rewritten = [
        Claim(claim.key, owned.labels[claim.key], claim.create_revision)
        for claim in everybody.values()
    ]

    assert all(owned.labels[claim.key] == claim.labels for claim in old)
    assert settle_labels(rewritten, keys=KEYS).labels == owned.labels
    assert settle_labels(rewritten, keys=KEYS).conflicts == ()


@st.composite
def any_claims(draw: st.DrawFn) -> list[Claim]:
    """Claims as anybody may write them: any of the forms, also those of somebody else's."""
    claims = []
    for key in draw(st.lists(close_keys | claim_keys, unique=True, max_size=10)):
        forms = long_labels(key.branch, key.service) + short_labels(key.branch)
        labels = draw(st.lists(st.sampled_from(forms), min_size=1, unique=True))
        claims.append(Claim(key, tuple(labels), draw(st.integers(1, 5))))
    return claims


@given(any_claims())
def test_every_label_has_one_owner(claims: list[Claim]) -> None:
    owned = settle_labels(claims, keys=KEYS)

    served = [label for labels in owned.labels.values() for label in labels]
    assert len(served) == len(set(served))
    assert {label: owned.owners[label] for label in served} == owned.owners
    assert all(label in owned.labels[key] for label, key in owned.owners.items())


@given(any_claims(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_never_shows(claims: list[Claim], rng: Random) -> None:
    shuffled = rng.sample(claims, len(claims))

    assert settle_labels(shuffled, keys=KEYS) == settle_labels(claims, keys=KEYS)


@given(any_claims())
def test_whoever_is_not_served_as_the_claim_says_is_told_so(claims: list[Claim]) -> None:
    owned = settle_labels(claims, keys=KEYS)

    told = {one.key for one in owned.conflicts}
    assert told == {
        KEYS.raw(claim.key).decode() for claim in claims if owned.labels[claim.key] != claim.labels
    }


def entry(key: bytes, value: bytes, *, revision: int = 5) -> Entry:
    return Entry(key, value, revision, revision + 1, 0)


def test_a_claim_is_read_with_the_revision_that_made_it() -> None:
    record = ClaimRecord(("main-web", "main"), "2026-11-21T09:00:00Z")

    claims, rejections = read_claims(
        [entry(b"/branchfront/claims/main/web", record.dump())], keys=KEYS
    )

    assert claims == (Claim(ClaimKey("main", "web"), record.labels, 5, record.created),)
    assert rejections == ()


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (b"claims/main/web", b'{"labels":["login-web"]}', "label login-web cannot be made of"),
        (b"claims/main/web", b'{"labels":["main-web","branchfront"]}', "branchfront cannot be"),
        (b"claims/main/web", b'{"labels":["main-api"]}', "label main-api cannot be made of"),
        (b"claims/branchfront/web", b'{"labels":["branchfront"]}', "label branchfront cannot be"),
        (b"claims/main/web", b'{"labels":["main-000000-web"]}', "main-000000-web cannot be"),
        (b"claims/main/%2D", b'{"labels":["main"]}', "not canonical"),
        (b"claims/main/-", b'{"labels":["main"]}', "no host name can be made of it"),
        (b"claims/main/web", b"main", "no JSON document"),
        (b"claims/main", b'{"labels":["main"]}', "1 parts after claims/"),
        (b"routes/main/web", b'{"labels":["main"]}', "the key is not a claim's"),
    ],
)
def test_a_forged_or_broken_claim_is_left_out_and_costs_nobody_else_anything(
    key: bytes, value: bytes, reason: str
) -> None:
    good = entry(b"/branchfront/claims/login/web", b'{"labels":["login-web"]}')

    claims, rejections = read_claims([entry(KEYS.root + key, value), good], keys=KEYS)

    assert [claim.key for claim in claims] == [ClaimKey("login", "web")]
    assert [one.key for one in rejections] == [(KEYS.root + key).decode()]
    assert reason in rejections[0].reason


@given(claim_keys)
def test_whatever_labels_a_claim_is_given_are_read_back(key: ClaimKey) -> None:
    labels = new_labels(key.branch, key.service, default_service=key.service, taken=())
    value = ClaimRecord(labels).dump()

    claims, rejections = read_claims([entry(KEYS.raw(key), value)], keys=KEYS)

    assert rejections == ()
    assert claims[0].labels == labels


@given(claim_keys)
def test_a_claim_may_carry_any_form_of_its_own_labels(key: ClaimKey) -> None:
    forms = long_labels(key.branch, key.service) + short_labels(key.branch)
    values = [ClaimRecord((form,)).dump() for form in forms]

    _, rejections = read_claims([entry(KEYS.raw(key), value) for value in values], keys=KEYS)

    assert rejections == ()
