"""What served a branch at 14:03: told by the installed commands, from the frontend's own file.

The dashboard hears of a change a few milliseconds after nginx serves it, so what is told is waited
for, by the code of the command without a process for each look; then the command is asked once.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from regenerator import processes
from regenerator.dashboard.history.recalling import tell_history
from registry.faults import NotRecorded
from registry.records import ClaimRecord
from registry.tables import Page
from tests.etcd_server import EtcdServer, free_ports, wait_until
from tests.registrar_process import run_once
from tests.system.frontend import COMMAND, Frontend, Link, exchange
from tests.system.origin import Origin
from tests.system.service_process import Branch
from tests.system.test_state_folder import fill

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
        # SQLite makes it good again from what a dashboard leaves beside it that had to be killed
        for one in frontend.state.glob("history.db-*"):
            one.unlink()
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


ON_SMALL_DISK = (
    'disk="$STATE.disk"; mkdir -p "$STATE" "$disk" && mount -t tmpfs -o size=1m none "$disk"'
    ' && ln -s "$disk/history.db" "$STATE" && exec "$@"'
)
"""A mount that only the process sees, and that ends with it; the history alone lies there."""


@pytest.fixture(name="cramped")
def _cramped(tmp_path: Path, etcd: EtcdServer) -> Iterator[Frontend]:
    """A frontend whose history is on a small disk, and tells that a service is gone."""
    private = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    if subprocess.run([*private, "mount", "-t", "tmpfs", "none", "/mnt"], check=False).returncode:
        pytest.skip("mounting a small disk needs a mount namespace, which this machine refuses")
    more = {"METRICS": f"127.0.0.1:{free_ports(1)[0]}", "REGISTRY_PREFIX": f"/{tmp_path.name}"}
    frontend = Frontend(tmp_path, etcd=etcd, **more)
    frontend.wrapper = (*private, "sh", "-c", ON_SMALL_DISK, "sh")
    with frontend:
        wait_until(lambda: frontend_answers_api(frontend))
        frontend.put("bare", "web", UNUSED)
        frontend.write("claims/gone/web", ClaimRecord(("gone-web", "gone")).dump())
        frontend.put("gone", "web", UNUSED)
        wait_shown(frontend, "gone", "serving")
        frontend.remove("gone", "web")
        wait_until(lambda: kinds_by_api(frontend, "gone")[:1] == ["removed"])
        yield frontend


UNUSED = "127.0.0.1:9999"
"""Nobody asks for what is there, but here it may be registered."""

FULL = "history.db cannot be written ("


def filled(frontend: Frontend) -> Path:
    """Fill the disk of its history; gives what has to be removed for it to have space."""
    assert frontend.process is not None
    # as the regenerator sees it
    filler = Path(f"/proc/{frontend.process.pid}/root{frontend.state}.disk/filler")
    fill(filler)
    return filler


def test_a_frontend_serves_and_tells_no_lie_though_its_history_is_on_a_full_disk(
    cramped: Frontend,
) -> None:
    assert why(cramped, "gone")["reason"] == "removed"
    uncounted = len(changes_by_api(cramped)) - changes_counted(cramped)

    filler = filled(cramped)
    with Origin("here") as origin:
        cramped.put("gone", "web", UNUSED)
        wait_shown(cramped, "gone", "serving")
        cramped.remove("gone", "web")
        cramped.remove("bare", "web")
        cramped.put("during", "web", origin.address)
        wait_shown(cramped, "during", "serving")
        assert cramped.ask("during.localhost").status == 200

    # nobody knows since when: what was written last is of an earlier time
    found = why(cramped, "gone")
    assert (found["reason"], found["since"]) == ("not-running", None)
    found = why(cramped, "bare", status=404)
    assert (found["reason"], found["since"]) == ("removed", None)
    assert shown(cramped, "gone")["gone_at"] is None
    assert kinds_by_api(cramped, "during") == []
    assert len(changes_by_api(cramped)) - changes_counted(cramped) == uncounted

    filler.unlink()
    wait_until(lambda: kinds_by_api(cramped, "during") == ["ready", "registered"])
    told = changes_by_api(cramped, "during") + changes_by_api(cramped, "gone")[:1]
    assert all(WATCHED in one["reason"] for one in told)
    assert kinds_by_api(cramped, "gone").count("removed") == 2
    assert why(cramped, "gone")["since"] is not None
    wait_until(lambda: shown(cramped, "gone")["gone_at"] is not None)
    assert why(cramped, "bare", status=404)["since"] is not None
    assert len(changes_by_api(cramped)) - changes_counted(cramped) == uncounted
    cramped.put("after", "web", UNUSED)
    wait_until(lambda: kinds_by_api(cramped, "after") == ["ready", "registered"])
    assert not any(WATCHED in one["reason"] for one in changes_by_api(cramped, "after"))
    log = cramped.log.read_text()
    assert (log.count(FULL), log.count("the history is written again")) == (1, 1)


def test_a_dashboard_that_starts_while_the_disk_is_full_goes_on_with_its_history(
    cramped: Frontend,
) -> None:
    (pid,) = cramped.dashboards()
    # so that it has no time to tell of the disk itself
    os.kill(pid, signal.SIGSTOP)
    filler = filled(cramped)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not processes.is_alive(pid))
    cramped.put("during", "web", UNUSED)

    wait_shown(cramped, "during", "serving")
    assert kinds_by_api(cramped, "gone")[:1] == ["removed"]
    assert cramped.log.read_text().count(FULL) == 1

    filler.unlink()
    wait_until(lambda: kinds_by_api(cramped, "during") == ["ready", "registered"])
    assert kinds_by_api(cramped, "gone")[:1] == ["removed"]
    assert not list(cramped.state.glob("*.broken"))


def told_by_api(frontend: Frontend, question: str) -> dict[str, Any]:
    """What the API says; on a machine that is busy the dashboard may be late."""
    found: dict[str, Any] = {}

    def is_told() -> bool:
        answer = frontend.ask("localhost", f"/api/v1/{question}")
        if answer.status == 200:
            found.update(answer.json())
        return bool(found)

    wait_until(is_told)
    return found


def changes_by_api(frontend: Frontend, branch: str = "") -> list[dict[str, Any]]:
    """The newest first; of all branches where none is named."""
    found: list[dict[str, Any]] = told_by_api(frontend, f"history?limit=1000&branch={branch}")[
        "changes"
    ]
    return found


def kinds_by_api(frontend: Frontend, branch: str = "") -> list[str]:
    return kinds(changes_by_api(frontend, branch))


def shown(frontend: Frontend, branch: str) -> dict[str, Any]:
    """The only service of a branch as it is shown; nothing where it is not."""
    found = told_by_api(frontend, "branches")["branches"]
    services = [one["services"][0] for one in found if one["branch"] == branch]
    return services[0] if services else {}


def wait_shown(frontend: Frontend, branch: str, status: str) -> None:
    wait_until(lambda: shown(frontend, branch).get("status") == status)


def why(frontend: Frontend, branch: str, *, status: int = 503) -> dict[str, Any]:
    """The problem with which a branch is not served; a dashboard that is late tells no reason."""
    found: dict[str, Any] = {}

    def is_told() -> bool:
        answer = frontend.ask(f"{branch}.localhost", headers={"Accept": "application/json"})
        assert answer.status == status
        found.update(answer.json())
        return "reason" in found

    wait_until(is_told)
    return found


def changes_counted(frontend: Frontend) -> int:
    """All that the metric tells of changes."""
    address = frontend.settings["METRICS"]
    with Link(address) as link:
        text = exchange(link, address, "/metrics").text
    lines = [line for line in text.splitlines() if line.startswith("branchfront_changes_total{")]
    return sum(int(float(line.rpartition(" ")[2])) for line in lines)


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
