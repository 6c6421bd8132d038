"""Included: instances that come, go and die under load; nobody fails for it. Real etcd and nginx.

No client here asks twice: what fails, fails.
"""

import http.client
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Self

import pytest

from registry.keys import FrontendKey
from tests.etcd_server import EtcdServer, free_ports, wait_until
from tests.registrar_process import Registrar
from tests.system.asking import Asking
from tests.system.frontend import Frontend, exchange
from tests.system.service_process import Branch, frozen

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def own(start_frontend: Callable[..., Frontend]) -> Frontend:
    """A frontend that a test may freeze."""
    return start_frontend()


@contextmanager
def branch(frontend: Frontend, etcd: EtcdServer, name: str) -> Iterator[Branch]:
    made = Branch(frontend, etcd, name)
    yield made
    made.place.etcd.close()


class Client:
    """Asks all the time on one connection, and opens another only where it was told to.

    Attributes:
        answers: How often each text came with status 200.
        failures: Whatever else came, in words.
    """

    def __init__(self, frontend: Frontend, host: str, *, pause_s: float) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._frontend = frontend
        self._host = frontend.named(host)
        self._pause_s = pause_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.is_set():
            try:
                self._use_connection()
            except (OSError, http.client.HTTPException) as exc:
                self.failures.append(repr(exc))

    def _use_connection(self) -> None:
        with self._frontend.connect() as link:
            while not self._is_over.wait(self._pause_s):
                answer = exchange(link, self._host)
                if answer.status == 200:
                    self.answers[answer.text] += 1
                else:
                    self.failures.append(f"{answer.status} {answer.text[:200]}")
                if answer.headers.get("connection") == "close":
                    return


@contextmanager
def crowd(frontend: Frontend, host: str) -> Iterator[list[Client]]:
    """Clients in a hurry, and clients that think in between."""
    with ExitStack() as running:
        pauses = (0.005, 0.005, 0.02, 0.1, 0.5, 0.9)
        yield [running.enter_context(Client(frontend, host, pause_s=pause)) for pause in pauses]


def failures(clients: list[Client]) -> list[str]:
    return [failure for client in clients for failure in client.failures]


def test_five_rolling_replaces_under_load_fail_nobody(own: Frontend, etcd: EtcdServer) -> None:
    stops: list[tuple[int, str]] = []
    with branch(own, etcd, "rolling") as demo, ExitStack() as running:
        old = running.enter_context(demo.start("v0"))
        demo.wait_served("v0")
        with crowd(own, demo.host) as clients:
            for number in range(1, 6):
                new = running.enter_context(demo.start(f"v{number}", "--wait", "10"))
                new.wait_said("all frontends have applied the registration")
                stops.append((old.stop()[0], old.log))
                old = new
            demo.wait_served("v5")

    assert failures(clients) == [], own.story()
    for code, told in stops:
        assert code == 128 + signal.SIGTERM
        assert "all frontends have let go" in told
    assert {text for client in clients for text in client.answers} == {
        f"v{number}" for number in range(6)
    }


def test_several_instances_share_the_requests(own: Frontend, etcd: EtcdServer) -> None:
    with branch(own, etcd, "shared") as demo, demo.start("one"), demo.start("two"):
        demo.wait_served("one", "two")
        answers = Counter(own.ask(demo.host).text for _ in range(60))

    assert set(answers) == {"one", "two"}
    assert min(answers.values()) >= 20


def test_an_instance_that_died_without_a_word_is_passed_over(
    own: Frontend, etcd: EtcdServer
) -> None:
    """Its key is there still; what was not sent to it is tried on the other."""
    with (
        branch(own, etcd, "killed") as demo,
        demo.start("lives"),
        demo.start("dies") as dying,
    ):
        demo.wait_served("lives", "dies")
        with suppress(ProcessLookupError):
            os.killpg(dying.pid, signal.SIGKILL)
        dying.wait()
        with Asking(own, demo.host) as asking:
            wait_until(lambda: asking.answers["lives"] > 100)
        routes = own.etcd.list(own.keys.within("killed")[0]).entries

    assert len(routes) == 2
    assert asking.failures == []
    assert set(asking.answers) == {"lives"}


def test_two_registrars_of_one_address_one_leaves_and_the_other_serves_on(
    own: Frontend, etcd: EtcdServer
) -> None:
    """Of two records of one address the newer one tells, and the older one when that is gone."""
    (port,) = free_ports(1)
    with branch(own, etcd, "twice") as demo, demo.start("service", port=port):
        demo.wait_served("service")
        environ = demo.place.instance_environ(
            NAME="twice", IP="127.0.0.1", PORT=str(port), DRAIN="0"
        )
        with Registrar(["sidecar", "--wait", "10"], environ) as second:
            second.wait_said("all frontends have applied the registration")
            demo.wait_served("service")
            assert second.stop()[0] == 0
        demo.wait_served("service")
        with Asking(own, demo.host) as asking:
            wait_until(lambda: asking.answers["service"] > 50)

    assert asking.failures == []


def test_each_step_of_a_stop_is_told_in_order_with_its_time(
    own: Frontend, etcd: EtcdServer
) -> None:
    with branch(own, etcd, "told") as demo, demo.start("one", LOG_FORMAT="json") as registrar:
        demo.wait_served("one")
        registrar.stop()

    steps = (
        r"SIGTERM: draining first",
        r"draining was written after \d\.\d\d s",
        r"all frontends have let go after \d\.\d\d s",
        r"no connection is left after \d\.\d\d s",
        r"the command was told to end",
        r"deregistered after \d\.\d\d s in all",
    )
    assert re.search(".*".join(steps), registrar.log, re.DOTALL), registrar.log
    assert registrar.log.count('"took_s"') >= 4


def test_a_frozen_frontend_does_not_hold_a_stop_up_and_is_named(
    own: Frontend, etcd: EtcdServer
) -> None:
    with (
        branch(own, etcd, "frozen") as demo,
        demo.start("one", "--release-timeout", "0.5") as registrar,
    ):
        demo.wait_served("one")
        with frozen(own):
            _, took_s = registrar.stop()
        name = own.id

    assert f"not let go in time by frontend {name}" in registrar.log
    assert 0.5 <= took_s < 8


def test_a_frontend_that_died_holds_nobody_up(
    start_frontend: Callable[..., Frontend], etcd: EtcdServer
) -> None:
    dead = start_frontend()
    with (
        branch(dead, etcd, "orphan") as demo,
        demo.start("one", RELEASE_TIMEOUT="60") as registrar,
    ):
        demo.wait_served("one")
        dead.kill()
        # its lease ends 15 s later by itself
        name = dead.id
        entry = dead.etcd.read(dead.keys.raw(FrontendKey(name)))
        assert entry is not None
        dead.etcd.revoke(entry.lease)
        _, took_s = registrar.stop()

    assert "all frontends have let go" in registrar.log
    assert took_s < 10
