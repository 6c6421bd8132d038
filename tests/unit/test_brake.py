"""The brake: what is a loss, when it takes hold, what it keeps, and when it lets go."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regenerator.brake import DEAF, EXPIRY_S, TTL_S, Alarm, Brake, Doubt, Memory
from regenerator.routes import AddressRules, Rules
from registry.keys import ClaimKey, Keyspace, ReleaseKey, RouteKey
from registry.records import Address, ClaimRecord, InstanceRecord, State
from registry.snapshot import Entry, Snapshot
from registry.values import parse_networks

KEYS = Keyspace("/branchfront")
RULES = Rules(KEYS, AddressRules(parse_networks("10.0.0.0/8"), ((1, 65535),)), "web")
WINDOW_S = 60.0


def brake(memory: Memory | None = None) -> Brake:
    return Brake(KEYS, RULES.read, WINDOW_S, memory=memory)


def route(
    number: int,
    *,
    branch: str = "",
    state: State = State.READY,
    ip: str = "",
    at: int = 0,
    lease: int = 1,
    ttl_s: int = 15,
) -> Entry:
    """One instance of a branch of its own."""
    key = KEYS.raw(RouteKey(branch or f"b{number}", "web", f"i{number}" if lease else ""))
    record = InstanceRecord(Address(ip or f"10.0.0.{number}", 80), state, ttl_s=ttl_s)
    at = at or 100 + number
    return Entry(key, record.dump(), at, at, lease and lease * 1000 + number)


def claim(number: int, *, branch: str = "", label: str = "", at: int = 0) -> Entry:
    branch = branch or f"b{number}"
    key = KEYS.raw(ClaimKey(branch, "web"))
    at = at or 50 + number
    return Entry(key, ClaimRecord((label or f"{branch}-web",)).dump(), at, at, 0)


def state(
    *entries: Entry, revision: int = 1000, cluster: str = "c", ended: Iterable[Entry] = ()
) -> Snapshot:
    return Snapshot(cluster, revision, {one.key: one for one in entries}, tuple(ended))


def served(guard: Brake) -> set[bytes]:
    view = guard.view()
    assert view is not None
    return set(view.entries)


def hosts(guard: Brake) -> dict[str, set[str]]:
    """What each label leads to, by ip."""
    view = guard.view()
    assert view is not None
    return {
        label: {instance.address.ip for instance in route.instances}
        for route in RULES.table(view).routes
        for label in route.labels
    }


ROUTES = [route(n) for n in range(12)]


def test_nothing_is_seen_before_the_first_snapshot() -> None:
    assert brake().view() is None
    assert brake().memorable() is None


def test_an_ordinary_registry_passes_as_it_is() -> None:
    guard = brake()
    snapshot = state(*ROUTES)

    assert guard.saw(snapshot, now=0) is None
    assert guard.view() is snapshot
    assert not guard.asked()


def test_a_container_that_died_is_gone_as_soon_as_it_was_asked() -> None:
    guard = brake()
    guard.saw(state(*ROUTES), now=0)

    assert guard.saw(state(*ROUTES[3:], revision=1001), now=1) is None
    assert guard.asked() == {Address(f"10.0.0.{n}", 80) for n in range(3)}
    assert guard.heard(dict.fromkeys(guard.asked(), False)) == tuple(ROUTES[:3])

    assert served(guard) == {one.key for one in ROUTES[3:]}
    assert guard.held == 0


def test_a_service_whose_lease_was_lost_is_spared_until_its_registrar_is_back() -> None:
    guard = brake()
    guard.saw(state(*ROUTES), now=0)
    guard.saw(state(*ROUTES[1:], revision=1001), now=1)
    guard.heard({Address("10.0.0.0", 80): True})
    assert not guard.tick(1 + TTL_S / 3 + 1)

    assert (guard.held, guard.is_braking) == (1, False)
    assert ROUTES[0].key in served(guard)
    guard.saw(state(*ROUTES, revision=1002), now=7)
    assert guard.held == 0
    assert not guard.asked()


def test_a_service_whose_registrar_is_gone_is_spared_for_half_a_ttl() -> None:
    guard = brake()
    guard.saw(state(*ROUTES), now=0)
    guard.saw(state(*ROUTES[1:], revision=1001), now=1)
    guard.heard({Address("10.0.0.0", 80): True})

    assert guard.tick(1 + TTL_S / 2)
    assert served(guard) == {one.key for one in ROUTES[1:]}


def test_what_was_gone_before_it_was_too_much_comes_back() -> None:
    guard = brake()
    guard.saw(state(*ROUTES), now=0)
    guard.saw(state(*ROUTES[2:], revision=1001), now=1)
    guard.tick(20)
    assert served(guard) == {one.key for one in ROUTES[2:]}

    guard.saw(state(*ROUTES[4:], revision=1002), now=21)

    assert served(guard) == {one.key for one in ROUTES}
    assert (guard.held, guard.is_braking) == (4, True)


def test_more_than_a_quarter_within_the_window_come_back_together() -> None:
    """Leases that are cut off together vanish one by one."""
    guard = brake()
    guard.saw(state(*ROUTES), now=0)
    guard.saw(state(*ROUTES[2:], revision=1001), now=1)
    guard.saw(state(*ROUTES[3:], revision=1002), now=30)

    alarm = guard.saw(state(*ROUTES[4:], revision=1003), now=59)

    assert alarm == Alarm(Doubt.LOSSES, 4, 12)
    assert served(guard) == {one.key for one in ROUTES}
    assert guard.asked() == {Address(f"10.0.0.{n}", 80) for n in range(4)}


def test_losses_that_lie_further_apart_than_the_window_do_not_count_together() -> None:
    guard = brake()
    guard.saw(state(*ROUTES), now=0)
    guard.saw(state(*ROUTES[3:], revision=1001), now=1)
    assert guard.tick(61.5)

    assert guard.saw(state(*ROUTES[4:], revision=1002), now=62) is None
    assert not guard.is_braking


def test_the_window_is_twice_the_ttl_where_that_is_longer() -> None:
    guard = brake()
    slow = [route(n, ttl_s=100) for n in range(12)]
    guard.saw(state(*slow), now=0)
    guard.saw(state(*slow[3:], revision=1001), now=1)
    guard.tick(190)

    assert guard.saw(state(*slow[4:], revision=1002), now=190) == Alarm(Doubt.LOSSES, 4, 12)


@pytest.mark.parametrize(("there", "left"), [(3, 1), (2, 1)])
def test_two_of_few_may_well_die_together(there: int, left: int) -> None:
    guard = brake()
    kept = claim(99)
    guard.saw(state(*ROUTES[:there], kept), now=0)

    assert guard.saw(state(*ROUTES[:left], kept, revision=1001), now=1) is None


def test_once_it_holds_every_further_loss_is_held() -> None:
    guard = brake()
    guard.saw(state(*ROUTES), now=0)
    guard.saw(state(*ROUTES[4:], revision=1001), now=1)

    assert guard.saw(state(*ROUTES[5:], revision=1002), now=5) is None
    assert guard.held == 5
    assert served(guard) == {one.key for one in ROUTES}


def test_leaving_on_purpose_is_never_held_up() -> None:
    """It was draining, be it that this came and went between two looks."""
    guard = brake()
    draining = [route(n, state=State.DRAINING) for n in range(6)]
    guard.saw(state(*ROUTES), now=0)
    guard.saw(state(*draining, *ROUTES[6:], revision=1001), now=1)
    assert guard.saw(state(*ROUTES[6:], revision=1002), now=2) is None

    ended = [route(n, state=State.DRAINING) for n in range(6, 12)]
    assert guard.saw(state(revision=1003), ended=ended, now=3) is None
    assert served(guard) == set()


def test_what_never_got_requests_is_no_loss() -> None:
    guard = brake()
    starting = [route(n, state=State.STARTING) for n in range(12)]
    guard.saw(state(*starting), now=0)

    assert guard.saw(state(revision=1001), now=1) is None


def test_what_a_hand_wrote_a_hand_may_delete() -> None:
    guard = brake()
    by_hand = [route(n, lease=0) for n in range(12)]
    guard.saw(state(*by_hand), now=0)

    assert guard.saw(state(revision=1001), now=1) is None
    assert served(guard) == set()


def test_a_record_that_is_left_out_anyway_is_no_loss() -> None:
    guard = brake()
    bad = [route(n, ip=f"169.254.0.{n}") for n in range(1, 12)]
    guard.saw(state(*bad), now=0)

    assert guard.saw(state(revision=1001), now=1) is None


def test_a_registry_that_is_suddenly_empty_keeps_even_one_route_with_its_claim() -> None:
    guard = brake()
    guard.saw(state(route(1), claim(1, label="b1-web")), now=0)

    assert guard.saw(state(revision=1001), now=1) == Alarm(Doubt.EMPTY, 1, 1)
    assert served(guard) == {route(1).key, claim(1).key}


def test_the_last_container_of_all_may_die() -> None:
    """Claims stay when a lease ends, so the registry is not empty."""
    guard = brake()
    guard.saw(state(route(1), claim(1)), now=0)

    assert guard.saw(state(claim(1), revision=1001), now=20) is None
    guard.heard({Address("10.0.0.1", 80): False})
    assert served(guard) == {claim(1).key}


@pytest.mark.parametrize(
    ("cluster", "revision", "doubt"),
    [("other", 5000, Doubt.ELSEWHERE), ("c", 3, Doubt.BACKWARDS)],
)
def test_another_history_takes_nothing_away(cluster: str, revision: int, doubt: Doubt) -> None:
    guard = brake()
    by_hand = route(3, lease=0)
    guard.saw(state(route(1), claim(1), by_hand), now=0)

    alarm = guard.saw(state(cluster=cluster, revision=revision), now=1)

    assert alarm == Alarm(doubt, 2, 2)
    assert served(guard) == {route(1).key, claim(1).key, by_hand.key}


def test_another_history_that_lacks_nothing_raises_no_alarm() -> None:
    guard = brake()
    guard.saw(state(route(1), claim(1)), now=0)

    assert guard.saw(state(route(1), claim(1), cluster="other"), now=1) is None
    assert guard.held == 0


def test_what_is_registered_again_is_let_go_one_by_one() -> None:
    guard = brake()
    guard.saw(state(*ROUTES), now=0)
    guard.saw(state(cluster="new", revision=1), now=1)
    assert guard.held == 12

    again = [route(n, at=n + 2, lease=2) for n in range(12)]
    guard.saw(state(*again[:5], cluster="new", revision=20), now=2)
    assert guard.held == 7
    guard.saw(state(*again, cluster="new", revision=30), now=3)
    assert guard.held == 0
    assert served(guard) == {one.key for one in again}


def test_a_new_incarnation_at_the_same_address_is_registered_again_as_well() -> None:
    guard = brake()
    guard.saw(state(route(1)), now=0)
    guard.saw(state(cluster="new", revision=1), now=1)

    other = route(2, branch="b1", ip="10.0.0.1", at=2)
    guard.saw(state(other, cluster="new", revision=2), now=2)

    assert served(guard) == {other.key}


def test_a_sidecar_that_comes_back_to_a_running_service_leaves_it_be() -> None:
    guard = brake()
    guard.saw(state(route(1)), now=0)
    guard.saw(state(cluster="new", revision=1), now=1)

    other = route(2, branch="b1", ip="10.0.0.1", at=2, state=State.STARTING)
    guard.saw(state(other, cluster="new", revision=2), now=2)

    assert hosts(guard)["b1"] == {"10.0.0.1"}


def test_an_address_that_somebody_else_has_now_is_let_go() -> None:
    guard = brake()
    guard.saw(state(*ROUTES), now=0)
    guard.saw(state(*ROUTES[4:], revision=1001), now=1)

    newcomer = route(50, ip="10.0.0.0", at=1002, state=State.STARTING)
    guard.saw(state(*ROUTES[4:], newcomer, revision=1002), now=2)

    assert guard.held == 3
    assert hosts(guard)["b50-web"] == set()
    assert "b0-web" not in hosts(guard)


def test_an_address_that_an_older_record_names_is_still_the_lost_ones() -> None:
    """A restore brings back who had the address before; its container is gone."""
    guard = brake()
    stale, holder = route(1, at=10), route(2, ip="10.0.0.1", at=20)
    guard.saw(state(stale, holder, revision=30), now=0)
    assert hosts(guard)["b2-web"] == {"10.0.0.1"}

    guard.saw(state(stale, revision=15), now=1)

    assert hosts(guard)["b2-web"] == {"10.0.0.1"}
    assert hosts(guard).get("b1-web", set()) == set()


def test_what_does_not_answer_is_dropped_and_the_rest_is_kept() -> None:
    guard = brake()
    guard.saw(state(*ROUTES), now=0)
    guard.saw(state(*ROUTES[4:], revision=1001), now=1)
    answers = {Address("10.0.0.0", 80): False, Address("10.0.0.1", 80): True}

    assert all(not guard.heard(answers) for _ in range(DEAF - 1))
    assert guard.heard(answers) == (ROUTES[0],)
    assert guard.held == 3
    assert ROUTES[1].key in served(guard)


def test_one_refusal_between_answers_may_be_a_restart() -> None:
    guard = brake()
    guard.saw(state(*ROUTES), now=0)
    guard.saw(state(*ROUTES[4:], revision=1001), now=1)
    address = Address("10.0.0.0", 80)

    for accepts in (False, True) * 5:
        assert not guard.heard({address: accepts})
    assert guard.held == 4


def release(revision: int) -> Entry:
    return Entry(KEYS.raw(ReleaseKey()), b"me", revision, revision, 7)


def test_an_operator_lets_go() -> None:
    guard = brake()
    guard.saw(state(*ROUTES), now=0)
    guard.saw(state(*ROUTES[4:], revision=1001), now=1)

    assert guard.saw(state(*ROUTES[4:], release(1002), revision=1002), now=2) is None

    assert guard.held == 0
    assert not guard.asked()


def test_a_release_holds_for_what_was_lost_before_it_alone() -> None:
    guard = brake()
    guard.saw(state(*ROUTES, release(999)), now=0)

    assert guard.saw(state(release(999), revision=1001), now=1) == Alarm(Doubt.EMPTY, 12, 12)
    assert guard.held == 12


def test_a_backup_of_the_same_store_keeps_newer_values_and_doubts_who_had_left() -> None:
    guard = brake()
    gone, young, other = route(1, at=10), route(2, at=11), route(3, at=12)
    older = young._replace(
        value=InstanceRecord(Address("10.0.0.2", 80), State.STARTING).dump(), mod_revision=9
    )
    guard.saw(state(young, other, revision=900), now=0)

    guard.saw(state(gone, older, other, revision=20), now=1)

    # the one had left before the backup was put back; the other's registrar will write it anew
    assert hosts(guard) == {"b2-web": {"10.0.0.2"}, "b2": {"10.0.0.2"}} | {
        "b3-web": {"10.0.0.3"},
        "b3": {"10.0.0.3"},
    }
    assert not guard.tick(1 + TTL_S)
    assert guard.tick(1 + TTL_S + EXPIRY_S)
    assert gone.key in served(guard)


def test_a_ghost_that_is_written_anew_has_somebody_behind_it() -> None:
    guard = brake()
    ghost, other = route(1, at=10), route(2, at=11)
    guard.saw(state(other, revision=900), now=0)
    guard.saw(state(ghost, other, revision=20), now=1)
    assert ghost.key not in served(guard)

    guard.saw(state(ghost._replace(mod_revision=21), other, revision=21), now=2)

    assert ghost.key in served(guard)


def test_a_ghost_whose_lease_ends_is_no_loss() -> None:
    guard = brake()
    ghosts, other = [route(n, at=10 + n) for n in range(2, 9)], route(1, at=5)
    guard.saw(state(other, revision=900), now=0)
    guard.saw(state(*ghosts, other, revision=20), now=1)

    assert guard.saw(state(other, revision=21), now=2) is None
    assert guard.held == 0


def test_a_ghost_that_cannot_be_read_waits_like_any_other() -> None:
    guard = brake()
    ghost = route(1, at=10)._replace(value=b"\xff")
    guard.saw(state(route(2, at=11), revision=900), now=0)
    guard.saw(state(ghost, route(2, at=11), revision=20), now=1)

    assert ghost.key not in served(guard)


def test_hand_written_routes_are_as_the_backup_has_them() -> None:
    guard = brake()
    leased, old, removed = route(1, at=5), route(2, lease=0, at=10), route(3, lease=0, at=11)
    new = old._replace(value=b"10.0.0.77:80", mod_revision=800)
    guard.saw(state(leased, new, revision=900), now=0)

    guard.saw(state(leased, old, removed, revision=20), now=1)

    assert hosts(guard)["b2-web"] == {"10.0.0.2"}
    assert hosts(guard)["b3-web"] == {"10.0.0.3"}


def test_lost_claims_are_forgotten_when_nothing_needs_them() -> None:
    guard = brake()
    guard.saw(state(*ROUTES, claim(50)), now=0)
    guard.saw(state(*ROUTES, revision=1001), now=1)
    guard.tick(1 + WINDOW_S)

    guard.saw(state(*ROUTES[4:], revision=1002), now=70)

    assert claim(50).key not in served(guard)


def test_a_restart_beside_an_empty_registry_goes_on_serving() -> None:
    before = brake()
    before.saw(state(*ROUTES, claim(1)), now=0)
    memory = before.memorable()
    assert memory is not None

    after = brake(memory)
    assert after.saw(state(cluster="new", revision=1), now=100) == Alarm(Doubt.ELSEWHERE, 12, 12)
    assert served(after) == {one.key for one in ROUTES} | {claim(1).key}


def test_a_restart_goes_on_holding() -> None:
    before = brake()
    before.saw(state(*ROUTES, claim(1)), now=0)
    before.saw(state(*ROUTES[4:], revision=1001), now=1)
    memory = before.memorable()
    assert memory is not None

    after = brake(memory)
    after.saw(state(*ROUTES[4:], revision=1002), now=100)

    assert after.held == 4
    assert served(after) == {one.key for one in ROUTES} | {claim(1).key}


@pytest.mark.parametrize(("is_recent", "held"), [(True, 12), (False, 0)])
def test_what_was_lost_during_a_restart_counts_if_that_was_short(
    is_recent: bool,
    held: int,
) -> None:
    guard = brake(Memory(state(*ROUTES), is_recent=is_recent))

    guard.saw(state(revision=1001), now=0)

    assert guard.held == held


def test_a_second_history_is_newer_than_both_before() -> None:
    """Restored twice: ages keep their order, however often they are set back."""
    guard = brake()
    guard.saw(state(route(1, ip="10.0.0.9"), revision=500), now=0)
    guard.saw(state(cluster="second", revision=1), now=1)
    guard.saw(state(route(2, ip="10.0.0.8", at=2), cluster="second", revision=2), now=2)
    guard.saw(state(cluster="third", revision=1), now=3)
    assert guard.held == 2

    guard.saw(state(route(3, ip="10.0.0.9", at=2), cluster="third", revision=2), now=4)

    assert hosts(guard)["b3-web"] == {"10.0.0.9"}
    assert guard.held == 1


def test_a_release_that_a_backup_brings_back_was_said_of_another_day() -> None:
    guard = brake()
    guard.saw(state(*ROUTES), now=0)

    assert guard.saw(state(release(3), revision=10), now=1) == Alarm(Doubt.BACKWARDS, 12, 12)
    assert guard.held == 12
    assert guard.saw(state(release(11), revision=11), now=2) is None
    assert guard.held == 0


def test_a_release_ends_all_doubt() -> None:
    guard = brake()
    ghost, older, other = route(1, at=10), route(2, at=11), route(3, at=12)
    guard.saw(state(older._replace(mod_revision=99), other, revision=900), now=0)
    guard.saw(state(ghost, older, other, revision=20), now=1)

    guard.saw(state(ghost, older, other, release(21), revision=21), now=2)

    assert guard.view() == state(ghost, older, other, release(21), revision=21)


def test_who_has_had_the_address_all_along_has_it_again_when_its_lease_has_proved_alive() -> None:
    """The lost one had taken it by mistake."""
    guard = brake()
    owner, mistaken = route(50, ip="10.0.0.1", at=50), route(1, at=200)
    others = [route(n) for n in range(2, 6)]
    guard.saw(state(owner, mistaken, *others), now=0)
    guard.saw(state(owner, revision=1001), now=1)
    assert hosts(guard)["b1-web"] == {"10.0.0.1"}

    guard.saw(state(owner, revision=1002), now=1 + TTL_S + EXPIRY_S)

    assert hosts(guard)["b50-web"] == {"10.0.0.1"}
    assert "b1-web" not in hosts(guard)


def test_a_branch_that_is_removed_while_it_is_held_is_gone() -> None:
    guard = brake()
    claims = [claim(n) for n in range(12)]
    guard.saw(state(*ROUTES, *claims), now=0)
    guard.saw(state(*claims, revision=1001), now=1)
    assert guard.held == 12

    guard.saw(state(*claims[1:], revision=1002), ended=[claims[0]], now=2)

    assert guard.held == 11
    assert ROUTES[0].key not in served(guard)


@given(st.data())
def test_whatever_comes_the_view_holds_what_the_registry_has(data: st.DataObject) -> None:
    """Nothing that is registered, and was not brought back by a restore, is ever left out."""
    guard = brake()
    revision = 1
    for now in range(data.draw(st.integers(1, 6))):
        numbers = data.draw(st.sets(st.integers(0, 11)))
        revision += data.draw(st.integers(1, 5))
        fresh = state(*(route(n, at=revision) for n in numbers), revision=revision)
        guard.saw(fresh, now=now * 10.0)
        guard.heard(dict.fromkeys(guard.asked(), data.draw(st.booleans())))
        guard.tick(now * 10.0)
        assert served(guard) >= set(fresh.entries)
        assert len(served(guard)) == len(fresh.entries) + guard.held
