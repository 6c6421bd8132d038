"""The process: a loop that answers on sockets, and threads that feed it."""

import asyncio
import gc
import logging
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from regenerator import templates
from regenerator.dashboard.beginning import Begin
from regenerator.dashboard.desk import Desk
from regenerator.dashboard.feed import Pulse, Served
from regenerator.dashboard.history.history import History
from regenerator.dashboard.numbers.numbers import Numbers
from regenerator.dashboard.numbers.requests import Requests
from regenerator.dashboard.reasons.reasons import Reasons
from regenerator.dashboard.web.app import build_app, build_metrics_app
from regenerator.dashboard.web.hub import Hub
from regenerator.dashboard.web.page import Page
from regenerator.nginx import DASHBOARD, bound
from regenerator.render import blamed
from registry import logs
from registry.etcd import Etcd
from registry.faults import RenderFault
from registry.following import Follower

NICENESS = 10
"""nginx and the regenerator come first: a page may be late, a request and a route may not."""

COUNT_S = 1.0
"""Between two looks at what nginx has told of requests."""

SHUTDOWN_S = 1
"""For answers in progress at the end; streams would go on for ever."""

END_S = 5.0
"""For an orderly end, which takes one second; then whoever comes next gets our addresses."""

EXIT_STUCK = 70
"""A mistake of ours (``sysexits.h``)."""

BACKLOG = 128
"""Connections that may wait: nginx sends at most some hundreds at a time."""

log = logging.getLogger("dashboard")


def main() -> None:
    """Serve until the feed ends."""
    with Connection(int(sys.argv[1])) as feed:
        try:
            begin: Begin = feed.recv()
        except EOFError:
            return
        logs.set_up(begin.log_format)
        # it tells of its start and its end, and of each request that a stranger has garbled
        logging.getLogger("uvicorn").setLevel(logging.ERROR)
        # and of each answer that a stranger did not take, which was broken off
        logging.getLogger("uvicorn.error").addFilter(
            lambda record: not record.getMessage().startswith("ASGI callable returned without")
        )
        # of a Ctrl-C in a terminal our regenerator hears as well, and ends our feed
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        process = _Process(begin, feed)
        # a thread takes its niceness from whoever starts it; who counts has to keep up with nginx
        process.count()
        os.nice(NICENESS)
        # as in the regenerator: what 10,000 routes make lives on
        gc.set_threshold(20_000, 50, 100)
        asyncio.run(process.run())


class _Process:
    def __init__(self, begin: Begin, feed: Connection) -> None:
        settings = begin.settings
        self._begin = begin
        self._settings = settings
        self._feed = feed
        self._history = History(
            settings.state / "history.db", rules=settings.rules, domain=settings.text.domain
        )
        self._desk = Desk(
            settings,
            frontend=begin.frontend,
            templates={},
            history=self._history,
        )
        self._requests = Requests(
            socket.socket(fileno=begin.requests), tag=settings.text.requests_tag
        )
        self._hub = Hub(self._desk)
        self._numbers = Numbers(
            self._desk, viewers=lambda: self._hub.viewers, lost=self._requests.lost
        )
        self._tried: Mapping[str, str] = {}
        self._app = _Replaceable(self._build_first_app())
        self._servers: list[_Server] = []

    def count(self) -> None:
        """Begin to take in what nginx tells of requests."""
        self._requests.start()

    async def run(self) -> None:
        """Serve until the feed ends."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._fail)
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        with _bound(self._settings.state / "run") as called:
            links = [called]
            self._servers = [_server(self._app)]
            if self._begin.metrics >= 0:
                links.append(socket.socket(fileno=self._begin.metrics))
                self._servers.append(_server(self._metrics_app()))
            # from here on the feed may end
            self._start(lambda: self._read_feed(loop), "feed")
            follower = Follower(
                Etcd(self._settings.etcd),
                self._settings.keys.frontends,
                rng=random.Random(),  # noqa: S311 - spreads load, guards nothing
            )
            self._start(lambda: self._follow(follower, loop), "follow frontends")
            async with asyncio.TaskGroup() as tasks:
                counting = tasks.create_task(self._count())
                serving = zip(self._servers, links, strict=True)
                await asyncio.gather(*(server.serve(sockets=[link]) for server, link in serving))
                counting.cancel()
            follower.stop()
        self._numbers.keep()
        self._history.close()

    def _start(self, work: Callable[[], None], name: str) -> None:
        threading.Thread(target=work, name=name, daemon=True).start()

    def _build_first_app(self) -> ASGIApp:
        try:
            self._tried = templates.read_sources(self._settings.templates)
            return self._build_app(self._tried)
        except RenderFault as fault:
            # nginx may serve by those that were good last, which nobody has any more
            log.warning("%s; pages are drawn by the templates that come with the program", fault)
            return self._build_app(templates.read_sources(templates.default_folder()))

    def _build_app(self, sources: Mapping[str, str]) -> ASGIApp:
        """An app that draws pages by these templates.

        Raises:
            RenderFault: It cannot; nothing has changed.
        """
        desk, before = self._desk, self._desk.templates
        desk.templates = sources
        try:
            with blamed("pages"):
                page, reasons = Page(desk.templates, self._settings.text), Reasons(desk)
        except RenderFault:
            desk.templates = before
            raise
        return build_app(
            desk, page=page, reasons=reasons, hub=self._hub, tell_page=self._numbers.tell_page
        )

    def _metrics_app(self) -> ASGIApp:
        return build_metrics_app(self._desk, numbers=self._numbers)

    def _take(self, news: Served | Pulse) -> None:
        self._desk.take(news)
        if isinstance(news, Served):
            # a template that was saved makes another generation
            self._load_templates()

    def _load_templates(self) -> None:
        """Draw pages by the templates as they are now, if they can be read."""
        try:
            found = templates.read_sources(self._settings.templates)
            if found != self._tried:
                self._tried = found
                self._app.app = self._build_app(found)
        except RenderFault as fault:
            # the regenerator has told of it already
            log.info("%s; pages are drawn as before", fault)

    def _fail(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """End by a mistake of ours: what is shown would stay as it is; the next one starts anew."""
        if "handle" not in context:
            # no work of ours, but a connection that broke
            loop.default_exception_handler(context)
            return
        text = "a mistake of ours (%s); please report it with this trace"
        log.error(text, context["message"], exc_info=context.get("exception"))
        self._stop()

    def _stop(self) -> None:
        # the next dashboard is given the same port
        self._requests.stop()
        self._hub.end()
        for server in self._servers:
            server.should_exit = True

    def _read_feed(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(EOFError, OSError):
            while True:
                news = self._feed.recv()
                _call(loop, partial(self._take, news))
        _call(loop, self._stop)
        # this thread ends with the process, unless the loop never comes to it
        time.sleep(END_S)
        os._exit(EXIT_STUCK)

    def _follow(self, follower: Follower, loop: asyncio.AbstractEventLoop) -> None:
        for snapshot in follower.snapshots():
            entries = tuple(snapshot.entries.values())
            _call(loop, partial(self._desk.take_frontends, entries))

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(COUNT_S)
            self._desk.take_traffic(self._numbers.count(self._requests.take()))
            self._history.rest()


class _Server(uvicorn.Server):
    """One of two in a process: neither takes the process's signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


class _Replaceable:
    """An app in whose place another one may come."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on."""
        await self.app(scope, receive, send)


def _server(app: ASGIApp) -> _Server:
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    return _Server(config)


@contextmanager
def _bound(folder: Path) -> Iterator[socket.socket]:
    """A socket that nginx calls.

    It takes the place of the one before, so that nginx always finds one: to it a socket that is not
    there is a mistake in its configuration.
    """
    with bound(folder, f"{DASHBOARD}.new") as link:
        link.listen(BACKLOG)
        (folder / f"{DASHBOARD}.new").rename(folder / DASHBOARD)
        yield link


def _call(loop: asyncio.AbstractEventLoop, work: Callable[[], Any]) -> None:
    # at the end the loop may be closed before its threads know
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(work)
