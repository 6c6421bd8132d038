"""Garbage in the registry: it is told with its reason, and costs nobody else anything."""

import json
import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from registry.etcd import drop, put
from registry.keys import FrontendKey, shown
from registry.records import FrontendRecord
from tests.etcd_server import EtcdServer, wait_until
from tests.system.frontend import COMMAND, Frontend
from tests.system.origin import Origin

pytestmark = pytest.mark.system

HOST = "demo.localhost"

MEGABYTE = 1 << 20
"""etcd takes 1.5 MB with all around it."""

RECORDS: list[tuple[bytes, bytes, str]] = [
    (b"routes/garbage/web", b"\xff\xfe\x00", "UTF-8"),
    (b"routes/syntax/web", b"127.0.0.1:80; }\nevil on", "address"),
    (b"routes/variable/web", b"$host:80", "address"),
    (b"routes/named/web", b"localhost:8080", "address"),
    (b"routes/megabyte/web", b"9" * MEGABYTE, "bytes"),
    (b"routes/true/web", b'{"address": true}', "address"),
    (b"routes/list/web", b'["127.0.0.1:8080"]', "address"),
    (b"routes/metadata/web", b"169.254.169.254:80", "metadata"),
    (b"routes/credentials/web", b"169.254.170.2:80", "metadata"),
    (b"routes/outside/web", b"8.8.8.8:8080", "ALLOW_NETWORKS"),
    (b"routes/docker/web", b"10.0.0.1:2375", "ALLOW_PORTS"),
    (b"routes/feature/login/web", b"127.0.0.1:8080", "%2F"),
    (b"routes/few", b"127.0.0.1:8080", "1 parts"),
    (b"routes/many/web/one/more", b"127.0.0.1:8080", "4 parts"),
    (b"routes/a branch/web", b"127.0.0.1:8080", "percent-encoded"),
    (b"routes/\xff\n/web", b"127.0.0.1:8080", "percent-encoded"),
    (b"routes/%66oo/web", b"127.0.0.1:8080", "canonical"),
    (b"routes/long/" + b"s" * 41, b"127.0.0.1:8080", "40"),
    (b"claims/broken/web", b"{", "JSON"),
    (b"claims/few", b"{}", "1 parts"),
    (b"claims/labels/web", b'{"version":1,"created":"x","labels":["A;B"]}', "label"),
]
"""Key, value, and a word of the reason."""


@pytest.fixture(scope="module", name="origin")
def _origin() -> Iterator[Origin]:
    with Origin("demo") as origin:
        yield origin


@pytest.fixture(scope="module", name="frontend")
def _frontend(
    tmp_path_factory: pytest.TempPathFactory, etcd: EtcdServer, origin: Origin
) -> Iterator[Frontend]:
    folder = tmp_path_factory.mktemp("records")
    with Frontend(folder, etcd=etcd, REGISTRY_PREFIX=f"/{folder.name}") as frontend:
        frontend.put("demo", "web", origin.address)
        yield frontend


def status(frontend: Frontend) -> list[dict[str, Any]]:
    """What ``regenerator status --json`` prints."""
    done = subprocess.run(
        [COMMAND, "status", "--json"],
        env={"PATH": os.environ["PATH"], **frontend.settings},
        capture_output=True,
        check=True,
        timeout=15,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@contextmanager
def beside(frontend: Frontend, records: Iterable[tuple[bytes, bytes]]) -> Iterator[None]:
    """Records that are there for a while, written without waiting for anybody."""
    root = frontend.keys.root
    changes = [(put(root + key, value), drop(root + key)) for key, value in records]
    # etcd takes 128 operations in one transaction
    groups = [changes[first : first + 100] for first in range(0, len(changes), 100)]
    for group in groups:
        frontend.etcd.commit([], then=[written for written, _ in group])
    try:
        yield
    finally:
        for group in groups:
            frontend.etcd.commit([], then=[dropped for _, dropped in group])


def test_every_bad_record_is_told_with_its_reason_and_the_good_ones_serve(
    frontend: Frontend, origin: Origin
) -> None:
    root = frontend.keys.root
    own = f"127.0.0.1:{frontend.port}".encode()
    bad = [*RECORDS, (b"routes/loop/web", own, "frontend's own")]
    # these are nobody's routes, so nobody is told
    others = [b"release", b"frontends/somebody", b"frontends", b"nonsense/of/any/kind"]
    garbage = [(key, b"\x00garbage") for key in others]

    with beside(frontend, [*((key, value) for key, value, _ in bad), *garbage]):
        frontend.put("good", "web", origin.address)
        report = next(one for one in status(frontend) if one.get("state"))

        assert frontend.ask(HOST).text == "demo"
        assert frontend.ask("good.localhost").text == "demo"
    reasons = {one["key"]: one["reason"] for one in report["rejections"]}
    told = [(key, reasons.pop(shown(root + key), "not told"), word) for key, _, word in bad]
    assert not [one for one in told if one[2] not in one[1]]
    assert not reasons
    assert report["rejected"] == len(bad)


def test_ten_thousand_bad_records_hold_nobody_up(frontend: Frontend, origin: Origin) -> None:
    bad = [(b"routes/bad-%d/web" % number, b"nonsense") for number in range(10_000)]

    with beside(frontend, bad):
        frontend.put("beside", "web", origin.address)
        record = frontend.record()

        assert frontend.ask("beside.localhost").text == "demo"
    assert record is not None
    assert record.rejected == 10_000
    assert len(record.rejections) == 50


def test_its_own_record_is_put_back_when_somebody_overwrote_it(
    frontend: Frontend, origin: Origin
) -> None:
    name = frontend.id
    key = frontend.keys.raw(FrontendKey(name))
    frontend.etcd.write(key, b"garbage")
    assert status(frontend)

    def is_put_back() -> bool:
        entry = frontend.etcd.read(key)
        return entry is not None and entry.value != b"garbage" and bool(entry.lease)

    wait_until(is_put_back)
    entry = frontend.etcd.read(key)
    assert entry is not None
    assert FrontendRecord.parse(entry.value).state == "ok"
    frontend.put("after", "web", origin.address)


def test_branches_that_slug_alike_both_have_a_host_of_their_own(frontend: Frontend) -> None:
    with Origin("first") as first, Origin("second") as second:
        frontend.put("fix-foo", "web", first.address)
        frontend.put("fix/foo", "web", second.address)

        assert frontend.ask("fix-foo.localhost").text == "first"
        assert frontend.ask("fix-foo-528e1f.localhost").text == "second"


def test_the_longest_names_are_served(frontend: Frontend) -> None:
    with Origin("fits") as fits, Origin("cut") as cut:
        frontend.put("x" * 63, "web", fits.address)
        frontend.put("x" * 64, "web", cut.address)

        assert frontend.ask(f"{'x' * 63}.localhost").text == "fits"
        assert frontend.ask(f"{'x' * 56}-7ce100.localhost").text == "cut"


def test_a_service_on_ipv6_is_served(frontend: Frontend) -> None:
    with Origin("six", ip="::1") as six:
        frontend.put("six", "web", six.address)

        assert six.address.startswith("[::1]:")
        assert frontend.ask("six.localhost").text == "six"


def test_a_bad_record_of_an_instance_leaves_its_siblings_alone(
    frontend: Frontend, origin: Origin
) -> None:
    frontend.put("pair", "web", origin.address, "127.0.0.9:1")
    frontend.put("pair", "api", "8.8.8.8:80")

    assert {frontend.ask("pair.localhost").status for _ in range(6)} == {200}
