"""Where am I? The sources, one module each, in the order in which they are asked.

A source gives what it knows: an ip, a port, both or neither. The first answer wins, for each of
the two on its own, so a given port goes together with an ip that was found out.

Where ECS says that a container is reached through its host, sources that know only our own address
are not asked: what they say would be right here, and lead nobody here from elsewhere. The metadata
file is asked before EC2 because it costs nothing, and cannot be kept from us by a hop limit.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from registrar.aws.instance_metadata import InstanceMetadata
from registrar.aws.task_metadata import TaskMetadata
from registrar.places import docker, ec2, ecs, given, metadata_file, socket
from registrar.places.search import (
    Finding,
    Part,
    Place,
    PlaceSettings,
    Reached,
    Search,
    Step,
)
from registry.faults import Fault, PlaceUnknown

__all__ = ["Finder", "Finding", "Part", "Place", "PlaceSettings", "Reached", "Search", "Step"]

log = logging.getLogger("registrar")

NOT_NEEDED = "not asked: all is known"


class Source(NamedTuple):
    """One of those that are asked.

    Attributes:
        look: Gives what it knows, and notes whom it asked.
        knows_host: It may say at which address our host is reached.
    """

    name: str
    look: Callable[[Search], Finding]
    knows_host: bool = True


class Finder:
    """Finds out where we are, as often as that is asked. Holds what AWS needs not be asked twice.

    Attributes:
        task: Asks ECS about our task; None outside of ECS.
        instance: Asks EC2 about our instance; None where that is not to be asked.
    """

    def __init__(
        self,
        settings: PlaceSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Asks nobody yet."""
        self.settings = settings
        self._clock = clock
        task, ec2 = settings.task_url, settings.ec2_url
        self.task = TaskMetadata(task, clock=clock, sleep=sleep) if task else None
        self.instance = InstanceMetadata(ec2, clock=clock, sleep=sleep) if ec2 else None
        self._sources = make_sources(self.task, self.instance)
        self._told: Place | None = None

    def find(self) -> Place:
        """Ask until both are known.

        Raises:
            PlaceUnknown: None of the sources knows the ip, or the port.
            Fault: Of a source that had to know.
        """
        place = self.search(Search(self.settings, clock=self._clock))
        if self.task is not None and place != self._told:
            # in a task nobody can look for themselves
            self._told = place
            text = "the address is %s (ip: %s; port: %s)"
            log.info(text, place.address, place.ip.source, place.port.source)
        return place

    def search(self, search: Search) -> Place:
        """The same, with a record of who was asked.

        Raises:
            PlaceUnknown: None of the sources knows the ip, or the port.
            Fault: Of a source that had to know.
        """
        return search_through(self._sources, search)


def make_sources(
    task: TaskMetadata | None, instance: InstanceMetadata | None
) -> tuple[Source, ...]:
    """All of them, in their order."""
    return (
        Source("IP and HOST_PORT", given.look),
        Source("ECS task metadata", lambda search: ecs.look(search, task)),
        Source("ECS metadata file", metadata_file.look),
        Source("EC2 instance metadata", lambda search: ec2.look(search, instance)),
        Source("the Docker engine", docker.look, knows_host=False),
        Source("PORT", given.look_at_port, knows_host=False),
        Source("the interface that reaches the registry", socket.look, knows_host=False),
    )


def search_through(sources: Sequence[Source], search: Search) -> Place:
    """Ask the sources in order; one that is not needed any more is not asked.

    A source that fails although it should know keeps the guesses from being made, and what it said
    is raised, unless another one that knows has the answer. Where it says that there is none,
    nobody else is asked: what they say would be no better.

    Raises:
        PlaceUnknown: None of them knows the ip, or the port.
        Fault: What kept the first one that should have known from knowing.
    """
    failed: Fault | None = None
    for source in sources:
        search.begin(source.name)
        if search.place is not None:
            search.note("", NOT_NEEDED)
        elif isinstance(failed, PlaceUnknown):
            search.note("", "not asked: there is no answer")
        elif not source.knows_host and (failed or search.reached is Reached.THROUGH_THE_HOST):
            search.note("", "not asked: it knows only this container's own address")
        else:
            try:
                search.take(source.look(search))
            except Fault as fault:
                failed = failed or fault
                search.note(search.steps[-1].asked, str(fault))
    if search.place is not None:
        return search.place
    raise failed or PlaceUnknown(_explain(search))


def _explain(search: Search) -> str:
    if search.port is None and search.reached is Reached.THROUGH_THE_HOST:
        return (
            f"nobody says which port of the host leads to port {search.settings.port} of this"
            " container; is it mapped in the task definition? HOST_PORT would say it"
        )
    if search.port is None:
        return "no source knows the port at which this service is reached; set PORT"
    if search.reached is Reached.THROUGH_THE_HOST:
        why = "; ".join(search.why_no_ip) or "nobody was asked for it"
        return (
            f"port {search.port.value} of the instance leads here, and its ip is not known ({why});"
            " make EC2's metadata reachable, have ECS's agent write it into its file"
            " (ECS_ENABLE_CONTAINER_METADATA=true), or set IP"
        )
    return socket.explain(search.settings.endpoints)
