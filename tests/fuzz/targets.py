"""What is fuzzed: each target takes any bytes and sees that what must hold does hold.

Targets are plain functions, so that inputs that once found something run as unit tests as well.
An input of several parts has them behind bytes that are no UTF-8 text: ``0xfe`` ends an entry,
``0xfd`` a key.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict

from regenerator.brake import Brake
from regenerator.routes import RouteTable, Rules
from registry.claims import Claim, new_labels, settle_labels
from registry.faults import LabelsExhausted, WatchCompacted
from registry.keys import ClaimKey, check_name, decode, encode, shown
from registry.names import RESERVED, long_labels, service_slug, short_labels
from registry.records import (
    FRONTEND_MAX_BYTES,
    Address,
    ClaimRecord,
    FrontendRecord,
    InstanceRecord,
)
from registry.refusals import Refused, judge_answer
from registry.snapshot import Entry, Snapshot
from registry.wire import (
    Batch,
    Lines,
    parse_commit,
    parse_first,
    parse_message,
    parse_snapshot,
    understand,
)
from tests.nginx_words import parse
from tests.registry_contents import KEYS, RULES, table_of
from tests.unit.test_render import RENDERER, check_structure, leads_to, maps_of

Target = Callable[[bytes], None]

ENTRY = b"\xfe"
KEY = b"\xfd"

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""RFC 1123, section 2.1, written down a second time."""


def records(data: bytes) -> None:
    """A value is a record that reads back as it is written, or is refused in a printable line."""
    for kind in (InstanceRecord, ClaimRecord, FrontendRecord):
        try:
            record = kind.parse(data)
        except ValueError as exc:
            _check_sentence(exc)
            continue
        written = record.dump()
        # a frontend's record may grow: rejections without a key are written with an empty one
        if len(written) <= len(data) or len(written) <= FRONTEND_MAX_BYTES // 8:
            assert kind.parse(written) == record
        assert all(map(str.isprintable, _texts(asdict(record))))


def keys(data: bytes) -> None:
    """A key is canonical, or is refused; so is each part of it, and any name can be one."""
    try:
        key = KEYS.parse(KEYS.root + data)
    except ValueError as exc:
        _check_sentence(exc)
    else:
        assert KEYS.raw(key) == KEYS.root + data
    try:
        name = decode(data)
    except ValueError as exc:
        _check_sentence(exc)
    else:
        assert encode(name).encode() == data
    text = data.decode("utf-8", "surrogateescape")
    try:
        part = encode(text)
    except ValueError as exc:
        _check_sentence(exc)
    else:
        assert decode(part.encode()) == text
        assert "/" not in part
    assert re.fullmatch(r"[ -~]*(?:…[0-9a-f]{8})?", shown(data))


def names(data: bytes) -> None:
    """Every label is one, two branches never own one, and the oldest claim loses nothing."""
    claims: list[Claim] = []
    owned: dict[str, ClaimKey] = {}
    for number, (first, second) in enumerate(_pairs(data), start=1):
        branch, service = (text.decode("utf-8", "replace") for text in (first[1:], second))
        try:
            check_name(branch)
            check_name(service)
            service_slug(service)
        except ValueError as exc:
            _check_sentence(exc)
            continue
        forms = (*long_labels(branch, service), *short_labels(branch))
        assert forms == (*long_labels(branch, service), *short_labels(branch))
        assert all(_LABEL.fullmatch(form) and form not in RESERVED for form in forms)
        key = ClaimKey(branch, service)
        if first[:1] > b"\x80":
            # made without a look at the others, as in a race
            labels = forms[:1]
        else:
            try:
                labels = new_labels(branch, service, default_service="web", taken=owned)
            except LabelsExhausted:
                continue
        claims = [claim for claim in claims if claim.key != key]
        claims.append(Claim(key, labels, number))
        owned = dict(settle_labels(claims, keys=KEYS).owners)
    ownership = settle_labels(claims, keys=KEYS)
    carried = [label for labels in ownership.labels.values() for label in labels]
    assert len(carried) == len(set(carried))
    for key, labels in ownership.labels.items():
        assert set(labels) <= {*long_labels(*key), *short_labels(key.branch)}
    for claim in claims[:1]:
        assert ownership.labels[claim.key] == claim.labels
    assert ownership == settle_labels(reversed(claims), keys=KEYS)


def renderer(data: bytes) -> None:
    """Whatever stands in the registry, no directive comes of it, and each host has its own."""
    found = entries(data)

    table = table_of(*found)
    tree = RENDERER.render(table)

    check_structure(parse(tree.files["routes.conf"]), table)
    hosts = {f"{label}.dev.test": one for one in table.routes for label in one.labels}
    assert maps_of(tree)[0].keys() == {"default", *hosts}
    for host, one in hosts.items():
        assert leads_to(tree, host) == [str(held.address) for held in one.instances]
    _check_addresses(table, found)


def wire(data: bytes) -> None:
    """Whatever comes back from etcd is understood or refused, wherever the stream is cut."""
    whole, cut = Lines(), Lines()
    lines = whole.feed(data)
    middle = len(data) // 2
    assert cut.feed(data[:middle]) + cut.feed(data[middle:]) == lines
    assert cut.rest() == whole.rest()
    for line in (*lines, whole.rest()):
        judge_answer(500, line)
        for read in (parse_snapshot, parse_commit, parse_first, parse_message):
            try:
                found = understand(line, read)
            except (Refused, WatchCompacted) as exc:
                _check_sentence(exc)
                continue
            if isinstance(found, Batch):
                snapshot = Snapshot("c", 0).after(found.changes, revision=found.revision)
                assert all(key == entry.key for key, entry in snapshot.entries.items())


def brake(data: bytes) -> None:
    """Whatever a registry does, nothing is served that never stood in it, or under two labels."""
    guard = Brake(KEYS, Rules(KEYS, RULES, "web").read, window_s=60.0)
    now = 0.0
    ever: set[tuple[bytes, bytes]] = set()
    revision = 0
    for step in data.split(b"\xff")[:16]:
        how = step[:1] or b"\0"
        now += how[0] & 0x1F
        # time and time again the store is another one, or an older state of this one
        revision += -5 if how[0] & 0x20 else 10
        state = {entry.key: entry for entry in entries(step[1:])}
        ever |= {(key, entry.value) for key, entry in state.items()}
        guard.saw(Snapshot("d" if how[0] & 0x40 else "c", revision, state), now=now)
        guard.heard({address: bool(how[0] & 0x80) for address in guard.asked()})
        guard.tick(now)
        view = guard.view()
        assert view is not None
        assert {(key, entry.value) for key, entry in view.entries.items()} <= ever
        table = table_of(*view.entries.values())
        labels = [label for one in table.routes for label in one.labels]
        assert len(labels) == len(set(labels))
        _check_addresses(table, view.entries.values())
    guard.let_go()
    assert not guard.held
    assert not guard.asked()


def entries(data: bytes) -> list[Entry]:
    """Entries of a registry: a byte for age and lease, what follows the prefix, and a value."""
    found = []
    for first, value in _pairs(data):
        age = first[0] if first else 0
        at = 1 + (age & 7)
        found.append(Entry(KEYS.root + first[1:], value, at, at, (age >> 3) & 3))
    return list({entry.key: entry for entry in found}.values())


def _pairs(data: bytes) -> Iterable[tuple[bytes, bytes]]:
    for part in data.split(ENTRY)[:32]:
        first, _, second = part.partition(KEY)
        yield first, second


def _texts(found: object) -> Iterable[str]:
    """Every text in a document."""
    if isinstance(found, str):
        yield found
    elif isinstance(found, dict):
        for one in found.values():
            yield from _texts(one)
    elif isinstance(found, list | tuple):
        for one in found:
            yield from _texts(one)


def _check_addresses(table: RouteTable, found: Iterable[Entry]) -> None:
    """No address is served as two branches', unless a hand wrote so."""
    branches: defaultdict[Address, set[str]] = defaultdict(set)
    for one in table.routes:
        for held in one.instances:
            branches[held.address].add(one.branch)
    by_hand = set()
    for entry in found:
        if not entry.lease:
            with suppress(ValueError):
                by_hand.add(InstanceRecord.parse(entry.value).address)
    assert all(len(names) == 1 or where in by_hand for where, names in branches.items())


def _check_sentence(exc: Exception) -> None:
    """What is told of bad input is one line that steers no terminal."""
    assert str(exc)
    assert str(exc).isprintable(), repr(str(exc))


TARGETS: Mapping[str, Target] = {
    target.__name__: target for target in (records, keys, names, renderer, wire, brake)
}
