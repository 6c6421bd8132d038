"""What is asked of a frontend to reach one service, and what an answer means. Pure.

A frontend that listens with TLS sends who asks without to https: it is asked there again, at its
own ip, under the same host. A login goes only to a frontend that asks for one (``BASIC_AUTH``), by
https where that is what we are sent to; it keeps it to itself, so no service gets it. A frontend
that keeps us out will do so the next time as well, so it is not asked again.
"""

import re
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

from registrar.exchange import Response
from registry.names import is_domain
from registry.records import Address, FrontendRecord
from registry.refusals import printable

HTTPS_PORT = 443
"""What a redirect to https does not say."""

UNAUTHORIZED, FORBIDDEN = 401, 403
REDIRECTS = range(300, 400)


@dataclass(frozen=True, slots=True)
class Question:
    """What a frontend is asked.

    Attributes:
        host: What people ask for, without a port.
        path: Where the service says that it is well, or ``/``.
        login: ``user:password`` for a frontend that asks for one; empty if there is none.
        is_secure: By TLS.
        says_login: The login goes along.
    """

    address: Address
    host: str
    path: str
    login: str = field(default="", repr=False)
    is_secure: bool = False
    says_login: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one request.

    Attributes:
        text: How to go on behind the frontend's name: ``answered 503``, ``refuses connections``.
        instance: Which one answered, by its real name; empty if none did.
        is_turned_away: The frontend does not let us in, and would not the next time.
        is_late: There was none in the time that it had.
    """

    text: str
    instance: str = ""
    is_turned_away: bool = False
    is_late: bool = False


def build_question(record: FrontendRecord, *, label: str, path: str, login: str = "") -> Question:
    """What to ask a frontend to reach the service that has a label. Pure.

    Raises:
        ValueError: Its record has no address or no domain to ask for; says so after its name.
    """
    try:
        address = Address.parse(record.address)
    except ValueError as exc:
        raise ValueError(f"cannot be asked: {exc}") from exc
    if not is_domain(record.domain):
        raise ValueError(f"cannot be asked: {record.domain[:60]!r} is no domain")
    return Question(address, f"{label}.{record.domain}", path, login)


def follow(question: Question, response: Response) -> Question | None:
    """What to ask next, where an answer leads on; None where it is the last word. Pure.

    Each question leads on twice at most: to https, and to the same with the login.
    """
    headers = response.headers
    if headers.get("X-Served-By"):
        return None
    if not question.is_secure and response.status in REDIRECTS:
        return _at_https(question, headers.get("Location", ""))
    if question.login and not question.says_login and _asks_for_login(response):
        return replace(question, says_login=True)
    return None


def read_reply(question: Question, response: Response) -> Reply:
    """What an answer means that is the last word. Pure.

    In the header ``X-Served-By`` names that are not plain are percent-encoded; it is not there on a
    page of the frontend's own, such as for 503.
    """
    status = response.status
    instance = unquote(response.headers.get("X-Served-By", ""))
    if instance:
        return Reply(f"answered {status} from instance {printable(instance)}", instance)
    if status == FORBIDDEN and question.says_login:
        text = "answered 403 to PROBE_LOGIN: the file of its BASIC_AUTH may be missing"
    elif status == FORBIDDEN:
        text = "answered 403: it lets in other networks than ours (ALLOW_CLIENTS)"
    elif status != UNAUTHORIZED:
        return Reply(f"answered {status}")
    elif not _asks_for_login(response):
        text = (
            "answered 401: it wants a sign-in (AUTH_URL), which --probe cannot do; --wait alone"
            " says whether it is applied"
        )
    elif question.says_login:
        text = "answered 401 to the user and password of PROBE_LOGIN: its BASIC_AUTH has others"
    else:
        text = (
            "answered 401: it wants a password; set PROBE_LOGIN to user:password, as its BASIC_AUTH"
            " has them"
        )
    return Reply(text, is_turned_away=True)


def _at_https(question: Question, location: str) -> Question | None:
    """The same by TLS, if that is where a redirect leads; what leads elsewhere is not followed."""
    wanted = rf"https://{re.escape(question.host)}(?::([0-9]{{1,5}}))?{re.escape(question.path)}"
    found = re.fullmatch(wanted, location)
    if found is None:
        return None
    try:
        address = Address(question.address.ip, int(found[1] or HTTPS_PORT))
    except ValueError:
        return None
    return replace(question, address=address, is_secure=True)


def _asks_for_login(response: Response) -> bool:
    challenge = response.headers.get("WWW-Authenticate", "")
    return response.status == UNAUTHORIZED and challenge.lower().startswith("basic ")
