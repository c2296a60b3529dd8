"""Where the maps lead: fixed points, depth scales, the edge of chaos and phase diagrams.

Sources: Poole et al. 2016, arXiv:1606.05340 (phases); Schoenholz et al. 2017, arXiv:1611.01232 (depth scales); Roberts,
Yaida and Hanin 2022, arXiv:2106.10165, chapter 5 (half-stable points); Hayou et al. 2019, arXiv:1902.06853 (the edge).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore import _core
from vgcore.model.custom import named
from vgcore.model.given import Bounds, number, numbers, out_of_bounds, text
from vgcore.model.kind import Activation
from vgcore.model.shown import Shown
from vgcore.model.versioned import Versioned
from vgcore.theory.maps import (
    SCALE,
    VARIANCE,
    Floats,
    broadcast,
    hermite,
    moments,
    multiplies,
    pair_moments,
    ranging,
)

#: Where variances are looked for: beyond, every activation is a line, a constant or a power.
LEAST, MOST = 1e-14, 1e14
#: Rows of a search at a time, which fit the second-level cache.
ROWS = 512
#: Points that are worked out at a time, so that Ctrl-C is heard in between.
POINTS = 2**16
#: Bytes of a point: what is given, what is found, and what of it is held twice on the way.
BYTES = 8 * 16
#: Hermite coefficients that a series of correlations has.
TERMS = 64


def _cubic(t: Floats, values: tuple[Floats, Floats], slopes: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """The cubic with these values and slopes at t = 0 and 1, and its derivative."""
    (v0, v1), (s0, s1) = values, slopes
    c2, c3 = 3 * (v1 - v0) - 2 * s0 - s1, 2 * (v0 - v1) + s0 + s1
    return v0 + t * (s0 + t * (c2 + t * c3)), s0 + t * (2 * c2 + 3 * t * c3)


class _Table:
    """E phi^2 on a grid of variances, 28 a decade, and between them the cubic through values and slopes in log q."""

    def __init__(self, name: str) -> None:
        self.q = np.geomspace(LEAST, MOST, 785)
        self.x = np.log(self.q)
        m = moments(name, self.q)
        self.value, self.slope = m["value"], m["growth"] * self.q
        self.start = int(np.abs(self.x).argmin())

    def between(self, at: NDArray[np.intp], t: Floats) -> tuple[Floats, Floats]:
        """E phi^2, and its derivative by t, at the share t of the way from grid point `at` to the next."""
        h = self.x[at + 1] - self.x[at]
        return _cubic(t, (self.value[at], self.value[at + 1]), (h * self.slope[at], h * self.slope[at + 1]))

    def cell(self, ww: Floats, bb: Floats) -> tuple[NDArray[np.intp], Floats]:
        """The cell of the grid where signals of variance 1 come to rest, and q where there is none: 0, 1 or inf."""
        excess = ww[:, None] * self.value + bb[:, None] - self.q
        start = self.start
        still = np.abs(excess[:, start]) <= 1e-12
        up = excess[:, start] > 0
        # They move until the first grid point where the map turns them back.
        ahead, behind = excess[:, start:] <= 0, excess[:, start::-1] >= 0
        found = np.where(up, ahead.any(axis=1), behind.any(axis=1)) & ~still
        at = np.where(up, start + ahead.argmax(axis=1) - 1, start - behind.argmax(axis=1))
        return np.where(found, at, -1), np.where(still, 1.0, np.where(up, np.inf, 0.0))


_table = lru_cache(maxsize=64)(_Table)


def squares(sigma_w: ArrayLike, sigma_b: ArrayLike) -> tuple[Floats, Floats]:
    """Both variances, broadcast: views, as there may be many points of few numbers."""
    ww, bb = numbers("sigma_w", sigma_w, SCALE) ** 2, numbers("sigma_b", sigma_b, SCALE) ** 2
    w, b = broadcast(sigma_w=ww, sigma_b=bb)
    _core.check_memory(f"theory of {w.size} points", BYTES * w.size)
    return w, b


def q_star(activation: str | Activation, *, sigma_w: ArrayLike, sigma_b: ArrayLike = 0.0) -> Floats:
    """The variance that signals of variance 1 are drawn to: a root of the `q_map`, to 1e-13 of itself.

    Returns:
        0 where they shrink without end, inf where they grow without end; of a net that keeps every variance (ReLU
        with sigma_w^2 = 2 and no biases) 1. Where there are several roots, it is the first on the way from 1.

    >>> [round(float(q), 9) for q in q_star("tanh", sigma_w=[1.0, 2**0.5, 5 / 3])]
    [0.0, 0.61796477, 1.17848049]
    """
    name = text("activation", activation)
    with ranging():
        return _shared(lambda ww, bb: (_variance(name, ww, bb, exact=True),), *squares(sigma_w, sigma_b))[0]


def _shared(work: Callable[[Floats, Floats], tuple[Floats, ...]], ww: Floats, bb: Floats) -> tuple[Floats, ...]:
    """What work makes of many points, a share of them at a time."""
    shares = [slice(i, i + POINTS) for i in range(0, max(ww.size, 1), POINTS)]
    parts = [work(ww.flat[share], bb.flat[share]) for share in shares]
    return tuple(np.concatenate(each).reshape(ww.shape) for each in zip(*parts, strict=True))


def _variance(name: str, ww: Floats, bb: Floats, *, exact: bool) -> Floats:
    table, shape = _table(name), ww.shape
    ww, bb = ww.ravel(), bb.ravel()
    chunks = [table.cell(ww[i : i + ROWS], bb[i : i + ROWS]) for i in range(0, max(len(ww), 1), ROWS)]
    at, q = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    rows = np.flatnonzero(at >= 0)
    if len(rows):
        q[rows] = _root(name, table, at[rows], ww[rows], bb[rows], exact=exact)
    return q.reshape(shape)


def _root(name: str, table: _Table, at: NDArray[np.intp], ww: Floats, bb: Floats, *, exact: bool) -> Floats:
    """The fixed point within a cell of the grid, of a net each: that of the cubic, then Newton's steps in log q."""
    h, left = table.x[at + 1] - table.x[at], table.x[at]
    low, high = np.zeros(len(at)), np.ones(len(at))

    def step(t: Floats, excess: Floats, slope: Floats, low: Floats, high: Floats) -> Floats:
        """Newton's, or half of the bracket where that leaves it; the bracket is narrowed on the way."""
        above = excess > 0
        low[above], high[~above] = t[above], t[~above]
        with np.errstate(divide="ignore", invalid="ignore"):
            new = t - excess / slope
        return np.where((new >= low) & (new <= high), new, 0.5 * (low + high))

    t = np.full(len(at), 0.5)
    for _ in range(12):
        value, slope = table.between(at, t)
        q = np.exp(left + t * h)
        t = step(t, ww * value + bb - q, ww * slope - h * q, low, high)
    # The cubic is 1e-7 off, and so may be its bracket.
    low, high = np.zeros(len(at)), np.ones(len(at))
    rows = np.arange(len(at))
    for _ in range(60 if exact else 0):
        q = np.exp(left[rows] + t[rows] * h[rows])
        m, below, above = moments(name, q), low[rows], high[rows]
        excess, slope = ww[rows] * m["value"] + bb[rows] - q, h[rows] * q * (ww[rows] * m["growth"] - 1)
        new = step(t[rows], excess, slope, below, above)
        moved, low[rows], high[rows], t[rows] = np.abs(new - t[rows]), below, above, new
        # Newton's error is squared by a step, but for a factor that grows as the fixed point turns half-stable.
        rows = rows[moved > 1e-9 * np.minimum(1, np.abs(ww[rows] * m["growth"] - 1))]
        if not len(rows):
            break
    return np.asarray(np.exp(left + t * h))


def c_star(activation: str | Activation, *, sigma_w: ArrayLike, sigma_b: ArrayLike = 0.0) -> Floats:
    """The correlation that two different inputs are drawn to at `q_star`: 1 in the ordered phase, less in chaos.

    Returns:
        nan where `q_star` is 0 or inf: there is no fixed variance to have a correlation at.

    >>> [round(float(c), 6) for c in c_star("tanh", sigma_w=[1.2, 2.0], sigma_b=0.3)]
    [1.0, 0.263895]
    """
    return depth_scales(activation, sigma_w=sigma_w, sigma_b=sigma_b).c_star


@lru_cache(maxsize=16)
def _hermite_table(name: str) -> tuple[Floats, Floats, Floats]:
    """Logarithms of q, Hermite coefficients there and their derivatives by ln q, 56 a decade.

    The law of sqrt(q) z spreads as heat does: `d a_k / d ln q = (k a_k + sqrt((k + 1) (k + 2)) a_(k+2)) / 2`.
    """
    x = np.linspace(math.log(1e-6), math.log(1e4), 561)
    a, k = hermite(name, q=np.exp(x), count=TERMS + 2), np.arange(TERMS)
    return x, a[:, :-2], (k * a[:, :-2] + np.sqrt((k + 1) * (k + 2)) * a[:, 2:]) / 2


def _coefficients(name: str, q: Floats) -> Floats:
    """Hermite coefficients at q, `(n, TERMS)`, by cubics between those of the table; beyond it worked out."""
    x, values, slopes = _hermite_table(name)
    if q.min() < math.exp(x[0]) or q.max() > math.exp(x[-1]):
        return hermite(name, q=q, count=TERMS)
    h = x[1] - x[0]
    at = np.minimum(((np.log(q) - x[0]) / h).astype(int), len(x) - 2)
    t = ((np.log(q) - x[at]) / h)[:, None]
    return _cubic(t, (values[at], values[at + 1]), (h * slopes[at], h * slopes[at + 1]))[0]


class _Series:
    """`E phi(u) phi(v)` by correlation: 64 Hermite coefficients and one term for the rest of them.

    The rest is `r c^k` with the r and k that make value and slope exact at c = 1. Of smooth activations at moderate
    variances nothing is left; with kinks, c* is within 1e-4.
    """

    def __init__(self, coefficients: Floats, q: Floats, value: Floats, slope: Floats) -> None:
        squares = coefficients**2
        self.q, self.squares = q, squares.T
        k = np.arange(TERMS)
        self.rest = np.maximum(value - squares.sum(axis=1), 0)
        left = np.maximum(q * slope - squares @ k, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.power = np.where(self.rest > 1e-14 * value, np.maximum(left / self.rest, TERMS), TERMS)

    def __call__(self, c: Floats) -> tuple[Floats, Floats]:
        """`E phi(u) phi(v)` and `E phi'(u) phi'(v)`, its derivative by c over q."""
        value, slope = np.zeros_like(c), np.zeros_like(c)
        for square in self.squares[::-1]:
            value, slope = value * c + square, slope * c + value
        end = self.rest * c ** (self.power - 1)
        return value + end * c, (slope + self.power * end) / self.q


def _correlation(name: str, ww: Floats, bb: Floats, q: Floats, *, exact: bool) -> tuple[Floats, Floats]:
    """c*, and the slope of the map of correlations there, of nets in chaos, `(n,)` each.

    There c = 1 repels, and the map, whose derivatives are all positive, crosses the diagonal once below it: Newton's
    steps from 0 come to it from below.
    """

    def integrals(c: Floats) -> tuple[Floats, Floats]:
        return pair_moments(name, q=q, c=c)

    def settled(pairs: Callable[[Floats], tuple[Floats, Floats]], c: Floats, close: float) -> tuple[Floats, Floats]:
        """Until a step is shorter than `close`."""
        slope = np.zeros(len(q))
        for _ in range(200):
            value, slopes = pairs(c)
            slope = ww * slopes
            new = np.clip(c + ((ww * value + bb) / q - c) / (1 - slope), 0, 1)
            moved, c = np.abs(new - c).max(), new
            if moved < close:
                break
        return c, slope

    start = np.zeros(len(q))
    if multiplies(name):  # whose Hermite series would be that of the gate
        return settled(integrals, start, 1e-10 if exact else 1e-3)
    m = moments(name, q)
    coefficients = hermite(name, q=q, count=TERMS) if exact else _coefficients(name, q)
    c, slope = settled(_Series(coefficients, q, m["value"], m["slope"]), start, 1e-12)
    return settled(integrals, c, 1e-10) if exact else (c, slope)


@dataclass(frozen=True, eq=False)
class DepthScales(Versioned, Shown):
    """Where a net's signals go, and within how many layers; arrays of one shape, nan where there is no fixed variance.

    Attributes:
        q_star: The fixed variance; 0 or inf where signals shrink or grow without end.
        c_star: The fixed correlation; 1 in the ordered phase.
        chi_1: Factor a layer of the squared norm of dL/dz at `q_star`; below 1 ordered, above chaotic.
        xi_q: Layers in which a deviation from `q_star` shrinks e-fold.
        xi_c: Layers in which a deviation from `c_star` shrinks e-fold.
        xi_grad: Layers in which the squared norm of dL/dz grows e-fold on its way; negative where it shrinks.

    >>> scales = depth_scales("tanh", sigma_w=[0.8, 2.0], sigma_b=0.1)
    >>> scales.phase.tolist(), scales.xi_c.round(2).tolist()
    (['ordered', 'chaotic'], [2.02, 7.68])
    """

    q_star: Floats
    c_star: Floats
    chi_1: Floats
    xi_q: Floats
    xi_c: Floats
    xi_grad: Floats

    def __repr__(self) -> str:
        if np.ndim(self.q_star):
            return f"DepthScales({' x '.join(map(str, np.shape(self.q_star)))} points)"
        numbers = (f"{name}={float(value):.6g}" for name, value in vars(self).items())
        return f"DepthScales({self.phase}, {', '.join(numbers)})"

    @property
    def phase(self) -> NDArray[np.str_]:
        """A word for each point: `"ordered"` (chi_1 below 1), `"critical"` (within 1e-6 of it) or `"chaotic"`.

        Where signals go to 0 or inf chi_1 is not defined: `"vanishing"` or `"exploding"`.
        """
        with np.errstate(invalid="ignore"):
            kinds = [self.q_star == 0, np.isinf(self.q_star), np.abs(self.chi_1 - 1) < 1e-6, self.chi_1 < 1]
        return np.select(kinds, ["vanishing", "exploding", "critical", "ordered"], "chaotic")


def depth_scales(activation: str | Activation, *, sigma_w: ArrayLike, sigma_b: ArrayLike = 0.0) -> DepthScales:
    """Fixed points of a net and the depth scales around them (Schoenholz et al. 2017, arXiv:1611.01232).

    `xi_q = -1 / ln dq'/dq`, `xi_c = -1 / ln(sigma_w^2 E phi'(u) phi'(v))` at `c_star`, and `xi_grad = 1 / ln chi_1`.

    >>> d = depth_scales("tanh", sigma_w=1.2, sigma_b=0.3)
    >>> round(float(d.chi_1), 6), round(float(d.xi_c), 4) == round(-float(d.xi_grad), 4)
    (0.870011, True)
    """
    return _scales(text("activation", activation), *squares(sigma_w, sigma_b), exact=True)


def _scales(name: str, ww: Floats, bb: Floats, *, exact: bool) -> DepthScales:
    with ranging():
        return DepthScales(*_shared(lambda w, b: _some_scales(name, w, b, exact=exact), ww, bb))


def _some_scales(name: str, ww: Floats, bb: Floats, *, exact: bool) -> tuple[Floats, ...]:
    """The fields of `DepthScales`."""
    q = _variance(name, ww, bb, exact=exact)
    kept = (q > 0) & np.isfinite(q)
    m = moments(name, np.where(kept, q, 1.0))
    chi_1 = np.where(kept, ww * m["slope"], math.nan)
    growth = np.where(kept, ww * m["growth"], math.nan)
    c, slope = np.where(kept, 1.0, math.nan), chi_1.copy()
    chaos = chi_1 > 1 + 1e-12
    if chaos.any():
        c[chaos], slope[chaos] = _correlation(name, ww[chaos], bb[chaos], q[chaos], exact=exact)
    gradient = _e_fold(chi_1)
    xi_grad = np.asarray(np.where(np.isinf(gradient), np.inf, -gradient))
    return q, c, chi_1, _e_fold(growth), _e_fold(slope), xi_grad


def _e_fold(factor: Floats) -> Floats:
    """Layers in which a product of factors shrinks e-fold; inf at 1, and within rounding of it."""
    return np.asarray(np.where(np.abs(factor - 1) < 1e-12, np.inf, -1 / np.log(np.abs(factor))))


@dataclass(frozen=True, eq=False)
class PhaseDiagram(Versioned, Shown):
    """What `depth_scales` says on a grid: rows are sigma_b, columns sigma_w.

    Attributes:
        activation: Which.
        sigma_w: Scale of the weights of the columns, ascending.
        sigma_b: Scale of the biases of the rows, ascending.
        scales: Fixed points and depth scales, `(rows, columns)` each.

    >>> diagram = phase_diagram("tanh", sigma_w=[0.8, 2.0], sigma_b=[0.1])
    >>> diagram.phase.tolist()
    [['ordered', 'chaotic']]
    """

    activation: str
    sigma_w: Floats
    sigma_b: Floats
    scales: DepthScales

    @property
    def phase(self) -> NDArray[np.str_]:
        """The phases of `scales`, `(rows, columns)`."""
        return self.scales.phase

    def __repr__(self) -> str:
        return f"PhaseDiagram({named(self.activation)}, {len(self.sigma_b)} x {len(self.sigma_w)})"


def phase_diagram(
    activation: str | Activation, *, sigma_w: ArrayLike | None = None, sigma_b: ArrayLike | None = None
) -> PhaseDiagram:
    """Fixed points and depth scales on a grid of weights and biases.

    Made for pictures: `q_star` is within 1e-5 of itself. In chaos `c_star` and `xi_c` are by 64 Hermite coefficients:
    c within 1e-6 and xi within 1e-4 for smooth activations; with kinks, c within 2e-3, and xi within a fifth next to
    the edge. `depth_scales` is exact, and a hundred times slower.

    Args:
        activation: Which.
        sigma_w: Ascending; 100 values from 0.5 to 3 if None.
        sigma_b: Ascending; 100 values from 0 to 1 if None.

    >>> diagram = phase_diagram("tanh", sigma_w=[0.9, 1.5], sigma_b=[0.0, 0.1])
    >>> diagram.phase.tolist()
    [['vanishing', 'chaotic'], ['ordered', 'chaotic']]
    """
    name = text("activation", activation)
    columns = ascending("sigma_w", np.linspace(0.5, 3, 100) if sigma_w is None else sigma_w, SCALE)
    rows = ascending("sigma_b", np.linspace(0, 1, 100) if sigma_b is None else sigma_b, SCALE)
    return PhaseDiagram(name, columns, rows, _scales(name, *squares(columns[None, :], rows[:, None]), exact=False))


def ascending(name: str, value: ArrayLike, bounds: Bounds) -> Floats:
    """An argument that is a grid."""
    grid = np.atleast_1d(numbers(name, value, bounds))
    if grid.ndim != 1 or not len(grid) or (np.diff(grid) <= 0).any():
        raise out_of_bounds(name, "numbers in ascending order", value)
    return grid


@dataclass(frozen=True, eq=False)
class CriticalLine(Versioned, Shown):
    """Weights and biases on the edge of chaos, `chi_1 = 1`, by the variance at which they hold it.

    Attributes:
        q: Variances, ascending.
        sigma_w: Scale of the weights.
        sigma_b: Scale of the biases; nan where no biases make q a fixed point.
        attracts: Where the variance goes back to q by itself; elsewhere nets leave the line within a few layers.

    >>> line = critical_line("tanh", q=[0.1, 0.5])
    >>> line.sigma_w.round(3).tolist(), line.sigma_b.round(3).tolist()
    ([1.085, 1.299], [0.029, 0.195])
    """

    q: Floats
    sigma_w: Floats
    sigma_b: Floats
    attracts: NDArray[np.bool_]

    def __repr__(self) -> str:
        return f"CriticalLine({len(self.q)} points, q {self.q[0]:.4g} to {self.q[-1]:.4g})"


def critical_line(activation: str | Activation, *, q: ArrayLike | None = None) -> CriticalLine:
    """The edge of chaos: `sigma_w^2 = 1 / E phi'^2` and `sigma_b^2 = q - sigma_w^2 E phi^2`.

    Args:
        activation: Which.
        q: Variances, ascending; 241 from 1e-4 to 1e2 if None.

    >>> line = critical_line("tanh", q=[0.570047882])
    >>> round(float(line.sigma_w[0] ** 2), 8), round(float(line.sigma_b[0] ** 2), 8)
    (1.76095464, 0.05)
    """
    grid = np.geomspace(1e-4, 1e2, 241) if q is None else ascending("q", q, VARIANCE)
    m = moments(activation, grid)
    with ranging():
        ww = 1 / m["slope"]
        bb = grid - ww * m["value"]
        # Rounding leaves a homogeneous activation, whose biases are exactly 0, on either side.
        bb = np.where(np.abs(bb) < 1e-13 * grid, 0.0, bb)
        return CriticalLine(grid, np.sqrt(ww), np.sqrt(bb), m["growth"] <= m["slope"] * (1 + 1e-10))


@dataclass(frozen=True)
class CriticalPoint(Versioned, Shown):
    """A point of the edge of chaos.

    Attributes:
        sigma_w: Scale of the weights.
        sigma_b: Scale of the biases.
        q_star: The fixed variance; 0 where signals shrink by a power law, or where every variance is one.

    >>> point = critical_point("tanh", sigma_b=0.05)
    >>> round(point.sigma_w, 4), round(point.q_star, 4)
    (1.1225, 0.1537)
    """

    sigma_w: float
    sigma_b: float
    q_star: float


def critical_point(activation: str | Activation, *, sigma_b: float = 0.0) -> CriticalPoint:
    """The weights on the edge of chaos for these biases: what the init `critical(sigma_b)` draws.

    Raises:
        ValueError: Where there are none whose variance attracts, with the biases that have some.

    >>> round(critical_point("tanh", sigma_b=0.2**0.5).sigma_w ** 2, 8)
    2.28515247
    """
    b = number("sigma_b", sigma_b, SCALE)
    sigma_w, q = _core.critical_point(text("activation", activation), b)
    return CriticalPoint(sigma_w, b, q)


def half_stable_points(activation: str | Activation) -> list[CriticalPoint]:
    """Points of the edge of chaos at which deviations of the variance neither shrink nor grow to first order.

    There `chi_1 = dq'/dq = 1`: signals of less variance are drawn to it, signals of more leave it, or the other way
    round. GELU and SiLU have one, tanh and ReLU none (Roberts et al. 2022, arXiv:2106.10165, section 5.3.4).

    >>> [(round(p.sigma_w**2, 8), round(p.q_star, 6)) for p in half_stable_points("silu")]
    [(1.98800468, 14.320174)]
    """
    name = text("activation", activation)

    def excess(q: Floats) -> Floats:
        m = moments(name, q)
        difference = m["growth"] - m["slope"]
        return np.where(np.abs(difference) > 1e-10 * m["slope"], difference, 0.0)

    grid = np.geomspace(1e-6, 1e6, 337)
    sign = np.sign(excess(grid))
    at = np.flatnonzero(sign[1:] * sign[:-1] < 0)
    low, high = np.log(grid[at]), np.log(grid[at + 1])
    for _ in range(50):
        middle = 0.5 * (low + high)
        same = np.sign(excess(np.exp(middle))) == sign[at]
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    if not len(at):
        return []
    line = critical_line(name, q=np.exp(0.5 * (low + high)))
    points = zip(line.sigma_w.tolist(), line.sigma_b.tolist(), line.q.tolist(), strict=True)
    return [CriticalPoint(w, b, q) for w, b, q in points if not math.isnan(b)]
