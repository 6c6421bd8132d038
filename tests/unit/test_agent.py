"""Included: what the agent makes of what it hears and sees, and when. Excluded: a real engine.

The engine is a picture of one, the registry is in memory, and the clock is turned by hand;
registrations run on their own threads, as they always do.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from registrar import places
from registrar.agent import LOOK_S, RETRY_MOST_S, Agent
from registrar.containers import BRANCH, PORT, SERVICE, Container
from registrar.engine import Engine, Event
from registrar.health import HealthSettings
from registrar.places import PlaceSettings
from registrar.probing import Unanswered, find_unanswered
from registrar.settings import AgentSettings, Reach, RegistrarSettings
from registry.etcd import EtcdSettings
from registry.faults import EngineDenied, EngineUnreachable, Fault
from registry.keys import Keyspace, RouteKey
from registry.records import Address, InstanceRecord, State
from registry.registrations import Registrations
from tests.etcd_server import free_ports, wait_until
from tests.fakes.memory_store import MemoryStore

KEYS = Keyspace()
AWAY = EngineUnreachable("no Docker engine answers at unix:///run/docker.sock")


class Picture(Engine):
    """What an engine would say.

    Attributes:
        fault: What comes of a question; None for an answer.
        hidden: Containers that it cannot tell about, as of one whose shim hangs.
        asked: How often it was asked anything.
    """

    def __init__(self) -> None:
        self.found: dict[str, Container] = {}
        self.fault: Fault | None = None
        self.hidden: set[str] = set()
        self.asked = 0

    def containers(self) -> tuple[str, ...]:
        self._answer()
        return tuple(self.found)

    def inspect(self, container: str) -> Container | None:
        self._answer()
        if container in self.hidden:
            raise EngineUnreachable("the Docker engine did not answer in 5 s")
        return self.found.get(container)

    def _answer(self) -> None:
        self.asked += 1
        if self.fault is not None:
            raise self.fault


class Scene:
    """An agent, its engine, its registry and its clock."""

    def __init__(self, *, asks_port: bool = False) -> None:
        self.engine = Picture()
        self.store = MemoryStore()
        self.now_s = 1000.0
        model = RegistrarSettings(
            Reach(EtcdSettings(("http://127.0.0.1:2379",)), KEYS, "web"),
            "",
            "",
            PlaceSettings(ip="127.0.0.1"),
            drain_s=0.0,
            release_timeout_s=0.0,
            health=HealthSettings(interval_s=0.1),
        )
        self.agent = Agent(
            self.engine,
            AgentSettings(model, asks_port=asks_port),
            registrations=Registrations(self.store, keys=KEYS),
            clock=lambda: self.now_s,
        )

    def hear(self, *what: Event | Fault | None) -> None:
        """Let it hear of something, and act."""
        for one in what:
            self.agent._say(one)
        self.agent.step()

    def pass_s(self, seconds: float) -> None:
        """Let time go by, and let it act."""
        self.now_s += seconds
        self.agent.step()

    def add(self, name: str, port: int, **more: object) -> Container:
        """Have a labelled container running that publishes a port."""
        container = Container(
            name * 64,
            name,
            started_at=1,
            labels={BRANCH: name, SERVICE: "web", PORT: "8000"},
            published={8000: ("0.0.0.0", port)},  # noqa: S104 - what an engine says
        )
        self.engine.found[container.id] = replace(container, **more)  # type: ignore[arg-type]
        return self.engine.found[container.id]

    def change(self, container: Container, **more: object) -> None:
        """Have it changed."""
        self.engine.found[container.id] = replace(container, **more)  # type: ignore[arg-type]

    def registered(self) -> set[str]:
        """The branches of which something gets requests."""
        found = set()
        for raw, entry in list(self.store.entries.items()):
            if raw.startswith(KEYS.routes):
                key = KEYS.parse(raw)
                assert isinstance(key, RouteKey)
                if InstanceRecord.parse(entry.value).state is State.READY:
                    found.add(key.branch)
        return found

    def wait_address(self, branch: str, address: str) -> None:
        """Wait until a branch is registered there; the agent acts meanwhile."""

        def is_there() -> bool:
            self.agent.step()
            found = self.store.list(KEYS.routes + branch.encode()).entries.values()
            return [str(InstanceRecord.parse(one.value).address) for one in found] == [address]

        wait_until(is_there)

    def wait_registered(self, *branches: str) -> None:
        """Wait until just these are; the agent acts meanwhile, and its clock stands."""

        def is_so() -> bool:
            self.agent.step()
            return self.registered() == set(branches)

        wait_until(is_so)

    def wait_let_go(self) -> None:
        """Wait until every registration that is being taken out has gone."""
        kept = self.agent._kept.values()
        wait_until(lambda: all(one.registration.over for one in kept if one.registration.leaving))


@pytest.fixture
def scene() -> Iterator[Scene]:
    with ending(Scene()) as scene:
        yield scene


@contextmanager
def ending(scene: Scene) -> Iterator[Scene]:
    try:
        yield scene
    finally:
        scene.agent._end("the end")


@contextmanager
def listening() -> Iterator[int]:
    """A port of loopback that accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def killed(container: Container, signal: int) -> Event:
    return Event(container.id, "kill", signal)


def test_what_the_engine_s_health_check_says_stands_in_the_registry(scene: Scene) -> None:
    container = scene.add("a", 8001, health="healthy")
    scene.hear(None)
    scene.wait_registered("a")

    scene.change(container, health="unhealthy")
    scene.hear(None)
    scene.wait_registered()

    [entry] = scene.store.list(KEYS.routes).entries.values()
    record = InstanceRecord.parse(entry.value)
    assert (record.state, record.health) == (
        State.STARTING,
        "its health check says unhealthy",
    )


def test_who_was_told_to_end_and_goes_on_is_registered_again(scene: Scene) -> None:
    """Docker waits 10 s, and kills; who runs after a minute took the signal for something else."""
    deaf = scene.add("a", 8001)
    scene.hear(None)
    scene.wait_registered("a")

    scene.hear(killed(deaf, 15))
    scene.wait_let_go()
    assert scene.registered() == set()
    scene.pass_s(50)
    scene.hear(Event(deaf.id, "update"))
    scene.pass_s(1)
    assert scene.agent._kept[deaf.id].registration.over
    assert scene.registered() == set()

    scene.pass_s(15)
    scene.wait_registered("a")


def test_who_was_told_to_end_and_has_is_not_waited_for(scene: Scene) -> None:
    container = scene.add("a", 8001)
    scene.hear(None)
    scene.wait_registered("a")

    scene.hear(killed(container, 15))
    scene.change(container, state="exited")
    scene.hear(Event(container.id, "die"))
    scene.wait_let_go()
    # it is started again within the minute
    scene.change(container, started_at=2)
    scene.hear(Event(container.id, "start"))

    scene.wait_registered("a")


@pytest.mark.parametrize("signal", [1, 9, 3])
def test_another_signal_does_not_drain(scene: Scene, signal: int) -> None:
    container = scene.add("a", 8001)
    scene.hear(None)
    scene.wait_registered("a")

    scene.hear(killed(container, signal))

    assert not scene.agent._kept[container.id].registration.leaving


def test_an_event_of_a_stranger_is_no_business_of_ours(scene: Scene) -> None:
    scene.hear(None, Event("f" * 64, "start"), Event("f" * 64, "kill", 15))

    assert scene.registered() == set()


def test_all_are_looked_at_from_time_to_time_whatever_was_said(scene: Scene) -> None:
    scene.hear(None)
    scene.add("a", 8001)
    scene.pass_s(LOOK_S - 1)
    assert not scene.agent._kept

    scene.pass_s(2)
    scene.wait_registered("a")


def test_who_listens_stays_while_the_engine_is_away_and_who_does_not_goes() -> None:
    """After an engine's bad end its containers come back at each other's addresses."""
    [silent] = free_ports(1)
    with listening() as alive, listening() as dies, ending(Scene(asks_port=True)) as scene:
        scene.add("a", alive)
        lost = scene.add("b", dies)
        scene.hear(None)
        scene.wait_registered("a", "b")

        scene.engine.fault = AWAY
        scene.hear(AWAY)
        # its container has ended, and nobody says so
        kept = scene.agent._kept[lost.id]
        kept.wanted = replace(kept.wanted, address=replace(kept.wanted.address, port=silent))
        scene.pass_s(1)
        scene.wait_let_go()
        assert scene.registered() == {"a"}

        scene.engine.fault = None
        scene.change(lost, started_at=2)
        scene.hear(None)
        scene.wait_registered("a", "b")


def test_who_was_never_reached_is_not_missed_while_the_engine_is_away() -> None:
    """Its health check says that it is well, and it may be that only frontends reach it."""
    [nobody] = free_ports(1)
    with listening() as port, ending(Scene(asks_port=True)) as scene:
        scene.add("a", nobody, health="healthy")
        ends = scene.add("b", port, health="healthy")
        scene.hear(None)
        scene.wait_registered("a", "b")
        kept = scene.agent._kept[ends.id]
        wait_until(lambda: kept.checkup.has_listened)
        kept.wanted = replace(kept.wanted, address=replace(kept.wanted.address, port=nobody))

        scene.hear(AWAY)
        scene.wait_let_go()

        assert scene.registered() == {"a"}


def test_who_does_not_listen_is_found_in_one_look() -> None:
    refuses, *_ = free_ports(1)
    with listening() as port, socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        addresses = [Address("127.0.0.1", one) for one in (port, refuses, full.getsockname()[1])]
        # as many as it takes: no other one is answered
        with socket.create_connection(full.getsockname()):
            began_at = time.monotonic()
            found = find_unanswered(addresses, within_s=0.2)
            took_s = time.monotonic() - began_at
    assert found == Unanswered(frozenset(addresses[1:2]), frozenset(addresses[2:]))
    assert took_s < 5


def test_who_is_late_itself_takes_nobody_for_silent() -> None:
    """A machine that is busy may stop us for longer than anybody has for an answer."""
    with listening() as port:
        found = find_unanswered([Address("127.0.0.1", port)], within_s=0)

    assert found == Unanswered(frozenset(), frozenset())


def test_nobody_is_asked_where_there_is_nobody() -> None:
    assert find_unanswered([], within_s=60) == Unanswered(frozenset(), frozenset())


def test_an_engine_that_is_away_is_not_asked_before_it_is_back(scene: Scene) -> None:
    """One that starts takes a question, and answers when its containers run elsewhere already."""
    scene.add("a", 8001)
    scene.hear(None)
    scene.wait_registered("a")
    scene.engine.fault = AWAY
    scene.hear(AWAY)
    asked = scene.engine.asked

    for _ in range(10):
        scene.pass_s(LOOK_S)

    assert scene.engine.asked == asked
    assert scene.registered() == {"a"}


def test_one_container_that_the_engine_cannot_tell_of_keeps_no_other_out(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    hangs = scene.add("a", 8001)
    scene.add("b", 8002)
    scene.engine.hidden = {hangs.id}

    scene.hear(None)
    scene.pass_s(LOOK_S + 1)

    scene.wait_registered("b")
    assert caplog.text.count("the engine does not tell of it") == 1
    scene.engine.hidden = set()
    scene.pass_s(LOOK_S + 1)
    scene.wait_registered("a", "b")


def test_a_question_that_failed_is_asked_again_soon(scene: Scene) -> None:
    scene.hear(None)
    scene.add("a", 8001)
    scene.engine.fault = AWAY
    scene.hear(Event("a" * 64, "start"))
    scene.engine.fault = None

    scene.pass_s(RETRY_MOST_S + 0.1)

    scene.wait_registered("a")


def test_one_outage_is_told_once_and_so_is_its_end(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    scene.hear(None)
    scene.engine.fault = AWAY
    scene.hear(EngineUnreachable("the Docker engine has hung up"), AWAY)
    scene.hear(AWAY)
    scene.pass_s(60)
    scene.engine.fault = None
    scene.hear(None)

    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "the Docker engine has hung up; trying on, registrations stay while their ports answer",
        "the engine answers again",
    ]


def test_an_engine_that_refuses_from_the_beginning_ends_it_and_later_does_not(
    scene: Scene,
) -> None:
    refusal = EngineDenied("may not be used")
    with pytest.raises(EngineDenied):
        scene.hear(refusal)

    scene.add("a", 8001)
    scene.hear(None)
    scene.wait_registered("a")
    scene.hear(refusal)
    scene.pass_s(60)

    assert scene.registered() == {"a"}


def test_the_hosts_ip_is_found_out_anew_and_not_forgotten(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A resolver that does not answer for a moment is no reason to take everybody out."""
    answers = iter(["", "127.0.0.1", "", "127.0.0.2"])
    monkeypatch.setattr(places.socket, "find_own_ip", lambda _: next(answers))
    with ending(Scene()) as scene:
        model = scene.agent._settings.model
        scene.agent._settings = AgentSettings(
            replace(model, place=replace(model.place, ip="")), asks_port=False
        )
        scene.add("a", 8001)
        scene.hear(None)
        assert "set IP" in caplog.text

        for ip in ("127.0.0.1", "127.0.0.1", "127.0.0.2"):
            scene.pass_s(LOOK_S + 1)
            scene.wait_registered("a")
            scene.wait_address("a", f"{ip}:8001")


def test_who_ends_leaves_what_runs_and_takes_out_what_ends() -> None:
    scene = Scene()
    scene.add("a", 8001)
    leaves = scene.add("b", 8002)
    scene.hear(None)
    scene.wait_registered("a", "b")

    scene.hear(killed(leaves, 15))
    scene.agent._end("SIGTERM")

    assert scene.registered() == {"a"}
    assert len([key for key in scene.store.entries if key.startswith(KEYS.routes)]) == 1
