"""Included: the loop that keeps a registration, on spare time. Excluded: threads, real etcd."""

import random
from dataclasses import dataclass, field

import pytest

from registrar.keep import Keep, Timing
from registry.faults import PlaceUnknown, StoreDenied
from registry.keys import ClaimKey, Keyspace, RouteKey
from registry.names import long_labels, short_labels
from registry.records import Address, ClaimRecord, InstanceRecord
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
class Stage:
    """A kept registration, its store, and the time that both live in."""

    time: SpareTime = field(default_factory=SpareTime)
    told: list[Registered] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = MemoryStore(clock=self.time.clock)

    def keep(self, *, give_up_when_denied: bool = False) -> Keep:
        return Keep(
            Registrations(self.store, keys=KEYS, now=lambda: 0.0),
            KEY,
            locate=self.locate,
            ttl_s=TTL_S,
            default_service="web",
            timing=Timing(self.time.wait, self.time.clock, lambda: 0.0),
            on_registered=self.told.append,
            give_up_when_denied=give_up_when_denied,
            rng=random.Random(7),  # noqa: S311 - the same in every run
        )

    def locate(self) -> Address:
        return ADDRESS

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
    assert len(stage.told) == 1


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
    assert len(stage.told) == 1


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


def test_one_trouble_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.down()

    stage.run_until(600)

    assert 9 <= len(caplog.records) <= 11
