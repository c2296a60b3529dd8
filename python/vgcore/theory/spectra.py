"""Singular values of the input-output Jacobian J of wide nets: what `vg.jacobian` measures."""

from __future__ import annotations

import math

import numpy as np

from vgcore.model.given import Bounds, boolean, integer, number
from vgcore.model.kind import Activation
from vgcore.theory.maps import VARIANCE, Floats, moments, ranging
from vgcore.theory.width import digamma


def lyapunov_exponents(width: int, *, sigma_w: float = 1.0) -> Floats:
    """Growth a layer of the singular values of products of Gaussian matrices: the exact Lyapunov spectrum.

    `ln sigma_w + (ln(2 / n) + digamma((n - i) / 2)) / 2` for i = 0 .. n-1, in nats a layer (Newman 1986, Commun. Math.
    Phys. 103, 121).

    Returns:
        `(width,)`, descending.

    >>> spectrum = lyapunov_exponents(64)
    >>> spectrum.shape, bool(spectrum[0] > spectrum[-1])
    ((64,), True)
    """
    width = integer("width", width, least=1)
    sigma_w = number("sigma_w", sigma_w, Bounds(above=0))  # weights of 0 leave nothing to grow
    return np.array([math.log(sigma_w) + (digamma((width - i) / 2) + math.log(2 / width)) / 2 for i in range(width)])


def fuss_catalan(k: int, depth: int) -> float:
    """The k-th moment of the eigenvalues of `J J^T` of a wide linear Gaussian net: `binom((L + 1) k, k) / (L k + 1)`.

    Pennington et al. 2017, arXiv:1711.04735.

    >>> [fuss_catalan(k, 2) for k in (1, 2, 3, 4)]
    [1.0, 3.0, 12.0, 55.0]
    """
    k, depth = integer("k", k, least=1, most=100), integer("depth", depth, least=1, most=100)
    return math.comb((depth + 1) * k, k) / (depth * k + 1)


def spectrum_edge(depth: int) -> float:
    """The largest eigenvalue of `J J^T` of a wide linear Gaussian net: `(L + 1)^(L + 1) / L^L`.

    >>> spectrum_edge(1), spectrum_edge(2)
    (4.0, 6.75)
    """
    depth = integer("depth", depth, least=1)
    return (depth + 1) * (1 + 1 / depth) ** depth


def jacobian_variance(activation: str | Activation, *, q: float, depth: int, orthogonal: bool = False) -> float:
    """Variance of the eigenvalues of `J J^T` of a wide net at a fixed point, over their mean squared.

    `L (E phi'^4 / (E phi'^2)^2 - 1 - s_1)`, with `s_1` -1 for Gaussian weights and 0 for orthogonal ones (Pennington et
    al. 2017, arXiv:1711.04735): 2 L and L for ReLU.

    >>> [round(jacobian_variance("relu", q=1.0, depth=10, orthogonal=flag), 9) for flag in (False, True)]
    [20.0, 10.0]
    """
    depth, free = integer("depth", depth, least=1), not boolean("orthogonal", orthogonal)
    m = moments(activation, number("q", q, VARIANCE))
    with ranging():
        return depth * (float(m["slope_fourth"] / m["slope"] ** 2) - 1 + free)
