"""Every record is routed or rejected, one bad record costs nobody else anything."""

from ipaddress import ip_network
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regenerator.routes import AddressRules
from registry.keys import RouteKey, encode, shown
from registry.names import LABEL_MAX, digits
from registry.records import Address, InstanceRecord, State
from registry.snapshot import Entry
from tests.registry_contents import (
    KEYS,
    NETWORKS,
    RULES,
    addresses_of,
    below_routes,
    claim,
    entries,
    labels_of,
    raw,
    reasons_of,
    route,
    table_of,
)


def rejects(entry: Entry, *, rules: AddressRules = RULES) -> str:
    """The reason for which a record is left out; a good neighbour is served all the same."""
    table = table_of(entry, route("neighbour", value="10.9.9.9:80"), rules=rules)
    assert addresses_of(table, "neighbour") == ["10.9.9.9:80"]
    assert len(table.routes) == 1
    (reason,) = reasons_of(table).values()
    return reason


def test_a_route_by_hand_is_served_under_the_labels_that_a_claim_would_get() -> None:
    table = table_of(route("feature/login"), route("feature/login", "api", value="10.0.0.2:80"))

    assert labels_of(table) == {
        ("feature/login", "api"): ("feature-login-api",),
        ("feature/login", "web"): ("feature-login-web", "feature-login"),
    }
    assert table.rejections == ()


def test_the_form_for_a_hand_and_instances_below_it_are_one_route() -> None:
    table = table_of(
        route("demo", value="10.0.0.1:80", at=1),
        route("demo", instance="i-1", value="10.0.0.2:80", at=3, lease=7),
        route("demo", instance="10.0.0.3:80", value="10.0.0.3:80", at=2),
    )

    (found,) = table.routes
    assert [(str(one.address), one.name) for one in found.instances] == [
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("10.0.0.2:80", "i-1"),
        ("10.0.0.3:80", "10.0.0.3:80"),
    ]
    assert found.newest == 3


def test_two_records_of_one_address_are_one_instance_that_the_newer_one_names() -> None:
    older = route("demo", instance="older", at=1, lease=7)
    newer = route("demo", instance="newer", at=2, lease=8)

    for arrival in ((older, newer), (newer, older)):
        (found,) = table_of(*arrival).routes
        assert [one.name for one in found.instances] == ["newer"]


@pytest.mark.parametrize(
    ("state", "instances"), [("starting", ["older"]), ("draining", []), ("ready", ["newer"])]
)
def test_of_two_records_of_one_address_the_newer_one_tells_unless_it_starts(
    state: str, instances: list[str]
) -> None:
    """A sidecar may come back to a service that runs; who leaves takes the address along."""
    older = route("demo", instance="older", at=1, lease=7)
    value = f'{{"address":"10.0.0.1:8080","state":"{state}"}}'
    newer = route("demo", instance="newer", value=value, at=2, lease=8)

    for arrival in ((older, newer), (newer, older)):
        (found,) = table_of(*arrival).routes
        assert [one.name for one in found.instances] == instances


def test_a_claim_without_an_instance_is_a_route_to_nothing() -> None:
    (found,) = table_of(claim("main", "web", "main-web", "main")).routes

    assert (found.labels, found.instances, found.newest) == (("main-web", "main"), (), 0)


def test_a_claim_keeps_its_labels_whoever_else_would_like_them() -> None:
    table = table_of(
        claim("fix/foo", "web", "fix-foo-web", "fix-foo", at=5), route("fix-foo", at=1)
    )

    mark = digits("fix-foo")
    assert labels_of(table) == {
        ("fix-foo", "web"): (f"fix-foo-{mark}-web", f"fix-foo-{mark}"),
        ("fix/foo", "web"): ("fix-foo-web", "fix-foo"),
    }


@pytest.mark.parametrize(("at", "first"), [(0, "fix/foo"), (1, "fix-foo"), (2, "fix-foo")])
def test_of_routes_without_claims_the_older_one_has_the_plain_label(at: int, first: str) -> None:
    """And of two that one transaction has written, the one whose name comes first."""
    slash, hyphen = route("fix/foo", at=at), route("fix-foo", value="10.0.0.2:80", at=1)

    for arrival in ((slash, hyphen), (hyphen, slash)):
        assert labels_of(table_of(*arrival))[first, "web"] == ("fix-foo-web", "fix-foo")


@pytest.mark.parametrize(
    ("branch", "service", "labels"),
    [
        ("x" * 63, "web", ("x" * 63,)),
        ("x" * 64, "web", (f"{'x' * 56}-7ce100",)),
        ("x" * 60, "api", (f"{'x' * 52}-42f2d9-api",)),
    ],
)
def test_names_at_the_limit_of_a_label(branch: str, service: str, labels: tuple[str, ...]) -> None:
    found = labels_of(table_of(route(branch, service)))[branch, service]

    assert found[-1:] == labels
    assert max(map(len, found)) <= LABEL_MAX


@pytest.mark.parametrize(
    ("state", "is_served"), [("starting", False), ("ready", True), ("draining", False)]
)
def test_only_a_ready_instance_gets_requests(state: str, is_served: bool) -> None:
    value = InstanceRecord(Address("10.0.0.1", 80), State(state)).dump()

    table = table_of(route("demo", instance="i", value=value, lease=7))

    assert addresses_of(table, "demo") == (["10.0.0.1:80"] if is_served else [])
    assert labels_of(table)["demo", "web"] == ("demo-web", "demo")
    assert table.rejections == ()


def test_a_newer_lease_of_another_branch_evicts_the_older_one_on_its_address() -> None:
    """A port that was used again must not serve the branch that had it before."""
    older = route("old", instance="i", at=1, lease=7)
    newer = route("new", instance="j", at=2, lease=8)

    for arrival in ((older, newer), (newer, older)):
        table = table_of(*arrival)
        assert addresses_of(table, "old") == []
        assert addresses_of(table, "new") == ["10.0.0.1:8080"]
        assert reasons_of(table) == {
            "routes/old/web/i": "address 10.0.0.1:8080 was registered later by branch 'new'"
        }


def test_of_three_on_one_address_the_newest_has_it() -> None:
    made = [route(f"b{at}", instance="i", at=at, lease=at) for at in (1, 2, 3)]
    for arrival in permutations(made):
        table = table_of(*arrival)
        assert [addresses_of(table, name) for name in ("b1", "b2", "b3")] == [
            [],
            [],
            ["10.0.0.1:8080"],
        ]


@pytest.mark.parametrize("state", ["starting", "draining"])
def test_an_instance_evicts_before_its_first_request_and_behind_its_last(state: str) -> None:
    value = InstanceRecord(Address("10.0.0.1", 8080), State(state)).dump()

    table = table_of(
        route("old", instance="i", at=1, lease=7),
        route("new", instance="j", at=2, lease=8, value=value),
    )

    assert addresses_of(table, "old") == []
    assert addresses_of(table, "new") == []
    assert list(reasons_of(table)) == ["routes/old/web/i"]


@pytest.mark.parametrize(("old_lease", "new_lease"), [(0, 8), (7, 0), (0, 0)])
def test_what_a_hand_wrote_neither_evicts_nor_is_evicted(old_lease: int, new_lease: int) -> None:
    table = table_of(route("old", at=1, lease=old_lease), route("new", at=2, lease=new_lease))

    assert addresses_of(table, "old") == addresses_of(table, "new") == ["10.0.0.1:8080"]
    assert table.rejections == ()


@pytest.mark.parametrize(
    ("one", "other"),
    [("i", "i"), ("box-1", "box-2"), ("10.0.0.1:80", "box-2"), ("a-b-1", "a-b-2")],
)
def test_services_of_one_container_may_share_an_address(one: str, other: str) -> None:
    table = table_of(
        route("main", "web", one, at=1, lease=7), route("main", "api", other, at=2, lease=8)
    )

    assert addresses_of(table, "main", "web") == addresses_of(table, "main", "api") != []


def test_another_container_of_the_branch_that_got_the_address_evicts_who_had_it() -> None:
    """As after a reboot: containers of one project get each other's addresses."""
    older = route("main", "web", "one-1", at=1, lease=7)
    newer = route("main", "api", "two-1", at=2, lease=8)

    for arrival in ((older, newer), (newer, older)):
        table = table_of(*arrival)
        assert addresses_of(table, "main", "web") == []
        assert addresses_of(table, "main", "api") == ["10.0.0.1:8080"]
        assert reasons_of(table) == {
            "routes/main/web/one-1": "address 10.0.0.1:8080 was registered later by branch 'main'"
            " service 'api', in another container"
        }


def test_another_instance_of_the_same_service_puts_nobody_out() -> None:
    table = table_of(
        route("main", "web", "one-1", at=1, lease=7), route("main", "web", "two-1", at=2, lease=8)
    )

    assert addresses_of(table, "main", "web") != []
    assert table.rejections == ()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("169.254.169.254:80", "metadata"),
        ("169.254.170.2:80", "metadata"),
        ("[fd00:ec2::254]:80", "metadata"),
        ("[fe80::1]:80", "link-local"),
        ("224.0.0.1:80", "multicast"),
        ("[ff02::1]:80", "multicast"),
        ("255.255.255.255:80", "multicast"),
        ("0.0.0.0:80", "unspecified"),
        ("[::]:80", "unspecified"),
        ("127.0.0.1:80", "outside the networks of ALLOW_NETWORKS"),
        ("[2001:db8::1]:80", "outside the networks of ALLOW_NETWORKS"),
        ("11.0.0.1:80", "outside the networks of ALLOW_NETWORKS"),
        ("10.0.0.1:22", "outside ALLOW_PORTS"),
        ("10.0.0.1:1023", "outside ALLOW_PORTS"),
        ("10.0.0.7:9000", "is the frontend's own"),
        ("[::ffff:169.254.169.254]:80", "write it plainly"),
        ("[::ffff:10.0.0.1]:80", "write it plainly"),
        ("[fd00::1%eth0]:80", "no address"),
        ("10.0.0.1", "no address"),
        ("10.0.0.1:0", "not between 1 and 65535"),
        ("10.0.0.1:65536", "not between 1 and 65535"),
        ("10.0.0.01:80", "no IP address"),
        ("web.internal:80", "no address"),
        ("10.0.0.1:80; include /etc/passwd", "no address"),
        ("10.0.0.1:80\n} server {", "no address"),
        ("http://10.0.0.1:80", "no address"),
        ("", "no address"),
    ],
)
def test_an_address_that_is_none_or_not_a_services_is_refused(address: str, reason: str) -> None:
    rules = AddressRules(NETWORKS, RULES.ports, own=frozenset({Address("10.0.0.7", 9000)}))

    assert reason in rejects(route("bad", value=address), rules=rules)


def test_what_is_never_a_service_is_refused_even_where_everything_is_allowed() -> None:
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    rules = AddressRules(everything, ((1, 65535),))

    assert "metadata" in rejects(route("bad", value="169.254.169.254:80"), rules=rules)
    assert addresses_of(table_of(route("a", value="127.0.0.1:22"), rules=rules), "a")


def test_ipv6_is_served_in_its_canonical_form() -> None:
    assert addresses_of(table_of(route("six", value="[FD00:0:0::7]:80")), "six") == ["[fd00::7]:80"]


@pytest.mark.parametrize(
    "value",
    [
        b'{"address":"10.0.0.1:80","state":"asleep"}',
        b'{"address":"10.0.0.1:80","state":true}',
        b'{"address":true}',
        b'{"address":"10.0.0.1","port":true}',
        b'{"state":"ready"}',
        b'{"address":"10.0.0.1:80"',
        b"[]",
        b"\xff\xfe",
        b"x" * 1_000_000,
        b'{"address":"10.0.0.1:80","x":"' + b"y" * 1_000_000 + b'"}',
        b"{" * 100_000,
    ],
)
def test_a_value_that_is_no_record_is_refused_in_a_short_sentence(value: bytes) -> None:
    assert 0 < len(rejects(route("bad", value=value))) < 200


def test_fields_that_we_do_not_know_are_ignored() -> None:
    value = '{"address":"10.0.0.1:80","weight":{"a":[1]},"version":99}'

    assert addresses_of(table_of(route("later", value=value)), "later") == ["10.0.0.1:80"]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("routes/feature/login/web", "a slash in a branch's name is written %2F"),
        ("routes/a/b/c/d", "4 parts"),
        ("routes/a", "1 parts"),
        ("routes/", "0 parts"),
        ("routes/a//b", "not percent-encoded"),
        ("routes/a/b/", "not percent-encoded"),
        ("routes/a%2fb/web", "not percent-encoded"),
        ("routes/%61/web", "not canonical"),
        ("routes/a b/web", "not percent-encoded"),
        ("routes/a%0Ab/web", "control character"),
        ("routes/%FF/web", "not UTF-8"),
        ("routes/a/%E6%97%A5%E6%9C%AC", "no letter a-z and no digit"),
        (f"routes/a/{'s' * 41}", "longer than 40"),
        (f"routes/{'b' * 513}/web", "longer than 512 bytes"),
        ("routes/a;b/web", "not percent-encoded"),
        ("routes/a/web/$x", "not percent-encoded"),
    ],
)
def test_a_key_of_another_shape_is_refused_with_its_reason(key: str, reason: str) -> None:
    assert reason in rejects(raw(key))


def test_a_bad_claim_is_told_and_the_route_is_served_as_if_there_were_none() -> None:
    table = table_of(raw("claims/main/web", b'{"version":1,"labels":["other"]}'), route("main"))

    assert labels_of(table)["main", "web"] == ("main-web", "main")
    assert "cannot be made of this branch" in reasons_of(table)["claims/main/web"]


def test_of_two_claims_with_one_label_the_younger_one_is_told_and_served_otherwise() -> None:
    table = table_of(
        claim("fix/foo", "web", "fix-foo-web", "fix-foo", at=1),
        claim("fix-foo", "web", "fix-foo-web", "fix-foo", at=2),
    )

    assert labels_of(table)["fix/foo", "web"] == ("fix-foo-web", "fix-foo")
    assert "fix-foo" not in labels_of(table)["fix-foo", "web"]
    assert list(reasons_of(table)) == ["claims/fix-foo/web"]


def test_a_route_for_which_no_label_is_left_is_told() -> None:
    forms = [
        "branchfront",
        *(f"branchfront-{digits('branchfront', length=n)}" for n in (6, 12, 24)),
    ]
    takers = [
        claim(label, "web", f"{label}-web", label, at=at) for at, label in enumerate(forms[1:])
    ]

    table = table_of(route("branchfront", at=99), *takers)

    assert addresses_of(table, "branchfront") == []
    assert "is carried by another claim" in reasons_of(table)["routes/branchfront/web"]


def test_keys_of_others_are_no_routes_and_no_fault() -> None:
    table = table_of(raw("frontends/x"), raw("release"), raw(b"/other/routes/a/web"))

    assert (table.routes, table.rejections) == ((), ())


def test_a_route_has_an_id_of_its_own_that_nginx_reads_as_a_word() -> None:
    pairs = [("a", "b-c"), ("a-b", "c"), ("a/b", "c"), ("A", "b-c"), ("日本", "web")]

    ids = {one.id for one in table_of(*(route(b, s) for b, s in pairs)).routes}

    assert len(ids) == len(pairs)
    assert all(16 <= len(one) <= 47 and set(one) <= set("0123456789abcdef") for one in ids)


@given(orders=entries.flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))))
def test_the_order_of_arrival_does_not_show(orders: tuple[list[Entry], list[Entry]]) -> None:
    one, other = orders

    assert table_of(*one) == table_of(*other)


@given(found=entries)
def test_every_record_is_routed_or_rejected(found: list[Entry]) -> None:
    table = table_of(*found)

    rejected = {one.key for one in table.rejections}
    for entry in below_routes(found):
        if shown(entry.key) in rejected:
            continue
        key, record = KEYS.parse(entry.key), InstanceRecord.parse(entry.value)
        assert isinstance(key, RouteKey)
        assert (key.branch, key.service) in labels_of(table)
        if record.state is State.READY:
            assert str(record.address) in addresses_of(table, key.branch, key.service)


@given(found=entries)
def test_no_label_leads_to_two_routes(found: list[Entry]) -> None:
    labels = [label for one in table_of(*found).routes for label in one.labels]

    assert len(labels) == len(set(labels))


@given(found=entries, bad=entries)
def test_a_bad_record_changes_nothing_for_the_good_ones(
    found: list[Entry], bad: list[Entry]
) -> None:
    """Bad ones of routes, that is: a bad claim of one's own may cost a label."""
    rejected = {one.key for one in table_of(*bad).rejections}
    known = {entry.key for entry in found}
    broken = [
        entry
        for entry in below_routes(bad)
        if shown(entry.key) in rejected
        and entry.key not in known
        and not rejects_nothing_alone(entry)
    ]

    assert table_of(*found, *broken).routes == table_of(*found).routes


def rejects_nothing_alone(entry: Entry) -> bool:
    """Whether a record is good by itself: it was left out for what another one holds."""
    return not table_of(entry).rejections


def test_a_name_can_be_read_back_from_what_was_told_of_it() -> None:
    branch = "fix/<b>$x;"

    (key,) = reasons_of(table_of(route(branch, value="nowhere")))

    assert key == f"routes/{encode(branch)}/web"
