"""The same bytes for the same routes, and nothing in them that a record could have meant for nginx.

The rendered text is read back with nginx's own rules of words and blocks, so that a value that
breaks out of its place shows whatever it looks like.
"""

import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regenerator import templates
from regenerator.render import (
    PAGES,
    Lines,
    Renderer,
    RenderSettings,
    Tree,
    is_named_after,
    readable,
    word,
    written,
)
from regenerator.routes import Instance, Route, RouteTable
from registry.faults import RenderFault
from registry.keys import encode
from registry.names import LABEL_MAX
from registry.records import Address
from registry.snapshot import Entry
from tests.nginx_words import Directive, parse
from tests.registry_contents import bites, claim, entries, route, table_of

FOLDER = Path(__file__).parents[2] / "nginx"
SETTINGS = RenderSettings("dev.test", "http://dev.test:8080", ("127.0.0.1:8080",))
RENDERER = templates.load(FOLDER, SETTINGS)

EMPTY = RouteTable((), ())

MAPS = ("$host", "$route", "$route", "$route", "$route $last_address")
"""What the maps of routes.conf look up: for a route, a target, a branch, a service, an instance."""

OURS = frozenset(
    {"pages", "pages_on_disk", "dashboard", "dashboard_answers", "dashboard_streams", "late"}
)
"""Upstream blocks that lead to nginx itself and to what belongs to it."""

SOME = settings(max_examples=25)
"""Each example renders every file, which takes 10 ms."""

FEW = settings(max_examples=8)
"""Each example reads and compiles every template besides, which takes 60 ms."""


class Page(HTMLParser):
    """The elements of a page, with the names of their attributes, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: Counter[tuple[str, ...]] = Counter()
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag, *(name for name, _ in attrs)] += 1

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def maps_of(tree: Tree) -> list[dict[str, str]]:
    """The maps of routes.conf, each with its default."""
    found = [one for one in parse(tree.files["routes.conf"]) if one.words[0] == "map"]
    assert tuple(one.words[1] for one in found) == MAPS
    return [{entry.words[0]: entry.words[1] for entry in one.block} for one in found]


def blocks_of(tree: Tree) -> dict[str, list[str]]:
    """The addresses in each upstream block of a route, in the order of the file."""
    return {
        one.words[1]: [line.words[1] for line in one.block if line.words[0] == "server"]
        for one in parse(tree.files["routes.conf"])
        if one.words[0] == "upstream" and one.words[1] not in OURS
    }


def leads_to(tree: Tree, host: str) -> list[str]:
    """The addresses that nginx would send a host's requests to."""
    routes, targets = maps_of(tree)[:2]
    route = routes[host]
    target = targets.get(route, route)
    return blocks_of(tree).get(target, [target] if target else [])


def check_structure(directives: list[Directive], table: RouteTable) -> None:
    """The file has what these routes need, each directive of the right length, and nothing else."""
    labels = sum(len(one.labels) for one in table.routes)
    instances = sum(len(one.instances) for one in table.routes)
    maps = [one for one in directives if one.words[0] == "map"]
    blocks = [one for one in directives if one.words[0] == "upstream"]
    assert len(maps) + len(blocks) == len(directives)
    sizes = [len(one.block) - 1 for one in maps]
    assert sizes[0] == labels
    assert sizes[2:] == [len(table.routes), len(table.routes), instances]
    assert all(len(line.words) == 2 and not line.block for one in maps for line in one.block)
    for block in blocks:
        assert len(block.words) == 2
        if block.words[1] in OURS:
            continue
        names = Counter(line.words[0] for line in block.block)
        assert set(names) <= {"server", "keepalive", "keepalive_timeout"}
        assert all(len(line.words) <= 3 and not line.block for line in block.block)


@SOME
@given(found=entries)
def test_no_record_adds_a_directive_or_a_line(found: list[Entry]) -> None:
    table = table_of(*found)

    tree = RENDERER.render(table)

    check_structure(parse(tree.files["routes.conf"]), table)
    harmless = RENDERER.render(_renamed(table))
    for name, text in harmless.files.items():
        if name.endswith(".conf"):
            assert tree.files[name].count("\n") == text.count("\n")
            assert "".join(tree.files[name].split("\n")).isprintable()


def _renamed(table: RouteTable) -> RouteTable:
    """The same routes with names that hurt nobody; those that were the same still are."""
    services = sorted({one.service for one in table.routes})
    routes = tuple(
        Route(
            one.id,
            "branch",
            f"service{services.index(one.service)}",
            one.labels,
            tuple(Instance(held.address, "name") for held in one.instances),
            one.newest,
        )
        for one in table.routes
    )
    return RouteTable(routes, ())


@SOME
@given(branch=bites, service=bites, name=bites)
def test_a_route_that_no_reader_would_let_through_is_refused_or_harmless(
    branch: str, service: str, name: str
) -> None:
    """Whatever may come to stand in a route: rendering does not rely on those who checked it."""
    made = RouteTable((_route(branch=branch, service=service, name=name),), ())
    try:
        tree = RENDERER.render(made)
    except RenderFault:
        return

    check_structure(parse(tree.files["routes.conf"]), made)


@pytest.mark.parametrize("bad", ["a b", "a;", "x{", "a\nb", "$host", "#", '"', "'", "\\", "", "é"])
@pytest.mark.parametrize("field", ["id", "label"])
def test_what_is_written_as_it_is_has_to_be_a_word(field: str, bad: str) -> None:
    with pytest.raises(RenderFault, match="cannot be written into an nginx configuration"):
        RENDERER.render(RouteTable((_route(**{field: bad}),), ()))


def _route(
    *,
    id: str = "0123456789abcdef",  # noqa: A002 - the field's name
    label: str = "label",
    branch: str = "branch",
    service: str = "service",
    name: str = "name",
) -> Route:
    instance = Instance(Address("10.0.0.1", 80), name)
    return Route(id, branch, service, (label,), (instance,), 1)


@SOME
@given(found=entries)
def test_what_is_said_of_a_request_names_the_real_branch_service_and_instance(
    found: list[Entry],
) -> None:
    table = table_of(*found)

    _, _, branches, services, instances = maps_of(RENDERER.render(table))

    for one in table.routes:
        assert unquote(branches[one.id]) == one.branch
        assert unquote(services[one.id]) == one.service
        for held in one.instances:
            assert unquote(instances[f"{one.id} {held.address}"]) == held.name


@SOME
@given(found=entries)
def test_every_host_leads_to_its_own_instances_and_nowhere_else(found: list[Entry]) -> None:
    table = table_of(*found)
    tree = RENDERER.render(table)

    hosts = {f"{label}.dev.test": one for one in table.routes for label in one.labels}
    assert maps_of(tree)[0].keys() == {"default", *hosts}
    for host, one in hosts.items():
        assert leads_to(tree, host) == [str(held.address) for held in one.instances]


@SOME
@given(found=entries)
def test_pages_show_names_as_text_and_nothing_of_them_as_markup(found: list[Entry]) -> None:
    table = table_of(*found)

    files = RENDERER.render(table).files

    page = Page(files["pages/index.html"])
    harmless = Page(RENDERER.render(_renamed_branches(table)).files["pages/index.html"])
    assert page.elements == harmless.elements
    for one in table.routes:
        # a page's reader takes what stands for a line's end and for a control character otherwise
        assert one.branch in page.words or not one.branch.isprintable()
    document = json.loads(files["pages/index.json"])
    shown = {(b["branch"], s["service"]) for b in document["branches"] for s in b["services"]}
    assert shown == {(one.branch, one.service) for one in table.routes if one.labels}


def _renamed_branches(table: RouteTable) -> RouteTable:
    """The same routes with names that hurt nobody, those of one branch still together."""
    names = {name: f"branch{n}" for n, name in enumerate(sorted({r.branch for r in table.routes}))}
    routes = (
        Route(r.id, names[r.branch], f"s{n}", r.labels, r.instances, r.newest)
        for n, r in enumerate(table.routes)
    )
    return RouteTable(tuple(routes), ())


@pytest.mark.parametrize("status", PAGES)
def test_every_status_has_a_page_and_a_problem_document(status: int) -> None:
    files = RENDERER.render(EMPTY).files

    page = files[f"pages/{status}.html"]
    assert f'<p class="status">{status}</p>' in page
    assert '<a href="http://dev.test:8080/">' in page
    problem = json.loads(re.sub("<!--#.*?-->", "filled in", files[f"pages/{status}.json"]))
    assert problem["status"] == status
    assert problem["title"]
    assert len(problem["detail"]) > 40


def test_the_list_of_branches_links_to_the_shortest_host_of_each_service() -> None:
    table = table_of(
        route("main"),
        route("main", "api", value="10.0.0.2:80"),
        claim("off", "web", "off-web", "off"),
    )

    files = RENDERER.render(table).files

    document = json.loads(files["pages/index.json"])
    assert document == {
        "domain": "dev.test",
        "held": 0,
        "branches": [
            {
                "branch": "main",
                "services": [
                    {
                        "service": "api",
                        "url": "http://main-api.dev.test:8080",
                        "instances": [{"name": "10.0.0.2:80", "address": "10.0.0.2:80"}],
                    },
                    {
                        "service": "web",
                        "url": "http://main.dev.test:8080",
                        "instances": [{"name": "10.0.0.1:8080", "address": "10.0.0.1:8080"}],
                    },
                ],
            },
            {
                "branch": "off",
                "services": [
                    {"service": "web", "url": "http://off.dev.test:8080", "instances": []}
                ],
            },
        ],
    }
    assert "2 branches" in files["pages/index.html"]
    assert files["pages/index.html"].count("not serving") == 1


def test_a_service_that_has_lost_all_its_labels_is_in_no_list() -> None:
    lost = Route("0" * 16, "lost", "web", (), (Instance(Address("10.0.0.1", 80), "i"),), 1)

    files = RENDERER.render(RouteTable((lost,), ())).files

    assert json.loads(files["pages/index.json"])["branches"] == [{"branch": "lost", "services": []}]


def test_an_empty_registry_has_a_page_that_says_how_to_begin() -> None:
    assert "registrar" in RENDERER.render(EMPTY).files["pages/index.html"]


def test_the_newest_routes_and_those_with_several_instances_get_a_block() -> None:
    few_blocks = RenderSettings("dev.test", "http://dev.test", ("80",), blocks=2)
    table = table_of(
        *(route(f"b{at}", value=f"10.0.0.{at}:80", at=at) for at in range(1, 5)),
        *(route("many", instance=f"10.0.1.{n}:80", value=f"10.0.1.{n}:80", at=1) for n in (1, 2)),
        route("resting", value='{"address":"10.0.0.9:80","state":"draining"}', at=99),
    )

    tree = templates.load(FOLDER, few_blocks).render(table)

    # the newest stand first, because nginx looks through them in order
    assert list(blocks_of(tree).values()) == [
        ["10.0.0.4:80"],
        ["10.0.0.3:80"],
        ["10.0.1.1:80", "10.0.1.2:80"],
    ]
    assert leads_to(tree, "b1.dev.test") == ["10.0.0.1:80"]
    assert leads_to(tree, "resting.dev.test") == []


@FEW
@given(
    orders=entries.flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))),
)
def test_the_order_of_arrival_does_not_show_in_the_bytes(
    orders: tuple[list[Entry], list[Entry]],
) -> None:
    one, other = orders

    assert RENDERER.render(table_of(*one)) == templates.load(FOLDER, SETTINGS).render(
        table_of(*other)
    )


@FEW
@given(first=entries, second=entries)
def test_what_was_rendered_before_does_not_show_in_the_bytes(
    first: list[Entry], second: list[Entry]
) -> None:
    one, other = table_of(*first), table_of(*second)
    used, fresh = templates.load(FOLDER, SETTINGS), templates.load(FOLDER, SETTINGS)

    used.render(one)
    assert used.render(other) == fresh.render(other)
    assert used.render(one) == templates.load(FOLDER, SETTINGS).render(one)


def test_a_route_that_changed_is_rendered_anew_even_if_its_name_and_age_did_not() -> None:
    used = templates.load(FOLDER, SETTINGS)
    used.render(table_of(route("main", value="10.0.0.1:80")))

    tree = used.render(table_of(route("main", value="10.0.0.2:80")))

    assert leads_to(tree, "main.dev.test") == ["10.0.0.2:80"]


def test_a_generation_is_named_by_all_of_its_bytes() -> None:
    tree = RENDERER.render(table_of(route("main")))

    assert len(tree.generation) == 12
    assert tree.generation in tree.files["servers.conf"]
    assert is_named_after(tree.files, tree.generation)
    assert not is_named_after({**tree.files, "routes.conf": "\n"}, tree.generation)
    assert RENDERER.render(EMPTY).generation != tree.generation


@pytest.mark.parametrize("routes", [0, 1, 10_000])
def test_the_hashes_have_room_for_the_longest_and_the_most_names(routes: int) -> None:
    """``ngx_hash_init`` needs a pointer, a length of two bytes, the key, and a pointer behind."""
    domain = "d" * 63 + "." + "e" * 63 + "." + "f" * 61
    long = RenderSettings(domain, f"http://{domain}", ("80",))
    made = (
        Route(f"{n:016x}", f"b{n}", "web", (f"{n:x}".rjust(LABEL_MAX, "x"),), (), n)
        for n in range(routes)
    )

    tree = templates.load(FOLDER, long).render(RouteTable(tuple(made), ()))

    sizes = {one.words[0]: int(one.words[1]) for one in parse(tree.files["hash.conf"])}
    longest = LABEL_MAX + 1 + len(domain) if routes else len(domain)
    assert sizes["map_hash_bucket_size"] >= 2 * (8 + longest + 2) + 8
    assert sizes["server_names_hash_bucket_size"] >= 8 + len(domain) + 2 + 8
    assert sizes["map_hash_max_size"] >= 4 * routes


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"hash.conf.j2": "{{ hash.nothing }}"}, "template hash.conf.j2"),
        ({"hash.conf.j2": "\n{% if %}"}, "template hash.conf.j2 line 2"),
        ({"hash.conf.j2": "{{ 1 / 0 }}"}, "template hash.conf.j2: division by zero"),
        ({"hash.conf.j2": "{{ 'a b' }}"}, "cannot be written into an nginx configuration"),
        ({"hash.conf.j2": "{% include 'gone.j2' %}"}, "gone.j2"),
        ({"route.conf.j2": ""}, "template route.conf.j2"),
        ({"pages/branch.html.j2": ""}, "template pages/branch.html.j2"),
        ({"pages/page.html.j2": "{{ 1 + 'a' }}"}, "template pages/page.html.j2"),
        ({"servers.conf.j2": ""}, "no template writes the generation"),
    ],
)
def test_a_broken_template_is_told_by_its_name(changed: dict[str, str], reason: str) -> None:
    sources = templates.read_sources(FOLDER)

    with pytest.raises(RenderFault) as broken:
        Renderer({}, {**sources, **changed}, SETTINGS).render(table_of(route("main")))

    assert reason in str(broken.value)


@given(text=st.one_of(bites, st.text()))
def test_a_word_is_read_by_nginx_as_the_one_word_that_it_is(text: str) -> None:
    try:
        written = word(text)
    except ValueError:
        return

    assert [one.words for one in parse(f"{written};")] == [(text,)]
    assert "$" not in written


def test_lines_that_were_looked_at_are_not_looked_at_again() -> None:
    assert written(Lines("a b;\n")) == "a b;\n"


@given(name=st.text(min_size=1))
def test_a_readable_name_can_be_read_back(name: str) -> None:
    try:
        shown = readable(name)
    except ValueError:
        # no key can carry it
        with pytest.raises(ValueError, match=r"name"):
            encode(name)
        return

    assert unquote(shown) == name
    assert word(shown) == shown


@pytest.mark.parametrize("name", ["feature/login", "10.0.0.1:80", "[fd00::1]:80", "a.b_c-d+e@f=g"])
def test_the_usual_name_is_shown_as_it_is(name: str) -> None:
    assert readable(name) == name


def test_who_has_to_sign_in_is_sent_back_to_where_people_are() -> None:
    closed = RenderSettings(
        "dev.test",
        "https://dev.test:8443",
        ("127.0.0.1:8080",),
        protect="all",
        auth_url="http://127.0.0.1:4180",
    )

    files = templates.load(FOLDER, closed).render(table_of(route("main"))).files

    assert "server 127.0.0.1:4180;" in files["servers.conf"]
    back = "proxy_set_header X-Auth-Request-Redirect https://$plain_host:8443$request_uri;"
    assert back in files["doors.conf"]
    assert "pages/401.html" in files
