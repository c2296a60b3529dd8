"""The tables that the commands print."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from rich.console import Console

from vgcore.cure.advice import Advised
from vgcore.data.sequences import Sequences
from vgcore.judge.verdict import VERDICTS
from vgcore.measure.cells import Sweep, judged_rows
from vgcore.measure.result import SIGNALS, Factor, Probe, columns_of
from vgcore.measure.table import start
from vgcore.model.mlp import MLP
from vgcore.model.rnn import RNN
from vgcore.model.sequential import Sequential
from vgcore.model.spec import Spec
from vgcore.model.transformer import Transformer
from vgcore.pretrain.pretrained import Pretrained
from vgcore.show.columns import Column, Columns
from vgcore.show.page import wrapped
from vgcore.show.sweep import varied_columns
from vgcore.show.text import WIDTH, advice_rows
from vgcore.show.training import names
from vgcore.show.words import exponent, number, said, told
from vgcore.theory import Prediction
from vgcore.train.run import LOSS_COLUMNS, Run

WIDE = 1000  # columns that no table needs: one in a file has all it holds
LEGEND = (
    "x per {row}: geometric mean, 1 = preserved; in brackets its 95 % interval over seeds. forward: z, toward the "
    "output; backward: dL/dz and weight: dL/dW, toward the input. first layer gradient: norm of dL/dW, of {shared} net "
    "summed over its steps. log10: -32.5 is a size of 10^-32.5. vanishing, exploding: dL/dz changes 32-fold or more "
    "from end to end, or z 100-fold; symmetric, collapsed: units or samples are one and the same: see "
    "`vgcore diagnose`."
)
#: What is said of the rows of a table, where they are no layers one behind the other.
ROWS = {
    RNN: "A row is a step, the first on top: the input is read from there on, and gradients come from the last.",
    Transformer: "A row is a map of a block: in_proj and out_proj of its attention, linear1 and linear2 of each token.",
}
THEORY = (
    "x per {row}: geometric mean, 1 = preserved; in brackets its 95 % interval over seeds. Theory is of infinitely "
    "wide nets and of their root mean square: in narrow and deep nets typical gradients are smaller than that."
)
ADVISED = (
    "log10 {backward}, log10 {forward}: the change from end to end; a {unit}: its factor; correlation: mean cosine of "
    "two samples at the last layer; {limit} limit: the most {unit}s that such a net can have, - where none is known, "
    "as of a net that is another one at another depth."
)
TRAINED = (
    "gradient norm: of all gradients together, before clipping. slowest layer: that whose update is the smallest share "
    "of its weights. Means over seeds."
)
#: What is seen of a layer that learns alone, and what it is called.
MONITORED = {
    "error": "reconstruction error",
    "pseudo_likelihood": "pseudo-likelihood",
    "loss": "loss",
}
INTERVALS = "95 % intervals"
ELSEWHERE = "--json and --out hold all, a wider terminal shows more"
LAYERS = 16  # of a table
ALWAYS = (
    "depth",
    "steps",
    "width",
    "tokens",
    "cell",
    "activation",
    "init",
)  # fields that are named also where they are the default
# Columns of recurrent nets and transformers that stay where not all have room.
TELLING = (
    *("log10_z_rms", "log10_delta_rms", "log10_wgrad_norm", "log10_h_rms", "log10_dh_rms", "log10_dc_rms"),
    *("saturated", "correlation", "mean_f", "mean_z"),
    *("log10_wgrad_norm_q", "log10_wgrad_norm_v", "attention_entropy", "token_correlation"),
)
# Columns that only some nets have.
SOME = (
    *("log10_affine_grad_norm", "log10_slope_grad_norm", "log10_gate_grad_norm", "log10_summed_wgrad_norm"),
    *("log10_h_rms", "log10_dh_rms"),
)
STYLES = dict.fromkeys(VERDICTS, "red") | {
    "healthy": "green",
    "vanishing": "blue",
    "critical": "red",
    "warning": "yellow",
    "info": "cyan",
    "remedy": "dim",
    "text": "default",
}


def terminal(width: int = WIDE) -> Console:
    """The terminal, or what has so many columns."""
    return Console(width=None if sys.stdout.isatty() else width, highlight=False)


def say(console: Console, text: str, *, most: int = WIDE) -> None:
    """Print a text in lines that end at spaces, where it is longer than the page."""
    lines = wrapped(text, min(console.width, most), whole=True)
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def print_lines(lines: Iterable[tuple[str, str]]) -> None:
    """Print lines, each in the colour of what it is."""
    console = terminal()
    for kind, line in lines:
        console.print(line, style=STYLES.get(kind), markup=False, soft_wrap=True)


def show(result: Sweep, base: Spec, *, source: str | None, seconds: float, layers: bool) -> None:
    """Print the tables of a sweep; with `layers` those of its first cell's layers too."""
    console = terminal()
    first = result[0]
    samples = "standard normal samples" if source is None else f"samples of {source}"
    runs = f"{counted(len(result), 'cell')} x {counted(len(first.seeds), 'seed')}"
    say(console, f"{runs}, {first.batch} {samples} a run, {start(first)}, {first.dtype}, {seconds:.1f} s")
    say(console, "all: " + ", ".join(fixed(base, result.varied)))
    console.print(_cells(result))
    if layers:
        console.print(_layers(first))
        if first.spec.rows > LAYERS:
            word = row_word(first.spec)
            shown = len(_spread(first.spec.rows, _rows(first.spec)[2], LAYERS))
            say(console, f"{shown} of {first.spec.rows} {word}s; --json and --out hold all.")
    if layers and type(first.spec) in ROWS:
        say(console, ROWS[type(first.spec)], most=WIDTH)
    shared = "a recurrent" if isinstance(base, RNN) else "a tied"
    say(console, LEGEND.format(row=row_word(base), shared=shared), most=WIDTH)


def row_word(spec: Spec) -> str:
    """What a row of a probe of a net is called."""
    if isinstance(spec, RNN) and spec.layers == 1:
        return "step"
    return "row" if type(spec) in ROWS else "layer"


def _rows(spec: Spec) -> tuple[str, list[str], int]:
    """What rows are called, each of them, and how many belong together, the last of them all the way.

    >>> _rows(RNN(2, 4, layers=2))
    ('step, layer', ['1, 1', '1, 2', '2, 1', '2, 2'], 2)
    >>> _rows(Transformer(1, 8, in_features=3))
    ('block, map', ['embedding', '1 in_proj', '1 out_proj', '1 linear1', '1 linear2'], 4)
    """
    if isinstance(spec, RNN) and spec.layers > 1:
        labels = [f"{t + 1}, {i + 1}" for t in range(spec.steps) for i in range(spec.layers)]
        return "step, layer", labels, spec.layers
    if isinstance(spec, Transformer):
        names = [name.split(".") for name in spec.row_names]
        return "block, map", [f"{int(name[1]) + 1} {name[-1]}" if name[1:] else name[0] for name in names], 4
    return row_word(spec), [str(row + 1) for row in range(spec.rows)], 1


def _spread(rows: int, together: int, most: int) -> list[int]:
    """The rows of a table: all, or of as many as there may be, evenly spread, those that belong together.

    >>> _spread(5, 1, 16), _spread(9, 1, 3), _spread(17, 4, 8)
    ([0, 1, 2, 3, 4], [0, 4, 8], [0, 1, 2, 3, 4, 13, 14, 15, 16])
    """
    if rows <= most:
        return [*range(rows)]
    alone, groups, few = rows % together, rows // together, max(2, most // together)
    chosen = sorted({round(i * (groups - 1) / (few - 1)) for i in range(few)})
    return [*range(alone), *(alone + group * together + i for group in chosen for i in range(together))]


def _cells(result: Sweep) -> Columns:
    """A row a cell."""
    rows, first = judged_rows(result), result[0].spec
    varied = varied_columns(result.varied, [[said(row[name]) for name in result.varied] for row in rows])
    factors = []
    # The weights of a recurrent net meet a state of 0 at its first step, and have no gradient there to begin with.
    signals = ((0, "forward"), (0, "backward"), *([] if isinstance(first, RNN) else [(2, "weight")]))
    for rank, signal in signals:
        told = [row[signal] for row in rows]
        factors.append(
            Column(
                f"{signal}\nx per {row_word(first)}",
                [_factor(f, spread=True) for f in told],
                brief=[_factor(f, spread=False) for f in told],
                details=INTERVALS if any(not math.isnan(f.low) for f in told) else "",
                rank=rank,
            )
        )
    gradients = Column("log10\nfirst layer\ngradient", [exponent(row["first_gradient"]) for row in rows], rank=1)
    verdicts = Column(
        "verdict",
        [", ".join(dict.fromkeys((row["verdict"], *row["conditions"]))) for row in rows],
        left=True,
        styles=[STYLES[row["verdict"]] for row in rows],
    )
    numbers = Column("cell", [str(i + 1) for i in range(len(rows))])
    return Columns([*varied, *factors, gradients, verdicts], numbers=numbers, elsewhere=ELSEWHERE)


def _layers(cell: Probe, most: int = LAYERS) -> Columns:
    """The seeds' mean of every column that the net has; in a deep net, of evenly spread layers.

    Random cotangents are as good as orthogonal, and so is all that comes of them: `gradient_correlation` needs a loss.
    """
    head, labels, together = _rows(cell.spec)
    chosen = _spread(cell.spec.rows, together, most)
    columns = [Column(head, [labels[row] for row in chosen], left=together > 1)]
    measured = columns_of(cell)
    for name in sorted(measured, key=lambda name: not name.startswith("log10_")):  # sizes first, then shares
        mean = measured[name].mean(axis=0)
        lacks = (name in SOME or name in cell.extra) and np.isnan(mean).all()
        if lacks or (name == "gradient_correlation" and cell.loss is None):
            continue
        size = name.startswith("log10_")
        head = "log10\n" + name.removeprefix("log10_").replace("_", " ") if size else name.replace("_", "\n")
        values = [exponent(mean[row]) if size else number(mean[row]) for row in chosen]
        columns.append(Column(head, values, block=0 if size else 1, rank=0 if _tells(cell, name) else 1))
    return Columns(columns)


def _tells(cell: Probe, name: str) -> bool:
    """Whether a column stays where not all have room: of the many of gates and attention, those that say most."""
    return type(cell.spec) not in ROWS or name in TELLING or name.startswith("share_")


def common(base: Spec, varied: tuple[str, ...]) -> dict[str, Any]:
    """The fields that all cells have in common: what any net has, and what is not as it is by default."""
    fields, sort = base.to_dict(), MLP if isinstance(base, Sequential) else type(base)
    plain = {field.name: field.default for field in dataclasses.fields(sort)}  # type: ignore[arg-type]
    names = [name for name in fields if name not in varied and (name in ALWAYS or fields[name] != plain.get(name))]
    return {name: fields[name] for name in names}


def fixed(base: Spec, varied: tuple[str, ...]) -> list[str]:
    """What all cells have in common, in words."""
    return [name if value is True else told(name, value) for name, value in common(base, varied).items()]


def trained(run: Run, *, source: str | None, problem: Sequences | None = None, seconds: float, most: int = 10) -> None:
    """Print what a run did at about ten of its recorded steps, then what came of each seed."""
    console = terminal(80)
    head, *ends = run.summary()
    rows = len(run.training.rows.x)
    say(console, f"{head}; {rows} samples of {source}, {counted(len(run.seeds), 'seed')}, {seconds:.1f} s")
    if problem is not None and problem.loss == run.loss_name:
        say(console, f"chance: {problem.chance:.4g}, what the best outputs come to that do not depend on x")
    told = curve(run, most)
    slowest = ["-" if row["slowest_layer"] is None else _layer(run, row["slowest_layer"]) for row in told]
    columns = [
        Column("step", [str(row["step"]) for row in told]),
        Column("loss", [f"{row['loss']:.4g}" for row in told]),
        Column("lr", [f"{row['lr']:.4g}" for row in told], rank=1),
        Column("log10\ngradient\nnorm", [exponent(row["log10_grad_norm"]) for row in told]),
        Column("clip\nfactor", [number(row["clip_coef"]) for row in told], rank=2),
        Column("slowest\nlayer", slowest, left=True),
        Column("log10\nupdate\nratio", [exponent(row["log10_update_ratio"]) for row in told]),
    ]
    console.print(Columns(columns))
    for line in ends:
        say(console, line)
    say(console, TRAINED, most=WIDTH)


def pretrained(
    found: Pretrained, runs: Mapping[str, Run], *, source: str | None, note: str | None, seconds: float
) -> None:
    """Print how layers learnt one by one, a row a layer, and what a training made of the net then."""
    console = terminal()
    say(console, f"{found.summary()[0]}{f' on {source}' if source else ''}, {seconds:.1f} s")
    if note is not None:
        say(console, note)
    names = [name for name in MONITORED if not all(np.isnan(getattr(layer, name)).all() for layer in found.layers)]
    columns = [
        Column("layer", [str(layer.layer + 1) for layer in found.layers]),
        Column("units", [f"{layer.inputs} -> {layer.outputs}" for layer in found.layers], left=True, rank=2),
    ]
    for name in names:
        values = [getattr(layer, name) for layer in found.layers]
        columns.append(Column(f"first\n{MONITORED[name]}", [number(each[0]) for each in values], rank=1))
        columns.append(Column(f"last\n{MONITORED[name]}", [number(each[-1]) for each in values]))
    columns.append(Column("dL/dz first\nover last", [number(ratio) for ratio in found.ratios[1:].tolist()]))
    console.print(Columns(columns))
    last = len(found.layers)
    say(
        console,
        f"|dL/dz_1| / |dL/dz_{last}|: {number(found.ratios[0])} in the fresh net, {number(found.ratios[-1])} now.",
    )
    if "error" in names:
        say(console, "A reconstruction error is no likelihood: it also falls where a model of the data gets worse.")
    for name, run in runs.items():
        losses = f"loss {number(run.first_loss[0])} at first, {number(run.final_loss[0])} at last"
        say(console, f"{name}, {counted(int(run.steps_done[0]), 'step')}: {losses}")


def _layer(run: Run, name: str) -> str:
    """A layer as people count them; by its name where steps share its weights."""
    return name if run.layers.count(name) > 1 else names(run.labels, [run.layers.index(name)])


def curve(run: Run, most: int) -> list[dict[str, Any]]:
    """What a run did at some of its recorded steps, as means over those seeds that have them."""
    done = run.steps[run.steps <= max(run.steps_done.max(), 1)]
    found = []
    for index in np.unique(np.linspace(0, len(done) - 1, min(most, len(done))).round().astype(int)):
        step = int(done[index])
        row: dict[str, Any] = {"step": step}
        for name in ("loss", "lr", "log10_grad_norm", "clip_coef"):
            row[name] = _mean(getattr(run, name)[:, step - 1])
        ratios = [_mean(values) for values in run.log10_update_ratio[:, index].T]
        moving = {ratio: layer for layer, ratio in zip(run.layers, ratios, strict=True) if math.isfinite(ratio)}
        least = min(moving, default=math.nan)
        found.append(row | {"slowest_layer": moving.get(least), "log10_update_ratio": least})
    return found


def _mean(values: np.ndarray[Any, Any]) -> float:
    """The mean of those that are numbers."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def trained_json(run: Run) -> dict[str, Any]:
    """What was trained, what came of each seed, and what it did at about a hundred steps."""
    told = {"spec": run.spec.to_dict(), **run.recipe.facts(), "loss": run.loss_name, "dtype": run.dtype}
    told |= {"batch": run.batch, "steps": run.training.steps, "layers": list(run.layers), "seeds": []}
    for index, seed in enumerate(run.seeds.tolist()):
        bad = run.first_bads[index]
        of_seed: dict[str, Any] = {name: float(getattr(run, name)[index]) for name in LOSS_COLUMNS}
        of_seed |= {"steps_done": int(run.steps_done[index]), "stopped_by": run.stopped_by[index]}
        told["seeds"].append({"seed": seed} | of_seed | {"first_bad": bad and bad._asdict()})
    return told | {"curve": curve(run, 100)}


def beside(predicted: Prediction, measured: Probe) -> Columns:
    """A row a signal: theory and measurement."""
    row = row_word(measured.spec)
    factors = [measured.factor(signal) for signal in SIGNALS]
    columns = [
        Column("signal", [*SIGNALS], left=True),
        Column(f"theory\nx per {row}", [number(predicted.factor(signal), ".3f") for signal in SIGNALS]),
        Column(
            f"measured\nx per {row}",
            [_factor(factor, spread=True) for factor in factors],
            brief=[_factor(factor, spread=False) for factor in factors],
            details=INTERVALS if any(not math.isnan(factor.low) for factor in factors) else "",
        ),
    ]
    for end, at in (("first", 0), ("last", -1)):
        for side, result in (("theory", predicted), ("measured", measured)):
            sizes = [np.atleast_2d(getattr(result, column)).mean(axis=0)[at] for column, _ in SIGNALS.values()]
            columns.append(Column(f"{side}\nlog10\n{end} layer", [exponent(size) for size in sizes], block=1))
    return Columns(columns)


def advised_legend(advised: Advised) -> str:
    """What the columns and the order of advice mean."""
    order = "cures that change least, then what helps in part, the farthest from a verdict"
    if advised.final_loss is not None:
        order = "the lowest loss that training reached"
    spec = advised.before.spec
    words = ("dL/dz", "z", "layer", "depth")
    if isinstance(spec, RNN):
        words = ("dL/dstate", "h", "step", "memory")
    elif isinstance(spec, Transformer):
        words = ("dL/dh", "h", "block", "depth")
    told = ADVISED.format(**dict(zip(("backward", "forward", "unit", "limit"), words, strict=True)))
    return f"Best first: {order}. {told}"


def advice(advised: Advised) -> Columns:
    """Before and after, a row a net."""
    heads, *body = advice_rows(advised)
    ranks = {7: 3, 5: 2, 6: 2, 4: 1}  # The correlation goes first, then what z does, then the factor of dL/dz.
    columns = [
        Column(
            head.replace("/b", "/ b"),
            cells,
            left=head in {"change", "verdict"},
            moves=head == "change",
            rank=ranks.get(place, 0),
        )
        for place, (head, cells) in enumerate(zip(heads, zip(*body, strict=True), strict=True))
    ]
    styles = [STYLES[judged.verdict] for judged in (advised.before, *(each.after for each in advised))]
    return Columns(columns, numbers=columns[0], styles=styles)


def _factor(factor: Factor, *, spread: bool) -> str:
    if math.isnan(factor.value):
        return "-"
    interval = f" ({_places(factor.low)}-{_places(factor.high)})" if spread and not math.isnan(factor.low) else ""
    return f"{_places(factor.value)}{interval}"


def _places(value: float) -> str:
    """A number of three places, or where these would be zeros or many digits would stand before them, three digits."""
    return f"{value:.3f}" if 1e-3 <= value < 1e4 or value == 0 else f"{value:.3g}"


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "seed"), counted(8, "seed")
    ('1 seed', '8 seeds')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"
