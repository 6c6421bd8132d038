"""Branches whose names meet at one host: whoever holds a label has it, and nobody else is reached.

Three pairs at once, because each costs little beside the others: ``fix/foo`` and ``fix-foo``;
branch ``a`` service ``b-c`` beside branch ``a-b`` service ``c``; branch ``a`` service ``b`` beside
the default service of branch ``a-b``. All the while somebody asks for every host that any of them
could have.
"""

import http.client
import shutil
import signal
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import pytest

from registry.keys import ClaimKey
from registry.names import digits, long_labels, short_labels
from registry.records import ClaimRecord
from tests.etcd_server import EtcdServer, wait_until
from tests.registrar_process import Place, Registrar
from tests.system.asking import PAUSE_S
from tests.system.frontend import Frontend
from tests.system.origin import Origin

pytestmark = pytest.mark.system

TTL = "2"
"""The least there is: a killed registrar is missed as soon as can be."""


class Contender(NamedTuple):
    """A service that would like a label that another one would like as well."""

    branch: str
    service: str

    @property
    def name(self) -> str:
        """What it answers."""
        return f"{self.branch} {self.service}"

    def forms(self) -> tuple[str, ...]:
        """Every label that it could ever have."""
        return long_labels(*self) + (short_labels(self.branch) if self.service == "web" else ())


ONES = (Contender("fix/foo", "web"), Contender("a", "b-c"), Contender("a", "b"))
OTHERS = (Contender("fix-foo", "web"), Contender("a-b", "c"), Contender("a-b", "web"))

ONES_FIRST = {
    "fix/foo web": {"fix-foo-web", "fix-foo"},
    "a b-c": {"a-b-c"},
    "a b": {"a-b"},
    "fix-foo web": {f"fix-foo-{digits('fix-foo')}-web", f"fix-foo-{digits('fix-foo')}"},
    "a-b c": {f"a-b-{digits('a-b')}-c"},
    "a-b web": {"a-b-web", f"a-b-{digits('a-b')}"},
}

OTHERS_FIRST = {
    "fix/foo web": {"fix-foo-528e1f-web", "fix-foo-528e1f"},
    "a b-c": {"a-ca9781-b-c"},
    "a b": {"a-ca9781-b"},
    "fix-foo web": {"fix-foo-web", "fix-foo"},
    "a-b c": {"a-b-c"},
    "a-b web": {"a-b-web", "a-b"},
}


class Crowd:
    """Asks for hosts in turn, all the time, and keeps who answered."""

    def __init__(self, frontend: Frontend, labels: Iterable[str]) -> None:
        self.answers: defaultdict[str, set[str]] = defaultdict(set)
        self.rounds = 0
        self._frontend = frontend
        self._labels = sorted(labels)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.is_set():
            for label in self._labels:
                self._is_over.wait(PAUSE_S)
                with suppress(OSError, http.client.HTTPException):
                    answer = self._frontend.ask(f"{label}.localhost")
                    if answer.status == 200:
                        self.answers[label].add(answer.text)
            self.rounds += 1


class Contest:
    """Contenders behind one frontend, their registrars, and who holds which label.

    Attributes:
        holders: Who has each label, from its claim until its branch is removed.
    """

    def __init__(self, frontend: Frontend, etcd: EtcdServer, crowd: Crowd) -> None:
        self.frontend = frontend
        self.etcd = etcd
        self.crowd = crowd
        self.place = Place(etcd, frontend.keys.prefix)
        self.holders: dict[str, str] = {}
        self._running: dict[Contender, tuple[Origin, Registrar]] = {}

    def start(self, contenders: Iterable[Contender]) -> None:
        """Start a service and its registrar each, and wait until they are served."""
        for one in contenders:
            origin = Origin(one.name).__enter__()
            environ = self.place.instance_environ(
                NAME=one.branch,
                SERVICE=one.service,
                PORT=str(origin.port),
                IP="127.0.0.1",
                TTL=TTL,
                DRAIN="0",
                HEALTH_TCP="on",
            )
            self._running[one] = origin, Registrar(["sidecar"], environ)
        self.check_served()

    def stop(self, contenders: Iterable[Contender]) -> None:
        """SIGTERM to the registrars; the services end behind them."""
        contenders = tuple(contenders)
        for one in contenders:
            self._running[one][1].send(signal.SIGTERM)
        for one in contenders:
            assert self._running[one][1].wait() == 0
            self._end(one)

    def crash(self, contenders: Iterable[Contender]) -> None:
        """kill -9 to registrars and services."""
        for one in contenders:
            self._running[one][1].send(signal.SIGKILL)
            self._end(one)

    def end(self) -> None:
        """Let nothing of it run on."""
        for one in tuple(self._running):
            self._end(one)
        self.place.etcd.close()

    def lose_registry(self) -> None:
        """etcd comes back with an empty folder."""
        self.etcd.kill()
        shutil.rmtree(self.etcd.folder / "data")
        self.etcd.start()

    def claims(self) -> dict[str, set[str]]:
        """The labels of every claim in the registry, by who made it."""
        found = {}
        for raw, entry in self.place.etcd.list(self.place.keys.claims).entries.items():
            key = self.place.keys.parse(raw)
            assert isinstance(key, ClaimKey)
            labels = ClaimRecord.parse(entry.value).labels
            found[Contender(key.branch, key.service).name] = set(labels)
        return found

    def answers(self, name: str) -> set[str | int]:
        """What the hosts of a claim answer: their texts, or else their statuses."""
        held = [label for label, holder in self.holders.items() if holder == name]
        answers = [self.frontend.ask(f"{label}.localhost") for label in held]
        return {answer.text if answer.status == 200 else answer.status for answer in answers}

    def check_served(self) -> None:
        """See that whoever runs is served under its labels, and has been under no other's."""
        names = {one.name for one in self._running}
        wait_until(lambda: names <= self.claims().keys())
        self.check()
        for name in names:
            wait_until(lambda name=name: self.answers(name) == {name})  # type: ignore[misc]
        self.check()

    def check_gone(self, contenders: Iterable[Contender], *, status: int) -> None:
        """Wait until who does not run is not served, and see that nobody else is in its place."""
        for one in contenders:
            wait_until(lambda name=one.name: self.answers(name) == {status})  # type: ignore[misc]
        self.check()

    def check(self) -> None:
        """See that no label has moved, and that each was answered by its holder alone."""
        for name, labels in self.claims().items():
            held = {label for label, holder in self.holders.items() if holder == name}
            assert not held or held == labels, f"{name} had {held} and has {labels}"
            for label in labels:
                assert self.holders.setdefault(label, name) == name, f"{label} went to {name}"
        answered = {label: set(names) for label, names in self.crowd.answers.items() if names}
        for label, names in answered.items():
            assert names == {self.holders.get(label)}, f"{label} was answered by {names}"

    def forget(self, contenders: Iterable[Contender]) -> None:
        """Their claims are gone, and the labels anybody's; what was answered so far was right."""
        self.check()
        rounds = self.crowd.rounds
        # what is being answered just now is still of before
        wait_until(lambda: self.crowd.rounds > rounds + 1)
        names = {one.name for one in contenders}
        self.holders = {
            label: holder for label, holder in self.holders.items() if holder not in names
        }
        self.crowd.answers.clear()

    def _end(self, one: Contender) -> None:
        origin, registrar = self._running.pop(one)
        registrar.__exit__(None, None, None)
        origin.__exit__(None, None, None)


@contextmanager
def contest_in(folder: Path) -> Iterator[Contest]:
    labels = {label for one in (*ONES, *OTHERS) for label in one.forms()}
    with (
        EtcdServer(folder / "etcd") as etcd,
        Frontend(folder, etcd=etcd) as frontend,
        Crowd(frontend, labels) as crowd,
    ):
        contest = Contest(frontend, etcd, crowd)
        try:
            yield contest
        finally:
            contest.end()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(ONES, OTHERS, ONES_FIRST, id="fix/foo, a b-c, a b first"),
        pytest.param(OTHERS, ONES, OTHERS_FIRST, id="fix-foo, a-b c, a-b first"),
    ],
)
def test_a_host_leads_to_who_holds_its_label_whatever_happens(
    tmp_path: Path,
    first: tuple[Contender, ...],
    second: tuple[Contender, ...],
    expected: dict[str, set[str]],
) -> None:
    with contest_in(tmp_path) as contest:
        contest.start(first)
        contest.start(second)
        assert contest.claims() == expected

        # restarted in the other order: the claims stand
        contest.stop(first)
        contest.check_gone(first, status=503)
        contest.stop(second)
        contest.start(second)
        contest.start(first)

        # crashed, with their services
        contest.crash(first)
        contest.check_gone(first, status=503)
        contest.start(first)

        # removed: their labels are free, and nobody else's have changed
        contest.stop(first)
        remove(contest, first)
        contest.check_gone(first, status=404)
        contest.forget(first)
        contest.check_served()

        # and brought back
        contest.start(first)
        assert contest.claims() == expected


@pytest.mark.parametrize(("first", "second"), [(ONES, OTHERS), (OTHERS, ONES)])
def test_a_lost_registry_is_filled_again_with_the_labels_that_everybody_had(
    tmp_path: Path, first: tuple[Contender, ...], second: tuple[Contender, ...]
) -> None:
    with contest_in(tmp_path) as contest:
        contest.start(first)
        contest.start(second)
        expected = contest.claims()

        contest.lose_registry()
        contest.check_served()
        assert contest.claims() == expected

        # those who hold the plain labels are away while it is lost
        contest.stop(first)
        contest.lose_registry()
        contest.check_served()
        contest.start(first)
        assert contest.claims() == expected

        # and nobody is there who would know: now it is who comes first
        contest.stop((*first, *second))
        contest.check_gone((*first, *second), status=503)
        contest.lose_registry()
        contest.forget((*first, *second))
        contest.start(second)
        contest.start(first)
        assert contest.claims() == (OTHERS_FIRST if second is OTHERS else ONES_FIRST)


def remove(contest: Contest, contenders: Iterable[Contender]) -> None:
    """``registrar remove`` for each branch."""
    for branch in {one.branch for one in contenders}:
        done = contest.place.ask("remove", branch)
        assert done.returncode == 0, done.stderr
