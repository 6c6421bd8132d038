"""The registry, or parts of it, for who looks at it for as long as he likes.

What ``--watch`` of a command does, whatever the command shows.
"""

import queue
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import click

from registry.etcd import Etcd
from registry.faults import Fault
from registry.following import Follower
from registry.screen import Screen, page_of_stdout
from registry.snapshot import Snapshot
from registry.tables import Page, Tone
from registry.terminal import escaped

TICK_S = 1.0
"""Between two pictures on a terminal where nothing changes but the ages."""


class Seen(NamedTuple):
    """What is known now.

    Attributes:
        snapshots: One for each prefix, in their order.
        fault: Why it may be old; None if etcd answers.
    """

    snapshots: tuple[Snapshot, ...]
    fault: Fault | None = None


class Picture(NamedTuple):
    """What is shown of it.

    Attributes:
        subject: What it is of; on a pipe one subject is shown once.
        document: It all as JSON.
        lines: It all for people, for the page that they have.
        remarks: What there is to say besides, as sentences.
    """

    subject: object
    document: Callable[[], str]
    lines: Callable[[Page], list[str]]
    remarks: tuple[str, ...] = ()


Draw = Callable[[Sequence[Snapshot]], Picture]
"""Makes a picture of what lies below some prefixes."""

_News = Snapshot | Fault | BaseException | None
_Inbox = queue.SimpleQueue[tuple[int, _News]]


def show_once(picture: Picture, *, program: str, as_json: bool) -> None:
    """Show a picture on stdout, and what there is to say besides on stderr."""
    click.echo(picture.document() if as_json else "\n".join(picture.lines(page_of_stdout())))
    for one in picture.remarks:
        click.echo(escaped(f"{program}: {one}"), err=True)


def show_for_ever(
    etcd: Etcd, prefixes: Sequence[bytes], draw: Draw, *, program: str, as_json: bool
) -> None:
    """Show what is known, and again whenever it changes: on a terminal each over the one before.

    Raises:
        Fault: Before anything was shown: what could not be read.
    """
    viewer = _Viewer(program, as_json=as_json)
    known: tuple[Snapshot, ...] = ()
    picture: Picture | None = None
    for seen in watch(etcd, prefixes, ticks=viewer.redraws):
        if picture is None or seen.snapshots != known:
            known, picture = seen.snapshots, draw(seen.snapshots)
        viewer.show(picture, seen.fault)


def watch(etcd: Etcd, prefixes: Sequence[bytes], *, ticks: bool) -> Iterator[Seen]:
    """Yield what is known once all of it is, and whenever some of it has changed; for ever.

    Args:
        ticks: Yield each second as well.

    Raises:
        Fault: Before there was anything to yield: what could not be read.
    """
    inbox: _Inbox = queue.SimpleQueue()
    followers = [_follow(etcd, prefix, at=at, inbox=inbox) for at, prefix in enumerate(prefixes)]
    snapshots: dict[int, Snapshot] = {}
    faults: dict[int, Fault] = {}
    try:
        while True:
            for at, news in _take(inbox, within_s=TICK_S if ticks else None):
                faults.pop(at, None)
                match news:
                    case Snapshot():
                        snapshots[at] = news
                    case Fault():
                        faults[at] = news
                    case BaseException():
                        raise news
                    case None:
                        pass  # etcd answers again
            fault = next(iter(faults.values()), None)
            if len(snapshots) == len(prefixes):
                yield Seen(tuple(snapshots[at] for at in range(len(prefixes))), fault)
            elif fault is not None:
                raise fault
    finally:
        for follower in followers:
            follower.stop()


class _Viewer:
    """Shows pictures on stdout, one over the other on a terminal, else one after the other."""

    def __init__(self, program: str, *, as_json: bool) -> None:
        self._program = program
        self._as_json = as_json
        self.redraws = bool(page_of_stdout().lines) and not as_json
        self._screen = Screen()
        self._shown: object = None
        self._remarked: tuple[str, ...] = ()

    def show(self, picture: Picture, fault: Fault | None) -> None:
        """Show a picture, and why it may be old."""
        old = (f"{fault}; this may be old",) if fault else ()
        if self.redraws:
            page = page_of_stdout()
            lines = picture.lines(page)
            lines += [page.line(escaped(one), Tone.DOUBTFUL) for one in picture.remarks]
            lines += [page.line(escaped(one), Tone.BAD) for one in old]
            self._screen.draw(lines, page)
            return
        if picture.subject != self._shown:
            if self._as_json:
                click.echo(picture.document())
            else:
                # a blank line between two tables
                before = [""] if self._shown is not None else []
                click.echo("\n".join([*before, *picture.lines(page_of_stdout())]))
            self._shown = picture.subject
        self._remark((*picture.remarks, *old))

    def _remark(self, remarks: tuple[str, ...]) -> None:
        """Tell on stderr what has not been told."""
        for one in remarks:
            if one not in self._remarked:
                click.echo(escaped(f"{self._program}: {one}"), err=True)
        self._remarked = remarks


def _follow(etcd: Etcd, prefix: bytes, *, at: int, inbox: _Inbox) -> Follower:
    follower = Follower(
        etcd,
        prefix,
        rng=random.Random(),  # noqa: S311 - spreads questions, guards nothing
        on_trouble=lambda fault: inbox.put((at, fault)),
    )

    def work() -> None:
        try:
            for snapshot in follower.snapshots():
                inbox.put((at, snapshot))
        except BaseException as exc:  # noqa: BLE001 - raised again by the thread that waits
            inbox.put((at, exc))

    threading.Thread(target=work, name="watch", daemon=True).start()
    return follower


def _take(inbox: _Inbox, *, within_s: float | None) -> Iterator[tuple[int, _News]]:
    """All that has come in; waits for the first of it, but not longer than that."""
    try:
        yield inbox.get(timeout=within_s)
        while True:
            yield inbox.get_nowait()
    except queue.Empty:
        return
