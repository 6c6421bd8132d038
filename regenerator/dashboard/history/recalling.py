"""``regenerator history`` and ``regenerator diff``: asked of the file, beside whoever writes it."""

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from regenerator.dashboard.history.archive import VERSION, About
from regenerator.dashboard.history.moments import FORMS, local, parse_moment, zone_of
from regenerator.dashboard.history.past import Generation, Past
from regenerator.dashboard.history.telling import (
    changes_document,
    diff_document,
    served_document,
    tell_changes,
    tell_diff,
    tell_served,
    tell_silence,
)
from registry.faults import NotRecorded, UsageInvalid
from registry.tables import Page, Tone

FILE = "history.db"

NAMED = 5
"""Generations that are named to somebody who asks for one that is not known."""

WAIT_S = 5.0
"""For a lock: a writer needs less than one."""

_NAME = re.compile("[0-9a-f]{1,12}")


def tell_history(
    state: Path,
    branch: str,
    service: str,
    *,
    at: str,
    limit: int,
    as_json: bool,
    page: Page,
    clock: Callable[[], float] = time.time,
) -> str:
    """The last changes, or what was served at a time.

    Args:
        branch: By its name; a host will do as well. Empty for all.
        at: A time, as people write it; empty for the changes.

    Raises:
        NotRecorded: There is no history, or none of what was asked for.
        UsageInvalid: The time is none.
    """
    now = clock()
    with opened(state) as (past, about):
        branch, service = _find(past, branch, service)
        if at:
            return _tell_served(
                past, branch, service, at=_moment(at, now), as_json=as_json, page=page
            )
        newest = past.changes(branch=branch, service=service, limit=limit)
        changes = newest[::-1]
        if as_json:
            return changes_document(changes)
        lines = tell_changes(changes, page) if changes else [_nothing(about)]
        if len(changes) == limit:
            lines.insert(0, page.line(f"the last {limit}; --limit has more", Tone.DIM))
        return "\n".join(lines + tell_silence(about, now=now, page=page))


def tell_difference(
    state: Path,
    before: str,
    after: str,
    *,
    as_json: bool,
    page: Page,
    clock: Callable[[], float] = time.time,
) -> str:
    """What two generations differ in.

    Args:
        before: A generation, or the beginning of its name, a time, or ``now``.
        after: Likewise.

    Raises:
        NotRecorded: One of them is not known.
        UsageInvalid: One of them is nothing of these, or there are several that begin so.
    """
    with opened(state) as (past, _):
        one, other = (_point(past, text, now=clock()) for text in (before, after))
        old, new = past.served(one), past.served(other)
    if as_json:
        return diff_document((one, other), old, new)
    return "\n".join(tell_diff((one, other), old, new, page=page))


@contextmanager
def opened(state: Path) -> Iterator[tuple[Past, About]]:
    """The history of a state folder; nothing of it is written.

    Raises:
        NotRecorded: There is none, or it cannot be read.
    """
    path = state / FILE
    try:
        path.stat()
    except OSError as exc:
        raise NotRecorded(
            f"there is no history in {state} ({exc.strerror}): --state names the folder of a"
            " regenerator run, which writes one as soon as it serves"
        ) from exc
    try:
        db = _connect(path)
        try:
            # one state of it for all questions
            db.execute("BEGIN")
            [version] = db.execute("PRAGMA user_version").fetchone()
            if version != VERSION:
                raise NotRecorded(f"{path} has version {version}; this program reads {VERSION}")
            past = Past(db)
            about = past.about()
            if about is None:
                raise NotRecorded(f"the history in {state} has not begun: nothing was served yet")
            yield past, about
        finally:
            db.close()
    except sqlite3.Error as exc:
        raise NotRecorded(f"{path} cannot be read: {exc}") from exc


def _connect(path: Path) -> sqlite3.Connection:
    # as_uri escapes what means something in a URI
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        db = sqlite3.connect(uri, uri=True, timeout=WAIT_S, isolation_level=None)
        db.execute("SELECT 1 FROM about")
    except sqlite3.OperationalError:
        if path.with_name(f"{path.name}-wal").exists():
            raise
        # whoever may not write in the folder can read what nobody writes
        db = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
    return db


def _find(past: Past, branch: str, service: str) -> tuple[str, str]:
    """Whose history is asked for: a branch and maybe a service of it, or the owner of a host."""
    if not branch or past.knows(branch, service):
        return branch, service
    owner = past.owner_of(branch) if not service else None
    if owner is None:
        what = f"service {service!r} of branch {branch!r}" if service else f"branch {branch!r}"
        raise NotRecorded(f"nothing is known of {what}; regenerator history lists what is")
    return owner


def _tell_served(
    past: Past, branch: str, service: str, *, at: float, as_json: bool, page: Page
) -> str:
    generation = past.generation_at(at) or _none_at(past, at)
    served, gap = past.served(generation, branch, service), past.gap_at(at)
    if as_json:
        return served_document(at, generation, served, gap=gap)
    lines = tell_served(at, generation, served, gap=gap, page=page)
    if not served:
        what = " ".join(filter(None, (branch, service))) or "anybody"
        lines.append(f"nothing led to {what}")
    if branch and not any(one.address for one in served):
        known = past.changes(branch=branch, service=service, limit=1, before_at=at)
        lines += ["what had become of it:", *tell_changes(known, page)] if known else []
    return "\n".join(lines)


def _point(past: Past, text: str, *, now: float) -> Generation:
    if text == "now":
        return past.newest_generation() or _none_at(past, now)
    if not _NAME.fullmatch(text):
        try:
            at = parse_moment(text, now=now)
        except ValueError as exc:
            raise UsageInvalid(
                f"{text[:40]!r} is no generation (12 hex digits, or how they begin), no time such"
                f" as {FORMS}, and not 'now'"
            ) from exc
        return past.generation_at(at) or _none_at(past, at)
    found = past.generations_called(text)
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(one.name for one in found[:NAMED])
        raise UsageInvalid(f"{text} begins several generations: {names}; say more of it")
    # one that was served twice is named once
    known = {one.name: one for one in reversed(past.generations(limit=NAMED))}
    newest = ", ".join(f"{one.name} ({local(one.at)})" for one in reversed(known.values()))
    raise NotRecorded(f"generation {text} is not known; the newest are {newest or 'none'}")


def _none_at(past: Past, at: float) -> Generation:
    about = past.about()
    begin = f"{local(about.began_at)} {zone_of([about.began_at])}" if about else "now"
    raise NotRecorded(
        f"what was served at {local(at)} is not known: this history begins at {begin}"
    )


def _nothing(about: About) -> str:
    return f"nothing has changed since {local(about.began_at)}, when this history began"


def _moment(text: str, now: float) -> float:
    try:
        return parse_moment(text, now=now)
    except ValueError as exc:
        raise UsageInvalid(f"--at: {exc}") from exc
