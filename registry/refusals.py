"""What an answer that is no success asks of us. Pure.

Etcd 3.4, etcd 3.5, a cancelled watch and a gateway that is none each say it in another shape; here
they become one verdict and one sentence.
"""

import json
from enum import Enum, auto
from typing import Any

TEXT_MAX = 300
"""Characters of a stranger's text that are repeated: its sentence, not its whole page."""


class Verdict(Enum):
    """What an answer that is no success asks of us."""

    RETRY = auto()  # the same again, later or elsewhere
    LOGIN = auto()  # the token is missing, too old or unknown
    NO_AUTH = auto()  # the server has no users, so it needs no token
    DENIED = auto()  # nobody but the operator can help
    LEASE_GONE = auto()  # the lease does not exist any more
    MALFORMED = auto()  # etcd understood the call and does not take it
    STRANGE = auto()  # this is not etcd's gateway


class Refused(Exception):
    """An answer that is no success; the caller knows the endpoint and makes a fault of it."""

    def __init__(self, verdict: Verdict, text: str) -> None:
        super().__init__(text)
        self.verdict = verdict
        self.text = text


def judge(error: Any, *, status: int = 200) -> Refused:
    """Sort an error.

    Args:
        error: The document: ``code`` and ``message`` in an answer, ``grpc_code`` in a stream of
            3.4, a cancel reason alone in a watch, or the text of something that is no gateway.
        status: HTTP's.
    """
    if not isinstance(error, dict):
        return _judge_stranger(str(error), status)
    code = error.get("grpc_code") or error.get("code")
    text = printable(str(error.get("message") or error.get("error") or "no reason given"))
    for part, verdict in _BY_TEXT:
        if part in text:
            return Refused(verdict, text)
    verdict = _BY_CODE.get(code, Verdict.RETRY) if isinstance(code, int) else Verdict.RETRY
    return Refused(verdict, text)


def judge_answer(status: int, text: bytes) -> Refused:
    """Sort an answer whose HTTP status is not 200."""
    try:
        document = json.loads(text)
    except ValueError:
        document = printable(text)
    return judge(document, status=status)


def printable(text: str | bytes) -> str:
    """A stranger's text on one line, cut, without control characters."""
    raw = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    line = " ".join("".join(c if c.isprintable() else " " for c in raw[: 4 * TEXT_MAX]).split())
    return line if len(line) <= TEXT_MAX else f"{line[:TEXT_MAX]}…"


_BY_TEXT = (
    # texts come before codes: the codes differ between versions, and a cancel reason has none
    ("authentication is not enabled", Verdict.NO_AUTH),
    ("authentication failed", Verdict.DENIED),
    ("permission denied", Verdict.DENIED),
    ("PermissionDenied", Verdict.DENIED),
    ("invalid auth token", Verdict.LOGIN),
    ("revision of auth store is old", Verdict.LOGIN),
    ("revision in header is old", Verdict.LOGIN),  # 3.5.1, as code 2
    ("user name is empty", Verdict.LOGIN),
    ("lease not found", Verdict.LEASE_GONE),
    ("not a primary lessor", Verdict.RETRY),
)
_BY_CODE = {
    # gRPC's; what is not listed is worth another try: cancelled 1, unknown 2, deadline 4,
    # exhausted 8, internal 13, unavailable 14
    3: Verdict.MALFORMED,
    5: Verdict.STRANGE,
    7: Verdict.DENIED,
    9: Verdict.MALFORMED,
    11: Verdict.MALFORMED,
    12: Verdict.STRANGE,
    16: Verdict.LOGIN,
}
_HTTP_SERVER_FAULT = 500


def _judge_stranger(text: str, status: int) -> Refused:
    if "CommonName of client" in text:
        return Refused(
            Verdict.DENIED,
            "with users enabled, etcd's gateway takes only client certificates without a CN"
            " (CommonName); use one without, and user and password",
        )
    # something in between, a load balancer perhaps, says that etcd is away
    away = status >= _HTTP_SERVER_FAULT
    return Refused(
        Verdict.RETRY if away else Verdict.STRANGE, f"HTTP {status}, {text or 'no text'}"
    )
