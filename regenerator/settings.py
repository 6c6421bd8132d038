"""The settings of the regenerator, judged together."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from regenerator.certificates import CertificateFiles, read_pair
from regenerator.listeners import own_addresses, parse_listeners
from regenerator.render import RenderSettings, word
from regenerator.routes import AddressRules, Network, Rules
from registry.etcd import EtcdSettings
from registry.keys import Keyspace
from registry.names import is_domain
from registry.records import Address
from registry.settings import (
    Problems,
    needed_etcd,
    read_registry,
)
from registry.values import (
    parse_networks,
    parse_port,
    parse_seconds,
)

DAY_S = 86400.0

HTTPS_PORT = 443
"""Where https is found without being told (registered with IANA)."""

_NONE: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class RegeneratorSettings:
    """What one regenerator runs with.

    Attributes:
        nginx: The binary, by path or by name on ``PATH``.
        pause_s: Least time between two reloads.
        budget: Old generations that may live before the pause grows.
        relist_s: Between two readings of the whole registry.
        brake_window_s: Losses within it are counted together.
        metrics: Where numbers for Prometheus are given; None for nowhere.
        certificate: What is shown to who comes with TLS; None where nobody can.
    """

    etcd: EtcdSettings
    rules: Rules
    text: RenderSettings
    listeners: tuple[Address, ...]
    templates: Path
    state: Path
    nginx: str
    pause_s: float
    budget: int
    relist_s: float
    brake_window_s: float
    metrics: Address | None
    certificate: CertificateFiles | None = None

    @property
    def keys(self) -> Keyspace:
        """The keys below the registry's prefix."""
        return self.rules.keys


def read_settings(given: Mapping[str, str], *, templates: Path) -> RegeneratorSettings:
    """Judge all settings.

    Args:
        given: Text by the name of its option.
        templates: Where they lie unless ``--templates`` says otherwise.

    Raises:
        SettingsInvalid: Lists every problem, not just the first.
    """
    problems = Problems()
    registry = read_registry(given, problems)
    etcd = needed_etcd(registry, problems)
    any_port: tuple[Address, ...] = (Address("127.0.0.1", 8080),)
    listeners = problems.read("LISTEN", given["listen"], parse_listeners, any_port)
    secure: tuple[Address, ...] = ()
    if given["listen_tls"]:
        secure = problems.read("LISTEN_TLS", given["listen_tls"], parse_listeners, secure)
    if twice := sorted(map(str, set(listeners) & set(secure))):
        problems.note(f"LISTEN and LISTEN_TLS both have {twice[0]}; take it out of one of them")
    folder = Path(given["templates"]) if given["templates"] else templates
    if not (folder / "nginx.conf").is_file():
        problems.note(f"TEMPLATES is {str(folder)!r}: there is no nginx.conf in it")
    budget = problems.read("OLD_GENERATIONS", given["old_generations"], _count, 8)
    least_s = partial(parse_seconds, least=0.0, most=60.0)
    pause_s = problems.read("RELOAD_PAUSE", given["reload_pause"], least_s, 0.2)
    relist_s = problems.read("RELIST", given["relist"], partial(parse_seconds, least=1.0), 300.0)
    window_s = problems.read(
        "BRAKE_WINDOW", given["brake_window"], partial(parse_seconds, least=1.0), 60.0
    )
    metrics: Address | None = None
    if given["metrics"]:
        metrics = problems.read("METRICS", given["metrics"], Address.parse, None)
    rules = Rules(
        registry.keys,
        _address_rules(given, problems, (*listeners, *secure)),
        registry.default_service,
    )
    text = _render_settings(given, problems, listeners, secure=secure)
    certificate, pair = _certificate(given, problems, secure)
    problems.settle()
    return RegeneratorSettings(
        etcd=etcd,
        rules=rules,
        text=replace(text, tls=pair),
        listeners=listeners,
        templates=folder,
        state=Path(given["state"]).absolute(),
        nginx=given["nginx"],
        pause_s=pause_s,
        budget=budget,
        relist_s=relist_s,
        brake_window_s=window_s,
        metrics=metrics,
        certificate=certificate,
    )


def _address_rules(
    given: Mapping[str, str], problems: Problems, listeners: tuple[Address, ...]
) -> AddressRules:
    return AddressRules(
        problems.read("ALLOW_NETWORKS", given["allow_networks"], parse_networks, _NONE),
        problems.read("ALLOW_PORTS", given["allow_ports"], _port_ranges, ()),
        own_addresses(listeners),
    )


def _certificate(
    given: Mapping[str, str], problems: Problems, secure: tuple[Address, ...]
) -> tuple[CertificateFiles | None, str]:
    """The files of the certificate, after a look at whether they can be used, and its name."""
    named = {name: given[name.lower()] for name in ("LISTEN_TLS", "TLS_CERT", "TLS_KEY")}
    missing = [name for name, text in named.items() if not text]
    if missing and len(missing) < len(named):
        there = next(name for name in named if name not in missing)
        every = ", ".join(named)
        problems.note(f"{there} is set, and {missing[0]} is not; TLS needs all of {every}")
    if missing or not secure:
        return None, ""
    files = CertificateFiles(Path(named["TLS_CERT"]), Path(named["TLS_KEY"]))
    try:
        return files, read_pair(files).name
    except ValueError as exc:
        problems.note(f"TLS_CERT and TLS_KEY: {exc}")
        return None, ""


def _render_settings(
    given: Mapping[str, str],
    problems: Problems,
    listeners: tuple[Address, ...],
    *,
    secure: tuple[Address, ...],
) -> RenderSettings:
    domain = problems.read("DOMAIN", given["domain"], _domain, "localhost")
    public = given["public_url"] or _default_url(domain, listeners=listeners, secure=secure)
    public_url = problems.read("PUBLIC_URL", public, partial(_public_url, domain=domain), "")
    if secure and public_url.startswith("http:"):
        problems.note(
            f"PUBLIC_URL is {public!r}, and with LISTEN_TLS everybody is sent to https: begin it"
            " with https://"
        )
    doors = _doors(given, problems)
    seconds = partial(_whole_seconds, problems, given)
    return RenderSettings(
        domain=domain,
        public_url=public_url,
        listen=tuple(map(str, listeners)),
        trusted_proxies=tuple(
            map(
                str,
                problems.read("TRUSTED_PROXIES", given["trusted_proxies"], parse_networks, _NONE),
            )
        ),
        blocks=problems.read("UPSTREAM_BLOCKS", given["upstream_blocks"], _count, 1000),
        workers=problems.read("WORKERS", given["workers"], _workers, "auto"),
        # the workers of a root nginx are nobody's, and nobody may not enter the state folder
        user="root" if os.geteuid() == 0 else "",
        access_log=problems.read("ACCESS_LOG", given["access_log"], word, "off"),
        read_timeout_s=seconds("read_timeout"),
        stream_timeout_s=seconds("stream_timeout"),
        keepalive_min_timeout_s=seconds("keepalive_min_timeout"),
        shutdown_timeout_s=seconds("shutdown_timeout"),
        protect=doors.protect,
        basic_auth=doors.basic_auth,
        allow_clients=doors.allow_clients,
        auth_url=doors.auth_url,
        auth_cookie=doors.auth_cookie,
        cookie_domain=doors.cookie_domain,
        listen_tls=tuple(map(str, secure)),
    )


class _Doors(NamedTuple):
    """Who is let in; as in ``RenderSettings``."""

    protect: str
    basic_auth: str
    allow_clients: tuple[str, ...]
    auth_url: str
    auth_cookie: str
    cookie_domain: str


def _doors(given: Mapping[str, str], problems: Problems) -> _Doors:
    basic_auth, auth_url = "", ""
    clients = _NONE
    if given["basic_auth"]:
        basic_auth = problems.read("BASIC_AUTH", given["basic_auth"], _password_file, "")
    if given["allow_clients"]:
        clients = problems.read("ALLOW_CLIENTS", given["allow_clients"], _clients, _NONE)
    if given["auth_url"]:
        auth_url = problems.read("AUTH_URL", given["auth_url"], _auth_url, "")
    cookie_domain = problems.read(
        "COOKIE_DOMAIN", given["cookie_domain"], partial(_one_of, words=("isolate", "share")), ""
    )
    if basic_auth and auth_url:
        problems.note(
            "BASIC_AUTH and AUTH_URL are both set: a request has one Authorization; set one of them"
        )
    if auth_url and cookie_domain == "share":
        problems.note(
            "COOKIE_DOMAIN is 'share', with AUTH_URL set: any branch could set the sign-in's cookie"
            " for all others; leave it at isolate"
        )
    protect = problems.read(
        "PROTECT", given["protect"], partial(_one_of, words=("page", "all")), "page"
    )
    is_closed = any(given[name] for name in ("basic_auth", "allow_clients", "auth_url"))
    if protect == "all" and not is_closed:
        problems.note(
            "PROTECT is 'all', and nothing says who is let in: set BASIC_AUTH, ALLOW_CLIENTS or"
            " AUTH_URL"
        )
    cookie = problems.read("AUTH_COOKIE", given["auth_cookie"], _cookie_name, "_oauth2_proxy")
    return _Doors(protect, basic_auth, tuple(map(str, clients)), auth_url, cookie, cookie_domain)


def _clients(text: str) -> tuple[Network, ...]:
    if found := parse_networks(text):
        return found
    raise ValueError("there is no network in it; expected CIDRs such as 10.0.0.0/8")


def _password_file(text: str) -> str:
    """A file that nginx can open by this name, whatever folder it works in."""
    try:
        path = Path(word(text))
        if not path.is_absolute():
            raise ValueError("expected the whole path of a file, such as /etc/branchfront/htpasswd")
        lines = path.read_bytes().splitlines()
    except OSError as exc:
        raise ValueError(f"the file cannot be read ({exc.strerror})") from exc
    if not any(re.match(rb"[^#:\s][^:]*:.", line) for line in lines):
        raise ValueError("there is no line name:password in the file; htpasswd writes such")
    return text


def _auth_url(text: str) -> str:
    """Scheme, ip and port.

    A name would keep nginx from starting while it does not resolve, and be looked up only then.
    """
    scheme, _, address = text.rstrip("/").partition("://")
    try:
        found = Address.parse(address)
    except ValueError:
        found = None
    if scheme != "http" or found is None:
        raise ValueError("expected http, an ip and a port, such as http://127.0.0.1:4180")
    return f"http://{found}"


def _cookie_name(text: str) -> str:
    """A cookie's name without the prefixes that are stripped with it in any case."""
    found = re.fullmatch(r"(?i:__host-|__secure-)?([A-Za-z0-9_-]{1,64})", text)
    if found is None:
        raise ValueError("expected the name of a cookie, such as _oauth2_proxy")
    return found[1]


def _one_of(text: str, *, words: tuple[str, ...]) -> str:
    if text not in words:
        raise ValueError(f"expected {' or '.join(words)}")
    return text


def _default_url(
    domain: str, *, listeners: tuple[Address, ...], secure: tuple[Address, ...]
) -> str:
    if not secure:
        return f"http://{domain}:{listeners[0].port}"
    # browsers add it themselves
    port = "" if secure[0].port == HTTPS_PORT else f":{secure[0].port}"
    return f"https://{domain}{port}"


def _whole_seconds(problems: Problems, given: Mapping[str, str], name: str) -> int:
    parse = partial(parse_seconds, least=1.0, most=DAY_S)
    return int(problems.read(name.upper(), given[name], parse, 1.0))


def _domain(text: str) -> str:
    if not is_domain(text):
        raise ValueError("expected a host name in lower case, such as dev.example.com")
    return text


def _public_url(text: str, *, domain: str) -> str:
    """Scheme and port of a URL, with our own domain between them."""
    found = urlsplit(text)
    if found.scheme not in {"http", "https"} or found.path.strip("/") or found.query:
        raise ValueError("expected scheme and port, such as https://dev.example.com:8443")
    # raises ValueError itself where the port is no number
    port = f":{found.port}" if found.port else ""
    return f"{found.scheme}://{domain}{port}"


def _port_ranges(text: str) -> tuple[tuple[int, int], ...]:
    ranges = []
    for part in filter(None, map(str.strip, text.split(","))):
        low, dash, high = part.partition("-")
        ranges.append((parse_port(low), parse_port(high if dash else low)))
        if ranges[-1][0] > ranges[-1][1]:
            raise ValueError(f"the range {part} runs backwards")
    if not ranges:
        raise ValueError("expected ports and ranges, such as 80,443,1024-65535")
    return tuple(ranges)


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise ValueError("expected a number from 0 to 999999")
    return int(text)


def _workers(text: str) -> str:
    if not re.fullmatch(r"auto|[1-9][0-9]{0,2}", text):
        raise ValueError("expected auto or a number from 1 to 999")
    return text
