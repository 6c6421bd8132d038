"""A service as a program, for tests in which one is started, killed and found ill.

    python small_service.py NAME PORT [ILL]

It answers its name on any path of 127.0.0.1, and on ``/healthz`` 503 as long as the file ILL is
there. The file's text is how many seconds the answer takes.
"""

import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server(ThreadingHTTPServer):
    """Takes a crowd of connections at once."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of who hangs up in the middle."""


class Exchange(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer."""
        ill = Path(sys.argv[3]) if len(sys.argv) > 3 else None
        status = 200
        if self.path == "/healthz" and ill is not None and ill.exists():
            time.sleep(float(ill.read_text() or 0))
            status = 503
        body = sys.argv[1].encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


if __name__ == "__main__":
    Server.address_family = socket.AF_INET
    server = Server(("127.0.0.1", int(sys.argv[2])), Exchange)
    sys.stdout.write("up\n")
    sys.stdout.flush()
    server.serve_forever(0.01)
