"""What went wrong on the way to etcd, as a fault of ours with one sentence.

The exceptions of ``requests`` and urllib3 wrap each other up to five deep, and their texts show
object addresses; what an operator needs is the innermost reason and the endpoint.
"""

import ssl
from http.client import IncompleteRead

from requests.exceptions import ConnectTimeout
from urllib3.exceptions import (
    ConnectTimeoutError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
)

from registry.faults import Fault, LeaseLost, StoreDenied, StoreMisspoken, StoreUnreachable
from registry.refusals import Refused, Verdict, printable


class NotSent(StoreUnreachable):
    """No connection came to be, so nothing was applied either."""


def explain(exc: BaseException, *, endpoint: str, limit_s: float, sent: bool = False) -> Fault:
    """Make a fault of an exception.

    Args:
        exc: From ``requests`` or urllib3.
        endpoint: Without credentials.
        limit_s: How long the call was allowed to take.
        sent: The request was already on its way.
    """
    causes = _causes(exc)
    if any(isinstance(cause, ReadTimeoutError) for cause in causes):
        return StoreUnreachable(f"etcd at {endpoint} did not answer within {limit_s:g} s")
    refused = any(isinstance(cause, NewConnectionError) for cause in causes)
    # urllib3 counts a refused connection among the timeouts
    if not refused and any(isinstance(c, ConnectTimeout | ConnectTimeoutError) for c in causes):
        return NotSent(f"etcd at {endpoint} did not take a connection within {limit_s:g} s")
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return _explain_tls(cause, endpoint=endpoint)
    if any(isinstance(cause, ProtocolError | IncompleteRead) for cause in causes) and sent:
        # what Python says of it is about bytes and chunks
        return StoreUnreachable(
            f"etcd at {endpoint} ended the connection in the middle of an answer"
        )
    reason = _reason(causes[-1])
    if refused and not sent:
        return NotSent(f"no connection to etcd at {endpoint}: {reason}")
    return StoreUnreachable(f"the connection to etcd at {endpoint} broke: {reason}")


def _explain_tls(cause: ssl.SSLError, *, endpoint: str) -> Fault:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return StoreMisspoken(
            f"the certificate of {endpoint} is not to be trusted: {cause.verify_message}"
        )
    if "ALERT" in (cause.reason or ""):
        return StoreDenied(f"etcd at {endpoint} refused our certificate: {cause.reason}")
    if isinstance(cause, ssl.SSLEOFError):
        return StoreUnreachable(
            f"{endpoint} cut the TLS connection: it went away, speaks plain HTTP, or wants a"
            " client certificate"
        )
    return StoreUnreachable(f"TLS with {endpoint} came to nothing: {_reason(cause)}")


def fault_of(refused: Refused, *, endpoint: str) -> Fault:
    """Say a refusal as a fault."""
    match refused.verdict:
        case Verdict.RETRY | Verdict.LOGIN:
            return StoreUnreachable(f"etcd at {endpoint} cannot answer now: {refused.text}")
        case Verdict.LEASE_GONE:
            return LeaseLost(f"etcd at {endpoint} does not know the lease (any more)")
        case Verdict.DENIED:
            return StoreDenied(f"etcd at {endpoint} refused us: {refused.text}")
        case Verdict.MALFORMED | Verdict.NO_AUTH:
            return StoreMisspoken(f"etcd at {endpoint} does not take this: {refused.text}")
        case Verdict.STRANGE:
            return StoreMisspoken(f"{endpoint} is no JSON gateway of etcd: {refused.text}")


def _causes(exc: BaseException) -> list[BaseException]:
    """The exception and everything inside it, outermost first."""
    causes = [exc]
    while True:
        last = causes[-1]
        inner = [getattr(last, "reason", None), *last.args, last.__cause__, last.__context__]
        found = [one for one in inner if isinstance(one, BaseException) and one not in causes]
        if not found:
            return causes
        causes.append(found[0])


def _reason(cause: BaseException) -> str:
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return printable(str(text))
