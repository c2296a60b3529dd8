"""Pictures of what was measured: cells in, matplotlib `Axes` out, nothing shown (extra `plot`).

Signals pass the range of floats, so their log10 is drawn, on a linear axis whose ticks read as powers of ten. Over the
seeds of a cell it is averaged, which makes a geometric mean; where a run diverged or a signal is exactly 0 there is no
such mean, and the picture has a gap and says why.
"""

from __future__ import annotations

import io
import itertools
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vgcore._core import COLUMNS
from vgcore.measure import table
from vgcore.measure.cells import Sweep
from vgcore.measure.jacobian import Jacobian
from vgcore.measure.result import SIGNALS, Floats, Probe, Signal
from vgcore.model.given import integer, items, text, wrong_type
from vgcore.model.mlp import FIELDS, MLP
from vgcore.model.names import known
from vgcore.plot.axes import (
    BELOW,
    REFERENCE,
    average,
    depth_axis,
    layer_axis,
    legend,
    line,
    longest_line,
    looks_of,
    new_axes,
    power,
    power_axis,
    room,
    ticker,
)
from vgcore.theory import Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cells: TypeAlias = Probe | Sweep | Sequence[Probe]

LABELS = {
    "forward": "forward scale z (rms)",
    "backward": "backward signal dL/dz (rms)",
    "weight": "weight gradient dL/dW (norm)",
}
COLUMN_LABELS = {column: LABELS[signal] for signal, (column, _) in SIGNALS.items()} | {
    "saturated": "share of (sample, unit) with a flat slope",
    "dead": "share of units that are 0 for all samples",
    "correlation": "mean cosine of two samples' z",
    "gradient_correlation": "mean cosine of two samples' dL/dz",
    "effective_rank": "effective rank of h",
}
CHANGES = {"forward": "forward change of z", "backward": "backward change of dL/dz", "weight": "change of dL/dW"}
FLOAT32 = {
    "float32 max (3e38)": float(np.log10(np.finfo(np.float32).max)),
    "float32 smallest normal (1e-38)": float(np.log10(np.finfo(np.float32).tiny)),
}


GAPS = {"diverged": "diverged: a value of a run is not finite", "dead": "dead: the signal of a run is exactly 0"}
HATCHES = {"diverged": "////", "dead": "...."}
TITLE = ("activation", "init", "depth", "width")
PROBES = "a Probe, a Sweep or a list of Probes"
LABEL = 60  # characters of a line of a label
CENTRED: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}


def available() -> None:
    """An ImportError that names the extra where matplotlib is not installed."""
    table.optional("matplotlib", "plot")


def layers(
    probes: Cells,
    *,
    signal: Signal | None = None,
    theory: Prediction | Sequence[Prediction] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw signals layer by layer: all three of one cell, or one signal of several cells; theory over them if given.

    What is measured is a geometric mean, a typical net's; theory's line is the root mean square over many nets, which a
    finite width leaves above it (Hanin and Nica 2018, arXiv:1812.05994). Where theory knows by how much, dots mark the
    range of one sample's dL/dz in a net of this width, 1 std either way.

    Args:
        probes: A `Probe`, a `Sweep` or a list of probes.
        signal: `"forward"` (z), `"backward"` (dL/dz) or `"weight"` (dL/dW). None for all three where there is one
            cell, and the backward signal where there are more.
        theory: What `vgcore.theory.predict(spec, batch=batch)` gave, one a cell.
        ax: Where to draw; a new figure if None.

    Raises:
        ValueError: Where a prediction is not of its cell's net and batch, or the cell's backward pass began at a loss.

    >>> import vgcore as vg
    >>> ax = layers(vg.probe(vg.MLP(depth=50, width=32, activation="sigmoid"), seeds=2))
    >>> [line.get_label() for line in ax.get_lines()]
    ['forward scale z (rms)', 'backward signal dL/dz (rms)', 'weight gradient dL/dW (norm)']
    """
    cells = _cells(probes)
    words = _varied(cells)
    if len(cells) == 1:
        shown = list(SIGNALS) if signal is None else [_signal(signal)]
        lines = [(cells[0], each, LABELS[each]) for each in shown]
        looks = looks_of([{"signal": each} for each in shown])
    else:
        shown = ["backward" if signal is None else _signal(signal)]
        lines = [(cell, shown[0], _label(words[i]) or f"probe {i + 1}") for i, cell in enumerate(cells)]
        looks = looks_of(words)
    predictions = _predictions(theory, cells, shown)
    ax = new_axes(ax, 8, _height(label for _, _, label in lines))
    for i, (cell, each, label) in enumerate(lines):
        values = getattr(cell, SIGNALS[each][0])
        x = np.arange(1, cell.spec.depth + 1)
        line(ax, x, values, label=label + _gap(values, [cell]), look=looks[i], start=i / len(lines))
        if predictions:
            _theory(ax, x, predictions[i if len(cells) > 1 else 0], each, looks[i]["color"])
    layer_axis(ax)
    power_axis(ax)
    ax.set_ylabel(LABELS[shown[0]] if len(shown) == 1 else "rms (z, dL/dz) or norm (dL/dW)")
    low, high = ax.get_ylim()
    for name, limit in FLOAT32.items():
        if low < limit < high:
            ax.axhline(limit, label=name, dashes=(8, 4), **REFERENCE)
    _title(ax, cells, "geometric mean ± 1 std over")
    if predictions:
        _theory_legend(ax, banded="backward" in shown and any(not each.uncovered for each in predictions))
    legend(ax)
    return ax


def _predictions(
    theory: Prediction | Sequence[Prediction] | None, cells: Sequence[Probe], shown: Sequence[Signal]
) -> list[Prediction]:
    """One a cell, each of its cell."""
    if theory is None:
        return []
    found = [theory] if isinstance(theory, Prediction) else items("theory", theory, "a Prediction or a list of them")
    if not all(isinstance(each, Prediction) for each in found):
        raise wrong_type("theory", "a Prediction or a list of them", theory)
    if len(found) != len(cells):
        raise ValueError(f"expected a prediction for each of {len(cells)} cells, got {len(found)}")
    for cell, prediction in zip(cells, found, strict=False):
        if (prediction.spec, prediction.batch) != (cell.spec, cell.batch):
            raise ValueError(f"the prediction is of another net or batch; use predict(spec, batch={cell.batch})")
        if cell.loss is not None and {*shown} != {"forward"}:
            raise ValueError(f"theory knows a random cotangent, not loss={cell.loss}; draw signal='forward'")
    return found


def _theory(ax: Axes, x: NDArray[np.int64], prediction: Prediction, signal: Signal, color: str) -> None:
    """The line of a prediction, and what a width makes of one sample's dL/dz."""
    values = getattr(prediction, SIGNALS[signal][0])
    alone = "_" if len(x) == 1 else None  # one layer has no line
    ax.plot(x, values, color=color, dashes=(5, 2), linewidth=2.6, alpha=0.55, marker=alone, markersize=16)
    if signal == "backward" and not prediction.uncovered:
        middle = values + prediction.delta_drift
        for sign in (-1, 1):
            ax.plot(x, middle + sign * prediction.delta_std, ":", color=color, linewidth=1)


def _theory_legend(ax: Axes, *, banded: bool) -> None:
    """What dashes and dots of any colour mean."""
    ax.plot([], [], color="0.4", dashes=(5, 2), linewidth=2.6, alpha=0.55, label="theory")
    if banded:
        ax.plot([], [], ":", color="0.4", linewidth=1, label="theory, one sample in a net of this width, ±1 std")


def columns(probe: Probe, names: Sequence[str], *, layers: Sequence[int] = (), ax: Axes | None = None) -> Axes:
    """Draw columns of a probe layer by layer: what the picture of a finding shows.

    Args:
        probe: What was measured.
        names: Columns, such as `"correlation"`; either all of them log10 columns or none.
        layers: Indices of layers to shade.
        ax: Where to draw; a new figure if None.

    >>> import vgcore as vg
    >>> d = vg.diagnose(vg.MLP(depth=20, width=32, activation="sigmoid"), seeds=2, explain=True)
    >>> ax = columns(d.probe, d.findings[0].picture, layers=d.findings[0].layers)
    """
    if not isinstance(probe, Probe):
        raise wrong_type("probe", "a Probe", probe)
    names = [known("column", name, COLUMNS) for name in items("names", names, "a list of columns")]
    shaded = [
        integer("a layer", l, least=0, most=probe.spec.depth - 1) for l in items("layers", layers, "a list of indices")
    ]
    if not names:
        raise ValueError("there is nothing to draw: no column is named")
    ax = new_axes(ax, 8, 3.6)
    looks = looks_of([{"column": name} for name in names])
    x = np.arange(1, probe.spec.depth + 1)
    for name, look in zip(names, looks, strict=True):
        values = getattr(probe, name)
        line(ax, x, values, label=COLUMN_LABELS.get(name, name) + _gap(values, [probe]), look=look)
    layer_axis(ax)
    if all(name.startswith("log10_") for name in names):
        power_axis(ax)
    for first, last in _stretches({*shaded}):
        ax.axvspan(first + 0.5, last + 1.5, color="0.93", linewidth=0, zorder=0)
    ax.set_ylabel(COLUMN_LABELS.get(names[0], names[0]) if len(names) == 1 else "size")
    _title(ax, [probe], "mean ± 1 std over")
    legend(ax)
    return ax


def columns_png(probe: Probe, names: Sequence[str], *, layers: Sequence[int] = ()) -> bytes:
    """The picture of `columns` as a file, on a figure that pyplot does not know: it would keep it and show it again."""
    figure = table.optional("matplotlib.figure", "plot").Figure(figsize=(8, 3.6), layout="constrained")
    columns(probe, names, layers=layers, ax=figure.subplots())
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90, bbox_inches="tight")
    return file.getvalue()


def depths(sweep: Cells, *, ax: Axes | None = None) -> Axes:
    """Draw the change of the backward signal from the last layer to the first against depth, a line a configuration.

    Args:
        sweep: A `Sweep` (or a list of probes) over two depths or more.
        ax: Where to draw; a new figure if None.
    """
    cells = _cells(sweep)
    rows = _configurations(cells)
    ax = new_axes(ax, 8, _height(rows))
    looks = looks_of([next(iter(row.values()))[1] for row in rows.values()])
    for (label, row), look in zip(rows.items(), looks, strict=True):
        probes = [cell for cell, _ in row.values()]
        values = np.stack([cell.end_to_end("backward") for cell in probes], axis=1)
        line(ax, np.array(list(row)), values, label=label + _gap(values, probes), look=look)
    depth_axis(ax, sorted({cell.spec.depth for cell in cells}))
    power_axis(ax)
    ax.set_ylabel(f"end-to-end {CHANGES['backward']}")
    ax.axhline(0, label="preserved", zorder=1, **REFERENCE)
    _title(ax, cells, "geometric mean ± 1 std over")
    legend(ax)
    return ax


def heatmap(sweep: Cells, *, value: Signal = "backward", ax: Axes | None = None) -> Axes:
    """Draw the change of a signal from end to end, in its direction of travel: a row a configuration, a column a depth.

    Colours are linear to one power of ten and logarithmic beyond, so that 10^-700 leaves 10^-2 its colour.

    Args:
        sweep: A `Sweep` (or a list of probes) over two depths or more.
        value: `"forward"` (z), `"backward"` (dL/dz) or `"weight"` (dL/dW).
        ax: Where to draw; a new figure if None.
    """
    cells = _cells(sweep)
    rows = _configurations(cells)
    columns = sorted({cell.spec.depth for cell in cells})
    signal = _signal(value)
    changes = np.full((len(rows), len(columns)), np.nan)
    gaps: dict[str, list[tuple[int, int]]] = {}
    for i, row in enumerate(rows.values()):
        for depth, (cell, _) in row.items():
            at = i, columns.index(depth)
            changes[at] = average(cell.end_to_end(signal))
            if np.isnan(changes[at]):
                gaps.setdefault("diverged" if (cell.first_nonfinite >= 0).any() else "dead", []).append(at)
    width = 2.5 + 0.075 * longest_line(rows) + 0.4 * len(columns)
    tall = 0.1 + 0.16 * max(label.count("\n") + 1 for label in rows)
    ax = new_axes(ax, min(max(width, 7), 14), max(2 + tall * len(rows), 3.6))
    step = -(-len(columns) // 40)
    ax.set_xticks(np.arange(len(columns))[::step] + 0.5, [str(depth) for depth in columns[::step]])
    ax.set_yticks(np.arange(len(rows)) + 0.5, list(rows))
    ax.set_ylim(len(rows), 0)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("depth (hidden layers)")
    for word, places in gaps.items():
        i, j = np.transpose(places)
        ax.bar(j + 0.5, 1, 1, i, color="0.93", edgecolor="0.6", linewidth=0, hatch=HATCHES[word], label=GAPS[word])
    if gaps:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), **BELOW)
    _colours(ax, changes, f"end-to-end {CHANGES[signal]}")
    left, _ = ax.transAxes.inverted().transform((ax.get_tightbbox() or ax.bbox).min)
    _title(ax, cells, "geometric mean over", left)
    return ax


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
    ax = new_axes(ax, 8, _height(drawn))
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
    words = [_of_spec(each.spec) for each in drawn.values()]
    common = {name: word for name, word in words[0].items() if all(row[name] == word for row in words)}
    _write_title(ax, [_net(common, next(iter(drawn.values())).spec)])
    legend(ax)
    return ax


# What is drawn


def _cells(probes: object) -> list[Probe]:
    cells = [probes] if isinstance(probes, Probe) else items("what to draw", probes, PROBES)
    if not all(isinstance(cell, Probe) for cell in cells):
        raise wrong_type("what to draw", PROBES, probes)
    if not cells:
        raise ValueError("there is nothing to draw: no cell was measured")
    return cells


def _by_label(jacobians: object) -> dict[str, Jacobian]:
    given = {"Jacobian": jacobians} if isinstance(jacobians, Jacobian) else jacobians
    if not isinstance(given, Mapping) or not all(isinstance(each, Jacobian) for each in given.values()):
        raise wrong_type("jacobians", "a Jacobian or a mapping of labels to Jacobians", jacobians)
    if not given:
        raise ValueError("there is nothing to draw: no Jacobian is given")
    return {text("a label", label): each for label, each in given.items()}


def _signal(name: Signal) -> Signal:
    known("signal", name, SIGNALS)
    return name


def _configurations(cells: Sequence[Probe]) -> dict[str, dict[int, tuple[Probe, dict[str, str]]]]:
    """Cells by label and depth, depths ascending, with what is particular to their configuration."""
    if len({cell.spec.depth for cell in cells}) < 2:
        raise ValueError("depth is the same in all cells; vary it: sweep(spec, depth=[2, 4, 8, 16])")
    rows: dict[str, dict[int, tuple[Probe, dict[str, str]]]] = {}
    for cell, words in zip(cells, _varied(cells, but="depth"), strict=True):
        label = _label(words) or _label({name: _words(cell)[name] for name in ("activation", "init")})
        rows.setdefault(label, {})[cell.spec.depth] = cell, words
    return {label: dict(sorted(row.items())) for label, row in rows.items()}


def _gap(values: Floats, cells: Sequence[Probe]) -> str:
    """Why a line has gaps, for its label; values are `(seeds, points)`."""
    diverged = np.stack([cell.first_nonfinite >= 0 for cell in cells]).any(axis=0)
    missing = ~np.isfinite(values).all(axis=1)
    counts = {"diverged": np.sum(missing & diverged), "exactly 0": np.sum(missing & ~diverged)}
    reasons = [f"{count} of {len(values)} runs {reason}" for reason, count in counts.items() if count]
    return f" (gap: {', '.join(reasons)})" if reasons else ""


# Words


def _words(cell: Probe) -> dict[str, str]:
    """What a cell is and how it was measured, by field."""
    seeds, spec = len(cell.seeds), _of_spec(cell.spec)
    if cell.network is not None:
        spec["init"] = table.OWN
        spec["bias"] = "own biases"
    return spec | {
        "seeds": f"{seeds} seeds" if seeds > 1 else "1 seed",
        "batch": f"batch {cell.batch}",
        "dtype": cell.dtype,
        "loss": table.start(cell),
    }


def _of_spec(spec: MLP) -> dict[str, str]:
    return {name: _word(name, getattr(spec, name)) for name in FIELDS}


def _net(common: dict[str, str], spec: MLP) -> list[str]:
    """What is worth saying of a net, of what all have in common: the main fields, and others that are not as usual."""
    default = MLP(depth=1, width=1)
    fields = [name for name in FIELDS if name not in TITLE and getattr(spec, name) != getattr(default, name)]
    return [common[name] for name in (*TITLE, *fields) if name in common and not name.endswith("_features")]


def _word(name: str, value: object) -> str:
    if value is None:
        return {"bias": "bias of init", "out_features": "no readout"}.get(name, f"no {name}")
    if name == "tied":
        return "tied" if value else "untied"
    if name == "norm":
        return f"{value} norm"
    if isinstance(value, tuple):
        runs = [(item, len(list(group))) for item, group in itertools.groupby(value)]
        value = " ".join(f"{item} x{count}" if count > 1 else str(item) for item, count in runs)
    return str(value) if name in {"activation", "init", "skip", "weight_transform"} else f"{name} {value}"


def _varied(cells: Sequence[Probe], but: str = "") -> list[dict[str, str]]:
    """The words of each cell that are not those of all."""
    words = [_words(cell) for cell in cells]
    fields = [name for name in words[0] if name != but and len({row[name] for row in words}) > 1]
    return [{name: row[name] for name in fields} for row in words]


def _label(words: dict[str, str]) -> str:
    """The words of a configuration, in several lines where they are many."""
    label = ", ".join(word.replace(" ", "\xa0") for word in words.values())
    return textwrap.fill(label, LABEL, break_long_words=False, break_on_hyphens=False).replace("\xa0", " ")


def _height(labels: Iterable[str]) -> float:
    """Inches of a picture with these labels in its legend."""
    return 5 + 0.18 * max(0, sum(label.count("\n") + 1 for label in labels) - 12)


# Axes


def _stretches(layers: AbstractSet[int]) -> list[tuple[int, int]]:
    """Layers that follow each other, as first and last."""
    starts = sorted(layer for layer in layers if layer - 1 not in layers)
    ends = sorted(layer for layer in layers if layer + 1 not in layers)
    return list(zip(starts, ends, strict=True))


def _title(ax: Axes, cells: Sequence[Probe], mean: str, left: float = 0) -> None:
    """What all cells have in common, and how they were measured."""
    varied = _varied(cells)[0]
    common = {name: word for name, word in _words(cells[0]).items() if name not in varied}
    net = _net(common, cells[0].spec)
    seeds = common.get("seeds", "the seeds")
    run = [seeds if seeds == "1 seed" else f"{mean} {seeds}"]
    run += [common[name] for name in ("batch", "dtype", "loss") if name in common]
    _write_title(ax, [net, run], left)


def _write_title(ax: Axes, parts: Sequence[Sequence[str]], left: float = 0) -> None:
    """Each part in lines of its own."""
    texts = (", ".join(word.replace(" ", "\xa0") for word in words) for words in parts if words)
    text = "\n".join(textwrap.fill(each, int(room(ax) * (1 - left))) for each in texts)
    ax.set_title(text.replace("\xa0", " "), loc="left", x=left, fontsize="medium")


def _colours(ax: Axes, changes: Floats, label: str) -> None:
    """Colour a grid of powers of ten, white where preserved, and write them in where they fit."""
    colors = table.optional("matplotlib.colors", "plot")
    peak = np.nanmax(np.abs(changes), initial=3.0)  # a grid of small changes keeps pale colours
    limit = next(m * 10**e for e in itertools.count() for m in (1, 2, 5) if m * 10**e >= peak)
    norm = colors.SymLogNorm(linthresh=1, vmin=-limit, vmax=limit, base=10)
    mesh = ax.pcolormesh(np.ma.masked_invalid(changes), cmap="RdBu_r", norm=norm, edgecolors="white", linewidth=1)
    ticks = [10**e for e in range(6) if 10**e < limit] + [limit]
    bar = ax.figure.colorbar(mesh, ax=ax, format=ticker().FuncFormatter(power), aspect=30, pad=0.02)
    bar.set_ticks([-tick for tick in reversed(ticks)] + [0, *ticks])
    bar.set_label(f"{label}\n(numbers: its power of ten)", fontsize="small")
    bar.minorticks_off()
    bar.outline.set_visible(False)
    ax.figure.canvas.figure.draw_without_rendering()  # only now is known how large a cell is
    height, width = (length / ax.figure.dpi for length in (ax.bbox.height, ax.bbox.width))
    if height / changes.shape[0] < 0.14 or width / changes.shape[1] < 0.36:
        bar.set_label(label)
        return
    for (i, j), change in np.ndenumerate(changes):
        if np.isfinite(change):
            dark = np.dot(mesh.cmap(norm(change))[:3], (0.3, 0.59, 0.11)) < 0.5
            ax.text(j + 0.5, i + 0.5, _number(change), color="w" if dark else "k", **CENTRED)


def _number(value: float) -> str:
    """Two digits, or all before the point."""
    text = f"{value:.0f}" if abs(value) >= 9.95 else f"{round(value, 1) + 0:.1f}"  # + 0 makes -0.0 plain 0.0
    return text.replace("-", "−")
