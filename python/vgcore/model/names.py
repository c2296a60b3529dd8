"""Names that a caller gives: known ones, or an error with the nearest match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from vgcore.model.given import printable, shown, text

#: Characters of the longest name that anything is near to: the time to compare two grows as their product.
LONG = 100
#: Choices that an error lists.
LISTED = 40


def hint(name: str, choices: Iterable[str]) -> str:
    """The nearest of the choices in brackets, ` (did you mean 'relu'?)`; empty where none is near."""
    near = []
    if len(name) <= LONG:
        near = difflib.get_close_matches(name, [choice for choice in choices if len(choice) <= LONG], n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def listing(choices: Iterable[object], most: int = LISTED) -> str:
    """The choices in a row, as many as a reader can take in."""
    words = [printable(str(choice)) for choice in choices]
    return ", ".join(words[:most]) + (", ..." if len(words) > most else "")


def known(kind: str, name: object, choices: Iterable[str]) -> str:
    """The name, if it is one of the choices.

    Raises:
        TypeError: If it is no string.
        ValueError: If it is none of them, with the nearest match and all choices.

    >>> known("severity", "warning", ("info", "warning"))
    'warning'
    """
    word, listed = text(kind, name), list(choices)
    if word not in listed:
        raise ValueError(f"unknown {kind} {shown(word)}{hint(word, listed)}; choose from: {listing(listed)}")
    return word
