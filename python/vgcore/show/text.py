"""What was judged and advised, as lines of plain text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vgcore.model.mlp import MLP
from vgcore.show.page import wrapped
from vgcore.show.words import count, exponent, extent, own, places, row, told

if TYPE_CHECKING:
    from vgcore.cure.advice import Advised
    from vgcore.judge.diagnosis import Diagnosis
    from vgcore.judge.finding import Finding
    from vgcore.judge.training.diagnosis import RunDiagnosis
    from vgcore.measure.result import Probe, Signal
    from vgcore.measure.trace import Trace

#: Most characters of a line of text.
WIDTH = 110
BARS = "▁▂▃▄▅▆▇█"
FEWEST = 10  # bars in one line with what they are


def filled(line: str, width: int = WIDTH, *, indent: int = 4) -> str:
    """A line as several where it is longer than the page, the others indented."""
    return "\n".join(wrapped(line, min(width, WIDTH), indent=indent))


def lines(d: Diagnosis, *, width: int = WIDTH) -> Iterator[tuple[str, str]]:
    """The lines of a diagnosis, each with what it is: a severity, a verdict, `remedy` or `text`."""
    yield d.verdict, filled(d.summary, width)
    if isinstance(d.spec, MLP) and not isinstance(d.spec.width, int):
        yield "text", filled(d.spec.sizes, width)
    if d.rules != "vgcore":
        yield "text", filled(f"judged by the published rules of {d.rules}, not by vgcore's", width)
    if d.depth_limit is not None:
        yield "text", filled(f"{d.depth_limit.name}: {d.depth_limit}", width)
    if agreed := agreement(d):
        yield "text", filled(agreed, width)
    for cell, line in zip(d.cells, listed(d.cells, labels(d.cells), width), strict=True):
        yield cell.verdict, line
    for finding in d.findings:
        told = f"{finding.severity:8s} {finding.rule}: {finding.evidence}{where(d, finding)}"
        yield finding.severity, filled(told, width, indent=9)
        yield "remedy", filled(f"         remedy: {finding.remedy}", width, indent=13)
        for part in finding.explanation.splitlines():
            yield "text", filled(f"         {part}", width, indent=9)
        for name in finding.picture:
            if (shown := d.probe or d.measured) is not None:
                yield "text", indented(spark(shown, name, width=min(width, WIDTH) - 9), 9)
    if d.not_judged:
        yield "text", filled(f"not judged: {unjudged(d)}", width)
    yield from (("text", filled(f"note: {note}", width)) for note in d.notes)


def where(d: Diagnosis, finding: Finding) -> str:
    """The layers of a finding, where it is not of all."""
    return f" ({places(finding.layers, d.names, d.row)})" if 0 < len(finding.layers) < _depth(d) else ""


def agreement(d: Diagnosis) -> str:
    """How many of the runs that were judged agree; empty where nothing can be said of it."""
    if d.cells:
        return ""
    if d.probe is None:
        return "" if d.measured is None else seen(d.measured, d.confidence)
    runs = len(d.probe.seeds)
    agree = round(d.confidence * runs)
    whose = "" if d.probe.network is None else "own weights: "
    if runs == 1:
        return whose and f"{whose}one run"
    return f"{whose}{_share(agree, runs)} runs agree"


def _share(agree: int, runs: int) -> str:
    """So many of so many, in words where it is all of them."""
    if agree < runs:
        return f"{agree} of {runs}"
    return "both" if runs == 2 else f"all {runs}"


def listed(cells: Sequence[Diagnosis | RunDiagnosis], names: Sequence[str], width: int) -> list[str]:
    """A line a cell: what was judged of it, then its name, in columns where there is room for both."""
    longest = max((len(cell.word) for cell in cells), default=0)
    longest = longest if longest < width // 2 else 0
    return [
        filled(f"  {cell.word:{longest}}  {name}".rstrip(), width, indent=longest + 4 if longest else 6)
        for cell, name in zip(cells, names, strict=True)
    ]


def indented(text: str, by: int) -> str:
    """A text of one or more lines, each further to the right."""
    return "\n".join(" " * by + line for line in text.split("\n"))


def unjudged(d: Diagnosis) -> str:
    """The rules that could not judge, by what they need."""
    needs = dict.fromkeys(why for _, why in d.not_judged)
    return "; ".join(f"{', '.join(name for name, need in d.not_judged if need == why)} ({why})" for why in needs)


def _depth(d: Diagnosis) -> int:
    """Layers of what was judged."""
    if d.measured is not None:
        return d.measured.depth
    return 0 if d.spec is None else d.spec.rows


def seen(trace: Trace, confidence: float) -> str:
    """Which runs a trace has, and how many agree."""
    agree = round(confidence * trace.runs)
    count = _share(agree, trace.runs)
    if trace.draws:
        return f"{count} nets agree"
    alone = "one net tells nothing of others: no interval over seeds"
    if trace.runs == 1:
        return (f"step {trace.steps[0]}: " if trace.steps else "") + alone
    return f"{count} steps agree, {min(trace.steps)} to {max(trace.steps)}: {alone}"


def labels(cells: Sequence[Diagnosis]) -> list[str]:
    """What sets the cells of a sweep apart."""
    return apart([cell.spec.to_dict() if cell.spec is not None else {} for cell in cells])


def apart(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """What sets cells apart of which these facts are known."""
    names = [name for name in cells[0] if name != "tables"] if cells else []
    varied = [name for name in names if len({str(each.get(name)) for each in cells}) > 1]
    return [", ".join(told(name, each.get(name)) for name in varied) for each in cells]


def diagnosis(d: Diagnosis) -> str:
    """A diagnosis in plain text."""
    return "\n".join(line for _, line in lines(d))


def spark(measured: Probe | Trace, column: str, *, width: int = WIDTH) -> str:
    """The runs' mean of a column as a row of bars, layer 1 on the left; of evenly spread layers where it is long."""
    trace = measured.trace
    values = trace.columns[column][:, trace.known(column)]
    finite = np.isfinite(values)
    if not finite.any():
        return f"{column}: nowhere finite"
    with np.errstate(invalid="ignore"):
        means = np.where(finite, values, 0).sum(axis=0) / finite.sum(axis=0)
    return barred(column, means, _ends(trace), width)


def barred(column: str, values: NDArray[np.float64], tail: str, width: int) -> str:
    """Values, of which one is finite, as a row of bars, evenly spread ones where it is long.

    What they are stands before it and the tail behind it, on lines of their own where there is no room.
    """
    low, high = np.nanmin(values), np.nanmax(values)
    head = f"{column}, {low:.3g} to {high:.3g}:"
    room = width - len(f"{head} || {tail}")
    beside = room >= min(FEWEST, len(values))
    room = room if beside else max(width - 2, 1)
    chosen = values[np.linspace(0, len(values) - 1, min(room, len(values))).round().astype(int)]
    bottom, top = extent(column, low, high)
    span = top - bottom or 1.0
    row = "|" + "".join(" " if math.isnan(v) else BARS[min(int(8 * (v - bottom) / span), 7)] for v in chosen) + "|"
    return f"{head} {row} {tail}" if beside else "\n".join((filled(head, width), row, filled(tail, width)))


def _ends(trace: Trace) -> str:
    """The first layer and the last."""
    named = own(trace.names)
    return f"{named[0]} to {named[-1]}" if named else f"{row(trace.names)} 1 to {trace.depth}"


def advice_summary(a: Advised) -> Iterator[tuple[str, str]]:
    """What was wrong, and how much was run, as lines with what they are."""
    yield a.before.verdict, a.before.summary
    if a.items:
        run = "1 net was run" if a.tried == 1 else f"{a.tried} nets were run"
        yield "text", f"{run} on the same seeds and samples; what helps, the best first:"
    else:
        yield "text", "nothing to change" if a.tried == 1 else f"none of {a.tried} nets tried was better"


def advice_rows(a: Advised) -> list[tuple[str, ...]]:
    """Before and after side by side: a head, the net as it is, and a row for each change.

    The first loss, in blind guesses, stands at the end where there is one, and the loss that was reached behind it.
    """
    back, forth, unit, limit = _signals(a)
    head: tuple[str, ...] = (
        *("", "change", "verdict", f"log10 {back}", f"{back} a {unit}", f"log10 {forth}", f"{forth} a {unit}"),
        *("correlation", limit),
    )
    rows: list[tuple[str, ...]] = [("", "as it is", *_measures(a.before))]
    for i, each in enumerate(a.items, 1):
        word, *measures = _measures(each.after)
        barely = ", barely" if word == "healthy" and not each.cures else ""
        rows.append((f"{i}", each.change, word + barely, *measures))
    columns = {
        "loss/blind": (a.first_loss, [each.first_loss for each in a.items]),
        "loss trained": (a.final_loss, [each.loss_after for each in a.items]),
    }
    for name, (before, after) in columns.items():
        if before is not None:
            head = (*head, name)
            told = ["-" if loss is None else f"{loss:.3g}" for loss in (before, *after)]
            rows = [(*row, loss) for row, loss in zip(rows, told, strict=True)]
    return [head, *rows]


def _signals(a: Advised) -> tuple[str, str, str, str]:
    """What the signals of a net are called, what is counted, and how many of these there may be."""
    judged = [each.evidence for each in (a.before, *(item.after for item in a.items)) if each.evidence is not None]
    if not judged or judged[0].unit == "layer":
        return "dL/dz", "z", "layer", "depth limit"
    names = {e.name("backward") for e in judged}
    limit = "memory limit" if judged[0].shared else "depth limit"
    return names.pop() if len(names) == 1 else "dL/dstate", judged[0].name("forward"), judged[0].unit, limit


def _measures(d: Diagnosis) -> tuple[str, ...]:
    """Verdict, changes and factors, correlation and depth limit of a net, as words."""
    signals: tuple[Signal, ...] = ("backward", "forward")
    e, changes = d.evidence, {signal: d.told(signal) for signal in signals}
    if e is None:
        return (d.word, *"------")
    pairs = [(exponent(c.rms), f"{e.factor(c, e.steps_of(signal)):.3g}") for signal, c in changes.items() if c]
    limit = "-" if d.depth_limit is None else count(d.depth_limit.value)
    correlation = round(e.column("correlation")[-1], 3) + 0  # + 0 makes -0.0 plain 0.0
    return (d.word, *itertools.chain(*pairs), "-" if math.isnan(correlation) else f"{correlation:.3f}", limit)


def _advice_lines(a: Advised) -> Iterator[tuple[str, str]]:
    yield from ((kind, filled(line)) for kind, line in advice_summary(a))
    if a.items:
        rows = advice_rows(a)
        wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
        kinds = ("text", a.before.verdict, *(advice.after.verdict for advice in a.items))
        for kind, row in zip(kinds, rows, strict=True):
            cells = (f"{cell:{'<' if i in {1, 2} else '>'}{wide[i]}}" for i, cell in enumerate(row))
            yield kind, "  ".join(cells).rstrip()


def advice(a: Advised) -> str:
    """Some advice in plain text."""
    return "\n".join(line for _, line in _advice_lines(a))
