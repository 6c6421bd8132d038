"""The last source: the address of the interface that reaches the registry.

Connecting a UDP socket sends nothing; the kernel only picks the route, and with it our address.
It is right wherever others reach us at the address that we speak from: on one machine, in the
host's network, in a network of containers that the frontend is part of.
"""

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from registrar.places.search import Finding, Search


def look(search: Search) -> Finding:
    """Our address towards the registry."""
    endpoints = search.settings.endpoints
    ip = find_own_ip(endpoints)
    search.note(", ".join(endpoints), ip or "no route to any of them" if endpoints else "not asked")
    return Finding(ip)


def find_own_ip(endpoints: Iterable[str]) -> str:
    """Our address towards the first endpoint that there is a route to; empty if there is none."""
    for endpoint in endpoints:
        parts = urlsplit(endpoint)
        try:
            found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError):
            # no such host, or a name that cannot be one
            continue
        for family, _, _, _, target in found:
            ip = _source_ip(family, target)
            if ip:
                return ip
    return ""


def explain(endpoints: Iterable[str]) -> str:
    """Why there is no address of ours; a sentence for whoever started us."""
    for endpoint in endpoints:
        host = urlsplit(endpoint).hostname
        try:
            socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError):
            return (
                f"the host {host!r} of REGISTRY_URL cannot be resolved, so there is nothing to find"
                " our ip by; is this container in the registry's network? If so, wait, or set IP"
            )
    return "no source knows the ip at which this service is reached; set IP"


def _source_ip(family: int, target: tuple[Any, ...]) -> str:
    """The address that we speak from to a target; empty if there is no route to it."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(target)
            ip = str(probe.getsockname()[0])
    except OSError:
        return ""
    # a link-local address carries the name of one link, and holds for nobody else
    return "" if ipaddress.ip_address(ip.partition("%")[0]).is_link_local else ip
