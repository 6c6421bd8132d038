"""What is shown of a frontend as JSON, for programs. Pure.

The words are those of ``registrar list --json`` and ``regenerator status --json``. A text that
there is nothing to say for is empty; a time that nobody knows is null.
"""

import json
from collections.abc import Iterable
from typing import Any

from regenerator.dashboard.board import (
    Board,
    BranchView,
    EtcdView,
    FrontendView,
    InstanceView,
    RejectionView,
    ServiceView,
)
from regenerator.dashboard.history.changes import Change
from regenerator.dashboard.web.finding import Part, RouteView
from regenerator.instants import precise


def instant(at: float) -> str | None:
    """A time in UTC such as ``2026-11-21T09:00:00.250Z``; None for one that is not known."""
    return precise(at) if at else None


def write(document: Any) -> bytes:
    """A document as bytes, on one line."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def head(board: Board) -> dict[str, Any]:
    """The frontend itself."""
    return {
        "domain": board.domain,
        "url": board.url,
        "default_service": board.default_service,
        "revision": board.revision,
        "generation": board.generation,
        "applied_at": instant(board.at),
        "fault": board.fault,
        "held": board.held,
        "rejected": len(board.rejections),
        "fresh": board.is_fresh,
        "etcd": _etcd(board.etcd),
    }


class Branches:
    """Branches as JSON; each is written once for as long as nothing of it changes."""

    def __init__(self) -> None:
        self._written: dict[str, tuple[BranchView, bytes]] = {}

    def one(self, branch: BranchView) -> bytes:
        """One branch."""
        view, text = self._written.get(branch.branch, (None, b""))
        if view is not branch:
            text = write(_branch(branch))
            self._written[branch.branch] = (branch, text)
        return text

    def document(self, board: Board, part: Part[BranchView]) -> bytes:
        """A part of the branches, with the frontend's head."""
        self._forget(board)
        fields = {**head(board), "count": part.count, "next": part.next}
        return b'%s,"branches":%s}\n' % (write(fields)[:-1], self._list(part.shown))

    def changes(self, before: Board | None, after: Board) -> bytes | None:
        """What became of the branches; None for nothing.

        Args:
            before: None gives all that there is.
        """
        self._forget(after)
        known = {one.branch: one for one in before.branches} if before else {}
        changed = [one for one in after.branches if known.pop(one.branch, None) is not one]
        if before and not changed and not known:
            return None
        fields = {"complete": before is None, "gone": sorted(known)}
        return b'%s,"changed":%s}' % (write(fields)[:-1], self._list(changed))

    def _list(self, branches: Iterable[BranchView]) -> bytes:
        return b"[%s]" % b",".join(map(self.one, branches))

    def _forget(self, board: Board) -> None:
        if len(self._written) > 2 * len(board.branches):
            names = {one.branch for one in board.branches}
            self._written = {k: v for k, v in self._written.items() if k in names}


def routes_document(board: Board, part: Part[RouteView]) -> bytes:
    """A part of the routes."""
    return _line(
        {
            "revision": board.revision,
            "generation": board.generation,
            "count": part.count,
            "next": part.next,
            "routes": [one._asdict() for one in part.shown],
        }
    )


def frontends_document(board: Board) -> bytes:
    """All frontends, and etcd."""
    return _line({"etcd": _etcd(board.etcd), "frontends": [*map(_frontend, board.frontends)]})


def rejections_document(board: Board) -> bytes:
    """The records that are left out."""
    return _line({"rejections": [*map(_rejection, board.rejections)]})


def history_document(changes: Iterable[Change]) -> bytes:
    """What became of routes."""
    return _line({"changes": [*map(_change, changes)]})


def _line(document: Any) -> bytes:
    return write(document) + b"\n"


def _branch(view: BranchView) -> dict[str, Any]:
    return {"branch": view.branch, "services": [*map(_service, view.services)]}


def _service(view: ServiceView) -> dict[str, Any]:
    return {
        "service": view.service,
        "url": view.url,
        "hosts": view.hosts,
        "status": view.status,
        "reason": view.reason,
        "gone_at": instant(view.gone_at),
        "instances": [*map(_instance, view.instances)],
        "conflicts": view.conflicts,
        "requests_per_minute": view.traffic.requests,
        "errors_per_minute": view.traffic.errors,
        "last_request_at": instant(view.traffic.last_at),
    }


def _instance(view: InstanceView) -> dict[str, Any]:
    return {
        "name": view.name,
        "address": view.address,
        "status": view.status,
        "reason": view.reason,
        "registered_at": view.registered_at or None,
        "leased": view.is_leased,
    }


def _rejection(view: RejectionView) -> dict[str, Any]:
    return {
        "key": view.key,
        "branch": view.branch,
        "service": view.service,
        "kind": view.kind,
        "reason": view.reason,
    }


def _frontend(view: FrontendView) -> dict[str, Any]:
    return {
        "id": view.id,
        "this": view.is_this,
        "alive": view.is_alive,
        "behind_by": view.behind_by,
        **(view.record.fields() if view.record else {}),
    }


def _etcd(view: EtcdView) -> dict[str, Any]:
    return {"fault": view.fault, "since": instant(view.since)}


def _change(change: Change) -> dict[str, Any]:
    return {
        "at": instant(change.at),
        "revision": change.revision,
        "generation": change.generation,
        "branch": change.branch,
        "service": change.service,
        "instance": change.instance,
        "address": change.address,
        "kind": change.kind,
        "reason": change.reason,
    }
