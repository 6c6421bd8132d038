"""Two registrars where there should be one: the same instance's name twice, the same address twice.

Whichever of them wins, a host leads to its own branch, and whoever is left is served by itself.
"""

import sys
from collections.abc import Callable, Iterator

import pytest

from registry.records import InstanceRecord
from tests.etcd_server import EtcdServer, wait_until
from tests.registrar_process import Place, Registrar
from tests.system.asking import Asking
from tests.system.frontend import Frontend
from tests.system.origin import Origin

pytestmark = pytest.mark.system

CLONE = (
    sys.executable,
    "-c",
    """
import runpy, secrets, sys
secrets.token_hex = lambda size: size * "00"
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
""",
)
"""Runs a program that has drawn the same lot as its twin: they were cloned while running."""


@pytest.fixture(name="frontend")
def _frontend(start_frontend: Callable[..., Frontend]) -> Frontend:
    """One of its own: what other tests have lost a moment ago counts for its brake as well."""
    return start_frontend()


@pytest.fixture(name="place")
def _place(frontend: Frontend, etcd: EtcdServer) -> Iterator[Place]:
    place = Place(etcd, frontend.keys.prefix)
    yield place
    place.etcd.close()


def sidecar(place: Place, branch: str, origin: Origin, *around: str) -> Registrar:
    """Announce a service that runs already."""
    environ = place.instance_environ(
        NAME=branch, PORT=str(origin.port), IP="127.0.0.1", TTL="2", DRAIN="0", HEALTH_TCP="on"
    )
    return Registrar(["sidecar"], environ, around=around)


def wait_answered(frontend: Frontend, branch: str, by: str | int) -> None:
    """Wait for a branch's answer: a text, or else a status."""

    def is_so() -> bool:
        answer = frontend.ask(f"{branch}.localhost")
        return by in {answer.status, answer.text}

    wait_until(is_so)


def reasons(frontend: Frontend, branch: str) -> list[str]:
    """Why a frontend says that it leaves records of a branch out."""
    record = frontend.record()
    assert record is not None
    return [one["reason"] for one in record.rejections if branch in one["key"]]


def records(place: Place, branch: str) -> list[InstanceRecord]:
    """What is registered of a branch."""
    found = place.etcd.list(place.keys.within(branch)[0]).entries.values()
    return [InstanceRecord.parse(entry.value) for entry in found]


def address(record: InstanceRecord) -> str:
    """Where an instance is."""
    return str(record.address)


def test_two_instances_of_one_name_take_turns_and_the_one_that_stays_is_served(
    frontend: Frontend, place: Place
) -> None:
    with Origin("first") as first, Origin("second") as second, Origin("other") as other:
        frontend.put("neighbour", "web", other.address)
        with sidecar(place, "cloned", first, *CLONE) as one:
            wait_answered(frontend, "cloned", "first")
            with Asking(frontend, "cloned.localhost") as asking:
                with sidecar(place, "cloned", second, *CLONE) as two:
                    wait_until(lambda: {"first", "second"} <= asking.answers.keys())
                    one.wait_said("somebody removed our key or changed it")
                    two.wait_said("somebody removed our key or changed it")
                    assert len(records(place, "cloned")) == 1
                    assert two.stop()[0] == 0
                wait_until(lambda: records(place, "cloned"))
                wait_answered(frontend, "cloned", "first")
                assert asking.answers.keys() == {"first", "second"}
                # whoever starts or leaves says so under the name of both
                assert all(text.startswith("503 ") for text in asking.failures)
            assert list(map(address, records(place, "cloned"))) == [first.address]
        assert frontend.ask("neighbour.localhost").text == "other"


def test_what_somebody_writes_under_a_registrars_key_is_put_right(
    frontend: Frontend, place: Place
) -> None:
    """By etcdctl, or by a program that took the key for its own."""
    with Origin("mine") as mine, Origin("theirs") as theirs:
        with sidecar(place, "meddled", mine):
            wait_answered(frontend, "meddled", "mine")
            [entry] = place.etcd.list(place.keys.within("meddled")[0]).entries.values()
            with Asking(frontend, "meddled.localhost") as asking:
                lease = place.etcd.grant(60).id
                place.etcd.write(entry.key, theirs.address.encode(), lease=lease)
                wait_until(lambda: mine.address in map(address, records(place, "meddled")))
                wait_answered(frontend, "meddled", "mine")
                assert asking.answers.keys() <= {"mine", "theirs"}
                assert not asking.failures
        wait_answered(frontend, "meddled", 503)
    assert not records(place, "meddled")


def test_the_same_registration_by_hand_twice_is_one(frontend: Frontend, place: Place) -> None:
    with Origin("by hand") as origin:
        for _ in range(2):
            done = place.ask("add", "twice", "web", origin.address, "--wait", "10")
            assert done.returncode == 0, done.stderr
        assert list(map(address, records(place, "twice"))) == [origin.address]
        assert frontend.ask("twice.localhost").text == "by hand"
        done = place.ask("remove", "twice", "--wait", "10")
        assert done.returncode == 0, done.stderr
        assert frontend.ask("twice.localhost").status == 404


def test_of_two_branches_at_one_address_the_later_one_has_it_until_it_leaves(
    frontend: Frontend, place: Place
) -> None:
    with Origin("shared") as origin, sidecar(place, "earlier", origin):
        wait_answered(frontend, "earlier", "shared")
        with sidecar(place, "later", origin) as later:
            wait_answered(frontend, "later", "shared")
            # what answers there now is another branch's; a worker that retires may not know it yet
            wait_until(lambda: frontend.ask("earlier.localhost").status == 503)
            reason = f"address {origin.address} was registered later by branch 'later'"
            # a frontend reports what it serves already
            wait_until(lambda: reasons(frontend, "earlier") == [reason])
            with Asking(frontend, "earlier.localhost") as asking:
                # through several refreshes of both: they do not fight
                wait_until(lambda: len(asking.failures) > 300)
            assert not asking.answers
            assert later.stop()[0] == 0
        wait_answered(frontend, "earlier", "shared")
        assert frontend.ask("later.localhost").status == 503


def test_of_two_registrars_of_one_service_at_one_address_the_earlier_one_may_leave(
    frontend: Frontend, place: Place
) -> None:
    with Origin("shared") as origin, sidecar(place, "doubled", origin) as earlier:
        wait_answered(frontend, "doubled", "shared")
        with sidecar(place, "doubled", origin) as later:
            wait_until(lambda: len(records(place, "doubled")) == 2)
            later.wait_said("as ready")
            with Asking(frontend, "doubled.localhost") as asking:
                assert earlier.stop()[0] == 0
                answered = asking.answers["shared"]
                wait_until(lambda: asking.answers["shared"] > answered + 20)
            assert not asking.failures
            assert len(records(place, "doubled")) == 1


def test_of_two_registrars_of_one_service_at_one_address_the_later_one_may_leave(
    frontend: Frontend, place: Place
) -> None:
    """Its word counts while it leaves; behind it the earlier one's does again."""
    with Origin("shared") as origin, sidecar(place, "redoubled", origin):
        wait_answered(frontend, "redoubled", "shared")
        with sidecar(place, "redoubled", origin) as later:
            later.wait_said("as ready")
            assert later.stop()[0] == 0
        wait_answered(frontend, "redoubled", "shared")
        assert len(records(place, "redoubled")) == 1
