"""The state folder: only what is whole is used, and what serves is never thrown away."""

import os
import shutil
from pathlib import Path

import pytest

from regenerator.generations import KEPT, Generations
from regenerator.render import RenderSettings, Tree
from regenerator.routes import RouteTable
from regenerator.templates import default_folder, load
from registry.faults import ProgramMissing, StateUnwritable


def tree(domain: str = "localhost") -> Tree:
    settings = RenderSettings(domain, f"http://{domain}", ("127.0.0.1:8080",))
    return load(default_folder(), settings).render(RouteTable((), ()))


@pytest.fixture(name="state")
def _state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture(name="generations")
def _generations(state: Path) -> Generations:
    made = Generations(state)
    made.lock().close()
    made.prepare()
    return made


def test_a_staged_generation_is_whole(generations: Generations) -> None:
    found = generations.stage(tree())

    assert generations.is_whole(found.name)
    assert (found / "pages" / "404.html").is_file()


@pytest.mark.parametrize("name", ["routes.conf", "nginx.conf", "pages/index.json"])
@pytest.mark.parametrize("left", [0, 10])
def test_a_file_that_was_cut_short_is_noticed_and_written_anew(
    name: str, left: int, generations: Generations
) -> None:
    staged = generations.stage(tree())
    os.truncate(staged / name, left)
    assert not generations.is_whole(staged.name)

    generations.stage(tree())

    assert generations.is_whole(staged.name)


def test_a_file_that_is_missing_is_noticed(generations: Generations) -> None:
    staged = generations.stage(tree())
    (staged / "pages" / "404.html").unlink()

    assert not generations.is_whole(staged.name)


def test_a_file_that_is_no_text_is_noticed(generations: Generations) -> None:
    staged = generations.stage(tree())
    (staged / "routes.conf").write_bytes(b"\xff\xff")

    assert not generations.is_whole(staged.name)


def test_nothing_is_not_whole(generations: Generations) -> None:
    assert not generations.is_whole("000000000000")


def test_the_serving_generation_is_kept_though_the_clock_was_put_back(
    generations: Generations, state: Path
) -> None:
    """All the others then look newer than what was good last."""
    serving = tree()
    generations.stage(serving)
    for number in range(2 * KEPT):
        other = generations.stage(tree(f"domain-{number}"))
        os.utime(other, (4e9, 4e9))

    generations.keep(serving.generation)

    assert generations.is_whole(serving.generation)
    assert len(list((state / "generations").iterdir())) == KEPT


def test_a_link_that_leads_nowhere_is_none(generations: Generations, state: Path) -> None:
    staged = generations.stage(tree())
    generations.link(staged.name)
    assert generations.linked() == staged.name

    shutil.rmtree(staged)

    assert generations.linked() == ""
    assert generations.by_age() == []
    assert (state / "conf.d").is_symlink()


def test_what_was_half_written_is_cleared_away(generations: Generations, state: Path) -> None:
    half = state / "generations" / "000000000000.new"
    half.mkdir()

    generations.prepare()

    assert not half.exists()


@pytest.mark.parametrize("found", ["", "\0" * 16, "not hex at all!!", "../../etc/passwd"])
def test_a_name_that_cannot_be_ours_is_drawn_anew(
    found: str, generations: Generations, state: Path
) -> None:
    """A power cut may leave an empty file."""
    (state / "frontend-id").write_text(found)

    name = generations.frontend_id()

    assert len(name) == 16
    assert generations.frontend_id() == name


def test_a_folder_is_held_by_one_alone(generations: Generations, state: Path) -> None:
    with generations.lock(), pytest.raises(ProgramMissing, match="another regenerator runs on"):
        Generations(state).lock()
    Generations(state).lock().close()


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")

    with pytest.raises(StateUnwritable, match="cannot be written"):
        Generations(tmp_path / "state").lock()
