"""What nginx would read in a configuration, by its own rules of words, quotes and blocks.

Source:
    ``ngx_conf_read_token``: a word ends at a space, ``;`` or ``{``; a quote counts at the start of
    a word alone, and so does ``#``; a backslash takes the next character along.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Directive:
    """Its words, and what stands in its block if it has one."""

    words: tuple[str, ...]
    block: list["Directive"] = field(default_factory=list)


def parse(text: str) -> list[Directive]:
    """All directives of a file.

    Raises:
        ValueError: nginx would refuse it.
    """
    top: list[Directive] = []
    stack = [top]
    words: list[str] = []
    for token in _tokens(text):
        if token == ";":
            _need(words, token)
            stack[-1].append(Directive(tuple(words)))
            words = []
        elif token == "{":
            _need(words, token)
            stack[-1].append(Directive(tuple(words)))
            stack.append(stack[-1][-1].block)
            words = []
        elif token == "}":
            if words or len(stack) == 1:
                raise ValueError("unexpected }")
            stack.pop()
        else:
            words.append(token[1:])
    if words or len(stack) > 1:
        raise ValueError("unexpected end of file")
    return top


def _need(words: list[str], token: str) -> None:
    if not words:
        raise ValueError(f"unexpected {token}")


def _tokens(text: str) -> Iterator[str]:
    """``;``, ``{``, ``}`` as they are, and words behind a ``=``."""
    place = 0
    while place < len(text):
        char = text[place]
        if char in " \t\r\n":
            place += 1
        elif char == "#":
            place = text.find("\n", place) if "\n" in text[place:] else len(text)
        elif char in ";{}":
            yield char
            place += 1
        elif char in "\"'":
            word, place = _quoted(text, place)
            yield f"={word}"
        else:
            word, place = _bare(text, place)
            yield f"={word}"


def _quoted(text: str, place: int) -> tuple[str, int]:
    quote, word = text[place], ""
    place += 1
    while place < len(text) and text[place] != quote:
        place += text[place] == "\\"
        word += text[place : place + 1]
        place += 1
    if text[place + 1 : place + 2] not in {" ", "\t", "\r", "\n", ";", "{", ")"}:
        raise ValueError("something stands right behind a quote")
    return word, place + 1


def _bare(text: str, place: int) -> tuple[str, int]:
    start = place
    while place < len(text) and text[place] not in " \t\r\n;{":
        # ${name} is a variable inside a word
        if text.startswith("${", place):
            place += 1
        place += 2 if text[place] == "\\" else 1
    return text[start:place], place
