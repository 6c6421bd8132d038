"""A stand-in for oauth2-proxy, which no package registry has: its endpoints, as documented.

It speaks what its pages "Endpoints", "Integration: nginx" and "Overview" (7.14) say of
``--reverse-proxy``: ``/oauth2/auth`` answers 202 or 401, ``/oauth2/start`` goes to the provider
with a CSRF cookie and a state, ``/oauth2/callback`` comes back with both and sets the session. The
provider itself is a URL in a redirect.
"""

import re
import secrets
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, quote, urlencode, urlsplit

PROVIDER = "https://provider.test/authorize"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    body_bytes: int


@dataclass(slots=True)
class SignInProxy:
    """Listens on loopback.

    Args:
        cookie: ``--cookie-name``.
        domain: ``--cookie-domain``; empty for cookies of the host alone.
        whitelist: ``--whitelist-domain``.

    Attributes:
        sessions: Values of the session cookie that are signed in.
        renewed: ``Set-Cookie`` lines that ``/oauth2/auth`` sends along, as with
            ``--cookie-refresh``.
        status: What ``/oauth2/auth`` answers to who is signed in.
        asked: Every request, in the order of arrival.
    """

    cookie: str = "_oauth2_proxy"
    domain: str = ""
    whitelist: str = ""
    sessions: set[str] = field(default_factory=set)
    renewed: tuple[str, ...] = ()
    status: int = 202
    asked: list[Asked] = field(default_factory=list)
    _server: ThreadingHTTPServer = field(init=False)

    def __post_init__(self) -> None:
        self._server = _Server(self)

    @property
    def url(self) -> str:
        """Where a frontend finds it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def sign_in(self) -> str:
        """A session, as the value of the cookie."""
        value = secrets.token_urlsafe(16)
        self.sessions.add(value)
        return value

    def set_cookie(self, name: str, value: str, *, age_s: int = 604800) -> str:
        """A ``Set-Cookie`` line as it writes them, with its date full of commas and spaces."""
        domain = f"; Domain={self.domain}" if self.domain else ""
        expires = "; Expires=Wed, 21 Oct 2037 07:28:00 GMT"
        return f"{name}={value}; Path=/{domain}{expires}; Max-Age={age_s}; HttpOnly; SameSite=Lax"

    def is_allowed(self, redirect: str) -> bool:
        """Whether it would send a browser there."""
        if redirect.startswith("/"):
            return not re.match(r"/[/\\]|/\s*[/\\]", redirect)
        found = urlsplit(redirect)
        allowed = urlsplit(f"//{self.whitelist.removeprefix('.')}")
        if found.scheme not in {"http", "https"} or not self.whitelist:
            return False
        host, suffix = found.hostname or "", allowed.hostname or ""
        is_below = self.whitelist.startswith(".") and host.endswith(f".{suffix}")
        return (host == suffix or is_below) and found.port == allowed.port


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, proxy: SignInProxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Exchange)

    def handle_error(self, request: object, client_address: object) -> None:
        """A peer that hangs up is nobody's fault."""


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""

    def _answer(self) -> None:
        proxy = self.server.proxy
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        proxy.asked.append(Asked(self.command, self.path, headers, len(body)))
        path, _, query = self.path.partition("?")
        given = {name: values[0] for name, values in parse_qs(query).items()}
        cookies = SimpleCookie(self.headers.get("Cookie") or "")
        answers = {
            "/oauth2/auth": lambda: self._judge(cookies),
            "/oauth2/start": lambda: self._start(given),
            "/oauth2/sign_in": lambda: self._send(200, "<form action=/oauth2/start>"),
            "/oauth2/callback": lambda: self._come_back(given, cookies),
            "/oauth2/sign_out": self._sign_out,
        }
        answers.get(path, lambda: self._send(404, "no such page"))()

    do_GET = do_HEAD = do_POST = _answer  # noqa: N815

    def _judge(self, cookies: SimpleCookie) -> None:
        proxy = self.server.proxy
        found = cookies.get(proxy.cookie)
        if found is None or found.value not in proxy.sessions:
            self._send(401, "Unauthorized")
            return
        self._send(proxy.status, "", cookies=proxy.renewed)

    def _start(self, given: Mapping[str, str]) -> None:
        proxy = self.server.proxy
        wanted = given.get("rd") or self.headers.get("X-Auth-Request-Redirect") or "/"
        redirect = wanted if proxy.is_allowed(wanted) else "/"
        nonce = secrets.token_urlsafe(8)
        state = f"{nonce}:{redirect}"
        where = f"{PROVIDER}?{urlencode({'state': state, 'client_id': 'branchfront'})}"
        self._send(302, "", where=where, cookies=(proxy.set_cookie(f"{proxy.cookie}_csrf", nonce),))

    def _come_back(self, given: Mapping[str, str], cookies: SimpleCookie) -> None:
        proxy = self.server.proxy
        nonce, _, redirect = given.get("state", "").partition(":")
        csrf = cookies.get(f"{proxy.cookie}_csrf")
        if csrf is None or csrf.value != nonce or "code" not in given:
            self._send(403, "Unable to find a valid CSRF token")
            return
        self._send(
            302,
            "",
            where=quote(redirect, safe="/:?&=%#+,;@!$'()*~[]"),
            cookies=(
                proxy.set_cookie(proxy.cookie, proxy.sign_in()),
                proxy.set_cookie(f"{proxy.cookie}_csrf", "", age_s=0),
            ),
        )

    def _sign_out(self) -> None:
        proxy = self.server.proxy
        self._send(302, "", where="/", cookies=(proxy.set_cookie(proxy.cookie, "", age_s=0),))

    def _send(
        self, status: int, text: str, *, where: str = "", cookies: tuple[str, ...] = ()
    ) -> None:
        body = text.encode()
        self.send_response(status)
        if where:
            self.send_header("Location", where)
        for cookie in cookies:
            self.send_header("Set-Cookie", cookie)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with_body = self.command != "HEAD"
        if with_body:
            self.wfile.write(body)


def refused_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
