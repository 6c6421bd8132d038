"""A service that takes down every byte that reaches it, and reads it with no leniency at all."""

import re
import socket
import socketserver
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from registry.records import Address
from tests.system.http_reading import Incomplete, values

_LINE = re.compile(rb"([A-Z_a-z-]+) (\S+) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([^\r\n\0]*)")


class Reached:
    """One request that reached a service.

    Attributes:
        raw: Its head as it came.
        trouble: Why it is none that a frontend may send; empty if it is one.
    """

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.trouble = ""
        self.body = b""
        self.is_whole = False
        self.method = self.target = b""
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        line, *fields = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
        parts = _LINE.fullmatch(line)
        found = [_FIELD.fullmatch(field) for field in fields]
        if not parts or not all(found):
            self.trouble = "its head is malformed"
            return
        self.method, self.target = parts[1], parts[2]
        self.headers = tuple((one[1], one[2]) for one in found if one)
        self.trouble = self._objection()

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a header."""
        return values(self.headers, name)

    def _objection(self) -> str:
        lengths = self.values(b"Content-Length")
        codings = self.values(b"Transfer-Encoding")
        if len(lengths) + len(codings) > 1:
            return "its body has two lengths"
        if not all(re.fullmatch(rb"[0-9]+", one) for one in lengths) or codings not in (
            [],
            [b"chunked"],
        ):
            return "its body's length is none"
        return "" if len(self.values(b"Host")) == 1 else "it has not one Host"


class Recorder:
    """A service on loopback that answers ``<name>`` to anything.

    Attributes:
        reached: Every request, in the order of arrival.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.reached: list[Reached] = []
        self._server = _Server(self)
        self.address = str(Address("127.0.0.1", self._server.server_address[1]))

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
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        super().__init__(("127.0.0.1", 0), _Conversation)


class _Conversation(socketserver.StreamRequestHandler):
    server: _Server
    request: socket.socket
    disable_nagle_algorithm = True

    def handle(self) -> None:
        with suppress(OSError):
            while self._answer():
                pass

    def _answer(self) -> bool:
        """Read one request and answer it; false at the end of the connection."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            head += line
            if not line:
                if head:
                    self._note(head).trouble = "its head breaks off"
                return False
        reached = self._note(head)
        if reached.trouble:
            return False
        with suppress(Incomplete):
            self._read_body(reached)
            reached.is_whole = True
        if not reached.is_whole:
            return False
        answer = self.server.recorder.name.encode()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer))
        if reached.method != b"HEAD":
            self.wfile.write(answer)
        return True

    def _note(self, head: bytes) -> Reached:
        reached = Reached(head)
        self.server.recorder.reached.append(reached)
        return reached

    def _read_body(self, reached: Reached) -> None:
        if not reached.values(b"Transfer-Encoding"):
            self._read_bytes(reached, int((reached.values(b"Content-Length") or [b"0"])[0]))
            return
        while True:
            line = self.rfile.readline()
            if not line.endswith(b"\n"):
                raise Incomplete
            if not re.fullmatch(rb"[0-9a-f]+\r\n", line):
                reached.trouble = "its chunks are malformed"
                raise Incomplete
            length = int(line, 16)
            self._read_bytes(reached, length)
            if (end := self.rfile.readline()) != b"\r\n":
                reached.trouble = "its chunks are malformed" if end else ""
                raise Incomplete
            if not length:
                return

    def _read_bytes(self, reached: Reached, length: int) -> None:
        while length:
            found = self.rfile.read1(min(length, 1 << 16))
            if not found:
                raise Incomplete
            reached.body += found
            length -= len(found)
