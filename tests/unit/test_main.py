"""However a program ends: one sentence and an exit code, and no traceback for what is not ours."""

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import click
import pytest

from registry import faults
from registry.faults import Fault, Owner
from registry.main import run_program


def end_of(exception: BaseException | None) -> int | str | None:
    """The exit code of a program whose command ends so."""

    @click.group()
    def program() -> None:
        pass

    @program.command()
    def act() -> None:
        if exception is not None:
            raise exception

    with pytest.raises(SystemExit) as ended:
        run_program(program, "program", ["act"])
    return ended.value.code


def test_a_command_that_returns_ends_with_0() -> None:
    assert end_of(None) == 0


def test_a_command_may_say_its_exit_code() -> None:
    assert end_of(click.exceptions.Exit(3)) == 3


def test_ctrl_c_ends_as_a_shell_says_it() -> None:
    assert end_of(KeyboardInterrupt()) == 130


def test_an_argument_that_click_refuses_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert end_of(click.UsageError("no such branch")) == 2
    assert "no such branch" in capsys.readouterr().err


def test_a_fault_is_one_sentence_on_stderr_and_its_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert end_of(faults.StoreDenied("etcd refused user registrar")) == 77

    captured = capsys.readouterr()
    assert captured.err == "program: etcd refused user registrar\n"
    assert not captured.out


def test_our_own_mistake_ends_with_70(caplog: pytest.LogCaptureFixture) -> None:
    assert end_of(RuntimeError("boom")) == 70
    assert "a mistake of ours" in caplog.text
    assert "RuntimeError: boom" in caplog.text


def test_a_reader_of_our_output_that_is_gone_is_no_mistake(tmp_path: Path) -> None:
    with (tmp_path / "stdout").open("w") as stdout, redirect_stdout(stdout):
        assert end_of(BrokenPipeError()) == 0


def all_faults() -> list[type[Fault]]:
    return [
        found
        for found in vars(faults).values()
        if isinstance(found, type) and issubclass(found, Fault) and found is not Fault
    ]


@pytest.mark.parametrize("fault", all_faults())
def test_the_tree_of_faults_says_owner_and_exit_code_of_each(fault: type[Fault]) -> None:
    rows = [line.split() for line in (faults.__doc__ or "").splitlines()]
    [row] = [row for row in rows if row and row[0] == fault.__name__]

    owner = " ".join(row[1 : 1 + len(fault.owner.split())])
    assert owner == fault.owner
    assert row[1 + len(fault.owner.split())] == str(fault.exit_code)


def test_the_tree_of_faults_names_none_that_is_gone() -> None:
    known = {fault.__name__ for fault in all_faults()} | {"Fault", "Rejection"}
    rows = [line.split()[0] for line in (faults.__doc__ or "").splitlines() if "  " in line]

    assert set(rows) <= known


@pytest.mark.parametrize("fault", all_faults())
def test_an_exit_code_is_clicks_a_shells_or_one_of_sysexits(fault: type[Fault]) -> None:
    assert fault.exit_code in {2, 69, 70, 75, 77, 78, 126, 127}
    assert isinstance(fault.owner, Owner)


def test_settings_that_are_bad_are_told_together() -> None:
    fault = faults.SettingsInvalid(["PORT is not set", "NAME is not set"])

    assert str(fault) == "PORT is not set; NAME is not set"
    assert fault.problems == ("PORT is not set", "NAME is not set")


def test_a_refusal_of_nginx_is_told_in_its_own_words() -> None:
    fault = faults.ConfigRejected('unexpected "}" in line 4')

    assert fault.verdict == 'unexpected "}" in line 4'
    assert str(fault) == 'nginx refused the configuration: unexpected "}" in line 4'


def test_a_compacted_watch_knows_where_history_begins() -> None:
    assert faults.WatchCompacted(17).compact_revision == 17


def test_a_fault_is_told_where_the_terminal_cannot_show_its_text() -> None:
    # as Python opens stderr under LANG=C
    stderr = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")

    with redirect_stderr(stderr):
        assert end_of(faults.PlaceUnknown("branch 日本 has no address")) == 69
