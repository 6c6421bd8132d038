"""The pure part: from a snapshot to the rendered text, in this process, without nginx."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.frontend import ROOT
from benchmarks.store import DOMAIN, KEYS, plan_routes
from benchmarks.suite import Bench
from benchmarks.table import Line, Samples, yes_or_no
from regenerator import templates
from regenerator.render import RenderSettings
from regenerator.routes import AddressRules, build_routes
from registry.claims import new_labels
from registry.keys import ClaimKey, RouteKey
from registry.records import Address, ClaimRecord, InstanceRecord
from registry.snapshot import Entry, Snapshot
from registry.values import parse_networks


def measure(bench: Bench) -> Iterator[Line]:
    """In a fresh process each time, and again after one route more."""
    bench.say(f"pure part: {bench.sizes.large:,} routes")
    cold: list[float] = []
    warm: list[float] = []
    for _ in range(bench.sizes.runs):
        done = subprocess.run(  # a second in all; a minute means that it hangs
            [sys.executable, "-m", "benchmarks.pure", str(bench.sizes.large)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            cwd=ROOT,
        )
        first, second = map(float, done.stdout.split())
        cold.append(first)
        warm.append(second)
    for name, values in (("from nothing", cold), ("one route changed", warm)):
        found = Samples(tuple(values))
        yield Line(
            f"snapshot → rendered text, {bench.sizes.large:,} routes, {name}",
            "< 250 ms",
            found.show(" ms"),
            yes_or_no(found.median < 250),
        )


def make_snapshot(count: int) -> Snapshot:
    """A registry as 10,000 registrars would have left it: leased routes with their claims."""
    addresses = [
        f"10.{at >> 14}.{at >> 6 & 255}.{at % 64}:{32768 + at % 1000}" for at in range(count)
    ]
    entries: dict[bytes, Entry] = {}
    for at, route in enumerate(plan_routes(addresses, count)):
        labels = new_labels(route.branch, route.service, default_service="web", taken=())
        claim = ClaimRecord(labels, created="2026-11-21T09:00:00Z").dump()
        record = InstanceRecord(Address.parse(route.address), registered_at="2026-11-21T09:00:00Z")
        instance = f"3c41d5{at:06x}"
        for key, value, lease in (
            (ClaimKey(route.branch, route.service), claim, 0),
            (RouteKey(route.branch, route.service, instance), record.dump(), at + 1),
        ):
            raw = KEYS.raw(key)
            entries[raw] = Entry(raw, value, at + 1, at + 1, lease)
    return Snapshot("1", count, entries)


def _time_both(count: int) -> tuple[float, float]:
    snapshot = make_snapshot(count + 1)
    last = sorted(snapshot.entries, key=lambda key: snapshot.entries[key].create_revision)[-2:]
    fewer = replace(
        snapshot,
        entries={key: snapshot.entries[key] for key in snapshot.entries if key not in last},
    )
    _forget()
    rules = AddressRules(parse_networks("10.0.0.0/8"), ((1024, 65535),))
    settings = RenderSettings(DOMAIN, f"http://{DOMAIN}:8080", ("127.0.0.1:8080",))
    renderer = templates.load(templates.default_folder(), settings)

    def once(of: Snapshot) -> float:
        began_at = time.perf_counter()
        table = build_routes(of, keys=KEYS, rules=rules, default_service="web")
        renderer.render(table)
        return (time.perf_counter() - began_at) * 1000

    return once(fewer), once(snapshot)


def _forget() -> None:
    """Empty the caches that making the snapshot has filled: a program just started has none."""
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").partition(".")[0] in {"registry", "regenerator"}:
            for thing in vars(module).values():
                if hasattr(thing, "cache_clear"):
                    thing.cache_clear()


if __name__ == "__main__":
    print(*_time_both(int(sys.argv[1])))
