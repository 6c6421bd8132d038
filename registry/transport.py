"""HTTP towards one endpoint of etcd's JSON gateway: connections, deadlines, TLS.

``requests`` is used below its ``Session``, which costs a third of a call, and reads proxies and
certificates from the environment (with ``REQUESTS_CA_BUNDLE`` set, ``verify`` is ignored). Each
thread has connections of its own, and so has each watch.
"""

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import Timeout
from urllib3.exceptions import HTTPError

from registry.failures import explain
from registry.faults import StoreUnreachable
from registry.refusals import judge_answer

CONNECT_TIMEOUT_S = 2.0
"""A host that is there answers in milliseconds; a SYN that was lost is sent again after 1 s."""

BODY_TIMEOUTS = 5
"""A long list may take this many call timeouts to arrive, once it has begun."""

READ_BYTES = 1 << 20
"""Read at most this much at once: a list of 6 MB in a few pieces."""

KEEPALIVE_S, KEEPALIVE_PAUSE_S, KEEPALIVE_TRIES = 5, 2, 3
"""A watch says nothing for minutes; a peer that went without a word, its host's power cut or its
address somebody else's by now, is found out after 11 s at most, by the kernel alone."""

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


class Connections(HTTPAdapter):
    """Connections to the endpoints, on which the kernel asks whether the other end is there."""

    def __init__(self, endpoints: int = 1) -> None:
        super().__init__(pool_connections=endpoints, pool_maxsize=1)

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        """As ``requests`` does, with options of ours for each socket."""
        super().init_poolmanager(*arguments, **named, socket_options=_socket_options())


def _socket_options() -> list[tuple[int, int, int]]:
    options = [
        # urllib3's own default: a request goes out at once
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ]
    pace = {
        "TCP_KEEPIDLE": KEEPALIVE_S,
        "TCP_KEEPINTVL": KEEPALIVE_PAUSE_S,
        "TCP_KEEPCNT": KEEPALIVE_TRIES,
    }
    # macOS has another name for the first of them
    known = {name: seconds for name, seconds in pace.items() if hasattr(socket, name)}
    return options + [
        (socket.IPPROTO_TCP, getattr(socket, name), number) for name, number in known.items()
    ]


class Transport:
    """Sends requests and reads answers. Thread safe; make it after a fork, not before.

    Attributes:
        call_timeout_s: How long an endpoint has for an answer to begin.
    """

    def __init__(
        self,
        settings: EtcdSettings,
        *,
        call_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.call_timeout_s = call_timeout_s
        self._settings = settings
        self._clock = clock
        self._local = threading.local()
        self._adapters: WeakSet[Connections] = WeakSet()

    def ask(self, path: str, content: bytes, *, endpoint: str, token: str) -> bytes:
        """Send a request and read the whole answer.

        Raises:
            StoreUnreachable, StoreDenied, StoreMisspoken: It came to nothing on the way.
            Refused: The status is not 200.
        """
        adapter = getattr(self._local, "adapter", None)
        if adapter is None:
            adapter = Connections(len(self._settings.endpoints))
            self._local.adapter = adapter
            self._adapters.add(adapter)
        response = self.post(path, content, adapter=adapter, endpoint=endpoint, token=token)
        return self._read(response, endpoint)

    def post(
        self, path: str, content: bytes, *, adapter: HTTPAdapter, endpoint: str, token: str
    ) -> Response:
        """Send a request and wait for the head of the answer; raises as ``ask`` does."""
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

    def close(self) -> None:
        """Let go of the connections that are not in use."""
        for adapter in list(self._adapters):
            adapter.close()

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
