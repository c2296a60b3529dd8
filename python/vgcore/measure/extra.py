"""Columns that only some nets have: what cells of recurrent nets and attention note beside the columns of every net."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore.model.given import wrong_type
from vgcore.model.names import listing
from vgcore.model.versioned import Versioned

Floats = NDArray[np.float64]

#: What gates of cells, and maps of attention that are one weight, are called, by torch's letters.
NAMES = {
    "i": "input gate",
    "f": "forget gate",
    "g": "candidate",
    "o": "output gate",
    "r": "reset gate",
    "z": "update gate",
    "n": "candidate",
    "q": "queries",
    "k": "keys",
    "v": "values",
}
GATES = ("i", "f", "g", "o", "r", "z", "n")
#: What makes of a state the next one without a matrix: the forget gate of an LSTM, the update gate of a GRU.
KEEPING = ("f", "z")
PROJECTIONS = ("q", "k", "v")
#: Columns of one gate, or of one projection, by their names without its letter.
SIZES = ("log10_z_rms", "log10_delta_rms", "log10_wgrad_norm")


def _each(columns: tuple[str, ...], letters: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{column}_{letter}" for column in columns for letter in letters)


#: The names, in families whose members differ in a letter or a word.
FAMILIES = {
    "sizes by gate": _each(SIZES, GATES + PROJECTIONS),
    "means by gate": _each(("mean",), GATES),
    "saturation by gate": _each(("saturated",), GATES),
    "shares by path": _each(("share",), ("cell", *GATES)),
    "cell state": ("log10_c_rms", "log10_dc_rms"),
    "attention": ("attention_entropy", "logit_std"),
    "tokens": ("token_correlation", "token_rank"),
}
#: All of them.
EXTRA = tuple(name for names in FAMILIES.values() for name in names)
#: Of most nets.
NONE: Mapping[str, Floats] = MappingProxyType({})


class Further(Versioned):
    """A result with `extra`, columns that only some nets have by their names, each of which is also an attribute."""

    extra: Mapping[str, Floats]

    def __post_init__(self) -> None:
        super().__post_init__()
        vars(self)["extra"] = read_only(self.extra) if self.extra else NONE

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"extra": dict(self.extra)}  # A view of a dict has no pickle.

    def __getattr__(self, name: str) -> Floats:
        extra: Mapping[str, Floats] = vars(self).get("extra", {})
        if name in extra:
            return extra[name]
        there = f"; of its own the net has {listing(extra)}" if extra else ""
        raise AttributeError(f"a {type(self).__name__} has no attribute {name!r}{there}", name=name, obj=self)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.extra]


def read_only(columns: Mapping[str, ArrayLike]) -> Mapping[str, Floats]:
    """Columns by their names, none of which is to be written to."""
    if not isinstance(columns, Mapping):
        raise wrong_type("extra", "columns by their names", columns)
    views = {name: np.asarray(column, dtype=np.float64).view() for name, column in columns.items()}
    for view in views.values():
        view.flags.writeable = False
    return MappingProxyType(views)
