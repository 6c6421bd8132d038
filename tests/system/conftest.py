"""One etcd and one frontend for all tests that leave both whole; they run 60 requests a second.

Tests share them, so each uses branches that no other test uses.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count

import pytest

from tests.etcd_server import EtcdServer
from tests.system.frontend import Frontend


@pytest.fixture(scope="session", name="etcd")
def _etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as etcd:
        yield etcd


NUMBERS = count()
"""Each frontend has a prefix of its own."""


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


def new_frontend(folders: pytest.TempPathFactory, etcd: EtcdServer, **settings: str) -> Frontend:
    """One that is not started yet."""
    own = {"REGISTRY_PREFIX": f"/frontend-{next(NUMBERS)}", **settings}
    return Frontend(folders.mktemp("frontend"), etcd=etcd, **own)
