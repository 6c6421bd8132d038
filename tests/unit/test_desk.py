"""What a dashboard knows, from what it is told: no process, no socket."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from regenerator.dashboard.board import Status, Traffic
from regenerator.dashboard.desk import LOOK_UP, SILENT_S, Desk
from regenerator.dashboard.feed import Pulse, Sender
from regenerator.dashboard.feed import State as Fed
from regenerator.dashboard.history.changes import Change
from regenerator.dashboard.history.history import REST_S, History
from registry.keys import ClaimKey, FrontendKey, Keyspace, RouteKey
from registry.records import Address, ClaimRecord, FrontendRecord, InstanceRecord, State
from registry.snapshot import Entry, Snapshot
from tests.unit.test_regenerator_settings import read

KEYS = Keyspace()
WEB = Entry(KEYS.raw(RouteKey("main", "web")), b"10.0.0.1:8000", 1, 1, 0)
API = Entry(KEYS.raw(RouteKey("main", "api")), b"10.0.0.2:8000", 2, 2, 0)


class Room(NamedTuple):
    """A desk, its clock, and who tells it."""

    desk: Desk
    clock: list[float]
    sender: Sender

    def serve(self, *entries: Entry, generation: str = "aaaaaaaaaaaa") -> None:
        """Tell that so much is served."""
        snapshot = Snapshot("c1", 9, {entry.key: entry for entry in entries})
        state = Fed(snapshot, generation, self.clock[0])
        self.desk.take(self.sender.served(state, ended=()))

    def beat(self, *, etcd_fault: str = "") -> None:
        """Tell that the regenerator lives."""
        self.desk.take(Pulse(self.clock[0], etcd_fault=etcd_fault))


@pytest.fixture(name="room")
def _room(tmp_path: Path) -> Iterator[Room]:
    settings = read()
    clock = [1_000_000.0]
    history = History(
        tmp_path / "history.db",
        rules=settings.rules,
        domain=settings.text.domain,
        clock=lambda: clock[0],
    )
    desk = Desk(settings, frontend="f1", templates={}, history=history, now=lambda: clock[0])
    yield Room(desk, clock, Sender())
    history.close()


def test_before_anything_was_told_nobody_should_be_sent_here(room: Room) -> None:
    is_ready, details = room.desk.readiness()

    assert not is_ready
    assert details["generation"] == ""


def test_what_is_served_is_shown_with_its_generation(room: Room) -> None:
    room.serve(WEB)

    (branch,) = room.desk.board.branches
    assert (branch.branch, branch.services[0].status) == ("main", Status.SERVING)
    assert room.desk.generation == room.desk.board.generation == "aaaaaaaaaaaa"


def test_a_regenerator_that_falls_silent_makes_it_not_ready_and_back_again(room: Room) -> None:
    room.serve(WEB)
    room.beat()
    assert room.desk.readiness()[0]

    room.clock[0] += SILENT_S + 1
    room.desk.refresh()
    assert not room.desk.readiness()[0]
    assert not room.desk.board.is_fresh

    room.beat()
    assert room.desk.readiness()[0]


def test_with_etcd_away_it_is_ready_and_says_so(room: Room) -> None:
    room.serve(WEB)
    room.beat(etcd_fault="etcd does not answer")

    is_ready, details = room.desk.readiness()

    assert is_ready
    assert details["etcd"] == room.desk.board.etcd.fault == "etcd does not answer"


def test_with_etcd_away_at_the_start_what_lay_on_disk_is_ready(room: Room) -> None:
    room.desk.take(Pulse(room.clock[0], etcd_fault="etcd is away", resumed="aaaaaaaaaaaa"))

    is_ready, details = room.desk.readiness()

    assert is_ready
    assert details["generation"] == "aaaaaaaaaaaa"


def test_a_version_is_new_only_where_something_is(room: Room) -> None:
    room.serve(WEB)
    room.beat()
    version, board = room.desk.version, room.desk.board

    room.beat()
    assert (room.desk.version, room.desk.board) == (version, board)

    room.serve(WEB, API, generation="bbbbbbbbbbbb")
    assert room.desk.version > version


def test_a_branch_that_did_not_change_stays_the_same_object(room: Room) -> None:
    other = Entry(KEYS.raw(RouteKey("other", "web")), b"10.0.0.3:8000", 3, 3, 0)
    room.serve(WEB, other)
    route_id = room.desk.board.branches[1].services[0].id
    room.desk.take_traffic({route_id: Traffic(5, 1, 9.0)})
    before = room.desk.board.branches

    room.serve(WEB, API, other)

    after = room.desk.board.branches
    assert after[1] is before[1]
    assert after[1].services[0].traffic == Traffic(5, 1, 9.0)
    assert after[0] is not before[0]


def test_a_service_that_left_says_so_with_the_time(room: Room) -> None:
    claim = Entry(
        KEYS.raw(ClaimKey("main", "web")), ClaimRecord(("main-web", "main")).dump(), 1, 1, 0
    )
    leaving = InstanceRecord(Address("10.0.0.1", 8000), State.DRAINING).dump()
    room.serve(claim, WEB._replace(lease=7))
    room.serve(claim, WEB._replace(lease=7, value=leaving, mod_revision=3))
    room.clock[0] += 5

    room.serve(claim)

    service = room.desk.board.branches[0].services[0]
    assert (service.status, service.reason) == (Status.GONE, "it was deregistered")
    assert service.gone_at == room.clock[0]


def test_when_a_service_left_is_told_once_its_history_can_be_written_again(
    room: Room, tmp_path: Path
) -> None:
    claim = Entry(
        KEYS.raw(ClaimKey("main", "web")), ClaimRecord(("main-web", "main")).dump(), 1, 1, 0
    )
    room.serve(claim, WEB)
    with sqlite3.connect(tmp_path / "history.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        room.serve(claim)
        room.desk.take_traffic({})
        assert room.desk.board.branches[0].services[0].gone_at == 0
        other.execute("ROLLBACK")
    other.close()
    room.clock[0] += REST_S
    room.desk.history.rest()

    room.desk.take_traffic({})

    assert room.desk.board.branches[0].services[0].gone_at > 0


def test_the_end_of_a_service_is_looked_up_once_whether_it_is_known_or_not(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of claims of which nothing ever ran would be looked up at each change."""
    asked: list[str] = []
    last = room.desk.history.last

    def counted(branch: str, service: str) -> Change | None:
        asked.append(branch)
        return last(branch, service)

    monkeypatch.setattr(room.desk.history, "last", counted)
    names = [f"idle-{number:03}" for number in range(LOOK_UP + 5)]
    claims = [
        Entry(KEYS.raw(ClaimKey(one, "web")), ClaimRecord((f"{one}-web", one)).dump(), 1, 1, 0)
        for one in names
    ]
    room.serve(*claims)
    assert len(asked) == LOOK_UP

    room.serve(*claims, WEB)
    room.serve(*claims)

    assert len(set(asked)) == LOOK_UP + 5
    # of one alone was there something new to ask
    assert len(asked) == LOOK_UP + 5


def test_frontends_stand_on_the_board_with_our_own_marked(room: Room) -> None:
    entry = Entry(KEYS.raw(FrontendKey("f1")), FrontendRecord(revision=7).dump(), 1, 1, 5)

    room.desk.take_frontends([entry])

    (frontend,) = room.desk.board.frontends
    assert (frontend.id, frontend.is_this, frontend.is_alive) == ("f1", True, True)


def test_whoever_waits_is_told_of_the_next_version(room: Room) -> None:
    async def wait() -> tuple[int, int]:
        version = room.desk.version
        waiting = asyncio.create_task(room.desk.changed(version, within_s=10.0))
        await asyncio.sleep(0)
        room.serve(WEB)
        return version, await waiting

    before, after = asyncio.run(wait())

    assert after > before


def test_whoever_waits_in_vain_is_told_the_same_version(room: Room) -> None:
    version = room.desk.version

    assert asyncio.run(room.desk.changed(version, within_s=0.01)) == version
