"""What the page costs: requests a second while people look at it, and how it is to look at."""

import contextlib
import http.client
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.frontend import Frontend, run_frontend
from benchmarks.load import compare_throughput
from benchmarks.processes import BenchmarkFault, Child, children_of, command_line, until
from benchmarks.store import DOMAIN, plan_routes
from benchmarks.suite import Bench
from benchmarks.table import Line, Samples, yes_or_no

VIEWERS = 20
"""A team that leaves the page open."""

COST_GOAL = 0.05
"""Of the requests a second that there are with nobody looking."""

BRANCHES = 2_000
"""Ten times as many as the page is laid out for."""

PAINT_GOAL_MS = 1_000
SEARCH_GOAL_MS = 50

TYPED = ("f", "fe", "feature", "feature/p", "feature/present-01", "is:serving 0199", "nothing", "")
"""What is in the search field, one after the other; the last shows every branch again."""

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")

SEARCH = """
async (typed) => {
  const input = document.getElementById("q");
  const found = [];
  for (const text of typed) {
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)));
    const began = performance.now();
    input.value = text;
    input.dispatchEvent(new Event("input"));
    document.body.getBoundingClientRect();
    found.push(performance.now() - began);
  }
  return found;
}
"""
"""Milliseconds from a letter to a page that is laid out anew."""

PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def measure(bench: Bench) -> Iterator[Line]:
    """Requests a second with and without viewers; then the page itself, in Chromium."""
    yield from _measure_cost(bench)
    yield from _measure_page(bench)


def _measure_cost(bench: Bench) -> Iterator[Line]:
    sizes = bench.sizes
    with bench.place() as (store, origin):
        planned = plan_routes(origin.addresses, sizes.newest)
        store.fill(planned)
        hosts = [route.host for route in planned]
        with run_frontend(bench.new_folder("frontend"), store) as frontend:
            _wait_for_page(frontend)
            found: dict[str, list[float]] = {"stuck": [], "alone": [], "watched": []}
            for at in range(sizes.rounds):
                bench.say(f"viewers: round {at + 1} of {sizes.rounds}")
                for name, state in (
                    ("alone", contextlib.nullcontext()),
                    ("watched", _watched(bench, frontend)),
                    ("stuck", _stuck(frontend)),
                ):
                    with state:
                        once = compare_throughput(
                            {name: frontend.port},
                            hosts,
                            folder=bench.new_folder("load"),
                            rounds=1,
                            seconds=sizes.seconds,
                        )
                    found[name] += once[name].values
    alone, watched, stuck = (Samples(tuple(found[name])) for name in ("alone", "watched", "stuck"))
    # each round is its own pair, since a busy machine is busy for several rounds
    pairs = zip(watched.values, alone.values, strict=True)
    cost = Samples(tuple(100 * (1 - one / other) for one, other in pairs))
    yield Line(
        f"requests/s with {VIEWERS} viewers, {sizes.newest:,} routes that all have traffic",
        f"≤ {COST_GOAL:.0%} less",
        watched.show("/s"),
        yes_or_no(cost.median <= 100 * COST_GOAL),
        f"{alone.show('/s')} nobody looks",
        f"{watched.median / alone.median:.2f}",
    )
    yield Line("what 20 viewers cost, round by round", "", cost.show(" %"))
    yield Line(
        "requests/s with nobody looking",
        "",
        alone.show("/s"),
        "",
        f"{stuck.show('/s')} dashboard stopped",
        f"{alone.median / stuck.median:.2f}",
    )


def _measure_page(bench: Bench) -> Iterator[Line]:
    branches = BRANCHES if bench.sizes.small >= 1_000 else bench.sizes.small
    bench.say(f"viewers: {branches:,} branches in Chromium")
    with bench.place(services=100) as (store, origin):
        store.fill(plan_routes(origin.addresses, branches))
        with run_frontend(bench.new_folder("frontend"), store) as frontend:
            page = _wait_for_page(frontend)
            with _browser() as browser:
                paints: list[float] = []
                searches: list[float] = []
                for _ in range(bench.sizes.runs):
                    # an empty cache each time, as for somebody who comes for the first time
                    window = browser.new_page()
                    window.goto(f"http://{DOMAIN}:{frontend.port}/", wait_until="load")
                    paints.append(float(window.evaluate(PAINT)))
                    searches += map(float, window.evaluate(SEARCH, [*TYPED]))
                    window.close()
    paint, search = Samples(tuple(paints)), Samples(tuple(searches))
    yield Line(
        f"first paint, {branches:,} branches ({len(page) / 1e6:.1f} MB of HTML)",
        f"< {PAINT_GOAL_MS:,} ms",
        paint.show(" ms"),
        yes_or_no(paint.median < PAINT_GOAL_MS),
    )
    yield Line(
        f"search among {branches:,} branches, from a letter to the new layout",
        f"p99 < {SEARCH_GOAL_MS} ms",
        search.show_tail(" ms"),
        yes_or_no(search.p99 < SEARCH_GOAL_MS),
    )


def _wait_for_page(frontend: Frontend) -> bytes:
    """Wait until the dashboard draws the page of all branches; gives it."""

    def look() -> bytes | None:
        link = http.client.HTTPConnection("127.0.0.1", frontend.port, timeout=5)
        with contextlib.closing(link), contextlib.suppress(OSError):
            link.request("GET", "/", headers={"Host": DOMAIN})
            page = link.getresponse().read()
            return page if b'data-version="" ' not in page and b"<tbody" in page else None
        return None

    return until(look, what="the dashboard draws the page", within_s=20, child=frontend.child)


@contextlib.contextmanager
def _watched(bench: Bench, frontend: Frontend) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.watchers", str(frontend.port), str(VIEWERS)]
    log = bench.new_folder("watchers")
    log.parent.mkdir(parents=True, exist_ok=True)
    with Child(command, log=log) as child:
        dashboard = _dashboard(frontend)
        until(
            lambda: _connections(dashboard) >= VIEWERS,
            what=f"{VIEWERS} viewers are connected",
            within_s=20,
            child=child,
        )
        yield


@contextlib.contextmanager
def _stuck(frontend: Frontend) -> Iterator[None]:
    """Its dashboard is stopped; the regenerator would end it after 10 s."""
    pid = _dashboard(frontend)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _dashboard(frontend: Frontend) -> int:
    for pid in children_of(frontend.pid):
        if "regenerator.dashboard" in command_line(pid):
            return pid
    raise BenchmarkFault("the regenerator has no dashboard among its children")


def _connections(pid: int) -> int:
    """Sockets of a process, which for the dashboard are streams but for a handful."""
    found = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(link.readlink()).startswith("socket:")
    return found


@contextlib.contextmanager
def _browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - of an extra
    except ImportError as exc:
        raise BenchmarkFault("playwright is missing: pip install '.[browser]'") from exc
    if not Path(CHROMIUM).exists():
        raise BenchmarkFault(f"there is no {CHROMIUM}: apt-get install chromium, or set CHROMIUM")
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield browser
        finally:
            browser.close()
