"""What the samples are like before any layer: `Inputs`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Samples that are looked at in pairs.
MOST = 512


@dataclass(frozen=True)
class Inputs:
    """Numbers of samples.

    Attributes:
        correlation: Mean cosine of two samples; nan for fewer than two.
        alignment: `(B/rank - 1)/(B - 1)` less the squared mean cosine, with `rank` the participation ratio of the B
            samples: 1 where all lie on one line, either way from 0.
    """

    correlation: float
    alignment: float

    @classmethod
    def drawn(cls, columns: int) -> Inputs:
        """Of standard normal samples."""
        return cls(0.0, 1 / columns)

    @classmethod
    def of(cls, x: Floats) -> Inputs:
        """Of given samples `(rows, columns)`, at most `MOST` of them, evenly spread.

        >>> Inputs.of(np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]))  # of six cosines two are -1
        Inputs(correlation=-0.3333333333333333, alignment=0.2222222222222222)
        """
        some = x[np.linspace(0, len(x) - 1, min(len(x), MOST)).astype(int)]
        largest = float(np.abs(some).max(initial=0.0))
        some = some[some.any(axis=1)] / (largest or 1.0)
        count = len(some)
        if count < 2:
            return cls(np.nan, 0.0)
        gram = some @ some.T
        norms = np.sqrt(np.diag(gram))
        mean = float(((gram / np.outer(norms, norms)).sum() - count) / (count * (count - 1)))
        rank = float(np.trace(gram)) ** 2 / float((gram**2).sum())
        return cls(mean, (count / rank - 1) / (count - 1) - mean**2)
