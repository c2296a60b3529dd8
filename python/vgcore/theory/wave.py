"""A wide random signal on its way through a net: three numbers, and what may be done with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from vgcore.model.custom import named

COVERED = (
    "wide untied nets of independent or orthogonal weights with mean 0, biases with mean 0, any activation, rms or "
    "layer norm, batch norm before an element-wise activation with 6 samples or more, residual, rezero, highway and "
    "dense skips but order=post, projections, weight standardization, standard normal samples and a random cotangent; "
    "recurrent nets of one layer without a norm, and transformers with a layer or rms norm that are not causal"
)


class Wave(NamedTuple):
    """A wide random signal of several samples: features are alike, and so are samples.

    Attributes:
        size: Mean square of a feature of a sample.
        pair: Mean product of a feature of two samples.
        mean: Mean of the features of a sample.
        normal: Do features have a normal law? Then their mean is 0.
    """

    size: float
    pair: float
    mean: float = 0.0
    normal: bool = False

    def times(self, factor: float) -> Wave:
        """All squares times a factor."""
        return Wave(self.size * factor, self.pair * factor, self.mean * math.sqrt(factor), self.normal)

    def centred(self) -> Wave:
        """The signal less the mean of each sample's features."""
        if self.size - self.mean**2 < 1e-9 * self.size:
            raise refuse("features that are alike but for rounding, whose mean is taken away")
        return self._replace(size=self.size - self.mean**2, pair=self.pair - self.mean**2, mean=0.0)

    def plus(self, other: Wave, here: float = 1.0, there: float = 1.0) -> Wave:
        """Features added, which are independent but for their means, times a number each."""
        both = 2 * here * there * self.mean * other.mean
        return Wave(
            here**2 * self.size + there**2 * other.size + both,
            here**2 * self.pair + there**2 * other.pair + both,
            here * self.mean + there * other.mean,
            self.normal and other.normal,
        )


Back = Callable[[Wave], Wave]  # from dL/d(output) of a part to dL/d(input), a feature each
Split = Callable[[Wave], tuple[Wave, Wave]]  # from dL/dh to what goes around a block, and through it


def refuse(what: str) -> ValueError:
    """The error that says what theory does not cover, and what it does."""
    return ValueError(f"theory does not cover {named(what)}; it covers {COVERED}")
