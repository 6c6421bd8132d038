"""Included: what a frontend is asked, what its answers mean, and asking for real on loopback."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regenerator.render import readable
from registrar.served import (
    Probed,
    Question,
    Reply,
    ask_once,
    build_question,
    probe_frontends,
    read_reply,
)
from registry.records import Address, FrontendRecord
from tests.etcd_server import free_ports, wait_until
from tests.strategies import branches

PATIENCE_S = 10.0
"""The longest that a speaker waits for a test that has forgotten it."""

OURS = b"HTTP/1.1 200 OK\r\nX-Served-By: web-1\r\nContent-Length: 0\r\n\r\n"
FOREIGN = OURS.replace(b"web-1", b"web-2")
NOBODYS = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class Speaker:
    """Takes connections on loopback and says to each what ``answer`` gives, in pieces.

    Attributes:
        heads: Every request, as it came.
    """

    def __init__(self, answer: Callable[[int], Iterator[bytes]], *, ip: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        self.heads: list[bytes] = []
        self.over = threading.Event()
        self._answer = answer
        self._listener = socket.create_server((ip, 0), family=family)
        self.address = str(Address(ip, self._listener.getsockname()[1]))
        self._threads = [threading.Thread(target=self._listen)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        # closing alone does not wake who accepts
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _listen(self) -> None:
        while not self.over.is_set():
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._talk, args=(link,)))
            self._threads[-1].start()

    def _talk(self, link: socket.socket) -> None:
        with closing(link):
            head = b""
            while b"\r\n\r\n" not in head:
                head += link.recv(4096)
            self.heads.append(head)
            try:
                for part in self._answer(len(self.heads)):
                    link.sendall(part)
            except OSError:
                return


def saying(*answers: bytes) -> Callable[[int], Iterator[bytes]]:
    """Each of them once, then the last one again and again."""
    return lambda number: iter([answers[min(number, len(answers)) - 1]])


@contextmanager
def mute(ip: str = "127.0.0.1") -> Iterator[Speaker]:
    """Takes requests and says nothing."""
    with ExitStack() as running:
        held = threading.Event()

        def answer(_: int) -> Iterator[bytes]:
            held.wait(PATIENCE_S)
            yield b""

        speaker = running.enter_context(Speaker(answer, ip=ip))
        running.callback(held.set)
        yield speaker


def question(speaker: Speaker) -> Question:
    return Question(Address.parse(speaker.address), "main-web.dev.example.com", "/")


def record(address: str) -> FrontendRecord:
    return FrontendRecord(address=address, domain="dev.example.com")


def probe(
    *addresses: str,
    within_s: float = PATIENCE_S,
    path: str = "/",
    wait: Callable[[float], object] = time.sleep,
) -> tuple[Probed, ...]:
    frontends = [(f"f{number}", record(one)) for number, one in enumerate(addresses, start=1)]
    return probe_frontends(
        lambda: frontends,
        instance="web-1",
        label="main-web",
        path=path,
        within_s=within_s,
        wait=wait,
    )


def test_the_frontend_is_asked_at_its_own_address_for_the_services_host() -> None:
    asked = build_question(record("[fd00::7]:8080"), label="main-web", path="/healthz")

    assert asked == Question(Address("fd00::7", 8080), "main-web.dev.example.com", "/healthz")


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("", "dev.example.com"),
        ("frontend.internal:8080", "dev.example.com"),
        ("10.0.0.5:0", "dev.example.com"),
        ("10.0.0.5:8080", ""),
        ("10.0.0.5:8080", "dev.example.com\r\nX-Evil: 1"),
    ],
)
def test_a_record_that_names_nothing_to_ask_is_not_asked(address: str, domain: str) -> None:
    """Whoever may write below ``frontends/`` may write anything there."""
    with pytest.raises(ValueError, match="cannot be asked"):
        build_question(FrontendRecord(address=address, domain=domain), label="a", path="/")


@pytest.mark.parametrize(
    ("served_by", "reply"),
    [
        ("web-1", Reply("answered 502 from instance web-1", "web-1")),
        ("10.0.0.5:8080", Reply("answered 502 from instance 10.0.0.5:8080", "10.0.0.5:8080")),
        ("", Reply("answered 502")),
    ],
)
def test_an_answer_is_whose_it_says(served_by: str, reply: Reply) -> None:
    assert read_reply(502, served_by) == reply


@given(branches)
def test_an_instance_is_known_by_its_real_name_however_nginx_writes_it(name: str) -> None:
    assert read_reply(200, readable(name)).instance == name


@given(st.text())
def test_no_answer_steers_a_terminal(served_by: str) -> None:
    assert read_reply(200, served_by).text.isprintable()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.0 204\r\nx-served-by: a%2Fb\r\n\r\n", "answered 204 from instance a/b"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "answered 404"),
        (b"", "hung up without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not answer as HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n", "does not answer as HTTP"),
        (b"\xff\x00\x1b[31m" * 100, "does not answer as HTTP"),
        (b"HTTP/1.1 999999999999999999999 X\r\n\r\n", "does not answer as HTTP"),
    ],
)
def test_no_answer_is_a_fault(answer: bytes, text: str) -> None:
    with Speaker(saying(answer)) as speaker:
        assert ask_once(question(speaker), within_s=PATIENCE_S).text == text


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
def test_what_answers_is_heard(ip: str) -> None:
    with Speaker(saying(OURS), ip=ip) as speaker:
        assert ask_once(question(speaker), within_s=PATIENCE_S).instance == "web-1"
    assert speaker.heads[0].startswith(b"GET / HTTP/1.1\r\nHost: main-web.dev.example.com\r\n")


def test_an_answer_in_pieces_is_heard_and_its_body_is_not_waited_for() -> None:
    def answer(_: int) -> Iterator[bytes]:
        yield OURS[:30]
        yield OURS[30:].replace(b"Length: 0", b"Length: 99")
        speaker.over.wait(PATIENCE_S)

    with Speaker(answer) as speaker:
        assert ask_once(question(speaker), within_s=PATIENCE_S).instance == "web-1"


def test_who_refuses_hangs_up_or_is_mute_is_told_apart() -> None:
    (port,) = free_ports(1)
    refusing = Question(Address("127.0.0.1", port), "main-web.dev.example.com", "/")

    with mute() as silent, Speaker(saying(b"")) as closing_it:
        texts = [
            ask_once(asked, within_s=within_s).text
            for asked, within_s in (
                (refusing, PATIENCE_S),
                (question(closing_it), PATIENCE_S),
                (question(silent), 0.1),
            )
        ]

    assert texts == [
        "refuses connections",
        "hung up without an answer",
        "did not answer within 0.1 s",
    ]


def test_a_byte_now_and_then_does_not_go_on_for_ever() -> None:
    """The time-out is over the whole answer, not over each part of it."""

    def answer(_: int) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n"
        for _ in range(500):  # as long as nobody waits in earnest
            yield b"X"
            speaker.over.wait(0.02)

    with Speaker(answer) as speaker:
        began_at = time.monotonic()
        reply = ask_once(question(speaker), within_s=0.2)
        took_s = time.monotonic() - began_at

    assert reply.text == "did not answer within 0.2 s"
    assert took_s < PATIENCE_S / 2


def test_an_answer_whose_head_never_ends_is_given_up() -> None:
    def answer(_: int) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n"
        while True:
            yield b"X-Filler: 1\r\n" * 1000

    with Speaker(answer) as speaker:
        assert ask_once(question(speaker), within_s=PATIENCE_S).text == "does not answer as HTTP"


def test_it_is_reached_when_it_answers_through_every_frontend() -> None:
    with Speaker(saying(OURS)) as one, Speaker(saying(OURS), ip="::1") as other:
        probed = probe(one.address, other.address, path="/healthz")

    assert [(it.frontend, it.address, it.is_reached) for it in probed] == [
        ("f1", one.address, True),
        ("f2", other.address, True),
    ]
    assert one.heads[0].startswith(b"GET /healthz ")


def test_with_several_instances_it_asks_until_ours_answers() -> None:
    answers = (NOBODYS, b"", FOREIGN, FOREIGN, OURS)
    with Speaker(saying(*answers)) as speaker:
        (probed,) = probe(speaker.address)

    assert probed.is_reached
    assert len(speaker.heads) == 5


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (NOBODYS, "answered 404"),
        (NOBODYS.replace(b"404", b"502"), "answered 502"),
        (FOREIGN, "answered 200 from instance web-2"),
        (b"", "hung up without an answer"),
        (b"\x1b[31m", "does not answer as HTTP"),
    ],
)
def test_what_is_not_ours_is_told_with_the_last_answer(answer: bytes, text: str) -> None:
    with Speaker(saying(answer)) as speaker:

        def wait(seconds: float) -> bool:
            speaker.over.wait(seconds)
            # it is asked again once the answer has been read
            return len(speaker.heads) > 1

        (probed,) = probe(speaker.address, wait=wait)

    assert not probed.is_reached
    assert str(probed) == f"frontend f1 at {speaker.address} {text}"


def test_one_that_hangs_does_not_keep_the_others_from_being_asked() -> None:
    with mute() as silent, Speaker(saying(*[FOREIGN] * 4, OURS)) as speaker:
        probed = probe(silent.address, speaker.address, within_s=2.0)

    assert [one.is_reached for one in probed] == [False, True]
    assert probed[0].last.text in {"has not answered", "did not answer within 2 s"}


def test_one_that_cannot_be_asked_is_told() -> None:
    (probed,) = probe("", within_s=0.1)

    assert not probed.is_reached
    assert str(probed).startswith("frontend f1 at no address cannot be asked: ")


def test_one_whose_lease_is_gone_is_not_asked_any_more_and_holds_nobody_up() -> None:
    with mute() as dying, Speaker(saying(OURS)) as living:
        frontends = {"f1": record(dying.address), "f2": record(living.address)}

        def read() -> list[tuple[str, FrontendRecord]]:
            found = list(frontends.items())
            if living.heads:
                frontends.pop("f1", None)
            return found

        probed = probe_frontends(
            read, instance="web-1", label="main-web", path="/", within_s=PATIENCE_S
        )

    assert [one.frontend for one in probed] == ["f2"]


def test_one_that_is_gone_is_not_asked_behind_our_back() -> None:
    with Speaker(saying(NOBODYS)) as gone, Speaker(saying(*[FOREIGN] * 9, OURS)) as living:
        asked_before: list[int] = []

        def read() -> list[tuple[str, FrontendRecord]]:
            if gone.heads:
                asked_before.append(len(gone.heads))
                return [("f2", record(living.address))]
            return [("f1", record(gone.address))]

        probe_frontends(read, instance="web-1", label="main-web", path="/", within_s=PATIENCE_S)

    # one may have been on its way
    assert len(gone.heads) <= asked_before[0] + 1


def test_what_was_reached_once_is_proved() -> None:
    """The next answer would be another instance's."""
    with Speaker(saying(OURS, FOREIGN)) as one, Speaker(saying(*[FOREIGN] * 5, OURS)) as other:
        probed = probe(one.address, other.address)

    assert [it.is_reached for it in probed] == [True, True]
    assert len(one.heads) == 1


def test_one_that_comes_back_at_another_address_is_asked_there() -> None:
    with Speaker(saying(NOBODYS)) as before, Speaker(saying(OURS)) as after:

        def read() -> list[tuple[str, FrontendRecord]]:
            return [("f1", record((after if before.heads else before).address))]

        (probed,) = probe_frontends(
            read, instance="web-1", label="main-web", path="/", within_s=PATIENCE_S
        )

    assert (probed.address, probed.is_reached) == (after.address, True)


def test_without_a_frontend_nothing_is_proved_until_one_comes() -> None:
    assert probe(within_s=0.0) == ()

    with Speaker(saying(OURS)) as speaker:
        looks = iter([[], [], [("f1", record(speaker.address))]])
        seen: list[tuple[str, FrontendRecord]] = []

        def read() -> list[tuple[str, FrontendRecord]]:
            seen.extend(next(looks, []))
            return seen

        (probed,) = probe_frontends(
            read, instance="web-1", label="main-web", path="/", within_s=PATIENCE_S
        )

    assert probed.is_reached


def test_waiting_and_clock_are_given_and_whoever_waits_may_end_it() -> None:
    now = [0.0]
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        now[0] += seconds
        return len(waits) == 40

    def answer_nothing(_: Question, *, within_s: float) -> Reply:
        asked.append(within_s)
        return Reply("answered 503")

    asked: list[float] = []
    probed = probe_frontends(
        lambda: [("f1", record("10.0.0.5:80"))],
        instance="web-1",
        label="main-web",
        path="/",
        within_s=3600.0,
        ask=answer_nothing,
        wait=wait,
        clock=lambda: now[0],
    )

    assert len(waits) == 40
    assert [one.is_reached for one in probed] == [False]
    wait_until(lambda: asked)
    assert asked[0] == 5.0


def test_nobody_is_asked_once_it_is_over() -> None:
    """What was started for the proof ends with it."""
    with Speaker(saying(FOREIGN)) as speaker:
        probe(speaker.address, within_s=0.2)
        wait_until(lambda: not [it for it in threading.enumerate() if it.name == "probe"])
