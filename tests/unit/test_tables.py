"""Included: tables as lines of text, and ages. Excluded: what a terminal makes of them."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.tables import Cell, Page, Tone, age, cut, plain_row, width_of

COLOURS = re.compile("\x1b\\[[0-9]*m")

texts = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=12)

tables = st.integers(1, 5).flatmap(
    lambda columns: st.lists(
        st.tuples(*[st.builds(Cell, texts, st.sampled_from(Tone))] * columns), min_size=1
    )
)


def test_columns_are_as_wide_as_they_need_to_be() -> None:
    rows = [plain_row("A", "BEE", "C"), plain_row("long", "b", "c"), plain_row("a", "7", "")]

    assert Page().table(rows, right={1}) == ["A     BEE  C", "long    b  c", "a       7"]


def test_wide_letters_and_marks_are_counted_as_a_terminal_draws_them() -> None:
    rows = [plain_row("日本", "x"), plain_row("e\u0301te\u0301", "x"), plain_row("abcd", "x")]

    assert Page().table(rows) == ["日本  x", "e\u0301te\u0301   x", "abcd  x"]
    assert width_of("日本e\u0301") == 5


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("login", 5, "login"),
        ("login", 4, "log…"),
        ("login", 1, "…"),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
    ],
)
def test_what_is_cut_says_so(text: str, columns: int, shown: str) -> None:
    assert cut(text, columns) == shown


@given(tables, st.integers(1, 60), st.sets(st.integers(0, 4)), st.sets(st.integers(0, 4)))
def test_no_line_is_wider_than_the_page(
    rows: list[tuple[Cell, ...]], columns: int, right: set[int], yielding: set[int]
) -> None:
    lines = Page(columns=columns).table(rows, right=right, yielding=yielding)

    assert len(lines) == len(rows)
    assert all(width_of(line) <= columns for line in lines)


@given(tables)
def test_without_a_width_nothing_is_cut_and_nothing_coloured(rows: list[tuple[Cell, ...]]) -> None:
    lines = Page().table(rows)

    for row, line in zip(rows, lines, strict=True):
        assert "\x1b" not in line
        assert all(cell.text in line for cell in row)


@given(tables, st.integers(1, 60))
def test_colours_change_no_letter(rows: list[tuple[Cell, ...]], columns: int) -> None:
    plain = Page(columns=columns).table(rows)
    coloured = Page(columns=columns, is_coloured=True).table(rows)

    assert [COLOURS.sub("", line).rstrip() for line in coloured] == plain


def test_the_widest_is_cut_first_and_what_yields_before_it() -> None:
    rows = [plain_row("a" * 20, "b" * 12, "c" * 12)]

    assert Page(columns=40).table(rows) == [f"{'a' * 11}…  {'b' * 12}  {'c' * 12}"]
    yielded = Page(columns=44).table(rows, yielding={1})
    assert yielded == [f"{'a' * 20}  {'b' * 7}…  {'c' * 12}"]
    # below that all of them
    assert Page(columns=40).table(rows, yielding={1}) == [f"{'a' * 15}…  {'b' * 7}…  {'c' * 12}"]


def test_tones_are_those_of_a_terminal_and_end_with_their_cell() -> None:
    page = Page(is_coloured=True)

    assert page.table([(Cell("ok", Tone.GOOD), Cell("x"))]) == ["\x1b[32mok\x1b[0m  x"]
    assert page.line("oh", Tone.BAD) == "\x1b[31moh\x1b[0m"
    assert Page(columns=3, is_coloured=True).line("long", Tone.DIM) == "\x1b[2mlo…\x1b[0m"


@pytest.mark.parametrize(
    ("since", "told"),
    [
        ("2026-11-21T09:00:00Z", "5s"),
        ("2026-11-21T08:59:00.5Z", "1m"),
        ("2026-11-20T09:00:05Z", "1d"),
        ("2026-11-21T09:30:00Z", "0s"),
        ("", "-"),
        ("soon", "-"),
        ("2026-11-21", "9h"),
    ],
)
def test_an_age_is_told_in_the_largest_unit(since: str, told: str) -> None:
    now = datetime(2026, 11, 21, 9, 0, 5, tzinfo=UTC).timestamp()

    assert age(since, now=now) == told
