"""etcd killed, frozen, compacted or not there yet: the last good routes serve, then the new ones.

An etcd is hurt here, so each test has one of its own.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.etcd import Etcd
from registry.keys import RouteKey
from tests.etcd_server import EtcdServer, wait_until
from tests.system.asking import Asking
from tests.system.frontend import Frontend
from tests.system.origin import Origin

pytestmark = pytest.mark.system

HOST = "demo.localhost"

AWAY = "going on with what is known"
"""What the log says as soon as etcd is missed."""


@pytest.fixture(name="own_etcd")
def _own_etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path / "etcd") as etcd:
        yield etcd


@pytest.fixture(name="origin")
def _origin() -> Iterator[Origin]:
    with Origin("demo") as origin:
        yield origin


@pytest.fixture(name="hurt")
def _hurt(tmp_path: Path, own_etcd: EtcdServer, origin: Origin) -> Iterator[Frontend]:
    with Frontend(tmp_path, etcd=own_etcd) as frontend:
        frontend.put("demo", "web", origin.address)
        yield frontend


def check_it_follows(frontend: Frontend, origin: Origin, *, branch: str = "later") -> None:
    """A change is served, and what was there before still is."""
    frontend.put(branch, "web", origin.address)
    assert frontend.ask(f"{branch}.localhost").text == origin.name
    assert frontend.ask(HOST).text == origin.name


def test_etcd_killed_and_restarted_while_watching(
    hurt: Frontend, own_etcd: EtcdServer, origin: Origin
) -> None:
    with Asking(hurt, HOST) as asking:
        own_etcd.kill()
        assert hurt.ask(HOST).text == "demo"
        wait_until(lambda: AWAY in hurt.log.read_text())
        own_etcd.start()
        check_it_follows(hurt, origin)
        own_etcd.restart()
        check_it_follows(hurt, origin, branch="again")

    assert not asking.failures


def test_a_frozen_etcd_delays_a_change_and_loses_none(
    tmp_path: Path, own_etcd: EtcdServer, origin: Origin
) -> None:
    # reading the whole is what notices a silent etcd soon
    with Frontend(tmp_path, etcd=own_etcd, RELIST="1") as frontend:
        frontend.put("demo", "web", origin.address)
        with Asking(frontend, HOST) as asking:
            own_etcd.freeze()
            try:
                wait_until(lambda: AWAY in frontend.log.read_text())
            finally:
                own_etcd.thaw()
            check_it_follows(frontend, origin)

        assert not asking.failures


def test_without_etcd_at_the_first_start_it_waits_and_then_serves(
    tmp_path: Path, own_etcd: EtcdServer, origin: Origin
) -> None:
    own_etcd.kill()

    with Frontend(tmp_path, etcd=own_etcd).start(wait=False) as frontend:
        wait_until(lambda: AWAY in frontend.log.read_text())
        own_etcd.start()
        frontend.put("demo", "web", origin.address)

        check_it_follows(frontend, origin)


def test_without_etcd_at_a_later_start_the_last_good_generation_is_served(
    hurt: Frontend, own_etcd: EtcdServer, origin: Origin
) -> None:
    hurt.stop()
    own_etcd.kill()

    hurt.start()

    assert hurt.ask(HOST).text == "demo"
    own_etcd.start()
    check_it_follows(hurt, origin)


def test_a_history_that_is_compacted_away_costs_nothing(
    hurt: Frontend, own_etcd: EtcdServer, origin: Origin
) -> None:
    """While the regenerator is cut off, etcd forgets what it would have asked for."""
    own_etcd.kill()
    wait_until(lambda: AWAY in hurt.log.read_text())
    with EtcdServer(own_etcd.folder) as elsewhere:
        # on the same data and another port, so that nobody watches
        there = Etcd(elsewhere.settings)
        key = hurt.keys.raw(RouteKey("compacted", "web"))
        there.write(key, b"127.0.0.1:9000")
        revision = there.write(key, origin.address.encode())
        there.call("kv/compaction", revision=revision, physical=True)
        there.close()
    own_etcd.start()

    hurt.wait_for(revision)

    assert "compacted its history" in hurt.log.read_text()
    assert hurt.ask("compacted.localhost").text == "demo"
    check_it_follows(hurt, origin)
