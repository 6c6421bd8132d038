"""README's tables say what the programs do: every command, setting and exit code, both ways."""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType

import click
import pytest

import regenerator.cli
import registrar.cli
import standalone.cli
from registry import faults
from registry.claims import new_labels
from registry.faults import Fault

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def group_of(module: ModuleType) -> click.Group:
    [found] = [one for one in vars(module).values() if isinstance(one, click.Group)]
    return found


PROGRAMS = {
    "registrar": group_of(registrar.cli),
    "regenerator": group_of(regenerator.cli),
    "branchfront": group_of(standalone.cli),
}

SECTIONS = {
    "Every program:": tuple(PROGRAMS),
    "`registrar run`, `sidecar`, and partly `where`:": ("registrar",),
    "`registrar docker`, besides those for `TTL`, `DRAIN`, `RELEASE_TIMEOUT`, `DOCKER_HOST` and"
    " `HEALTH_*` without path and address:": ("registrar",),
    "`regenerator run` and `render`:": ("regenerator",),
    "`branchfront up`:": ("branchfront",),
}
"""The tables of settings, each with the programs that have them."""


CONTAINERS = (ROOT / "docs" / "containers.md").read_text()

QUOTED = re.findall(
    r"^From \[`([^`]+)`\].*?:\n\n```\w+\n(.*?)```$", CONTAINERS, re.MULTILINE | re.DOTALL
)
"""Files that docs/containers.md quotes, with what it quotes of each."""


@pytest.mark.parametrize(("path", "text"), QUOTED)
def test_what_is_quoted_of_an_example_stands_there(path: str, text: str) -> None:
    assert text in (ROOT / path).read_text()


def test_each_way_to_register_is_quoted() -> None:
    quoted = {path.split("/")[2] for path, _ in QUOTED}

    assert quoted == {folder.name for folder in (ROOT / "docs" / "examples").iterdir()}


def section(title: str) -> str:
    """The text below a heading of README, up to the next one."""
    return re.split(r"^## ", README.split(f"## {title}\n")[1], flags=re.MULTILINE)[0]


def table(text: str) -> list[list[str]]:
    """The cells of the first table in a text, without its head."""
    lines = text[text.index("\n|") + 1 :].splitlines()
    cells = []
    for line in lines[2:]:
        if not line.startswith("|"):
            break
        cells.append([cell.strip().replace("`", "") for cell in line.strip("|").split("|")])
    return cells


def envvars(option: click.Option) -> list[str]:
    found = option.envvar or []
    return [found] if isinstance(found, str) else list(found)


def settings_of(command: click.Command) -> Iterator[tuple[str, str, str]]:
    """Flag, variables and default of every setting that a command has."""
    for option in command.params:
        if isinstance(option, click.Option) and envvars(option):
            flag = "" if option.hidden else option.opts[0]
            yield flag, ", ".join(envvars(option)), str(option.default or "")


def all_commands() -> list[tuple[str, click.Command]]:
    """Every command by its full name."""
    return [
        (f"{program} {name}", command)
        for program, group in PROGRAMS.items()
        for name, command in group.commands.items()
    ]


def documented() -> list[tuple[str, tuple[str, str, str]]]:
    """Every row of the settings tables, with the title of its table."""
    text = section("Settings")
    return [
        (title, (flag, variables, default))
        for title in SECTIONS
        for flag, variables, default, _meaning in table(text.split(f"{title}\n")[1])
    ]


@pytest.mark.parametrize(("title", "row"), documented())
def test_a_setting_of_readme_is_one_of_the_programs(title: str, row: tuple[str, str, str]) -> None:
    commands = [one for name, one in all_commands() if name.split()[0] in SECTIONS[title]]

    assert row in set(chain.from_iterable(map(settings_of, commands)))


@pytest.mark.parametrize(("name", "command"), all_commands())
def test_every_setting_of_a_command_is_in_readme(name: str, command: click.Command) -> None:
    rows = {row for _, row in documented()}

    group = PROGRAMS[name.split(maxsplit=1)[0]]
    assert {*settings_of(command), *settings_of(group)} <= rows


def test_every_command_is_in_readme_and_the_reverse() -> None:
    rows = {" ".join(row[0].split()[:2]) for row in table(section("Commands"))}

    assert rows == {name for name, _ in all_commands()}


@pytest.mark.parametrize(("name", "command"), all_commands())
def test_a_flag_without_a_variable_is_named_where_its_command_is(
    name: str, command: click.Command
) -> None:
    [row] = [row for row in table(section("Commands")) if f"{row[0]} ".startswith(f"{name} ")]
    if name == "branchfront demo":
        # "the same" refers to the row above
        row += next(r for r in table(section("Commands")) if r[0].startswith("branchfront up"))
    if name == "registrar sidecar":
        row += next(r for r in table(section("Commands")) if r[0].startswith("registrar run"))

    for option in command.params:
        if isinstance(option, click.Option) and not envvars(option) and not option.hidden:
            assert re.search(rf"{option.opts[0]}(?![a-z-])", " ".join(row))


@pytest.mark.parametrize(("name", "command"), all_commands())
def test_a_commands_arguments_stand_in_readme_as_it_takes_them(
    name: str, command: click.Command
) -> None:
    [row] = [row for row in table(section("Commands")) if f"{row[0]} ".startswith(f"{name} ")]

    wanted = [(p.name or "").upper() for p in command.params if isinstance(p, click.Argument)]
    assert [word for word in re.findall(r"[A-Z]{3,}", row[0]) if word in wanted] == wanted


@pytest.mark.parametrize(("branch", "service", "hosts"), table(section("Hosts")))
def test_the_hosts_of_readme_are_those_that_a_branch_gets(
    branch: str, service: str, hosts: str
) -> None:
    name, _, earlier = branch.partition(", where ")
    taken = (
        new_labels(earlier.split()[0], service, default_service="web", taken=()) if earlier else ()
    )

    labels = new_labels(name, service, default_service="web", taken=taken)
    assert hosts.split(", ") == [f"{label}.dev.example.com" for label in labels]


def test_every_exit_code_is_in_readme_and_the_reverse() -> None:
    of_faults = {
        fault.exit_code
        for fault in vars(faults).values()
        if isinstance(fault, type) and issubclass(fault, Fault)
    }
    in_readme = {
        int(code) for row in table(section("Exit codes")) for code in re.findall(r"\d+", row[0])
    }

    # 0 and 1 and what a shell adds to a signal's number belong to no fault
    assert in_readme - {0, 1, 128} == of_faults


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")))
def test_no_link_between_the_pages_is_broken(path: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", path.read_text())

    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_list_of_decisions_has_all_of_them() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"\((\d{4}-[a-z0-9-]+\.md)\)", (folder / "README.md").read_text())

    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))


def test_the_version_is_the_changelogs() -> None:
    [version] = re.findall(r"^version = (.+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)

    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()
