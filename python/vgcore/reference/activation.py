"""Activations: phi(z) and its slope phi'(z), and what they make of a whole layer.

A slope is computed from z, never from the output: where tanh(z) is 1 in floating point, 1 - tanh(z)^2 has no digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from vgcore.reference.kind import DOUBLED, GATED, parse
from vgcore.reference.random import Array

Pair = tuple[Array, Array]


def sigmoid(z: Array) -> Pair:
    """1 / (1 + exp(-z)) without overflow; the slope exp(-z) / (1 + exp(-z))^2 is even in z."""
    e = np.exp(-np.abs(z))
    return np.where(z < 0, e, 1) / (1 + e), e / (1 + e) ** 2


def tanh(z: Array) -> Pair:
    """Slope 1 / cosh(z)^2, which is 4 sigmoid'(2 z)."""
    return np.tanh(z), 4 * sigmoid(2 * z)[1]


def leaky_relu(z: Array, negative_slope: float = 0.01) -> Pair:
    """Slope 1 above 0 and `negative_slope` from 0 down (Maas et al. 2013)."""
    return np.where(z > 0, z, negative_slope * z), np.where(z > 0, 1.0, negative_slope)


def elu(z: Array, alpha: float = 1.0) -> Pair:
    """Linear above 0 and alpha (exp(z) - 1) below (Clevert et al. 2015)."""
    low = np.minimum(z, 0)
    return np.where(z > 0, z, alpha * np.expm1(low)), np.where(z > 0, 1, alpha * np.exp(low))


def selu(z: Array) -> Pair:
    """Elu scaled so that mean 0 and variance 1 are a fixed point (Klambauer et al. 2017)."""
    value, slope = elu(z, 1.6732632423543772)
    return 1.0507009873554805 * value, 1.0507009873554805 * slope


def gelu(z: Array, approximate: str = "none") -> Pair:
    """Gate z by P(N(0, 1) < z), or by a sigmoid close to it (Hendrycks & Gimpel 2016)."""
    near = np.clip(z, -100, 100)  # beyond, the gate is 0 or 1
    if approximate == "none":  # erfc keeps the digits of the lower tail, 1 + erf does not
        erfc = np.vectorize(math.erfc, otypes=[np.float64])
        gate = erfc(-near / math.sqrt(2)) / 2
        gate_slope = np.exp(-(near**2) / 2) / math.sqrt(2 * math.pi)
    else:  # (1 + tanh(u)) / 2 = sigmoid(2 u) with u = sqrt(2 / pi) (z + 0.044715 z^3)
        gate, gate_slope = sigmoid(math.sqrt(8 / math.pi) * (near + 0.044715 * near**3))
        gate_slope *= math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * near**2)
    return z * gate, gate + near * gate_slope


def silu(z: Array) -> Pair:
    """Gate z by sigmoid(z) (Elfwing et al. 2017)."""
    gate, gate_slope = sigmoid(z)
    return z * gate, gate + z * gate_slope


def softplus(z: Array, beta: float = 1.0, threshold: float = 20.0) -> Pair:
    """log(1 + exp(beta z)) / beta, and z itself where beta z > threshold."""
    linear = beta * z > threshold
    value = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(beta * z))) / beta
    return np.where(linear, z, value), np.where(linear, 1, sigmoid(beta * z)[0])


def hardtanh(z: Array, min_val: float = -1.0, max_val: float = 1.0) -> Pair:
    """Clip z; slope 0 from the bounds on."""
    return np.clip(z, min_val, max_val), ((min_val < z) & (z < max_val)).astype(float)


def rrelu(z: Array, lower: float = 1 / 8, upper: float = 1 / 3) -> Pair:
    """Leaky relu with the mean of the slopes that training draws, as in evaluation (Xu et al. 2015)."""
    return leaky_relu(z, (lower + upper) / 2)


def celu(z: Array, alpha: float = 1.0) -> Pair:
    """Scale elu to alpha elu(z / alpha), whose slope has no jump (Barron 2017)."""
    value, slope = elu(z / alpha)
    return alpha * value, slope


def mish(z: Array) -> Pair:
    """Gate z by tanh(softplus(z)) (Misra 2019)."""
    gate = np.tanh(np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))))
    return z * gate, gate + z * (1 - gate**2) * sigmoid(z)[0]


def softsign(z: Array) -> Pair:
    """The rational z / (1 + |z|)."""
    return z / (1 + np.abs(z)), (1 / (1 + np.abs(z))) ** 2


def hardsigmoid(z: Array) -> Pair:
    """A line from (-3, 0) to (3, 1); slope 0 from there on."""
    return np.clip(z + 3, 0, 6) / 6, np.where(np.abs(z) < 3, 1 / 6, 0)


def hardswish(z: Array) -> Pair:
    """Gate z by hardsigmoid(z) (Howard et al. 2019); slope 0 at -3 and 1 at 3, as in torch."""
    inside = np.where(z < 3, (2 * z + 3) / 6, 1)
    return z * np.clip(z + 3, 0, 6) / 6, np.where(z <= -3, 0, inside)


def logsigmoid(z: Array) -> Pair:
    """log(sigmoid(z)) without overflow."""
    return np.minimum(z, 0) - np.log1p(np.exp(-np.abs(z))), sigmoid(-z)[0]


def tanhshrink(z: Array) -> Pair:
    """The rest z - tanh(z), whose two terms cancel near 0."""
    small = np.clip(z, -1, 1)
    q = np.zeros_like(z)  # tanh(z) = z / (1 + q) with q = z^2 / (3 + z^2 / (5 + ...)) (Lambert)
    for odd in range(23, 1, -2):
        q = small**2 / (odd + q)
    return np.where(np.abs(z) < 1, z * q / (1 + q), z - np.tanh(z)), np.tanh(z) ** 2


def softshrink(z: Array, lambd: float = 0.5) -> Pair:
    """Bring z nearer to 0 by lambd; 0 within lambd of it."""
    return np.sign(z) * np.maximum(np.abs(z) - lambd, 0), (np.abs(z) > lambd).astype(float)


def hardshrink(z: Array, lambd: float = 0.5) -> Pair:
    """Keep z; 0 within lambd of 0."""
    return np.where(np.abs(z) <= lambd, 0, z), (np.abs(z) > lambd).astype(float)


def threshold(z: Array, threshold: float, value: float) -> Pair:
    """Keep z above the threshold; `value` up to it."""
    return np.where(z <= threshold, value, z), (z > threshold).astype(float)


def erf(z: Array) -> Pair:
    """The error function."""
    near = np.clip(z, -100, 100)  # beyond, the slope is 0
    return np.vectorize(math.erf, otypes=[np.float64])(z), 2 / math.sqrt(math.pi) * np.exp(-(near**2))


def squareplus(z: Array, b: float = 4.0) -> Pair:
    """(z + sqrt(z^2 + b)) / 2, whose two terms cancel below 0 (Barron 2021)."""
    root = np.hypot(z, math.sqrt(b))
    value = np.where(z > 0, root + z, b / (root + np.abs(z))) / 2
    return value, value / root


def snake(z: Array, alpha: float = 1.0) -> Pair:
    """A rising wave, z + sin(alpha z)^2 / alpha (Ziyin et al. 2020)."""
    return z + np.sin(alpha * z) ** 2 / alpha, 1 + np.sin(2 * alpha * z)


def custom(z: Array, table: str) -> Pair:
    """A user's own function: cubics through its samples (Hermite), lines beyond their ends."""
    # The samples are the user's, and all that the twin asks of the rest of the package.
    from vgcore.model.custom import KNOWN

    known = KNOWN[f"custom(table={table})"].table
    borders, cells, values, slopes = known.borders, known.cells, known.values, known.slopes
    inside = np.clip(z, borders[0], borders[-1])
    value, slope = np.full_like(z, math.nan), np.full_like(z, math.nan)
    for low, high, n in zip(borders, borders[1:], cells, strict=False):
        ends, values = np.split(values, [n + 1])
        tangents, slopes = np.split(slopes, [n + 1])
        start, h = low, (high - low) / n
        if high <= 0:  # from the end nearer to 0, where a small z keeps its digits
            start, h, ends, tangents = high, -h, ends[::-1], tangents[::-1]
        here = (inside <= high) & np.isnan(value)
        cell = np.clip(((inside[here] - start) / h).astype(int), 0, n - 1)
        u = (inside[here] - start) / h - cell
        v0, v1, s0, s1 = ends[cell], ends[cell + 1], tangents[cell], tangents[cell + 1]
        value[here] = v0 + u * h * s0 + u**2 * (3 * (v1 - v0) - h * (2 * s0 + s1) + u * (2 * (v0 - v1) + h * (s0 + s1)))
        slope[here] = s0 + 2 * u * (3 * (v1 - v0) / h - 2 * s0 - s1) + 3 * u**2 * (2 * (v0 - v1) / h + s0 + s1)
    return value + np.where(slope == 0, 0, slope) * np.where(slope == 0, 0, z - inside), slope


ACTIVATIONS: dict[str, Callable[..., Pair]] = {
    "linear": lambda z: (z, np.ones_like(z)),
    "sigmoid": sigmoid,
    "tanh": tanh,
    "hardtanh": hardtanh,
    "relu": lambda z: leaky_relu(z, 0.0),
    "relu6": lambda z: hardtanh(z, 0.0, 6.0),
    "leaky_relu": leaky_relu,
    "prelu": lambda z, init=0.25: leaky_relu(z, init),
    "rrelu": rrelu,
    "elu": elu,
    "celu": celu,
    "selu": selu,
    "gelu": gelu,
    "silu": silu,
    "mish": mish,
    "softplus": softplus,
    "softsign": softsign,
    "hardsigmoid": hardsigmoid,
    "hardswish": hardswish,
    "logsigmoid": logsigmoid,
    "tanhshrink": tanhshrink,
    "softshrink": softshrink,
    "hardshrink": hardshrink,
    "threshold": threshold,
    "erf": erf,
    "sin": lambda z, omega=1.0: (np.sin(omega * z), omega * np.cos(omega * z)),
    "arctan": lambda z: (np.arctan(z), (1 / np.hypot(1, z)) ** 2),
    "abs": lambda z: (np.abs(z), np.sign(z)),
    "squareplus": squareplus,
    "snake": snake,
    "crelu": lambda z: leaky_relu(z, 0.0),
    "glu": sigmoid,
    "swiglu": silu,
    "geglu": gelu,
    "custom": custom,
}
HOMOGENEOUS = {"linear", "relu", "leaky_relu", "prelu", "rrelu", "abs", "crelu"}  # phi(c z) = c phi(z) for every c > 0


def activate(kind: str, z: Array) -> Pair:
    """(phi(z), phi'(z)), evaluated in float64 and rounded once to the dtype of z."""
    name, params = parse(kind)
    value, slope = ACTIVATIONS[name](z.astype(np.float64), **params)
    return value.astype(z.dtype), slope.astype(z.dtype)


def halves(z: Array) -> Pair:
    """The left and the right half of the columns."""
    half = z.shape[1] // 2
    return z[:, :half], z[:, half:]


def outputs(kind: str, z: Array) -> Pair:
    """The outputs of an activation, which may be wider or narrower than z, and their slopes.

    The slopes have an entry for each of z, or two where each z has two outputs.
    """
    name = parse(kind)[0]
    if name in GATED:
        value, gate = halves(z)
        opening, slope = activate(kind, gate)
        return value * opening, np.hstack([opening, value * slope])
    if name in DOUBLED:
        (one, up), (two, down) = activate(kind, z), activate(kind, -z)
        return np.hstack([one, two]), np.hstack([up, -down])
    return activate(kind, z)


def pulled_back(kind: str, slopes: Array, da: Array) -> Array:
    """dL/dz from dL/da, by the slopes of `outputs`."""
    name = parse(kind)[0]
    if name in GATED:
        return np.hstack([da, da]) * slopes
    if name in DOUBLED:
        one, two = halves(da * slopes)
        dz: Array = one + two
        return dz
    return da * slopes


def straight(kind: str) -> bool:
    """Is phi(z) = phi'(0) z to the last bit for a z that is small enough?"""
    tiny = np.array([-(2.0**-60), 2.0**-60])
    value, slope = activate(kind, tiny)
    through_zero = not activate(kind, np.zeros(1))[0].any()
    return parse(kind)[0] not in GATED and through_zero and np.allclose(value, slope * tiny, rtol=1e-14, atol=0)


@cache
def steepest(kind: str) -> float:
    """The largest |phi'|, on a grid fine enough for its one use, a threshold at 1 % of it."""
    z = np.geomspace(1e-6, 1e6, 20_001)
    return float(np.abs(activate(kind, np.concatenate([-z, [0.0], z]))[1]).max())
