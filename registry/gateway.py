"""HTTP towards etcd's JSON gateway: endpoints, deadlines, TLS, the token, failures into faults.

``requests`` is used below its sessions: they cost a third of a call, and read proxies and
certificates from the environment (with ``REQUESTS_CA_BUNDLE`` set, a session's own ``verify`` is
ignored). Each thread has connections of its own, and so has each watch.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakSet

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import Timeout
from urllib3.exceptions import HTTPError

from registry.failures import NotSent, explain, fault_of
from registry.faults import Fault, StoreDenied, StoreMisspoken, StoreUnreachable
from registry.refusals import Refused, Verdict, judge_answer
from registry.wire import body, understand

T = TypeVar("T")
Parse = Callable[[dict[str, Any]], T]

CONNECT_TIMEOUT_S = 2.0
"""A host that is there answers in milliseconds; a SYN that was lost is sent again after 1 s."""

BODY_TIMEOUTS = 5
"""A long list may take this many call timeouts to arrive, once it has begun."""

LOGINS_MAX = 3
"""Tokens tried in one call: every change of users or roles makes a JWT invalid, and an operator's
script changes several in a row."""

READ_BYTES = 1 << 20
"""Read at most this much at once: a list of 6 MB in a few pieces."""

_OK = 200


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """Where etcd is and who we are to it.

    Attributes:
        endpoints: ``http://host:port`` or ``https://host:port``, without credentials.
        ca: File with the certificates that may sign etcd's; empty for those of the system's
            package ``certifi``.
        cert: File with our client certificate. With users enabled in etcd it must not have a CN.
        key: File with the client certificate's key.
    """

    endpoints: tuple[str, ...]
    user: str = ""
    password: str = field(default="", repr=False)
    ca: str = ""
    cert: str = ""
    key: str = ""


class Gateway:
    """Calls to whichever endpoint answers. Thread safe; make it after a fork, not before."""

    def __init__(
        self,
        settings: EtcdSettings,
        *,
        call_timeout_s: float,
        rng: random.Random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.call_timeout_s = call_timeout_s
        self._settings = settings
        # in another order for each client, so that not all of them call the first one
        self._endpoints = rng.sample(settings.endpoints, len(settings.endpoints))
        self._clock = clock
        self._failed_at: dict[str, float] = {}
        self._token: str | None = None
        self._login = threading.Lock()
        self._local = threading.local()
        self._adapters: WeakSet[HTTPAdapter] = WeakSet()
        self._closed = False

    def call(self, path: str, content: bytes, parse: Parse[T], *, repeatable: bool) -> T:
        """Ask the endpoints one after the other until one answers, each at most once.

        Args:
            path: Behind ``/v3/``.
            content: The body.
            parse: Reads the answer.
            repeatable: Carrying it out twice does no harm. What is not is given up as soon as it
                may have reached a server.

        Raises:
            StoreUnreachable: Nobody answered. What was to be written may have been.
            StoreDenied: User, password, role or certificate is not good enough. Nothing changed.
            StoreMisspoken: What answers is no gateway, or takes the call for nonsense.
            LeaseLost: The call named a lease that is gone. Nothing changed.
        """

        def attempt(endpoint: str, token: str) -> T:
            return understand(self._ask(path, content, endpoint=endpoint, token=token), parse)

        return self.try_endpoints(attempt, repeatable=repeatable)

    def try_endpoints(
        self, attempt: Callable[[str, str], T], *, repeatable: bool = True, turn: int = 0
    ) -> T:
        """Call ``attempt(endpoint, token)`` until one succeeds; ``turn`` chooses who is first.

        Whoever failed comes after those who did not, the longest ago first: a dead member costs
        its timeout once, not every time.
        """
        if not self._endpoints:
            raise StoreUnreachable("no endpoint of etcd is set")
        first = turn % len(self._endpoints)
        candidates = self._endpoints[first:] + self._endpoints[:first]
        faults: list[Fault] = []
        for endpoint in sorted(candidates, key=lambda one: self._failed_at.get(one, 0.0)):
            if self._closed:
                raise StoreUnreachable("the connection to etcd was closed on our side")
            try:
                answer = self._attempt_logged_in(endpoint, attempt)
            except (StoreUnreachable, StoreMisspoken) as fault:
                self.note_failure(endpoint)
                faults.append(fault)
                if not (repeatable or isinstance(fault, NotSent)):
                    break
            else:
                self._failed_at.pop(endpoint, None)
                return answer
        if len(faults) == 1:
            raise faults[0]
        nobody_is_etcd = all(isinstance(fault, StoreMisspoken) for fault in faults)
        kind: type[Fault] = StoreMisspoken if nobody_is_etcd else StoreUnreachable
        raise kind("; ".join(map(str, faults))) from faults[-1]

    def post(
        self, path: str, content: bytes, *, adapter: HTTPAdapter, endpoint: str, token: str
    ) -> Response:
        """Send a request and wait for the head of the answer.

        Raises:
            StoreUnreachable, StoreDenied, StoreMisspoken: As in ``call``.
            Refused: The status is not 200.
        """
        request = PreparedRequest()
        request.method = "POST"
        request.url = f"{endpoint}/v3/{path}"
        request.body = content
        request.headers = CaseInsensitiveDict(
            {"Content-Type": "application/json", "Content-Length": str(len(content))}
        )
        if token:
            request.headers["Authorization"] = token
        if path == "watch":
            # a member that has lost its leader then ends the watch instead of falling silent
            request.headers["Grpc-Metadata-hasleader"] = "true"
        limit_s = self.call_timeout_s
        timeout = Timeout(connect=min(limit_s, CONNECT_TIMEOUT_S), read=limit_s, total=limit_s)
        settings = self._settings
        try:
            response = adapter.send(
                request,
                stream=True,
                timeout=timeout,  # type: ignore[arg-type] # adapters take urllib3's own as well
                verify=settings.ca or True,
                cert=(settings.cert, settings.key) if settings.cert else None,
            )
        except (OSError, HTTPError) as exc:
            raise explain(exc, endpoint=endpoint, limit_s=limit_s) from exc
        if response.status_code != _OK:
            raise judge_answer(response.status_code, self._read(response, endpoint))
        return response

    def note_failure(self, endpoint: str) -> None:
        """Try this endpoint after the others from now on."""
        self._failed_at[endpoint] = self._clock()

    def forget_token(self, token: str) -> None:
        """Log in anew at the next call, unless somebody has already."""
        with self._login:
            if self._token == token:
                self._token = None

    def close(self) -> None:
        """Let go of all connections; calls from now on fail, those under way may still end."""
        self._closed = True
        for adapter in list(self._adapters):
            adapter.close()

    def _ask(self, path: str, content: bytes, *, endpoint: str, token: str) -> bytes:
        adapter = getattr(self._local, "adapter", None)
        if adapter is None:
            adapter = HTTPAdapter(pool_connections=len(self._endpoints), pool_maxsize=1)
            self._local.adapter = adapter
            self._adapters.add(adapter)
        response = self.post(path, content, adapter=adapter, endpoint=endpoint, token=token)
        return self._read(response, endpoint)

    def _read(self, response: Response, endpoint: str) -> bytes:
        """Read an answer to its end, within a deadline even if it trickles in."""
        limit_s = self.call_timeout_s * BODY_TIMEOUTS
        ends_at = self._clock() + limit_s
        parts = []
        try:
            while part := response.raw.read1(READ_BYTES):
                parts.append(part)
                if self._clock() > ends_at:
                    response.close()
                    raise StoreUnreachable(
                        f"etcd at {endpoint} did not finish within {limit_s:g} s"
                    )
        except (OSError, HTTPError) as exc:
            response.close()
            raise explain(exc, endpoint=endpoint, limit_s=self.call_timeout_s, sent=True) from exc
        response.raw.release_conn()
        return b"".join(parts)

    def _attempt_logged_in(self, endpoint: str, attempt: Callable[[str, str], T]) -> T:
        for _ in range(LOGINS_MAX):
            known = self._token
            token = self._log_in(endpoint)
            try:
                return attempt(endpoint, token)
            except Refused as refused:
                # etcd 3.5.1 denies a watch whose token ran out as if the role forbade it, so only
                # what is denied to a fresh token is denied
                is_stale = refused.verdict is Verdict.DENIED and known and known == token
                if not is_stale and refused.verdict is not Verdict.LOGIN:
                    raise fault_of(refused, endpoint=endpoint) from refused
                if not self._settings.user:
                    raise StoreDenied(
                        f"etcd at {endpoint} wants a user and a password, and none is set"
                    ) from refused
                self.forget_token(token)
        raise StoreUnreachable(f"etcd at {endpoint} took none of {LOGINS_MAX} fresh tokens")

    def _log_in(self, endpoint: str) -> str:
        """The token in use; a fresh one where there is none. Empty: none is needed."""
        if not self._settings.user:
            return ""
        with self._login:
            if self._token is None:
                content = body(name=self._settings.user, password=self._settings.password)
                try:
                    answer = self._ask("auth/authenticate", content, endpoint=endpoint, token="")
                    self._token = understand(answer, lambda document: str(document["token"]))
                except Refused as refused:
                    if refused.verdict is not Verdict.NO_AUTH:
                        raise fault_of(refused, endpoint=endpoint) from refused
                    self._token = ""
                except StoreUnreachable as fault:
                    raise NotSent(str(fault)) from fault
            return self._token
