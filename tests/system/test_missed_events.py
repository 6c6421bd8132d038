"""A deletion that etcd's watch never told of: the next list finds it, and it is counted."""

from pathlib import Path

import pytest

from tests.black_hole import BlackHole
from tests.etcd_server import EtcdServer, wait_until
from tests.system.frontend import Frontend
from tests.system.origin import Origin

pytestmark = pytest.mark.system


def test_a_missed_deletion_is_found_by_the_next_list_and_counted(tmp_path: Path) -> None:
    with (
        EtcdServer(tmp_path / "etcd") as etcd,
        BlackHole(etcd.url) as hole,
        Origin("demo") as origin,
        Frontend(tmp_path, etcd=etcd, REGISTRY_URL=hole.url, RELIST="2") as frontend,
    ):
        frontend.put("demo", "web", origin.address)
        hole.loses = b"DELETE"
        frontend.etcd.delete_prefix(frontend.keys.routes)
        wait_until(lambda: hole.lost)
        assert frontend.ask("demo.localhost").text == "demo"
        hole.loses = b""

        wait_until(lambda: frontend.ask("demo.localhost").status == 404)

        wait_until(lambda: (record := frontend.record()) is not None and record.missed == 1)
        log = frontend.log.read_text()
        assert "a list differs from what the watch had shown: 0 keys written, 1 gone" in log
