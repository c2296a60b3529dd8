"""What stands in the report of any result: `page`, which its HTML and its Markdown are written from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vgcore.report import judged, swept, trained
from vgcore.report.sections import Page
from vgcore.show import html


def _shown(result: Any, _: int) -> Page:
    """What notebooks show, and the numbers behind it."""
    return Page(f"{type(result).__name__}: {result.verdict}", [html.inside(result)], result.to_dict())


#: By the name of a class; each is given the result, and how many cells of a sweep it may tell of.
BY_CLASS: dict[str, Callable[[Any, int], Page]] = {
    "Advised": judged.advised,
    "Comparison": _shown,
    "Diagnosis": judged.diagnosis,
    "Probe": judged.probe,
    "Run": trained.run,
    "RunDiagnosis": trained.run_diagnosis,
    "Sweep": swept.sweep,
    "Trace": judged.trace,
    "TrainSweep": swept.train_sweep,
    "Watch": judged.watch,
}
#: Cells of a sweep that a report tells of, unless they take too much room.
CELLS = 1000


def page(result: object, cells: int = CELLS) -> Page:
    """The report of a result: by its class, or the nearest that it inherits from.

    >>> import vgcore as vg
    >>> page(vg.diagnose(vg.MLP(depth=20, width=32), seeds=2)).title
    'Diagnosis: healthy'
    """
    return next(BY_CLASS[kind.__name__] for kind in type(result).__mro__ if kind.__name__ in BY_CLASS)(result, cells)
