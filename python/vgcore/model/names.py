"""Names that a caller gives: known ones, or an error with the nearest match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def hint(name: object, choices: Iterable[str]) -> str:
    """The nearest of the choices in brackets, ` (did you mean 'relu'?)`; empty where none is near."""
    near = difflib.get_close_matches(str(name), list(choices), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def known(kind: str, name: str, choices: Iterable[str]) -> str:
    """The name, if it is one of the choices.

    Raises:
        ValueError: If it is none, with the nearest match and all choices.

    >>> known("severity", "warning", ("info", "warning"))
    'warning'
    """
    listed = list(choices)
    if name not in listed:
        raise ValueError(f"unknown {kind} {name!r}{hint(name, listed)}; choose from: {', '.join(listed)}")
    return name
