"""nginx killed, told to quit, or kept from its port: it serves again, and nobody lends a hand."""

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import websocket

from regenerator import processes
from regenerator.nginx import Nginx
from registry.keys import RouteKey
from tests.etcd_server import EtcdServer, wait_until
from tests.system.frontend import NGINX, Frontend
from tests.system.origin import Origin

pytestmark = pytest.mark.system

HOST = "demo.localhost"


@pytest.fixture(scope="module", name="origin")
def _origin() -> Iterator[Origin]:
    with Origin("demo") as origin:
        yield origin


@pytest.fixture(name="frontend")
def _frontend(tmp_path: Path, etcd: EtcdServer, origin: Origin) -> Iterator[Frontend]:
    with Frontend(tmp_path, etcd=etcd, REGISTRY_PREFIX=f"/{tmp_path.name}") as frontend:
        frontend.put("demo", "web", origin.address)
        yield frontend


def wait_for_another(frontend: Frontend, *, than: int) -> None:
    """Wait until another master serves, by what the processes say and not by asking."""

    def is_served() -> bool:
        found = [pid for pid in processes.within(frontend.state) if pid != than]
        called = [processes.title(pid) for pid in found]
        return any("nginx: master" in title for title in called) and bool(
            Nginx(NGINX, frontend.state).serving()
        )

    wait_until(lambda: not processes.title(than))
    wait_until(is_served)


def test_a_killed_master_is_replaced_and_its_orphans_are_ended(frontend: Frontend) -> None:
    master, orphans = frontend.nginx_pid(), frontend.workers()
    assert orphans

    os.kill(master, signal.SIGKILL)
    wait_for_another(frontend, than=master)
    wait_until(lambda: not any(map(processes.title, orphans)))

    assert frontend.ask(HOST).text == "demo"
    frontend.put("later", "web", "127.0.0.1:9000")
    assert frontend.ask("later.localhost").status == 502


def test_a_killed_worker_is_replaced(frontend: Frontend) -> None:
    # whoever is still retiring gets no successor
    wait_until(lambda: len(frontend.workers()) == 1)
    master, workers = frontend.nginx_pid(), frontend.workers()

    os.kill(workers[0], signal.SIGKILL)
    wait_until(lambda: set(frontend.workers()) - set(workers))

    assert frontend.ask(HOST).text == "demo"
    assert frontend.nginx_pid() == master


def test_workers_that_die_again_and_again_hold_up_no_change(
    frontend: Frontend, origin: Origin
) -> None:
    """A change may come between a worker's death and its successor's birth."""
    master = frontend.nginx_pid()
    is_over = threading.Event()

    def kill_workers() -> None:
        while not is_over.wait(0.02):
            for worker in frontend.workers():
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)

    killing = threading.Thread(target=kill_workers)
    killing.start()
    try:
        for number in range(5):
            key = frontend.keys.raw(RouteKey(f"later-{number}", "web"))
            revision = frontend.etcd.write(key, origin.address.encode())
            # before the generation is given up that was not confirmed, after 20 s
            frontend.wait_for(revision, within_s=15.0)
    finally:
        is_over.set()
        killing.join()
    wait_until(Nginx(NGINX, frontend.state).serving)

    assert frontend.ask("later-4.localhost").text == "demo"
    assert frontend.nginx_pid() == master


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_an_nginx_that_somebody_stopped_is_started_again(
    number: signal.Signals, frontend: Frontend
) -> None:
    master = frontend.nginx_pid()

    os.kill(master, number)
    wait_for_another(frontend, than=master)

    assert frontend.ask(HOST).text == "demo"


def test_an_nginx_that_quits_is_not_waited_for_until_its_last_stream_ends(
    frontend: Frontend,
) -> None:
    """It has closed its door and would live on for the stream, ten minutes long."""
    master = frontend.nginx_pid()
    link = websocket.create_connection(
        f"ws://127.0.0.1:{frontend.port}/socket", host=f"{HOST}:{frontend.port}", timeout=10
    )
    try:
        os.kill(master, signal.SIGQUIT)
        wait_for_another(frontend, than=master)

        assert frontend.ask(HOST).text == "demo"
    finally:
        link.shutdown()  # type: ignore[no-untyped-call]


def test_sockets_that_nobody_listens_on_are_no_hindrance(
    frontend: Frontend,
) -> None:
    """As after a power cut; a new nginx would refuse to start on them."""
    names = [path.name for path in (frontend.state / "run").glob("*.sock")]
    frontend.stop()
    for name in names:
        with socket.socket(socket.AF_UNIX) as stale:
            folder = os.open(frontend.state / "run", os.O_RDONLY)
            stale.bind(f"/proc/self/fd/{folder}/{name}")
            os.close(folder)

    frontend.start()

    assert frontend.ask(HOST).text == "demo"


def test_a_pid_file_that_names_somebody_else_harms_nobody(frontend: Frontend) -> None:
    """The pid may belong to anybody by now, even to another nginx."""
    frontend.stop()
    with subprocess.Popen(
        # the title is all that tells one nginx from another
        ["/bin/bash", "-c", 'exec -a "nginx: master process x" sleep 30'],
        process_group=0,
    ) as other:
        (frontend.state / "run" / "nginx.pid").write_text(f"{other.pid}\n")

        frontend.start()
        revision = frontend.put("later", "web", "127.0.0.1:9000")

        assert other.poll() is None
        other.kill()
    assert frontend.ask(HOST).text == "demo"
    assert revision


def test_an_nginx_without_its_pid_file_is_taken_over(frontend: Frontend) -> None:
    master = frontend.nginx_pid()
    frontend.kill()
    (frontend.state / "run" / "nginx.pid").unlink()

    frontend.start()
    frontend.put("later", "web", "127.0.0.1:9000")

    assert frontend.ask(HOST).text == "demo"
    assert "nginx: master" in processes.title(master)


def test_a_port_that_is_taken_is_had_as_soon_as_it_is_free(
    tmp_path: Path, etcd: EtcdServer, origin: Origin
) -> None:
    frontend = Frontend(tmp_path, etcd=etcd, REGISTRY_PREFIX=f"/{tmp_path.name}")
    key = frontend.keys.root + b"routes/demo/web"
    revision = frontend.etcd.write(key, origin.address.encode())

    with socket.create_server(("127.0.0.1", frontend.port)) as taken, frontend.start(wait=False):
        wait_until(lambda: "Address in use" in frontend.log.read_text())
        wait_until(lambda: frontend.record() is not None)
        record = frontend.record()
        taken.close()
        frontend.wait_for(revision)

        assert record is not None
        assert record.state == "not applied"
        assert frontend.ask(HOST).text == "demo"
