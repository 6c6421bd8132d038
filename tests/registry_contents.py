"""Registries for tests of the pure core: written entry by entry, or drawn at random."""

import json
from collections.abc import Iterable
from ipaddress import ip_network

from hypothesis import strategies as st

from regenerator.routes import AddressRules, RouteTable, build_routes
from registry.keys import ClaimKey, Keyspace, RouteKey
from registry.names import plain_labels
from registry.records import PORT_MAX, ClaimRecord
from registry.snapshot import Entry, Snapshot
from tests.strategies import any_json, branches, services

KEYS = Keyspace()

NETWORKS = tuple(map(ip_network, ("10.0.0.0/8", "fd00::/8", "::/64")))

RULES = AddressRules(NETWORKS, ports=((80, 80), (1024, PORT_MAX)))


def route(
    branch: str,
    service: str = "web",
    instance: str = "",
    *,
    value: str | bytes = "10.0.0.1:8080",
    at: int = 1,
    lease: int = 0,
) -> Entry:
    """An entry below ``routes/``, created at a revision."""
    raw = value.encode() if isinstance(value, str) else value
    return Entry(KEYS.raw(RouteKey(branch, service, instance)), raw, at, at, lease)


def claim(branch: str, service: str, *labels: str, at: int = 1) -> Entry:
    """An entry below ``claims/``."""
    value = ClaimRecord(labels, "2026-11-21T09:00:00Z").dump()
    return Entry(KEYS.raw(ClaimKey(branch, service)), value, at, at, 0)


def raw(key: bytes | str, value: bytes = b"10.0.0.1:8080", *, at: int = 1, lease: int = 0) -> Entry:
    """Any entry; a key given as text lies below the prefix."""
    whole = KEYS.root + key.encode() if isinstance(key, str) else key
    return Entry(whole, value, at, at, lease)


def registry(*entries: Entry) -> Snapshot:
    """The registry that holds these, in this order of arrival."""
    return Snapshot("c", 1000, {entry.key: entry for entry in entries})


def table_of(*entries: Entry, rules: AddressRules = RULES) -> RouteTable:
    """The routes of a registry."""
    return build_routes(registry(*entries), keys=KEYS, rules=rules, default_service="web")


def labels_of(table: RouteTable) -> dict[tuple[str, str], tuple[str, ...]]:
    """Labels by branch and service."""
    return {(one.branch, one.service): one.labels for one in table.routes}


def addresses_of(table: RouteTable, branch: str, service: str = "web") -> list[str]:
    """The addresses behind one service of a branch."""
    return [
        str(instance.address)
        for one in table.routes
        if (one.branch, one.service) == (branch, service)
        for instance in one.instances
    ]


def reasons_of(table: RouteTable) -> dict[str, str]:
    """What was left out: the reason, by the key without the prefix."""
    return {one.key.removeprefix(f"{KEYS.prefix}/"): one.reason for one in table.rejections}


_NGINX = (*";{}$#'\"\\~ \t\n\r\0", "\x7f", "\x85", "\u2028", "default", "include /etc/passwd;")
_MARKUP = ("<b>", "</td>", "&lt;", '" onload="', "{{", "<!--# include -->", "-->", "'><script>")

bites = st.lists(
    st.one_of(st.sampled_from(_NGINX), st.sampled_from(_MARKUP), st.text(max_size=2)), max_size=6
).map("".join)
"""Text that would hurt if nginx, a shell, a log or a page read it as its own."""

# The same as far as keys let it through, with a letter to make a label of.
_hostile_names = st.lists(
    st.sampled_from([bite for bite in ("a", "b", *_NGINX, *_MARKUP) if bite.isprintable()]),
    max_size=4,
).map(lambda found: "".join(found)[:35] + "a")

# Few of the usual ones, so that branches meet at labels and at addresses.
_branch_names = st.one_of(st.sampled_from(["main", "a", "A", "a-b"]), branches, _hostile_names)
_service_names = st.one_of(st.sampled_from(["web", "web", "b-c", "c"]), services, _hostile_names)
_good_addresses = st.sampled_from(["10.0.0.1:80", "10.0.0.2:8080", "10.0.0.3:80", "[fd00::7]:80"])
_states = st.sampled_from(["ready", "ready", "starting", "draining"])


def _record(address: str, state: str, more: object) -> str:
    return json.dumps(
        {**(more if isinstance(more, dict) else {}), "address": address, "state": state}
    )


_good_values = st.one_of(_good_addresses, st.builds(_record, _good_addresses, _states, any_json))

_good_routes = st.one_of(
    st.builds(
        route,
        _branch_names,
        _service_names,
        st.one_of(st.sampled_from(["i", "j"]), _hostile_names),
        value=_good_values,
        at=st.integers(1, 5),
        lease=st.sampled_from([7, 8]),
    ),
    st.builds(route, _branch_names, _service_names, value=_good_values, at=st.integers(1, 5)),
)

_good_claims = st.builds(
    lambda branch, service, at: claim(branch, service, *plain_labels(branch, service), at=at),
    st.sampled_from(["main", "a", "A", "a-b"]),
    st.sampled_from(["web", "b-c", "c"]),
    st.integers(1, 5),
)

_bad_addresses = st.one_of(
    st.sampled_from(["10.0.0.1:22", "169.254.169.254:80", "11.0.0.1:80", "[::ffff:10.0.0.1]:80"]),
    bites.map(lambda bite: f"10.0.0.1:80{bite}"),
)

_any_values = st.one_of(
    _good_values.map(str.encode),
    _bad_addresses.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.builds(_record, _bad_addresses, st.sampled_from(["ready", "broken"]), any_json).map(
        str.encode
    ),
    st.binary(max_size=30),
)

_any_keys = st.one_of(
    st.builds(
        lambda branch, service: KEYS.raw(RouteKey(branch, service)), _branch_names, _service_names
    ),
    st.binary(max_size=20).map(lambda tail: KEYS.routes + tail),
    bites.map(lambda bite: KEYS.routes + b"a/b/" + bite.encode("utf-8", "surrogatepass")),
    bites.map(lambda bite: KEYS.claims + bite.encode("utf-8", "surrogatepass")),
)

_any_entries = st.builds(
    raw, _any_keys, _any_values, at=st.integers(1, 5), lease=st.sampled_from([0, 7])
)

entries = st.lists(
    st.one_of(_good_routes, _good_routes, _good_claims, _any_entries),
    max_size=12,
    unique_by=lambda entry: entry.key,
)
"""Any registry: good and bad records, meeting each other at addresses and at labels."""


def below_routes(found: Iterable[Entry]) -> list[Entry]:
    """Those of the entries that are routes, or say that they are."""
    return [entry for entry in found if entry.key.startswith(KEYS.routes)]
