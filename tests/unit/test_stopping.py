"""Signals: the first asks, the second presses."""

import os
import signal
from collections.abc import Iterator

import pytest

from standalone.stopping import SIGNALS, Stop


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, disposition in before.items():
        signal.signal(number, disposition)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks_and_the_second_presses(number: signal.Signals) -> None:
    stop = Stop()
    stop.listen()

    assert not stop.wait(0)
    os.kill(os.getpid(), number)
    assert stop.wait(5)
    assert not stop.pressed()
    os.kill(os.getpid(), number)
    stop.pause(5)
    assert stop.pressed()


def test_what_nohup_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = Stop()
    stop.listen()

    os.kill(os.getpid(), signal.SIGHUP)

    assert not stop.wait(0.05)
