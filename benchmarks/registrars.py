"""Many registrars in one process: what ``registrar sidecar`` does, on threads of their own.

A thousand registrars are a thousand processes elsewhere, a few of them on each host; here they
share four. Each has its own client of etcd, with its own connections, and runs the registrar's own
code (``registrar.instance.assemble``), so etcd sees the same calls on as many connections. Of a
sidecar there is missing: its process, the question whether its service is healthy, and the look
whether the service still has connections, which asks nobody but this machine.

Reads a ``Crew`` from stdin, says ``ready``, and then does what each line says, with the numbers of
registrars behind it: ``start`` and ``leave``, or ``keep`` for those that do nothing but keep their
registrations alive, which can be many more; says ``left NUMBER SECONDS`` when one is done.
``tell`` has it print, as one line of JSON, what became of each since ``forget``. Ends when stdin
does.
"""

import hashlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Self

from benchmarks.store import KEYS
from registrar.bell import Bell
from registrar.instance import Surroundings, assemble
from registrar.keep import Keep, Timing
from registrar.places import PlaceSettings
from registrar.registration import Registration
from registrar.settings import Reach, RegistrarSettings
from registry.etcd import Commit, Condition, Etcd, EtcdSettings, Lease, Operation
from registry.keys import RouteKey
from registry.records import Address, State
from registry.registrations import Registrations

STACK_BYTES = 512 * 1024
"""Two threads each, and thousands of them: the usual 8 MiB is only room that nobody uses."""

_SPEAKING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Instance:
    """What one registrar registers."""

    branch: str
    service: str
    address: str

    @property
    def name(self) -> str:
        """As of a task of ECS: an id of 32 hexadecimal digits and the container's name."""
        return f"{hashlib.sha256(self.address.encode()).hexdigest()[:32]}-app"


@dataclass(frozen=True, slots=True)
class Crew:
    """What one process is to keep registered.

    Attributes:
        user: Of etcd; empty where it has none.
        instances: By number.
    """

    endpoints: tuple[str, ...]
    user: str
    password: str
    ttl_s: int
    instances: dict[int, Instance]

    def dump(self) -> str:
        """As one line."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read the line."""
        fields = json.loads(line)
        instances = {int(at): Instance(**one) for at, one in fields["instances"].items()}
        endpoints = tuple(fields["endpoints"])
        return cls(**fields | {"endpoints": endpoints, "instances": instances})


class NotingEtcd(Etcd):
    """Notes what became of the lease, and of what a registrar does with each refresh.

    Attributes:
        back_at: When a turn went well for the first time since ``forget``, on the monotonic clock;
            0 for not yet.
        leases: How many there were.
    """

    def __init__(self, settings: EtcdSettings) -> None:
        super().__init__(settings)
        self.back_at = 0.0
        self.leases = 0

    def forget(self) -> None:
        """Wait for the next turn that goes well."""
        self.back_at = 0.0

    def grant(self, ttl_s: int) -> Lease:
        """A new lease."""
        lease = super().grant(ttl_s)
        self.leases += 1
        return lease

    def commit(
        self,
        conditions: Sequence[Condition],
        *,
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> Commit:
        """Look at the key, which ends a turn, and for which etcd wants to know who we are."""
        done = super().commit(conditions, then=then, otherwise=otherwise)
        self.back_at = self.back_at or time.monotonic()
        return done


class _Kept:
    """A registration that is kept alive: what a registrar does once it has begun, and no more.

    Attributes:
        has_left: It has taken its instance out.
    """

    def __init__(self, crew: Crew, number: int) -> None:
        instance = crew.instances[number]
        self._settings = EtcdSettings(crew.endpoints, user=crew.user, password=crew.password)
        self._key = RouteKey(instance.branch, instance.service, instance.name)
        self._address = Address.parse(instance.address)
        self._ttl_s = crew.ttl_s
        self._number = number
        self._bell = Bell()
        self.etcd = NotingEtcd(self._settings)
        self.has_left = False

    def start(self) -> None:
        """Register it as ready, and keep it so."""
        keep = Keep(
            Registrations(self.etcd, keys=KEYS),
            self._key,
            locate=lambda: self._address,
            ttl_s=self._ttl_s,
            default_service="web",
            timing=Timing(self._bell.wait, self._bell.ring),
        )
        keep.wish(State.READY)
        threading.Thread(target=keep.run, name="registration", daemon=True).start()

    def leave(self) -> None:
        """Keep it no longer; it stays in the registry until its lease ends."""
        self._bell.stop()
        self._tell_left()

    def told(self) -> tuple[float, int]:
        """When a turn first went well since it was to forget, and how many leases there were."""
        return self.etcd.back_at, self.etcd.leases

    def _tell_left(self) -> None:
        self.has_left = True
        _say(f"left {self._number} {time.monotonic()}")


class _Sidecar(_Kept):
    """A whole registrar."""

    def __init__(self, crew: Crew, number: int) -> None:
        super().__init__(crew, number)
        key = self._key
        settings = RegistrarSettings(
            Reach(self._settings, KEYS, "web"),
            key.branch,
            key.service,
            PlaceSettings(),
            ttl_s=crew.ttl_s,
        )
        surroundings = Surroundings(
            locate=lambda: self._address,
            ask=None,
            connections=lambda: None,
            sees_connections=False,
            gives_up_when_denied=False,
        )
        self._registration: Registration = assemble(
            key,
            settings,
            surroundings,
            registrations=Registrations(self.etcd, keys=KEYS),
            wake=self._wake,
        )

    def start(self) -> None:
        """As a sidecar begins: what it registers runs already."""
        self._registration.begin()
        self._registration.start()

    def leave(self) -> None:
        """As a sidecar does on SIGTERM."""
        self._registration.leave()

    def _wake(self) -> None:
        if self._registration.over and not self.has_left:
            self._tell_left()


KINDS = {"start": _Sidecar, "keep": _Kept}
"""What a word on stdin makes."""


def _say(line: str) -> None:
    """Print one line in one piece, whoever else prints."""
    with _SPEAKING:
        print(line, flush=True)


def _main(lines: Iterable[str]) -> None:
    # what is a mistake of ours is to be seen; an etcd that is away is meant to be
    logging.basicConfig(level=logging.ERROR)
    threading.stack_size(STACK_BYTES)
    told = iter(lines)
    crew = Crew.parse(next(told))
    running: dict[int, _Kept] = {}
    _say("ready")
    for line in told:
        what, *numbers = line.split()
        for number in map(int, numbers):
            if what == "leave":
                running[number].leave()
            else:
                running[number] = KINDS[what](crew, number)
                running[number].start()
        if what == "forget":
            for one in running.values():
                one.etcd.forget()
        if what == "tell":
            found = {at: one.told() for at, one in running.items() if not one.has_left}
            _say(json.dumps(found))
    # nobody is told: the store is gone by now, and waiting for it would take a while
    os._exit(0)


if __name__ == "__main__":
    _main(sys.stdin)
