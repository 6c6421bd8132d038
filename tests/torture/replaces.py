"""Rolling replaces: the new instance up, healthy and applied, then the old one told to stop."""

import signal
import sys
from collections.abc import Iterator

from tests.etcd_server import free_ports
from tests.torture.fleet import Fleet, Registrar
from tests.torture.load import Load, between, shown
from tests.torture.place import hosts, ip, place
from tests.torture.run import Run
from tests.torture.table import Line

BRANCHES = 4
"""Replaced in turn, and asked all the time."""

BYSTANDERS = 20
"""Branches that nobody touches, asked as well."""

LISTENS_S = "0.5"
"""After so many seconds a new instance listens: most services take longer."""

APPLIED = "all frontends have applied the registration"


def measure(run: Run) -> Iterator[Line]:
    """Replace one instance after the other, with ``registrar run`` and a command of its own."""
    replaces = run.counts.replaces
    run.say(f"replaces: {replaces} of {BRANCHES} branches")
    numbers = range(BRANCHES + BYSTANDERS)
    with (
        place(run.new_folder("replaces")) as at,
        Fleet(at, ttl_s=run.counts.ttl_s) as fleet,
    ):
        at.write_by_hand(numbers[BRANCHES:])
        # a container counts its own connections alone; here that takes a port for each branch
        ports = free_ports(BRANCHES)
        serving = [_start(fleet, number, 1, port=port) for number, port in enumerate(ports)]
        with Load(at.frontend.port, hosts(numbers)) as load:
            before = load.tally()
            for turn in range(replaces):
                number = turn % BRANCHES
                new = _start(fleet, number, 2 + turn // BRANCHES, port=ports[number])
                old, serving[number] = serving[number], new
                old.send(signal.SIGTERM)
                code = old.wait()
                assert code == 128 + signal.SIGTERM, f"the old one ended with {code}: {old.log}"
                if turn % 10 == 9:
                    run.say(f"replaces: {turn + 1}")
            took_s = load.since_s
            found = between(before, load.tally())
    yield Line(
        f"{replaces} rolling replaces, `registrar run`",
        "0 failed",
        f"{shown(found, for_s=took_s)}, one replace in {took_s / replaces:.1f} s",
        found.failed + found.cut == 0,
        found.wrong,
        found.asked,
    )


def _start(fleet: Fleet, number: int, instance: int, *, port: int) -> Registrar:
    """Start an instance, and wait until every frontend has applied it."""
    address = ip(number, instance)
    command = [sys.executable, "-m", "tests.torture.origin", str(port), address, LISTENS_S]
    started = fleet.launch(
        ["run", "--wait", "30", "--", *command],
        number,
        f"{number}-{instance}",
        PORT=str(port),
        IP=address,
    )
    started.wait_said(APPLIED)
    return started
