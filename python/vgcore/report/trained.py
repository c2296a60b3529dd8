"""Reports of trainings: runs, and what came of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vgcore.judge.diagnose import diagnose
from vgcore.judge.training.judged import badness
from vgcore.report.island import fitting
from vgcore.report.sections import Page, chosen, facts, net, section, seeds_of
from vgcore.show import training
from vgcore.show.html import judged, trained
from vgcore.show.html.blocks import Html, table, toned
from vgcore.show.html.charts import charts
from vgcore.show.html.columns import loss_chart, run_chart, steps_chart
from vgcore.train.join import STEPWISE, VALIDATED

if TYPE_CHECKING:
    from vgcore.judge.training.diagnosis import RunDiagnosis
    from vgcore.train.run import Run

#: What a report draws by layer, where it was recorded.
BY_LAYER = ("log10_wgrad_norm", "log10_update_ratio", "log10_delta_rms")


def run(r: Run, _: int) -> Page:
    """A run, judged."""
    return one(diagnose(r, explain=True), "Training")


def run_diagnosis(d: RunDiagnosis, cells: int) -> Page:
    """A diagnosis of a training, or of several, with that of the worst in full."""
    if not d.cells:
        return one(d, "Training")
    kept, told = chosen([badness(cell) for cell in d.cells], cells)
    names = training.labels(d.cells)
    rows = [(str(i + 1), toned(d.cells[i].word, d.cells[i].verdict), names[i]) for i in kept]
    plain = [
        {"cell": i, "differs": names[i]}
        | {name: getattr(d.cells[i], name) for name in ("verdict", "conditions", "summary")}
        for i in kept
    ]
    worst = one(max(d.cells, key=badness), "The worst")
    parts = [
        *judged.run_summary(d),
        *section("Runs", *filter(None, [told]), table(("run", "verdict", "differs"), rows, words=(1, 2))),
        *section("Findings", *judged.run_findings(d)),
        *section("The worst run", *worst.parts),
    ]
    return Page(f"{len(d.cells):,} trainings, the worst: {d.word}", parts, {**worst.data, "cells": plain})


def one(d: RunDiagnosis, what: str) -> Page:
    """A training: the verdict, the loss, findings, seeds, layers, the net."""
    plain = {name: value for name, value in d.to_dict().items() if name != "cells"}
    parts = [*judged.run_summary(d), *section("Findings", *judged.run_findings(d))]
    if d.run is not None:
        parts[1:1] = section("Loss", charts(loss_chart(d.run), steps_chart(d.run, "log10_grad_norm")))
        parts += _layers(d.run)
        plain |= _numbers(d.run)
    return Page(f"{what}: {d.word}", [*parts, *net(d.spec), *([] if d.run is None else _again(d.run))], plain)


def _layers(r: Run) -> list[Html]:
    """What came of each seed, and the norms of the layers."""
    drawn = charts(*(run_chart(r, name) for name in BY_LAYER if name in r.monitor))
    return [*section("Seeds", trained.seeds(r)), *section("Layers", drawn, *trained.norms(r))]


def _numbers(r: Run) -> dict[str, Any]:
    """The numbers of a run: those of each step, as `(seeds, steps)`, and those of the validation."""
    columns = {name: getattr(r, name) for name in (*STEPWISE, *VALIDATED) if getattr(r, name).size}
    return {"seeds": r.seeds, "validation_steps": r.validation_steps} | fitting(columns, ("loss",))


def _again(r: Run) -> list[Html]:
    shape = getattr(r.x, "shape", None)
    samples = f"samples {shape}" if shape else "given samples"
    return section("How it was trained", facts(r.summary()[0], seeds_of(r.seeds), samples))
