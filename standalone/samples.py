"""Two small services to try things with: ``web``, a page for people, and ``api``, JSON.

``python -m standalone.samples`` reads NAME, SERVICE and PORT, as the registrar that starts it does.
It listens on loopback, or on BIND: 0.0.0.0 in a container.
"""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from registry.names import digits

SHOWN = (
    "Host",
    "X-Request-Id",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "User-Agent",
)
"""Request headers that say how a request came here."""

IDLE_S = 60
"""A connection that says nothing for so long is closed."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One running copy of a sample service.

    Attributes:
        links: Addresses of other services of the branch, by their names.
    """

    branch: str
    service: str
    instance: str
    links: Mapping[str, str] = field(default_factory=dict)

    def page(self, headers: Mapping[str, str]) -> str:
        """The page of ``web``."""
        fields = {"branch": self.branch, "service": self.service, "instance": self.instance}
        hue = int(digits(self.branch), 16) % 360  # a colour of its own: two tabs are told apart
        links = "".join(
            f'<a href="{escape(url)}">{escape(name)}<span>{escape(url)}</span></a>'
            for name, url in self.links.items()
        )
        return _PAGE.format(
            hue=hue,
            title=escape(title(self.branch, self.service)),
            branch=escape(self.branch),
            fields=_rows(fields),
            links=links,
            headers=_rows(headers),
        )

    def document(self, headers: Mapping[str, str]) -> str:
        """The JSON of ``api``."""
        fields = {
            "title": title(self.branch, self.service),
            "branch": self.branch,
            "service": self.service,
            "instance": self.instance,
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "headers": dict(headers),
        }
        return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"


def title(branch: str, service: str) -> str:
    """What the answers of a service carry, whatever their form."""
    return f"{branch} {service}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # an idle browser does not keep us from ending

    def __init__(self, ip: str, port: int, sample: Sample) -> None:
        super().__init__((ip, port), _Requests)
        self.sample = sample


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    server: _Server

    def do_GET(self) -> None:
        """Say who we are, on every path."""
        sample = self.server.sample
        headers = {name: self.headers[name] for name in SHOWN if name in self.headers}
        if sample.service == "web":
            kind, text = "text/html", sample.page(headers)
        else:
            kind, text = "application/json", sample.document(headers)
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the name is how the base class finds it

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: nginx has an access log."""


def main() -> None:
    """Serve until SIGTERM; with LINKED, also until stdin ends, so as not to outlive a demo."""
    environ = os.environ
    links = json.loads(environ.get("LINKS", "{}"))
    ip = environ.get("BIND", "127.0.0.1")
    # a container's host name is its id
    host = socket.gethostname() if "BIND" in environ else ip
    instance = f"{host}:{environ['PORT']}"
    sample = Sample(environ["NAME"], environ["SERVICE"], instance, links)
    if environ.get("LINKED"):
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    _Server(ip, int(environ["PORT"]), sample).serve_forever()


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)  # the main thread waits for connections, and nobody is left to miss a farewell


def _rows(fields: Mapping[str, str]) -> str:
    return "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in fields.items())


_PAGE = """<!doctype html>
<html lang="en" style="--hue: {hue}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark; --ink: #1d2330; --soft: #667085; --paper: #f6f7f9;
  --card: #fff; --line: #e4e7ec; --own: hsl(var(--hue) 60% 32%) }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e8eaf0; --soft: #98a2b3;
  --paper: #12151c; --card: #1b1f29; --line: #2c3240; --own: hsl(var(--hue) 62% 62%) }} }}
* {{ box-sizing: border-box; margin: 0 }}
body {{ background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  padding: clamp(1rem, 5vw, 4rem) 1rem }}
main {{ max-width: 46rem; margin: auto; background: var(--card); border: 1px solid var(--line);
  border-top: 6px solid var(--own); border-radius: 12px; padding: clamp(1.25rem, 4vw, 2.5rem) }}
h1 {{ font-size: clamp(1.6rem, 5vw, 2.4rem); line-height: 1.2; color: var(--own);
  overflow-wrap: anywhere }}
p, h2 {{ color: var(--soft); font-size: .95rem; font-weight: 400 }}
h2 {{ margin: 2rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line) }}
dl {{ display: grid; grid-template-columns: minmax(6rem, 10rem) 1fr; gap: .35rem 1rem;
  align-items: baseline }}
h1 + p {{ margin-bottom: 1.5rem }}
dt {{ color: var(--soft) }}
dd {{ font-family: ui-monospace, monospace; font-size: .9rem; overflow-wrap: anywhere }}
nav {{ margin-top: 1.5rem }}
a {{ display: inline-block; padding: .6rem 1rem; border-radius: 8px; text-decoration: none;
  color: var(--card); background: var(--own); font-weight: 600 }}
a span {{ display: block; font-weight: 400; font-size: .8rem; overflow-wrap: anywhere }}
a:hover {{ filter: brightness(1.1) }} a:focus-visible {{ outline: 3px solid var(--ink) }}
</style>
</head>
<body>
<main>
<h1>{branch}</h1>
<p>A sample service, answering from this branch.</p>
<dl>{fields}</dl>
<nav>{links}</nav>
<h2>How your request came here</h2>
<dl>{headers}</dl>
</main>
</body>
</html>
"""

if __name__ == "__main__":
    main()
