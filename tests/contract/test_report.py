"""A frontend's own record on a real etcd: there for as long as its regenerator lives."""

import time
from pathlib import Path

import pytest

from regenerator.pipeline import Outcome
from regenerator.report import Reporter
from registry.etcd import Etcd
from registry.keys import FrontendKey, Keyspace
from registry.records import FrontendRecord
from tests.etcd_server import EtcdServer, wait_until

pytestmark = pytest.mark.contract

KEYS = Keyspace("/report")
TTL_S = 2  # the shortest that etcd grants


def test_a_record_that_changes_all_the_time_stays_on_its_lease(tmp_path: Path) -> None:
    """Writing a key refreshes nothing; a record that is gone holds nobody up who has to wait."""
    with EtcdServer(tmp_path) as server:
        etcd = Etcd(server.settings)
        reporter = Reporter(etcd, keys=KEYS, frontend="one", blank=FrontendRecord(), ttl_s=TTL_S)
        raw = KEYS.raw(FrontendKey("one"))
        reporter.start()
        reporter.tell(Outcome("1", 1, "aaaaaaaaaaaa", 0, (), is_new=True))
        wait_until(lambda: etcd.read(raw))
        created = {entry.create_revision for entry in [etcd.read(raw)] if entry}

        # etcd takes a lease away up to a second and a half late
        until = time.monotonic() + TTL_S + 3
        revision = 2
        while time.monotonic() < until:
            reporter.tell(Outcome("1", revision, "aaaaaaaaaaaa", 0, (), is_new=False))
            wait_until(lambda told=revision: _revision(etcd, raw) >= told)  # type: ignore[misc]
            created |= {entry.create_revision for entry in [etcd.read(raw)] if entry}
            revision += 1
        reporter.stop(within_s=1.0)

        assert len(created) == 1
        assert etcd.read(raw) is None
        etcd.close()


def test_a_record_claims_nothing_of_a_store_that_is_not_the_one_it_is_of(tmp_path: Path) -> None:
    """etcd comes back empty, and the frontend has not looked at it yet."""
    with EtcdServer(tmp_path) as server:
        etcd = Etcd(server.settings)
        reporter = Reporter(etcd, keys=KEYS, frontend="one", blank=FrontendRecord(), ttl_s=TTL_S)
        raw = KEYS.raw(FrontendKey("one"))
        reporter.start()
        reporter.tell(Outcome("1", 10**6, "aaaaaaaaaaaa", 0, (), is_new=True))
        wait_until(lambda: etcd.read(raw))
        assert _revision(etcd, raw) == 0

        reporter.tell(Outcome("1", 5, "bbbbbbbbbbbb", 0, (), is_new=True))
        wait_until(lambda: _revision(etcd, raw) == 5)
        reporter.stop(within_s=1.0)
        etcd.close()


def _revision(etcd: Etcd, raw: bytes) -> int:
    entry = etcd.read(raw)
    return FrontendRecord.parse(entry.value).revision if entry else 0
