"""Included: TLS that nginx ends itself, HTTP/2, and certificates that are replaced while it runs.

Real certificates of an authority that a test makes, real nginx, curl for HTTP/2.
"""

import hashlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.etcd_server import EtcdServer, free_ports, wait_until
from tests.system.frontend import Frontend, Link, exchange
from tests.system.origin import Origin

pytestmark = pytest.mark.system


class SecureLink(Link):
    """A connection with TLS that believes anybody, and says whom.

    Attributes:
        shown: Digits of the certificate.
    """

    def __init__(self, port: int) -> None:
        super().__init__("127.0.0.1", port, timeout=10.0)
        self.shown = ""

    def connect(self) -> None:
        super().connect()
        self.sock = believing().wrap_socket(self.sock, server_hostname="localhost")
        self.shown = digits(self.sock.getpeercert(binary_form=True) or b"")


def believing() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def digits(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


def digits_of(certificate: str) -> str:
    return digits(ssl.PEM_cert_to_DER_cert(Path(certificate).read_text()))


class Files:
    """The files that the settings name, and pairs to put there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.certificate, self.key = folder / "tls.crt", folder / "tls.key"

    def make(self, name: str) -> tuple[str, str]:
        return self.authority.sign(name)

    def put(self, pair: tuple[str, str]) -> str:
        """Put a pair in the place of the other, one file after the other; gives its digits."""
        for new, place in zip(pair, (self.certificate, self.key), strict=True):
            shutil.copy(new, place)
        return digits_of(pair[0])


class Secure:
    """A frontend with TLS, its second port, and the files of its certificate."""

    def __init__(self, frontend: Frontend, files: Files, *, port: int) -> None:
        self.frontend = frontend
        self.files = files
        self.port = port

    def link(self) -> SecureLink:
        return SecureLink(self.port)

    def shown(self) -> str:
        """The certificate that a new connection is shown, by a worker that is not retiring."""
        self.frontend.wait_until_settled()
        with self.link() as link:
            return link.shown

    def wait_until_shown(self, expected: str) -> None:
        try:
            wait_until(lambda: self.shown() == expected, within_s=20.0)
        except TimeoutError as exc:
            raise AssertionError(self.frontend.story()) from exc

    def wait_until_said(self, words: str) -> None:
        try:
            wait_until(lambda: words in self.frontend.log.read_text(), within_s=20.0)
        except TimeoutError as exc:
            raise AssertionError(self.frontend.story()) from exc

    def curl(self, path: str, *arguments: str, host: str = "localhost", said: str = "") -> str:
        """What curl prints of one request with HTTP/2.

        Args:
            said: What ``--upload-file -`` sends, of which curl does not know how long it will be.
        """
        command = [
            *("curl", "--silent", "--show-error", "--insecure", "--http2", "--max-time", "20"),
            *("--resolve", f"{host}:{self.port}:127.0.0.1"),
            *arguments,
            f"https://{host}:{self.port}{path}",
        ]
        done = subprocess.run(
            command, input=said, capture_output=True, text=True, check=False, timeout=30
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def settings_of(files: Files, port: int) -> dict[str, str]:
    return {
        "LISTEN_TLS": f"127.0.0.1:{port}",
        "TLS_CERT": str(files.certificate),
        "TLS_KEY": str(files.key),
        "RELOAD_PAUSE": "0",
    }


@pytest.fixture(scope="module", name="secure")
def _secure(
    start_frontend: Callable[..., Frontend], tmp_path_factory: pytest.TempPathFactory
) -> Secure:
    files = Files(tmp_path_factory.mktemp("certificates"))
    files.put(files.make("first"))
    [port] = free_ports(1)
    return Secure(start_frontend(**settings_of(files, port)), files, port=port)


@pytest.fixture(scope="module", name="served")
def _served(secure: Secure) -> Iterator[Origin]:
    with Origin("mine") as mine:
        secure.frontend.put("mine", "web", mine.address)
        yield mine


def test_people_are_told_the_url_with_https(secure: Secure) -> None:
    wait_until(secure.frontend.record)
    record = secure.frontend.record()

    assert record is not None
    assert record.url == f"https://localhost:{secure.port}"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("host", ["localhost", "mine.localhost", "unknown.localhost"])
def test_who_comes_without_tls_is_sent_to_it(secure: Secure, host: str, method: str) -> None:
    body = b"x" if method == "POST" else None

    answer = secure.frontend.ask(host, "/a%2Fb?c=1&d", method=method, body=body)

    assert answer.status == 308
    assert answer.headers["location"] == f"https://{host}:{secure.port}/a%2Fb?c=1&d"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_load_balancer_that_asks_by_ip_is_not(secure: Secure, path: str) -> None:
    plain = secure.frontend.ask("10.1.2.3", path)
    with secure.link() as link:
        encrypted = exchange(link, "10.1.2.3", path)

    # whether it is ready yet is no subject here
    expected = {200} if path == "/healthz" else {200, 503}
    assert {plain.status, encrypted.status} <= expected


@pytest.mark.usefixtures("served")
def test_a_service_is_told_of_https(secure: Secure, served: Origin) -> None:
    with secure.link() as link:
        answer = exchange(
            link, f"mine.localhost:{secure.port}", headers={"X-Forwarded-Proto": "http"}
        )

    seen = served.seen[-1]
    assert (answer.status, answer.text) == (200, "mine")
    assert seen.value("X-Forwarded-Proto") == "https"
    assert seen.value("Host") == f"mine.localhost:{secure.port}"


@pytest.mark.usefixtures("served")
def test_http_2_is_spoken(secure: Secure, tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(b"x" * 3_000_000)
    shape = ("--output", "/dev/null", "--write-out", "%{http_version} %{response_code}")

    page = secure.curl("/", *shape)
    served = secure.curl("/", *shape, host="mine.localhost")
    unknown = secure.curl("/", *shape, "--data", "x", host="unknown.localhost")
    received = secure.curl("/upload", "--data-binary", f"@{upload}", host="mine.localhost")

    assert (page, served, unknown) == ("2 200", "2 200", "2 404")
    assert received == '{"received": 3000000}'


@pytest.mark.usefixtures("served")
def test_a_body_without_a_length_waits_for_no_dashboard_that_is_stuck(secure: Secure) -> None:
    """In HTTP/2 no header says that there is a body; it cannot be sent a second time either."""
    wait_until(lambda: "x-reason" in secure.curl("/", "--head", host="unknown.localhost").lower())
    (pid,) = secure.frontend.dashboards()
    os.kill(pid, signal.SIGSTOP)
    try:
        answers = [
            secure.curl(
                *("/", "--request", "POST", "--upload-file", "-"),
                *("--output", "/dev/null", "--write-out", "%{http_version} %{response_code}"),
                host="unknown.localhost",
                said="x" * length,
            )
            for length in (10, 300_000)
        ]
    finally:
        os.kill(pid, signal.SIGCONT)

    assert answers == ["2 404", "2 404"]


@pytest.mark.usefixtures("served")
def test_a_request_with_http_2_goes_where_its_authority_says(
    secure: Secure, served: Origin
) -> None:
    before = len(served.seen)

    status = secure.curl(
        "/",
        *("--output", "/dev/null", "--write-out", "%{response_code}"),
        *("--header", "X-Forwarded-Host: mine.localhost"),
        host="unknown.localhost",
    )

    assert status == "404"
    assert len(served.seen) == before


@pytest.mark.usefixtures("served")
def test_a_websocket_passes(secure: Secure) -> None:
    wish = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    with secure.link() as link:
        link.putrequest("GET", "/socket", skip_host=True)
        for name, value in {"Host": f"mine.localhost:{secure.port}", **wish}.items():
            link.putheader(name, value)
        link.endheaders()
        assert link.getresponse().status == 101


@pytest.mark.parametrize(
    ("version", "is_spoken"),
    [
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_tls_is_refused(secure: Secure, version: ssl.TLSVersion, is_spoken: bool) -> None:
    context = believing()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    spoken = None
    with (
        socket.create_connection(("127.0.0.1", secure.port), timeout=10.0) as link,
        suppress(ssl.SSLError, ConnectionError),
        context.wrap_socket(link, server_hostname="localhost") as wrapped,
    ):
        spoken = wrapped.version()

    assert bool(spoken) == is_spoken


def test_who_speaks_plainly_to_the_port_for_tls_is_sent_on(secure: Secure) -> None:
    with socket.create_connection(("127.0.0.1", secure.port), timeout=10.0) as link:
        link.sendall(b"GET /x HTTP/1.1\r\nHost: mine.localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: link.recv(65536), b"")).decode()

    assert answer.startswith("HTTP/1.1 308 ")
    assert f"Location: https://mine.localhost:{secure.port}/x\r\n" in answer


def test_a_proxy_that_ended_tls_is_believed(
    start_frontend: Callable[..., Frontend], secure: Secure
) -> None:
    [port] = free_ports(1)
    frontend = start_frontend(**settings_of(secure.files, port), TRUSTED_PROXIES="127.0.0.0/8")

    through = frontend.ask("localhost", headers={"X-Forwarded-Proto": "https"})
    past = frontend.ask("localhost", headers={"X-Forwarded-Proto": "http"})

    assert (through.status, past.status) == (200, 308)


@pytest.mark.usefixtures("served")
def test_a_new_certificate_is_shown_and_nobody_is_cut_off(secure: Secure) -> None:
    host = f"mine.localhost:{secure.port}"
    secure.frontend.wait_until_settled()
    with secure.link() as link:
        assert exchange(link, host).status == 200
        new = secure.files.put(secure.files.make("second"))
        secure.wait_until_shown(new)

        late = exchange(link, host)

    assert (late.status, late.text) == (200, "mine")
    assert link.shown != new
    assert secure.frontend.ask("localhost").status == 308


def test_a_half_replaced_pair_is_told_and_the_old_one_stays(secure: Secure) -> None:
    old = secure.shown()
    certificate, key = secure.files.make("third")

    shutil.copy(certificate, secure.files.certificate)
    secure.wait_until_said("do not belong together")
    meanwhile = secure.shown()
    secure.frontend.put("half", "web", "127.0.0.1:9")
    after_a_change = secure.shown()
    shutil.copy(key, secure.files.key)
    secure.wait_until_shown(digits_of(certificate))

    assert meanwhile == after_a_change == old
    assert secure.frontend.log.read_text().count("do not belong together") == 1


def test_a_pair_that_is_gone_or_no_pair_is_told(secure: Secure) -> None:
    old = secure.shown()

    secure.files.certificate.write_text("no certificate")
    secure.wait_until_said("there is no certificate (PEM) in")
    secure.files.key.unlink()
    secure.wait_until_said("cannot be read")

    assert secure.shown() == old
    secure.wait_until_shown(secure.files.put(secure.files.make("mended")))


def test_what_expires_soon_is_told(secure: Secure) -> None:
    """The authority of these tests signs for a day."""
    secure.wait_until_said("renew it")


def test_a_secret_that_is_swapped_as_a_link_is_seen(tmp_path: Path, etcd: EtcdServer) -> None:
    """As a cluster updates a mounted secret: only the link in the middle changes."""
    files = Files(tmp_path)
    for name in ("one", "two"):
        (tmp_path / f"..{name}").mkdir()
        for made, place in zip(files.make(name), ("tls.crt", "tls.key"), strict=True):
            shutil.copy(made, tmp_path / f"..{name}" / place)
    (tmp_path / "..data").symlink_to("..one")
    for link in (files.certificate, files.key):
        link.symlink_to(f"..data/{link.name}")
    [port] = free_ports(1)
    with Frontend(tmp_path, etcd=etcd, **settings_of(files, port), REGISTRY_PREFIX="/swap") as it:
        secure = Secure(it, files, port=port)
        assert secure.shown() == digits_of(str(tmp_path / "..one" / "tls.crt"))

        (tmp_path / "..data.new").symlink_to("..two")
        (tmp_path / "..data.new").rename(tmp_path / "..data")

        secure.wait_until_shown(digits_of(str(tmp_path / "..two" / "tls.crt")))


def test_what_is_on_disk_can_be_started_and_what_nobody_uses_is_gone(
    tmp_path: Path, etcd: EtcdServer
) -> None:
    files = Files(tmp_path)
    first = files.put(files.make("first"))
    [port] = free_ports(1)
    with Frontend(tmp_path, etcd=etcd, **settings_of(files, port), REGISTRY_PREFIX="/disk") as it:
        secure = Secure(it, files, port=port)
        with Origin("kept") as kept:
            it.put("kept", "web", kept.address)
            for name in ("second", "third"):
                secure.wait_until_shown(files.put(files.make(name)))
            assert secure.shown() != first
            for number in range(8):
                it.put(f"more-{number}", "web", kept.address)
            secure.wait_until_shown(newest := files.put(files.make("newest")))
            stored = {path.stem for path in (it.state / "tls").iterdir()}
            modes = {path.stat().st_mode & 0o077 for path in (it.state / "tls").iterdir()}
            it.stop()
            it.settings["REGISTRY_URL"] = "http://127.0.0.1:9"
            it.start()
            with secure.link() as link:
                answer = exchange(link, f"kept.localhost:{port}")
            assert (answer.text, link.shown) == ("kept", newest)
    # the newest, and the one before it that generations on disk still show
    assert len(stored) == 2
    assert modes == {0}
