"""A service for containers: ``python3 -c`` this text. It runs on any Python 3, and needs nothing.

It answers ``SAYS`` on any path of port ``PORT`` (8000), and on ``/healthz`` 503 as long as /tmp/ill
is there. A signal that asks it to end is obeyed after ``LINGER`` seconds, in which it goes on to
answer; with ``DEAF`` none is obeyed.
"""

import os
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Takes a crowd of connections at once."""

    daemon_threads = True
    request_queue_size = 128
    address_family = socket.AF_INET6 if os.environ.get("BIND") == "::" else socket.AF_INET

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of who hangs up in the middle."""


class Exchange(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer."""
        is_ill = self.path == "/healthz" and os.path.exists("/tmp/ill")  # noqa: PTH110
        body = os.environ.get("SAYS", "").encode()
        self.send_response(503 if is_ill else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


def end(*_: object) -> None:
    """Go on for a while, and end."""
    threading.Timer(float(os.environ.get("LINGER", "0")), os._exit, [0]).start()


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGRTMIN + 3):
        signal.signal(number, signal.SIG_IGN if "DEAF" in os.environ else end)
    at = os.environ.get("BIND", "0.0.0.0"), int(os.environ.get("PORT", "8000"))  # noqa: S104
    Server(at, Exchange).serve_forever(0.01)
