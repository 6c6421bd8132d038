"""``regenerator run`` killed -9 from outside between any two steps, and started again.

A client asks all the time: while only the regenerator dies nobody meets a closed door, and
whoever asks is told what was true before or what is true now.
"""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from regenerator import processes
from regenerator.nginx import Nginx
from registry.keys import RouteKey
from tests.etcd_server import EtcdServer, wait_until
from tests.system.frontend import NGINX, Frontend, exchange
from tests.system.killer import CREATED, DELETED, MOVED_TO, TOUCHED, killed_when
from tests.system.origin import Origin
from tests.system.scene import HOST, Scene, killing_nginx, masters, nobody_notices

pytestmark = pytest.mark.system

SWEEPS = int(os.environ.get("KILL_SWEEPS", "5"))
"""Kills spread over a change, and over a start; more of them find more."""

GENERATION = "[0-9a-f]{12}"
STEPS = {
    "staging": ("generations", CREATED, GENERATION + r"\.new"),
    "staged": ("generations", MOVED_TO, GENERATION),
    "marked": ("live", CREATED, GENERATION),
    "linking": (".", CREATED, r"conf\.d\.new"),
    "linked, not reloaded": (".", MOVED_TO, r"conf\.d"),
    "retired": ("live", DELETED, GENERATION),
    "kept": ("generations", TOUCHED, GENERATION),
    "pruning": ("generations", DELETED, "older-.*"),
}
"""What happens in which folder of the state, and to whom."""


@pytest.fixture(scope="module", name="scene")
def _scene(tmp_path_factory: pytest.TempPathFactory, etcd: EtcdServer) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("killed")
    armed = folder / "armed"
    settings = {"REGISTRY_PREFIX": f"/{folder.name}", "NGINX": str(killing_nginx(armed))}
    with (
        Origin("old") as old,
        Origin("new", ip="127.0.0.2") as new,
        Frontend(folder, etcd=etcd, **settings) as frontend,
    ):
        yield Scene(frontend, old, new, armed)


@pytest.fixture(name="ready")
def _ready(scene: Scene) -> Scene:
    if scene.frontend.process is None:
        scene.frontend.start()
    scene.frontend.put("demo", "web", scene.old.address)
    return scene


@pytest.mark.parametrize("step", STEPS)
def test_killed_when_a_step_shows_on_disk(step: str, ready: Scene) -> None:
    folder, event, name = STEPS[step]
    for number in range(6):
        # more than are kept, so that there is something to prune
        older = ready.frontend.state / "generations" / f"older-{number}"
        older.mkdir(exist_ok=True)
        (older / "nginx.conf").touch()
        os.utime(older, (number, number))

    with nobody_notices(ready):
        watched = ready.frontend.state / folder
        with killed_when(ready.pid(), watched, event=event, name=name):
            revision = ready.move()
        ready.wait_for_death()
        ready.frontend.start()
        ready.check(revision)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_the_check(when: str, ready: Scene) -> None:
    """A grammar that was served before is not checked again, but a new process knows of none."""
    ready.frontend.kill()
    with nobody_notices(ready):
        ready.armed.write_text(when)
        revision = ready.move()
        ready.frontend.start()
        ready.wait_for_death()
        ready.frontend.start()
        ready.check(revision)


def test_killed_between_the_reload_and_its_confirmation(ready: Scene) -> None:
    nginx = Nginx(NGINX, ready.frontend.state)
    before = nginx.serving()

    with nobody_notices(ready):
        revision = ready.move()
        # old workers answer for about 0.1 s beside the new ones; nothing is confirmed meanwhile
        wait_until(lambda: nginx.serving() != before)
        ready.frontend.kill()
        ready.frontend.start()
        ready.check(revision)


def test_killed_when_it_has_reported(ready: Scene) -> None:
    with nobody_notices(ready):
        revision = ready.move()
        ready.frontend.wait_for(revision)
        ready.frontend.kill()
        ready.frontend.start()
        # nobody may read the dead one's record for the living one's
        ready.check(ready.move())


def test_an_idle_client_of_a_dead_regenerators_worker_gets_the_new_table(ready: Scene) -> None:
    """Between link and reload both generations are marked as living; the next one sorts it out."""
    with ready.frontend.connect() as idle:
        assert exchange(idle, HOST).text == ready.old.name
        with killed_when(ready.pid(), ready.frontend.state, event=MOVED_TO, name=r"conf\.d"):
            revision = ready.move()
        ready.wait_for_death()
        ready.frontend.start()
        ready.frontend.wait_for(revision)

        assert exchange(idle, HOST).text == ready.new.name


@pytest.mark.parametrize("number", range(SWEEPS))
def test_killed_at_any_moment_of_a_change(number: int, ready: Scene) -> None:
    # a change takes 0.15 s; on a busy machine somewhat more
    delay_s = 0.3 * number / SWEEPS

    with nobody_notices(ready):
        revision = ready.move()
        kill_at = time.monotonic() + delay_s
        wait_until(lambda: time.monotonic() >= kill_at)
        ready.frontend.kill()
        ready.frontend.start()
        ready.check(revision)


@pytest.mark.parametrize("number", range(SWEEPS))
def test_killed_at_any_moment_of_its_first_start(
    number: int, tmp_path: Path, etcd: EtcdServer
) -> None:
    # spread over what a start takes
    delay_s = 0.1 + 0.8 * number / SWEEPS
    frontend = Frontend(tmp_path, etcd=etcd, REGISTRY_PREFIX=f"/{tmp_path.name}")

    with Origin("only") as origin, frontend.start(wait=False):
        key = frontend.keys.raw(RouteKey("demo", "web"))
        revision = frontend.etcd.write(key, origin.address.encode())
        kill_at = time.monotonic() + delay_s
        wait_until(lambda: time.monotonic() >= kill_at)
        frontend.kill()
        frontend.start()
        frontend.wait_for(revision)

        assert frontend.ask(HOST).text == origin.name
        assert len(masters(frontend)) == 1


def test_regenerator_and_nginx_killed_and_started_again_without_etcd(
    tmp_path: Path,
) -> None:
    with (
        EtcdServer(tmp_path / "etcd") as etcd,
        Origin("only") as origin,
        Frontend(tmp_path, etcd=etcd) as frontend,
    ):
        frontend.put("demo", "web", origin.address)
        orphans = frontend.workers()
        master = frontend.nginx_pid()
        frontend.kill()
        etcd.kill()
        os.kill(master, signal.SIGKILL)

        # the orphans answer until they are found and ended
        frontend.start()
        wait_until(lambda: not any(map(processes.title, orphans)))
        wait_until(Nginx(NGINX, frontend.state).serving)

        assert frontend.ask(HOST).text == origin.name
        assert len(masters(frontend)) == 1
        etcd.start()
        frontend.put("late", "web", origin.address)
        assert frontend.ask("late.localhost").text == origin.name
