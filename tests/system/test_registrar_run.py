"""Included: ``registrar run`` as a process: the duties of PID 1, and the way out. Real etcd."""

import os
import pty
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.records import State
from tests.etcd_server import EtcdServer, free_ports, wait_until
from tests.registrar_process import PROGRAM, Place, Registrar, run_once

pytestmark = pytest.mark.system

BARE = {"PATH": "/usr/bin:/bin", "LOG_FORMAT": "text"}

UNTIL_TERM = 'trap "echo got TERM; exit 5" TERM; echo up; while :; do sleep 0.02; done'
"""A command that says when it is up, and ends with 5 when it is told to."""

LISTENER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("up", flush=True)
held = [listener.accept() for _ in range(9)]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture
def place(server: EtcdServer) -> Iterator[Place]:
    place = Place(server, f"/{secrets.token_hex(4)}")
    yield place
    place.etcd.close()


def run(place: Place, script: str = UNTIL_TERM, **environ: str) -> Registrar:
    return Registrar(["run", "--", "sh", "-c", script], place.instance_environ(**environ))


def test_the_url_is_told_as_soon_as_a_frontend_has_reported(place: Place) -> None:
    """Both are being started, as a rule; the registrar was sooner."""
    with run(place) as registrar:
        registrar.wait_said("no frontend has reported yet")
        assert "reached at" not in registrar.log
        place.report("late")
        registrar.wait_said("reached at http://feature-login.dev.example.com:8080")


def test_a_service_is_registered_while_its_command_runs(place: Place) -> None:
    with run(place) as registrar:
        entry = place.wait_registered()
        record = place.record()
        code, _ = registrar.stop()

    assert entry.lease
    assert entry.key.startswith(place.keys.routes + b"feature%2Flogin/web/")
    assert (str(record.address), record.state) == ("10.0.0.5:8080", State.READY)
    assert record.registered_at.startswith("20")
    assert code == 5
    assert place.routes() == []
    assert len(place.etcd.list(place.keys.claims).entries) == 1


def test_stdin_and_stdout_are_the_commands_alone(place: Place) -> None:
    done = run_once(["run", "--", "cat"], place.instance_environ(), stdin="a\nb")

    assert (done.stdout, done.returncode) == ("a\nb", 0)


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)],
)
@pytest.mark.parametrize("registered", [True, False])
def test_the_exit_code_is_the_commands(
    place: Place, script: str, code: int, *, registered: bool
) -> None:
    environ = place.instance_environ() if registered else BARE

    assert run_once(["run", "--", "sh", "-c", script], environ).returncode == code


def test_a_command_that_is_not_found_is_127(place: Place) -> None:
    done = run_once(["run", "no-such-command"], place.instance_environ())

    assert done.returncode == 127
    assert done.stderr.endswith("registrar: command 'no-such-command' was not found\n")
    assert place.routes() == []


def test_a_command_that_cannot_be_run_is_126(place: Place, tmp_path: Path) -> None:
    command = tmp_path / "command"
    command.write_text("no program")

    refused = run_once(["run", str(command)], place.instance_environ())
    command.chmod(0o755)
    no_program = run_once(["run", str(command)], place.instance_environ())

    assert (refused.returncode, no_program.returncode) == (126, 126)
    assert "cannot be run: Permission denied" in refused.stderr
    assert "cannot be run: Exec format error" in no_program.stderr
    assert place.routes() == []


def test_without_a_registry_the_command_runs_unregistered() -> None:
    done = run_once(["run", "--", "sh", "-c", "echo hi; exit 3"], BARE)

    assert (done.returncode, done.stdout) == (3, "hi\n")
    assert len(done.stderr.splitlines()) == 1
    assert "unregistered" in done.stderr


def test_all_that_is_missing_or_bad_is_named_before_the_command_starts(place: Place) -> None:
    environ = place.environ | {"TTL": "soon", "HOST_PORT": "70000"}

    done = run_once(["run", "--", "echo", "started"], environ)

    assert (done.returncode, done.stdout) == (78, "")
    for name in ("NAME", "SERVICE", "PORT", "TTL", "HOST_PORT"):
        assert name in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_branch_is_read_where_name_is_not_set(place: Place) -> None:
    environ = place.instance_environ(BRANCH="other")
    del environ["NAME"]

    with Registrar(["run", "--", "sleep", "60"], environ):
        entry = place.wait_registered()

    assert entry.key.startswith(place.keys.routes + b"other/")


def test_sigterm_reaches_the_command_after_every_frontend_has_let_go(place: Place) -> None:
    place.report("f1", revision=1, released=1)
    with run(place) as registrar:
        registrar.wait_said("up")
        place.wait_registered()
        registrar.send(signal.SIGTERM)
        wait_until(lambda: place.record().state is State.DRAINING)
        (entry,) = place.routes()
        place.report("f1", revision=entry.mod_revision, released=entry.mod_revision - 1)
        registrar.wait_said("waiting for frontends")
        assert "got TERM" not in registrar.out
        place.report("f1", revision=entry.mod_revision, released=entry.mod_revision)

        assert registrar.wait() == 5
        assert "got TERM" in registrar.out
        assert place.routes() == []


def test_a_frontend_that_is_late_is_named_and_not_waited_for(place: Place) -> None:
    place.report("late-one", revision=1, released=1)
    with run(place, RELEASE_TIMEOUT="0.3") as registrar:
        registrar.wait_said("up")
        place.wait_registered()
        code, took_s = registrar.stop()

        assert code == 5
        assert "not let go in time by frontend late-one" in registrar.log
        assert 0.3 <= took_s < 8


def test_requests_in_flight_are_waited_for_until_they_are_done(place: Place) -> None:
    (port,) = free_ports(1)
    environ = place.instance_environ(PORT=str(port), DRAIN="30")
    with (
        Registrar(["run", "--", "python", "-c", LISTENER, str(port)], environ) as registrar,
    ):
        registrar.wait_said("up")
        place.wait_registered()
        with socket.create_connection(("127.0.0.1", port)):
            registrar.send(signal.SIGTERM)
            registrar.wait_said("all frontends have let go")
            assert registrar.is_running()
        assert registrar.wait() == 128 + signal.SIGTERM
        assert "no connection is left" in registrar.log


def test_requests_in_flight_are_waited_for_no_longer_than_drain(place: Place) -> None:
    (port,) = free_ports(1)
    environ = place.instance_environ(PORT=str(port), DRAIN="0.4")
    with Registrar(["run", "--", "python", "-c", LISTENER, str(port)], environ) as registrar:
        registrar.wait_said("up")
        place.wait_registered()
        with socket.create_connection(("127.0.0.1", port)):
            code, took_s = registrar.stop()

        assert code == 128 + signal.SIGTERM
        assert 0.4 <= took_s < 8
        assert "requests in flight had 0.4 s" in registrar.log


def test_a_second_sigterm_is_passed_on_at_once(place: Place) -> None:
    place.report("f1", revision=1, released=1)
    with run(place, RELEASE_TIMEOUT="60") as registrar:
        registrar.wait_said("up")
        place.wait_registered()
        registrar.send(signal.SIGTERM)
        registrar.wait_said("waiting for frontends")
        code, took_s = registrar.stop()

        assert (code, registrar.out.count("got TERM")) == (5, 1)
        assert took_s < 8
        assert place.routes() == []


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGINT, signal.SIGWINCH])
def test_other_signals_are_passed_on_as_they_come(place: Place, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f'trap "echo got it; exit 9" {name}; echo up; while :; do sleep 0.02; done'
    with run(place, script) as registrar:
        registrar.wait_said("up")
        registrar.send(number)

        assert registrar.wait() == 9
        assert registrar.out.count("got it") == 1


def test_ctrl_c_in_a_terminal_reaches_the_command_once(place: Place, tmp_path: Path) -> None:
    """The terminal sends it to the whole group; passed on, it would come twice."""
    said = tmp_path / "said"
    script = (
        f'trap "echo got INT >>{said}" INT; trap "echo got TERM >>{said}; exit 5" TERM;'
        f" echo up >>{said}; while :; do sleep 0.02; done"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        arguments = [PROGRAM, "run", "--", "sh", "-c", script]
        os.execve(PROGRAM, arguments, place.instance_environ())  # noqa: S606 - no shell wanted
    try:
        wait_until(lambda: said.exists() and "up" in said.read_text())
        place.wait_registered()
        os.write(terminal, b"\x03")
        wait_until(lambda: "got INT" in said.read_text())
        wait_until(lambda: place.routes() == [])
        os.kill(pid, signal.SIGTERM)
        _, status = os.waitpid(pid, 0)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(terminal)

    assert os.waitstatus_to_exitcode(status) == 5
    assert said.read_text() == "up\ngot INT\ngot TERM\n"


def as_pid_1() -> list[str]:
    """How to be PID 1 here; skips where that is not allowed."""
    around = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    around += [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    if shutil.which("unshare") is None:
        pytest.skip("unshare (util-linux) is not installed")
    if subprocess.run([*around, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let us make a PID namespace")
    return around


def test_orphans_are_buried_by_pid_1(place: Place) -> None:
    script = """
        test "$(cut -d' ' -f4 /proc/$$/stat)" = 1 || echo not the child of PID 1
        (sh -c 'sleep 0.05; exit 3' &)
        (sh -c 'sleep 0.05; exit 3' &)
        sleep 0.3
        grep -l 'State:.Z' /proc/[0-9]*/status
        echo done"""
    with Registrar(
        ["run", "--", "sh", "-c", script], place.instance_environ(), around=as_pid_1()
    ) as registrar:
        assert registrar.wait() == 0
        registrar.wait_said("done")

        assert registrar.out == "done\n"


def test_pid_1_takes_signals_that_the_kernel_spares_it(place: Place) -> None:
    with Registrar(
        ["run", "--", "sh", "-c", UNTIL_TERM], place.instance_environ(), around=as_pid_1()
    ) as registrar:
        registrar.wait_said("up")
        place.wait_registered()
        children = Path(f"/proc/{registrar.pid}/task/{registrar.pid}/children").read_text()
        os.kill(int(children), signal.SIGTERM)
        began_at = time.monotonic()

        assert registrar.wait() == 5
        assert time.monotonic() - began_at < 8
        assert place.routes() == []
