"""Etcd as it is measured at scale: one member or three, each with its own figures; may be killed.

Its data lies on disk with fsync off, as in ``store``: leases that are kept alive write nothing.
"""

import contextlib
import http.client
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.processes import (
    BenchmarkFault,
    Child,
    end_group,
    find_program,
    free_port,
    resident_mib,
    until,
)
from benchmarks.store import KEYS, Store
from registry.accounts import ROOT, protect
from registry.etcd import Etcd, EtcdSettings
from registry.faults import Fault, StoreDenied

START_WITHIN_S = 30.0
"""It takes 0.3 s; three at once, with an election, on two busy cores take longer."""

ANSWER_WITHIN_S = 5.0
"""160 kB of metrics take milliseconds; an etcd in trouble shall show as slow, not as a fault."""

OK = 200

TICKS_A_S = os.sysconf("SC_CLK_TCK")


class Member:
    """One etcd, which may be killed and started again over its data.

    Attributes:
        url: Where clients reach it.
    """

    def __init__(self, folder: Path, name: str, *, url: str, flags: Sequence[str]) -> None:
        """Starts nothing yet.

        Args:
            flags: Those that say how it reaches the others, and any besides.
        """
        folder.mkdir(parents=True)
        self.url = url
        self._log = folder / "etcd.log"
        self._child: Child | None = None
        self._command: list[str | Path] = [
            find_program("etcd"),
            *("--name", name, "--data-dir", folder / "data"),
            *("--log-level", "warn", "--unsafe-no-fsync"),
            *("--listen-client-urls", url, "--advertise-client-urls", url),
            *flags,
        ]

    @property
    def pid(self) -> int:
        """Its process id; 0 while it does not run."""
        return self._child.pid if self._child else 0

    def start(self) -> None:
        """Start it; waits for nothing."""
        self._child = Child(self._command, log=self._log)

    def kill(self) -> None:
        """Kill it with SIGKILL; its data stays."""
        if self._child:
            end_group(self._child.pid)
            self._child.stop()
            self._child = None

    def wait_up(self) -> None:
        """Wait until it answers."""
        etcd = Etcd(EtcdSettings((self.url,)), call_timeout_s=2)
        try:
            until(
                lambda: _is_up(etcd),
                what=f"etcd at {self.url} answers",
                within_s=START_WITHIN_S,
                child=self._child,
            )
        finally:
            etcd.close()

    def cpu_s(self) -> float:
        """Processor time that it has taken since it was started."""
        return cpu_s(self.pid)

    def resident_mib(self) -> float:
        """Its memory."""
        return resident_mib(self.pid)

    def get(self, path: str) -> str:
        """What it answers to a GET.

        Raises:
            OSError: Nothing, or not 200.
        """
        link = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=ANSWER_WITHIN_S)
        with contextlib.closing(link):
            link.request("GET", path)
            answer = link.getresponse()
            text = answer.read().decode()
        if answer.status != OK:
            raise ConnectionError(f"{self.url}{path} answered {answer.status}")
        return text

    def figures(self) -> Mapping[str, float]:
        """Its metrics, each under its name with its labels.

        Raises:
            BenchmarkFault: It does not answer.
        """
        try:
            lines = self.get("/metrics").splitlines()
        except (OSError, http.client.HTTPException) as exc:
            raise BenchmarkFault(f"etcd does not tell its metrics: {exc}") from exc
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def leads(self) -> bool:
        """Whether it is the leader."""
        return self.figures()["etcd_server_is_leader"] == 1


@dataclass(frozen=True, slots=True)
class Cluster:
    """The members, and how programs are told of them."""

    members: tuple[Member, ...]
    settings: EtcdSettings
    store: Store

    def cpu_s(self) -> float:
        """Processor time of all members."""
        return sum(member.cpu_s() for member in self.members)


@contextlib.contextmanager
def run_cluster(folder: Path, *, size: int = 1, bcrypt_cost: int = 0) -> Iterator[Cluster]:
    """Run etcd with an empty store.

    Args:
        bcrypt_cost: How hard the password is made to guess, with which everybody has to log in
            then; 0 for an etcd without users.
    """
    ports = [(free_port(), free_port()) for _ in range(size)]
    urls = [f"http://127.0.0.1:{client}" for client, _ in ports]
    peers = [f"http://127.0.0.1:{peer}" for _, peer in ports]
    flags = ["--initial-cluster", ",".join(f"m{at}={peer}" for at, peer in enumerate(peers))]
    if bcrypt_cost:
        flags += ["--bcrypt-cost", str(bcrypt_cost)]
    members = tuple(
        Member(
            folder / f"m{at}",
            f"m{at}",
            url=urls[at],
            flags=("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, *flags),
        )
        for at, peer in enumerate(peers)
    )
    with contextlib.ExitStack() as running:
        for member in members:
            running.callback(member.kill)
            member.start()
        for member in members:
            member.wait_up()
        settings, url = EtcdSettings(tuple(urls)), ",".join(urls)
        if bcrypt_cost:
            password = secrets.token_hex(16)
            with contextlib.closing(Etcd(settings)) as etcd:
                protect(etcd, password=password)
            settings = replace(settings, user=ROOT, password=password)
            url = ",".join(one.replace("://", f"://{ROOT}:{password}@") for one in urls)
        # filling writes 120 keys at a time, which takes longer than one put
        etcd = running.enter_context(contextlib.closing(Etcd(settings, call_timeout_s=10)))
        yield Cluster(members, settings, Store(url, urls[0].removeprefix("http://"), etcd))


def cpu_s(pid: int) -> float:
    """Processor time that a process has taken, in its own code and in the kernel's."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_S


def total(figures: Mapping[str, float], name: str, *labels: str) -> float:
    """The sum of a metric over all its labels but those that are named, such as ``a="b"``."""
    return sum(
        value
        for found, value in figures.items()
        if found.partition("{")[0] == name and all(label in found for label in labels)
    )


def grown(before: Mapping[str, float], after: Mapping[str, float], name: str) -> float:
    """By how much a metric has grown, over all its labels."""
    return total(after, name) - total(before, name)


def _is_up(etcd: Etcd) -> bool:
    try:
        etcd.read(KEYS.root)
    except StoreDenied:
        # it answers, and wants a password
        return True
    except Fault:
        return False
    return True
