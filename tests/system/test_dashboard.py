"""The dashboard comes, goes, and is stuck: nobody needs it to be served, or starts it by hand."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

import pytest

from regenerator import processes
from regenerator.templates import default_folder
from registry.keys import RouteKey
from tests.etcd_server import free_ports, wait_until
from tests.system.frontend import Answer, Frontend, Link, exchange
from tests.system.origin import Origin

pytestmark = pytest.mark.system

JSON = {"Accept": "application/json"}

STATIC_WITHIN_S = 8.0
"""nginx gives a dashboard that does not answer two seconds, five for the API; 60 by default."""


def api(frontend: Frontend, path: str = "/api/v1/branches") -> Answer:
    return frontend.ask("localhost", path)


def wait_until_shown(frontend: Frontend, branch: str) -> None:
    """Wait until the API tells of a branch."""

    def is_shown() -> bool:
        answer = api(frontend)
        found = answer.json()["branches"] if answer.status == 200 else []
        return branch in [one["branch"] for one in found]

    try:
        wait_until(is_shown)
    except TimeoutError as exc:
        raise AssertionError(frontend.story()) from exc


def test_a_dashboard_that_is_killed_comes_back_and_knows_everything(
    start_frontend: Callable[..., Frontend],
) -> None:
    frontend = start_frontend()
    with Origin("here") as origin:
        frontend.put("seen", "web", origin.address)
        wait_until_shown(frontend, "seen")
        (first,) = frontend.dashboards()

        os.kill(first, signal.SIGKILL)
        between = frontend.ask("localhost"), frontend.ask("seen.localhost")
        frontend.put("later", "web", origin.address)
        wait_until_shown(frontend, "later")

        (second,) = frontend.dashboards()
        assert second != first
        assert [one.status for one in between] == [200, 200]
        assert "seen" in between[0].text
        wait_until_shown(frontend, "seen")


def test_one_that_is_stuck_keeps_nobody_waiting_for_long(
    start_frontend: Callable[..., Frontend],
) -> None:
    frontend = start_frontend()
    with Origin("here") as origin:
        frontend.put("stuck", "web", origin.address)
        wait_until_shown(frontend, "stuck")
        (pid,) = frontend.dashboards()
        os.kill(pid, signal.SIGSTOP)
        try:
            began_at = time.monotonic()
            unknown = frontend.ask("nobody.localhost")
            took_s = time.monotonic() - began_at
            served = frontend.ask("stuck.localhost")
            frontend.put("meanwhile", "web", origin.address)
            meanwhile = frontend.ask("meanwhile.localhost")
        finally:
            os.kill(pid, signal.SIGCONT)

        assert (unknown.status, served.status, meanwhile.status) == (404, 200, 200)
        assert "404" in unknown.text
        assert took_s < STATIC_WITHIN_S
        wait_until_shown(frontend, "meanwhile")


def test_one_that_is_stuck_for_good_is_replaced(start_frontend: Callable[..., Frontend]) -> None:
    frontend = start_frontend()
    wait_until(lambda: api(frontend).status == 200)
    (pid,) = frontend.dashboards()

    os.kill(pid, signal.SIGSTOP)

    # 10 s of patience, and a few until what it is told waits
    wait_until(lambda: not processes.title(pid), within_s=30)
    wait_until(lambda: api(frontend).status == 200)


def test_it_ends_with_its_regenerator_and_nginx_serves_without_both(
    start_frontend: Callable[..., Frontend],
) -> None:
    frontend = start_frontend()
    with Origin("here") as origin:
        frontend.put("alone", "web", origin.address)
        wait_until_shown(frontend, "alone")
        (pid,) = frontend.dashboards()

        frontend.kill()
        wait_until(lambda: not processes.title(pid))

        assert frontend.ask("alone.localhost").status == 200
        page = frontend.ask("localhost")
        assert (page.status, "alone" in page.text) == (200, True)
        problem = api(frontend)
        assert problem.status == 503
        assert problem.headers["content-type"].startswith("application/problem+json")
        assert frontend.ask("127.0.0.1", "/healthz").status == 200
        assert frontend.ask("127.0.0.1", "/readyz").status == 503

        frontend.start()
        wait_until_shown(frontend, "alone")
        assert len(frontend.dashboards()) == 1
        wait_until(lambda: frontend.ask("127.0.0.1", "/readyz").status == 200)


def test_a_page_template_that_is_wrong_takes_nothing_away(
    start_frontend: Callable[..., Frontend], tmp_path: Path
) -> None:
    folder = shutil.copytree(default_folder(), tmp_path / "nginx")
    row = folder / "templates/pages/board_row.html.j2"
    good = row.read_text()
    frontend = start_frontend(TEMPLATES=str(folder))
    with Origin("here") as origin:
        frontend.put("before", "web", origin.address)
        wait_until_shown(frontend, "before")
        (first,) = frontend.dashboards()

        row.write_text(f"{good}{{% if %}}\n")
        frontend.wait_for_state("template broken")
        frontend.etcd.write(frontend.keys.raw(RouteKey("after", "web")), origin.address.encode())
        wait_until_shown(frontend, "after")

        assert frontend.dashboards() == [first]
        assert frontend.ask("localhost").text.count("<tbody") == 2

        # whoever starts now has never seen any that are right
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: not processes.title(first))
        wait_until_shown(frontend, "after")
        assert "pages are drawn by the templates that come with the program" in (
            frontend.log.read_text()
        )

        row.write_text(good.replace("<tbody", '<tbody lang="en"'))
        wait_until(lambda: '<tbody lang="en"' in frontend.ask("localhost").text)


def test_one_that_never_comes_to_its_end_outlives_its_regenerator_for_a_moment_only(
    start_frontend: Callable[..., Frontend], tmp_path: Path
) -> None:
    """It has the address of METRICS: as long as it lives the next regenerator does not start."""
    folder = shutil.copytree(default_folder(), tmp_path / "nginx")
    reason = folder / "templates/pages/reason.html.j2"
    reason.write_text(f"{{% for _ in range(10 ** 12) %}}{{% endfor %}}{reason.read_text()}")
    [port] = free_ports(1)
    frontend = start_frontend(TEMPLATES=str(folder), METRICS=f"127.0.0.1:{port}")
    wait_until(lambda: api(frontend).status == HTTPStatus.OK)
    (stuck,) = frontend.dashboards()
    assert frontend.ask("nobody.localhost").status == HTTPStatus.NOT_FOUND
    assert api(frontend).status == HTTPStatus.SERVICE_UNAVAILABLE

    frontend.kill()
    wait_until(lambda: not processes.title(stuck))

    frontend.start()
    wait_until(lambda: api(frontend).status == HTTPStatus.OK)


def test_one_that_was_stopped_with_its_regenerator_gone_is_ended_by_the_next(
    start_frontend: Callable[..., Frontend],
) -> None:
    """It has the addresses of METRICS and of the requests, and will not end by itself."""
    [port] = free_ports(1)
    frontend = start_frontend(METRICS=f"127.0.0.1:{port}")
    other = start_frontend()
    wait_until(lambda: api(frontend).status == HTTPStatus.OK)
    wait_until(lambda: api(other).status == HTTPStatus.OK)
    (stopped,), (stranger,) = frontend.dashboards(), other.dashboards()
    told_to = (frontend.state / "requests").read_text()
    try:
        for one, pid in ((frontend, stopped), (other, stranger)):
            os.kill(pid, signal.SIGSTOP)
            one.kill()

        frontend.start()

        wait_until(lambda: not processes.is_alive(stopped))
        wait_until(lambda: api(frontend).status == HTTPStatus.OK)
        assert "waiting for the dashboard of an earlier regenerator" in frontend.log.read_text()
        assert (frontend.state / "requests").read_text() == told_to
        with Link("127.0.0.1", port) as link:
            assert exchange(link, f"127.0.0.1:{port}", "/metrics").status == HTTPStatus.OK
        # that one is another frontend's
        assert processes.is_alive(stranger)
    finally:
        for pid in (stopped, stranger):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("path", ["/events", "/api/v1/events"])
def test_a_stream_that_a_reload_ends_comes_back_to_a_new_worker(
    path: str, start_frontend: Callable[..., Frontend]
) -> None:
    """On the same connection it would be with the old one, which could not leave for as long."""
    frontend = start_frontend()
    with Origin("here") as origin:
        frontend.put("first", "web", origin.address)
        wait_until_shown(frontend, "first")
        frontend.wait_until_settled()
        with frontend.connect() as link:
            link.request("GET", path, headers={"Host": frontend.named("localhost")})
            stream = link.getresponse()
            assert stream.status == 200

            frontend.put("second", "web", origin.address)

            while stream.read1(65536):
                pass
            assert stream.will_close


@pytest.mark.parametrize("later_s", [0.0, 0.2, 0.4, 0.6])
def test_it_ends_with_a_regenerator_that_is_killed_while_both_start(
    later_s: float, start_frontend: Callable[..., Frontend]
) -> None:
    frontend = start_frontend()
    (first,) = frontend.dashboards()
    frontend.kill()
    wait_until(lambda: not processes.title(first))

    frontend.start(wait=False)
    wait_until(lambda: bool(frontend.dashboards()))
    (pid,) = frontend.dashboards()
    # no wait for a condition: it is to die at any moment of its start
    time.sleep(later_s)
    frontend.kill()

    wait_until(lambda: not processes.title(pid))


def test_an_end_leaves_none_behind(start_frontend: Callable[..., Frontend]) -> None:
    frontend = start_frontend()
    wait_until(lambda: bool(frontend.dashboards()))
    (pid,) = frontend.dashboards()

    assert frontend.stop() == 0

    assert not processes.title(pid)
