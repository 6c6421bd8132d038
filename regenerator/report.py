"""A frontend's own record: what it has applied, so that registrars can wait for it."""

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from regenerator.echo import Echo
from regenerator.pipeline import Outcome
from registry.etcd import Etcd
from registry.faults import ConfigRejected, Fault, LeaseLost, RenderFault, StateUnwritable
from registry.keys import FrontendKey, Keyspace
from registry.records import FrontendRecord

TTL_S = 15
"""A frontend that died stops holding up those who wait for it after so long."""

REJECTIONS = 50
"""As many travel in a record; ``rejected`` counts all."""

_STATES = {
    RenderFault: "template broken",
    ConfigRejected: "configuration refused",
    StateUnwritable: "state unwritable",
}


class Reporter:
    """Keeps ``frontends/<id>`` at what was last told, on a lease, on a thread of its own.

    Etcd may be slow or gone: whoever tells never waits, and only the newest is written.
    """

    def __init__(
        self,
        etcd: Etcd,
        *,
        keys: Keyspace,
        frontend: str,
        blank: FrontendRecord,
        echo: Echo | None = None,
        ttl_s: int = TTL_S,
    ) -> None:
        self._etcd = etcd
        self._echo = echo or Echo(lambda _s: None)
        self._ttl_s = ttl_s
        self._lease = 0
        self._refresh_at = 0.0
        self._key = keys.raw(FrontendKey(frontend))
        self._record = blank
        self._changed = threading.Condition()
        self._is_stopping = False
        self._is_written = True
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)

    def start(self) -> None:
        """Begin to write, once there is something to tell."""
        self._thread.start()

    def stop(self, *, within_s: float) -> None:
        """Take the record away, if etcd answers in time; else its lease does."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(within_s)

    def tell_missed(self, keys: int) -> None:
        """Note how many keys a list has corrected so far; written with what is told next."""
        with self._changed:
            self._record = replace(self._record, missed=keys)

    def tell(self, news: Outcome | Fault) -> None:
        """Note what to write; never waits."""
        with self._changed:
            self._record = _told(self._record, news)
            self._is_written = False
            self._changed.notify()

    def _run(self) -> None:
        while self._next():
            try:
                self._keep_lease()
                with self._changed:
                    record = self._record
                self._echo.call()
                self._etcd.write(self._key, record.dump(), lease=self._lease)
                with self._changed:
                    self._is_written = self._record is record
            except LeaseLost:
                self._lease = 0
                self._echo.forget()
                with self._changed:
                    self._is_written = False
            except Fault:
                self._echo.forget()
                # the follower meets the same etcd and says what is wrong with it
                self._pause(random.uniform(0.2, 1.0))  # noqa: S311 - no secret, only spread
        if self._lease:
            # where etcd does not answer, the lease ends by itself
            with suppress(Fault):
                self._etcd.revoke(self._lease)

    def _keep_lease(self) -> None:
        """Have a lease, and refresh it when it is time to: writing alone does not.

        Raises:
            LeaseLost: It is gone, and the record with it.
        """
        if not self._lease:
            self._lease = self._etcd.grant(self._ttl_s).id
            self._check_history()
        elif time.monotonic() >= self._refresh_at:
            self._etcd.refresh(self._lease)
        else:
            return
        # a third of the lease leaves room for two failures; jitter spreads frontends out
        spread = random.uniform(0.9, 1.1)  # noqa: S311 - no secret, only spread
        self._refresh_at = time.monotonic() + self._ttl_s / 3 * spread

    def _check_history(self) -> None:
        """Claim nothing of a store that is not the one of which it was told.

        A lease may be lost with the store. Revisions of another one, or of an older state of it,
        would tell whoever waits that what he wrote is served.
        """
        store = self._etcd.list(self._key)
        with self._changed:
            record = self._record
            is_other = record.cluster_id not in {"", store.cluster_id}
            if is_other or record.revision > store.revision:
                self._record = replace(record, revision=0, released=0)
                self._is_written = False

    def _next(self) -> bool:
        """Wait until the record is not written or the lease is due; false to stop."""
        with self._changed:
            wait_s = max(0.0, self._refresh_at - time.monotonic()) if self._lease else None
            self._changed.wait_for(lambda: self._is_stopping or not self._is_written, wait_s)
            return not self._is_stopping

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopping, seconds)


def _told(
    record: FrontendRecord, news: Outcome | Fault, *, now: Callable[[], float] = time.time
) -> FrontendRecord:
    if isinstance(news, Fault):
        return replace(record, state=_STATES.get(type(news), "not applied"))
    applied_at = record.applied_at
    if news.generation != record.generation:
        applied_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now()))
    return replace(
        record,
        cluster_id=news.cluster_id,
        revision=news.revision,
        # late requests of retiring workers are passed on, so nothing older is served
        released=news.revision,
        generation=news.generation,
        routes=news.routes,
        rejected=len(news.rejections),
        rejections=tuple(
            {"key": one.key, "reason": one.reason} for one in news.rejections[:REJECTIONS]
        ),
        state="holding lost routes" if news.is_braking else "ok",
        applied_at=applied_at,
        held=news.held,
        table=news.table,
    )
