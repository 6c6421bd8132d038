"""Fields of documents that others write: what is missing, or of another type, is empty. Pure."""

from collections.abc import Mapping
from typing import Any


def object_in(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A field that is an object."""
    found = document.get(name)
    return found if isinstance(found, Mapping) else {}


def list_in(document: Mapping[str, Any], name: str) -> list[Any]:
    """A field that is a list."""
    found = document.get(name)
    return found if isinstance(found, list) else []


def text_in(document: Mapping[str, Any], name: str) -> str:
    """A field that is a text."""
    found = document.get(name)
    return found if isinstance(found, str) else ""
