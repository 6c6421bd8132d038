"""Included: what a frontend is asked, what its answers mean, and asking for real on loopback.

With TLS and with passwords as well; frontends that are closed for real are in tests/system.
"""

import base64
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from email.message import Message
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regenerator.render import readable
from registrar.exchange import Response
from registrar.questions import Question, Reply, build_question, follow, read_reply
from registrar.served import Probed, ask_once, probe_frontends
from registry.records import Address, FrontendRecord
from tests.certificates import Authority
from tests.etcd_server import wait_until
from tests.strategies import branches
from tests.system.origin import refusing

PATIENCE_S = 10.0
"""The longest that a speaker waits for a test that has forgotten it."""

OURS = b"HTTP/1.1 200 OK\r\nX-Served-By: web-1\r\nContent-Length: 0\r\n\r\n"
FOREIGN = OURS.replace(b"web-1", b"web-2")
NOBODYS = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
CLOSED = NOBODYS.replace(b"404", b"401").replace(
    b"Cont", b'WWW-Authenticate: Basic realm="x"\r\nCont'
)

HOST = "main-web.dev.example.com"
LOGIN = "anna:open: sesame"


class Speaker:
    """Takes connections on loopback and says to each what ``answer`` gives, in pieces.

    Args:
        tls: It speaks TLS, with this.

    Attributes:
        heads: Every request, as it came.
    """

    def __init__(
        self,
        answer: Callable[[int], Iterator[bytes]],
        *,
        ip: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        self.heads: list[bytes] = []
        self.over = threading.Event()
        self._answer = answer
        self._tls = tls
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
        if self._tls is not None:
            try:
                link = self._tls.wrap_socket(link, server_side=True)
            except OSError:
                return
        with closing(link):
            head = b""
            # what begins with this is TLS, and has no such end
            while b"\r\n\r\n" not in head and not head.startswith(b"\x16"):
                part = link.recv(4096)
                if not part:
                    return
                head += part
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
    return Question(Address.parse(speaker.address), HOST, "/")


@pytest.fixture(name="tls", scope="module")
def _tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """Of a server whose certificate is for another host, and signed by nobody whom we know."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*Authority(tmp_path_factory.mktemp("tls")).sign("other"))
    return context


def sending(to: str) -> Callable[[int], Iterator[bytes]]:
    """A frontend that sends who asks without TLS to an address, under the host that is asked."""
    port = Address.parse(to).port
    return saying(f"HTTP/1.1 308 Permanent\r\nLocation: https://{HOST}:{port}/\r\n\r\n".encode())


def response(status: int, **headers: str) -> Response:
    """Each name as Python writes it: ``X_Served_By``."""
    message = Message()
    for name, text in headers.items():
        message[name.replace("_", "-")] = text
    return Response(status, message, b"")


def login_in(head: bytes) -> str:
    """What a request says who we are; empty if it does not."""
    lines = [line for line in head.decode().split("\r\n") if line.startswith("Authorization: ")]
    assert len(lines) <= 1
    return (
        base64.b64decode(lines[0].removeprefix("Authorization: Basic ")).decode() if lines else ""
    )


def record(address: str) -> FrontendRecord:
    return FrontendRecord(address=address, domain="dev.example.com")


def probe(
    *addresses: str,
    within_s: float = PATIENCE_S,
    path: str = "/",
    login: str = "",
    wait: Callable[[float], object] = time.sleep,
) -> tuple[Probed, ...]:
    frontends = [(f"f{number}", record(one)) for number, one in enumerate(addresses, start=1)]
    return probe_frontends(
        lambda: frontends,
        instance="web-1",
        label="main-web",
        path=path,
        login=login,
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


ASKED = Question(Address("10.0.0.5", 8080), HOST, "/")


@pytest.mark.parametrize(
    ("served_by", "reply"),
    [
        ("web-1", Reply("answered 502 from instance web-1", "web-1")),
        ("10.0.0.5:8080", Reply("answered 502 from instance 10.0.0.5:8080", "10.0.0.5:8080")),
        ("", Reply("answered 502")),
    ],
)
def test_an_answer_is_whose_it_says(served_by: str, reply: Reply) -> None:
    assert read_reply(ASKED, response(502, X_Served_By=served_by)) == reply


@given(branches)
def test_an_instance_is_known_by_its_real_name_however_nginx_writes_it(name: str) -> None:
    assert read_reply(ASKED, response(200, X_Served_By=readable(name))).instance == name


@given(st.text())
def test_no_answer_steers_a_terminal(served_by: str) -> None:
    assert read_reply(ASKED, response(200, X_Served_By=served_by)).text.isprintable()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize(("port", "expected"), [("", 443), (":8443", 8443), (":443", 443)])
def test_a_frontend_with_tls_is_asked_at_its_own_ip_and_under_the_same_host(
    status: int, port: str, expected: int
) -> None:
    asked = replace(ASKED, path="/healthz?a=1", login=LOGIN)

    following = follow(asked, response(status, Location=f"https://{HOST}{port}/healthz?a=1"))

    assert following == replace(asked, address=Address("10.0.0.5", expected), is_secure=True)


@pytest.mark.parametrize(
    "location",
    [
        "",
        f"http://{HOST}:8443/",
        f"https://{HOST}:8443/login",
        f"https://{HOST}:8443/?a",
        f"https://{HOST}:0/",
        f"https://{HOST}:65536/",
        f"https://{HOST}:8443",
        f"https://{HOST}.evil.example/",
        f"https://{HOST.replace('.', 'x')}/",
        f"https://{HOST}@evil.example/",
        "https://evil.example/",
        "https://10.0.0.9:8443/",
        "//evil.example/",
    ],
)
def test_a_redirect_to_anywhere_else_is_an_answer(location: str) -> None:
    answer = response(308, Location=location)

    assert follow(ASKED, answer) is None
    assert read_reply(ASKED, answer) == Reply("answered 308")


def test_nobody_is_sent_to_https_by_a_service_by_a_page_or_a_second_time() -> None:
    leading = response(308, Location=f"https://{HOST}:8443/")
    of_service = response(308, Location=f"https://{HOST}:8443/", X_Served_By="web-2")
    page = response(200, Location=f"https://{HOST}:8443/")

    assert follow(replace(ASKED, is_secure=True), leading) is None
    assert follow(ASKED, of_service) is None
    assert follow(ASKED, page) is None


BASIC = response(401, WWW_Authenticate='Basic realm="dev.example.com"')


def test_the_login_is_said_once_and_only_to_a_frontend_that_asks_for_it() -> None:
    asked = replace(ASKED, login=LOGIN)
    said = replace(asked, says_login=True)

    assert follow(asked, BASIC) == said
    assert follow(said, BASIC) is None
    assert follow(ASKED, BASIC) is None
    assert follow(asked, response(401)) is None
    assert follow(asked, response(401, WWW_Authenticate="Bearer")) is None
    assert follow(asked, response(403, WWW_Authenticate="Basic")) is None
    # a service may have a password of its own
    assert follow(asked, response(401, WWW_Authenticate="Basic x", X_Served_By="web-1")) is None


@pytest.mark.parametrize(
    ("asked", "answer", "words"),
    [
        (ASKED, BASIC, "it wants a password; set PROBE_LOGIN to user:password"),
        (replace(ASKED, login=LOGIN, says_login=True), BASIC, "to the user and password of PROBE_"),
        (replace(ASKED, login=LOGIN), response(401), "it wants a sign-in (AUTH_URL)"),
        (ASKED, response(403), "it lets in other networks than ours (ALLOW_CLIENTS)"),
        (replace(ASKED, login=LOGIN, says_login=True), response(403), "file of its BASIC_AUTH may"),
    ],
)
def test_who_is_not_let_in_is_told_what_would_help(
    asked: Question, answer: Response, words: str
) -> None:
    reply = read_reply(asked, answer)

    assert reply.is_turned_away
    assert reply.text.startswith(f"answered {answer.status}")
    assert words in reply.text
    assert "sesame" not in f"{reply!r}{asked!r}"


@pytest.mark.parametrize("status", [401, 403])
def test_a_service_that_lets_in_nobody_is_reached(status: int) -> None:
    reply = read_reply(ASKED, response(status, X_Served_By="web-1"))

    assert reply == Reply(f"answered {status} from instance web-1", "web-1")


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
    with refusing() as nobody, mute() as silent, Speaker(saying(b"")) as closing_it:
        texts = [
            ask_once(asked, within_s=within_s).text
            for asked, within_s in (
                (Question(Address.parse(nobody), HOST, "/"), PATIENCE_S),
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


@pytest.mark.parametrize(
    ("within_s", "first", "text"),
    [
        (3600.0, Reply("answered 502"), "did not answer within 5 s"),
        (4.9, Reply("answered 502"), "answered 502"),
        (4.9, Reply("did not answer within 4.9 s", is_late=True), "did not answer within 4.9 s"),
    ],
)
def test_an_answer_is_told_rather_than_that_time_was_up_for_the_next(
    within_s: float, first: Reply, text: str
) -> None:
    replies = [first, Reply("did not answer within 5 s", is_late=True)]
    times: list[float] = []
    looks: list[bool] = []

    def answer_late(_: Question, *, within_s: float) -> Reply:
        times.append(within_s)
        return replies[min(len(times), 2) - 1]

    def wait(seconds: float) -> bool:
        time.sleep(seconds)
        # the second reply is kept, or not, before a third is asked for; then it is looked at
        looks.append(len(times) > 2)
        return looks.count(True) > 1

    (probed,) = probe_frontends(
        lambda: [("f1", record("10.0.0.5:80"))],
        instance="web-1",
        label="main-web",
        path="/",
        within_s=within_s,
        ask=answer_late,
        wait=wait,
        clock=lambda: 0.0,
    )

    assert probed.last.text == text


def test_nobody_is_asked_once_it_is_over() -> None:
    """What was started for the proof ends with it."""
    with Speaker(saying(FOREIGN)) as speaker:
        probe(speaker.address, within_s=0.2)
        wait_until(lambda: not [it for it in threading.enumerate() if it.name == "probe"])


def test_it_is_reached_by_tls_whoever_has_signed_that(tls: ssl.SSLContext) -> None:
    """With several instances it goes both ways again."""
    named: list[str | None] = []
    tls.sni_callback = lambda _link, name, _context: named.append(name)
    with (
        Speaker(saying(FOREIGN, NOBODYS, OURS), tls=tls) as secure,
        Speaker(sending(secure.address)) as plain,
    ):
        (probed,) = probe(plain.address, login=LOGIN)

    assert probed.is_reached
    assert probed.address == plain.address
    assert str(probed).endswith(
        f"sends us to https at {secure.address}, which answered 200 from instance web-1"
    )
    assert (len(plain.heads), len(secure.heads)) == (3, 3)
    assert set(named) == {HOST}
    for head in (*plain.heads, *secure.heads):
        assert head.startswith(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n".encode())
        assert not login_in(head)


def test_by_tls_at_its_own_ip(tls: ssl.SSLContext) -> None:
    with (
        Speaker(saying(OURS), ip="::1", tls=tls) as secure,
        Speaker(sending(secure.address), ip="::1") as plain,
    ):
        assert ask_once(question(plain), within_s=PATIENCE_S).instance == "web-1"


def test_a_login_does_not_go_in_the_clear_to_who_has_tls(tls: ssl.SSLContext) -> None:
    with (
        Speaker(saying(CLOSED, OURS), tls=tls) as secure,
        Speaker(sending(secure.address)) as plain,
    ):
        (probed,) = probe(plain.address, login=LOGIN)

    assert probed.is_reached
    assert [login_in(head) for head in plain.heads] == [""]
    assert [login_in(head) for head in secure.heads] == ["", LOGIN]


def test_without_tls_it_goes_to_who_asks_for_it() -> None:
    with Speaker(saying(CLOSED, OURS)) as closed, Speaker(saying(OURS)) as open_one:
        probed = probe(closed.address, open_one.address, login=LOGIN)

    assert [one.is_reached for one in probed] == [True, True]
    assert [login_in(head) for head in closed.heads] == ["", LOGIN]
    assert [login_in(head) for head in open_one.heads] == [""]


@pytest.mark.parametrize(("login", "times"), [("", 1), (LOGIN, 2)])
def test_who_is_turned_away_does_not_ask_again_and_waits_no_longer(login: str, times: int) -> None:
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        speaker.over.wait(seconds)
        return len(waits) == 600

    with Speaker(saying(CLOSED)) as speaker:
        (probed,) = probe(speaker.address, login=login, within_s=3600.0, wait=wait)
        wait_until(lambda: not [it for it in threading.enumerate() if it.name == "probe"])

    assert probed.is_turned_away
    assert not probed.is_reached
    assert len(waits) < 600
    assert [login_in(head) for head in speaker.heads] == ["", login][:times]


def test_one_that_turns_us_away_does_not_hide_how_it_goes_with_the_others() -> None:
    with Speaker(saying(CLOSED)) as closed, Speaker(saying(*[FOREIGN] * 5, OURS)) as open_one:
        probed = probe(closed.address, open_one.address)

    assert [one.is_turned_away for one in probed] == [True, False]
    assert [one.is_reached for one in probed] == [False, True]
    # it is not asked as often as the other
    assert len(closed.heads) == 1


def test_who_does_not_speak_tls_is_told_apart(tls: ssl.SSLContext) -> None:
    with (
        refusing() as nobody,
        socket.create_server(("127.0.0.1", 0)) as silent,
        Speaker(saying(NOBODYS)) as clear,
        Speaker(saying(b""), tls=tls) as closing_it,
    ):
        mute_one = str(Address("127.0.0.1", silent.getsockname()[1]))
        texts = []
        for to, within_s in (
            (nobody, PATIENCE_S),
            (clear.address, PATIENCE_S),
            (closing_it.address, PATIENCE_S),
            (mute_one, 0.1),
        ):
            with Speaker(sending(to)) as plain:
                text = ask_once(question(plain), within_s=within_s).text
                texts.append(text.removeprefix(f"sends us to https at {to}, which "))

    refused, no_tls, hanging_up, mute_text = texts
    assert refused == "refuses connections"
    assert no_tls.startswith("does not answer as TLS (")
    assert hanging_up == "hung up without an answer"
    assert mute_text == "did not answer within 0.1 s"
