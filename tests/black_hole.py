"""A TCP proxy that can stop passing things on: to a client, a network that swallows packets."""

import re
import selectors
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_MESSAGE = re.compile(rb"[0-9a-f]+\r\n\{[^\r]*\r\n|.+?(?=[0-9a-f]+\r\n\{|\Z)", re.DOTALL)
"""A chunk that is a document (RFC 9112, section 7.1), as etcd sends them, or what is none."""


class BlackHole:
    """Stands before one server, on a port of its own.

    Attributes:
        url: Where to reach it.
        swallows_answers: Requests go through, answers do not.
        swallows_all: Nothing goes through; connections are still taken.
        loses: Messages with these bytes in them are left out of their stream, which goes on: a
            server that forgets to tell something. Empty for none.
        lost: How often that happened.
    """

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        assert target.hostname is not None
        assert target.port is not None
        self._target = (target.hostname, target.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.swallows_answers = False
        self.swallows_all = False
        self.loses = b""
        self.lost = 0

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _start(self, work: object, *args: socket.socket) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._pass_on, client)

    def _pass_on(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(self._target) as server:
            selector = selectors.DefaultSelector()
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            is_cut = False
            with selector:
                # looks up now and then to notice that the test is over
                while not self._ended.is_set():
                    for key, _ in selector.select(0.05):
                        source, other = key.fileobj, key.data
                        assert isinstance(source, socket.socket)
                        content = source.recv(65536)
                        if not content:
                            return
                        # a connection that lost something never goes on: TCP leaves no gaps
                        is_cut = is_cut or self._swallows(is_answer=source is server)
                        if source is server and self.loses:
                            content = self._without_lost(content)
                        if not is_cut:
                            other.sendall(content)

    def _without_lost(self, content: bytes) -> bytes:
        """What is left of an answer; a watch's first word may come together with what is lost."""
        messages = _MESSAGE.findall(content)
        kept = [message for message in messages if self.loses not in message]
        self.lost += len(messages) - len(kept)
        return b"".join(kept)

    def _swallows(self, *, is_answer: bool) -> bool:
        return self.swallows_all or (self.swallows_answers and is_answer)
