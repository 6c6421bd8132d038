"""The settings of the regenerator, judged together."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from regenerator.listeners import own_addresses, parse_listeners
from regenerator.pipeline import Rules
from regenerator.render import RenderSettings, word
from regenerator.routes import AddressRules, Network
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
        _address_rules(given, problems, listeners),
        registry.default_service,
    )
    text = _render_settings(given, problems, listeners)
    problems.settle()
    return RegeneratorSettings(
        etcd=etcd,
        rules=rules,
        text=text,
        listeners=listeners,
        templates=folder,
        state=Path(given["state"]).absolute(),
        nginx=given["nginx"],
        pause_s=pause_s,
        budget=budget,
        relist_s=relist_s,
        brake_window_s=window_s,
        metrics=metrics,
    )


def _address_rules(
    given: Mapping[str, str], problems: Problems, listeners: tuple[Address, ...]
) -> AddressRules:
    return AddressRules(
        problems.read("ALLOW_NETWORKS", given["allow_networks"], parse_networks, _NONE),
        problems.read("ALLOW_PORTS", given["allow_ports"], _port_ranges, ()),
        own_addresses(listeners),
    )


def _render_settings(
    given: Mapping[str, str], problems: Problems, listeners: tuple[Address, ...]
) -> RenderSettings:
    domain = problems.read("DOMAIN", given["domain"], _domain, "localhost")
    public = given["public_url"] or f"http://{domain}:{listeners[0].port}"
    seconds = partial(_whole_seconds, problems, given)
    return RenderSettings(
        domain=domain,
        public_url=problems.read("PUBLIC_URL", public, partial(_public_url, domain=domain), ""),
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
    )


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
