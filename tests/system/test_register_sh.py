"""Included: ``docker/register.sh`` as a process, under dash and busybox. Real etcd, nginx, curl."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from registry.etcd import Etcd, EtcdSettings
from registry.keys import ClaimKey, Keyspace, RouteKey
from registry.records import Address, ClaimRecord, FrontendRecord, InstanceRecord, State
from registry.registrations import Registrations
from tests.certificates import Authority
from tests.etcd_server import EtcdServer, add_reader, enable_users, free_ports, wait_until
from tests.registrar_process import Place
from tests.shell_process import SHELLS, Shell, ShellRegistrar, find_shell, run_once
from tests.system.asking import Asking
from tests.system.frontend import Frontend

pytestmark = pytest.mark.system

UNTIL_TERM = 'trap "echo got TERM; exit 5" TERM; echo up; while :; do sleep 0.02; done'
"""A command that says when it is up, and ends with 5 when it is told to."""

TOKEN_TTL_S = 1

SERVE = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ["BODY"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_HEAD(self):
        self.send_error(405)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
"""A service that answers with what stands in ``BODY``."""

LISTENER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("up", flush=True)
held = [listener.accept() for _ in range(9)]
"""

ROWS = [
    ("main", "web"),
    ("feature/login", "api"),
    ("Feature/JIRA-123_Foo.Bar", "api"),
    ("--x--", "web"),
    ("release/2026.11.21", "web"),
    ("x" * 63, "web"),
    ("x" * 64, "web"),
    ("x" * 60, "api"),
    ("dependabot/npm_and_yarn/frontend/very-long-package-name-and-more-1.2.3", "api"),
    ("日本", "web"),
    ("branchfront", "web"),
    ("\u212aelvin", "web"),
]
"""Contract, section 3, and what it says beside its table."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return find_shell(request.param, tmp_path_factory.mktemp("tools"))


@pytest.fixture
def place(server: EtcdServer) -> Iterator[Place]:
    place = Place(server, f"/{secrets.token_hex(4)}")
    yield place
    place.etcd.close()


def run(shell: Shell, place: Place, script: str = UNTIL_TERM, **environ: str) -> ShellRegistrar:
    given = {"TTL": "3"} | environ
    return ShellRegistrar(shell, ["--", "sh", "-c", script], place.instance_environ(**given))


def register(shell: Shell, place: Place, **environ: str) -> str:
    """Register and leave again, however long that takes; what it logged."""
    with run(shell, place, **environ) as registrar:
        registrar.wait_said("registered 10.0.0.5:8080 as ")
        registrar.stop()
        return registrar.log


def labels_of(place: Place, branch: str, service: str) -> tuple[str, ...]:
    """The labels that stand in a claim."""
    entry = place.etcd.read(place.keys.raw(ClaimKey(branch, service)))
    assert entry is not None
    return ClaimRecord.parse(entry.value).labels


def test_a_service_is_registered_while_its_command_runs(shell: Shell, place: Place) -> None:
    with run(shell, place) as registrar:
        entry = place.wait_registered()
        registrar.wait_said("10.0.0.5:8080 is ready")
        value = json.loads(place.routes()[0].value)
        code, _ = registrar.stop()

        host = socket.gethostname()[:64]
        assert entry.lease
        assert entry.key.startswith(place.keys.routes + f"feature%2Flogin/web/{host}-".encode())
        assert list(value) == ["address", "state", "registered_at", "ttl"]
        assert (value["address"], value["state"], value["ttl"]) == ("10.0.0.5:8080", "ready", 3)
        record = InstanceRecord.parse(entry.value)
        assert record.registered_at.startswith("20")
        assert entry.value == record.dump()
        assert code == 5
        assert place.routes() == []
        assert labels_of(place, "feature/login", "web") == ("feature-login-web", "feature-login")
        assert "register.sh: registered 10.0.0.5:8080 as starting" in registrar.log
        assert "draining first" in registrar.log
        assert "deregistered" in registrar.log


def test_it_is_served_and_no_request_fails_while_it_is_replaced(
    shell: Shell, start_frontend: Callable[..., Frontend], etcd: EtcdServer, tmp_path: Path
) -> None:
    frontend = start_frontend()
    place = Place(etcd, frontend.keys.prefix)
    serve = tmp_path / "serve.py"
    serve.write_text(SERVE)

    def serving(body: str) -> ShellRegistrar:
        environ = place.environ | {"NAME": "f/a", "SERVICE": "web", "BODY": body, "TTL": "3"}
        environ |= {"PORT": str(free_ports(1)[0]), "HEALTH_TCP": "on"}
        return ShellRegistrar(shell, [sys.executable, str(serve)], environ)

    def is_served() -> bool:
        return frontend.ask("f-a.localhost").text == "old"

    def ready() -> int:
        return sum(InstanceRecord.parse(one.value).state is State.READY for one in place.routes())

    with serving("old") as old:
        wait_until(is_served)
        assert f"reached at http://f-a.localhost:{frontend.port}" in old.log
        with serving("new"), Asking(frontend, "f-a.localhost") as asking:
            wait_until(lambda: ready() == 2)
            wait_until(lambda: asking.answers["new"])
            code, _ = old.stop()
            after = asking.answers["new"]
            wait_until(lambda: asking.answers["new"] > after + 20)

            assert code == 128 + signal.SIGTERM
        assert not asking.failures, asking.failures[:3]
        assert "all frontends have let go" in old.log
    place.etcd.close()


# names under the other shell: tests/unit/test_register_sh_names.py
@pytest.mark.parametrize("shell", ["dash"], indirect=True)
@pytest.mark.parametrize(("branch", "service"), ROWS)
def test_a_claim_is_what_the_registrar_would_have_written(
    shell: Shell, place: Place, branch: str, service: str
) -> None:
    twin = Registrations(place.etcd, keys=Keyspace(f"{place.keys.prefix}-twin"))
    record = InstanceRecord(Address("10.0.0.5", 8080))
    expected = twin.register(RouteKey(branch, service), record, lease=0, default_service="web")

    register(shell, place, NAME=branch, SERVICE=service)

    assert labels_of(place, branch, service) == expected.claim.labels
    entry = place.etcd.read(place.keys.raw(ClaimKey(branch, service)))
    assert entry is not None
    assert not entry.lease
    assert entry.value == ClaimRecord.parse(entry.value).dump()


@pytest.mark.parametrize(
    ("standing", "branch", "service", "labels"),
    [
        ([("fix-foo", "web")], "fix/foo", "web", ("fix-foo-528e1f-web", "fix-foo-528e1f")),
        ([("a-b", "c")], "a", "b-c", ("a-ca9781-b-c",)),
        # the six digits are taken as well
        (
            [("fix-foo", "web"), ("fix-foo-528e1f", "web")],
            "fix/foo",
            "web",
            ("fix-foo-528e1fc47b8c-web", "fix-foo-528e1fc47b8c"),
        ),
        # only the short one is taken
        ([("fix", "foo")], "fix-foo", "web", ("fix-foo-web", "fix-foo-5dc4aa")),
        # as many as make their list longer than one line of base64, and its padding of every kind
        ([("m" * n, "web") for n in range(1, 40)], "M", "web", ("m-08f271-web", "m-08f271")),
    ],
)
def test_labels_that_a_standing_claim_carries_are_not_taken(
    shell: Shell,
    place: Place,
    standing: list[tuple[str, str]],
    branch: str,
    service: str,
    labels: tuple[str, ...],
) -> None:
    registrations = Registrations(place.etcd, keys=place.keys)
    twin = Registrations(place.etcd, keys=Keyspace(f"{place.keys.prefix}-twin"))
    record = InstanceRecord(Address("10.0.0.5", 8080))
    for one in standing:
        for where in (registrations, twin):
            where.register(RouteKey(*one), record, lease=0, default_service="web")
    expected = twin.register(RouteKey(branch, service), record, lease=0, default_service="web")

    register(shell, place, NAME=branch, SERVICE=service)

    found = labels_of(place, branch, service)
    assert found == expected.claim.labels
    if "5dc4aa" not in labels[-1] and "m-" not in labels[0] and "47b8c" not in labels[0]:
        assert found == labels


def test_a_claim_that_stands_is_left_as_it_is(shell: Shell, place: Place) -> None:
    key = place.keys.raw(ClaimKey("feature/login", "web"))
    value = ClaimRecord(("feature-login-b1ff51-web",), "2026-01-01T00:00:00Z").dump()
    written = place.etcd.write(key, value)

    register(shell, place)

    entry = place.etcd.read(key)
    assert entry is not None
    assert (entry.value, entry.mod_revision) == (value, written)


@pytest.mark.parametrize("shell", ["dash"], indirect=True)
@pytest.mark.parametrize(
    ("frontends", "given", "labels"),
    [
        ("", {}, ("feature-login-api",)),
        ("", {"DEFAULT_SERVICE": "api"}, ("feature-login-api", "feature-login")),
        ("api", {}, ("feature-login-api", "feature-login")),
        ("web", {"DEFAULT_SERVICE": "api"}, ("feature-login-api",)),
    ],
)
def test_a_frontend_has_the_last_word_on_the_default_service(
    shell: Shell, place: Place, frontends: str, given: dict[str, str], labels: tuple[str, ...]
) -> None:
    if frontends:
        record = FrontendRecord(released=10**9, default_service=frontends)
        place.etcd.write(place.keys.frontends + b"f1", record.dump())

    log = register(shell, place, SERVICE="api", **given)

    assert labels_of(place, "feature/login", "api") == labels, log


def test_stdin_stdout_and_variables_are_the_commands_alone(shell: Shell, place: Place) -> None:
    environ = place.instance_environ(token="its own", lease="x", _ignored="y")

    echoed = run_once(shell, ["--", "cat"], environ, stdin="a\nb")
    told = run_once(shell, ["--", "/usr/bin/env", "-0"], environ)

    assert (echoed.stdout, echoed.returncode) == ("a\nb", 0)
    seen = dict(line.split("=", 1) for line in told.stdout.split("\0") if line)
    # those that a shell sets for itself
    for name in ("PWD", "OLDPWD", "SHLVL", "_"):
        seen.pop(name, None)
    assert seen == shell.environ(environ)


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)],
)
@pytest.mark.parametrize("registered", [True, False])
def test_the_exit_code_is_the_commands(
    shell: Shell, place: Place, script: str, code: int, *, registered: bool
) -> None:
    environ = place.instance_environ() if registered else {}

    done = run_once(shell, ["sh", "-c", script], environ)

    # unregistered it has become the command
    assert done.returncode == (code if registered or code < 128 else 128 - code)
    assert place.routes() == []


def test_a_command_that_cannot_be_started_is_126_or_127(
    shell: Shell, place: Place, tmp_path: Path
) -> None:
    command = tmp_path / "command"
    command.write_text("no program")

    missing = run_once(shell, ["no-such-command"], place.instance_environ())
    refused = run_once(shell, [str(command)], place.instance_environ())

    assert (missing.returncode, refused.returncode) == (127, 126)
    assert "no-such-command" in missing.stderr
    assert place.routes() == []


@pytest.mark.parametrize("builtin", ["exit", "call"])
def test_words_of_the_shell_are_no_commands(shell: Shell, place: Place, builtin: str) -> None:
    assert run_once(shell, ["--", builtin], place.instance_environ()).returncode == 127


def test_without_a_registry_the_command_runs_unregistered(shell: Shell) -> None:
    done = run_once(shell, ["--", "sh", "-c", "echo hi; exit 3"], {})

    assert (done.returncode, done.stdout) == (3, "hi\n")
    assert done.stderr.splitlines() == [
        "register.sh: REGISTRY_URL is not set, so the command runs unregistered"
    ]


def test_without_a_command_it_says_how_it_is_used(shell: Shell) -> None:
    done = run_once(shell, ["--"], {})

    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: register.sh" in done.stderr


def test_all_that_is_missing_or_bad_is_named_before_the_command_starts(
    shell: Shell, place: Place
) -> None:
    environ = place.environ | {"TTL": "1", "HOST_PORT": "70000", "IP": "10.0.0.256", "DRAIN": "x"}
    environ |= {"REGISTRY_URL": "ftp://root:secret@etcd", "REGISTRY_CA": "/nowhere"}

    done = run_once(shell, ["--", "echo", "started"], environ)

    assert (done.returncode, done.stdout) == (78, "")
    for name in ("NAME", "SERVICE", "PORT", "TTL", "HOST_PORT", "IP", "DRAIN", "REGISTRY_CA"):
        assert name in done.stderr
    assert "REGISTRY_URL" in done.stderr
    assert "secret" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("shell", ["busybox"], indirect=True)
@pytest.mark.parametrize(
    "given",
    [
        {"NAME": "a\nb"},
        {"NAME": "a\x1b[2J"},
        {"NAME": "a\x85"},
        {"NAME": "a\u2028"},
        {"NAME": os.fsdecode(b"\xff")},
        {"NAME": "ü" * 257},
        {"SERVICE": "---"},
        {"SERVICE": "s" * 41},
        {"PORT": "0"},
        {"TTL": "1.5"},
        {"HEALTH_PATH": "healthz"},
        {"REGISTRY_PREFIX": "/a/"},
        {"REGISTRY_PASSWORD": "alone"},
    ],
)
def test_what_cannot_be_used_is_refused(shell: Shell, place: Place, given: dict[str, str]) -> None:
    done = run_once(shell, ["--", "echo", "started"], place.instance_environ(**given))

    assert (done.returncode, done.stdout) == (78, "")
    assert next(iter(given)) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.isascii()
    assert "\x1b" not in done.stderr


def test_without_curl_it_says_so(shell: Shell, place: Place, tmp_path: Path) -> None:
    for tool in ("base64", "date", "grep", "od", "sed", "sha256sum", "sleep", "tr"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    bare = Shell(shell.name, shell.arguments, str(tmp_path))

    done = run_once(bare, ["--", "true"], place.instance_environ(PATH=""))

    assert (done.returncode, done.stderr) == (
        78,
        "register.sh: curl is not in this image; install it\n",
    )


@pytest.mark.parametrize("name", ["a'b$(touch x)\"; ", "feature/ü", "-n", "%41", "*", "a\\b\\0101"])
def test_hostile_names_are_only_names(
    shell: Shell, place: Place, tmp_path: Path, name: str
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    environ = place.instance_environ(NAME=name)
    command = shell.command("--", "sh", "-c", 'printf %s "$NAME"')

    done = subprocess.run(
        command, env=shell.environ(environ), cwd=here, capture_output=True, check=True
    )

    assert done.stdout.decode() == name
    assert labels_of(place, name, "web")
    assert list(here.iterdir()) == []


def test_its_address_is_the_one_that_reaches_the_registry(shell: Shell, place: Place) -> None:
    environ = place.instance_environ(HOST_PORT="31000")
    del environ["IP"]
    with ShellRegistrar(shell, ["sleep", "60"], environ):
        place.wait_registered()
        assert str(place.record().address) == "127.0.0.1:31000"

    with ShellRegistrar(shell, ["sleep", "60"], environ | {"NAME": "six", "IP": "fd00::7"}):
        wait_until(lambda: any(b"[fd00::7]:31000" in one.value for one in place.routes()))


@pytest.mark.prompt
def test_the_command_starts_when_frontends_have_let_go_of_who_was_there_before(
    shell: Shell, place: Place
) -> None:
    place.report("f1", revision=1, released=1)
    with run(shell, place) as registrar:
        registrar.wait_said("as starting")
        (entry,) = place.routes()
        assert InstanceRecord.parse(entry.value).state is State.STARTING
        assert "up" not in registrar.out
        place.report("f1", revision=entry.mod_revision, released=entry.mod_revision)
        registrar.wait_said("up")
        place.wait_registered()

        assert "not let go" not in registrar.log


@pytest.mark.prompt
def test_a_frontend_that_does_not_let_go_holds_the_start_up_for_a_second(
    shell: Shell, place: Place
) -> None:
    place.report("late-one", revision=1, released=1)
    began_at = time.monotonic()
    with run(shell, place) as registrar:
        registrar.wait_said("up")
        took_s = time.monotonic() - began_at
        registrar.wait_said("is ready")

        assert 1 <= took_s < 2.5
        assert "not let go of 10.0.0.5:8080 in time by frontend late-one" in registrar.log


class Health(BaseHTTPRequestHandler):
    """Answers with a status that a test sets."""

    status = 503

    def do_GET(self) -> None:
        assert self.path == "/healthz?a=[1]"
        self.send_response(self.status)
        self.send_header("Location", "http://127.0.0.1:1/")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing is said."""


def test_it_is_ready_when_its_path_answers(shell: Shell, place: Place) -> None:
    class Mine(Health):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Mine) as service:
        thread = threading.Thread(target=service.serve_forever, args=(0.01,))
        thread.start()
        try:
            port = str(service.server_address[1])
            environ = place.instance_environ(
                IP="127.0.0.1", PORT=port, HEALTH_PATH="/healthz?a=[1]", TTL="2"
            )
            with ShellRegistrar(shell, ["sh", "-c", UNTIL_TERM], environ) as registrar:
                registrar.wait_said("up")
                lease = place.routes()[0].lease
                # longer than the lease lasts: it is refreshed meanwhile
                until = time.monotonic() + 2.5
                wait_until(lambda: time.monotonic() > until)
                assert place.record().state is State.STARTING
                assert place.routes()[0].lease == lease
                # a redirect is an answer, and is not followed
                Mine.status = 302
                place.wait_registered()
        finally:
            service.shutdown()
            thread.join()


def test_why_it_is_not_ready_stands_in_the_registry_after_ten_seconds(
    shell: Shell, place: Place
) -> None:
    (port,) = free_ports(1)
    environ = place.instance_environ(IP="127.0.0.1", PORT=str(port), HEALTH_TCP="on", TTL="2")
    with ShellRegistrar(shell, ["sh", "-c", UNTIL_TERM], environ) as registrar:
        registrar.wait_said("as starting")
        assert place.record().health == ""
        wait_until(lambda: place.record().health, within_s=20)
        record = place.record()
        assert record.state is State.STARTING
        assert record.health == f"127.0.0.1:{port} takes no connection"
        assert "not healthy for 10 s" in registrar.log
        noted_at = place.routes()[0].mod_revision
        with socket.create_server(("127.0.0.1", port)):
            assert place.wait_registered().mod_revision > noted_at
        assert place.record().health == ""
        # nobody else wrote it meanwhile, so it was written once and taken for our own
        assert "somebody removed our key or changed it" not in registrar.log


def test_it_is_ready_when_its_port_takes_a_connection(shell: Shell, place: Place) -> None:
    (port,) = free_ports(1)
    environ = place.instance_environ(IP="127.0.0.1", PORT=str(port), HEALTH_TCP="on")
    with ShellRegistrar(shell, ["sh", "-c", UNTIL_TERM], environ) as registrar:
        registrar.wait_said("up")
        until = time.monotonic() + 0.5
        wait_until(lambda: time.monotonic() > until)
        assert place.record().state is State.STARTING
        # it does not answer, let alone in HTTP
        with socket.create_server(("127.0.0.1", port)):
            place.wait_registered()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH])
def test_other_signals_are_passed_on_as_they_come(
    shell: Shell, place: Place, number: signal.Signals
) -> None:
    name = number.name.removeprefix("SIG")
    script = f'trap "echo got it; exit 9" {name}; echo up; while :; do sleep 0.02; done'
    with run(shell, place, script) as registrar:
        registrar.wait_said("up")
        registrar.send(number)

        assert registrar.wait() == 9
        assert registrar.out.count("got it") == 1
        assert "draining" not in registrar.log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_drain_and_end_the_command(
    shell: Shell, place: Place, number: signal.Signals
) -> None:
    """What ignores them, as busybox has it start, gets TERM in their place."""
    name = number.name.removeprefix("SIG")
    script = (
        f'trap "echo as it came; exit 9" {name}; trap "echo as TERM; exit 9" TERM; echo up;'
        " while :; do sleep 0.02; done"
    )
    with run(shell, place, script) as registrar:
        registrar.wait_said("up")
        place.wait_registered()
        registrar.send(number)

        assert registrar.wait() == 9
        assert f"{number.name}: draining first" in registrar.log
        assert registrar.out == ("up\nas TERM\n" if shell.name == "busybox" else "up\nas it came\n")
        assert place.routes() == []


def test_sigterm_reaches_the_command_after_every_frontend_has_let_go(
    shell: Shell, place: Place
) -> None:
    place.report("f1", revision=1, released=10**9)
    with run(shell, place) as registrar:
        registrar.wait_said("is ready")
        place.report("f1", revision=1, released=1)
        registrar.send(signal.SIGTERM)
        wait_until(lambda: place.record().state is State.DRAINING)
        (entry,) = place.routes()
        place.report("f1", revision=entry.mod_revision, released=entry.mod_revision - 1)
        registrar.wait_said("waiting for frontends")
        assert "got TERM" not in registrar.out
        place.report("f1", revision=entry.mod_revision, released=entry.mod_revision)

        assert registrar.wait() == 5
        assert "got TERM" in registrar.out
        assert place.routes() == []


def test_a_frontend_that_is_late_is_named_and_not_waited_for(shell: Shell, place: Place) -> None:
    with run(shell, place, RELEASE_TIMEOUT="0.3") as registrar:
        registrar.wait_said("is ready")
        place.report("late-one", revision=1, released=1)
        code, took_s = registrar.stop()

        assert code == 5
        assert "not let go in time by frontend late-one" in registrar.log
        assert 0.3 <= took_s < 8


@pytest.mark.parametrize(("drain", "ends_early"), [("30", True), ("0.4", False)])
def test_requests_in_flight_are_waited_for(
    shell: Shell, place: Place, drain: str, *, ends_early: bool
) -> None:
    (port,) = free_ports(1)
    environ = place.instance_environ(PORT=str(port), DRAIN=drain)
    with ShellRegistrar(shell, [sys.executable, "-c", LISTENER, str(port)], environ) as registrar:
        registrar.wait_said("up")
        place.wait_registered()
        began_at = time.monotonic()
        with socket.create_connection(("127.0.0.1", port)):
            registrar.send(signal.SIGTERM)
            registrar.wait_said("all frontends have let go")
            if ends_early:
                until = time.monotonic() + 0.4
                wait_until(lambda: time.monotonic() > until)
                assert registrar.is_running()
            else:
                registrar.wait_said("requests in flight had 0.40 s")
        assert registrar.wait() == 128 + signal.SIGTERM
        assert 0.4 <= time.monotonic() - began_at < 8
        assert ("no connection is left" in registrar.log) is ends_early


def test_a_second_sigterm_is_passed_on_at_once(shell: Shell, place: Place) -> None:
    with run(shell, place, RELEASE_TIMEOUT="60") as registrar:
        registrar.wait_said("is ready")
        place.report("f1", revision=1, released=1)
        registrar.send(signal.SIGTERM)
        registrar.wait_said("waiting for frontends")
        code, took_s = registrar.stop()

        assert (code, registrar.out.count("got TERM")) == (5, 1)
        assert took_s < 8
        assert place.routes() == []


def test_a_second_sigterm_ends_the_waiting_whatever_the_command_makes_of_it(
    shell: Shell, place: Place
) -> None:
    patient = {"RELEASE_TIMEOUT": "60", "TTL": "60"}
    with run(shell, place, "trap '' TERM; echo up; sleep 60", **patient) as registrar:
        registrar.wait_said("is ready")
        place.report("f1", revision=1, released=1)
        registrar.send(signal.SIGTERM)
        registrar.wait_said("waiting for frontends")
        registrar.send(signal.SIGTERM)
        wait_until(lambda: place.routes() == [])

        assert registrar.is_running()


def test_sigterm_before_the_command_starts_keeps_it_from_starting(
    shell: Shell, place: Place
) -> None:
    place.report("late-one", revision=1, released=1)
    with run(shell, place) as registrar:
        registrar.wait_said("as starting")
        code, _ = registrar.stop()

        assert (code, registrar.out) == (143, "")
        assert place.routes() == []


def test_a_command_that_ends_by_itself_signs_off_before_it_goes(shell: Shell, place: Place) -> None:
    """Without a word it would be a loss, and frontends would hold on to it."""
    done = run_once(shell, ["--", "sh", "-c", "exit 3"], place.instance_environ())
    gone_at = place.etcd.list(place.keys.routes).revision
    before = place.etcd.list(place.keys.routes, at=gone_at - 1)

    assert done.returncode == 3
    (entry,) = before.entries.values()
    assert InstanceRecord.parse(entry.value).state is State.DRAINING
    assert place.routes() == []


def test_a_command_that_ends_while_it_drains_is_not_waited_for(shell: Shell, place: Place) -> None:
    script = "echo up; read -r line </dev/zero & sleep 1; exit 4"
    with run(shell, place, script, RELEASE_TIMEOUT="60") as registrar:
        registrar.wait_said("is ready")
        place.report("f1", revision=1, released=1)
        registrar.send(signal.SIGTERM)

        assert registrar.wait() == 4
        assert place.routes() == []


def test_a_lease_that_is_lost_is_a_new_lease(shell: Shell, place: Place) -> None:
    with run(shell, place) as registrar:
        registrar.wait_said("is ready")
        entry = place.routes()[0]
        place.etcd.revoke(entry.lease)
        wait_until(lambda: place.routes() and place.routes()[0].lease != entry.lease)

        assert place.routes()[0].key == entry.key
        assert place.routes()[0].value == entry.value
        assert "the lease is gone; registering again" in registrar.log
        assert "somebody removed" not in registrar.log


def test_what_somebody_removed_is_put_back(shell: Shell, place: Place) -> None:
    with run(shell, place) as registrar:
        registrar.wait_said("is ready")
        entry = place.routes()[0]
        (claim,) = place.etcd.list(place.keys.claims).entries.values()
        place.etcd.delete(entry.key)
        wait_until(place.routes)
        assert (place.routes()[0].value, place.routes()[0].lease) == (entry.value, entry.lease)

        # another has got our label meanwhile that we would get as well
        place.etcd.delete(claim.key)
        wait_until(lambda: len(place.etcd.list(place.keys.claims).entries) == 1)
        (again,) = place.etcd.list(place.keys.claims).entries.values()
        assert (again.key, again.value) == (claim.key, claim.value)
        assert registrar.log.count("somebody removed our key") == 2


@pytest.mark.prompt
def test_a_registry_that_is_mute_holds_up_neither_start_nor_end(
    shell: Shell, tmp_path: Path
) -> None:
    with EtcdServer(tmp_path) as server:
        place = Place(server, "/mute")
        server.freeze()
        began_at = time.monotonic()
        with run(shell, place) as registrar:
            registrar.wait_said("up")
            started_s = time.monotonic() - began_at
            code, stopped_s = registrar.stop()
            assert code == 5
            assert "the command starts all the same" in registrar.log

        assert started_s < 5
        # less than the 2 s of one unanswered call
        assert stopped_s < 1.9
        server.thaw()
        place.etcd.close()


def test_a_closed_stdin_keeps_nothing_from_starting(shell: Shell, place: Place) -> None:
    closing = Shell(shell.name, ("sh", "-c", 'exec "$@" <&-', "sh", *shell.arguments), shell.path)

    assert run_once(closing, ["sh", "-c", "exit 6"], place.instance_environ()).returncode == 6


def test_an_outage_of_the_registry_is_lived_through(shell: Shell, tmp_path: Path) -> None:
    with EtcdServer(tmp_path) as server:
        place = Place(server, "/outage")
        server.kill()
        with run(shell, place) as registrar:
            registrar.wait_said("up")
            registrar.wait_said("refuses connections; the command starts all the same")
            server.start()
            place.wait_registered()
            entry = place.routes()[0]
            registrar.wait_said("the registry takes us again")

            server.kill()
            registrar.wait_said("refuses connections; trying on")
            server.start()
            wait_until(lambda: registrar.log.count("the registry takes us again") == 2)
            assert [one.key for one in place.routes()] == [entry.key]
            # told once when it begins and once when it ends
            assert registrar.log.count("trying on") == 1

            server.kill()
            code, took_s = registrar.stop()
            assert code == 5
            assert took_s < 8
        place.etcd.close()


def test_a_dead_endpoint_is_stepped_over(shell: Shell, place: Place) -> None:
    (dead,) = free_ports(1)
    urls = f"http://127.0.0.1:{dead}, {place.environ['REGISTRY_URL']}/"
    with ShellRegistrar(shell, ["sleep", "60"], place.instance_environ(REGISTRY_URL=urls)) as one:
        one.wait_said("is ready")

        assert "refuses" not in one.log


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """An etcd with users whose tokens do not last."""
    flags = ["--auth-token-ttl", str(TOKEN_TTL_S)]
    with EtcdServer(tmp_path_factory.mktemp("guarded"), flags=flags) as server:
        enable_users(Etcd(server.settings), password="root-secret")
        root = Etcd(EtcdSettings((server.url,), user="root", password="root-secret"))
        add_reader(root, "m@e", prefix=b"/mine/", password='p w"\\%:ü')
        yield server


def test_users_passwords_and_tokens_that_run_out(
    shell: Shell, guarded: EtcdServer, tmp_path: Path
) -> None:
    """No password is on a command line, whatever its characters."""
    listed = tmp_path / "curl.log"
    curl = tmp_path / "curl"
    curl.write_text(f'#!/bin/sh\necho "$@" >>{listed}\nexec {shutil.which("curl")} "$@"\n')
    curl.chmod(0o755)
    place = Place(guarded, "/mine")
    place.etcd = Etcd(EtcdSettings((guarded.url,), user="m@e", password='p w"\\%:ü'))
    url = guarded.url.replace("://", "://m%40e:p%20w%22%5C%25%3A%C3%BC@")
    environ = place.instance_environ(REGISTRY_URL=url, TTL="6")
    environ["PATH"] = f"{tmp_path}:{environ['PATH']}"
    watched = Shell(shell.name, shell.arguments, f"{tmp_path}:{shell.path}")

    with ShellRegistrar(watched, ["sh", "-c", UNTIL_TERM], environ) as registrar:
        registrar.wait_said("is ready")
        entry = place.routes()[0]
        # every refresh, 2 s apart, meets a token that ran out
        until = time.monotonic() + 4.7
        wait_until(lambda: time.monotonic() > until)
        assert place.routes()[0] == entry
        code, _ = registrar.stop()

        assert code == 5
        assert place.routes() == []
        assert "trying on" not in registrar.log
        assert "p w" not in registrar.log
    arguments = listed.read_text()
    assert arguments.count("\n") > 8
    assert set(arguments.split("\n")) <= {"-q -K -", ""}
    place.etcd.close()


def test_a_password_from_a_file_and_a_wrong_one(
    shell: Shell, guarded: EtcdServer, tmp_path: Path
) -> None:
    place = Place(guarded, "/mine")
    place.etcd = Etcd(EtcdSettings((guarded.url,), user="m@e", password='p w"\\%:ü'))
    password = tmp_path / "password"
    password.write_text('p w"\\%:ü\nsecond line\n')
    environ = place.instance_environ(REGISTRY_USER="m@e", REGISTRY_PASSWORD_FILE=str(password))

    with ShellRegistrar(shell, ["sleep", "60"], environ):
        place.wait_registered()
    del environ["REGISTRY_PASSWORD_FILE"]
    wrong = run_once(shell, ["--", "echo", "up"], environ | {"REGISTRY_PASSWORD": "very-wrong"})

    assert (wrong.returncode, wrong.stdout) == (0, "up\n")
    assert "authentication failed" in wrong.stderr
    assert "very-wrong" not in wrong.stderr
    place.etcd.close()


def test_certificates_are_given_and_checked(shell: Shell, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.sign("server")
    ours, our_key = authority.sign('our "own" one')
    flags = ["--client-cert-auth", "--trusted-ca-file", str(authority.ca)]
    server = EtcdServer(
        tmp_path / "etcd",
        flags=[*flags, "--cert-file", cert, "--key-file", key],
        scheme="https",
    )
    server.settings = EtcdSettings((server.url,), ca=str(authority.ca), cert=ours, key=our_key)
    with server:
        place = Place(server, "/tls")
        environ = place.instance_environ()
        files = {"REGISTRY_CA": str(authority.ca), "REGISTRY_CERT": ours, "REGISTRY_KEY": our_key}

        with ShellRegistrar(shell, ["sleep", "60"], environ | files):
            place.wait_registered()
        untrusted = run_once(shell, ["--", "echo", "up"], environ)

        assert untrusted.stdout == "up\n"
        assert "certificate" in untrusted.stderr
        place.etcd.close()


def test_when_the_shell_is_killed_nothing_keeps_the_service_registered(
    shell: Shell, place: Place
) -> None:
    with ShellRegistrar(
        shell, ["--", "sleep", "3600"], place.instance_environ(TTL="2")
    ) as registrar:
        place.wait_registered()
        registrar.send(signal.SIGKILL)
        wait_until(lambda: place.routes() == [])

        # the command itself was nobody's to end
        wait_until(lambda: registrar.members() == ["sleep 3600"])


def test_while_nothing_happens_there_are_two_shells_and_a_sleep(shell: Shell, place: Place) -> None:
    with ShellRegistrar(
        shell, ["--", "sleep", "3600"], place.instance_environ(TTL="60")
    ) as registrar:
        registrar.wait_said("is ready")
        wait_until(lambda: len(registrar.members()) == 4)
        found = sorted(registrar.members())

        assert sum("register.sh" in one for one in found) == 2
        assert sum(one.startswith("sleep ") for one in found) == 2
        assert registrar.stop()[0] == 143
        wait_until(lambda: registrar.members() == [])


def as_pid_1() -> list[str]:
    """How to be PID 1 here; skips where that is not allowed."""
    around = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    around += [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    if shutil.which("unshare") is None:
        pytest.skip("unshare (util-linux) is not installed")
    if subprocess.run([*around, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let us make a PID namespace")
    return around


def test_as_pid_1_it_buries_orphans_and_takes_signals(shell: Shell, place: Place) -> None:
    script = """
        trap 'echo got TERM; exit 5' TERM
        (sh -c 'sleep 0.05; exit 3' &)
        (sh -c 'sleep 0.05; exit 3' &)
        sleep 0.5
        grep -l 'State:.Z' /proc/[0-9]*/status
        echo done
        while :; do sleep 0.02; done"""
    with ShellRegistrar(
        shell, ["--", "sh", "-c", script], place.instance_environ(), around=as_pid_1()
    ) as registrar:
        registrar.wait_said("done")
        assert registrar.out == "done\n"
        children = Path(f"/proc/{registrar.pid}/task/{registrar.pid}/children").read_text()
        os.kill(int(children), signal.SIGTERM)

        assert registrar.wait() == 5
        assert place.routes() == []
