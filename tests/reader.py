"""A program that reads snapshots, for tests that hurt its etcd."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from registry.etcd import Etcd, EtcdSettings
from registry.faults import Fault
from registry.following import Follower
from registry.snapshot import Entry, Snapshot

READ_TIMEOUT_S = 0.5
CALL_TIMEOUT_S = 0.5


class Reader:
    """Keeps every snapshot and every trouble of a follower."""

    def __init__(self, etcd: Etcd, *, prefix: bytes = b"/a/", **more: Any) -> None:
        more = {"read_timeout_s": READ_TIMEOUT_S} | more
        self.troubles: list[Fault | None] = []
        self.seen: list[Snapshot] = []
        rng = random.Random(1)  # noqa: S311 - lengths of pauses
        self._follower = Follower(etcd, prefix, rng=rng, on_trouble=self.troubles.append, **more)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def stop(self) -> float:
        """Stop it; the seconds that took."""
        began_at = time.monotonic()
        self._follower.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()
        return time.monotonic() - began_at

    @property
    def missed(self) -> int:
        """How many keys a list has corrected."""
        return self._follower.missed

    def values(self) -> dict[bytes, bytes]:
        """The last snapshot, without what etcd knows besides."""
        entries = self.seen[-1].entries if self.seen else {}
        return {key: entry.value for key, entry in entries.items()}

    def has(self, key: bytes, value: bytes = b"") -> Callable[[], bool]:
        """Whether the last snapshot has it, to be asked again and again."""
        return lambda: self.values().get(key) == value

    def shows(self, entries: Mapping[bytes, Entry]) -> Callable[[], bool]:
        """Whether the last snapshot is just this, to be asked again and again."""
        return lambda: bool(self.seen) and self.seen[-1].entries == entries

    def _read(self) -> None:
        for snapshot in self._follower.snapshots():
            self.seen.append(snapshot)


@contextmanager
def reading(*urls: str, user: str = "", **more: Any) -> Iterator[Reader]:
    """Read ``/a/`` until the end of the context; a user's password is ``<user>-secret``."""
    etcd = Etcd(
        EtcdSettings(urls, user=user, password=f"{user}-secret" if user else ""),
        call_timeout_s=CALL_TIMEOUT_S,
    )
    reader = Reader(etcd, **more)
    try:
        yield reader
    finally:
        reader.stop()
        etcd.close()
