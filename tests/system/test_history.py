"""What served a branch at 14:03: told by the installed commands, from the frontend's own file.

The dashboard hears of a change a few milliseconds after nginx serves it, so what is told is waited
for, by the code of the command without a process for each look; then the command is asked once.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from regenerator.dashboard.history.recalling import tell_history
from registry.faults import NotRecorded
from registry.tables import Page
from tests.etcd_server import EtcdServer, wait_until
from tests.registrar_process import run_once
from tests.system.frontend import COMMAND, Frontend
from tests.system.origin import Origin
from tests.system.service_process import Branch

pytestmark = pytest.mark.system

WATCHED = "when nobody watched"

TOLD_S = 20.0
"""A lease of two seconds ends after up to five, and who lost it may be spared for another one."""


def ask(frontend: Frontend, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that knows nothing but the state folder."""
    return subprocess.run(
        [COMMAND, *arguments],
        env={"PATH": os.environ["PATH"], "STATE": str(frontend.state), "TZ": "UTC"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def told(frontend: Frontend, *arguments: str) -> Any:
    """The document of a command that has to go well."""
    done = ask(frontend, *arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def history_of(frontend: Frontend, branch: str) -> list[dict[str, Any]]:
    try:
        text = tell_history(frontend.state, branch, "", at="", limit=50, as_json=True, page=Page())
    except NotRecorded:
        # nothing is known of it yet
        return []
    found: list[dict[str, Any]] = json.loads(text)
    return found


def kinds(changes: Sequence[dict[str, Any]]) -> list[str]:
    return [one["kind"] for one in changes]


def wait_told(frontend: Frontend, branch: str, *expected: str) -> list[dict[str, Any]]:
    """The history of a branch as soon as these are the last kinds in it."""
    found: list[list[dict[str, Any]]] = []

    def is_told() -> bool:
        found.append(history_of(frontend, branch))
        return kinds(found[-1])[-len(expected) :] == list(expected)

    try:
        wait_until(is_told, within_s=TOLD_S)
    except TimeoutError as exc:
        raise AssertionError(f"{found[-1]}\n{frontend.story()}") from exc
    assert told(frontend, "history", branch) == found[-1]
    return found[-1]


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_who_came_who_left_why_and_what_was_served_when(
    start_frontend: Callable[..., Frontend], etcd: EtcdServer
) -> None:
    frontend = start_frontend()
    branch = Branch(frontend, etcd, "told")
    # an empty registry would have the brake take hold
    frontend.put("stays", "web", "127.0.0.1:9")
    with ExitStack() as running:
        running.callback(branch.place.etcd.close)
        first = running.enter_context(branch.start("one"))
        branch.wait_served("one")
        wait_told(frontend, "told", "ready")
        with_first, at_first = frontend.record(), now()
        assert with_first is not None
        first.stop()
        wait_told(frontend, "told", "deregistered")
        without = now()

        second = running.enter_context(branch.start("two", TTL="2"))
        branch.wait_served("two")
        os.killpg(second.pid, signal.SIGKILL)
        wait_told(frontend, "told", "expired")
        done = run_once(["remove", "told"], branch.place.environ)
        assert done.returncode == 0, done.stderr
        changes = wait_told(frontend, "told", "unclaimed")

    seen = kinds(changes)
    assert seen[0] == "claimed"
    for kind in ("registered", "ready", "deregistered", "expired"):
        assert kind in seen
    instances = {one["instance"] for one in changes if one["instance"]}
    assert len(instances) == 2
    revisions = [one["revision"] for one in changes]
    assert revisions == sorted(revisions)
    [expired] = [one for one in changes if one["kind"] == "expired"]
    assert "its lease expired" in expired["reason"]

    address = next(one["address"] for one in changes if one["kind"] == "ready")
    document = told(frontend, "history", "told", "web", "--at", at_first)
    assert document["generation"] == with_first.generation
    [served] = document["served"]
    assert (served["address"], served["hosts"][-1]) == (address, "told.localhost")
    [nobody] = told(frontend, "history", "told", "web", "--at", without)["served"]
    assert nobody["address"] == ""
    assert address in ask(frontend, "history", "told.localhost", "--at", at_first).stdout
    done = ask(frontend, "history", "--at", "2001-01-01")
    assert (done.returncode, done.stdout) == (69, "")
    assert "this history begins at" in done.stderr

    found = told(frontend, "diff", with_first.generation[:9], "now")
    [route] = [one for one in found["routes"] if one["branch"] == "told"]
    assert route["change"] == "removed"
    assert route["before"]["instances"][0]["address"] == address
    text = ask(frontend, "diff", at_first, "now").stdout
    assert any(line.startswith("-") and address in line for line in text.splitlines())

    text = ask(frontend, "history", "told").stdout
    assert text.index("registered") < text.index("expired") < text.index("unclaimed")
    assert "\x1b" not in text


def test_a_registrar_that_dies_while_its_service_lives_is_told_in_two_steps(
    start_frontend: Callable[..., Frontend], etcd: EtcdServer
) -> None:
    frontend = start_frontend()
    branch = Branch(frontend, etcd, "orphan")
    with branch.start("alive", TTL="2") as registrar:
        branch.wait_served("alive")
        registrar.send(signal.SIGKILL)
        wait_told(frontend, "orphan", "lost", "expired")
    branch.place.etcd.close()


def test_what_happens_while_no_dashboard_runs_is_told_by_the_next(
    start_frontend: Callable[..., Frontend],
) -> None:
    frontend = start_frontend()
    with Origin("here") as origin, Origin("there") as other:
        frontend.put("stays", "web", origin.address)
        frontend.put("goes", "web", origin.address)
        wait_told(frontend, "goes", "ready")
        (pid,) = frontend.dashboards()

        # it is started again after a moment, so this one is not there to see it
        os.kill(pid, signal.SIGSTOP)
        frontend.remove("goes", "web")
        frontend.put("comes", "web", other.address)
        os.kill(pid, signal.SIGKILL)

        [*_, gone] = wait_told(frontend, "goes", "removed")
        [*_, ready] = wait_told(frontend, "comes", "registered", "ready")
        assert WATCHED in gone["reason"]
        assert WATCHED in ready["reason"]
        assert kinds(history_of(frontend, "stays")) == ["registered", "ready"]


def test_what_happens_while_no_regenerator_runs_is_told_after_its_start(
    start_frontend: Callable[..., Frontend],
) -> None:
    frontend = start_frontend()
    with Origin("here") as origin:
        frontend.put("went", "web", origin.address)
        wait_told(frontend, "went", "ready")
        at_first = now()
        frontend.kill()
        wait_until(lambda: not frontend_answers_api(frontend))

        removed = frontend.etcd.delete(frontend.keys.root + b"routes/went/web")
        began_at = time.time()
        frontend.start()
        frontend.wait_for(removed.revision)

        [*_, gone] = wait_told(frontend, "went", "removed")
        assert WATCHED in gone["reason"]
        assert datetime.fromisoformat(gone["at"]).timestamp() >= began_at
        [served] = told(frontend, "history", "went", "--at", at_first)["served"]
        assert served["address"] == origin.address
        # and a start that missed nothing tells nothing
        assert frontend.stop() == 0
        frontend.start()
        # what comes before the dashboard is told as what came while nobody watched
        wait_until(lambda: frontend_answers_api(frontend))
        frontend.put("later", "web", origin.address)
        wait_told(frontend, "later", "ready")
        assert kinds(history_of(frontend, "went"))[-1] == "removed"
        assert kinds(history_of(frontend, "later")) == ["registered", "ready"]
        assert WATCHED not in history_of(frontend, "later")[-1]["reason"]


def frontend_answers_api(frontend: Frontend) -> bool:
    return frontend.ask("localhost", "/api/v1/branches").status == 200


def test_a_frontend_serves_though_its_history_cannot_be_written(
    start_frontend: Callable[..., Frontend],
) -> None:
    frontend = start_frontend()
    with Origin("here") as origin:
        frontend.put("kept", "web", origin.address)
        wait_told(frontend, "kept", "ready")
        frontend.stop()
        path = frontend.state / "history.db"
        path.write_bytes(b"no database" * 1000)
        frontend.start()
        # what comes before the dashboard was there before its history, and is told as that
        wait_until(lambda: frontend_answers_api(frontend))
        frontend.put("after", "web", origin.address)

        wait_told(frontend, "after", "ready")
        assert frontend.ask("kept.localhost").status == 200
        assert (frontend.state / "history.db.broken").exists()
        assert "is put aside as history.db.broken" in frontend.log.read_text()

        # a folder cannot be written as a file, whoever asks
        frontend.stop()
        for one in frontend.state.glob("history.db*"):
            one.unlink()
        path.mkdir()
        frontend.start()
        frontend.put("without", "web", origin.address)
        assert frontend.ask("without.localhost").status == 200
        wait_until(lambda: frontend_answers_api(frontend))
        wait_until(lambda: "cannot be written (unable to open" in frontend.log.read_text())
        done = ask(frontend, "history")
        assert done.returncode == 69
        assert "cannot be read" in done.stderr


def test_without_a_history_the_commands_say_so(tmp_path: Path) -> None:
    for arguments in (["history"], ["diff", "now", "now"]):
        done = subprocess.run(
            [COMMAND, *arguments, "--state", str(tmp_path / "nowhere")],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stdout) == (69, "")
        assert done.stderr.startswith("regenerator: there is no history in")
        assert len(done.stderr.splitlines()) == 1
