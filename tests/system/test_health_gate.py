"""Included: a service gets requests when it is healthy, and only then. Real etcd and nginx."""

import re
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from registry.records import InstanceRecord, State
from tests.etcd_server import EtcdServer, free_ports, wait_until
from tests.registrar_process import Place, Registrar
from tests.system.asking import Asking
from tests.system.frontend import Frontend
from tests.system.service_process import Branch

pytestmark = pytest.mark.system


@pytest.fixture
def branch(
    etcd: EtcdServer, frontend: Frontend, request: pytest.FixtureRequest
) -> Callable[[str], Branch]:
    def of(name: str) -> Branch:
        made = Branch(frontend, etcd, name)
        request.addfinalizer(made.place.etcd.close)
        return made

    return of


def test_a_service_that_is_not_healthy_yet_gets_no_requests(
    branch: Callable[[str], Branch], frontend: Frontend, tmp_path: Path
) -> None:
    (ill := tmp_path / "ill").touch()
    demo = branch("gate-starting")
    with demo.start("one", "--health-path", "/healthz", ill=ill) as registrar:
        registrar.wait_said("as starting")
        registrar.wait_said("up")
        # its claim is served at once, so the host is known and says why there is nobody
        wait_until(lambda: frontend.ask(demo.host).status == 503)
        assert "healthy after" not in registrar.log
        ill.unlink()
        registrar.wait_said("healthy after")
        demo.wait_served("one")


def test_who_fails_several_times_leaves_the_rotation_and_comes_back_after_several_passes(
    branch: Callable[[str], Branch], frontend: Frontend, tmp_path: Path
) -> None:
    ill = tmp_path / "ill"
    demo = branch("gate-rotation")
    with (
        demo.start("ill", "--health-path", "/healthz", ill=ill) as registrar,
        demo.start("well"),
    ):
        demo.wait_served("ill", "well")
        with Asking(frontend, demo.host) as asking:
            ill.touch()
            registrar.wait_said("no longer healthy")
            demo.wait_served("well")
            assert set(asking.answers) == {"ill", "well"}
            ill.unlink()
            demo.wait_served("ill", "well")

    assert not asking.failures, asking.failures[:3]
    assert re.search(
        r"no longer healthy: GET http://127.0.0.1:\d+/healthz answered 503", registrar.log
    )


def written(place: Place, name: str) -> list[tuple[State, str]]:
    """What was ever registered of a branch: state and health, each time that it was written."""
    newest = place.etcd.list(place.keys.routes)
    [key] = [key for key in newest.entries if name.encode() in key]
    found: dict[int, InstanceRecord] = {}
    for revision in range(newest.entries[key].create_revision, newest.revision + 1):
        entry = place.etcd.list(place.keys.routes, at=revision).entries.get(key)
        if entry is not None:
            found[entry.mod_revision] = InstanceRecord.parse(entry.value)
    return [(one.state, one.health) for one in found.values()]


def test_why_a_service_is_not_healthy_stands_in_the_registry_until_it_is(
    branch: Callable[[str], Branch], tmp_path: Path
) -> None:
    """It is asked ten times a second, and written once."""
    (ill := tmp_path / "ill").touch()
    demo = branch("gate-reason")
    (port,) = free_ports(1)
    answered = f"GET http://127.0.0.1:{port}/healthz answered 503"
    with demo.start("one", "--health-path", "/healthz", port=port, ill=ill) as registrar:
        registrar.wait_said("as starting")
        wait_until(lambda: answered in demo.place.ask("list", demo.name).stdout, within_s=20)
        listed = demo.place.ask("list", demo.name).stdout
        ill.unlink()
        demo.wait_served("one")

    assert "unhealthy" in listed
    assert written(demo.place, demo.name) == [
        (State.STARTING, ""),
        (State.STARTING, answered),
        (State.READY, ""),
    ]


def test_who_gets_ill_says_at_once_why(
    branch: Callable[[str], Branch], frontend: Frontend, tmp_path: Path
) -> None:
    ill = tmp_path / "ill"
    demo = branch("gate-ill")
    with demo.start("one", "--health-path", "/healthz", ill=ill):
        demo.wait_served("one")
        ill.touch()
        wait_until(lambda: frontend.ask(demo.host).status == 503)

        state, health = written(demo.place, demo.name)[-1]
        assert state is State.STARTING
        assert health.endswith("/healthz answered 503")


def test_an_answer_that_takes_too_long_is_none(
    branch: Callable[[str], Branch], frontend: Frontend, tmp_path: Path
) -> None:
    ill = tmp_path / "ill"
    demo = branch("gate-slow")
    with demo.start(
        "slow", "--health-path", "/healthz", ill=ill, HEALTH_TIMEOUT="0.1", HEALTH_FAILURES="1"
    ) as registrar:
        demo.wait_served("slow")
        ill.write_text("5")
        registrar.wait_said("was not answered within 0.1 s; out of rotation")
        wait_until(lambda: frontend.ask(demo.host).status == 503)


def test_a_service_that_never_gets_healthy_is_said_so_with_its_last_answer(
    branch: Callable[[str], Branch],
) -> None:
    demo = branch("gate-never")
    (port,) = free_ports(1)
    environ = demo.place.instance_environ(
        NAME="gate-never", IP="127.0.0.1", PORT=str(port), HEALTH_TCP="on"
    )
    with Registrar(["run", "--wait", "1", "--", "sleep", "60"], environ) as registrar:
        registrar.wait_said("not ready 1 s after it was registered, so no frontend sends requests")
        wait_until(lambda: "not healthy for" in registrar.log, within_s=20)

        text = rf"not healthy for 1\d s: 127\.0\.0\.1:{port} refuses connections; no requests"
        assert re.search(text, registrar.log), registrar.log
        assert "HEALTH_ADDRESS" in registrar.log


def test_what_is_asked_may_be_somewhere_else(branch: Callable[[str], Branch]) -> None:
    """A service that frontends reach at a published port, which its own container does not."""
    demo = branch("gate-elsewhere")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        environ = demo.place.instance_environ(NAME="gate-elsewhere", HEALTH_TCP="on")
        with Registrar(["sidecar", "--health-address", address], environ) as registrar:
            registrar.wait_said("as ready")


def test_beside_a_service_that_answers_already_nothing_is_ever_registered_as_starting(
    branch: Callable[[str], Branch],
) -> None:
    """Frontends are spared a reload that changes nothing for anybody."""
    demo = branch("gate-glance")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        environ = demo.place.instance_environ(
            NAME="gate-glance", IP="127.0.0.1", PORT=port, HEALTH_TCP="on"
        )
        with Registrar(["sidecar"], environ) as registrar:
            registrar.wait_said("registered")

            [entry] = [one for one in demo.place.routes() if b"gate-glance" in one.key]
            assert InstanceRecord.parse(entry.value).state is State.READY
            assert entry.mod_revision == entry.create_revision


def test_beside_a_service_that_does_not_answer_yet_it_is_registered_as_starting(
    branch: Callable[[str], Branch],
) -> None:
    demo = branch("gate-silent")
    (port,) = free_ports(1)
    environ = demo.place.instance_environ(
        NAME="gate-silent", IP="127.0.0.1", PORT=str(port), HEALTH_TCP="on"
    )
    with Registrar(["sidecar"], environ) as registrar:
        registrar.wait_said("registered")

        [entry] = [one for one in demo.place.routes() if b"gate-silent" in one.key]
        assert InstanceRecord.parse(entry.value).state is State.STARTING


def test_a_service_that_begins_late_is_ready_soon_after(branch: Callable[[str], Branch]) -> None:
    demo = branch("gate-late")
    script = 'sleep 1; exec "$0" "$@"'
    (port,) = free_ports(1)
    with ExitStack() as running:
        environ = demo.place.instance_environ(
            NAME="gate-late", IP="127.0.0.1", PORT=str(port), HEALTH_TCP="on"
        )
        command = ["python", "-m", "http.server", "--bind", "127.0.0.1", str(port)]
        registrar = running.enter_context(
            Registrar(["run", "--", "sh", "-c", script, *command], environ)
        )
        registrar.wait_said("healthy after")

    [took_s] = re.findall(r"healthy after ([0-9.]+) s", registrar.log)
    assert float(took_s) >= 1


def test_without_a_gate_a_service_is_ready_as_soon_as_its_command_runs(
    branch: Callable[[str], Branch],
) -> None:
    demo = branch("gate-off")
    environ = demo.place.instance_environ(NAME="gate-off", HEALTH_TCP="off")
    with Registrar(["run", "--", "sleep", "60"], environ) as registrar:
        registrar.wait_said("10.0.0.5:8080 is ready")

        states = [entry.value for entry in demo.place.routes() if b"gate-off" in entry.key]
        assert State.READY.value.encode() in states[0]
