"""What was judged of a training, as lines of plain text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vgcore.show.text import WIDTH, apart, barred, filled, indented, listed
from vgcore.show.words import own, places, row
from vgcore.train.join import VALIDATED
from vgcore.train.settings import CHEAP, FULL, multipliers, tensors

if TYPE_CHECKING:
    from vgcore.judge.finding import Finding
    from vgcore.judge.training.diagnosis import RunDiagnosis
    from vgcore.train.run import Run

#: Colours of outcomes, by the words of severities.
OUTCOME = {
    "trained": "healthy",
    "learning": "info",
    "stuck": "critical",
    "diverged": "critical",
    "non-finite": "critical",
}


def lines(d: RunDiagnosis, *, width: int = WIDTH) -> Iterator[tuple[str, str]]:
    """The lines of a diagnosis, each with what it is: a severity, an outcome, `remedy` or `text`."""
    yield OUTCOME.get(d.verdict, "text"), filled(d.summary, width)
    if d.rules != "vgcore":
        yield "text", filled(f"judged by the published rules of {d.rules}, not by vgcore's", width)
    for cell, line in zip(d.cells, listed(d.cells, labels(d.cells), width), strict=True):
        yield OUTCOME.get(cell.verdict, "text"), line
    for finding in d.findings:
        text = f"{finding.severity:8s} {finding.rule}: {finding.evidence}{where(d, finding)}"
        yield finding.severity, filled(text, width, indent=9)
        yield "remedy", filled(f"         remedy: {finding.remedy}", width, indent=13)
        for part in finding.explanation.splitlines():
            yield "text", filled(f"         {part}", width, indent=9)
        for name in finding.picture:
            if d.run is not None:
                yield "text", indented(spark(d.run, name, width=min(width, WIDTH) - 9), 9)


def where(d: RunDiagnosis, finding: Finding) -> str:
    """The layers of a finding, where it is not of all."""
    if d.run is None or not 0 < len(finding.layers) < len(d.run.layers):
        return ""
    return f" ({names(d.run.labels, finding.layers)})"


def names(labels: Sequence[str], chosen: Sequence[int]) -> str:
    """Layers of a run, of `Run.labels`, as people count them, from 1, and the readout by its name.

    >>> names(("layer 1", "layer 2", "layer 3", "readout"), (0, 1, 3)), names(("step 1", "step 2"), (1,))
    ('layers 1-2, readout', 'step 2')
    """
    rows = [label for label in labels if label != "readout"]
    hidden = [i for i in chosen if i < len(rows)]
    parts = [places(hidden, own(rows), row(rows))] if hidden else []
    return ", ".join([*parts, *("readout" for i in chosen if len(rows) <= i < len(labels))])


def labels(cells: Sequence[RunDiagnosis]) -> list[str]:
    """What sets runs apart: fields of their specs, and how they took their steps."""

    def facts(cell: RunDiagnosis) -> dict[str, Any]:
        found = cell.spec.to_dict()
        if cell.run is not None:
            found |= {"optimizer": str(cell.run.optimizer), "schedule": str(cell.run.schedule)}
            found |= {"clip": str(cell.run.clip), "noise": f"{cell.run.noise:g}"}
        return found

    return apart([facts(cell) for cell in cells])


def diagnosis(d: RunDiagnosis) -> str:
    """A diagnosis in plain text."""
    return "\n".join(line for _, line in lines(d))


@np.errstate(all="ignore")  # what is beyond float64 is not drawn
def spark(run: Run, column: str, *, width: int = WIDTH) -> str:
    """A column over the steps as a row of bars: its median over runs and layers, at evenly spread steps."""
    values: Any = getattr(run, column)
    if not values.size or not np.isfinite(values).any():
        return f"{column}: {unknown(run, column) or 'nowhere finite'}"
    across = (0, *range(2, values.ndim))
    known = np.isfinite(values).any(axis=across)
    series = np.full(values.shape[1], math.nan)
    series[known] = [np.median(row[np.isfinite(row)]) for row in np.moveaxis(values, 1, 0)[known]]
    return barred(column, series, "over the steps", width)


def moving(run: Run) -> NDArray[np.bool_]:
    """Whether the weights of each layer are to move, `(layers,)`."""
    names = tensors(run.spec)
    rates = dict(zip(names, multipliers(names, run.rates, run.frozen), strict=True))
    return np.array([rates[f"{name}.weight"] > 0 for name in run.layers], dtype=bool)


def unknown(run: Run, column: str) -> str | None:
    """Why nothing is known of a column, in words; None where it was looked at, or is of every step."""
    if column in VALIDATED:
        return None if run.validation_loss.size else "no validation"
    if column == "sharpness":
        return None if run.sharpness.size else "not measured"
    if column not in FULL:
        return None
    if column not in run.monitor:
        return "not monitored"
    if not run.steps.size:
        return "no step was recorded"
    return "frozen" if column in CHEAP and not moving(run).any() else None
