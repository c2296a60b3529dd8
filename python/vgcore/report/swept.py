"""Reports of sweeps, of nets that are measured and of trainings: the cells, and the worst of them in full."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vgcore.judge.diagnose import badness, diagnose, judge
from vgcore.judge.diagnose import worst as worst_of
from vgcore.judge.training import judged as trainings
from vgcore.measure.cells import entries_of, judged_rows, plain_row
from vgcore.measure.progress import progress_bar
from vgcore.report import judged, trained
from vgcore.report.sections import Page, below, chosen, measured_with, options_of, section, spelled
from vgcore.show import sweep as rows_of
from vgcore.show.html import measured
from vgcore.show.html.blocks import Html, code, folded, paragraph, quiet, table, toned
from vgcore.show.html.charts import Square, squares
from vgcore.show.words import power

if TYPE_CHECKING:
    from vgcore.judge.diagnosis import Diagnosis
    from vgcore.measure.cells import Sweep
    from vgcore.measure.result import Probe
    from vgcore.train.many import TrainSweep
    from vgcore.train.run import Run

#: Decades from end to end from which on a cell of a map has its full colour.
FULL = 12
#: Cells from which on a bar shows how far their judging has come.
LONG = 300
#: Cells of a map at most.
MOST = 5000


def sweep(s: Sweep) -> Callable[[int], Page]:
    """A sweep: a map where two things vary, the cells, and the worst in full."""
    if not len(s):
        return lambda _: _empty(s)
    d = worst_of(_judged(s))
    worst = judged.probe(s[max(range(len(s)), key=lambda i: badness(d.cells[i]))], "The worst cell")
    drawn = _map(s, [_square(cell) for cell in d.cells], "the stronger, the further dL/dz moves")
    drawn += _counts(s.cells, s.varied, [cell.verdict for cell in d.cells])

    def of(cells: int) -> Page:
        kept, told = chosen([badness(cell) for cell in d.cells], cells)
        kept = _ordered(kept, [badness(cell) for cell in d.cells])
        known = [d.cells[i] for i in kept]
        rows = [plain_row(row) for row in judged_rows(_some(s, kept), known)]
        parts = [*drawn, *_cells(s, kept, told, known), *_again(s)]
        return _page(s, d.summary, parts, worst, {"cell": kept, "rows": rows})

    return of


def train_sweep(s: TrainSweep) -> Callable[[int], Page]:
    """A sweep of trainings: a map where two things vary, the runs, what shows beside others, and the worst in full."""
    if not len(s):
        return lambda _: _empty(s)
    d = diagnose(s)
    worst = trained.run(s[max(range(len(s)), key=lambda i: trainings.badness(d.cells[i]))], "The worst run")
    drawn = _map(s, [Square(cell.verdict, 1.0, cell.word) for cell in d.cells])
    drawn += _counts(s.cells, s.varied, [cell.verdict for cell in d.cells])

    def of(cells: int) -> Page:
        kept, told = chosen([trainings.badness(cell) for cell in d.cells], cells)
        kept = _ordered(kept, [trainings.badness(cell) for cell in d.cells])
        data = {"cell": kept, "rows": _some(s, kept).table()}
        return _page(s, d.summary, [*drawn, *_cells(s, kept, told)], worst, data)

    return of


def _judged(s: Sweep) -> list[Diagnosis]:
    """The diagnosis of each cell, with a bar where that takes seconds."""
    layers = [cell.spec.rows for cell in entries_of(s.cells)]
    with progress_bar(layers, show=len(s) >= LONG) as advance:
        found = []
        for i, cell in enumerate(s):
            found.append(judge(cell))
            advance(i)
        return found


def _square(d: Diagnosis) -> Square:
    """A cell in a map."""
    moved = 0.0 if d.evidence is None else d.evidence.backward.rms
    strength = 1.0 if math.isnan(moved) else min(abs(moved) / FULL, 1.0)
    return Square(d.verdict, 0.4 if d.verdict == "healthy" else max(strength, 0.3), f"{d.word}, dL/dz x{power(moved)}")


def _some(s: Any, kept: Sequence[int]) -> Any:
    """Some of the cells, as a sweep of the same sort."""
    return type(s)(tuple(s[i] for i in kept), s.varied, len(kept))


def _cells(s: Sweep | TrainSweep, kept: Sequence[int], told: str, known: Sequence[Diagnosis] = ()) -> list[Html]:
    """A row a cell of those that are kept, and which these are."""
    listed = measured.cells(_some(s, kept), kept, known)
    shown = listed if len(kept) <= rows_of.SHOWN else folded(f"{len(kept):,} cells, the worst first", listed)
    return section("Cells", *(quiet(words) for words in [told] if words), shown)


def _ordered(kept: Sequence[int], badness_of: Sequence[Any]) -> list[int]:
    """The cells in their order; where they are many and folded, the worst first."""
    return list(kept) if len(kept) <= rows_of.SHOWN else sorted(kept, key=badness_of.__getitem__, reverse=True)


def _counts(s: Sequence[Probe | Run], varied: Sequence[str], verdicts: Sequence[str]) -> list[Html]:
    """How often each verdict came of each value, where more things vary than a map can show."""
    if len(varied) < 3:
        return []
    words = list(dict.fromkeys(verdicts))
    found: dict[tuple[str, str], Counter[str]] = {}
    for cell, verdict in zip(s, verdicts, strict=True):
        for place in zip(varied, rows_of.values(cell, varied), strict=True):
            found.setdefault(place, Counter())[verdict] += 1
    rows = [
        (name, value, *(str(counts[word]) for word in words))
        for name in varied
        for (field, value), counts in found.items()
        if field == name
    ]
    heads = (toned(word, word) for word in words)
    return section("Verdicts by field", table(("field", "value", *heads), rows, words=(0, 1)))


def _again(s: Sweep) -> list[Html]:
    """The call that measures the cells again; those of several sorts of nets, or of given weights, have none."""
    first = s[0]
    cells = [cell.spec for cell in entries_of(s.cells)]
    if first.network is not None or not all(hasattr(spec, name) for spec in cells for name in s.varied):
        return []
    given, options = options_of(first)
    grid: dict[str, list[Any]] = {name: [] for name in s.varied}
    for spec in cells:
        for name, values in grid.items():
            if (value := getattr(spec, name)) not in values:
                values.append(value)
    some = math.prod(map(len, grid.values())) != len(s)
    lines = ["import vgcore as vg", "", *([f"# {', '.join(given)}: as they were given"] if given else [])]
    lines += [f"# measures all combinations, of which {len(s):,} are here"] if some else []
    arguments = [spelled(first.spec), *options, *(f"{name}={spelled(values)}" for name, values in grid.items())]
    lines += ["s = vg.sweep(", *(f"    {argument}," for argument in arguments), ")", "print(vg.diagnose(s))"]
    return section("How it was measured", measured_with(first), code("\n".join(lines), "python"))


def _page(s: Sweep | TrainSweep, summary: str, found: Sequence[Html], worst: Page, data: Mapping[str, object]) -> Page:
    parts = [paragraph(summary), *map(paragraph, rows_of.failures(s)), *found, *below(worst.title, worst.parts)]
    varied = " and ".join(s.varied) or "nothing"
    return Page(f"{type(s).__name__} of {len(s):,} cells, varied: {varied}", parts, {**data, "worst": worst.data})


def _empty(s: Sweep | TrainSweep) -> Page:
    """The report of a sweep that has no cell."""
    return Page(repr(s), [paragraph("No cell is finished."), *map(paragraph, rows_of.failures(s))], {"rows": []})


def _map(s: Sweep | TrainSweep, found: Sequence[Square], strength: str = "") -> list[Html]:
    """All cells by the two things that vary; nothing where another number of things does, or there are too many."""
    if len(s.varied) != 2 or len(s) > MOST:
        return []
    places = [tuple(rows_of.values(cell, s.varied)) for cell in s]
    labels = [list(dict.fromkeys(place[axis] for place in places)) for axis in (0, 1)]
    cells = {(labels[0].index(a), labels[1].index(b)): each for (a, b), each in zip(places, found, strict=True)}
    return section("Map", squares((s.varied[0], s.varied[1]), (labels[0], labels[1]), cells, strength))
