"""From a branch and a service to host labels: one pure function, used by every program.

A label is one part of a host name, at most 63 characters. A branch and service have up to four
forms of one, tried in order: the plain one, then the branch's part cut and marked with 6, 12 or
24 hex digits of the SHA-256 of the branch's real name. Which form a branch and service carry is
decided in ``claims``; here is only which forms there are.
"""

import hashlib
import re

LABEL_MAX = 63
"""Characters in one label (RFC 1035, section 2.3.4)."""

SERVICE_SLUG_MAX = 40
"""Leaves 22 characters of a label for the branch: 15 of its name, a hyphen and 6 digits."""

RESERVED = frozenset({"branchfront"})
"""Labels kept for ourselves; nobody's claim may carry one."""

DIGITS = (6, 12, 24)
"""Lengths of the mark behind a cut name; the later ones are for the case that one is taken."""

_NOT_SLUG = re.compile(r"[^a-z0-9]+")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def slug(text: str) -> str:
    """Lower case, and every run of characters that a label cannot have becomes one hyphen."""
    return _NOT_SLUG.sub("-", text.lower()).strip("-")


def digits(branch: str, *, length: int = DIGITS[0]) -> str:
    """The first hex digits of the SHA-256 of the branch's real name in UTF-8."""
    return hashlib.sha256(branch.encode("utf-8", "surrogatepass")).hexdigest()[:length]


def branch_slug(branch: str) -> str:
    """The branch's slug; a name without a usable character gets ``b-`` and its digits."""
    return slug(branch) or f"b-{digits(branch)}"


def service_slug(service: str) -> str:
    """The service's slug.

    Raises:
        ValueError: The slug is empty or too long to leave the branch room in a label.
    """
    found = slug(service)
    if not found:
        raise ValueError(
            f"service {service!r} has no letter a-z and no digit, so no host name can be made of it"
        )
    if len(found) > SERVICE_SLUG_MAX:
        raise ValueError(
            f"service {service!r} is longer than {SERVICE_SLUG_MAX} characters as part of a"
            " host name; give it a shorter name"
        )
    return found


def long_labels(branch: str, service: str) -> tuple[str, ...]:
    """The forms of ``<branch>-<service>``, the one to try first in front.

    Raises:
        ValueError: No host name can be made of the service's name.
    """
    return _forms(branch, f"-{service_slug(service)}")


def short_labels(branch: str) -> tuple[str, ...]:
    """The forms of ``<branch>`` alone: what the default service has besides."""
    return _forms(branch, "")


def plain_labels(branch: str, service: str) -> tuple[str, str]:
    """The long and the short label as they are before anything is cut or marked: mostly theirs.

    Raises:
        ValueError: No host name can be made of the service's name.
    """
    stem = branch_slug(branch)
    return f"{stem}-{service_slug(service)}", stem


def is_label(text: str) -> bool:
    """Whether the text is one label of a host name, in lower case."""
    return _LABEL.fullmatch(text) is not None


def is_domain(text: str) -> bool:
    """Whether the text is a host name in lower case that leaves a label room in front of it."""
    # 253 characters a name (RFC 1035, section 2.3.4), less a label and its dot
    return len(text) <= 253 - LABEL_MAX - 1 and all(map(is_label, text.split(".")))


def _forms(branch: str, suffix: str) -> tuple[str, ...]:
    stem = branch_slug(branch)
    plain = stem + suffix
    cut = tuple(_cut(stem, f"-{digits(branch, length=length)}{suffix}") for length in DIGITS)
    # behind a service of more than 36 characters the longest mark leaves the name no room
    return tuple(form for form in (plain, *cut) if is_label(form) and form not in RESERVED)


def _cut(stem: str, ending: str) -> str:
    return stem[: LABEL_MAX - len(ending)].rstrip("-") + ending
