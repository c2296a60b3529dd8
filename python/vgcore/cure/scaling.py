"""What may be changed in the data, one row a kind of change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore import _core
from vgcore.cure.remedies import Change
from vgcore.measure.result import Probe
from vgcore.model.kind import Loss
from vgcore.model.plan import Plan

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Data:
    """Samples and targets.

    Attributes:
        x: The samples; None where they are drawn.
        y: The targets, if any.
        changes: By `"x"` and `"y"`, what was done to it, as code; empty for the data as they are.
    """

    x: ArrayLike | None
    y: ArrayLike | None
    changes: Mapping[str, str] = field(default_factory=dict)

    def with_changes(self, other: Data) -> Data:
        """These data, with what is changed in others."""
        arrays = {name: getattr(other if name in other.changes else self, name) for name in ("x", "y")}
        return Data(**arrays, changes={**self.changes, **other.changes}) if other.changes else self


@dataclass(frozen=True)
class Scaling(Change):
    """One row: a change of samples or targets.

    Attributes:
        of: `"x"` or `"y"`.
        apply: The change as code of `{}`, and what it makes of an array of columns, the last axis.
    """

    of: str
    apply: Callable[[Floats], tuple[str, Floats]]


def _columns(values: Floats) -> tuple[int, ...]:
    """The axes along which a column lies."""
    return tuple(range(values.ndim - 1)) or (0,)


def _centred(values: Floats) -> tuple[str, Floats]:
    return "{} - mean", values - values.mean(axis=_columns(values))


def _standardised(values: Floats) -> tuple[str, Floats]:
    axes = _columns(values)
    constant = np.ptp(values, axis=axes) == 0
    std = np.where(constant, 1.0, values.std(axis=axes))
    return "({} - mean) / std", np.where(constant, 0.0, (values - values.mean(axis=axes)) / std)


def _divided(values: Floats) -> tuple[str, Floats]:
    """By the largest magnitude; what looks like bytes by 255."""
    top = float(f"{np.abs(values).max():.4g}")
    if 127 < top <= 255 and values.min() >= 0 and (values == values.round()).all():
        top = 255.0
    return f"{{}} / {top:g}", values / (top or 1.0)


SCALINGS = (
    Scaling("divided samples", 0, "x", _divided),
    Scaling("standardised samples", 0, "x", _standardised),
    Scaling("centred samples", 0, "x", _centred),
    Scaling("standardised targets", 0, "y", _standardised),
)


def scaled(cell: Probe) -> Iterator[tuple[Scaling, Data]]:
    """The data of a probe, changed in one way each; those that stay as they are, and targets of classes, do not."""
    numbers = cell.loss is not None and cell.y is not None and not Loss(cell.loss).takes_classes
    given = {"x": cell.x, "y": cell.y if numbers else None}
    for row in SCALINGS:
        if (old := given[row.of]) is None:
            continue
        # The features of a sequence are columns over all of its steps.
        values = np.asarray(Plan.of(cell.spec).folded(old) if row.of == "x" else old, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            code, new = row.apply(values)
        if not np.isfinite(new).all() or np.allclose(new, values):
            continue
        if row.of == "y" and not _allowed(cell, new):
            continue
        yield row, Data(**{"x": cell.x, "y": cell.y} | {row.of: new}, changes={row.of: code.format(row.of)})


def _allowed(cell: Probe, y: Floats) -> bool:
    """Whether the loss takes such targets: not where they are signs or shares."""
    assert cell.loss is not None  # noqa: S101 (of targets)
    try:
        plan = Plan.of(cell.spec)
        _core.targets(cell.loss, y, len(y), plan.outputs, plan.places)
    except ValueError:
        return False
    return True
