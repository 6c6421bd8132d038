"""``branchfront demo``: a local frontend with two sample branches, to look at or to check."""

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from registry.faults import NotApplied
from standalone.branches import NAMES, SampleBranches
from standalone.folder import StateFolder
from standalone.stopping import Stop
from standalone.table import render_table
from standalone.timeline import Timeline
from standalone.up import KEYS, TEND_S, LocalFrontend, UpSettings

WITHIN_S = 15.0
"""For what takes half a second on a quiet machine."""


@dataclass(frozen=True, slots=True)
class Demo:
    """What runs, all of it served.

    Attributes:
        timeline: When each route was written and served.
    """

    frontend: LocalFrontend
    samples: SampleBranches
    timeline: Timeline
    stop: Stop


@contextmanager
def running(
    settings: UpSettings, folder: StateFolder, *, environ: Mapping[str, str], stop: Stop
) -> Iterator[Demo | None]:
    """A demo for as long as the context lasts; None if we were asked to stop meanwhile.

    Raises:
        ProgramMissing: Something could not be started; what had been is ended.
        NotApplied: The frontend did not serve the sample branches in time.
    """
    with ExitStack() as ending:
        frontend = LocalFrontend(settings, folder, environ=environ, stop=stop)
        ending.callback(frontend.end)
        frontend.start()
        if stop.asked():
            yield None
            return
        etcd = frontend.registry
        timeline = Timeline(etcd, KEYS, etcd.list(KEYS.root).revision, stop)
        samples = SampleBranches(frontend, folder.path, environ=environ, stop=stop)
        ending.callback(samples.end)
        samples.start()
        served = timeline.follow_until(
            lambda: all(map(timeline.served, NAMES)), within_s=WITHIN_S
        ) and samples.wait_until_they_listen(within_s=WITHIN_S)
        if stop.asked():
            yield None
            return
        if not served:
            raise NotApplied(
                f"the sample branches were not served within {WITHIN_S:.0f} s; the logs are in"
                f" {folder.path}"
            )
        yield Demo(frontend, samples, timeline, stop)


def show(demo: Demo, folder: StateFolder) -> None:
    """Print where to look, and look after everything until told to stop."""
    frontend = demo.frontend
    click.echo(f"{frontend.ready_line()}\n")
    click.echo(_urls(demo))
    click.echo(f"\nall branches: {click.style(frontend.url, fg='cyan')}   logs: {folder.path}")
    click.echo("\nto add a service of your own, in another terminal:")
    click.echo(f"  REGISTRY_URL={frontend.registry_url} \\")
    click.echo("  NAME=my-branch SERVICE=web PORT=3000 IP=127.0.0.1 \\")
    click.echo(f"  {_registrar()} run -- python3 -m http.server 3000")
    click.echo("\nCtrl-C ends it all")
    while not demo.stop.wait(TEND_S):
        frontend.tend()
    click.echo("\nstopping")


def _registrar() -> str:
    """How the registrar is called from here: it may be in a folder that is not on PATH."""
    beside = Path(sys.argv[0]).with_name("registrar")
    return str(beside) if beside.exists() and not shutil.which("registrar") else "registrar"


def _urls(demo: Demo) -> str:
    rows = []
    for (branch, service), urls in demo.samples.urls().items():
        first, *others = (click.style(url, fg="cyan") for url in urls)
        rows.append((branch, service, first))
        rows += [("", "", other) for other in others]
    return render_table(("branch", "service", "URL"), rows)
