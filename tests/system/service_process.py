"""A branch's service under the installed ``registrar run``, behind a real frontend."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.etcd_server import EtcdServer, free_ports, wait_until
from tests.registrar_process import Place, Registrar
from tests.system.frontend import Frontend

SERVICE = str(Path(__file__).with_name("small_service.py"))

NIMBLE = {"HEALTH_INTERVAL": "0.1", "HEALTH_TIMEOUT": "1"}
"""As often as a service may be asked."""


class Branch:
    """One branch of one service, and the instances of it that a test starts.

    Attributes:
        host: Where people reach it.
    """

    def __init__(self, frontend: Frontend, etcd: EtcdServer, name: str) -> None:
        self.place = Place(etcd, frontend.keys.prefix)
        self.name = name
        self.host = f"{name}.localhost"
        self._frontend = frontend

    def start(
        self, says: str, *arguments: str, port: int = 0, ill: Path | None = None, **environ: str
    ) -> Registrar:
        """Start an instance that answers ``says``; arguments are the registrar's."""
        port = port or free_ports(1)[0]
        command = [sys.executable, SERVICE, says, str(port), *([str(ill)] if ill else [])]
        given = {"NAME": self.name, "PORT": str(port), "IP": "127.0.0.1", "DRAIN": "1"}
        return Registrar(
            ["run", *arguments, "--", *command],
            self.place.instance_environ(**{"HEALTH_TCP": "on", **NIMBLE, **given, **environ}),
        )

    def wait_served(self, *says: str) -> None:
        """Wait until the host is answered by just these instances, and by nobody else."""

        def is_so() -> bool:
            answers = [self._frontend.ask(self.host) for _ in range(3 * len(says))]
            return {answer.text for answer in answers} == set(says)

        wait_until(is_so)


@contextmanager
def frozen(frontend: Frontend) -> Iterator[None]:
    """A frontend whose nginx serves, and whose regenerator notices nothing."""
    assert frontend.process is not None
    frontend.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        thaw(frontend)


def thaw(frontend: Frontend) -> None:
    """Let it go on."""
    assert frontend.process is not None
    frontend.process.send_signal(signal.SIGCONT)
