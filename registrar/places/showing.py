"""The steps of a search, for people. Pure."""

from collections.abc import Iterable

from registrar.places.search import Step
from registry.terminal import escaped


def show_steps(steps: Iterable[Step]) -> str:
    """Each source in its turn: whom it asked, what it got, what was taken of it."""
    lines: list[str] = []
    for number, step in enumerate(steps, start=1):
        if not step.asked:
            lines.append(f"{number}. {step.source}: {step.answered}")
            continue
        took = step.took or "nothing"
        answered = f"{step.answered}  ({step.took_s * 1000:.0f} ms)"
        lines.append(f"{number}. {step.source}")
        words = (("asked", step.asked), ("answered", answered), ("took", took))
        lines += [f"     {word:<8}  {text}" for word, text in words]
    return "\n".join(map(escaped, lines))
