"""One search for where we are: what is known so far, and who was asked for it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from registrar.aws.endpoint import Base
from registry.records import Address


class Reached(StrEnum):
    """How others reach a container."""

    AT_ITS_OWN = "at its own address"
    BY_THE_HOST = "at its host's address, which is its own"
    THROUGH_THE_HOST = "at its host's address, by a mapped port"


@dataclass(frozen=True, slots=True)
class PlaceSettings:
    """What the sources are told.

    Attributes:
        ip: ``IP``, or empty.
        host_port: ``HOST_PORT``, or 0.
        port: ``PORT``, where the service listens inside its container, or 0.
        endpoints: Of the registry, such as ``http://etcd:2379``.
        docker_host: Where the Docker engine listens; empty for the usual socket.
        container: The service's, by its name in the task; empty for the one that maps its port.
        is_within: The service runs in our own container.
        task_url: Of ECS task metadata; None outside of ECS.
        has_old_agent: This is a task of ECS that has only older metadata.
        metadata_file: ECS's file about our own container; empty if there is none.
        ec2_url: Of EC2 instance metadata; None where that is not to be asked.
        is_on_ec2: Somebody said so, by naming the endpoint.
    """

    ip: str = ""
    host_port: int = 0
    port: int = 0
    endpoints: tuple[str, ...] = ()
    docker_host: str = ""
    container: str = ""
    is_within: bool = False
    task_url: Base | None = None
    has_old_agent: bool = False
    metadata_file: str = ""
    ec2_url: Base | None = None
    is_on_ec2: bool = False


class Part(NamedTuple):
    """The ip or the port of an address, and which source said so."""

    value: str
    source: str


class Place(NamedTuple):
    """Where an instance is reached, and who said so."""

    ip: Part
    port: Part

    @property
    def address(self) -> Address:
        """As it is registered."""
        return Address(self.ip.value, int(self.port.value))


class Finding(NamedTuple):
    """What a source knows: empty and 0 for what it does not.

    Attributes:
        reached: None where it says nothing of that.
    """

    ip: str = ""
    port: int = 0
    reached: Reached | None = None


class Step(NamedTuple):
    """A source's turn: asked whom, got what, took what.

    Attributes:
        took_s: Seconds.
    """

    source: str
    asked: str
    answered: str
    took: str
    took_s: float


class Search:
    """What is known so far.

    Attributes:
        why_no_ip: Why those that know the host's ip did not say it, a sentence each.
    """

    def __init__(
        self, settings: PlaceSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing is known."""
        self.settings = settings
        self.ip: Part | None = None
        self.port: Part | None = None
        self.reached: Reached | None = None
        self.why_no_ip: list[str] = []
        self.steps: list[Step] = []
        self._clock = clock
        self._began_at = 0.0

    @property
    def place(self) -> Place | None:
        """What was looked for; None while a part of it is missing."""
        return Place(self.ip, self.port) if self.ip and self.port else None

    def begin(self, source: str) -> None:
        """It is a source's turn."""
        self._began_at = self._clock()
        self.steps.append(Step(source, "", "", "", 0.0))

    def note(self, asked: str, answered: str) -> None:
        """Write down whom the source asked, and what it got; the last one counts."""
        took_s = self._clock() - self._began_at
        self.steps[-1] = self.steps[-1]._replace(asked=asked, answered=answered, took_s=took_s)

    def take(self, finding: Finding) -> None:
        """Take from a finding what nobody has said before."""
        source, took = self.steps[-1].source, list[str]()
        if self.ip is None and finding.ip:
            self.ip = Part(finding.ip, source)
            took.append(f"ip {finding.ip}")
        if self.port is None and finding.port:
            self.port = Part(str(finding.port), source)
            took.append(f"port {finding.port}")
        self.reached = self.reached or finding.reached
        self.steps[-1] = self.steps[-1]._replace(took=", ".join(took))
