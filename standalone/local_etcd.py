"""An etcd on loopback that nobody without its password can write to, not even for a moment.

Any web page can make a browser post to a port of this machine, and etcd takes what it is sent.
So the first start is at an address nobody can guess, for as long as it takes to set the password;
whatever came in meanwhile would show, and the data is used only if nothing did.
"""

import secrets
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from registry.accounts import ROOT, check_untouched, protect
from registry.etcd import Etcd, EtcdSettings
from registry.faults import ProgramMissing, StoreDenied, StoreUnreachable
from standalone.children import Child, Command
from standalone.folder import StateFolder
from standalone.ports import LOOPBACK, free_ports
from standalone.stopping import Stop

STARTS_WITHIN_S = 20.0
"""It takes 0.2 s; a machine that is busy with everything else takes longer."""

ENDS_WITHIN_S = 2.0
"""It takes 5 ms, or 8 s where somebody watches; a killed one loses nothing either."""

POLL_S = 0.02
"""Between two tries; a fraction of what a start takes."""

TRIES = 3
"""Somebody who finds an unknown address three times over is not to be waited out."""

_QUICK = (
    # alone it needs no patience with other members: elected after 0.25 s instead of 1 s; with
    # shorter ones it would be up no sooner, and never idle
    *("--heartbeat-interval", "50", "--election-timeout", "250"),
    # the password is random and long, hashing it slowly protects nothing
    *("--bcrypt-cost", "4"),
    # history is for watches that were cut off; nobody comes back after an hour
    *("--auto-compaction-retention", "1h"),
    *("--log-level", "warn"),
)

_ALONE = "http://127.0.0.1:0"
"""Peer address of a cluster of one: any free port, on loopback."""


def arguments(binary: Path, data: Path, endpoint: str, *, cluster: str) -> Sequence[str]:
    """The command line of an etcd.

    Args:
        binary: Which etcd.
        data: Folder of its data; nobody else may use it.
        endpoint: Where it listens, such as ``http://127.0.0.1:2379``.
        cluster: Makes the cluster's id its own; matters at the first start only.
    """
    return (
        *(str(binary), "--name", "default", "--data-dir", str(data)),
        *("--listen-client-urls", endpoint, "--advertise-client-urls", endpoint),
        *("--listen-peer-urls", _ALONE, "--initial-advertise-peer-urls", _ALONE),
        *("--initial-cluster", f"default={_ALONE}", "--initial-cluster-token", cluster),
        *_QUICK,
    )


@dataclass(frozen=True, slots=True)
class LocalEtcd:
    """Etcd on one state folder.

    Attributes:
        environ: What it is started with, less its own settings: they are flags here.
        stop: Ends every wait.
    """

    binary: Path
    folder: StateFolder
    environ: Mapping[str, str]
    stop: Stop

    def prepare(self) -> None:
        """Make the registry's data, with a password on it, if there is none yet.

        Raises:
            ProgramMissing: Etcd did not start.
            StoreDenied: Somebody else got in first, every time.
        """
        fresh = self.folder.path / "etcd.new"
        for left in reversed(range(TRIES)):
            if self.folder.etcd.exists() or self.stop.asked():
                return
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(mode=0o700)
            try:
                made = self._make(fresh)
            except StoreDenied:
                if not left:
                    raise
                continue
            if made:
                # only data that is protected ever gets the name under which it is used
                fresh.rename(self.folder.etcd)

    def start(self, port: int) -> tuple[Child, Etcd]:
        """Start it on its port and wait until it answers.

        Raises:
            ProgramMissing: It did not.
            StoreDenied: Its password is not ours.
        """
        endpoint = f"http://{LOOPBACK}:{port}"
        child = self._child(self.folder.etcd, endpoint)
        etcd = Etcd(EtcdSettings((endpoint,), user=ROOT, password=self.folder.password()))
        child.start()
        try:
            wait_until_it_answers(child, etcd, stop=self.stop)
        except BaseException as exc:
            child.end(stop=self.stop)
            etcd.close()
            if isinstance(exc, StoreDenied):
                raise StoreDenied(
                    f"{exc}: the password in {self.folder.path} is not that of the registry beside"
                    " it; remove the folder to begin anew"
                ) from exc
            raise
        return child, etcd

    def _make(self, data: Path) -> bool:
        """Make the data; says whether it is whole, and not given up since we are to stop."""
        endpoint = f"http://{_unguessable()}:{free_ports(1)[0]}"
        child = self._child(data, endpoint)
        password = self.folder.password()
        child.start()
        try:
            with closing(Etcd(EtcdSettings((endpoint,)))) as etcd:
                wait_until_it_answers(child, etcd, stop=self.stop)
                if self.stop.asked():
                    return False
                protect(etcd, password=password)
            with closing(Etcd(EtcdSettings((endpoint,), user=ROOT, password=password))) as etcd:
                check_untouched(etcd)
        finally:
            by_itself = child.end(stop=self.stop)
        # one that was killed may not have written all of it
        return by_itself

    def _child(self, data: Path, endpoint: str) -> Child:
        own = {k: v for k, v in self.environ.items() if not k.startswith("ETCD_")}
        command = arguments(self.binary, data, endpoint, cluster=secrets.token_hex(8))
        log = self.folder.log("etcd")
        return Child(Command("etcd", command, own, log, ends_within_s=ENDS_WITHIN_S))


def wait_until_it_answers(child: Child, etcd: Etcd, *, stop: Stop) -> None:
    """Wait for the first answer, or until we are asked to stop.

    Raises:
        ProgramMissing: Etcd ended, or the time was up.
    """
    give_up_at = time.monotonic() + STARTS_WITHIN_S
    while not stop.asked():
        try:
            etcd.read(b"/")
        except StoreUnreachable as exc:
            if child.ended is not None:
                raise ProgramMissing(f"etcd ended at its start{last_line(child)}") from exc
            if time.monotonic() > give_up_at:
                raise ProgramMissing(
                    f"etcd did not answer within {STARTS_WITHIN_S:.0f} s{last_line(child)}"
                ) from exc
            stop.wait(POLL_S)
        else:
            return


def last_line(child: Child) -> str:
    """What a program said last, and where the rest of it stands, as the end of a sentence."""
    file = child.command.log
    if file is None:
        return ""
    text = file.read_text(encoding="utf-8", errors="replace").strip() if file.exists() else ""
    line = "".join(char for char in (text.splitlines() or [""])[-1][-300:] if char.isprintable())
    return f"; it said last: {line} (the rest is in {file})" if line else f"; see {file}"


def _unguessable() -> str:
    """One of the 16 million addresses of loopback; elsewhere than on Linux there is but one."""
    if sys.platform != "linux":
        return LOOPBACK
    # 0 and 255 at the end are a network's own
    last = 1 + secrets.randbelow(254)
    return f"127.{secrets.randbelow(256)}.{secrets.randbelow(256)}.{last}"
