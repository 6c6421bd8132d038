"""An endpoint of metadata: requests that are rationed, and never go through a proxy."""

import http.client
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from registrar.aws.ration import Ration
from registrar.exchange import Response, exchange
from registry.faults import MetadataUnavailable
from registry.spread import vary

T = TypeVar("T")

REQUEST_S = 1.0
"""To connect, and again for an answer, as botocore has it: who answers does so in milliseconds."""

BODY_MOST = 1024 * 1024
"""A task has ten containers at most, of some two kilobytes each, and labels of its own choice."""

PAUSE_FIRST_S, PAUSE_MOST_S = 0.25, 2.5
"""Between two tries; it doubles."""

HTTP_PORT = 80


_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")


class Base(NamedTuple):
    """Where an endpoint is.

    Attributes:
        path: That its paths begin with, without a slash at the end.
    """

    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and port, as they stand in a request."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == HTTP_PORT else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"http://{self.authority}{self.path}"


def parse_base(text: str) -> Base:
    """Read the URL of an endpoint.

    Raises:
        ValueError: It is none of plain HTTP, which is all that AWS speaks on a machine.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as exc:
        raise ValueError(f"expected http://host:port/path ({exc})") from exc
    host = parts.hostname or ""
    is_plain = re.fullmatch(r"[!-~]+", text) and not parts.query and port != 0
    if parts.scheme != "http" or not is_plain or not (_HOST.fullmatch(host) or ":" in host):
        raise ValueError("expected http://host:port/path")
    return Base(host, HTTP_PORT if port is None else port, parts.path.rstrip("/"))


class Silence(MetadataUnavailable):
    """A request was taken, and nothing came back. On EC2 that has a reason of its own."""


class Endpoint:
    """Sends requests; threads may share it."""

    def __init__(
        self,
        base: Base,
        ration: Ration,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Asks nothing yet."""
        self.base = base
        self._ration = ration
        self._clock = clock
        self._sleep = sleep
        self._counting = threading.Lock()

    @property
    def may_ask(self) -> bool:
        """Whether a request would be sent at once."""
        with self._counting:
            return self._ration.pause_s(self._clock()) <= 0

    def ask(
        self, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send a request, as soon as our share of the endpoint allows.

        Raises:
            MetadataUnavailable: Nothing came back that is HTTP.
        """
        base = self.base
        asked = f"{method} {base}{path}"
        with self._counting:
            now = self._clock()
            pause_s = self._ration.pause_s(now)
            self._ration.take(now)
        self._sleep(pause_s)
        try:
            link = socket.create_connection((base.host, base.port), timeout=REQUEST_S)
        except TimeoutError:
            text = f"{asked}: no connection within {REQUEST_S:g} s; something drops it"
            raise MetadataUnavailable(text, may_pass=True) from None
        except OSError as exc:
            text = f"{asked}: no connection ({exc.strerror or exc})"
            raise MetadataUnavailable(text, may_pass=True) from None
        ends_at = self._clock() + REQUEST_S
        try:
            with link:
                return exchange(
                    link,
                    method,
                    base.path + path,
                    headers={"Host": base.authority, **(headers or {})},
                    left_s=lambda: ends_at - self._clock(),
                    body_most=BODY_MOST,
                )
        except TimeoutError:
            text = f"{asked}: no answer within {REQUEST_S:g} s"
            raise Silence(text, may_pass=True) from None
        except OSError as exc:
            text = f"{asked}: hung up without an answer ({exc.strerror or exc})"
            raise MetadataUnavailable(text, may_pass=True) from None
        except (http.client.HTTPException, ValueError) as exc:
            text = f"{asked}: the answer is no HTTP that we read ({exc!r:.80})"
            raise MetadataUnavailable(text, may_pass=True) from None


def insist(
    work: Callable[[], T],
    *,
    within_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
    rng: random.Random | None = None,
) -> T:
    """Do what may fail for a moment, until it does not, or the time is over.

    Args:
        within_s: No try begins later.

    Raises:
        MetadataUnavailable: The last one, or the first that will not pass.
    """
    ends_at = clock() + within_s
    rng = rng or random.Random()  # noqa: S311 - spreads tries, guards nothing
    pause_s = PAUSE_FIRST_S
    while True:
        try:
            return work()
        except MetadataUnavailable as fault:
            if not fault.may_pass or clock() + pause_s > ends_at:
                raise
        sleep(vary(pause_s, rng))
        pause_s = min(2 * pause_s, PAUSE_MOST_S)
