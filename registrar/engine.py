"""The one module that talks to a Docker engine. It only asks: GET, and nothing else.

The package ``docker`` comes with the extra of that name; who has no engine needs none.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

from registrar.containers import LABELS, Container
from registry.faults import EngineDenied, EngineUnreachable, SettingsInvalid

if TYPE_CHECKING:
    from docker import DockerClient

T = TypeVar("T")

SOCKET = "/var/run/docker.sock"
"""Where the engine listens unless DOCKER_HOST says otherwise."""

CALL_TIMEOUT_S = 5.0
"""An engine answers in milliseconds; one that starts fifty containers has taken a second."""

ACTIONS = (
    *("start", "die", "kill", "pause", "unpause", "health_status", "rename", "update", "destroy"),
    *("connect", "disconnect"),
)
"""What changes whether, or where, a container is reached; the last two are a network's."""


class Event(NamedTuple):
    """Something has happened to a container.

    Attributes:
        signal: That it was sent; 0 for none.
    """

    container: str
    action: str
    signal: int = 0


def is_mounted(url: str = "") -> bool:
    """Whether there is an engine to be asked: its socket is there, or it is said where it is."""
    if url and urlsplit(url).scheme != "unix":
        return True
    return Path(urlsplit(url).path or SOCKET).exists()


class Engine:
    """A connection to one engine. One thread asks; another may read the events.

    Every call may raise:

    * ``EngineUnreachable``: nobody answers there, or not in time.
    * ``EngineDenied``: the socket is there and may not be used, or what stands before the engine
      refuses the call.
    """

    def __init__(self, url: str = "") -> None:
        """Asks nothing yet.

        Args:
            url: As ``DOCKER_HOST``: ``unix:///run/docker.sock``, ``tcp://host:2376``; empty for
                the usual place. ``DOCKER_TLS_VERIFY`` and ``DOCKER_CERT_PATH`` count as well.

        Raises:
            SettingsInvalid: There is no such place, or the package that asks is not installed.
        """
        self.url = url or f"unix://{SOCKET}"
        self._arguments = _arguments(self.url)
        self._opened: DockerClient | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._opened is not None:
            self._opened.close()

    def containers(self) -> tuple[str, ...]:
        """The ids of all containers that run, or are paused, and carry a label of ours."""
        found = self._ask(lambda client: client.api.containers(trunc=False))
        return tuple(
            one["Id"]
            for one in found
            if isinstance(one.get("Id"), str) and any(map((one.get("Labels") or {}).get, LABELS))
        )

    def inspect(self, container: str) -> Container | None:
        """One container; None if there is none."""
        found = self._ask(lambda client: _inspect(client, container))
        return Container.parse(found) if found is not None else None

    @contextmanager
    def follow(self) -> Iterator[Iterator[Event]]:
        """The events of all containers, from now on; when the engine ends, it is unreachable.

        Everything that happened before it was entered is told by ``containers``.
        """
        stream = self._ask(
            lambda client: client.events(
                decode=True, filters={"type": ["container", "network"], "event": list(ACTIONS)}
            )
        )
        try:
            yield self._events(stream)
        finally:
            stream.close()

    def _events(self, stream: Any) -> Iterator[Event]:
        while True:
            document = self._ask(lambda _: next(stream, None))
            if document is None:
                raise EngineUnreachable(f"the Docker engine at {self.url} has hung up")
            event = read_event(document)
            if event is not None:
                yield event

    def _client(self) -> "DockerClient":
        from docker import DockerClient  # noqa: PLC0415 - the extra's

        if self._opened is None:
            # old engines and new ones have no version of the protocol in common that could be named
            self._opened = DockerClient(**self._arguments, version="auto")
        return self._opened

    def _ask(self, call: "Callable[[DockerClient], T]") -> T:
        from docker.errors import (  # noqa: PLC0415 - the extra's
            APIError,
            DockerException,
            StreamParseError,
        )

        try:
            return call(self._client())
        except APIError as exc:
            if exc.status_code in {401, 403}:
                raise EngineDenied(
                    f"what answers at {self.url} refuses to be asked: {exc.explanation or exc}"
                ) from exc
            raise EngineUnreachable(f"the engine at {self.url} answered: {exc}") from exc
        except (DockerException, StreamParseError, OSError, ValueError) as exc:
            # what requests raises is an OSError
            if "Permission denied" in str(exc):
                raise EngineDenied(
                    f"{self.url} may not be used by user {os.geteuid()}; give the process the"
                    " socket's group, or a proxy that only reads"
                ) from exc
            if "timed out" in str(exc).lower():
                words = f"the Docker engine at {self.url} did not answer in {CALL_TIMEOUT_S:g} s"
                raise EngineUnreachable(words) from exc
            raise EngineUnreachable(f"no Docker engine answers at {self.url}") from exc


def read_event(document: Any) -> Event | None:
    """Read one event; None for one that concerns no container. Pure.

    Shape:
        ``{"Type":"container","Action":"kill","Actor":{"ID":…,"Attributes":{"signal":"15"}}}``; of
        a network the container is an attribute, and of a health check the action goes on:
        ``health_status: healthy``.
    """
    try:
        actor = document["Actor"]
        attributes = actor.get("Attributes") or {}
        of_network = document["Type"] == "network"
        container = attributes.get("container", "") if of_network else actor["ID"]
        action = str(document["Action"]).partition(":")[0]
        signal = str(attributes.get("signal", ""))
    except (AttributeError, KeyError, TypeError):
        return None
    if not isinstance(container, str) or not container:
        return None
    return Event(container, action, int(signal) if signal.isdecimal() else 0)


def _inspect(client: "DockerClient", container: str) -> dict[str, Any] | None:
    from docker.errors import NotFound  # noqa: PLC0415 - the extra's

    try:
        found: dict[str, Any] = client.api.inspect_container(container)
    except NotFound:
        return None
    return found


def _arguments(url: str) -> dict[str, Any]:
    """What a client is made with, from the variables that every Docker tool reads."""
    try:
        from docker.errors import DockerException  # noqa: PLC0415 - the extra's
        from docker.utils import kwargs_from_env, parse_host  # noqa: PLC0415
    except ImportError as exc:
        raise SettingsInvalid(
            ["the package docker is not installed; get it with: pip install 'branchfront[docker]'"]
        ) from exc
    try:
        parse_host(url)
        given = kwargs_from_env(environment={**os.environ, "DOCKER_HOST": url})
    except (DockerException, ValueError) as exc:
        raise SettingsInvalid([f"DOCKER_HOST is {url!r}: {exc}"]) from exc
    return {**given, "timeout": int(CALL_TIMEOUT_S)}
