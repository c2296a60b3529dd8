"""Theory and maps as HTML."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from vgcore.measure.result import SIGNALS
from vgcore.show.html.blocks import Html, escaped, folded, joined, quiet, spread, table, titled
from vgcore.show.html.charts import curve
from vgcore.show.html.measured import COLUMNS, LAYERS, WORDS
from vgcore.show.words import exponent, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vgcore.maps.grid import Mapped
    from vgcore.maps.rates import RateFractal
    from vgcore.theory.fixed import CriticalLine, CriticalPoint, DepthScales, PhaseDiagram
    from vgcore.theory.prediction import Prediction
    from vgcore.theory.recurrent import Memory

#: What the numbers of `DepthScales` are called, by their names.
SCALES = {
    "q_star": "q*, fixed variance",
    "c_star": "c*, fixed correlation",
    "chi_1": "chi_1, factor a layer of |dL/dz|^2",
    "xi_q": "xi_q, layers",
    "xi_c": "xi_c, layers",
    "xi_grad": "xi_grad, layers",
}
#: Rows and columns of a picture in which boxes can be counted.
BOXES = 8
#: Rows of a grid of numbers.
ROWS = 12


def prediction(p: Prediction) -> Html:
    """What theory says of a net: a row a signal, and some layers."""
    rows = []
    for signal, (words, _) in WORDS.items():
        name = SIGNALS[signal][0]
        values: NDArray[np.float64] = getattr(p, name)
        ends = exponent(values[0]), exponent(values[-1])
        rows.append((words, number(p.factor(signal)), *ends, curve(values, words, column=name)))
    depth = p.spec.rows
    head = ("signal", "factor a layer", "log10 at layer 1", f"at layer {depth}", f"layer 1 to {depth}")
    chosen = spread(depth, LAYERS)
    some = [
        (str(i + 1), *(exponent(getattr(p, name)[i]) for name in COLUMNS), number(p.correlation[i])) for i in chosen
    ]
    return joined(
        titled("Prediction", repr(p.spec)),
        *(line for line in str(p).splitlines() if line != repr(p)),
        table(head, rows, words=(0, 4)),
        folded(
            f"{len(chosen)} of {p.spec.rows} layers",
            table(("layer", *COLUMNS.values(), "correlation"), some, words=()),
        ),
        quiet("vg.plot.layers(vg.probe(p.spec), theory=p) draws it over what is measured."),
    )


def memory(m: Memory) -> Html:
    """What theory says of the memory of a recurrent net."""
    quantities = {
        "a, what a step keeps": m.a,
        "rho, what it mixes": m.rho,
        "v, what gates that vary add to its square": m.varies,
        "factor a step of dL/dstate": m.factor,
        "factor if no two steps shared weights": m.untied,
        "time constant, steps": m.time_constant,
        "memory limit, steps": m.memory_limit,
        "rms of the state": m.state_rms,
    }
    rows = [(words, number(value)) for words, value in quantities.items()]
    doubt = [f"not to be relied on: {m.doubt}."] if m.doubt else []
    return joined(titled("Memory", repr(m.spec)), *doubt, table(("quantity", "value"), rows))


def depth_scales(d: DepthScales) -> Html:
    """Fixed points and depth scales of one point; of a grid, its size and phases."""
    phases = np.asarray(d.phase)
    if phases.ndim == 0:
        rows = [(words, number(float(getattr(d, name)))) for name, words in SCALES.items()]
        return joined(titled("DepthScales", str(phases)), table(("quantity", "value"), rows))
    return joined(titled(repr(d)), _phases(phases))


def phase_diagram(d: PhaseDiagram) -> Html:
    """A phase diagram: the share of each phase, and its picture where matplotlib is installed."""
    return joined(
        titled(repr(d), _ends("sigma_w", d.sigma_w), _ends("sigma_b", d.sigma_b)),
        _phases(d.phase),
        picture(lambda plot, ax: plot.phase_diagram(d, ax=ax), "phases by sigma_w and sigma_b"),
    )


def _phases(phases: NDArray[np.str_]) -> Html:
    names, counts = np.unique(phases, return_counts=True)
    rows = [(str(name), f"{count:,}", _share(count / phases.size)) for name, count in zip(names, counts, strict=True)]
    return table(("phase", "points", "share"), rows)


def _share(part: float) -> str:
    """A share of something that is there: never 0 % of it, nor all where it is not.

    >>> _share(0.0004), _share(0.25), _share(0.9996), _share(1.0)
    ('under 1%', '25%', 'over 99%', '100%')
    """
    return "under 1%" if part < 0.01 else "over 99%" if 0.99 < part < 1 else f"{part:.0%}"


def _ends(name: str, values: NDArray[Any]) -> str:
    return f"{name}: {len(values)} from {values[0]:.4g} to {values[-1]:.4g}"


def critical_line(c: CriticalLine) -> Html:
    """Points of the edge of chaos."""
    at = spread(len(c.q), ROWS)
    columns = (c.q, c.sigma_w, c.sigma_b)
    rows = [(*(number(float(each[i])) for each in columns), "yes" if c.attracts[i] else "no") for i in at]
    head = ("variance q", "sigma_w", "sigma_b", "attracts")
    return joined(titled(repr(c)), table(head, rows, words=(3,)))


def critical_point(c: CriticalPoint) -> Html:
    """A point of the edge of chaos."""
    rows = [(name, f"{value:.6g}") for name, value in vars(c).items()]
    return joined(titled("CriticalPoint"), table(("quantity", "value"), rows))


def rate_map(m: Mapped) -> Html:
    """Losses by rate and depth, and their picture."""
    return joined(titled(repr(m)), *_grid(m, "lr"), picture(lambda plot, ax: plot.rate_map(m, ax=ax), "loss"))


def trainability(m: Mapped) -> Html:
    """Losses by scale of weights and depth, and their picture."""
    parts = _grid(m, "sigma_w")
    return joined(titled(repr(m)), *parts, picture(lambda plot, ax: plot.trainability(m, ax=ax), "loss"))


def _grid(m: Mapped, name: str) -> list[Html]:
    """The final losses of some rows and some depths."""
    values = getattr(m, name)
    at, depths = spread(len(values), ROWS), spread(len(m.depth), LAYERS)
    head = (f"{name} \\ depth", *(str(m.depth[i]) for i in depths))
    rows = [(f"{values[i]:.4g}", *(_loss(m.final_loss[i, k]) for k in depths)) for i in at]
    blind = "" if m.blind is None else f"; a blind guess has {m.blind:.4g}"
    seeds = "1 seed" if m.seeds == 1 else f"median of {m.seeds} seeds"
    return [quiet(f"final {m.loss}, {seeds}{blind}"), table(head, rows)]


def _loss(value: float) -> str:
    return "diverged" if np.isnan(value) else f"{value:.3g}"


def rate_fractal(m: RateFractal) -> Html:
    """How many pairs of rates train, the dimension of the boundary, and the picture."""
    share = f"{m.converged.mean():.1%} of {m.measure.size:,} pairs train"
    if min(m.boundary.shape) >= BOXES and m.boundary.any():
        share += f"; dimension of the boundary {m.dimension:.3g}"
    drawn = picture(lambda plot, ax: plot.rate_fractal(m, ax=ax), "which rates train")
    return joined(titled(repr(m), share), drawn)


def picture(draw: Callable[[Any, Any], object], what: str) -> Html:
    """A drawing, where matplotlib is installed."""
    if find_spec("matplotlib") is None:
        return Html("")
    from vgcore import plot
    from vgcore.plot.page import png

    image = base64.b64encode(png(partial(draw, plot))).decode()
    return Html(f'<img alt="{escaped(what)}" src="data:image/png;base64,{image}">')
