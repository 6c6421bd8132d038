"""Event streams: who is told what, and when; on a loop on which a minute passes at once."""

import asyncio
import json
import re
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from regenerator.dashboard.board import Board
from regenerator.dashboard.web.hub import BOARDS_KEPT, Hub
from regenerator.dashboard.web.streams import (
    GRACE_S,
    HEARTBEAT_S,
    RETRY_MS,
    STREAMS_MAX,
    STUCK_S,
    Channel,
    Event,
)
from tests.asgi import Asking, SkippingLoop, ask
from tests.unit.test_documents import BOARD

OLD, NEW = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


class Boards:
    """A board that a test changes."""

    def __init__(self) -> None:
        self.board = replace(BOARD, generation=OLD, revision=0)
        self.version = 0
        self._news = asyncio.Event()

    def show(self, **other: Any) -> None:
        """Change it."""
        self.version += 1
        self.board = replace(self.board, **{"revision": self.version, **other})
        self._news.set()
        self._news = asyncio.Event()

    async def changed(self, version: int, *, within_s: float) -> int:
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.version <= version:
                    await self._news.wait()
        return self.version


class Scene:
    """An app with one kind of events, which tell from which revision to which.

    Attributes:
        told: How often that was worked out.
    """

    def __init__(self) -> None:
        self.boards = Boards()
        self.hub = Hub(self.boards)
        self.told = 0
        self.size = 0
        channel = Channel(self.hub, self._tell)

        async def events(request: Request) -> Response:
            return channel.answer(request, since=request.query_params.get("since", ""))

        self.app: ASGIApp = Router([Route("/events", events)])

    def follow(self, *, since: str = "", generation: str = "", last: str = "") -> Asking:
        """A client."""
        headers = {"X-Generation": generation, "Last-Event-ID": last}
        return Asking(
            self.app, f"/events?since={since}", headers={k: v for k, v in headers.items() if v}
        )

    def _tell(self, before: Board | None, after: Board) -> Iterable[Event]:
        self.told += 1
        text = f"{before.revision if before else None}-{after.revision}{'.' * self.size}"
        yield Event("first", json.dumps(text).encode())
        yield Event("second", b"2")


Play = Callable[[Callable[[Scene], Coroutine[Any, Any, None]]], None]


@pytest.fixture(name="play")
def _play() -> Iterator[Play]:
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:

        async def scene(part: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
            await part(Scene())

        yield lambda part: runner.run(scene(part))


def steps(body: bytes) -> list[str]:
    """From which revision to which a stream has told."""
    return re.findall(r'data: "([^".]*)', body.decode())


def ids(body: bytes) -> list[str]:
    """What the boards were called."""
    return re.findall(r"^id: (.*)$", body.decode(), re.MULTILINE)


def clock() -> float:
    return asyncio.get_running_loop().time()


def test_a_stream_begins_with_everything_and_goes_on_with_what_changes(play: Play) -> None:
    async def part(scene: Scene) -> None:
        client = scene.follow()
        await client.until(1)
        scene.boards.show()
        body = await client.until(2)
        assert client.answer.status == 200
        assert client.answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert steps(body) == ["None-0", "0-1"]
        await client.hang_up()

    play(part)


def test_the_last_event_of_several_says_what_the_client_has(play: Play) -> None:
    """With an id in the first one a client that was cut off between them would miss the second."""

    async def part(scene: Scene) -> None:
        client = scene.follow()
        body = await client.until(1)
        events = body.decode().split("\n\n")
        assert events[0].startswith("retry: ")
        assert events[1] == 'event: first\ndata: "None-0"'
        assert re.fullmatch(r"event: second\ndata: 2\nid: [0-9a-f]{8}-0", events[2])
        assert events[3:] == [""]
        await client.hang_up()

    play(part)


def test_a_client_is_told_of_changes_once_a_second_at_most(play: Play) -> None:
    async def part(scene: Scene) -> None:
        client = scene.follow()
        await client.until(1)
        scene.boards.show()
        await client.until(2)
        began_at = clock()
        for _ in range(10):
            scene.boards.show()
            await asyncio.sleep(0.3)
        body = await client.until(5)
        assert steps(body) == ["None-0", "0-1", "1-5", "5-8", "8-11"]
        assert clock() - began_at == pytest.approx(3.0, abs=0.2)
        await client.hang_up()

    play(part)


def test_a_change_after_a_silence_is_told_at_once(play: Play) -> None:
    async def part(scene: Scene) -> None:
        client = scene.follow()
        await client.until(1)
        await asyncio.sleep(5)
        began_at = clock()
        scene.boards.show()
        await client.until(2)
        assert clock() == began_at
        await client.hang_up()

    play(part)


def test_who_comes_back_is_told_what_happened_meanwhile(play: Play) -> None:
    async def part(scene: Scene) -> None:
        first = scene.follow()
        scene.boards.show()
        name = ids(await first.until(1))[0]
        await first.hang_up()
        scene.boards.show()
        scene.boards.show()

        second = scene.follow(last=name)
        assert steps(await second.until(1)) == ["1-3"]
        await second.hang_up()

    play(part)


def test_what_a_browser_saw_last_counts_for_more_than_what_the_page_was_drawn_from(
    play: Play,
) -> None:
    async def part(scene: Scene) -> None:
        drawn = scene.hub.note()
        scene.boards.show()
        last = scene.hub.note()
        scene.boards.show()

        client = scene.follow(since=drawn, last=last)
        assert steps(await client.until(1)) == ["1-2"]
        await client.hang_up()

    play(part)


def test_a_page_that_was_just_drawn_is_told_of_nothing_before_something_changes(
    play: Play,
) -> None:
    async def part(scene: Scene) -> None:
        client = scene.follow(since=scene.hub.note())
        body = await client.until(1, b": \n")
        assert steps(body) == []
        scene.boards.show()
        assert steps(await client.until(2)) == ["0-1"]
        await client.hang_up()

    play(part)


def test_a_page_drawn_of_a_board_that_streams_are_not_told_of_yet(play: Play) -> None:
    async def part(scene: Scene) -> None:
        other = scene.follow()
        await other.until(1)
        scene.boards.show()
        await other.until(2)
        # within the second in which nobody is told
        scene.boards.show()
        client = scene.follow(since=scene.hub.note())
        scene.boards.show()
        assert steps(await client.until(1)) == ["2-3"]
        assert steps(await other.until(3)) == ["None-0", "0-1", "1-3"]
        await client.hang_up()
        await other.hang_up()

    play(part)


@pytest.mark.parametrize("name", ["0", "-0", "deadbeef-0", "x", "é", "9" * 5000])
def test_a_name_of_nothing_that_is_known_brings_everything(play: Play, name: str) -> None:
    async def part(scene: Scene) -> None:
        client = scene.follow(last=name)
        assert steps(await client.until(1)) == ["None-0"]
        await client.hang_up()

    play(part)


def test_a_board_of_long_ago_is_not_known_any_more(play: Play) -> None:
    async def part(scene: Scene) -> None:
        client = scene.follow(since=(name := scene.hub.note()))
        for _ in range(BOARDS_KEPT - 1):
            scene.boards.show()
            await asyncio.sleep(1.1)
        late = scene.follow(since=name)
        assert steps(await late.until(1)) == [f"0-{BOARDS_KEPT - 1}"]
        scene.boards.show()
        await asyncio.sleep(1.1)
        later = scene.follow(since=name)
        assert steps(await later.until(1)) == [f"None-{BOARDS_KEPT}"]
        for one in (client, late, later):
            await one.hang_up()

    play(part)


def test_boards_that_were_drawn_by_other_templates_are_not_known(play: Play) -> None:
    async def part(scene: Scene) -> None:
        name = scene.hub.note()
        scene.hub.forget()
        client = scene.follow(since=name)
        assert steps(await client.until(1)) == ["None-0"]
        await client.hang_up()

    play(part)


def test_what_is_told_is_worked_out_once_for_all(play: Play) -> None:
    async def part(scene: Scene) -> None:
        clients = [scene.follow() for _ in range(20)]
        for number in range(1, 6):
            for client in clients:
                await client.until(number)
            scene.boards.show()
        for client in clients:
            await client.until(6)
        assert scene.told == 6
        for client in clients:
            await client.hang_up()

    play(part)


def test_a_slow_reader_is_told_the_difference_when_it_reads_again(play: Play) -> None:
    async def part(scene: Scene) -> None:
        slow, other = scene.follow(), scene.follow()
        await slow.until(1)
        slow.reads.clear()
        for _ in range(10):
            scene.boards.show()
            await asyncio.sleep(1.1)
        slow.reads.set()
        assert steps(await slow.until(3)) == ["None-0", "0-1", "1-10"]
        assert len(steps(await other.until(11))) == 11
        await slow.hang_up()
        await other.hang_up()

    play(part)


def test_who_reads_nothing_at_all_is_dropped(play: Play) -> None:
    async def part(scene: Scene) -> None:
        stuck = scene.follow()
        await stuck.until(1)
        stuck.reads.clear()
        scene.boards.show()
        await asyncio.sleep(STUCK_S - 1)
        assert not stuck.task.done()
        await asyncio.sleep(2)
        assert stuck.task.done()
        assert not stuck.answer.is_complete
        assert scene.hub.viewers == 0

    play(part)


def test_much_is_sent_in_pieces(play: Play) -> None:
    async def part(scene: Scene) -> None:
        scene.size = 500_000
        client = scene.follow()
        await client.until(1)
        assert client.largest < 70_000
        assert len(client.answer.body) > 500_000
        await client.hang_up()

    play(part)


def test_a_silent_stream_is_kept_open_and_its_client_known(play: Play) -> None:
    async def part(scene: Scene) -> None:
        client = scene.follow()
        await client.until(1)
        began_at = clock()
        body = await client.until(4)
        assert clock() - began_at == pytest.approx(3 * HEARTBEAT_S)
        assert body.endswith(b": \nid: %s\n\n" % scene.hub.name(0).encode() * 3)
        await client.hang_up()

    play(part)


def test_a_stream_of_a_retiring_nginx_ends_at_once_but_not_before_it_has_told(play: Play) -> None:
    async def part(scene: Scene) -> None:
        client = scene.follow(generation=OLD)
        await client.until(1)
        scene.boards.show()
        await client.until(2)
        # within the second in which nobody is told of anything else
        began_at = clock()
        scene.boards.show(generation=NEW)
        await client.task
        assert clock() == began_at
        assert client.answer.is_complete
        assert steps(client.answer.body) == ["None-0", "0-1", "1-2"]

    play(part)


def test_a_stream_of_the_serving_nginx_goes_on(play: Play) -> None:
    async def part(scene: Scene) -> None:
        client = scene.follow(generation=OLD)
        for number in range(1, 5):
            await client.until(number)
            scene.boards.show()
        await asyncio.sleep(3600)
        assert not client.task.done()
        await client.hang_up()

    play(part)


def test_a_stream_of_an_nginx_that_we_have_not_heard_of_waits_until_we_have(play: Play) -> None:
    async def part(scene: Scene) -> None:
        client = scene.follow(generation=NEW)
        await asyncio.sleep(GRACE_S - 1)
        scene.boards.show(generation=NEW)
        await asyncio.sleep(60)
        assert not client.task.done()
        scene.boards.show(generation=OLD)
        await client.task

    play(part)


def test_a_stream_of_an_nginx_that_was_rolled_back_ends_at_once(play: Play) -> None:
    async def part(scene: Scene) -> None:
        client = scene.follow(generation=NEW)
        await client.until(1)
        scene.boards.show(generation=NEW)
        await client.until(2)
        scene.boards.show(generation=OLD)
        await client.task
        assert clock() < GRACE_S

    play(part)


def test_a_stream_of_an_nginx_that_nobody_ever_tells_of_ends_after_a_while(play: Play) -> None:
    async def part(scene: Scene) -> None:
        client = scene.follow(generation=NEW)
        began_at = clock()
        await client.task
        assert clock() - began_at == pytest.approx(GRACE_S)

    play(part)


def test_a_stream_of_a_third_nginx_ends_as_soon_as_there_is_a_second(play: Play) -> None:
    async def part(scene: Scene) -> None:
        client = scene.follow(generation="cccccccccccc")
        await client.until(1)
        began_at = clock()
        scene.boards.show(generation=NEW)
        await client.task
        assert clock() - began_at < 1.1

    play(part)


def test_clients_come_back_each_at_its_own_time(play: Play) -> None:
    async def part(scene: Scene) -> None:
        clients = [scene.follow() for _ in range(50)]
        pauses = []
        for client in clients:
            found = re.match(rb"retry: ([0-9]+)\n\n", await client.until(1))
            assert found
            pauses.append(int(found[1]))
            await client.hang_up()
        assert RETRY_MS[0] <= min(pauses) < max(pauses) <= RETRY_MS[1]
        assert len(set(pauses)) > 30

    play(part)


def test_one_stream_too_many_is_refused_until_another_one_ends(play: Play) -> None:
    async def part(scene: Scene) -> None:
        clients = [scene.follow() for _ in range(STREAMS_MAX)]
        for client in clients:
            await client.until(1)
        assert scene.hub.viewers == STREAMS_MAX

        refused = scene.follow()
        with pytest.raises(HTTPException) as raised:
            await refused.task
        assert raised.value.status_code == 503
        assert int((raised.value.headers or {})["Retry-After"]) > 0

        await clients.pop().hang_up()
        clients.append(scene.follow())
        await clients[-1].until(1)
        for client in clients:
            await client.hang_up()
        assert scene.hub.viewers == 0

    play(part)


def test_nobody_looks_at_the_board_while_nobody_follows(play: Play) -> None:
    async def part(scene: Scene) -> None:
        before = asyncio.all_tasks()
        client = scene.follow()
        await client.until(1)
        await client.hang_up()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before

    play(part)


def test_who_is_first_after_a_while_is_told_of_the_newest_alone(play: Play) -> None:
    async def part(scene: Scene) -> None:
        client = scene.follow()
        await client.until(1)
        await client.hang_up()
        scene.boards.show()
        scene.boards.show()

        client = scene.follow()
        assert steps(await client.until(2)) == ["None-2"]
        await client.hang_up()

    play(part)


def test_asking_for_the_head_of_a_stream_ends(play: Play) -> None:
    async def part(scene: Scene) -> None:
        answer = await ask(scene.app, "/events", method="HEAD")
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers == {"content-type": "text/event-stream; charset=utf-8"}

    play(part)
