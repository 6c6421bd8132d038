"""Proof that a registration is served: a request through each frontend that reached this instance.

A frontend's record says what it has applied. Whether somebody who asks it gets through to the
instance is known only by asking: at the frontend's own address, under the service's host, until
``X-Served-By`` names the instance. What is asked and what an answer means is pure; the asking is a
thread a frontend, so that one that hangs holds up no other.
"""

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote

from registrar.exchange import exchange
from registry.names import is_domain
from registry.records import Address, FrontendRecord
from registry.refusals import printable

REQUEST_S = 5.0
"""For one request: a service that is being developed takes seconds over its first answer."""

PAUSE_S = 0.05
"""Between two requests, and between two looks at which frontends there are: a frontend applies a
change in about 100 ms, so a shorter pause would only ask twice."""

LEAST_S = 0.1
"""A request that had less time would say nothing of the frontend, only that time was up."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a frontend is asked.

    Attributes:
        host: What people ask for, without a port.
        path: Where the service says that it is well, or ``/``.
    """

    address: Address
    host: str
    path: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one request.

    Attributes:
        text: How to go on behind the frontend's name: ``answered 503``, ``refuses connections``.
        instance: Which one answered, by its real name; empty if none did.
    """

    text: str
    instance: str = ""


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

    def __str__(self) -> str:
        return f"frontend {self.frontend} at {self.address or 'no address'} {self.last.text}"


class Ask(Protocol):
    """Sends one request; whatever comes of it is the reply."""

    def __call__(self, question: Question, /, *, within_s: float) -> Reply:
        """Ask once."""


def build_question(record: FrontendRecord, *, label: str, path: str) -> Question:
    """What to ask a frontend to reach the service that has a label. Pure.

    Raises:
        ValueError: Its record has no address or no domain to ask for; says so after its name.
    """
    try:
        address = Address.parse(record.address)
    except ValueError as exc:
        raise ValueError(f"cannot be asked: {exc}") from exc
    if not is_domain(record.domain):
        raise ValueError(f"cannot be asked: {record.domain[:60]!r} is no domain")
    return Question(address, f"{label}.{record.domain}", path)


def read_reply(status: int, served_by: str) -> Reply:
    """What an answer means. Pure.

    Args:
        served_by: The header ``X-Served-By``, in which names that are not plain are
            percent-encoded; empty on a page of the frontend's own, such as for 503.
    """
    instance = unquote(served_by)
    if not instance:
        return Reply(f"answered {status}")
    return Reply(f"answered {status} from instance {printable(instance)}", instance)


def ask_once(
    question: Question, *, within_s: float, clock: Callable[[], float] = time.monotonic
) -> Reply:
    """Send one request on a connection of its own; only the head of the response is read."""
    ends_at = clock() + within_s
    where = (question.address.ip, question.address.port)
    try:
        with socket.create_connection(where, timeout=within_s) as link:
            response = exchange(
                link,
                "GET",
                question.path,
                headers={"Host": question.host},
                left_s=lambda: ends_at - clock(),
            )
    except TimeoutError:
        return Reply(f"did not answer within {within_s:.3g} s")
    except ConnectionRefusedError:
        return Reply("refuses connections")
    except ConnectionError:
        return Reply("hung up without an answer")
    except OSError as exc:
        return Reply(f"cannot be asked: {exc.strerror or exc}")
    except (http.client.HTTPException, ValueError):
        return Reply("does not answer as HTTP")
    return read_reply(response.status, response.headers.get("X-Served-By", ""))


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
    within_s: float,
    ask: Ask = ask_once,
    wait: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Probed, ...]:
    """Ask every live frontend for a service until one instance of it has answered through each.

    A frontend whose record goes meanwhile is not asked any more; one that comes is asked as well.
    While there is none at all nothing is proved, so one is waited for.

    Args:
        read_frontends: Those that are alive, by their ids, each with its record.
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
                asked[key].start(ask, label=label, path=path, give_up_at=give_up_at)
            probed = tuple(asked[key].probed() for key in live)
            left_s = give_up_at - clock()
            is_proved = bool(probed) and all(one.is_reached for one in probed)
            if is_proved or left_s <= 0 or wait(min(PAUSE_S, left_s)):
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
        self._last = Reply("has not answered")
        self._over = threading.Event()

    def start(self, ask: Ask, *, label: str, path: str, give_up_at: float) -> None:
        """Begin to ask, if its record says where."""
        try:
            question = build_question(self._record, label=label, path=path)
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
            self._last = ask(question, within_s=min(REQUEST_S, max(left_s, LEAST_S)))
            if self._last.instance == self._instance or self._over.wait(PAUSE_S):
                return
            left_s = give_up_at - self._clock()
            if left_s < LEAST_S:
                return
