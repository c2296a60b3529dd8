"""Numbers that no depth can make underflow or overflow: an array, and an exponent beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vgcore.reference.random import Array

OF_ZERO = -(10**8)  # the exponent of zeros: below every other, so that adding them changes nothing


@dataclass(frozen=True)
class Scaled:
    """The array `value * 2**exponent`."""

    value: Array
    exponent: int = 0

    def rescaled(self) -> Scaled:
        """Bring max|value| into [1, 2), which is exact."""
        peak = float(np.abs(self.value).max(initial=0))
        if peak == 0:
            return Scaled(self.value, OF_ZERO)
        if not math.isfinite(peak):
            return self
        shift = math.frexp(peak)[1] - 1
        return Scaled(np.ldexp(self.value, -shift), self.exponent + shift)

    def __matmul__(self, matrix: Array) -> Scaled:
        return Scaled(self.value @ matrix, self.exponent)

    def __mul__(self, factor: Array | float) -> Scaled:
        return Scaled(self.value * factor, self.exponent)

    def aligned(self, other: Scaled) -> tuple[Array, Array, int]:
        """Both values over the larger of the two exponents."""
        one, two = self.rescaled(), other.rescaled()
        top = max(one.exponent, two.exponent)
        left, right = (np.ldexp(term.value, term.exponent - top) for term in (one, two))
        return left, right, top

    def __add__(self, other: Scaled) -> Scaled:
        if self.exponent == other.exponent:
            return Scaled(self.value + other.value, self.exponent)
        one, two, top = self.aligned(other)
        return Scaled(one + two, top)

    @np.errstate(all="ignore")
    def true(self) -> Array:
        """The plain array: 0 or inf where its dtype ends."""
        return np.ldexp(self.value, self.exponent)

    def finite(self) -> bool:
        """Is no element infinite or nan?"""
        return bool(np.isfinite(self.value).all())

    def wide(self) -> Array:
        """The value in float64, rescaled so that its squares are in range."""
        return self.rescaled().value.astype(np.float64)

    def log10_norm(self) -> float:
        """log10 of the Frobenius norm, -inf for zeros."""
        norm = np.linalg.norm(self.wide())
        return float(np.log10(norm)) + self.rescaled().exponent * math.log10(2)

    def log10_rms(self) -> float:
        """log10 of the root mean square."""
        return self.log10_norm() - math.log10(self.value.size) / 2
