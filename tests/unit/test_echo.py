"""Included: what of a write and its echo is timed, and what is not."""

from regenerator.echo import Echo


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_write_is_timed_until_the_watch_tells_of_it() -> None:
    clock = _Clock()
    told: list[float] = []
    echo = Echo(told.append, clock=clock)

    echo.call()
    clock.now += 0.25
    echo.hear()

    assert told == [0.25]


def test_of_two_writes_the_first_that_was_not_heard_counts() -> None:
    clock = _Clock()
    told: list[float] = []
    echo = Echo(told.append, clock=clock)

    echo.call()
    clock.now += 1.0
    echo.call()
    clock.now += 1.0
    echo.hear()

    assert told == [2.0]


def test_what_somebody_else_wrote_and_what_failed_are_not_timed() -> None:
    told: list[float] = []
    echo = Echo(told.append)

    echo.hear()
    echo.call()
    echo.forget()
    echo.hear()

    assert told == []
