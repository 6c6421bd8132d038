"""The state folder full, read-only, oddly named or an ordinary user's: what serves stays."""

import errno
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from registry.keys import RouteKey
from tests.etcd_server import EtcdServer
from tests.system.frontend import COMMAND, Frontend
from tests.system.origin import Origin

pytestmark = pytest.mark.system

HOST = "demo.localhost"

NOBODY = 65534
"""The ordinary user that every Linux has."""

AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")

IN_SMALL_DISK = 'mkdir -p "$STATE" && mount -t tmpfs -o size=2m none "$STATE" && exec "$@"'
"""A mount that only the process sees, and that ends with it."""


@pytest.fixture(scope="module", name="origins")
def _origins() -> Iterator[tuple[Origin, Origin]]:
    with Origin("old") as old, Origin("new") as new:
        yield old, new


@pytest.fixture(name="folder")
def _folder() -> Iterator[Path]:
    """A folder that an ordinary user may enter and write, too."""
    with tempfile.TemporaryDirectory(prefix="branchfront-test-") as name:
        if os.geteuid() == 0:
            os.chown(name, NOBODY, NOBODY)
        yield Path(name)


@pytest.fixture(name="ordinary")
def _ordinary(folder: Path, etcd: EtcdServer) -> Frontend:
    """A frontend of an ordinary user, yet to be started."""
    frontend = Frontend(folder, etcd=etcd, REGISTRY_PREFIX=f"/{folder.name}")
    if os.geteuid() == 0:
        frontend.wrapper = AS_NOBODY
        if subprocess.run([*AS_NOBODY, COMMAND, "--help"], check=False).returncode:
            pytest.skip("the interpreter lies where an ordinary user may not go")
    return frontend


def test_a_full_disk_keeps_what_serves_until_there_is_space(
    tmp_path: Path, etcd: EtcdServer, origins: tuple[Origin, Origin]
) -> None:
    old, new = origins
    private = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    if subprocess.run([*private, "mount", "-t", "tmpfs", "none", "/mnt"], check=False).returncode:
        pytest.skip("mounting a small disk needs a mount namespace, which this machine refuses")
    frontend = Frontend(tmp_path, etcd=etcd, REGISTRY_PREFIX=f"/{tmp_path.name}")
    frontend.wrapper = (*private, "sh", "-c", IN_SMALL_DISK, "sh")

    with frontend, seen_from_inside(frontend):
        frontend.put("demo", "web", old.address)
        fill(frontend.state / "filler")
        key = frontend.keys.raw(RouteKey("demo", "web"))
        revision = frontend.etcd.write(key, new.address.encode())
        frontend.wait_for_state("state unwritable")
        assert frontend.ask(HOST).text == old.name

        (frontend.state / "filler").unlink()
        frontend.wait_for(revision)

        assert frontend.ask(HOST).text == new.name
        frontend.wait_for_state("ok")


@contextmanager
def seen_from_inside(frontend: Frontend) -> Iterator[None]:
    """Look at the state folder as the regenerator sees it, with what is mounted there."""
    assert frontend.process is not None
    outside = frontend.state
    frontend.state = Path(f"/proc/{frontend.process.pid}/root{outside}")
    try:
        yield
    finally:
        frontend.state = outside


def fill(path: Path) -> None:
    """Write until there is no space."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as exc:
            assert exc.errno == errno.ENOSPC


def test_an_ordinary_user_runs_it(
    ordinary: Frontend, origins: tuple[Origin, Origin], folder: Path
) -> None:
    with ordinary:
        ordinary.put("demo", "web", origins[0].address)

        assert ordinary.ask(HOST).text == "old"
        assert ordinary.ask("nobody.localhost").status == 404
        assert ordinary.ask(HOST, "/upload", method="POST", body=bytes(1 << 20)).status == 200
        mode = (folder / "state").stat()
        assert stat.S_IMODE(mode.st_mode) == 0o700
        assert mode.st_uid != 0


def test_a_folder_that_cannot_be_written_any_more_keeps_what_serves(
    ordinary: Frontend, origins: tuple[Origin, Origin]
) -> None:
    old, new = origins
    with ordinary:
        ordinary.put("demo", "web", old.address)
        generations = ordinary.state / "generations"
        generations.chmod(0o500)
        try:
            key = ordinary.keys.raw(RouteKey("demo", "web"))
            revision = ordinary.etcd.write(key, new.address.encode())
            ordinary.wait_for_state("state unwritable")
            assert ordinary.ask(HOST).text == old.name
        finally:
            generations.chmod(0o700)
        ordinary.wait_for(revision)

        assert ordinary.ask(HOST).text == new.name


def test_a_folder_that_cannot_be_written_at_the_start_is_said_in_one_sentence(
    ordinary: Frontend, folder: Path, tmp_path: Path
) -> None:
    ordinary.log = tmp_path / "log"
    folder.chmod(0o555)
    if os.geteuid() == 0:
        os.chown(folder, 0, 0)

    ordinary.start(wait=False)

    assert ordinary.process is not None
    assert ordinary.process.wait(15) == 69
    ordinary.process = None
    assert ordinary.log.read_text() == (
        f"regenerator: the state folder {ordinary.state} cannot be written: Permission denied"
        f" ({ordinary.state})\n"
    )


@pytest.mark.parametrize("name", ["d" * 120, "a folder with 'spaces' and ä", "semi;colon{brace}"])
def test_the_folder_may_have_any_name(
    name: str, tmp_path: Path, etcd: EtcdServer, origins: tuple[Origin, Origin]
) -> None:
    """A unix socket's path ends at 107 characters, and nginx reads some of them as syntax."""
    prefix = f"/{tmp_path.name}"
    with Frontend(tmp_path / name, etcd=etcd, REGISTRY_PREFIX=prefix) as frontend:
        frontend.put("demo", "web", origins[0].address)
        assert frontend.ask(HOST).text == "old"
        assert frontend.ask("nobody.localhost").status == 404
        master = frontend.nginx_pid()

        frontend.kill()
        frontend.start()
        frontend.put("demo", "web", origins[1].address)

        assert frontend.ask(HOST).text == "new"
        assert frontend.nginx_pid() == master
