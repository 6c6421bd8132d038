"""Included: the loop that keeps a registration, on spare time. Excluded: threads, real etcd."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from registrar.keep import Keep, Retirement, Timing
from registrar.listener import Listener
from registry.faults import LeaseLost, PlaceUnknown, StoreDenied
from registry.keys import ClaimKey, Keyspace, RouteKey
from registry.names import long_labels, short_labels
from registry.records import Address, ClaimRecord, InstanceRecord, State
from registry.registrations import Registered, Registrations
from registry.transactions import Commit
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
    look_takes_s: float = 0.0
    looks: int = 0
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
            timing=Timing(
                self.time.wait,
                self.time.ring,
                self.time.clock,
                lambda: 0.0,
                self.beside,
            ),
            listener=self.told,
            recalls=self.recalls,
            give_up_when_denied=give_up_when_denied,
            rng=random.Random(7),  # noqa: S311 - the same in every run
        )

    def beside(self, work: Callable[[], None]) -> None:
        """As on a thread of its own, which comes to its end so much later."""
        if self.look_takes_s:
            self.time.at(self.time.now_s + self.look_takes_s, work)
        else:
            work()

    def locate(self) -> Address:
        self.looks += 1
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


def test_who_was_frozen_over_an_answer_counts_from_before_the_question() -> None:
    """As a process that is stopped between the answer and the look at the clock."""
    stage = Stage()
    keep = stage.keep()
    other = KEYS.raw(RouteKey("other", "api", "host-2"))
    commit, is_frozen = stage.store.commit, threading.Event()

    def freeze(*arguments: Any, **named: Any) -> Commit:
        answer = commit(*arguments, **named)
        if stage.time.now_s > 20 and not is_frozen.is_set():
            is_frozen.set()
            stage.time.freeze(60)
            stage.store.revoke(keep.held.lease)
            lease = stage.store.grant(1000).id
            stage.store.write(other, b"10.0.0.5:8080", lease=lease)
        return answer

    stage.store.commit = freeze  # type: ignore[method-assign]
    stage.time.stop_at(150)

    keep.run()

    assert is_frozen.is_set()
    assert RAW not in stage.store.entries


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


OTHER = RouteKey(KEY.branch, KEY.service, "host-2")
ELSEWHERE = Address("10.0.0.9", 8080)


def put_instance(stage: Stage, key: RouteKey, address: Address, state: State) -> None:
    """Let another instance be registered so."""
    lease = stage.store.grant(3600).id
    stage.store.write(KEYS.raw(key), InstanceRecord(address, state).dump(), lease=lease)


def kept_ready(stage: Stage) -> Keep:
    """A registration that is ready a second after its start."""
    keep = stage.keep()
    stage.time.at(1, lambda: keep.wish(State.READY))
    return keep


def written(stage: Stage) -> list[InstanceRecord]:
    """All that ever stood in our key, one after the other."""
    found = (stage.store.history[revision].get(RAW) for revision in sorted(stage.store.history))
    records = [InstanceRecord.parse(entry.value) for entry in found if entry]
    return [record for number, record in enumerate(records) if records[:number][-1:] != [record]]


def seen_at(stage: Stage, *points_s: float) -> list[State]:
    """The state in the registry at points in time, once they have passed."""
    seen: list[State] = []
    for at_s in points_s:
        stage.time.at(at_s, lambda: seen.append(stage.state()))
    return seen


def test_who_retires_stays_until_another_instance_is_ready() -> None:
    stage = Stage()
    keep = kept_ready(stage)
    stage.time.at(10, lambda: keep.retire(Retirement(by=1000)))
    stage.time.at(60, lambda: put_instance(stage, OTHER, ELSEWHERE, State.STARTING))
    stage.time.at(120, lambda: put_instance(stage, OTHER, ELSEWHERE, State.READY))
    seen = seen_at(stage, 59, 119, 122)
    revisions: list[int] = []
    stage.time.at(122, lambda: revisions.append(stage.store.revision))
    stage.time.stop_at(300)

    keep.run()

    assert seen == [State.READY, State.READY, State.DRAINING]
    assert stage.state() is State.DRAINING
    # said once: each change is a reload for every frontend
    assert revisions == [stage.store.revision]


def test_who_retires_and_finds_another_one_ready_leaves_at_once() -> None:
    stage = Stage()
    keep = kept_ready(stage)
    put_instance(stage, OTHER, ELSEWHERE, State.READY)
    stage.time.at(10, lambda: keep.retire(Retirement(by=None)))
    seen = seen_at(stage, 9.9, 10.1)
    stage.time.stop_at(11)

    keep.run()

    assert seen == [State.READY, State.DRAINING]


@pytest.mark.parametrize(
    ("key", "address"),
    [
        (OTHER, Address(ADDRESS.ip, 8081)),
        (RouteKey(KEY.branch, "api", "host-2"), ELSEWHERE),
        (RouteKey("feature/login-2", KEY.service, "host-2"), ELSEWHERE),
    ],
    ids=["on our own machine", "of another service", "of another branch"],
)
def test_who_retires_waits_for_no_instance(key: RouteKey, address: Address) -> None:
    stage = Stage()
    keep = kept_ready(stage)
    put_instance(stage, key, address, State.READY)
    stage.time.at(10, lambda: keep.retire(Retirement(by=None)))
    stage.time.stop_at(60)

    keep.run()

    assert stage.state() is State.READY


@pytest.mark.parametrize(("by", "state"), [(None, State.READY), (3600, State.DRAINING)])
def test_where_nobody_comes_who_retires_leaves_when_it_is_high_time(
    by: float | None, state: State
) -> None:
    """Without a date it is never high time: a recommendation alone costs nobody an answer."""
    stage = Stage()
    keep = kept_ready(stage)
    stage.time.at(10, lambda: keep.retire(Retirement(by)))
    seen = seen_at(stage, 3599.9, 3601.2)
    stage.time.stop_at(3602)

    keep.run()

    assert seen == [State.READY, state]


def test_a_date_that_comes_after_a_recommendation_counts() -> None:
    stage = Stage()
    keep = kept_ready(stage)
    stage.time.at(10, lambda: keep.retire(Retirement(by=None)))
    stage.time.at(600, lambda: keep.retire(Retirement(by=700)))
    seen = seen_at(stage, 699, 702)
    stage.time.stop_at(703)

    keep.run()

    assert seen == [State.READY, State.DRAINING]


def test_who_retires_by_a_date_looks_for_another_one_each_second() -> None:
    stage = Stage()
    keep = kept_ready(stage)
    stage.time.at(100, lambda: keep.retire(Retirement(by=None)))
    stage.time.at(160, lambda: keep.retire(Retirement(by=1000)))
    asked: list[int] = []
    for at_s in (50, 99, 160, 220):
        stage.time.at(at_s, lambda: asked.append(stage.store.calls.count("list")))
    stage.time.stop_at(221)

    keep.run()

    assert asked[0] == asked[1]
    # a recommendation may stand for days, and is looked after at each turn alone
    assert 60 * 3 / TTL_S - 3 <= asked[2] - asked[1] <= 60 * 3 / TTL_S + 3
    assert 50 <= asked[3] - asked[2] <= 70


def test_who_has_retired_stays_out_while_its_successor_serves() -> None:
    stage = Stage()
    keep = kept_ready(stage)
    put_instance(stage, OTHER, ELSEWHERE, State.READY)
    stage.time.at(10, lambda: keep.retire(Retirement(by=None)))
    # health goes on to be asked, and the lease goes
    stage.time.at(20, lambda: keep.wish(State.STARTING))
    stage.time.at(21, lambda: keep.wish(State.READY))
    stage.time.at(40, lambda: stage.store.revoke(keep.held.lease))
    stage.time.at(50, lambda: stage.store.delete(RAW))
    stage.time.stop_at(100)

    keep.run()

    assert [record.state for record in written(stage)] == [
        State.STARTING,
        State.READY,
        State.DRAINING,
    ]
    assert keep.wished is State.DRAINING
    assert stage.store.entries[RAW].lease == keep.held.lease


@pytest.mark.parametrize(
    ("by", "state"),
    # a recommendation, a notice with time left, and one whose time is up
    [(None, State.READY), (200, State.READY), (25, State.DRAINING)],
)
def test_whose_successor_goes_comes_back_while_there_is_time(
    by: float | None, state: State
) -> None:
    stage = Stage()
    keep = kept_ready(stage)
    put_instance(stage, OTHER, ELSEWHERE, State.READY)
    stage.time.at(10, lambda: keep.retire(Retirement(by=by)))
    stage.time.at(30, lambda: stage.store.delete(KEYS.raw(OTHER)))
    seen = seen_at(stage, 20, 40)
    stage.time.stop_at(41)

    keep.run()

    assert seen == [State.DRAINING, state]
    # nor for a moment, where its time is up
    assert [record.state for record in written(stage)][2:] == [
        State.DRAINING,
        *[State.READY] * (state is State.READY),
    ]


def test_who_has_retired_says_so_again_when_it_is_told_to_end() -> None:
    """Frontends are waited for then as well: whoever is late would be cut off."""
    stage = Stage()
    keep = kept_ready(stage)
    stage.time.at(10, lambda: keep.retire(Retirement(by=20)))
    stage.time.stop_at(60)
    keep.run()
    before = stage.store.revision

    revision = keep.write_draining()

    assert stage.state() is State.DRAINING
    assert revision > before


def test_who_is_not_ready_yet_retires_once_it_is() -> None:
    stage = Stage()
    keep = stage.keep()
    stage.time.at(1, lambda: keep.retire(Retirement(by=5)))
    stage.time.at(60, lambda: keep.wish(State.READY))
    seen = seen_at(stage, 59, 62)
    stage.time.stop_at(63)

    keep.run()

    assert seen == [State.STARTING, State.DRAINING]


def test_a_retirement_that_the_registry_did_not_hear_is_made_when_it_is_back() -> None:
    stage = Stage()
    keep = kept_ready(stage)
    stage.time.at(5, stage.down)
    stage.time.at(10, lambda: keep.retire(Retirement(by=20)))
    stage.time.at(120, stage.store.restart)
    stage.time.stop_at(122)

    keep.run()

    assert stage.state() is State.DRAINING


def test_a_role_that_may_not_read_leaves_when_it_is_high_time() -> None:
    stage = Stage()
    keep = kept_ready(stage)
    put_instance(stage, OTHER, ELSEWHERE, State.READY)
    stage.time.at(5, lambda: setattr(stage.store, "hides", KEYS.routes))
    stage.time.at(10, lambda: keep.retire(Retirement(by=60)))
    seen = seen_at(stage, 59, 62)
    stage.time.stop_at(63)

    keep.run()

    assert seen == [State.READY, State.DRAINING]


def test_of_two_that_retire_in_the_same_moment_one_stays_for_a_third() -> None:
    """Both have seen the other one ready before either has written a word."""
    first, second = Stage(), Stage(address=ELSEWHERE)
    second.store = first.store
    keeps = kept_ready(first), kept_ready(second)
    keeps[1].key = OTHER
    for stage, keep in zip((first, second), keeps, strict=True):
        stage.time.stop_at(2)
        keep.run()
        stage.time = SpareTime()
    assert instance_states(first.store) == [State.READY, State.READY]

    def let_the_other_one_go_first() -> None:
        first.store.meanwhile = lambda: None
        keeps[1].retire(Retirement(by=None))
        keeps[1]._turn()

    first.store.meanwhile = let_the_other_one_go_first
    keeps[0].retire(Retirement(by=None))
    keeps[0]._try_to_retire()

    assert instance_states(first.store) == [State.READY, State.DRAINING]
    keeps[0]._turn()
    assert instance_states(first.store) == [State.READY, State.DRAINING]
    third = Address("10.0.0.10", 8080)
    put_instance(first, RouteKey(KEY.branch, KEY.service, "host-3"), third, State.READY)
    keeps[0]._turn()
    assert instance_states(first.store) == [State.DRAINING, State.DRAINING, State.READY]


def instance_states(store: MemoryStore) -> list[State]:
    """Of all instances, in the order of their names."""
    entries = store.list(KEYS.routes).entries.values()
    return [InstanceRecord.parse(entry.value).state for entry in entries]


def test_of_many_that_retire_at_once_one_serves_at_every_moment() -> None:
    """Whatever one reads, others may write between that and its own writing."""
    for seed in range(200):
        store = retire_at_once(random.Random(seed))  # noqa: S311 - the same in every run

        final = instance_states(store)
        assert final.count(State.READY) == 1, seed
        assert set(final) == {State.READY, State.DRAINING}, seed
        for entries in store.history.values():
            states = [InstanceRecord.parse(one.value).state for one in entries.values()]
            assert State.DRAINING not in states or State.READY in states, seed


def retire_at_once(rng: random.Random) -> MemoryStore:
    """Several instances, some of which act while another one is about to write; what came of it."""
    store = MemoryStore()
    keeps = []
    for place in range(rng.randint(2, 4)):
        stage = Stage(address=Address(f"10.0.1.{place}", 8080))
        stage.store = store
        keep = kept_ready(stage)
        keep.key = RouteKey(KEY.branch, KEY.service, f"host-{place}")
        stage.time.stop_at(2)
        keep.run()
        keep.retire(Retirement(by=None))
        keeps.append(keep)
    # the claim is no instance's
    store.history.clear()
    waiting = list(keeps)

    def let_others_go_first() -> None:
        rng.shuffle(waiting)
        while waiting and rng.random() < 0.7:
            waiting.pop()._try_to_retire()

    store.meanwhile = let_others_go_first
    for keep in keeps * 2:
        keep._try_to_retire()
    store.history = {
        revision: {key: one for key, one in entries.items() if key.startswith(KEYS.routes)}
        for revision, entries in store.history.items()
    }
    return store


def test_who_is_told_to_look_around_and_has_moved_registers_there() -> None:
    """A container that ECS restarted listens at another port of its host."""
    stage = Stage()
    keep = kept_ready(stage)
    stage.time.at(10, lambda: setattr(stage, "address", ELSEWHERE))
    stage.time.at(20, keep.look_around)
    stage.time.stop_at(20.1)

    keep.run()

    assert [(record.address, record.state) for record in written(stage)] == [
        (ADDRESS, State.STARTING),
        (ADDRESS, State.READY),
        (ELSEWHERE, State.READY),
    ]
    assert stage.store.calls.count("grant") == 1
    assert keep.held.claim is not None
    assert len(stage.told.registrations) == 1


def test_who_is_told_to_look_around_and_is_where_it_was_writes_nothing() -> None:
    stage = Stage()
    keep = kept_ready(stage)
    stage.time.at(20, keep.look_around)
    revisions: list[int] = []
    for at_s in (19, 40):
        stage.time.at(at_s, lambda: revisions.append(stage.store.revision))
    stage.time.stop_at(41)

    keep.run()

    assert revisions[0] == revisions[1]


def test_who_cannot_look_around_stays_where_it_was() -> None:
    stage = Stage()
    keep = kept_ready(stage)
    stage.time.at(10, lambda: setattr(stage, "is_lost", True))
    stage.time.at(20, keep.look_around)
    stage.time.stop_at(60)

    keep.run()

    assert InstanceRecord.parse(stage.store.entries[RAW].value).address == ADDRESS
    assert stage.state() is State.READY


def test_a_look_that_takes_long_costs_neither_the_lease_nor_anything_else() -> None:
    """ECS's agent may take requests and be silent. Who asks again meanwhile asks nobody twice."""
    stage = Stage(look_takes_s=120)
    keep = kept_ready(stage)
    for at_s in (20, 30, 40):
        stage.time.at(at_s, keep.look_around)
    stage.time.at(25, lambda: setattr(stage, "address", ELSEWHERE))
    stage.time.at(60, lambda: keep.wish(State.STARTING))
    seen = seen_at(stage, 59, 61)
    stage.time.stop_at(200)

    keep.run()

    assert seen == [State.READY, State.STARTING]
    assert stage.store.calls.count("grant") == 1
    # once at the start
    assert stage.looks == 2
    assert InstanceRecord.parse(stage.store.entries[RAW].value).address == ELSEWHERE


def test_who_cannot_look_around_is_told_so_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    keep = kept_ready(stage)
    stage.time.at(10, lambda: setattr(stage, "is_lost", True))
    for at_s in range(15, 195, 5):
        stage.time.at(at_s, keep.look_around)
    stage.time.stop_at(200)

    keep.run()

    told = [one for one in caplog.records if "no source knows the ip" in one.getMessage()]
    assert len(told) == 3


def test_nobody_looks_around_unless_told() -> None:
    """Each look costs somebody a request."""
    stage = Stage()
    asked: list[float] = []

    def locate() -> Address:
        asked.append(stage.time.now_s)
        return ADDRESS

    stage.locate = locate  # type: ignore[method-assign]
    keep = kept_ready(stage)
    stage.time.at(600, keep.look_around)
    stage.time.stop_at(3600)

    keep.run()

    assert asked == [0.0, 600.0]


def test_who_gets_well_somewhere_else_is_never_ready_where_it_was() -> None:
    """By then the old port may be another container's."""
    stage = Stage()
    keep = kept_ready(stage)
    stage.time.at(10, lambda: keep.wish(State.STARTING))

    def get_well() -> None:
        stage.address = ELSEWHERE
        keep.wish(State.READY)
        keep.look_around()

    stage.time.at(20, get_well)
    stage.time.stop_at(30)

    keep.run()

    assert [(record.address, record.state) for record in written(stage)][2:] == [
        (ADDRESS, State.STARTING),
        (ELSEWHERE, State.READY),
    ]


def test_who_has_moved_and_lost_the_registry_meanwhile_registers_there_when_it_is_back() -> None:
    stage = Stage()
    keep = kept_ready(stage)

    def move() -> None:
        stage.address = ELSEWHERE
        keep.look_around()
        stage.down()

    stage.time.at(20, move)
    stage.time.at(40, stage.store.restart)
    stage.time.stop_at(60)

    keep.run()

    assert InstanceRecord.parse(stage.store.entries[RAW].value).address == ELSEWHERE


def test_why_it_is_not_ready_is_written_once_and_goes_with_the_state() -> None:
    stage = Stage()
    keep = stage.keep()
    written: list[tuple[int, InstanceRecord]] = []

    def look() -> None:
        entry = stage.store.entries[RAW]
        written.append((entry.mod_revision, InstanceRecord.parse(entry.value)))

    stage.time.at(10, lambda: keep.wish(State.STARTING, "it answered 500"))
    stage.time.at(11, look)
    stage.time.at(90, look)
    stage.time.at(100, lambda: keep.wish(State.READY))
    stage.time.at(101, look)
    stage.time.stop_at(102)
    keep.run()

    (first_at, first), (later_at, _), (_, ready) = written
    assert (first.state, first.health) == (State.STARTING, "it answered 500")
    assert later_at == first_at
    assert (ready.state, ready.health) == (State.READY, "")
    assert stage.told.ready_at


def test_a_new_lease_says_why_as_well() -> None:
    stage = Stage()
    keep = stage.keep()
    stage.time.at(10, lambda: keep.wish(State.STARTING, "it answered 500"))
    stage.time.at(20, stage.store.forget_everything)
    stage.time.stop_at(60)
    keep.run()

    # from the first write on
    values = {found[RAW].value for found in stage.store.history.values() if RAW in found}
    assert {InstanceRecord.parse(value).health for value in values} == {"it answered 500"}


@pytest.mark.parametrize("sentence", ["x" * 300, "\ud800 and \x1b[2J", "日" * 300])
def test_a_sentence_that_could_not_stand_in_a_record_is_cut_and_written_once(sentence: str) -> None:
    stage = Stage()
    keep = stage.keep()
    revisions: list[int] = []
    stage.time.at(10, lambda: keep.wish(State.STARTING, sentence))
    stage.time.at(11, lambda: revisions.append(stage.store.revision))
    stage.time.stop_at(300)
    keep.run()

    health = InstanceRecord.parse(stage.store.entries[RAW].value).health
    assert 0 < len(health) <= 200
    assert health.isprintable()
    assert keep.held.record is not None
    assert keep.held.record.health == health
    assert revisions == [stage.store.revision]


def test_who_drains_says_nothing_of_its_health() -> None:
    stage = Stage()
    keep = stage.keep()
    stage.time.at(10, lambda: keep.wish(State.STARTING, "it answered 500"))
    stage.time.stop_at(20)
    keep.run()
    keep.write_draining()

    record = InstanceRecord.parse(stage.store.entries[RAW].value)
    assert (record.state, record.health) == (State.DRAINING, "")
