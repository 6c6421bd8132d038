"""How every program ends: a fault is one sentence on stderr and an exit code, never a traceback."""

import logging
import os
import sys
from collections.abc import Sequence

import click

from registry.faults import Fault
from registry.terminal import escaped


def run_program(group: click.Group, name: str, arguments: Sequence[str] | None = None) -> None:
    """Run a click group as the whole process, and leave with its exit code.

    Text colours follow click: none where stderr is no terminal.
    """
    try:
        code = group.main(args=arguments, prog_name=name, standalone_mode=False)
    except click.exceptions.Exit as exc:
        code = exc.exit_code
    except click.Abort:
        code = 130  # as a shell says of a program that Ctrl-C ended: 128 + SIGINT
    except click.ClickException as exc:
        exc.show()
        code = exc.exit_code
    except Fault as exc:
        # nginx's own words have lines
        lines = f"{name}: {exc}".split("\n")
        click.echo("\n".join(map(escaped, lines)), err=True)
        code = exc.exit_code
    except BrokenPipeError:
        # whoever read our output has gone; Python would complain once more while it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception:  # the one place: whatever comes here is our own mistake
        logging.getLogger(name).exception("a mistake of ours; please report it with this trace")
        code = 70
    sys.exit(code if isinstance(code, int) else 0)
