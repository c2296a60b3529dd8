"""Pictures of what was measured: cells in, matplotlib `Axes` out, nothing shown (extra `plot`).

Signals pass the range of floats, so their log10 is drawn, on a linear axis whose ticks read as powers of ten. Over the
seeds of a cell it is averaged, which makes a geometric mean; where a run diverged or a signal is exactly 0 there is no
such mean, and the picture has a gap and says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vgcore.measure import table
from vgcore.measure.extra import NAMES
from vgcore.measure.jacobian import Jacobian
from vgcore.measure.result import SIGNALS, Probe, Signal, columns_of
from vgcore.measure.trace import Trace
from vgcore.model.given import integer, items, text, wrong_type
from vgcore.model.names import known
from vgcore.plot.axes import (
    REFERENCE,
    allowed,
    finished,
    layer_axis,
    legend,
    line,
    looks_of,
    new_axes,
    power_axis,
    shade,
    verbatim,
)
from vgcore.plot.fields import LABELS, Cells, allowed_change, cells_of, label_of, net_words, of_spec, varied_words
from vgcore.plot.titles import gap, height_of, write_common, write_title
from vgcore.show.words import row
from vgcore.theory import Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMN_LABELS = {column: LABELS[signal] for signal, (column, _) in SIGNALS.items()} | {
    "saturated": "share of (sample, unit) with a flat slope",
    "dead": "share of units that are 0 for all samples",
    "correlation": "mean cosine of two samples' z",
    "gradient_correlation": "mean cosine of two samples' dL/dz",
    "effective_rank": "effective rank of h",
    "log10_forward": "what a layer gives (rms)",
    "log10_backward": "its gradient (norm of a sample's)",
    "log10_weight": LABELS["weight"],
    "zeros": "share of what a layer gives that is 0",
    "log10_h_rms": "h (rms)",
    "log10_dh_rms": "dL/dh (rms)",
    "log10_c_rms": "cell c (rms)",
    "log10_dc_rms": "dL/dc (rms)",
    "share_cell": "along the state",
    "attention_entropy": "entropy of attention (1 = uniform)",
    "logit_std": "logits of attention (std)",
    "token_correlation": "mean cosine of two tokens",
    "token_rank": "effective rank of a sample's tokens",
}
#: Of columns of a gate, or of queries, keys and values.
OF_GATES = {
    "log10_z_rms": "{} z (rms)",
    "log10_delta_rms": "{} dL/dz (rms)",
    "log10_wgrad_norm": "{} dL/dW (norm)",
    "mean": "{} (mean)",
    "saturated": "{} (share of flat units)",
    "share": "through the {}",
}
COLUMN_LABELS |= {
    f"{column}_{letter}": words.format(name) for column, words in OF_GATES.items() for letter, name in NAMES.items()
}
FLOAT32 = {
    "float32 max (3e38)": float(np.log10(np.finfo(np.float32).max)),
    "float32 smallest normal (1e-38)": float(np.log10(np.finfo(np.float32).tiny)),
}
#: Signals start alike that differ by less, in decades.
ALIKE = 1.0


def available() -> None:
    """An ImportError that names the extra where matplotlib is not installed."""
    table.optional("matplotlib", "plot")


def layers(
    probes: Cells,
    *,
    signal: str | None = None,
    theory: Prediction | Sequence[Prediction] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw signals layer by layer: all three of one cell, or one signal of several cells; theory over them if given.

    What is measured is a geometric mean, a typical net's; theory's line is the root mean square over many nets, which a
    finite width leaves above it (Hanin and Nica 2018, arXiv:1812.05994). Where theory knows by how much, dots mark the
    range of one sample's dL/dz in a net of this width, 1 std either way. The band is what a verdict allows a signal to
    change from where it starts, 32-fold for dL/dz, which starts at the last layer.

    Args:
        probes: A `Probe`, a `Sweep` or a list of probes.
        signal: `"forward"` (z), `"backward"` (dL/dz) or `"weight"` (dL/dW), or any column that all cells have, such as
            `"log10_dh_rms"`. None for all three signals where there is one cell, and the backward one where there are
            more.
        theory: What `vgcore.theory.predict(spec, batch=batch)` gave, one a cell.
        ax: Where to draw; a new figure if None.

    Raises:
        ValueError: For a column that a cell lacks or that theory does not have; where a prediction is not of its cell's
            net and batch, or the cell's backward pass began at a loss.

    >>> import vgcore as vg
    >>> ax = layers(vg.probe(vg.MLP(depth=50, width=32, activation="sigmoid"), seeds=2))
    >>> [line.get_label() for line in ax.get_lines()]
    ['forward scale z (rms)', 'backward signal dL/dz (rms)', 'weight gradient dL/dW (norm)']
    """
    cells = cells_of(probes)
    words = varied_words(cells)
    if len(cells) == 1:
        shown = list(SIGNALS) if signal is None else [_signal(signal, cells)]
        lines = [(cells[0], each, _label(each)) for each in shown]
        looks = looks_of([{"signal": each} for each in shown])
    else:
        shown = ["backward" if signal is None else _signal(signal, cells)]
        lines = [(cell, shown[0], label_of(words[i]) or f"probe {i + 1}") for i, cell in enumerate(cells)]
        looks = looks_of(words)
    predictions = _predictions(theory, cells, shown)
    ax = new_axes(ax, 8, height_of(label for _, _, label in lines))
    for i, (cell, each, label) in enumerate(lines):
        x, values = _drawn(columns_of(cell)[_column(each)], cell)
        line(ax, x, values, label=label + gap(values, [cell]), look=looks[i], start=i / len(lines))
        if predictions:
            _theory(ax, predictions[i if len(cells) > 1 else 0], each, looks[i]["color"])
    for allows in [each for each in SIGNALS if each in shown and (each == "backward" or len(shown) == 1)]:
        _allowed(ax, cells, allows)
    rows = {_rows(cell.trace.names) for cell in cells}
    layer_axis(ax, rows.pop() if len(rows) == 1 else "row (1 = input side)")
    ax.set_ylabel(_label(shown[0]) if len(shown) == 1 else "rms (z, dL/dz) or norm (dL/dW)")
    if powers := all(_column(each).startswith("log10_") for each in shown):
        power_axis(ax)
        low, high = ax.get_ylim()
        for name, limit in FLOAT32.items():
            if low < limit < high:
                ax.axhline(limit, label=name, dashes=(8, 4), **REFERENCE)
    write_common(ax, cells, "geometric mean ± 1 std over" if powers else "mean ± 1 std over")
    if predictions:
        _theory_legend(ax, banded="backward" in shown and any(not each.uncovered for each in predictions))
    legend(ax)
    return finished(ax)


def _allowed(ax: Axes, cells: Sequence[Probe], signal: Signal) -> None:
    """What a verdict allows a signal to change from where it starts, if all cells start at one size."""
    limit, at = allowed_change(signal), -1 if SIGNALS[signal][1] else 0
    starts = np.array([getattr(cell, SIGNALS[signal][0])[:, at].mean() for cell in cells])
    if limit is None or not np.isfinite(starts).all() or np.ptp(starts) > ALIKE or {c.spec.rows for c in cells} == {1}:
        return
    allowed(ax, (starts.min(), starts.max()), limit, " dL/dz" if signal == "backward" else " z")


def _predictions(
    theory: Prediction | Sequence[Prediction] | None, cells: Sequence[Probe], shown: Sequence[str]
) -> list[Prediction]:
    """One a cell, each of its cell."""
    if theory is None:
        return []
    found = [theory] if isinstance(theory, Prediction) else items("theory", theory, "a Prediction or a list of them")
    if not all(isinstance(each, Prediction) for each in found):
        raise wrong_type("theory", "a Prediction or a list of them", theory)
    if len(found) != len(cells):
        raise ValueError(f"theory must be a prediction for each of {len(cells)} cells, got {len(found)}")
    if lacking := [each for each in shown if not hasattr(found[0], _column(each))]:
        raise ValueError(f"theory has no {lacking[0]}; draw it without theory")
    for cell, prediction in zip(cells, found, strict=False):
        if (prediction.spec, prediction.batch) != (cell.spec, cell.batch):
            raise ValueError(f"the prediction is of another net or batch; use predict(spec, batch={cell.batch})")
        if cell.loss is not None and {*shown} != {"forward"}:
            raise ValueError(f"theory knows a random cotangent, not loss={cell.loss}; draw signal='forward'")
    return found


def _predicted(theory: Prediction | None, probe: Probe | Trace, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """The columns among these that a prediction of this probe has."""
    if theory is None:
        return {}
    if not isinstance(probe, Probe):
        raise ValueError("theory goes with a Probe: a Trace does not say which net it is of")
    _predictions(theory, [probe], [] if probe.loss is None else list(SIGNALS))
    found = {name: getattr(theory, name, None) for name in names}
    return {name: column for name, column in found.items() if column is not None and not np.isnan(column).all()}


def _theory(ax: Axes, prediction: Prediction, signal: str, color: str) -> None:
    """The line of a prediction, and what a width makes of one sample's dL/dz."""
    values = getattr(prediction, _column(signal))
    x = np.arange(1, len(values) + 1)
    _dashes(ax, x, values, color)
    if signal == "backward" and not prediction.uncovered:
        middle = values + prediction.delta_drift
        for sign in (-1, 1):
            ax.plot(x, middle + sign * prediction.delta_std, ":", color=color, linewidth=1)


def _dashes(ax: Axes, x: NDArray[np.int64], values: NDArray[np.float64], color: str) -> None:
    """What theory has, where it has it: a point where its neighbours are not known."""
    there = np.isfinite(values)
    alone = "_" if there.sum() == 1 else None
    ax.plot(x[there], values[there], color=color, dashes=(5, 2), linewidth=2.6, alpha=0.55, marker=alone, markersize=16)


def _theory_legend(ax: Axes, *, banded: bool) -> None:
    """What dashes and dots of any colour mean."""
    ax.plot([], [], color="0.4", dashes=(5, 2), linewidth=2.6, alpha=0.55, label="theory")
    if banded:
        ax.plot([], [], ":", color="0.4", linewidth=1, label="theory, one sample in a net of this width, ±1 std")


def columns(
    probe: Probe | Trace,
    names: Sequence[str],
    *,
    layers: Sequence[int] = (),
    theory: Prediction | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw columns of a probe or a trace layer by layer, as the picture of a finding does; theory over them if given.

    Args:
        probe: What was measured.
        names: Columns, such as `"correlation"`; either all of them log10 columns or none.
        layers: Indices of layers to shade.
        theory: What `vgcore.theory.predict(spec, batch=batch)` gave: drawn where it has the column.
        ax: Where to draw; a new figure if None.

    >>> import vgcore as vg
    >>> d = vg.diagnose(vg.MLP(depth=20, width=32, activation="sigmoid"), seeds=2, explain=True)
    >>> ax = columns(d.probe, d.findings[0].picture, layers=d.findings[0].layers)
    """
    if not isinstance(probe, Probe | Trace):
        raise wrong_type("probe", "a Probe or a Trace", probe)
    trace = probe.trace
    there = columns_of(probe) if isinstance(probe, Probe) else trace.columns
    names = [known("column", name, there) for name in items("names", names, "a list of columns")]
    shaded = [
        integer("a layer", l, least=0, most=trace.depth - 1) for l in items("layers", layers, "a list of indices")
    ]
    if not names:
        raise ValueError("there is nothing to draw: no column is named")
    ax = new_axes(ax, 8, 3.6)
    looks = looks_of([{"column": name} for name in names])
    rows = np.arange(1, trace.depth + 1)
    predicted = _predicted(theory, probe, names)
    for name, look in zip(names, looks, strict=True):
        x, values = _drawn(trace.columns[name], trace)
        line(ax, x, values, label=COLUMN_LABELS.get(name, name) + gap(values, [trace]), look=look)
        if name in predicted:
            _dashes(ax, rows, predicted[name], look["color"])
    layer_axis(ax, _rows(trace.names))
    if all(name.startswith("log10_") for name in names):
        power_axis(ax)
    for first, last in _stretches({*shaded}):
        ax.axvspan(first + 0.5, last + 1.5, color=shade(ax, 0.08), linewidth=0, zorder=0)
    ax.set_ylabel(COLUMN_LABELS.get(names[0], names[0]) if len(names) == 1 else _together(names))
    if isinstance(probe, Probe):
        write_common(ax, [probe], "mean ± 1 std over")
    else:
        write_title(ax, [_seen(probe)])
    if predicted:
        _theory_legend(ax, banded=False)
    legend(ax)
    return finished(ax)


def _rows(names: Sequence[str]) -> str:
    """What an axis says of rows of these names."""
    if names[0] == "step 1 layer 1":
        layers = sum(name.startswith("step 1 ") for name in names)
        return f"step, {layers} layers each (1 = first in time)"
    if any(name.endswith("self_attn.in_proj") for name in names):
        return "map, 4 a block (1 = input side)"
    return f"{row(names)} (1 = {'first in time' if row(names) == 'step' else 'input side'})"


def _together(names: Sequence[str]) -> str:
    """What an axis says of several columns."""
    if all(name.startswith("share_") for name in names):
        return "share of the gradient (squares)"
    return "size" if all(name.startswith("log10_") for name in names) else "value"


def _seen(trace: Trace) -> list[str]:
    """The layers of a trace and its runs, in words."""
    ends = verbatim(trace.names[0] if trace.depth == 1 else f"{trace.names[0]} to {trace.names[-1]}")
    if not trace.steps:
        return [ends, "1 net" if trace.runs == 1 else f"mean ± 1 std over {trace.runs} nets"]
    first, last = min(trace.steps), max(trace.steps)
    return [ends, f"step {first}" if first == last else f"mean ± 1 std over steps {first} to {last}"]


def spectrum(jacobians: Jacobian | Mapping[str, Jacobian], *, ax: Axes | None = None) -> Axes:
    """Draw the singular values of input-output Jacobians in order, each against its rank over their number.

    Args:
        jacobians: One of them, or several by the label that each shall have.
        ax: Where to draw; a new figure if None.

    >>> import vgcore as vg
    >>> spec = vg.MLP(depth=50, width=32, activation="tanh")
    >>> ax = spectrum({init: vg.jacobian(spec.replace(init=init)) for init in ("lecun_normal", "orthogonal")})
    >>> ax.get_legend_handles_labels()[1]
    ['lecun_normal', 'orthogonal']
    """
    drawn = _by_label(jacobians)
    ax = new_axes(ax, 8, height_of(drawn))
    looks = looks_of([{"label": label} for label in drawn])
    for i, ((label, each), look) in enumerate(zip(drawn.items(), looks, strict=True)):
        values = each.log10_singular_values
        n, zeros = len(values), int(np.sum(values == -np.inf))
        gap = " (gap: diverged)" if np.isnan(values[0]) else f" (gap: {zeros} of {n} exactly 0)" if zeros else ""
        x = np.arange(1, n + 1) / n
        line(ax, x, values[np.newaxis], label=label + gap, look=look, start=i / len(drawn))
    ax.update_datalim([(0, 0), (1, 0)], updatey=False)
    ax.margins(x=0.02)
    ax.set_xlabel("rank / n (1 = the smallest of n)")
    power_axis(ax)
    ax.set_ylabel("singular values of dy/dx")
    ax.axhline(0, zorder=1, **REFERENCE)
    words = [of_spec(each.spec) for each in drawn.values()]
    common = {name: word for name, word in words[0].items() if all(row[name] == word for row in words)}
    write_title(ax, [net_words(common, next(iter(drawn.values())).spec)])
    legend(ax)
    return finished(ax)


# What is drawn


def _by_label(jacobians: object) -> dict[str, Jacobian]:
    given = {"Jacobian": jacobians} if isinstance(jacobians, Jacobian) else jacobians
    if not isinstance(given, Mapping) or not all(isinstance(each, Jacobian) for each in given.values()):
        raise wrong_type("jacobians", "a Jacobian or a mapping of labels to Jacobians", jacobians)
    if not given:
        raise ValueError("there is nothing to draw: no Jacobian is given")
    return {verbatim(text("a label", label)): each for label, each in given.items()}


def _signal(name: str, cells: Sequence[Probe]) -> str:
    """A signal, or a column that all cells have."""
    there = [columns_of(cell) for cell in cells]
    return known("signal", name, [*SIGNALS, *(column for column in there[0] if all(column in each for each in there))])


def _column(name: str) -> str:
    """The column that a signal is drawn of, or a column itself."""
    return next((column for signal, (column, _) in SIGNALS.items() if signal == name), name)


def _label(name: str) -> str:
    column = _column(name)
    return COLUMN_LABELS.get(column, column)


def _drawn(values: NDArray[np.float64], cell: Probe | Trace) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The layers, from 1, that have a number of a column, and their values: a gap is for what was lost."""
    sound = cell.first_nonfinite < 0
    layers = np.flatnonzero(~np.isnan(values[sound]).all(axis=0))
    if not len(layers) or not sound.any():
        layers = np.arange(values.shape[1])
    return layers + 1, values[:, layers]


def _stretches(layers: AbstractSet[int]) -> list[tuple[int, int]]:
    """Layers that follow each other, as first and last."""
    starts = sorted(layer for layer in layers if layer - 1 not in layers)
    ends = sorted(layer for layer in layers if layer + 1 not in layers)
    return list(zip(starts, ends, strict=True))
