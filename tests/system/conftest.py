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


@pytest.fixture(scope="session", name="frontend")
def _frontend(start_frontend: Callable[..., Frontend]) -> Frontend:
    return start_frontend()


@pytest.fixture(scope="session", name="start_frontend")
def _start_frontend(
    tmp_path_factory: pytest.TempPathFactory, etcd: EtcdServer
) -> Iterator[Callable[..., Frontend]]:
    """Starts frontends with settings of their own, each below a prefix of its own."""
    numbers = count()
    with ExitStack() as running:

        def start(**settings: str) -> Frontend:
            folder = tmp_path_factory.mktemp("frontend")
            own = {"REGISTRY_PREFIX": f"/frontend-{next(numbers)}", **settings}
            return running.enter_context(Frontend(folder, etcd=etcd, **own))

        yield start
