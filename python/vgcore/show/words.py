"""Sizes, layers and counts in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vgcore.model.custom import named

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Decades that a small curve spans at least: the 32-fold change that a verdict allows.
DECADES = math.log10(32)
#: Columns that are shares or cosines.
SHARES = {
    *("saturated", "dead", "zeros", "births", "revivals", "rounded", "clipped", "correlation"),
    *("gradient_correlation", "validation_accuracy"),
}
#: Most values of a list that are told one by one.
MANY = 12
#: Most places that are told by name.
PLACES = 4
#: What rows are called that have numbers in place of names, the usual word first.
NUMBERED = ("layer", "step")


def power(log10: float) -> str:
    """A size whose logarithm is given, readable at any size."""
    if math.isnan(log10):
        return "unknown"
    if math.isinf(log10):
        return "0" if log10 < 0 else "inf"
    return f"{10**log10:.3g}" if abs(log10) < 3 else f"10^{log10:.1f}"


def extent(column: str, low: float, high: float) -> tuple[float, float]:
    """The ends of a small curve of a column whose values have these: what hardly moves is to look so.

    Logarithms span `DECADES` at least, shares 0 to 1; all else begins at 0.

    >>> extent("dead", 0.2, 0.3), extent("loss", 2.2, 2.3), extent("log10_z_rms", -9.0, 1.0)
    ((0.0, 1.0), (0.0, 2.3), (-9.0, 1.0))
    """
    if column.startswith("log10"):
        more = max(DECADES - (high - low), 0.0) / 2
        return low - more, high + more
    return min(low, 0.0), max(high, 1.0 if column in SHARES else 0.0)


def exponent(log10: float) -> str:
    """A size by its logarithm, to stand under a head that says log10.

    One decimal, and `-` for what is not known.

    >>> exponent(-32.4999), exponent(-0.01), exponent(float("-inf")), exponent(float("nan"))
    ('-32.5', '0.0', '-inf', '-')
    """
    return "-" if math.isnan(log10) else f"{round(log10, 1) + 0:.1f}"  # + 0 makes -0.0 plain 0.0


def number(value: float, form: str = ".3g") -> str:
    """A number as a cell of a table; `-` for what is not known.

    >>> number(0.98765), number(0.98765, ".1f"), number(float("nan"))
    ('0.988', '1.0', '-')
    """
    return "-" if math.isnan(value) else f"{value:{form}}"


def fold(factor: float) -> str:
    """By how much a size changes, of any size.

    >>> fold(31.6), fold(1.02), fold(1e100)
    ('32-fold', '1.02-fold', '10^100-fold')
    """
    if math.isinf(factor):
        return "more than 10^308-fold"
    if factor >= 1e5:
        return f"10^{math.log10(factor):.4g}-fold"
    return f"{factor:.0f}-fold" if factor >= 10 else f"{factor:.3g}-fold"


def count(layers: float) -> str:
    """A number of layers, which may have no end."""
    return "no limit" if math.isinf(layers) else f"{layers:.0f}" if layers < 1e6 else f"{layers:.0e}"


def spans(layers: Sequence[int], names: Sequence[str] = ()) -> str:
    """Layers as people count them, from 1: `1-5, 8`; or by their names, where they have some.

    Names in many places are told by the ends of them all.

    >>> spans([0, 1, 3]), spans([0, 1, 3], ["stem", "blocks.0", "blocks.1", "head"])
    ('1-2, 4', 'stem to blocks.0, head')
    >>> spans(range(0, 40, 4), [f"block {i // 4}, map {i % 4}" for i in range(40)])
    '10 from block 0, map 0 to block 9, map 0'
    """
    parts: list[list[int]] = []
    for layer in sorted(layers):
        if parts and layer == parts[-1][1] + 1:
            parts[-1][1] = layer
        else:
            parts.append([layer, layer])
    if names and len(parts) > PLACES:
        return f"{len(layers)} from {names[parts[0][0]]} to {names[parts[-1][1]]}"
    if names:
        return ", ".join(names[a] if a == b else f"{names[a]} to {names[b]}" for a, b in parts)
    return ", ".join(str(a + 1) if a == b else f"{a + 1}-{b + 1}" for a, b in parts)


def seeds_told(seeds: Sequence[int] | NDArray[np.uint64]) -> str:
    """Seeds in a row, in words.

    >>> seeds_told([0, 1, 2]), seeds_told([5])
    ('seeds 0 to 2', 'seed 5')
    """
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"


def own(names: Sequence[str]) -> tuple[str, ...]:
    """The names of layers as they are told, if they are more than their numbers.

    >>> own(["layer 1", "layer 2"]), own(["step 1", "step 2"]), own(["0", "2.0", "head"])
    ((), (), ('module 0', 'module 2.0', 'head'))
    """
    if all(name == f"{row(names)} {i + 1}" for i, name in enumerate(names)):
        return ()
    return tuple(name if any(map(str.isalpha, name)) else f"module {name}" for name in names)


def row(names: Sequence[str]) -> str:
    """What that is called which has these names or numbers.

    >>> row(["layer 1", "layer 2"]), row(["step 1", "step 2"]), row(["blocks.0", "head"])
    ('layer', 'step', 'layer')
    """
    return next((word for word in NUMBERED if names and names[0] == f"{word} 1"), NUMBERED[0])


def places(layers: Sequence[int], names: Sequence[str] = (), word: str = "layer") -> str:
    """Layers, or what else the word says, in a sentence: `layers 1-5, 8`, or by their names."""
    word = "" if names else f"{word} " if len(layers) == 1 else f"{word}s "
    return word + spans(layers, names)


def indices(layers: Sequence[int]) -> str:
    """Layers by their indices, where nobody says what they are called, as in Python: from 0.

    >>> indices([3]), indices([0, 1, 2, 5])
    ('layers[3]', 'layers[0-2, 5]')
    """
    return f"layers[{spans([layer - 1 for layer in layers])}]"


def said(value: Any) -> str:
    """The value of a field as a person would say it: a list by what repeats in it, a long one by what is in it.

    >>> said(None), said(value=False), said(0.1 + 0.2), said(("tanh",) * 48 + ("relu",) * 2)
    ('none', 'false', '0.3', 'tanh x 48, relu x 2')
    >>> said(["tanh", "relu"] * 24 + ["tanh"])
    '(tanh, relu) x 24, tanh'
    >>> said(range(8, 58)), said("tanh relu tanh elu tanh relu gelu elu relu tanh gelu gelu tanh elu relu".split())
    ('50 values from 8 to 57', '15 values: tanh x 5, relu x 4, elu x 3, gelu x 3')
    """
    if isinstance(value, float):
        return f"{value:.12g}"  # without the last digits, which rounding makes
    if not isinstance(value, list | tuple | range):
        return str(value).lower() if value is None or isinstance(value, bool) else named(str(value))
    parts = [*_repeated([said(each) for each in value])]
    if len(parts) <= MANY:
        return ", ".join(parts)
    if all(isinstance(each, int | float) for each in value):
        return f"{len(value)} values from {min(value)} to {max(value)}"
    counts = Counter(said(each) for each in value).most_common()
    others = len(counts) - MANY
    parts = [_times(each, count) for each, count in counts[:MANY]]
    return f"{len(value)} values: {', '.join(parts)}{f' and {others} others' if others > 0 else ''}"


def told(name: str, value: Any) -> str:
    """A field and its value, to stand between commas.

    >>> told("skip", None), told("width", [8, 8, 4])
    ('skip none', 'width (8 x 2, 4)')
    """
    text = said(value)
    return f"{name} ({text})" if isinstance(value, list | tuple) and ", " in text else f"{name} {text}"


def _repeated(values: Sequence[str]) -> Iterator[str]:
    """Values in their order, those that repeat, alone or as a group of up to `MANY`, once with their number."""
    at = 0
    while at < len(values):
        whole, period = 0, 1
        for length in range(1, MANY + 1):
            group, end = values[at : at + length], at + length
            while values[end : end + length] == group:
                end += length
            if end - at > max(whole, length):
                whole, period = end - at, length
        group = values[at : at + period]
        yield _times(group[0] if period == 1 else f"({', '.join(group)})", max(whole, period) // period)
        at += max(whole, period)


def _times(word: str, count: int) -> str:
    return word if count == 1 else f"{word} x {count}"
