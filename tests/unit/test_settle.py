"""At once after quiet, together while busy, and never later than the limit."""

from hypothesis import given
from hypothesis import strategies as st

from regenerator.settle import Settle

PAUSE_S = 0.25  # a sum of powers of two, so that sums are exact
BUDGET = 8
LONGEST_S = 60.0

QUIET = Settle(PAUSE_S, BUDGET)


def test_nothing_changed_so_there_is_nothing_to_wait_for() -> None:
    assert QUIET.wait_s(100.0) is None
    assert QUIET.ended(100.0, old_generations=0).wait_s(100.0) is None


def test_the_first_change_after_quiet_waits_for_nothing() -> None:
    assert QUIET.saw_change().wait_s(100.0) == 0
    assert QUIET.ended(100.0, old_generations=0).saw_change().wait_s(100.0 + PAUSE_S) == 0


def test_changes_while_a_run_is_on_are_taken_by_one_run_behind_the_pause() -> None:
    running = QUIET.saw_change().began()
    assert running.wait_s(100.0) is None

    ended = running.saw_change().saw_change().ended(100.0, old_generations=0)

    assert ended.wait_s(100.0) == PAUSE_S
    assert ended.wait_s(100.0 + PAUSE_S) == 0
    assert ended.began().wait_s(200.0) is None


def test_old_generations_over_the_budget_make_the_pause_longer() -> None:
    def pause_s(old_generations: int) -> float | None:
        return QUIET.saw_change().ended(0.0, old_generations=old_generations).wait_s(0.0)

    assert pause_s(BUDGET) == PAUSE_S
    assert pause_s(BUDGET + 1) == 2 * PAUSE_S
    assert pause_s(BUDGET + 3) == 8 * PAUSE_S
    assert pause_s(10_000) == LONGEST_S


def test_a_pause_that_was_set_longer_than_the_limit_stays_as_it_was_set() -> None:
    slow = Settle(90.0, BUDGET).saw_change().ended(0.0, old_generations=10_000)

    assert slow.wait_s(0.0) == 90.0


@given(
    pause_s=st.floats(0, LONGEST_S),
    budget=st.integers(0, 100),
    events=st.lists(st.tuples(st.sampled_from("cbe"), st.floats(0, 100), st.integers(0, 10_000))),
)
def test_a_change_is_never_held_up_for_longer_than_the_limit(
    pause_s: float, budget: int, events: list[tuple[str, float, int]]
) -> None:
    settle, now = Settle(pause_s, budget), 0.0
    for event, later_s, old in events:
        now += later_s
        match event:
            case "c":
                settle = settle.saw_change()
            case "b":
                settle = settle.began()
            case _:
                settle = settle.ended(now, old_generations=old)

    wait_s = settle.saw_change().wait_s(now)

    assert wait_s is not None
    assert 0 <= wait_s <= LONGEST_S + 1e-6
