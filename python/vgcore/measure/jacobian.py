"""The singular values of a net's input-output Jacobian, all of them, at any depth: `jacobian`.

The core computes them, in `src/jacobian.rs`, which explains how.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore import _core
from vgcore.measure.brought import brought
from vgcore.model.given import integer
from vgcore.model.network import Network
from vgcore.model.shown import Shown
from vgcore.model.spec import Spec
from vgcore.model.versioned import Versioned

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Jacobian(Versioned, Shown):
    """The spectrum of the input-output Jacobian J = dy/dx of one net at one input.

    Attributes:
        spec: What the net is.
        log10_singular_values: float64 `(min(in_features, outputs),)`, descending; `-inf` from where the rank ends, nan
            where the forward pass leaves the range of float64.

    >>> import vgcore as vg
    >>> found = vg.jacobian(vg.MLP(depth=50, width=32, activation="linear", init="orthogonal"))
    >>> found.log10_singular_values.shape, abs(round(float(found.log10_condition), 4))
    ((32,), 0.0)
    """

    spec: Spec
    log10_singular_values: Floats

    @property
    def exponents(self) -> Floats:
        """Finite-depth Lyapunov exponents `ln s / depth`, a layer, descending."""
        found: Floats = self.log10_singular_values * (math.log(10) / self.spec.depth)
        return found

    @property
    def rank(self) -> int:
        """How many singular values are not 0."""
        return int(np.sum(self.log10_singular_values > -math.inf))

    @property
    def log10_norm(self) -> float:
        """log10 of the spectral norm, the largest singular value."""
        return float(self.log10_singular_values[0])

    @property
    def log10_condition(self) -> float:
        """log10 of the largest over the smallest singular value; inf where the smallest is 0."""
        smallest = float(self.log10_singular_values[-1])
        return math.inf if smallest == -math.inf else self.log10_norm - smallest

    def moment(self, k: int) -> float:
        """The scale-free moment `m_k / m_1^k`, where `m_k` is the mean of `s^(2 k)` over all singular values.

        These are the eigenvalues of `J J^T`, or of `J^T J` where that has fewer; 1 for every k if all are equal, the
        Fuss-Catalan numbers for wide linear Gaussian nets (`theory.fuss_catalan`). Their variance over `m_1^2` is
        `moment(2) - 1`.

        Args:
            k: 1 or more.

        Returns:
            1 to n^(k-1) for n singular values, inf where float64 ends; nan if all are 0.
        """
        k = integer("k", k, least=1)
        if self.log10_norm == -math.inf:
            return math.nan
        squares = 100.0 ** (self.log10_singular_values - self.log10_norm)
        with np.errstate(divide="ignore"):
            return float(np.mean(squares**k) / np.mean(squares) ** k)

    def __repr__(self) -> str:
        first, last = self.log10_norm, self.log10_singular_values[-1]
        count = len(self.log10_singular_values)
        return f"Jacobian({self.spec!r}, rank {self.rank} of {count}, log10 singular values {first:.4g} to {last:.4g})"


def jacobian(subject: Any, x: ArrayLike | None = None, *, seed: int = 0) -> Jacobian:
    """All singular values of the input-output Jacobian dy/dx of a net at one input.

    Each has a small relative error, however far below the largest it lies: about what one unit of rounding in each
    weight makes uncertain. What is below a thousand units of rounding of its own layer is 0: weights of less than full
    rank, or the mean that a layer norm takes away. Two layers that are 0 together only because their products cancel
    leave a value some 16 decades down instead. y is the readout or, without one, the last hidden output. The core does
    all of it in float64: the bits depend on no linear algebra library.

    Args:
        subject: A spec, whose weights are drawn in float64 from `seed`; or a `Network`, or a model of another library,
            as in `probe`, whose own weights are taken.
        x: The input, `(in_features,)`; standard normal from the net's stream of samples if None. With
            `inputs="every"` it is `(depth, in_features)`, or flat, and the Jacobian is that of y by the state before
            the first step. Of an `RNN` it is `(steps, in_features)`, or flat, and the Jacobian is the same:
            that of y by the state before the first step. Of a `Transformer` it is `(tokens, in_features)`, or flat, and
            the Jacobian is that of all outputs by all tokens.
        seed: Of weights and x, 0 to 2^64 - 1.

    Raises:
        ValueError: For an x of another shape or that is not finite, for batch norm, which ties samples together, and
            for an `RNN` of several layers, with gates, an output at every step or a truncated gradient.
        TypeError: For a subject that is neither.

    >>> import vgcore as vg
    >>> j = vg.jacobian(vg.MLP(depth=1000, width=32, activation="tanh", init="xavier_normal"))
    >>> j.rank, j.log10_norm > -20, j.log10_condition > 500
    (32, True, True)
    >>> vg.jacobian(vg.MLP(depth=100, width=32, activation="linear", init="orthogonal")).log10_condition < 1e-12
    True
    """
    seed = integer("seed", seed, least=0, most=2**64 - 1)
    if not isinstance(subject, Spec | Network):
        subject, _ = brought(subject, None, "a spec or a Network")
    net = subject.init(seed=seed, dtype="float64") if isinstance(subject, Spec) else subject
    return Jacobian(net.spec, _core.jacobian(net._weights, x, seed))  # noqa: SLF001 (its handle for the core)
