"""Included: the verbs of the registry, the same claims over the fake store and over real etcd."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from registry.claims import Claim
from registry.etcd import Etcd
from registry.faults import LabelsExhausted, LeaseLost, StoreMisspoken
from registry.holders import former_holder
from registry.keys import ClaimKey, FrontendKey, Keyspace, RouteKey
from registry.names import long_labels, short_labels
from registry.records import Address, ClaimRecord, FrontendRecord, InstanceRecord, State
from registry.registrations import Registered, Registrations
from registry.standing import Standing
from registry.store import Store
from tests.etcd_server import EtcdServer
from tests.fakes.memory_store import MemoryStore
from tests.fakes.spare_time import SpareTime

pytestmark = pytest.mark.contract

RECORD = InstanceRecord(Address("10.0.0.5", 8080), State.READY, "2026-11-21T09:00:00Z")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture(params=["memory", "etcd"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    server: EtcdServer = request.getfixturevalue("server")
    etcd = Etcd(server.settings)
    etcd.delete_prefix(b"/")
    yield etcd
    etcd.close()


@pytest.fixture
def registrations(store: Store) -> Registrations:
    return Registrations(store, keys=Keyspace(), now=lambda: 0.0)


def register(
    registrations: Registrations,
    branch: str,
    service: str = "web",
    *,
    lease: int = 0,
    held: Claim | None = None,
    known: Standing | None = None,
) -> Registered:
    return registrations.register(
        RouteKey(branch, service, "i1"),
        RECORD,
        lease=lease,
        default_service="web",
        held=held,
        known=known,
    )


def labels_of(registrations: Registrations, branch: str, service: str = "web") -> tuple[str, ...]:
    entry = registrations.store.read(registrations.keys.raw(ClaimKey(branch, service)))
    assert entry is not None
    return ClaimRecord.parse(entry.value).labels


def test_claim_and_route_are_written_at_one_revision(registrations: Registrations) -> None:
    done = register(registrations, "feature/login")

    keys = registrations.keys
    route = registrations.store.read(keys.raw(RouteKey("feature/login", "web", "i1")))
    claim = registrations.store.read(keys.raw(ClaimKey("feature/login", "web")))
    assert route is not None
    assert claim is not None
    assert route.create_revision == claim.create_revision == done.revision
    assert done.claim.labels == ("feature-login-web", "feature-login")
    assert done.claim.create_revision == claim.create_revision
    assert InstanceRecord.parse(route.value) == RECORD
    assert ClaimRecord.parse(claim.value).created == "1970-01-01T00:00:00Z"


def test_a_claim_that_stands_is_used_as_it_is(registrations: Registrations) -> None:
    register(registrations, "main")
    key = registrations.keys.raw(ClaimKey("main", "web"))
    before = registrations.store.read(key)

    done = register(registrations, "main")

    assert registrations.store.read(key) == before
    assert done.claim.labels == ("main-web", "main")


def test_who_comes_second_gets_the_form_with_the_digits(registrations: Registrations) -> None:
    register(registrations, "fix-foo")

    done = register(registrations, "fix/foo")

    assert done.claim.labels == ("fix-foo-528e1f-web", "fix-foo-528e1f")


def test_labels_that_were_held_are_written_again_though_others_are_free_now(
    registrations: Registrations,
) -> None:
    held = Claim(
        ClaimKey("fix/foo", "web"),
        ("fix-foo-528e1f-web", "fix-foo-528e1f"),
        create_revision=1,
        created="2026-01-01T00:00:00Z",
    )

    register(registrations, "fix/foo", held=held)

    assert labels_of(registrations, "fix/foo") == held.labels


def test_labels_that_were_held_are_not_taken_from_who_has_them_now(
    registrations: Registrations,
) -> None:
    register(registrations, "fix-foo")
    held = Claim(ClaimKey("fix/foo", "web"), ("fix-foo-web", "fix-foo"), create_revision=1)

    done = register(registrations, "fix/foo", held=held)

    assert done.claim.labels == ("fix-foo-528e1f-web", "fix-foo-528e1f")


def test_a_claim_that_cannot_be_read_is_replaced(registrations: Registrations) -> None:
    key = registrations.keys.raw(ClaimKey("main", "web"))
    registrations.store.write(key, b"nonsense")

    done = register(registrations, "main")

    entry = registrations.store.read(key)
    assert entry is not None
    assert done.claim.create_revision == entry.create_revision
    assert labels_of(registrations, "main") == ("main-web", "main")


def test_a_branch_without_a_free_label_is_told_so(registrations: Registrations) -> None:
    claims = [
        Claim(ClaimKey(f"other{number}", "x"), (label,), create_revision=1)
        for number, label in enumerate(long_labels("main", "web") + short_labels("main"))
    ]

    with pytest.raises(LabelsExhausted):
        register(registrations, "main", known=Standing(1, claims))


def test_a_route_on_a_lease_that_is_gone_is_not_written(registrations: Registrations) -> None:
    lease = registrations.store.grant(15).id
    registrations.store.revoke(lease)

    with pytest.raises(LeaseLost):
        register(registrations, "main", lease=lease)

    assert registrations.store.list(registrations.keys.root).entries == {}


def test_of_two_at_the_same_time_the_later_gives_way(registrations: Registrations) -> None:
    """Both read the claims before either has written one."""
    first, second = registrations.standing(), registrations.standing()
    register(registrations, "fix-foo", known=first)
    register(registrations, "fix/foo", known=second)

    lost_by_first = registrations.settle_races(first)
    lost_by_second = registrations.settle_races(second)

    assert lost_by_first == ()
    assert len(lost_by_second) == 2
    assert "fix-foo belongs to branch 'fix-foo'" in lost_by_second[1].reason
    assert labels_of(registrations, "fix-foo") == ("fix-foo-web", "fix-foo")
    assert labels_of(registrations, "fix/foo") == ("fix-foo-528e1f-web", "fix-foo-528e1f")


def test_a_race_is_settled_without_being_asked_to() -> None:
    store = MemoryStore()
    registrations = Registrations(store, keys=Keyspace(), now=lambda: 0.0)

    def meanwhile() -> None:
        store.meanwhile = lambda: None
        register(registrations, "fix-foo")

    store.meanwhile = meanwhile
    done = register(registrations, "fix/foo")

    assert done.claim.labels == ("fix-foo-528e1f-web", "fix-foo-528e1f")
    assert len(done.conflicts) == 2


def test_instances_of_one_service_that_start_together_share_its_claim() -> None:
    store = MemoryStore()
    registrations = Registrations(store, keys=Keyspace(), now=lambda: 0.0)

    def meanwhile() -> None:
        store.meanwhile = lambda: None
        register(registrations, "main")

    store.meanwhile = meanwhile
    done = register(registrations, "main")

    assert done.claim.labels == ("main-web", "main")
    assert done.conflicts == ()


def test_many_are_registered_with_the_claims_read_once(registrations: Registrations) -> None:
    known = registrations.standing()
    names = [f"branch-{number}" for number in range(40)]

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda name: register(registrations, name, known=known), names))

    assert registrations.settle_races(known) == ()
    assert [one.claim.labels[1] for one in done] == names
    assert len(registrations.standing().claims()) == 40


def test_threads_that_share_what_is_known_never_get_one_label(
    registrations: Registrations,
) -> None:
    known = registrations.standing()
    names = ["a/b", "a-b", "a.b", "a_b"]

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda name: register(registrations, name, known=known), names))

    assert registrations.settle_races(known) == ()
    assert len({label for one in done for label in one.claim.labels}) == 8


def test_a_registration_with_known_claims_is_one_call() -> None:
    store = MemoryStore()
    registrations = Registrations(store, keys=Keyspace())
    known = registrations.standing()
    store.calls.clear()

    register(registrations, "main", known=known)

    assert store.calls == ["commit"]


def test_check_sees_a_key_that_is_gone_changed_or_on_another_lease(
    registrations: Registrations,
) -> None:
    store, key = registrations.store, RouteKey("main", "web", "i1")
    raw = registrations.keys.raw(key)
    lease, other = store.grant(60).id, store.grant(60).id
    claim = register(registrations, "main", lease=lease).claim

    assert registrations.check(key, RECORD, lease=lease, claim=claim)
    assert not registrations.check(key, RECORD, lease=other, claim=claim)
    store.write(raw, b"10.0.0.9:1", lease=lease)
    assert not registrations.check(key, RECORD, lease=lease, claim=claim)
    store.write(raw, RECORD.dump(), lease=lease)
    assert registrations.check(key, RECORD, lease=lease, claim=claim)
    store.delete(registrations.keys.raw(claim.key))
    assert not registrations.check(key, RECORD, lease=lease, claim=claim)
    assert registrations.check(key, RECORD, lease=lease)
    store.delete(raw)
    assert not registrations.check(key, RECORD, lease=lease)


def test_a_restated_route_stays_on_its_lease(registrations: Registrations) -> None:
    lease = registrations.store.grant(60).id
    register(registrations, "main", lease=lease)
    key = RouteKey("main", "web", "i1")
    draining = InstanceRecord(RECORD.address, State.DRAINING)

    revision = registrations.restate(key, draining, lease=lease)

    entry = registrations.store.read(registrations.keys.raw(key))
    assert entry is not None
    assert (entry.mod_revision, entry.lease) == (revision, lease)
    assert InstanceRecord.parse(entry.value).state is State.DRAINING


def test_deregistering_leaves_the_claim(registrations: Registrations) -> None:
    lease = registrations.store.grant(60).id
    done = register(registrations, "main", lease=lease)

    revision = registrations.deregister(RouteKey("main", "web", "i1"), lease=lease)

    assert revision > done.revision
    assert labels_of(registrations, "main") == ("main-web", "main")
    assert registrations.store.list(registrations.keys.routes).entries == {}


def test_what_a_successor_has_on_a_lease_of_its_own_is_not_deregistered(
    registrations: Registrations,
) -> None:
    former, present = (registrations.store.grant(60).id for _ in range(2))
    register(registrations, "main", lease=present)

    registrations.deregister(RouteKey("main", "web", "i1"), lease=former)

    assert len(registrations.store.list(registrations.keys.routes).entries) == 1


def test_the_past_can_be_listed(store: Store) -> None:
    first = store.write(b"/past/a", b"1")
    second = store.write(b"/past/b", b"2")
    store.write(b"/past/a", b"3")
    last = store.delete(b"/past/b").revision

    before = store.list(b"/past/", at=second)

    assert {key: entry.value for key, entry in before.entries.items()} == {
        b"/past/a": b"1",
        b"/past/b": b"2",
    }
    assert before.revision == last
    assert list(store.list(b"/past/", at=second, created_after=first).entries) == [b"/past/b"]
    assert list(store.list(b"/past/", at=last).entries) == [b"/past/a"]
    with pytest.raises(StoreMisspoken):
        store.list(b"/past/", at=last + 100)


def test_a_past_that_was_compacted_away_cannot_be_listed(store: Store) -> None:
    first = store.write(b"/past/a", b"1")
    last = store.write(b"/past/a", b"2")
    if isinstance(store, Etcd):
        store.call("kv/compaction", revision=last)
    else:
        assert isinstance(store, MemoryStore)
        store.compact(last)

    with pytest.raises(StoreMisspoken):
        store.list(b"/past/", at=first)


def test_who_had_an_address_is_known_from_what_the_frontends_have_released(
    registrations: Registrations,
) -> None:
    store, keys = registrations.store, registrations.keys
    old, new = RouteKey("other", "web", "i1"), RouteKey("main", "web", "i1")
    revision = store.write(keys.raw(old), RECORD.dump())
    report(registrations, "f1", FrontendRecord(revision=revision, released=revision))
    gone = store.delete(keys.raw(old)).revision
    revision = store.write(keys.raw(new), RECORD.dump())

    holder = former_holder(registrations, new, RECORD.address, revision=revision)
    report(registrations, "f1", FrontendRecord(revision=gone, released=gone))
    nobody = former_holder(registrations, new, RECORD.address, revision=revision)

    assert "'other'" in holder
    assert nobody == ""


def report(registrations: Registrations, frontend: str, record: FrontendRecord) -> None:
    registrations.store.write(registrations.keys.raw(FrontendKey(frontend)), record.dump())


def test_frontends_that_cannot_be_read_are_left_out(registrations: Registrations) -> None:
    report(registrations, "b", FrontendRecord(revision=2))
    report(registrations, "a", FrontendRecord(revision=1, default_service="api"))
    registrations.store.write(registrations.keys.frontends + b"c", b"nonsense")

    assert [frontend for frontend, _ in registrations.frontends()] == ["a", "b"]
    assert registrations.default_service() == "api"


def test_without_a_frontend_there_is_nobody_to_wait_for(registrations: Registrations) -> None:
    assert registrations.wait_applied(10**9, within_s=60) == ()


def test_waiting_ends_when_the_last_frontend_has_applied_the_change(
    registrations: Registrations,
) -> None:
    spare = SpareTime()
    report(registrations, "a", FrontendRecord(revision=7))
    report(registrations, "b", FrontendRecord(revision=6))
    spare.at(3, lambda: report(registrations, "b", FrontendRecord(revision=7)))

    late = registrations.wait_applied(7, within_s=60, wait=spare.wait, clock=spare.clock)

    assert late == ()
    assert 3 <= spare.now_s <= 3.1


def test_waiting_names_who_is_late_and_does_not_wait_for_who_has_gone(
    registrations: Registrations,
) -> None:
    spare = SpareTime()
    report(registrations, "a", FrontendRecord(revision=7))
    report(registrations, "b", FrontendRecord(revision=6))
    report(registrations, "c", FrontendRecord(revision=6))
    spare.at(3, lambda: registrations.store.delete(registrations.keys.frontends + b"c"))

    late = registrations.wait_applied(7, within_s=10, wait=spare.wait, clock=spare.clock)

    assert late == ("b",)
    assert spare.now_s == pytest.approx(10)


def test_a_removal_waits_for_what_is_released(registrations: Registrations) -> None:
    report(registrations, "a", FrontendRecord(revision=9, released=7))

    def late(revision: int, *, removal: bool) -> tuple[str, ...]:
        return registrations.wait_applied(revision, removal=removal, within_s=0)

    assert late(8, removal=False) == ()
    assert late(8, removal=True) == ("a",)
    assert late(7, removal=True) == ()


def test_waiting_can_be_ended_early(registrations: Registrations) -> None:
    report(registrations, "a", FrontendRecord(revision=6))

    assert registrations.wait_applied(7, within_s=60, wait=lambda _: True) == ("a",)
