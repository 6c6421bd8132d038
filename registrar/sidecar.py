"""``sidecar``: a registration without a command, until SIGTERM or SIGINT."""

import logging
from collections.abc import Callable

from registrar import signals
from registrar.entrypoint import ENDING, leave_at_once
from registrar.registration import Registration

log = logging.getLogger("registrar")


def run_sidecar(make_registration: Callable[[], Registration]) -> int:
    """Keep a service registered until we are told to end.

    Raises:
        StoreDenied: The registry refused us.
    """
    signals.block()
    registration = make_registration()
    # it runs beside us, since whenever that may be
    registration.begin()
    registration.start()
    while not registration.over:
        arrived = signals.wait(registration.patience_s)
        if arrived is None or (arrived.number in ENDING and registration.leaving):
            if arrived is None:
                registration.give_up()
            if not registration.finish():
                leave_at_once(0, registration)
        elif arrived.number in ENDING:
            log.info("%s: draining first", ENDING[arrived.number])
            registration.leave()
    if registration.refusal is not None:
        raise registration.refusal
    return 0
