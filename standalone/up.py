"""``branchfront up``: etcd, and a regenerator with its nginx, on loopback, until told to stop."""

import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from regenerator.nginx import Nginx
from registry.accounts import ROOT
from registry.etcd import Etcd
from registry.faults import ProgramMissing, StoreUnreachable
from registry.keys import Keyspace
from registry.records import Address, FrontendRecord
from standalone.answers import OK, ask, web_url
from standalone.children import Child, Command
from standalone.folder import StateFolder
from standalone.local_etcd import LocalEtcd, last_line
from standalone.ports import LOOPBACK, check_free, free_ports, holders, loopbacks
from standalone.processes import end, left_behind, nginx_left_behind
from standalone.stopping import Stop

log = logging.getLogger("branchfront")

SERVES_WITHIN_S = 30.0
"""It takes half a second; regenerator and nginx give up by themselves before this."""

ENDS_WITHIN_S = 8.0
"""A regenerator gives its nginx 3 s for requests in flight, and etcd 2 s to take its leave."""

POLL_S = 0.02
"""Between two looks at whether it serves."""

TEND_S = 0.1
"""Between two looks at whether the children live: nothing beside what a new start takes."""

GIVEN_BACK_S = 3.0
"""For the port of a program that was killed; it takes milliseconds."""

NETWORKS = "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7"
"""Loopback, where the services of one machine are, and the private ranges of its containers."""

KEYS = Keyspace()


@dataclass(frozen=True, slots=True)
class UpSettings:
    """What is to run.

    Attributes:
        port: Where nginx listens; 0 for any that is free.
        etcd_port: Likewise etcd.
        aside: Whether the regenerator's log goes into the state folder, not to our stderr.
    """

    port: int
    etcd_port: int
    domain: str
    etcd: Path
    nginx: Path
    log_format: str = "auto"
    aside: bool = False


class LocalFrontend:
    """Etcd and a regenerator on one state folder, which is held by the caller."""

    def __init__(
        self, settings: UpSettings, folder: StateFolder, *, environ: Mapping[str, str], stop: Stop
    ) -> None:
        self._settings = settings
        self._folder = folder
        # what a person's shell says of other registries is not meant for this one
        self._environ = {k: v for k, v in environ.items() if not k.startswith("REGISTRY_")}
        self._stop = stop
        self._etcd: Etcd | None = None
        self._children: list[Child] = []
        fresh = iter(free_ports(2))
        self.port = settings.port or next(fresh)
        self.etcd_port = settings.etcd_port or next(fresh)

    @property
    def domain(self) -> str:
        """What every host ends in."""
        return self._settings.domain

    @property
    def url(self) -> str:
        """The address of the page with all branches."""
        return web_url(self.domain, self.port)

    def ready_line(self) -> str:
        """What is printed when it serves; scripts wait for it."""
        return f"ready {self.url} REGISTRY_URL={self.registry_url}"

    @property
    def registry_url(self) -> str:
        """What a registrar needs, password and all."""
        return f"http://{ROOT}:{self._folder.password()}@{LOOPBACK}:{self.etcd_port}"

    @property
    def registry(self) -> Etcd:
        """The registry, once it has been started."""
        if self._etcd is None:
            raise ProgramMissing("the registry has not been started")
        return self._etcd

    def start(self) -> None:
        """Start all of it, and wait until it serves or we are asked to stop.

        Raises:
            ProgramMissing: A port is taken, or a program did not come up.
        """
        self._clear_up()
        local = LocalEtcd(self._settings.etcd, self._folder, self._environ, self._stop)
        local.prepare()
        if self._stop.asked():
            return
        etcd, self._etcd = local.start(self.etcd_port)
        self._children.append(etcd)
        if self._stop.asked():
            return
        begun_at = self._etcd.list(KEYS.frontends).revision
        regenerator = Child(self._regenerator())
        regenerator.start()
        self._children.append(regenerator)
        self._wait_until_it_serves(regenerator, begun_at)

    def tend(self) -> None:
        """Start again whatever has ended."""
        for child in self._children:
            child.tend()

    def end(self) -> None:
        """End all of it, the regenerator first: it signs off from the registry."""
        for child in reversed(self._children):
            child.end(stop=self._stop)
        # a regenerator that was killed has left its nginx serving
        Nginx(str(self._settings.nginx), self._folder.regenerator).end_group()
        if self._etcd is not None:
            self._etcd.close()

    def _clear_up(self) -> None:
        """End what a killed run left, and make sure that the ports are to be had.

        Its nginx goes on: the new regenerator takes it over, and no request is lost.
        """
        found = left_behind(self._folder.path)
        if found:
            log.info("ending what an earlier run left: %s", ", ".join(map(str, found)))
        for process in end(found):
            raise ProgramMissing(f"{process} of an earlier run does not end; end it by hand")
        if self.port == self.etcd_port:
            raise ProgramMissing(f"--port and --etcd-port are both {self.port}; change one")
        # the kernel takes a moment to give back what a killed program had
        patience_s = GIVEN_BACK_S if found else 0.0
        check_free(self.etcd_port, flag="--etcd-port", patience_s=patience_s)
        ours = nginx_left_behind(self._folder.regenerator)
        if not ours or not ours & {process.pid for process in holders(self.port)}:
            check_free(self.port, flag="--port", patience_s=patience_s)

    def _regenerator(self) -> Command:
        settings = self._settings
        return Command(
            "regenerator",
            # by flag what tells the next run whose it was; -P: no module of the folder we are in
            (
                *(sys.executable, "-P", "-m", "regenerator", "run"),
                *("--state", str(self._folder.regenerator)),
            ),
            {
                **self._environ,
                "REGISTRY_URL": self.registry_url,
                "NGINX": str(settings.nginx),
                "LISTEN": ",".join(str(Address(ip, self.port)) for ip in loopbacks()),
                "PUBLIC_URL": self.url,
                "DOMAIN": settings.domain,
                "ALLOW_NETWORKS": NETWORKS,
                "LOG_FORMAT": settings.log_format,
            },
            self._folder.log("regenerator") if settings.aside else None,
            ends_within_s=ENDS_WITHIN_S,
        )

    def _wait_until_it_serves(self, regenerator: Child, begun_at: int) -> None:
        give_up_at = time.monotonic() + SERVES_WITHIN_S
        while not self._stop.asked():
            if self._has_reported(begun_at) and self._answers():
                return
            code = regenerator.ended
            if code is not None:
                raise ProgramMissing(
                    f"the regenerator ended with exit code {code} before it"
                    f" served{last_line(regenerator)}"
                )
            if time.monotonic() > give_up_at:
                raise ProgramMissing(
                    f"nginx did not answer on port {self.port} within"
                    f" {SERVES_WITHIN_S:.0f} s{last_line(regenerator)}"
                )
            self._stop.wait(POLL_S)

    def _has_reported(self, begun_at: int) -> bool:
        """Whether the regenerator has said that it serves; what an earlier one said is older."""
        try:
            entries = self.registry.list(KEYS.frontends).entries.values()
            values = [entry.value for entry in entries if entry.mod_revision > begun_at]
            return any(FrontendRecord.parse(value).generation for value in values)
        except (StoreUnreachable, ValueError):
            return False

    def _answers(self) -> bool:
        try:
            return ask(self.port, f"{self._settings.domain}:{self.port}").status == OK
        except OSError:
            return False


def run_up(
    settings: UpSettings, folder: StateFolder, *, environ: Mapping[str, str], stop: Stop
) -> None:
    """Start a frontend, say that it serves, and look after it until told to stop.

    Raises:
        ProgramMissing: Something could not be started; what had been is ended.
    """
    frontend = LocalFrontend(settings, folder, environ=environ, stop=stop)
    try:
        frontend.start()
        if not stop.asked():
            click.echo(frontend.ready_line())
        while not stop.wait(TEND_S):
            frontend.tend()
    finally:
        frontend.end()
