"""The socket on which nginx tells of requests: UDP on loopback.

A unix socket queues ten messages in a container (``net.unix.max_dgram_qlen``), and nginx writes a
line into its error log for each that is lost beyond: at full speed two of five were. UDP lost none.

Any program of this machine may write to it, so each message has a word that only nginx was told.
The port and the word are the frontend's own, and the same after a restart: with others nginx would
have to read its configuration anew.
"""

import re
import secrets
import socket
from pathlib import Path
from typing import NamedTuple

from regenerator.whole_file import write_whole
from registry.faults import StateUnwritable

RECEIVE_BYTES = 4 << 20
"""As much as can wait, if the kernel lets us (``net.core.rmem_max``): some 5,000 requests."""


class RequestsSocket(NamedTuple):
    """Where nginx tells of requests.

    Attributes:
        tag: 16 hex digits that begin each message.
    """

    socket: socket.socket
    port: int
    tag: str


def open_requests(state: Path) -> RequestsSocket:
    """Bind it, to the port that it had before where that is free.

    Raises:
        StateUnwritable: What was chosen cannot be kept.
    """
    path = state / "requests"
    port, tag = _read(path)
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    try:
        link.bind(("127.0.0.1", port))
    except OSError:
        link.bind(("127.0.0.1", 0))
    found = RequestsSocket(link, link.getsockname()[1], tag or secrets.token_hex(8))
    try:
        write_whole(path, f"{found.port} {found.tag}\n")
    except OSError as exc:
        link.close()
        raise StateUnwritable(f"{path} cannot be written: {exc.strerror}") from exc
    return found


def _read(path: Path) -> tuple[int, str]:
    """What was chosen before; a port of 0 and no tag if nothing was."""
    try:
        found = re.fullmatch(r"([0-9]{1,5}) ([0-9a-f]{16})\n", path.read_text())
    except (OSError, UnicodeDecodeError):
        return 0, ""
    if found is None or int(found[1]) > 65535:  # noqa: PLR2004 - TCP's and UDP's largest port
        return 0, ""
    return int(found[1]), found[2]
