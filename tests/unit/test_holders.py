"""Included: whether a frontend may still serve who had an address before. Over a fake store."""

from collections.abc import Callable

import pytest

from registry.faults import StoreUnreachable
from registry.holders import former_holder, present_holder, successor
from registry.keys import FrontendKey, Keyspace, RouteKey
from registry.records import Address, FrontendRecord, InstanceRecord, State
from registry.registrations import Registrations
from tests.fakes.memory_store import MemoryStore

KEYS = Keyspace()
KEY = RouteKey("main", "web", "i1")
ADDRESS = Address("10.0.0.5", 8080)


def report(store: MemoryStore, frontend: str, record: FrontendRecord) -> None:
    store.write(KEYS.raw(FrontendKey(frontend)), record.dump())


def put(
    store: MemoryStore, branch: str, address: str, *, service: str = "web", lease: int = 0
) -> int:
    key = KEYS.raw(RouteKey(branch, service, "old"))
    return store.write(key, address.encode(), lease=lease)


def holder(store: MemoryStore) -> str:
    """Who had our address, when we register now."""
    registrations = Registrations(store, keys=KEYS)
    revision = store.write(KEYS.raw(KEY), InstanceRecord(ADDRESS, State.STARTING).dump())
    return former_holder(registrations, KEY, ADDRESS, revision=revision)


def scene(act: Callable[[MemoryStore], object], *, released: int = 0, **more: object) -> str:
    """Something happens, a frontend reports what it serves by then, and we register."""
    store = MemoryStore()
    act(store)
    record = FrontendRecord(released=released or store.revision, **more)  # type: ignore[arg-type]
    report(store, "f1", record)
    return holder(store)


def test_an_address_that_nobody_had_is_free() -> None:
    assert not scene(lambda store: put(store, "other", "10.0.0.6:8080"))
    assert not scene(lambda store: put(store, "main", "10.0.0.5:8080"))
    assert not scene(lambda store: put(store, "other", "nonsense"))


def test_without_a_frontend_nobody_is_served_anywhere() -> None:
    store = MemoryStore()
    put(store, "other", "10.0.0.5:8080")

    assert not holder(store)


def test_who_had_the_address_is_named() -> None:
    branch = scene(lambda store: put(store, "other", "10.0.0.5:8080"))
    service = scene(lambda store: put(store, "main", "10.0.0.5:8080", service="api"))

    assert branch == "branch 'other' service 'web' had it"
    assert service == "branch 'main' service 'api' had it"


def test_who_is_gone_from_the_registry_and_not_from_a_frontend_counts() -> None:
    store = MemoryStore()
    put(store, "other", "10.0.0.5:8080")
    report(store, "f1", FrontendRecord(released=store.revision))
    store.delete(KEYS.raw(RouteKey("other", "web", "old")))

    assert "'other'" in holder(store)
    report(store, "f1", FrontendRecord(released=store.revision))
    assert not holder(store)


def test_who_came_after_what_a_frontend_has_reported_counts() -> None:
    store = MemoryStore()
    report(store, "f1", FrontendRecord(released=store.revision))
    put(store, "other", "10.0.0.5:8080")

    assert "'other'" in holder(store)


def test_the_slowest_frontend_decides() -> None:
    store = MemoryStore()
    put(store, "other", "10.0.0.5:8080")
    report(store, "f1", FrontendRecord(released=store.revision))
    store.delete(KEYS.raw(RouteKey("other", "web", "old")))
    report(store, "f2", FrontendRecord(released=store.revision))

    assert "'other'" in holder(store)


def test_a_frontend_that_has_come_past_us_serves_nobody_else() -> None:
    assert not scene(lambda store: put(store, "other", "10.0.0.5:8080"), released=10**6)


def test_what_cannot_be_known_counts() -> None:
    compacted = scene(lambda store: setattr(store, "compacted", 99))
    forbidden = scene(lambda store: setattr(store, "hides", KEYS.routes))

    assert "not known" in compacted
    assert "not known" in forbidden
    assert "f1" in scene(lambda _: None, held=1)
    assert not scene(lambda _: None, state="template broken")
    store = MemoryStore()
    report(store, "f1", FrontendRecord())
    assert holder(store)


def present(store: MemoryStore) -> str:
    registrations = Registrations(store, keys=KEYS, now=lambda: 0.0)
    return present_holder(registrations, KEY, ADDRESS)


def test_another_branch_that_has_the_address_on_a_lease_is_told() -> None:
    store = MemoryStore()
    put(store, "other", "10.0.0.5:8080")
    assert not present(store)

    put(store, "other", "10.0.0.5:8080", lease=store.grant(15).id)
    assert present(store) == "branch 'other' service 'web' has it"


def test_who_may_not_see_who_has_it_is_not_held_up() -> None:
    store = MemoryStore()
    put(store, "other", "10.0.0.5:8080", lease=store.grant(15).id)
    store.hides = KEYS.routes

    assert not present(store)


def test_another_service_of_the_same_branch_may_share_it() -> None:
    store = MemoryStore()
    put(store, KEY.branch, "10.0.0.5:8080", lease=store.grant(15).id)

    assert not present(store)


def next_one(store: MemoryStore) -> str:
    """The key of who serves in our place; empty if nobody does."""
    found = successor(Registrations(store, keys=KEYS), KEY, ADDRESS)
    return found.key.decode() if found else ""


def put_record(store: MemoryStore, key: RouteKey, address: str, state: State = State.READY) -> None:
    record = InstanceRecord(Address.parse(address), state)
    store.write(KEYS.raw(key), record.dump(), lease=store.grant(60).id)


def test_another_ready_instance_at_another_ip_serves_in_our_place() -> None:
    store = MemoryStore()
    put_record(store, KEY, str(ADDRESS))
    assert not next_one(store)

    put_record(store, RouteKey("main", "web", "i2"), "10.0.0.6:8080")
    assert next_one(store) == "/branchfront/routes/main/web/i2"


def test_what_a_hand_wrote_serves_in_nobodys_place() -> None:
    """Nobody keeps it true: it may be years old."""
    store = MemoryStore()
    store.write(KEYS.raw(RouteKey("main", "web")), b"10.0.0.6:8080")

    assert not next_one(store)


@pytest.mark.parametrize("state", [State.STARTING, State.DRAINING])
def test_who_gets_no_requests_serves_in_nobodys_place(state: State) -> None:
    store = MemoryStore()
    put_record(store, RouteKey("main", "web", "i2"), "10.0.0.6:8080", state)

    assert not next_one(store)


def test_who_lives_on_the_same_machine_ends_with_it() -> None:
    store = MemoryStore()
    put_record(store, RouteKey("main", "web", "i2"), f"{ADDRESS.ip}:32770")

    assert not next_one(store)


@pytest.mark.parametrize(
    "key",
    [
        RouteKey("main", "api", "i2"),
        RouteKey("main-2", "web", "i2"),
        RouteKey("main/web", "web", "i2"),
        RouteKey("MAIN", "web", "i2"),
    ],
)
def test_other_services_and_branches_do_not_serve_in_our_place(key: RouteKey) -> None:
    store = MemoryStore()
    put_record(store, key, "10.0.0.6:8080")

    assert not next_one(store)


def test_a_record_that_cannot_be_read_serves_in_nobodys_place_and_hides_nobody() -> None:
    store = MemoryStore()
    put(store, "main", "nonsense")
    store.write(KEYS.routes + b"main/web/a/b", b"10.0.0.6:8080")
    assert not next_one(store)

    put_record(store, RouteKey("main", "web", "z"), "10.0.0.7:8080")
    assert next_one(store) == "/branchfront/routes/main/web/z"


def test_who_may_not_read_the_routes_finds_nobody() -> None:
    store = MemoryStore()
    put_record(store, RouteKey("main", "web", "i2"), "10.0.0.6:8080")
    store.hides = KEYS.routes

    assert not next_one(store)


def test_a_registry_that_is_away_is_no_answer() -> None:
    """Whoever took silence for nobody would leave too late, and for somebody too early."""
    with pytest.raises(StoreUnreachable):
        next_one(MemoryStore(up=False))
