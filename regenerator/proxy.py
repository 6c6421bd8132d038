"""The proxy as the pipe sees it: what it serves, and the three steps that change that.

Every step may be the last one this process does. What is left then is repaired by the next run,
because that compares with what nginx serves, not with what lies on disk; see the tests that kill
the process between any two steps.
"""

import time

from regenerator import processes
from regenerator.generations import Generations
from regenerator.nginx import POLL_S, Nginx
from regenerator.render import Tree
from registry.faults import ConfigRejected, Fault, GenerationUnconfirmed, NginxDown

CONFIRM_S = 20.0
"""From the signal to the new generation alone; 0.1 s is usual, 0.7 s at 10,000 blocks."""

BLIND_S = 0.2
"""Old workers answer for about 0.1 s; so long we wait where the kernel does not show them."""


class Proxy:
    """One nginx and its generations."""

    def __init__(self, nginx: Nginx, generations: Generations) -> None:
        self._nginx = nginx
        self._generations = generations
        self._is_strange = False
        self._old: list[set[int]] = []

    def serving(self) -> str:
        """The generation that is served and has been confirmed; empty if there is none."""
        return "" if self._is_strange else self._nginx.serving()

    def resume(self) -> str:
        """Serve again after a start, without the registry; returns how, for the log.

        An nginx that serves is taken over. Else the last good generation is started, or the one
        before it if nginx refuses that now.

        Raises:
            NginxDown: There is something to serve, and nginx does not start.
        """
        if self._nginx.take_over():
            # its workers and markers may be in the middle of anything: the first run reloads
            self._is_strange = True
            return f"took over nginx, which serves {self._nginx.serving()}"
        self._nginx.end_group()
        linked = self._generations.linked()
        candidates = [linked, *(g for g in self._generations.by_age() if g != linked)]
        for generation in filter(None, candidates):
            try:
                self._test(generation)
            except ConfigRejected:
                continue
            self._generations.link(generation)
            self._nginx.start()
            self._generations.retire_others(generation)
            return f"serving {generation} from disk"
        return "nothing to serve yet"

    def is_down(self) -> bool:
        """Whether there is something to serve, and no nginx that does."""
        return bool(self._generations.linked()) and not self._nginx.is_alive()

    def old_generations(self) -> int:
        """Generations of workers that are retiring and still serve a connection."""
        retiring = self._nginx.retiring()
        self._old = [kept for one in self._old if (kept := one & retiring)]
        unknown = retiring.difference(*self._old)
        return len(self._old) + bool(unknown)

    def validate(self, tree: Tree) -> None:
        """Write the generation beside the serving one, and let nginx check it.

        Raises:
            ConfigRejected: Nothing that serves has changed; the refused files lie in ``refused``.
            StateUnwritable: Nothing that serves has changed.
        """
        self._generations.stage(tree)
        try:
            self._test(tree.generation)
        except ConfigRejected:
            self._generations.refuse(tree.generation)
            raise

    def apply(self, tree: Tree) -> None:
        """Link the generation and ask nginx to read it.

        Raises:
            StateUnwritable: Nothing that serves has changed.
        """
        workers = self._nginx.workers() if self._nginx.is_alive() else set()
        self._generations.link(tree.generation)
        if workers:
            self._old.append(workers)
            self._nginx.reload()

    def confirm(self, tree: Tree) -> None:
        """Wait until nginx serves this generation and nothing else, then retire all others.

        Raises:
            GenerationUnconfirmed: It did not in time; the link leads to what it served before.
            NginxDown: It did not even start.
        """
        if not self._nginx.is_alive():
            self._nginx.start()
        elif not self._took_effect(tree.generation):
            raise GenerationUnconfirmed(self._roll_back(tree.generation))
        self._is_strange = False
        self._generations.retire_others(tree.generation)
        self._generations.keep(tree.generation)

    def stop(self) -> None:
        """Stop nginx."""
        self._nginx.stop()

    def _test(self, generation: str) -> None:
        self._nginx.test(self._generations.state / "generations" / generation)

    def _took_effect(self, generation: str) -> bool:
        """Whether, in time, the marker is the new one and every old worker accepts no more."""
        old = self._old[-1] if self._old else set()
        give_up_at = time.monotonic() + CONFIRM_S
        while time.monotonic() < give_up_at and self._nginx.is_alive():
            if self._nginx.serving() == generation and not old & self._nginx.workers():
                if not processes.has_proc():
                    time.sleep(BLIND_S)
                return True
            time.sleep(POLL_S)
        return False

    def _roll_back(self, generation: str) -> str:
        """Lead the link back to what nginx serves; returns the sentence to raise."""
        serving = self._nginx.serving()
        if serving and serving != generation:
            self._generations.link(serving)
        return (
            f"nginx did not serve {generation} within {CONFIRM_S:.0f} s of the reload;"
            f" it serves {serving or 'nothing'}; its error log says why"
        )


def is_worth_another_try(fault: Fault) -> bool:
    """Whether the same tree may pass later, with nothing changed in the registry."""
    return not isinstance(fault, ConfigRejected) or isinstance(fault, NginxDown)
