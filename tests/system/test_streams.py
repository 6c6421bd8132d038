"""What takes long or is large: WebSockets, event streams, uploads, also over a reload."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPResponse
from select import select

import pytest
import websocket

from regenerator import processes
from tests.etcd_server import wait_until
from tests.system.frontend import Frontend
from tests.system.origin import Origin, refusing

pytestmark = pytest.mark.system

READ_TIMEOUT_S = 1
"""What an ordinary request may take here; a stream may be silent for longer."""

SILENCE_S = 1.6
"""Longer than that, with room for a late clock."""

UPLOAD_BYTES = 300_000_000


@pytest.fixture(scope="module", name="impatient")
def _impatient(start_frontend: Callable[..., Frontend]) -> Frontend:
    return start_frontend(READ_TIMEOUT=str(READ_TIMEOUT_S), RELOAD_PAUSE="0")


@pytest.fixture(scope="module", name="streamer")
def _streamer(impatient: Frontend) -> Iterator[Origin]:
    with Origin("streamer") as streamer:
        impatient.put("streamer", "web", streamer.address)
        yield streamer


@pytest.fixture(name="announcer")
def _announcer(impatient: Frontend) -> Iterator[Origin]:
    """A service that sends events to nobody but the test."""
    with Origin("announcer") as announcer:
        impatient.put("announcer", "web", announcer.address)
        yield announcer


@contextmanager
def open_socket(frontend: Frontend, host: str) -> Iterator[websocket.WebSocket]:
    """A WebSocket through the frontend."""
    link = socket.create_connection(("127.0.0.1", frontend.port), timeout=10)
    with closing(websocket.create_connection(f"ws://{host}/socket", socket=link)) as opened:
        yield opened


@contextmanager
def open_events(frontend: Frontend, **request: str) -> Iterator[HTTPResponse]:
    """An event stream through the frontend; it has begun."""
    with frontend.connect() as link:
        link.putrequest(request.get("method", "GET"), "/events", skip_host=True)
        link.putheader("Host", frontend.named("announcer.localhost"))
        body = request.get("body", "").encode()
        if "accept" in request:
            link.putheader("Accept", request["accept"])
        if body:
            link.putheader("Content-Length", str(len(body)))
        link.endheaders(body)
        with link.getresponse() as response:
            assert response.status == 200
            yield response


def hears_nothing(opened: websocket.WebSocket, *, for_s: float) -> bool:
    """Whether the socket stays open and silent for so long."""
    opened.settimeout(for_s)
    try:
        opened.recv()
    except websocket.WebSocketTimeoutException:
        return True
    finally:
        opened.settimeout(10)
    return False


def test_a_websocket_may_be_silent_for_longer_than_a_request_may_take(
    impatient: Frontend, streamer: Origin
) -> None:
    with open_socket(impatient, "streamer.localhost") as opened:
        opened.send("first")
        assert opened.recv() == "first"

        assert hears_nothing(opened, for_s=SILENCE_S)
        opened.send("second")
        assert opened.recv() == "second"

    assert streamer.seen[-1].value("Upgrade") == "websocket"
    assert streamer.seen[-1].value("Connection") == "upgrade"


def test_a_websocket_lives_through_ten_reloads(impatient: Frontend, streamer: Origin) -> None:
    with open_socket(impatient, "streamer.localhost") as opened:
        for number in range(10):
            impatient.put(f"changed-{number}", "web", streamer.address)
            opened.send(f"after {number}")
            assert opened.recv() == f"after {number}"

        titles = map(processes.title, impatient.workers())
        assert any("shutting down" in title for title in titles), "it was never on an old worker"


def test_events_come_one_by_one_and_may_be_long_in_coming(
    impatient: Frontend, announcer: Origin
) -> None:
    with open_events(impatient, accept="text/event-stream") as response:
        for number in range(3):
            announcer.emit()
            assert response.readline() == f"data: {number}\n".encode()
            assert response.readline() == b"\n"
        # neither an event nor the end
        assert select([response], [], [], SILENCE_S)[0] == []
        announcer.emit()
        assert response.readline() == b"data: 3\n"


def test_events_come_one_by_one_to_who_did_not_say_that_they_are_events(
    impatient: Frontend, announcer: Origin
) -> None:
    # nginx holds the headers back until something comes behind them
    announcer.emit()
    with open_events(impatient) as response:
        for number in range(3):
            assert response.readline() == f"data: {number}\n".encode()
            assert response.readline() == b"\n"
            announcer.emit()


def test_a_post_may_be_answered_by_events(impatient: Frontend, announcer: Origin) -> None:
    ask = {"accept": "text/event-stream", "method": "POST", "body": "what to stream"}
    with open_events(impatient, **ask) as response:
        announcer.emit()
        assert response.readline() == b"data: 0\n"

    assert announcer.seen[-1].method == "POST"
    assert announcer.seen[-1].body_bytes == len(ask["body"])


@pytest.mark.parametrize("accept", ["text/event-stream", "*/*"])
def test_an_upload_reaches_the_service_as_it_comes_and_is_never_on_disk(
    impatient: Frontend, streamer: Origin, accept: str
) -> None:
    piece = bytes(1_000_000)
    with impatient.connect() as link:
        link.putrequest("PUT", "/upload", skip_host=True)
        link.putheader("Host", impatient.named("streamer.localhost"))
        link.putheader("Accept", accept)
        link.putheader("Content-Length", str(UPLOAD_BYTES))
        link.endheaders()
        for _ in range(UPLOAD_BYTES // 2_000_000):
            link.send(piece)
        # half of it was sent; all that is not in some buffer is there
        wait_until(lambda: streamer.received_bytes > UPLOAD_BYTES // 2 - 20_000_000)
        kept = impatient.disk_bytes()
        for _ in range(UPLOAD_BYTES // 2_000_000):
            link.send(piece)

        assert json.load(link.getresponse()) == {"received": UPLOAD_BYTES}
    assert kept == 0


def test_an_upload_of_unknown_length_arrives_whole(impatient: Frontend, streamer: Origin) -> None:
    with impatient.connect() as link:
        link.putrequest("POST", "/upload", skip_host=True)
        link.putheader("Host", "streamer.localhost")
        link.putheader("Transfer-Encoding", "chunked")
        link.endheaders((b"some", b"more"), encode_chunked=True)

        assert json.load(link.getresponse()) == {"received": 8}
    assert streamer.seen[-1].body_bytes == 8


def test_a_websocket_to_nobody_is_refused_with_a_page(impatient: Frontend) -> None:
    with refusing() as nobody:
        impatient.put("no-socket", "web", nobody)

        with (
            pytest.raises(websocket.WebSocketBadStatusException) as refusal,
            open_socket(impatient, "no-socket.localhost"),
        ):
            pass

    assert refusal.value.status_code == 502


@pytest.mark.parametrize(
    "strange", [b"plain", b'"quoted"\\', b"%01%0a", "é日本".encode(), b"\x80\xff", b"\xc3"]
)
def test_every_line_of_the_access_log_is_json_and_says_who_answered(
    impatient: Frontend, streamer: Origin, strange: bytes
) -> None:
    head = b"GET /%s HTTP/1.1\r\nHost: Streamer.localhost\r\nUser-Agent: \x01\t%s\r\n"

    answer = impatient.say(head % (strange, strange) + b"Connection: close\r\n\r\n")

    found = re.search(rb"X-Request-Id: (\w+)", answer)
    assert found, answer
    line = impatient.wait_for_log(request_id=found[1].decode())
    assert line["branch"] == "streamer"
    assert line["service"] == "web"
    assert line["instance"] == line["address"] == streamer.address
    assert (line["method"], line["status"], line["instance_status"]) == ("GET", 200, "200")
    assert line["client"] == "127.0.0.1"
    assert 0 <= line["time_s"] < 5
    assert 0 <= float(line["connect_time_s"]) <= float(line["instance_time_s"]) < 5
    if strange.isascii():
        assert line["path"] == "/" + strange.decode()
        assert line["agent"] == "\x01\t" + strange.decode()
        assert line["host"] == "streamer.localhost"
    else:
        assert line["path"] == line["agent"] == "not ASCII"
