"""What the samples are like before any layer: `Inputs`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore.show.words import power

Floats = NDArray[np.float64]

#: Samples that are looked at.
MOST = 512
#: A mean cosine of samples that share more than they differ by.
ALIKE = 0.5
#: Spreads of columns that one learning rate cannot serve: their squares are the curvatures.
UNEVEN = 100
#: A constant column whose mean was taken off has this spread, relative to the others.
ROUNDING = 1e-10


@dataclass(frozen=True)
class Inputs:
    """Numbers of samples.

    Attributes:
        correlation: Mean cosine of two samples; nan for fewer than two, and for sequences, which no layer sees whole.
        alignment: `(B/rank - 1)/(B - 1)` less the squared mean cosine, with `rank` the participation ratio of the B
            samples: 1 where all lie on one line, either way from 0. 0 for sequences.
        size: log10 of the root mean square.
        remarks: What makes them hard to learn from, in words.
    """

    correlation: float
    alignment: float
    size: float = 0.0
    remarks: tuple[str, ...] = ()

    @classmethod
    def drawn(cls, columns: int) -> Inputs:
        """Of standard normal samples."""
        return cls(0.0, 1 / columns)

    @classmethod
    def of(cls, x: ArrayLike) -> Inputs:
        """Of given samples `(rows, columns)`: of at most `MOST` rows, evenly spread, for a net is judged many times.

        Of sequences `(rows, steps, features)` a step is a row, and a feature a column.

        >>> found = Inputs.of([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])  # of six cosines two are -1
        >>> round(found.correlation, 3), round(found.alignment, 3), found.remarks
        (-0.333, 0.222, ())
        """
        rows = np.asarray(x)
        some = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST)).astype(int)].astype(np.float64)
        # By a power of two, which changes no bit of a ratio: squares of what is left stay within the range of floats.
        top = float(np.abs(some).max(initial=0.0))
        by = 0 if 1e-100 < top < 1e100 else -math.frexp(top)[1]
        some = np.ldexp(some, by)
        correlation, alignment = _pairs(some) if some.ndim < 3 else (math.nan, 0.0)
        with np.errstate(divide="ignore"):
            size = float(np.log10(np.sqrt(np.mean(some**2)))) - by * math.log10(2)
        return cls(correlation, alignment, size, tuple(_remarks(rows, some, correlation, size)))


def _pairs(x: Floats) -> tuple[float, float]:
    """Mean cosine of two samples, and how far all lie on one line."""
    some = x[x.any(axis=1)]
    count = len(some)
    if count < 2:
        return np.nan, 0.0
    some = some / np.abs(some).max()
    gram = some @ some.T
    norms = np.sqrt(np.diag(gram))
    mean = float(((gram / np.outer(norms, norms)).sum() - count) / (count * (count - 1)))
    rank = float(np.trace(gram)) ** 2 / float((gram**2).sum())
    return mean, (count / rank - 1) / (count - 1) - mean**2


def _remarks(given: NDArray[Any], looked_at: Floats, correlation: float, size: float) -> Iterator[str]:
    """What makes samples hard to learn from; some are looked at for all."""
    rows, some = (each.reshape(-1, each.shape[-1]) for each in (given, looked_at))
    if correlation >= ALIKE:
        yield f"the samples are not centred, two of them have a mean cosine of {correlation:.2f}"
    if abs(size) >= 1:
        yield f"its rms is {power(size)}, far from 1"
    spread = some.std(axis=0)
    moves = spread > ROUNDING * spread.max()
    varied = spread[moves]
    if len(varied) and varied.max() >= UNEVEN * varied.min():
        yield f"the spread of its columns differs {varied.max() / varied.min():.3g}-fold"
    # Columns that are constant in some rows may move in others.
    still = 0 if len(rows) == 1 else int((rows[:, ~moves].std(axis=0) <= ROUNDING * spread.max()).sum())
    if still:
        yield f"{still} of {len(spread)} columns {'are' if still > 1 else 'is'} constant"
    if twice := len(looked_at) - len(np.unique(looked_at.reshape(len(looked_at), -1), axis=0)):
        things = "rows" if given.ndim < 3 else "sequences"
        looked = f"{len(looked_at)} {things}" + " looked at" * (len(looked_at) < len(given))
        yield f"{twice} of {looked} {'are duplicates' if twice > 1 else 'is a duplicate'}"
    ones = (some != 0).sum(axis=1) == 1
    if ones.all() and some.shape[1] > 2 and len(np.unique(some)) == 2:
        things = "rows" if given.ndim < 3 else "steps"
        yield f"{things} are one-hot: the first layer sees one column at a time, of rms {power(size)}"
