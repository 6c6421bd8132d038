"""Values that people write, read from text. Pure.

What cannot be read raises ``ValueError`` with what was expected, for whoever knows its name.
"""

import ipaddress
import re


def parse_seconds(text: str, *, least: float = 0.0, most: float = 86400.0) -> float:
    """Read a number of seconds.

    Raises:
        ValueError: It is no number, or out of range; a day is the longest wait that makes sense.
    """
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        raise ValueError(f"expected {least:g} to {most:g} seconds")
    if not least <= float(text) <= most:
        raise ValueError(f"expected {least:g} to {most:g} seconds")
    return float(text)


def parse_port(text: str) -> int:
    """Read a port.

    Raises:
        ValueError: It is none.
    """
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:  # noqa: PLR2004 - TCP's
        raise ValueError("expected a port, 1 to 65535")
    return int(text)


def parse_networks(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """Read comma-separated CIDRs.

    Raises:
        ValueError: One is none.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return tuple(ipaddress.ip_network(part) for part in parts)
    except ValueError as exc:
        raise ValueError(f"expected CIDRs such as 10.0.0.0/8,fd00::/8 ({exc})") from exc
