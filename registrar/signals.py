"""Signals taken one by one, in the main thread, where nothing else is going on.

All that are passed on are blocked before anything starts and then waited for. No handler runs, so
none can come at a bad moment, and one that arrives early waits until it is asked for.
"""

import signal
import threading
from typing import NamedTuple

# What is left alone: the kernel's verdicts on this very process, what stops and continues it
# (job control means the whole group), and what Python has its own use for.
_OUR_OWN = frozenset(
    getattr(signal, name)
    for name in (
        *("SIGKILL", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGCONT"),
        *("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS", "SIGABRT"),
        *("SIGPIPE", "SIGXFSZ", "SIGXCPU"),
    )
)

WAITED_FOR = frozenset(signal.valid_signals()) - _OUR_OWN

IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
"""Python ignores them for itself, and a child would inherit that."""

SI_KERNEL = 0x80
"""``si_code`` of a signal that a terminal sends; the whole foreground group has got it."""


class Arrived(NamedTuple):
    """A signal that arrived.

    Attributes:
        from_terminal: Whoever shares our process group has got it as well.
    """

    number: int
    from_terminal: bool


def block() -> None:
    """Hold back all signals that are waited for, in this thread and those it starts later."""
    # whoever started us may have had SIGCHLD ignored, and then no child can be waited for
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)


def wait(within_s: float | None) -> Arrived | None:
    """The next signal; None if none arrived in time. Without a time it waits for ever."""
    if within_s is None:
        found = signal.sigwaitinfo(WAITED_FOR)
    else:
        in_time = signal.sigtimedwait(WAITED_FOR, max(0.0, within_s))
        if in_time is None:
            return None
        found = in_time
    return Arrived(found.si_signo, found.si_code == SI_KERNEL)


def wake() -> None:
    """Make ``wait`` return in the main thread: something it looks after has changed.

    SIGCHLD says just that, and nobody passes it on.
    """
    main = threading.main_thread().ident
    if main is not None:
        signal.pthread_kill(main, signal.SIGCHLD)
