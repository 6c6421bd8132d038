"""What is shown of a registry: each case of a service and of an instance, in plain words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regenerator.dashboard.board import (
    BranchView,
    End,
    Place,
    ServiceView,
    Status,
    Traffic,
    build_branches,
    build_frontends,
    build_rejections,
    gone_services,
    with_ends,
    with_traffic,
)
from regenerator.dashboard.feed import State as Fed
from regenerator.routes import PORTS, PRIVATE, AddressRules, Rules
from registry.claims import RejectionKind
from registry.keys import ClaimKey, FrontendKey, Keyspace, RouteKey
from registry.records import Address, ClaimRecord, FrontendRecord, InstanceRecord, State
from registry.snapshot import Entry, Snapshot
from registry.values import parse_networks

KEYS = Keyspace()
PLACE = Place("dev.test", "http://dev.test:8080")


def _ports(text: str) -> tuple[tuple[int, int], ...]:
    parts = (part.partition("-") for part in text.split(","))
    return tuple((int(low), int(high or low)) for low, _, high in parts)


RULES = Rules(KEYS, AddressRules(parse_networks(PRIVATE), _ports(PORTS)), "web")

LEASE = 77


def route(
    branch: str, service: str, instance: str, record: InstanceRecord, *, revision: int = 5
) -> Entry:
    key = KEYS.raw(RouteKey(branch, service, instance))
    return Entry(key, record.dump(), revision, revision, LEASE)


def claim(branch: str, service: str, *labels: str, revision: int = 1) -> Entry:
    key = KEYS.raw(ClaimKey(branch, service))
    return Entry(key, ClaimRecord(labels).dump(), revision, revision, 0)


def at(ip: str, state: State = State.READY, *, health: str = "") -> InstanceRecord:
    return InstanceRecord(Address(ip, 8000), state, health=health)


def fed(*entries: Entry, held: frozenset[bytes] = frozenset(), **more: frozenset[bytes]) -> Fed:
    snapshot = Snapshot("c1", 9, {entry.key: entry for entry in entries})
    return Fed(snapshot, "aaaaaaaaaaaa", 1.0, held, **more)


def branches(state: Fed) -> tuple[BranchView, ...]:
    return build_branches(state, RULES.table(state.snapshot), rules=RULES, place=PLACE)


def only_service(state: Fed) -> ServiceView:
    (branch,) = branches(state)
    (service,) = branch.services
    return service


@pytest.mark.parametrize(
    ("record", "status", "word"),
    [
        (at("10.0.0.1"), Status.SERVING, ""),
        (at("10.0.0.1", State.STARTING), Status.STARTING, "starting"),
        (at("10.0.0.1", State.DRAINING), Status.LEAVING, "no new requests"),
        (
            at("10.0.0.1", State.STARTING, health="GET /up answered 500"),
            Status.UNHEALTHY,
            "health check: GET /up answered 500",
        ),
        (at("169.254.169.254"), Status.REJECTED, "metadata service"),
    ],
)
def test_a_service_fares_as_its_only_instance(
    record: InstanceRecord, status: Status, word: str
) -> None:
    service = only_service(fed(route("main", "web", "c-1", record)))

    assert (service.status, service.instances[0].status) == (status, status)
    assert word in service.reason
    assert bool(service.reason) == (status is not Status.SERVING)


def test_one_instance_that_serves_is_enough() -> None:
    service = only_service(
        fed(
            route("main", "web", "c-1", at("10.0.0.1", State.STARTING, health="no answer")),
            route("main", "web", "c-2", at("10.0.0.2")),
        )
    )

    assert (service.status, service.reason) == (Status.SERVING, "")
    assert [one.status for one in service.instances] == [Status.UNHEALTHY, Status.SERVING]


def test_a_claim_of_which_nothing_runs_keeps_its_host() -> None:
    service = only_service(fed(claim("main", "web", "main-web", "main")))

    assert (service.status, service.reason) == (Status.GONE, "nothing of it runs")
    assert service.hosts == ("main-web.dev.test", "main.dev.test")
    assert service.url == "http://main.dev.test:8080"


def test_what_is_gone_says_why_and_since_when_and_nothing_else_changes() -> None:
    known = branches(
        fed(claim("gone", "web", "gone-web", "gone"), route("main", "web", "c", at("10.0.0.1")))
    )
    end = End("it was deregistered", 5.0)

    ended = with_ends(known, dict.fromkeys(gone_services(known), end))
    wrong = with_ends(known, {ClaimKey("main", "web"): end})

    assert (ended[0].services[0].reason, ended[0].services[0].gone_at) == end
    assert ended[1] is known[1]
    assert wrong[1] is known[1]


def test_what_the_brake_holds_is_told_from_what_is_registered() -> None:
    lost = route("main", "web", "c-1", at("10.0.0.1"))

    held = only_service(fed(lost, held=frozenset({lost.key})))
    spared = only_service(fed(lost, spared=frozenset({lost.key})))

    assert (held.status, held.reason) == (Status.HELD, "")
    assert "the registry lost it" in held.instances[0].reason
    assert spared.status is Status.SERVING
    assert "lease was lost" in spared.instances[0].reason


def test_an_evicted_instance_says_who_has_its_address_now() -> None:
    state = fed(
        route("old", "web", "c-1", at("10.0.0.1"), revision=3),
        route("new", "web", "c-2", at("10.0.0.1"), revision=4),
    )

    new, old = branches(state)

    assert new.services[0].status is Status.SERVING
    assert old.services[0].status is Status.REJECTED
    assert "registered later by branch 'new'" in old.services[0].reason


def test_a_conflict_stands_at_the_service_that_lost() -> None:
    state = fed(
        claim("fix-foo", "web", "fix-foo-web", "fix-foo", revision=1),
        claim("fix/foo", "web", "fix-foo-web", "fix-foo", revision=2),
    )

    owner, other = branches(state)

    assert owner.services[0].conflicts == ()
    assert "belongs to branch 'fix-foo'" in other.services[0].conflicts[0]
    assert other.services[0].hosts[0].startswith("fix-foo-528e1f")


def test_a_rejection_is_told_with_whose_it_is_where_its_key_says_so() -> None:
    state = fed(
        route("main", "web", "c-1", at("169.254.169.254")),
        Entry(KEYS.routes + b"a/b/c/d", b"10.0.0.1:80", 1, 1, 0),
    )

    garbled, refused = build_rejections(state, RULES.table(state.snapshot), rules=RULES)

    assert (refused.branch, refused.service, refused.kind) == ("main", "web", RejectionKind.ADDRESS)
    assert (garbled.branch, garbled.kind) == ("", RejectionKind.INVALID)


def test_of_a_long_name_one_that_is_rejected_says_nothing_of_another() -> None:
    name = "x" * 300
    state = fed(route(name, "web", "a-1", at("10.0.0.1")), route(name, "web", "a-2", at("8.8.8.8")))

    service = only_service(state)

    assert service.status is Status.SERVING
    assert [one.status for one in service.instances] == [Status.SERVING, Status.REJECTED]


def test_a_key_too_long_to_be_shown_whole_is_told_with_whose_it_is() -> None:
    name = "x" * 300
    state = fed(
        route(name, "web", "a-1", at("8.8.8.8")),
        Entry(KEYS.routes + b"a/b/c/" + b"d" * 300, b"10.0.0.1:80", 1, 1, 0),
        Entry(KEYS.routes + b"%ff/" + b"e" * 300, b"10.0.0.1:80", 1, 1, 0),
    )

    found = build_rejections(state, RULES.table(state.snapshot), rules=RULES)

    assert {(one.branch, one.service) for one in found} == {(name, "web"), ("", "")}
    assert [one.branch for one in branches(state)] == [name]
    # what cannot be read is shown by a part of it, and digits of the whole
    assert sorted(len(one.key) for one in found) == [209, 209, 209]
    assert len({one.key for one in found}) == 3


def test_a_conflict_of_a_long_name_stands_at_its_service() -> None:
    name = f"fix{'/' * 250}foo"
    state = fed(
        claim("fix-foo", "web", "fix-foo-web", "fix-foo", revision=1),
        claim(name, "web", "fix-foo-web", "fix-foo", revision=2),
    )

    _, other = branches(state)

    assert other.branch == name
    assert "belongs to branch 'fix-foo'" in other.services[0].conflicts[0]


def test_a_hostile_name_is_shown_as_it_is_and_hurts_nobody() -> None:
    name = '<script>alert("1")</script>'

    branch, other = branches(
        fed(route(name, "web", "c-1", at("10.0.0.1")), route("main", "web", "c", at("10.0.0.2")))
    )

    assert branch.branch == name
    assert other.services[0].status is Status.SERVING


def test_frontends_are_behind_the_newest_of_them() -> None:
    def entry(name: str, record: bytes) -> Entry:
        return Entry(KEYS.raw(FrontendKey(name)), record, 1, 1, LEASE)

    entries = [
        entry("b", FrontendRecord(revision=90).dump()),
        entry("a", FrontendRecord(revision=100).dump()),
        entry("c", b"garbage"),
    ]

    found = build_frontends(entries, rules=RULES, own="b")

    assert [(one.id, one.behind_by, one.is_this) for one in found] == [
        ("a", 0, False),
        ("b", 10, True),
        ("c", 0, False),
    ]
    assert found[2].record is None


@given(st.integers(0, 3), st.integers(0, 3))
def test_traffic_changes_only_the_branches_that_had_some(first: int, second: int) -> None:
    known = branches(
        fed(route("a", "web", "c", at("10.0.0.1")), route("b", "web", "c", at("10.0.0.2")))
    )
    a_id = known[0].services[0].id

    once = with_traffic(known, {a_id: Traffic(first)})
    twice = with_traffic(once, {a_id: Traffic(second)})

    assert twice[0].services[0].traffic == Traffic(second)
    assert twice[1] is known[1]
    assert (twice[0] is once[0]) == (first == second)
