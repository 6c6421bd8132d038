"""The proxy as the pipe sees it: what it serves, and the three steps that change that.

Every step may be the last one this process does. What is left then is repaired by the next run,
because that compares with what nginx serves, not with what lies on disk; see the tests that kill
the process between any two steps.
"""

import time
from collections.abc import Iterator

from regenerator.generations import Generations
from regenerator.nginx import Nginx
from regenerator.processes import POLL_S
from regenerator.render import Tree
from registry.faults import ConfigRejected, GenerationUnconfirmed, NginxDown

CONFIRM_S = 20.0
"""From the signal to the new generation alone; 0.1 s is usual, 0.7 s at 10,000 blocks."""


class Proxy:
    """One nginx and its generations."""

    def __init__(self, nginx: Nginx, generations: Generations, *, access: str = "") -> None:
        """Does nothing yet.

        Args:
            access: Whom the settings let in; nothing on disk is served that lets in others.
        """
        self._nginx = nginx
        self._access = access
        self._generations = generations
        self._is_strange = False
        self._has_served = False
        self._confirmed = ""
        self._proven_grammar = ""
        self._old: list[set[int]] = []

    def serving(self) -> str:
        """The generation that is served and has been confirmed; empty if there is none."""
        if self._is_strange or not self._nginx.answers(self._confirmed):
            return ""
        return self._confirmed

    def answering(self) -> str:
        """The generation that nginx answers with, confirmed or not; empty if it does not."""
        return self._nginx.serving()

    def resume(self) -> str:
        """Serve again after a start, without the registry; returns how, for the log.

        An nginx that serves is taken over. Else the last good generation is started, or the one
        before it if nginx refuses that now.

        Raises:
            NginxDown: There is something to serve, and nginx does not start.
        """
        is_there = self._nginx.take_over()
        if is_there and not self._generations.lets_in(self._nginx.serving(), self._access):
            self._nginx.stop()
            is_there = False
        if is_there:
            # its workers and markers may be in the middle of anything: the first run reloads
            self._is_strange = True
            self._served(self._nginx.serving())
            return f"took over nginx, which serves {self._confirmed}"
        self._nginx.end_group()
        fault: NginxDown | None = None
        for generation in self._candidates():
            try:
                self._start(generation)
            except NginxDown as exc:
                # what was linked last may be what does not start; a second one that does not
                # start either has the same reason, such as a port that is taken
                if fault:
                    raise
                fault = exc
                continue
            return f"serving {generation} from disk"
        if fault:
            raise fault
        if self._generations.by_age() and not any(self._fitting()):
            return "what is on disk lets in others than it should; waiting for etcd"
        return "nothing to serve yet"

    def is_down(self) -> bool:
        """Whether there is something to serve, and no nginx that does."""
        if self._nginx.is_leaving():
            return True
        has_work = self._has_served or bool(self._generations.linked())
        return has_work and not self._nginx.is_alive()

    def old_generations(self) -> int:
        """Generations before the newest whose workers live, be it that they are about to retire."""
        retiring = self._nginx.retiring()
        alive = retiring | self._nginx.workers()
        self._old = [kept for one in self._old if (kept := one & alive)]
        unknown = retiring.difference(*self._old)
        return len(self._old) + bool(unknown)

    def validate(self, tree: Tree) -> None:
        """Write the generation beside the serving one, and let nginx check it.

        The check is as long as the reload itself, so a grammar that has been served before is
        not checked again: what is new are words, and each was looked at when it was rendered. The
        reload checks it all the same, and keeps what serves if nginx refuses it after all.

        Raises:
            ConfigRejected: Nothing that serves has changed; the refused files lie in ``refused``.
            StateUnwritable: Nothing that serves has changed.
        """
        self._generations.stage(tree)
        if tree.grammar == self._proven_grammar:
            return
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
        is_alive = self._nginx.is_alive()
        workers = self._nginx.workers()
        self._generations.link(tree.generation)
        if is_alive:
            self._old.append(workers)
            self._nginx.reload()

    def confirm(self, tree: Tree) -> None:
        """Wait until nginx serves this generation and nothing else, then retire all others.

        Raises:
            GenerationUnconfirmed: It did not in time; it is back at what it served before.
            NginxDown: It did not even start.
        """
        self._proven_grammar = ""
        if not self._nginx.is_alive():
            self._nginx.start()
        elif not self._took_effect(tree.generation):
            raise GenerationUnconfirmed(self._roll_back(tree.generation))
        self._proven_grammar = tree.grammar
        self._is_strange = False
        self._served(tree.generation)
        self._generations.keep(tree.generation)

    def rest(self) -> None:
        """What there is time for when nothing else is due."""
        self._nginx.rotate_logs()

    def stop(self) -> None:
        """Stop nginx."""
        self._nginx.stop()

    def _candidates(self) -> Iterator[str]:
        """The generations on disk that can be served: the linked one, then the newest first."""
        for generation in self._fitting():
            if not self._generations.is_whole(generation):
                continue
            try:
                self._test(generation)
            except ConfigRejected:
                continue
            yield generation

    def _fitting(self) -> list[str]:
        linked = self._generations.linked()
        found = (linked, *(g for g in self._generations.by_age() if g != linked))
        return [one for one in found if one and self._generations.lets_in(one, self._access)]

    def _start(self, generation: str) -> None:
        self._generations.link(generation)
        self._nginx.start()
        self._is_strange = False
        self._served(generation)

    def _served(self, generation: str) -> None:
        """Note what is served; unless that is in doubt, nothing else is from now on."""
        self._has_served = True
        self._confirmed = generation
        if not self._is_strange:
            self._generations.retire_others(generation)

    def _test(self, generation: str) -> None:
        self._nginx.test(self._generations.state / "generations" / generation)

    def _took_effect(self, generation: str) -> bool:
        """Whether, in time, all that is served from now on can be made this generation."""
        give_up_at = time.monotonic() + CONFIRM_S
        while time.monotonic() < give_up_at and self._nginx.is_alive():
            if self._nginx.answers(generation) and not self._may_others_answer():
                return True
            if self._nginx.objection():
                return False
            time.sleep(POLL_S)
        return False

    def _may_others_answer(self) -> bool:
        """Whether workers accept that would not pass requests on to the new generation.

        Those of an nginx that was taken over may do anything, so they have to retire first; all
        others look for their marker file, whether they are retiring yet or not.
        """
        return self._is_strange and bool(self._old[-1] & self._nginx.workers())

    def _roll_back(self, generation: str) -> str:
        """Go back to what was served before; returns the sentence to raise."""
        # it may come to serve the new one after all; the next run then has to look closely
        self._is_strange = True
        # those that were to retire go on
        del self._old[-1:]
        serving = self._nginx.serving()
        if self._confirmed and serving != generation:
            self._generations.link(self._confirmed)
            if serving != self._confirmed:
                self._nginx.reload()
        why = self._nginx.objection() or f"it did not within {CONFIRM_S:.0f} s; see its error log"
        return f"nginx was asked to serve {generation} and does not: {why}"
