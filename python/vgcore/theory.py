"""Mean-field theory of signal propagation: what wide random nets do, without drawing one.

In a wide net `z_l = W_l phi(z_(l-1)) + b_l` with `W ~ N(0, sigma_w^2 / fan_in)` and `b ~ N(0, sigma_b^2)` every
pre-activation is normal. Its variance q and the correlation c of two inputs follow maps, and the squared norm of dL/dz
is multiplied by `chi_1 = sigma_w^2 E phi'(sqrt(q) z)^2` a layer: the factor that a probe reports is its root.

Sources: Poole et al. 2016, arXiv:1606.05340 (maps); Schoenholz et al. 2017, arXiv:1611.01232 (depth scales); Hanin and
Nica 2018, arXiv:1812.05994 (finite width); Newman 1986, Commun. Math. Phys. 103 (Lyapunov exponents).
Expectations are integrals split at kinks, with errors below 1e-13 of one signal and 1e-10 of two; they take any
activation, your own too. All arguments but the activation may be arrays: they broadcast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore import _core, reference
from vgcore.spec import MLP, Activation

Floats = NDArray[np.float64]

# Where variances are looked for: beyond, every activation is a line, a constant or a power.
LEAST, MOST = 1e-14, 1e14
COLUMNS = ("mean", "value", "slope", "growth", "fourth")


def _numbers(name: str, value: ArrayLike, *, least: float = 0.0, most: float = math.inf) -> Floats:
    array = np.asarray(value, dtype=np.float64)
    if not ((array >= least) & (array <= most)).all():
        bound = f"{least:g} to {most:g}" if most < math.inf else f"{least:g} or more"
        raise ValueError(f"{name} must be {bound}, got {value!r}")
    return array


def moments(activation: str | Activation, q: ArrayLike) -> dict[str, Floats]:
    """Expectations over pre-activations of variance q.

    Args:
        activation: Name, call such as `"leaky_relu(0.1)"`, or `Activation`.
        q: Variances, above 0.

    Returns:
        Arrays of the shape of q: `mean` E phi, `value` E phi^2, `slope` E phi'^2, `growth` d(E phi^2)/dq, and `fourth`
        E phi'^4.

    >>> round(float(moments("tanh", 1.0)["slope"]), 10)
    0.4644029024
    """
    variances = _numbers("q", q)
    found = _core.moments(str(activation), np.maximum(variances, 5e-324).ravel().tolist())
    return {name: found[:, i].reshape(variances.shape) for i, name in enumerate(COLUMNS)}


def q_map(activation: str | Activation, *, q: ArrayLike, sigma_w: ArrayLike, sigma_b: ArrayLike = 0.0) -> Floats:
    """The variance of z a layer on: `sigma_w^2 E phi(sqrt(q) z)^2 + sigma_b^2`.

    >>> round(float(q_map("relu", q=3.0, sigma_w=2**0.5)), 12)
    3.0
    """
    w, b = _numbers("sigma_w", sigma_w), _numbers("sigma_b", sigma_b)
    result: Floats = w**2 * moments(activation, q)["value"] + b**2
    return result


def chi(activation: str | Activation, *, q: ArrayLike, sigma_w: ArrayLike) -> Floats:
    """The factor a layer of the squared norm of dL/dz at variance q: `sigma_w^2 E phi'(sqrt(q) z)^2`.

    >>> round(float(chi("sigmoid", q=0.264686875182, sigma_w=1.0)), 10)
    0.0557207068
    """
    result: Floats = _numbers("sigma_w", sigma_w) ** 2 * moments(activation, q)["slope"]
    return result


def _pairs(activation: str | Activation, q: Floats, c: Floats) -> tuple[Floats, Floats]:
    """E phi(u) phi(v) and E phi'(u) phi'(v)."""
    q, c = np.broadcast_arrays(q, c)
    found = _core.pair_moments(str(activation), q.ravel().tolist(), c.ravel().tolist())
    return found[:, 0].reshape(q.shape), found[:, 1].reshape(q.shape)


def c_map(
    activation: str | Activation, *, c: ArrayLike, q: ArrayLike, sigma_w: ArrayLike, sigma_b: ArrayLike = 0.0
) -> Floats:
    """The correlation of two inputs a layer on, both of variance q, which need not be a fixed point.

    >>> round(float(c_map("relu", c=0.0, q=1.0, sigma_w=2**0.5)), 10)
    0.3183098862
    """
    w, b, variances = _numbers("sigma_w", sigma_w), _numbers("sigma_b", sigma_b), _numbers("q", q)
    together, _ = _pairs(activation, variances, _numbers("c", c, least=-1, most=1))
    result: Floats = (w**2 * together + b**2) / q_map(activation, q=variances, sigma_w=w, sigma_b=b)
    return result


@lru_cache(maxsize=64)
def _table(activation: str) -> tuple[Floats, Floats]:
    """E phi^2 on a grid of variances, which brackets fixed points; 28 points a decade."""
    grid = np.geomspace(LEAST, MOST, 785)
    return grid, moments(activation, grid)["value"]


def q_star(activation: str | Activation, *, sigma_w: ArrayLike, sigma_b: ArrayLike = 0.0) -> Floats:
    """The variance that signals of variance 1 are drawn to.

    Returns:
        0 where they shrink without end, inf where they grow without end; of a net that keeps every variance (ReLU
        with sigma_w^2 = 2 and no biases) 1.

    >>> [round(float(q), 9) for q in q_star("tanh", sigma_w=[1.0, 2**0.5, 5 / 3])]
    [0.0, 0.61796477, 1.17848049]
    """
    name = str(activation)
    w, b = np.broadcast_arrays(_numbers("sigma_w", sigma_w), _numbers("sigma_b", sigma_b))
    grid, value = _table(name)
    start = int(np.abs(np.log(grid)).argmin())
    ww, bb = w.ravel() ** 2, b.ravel() ** 2
    excess = ww[:, None] * value + bb[:, None] - grid
    still = np.abs(excess[:, start]) <= 1e-12 * grid[start]
    up = excess[:, start] > 0
    # Signals of variance 1 move until the first grid point where the map turns them back.
    ahead = np.where(up[:, None], excess[:, start:] <= 0, False)
    behind = np.where(up[:, None], False, excess[:, start::-1] >= 0)
    high, low = start + ahead.argmax(axis=1), start - behind.argmax(axis=1)
    q = np.where(up, np.inf, 0.0)
    found = np.where(up, ahead.any(axis=1), behind.any(axis=1))
    left = np.where(up, high - 1, low)[found]
    q[found] = _solve(name, ww[found], bb[found], grid[left], grid[left + 1])
    q[still] = 1.0
    return q.reshape(w.shape)


def _solve(name: str, ww: Floats, bb: Floats, low: Floats, high: Floats) -> Floats:
    """The fixed point between two variances, of a net each: Newton's steps in log q, halving where they leave."""
    low, high = np.log(low), np.log(high)
    x, open_ = 0.5 * (low + high), np.arange(len(ww))
    for _ in range(80):
        q = np.exp(x[open_])
        m = moments(name, q)
        w = ww[open_]
        excess = w * m["value"] + bb[open_] - q
        low[open_] = np.where(excess > 0, x[open_], low[open_])
        high[open_] = np.where(excess > 0, high[open_], x[open_])
        with np.errstate(divide="ignore", invalid="ignore"):
            new = x[open_] + excess / (q * (1 - w * m["growth"]))
        inside = (new > low[open_]) & (new < high[open_])
        new = np.where(inside, new, 0.5 * (low[open_] + high[open_]))
        moved = np.abs(new - x[open_])
        x[open_] = new
        open_ = open_[moved > 1e-13]
        if not len(open_):
            break
    return np.exp(x)


def c_star(activation: str | Activation, *, sigma_w: ArrayLike, sigma_b: ArrayLike = 0.0) -> Floats:
    """The correlation that two different inputs are drawn to at `q_star`: 1 in the ordered phase, less in chaos.

    Returns:
        nan where `q_star` is 0 or inf: there is no fixed variance to have a correlation at.

    >>> [round(float(c), 6) for c in c_star("tanh", sigma_w=[1.2, 2.0], sigma_b=0.3)]
    [1.0, 0.263895]
    """
    return _correlation(
        str(activation), *_squares(sigma_w, sigma_b), q_star(activation, sigma_w=sigma_w, sigma_b=sigma_b)
    )


def _squares(sigma_w: ArrayLike, sigma_b: ArrayLike) -> tuple[Floats, Floats]:
    w, b = np.broadcast_arrays(_numbers("sigma_w", sigma_w), _numbers("sigma_b", sigma_b))
    return w**2, b**2


def _correlation(name: str, ww: Floats, bb: Floats, q: Floats) -> Floats:
    shape, ww, bb, q = q.shape, ww.ravel(), bb.ravel(), q.ravel()
    kept = (q > 0) & np.isfinite(q)
    c = np.where(kept, 1.0, math.nan)
    slope = np.full(len(q), math.nan)
    slope[kept] = ww[kept] * moments(name, q[kept])["slope"]
    open_ = np.flatnonzero(kept & (slope > 1 + 1e-12))
    low, high = np.zeros(len(q)), np.ones(len(q))
    x = np.full(len(q), 0.5)
    # In chaos c = 1 repels, and the map, whose derivatives are all positive, crosses the diagonal once below it.
    for _ in range(60):
        if not len(open_):
            break
        together, bent = _pairs(name, q[open_], x[open_])
        w = ww[open_]
        excess = (w * together + bb[open_]) / q[open_] - x[open_]
        low[open_] = np.where(excess > 0, x[open_], low[open_])
        high[open_] = np.where(excess > 0, high[open_], x[open_])
        with np.errstate(divide="ignore", invalid="ignore"):
            new = x[open_] + excess / (1 - w * bent)
        inside = (new >= low[open_]) & (new < high[open_])
        new = np.where(inside, new, 0.5 * (low[open_] + high[open_]))
        moved = np.abs(new - x[open_])
        x[open_] = new
        c[open_] = new
        open_ = open_[moved > 1e-12]
    return c.reshape(shape)


@dataclass(frozen=True)
class DepthScales:
    """Where a net's signals go, and within how many layers; arrays of one shape.

    Attributes:
        q_star: The fixed variance.
        c_star: The fixed correlation.
        chi_1: Factor a layer of the squared norm of dL/dz at `q_star`; below 1 ordered, above chaotic.
        xi_q: Layers in which a deviation from `q_star` shrinks e-fold.
        xi_c: Layers in which a deviation from `c_star` shrinks e-fold.
        xi_grad: Layers in which the squared norm of dL/dz grows e-fold; negative where it shrinks.
    """

    q_star: Floats
    c_star: Floats
    chi_1: Floats
    xi_q: Floats
    xi_c: Floats
    xi_grad: Floats


def depth_scales(activation: str | Activation, *, sigma_w: ArrayLike, sigma_b: ArrayLike = 0.0) -> DepthScales:
    """Fixed points of a net and the depth scales around them (Schoenholz et al. 2017, arXiv:1611.01232).

    >>> d = depth_scales("tanh", sigma_w=1.2, sigma_b=0.3)
    >>> round(float(d.chi_1), 6), round(float(d.xi_c), 4) == round(-float(d.xi_grad), 4)
    (0.870011, True)
    """
    name = str(activation)
    ww, bb = _squares(sigma_w, sigma_b)
    q = q_star(activation, sigma_w=sigma_w, sigma_b=sigma_b)
    c = _correlation(name, ww, bb, q)
    kept = (q > 0) & np.isfinite(q)
    m = moments(name, np.where(kept, q, 1.0))
    chi_1 = np.where(kept, ww * m["slope"], math.nan)
    growth = np.where(kept, ww * m["growth"], math.nan)
    slope = chi_1.copy()
    chaotic = kept & (c < 1)
    if chaotic.any():
        slope[chaotic] = ww[chaotic] * _pairs(name, q[chaotic], c[chaotic])[1]
    return DepthScales(q, c, chi_1, _scale(growth), _scale(slope), np.asarray(-_scale(chi_1)))


def _scale(factor: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(-1 / np.log(np.abs(factor)))


@dataclass(frozen=True)
class CriticalLine:
    """Weights and biases on the edge of chaos, `chi_1 = 1`, by the variance at which they hold it.

    Attributes:
        q: Variances, ascending.
        sigma_w: Of the weights.
        sigma_b: Of the biases; nan where no biases make q a fixed point.
        attracts: Where the variance goes back to q by itself; elsewhere nets leave the line within a few layers.
    """

    q: Floats
    sigma_w: Floats
    sigma_b: Floats
    attracts: NDArray[np.bool_]


def critical_line(activation: str | Activation, *, q: ArrayLike | None = None) -> CriticalLine:
    """The edge of chaos: `sigma_w^2 = 1 / E phi'^2` and `sigma_b^2 = q - sigma_w^2 E phi^2`.

    Args:
        activation: Which.
        q: Variances, ascending; 241 from 1e-4 to 1e2 if None.

    >>> line = critical_line("tanh", q=[0.570047882])
    >>> round(float(line.sigma_w[0] ** 2), 8), round(float(line.sigma_b[0] ** 2), 8)
    (1.76095464, 0.05)
    """
    grid = np.geomspace(1e-4, 1e2, 241) if q is None else np.atleast_1d(_numbers("q", q))
    m = moments(activation, grid)
    with np.errstate(divide="ignore", invalid="ignore"):
        ww = 1 / m["slope"]
        bb = grid - ww * m["value"]
        # Rounding leaves a homogeneous activation, whose biases are exactly 0, on either side.
        bb = np.where(np.abs(bb) < 1e-13 * grid, 0.0, bb)
        return CriticalLine(grid, np.sqrt(ww), np.sqrt(bb), m["growth"] <= m["slope"])


def gradient_noise(
    activation: str | Activation, *, q: ArrayLike, width: ArrayLike, exact: bool = True
) -> tuple[Floats, Floats]:
    """What a finite width does to `ln |dL/dz|^2` a layer, on top of `ln chi_1`: its drift and its variance.

    To first order in 1/width the factor of a layer varies by `beta/width` with `beta = 3 E phi'^4 / (E phi'^2)^2 - 1`
    around a mean half as much lower: 5/width for ReLU (Hanin and Nica 2018, arXiv:1812.05994), 2/width for linear nets.

    Args:
        activation: Which.
        q: Variance of z.
        width: Of all layers.
        exact: Of linear and ReLU nets, the exact sums over chi-squared laws in place of the first order.

    Returns:
        Drift (below 0) and variance, of the shape of q and width together.

    >>> [round(float(v), 10) for v in gradient_noise("relu", q=1.0, width=64)]
    [-0.0401085988, 0.0829973506]
    >>> [round(float(v), 10) for v in gradient_noise("relu", q=1.0, width=64, exact=False)]
    [-0.0390625, 0.078125]
    """
    variances, widths = np.broadcast_arrays(_numbers("q", q), _numbers("width", width, least=1))
    name = str(activation)
    if exact and name in {"relu", "linear"}:
        pairs = [_chi_squared(int(n), thinned=name == "relu") for n in widths.ravel()]
        drift, variance = (np.array(each).reshape(widths.shape) for each in zip(*pairs, strict=True))
        return drift, variance
    m = moments(activation, variances)
    beta = (3 * m["fourth"] / m["slope"] ** 2 - 1) / widths
    return -beta / 2, beta


@lru_cache(maxsize=256)
def _chi_squared(n: int, *, thinned: bool) -> tuple[float, float]:
    """Mean and variance of `ln (c chi^2_K / n)`: K = n, or with c = 2 binomial(n, 1/2) and not 0, as units of ReLU."""
    logs = np.array([_digamma(k / 2) + math.log(2 / n) for k in range(1, n + 1)]) if thinned else None
    if logs is None:
        return _digamma(n / 2) + math.log(2 / n), _trigamma(n / 2)
    k = np.arange(1, n + 1)
    weights = np.exp(np.array([math.lgamma(n + 1) - math.lgamma(j + 1) - math.lgamma(n - j + 1) for j in k]))
    weights /= weights.sum()
    logs = logs + math.log(2)
    mean = float(weights @ logs)
    within = np.array([_trigamma(j / 2) for j in k])
    return mean, float(weights @ (within + (logs - mean) ** 2))


def _digamma(x: float) -> float:
    """By recurrence to 10 and its asymptotic series there (Abramowitz and Stegun 6.3.5, 6.3.18)."""
    shift = 0.0
    while x < 10:
        shift -= 1 / x
        x += 1
    y = 1 / (x * x)
    series = y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y * (1 / 132 - y * 691 / 32760)))))
    return shift + math.log(x) - 1 / (2 * x) - series


def _trigamma(x: float) -> float:
    """Likewise (6.4.6, 6.4.12)."""
    shift = 0.0
    while x < 10:
        shift += 1 / (x * x)
        x += 1
    y = 1 / (x * x)
    series = 1 / 6 - y * (1 / 30 - y * (1 / 42 - y * (1 / 30 - y * (5 / 66 - y * 691 / 2730))))
    return shift + 1 / x + y / 2 + y / x * series


def lyapunov_exponents(width: int, *, sigma_w: float = 1.0) -> Floats:
    """Growth a layer of the singular values of products of Gaussian matrices: the exact Lyapunov spectrum, descending.

    `ln sigma_w + (ln(2 / n) + digamma((n - i) / 2)) / 2` for i = 0 .. n-1 (Newman 1986).

    >>> spectrum = lyapunov_exponents(64)
    >>> spectrum.shape, bool(spectrum[0] > spectrum[-1])
    ((64,), True)
    """
    return np.array([math.log(sigma_w) + (_digamma((width - i) / 2) + math.log(2 / width)) / 2 for i in range(width)])


def fuss_catalan(k: int, depth: int) -> float:
    """The k-th moment of `J J^T` of a wide linear Gaussian net: `binom((L + 1) k, k) / (L k + 1)`.

    Pennington et al. 2017, arXiv:1711.04735.

    >>> [fuss_catalan(k, 2) for k in (1, 2, 3, 4)]
    [1.0, 3.0, 12.0, 55.0]
    """
    return math.comb((depth + 1) * k, k) / (depth * k + 1)


def spectrum_edge(depth: int) -> float:
    """The largest eigenvalue of `J J^T` of a wide linear Gaussian net: `(L + 1)^(L + 1) / L^L`.

    >>> spectrum_edge(1), spectrum_edge(2)
    (4.0, 6.75)
    """
    return (depth + 1) * (1 + 1 / depth) ** depth


def jacobian_variance(activation: str | Activation, *, q: float, depth: int, orthogonal: bool = False) -> float:
    """Variance of the eigenvalues of `J J^T` of a wide critical net, over their mean squared.

    `L (E phi'^4 / (E phi'^2)^2 - 1 - s_1)`, with `s_1` -1 for Gaussian weights and 0 for orthogonal ones (Pennington et
    al. 2017, arXiv:1711.04735): 2 L and L for ReLU.

    >>> [round(jacobian_variance("relu", q=1.0, depth=10, orthogonal=flag), 9) for flag in (False, True)]
    [20.0, 10.0]
    """
    m = moments(activation, q)
    return depth * (float(m["fourth"] / m["slope"] ** 2) - 1 + (0 if orthogonal else 1))


# Predictions in the columns of a probe

COVERED = (
    "wide untied nets of weights with independent entries or orthogonal ones, biases with mean 0, any element-wise "
    "activation, no normalisation or rms or layer before the activation, no skip, standard normal samples and a random "
    "cotangent"
)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Columns of a probe as mean field has them: log10 of root mean squares over nets, each `(depth,)`.

    Attributes:
        spec: What it is of.
        batch: Samples that norms are of.
        log10_z_rms: As in a `Probe`; so are the next four.
        log10_a_rms: Activations.
        log10_delta_rms: Backward signal.
        log10_wgrad_norm: Weight gradients.
        correlation: Mean cosine of two samples' z.
        delta_drift: Decades by which dL/dz of one sample lies below in a typical net, from the width: negative. The
            mean square over samples lies less below, the more they differ.
        delta_std: Decades by which nets differ in it, 1 std.
        covers: What predictions cover.
    """

    spec: MLP
    batch: int
    log10_z_rms: Floats
    log10_a_rms: Floats
    log10_delta_rms: Floats
    log10_wgrad_norm: Floats
    correlation: Floats
    delta_drift: Floats
    delta_std: Floats
    covers: str = COVERED

    def __repr__(self) -> str:
        return f"Prediction({self.spec!r}, batch={self.batch})"


def _refuse(why: str) -> ValueError:
    return ValueError(f"theory does not cover {why}; it covers {COVERED}")


def _check(spec: MLP, plan: reference.Plan) -> None:
    if spec.tied:
        raise _refuse("tied weights, whose layers depend on each other")
    if spec.skip is not None:
        raise _refuse(f"skip={spec.skip}")
    if spec.weight_transform is not None:
        raise _refuse(f"weight_transform={spec.weight_transform}")
    if spec.norm is not None and (str(spec.norm).startswith("batch") or spec.norm_position == "post"):
        raise _refuse(f"norm={spec.norm} at norm_position={spec.norm_position}")
    for layer in plan.layers:
        if layer.output != layer.width:
            raise _refuse(f"activation={layer.kind}, which changes the number of features")
        if reference.parse(layer.kind)[0] == "prelu":
            raise _refuse("prelu, whose slope is learned; leaky_relu is the same at the start")


def _weights(kind: reference.Kind, at: reference.Place) -> float:
    """fan_in times the variance of a weight."""
    name, p = kind
    if name == "orthogonal":
        # Rows or columns of unit length, whichever are fewer.
        return float(p.get("gain", 1.0) ** 2 * min(1.0, at.fan_in / at.fan_out))
    if name == "normal" and p.get("mean", 0.0) == 0:
        return at.fan_in * (p.get("gain", 1.0) * p.get("std", 1.0)) ** 2
    try:
        return float(at.fan_in * reference.scale(kind, at)[1] ** 2)
    except ValueError:
        raise _refuse(f"init={name}") from None


def _biases(spec: MLP, kind: reference.Kind, at: reference.Place) -> float:
    """The variance of a bias."""
    name, p = reference.bias_kind(spec, kind, at)
    if name == "zeros":
        return 0.0
    if name == "uniform" and p.get("a", 0.0) == -p.get("b", 1.0):
        return float(p.get("b", 1.0) ** 2 / 3)
    if name == "normal" and p.get("mean", 0.0) == 0:
        return float(p.get("std", 1.0) ** 2)
    raise _refuse(f"biases {name}, whose mean is not 0")


def predict(spec: MLP, *, depth: int | None = None, batch: int = 128) -> Prediction:
    """What `probe(spec, batch=batch)` measures in the limit of wide layers, and what a finite width does to it.

    Args:
        spec: The net.
        depth: In place of the spec's own.
        batch: Samples that norms are of.

    Raises:
        ValueError: For what mean field as it stands here does not cover, with the reason.

    >>> import vgcore as vg
    >>> p = vg.theory.predict(vg.MLP(depth=30, width=512, activation="sigmoid", init="xavier_normal"))
    >>> round(10 ** float(p.log10_delta_rms[4] - p.log10_delta_rms[5]), 4)  # sqrt(0.0557)
    0.2361
    """
    if depth is not None:
        spec = spec.replace(depth=depth)
    plan = reference.Plan.of(spec)
    _check(spec, plan)
    layers, places = plan.layers, [reference.Place.of(spec, plan, l) for l in range(spec.depth)]
    ww = [_weights(kind, at) for kind, at in zip(plan.inits, places, strict=False)]
    bb = [_biases(spec, kind, at) for kind, at in zip(plan.inits, places, strict=False)]

    q, value, slope, c = (np.full(spec.depth, math.nan) for _ in range(4))
    drift, noise = np.zeros(spec.depth), np.zeros(spec.depth)
    size, cosine = 1.0, 0.0  # of the samples
    for l, layer in enumerate(layers):
        q[l] = ww[l] * size + bb[l]
        c[l] = (ww[l] * size * cosine + bb[l]) / q[l] if q[l] > 0 else math.nan
        inner = 1.0 if spec.norm is not None else q[l]
        m = moments(layer.kind, inner)
        value[l], slope[l] = float(m["value"]), float(m["slope"])
        # Behind rms or layer norm the slope of n = z / |z| is 1 / |z| for all but one of its directions.
        slope[l] /= q[l] / inner
        together = float(_pairs(layer.kind, np.asarray(inner), np.clip(c[l], -1, 1))[0])
        size, cosine = value[l], together / value[l] if value[l] > 0 else math.nan
        orthogonal = plan.inits[l][0] == "orthogonal"
        beta = float(m["fourth"] / m["slope"] ** 2) * (1 if orthogonal else 3) - 1
        noise[l] = beta / layer.width
        drift[l] = -noise[l] / 2

    back = np.empty(spec.depth)
    out = 1.0 / batch
    if spec.out_features is not None:
        at = reference.Place.of(spec, plan, None)
        out *= spec.out_features * _weights(plan.inits[spec.depth], at) / at.fan_in
    for l in reversed(range(spec.depth)):
        back[l] = slope[l] * out
        out = back[l] * layers[l].width * ww[l] / layers[l].fan_in
    inputs = np.append(1.0, value[:-1])
    fans = np.array([layer.fan_in for layer in layers], dtype=float)
    widths = np.array([layer.width for layer in layers], dtype=float)
    with np.errstate(divide="ignore"):
        columns: dict[str, Any] = {
            "log10_z_rms": np.log10(q) / 2,
            "log10_a_rms": np.log10(value) / 2,
            "log10_delta_rms": np.log10(back) / 2,
            "log10_wgrad_norm": np.log10(batch * fans * inputs * widths * back) / 2,
        }
    behind = np.append(drift[::-1].cumsum()[::-1][1:], 0.0) / math.log(100)
    spread = np.sqrt(np.append(noise[::-1].cumsum()[::-1][1:], 0.0)) / math.log(100)
    return Prediction(spec, batch, **columns, correlation=c, delta_drift=behind, delta_std=spread)
