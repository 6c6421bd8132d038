"""Why a host is not served: from what was asked and what is known of it. Pure.

nginx has decided the status by then. What is known here may be a moment newer than that.
"""

import re
import shlex
from dataclasses import dataclass, replace

from regenerator.dashboard.board import InstanceView, RejectionView, ServiceView, Status
from regenerator.dashboard.history.changes import Change, ChangeKind, is_seen
from regenerator.dashboard.reasons import sentences
from regenerator.dashboard.reasons.asking import Verdict
from regenerator.dashboard.reasons.sentences import Said, Word
from regenerator.instants import seconds_of
from registry.claims import RejectionKind

WAIT_S = 5
"""Seconds until another look is worth while: a deployment takes some of them."""

STARTING_WAIT_S = 2
"""The same for a service that is about to be there."""

FRESH_S = 600
"""After so long nobody is in the middle of a deployment any more."""

STALE_WAIT_S = 60
"""Seconds between two looks of a page that somebody left open."""

GATEWAY_TIMEOUT = 504


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request was about, as nginx says.

    Attributes:
        host: In lower case; empty where it had characters that no host has.
        branch: By its real name; empty if nobody's.
        address: The last one that was tried; empty if none was.
    """

    status: int
    host: str = ""
    branch: str = ""
    service: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of it.

    Attributes:
        service: None if nothing is registered, and nobody has the host.
        rejections: What of it was left out.
        change: The newest one that explains why it is not there.
        verdict: What the address said when it was asked, a moment ago.
        is_open: Who sees the page may see the list of branches as well. Else no other branch is
            named, and no address.
    """

    domain: str
    service: ServiceView | None = None
    rejections: tuple[RejectionView, ...] = ()
    change: Change | None = None
    verdict: Verdict = Verdict.UNKNOWN
    read_timeout_s: int = 60
    is_open: bool = True


@dataclass(frozen=True, slots=True)
class Reason:
    """Why, for people and for programs.

    Attributes:
        since: Since when, in seconds since 1970; 0 if nobody knows.
        wait_s: Until another try is worth while; 0 where waiting does not help.
        is_watched: Who has the page open waits for the service to come up.
        command: What shows more to who may use it; empty for nothing.
        instances: All that is registered of it.
        conflicts: What is wrong with its hosts, in sentences.
    """

    word: Word
    title: str = ""
    detail: str = ""
    advice: str = ""
    since: float = 0.0
    wait_s: int = 0
    is_watched: bool = False
    command: str = ""
    instances: tuple[InstanceView, ...] = ()
    conflicts: tuple[str, ...] = ()


def explain(asked: Asked, known: Known) -> Reason:
    """Say why."""
    match asked.status:
        case 405:
            return Reason(Word.READ_ONLY)
        case 404:
            reason = _explain_unknown(asked, known)
        case 502 | 504:
            reason = _explain_unanswered(asked, known)
        case 508:
            reason = Reason(Word.LOOP)
        case _:
            reason = _explain_not_ready(asked, known)
    if known.service is None:
        return reason
    is_open = known.is_open
    conflicts = known.service.conflicts if is_open else _harmless_conflicts(known.service)
    return replace(
        reason,
        instances=known.service.instances if is_open else (),
        conflicts=tuple(map(_sentence, conflicts)),
    )


def look_again_s(reason: Reason, *, now: float) -> int:
    """Seconds until a page looks again by itself; 0 for never."""
    if not reason.is_watched:
        return 0
    return WAIT_S if not reason.since or now - reason.since < FRESH_S else STALE_WAIT_S


def _explain_unknown(asked: Asked, known: Known) -> Reason:
    """Nobody has the host."""
    if known.service or known.rejections:
        # what is rejected may have no host; what else is known was registered just now
        return _explain_not_ready(asked, known)
    if asked.host == known.domain:
        return Reason(*sentences.NO_SUCH_PAGE)
    if asked.host and not asked.host.endswith(f".{known.domain}"):
        return Reason(*_filled(sentences.NOT_OURS, domain=known.domain))
    if change := known.change:
        said = _filled(sentences.BRANCH_REMOVED, branch=change.branch, service=change.service)
        command = _command("regenerator", "history", change.branch, change.service)
        return Reason(*said, since=change.at, command=command)
    return Reason(*sentences.NEVER_REGISTERED, command=_command("registrar", "list"))


def _explain_not_ready(asked: Asked, known: Known) -> Reason:
    """Nothing of a service gets requests."""
    service = known.service
    status = service.status if service else Status.GONE
    first = (
        next((one for one in service.instances if one.status is status), None) if service else None
    )
    if status in (Status.SERVING, Status.HELD):
        return Reason(*sentences.READY, wait_s=STARTING_WAIT_S, is_watched=True)
    if status is Status.REJECTED or (status is Status.GONE and _left_out(known)):
        return _explain_rejected(known)
    if first is None:
        return _explain_gone(asked, known)
    said, kind, wait_s = {
        Status.STARTING: (sentences.STARTING, ChangeKind.STARTING, STARTING_WAIT_S),
        Status.UNHEALTHY: (sentences.UNHEALTHY, ChangeKind.UNHEALTHY, WAIT_S),
        Status.LEAVING: (sentences.LEAVING, ChangeKind.DRAINING, WAIT_S),
    }[status]
    change = known.change if known.change and known.change.kind is kind else None
    # it has been starting since it was registered; of the others nobody but the history knows
    otherwise = _registered_at(first) if status is Status.STARTING else 0.0
    shows = ("registrar", "list") if status is not Status.LEAVING else ("regenerator", "history")
    return Reason(
        *said._replace(detail=_sentence(_harmless(first.reason, known))),
        since=change.at if change else otherwise,
        wait_s=wait_s,
        is_watched=True,
        command=_command(*shows, asked.branch),
    )


def _explain_gone(asked: Asked, known: Known) -> Reason:
    """Nothing of a service is registered."""
    change = known.change
    if change is not None and not (change.kind in sentences.GONE and is_seen(change)):
        change = None
    return Reason(
        *(sentences.GONE[change.kind] if change else sentences.NOT_RUNNING),
        since=change.at if change else 0.0,
        wait_s=WAIT_S,
        is_watched=True,
        command=_command("regenerator", "history", asked.branch, asked.service),
    )


def _explain_rejected(known: Known) -> Reason:
    """All that is registered of a service is left out."""
    views = _left_out(known)
    reasons = [one.reason if known.is_open else sentences.REJECTIONS[one.kind][0] for one in views]
    advice = [sentences.REJECTIONS[one.kind][1] for one in views]
    said = sentences.REJECTED._replace(
        detail=" ".join(map(_sentence, dict.fromkeys(reasons))),
        advice=" ".join(dict.fromkeys(advice)),
    )
    return Reason(*said, command=_command("regenerator", "status"))


def _left_out(known: Known) -> list[RejectionView]:
    """The rejections that keep instances away: a conflict is about a host alone."""
    return [one for one in known.rejections if one.kind is not RejectionKind.CONFLICT]


def _explain_unanswered(asked: Asked, known: Known) -> Reason:
    """An instance was asked, and did not answer as it should."""
    instances = known.service.instances if known.service else ()
    instance = next((one for one in instances if one.address == asked.address), None)
    is_served = instance is not None and instance.status in (Status.SERVING, Status.HELD)
    if asked.address and not is_served:
        # it was taken out meanwhile, and why that was is what is wrong with it
        return _explain_not_ready(asked, known)
    said = _judge(asked, known)
    if instance and instance.status is Status.HELD:
        held = sentences.HELD
        said = Said(held.word, said.title, f"{said.detail} {held.detail}".strip(), held.advice)
    elif instance and instance.reason:
        said = said._replace(detail=f"{said.detail} {_sentence(_harmless(instance.reason, known))}")
    return Reason(
        *said,
        wait_s=WAIT_S,
        # to ask once more what broke off, or is stuck, could be what breaks it
        is_watched=said.word in (Word.REFUSED, Word.UNREACHABLE, Word.HELD),
        command=_command("registrar", "list", asked.branch),
    )


def _judge(asked: Asked, known: Known) -> Said:
    """What is wrong with an instance that is served."""
    found = {
        Verdict.REFUSES: sentences.REFUSED,
        Verdict.HANGS_UP: sentences.HANGS_UP,
        Verdict.SILENT: sentences.UNREACHABLE,
        Verdict.ACCEPTS: sentences.BROKE_OFF,
    }
    said = found.get(known.verdict, sentences.UNANSWERED)
    if asked.status == GATEWAY_TIMEOUT and known.verdict in (Verdict.ACCEPTS, Verdict.UNKNOWN):
        said = sentences.LATE
    it = asked.address if known.is_open and asked.address else "The instance"
    return _filled(said, it=it, limit_s=str(known.read_timeout_s))


def _filled(said: Said, **values: str) -> Said:
    return said._replace(detail=said.detail.format(**values))


_ADDRESS = re.compile(r"(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?")


def _harmless(text: str, known: Known) -> str:
    """What an instance answered, without addresses where those are nobody's business."""
    return text if known.is_open else _ADDRESS.sub("its address", text)


def _harmless_conflicts(service: ServiceView) -> tuple[str, ...]:
    """The same of what is wrong with its hosts."""
    return (sentences.REJECTIONS[RejectionKind.CONFLICT][0],) if service.conflicts else ()


def _sentence(text: str) -> str:
    end = "" if not text or text.endswith((".", "!", "?")) else "."
    return f"{text[:1].upper()}{text[1:]}{end}"


def _command(*words: str) -> str:
    """A command line, with names as a shell takes them."""
    program, given = words[:2], words[2:]
    end = ["--"] if any(word.startswith("-") for word in given) else []
    return shlex.join([*program, *end, *given])


def _registered_at(instance: InstanceView) -> float:
    """In seconds since 1970; 0 if nobody said."""
    return seconds_of(instance.registered_at) or 0.0
