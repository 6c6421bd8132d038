"""What ``IP``, ``HOST_PORT`` and ``PORT`` say, taken at their word."""

from registrar.places.search import Finding, Search


def look(search: Search) -> Finding:
    """The first source: somebody knows better than all of us."""
    ip, port = search.settings.ip, search.settings.host_port
    search.note("the settings", _said(("IP", ip), ("HOST_PORT", port)))
    return Finding(ip, port)


def look_at_port(search: Search) -> Finding:
    """The last source but one: the port is the service's own if nobody maps it."""
    search.note("the settings", _said(("PORT", search.settings.port)))
    return Finding(port=search.settings.port)


def _said(*found: tuple[str, object]) -> str:
    return ", ".join(f"{name} is {value or 'not set'}" for name, value in found)
