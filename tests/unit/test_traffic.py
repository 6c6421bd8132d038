"""Requests by branch and by route: bounded, and never backwards."""

from collections import Counter, defaultdict
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regenerator.dashboard.board import Traffic
from regenerator.dashboard.numbers.counters import OTHER, TURN_S, Counters
from regenerator.dashboard.numbers.traffic import BUCKET_S, WAIT_S, WINDOW_S, Tally

LOGIN, MAIN, NEW = "a" * 16, "b" * 47, "c" * 16

ROUTES = {LOGIN: "feature/login", MAIN: "main"}


def id_of(number: int) -> str:
    return f"{number:016x}"


def told(**counts: int) -> dict[bytes, int]:
    """What nginx told, with an id's letter and a status as the name: ``a200=3``."""
    longer = {"a": LOGIN, "b": MAIN, "c": NEW, "_": ""}
    return {f"{longer[key[0]]} {key[1:]}".encode(): count for key, count in counts.items()}


def tally(*, shown: int = 50, routes: Mapping[str, str] = ROUTES) -> Tally:
    made = Tally(counters=Counters(shown=shown))
    made.know(routes, now=0.0)
    return made


def seen(of: Tally) -> dict[tuple[str, str], int]:
    return {key: count for key, count in of.requests().items() if count}


def test_requests_are_counted_by_branch_and_class_and_by_status() -> None:
    it = tally()
    it.take(told(a200=3, a404=1, b502=2, _404=5), now=1.0, at=1000.0)
    it.take(told(a201=1, a101=1, b000=1), now=2.0, at=1001.0)

    assert seen(it) == {
        ("feature/login", "1xx"): 1,
        ("feature/login", "2xx"): 4,
        ("feature/login", "4xx"): 1,
        ("main", "5xx"): 2,
        ("main", OTHER): 1,
        ("", "4xx"): 5,
    }
    assert it.codes() == {"200": 3, "201": 1, "101": 1, "404": 6, "502": 2, OTHER: 1}


def test_a_branch_is_there_at_0_before_its_first_request() -> None:
    """Prometheus does not see a series rise that begins above 0."""
    assert tally().requests()["feature/login", "5xx"] == 0


def test_a_service_cannot_make_up_series() -> None:
    it = tally()
    it.take({f"{LOGIN} {status}".encode(): 1 for status in range(100, 1000)}, now=1.0, at=1.0)

    assert len(it.requests()) <= 3 * 6
    assert len(it.codes()) < 80
    assert it.codes()[OTHER] > 800


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"aaaaaaaaaaaaaaaa",
        b"aaaaaaaaaaaaaaaa 20",
        b"aaaaaaaaaaaaaaaa 2000",
        b"aaaaaaaaaaaaaaa 200",
        b"AAAAAAAAAAAAAAAA 200",
        b"aaaaaaaaaaaaaaaa 200\n",
        b"a" * 48 + b" 200",
        b"\xff 200",
    ],
)
def test_what_is_no_route_and_status_is_dropped(message: bytes) -> None:
    it = tally()
    it.take({message: 7}, now=1.0, at=1.0)

    assert not seen(it)
    assert not it.codes()


def test_the_last_minute_passes() -> None:
    it = tally()
    assert it.take(told(a200=3, a502=1), now=1.0, at=1000.0)[LOGIN] == Traffic(4, 1, 1000.0)
    assert it.take(told(a504=1, a404=1), now=31.0, at=1030.0)[LOGIN] == Traffic(6, 2, 1030.0)
    # errors of the client are not the service's
    assert it.take({}, now=1.0 + WINDOW_S - 0.1, at=1060.0)[LOGIN] == Traffic(6, 2, 1030.0)

    later = it.take({}, now=1.0 + WINDOW_S + BUCKET_S, at=1066.0)
    assert later[LOGIN] == Traffic(2, 1, 1030.0)

    # when it was asked last stays known
    assert it.take({}, now=500.0, at=1500.0)[LOGIN] == Traffic(0, 0, 1030.0)


def test_nothing_new_is_the_same_object() -> None:
    it = tally()
    known = it.take(told(a200=3), now=1.0, at=1000.0)

    assert it.take({}, now=2.0, at=1001.0) is known
    assert it.take(told(_404=3), now=2.5, at=1002.0) is known
    assert known == {LOGIN: Traffic(3, 0, 1000.0)}


def test_a_route_that_nginx_knows_sooner_is_counted_when_it_is_told() -> None:
    it = tally()
    it.take(told(c200=2), now=1.0, at=1000.0)
    it.take(told(c502=1), now=2.0, at=1001.0)
    assert not seen(it)

    it.know({**ROUTES, NEW: "new"}, now=2.5)
    assert it.take({}, now=3.0, at=1002.0)[NEW] == Traffic(3, 1, 1002.0)
    assert seen(it) == {("new", "2xx"): 2, ("new", "5xx"): 1}


def test_a_route_that_nobody_tells_of_is_another_ones() -> None:
    it = tally()
    it.take(told(c200=2), now=1.0, at=1000.0)
    known = it.take({}, now=1.0 + WAIT_S, at=1010.0)

    assert NEW not in known
    assert seen(it) == {(OTHER, "2xx"): 2}


def test_a_route_that_left_is_forgotten_after_a_minute() -> None:
    it = tally()
    it.take(told(a200=2), now=1.0, at=1000.0)
    it.know({MAIN: "main"}, now=2.0)
    # a retiring worker still tells of it
    it.take(told(a200=1), now=50.0, at=1048.0)
    assert seen(it) == {("feature/login", "2xx"): 3}

    assert LOGIN not in it.take({}, now=2.0 + WINDOW_S, at=1060.0)
    # and back it begins anew, whatever the window still had of it
    it.know(ROUTES, now=70.0)
    assert it.take(told(a200=1), now=71.0, at=1070.0)[LOGIN] == Traffic(1, 0, 1070.0)
    assert it.take({}, now=120.0, at=1120.0)[LOGIN] == Traffic(1, 0, 1070.0)


def test_a_route_that_is_back_within_the_minute_is_as_it_was() -> None:
    it = tally()
    it.take(told(a200=2), now=1.0, at=1000.0)
    it.know({MAIN: "main"}, now=2.0)
    it.know(ROUTES, now=30.0)

    assert it.take({}, now=64.0, at=1063.0)[LOGIN] == Traffic(2, 0, 1000.0)


def test_when_a_route_was_asked_last_is_known_from_before() -> None:
    it = Tally(last_at={LOGIN: 900.0, NEW: 800.0})
    it.know(ROUTES, now=0.0)
    assert it.take({}, now=1.0, at=1000.0) == {LOGIN: Traffic(0, 0, 900.0)}
    assert it.take(told(a200=1), now=2.0, at=1001.0)[LOGIN].last_at == 1001.0

    it.know({**ROUTES, NEW: "new"}, now=3.0)
    assert it.take({}, now=4.0, at=1003.0)[NEW] == Traffic(0, 0, 800.0)


def test_only_so_many_branches_have_a_name() -> None:
    routes = {id_of(n): f"b{n}" for n in range(8)}
    it = tally(shown=3, routes=routes)
    it.take({f"{id_} 200".encode(): 1 for id_ in routes}, now=1.0, at=1.0)

    assert seen(it) == {("b0", "2xx"): 1, ("b1", "2xx"): 1, ("b2", "2xx"): 1, (OTHER, "2xx"): 5}


def test_a_branch_that_is_called_other_is_among_the_others() -> None:
    it = tally(routes={LOGIN: "other"})
    it.take(told(a200=2), now=1.0, at=1.0)

    assert seen(it) == {(OTHER, "2xx"): 2}


def test_a_busier_branch_gets_a_name_and_what_was_counted_stays_where_it_was() -> None:
    routes = {id_of(n): f"b{n}" for n in range(3)}
    it = tally(shown=2, routes=routes)
    quiet, least, busy = (f"{id_} 200".encode() for id_ in routes)
    it.take({quiet: 2, least: 1}, now=0.0, at=0.0)
    it.take({busy: 100}, now=1.0, at=1.0)
    it.take({}, now=TURN_S, at=TURN_S)
    it.take({busy: 7, least: 3}, now=TURN_S + 1, at=TURN_S + 1)

    assert seen(it) == {("b0", "2xx"): 2, ("b2", "2xx"): 7, (OTHER, "2xx"): 103}

    # the one that made room goes on from its old count
    it.take({least: 900}, now=TURN_S + 2, at=0.0)
    it.take({}, now=2 * TURN_S, at=0.0)
    it.take({least: 1}, now=2 * TURN_S + 1, at=0.0)
    assert seen(it) == {("b2", "2xx"): 7, ("b1", "2xx"): 2, (OTHER, "2xx"): 1003}


def test_names_do_not_come_and_go_among_branches_that_are_asked_as_often() -> None:
    routes = {id_of(n): f"b{n}" for n in range(6)}
    it = tally(shown=3, routes=routes)
    named = set()
    for minute in range(300):
        # first the one half is a little ahead, then the other
        counted = {
            f"{id_} 200".encode(): 2 + (number % 2 == minute // 40 % 2)
            for number, id_ in enumerate(routes)
        }
        it.take(counted, now=minute * TURN_S, at=0.0)
        named.add(frozenset(branch for branch, _ in it.requests()))

    assert len(named) == 1


def test_a_branch_that_nobody_asks_for_makes_room_in_the_end() -> None:
    routes = {LOGIN: "feature/login", MAIN: "main"}
    it = tally(shown=1, routes=routes)
    it.take(told(a200=1), now=0.0, at=0.0)
    for minute in range(1, 181):
        # one request each hour is less than any busy one, and more than none
        it.take(told(b200=1) if minute % 60 == 0 else {}, now=minute * TURN_S, at=0.0)

    assert ("main", "2xx") in it.requests()
    assert ("feature/login", "2xx") not in it.requests()


def test_a_branch_that_was_removed_is_gone_once_its_requests_are_long_past() -> None:
    it = tally(routes=ROUTES)
    it.take(told(a200=1), now=0.0, at=0.0)
    it.know({MAIN: "main"}, now=1.0)
    for minute in range(1, 240):
        it.take({}, now=minute * TURN_S, at=0.0)

    assert {branch for branch, _ in it.requests()} == {"main", OTHER, ""}


def test_the_room_of_a_branch_that_is_gone_goes_to_who_is_asked_most() -> None:
    routes = {id_of(n): f"b{n}" for n in range(3)}
    it = tally(shown=1, routes=routes)
    it.take({f"{id_of(0)} 200".encode(): 1}, now=0.0, at=0.0)
    it.know({id_of(n): f"b{n}" for n in (1, 2)}, now=1.0)
    # nearly forgotten, and then quite
    it.take({}, now=7000.0, at=0.0)
    it.take({f"{id_of(1)} 200".encode(): 1, f"{id_of(2)} 200".encode(): 2}, now=7001.0, at=0.0)
    assert {branch for branch, _ in it.requests()} == {"b0", OTHER, ""}
    it.take({}, now=7300.0, at=0.0)

    assert {branch for branch, _ in it.requests()} == {"b2", OTHER, ""}


def test_as_many_counts_of_the_past_are_kept_and_no_more() -> None:
    it = Tally(counters=Counters(shown=1, kept=2))
    it.know({id_of(n): f"b{n}" for n in range(4)}, now=0.0)
    asked = [0, 1, 2, 3, 0, 2]
    for hour, number in enumerate(asked):
        # the first request brings the branch forward, the second is counted by its name
        it.take({f"{id_of(number)} 200".encode(): 1}, now=hour * 20_000.0, at=0.0)
        it.take({}, now=hour * 20_000.0 + TURN_S, at=0.0)
        it.take({f"{id_of(number)} 200".encode(): 10}, now=hour * 20_000.0 + 70, at=0.0)
        named = {branch: count for (branch, kind), count in it.requests().items() if kind == "2xx"}
        if hour == 4:
            assert named["b0"] == 10  # of the three that came after it, two are kept
        if hour == 5:
            assert named["b2"] == 20


NUMBERS = st.integers(0, 9)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.5, 1.0, 7.0, TURN_S, 3600.0]),
        st.frozensets(NUMBERS),
        st.dictionaries(
            st.tuples(NUMBERS, st.sampled_from(["200", "302", "404", "502", "000"])),
            st.integers(1, 60),
            max_size=5,
        ),
    ),
    max_size=20,
)


@given(STEPS, st.integers(1, 4))
def test_no_number_ever_goes_backwards_and_every_request_is_counted_once(
    steps: list[tuple[float, frozenset[int], dict[tuple[int, str], int]]], shown: int
) -> None:
    """Whatever comes and goes: a counter that falls is a restart to Prometheus."""
    it = Tally(counters=Counters(shown=shown))
    now, given_ = 0.0, 0
    highest: dict[tuple[str, str], int] = defaultdict(int)
    for pause_s, numbers, counted in [*steps, (WAIT_S, frozenset[int](), {})]:
        now += pause_s
        it.know({id_of(n): f"branch {n % 7}" for n in numbers}, now=now)
        given_ += sum(counted.values())
        it.take(
            {f"{id_of(n)} {s}".encode(): count for (n, s), count in counted.items()},
            now=now,
            at=now,
        )
        assert len({branch for branch, _ in it.requests()}) <= shown + 2
        for key, count in it.requests().items():
            assert count >= highest[key]
            highest[key] = count

    assert sum(it.codes().values()) == given_
    # those that made room are where they were
    assert sum(highest.values()) == given_


@given(STEPS)
def test_where_all_branches_have_room_each_number_is_exact(
    steps: list[tuple[float, frozenset[int], dict[tuple[int, str], int]]],
) -> None:
    it = Tally()
    routes = {id_of(n): f"branch {n}" for n in range(10)}
    it.know(routes, now=0.0)
    wanted = Counter[tuple[str, str]]()
    now = 0.0
    for pause_s, _, counted in steps:
        now += pause_s
        it.know(routes, now=now)
        it.take(
            {f"{id_of(n)} {s}".encode(): count for (n, s), count in counted.items()},
            now=now,
            at=now,
        )
        for (number, status), count in counted.items():
            kind = OTHER if status == "000" else f"{status[0]}xx"
            wanted[f"branch {number}", kind] += count

    assert seen(it) == wanted


@given(STEPS)
def test_the_last_minute_is_what_a_list_of_all_requests_says(
    steps: list[tuple[float, frozenset[int], dict[tuple[int, str], int]]],
) -> None:
    """Within the length of a step: a request falls out 60 to 65 s after it came."""
    it = Tally()
    routes = {id_of(n): f"branch {n}" for n in range(10)}
    it.know(routes, now=0.0)
    asked: dict[int, list[tuple[float, str, int]]] = defaultdict(list)
    now = 0.0
    for pause_s, _, counted in steps:
        now += pause_s
        known = it.take(
            {f"{id_of(n)} {s}".encode(): count for (n, s), count in counted.items()},
            now=now,
            at=now,
        )
        for (number, status), count in counted.items():
            asked[number].append((now, status, count))
        for number, mine in asked.items():
            least = sum(count for at, _, count in mine if at > now - WINDOW_S)
            most = sum(count for at, _, count in mine if at > now - WINDOW_S - BUCKET_S)
            bad = sum(count for at, s, count in mine if s >= "500" and at > now - WINDOW_S)
            found = known[id_of(number)]
            assert least <= found.requests <= most
            assert bad <= found.errors <= found.requests
            assert found.last_at == mine[-1][0]
