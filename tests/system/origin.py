"""Small real services for tests to put behind a frontend, on the standard library alone.

``Origin`` answers HTTP by path; ``refusing`` holds a port that refuses; ``Forwarder`` passes TCP
on. All are context managers, and nothing of them is left behind one.
"""

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from registry.records import Address
from tests.etcd_server import wait_until

PATIENCE_S = 20.0
"""The longest that anything in here waits for a test that has forgotten it."""

CHUNK_BYTES = 1 << 16

_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, section 1.3."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it reached the service.

    Attributes:
        target: As it stood in the request line.
        headers: All of them, in order.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body_bytes: int

    def values(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for found, value in self.headers if found.lower() == name.lower()]

    def value(self, name: str) -> str:
        """A header that came once; empty if it did not come."""
        found = self.values(name)
        assert len(found) <= 1, found
        return found[0] if found else ""


class Origin:
    """A service on loopback.

    It answers ``<name>`` on any path but these::

        /status/<n>  that status, and a body of its own     /events  server-sent events, see emit
        /wait        nothing until release() or the end     /drop    reads and hangs up
        /upload      the number of bytes that came          /socket  WebSocket echo
        /accel       X-Accel-* headers                      /large   12 kB of response headers

    Args:
        idle_s: After so long without a request it closes a connection, as services do.
        headers: What it sends along with its name.

    Attributes:
        seen: Every request, in the order of arrival.
        received_bytes: Of the upload that runs now.
        connections: Opened so far.
    """

    def __init__(
        self,
        name: str = "origin",
        *,
        ip: str = "127.0.0.1",
        idle_s: float = 60,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.headers = headers or {}
        self.idle_s = idle_s
        self.seen: list[Seen] = []
        self.received_bytes = 0
        self.connections = 0
        self._events = threading.Semaphore(0)
        self._released = threading.Event()
        self._server = _Server(self, ip)
        self.port: int = self._server.server_address[1]
        self.address = str(Address(ip, self.port))

    def __enter__(self) -> Self:
        serve = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        serve.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()

    def emit(self) -> None:
        """Send the next event to who reads ``/events``."""
        self._events.release()

    def release(self) -> None:
        """Let ``/wait`` answer."""
        self._released.set()

    def wait_until_idle(self, *, within_s: float) -> None:
        """Wait until the other side has closed all connections."""
        wait_until(lambda: not self._server.links, within_s=within_s)

    def wait_for_event(self) -> bool:
        """Wait for ``emit``; false where it is not called any more."""
        return self._events.acquire(timeout=PATIENCE_S)

    def wait_for_release(self) -> None:
        """Wait for ``release``."""
        self._released.wait(PATIENCE_S)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, origin: Origin, ip: str) -> None:
        self.origin = origin
        self.address_family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        self.links: set[socket.socket] = set()
        super().__init__((ip, 0), _Exchange)

    def process_request(self, request: socket.socket, client_address: Any) -> None:  # type: ignore[override]
        self.links.add(request)
        self.origin.connections += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        self.links.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A peer that hangs up in the middle is what some tests are about."""

    def hang_up(self) -> None:
        """End every connection that is still open."""
        for link in list(self.links):
            _hang_up(link)


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a body waits 40 ms behind its headers
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(self.server.origin.idle_s)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""

    def _answer(self) -> None:
        origin = self.server.origin
        target = self.requestline.split(" ")[1]
        headers = tuple(self.headers.items())
        if not target.startswith("/upload"):
            origin.seen.append(Seen(self.command, target, headers, self._read_body(self.headers)))
        first, *rest = target.partition("?")[0].strip("/").split("/")
        answers: dict[str, Callable[[], None]] = {
            "status": lambda: self._send(f"the service's own {rest[0]}", status=int(rest[0])),
            "wait": self._wait,
            "events": self._send_events,
            "drop": self._drop,
            "upload": lambda: self._upload(target, headers),
            "socket": self._echo_messages,
            "accel": lambda: self._send("mine", headers=_ACCEL),
            "large": lambda: self._send("large", headers=_LARGE),
        }
        answers.get(first, lambda: self._send(origin.name, headers=origin.headers))()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _answer  # noqa: N815

    def _send(
        self, text: str, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        # a body behind 204 would be taken for the answer to the connection's next request
        body = None if status in {204, 304} else text.encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if body is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body is not None and self.command != "HEAD":
            self.wfile.write(body)

    def _read_body(self, headers: Message) -> int:
        """Read a body away, counting as it comes."""
        origin = self.server.origin
        origin.received_bytes = 0
        if headers["Transfer-Encoding"] == "chunked":
            while length := int(self.rfile.readline(), 16):
                origin.received_bytes += len(self.rfile.read(length))
                self.rfile.readline()
            self.rfile.readline()
        left = int(headers["Content-Length"] or 0)
        while left and (found := self.rfile.read(min(left, CHUNK_BYTES))):
            left -= len(found)
            origin.received_bytes += len(found)
        return origin.received_bytes

    def _upload(self, target: str, headers: tuple[tuple[str, str], ...]) -> None:
        received = self._read_body(self.headers)
        self.server.origin.seen.append(Seen(self.command, target, headers, received))
        self._send(json.dumps({"received": received}))

    def _wait(self) -> None:
        self.server.origin.wait_for_release()
        self._send(self.server.origin.name)

    def _drop(self) -> None:
        self.close_connection = True

    def _send_events(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        number = 0
        while self.server.origin.wait_for_event():
            event = f"data: {number}\n\n"
            self.wfile.write(f"{len(event):x}\r\n{event}\r\n".encode())
            number += 1

    def _echo_messages(self) -> None:
        """A WebSocket that says what it is told (RFC 6455; frames up to 64 KiB, no fragments)."""
        key = self.headers["Sec-WebSocket-Key"].encode()
        accept = base64.b64encode(hashlib.sha1(key + _WEBSOCKET_GUID).digest())  # noqa: S324 - RFC
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept.decode())
        self.end_headers()
        self.close_connection = True
        self.connection.settimeout(PATIENCE_S)
        while len(head := self.rfile.read(2)) == 2:
            length = head[1] & 0x7F
            if length == 126:
                length = int.from_bytes(self.rfile.read(2))
            mask = self.rfile.read(4)
            told = self.rfile.read(length)
            said = bytes(byte ^ mask[place % 4] for place, byte in enumerate(told))
            self.wfile.write(bytes([head[0]]) + _length(len(said)) + said)
            if head[0] & 0x0F == 8:
                return


_ACCEL = {
    "X-Accel-Redirect": "/status/204",
    "X-Accel-Limit-Rate": "1",
    "X-Accel-Charset": "koi8-r",
    "X-Accel-Expires": "60",
    "X-Accel-Buffering": "no",
}

_LARGE = {f"X-Large-{number}": "x" * 4000 for number in range(3)}


def _length(count: int) -> bytes:
    return bytes([count]) if count < 126 else b"\x7e" + count.to_bytes(2)


@contextmanager
def refusing() -> Iterator[str]:
    """An address of loopback that refuses connections, and that nobody else gets meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield str(Address(*held.getsockname()))


class Forwarder:
    """Passes every connection on to another port of loopback, as it is.

    Attributes:
        address: Where it listens.
        connections: Opened so far.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = str(Address(*self._listener.getsockname()[:2]))
        self.connections = 0
        self._links: list[socket.socket] = [self._listener]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for link in self._links:
            _hang_up(link)
            link.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._links.append(near)
            try:
                far = socket.create_connection(self._target, timeout=PATIENCE_S)
            except OSError:
                _hang_up(near)
                continue
            self._links.append(far)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while found := source.recv(CHUNK_BYTES):
            sink.sendall(found)
    _hang_up(source)
    _hang_up(sink)


def _hang_up(link: socket.socket) -> None:
    with suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)
