"""What our pages say, for each reason there is. Pure.

Where a title, or a sentence, is empty, ``words.j2`` has one for the status.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from regenerator.dashboard.history.changes import ChangeKind
from registry.claims import RejectionKind


class Word(StrEnum):
    """Why, in a word that programs may rely on."""

    READ_ONLY = "read-only"
    NO_SUCH_PAGE = "no-such-page"
    NEVER_REGISTERED = "never-registered"
    REMOVED = "removed"  # by a hand, or with its whole branch
    DEREGISTERED = "deregistered"  # its registrar took it out
    EXPIRED = "expired"  # its registrar died, or lost the registry
    NOT_RUNNING = "not-running"  # and nobody knows since when
    STARTING = "starting"
    UNHEALTHY = "unhealthy"
    LEAVING = "leaving"
    REJECTED = "rejected"
    READY = "ready"  # by now
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    BROKE_OFF = "broke-off"
    HELD = "held"
    LATE = "late"
    LOOP = "loop"


class Said(NamedTuple):
    """What is said of a reason.

    Attributes:
        detail: What is so, in sentences.
        advice: What to do, in sentences.
    """

    word: Word
    title: str = ""
    detail: str = ""
    advice: str = ""


NO_SUCH_PAGE = Said(
    Word.NO_SUCH_PAGE,
    "There is no such page",
    "This is the frontend's own host, and it has nothing at this path.",
    "The list of branches is at its top.",
)
NOT_OURS = Said(
    Word.NEVER_REGISTERED,
    detail="Hosts of branches end in .{domain}, and this one does not.",
    advice="Check the spelling, or pick the branch from the list.",
)
NEVER_REGISTERED = Said(
    Word.NEVER_REGISTERED,
    detail="No service has registered under this host, as far back as this frontend remembers.",
    advice="Check the spelling. If it is right, the service has not started yet, or its registrar"
    " does not reach the registry: then its log says so.",
)
BRANCH_REMOVED = Said(
    Word.REMOVED,
    "This host is nobody's any more",
    "This host was that of service {service} of branch {branch}, which was taken out of the"
    " registry.",
    "Deploy the branch again: it gets the same host, unless another one has that by then.",
)
READY = Said(
    Word.READY,
    "This service is ready by now",
    "It became ready while this request was on its way.",
    "Load this page again.",
)
STARTING = Said(
    Word.STARTING,
    "This service is starting",
    advice="Wait a moment. If it takes long, its log says what it waits for.",
)
UNHEALTHY = Said(
    Word.UNHEALTHY,
    "This service does not pass its health check",
    advice="Look at its log. It gets requests as soon as it passes.",
)
LEAVING = Said(
    Word.LEAVING,
    "This service is stopping",
    advice="Start it again, or wait until its successor is there; the host stays the same.",
)

_STOPPED = "This service is not running"
NOT_RUNNING = Said(
    Word.NOT_RUNNING,
    _STOPPED,
    "Nothing of it is registered, and this frontend has not seen it leave.",
    "Start it, or wait until its deployment is through; the host stays the same.",
)
GONE: Mapping[ChangeKind, Said] = {
    ChangeKind.DEREGISTERED: Said(
        Word.DEREGISTERED,
        _STOPPED,
        "It was stopped: its registrar took it out of the registry.",
        "Start it again, or wait until its deployment is through; the host stays the same.",
    ),
    ChangeKind.EXPIRED: Said(
        Word.EXPIRED,
        _STOPPED,
        "It went without a word: its registrar was killed, or lost the registry, and its lease"
        " ran out.",
        "Look at whether its container still runs, and at what its log says last.",
    ),
    ChangeKind.REMOVED: Said(
        Word.REMOVED,
        _STOPPED,
        "It was taken out of the registry by hand.",
        "Register it again; the host stays the same.",
    ),
    ChangeKind.UNCLAIMED: Said(
        Word.REMOVED,
        _STOPPED,
        "Its branch was taken out of the registry.",
        "Deploy the branch again.",
    ),
    ChangeKind.RELEASED: Said(
        Word.EXPIRED,
        _STOPPED,
        "The registry had lost it, and an operator let go of it with regenerator release.",
        "Start it again; the host stays the same.",
    ),
}
"""By how it left."""

REJECTED = Said(Word.REJECTED, "This service's registration is refused")
REJECTIONS: Mapping[RejectionKind, tuple[str, str]] = {
    RejectionKind.INVALID: (
        "what is registered cannot be read",
        "Register it anew: with registrar run in its image, or with registrar add by hand.",
    ),
    RejectionKind.ADDRESS: (
        "its address may not be used here",
        "Register one that ALLOW_NETWORKS and ALLOW_PORTS let in; metadata services never are.",
    ),
    RejectionKind.EVICTED: (
        "its address was registered later by somebody else",
        "The container that had this address is gone: start the service again.",
    ),
    RejectionKind.CONFLICT: (
        "a host that it asks for belongs to an older claim",
        "Use the host that it has instead, or remove the older claim.",
    ),
    RejectionKind.NO_LABEL: (
        "no host can be made of its name",
        "Rename the branch or the service.",
    ),
}
"""What may be said to everybody, and what to do."""

_AT_A_LOSS = "Look at whether it runs, and listens on the port that it registered"
UNANSWERED = Said(Word.REFUSED)
REFUSED = Said(
    Word.REFUSED,
    "The service does not accept connections",
    "{it} refuses connections: nobody listens there.",
    f"{_AT_A_LOSS}, and not on 127.0.0.1 alone.",
)
HANGS_UP = Said(
    Word.REFUSED,
    "The service does not accept connections",
    "{it} hangs up at once: nobody listens behind that port.",
    f"{_AT_A_LOSS}.",
)
UNREACHABLE = Said(
    Word.UNREACHABLE,
    "The service cannot be reached",
    "{it} does not answer: no connection came about.",
    "Look at whether its container and its host still run, and whether a firewall is in between.",
)
BROKE_OFF = Said(
    Word.BROKE_OFF,
    "The service broke off",
    "{it} accepts connections now, but broke this request off.",
    "Look at its log: it may have crashed over it, or have just been started.",
)
LATE = Said(
    Word.LATE,
    "The service takes too long to answer",
    "{it} took the request, and had not answered after {limit_s} s.",
    "Look at its log: it may be overloaded, or stuck. READ_TIMEOUT says how long frontends wait.",
)
HELD = Said(
    Word.HELD,
    detail="The registry has lost it, and it is served only because too much was lost at once.",
    advice="Start it again, so that it registers anew. If it is gone for good, an operator lets go"
    " of it with regenerator release.",
)
