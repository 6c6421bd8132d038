"""``run``: the first process of a container. COMMAND runs beside a registration of it.

COMMAND starts as soon as no frontend can send it requests that are meant for somebody else, and is
never held up by a registry that does not answer. Its exit code is ours.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from registrar import signals
from registrar.command import SIGNALLED, Command
from registrar.registration import Registration
from registry.faults import Fault

ENDING: Mapping[int, str] = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "SIGINT"}
"""What asks us to end, by its name in the log."""

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
    if make_registration is None:
        command = Command(arguments)
        while command.exit_code is None:
            _pass_on(signals.wait(None), command)
            command.reap()
        return command.exit_code
    registration = make_registration()
    registration.start()
    early = _await_begin(registration)
    if early and early[-1] in ENDING:
        log.info("%s: the command is not started", ENDING[early[-1]])
        return _end(registration, SIGNALLED + early[-1])
    try:
        command = Command(arguments)
    except Fault as fault:
        if not registration.finish():
            log.error("%s", fault)  # noqa: TRY400 - the sentence says it all
            leave_at_once(fault.exit_code, registration)
        raise
    registration.begin()
    for number in early:
        command.send(number)
    return _end(registration, _accompany(command, registration))


def leave_at_once(exit_code: int, registration: Registration) -> NoReturn:
    """End the process although a thread still waits for the registry, or for our address.

    It may be in the middle of a line of the log, and Python would crash on its lock while it ends.
    """
    log.warning("%s", registration.remains)
    sys.stderr.flush()
    os._exit(exit_code)


def _await_begin(registration: Registration) -> list[int]:
    """Wait until the command may start, or is not to any more.

    Returns:
        The signals that came meanwhile; the last one asks us to end, or it may start.
    """
    early: list[int] = []
    while not registration.may_begin and not (early and early[-1] in ENDING):
        arrived = signals.wait(registration.begin_patience_s)
        if arrived is not None:
            early += [arrived.number] if arrived.number != signal.SIGCHLD else []
        elif registration.begin_patience_s <= 0:
            log.warning("not registered yet; the command starts all the same")
            break
    return early


def _accompany(command: Command, registration: Registration) -> int:
    """Stand between the command and whoever sends signals, to its end; its exit code."""
    while command.exit_code is None:
        arrived = signals.wait(registration.patience_s)
        if arrived is None:
            registration.give_up()
        elif arrived.number in ENDING:
            _begin_to_end(arrived, command, registration)
        else:
            _pass_on(arrived, command)
        command.reap()
    if not registration.leaving:
        log.info("the command has ended with %d", command.exit_code)
    return command.exit_code


def _begin_to_end(arrived: signals.Arrived, command: Command, registration: Registration) -> None:
    if arrived.number == signal.SIGINT:
        # Ctrl-C has reached the command already; it decides whether to end, and nobody is told to
        # send it requests any more
        _pass_on(arrived, command)
        if not registration.leaving:
            log.info("SIGINT: draining")
        registration.leave()
    elif registration.leaving:
        log.info("SIGTERM: not waiting for anybody any more")
        registration.hurry()
        command.send(arrived.number)
    else:
        log.info("SIGTERM: draining first")

        def end() -> None:
            if command.end():
                log.info("the command was told to end")

        registration.leave(end)


def _pass_on(arrived: signals.Arrived | None, command: Command) -> None:
    if arrived is not None and arrived.number != signal.SIGCHLD and not arrived.from_terminal:
        command.send(arrived.number)


def _end(registration: Registration, exit_code: int) -> int:
    """Take the registration out, whatever is left of it."""
    if not registration.finish():
        leave_at_once(exit_code, registration)
    return exit_code
