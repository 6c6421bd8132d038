"""What the commands do: find the programs, hold the state folder, run."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import click

from regenerator.nginx import Nginx
from registry.faults import Fault, ProgramMissing, SettingsInvalid
from registry.names import is_domain
from standalone.binaries import ETCD, NGINX, Binary, Program, find, shown
from standalone.checking import check, report
from standalone.demo import running, show
from standalone.folder import StateFolder, default_state, hold
from standalone.ports import check_free
from standalone.processes import end, left_behind
from standalone.stopping import Stop
from standalone.up import UpSettings, run_up

THROWAWAY = "branchfront-demo-"
"""What the folders of demos begin with, below the folder for temporary files."""

log = logging.getLogger("branchfront")


@dataclass(frozen=True, slots=True)
class Ports:
    """Where things listen on loopback; 0 for any port that is free."""

    nginx: int
    etcd: int


def up(
    ports: Ports, state: Path | None, *, etcd: str, nginx: str, domain: str, log_format: str
) -> None:
    """``branchfront up``."""
    if not is_domain(domain):
        raise SettingsInvalid([f"DOMAIN is {domain!r}: expected a host name in lower case"])
    settings = _settings(ports, etcd, nginx, domain=domain, log_format=log_format)
    with hold(state or default_state(os.environ)) as folder:
        run_up(settings, folder, environ=os.environ, stop=_listening())


def demo(ports: Ports, state: Path | None, *, etcd: str, nginx: str, log_format: str) -> None:
    """``branchfront demo``."""
    settings = _settings(ports, etcd, nginx, log_format=log_format, aside=True)
    stop = _listening()
    with (
        _folder(state, nginx=settings.nginx) as folder,
        running(settings, folder, environ=os.environ, stop=stop) as found,
    ):
        if found is not None:
            show(found, folder)


def demo_check(ports: Ports, state: Path | None, *, etcd: str, nginx: str, log_format: str) -> None:
    """``branchfront demo --check``; leaves with 1 where an answer was wrong."""
    settings = _settings(ports, etcd, nginx, log_format=log_format, aside=True)
    stop = _listening()
    with (
        _folder(state, nginx=settings.nginx) as folder,
        running(settings, folder, environ=os.environ, stop=stop) as found,
    ):
        rows = check(found) if found else ()
        click.echo(report(rows) if rows else "stopped before anything was asked")
        if not rows or not all(row.is_right for row in rows):
            log.error("the logs are in %s", folder.path)
            raise click.exceptions.Exit(1)


def demo_ports(port: int | None, etcd_port: int | None) -> Ports:
    """The ports that were asked for, else the usual ones, else any that are free."""
    return Ports(_or_free(port, 8080, "--port"), _or_free(etcd_port, 2379, "--etcd-port"))


def _or_free(given: int | None, usual: int, flag: str) -> int:
    if given is not None:
        return given
    try:
        check_free(usual, flag=flag)
    except ProgramMissing as fault:
        reason = str(fault).partition(";")[0]
        click.echo(f"{reason}; taking a free one ({flag} chooses)", err=True)
        return 0
    return usual


def _settings(
    ports: Ports,
    etcd: str,
    nginx: str,
    *,
    domain: str = "localhost",
    log_format: str,
    aside: bool = False,
) -> UpSettings:
    return UpSettings(
        port=ports.nginx,
        etcd_port=ports.etcd,
        domain=domain,
        etcd=_found(ETCD, etcd).path,
        nginx=_found(NGINX, nginx).path,
        log_format=log_format,
        aside=aside,
    )


def _found(program: Program, given: str) -> Binary:
    binary = find(program, given=given)
    if binary.skipped:
        skipped = "; ".join(binary.skipped)
        log.info("taking %s %s (%s)", binary.path, shown(binary.version), skipped)
    return binary


def _listening() -> Stop:
    stop = Stop()
    stop.listen()
    return stop


@contextmanager
def _folder(state: Path | None, *, nginx: Path) -> Iterator[StateFolder]:
    """The folder that was asked for, else one that is gone afterwards."""
    if state is not None:
        with hold(state) as folder:
            yield folder
        return
    _sweep(nginx)
    path = Path(tempfile.mkdtemp(prefix=THROWAWAY))
    went_well = False
    try:
        with hold(path) as folder:
            yield folder
        went_well = True
    finally:
        # else its logs tell why, and the next demo clears them away
        if went_well or not any(path.glob("*.log")):
            shutil.rmtree(path, ignore_errors=True)


def _sweep(nginx: Path) -> None:
    """End what demos left that were killed: nobody will ever start one on their folders again."""
    for path in Path(tempfile.gettempdir()).glob(f"{THROWAWAY}*"):
        # one that lives holds its folder; another person's is none of our business
        with suppress(Fault), hold(path):
            end(left_behind(path))
            Nginx(str(nginx), path / "regenerator").end_group()
            shutil.rmtree(path, ignore_errors=True)
