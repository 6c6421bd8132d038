"""Who carries which label: the one rule that keeps branches apart.

A label has one owner. A standing claim keeps what it carries, whoever leaves; a new one gets the
first form that no standing claim carries; where two carry one label, the claim that was created
first has it and the other is given another form. All of it is a pure function of the claims, so
every program comes to the same answer.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from registry.faults import LabelsExhausted
from registry.keys import ClaimKey, Keyspace, shown
from registry.names import RESERVED, long_labels, plain_labels, short_labels
from registry.records import ClaimRecord
from registry.remembering import remembered
from registry.snapshot import Entry


@dataclass(frozen=True, slots=True)
class Claim:
    """A standing claim.

    Attributes:
        labels: What it carries, as it stands in the registry.
        create_revision: When it was made; the lower one has a label that two carry.
        created: When it was made, in UTC; empty if nobody said.
    """

    key: ClaimKey
    labels: tuple[str, ...]
    create_revision: int
    created: str = ""


class RejectionKind(StrEnum):
    """What is wrong with a record, in as few words as a metric may tell apart."""

    INVALID = "invalid"  # it cannot be read
    ADDRESS = "address"  # nobody may be sent there
    EVICTED = "evicted"  # its address was registered later by somebody else
    CONFLICT = "conflict"  # a label of it belongs to an older claim
    NO_LABEL = "no label"  # no host name can be made of it


@dataclass(frozen=True, slots=True, order=True)
class Rejection:
    """A record that was left out.

    Attributes:
        key: As it stands in the registry, printable.
        reason: A sentence for whoever wrote the record.
    """

    key: str
    reason: str
    kind: RejectionKind = RejectionKind.INVALID


@dataclass(frozen=True, slots=True)
class Ownership:
    """The labels of every standing claim, each with one owner.

    Attributes:
        labels: What each claim is served under.
        owners: The same, the other way round.
        conflicts: Claims that carry a label which belongs to another.
    """

    labels: Mapping[ClaimKey, tuple[str, ...]]
    owners: Mapping[str, ClaimKey]
    conflicts: tuple[Rejection, ...] = ()


def new_labels(
    branch: str, service: str, *, default_service: str, taken: Collection[str]
) -> tuple[str, ...]:
    """The labels that a new claim gets: the long one, and the short one of the default service.

    Raises:
        LabelsExhausted: Every form of a label is taken.
        ValueError: No host name can be made of the service's name.
    """
    kinds = [long_labels(branch, service)]
    if service == default_service:
        kinds.append(short_labels(branch))
    labels: list[str] = []
    for forms in kinds:
        free = next((form for form in forms if form not in taken and form not in labels), None)
        if free is None:
            raise LabelsExhausted(
                f"every form of the label {forms[0]} is carried by another claim;"
                f" rename branch {branch!r} or remove a claim"
            )
        labels.append(free)
    return tuple(labels)


def read_claims(
    entries: Iterable[Entry], *, keys: Keyspace
) -> tuple[tuple[Claim, ...], tuple[Rejection, ...]]:
    """Parse the entries below ``claims/``; whatever is wrong is told apart, with its reason."""
    claims: list[Claim] = []
    rejections: list[Rejection] = []
    for entry in entries:
        found = _read(entry, keys)
        if isinstance(found, Claim):
            claims.append(found)
        else:
            rejections.append(found)
    _read.turn()
    return tuple(claims), tuple(rejections)


def settle_labels(claims: Iterable[Claim], *, keys: Keyspace) -> Ownership:
    """Give every label one owner; the order in which the claims come does not show."""
    by_age = sorted(claims, key=lambda claim: (claim.create_revision, claim.key))
    owners: dict[str, ClaimKey] = {}
    held: dict[ClaimKey, tuple[str, ...]] = {}
    losers: list[Claim] = []
    for claim in by_age:
        lost = False
        for label in claim.labels:
            owner = owners.setdefault(label, claim.key)
            lost |= owner is not claim.key and owner != claim.key
        if lost:
            losers.append(claim)
        held[claim.key] = claim.labels
    conflicts: list[Rejection] = []
    for claim in losers:
        kept = tuple(_own_or_other(claim, label, owners=owners) for label in claim.labels)
        held[claim.key] = tuple(label for label in kept if label)
        conflicts += [
            _conflict(claim, label, owners[label], now=now, keys=keys)
            for label, now in zip(claim.labels, kept, strict=True)
            if label != now
        ]
    return Ownership(held, owners, tuple(conflicts))


def _own_or_other(claim: Claim, label: str, *, owners: dict[str, ClaimKey]) -> str:
    """The label if it is the claim's own, else the first free form; empty if there is none."""
    if owners[label] == claim.key:
        return label
    long = long_labels(claim.key.branch, claim.key.service)
    forms = long if label in long else short_labels(claim.key.branch)
    # every label that any claim carries has its owner by now, so what is free is carried by none
    free = next((form for form in forms if form not in owners), "")
    if free:
        owners[free] = claim.key
    return free


def _conflict(claim: Claim, label: str, owner: ClaimKey, *, now: str, keys: Keyspace) -> Rejection:
    return Rejection(
        keys.raw(claim.key).decode(),
        f"label {label} belongs to branch {owner.branch!r} service {owner.service!r}, whose claim"
        f" is older; this one is served as {now or 'nothing: every form is taken'}",
        RejectionKind.CONFLICT,
    )


@remembered
def _read(entry: Entry, keys: Keyspace) -> Claim | Rejection:
    try:
        key = keys.parse(entry.key)
        if not isinstance(key, ClaimKey):
            raise ValueError("the key is not a claim's")
        record = ClaimRecord.parse(entry.value)
        _check_labels(key, record.labels)
    except ValueError as exc:
        return Rejection(shown(entry.key), str(exc))
    return Claim(key, record.labels, entry.create_revision, record.created)


def _check_labels(key: ClaimKey, labels: tuple[str, ...]) -> None:
    """Refuse a label that is no form of this branch and service: it would be another one's host.

    Raises:
        ValueError: Names the label.
    """
    plain = plain_labels(key.branch, key.service)
    for label in labels:
        if (label not in plain or label in RESERVED) and label not in _forms(key):
            raise ValueError(f"label {label} cannot be made of this branch and service")


def _forms(key: ClaimKey) -> tuple[str, ...]:
    return long_labels(key.branch, key.service) + short_labels(key.branch)
