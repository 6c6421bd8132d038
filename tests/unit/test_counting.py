"""Included: the port and the word that a frontend keeps for nginx to tell of requests."""

from pathlib import Path

import pytest

from regenerator.counting import open_requests
from registry.faults import StateUnwritable


def test_port_and_word_are_the_same_after_a_restart(tmp_path: Path) -> None:
    first = open_requests(tmp_path)
    first.socket.close()

    second = open_requests(tmp_path)
    second.socket.close()

    assert second[1:] == first[1:]
    assert len(first.tag) == 16


def test_where_the_port_was_given_to_somebody_else_another_one_is_kept(tmp_path: Path) -> None:
    first = open_requests(tmp_path)

    second = open_requests(tmp_path)
    second.socket.close()
    first.socket.close()
    third = open_requests(tmp_path)
    third.socket.close()

    assert second.port != first.port
    assert second.tag == first.tag
    assert third[1:] == second[1:]


@pytest.mark.parametrize(
    "kept", [b"", b"\xff", b"80", b"70000 0123456789abcdef\n", b"80 short\n", b"8080 x\n" * 9]
)
def test_what_cannot_be_read_is_chosen_anew(tmp_path: Path, kept: bytes) -> None:
    (tmp_path / "requests").write_bytes(kept)

    found = open_requests(tmp_path)
    found.socket.close()

    assert found.port
    assert len(found.tag) == 16


def test_only_this_machine_may_write_to_it(tmp_path: Path) -> None:
    found = open_requests(tmp_path)
    name = found.socket.getsockname()
    found.socket.close()

    assert name[0] == "127.0.0.1"


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(StateUnwritable, match="cannot be written"):
        open_requests(tmp_path / "nothing")
