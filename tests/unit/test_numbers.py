"""All numbers together, as Prometheus reads them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from regenerator.dashboard.board import Traffic
from regenerator.dashboard.desk import SILENT_S, Desk
from regenerator.dashboard.feed import Pulse, Sender, State
from regenerator.dashboard.history.history import History
from regenerator.dashboard.numbers.numbers import KEEP_S, Numbers
from regenerator.metrics import Metrics
from registry.keys import ClaimKey, FrontendKey, Keyspace, RouteKey
from registry.records import ClaimRecord, FrontendRecord
from registry.snapshot import Entry, Snapshot
from tests.unit.test_regenerator_settings import read

KEYS = Keyspace()

WEB = Entry(KEYS.raw(RouteKey("main", "web")), b"10.0.0.1:8000", 1, 1, 0)
LEASED = Entry(KEYS.raw(RouteKey("main", "web", "i-1")), b"10.0.0.2:8000", 2, 2, 7)
STARTING = Entry(
    KEYS.raw(RouteKey("feature/login", "api", "i-2")),
    b'{"address":"10.0.0.3:8000","state":"starting"}',
    3,
    3,
    8,
)
CLAIM = Entry(KEYS.raw(ClaimKey("gone", "web")), ClaimRecord(("gone-web", "gone")).dump(), 4, 4, 0)


class Room(NamedTuple):
    """Numbers and what they are about; the clock is both of them."""

    desk: Desk
    clock: list[float]
    numbers: Numbers
    sender: Sender

    def serve(self, *entries: Entry, ended: tuple[Entry, ...] = ()) -> None:
        """Tell that so much is served."""
        snapshot = Snapshot("c1", 9, {entry.key: entry for entry in entries}, ended)
        state = State(snapshot, "aaaaaaaaaaaa", self.clock[0])
        self.desk.take(self.sender.served(state, ended=ended))

    def pulse(self, metrics: Metrics, *, etcd_fault: str = "") -> None:
        """Tell that the regenerator lives, and what it has counted."""
        self.desk.take(Pulse(self.clock[0], "", etcd_fault, 0.0, metrics.collect()))

    def id_of(self, branch: str) -> str:
        """What nginx calls the branch's first service."""
        [found] = [one for one in self.desk.board.branches if one.branch == branch]
        return found.services[0].id

    def read(self) -> dict[str, float]:
        """What Prometheus makes of the text, without what is 0."""
        return {
            " ".join((one.name.removeprefix("branchfront_"), *one.labels.values())): one.value
            for family in text_string_to_metric_families(self.numbers.text().decode())
            for one in family.samples
            if one.value
        }


@pytest.fixture(name="room")
def _room(tmp_path: Path) -> Iterator[Room]:
    settings = read()
    clock = [1_000_000.0]
    history = History(tmp_path / "history.db", rules=settings.rules, domain=settings.text.domain)
    desk = Desk(settings, frontend="f1", templates={}, history=history, now=lambda: clock[0])

    def now() -> float:
        return clock[0]

    numbers = Numbers(desk, viewers=lambda: 3, lost=lambda: 5, clock=now, now=now)
    yield Room(desk, clock, numbers, Sender())
    history.close()


def test_before_anything_was_told_it_says_that_it_is_not_ready(room: Room) -> None:
    text = room.numbers.text().decode()

    assert "branchfront_ready 0.0\n" in text
    assert "branchfront_regenerator_up 0.0\n" in text


def test_the_regenerators_numbers_are_among_them_as_it_told_them_last(room: Room) -> None:
    metrics = Metrics()
    metrics.tell_missed(5)
    room.pulse(metrics)
    metrics.tell_missed(9)

    assert room.read()["missed_keys_total"] == 5
    room.pulse(metrics)
    assert room.read()["missed_keys_total"] == 9


def test_what_is_on_the_board_is_counted(room: Room) -> None:
    room.serve(WEB, LEASED, STARTING, CLAIM)
    room.pulse(Metrics())
    found = room.read()

    assert found["branches"] == 3
    assert found["services serving"] == 1
    assert found["services starting"] == 1
    assert found["services not_running"] == 1
    assert found["instances serving"] == 2
    assert found["instances starting"] == 1
    assert found["registrations lease"] == 2
    assert found["registrations hand"] == 1
    assert found["ready"] == found["regenerator_up"] == found["etcd_up"] == 1
    assert found["viewers"] == 3
    assert found["uncounted_requests_total"] == 5


def test_trouble_shows(room: Room) -> None:
    room.serve(WEB)
    room.pulse(Metrics(), etcd_fault="etcd does not answer")
    assert "etcd_up" not in room.read()
    assert room.read()["ready"] == 1

    room.clock[0] += SILENT_S + 1
    room.desk.refresh()
    assert not {"ready", "regenerator_up"} & room.read().keys()


def test_how_far_others_are_ahead_is_told(room: Room) -> None:
    def frontend(name: str, revision: int, *, lease: int = 5) -> Entry:
        record = FrontendRecord(revision=revision).dump()
        return Entry(KEYS.raw(FrontendKey(name)), record, 1, 1, lease)

    room.desk.take_frontends([frontend("e9", 12), frontend("f1", 7), frontend("f3", 9, lease=0)])
    found = room.read()

    assert found["frontends"] == 2
    assert found["behind_revisions"] == 5


def test_requests_are_counted_and_come_back_for_the_board(room: Room) -> None:
    room.serve(WEB, STARTING)
    main, login = room.id_of("main"), room.id_of("feature/login")
    told = {f"{main} 200".encode(): 4, f"{login} 503".encode(): 2, b" 404": 1}

    assert room.numbers.count(told) == {
        main: Traffic(4, 0, 1_000_000.0),
        login: Traffic(2, 2, 1_000_000.0),
    }
    found = room.read()
    assert {
        key: count for key, count in found.items() if key.startswith("re") and "_total" in key
    } == {
        "requests_total main 2xx": 4,
        "requests_total feature/login 5xx": 2,
        "requests_total  4xx": 1,
        "responses_total 200": 4,
        "responses_total 404": 1,
        "responses_total 503": 2,
    }


def test_a_service_that_is_new_is_counted_at_once(room: Room) -> None:
    room.serve(WEB)
    room.numbers.count({})
    room.serve(WEB, STARTING)
    room.numbers.count({f"{room.id_of('feature/login')} 200".encode(): 1})

    assert room.read()["requests_total feature/login 2xx"] == 1


def test_a_name_that_is_hostile_is_a_label_and_nothing_else(room: Room) -> None:
    name = 'a"} 7 branchfront_ready \\ $ <script>'
    room.serve(Entry(KEYS.raw(RouteKey(name, "web")), b"10.0.0.1:8000", 1, 1, 0))
    room.numbers.count({f"{room.id_of(name)} 200".encode(): 1})

    assert room.read()[f"requests_total {name} 2xx"] == 1


def test_pages_and_changes_are_counted_by_kind(room: Room) -> None:
    room.serve(WEB, LEASED)
    room.serve(WEB, STARTING, ended=(LEASED,))
    for status in (404, 503, 503):
        room.numbers.tell_page(status)
    found = room.read()

    assert found["pages_total 404"] == 1
    assert found["pages_total 503"] == 2
    # what was there when it began is no change
    assert found["changes_total registered"] == 1
    assert found["changes_total expired"] == 1
    text = room.numbers.text().decode()
    assert 'branchfront_pages_total{status="502"} 0.0' in text
    assert 'branchfront_changes_total{kind="evicted"}' not in text
    assert 'branchfront_changes_total{kind="rejected"} 0.0' in text


def test_when_a_route_was_asked_last_outlives_the_dashboard(room: Room) -> None:
    room.serve(WEB)
    main = room.id_of("main")
    room.numbers.count({f"{main} 200".encode(): 1})
    assert room.desk.history.last_requests() == {}

    room.clock[0] += KEEP_S
    room.numbers.count({})
    assert room.desk.history.last_requests() == {main: 1_000_000.0}

    room.numbers.count({f"{main} 200".encode(): 1})
    room.numbers.keep()
    # once more, and nothing is new
    room.numbers.keep()
    later = Numbers(room.desk, viewers=lambda: 0)
    assert later.count({}) == {main: Traffic(0, 0, 1_000_000.0 + KEEP_S)}
