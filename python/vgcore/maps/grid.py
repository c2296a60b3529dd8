"""What maps have in common: nets of a grid, trained by a sweep, and what became of their losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore.data.digits import digits
from vgcore.judge.blind import blind_guess_of
from vgcore.measure.result import Floats
from vgcore.model.given import Bounds, array, out_of_bounds
from vgcore.model.kind import Loss
from vgcore.model.mlp import MLP
from vgcore.model.optimizer import Optimizer
from vgcore.model.shown import Shown
from vgcore.model.versioned import Versioned
from vgcore.theory.fixed import ascending
from vgcore.train.many import train_sweep


@dataclass(frozen=True, eq=False)
class Mapped(Versioned, Shown):
    """Nets that were trained over a grid whose columns are depths. Arrays are `(rows, depths)`.

    Attributes:
        depth: Hidden layers of the columns, ascending, `(depths,)`.
        first_loss: Before the first update, the median over seeds.
        final_loss: The mean of the last losses, the median over seeds; nan where it diverged.
        blind: The least loss of an output that is the same for all samples; None where there is none.
        loss: Which, in canonical spelling.
        optimizer: Which.
        steps: Updates of a net.
        batch: Samples of an update.
        seeds: Nets of a cell.
        dtype: Of the computation.
    """

    depth: NDArray[np.int64]
    first_loss: Floats
    final_loss: Floats
    blind: float | None
    loss: str
    optimizer: str
    steps: int
    batch: int
    seeds: int
    dtype: str

    @property
    def diverged(self) -> NDArray[np.bool_]:
        """Where half of the nets or more had a value that is not finite."""
        return np.isnan(self.final_loss)


def whole(name: str, value: ArrayLike) -> NDArray[np.int64]:
    """A grid of whole numbers, such as depths."""
    grid = ascending(name, value, Bounds(least=1, most=1_000_000))
    if (grid != np.floor(grid)).any():
        raise out_of_bounds(name, "whole numbers in ascending order", value)
    return grid.astype(np.int64)


def samples(x: ArrayLike | None, y: ArrayLike | None) -> tuple[Any, Any]:
    """The samples and targets as given, or the bundled digits."""
    if x is None and y is not None:
        raise ValueError("y is given without x, the samples that it belongs to")
    return digits() if x is None else (x, y)


def sizes(x: Any, y: Any, loss: str | Loss) -> tuple[int, int]:
    """Columns of the samples, and outputs of a net that can learn the targets: one a class, or one a column.

    >>> sizes(np.ones((3, 4)), ["cat", "dog", "cat"], "cross_entropy"), sizes(np.ones((3, 4)), [1.0, 2.0, 1.5], "mse")
    ((4, 2), (4, 1))
    """
    columns, targets = array("x", x), np.asarray(y)
    if columns.ndim != 2:
        raise out_of_bounds("x", "samples (rows, features)", x)
    if Loss(loss).takes_classes and targets.size:
        named = targets.dtype.kind not in "iuf"
        return columns.shape[1], len(set(targets.ravel().tolist())) if named else int(targets.max()) + 1
    return columns.shape[1], targets.shape[1] if targets.ndim == 2 else 1


def losses(spec: MLP, x: Any, y: Any, grid: dict[str, Any], how: dict[str, Any]) -> dict[str, Any]:
    """The fields of `Mapped`, of nets over two axes of which the second is the depth."""
    sweep = train_sweep(spec, x, y, **how, **grid, monitor=[])
    shape = *(len(values) for values in grid.values()), -1
    found = {
        name: _middle(np.array([getattr(run, name) for run in sweep]).reshape(shape))
        for name in ("first_loss", "final_loss")
    }
    run = sweep[0]
    return found | {
        "depth": np.array(grid["depth"], dtype=np.int64),
        "blind": blind_guess_of(spec, run.loss_name, y, batch=run.batch),
        "loss": run.loss_name,
        "optimizer": str(Optimizer(how["optimizer"])),
        "steps": how["steps"],
        "batch": run.batch,
        "seeds": len(run.seeds),
        "dtype": run.dtype,
    }


def _middle(values: Floats) -> Floats:
    """The median over the last axis, in which what diverged is larger than all else; nan where it is the median."""
    middle = np.median(np.where(np.isfinite(values), values, np.inf), axis=-1)
    return np.asarray(np.where(np.isfinite(middle), middle, np.nan))
