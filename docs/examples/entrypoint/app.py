"""A service as small as they come; it knows nothing of branchfront."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hello(BaseHTTPRequestHandler):
    """Says hello, on every path."""

    def do_GET(self) -> None:
        """Answer."""
        body = b"hello from the entrypoint example\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


# on all interfaces, or nobody outside of the container reaches it
ThreadingHTTPServer(("0.0.0.0", 8000), Hello).serve_forever()
