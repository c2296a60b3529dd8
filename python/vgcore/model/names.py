"""Names: those that a caller gives, or an error with the nearest match, and those of tensors as people count them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from vgcore.model.given import printable, shown, text

#: Characters of the longest name that anything is near to: the time to compare two grows as their product.
LONG = 100
#: Choices that an error lists.
LISTED = 40
#: Modules of a state dict that a layer has beside its map, by the name of their list.
_PARTS = {"norms": "norm", "activations": "activation", "skips": "skip"}


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice most like a name, first one of the same letters in another order; None where none is near.

    >>> nearest("gleu", ["glu", "gelu"]), nearest("sigmoid", ["relu", "tanh"])
    ('gelu', None)
    """
    if len(name) > LONG:
        return None
    near = difflib.get_close_matches(name, [choice for choice in choices if len(choice) <= LONG])
    return max(near, key=lambda choice: sorted(choice) == sorted(name), default=None)


def hint(name: str, choices: Iterable[str]) -> str:
    """The nearest of the choices in brackets, ` (did you mean 'relu'?)`; empty where none is near."""
    near = nearest(name, choices)
    return "" if near is None else f" (did you mean {near!r}?)"


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


def counted(name: str) -> tuple[str, str]:
    """The layer of a tensor or a module, and what it is of it, as people count layers: from 1, not as a state dict.

    >>> counted("layers.0.weight"), counted("norms.2.bias"), counted("norms.1.0.bias")
    (('layer 1', 'weight'), ('layer 3', 'norm bias'), ('layer 2', 'norm 1 bias'))
    >>> counted("readout.weight"), counted("layers.3")
    (('readout', 'weight'), ('layer 4', ''))
    """
    head, *rest = name.split(".")
    if not (rest and rest[0].isdigit() and head in {"layers", *_PARTS}):
        return head.replace("_", " "), " ".join(rest)
    words = [str(int(word) + 1) if word.isdigit() else word for word in rest[1:]]
    return f"layer {int(rest[0]) + 1}", " ".join([*filter(None, [_PARTS.get(head)]), *words])
