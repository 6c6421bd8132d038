"""The client against three members, some of them dead or frozen."""

import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from registry.etcd import Etcd, EtcdSettings
from registry.faults import StoreUnreachable
from tests.etcd_server import EtcdServer, cluster, wait_until
from tests.reader import reading

pytestmark = pytest.mark.contract


@pytest.fixture
def members(tmp_path: Path) -> Iterator[list[EtcdServer]]:
    with cluster(tmp_path, size=3) as servers:
        yield servers


def client(members: list[EtcdServer]) -> Etcd:
    return Etcd(
        EtcdSettings(tuple(member.url for member in members)),
        call_timeout_s=1.0,
        rng=random.Random(1),  # noqa: S311 - an order
    )


def leader_of(members: list[EtcdServer]) -> EtcdServer:
    for member in members:
        status = Etcd(member.settings).call("maintenance/status")
        if status["leader"] == status["header"]["member_id"]:
            return member
    raise AssertionError("nobody leads")


def test_reads_writes_leases_and_watches_outlive_the_leader(members: list[EtcdServer]) -> None:
    etcd = client(members)
    start = etcd.write(b"/a", b"before")
    lease = etcd.grant(30).id
    leader = leader_of(members)
    leader.kill()

    def write() -> bool:
        try:
            etcd.write(b"/a", b"after", lease=lease)
        except StoreUnreachable:
            return False
        return True

    wait_until(write)

    def refresh() -> bool:
        try:
            return etcd.refresh(lease) == 30
        except StoreUnreachable:
            return False

    wait_until(refresh)
    with etcd.follow(b"/a", from_revision=start) as following:
        seen = next(following)
        assert seen.changes[0].revision == start


def test_no_change_is_lost_when_one_leader_after_the_other_dies(members: list[EtcdServer]) -> None:
    etcd = client(members)

    def is_written(key: bytes) -> bool:
        try:
            etcd.write(key, b"")
        except StoreUnreachable:
            return False
        return True

    with reading(*(member.url for member in members)) as reader:
        for key in (b"/a/1", b"/a/2"):
            leader = leader_of(members)
            leader.kill()
            wait_until(partial(is_written, key))
            wait_until(reader.has(key))
            leader.start()
        wait_until(lambda: reader.seen[-1].entries == etcd.list(b"/a/").entries)


def test_a_member_without_a_quorum_ends_its_watches(members: list[EtcdServer]) -> None:
    leader = leader_of(members)
    left = next(member for member in members if member is not leader)
    etcd = Etcd(left.settings, call_timeout_s=1.0)
    start = etcd.write(b"/a", b"")
    with etcd.follow(b"/quiet", from_revision=start + 1, read_timeout_s=60.0) as following:
        for member in members:
            if member is not left:
                member.freeze()
        began_at = time.monotonic()
        # without the header that asks for a leader it would be silent for those 60 s
        with pytest.raises(StoreUnreachable, match="no leader"):
            list(following)
        assert time.monotonic() - began_at < 15
