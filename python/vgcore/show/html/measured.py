"""What was measured as HTML: probes, sweeps, traces, Jacobians."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vgcore.measure.result import SIGNALS
from vgcore.show import sweep as rows_of
from vgcore.show.html.blocks import Html, folded, joined, quiet, said, spread, table, titled, toned
from vgcore.show.html.charts import curve, means
from vgcore.show.words import exponent, number

if TYPE_CHECKING:
    from vgcore.data.sequences import Sequences
    from vgcore.judge.diagnosis import Diagnosis
    from vgcore.measure.cells import Judged, Sweep
    from vgcore.measure.jacobian import Jacobian
    from vgcore.measure.result import Factor, Probe, Signal
    from vgcore.measure.trace import Trace
    from vgcore.train.many import TrainSweep
    from vgcore.watch.measured import Measured
    from vgcore.watch.watch import Watch

#: What a row is, by what repeats in a net.
ROWS = {"layer": "layer", "step": "step", "block": "map"}
#: Layers of a table of layers.
LAYERS = 8
#: What is said of the signals and of their columns, in the order in which they are shown.
WORDS: dict[Signal, tuple[str, str]] = {
    "forward": ("z, forward", "log10 rms of z"),
    "backward": ("dL/dz, backward", "log10 rms of dL/dz"),
    "weight": ("dL/dW", "log10 |dL/dW|"),
}
#: The columns that the signals are measured in, and what these are called.
COLUMNS = {SIGNALS[signal][0]: words for signal, (_, words) in WORDS.items()}
#: Columns of a trace that are shown, where they are there.
TRACED = {
    "log10_forward": "log10 forward",
    "log10_backward": "log10 backward",
    "log10_weight": "log10 |dL/dW|",
    "zeros": "zeros",
}


def sequences(s: Sequences) -> Html:
    """Sequences: what a net gets and is to say, and what it comes to without looking."""
    targets = f"{s.outputs} classes" if s.y.dtype.kind == "i" else f"{s.y.min():.4g} to {s.y.max():.4g}"
    rows = [("x", s.x.shape, f"{s.x.min():.4g} to {s.x.max():.4g}"), ("y", s.y.shape, targets)]
    told = table(("array", "shape", "numbers"), rows, words=(0, 1, 2))
    chance = f"Chance is {s.chance:.6g}, the {s.loss} of the best outputs that do not depend on x."
    return joined(titled(repr(s)), told, quiet(chance), quiet(s.source))


def probe(p: Probe) -> Html:
    """A probe: what was measured, the verdict, a row a signal, and some layers."""
    from vgcore.judge.diagnose import judge

    judged = judge(p)
    own = "" if p.network is None else ", its own weights"
    runs = "1 seed" if len(p.seeds) == 1 else f"{len(p.seeds)} seeds"
    loss = "random cotangent" if p.loss is None else f"loss {p.loss}"
    rows = []
    for signal, (words, _) in WORDS.items():
        column = SIGNALS[signal][0]
        values = means(getattr(p, column))
        factor = p.factor(signal)
        told = number(factor.value), interval(factor), exponent(values[0]), exponent(values[-1])
        rows.append((words, *told, curve(values, words, column=column), _word(judged, signal)))
    depth, row = p.spec.rows, _row(p)
    ends = f"log10 at {row}\xa01", f"at {row}\xa0{depth}", f"{row} 1\xa0to\xa0{depth}"
    head = ("signal", f"factor a {row}", "95 % interval", *ends, "verdict")
    return joined(
        titled("Probe", repr(p.spec)),
        quiet(f"{runs}, batch {p.batch}, {p.dtype}, {loss}{own}"),
        said(judged.word, judged.verdict, judged.summary),
        table(head, rows, words=(0, 5, 6)),
        layers(p),
        quiet("vg.diagnose(p) says why, vg.advise(p.spec) what helps, vg.plot.layers(p) draws it."),
    )


def _word(judged: Diagnosis, signal: Signal) -> object:
    """What a signal does; nothing of a net with skips, whose verdict is about the stream, which has no row."""
    facts = None if judged.probe is None else judged.probe.trace.facts
    if signal == "weight" or facts is None or facts.streams:
        return ""
    return toned(judged.verdict, judged.verdict) if judged.direction in {signal, "both"} else "in bounds"


def _row(p: Probe) -> str:
    """What a row of a probe is: a step of a recurrent net, a map of a block, or a layer."""
    facts = p.trace.facts
    return "layer" if facts is None or (facts.per > 1 and facts.unit == "step") else ROWS[facts.unit]


def layers(p: Probe) -> Html:
    """The signals of some layers."""
    columns = [means(getattr(p, name)) for name in COLUMNS]
    chosen = spread(p.spec.rows, LAYERS)
    rows = [(str(i + 1), *(exponent(column[i]) for column in columns)) for i in chosen]
    row = _row(p)
    which = f"all {row}s" if len(chosen) == p.spec.rows else f"{len(chosen)} of {p.spec.rows} {row}s"
    return folded(f"{which}, means over the seeds", table((row, *COLUMNS.values()), rows, words=()))


def interval(f: Factor) -> str:
    """The interval of a factor; `-` of one seed."""
    return "-" if math.isnan(f.low) else f"{f.low:.3g} to {f.high:.3g}"


def factor(f: Factor) -> Html:
    """A factor."""
    return joined(titled("Factor", f"{f} a layer; 1 is preserved"))


def sweep(s: Sweep | TrainSweep) -> Html:
    """A sweep: a row a cell, with its verdict."""
    return joined(titled(repr(s)), cells(s[: rows_of.SHOWN]), *rows_of.notes(s))


def cells(s: Sweep | TrainSweep, numbers: Sequence[int] = (), judged: Sequence[Judged] = ()) -> Html:
    """The cells of a sweep, a row each, with its place among others, from 0, where these are given, told from 1."""
    if not len(s):
        return Html("")
    first: list[tuple[str, ...]] = [(str(number + 1),) for number in numbers] or [()] * len(s)
    head = (*(("cell",) if numbers else ()), *rows_of.head(s))
    at = head.index("verdict")
    rows = [
        (
            *number,
            *each.cells[: len(s.varied)],
            toned(each.cells[len(s.varied)], each.verdict),
            *each.cells[len(s.varied) + 1 :],
        )
        for number, each in zip(first, rows_of.rows(s, judged), strict=True)
    ]
    words = (i for i, name in enumerate(head) if (name != "cell" and i <= at) or name == "stopped by")
    return table(head, rows, words=tuple(words))


def trace(t: Trace) -> Html:
    """Sizes by layer: means over the runs, or the last step of a watch."""
    return joined(*_trace(t, "Trace"))


def _trace(t: Trace, what: str, *lines: str) -> list[Html]:
    shown = {name: words for name, words in TRACED.items() if name in t.columns}
    columns = {name: t.columns[name][-1] if t.steps else means(t.columns[name]) for name in shown}
    chosen = spread(t.depth, LAYERS)
    which = f"step {t.steps[-1]}" if t.steps else "1 net" if t.runs == 1 else f"means over {t.runs} nets"
    rows = [(t.names[i], *(_size(name, column[i]) for name, column in columns.items())) for i in chosen]
    curves = ("all layers", *(curve(column, shown[name], column=name, width=90) for name, column in columns.items()))
    batch = "" if t.batch is None else f", batch {t.batch}"
    return [
        titled(what, *lines, f"{len(chosen)} of {t.depth} layers, {which}{batch}, {t.dtype}"),
        table(("layer", *shown.values()), [*rows, curves]),
        *(quiet(f"note: {note}") for note in t.notes),
        quiet("vg.diagnose(...) judges it."),
    ]


def _size(name: str, value: float) -> str:
    return exponent(value) if name.startswith("log10") else number(value)


def measured(m: Measured) -> Html:
    """Fresh nets of torch."""
    return joined(
        *_trace(m.trace, "Measured", f"loss {number(float(np.mean(m.losses)))}, mean of {len(m.losses)} nets")
    )


def watch(w: Watch) -> Html:
    """A watch: the newest step, if one was seen."""
    try:
        newest = w.trace
    except ValueError as error:
        return joined(titled(repr(w)), quiet(error))
    return joined(*_trace(newest, repr(w)))


def jacobian(j: Jacobian) -> Html:
    """A Jacobian: its spectrum."""
    values = j.log10_singular_values
    chosen = spread(len(values), LAYERS)
    rows = [(str(i + 1), exponent(values[i]), f"{j.exponents[i]:.3g}") for i in chosen]
    norm, condition = exponent(j.log10_norm), exponent(j.log10_condition)
    facts = f"rank {j.rank} of {len(values)}, log10 norm {norm}, log10 condition {condition}"
    return joined(
        titled("Jacobian", repr(j.spec), facts),
        curve(values, "log10 singular values", width=300, height=60),
        table(("singular value", "log10", "exponent a layer"), rows, words=()),
        quiet("vg.plot.spectrum(j) draws it."),
    )
