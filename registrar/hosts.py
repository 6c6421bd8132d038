"""Which hosts a branch's service has, and the URL that people open. Pure.

The labels come from the claims, scheme and domain and port from what a frontend has reported; so
nobody has to tell a registrar the domain.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from registry.claims import Claim, new_labels, settle_labels
from registry.keys import ClaimKey, Keyspace
from registry.names import is_domain, long_labels, short_labels
from registry.records import FrontendRecord

PORTS = {"http": 80, "https": 443}
"""What a URL does not say."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """What a service is served under.

    Attributes:
        labels: The shortest last.
        hosts: The same with the domain; empty if no frontend has reported.
        url: Of the shortest host; empty likewise.
        claimed: Whether the labels are its own, or only what it would get now.
    """

    labels: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    url: str = ""
    claimed: bool = True


class HostBook:
    """The hosts of all services, by the claims and what the frontends say.

    Attributes:
        default_service: The one with the short host; a frontend has the last word.
    """

    def __init__(
        self,
        claims: Sequence[Claim],
        frontends: Iterable[FrontendRecord],
        *,
        default_service: str,
        keys: Keyspace,
    ) -> None:
        records = [record for record in frontends if _is_usable(record)]
        self._frontend = records[0] if records else None
        self._keys = keys
        self._ownership = settle_labels(claims, keys=keys)
        self._claims = {claim.key: claim for claim in claims}
        self.default_service = self._frontend.default_service if self._frontend else default_service

    @property
    def served(self) -> bool:
        """Whether a frontend has reported, so that there are URLs."""
        return self._frontend is not None

    def of(self, branch: str, service: str) -> Hosts:
        """The hosts of one service.

        Raises:
            LabelsExhausted: It has no claim, and could not get one.
            ValueError: No host name can be made of the service's name.
        """
        key = ClaimKey(branch, service)
        claimed = key in self._claims
        labels = self._ownership.labels.get(key, ()) or new_labels(
            branch, service, default_service=self.default_service, taken=self._ownership.owners
        )
        short = short_labels(branch)
        labels = tuple(sorted(labels, key=lambda label: label in short))
        frontend = self._frontend
        if frontend is None:
            return Hosts(labels, claimed=claimed)
        hosts = tuple(f"{label}.{frontend.domain}" for label in labels)
        parts = urlsplit(frontend.url)
        port = parts.port or PORTS[parts.scheme]
        shown = "" if port == PORTS[parts.scheme] else f":{port}"
        url = f"{parts.scheme}://{hosts[-1]}{shown}"
        return Hosts(labels, hosts, url, claimed=claimed)

    def conflicts(self, branch: str, service: str) -> tuple[str, ...]:
        """What both sides are told: who has our plain label, and who wanted the one we have."""
        key = ClaimKey(branch, service)
        found: list[str] = []
        for plain, label in self._kinds(key):
            owner = self._ownership.owners.get(plain)
            if label != plain and owner is not None:
                found.append(
                    f"the label {plain} belongs to branch {owner.branch!r} service"
                    f" {owner.service!r}; this one is served as {label}"
                )
            elif label == plain:
                found += [
                    f"branch {other.branch!r} service {other.service!r} is served as {given},"
                    f" because {plain} belongs to branch {branch!r} service {service!r}"
                    for other in self._claims
                    if other != key
                    for wanted, given in self._kinds(other)
                    if wanted == plain != given
                ]
        return tuple(found)

    def _kinds(self, key: ClaimKey) -> list[tuple[str, str]]:
        """For the long and the short label of a claim: the plain form, and what it has."""
        labels = self._ownership.labels.get(key, ())
        return [
            (forms[0], label)
            for forms in (long_labels(key.branch, key.service), short_labels(key.branch))
            for label in labels
            if label in forms
        ]


def _is_usable(record: FrontendRecord) -> bool:
    """Whether URLs can be made of what a frontend says; anyone may have written it."""
    try:
        parts = urlsplit(record.url)
        usable = parts.scheme in PORTS and parts.port != 0
    except ValueError:
        return False
    return usable and is_domain(record.domain)
