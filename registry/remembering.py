"""A pure function that remembers what it was asked lately, and forgets the rest.

A snapshot of 10,000 records is read whole at each change, and hardly any of it is new. An
``lru_cache`` that holds all of them goes on to fill up with records that have left, 1.7 KiB for
each change, for days. Here whoever reads a snapshot says when it was read, and what nobody asked
for since the time before is forgotten.
"""

from collections.abc import Callable
from typing import Generic, TypeVar, TypeVarTuple

Args = TypeVarTuple("Args")
Result = TypeVar("Result")


class Remembered(Generic[*Args, Result]):
    """Wraps a function of hashable arguments that never gives None.

    Threads may share it: at worst something is worked out twice.
    """

    def __init__(self, function: Callable[[*Args], Result]) -> None:
        self._function = function
        self._asked: dict[tuple[object, ...], Result] = {}
        self._before: dict[tuple[object, ...], Result] = {}

    def __call__(self, *args: *Args) -> Result:
        """What the function gives; the same object as long as it is remembered."""
        found = self._asked.get(args)
        if found is None:
            found = self._before.get(args)
            if found is None:
                found = self._function(*args)
            self._asked[args] = found
        return found

    def turn(self) -> None:
        """Forget what was not asked since the last turn."""
        self._before, self._asked = self._asked, {}


def remembered(function: Callable[[*Args], Result]) -> Remembered[*Args, Result]:
    """``Remembered`` as a decorator."""
    return Remembered(function)
