"""What threads leave for the loop: the newest of each kind, and never nothing for good."""

import threading

import pytest

from regenerator.inbox import Inbox, News
from registry.snapshot import Snapshot

PATIENCE_S = 10.0


def snapshot(revision: int) -> Snapshot:
    return Snapshot("cluster", revision, {})


def test_what_is_overtaken_before_it_was_looked_at_is_gone() -> None:
    inbox = Inbox()
    inbox.put(snapshot(1))
    inbox.put(snapshot(2))

    assert inbox.wait(PATIENCE_S) == News(snapshot(2))
    assert not inbox.wait(0)


def test_what_waits_to_be_served_is_as_old_as_the_first_of_it() -> None:
    now = iter([1.0, 2.0, 3.0])
    inbox = Inbox(clock=lambda: next(now))
    inbox.put(snapshot(1))
    inbox.put(snapshot(2))

    assert inbox.wait(PATIENCE_S).heard_at == 1.0
    inbox.put(snapshot(3))
    assert inbox.wait(PATIENCE_S).heard_at == 2.0


def test_each_kind_of_news_is_kept_beside_the_others() -> None:
    inbox = Inbox()
    inbox.saved_templates()
    inbox.put(snapshot(1))

    assert inbox.wait(PATIENCE_S) == News(snapshot(1), are_templates_saved=True)


def test_stopping_is_said_again_and_again() -> None:
    inbox = Inbox()
    inbox.stop()

    assert inbox.wait(PATIENCE_S).is_stopping
    assert inbox.wait(PATIENCE_S).is_stopping


def test_a_loop_that_waits_is_woken() -> None:
    inbox = Inbox()
    thread = threading.Thread(target=inbox.put, args=(snapshot(1),))
    thread.start()

    assert inbox.wait(PATIENCE_S).snapshot == snapshot(1)
    thread.join()


def test_a_thread_that_ended_by_a_mistake_ends_the_loop() -> None:
    """Else the frontend would serve what it has for ever, and nobody would know."""
    inbox = Inbox()
    inbox.put(snapshot(1))
    inbox.fail(RuntimeError("a mistake"))

    with pytest.raises(RuntimeError, match="a mistake"):
        inbox.wait(PATIENCE_S)
