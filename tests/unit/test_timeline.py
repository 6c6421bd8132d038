"""When a route was served, told from what the registry said."""

from collections.abc import Iterator

import pytest

from registry.etcd import Batch, Etcd, EtcdSettings
from registry.keys import ClaimKey, FrontendKey, Key, Keyspace, RouteKey
from registry.records import Address, FrontendRecord, InstanceRecord, State
from registry.snapshot import Change, Entry
from standalone.stopping import Stop
from standalone.timeline import Timeline
from tests.fakes.spare_time import SpareTime

KEYS = Keyspace()
NAME = ("feature/login", "web")
ROUTE = RouteKey(*NAME, "one")


@pytest.fixture(name="times")
def _times() -> SpareTime:
    return SpareTime()


@pytest.fixture(name="timeline")
def _timeline(times: SpareTime) -> Iterator[Timeline]:
    etcd = Etcd(EtcdSettings(("http://127.0.0.1:1",)))
    yield Timeline(etcd, KEYS, 10, Stop(), clock=times.clock)
    etcd.close()


def put(key: Key, value: bytes, *, revision: int) -> Batch:
    raw = KEYS.raw(key)
    return Batch(revision, (Change(raw, Entry(raw, value, revision, revision, 0), revision),))


def route(state: State, *, revision: int) -> Batch:
    record = InstanceRecord(Address("127.0.0.1", 9000), state)
    return put(ROUTE, record.dump(), revision=revision)


def report(*, revision: int, of: int, released: int = 0) -> Batch:
    record = FrontendRecord(revision=of, released=released)
    return put(FrontendKey("f"), record.dump(), revision=revision)


def test_a_route_is_served_once_a_frontend_reports_its_revision(
    timeline: Timeline, times: SpareTime
) -> None:
    timeline.note(route(State.READY, revision=12))
    times.wait(0.1)
    timeline.note(report(revision=13, of=11))
    assert timeline.served(NAME) is None
    times.wait(0.1)
    timeline.note(report(revision=14, of=12))
    times.wait(0.1)
    timeline.note(report(revision=15, of=14))

    served = timeline.served(NAME)
    assert served is not None
    assert served.at - timeline.ready[NAME].at == pytest.approx(0.2)


def test_a_route_is_let_go_once_nothing_older_is_served(timeline: Timeline) -> None:
    timeline.note(route(State.READY, revision=12))
    timeline.note(route(State.DRAINING, revision=20))
    timeline.note(report(revision=21, of=20, released=19))
    assert timeline.let_go(NAME) is None

    timeline.note(report(revision=22, of=20, released=20))

    assert timeline.let_go(NAME) is not None


def test_one_that_only_starts_is_not_written_to_be_served(timeline: Timeline) -> None:
    timeline.note(route(State.STARTING, revision=12))
    timeline.note(report(revision=13, of=12))

    assert timeline.served(NAME) is None


def test_what_others_write_and_bad_records_do_not_matter(timeline: Timeline) -> None:
    raw = KEYS.raw(ROUTE)
    timeline.note(put(ClaimKey(*NAME), b"{}", revision=11))
    timeline.note(put(ROUTE, b"nonsense", revision=12))
    timeline.note(put(FrontendKey("f"), b"nonsense", revision=13))
    timeline.note(Batch(14, (Change(raw, None, 14), Change(b"/branchfront/odd", None, 14))))

    assert (timeline.ready, timeline.applied, timeline.revision) == ({}, [], 14)
