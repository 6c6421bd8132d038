"""The registry as a stream of snapshots that never ends: list, follow, and begin again.

What etcd may do to a watch (end it, fall silent, forget the history, come back as another store)
ends here; who reads the snapshots sees the next one, and is told of trouble besides.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from registry.audit import count_missed
from registry.etcd import READ_TIMEOUT_S, Batch, Etcd, Following
from registry.faults import Fault, StoreDenied, StoreMisspoken, WatchCompacted
from registry.handover import Handover
from registry.snapshot import Snapshot
from registry.spread import vary

RELIST_S = 300.0
"""The longest that a lost event is unknown: etcd before 3.4.36 and 3.5.18 has lost some itself."""

PAUSE_FIRST_S = 0.05
PAUSE_MAX_S = 1.0
"""Pauses between tries are drawn below a bound that doubles from the first to the longest: an
etcd that is back is found within a second, and a crowd of clients does not come all at once."""

DENIED_PAUSE_S = 30.0
"""Somebody has to change a role or a password; asking faster only fills etcd's log."""

log = logging.getLogger("registry")


class _Trouble(NamedTuple):
    fault: Fault | None


class _Bug(NamedTuple):
    raised: BaseException


class Follower:
    """Follows one prefix for as long as it is wanted.

    Calls block in a thread of their own, so ``stop`` ends the iteration at once, whatever the
    network does; that thread holds at most one snapshot back while the reader is busy, and a
    call that it is in when it is stopped runs into its own deadline unseen.

    Args:
        prefix: What the keys begin with.
        relist_s: About how often to read everything again, whatever the watch says.
        rng: Spreads the tries and the lists of many followers.
        heed: Whether a change of this key is worth a snapshot; what is not shows in the next one.
            Called in the follower's thread.
        on_trouble: Called by the reader's own thread, between two snapshots: with the fault for
            each try that came to nothing, with None when etcd answers again.
        read_timeout_s: Silence after which the watch is opened anew.

    Attributes:
        missed: How many keys a list has corrected so far, because the watch had not told of them.
    """

    def __init__(
        self,
        etcd: Etcd,
        prefix: bytes,
        *,
        rng: random.Random,
        relist_s: float = RELIST_S,
        clock: Callable[[], float] = time.monotonic,
        heed: Callable[[bytes], bool] = lambda _key: True,
        on_trouble: Callable[[Fault | None], None] = lambda _fault: None,
        read_timeout_s: float = READ_TIMEOUT_S,
        denied_pause_s: float = DENIED_PAUSE_S,
    ) -> None:
        self.missed = 0
        self._etcd = etcd
        self._prefix = prefix
        self._relist_s = relist_s
        self._rng = rng
        self._clock = clock
        self._heed = heed
        self._on_trouble = on_trouble
        self._read_timeout_s = read_timeout_s
        self._denied_pause_s = denied_pause_s
        self._handover: Handover[Snapshot | _Trouble | _Bug] = Handover()
        self._following: Following | None = None
        self._snapshot: Snapshot | None = None
        self._relist_at = 0.0
        self._pause_s = PAUSE_FIRST_S
        self._in_trouble = False
        self._watched = False  # up to now, so that a list may be held against what was shown

    def snapshots(self) -> Iterator[Snapshot]:
        """Yield the registry once it could be read, and after each change; ends by ``stop`` alone.

        Whoever closes the iterator stops the follower, too. To be called once.
        """
        threading.Thread(target=self._run, name="follow etcd", daemon=True).start()
        try:
            while (news := self._handover.take()) is not None:
                match news:
                    case Snapshot():
                        yield news
                    case _Trouble(fault):
                        self._on_trouble(fault)
                    case _Bug(raised):
                        raise raised
        finally:
            self.stop()

    def stop(self) -> None:
        """End the iteration, from any thread but not from within a signal's handler."""
        self._handover.end()
        if (following := self._following) is not None:
            following.close()

    def _run(self) -> None:
        try:
            while not self._handover.ended:
                self._handover.wait(self._try())
        except BaseException as exc:  # noqa: BLE001 - it is raised again where it can be seen
            self._handover.offer(_Bug(exc))

    def _try(self) -> float:
        """List if it is time to, and follow until the watch ends; the pause before the next try."""
        try:
            snapshot = self._snapshot
            if snapshot is None or self._clock() >= self._relist_at:
                snapshot = self._list()
            self._follow(snapshot)
        except WatchCompacted as fault:
            # ordinary for a quiet prefix in a busy store
            log.info("%s; reading the registry again", fault)
            self._relist_at = 0.0
            return 0.0
        except Fault as fault:
            return self._note_trouble(fault)
        return 0.0

    def _list(self) -> Snapshot:
        known, fresh = self._snapshot, self._etcd.list(self._prefix)
        if known is not None and known.entries and not fresh.entries:
            log.warning("etcd lists no key where there were %d; asking again", len(known.entries))
            fresh = self._etcd.list(self._prefix)
        self._note_answer()
        if known is not None and self._watched:
            missed = count_missed(known, fresh)
            if any(missed):
                text = "a list differs from what the watch had shown: %d keys written, %d gone"
                log.warning(text, *missed)
                self.missed += sum(missed)
        self._watched = False
        # a tenth earlier or later, so that frontends started together do not list together
        self._relist_at = self._clock() + vary(self._relist_s, self._rng)
        self._snapshot = fresh
        self._handover.offer(fresh)
        return fresh

    def _follow(self, snapshot: Snapshot) -> None:
        limit_s = max(min(self._read_timeout_s, self._relist_at - self._clock()), PAUSE_FIRST_S)
        following = self._etcd.follow(
            self._prefix, from_revision=snapshot.revision + 1, read_timeout_s=limit_s
        )
        with following:
            self._following = following
            if self._handover.ended:
                return
            self._check_history(snapshot, following)
            self._note_answer()
            self._pause_s = PAUSE_FIRST_S
            self._watched = False
            for batch in following:
                snapshot = self._take(snapshot, batch)
                if self._clock() >= self._relist_at:
                    break
            self._watched = True

    def _check_history(self, snapshot: Snapshot, following: Following) -> None:
        """See that the watch is on the history that the snapshot is of.

        A member may lag behind the others, so a revision that went back is only a suspicion; a
        read is answered by the quorum and settles it. What is another store is listed next.
        """
        cluster_id, revision = following.cluster_id, following.revision
        if cluster_id == snapshot.cluster_id and revision < snapshot.revision:
            # below what can be no key, so this brings nothing but where the quorum stands
            quorum = self._etcd.list(self._prefix + b"\0")
            cluster_id, revision = quorum.cluster_id, quorum.revision
        if cluster_id != snapshot.cluster_id or revision < snapshot.revision:
            self._relist_at = 0.0
            raise StoreMisspoken(
                f"etcd is not the store it was (cluster {cluster_id} at revision {revision}, before"
                f" that {snapshot.cluster_id} at {snapshot.revision}); reading it again"
            )

    def _take(self, snapshot: Snapshot, batch: Batch) -> Snapshot:
        self._snapshot = snapshot.after(batch.changes, revision=batch.revision)
        # all are asked: whoever listens for a key of its own hears of each
        heeded = [self._heed(change.key) for change in batch.changes]
        if any(heeded):
            self._handover.offer(self._snapshot)
        return self._snapshot

    def _note_answer(self) -> None:
        if self._in_trouble:
            self._in_trouble = False
            self._handover.offer(_Trouble(None))

    def _note_trouble(self, fault: Fault) -> float:
        self._in_trouble = True
        self._handover.offer(_Trouble(fault))
        if isinstance(fault, StoreDenied):
            return vary(self._denied_pause_s, self._rng)
        pause_s = self._rng.uniform(0, self._pause_s)
        self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)
        return pause_s
