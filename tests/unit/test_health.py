"""Included: when a service counts as healthy, what it is asked, and who is told. Real sockets."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registrar.bell import Bell
from registrar.gate import Gate, GateSettings
from registrar.health import Health, HealthSettings
from registrar.keep import Keep, Retirement, Timing
from registrar.listener import Listener
from registrar.probing import Answer, ask_path, ask_port
from registry.faults import StoreUnreachable
from registry.keys import Keyspace, RouteKey
from registry.records import Address, InstanceRecord, State
from registry.registrations import Registered, Registrations
from tests.etcd_server import free_ports, wait_until
from tests.fakes.memory_store import MemoryStore

ONE_IS_ENOUGH = HealthSettings(failures=3, passes=2)

KEYS = Keyspace()
KEY = RouteKey("main", "web", "i1")
ADDRESS = Address("10.0.0.5", 8080)

ILL, WELL = Answer(passed=False, words="ill"), Answer(passed=True, words="well")


def after(answers: str, settings: HealthSettings = ONE_IS_ENOUGH) -> Health:
    """The health that comes of passes (+) and failures (-)."""
    health = Health(settings)
    for answer in answers:
        health = health.passed("well") if answer == "+" else health.failed("ill")
    return health


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ("", State.STARTING),
        ("---", State.STARTING),
        ("--+", State.READY),
        ("+", State.READY),
        ("+--", State.READY),
        ("+--+--", State.READY),
        ("+---", State.STARTING),
        ("+---+", State.STARTING),
        ("+---+-+", State.STARTING),
        ("+---++", State.READY),
        ("+---++--", State.READY),
        ("+---++---", State.STARTING),
    ],
)
def test_one_pass_begins_and_several_in_a_row_change(answers: str, state: State) -> None:
    assert after(answers).state is state


def test_the_last_answer_is_known() -> None:
    assert after("+-").answer == "ill"
    assert after("---++").answer == "well"


@given(st.text("+-", max_size=40))
def test_who_never_passed_is_never_ready(answers: str) -> None:
    assert ("+" in answers) or after(answers).state is State.STARTING


@given(st.floats(0, 1000), st.floats(0.1, 100))
def test_who_starts_is_asked_soon_and_less_often_the_longer_it_takes(
    since_s: float, interval_s: float
) -> None:
    starting = Health(HealthSettings(interval_s=interval_s))

    assert 0.05 <= starting.pause_s(since_s) <= max(0.05, min(interval_s, 1.0))
    assert starting.pause_s(since_s) <= max(0.05, since_s / 10)
    assert starting.passed("well").pause_s(since_s) == interval_s


@contextmanager
def answering(*parts: bytes, pause_s: float = 0.0) -> Iterator[tuple[Address, list[bytes]]]:
    """A port that answers each connection with these parts, and what it was asked."""
    asked: list[bytes] = []
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    link, _ = listener.accept()
                except OSError:
                    return
                with link, suppress(OSError):
                    asked.append(link.recv(65536))
                    for part in parts:
                        link.sendall(part)
                        over.wait(pause_s)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Address(*listener.getsockname()), asked
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def ask(path: str, address: Address, *, within_s: float = 5.0) -> Answer:
    return ask_path(path)(address, within_s=within_s)


@pytest.mark.parametrize("status", [200, 204, 302, 399, 400, 401, 404, 500, 503])
def test_statuses_from_200_to_399_pass(status: int) -> None:
    with answering(f"HTTP/1.1 {status} So\r\n\r\n".encode()) as (address, _):
        answer = ask("/healthz", address)

    assert answer == (status < 400, f"GET http://{address}/healthz answered {status}")


def test_a_service_is_asked_as_a_plain_client_would() -> None:
    with answering(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n") as (
        address,
        asked,
    ):
        ask("/healthz?deep=1", address)

    lines = asked[0].decode().split("\r\n")
    assert len(asked) == 1
    assert lines[0] == "GET /healthz?deep=1 HTTP/1.1"
    assert f"Host: {address}" in lines
    assert "Connection: close" in lines


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with answering(b"HTTP/1.1 200 OK\r\n\r\n") as (address, _):
        assert ask("/", address).passed


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9.2\r\n", b"", b"\x00\x01\r\n\r\n"])
def test_what_is_not_http_does_not_pass(said: bytes) -> None:
    with answering(said) as (address, _):
        answer = ask("/", address)

    assert not answer.passed
    assert str(address) in answer.words


def test_the_time_is_for_the_whole_answer_however_it_trickles_in() -> None:
    parts = [b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 100]
    with answering(*parts, pause_s=0.05) as (address, _):
        began_at = time.monotonic()
        answer = ask("/", address, within_s=0.3)

    assert answer == (False, f"GET http://{address}/ was not answered within 0.3 s")
    assert time.monotonic() - began_at < 3


def test_a_port_passes_when_it_accepts_and_says_so_when_it_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(*listener.getsockname())
        assert ask_port(address, within_s=5).passed
    (port,) = free_ports(1)
    closed = Address("127.0.0.1", port)

    assert ask_port(closed, within_s=5) == (False, f"{closed} refuses connections")
    assert ask("/", closed) == (False, f"{closed} refuses connections")


def test_a_proxy_behind_which_nobody_listens_is_not_taken_for_a_service() -> None:
    """As Docker's own for a published port: it accepts, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = Address("127.0.0.1", proxy.getsockname()[1])

        def accept_and_hang_up() -> None:
            proxy.accept()[0].close()

        thread = threading.Thread(target=accept_and_hang_up)
        thread.start()
        answer = ask_port(address, within_s=5)
        thread.join()

    assert answer == (False, f"{address} hangs up at once")


def test_an_address_that_cannot_be_reached_is_an_answer() -> None:
    answer = ask_port(Address("255.255.255.255", 80), within_s=1)

    assert not answer.passed
    assert "255.255.255.255:80" in answer.words


def test_a_bell_that_rang_before_is_heard_once() -> None:
    bell = Bell()
    bell.ring()

    assert not bell.wait()
    assert not bell.wait(0.01)
    bell.stop()
    assert bell.wait()
    assert bell.wait(60)


@dataclass
class Stage(Listener):
    """A gate, the registration behind it, and a service that answers as it is told."""

    settings: HealthSettings = field(
        default_factory=lambda: HealthSettings(interval_s=0.01, failures=2, passes=2)
    )
    is_asked: bool = True
    answer: Answer = ILL
    hint: str = ""
    address: Address = ADDRESS
    passed_s: float = 0.0
    store: MemoryStore = field(default_factory=MemoryStore)
    asked: list[Address] = field(default_factory=list)
    looks: int = 0

    def __post_init__(self) -> None:
        bell = Bell()
        self.bell = bell
        self.keep = Keep(
            Registrations(self.store, keys=KEYS),
            KEY,
            locate=self._locate,
            ttl_s=15,
            default_service="web",
            timing=Timing(bell.wait, bell.ring),
            listener=self,
        )
        settings = GateSettings(self.settings, self._ask if self.is_asked else None, 0.2, self.hint)
        clock = lambda: time.monotonic() + self.passed_s  # noqa: E731 - time that a test has skipped
        self.gate = Gate(self.keep, settings, wake=lambda: None, clock=clock)

    def tried(self) -> None:
        self.gate.tried()

    def registered(self, done: Registered, record: InstanceRecord) -> None:
        self.gate.registered(record, done.revision)

    def record(self) -> InstanceRecord | None:
        entry = self.store.entries.get(KEYS.raw(KEY))
        return InstanceRecord.parse(entry.value) if entry else None

    def state(self) -> State | None:
        record = self.record()
        return record.state if record else None

    def _locate(self) -> Address:
        self.looks += 1
        return self.address

    def _ask(self, address: Address, *, within_s: float) -> Answer:
        assert within_s == self.settings.timeout_s
        self.asked.append(address)
        return self.answer


@contextmanager
def running(stage: Stage) -> Iterator[Stage]:
    thread = threading.Thread(target=stage.keep.run, daemon=True)
    stage.gate.start()
    thread.start()
    yield stage
    stage.gate.stop()
    stage.bell.stop()
    thread.join()


def test_a_service_is_asked_once_it_has_begun_and_ready_once_it_answers() -> None:
    stage = Stage()
    with running(stage):
        wait_until(lambda: stage.gate.may_begin)
        assert stage.asked == []
        stage.gate.begin()
        wait_until(lambda: len(stage.asked) > 2)
        assert stage.state() is State.STARTING
        stage.answer = WELL
        wait_until(lambda: stage.state() is State.READY)
        stage.answer = ILL
        wait_until(lambda: stage.state() is State.STARTING)

    assert set(stage.asked) == {ADDRESS}


def test_without_a_question_who_has_begun_is_ready() -> None:
    stage = Stage(is_asked=False)
    with running(stage):
        wait_until(lambda: stage.gate.may_begin)
        assert stage.state() is State.STARTING
        stage.gate.begin()
        wait_until(lambda: stage.state() is State.READY)


def test_a_command_need_not_wait_for_a_registry_that_fails() -> None:
    stage = Stage()
    stage.store.up = False
    with running(stage):
        wait_until(lambda: stage.gate.may_begin)
        stage.gate.begin()
        stage.answer = WELL
        stage.store.up = True
        wait_until(lambda: stage.state() is State.READY)


def test_a_registry_that_says_nothing_is_waited_for_a_second() -> None:
    stage = Stage()
    answers: list[bool] = []

    def mute() -> None:
        wait_until(lambda: answers)
        raise StoreUnreachable("no answer")

    stage.store.meanwhile = mute
    with running(stage):
        assert 0 < stage.gate.patience_s <= 1
        wait_until(lambda: stage.gate.patience_s <= 0)
        assert not stage.gate.may_begin
        answers.append(True)


def test_a_mistake_of_ours_does_not_keep_a_service_from_its_requests(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    with running(stage):
        stage.answer = None  # type: ignore[assignment]
        stage.gate.begin()
        wait_until(lambda: stage.state() is State.READY)

    assert "a mistake of ours" in caplog.text


def test_who_does_not_get_well_is_told_with_the_hint_after_ten_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage(answer=Answer(passed=False, words="ECS knows of no health check"), hint="look at")
    with running(stage):
        stage.gate.begin()
        wait_until(lambda: len(stage.asked) > 3)
        assert "not healthy" not in caplog.text
        stage.passed_s = 10.0
        wait_until(lambda: "not healthy" in caplog.text)
        stage.passed_s = 60.0
        wait_until(lambda: len(stage.asked) > 20)

    told = [one.getMessage() for one in caplog.records if "not healthy" in one.getMessage()]
    text = "not healthy for 10 s: ECS knows of no health check; no requests are sent here (look at)"
    assert told == [text]


def test_who_is_well_does_not_look_where_it_is() -> None:
    stage = Stage(answer=WELL)
    with running(stage):
        stage.gate.begin()
        wait_until(lambda: stage.state() is State.READY)
        stage.passed_s = 3600.0
        count = len(stage.asked)
        wait_until(lambda: len(stage.asked) > count + 3)

    assert stage.looks == 1


def revisions(stage: Stage) -> int:
    """How often the route was written."""
    entries = [found.get(KEYS.raw(KEY)) for found in stage.store.history.values()]
    return len({entry.mod_revision for entry in entries if entry})


def wait_asked(stage: Stage, times: int) -> None:
    """Wait until the service was asked so often from now on, and what came of it is done."""
    until = len(stage.asked) + times
    wait_until(lambda: len(stage.asked) >= until)


def health(stage: Stage) -> str | None:
    record = stage.record()
    return record.health if record else None


def test_who_is_found_ill_says_why_in_the_registry_until_it_is_well() -> None:
    stage = Stage(answer=WELL)
    with running(stage):
        stage.gate.begin()
        wait_until(lambda: stage.state() is State.READY)
        stage.answer = Answer(passed=False, words="GET http://10.0.0.5:8080/healthz answered 500")
        wait_until(lambda: stage.state() is State.STARTING)
        assert health(stage) == "GET http://10.0.0.5:8080/healthz answered 500"
        stage.answer = WELL
        wait_until(lambda: stage.state() is State.READY)
        assert health(stage) == ""
    # starting, ready, starting, ready: the sentence came and went with the state
    assert revisions(stage) in {3, 4}


def test_who_gets_well_within_ten_seconds_is_written_no_sentence() -> None:
    stage = Stage()
    with running(stage):
        stage.gate.begin()
        wait_asked(stage, 5)
        stage.passed_s = 9.0
        wait_asked(stage, 5)
        assert health(stage) == ""
        stage.answer = WELL
        wait_until(lambda: stage.state() is State.READY)

    assert revisions(stage) == 2


def test_who_does_not_get_well_says_why_in_the_registry_after_ten_seconds() -> None:
    stage = Stage()
    with running(stage):
        stage.gate.begin()
        wait_asked(stage, 3)
        stage.passed_s = 10.0
        wait_until(lambda: health(stage) == "ill")
        wait_asked(stage, 20)

    assert revisions(stage) == 2


def test_a_sentence_that_is_another_each_time_is_written_every_ten_seconds() -> None:
    stage = Stage(answer=WELL)
    with running(stage):
        stage.gate.begin()
        wait_until(lambda: stage.state() is State.READY)
        stage.answer = Answer(passed=False, words="out of order for 1 s")
        wait_until(lambda: stage.state() is State.STARTING)
        written = revisions(stage)
        for number in range(2, 20):
            stage.answer = Answer(passed=False, words=f"out of order for {number} s")
            wait_asked(stage, 2)
        assert health(stage) == "out of order for 1 s"
        assert revisions(stage) == written
        stage.passed_s = 10.0
        wait_until(lambda: health(stage) == "out of order for 19 s")
        assert revisions(stage) == written + 1
        # and not again so soon
        stage.answer = Answer(passed=False, words="out of order for 20 s")
        wait_asked(stage, 5)
        assert revisions(stage) == written + 1
        # what has not changed for long is written at once when it does
        stage.passed_s = 30.0
        wait_until(lambda: health(stage) == "out of order for 20 s")
        stage.passed_s = 100.0
        wait_asked(stage, 3)
        assert revisions(stage) == written + 2
        stage.answer = Answer(passed=None, words="nobody knows")
        wait_until(lambda: health(stage) == "nobody knows")


def test_one_pass_of_several_is_no_reason_not_to_be_ready() -> None:
    stage = Stage(HealthSettings(interval_s=0.01, failures=1, passes=10**6), answer=WELL)
    with running(stage):
        stage.gate.begin()
        wait_until(lambda: stage.state() is State.READY)
        stage.answer = ILL
        wait_until(lambda: stage.state() is State.STARTING)
        stage.answer = WELL
        stage.passed_s = 10.0
        wait_asked(stage, 20)

        assert health(stage) == "ill"


def test_what_stands_behind_a_question_mark_is_told_to_nobody() -> None:
    """Everybody reads the sentence on a page; the service is asked all of it."""
    with answering(b"HTTP/1.1 500 So\r\n\r\n") as (address, asked):
        answer = ask("/healthz?key=secret", address)

    assert answer.words == f"GET http://{address}/healthz answered 500"
    assert asked[0].startswith(b"GET /healthz?key=secret ")


def ready_at(stage: Stage) -> set[Address]:
    """Where it ever got requests."""
    entries = [found[KEYS.raw(KEY)] for found in stage.store.history.values() if found]
    records = [InstanceRecord.parse(entry.value) for entry in entries]
    return {record.address for record in records if record.state is State.READY}


def test_who_has_retired_is_not_brought_back_by_its_health() -> None:
    stage = Stage(answer=WELL)
    other = InstanceRecord(Address("10.0.0.6", 8080), State.READY)
    stage.store.write(
        KEYS.raw(RouteKey("main", "web", "i2")), other.dump(), lease=stage.store.grant(60).id
    )

    def is_asked_again() -> bool:
        return len(stage.asked) > count + 4

    with running(stage):
        stage.gate.begin()
        wait_until(lambda: stage.state() is State.READY)
        stage.keep.retire(Retirement(None))
        wait_until(lambda: stage.state() is State.DRAINING)
        revision = stage.store.revision
        for answer in (ILL, WELL, ILL):
            stage.answer = answer
            count = len(stage.asked)
            wait_until(is_asked_again)

    assert stage.state() is State.DRAINING
    assert stage.store.revision == revision
