"""``run``: the first process of a container. COMMAND runs beside a registration of it.

COMMAND starts at once and is never held up by the registry. Its exit code is ours.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from registrar import signals
from registrar.command import Command
from registrar.registration import Registration

log = logging.getLogger("registrar")


def run_command(
    arguments: Sequence[str], *, make_registration: Callable[[], Registration] | None
) -> int:
    """Run a command to its end, registered as long as it runs; give its exit code.

    Args:
        make_registration: None to run it unregistered.

    Raises:
        CommandMissing: Nothing was started.
        CommandNotExecutable: Nothing was started.
    """
    signals.block()
    command = Command(arguments)
    registration = make_registration() if make_registration else None
    if registration is not None:
        registration.start()
    while command.exit_code is None:
        arrived = signals.wait(registration.patience_s if registration else None)
        if arrived is not None:
            _pass_on(arrived, command, registration)
        elif registration is not None:
            registration.give_up()
        command.reap()
    if registration is not None and not registration.finish():
        leave_at_once(command.exit_code)
    return command.exit_code


def leave_at_once(exit_code: int) -> NoReturn:
    """End the process although a thread still waits for the registry.

    It may be in the middle of a line of the log, and Python would crash on its lock while it ends.
    """
    log.warning("the registry does not answer; the key goes when its lease ends")
    sys.stderr.flush()
    os._exit(exit_code)


def _pass_on(arrived: signals.Arrived, command: Command, registration: Registration | None) -> None:
    number = arrived.number
    if number == signal.SIGCHLD:
        return
    if registration is None or number not in {signal.SIGTERM, signal.SIGINT}:
        if not arrived.from_terminal:
            command.send(number)
    elif number == signal.SIGINT:
        # Ctrl-C has reached the command already; it decides whether to end, and nobody is told to
        # send it requests any more
        if not arrived.from_terminal:
            command.send(number)
        registration.leave()
    elif registration.leaving:
        registration.hurry()
        command.send(number)
    else:
        log.info("SIGTERM: deregistering first")
        registration.leave(command.end)
