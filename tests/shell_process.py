"""``docker/register.sh`` as a process, under each of the shells that images have."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.registrar_process import ONE_SHOT_S, Registrar

SCRIPT = Path(__file__).parents[1] / "docker" / "register.sh"

TOOLS = ("base64", "date", "env", "grep", "od", "sed", "sha256sum", "sleep", "tr")
"""What the script calls besides curl."""

SHELLS = ("dash", "busybox")


@dataclass(frozen=True, slots=True)
class Shell:
    """A shell, and the tools that come with it.

    Attributes:
        arguments: What runs a script.
        path: ``PATH`` with its own tools in front.
    """

    name: str
    arguments: tuple[str, ...]
    path: str

    def command(self, *arguments: str) -> list[str]:
        """``register.sh`` with arguments."""
        return [*self.arguments, str(SCRIPT), *arguments]

    def environ(self, given: Mapping[str, str]) -> dict[str, str]:
        """Variables, with this shell's ``PATH`` in front of theirs."""
        return {**given, "PATH": f"{self.path}{given.get('PATH', '/usr/bin:/bin')}"}


def find_shell(name: str, folder: Path) -> Shell:
    """A shell by its name; skips where the machine does not have it.

    Args:
        folder: For links to its tools.
    """
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    if name != "busybox":
        return Shell(name, (found,), "")
    for tool in TOOLS:
        (folder / tool).symlink_to(found)
    return Shell(name, (found, "ash"), f"{folder}:")


def run_once(
    shell: Shell, arguments: Sequence[str], environ: Mapping[str, str], *, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run ``register.sh`` to its end."""
    return subprocess.run(
        shell.command(*arguments),
        env=shell.environ(environ),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=ONE_SHOT_S,
        check=False,
    )


class ShellRegistrar(Registrar):
    """A ``register.sh`` that runs, with whatever it started; gone behind the ``with``."""

    def __init__(
        self,
        shell: Shell,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        *,
        around: Sequence[str] = (),
    ) -> None:
        super().__init__(arguments, shell.environ(environ), program=shell.command(), around=around)

    def members(self) -> list[str]:
        """Command lines of all processes in its session that still run."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                session = os.getsid(int(folder.name))
                line = (folder / "cmdline").read_bytes()
            except OSError:
                # it ended meanwhile
                continue
            if session == self.pid and line:
                found.append(line.replace(b"\0", b" ").decode(errors="replace").strip())
        return found
