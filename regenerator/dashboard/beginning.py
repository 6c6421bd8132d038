"""How a dashboard begins."""

from typing import NamedTuple

from regenerator.settings import RegeneratorSettings


class Begin(NamedTuple):
    """The first message: what a dashboard works with.

    Attributes:
        settings: Those of its regenerator.
        frontend: The frontend's own id.
        log_format: As for the regenerator's own log.
        requests: The descriptor of the socket that nginx tells of requests.
        metrics: The one of the socket that Prometheus asks; -1 for none.
    """

    settings: RegeneratorSettings
    frontend: str
    log_format: str
    requests: int
    metrics: int = -1
