"""What nginx tells of requests, over a real UDP socket."""

import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from regenerator.dashboard.numbers.requests import MESSAGES, Requests
from tests.etcd_server import wait_until

TAG = "0123456789abcdef"
LOGIN = "feedfacefeedface"


def message(text: str, *, tag: str = TAG) -> bytes:
    return f"<190>Nov 21 19:55:01 {tag}: {text}".encode()


@pytest.fixture(name="link")
def _link() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.bind(("127.0.0.1", 0))
        yield link


@pytest.fixture(name="nginx")
def _nginx(link: socket.socket) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nginx:
        nginx.connect(link.getsockname())
        yield nginx


@pytest.fixture(name="requests")
def _requests(link: socket.socket) -> Iterator[Requests]:
    requests = Requests(link, tag=TAG)
    requests.start()
    yield requests
    requests.stop()


def counted(requests: Requests, *, at_least: int) -> dict[bytes, int]:
    """All that came, as soon as so many did."""
    found: dict[bytes, int] = {}

    def came() -> bool:
        for kind, count in requests.take().items():
            found[kind] = found.get(kind, 0) + count
        return sum(found.values()) >= at_least

    wait_until(came)
    return found


def test_a_signal_ends_no_counting(requests: Requests, nginx: socket.socket) -> None:
    """As a debugger, or a profiler, interrupts whoever waits."""
    (reader,) = (one for one in threading.enumerate() if one.name == "requests")
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        for _ in range(20):
            signal.pthread_kill(reader.ident or 0, signal.SIGUSR1)
            nginx.send(message(f"{LOGIN} 200"))
            assert counted(requests, at_least=1) == {f"{LOGIN} 200".encode(): 1}
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_messages_are_counted_each_kind_by_itself(requests: Requests, nginx: socket.socket) -> None:
    for text in (f"{LOGIN} 200", f"{LOGIN} 502", f"{LOGIN} 200", " 404"):
        nginx.send(message(text))

    assert counted(requests, at_least=4) == {
        f"{LOGIN} 200".encode(): 2,
        f"{LOGIN} 502".encode(): 1,
        b" 404": 1,
    }
    assert requests.take() == {}


def test_more_than_fits_into_one_call_is_counted(link: socket.socket, nginx: socket.socket) -> None:
    """As after a pause: everything has waited in the kernel."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sent = MESSAGES + 10
    for number in range(sent):
        nginx.send(message(f"{number:016x} 200"))
    waiting = Requests(link, tag=TAG)
    waiting.start()
    lost = waiting.lost()
    found = counted(waiting, at_least=sent - lost)
    waiting.stop()

    # where the kernel keeps less than that, it says so
    assert len(found) == sum(found.values()) == sent - lost


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<190>",
        message(f"{LOGIN} 200", tag="0123456789abcdee"),
        message(f"{LOGIN} 200", tag=""),
        message(f"{LOGIN} 200")[1:],
        b"x" * 65_000,
    ],
)
def test_who_does_not_know_the_tag_counts_nothing(
    requests: Requests, nginx: socket.socket, content: bytes
) -> None:
    nginx.send(content)
    nginx.send(message(" 404"))

    assert counted(requests, at_least=1) == {b" 404": 1}


def test_a_message_that_is_too_long_is_cut_off_and_does_not_run_into_the_next(
    requests: Requests, nginx: socket.socket
) -> None:
    nginx.send(message("a" * 500))
    nginx.send(message(" 404"))

    found = counted(requests, at_least=2)
    assert found.pop(b" 404") == 1
    assert [len(message(kind.decode())) for kind in found] == [128]


def test_as_many_kinds_are_told_apart_and_no_more(
    link: socket.socket, nginx: socket.socket
) -> None:
    requests = Requests(link, tag=TAG, kinds=2)
    for text in (f"{LOGIN} 200", " 404", f"{LOGIN} 502", f"{LOGIN} 200"):
        nginx.send(message(text))
    requests.start()
    found = counted(requests, at_least=3)
    requests.stop()

    assert found == {f"{LOGIN} 200".encode(): 2, b" 404": 1}


def test_it_ends_at_once_though_nothing_comes_and_lets_go_of_its_port(
    link: socket.socket,
) -> None:
    """Who follows needs the same port, or nginx would have to read its configuration anew."""
    address = link.getsockname()
    requests = Requests(link, tag=TAG)
    requests.start()
    requests.stop()

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as another:
        another.bind(address)


def test_what_the_kernel_had_to_drop_is_known(link: socket.socket, nginx: socket.socket) -> None:
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    requests = Requests(link, tag=TAG)
    assert requests.lost() == 0

    sent = 1000
    for _ in range(sent):
        nginx.send(message(f"{LOGIN} 200"))
    lost = requests.lost()
    requests.start()
    found = counted(requests, at_least=sent - lost)
    requests.stop()

    assert 0 < lost < sent
    assert found == {f"{LOGIN} 200".encode(): sent - lost}
