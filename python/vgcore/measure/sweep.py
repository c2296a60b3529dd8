"""A grid of cells: `sweep` -> `Sweep`."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from vgcore.measure import table
from vgcore.measure.measurement import Measurement
from vgcore.measure.progress import progress_bar
from vgcore.measure.result import SIGNALS, Probe
from vgcore.model.kind import Loss
from vgcore.model.mlp import LONGEST, MLP, check_names

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


@dataclass(frozen=True, eq=False)
class Sweep:
    """The finished cells of a sweep, in the order of the grid.

    Attributes:
        cells: One `Probe` a spec.
        varied: The fields that the grid varied, slowest first.
        planned: Cells that the grid has; more than `cells` after an interrupt.
    """

    cells: tuple[Probe, ...]
    varied: tuple[str, ...]
    planned: int

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, index: int) -> Probe:
        return self.cells[index]

    def __iter__(self) -> Iterator[Probe]:
        return iter(self.cells)

    def table(self) -> list[dict[str, Any]]:
        """One row a cell: the varied fields, the three factors, the first layer's gradient, and the verdict.

        The gradient is a power of ten, of a tied net that of all its steps. `verdict`, `direction` and `conditions` are
        those of `diagnose`.
        """
        return [_row(cell, self.varied) for cell in self.cells]

    def to_dict(self) -> dict[str, Any]:
        """Tidy columns: one row a (cell, seed, layer)."""
        return table.tidy(self.cells)

    def to_pandas(self) -> pd.DataFrame:
        """The tidy columns as a pandas frame (extra `pandas`)."""
        return table.to_pandas(self.cells)

    def to_polars(self) -> pl.DataFrame:
        """The tidy columns as a polars frame (extra `polars`)."""
        return table.to_polars(self.cells)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The tidy columns as an Arrow stream, for what reads the PyCapsule interface (extra `parquet`)."""
        return table.to_arrow(self.cells).__arrow_c_stream__(requested_schema)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tidy columns; the file's ending chooses the format.

        Args:
            path: `.csv`, `.json` (an object of columns; values that are not finite are null, and a column `infinite`
                tells which of them are infinities) or `.parquet` (extra `parquet`). The file is written beside and
                renamed: what stops it leaves an old one whole. `read_sweep` reads it back.

        Raises:
            OSError: Where it cannot be written, with the path and the system's reason.
        """
        table.save(self.cells, path)

    def __repr__(self) -> str:
        return f"Sweep({len(self.cells)} of {self.planned} cells, varied: {', '.join(self.varied) or 'nothing'})"


def sweep(
    spec: MLP,
    *,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    loss: str | Loss | None = None,
    batch: int | None = None,
    seeds: int = 8,
    seed: int = 0,
    dtype: str = "float32",
    threads: int | None = None,
    progress: bool = False,
    **grid: Any,
) -> Sweep:
    """Measure every combination of some fields, in parallel, all over the same seeds.

    Args:
        spec: The net where nothing is varied.
        x: Samples, as in `probe`; so are the next seven.
        y: Targets of `loss`.
        loss: One of `LOSSES`, a call, or a `Loss`.
        batch: Samples of a run.
        seeds: Number of runs a cell.
        seed: The first seed.
        dtype: `"float32"` or `"float64"`.
        threads: At most this many.
        progress: Show a bar with the time left, on stderr and only on a terminal.
        **grid: For any field of `MLP`, the values to try; the last one given varies fastest.

    Returns:
        One cell a combination. A net that diverges is a cell like any other: see `first_nonfinite`.

    Raises:
        ValueError: For a combination that no net can be, before anything runs.
        KeyboardInterrupt: At Ctrl-C, within 0.1 s, with the finished cells as its attribute `sweep`.

    >>> import vgcore as vg
    >>> s = vg.sweep(vg.MLP(depth=1, width=32), depth=[4, 8], activation=["tanh", "relu"], seeds=2)
    >>> [(cell.spec.depth, cell.spec.activation) for cell in s]
    [(4, 'tanh'), (4, 'relu'), (8, 'tanh'), (8, 'relu')]
    """
    if not isinstance(spec, MLP):
        raise TypeError(f"spec must be an MLP, got {spec!r}")
    check_names(grid)
    axes = [_axis(name, values) for name, values in grid.items()]
    if (planned := math.prod(map(len, axes))) > LONGEST:
        raise ValueError(f"a sweep has at most {LONGEST} cells, got {planned}")
    how = Measurement(x=x, y=y, loss=loss, batch=batch, seeds=seeds, seed=seed, dtype=dtype, threads=threads)
    done: dict[int, Probe] = {}

    def partial() -> Sweep:
        return Sweep(tuple(done[i] for i in sorted(done)), tuple(grid), planned)

    try:
        specs = [_cell(spec, dict(zip(grid, values, strict=True))) for values in itertools.product(*axes)]
        with progress_bar([cell.depth for cell in specs], show=progress) as advance:

            def finished(index: int, cell: Probe) -> None:
                done[index] = cell
                advance(index)

            how.run(specs, finished)
    except KeyboardInterrupt as interrupt:
        interrupt.sweep = partial()  # type: ignore[attr-defined]
        raise
    return partial()


def _row(cell: Probe, varied: tuple[str, ...]) -> dict[str, Any]:
    first = (cell.log10_summed_wgrad_norm if cell.spec.tied else cell.log10_wgrad_norm)[:, 0]
    from vgcore.judge.evidence import Evidence
    from vgcore.judge.verdict import findings, verdict

    evidence = Evidence(cell)
    judged = verdict(evidence, findings(evidence))
    return {
        **{name: getattr(cell.spec, name) for name in varied},
        **{signal: cell.factor(signal) for signal in SIGNALS},
        "first_gradient": float(np.mean(first)),
        "verdict": judged.verdict,
        "direction": judged.direction,
        "conditions": judged.conditions,
    }


def _axis(name: str, values: Any) -> list[Any]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list of values to try, got {values!r}; use spec.replace for a single one")
    # Ranges are not listed before their length is known to be sane; endless iterables not at all.
    axis = list(itertools.islice(values, LONGEST + 1))
    if len(axis) > LONGEST:
        raise ValueError(f"{name} has more than {LONGEST} values to try")
    if not axis:
        raise ValueError(f"{name} must have at least one value to try, got none")
    return axis


def _cell(spec: MLP, fields: dict[str, Any]) -> MLP:
    try:
        return spec.replace(**fields)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error} (in the cell {', '.join(f'{k}={v!r}' for k, v in fields.items())})") from None
