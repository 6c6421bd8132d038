"""The client against a real etcd: what every call promises."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.etcd import (
    Batch,
    Etcd,
    absent,
    created_at,
    drop,
    fetch,
    holds,
    on_lease,
    put,
    unchanged,
)
from registry.faults import LeaseLost, StoreMisspoken, StoreUnreachable, WatchCompacted
from tests.etcd_server import EtcdServer

pytestmark = pytest.mark.contract

NO_SUCH_LEASE = 12345


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as running:
        yield running


@pytest.fixture
def etcd(server: EtcdServer) -> Iterator[Etcd]:
    client = Etcd(server.settings)
    client.delete_prefix(b"")
    yield client
    client.close()


def test_a_key_reads_back_as_it_was_written(etcd: Etcd) -> None:
    key, value = b"/a/\xff\x00\n\xc3\xa4", bytes(range(256))
    revision = etcd.write(key, value)
    entry = etcd.read(key)
    assert entry is not None
    assert entry == (key, value, revision, revision, 0)
    assert etcd.write(key, b"") == revision + 1
    again = etcd.read(key)
    assert again is not None
    assert again == (key, b"", revision, revision + 1, 0)


def test_a_key_that_is_not_there_reads_as_none(etcd: Etcd) -> None:
    assert etcd.read(b"/nobody") is None


def test_a_list_has_the_prefix_alone_and_the_revision_of_the_store(etcd: Etcd) -> None:
    etcd.write(b"/a/1", b"one")
    etcd.write(b"/a/2", b"two")
    etcd.write(b"/b", b"other")
    last = etcd.write(b"/a0", b"just behind the prefix")
    snapshot = etcd.list(b"/a/")
    assert {e.key: e.value for e in snapshot.entries.values()} == {b"/a/1": b"one", b"/a/2": b"two"}
    assert snapshot.revision == last
    assert snapshot.cluster_id.isdigit()


@pytest.mark.parametrize("prefix", [b"\xff", b"a\xff", b"a\xff\xff", b"", b"\x00"])
def test_odd_prefixes_list_just_what_begins_so(etcd: Etcd, prefix: bytes) -> None:
    keys = {b"\x00", b"\x00\xff", b"a", b"a\xff", b"a\xff\xffz", b"b", b"\xff", b"\xff\xff"}
    for key in keys:
        etcd.write(key, b"")
    assert etcd.list(prefix).entries.keys() == {key for key in keys if key.startswith(prefix)}


def test_a_list_can_be_narrowed_to_keys_and_to_what_is_new(etcd: Etcd) -> None:
    old = etcd.write(b"/a/old", b"value")
    new = etcd.write(b"/a/new", b"value")
    etcd.write(b"/a/old", b"written again, but no new key")
    assert etcd.list(b"/a/", created_after=old).entries.keys() == {b"/a/new"}
    assert etcd.list(b"/a/", created_after=new).entries == {}
    assert {e.value for e in etcd.list(b"/a/", keys_only=True).entries.values()} == {b""}


def test_values_of_a_megabyte_and_lists_of_six_arrive(etcd: Etcd) -> None:
    value = bytes(range(250)) * 4000
    for number in range(6):
        etcd.write(b"/big/%d" % number, value)
    assert [e.value for e in etcd.list(b"/big/").entries.values()] == [value] * 6


def test_deletions_say_how_many_keys_went(etcd: Etcd) -> None:
    revision = etcd.write(b"/a/1", b"")
    etcd.write(b"/a/2", b"")
    assert etcd.delete(b"/a/1").keys == 1
    assert etcd.delete(b"/a/1").keys == 0
    assert etcd.read(b"/a/1") is None
    gone = etcd.delete_prefix(b"/a/")
    assert gone.keys == 1
    assert gone.revision > revision


def test_each_condition_is_judged_as_it_is_named(etcd: Etcd) -> None:
    lease = etcd.grant(30).id
    made = etcd.write(b"/key", b"one")
    etcd.write(b"/key", b"two", lease=lease)
    judged = {
        absent(b"/none"): True,
        absent(b"/key"): False,
        created_at(b"/key", made): True,
        created_at(b"/key", made + 1): False,
        unchanged(b"/key", made + 1): True,
        unchanged(b"/key", made): False,
        on_lease(b"/key", lease): True,
        on_lease(b"/key", lease + 1): False,
        on_lease(b"/key", 0): False,
        on_lease(b"/none", 0): True,
        holds(b"/key", b"two"): True,
        holds(b"/key", b"one"): False,
        holds(b"/none", b""): False,
    }
    assert {one: etcd.commit([one], then=[]).succeeded for one in judged} == judged


def test_a_commit_does_either_the_one_or_the_other(etcd: Etcd) -> None:
    either, other = [put(b"/then", b"")], [put(b"/otherwise", b"")]
    assert etcd.commit([absent(b"/then")], then=either, otherwise=other).succeeded
    assert etcd.read(b"/otherwise") is None
    assert not etcd.commit(
        [absent(b"/new"), absent(b"/then")], then=[put(b"/new", b"")], otherwise=other
    ).succeeded
    assert etcd.read(b"/new") is None
    assert etcd.read(b"/otherwise") is not None


def test_a_commit_reads_writes_and_drops_at_one_revision(etcd: Etcd) -> None:
    etcd.write(b"/old", b"")
    lease = etcd.grant(30).id
    done = etcd.commit(
        [], then=[fetch(b"/old"), put(b"/new", b"v", lease=lease), drop(b"/old"), fetch(b"/old")]
    )
    assert done.succeeded
    before, after = done.reads
    assert [entry.key for entry in before] == [b"/old"]
    assert after == ()
    assert etcd.read(b"/new") == (b"/new", b"v", done.revision, done.revision, lease)


def test_a_lease_takes_its_keys_with_it(etcd: Etcd) -> None:
    lease = etcd.grant(20)
    assert lease.ttl_s == 20
    etcd.write(b"/leased", b"", lease=lease.id)
    assert etcd.refresh(lease.id) == 20
    etcd.revoke(lease.id)
    assert etcd.read(b"/leased") is None


def test_a_lease_that_was_revoked_behind_our_back_is_said_to_be_lost(etcd: Etcd) -> None:
    lease = etcd.grant(20).id
    etcd.revoke(lease)
    with pytest.raises(LeaseLost):
        etcd.refresh(lease)
    with pytest.raises(LeaseLost):
        etcd.write(b"/key", b"", lease=lease)
    with pytest.raises(LeaseLost):
        etcd.commit([], then=[put(b"/key", b"", lease=NO_SUCH_LEASE)])
    etcd.revoke(lease)
    assert etcd.read(b"/key") is None


def test_a_watch_shows_every_change_from_its_start_on(etcd: Etcd) -> None:
    start = etcd.write(b"/a/1", b"one")
    etcd.write(b"/b", b"not ours")
    deleted = etcd.delete(b"/a/1").revision
    with etcd.follow(b"/a/", from_revision=start) as following:
        assert following.revision == deleted
        seen = next(following)
        assert seen.revision == deleted
        assert [(c.key, c.revision, c.entry is None) for c in seen.changes] == [
            (b"/a/1", start, False),
            (b"/a/1", deleted, True),
        ]
        both = etcd.commit([], then=[put(b"/a/2", b""), put(b"/a/3", b"")]).revision
        batch = next(following)
        assert batch.revision == both
        assert [(c.key, c.entry) for c in batch.changes] == [
            (key, (key, b"", both, both, 0)) for key in (b"/a/2", b"/a/3")
        ]


def test_closing_frees_a_reader_that_waits(etcd: Etcd) -> None:
    following = etcd.follow(b"/quiet", from_revision=etcd.list(b"/quiet").revision + 1)
    seen: list[Batch] = []
    reader = threading.Thread(target=lambda: seen.extend(following))
    reader.start()
    following.close()
    reader.join(0.5)
    assert not reader.is_alive()
    assert seen == []
    following.close()


def test_silence_ends_a_watch_quietly(etcd: Etcd) -> None:
    start = etcd.list(b"/quiet").revision + 1
    with etcd.follow(b"/quiet", from_revision=start, read_timeout_s=0.05) as following:
        assert list(following) == []


def test_a_watch_from_before_the_compaction_says_so(etcd: Etcd) -> None:
    start = etcd.write(b"/a", b"")
    now = etcd.write(b"/a", b"")
    etcd.call("kv/compaction", revision=now)
    with etcd.follow(b"/a", from_revision=start) as following, pytest.raises(WatchCompacted) as hit:
        list(following)
    assert hit.value.compact_revision == now


def test_a_call_that_makes_no_sense_to_etcd_names_its_reason(etcd: Etcd) -> None:
    with pytest.raises(StoreMisspoken, match="key is not provided"):
        etcd.write(b"", b"")
    with pytest.raises(StoreMisspoken, match="too large"):
        etcd.write(b"/huge", b"x" * 2_000_000)


def test_threads_may_share_a_client(etcd: Etcd) -> None:
    def write(worker: int) -> None:
        for number in range(20):
            etcd.write(b"/many/%d/%d" % (worker, number), b"")

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(etcd.list(b"/many/").entries) == 160


def test_a_client_survives_a_restart_of_the_server(tmp_path: Path) -> None:
    with EtcdServer(tmp_path) as server:
        etcd = Etcd(server.settings)
        etcd.write(b"/a", b"kept")
        lease = etcd.grant(30).id
        server.kill()
        with pytest.raises(StoreUnreachable):
            etcd.read(b"/a")
        server.start()
        found = etcd.read(b"/a")
        assert found is not None
        assert found.value == b"kept"
        assert etcd.refresh(lease) == 30
