"""Included: an address that changes hands within the lease of who had it. Real etcd and nginx."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.etcd_server import EtcdServer, free_ports, wait_until
from tests.registrar_process import Registrar
from tests.system.asking import Asking
from tests.system.frontend import Frontend
from tests.system.service_process import Branch, frozen, thaw

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def own(start_frontend: Callable[..., Frontend]) -> Frontend:
    """A frontend that a test may freeze."""
    return start_frontend()


@contextmanager
def left_behind(frontend: Frontend, etcd: EtcdServer, name: str) -> Iterator[int]:
    """The port of an instance that died without a word; its route outlives it."""
    (port,) = free_ports(1)
    branch = Branch(frontend, etcd, name)
    with branch.start(name, port=port) as registrar:
        branch.wait_served(name)
        os.killpg(registrar.pid, signal.SIGKILL)
        registrar.wait()
    try:
        yield port
    finally:
        branch.place.etcd.close()


@contextmanager
def successor(
    frontend: Frontend, etcd: EtcdServer, name: str, port: int, *arguments: str
) -> Iterator[Registrar]:
    """An instance of another branch at the same address."""
    branch = Branch(frontend, etcd, name)
    with branch.start(name, *arguments, port=port) as registrar:
        yield registrar
    branch.place.etcd.close()


def test_not_one_request_for_the_dead_reaches_who_got_its_address(
    own: Frontend, etcd: EtcdServer
) -> None:
    with (
        left_behind(own, etcd, "reuse-a") as port,
        Asking(own, "reuse-a.localhost") as asking,
        successor(own, etcd, "reuse-b", port) as registrar,
    ):
        wait_until(lambda: own.ask("reuse-b.localhost").text == "reuse-b")
        asked = len(asking.failures)
        wait_until(lambda: len(asking.failures) > asked + 20)

    assert f"127.0.0.1:{port}: branch 'reuse-a' service 'web' had it" in registrar.log
    assert "all frontends have let go of" in registrar.log
    assert not asking.answers, asking.answers


def test_the_command_starts_when_the_slowest_frontend_has_let_go(
    own: Frontend, etcd: EtcdServer
) -> None:
    with (
        left_behind(own, etcd, "slow-a") as port,
        Asking(own, "slow-a.localhost") as asking,
        frozen(own),
        successor(own, etcd, "slow-b", port) as registrar,
    ):
        registrar.wait_said("as starting")
        asked = len(asking.failures)
        # a service of this kind is up within half of that
        wait_until(lambda: len(asking.failures) > asked + 100 or asking.answers)
        assert registrar.out == ""
        thaw(own)
        registrar.wait_said("up")
        wait_until(lambda: own.ask("slow-b.localhost").text == "slow-b")

    assert not asking.answers, asking.answers


def test_a_frontend_that_never_lets_go_is_named_and_not_waited_for(
    own: Frontend, etcd: EtcdServer
) -> None:
    with (
        left_behind(own, etcd, "late-a") as port,
        frozen(own),
        successor(own, etcd, "late-b", port, "--release-timeout", "0.5") as registrar,
    ):
        registrar.wait_said("up")

        name = own.id
        assert f"in time by frontend {name}; not waiting any longer" in registrar.log


def test_where_nobody_was_before_the_command_starts_at_once(
    own: Frontend, etcd: EtcdServer
) -> None:
    (port,) = free_ports(1)
    with frozen(own), successor(own, etcd, "fresh", port) as registrar:
        registrar.wait_said("up")

        assert "waiting until" not in registrar.log


def test_who_comes_back_to_its_own_address_need_not_wait(own: Frontend, etcd: EtcdServer) -> None:
    with (
        left_behind(own, etcd, "again") as port,
        frozen(own),
        successor(own, etcd, "again", port) as registrar,
    ):
        registrar.wait_said("up")

        assert "waiting until" not in registrar.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_told_to_end_before_the_command_starts_does_not_start_it(
    own: Frontend, etcd: EtcdServer, number: signal.Signals
) -> None:
    name = f"early-{number.name.lower()}"
    with (
        left_behind(own, etcd, f"{name}-a") as port,
        frozen(own),
        successor(own, etcd, f"{name}-b", port) as registrar,
    ):
        registrar.wait_said("waiting until frontends have let go")
        registrar.send(number)
        registrar.send(number)

        assert registrar.wait() == 128 + number
        assert registrar.out == ""
        assert own.etcd.list(own.keys.within(f"{name}-b")[0]).entries == {}


def test_a_sidecar_is_not_ready_before_frontends_have_let_go(
    own: Frontend, etcd: EtcdServer
) -> None:
    with left_behind(own, etcd, "side-a") as port:
        branch = Branch(own, etcd, "side-b")
        environ = branch.place.instance_environ(
            NAME="side-b", IP="127.0.0.1", PORT=str(port), HEALTH_TCP="off", DRAIN="0"
        )
        with frozen(own), Registrar(["sidecar"], environ) as registrar:
            registrar.wait_said("waiting until frontends have let go")
            [entry] = own.etcd.list(own.keys.within("side-b")[0]).entries.values()
            assert b"starting" in entry.value
            thaw(own)
            registrar.wait_said("is ready")
        branch.place.etcd.close()


def test_a_sidecar_that_was_frozen_takes_its_old_address_from_nobody(
    own: Frontend, etcd: EtcdServer
) -> None:
    """Its service is gone, and another branch has the port; it knows neither when it wakes up."""
    (port,) = free_ports(1)
    branch = Branch(own, etcd, "asleep")
    environ = branch.place.instance_environ(NAME="asleep", PORT=str(port), IP="127.0.0.1", TTL="2")
    with Registrar(["sidecar"], environ) as sidecar:
        sidecar.wait_said("is ready")
        sidecar.send(signal.SIGSTOP)
        wait_until(lambda: not branch.place.etcd.list(own.keys.within("asleep")[0]).entries)
        with successor(own, etcd, "awake", port) as registrar:
            registrar.wait_said("is ready")
            wait_until(lambda: own.ask("awake.localhost").text == "awake")
            with (
                Asking(own, "awake.localhost") as asking,
                Asking(own, "asleep.localhost") as wrong,
            ):
                sidecar.send(signal.SIGCONT)
                sidecar.wait_said("is not ours any more: branch 'awake' service 'web' has it")
                asked = asking.answers.total()
                wait_until(lambda: asking.answers.total() > asked + 100 or asking.failures)
            assert not asking.failures
            assert set(asking.answers) == {"awake"}
            assert not wrong.answers
    branch.place.etcd.close()
