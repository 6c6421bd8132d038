"""A branch that moves from one service to another while its regenerator is killed."""

import itertools
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from regenerator import processes
from registry.etcd import put
from registry.keys import RouteKey
from tests.system.asking import Asking
from tests.system.frontend import NGINX, Frontend, exchange
from tests.system.origin import Origin

HOST = "demo.localhost"

NUMBERS = itertools.count()


class Scene(NamedTuple):
    """A branch that leads to an old service, and is about to lead to a new one."""

    frontend: Frontend
    old: Origin
    new: Origin
    armed: Path

    def move(self) -> int:
        """Let the branch lead to the new service, and wait for nothing."""
        keys = self.frontend.keys
        moved = put(keys.raw(RouteKey("demo", "web")), self.new.address.encode())
        # a table that never was: its generation has to be written, not found on disk
        fresh = put(keys.raw(RouteKey(f"fresh-{next(NUMBERS)}", "web")), b"127.0.0.1:9000")
        return self.frontend.etcd.commit([], then=[moved, fresh]).revision

    def pid(self) -> int:
        """The regenerator."""
        assert self.frontend.process is not None
        return self.frontend.process.pid

    def wait_for_death(self) -> None:
        """Wait until somebody else has killed the regenerator."""
        assert self.frontend.process is not None
        assert self.frontend.process.wait(15) == -signal.SIGKILL, self.frontend.story()
        self.frontend.process = None

    def check(self, revision: int) -> None:
        """See that all is as it must be after a new start, and that it goes on from there."""
        self.frontend.wait_for(revision)
        assert {self.frontend.ask(HOST).text for _ in range(10)} == {self.new.name}
        # no worker of another generation answers from its own table any more
        assert len(list((self.frontend.state / "live").iterdir())) == 1
        assert len(masters(self.frontend)) == 1
        assert (self.frontend.state / "conf.d" / "nginx.conf").is_file()
        self.frontend.put("demo", "web", self.old.address)
        assert self.frontend.ask(HOST).text == self.old.name


def killing_nginx(armed: Path) -> Path:
    """An nginx whose next check kills who runs it, before or after, as the file's text says."""
    script = armed.with_name("nginx")
    script.write_text(f"""#!/bin/sh
real={shlex.quote(NGINX)}
armed={shlex.quote(str(armed))}
case " $* " in
*" -t "*)
    when=$(cat "$armed" 2>/dev/null)
    rm -f "$armed"
    [ "$when" = before ] && kill -9 $PPID
    "$real" "$@"
    code=$?
    [ "$when" = after ] && kill -9 $PPID
    exit $code
esac
exec "$real" "$@"
""")
    script.chmod(0o755)
    return script


def masters(frontend: Frontend) -> list[int]:
    """The masters of nginx that work in the frontend's folder."""
    found = processes.within(frontend.state)
    return [pid for pid in found if "nginx: master" in processes.title(pid)]


@contextmanager
def nobody_notices(scene: Scene) -> Iterator[None]:
    """Ask all the time, and once on an old connection at the end: nobody is turned away."""
    with scene.frontend.connect() as idle, Asking(scene.frontend, HOST) as asking:
        assert exchange(idle, HOST).text == scene.old.name
        yield
    assert not asking.failures, f"{asking.failures[:3]}\n{scene.frontend.story()}"
    assert set(asking.answers) <= {scene.old.name, scene.new.name}
