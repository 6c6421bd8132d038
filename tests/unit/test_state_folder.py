"""The folder of a local frontend: ours alone, and nobody else's things in it."""

import stat
from pathlib import Path

import pytest

from registry.faults import ProgramMissing, SettingsInvalid
from standalone.folder import default_state, hold


def test_a_new_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with hold(tmp_path / "some" / "state") as folder:
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_a_folder_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    with (
        hold(tmp_path / "state"),
        pytest.raises(ProgramMissing, match=r"process \d+\) runs on .*/state"),
        hold(tmp_path / "state"),
    ):
        pass

    with hold(tmp_path / "state"):
        pass


def test_a_folder_with_other_things_in_it_is_left_as_it_is(tmp_path: Path) -> None:
    """``--state ~`` must not close a home folder to everybody else."""
    (tmp_path / "letter").write_text("dear", encoding="utf-8")
    tmp_path.chmod(0o755)

    with pytest.raises(SettingsInvalid, match="something else is in it"), hold(tmp_path):
        pass

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def test_the_password_is_made_up_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    with hold(tmp_path / "one") as one, hold(tmp_path / "two") as two:
        assert one.password() == one.password()
        assert one.password() != two.password()
        assert len(one.password()) == 32
        assert stat.S_IMODE((one.path / "password").stat().st_mode) == 0o600


def test_a_half_written_password_is_written_anew(tmp_path: Path) -> None:
    with hold(tmp_path / "state") as folder:
        (folder.path / "password.new").write_text("ha", encoding="ascii")

        assert len(folder.password()) == 32


def test_state_lies_where_the_xdg_specification_says() -> None:
    assert default_state({"XDG_STATE_HOME": "/x"}) == Path("/x/branchfront")
    for environ in ({}, {"XDG_STATE_HOME": "relative"}):
        assert default_state(environ) == Path.home() / ".local/state/branchfront"
