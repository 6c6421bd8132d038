"""Where nginx listens, and which addresses are therefore its own."""

import ipaddress
import socket
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from registry.records import Address

# a port in the documentation range: a UDP socket is only connected, so nothing is ever sent
_ELSEWHERE = "192.0.2.1"


def parse_listeners(text: str) -> tuple[Address, ...]:
    """Read comma-separated listeners: ``8080``, ``127.0.0.1:8080``, ``[::1]:8080``.

    Raises:
        ValueError: One is none of these.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ValueError("expected at least one such as 127.0.0.1:8080")
    return tuple(Address.parse(f"0.0.0.0:{part}" if part.isdigit() else part) for part in parts)


def own_addresses(listeners: Iterable[Address]) -> frozenset[Address]:
    """Every address under which the listeners are reached from this machine."""
    own: set[Address] = set()
    for listener in listeners:
        ips = machine_ips() if _is_wildcard(listener) else {listener.ip}
        own |= {Address(ip, listener.port) for ip in ips}
    return frozenset(own)


def reached_at(listener: Address) -> Address:
    """The listener as others reach it: for a wildcard, the machine's outward address."""
    if not _is_wildcard(listener):
        return listener
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((_ELSEWHERE, 9))
            return Address(probe.getsockname()[0], listener.port)
        except OSError:
            return Address("127.0.0.1", listener.port)


def machine_ips() -> frozenset[str]:
    """The addresses of this machine's interfaces, loopback among them."""
    ips = {"127.0.0.1", "::1"}
    routes = _lines("/proc/net/fib_trie")
    for address, kind in pairwise(routes):
        if "/32 host LOCAL" in kind:
            ips.add(address.rpartition(" ")[2])
    # there is no such file where IPv6 is switched off
    for line in _lines("/proc/net/if_inet6"):
        ips.add(str(ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))))
    if not routes:
        # elsewhere than on Linux: what the name of this machine resolves to, if it does
        with suppress(OSError):
            found = socket.getaddrinfo(socket.gethostname(), None)
            ips |= {str(ipaddress.ip_address(str(one[4][0]).partition("%")[0])) for one in found}
    return frozenset(ips)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _is_wildcard(listener: Address) -> bool:
    return ipaddress.ip_address(listener.ip).is_unspecified
