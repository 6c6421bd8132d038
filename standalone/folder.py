"""The one folder in which a local frontend keeps all that it has to remember."""

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry.faults import ProgramMissing, SettingsInvalid

PASSWORD_BYTES = 16
"""128 bits: nobody finds it by trying, however cheaply etcd hashes it."""


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Where things lie in it.

    Shape:
        ``lock``, ``password``, ``etcd/``, ``etcd.log``, ``regenerator/``
    """

    path: Path

    @property
    def etcd(self) -> Path:
        """The registry's data; there is none in it before a password protects it."""
        return self.path / "etcd"

    @property
    def regenerator(self) -> Path:
        """Generations, nginx's files and the frontend's id."""
        return self.path / "regenerator"

    def log(self, name: str) -> Path:
        """What a program says."""
        return self.path / f"{name}.log"

    def password(self) -> str:
        """The password of etcd's root user, made up at the first call."""
        file = self.path / "password"
        if not file.exists():
            # renamed in, so that a run that dies here leaves no half of one
            fresh = self.path / "password.new"
            fresh.unlink(missing_ok=True)
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                out.write(secrets.token_hex(PASSWORD_BYTES))
            fresh.replace(file)
        return file.read_text(encoding="ascii").strip()


def default_state(environ: Mapping[str, str]) -> Path:
    """Where state lies unless told otherwise (XDG Base Directory Specification)."""
    given = environ.get("XDG_STATE_HOME", "")
    # a relative one is to be ignored, the specification says
    base = Path(given) if given.startswith("/") else Path.home() / ".local" / "state"
    return base / "branchfront"


@contextmanager
def hold(path: Path) -> Iterator[StateFolder]:
    """Make the folder ours alone, for as long as this process lives.

    Raises:
        SettingsInvalid: It cannot be had as a folder of our own.
        ProgramMissing: Another one runs on it.
    """
    folder = StateFolder(path.absolute())
    lock = _open(folder.path)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            pid = os.pread(lock, 20, 0).decode(errors="replace").strip()
            raise ProgramMissing(
                f"another branchfront{f' (process {pid})' if pid.isdigit() else ''} runs on"
                f" {folder.path}; end it, or take another folder with --state"
            ) from exc
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield folder
    finally:
        os.close(lock)


def _open(path: Path) -> int:
    """Make the folder, for our eyes only, and open its lock."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_uid != os.geteuid():
            raise SettingsInvalid([f"--state is {path}: the folder belongs to somebody else"])
        if not (path / "lock").exists() and any(path.iterdir()):
            # such as a home folder, which is not to be closed to everybody else
            raise SettingsInvalid(
                [f"--state is {path}: something else is in it; take a new folder"]
            )
        path.chmod(0o700)
        return os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise SettingsInvalid([f"--state is {path}: {exc.strerror or exc}"]) from exc
