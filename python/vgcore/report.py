"""What was judged and advised, as text and HTML."""

from __future__ import annotations

import base64
import html as escape
import io
import itertools
import math
import textwrap
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from vgcore.evidence import Evidence
from vgcore.rules import power, spans

if TYPE_CHECKING:
    from vgcore.advise import Advised
    from vgcore.diagnose import Diagnosis
    from vgcore.finding import Finding
    from vgcore.probe import Probe

#: Of a line of text.
WIDTH = 110
BARS = "▁▂▃▄▅▆▇█"


def count(value: float) -> str:
    """A number of layers, which may have no end."""
    return "no limit" if math.isinf(value) else f"{value:.0f}" if value < 1e6 else f"{value:.0e}"


def lines(d: Diagnosis, *, width: int = WIDTH) -> Iterator[tuple[str, str]]:
    """The lines of a diagnosis, each with what it is: a severity, a verdict, `remedy` or `text`."""

    def filled(line: str, indent: int) -> str:
        return textwrap.fill(line, min(width, WIDTH), subsequent_indent=" " * indent, break_long_words=False)

    yield d.verdict, filled(d.summary, 4)
    if d.rules != "vgcore":
        yield "text", f"judged by the published rules of {d.rules}, not by vgcore's"
    if d.depth_limit is not None:
        yield "text", f"depth limit: {d.depth_limit}"
    if d.probe is not None and len(d.probe.seeds) > 1:
        runs = len(d.probe.seeds)
        agree = round(d.confidence * runs)
        yield "text", f"all {runs} runs agree" if agree == runs else f"{agree} of {runs} runs agree"
    for cell, name in zip(d.cells, labels(d.cells), strict=True):
        yield cell.verdict, f"  {cell.word:40s} {name}"
    for finding in d.findings:
        layers = "layer" if len(finding.layers) == 1 else "layers"
        at = f" ({layers} {spans(finding.layers)})" if 0 < len(finding.layers) < d.spec.depth else ""
        yield finding.severity, filled(f"{finding.severity:8s} {finding.rule}: {finding.evidence}{at}", 9)
        yield "remedy", filled(f"         try {finding.remedy}", 13)
        for part in finding.explanation.splitlines():
            yield "text", filled(f"         {part}", 9)
        for name in finding.picture:
            if d.probe is not None:
                yield "text", f"         {spark(d.probe, name)}"


def labels(cells: Sequence[Diagnosis]) -> list[str]:
    """What sets the cells of a sweep apart."""
    fields = [{name: str(value) for name, value in cell.spec.to_dict().items() if name != "tables"} for cell in cells]
    varied = [name for name in fields[0] if len({each[name] for each in fields}) > 1] if fields else []
    return [", ".join(f"{name} {each[name]}" for name in varied) for each in fields]


def text(d: Diagnosis) -> str:
    """A diagnosis in plain text."""
    return "\n".join(line for _, line in lines(d))


def spark(cell: Probe, column: str, most: int = 60) -> str:
    """The seeds' mean of a column as a row of bars, layer 1 on the left."""
    values = getattr(cell, column)
    fine = np.where(np.isfinite(values), values, 0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        means = fine / np.isfinite(values).sum(axis=0)
    chosen = means[np.unique(np.linspace(0, len(means) - 1, min(most, len(means))).round().astype(int))]
    low, high = np.nanmin(chosen, initial=math.inf), np.nanmax(chosen, initial=-math.inf)
    span = high - low if high > low else 1.0
    bars = "".join(" " if math.isnan(v) else BARS[min(int(8 * (v - low) / span), 7)] for v in chosen)
    return f"{column}, {low:.3g} to {high:.3g}: |{bars}| layer 1 to {cell.spec.depth}"


COLOURS = {
    "healthy": "#1a7f37",
    "vanishing": "#0550ae",
    "exploding": "#b3261e",
    "critical": "#b3261e",
    "warning": "#9a6700",
    "info": "#57606a",
}


def html(d: Diagnosis) -> str:
    """A diagnosis as HTML that needs nothing else; pictures where matplotlib is installed."""
    e = escape.escape
    out = [
        f"<div><p><b style='color:{COLOURS[d.verdict]}'>{e(d.word)}</b><br>{e(d.summary)}</p>",
        *(f"<p>depth limit: {e(str(d.depth_limit))}</p>" for _ in range(d.depth_limit is not None)),
    ]
    if d.cells:
        rows = "".join(
            f"<tr><td style='color:{COLOURS[cell.verdict]}'>{e(cell.word)}</td><td>{e(name)}</td></tr>"
            for cell, name in zip(d.cells, labels(d.cells), strict=True)
        )
        out.append(f"<details><summary>{len(d.cells)} cells</summary><table>{rows}</table></details>")
    if d.findings:
        head = "".join(f"<th>{name}</th>" for name in ("severity", "rule", "layers", "evidence", "remedy"))
        out.append(f"<table><tr>{head}</tr>{''.join(_row(d, finding) for finding in d.findings)}</table>")
    return "".join([*out, "</div>"])


def _row(d: Diagnosis, finding: Finding) -> str:
    e = escape.escape
    opened = ""
    if finding.explanation:
        inside = "".join(f"<p>{e(part)}</p>" for part in finding.explanation.splitlines())
        opened = f"<details><summary>why</summary>{inside}{_picture(d, finding)}</details>"
    cells = (finding.rule, spans(finding.layers), finding.evidence, finding.remedy)
    return (
        f"<tr><td style='color:{COLOURS[finding.severity]}'>{finding.severity}</td>"
        + "".join(f"<td style='text-align:left'>{e(cell)}</td>" for cell in cells[:2])
        + f"<td style='text-align:left'>{e(cells[2])}{opened}</td><td style='text-align:left'>{e(cells[3])}</td></tr>"
    )


def _picture(d: Diagnosis, finding: Finding) -> str:
    """What shows a finding: drawn where matplotlib is installed, else as a row of bars."""
    if d.probe is None:
        return ""
    if find_spec("matplotlib") is None:
        return "".join(f"<pre>{escape.escape(spark(d.probe, name))}</pre>" for name in finding.picture)
    from matplotlib.figure import Figure

    from vgcore import plot

    # Not of pyplot, which would keep it for good, and a notebook would show it once more.
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    plot.columns(d.probe, finding.picture, layers=finding.layers, ax=figure.subplots())
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90, bbox_inches="tight")
    return f"<img alt='{finding.rule}' src='data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}'>"


def advice_summary(a: Advised) -> Iterator[tuple[str, str]]:
    """What was wrong, and how much was run, as lines with what they are."""
    yield a.before.verdict, a.before.summary
    if a.items:
        yield "text", f"{a.tried} nets were run; each below was measured as the net as it is:"
    else:
        healthy = a.before.word == "healthy"
        yield "text", "nothing to change" if healthy else f"none of {a.tried} nets tried was better"


def advice_rows(a: Advised) -> list[tuple[str, ...]]:
    """Before and after side by side: a head, the net as it is, and a row for each change."""
    head = ("", "change", "verdict", "dL/dz", "a layer", "z", "a layer", "correlation", "depth limit")
    rows = [("", "as it is", *_measures(a.before))]
    return [head, *rows, *((f"{i}", each.change, *_measures(each.after)) for i, each in enumerate(a.items, 1))]


def _measures(d: Diagnosis) -> tuple[str, ...]:
    """Verdict, changes and factors, correlation and depth limit of a net, as words."""
    if d.probe is None:
        return (d.word, *"------")
    e = Evidence(d.probe)
    pairs = [(power(change.rms), f"{e.factor(change):.3g}") for change in (e.backward, e.forward)]
    limit = "-" if d.depth_limit is None else count(d.depth_limit.value)
    return (d.word, *itertools.chain(*pairs), f"{e.column('correlation')[-1]:.3f}", limit)


def _advice_lines(a: Advised) -> Iterator[tuple[str, str]]:
    yield from advice_summary(a)
    if a.items:
        rows = advice_rows(a)
        wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
        kinds = ("text", a.before.verdict, *(advice.after.verdict for advice in a.items))
        for kind, row in zip(kinds, rows, strict=True):
            cells = (f"{cell:{'<' if i in {1, 2} else '>'}{wide[i]}}" for i, cell in enumerate(row))
            yield kind, "  ".join(cells).rstrip()


def advice_text(a: Advised) -> str:
    """Some advice in plain text."""
    return "\n".join(line for _, line in _advice_lines(a))


def advice_html(a: Advised) -> str:
    """Some advice as an HTML table."""
    e = escape.escape
    head, *body = advice_rows(a)
    lines_ = "".join(
        f"<p style='color:{COLOURS.get(kind, 'inherit')}'>{e(line)}</p>" for kind, line in advice_summary(a)
    )
    if not a.items:
        return f"<div>{lines_}</div>"
    judged = (a.before, *(advice.after for advice in a.items))
    rows = "".join(
        f"<tr style='color:{COLOURS[d.verdict]}'>{''.join(f'<td>{e(cell)}</td>' for cell in row)}</tr>"
        for d, row in zip(judged, body, strict=True)
    )
    return f"<div>{lines_}<table><tr>{''.join(f'<th>{e(name)}</th>' for name in head)}</tr>{rows}</table></div>"
