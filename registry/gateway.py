"""Calls to whichever endpoint of etcd answers: their order, the token, refusals into faults."""

import random
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from registry.failures import NotSent, fault_of
from registry.faults import Fault, StoreDenied, StoreMisspoken, StoreUnreachable
from registry.refusals import Refused, Verdict
from registry.transport import EtcdSettings, Transport
from registry.wire import body, understand

T = TypeVar("T")
Parse = Callable[[dict[str, Any]], T]

LOGINS_MAX = 3
"""Tokens tried in one call: every change of users or roles makes a JWT invalid, and an operator's
script changes several in a row."""


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
        self.transport = Transport(settings, call_timeout_s=call_timeout_s)
        self._settings = settings
        # in another order for each client, so that not all of them call the first one
        self._endpoints = rng.sample(settings.endpoints, len(settings.endpoints))
        self._clock = clock
        self._failed_at: dict[str, float] = {}
        self._token: str | None = None
        self._login = threading.Lock()
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
            answer = self.transport.ask(path, content, endpoint=endpoint, token=token)
            return understand(answer, parse)

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

    def note_failure(self, endpoint: str) -> None:
        """Try this endpoint after the others from now on."""
        self._failed_at[endpoint] = self._clock()

    def forget_token(self, token: str) -> None:
        """Log in anew at the next call, unless somebody has already."""
        if self._token == token:
            self._token = None

    def close(self) -> None:
        """Let go of all connections; calls from now on fail, those under way may still end."""
        self._closed = True
        self.transport.close()

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
        if not self._settings.user or self._token is not None:
            return self._token or ""
        # whoever comes second waits for the first one's token, as long as a call may take
        if not self._login.acquire(timeout=self.transport.call_timeout_s):
            raise NotSent(f"logging in at etcd takes too long, last at {endpoint}")
        try:
            token = self._token
            if token is None:
                token = self._token = self._fetch_token(endpoint)
        finally:
            self._login.release()
        return token

    def _fetch_token(self, endpoint: str) -> str:
        content = body(name=self._settings.user, password=self._settings.password)
        try:
            answer = self.transport.ask("auth/authenticate", content, endpoint=endpoint, token="")
            return understand(answer, lambda document: str(document["token"]))
        except Refused as refused:
            if refused.verdict is not Verdict.NO_AUTH:
                raise fault_of(refused, endpoint=endpoint) from refused
            return ""
        except StoreUnreachable as fault:
            raise NotSent(str(fault)) from fault
