"""A whole command within one deadline, whatever it hangs on: a mute server, or a name server."""

import threading
from collections.abc import Callable
from typing import TypeVar

from registry.faults import StoreUnreachable

T = TypeVar("T")

ONE_SHOT_S = 5.0
"""For a command that somebody waits for; etcd answers each of its few calls in milliseconds."""


def within(seconds: float, work: Callable[[], T], *, unknown: str) -> T:
    """Do the work, and give it up when the time is over.

    Args:
        unknown: What to say then.

    Raises:
        StoreUnreachable: The time is over. The work is left to itself, and ends with the process.
    """
    results: list[T] = []
    mistakes: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as exc:  # noqa: BLE001 - raised again by the thread that waits
            mistakes.append(exc)

    thread = threading.Thread(target=run, name="work", daemon=True)
    thread.start()
    thread.join(seconds)
    if mistakes:
        raise mistakes[0]
    if not results:
        raise StoreUnreachable(unknown)
    return results[0]
