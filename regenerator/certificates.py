"""The certificate that nginx shows: read, checked, kept beside the generations, and watched.

nginx never reads the files that the settings name: they are replaced one after the other, by
whoever renews them. A pair that fits is copied into the state folder under a name of its own; that
name is part of the generation, so that a new certificate is validated, applied and confirmed like
any other change, and generations on disk stay startable.
"""

import base64
import binascii
import hashlib
import logging
import os
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from regenerator.render import DIGEST_LENGTH, RenderSettings
from registry.faults import StateUnwritable

LOOK_S = 60.0
"""Between two looks at the files, whether anything was heard of them or not."""

QUIET_S = 0.5
"""After the last of several changes: certificate and key are written one after the other."""

SOON_S = 7 * 86400.0
"""What expires so soon is told; it is renewed weeks before, where that works."""

_CERTIFICATE = re.compile(
    b"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\\s]+)-----END CERTIFICATE-----"
)
_NAMED = re.compile(r"tls/([0-9a-f]+)\.crt")
_NO_CLOCK = {"%y%m%d%H%M%SZ": 13, "%Y%m%d%H%M%SZ": 15}
"""The two forms of a time in a certificate, by their length (RFC 5280, section 4.1.2.5)."""

log = logging.getLogger("regenerator")


class CertificateFiles(NamedTuple):
    """Where a certificate, with its chain, and its key lie, as PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with the key that fits it.

    Attributes:
        name: Digits that no other pair has.
        expires_at: In seconds since 1970.
    """

    certificate: bytes
    key: bytes = field(repr=False)
    name: str
    expires_at: float


def read_pair(files: CertificateFiles) -> Pair:
    """Read both files, and see that they belong together.

    Raises:
        ValueError: They cannot be used; says why.
    """
    certificate, key = _content(files.certificate), _content(files.key)
    blocks = _CERTIFICATE.findall(certificate)
    if not blocks:
        raise ValueError(f"there is no certificate (PEM) in {files.certificate}")
    _see_that_they_fit(files, certificate, key)
    try:
        expires_at = _expiry(base64.b64decode(blocks[0]))
    except (binascii.Error, IndexError, ValueError):
        raise ValueError(f"the certificate in {files.certificate} has no end") from None
    digest = hashlib.blake2b(digest_size=DIGEST_LENGTH // 2)
    digest.update(b"%d " % len(certificate) + certificate + key)
    return Pair(certificate, key, digest.hexdigest(), expires_at)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ValueError(f"{path} cannot be read ({exc.strerror})") from exc


def _see_that_they_fit(files: CertificateFiles, certificate: bytes, key: bytes) -> None:
    """Let OpenSSL say so of what was read; the files themselves may be others by now."""
    both = os.memfd_create("certificate")
    try:
        os.write(both, certificate + b"\n" + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # without a password, OpenSSL would ask for one on the terminal
        context.load_cert_chain(f"/proc/self/fd/{both}", password=lambda: b"")
    except ssl.SSLError as exc:
        why = "do not belong together" if exc.reason == "KEY_VALUES_MISMATCH" else "cannot be used"
        said = "" if exc.reason == "KEY_VALUES_MISMATCH" else f" ({exc.reason or exc})"
        raise ValueError(f"{files.certificate} and {files.key} {why}{said}") from None
    finally:
        os.close(both)


def _expiry(der: bytes) -> float:
    """Until when a certificate holds.

    Source:
        RFC 5280, section 4.1: version, serial number, algorithm, issuer, then the validity, whose
        second time this is.
    """
    [outer] = list(_elements(der))[:1]
    [signed] = list(_elements(outer[1]))[:1]
    fields = [one for one in _elements(signed[1]) if one[0] != 0xA0]  # noqa: PLR2004 - the version
    _, not_after = list(_elements(fields[3][1]))[:2]
    text = not_after[1].decode("ascii")
    form = next(form for form, length in _NO_CLOCK.items() if length == len(text))
    return datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements of a sequence, each with its tag; lengths of up to four bytes."""
    place = 0
    while place < len(der):
        tag, length = der[place], der[place + 1]
        place += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(der[place : place + count], "big")
            place += count
        yield tag, der[place : place + length]
        place += length


class Certificates:
    """Keeps the pair that nginx uses, and calls back when there is another one.

    Without files it does nothing.

    Attributes:
        expires_at: When the pair in use expires, in seconds since 1970; 0 without one.
    """

    def __init__(
        self,
        files: CertificateFiles | None,
        state: Path,
        *,
        saved: Callable[[], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        """Take the pair in use.

        Raises:
            StateUnwritable: It cannot be copied.
            ValueError: The files cannot be used; the settings were read a moment ago.
        """
        self._files = files
        self._state = state
        self._saved = saved
        self._now = now
        self._told = ""
        self._name = ""
        self.expires_at = 0.0
        self._woken = threading.Event()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="certificates", daemon=True)
        self._observer: BaseObserver | None = None
        if files is not None:
            self._use(read_pair(files))

    def fill(self, text: RenderSettings) -> RenderSettings:
        """The settings of a text, with the pair in use."""
        return replace(text, tls=self._name)

    def start(self) -> None:
        """Begin to watch the files."""
        if self._files is None:
            return
        # where the kernel watches no more folders for us there is the look once a minute
        with suppress(OSError):
            self._observer = self._watch(self._files)
        self._thread.start()

    def _watch(self, files: CertificateFiles) -> BaseObserver:
        observer = Observer()
        heard = _Heard(self._woken.set)
        # a secret of a cluster is a link to a link, and the one in the middle is swapped
        folders = {path.absolute().parent for path in files}
        folders |= {path.resolve().parent for path in files}
        for folder in folders:
            with suppress(OSError):
                observer.schedule(heard, str(folder))
        observer.daemon = True
        observer.start()
        return observer

    def stop(self) -> None:
        """End the watch."""
        self._is_over = True
        self._woken.set()
        if self._observer is not None:
            self._observer.stop()

    def look(self) -> None:
        """Take the files as they are now, if they are others and fit; else say why, once."""
        if self._files is None:
            return
        try:
            pair = read_pair(self._files)
            if pair.name != self._name:
                self._use(pair)
                log.info("a new certificate, which expires %s", _day(pair.expires_at))
                self._saved()
        except (ValueError, StateUnwritable) as exc:
            if str(exc) != self._told:
                # what went wrong is in somebody else's files, not in ours
                log.error(  # noqa: TRY400
                    "the certificate in use stays: %s", exc
                )
            self._told = str(exc)
        else:
            self._told = ""

    def _run(self) -> None:
        while not self._is_over:
            if self._woken.wait(LOOK_S):
                self._wait_until_quiet()
            if not self._is_over:
                self.look()

    def _wait_until_quiet(self) -> None:
        while not self._is_over:
            self._woken.clear()
            if not self._woken.wait(QUIET_S):
                return

    def _use(self, pair: Pair) -> None:
        with _writing(self._state):
            folder = self._state / "tls"
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # the key first: a name is known by its certificate
            _write_private(folder / f"{pair.name}.key", pair.key)
            _write_private(folder / f"{pair.name}.crt", pair.certificate)
            self._name, self.expires_at = pair.name, pair.expires_at
            # a generation may be removed while it is read; what is left then goes the next time
            with suppress(OSError):
                self._prune(folder)
        left_s = pair.expires_at - self._now()
        if left_s < SOON_S:
            said = "expired" if left_s < 0 else "expires"
            log.warning("the certificate %s %s; renew it", said, _day(pair.expires_at))

    def _prune(self, folder: Path) -> None:
        """Remove what neither we use nor a generation on disk."""
        used = {self._name}
        for path in (self._state / "generations").glob("*/tls.conf"):
            used.update(_NAMED.findall(path.read_text(errors="replace")))
        for path in folder.iterdir():
            if path.name.partition(".")[0] not in used:
                path.unlink(missing_ok=True)


class _Heard(FileSystemEventHandler):
    def __init__(self, woken: Callable[[], None]) -> None:
        self._woken = woken

    def on_any_event(self, event: FileSystemEvent) -> None:
        # reading is no change; our own reading would set us off again
        if event.event_type not in {"opened", "closed_no_write"}:
            self._woken()


def _write_private(path: Path, content: bytes) -> None:
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("on %Y-%m-%d at %H:%M UTC")


@contextmanager
def _writing(state: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StateUnwritable(
            f"the certificate cannot be copied into {state}: {exc.strerror or exc}"
        ) from exc
