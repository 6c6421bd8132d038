"""The state folder: generations on disk, the link to the serving one, markers of the living.

Shape::

    conf.d -> generations/7dac2604b091   what nginx reads, swapped atomically
    generations/<generation>/            one rendered configuration each; the last good ones stay
    refused/                             the last one that nginx refused, for a person to look at
    live/<generation>                    there while its workers may answer
    registry.json                        what was served last, for the brake; see memory.py
    history.db                           what was served when; see dashboard/history/archive.py
    requests                             where nginx tells of requests; see counting.py
    tls/                                 certificate and key in use; see certificates.py
    run/  logs/  check/  frontend-id     sockets and pid file; logs; a prefix for ``nginx -t``
"""

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from regenerator.render import ACCESS, Tree, is_named_after
from regenerator.whole_file import write_whole
from registry.faults import ProgramMissing, StateUnwritable

KEPT = 5
"""Good generations that stay on disk; a boot falls back on them one by one."""


class Generations:
    """Whatever of the state folder is not nginx's own."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._folder = state / "generations"
        self._link = state / "conf.d"

    def prepare(self) -> None:
        """Make the folders, for nobody but us: the sockets in them answer whoever may enter.

        Raises:
            StateUnwritable: They cannot be made or written.
        """
        with _writing(self.state):
            names = ("generations", "live", "run", "logs", "check/run", "check/logs")
            for name in names:
                (self.state / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            for half_done in self._folder.glob("*.new"):
                shutil.rmtree(half_done)
            # writable folders can still be on a full or read-only disk
            probe = self.state / "run" / "probe"
            probe.write_text("can we write here?")
            probe.unlink()

    def lock(self) -> TextIO:
        """Keep others off the folder for as long as the returned file stays open.

        Raises:
            ProgramMissing: Somebody has it.
        """
        with _writing(self.state):
            self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = (self.state / "regenerator.lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            file.close()
            raise ProgramMissing(
                f"another regenerator runs on {self.state}; stop it, or give this one a --state"
                " of its own"
            ) from exc
        return file

    def frontend_id(self) -> str:
        """The frontend's own random name, the same for as long as the folder lives."""
        path = self.state / "frontend-id"
        with _writing(self.state):
            found = path.read_text(errors="replace").strip() if path.exists() else ""
            if not re.fullmatch(r"[0-9a-f]{16}", found):
                # new, or a power cut left it empty
                found = secrets.token_hex(8)
                write_whole(path, found)
            return found

    def stage(self, tree: Tree) -> Path:
        """Write a generation beside the serving one; there whole or not at all.

        Raises:
            StateUnwritable: Nothing that serves has changed.
        """
        target = self._folder / tree.generation
        if self.is_whole(tree.generation):
            return target
        half_done = self._folder / f"{tree.generation}.new"
        with _writing(self.state):
            shutil.rmtree(half_done, ignore_errors=True)
            shutil.rmtree(target, ignore_errors=True)
            try:
                write_tree(tree, half_done)
                half_done.rename(target)
            except OSError:
                shutil.rmtree(half_done, ignore_errors=True)
                raise
        return target

    def lets_in(self, generation: str, access: str) -> bool:
        """Whether it lets in whom it should: nobody more because it was rendered before.

        One without the file is older than all rules, and open.
        """
        try:
            found = (self._folder / generation / ACCESS).read_text()
        except (OSError, UnicodeDecodeError):
            found = ""
        return found.strip() == access

    def is_whole(self, generation: str) -> bool:
        """Whether all its files are on disk as they were written: a power cut may empty some."""
        folder = self._folder / generation
        try:
            found = [path for path in folder.rglob("*") if path.is_file()]
            files = {path.relative_to(folder).as_posix(): path.read_text() for path in found}
        except (OSError, UnicodeDecodeError):
            return False
        return is_named_after(files, generation)

    def refuse(self, generation: str) -> None:
        """Put a generation that nginx refused aside, where a person can look at it."""
        with _writing(self.state):
            shutil.rmtree(self.state / "refused", ignore_errors=True)
            (self._folder / generation).rename(self.state / "refused")

    def linked(self) -> str:
        """The generation that nginx would read now; empty if there is none."""
        try:
            target = self._link.readlink().name
        except OSError:
            return ""
        return target if (self._folder / target / "nginx.conf").is_file() else ""

    def link(self, generation: str) -> None:
        """Let nginx read this generation from now on, and let its workers answer.

        Raises:
            StateUnwritable: The link is as it was.
        """
        with _writing(self.state):
            (self.state / "live" / generation).touch()
            _relink(self._link, f"generations/{generation}")

    def retire_others(self, generation: str) -> None:
        """From now on only workers of this generation answer from their own table.

        All others send what comes to them to this generation's own socket.
        """
        with _writing(self.state):
            _relink(self.state / "run" / "hop.sock", f"{generation}.sock")
            for marker in (self.state / "live").iterdir():
                if marker.name != generation:
                    marker.unlink(missing_ok=True)

    def keep(self, generation: str) -> None:
        """Note a generation as good: safe from a power cut, and the newest to fall back on."""
        with _writing(self.state):
            folder = self._folder / generation
            for path in folder.glob("*.conf"):
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            os.utime(folder)
            # were the clock put back, the one that serves would not look like the newest
            others = [other for other in self.by_age() if other != generation]
            for other in others[KEPT - 1 :]:
                shutil.rmtree(self._folder / other, ignore_errors=True)

    def by_age(self) -> list[str]:
        """All generations on disk, the one that was good last in front."""
        found = [path for path in self._folder.iterdir() if (path / "nginx.conf").is_file()]
        return [p.name for p in sorted(found, key=lambda p: p.stat().st_mtime_ns, reverse=True)]


def write_tree(tree: Tree, folder: Path) -> None:
    """Write all files of a tree below a folder that is made for it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in tree.files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def _relink(link: Path, target: str) -> None:
    """Lead a link elsewhere; nobody ever finds it missing."""
    beside = link.with_name(f"{link.name}.new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    beside.rename(link)


@contextmanager
def _writing(state: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StateUnwritable(
            f"the state folder {state} cannot be written: {exc.strerror or exc}"
            f"{f' ({exc.filename})' if exc.filename else ''}"
        ) from exc
