"""What stands in the report of any result: `report`, which its HTML and its Markdown are written from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from vgcore.report import judged, swept, trained
from vgcore.report.sections import Page

#: A report of as many cells of a sweep as it is given.
Report: TypeAlias = Callable[[int], Page]


def _whole(make: Callable[[Any], Page]) -> Callable[[Any], Report]:
    """Of what has no cells."""
    return lambda result: lambda _: make(result)


def _with_cells(make: Callable[[Any, int], Page]) -> Callable[[Any], Report]:
    """Of what may have cells."""
    return lambda result: partial(make, result)


#: By the name of a class, as not every room of a result may be imported here.
BY_CLASS: dict[str, Callable[[Any], Report]] = {
    "Advised": _whole(judged.advised),
    "Comparison": _with_cells(judged.comparison),
    "Diagnosis": _with_cells(judged.diagnosis),
    "Probe": _whole(judged.probe),
    "Run": _whole(trained.run),
    "RunDiagnosis": _with_cells(trained.run_diagnosis),
    "Sweep": swept.sweep,
    "Trace": _whole(judged.trace),
    "TrainSweep": swept.train_sweep,
    "Watch": _whole(judged.watch),
}
#: Cells of a sweep that a report tells of, unless they take too much room.
CELLS = 1000


def report(result: object) -> Report:
    """The report of a result: by its class, or the nearest that it inherits from.

    >>> import vgcore as vg
    >>> report(vg.diagnose(vg.MLP(depth=20, width=32), seeds=2))(CELLS).title
    'Diagnosis: healthy'
    """
    return next(BY_CLASS[kind.__name__] for kind in type(result).__mro__ if kind.__name__ in BY_CLASS)(result)
