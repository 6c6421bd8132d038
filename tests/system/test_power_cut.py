"""The state folder as a power cut may leave it: what is whole is served, the newest first."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.etcd_server import EtcdServer
from tests.system.frontend import COMMAND, Frontend
from tests.system.origin import Origin

pytestmark = pytest.mark.system

HOST = "demo.localhost"

NOWHERE = "http://127.0.0.1:1"
"""An etcd that is down: nobody may listen on port 1 but root, and root does not."""


@pytest.fixture(scope="module", name="origins")
def _origins() -> Iterator[tuple[Origin, Origin]]:
    with Origin("old") as old, Origin("new") as new:
        yield old, new


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
