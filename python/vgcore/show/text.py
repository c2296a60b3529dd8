"""What was judged and advised, as lines of plain text."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vgcore.show.words import count, power, spans

if TYPE_CHECKING:
    from vgcore.cure.advice import Advised
    from vgcore.judge.diagnosis import Diagnosis
    from vgcore.measure.result import Probe

#: Most characters of a line of text.
WIDTH = 110
BARS = "▁▂▃▄▅▆▇█"


def filled(line: str, width: int = WIDTH, *, indent: int = 4) -> str:
    """A line as several where it is longer than the page, the others indented."""
    return textwrap.fill(line, min(width, WIDTH), subsequent_indent=" " * indent, break_long_words=False)


def lines(d: Diagnosis, *, width: int = WIDTH) -> Iterator[tuple[str, str]]:
    """The lines of a diagnosis, each with what it is: a severity, a verdict, `remedy` or `text`."""
    yield d.verdict, filled(d.summary, width)
    if not isinstance(d.spec.width, int):
        yield "text", filled(d.spec.sizes, width)
    if d.rules != "vgcore":
        yield "text", filled(f"judged by the published rules of {d.rules}, not by vgcore's", width)
    if d.depth_limit is not None:
        yield "text", filled(f"depth limit: {d.depth_limit}", width)
    if d.probe is not None and not d.cells:
        runs = len(d.probe.seeds)
        agree = round(d.confidence * runs)
        whose = "" if d.probe.network is None else "own weights: "
        if runs > 1:
            yield "text", whose + (f"all {runs} runs agree" if agree == runs else f"{agree} of {runs} runs agree")
        elif whose:
            yield "text", whose + "one run"
    for cell, name in zip(d.cells, labels(d.cells), strict=True):
        yield cell.verdict, filled(f"  {cell.word:40s} {name}", width, indent=6)
    for finding in d.findings:
        layers = "layer" if len(finding.layers) == 1 else "layers"
        at = f" ({layers} {spans(finding.layers)})" if 0 < len(finding.layers) < d.spec.depth else ""
        yield finding.severity, filled(f"{finding.severity:8s} {finding.rule}: {finding.evidence}{at}", width, indent=9)
        yield "remedy", filled(f"         remedy: {finding.remedy}", width, indent=13)
        for part in finding.explanation.splitlines():
            yield "text", filled(f"         {part}", width, indent=9)
        for name in finding.picture:
            if d.probe is not None:
                yield "text", f"         {spark(d.probe, name, width=min(width, WIDTH) - 9)}"


def labels(cells: Sequence[Diagnosis]) -> list[str]:
    """What sets the cells of a sweep apart."""
    fields = [{name: str(value) for name, value in cell.spec.to_dict().items() if name != "tables"} for cell in cells]
    varied = [name for name in fields[0] if len({each[name] for each in fields}) > 1] if fields else []
    return [", ".join(f"{name} {each[name]}" for name in varied) for each in fields]


def diagnosis(d: Diagnosis) -> str:
    """A diagnosis in plain text."""
    return "\n".join(line for _, line in lines(d))


def spark(cell: Probe, column: str, *, width: int = WIDTH) -> str:
    """The seeds' mean of a column as a row of bars, layer 1 on the left; of evenly spread layers where it is long."""
    values = getattr(cell, column)
    finite = np.isfinite(values)
    if not finite.any():
        return f"{column}: nowhere finite"
    with np.errstate(invalid="ignore"):
        means = np.where(finite, values, 0).sum(axis=0) / finite.sum(axis=0)
    low, high = np.nanmin(means), np.nanmax(means)
    head, tail = f"{column}, {low:.3g} to {high:.3g}: |", f"| layer 1 to {cell.spec.depth}"
    most = min(max(10, width - len(head + tail)), len(means))
    chosen = means[np.linspace(0, len(means) - 1, most).round().astype(int)]
    span = high - low if high > low else 1.0
    bars = "".join(" " if math.isnan(v) else BARS[min(int(8 * (v - low) / span), 7)] for v in chosen)
    return f"{head}{bars}{tail}"


def advice_summary(a: Advised) -> Iterator[tuple[str, str]]:
    """What was wrong, and how much was run, as lines with what they are."""
    yield a.before.verdict, a.before.summary
    if a.items:
        yield "text", f"{a.tried} nets were run; each below was measured as the net as it is:"
    else:
        yield "text", "nothing to change" if a.tried == 1 else f"none of {a.tried} nets tried was better"


def advice_rows(a: Advised) -> list[tuple[str, ...]]:
    """Before and after side by side: a head, the net as it is, and a row for each change.

    The first loss, in blind guesses, stands at the end where there is one.
    """
    head = ("", "change", "verdict", "dL/dz", "a layer", "z", "a layer", "correlation", "depth limit")
    rows = [("", "as it is", *_measures(a.before))]
    for i, each in enumerate(a.items, 1):
        word, *measures = _measures(each.after)
        barely = ", barely" if word == "healthy" and not each.cures else ""
        rows.append((f"{i}", each.change, word + barely, *measures))
    if a.first_loss is None:
        return [head, *rows]
    losses = (a.first_loss, *(each.first_loss for each in a.items))
    lost = ["-" if loss is None else f"{loss:.3g}" for loss in losses]
    return [(*head, "loss/blind"), *((*row, loss) for row, loss in zip(rows, lost, strict=True))]


def _measures(d: Diagnosis) -> tuple[str, ...]:
    """Verdict, changes and factors, correlation and depth limit of a net, as words."""
    e, changes = d.evidence, [d.told("backward"), d.told("forward")]
    if e is None:
        return (d.word, *"------")
    pairs = [(power(change.rms), f"{e.factor(change):.3g}") for change in changes if change]
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
