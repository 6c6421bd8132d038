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
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from regenerator import templates
from regenerator.audience import Audience
from regenerator.brake import Brake
from regenerator.certificates import Certificates
from regenerator.counting import open_requests
from regenerator.daemon import Daemon
from regenerator.generations import Generations, write_tree
from regenerator.guard import Guard
from regenerator.inbox import Inbox
from regenerator.memory import MemoryFile
from regenerator.nginx import Nginx
from regenerator.prober import Prober
from regenerator.proxy import Proxy
from regenerator.settings import RegeneratorSettings
from regenerator.settle import Settle
from regenerator.showing import end_left_behind
from registry.etcd import Etcd
from registry.faults import NginxDown, NotApplied, ProgramMissing, StateUnwritable
from registry.following import Follower
from registry.keys import ReleaseKey
from registry.registrations import Registrations, instant
from registry.settings import Problems, needed_etcd, read_registry

RELEASE_TTL_S = 60
"""How long a frontend may be away and still hear of a release."""

RELEASE_S = 10.0
"""For frontends to act on a release; a change is served in 0.3 s."""

log = logging.getLogger("regenerator")


def run(settings: RegeneratorSettings, *, log_format: str) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        log_format: Of the dashboard's log; ours is set up already.
    """
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
        end_left_behind(settings.state)
        requests = open_requests(settings.state)
        text = replace(settings.text, requests_port=requests.port, requests_tag=requests.tag)
        settings = replace(settings, text=text)
        audience = Audience(
            settings,
            frontend=generations.frontend_id(),
            requests=requests.socket,
            log_format=log_format,
        )
        _serve(settings, audience, nginx=nginx, generations=generations, inbox=inbox)


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
    settings: RegeneratorSettings,
    audience: Audience,
    *,
    nginx: Nginx,
    generations: Generations,
    inbox: Inbox,
) -> None:
    follower = Follower(
        audience.etcd,
        settings.keys.root,
        heed=audience.heeds,
        on_trouble=audience.tell_trouble,
        relist_s=settings.relist_s,
        rng=random.Random(),  # noqa: S311 - spreads load, guards nothing
    )
    prober = Prober(inbox.answered)
    file = MemoryFile(settings.state / "registry.json", recent_s=settings.brake_window_s)
    brake = Brake(settings.keys, settings.rules.read, settings.brake_window_s, memory=file.read())
    guard = Guard(brake, prober=prober, file=file, clock=time.monotonic)
    audience.watch(guard)

    def follow() -> None:
        for snapshot in follower.snapshots():
            audience.tell_missed(follower.missed)
            inbox.put(snapshot)

    def renewed() -> None:
        audience.metrics.certificate(certificates.expires_at)
        inbox.saved_templates()

    certificates = Certificates(settings.certificate, settings.state, saved=renewed)
    if settings.certificate is not None:
        audience.metrics.certificate(certificates.expires_at)

    daemon = Daemon(
        proxy=Proxy(nginx, generations, access=settings.text.access),
        guard=guard,
        rules=settings.rules,
        load=lambda: templates.load(settings.templates, certificates.fill(settings.text)),
        inbox=inbox,
        settle=Settle(settings.pause_s, settings.budget),
        audience=audience,
    )
    watch = templates.TemplateWatch(settings.templates, inbox.saved_templates)
    watch.start()
    certificates.start()
    prober.start()
    audience.start()
    threading.Thread(target=follow, name="follow", daemon=True).start()
    daemon.run()
    watch.stop()
    certificates.stop()
    follower.stop()
    prober.stop()
    audience.stop()


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
