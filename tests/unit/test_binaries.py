"""Which etcd and nginx are taken; with small scripts that say a version."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from registry.faults import ProgramMissing
from standalone.binaries import ETCD, NGINX, Program, find

Script = Callable[[str, str], Path]


@pytest.fixture(name="script")
def _script(tmp_path: Path) -> Script:
    """Put a program that says something into a folder of that name."""

    def write(file: str, says: str) -> Path:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{says}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    return write


def without_package(program: Program) -> Program:
    def packaged() -> Path:
        raise ImportError("not installed")

    return replace(program, packaged=packaged)


def test_the_first_on_path_that_is_new_enough_is_taken(script: Script) -> None:
    new = script("new/nginx", "echo 'nginx version: nginx/1.30.1' >&2")
    newer = script("newer/nginx", "echo 'nginx version: nginx/1.31.0' >&2")

    found = find(NGINX, path=f"{new.parent}:{newer.parent}")

    assert (found.path, found.version, found.skipped) == (new, (1, 30, 1), ())


def test_one_that_is_too_old_is_skipped_and_named(script: Script) -> None:
    old = script("old/nginx", "echo 'nginx version: nginx/1.22.1' >&2")
    new = script("new/nginx", "echo 'nginx version: nginx/1.27.4' >&2")

    found = find(NGINX, path=f"{old.parent}:{new.parent}")

    assert found.path == new
    assert found.skipped == (f"{old} is 1.22.1, too old: 1.27.4 is needed",)


def test_the_package_is_taken_where_path_has_none_new_enough(script: Script) -> None:
    old = script("old/etcd", "echo 'etcd Version: 3.3.25'")
    packaged = script("package/etcd", "echo 'etcd Version: 3.5.1'")

    found = find(replace(ETCD, packaged=lambda: packaged), path=str(old.parent))

    assert (found.path, found.version) == (packaged, (3, 5, 1))
    assert "3.3.25, too old" in found.skipped[0]


def test_the_packages_of_the_extra_bring_both(tmp_path: Path) -> None:
    assert ETCD.packaged().is_file()
    assert find(replace(NGINX, name="nginx-elsewhere"), path=str(tmp_path)).version >= (1, 31, 3)


def test_a_missing_program_is_one_sentence_with_a_way_out(tmp_path: Path) -> None:
    program = replace(without_package(ETCD), name="etcd-elsewhere")

    with pytest.raises(ProgramMissing) as caught:
        find(program, path=str(tmp_path))

    said = str(caught.value)
    assert "none on PATH" in said
    assert "pip install 'branchfront[standalone]'" in said
    assert "--etcd-elsewhere" in said
    assert "\n" not in said


def test_only_one_that_is_too_old_is_said_to_be_so(script: Script) -> None:
    old = script("old/etcd-elsewhere", "echo 'etcd Version: 3.3.25'")
    program = replace(without_package(ETCD), name="etcd-elsewhere")

    with pytest.raises(ProgramMissing, match=r"3\.3\.25, too old: 3\.4\.0 is needed") as caught:
        find(program, path=str(old.parent))

    assert "none on PATH" not in str(caught.value)


def test_what_a_flag_gives_is_taken_or_refused_and_nothing_else_is_looked_at(
    script: Script, tmp_path: Path
) -> None:
    old = script("old/etcd", "echo 'etcd Version: 3.3.25'")
    new = script("new/etcd", "echo 'etcd Version: 3.6.4'")

    assert find(ETCD, given=str(new), path="").version == (3, 6, 4)
    with pytest.raises(ProgramMissing, match=r"--etcd is .*/old/etcd: it is 3\.3\.25, too old"):
        find(ETCD, given=str(old), path=str(new.parent))
    with pytest.raises(ProgramMissing, match="there is no program of that name"):
        find(ETCD, given=str(tmp_path / "nowhere"), path=str(new.parent))


@pytest.mark.parametrize("says", ["echo hello", "exit 1", "echo 'nginx version: nginx/new' >&2"])
def test_a_program_that_says_no_version_is_not_taken(script: Script, says: str) -> None:
    odd = script("odd/nginx", says)

    with pytest.raises(ProgramMissing, match="does not say its version"):
        find(NGINX, given=str(odd))


def test_openresty_counts_as_the_nginx_it_is_made_of(script: Script) -> None:
    other = script("other/nginx", "echo 'nginx version: openresty/1.27.4.1' >&2")

    assert find(NGINX, given=str(other)).version == (1, 27, 4)
