"""Answers on their way out: what they are compressed to, and how many there may be at a time.

Streams with bounds of their own are in test_streams.py.
"""

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from regenerator.dashboard.board import Board
from regenerator.dashboard.web import answers
from regenerator.dashboard.web.answers import ANSWERS_MAX, PATIENCE_S, TAKEN_S, takes_gzip
from regenerator.dashboard.web.streams import PIECE_BYTES
from tests.asgi import Answer, Asking, SkippingLoop, ask
from tests.unit.test_app import Page, Scene, problem

ROWS = "<tr><td>feature/login</td></tr>\n" * 20_000


class BigPage(Page):
    """A page of some hundred kilobytes."""

    def html(self, board: Board, *, version: str, query: str, now: float) -> str:
        return super().html(board, version=version, query=query, now=now) + ROWS


@pytest.fixture(name="scene")
def _scene() -> Iterator[Scene]:
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:

        async def build() -> Scene:
            return Scene(runner.run, page=BigPage())

        yield runner.run(build())


@pytest.mark.parametrize("path", ["/", "/api/v1/branches"])
def test_who_takes_gzip_gets_the_same_in_fewer_bytes(scene: Scene, path: str) -> None:
    plain, packed = scene.ask(path), scene.ask(path, Accept_Encoding="gzip, deflate, br")

    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body)
    changed = {"content-encoding": "gzip", "content-length": str(len(packed.body))}
    assert packed.headers == {**plain.headers, **changed}
    assert plain.headers["content-length"] == str(len(plain.body))
    assert "Accept-Encoding" in plain.headers["vary"]
    head = scene.ask(path, method="HEAD", Accept_Encoding="gzip")
    assert head.headers == packed.headers


@pytest.mark.parametrize(
    "path", ["/api/v1/rejections", "/api/v1/branches/none", "/404.json", "/readyz"]
)
def test_what_is_short_is_sent_as_it_is(scene: Scene, path: str) -> None:
    packed = scene.ask(path, Accept_Encoding="gzip")

    assert "content-encoding" not in packed.headers
    assert (packed.status, packed.body) == (scene.ask(path).status, scene.ask(path).body)


def test_a_tag_holds_for_the_answer_however_it_was_sent(scene: Scene) -> None:
    tag = scene.ask("/api/v1/branches", Accept_Encoding="gzip").headers["etag"]

    for accept in ("", "gzip"):
        again = scene.ask("/api/v1/branches", If_None_Match=tag, Accept_Encoding=accept)
        assert (again.status, again.body) == (304, b"")
        assert again.headers["vary"] == "Accept-Encoding"
        assert "content-encoding" not in again.headers


@pytest.mark.parametrize("path", ["/events", "/api/v1/events"])
def test_a_stream_goes_out_as_it_is(scene: Scene, path: str) -> None:
    async def part() -> Answer:
        client = Asking(scene.app, path, headers={"Accept-Encoding": "gzip"})
        await client.until(1)
        await client.hang_up()
        return client.answer

    answer = scene.run(part())
    assert "content-encoding" not in answer.headers
    assert answer.body.startswith(b"retry: ")


@pytest.mark.parametrize(
    ("accept", "does"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("br,gzip ; q=1.0", True),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000, br", False),
        ("x-gzip-like", False),
    ],
)
def test_who_takes_gzip_says_so(accept: str, does: bool) -> None:
    assert takes_gzip(accept) is does


def test_a_page_that_many_come_for_is_compressed_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressed = []

    class Counting:
        @staticmethod
        def compress(body: bytes, *args: Any, **named: Any) -> bytes:
            compressed.append(body)
            return gzip.compress(body, *args, **named)

    monkeypatch.setattr(answers, "gzip", Counting)
    for _ in range(5):
        scene.ask("/", Accept_Encoding="gzip")
    assert len(compressed) == 1
    scene.desk.version += 1
    scene.ask("/", Accept_Encoding="gzip")
    assert len(compressed) == 2


@asynccontextmanager
async def slow_reader(scene: Scene, path: str = "/") -> AsyncIterator[Asking]:
    """A client that takes nothing until it is told to."""
    client = Asking(scene.app, path)
    client.reads.clear()
    yield client
    client.reads.set()
    await client.task


async def settle() -> None:
    """Let everybody come as far as he can without time passing."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_there_are_only_so_many_answers_and_who_reads_makes_room(scene: Scene) -> None:
    async def part() -> None:
        clock = asyncio.get_running_loop().time
        async with AsyncExitStack() as slow:
            readers = [
                await slow.enter_async_context(slow_reader(scene)) for _ in range(ANSWERS_MAX)
            ]
            await settle()
            began_at = clock()
            for path in ("/", "/api/v1/branches/main"):
                refused = await ask(scene.app, path)
                assert "on their way to who reads them slowly" in problem(refused, 503)
                assert refused.headers["retry-after"] == "1"
            assert clock() - began_at == pytest.approx(2 * PATIENCE_S)

            # neither streams nor what load balancers and nginx ask need that room
            stream = Asking(scene.app, "/events")
            await stream.until(1)
            await stream.hang_up()
            assert (await ask(scene.app, "/readyz")).status == 200
            assert (await ask(scene.app, "/404.json")).status == 200

            waiting = Asking(scene.app, "/")
            await settle()
            assert not waiting.task.done()
            readers[0].reads.set()
            await waiting.task
            assert waiting.answer.status == 200
            assert waiting.answer.is_complete
        assert all(reader.answer.is_complete for reader in readers)

    scene.run(part())


def test_streams_take_no_room_from_answers(scene: Scene) -> None:
    async def part() -> None:
        streams = [Asking(scene.app, "/api/v1/events") for _ in range(3 * ANSWERS_MAX)]
        for stream in streams:
            await stream.until(1)
        assert (await ask(scene.app, "/")).status == 200
        for stream in streams:
            await stream.hang_up()

    scene.run(part())


def test_who_takes_nothing_is_left_and_the_room_is_free_again(scene: Scene) -> None:
    async def part() -> None:
        clock = asyncio.get_running_loop().time
        began_at = clock()
        readers = [Asking(scene.app, "/") for _ in range(ANSWERS_MAX)]
        for reader in readers:
            reader.reads.clear()
        async with asyncio.timeout(2 * TAKEN_S):
            await asyncio.gather(*(reader.task for reader in readers))
        assert clock() - began_at == pytest.approx(TAKEN_S)
        assert not any(reader.answer.is_complete for reader in readers)
        assert (await ask(scene.app, "/")).status == 200

    scene.run(part())


def test_a_bug_and_a_question_that_is_wrong_keep_no_room(scene: Scene) -> None:
    for _ in range(ANSWERS_MAX + 1):
        assert problem(scene.ask("/?q=bug"), 500)
        assert problem(scene.ask("/api/v1/branches?limit=0"), 400)


def test_nobody_has_the_whole_copied_for_him(scene: Scene) -> None:
    async def part() -> Asking:
        client = Asking(scene.app, "/")
        await client.task
        return client

    client = scene.run(part())
    assert len(client.answer.body) > PIECE_BYTES
    assert client.largest <= PIECE_BYTES
