"""The installed ``registrar`` as a process, and what it has in a real etcd."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from registry.etcd import Etcd
from registry.keys import FrontendKey, Keyspace
from registry.records import FrontendRecord, InstanceRecord, State
from registry.snapshot import Entry
from tests.etcd_server import EtcdServer, wait_until

PROGRAM = str(Path(sys.executable).parent / "registrar")

ONE_SHOT_S = 20.0
"""A command that takes longer hangs; its own deadline is 5 s."""


class Place:
    """One prefix of one etcd, and the settings of a registrar that works there."""

    def __init__(self, server: EtcdServer, prefix: str) -> None:
        self.keys = Keyspace(prefix)
        self.etcd = Etcd(server.settings)
        self.environ = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "REGISTRY_URL": server.url,
            "REGISTRY_PREFIX": prefix,
            "LOG_FORMAT": "text",
            # nothing listens at the addresses that most tests register
            "HEALTH_TCP": "off",
        }

    def instance_environ(self, **more: str) -> dict[str, str]:
        """For ``run`` and ``sidecar``."""
        given = {"NAME": "feature/login", "SERVICE": "web", "PORT": "8080", "IP": "10.0.0.5"}
        return self.environ | given | more

    def routes(self) -> list[Entry]:
        """What is registered."""
        return list(self.etcd.list(self.keys.routes).entries.values())

    def record(self) -> InstanceRecord:
        """The record of the one route there is."""
        (entry,) = self.routes()
        return InstanceRecord.parse(entry.value)

    def wait_registered(self) -> Entry:
        """Wait for a route that gets requests."""

        def is_ready() -> bool:
            return any(
                InstanceRecord.parse(entry.value).state is State.READY for entry in self.routes()
            )

        wait_until(is_ready)
        return self.routes()[0]

    def report(
        self,
        frontend: str,
        *,
        revision: int = 0,
        released: int = 0,
        rejections: tuple[dict[str, str], ...] = (),
    ) -> None:
        """Be a frontend."""
        record = FrontendRecord(
            rejections=rejections,
            revision=revision,
            released=released,
            domain="dev.example.com",
            url="http://dev.example.com:8080",
        )
        self.etcd.write(self.keys.raw(FrontendKey(frontend)), record.dump())

    def ask(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a one-shot command."""
        return run_once(arguments, self.environ | environ)


def run_once(
    arguments: Sequence[str], environ: Mapping[str, str], *, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run ``registrar`` to its end."""
    return subprocess.run(
        [PROGRAM, *arguments],
        env=dict(environ),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=ONE_SHOT_S,
        check=False,
    )


class Registrar:
    """A registrar that runs, with whatever it started; gone behind the ``with``."""

    def __init__(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        *,
        program: Sequence[str] = (PROGRAM,),
        around: Sequence[str] = (),
    ) -> None:
        self._process = subprocess.Popen(
            [*around, *program, *arguments],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # a group of its own, so that it can be ended with all that it started
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._texts = {"out": "", "log": ""}
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=("out", self._process.stdout)),
            threading.Thread(target=self._read, args=("log", self._process.stderr)),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def log(self) -> str:
        """What it has said on stderr."""
        return self._texts["log"]

    @property
    def out(self) -> str:
        """What its command has said on stdout."""
        return self._texts["out"]

    def wait_said(self, text: str) -> None:
        """Wait for a text on stdout or stderr."""

        def said() -> bool:
            return text in self.out or text in self.log

        try:
            wait_until(said)
        except TimeoutError as exc:
            raise TimeoutError(f"not said: {text!r}; but: {self._texts}") from exc

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the registrar alone."""
        os.kill(self.pid, number)

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait(self, *, within_s: float = 10.0) -> int:
        """Wait for its end; its exit code."""
        return self._process.wait(within_s)

    def stop(self) -> tuple[int, float]:
        """SIGTERM; its exit code, and how long it took."""
        began_at = time.monotonic()
        self.send(signal.SIGTERM)
        return self.wait(), time.monotonic() - began_at

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        for reader in self._readers:
            reader.join()
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._process.stdout.close()
        self._process.stderr.close()

    def _read(self, name: str, stream: IO[str]) -> None:
        for line in stream:
            self._texts[name] += line
