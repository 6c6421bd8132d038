"""One question to a service, and its answer as a sentence. IO, within one deadline."""

import errno
import http.client
import selectors
import socket
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from typing import NamedTuple, Protocol, cast

from registrar.exchange import exchange
from registry.records import Address

HANG_UP_S = 0.02
"""For a proxy that accepts in place of a service, as Docker's does for a published port, to find
that nobody listens behind it: 0.2 to 3 ms were seen."""

PASSES = range(200, 400)
"""A redirect is an answer of a service that runs; where it leads is not followed."""


class Answer(NamedTuple):
    """What came of a question.

    Attributes:
        passed: The service may get requests; None where that is not known.
        words: What it answered, such as ``10.0.0.5:8080 refuses connections``.
    """

    passed: bool | None
    words: str


class Ask(Protocol):
    """Asks a service once."""

    def __call__(self, address: Address, *, within_s: float) -> Answer:
        """Ask at an address; whatever goes wrong is an answer as well."""


def ask_port(address: Address, *, within_s: float) -> Answer:
    """See whether the port accepts a connection, and keeps it."""
    try:
        link = socket.create_connection((address.ip, address.port), timeout=within_s)
    except OSError as exc:
        return Answer(passed=False, words=_explain(exc, address, within_s=within_s))
    with link, suppress(TimeoutError):
        # whoever listens waits for a request, and is silent
        link.settimeout(HANG_UP_S)
        try:
            has_hung_up = not link.recv(1)
        except ConnectionError:
            has_hung_up = True
        if has_hung_up:
            return Answer(passed=False, words=f"{address} hangs up at once")
    return Answer(passed=True, words=f"{address} accepts connections")


class Unanswered(NamedTuple):
    """Who did not accept a connection.

    Attributes:
        refused: Their hosts said so: nobody listens there.
        silent: Nothing came at all: nobody is there, or too busy to take one more.
    """

    refused: frozenset[Address]
    silent: frozenset[Address]


def find_unanswered(addresses: Iterable[Address], *, within_s: float) -> Unanswered:
    """Ask several addresses at the same time; one that could not be asked is in neither."""
    silent: set[Address] = set()
    refused: set[Address] = set()
    with ExitStack() as links, selectors.DefaultSelector() as waiting:
        for address in sorted(set(addresses), key=str):
            family = socket.AF_INET6 if ":" in address.ip else socket.AF_INET
            try:
                link = links.enter_context(socket.socket(family, socket.SOCK_STREAM))
            except OSError:
                # out of files: nothing is known of it
                continue
            link.setblocking(False)  # noqa: FBT003 - the library's
            if link.connect_ex((address.ip, address.port)) in {0, errno.EINPROGRESS}:
                waiting.register(link, selectors.EVENT_WRITE, address)
                silent.add(address)
            else:
                refused.add(address)
        ends_at = time.monotonic() + within_s
        # what is there is read, however late we are ourselves
        while waiting.get_map() and (found := waiting.select(max(0, ends_at - time.monotonic()))):
            for key, _ in found:
                link = cast("socket.socket", key.fileobj)
                waiting.unregister(link)
                silent.discard(key.data)
                if link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    refused.add(key.data)
    return Unanswered(frozenset(refused), frozenset(silent))


def ask_path(path: str) -> Ask:
    """Make what asks for a path with GET, as a plain client would: no redirects, no proxies."""
    # everybody reads the sentences, and what stands behind a question mark may be a secret
    shown = path.partition("?")[0]

    def ask(address: Address, *, within_s: float) -> Answer:
        deadline = time.monotonic() + within_s
        try:
            with socket.create_connection((address.ip, address.port), timeout=within_s) as link:
                response = exchange(
                    link,
                    "GET",
                    path,
                    headers={"Host": str(address)},
                    left_s=lambda: deadline - time.monotonic(),
                )
        except TimeoutError:
            words = f"GET http://{address}{shown} was not answered within {within_s:g} s"
            return Answer(passed=False, words=words)
        except OSError as exc:
            return Answer(passed=False, words=_explain(exc, address, within_s=within_s))
        except (http.client.HTTPException, ValueError) as exc:
            words = f"GET http://{address}{shown} was answered with what is not HTTP ({exc!r:.80})"
            return Answer(passed=False, words=words)
        words = f"GET http://{address}{shown} answered {response.status}"
        return Answer(passed=response.status in PASSES, words=words)

    return ask


def _explain(exc: OSError, address: Address, *, within_s: float) -> str:
    if isinstance(exc, ConnectionRefusedError):
        return f"{address} refuses connections"
    if isinstance(exc, TimeoutError):
        return f"{address} accepts no connection within {within_s:g} s"
    if isinstance(exc, ConnectionError):
        return f"{address} hangs up without an answer"
    return f"{address} cannot be reached: {exc.strerror or exc}"
