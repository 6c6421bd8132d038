"""No change is lost, while everything is done to etcd that can be done to it."""

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry.etcd import Etcd, EtcdSettings, put
from registry.faults import StoreDenied
from tests.black_hole import BlackHole
from tests.etcd_server import EtcdServer, add_reader, enable_users, wait_until
from tests.reader import reading

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as running:
        yield running


@pytest.fixture
def etcd(server: EtcdServer) -> Etcd:
    client = Etcd(server.settings)
    client.delete_prefix(b"")
    return client


@pytest.mark.prompt
@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_no_change_is_lost_over_a_restart(server: EtcdServer, etcd: Etcd, end: str) -> None:
    with reading(server.url) as reader:
        etcd.write(b"/a/before", b"")
        etcd.write(b"/a/gone", b"")
        wait_until(reader.has(b"/a/gone"))
        if end == "kill":
            server.kill()
        else:
            server.terminate()
        wait_until(lambda: reader.troubles)
        server.start()
        began_at = time.monotonic()
        etcd.delete(b"/a/gone")
        etcd.write(b"/a/after", b"")
        wait_until(lambda: reader.values().keys() == {b"/a/before", b"/a/after"})
        assert time.monotonic() - began_at < 2
        assert reader.troubles[-1] is None
        assert reader.seen[-1] == etcd.list(b"/a/")


def test_a_kill_amid_thousands_of_revisions_loses_none(server: EtcdServer, etcd: Etcd) -> None:
    start = etcd.list(b"/a/").revision
    for _ in range(15):
        # a hundred revisions each, so that etcd needs several messages for all of them
        for number in range(100):
            etcd.write(b"/a/%d" % number, b"")
    with etcd.follow(b"/a/", from_revision=start + 1) as following:
        first = next(following)
        assert first.revision < start + 1500
        server.restart()
    with etcd.follow(b"/a/", from_revision=first.revision + 1) as following:
        seen = len(first.changes)
        for batch in following:
            seen += len(batch.changes)
            if batch.revision == start + 1500:
                break
    assert seen == 1500


def test_a_compaction_while_down_is_followed_by_a_new_list(server: EtcdServer, etcd: Etcd) -> None:
    with BlackHole(server.url) as hole, reading(hole.url) as reader:
        etcd.write(b"/a/gone", b"")
        wait_until(reader.has(b"/a/gone"))
        hole.swallows_all = True
        wait_until(lambda: reader.troubles)
        etcd.delete(b"/a/gone")
        etcd.call("kv/compaction", revision=etcd.write(b"/a/new", b""))
        hole.swallows_all = False
        wait_until(lambda: reader.values().keys() == {b"/a/new"})
        assert reader.seen[-1] == etcd.list(b"/a/")


def test_a_frozen_server_is_noticed_and_picked_up_again(server: EtcdServer, etcd: Etcd) -> None:
    with reading(server.url) as reader:
        etcd.write(b"/a/1", b"")
        wait_until(reader.has(b"/a/1"))
        server.freeze()
        try:
            wait_until(lambda: reader.troubles)
        finally:
            server.thaw()
        etcd.write(b"/a/2", b"")
        wait_until(reader.has(b"/a/2"))
        assert reader.troubles[-1] is None


def test_a_link_that_died_in_silence_is_noticed_and_opened_again(
    server: EtcdServer, etcd: Etcd
) -> None:
    with BlackHole(server.url) as hole, reading(hole.url) as reader:
        etcd.write(b"/a/1", b"")
        wait_until(reader.has(b"/a/1"))
        hole.swallows_all = True
        etcd.write(b"/a/2", b"")
        wait_until(lambda: reader.troubles)
        hole.swallows_all = False
        wait_until(reader.has(b"/a/2"))


def test_another_store_behind_the_same_address_replaces_everything(tmp_path: Path) -> None:
    with EtcdServer(tmp_path / "a") as server:
        etcd = Etcd(server.settings)
        for _ in range(5):
            etcd.write(b"/a/old", b"")
        with reading(server.url) as reader:
            wait_until(reader.has(b"/a/old"))
            server.kill()
            shutil.rmtree(tmp_path / "a" / "data")
            server.start()
            etcd.write(b"/a/new", b"")
            wait_until(lambda: reader.values().keys() == {b"/a/new"})
            assert reader.seen[-1] == etcd.list(b"/a/")


def test_a_store_restored_from_yesterday_replaces_everything(tmp_path: Path) -> None:
    with EtcdServer(tmp_path / "a") as server:
        etcd = Etcd(server.settings)
        etcd.write(b"/a/yesterday", b"")
        server.kill()
        shutil.copytree(tmp_path / "a" / "data", tmp_path / "backup")
        server.start()
        for _ in range(20):
            etcd.write(b"/a/today", b"")
        with reading(server.url) as reader:
            wait_until(reader.has(b"/a/today"))
            server.kill()
            shutil.rmtree(tmp_path / "a" / "data")
            shutil.copytree(tmp_path / "backup", tmp_path / "a" / "data")
            server.start()
            # the old resume point is ahead of this store: a watch from there would be silent
            wait_until(lambda: reader.values().keys() == {b"/a/yesterday"})
            etcd.write(b"/a/later", b"")
            wait_until(reader.has(b"/a/later"))


def test_a_refusal_is_told_and_tried_again(tmp_path: Path) -> None:
    with EtcdServer(tmp_path) as server:
        enable_users(Etcd(server.settings), password="root-secret")
        root = Etcd(EtcdSettings((server.url,), user="root", password="root-secret"))
        add_reader(root, "reader", prefix=b"/mine/", password="reader-secret")
        root.write(b"/a/1", b"")
        with reading(server.url, user="reader", denied_pause_s=0.1) as reader:
            wait_until(lambda: len(reader.troubles) > 2)
            assert all(isinstance(trouble, StoreDenied) for trouble in reader.troubles)
            permission = {"permType": "READ", "key": b"/a/", "range_end": b"/a0"}
            root.call("auth/role/grant", name="reader", perm=permission)
            wait_until(reader.has(b"/a/1"))
            assert reader.troubles[-1] is None


class Chaos:
    """One thing after the other is done to an etcd, and then it is well again."""

    def __init__(self, server: EtcdServer, hole: BlackHole, etcd: Etcd) -> None:
        self._server = server
        self._hole = hole
        self._etcd = etcd
        self._rng = random.Random(7)  # noqa: S311 - the same run each time

    def step(self) -> None:
        """Do one thing, and write a little."""
        steps: list[Callable[[], object]] = [
            self._server.restart,
            self._freeze,
            self._compact,
            self._compact_unseen,
            lambda: self._etcd.delete_prefix(b"/a/%d" % self._rng.randrange(3)),
            lambda: self._etcd.commit([], then=[put(b"/a/%d" % n, b"") for n in range(50)]),
        ]
        self._rng.choice(steps)()
        for _ in range(self._rng.randrange(20)):
            self._etcd.write(b"/a/%d" % self._rng.randrange(100), b"%d" % self._rng.randrange(9))

    def _freeze(self) -> None:
        self._server.freeze()
        thaw_at = time.monotonic() + self._rng.uniform(0, 2)
        wait_until(lambda: time.monotonic() > thaw_at)
        self._server.thaw()

    def _compact(self) -> None:
        self._etcd.call("kv/compaction", revision=self._etcd.write(b"/a/c", b""))

    def _compact_unseen(self) -> None:
        self._hole.swallows_all = True
        self._etcd.delete(b"/a/%d" % self._rng.randrange(100))
        self._compact()
        self._hole.swallows_all = False


def test_a_deletion_that_the_watch_never_told_of_is_found_and_counted(
    server: EtcdServer, etcd: Etcd
) -> None:
    """etcd before 3.4.36 and 3.5.18 loses some; here the way to it does."""
    with (
        BlackHole(server.url) as hole,
        # silence would open the watch anew, and that tells it again
        reading(hole.url, relist_s=1.0, read_timeout_s=30.0) as reader,
    ):
        etcd.write(b"/a/stays", b"")
        etcd.write(b"/a/goes", b"")
        wait_until(reader.has(b"/a/goes"))
        assert reader.missed == 0
        hole.loses = b"DELETE"
        etcd.delete(b"/a/goes")
        wait_until(lambda: hole.lost)
        hole.loses = b""
        wait_until(lambda: reader.values().keys() == {b"/a/stays"})
        assert reader.missed == 1


@pytest.mark.prompt
def test_an_hour_without_etcd_is_made_up_for_at_once(server: EtcdServer, etcd: Etcd) -> None:
    """The hour is the reader's own clock's; what etcd did meanwhile took as long as it takes."""
    passed_s = 0.0
    with reading(server.url, clock=lambda: time.monotonic() + passed_s) as reader:
        etcd.write(b"/a/before", b"")
        wait_until(reader.has(b"/a/before"))
        known = reader.values()
        server.kill()
        wait_until(lambda: reader.troubles)
        passed_s = 3600.0
        wait_until(lambda: len(reader.troubles) > 3)
        assert reader.values() == known
        server.start()
        returned_at = time.monotonic()
        etcd.write(b"/a/after", b"")
        wait_until(reader.has(b"/a/after"))
        assert time.monotonic() - returned_at < 2


def test_chaos_ends_in_the_truth_each_time(server: EtcdServer, etcd: Etcd) -> None:
    """Set ``CHAOS_S`` for a longer run."""
    ends_at = time.monotonic() + float(os.environ.get("CHAOS_S", "10"))
    with BlackHole(server.url) as hole, reading(hole.url, relist_s=3.0) as reader:
        chaos = Chaos(server, hole, etcd)
        while time.monotonic() < ends_at:
            chaos.step()
            wait_until(reader.shows(etcd.list(b"/a/").entries))
        revisions = [snapshot.revision for snapshot in reader.seen]
        assert revisions == sorted(revisions)
