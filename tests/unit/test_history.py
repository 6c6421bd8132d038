"""A history tells what was so, whatever becomes of its file, and keeps no more than it may."""

import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regenerator.dashboard.feed import State
from regenerator.dashboard.history import archive
from regenerator.dashboard.history.changes import ChangeKind
from regenerator.dashboard.history.history import BEGINNING, REST_S, History
from regenerator.dashboard.history.ledger import Ledger
from regenerator.dashboard.history.past import Past
from regenerator.dashboard.history.recalling import opened, tell_difference, tell_history
from regenerator.dashboard.history.retention import AGE_S, Retention
from regenerator.routes import Rules
from registry.faults import NotRecorded, UsageInvalid
from registry.snapshot import Entry, Snapshot
from registry.tables import Page
from tests.registry_contents import KEYS, RULES, claim, entries, raw, route

MARKS = Rules(KEYS, RULES, "web")
AT = 1_800_000_000.0
"""2027-01-15T08:00:00Z."""

K = ChangeKind
PIPE = Page()


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = AT

    def __call__(self) -> float:
        return self.now


class Scene:
    """A registry whose states a history is told, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "history.db"
        self.clock = Clock()
        self.revision = 0
        self.present: dict[bytes, Entry] = {}
        self.ended: list[Entry] = []
        self.history = self.open()

    def open(self, *, retention: Retention | None = None, pages: int = 65536) -> History:
        self.history = History(
            self.path,
            rules=MARKS,
            domain="dev.test",
            clock=self.clock,
            retention=retention,
            pages=pages,
        )
        return self.history

    def put(self, *entries: Entry) -> None:
        for entry in entries:
            self.revision += 1
            known = self.present.get(entry.key)
            created = known.create_revision if known else self.revision
            self.present[entry.key] = entry._replace(
                create_revision=created, mod_revision=self.revision
            )

    def drop(self, *entries: Entry) -> None:
        for entry in entries:
            self.revision += 1
            self.ended.append(self.present.pop(entry.key))

    def note(self, generation: str = "") -> None:
        """Let a state be served, a second after the one before."""
        self.clock.now += 1
        snapshot = Snapshot("c", self.revision, dict(self.present), tuple(self.ended))
        self.ended.clear()
        table = MARKS.table(snapshot)
        name = generation or f"{hash(table.routes) & (1 << 48) - 1:012x}"
        self.history.note(State(snapshot, name, self.clock.now), table, at=self.clock.now)

    def serve(self, *entries: Entry) -> None:
        self.put(*entries)
        self.note()

    def lose(self, *entries: Entry) -> None:
        self.drop(*entries)
        self.note()

    def rest(self) -> None:
        self.clock.now += REST_S
        self.history.rest()

    def restart(self, *, after_s: float = 0.0) -> None:
        self.history.close()
        self.clock.now += after_s
        self.open()

    def kinds(self, branch: str = "", service: str = "") -> list[ChangeKind]:
        """What has become of it, from old to new."""
        found = self.history.changes(branch, service, limit=1000)
        return [one.kind for one in reversed(found)]

    def at(self, at: float) -> list[tuple[str, str]]:
        """Branches and addresses that were served at a time."""
        return [(one.branch, one.address) for one in self.history.served_at(at)]


@pytest.fixture(name="scene")
def _scene(tmp_path: Path) -> Iterator[Scene]:
    found = Scene(tmp_path)
    yield found
    found.history.close()


def leased(branch: str = "main", address: str = "10.0.0.1:80", *, state: str = "ready") -> Entry:
    value = json.dumps({"address": address, "state": state})
    return route(branch, "web", "i-1", value=value, lease=7)


def by_hand(branch: str, address: str = "10.0.0.1:80") -> Entry:
    return route(branch, value=address)


MINE = claim("main", "web", "main-web", "main")


def test_a_life_and_what_was_served_at_each_moment_of_it(scene: Scene) -> None:
    scene.note()
    scene.serve(MINE, leased(state="starting"))
    scene.serve(leased())
    scene.serve(leased(address="10.0.0.2:80"))
    scene.serve(leased(address="10.0.0.2:80", state="draining"))
    scene.lose(leased())

    assert scene.kinds("main") == [
        K.CLAIMED,
        K.REGISTERED,
        K.READY,
        K.MOVED,
        K.DRAINING,
        K.DEREGISTERED,
    ]
    moments = [scene.at(AT + second + 0.5) for second in range(1, 7)]
    assert moments == [
        [],
        [("main", "")],
        [("main", "10.0.0.1:80")],
        [("main", "10.0.0.2:80")],
        [("main", "")],
        [("main", "")],
    ]
    [served] = scene.history.served_at(AT + 4, "main", "web")
    assert served.hosts == ("main-web.dev.test", "main.dev.test")
    assert (served.instance, served.since) == ("i-1", AT + 4)
    assert scene.at(AT + 0.5) == []
    assert scene.history.noted[K.DEREGISTERED] == 1


def test_what_was_there_before_a_history_is_told_as_such(scene: Scene) -> None:
    ill = leased("ill", "8.8.8.8:80")
    scene.serve(leased(), ill, MINE)

    [one] = scene.history.changes("main")
    assert (one.kind, one.reason) == (K.REGISTERED, BEGINNING)
    assert scene.kinds("ill") == [K.REGISTERED, K.REJECTED]
    assert not scene.history.noted


@pytest.mark.parametrize("is_killed", [False, True])
def test_what_happened_while_nobody_watched_is_told_with_when_that_was(
    scene: Scene, is_killed: bool
) -> None:
    scene.serve(leased(), leased("stays", "10.0.0.3:80"))
    scene.serve(leased("other", "10.0.0.2:80"))
    if is_killed:
        scene.clock.now += 100
        scene.open()
    else:
        scene.restart(after_s=100)
    scene.put(leased("new", "10.0.0.9:80"))
    scene.drop(leased())
    scene.put(leased("other", "10.0.0.2:80", state="starting"))
    scene.note()

    [gone] = scene.history.changes("main", limit=1)
    assert gone.kind is K.EXPIRED
    assert gone.reason.endswith(
        "between 2027-01-15T08:00:02Z and 2027-01-15T08:01:43Z, when nobody watched"
    )
    assert scene.kinds("new") == [K.REGISTERED, K.READY]
    assert scene.kinds("other") == [K.REGISTERED, K.READY, K.STARTING]
    assert scene.kinds("stays") == [K.REGISTERED]
    assert scene.at(scene.clock.now) == [
        ("new", "10.0.0.9:80"),
        ("other", ""),
        ("stays", "10.0.0.3:80"),
    ]
    assert scene.at(AT + 2)[0] == ("main", "10.0.0.1:80")


def test_nothing_is_told_after_a_restart_that_missed_nothing(scene: Scene) -> None:
    scene.note()
    scene.serve(leased("left", "10.0.0.2:80"), leased("fell-ill", "10.0.0.3:80"))
    scene.serve(leased(), MINE, leased("fell-ill", "10.0.0.3:80", state="starting"))
    scene.lose(leased("left"))
    before = scene.history.changes()
    scene.restart(after_s=5)
    scene.note()

    assert scene.history.changes() == before
    with sqlite3.connect(scene.path) as db:
        assert db.execute("SELECT count(*) FROM gaps").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM generations").fetchone() == (4,)


def test_a_sign_of_life_says_until_when_somebody_watched(scene: Scene) -> None:
    scene.serve(leased())
    for _ in range(6):
        scene.rest()
    scene.open()
    scene.rest()  # before the first word of the regenerator nobody watches
    scene.drop(leased())
    scene.note()

    assert "between 2027-01-15T08:01:01Z and " in scene.history.changes(limit=1)[0].reason


def test_until_a_clean_end_somebody_watched(scene: Scene) -> None:
    scene.serve(leased())
    scene.clock.now += 5
    scene.restart(after_s=100)
    scene.lose(leased())

    assert "between 2027-01-15T08:00:06Z and " in scene.history.changes(limit=1)[0].reason


def test_what_explains_that_a_service_is_not_there(scene: Scene) -> None:
    def last() -> ChangeKind | None:
        found = scene.history.last("main", "web")
        return found.kind if found else None

    assert last() is None
    scene.serve(MINE)
    scene.serve(leased())
    assert last() is None
    scene.serve(leased(state="draining"))
    assert last() is K.DRAINING
    scene.lose(leased())
    assert last() is K.DEREGISTERED
    scene.serve(leased(state="starting"))
    assert last() is K.DEREGISTERED
    scene.serve(leased())
    assert last() is None
    scene.lose(leased())
    assert last() is K.EXPIRED
    scene.serve(leased(address="8.8.8.8:80"))
    assert last() is K.REJECTED
    scene.serve(leased())
    assert last() is None
    scene.lose(leased())
    scene.lose(MINE)
    assert last() is K.UNCLAIMED


def test_a_claim_that_is_in_conflict_explains_nothing(scene: Scene) -> None:
    scene.serve(claim("fix-foo", "web", "fix-foo", "fix-foo-web"))
    scene.serve(leased("fix/foo"))
    scene.serve(claim("fix/foo", "web", "fix-foo"))

    assert scene.kinds("fix/foo")[-1] is K.REJECTED
    assert scene.history.last("fix/foo", "web") is None


def test_a_host_has_the_owner_that_had_it_last(scene: Scene) -> None:
    older, newer = claim("fix-foo", "web", "fix-foo"), claim("fix/foo", "web", "fix-foo")
    assert scene.history.owner_of("fix-foo") is None
    scene.serve(older)
    assert scene.history.owner_of("FIX-foo.dev.test") == ("fix-foo", "web")
    scene.lose(older)
    assert scene.history.owner_of("fix-foo.dev.test") == ("fix-foo", "web")
    scene.serve(newer)
    assert scene.history.owner_of("fix-foo.dev.test") == ("fix/foo", "web")
    scene.lose(newer)
    assert scene.history.owner_of("fix-foo") == ("fix/foo", "web")
    assert scene.history.owner_of("") is None


def test_the_long_host_is_the_first_though_it_came_later(scene: Scene) -> None:
    scene.serve(claim("a", "b-c", "a-b-c", "a"), claim("a-b", "c", "a-b-c", "a-b"))
    scene.lose(claim("a", "b-c"))

    [served] = scene.history.served_at(scene.clock.now)
    assert served.hosts == ("a-b-c.dev.test", "a-b.dev.test")


def test_changes_are_found_by_branch_service_and_time(scene: Scene) -> None:
    scene.note()
    scene.serve(route("main", "web"), route("main", "api"))
    scene.serve(route("other", "web", value="10.0.0.2:80"))

    def found(**wanted: object) -> list[tuple[str, str]]:
        changes = scene.history.changes(**wanted)  # type: ignore[arg-type]
        return [(one.branch, one.service) for one in changes if one.kind is K.READY]

    assert found() == [("other", "web"), ("main", "api"), ("main", "web")]
    assert found(branch="main") == [("main", "api"), ("main", "web")]
    assert found(branch="main", service="api") == [("main", "api")]
    assert found(service="web") == [("other", "web"), ("main", "web")]
    assert found(limit=1) == [("other", "web")]
    assert found(before_at=AT + 3) == [("main", "api"), ("main", "web")]
    assert found(branch="nobody") == []


def test_a_generation_that_comes_again_is_another_entry(scene: Scene) -> None:
    scene.put(by_hand("main"))
    scene.note("aaaaaaaaaaaa")
    scene.put(by_hand("main", "10.0.0.2:80"))
    scene.note("bbbbbbbbbbbb")
    scene.put(by_hand("main"))
    scene.note("aaaaaaaaaaaa")
    scene.note("cccccccccccc")  # the templates are others, the routes are not

    assert scene.history.served_at(AT + 4)[0].since == AT + 3
    scene.put(by_hand("main", "10.0.0.2:80"))
    scene.note("bbbbbbbbbbbb")

    # one line each: what was over once is not over a second time
    assert [scene.at(AT + 1.5 + second) for second in range(5)] == [
        [("main", f"10.0.0.{number}:80")] for number in (1, 2, 1, 1, 2)
    ]
    with opened(scene.path.parent) as (past, _):
        assert [one.name[0] for one in past.generations(limit=9)] == ["b", "c", "a", "b", "a"]
        assert [one.id for one in past.generations_called("aa")] == [3]


def test_the_last_requests_are_kept_and_never_go_back(scene: Scene) -> None:
    scene.history.note_requests({"ab": AT + 5, "cd": AT + 7})
    scene.history.note_requests({"ab": AT + 9, "cd": AT + 6})
    scene.restart()

    assert scene.history.last_requests() == {"ab": AT + 9, "cd": AT + 7}


def test_whatever_stands_in_a_key_is_kept_and_found_as_it_is(scene: Scene) -> None:
    names = ["<script>", "'; DROP TABLE changes; --", "日本", "x" * 512, "%", "a\u202eb"]
    for number, name in enumerate(names):
        scene.put(by_hand(name, f"10.0.1.{number}:80"))
    scene.put(raw(b"/branchfront/routes/\xff/\x00", b"\xff\xfe"))
    scene.note()

    for name in names:
        assert [one.branch for one in scene.history.changes(name)] == [name]
    assert len(scene.history.changes()) == len(names) + 2
    assert {one.branch for one in scene.history.served_at(AT + 1)} == set(names)


@given(
    states=st.lists(st.tuples(entries, st.booleans()), min_size=1, max_size=4),
    domain=st.sampled_from(["dev.test", ""]),
)
def test_what_was_served_at_any_time_is_what_the_routes_were_then(
    states: list[tuple[list[Entry], bool]], domain: str
) -> None:
    """Whatever the registry held, and though the writer was killed in between."""
    clock = Clock()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "history.db"
        history = History(path, rules=MARKS, domain=domain, clock=clock)
        expected = []
        for number, (found, is_killed) in enumerate(states):
            clock.now += 10
            snapshot = Snapshot("c", 10 + number, {entry.key: entry for entry in found})
            table = MARKS.table(snapshot)
            history.note(State(snapshot, f"{number:012x}", clock.now), table, at=clock.now)
            tail = f".{domain}" if domain else ""
            expected.append(
                {
                    (
                        one.branch,
                        one.service,
                        frozenset(f"{label}{tail}" for label in one.labels),
                    ): {(instance.name, str(instance.address)) for instance in one.instances}
                    for one in table.routes
                }
            )
            if is_killed:
                history = History(path, rules=MARKS, domain=domain, clock=clock)

        for number, routes in enumerate(expected):
            served: dict[tuple[str, str, frozenset[str]], set[tuple[str, str]]] = {}
            for one in history.served_at(AT + 10 * (number + 1)):
                there = served.setdefault((one.branch, one.service, frozenset(one.hosts)), set())
                there |= {(one.instance, one.address)} if one.address else set()
            assert served == routes
        for branch, service, hosts in expected[-1]:
            assert {history.owner_of(host) for host in hosts} == {(branch, service)}
        history.close()


# What becomes of the file


def broken(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def scratched(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(bytes(content))


def newer(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 9")


def poorer(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE changes")


@pytest.mark.parametrize("hurt", [broken, cut, scratched, newer, poorer])
def test_a_file_that_is_broken_is_put_aside_and_a_new_one_begins(
    scene: Scene, hurt: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    scene.serve(leased(), MINE)
    scene.history.close()
    hurt(scene.path)

    scene.open()
    scene.serve(leased("other", "10.0.0.2:80"))

    assert scene.kinds("main") == [K.REGISTERED]
    assert scene.at(scene.clock.now) == [("main", "10.0.0.1:80"), ("other", "10.0.0.2:80")]
    assert scene.path.with_name("history.db.broken").exists()
    [line] = [one.getMessage() for one in caplog.records]
    assert "is put aside as history.db.broken" in line
    scene.lose(leased())
    assert scene.kinds("main") == [K.REGISTERED, K.EXPIRED]


def test_a_file_that_breaks_while_it_is_open_is_put_aside(scene: Scene) -> None:
    scene.serve(leased())
    with sqlite3.connect(scene.path) as db:
        db.execute("DROP TABLE standing")

    scene.serve(by_hand("other", "10.0.0.2:80"))
    scene.rest()

    assert scene.kinds("other") == [K.REGISTERED]
    assert scene.path.with_name("history.db.broken").exists()


def test_a_file_that_vanishes_is_begun_anew(scene: Scene) -> None:
    scene.serve(leased())
    for path in scene.path.parent.iterdir():
        path.unlink()
    scene.rest()
    scene.rest()

    assert scene.path.exists()
    with opened(scene.path.parent) as (past, _):
        assert [one.reason for one in past.changes()] == [BEGINNING]


def test_nothing_of_a_broken_file_gets_into_the_new_one(scene: Scene) -> None:
    """What was written last lies in a second file, which would be read into any new first one."""
    scene.serve(leased())
    scene.history.close()
    somebody = sqlite3.connect(scene.path)
    somebody.execute("DROP TABLE changes")
    somebody.commit()

    scene.open()
    scene.serve(by_hand("other", "10.0.0.2:80"))
    somebody.close()
    scene.serve(by_hand("third", "10.0.0.3:80"))

    assert scene.kinds() == [K.REGISTERED] * 2 + [K.REGISTERED, K.READY]
    scene.restart()
    assert scene.kinds("third") == [K.REGISTERED, K.READY]


def test_what_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "history.db", make_room=lambda _: None)

    def half(db: sqlite3.Connection) -> None:
        archive.write_requests(db, {"half": 1.0})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ledger.attempt(half)
    assert not ledger.attempt(lambda db: archive.write_requests(db, {"ab": object()}))  # type: ignore[dict-item]
    assert ledger.attempt(lambda db: archive.write_requests(db, {"ab": 1.0}))

    nothing: dict[str, float] = {}
    assert ledger.read(lambda db: Past(db).last_requests(), nothing) == {"ab": 1.0}
    assert sorted(one.name for one in tmp_path.glob("*.broken")) == []
    ledger.close()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody with ``sqlite3`` who has begun to write, and thinks."""
    with sqlite3.connect(path, isolation_level=None) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")
    db.close()


def test_what_cannot_be_written_is_told_later_all_at_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    scene.serve(leased(), leased("stays", "10.0.0.3:80"))
    with locked(scene.path):
        scene.lose(leased())
        scene.serve(by_hand("new", "10.0.0.2:80"))
        scene.rest()
        scene.rest()
        assert scene.kinds("main") == [K.REGISTERED]
    scene.rest()

    assert scene.kinds("main") == [K.REGISTERED, K.EXPIRED]
    assert "when nobody watched" in scene.history.changes("main", limit=1)[0].reason
    assert scene.kinds("new") == [K.REGISTERED, K.READY]
    lines = [one.getMessage() for one in caplog.records]
    assert len(lines) == 2
    assert "cannot be written (database is locked)" in lines[0]
    assert lines[1] == "the history is written again"
    scene.lose(leased("stays", "10.0.0.3:80"))
    assert "nobody watched" not in scene.history.changes("stays", limit=1)[0].reason


def test_who_comes_and_goes_while_nothing_can_be_written_is_told_of_later(scene: Scene) -> None:
    scene.serve(MINE, leased(), leased("other", "10.0.0.3:80"))
    scene.lose(leased())
    first = scene.history.last("main", "web")
    assert first is not None
    with locked(scene.path):
        scene.serve(leased())
        scene.lose(leased())
        # what explains nothing any more is not told as if it did
        assert scene.history.last("main", "web") is None
        scene.lose(leased("other", "10.0.0.3:80"))
    scene.rest()

    second = scene.history.last("main", "web")
    assert second is not None
    assert (first.kind, second.kind) == (K.EXPIRED, K.EXPIRED)
    assert second.at > first.at
    assert "when nobody watched" in second.reason
    assert scene.kinds("main", "web").count(K.EXPIRED) == 2
    assert scene.kinds("other") == [K.REGISTERED, K.EXPIRED]


def test_without_a_folder_nothing_is_kept_and_nothing_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(tmp_path / "later")
    scene.serve(leased())
    scene.history.note_requests({"ab": 1.0})
    scene.rest()
    assert (scene.history.changes(), scene.history.last("main", "web")) == ([], None)
    assert (scene.history.last_requests(), scene.history.owner_of("main")) == ({}, None)
    assert len(caplog.records) == 1

    (tmp_path / "later").mkdir()
    scene.rest()
    assert scene.kinds() == [K.REGISTERED]
    assert scene.history.last_requests() == {"ab": 1.0}
    scene.history.close()


def test_a_full_disk_ends_the_history_until_there_is_room(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.serve(leased())
    scene.history.close()
    scene.open(pages=40)
    for number in range(50):
        scene.put(by_hand(f"{number}-{'x' * 400}", f"10.0.1.{number}:80"))
    scene.note()
    assert "full" in caplog.records[-1].getMessage()

    scene.drop(*[one for one in scene.present.values() if b"xxx" in one.key])
    scene.ended.clear()
    scene.serve(by_hand("new", "10.0.2.1:80"))
    scene.rest()

    assert scene.kinds("new") == [K.REGISTERED, K.READY]
    assert scene.kinds("main") == [K.REGISTERED]


def test_a_file_that_is_nearly_full_forgets_what_is_oldest(scene: Scene) -> None:
    scene.history.close()
    scene.open(pages=32)
    for number in range(400):
        scene.serve(by_hand("main", f"10.0.0.{number % 250 + 1}:80"))
        scene.rest()

    assert scene.path.stat().st_size <= 32 * 4096
    found = scene.history.changes("main", limit=1000)
    assert found[0].address == "10.0.0.150:80"
    assert scene.at(scene.clock.now) == [("main", "10.0.0.150:80")]
    assert 50 < len(found) < 400


# What is forgotten


def test_of_each_route_and_in_all_the_newest_changes_are_kept(scene: Scene) -> None:
    scene.history.close()
    scene.open(retention=Retention(of_route=5, changes=12))
    scene.note()
    for number in range(20):
        scene.serve(by_hand("busy", f"10.0.0.{number + 1}:80"))
    for number in range(8):
        scene.serve(by_hand(f"calm-{number}", f"10.0.1.{number + 1}:80"))
    for _ in range(5):
        scene.rest()

    busy = scene.history.changes("busy", limit=100)
    assert len(busy) <= 5
    assert len(scene.history.changes(limit=100)) == 12
    # and the newest at that
    assert scene.kinds("calm-7") == [K.REGISTERED, K.READY]


def test_of_one_busy_route_the_newest_changes_are_kept(scene: Scene) -> None:
    scene.history.close()
    scene.open(retention=Retention(of_route=5))
    scene.serve(by_hand("calm", "10.0.1.1:80"))
    for number in range(20):
        scene.serve(by_hand("busy", f"10.0.0.{number + 1}:80"))
    scene.rest()

    assert [one.address for one in scene.history.changes("busy", limit=100)] == [
        f"10.0.0.{number + 1}:80" for number in range(19, 14, -1)
    ]
    assert scene.kinds("calm") == [K.REGISTERED]


def test_generations_are_forgotten_and_what_is_served_is_not(scene: Scene) -> None:
    scene.history.close()
    scene.open(retention=Retention(of_route=1, changes=1, generations=3))
    scene.serve(by_hand("stays", "10.0.1.1:80"))
    since = scene.clock.now
    for number in range(10):
        scene.serve(by_hand("busy", f"10.0.0.{number + 1}:80"))
    scene.lose(by_hand("busy"))
    scene.rest()

    assert scene.at(AT + 5) == []
    [served] = scene.history.served_at(scene.clock.now)
    assert (served.branch, served.since) == ("stays", since)
    with sqlite3.connect(scene.path) as db:
        assert db.execute("SELECT count(*) FROM generations").fetchone() == (3,)
        [lines] = db.execute("SELECT count(*) FROM serving").fetchone()
        assert lines <= 3


def test_what_is_too_old_is_forgotten_but_for_what_is_served(scene: Scene) -> None:
    scene.serve(by_hand("main"), by_hand("gone", "10.0.0.2:80"))
    scene.lose(by_hand("gone"))
    scene.history.note_requests({"ab": AT, "cd": AT + AGE_S})
    scene.clock.now += AGE_S + 3
    scene.history.rest()

    assert scene.at(AT + 1.5) == []
    assert scene.at(scene.clock.now) == [("main", "10.0.0.1:80")]
    assert scene.history.last_requests() == {"cd": AT + AGE_S}
    # changes are not forgotten by their age
    assert scene.kinds("gone") == [K.REGISTERED, K.REMOVED]


def test_a_route_of_which_nothing_is_known_any_more_has_no_number(scene: Scene) -> None:
    scene.history.close()
    scene.open(retention=Retention(changes=2, generations=1))
    scene.serve(MINE)
    for number in range(100):
        scene.serve(by_hand(f"branch-{number}"))
        scene.lose(by_hand(f"branch-{number}"))
    for _ in range(6):
        scene.rest()

    with sqlite3.connect(scene.path) as db:
        [count] = db.execute("SELECT count(*) FROM routes").fetchone()
    assert count <= 3
    assert scene.at(scene.clock.now) == [("main", "")]


# What the commands say


@pytest.fixture(name="told")
def _told(scene: Scene) -> Callable[..., str]:
    scene.note("aaaaaaaaaaaa")
    scene.put(MINE, leased())
    scene.note("bbbbbbbbbbbb")
    scene.put(by_hand("evil\u202e\u200b", "10.0.0.66:80"))
    scene.note("bbbb11111111")
    scene.drop(leased())
    scene.note("cccccccccccc")

    def tell(branch: str = "", service: str = "", *, at: str = "", **how: object) -> str:
        given = {"limit": 50, "as_json": False, "page": PIPE, "clock": scene.clock, **how}
        return tell_history(scene.path.parent, branch, service, at=at, **given)  # type: ignore[arg-type]

    return tell


def diffed(scene: Scene, before: str, after: str, *, as_json: bool = False) -> str:
    return tell_difference(scene.path.parent, before, after, as_json=as_json, page=PIPE)


def test_history_is_a_table_with_the_newest_at_its_end(told: Callable[..., str]) -> None:
    lines = told("main", "web").splitlines()

    assert lines[0].split()[2:] == [
        *("CHANGE", "BRANCH", "SERVICE", "ADDRESS", "INSTANCE", "REVISION", "GENERATION")
    ]
    assert [line.split()[2] for line in lines[1:] if line[0] == "2"] == [
        *("claimed", "registered", "ready", "expired")
    ]
    assert lines[2] == "    main-web, main"
    assert lines[-2].split()[2:] == [
        *("expired", "main", "web", "10.0.0.1:80", "i-1", "4", "cccccccccccc")
    ]
    assert "its lease expired" in lines[-1]


def test_history_shows_what_a_terminal_must_not_obey(told: Callable[..., str]) -> None:
    assert "\u202e" not in told()
    assert "evil\\u202e\\u200b" in told()


def test_history_as_json_has_every_field(told: Callable[..., str]) -> None:
    found = json.loads(told("main", as_json=True))

    assert [one["kind"] for one in found] == ["claimed", "registered", "ready", "expired"]
    assert found[-1] == {
        "at": "2027-01-15T08:00:04.000Z",
        "revision": 4,
        "generation": "cccccccccccc",
        "branch": "main",
        "service": "web",
        "instance": "i-1",
        "address": "10.0.0.1:80",
        "kind": "expired",
        "reason": found[-1]["reason"],
    }


def test_history_says_that_there_is_more(told: Callable[..., str]) -> None:
    assert told(limit=2).splitlines()[0] == "the last 2; --limit has more"
    assert "--limit" not in told()


def test_what_served_a_branch_or_a_host_at_a_time(told: Callable[..., str]) -> None:
    for name in ("main", "main-web.dev.test", "main"):
        text = told(name, at="2027-01-15T08:00:02.5Z")
        assert "generation bbbbbbbbbbbb of revision 2" in text
        assert "10.0.0.1:80" in text
        assert "main-web.dev.test main.dev.test" in text
        assert "evil" not in text
    text = told("main", "web", at="2027-01-15T08:00:04Z")
    assert "nothing runs" in text

    document = json.loads(told("main", at="2027-01-15T08:00:02.5Z", as_json=True))
    assert document["generation"] == "bbbbbbbbbbbb"
    assert document["unwatched"] is None
    assert document["served"] == [
        {
            "branch": "main",
            "service": "web",
            "hosts": ["main-web.dev.test", "main.dev.test"],
            "instance": "i-1",
            "address": "10.0.0.1:80",
            "since": "2027-01-15T08:00:02.000Z",
        }
    ]


def test_what_served_a_branch_that_is_not_there_is_why(
    scene: Scene, told: Callable[..., str]
) -> None:
    scene.lose(MINE)
    text = told("main", at="2027-01-15T08:00:06Z")

    assert "nothing led to main" in text
    assert "unclaimed" in text


def test_a_time_within_a_gap_is_told_as_such(scene: Scene, told: Callable[..., str]) -> None:
    scene.restart(after_s=100)
    scene.serve(by_hand("later", "10.0.0.7:80"))

    assert "nobody watched" in told(at="2027-01-15T08:00:30Z")
    assert "nobody watched" not in told(at="2027-01-15T08:00:03Z").splitlines()[1]
    document = json.loads(told(at="2027-01-15T08:00:30Z", as_json=True))
    assert document["unwatched"] == {
        "from": "2027-01-15T08:00:04.000Z",
        "to": "2027-01-15T08:01:45.000Z",
    }


def test_that_nobody_writes_is_told(scene: Scene, told: Callable[..., str]) -> None:
    assert "away" not in told()
    scene.clock.now += 60
    assert told().splitlines()[-1].startswith("nothing was written since ")


@pytest.mark.parametrize(
    ("arguments", "at", "kind", "says"),
    [
        (("nobody",), "", NotRecorded, "nothing is known of branch 'nobody'"),
        (("main", "api"), "", NotRecorded, "service 'api' of branch 'main'"),
        (("main",), "25:99", UsageInvalid, "--at: '25:99' is no time"),
        (("main",), "yesterday", UsageInvalid, "is no time such as 14:03"),
        (("main",), "2020-01-01", NotRecorded, "this history begins at 2027-01-15"),
    ],
)
def test_what_cannot_be_told_is_said_in_a_sentence(
    told: Callable[..., str], arguments: tuple[str, ...], at: str, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        told(*arguments, at=at)


def test_a_diff_has_what_went_and_what_came(scene: Scene, told: Callable[..., str]) -> None:
    del told
    text = diffed(scene, "bbbbb", "now")
    lines = text.splitlines()

    assert lines[0].startswith("--- bbbbbbbbbbbb  ")
    assert lines[1].startswith("+++ cccccccccccc  ")
    assert [line.split()[:4] for line in lines[3:6]] == [
        ["+", "evil\\u202e\\u200b", "web", "10.0.0.66:80"],
        ["-", "main", "web", "10.0.0.1:80"],
        ["+", "main", "web", "nothing"],
    ]
    assert lines[-1] == "routes: 1 added, 0 removed, 1 changed"
    assert diffed(scene, "now", "bbbbb").splitlines()[-1] == "routes: 0 added, 1 removed, 1 changed"
    document = json.loads(diffed(scene, "2027-01-15T08:00:02Z", "c", as_json=True))
    assert document["before"]["generation"] == "bbbbbbbbbbbb"
    assert [(one["branch"][:4], one["change"]) for one in document["routes"]] == [
        ("evil", "added"),
        ("main", "changed"),
    ]
    assert document["routes"][0]["before"] is None
    assert document["routes"][1]["before"]["instances"] == [
        {"instance": "i-1", "address": "10.0.0.1:80"}
    ]
    assert document["routes"][1]["after"]["instances"] == []


def test_a_diff_of_equals_says_so(scene: Scene, told: Callable[..., str]) -> None:
    del told
    scene.note("dddddddddddd")

    assert diffed(scene, "now", "now").splitlines()[-1] == "both are the same generation"
    assert diffed(scene, "ccc", "now").splitlines()[-1] == "their routes are the same"


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("bb", UsageInvalid, "bb begins several generations: bbbbbbbbbbbb, bbbb11111111"),
        ("123", NotRecorded, "generation 123 is not known; the newest are cccccccccccc "),
        ("hello", UsageInvalid, "'hello' is no generation"),
        ("2020-01-01", NotRecorded, "this history begins at"),
    ],
)
def test_a_generation_that_is_not_known_is_said_with_those_that_are(
    scene: Scene, told: Callable[..., str], name: str, kind: type[Exception], says: str
) -> None:
    del told
    with pytest.raises(kind, match=says):
        diffed(scene, name, "now")


def test_where_there_is_no_history_that_is_said(tmp_path: Path) -> None:
    def ask() -> None:
        with opened(tmp_path):
            pass

    with pytest.raises(NotRecorded, match="there is no history in"):
        ask()
    path = tmp_path / "history.db"
    archive.open_archive(path).close()
    with pytest.raises(NotRecorded, match="has not begun"):
        ask()
    newer(path)
    with pytest.raises(NotRecorded, match="has version 9"):
        ask()
    path.unlink()
    broken(path)
    with pytest.raises(NotRecorded, match="cannot be read: "):
        ask()


def test_a_reader_sees_one_state_while_the_writer_goes_on(scene: Scene) -> None:
    scene.serve(leased())
    with opened(scene.path.parent) as (past, _):
        before = past.changes()
        scene.lose(leased())
        assert past.changes() == before
    assert scene.kinds() == [K.REGISTERED, K.EXPIRED]


def test_readers_and_the_writer_do_not_hinder_each_other(scene: Scene) -> None:
    scene.note()
    problems: list[Exception] = []
    is_over = threading.Event()

    def read() -> None:
        try:
            while not is_over.is_set():
                with opened(scene.path.parent) as (past, _):
                    found = past.changes(limit=10_000)
                    assert len(found) % 2 == 0
        except Exception as exc:  # noqa: BLE001 - a thread of a test tells whatever it met
            problems.append(exc)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(60):
        scene.serve(by_hand(f"b-{number}", f"10.0.2.{number + 1}:80"))
    is_over.set()
    for reader in readers:
        reader.join()

    assert problems == []
    assert len(scene.kinds()) == 120


def test_on_a_narrow_terminal_what_matters_is_not_cut(told: Callable[..., str]) -> None:
    for columns in (140, 66):
        lines = told("main", page=Page(columns=columns)).splitlines()
        assert max(map(len, lines)) <= columns
        assert [line.split()[2] for line in lines[1:] if line[0] == "2"][-1] == "expired"
        assert all(len(line.split()[1]) == len("08:00:02") for line in lines[1:] if line[0] == "2")
        assert " ".join(lines[-2:]).replace("    ", "").endswith("lost the registry")
        assert ("GENERATION" in lines[0]) is (columns == 140)


def test_a_diff_on_a_narrow_terminal_keeps_its_signs(
    scene: Scene, told: Callable[..., str]
) -> None:
    del told
    text = tell_difference(scene.path.parent, "bbbbb", "now", as_json=False, page=Page(columns=50))

    assert [line[0] for line in text.splitlines()] == [*"-+ +-+r"]
