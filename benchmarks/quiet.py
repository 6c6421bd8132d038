"""What a registrar, a frontend and a watcher cost an etcd that has nothing else to do."""

import contextlib
import threading
import time
from collections.abc import Iterator

from benchmarks.members import Member, grown, run_cluster
from benchmarks.paper import reports_a_second, turns_a_second
from benchmarks.processes import until
from benchmarks.registrars import Instance
from benchmarks.relay import Relay
from benchmarks.store import KEYS
from benchmarks.suite import Bench
from benchmarks.table import Line, Samples
from registry.etcd import Etcd, EtcdSettings
from registry.keys import RouteKey
from registry.records import Address, InstanceRecord
from registry.transactions import on_lease

WATCHERS = (1, 2, 10)

WRITE_EVERY_S = 0.01
"""Some seven times the rush."""

ROUNDS = 20
"""Of refresh and check, for their bytes, which hardly differ."""

REPORT_BYTES = 400
"""As long as a frontend's record that has nothing to complain of."""


def measure(bench: Bench) -> Iterator[Line]:
    """On an etcd that has nothing else to do: bytes, growth, and what a watcher costs."""
    bench.say("scale: bytes, growth and watchers of an etcd at rest")
    with run_cluster(bench.new_folder("etcd")) as cluster:
        [member] = cluster.members
        etcd = cluster.store.etcd
        yield _measure_bytes(member)
        yield _measure_growth(member, etcd)
        for count in WATCHERS:
            yield _measure_watchers(member, etcd, count, writes=4 * bench.sizes.deploys)


def _measure_bytes(member: Member) -> Line:
    """Of one turn of a registrar: its lease refreshed, its key looked at."""
    key, record = _a_route()
    raw = KEYS.raw(key)
    with Relay(member.url) as relay:
        etcd = Etcd(EtcdSettings((relay.url,)))
        lease = etcd.grant(15).id
        etcd.write(raw, record.dump(), lease=lease)
        sent, received = relay.sent, relay.received
        for _ in range(ROUNDS):
            etcd.refresh(lease)
            etcd.commit([on_lease(raw, lease)], then=[])
        up, down = ((relay.sent - sent) / ROUNDS, (relay.received - received) / ROUNDS)
        etcd.close()
    turns = turns_a_second(1_000)
    return Line(
        "a registrar's turn (refresh and check): bytes on the wire; 1,000 registrars",
        "",
        f"{up:.0f} B to etcd, {down:.0f} B back; {(up + down) * turns / 1024:.0f} KiB/s",
    )


def _measure_growth(member: Member, etcd: Etcd) -> Line:
    """A frontend's report, as often as it is written in an hour."""
    value = b"x" * REPORT_BYTES
    times = round(3600 * reports_a_second(1))
    before = member.figures()
    for _ in range(times):
        etcd.write(b"/growth", value)
    more = grown(before, member.figures(), "etcd_mvcc_db_total_size_in_use_in_bytes")
    etcd.delete(b"/growth")
    return Line(
        f"etcd's data grows in an hour at rest, for each frontend ({times} reports)",
        "",
        f"{more / 1024 / 1024:.2f} MiB",
    )


def _measure_watchers(member: Member, etcd: Etcd, count: int, *, writes: int) -> Line:
    """Changes of routes at a steady pace: when has the last watcher seen one, and at what cost?"""
    key, record = _a_route()
    raw, value = KEYS.raw(key), record.dump()
    start = etcd.write(raw, value) + 1
    seen: list[dict[int, float]] = [{} for _ in range(count)]
    with Relay(member.url) as relay, contextlib.ExitStack() as stack:
        for at in range(count):
            url = member.url if at else relay.url
            watching = _Watching(url, from_revision=start, seen=seen[at])
            stack.enter_context(watching)
        cpu_before, received = member.cpu_s(), relay.received
        began_at = time.monotonic()
        written: dict[int, float] = {}
        for number in range(writes):
            time.sleep(max(0.0, began_at + number * WRITE_EVERY_S - time.monotonic()))
            sent_at = time.monotonic()
            written[etcd.write(raw, value)] = sent_at
        until(
            lambda: all(len(one) >= writes for one in seen),
            what="every watcher has seen every change",
            within_s=10,
        )
        cost_ms = (member.cpu_s() - cpu_before) / writes * 1000
        an_event = (relay.received - received) / writes
    took = [
        (max(one[revision] for one in seen) - sent_at) * 1000
        for revision, sent_at in written.items()
    ]
    return Line(
        f"a change of a route at {count} watcher{'s' if count > 1 else ''}: sent → the last has it",
        "",
        f"{Samples(tuple(took)).show_tail(' ms')}; etcd {cost_ms:.2f} ms of processor time with"
        f" the write, {an_event:.0f} B a watcher",
    )


class _Watching:
    """One watcher, as a frontend is one."""

    def __init__(self, url: str, *, from_revision: int, seen: dict[int, float]) -> None:
        self._etcd = Etcd(EtcdSettings((url,)))
        self._following = self._etcd.follow(KEYS.root, from_revision=from_revision)
        self._seen = seen
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._following.close()
        self._thread.join()
        self._etcd.close()

    def _run(self) -> None:
        for batch in self._following:
            at = time.monotonic()
            self._seen.update((change.revision, at) for change in batch.changes)


def _a_route() -> tuple[RouteKey, InstanceRecord]:
    instance = Instance("feature/scale-00000", "api", "10.0.3.17:32768")
    record = InstanceRecord(
        Address.parse(instance.address), registered_at="2026-11-21T09:00:00Z", ttl_s=15
    )
    return RouteKey(instance.branch, instance.service, instance.name), record
