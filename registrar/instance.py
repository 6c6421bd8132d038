"""What ``run`` and ``sidecar`` have in common: the registration that the settings ask for."""

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable

from registrar.by_hand import host_book, open_registrations
from registrar.connections import read_connections
from registrar.keep import Keep, Timing
from registrar.places import PlaceSettings, find_place
from registrar.registration import Patience, Registration
from registrar.settings import RegistrarSettings
from registry.faults import Fault
from registry.keys import RouteKey
from registry.records import Address
from registry.registrations import Registered, Registrations

ID_BYTES = 6
"""Of chance in an instance's id: no two of a host's containers ever share one."""

HOST_NAME_MAX = 64
"""As long as Linux lets a host name be."""

log = logging.getLogger("registrar")


def instance_id() -> str:
    """A name for this incarnation that no other will ever have."""
    host = socket.gethostname()[:HOST_NAME_MAX] or "host"
    return f"{host}-{secrets.token_hex(ID_BYTES)}"


def make_registration(
    settings: RegistrarSettings, *, wake: Callable[[], None], beside_command: bool
) -> Registration:
    """Put together what registers the service that the settings describe; starts nothing.

    Args:
        wake: Called whenever the main thread should look again.
        beside_command: The service is our child, and so in our network namespace; the registry may
            refuse us, and the command still runs.
    """
    warn_of_missing_sources(settings.place)
    registrations = open_registrations(settings.reach)
    key = RouteKey(settings.branch, settings.service, instance_id())

    def locate() -> Address:
        return find_place(settings.place).address

    def tell(registered: Registered) -> None:
        # the frontends may take their time, and the lease has to be refreshed meanwhile
        arguments = (registrations, registered, settings)
        threading.Thread(target=_tell, args=arguments, name="tell", daemon=True).start()

    def make_keep(wait: Callable[[float], bool]) -> Keep:
        return Keep(
            registrations,
            key,
            locate=locate,
            ttl_s=settings.ttl_s,
            default_service=settings.reach.default_service,
            timing=Timing(wait),
            on_registered=tell,
            give_up_when_denied=not beside_command,
        )

    return Registration(
        make_keep,
        patience=Patience(
            settings.release_timeout_s, settings.drain_s, sees_connections=beside_command
        ),
        connections=lambda: read_connections(settings.place.port),
        wake=wake,
    )


def warn_of_missing_sources(place: PlaceSettings) -> None:
    """Say where we would guess, because a source that knows better is not there yet."""
    if os.environ.get("ECS_CONTAINER_METADATA_URI_V4") and not (place.ip and place.host_port):
        log.warning("ECS task metadata is not read yet; set IP and HOST_PORT")


def _tell(
    registrations: Registrations, registered: Registered, settings: RegistrarSettings
) -> None:
    """Say under which URL the service is reached, once it is known."""
    branch, service = settings.branch, settings.service
    words = {"branch": branch, "service": service}
    try:
        book = host_book(registrations, default_service=settings.reach.default_service)
        hosts = book.of(branch, service)
        if hosts.url:
            log.info("reached at %s", hosts.url, extra=words)
        else:
            label = hosts.labels[-1]
            log.info("host label %s; no frontend has reported yet", label, extra=words)
        for conflict in book.conflicts(branch, service):
            log.warning("%s", conflict, extra=words)
        if settings.wait_s is not None:
            _tell_applied(registrations, registered.revision, settings.wait_s)
    except (Fault, ValueError) as fault:
        log.warning("the URL is not known: %s", fault, extra=words)


def _tell_applied(registrations: Registrations, revision: int, wait_s: float) -> None:
    late = registrations.wait_applied(revision, within_s=wait_s)
    for frontend in late:
        log.warning("frontend %s has not applied the registration in %g s", frontend, wait_s)
    if not late:
        log.info("all frontends have applied the registration")
