"""The installed ``branchfront`` as a process, for tests that have to hurt it.

Whatever a test does to it, nothing of it is left behind: every process that was given its state
folder is ended.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from regenerator.nginx import Nginx
from regenerator.processes import is_alive
from registry.etcd import Etcd, EtcdSettings
from standalone.answers import Answer, ask
from standalone.processes import Process, all_processes, end, nginx_left_behind
from tests.etcd_server import wait_until

COMMAND = str(Path(sys.executable).parent / "branchfront")

READY = re.compile(r"ready (http://\S+) REGISTRY_URL=http://root:(\w+)@(127\.0\.0\.1:\d+)\n")

READY_S = 30.0
"""It takes a second; several at once on two busy cores take longer."""


class Branchfront:
    """One run of the command on a state folder.

    Attributes:
        url: What the ready line said.
        port: Where nginx listens.
    """

    def __init__(
        self,
        state: Path,
        *arguments: str,
        command: str = "up",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.state = state
        self.arguments: Sequence[str] = (COMMAND, command, "--state", str(state), *arguments)
        self._environ = environ or os.environ
        self.url = ""
        self.port = 0
        self.password = ""
        self.endpoint = ""

    def __enter__(self) -> Self:
        self.state.parent.mkdir(parents=True, exist_ok=True)
        self.said = self.state.parent / f"{self.state.name}.stdout"
        self.complained = self.state.parent / f"{self.state.name}.stderr"
        with self.said.open("wb") as out, self.complained.open("wb") as err:
            self.process = subprocess.Popen(
                self.arguments,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**self._environ},
                # as a terminal has it: the signals of one do not reach the test
                start_new_session=True,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        end(self.mentioning())
        Nginx("nginx", self.state / "regenerator").end_group()

    def ready(self) -> Self:
        """Wait for the ready line and read it."""
        wait_until(self._is_ready, within_s=READY_S)
        found = READY.search(self.said.read_text())
        assert found, self.story()
        self.url, self.password = found[1], found[2]
        self.port = int(found[1].rpartition(":")[2])
        self.endpoint = f"http://{found[3]}"
        return self

    def etcd(self) -> Etcd:
        """The registry, as root."""
        return Etcd(EtcdSettings((self.endpoint,), user="root", password=self.password))

    def answer(self, host: str = "localhost") -> Answer:
        """What nginx answers on a host; -1 as the status where it does not."""
        try:
            return ask(self.port, f"{host}:{self.port}")
        except OSError as exc:
            return Answer(-1, str(exc), 0.0)

    def story(self) -> str:
        """All that it said, for a test that fails."""
        return f"stdout: {self.said.read_text()}\nstderr: {self.complained.read_text()}"

    def mentioning(self) -> list[Process]:
        """The living processes that have the state folder in their command line."""
        folder = str(self.state)
        found = [one for one in all_processes() if any(folder in part for part in one.arguments)]
        return [one for one in found if one.pid != self.process.pid]

    def etcd_pid(self) -> int:
        """Its etcd."""
        return self._pid("--data-dir")

    def regenerator_pid(self) -> int:
        """Its regenerator."""
        return self._pid("regenerator")

    def nginx_pid(self) -> int:
        """The master of its nginx."""
        return int((self.state / "regenerator" / "run" / "nginx.pid").read_text())

    def nginx_pids(self) -> set[int]:
        """The master and its workers."""
        return nginx_left_behind(self.state / "regenerator")

    def send(self, number: signal.Signals) -> None:
        """Signal the command itself, not what it has started."""
        self.process.send_signal(number)

    def wait(self, *, within_s: float = 15.0) -> int:
        """Wait for its end; the exit code."""
        try:
            return self.process.wait(timeout=within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"does not end in {within_s:g} s\n{self.story()}") from None

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.story()
        return self.said.read_text().count("ready ") > 0 and "\n" in self.said.read_text()

    def _pid(self, part: str) -> int:
        found = [one.pid for one in self.mentioning() if part in one.arguments]
        assert len(found) == 1, f"not one {part}, but {self.mentioning()}\n{self.story()}"
        return found[0]


def is_gone(pid: int) -> bool:
    """Whether a process has ended; where nobody is left to reap it, a zombie stays."""
    return not is_alive(pid)
