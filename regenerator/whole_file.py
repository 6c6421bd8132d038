"""A file that is whole whoever reads it meanwhile, but for a power cut: nothing is synced."""

from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Put a text in the place of what was there.

    Raises:
        OSError: What was there is still there.
    """
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.rename(path)
