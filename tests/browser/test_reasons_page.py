"""The page of a branch that is not served, in a real browser: it shows the branch when it is up."""

from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from playwright.sync_api import expect

from registry.keys import RouteKey
from registry.records import Address, InstanceRecord, State
from tests.browser.window import DESKTOP, PHONE, Windows
from tests.etcd_server import wait_until
from tests.system.frontend import Frontend
from tests.system.origin import Origin

pytestmark = pytest.mark.system

COMES_UP_MS = 20_000
"""The page looks every five seconds."""

HOSTILE = "fix/<script>document.title='hurt'</script>\"><img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def _closed(windows: Windows) -> Iterator[None]:
    yield
    windows.close()


@pytest.fixture(scope="module", name="frontend")
def _frontend(start_frontend: Callable[..., Frontend]) -> Frontend:
    return start_frontend()


def url_of(frontend: Frontend, host: str) -> str:
    return f"http://{host}:{frontend.port}/"


def start(frontend: Frontend, branch: str, label: str, *, health: str = "") -> str:
    """Register a service that is not ready; gives its host, whose page says so."""
    claim = f'{{"version":1,"created":"","labels":["{label}-web","{label}"]}}'
    frontend.write(f"claims/{label}/web", claim)
    key = frontend.keys.raw(RouteKey(branch, "web"))
    record = InstanceRecord(Address("127.0.0.1", 9999), State.STARTING, health=health)
    frontend.wait_for(frontend.etcd.write(key, record.dump()))
    return wait_for_reason(frontend, f"{label}.localhost", "unhealthy" if health else "starting")


def wait_for_reason(frontend: Frontend, host: str, reason: str) -> str:
    wait_until(lambda: frontend.ask(host).headers.get("x-reason") == reason)
    return host


@pytest.mark.parametrize("has_scripts", [True, False])
def test_a_branch_that_comes_up_is_shown_by_itself(
    frontend: Frontend, windows: Windows, has_scripts: bool
) -> None:
    label = f"comes-up-{has_scripts}".lower()
    host = start(frontend, label, label)
    window = windows.open(url_of(frontend, host), java_script_enabled=has_scripts)
    expect(window.page.locator("h1")).to_have_text("This service is starting")

    with Origin("here it is") as origin:
        key = frontend.keys.raw(RouteKey(label, "web"))
        frontend.wait_for(frontend.etcd.write(key, origin.address.encode()))

        expect(window.page.locator("body")).to_have_text("here it is", timeout=COMES_UP_MS)
        wait_until(lambda: len(origin.seen) >= 1)
        pages = [seen for seen in origin.seen if seen.target == "/" and seen.method == "GET"]
    # a page that only looks whether it is there asks for nothing but the head of it
    assert len(pages) == 1


def test_a_reason_that_becomes_another_is_shown_and_nothing_moves_before(
    frontend: Frontend, windows: Windows
) -> None:
    host = start(frontend, "becomes-ill", "becomes-ill")
    window = windows.open(url_of(frontend, host))
    window.mark()
    with window.page.expect_response(
        lambda answer: answer.request.method == "HEAD", timeout=COMES_UP_MS
    ):
        pass
    assert not window.was_left()

    start(frontend, "becomes-ill", "becomes-ill", health="GET /up answered 500")

    expect(window.page.locator("h1")).to_have_text(
        "This service does not pass its health check", timeout=COMES_UP_MS
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_the_pages_are_for_everybody_and_ask_nobody_else(
    frontend: Frontend, windows: Windows, size: tuple[int, int], scheme: Literal["light", "dark"]
) -> None:
    with Origin("there") as origin:
        frontend.put("nearly/right", "web", origin.address)
        frontend.put(HOSTILE, "web", "169.254.169.254:80")
        sick = start(frontend, "sick", "sick", health="GET /up answered 500")
        hostile = "fix-script-document-title-hurt-script-img-src-x-onerror-alert-1"
        wait_for_reason(frontend, "nearly-rihgt.localhost", "never-registered")
        for name, host in (
            ("sick", sick),
            ("unknown", "nearly-rihgt.localhost"),
            ("rejected", f"{hostile}.localhost"),
        ):
            window = windows.open(url_of(frontend, host), size=size, scheme=scheme)
            window.picture(f"reason-{name}-{size[0]}-{scheme}")

            assert window.complaints() == []
            assert not window.is_wider_than_it_should_be()
            assert window.hosts == {f"{host}:{frontend.port}"}
            assert window.violations() == []
            assert window.page.title() != "hurt"
            assert not [line for line in window.said if "status of" not in line]
