"""The first source: what ``IP`` and ``HOST_PORT`` say."""


def look(ip: str, host_port: int) -> tuple[str, int]:
    """Take what was given at its word."""
    return ip, host_port
