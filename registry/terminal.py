"""Text that a terminal shows, and does not obey. Pure."""


def escaped(text: str) -> str:
    """Text without what a terminal would take for a command; a line stays one line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
