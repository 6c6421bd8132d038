"""The state folder full, read-only, damaged, oddly named or somebody else's: what serves stays."""

import errno
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry.keys import RouteKey
from tests.etcd_server import EtcdServer, wait_until
from tests.system.frontend import COMMAND, Frontend
from tests.system.origin import Origin

pytestmark = pytest.mark.system

HOST = "demo.localhost"

NOWHERE = "http://127.0.0.1:1"
"""An etcd that is down: nobody may listen on port 1 but root, and root does not."""

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
    frontend.wrapper = AS_NOBODY if os.geteuid() == 0 else ()
    return frontend


@pytest.fixture(scope="module", name="pristine")
def _pristine(
    tmp_path_factory: pytest.TempPathFactory, etcd: EtcdServer, origins: tuple[Origin, Origin]
) -> Iterator[Frontend]:
    """A frontend that stopped after two generations: the branch led to old, then to new."""
    folder = tmp_path_factory.mktemp("grown")
    with Frontend(folder, etcd=etcd, REGISTRY_PREFIX=f"/{folder.name}") as frontend:
        for origin in origins:
            frontend.put("demo", "web", origin.address)
        frontend.stop()
        shutil.copytree(frontend.state, folder / "kept", symlinks=True)
        yield frontend


@pytest.fixture(name="grown")
def _grown(pristine: Frontend) -> Iterator[Frontend]:
    """That frontend, yet to be started, on a folder that nobody has touched since."""
    shutil.rmtree(pristine.state)
    shutil.copytree(pristine.state.parent / "kept", pristine.state, symlinks=True)
    pristine.log.write_text("")
    try:
        yield pristine
    finally:
        pristine.stop()


def linked(frontend: Frontend) -> Path:
    """The folder of the generation that nginx would read."""
    return (frontend.state / "conf.d").resolve()


def lead_nowhere(frontend: Frontend) -> None:
    (frontend.state / "conf.d").unlink()
    (frontend.state / "conf.d").symlink_to("generations/000000000000")


def halve(name: str) -> Callable[[Frontend], None]:
    def cut(frontend: Frontend) -> None:
        path = linked(frontend) / name
        os.truncate(path, path.stat().st_size // 2)

    return cut


def empty(name: str) -> Callable[[Frontend], None]:
    return lambda frontend: os.truncate(linked(frontend) / name, 0)


@pytest.mark.parametrize(
    ("damage", "served"),
    [
        pytest.param(lead_nowhere, "new", id="the link leads nowhere"),
        pytest.param(lambda f: shutil.rmtree(linked(f)), "old", id="the generation is gone"),
        pytest.param(empty("routes.conf"), "old", id="an empty table"),
        pytest.param(halve("routes.conf"), "old", id="half a table"),
        pytest.param(empty("servers.conf"), "old", id="no servers, which nginx does not mind"),
        pytest.param(empty("pages/404.html"), "old", id="an empty page"),
        pytest.param(
            lambda f: (f.state / "frontend-id").write_text(""),
            "new",
            id="a frontend without a name",
        ),
    ],
)
def test_a_start_after_a_power_cut_finds_the_newest_good_generation(
    damage: Callable[[Frontend], None], served: str, grown: Frontend
) -> None:
    registry = grown.settings["REGISTRY_URL"]
    damage(grown)

    grown.settings["REGISTRY_URL"] = NOWHERE
    grown.start()
    assert grown.ask(HOST).text == served
    grown.stop()

    # and with etcd back, what is right again
    grown.settings["REGISTRY_URL"] = registry
    grown.start()
    grown.put("later", "web", "127.0.0.1:9000")
    assert grown.ask(HOST).text == "new"
    assert grown.ask("nobody.localhost").text.startswith("<!doctype html>")


def test_a_full_disk_keeps_what_serves_until_there_is_space(
    tmp_path: Path, etcd: EtcdServer, origins: tuple[Origin, Origin]
) -> None:
    old, new = origins
    private = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    if subprocess.run([*private, "mount", "-t", "tmpfs", "none", "/mnt"], check=False).returncode:
        pytest.skip("mounting a small disk needs a mount namespace, which this machine refuses")
    frontend = Frontend(tmp_path, etcd=etcd, REGISTRY_PREFIX=f"/{tmp_path.name}")
    frontend.wrapper = (*private, "sh", "-c", IN_SMALL_DISK, "sh")

    with frontend:
        assert frontend.process is not None
        # as the process sees it
        frontend.state = Path(f"/proc/{frontend.process.pid}/root{frontend.state}")
        frontend.put("demo", "web", old.address)
        fill(frontend.state / "filler")
        key = frontend.keys.raw(RouteKey("demo", "web"))
        revision = frontend.etcd.write(key, new.address.encode())
        wait_for_state(frontend, "state unwritable")
        assert frontend.ask(HOST).text == old.name

        (frontend.state / "filler").unlink()
        frontend.wait_for(revision)

        assert frontend.ask(HOST).text == new.name
        wait_for_state(frontend, "ok")


def fill(path: Path) -> None:
    """Write until there is no space."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as exc:
            assert exc.errno == errno.ENOSPC


def wait_for_state(frontend: Frontend, state: str) -> None:
    """Wait until the frontend's record says how it fares."""

    def is_so() -> bool:
        record = frontend.record()
        return record is not None and record.state == state

    wait_until(is_so)


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
            wait_for_state(ordinary, "state unwritable")
            assert ordinary.ask(HOST).text == old.name
        finally:
            generations.chmod(0o700)
        ordinary.wait_for(revision)

        assert ordinary.ask(HOST).text == new.name


def test_a_folder_that_cannot_be_written_at_the_start_is_said_in_one_sentence(
    ordinary: Frontend, folder: Path
) -> None:
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


def test_a_second_regenerator_on_one_folder_is_refused(grown: Frontend) -> None:
    grown.start()

    done = subprocess.run(
        [COMMAND, "run"],
        env={"PATH": os.environ["PATH"], **grown.settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=15,
    )

    assert done.returncode == 69
    assert done.stderr == (
        f"regenerator: another regenerator runs on {grown.state}; stop it, or give this one a"
        " --state of its own\n"
    )
    grown.put("later", "web", "127.0.0.1:9000")
    assert grown.ask(HOST).text == "new"


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
