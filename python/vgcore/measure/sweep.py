"""A grid of cells: `sweep` -> `Sweep`."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from numpy.typing import ArrayLike

from vgcore.measure import executor as executors
from vgcore.measure.cells import Sweep, check_once, leaving
from vgcore.measure.measurement import Measurement, multiplications
from vgcore.measure.progress import progress_bar
from vgcore.measure.result import Probe
from vgcore.measure.store import planned
from vgcore.measure.stored import Run, keep
from vgcore.model.given import LONGEST, boolean, items, out_of_bounds, shown
from vgcore.model.kind import Loss
from vgcore.model.sorts import fields_of, swept
from vgcore.model.spec import Spec, check_fields


def sweep(
    spec: Spec,
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
    store: str | os.PathLike[str] | None = None,
    shard: str | None = None,
    retry_failed: bool = False,
    executor: Any = None,
    **grid: Any,
) -> Sweep:
    """Measure every combination of some fields, in parallel, all over the same seeds.

    Args:
        spec: The net where nothing is varied: an `MLP`, an `RNN` or a `Transformer`.
        x: Samples, as in `probe`; so are the next seven.
        y: Targets of `loss`.
        loss: One of `LOSSES`, a call, or a `Loss`.
        batch: Samples of a run.
        seeds: Number of runs a cell.
        seed: The first seed.
        dtype: `"float32"` or `"float64"`.
        threads: At most this many.
        progress: Show a bar with the time left in a notebook, or on stderr where that is a terminal.
        store: A file that keeps each cell as it is finished, and is made if it is not there. The same call again goes
            on where it stopped, whatever stopped it. With a store, a cell that cannot be measured is one of `failed`.
        shard: `"3/16"`: measure only the cells of the fourth of sixteen equal parts, numbered from 0. Which part a cell
            is of depends on the cell alone, so that machines can share a sweep without talking.
        retry_failed: Try again those cells of the store that have failed.
        executor: Where to run instead of threads of this process: an executor of `concurrent.futures`, `loky` or
            `mpi4py.futures`, a Dask `Client`, or whatever else has `submit` or `get_executor()`. The numbers are equal
            to the last bit.
        **grid: For any field of the spec, the values to try; the last one given varies fastest.

    Returns:
        One cell a combination. A net that diverges is a cell like any other: see `first_nonfinite`.

    Raises:
        ValueError: For a combination that no net can be, before anything runs; for a store that is none, is damaged, or
            is one of another version.
        BlockingIOError: Where another process writes the store.
        OSError: Where the store cannot be written. It has the finished cells as its attribute `sweep`.
        KeyboardInterrupt: At Ctrl-C, within 0.1 s, with the finished cells as its attribute `sweep`.

    >>> import vgcore as vg
    >>> s = vg.sweep(vg.MLP(depth=1, width=32), depth=[4, 8], activation=["tanh", "relu"], seeds=2)
    >>> [(cell.spec.depth, cell.spec.activation) for cell in s]
    [(4, 'tanh'), (4, 'relu'), (8, 'tanh'), (8, 'relu')]
    >>> s = vg.sweep(vg.RNN(steps=20, width=8), cell=["tanh", "lstm"], seeds=2)
    >>> [cell.spec.cell.name for cell in s.select(cell="lstm")]
    ['lstm']
    """
    check_fields(grid, fields_of(swept(spec)))
    axes = [_axis(name, values) for name, values in grid.items()]
    if (count := math.prod(map(len, axes))) > LONGEST:
        raise ValueError(f"a sweep has at most {LONGEST} cells, got {count}")
    show = boolean("progress", progress)
    if boolean("retry_failed", retry_failed) and store is None:
        raise ValueError("retry_failed is given without a store, which keeps what has failed")
    part = shard_of(shard)
    how = Measurement(x=x, y=y, loss=loss, batch=batch, seeds=seeds, seed=seed, dtype=dtype, threads=threads)
    run: Run = how.run
    if executor is not None:
        executors.pool_of(executor)
        run = partial(executors.run, executor, how=how)
    varied = tuple(grid)
    with leaving(lambda: Sweep((), varied, count), (KeyboardInterrupt,)):
        specs = [_cell(spec, dict(zip(grid, values, strict=True))) for values in itertools.product(*axes)]
        check_once(dict(zip(grid, axes, strict=True)), specs, lambda cell: cell)
        if store is None and shard is None:
            return _measured(run, specs, varied, show=show)
        cells = planned(specs, varied, how, part)
        if store is None:
            return _measured(run, cells.specs, varied, show=show)
        return keep(run, cells, store, retry_failed=retry_failed, show=show)


def _measured(run: Run, specs: Sequence[Spec], varied: tuple[str, ...], *, show: bool) -> Sweep:
    """Cells held in memory."""
    done: dict[int, Probe] = {}

    def so_far() -> Sweep:
        return Sweep(tuple(done[i] for i in sorted(done)), varied, len(specs))

    bar = progress_bar([cell.rows for cell in specs], [*map(multiplications, specs)], show=show)
    with leaving(so_far), bar as advance:

        def finished(index: int, cell: Probe) -> None:
            done[index] = cell
            advance(index)

        run(specs, finished)
    return so_far()


def shard_of(text: object) -> tuple[int, int]:
    """Which of how many parts."""
    if text is None:
        return 0, 1
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text) if isinstance(text, str) else None
    if match is None or not int(match[1]) < int(match[2]):
        raise out_of_bounds("shard", "a part of all, such as '0/16' to '15/16'", text)
    return int(match[1]), int(match[2])


def _axis(name: str, values: Any) -> list[Any]:
    axis = items(name, values, "a list of values to try")
    if not axis:
        raise ValueError(f"{name} must have at least one value to try, got none")
    return axis


def _cell(spec: Spec, fields: dict[str, Any]) -> Spec:
    try:
        return spec.replace(**fields)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error} (in the cell {', '.join(f'{k}={shown(v)}' for k, v in fields.items())})") from None
