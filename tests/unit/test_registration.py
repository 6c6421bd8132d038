"""Included: the way out of a registration, in its own thread, over a store in memory."""

import threading
import time
from collections.abc import Callable

import pytest

from registrar.aws.notices import Notice
from registrar.bell import Bell
from registrar.connections import Connections
from registrar.gate import Gate, GateSettings
from registrar.health import HealthSettings
from registrar.keep import Keep, Retirement, Timing
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
ADDRESS = Address("10.0.0.5", 8080)
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
    time_of_day: Callable[[], float] = time.time,
    locate: Callable[[], Address] = lambda: ADDRESS,
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
        locate=locate,
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
        now=time_of_day,
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


def test_the_longest_way_out_is_known_before() -> None:
    """Of each: the wait itself, and what a call may take that began at its end."""
    assert Patience(10.0, 2.0).most_s == pytest.approx(17.4)
    assert Patience(0.0, 0.0).most_s == pytest.approx(5.4)


def test_who_retires_leaves_in_time_to_be_gone_before_the_date(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is 100 s to the date, and leaving may take 65.4."""
    store, now = MemoryStore(), 1_000.0
    registration = begin(store, time_of_day=lambda: now)
    kept: list[Retirement] = []
    monkeypatch.setattr(registration._keep, "retire", kept.append)

    began_at = time.monotonic()
    registration.retire(Notice("it goes", now + 100))
    registration.retire(Notice("it is over", now - 100))
    registration.retire(Notice("it may go", None))
    took_s = time.monotonic() - began_at
    leave(registration)

    assert registration.leaves_within_s == pytest.approx(65.4)
    in_time, late, undated = kept
    assert in_time.by is not None
    assert 34.6 <= in_time.by - began_at <= 34.6 + took_s
    assert late.by is not None
    assert 0 <= late.by - began_at <= took_s
    assert undated.by is None


def test_a_notice_is_told_with_the_time_that_is_left(caplog: pytest.LogCaptureFixture) -> None:
    now = 1_000.0
    registration = begin(MemoryStore(), time_of_day=lambda: now)

    registration.retire(Notice("it goes", now + 100))
    registration.retire(Notice("it may go", None))
    leave(registration)

    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [
        "it goes; staying in rotation until another instance serves, 35 s at most",
        "it may go; staying in rotation until another instance serves",
    ]


def test_who_has_retired_is_taken_out_like_everybody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    store = MemoryStore()
    registration = begin(store)
    other = InstanceRecord(Address("10.0.0.6", 8080), State.READY)
    theirs = store.grant(60).id
    store.write(KEYS.raw(RouteKey("main", "web", "i2")), other.dump(), lease=theirs)
    registration.retire(Notice("it may go", None))
    wait_until(lambda: state_of(store) is State.DRAINING)
    assert not registration.gets_requests
    registration.retire(Notice("it goes", 0.0))

    took_s, told = leave(registration)

    assert "it goes; out of rotation already" in caplog.text
    assert took_s < 10
    assert told == ["let go"]
    assert KEYS.raw(KEY) not in store.entries
    assert set(store.leases) == {theirs}


def test_whoever_waits_for_the_leaving_is_told_of_it() -> None:
    """The thread that asks for notices ends with it, and not five seconds later."""
    registration = begin(MemoryStore())
    assert not registration.wait_leaving(0.01)
    heard: list[bool] = []
    thread = threading.Thread(target=lambda: heard.append(registration.wait_leaving(60)))
    thread.start()

    leave(registration)
    thread.join(10)

    assert heard == [True]


def test_who_is_looking_around_is_taken_out_as_fast_as_everybody_else() -> None:
    """Who knows where we are may take seconds to say so, and that is no reason not to drain."""
    looks: list[float] = []
    over = threading.Event()

    def locate() -> Address:
        looks.append(time.monotonic())
        if len(looks) > 1:
            over.wait(30)
        return ADDRESS

    store = MemoryStore()
    registration = begin(store, locate=locate)
    registration._keep.look_around()
    wait_until(lambda: len(looks) > 1)

    try:
        registration.leave()
        wait_until(lambda: registration.over, within_s=5)
    finally:
        over.set()

    assert KEYS.raw(KEY) not in store.entries
