"""What ``run`` and ``sidecar`` have in common: the registration that the settings ask for."""

import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from registrar.aws import task_health
from registrar.aws.instance_metadata import InstanceMetadata
from registrar.aws.notices import NoticeWatch
from registrar.aws.task_health import TaskHealth
from registrar.aws.task_metadata import TaskMetadata
from registrar.aws.times import check_times
from registrar.bell import Bell
from registrar.by_hand import host_book, open_registrations
from registrar.connections import Connections, read_connections
from registrar.gate import Gate, GateSettings
from registrar.health import HealthSettings
from registrar.keep import Keep, Timing
from registrar.listener import Listener
from registrar.places import Finder, PlaceSettings
from registrar.probing import Ask, ask_path, ask_port
from registrar.registration import Patience, Registration
from registrar.served import probe_frontends, unreached
from registrar.settings import RegistrarSettings
from registry.faults import Fault, MetadataUnavailable, StoreUnreachable
from registry.keys import RouteKey, check_name
from registry.records import Address, InstanceRecord
from registry.registrations import Registered, Registrations

ID_BYTES = 6
"""Of chance in an instance's id: no two of a host's containers ever share one."""

URL_FIRST_S, URL_MOST_S = 0.5, 30.0
"""Between two looks for a first frontend, which as a rule is being started as well; then longer."""

OWN_HINT = (
    "does it listen on PORT, on 0.0.0.0? HEALTH_PATH, HEALTH_ADDRESS and HEALTH_TCP=off change"
    " what is asked"
)

LAST_LOOK_S = 0.5
"""Between two looks at whether ECS has told of the task; a notice leaves 120."""

HOST_NAME_MAX = 64
"""As long as Linux lets a host name be."""

log = logging.getLogger("registrar")


def instance_id() -> str:
    """A name for this incarnation that no other will ever have."""
    host = socket.gethostname()[:HOST_NAME_MAX] or "host"
    return f"{host}-{secrets.token_hex(ID_BYTES)}"


def instance_id_of(metadata: TaskMetadata, container: str) -> str:
    """A name for the container of a task, the same as often as it is restarted in place.

    Args:
        container: The service's; empty for the one that we run in.
    """
    try:
        own = metadata.own()
        # what stands before the last hyphen tells containers apart; of a task that is its id
        name = f"{own.task_id}-{(container or own.name).replace('-', '_')}"
        check_name(name)
    except (MetadataUnavailable, ValueError) as exc:
        log.warning("%s; the instance is named after its host", exc)
        return instance_id()
    return name if own.task_id else instance_id()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the way to a service depends on: who runs it, and where we stand beside it.

    Attributes:
        locate: Finds out where it is; asked until it answers, and anew with a new lease.
        ask: How its health is asked; None where that is taken for granted.
        connections: Looks at the connections of its port.
        sees_connections: They are in our network namespace for certain.
        gives_up_when_denied: A registry that refuses us ends us; else the service goes on.
        hint: What to look at where it does not get healthy.
        recalls: It runs already, and goes on with what an earlier registrar of it left.
    """

    locate: Callable[[], Address]
    ask: Ask | None
    connections: Callable[[], Connections | None]
    sees_connections: bool
    gives_up_when_denied: bool
    hint: str = ""
    recalls: bool = False


def make_registration(
    settings: RegistrarSettings, *, wake: Callable[[], None], beside_command: bool
) -> Registration:
    """Put together what registers the service that the settings describe; starts nothing.

    Args:
        wake: Called whenever the main thread should look again.
        beside_command: The service is our child, and so in our network namespace; the registry may
            refuse us, and the command still runs.
    """
    registrations = open_registrations(settings.reach)
    place = replace(settings.place, is_within=beside_command)
    finder = Finder(place)
    ask, hint = ask_of(settings.health, finder.task, place)
    surroundings = Surroundings(
        locate=lambda: finder.find().address,
        ask=ask,
        hint=hint,
        # outside of ECS no instance has the same name twice
        recalls=not beside_command and finder.task is not None,
        connections=lambda: read_connections(place.port),
        sees_connections=beside_command,
        gives_up_when_denied=not beside_command,
    )
    name = instance_id_of(finder.task, place.container) if finder.task else instance_id()
    key = RouteKey(settings.branch, settings.service, name)
    registration = assemble(key, settings, surroundings, registrations=registrations, wake=wake)
    if finder.task:
        warn_of_times(settings, registration.leaves_within_s, beside_command=beside_command)
    if settings.heeds_spot and finder.instance:
        heed_notices(finder.instance, registration, finder.task)
    return registration


def assemble(
    key: RouteKey,
    settings: RegistrarSettings,
    surroundings: Surroundings,
    *,
    registrations: Registrations,
    wake: Callable[[], None],
) -> Registration:
    """Put together what registers one instance; starts nothing.

    Args:
        wake: Called whenever whoever waits for it should look again.
    """
    bell = Bell()
    herald = Herald(registrations, settings, instance=key.instance, is_over=lambda: bell.stopped)
    keep = Keep(
        registrations,
        key,
        locate=surroundings.locate,
        ttl_s=settings.ttl_s,
        default_service=settings.reach.default_service,
        timing=Timing(bell.wait, bell.ring),
        listener=herald,
        recalls=surroundings.recalls,
        give_up_when_denied=surroundings.gives_up_when_denied,
    )
    health = settings.health or HealthSettings()
    gate_settings = GateSettings(
        health, surroundings.ask, settings.release_timeout_s, surroundings.hint
    )
    gate = herald.gate = Gate(keep, gate_settings, wake=wake)
    return Registration(
        keep,
        gate,
        bell=bell,
        patience=Patience(
            settings.release_timeout_s,
            settings.drain_s,
            sees_connections=surroundings.sees_connections,
        ),
        connections=surroundings.connections,
        wake=wake,
    )


def ask_of(
    health: HealthSettings | None, metadata: TaskMetadata | None, place: PlaceSettings
) -> tuple[Ask | None, str]:
    """How a service is asked, None where it is not; and what to look at where it does not pass."""
    if health is None:
        return None, ""
    if health.of_task and metadata is not None:
        asked = TaskHealth(
            metadata,
            port=place.port,
            container=place.container,
            is_within=place.is_within,
            maps=not place.host_port,
        )
        return asked, task_health.HINT
    return (ask_path(health.path) if health.path else ask_port), OWN_HINT


def warn_of_times(
    settings: RegistrarSettings, leaves_within_s: float, *, beside_command: bool
) -> None:
    """Say at the start what would be cut short at the end."""
    for warning in check_times(
        leaves_within_s, settings.stop_timeout_s, comes_first=not beside_command
    ):
        log.warning("%s", warning)


def heed_notices(
    metadata: InstanceMetadata, registration: Registration, task: TaskMetadata | None
) -> None:
    """Have a thread of its own ask for notices, as long as the registration stands."""
    watch = NoticeWatch(metadata, heed=registration.retire, wait=registration.wait_leaving)

    def work() -> None:
        # whoever looks for the address asks the agent; nobody else has to
        while task is not None and task.last is None:
            if registration.wait_leaving(LAST_LOOK_S):
                return
        if task is not None and task.last is not None and task.last.is_on_fargate:
            log.info("SPOT_NOTICE: on Fargate SIGTERM is the notice; there is nobody to ask")
        else:
            watch.run()

    threading.Thread(target=work, name="notices", daemon=True).start()


class Herald(Listener):
    """Tells the gate and the log how a registration gets on.

    What has to be asked for is asked on threads of their own: the frontends may take their time,
    and the lease has to be refreshed meanwhile.

    Attributes:
        gate: Set before the registration is started.
    """

    gate: Gate

    def __init__(
        self,
        registrations: Registrations,
        settings: RegistrarSettings,
        *,
        instance: str,
        is_over: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts nothing.

        Args:
            is_over: Whether there is nothing to tell any more.
        """
        self._is_over = is_over
        self._registrations = registrations
        self._settings = settings
        self._instance = instance
        self._clock = clock
        self._registered_at = 0.0
        self._is_ready = threading.Event()

    def located(self, address: Address) -> None:
        """Let the gate know."""
        self.gate.located(address)

    def tried(self) -> None:
        """Let the gate know."""
        self.gate.tried()

    def registered(self, done: Registered, record: InstanceRecord) -> None:
        """Let the gate know, and say under which URL the service is reached."""
        self._registered_at = self._clock()
        self.gate.registered(record, done.revision)
        threading.Thread(target=self._tell_url, name="tell", daemon=True).start()
        if self._settings.wait_s is not None:
            threading.Thread(target=self._tell_unready, name="unready", daemon=True).start()

    def ready(self, revision: int) -> None:
        """Say when every frontend has applied that, if that was wanted."""
        self._is_ready.set()
        wait_s = self._settings.wait_s
        if wait_s is not None:
            arguments = (revision, wait_s)
            thread = threading.Thread(target=self._tell_applied, args=arguments, daemon=True)
            thread.name = "wait"
            thread.start()

    def _tell_url(self) -> None:
        """Say under which URL the service is reached, as soon as a frontend has reported one."""
        registrations, settings = self._registrations, self._settings
        branch, service, words = settings.branch, settings.service, self._words()
        pause_s = URL_FIRST_S
        try:
            book = host_book(registrations, default_service=settings.reach.default_service)
            hosts = book.of(branch, service)
            for conflict in book.conflicts(branch, service):
                log.warning("%s", conflict, extra=words)
            if not hosts.url:
                label = hosts.labels[-1]
                log.info("host label %s; no frontend has reported yet", label, extra=words)
            while not (hosts.url or self._is_over()):
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, URL_MOST_S)
                # a registry that is away for a moment will be asked again
                with suppress(StoreUnreachable):
                    if registrations.frontends():
                        default = settings.reach.default_service
                        hosts = host_book(registrations, default_service=default).of(
                            branch, service
                        )
            if hosts.url:
                log.info("reached at %s", hosts.url, extra=words)
        except (Fault, ValueError) as fault:
            log.warning("the URL is not known: %s", fault, extra=words)

    def _tell_unready(self) -> None:
        """Say that there is nothing to be applied yet, where somebody waits for it."""
        if not self._is_ready.wait(self._settings.wait_s):
            text = "not ready %g s after it was registered, so no frontend sends requests here"
            log.warning(text, self._settings.wait_s, extra=self._words())

    def _tell_applied(self, revision: int, wait_s: float) -> None:
        """Say when every frontend has applied what was written at this revision."""
        ready_at = self._clock()
        try:
            late = self._registrations.wait_applied(revision, within_s=wait_s)
        except Fault as fault:
            log.warning("whether it is applied is not known: %s", fault, extra=self._words())
            return
        now = self._clock()
        took_s = round(now - ready_at, 3)
        for frontend in late:
            text = "frontend %s has not applied the registration in %g s"
            log.warning(text, frontend, wait_s, extra=self._words(took_s=took_s))
        if not late:
            text = (
                "all frontends have applied the registration: %.2f s after it was ready,"
                " %.2f s after it was registered"
            )
            since_s = now - self._registered_at
            log.info(text, took_s, since_s, extra=self._words(took_s=took_s))
            if self._settings.probe:
                self._tell_reached(ready_at, wait_s)

    def _tell_reached(self, ready_at: float, wait_s: float) -> None:
        """Say whether a request through each frontend has come to this very instance."""
        registrations, settings = self._registrations, self._settings
        try:
            book = host_book(registrations, default_service=settings.reach.default_service)
            hosts = book.of(settings.branch, settings.service)
            probed = probe_frontends(
                registrations.frontends,
                instance=self._instance,
                label=hosts.labels[0],
                path=(settings.health.path if settings.health else "") or "/",
                login=settings.probe_login,
                within_s=ready_at + wait_s - self._clock(),
                clock=self._clock,
            )
        except (Fault, ValueError) as fault:
            log.warning("whether it is reached is not known: %s", fault, extra=self._words())
            return
        took_s = round(self._clock() - ready_at, 3)
        missing = unreached(probed)
        is_turned_away = any(one.is_turned_away for one in probed)
        within = "" if is_turned_away else f" within {wait_s:g} s"
        for sentence in missing:
            text = "not reached%s: %s"
            log.warning(text, within, sentence, extra=self._words(took_s=took_s))
        if not missing:
            text = "reached through all frontends at %s after %.2f s"
            log.info(text, hosts.url, took_s, extra=self._words(took_s=took_s))

    def _words(self, **more: object) -> dict[str, object]:
        return {"branch": self._settings.branch, "service": self._settings.service, **more}
