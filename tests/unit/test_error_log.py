"""nginx's error log: what is grave, and what of it is news."""

from pathlib import Path

import pytest

from regenerator.error_log import ErrorLog

TAKEN = (
    "2026/11/21 07:38:37 [emerg] 3587#3587: bind() to 127.0.0.1:80 failed (98: Address in use)\n"
)
ORDINARY = "2026/11/21 07:38:37 [warn] 3587#3587: something else\n"


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "error.log"


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_only_what_is_grave_is_told_and_without_time_and_pid(path: Path) -> None:
    append(path, ORDINARY + TAKEN)

    assert ErrorLog(path).grave() == ["bind() to 127.0.0.1:80 failed (98: Address in use)"]


def test_what_was_logged_before_the_mark_is_past(path: Path) -> None:
    log = ErrorLog(path)
    append(path, TAKEN)
    log.mark()
    assert log.grave() == []

    append(path, "[emerg] 1#1: still could not bind()\n")

    assert log.grave() == ["still could not bind()"]


def test_a_log_that_was_rotated_is_read_from_its_beginning(path: Path) -> None:
    log = ErrorLog(path)
    append(path, TAKEN + TAKEN)
    log.mark()

    path.unlink()
    append(path, TAKEN)

    assert len(log.grave()) == 1


def test_no_log_says_nothing(path: Path) -> None:
    log = ErrorLog(path)
    log.mark()

    assert log.grave() == []
