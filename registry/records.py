"""Values of the registry, written and parsed in one place.

Everything that comes in is hostile until it is parsed: whatever a reader returns has been checked
by type, and whatever it cannot read raises ``ValueError`` with the reason as a sentence.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from registry.fields import (
    check_version,
    read_count,
    read_instant,
    read_line,
    read_object,
    read_string,
    read_text,
    write_object,
)
from registry.names import is_label

PORT_MAX = 65535
"""The largest port TCP has."""

TTL_MAX_S = 86400
"""A lease of a day outlives whatever it is for; as long as any setting in seconds may be."""

HEALTH_MAX = 200
"""Characters of a sentence about an instance's health; a page has room for as much."""

LABELS_MAX = 8
"""Labels in one claim: two forms a service, and room for what a later version may add."""

_PLAIN = re.compile(
    r"(?:\[(?P<v6>(?=[^\]]*:)[0-9A-Fa-f:.]{2,45})\]|(?P<v4>[0-9.]{7,15})):(?P<port>[0-9]{1,5})"
)


class State(StrEnum):
    """How far an instance is; only a ready one gets new requests."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where an instance is reached: an address, never a name.

    Attributes:
        ip: IPv4 or IPv6 in its canonical form, without brackets.
        port: 1 to 65535.

    Raises:
        ValueError: Either is out of range; an IPv4 address dressed as IPv6 is refused as well.
    """

    ip: str
    port: int

    def __post_init__(self) -> None:
        try:
            ip = ipaddress.ip_address(self.ip)
        except ValueError as exc:
            raise ValueError(f"{self.ip!r} is no IP address") from exc
        if isinstance(ip, ipaddress.IPv6Address) and (ip.ipv4_mapped or ip.scope_id):
            raise ValueError(f"{self.ip!r} has an IPv4 address or a zone in it; write it plainly")
        if not 1 <= self.port <= PORT_MAX:
            raise ValueError(f"port {self.port} is not between 1 and {PORT_MAX}")
        object.__setattr__(self, "ip", str(ip))

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``10.0.3.17:32768`` or ``[fd00::7]:8080``.

        Raises:
            ValueError: It is neither.
        """
        found = _PLAIN.fullmatch(text)
        if found is None:
            raise ValueError(f"{text[:60]!r} is no address such as 10.0.3.17:32768")
        return cls(found["v6"] or found["v4"], int(found["port"]))


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """The value under a route key.

    Shape:
        ``10.0.3.17:32768``, or ``{"address":"10.0.3.17:32768","state":"ready",
        "registered_at":"2026-11-21T09:00:00Z","ttl":15}``; fields we do not know are ignored.

    Attributes:
        registered_at: When its registrar first wrote it, in UTC; empty if nobody said.
        ttl_s: How long its lease outlives its registrar; 0 if nobody said.
        health: Why it is not ready: what it answered last when it was asked how it fares. Empty if
            it is ready, or was not asked yet.
    """

    address: Address
    state: State = State.READY
    registered_at: str = ""
    ttl_s: int = 0
    health: str = ""

    @classmethod
    def parse(cls, value: bytes) -> Self:
        """Read either form.

        Raises:
            ValueError: It is neither, or a field we know has the wrong type.
        """
        text = read_text(value).strip()
        if not text.startswith("{"):
            return cls(Address.parse(text))
        fields = read_object(text)
        state = read_string(fields, "state", default=State.READY)
        if state not in State.__members__.values():
            raise ValueError(f"state {state[:40]!r} is none of starting, ready and draining")
        ttl_s = read_count(fields, "ttl")
        if ttl_s > TTL_MAX_S:
            raise ValueError(f"ttl is more than {TTL_MAX_S} seconds")
        return cls(
            Address.parse(read_string(fields, "address")),
            State(state),
            read_instant(fields, "registered_at"),
            ttl_s,
            read_line(fields, "health")[:HEALTH_MAX],
        )

    def dump(self) -> bytes:
        """Write it: the plain form where there is nothing but the address."""
        is_plain = self.state is State.READY and not (self.registered_at or self.health)
        if is_plain and not self.ttl_s:
            return str(self.address).encode()
        fields: dict[str, Any] = {"address": str(self.address), "state": self.state.value}
        if self.registered_at:
            fields["registered_at"] = self.registered_at
        if self.ttl_s:
            fields["ttl"] = self.ttl_s
        if self.health:
            fields["health"] = self.health
        return write_object(fields)


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """The value under a claim key: the labels that a branch and service carry.

    Shape:
        ``{"version":1,"created":"2026-11-21T09:00:00Z","labels":["main-web","main"]}``
    """

    labels: tuple[str, ...]
    created: str = ""

    @classmethod
    def parse(cls, value: bytes) -> Self:
        """Read it.

        Raises:
            ValueError: It is no such record, or a label in it cannot stand in a host name.
        """
        fields = read_object(read_text(value))
        check_version(fields)
        labels = fields.get("labels")
        if not isinstance(labels, list) or not 1 <= len(labels) <= LABELS_MAX:
            raise ValueError(f"labels is no list of 1 to {LABELS_MAX} labels")
        for label in labels:
            if not isinstance(label, str) or not is_label(label):
                raise ValueError(f"{str(label)[:70]!r} in labels is no label of a host name")
        return cls(tuple(dict.fromkeys(labels)), read_instant(fields, "created"))

    def dump(self) -> bytes:
        """Write it."""
        return write_object({"version": 1, "created": self.created, "labels": list(self.labels)})


@dataclass(frozen=True, slots=True)
class FrontendRecord:
    """What one frontend reports of itself.

    Attributes:
        cluster_id: The etcd cluster that it follows.
        revision: The newest revision that all its new connections get.
        released: The newest revision that nothing older than is served, on any connection.
        generation: What its nginx serves.
        routes: How many routes are in it.
        rejected: How many records were left out; ``rejections`` has at most 50 of them, each
            with ``key`` and ``reason``.
        state: ``ok``, or what keeps it from applying, in a word.
        applied_at: When the generation was confirmed, in UTC.
        url: Scheme, domain and port that people use.
        address: Where its nginx listens.
        held: How many instances that the registry lost are served all the same.
        missed: How many keys a list has corrected since the start, because the watch had not
            told of them.
        table: Digest of the routes that are served: two frontends that serve the same have the
            same, whatever their settings. Empty if it does not say.
    """

    cluster_id: str = ""
    revision: int = 0
    released: int = 0
    generation: str = ""
    routes: int = 0
    rejected: int = 0
    rejections: tuple[dict[str, str], ...] = ()
    state: str = "ok"
    applied_at: str = ""
    domain: str = ""
    default_service: str = "web"
    url: str = ""
    address: str = ""
    held: int = 0
    missed: int = 0
    table: str = ""
    version: int = field(default=1)

    @classmethod
    def parse(cls, value: bytes) -> Self:
        """Read it.

        Raises:
            ValueError: It is no such record.
        """
        fields = read_object(read_text(value, limit=FRONTEND_MAX_BYTES))
        check_version(fields)
        return cls(
            cluster_id=read_line(fields, "cluster_id"),
            revision=read_count(fields, "revision"),
            released=read_count(fields, "released"),
            generation=read_line(fields, "generation"),
            routes=read_count(fields, "routes"),
            rejected=read_count(fields, "rejected"),
            rejections=_rejections(fields.get("rejections", [])),
            state=read_line(fields, "state", default="ok"),
            applied_at=read_line(fields, "applied_at"),
            domain=read_line(fields, "domain"),
            default_service=read_line(fields, "default_service", default="web"),
            url=read_line(fields, "url"),
            address=read_line(fields, "address"),
            held=read_count(fields, "held"),
            missed=read_count(fields, "missed"),
            table=read_line(fields, "table"),
        )

    def fields(self) -> dict[str, Any]:
        """What stands in the value, in the order of the contract."""
        names = ("version", *(name for name in self.__slots__ if name != "version"))
        return {name: getattr(self, name) for name in names}

    def dump(self) -> bytes:
        """Write it."""
        return write_object(self.fields())


FRONTEND_MAX_BYTES = 65536
"""50 rejections with a key and a sentence each come to about 20 kB."""


def _rejections(found: Any) -> tuple[dict[str, str], ...]:
    if not isinstance(found, list):
        raise ValueError("rejections is no list")
    return tuple(
        {name: read_line(one, name) for name in ("key", "reason")}
        for one in found
        if isinstance(one, dict)
    )
