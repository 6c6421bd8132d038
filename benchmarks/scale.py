"""500 services with two instances each, and more: what 1,000 registrars cost etcd and a frontend.

Everything is real but for the registrars' processes, see ``registrars``. The figures on paper that
the measured ones stand beside are in ``paper``; docs/scale.md says what follows from both.
"""

import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks import quiet
from benchmarks.fleet import Fleet
from benchmarks.frontend import ROOT, Frontend, run_frontend
from benchmarks.latency import time_writes
from benchmarks.members import Cluster, Member, cpu_s, grown, run_cluster, total
from benchmarks.origin import Origin, serve_origin
from benchmarks.paper import EVENTS_A_DEPLOY, PROPOSALS_A_DEPLOY, reports_a_second, turns_a_second
from benchmarks.probe import ask, is_served
from benchmarks.processes import BenchmarkFault, until
from benchmarks.pulse import Pulse
from benchmarks.registrars import Instance
from benchmarks.reloading import ReloadCount
from benchmarks.store import KEYS, Planned, plan_routes
from benchmarks.suite import Bench
from benchmarks.table import Line, Samples, yes_or_no
from benchmarks.timeline import Seen, Timeline
from benchmarks.visitors import Visits
from registrar.keep import REFRESHES, RETRY_MOST_S
from registry.claims import new_labels
from registry.keys import ClaimKey
from registry.records import ClaimRecord
from registry.spread import JITTER

INSTANCES = 2
"""Of each service."""

DEPLOY_EVERY_S = 0.6
"""A hundred a minute."""

STARTED_WITHIN_S = 300.0
"""5,000 registrars in four processes on two cores, all at once."""

DEPLOYED_WITHIN_S = 60.0
"""A deploy takes 3 s: two of them are the ``DRAIN`` of the old instances."""

BACK_WITHIN_S = 120.0
"""After an outage: registrars try every second, so only an etcd that is overrun takes longer."""

SETTLE_S = 1.5
"""After a crowd has started: what follows a registration is over."""


HERD_S = 1.0
"""After the last has come back: as long as the slowest pause between two tries."""

VISITORS, THINK_S = 8, 0.04
"""Some 300 requests a second: they are to meet every change, not to take both cores."""

PROBE_EVERY_S = 0.005
"""At most a handful of new instances are looked for at the same time."""

BCRYPT_COSTS = ((4, 1), (10, 25))
"""The least that there is, and what etcd takes unless it is told otherwise; that with one in 25 of
the registrars, since of one in 10 hardly any was ever ready."""

LARGER = ((2, 1), (5, 1), (5, 4))
"""Times as many registrars as are asked for, and times as long a lease."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One simulation.

    Attributes:
        services: By number; each has ``INSTANCES`` addresses at first, and may get as many anew.
        fleet: Registrars, as many as there are instances, and those that replace them.
    """

    cluster: Cluster
    origin: Origin
    frontend: Frontend
    fleet: Fleet
    services: Sequence[Planned]
    instances: dict[int, Instance]
    ttl_s: int

    @property
    def count(self) -> int:
        """How many registrars there are at first."""
        return INSTANCES * len(self.services)

    @property
    def leader(self) -> Member:
        """Of etcd."""
        return next(member for member in self.cluster.members if member.leads())

    def names(self, numbers: Sequence[int]) -> list[str]:
        """What the instances are called in the registry."""
        return [self.instances[number].name for number in numbers]


def measure(bench: Bench) -> Iterator[Line]:
    """At rest, the start of all, the morning rush, and etcd away."""
    sizes = bench.sizes
    yield from quiet.measure(bench)
    with _play(bench, sizes.registrars, deploys=sizes.deploys) as scene:
        yield from _measure_start(bench, scene)
        yield from _measure_rest(bench, scene)
        yield from _measure_rush(bench, scene)
        yield from _measure_outages(bench, scene, runs=sizes.outages)


def measure_cluster(bench: Bench) -> Iterator[Line]:
    """The same on three members of etcd, of which the leader is killed."""
    count = bench.sizes.registrars
    with _play(bench, count, members=3) as scene:
        yield from _measure_start(bench, scene, where=", three members")
        yield from _measure_rest(bench, scene, where=", three members")
        bench.say("scale-cluster: the leader is killed")
        yield _measure_lost_leader(scene)


def measure_users(bench: Bench) -> Iterator[Line]:
    """Where everybody logs in with a password, at etcd's own price for it and at a low one."""
    for cost, part in BCRYPT_COSTS:
        where = f", users, bcrypt cost {cost}"
        count = max(INSTANCES, bench.sizes.registrars // part)
        with _play(bench, count, bcrypt_cost=cost) as scene:
            yield from _measure_start(bench, scene, where=where)
            yield from _measure_rest(bench, scene, where=where)
            yield from _measure_outages(bench, scene, where=where, runs=1)


def measure_limits(bench: Bench) -> Iterator[Line]:
    """More registrars than anybody asked for."""
    for times, longer in LARGER:
        count, ttl_s = times * bench.sizes.registrars, longer * bench.sizes.lease_s
        where = f", leases alone, TTL {ttl_s}"
        bench.say(f"scale-limits: {count:,} leases of {ttl_s} s")
        try:
            with _play(bench, count, ttl_s=ttl_s) as scene:
                yield from _measure_kept(bench, scene, where=where)
        except BenchmarkFault as fault:
            yield Line(f"{count:,} registrars{where}", "", f"gave in: {fault}".replace("\n", " "))


def _measure_kept(bench: Bench, scene: Scene, *, where: str) -> Iterator[Line]:
    """Leases that are kept alive, beside branches that come and an etcd that goes."""
    numbers = range(scene.count)
    _claim(scene)
    with Timeline(scene.cluster.settings) as timeline:
        scene.fleet.keep(numbers)
        timeline.wait_ready(scene.names(numbers), within_s=STARTED_WITHIN_S)
    time.sleep(SETTLE_S)
    yield from _measure_rest(bench, scene, where=where)
    yield _measure_news(bench, scene, where=where)
    yield from _measure_outages(bench, scene, where=where, runs=1)


@contextlib.contextmanager
def _play(
    bench: Bench,
    count: int,
    *,
    deploys: int = 0,
    members: int = 1,
    bcrypt_cost: int = 0,
    ttl_s: int = 0,
) -> Iterator[Scene]:
    """Have everything there; no registrar has been started yet."""
    ttl_s = ttl_s or bench.sizes.lease_s
    folder = bench.new_folder("etcd")
    with (
        run_cluster(folder, size=members, bcrypt_cost=bcrypt_cost) as cluster,
        serve_origin(bench.new_folder("origin"), count=count + INSTANCES * deploys) as origin,
    ):
        services = plan_routes(origin.addresses, count // INSTANCES, kind="scale")
        instances = {}
        for number, address in enumerate(origin.addresses):
            # those beyond the first count replace those of the first services
            service = services[number % count // INSTANCES]
            instances[number] = Instance(service.branch, service.service, address)
        with (
            run_frontend(bench.new_folder("frontend"), cluster.store) as frontend,
            Fleet(cluster.settings, instances, ttl_s=ttl_s) as fleet,
        ):
            yield Scene(cluster, origin, frontend, fleet, services, instances, ttl_s)


def _claim(scene: Scene) -> None:
    """Make all claims, as they stand from the day before: a claim stays when its branch leaves."""
    etcd = scene.cluster.store.etcd
    for service in scene.services:
        key = ClaimKey(service.branch, service.service)
        labels = new_labels(service.branch, service.service, default_service="web", taken=())
        etcd.write(KEYS.raw(key), ClaimRecord(labels, created="2026-11-20T09:00:00Z").dump())


def _measure_start(bench: Bench, scene: Scene, *, where: str = "") -> Iterator[Line]:
    """Start all at once; on an empty registry every claim has to be made as well."""
    bench.say(f"scale: {scene.count:,} registrars start at once{where}")
    numbers = range(scene.count)
    etcd_s, fleet_s = scene.cluster.cpu_s(), scene.fleet.cpu_s()
    leader = scene.leader
    with (
        Timeline(scene.cluster.settings) as timeline,
        Pulse(leader) as pulse,
        ReloadCount(scene.frontend) as counted,
    ):
        began_at = time.monotonic()
        scene.fleet.start(numbers)
        last = timeline.wait_ready(scene.names(numbers), within_s=STARTED_WITHIN_S)
        reported_at = timeline.wait_reported(last.revision, within_s=STARTED_WITHIN_S)
        time.sleep(SETTLE_S)
        reloads = counted.reloads
        etcd_s, fleet_s = scene.cluster.cpu_s() - etcd_s, scene.fleet.cpu_s() - fleet_s
    missing = [one.host for one in scene.services if not _is_up(scene, one)]
    if missing:
        raise BenchmarkFault(f"{len(missing)} services are not served, such as {missing[0]}")
    sent = total(leader.figures(), "etcd_network_client_grpc_sent_bytes_total")
    head = f"{scene.count:,} registrars start at once{where}"
    yield Line(
        f"{head} → the last is ready, the last is served",
        "",
        f"{last.at - began_at:.1f} s, {reported_at - began_at:.1f} s; {reloads} reloads",
    )
    yield Line(
        f"{head}: etcd",
        "",
        f"{etcd_s:.1f} s of processor time (the registrars {fleet_s:.0f} s), at most"
        f" {pulse.peak:,.0f} requests/s, {sent / 1024 / 1024:,.0f} MiB sent,"
        f" slowest /health {pulse.slowest_health_s * 1000:,.0f} ms",
    )


def _is_up(scene: Scene, service: Planned) -> bool:
    """Whether the service is answered by an instance of its own."""
    answer = ask(scene.frontend.port, service.host)
    mine = {one.address for one in scene.instances.values() if one.branch == service.branch}
    return answer.status == 200 and answer.body.strip() in mine


def _measure_rest(bench: Bench, scene: Scene, *, where: str = "") -> Iterator[Line]:
    """Nobody comes and nobody goes."""
    seconds = bench.sizes.at_rest_s
    bench.say(f"scale: {scene.count:,} registrars at rest for {seconds} s")
    members = scene.cluster.members
    before, began_at = [member.figures() for member in members], time.monotonic()
    cpu_before = [member.cpu_s() for member in members]
    time.sleep(seconds)
    after, lasted_s = [member.figures() for member in members], time.monotonic() - began_at
    cpu = [
        (member.cpu_s() - had) / lasted_s for member, had in zip(members, cpu_before, strict=True)
    ]

    def pace(name: str, *labels: str) -> float:
        """Of all members together."""
        grown = zip(after, before, strict=True)
        return sum(total(a, name, *labels) - total(b, name, *labels) for a, b in grown) / lasted_s

    turns = turns_a_second(scene.count, ttl_s=scene.ttl_s)
    # not counted by name: a follower hands a refresh on to the leader by other means than gRPC
    renewed = pace("etcd_debugging_lease_renewed_total")
    checks = pace("grpc_server_handled_total", 'grpc_method="Txn"')
    # every member applies every proposal
    proposals = pace("etcd_server_proposals_applied_total") / len(members)
    head = f"{scene.count:,} registrars at rest{where}"
    yield Line(
        f"{head}: leases refreshed, keys looked at, a second",
        f"{turns:,.0f} + {turns:,.0f} on paper",
        f"{renewed:,.0f} + {checks:,.0f}",
    )
    yield Line(
        f"{head}: proposals of raft a second",
        f"{reports_a_second(1):.1f} on paper, all of them the frontend's",
        f"{proposals:.2f}",
    )
    shown = ", ".join(f"{share * 100:.1f}%" for share in cpu)
    memory = ", ".join(f"{member.resident_mib():.0f}" for member in members)
    files = ", ".join(f"{one['process_open_fds']:,.0f}" for one in after)
    data_mib = after[0]["etcd_mvcc_db_total_size_in_use_in_bytes"] / 1024 / 1024
    yield Line(
        f"{head}: etcd",
        "",
        f"{shown} of a core, {memory} MiB resident,"
        f" {files} files and sockets, {data_mib:.1f} MiB of data",
    )


def _measure_news(bench: Bench, scene: Scene, *, where: str) -> Line:
    """Branches that come one by one: how soon each is served."""
    bench.say(f"scale: new branches beside {scene.count:,} registrars")
    new = plan_routes(scene.origin.addresses[:1], bench.sizes.samples // 3, kind="new")
    found = time_writes(
        lambda route: scene.cluster.store.fill([route]), new, port=scene.frontend.port
    )
    return Line(
        f"{scene.count:,} registrars at rest{where}: put of another branch → first answer",
        "",
        found.show_tail(" ms"),
    )


def _measure_rush(bench: Bench, scene: Scene) -> Iterator[Line]:
    """Deploys that each replace all instances of a service, with clients that ask on."""
    deploys = bench.sizes.deploys
    rush_s = deploys * DEPLOY_EVERY_S
    bench.say(f"scale: {deploys} deploys within {rush_s:.0f} s")
    rng = random.Random(1)
    due_at = sorted(rng.uniform(0, rush_s) for _ in range(deploys))
    leader = scene.leader
    with (
        Timeline(scene.cluster.settings) as timeline,
        _visiting(scene) as visiting,
        ReloadCount(scene.frontend) as counted,
        ThreadPoolExecutor(deploys) as pool,
    ):
        cpu_before = cpu_s(leader.pid), cpu_s(scene.frontend.pid)
        before, began_at = leader.figures(), time.monotonic()
        deployed = [
            pool.submit(_deploy, scene, timeline, number, at=began_at + at)
            for number, at in enumerate(due_at)
        ]
        answered_ms = [one.result() * 1000 for one in deployed]
        after, lasted_s = leader.figures(), time.monotonic() - began_at
        cpu = [
            (now - then) / lasted_s
            for now, then in zip(
                (cpu_s(leader.pid), cpu_s(scene.frontend.pid)), cpu_before, strict=True
            )
        ]
        reloads = counted.reloads
        # what the last client is told now is served by who is there
        asked, failures = visiting.end(scene.fleet.left_at, scene.instances)
    counts, reported = timeline.counts, _reported_ms(timeline)
    minute_s = 60 / lasted_s
    proposals = grown(before, after, "etcd_server_proposals_applied_total")
    sent = grown(before, after, "etcd_network_client_grpc_sent_bytes_total")
    routes = sum(counts[kind] for kind in ("starting", "ready", "draining", "deleted"))
    head = (
        f"rush: {deploys} deploys in {rush_s:.0f} s, {INSTANCES} of {scene.count:,} instances each"
    )
    yield Line(
        f"{head}: changes of routes",
        f"{EVENTS_A_DEPLOY * deploys} on paper, and {PROPOSALS_A_DEPLOY * deploys:,} proposals",
        f"{routes} ({counts['starting']} starting, {counts['ready']} ready,"
        f" {counts['draining']} draining, {counts['deleted']} deleted);"
        f" {proposals - counts['report']:,.0f} proposals, and {counts['report']} reports of the"
        " frontend",
    )
    yield Line(
        f"{head}: reloads of nginx a minute", "", f"{reloads * minute_s:.0f} ({reloads} in all)"
    )
    yield Line(
        f"{head}: ready in etcd → applied by the frontend",
        "",
        Samples(tuple(reported)).show_tail(" ms"),
    )
    yield Line(
        f"{head}: ready in etcd → first answer of the new instance",
        "",
        Samples(tuple(answered_ms)).show_tail(" ms"),
    )
    reasons = ", ".join(f"{count} {reason}" for reason, count in failures.items())
    failed = sum(failures.values())
    yield Line(
        f"{head}: failed requests, or answered by an instance that had left",
        "0",
        f"{failed} of {asked:,}" + (f" ({reasons})" if reasons else ""),
        yes_or_no(failed == 0),
    )
    yield Line(
        f"{head}: etcd, regenerator",
        "",
        f"{cpu[0] * 100:.1f}% and {cpu[1] * 100:.0f}% of a core;"
        f" etcd sent {sent / lasted_s / 1024:.0f} KiB/s",
    )


def _deploy(scene: Scene, timeline: Timeline, number: int, *, at: float) -> float:
    """Replace the instances of a service; seconds from ready to the first answer of the last one.

    As ECS does with a minimum of 100% healthy: the old ones are told to end when the new ones are
    ready.
    """
    time.sleep(max(0.0, at - time.monotonic()))
    old = range(INSTANCES * number, INSTANCES * (number + 1))
    new = [scene.count + one for one in old]
    scene.fleet.start(new)
    ready = timeline.wait_ready(scene.names(new), within_s=DEPLOYED_WITHIN_S)
    scene.fleet.leave(old)
    last = next(one for one in new if timeline.ready[scene.instances[one].name] == ready)
    port, host = scene.frontend.port, scene.services[number].host
    until(
        lambda: is_served(port, host, scene.instances[last].address),
        what=f"{host} is answered by its new instance",
        within_s=DEPLOYED_WITHIN_S,
        every_s=PROBE_EVERY_S,
    )
    answered_s = time.monotonic() - ready.at
    scene.fleet.wait_left(old, within_s=DEPLOYED_WITHIN_S)
    return answered_s


def _reported_ms(timeline: Timeline) -> list[float]:
    """For each new instance: from ready to the frontend's report that it has applied that."""
    seen: list[Seen] = list(timeline.ready.values())
    return [(timeline.reported(one.revision) - one.at) * 1000 for one in seen]


class _Visiting:
    """Clients at work."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        self._child = child

    def end(
        self, left_at: dict[int, float], instances: dict[int, Instance]
    ) -> tuple[int, dict[str, int]]:
        """What was asked, and what failed by what happened."""
        said, _ = self._child.communicate(timeout=VISITORS + 15)
        result = json.loads(said)
        failures: dict[str, int] = result["failures"]
        gone_at = {instances[number].address: at for number, at in left_at.items()}
        last_at: dict[str, float] = result["last_at"]
        late = sum(1 for address, at in gone_at.items() if last_at.get(address, 0.0) > at)
        if late:
            failures["instances answered after they had left"] = late
        return result["asked"], failures


@contextlib.contextmanager
def _visiting(scene: Scene) -> Iterator[_Visiting]:
    hosts: dict[str, tuple[str, ...]] = {}
    for service in scene.services:
        mine = (one.address for one in scene.instances.values() if one.branch == service.branch)
        hosts[service.host] = tuple(mine)
    visits = Visits(scene.frontend.port, VISITORS, THINK_S, hosts)
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.visitors"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as child:
        try:
            if child.stdin is None or child.stdout is None:
                raise BenchmarkFault("the visitors have no pipes")
            child.stdin.write(f"{visits.dump()}\n")
            child.stdin.flush()
            child.stdout.readline()
            yield _Visiting(child)
        finally:
            child.kill()


def _measure_outages(bench: Bench, scene: Scene, *, where: str = "", runs: int) -> Iterator[Line]:
    """Etcd killed, and started again when every registrar has noticed: all come at once."""
    [member] = scene.cluster.members
    # who has refreshed just before does so again after this at the latest
    away_s = scene.ttl_s / REFRESHES * (1 + JITTER) + RETRY_MOST_S
    up_s: list[float] = []
    back_s: list[float] = []
    peaks: list[float] = []
    health_ms: list[float] = []
    missed = 0
    before = scene.fleet.ask()
    for run in range(runs):
        bench.say(f"scale: etcd is away for {away_s:.1f} s, run {run + 1}")
        member.kill()
        scene.fleet.forget()
        time.sleep(away_s)
        with Pulse(member) as pulse:
            began_at = time.monotonic()
            member.start()
            member.wait_up()
            up_at = time.monotonic()
            up_s.append(up_at - began_at)
            # one that got through while we were still asking was back at once
            back_at = scene.fleet.wait_back(within_s=BACK_WITHIN_S)
            time.sleep(HERD_S)
        back_s.append(max(0.0, back_at - up_at))
        peaks.append(pulse.peak)
        health_ms.append(pulse.slowest_health_s * 1000)
        missed += pulse.missed
    after = scene.fleet.ask()
    anew = sum(told.leases - before[number].leases for number, told in after.items())
    head = f"etcd away for {away_s:.0f} s, {scene.count:,} registrars{where}"
    yield Line(
        f"{head}: started → it answers → the last registrar got through",
        "",
        f"{_shown(up_s, ' s')}, {_shown(back_s, ' s')} more",
    )
    yield Line(
        f"{head}: most requests/s, slowest /health, leases lost",
        "",
        f"{_shown(peaks, '/s')}, {max(health_ms):.0f} ms"
        + (f" ({missed} not answered)" if missed else "")
        + f", {anew}",
    )


def _shown(values: Sequence[float], unit: str) -> str:
    return Samples(tuple(values)).show(unit)


def _measure_lost_leader(scene: Scene) -> Line:
    """The leader of three is killed: registrars go on with the other two."""
    before = scene.fleet.ask()
    leader = scene.leader
    rest = [member for member in scene.cluster.members if member is not leader]
    began_at = time.monotonic()
    leader.kill()
    scene.fleet.forget()
    until(
        lambda: any(member.leads() for member in rest),
        what="another member leads",
        within_s=STARTED_WITHIN_S,
    )
    elected_s = time.monotonic() - began_at
    scene.fleet.wait_back(within_s=BACK_WITHIN_S)
    after = scene.fleet.ask()
    back_s = max(told.back_at for told in after.values()) - began_at
    anew = sum(told.leases - before[number].leases for number, told in after.items())
    return Line(
        f"the leader of three is killed, {scene.count:,} registrars: another one leads, all of them"
        " have got through; leases lost",
        "",
        f"after {elected_s:.2f} s, {back_s:.1f} s; {anew}",
    )
