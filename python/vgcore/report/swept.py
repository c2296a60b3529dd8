"""Reports of sweeps, of nets that are measured and of trainings: the cells, and the worst of them in full."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vgcore.judge.diagnose import badness, diagnose
from vgcore.judge.training import judged as trainings
from vgcore.measure.cells import Sweep
from vgcore.report import judged, trained
from vgcore.report.sections import Page, below, chosen, section
from vgcore.show import sweep as rows_of
from vgcore.show.html import measured
from vgcore.show.html.blocks import Html, paragraph, quiet
from vgcore.show.html.charts import Square, squares
from vgcore.show.words import power

if TYPE_CHECKING:
    from vgcore.judge.diagnosis import Diagnosis
    from vgcore.train.many import TrainSweep

#: Decades from end to end from which on a cell of a map has its full colour.
FULL = 12
#: Cells of a map at most.
MOST = 5000


def sweep(s: Sweep, cells: int) -> Page:
    """A sweep: a map where two things vary, the cells, and the worst in full."""
    if not len(s):
        return _empty(s)
    d = diagnose(s)
    kept = chosen([badness(cell) for cell in d.cells], cells)
    worst = diagnose(max(d.cells, key=badness).probe, explain=True)
    return _page(s, d.summary, kept, [_square(cell) for cell in d.cells], judged.one(worst, "The worst cell"))


def train_sweep(s: TrainSweep, cells: int) -> Page:
    """A sweep of trainings: a map where two things vary, the runs, what shows beside others, and the worst in full."""
    if not len(s):
        return _empty(s)
    d = diagnose(s)
    kept = chosen([trainings.badness(cell) for cell in d.cells], cells)
    worst = diagnose(max(d.cells, key=trainings.badness).run, explain=True)
    found = [Square(cell.verdict, 1.0, cell.word) for cell in d.cells]
    return _page(s, d.summary, kept, found, trained.one(worst, "The worst run"))


def _square(d: Diagnosis) -> Square:
    """A cell in a map."""
    moved = 0.0 if d.evidence is None else d.evidence.backward.rms
    strength = 1.0 if math.isnan(moved) else min(abs(moved) / FULL, 1.0)
    return Square(d.verdict, 0.4 if d.verdict == "healthy" else max(strength, 0.3), f"{d.word}, dL/dz x{power(moved)}")


def _page(
    s: Sweep | TrainSweep, summary: str, told_of: tuple[list[int], str], found: Sequence[Square], worst: Page
) -> Page:
    kept, told = told_of
    some = type(s)(tuple(s[i] for i in kept), s.varied, len(kept))
    parts = [
        paragraph(summary),
        *map(paragraph, rows_of.failures(s)),
        *section("Map", *_map(s, found, "the stronger, the further dL/dz moves" if isinstance(s, Sweep) else "")),
        *section("Cells", *(quiet(words) for words in [told] if words), measured.cells(some, kept)),
        *below(worst.title, worst.parts),
    ]
    varied = " and ".join(s.varied) or "nothing"
    data = {"cell": kept, "cells": some.to_dict(rows="cells"), "worst": worst.data}
    return Page(f"{type(s).__name__} of {len(s):,} cells, varied: {varied}", parts, data)


def _empty(s: Sweep | TrainSweep) -> Page:
    """The report of a sweep that has no cell."""
    return Page(repr(s), [paragraph("No cell is finished."), *map(paragraph, rows_of.failures(s))], {"cells": {}})


def _map(s: Sweep | TrainSweep, found: Sequence[Square], strength: str) -> list[Html]:
    """All cells by the two things that vary; nothing where another number of things does, or there are too many."""
    if len(s.varied) != 2 or len(s) > MOST:
        return []
    places = [tuple(rows_of.values(cell, s.varied)) for cell in s]
    labels = [list(dict.fromkeys(place[axis] for place in places)) for axis in (0, 1)]
    cells = {(labels[0].index(a), labels[1].index(b)): each for (a, b), each in zip(places, found, strict=True)}
    return [squares((s.varied[0], s.varied[1]), (labels[0], labels[1]), cells, strength)]
