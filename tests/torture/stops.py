"""How soon after SIGTERM an instance gets no new request any more."""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.table import Samples
from tests.torture.clients import IDLE_S
from tests.torture.fleet import Fleet
from tests.torture.load import Load, between, examples
from tests.torture.place import hosts, ip, place
from tests.torture.run import Run
from tests.torture.table import Line

BUSY = 12
BUSY_PAUSE_S = 0.02
"""About 250 requests a second to the one instance that is stopped, so 4 ms from one to the next."""

IDLE = 150
"""On connections to workers of every age: 35 requests a second, from connections that have been
idle for up to eight seconds."""

REMEMBERED = 6
"""Branches that idle clients go on to ask after their instance was stopped: for 10 s, which is as
long as an old worker keeps them."""

BEFORE_S = 0.3
AFTER_S = (1.2, 2.2)
"""From one stop to the next it takes 2 s. A stop is one reload, and old generations live 10 s while
idle clients are there: faster, and reloads would wait for them."""

FIRST = 10_000
"""Numbers below it have instances that are stopped, from here on the rest of the registry."""

GOAL_MS = 500


def measure(run: Run) -> Iterator[Line]:
    """Stop one instance after the other; another one of each branch goes on."""
    counts, rng = run.counts, random.Random(1)  # noqa: S311 - spreads stops
    stops = range(counts.stops)
    run.say(f"stops: {counts.stops} at {counts.routes} routes")
    with (
        place(run.new_folder("stops")) as at,
        Fleet(at, ttl_s=counts.ttl_s) as fleet,
        ExitStack() as working,
    ):
        at.write_by_hand(range(FIRST, FIRST + counts.routes - counts.stops))
        at.write_by_hand(stops, instance=2)
        fleet.start(stops)
        at.wait_calm(map(at.address, stops))
        port = at.frontend.port
        busy = working.enter_context(
            Load(port, hosts([0]), busy=BUSY, idle=0, pause_s=BUSY_PAUSE_S)
        )
        idle = working.enter_context(Load(port, hosts(stops[:2]), busy=0, idle=IDLE))
        time.sleep(max(IDLE_S))
        before, began_at = (busy.tally(), idle.tally()), time.monotonic()
        told_at: dict[str, float] = {}
        for number in stops:
            busy.lead(hosts([number]))
            idle.lead(hosts(stops[max(0, number - REMEMBERED) : number + 2]))
            time.sleep(BEFORE_S)
            told_at[ip(number)] = fleet.sidecars[number, 1].send(signal.SIGTERM)
            # by chance, so that no rhythm of ours meets one of theirs
            time.sleep(rng.uniform(*AFTER_S))
        time.sleep(max(IDLE_S))
        after, took_s = (busy.tally(), idle.tally()), time.monotonic() - began_at
        last_at = at.origin.last_asked()
    unasked = told_at.keys() - last_at.keys()
    assert not unasked, f"never asked before it was stopped: {sorted(unasked)}"
    late = Samples(tuple(max(0.0, last_at[one] - at) * 1000 for one, at in told_at.items()))
    parts = [between(one, other) for one, other in zip(before, after, strict=True)]
    asked, failed = sum(p.asked for p in parts), sum(p.failed + p.cut for p in parts)
    failures = examples([one for part in parts for one in part.failures])
    yield Line(
        f"SIGTERM → last new request that reaches the instance, {counts.routes:,} routes,"
        f" {counts.stops} stops, {BUSY} busy and {IDLE} idle clients",
        f"p99 < {GOAL_MS} ms, 0 failed",
        f"{late.show_tail(' ms')}; {failed} of {asked:,} failed ({asked / took_s:.0f}/s){failures}",
        late.p99 < GOAL_MS and failed == 0,
        sum(part.wrong for part in parts),
        asked,
    )
