"""Reports of trainings: runs, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vgcore.judge.training.judged import badness, judge_run
from vgcore.model.optimizer import Schedule
from vgcore.report.island import fitting
from vgcore.report.sections import NOTHING, Page, below, chosen, facts, judged_with, net, section, spelled
from vgcore.show import training
from vgcore.show.html import judged, trained
from vgcore.show.html.blocks import Html, code, quiet, table, toned
from vgcore.show.html.charts import charts
from vgcore.show.html.columns import loss_chart, run_chart, run_ends_chart, steps_chart
from vgcore.show.words import seeds_told
from vgcore.train.join import STEPWISE, VALIDATED
from vgcore.train.settings import MONITORS

if TYPE_CHECKING:
    from vgcore.judge.training.diagnosis import RunDiagnosis
    from vgcore.train.run import Run

#: What a report draws by layer, where it was recorded.
BY_LAYER = ("log10_wgrad_norm", "log10_update_ratio", "log10_delta_rms")
#: Keywords of `train` that are told where they are not what they are by themselves.
SETTINGS: dict[str, Any] = {
    **dict.fromkeys(("loss", "schedule", "clip", "validation", "validate_every", "early_stopping")),
    **dict.fromkeys(("record", "sharpness")),
    "noise": 0.0,
    "rates": {},
    "frozen": [],
    "nonfinite": "stop",
    "monitor": "cheap",
    "seed": 0,
}


def run(r: Run, what: str = "Training") -> Page:
    """A run, judged."""
    return _one(judge_run(r, explain=True), what)


def run_diagnosis(d: RunDiagnosis, cells: int) -> Page:
    """A diagnosis of a training, or of several, with that of the worst in full."""
    if not d.cells:
        return _one(d, "Training")
    kept, told = chosen([badness(cell) for cell in d.cells], cells)
    names = training.labels(d.cells)
    rows = [(str(i + 1), toned(d.cells[i].word, d.cells[i].verdict), names[i]) for i in kept]
    plain = [
        {"cell": i, "differs": names[i]}
        | {name: getattr(d.cells[i], name) for name in ("verdict", "conditions", "summary")}
        for i in kept
    ]
    worst = _one(max(d.cells, key=badness), "The worst run")
    parts = [
        *judged.run_summary(d),
        *section("Runs", *filter(None, [told]), table(("run", "verdict", "differs"), rows, words=(1, 2))),
        *section("Findings", *judged.run_findings(d)),
        *below(worst.title, worst.parts),
    ]
    return Page(f"{len(d.cells):,} trainings, the worst: {d.word}", parts, {**worst.data, "cells": plain})


def _one(d: RunDiagnosis, what: str) -> Page:
    """A training: the verdict, the loss, findings, seeds, layers, the net."""
    plain = {name: value for name, value in d.to_dict().items() if name != "cells"}
    findings = section("Findings", *judged.run_findings(d) or [quiet(NOTHING)])
    if d.run is None:
        return Page(f"{what}: {d.word}", [*judged.run_summary(d), *findings, *net(d.spec)], plain)
    parts = [
        *judged.run_summary(d),
        *section("Loss", charts(loss_chart(d.run), steps_chart(d.run, "log10_grad_norm"))),
        *findings,
        *_layers(d.run),
        *net(d.spec),
        *_again(d.run, judged_with(d)),
    ]
    return Page(f"{what}: {d.word}", parts, plain | _numbers(d.run))


def _layers(r: Run) -> list[Html]:
    """What came of each seed, and the norms of the layers."""
    names = [name for name in BY_LAYER if name in r.monitor]
    drawn = charts(
        *(run_ends_chart(r, name) for name in names[:1] if r.steps.size), *(run_chart(r, name) for name in names)
    )
    return [*section("Seeds", trained.seeds(r)), *section("Layers", drawn, *trained.norms(r))]


def _numbers(r: Run) -> dict[str, Any]:
    """The numbers of a run: those of each step, as `(seeds, steps)`, and those of the validation."""
    columns = {name: getattr(r, name) for name in (*STEPWISE, *VALIDATED) if getattr(r, name).size}
    return {"seeds": r.seeds, "validation_steps": r.validation_steps} | fitting(columns, ("loss",))


def _again(r: Run, judged: Sequence[str]) -> list[Html]:
    """How a run was trained: facts, and the code that does it again."""
    steps = r.loss.shape[1]
    net = ["spec"] if r.network0 is None else ["network"]
    given = [*net[: r.network0 is not None], "x", *(["y"] if r.y is not None else [])]
    call = [*net, *given[r.network0 is not None :], f"optimizer={str(r.optimizer)!r}", f"steps={steps}"]
    call += [f"batch={r.batch}", f"seeds={len(r.seeds)}"]
    for name, value in {**vars(r.recipe), **vars(r.training)}.items():
        if name not in SETTINGS:
            continue
        if name in {"schedule", "validation"} and isinstance(value, np.ndarray | tuple):
            given.append(name)
            call.append(f"{name}={name}")
        elif (plain := _plain(value)) != SETTINGS[name]:
            call.append(f"{name}={spelled(plain)}")
    call += [f"dtype={r.dtype!r}"] if r.dtype != "float32" and r.network0 is None else []
    spec = [f"spec = {spelled(r.spec)}"] if r.network0 is None else []
    lines = ["import vgcore as vg", "", f"# {', '.join(given)}: as they were given", *spec]
    train = f"vg.train({', '.join(call)})"
    lines.append(f"print(vg.diagnose({', '.join([train, *judged])}))")
    told = facts(seeds_told(r.seeds), f"{steps} steps, batch {r.batch}, {r.dtype}", f"samples {np.shape(r.x)}")
    return section("How it was trained", told, code("\n".join(lines), "python"))


def _plain(value: Any) -> Any:
    """A keyword of `train` as one would give it."""
    if isinstance(value, Schedule):
        return None if str(value) == "constant" else str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return next((word for word, columns in MONITORS.items() if value == columns), list(value))
    return value
