"""Asks whether addresses accept connections: what the brake has to know of what it holds."""

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack

from registry.records import Address

CONNECT_S = 2.5
"""A packet that was lost is sent again after a second; within one network that is plenty."""

PAUSE_S = 1.0
"""Between two rounds."""

AT_ONCE = 256
"""Connections tried at a time: a quarter of the descriptors that a process has at least."""


def accepting(addresses: Iterable[Address], *, within_s: float = CONNECT_S) -> dict[Address, bool]:
    """Connect to all of them at once, and hang up; what could not be tried is left out."""
    answers: dict[Address, bool] = {}
    give_up_at = time.monotonic() + within_s
    with ExitStack() as links, selectors.DefaultSelector() as selector:
        for address in addresses:
            family = socket.AF_INET6 if ":" in address.ip else socket.AF_INET
            try:
                link = links.enter_context(socket.socket(family, socket.SOCK_STREAM))
            except OSError:
                # no descriptor left, or a machine without IPv6: that says nothing of the address
                continue
            answers[address] = False
            link.settimeout(0)
            # what fails at once is found below, too
            link.connect_ex((address.ip, address.port))
            selector.register(link, selectors.EVENT_WRITE, (address, link))
        is_over = False
        while selector.get_map() and not is_over:
            # once more when time is up: it may be we who were stopped meanwhile
            is_over = time.monotonic() >= give_up_at
            for key, _ in selector.select(max(0.0, give_up_at - time.monotonic())):
                address, link = key.data
                answers[address] = _is_connected(link)
                selector.unregister(link)
    return answers


class Prober:
    """Asks on a thread of its own, for as long as there is something to ask.

    Args:
        tell: Given what each address answered, after each round.
    """

    def __init__(self, tell: Callable[[Mapping[Address, bool]], None]) -> None:
        self._tell = tell
        self._changed = threading.Condition()
        self._addresses: frozenset[Address] = frozenset()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="probe", daemon=True)

    def start(self) -> None:
        """Begin; nothing is asked before ``ask``."""
        self._thread.start()

    def ask(self, addresses: frozenset[Address]) -> None:
        """Ask these from now on, and no others."""
        with self._changed:
            self._addresses = addresses
            self._changed.notify()

    def stop(self) -> None:
        """Ask no more."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()

    def _run(self) -> None:
        while addresses := self._next():
            for start in range(0, len(addresses), AT_ONCE):
                self._tell(accepting(addresses[start : start + AT_ONCE]))
            with self._changed:
                self._changed.wait_for(lambda: self._is_stopping, PAUSE_S)

    def _next(self) -> list[Address]:
        with self._changed:
            self._changed.wait_for(lambda: self._addresses or self._is_stopping)
            return [] if self._is_stopping else sorted(self._addresses)


def _is_connected(link: socket.socket) -> bool:
    try:
        # a port of loopback that nobody has may be given to the very connection that tries it
        return bool(link.getpeername() != link.getsockname())
    except OSError:
        return False
