"""Who asks an address, how often, and what the answers are: real sockets of loopback."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from regenerator.dashboard.reasons import asking
from regenerator.dashboard.reasons.asking import AT_ONCE, Asking, Verdict
from registry.records import Address

pytestmark = pytest.mark.anyio

ADDRESS = Address("10.0.0.1", 8000)


@pytest.fixture(name="anyio_backend")
def _anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(name="listener")
def _listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def address_of(listener: socket.socket) -> Address:
    return Address("127.0.0.1", listener.getsockname()[1])


async def test_who_listens_accepts_connections(listener: socket.socket) -> None:
    assert await asking.ask(address_of(listener)) is Verdict.ACCEPTS


async def test_a_port_that_nobody_listens_on_refuses(listener: socket.socket) -> None:
    address = address_of(listener)
    listener.close()

    assert await asking.ask(address) is Verdict.REFUSES


async def test_who_accepts_in_place_of_a_service_hangs_up() -> None:
    """As Docker does at a published port."""

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        verdict = await asking.ask(address_of(server.sockets[0]))

    assert verdict is Verdict.HANGS_UP


async def test_who_greets_accepts() -> None:
    is_over = asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        await reader.read()
        writer.close()
        is_over.set()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        assert await asking.ask(address_of(server.sockets[0])) is Verdict.ACCEPTS
        await is_over.wait()


async def test_whose_backlog_is_full_does_not_answer() -> None:
    """A stopped process of which the kernel still listens, at last."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = ("127.0.0.1", listener.getsockname()[1])
        with closing(socket.create_connection(address)):
            loop = asyncio.get_running_loop()
            began_at = loop.time()
            verdict = await asking.ask(Address(*address))

    assert verdict is Verdict.SILENT
    assert loop.time() - began_at < 1.5


class Slow:
    """Whoever is asked answers when told to."""

    def __init__(self) -> None:
        self.asked: list[Address] = []
        self.go = asyncio.Event()
        self.verdict = Verdict.REFUSES

    async def __call__(self, address: Address) -> Verdict:
        self.asked.append(address)
        await self.go.wait()
        return self.verdict


async def test_who_comes_at_the_same_time_or_just_after_shares_one_question() -> None:
    slow = Slow()
    asks = Asking(slow)

    waiting = [asyncio.create_task(asks.ask(ADDRESS)) for _ in range(20)]
    await asyncio.sleep(0)
    slow.go.set()

    assert set(await asyncio.gather(*waiting)) == {Verdict.REFUSES}
    assert await asks.ask(ADDRESS) is Verdict.REFUSES
    assert slow.asked == [ADDRESS]


async def test_after_a_second_it_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    slow.go.set()
    asks = Asking(slow)
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)

    assert await asks.ask(ADDRESS) is Verdict.REFUSES
    slow.verdict = Verdict.ACCEPTS
    now += 0.99
    assert await asks.ask(ADDRESS) is Verdict.REFUSES
    now += 0.02
    assert await asks.ask(ADDRESS) is Verdict.ACCEPTS


async def test_no_more_than_some_are_asked_at_once() -> None:
    slow = Slow()
    asks = Asking(slow)
    addresses = [Address("10.0.0.1", 8000 + number) for number in range(AT_ONCE)]

    waiting = [asyncio.create_task(asks.ask(one)) for one in addresses]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert await asks.ask(Address("10.0.0.2", 1)) is Verdict.UNKNOWN
    slow.go.set()
    await asyncio.gather(*waiting)

    assert slow.asked == addresses
    assert await asks.ask(Address("10.0.0.2", 1)) is Verdict.REFUSES


async def test_who_goes_away_does_not_take_the_answer_from_others() -> None:
    slow = Slow()
    asks = Asking(slow)

    first, second = (asyncio.create_task(asks.ask(ADDRESS)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    slow.go.set()

    assert await second is Verdict.REFUSES


async def test_a_question_that_fails_is_none_that_is_open_for_ever() -> None:
    asked = 0

    async def fail(_: Address) -> Verdict:
        nonlocal asked
        asked += 1
        raise ValueError("a mistake")

    asks = Asking(fail)
    for _ in range(AT_ONCE + 1):
        with pytest.raises(ValueError, match="a mistake"):
            await asks.ask(ADDRESS)
    assert asked == AT_ONCE + 1
