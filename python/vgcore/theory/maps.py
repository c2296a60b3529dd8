"""What one wide random layer does to variances, correlations and gradients, in expectation.

In a wide net `z_l = W_l phi(z_(l-1)) + b_l` with `W ~ N(0, sigma_w^2 / fan_in)` and `b ~ N(0, sigma_b^2)` every
pre-activation is normal. Its variance q and the correlation c of two inputs follow maps, and the squared norm of dL/dz
is multiplied by `chi = sigma_w^2 E phi'(sqrt(q) z)^2` a layer: the factor that a probe reports is its root.

Sources: Poole et al. 2016, arXiv:1606.05340; Schoenholz et al. 2017, arXiv:1611.01232. Expectations are integrals split
at kinks by the double-exponential rule, with errors below 1e-13 of one signal and 1e-11 of two, relative to the scale
of phi; of the waves sin and snake up to variances of a thousand. They take any activation; your own are as good as
their tables. All arguments but the activation may be arrays: they broadcast.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore import _core
from vgcore.model.custom import named
from vgcore.model.given import Bounds, integer, number, numbers, shown, text
from vgcore.model.kind import Activation
from vgcore.model.names import known

Floats = NDArray[np.float64]


#: Variances, and scales of weights and biases, whose squares must stay within the range of floats.
VARIANCE, SCALE = Bounds(least=0), Bounds(least=0, most=1e100)
#: What leaves the range of floats is inf, and what is then not defined nan: results like others.
ranging: partial[np.errstate] = partial(np.errstate, over="ignore", under="ignore", divide="ignore", invalid="ignore")
#: Numbers that the core gives at a time: Ctrl-C is heard in between, and lists of them take little memory.
CHUNK = 2**20
#: Points for normal integrals of what is smooth, such as sigmoids.
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(64)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def _above_zero(q: Floats) -> Floats:
    """Variances for the core, where 0 becomes the least number above it: expectations divide by q."""
    return np.maximum(q, 5e-324)


def rows(core: Callable[..., Floats], activation: str | Activation, *columns: Floats, width: int) -> Floats:
    """What the core makes of each entry of columns of one shape: their shape, and an axis of `width`."""
    name, count = text("activation", activation), columns[0].size
    _core.check_memory(f"theory of {count} points", 16 * width * count)  # in parts, and as a whole
    flat, step = [column.ravel() for column in columns], max(1, CHUNK // width)
    found = [core(name, *(each[i : i + step].tolist() for each in flat)) for i in range(0, max(count, 1), step)]
    return (found[0] if len(found) == 1 else np.concatenate(found)).reshape(*columns[0].shape, width)


def broadcast(**given: Floats) -> list[Floats]:
    """Arguments as arrays of one shape; a ValueError names those that have none in common."""
    try:
        return list(np.broadcast_arrays(*given.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in given.items())
        raise ValueError(f"{' and '.join(given)} must have shapes that broadcast, got {shapes}") from None


def multiplies(activation: str | Activation) -> bool:
    """Whether it is gated: a product of two signals, half as wide as z."""
    return _core.activation_outputs(text("activation", activation)) < 1


def moments(activation: str | Activation, q: ArrayLike) -> dict[str, Floats]:
    """Expectations over pre-activations z of variance q.

    Args:
        activation: Name, call such as `"leaky_relu(0.1)"`, or `Activation`.
        q: Variances, 0 or more.

    Returns:
        Arrays of the shape of q: `mean` E phi, `value` E phi^2, `slope` E phi'^2; their derivatives by q,
        `mean_growth`, `growth` (of `value`) and `slope_growth`, and the second ones, `bend` (of `value`) and
        `slope_bend`; `value_fourth` E phi^4, `slope_fourth` E phi'^4 and `mixed` E phi^2 phi'^2. Of a gated activation
        `phi = v g(u)`, whose z has two halves, `slope` is what both slopes make of it, and only `mean`, `value`,
        `slope` and `growth` are known: the others are nan.

    Raises:
        ValueError: For an unknown activation, or a variance below 0 or not finite.

    >>> round(float(moments("tanh", 1.0)["slope"]), 10)
    0.4644029024
    """
    found = rows(_core.moments, activation, _above_zero(numbers("q", q, VARIANCE)), width=len(_core.MOMENTS))
    return {name: found[..., i] for i, name in enumerate(_core.MOMENTS)}


def q_map(activation: str | Activation, *, q: ArrayLike, sigma_w: ArrayLike, sigma_b: ArrayLike = 0.0) -> Floats:
    """The variance of z a layer on: `sigma_w^2 E phi(sqrt(q) z)^2 + sigma_b^2` (Poole et al. 2016, eq. 3).

    >>> round(float(q_map("relu", q=3.0, sigma_w=2**0.5)), 12)
    3.0
    """
    w, b = numbers("sigma_w", sigma_w, SCALE), numbers("sigma_b", sigma_b, SCALE)
    value = moments(activation, q)["value"]
    w, b, value = broadcast(sigma_w=w, sigma_b=b, q=value)
    with ranging():
        result: Floats = w**2 * value + b**2
    return result


def chi(activation: str | Activation, *, q: ArrayLike, sigma_w: ArrayLike) -> Floats:
    """The factor a layer of the squared norm of dL/dz at variance q: `sigma_w^2 E phi'(sqrt(q) z)^2`.

    >>> round(float(chi("sigmoid", q=0.264686875182, sigma_w=1.0)), 10)
    0.0557207068
    """
    slope, w = broadcast(q=moments(activation, q)["slope"], sigma_w=numbers("sigma_w", sigma_w, SCALE))
    with ranging():
        result: Floats = w**2 * slope
    return result


def pair_moments(activation: str | Activation, *, q: ArrayLike, c: ArrayLike) -> tuple[Floats, Floats]:
    """`E phi(u) phi(v)` and `E phi'(u) phi'(v)` of two normal signals of variance q and correlation c.

    >>> [round(float(value), 10) for value in pair_moments("relu", q=1.0, c=0.0)]  # 1 / (2 pi) and 1 / 4
    [0.1591549431, 0.25]
    """
    variances, correlations = broadcast(q=numbers("q", q, VARIANCE), c=numbers("c", c, Bounds(least=-1, most=1)))
    found = rows(_core.pair_moments, activation, _above_zero(variances), correlations, width=2)
    return found[..., 0], found[..., 1]


def c_map(
    activation: str | Activation, *, c: ArrayLike, q: ArrayLike, sigma_w: ArrayLike, sigma_b: ArrayLike = 0.0
) -> Floats:
    """The correlation of two inputs a layer on, both of variance q, which need not be a fixed point.

    Poole et al. 2016, eq. 5.

    >>> round(float(c_map("relu", c=0.0, q=1.0, sigma_w=2**0.5)), 10)
    0.3183098862
    """
    w, b = numbers("sigma_w", sigma_w, SCALE), numbers("sigma_b", sigma_b, SCALE)
    alone = q_map(activation, q=q, sigma_w=w, sigma_b=b)
    together, w, b, alone = broadcast(c=pair_moments(activation, q=q, c=c)[0], sigma_w=w, sigma_b=b, q=alone)
    with ranging():
        result = (w**2 * together + b**2) / alone  # nan where q maps to 0
    return np.asarray(np.clip(result, -1, 1))  # rounding may leave the range by an ulp


def hermite(activation: str | Activation, *, q: ArrayLike, count: int = 64) -> Floats:
    """The first coefficients a_k of `phi(sqrt(q) z)` in Hermite polynomials of unit norm, `(..., count)`.

    They are what correlations see: `E phi(u) phi(v) = sum a_k^2 c^k` and `q E phi'(u) phi'(v) = sum k a_k^2 c^(k - 1)`
    (Mehler's formula; Daniely et al. 2016, arXiv:1602.05897).

    >>> hermite("relu", q=1.0, count=4).round(6).tolist()
    [0.398942, 0.5, 0.282095, 0.0]
    """
    variances, count = numbers("q", q, VARIANCE), integer("count", count, least=1, most=10_000)
    if multiplies(activation):
        raise ValueError(
            f"{named(activation)} multiplies two signals; its coefficients would be those of the gate alone"
        )

    def coefficients(name: str, q: list[float]) -> Floats:
        return _core.hermite(name, q, count)

    return rows(coefficients, activation, _above_zero(variances), width=count)


#: Below, means of 1 / variance over batches do not exist, or are carried by rare nets.
LEAST_BATCH = 6


def norm_chi(activation: str | Activation, norm: str, *, batch: float = math.inf) -> float:
    """The factor a layer of the squared norm of dL/dz with a normalisation before phi, whatever the weights' scale.

    Behind `"rms"` and `"layer"` it is `E phi'^2 / E phi^2` at unit variance, after the layer norm of a wide net whose
    z have mean 0. Behind `"batch"` it is `E phi'^2 / Var phi` in large batches, never below 1 (Yang et al. 2019,
    arXiv:1902.08129). In a batch of B the samples of a unit, centred and divided by their deviation, are a direction y
    of length sqrt(B) across (1, ..., 1), the mean of 1 / deviation^2 has the factor `B / (B - 3)`, and the way back is
    `diag phi'(y)` between projections across (1, ..., 1) and y; of a linear net `(B - 2) / (B - 3)`.

    Args:
        activation: Element-wise.
        norm: `"batch"`, `"layer"` or `"rms"`, without its eps.
        batch: Samples under batch norm, 6 or more.

    >>> [round(norm_chi("relu", norm), 10) for norm in ("rms", "batch")]
    [1.0, 1.4669422069]
    >>> round(norm_chi("linear", "batch", batch=8), 10)
    1.2
    """
    if multiplies(activation):
        raise ValueError(
            f"norm_chi takes element-wise activations, not {named(activation)}, which multiplies two signals"
        )
    samples = number("batch", batch, Bounds(least=1, finite=False))
    if known("norm", norm, _core.NORMS) == "batch" and samples < math.inf:
        rates = BatchRates.of(activation, samples)
        kept, left = rates.back(1.0, -1 / (samples - 1)), rates.value - rates.together
    else:
        m = {name: float(value) for name, value in moments(activation, 1.0).items()}
        kept, left = m["slope"], m["value"] - (m["mean"] ** 2 if norm == "batch" else 0.0)
    with ranging():
        return float(np.divide(kept, left))


class BatchRates(NamedTuple):
    """What batch norm and phi make of a batch whose correlations are all alike: of z, whose samples sum to 0 behind it.

    Attributes:
        mean: E phi.
        value: E phi^2 of a sample.
        together: E phi phi of two.
        alone: What the squared norm of dL/dz has of the parts of dL/dh in which samples are independent, times the
            variance that is divided by.
        common: What the squared norm of dL/dz has of the part of dL/dh that all samples have in common, times it too.
    """

    mean: float
    value: float
    together: float
    alone: float
    common: float

    @classmethod
    def of(cls, activation: str | Activation, batch: float) -> BatchRates:
        """The rates of a batch of so many samples."""
        count = number("batch", batch, Bounds(least=1, most=2**31))
        if count < LEAST_BATCH or count != count // 1:
            raise ValueError(
                f"batch must be a whole number of {LEAST_BATCH} or more under batch norm, got {shown(batch)}: in "
                "smaller ones the mean of 1 / variance is carried by rare nets, or does not exist"
            )
        return cls._known(text("activation", activation), int(count))

    @classmethod
    @lru_cache(maxsize=256)
    def _known(cls, activation: str, b: int) -> BatchRates:
        mean, value, slope, tilt, together, pair_slope, pair_tilt = _core.batch_moments(activation, b)
        # D = diag phi'(y), and P projects across (1, ..., 1) and y: E tr P D^2 and E |P D 1|^2, over B - 3.
        alone = ((b - 1) * slope - tilt) / (b - 3)
        return cls(mean, value, together, alone, alone - (b - 1) * (pair_slope + pair_tilt) / (b - 3))

    def back(self, size: float, pair: float) -> float:
        """Mean square of dL/dz, times the variance that is divided by, of such a dL/dh.

        Args:
            size: Mean square of dL/dh.
            pair: Mean product of dL/dh of two samples.
        """
        return (size - pair) * self.alone + pair * self.common
