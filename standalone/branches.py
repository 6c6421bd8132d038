"""Two sample branches: four real HTTP programs, each started under ``registrar run``."""

import json
import os
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from registry.claims import read_claims, settle_labels
from registry.faults import ProgramMissing
from registry.keys import ClaimKey
from registry.names import long_labels
from standalone.answers import web_url
from standalone.children import Child, Command
from standalone.local_etcd import last_line
from standalone.ports import LOOPBACK, free_ports
from standalone.stopping import Stop
from standalone.timeline import Name
from standalone.up import KEYS, LocalFrontend

NAMES: tuple[Name, ...] = (
    ("feature/login", "api"),
    ("feature/login", "web"),
    ("main", "api"),
    ("main", "web"),
)

ENDS_WITHIN_S = 5.0
"""A registrar waits for the frontend, some 100 ms, and its service ends at once."""

POLL_S = 0.01
"""Between two looks at whether a sample listens; it takes 150 ms to get there."""


@dataclass(frozen=True, slots=True)
class Running:
    """One sample service with its registrar."""

    name: Name
    port: int
    child: Child


class SampleBranches:
    """The sample services, as long as they run."""

    def __init__(
        self, frontend: LocalFrontend, logs: Path, *, environ: Mapping[str, str], stop: Stop
    ) -> None:
        self._frontend = frontend
        self._stop = stop
        # read to its end by every sample: they do not outlive us, however we end
        source, self._ours = os.pipe()
        self.running = [
            Running(
                name,
                port,
                Child(self._command(name, port, stdin=source, environ=environ, logs=logs)),
            )
            for name, port in zip(NAMES, free_ports(len(NAMES)), strict=True)
        ]
        self._source = source

    def start(self) -> None:
        """Start all of them."""
        for one in self.running:
            one.child.start()
        os.close(self._source)

    def wait_until_they_listen(self, *, within_s: float) -> bool:
        """Wait until each takes connections: a registrar does not wait for its service.

        Raises:
            ProgramMissing: One has ended.
        """
        give_up_at = time.monotonic() + within_s
        while not all(map(self._listens, self.running)):
            if self._stop.wait(POLL_S) or time.monotonic() > give_up_at:
                return False
        return True

    def urls(self) -> dict[Name, tuple[str, ...]]:
        """Where each is served: under the labels that its claim carries."""
        claims, _ = read_claims(
            self._frontend.registry.list(KEYS.claims).entries.values(), keys=KEYS
        )
        labels = settle_labels(claims, keys=KEYS).labels
        port, domain = self._frontend.port, self._frontend.domain
        return {
            name: tuple(
                web_url(f"{label}.{domain}", port) for label in labels.get(ClaimKey(*name), ())
            )
            for name in NAMES
        }

    def end_one(self, name: Name) -> None:
        """Ask the registrar of one service to end, and it with its service."""
        for one in self.running:
            if one.name == name:
                one.child.ask_to_end()

    def end(self) -> None:
        """End all of them, at the same time."""
        for one in self.running:
            one.child.ask_to_end()
        for one in self.running:
            one.child.end(stop=self._stop)
        with suppress(OSError):
            os.close(self._ours)

    @staticmethod
    def _listens(one: Running) -> bool:
        if one.child.ended is not None:
            branch, service = one.name
            raise ProgramMissing(f"{service} of {branch} has ended{last_line(one.child)}")
        try:
            socket.create_connection((LOOPBACK, one.port), timeout=1.0).close()
        except OSError:
            return False
        return True

    def _command(
        self, name: Name, port: int, *, stdin: int, environ: Mapping[str, str], logs: Path
    ) -> Command:
        branch, service = name
        labels = {"api": long_labels(branch, "api")[0]} if service == "web" else {}
        links = {
            other: web_url(f"{label}.{self._frontend.domain}", self._frontend.port)
            for other, label in labels.items()
        }
        own = {
            "REGISTRY_URL": self._frontend.registry_url,
            "NAME": branch,
            "SERVICE": service,
            "PORT": str(port),
            "IP": LOOPBACK,
            "DRAIN": "0",  # nobody has a request in flight that would matter
            "LINKS": json.dumps(links),
            "LINKED": "1",
            "LOG_FORMAT": "text",
        }
        return Command(
            f"{service} of {branch}",
            (
                *(sys.executable, "-P", "-m", "registrar", "run", "--"),
                *(sys.executable, "-P", "-m", "standalone.samples"),
            ),
            {**_foreign(environ), **own},
            logs / f"{long_labels(branch, service)[0]}.log",
            stdin,
            ENDS_WITHIN_S,
        )


def _foreign(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what a shell may say of other registries and addresses."""
    ours = {"BRANCH", "HOST_PORT", "TTL", "RELEASE_TIMEOUT"}
    return {k: v for k, v in environ.items() if k not in ours and not k.startswith("REGISTRY_")}
