"""``branchfront demo`` as a person runs it."""

import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from regenerator.processes import children, title
from tests.etcd_server import wait_until
from tests.standing_branchfront import COMMAND, Branchfront, is_gone

pytestmark = pytest.mark.system

ANY_PORTS = ("--port", "0", "--etcd-port", "0")

HOSTS = (
    "feature-login-api",
    "feature-login-web",
    "feature-login",
    "main-api",
    "main-web",
    "main",
)


def test_a_check_asks_each_url_once_and_sees_the_stopped_one_gone(tmp_path: Path) -> None:
    done = subprocess.run(
        [COMMAND, "demo", "--check", *ANY_PORTS],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )

    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(
        r"http://([a-z-]+)\.localhost:\d+ +(\d+) +(put to served|SIGTERM to 503) +\d+ ms",
        done.stdout,
    )
    assert rows == [
        *((host, "200", "put to served") for host in HOSTS),
        ("feature-login-api", "503", "SIGTERM to 503"),
    ]
    assert "\x1b" not in done.stdout
    assert list(tmp_path.iterdir()) == [], "the throwaway folder is still there"


def test_a_demo_serves_four_services_until_ctrl_c(tmp_path: Path) -> None:
    with Branchfront(tmp_path / "state", *ANY_PORTS, command="demo") as demo:
        demo.ready()
        wait_until(lambda: "Ctrl-C" in demo.said.read_text())

        pages = {host: demo.answer(f"{host}.localhost") for host in HOSTS}
        assert {host: page.status for host, page in pages.items()} == dict.fromkeys(HOSTS, 200)
        assert "<title>feature/login web</title>" in pages["feature-login"].body
        assert '"title": "main api"' in pages["main-api"].body
        assert f'href="http://main-api.localhost:{demo.port}"' in pages["main"].body
        for host in HOSTS:
            assert f"http://{host}.localhost:{demo.port}" in demo.said.read_text()

        demo.send(signal.SIGINT)
        assert demo.wait(within_s=20) == 0, demo.story()
        assert not demo.mentioning()


def test_a_killed_demo_takes_its_services_along_and_the_next_clears_up(tmp_path: Path) -> None:
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    first = Branchfront(tmp_path / "first", *ANY_PORTS, command="demo", environ=environ)
    first.arguments = (COMMAND, "demo", *ANY_PORTS)
    with first:
        first.ready()
        first.state = next(tmp_path.glob("branchfront-demo-*"))
        nginx = first.nginx_pid()
        registrars = [one for one in children(first.process.pid) if "registrar" in title(one)]
        services = [sample for registrar in registrars for sample in children(registrar)]
        assert (len(registrars), len(services)) == (4, 4)
        first.send(signal.SIGKILL)
        first.wait()
        wait_until(lambda: all(map(is_gone, [*registrars, *services])))

        done = subprocess.run(
            [COMMAND, "demo", "--check", *ANY_PORTS],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=environ,
        )

        assert done.returncode == 0, done.stdout + done.stderr
        assert not first.mentioning()
        assert is_gone(nginx)
        assert not list(tmp_path.glob("branchfront-demo-*"))


def test_usual_ports_that_are_taken_are_replaced_and_it_says_so(tmp_path: Path) -> None:
    with socket.socket() as held:
        try:
            held.bind(("127.0.0.1", 8080))
            held.listen()
        except OSError:
            pass  # then somebody else holds it, which is as good
        with Branchfront(tmp_path / "state", "--etcd-port", "0", command="demo") as demo:
            demo.ready()

            assert demo.port != 8080
            assert re.search(r"port 8080 is taken.*taking a free one", demo.complained.read_text())


def test_a_demo_that_cannot_start_leaves_nothing(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        done = subprocess.run(
            [COMMAND, "demo", "--port", str(held.getsockname()[1]), "--etcd-port", "0"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )

    assert (done.returncode, done.stdout) == (69, "")
    assert "is taken" in done.stderr
    assert list(tmp_path.iterdir()) == []
