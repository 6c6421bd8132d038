"""The demo of the compose file, seen from outside: who answers at which host."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from standalone.samples import title
from tests.engine.containers import ask_at
from tests.etcd_server import wait_until

HOSTS = {
    "main-web.localhost": ("main", "web"),
    "main.localhost": ("main", "web"),
    "main-api.localhost": ("main", "api"),
    "feature-login-web.localhost": ("feature/login", "web"),
    "feature-login.localhost": ("feature/login", "web"),
    "feature-login-api.localhost": ("feature/login", "api"),
}

PAUSE_S = 0.02
"""Between two requests of a watcher."""


def who(text: str) -> list[tuple[str, str]]:
    """The branches and services that an answer says it is from; it should be one."""
    return [service for service in sorted(set(HOSTS.values())) if title(*service) in text]


def ask_all(port: int) -> None:
    """Ask each URL once; every answer has to be there, and right."""
    for host, service in HOSTS.items():
        answer = ask_at(port, host)
        assert answer.status == 200, (host, answer)
        assert who(answer.text) == [service], (host, answer.text)


def are_all_right(port: int) -> bool:
    """Whether each URL answers now, and rightly."""
    try:
        ask_all(port)
    except (OSError, http.client.HTTPException, AssertionError):
        return False
    return True


def wait_for_all(port: int, *, within_s: float) -> float:
    """Ask until every URL has answered in one round, and rightly; the seconds that took.

    An answer that comes from somebody else fails at once: it is never just a matter of time.
    """
    began_at = time.monotonic()
    last: list[object] = [None]

    def all_answer() -> bool:
        for host, service in HOSTS.items():
            try:
                answer = ask_at(port, host, within_s=5.0)
            except (OSError, http.client.HTTPException) as exc:
                last[0] = (host, repr(exc))
                return False
            if answer.status != 200:
                last[0] = (host, answer.status)
                return False
            assert who(answer.text) == [service], (host, answer.text)
        return True

    try:
        wait_until(all_answer, within_s=within_s)
    except TimeoutError as exc:
        raise AssertionError(f"not all URLs answer within {within_s:g} s: {last[0]}") from exc
    return time.monotonic() - began_at


@contextmanager
def watched(port: int) -> Iterator[None]:
    """Ask all URLs all the time: whoever answers with 200 has to be the right one."""
    wrong: list[tuple[str, str]] = []
    right = [0]
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for host, service in HOSTS.items():
                try:
                    answer = ask_at(port, host, within_s=5.0)
                except (OSError, http.client.HTTPException):
                    continue
                if answer.status == 200:
                    right[0] += 1
                    if who(answer.text) != [service]:
                        wrong.append((host, answer.text))
            done.wait(PAUSE_S)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    assert not wrong
    assert right[0]
