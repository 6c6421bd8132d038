"""How a frontend ends, how two of them share a registry, and what a reload costs old streams."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import websocket

from regenerator import processes
from registry.keys import FrontendKey
from tests.etcd_server import EtcdServer, wait_until
from tests.system.frontend import Frontend
from tests.system.origin import Origin

pytestmark = pytest.mark.system

HOST = "demo.localhost"

ENDS_S = 8.0
"""nginx gives requests in flight 3 s, the rest is quick; a container is killed after 10."""


@pytest.fixture(name="origin")
def _origin() -> Iterator[Origin]:
    with Origin("demo") as origin:
        yield origin


@pytest.fixture(name="own_etcd")
def _own_etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path / "etcd") as etcd:
        yield etcd


@pytest.fixture(name="frontend")
def _frontend(tmp_path: Path, own_etcd: EtcdServer, origin: Origin) -> Iterator[Frontend]:
    with Frontend(tmp_path, etcd=own_etcd) as frontend:
        frontend.put("demo", "web", origin.address)
        yield frontend


def end(frontend: Frontend, number: signal.Signals = signal.SIGTERM) -> float:
    """Ask the regenerator to end; how long that takes."""
    assert frontend.process is not None
    asked_at = time.monotonic()
    frontend.process.send_signal(number)
    assert frontend.process.wait(15) == 0, frontend.story()
    frontend.process = None
    return time.monotonic() - asked_at


def wait_for_workers(frontend: Frontend, *, count: int) -> None:
    """Wait until so many workers live, retiring ones too."""
    wait_until(lambda: len(frontend.workers()) == count)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_its_nginx_and_takes_its_record_away(
    number: signal.Signals, frontend: Frontend
) -> None:
    key = frontend.keys.raw(FrontendKey(frontend.id))
    assert frontend.etcd.read(key)
    pids = [frontend.nginx_pid(), *frontend.workers()]

    assert end(frontend, number) < ENDS_S

    assert not frontend.etcd.read(key)
    assert not any(map(processes.title, pids))
    assert not processes.within(frontend.state)


@pytest.mark.parametrize("hurt", [EtcdServer.kill, EtcdServer.freeze], ids=["down", "frozen"])
def test_it_ends_in_time_without_etcd(
    hurt: Callable[[EtcdServer], None], frontend: Frontend, own_etcd: EtcdServer
) -> None:
    hurt(own_etcd)

    assert end(frontend) < ENDS_S

    assert not processes.within(frontend.state)


def test_it_ends_in_time_though_a_request_is_never_answered(
    frontend: Frontend, origin: Origin
) -> None:
    with frontend.connect(within_s=30) as link:
        link.putrequest("GET", "/wait", skip_host=True)
        link.putheader("Host", frontend.named(HOST))
        link.endheaders()
        wait_until(lambda: origin.seen)

        assert end(frontend) < ENDS_S

    assert not processes.within(frontend.state)


def test_a_request_in_flight_is_answered_while_it_ends(frontend: Frontend, origin: Origin) -> None:
    with frontend.connect() as link:
        link.putrequest("GET", "/wait", skip_host=True)
        link.putheader("Host", frontend.named(HOST))
        link.endheaders()
        wait_until(lambda: origin.seen)
        assert frontend.process is not None
        frontend.process.send_signal(signal.SIGTERM)
        # the door is shut, and who is inside is served
        wait_until(lambda: not (frontend.state / "run" / "marker.sock").exists())
        origin.release()

        assert link.getresponse().read() == b"demo"


def test_two_frontends_serve_one_registry_and_do_not_wake_each_other(
    frontend: Frontend, own_etcd: EtcdServer, origin: Origin, tmp_path: Path
) -> None:
    with Frontend(tmp_path / "other", etcd=own_etcd) as other:
        revision = frontend.put("later", "web", origin.address)
        other.wait_for(revision)
        assert frontend.ask("later.localhost").text == "demo"
        assert other.ask("later.localhost").text == "demo"

        before = frontend.etcd.list(frontend.keys.root)
        quiet_until = time.monotonic() + 2.0
        wait_until(lambda: time.monotonic() > quiet_until)
        after = frontend.etcd.list(frontend.keys.root)

        # each writes its record anew every 5 s, and for no other reason
        assert after.revision - before.revision <= 2
        assert len([key for key in after.entries if key.startswith(frontend.keys.frontends)]) == 2


def test_streams_outlive_reloads_and_many_of_them_slow_reloads_down(
    tmp_path: Path, own_etcd: EtcdServer, origin: Origin
) -> None:
    """Each generation that a stream keeps alive costs memory; cutting streams costs more."""
    settings = {"OLD_GENERATIONS": "2", "RELOAD_PAUSE": "0.2"}
    took_s = []
    with Frontend(tmp_path, etcd=own_etcd, **settings) as frontend, ExitStack() as open_links:
        frontend.put("demo", "web", origin.address)
        links = []
        for number in range(6):
            # each stream by itself keeps one generation alive
            wait_for_workers(frontend, count=number + 1)
            link = websocket.create_connection(
                f"ws://127.0.0.1:{frontend.port}/socket", host=frontend.named(HOST), timeout=10
            )
            open_links.callback(link.shutdown)
            links.append(link)
            began_at = time.monotonic()
            frontend.put(f"branch-{number}", "web", origin.address)
            took_s.append(time.monotonic() - began_at)
        for number, link in enumerate(links):
            link.send(f"stream {number}")
            assert link.recv() == f"stream {number}"

        # five old generations before the last reload: three over the budget, so 8 times 0.2 s
        assert took_s[5] > 1.2
        assert took_s[0] < took_s[5]
        wait_for_workers(frontend, count=7)
