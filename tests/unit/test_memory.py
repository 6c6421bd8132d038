"""What the brake knows survives a restart, and nothing that was cut short is believed."""

import os
from pathlib import Path

import pytest

from regenerator.brake import Memory
from regenerator.memory import MemoryFile
from registry.faults import StateUnwritable
from registry.snapshot import Entry, Snapshot

NOW = 1_800_000_000.0
ENTRIES = {
    b"/r/a": Entry(b"/r/a", b"10.0.0.1:80", -5, 7, 1 << 62),
    b"/r/\xff": Entry(b"/r/\xff", b"\x00\xff", 8, 9, 0),
}
MEMORY = Memory(Snapshot("14841639068965178418", 812, ENTRIES), frozenset({b"/r/a"}))


def memory_file(folder: Path, *, now: float = NOW) -> MemoryFile:
    return MemoryFile(folder / "registry.json", recent_s=60, now=lambda: now)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    memory_file(tmp_path).write(MEMORY)
    os.utime(tmp_path / "registry.json", (NOW, NOW))

    assert memory_file(tmp_path).read() == Memory(MEMORY.snapshot, MEMORY.held, is_recent=True)
    assert memory_file(tmp_path, now=NOW + 61).read() == MEMORY


def test_a_sign_of_life_makes_it_recent_again(tmp_path: Path) -> None:
    memory_file(tmp_path).write(MEMORY)
    path = tmp_path / "registry.json"
    os.utime(path, (1, 1))
    memory_file(tmp_path).touch()

    found = MemoryFile(path, recent_s=60).read()
    assert found is not None
    assert found.is_recent


def test_nothing_is_there_at_first(tmp_path: Path) -> None:
    memory_file(tmp_path).touch()

    assert memory_file(tmp_path).read() is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"version": 1}',
        '{"cluster_id": "1", "revision": 1, "held": [], "entries": [["YQ=="]]}',
        '{"cluster_id": "1", "revision": "x", "held": [], "entries": []}',
        '{"cluster_id": "1", "revision": 1, "held": 3, "entries": []}',
        '{"cluster_id": "1", "revision": 1e999, "held": [], "entries": []}',
        "[" * 200_000,
        '{"cluster_id": "1", "revision": 1, "held": [], "entries": [["é", "", 1, 1, 1]]}',
    ],
)
def test_what_cannot_be_read_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "registry.json").write_text(text)

    assert memory_file(tmp_path).read() is None


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(StateUnwritable, match=r"registry\.json cannot be written"):
        memory_file(tmp_path / "missing").write(MEMORY)
