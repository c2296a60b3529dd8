"""Two results side by side: `Comparison`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from vgcore.judge.diagnosis import Diagnosis
from vgcore.judge.finding import Finding
from vgcore.judge.training.diagnosis import RunDiagnosis
from vgcore.model.shown import Reported
from vgcore.model.versioned import Versioned
from vgcore.show import comparison as told

Judged = Diagnosis | RunDiagnosis


class Measure(NamedTuple):
    """One number of both results.

    Attributes:
        name: What it is.
        before: The number of the first, nan where it is not known.
        after: The number of the second.
        beyond: Whether they differ by more than the noise of the seeds, which is where their 95 % intervals do not
            overlap; None where one of them has no interval.
        log10: Whether they are powers of ten.
    """

    name: str
    before: float
    after: float
    beyond: bool | None = None
    log10: bool = False

    @property
    def difference(self) -> float:
        """The second less the first; 0 for two that are equal, infinite ones too."""
        return 0.0 if self.before == self.after else self.after - self.before

    @property
    def differs(self) -> bool:
        """Whether there is a difference that no noise explains; of two that are not known there is none."""
        unknown = math.isnan(self.before) and math.isnan(self.after)
        return self.beyond is not False and not unknown and self.difference != 0


@dataclass(frozen=True, eq=False)
class Comparison(Versioned, Reported):
    """What is better or worse in the second of two results.

    Attributes:
        before: The diagnosis of the first.
        after: The diagnosis of the second.
        verdict: `"better"`, `"worse"` or `"same"`, as `compare` says. Two sweeps are worse where any cell is.
        summary: One sentence.
        fields: What sets the nets apart, and of runs how they were trained: the values of both, by name.
        measures: Factors, depth limits, losses: the numbers of both.
        places: The layers, or where along nets of different depth `columns` are told.
        columns: By what they are of, a `Measure` a place, as powers of ten: means over the seeds.
        cells: Of two sweeps, the comparisons of the cells that both have.
        names: What each of these cells is, by what was varied.
        only: The cells that the first alone has, and those of the second alone.
        notes: What a reader has to know of how they were compared.

    >>> import vgcore as vg
    >>> net = vg.MLP(depth=20, width=64, activation="sigmoid")
    >>> found = vg.compare(net, net.replace(activation="relu"), seeds=4)
    >>> found.verdict, found.fields
    ('better', {'activation': ('sigmoid', 'relu')})
    """

    before: Judged
    after: Judged
    verdict: str
    summary: str
    fields: Mapping[str, tuple[Any, Any]]
    measures: tuple[Measure, ...] = ()
    places: tuple[str, ...] = ()
    columns: Mapping[str, tuple[Measure, ...]] = field(default_factory=dict)
    cells: tuple[Comparison, ...] = ()
    names: tuple[str, ...] = ()
    only: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    notes: tuple[str, ...] = ()

    @property
    def gone(self) -> tuple[Finding, ...]:
        """Findings of the first whose rules find nothing in the second."""
        return _without(self.before, self.after)

    @property
    def new(self) -> tuple[Finding, ...]:
        """Findings of the second whose rules find nothing in the first."""
        return _without(self.after, self.before)

    @property
    def main(self) -> Measure | None:
        """The one measure that is told of a cell: how far the backward signal moves, or the final loss."""
        return next((each for each in self.measures if each.log10), next(iter(self.measures), None))

    @property
    def caption(self) -> str:
        """What `columns` are."""
        if isinstance(self.before, RunDiagnosis):
            return "log10 of the norms at the last recorded step: means over the seeds"
        return "log10 of the rms on the way forward, and of the norms of gradients: means over the seeds"

    def to_dict(self) -> dict[str, Any]:
        """All but what was measured, as plain values."""
        plain: dict[str, Any] = {
            "verdict": self.verdict,
            "summary": self.summary,
            "fields": {name: list(values) for name, values in self.fields.items()},
            "measures": [measure._asdict() for measure in self.measures],
            "places": list(self.places),
            "columns": {name: [each._asdict() for each in values] for name, values in self.columns.items()},
            "gone": [finding.rule for finding in self.gone],
            "new": [finding.rule for finding in self.new],
            "notes": list(self.notes),
            "only": [list(names) for names in self.only],
        }
        if self.cells:
            cells = zip(self.names, self.cells, strict=True)
            return plain | {"cells": [{"name": name} | cell.to_dict() for name, cell in cells]}
        return plain | {"before": self.before.to_dict(), "after": self.after.to_dict()}

    def __repr__(self) -> str:
        many = f", {len(self.cells)} cells" if self.cells else ""
        return f"Comparison({self.verdict!r}, {self.before.word!r} -> {self.after.word!r}{many})"

    def __str__(self) -> str:
        return told.text(self)


def _without(one: Judged, other: Judged) -> tuple[Finding, ...]:
    rules = {finding.rule for finding in other.findings}
    return tuple(finding for finding in one.findings if finding.rule not in rules)
