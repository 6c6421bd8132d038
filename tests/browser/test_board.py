"""The page of the bare domain in a real browser, with and without JavaScript.

Every test opens windows on a frontend that the installed command runs, with real etcd and nginx.
"""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import expect

from registry.keys import RouteKey
from registry.records import Address, InstanceRecord, State
from tests.browser.window import DESKTOP, PHONE, SCHEMES, Scheme, Window, Windows
from tests.etcd_server import EtcdServer, wait_until
from tests.system.frontend import Frontend
from tests.system.origin import Origin

pytestmark = pytest.mark.system

HOSTILE = (
    "<script>document.title='hurt'</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}",
    "עברית/ענף-חדש",
    "right\u202eto-left",
    "🚀/émoji",
    "x" * 250,
)
"""Names of branches that do harm where somebody takes them for anything but text."""

SHOWN_MS = 10_000
"""A change is shown within 1.5 s; longer on two cores that many share."""

BACK_MS = 30_000
"""Whoever lost the connection tries again after 2 s at first, and never later than after 19 s."""


@pytest.fixture(autouse=True)
def _closed(windows: Windows) -> Iterator[None]:
    """Leave no window behind, nor what a policy refused in one."""
    yield
    windows.close()


@pytest.fixture(scope="module", name="frontend")
def _frontend(start_frontend: Callable[..., Frontend], origin: Origin) -> Frontend:
    """A frontend with something of everything."""
    frontend = start_frontend()
    for branch in HOSTILE:
        frontend.put(branch, "web", origin.address)
    for service in ("api", "web"):
        frontend.put("main", service, origin.address)
    record(frontend, "feature/login", "127.0.0.1:9001", health="GET /healthz answered 500")
    record(frontend, "feature/search", "127.0.0.1:9002")
    frontend.write(
        "claims/resting/web",
        '{"version":1,"created":"2026-11-21T09:00:00Z","labels":["resting-web","resting"]}',
    )
    frontend.put("metadata", "web", "169.254.169.254:80")
    return frontend


def record(frontend: Frontend, branch: str, address: str, *, health: str = "") -> None:
    """What a registrar writes of an instance that is not ready."""
    value = InstanceRecord(
        Address.parse(address),
        State.STARTING,
        registered_at="2026-11-21T09:00:00Z",
        health=health,
    )
    key = frontend.keys.raw(RouteKey(branch, "web", "one"))
    # longer than any run of these tests
    lease = frontend.etcd.grant(3600).id
    frontend.wait_for(frontend.etcd.write(key, value.dump(), lease=lease))


def live(window: Window) -> None:
    """Wait until the page is told of changes."""
    expect(window.page.locator("#live")).to_have_text("Live", timeout=BACK_MS)


def shown(window: Window) -> list[str]:
    """The branches in sight, from top to bottom."""
    return window.page.locator("tbody:not([hidden]) th").all_text_contents()


def row(branch: str) -> str:
    """The selector of a branch's row."""
    return f'tbody:has(bdi:text-is("{branch}"))'


@contextmanager
def dashboard_frozen(frontend: Frontend) -> Iterator[None]:
    """The frontend while its dashboard is stuck."""
    (dashboard,) = frontend.dashboards()
    os.kill(dashboard, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(dashboard, signal.SIGCONT)


def test_search_shows_what_matches_as_one_types(windows: Windows, frontend: Frontend) -> None:
    window = windows.open(f"{frontend.url}/")
    window.mark()

    field = window.page.get_by_role("searchbox", name="Search branches, services, hosts and states")
    field.press_sequentially("FEATURE log")

    assert shown(window) == ["feature/login"]
    expect(window.page.locator("#found")).to_have_text(re.compile(r"^1 of \d+ branches$"))
    assert window.page.url.endswith("/?q=FEATURE%20log")
    window.page.locator("#q").fill("is:unhealthy")
    assert shown(window) == ["feature/login"]
    window.page.locator("#q").fill("nobody has such a name")
    assert shown(window) == []
    expect(window.page.locator("#found")).to_have_text(re.compile("^None of"))
    window.page.locator("#q").fill("")
    assert len(shown(window)) > len(HOSTILE)
    assert not window.was_left()


def test_a_state_is_one_click_away(windows: Windows, frontend: Frontend) -> None:
    window = windows.open(f"{frontend.url}/")

    window.page.get_by_role("link", name="not running").click()

    assert shown(window) == ["resting"]
    assert window.page.locator("#q").input_value() == "is:gone"
    window.page.go_back()
    assert len(shown(window)) > len(HOSTILE)
    window.page.go_forward()
    assert shown(window) == ["resting"]
    window.page.locator("#counts a").first.click()
    assert len(shown(window)) > len(HOSTILE)


def test_a_service_that_registers_and_leaves_is_shown_by_itself(
    windows: Windows, frontend: Frontend, origin: Origin
) -> None:
    window = windows.open(f"{frontend.url}/")
    live(window)
    window.mark()
    before = shown(window)

    frontend.put("just/come", "web", origin.address)
    expect(window.page.locator(row("just/come"))).to_contain_text("serving", timeout=SHOWN_MS)
    assert shown(window) == sorted([*before, "just/come"], key=_order)
    frontend.remove("just/come", "web")
    expect(window.page.locator(row("just/come"))).to_have_count(0, timeout=SHOWN_MS)

    assert shown(window) == before
    assert not window.was_left()


def _order(branch: str) -> str:
    """As the page sorts: by the names themselves, which may have signs that it does not show."""
    return next((name for name in HOSTILE if branch.startswith(name[:5])), branch)


def test_requests_are_counted_on_the_page(windows: Windows, frontend: Frontend) -> None:
    window = windows.open(f"{frontend.url}/")
    live(window)

    for _ in range(7):
        assert frontend.ask("main-api.localhost").status == 200
    for _ in range(3):
        frontend.ask("main-api.localhost", "/status/500")

    cells = window.page.locator(row("main")).locator("tr").first
    expect(cells.locator(".rate")).to_have_text("10", timeout=SHOWN_MS)
    expect(cells.locator(".errors")).to_have_text("30 %", timeout=SHOWN_MS)
    expect(cells.locator(".last")).to_have_text("just now", timeout=SHOWN_MS)


def test_what_somebody_is_at_stays_as_it_is_when_the_row_changes(
    windows: Windows, frontend: Frontend, origin: Origin
) -> None:
    """Open details, the focus, the search and the place on the page."""
    frontend.put("changing", "web", origin.address)
    window = windows.open(f"{frontend.url}/", size=(1280, 300))
    live(window)
    window.page.locator("#q").fill("c")
    summary = window.page.locator(row("changing")).locator("summary")
    summary.click()
    summary.focus()
    scrolled = window.page.evaluate("scrollY")
    visible = shown(window)

    frontend.put("changing", "web", origin.address, "127.0.0.1:9998")
    line = window.page.locator(row("changing"))
    expect(line).to_contain_text("3 instances", timeout=SHOWN_MS)
    frontend.put("never-shown", "web", origin.address)
    frontend.put("crowd", "web", origin.address)
    expect(window.page.locator(row("crowd"))).to_have_count(1, timeout=SHOWN_MS)

    assert line.locator("details").get_attribute("open") is not None
    expect(summary).to_be_focused()
    assert abs(window.page.evaluate("scrollY") - scrolled) < 60  # a row more may stand above it
    assert window.page.locator("#q").input_value() == "c"
    assert set(shown(window)) == {*visible, "crowd"}
    for branch in ("changing", "never-shown", "crowd"):
        frontend.remove(branch, "web")


def test_everything_that_is_wrong_is_said_in_words(windows: Windows, frontend: Frontend) -> None:
    window = windows.open(f"{frontend.url}/")
    text = window.page.inner_text("#board")

    assert "it does not pass its health check: GET /healthz answered 500" in text
    assert "it is starting, and has not said that it is ready" in text
    assert "address 169.254.169.254:80 is link-local" in text
    assert "etcd answers." in text
    assert "up to date" in text
    record = frontend.record()
    assert record is not None
    assert record.generation in text
    window.page.locator(row("main")).locator("summary").first.click()
    assert "127.0.0.1:" in window.page.inner_text(row("main"))
    window.picture("desktop-light")


def test_without_javascript_there_is_the_whole_table_and_a_search(
    windows: Windows, frontend: Frontend
) -> None:
    window = windows.open(f"{frontend.url}/", java_script_enabled=False)

    everything = shown(window)
    assert {"main", "feature/login", "resting", HOSTILE[0]} <= set(everything)
    told = window.page.locator("noscript p")
    expect(told).to_be_visible()
    expect(told).to_contain_text("this page does not update by itself")
    assert re.search(r"As of 20\d\d-\d\d-\d\d", window.page.inner_text("#live"))
    assert "ago" in window.page.inner_text(row("feature/login"))
    window.picture("no-javascript")
    window.page.locator("#q").fill("feature login")
    window.page.locator("#q").press("Enter")
    window.page.wait_for_url("**/?q=feature+login")
    assert shown(window) == ["feature/login"]
    assert window.page.locator("#q").input_value() == "feature login"
    window.page.get_by_role("link", name="Show all").click()
    window.page.wait_for_url(f"{frontend.url}/")
    assert shown(window) == everything


def test_a_page_that_the_server_has_filtered_finds_all_branches_again(
    windows: Windows, frontend: Frontend
) -> None:
    window = windows.open(f"{frontend.url}/?q=resting")
    live(window)
    assert shown(window) == ["resting"]
    window.mark()

    window.page.locator("#q").fill("main")

    expect(window.page.locator(row("main"))).to_be_visible()
    assert shown(window) == ["main"]
    assert not window.was_left()


def test_names_are_text_and_nothing_else(windows: Windows, frontend: Frontend) -> None:
    window = windows.open(f"{frontend.url}/")
    live(window)

    names = shown(window)
    assert {name for name in HOSTILE if name.isprintable()} <= set(names)
    # what would turn the rest of the line round is written out
    assert "right\\u202eto-left" in names
    assert window.page.locator("#board script, #board img").count() == 0
    assert window.page.title() == "Branches at localhost"
    # the same by way of the stream
    frontend.put("<script>late</script>", "web", "127.0.0.1:9997")
    expect(window.page.locator(row("<script>late</script>"))).to_be_visible(timeout=SHOWN_MS)
    assert window.page.locator("#board script").count() == 0
    frontend.remove("<script>late</script>", "web")
    assert window.violations() == []
    assert window.said == []


def test_nobody_else_is_asked_and_the_policy_is_kept(windows: Windows, frontend: Frontend) -> None:
    window = windows.open(f"{frontend.url}/")
    live(window)
    window.page.locator("#q").fill("main")
    window.page.locator("summary:visible").first.click()

    assert window.hosts == {f"localhost:{frontend.port}"}
    assert window.said == []
    assert window.violations() == []
    policy = frontend.ask("localhost").headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


@pytest.mark.parametrize(
    ("element", "attribute"),
    [("script", "textContent"), ("style", "textContent"), ("img", "onerror")],
)
def test_the_policy_stops_what_would_get_in_as_markup(
    windows: Windows, frontend: Frontend, element: str, attribute: str
) -> None:
    window = windows.open(f"{frontend.url}/")

    window.page.evaluate(
        """([element, attribute]) => {
          const made = document.createElement(element);
          if (attribute === "textContent") made.textContent = "window.hurt = true; *{color:red}";
          else { made.setAttribute(attribute, "window.hurt = true"); made.src = "data:,"; }
          document.body.append(made);
        }""",
        [element, attribute],
    )

    window.page.wait_for_function("window.violations.length > 0")
    assert window.page.evaluate("window.hurt") is None


def test_a_keyboard_is_enough(windows: Windows, frontend: Frontend, origin: Origin) -> None:
    window = windows.open(f"{frontend.url}/")
    keyboard = window.page.keyboard
    keyboard.press("Tab")
    expect(window.page.get_by_role("link", name="Skip to the branches")).to_be_focused()
    keyboard.press("Enter")
    expect(window.page.locator("#branches")).to_be_focused()

    keyboard.press("/")
    expect(window.page.locator("#q")).to_be_focused()
    keyboard.type("main")
    assert shown(window) == ["main"]
    keyboard.press("Escape")
    assert window.page.locator("#q").input_value() == ""
    keyboard.type("/main")
    assert window.page.locator("#q").input_value() == "/main"
    keyboard.press("Escape")
    keyboard.type("main")
    assert outline(window) != "none"
    for _ in range(20):
        keyboard.press("Tab")
        if window.page.evaluate("document.activeElement.tagName") == "SUMMARY":
            break
    assert outline(window) != "none"
    keyboard.press("Enter")
    assert window.page.locator("tbody:visible details[open]").count() == 1
    keyboard.press("Shift+Tab")
    keyboard.press("Enter")
    window.page.wait_for_url("http://main-api.localhost:*/")
    assert window.page.inner_text("body") == origin.name


def outline(window: Window) -> str:
    """How the element that has the focus shows it."""
    found: str = window.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    return found


def test_it_is_dark_where_people_want_it_dark(windows: Windows, frontend: Frontend) -> None:
    grounds = []
    for scheme in SCHEMES:
        window = windows.open(f"{frontend.url}/", scheme=scheme)
        ground = window.page.evaluate("getComputedStyle(document.body).backgroundColor")
        grounds.append(sum(int(word) for word in re.findall(r"\d+", ground)))
        window.picture(f"desktop-{scheme}")
    assert grounds[0] > 600
    assert grounds[1] < 150


STYLE = """(element) => {
  const { color, contentVisibility, fontSize, position } = getComputedStyle(element);
  const { transitionDuration } = getComputedStyle(element, "::after");
  return { color, contentVisibility, fontSize, position, transitionDuration };
}"""


@pytest.mark.parametrize("scheme", SCHEMES)
def test_on_paper_there_are_the_branches_and_nothing_to_operate(
    windows: Windows, frontend: Frontend, scheme: Scheme
) -> None:
    window = windows.open(f"{frontend.url}/", scheme=scheme)
    live(window)
    operated = ["#q", "#live", "#counts", ".skip"]
    rows = window.page.locator("tbody")
    everything = shown(window)
    for selector in operated:
        expect(window.page.locator(selector)).to_be_visible()
    assert rows.last.evaluate(STYLE)["contentVisibility"] == "auto"
    assert window.page.locator(".top").evaluate(STYLE)["position"] == "sticky"

    window.page.emulate_media(media="print")

    for selector in operated:
        expect(window.page.locator(selector)).to_be_hidden()
    assert shown(window) == everything
    size = window.page.locator("#branches").evaluate(STYLE)["fontSize"]
    assert float(size.removesuffix("px")) < 12
    # what is out of sight on a screen is laid out as well, and nothing hangs over it
    assert {row.evaluate(STYLE)["contentVisibility"] for row in rows.all()} == {"visible"}
    assert window.page.locator(".top").evaluate(STYLE)["position"] == "static"
    # paper is white, however somebody has his screen
    ink = window.page.locator("body").evaluate(STYLE)["color"]
    assert sum(int(word) for word in re.findall(r"\d+", ink)) < 150
    window.picture(f"print-{scheme}")


@pytest.mark.parametrize(
    ("motion", "animation", "moves"),
    [("no-preference", "arrived", True), ("reduce", "none", False)],
)
def test_nothing_moves_where_people_want_it_still(
    windows: Windows, frontend: Frontend, origin: Origin, motion: str, animation: str, moves: bool
) -> None:
    window = windows.open(f"{frontend.url}/", reduced_motion=motion)
    live(window)
    # a row may change right after it has come
    window.page.evaluate(
        """() => {
          window.arrived = [];
          new MutationObserver((records) => {
            for (const { addedNodes } of records) for (const one of addedNodes)
              window.arrived.push([one.textContent, getComputedStyle(one).animationName]);
          }).observe(document.getElementById("branches"), { childList: true });
        }"""
    )

    frontend.put("moving", "web", origin.address)

    expect(window.page.locator(row("moving"))).to_be_visible(timeout=BACK_MS)
    arrived = window.page.evaluate("window.arrived")
    assert next(name for text, name in arrived if "moving" in text) == animation
    summary = window.page.locator("summary:visible").first.evaluate(STYLE)
    assert (summary["transitionDuration"] != "0s") is moves
    frontend.remove("moving", "web")


FOLLOWED = """
window.streams = [];
window.EventSource = class extends EventSource {
  constructor(...given) { super(...given); window.streams.push(this); }
};
"""
"""Keeps every stream that a page opens."""

CLOSED = 2
"""As ``EventSource.readyState`` has it: the browser does not try again."""


def turn(window: Window, state: Literal["hidden", "visible"]) -> None:
    """Let the page believe that another tab is in front of it, or none any more."""
    window.page.evaluate(
        """(state) => {
          const given = { hidden: state === "hidden", visibilityState: state };
          for (const [name, value] of Object.entries(given))
            Object.defineProperty(document, name, { configurable: true, value });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        state,
    )


def streams(window: Window) -> list[bool]:
    """Whether they go on: the streams that the page has opened, in their order."""
    found: list[int] = window.page.evaluate("window.streams.map((one) => one.readyState)")
    return [state != CLOSED for state in found]


def test_a_tab_that_nobody_sees_rests_after_a_minute_and_catches_up(
    windows: Windows, frontend: Frontend, origin: Origin
) -> None:
    window = windows.open(f"{frontend.url}/")
    window.page.add_init_script(FOLLOWED)
    window.page.reload()
    live(window)
    window.mark()
    assert streams(window) == [True]
    # from here on its clock goes only where it is told to
    clock = window.page.clock
    clock.install()
    clock.pause_at(time.time() + 3600)

    # who comes back within a minute has never left
    turn(window, "hidden")
    clock.fast_forward(59_000)
    turn(window, "visible")
    clock.fast_forward(59_000)
    live(window)
    assert streams(window) == [True]

    turn(window, "hidden")
    clock.fast_forward(61_000)
    expect(window.page.locator("#live")).to_have_text("Paused")
    assert streams(window) == [False]
    frontend.put("while/nobody-looked", "web", origin.address)
    clock.fast_forward(600_000)
    assert streams(window) == [False]
    expect(window.page.locator(row("while/nobody-looked"))).to_have_count(0)

    clock.resume()
    turn(window, "visible")

    live(window)
    expect(window.page.locator(row("while/nobody-looked"))).to_be_visible(timeout=BACK_MS)
    assert streams(window)[-1]
    assert not window.was_left()
    assert window.said == []
    frontend.remove("while/nobody-looked", "web")


@pytest.mark.parametrize("width", [320, 360, 768, 1024])
def test_nobody_scrolls_sideways(windows: Windows, frontend: Frontend, width: int) -> None:
    window = windows.open(f"{frontend.url}/", size=(width, 740), has_touch=width < 700)
    for summary in window.page.locator("summary").all():
        summary.click()

    assert not window.is_wider_than_it_should_be()
    window.picture(f"width-{width}")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize(
    "path", ["/", "/?q=feature", "/?q=nothing-has-it"], ids=["all", "some", "none"]
)
def test_nothing_keeps_people_from_using_it(
    windows: Windows, frontend: Frontend, scheme: Scheme, size: tuple[int, int], path: str
) -> None:
    window = windows.open(f"{frontend.url}{path}", size=size, scheme=scheme)
    live(window)
    if path == "/":
        for summary in window.page.locator("summary").all():
            summary.click()

    assert window.complaints() == []
    window.picture(f"{'phone' if size == PHONE else 'desktop'}-{scheme}-{path[4:] or 'open'}")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("host", ["unknown", "resting", "metadata", "feature-login"])
def test_nothing_keeps_people_from_using_a_page_of_a_branch(
    windows: Windows, frontend: Frontend, scheme: Scheme, size: tuple[int, int], host: str
) -> None:
    window = windows.open(f"http://{host}.localhost:{frontend.port}/", size=size, scheme=scheme)

    assert window.complaints() == []
    assert not window.is_wider_than_it_should_be()
    assert window.violations() == []
    window.picture(f"branch-{host}-{'phone' if size == PHONE else 'desktop'}-{scheme}")


def test_an_empty_registry_says_how_to_begin_and_fills_by_itself(
    windows: Windows, start_frontend: Callable[..., Frontend], origin: Origin
) -> None:
    frontend = start_frontend()
    wait_until(lambda: 'data-version="" ' not in frontend.ask("localhost").text)
    window = windows.open(f"{frontend.url}/")
    live(window)
    assert "Nothing has registered yet" in window.page.inner_text("#board")
    assert "REGISTRY_URL=" in window.page.inner_text("#board")
    assert window.complaints() == []
    window.picture("empty")

    frontend.put("first", "web", origin.address)

    expect(window.page.locator(row("first"))).to_be_visible(timeout=SHOWN_MS)
    expect(window.page.locator("#empty")).to_be_hidden()


def test_a_lost_connection_is_told_and_everything_is_there_when_it_is_back(
    windows: Windows, start_frontend: Callable[..., Frontend], origin: Origin
) -> None:
    """The whole frontend ends, and comes back with another registry."""
    frontend = start_frontend()
    frontend.put("before", "web", origin.address)
    window = windows.open(f"{frontend.url}/")
    live(window)
    window.mark()

    frontend.stop()
    expect(window.page.locator("#live")).to_have_text("Connection lost", timeout=BACK_MS)
    expect(window.page.locator(row("before"))).to_be_visible()
    window.picture("connection-lost")
    key = frontend.keys.raw(RouteKey("meanwhile", "web"))
    frontend.etcd.write(key, origin.address.encode())
    frontend.start()

    live(window)
    expect(window.page.locator(row("meanwhile"))).to_be_visible(timeout=SHOWN_MS)
    assert not window.was_left()


def test_with_the_dashboard_stuck_there_is_the_list_and_it_comes_alive_by_itself(
    windows: Windows, start_frontend: Callable[..., Frontend], origin: Origin
) -> None:
    frontend = start_frontend()
    frontend.put("one", "web", origin.address)
    frontend.put("two", "web", origin.address)
    wait_until(lambda: 'data-version="" ' not in frontend.ask("localhost").text)
    with dashboard_frozen(frontend):
        window = windows.open(f"{frontend.url}/")
        window.mark()
        assert "without live numbers" in window.page.inner_text("#alarms")
        window.page.locator("#q").fill("tw")
        assert shown(window) == ["two"]
        assert window.complaints() == []
        assert window.violations() == []
        window.page.locator("#q").fill("")
        window.picture("without-the-dashboard")

    live(window)
    expect(window.page.locator("#alarms")).to_have_text("", timeout=SHOWN_MS)
    expect(window.page.locator("#frontends")).to_contain_text("this one")
    assert shown(window) == ["one", "two"]
    assert not window.was_left()


def test_an_etcd_that_is_away_and_a_regenerator_that_is_silent_are_told(
    windows: Windows, tmp_path: Path, origin: Origin
) -> None:
    with EtcdServer(tmp_path / "etcd") as etcd, Frontend(tmp_path / "f", etcd=etcd) as frontend:
        frontend.put("served", "web", origin.address)
        window = windows.open(f"{frontend.url}/")
        live(window)
        alarms = window.page.locator("#alarms")

        etcd.kill()
        expect(alarms).to_contain_text("etcd does not answer", timeout=BACK_MS)
        assert window.complaints() == []
        window.picture("etcd-away")
        etcd.start()
        expect(alarms).to_have_text("", timeout=BACK_MS)

        assert frontend.process is not None
        frontend.process.send_signal(signal.SIGSTOP)
        try:
            expect(alarms).to_contain_text("has not been heard of", timeout=BACK_MS)
            window.picture("regenerator-silent")
        finally:
            frontend.process.send_signal(signal.SIGCONT)
        expect(alarms).to_have_text("", timeout=BACK_MS)


def test_what_the_brake_holds_is_told_with_what_to_do(
    windows: Windows, start_frontend: Callable[..., Frontend]
) -> None:
    """A registry that loses most of its routes at once has lost them by mistake."""
    frontend = start_frontend()
    branches = [f"kept-{number}" for number in range(12)]
    keys = [frontend.keys.raw(RouteKey(branch, "web", "one")) for branch in branches]
    with ExitStack() as running:
        for key in keys:
            service = running.enter_context(Origin())
            lease = frontend.etcd.grant(3600).id
            frontend.wait_for(frontend.etcd.write(key, service.address.encode(), lease=lease))
        window = windows.open(f"{frontend.url}/")
        live(window)

        for key in keys:
            frontend.etcd.delete(key)

        alarms = window.page.locator("#alarms")
        expect(alarms).to_contain_text("regenerator release", timeout=BACK_MS)
        assert window.complaints() == []
        window.picture("brake")
        alarms.get_by_role("link", name="Show which").click()
        assert window.page.locator("#q").input_value() == "is:held"
        assert set(shown(window)) <= set(branches)
        assert shown(window)
