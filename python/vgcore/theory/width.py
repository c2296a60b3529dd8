"""What a finite width does: drift and variance of the log of the squared gradient, to first order in 1/width.

For ReLU and linear nets of independent weights the law is known exactly (Hanin and Nica 2018, arXiv:1812.05994). For
others there are three sources, all of order 1/n. The sum over a layer's n units in `|dL/dz|^2` is a sample of its mean.
The variance q of z is one too, and the next layers hand its deviation on; the curvature of `ln chi` in q makes a mean
of it. And W is not independent of the z that it has made: along h the gradient that comes back is the one of a radial
change of z, not a random one. (The first two as in Roberts, Yaida and Hanin 2022, arXiv:2106.10165, chapters 4, 5 and
9; derived anew, and held to measurement by tests.)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from vgcore.model.given import LONGEST, Bounds, integer, number, numbers, out_of_bounds, text
from vgcore.model.kind import Activation
from vgcore.theory.fixed import q_star
from vgcore.theory.maps import SCALE, Floats, moments, ranging


@dataclass(frozen=True)
class Layer:
    """A layer of a plain net of independent weights, as this module needs it.

    Attributes:
        ww: fan_in times the variance of its weights.
        bb: Variance of its biases.
        q: Variance of its z.
        width: Units.
        moments: Moments of its activation at q, by name.
    """

    ww: float
    bb: float
    q: float
    width: int
    moments: dict[str, float]

    @property
    def made(self) -> float:
        """Share of q that the weights have made; the rest is the biases'."""
        return 1 - self.bb / self.q if self.q > 0 else 0.0

    @property
    def sampled(self) -> float:
        """Variance of the mean of phi^2 over the units, over its square."""
        return (self.moments["value_fourth"] / self.moments["value"] ** 2 - 1) / self.width

    def scaled(self, name: str, by: str, power: int = 1) -> float:
        """A moment's derivative by ln q, relative to the moment: `q m' / m`, or `q^2 m'' / m` for the second one."""
        return self.q * (self.q if power == 2 else 1.0) * self.moments[name] / self.moments[by]

    @classmethod
    def of(cls, activation: str, *, ww: float, bb: float, q: float, width: int) -> Layer:
        """The layer with the moments of its activation."""
        return cls(ww, bb, q, width, {name: float(value) for name, value in moments(activation, q).items()})


#: The largest share by which variations of q may change its own mean, or that of chi, in a layer. Above it the first
#: order is not enough: gelu at sigma_w 1.4 and width 256 comes to 0.07, and its drift was measured at a ninth.
MOST_CURVED = 0.05


def log_gradient(layers: Sequence[Layer], *, inputs: float = 0.0) -> tuple[Floats, Floats, float]:
    """Drift and variance of `ln |dL/dz_l|^2 / |dL/dz_L|^2` of one sample, `(layers,)` each, around the sum of `ln chi`.

    Args:
        layers: Input side first.
        inputs: Variance of the mean square of a sample's features, over its mean squared: 2 / n of normal ones.

    Returns:
        Both, and the largest share by which curvature changes a mean, for `MOST_CURVED`.
    """
    # Deviations of q are relative to it, so that no depth leaves the range of numbers.
    shift, variance = 0.0, layers[0].made ** 2 * inputs
    shifts, variances = [], []
    most = 0.0
    for layer, after in itertools.pairwise(layers):
        shifts.append(shift)
        variances.append(variance)
        growth = layer.scaled("growth", "value")
        curved = 0.5 * layer.scaled("bend", "value", 2) * variance
        most = max(most, abs(curved))
        shift = after.made * (growth * shift + curved)
        variance = after.made**2 * (growth**2 * variance + layer.sampled)

    drift, spread = np.zeros(len(layers)), np.zeros(len(layers))
    drifts = spreads = 0.0
    carried = 0.0  # of a deviation of ln q into ln |dL/dz|^2, from the next layer on
    radial = _radial(layers[-1], math.nan)
    for l in reversed(range(len(layers) - 1)):
        layer, after, m = layers[l], layers[l + 1], layers[l].moments
        value, slope, n = m["value"], m["slope"], layer.width
        steep = layer.scaled("slope_growth", "slope")
        own = (3 * m["slope_fourth"] / slope**2 - 1) / n
        mixed = m["mixed"] / (value * slope)
        curved = 0.5 * (layer.scaled("slope_bend", "slope", 2) - steep**2) * variances[l]
        most = max(most, abs(curved))
        drifts += steep * shifts[l] + curved - 0.5 * own + mixed * (radial / after.made - 1) / n
        handed = carried * after.made
        spreads += own + handed**2 * layer.sampled + 2 * handed * (mixed - 1) / n
        carried = steep + handed * layer.scaled("growth", "value")
        radial = _radial(layer, radial / after.made)
        drift[l], spread[l] = drifts, spreads + carried**2 * variances[l]
    return drift, spread, most


def _radial(layer: Layer, behind: float) -> float:
    """`E (sum of y dL/dz)^2 / (q |dL/dz|^2)`, with y the part of z that the weights made.

    A radial change of h comes through the next weights as one of their y, which is `behind`, from the layer after over
    the share of its q that is y's; what is left of these weights is independent of h. The last layer has none behind.
    """
    made, m = layer.made, layer.moments
    own = made**2 * (1 + 2 * layer.scaled("slope_growth", "slope")) + made * (1 - made)  # E y^2 phi'^2
    if math.isnan(behind):
        return own
    along = (made * layer.scaled("growth", "value")) ** 2 * m["value"] / (layer.q * m["slope"])
    return own + along * (behind - 1)


def aligned(layers: Sequence[Layer], scale: float, *, start: tuple[float, float] = (1.0, 0.0)) -> Floats:
    """The factors by which the square of dL/dz in nets `h + scale phi(W h)` exceeds the infinitely wide, `(layers,)`.

    Given the z that it has made, W comes back along h: `W^T d` is `h (y d) / |h|^2` and a random part, with y = W h. In
    plain nets that is a correction of 1/n. Here h is handed on, and where phi has a positive mean all h have a
    direction in common: dL/dh along it starts as 1/n of the square, grows faster than the rest, and has made it twice
    as large at width 1024, depth 20 and sigma_w 1.3 of ReLU. Derived for this module; a test holds it to measurement.
    """
    size, mean = ([each] for each in start)  # of h, from standard normal samples on
    spread = [size[0] - mean[0] ** 2]  # variance of its features, which sizes lose to rounding where means are large
    for layer in layers:
        m = layer.moments
        size.append(size[-1] + scale**2 * m["value"] + 2 * scale * mean[-1] * m["mean"])
        mean.append(mean[-1] + scale * m["mean"])
        spread.append(spread[-1] + scale**2 * (m["value"] - m["mean"] ** 2))
    square = 1.0  # of dL/dh a feature, over that of infinitely wide nets
    # Second moments of the products of dL/dh with (1, h) over the width.
    products = np.array([[1, mean[-1]], [mean[-1], size[-1]]])
    excess = np.ones(len(layers))
    for l in reversed(range(len(layers))):
        layer, m, n = layers[l], layers[l].moments, layers[l].width
        excess[l] = square
        kept = layer.made  # of z, what W has made: y
        tilted = kept * 2 * layer.q * m["mean_growth"]  # E y phi'
        both = kept * layer.q * m["growth"]  # E y phi phi'
        steep = layer.q * kept * (kept * (m["slope"] + 2 * layer.q * m["slope_growth"]) + (1 - kept) * m["slope"])
        # Products of 1, the h before and y phi' with (1, the h behind), whose own have an inverse; among themselves.
        x, at = size[l], mean[l]
        inverse = np.array([[size[l + 1], -mean[l + 1]], [-mean[l + 1], 1]]) / spread[l + 1]
        known = np.array([[1, mean[l + 1]], [at, x + scale * at * m["mean"]], [tilted, at * tilted + scale * both]])
        among = np.array([[1, at, tilted], [at, x, at * tilted], [tilted, at * tilted, steep]])
        share = known @ inverse
        found = share @ products @ share.T + square * (among - share @ known.T)
        random = scale**2 * layer.ww * m["slope"]
        step = np.array([[1, 0, scale * at / x], [0, 1, scale]])
        products = step @ found @ step.T
        products[0, 0] += random * square * (1 - at**2 / x)
        square += random * square * (1 - 1 / n) + (2 * scale * found[1, 2] + scale**2 * found[2, 2]) / (x * n)
        products, square = products / (1 + random), square / (1 + random)
    return excess


def gradient_noise(
    activation: str | Activation, *, sigma_w: float, width: ArrayLike, sigma_b: float = 0.0, depth: int = 1000
) -> tuple[Floats, Floats]:
    """What a finite width does to `ln |dL/dz|^2` of a net at `q_star`, a layer: its drift and its variance.

    Of linear and ReLU nets without biases the exact sums over chi-squared laws; of others the first order in 1/width,
    whose neglected parts are small where the variance added up over the depth is well below 1.

    Args:
        activation: Which, element-wise.
        sigma_w: Scale of the weights.
        width: Units of all layers; an array of any shape.
        sigma_b: Scale of the biases.
        depth: Layers that the average is over.

    Returns:
        Drift (most often below 0: typical nets have less gradient than the mean of many) and variance, of the shape of
        `width`; nan where there is no fixed variance, or where layers are too narrow for the first order.

    >>> [round(float(v), 10) for v in gradient_noise("relu", sigma_w=2**0.5, width=64)]
    [-0.0401085988, 0.0829973506]
    >>> [round(float(v), 5) for v in gradient_noise("sigmoid", sigma_w=1.0, sigma_b=0.1, width=64)]
    [-0.01934, 0.03237]
    """
    widths, name = numbers("width", width, Bounds(least=1, most=LONGEST)), text("activation", activation)
    sigma_w, sigma_b = number("sigma_w", sigma_w, SCALE), number("sigma_b", sigma_b, SCALE)
    depth = integer("depth", depth, least=2)
    if (widths != widths.round()).any() or not widths.size:
        raise out_of_bounds("width", "whole numbers", width)
    if name in {"relu", "linear"} and sigma_b == 0:
        pairs = [chi_squared(int(n), thinned=name == "relu") for n in widths.ravel()]
        drift, variance = (np.array(each).reshape(widths.shape) for each in zip(*pairs, strict=True))
        return drift, variance
    q = float(q_star(activation, sigma_w=sigma_w, sigma_b=sigma_b))
    if not 0 < q < math.inf:
        return np.full(widths.shape, math.nan), np.full(widths.shape, math.nan)
    layer = Layer.of(name, ww=sigma_w**2, bb=sigma_b**2, q=q, width=1)
    with ranging():
        drift, spread, most = log_gradient([layer] * depth)
        widths = np.where(most / widths > MOST_CURVED, math.nan, widths * (depth - 1))
        return drift[0] / widths, spread[0] / widths


@lru_cache(maxsize=256)
def chi_squared(n: int, *, thinned: bool) -> tuple[float, float]:
    """Mean and variance of `ln (c chi^2_K / n)`: K = n, or with c = 2 binomial(n, 1/2) and not 0, as units of ReLU."""
    if not thinned:
        return digamma(n / 2) + math.log(2 / n), trigamma(n / 2)
    k = np.arange(1, n + 1)
    log_n = math.lgamma(n + 1)
    weights = np.exp([log_n - math.lgamma(j + 1) - math.lgamma(n - j + 1) - n * math.log(2) for j in k])
    weights /= weights.sum()
    logs = np.array([digamma(j / 2) + math.log(4 / n) for j in k])
    mean = float(weights @ logs)
    within = np.array([trigamma(j / 2) for j in k])
    return mean, float(weights @ (within + (logs - mean) ** 2))


def digamma(x: float) -> float:
    """The digamma function: recurrence to 10, its asymptotic series there (Abramowitz and Stegun 6.3.5, 6.3.18)."""
    shift = 0.0
    while x < 10:
        shift -= 1 / x
        x += 1
    y = 1 / (x * x)
    series = y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y * (1 / 132 - y * 691 / 32760)))))
    return shift + math.log(x) - 1 / (2 * x) - series


def trigamma(x: float) -> float:
    """The trigamma function: recurrence to 10, its asymptotic series there (Abramowitz and Stegun 6.4.6, 6.4.12)."""
    shift = 0.0
    while x < 10:
        shift += 1 / (x * x)
        x += 1
    y = 1 / (x * x)
    series = 1 / 6 - y * (1 / 30 - y * (1 / 42 - y * (1 / 30 - y * (5 / 66 - y * 691 / 2730))))
    return shift + 1 / x + y / 2 + y / x * series
