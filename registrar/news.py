"""Trouble is told when it is new, and again from time to time; not at every try. Pure."""

REPEAT_S = 60.0
"""How often one and the same trouble is told again."""

KEPT_MOST = 32
"""Texts that are remembered: troubles take turns, a handful at most."""


class News:
    """What has been told lately."""

    def __init__(self) -> None:
        """Nothing has been told."""
        self._told_at: dict[str, float] = {}

    def is_new(self, text: str, now: float) -> bool:
        """Whether a text is to be told now; takes note that it is."""
        told_at = self._told_at.get(text)
        if told_at is not None and now - told_at < REPEAT_S:
            return False
        self._told_at.pop(text, None)
        if len(self._told_at) >= KEPT_MOST:
            del self._told_at[next(iter(self._told_at))]
        self._told_at[text] = now
        return True

    def forget(self) -> None:
        """The trouble is over: whatever comes is new."""
        self._told_at.clear()
