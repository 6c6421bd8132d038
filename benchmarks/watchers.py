"""``python -m benchmarks.watchers PORT COUNT``: as many browsers as that, looking at the page.

Each follows the page's event stream as an EventSource does: it comes back a moment after nginx or
the dashboard has ended the stream, and says what it was told last. It ends when it is told to.
"""

import asyncio
import random
import sys
from contextlib import suppress

DOMAIN = "localhost"

BACK_S = (1.0, 2.0)
"""What the server tells an EventSource."""


async def watch(port: int) -> None:
    """One browser."""
    last = b""
    while True:
        with suppress(OSError):
            last = await _follow(port, last)
        await asyncio.sleep(random.uniform(*BACK_S))


async def _follow(port: int, last: bytes) -> bytes:
    """Follow a stream to its end; gives the id of the last event."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    known = b"Last-Event-ID: %s\r\n" % last if last else b""
    writer.write(
        b"GET /events?since= HTTP/1.1\r\nHost: %s:%d\r\nAccept: text/event-stream\r\n%s\r\n"
        % (DOMAIN.encode(), port, known)
    )
    try:
        while chunk := await reader.read(1 << 16):
            _, found, rest = chunk.rpartition(b"\nid: ")
            last = rest.split(b"\n")[0] if found else last
    finally:
        writer.close()
    return last


async def main() -> None:
    """All of them, for ever."""
    port, count = map(int, sys.argv[1:])
    await asyncio.gather(*(watch(port) for _ in range(count)))


if __name__ == "__main__":
    asyncio.run(main())
