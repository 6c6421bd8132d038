"""One request over HTTP and its response, within one deadline, whatever the other side does.

A plain client's: no redirects, no proxies, a connection for each request.
"""

import http.client
import io
import socket
from collections.abc import Callable, Mapping
from email.message import Message
from typing import NamedTuple


class Response(NamedTuple):
    """What came back.

    Attributes:
        body: No more of it than was asked for.
    """

    status: int
    headers: Message
    body: bytes


def exchange(
    link: socket.socket,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str],
    left_s: Callable[[], float],
    body_most: int = 0,
) -> Response:
    """Send a request and read its response, as long as there is time.

    Args:
        headers: With ``Host``; what every client sends is added.
        left_s: Seconds that are left, now.
        body_most: Bytes of a body that are read; of what is longer nothing counts.

    Raises:
        OSError, http.client.HTTPException, ValueError: There was no response, none of HTTP's, or a
            longer one.
    """
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
    lines += ["User-Agent: registrar", "Accept: */*", "Connection: close", "", ""]
    link.settimeout(_some(left_s()))
    link.sendall("\r\n".join(lines).encode())
    response = http.client.HTTPResponse(_Timed(link, left_s), method=method)  # type: ignore[arg-type]
    try:
        response.begin()
        body = response.read(body_most + 1) if body_most else b""
        if len(body) <= body_most and body_most and response.length:
            # http.client does not complain of that where it was told how much to read
            raise http.client.IncompleteRead(body, response.length)
    finally:
        response.close()
    if len(body) > body_most:
        raise ValueError(f"the body has more than {body_most} bytes")
    return Response(response.status, response.headers, body)


class _Timed(io.RawIOBase):
    """Reads from a connection for as long as there is time, however it trickles in."""

    def __init__(self, link: socket.socket, left_s: Callable[[], float]) -> None:
        self._link = link
        self._left_s = left_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        self._link.settimeout(_some(self._left_s()))
        return self._link.recv_into(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What ``http.client`` asks a socket for."""
        return io.BufferedReader(self)


def _some(left_s: float) -> float:
    """Seconds for a socket.

    Raises:
        TimeoutError: There are none left; a socket would take 0 for not waiting at all.
    """
    if left_s <= 0:
        raise TimeoutError
    return left_s
