"""Many registrars at once: the installed ``registrar``, one process for each instance."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.registrar_process import PROGRAM
from tests.torture.place import REGISTERED_S, SERVICE, Place, branch, ip, until

BATCH = 24
"""Started together: each takes a quarter of a second of a processor."""

END_S = 30.0
"""For a clean end: RELEASE_TIMEOUT and DRAIN are 12 s together."""


class Registrar:
    """One process, in a group of its own with whatever it started; its log in a file."""

    def __init__(self, arguments: Sequence[str], *, log: Path, environ: dict[str, str]) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [PROGRAM, *arguments],
                env={"PATH": os.environ["PATH"], "LOG_FORMAT": "text", **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def send(self, number: signal.Signals) -> float:
        """Send a signal to it alone; gives when, on the monotonic clock."""
        sent_at = time.monotonic()
        self._process.send_signal(number)
        return sent_at

    def wait(self) -> int:
        """Wait for its end; its exit code."""
        return self._process.wait(END_S)

    def wait_said(self, text: str, *, within_s: float = REGISTERED_S) -> None:
        """Wait for a text in its log."""

        def is_said() -> bool:
            assert self._process.poll() is None, f"it has ended: {self._tail()}"
            return text in self.log.read_text(errors="replace")

        try:
            until(is_said, within_s=within_s, every_s=0.02)
        except TimeoutError as exc:
            raise AssertionError(f"not said: {text!r} but {self._tail()}") from exc

    def end(self) -> None:
        """Kill it and whatever it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-1000:]


class Fleet:
    """Registrars of one place; all gone behind the ``with``.

    Attributes:
        sidecars: By branch and instance.
    """

    def __init__(self, place: Place, *, ttl_s: int) -> None:
        self._place = place
        self._ttl_s = ttl_s
        self._started: list[Registrar] = []
        self.sidecars: dict[tuple[int, int], Registrar] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one in self._started:
            one.end()

    def start(self, numbers: Iterable[int], *, instance: int = 1) -> None:
        """Start a sidecar for each branch, some at a time, and wait until all are registered."""
        wanted = list(numbers)
        for at in range(0, len(wanted), BATCH):
            batch = wanted[at : at + BATCH]
            for number in batch:
                self.sidecars[number, instance] = self.sidecar(number, instance)
            self._place.wait_registered(self._place.address(number, instance) for number in batch)

    def sidecar(self, number: int, instance: int = 1, *, at: str = "") -> Registrar:
        """One sidecar, for an instance that runs already.

        Args:
            at: Its ip, unless it is the branch's own.
        """
        environ = {"PORT": str(self._place.origin.port), "IP": at or ip(number, instance)}
        return self.launch(["sidecar"], number, f"{number}-{instance}", **environ)

    def launch(self, arguments: Sequence[str], number: int, name: str, **environ: str) -> Registrar:
        """Start any registrar; its log is called by the name."""
        registrar = Registrar(
            arguments,
            log=self._place.folder / f"registrar-{name}.log",
            environ={
                "REGISTRY_URL": ",".join(self._place.etcd.settings.endpoints),
                "NAME": branch(number),
                "SERVICE": SERVICE,
                "TTL": str(self._ttl_s),
                **environ,
            },
        )
        self._started.append(registrar)
        return registrar

    def send(self, number: signal.Signals) -> None:
        """Send a signal to every sidecar."""
        for one in self.sidecars.values():
            one.send(number)
