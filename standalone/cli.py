"""The ``branchfront`` command: options in, one call each, no logic."""

import sys
from pathlib import Path

import click

from registry import logs
from registry.main import run_program
from registry.settings import option
from standalone import commands

_PORTS = click.IntRange(0, 65535)


_EXIT_CODES = """Exit codes: 2 usage, 69 unavailable, 70 our bug, 75 try again, 77 denied,
78 settings."""


@click.group(epilog=_EXIT_CODES, context_settings={"max_content_width": 100})
@click.version_option(package_name="branchfront")
def group() -> None:
    """Run a whole frontend on this machine: etcd, nginx and the regenerator, on loopback."""


def _options(command: click.decorators.FC) -> click.decorators.FC:
    """The flags that both commands have."""
    path = click.Path(path_type=Path)
    for add in (
        click.option("--nginx", default="", help="nginx 1.27.4 or newer; default: PATH, package"),
        click.option("--etcd", default="", help="etcd 3.4 or newer; default: PATH, package"),
        click.option("--state", type=path, help="folder for everything that has to be kept"),
    ):
        command = add(command)
    return command


@group.command(epilog=_EXIT_CODES)
@click.option("--port", type=_PORTS, default=8080, show_default=True, help="nginx's; 0: any free")
@click.option(
    "--etcd-port", type=_PORTS, default=2379, show_default=True, help="etcd's; 0: any free"
)
@option("--domain", "what every host name ends in", default="localhost")
@_options
@logs.log_format_option
def up(
    *,
    port: int,
    etcd_port: int,
    domain: str,
    state: Path | None,
    etcd: str,
    nginx: str,
    log_format: str,
) -> None:
    """Run etcd, nginx and the regenerator until Ctrl-C; say `ready` when they serve.

    State is kept in $XDG_STATE_HOME/branchfront unless --state says otherwise.
    """
    logs.set_up(log_format)
    ports = commands.Ports(port, etcd_port)
    commands.up(ports, state, etcd=etcd, nginx=nginx, domain=domain, log_format=log_format)


@group.command(epilog=_EXIT_CODES)
@click.option("--check", is_flag=True, help="ask every URL once, print a table, end with 0 or 1")
@click.option("--port", type=_PORTS, help="nginx's; default: 8080, or any free")
@click.option("--etcd-port", type=_PORTS, help="etcd's; default: 2379, or any free")
@_options
@logs.log_format_option
def demo(
    *,
    check: bool,
    port: int | None,
    etcd_port: int | None,
    state: Path | None,
    etcd: str,
    nginx: str,
    log_format: str,
) -> None:
    """The same with two sample branches, and nothing kept unless --state says where.

    With --check it asks each URL once, stops a service, and ends with 1 if an answer was wrong.
    """
    logs.set_up(log_format)
    ports = commands.demo_ports(port, etcd_port)
    run = commands.demo_check if check else commands.demo
    run(ports, state, etcd=etcd, nginx=nginx, log_format=log_format)


def main() -> None:
    """Run ``branchfront`` as the whole process."""
    run_program(group, "branchfront", sys.argv[1:])
