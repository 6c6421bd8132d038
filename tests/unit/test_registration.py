"""Included: the way out of a registration, in its own thread, over a store in memory."""

import time
from collections.abc import Callable

import pytest

from registrar.bell import Bell
from registrar.connections import Connections
from registrar.gate import Gate, GateSettings
from registrar.health import HealthSettings
from registrar.keep import Keep, Timing
from registrar.listener import Listener
from registrar.registration import Patience, Registration
from registry.faults import StoreUnreachable
from registry.keys import Keyspace, RouteKey
from registry.records import Address, InstanceRecord, State
from registry.registrations import Registered, Registrations
from tests.etcd_server import wait_until
from tests.fakes.memory_store import MemoryStore

KEYS = Keyspace()
KEY = RouteKey("main", "web", "i1")
IDLE = Connections(listens=True, established=0)
NOBODY_LISTENS = Connections(listens=False, established=0)

SHORT_S = 0.2
"""Long enough to be told from nothing on a busy machine."""


def begin(
    store: MemoryStore,
    *,
    drain_s: float = 30.0,
    connections: Callable[[], Connections | None] = lambda: IDLE,
    sees_connections: bool = True,
) -> Registration:
    """A registration that stands."""

    bell = Bell()
    gates: list[Gate] = []

    class Told(Listener):
        def tried(self) -> None:
            gates[0].tried()

        def registered(self, done: Registered, record: InstanceRecord) -> None:
            gates[0].registered(record, done.revision)

    keep = Keep(
        Registrations(store, keys=KEYS),
        KEY,
        locate=lambda: Address("10.0.0.5", 8080),
        ttl_s=15,
        default_service="web",
        timing=Timing(bell.wait, bell.ring),
        listener=Told(),
    )
    gates.append(Gate(keep, GateSettings(HealthSettings(), None, 30.0), wake=lambda: None))
    registration = Registration(
        keep,
        gates[0],
        bell=bell,
        patience=Patience(30.0, drain_s, sees_connections=sees_connections),
        connections=connections,
        wake=lambda: None,
    )
    registration.start()
    wait_until(lambda: registration.may_begin)
    registration.begin()
    wait_until(lambda: state_of(store) is State.READY)
    return registration


def state_of(store: MemoryStore) -> State:
    return InstanceRecord.parse(store.entries[KEYS.raw(KEY)].value).state


def leave(registration: Registration) -> tuple[float, list[str]]:
    """Take it out; how long it took, and what happened to the command."""
    told: list[str] = []
    began_at = time.monotonic()
    registration.leave(lambda: told.append("let go"))
    wait_until(lambda: registration.over)
    return time.monotonic() - began_at, told


def test_an_idle_service_leaves_at_once_and_leaves_nothing() -> None:
    store = MemoryStore()
    registration = begin(store)

    took_s, told = leave(registration)

    assert took_s < 10
    assert told == ["let go"]
    assert KEYS.raw(KEY) not in store.entries
    assert store.leases == {}


@pytest.mark.parametrize("found", [None, NOBODY_LISTENS])
def test_where_connections_cannot_be_seen_the_time_is_waited_out(
    found: Connections | None,
) -> None:
    """A sidecar in another network namespace sees none, though there are some."""
    registration = begin(
        MemoryStore(), drain_s=SHORT_S, connections=lambda: found, sees_connections=False
    )

    took_s, _ = leave(registration)

    assert took_s >= SHORT_S


def test_a_child_that_never_listened_has_nothing_in_flight() -> None:
    registration = begin(MemoryStore(), connections=lambda: NOBODY_LISTENS)

    took_s, _ = leave(registration)

    assert took_s < 10


def test_who_hurries_is_not_held_up_by_open_connections() -> None:
    registration = begin(
        MemoryStore(), connections=lambda: Connections(listens=True, established=3)
    )

    registration.leave()
    registration.hurry()

    assert registration.finish()


def test_a_registry_that_fails_on_the_way_out_holds_nobody_up() -> None:
    store = MemoryStore()
    registration = begin(store)
    store.up = False

    took_s, told = leave(registration)

    assert took_s < 10
    assert told == ["let go"]


def test_giving_up_lets_go_without_the_registry() -> None:
    """The call that the registry does not answer goes on in its own thread."""
    store = MemoryStore()
    registration = begin(store)
    answers: list[bool] = []

    def mute() -> None:
        wait_until(lambda: answers)
        raise StoreUnreachable("no answer")

    store.meanwhile = mute
    told: list[str] = []
    registration.leave(lambda: told.append("let go"))
    patience_s = registration.patience_s
    registration.give_up()

    assert patience_s is not None
    assert 0 < patience_s < 1
    assert told == ["let go"]
    assert registration.patience_s is None
    assert not registration.finish()
    answers.append(True)
    wait_until(lambda: registration.over)


def test_a_mistake_of_ours_is_told_and_the_service_stays_registered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def connections() -> Connections | None:
        raise ZeroDivisionError

    registration = begin(MemoryStore(), connections=connections)

    took_s, told = leave(registration)

    assert took_s < 10
    assert told == ["let go"]
    assert "a mistake of ours" in caplog.text
