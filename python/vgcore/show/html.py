"""What was judged and advised, as HTML that needs nothing else."""

from __future__ import annotations

import base64
import html as escape
from importlib.util import find_spec
from typing import TYPE_CHECKING

from vgcore.show.text import advice_rows, advice_summary, labels, spark
from vgcore.show.words import spans

if TYPE_CHECKING:
    from vgcore.cure.advice import Advised
    from vgcore.judge.diagnosis import Diagnosis
    from vgcore.judge.finding import Finding

COLOURS = {
    "healthy": "#1a7f37",
    "vanishing": "#0550ae",
    "exploding": "#b3261e",
    "symmetric": "#b3261e",
    "collapsed": "#b3261e",
    "critical": "#b3261e",
    "warning": "#9a6700",
    "info": "#57606a",
}


def diagnosis(d: Diagnosis) -> str:
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
    from vgcore import plot

    image = base64.b64encode(plot.columns_png(d.probe, finding.picture, layers=finding.layers)).decode()
    return f"<img alt='{escape.escape(finding.rule)}' src='data:image/png;base64,{image}'>"


def advice(a: Advised) -> str:
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
