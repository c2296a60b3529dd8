"""Moments of activations under a standard normal signal: known numbers and closed forms against quadrature."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from vgcore import reference

Array = npt.NDArray[np.float64]

# Where a function or its slope jumps, no rule of Gauss sees it: the line is cut there.
CUTS = (-3.0, -1.0, 0.0, 1.0, 3.0)
PANELS = np.unique([*np.linspace(-12, 12, 49), *CUTS])
NODES, WEIGHTS = np.polynomial.legendre.leggauss(40)


def mean(f: Callable[[Array], Array], scale: float = 1.0) -> float:
    """E f(scale z) for a standard normal z, with cuts at multiples of the kinks of f."""
    panels = np.unique([*PANELS, *(cut / scale for cut in CUTS)])
    low, high = panels[:-1, None], panels[1:, None]
    z = (low + high) / 2 + (high - low) / 2 * NODES
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return float(((high - low) / 2 * WEIGHTS * density * f(scale * z)).sum())


def moments(kind: str, q: float = 1.0) -> tuple[float, float, float]:
    """E phi, E phi^2 and E phi'^2 of a signal of variance q."""
    return (
        mean(lambda z: reference.activate(kind, z)[0], math.sqrt(q)),
        mean(lambda z: reference.activate(kind, z)[0] ** 2, math.sqrt(q)),
        mean(lambda z: reference.activate(kind, z)[1] ** 2, math.sqrt(q)),
    )


# Ten digits of each.
UNIT: dict[str, tuple[float, float, float]] = {
    "relu": (0.3989422804, 0.5, 0.5),
    "leaky_relu(negative_slope=0.1)": (0.3590480524, 0.505, 0.505),
    "tanh": (0, 0.3942944904, 0.4644029024),
    "sigmoid": (0.5, 0.2933790359, 0.0448362414),
    "erf": (0, 0.4645590544, 0.5694100347),
    "hardtanh": (0, 0.5160585510, 0.6826894921),
    "elu": (0.1605205723, 0.6449454175, 0.6681020012),
    "selu": (0, 1, 1.0715749925),
    "gelu": (0.2820947918, 0.4252214826, 0.4558508656),
    "gelu(approximate=tanh)": (0.2820385881, 0.4251937110, 0.4558178460),
    "silu": (0.2066209641, 0.3557755198, 0.3794823516),
    "softplus": (0.8060591833, 0.9212459089, 0.2933790359),
    "mish": (0.2404038884, 0.4523421924, 0.4790837584),
}


@pytest.mark.parametrize("kind", UNIT)
def test_moments_of_a_unit_signal_are_known_to_ten_digits(kind: str) -> None:
    for measured, known in zip(moments(kind), UNIT[kind], strict=True):
        assert measured == pytest.approx(known, rel=1e-9, abs=6e-11)


def below(x: float) -> float:
    """P(z < x)."""
    return math.erfc(-x / math.sqrt(2)) / 2


def hardtanh_square(q: float) -> float:
    a = 1 / math.sqrt(q)
    density = math.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    return q * math.erf(a / math.sqrt(2)) - 2 * q * a * density + 2 * below(-a)


def elu_square(q: float) -> float:
    s = math.sqrt(q)
    return q / 2 + 1 / 2 + math.exp(2 * q) * below(-2 * s) - 2 * math.exp(q / 2) * below(-s)


# E phi^2 and E phi'^2 at variance q: Williams 1997 (erf), Cho and Saul 2009 (relu), Tsuchida et al. 2021 (elu).
CLOSED: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "erf": (
        lambda q: 2 / math.pi * math.asin(2 * q / (1 + 2 * q)),
        lambda q: 4 / math.pi / math.sqrt(1 + 4 * q),
    ),
    "hardtanh": (hardtanh_square, lambda q: math.erf(1 / math.sqrt(2 * q))),
    "elu": (elu_square, lambda q: 1 / 2 + math.exp(2 * q) * below(-2 * math.sqrt(q))),
    "sin": (lambda q: (1 - math.exp(-2 * q)) / 2, lambda q: (1 + math.exp(-2 * q)) / 2),
    "relu": (lambda q: q / 2, lambda _: 1 / 2),
}


@pytest.mark.parametrize("q", [0.1, 0.7, 1.0, 2.5])
@pytest.mark.parametrize("kind", CLOSED)
def test_closed_forms_agree_with_quadrature(kind: str, q: float) -> None:
    _, square, slope_square = moments(kind, q)
    for measured, closed in zip((square, slope_square), CLOSED[kind], strict=True):
        assert abs(measured - closed(q)) < 1e-12


@pytest.mark.parametrize("c", [-0.9, -0.3, 0.0, 0.5, 0.99])
def test_relu_kernels_of_two_correlated_signals_are_those_of_arc_cosines(c: float) -> None:
    # Given u1 = z, the other is c z + s w, of which half the moments of relu are known.
    s = math.sqrt(1 - c * c)

    def partner(z: Array) -> tuple[Array, Array]:
        t = c * z / s
        share = np.vectorize(below)(t)
        return c * z * share + s * np.exp(-(t**2) / 2) / math.sqrt(2 * math.pi), share

    value, slope = (
        mean(lambda z, order=order: reference.activate("relu", z)[order] * partner(z)[order])  # type: ignore[misc]
        for order in (0, 1)
    )
    angle = math.acos(c)
    assert abs(value - (s + c * (math.pi - angle)) / (2 * math.pi)) < 1e-12
    assert abs(slope - (1 - angle / math.pi) / 2) < 1e-12


def test_selu_keeps_mean_and_variance_and_pulls_the_variance_back() -> None:
    # Klambauer et al. 2017, arXiv:1706.02515: the map of (mean, variance) has a fixed point at (0, 1).
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    value, slope = reference.activate("selu", np.array([-1.0, 0.0, 2.0]))
    assert value == pytest.approx([scale * alpha * math.expm1(-1), 0, 2 * scale], rel=1e-15)
    assert slope[1] == pytest.approx(1.7580993408473768, rel=1e-15)
    first, second, _ = moments("selu")
    assert abs(first) < 1e-12
    assert abs(second - 1) < 1e-12
    # With weights of mean 0 the mean below does not matter; the derivatives by the variance, by Stein's identity.
    by_variance = [
        mean(lambda z, p=power: (z**2 - 1) / 2 * reference.activate("selu", z)[0] ** p)  # type: ignore[misc]
        for power in (1, 2)
    ]
    assert by_variance == pytest.approx([0.08883476, 0.78264788], abs=1e-8)
    jacobian = np.array([[0, by_variance[0]], [0, by_variance[1]]])
    assert np.linalg.norm(jacobian, 2) == pytest.approx(0.7877, abs=5e-5)
