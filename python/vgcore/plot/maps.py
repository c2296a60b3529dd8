"""Pictures of maps: what nets reached in training, over a grid, with what was known of them before."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vgcore.maps.grid import Mapped
from vgcore.maps.rates import RateFractal, RateMap
from vgcore.maps.trainability import DECADES, TRAINABLE, Trainability
from vgcore.measure.result import Floats
from vgcore.model.given import wrong_type
from vgcore.plot.axes import COLORS, artists, colour_bar, finished, hatched, legend, new_axes, outlined, plain, ticker
from vgcore.plot.fields import GAPS, HATCHES, net_words, of_spec, spelled
from vgcore.plot.titles import write_title
from vgcore.theory import depth_scales

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Of a loss of 0, bright, to that of a blind guess, dark; told apart by every kind of colour vision, and in grey.
LOSSES = "viridis_r"
#: Of what converged, blue, and what diverged, red, in order of how fast.
FATES = "RdBu"
#: How far from the middle of its colours the slowest net of a fractal is.
SLOWEST = 0.25


def trainability(found: Trainability, *, ax: Axes | None = None) -> Axes:
    """Draw the figure of Deep Information Propagation: the loss by sigma_w and depth, and three lines known before.

    Bright cells have learnt, dark ones are where a blind guess is, hatched ones diverged. `6 xi_c` is up to where
    inputs stay apart (Schoenholz et al. 2017, arXiv:1611.01232), the second line where theory has dL/dz change 32-fold,
    `1.5 ln(100) |xi_grad|`, and points are that limit as a diagnosis measures it on nets of this width.

    Args:
        found: What `vgcore.trainability` gave.
        ax: Where to draw; a new figure if None.

    Raises:
        ValueError: For a map of one scale or one depth.

    >>> import vgcore as vg
    >>> ax = trainability(vg.trainability("tanh", sigma_w=[1.0, 1.5], depth=[2, 40], steps=10, width=16))
    >>> ax.get_xlabel(), ax.get_yscale()
    ('sigma_w', 'log')
    """
    if not isinstance(found, Trainability):
        raise wrong_type("found", "a Trainability, as vgcore.trainability gives", found)
    ax = _losses(found, found.sigma_w, ax, log=False)
    limits = ax.get_xlim()
    x = np.linspace(found.sigma_w[0], found.sigma_w[-1], 201)
    theory = depth_scales(found.activation, sigma_w=x, sigma_b=found.sigma_b)
    fold = f"dL/dz within {10**DECADES:.0f}-fold"
    lines = {
        f"{TRAINABLE} xi_c, theory": (TRAINABLE * theory.xi_c, (5, 2)),
        f"{fold}, theory": (DECADES * math.log(100) * np.abs(theory.xi_grad), (None, None)),
    }
    for (label, (depth, dashes)), color in zip(lines.items(), COLORS[1:], strict=False):
        shown = np.where(np.isfinite(depth) & (depth > 0), depth, np.nan)
        ax.plot(x, shown, color=color, dashes=dashes, linewidth=2, label=label, path_effects=outlined(ax, 2))
    there = np.isfinite(found.depth_limit)
    look: dict[str, Any] = {"markeredgecolor": "w", "color": "k", "markersize": 6, "linestyle": ""}
    ax.plot(found.sigma_w[there], found.depth_limit[there], "o", label=f"{fold}, measured at the start", **look)
    _frame(ax, limits, found.depth)
    ax.set_xlabel("sigma_w")
    net = [spelled(found.activation), f"sigma_b {found.sigma_b:.3g}", f"width {found.width}"]
    write_title(ax, [net, _how(found)])
    legend(ax, most=0)
    return finished(ax)


def rate_map(found: RateMap, *, ax: Axes | None = None) -> Axes:
    """Draw the loss by rate and depth, and the best rate of each depth.

    Args:
        found: What `vgcore.rate_map` gave.
        ax: Where to draw; a new figure if None.

    Raises:
        ValueError: For a map of one rate or one depth.

    >>> import vgcore as vg
    >>> spec = vg.MLP(depth=1, width=16, in_features=64, out_features=10, activation="tanh")
    >>> rate_map(vg.rate_map(spec, lr=[1e-3, 1e-2], depth=[1, 4], steps=10)).get_xscale()
    'log'
    """
    if not isinstance(found, RateMap):
        raise wrong_type("found", "a RateMap, as vgcore.rate_map gives", found)
    ax = _losses(found, found.lr, ax, log=True)
    limits = ax.get_xlim()
    look: dict[str, Any] = {"color": "k", "markeredgecolor": "w", "path_effects": outlined(ax, 1.5, "w")}
    ax.plot(found.best_lr, found.depth, "o-", label="best rate", **look)
    _frame(ax, limits, found.depth)
    ax.set_xlabel("learning rate")
    net = net_words({name: word for name, word in of_spec(found.spec).items() if name != "depth"}, found.spec)
    write_title(ax, [net, _how(found)])
    legend(ax, most=0)
    return finished(ax)


def rate_fractal(found: RateFractal, *, ax: Axes | None = None) -> Axes:
    """Draw which pairs of rates train, in blue, and which diverge, in red: the paler, the slower.

    Args:
        found: What `vgcore.rate_fractal` gave.
        ax: Where to draw; a new figure if None.

    Raises:
        ValueError: For one rate of a layer.

    >>> import vgcore as vg
    >>> rate_fractal(vg.rate_fractal([1e-2, 1e4], [1.0, 1e6])).get_xlabel()
    'rate of the hidden layer'
    """
    if not isinstance(found, RateFractal):
        raise wrong_type("found", "a RateFractal, as vgcore.rate_fractal gives", found)
    ax = new_axes(ax, 6, 6)
    look: dict[str, Any] = {"cmap": FATES, "vmin": -1, "vmax": 1, "rasterized": True}
    edges = _edges("rates", found.lr0, log=True), _edges("rates", found.lr1, log=True)
    ax.pcolormesh(*edges, _ranked(found.measure).T, **look)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("rate of the hidden layer")
    ax.set_ylabel("rate of the readout")
    net = [spelled(str(found.spec.activation)), "1 hidden layer", f"width {found.spec.width}", f"{found.steps} steps"]
    about = ["blue converges", "red diverges"]
    if min(found.boundary.shape) >= 8 and found.boundary.any():
        about.append(f"dimension {found.dimension:.2f}")
    write_title(ax, [net, about])
    return finished(ax)


def _ranked(measure: Floats) -> Floats:
    """Ranks of what converged in 0.25 to 1, of what diverged in -1 to -0.25: the whole range of colours is used."""
    ranks = np.full(measure.shape, np.nan)
    for sign in (-1, 1):
        there = measure < 0 if sign < 0 else measure >= 0
        order = np.argsort(np.argsort(np.abs(measure[there]), kind="stable"), kind="stable")
        share = (order + 0.5) / max(len(order), 1)
        # A long sum of relative losses is a slow convergence; a long one of their inverses a slow divergence.
        ranks[there] = -sign * (1 - (1 - SLOWEST) * share)
    return ranks


def _losses(found: Mapped, x: Floats, ax: Axes | None, *, log: bool) -> Axes:
    """Draw the losses at the end in colour, and diverged cells hatched."""
    ax = new_axes(ax, 7.5, 5.5)
    across, up = _edges("the first axis", x, log=log), _edges("depths", found.depth, log=True)
    top = found.blind if found.blind is not None else float(np.nanmax(found.first_loss, initial=0.0))
    loss = np.ma.masked_invalid(found.final_loss.T)
    mesh = ax.pcolormesh(across, up, loss, cmap=LOSSES, vmin=0, vmax=top, rasterized=True)
    i, j = np.nonzero(found.diverged)
    if len(i):
        look: dict[str, Any] = {"hatch": HATCHES["diverged"], "align": "edge", **hatched(ax)}
        ax.bar(across[i], np.diff(up)[j], np.diff(across)[i], up[j], label=GAPS["diverged"], **look)
    if log:
        ax.set_xscale("log")
    ax.set_xlim(across[0], across[-1])
    label = "loss, dark from a blind guess on" if found.blind is not None else "loss"
    colour_bar(ax, mesh, label=label, extend="max")
    return ax


def _edges(name: str, values: NDArray[Any], *, log: bool) -> Floats:
    """Where cells meet that have these values in their middle."""
    if len(values) < 2:
        raise ValueError(f"a map needs two values or more of each axis, got one of {name}")
    at = np.log(values) if log else np.asarray(values, dtype=np.float64)
    inner = (at[1:] + at[:-1]) / 2
    edges = np.concatenate([[2 * at[0] - inner[0]], inner, [2 * at[-1] - inner[-1]]])
    return np.exp(edges) if log else edges


def _frame(ax: Axes, x: tuple[float, float], depths: NDArray[np.int64]) -> None:
    """Depths on a log axis; lines beyond the cells are not seen."""
    up = _edges("depths", depths, log=True)
    ax.set_yscale("log")
    ax.set_xlim(x)
    ax.set_ylim(up[0], up[-1])
    ax.yaxis.set_major_locator(artists().Places(depths.tolist(), [plain(depth) for depth in depths.tolist()]))
    ax.yaxis.set_minor_locator(ticker().NullLocator())
    ax.yaxis.set_major_formatter(ticker().FuncFormatter(plain))
    ax.set_ylabel("depth (hidden layers)")


def _how(found: Mapped) -> list[str]:
    seeds = [f"median of {found.seeds} seeds"] * (found.seeds > 1)
    return [found.optimizer, f"{found.steps} steps", f"batch {found.batch}", *seeds]
