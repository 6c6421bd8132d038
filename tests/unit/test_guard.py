"""The brake at work: what it is fed with, what it says, and when it writes things down."""

import logging
from dataclasses import dataclass, field

import pytest

from regenerator.brake import Brake, Memory
from regenerator.guard import TOUCH_S, WRITE_S, Guard
from regenerator.inbox import News
from regenerator.routes import AddressRules, Rules
from registry.faults import StateUnwritable
from registry.keys import Keyspace, RouteKey
from registry.records import Address
from registry.snapshot import Entry, Snapshot
from registry.values import parse_networks

KEYS = Keyspace("/branchfront")
RULES = Rules(KEYS, AddressRules(parse_networks("10.0.0.0/8"), ((1, 65535),)), "web")
KEY = KEYS.raw(RouteKey("demo", "web", "one"))
ADDRESS = Address("10.0.0.1", 80)
FULL = Snapshot("c", 10, {KEY: Entry(KEY, b"10.0.0.1:80", 5, 5, 77)})
EMPTY = Snapshot("c", 11)


@dataclass
class World:
    """A clock that stands still, a prober and a file that note what they are told."""

    time: float = 0.0
    asked: frozenset[Address] = frozenset()
    written: list[Memory] = field(default_factory=list)
    touched: int = 0
    is_full: bool = False

    def clock(self) -> float:
        return self.time

    def ask(self, addresses: frozenset[Address]) -> None:
        self.asked = addresses

    def write(self, memory: Memory) -> None:
        if self.is_full:
            raise StateUnwritable("registry.json cannot be written: No space left on device")
        self.written.append(memory)

    def touch(self) -> None:
        self.touched += 1


def guard(world: World) -> Guard:
    brake = Brake(KEYS, RULES.read, 60)
    return Guard(brake, prober=world, file=world, clock=world.clock)


def test_no_news_is_nothing_new() -> None:
    assert not guard(World()).take(News())


def test_what_is_lost_is_cried_out_and_asked_until_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    subject = guard(world)
    with caplog.at_level(logging.INFO):
        assert subject.take(News(FULL))
        assert subject.take(News(EMPTY))
        assert subject.held == 1
        assert world.asked == {ADDRESS}
        assert subject.take(News(FULL))

    assert subject.held == 0
    assert not world.asked
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert "the registry is empty, and 1 of 1 instances never left" in caplog.text
    assert "lets go" in caplog.text


def test_what_is_held_over_a_restart_is_cried_out_again(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    memory = Memory(FULL, frozenset({KEY}))
    brake = Brake(KEYS, RULES.read, 60, memory=memory)
    Guard(brake, prober=world, file=world, clock=world.clock).take(News(EMPTY))

    assert "still holding 1 instances from before the start" in caplog.text


def test_what_does_not_answer_goes_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    subject = guard(World())
    subject.take(News(FULL))
    subject.take(News(EMPTY))

    assert not subject.take(News(answers={ADDRESS: False}))
    assert subject.take(News(answers={ADDRESS: False}))

    view = subject.view()
    assert view is not None
    assert not view.entries
    assert "lost /branchfront/routes/demo/web/one: it accepts no connections" in caplog.text


def test_a_single_loss_is_told_with_what_comes_of_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World()
    subject = guard(world)
    other = KEYS.raw(RouteKey("other", "web", "one"))
    both = {**FULL.entries, other: Entry(other, b"10.0.0.2:80", 6, 6, 78)}
    subject.take(News(Snapshot("c", 10, both)))
    subject.take(News(Snapshot("c", 11, {other: both[other]})))
    world.time += 8
    assert subject.take(News())

    assert [record.getMessage() for record in caplog.records] == [
        "lost /branchfront/routes/demo/web/one: served while it answers, for half of its TTL",
        "lost /branchfront/routes/demo/web/one: its registrar has not come back",
    ]


def test_it_is_written_down_in_quiet_moments_and_at_the_end() -> None:
    world = World(time=100)
    subject = guard(world)
    subject.take(News(FULL))
    subject.rest()
    assert not world.written

    world.time += WRITE_S
    subject.rest()
    subject.rest()
    assert [memory.snapshot for memory in world.written] == [FULL]

    subject.write_down()
    assert len(world.written) == 2


def test_that_nothing_changes_is_noted_as_well() -> None:
    world = World()
    subject = guard(world)
    subject.rest()
    # what was written before may be of yesterday
    assert world.touched == 0
    subject.take(News(FULL))
    subject.write_down()
    subject.rest()
    subject.rest()
    assert world.touched == 1

    world.time += TOUCH_S
    subject.rest()
    assert world.touched == 2


def test_before_anything_was_seen_there_is_nothing_to_write() -> None:
    world = World()
    guard(world).write_down()

    assert not world.written


def test_a_full_disk_is_said_and_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    world = World(is_full=True)
    subject = guard(world)
    subject.take(News(FULL))
    subject.write_down()

    assert "No space left on device; a restart would not know what was served" in caplog.text
