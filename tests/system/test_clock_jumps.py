"""The clock of the machine jumps by an hour while a service is registered and served.

The clock is libfaketime's: registrar and regenerator are told another time of day from one moment
to the next, as by a hand or by a badly set time server. Leases, routes and requests do not care.
"""

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.etcd_server import EtcdServer, wait_until
from tests.registrar_process import Place, Registrar
from tests.system.asking import Asking
from tests.system.frontend import Frontend
from tests.system.origin import Origin

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        not list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")),
        reason="no libfaketime on this machine; apt-get install faketime",
    ),
]

HOUR_S = 3600

TTL_S = 2
"""The least there is."""

LEASES = 2.5
"""A lease that is not refreshed is gone after one and a half; etcd looks twice a second."""


SLEEP = """
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""
"""Run by each Python at its start: libfaketime 0.9.10 takes the monotonic clock that Python sleeps
by for the time of day, and refuses."""


class Clock:
    """A time of day that a test moves, for the programs that are started with its variables."""

    def __init__(self, folder: Path) -> None:
        [library, *_] = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
        self._path = folder / "clock"
        self.jump(0)
        (folder / "sitecustomize.py").write_text(SLEEP)
        self.environ = {
            "PYTHONPATH": str(folder),
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            # looks at the file whenever somebody asks for the time
            "FAKETIME_NO_CACHE": "1",
            # as with a real jump, which moves the time of day alone
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: int) -> None:
        """Be so far from the true time from now on."""
        beside = self._path.with_suffix(".new")
        beside.write_text(f"{seconds:+d}")
        beside.rename(self._path)


@pytest.fixture(name="clock")
def _clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture(name="frontend")
def _frontend(tmp_path: Path, etcd: EtcdServer, clock: Clock) -> Iterator[Frontend]:
    settings = {"REGISTRY_PREFIX": f"/{tmp_path.name}", **clock.environ}
    with Frontend(tmp_path, etcd=etcd, **settings) as frontend:
        yield frontend


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
def test_nothing_happens_to_what_is_served_and_a_change_is_served_still(
    frontend: Frontend, etcd: EtcdServer, clock: Clock, jump_s: int
) -> None:
    place = Place(etcd, frontend.keys.prefix)
    with Origin("steady") as steady, Origin("later") as later:
        environ = place.instance_environ(
            NAME="steady",
            PORT=str(steady.port),
            IP="127.0.0.1",
            TTL=str(TTL_S),
            HEALTH_TCP="on",
            LOG_FORMAT="json",
            **clock.environ,
        )
        with Registrar(["sidecar"], environ) as registrar:
            wait_until(lambda: frontend.ask("steady.localhost").text == "steady")
            before = place.wait_registered()

            with Asking(frontend, "steady.localhost") as asking:
                clock.jump(jump_s)
                quiet_until = time.monotonic() + LEASES * TTL_S
                wait_until(lambda: time.monotonic() > quiet_until)
                assert place.routes() == [before]
                for there_s in (jump_s, 0):
                    clock.jump(there_s)
                    revision = frontend.put(f"later{there_s}", "web", later.address)
                    assert frontend.ask(f"later{there_s}.localhost").text == "later"
                    assert abs(hours_ahead(frontend, revision) - there_s / HOUR_S) < 0.1

            assert not asking.failures
            record = frontend.record()
            assert record is not None
            assert (record.state, record.held, record.missed) == ("ok", 0, 0)

            clock.jump(jump_s)
            code, took_s = registrar.stop()
            assert code == 0
            assert took_s < 5.0
        lines = [json.loads(line) for line in registrar.log.splitlines()]
        assert not [line for line in lines if line["level"] != "info"]
        # it did live through the jump
        first, last = (datetime.fromisoformat(line["at"]) for line in (lines[0], lines[-1]))
        assert abs((last - first).total_seconds() - jump_s) < HOUR_S / 10
    place.etcd.close()


def hours_ahead(frontend: Frontend, revision: int) -> float:
    """By which a frontend's clock is ahead of ours, as its record says."""
    applied_at = frontend.wait_for(revision).applied_at
    assert re.fullmatch(r"[0-9T:.-]+Z", applied_at)
    return (datetime.fromisoformat(applied_at) - datetime.now(UTC)).total_seconds() / HOUR_S
