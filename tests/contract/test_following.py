"""Snapshots without end: what they show, what is told besides, and how it stops."""

import logging
import random
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from registry.etcd import Etcd
from registry.following import Follower
from registry.snapshot import Snapshot
from tests.black_hole import BlackHole
from tests.etcd_server import EtcdServer, wait_until
from tests.reader import Reader, reading

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


def test_the_first_snapshot_is_the_list_and_each_change_gives_the_next(
    server: EtcdServer, etcd: Etcd
) -> None:
    revision = etcd.write(b"/a/1", b"one")
    with reading(server.url) as reader:
        wait_until(lambda: reader.seen)
        assert reader.seen[0] == etcd.list(b"/a/")
        etcd.write(b"/a/2", b"two")
        etcd.delete(b"/a/1")
        wait_until(lambda: reader.values() == {b"/a/2": b"two"})
        assert [snapshot.revision for snapshot in reader.seen] == [
            revision,
            revision + 1,
            revision + 2,
        ]
        assert reader.seen[-1] == etcd.list(b"/a/")
        assert reader.troubles == []


def test_what_nobody_heeds_shows_in_the_next_snapshot(server: EtcdServer, etcd: Etcd) -> None:
    with reading(server.url, heed=lambda key: not key.startswith(b"/a/noise/")) as reader:
        wait_until(lambda: reader.seen)
        for number in range(5):
            etcd.write(b"/a/noise/%d" % number, b"")
        etcd.write(b"/a/1", b"one")
        wait_until(reader.has(b"/a/1", b"one"))
        assert len(reader.seen) == 2
        assert len(reader.values()) == 6


def test_silence_is_no_trouble(server: EtcdServer, etcd: Etcd) -> None:
    with reading(server.url, read_timeout_s=0.05) as reader:
        wait_until(lambda: reader.seen)
        quiet_until = time.monotonic() + 0.5
        wait_until(lambda: time.monotonic() > quiet_until)
        assert reader.troubles == []
        assert len(reader.seen) == 1
        etcd.write(b"/a/1", b"")
        wait_until(reader.has(b"/a/1"))


def test_the_registry_is_listed_anew_now_and_then(server: EtcdServer, etcd: Etcd) -> None:
    etcd.write(b"/a/1", b"")
    with reading(server.url, relist_s=0.2) as reader:
        wait_until(lambda: len(reader.seen) >= 3)
        assert {tuple(snapshot.entries) for snapshot in reader.seen} == {(b"/a/1",)}


@pytest.mark.parametrize("state", ["quiet", "down", "frozen", "mute"])
def test_stopping_takes_no_time_whatever_etcd_does(
    server: EtcdServer, etcd: Etcd, state: str
) -> None:
    etcd.write(b"/a/1", b"")
    with BlackHole(server.url) as hole, reading(hole.url, read_timeout_s=30.0) as reader:
        wait_until(lambda: reader.seen)
        try:
            if state == "down":
                server.kill()
                wait_until(lambda: reader.troubles)
            if state == "frozen":
                server.freeze()
            if state == "mute":
                hole.swallows_all = True
            assert reader.stop() < 0.2
        finally:
            server.thaw()
            if state == "down":
                server.start()


def test_stopping_before_the_first_answer_takes_no_time(server: EtcdServer) -> None:
    with BlackHole(server.url) as hole:
        hole.swallows_all = True
        with reading(hole.url) as reader:
            assert reader.stop() < 0.2
            assert reader.seen == []


def test_a_watch_that_lost_an_event_is_found_out(
    server: EtcdServer, etcd: Etcd, caplog: pytest.LogCaptureFixture
) -> None:
    etcd.write(b"/a/1", b"")

    class Forgetful(Etcd):
        """Lists one key less the first time, as if its watch had lost the key later."""

        lists = 0

        def list(self, prefix: bytes, **more: Any) -> Snapshot:
            found = super().list(prefix, **more)
            self.lists += 1
            kept = {} if self.lists == 1 else found.entries
            return Snapshot(found.cluster_id, found.revision, kept)

    with caplog.at_level(logging.WARNING, logger="registry"):
        reader = Reader(Forgetful(server.settings), relist_s=0.2)
        try:
            wait_until(reader.has(b"/a/1"))
        finally:
            reader.stop()
    assert "1 keys written, 0 gone" in caplog.text


def test_whoever_lets_go_of_the_iterator_stops_it(etcd: Etcd) -> None:
    etcd.write(b"/a/1", b"")
    before = threading.active_count()
    iterator = Follower(etcd, b"/a/", rng=random.Random(1)).snapshots()  # noqa: S311 - pauses
    assert next(iterator).entries.keys() == {b"/a/1"}
    assert isinstance(iterator, Generator)
    iterator.close()
    wait_until(lambda: threading.active_count() <= before)
