"""Many nets trained in one call: `train_sweep` -> `TrainSweep`."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore import _core
from vgcore.measure import executor as executors
from vgcore.measure import files, table
from vgcore.measure.cells import (
    Cells,
    Stored,
    check_once,
    entries_of,
    field_of,
    field_values,
    fields_of_any,
    leaving,
    sorts_of,
)
from vgcore.measure.measurement import multiplications
from vgcore.measure.progress import progress_bar
from vgcore.measure.store import Paths
from vgcore.measure.stored import Kept, opened
from vgcore.measure.sweep import shard_of
from vgcore.model.given import LONGEST, boolean, items, shown
from vgcore.model.kind import Loss
from vgcore.model.names import hint, known
from vgcore.model.optimizer import Optimizer, word
from vgcore.model.shown import Reported
from vgcore.model.sorts import FIELDS, fields_of, kind_parameters, swept
from vgcore.model.spec import Spec
from vgcore.model.versioned import Versioned
from vgcore.train import kept
from vgcore.train.data import Validation
from vgcore.train.run import LOSS_COLUMNS, FirstBad, Run, place_of
from vgcore.train.settings import OPTIMIZER, EarlyStopping, Recipe, state_bytes
from vgcore.train.steps import MEMORY, Rule, recorded
from vgcore.train.training import Training
from vgcore.train.work import Cell, RunEntry, Trainer, recipe_of

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

Rows: TypeAlias = Literal["seeds", "cells"]

#: What a grid may vary beside the fields of a net and the parameters of its optimiser.
ARGUMENTS = ("optimizer", "schedule", "clip", "noise", "rates", "frozen")
#: What stands in a row where every value was finite: steps and layers are counted from 1 there.
NOWHERE = FirstBad(0, -1, "none", "none")
#: Recorded steps of a cell, about, unless it is said which.
RECORDED = 20


@dataclass(frozen=True, eq=False)
class TrainSweep(Versioned, Reported):
    """The finished cells of a training sweep, in the order of the grid.

    `s[3]` is a `Run`, `s[10:20]` a sweep of some, `s + t` one of both, and `s.select(depth=8, lr=0.1)` one of those
    that it names.

    Attributes:
        cells: One `Run` a combination.
        varied: What the grid varied, slowest first.
        planned: Cells that the grid has; more than `cells` after an interrupt.
        failed: What went wrong, by the spec and the recipe of each cell that could not be trained; in a sweep with a
            store alone.

    >>> import vgcore as vg
    >>> x, y = vg.data.digits()
    >>> spec = vg.MLP(depth=2, width=16, in_features=64, out_features=10)
    >>> s = vg.train_sweep(spec, x, y, steps=20, depth=[2, 4], lr=[0.1, 0.01])
    >>> len(s), s.varied, s.select(depth=4, lr=0.1)[0].spec.depth
    (4, ('depth', 'lr'), 4)
    """

    #: An array of NumPy does not take a sweep for a list of numbers in `array + sweep`.
    __array_ufunc__: ClassVar[None] = None

    cells: Sequence[Run]
    varied: tuple[str, ...]
    planned: int
    failed: Mapping[Cell, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.cells)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> TrainSweep: ...
    def __getitem__(self, index: int | slice) -> Run | TrainSweep:
        if isinstance(index, slice):
            return self._of(self.cells[index])
        return self.cells[index]

    def __iter__(self) -> Iterator[Run]:
        return iter(self.cells)

    def __add__(self, other: TrainSweep) -> TrainSweep:
        if not isinstance(other, TrainSweep):
            return NotImplemented
        both = Cells((*entries_of(self.cells), *entries_of(other.cells)))
        varied = tuple(dict.fromkeys((*self.varied, *other.varied)))
        return TrainSweep(both, varied, self.planned + other.planned, {**self.failed, **other.failed})

    def select(self, **fields: Any) -> TrainSweep:
        """The cells whose fields have one of some values.

        Args:
            **fields: For whatever a grid may vary, or any parameter of a net's kinds as FIELD_PARAM (`init_gain=2`), a
                value, or a list of those that will do.

        Raises:
            ValueError: For what is neither, or has no such value.

        >>> import numpy as np, vgcore as vg
        >>> x = np.random.default_rng(0).standard_normal((32, 4))
        >>> spec = vg.MLP(depth=2, width=8, in_features=4, out_features=1)
        >>> s = vg.train_sweep(spec, x, x[:, :1], steps=5, depth=[2, 4], lr=[0.1, 0.01])
        >>> [(run.spec.depth, run.optimizer.lr) for run in s.select(optimizer="adam", lr=0.1)]
        [(2, 0.1), (4, 0.1)]
        """
        sorts = sorts_of(entry.spec for entry in entries_of(self.cells))
        wanted = {name: _wanted(name, given, sorts) for name, given in fields.items()}

        def suits(run: Run | Stored[Run]) -> bool:
            return all(any(held in values for held in _held(run, name)) for name, values in wanted.items())

        return self._of(Cells(entry for entry in entries_of(self.cells) if suits(entry)))

    def _of(self, cells: Sequence[Run]) -> TrainSweep:
        """Some of the cells."""
        return TrainSweep(cells, self.varied, len(cells))

    def table(self) -> list[dict[str, Any]]:
        """One row a cell: what was varied, what came of it, and the verdict.

        Values are text, numbers, bools and None. Losses are medians over seeds, steps the fewest that any seed did;
        `verdict` and `conditions` are those of `diagnose`, several words with a comma between them.

        >>> import vgcore as vg
        >>> x, y = vg.data.digits()
        >>> spec = vg.MLP(depth=2, width=16, in_features=64, out_features=10, activation="tanh")
        >>> s = vg.train_sweep(spec, x, y, steps=200, optimizer="sgd", lr=[1e-4, 1.0])
        >>> [(row["lr"], row["verdict"]) for row in s.table()]
        [(0.0001, 'stuck'), (1.0, 'trained')]
        """
        return [_varied(run, self.varied) | _outcome(run) for run in self]

    def to_dict(self, rows: Rows = "seeds") -> dict[str, NDArray[Any]]:
        """Tidy columns: what the net is, how it was trained, and what came of it.

        Args:
            rows: `"seeds"`: a row a (cell, seed); `"cells"`: a row a cell, with the columns of `table()`.

        Returns:
            `first_loss`, `best_loss` and `final_loss` are those of a `Run`. Steps and layers are counted from 1;
            `first_bad_step` and `first_bad_layer` are 0 where every value was finite. Beside the text of a kind stand
            its numbers, those at their defaults too: `optimizer_lr`, `init_gain`, `clip_max_norm`; nan where a cell has
            no such number. Columns of which nothing is known in any row are left out.
        """
        cells = known("rows", rows, ("seeds", "cells")) == "cells"
        found, params = [], []
        for cell, run in enumerate(self):
            told = [told_of(cell, run) | table.worded(_outcome(run))] if cells else list(_rows(cell, run))
            found += told
            params += [parameters_of(run)] * len(told)
        return table.informative(table.with_parameters(found, params)) if found else {}

    def to_pandas(self, rows: Rows = "seeds") -> pd.DataFrame:
        """The tidy columns of `to_dict` as a pandas frame (extra `pandas`)."""
        return table.to_pandas(self.to_dict(rows))

    def to_polars(self, rows: Rows = "seeds") -> pl.DataFrame:
        """The tidy columns of `to_dict` as a polars frame (extra `polars`)."""
        return table.to_polars(self.to_dict(rows))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tidy columns to a `.csv`, `.json` or `.parquet` file (extra `parquet`).

        Raises:
            OSError: Where it cannot be written, with the path and the system's reason.
        """
        write = table.writer(path)
        if not self.cells:
            raise ValueError("there is no cell to save")
        columns = self.to_dict()
        with files.replacing(path) as temporary:
            write(temporary, columns)

    def __repr__(self) -> str:
        failed = f", {len(self.failed)} failed" if self.failed else ""
        varied = ", ".join(self.varied) or "nothing"
        return f"TrainSweep({len(self.cells)} of {self.planned} cells{failed}, varied: {varied})"

    def __str__(self) -> str:
        from vgcore.show import sweep

        return sweep.text(self)


def train_sweep(
    spec: Spec,
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    loss: str | Loss | None = None,
    steps: int = 1000,
    batch: int | None = None,
    validation: Validation = None,
    validate_every: int | None = None,
    early_stopping: int | EarlyStopping | None = None,
    monitor: str | Iterable[str] = "cheap",
    record: Rule = None,
    sharpness: int | None = None,
    checkpoints: int | None = 0,
    nonfinite: str = "stop",
    seeds: int = 1,
    seed: int = 0,
    dtype: str = "float32",
    threads: int | None = None,
    progress: bool = False,
    store: Paths | None = None,
    shard: str | None = None,
    retry_failed: bool = False,
    executor: Any = None,
    **grid: Any,
) -> TrainSweep:
    """Train every combination of some fields, side by side, all over the same seeds and batches.

    A net that diverges is a cell like any other: see `Run.stopped_by`.

    Args:
        spec: The net where nothing is varied.
        x: Samples, as in `train`; so is all that follows, but for its defaults.
        y: Targets of `loss`.
        loss: One of `LOSSES`, a call, or a `Loss`.
        steps: Updates.
        batch: Rows of a batch; all there are where these are fewer.
        validation: Samples and targets, or a share of the rows.
        validate_every: Steps between validations.
        early_stopping: None, a patience, or an `EarlyStopping`.
        monitor: `"cheap"`, `"full"` or a list of columns.
        record: The steps whose layers are recorded; about 20, evenly spread, if None, where `train` records all of up
            to 256.
        sharpness: Steps between measurements of the largest eigenvalue of the Hessian.
        checkpoints: States of each net that are kept for `Run.replay`, which begins at the first step without any.
        nonfinite: `"stop"` or `"skip"`.
        seeds: Number of runs a cell.
        seed: The first seed.
        dtype: `"float32"` or `"float64"`.
        threads: At most this many.
        progress: Show a bar with the time left in a notebook, or on stderr where that is a terminal.
        store: A file that keeps each cell as it is finished, as in `sweep`; so are the next three.
        shard: `"3/16"`: train only the cells of the fourth of sixteen equal parts.
        retry_failed: Try again those cells of the store that have failed.
        executor: Where to run instead of threads of this process.
        **grid: For any field of the spec the values to try, but for the `steps` of an `RNN`, which are those of x; and
            one value or several of `optimizer`, of any of its parameters (`lr=[0.1, 0.01]`, `momentum=0.9`), of
            `schedule`, `clip`, `noise`, `rates` and `frozen`. The last one given varies fastest.

    Returns:
        One cell a combination. Weights at the end are kept as long as those of all cells fit into 256 MB.

    Raises:
        ValueError: For a combination that cannot be, before anything runs.
        OSError: Where the store cannot be written. It has the finished cells as its attribute `sweep`.
        KeyboardInterrupt: At Ctrl-C, within 0.3 s, with the finished cells as its attribute `sweep`.

    >>> import vgcore as vg
    >>> x, y = vg.data.digits()
    >>> spec = vg.MLP(depth=2, width=16, in_features=64, out_features=10, activation="tanh")
    >>> s = vg.train_sweep(spec, x, y, steps=50, optimizer=["sgd", "adam"], lr=[0.1, 0.001])
    >>> [str(run.optimizer) for run in s]
    ['sgd(lr=0.1)', 'sgd', 'adam(lr=0.1)', 'adam']
    """
    swept(spec)
    show = boolean("progress", progress)
    if boolean("retry_failed", retry_failed) and store is None:
        raise ValueError("retry_failed is given without a store, which keeps what has failed")
    part = shard_of(shard)
    how = Training.of(
        x=x,
        y=y,
        loss=loss,
        steps=steps,
        batch=batch,
        validation=validation,
        validate_every=validate_every,
        early_stopping=early_stopping,
        monitor=monitor,
        record=record,
        sharpness=sharpness,
        checkpoints=checkpoints,
        nonfinite=nonfinite,
        seeds=seeds,
        seed=seed,
        dtype=dtype,
    )
    if record is None:
        how = replace(how, record=tuple(recorded(-(-how.steps // RECORDED), how.steps).tolist()))
    axes = {name: _axis(name, values, fields_of(spec)) for name, values in grid.items()}
    if (count := math.prod(len(values) for values, _ in axes.values())) > LONGEST:
        raise ValueError(f"a sweep has at most {LONGEST} cells, got {count}")
    varied = tuple(name for name, (_, several) in axes.items() if several)
    if executor is not None:
        executors.pool_of(executor)
    with leaving(lambda: TrainSweep((), varied, count), (KeyboardInterrupt,)):
        tried = itertools.product(*(values for values, _ in axes.values()))
        cells = [_cell(spec, dict(zip(axes, values, strict=True)), how.steps) for values in tried]
        check_once({name: values for name, (values, _) in axes.items()}, cells, _same)
        size = max(state_bytes(each, how.dtype) for each in {cell.spec for cell in cells}) // 3
        trainer = Trainer(how, threads=threads, keep_weights=count * how.seeds * size <= MEMORY)
        run = trainer.run if executor is None else partial(executors.run, executor, how=trainer)
        if store is None and shard is None:
            return _trained(run, cells, varied, how.steps, show=show)
        grids = trainer.grids(cells, varied, part)
        if store is None:
            ours = {place: cell for grid in grids for place, cell in zip(grid.places, grid.cells, strict=True)}
            return _trained(run, [ours[place] for place in sorted(ours)], varied, how.steps, show=show)
        planned = sum(len(grid.keys) for grid in grids)

        def made(found: Sequence[Run], failed: Mapping[Cell, str]) -> TrainSweep:
            return TrainSweep(found, varied, planned, failed)

        return Kept(store, grids, trainer.entry, made).measured(run, retry_failed=retry_failed, show=show)


def _trained(
    run: Callable[..., None], cells: Sequence[Cell], varied: tuple[str, ...], steps: int, *, show: bool
) -> TrainSweep:
    """Cells held in memory."""
    done: dict[int, Run] = {}

    def so_far() -> TrainSweep:
        return TrainSweep(tuple(done[i] for i in sorted(done)), varied, len(cells))

    layers, costs = [cell.spec.rows * steps for cell in cells], [multiplications(cell.spec) for cell in cells]
    bar = progress_bar(layers, costs, show=show)
    with leaving(so_far), bar as advance:

        def finished(index: int, found: Run) -> None:
            done[index] = found
            advance(index)

        run(cells, finished)
    return so_far()


def open_train_sweep(paths: Paths | Iterable[Paths]) -> TrainSweep:
    """Open stores, as one sweep: the trained cells of all of them, in the order of their grids.

    Args:
        paths: A file, a pattern such as `"runs-*.vg"`, or a list of them, as in `open_sweep`.

    Raises:
        FileNotFoundError: There is no such file, or the pattern fits none.
        OSError: The system does not let it be read.
        ValueError: A file is no store, is torn or damaged, or is one of another version; or two stores hold other
            numbers of one cell.

    >>> import numpy as np, vgcore as vg
    >>> x = np.random.default_rng(0).standard_normal((32, 4))
    >>> spec = vg.MLP(depth=2, width=8, in_features=4, out_features=1)
    >>> made = vg.train_sweep(spec, x, x[:, :1], steps=5, lr=[0.1, 0.01], store="trained.vg")
    >>> [run.optimizer.lr for run in vg.open_train_sweep("trained.vg")]
    [0.1, 0.01]
    """
    found = opened("open_train_sweep", paths, kept.TRAINED, apart=ARGUMENTS)
    failed = {Cell(store.spec(cell), RunEntry(store, cell).recipe): store.message(cell) for store, cell in found.failed}
    entries: Cells[Run] = Cells(RunEntry(store, cell) for store, cell in found.done)
    return TrainSweep(entries, found.varied, found.planned, failed)


# Grids


@lru_cache(maxsize=1)
def parameters() -> tuple[str, ...]:
    """The parameters that optimisers have."""
    return tuple(dict.fromkeys(name for kind in _core.OPTIMIZERS for name in Optimizer(kind).params))


def check_names(names: Iterable[str], fields: Sequence[str] = FIELDS) -> None:
    """Refuse what no grid may vary, of specs with these fields."""
    choices = (*fields, *ARGUMENTS, *parameters())
    for name in names:
        if name not in choices:
            raise ValueError(f"unknown field {shown(name)}{hint(name, choices)}; choose from: {', '.join(choices)}")


def _axis(name: str, values: Any, fields: Sequence[str]) -> tuple[list[Any], bool]:
    """The values to try, and whether they were given as several."""
    check_names([name], fields)
    allowed = "a list of values to try"
    if name not in fields:
        allowed = f"a value, or {allowed}"
        if _is_one(name, values):
            return [values], False
    axis = items(name, values, allowed)
    if not axis:
        raise ValueError(f"{name} must have at least one value to try, got none")
    return axis, True


def _is_one(name: str, value: Any) -> bool:
    """Whether what is given is a single value, which some arguments write as a list."""
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        return True
    if name == "frozen":
        return all(isinstance(each, str) for each in value)
    return name == "schedule" and all(isinstance(each, float | int | np.number) for each in value)


@lru_cache(maxsize=64)
def _optimizer(text: str) -> Optimizer:
    """An optimiser that many cells have."""
    return Optimizer(text)


def _cell(spec: Spec, given: Mapping[str, Any], steps: int) -> Cell:
    """The net and the recipe of a combination."""
    fields = {name: value for name, value in given.items() if name in fields_of(spec)}
    arguments = {name: given[name] for name in ARGUMENTS if name in given}
    params = {name: value for name, value in given.items() if name not in fields and name not in arguments}
    try:
        if params:
            arguments["optimizer"] = _optimizer(arguments.get("optimizer", OPTIMIZER)).changed(**params)
        recipe = Recipe.of(steps=steps, **arguments)
        cell = spec.replace(**fields) if fields else spec
        recipe.of_core(cell)  # which knows the names of its tensors
    except (TypeError, ValueError) as error:
        where = ", ".join(f"{name}={shown(value)}" for name, value in given.items())
        raise type(error)(f"{error} (in the cell {where})") from None
    return Cell(cell, recipe)


def _same(cell: Cell) -> Hashable:
    """What two combinations share if they are one net, trained in one way."""
    return cell.spec, json.dumps(cell.recipe.facts())


def _wanted(name: str, given: Any, sorts: tuple[type[Spec], ...]) -> list[Any]:
    """The values of a field that will do, as a cell holds them."""
    fields = fields_of_any(sorts)
    if name in fields or name in kind_parameters(sorts):
        return field_values(name, given, sorts)
    check_names([name], fields)
    several = [given] if _is_one(name, given) else items(name, given, "a value, or a list of values")
    if name in ARGUMENTS:
        return [Recipe.of(steps=np.size(value), **{name: value}).facts()[name] for value in several]
    return [word(value) for value in several]


def _held(cell: Run | Stored[Run], name: str) -> tuple[Any, ...]:
    """What a cell has of a field; an optimiser answers to its name alone too."""
    if name in fields_of(cell.spec) or name in kind_parameters():
        return (field_of(cell.spec, name),)
    recipe = recipe_of(cell)
    if name not in ARGUMENTS:
        return (recipe.optimizer.params.get(name),)
    held = recipe.facts()[name]
    return (held, recipe.optimizer.name) if name == "optimizer" else (held,)


def _varied(run: Run, varied: Iterable[str]) -> dict[str, Any]:
    """What sets a run apart, without objects; None for a parameter that its optimiser does not have."""
    row = told_of(0, run)
    fields = {name: table.scalar(getattr(run.spec, name)) for name in varied if name in fields_of(run.spec)}
    return {name: fields.get(name, row.get(name, run.optimizer.params.get(name))) for name in varied}


def told_of(cell: int, run: Run) -> dict[str, Any]:
    """What a cell is, and how it was trained."""
    told = run.recipe.facts()
    what = {"cell": cell, **table.spec_columns(run.spec), "optimizer": str(run.optimizer)}
    what |= {"schedule": str(told["schedule"]), "clip": repr(run.clip) if run.clip else "none", "noise": run.noise}
    what |= {"rates": json.dumps(told["rates"]), "frozen": " ".join(told["frozen"]) or "none"}
    return what | {"loss": run.loss_name, "dtype": run.dtype, "batch": run.batch, "steps": run.training.steps}


def parameters_of(run: Run) -> table.Parameters:
    """The parameters of the kinds of a cell, each under its field and its own name."""
    found = table.spec_parameters(run.spec, own=run.network0 is not None) | table.params_of("loss", run.loss_name)
    found |= table.params_of("optimizer", str(run.optimizer))
    if isinstance(run.schedule, str):
        found |= table.params_of("schedule", str(run.schedule))
    clip = {} if run.clip is None else vars(run.clip)
    return found | {f"clip_{name}": value for name, value in clip.items() if isinstance(value, float)}


def _outcome(run: Run) -> dict[str, Any]:
    """What came of all seeds of a cell."""
    from vgcore.judge.diagnose import diagnose

    judged = diagnose(run)
    losses = {name: float(np.median(getattr(run, name))) for name in LOSS_COLUMNS}
    ended = {"steps_done": int(run.steps_done.min()), "stopped_by": ", ".join(dict.fromkeys(run.stopped_by))}
    return losses | ended | {"verdict": judged.verdict, "conditions": ", ".join(judged.conditions)}


def _rows(cell: int, run: Run) -> Iterator[dict[str, Any]]:
    """What came of a cell, seed by seed."""
    what = told_of(cell, run)
    of_seed = {name: getattr(run, name).tolist() for name in (*LOSS_COLUMNS, "steps_done")}
    for index, seed in enumerate(run.seeds.tolist()):
        bad = run.first_bads[index] or NOWHERE
        yield what | {
            "seed": seed,
            **{name: values[index] for name, values in of_seed.items()},
            "stopped_by": run.stopped_by[index],
            "first_bad_step": bad.step,
            "first_bad_layer": bad.layer + 1,
            "first_bad_tensor": bad.tensor if bad is NOWHERE else place_of(bad)[1] or bad.tensor,
            "first_bad_phase": bad.phase,
            "validation_loss": _least(run.validation_loss[index]),
        }


def _least(values: NDArray[np.float64]) -> float:
    """The least of some readings; nan where there are none."""
    found = values[~np.isnan(values)]
    return float(found.min()) if found.size else math.nan
