"""``branchfront up`` as a person runs it: real etcd, real nginx, signals and kills from outside."""

import http.client
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from registry.keys import Keyspace, RouteKey
from registry.registrations import Registrations
from tests.etcd_server import wait_until
from tests.standing_branchfront import COMMAND, Branchfront, is_gone

pytestmark = pytest.mark.system

ANY_PORTS = ("--port", "0", "--etcd-port", "0")
KEYS = Keyspace()

AGAIN_S = 20.0
"""A killed program is back in half a second; two busy cores take longer."""


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
        pass


@pytest.fixture(name="up")
def _up(tmp_path: Path) -> Iterator[Branchfront]:
    with Branchfront(tmp_path / "state", *ANY_PORTS) as up:
        yield up.ready()


@pytest.fixture(name="unhurt", scope="module")
def _unhurt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Branchfront]:
    """One for all tests that only look at it."""
    with Branchfront(tmp_path_factory.mktemp("unhurt") / "state", *ANY_PORTS) as up:
        yield up.ready()


@pytest.fixture(name="service")
def _service() -> Iterator[str]:
    """The address of a service that says hello."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Hello) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def serve(up: Branchfront, *, branch: str, address: str) -> None:
    """Register a route by hand, wait until the frontend says that it is served, and see it."""
    with closing(up.etcd()) as etcd:
        revision = etcd.write(KEYS.raw(RouteKey(branch, "web")), address.encode())
        registrations = Registrations(etcd, keys=KEYS)
        wait_until(lambda: has_applied(registrations, revision), within_s=AGAIN_S)
    assert says_hello(up, branch), up.answer(f"{branch}.localhost")


def has_applied(registrations: Registrations, revision: int) -> bool:
    reports = [record for _, record in registrations.frontends()]
    return bool(reports) and all(record.revision >= revision for record in reports)


def says_hello(up: Branchfront, branch: str) -> bool:
    answer = up.answer(f"{branch}.localhost")
    return (answer.status, answer.body) == (200, "hello")


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, where it is not expected to serve."""
    return subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={**os.environ, **environ},
    )


def test_it_says_ready_on_one_line_once_nginx_answers(unhurt: Branchfront) -> None:
    assert unhurt.answer().status == 200
    assert unhurt.said.read_text().count("\n") == 1
    assert unhurt.url == f"http://localhost:{unhurt.port}"


def test_everything_it_keeps_is_for_its_owner_alone(unhurt: Branchfront) -> None:
    assert stat.S_IMODE(unhurt.state.stat().st_mode) == 0o700
    assert stat.S_IMODE((unhurt.state / "password").stat().st_mode) == 0o600
    assert (unhurt.state / "password").read_text() == unhurt.password
    assert unhurt.password not in " ".join(map(str, unhurt.mentioning()))


def test_a_web_page_cannot_write_to_the_registry(unhurt: Branchfront) -> None:
    """A page can make a browser post text/plain to any port of this machine, without asking."""
    body = json.dumps({"key": "L2JyYW5jaGZyb250L3g=", "value": "eA=="}).encode()
    link = http.client.HTTPConnection(unhurt.endpoint.removeprefix("http://"), timeout=5)
    with closing(link):
        link.request("POST", "/v3/kv/put", body, headers={"Content-Type": "text/plain"})
        status = link.getresponse().status

    assert status == 400
    with closing(unhurt.etcd()) as etcd:
        assert etcd.read(b"/branchfront/x") is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_quickly_and_leaves_nothing(up: Branchfront, number: signal.Signals) -> None:
    pids = {up.etcd_pid(), up.regenerator_pid(), *up.nginx_pids()}
    assert len(pids) >= 4

    up.send(number)

    assert up.wait(within_s=15) == 0, up.story()
    wait_until(lambda: all(map(is_gone, pids)))
    assert not up.mentioning()


def test_a_second_ctrl_c_does_not_wait_for_a_regenerator_that_hangs(up: Branchfront) -> None:
    pids = {up.etcd_pid(), up.regenerator_pid(), *up.nginx_pids()}
    os.kill(up.regenerator_pid(), signal.SIGSTOP)

    up.send(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        up.process.wait(timeout=0.5)
    up.send(signal.SIGINT)

    assert up.wait(within_s=15) == 0, up.story()
    wait_until(lambda: all(map(is_gone, pids)))


def test_ctrl_c_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    with Branchfront(tmp_path / "state", *ANY_PORTS) as up:
        wait_until((tmp_path / "state" / "etcd.log").exists, within_s=AGAIN_S)

        up.send(signal.SIGINT)

        assert up.wait(within_s=15) == 0, up.story()
        assert not up.mentioning()
        assert up.said.read_text() == ""


@pytest.mark.parametrize("killed", ["etcd_pid", "regenerator_pid", "nginx_pid"])
def test_what_is_killed_comes_back_and_the_url_answers(
    up: Branchfront, service: str, killed: str
) -> None:
    serve(up, branch="before", address=service)
    pid = getattr(up, killed)()

    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_gone(pid), within_s=AGAIN_S)

    wait_until(lambda: says_hello(up, "before"), within_s=AGAIN_S)
    # and what is registered from now on is served, so all three work together again
    wait_until(lambda: bool(up.mentioning()) and can_write(up), within_s=AGAIN_S)
    serve(up, branch="after", address=service)


def can_write(up: Branchfront) -> bool:
    with closing(up.etcd()) as etcd:
        try:
            etcd.write(b"/try", b"")
        except Exception:  # noqa: BLE001 - whatever it is, it is not back yet
            return False
        return True


def test_a_killed_regenerator_leaves_nginx_serving(up: Branchfront, service: str) -> None:
    serve(up, branch="steady", address=service)
    master, pid = up.nginx_pid(), up.regenerator_pid()

    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_gone(pid), within_s=AGAIN_S)

    assert says_hello(up, "steady")
    wait_until(lambda: len(up.mentioning()) >= 3, within_s=AGAIN_S)
    serve(up, branch="later", address=service)
    assert up.nginx_pid() == master


def test_what_a_killed_one_left_is_taken_over_by_the_next(tmp_path: Path, service: str) -> None:
    with Branchfront(tmp_path / "state", *ANY_PORTS) as first:
        first.ready()
        serve(first, branch="kept", address=service)
        old = {first.etcd_pid(), first.regenerator_pid()}
        nginx = first.nginx_pid()
        first.send(signal.SIGKILL)
        first.wait()
        assert says_hello(first, "kept")

        ports = ("--port", str(first.port), "--etcd-port", first.endpoint.rpartition(":")[2])
        with Branchfront(tmp_path / "state", *ports) as second:
            second.ready()

            assert all(map(is_gone, old))
            assert {second.etcd_pid(), second.regenerator_pid()}.isdisjoint(old)
            assert second.nginx_pid() == nginx
            assert second.password == first.password
            wait_until(lambda: says_hello(second, "kept"), within_s=AGAIN_S)
            serve(second, branch="new", address=service)

            second.send(signal.SIGTERM)
            assert second.wait(within_s=15) == 0
            assert not second.mentioning()
            assert is_gone(nginx)


def test_the_next_may_listen_elsewhere(tmp_path: Path, service: str) -> None:
    with Branchfront(tmp_path / "state", *ANY_PORTS) as first:
        first.ready()
        serve(first, branch="kept", address=service)
        first.send(signal.SIGKILL)
        first.wait()

        with Branchfront(tmp_path / "state", *ANY_PORTS) as second:
            second.ready()

            wait_until(lambda: says_hello(second, "kept"), within_s=AGAIN_S)
            wait_until(lambda: first.answer().status == -1, within_s=AGAIN_S)


def test_routes_by_hand_outlive_a_restart(tmp_path: Path, service: str) -> None:
    with Branchfront(tmp_path / "state", *ANY_PORTS) as first:
        serve(first.ready(), branch="kept", address=service)
        first.send(signal.SIGTERM)
        assert first.wait() == 0

    with Branchfront(tmp_path / "state", *ANY_PORTS) as second:
        second.ready()
        wait_until(lambda: says_hello(second, "kept"), within_s=AGAIN_S)


def test_a_second_one_on_a_live_folder_is_one_sentence(unhurt: Branchfront) -> None:
    done = run("up", "--state", str(unhurt.state), *ANY_PORTS)

    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr == (
        f"branchfront: another branchfront (process {unhurt.process.pid}) runs on {unhurt.state};"
        " end it, or take another folder with --state\n"
    )
    assert unhurt.answer().status == 200


@pytest.mark.parametrize("flag", ["--port", "--etcd-port"])
def test_a_taken_port_is_one_sentence_that_says_who_has_it(tmp_path: Path, flag: str) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        other = {"--port": "--etcd-port", "--etcd-port": "--port"}[flag]

        done = run("up", "--state", str(tmp_path / "state"), flag, str(port), other, "0")

    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr.count("\n") == 1
    assert f"port {port} is taken by " in done.stderr
    assert f"(process {os.getpid()})" in done.stderr
    assert f"take another with {flag}" in done.stderr


def test_a_program_that_is_too_old_on_path_is_skipped_and_named(tmp_path: Path) -> None:
    old = tmp_path / "bin" / "nginx"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'nginx version: nginx/1.22.1' >&2\n", encoding="utf-8")
    old.chmod(0o755)
    environ = {**os.environ, "PATH": f"{old.parent}:{os.environ['PATH']}"}

    with Branchfront(tmp_path / "state", *ANY_PORTS, environ=environ) as up:
        up.ready()

        assert "1.22.1, too old: 1.27.4 is needed" in up.complained.read_text()


def test_a_program_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    done = run("up", "--state", str(tmp_path / "state"), "--nginx", "/nowhere/nginx", *ANY_PORTS)

    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr == (
        "branchfront: --nginx is /nowhere/nginx: there is no program of that name\n"
    )


def test_a_program_that_ends_at_once_is_one_sentence_with_its_last_words(tmp_path: Path) -> None:
    broken = tmp_path / "etcd"
    broken.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "etcd Version: 3.5.9" && exit\n'
        "echo no disk today >&2\nexit 1\n",
        encoding="utf-8",
    )
    broken.chmod(0o755)

    done = run("up", "--state", str(tmp_path / "state"), "--etcd", str(broken), *ANY_PORTS)

    assert (done.returncode, done.stdout) == (69, "")
    assert "etcd ended at its start; it said last: no disk today" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_state_folder_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    done = run("up", "--state", str(tmp_path / "file" / "state"), *ANY_PORTS)

    assert (done.returncode, done.stderr.count("\n")) == (78, 1)
    assert "--state is" in done.stderr


def test_state_goes_where_xdg_says_and_settings_of_other_registries_do_not_matter(
    tmp_path: Path,
) -> None:
    environ = {
        **os.environ,
        "XDG_STATE_HOME": str(tmp_path),
        "REGISTRY_URL": "http://elsewhere.invalid:2379",
        "REGISTRY_PREFIX": "/other",
        "ETCD_LISTEN_CLIENT_URLS": "http://127.0.0.1:1",
    }
    with Branchfront(tmp_path / "branchfront", *ANY_PORTS, environ=environ) as up:
        up.arguments = (COMMAND, "up", *ANY_PORTS)
        assert up.ready().answer().status == 200
    shutil.rmtree(tmp_path / "branchfront")
