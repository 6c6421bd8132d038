"""The commands of the regenerator, joined from their parts."""

import gc
import logging
import os
import random
import re
import resource
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from regenerator import templates
from regenerator.brake import Brake
from regenerator.daemon import Daemon
from regenerator.generations import Generations, write_tree
from regenerator.guard import Guard
from regenerator.inbox import Inbox
from regenerator.listeners import reached_at
from regenerator.memory import MemoryFile
from regenerator.metrics import Metrics
from regenerator.nginx import Nginx
from regenerator.pipeline import Outcome
from regenerator.prober import Prober
from regenerator.proxy import Proxy
from regenerator.report import Reporter
from regenerator.settings import RegeneratorSettings
from regenerator.settle import Settle
from regenerator.status import as_json, as_text, read_frontends
from registry.etcd import Etcd
from registry.faults import Fault, NginxDown, NotApplied, ProgramMissing, StateUnwritable
from registry.following import Follower
from registry.keys import ReleaseKey
from registry.records import FrontendRecord
from registry.registrations import Registrations, instant
from registry.settings import Problems, needed_etcd, read_registry

STOP_S = 0.5
"""For taking our record away at the end; its lease does it if etcd is slow."""

RELEASE_TTL_S = 60
"""How long a frontend may be away and still hear of a release."""

RELEASE_S = 10.0
"""For frontends to act on a release; a change is served in 0.3 s."""

log = logging.getLogger("regenerator")


def run(settings: RegeneratorSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    binary = _find_nginx(settings.nginx)
    generations = Generations(settings.state)
    with generations.lock():
        generations.prepare()
        _raise_open_files()
        # What a run of 10,000 routes makes lives on, and looking through it for cycles again and
        # again would take longer than the run. The 30 or so that templates leave behind at each
        # run are young: they are found among the newest 20,000, some 4 MiB, in a millisecond.
        gc.set_threshold(20_000, 50, 100)
        nginx = Nginx(binary, settings.state)
        version = nginx.version()
        _check_version(version)
        log.info("%s, state in %s", version, settings.state)
        inbox = Inbox()
        threading.excepthook = lambda dead: inbox.fail(dead.exc_value or SystemExit(70))
        for number in (signal.SIGTERM, signal.SIGINT):
            # a lock may be held by the thread that the handler interrupts, so not from in here
            signal.signal(number, lambda *_: threading.Thread(target=inbox.stop).start())
        _serve(settings, nginx=nginx, generations=generations, inbox=inbox)


def render(settings: RegeneratorSettings, *, to: Path) -> str:
    """Render the registry once into a folder; returns what to say of it.

    Raises:
        StateUnwritable: The folder cannot be written.
    """
    etcd = Etcd(settings.etcd)
    snapshot = etcd.list(settings.keys.root)
    table = settings.rules.table(snapshot)
    tree = templates.load(settings.templates, settings.text).render(table)
    try:
        write_tree(tree, to)
    except OSError as exc:
        raise StateUnwritable(f"{to} cannot be written: {exc.strerror}") from exc
    for rejection in table.rejections:
        log.warning("left out %s: %s", rejection.key, rejection.reason)
    return f"{tree.generation}: {len(table.routes)} routes at revision {snapshot.revision} in {to}"


def status(given: Mapping[str, str], *, is_json: bool) -> str:
    """What every frontend reports.

    Raises:
        SettingsInvalid: There is no registry to ask.
    """
    problems = Problems()
    registry = read_registry(given, problems)
    etcd = needed_etcd(registry, problems)
    problems.settle()
    frontends = read_frontends(Etcd(etcd), keys=registry.keys)
    return as_json(frontends) if is_json else as_text(frontends)


def release(given: Mapping[str, str]) -> str:
    """Have every frontend take the registry at its word; returns what to say of it.

    The key is on a lease, so that a frontend which is late finds it, and it never stays.

    Raises:
        SettingsInvalid: There is no registry to ask.
        NotApplied: A frontend was late; it still acts when it comes within a minute.
    """
    problems = Problems()
    registry = read_registry(given, problems)
    etcd = needed_etcd(registry, problems)
    problems.settle()
    store = Etcd(etcd)
    key = registry.keys.raw(ReleaseKey())
    who = os.environ.get("USER") or f"user {os.getuid()}"
    value = f"{who} at {socket.gethostname()}, {instant(time.time())}"
    revision = store.write(key, value.encode(), lease=store.grant(RELEASE_TTL_S).id)
    registrations = Registrations(store, keys=registry.keys)
    late = registrations.wait_applied(revision, within_s=RELEASE_S)
    if late:
        raise NotApplied(
            f"frontend {', '.join(late)} has not acted within {RELEASE_S:g} s; it will if it comes"
            f" back within {RELEASE_TTL_S} s"
        )
    store.delete(key)
    return f"frontends that take the registry at its word again: {len(registrations.frontends())}"


def _serve(
    settings: RegeneratorSettings, *, nginx: Nginx, generations: Generations, inbox: Inbox
) -> None:
    etcd = Etcd(settings.etcd)
    reporter = Reporter(
        etcd, keys=settings.keys, frontend=generations.frontend_id(), blank=_blank(settings)
    )
    follower = Follower(
        etcd,
        settings.keys.root,
        heed=_heeds(settings),
        on_trouble=_Trouble(),
        relist_s=settings.relist_s,
        rng=random.Random(),  # noqa: S311 - spreads load, guards nothing
    )
    prober = Prober(inbox.answered)
    file = MemoryFile(settings.state / "registry.json", recent_s=settings.brake_window_s)
    brake = Brake(settings.keys, settings.rules.read, settings.brake_window_s, memory=file.read())

    metrics = Metrics()
    if settings.metrics is not None:
        metrics.serve(settings.metrics)

    welcome = _Welcome(settings.text.public_url)

    def tell(news: Outcome | Fault) -> None:
        reporter.tell(news)
        metrics.tell(news)
        welcome.tell(news)

    def follow() -> None:
        for snapshot in follower.snapshots():
            reporter.tell_missed(follower.missed)
            metrics.tell_missed(follower.missed)
            inbox.put(snapshot)

    daemon = Daemon(
        proxy=Proxy(nginx, generations),
        guard=Guard(brake, prober=prober, file=file, clock=time.monotonic),
        rules=settings.rules,
        load=partial(templates.load, settings.templates, settings.text),
        inbox=inbox,
        settle=Settle(settings.pause_s, settings.budget),
        report=tell,
    )
    watch = templates.TemplateWatch(settings.templates, inbox.saved_templates)
    watch.start()
    reporter.start()
    prober.start()
    threading.Thread(target=follow, name="follow", daemon=True).start()
    daemon.run()
    watch.stop()
    follower.stop()
    prober.stop()
    reporter.stop(within_s=STOP_S)


class _Welcome:
    """Says where people find the branches, once, when they do."""

    def __init__(self, url: str) -> None:
        self._url = url

    def tell(self, news: Outcome | Fault) -> None:
        if self._url and isinstance(news, Outcome):
            log.info("open %s", self._url)
            self._url = ""


class _Trouble:
    """Says that etcd is away once, and that it is back once, however often it was asked."""

    def __init__(self) -> None:
        self._said = ""

    def __call__(self, fault: Fault | None) -> None:
        if fault is None:
            log.info("etcd answers again")
        elif str(fault) != self._said:
            log.warning("%s; going on with what is known", fault)
        self._said = str(fault or "")


def _blank(settings: RegeneratorSettings) -> FrontendRecord:
    text = settings.text
    return FrontendRecord(
        domain=text.domain,
        default_service=settings.rules.default_service,
        url=text.public_url,
        address=str(reached_at(settings.listeners[0])),
    )


def _heeds(settings: RegeneratorSettings) -> Callable[[bytes], bool]:
    """Which keys set a run off; our own record does not, or frontends would wake each other."""
    keys = settings.keys
    heeded = (keys.routes, keys.claims, keys.raw(ReleaseKey()))
    return lambda key: key.startswith(heeded)


def _find_nginx(named: str) -> str:
    found = shutil.which(named)
    if found is None:
        raise ProgramMissing(f"there is no nginx at {named!r}; set NGINX to the path of its binary")
    return str(Path(found).absolute())


def _check_version(text: str) -> None:
    """Refuse an nginx that breaks requests at each reload.

    Source:
        ``keepalive_min_timeout`` came with 1.27.4 (nginx.org/en/CHANGES).
    """
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", text)
    if found is None or tuple(map(int, found.groups())) < (1, 27, 4):
        raise NginxDown(f"{text or 'this nginx'} is older than 1.27.4; set NGINX to a newer one")


def _raise_open_files() -> None:
    """Give nginx as many descriptors as we may: each connection takes two of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
