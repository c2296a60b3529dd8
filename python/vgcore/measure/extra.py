"""Columns that only some nets have: what cells of recurrent nets and attention note beside the columns of every net."""

from __future__ import annotations

#: The gates of cells by torch's letters: input, forget, candidate and output; reset, update and new.
GATES = ("i", "f", "g", "o", "r", "z", "n")
#: The maps of attention that are one weight: queries, keys and values.
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
