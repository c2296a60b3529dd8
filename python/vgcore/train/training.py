"""How nets are trained: `Training`, handed on whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from vgcore import _core
from vgcore.measure import table
from vgcore.model.given import array as as_array
from vgcore.model.given import integer
from vgcore.model.kind import Loss
from vgcore.model.names import known
from vgcore.model.network import Network
from vgcore.model.spec import Spec
from vgcore.model.versioned import Versioned
from vgcore.train import data
from vgcore.train import steps as rules
from vgcore.train.settings import EarlyStopping, Recipe, early_stopping_of, monitored, state_bytes

#: What the core says of a cell.
Columns: TypeAlias = dict[str, Any]
#: Called now and then, with the cell, its seed (both by number), the step and the loss.
Progress: TypeAlias = Callable[[int, int, int, float], object]
#: Rows of a batch, unless it is said how many.
BATCH = 64
#: What a step that is not finite leads to.
NONFINITE = ("stop", "skip")


@dataclass(frozen=True, eq=False)
class Training(Versioned):
    """The keywords of `train` that all cells of a sweep share; `train` says what they mean.

    Rules of steps are kept as they are given, so that a run of another length follows the same ones.
    """

    x: ArrayLike
    y: ArrayLike | None
    loss: str | None
    steps: int
    batch: int | None
    validation: data.Validation
    validate_every: int | None
    early_stopping: EarlyStopping | None
    monitor: tuple[str, ...]
    record: int | str | tuple[int, ...] | None
    sharpness: int | None
    checkpoints: int | None
    nonfinite: str
    seeds: int
    seed: int
    dtype: str
    #: Steps at which it ended before it went on: there was a reading.
    ends: tuple[int, ...] = ()

    _callers: ClassVar[frozenset[str]] = frozenset({"x", "y"})

    def __repr__(self) -> str:
        loss = "" if self.loss is None else f"{self.loss}, "
        return f"Training({self.count} rows, {loss}steps={self.steps}, batch={self.batch}, seeds={self.seeds})"

    @classmethod
    def of(
        cls,
        *,
        x: ArrayLike,
        y: ArrayLike | None,
        loss: str | Loss | None,
        steps: int,
        batch: int | None,
        validation: data.Validation,
        validate_every: int | None,
        early_stopping: int | EarlyStopping | None,
        monitor: str | Iterable[str],
        record: rules.Rule,
        sharpness: int | None,
        checkpoints: int | None,
        nonfinite: str,
        seeds: int,
        seed: int,
        dtype: str,
    ) -> Training:
        """What a caller gave, checked; the core checks samples, targets and dtype."""
        length = integer("steps", steps, least=1)
        return cls(
            x=x,
            y=y,
            loss=None if loss is None else str(Loss(loss)),
            steps=length,
            batch=None if batch is None else integer("batch", batch, least=1),
            validation=data.checked(validation),
            validate_every=None if validate_every is None else integer("validate_every", validate_every, least=1),
            early_stopping=early_stopping_of(early_stopping),
            monitor=monitored(monitor),
            record=rules.checked(record, length),
            sharpness=None if sharpness is None else integer("sharpness", sharpness, least=1),
            checkpoints=None if checkpoints is None else integer("checkpoints", checkpoints, least=0),
            nonfinite=known("nonfinite", nonfinite, NONFINITE),
            seeds=integer("seeds", seeds, least=1),
            seed=integer("seed", seed, least=0, most=2**64 - 1),
            dtype=dtype_of(dtype),
        )

    @cached_property
    def rows(self) -> data.Rows:
        """What is trained and validated on."""
        return data.rows_of(self.x, self.y, self.validation, self.seed)

    @cached_property
    def count(self) -> int:
        """Rows that are trained on."""
        samples = as_array("x", self.rows.x)
        return len(samples) if samples.ndim else 0

    @cached_property
    def batch_rows(self) -> int:
        """Rows of a batch: those asked for, or 64, or all there are."""
        return max(1, min(self.batch or BATCH, self.count))

    @cached_property
    def recorded(self) -> rules.Steps:
        """The steps whose layers are recorded."""
        return rules.recorded(self.record, self.steps)

    @cached_property
    def validated(self) -> rules.Steps:
        """The steps after which there is a reading."""
        found = rules.validated(self.validate_every, self.steps, max(1, self.count // self.batch_rows))
        return np.union1d(found, np.array(self.ends, dtype=np.int64)) if self.ends else found

    @cached_property
    def sharp(self) -> rules.Steps:
        """The steps whose sharpness is measured."""
        return rules.every(self.sharpness, self.steps)

    def run(
        self,
        subject: Sequence[Spec] | Network,
        recipes: Sequence[Recipe],
        report: Callable[[int, Columns], object],
        **options: Any,
    ) -> None:
        """Train cells on the core; `report(index, columns)` is called for each as its last seed ends.

        Args:
            subject: The nets, one a cell; or a network, of one cell, whose weights every seed starts from.
            recipes: One a cell.
            report: Called on the calling thread.
            **options: Of the core, in place of what follows from this: `threads`, `progress`, `keep_weights`, `resume`
                (states to go on from, one a seed), `until` (the step to stop behind), and the seeds of these.
        """
        specs = [subject.spec] if isinstance(subject, Network) else subject
        size = 0 if self.checkpoints is not None else max(state_bytes(spec, self.dtype) for spec in {*specs})
        stopping = self.early_stopping
        ours: dict[str, Any] = {
            "x": self.rows.x,
            "y": self.rows.y,
            "loss": self.loss,
            "validation": self.rows.validation,
            "steps": self.steps,
            "until": None,
            "batch": self.batch_rows,
            "record": self.recorded,
            "columns": self.monitor,
            "sharpness": self.sharp,
            "validate": self.validated,
            "checkpoints": rules.kept(self.checkpoints, self.steps, self.seeds * size),
            "nonfinite": self.nonfinite,
            "patience": stopping and (stopping.patience, stopping.min_delta),
            "keep_weights": True,
            "resume": None,
            "seeds": self.seeds,
            "seed": self.seed,
            "dtype": self.dtype,
            "threads": None,
            "progress": None,
        }
        _core.train(
            subject._weights if isinstance(subject, Network) else list(subject),  # noqa: SLF001 (its handle for the core)
            [recipe.of_core(spec) for recipe, spec in zip(recipes, specs, strict=True)],
            report,
            **ours | options,
        )

    def facts(self) -> dict[str, Any]:
        """What it says of the numbers of a run, as JSON has it; data by their ids."""
        told = {name: getattr(self, name) for name in _TOLD}
        pair = self.validation
        if isinstance(pair, tuple):
            told["validation"] = [table.data_id(pair[0], None), table.data_id(None, pair[1])]
        stopping = self.early_stopping
        return told | {
            "x": table.data_id(self.x, None),
            "y": None if self.y is None else table.data_id(None, self.y),
            "batch": self.batch_rows,
            "dtype": np.dtype(self.dtype).name,
            "early_stopping": stopping and [stopping.patience, stopping.min_delta],
        }

    @classmethod
    def of_facts(cls, told: Mapping[str, Any], x: Any, y: Any) -> Training:
        """The training that says this of itself, with its data or what stands for them."""
        fields = {name: told[name] for name in (*_TOLD, "batch", "dtype")}
        validation, stopping, record = told["validation"], told["early_stopping"], told["record"]
        if isinstance(validation, list):
            why = "a store keeps the rows that a run was trained on, and not those for validation"
            pair = zip(("x", "y"), validation, strict=True)
            validation = tuple(table.Unkept(name, data, why) for name, data in pair)
        fields |= {"validation": validation, "monitor": tuple(told["monitor"]), "ends": tuple(told["ends"])}
        fields["record"] = tuple(record) if isinstance(record, list) else record
        return cls(x=x, y=y, early_stopping=stopping and EarlyStopping(*stopping), **fields)

    @cached_property
    def seeds_of_runs(self) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """The seed of each run."""
        return np.uint64(self.seed) + np.arange(self.seeds, dtype=np.uint64)


def dtype_of(given: Any) -> Any:
    """The name of a dtype that a run can have, however it is given; what is none is left to the core to refuse.

    >>> dtype_of(np.float64), dtype_of("float32"), dtype_of("f8")
    ('float64', 'float32', 'f8')
    """
    if given is None or isinstance(given, str):
        return given
    try:
        name = np.dtype(given).name
    except (TypeError, ValueError):
        return given
    return name if name in {"float32", "float64"} else given


#: Fields that JSON holds as they are.
_TOLD = (
    *("loss", "steps", "validation", "validate_every", "monitor", "record", "sharpness", "checkpoints", "nonfinite"),
    *("seeds", "seed", "ends"),
)
