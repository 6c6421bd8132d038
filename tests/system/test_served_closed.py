"""Included: ``--wait SECONDS --probe`` where frontends have TLS, a password, networks or a sign-in.

Real nginx. What a login is said to, and when, is read on the wire in tests/unit/test_served.py.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.etcd_server import EtcdServer, free_ports
from tests.fakes.sign_in_proxy import SignInProxy
from tests.registrar_process import Place, Registrar, run_once
from tests.system.frontend import Frontend
from tests.system.origin import Origin, refusing
from tests.system.test_access_basic import htpasswd

pytestmark = pytest.mark.system

LOGIN = "anna:open: sesame"

LONG, NO_END = "15", "3600"
"""Seconds to wait: more than what is awaited takes, and more than a test lets a command run."""


@contextmanager
def started(
    folder: Path, etcd: EtcdServer, settings: Mapping[str, str]
) -> Iterator[tuple[Frontend, Place]]:
    """A frontend, and the place where it is the only one."""
    frontend = Frontend(folder, etcd=etcd, **settings)
    frontend.settings["REGISTRY_PREFIX"] = prefix = f"/closed-{frontend.port}"
    place = Place(etcd, prefix)
    try:
        with frontend:
            yield frontend, place
    finally:
        place.etcd.close()


@pytest.fixture(name="secure")
def _secure(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """TLS, with a certificate that is neither the domain's nor of an authority that is known."""
    certificate, key = Authority(tmp_path_factory.mktemp("tls")).sign("other")
    [port] = free_ports(1)
    return {"LISTEN_TLS": f"127.0.0.1:{port}", "TLS_CERT": certificate, "TLS_KEY": key}


@pytest.fixture(scope="module", name="closed")
def _closed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Everything closed by a password."""
    path = tmp_path_factory.mktemp("passwords") / "htpasswd"
    path.write_text(htpasswd(*LOGIN.split(":", 1)))
    return {"BASIC_AUTH": str(path), "PROTECT": "all"}


def test_with_tls_it_is_reached_by_https(
    etcd: EtcdServer, tmp_path: Path, secure: dict[str, str]
) -> None:
    """Nobody has to be told where that is, nor whom to believe."""
    with started(tmp_path, etcd, secure) as (frontend, place), Origin() as origin:
        added = place.ask("add", "main", "web", origin.address, "--wait", LONG, "--probe")

    assert added.returncode == 0, f"{added}\n{frontend.story()}"
    url = f"https://main.localhost:{secure['LISTEN_TLS'].rpartition(':')[2]}"
    assert f"reached through all frontends at {url} after" in added.stdout
    assert {one.value("X-Forwarded-Proto") for one in origin.seen} == {"https"}


def test_where_https_is_not_at_the_frontends_ip_that_is_told(
    etcd: EtcdServer, tmp_path: Path, secure: dict[str, str]
) -> None:
    """Behind a load balancer people use another port than the one that nginx listens on."""
    with Origin() as origin, refusing() as nobody:
        settings = secure | {"PUBLIC_URL": f"https://localhost:{nobody.rpartition(':')[2]}"}
        with started(tmp_path, etcd, settings) as (frontend, place):
            added = place.ask("add", "main", "web", origin.address, "--wait", "5", "--probe")

    assert added.returncode == 75
    assert (
        f"frontend {frontend.id} at 127.0.0.1:{frontend.port} sends us to https at"
        f" {nobody}, which refuses connections; the registration stands"
    ) in added.stderr


def test_through_a_frontend_with_tls_that_is_closed_as_well(
    etcd: EtcdServer, tmp_path: Path, secure: dict[str, str], closed: dict[str, str]
) -> None:
    (tmp_path / "login").write_text(f"{LOGIN}\n")
    stranger = f"sends us to https at {secure['LISTEN_TLS']}, which answered 401"
    expected: tuple[tuple[dict[str, str], int, str], ...] = (
        ({"PROBE_LOGIN": LOGIN}, 0, "reached through all frontends at https://"),
        ({"PROBE_LOGIN_FILE": str(tmp_path / "login")}, 0, "reached through all frontends at "),
        ({}, 77, f"{stranger}: it wants a password; set PROBE_LOGIN to user:password"),
        ({"PROBE_LOGIN": "anna:open"}, 77, f"{stranger} to the user and password of PROBE_LOGIN"),
    )
    with started(tmp_path, etcd, secure | closed) as (frontend, place):
        for told, code, words in expected:
            with Origin() as origin:
                wait = NO_END if code else LONG
                added = place.ask(
                    "add", "main", "web", origin.address, "--wait", wait, "--probe", **told
                )

            said = added.stdout + added.stderr
            assert added.returncode == code, f"{said}\n{frontend.story()}"
            assert "every live frontend has applied it" in added.stdout
            assert words in said
            assert "sesame" not in said
            if code:
                whole = f"registrar: not reached: frontend {frontend.id} at "
                assert added.stderr.startswith(whole)
                assert added.stderr.endswith("; the registration stands\n")
            assert bool(origin.seen) == (code == 0)
            # the frontend keeps the login to itself
            assert [value for one in origin.seen for value in one.values("Authorization")] == []


@pytest.mark.parametrize("arguments", [["sidecar"], ["run", "--", "sleep", "60"]])
def test_what_runs_is_reached_or_says_at_once_that_it_is_not_let_in(
    etcd: EtcdServer, tmp_path: Path, closed: dict[str, str], arguments: list[str]
) -> None:
    command, *rest = arguments
    with started(tmp_path, etcd, closed) as (frontend, place), Origin() as origin:
        told = {"PORT": str(origin.port), "IP": "127.0.0.1"}
        environ = place.instance_environ(NAME="stranger", **told)
        with Registrar([command, "--wait", NO_END, "--probe", *rest], environ) as stranger:
            stranger.wait_said(
                f"not reached: frontend {frontend.id} at 127.0.0.1:{frontend.port} answered 401:"
                " it wants a password; set PROBE_LOGIN"
            )
            assert stranger.is_running()
            stranger.stop()
        environ = place.instance_environ(NAME="main", PROBE_LOGIN=LOGIN, **told)
        with Registrar([command, "--wait", LONG, "--probe", *rest], environ) as registrar:
            registrar.wait_said("reached through all frontends at http://main.localhost:")

    assert "not reached" not in registrar.log
    assert "sesame" not in registrar.log + registrar.out
    assert [value for one in origin.seen for value in one.values("Authorization")] == []


@pytest.mark.parametrize("how", ["networks", "sign-in"])
def test_who_cannot_be_let_in_by_a_password_is_told_at_once(
    etcd: EtcdServer, tmp_path: Path, how: str
) -> None:
    with SignInProxy(domain="localhost") as proxy, Origin() as origin:
        settings, words = {
            "networks": (
                {"ALLOW_CLIENTS": "10.0.0.0/8"},
                "answered 403: it lets in other networks than ours (ALLOW_CLIENTS)",
            ),
            "sign-in": ({"AUTH_URL": proxy.url}, "answered 401: it wants a sign-in (AUTH_URL)"),
        }[how]
        with started(tmp_path, etcd, {**settings, "PROTECT": "all"}) as (_, place):
            added = place.ask(
                *("add", "main", "web", origin.address, "--wait", NO_END, "--probe"),
                PROBE_LOGIN=LOGIN,
            )

    assert added.returncode == 77
    assert words in added.stderr
    assert origin.seen == []
    assert not any("authorization" in one.headers for one in proxy.asked)


def test_a_frontend_of_which_the_page_alone_is_closed_is_told_no_login(
    etcd: EtcdServer, tmp_path: Path, closed: dict[str, str]
) -> None:
    """There it would go on to the service."""
    settings = closed | {"PROTECT": "page"}
    with started(tmp_path, etcd, settings) as (_, place), Origin() as origin:
        added = place.ask(
            *("add", "main", "web", origin.address, "--wait", LONG, "--probe"), PROBE_LOGIN=LOGIN
        )

    assert added.returncode == 0, added
    assert origin.seen
    assert [value for one in origin.seen for value in one.values("Authorization")] == []


@pytest.mark.parametrize("is_registered", [False, True])
def test_command_does_not_get_the_login(etcd: EtcdServer, is_registered: bool) -> None:
    """It would open every other branch to code that nobody has reviewed."""
    place = Place(etcd, "/login")
    environ = place.instance_environ() if is_registered else {"SERVICE": "web"}
    script = "import os; print(os.environ.get('PROBE_LOGIN'), os.environ['SERVICE'])"
    try:
        done = run_once(
            ["run", "--", sys.executable, "-c", script], environ | {"PROBE_LOGIN": LOGIN}
        )
    finally:
        place.etcd.close()

    assert (done.returncode, done.stdout) == (0, "None web\n")


def test_a_login_is_no_flag(etcd: EtcdServer) -> None:
    place = Place(etcd, "/login")
    try:
        done = place.ask("add", "main", "web", "10.0.0.5:80", "--probe-login", LOGIN)
        assert place.routes() == []
    finally:
        place.etcd.close()

    assert done.returncode == 2
    assert "set PROBE_LOGIN or PROBE_LOGIN_FILE" in done.stderr
    assert "sesame" not in done.stderr
