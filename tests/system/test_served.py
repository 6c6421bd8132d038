"""Included: ``--wait SECONDS --probe`` against two real frontends, one of them on IPv6.

What counts is what a request through each of them came to, whatever their records say.
"""

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from registry.keys import FrontendKey, RouteKey
from registry.records import Address
from tests.etcd_server import EtcdServer
from tests.registrar_process import Place, Registrar
from tests.system.frontend import Frontend
from tests.system.origin import Origin, refusing

pytestmark = pytest.mark.system

PREFIX = "/probed"


@pytest.fixture(scope="module", name="frontends")
def _frontends(
    etcd: EtcdServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Frontend]]:
    with ExitStack() as running:
        found = []
        for ip in ("127.0.0.1", "[::1]"):
            folder = tmp_path_factory.mktemp("frontend")
            frontend = Frontend(folder, etcd=etcd, REGISTRY_PREFIX=PREFIX)
            # the first one is where it says that it is reached
            listeners = dict.fromkeys((f"{ip}:{frontend.port}", f"127.0.0.1:{frontend.port}"))
            frontend.settings["LISTEN"] = ",".join(listeners)
            found.append(running.enter_context(frontend))
        yield found


@pytest.fixture(name="place")
def _place(etcd: EtcdServer, frontends: list[Frontend]) -> Iterator[Place]:
    assert len(frontends) == 2
    place = Place(etcd, PREFIX)
    yield place
    for entry in place.routes():
        place.etcd.delete(entry.key)
    place.etcd.close()


def address(frontend: Frontend) -> str:
    record = frontend.record()
    assert record is not None
    return record.address


def test_what_was_added_is_reached_through_both(place: Place, frontends: list[Frontend]) -> None:
    with Origin() as origin:
        added = place.ask("add", "main", "web", origin.address, "--wait", "10", "--probe")

    assert added.returncode == 0, added.stderr
    assert re.search(
        r"^reached through all frontends at http://main\.localhost:[0-9]+ after [0-9.]+ s$",
        added.stdout,
        flags=re.MULTILINE,
    )
    assert [address(one) for one in frontends] == [
        f"127.0.0.1:{frontends[0].port}",
        f"[::1]:{frontends[1].port}",
    ]
    # each of them was asked once, under the host that is the service's alone
    assert [(one.target, one.value("Host")) for one in origin.seen] == [
        ("/", "main-web.localhost")
    ] * 2


def test_of_several_instances_each_is_reached_itself(place: Place) -> None:
    """A name that is not plain is one as well."""
    with Origin() as old, Origin(ip="::1") as new, Origin() as newest:
        for origin in (old, new, newest):
            added = place.ask("add", "feature/~x", "api", origin.address, "--wait", "10", "--probe")
            assert added.returncode == 0, added.stderr
            assert len(origin.seen) >= 2


def test_a_service_that_refuses_is_told_with_what_each_frontend_answered(
    place: Place, frontends: list[Frontend]
) -> None:
    with refusing() as nobody:
        added = place.ask("add", "dead", "web", nobody, "--wait", "5", "--probe")

    assert added.returncode == 75
    [sentence] = added.stderr.splitlines()
    for frontend in frontends:
        assert f"frontend {frontend.id} at {address(frontend)} answered 502" in sentence
    assert "every live frontend has applied it" in added.stdout
    assert place.etcd.read(place.keys.raw(RouteKey("dead", "web", nobody)))


def test_a_service_that_hangs_is_told(place: Place, frontends: list[Frontend]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = str(Address("127.0.0.1", listener.getsockname()[1]))
        added = place.ask("add", "mute", "web", where, "--wait", "5", "--probe")

    assert added.returncode == 75
    for frontend in frontends:
        assert re.search(
            f"frontend {frontend.id} at {re.escape(address(frontend))}"
            " (has not answered|did not answer within)",
            added.stderr,
        )


def test_one_instance_that_answers_does_not_stand_for_another(place: Place) -> None:
    """nginx passes the dead one over, and people are served; but it is not what was asked."""
    with Origin() as living, refusing() as nobody:
        place.ask("add", "pair", "web", living.address, "--wait", "10", "--probe")
        added = place.ask("add", "pair", "web", nobody, "--wait", "5", "--probe")

    assert added.returncode == 75
    assert f"answered 200 from instance {living.address}" in added.stderr


def test_a_frontend_that_died_holds_nobody_up(
    place: Place, etcd: EtcdServer, tmp_path: Path
) -> None:
    """Its record goes with its lease; here that is not waited for."""
    with Frontend(tmp_path, etcd=etcd, REGISTRY_PREFIX=PREFIX) as third:
        third.kill()
        place.etcd.delete(place.keys.raw(FrontendKey(third.id)))
        with Origin() as origin:
            added = place.ask("add", "main", "web", origin.address, "--wait", "10", "--probe")

    assert added.returncode == 0, added.stderr
    assert third.id not in added.stdout + added.stderr


@pytest.mark.parametrize("arguments", [["sidecar"], ["run", "--", "sleep", "60"]])
def test_what_runs_says_when_it_is_reached_itself(place: Place, arguments: list[str]) -> None:
    command, *rest = arguments
    with Origin() as origin:
        told = {"NAME": "running", "PORT": str(origin.port), "IP": "127.0.0.1"}
        environ = place.instance_environ(**told)
        probing = [command, "--wait", "10", "--probe", "--health-path", "/status/204", *rest]
        with Registrar(probing, environ) as registrar:
            registrar.wait_said("reached through all frontends at http://running.localhost:")
            registrar.stop()

    assert "not reached" not in registrar.log
    # where the service says that it is well
    hosts = [one.target for one in origin.seen if one.value("Host") == "running-web.localhost"]
    assert hosts == ["/status/204"] * 2


def test_what_runs_goes_on_and_says_through_whom_it_is_not_reached(
    place: Place, frontends: list[Frontend]
) -> None:
    with refusing() as nobody:
        port = str(Address.parse(nobody).port)
        told = {"NAME": "unwell", "PORT": port, "IP": "127.0.0.1", "HEALTH_TCP": "off"}
        environ = place.instance_environ(**told)
        with Registrar(["sidecar", "--wait", "5", "--probe"], environ) as registrar:
            for frontend in frontends:
                registrar.wait_said(
                    f"not reached within 5 s: frontend {frontend.id} at {address(frontend)}"
                    " answered 502"
                )
            assert registrar.is_running()


@pytest.mark.parametrize("command", [("sidecar",), ("run",), ("add", "main", "web", "10.0.0.5:80")])
def test_a_probe_needs_a_time(place: Place, command: tuple[str, ...]) -> None:
    rest = ("--", "true") if command == ("run",) else ()

    done = place.ask(*command, "--probe", *rest)

    assert (done.returncode, done.stdout) == (2, "")
    assert "--probe needs --wait SECONDS" in done.stderr
    assert place.routes() == []
