"""One run from a snapshot to a confirmed generation: reads top to bottom, no loop, no ``try``."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from regenerator.proxy import Proxy
from regenerator.render import Renderer
from regenerator.routes import Rules
from registry.claims import Rejection
from registry.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run came to; as text it is the line that an operator reads.

    Attributes:
        routes: Those that lead to an instance; a claim of which nothing runs is none.
        table: Digest of the routes that are served.
        waited_s: From the watch's first word of what is new until it was served; 0 if nothing is.
    """

    cluster_id: str
    revision: int
    generation: str
    routes: int
    rejections: tuple[Rejection, ...]
    is_new: bool
    held: int = 0
    is_braking: bool = False
    waited_s: float = 0.0
    table: str = ""

    def __str__(self) -> str:
        left_out = f", {len(self.rejections)} records left out" if self.rejections else ""
        held = f", {self.held} lost instances held" if self.held else ""
        return f"serving {self.routes} routes as {self.generation}{left_out}{held}"


class Lost(NamedTuple):
    """What of a snapshot the registry does not have.

    Attributes:
        held: How many instances.
        is_braking: They are too many to be containers that died.
    """

    held: int = 0
    is_braking: bool = False


def regenerate(
    snapshot: Snapshot, *, lost: Lost, rules: Rules, renderer: Renderer, proxy: Proxy
) -> Outcome:
    """Bring nginx to what the registry says.

    The comparison is with what nginx serves, not with what is on disk: a file that was written
    but never took effect must not look like success.

    Raises:
        RenderFault, ConfigRejected, StateUnwritable: Nothing that serves has changed.
        GenerationUnconfirmed: The proxy serves what it served before.
        NginxDown: Nothing is served; the link leads to the new generation.
    """
    table = replace(rules.table(snapshot), held=lost.held if lost.is_braking else 0)
    tree = renderer.render(table)
    is_new = tree.generation != proxy.serving()
    if is_new:
        proxy.validate(tree)
        proxy.apply(tree)
        proxy.confirm(tree)
    return Outcome(
        snapshot.cluster_id,
        snapshot.revision,
        tree.generation,
        sum(1 for route in table.routes if route.instances),
        table.rejections,
        is_new,
        lost.held,
        lost.is_braking,
        table=tree.table,
    )
