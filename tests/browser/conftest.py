"""A real Chromium in front of a real frontend; pictures of what it shows are kept.

``SCREENSHOTS`` names the folder of the pictures, ``CHROMIUM`` the browser.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.browser.window import CHROMIUM, Windows
from tests.etcd_server import EtcdServer
from tests.system.frontend import Frontend, new_frontend
from tests.system.origin import Origin


@pytest.fixture(scope="session", name="windows")
def _windows() -> Iterator[Windows]:
    """Opens windows; without a browser, tests fail in CI and are skipped elsewhere."""
    if shutil.which(CHROMIUM) is None and os.environ.get("CI") != "true":
        pytest.skip(f"there is no {CHROMIUM}: apt-get install chromium, or set CHROMIUM")
    with Windows(Path(os.environ.get("SCREENSHOTS", "build/screenshots"))) as windows:
        yield windows


@pytest.fixture(scope="session", name="etcd")
def _etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as etcd:
        yield etcd


# with the last test of a module they end: an idle one takes a fiftieth of a core
@pytest.fixture(scope="module", name="start_frontend")
def _start_frontend(
    tmp_path_factory: pytest.TempPathFactory, etcd: EtcdServer
) -> Iterator[Callable[..., Frontend]]:
    """Starts frontends with settings of their own."""
    with ExitStack() as running:

        def start(**settings: str) -> Frontend:
            return running.enter_context(new_frontend(tmp_path_factory, etcd, **settings))

        yield start


@pytest.fixture(scope="session", name="origin")
def _origin() -> Iterator[Origin]:
    with Origin("served") as origin:
        yield origin
