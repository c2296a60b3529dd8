"""The tables that the commands print."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vgcore._core import COLUMNS
from vgcore.cure.advice import Advised
from vgcore.measure.cells import Sweep
from vgcore.measure.result import SIGNALS, Factor, Probe
from vgcore.measure.table import start
from vgcore.model.mlp import MLP
from vgcore.shell import bench, rivals
from vgcore.show.text import advice_rows
from vgcore.theory import Prediction

WIDE = 1000  # columns that no table needs
ROOMY = 130  # columns from which on advice has a line a net
LEGEND = """\
x per layer: geometric mean, 1 = preserved; in brackets its 95 % interval over seeds. forward: z, toward the output;
backward: dL/dz and weight: dL/dW, toward the input. first-layer gradient: norm of dL/dW, of a tied net summed over its
steps. vanishing, exploding: dL/dz changes 32-fold or more from end to end, or z 100-fold; symmetric, collapsed: units
or samples are one and the same: see `vgcore diagnose`."""
THEORY = """\
x per layer: geometric mean, 1 = preserved; in brackets its 95 % interval over seeds. Theory is of infinitely wide nets
and of their root mean square: in narrow and deep nets typical gradients are smaller than that."""
COMPARED = """\
Microseconds a layer of one net, median and minimum over rounds; ratio: to vgcore's, above 1, vgcore is faster.
spread: slowest round over fastest; far above 1, the machine was busy otherwise.
"""
ALWAYS = ("depth", "width", "activation", "init")  # fields that are named also where they are the default
# Columns that only some nets have.
SOME = (
    *("log10_affine_grad_norm", "log10_slope_grad_norm", "log10_gate_grad_norm", "log10_summed_wgrad_norm"),
    *("log10_h_rms", "log10_dh_rms"),
)
STYLES = {"healthy": "green", "vanishing": "blue", "exploding": "red", "symmetric": "red", "collapsed": "red"}
STYLES |= {"critical": "red", "warning": "yellow", "info": "cyan", "remedy": "dim", "text": "default"}


def terminal(width: int = 160) -> Console:
    """The terminal, or what has so many columns."""
    return Console(width=None if sys.stdout.isatty() else width, highlight=False)


def show(result: Sweep, base: MLP, *, source: str | None, seconds: float, layers: bool) -> None:
    """Print the tables of a sweep; with `layers` those of its first cell's layers too."""
    console = terminal(WIDE)  # a table in a file is as wide as it needs to be
    first = result[0]
    samples = "standard normal samples" if source is None else f"samples of {source}"
    runs = f"{_count(len(result), 'cell')} x {_count(len(first.seeds), 'seed')}"
    console.print(f"{runs}, {first.batch} {samples} a run, {start(first)}, {first.dtype}, {seconds:.1f} s")
    console.print("all: " + ", ".join(fixed(base, result.varied)))
    rows = _cells(result, spread=True)
    if console.measure(rows, options=console.options.update(width=WIDE)).maximum > console.width:
        rows = _cells(result, spread=False)
    console.print(rows)
    if layers:
        console.print(_layers(first))
    console.print(LEGEND)


def _cells(result: Sweep, *, spread: bool) -> Table:
    """A row a cell; what it is may take several lines, what was measured may not."""
    rows = Table(box=box.SIMPLE_HEAD)
    for name in result.varied:
        rows.add_column(name, justify="right" if name == "depth" else "left", no_wrap=name == "depth", overflow="fold")
    for name in ("forward", "backward", "weight"):
        rows.add_column(f"{name}\nx per layer" if spread else f"{name}\nx per\nlayer", justify="right", no_wrap=True)
    rows.add_column("first-layer\ngradient" if spread else "first\nlayer\ngradient", justify="right", no_wrap=True)
    rows.add_column("verdict", no_wrap=spread)
    for row in result.table():
        values = ["none" if row[name] is None else str(row[name]) for name in result.varied]
        factors = [_factor(row[name], spread=spread) for name in ("forward", "backward", "weight")]
        words = ", ".join((row["verdict"], *row["conditions"]))
        rows.add_row(*values, *factors, _power(row["first_gradient"]), f"[{STYLES[row['verdict']]}]{words}[/]")
    return rows


def _layers(cell: Probe, most: int = 16) -> Table:
    """The seeds' mean of every column that the net has; in a deep net, of evenly spread layers.

    Random cotangents are as good as orthogonal, and so is all that comes of them: `gradient_correlation` needs a loss.
    """
    depth = cell.spec.depth
    chosen = sorted({round(i * (depth - 1) / max(most - 1, 1)) for i in range(most)}) if depth > most else range(depth)
    rows = Table(box=box.SIMPLE_HEAD)
    means = {name: getattr(cell, name).mean(axis=0) for name in COLUMNS}
    absent = {name for name in SOME if np.isnan(means[name]).all()}
    absent |= {"gradient_correlation"} if cell.loss is None else set()
    means = {name: mean for name, mean in means.items() if name not in absent}
    for name in ("layer", *(name.removeprefix("log10_") for name in means)):
        rows.add_column(name.replace("_", "\n"), justify="right", no_wrap=True)
    for layer in chosen:
        values = [
            _power(means[name][layer]) if name.startswith("log10_") else f"{means[name][layer]:.3g}" for name in means
        ]
        rows.add_row(str(layer + 1), *values)
    return rows


def fixed(base: MLP, varied: tuple[str, ...]) -> list[str]:
    """What all cells have in common: what any net has, and what is not as it is by default."""
    fields, plain = base.to_dict(), MLP(depth=1, width=1).to_dict()
    shown = [name for name in fields if name not in varied and (name in ALWAYS or fields[name] != plain[name])]
    return [name if fields[name] is True else f"{name} {fields[name]}" for name in shown]


def beside(predicted: Prediction, measured: Probe) -> Table:
    """A row a signal: theory and measurement."""
    rows = Table(box=box.SIMPLE_HEAD)
    sides = ("theory", "measured")
    ends = (f"{side}\n{end} layer" for end in ("first", "last") for side in sides)
    for name in ("signal", *(f"{side}\nx per layer" for side in sides), *ends):
        rows.add_column(name, justify="left" if name == "signal" else "right", no_wrap=True)
    for signal, (column, _) in SIGNALS.items():
        theory, values = getattr(predicted, column), getattr(measured, column).mean(axis=0)
        factor = predicted.factor(signal)
        both = ["-" if math.isnan(factor) else f"{factor:.3f}", _factor(measured.factor(signal), spread=True)]
        sizes = [each[at] for at in (0, -1) for each in (theory, values)]
        rows.add_row(signal, *both, *(f"10^{end:.2f}" if math.isfinite(end) else _power(end) for end in sizes))
    return rows


def advice(advised: Advised, *, wide: bool) -> Table:
    """Before and after, a row a net; where it is narrow, the verdict stands under the change, a factor under its whole.

    What is changed may take several lines.
    """
    lines = advice_rows(advised)
    if not wide:
        pairs = [(0,), (1, 2), (3, 4), (5, 6), *((i,) for i in range(7, len(lines[0])))]
        lines = [tuple("\n".join(line[i] for i in pair) for pair in pairs) for line in lines]
    head, *body = lines
    rows = Table(box=box.SIMPLE_HEAD)
    for name in head:
        words = name.startswith("change") or name == "verdict"
        rows.add_column(
            name
            if wide
            else name.replace("depth ", "depth\n").replace("correlation", "corre-\nlation").replace("/b", "/\nb"),
            justify="left" if words else "right",
            no_wrap=not words,
            overflow="fold",
        )
    for judged, row in zip((advised.before, *(advice.after for advice in advised)), body, strict=True):
        rows.add_row(*map(escape, row), style=STYLES[judged.verdict])
    return rows


def show_comparisons(done: list[list[bench.Row]], record: dict[str, Any]) -> None:
    """Print what a benchmark found, a table a job."""
    console, facts, build = terminal(), record["facts"], record["facts"]["build"]
    load = "" if facts["load"] is None else f", load {facts['load']:.1f} before and {facts['load_after']:.1f} after"
    console.print(f"{_count(facts['cores'], 'core')} of {facts['cpu']}, {build['isa']}{load}")
    others = [f"{name} {facts[module] or 'is not installed'}" for name, module in rivals.OPTIONAL.items()]
    console.print(f"vgcore {build['version']}, NumPy {facts['numpy']}, {', '.join(others)}")
    for job, text in record["jobs"].items():
        parts = [rows for rows in done if rows[0]["job"] == job]
        if not parts:
            continue
        console.print(f"\n{job}: {text}")
        lines = Table(box=box.SIMPLE_HEAD)
        for name in ("width", "batch", "depth", "rival", "setting", "median", "ratio", "min", "ratio", "spread"):
            lines.add_column(name, justify="left" if name in {"rival", "setting"} else "right", no_wrap=True)
        for rows in parts:
            for row in rows:
                times = [f"{row[time]:.1f}" for time in ("median", "min")]
                ratios = [f"{row[ratio]:.2f}x" for ratio in ("ratio", "ratio_min")]
                figures = times[0], ratios[0], times[1], ratios[1], f"{max(row['us_per_layer']) / row['min']:.1f}"
                lines.add_row(*map(str, row["shape"]), row["rival"], row["setting"], *figures)
            lines.add_section()
        console.print(lines)
    console.print(COMPARED)
    for name, does in record["rivals"].items():
        console.print(f"{name}: {does}".replace("\n\n", " "))


def _factor(factor: Factor, *, spread: bool) -> str:
    if math.isnan(factor.value):
        return "-"
    interval = f" ({factor.low:.3f}-{factor.high:.3f})" if spread and not math.isnan(factor.low) else ""
    return f"{factor.value:.3f}{interval}"


def _power(log10: float) -> str:
    if math.isfinite(log10):
        return f"10^{round(log10, 1) + 0:.1f}"  # + 0 makes -0.0 plain 0.0
    return "0" if log10 < 0 else "inf" if log10 > 0 else "-"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
