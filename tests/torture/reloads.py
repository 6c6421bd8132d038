"""Reloads by changes of other branches: nobody's request fails, nobody's stream ends."""

import time
from collections.abc import Iterator

from tests.system.origin import Origin
from tests.torture.gauges import WorkerWatch
from tests.torture.load import Load, between, shown
from tests.torture.place import BUDGET, Place, hosts, place
from tests.torture.run import Run
from tests.torture.streams import Download, Talk
from tests.torture.table import Line

ASKED = 24
"""Branches that nobody changes; the clients ask them."""

CHANGED = 1_000
"""Numbers from here on are changed."""

APPLIED_S = 90.0
"""The pause between reloads grows up to a minute while many old generations live."""


def measure(run: Run) -> Iterator[Line]:
    """Let streams live through some changes, then go on until the reloads are done."""
    counts = run.counts
    run.say(f"reloads: {counts.reloads}, {counts.lived_through} changes under streams")
    with place(run.new_folder("reloads")) as at, Origin("talker") as talker:
        numbers = range(ASKED)
        at.write_by_hand(numbers)
        at.frontend.put("talker", "web", talker.address)
        with Load(at.frontend.port, hosts(numbers)) as load, WorkerWatch(at) as watch:
            before = load.tally()
            yield _streams(run, at, watch)
            turn = counts.lived_through
            while watch.reloads < counts.reloads:
                at.frontend.wait_for(_change(at, turn), within_s=APPLIED_S)
                turn += 1
            took_s, found = load.since_s, between(before, load.tally())
    yield Line(
        f"{watch.reloads} reloads by changes of other branches",
        "0 failed",
        f"{shown(found, for_s=took_s)}, one reload in {took_s / watch.reloads:.1f} s",
        found.failed + found.cut == 0,
        found.wrong,
        found.asked,
    )


def _streams(run: Run, at: Place, watch: WorkerWatch) -> Line:
    counts = run.counts
    with (
        Talk(at.frontend, "talker.localhost") as talk,
        Download(at.frontend, "team-t0.localhost", for_s=counts.download_s) as download,
    ):
        revision = 0
        for turn in range(counts.lived_through):
            revision = _change(at, turn)
            # the last one is served before the download ends
            time.sleep(0.9 * counts.download_s / counts.lived_through)
        at.frontend.wait_for(revision, within_s=APPLIED_S)
        reloads, heard = watch.reloads, talk.said
    faults = "".join(f"; {one.fault}" for one in (talk, download) if one.fault)
    is_met = not faults and watch.most_old <= BUDGET + 1 and talk.said > heard
    return Line(
        f"a WebSocket and a download of {counts.download_s} s live through"
        f" {counts.lived_through} changes of other branches",
        f"both whole, at most {BUDGET} + 1 old generations",
        f"{'cut' if faults else 'whole'}{faults}; {reloads} reloads meanwhile,"
        f" {watch.most_old} old generations at most, {talk.said} messages",
        is_met,
    )


def _change(at: Place, turn: int) -> int:
    """Write a branch that was not there; gives the revision."""
    return at.write_by_hand([CHANGED + turn])
