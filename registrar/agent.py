"""``docker``: registers every container of this host that carries our labels, for ever.

One thread reads the engine's events and says which container to look at; the main thread looks,
and begins and ends registrations. What counts is what a look finds, never what an event says: all
containers are looked at when the events begin, and from time to time, so a lost one costs little.
Each registration is that of any registrar, with a lease of its own.
"""

import logging
import math
import queue
import random
import resource
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from registrar import signals
from registrar.connections import Connections
from registrar.containers import (
    BRANCH,
    HEALTH,
    ID_SHOWN,
    PORT,
    SERVICE,
    Container,
    Reached,
    Wanted,
    read_wanted,
)
from registrar.engine import Engine, Event
from registrar.entrypoint import ENDING
from registrar.health import HealthSettings
from registrar.instance import Surroundings, assemble
from registrar.places import PlaceSettings, socket
from registrar.places.docker import own_id
from registrar.probing import Answer, Ask, ask_path, ask_port, find_unanswered
from registrar.registration import Registration
from registrar.settings import AgentSettings, RegistrarSettings
from registry.faults import EngineDenied, Fault
from registry.records import Address
from registry.registrations import Registrations
from registry.tables import Page, plain_row
from registry.terminal import escaped

LOOK_S = 30.0
"""Between two looks at all containers: events get lost only with their connection, which is
noticed, or in an engine that hangs."""

RETRY_FIRST_S = 0.1
"""Until an engine that went away is asked again; it doubles."""

RETRY_MOST_S = 2.0
"""As late as that it is noticed that an engine is back."""

GRACE_S = 60.0
"""A container that was told to end is left alone for so long; Docker waits 10 s, ECS 30 s. One that
still runs then took the signal for something else, and is registered again."""

ATTEND_S = 0.1
"""Between two looks at the ports themselves while no engine answers, and for each such look: a
container that is started takes longer to listen at the address of one that has just ended."""

MISSES = 2
"""As many in a row: a single one may be ours, on a machine that is busy."""

SHARE = 4
"""So many times as long as an answer took that did not come is left for everything else."""

DEAF = 3
"""Containers in a row that the engine does not tell about; then it is the engine itself."""

FAREWELL_S = 1.0
"""We stay so long when we are told to end: an engine that ends tells its other containers in the
same moment, and whoever ends is taken out by us or by nobody."""

LEAVE_S = 1.0
"""For calls that are under way when we end."""

HEADINGS = ("CONTAINER", "BRANCH", "SERVICE", "ADDRESS", "GETS REQUESTS")

HINT = (
    f"does it listen on the port of the label {PORT}, on 0.0.0.0? the label {HEALTH}, or"
    " HEALTH_TCP=off for the agent, change what is asked"
)

HEALTHY = "healthy"
"""What the engine says of a container whose own check has passed."""

log = logging.getLogger("registrar")


class Checkup:
    """What the engine's own health check said last, as an answer to the registrar's question.

    Attributes:
        has_listened: We have reached its port; who is not reached from here is not missed either.
    """

    def __init__(self, status: str) -> None:
        self.status = status
        self.has_listened = False

    def __call__(self, address: Address, *, within_s: float) -> Answer:
        """Nobody has to be asked: the engine tells us when it changes."""
        if not self.has_listened:
            self.has_listened = bool(ask_port(address, within_s=min(within_s, ATTEND_S)).passed)
        return Answer(passed=self.status == HEALTHY, words=f"its health check says {self.status}")


@dataclass(slots=True)
class Kept:
    """A container that is registered, or is being taken out.

    Attributes:
        stop_number: The signal that asks it to end.
        told_at: When it was sent that; 0 if it was not.
        misses: How often in a row nothing came from its port while no engine answered.
    """

    name: str
    wanted: Wanted
    registration: Registration
    checkup: Checkup
    stop_number: int
    told_at: float = 0.0
    misses: int = 0


class Agent:
    """Keeps the labelled containers of one engine registered. All but ``_follow`` is one thread."""

    def __init__(
        self,
        engine: Engine,
        settings: AgentSettings,
        *,
        registrations: Registrations,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Asks and registers nothing yet."""
        self._engine = engine
        self._settings = settings
        self._registrations = registrations
        self._clock = clock
        self._kept: dict[str, Kept] = {}
        self._refused: dict[str, str] = {}
        self._inbox: queue.SimpleQueue[Event | Fault | None] = queue.SimpleQueue()
        self._reached = Reached()
        self._trouble = ""
        self._was_heard = self._is_followed = False
        self._look_at = self._attend_at = 0.0
        self._owed_at = math.inf
        self._stopped = threading.Event()

    def run(self) -> int:
        """Go on until a signal asks us to end; what is registered stays, on its leases.

        Raises:
            EngineDenied: The engine refused us from the beginning.
        """
        signals.block()
        # three files a container, more than many hosts give to a process at first
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        follower = threading.Thread(target=self._follow, name="events", daemon=True)
        follower.start()
        ending, end_at = "", math.inf
        while self._clock() < end_at:
            arrived = signals.wait(min(self._pause_s(), end_at - self._clock()))
            if arrived is not None and arrived.number in ENDING:
                # who asks twice does not want to wait
                end_at = self._clock() + (0.0 if ending else FAREWELL_S)
                ending = ENDING[arrived.number]
            self.step()
        return self._end(ending)

    def step(self) -> None:
        """Deal with what has come in, and with what it is time for.

        Raises:
            EngineDenied: The engine has refused us from the beginning.
        """
        try:
            if self._take() or (self._is_followed and self._clock() >= self._look_at):
                self._owed_at = math.inf
                self._look_at_all()
                self._look_at = self._clock() + LOOK_S
            self._look_at = min(self._look_at, self._owed_at)
            if self._is_alone and self._clock() >= self._attend_at:
                self._attend()
                self._attend_at = self._clock() + ATTEND_S
            self._clear()
        except Fault as fault:
            self._tell(fault)
            self._look_at = self._clock() + RETRY_MOST_S

    @property
    def _is_alone(self) -> bool:
        """Whether no engine tells us what becomes of the containers."""
        return bool(self._trouble) or not self._is_followed

    def _pause_s(self) -> float:
        """Seconds until something is to be done, whatever comes in."""
        at = self._look_at if self._is_followed else math.inf
        if self._is_alone and self._kept:
            at = min(at, self._attend_at)
        return max(0.0, min(at - self._clock(), LOOK_S))

    def preview(self) -> str:
        """A table of every labelled container: what it would be registered as, or why it is not."""
        self._reached = self._find_reached()
        containers = [self._engine.inspect(one) for one in self._engine.containers()]
        labelled = [one for one in containers if one is not None and one.labels]
        if not labelled:
            return f"no container runs that carries the labels {BRANCH} and {SERVICE}"
        lines = [self._row(one) for one in sorted(labelled, key=lambda one: one.name)]
        return "\n".join(Page().table([plain_row(*one) for one in (HEADINGS, *lines)]))

    def _row(self, container: Container) -> tuple[str, ...]:
        is_running = container.state == "running"
        judged = self._judge(container) if is_running else f"it is {container.state}"
        names = tuple(escaped(container.labels.get(name, "-")) for name in (BRANCH, SERVICE))
        if isinstance(judged, str):
            return (escaped(container.name), *names, "-", f"not registered: {escaped(judged)}")
        return (escaped(container.name), *names, str(judged.address), self._way(judged))

    def _way(self, wanted: Wanted) -> str:
        """What says whether it is healthy, in words."""
        if wanted.health_path:
            return f"when GET {wanted.health_path} answers 200 to 399"
        if wanted.is_checked:
            return "when its health check passes"
        return "when its port accepts" if self._settings.asks_port else "at once"

    def _follow(self) -> None:
        """Read events for ever; None says that all containers have to be looked at."""
        pause_s = RETRY_FIRST_S
        while not self._stopped.is_set():
            try:
                with self._engine.follow() as events:
                    self._say(None)
                    pause_s = RETRY_FIRST_S
                    for event in events:
                        self._say(event)
            except Fault as fault:
                self._say(fault)
            except Exception:
                log.exception("a mistake of ours; please report it with this trace")
            jitter = random.uniform(0.5, 1)  # noqa: S311 - spreads tries, guards nothing
            self._stopped.wait(pause_s * jitter)
            pause_s = min(2 * pause_s, RETRY_MOST_S)

    def _say(self, what: Event | Fault | None) -> None:
        self._inbox.put(what)
        signals.wake()

    def _take(self) -> bool:
        """Deal with what has come in; says whether all containers have to be looked at."""
        changed: dict[str, None] = {}
        all_of_them = False
        while not self._inbox.empty():
            what = self._inbox.get()
            if isinstance(what, Fault):
                # nor is it asked any more until it answers: it may take a question and keep us
                self._is_followed = all_of_them = False
                self._tell(what)
            elif what is None:
                self._is_followed = all_of_them = True
            elif what.action == "kill":
                self._note_signal(what)
            else:
                changed[what.container] = None
        if not all_of_them:
            self._look_at_each(changed)
        return all_of_them

    def _look_at_all(self) -> None:
        present = self._engine.containers()
        self._reached = self._find_reached()
        self._was_heard = True
        self._tell(None)
        self._look_at_each(dict.fromkeys((*self._kept, *present)))
        for gone in self._refused.keys() - set(present):
            del self._refused[gone]

    def _look_at_each(self, containers: Iterable[str]) -> None:
        """Look at several; one of which the engine cannot tell does not keep us from the others.

        Raises:
            EngineUnreachable, EngineDenied: It tells of none of them.
        """
        in_a_row, began_at = 0, self._clock()
        is_owed = False
        for name in containers:
            try:
                self._look(name)
                in_a_row = 0
            except Fault as fault:
                in_a_row += 1
                if in_a_row >= DEAF or isinstance(fault, EngineDenied):
                    raise
                is_owed = True
                self._refuse(name, name[:ID_SHOWN], f"the engine does not tell of it: {fault}")
        if is_owed:
            # one that keeps us waiting is not asked all the time
            pause_s = max(RETRY_MOST_S, SHARE * (self._clock() - began_at))
            self._owed_at = self._clock() + pause_s

    def _look(self, name: str) -> None:
        """See that one container is registered as it wants to be now."""
        container = self._engine.inspect(name)
        kept = self._kept.get(name)
        wanted: Wanted | None = None
        if container is not None and container.labels and container.state == "running":
            judged = self._judge(container)
            if isinstance(judged, Wanted):
                wanted = judged
                self._refused.pop(name, None)
            else:
                self._refuse(name, container.name, judged)
        if kept is None:
            if container is not None and wanted is not None:
                self._register(container, wanted)
        elif wanted != kept.wanted:
            # who is paused, dead or elsewhere cannot be drained
            kept.told_at = 0.0
            kept.registration.leave()
            kept.registration.hurry()
        elif container is not None:
            kept.name = container.name
            self._note_health(kept, container.health)

    def _refuse(self, container: str, name: str, reason: str) -> None:
        """Say once why a container is not looked after."""
        if self._refused.get(container) != reason:
            self._refused[container] = reason
            log.warning("container %s is not registered: %s", name, reason)

    def _judge(self, container: Container) -> Wanted | str:
        """What a container is to be registered as, or why it cannot be."""
        try:
            return read_wanted(container, self._reached)
        except ValueError as exc:
            return str(exc)

    def _find_reached(self) -> Reached:
        """Where containers of this host are reached: the host's ip is ours, if we are on it."""
        place = self._settings.model.place
        if self._settings.network or place.ip:
            return Reached(self._settings.network, place.ip)
        own = own_id()
        container = self._engine.inspect(own) if own else None
        if own and (container is None or container.network_mode != "host"):
            return Reached()
        ip = socket.find_own_ip(place.endpoints)
        # a name that cannot be resolved for a moment moves nobody
        return Reached(host_ip=ip) if ip else self._reached

    def _register(self, container: Container, wanted: Wanted) -> None:
        checkup = Checkup(container.health)
        key, address = wanted.key, wanted.address
        text = "container %s: registering branch %r service %r at %s"
        log.info(text, container.name, key.branch, key.service, address)
        settings = _settings_of(self._settings.model, wanted)
        surroundings = Surroundings(
            locate=lambda: address,
            ask=self._ask_of(wanted, checkup),
            connections=_unseen,
            sees_connections=False,
            gives_up_when_denied=False,
            hint=HINT,
            recalls=True,
        )
        registration = assemble(
            key, settings, surroundings, registrations=self._registrations, wake=signals.wake
        )
        self._kept[container.id] = Kept(
            container.name, wanted, registration, checkup, container.stop_number
        )
        # it runs already
        registration.begin()
        registration.start()

    def _ask_of(self, wanted: Wanted, checkup: Checkup) -> Ask | None:
        """What says whether it is healthy: a path of its own, the engine's check, its port."""
        if wanted.health_path:
            return ask_path(wanted.health_path)
        if wanted.is_checked:
            return checkup
        return ask_port if self._settings.asks_port else None

    def _note_health(self, kept: Kept, health: str) -> None:
        if kept.checkup.status != health:
            kept.checkup.status = health
            kept.registration.ask_again()

    def _note_signal(self, event: Event) -> None:
        """A container that is told to end is drained while it still can be."""
        kept = self._kept.get(event.container)
        if kept is None or kept.registration.leaving or event.signal != kept.stop_number:
            return
        log.info("container %s was told to end; draining", kept.name)
        kept.told_at = self._clock()
        kept.registration.leave()

    def _attend(self) -> None:
        """Take out whose port is silent while no engine says whether its container still runs.

        An engine that was killed ends its containers when it is started again, and starts them at
        each other's addresses before it answers anybody.
        """
        if not self._settings.asks_port:
            return
        staying = [
            one
            for one in self._kept.values()
            if one.registration.gets_requests
            and not one.registration.leaving
            and (one.checkup.has_listened or not one.wanted.is_checked or one.wanted.health_path)
        ]
        found = find_unanswered([one.wanted.address for one in staying], within_s=ATTEND_S)
        for kept in staying:
            kept.misses = kept.misses + 1 if kept.wanted.address in found.silent else 0
            if kept.wanted.address in found.refused or kept.misses >= MISSES:
                text = "container %s: nothing listens at %s while no engine answers; taking it out"
                log.warning(text, kept.name, kept.wanted.address)
                kept.registration.leave()
                kept.registration.hurry()

    def _clear(self) -> None:
        """Forget what has been taken out, and look whether it has come again."""
        if self._is_alone:
            return
        for name, kept in list(self._kept.items()):
            is_left_alone = kept.told_at and self._clock() < kept.told_at + GRACE_S
            if kept.registration.over and not is_left_alone:
                del self._kept[name]
                self._look_at_each([name])

    def _tell(self, fault: Fault | None) -> None:
        """Say when the engine goes and when it is back, and not again in between."""
        if fault is None:
            if self._trouble:
                log.info("the engine answers again")
            self._trouble = ""
        elif isinstance(fault, EngineDenied) and not self._was_heard:
            raise fault
        else:
            is_other = isinstance(fault, EngineDenied) and str(fault) != self._trouble
            if is_other or not self._trouble:
                log.warning("%s; trying on, registrations stay while their ports answer", fault)
            self._trouble = str(fault)

    def _end(self, signal: str) -> int:
        self._stopped.set()
        staying = [one for one in self._kept.values() if not one.registration.leaving]
        text = "%s: %d registrations stay for %d s, for the next agent on this host"
        log.info(text, signal, len(staying), self._settings.model.ttl_s)
        for kept in self._kept.values():
            if kept.registration.leaving:
                kept.registration.hurry()
            else:
                kept.registration.abandon()
        give_up_at = self._clock() + LEAVE_S
        for kept in self._kept.values():
            kept.registration.join(max(0.0, give_up_at - self._clock()))
        return 0


def _settings_of(model: RegistrarSettings, wanted: Wanted) -> RegistrarSettings:
    """What one container is registered with."""
    health = model.health or HealthSettings()
    if wanted.health_path:
        health = replace(health, path=wanted.health_path)
    elif wanted.is_checked:
        # the engine has counted its failures already
        health = replace(health, failures=1, passes=1)
    return replace(
        model,
        branch=wanted.key.branch,
        service=wanted.key.service,
        place=PlaceSettings(wanted.address.ip, wanted.address.port, wanted.port),
        health=health,
    )


def _unseen() -> Connections | None:
    """The connections of a container are in a network namespace of its own."""
    return None
