"""``branchfront demo --check``: each URL is asked once, and what came back stands in a table."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import click

from standalone.answers import OK, Answer, ask
from standalone.demo import WITHIN_S, Demo
from standalone.samples import title
from standalone.table import render_table
from standalone.timeline import Moment, Name

STOPPED: Name = ("feature/login", "api")
"""The service that is stopped."""

GONE = 503
"""A claim without an instance."""


@dataclass(frozen=True, slots=True)
class Row:
    """One URL that was asked.

    Attributes:
        status: Of the answer; 0 where none came, or nobody was asked since it was too late.
        change: What had been done to the service.
        took_s: From then until the frontend had applied it.
        is_right: Whether the status is right, and the right service answered.
    """

    name: Name
    url: str
    status: int
    change: str
    took_s: float
    is_right: bool


def check(demo: Demo) -> tuple[Row, ...]:
    """Ask every URL, stop one service, ask for that one again."""
    urls = demo.samples.urls()
    rows = [_ask_served(demo, name, url) for name, found in urls.items() for url in found]
    stopped_at = demo.timeline.clock()
    demo.samples.end_one(STOPPED)
    demo.timeline.follow_until(lambda: bool(demo.timeline.let_go(STOPPED)), within_s=WITHIN_S)
    gone = demo.timeline.let_go(STOPPED)
    rows.append(_ask_gone(demo, urls[STOPPED][0], gone, stopped_at=stopped_at))
    return tuple(rows)


def report(rows: tuple[Row, ...]) -> str:
    """The table and a last line that says what it comes to."""
    cells = [
        (
            *row.name,
            row.url,
            click.style(str(row.status or "-"), fg="green" if row.is_right else "red"),
            row.change,
            f"{row.took_s * 1000:.0f} ms",
        )
        for row in rows
    ]
    header = ("branch", "service", "URL", "status", "from", "time")
    table = render_table(header, cells, right=1)
    wrong = sum(not row.is_right for row in rows)
    if wrong:
        verdict = click.style(f"{wrong} of {len(rows)} answers are wrong", fg="red")
    else:
        verdict = click.style(f"all {len(rows)} answers are right", fg="green")
    return f"{table}\n\n{verdict}"


def _ask_served(demo: Demo, name: Name, url: str) -> Row:
    written, served = demo.timeline.ready[name], demo.timeline.served(name)
    took_s = served.at - written.at if served else 0.0
    status, is_right = _ask(
        demo, url, lambda answer: answer.status == OK and title(*name) in answer.body
    )
    return Row(name, url, status, "put to served", took_s, is_right)


def _ask_gone(demo: Demo, url: str, gone: Moment | None, *, stopped_at: float) -> Row:
    if gone is None:
        return Row(STOPPED, url, 0, "SIGTERM to 503", WITHIN_S, is_right=False)
    status, is_right = _ask(demo, url, lambda answer: answer.status == GONE)
    return Row(STOPPED, url, status, "SIGTERM to 503", gone.at - stopped_at, is_right)


def _ask(demo: Demo, url: str, judge: Callable[[Answer], bool]) -> tuple[int, bool]:
    """Ask once: a second try would hide what a person at a browser sees."""
    try:
        answer = ask(demo.frontend.port, urlsplit(url).netloc)
    except OSError:
        return 0, False
    return answer.status, judge(answer)
