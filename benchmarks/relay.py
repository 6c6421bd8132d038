"""Counts what goes over a connection, both ways, as it is on the wire but for TCP's own headers."""

import selectors
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

READ_BYTES = 1 << 16

LOOK_EVERY_S = 0.1
"""How long the end of it may take."""


class Relay:
    """Stands before one server, on a port of its own, for a handful of connections.

    Attributes:
        url: Where to reach it.
        sent: Bytes towards the server.
        received: Bytes from it.
    """

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        self._target = (target.hostname or "", target.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._pass_on, name="relay", daemon=True)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent = self.received = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _pass_on(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._ended.is_set():
                for key, _ in selector.select(LOOK_EVERY_S):
                    if key.fileobj is self._listener:
                        self._accept(selector)
                    else:
                        self._pass(selector, key)
            for key in list(selector.get_map().values()):
                _close(key.fileobj)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection(self._target)
        for link in (near, far):
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(near, selectors.EVENT_READ, far)
        selector.register(far, selectors.EVENT_READ, near)

    def _pass(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        link, other = key.fileobj, key.data
        # the first of a pair that ends ends the other, which may be in the same list
        if not isinstance(link, socket.socket) or link.fileno() < 0:
            return
        data = b""
        with suppress(OSError):
            data = link.recv(READ_BYTES)
            other.sendall(data)
        if not data:
            for one in (link, other):
                selector.unregister(one)
                _close(one)
        elif other.getpeername() == self._target:
            self.sent += len(data)
        else:
            self.received += len(data)


def _close(link: object) -> None:
    if isinstance(link, socket.socket):
        link.close()
