"""Numbers of a real frontend: each request is counted once, where it belongs."""

import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from regenerator import processes
from tests.etcd_server import EtcdServer, free_ports, wait_until
from tests.system.frontend import COMMAND, Frontend, Link, exchange
from tests.system.origin import Origin, refusing

pytestmark = pytest.mark.system


class Scene(NamedTuple):
    """A frontend with numbers, and two services behind it.

    Attributes:
        before: What was counted when the test began.
    """

    frontend: Frontend
    login: Origin
    main: Origin
    before: Mapping[str, float] = MappingProxyType({})

    def numbers(self) -> dict[str, float]:
        """What Prometheus reads, by name and labels."""
        url = f"http://{self.frontend.settings['METRICS']}/metrics"
        with urllib.request.urlopen(url) as response:
            text = response.read().decode()
        return {
            " ".join((one.name.removeprefix("branchfront_"), *one.labels.values())): one.value
            for family in text_string_to_metric_families(text)
            for one in family.samples
        }

    def counted(self, name: str = "requests_total") -> dict[str, float]:
        """What of a counter has grown since the test began, by its labels."""
        return {
            key.removeprefix(f"{name} "): one - self.before.get(key, 0)
            for key, one in self.numbers().items()
            if key.startswith(f"{name} ") and one != self.before.get(key, 0)
        }

    def wait_for_requests(self, wanted: Mapping[str, float]) -> None:
        """Wait until as many requests are counted, and fail if they are others."""

        def are_counted() -> bool:
            return sum(self.counted().values()) >= sum(wanted.values())

        try:
            wait_until(are_counted)
        except TimeoutError as exc:
            raise AssertionError(f"{self.counted()}\n{self.frontend.story()}") from exc
        assert self.counted() == wanted


@pytest.fixture(name="whole", scope="module")
def _whole(tmp_path_factory: pytest.TempPathFactory, etcd: EtcdServer) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("metrics")
    metrics = f"127.0.0.1:{free_ports(1)[0]}"
    with (
        Frontend(folder, etcd=etcd, METRICS=metrics, REGISTRY_PREFIX="/metrics") as frontend,
        Origin("login") as login,
        Origin("main") as main,
    ):
        frontend.put("feature/login", "web", login.address)
        frontend.put("main", "web", main.address)
        yield Scene(frontend, login, main)


@pytest.fixture(name="scene")
def _scene(whole: Scene) -> Scene:
    return whole._replace(before=whole.numbers())


def test_each_request_is_counted_once_by_branch_and_status(scene: Scene) -> None:
    frontend = scene.frontend
    statuses = [200, 201, 204, 302, 404, 500, 503]
    for number in range(140):
        host = ("feature-login", "main-web")[number % 2]
        status = statuses[number % 7]
        assert frontend.ask(f"{host}.localhost", f"/status/{status}").status == status
    with frontend.connect() as link:
        # on one connection, and with what is no GET
        for method in ("GET", "HEAD", "POST", "DELETE") * 15:
            host = frontend.named("feature-login.localhost")
            assert exchange(link, host, method=method, body=b"x").status == 200

    login = {"2xx": 30 + 60, "3xx": 10, "4xx": 10, "5xx": 20}
    main = {"2xx": 30, "3xx": 10, "4xx": 10, "5xx": 20}
    scene.wait_for_requests(
        {f"feature/login {status}": count for status, count in login.items()}
        | {f"main {status}": count for status, count in main.items()}
    )
    codes = {str(status): 20 for status in statuses}
    assert scene.counted("responses_total") == codes | {"200": 80}
    assert scene.numbers()["uncounted_requests_total"] == 0
    # nginx has nothing to complain about whoever it tells
    assert "syslog" not in (frontend.state / "logs" / "error.log").read_text()


def test_pages_of_ours_are_requests_of_the_branch_that_they_are_about(scene: Scene) -> None:
    frontend = scene.frontend
    with refusing() as nobody:
        frontend.put("refuses", "web", nobody)
        frontend.put("gone", "web", nobody)
        frontend.write(
            "claims/gone/web", b'{"version":1,"created":"2026-11-21T09:00:00Z","labels":["gone"]}'
        )
        frontend.remove("gone", "web")
        asked = {
            host: frontend.ask(f"{host}.localhost").status
            for host in ("refuses", "gone", "never", "a.b")
        }

    assert asked == {"refuses": 502, "gone": 503, "never": 404, "a.b": 404}
    scene.wait_for_requests({"refuses 5xx": 1, "gone 5xx": 1, " 4xx": 2})
    assert scene.counted("pages_total") == {"404": 2, "502": 1, "503": 1}


def test_what_is_not_a_branchs_is_not_counted(scene: Scene) -> None:
    frontend = scene.frontend
    for host, path in (
        ("localhost", "/"),
        ("localhost", "/api/v1/branches"),
        ("localhost", "/healthz"),
        ("127.0.0.1", "/readyz"),
        ("127.0.0.1", "/"),
    ):
        frontend.ask(host, path)
    frontend.ask("main.localhost")

    scene.wait_for_requests({"main 2xx": 1})


def test_a_request_that_outlives_its_generation_is_counted_once(scene: Scene) -> None:
    """It comes to a retiring worker, which passes it on to one that serves."""
    frontend = scene.frontend
    with frontend.connect() as link:
        host = frontend.named("main.localhost")
        assert exchange(link, host).status == 200
        # a connection that was open before belongs to a worker that retires now
        frontend.put("another", "web", scene.login.address)
        late = 0
        while link.sock is not None and late < 3:
            late += 1
            if exchange(link, host).headers.get("connection") == "close":
                break

    scene.wait_for_requests({"main 2xx": 1 + late})


def test_a_route_is_shown_with_its_requests(scene: Scene) -> None:
    frontend = scene.frontend
    frontend.put("shown", "web", scene.main.address)

    def shown() -> dict[str, object]:
        answer = frontend.ask("localhost", "/api/v1/branches/shown")
        found: dict[str, object] = answer.json()["services"][0] if answer.status == 200 else {}
        return found

    wait_until(shown)
    assert shown()["requests_per_minute"] == shown()["errors_per_minute"] == 0
    assert shown()["last_request_at"] is None
    for path in ("/", "/status/500", "/status/404"):
        frontend.ask("shown.localhost", path)

    wait_until(lambda: shown()["requests_per_minute"] == 3)
    assert shown()["errors_per_minute"] == 1
    assert str(shown()["last_request_at"]).startswith("20")


def test_a_dashboard_that_was_killed_counts_anew_and_the_regenerator_goes_on(
    scene: Scene,
) -> None:
    frontend = scene.frontend
    frontend.ask("main.localhost")
    scene.wait_for_requests({"main 2xx": 1})
    before = scene.numbers()
    [pid] = frontend.dashboards()

    os.kill(pid, signal.SIGKILL)
    # what comes meanwhile waits for the next one
    for _ in range(5):
        assert frontend.ask("main.localhost").status == 200

    def is_back() -> bool:
        try:
            return frontend.dashboards() != [pid] and scene.numbers()["reloads_total confirmed"] > 0
        except (OSError, KeyError):
            return False

    wait_until(is_back)
    scene._replace(before={}).wait_for_requests({"main 2xx": 5})
    after = scene.numbers()
    assert after["reloads_total confirmed"] == before["reloads_total confirmed"] >= 2
    assert after["dashboard_starts_total"] == before["dashboard_starts_total"] + 1


def test_what_the_regenerator_does_is_counted(scene: Scene) -> None:
    numbers = scene.numbers()

    assert numbers["routes"] >= 2
    assert numbers["reloads_total confirmed"] >= 2
    assert numbers["write_to_served_seconds_count"] >= 2
    assert 0 < numbers["write_to_served_seconds_sum"] < 20
    assert numbers["watch_lag_seconds_count"] >= 2
    assert numbers["revision"] > 1
    assert numbers["ready"] == numbers["regenerator_up"] == numbers["etcd_up"] == 1
    assert numbers["frontends"] == 1
    assert numbers["failing"] == 0

    wrong = scene.frontend.etcd.write(b"/metrics/routes/bad/web", b"8.8.8.8:80")
    scene.frontend.wait_for(wrong)
    wait_until(lambda: scene.numbers()["rejected_records address"] == 1)
    wait_until(lambda: scene.numbers()["instances rejected"] == 1)


@pytest.mark.parametrize(
    ("path", "status"), [("/healthz", 200), ("/readyz", 200), ("/api/v1/branches", 404), ("/", 404)]
)
def test_health_is_told_beside_the_numbers_and_nothing_else_is(
    scene: Scene, path: str, status: int
) -> None:
    with Link(scene.frontend.settings["METRICS"]) as link:
        assert exchange(link, "10.0.0.1", path).status == status


def test_another_program_of_the_machine_cannot_count(scene: Scene) -> None:

    port = int((scene.frontend.state / "requests").read_text().split()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for tag in ("", "0123456789abcdef", "nginx"):
            stranger.sendto(f"<190>Nov 21 19:55:01 {tag}:  404".encode(), ("127.0.0.1", port))
    scene.frontend.ask("main.localhost")

    scene.wait_for_requests({"main 2xx": 1})


def test_without_an_access_log_and_after_a_restart_requests_are_counted(
    tmp_path: Path, etcd: EtcdServer
) -> None:
    """nginx goes on with the configuration that it has: port and tag have to be the same."""
    more = {"METRICS": f"127.0.0.1:{free_ports(1)[0]}", "REGISTRY_PREFIX": "/restarted"}
    with (
        Origin("main") as origin,
        Frontend(tmp_path, etcd=etcd, ACCESS_LOG="off", **more) as frontend,
    ):
        frontend.put("main", "web", origin.address)
        scene = Scene(frontend, origin, origin)
        frontend.ask("main.localhost")
        scene.wait_for_requests({"main 2xx": 1})
        generation = frontend.ask("localhost", "/readyz").json()["generation"]
        [pid] = frontend.dashboards()

        frontend.kill()
        wait_until(lambda: not processes.title(pid))
        assert frontend.ask("main.localhost").status == 200
        frontend.start()

        def is_back() -> bool:
            try:
                return scene.numbers()["ready"] == 1
            except (OSError, KeyError):
                return False

        wait_until(is_back)
        frontend.ask("main.localhost")
        scene.wait_for_requests({"main 2xx": 1})
        assert frontend.ask("localhost", "/readyz").json()["generation"] == generation


def test_an_address_that_somebody_has_is_said_at_the_start(scene: Scene, tmp_path: Path) -> None:
    settings = scene.frontend.settings
    done = subprocess.run(
        [COMMAND, "run"],
        env={**settings, "STATE": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )

    assert done.returncode == 69
    assert f"METRICS cannot listen on {settings['METRICS']}: Address alr" in done.stderr
