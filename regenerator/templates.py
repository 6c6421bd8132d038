"""The templates on disk: read as a whole, and watched."""

import importlib.resources
import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from regenerator.render import Renderer, RenderSettings
from registry.faults import RenderFault


def default_folder() -> Path:
    """Where the templates lie that come with the program."""
    return Path(str(importlib.resources.files("regenerator") / "nginx"))


_SUFFIXES = frozenset({".j2", ".css", ".js"})
"""Templates, and what stands in pages as it is."""


def load(folder: Path, settings: RenderSettings) -> Renderer:
    """Read ``*.conf`` and everything below ``templates/``.

    Raises:
        RenderFault: A file cannot be read, or a template does not parse.
    """
    statics = _read(folder, folder.glob("*.conf"))
    if "nginx.conf" not in statics:
        raise RenderFault(f"{folder} has no nginx.conf, so it is no folder of templates")
    return Renderer(statics, read_sources(folder), settings)


def read_sources(folder: Path) -> dict[str, str]:
    """Everything below ``templates/``, by its name there.

    Raises:
        RenderFault: A file cannot be read.
    """
    root = folder / "templates"
    return _read(root, (path for path in root.rglob("*") if path.suffix in _SUFFIXES))


def _read(folder: Path, found: Iterable[Path]) -> dict[str, str]:
    try:
        return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(found)}
    except (OSError, UnicodeDecodeError) as exc:
        raise RenderFault(f"templates in {folder} cannot be read: {exc}") from exc


log = logging.getLogger("regenerator")

POLL_S = 1.0
"""Between two looks where the kernel does not watch for us."""

QUIET_S = 0.1
"""After the last of several changes: an editor, or git, has then written all it wants to."""


class TemplateWatch:
    """Calls back soon after something in the folder was written, moved or removed."""

    def __init__(self, folder: Path, saved: Callable[[], None]) -> None:
        # links are followed by nobody: what is watched is the folder that the link leads to
        self._folder = folder.resolve()
        self._saved = _Saved(saved)
        self._observer: BaseObserver | None = None

    def start(self) -> None:
        """Begin to watch, on a thread of its own."""
        try:
            self._begin(Observer())
        except OSError as exc:
            text = "the kernel watches no more folders for us (%s); looking once a second"
            log.warning(text, exc.strerror)
            self._begin(PollingObserver(timeout=POLL_S))

    def stop(self) -> None:
        """End the watch."""
        if self._observer is not None:
            self._observer.stop()

    def _begin(self, observer: BaseObserver) -> None:
        observer.daemon = True
        observer.schedule(self._saved, str(self._folder), recursive=True)
        observer.start()
        self._observer = observer


class _Saved(FileSystemEventHandler):
    def __init__(self, saved: Callable[[], None]) -> None:
        self._saved = saved
        self._timer: threading.Timer | None = None

    def on_any_event(self, event: FileSystemEvent) -> None:
        # reading is no change; our own reading would set us off again
        if event.event_type not in {"opened", "closed_no_write"}:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(QUIET_S, self._saved)
            self._timer.daemon = True
            self._timer.start()
