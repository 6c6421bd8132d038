"""Endpoints of etcd that are not there, mute, or no etcd at all: who is blamed, and how soon."""

import http.server
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from registry.etcd import (
    Etcd,
    EtcdSettings,
    put,
)
from registry.faults import StoreDenied, StoreMisspoken, StoreUnreachable
from tests.black_hole import BlackHole
from tests.etcd_server import EtcdServer, free_ports, wait_until

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as running:
        yield running


@pytest.fixture
def etcd(server: EtcdServer) -> Iterator[Etcd]:
    client = Etcd(server.settings)
    client.delete_prefix(b"")
    yield client
    client.close()


@contextmanager
def stranger(status: int, text: str) -> Iterator[str]:
    """An HTTP server that is no etcd and says the same to everybody."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            thread.join()


def seconds_of(call: Callable[[], object], *, raises: type[Exception]) -> float:
    began_at = time.monotonic()
    with pytest.raises(raises):
        call()
    return time.monotonic() - began_at


def test_nobody_there_is_said_at_once_with_every_endpoint() -> None:
    first, second = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    etcd = Etcd(EtcdSettings((first, second), user="somebody", password="a-secret"))
    with pytest.raises(StoreUnreachable, match="Connection refused") as hit:
        etcd.read(b"/a")
    assert first in str(hit.value)
    assert second in str(hit.value)
    assert "secret" not in str(hit.value)


def test_a_port_that_takes_connections_and_is_mute_costs_the_timeout(server: EtcdServer) -> None:
    with BlackHole(server.url) as hole:
        hole.swallows_all = True
        etcd = Etcd(EtcdSettings((hole.url,)), call_timeout_s=0.3)
        for call in (
            lambda: etcd.read(b"/a"),
            lambda: etcd.write(b"/a", b""),
            lambda: etcd.follow(b"/a", from_revision=1),
        ):
            assert 0.2 < seconds_of(call, raises=StoreUnreachable) < 4


def test_the_next_endpoint_answers_where_one_does_not(server: EtcdServer) -> None:
    with BlackHole(server.url) as hole:
        hole.swallows_all = True
        endpoints = (hole.url, f"http://127.0.0.1:{free_ports(1)[0]}", server.url)
        etcd = Etcd(EtcdSettings(endpoints), call_timeout_s=0.3)
        assert etcd.read(b"/nobody") is None
        with etcd.follow(b"/a", from_revision=1):
            pass
        # whoever was found wanting is not asked again
        began_at = time.monotonic()
        for _ in range(20):
            etcd.read(b"/nobody")
        assert time.monotonic() - began_at < 3


def test_a_write_whose_answer_is_lost_is_never_sent_twice(server: EtcdServer, etcd: Etcd) -> None:
    before = etcd.write(b"/count", b"")
    with BlackHole(server.url) as hole:
        hole.swallows_answers = True
        # an order in which the hole comes first, whatever the draw
        for seed in range(10):
            client = Etcd(
                EtcdSettings((hole.url, server.url)),
                call_timeout_s=0.3,
                rng=random.Random(seed),  # noqa: S311 - an order
            )
            try:
                client.commit([], then=[put(b"/count", b"")])
            except StoreUnreachable:
                break
        else:
            pytest.fail("the hole was never asked first")
        writes = seed + 1
        wait_until(lambda: etcd.list(b"/count").revision >= before + writes)
        assert etcd.list(b"/count").revision == before + writes


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (404, "404 page not found"),
        (200, "<html>hello</html>"),
        (200, '["a list"]'),
        (200, "{}"),
        (200, '{"header":{"revision":"many"}}'),
        (200, '{"header":{"cluster_id":"1"},"kvs":[{"key":"YQ"}]}'),
        (400, "Client sent an HTTP request to an HTTPS server.\n"),
    ],
)
def test_what_is_no_gateway_of_etcd_is_called_so(status: int, text: str) -> None:
    with stranger(status, text) as url:
        etcd = Etcd(EtcdSettings((url,)))
        with pytest.raises(StoreMisspoken, match=url):
            etcd.list(b"/a")
        with pytest.raises(StoreMisspoken, match=url):
            etcd.follow(b"/a", from_revision=1)


def test_a_balancer_without_a_server_is_not_taken_for_a_stranger() -> None:
    with stranger(503, "<html>no server is available") as url:
        etcd = Etcd(EtcdSettings((url,)))
        with pytest.raises(StoreUnreachable, match="no server is available"):
            etcd.read(b"/a")


def test_a_commonname_and_users_together_get_a_sentence_that_helps() -> None:
    text = "CommonName of client sending a request against gateway will be ignored"
    with stranger(400, text) as url, pytest.raises(StoreDenied, match="without a CN"):
        Etcd(EtcdSettings((url,))).read(b"/a")


def test_a_closed_client_says_so(server: EtcdServer) -> None:
    etcd = Etcd(server.settings)
    etcd.read(b"/a")
    etcd.close()
    with pytest.raises(StoreUnreachable, match="closed"):
        etcd.read(b"/a")
