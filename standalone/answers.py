"""Asks nginx as a browser would, on a machine whose resolver does not know ``*.localhost``."""

import http.client
import time
from dataclasses import dataclass

from standalone.ports import LOOPBACK

ANSWER_S = 2.0
"""For one page from our own nginx on loopback."""

OK = 200
HTTP_PORT = 80


def web_url(host: str, port: int) -> str:
    """The address people open; browsers leave the usual port away."""
    return f"http://{host}" if port == HTTP_PORT else f"http://{host}:{port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back on one request."""

    status: int
    body: str
    took_s: float


def ask(port: int, host: str) -> Answer:
    """Ask nginx for a host's front page, once: names below localhost are resolved by browsers only.

    Raises:
        OSError: No answer came.
    """
    begun_at = time.monotonic()
    link = http.client.HTTPConnection(LOOPBACK, port, timeout=ANSWER_S)
    try:
        link.request("GET", "/", headers={"Host": host, "Connection": "close"})
        answer = link.getresponse()
        body = answer.read().decode(errors="replace")
    except http.client.HTTPException as exc:
        raise OSError(f"no HTTP answer: {exc!r}") from exc
    finally:
        link.close()
    return Answer(answer.status, body, time.monotonic() - begun_at)
