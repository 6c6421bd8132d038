"""Included: ``list`` and ``status`` on a terminal, on a pipe, once and for ever. Real etcd.

What a terminal shows is told from the bytes that it gets: a picture begins at its upper left.
"""

import fcntl
import json
import os
import pty
import re
import secrets
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from registry.keys import ClaimKey, FrontendKey, RouteKey
from registry.records import FrontendRecord
from tests.etcd_server import EtcdServer, wait_until
from tests.registrar_process import Place, run_once

pytestmark = pytest.mark.system

PROGRAMS = Path(sys.executable).parent

HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"

OURS = re.compile(r"\x1b\[(?:H|K|J|2J|[0-9]{1,2}m)")
"""What we tell a terminal."""

COLOUR = re.compile(r"\x1b\[[0-9]+m")

GREEN, YELLOW, RED = "\x1b[32m", "\x1b[33m", "\x1b[31m"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture
def place(server: EtcdServer) -> Iterator[Place]:
    place = Place(server, f"/{secrets.token_hex(4)}")
    yield place
    place.etcd.close()


def _heed_interrupts() -> None:
    """Who runs the tests in the background may ignore them, and so would we."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _take_terminal() -> None:
    """Have Ctrl-C of the terminal at stdin come to us."""
    _heed_interrupts()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """A command on a terminal of its own."""

    def __init__(
        self, place: Place, *words: str, columns: int = 100, lines: int = 24, **environ: str
    ) -> None:
        self._own, given = pty.openpty()
        self.resize(columns, lines)
        self.process = subprocess.Popen(
            [PROGRAMS / words[0], *words[1:]],
            env={"TERM": "xterm-256color", **place.environ, **environ},
            stdin=given,
            stdout=given,
            stderr=given,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - it starts no thread
        )
        os.close(given)
        self.bytes = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def resize(self, columns: int, lines: int) -> None:
        """Be as large as this from now on."""
        fcntl.ioctl(self._own, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        """As a person would."""
        os.write(self._own, keys)

    @property
    def text(self) -> str:
        """All that it was sent."""
        return self.bytes.decode("utf-8", "replace").replace("\r\n", "\n")

    @property
    def picture(self) -> list[str]:
        """The lines of the newest picture that is whole, without its colours."""
        whole, _, _ = self.text.rpartition(CLEAR_BELOW)
        picture = whole.rpartition(HOME)[2].removeprefix("\x1b[2J")
        return [COLOUR.sub("", line).removesuffix(CLEAR_LINE) for line in picture.splitlines()]

    def wait_shown(self, text: str) -> None:
        """Wait until a picture has it."""
        try:
            wait_until(lambda: text in "\n".join(self.picture))
        except TimeoutError as exc:
            raise TimeoutError(f"not shown: {text!r}; but: {self.text[-2000:]!r}") from exc

    def wait(self) -> int:
        """Wait for its end; its exit code."""
        return self.process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join()
        os.close(self._own)

    def _read(self) -> None:
        # Linux says EIO when nobody has the other side any more
        with suppress(OSError):
            while found := os.read(self._own, 65536):
                self.bytes += found


class Pipe:
    """A command whose lines somebody reads."""

    def __init__(self, place: Place, *words: str) -> None:
        self.process = subprocess.Popen(
            [PROGRAMS / words[0], *words[1:]],
            env=place.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_heed_interrupts,  # noqa: PLW1509 - it starts no thread
        )
        assert self.process.stdout is not None
        self._stdout = self.process.stdout

    def line(self) -> str:
        """The next line; waits for it."""
        return self._stdout.readline().removesuffix("\n")

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        """Send a signal; its exit code, and what it said last on stdout and stderr."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=10)
        return self.process.returncode, out, err

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate()


def put(place: Place, branch: str, value: str = "10.0.0.5:80") -> None:
    """Register an instance."""
    place.etcd.write(place.keys.raw(RouteKey(branch, "web")), value.encode())


UNHEALTHY = '{"address":"10.0.0.6:80","state":"starting","health":"it answered 500"}'

RECORD = FrontendRecord(revision=7, routes=41, generation="7dac2604b091", domain="localhost")


def report(place: Place, name: str, record: FrontendRecord = RECORD) -> None:
    """Be a frontend that lives."""
    lease = place.etcd.grant(600).id
    place.etcd.write(place.keys.raw(FrontendKey(name)), record.dump(), lease=lease)


def test_a_list_is_coloured_on_a_terminal_and_nowhere_else(place: Place) -> None:
    put(place, "main")
    put(place, "ill", UNHEALTHY)

    with Terminal(place, "registrar", "list") as terminal:
        assert terminal.wait() == 0
    with Terminal(place, "registrar", "list", NO_COLOR="1") as colourless:
        assert colourless.wait() == 0
    piped = place.ask("list").stdout

    assert f"{GREEN}ready\x1b[0m" in terminal.text
    assert f"{YELLOW}unhealthy\x1b[0m" in terminal.text
    assert HOME not in terminal.text
    assert colourless.text == piped
    assert COLOUR.sub("", terminal.text) == piped
    assert "    it answered 500\n" in piped


def test_a_status_is_coloured_on_a_terminal_and_nowhere_else(place: Place) -> None:
    report(place, "f1")
    report(place, "f2", replace(RECORD, state="configuration refused"))

    with Terminal(place, "regenerator", "status") as terminal:
        assert terminal.wait() == 0
    with Pipe(place, "regenerator", "status") as pipe:
        piped = "".join(f"{pipe.line()}\n" for _ in range(3))

    assert f"{GREEN}ok\x1b[0m" in terminal.text
    assert f"{RED}configuration refused\x1b[0m" in terminal.text
    assert COLOUR.sub("", terminal.text) == piped


def test_a_list_follows_what_is_registered(place: Place) -> None:
    put(place, "main")
    with Terminal(place, "registrar", "list", "--watch") as terminal:
        terminal.wait_shown("main")
        put(place, "feature/login", UNHEALTHY)
        terminal.wait_shown("feature/login")
        assert terminal.picture[2] == "    it answered 500"
        place.etcd.delete(place.keys.raw(RouteKey("main", "web")))
        wait_until(lambda: "main" not in "\n".join(terminal.picture))
        # nothing empty is ever shown but at the beginning, and nothing scrolls
        assert terminal.text.count("\x1b[2J") == 1
        assert len(terminal.picture) == 3

        terminal.press(b"\x03")
        assert terminal.wait() == 130
    assert "Traceback" not in terminal.text


def test_frontends_and_claims_change_a_list_as_well(place: Place) -> None:
    put(place, "main")
    with Terminal(place, "registrar", "list", "main", "--watch") as terminal:
        terminal.wait_shown("main-web main ")
        place.etcd.write(
            place.keys.raw(ClaimKey("main", "web")),
            b'{"version":1,"created":"","labels":["main-web"]}',
        )
        terminal.wait_shown("main-web  ")
        key = place.keys.raw(RouteKey("main", "web")).decode()
        told = ({"key": key, "reason": "it is far away"},)
        report(place, "f1", replace(RECORD, url="http://localhost", rejections=told))
        terminal.wait_shown("    frontends leave it out: it is far away")
        terminal.wait_shown("main-web.localhost  ")


def test_a_status_follows_the_frontends(place: Place) -> None:
    report(place, "f1")
    with Terminal(place, "regenerator", "status", "--watch") as terminal:
        terminal.wait_shown("f1")
        report(place, "f2", replace(RECORD, revision=9))
        wait_until(lambda: len(terminal.picture) > 2)
        assert [line.split()[:5] for line in terminal.picture[1:3]] == [
            ["f1", "ok", "41", "7", "2"],
            ["f2", "ok", "41", "9", "0"],
        ]
        terminal.press(b"\x03")
        assert terminal.wait() == 130


def test_a_small_terminal_is_filled_and_not_run_over(place: Place) -> None:
    for number in range(30):
        put(place, f"a-long-name-of-a-branch-{number:02}")
    with Terminal(place, "registrar", "list", "--watch", columns=60, lines=10) as terminal:
        terminal.wait_shown("23 more lines")
        assert len(terminal.picture) == 9
        assert max(map(len, terminal.picture)) < 60
        terminal.resize(200, 40)
        terminal.wait_shown("a-long-name-of-a-branch-29")
        assert len(terminal.picture) == 31


@pytest.mark.parametrize("words", [("list",), ("list", "--watch")], ids=" ".join)
def test_what_was_written_cannot_steer_a_terminal(place: Place, words: tuple[str, ...]) -> None:
    """A branch's name, a sentence of a registrar, a reason of a frontend, a record that is none."""
    hostile = "x\u202e\u2066y"
    put(place, hostile, json.dumps(json.loads(UNHEALTHY) | {"health": "\x1b[2J\x07\r\nbad"}))
    place.etcd.write(place.keys.routes + b"\x1b]0;title\x07/web", b"\x1b[31m")
    key = place.keys.raw(RouteKey(hostile, "web")).decode()
    told = ({"key": key, "reason": "\x1b[31mred\x9b31m\x1bc"},)
    report(
        place, "f1\u202e", replace(RECORD, rejections=told, state="\x1b]0;title\x07", url="\x1bc")
    )

    with Terminal(place, "registrar", *words) as terminal:
        wait_until(lambda: "bad" in terminal.text and "is not percent-encoded" in terminal.text)
    with Terminal(place, "regenerator", "status", *words[1:]) as status:
        wait_until(lambda: "red" in status.text)

    for text in (terminal.text, status.text):
        assert OURS.sub("", text).replace("\n", "").isprintable()
    assert "title" in status.text


def test_on_a_pipe_each_change_is_a_table(place: Place) -> None:
    put(place, "main")
    with Pipe(place, "registrar", "list", "--watch") as pipe:
        assert pipe.line().startswith("BRANCH")
        assert pipe.line().startswith("main")
        # what is no change for anybody is not shown
        put(place, "main")
        put(place, "other")
        assert pipe.line() == ""
        assert pipe.line().startswith("BRANCH")
        assert pipe.line().startswith("main")
        assert pipe.line().startswith("other")
        code, out, err = pipe.end(signal.SIGINT)

    assert (code, out, err.strip()) == (130, "", "")


def test_as_json_each_change_is_a_line(place: Place) -> None:
    put(place, "main")
    report(place, "f1")
    with (
        Pipe(place, "registrar", "list", "--json", "--watch") as listed,
        Pipe(place, "regenerator", "status", "--json", "--watch") as status,
    ):
        assert [one["branch"] for one in json.loads(listed.line())] == ["main"]
        assert [one["behind_by"] for one in json.loads(status.line())] == [0]
        put(place, "ill", UNHEALTHY)
        report(place, "f2", replace(RECORD, revision=9))
        rows = {one["branch"]: one for one in json.loads(listed.line())}
        assert [one["behind_by"] for one in json.loads(status.line())] == [2, 0]

    assert (rows["ill"]["state"], rows["ill"]["health"]) == ("starting", "it answered 500")
    assert (rows["main"]["state"], rows["main"]["health"]) == ("ready", "")


def test_an_etcd_that_goes_is_told_and_so_is_that_it_is_back(tmp_path: Path) -> None:
    with EtcdServer(tmp_path) as own:
        place = Place(own, "/away")
        put(place, "main")
        with (
            Terminal(place, "registrar", "list", "--watch") as terminal,
            Pipe(place, "registrar", "list", "--watch") as pipe,
        ):
            terminal.wait_shown("main")
            assert pipe.line().startswith("BRANCH")
            assert pipe.line().startswith("main")
            own.kill()
            terminal.wait_shown("this may be old")
            assert terminal.picture[1].startswith("main")
            own.start()
            put(place, "other")
            terminal.wait_shown("other")
            wait_until(lambda: "may be old" not in "\n".join(terminal.picture))
            assert [pipe.line().split()[:1] for _ in range(4)] == [
                [],
                ["BRANCH"],
                ["main"],
                ["other"],
            ]
            code, out, err = pipe.end(signal.SIGINT)
        place.etcd.close()

    assert (code, out) == (130, "")
    assert "this may be old" in err


@pytest.mark.parametrize("words", [("registrar", "list"), ("regenerator", "status")])
def test_a_registry_that_is_not_there_ends_it(place: Place, words: tuple[str, str]) -> None:
    place.environ |= {"REGISTRY_URL": "http://127.0.0.1:1"}
    with Pipe(place, *words, "--watch") as pipe:
        out, err = pipe.process.communicate(timeout=20)

    assert (pipe.process.returncode, out) == (69, "")
    assert len(err.splitlines()) == 1
    assert "127.0.0.1:1" in err


def test_a_reader_that_goes_ends_it_without_a_word(place: Place) -> None:
    put(place, "main")
    with Pipe(place, "registrar", "list", "--watch") as pipe:
        pipe.line()
        pipe.line()
        assert pipe.process.stdout is not None
        pipe.process.stdout.close()
        put(place, "other")
        pipe.process.wait(10)
        assert pipe.process.stderr is not None
        assert pipe.process.stderr.read() == ""


def test_one_branch_is_watched_by_whoever_may_see_it_alone(place: Place) -> None:
    put(place, "main")
    put(place, "other")

    with Pipe(place, "registrar", "list", "main", "--watch", "--json") as pipe:
        assert [one["branch"] for one in json.loads(pipe.line())] == ["main"]
        put(place, "other", "10.0.0.9:80")
        put(place, "main", "10.0.0.8:80")
        [row] = json.loads(pipe.line())

    assert row["address"] == "10.0.0.8:80"
    bad = run_once(["list", "a\x07b", "--watch"], place.environ)
    assert bad.returncode == 2
    assert "control character" in bad.stderr
