"""Included: ``add``, ``remove``, ``list``, ``url`` and ``where`` as processes. Real etcd."""

import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from registry.keys import ClaimKey, FrontendKey, RouteKey
from registry.records import ClaimRecord, FrontendRecord, InstanceRecord
from registry.snapshot import Change
from tests.etcd_server import EtcdServer, free_ports
from tests.registrar_process import ONE_SHOT_S, Place

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture
def place(server: EtcdServer) -> Iterator[Place]:
    place = Place(server, f"/{secrets.token_hex(4)}")
    yield place
    place.etcd.close()


def test_what_was_added_is_listed_and_has_a_url(place: Place) -> None:
    place.report("f1")

    added = place.ask("add", "feature/login", "web", "10.0.0.5:8080")
    listed = place.ask("list", "--json")
    url = place.ask("url", "feature/login")
    table = place.ask("list")

    assert (added.returncode, added.stderr) == (0, "")
    (entry,) = place.routes()
    assert entry.key == place.keys.raw(RouteKey("feature/login", "web", "10.0.0.5:8080"))
    assert entry.lease == 0
    (row,) = json.loads(listed.stdout)
    assert row.pop("registered_at") == InstanceRecord.parse(entry.value).registered_at
    assert row == {
        "branch": "feature/login",
        "service": "web",
        "instance": "10.0.0.5:8080",
        "address": "10.0.0.5:8080",
        "hosts": ["feature-login-web.dev.example.com", "feature-login.dev.example.com"],
        "url": "http://feature-login.dev.example.com:8080",
        "state": "ready",
        "health": "",
        "rejection": "",
        "conflict": "",
    }
    assert url.stdout == "http://feature-login.dev.example.com:8080\n"
    assert url.stderr == ""
    assert "feature/login  web" in table.stdout


def test_ipv6_is_added_in_its_one_form(place: Place) -> None:
    place.ask("add", "main", "api", "[FD00:0::7]:8080")

    (entry,) = place.routes()
    assert entry.key == place.keys.raw(RouteKey("main", "api", "[fd00::7]:8080"))
    assert str(InstanceRecord.parse(entry.value).address) == "[fd00::7]:8080"


def test_what_is_added_for_a_time_is_on_a_lease(place: Place) -> None:
    place.ask("add", "main", "web", "10.0.0.5:8080", "--ttl", "60")

    assert place.routes()[0].lease


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("main", "web", "example.com:80"), "no address"),
        (("main", "web", "10.0.0.5:0"), "port 0"),
        (("main", "日本", "10.0.0.5:80"), "no host name"),
        (("a\x1bb", "web", "10.0.0.5:80"), "control character"),
    ],
)
def test_what_cannot_be_added_is_one_sentence(
    place: Place, arguments: tuple[str, ...], part: str
) -> None:
    done = place.ask("add", *arguments)

    assert done.returncode == 2
    assert part in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr
    assert place.routes() == []


def test_removing_tells_a_leaving_from_a_loss(place: Place) -> None:
    """A frontend sees the state before the key goes; the brake is for losses alone."""
    place.ask("add", "main", "web", "10.0.0.5:8080")
    (entry,) = place.routes()
    following = place.etcd.follow(place.keys.routes, from_revision=entry.mod_revision + 1)

    removed = place.ask("remove", "main", "web")

    changes: list[Change] = []
    for batch in following:
        changes += batch.changes
        if len(changes) == 2:
            break
    following.close()
    assert removed.returncode == 0
    assert changes[0].entry is not None
    assert b'"draining"' in changes[0].entry.value
    assert changes[1].entry is None
    assert len(place.etcd.list(place.keys.claims).entries) == 1


def test_removing_a_branch_frees_its_hosts(place: Place) -> None:
    place.ask("add", "main", "web", "10.0.0.5:8080")
    place.ask("add", "main", "api", "10.0.0.5:8081")
    place.ask("add", "main2", "web", "10.0.0.5:8082")

    removed = place.ask("remove", "main")

    assert "2 registrations and 2 claims" in removed.stdout
    assert len(place.etcd.list(place.keys.root).entries) == 2


def test_one_instance_is_removed_alone(place: Place) -> None:
    place.ask("add", "main", "web", "10.0.0.5:8080")
    place.ask("add", "main", "web", "10.0.0.6:8080")

    place.ask("remove", "main", "web", "10.0.0.5:8080")

    assert [str(InstanceRecord.parse(e.value).address) for e in place.routes()] == ["10.0.0.6:8080"]


def test_removing_what_is_not_there_is_said(place: Place) -> None:
    done = place.ask("remove", "main", "web")

    assert done.returncode == 69
    assert "nothing is registered as 'main web'" in done.stderr


def test_who_waits_for_a_frontend_that_is_late_gets_75(place: Place) -> None:
    place.report("late-one")

    added = place.ask("add", "main", "web", "10.0.0.5:8080", "--wait", "0.2")
    removed = place.ask("remove", "main", "--wait", "0.2")

    assert (added.returncode, removed.returncode) == (75, 75)
    assert "late-one" in added.stderr
    assert place.routes() == []


def test_who_waits_is_told_when_it_is_applied(place: Place) -> None:
    place.report("f1", revision=10**9, released=10**9)

    added = place.ask("add", "main", "web", "10.0.0.5:8080", "--wait", "5")
    removed = place.ask("remove", "main", "--wait", "5")

    assert (added.returncode, removed.returncode) == (0, 0)
    assert "applied" in added.stdout
    assert "applied" in removed.stdout


def test_who_waits_is_told_if_it_is_left_out(place: Place) -> None:
    """Applied and served are two things: a frontend may have a reason to leave a record out."""
    raw = place.keys.raw(RouteKey("main", "web", "8.8.8.8:80")).decode()
    left_out = {"key": raw, "reason": "it is far away"}
    place.report("f1", revision=10**9, released=10**9, rejections=(left_out,))

    added = place.ask("add", "main", "web", "8.8.8.8:80", "--wait", "5")

    assert added.returncode == 69
    assert "frontend f1 leaves it out: it is far away" in added.stderr
    assert "applied" not in added.stdout


def test_a_frontend_that_cannot_be_asked_is_told_with_its_address(place: Place) -> None:
    """It says that it has applied everything; only a request shows that nobody gets through."""
    (port,) = free_ports(1)
    where = f"127.0.0.1:{port}"
    record = FrontendRecord(
        revision=10**9, domain="dev.example.com", url="http://dev.example.com", address=where
    )
    place.etcd.write(place.keys.raw(FrontendKey("deaf")), record.dump())
    place.report("nowhere", revision=10**9)

    added = place.ask("add", "main", "web", "10.0.0.5:8080", "--wait", "2", "--probe")

    assert added.returncode == 75
    [sentence] = added.stderr.splitlines()
    assert f"frontend deaf at {where} refuses connections" in sentence
    assert "frontend nowhere at no address cannot be asked" in sentence
    assert "the registration stands" in sentence
    assert len(place.routes()) == 1


def test_without_a_frontend_nothing_is_reached(place: Place) -> None:
    """Nobody to wait for is no proof."""
    waited = place.ask("add", "main", "web", "10.0.0.5:8080", "--wait", "0.2")
    probed = place.ask("add", "main", "web", "10.0.0.5:8080", "--wait", "0.2", "--probe")

    assert (waited.returncode, probed.returncode) == (0, 75)
    assert "no frontend is alive" in probed.stderr


def test_both_sides_see_a_conflict(place: Place) -> None:
    place.report("f1")
    place.ask("add", "fix-foo", "web", "10.0.0.5:8080")

    added = place.ask("add", "fix/foo", "web", "10.0.0.6:8080")
    older = place.ask("url", "fix-foo")
    younger = place.ask("url", "fix/foo")

    assert "belongs to branch 'fix-foo'" in added.stderr
    assert older.stdout == "http://fix-foo.dev.example.com:8080\n"
    assert "branch 'fix/foo' service 'web' is served as fix-foo-528e1f" in older.stderr
    assert younger.stdout == "http://fix-foo-528e1f.dev.example.com:8080\n"
    assert "belongs to branch 'fix-foo'" in younger.stderr


def test_a_label_that_two_carry_is_the_older_ones(place: Place) -> None:
    """As a race leaves it when the registrar that lost was killed in the middle."""
    place.report("f1")
    value = ClaimRecord(("fix-foo-web", "fix-foo")).dump()
    place.etcd.write(place.keys.raw(ClaimKey("fix/foo", "web")), value)
    place.etcd.write(place.keys.raw(ClaimKey("fix-foo", "web")), value)

    younger = place.ask("url", "fix-foo")

    assert place.ask("url", "fix/foo").stdout == "http://fix-foo.dev.example.com:8080\n"
    assert younger.stdout.startswith("http://fix-foo-")
    assert "belongs to branch 'fix/foo'" in younger.stderr


def test_a_url_without_a_claim_is_the_one_it_would_get(place: Place) -> None:
    place.report("f1")

    done = place.ask("url", "main", "api")

    assert done.stdout == "http://main-api.dev.example.com:8080\n"
    assert "has no claim" in done.stderr


def test_without_a_frontend_there_is_no_url(place: Place) -> None:
    done = place.ask("url", "main")

    assert (done.returncode, done.stdout) == (69, "")
    assert "no frontend has reported" in done.stderr


def test_records_that_are_none_are_told_apart(place: Place) -> None:
    place.etcd.write(place.keys.routes + b"main/web", b"10.0.0.5:8080")
    place.etcd.write(place.keys.routes + b"feature/login/web", b"10.0.0.5:8080")
    place.etcd.write(place.keys.routes + b"main/api", b"\x1b[31mred\x07")

    done = place.ask("list")

    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2
    assert "%2F" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert "\x1b" not in done.stdout + done.stderr


def test_what_steers_a_terminal_does_not_reach_it(place: Place) -> None:
    """U+202E turns the direction of writing; git allows it in a branch's name."""
    place.ask("add", "a\u202eb", "web", "10.0.0.5:8080")

    done = place.ask("list")

    assert "\u202e" not in done.stdout
    assert "a\\u202eb" in done.stdout


def test_where_says_what_it_would_register_and_who_said_so(place: Place) -> None:
    found_out = place.ask("where", PORT="8080")
    given = place.ask("where", PORT="8080", IP="10.1.2.3", HOST_PORT="32768")
    unknown = place.ask("where")

    assert found_out.stdout.startswith("127.0.0.1:8080 ")
    assert "the interface that reaches the registry" in found_out.stdout
    assert given.stdout.startswith("10.1.2.3:32768 ")
    assert "IP and HOST_PORT" in given.stdout
    assert unknown.returncode == 78
    assert place.routes() == []


def test_a_registry_that_is_down_is_69_and_one_sentence(place: Place) -> None:
    (port,) = free_ports(1)
    url = f"http://root:hunter2@127.0.0.1:{port}"

    done = place.ask("list", REGISTRY_URL=url)

    assert (done.returncode, done.stdout) == (69, "")
    assert f"127.0.0.1:{port}" in done.stderr
    assert "hunter2" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_registry_that_is_mute_is_given_up_in_time(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        began_at = time.monotonic()
        done = place.ask("list", REGISTRY_URL=",".join([url, f"{url}0"[:-1], url]))

    assert done.returncode == 69
    assert time.monotonic() - began_at < 8


def test_the_program_runs_as_a_module_too(place: Place) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "registrar", "--help"],
        env=place.environ,
        capture_output=True,
        text=True,
        timeout=ONE_SHOT_S,
        check=False,
    )

    assert done.returncode == 0
    assert "Exit codes" in done.stdout
