"""Our side: ``regenerator run`` with its nginx, as a process on loopback over the same etcd."""

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import (
    BenchmarkFault,
    Child,
    children_of,
    command_line,
    end_group,
    find_program,
    free_port,
    until,
)
from benchmarks.store import DOMAIN, KEYS, Store
from registry.records import FrontendRecord

START_WITHIN_S = 30.0
"""10,000 routes from nothing take a second or two; a busy machine several times that."""

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Frontend:
    """A running frontend.

    Attributes:
        port: Where nginx listens.
        pid: The regenerator's.
        nginx_pid: The master's.
        state: Its folder.
    """

    port: int
    pid: int
    nginx_pid: int
    state: Path
    store: Store
    child: Child

    def wait_applied(self, revision: int, *, within_s: float = START_WITHIN_S) -> FrontendRecord:
        """Wait until its record says that it has dealt with a revision."""
        return until(
            lambda: _record_at(self.store, revision),
            what=f"the frontend applies revision {revision}",
            within_s=within_s,
            child=self.child,
        )

    def configuration(self) -> str:
        """The text that nginx serves now."""
        files = sorted((self.state / "conf.d").glob("*.conf"))
        return "\n".join(path.read_text() for path in files)

    def worker_pids(self) -> frozenset[int]:
        """Workers of every generation that is still alive."""
        found = children_of(self.nginx_pid)
        return frozenset(pid for pid in found if "worker process" in command_line(pid))


@contextlib.contextmanager
def run_frontend(folder: Path, store: Store) -> Iterator[Frontend]:
    """Run one until the registry as it is now is served."""
    folder.mkdir(parents=True)
    port = free_port()
    state = folder / "state"
    # a copy: whoever edits a template meanwhile does not change what is measured
    templates = shutil.copytree(ROOT / "nginx", folder / "nginx")
    env = {
        "REGISTRY_URL": store.url,
        "DOMAIN": DOMAIN,
        "STATE": str(state),
        "LISTEN": f"127.0.0.1:{port}",
        "TEMPLATES": str(templates),
        "NGINX": find_program("nginx"),
        # loopback, and the networks of containers
        "ALLOW_NETWORKS": "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16",
        "PUBLIC_URL": f"http://{DOMAIN}:{port}",
        "LOG_FORMAT": "json",
        "PYTHONPATH": str(ROOT),
    }
    revision = store.etcd.list(KEYS.root).revision
    command = [sys.executable, "-m", "regenerator", "run"]
    with Child(command, log=folder / "regenerator.log", env=env) as child:
        master = 0
        try:
            until(
                lambda: _record_at(store, revision),
                what="the frontend serves",
                within_s=START_WITHIN_S,
                child=child,
            )
            master = _find_master(child.pid)
            yield Frontend(port, child.pid, master, state, store, child)
        finally:
            child.stop()
            if master:
                _await_end(master)


def _record_at(store: Store, revision: int) -> FrontendRecord | None:
    entries = store.etcd.list(KEYS.frontends).entries.values()
    records = [FrontendRecord.parse(entry.value) for entry in entries]
    return next((record for record in records if record.revision >= revision), None)


def _find_master(regenerator: int) -> int:
    for pid in children_of(regenerator):
        if "nginx: master" in command_line(pid):
            return pid
    raise BenchmarkFault("the regenerator has no nginx master among its children")


def _await_end(master: int) -> None:
    """A regenerator told to end ends its nginx; if not, we do, and say so."""
    give_up_at = time.monotonic() + 3
    while "nginx: master" in command_line(master) and time.monotonic() < give_up_at:
        time.sleep(0.02)
    if "nginx: master" in command_line(master):
        print(f"nginx {master} outlived its regenerator and was ended", file=sys.stderr)
        end_group(master)
