"""Windows of a real browser, each of which tells what its page did that no page of ours may do."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, sync_playwright

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")

QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""It asks nobody but the pages it is told to open, and runs as root in a container."""

Scheme = Literal["light", "dark"]

SCHEMES: tuple[Scheme, ...] = ("light", "dark")

DESKTOP = (1280, 900)
PHONE = (360, 740)
"""In CSS pixels: the smallest that people still have."""

PATIENCE_MS = 10_000
"""For anything that a page does at once; two cores are shared by many."""

WATCH = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
window.marked = true;
"""
"""Runs before the page's own script: notes what its policy refused, and that it was not left."""


@dataclass(slots=True)
class Window:
    """One window on a page.

    Attributes:
        page: As Playwright drives it.
        said: What the page wrote on its console, and what its scripts raised.
        hosts: Everybody whom it asked for anything.
    """

    page: Page
    folder: Path
    said: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def picture(self, name: str) -> None:
        """Keep a picture of what is in sight."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self.folder / f"{name}.png", animations="disabled")

    def violations(self) -> list[str]:
        """What the page's policy refused."""
        found: list[str] = self.page.evaluate("window.violations")
        return found

    def was_left(self) -> bool:
        """Whether the page was loaded anew since ``mark``."""
        return not self.page.evaluate("window.marked === 'by the test'")

    def mark(self) -> None:
        """Mark the page, so that ``was_left`` can tell."""
        self.page.evaluate("window.marked = 'by the test'")

    def is_wider_than_it_should_be(self) -> bool:
        """Whether one has to scroll sideways."""
        found: bool = self.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        return found

    def complaints(self) -> list[str]:
        """What axe-core has against the page, a line for each rule."""
        found = Axe().run(self.page)
        return [
            f"{one['id']}: {one['help']}: {[node['html'][:120] for node in one['nodes'][:3]]}"
            for one in found.response["violations"]
        ]


class Windows:
    """Opens windows, and closes them at its own end.

    Args:
        folder: Where pictures go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._driver = sync_playwright()
        self._contexts: list[BrowserContext] = []

    def __enter__(self) -> Self:
        driver = self._driver.start()
        self._browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*QUIET])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        self._browser.close()
        self._driver.__exit__(kind, raised, trace)

    def close(self) -> None:
        """Close every window."""
        while self._contexts:
            self._contexts.pop().close()

    def open(
        self,
        url: str,
        *,
        size: Sequence[int] = DESKTOP,
        scheme: Scheme = "light",
        **options: Any,
    ) -> Window:
        """Open a page.

        Args:
            options: Further ones of Playwright's ``new_context``.
        """
        width, height = size
        context = self._browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, **options
        )
        self._contexts.append(context)
        if options.get("java_script_enabled", True):
            context.add_init_script(WATCH)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        window = Window(page, self._folder)
        page.on("console", lambda message: window.said.append(message.text))
        page.on("pageerror", lambda error: window.said.append(str(error)))
        page.on("request", lambda request: window.hosts.add(urlsplit(request.url).netloc))
        page.goto(url, wait_until="load")
        return window
