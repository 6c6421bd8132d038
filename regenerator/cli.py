"""The ``regenerator`` command: options in, one call each, no logic."""

import sys
from pathlib import Path

import click

from regenerator import service, status, templates
from regenerator.dashboard.history import moments, recalling
from regenerator.routes import PORTS, PRIVATE
from regenerator.settings import read_settings
from registry import logs
from registry.main import run_program
from registry.screen import page_of_stdout
from registry.settings import option, registry_options

_STATE = option("--state", "folder for all that nginx reads and writes", default="state")

_OPTIONS = (
    option("--domain", "what every host name ends in", default="dev.example.com"),
    option("--listen", "where nginx listens, comma-separated", default="0.0.0.0:8080"),
    option("--public-url", "scheme and port that people use; default: the first listener's"),
    option("--listen-tls", "where nginx listens with TLS, such as 0.0.0.0:8443; default: nowhere"),
    option("--tls-cert", "file: the certificate for the domain and *.domain, with its chain (PEM)"),
    option("--tls-key", "file: the certificate's key (PEM)"),
    option("--protect", "what the next three close: page, or all", default="page"),
    option("--basic-auth", "file: htpasswd, with who is let in"),
    option("--allow-clients", "CIDRs of who is let in; default: everybody"),
    option("--auth-url", "a sign-in proxy as oauth2-proxy, such as http://127.0.0.1:4180"),
    option("--auth-cookie", "what the names of its cookies begin with", default="_oauth2_proxy"),
    option("--cookie-domain", "of services' cookies: isolate, or share", default="isolate"),
    option("--allow-networks", "CIDRs that an address may lie in", default=PRIVATE),
    option("--allow-ports", "ports that an address may have", default=PORTS),
    option("--trusted-proxies", "CIDRs whose forwarded headers are believed"),
    option("--templates", "folder with nginx.conf and templates; default: our own"),
    option("--access-log", "file, from the state folder on, or off", default="logs/access.log"),
    option("--workers", "nginx worker processes", default="auto"),
    option("--upstream-blocks", "newest routes that keep connections alive", default="1000"),
    option("--read-timeout", "seconds a service may take to answer", default="60"),
    option("--stream-timeout", "seconds a WebSocket or event stream may be silent", default="3600"),
    option("--keepalive-min-timeout", "seconds idle clients outlive a reload", default="10"),
    option("--shutdown-timeout", "seconds a stream outlives a reload", default="600"),
    option("--old-generations", "how many may live before reloads slow down", default="8"),
    option("--reload-pause", "least seconds between two reloads", default="0.2"),
    option("--relist", "seconds between two readings of the whole registry", default="300"),
    option("--brake-window", "seconds within which lost routes count together", default="60"),
    option("--metrics", "address for Prometheus, such as 127.0.0.1:9145; default: none"),
    _STATE,
    option("--nginx", "the nginx binary, 1.27.4 or newer", default="nginx"),
)


_EXIT_CODES = """Exit codes: 2 usage, 69 unavailable, 70 our bug, 75 try again, 77 denied,
78 settings."""


@click.group(epilog=_EXIT_CODES, context_settings={"max_content_width": 100})
@click.version_option(package_name="branchfront")
def commands() -> None:
    """Keep an nginx at what the registry says."""


def _settings_options(command: click.decorators.FC) -> click.decorators.FC:
    for add in reversed(_OPTIONS):
        command = add(command)
    return registry_options(command)


@commands.command(epilog=_EXIT_CODES)
@_settings_options
@logs.log_format_option
def run(log_format: str, **given: str) -> None:
    """Watch, render, validate, apply, confirm; for ever."""
    logs.set_up(log_format)
    settings = read_settings(given, templates=templates.default_folder())
    service.run(settings, log_format=log_format)


@commands.command(epilog=_EXIT_CODES)
@_settings_options
@click.option("--to", required=True, type=click.Path(path_type=Path), help="folder to write into")
@logs.log_format_option
def render(to: Path, log_format: str, **given: str) -> None:
    """Render the registry as it is now into a folder; touches no nginx."""
    logs.set_up(log_format)
    settings = read_settings(given, templates=templates.default_folder())
    click.echo(service.render(settings, to=to))


@commands.command("status", epilog=_EXIT_CODES)
@registry_options
@click.option("--json", "as_json", is_flag=True, help="one JSON document on stdout")
@click.option("--watch", is_flag=True, help="again whenever something changes, until Ctrl-C")
def show_status(*, as_json: bool, watch: bool, **given: str) -> None:
    """Show every frontend: state, routes, revision, generation, age, and what is left out."""
    status.show(given, as_json=as_json, watch=watch)


@commands.command(epilog=_EXIT_CODES)
@registry_options
def release(**given: str) -> None:
    """Let go of the routes that the brake holds, on every frontend."""
    click.echo(service.release(given))


@commands.command(epilog=_EXIT_CODES)
@click.argument("branch", default="")
@click.argument("service", default="")
@click.option("--at", default="", metavar="TIME", help=f"what served it then: {moments.FORMS}")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="changes")
@click.option("--json", "as_json", is_flag=True, help="one JSON document on stdout")
@_STATE
def history(branch: str, service: str, *, at: str, limit: int, as_json: bool, state: str) -> None:
    """Show what has become of branches, the newest last; or what served them at a time."""
    click.echo(
        recalling.tell_history(
            Path(state),
            branch,
            service,
            at=at,
            limit=limit,
            as_json=as_json,
            page=page_of_stdout(),
        )
    )


@commands.command(epilog=_EXIT_CODES)
@click.argument("before")
@click.argument("after")
@click.option("--json", "as_json", is_flag=True, help="one JSON document on stdout")
@_STATE
def diff(before: str, after: str, *, as_json: bool, state: str) -> None:
    """Show which routes two generations differ in.

    Each is the name of one, or its beginning; a time, as for history; or now.
    """
    click.echo(
        recalling.tell_difference(
            Path(state), before, after, as_json=as_json, page=page_of_stdout()
        )
    )


def main() -> None:
    """Run ``regenerator`` as the whole process."""
    run_program(commands, "regenerator", sys.argv[1:])
