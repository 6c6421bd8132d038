"""The commands; what they do is elsewhere."""

import functools
import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from registrar import agent, by_hand, entrypoint, instance, listing, sidecar, signals
from registrar.deadline import ONE_SHOT_S, within
from registrar.engine import Engine
from registrar.hosts import Hosts
from registrar.places import Finder, Search
from registrar.places.showing import show_steps
from registrar.probe_settings import login_options
from registrar.settings import (
    Reach,
    agent_options,
    instance_options,
    place_options,
    read_addition,
    read_agent,
    read_place,
    read_reach,
    read_registrar,
    read_seconds,
)
from registry import watching
from registry.etcd import Etcd
from registry.logs import log_format_option, name_services, set_up
from registry.main import run_program
from registry.registrations import Registrations
from registry.settings import registry_options
from registry.terminal import escaped

T = TypeVar("T")

EXIT_CODES = """Exit codes: 2 usage, 69 unavailable (no registry, nothing there), 70 our bug,
75 out of time, 77 denied, 78 settings."""

WHERE_S = 15.0
"""For all sources together: ECS may be waited for 5 s, its file 2 s, EC2 4 s."""

_APPLIED = "every live frontend has applied it"

wait_option = click.option(
    "--wait",
    default="",
    metavar="SECONDS",
    help="report when every live frontend has applied the change, or that one has not in time",
)

probe_option = click.option(
    "--probe",
    is_flag=True,
    help="with --wait: also until a request through each frontend has reached this instance",
)

log = logging.getLogger("registrar")


@click.group(epilog=EXIT_CODES, context_settings={"max_content_width": 100})
@click.version_option(package_name="branchfront")
def commands() -> None:
    """Announce a service of a branch, so that it has a host that people can open."""


@commands.command(
    epilog="Exit code: COMMAND's; 128 + n if signal n ended it, 127 not found, 126 not executable.",
    context_settings={"allow_interspersed_args": False},
)
@instance_options
@wait_option
@probe_option
@log_format_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(command: tuple[str, ...], wait: str, *, probe: bool, log_format: str, **given: str) -> int:
    """Register, run COMMAND, deregister, and pass its exit code on: a container's entrypoint.

    Without REGISTRY_URL it runs COMMAND unregistered.
    """
    _check_probe(probe=probe, wait=wait)
    set_up(log_format)
    if not given["registry_url"]:
        log.info("REGISTRY_URL is not set, so the command runs unregistered")
        return entrypoint.run_command(command, make_registration=None)
    settings = read_registrar(given, wait=wait, probe=probe)
    return entrypoint.run_command(
        command,
        make_registration=functools.partial(
            instance.make_registration, settings, wake=signals.wake, beside_command=True
        ),
    )


@commands.command("sidecar", epilog=EXIT_CODES)
@instance_options
@wait_option
@probe_option
@log_format_option
def run_sidecar(wait: str, *, probe: bool, log_format: str, **given: str) -> int:
    """Keep a service registered that runs beside us, until SIGTERM."""
    _check_probe(probe=probe, wait=wait)
    set_up(log_format)
    settings = read_registrar(given, wait=wait, probe=probe)
    return sidecar.run_sidecar(
        functools.partial(
            instance.make_registration, settings, wake=signals.wake, beside_command=False
        )
    )


@commands.command("docker", epilog=EXIT_CODES)
@agent_options
@click.option("--dry-run", is_flag=True, help="show what would be registered, and end")
@log_format_option
def watch_docker(*, dry_run: bool, log_format: str, **given: str) -> int:
    """Keep every container of this host registered that carries our labels, until SIGTERM.

    Labels: branchfront.branch, branchfront.service, and optionally branchfront.port and
    branchfront.health, a path. It only reads from the engine.
    """
    set_up(log_format)
    name_services()
    settings = read_agent(given)
    with Engine(settings.model.place.docker_host) as engine:
        registrations = by_hand.open_registrations(settings.model.reach)
        watcher = agent.Agent(engine, settings, registrations=registrations)
        if dry_run:
            click.echo(watcher.preview())
            return 0
        return watcher.run()


@commands.command(epilog=EXIT_CODES)
@registry_options
@wait_option
@probe_option
@login_options
@click.option("--ttl", default="0", show_default=True, help="seconds; 0: stays until removed")
@click.argument("branch")
@click.argument("service")
@click.argument("address")
def add(
    branch: str, service: str, *, address: str, ttl: str, wait: str, probe: bool, **given: str
) -> None:
    """Register ADDRESS (10.0.0.5:8080 or [fd00::7]:8080) by hand, with a claim for its host."""
    _check_probe(probe=probe, wait=wait)
    reach, login = read_addition(given)
    wait_s, ttl_s = read_seconds(wait=wait), int(read_seconds(ttl=ttl) or 0)
    key, parsed = by_hand.parse_addition(branch, service, address)

    def work(registrations: Registrations) -> tuple[int, Hosts, tuple[str, ...]]:
        done = by_hand.add(registrations, key, parsed, ttl_s=ttl_s, default=reach.default_service)
        book = by_hand.host_book(registrations, default_service=reach.default_service)
        return done.revision, book.of(branch, service), book.conflicts(branch, service)

    revision, hosts, conflicts = _at_once(reach, work)
    reached = hosts.url or hosts.labels[-1]
    click.echo(escaped(f"registered {parsed} as {branch} {service}: {reached}"))
    _warn(*conflicts)
    if wait_s is not None:
        began_at = time.monotonic()
        registrations = by_hand.open_registrations(reach)
        by_hand.wait_applied(registrations, revision, removal=False, within_s=wait_s)
        by_hand.check_served(registrations, key)
        click.echo(_APPLIED)
        if probe:
            left_s = began_at + wait_s - time.monotonic()
            by_hand.wait_reached(registrations, key, hosts, login=login, within_s=left_s)
            took_s = time.monotonic() - began_at
            click.echo(f"reached through all frontends at {reached} after {took_s:.2f} s")


@commands.command(epilog=EXIT_CODES)
@registry_options
@wait_option
@click.argument("branch")
@click.argument("service", default="")
@click.argument("instance", default="")
def remove(branch: str, *, service: str, instance: str, wait: str, **given: str) -> None:
    """Take registrations away: what is gone, or was added by hand.

    A registrar that still runs puts its own back. Of a whole branch the claims go as well, so that
    its hosts are free. Exits 69 where there is nothing to take away.
    """
    reach = read_reach(given)
    wait_s = read_seconds(wait=wait)
    done = _at_once(
        reach,
        lambda registrations: by_hand.remove(
            registrations, branch, service=service, instance=instance
        ),
    )
    click.echo(f"removed {done.routes} registrations and {done.claims} claims")
    if done.leased:
        _warn(f"{done.leased} of them on a lease: a registrar that still runs puts its own back")
    if wait_s is not None:
        registrations = by_hand.open_registrations(reach)
        by_hand.wait_applied(registrations, done.revision, removal=True, within_s=wait_s)
        click.echo(_APPLIED)


@commands.command("list", epilog=EXIT_CODES)
@registry_options
@click.option("--json", "as_json", is_flag=True, help="one JSON document on stdout")
@click.option("--watch", is_flag=True, help="again whenever something changes, until Ctrl-C")
@click.argument("branch", default="")
def show_list(branch: str, *, as_json: bool, watch: bool, **given: str) -> None:
    """Show what is registered, with hosts and ages; of BRANCH, or of all."""
    reach = read_reach(given)
    prefixes = listing.prefixes(reach.keys, branch=branch)
    draw = functools.partial(listing.draw, keys=reach.keys, default_service=reach.default_service)
    if watch:
        etcd = Etcd(reach.etcd)
        watching.show_for_ever(etcd, prefixes, draw, program="registrar", as_json=as_json)
    else:
        found = _at_once(reach, lambda them: [them.store.list(prefix) for prefix in prefixes])
        watching.show_once(draw(found), program="registrar", as_json=as_json)


@commands.command(epilog=EXIT_CODES)
@registry_options
@click.argument("branch")
@click.argument("service", default="")
def url(branch: str, service: str, **given: str) -> None:
    """Print the URL of a branch's service, alone on a line; of the default service, if none."""
    reach = read_reach(given)

    def work(registrations: Registrations) -> tuple[str, tuple[str, ...]]:
        return by_hand.find_url(
            registrations, branch, service, default_service=reach.default_service
        )

    found, remarks = _at_once(reach, work)
    click.echo(found)
    _warn(*remarks)


@commands.command(epilog=EXIT_CODES)
@place_options
@registry_options
@click.option("-v", "--verbose", is_flag=True, help="show whom was asked, and what came of it")
def where(*, verbose: bool, **given: str) -> None:
    """Print the address that would be registered, and which source said so; changes nothing.

    Asked in this order: IP and HOST_PORT, ECS task metadata, ECS's metadata file, EC2 instance
    metadata, the Docker engine where its socket is mounted, PORT, the interface that reaches the
    registry.
    """
    finder = Finder(read_place(given))
    search = Search(finder.settings)
    try:
        place = within(WHERE_S, lambda: finder.search(search), unknown="no source answered in time")
        click.echo(f"{place.address}  (ip: {place.ip.source}; port: {place.port.source})")
    finally:
        if verbose:
            click.echo(show_steps(search.steps))


def _check_probe(*, probe: bool, wait: str) -> None:
    if probe and not wait:
        raise click.UsageError("--probe needs --wait SECONDS, which says for how long it is tried")


def _at_once(reach: Reach, work: Callable[[Registrations], T]) -> T:
    names = ", ".join(reach.etcd.endpoints)
    return within(
        ONE_SHOT_S,
        lambda: work(by_hand.open_registrations(reach)),
        unknown=f"etcd at {names} did not answer within {ONE_SHOT_S:g} s",
    )


def _warn(*sentences: str) -> None:
    for sentence in sentences:
        click.echo(escaped(f"registrar: {sentence}"), err=True)


def main(arguments: Any = None) -> None:
    """Run a command as the whole process."""
    run_program(commands, "registrar", arguments)
