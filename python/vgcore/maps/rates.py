"""What the rate decides: maps of rate and depth, and the boundary of divergence between two rates, a fractal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore import _core
from vgcore.maps.grid import Mapped, losses, samples, whole
from vgcore.measure.cells import leaving
from vgcore.measure.progress import progress_bar
from vgcore.measure.result import Floats
from vgcore.model.custom import named
from vgcore.model.given import Bounds, boolean, integer, out_of_bounds, text
from vgcore.model.kind import Activation, Loss
from vgcore.model.mlp import MLP
from vgcore.model.shown import Shown
from vgcore.model.versioned import Versioned
from vgcore.theory.fixed import ascending
from vgcore.train.settings import tensors

Flags = NDArray[np.bool_]

RATE = Bounds(above=0.0)

#: Losses relative to the first one count no more than this, and those that are not finite count as this.
CAP = 1e6
#: Where the boundary is: rates of the hidden layer and of the readout, over the square of the width.
WINDOW = (1 / 64, 1e5 / 64), (5 / 64, 100 / 64)
#: A net has converged where the mean of so many last losses is below the first: it may oscillate.
LAST = 20
#: Tensors of a net of one hidden layer, each of which has a rate.
RATES = 4
#: Nets of a call of the core: between two calls Ctrl-C is heard and their losses become one number each.
CHUNK = 8192


@dataclass(frozen=True, eq=False)
class RateMap(Mapped):
    """The loss that nets reach, by rate and depth. Arrays are `(rates, depths)` where nothing else is said.

    Attributes:
        spec: The net as it was given; its depth says nothing.
        lr: Rates of the rows, ascending, `(rates,)`.

    >>> import vgcore as vg
    >>> spec = vg.MLP(depth=1, width=16, in_features=64, out_features=10)
    >>> found = vg.rate_map(spec, lr=[0.001, 0.1], depth=[1, 2], steps=20)
    >>> found.final_loss.shape, found.best_lr.tolist()
    ((2, 2), [0.1, 0.1])
    """

    spec: MLP
    lr: Floats

    @property
    def best_lr(self) -> Floats:
        """The rate of the least final loss by depth, `(depths,)`; nan where every rate diverged."""
        filled = np.where(self.diverged, np.inf, self.final_loss)
        return np.where(self.diverged.all(axis=0), np.nan, self.lr[filled.argmin(axis=0)])

    def __repr__(self) -> str:
        return f"RateMap({len(self.lr)} rates x {len(self.depth)} depths, {self.optimizer}, {self.steps} steps)"


def rate_map(
    spec: MLP,
    *,
    lr: ArrayLike,
    depth: ArrayLike,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    loss: str | Loss = "cross_entropy",
    optimizer: str = "sgd(momentum=0.9)",
    steps: int = 250,
    batch: int = 64,
    seeds: int = 1,
    seed: int = 0,
    dtype: str = "float32",
    threads: int | None = None,
    progress: bool = False,
) -> RateMap:
    """Train nets of many depths at many rates.

    Args:
        spec: The net; its depth is varied.
        lr: Rates, ascending.
        depth: Depths, ascending.
        x: Samples; the bundled digits if None.
        y: Their targets.
        loss: One of `LOSSES`, a call, or a `Loss`.
        optimizer: An optimiser; its own rate is replaced.
        steps: Updates of a net.
        batch: Samples of an update.
        seeds: Nets of a cell, which is the median of them.
        seed: The first seed.
        dtype: `"float32"` or `"float64"`.
        threads: At most this many.
        progress: Show a bar in a notebook, or on stderr where that is a terminal.

    >>> import vgcore as vg
    >>> spec = vg.MLP(depth=1, width=16, in_features=64, out_features=10, init="kaiming_normal")
    >>> found = rate_map(spec, lr=[1e-4, 1e-2, 1e9], depth=[1, 2], steps=30)
    >>> found.best_lr.tolist(), found.diverged[2].tolist()
    ([0.01, 0.01], [True, True])
    """
    rates, depths = ascending("lr", lr, RATE), whole("depth", depth)
    grid = {"lr": rates.tolist(), "depth": depths.tolist()}
    how = {"loss": loss, "optimizer": optimizer, "steps": steps, "batch": batch, "seeds": seeds, "seed": seed}
    how |= {"dtype": dtype, "threads": threads, "progress": progress}
    return RateMap(**losses(spec, *samples(x, y), grid, how), spec=spec, lr=rates)


@dataclass(frozen=True, eq=False)
class RateFractal(Versioned, Shown):
    """Which pairs of rates train a net of one hidden layer.

    Attributes:
        lr0: Rates of the hidden layer, in the mean-field form: the rows.
        lr1: Rates of the readout: the columns.
        measure: How the run went, `(rows, columns)`: minus the sum of its losses relative to the first where it has
            converged, the sum of their inverses where it has not. Each says how fast. nan where an interrupt left no
            time for it.
        spec: The net, in plain form.
        x: Its samples, `(weights, width)`.
        y: Their targets, `(weights, 1)`.
        steps: Updates of a net.
        seed: Of weights, samples and targets, which all nets have in common.

    >>> import vgcore as vg
    >>> found = vg.rate_fractal(lr0=[1.0, 10.0, 100.0], lr1=[1.0, 10.0], steps=20)
    >>> found.measure.shape
    (3, 2)
    """

    lr0: Floats
    lr1: Floats
    measure: Floats
    spec: MLP
    x: Floats
    y: Floats
    steps: int
    seed: int

    @property
    def converged(self) -> NDArray[np.bool_]:
        """Where the mean of the last 20 losses is below the first, `(rows, columns)`."""
        return self.measure < 0

    @property
    def boundary(self) -> NDArray[np.bool_]:
        """Where four neighbours, all of them known, did not all go one way, `(rows - 1, columns - 1)`."""
        went = self.measure
        corners = np.stack([went[1:, 1:], went[:-1, 1:], went[1:, :-1], went[:-1, :-1]])
        return np.asarray((corners < 0).any(axis=0) & (corners >= 0).any(axis=0) & ~np.isnan(corners).any(axis=0))

    @property
    def dimension(self) -> float:
        """The box-counting dimension of the boundary: 1 of a smooth line; nan without a boundary."""
        return box_dimension(self.boundary)

    def __repr__(self) -> str:
        net = f"{named(str(self.spec.activation))}, width {self.spec.width}"
        return f"RateFractal({len(self.lr0)} x {len(self.lr1)}, {net}, {self.steps} steps)"


def rate_fractal(
    lr0: ArrayLike | None = None,
    lr1: ArrayLike | None = None,
    *,
    activation: str | Activation = "tanh",
    width: int = 8,
    steps: int = 100,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = False,
) -> RateFractal:
    r"""Train one net with every pair of rates of its two layers: the boundary of those that train is a fractal.

    Sohl-Dickstein 2024, arXiv:2402.06184: `y = v1 . phi(sqrt(2 / n) v0 x) / n` without biases, all v, x and targets
    standard normal, as many samples as weights in one batch, mean squared error, gradient descent in float64. With
    `W0 = sqrt(2 / n) v0` and `W1 = v1 / n` it is a plain net, and as `dL/dv0 = sqrt(2 / n) dL/dW0`, a step of `lr0` on
    v0 moves W0 by `(2 / n) lr0 dL/dW0`, and one of `lr1` on v1 moves W1 by `(1 / n^2) lr1 dL/dW1`. With relu the source
    has the factor sqrt(2) behind phi, which is the same; with other activations this is the form of its tanh.

    Args:
        lr0: Rates of the hidden layer, ascending; 64 of them from 1 to 1e5 if None, which is for a width of 8; the
            square of the width scales them.
        lr1: Rates of the readout, ascending; 64 of them from 5 to 100 if None, scaled likewise.
        activation: Of the hidden layer, element-wise and without parameters that are learned.
        width: Units n of the hidden layer, and inputs: 8 in the quick setting of the source, 16 in its paper.
        steps: Updates, 20 or more: 100 in the quick setting, 500 or 1000 in the paper.
        seed: Of weights, samples and targets, the same for all nets.
        threads: At most this many.
        progress: Show a bar in a notebook, or on stderr where that is a terminal.

    Raises:
        KeyboardInterrupt: At Ctrl-C, with what was finished as its attribute `sweep`.

    >>> found = rate_fractal([1e-2, 1e4], [1.0, 1e6])
    >>> found.converged.tolist()
    [[True, False], [True, False]]
    """
    n, steps = integer("width", width, least=1, most=1024), integer("steps", steps, least=LAST)
    given = {"lr0": lr0, "lr1": lr1}
    first, second = (
        np.geomspace(n * n * low, n * n * high, 64) if rates is None else ascending(name, rates, RATE)
        for (name, rates), (low, high) in zip(given.items(), WINDOW, strict=True)
    )
    seed = integer("seed", seed, least=0, most=2**64 - 1)
    if _core.activation_outputs(name := text("activation", activation)) != 1:
        raise out_of_bounds("activation", "element-wise", activation)
    inits = (f"normal(std={math.sqrt(2 / n)!r})", f"normal(std={1 / n!r})")
    spec = MLP(depth=1, width=n, in_features=n, out_features=1, activation=name, init=inits, bias="zeros")
    if len(tensors(spec)) != RATES:
        raise out_of_bounds("activation", "without parameters, which would need a rate of their own", activation)
    rows = n * n + n
    x = _core.samples(spec, seed, rows, "float64")
    y = math.sqrt(rows) * _core.cotangent(spec, seed, rows, "float64")
    pairs = np.stack(np.meshgrid(first * 2 / n, second / n**2, indexing="ij"), axis=-1).reshape(-1, 2)
    rates = np.zeros((len(pairs), RATES))  # of the hidden layer's weight and bias, and of the readout's
    rates[:, ::2] = pairs
    recipe = {"optimizer": "sgd(lr=1)", "schedule": "constant()", "clip": None, "noise": 0.0}
    parts = [range(at, min(at + CHUNK, len(pairs))) for at in range(0, len(pairs), CHUNK)]
    measure = np.full(len(pairs), np.nan)

    def so_far() -> RateFractal:
        return RateFractal(first, second, measure.reshape(len(first), len(second)), spec, x, y, steps, seed)

    bar = progress_bar([len(part) for part in parts], show=boolean("progress", progress))
    with leaving(so_far), bar as advance:
        for i, part in enumerate(parts):
            lost, done = np.empty((len(part), steps)), np.zeros(len(part), dtype=bool)

            def report(index: int, found: dict[str, Any], lost: Floats = lost, done: Flags = done) -> None:
                lost[index], done[index] = found["loss"][0], found["stopped_by"] != ["interrupted"]

            try:
                _core.train(
                    [spec] * len(part),
                    [recipe | {"rates": rates[at]} for at in part],
                    report,
                    x=x,
                    y=y,
                    loss="mse",
                    validation=None,
                    steps=steps,
                    until=None,
                    batch=rows,
                    record=[],
                    validate=[],
                    columns=[],
                    sharpness=[],
                    checkpoints=[],
                    nonfinite="stop",
                    patience=None,
                    seeds=1,
                    seed=seed,
                    dtype="float64",
                    threads=threads,
                    progress=None,
                    keep_weights=False,
                    resume=None,
                )
            finally:
                measure[part.start : part.stop][done] = how_it_went(lost[done])
            advance(i)
    return so_far()


def how_it_went(lost: Floats) -> Floats:
    """The measure of runs from their losses, `(runs, steps)`: the `convergence_measure` of the source.

    >>> how_it_went(np.array([[2.0] + [1.0] * 39, [1.0] + [np.nan] * 39])).round(9).tolist()
    [-20.5, 1.000039]
    """
    with np.errstate(over="ignore", divide="ignore"):
        relative = np.minimum(np.where(np.isfinite(lost), lost / lost[:, :1], CAP), CAP)
        converged = relative[:, -LAST:].mean(axis=1) < 1
        return np.asarray(np.where(converged, -relative.sum(axis=1), (1 / relative).sum(axis=1)))


def box_dimension(points: NDArray[np.bool_]) -> float:
    """The box-counting dimension of a set in a picture: how fast the boxes that it touches grow as they shrink.

    The slope of the logarithm of their number against that of the inverse of their side, by least squares over sides of
    1, 2, 4 ... up to a quarter of the shorter side of the picture.

    Args:
        points: Where the set is, `(rows, columns)`, 8 or more each.

    Returns:
        0 of a point, 1 of a line, 2 of an area; nan of nothing.

    >>> box_dimension(np.eye(64, dtype=bool)), box_dimension(np.ones((64, 64), dtype=bool))
    (1.0, 2.0)
    """
    if points.ndim != 2 or min(points.shape) < 8:
        raise out_of_bounds("points", "a picture of 8 rows and 8 columns or more", points)
    if not points.any():
        return math.nan
    counts, sides = [], [2**k for k in range(int(math.log2(min(points.shape) / 4)) + 1)]
    for side in sides:
        at = [np.arange(0, length, side) for length in points.shape]
        boxes = np.logical_or.reduceat(np.logical_or.reduceat(points, at[0], axis=0), at[1], axis=1)
        counts.append(boxes.sum())
    slope, _ = np.polyfit(np.log2(sides), np.log2(counts), 1)
    return round(float(-slope), 12)
