"""``python -m tests.torture [--short] [ROW...]``: hurt it, and print one table."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import FrameType

from benchmarks.table import describe_machine
from tests.torture import outages, reloads, replaces, soak, stops, workers
from tests.torture.run import SHORT, Counts, Row, Run
from tests.torture.table import Line, show_table

ROWS: dict[str, Row] = {
    "replaces": replaces.measure,
    "reloads": reloads.measure,
    "workers": workers.measure,
    "registry": outages.measure,
    "leader": outages.measure_leader,
    "stops": stops.measure,
    "soak": soak.measure,
}


ABOUT = "Hurt the installed commands while clients ask, and print one table."


def main() -> int:
    """Run the rows that were asked for; 1 if a goal was missed or a row could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=ABOUT)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"one of {', '.join(ROWS)}")
    parser.add_argument("--short", action="store_true", help="fewer of each: five minutes in all")
    given = parser.parse_args()
    unknown = [name for name in given.rows if name not in ROWS]
    if unknown:
        parser.error(f"no row is called {', '.join(unknown)}; there are {', '.join(ROWS)}")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    began_at = time.monotonic()
    load_before = os.getloadavg()[0]
    folder = Path(tempfile.mkdtemp(prefix="branchfront-torture-"))
    run = Run(SHORT if given.short else Counts(), folder)
    lines: list[Line] = []
    for name in given.rows or ROWS:
        try:
            # one by one: what a row has found before it failed stays found
            for line in ROWS[name](run):
                run.say(f"{line.row}: {line.measured}")
                lines.append(line)
        except KeyboardInterrupt:
            shutil.rmtree(folder, ignore_errors=True)
            lines.append(Line(name, "", "interrupted", is_met=False))
            break
        except Exception as exc:  # noqa: BLE001 - the other rows can still be measured
            traceback.print_exc()
            said = " ".join(str(exc).split())[:300]
            lines.append(Line(name, "", f"not measured: {said}", is_met=False))
    lines.append(_wrong(lines))
    is_met = all(line.is_met for line in lines)
    if is_met:
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.exists():
        run.say(f"logs: {folder}")
    sys.stdout.write(
        f"\nOn {describe_machine(('nginx', 'etcd'))};\n"
        f"{time.strftime('%Y-%m-%d')}, {time.monotonic() - began_at:.0f} s in all; load average"
        f" before {load_before:.1f}. Clients that never ask twice; of every answer it was checked"
        f" whose it was.\n\n{show_table(lines)}\n"
    )
    return 0 if is_met else 1


def _wrong(lines: list[Line]) -> Line:
    wrong, asked = sum(line.wrong for line in lines), sum(line.asked for line in lines)
    return Line(
        "requests that reached a wrong container, in all of the above",
        "0",
        f"{wrong} of {asked:,}",
        wrong == 0,
    )


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End all that was started, and do not let a second Ctrl-C end that."""
    del number, frame
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
