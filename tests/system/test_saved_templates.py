"""Templates saved while the frontend runs: good ones are served, bad ones told, at no cost.

"Nothing" takes in the routes: while a template is wrong, changes of the registry are served with
the templates that were good last.
"""

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from regenerator.templates import default_folder
from registry.keys import RouteKey
from tests.etcd_server import EtcdServer, free_ports, wait_until
from tests.system.asking import Asking
from tests.system.frontend import Frontend, Link, exchange
from tests.system.origin import Origin

pytestmark = pytest.mark.system

HOST = "demo.localhost"
SERVERS = "templates/servers.conf.j2"
PAGE = "templates/pages/base.html.j2"
ROUTE = "templates/route.conf.j2"

Edit = Callable[[str], str]


@pytest.fixture(scope="module", name="origin")
def _origin() -> Iterator[Origin]:
    with Origin("demo") as origin:
        yield origin


@pytest.fixture(scope="module", name="templates")
def _templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our own templates, in a copy that may be edited."""
    return shutil.copytree(default_folder(), tmp_path_factory.mktemp("edited") / "nginx")


@pytest.fixture(scope="module", name="running")
def _running(
    tmp_path_factory: pytest.TempPathFactory, etcd: EtcdServer, origin: Origin, templates: Path
) -> Iterator[Frontend]:
    folder = tmp_path_factory.mktemp("templates")
    settings = {"REGISTRY_PREFIX": f"/{folder.name}", "TEMPLATES": str(templates)}
    with Frontend(folder, etcd=etcd, **settings) as frontend:
        frontend.put("demo", "web", origin.address)
        yield frontend


@pytest.fixture(name="frontend")
def _frontend(running: Frontend) -> Iterator[Frontend]:
    """The frontend, with templates that are whole again behind the test."""
    templates = Path(running.settings["TEMPLATES"])
    shutil.copytree(default_folder(), templates, dirs_exist_ok=True)
    running.wait_for_state("ok")
    yield running
    shutil.copytree(default_folder(), templates, dirs_exist_ok=True)


def edit(templates: Path, name: str, change: Edit) -> None:
    """Save a template as an editor does that writes in place."""
    path = templates / name
    path.write_text(change(path.read_text()))


def added(text: str) -> Edit:
    return lambda old: old + text


def test_a_template_that_is_saved_is_served(frontend: Frontend, templates: Path) -> None:
    edit(templates, SERVERS, added("# saved\n"))
    edit(templates, PAGE, lambda text: text.replace("</body>", "<p>Ask Ada.</p></body>"))

    wait_until(lambda: "# saved" in (frontend.state / "conf.d" / "servers.conf").read_text())
    page = frontend.state / "conf.d" / "pages" / "404.html"
    wait_until(lambda: "Ask Ada." in page.read_text())
    frontend.put("saved", "web", "127.0.0.1:9000")

    # the dashboard, which makes the page, reads templates by itself
    wait_until(lambda: "Ask Ada." in frontend.ask("nobody.localhost").text)


@pytest.mark.parametrize(
    ("name", "change", "state", "reason"),
    [
        pytest.param(
            SERVERS, added("{% if %}"), "template broken", "servers.conf.j2 line", id="syntax"
        ),
        pytest.param(
            SERVERS, added("{{ nothing }}"), "template broken", "'nothing' is undefined", id="name"
        ),
        pytest.param(
            SERVERS, added('{{ "a;b" }}'), "template broken", "'a;b' cannot be written", id="value"
        ),
        pytest.param(
            SERVERS, added("{{ 1 / 0 }}"), "template broken", "division by zero", id="arithmetic"
        ),
        pytest.param(
            SERVERS,
            added("no_such_directive 1;\n"),
            "configuration refused",
            "unknown directive",
            id="a directive",
        ),
        pytest.param(
            SERVERS,
            lambda _: "",
            "template broken",
            "no template writes the generation",
            id="empty",
        ),
        pytest.param(
            PAGE, added("{{ nothing }}"), "template broken", "'nothing' is undefined", id="a page"
        ),
        pytest.param(
            "nginx.conf", lambda _: "", "configuration refused", "events", id="an empty nginx.conf"
        ),
    ],
)
def test_a_template_that_is_wrong_is_told_and_holds_up_nothing(
    name: str,
    change: Edit,
    state: str,
    reason: str,
    frontend: Frontend,
    templates: Path,
    origin: Origin,
) -> None:
    branch = f"branch-{len(list(frontend.etcd.list(frontend.keys.routes).entries))}"
    good = (templates / name).read_text()

    with Asking(frontend, HOST) as asking:
        edit(templates, name, change)
        frontend.wait_for_state(state)
        told = frontend.log.read_text()
        # the registry goes on
        frontend.put(branch, "web", origin.address)
        assert frontend.ask(f"{branch}.localhost").text == "demo"
        frontend.wait_for_state(state)

        (templates / name).write_text(good)
        frontend.wait_for_state("ok")
        assert frontend.ask(f"{branch}.localhost").text == "demo"

    assert reason in told
    assert not asking.failures


def test_a_port_that_nginx_cannot_have_at_a_reload_is_told_and_had_later(
    frontend: Frontend, templates: Path, origin: Origin
) -> None:
    """nginx's check finds nothing wrong, and its reload says nothing: it just stays as it was."""
    port = free_ports(1)[0]
    text = f"server {{\n    listen 127.0.0.1:{port};\n    return 204;\n}}\n"

    with socket.create_server(("127.0.0.1", port)) as taken, Asking(frontend, HOST) as asking:
        edit(templates, SERVERS, added(text))
        frontend.wait_for_state("not applied")
        frontend.put("meanwhile", "web", origin.address)
        assert frontend.ask("meanwhile.localhost").text == "demo"
        taken.close()
        frontend.wait_for_state("ok")

        with Link("127.0.0.1", port, timeout=5) as link:
            assert exchange(link, HOST).status == 204

    assert f"bind() to 127.0.0.1:{port} failed" in frontend.log.read_text()
    assert not asking.failures


def test_words_that_only_the_reload_refuses_are_rolled_back(
    frontend: Frontend, templates: Path, origin: Origin
) -> None:
    """nginx's check is made once a grammar; what it cannot have seen then, the reload refuses."""
    trap = '{% macro host(route) %}\n{% if route.branch == "trap" %}one_word;\n{% endif %}\n'
    edit(templates, ROUTE, lambda text: text.replace("{% macro host(route) %}\n", trap))
    edit(templates, SERVERS, added("# trapped\n"))
    # the trap is in what nginx has checked and taken; without that it would be checked again
    wait_until(lambda: "# trapped" in (frontend.state / "conf.d" / "servers.conf").read_text())
    frontend.put("before", "web", origin.address)
    raw = frontend.keys.raw(RouteKey("trap", "web"))

    with Asking(frontend, HOST) as asking:
        frontend.etcd.write(raw, origin.address.encode())
        frontend.wait_for_state("not applied")
        served = (frontend.state / "conf.d" / "routes.conf").read_text()
        frontend.etcd.delete(raw)
        frontend.wait_for_state("ok")
        frontend.put("after", "web", origin.address)
        assert frontend.ask("after.localhost").text == "demo"

    assert "one_word" not in served
    assert "invalid number of the map parameters" in frontend.log.read_text()
    assert not asking.failures


def test_templates_that_are_wrong_at_the_start_do_not_keep_the_last_good_routes_from_serving(
    tmp_path: Path, etcd: EtcdServer, origin: Origin
) -> None:
    templates = shutil.copytree(default_folder(), tmp_path / "nginx")
    settings = {"REGISTRY_PREFIX": f"/{tmp_path.name}", "TEMPLATES": str(templates)}
    with Frontend(tmp_path, etcd=etcd, **settings) as frontend:
        frontend.put("demo", "web", origin.address)
        frontend.stop()
        good = (templates / SERVERS).read_text()
        edit(templates, SERVERS, added("{% if %}"))

        frontend.start()
        frontend.wait_for_state("template broken")
        assert frontend.ask(HOST).text == "demo"

        (templates / SERVERS).write_text(good)
        frontend.put("later", "web", origin.address)
        assert frontend.ask("later.localhost").text == "demo"


WITHOUT_INOTIFY = 'echo 0 >/proc/sys/user/max_inotify_instances && exec "$@"'
"""The kernel counts who watches folders; containers of one host share what there is."""


def test_where_the_kernel_watches_no_folders_a_saved_template_is_found_all_the_same(
    tmp_path: Path, etcd: EtcdServer, origin: Origin
) -> None:
    alone = ["unshare", "-Ur", "sh", "-c", WITHOUT_INOTIFY, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("a limit of one's own needs a user namespace, which this machine refuses")
    templates = shutil.copytree(default_folder(), tmp_path / "nginx")
    settings = {"REGISTRY_PREFIX": f"/{tmp_path.name}", "TEMPLATES": str(templates)}
    frontend = Frontend(tmp_path, etcd=etcd, **settings)
    frontend.wrapper = tuple(alone)
    with frontend:
        frontend.put("demo", "web", origin.address)

        edit(templates, SERVERS, added("{% if %}"))

        frontend.wait_for_state("template broken")
        assert "the kernel watches no more folders for us" in frontend.log.read_text()
