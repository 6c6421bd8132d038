"""Services for the torture: one process that answers on a port of every loopback address.

``python -m tests.torture.origin PORT [IP S]`` listens, after S seconds, says ``ready``, and answers
each request with the address at which it was reached, so that every answer can be held against the
branch that was asked. Paths::

    /slow/<s>       the same after s seconds       /seen    when each ip was asked last, as JSON
    /download/<s>   ``DOWNLOAD_BYTES`` a second for s seconds

``time.monotonic`` is one clock for all processes of a machine, which ``/seen`` is made of.
"""

import asyncio
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from tests.etcd_server import free_ports

ROOT = Path(__file__).parents[2]

ALL_AT_ONCE = ("0.0.0.0", "0")  # noqa: S104 - all of 127.0.0.0/8

BACKLOG = 4096
"""A frontend that starts anew opens hundreds of connections in a moment."""

DOWNLOAD_BYTES = 200_000
"""A second: more than any buffer on the way swallows."""

CHUNKS = 10
"""Of a download, each second."""

START_S = 20.0
"""Python starts in 0.2 s; on two busy cores it takes longer."""


class Origin:
    """The process, seen from the one who started it."""

    def __init__(self, port: int) -> None:
        self.port = port

    def last_asked(self) -> dict[str, float]:
        """When the newest request reached each ip, on the monotonic clock."""
        link = HTTPConnection("127.0.0.1", self.port, timeout=10.0)
        try:
            link.request("GET", "/seen")
            found: dict[str, float] = json.loads(link.getresponse().read())
        finally:
            link.close()
        return found


@contextmanager
def serve_origin() -> Iterator[Origin]:
    """One origin on all of loopback."""
    (port,) = free_ports(1)
    with subprocess.Popen(
        [sys.executable, "-m", __name__, str(port)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n", "the origin does not start"
            yield Origin(port)
        finally:
            process.kill()


class _Exchange(asyncio.Protocol):
    """One connection: requests one after the other, each answered as its path says."""

    def __init__(self, seen: dict[str, float]) -> None:
        self._seen = seen
        self._unread = b""
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ip, port = transport.get_extra_info("sockname")[:2]
        self._address = f"{self._ip}:{port}"

    def data_received(self, data: bytes) -> None:
        self._unread += data
        self._go_on()

    def _go_on(self, _: object = None) -> None:
        while self._answering is None or self._answering.done():
            head, end, rest = self._unread.partition(b"\r\n\r\n")
            length = _body_length(head)
            if not end or len(rest) < length or self._transport.is_closing():
                return
            self._unread = rest[length:]
            self._answer(head.split(b" ", 2)[1].decode("latin-1"))

    def _answer(self, path: str) -> None:
        _, first, *rest = path.split("/")
        if first == "seen":
            self._send(json.dumps(self._seen))
            return
        self._seen[self._ip] = time.monotonic()
        if first in {"slow", "download"}:
            take = self._answer_late if first == "slow" else self._download
            self._answering = asyncio.create_task(take(float(rest[0])))
            self._answering.add_done_callback(self._go_on)
        else:
            self._send(self._address)

    async def _answer_late(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self._send(self._address)

    async def _download(self, for_s: float) -> None:
        chunks = round(for_s * CHUNKS)
        chunk = bytes(DOWNLOAD_BYTES // CHUNKS)
        self._transport.write(_head(chunks * len(chunk)))
        for _ in range(chunks):
            self._transport.write(chunk)
            await asyncio.sleep(1 / CHUNKS)

    def _send(self, text: str) -> None:
        body = text.encode()
        self._transport.write(_head(len(body)) + body)


def _head(length: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length


def _body_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def _serve(ip: str, port: int) -> None:
    seen: dict[str, float] = {}
    make: Callable[[], _Exchange] = lambda: _Exchange(seen)  # noqa: E731 - one for each connection
    server = await asyncio.get_running_loop().create_server(make, ip, port, backlog=BACKLOG)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await server.serve_forever()


def _main() -> None:
    # as a command under ``registrar run`` it ends like most programs: at once
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port, ip, after_s = (*sys.argv[1:], *ALL_AT_ONCE)[:3]
    time.sleep(float(after_s))
    asyncio.run(_serve(ip, int(port)))


if __name__ == "__main__":
    _main()
