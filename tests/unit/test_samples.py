"""What the sample services say, and the tables of the demo."""

import json

import click

from standalone.checking import Row, report
from standalone.samples import Sample
from standalone.table import render_table

ROW = Row(("main", "web"), "http://main.localhost:8080", 200, "put to served", 0.0845, True)


def test_nothing_in_a_name_or_header_becomes_markup() -> None:
    evil = '<script>"&'
    page = Sample(evil, "web", "127.0.0.1:1", {evil: f"http://{evil}"}).page({"Host": evil})

    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert 'href="http://&lt;script&gt;&quot;&amp;"' in page


def test_the_page_and_the_document_say_who_answers() -> None:
    page = Sample("feature/login", "web", "127.0.0.1:1").page({"Host": "feature-login.localhost"})
    document = json.loads(Sample("main", "api", "127.0.0.1:2").document({"Host": "h"}))

    assert "<title>feature/login web</title>" in page
    assert "feature-login.localhost" in page
    assert (document["title"], document["headers"]) == ("main api", {"Host": "h"})


def test_two_branches_are_told_apart_by_colour() -> None:
    one, two = (Sample(name, "web", "").page({}) for name in ("main", "feature/login"))

    assert one.partition("--hue: ")[2][:3] != two.partition("--hue: ")[2][:3]


def test_a_table_is_aligned_whatever_its_colours() -> None:
    table = render_table(("a", "b"), [(click.style("long", fg="red"), "x"), ("s", "y")])

    assert click.unstyle(table) == "a     b\nlong  x\ns     y"


def test_a_report_has_a_row_for_each_url_and_says_what_it_comes_to() -> None:
    text = click.unstyle(report((ROW,)))

    assert text.splitlines()[0] == (
        "branch  service  URL                         status  from            time"
    )
    assert text.splitlines()[1] == (
        "main    web      http://main.localhost:8080  200     put to served  84 ms"
    )
    assert text.endswith("\n\nall 1 answers are right")


def test_a_report_counts_the_wrong_ones() -> None:
    wrong = Row(("main", "api"), "http://main-api.localhost", 0, "put to served", 0.0, False)

    text = click.unstyle(report((ROW, wrong)))

    assert "http://main-api.localhost   -  " in text
    assert text.endswith("\n\n1 of 2 answers are wrong")
