"""One etcd and one frontend for all tests that leave both whole; they run 60 requests a second.

Tests share them, so each uses branches that no other test uses.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.etcd_server import EtcdServer
from tests.system.frontend import Frontend, new_frontend


@pytest.fixture(scope="session", name="etcd")
def _etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as etcd:
        yield etcd


@pytest.fixture(scope="session", name="frontend")
def _frontend(tmp_path_factory: pytest.TempPathFactory, etcd: EtcdServer) -> Iterator[Frontend]:
    with new_frontend(tmp_path_factory, etcd) as frontend:
        yield frontend


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
