"""A line of the log is one line, and tells what it was given."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.logs import set_up


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True, scope="module")
def _root_logger() -> Iterator[None]:
    """Give the process's one logger back as it was."""
    root = logging.getLogger()
    before, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers[:] = before
    root.setLevel(level)
    logging.raiseExceptions = raising


def logged(
    log_format: str,
    act: Callable[[logging.Logger], object],
    *,
    stderr: io.StringIO | None = None,
) -> str:
    """What a program with this format has written to stderr when it acted so."""
    stream = io.StringIO() if stderr is None else stderr
    with redirect_stderr(stream):
        set_up(log_format)
        act(logging.getLogger("registrar"))
    return stream.getvalue()


def stumble(log: logging.Logger) -> None:
    try:
        [].pop()
    except IndexError:
        log.exception("a mistake")


def test_a_json_line_carries_time_level_program_message_and_what_was_added() -> None:
    added = {"branch": "feature/login", "service": "web"}

    line = json.loads(logged("json", lambda log: log.warning("lease %s lost", "7f", extra=added)))

    assert line.pop("at").endswith("Z")
    assert line == {
        "level": "warning",
        "program": "registrar",
        "message": "lease 7f lost",
        "branch": "feature/login",
        "service": "web",
    }


def test_a_json_line_of_a_mistake_carries_its_trace() -> None:
    line = json.loads(logged("json", stumble))

    assert line["message"] == "a mistake"
    assert "IndexError: pop from empty list" in line["trace"]


@given(st.text())
def test_any_text_in_a_message_stays_one_json_line(text: str) -> None:
    written = logged("json", lambda log: log.info("branch %s", text, extra={"branch": text}))

    [line] = written.splitlines()
    assert json.loads(line)["branch"] == text


@given(st.text())
def test_any_text_in_a_message_stays_one_plain_line_without_control_characters(text: str) -> None:
    written = logged("text", lambda log: log.info("branch %s", text))

    [line] = written.splitlines()
    assert line.isprintable()


def test_a_plain_line_begins_with_the_time_of_day_and_the_program() -> None:
    written = logged("text", lambda log: log.info("registered as %s", "main"))

    time_of_day, rest = written.split(" ", 1)
    assert time_of_day.count(":") == 2
    assert rest == "registrar: registered as main\n"


def test_a_plain_line_of_a_mistake_has_its_trace_below() -> None:
    first, *trace = logged("text", stumble).splitlines()

    assert first.endswith("registrar: a mistake")
    assert trace[-1] == "IndexError: pop from empty list"


def test_auto_is_json_where_nobody_looks_on() -> None:
    assert json.loads(logged("auto", lambda log: log.info("here")))["message"] == "here"


def test_auto_is_text_on_a_terminal_with_colour_for_what_needs_somebody() -> None:
    assert "\x1b" not in logged("auto", lambda log: log.info("fine"), stderr=Terminal())
    assert logged("auto", lambda log: log.error("bad"), stderr=Terminal()).startswith("\x1b[31m")


def test_text_in_a_file_has_no_colour() -> None:
    assert "\x1b" not in logged("text", lambda log: log.error("bad"))


def test_json_that_was_asked_for_is_json_on_a_terminal_too() -> None:
    assert json.loads(logged("json", lambda log: log.error("bad"), stderr=Terminal()))


def test_a_reader_of_stderr_that_is_gone_ends_nothing() -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    assert not logged("json", lambda log: log.info("nobody reads this"), stderr=Gone())


def test_set_up_twice_writes_each_line_once() -> None:
    def act(log: logging.Logger) -> None:
        set_up("json")
        log.info("once")

    assert len(logged("json", act).splitlines()) == 1


def test_the_libraries_below_us_are_silent() -> None:
    def act(_log: logging.Logger) -> None:
        logging.getLogger("urllib3.connectionpool").error("connection broken")

    assert not logged("json", act)
