"""Included: trouble that takes turns, and trouble that never says the same twice."""

from registrar.news import KEPT_MOST, REPEAT_S, News


def test_what_is_told_is_not_told_again_for_a_while() -> None:
    news = News()

    told = [(at, text) for at in range(0, 130, 5) for text in "ab" if news.is_new(text, at)]

    assert told == [(0, "a"), (0, "b"), (60, "a"), (60, "b"), (120, "a"), (120, "b")]


def test_what_comes_after_an_end_is_new() -> None:
    news = News()
    assert news.is_new("a", 0)
    news.forget()

    assert news.is_new("a", 1)


def test_no_more_is_remembered_than_troubles_take_turns() -> None:
    news = News()

    assert all(news.is_new(str(number), 0) for number in range(10 * KEPT_MOST))
    assert not news.is_new(str(10 * KEPT_MOST - 1), REPEAT_S - 1)
    assert news.is_new("0", REPEAT_S - 1)
