"""What was judged and advised as HTML: diagnoses of nets and of runs, findings, advice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from vgcore.show import training
from vgcore.show.html.blocks import (
    Html,
    breakable,
    folded,
    joined,
    paragraph,
    quiet,
    said,
    stacked,
    table,
    titled,
    toned,
)
from vgcore.show.html.charts import charts
from vgcore.show.html.columns import layers_chart, steps_chart
from vgcore.show.text import advice_rows, advice_summary, agreement, labels, unjudged
from vgcore.show.words import indices, spans

if TYPE_CHECKING:
    from vgcore.cure.advice import Advice, Advised
    from vgcore.judge.depth_limit import DepthLimit
    from vgcore.judge.diagnosis import Diagnosis
    from vgcore.judge.finding import Finding
    from vgcore.judge.training.diagnosis import RunDiagnosis


def diagnosis(d: Diagnosis) -> Html:
    """A diagnosis, with charts of what is explained."""
    return joined(*summary(d), *_cells(d.cells, labels(d.cells), "cells"), *findings(d))


def summary(d: Diagnosis) -> list[Html]:
    """The verdict of a diagnosis: of what, how deep the recipe can go, how many runs agree."""
    limit = [] if d.depth_limit is None else [paragraph(f"{d.depth_limit.name}: {d.depth_limit}")]
    return [
        said(d.word, d.verdict, d.summary),
        *(quiet(repr(d.spec)) for _ in range(d.spec is not None and not d.cells)),
        *limit,
        *map(paragraph, filter(None, [agreement(d)])),
    ]


def findings(d: Diagnosis) -> list[Html]:
    """What rules found, which could not judge, and what has to be known."""
    return [
        *_findings(d.findings, lambda finding: spans(finding.layers, d.names), partial(_picture, d), f"{d.row}s"),
        *(quiet(f"not judged: {unjudged(d)}") for _ in range(bool(d.not_judged))),
        *(quiet(f"note: {note}") for note in d.notes),
    ]


def run_diagnosis(d: RunDiagnosis) -> Html:
    """A diagnosis of a training, with charts of what is explained."""
    return joined(*run_summary(d), *_cells(d.cells, training.labels(d.cells), "runs"), *run_findings(d))


def run_summary(d: RunDiagnosis) -> list[Html]:
    """The verdict of a diagnosis of a training, and of what."""
    return [said(d.word, d.verdict, d.summary), *([] if d.run is None else [quiet(d.run.summary()[0])])]


def run_findings(d: RunDiagnosis) -> list[Html]:
    """What rules found in a training."""

    def steps(finding: Finding) -> str:
        return "-".join(map(str, dict.fromkeys(finding.steps)))

    def picture(finding: Finding) -> Html:
        return charts(*(() if d.run is None else (steps_chart(d.run, name) for name in finding.picture)))

    return _findings(d.findings, steps, picture, "steps", lambda finding: training.where(d, finding))


def _cells(cells: Sequence[Diagnosis | RunDiagnosis], names: Sequence[str], what: str) -> list[Html]:
    rows = [(toned(cell.word, cell.verdict), name) for cell, name in zip(cells, names, strict=True)]
    head = ("verdict", what.removesuffix("s"))
    return [folded(f"{len(cells)} {what}", table(head, rows, words=(0, 1)))] if rows else []


def _findings(
    found: Sequence[Finding],
    place: Callable[[Finding], str],
    picture: Callable[[Finding], Html],
    places: str,
    where: Callable[[Finding], str] = lambda _: "",
) -> list[Html]:
    if not found:
        return []
    rows: list[Sequence[object] | Html] = []
    for each in found:
        told = stacked(each.evidence + where(each), f"remedy: {each.remedy}")
        rows.append((stacked(toned(each.severity, each.severity), breakable(each.rule)), place(each), told))
        if each.explanation:  # a picture needs the width of all columns
            rows.append(folded(f"why {each.rule}", *each.explanation.splitlines(), picture(each)))
    return [table(("finding", places, "evidence and remedy"), rows, words=range(3))]


def _picture(d: Diagnosis, finding: Finding) -> Html:
    """What shows a finding."""
    cell = d.probe or d.measured
    return charts(*(() if cell is None else (layers_chart(cell.trace, name) for name in finding.picture)))


def finding(f: Finding) -> Html:
    """What one rule found."""
    where = f"{indices(f.layers)}, " if f.layers else ""
    return joined(
        titled(toned(f"{f.severity}: {f.rule}", f.severity), f.evidence),
        f"remedy: {f.remedy}",
        quiet(f"{where}value {f.value:.4g}, threshold {f.threshold:.4g}; {f.reference}"),
        *(folded("why", *f.explanation.splitlines()) for _ in range(bool(f.explanation))),
    )


def depth_limit(limit: DepthLimit) -> Html:
    """How deep a recipe can go."""
    return joined(titled(limit.name.capitalize(), str(limit)))


def advised(a: Advised) -> Html:
    """Changes, the best first, in a table of before and after."""
    (_, judged), *told = advice_summary(a)
    words = (said(a.before.word, a.before.verdict, judged), *(line for _, line in told))
    if not a.items:
        return joined(*words)
    head, *body = advice_rows(a)
    verdicts = (a.before.verdict, *(each.after.verdict for each in a.items))
    at = head.index("verdict")
    rows = [(*row[:at], toned(row[at], verdict), *row[at + 1 :]) for verdict, row in zip(verdicts, body, strict=True)]
    return joined(*words, table(head, rows, words=(1, at)))


def advice(a: Advice) -> Html:
    """One change, with what it did."""
    rows = [
        ("as it is", toned(a.before.word, a.before.verdict), a.before.summary),
        (a.change, toned(a.after.word, a.after.verdict), a.after.summary),
    ]
    trained = (
        () if a.loss_after is None else (f"loss after training: {a.loss_before:.4g} before, {a.loss_after:.4g} after",)
    )
    return joined(
        titled("Advice", a.change),
        table(("net", "verdict", "what was measured"), rows, words=(0, 1, 2)),
        *trained,
        quiet(repr(a.spec)),
    )
