"""One request at a time on a fresh connection: when is the right answer there?"""

import socket
import time
from typing import NamedTuple

TRY_EVERY_S = 0.002
"""As the goal says; a try costs about 0.3 ms on loopback."""

ANSWER_WITHIN_S = 2.0
"""Loopback answers in a millisecond; longer means that the connection was lost in a reload."""


class Answer(NamedTuple):
    """What came back; status 0 if nothing did."""

    status: int
    body: str


def ask(port: int, host: str) -> Answer:
    """Ask once on a fresh connection."""
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_WITHIN_S) as connection:
            connection.sendall(request)
            received = b""
            while part := connection.recv(65536):
                received += part
    except OSError:
        return Answer(0, "")
    head, _, body = received.partition(b"\r\n\r\n")
    status = head[9:12]
    return Answer(int(status) if status.isdigit() else 0, body.decode(errors="replace"))


def is_served(port: int, host: str, address: str) -> bool:
    """Whether the host is answered by the service at the address, and by no other."""
    status, body = ask(port, host)
    return status == 200 and address in body


def seconds_until_served(
    port: int, host: str, address: str, *, since_at: float, within_s: float
) -> float | None:
    """Try every 2 ms until the right answer comes; None if it never came.

    Args:
        since_at: The point on ``time.perf_counter`` that the seconds are counted from.
    """
    next_at = time.perf_counter()
    while next_at - since_at < within_s:
        if is_served(port, host, address):
            return time.perf_counter() - since_at
        next_at = max(next_at + TRY_EVERY_S, time.perf_counter())
        time.sleep(max(0.0, next_at - time.perf_counter()))
    return None
