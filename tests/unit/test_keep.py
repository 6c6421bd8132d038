"""Included: the loop that keeps a registration, on spare time. Excluded: threads, real etcd."""

import random
from dataclasses import dataclass, field

import pytest

from registrar.keep import Keep, Timing
from registrar.listener import Listener
from registry.faults import LeaseLost, PlaceUnknown, StoreDenied
from registry.keys import ClaimKey, Keyspace, RouteKey
from registry.names import long_labels, short_labels
from registry.records import Address, ClaimRecord, InstanceRecord, State
from registry.registrations import Registered, Registrations
from tests.fakes.memory_store import MemoryStore
from tests.fakes.spare_time import SpareTime

KEYS = Keyspace()
KEY = RouteKey("feature/login", "web", "host-1")
RAW = KEYS.raw(KEY)
CLAIM = KEYS.raw(ClaimKey("feature/login", "web"))
TTL_S = 15
ADDRESS = Address("10.0.0.5", 8080)


@dataclass
class Told(Listener):
    """Writes down what it is told."""

    attempts: int = 0
    registrations: list[tuple[Registered, InstanceRecord]] = field(default_factory=list)
    ready_at: list[int] = field(default_factory=list)

    def tried(self) -> None:
        self.attempts += 1

    def registered(self, done: Registered, record: InstanceRecord) -> None:
        self.registrations.append((done, record))

    def ready(self, revision: int) -> None:
        self.ready_at.append(revision)


@dataclass
class Stage:
    """A kept registration, its store, and the time that both live in."""

    time: SpareTime = field(default_factory=SpareTime)
    address: Address = ADDRESS
    is_lost: bool = False
    recalls: bool = False
    told: Told = field(default_factory=Told)

    def __post_init__(self) -> None:
        self.store = MemoryStore(clock=self.time.clock)

    def keep(self, *, give_up_when_denied: bool = False) -> Keep:
        return Keep(
            Registrations(self.store, keys=KEYS, now=lambda: 0.0),
            KEY,
            locate=self.locate,
            ttl_s=TTL_S,
            default_service="web",
            timing=Timing(self.time.wait, self.time.ring, self.time.clock, lambda: 0.0),
            listener=self.told,
            recalls=self.recalls,
            give_up_when_denied=give_up_when_denied,
            rng=random.Random(7),  # noqa: S311 - the same in every run
        )

    def locate(self) -> Address:
        if self.is_lost:
            raise PlaceUnknown("no source knows the ip")
        return self.address

    def state(self) -> State:
        return InstanceRecord.parse(self.store.entries[RAW].value).state

    def run_until(self, at_s: float) -> Keep:
        keep = self.keep()
        self.time.stop_at(at_s)
        keep.run()
        return keep

    def down(self) -> None:
        self.store.up = False


def test_a_service_is_registered_at_once_and_stays() -> None:
    stage = Stage()

    stage.run_until(3600)

    assert InstanceRecord.parse(stage.store.entries[RAW].value).address == ADDRESS
    assert ClaimRecord.parse(stage.store.entries[CLAIM].value).labels == (
        "feature-login-web",
        "feature-login",
    )
    assert stage.store.calls.count("grant") == 1
    assert len(stage.told.registrations) == 1


def test_a_lease_is_refreshed_at_a_third_of_its_time_and_not_in_step() -> None:
    stage = Stage()

    stage.run_until(600)

    pauses = stage.time.waits[1:-1]
    assert all(TTL_S / 3 * 0.9 <= pause <= TTL_S / 3 * 1.1 for pause in pauses)
    assert len(set(pauses)) == len(pauses)


def test_an_hour_without_etcd_does_not_end_the_registration() -> None:
    stage = Stage()
    stage.time.at(60, stage.down)
    stage.time.at(3660, stage.store.restart)
    stage.time.at(3660, stage.store.forget_everything)

    stage.run_until(3662)

    assert RAW in stage.store.entries


def test_etcd_that_is_down_is_tried_at_most_a_second_apart() -> None:
    stage = Stage()
    stage.down()

    stage.run_until(300)

    assert max(stage.time.waits) <= 1.0
    assert len(stage.time.waits) > 300


def test_a_lease_that_outlives_an_outage_is_kept() -> None:
    stage = Stage()
    stage.time.at(60, stage.down)
    stage.time.at(3660, stage.store.restart)

    stage.run_until(4000)

    assert stage.store.calls.count("grant") == 1


def test_a_refusal_is_tried_again_half_a_minute_later() -> None:
    stage = Stage()
    stage.store.refuses = True

    stage.run_until(600)

    assert all(27 <= pause <= 33 for pause in stage.time.waits[1:-1])


def test_a_service_is_registered_after_the_refusal_has_ended() -> None:
    stage = Stage()
    stage.store.refuses = True
    stage.time.at(600, lambda: setattr(stage.store, "refuses", False))

    stage.run_until(640)

    assert RAW in stage.store.entries


def test_who_is_to_give_up_when_refused_does() -> None:
    stage = Stage()
    stage.store.refuses = True

    with pytest.raises(StoreDenied):
        stage.keep(give_up_when_denied=True).run()


def test_a_key_that_somebody_removed_is_put_back_at_the_next_refresh() -> None:
    stage = Stage()
    stage.time.at(20, lambda: stage.store.entries.pop(RAW))

    stage.run_until(20 + TTL_S / 3 * 1.1)

    assert RAW in stage.store.entries
    assert len(stage.told.registrations) == 1


def test_a_value_that_somebody_changed_is_put_right() -> None:
    stage = Stage()
    stage.time.at(20, lambda: stage.store.write(RAW, b"10.9.9.9:1"))

    stage.run_until(30)

    entry = stage.store.entries[RAW]
    assert InstanceRecord.parse(entry.value).address == ADDRESS
    assert entry.lease


def test_a_claim_that_the_registry_lost_is_written_again_as_it_was() -> None:
    """A host that moved because etcd was restored would break every link that people have."""
    stage = Stage()
    labels = (long_labels("feature/login", "web")[1], short_labels("feature/login")[1])
    stage.store.write(CLAIM, ClaimRecord(labels).dump())
    stage.time.at(20, lambda: stage.store.entries.pop(CLAIM))

    keep = stage.run_until(30)

    assert ClaimRecord.parse(stage.store.entries[CLAIM].value).labels == labels
    assert keep.held.claim is not None
    assert keep.held.claim.labels == labels


def test_a_lease_that_is_gone_is_a_new_lease() -> None:
    stage = Stage()
    keep = stage.keep()
    stage.time.at(20, lambda: stage.store.revoke(keep.held.lease))
    stage.time.stop_at(30)

    keep.run()

    assert stage.store.entries[RAW].lease == keep.held.lease
    assert keep.held.registered


def test_a_registration_whose_answer_was_lost_is_made_on_the_same_lease() -> None:
    stage = Stage()
    stage.store.loses_answers = True
    stage.time.at(5, lambda: setattr(stage.store, "loses_answers", False))

    keep = stage.run_until(8)

    assert keep.held.registered
    assert stage.store.calls.count("grant") == 1


def test_a_place_that_is_not_known_yet_is_looked_for_again() -> None:
    stage = Stage()
    asked: list[float] = []

    def locate() -> Address:
        asked.append(stage.time.now_s)
        if stage.time.now_s < 10:
            raise PlaceUnknown("no route")
        return ADDRESS

    stage.locate = locate  # type: ignore[method-assign]
    stage.run_until(30)

    assert RAW in stage.store.entries
    assert len([at for at in asked if at >= 10]) == 1


def test_what_is_registered_is_starting_until_it_is_wished_otherwise() -> None:
    stage = Stage()
    keep = stage.keep()
    seen: list[State] = []
    stage.time.at(1, lambda: seen.append(stage.state()))
    stage.time.at(2, lambda: keep.wish(State.READY))
    stage.time.at(2.1, lambda: seen.append(stage.state()))
    stage.time.at(3, lambda: keep.wish(State.STARTING))
    stage.time.at(3.1, lambda: seen.append(stage.state()))
    stage.time.stop_at(4)

    keep.run()

    assert seen == [State.STARTING, State.READY, State.STARTING]


def test_the_first_attempt_the_registration_and_readiness_are_told_once() -> None:
    stage = Stage()
    keep = stage.keep()
    for at_s in (2, 4, 6):
        stage.time.at(at_s, lambda: keep.wish(State.READY))
        stage.time.at(at_s + 1, lambda: keep.wish(State.STARTING))
    stage.time.stop_at(60)

    keep.run()

    [(done, record)] = stage.told.registrations
    assert stage.told.attempts == 1
    assert (record.state, record.address) == (State.STARTING, ADDRESS)
    assert len(stage.told.ready_at) == 1
    assert stage.told.ready_at[0] > done.revision


def test_a_first_attempt_that_fails_is_told_as_well() -> None:
    stage = Stage()
    stage.down()

    stage.run_until(10)

    assert (stage.told.attempts, stage.told.registrations) == (1, [])


def test_a_wish_that_the_registry_did_not_hear_is_written_when_it_is_back() -> None:
    stage = Stage()
    keep = stage.keep()
    stage.time.at(2, stage.down)
    stage.time.at(3, lambda: keep.wish(State.READY))
    stage.time.at(20, stage.store.restart)
    stage.time.stop_at(22)

    keep.run()

    assert stage.state() is State.READY


def test_the_ttl_stands_in_the_record() -> None:
    """Frontends count losses over twice of it."""
    stage = Stage()

    stage.run_until(1)

    assert InstanceRecord.parse(stage.store.entries[RAW].value).ttl_s == TTL_S


def test_who_was_away_for_longer_than_the_lease_finds_out_anew_where_it_is() -> None:
    """A container that was frozen may have been moved to another address meanwhile."""
    stage = Stage()
    keep = stage.keep()
    stage.time.at(1, lambda: keep.wish(State.READY))
    stage.time.at(20, lambda: setattr(stage, "address", Address("10.0.0.9", 8081)))
    stage.time.at(20, lambda: stage.store.revoke(keep.held.lease))
    stage.time.stop_at(30)

    keep.run()

    record = InstanceRecord.parse(stage.store.entries[RAW].value)
    assert record == InstanceRecord(
        Address("10.0.0.9", 8081), State.READY, "1970-01-01T00:00:00Z", TTL_S
    )
    assert keep.held.claim is not None
    assert keep.held.claim.labels == ("feature-login-web", "feature-login")


@pytest.mark.parametrize(
    ("frozen_s", "holder", "is_taken"),
    [(60, "other", True), (60, "feature/login", False), (0, "other", False)],
)
def test_who_was_frozen_takes_its_old_address_from_nobody(
    frozen_s: float, holder: str, *, is_taken: bool
) -> None:
    """It was told the address, and the container that it belonged to may be gone."""
    stage = Stage()
    keep = stage.keep()
    other = KEYS.raw(RouteKey(holder, "api", "host-2"))

    def freeze() -> None:
        stage.store.revoke(keep.held.lease)
        lease = stage.store.grant(1000).id
        stage.store.write(other, b"10.0.0.5:8080", lease=lease)
        stage.time.freeze(frozen_s)

    stage.time.at(20, freeze)
    seen: list[bool] = []
    stage.time.at(100, lambda: seen.append(RAW in stage.store.entries))
    stage.time.at(101, lambda: stage.store.delete(other))
    stage.time.stop_at(110)

    keep.run()

    assert seen == [not is_taken]
    # and has it again as soon as it is free
    assert RAW in stage.store.entries


def test_who_cannot_find_out_anew_where_it_is_is_where_it_was() -> None:
    """A Docker engine that is away keeps nobody out who is registered."""
    stage = Stage()
    keep = stage.keep()

    def lose() -> None:
        stage.is_lost = True
        stage.store.revoke(keep.held.lease)

    stage.time.at(20, lose)
    stage.time.at(40, lambda: setattr(stage, "is_lost", False))
    seen: list[bool] = []
    stage.time.at(39, lambda: seen.append(RAW in stage.store.entries))
    stage.time.stop_at(42)

    keep.run()

    assert seen == [True]
    assert RAW in stage.store.entries


def test_one_trouble_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.down()

    stage.run_until(600)

    assert 9 <= len(caplog.records) <= 11


def test_who_leaves_with_a_lease_that_was_lost_says_so_on_a_new_one() -> None:
    """Frontends spare what vanished without a word, and would send it requests."""
    stage = Stage()
    keep = stage.run_until(20)
    stage.store.revoke(keep.held.lease)

    keep.write_draining()

    assert stage.state() is State.DRAINING
    assert stage.store.entries[RAW].lease == keep.held.lease


def test_who_was_silent_for_long_does_not_take_the_address_back_only_to_leave() -> None:
    stage = Stage()
    keep = stage.run_until(20)
    stage.store.revoke(keep.held.lease)
    stage.time.freeze(60)

    with pytest.raises(LeaseLost):
        keep.write_draining()
    assert RAW not in stage.store.entries


def test_who_was_never_registered_has_nothing_to_say() -> None:
    with pytest.raises(LeaseLost):
        Stage().keep().write_draining()


@pytest.mark.parametrize(
    ("left", "state"),
    [
        # an agent that is started again finds what the one before has left
        (InstanceRecord(ADDRESS, State.READY, "1970-01-01T00:00:00Z", TTL_S), State.READY),
        # nobody has said yet that it is healthy, or somebody has said that it leaves
        (InstanceRecord(ADDRESS, State.STARTING, "1970-01-01T00:00:00Z", TTL_S), State.STARTING),
        (InstanceRecord(ADDRESS, State.DRAINING, "1970-01-01T00:00:00Z", TTL_S), State.STARTING),
        # it was somewhere else
        (
            InstanceRecord(Address("10.0.0.9", 8080), State.READY, "1970-01-01T00:00:00Z", TTL_S),
            State.STARTING,
        ),
    ],
)
def test_what_an_earlier_process_has_registered_goes_on_as_it_was(
    left: InstanceRecord, state: State
) -> None:
    stage = Stage(recalls=True)
    stage.store.write(RAW, left.dump(), lease=stage.store.grant(TTL_S).id)

    keep = stage.run_until(1)

    record = InstanceRecord.parse(stage.store.entries[RAW].value)
    assert (record.address, record.state) == (ADDRESS, state)
    assert keep.wished is state
    # on a lease of our own: the one before is nobody's to refresh
    assert stage.store.entries[RAW].lease == keep.held.lease


def test_who_goes_on_was_registered_when_the_first_one_was() -> None:
    stage = Stage(recalls=True)
    left = InstanceRecord(ADDRESS, State.READY, "1969-12-31T00:00:00Z", TTL_S)
    stage.store.write(RAW, left.dump(), lease=stage.store.grant(TTL_S).id)

    stage.run_until(1)

    assert InstanceRecord.parse(stage.store.entries[RAW].value) == left


@pytest.mark.parametrize("value", [b"10.9.9.9:x", b"{", b"\xff"])
def test_what_cannot_be_read_is_written_over(value: bytes) -> None:
    stage = Stage()
    stage.store.write(RAW, value)

    stage.run_until(1)

    assert InstanceRecord.parse(stage.store.entries[RAW].value).address == ADDRESS


def test_what_was_left_is_looked_for_once_the_registry_answers() -> None:
    stage = Stage(recalls=True)
    left = InstanceRecord(ADDRESS, State.READY, "1969-12-31T00:00:00Z", 60)
    stage.store.write(RAW, left.dump(), lease=stage.store.grant(60).id)
    stage.down()
    stage.time.at(5, stage.store.restart)

    stage.run_until(10)

    assert stage.state() is State.READY
