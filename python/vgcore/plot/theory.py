"""Pictures of theory: phases and depth limits, with measured nets over them where given."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from vgcore.judge.diagnosis import Diagnosis
from vgcore.maps.trainability import DECADES, TRAINABLE
from vgcore.measure import table
from vgcore.measure.result import Probe
from vgcore.model.given import items, number, shown, text, wrong_type
from vgcore.model.kind import Activation, Init
from vgcore.model.mlp import MLP
from vgcore.plot.axes import COLORS, FULL, finished, ink, legend, new_axes, paper, plain, shade, small, y_grid
from vgcore.plot.fields import spelled
from vgcore.plot.titles import write_title
from vgcore.theory import PhaseDiagram, critical_line, depth_scales, predict
from vgcore.theory import phase_diagram as scan
from vgcore.theory.fixed import ascending
from vgcore.theory.maps import SCALE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Blue where gradients vanish, vermilion where they explode: which of the colours, and how much of it on the paper.
TINTS = {
    "vanishing": (COLORS[0], 0.5),
    "ordered": (COLORS[0], 0.2),
    "critical": (None, 0.0),
    "chaotic": (COLORS[1], 0.2),
    "exploding": (COLORS[1], 0.5),
}
MEANING = {
    "vanishing": "signals vanish",
    "ordered": "ordered: gradients vanish",
    "chaotic": "chaotic: gradients explode",
    "exploding": "signals explode",
}
LEVELS = (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)  # layers


def phase_diagram(
    activation: str | Activation | PhaseDiagram | MLP,
    *,
    nets: Iterable[MLP] = (),
    points: Iterable[Probe] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw where gradients vanish and explode: the phases by sigma_w and sigma_b, with contours of xi_c.

    Args:
        activation: Which; or a net, which is marked in the diagram of its activation; or what
            `vgcore.theory.phase_diagram` gave.
        nets: Further nets to mark, a star each: plain ones of this activation, whatever their init. The picture is made
            wide enough for them, unless the diagram is given; stars on its edge are then of nets beyond.
        points: Measured nets of `init="mean_field(sigma_w, sigma_b)"`: a triangle up where dL/dz grows toward the
            input, down where it shrinks. Those outside the picture are not seen.
        ax: Where to draw; a new figure if None.

    Raises:
        ValueError: Where a net has another activation, a norm or a skip; or a measured one another init.

    >>> import vgcore as vg
    >>> spec = vg.MLP(depth=20, width=64, activation="tanh", init="mean_field(1.5, 0.1)")
    >>> ax = phase_diagram(spec, points=[vg.probe(spec, seeds=2)])
    >>> "the net: sigma_w 1.5, sigma_b 0.1" in ax.get_legend_handles_labels()[1]
    True
    """
    asked = [*([activation] if isinstance(activation, MLP) else []), *items("nets", nets, "a list of MLPs")]
    name = activation.activation if isinstance(activation, PhaseDiagram) else _activation(activation)
    marked = [(*_place(spec, name), spec) for spec in asked]
    diagram = activation if isinstance(activation, PhaseDiagram) else _around(name, marked)
    probes = items("points", points, "a list of Probes", ordered=False)
    measured = [(*_point(probe, name), probe) for probe in probes]
    if min(len(diagram.sigma_w), len(diagram.sigma_b)) < 2:
        raise ValueError("a phase diagram needs two sigma_w and two sigma_b or more")
    ax = new_axes(ax, 7, 5.6 + 0.18 * len(marked))
    phase, kinds = diagram.phase, list(TINTS)
    index = np.vectorize(kinds.index)(phase)
    colors = table.optional("matplotlib.colors", "plot").ListedColormap(
        [shade(ax, share, color) for color, share in TINTS.values()]
    )
    scale: dict[str, Any] = {"cmap": colors, "vmin": -0.5, "vmax": len(kinds) - 0.5, "shading": "nearest"}
    ax.pcolormesh(diagram.sigma_w, diagram.sigma_b, index, rasterized=True, **scale)
    # Contours of the logarithm: between grid points next to the edge xi rises without end.
    with np.errstate(divide="ignore", invalid="ignore"):
        depths = np.log(diagram.scales.xi_c)
    lines = ax.contour(
        diagram.sigma_w,
        diagram.sigma_b,
        np.ma.masked_invalid(depths),
        levels=np.log(LEVELS),
        colors=[shade(ax, 0.55)],
        linewidths=0.7,
        linestyles="solid",
    )
    told = [level for level in lines.levels if math.exp(level) < (25 if _is_large(ax) else 6)]  # others are close
    ax.clabel(lines, told, fmt=lambda level: f"{math.exp(level):.3g}", fontsize=0.85 * small(ax))
    handles: list[Any] = []
    if any(len(level) for level in lines.allsegs):
        handles += ax.plot([], [], color=shade(ax, 0.55), linewidth=0.7, label="xi_c in layers")
    edge = critical_line(diagram.activation, q=np.geomspace(1e-6, 1e3, 400))
    seen = edge.attracts & (edge.sigma_b <= diagram.sigma_b[-1]) & (edge.sigma_w <= diagram.sigma_w[-1])
    if (edge.sigma_b[seen] > 0).any():
        biases = np.where(edge.attracts, edge.sigma_b, math.nan)
        label = "edge of chaos, chi_1 = 1"
        handles += ax.plot(edge.sigma_w, biases, color=ink(ax), linewidth=1.8, label=label, scalex=False, scaley=False)
    looks: dict[str, Any] = {"markersize": 9, "markeredgecolor": paper(ax), "markeredgewidth": 0.6, "linestyle": ""}
    factors = [(w, b, probe.factor("backward").value) for w, b, probe in measured]  # nan of what diverged
    for marker, color, words, at in (
        ("^", COLORS[1], "measured: dL/dz grows", np.array([(w, b) for w, b, factor in factors if factor >= 1])),
        ("v", COLORS[0], "measured: dL/dz shrinks", np.array([(w, b) for w, b, factor in factors if factor < 1])),
    ):
        if len(at):
            handles += ax.plot(*at.T, marker, color=color, label=words, scalex=False, scaley=False, **looks)
    stars = _stars(ax, diagram, marked)
    there = [kind for kind in MEANING if (phase == kind).any()]
    tints = {kind: shade(ax, share, color) for kind, (color, share) in TINTS.items()}
    patches = [ax.fill([], [], color=tints[kind], label=MEANING[kind])[0] for kind in there]
    ax.set_xlim(diagram.sigma_w[0], diagram.sigma_w[-1])
    ax.set_ylim(diagram.sigma_b[0], diagram.sigma_b[-1])
    ax.set_xlabel("sigma_w")
    ax.set_ylabel("sigma_b")
    write_title(ax, [[f"{spelled(diagram.activation)}: phases of wide nets"]])
    legend(ax, [*stars, *patches, *handles], most=0)
    return finished(ax)


def _is_large(ax: Axes) -> bool:
    return bool(min(ax.bbox.width / FULL[0], ax.bbox.height / FULL[1]) > ax.figure.dpi)


def _activation(given: str | Activation | MLP) -> str:
    """The one activation of a net, or that which is named."""
    if not isinstance(given, MLP):
        return text("activation", given)
    if not isinstance(given.activation, Activation):
        raise ValueError(f"a phase diagram is of one activation, got a net of several: {given!r}")
    return given.activation


def _place(spec: MLP, activation: str) -> tuple[float, float]:
    """sigma_w and sigma_b of a plain net of this activation, whatever its init."""
    if not isinstance(spec, MLP):
        raise wrong_type("nets", "MLPs", spec)
    predicted = predict(spec) if spec.activation == activation else None
    if predicted is None or predicted.scales is None:
        expected = f"a net of activation={str(activation)!r} without norm or skip, whose layers are alike"
        raise ValueError(f"expected {expected}, got {spec!r}")
    return float(predicted.sigma_w[-1]), float(predicted.sigma_b[-1])


def _around(activation: str, nets: Sequence[tuple[float, float, MLP]]) -> PhaseDiagram:
    """The usual diagram, or one that is wide enough for these nets."""
    usual = scan(activation)
    axes = []
    for usual_axis, values in ((usual.sigma_w, [w for w, _, _ in nets]), (usual.sigma_b, [b for _, b, _ in nets])):
        low, high = min([usual_axis[0], *values]), max([usual_axis[-1], *(1.1 * each for each in values)])
        axes.append(np.linspace(low, high, len(usual_axis)))
    if all(np.array_equal(axis, own) for axis, own in zip(axes, (usual.sigma_w, usual.sigma_b), strict=True)):
        return usual
    return scan(activation, sigma_w=axes[0], sigma_b=axes[1])


def _stars(ax: Axes, diagram: PhaseDiagram, nets: Sequence[tuple[float, float, MLP]]) -> list[Any]:
    """A star for each net asked about."""
    handles: list[Any] = []
    ends = (diagram.sigma_w[0], diagram.sigma_w[-1]), (diagram.sigma_b[0], diagram.sigma_b[-1])
    for i, (w, b, spec) in enumerate(nets):
        at = np.clip(w, *ends[0]), np.clip(b, *ends[1])
        beyond = " (beyond the picture)" * ((w, b) != at)
        name = "the net" if len(nets) == 1 else f"net {i + 1}, {spec.init}"
        label = f"{name}: sigma_w {plain(float(f'{w:.4g}'))}, sigma_b {plain(float(f'{b:.4g}'))}{beyond}"
        look: dict[str, Any] = {
            "markersize": 1.8 * small(ax),
            "markeredgecolor": ink(ax),
            "markeredgewidth": 0.9,
            "zorder": 5,
        }
        color = (COLORS[4], *COLORS[2:4], COLORS[5])[i % 4]
        look |= {"color": color, "marker": ("*", "p", "h", "X")[i // 4 % 4], "linestyle": "", "clip_on": False}
        handles += ax.plot(*at, label=label, scalex=False, scaley=False, **look)
        if len(nets) > 1:
            ax.annotate(f"{i + 1}", at, ha="center", va="center", fontsize=0.7 * small(ax), color="k", zorder=6)
    return handles


def depth_limit(
    activation: str | Activation,
    *,
    sigma_b: float = 0.0,
    sigma_w: ArrayLike | None = None,
    points: Iterable[Diagnosis] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw how deep a net can go against sigma_w: until dL/dz has changed 32-fold, and until inputs are alike.

    The first is `1.5 ln(100) |xi_grad|` layers and what a diagnosis measures as its `depth_limit`, the second six
    correlation lengths, to which nets trained in Schoenholz et al. 2017, arXiv:1611.01232.

    Args:
        activation: Of all layers.
        sigma_b: Scale of the biases.
        sigma_w: Ascending; 241 values from 0.5 to 3 if None.
        points: Diagnoses of nets of `init="mean_field(sigma_w, sigma_b)"`, whose measured limits are drawn.
        ax: Where to draw; a new figure if None.

    Raises:
        ValueError: Where a measured net has another activation, sigma_b or init, a norm or a skip.

    >>> ax = depth_limit("tanh", sigma_b=0.1)
    >>> ax.get_yscale()
    'log'
    """
    grid = ascending("sigma_w", np.linspace(0.5, 3, 241) if sigma_w is None else sigma_w, SCALE)
    if len(grid) < 2:
        raise ValueError(f"a picture of depth limits needs two sigma_w or more, got {shown(sigma_w)}")
    sigma_b = number("sigma_b", sigma_b, SCALE)
    measured = []
    for judged in items("points", points, "a list of Diagnoses", ordered=False):
        if not isinstance(judged, Diagnosis):
            raise wrong_type("points", "Diagnoses", judged)
        if judged.probe is None or judged.depth_limit is None:
            raise ValueError(f"{judged!r} has no measured depth limit")
        at, biases = _point(judged.probe, text("activation", activation))
        if not math.isclose(biases, sigma_b):
            raise ValueError(f"expected sigma_b={sigma_b:g}, got a net with {biases:g}")
        measured.append((at, judged.depth_limit))
    scales = depth_scales(activation, sigma_w=grid, sigma_b=sigma_b)
    ax = new_axes(ax, 7, 4.5)
    gradient = DECADES * math.log(100) * np.abs(scales.xi_grad)
    fold = f"{10**DECADES:.0f}-fold"
    ax.plot(grid, gradient, color=COLORS[1], linewidth=1.8, label=f"dL/dz changes {fold}")
    ax.plot(
        grid,
        TRAINABLE * scales.xi_c,
        "--",
        color=COLORS[0],
        linewidth=1.8,
        label="6 xi_c: inputs become alike or unlike",
    )
    finite = [(at, limit) for at, limit in measured if math.isfinite(limit.value)]
    if finite:
        x, values = np.array([at for at, _ in finite]), np.array([limit.value for _, limit in finite])
        ends = np.array([(limit.low, limit.high) for _, limit in finite])
        ends = np.where(np.isfinite(ends), ends, values[:, None])
        spread = np.abs(np.sort(ends, axis=1).T - values)
        ax.errorbar(
            x, values, yerr=spread, fmt="o", color=ink(ax), markersize=4, capsize=2, label=f"measured: {fold}, 95 %"
        )
    ax.set_ylim(1, 1e4)  # before the scale, which looks for values above 0 where there is no limit
    ax.set_yscale("log")
    ax.set_xlim(grid[0], grid[-1])
    ax.set_xlabel("sigma_w")
    ax.set_ylabel("depth (hidden layers)")
    y_grid(ax)
    write_title(ax, [[f"{spelled(activation)}, sigma_b {sigma_b:g}: how deep wide nets can go"]])
    legend(ax, most=0)
    return finished(ax)


def _point(probe: Probe, activation: str) -> tuple[float, float]:
    """sigma_w and sigma_b of a measured net, which must be one that the picture is of."""
    if not isinstance(probe, Probe):
        raise wrong_type("points", "Probes", probe)
    spec = probe.spec
    plain = MLP(depth=spec.depth, width=spec.width, in_features=spec.in_features, out_features=spec.out_features)
    expected = plain.replace(activation=activation, init=spec.init)
    init = spec.init
    if spec != expected or not isinstance(init, Init) or init.name != "mean_field":
        raise ValueError(
            f"expected a net of activation={str(activation)!r} and init='mean_field(sigma_w, sigma_b)' without norm or "
            f"skip, got {spec!r}"
        )
    return float(init.params["sigma_w"]), float(init.params["sigma_b"])
