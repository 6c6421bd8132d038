"""The keys behind what is shown of them: a rejection has its key as text alone. Pure."""

from collections.abc import Collection, Mapping

from registry.keys import SHOWN_MAX, shown
from registry.snapshot import Entry


def originals(texts: Collection[str], *known: Mapping[bytes, Entry]) -> dict[bytes, str]:
    """Which of the known keys are shown so, each with its text.

    Most are shown as they are, and found at once. Where one is not, every key is looked at: 5 ms
    for 20,000.
    """
    found: dict[bytes, str] = {}
    strange: set[str] = set()
    for text in texts:
        raw = text.encode()
        # what was shortened is not ASCII, and somebody may write a key that looks like that
        if raw.isascii() and any(raw in entries for entries in known):
            found[raw] = text
        else:
            strange.add(text)
    if strange:
        for entries in known:
            for raw in entries:
                if not _is_shown_as_it_is(raw) and (text := shown(raw)) in strange:
                    found[raw] = text
    return found


def _is_shown_as_it_is(raw: bytes) -> bool:
    return len(raw) <= SHOWN_MAX and raw.isascii() and raw.decode().isprintable()
