"""Proof that a registration is served: a request through each frontend that reached this instance.

A frontend's record says what it has applied. Whether somebody who asks it gets through to this
instance is known only by asking: at the frontend's own address, under the service's host, until
``X-Served-By`` names the instance. Each is asked by a thread of its own, so that one that hangs
holds up no other.

By TLS, what is proved is that this registration is served there. Whether browsers would believe the
certificate is not: those of test domains are often signed by nobody whom we know, and who could
stand in between could do so on the way without TLS as well.
"""

import base64
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from registrar.exchange import Response, exchange
from registrar.questions import Question, Reply, build_question, follow, read_reply
from registry.records import FrontendRecord

REQUEST_S = 5.0
"""For one question, with all that it leads to: a service that is being developed takes seconds over
its first answer."""

PAUSE_S = 0.05
"""Between two requests, and between two looks at which frontends there are: a frontend applies a
change in about 100 ms, so a shorter pause would only ask twice."""

LEAST_S = 0.1
"""A request that had less time would say nothing of the frontend, only that time was up."""

UNASKED = Reply("has not answered")


@dataclass(frozen=True, slots=True)
class Probed:
    """How it went with one frontend.

    Attributes:
        address: As it stands in the frontend's record.
        last: Of the last request, whether it reached the instance or not.
    """

    frontend: str
    address: str
    is_reached: bool
    last: Reply

    @property
    def is_turned_away(self) -> bool:
        """Whether we are not let in there."""
        return self.last.is_turned_away

    def __str__(self) -> str:
        return f"frontend {self.frontend} at {self.address or 'no address'} {self.last.text}"


class Ask(Protocol):
    """Asks, and goes where it is sent; whatever comes of it is the reply."""

    def __call__(self, question: Question, /, *, within_s: float) -> Reply:
        """Ask once."""


def ask_once(
    question: Question, *, within_s: float, clock: Callable[[], float] = time.monotonic
) -> Reply:
    """Ask, and go where the frontend sends us; of each response only the head is read."""
    ends_at = clock() + within_s
    while True:
        try:
            response = _send(question, left_s=lambda: ends_at - clock())
        except (OSError, http.client.HTTPException, ValueError) as exc:
            text = _explain(exc, within_s=within_s)
            return _on_its_way(question, Reply(text, is_late=isinstance(exc, TimeoutError)))
        following = follow(question, response)
        if following is None:
            return _on_its_way(question, read_reply(question, response))
        question = following


def unreached(probed: Sequence[Probed]) -> tuple[str, ...]:
    """What keeps a registration from being reached through all frontends, a sentence each. Pure.

    None if it is; where no frontend is alive, that is what keeps it.
    """
    if not probed:
        return ("no frontend is alive",)
    return tuple(str(one) for one in probed if not one.is_reached)


def probe_frontends(
    read_frontends: Callable[[], Iterable[tuple[str, FrontendRecord]]],
    *,
    instance: str,
    label: str,
    path: str,
    login: str = "",
    within_s: float,
    ask: Ask = ask_once,
    wait: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Probed, ...]:
    """Ask every live frontend for a service until one instance of it has answered through each.

    A frontend whose record goes meanwhile is not asked any more; one that comes is asked as well.
    While there is none at all nothing is proved, so one is waited for. It ends before its time
    where nothing else can come of it: each has led to the instance, or has turned us away.

    Args:
        read_frontends: Those that are alive, by their ids, each with its record.
        login: ``user:password`` for those that ask for one.
        wait: Given the seconds; what is true ends the waiting early, such as ``Event.wait``.

    Returns:
        How it went with each that is alive in the end.
    """
    give_up_at = clock() + within_s
    asked: dict[tuple[str, str, str], _Asking] = {}
    try:
        while True:
            # one that was started again with other settings is another one to ask
            live = {(name, one.address, one.domain): one for name, one in read_frontends()}
            for gone in asked.keys() - live.keys():
                asked.pop(gone).stop()
            for key in live.keys() - asked.keys():
                asked[key] = _Asking(key[0], live[key], instance=instance, clock=clock)
                asked[key].start(ask, label=label, path=path, login=login, give_up_at=give_up_at)
            probed = tuple(asked[key].probed() for key in live)
            left_s = give_up_at - clock()
            is_settled = bool(probed) and all(
                one.is_reached or one.is_turned_away for one in probed
            )
            if is_settled or left_s <= 0 or wait(min(PAUSE_S, left_s)):
                return probed
    finally:
        for asking in asked.values():
            asking.stop()


class _Asking:
    """One frontend, asked again and again until the instance itself answers."""

    def __init__(
        self,
        frontend: str,
        record: FrontendRecord,
        *,
        instance: str,
        clock: Callable[[], float],
    ) -> None:
        self._frontend = frontend
        self._record = record
        self._instance = instance
        self._clock = clock
        self._last = UNASKED
        self._over = threading.Event()

    def start(self, ask: Ask, *, label: str, path: str, login: str, give_up_at: float) -> None:
        """Begin to ask, if its record says where."""
        try:
            question = build_question(self._record, label=label, path=path, login=login)
        except ValueError as exc:
            self._last = Reply(str(exc))
            return
        # a daemon: a request that is on its way must not hold up the end of the process
        threading.Thread(
            target=self._run, args=(ask, question, give_up_at), name="probe", daemon=True
        ).start()

    def stop(self) -> None:
        """Send no further request."""
        self._over.set()

    def probed(self) -> Probed:
        """How it has gone up to now."""
        last = self._last
        return Probed(self._frontend, self._record.address, last.instance == self._instance, last)

    def _run(self, ask: Ask, question: Question, give_up_at: float) -> None:
        left_s = give_up_at - self._clock()
        while True:
            within_s = min(REQUEST_S, max(left_s, LEAST_S))
            reply = ask(question, within_s=within_s)
            # one that the end has cut short says less than whatever came of the one before it
            if within_s == REQUEST_S or not reply.is_late or self._last is UNASKED:
                self._last = reply
            if reply.instance == self._instance or reply.is_turned_away:
                return
            if self._over.wait(PAUSE_S):
                return
            left_s = give_up_at - self._clock()
            if left_s < LEAST_S:
                return


def _explain(exc: Exception, *, within_s: float) -> str:
    """Why there was no answer."""
    if isinstance(exc, TimeoutError):
        return f"did not answer within {within_s:.3g} s"
    if isinstance(exc, ConnectionRefusedError):
        return "refuses connections"
    if isinstance(exc, ConnectionError | ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "hung up without an answer"
    if isinstance(exc, ssl.SSLError):
        return f"does not answer as TLS ({exc.reason})"
    if isinstance(exc, OSError):
        return f"cannot be asked: {exc.strerror or exc}"
    return "does not answer as HTTP"


def _on_its_way(question: Question, reply: Reply) -> Reply:
    """A reply that says by whom we were sent to where it came from."""
    if not question.is_secure:
        return reply
    return replace(reply, text=f"sends us to https at {question.address}, which {reply.text}")


def _send(question: Question, *, left_s: Callable[[], float]) -> Response:
    """One request on a connection of its own."""
    headers = {"Host": question.host}
    if question.says_login:
        told = base64.b64encode(question.login.encode()).decode()
        headers["Authorization"] = f"Basic {told}"
    where = (question.address.ip, question.address.port)
    # who has less time left than that is told so as soon as it is connected
    with socket.create_connection(where, timeout=max(left_s(), LEAST_S)) as link:
        if not question.is_secure:
            return exchange(link, "GET", question.path, headers=headers, left_s=left_s)
        link.settimeout(max(left_s(), LEAST_S))
        with _believing().wrap_socket(link, server_hostname=question.host) as secure:
            return exchange(secure, "GET", question.path, headers=headers, left_s=left_s)


def _believing() -> ssl.SSLContext:
    """TLS with whoever answers, whatever certificate is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
