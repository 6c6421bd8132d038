"""From a table of routes to the text that nginx reads: pure, and the same bytes for the same table.

Nothing free-form reaches a template. Every value that a ``.conf`` template writes goes through
``word``, which refuses what nginx would not read as one word; pages are HTML-escaped.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from regenerator.instants import absolute, iso
from regenerator.policy import content_security_policy
from regenerator.routes import Route, RouteTable, host_url
from registry.faults import RenderFault
from registry.keys import encode
from registry.terminal import escaped

PAGES = (404, 405, 502, 503, 504, 508)
"""The statuses that have a page."""

DOOR_PAGES = (401, 403, 500)
"""Those that have one as well where not everybody is let in."""

ACCESS = "access"
"""The file of a generation that says who it lets in; see ``RenderSettings.access``."""

DIGEST_LENGTH = 12
"""Hex digits of a generation's name: of a million generations no two are alike, at 1 in 500."""

_UNNAMED = "generation-without-a-name"
"""Stands in the text while its digest is being worked out."""

_ROUTE = "route.conf.j2"
_BRANCH = "pages/branch.html.j2"
"""Templates of macros: rendered once a route and once a branch, not once a tree."""

_WORD = re.compile(r"[A-Za-z0-9._~%:/@+=,\[\]-]+")
_READABLE = re.compile(r"[A-Za-z0-9._/@+=\[-][A-Za-z0-9._/@+=,:~\[\]-]*")


@dataclass(frozen=True, slots=True)
class RenderSettings:
    """What the text depends on besides the routes.

    Attributes:
        public_url: Scheme, domain and port that people use, without a slash at the end.
        listen: What nginx listens on, each as ``listen`` reads it.
        trusted_proxies: CIDRs whose forwarded headers are believed.
        blocks: How many of the newest routes get an upstream block, and with it keepalive; nginx
            scans the blocks one by one, so more of them slow all others down.
        user: Whom the workers run as; empty unless started as root.
        access_log: A file, relative to the state folder or absolute, or ``off``.
        requests_port: Where each request for a branch is told to be counted, by UDP on loopback; 0
            for nowhere.
        requests_tag: What these datagrams are known by; letters and digits, 32 at most.
        protect: What ``basic_auth``, ``allow_clients`` and ``auth_url`` close: the ``page`` with
            its API, or ``all``, hosts of branches as well.
        basic_auth: An htpasswd file; nginx reads it at each request. Empty for none.
        allow_clients: CIDRs of those who are let in; empty for everybody.
        auth_url: A proxy that knows who is signed in, such as ``http://127.0.0.1:4180``.
        auth_cookie: What the names of that proxy's cookies begin with.
        cookie_domain: ``isolate`` cuts a service's cookies down to its own host, ``share`` leaves
            them as they are.
        listen_tls: What nginx listens on with TLS.
        tls: The name of certificate and key below ``tls/``; empty without ``listen_tls``.
    """

    domain: str
    public_url: str
    listen: tuple[str, ...]
    trusted_proxies: tuple[str, ...] = ()
    blocks: int = 1000
    workers: str = "auto"
    user: str = ""
    access_log: str = "logs/access.log"
    read_timeout_s: int = 60
    stream_timeout_s: int = 3600
    keepalive_min_timeout_s: int = 10
    shutdown_timeout_s: int = 600
    requests_port: int = 0
    requests_tag: str = ""
    protect: str = "page"
    basic_auth: str = ""
    allow_clients: tuple[str, ...] = ()
    auth_url: str = ""
    auth_cookie: str = "_oauth2_proxy"
    cookie_domain: str = "isolate"
    listen_tls: tuple[str, ...] = ()
    tls: str = ""

    @property
    def public_scheme(self) -> str:
        """What people's URLs begin with."""
        return self.public_url.partition("://")[0]

    @property
    def public_port(self) -> str:
        """The port in people's URLs; empty where there is none in them."""
        return self.public_url.partition("://")[2].partition(":")[2]

    @property
    def auth_address(self) -> str:
        """Where the sign-in proxy listens."""
        return self.auth_url.partition("://")[2]

    @property
    def is_closed(self) -> bool:
        """Whether not everybody may see the list of branches."""
        return bool(self.basic_auth or self.allow_clients or self.auth_url)

    @property
    def access(self) -> str:
        """Who is let in, as a digest; empty where everybody is."""
        if not self.is_closed:
            return ""
        rules = (self.protect, self.basic_auth, self.allow_clients, self.auth_url)
        return _digest({"access": repr((*rules, self.trusted_proxies))})

    @property
    def is_listed_openly(self) -> bool:
        """Whether who sees a page on a branch's host may see the list of branches as well."""
        return self.protect == "all" or not self.is_closed


@dataclass(frozen=True, slots=True)
class Tree:
    """All files of one generation, by their path in its folder.

    Attributes:
        generation: 12 hex digits of the BLAKE2 digest over all of it.
        grammar: The same of what it was rendered from but for the routes: trees of one grammar
            differ in words alone.
        table: The same of the routes alone, whatever else is in the files.
    """

    generation: str
    files: Mapping[str, str]
    grammar: str
    table: str = ""


class Lines(str):
    """Text that templates have written, every value in it looked at by ``word``."""

    __slots__ = ()


class _Parts(NamedTuple):
    """What one route adds to the tables, and how it stands in the list of branches."""

    host: str
    branch: str
    service: str
    instance: str
    target: str
    block: str


class _Row(NamedTuple):
    """How one branch stands in the list."""

    html: str
    json: str


class Renderer:
    """Templates and settings, ready to render; nothing is read from disk after it is made.

    What a route looks like is remembered from one call to the next, because hardly any route is
    new: at 10,000 routes that is most of the time.

    Raises:
        RenderFault: A template does not parse.
    """

    def __init__(
        self,
        statics: Mapping[str, str],
        templates: Mapping[str, str],
        settings: RenderSettings,
    ) -> None:
        self._statics = dict(statics)
        self._settings = settings
        self._grammar = _digest({**statics, **templates, "settings": repr(settings)})
        self._configs = _environment(templates, finalize=written, autoescape=False)
        self._pages = page_environment(templates)
        self._policy = page_policy(templates)
        self._config_names = sorted(
            name for name in templates if name.endswith(".conf.j2") and name != _ROUTE
        )
        self._parts: dict[Route, _Parts] = {}
        self._rows: dict[tuple[Route, ...], _Row] = {}
        for name in sorted(templates):
            if not name.endswith(".j2"):
                continue
            with blamed(name):
                (self._configs if name.endswith(".conf.j2") else self._pages).get_template(name)

    def render(self, table: RouteTable) -> Tree:
        """Render everything and name it by its digest.

        Raises:
            RenderFault: A template does not fit the values, or lets something through that nginx
                could misread.
        """
        config = self._config_values(table.routes)
        config |= {"settings": self._settings, "policy": Lines(self._policy)}
        rows = self._branch_rows(table.routes)
        pages = {
            "rows": Markup("".join(row.html for row in rows)),  # noqa: S704 - rendered, so escaped
            "count": len(rows),
            "held": table.held,
            "settings": self._settings,
        }
        sources = {n.removesuffix(".j2"): (self._configs, n, config) for n in self._config_names}
        sources["pages/index.html"] = (self._pages, "pages/index.html.j2", pages)
        for status in (*PAGES, *(DOOR_PAGES if self._settings.is_closed else ())):
            values = {"settings": self._settings, "status": status}
            sources[f"pages/{status}.html"] = (self._pages, "pages/page.html.j2", values)
            sources[f"pages/{status}.json"] = (self._pages, "pages/problem.json.j2", values)
        files = dict(self._statics)
        files[ACCESS] = f"{self._settings.access}\n"
        files["pages/index.json"] = _list_document(self._settings, rows, held=table.held)
        files |= {name: _fill(*source, generation=_UNNAMED) for name, source in sources.items()}
        if not any(_UNNAMED in text for name, text in files.items() if name.endswith(".conf")):
            # such as a file that was saved empty: nginx would take it, and serve nothing at all
            raise RenderFault("no template writes the generation; nginx could not answer with it")
        generation = _digest(files)
        for name, source in sources.items():
            if _UNNAMED in files[name]:
                files[name] = _fill(*source, generation=generation)
        routes = _digest({"routes": files.get("routes.conf", "")})
        return Tree(generation, files, self._grammar, routes)

    def _config_values(self, routes: Iterable[Route]) -> dict[str, Any]:
        by_age = sorted(routes, key=lambda route: (-route.newest, route.id))
        self._parts = parts = self._route_parts(by_age)
        running = [route for route in by_age if route.instances]
        newest = {route.id for route in running[: self._settings.blocks]}
        blocks = [r for r in running if len(r.instances) > 1 or r.id in newest]
        in_block = {route.id for route in blocks}
        by_id = sorted(parts.items(), key=lambda item: item[0].id)
        return {
            "hosts": Lines("".join(part.host for _, part in by_id)),
            "targets": Lines("".join(part.target for r, part in by_id if r.id not in in_block)),
            "branches": Lines("".join(part.branch for _, part in by_id)),
            "services": Lines("".join(part.service for _, part in by_id)),
            "instances": Lines("".join(part.instance for _, part in by_id)),
            "blocks": Lines("".join(parts[r].block for r in blocks)),
            "hash": _hash_sizes(by_age, domain=self._settings.domain),
        }

    def _route_parts(self, routes: Iterable[Route]) -> dict[Route, _Parts]:
        """The parts of every route, those that were there before as they were."""
        with blamed(_ROUTE):
            values = {"settings": self._settings}
            macros: Any = self._configs.get_template(_ROUTE).make_module(values)
            return {r: self._parts.get(r) or _route_part(macros, r) for r in routes}

    def _branch_rows(self, routes: Iterable[Route]) -> list[_Row]:
        by_name = sorted(routes, key=attrgetter("branch", "service"))
        groups = [tuple(group) for _, group in groupby(by_name, key=attrgetter("branch"))]
        with blamed(_BRANCH):
            macros: Any = self._pages.get_template(_BRANCH).make_module()
            self._rows = {
                group: self._rows.get(group) or _branch_row(macros, group, self._settings)
                for group in groups
            }
        return list(self._rows.values())


def written(value: object) -> str:
    """What a template writes of a value: a word, or the lines that other templates wrote."""
    return value if isinstance(value, Lines) else word(value)


@lru_cache(maxsize=1 << 12)
def word(value: object) -> str:
    """Let a value into the configuration only if nginx reads it as one word.

    Raises:
        ValueError: The value has a character with a meaning for nginx.
    """
    text = str(value)
    if not _WORD.fullmatch(text):
        raise ValueError(f"{text[:60]!r} cannot be written into an nginx configuration")
    return text


@lru_cache(maxsize=1 << 12)
def readable(name: str) -> str:
    """A name for logs and pages: as it is where that is safe, else percent-encoded.

    Decoding gives the name back in both cases, since a plain one has no ``%``.
    """
    return name if _READABLE.fullmatch(name) else encode(name)


def _route_part(macros: Any, route: Route) -> _Parts:
    is_single = len(route.instances) == 1
    target = macros.only_address if is_single else macros.nothing
    return _Parts(
        host=macros.host(route),
        branch=macros.branch(route),
        service=macros.service(route),
        instance=macros.instance(route),
        target=target(route),
        block=macros.block(route) if route.instances else "",
    )


def _branch_row(macros: Any, routes: tuple[Route, ...], settings: RenderSettings) -> _Row:
    services = [
        {
            "service": route.service,
            # the short label, where there is one, comes last
            "url": host_url(route.labels[-1], url=settings.public_url),
            "instances": [
                {"name": one.name, "address": str(one.address)} for one in route.instances
            ],
        }
        for route in routes
        if route.labels
    ]
    branch = routes[0].branch
    document = json.dumps({"branch": branch, "services": services})
    return _Row(str(macros.row(branch, services)), document)


def _list_document(settings: RenderSettings, rows: list[_Row], *, held: int) -> str:
    branches = ",\n".join(row.json for row in rows)
    head = f'"domain": {json.dumps(settings.domain)}, "held": {held}'
    return f'{{{head}, "branches": [\n{branches}\n]}}\n'


def page_environment(templates: Mapping[str, str]) -> jinja2.Environment:
    """What pages are rendered by; ``inline(name)`` puts a style or a script in as it is."""
    environment = _environment(templates, finalize=None, autoescape=True)

    def inline(name: str) -> Markup:
        if name not in templates:
            raise jinja2.TemplateNotFound(name)
        return Markup(templates[name])  # noqa: S704 - a file of the folder of templates

    environment.globals["inline"] = inline
    environment.globals["when"] = _when
    environment.filters |= {"iso": iso, "absolute": absolute, "plain": _plain}
    return environment


def _when(instant: float | str) -> Markup:
    """An instant whose age is yet to be filled in, by whoever sends the page."""
    written = iso(instant)
    shown = written.replace("T", " ").replace("Z", " UTC")
    return Markup('<time datetime="{}" title="{}"></time>').format(written, shown)


def _plain(text: str) -> str:
    """Text without signs that are not seen, or turn round what stands beside them."""
    return text if text.isprintable() else escaped(text)


def page_policy(templates: Mapping[str, str]) -> str:
    """What a browser may do with a page that nginx serves as a file."""
    return content_security_policy(
        styles=[templates.get("pages/page.css", "")],
        scripts=[templates.get("pages/board.js", "")],
    )


def _environment(
    templates: Mapping[str, str], *, finalize: Callable[[object], str] | None, autoescape: bool
) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(dict(templates)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=finalize,
        autoescape=autoescape,  # noqa: S701 - nginx is no HTML; word() guards it
    )
    environment.filters["readable"] = readable
    return environment


def _fill(
    environment: jinja2.Environment, name: str, values: Mapping[str, Any], *, generation: str
) -> str:
    with blamed(name):
        return environment.get_template(name).render(values, generation=generation)


@contextmanager
def blamed(name: str) -> Iterator[None]:
    """Tell whatever goes wrong in a template as its fault."""
    try:
        yield
    except (jinja2.TemplateError, ArithmeticError, AttributeError) as exc:
        raise _fault(name, exc) from exc
    except (LookupError, TypeError, ValueError) as exc:
        raise _fault(name, exc) from exc


def _fault(name: str, exc: Exception) -> RenderFault:
    line = getattr(exc, "lineno", None)
    # other errors have a name as well, which is no template's
    inner = getattr(exc, "name", None) if isinstance(exc, jinja2.TemplateError) else None
    where = inner or name
    return RenderFault(f"template {where}{f' line {line}' if line else ''}: {exc}")


def is_named_after(files: Mapping[str, str], generation: str) -> bool:
    """Whether these are, byte for byte, the files that the generation has its name from."""
    nameless = {name: text.replace(generation, _UNNAMED) for name, text in files.items()}
    return _digest(nameless) == generation


def _digest(files: Mapping[str, str]) -> str:
    # half the time of SHA-256 where the processor has no instructions for that
    digest = hashlib.blake2b(digest_size=DIGEST_LENGTH // 2)
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode())
        digest.update(files[name].encode())
    return digest.hexdigest()


def _hash_sizes(routes: list[Route], *, domain: str) -> dict[str, int]:
    """Sizes at which nginx builds its hashes at the first try.

    Source:
        ``ngx_hash_init``: a bucket has to hold a pointer, a length of two bytes and the key,
        rounded up to 8, and a pointer behind the last one. The longest key is a host or an id
        with an IPv6 address (47 + 1 + 47). Where four times as many buckets as keys hold two of
        the longest each, 20,000 keys found their place; where they held one, nginx complained.
    """
    labels = [len(label) for route in routes for label in route.labels]
    longest = max(47 + 1 + 47, max(labels, default=0) + 1 + len(domain))
    element = 8 + (longest + 2 + 7) // 8 * 8
    bucket = 256
    while bucket < 2 * element + 8:
        bucket *= 2
    keys = max(len(labels), sum(len(route.instances) for route in routes))
    return {"bucket_size": bucket, "max_size": max(2048, 4 * keys)}
