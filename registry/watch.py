"""One watch on one prefix: opened, read until it ends, closed from any thread.

It never goes on by itself after it ended; ``following`` opens the next one and knows where.
"""

import threading
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from requests import Response
from urllib3.exceptions import HTTPError, ReadTimeoutError

from registry.failures import explain, fault_of
from registry.faults import StoreUnreachable
from registry.gateway import Gateway
from registry.refusals import Refused, Verdict
from registry.transport import Connections
from registry.wire import Batch, Lines, Opened, parse_message, understand, watch_body


class Stream:
    """The lines of an answer that does not end, and a way to free who waits for the next one."""

    def __init__(self, response: Response, *, endpoint: str) -> None:
        self._raw = response.raw
        self._endpoint = endpoint
        self._chunks: Iterator[bytes] = response.raw.stream(None)
        self._lines = Lines()
        self._ready: list[bytes] = []
        self._reading = threading.Lock()
        self._closed = False
        self._limit_s = 0.0

    def wait_at_most(self, limit_s: float) -> None:
        """How long ``read`` waits from now on for a sign of life."""
        self._limit_s = limit_s
        connection = self._raw.connection
        if connection is not None and connection.sock is not None:
            connection.sock.settimeout(limit_s)

    def read(self) -> bytes | None:
        """The next line; None once it was closed, or when nothing came for too long.

        Raises:
            StoreUnreachable: The stream ended or broke.
        """
        with self._reading:
            try:
                return self._read()
            except ReadTimeoutError:
                return None
            except (OSError, HTTPError, ValueError, AttributeError) as exc:
                # the last two: http.client under a reader whose socket is shut down
                if self._closed:
                    return None
                raise explain(
                    exc, endpoint=self._endpoint, limit_s=self._limit_s, sent=True
                ) from exc
            finally:
                if self._closed:
                    self._raw.close()

    def close(self) -> None:
        """End the stream; a ``read`` in another thread returns at once."""
        self._closed = True
        # already ended, or closed twice
        with suppress(OSError, ValueError, RuntimeError):
            self._raw.shutdown()
        # closing under a reader would wait for it; the reader closes when it leaves
        if self._reading.acquire(blocking=False):
            try:
                self._raw.close()
            finally:
                self._reading.release()

    def _read(self) -> bytes | None:
        while not self._ready and not self._closed:
            chunk = next(self._chunks, None)
            if chunk is not None:
                self._ready = self._lines.feed(chunk)[::-1]
            elif rest := self._lines.rest():
                self._lines = Lines()
                return rest
            elif not self._closed:
                raise StoreUnreachable(f"etcd at {self._endpoint} ended the watch")
        return None if self._closed else self._ready.pop()


class Following:
    """Batches of changes in etcd's order, until it is closed, broken, or silent for too long.

    Iterating ends quietly after ``close``, and after ``read_timeout_s`` without a message: silence
    is normal for a quiet prefix, and looks the same on a dead link. Open another one either way.

    Attributes:
        cluster_id: Of the store that was reached.
        revision: Where that store was when the watch was opened. A store that is not even where
            the watch starts has lost history, and stays silent until it gets there.

    Raises:
        StoreUnreachable: Iterating: the watch ended; open another one behind the last batch.
        WatchCompacted: The start lies below what etcd still has; read the whole prefix again.
        StoreDenied: Etcd does not let us see the prefix.
        StoreMisspoken: What came is no message of etcd.
    """

    def __init__(
        self, gateway: Gateway, endpoint: str, token: str, *, prefix: bytes, from_revision: int
    ) -> None:
        self._gateway = gateway
        self._endpoint = endpoint
        self._token = token
        # connections of its own: a watch keeps one busy for as long as it lives
        self._adapter = Connections()
        response = gateway.transport.post(
            "watch",
            watch_body(prefix, from_revision=from_revision),
            adapter=self._adapter,
            endpoint=endpoint,
            token=token,
        )
        self._stream = Stream(response, endpoint=endpoint)
        self._stream.wait_at_most(gateway.transport.call_timeout_s)
        try:
            opened = self._open()
        except BaseException:
            self.close()
            raise
        self.cluster_id, self.revision = opened

    def wait_at_most(self, limit_s: float) -> None:
        """How much silence ends the iteration."""
        self._stream.wait_at_most(limit_s)

    def close(self) -> None:
        """End it. Callable from any thread, any number of times; frees a blocked reader at once."""
        self._stream.close()
        self._adapter.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        while True:
            try:
                line = self._stream.read()
                message = None if line is None else understand(line, parse_message)
            except Refused as refused:
                if refused.verdict in {Verdict.LOGIN, Verdict.DENIED}:
                    self._gateway.forget_token(self._token)
                self._gateway.note_failure(self._endpoint)
                raise fault_of(refused, endpoint=self._endpoint) from refused
            except StoreUnreachable:
                self._gateway.note_failure(self._endpoint)
                raise
            if message is None:
                raise StopIteration
            if isinstance(message, Batch):
                return message

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> Opened:
        line = self._stream.read()
        if line is None:
            raise StoreUnreachable(f"etcd at {self._endpoint} did not answer a watch in time")
        opened = understand(line, parse_message)
        if not isinstance(opened, Opened):
            raise Refused(Verdict.STRANGE, "what should be a watch begins as none")
        return opened
