"""Reports of what was measured and judged: probes, traces, diagnoses, advice."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vgcore.judge.diagnose import badness, judge
from vgcore.judge.diagnosis import Diagnosis
from vgcore.measure.result import Probe, columns_of
from vgcore.measure.trace import Trace
from vgcore.report.island import NUMBERS, fitting
from vgcore.report.sections import (
    NOTHING,
    Page,
    again,
    by_layer,
    chosen,
    judged_with,
    measured_with,
    net,
    section,
    signals,
    spelled,
    torch,
)
from vgcore.show import comparison as shown
from vgcore.show import html
from vgcore.show.html import judged
from vgcore.show.html.blocks import Html, code, quiet, table, toned
from vgcore.show.html.charts import charts
from vgcore.show.html.columns import ends_chart, layers_chart, loss_chart
from vgcore.show.text import labels
from vgcore.train.run import Run

if TYPE_CHECKING:
    from vgcore.cure.advice import Advised
    from vgcore.report.comparison import Comparison
    from vgcore.watch.watch import Watch


def diagnosis(d: Diagnosis, cells: int) -> Page:
    """A diagnosis of a net, or of the cells of a sweep, with that of the worst in full."""
    if not d.cells:
        return _one(d, "Diagnosis")
    kept, told = chosen([badness(cell) for cell in d.cells], cells)
    names = labels(d.cells)
    rows = [(str(i + 1), toned(d.cells[i].word, d.cells[i].verdict), names[i]) for i in kept]
    plain = [
        {name: getattr(d.cells[i], name) for name in ("verdict", "direction", "conditions", "summary")}
        | {"cell": i, "differs": names[i]}
        for i in kept
    ]
    worst = _one(d, f"Diagnosis of {len(d.cells):,} cells, the worst")
    listed = section("Cells", *filter(None, [told]), table(("cell", "verdict", "differs"), rows, words=(1, 2)))
    return Page(worst.title, [*worst.parts, *listed], {**worst.data, "cells": plain})


def probe(p: Probe, what: str = "Probe") -> Page:
    """A probe, judged."""
    return _one(judge(p, explain=True), what)


def trace(t: Trace) -> Page:
    """A trace, judged; of several steps also how the first and the last layer went on."""
    return _one(judge(t, explain=True), "Trace", *_over_steps(t))


def watch(w: Watch) -> Page:
    """What was seen of a model: the newest step, judged, and how the first and the last layer went on."""
    return _one(judge(w.trace, explain=True), f"Watch, step {w.trace.steps[-1]}", *_over_steps(w.history))


def _over_steps(t: Trace) -> list[Html]:
    if len(t.steps) < 2:
        return []
    words = quiet(f"{t.names[0]}, and {t.names[-1]} as a dashed line.")
    return section("Steps", words, charts(*(ends_chart(t, name) for name in signals(t))))


def _one(d: Diagnosis, what: str, *more: Html) -> Page:
    """A diagnosis of one net: the verdict, findings, layers, the net, and how it was measured."""
    measured = d.probe or d.measured
    parts = [
        *judged.summary(d),
        *section("Findings", *judged.findings(d) or [quiet(NOTHING)]),
        *([] if measured is None else by_layer(measured.trace)),
        *more,
        *net(d.spec),
        *_again(d),
    ]
    return Page(f"{what}: {d.word}", parts, _plain(d))


def _again(d: Diagnosis) -> list[Html]:
    """How it was measured and judged: by another tool's rules without what is not kept then, which a line says."""
    if d.probe is not None or d.measured is not None or d.spec is None:
        return again(d.probe, "vg.diagnose", judged_with(d))
    lines = [
        "import vgcore as vg",
        "",
        "# weights and samples, loss, batch and seeds: give them as they were given",
        f"spec = {spelled(d.spec)}",
        f"print(vg.diagnose({', '.join(['spec', *judged_with(d)])}))",
    ]
    words = quiet(f"Judged by the rules of {d.rules}, whose diagnosis does not keep how the net was measured.")
    return section("How it was measured", words, code("\n".join(lines), "python"))


def _plain(d: Diagnosis, most: int = NUMBERS) -> dict[str, Any]:
    """A diagnosis of one net for programs, with so many numbers of its columns, those of the signals first."""
    plain = {name: value for name, value in d.to_dict().items() if name != "cells"}
    measured = d.probe or d.measured
    if measured is None:
        return plain
    if isinstance(measured, Probe):
        columns = columns_of(measured)
        plain |= {"seeds": measured.seeds, "batch": measured.batch, "dtype": measured.dtype, "loss": measured.loss}
    else:
        columns = dict(measured.columns)
        plain |= {"steps": measured.steps, "batch": measured.batch, "dtype": measured.dtype}
    return plain | {"layers": measured.trace.names} | fitting(columns, signals(measured.trace), most)


def advised(a: Advised) -> Page:
    """Advice: before and after, the best change as code, and its signals beside those of the net as it was."""
    best, before = a.items[0] if a.items else None, a.before.probe
    parts = [judged.advised(a)]
    plain = {**a.to_dict(), "before": _plain(a.before, NUMBERS // 2)}
    title = f"Advice: {a.before.word}"
    if best is not None:
        title += f"; {best.change} makes it {best.after.word}"
        plain["after"] = _plain(best.after, NUMBERS // 2)
        changed = [quiet(best.change), *torch(lambda: best.code("torch")), code(spelled(best.spec), "python")]
        parts += section("The best change", *changed)
    if before is not None:
        after = None if best is None else best.after.probe
        parts += by_layer(before.trace, None if after is None else after.trace)
    parts += section("Findings in the net as it was", *judged.findings(a.before))
    parts += [*net(a.before.spec), *again(before, "vg.advise")]
    return Page(title, parts, plain)


def comparison(c: Comparison, cells: int) -> Page:
    """Two results side by side; with its numbers, or those of so many cells of two sweeps, a line each."""
    columns = {
        f"{name}, {side}": np.array([[getattr(each, side) for each in column]])
        for name, column in c.columns.items()
        for side in ("before", "after")
    }
    plain = replace(c, cells=(), columns={}).to_dict()
    for side in ("before", "after"):
        plain[side].pop("cells", None)
    plain |= fitting(columns, ())
    if c.cells:
        plain["cells"] = [_outcome(c.names[i], c.cells[i]) for i in sorted(shown.ranked(c)[:cells])]
    return Page(f"Comparison: {c.verdict}", [html.inside(c), *_nets(c)], plain)


def _nets(c: Comparison) -> list[Html]:
    """The signals of both nets by layer, or their losses, what the two are, and how the first was measured."""
    if c.cells:
        return []
    drawn = []
    one, other = ((d.probe or d.measured) if isinstance(d, Diagnosis) else d.run for d in (c.before, c.after))
    words = "The line is the first, the dashed one the second."
    if isinstance(one, Run) and isinstance(other, Run):
        if one.loss_name == other.loss_name:
            drawn = section("Loss", quiet(words), loss_chart(one, beside=other))
    elif isinstance(one, Probe | Trace) and isinstance(other, Probe | Trace):
        curves = (layers_chart(one.trace, name, beside=other.trace) for name in signals(one.trace))
        drawn = section("Layers", quiet(words), charts(*curves))
    both = (("first", c.before.spec), ("second", c.after.spec))
    told = [quiet(f"{which}: {spec!r}") for which, spec in both if spec is not None]
    told += [measured_with(one)] if isinstance(one, Probe) else []
    return [*drawn, *section("Nets", *told)]


def _outcome(name: str, cell: Comparison) -> dict[str, Any]:
    """What came of a cell of two sweeps, for programs."""
    verdicts = {"before": cell.before.verdict, "after": cell.after.verdict}
    main = None if cell.main is None else cell.main._asdict()
    return {"name": name, "verdict": cell.verdict, "summary": cell.summary} | verdicts | {"measure": main}
