"""Measured cells: `Sweep`."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from vgcore.measure import table
from vgcore.measure.result import SIGNALS, Factor, Probe
from vgcore.model import custom
from vgcore.model.given import Bounds, boolean, integer, number, shown, text
from vgcore.model.names import hint, known
from vgcore.model.shown import Reported
from vgcore.model.sorts import KINDS, SORTS, TYPES, kind_parameters, sort_of
from vgcore.model.spec import Spec
from vgcore.model.versioned import Versioned

Stops: TypeAlias = tuple[type[BaseException], ...]
Rows: TypeAlias = Literal["layers", "cells"]

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


class Measured(Protocol):
    """What is measured of a net: a probe, or a run."""

    @property
    def spec(self) -> Spec:
        """What was measured."""


class Judged(Protocol):
    """What is judged of a cell: a verdict, or a diagnosis."""

    @property
    def verdict(self) -> str:
        """The verdict alone."""

    @property
    def direction(self) -> str | None:
        """Of the signal that moves."""

    @property
    def conditions(self) -> tuple[str, ...]:
        """What holds beside it."""


Result = TypeVar("Result", bound=Measured)
Cell = TypeVar("Cell")


class Stored(Generic[Result]):
    """A cell that lies in a file."""

    @property
    def spec(self) -> Spec:
        """What was measured."""
        raise NotImplementedError

    def read(self) -> Result:
        """The cell."""
        raise NotImplementedError


class Cells(Sequence[Result]):
    """Cells of which some lie in a file, and are read each time that they are asked for."""

    def __init__(self, entries: Iterable[Result | Stored[Result]]) -> None:
        self._entries = tuple(entries)

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> Cells[Result]: ...
    def __getitem__(self, index: int | slice) -> Result | Cells[Result]:
        if isinstance(index, slice):
            return Cells(self._entries[index])
        entry = self._entries[index]
        return entry.read() if isinstance(entry, Stored) else entry

    def __add__(self, other: Sequence[Result]) -> Cells[Result]:
        return Cells((*self._entries, *entries_of(other)))

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process may not have the file.
        return tuple, (list(self),)


def entries_of(cells: Sequence[Result]) -> Sequence[Result | Stored[Result]]:
    """The cells, those that lie in a file unread."""
    return cells._entries if isinstance(cells, Cells) else cells  # noqa: SLF001


def check_once(grid: Mapping[str, Sequence[Any]], cells: Sequence[Cell], same: Callable[[Cell], Hashable]) -> None:
    """Refuse a grid with a value given twice, in any spelling: it would be measured twice, and count twice in tables.

    Args:
        grid: The values of each field.
        cells: Their product, the last field's fastest.
        same: What two cells share if and only if they are one.
    """
    apart = len(cells)
    for name, values in grid.items():
        apart //= len(values)
        seen: dict[Hashable, Any] = {}
        for cell, value in zip(cells[: apart * len(values) : apart], values, strict=True):
            if (key := same(cell)) in seen:
                both = f"{name}={shown(seen[key])} and {name}={shown(value)}"
                raise ValueError(f"{both} make the same cell; give each value once")
            seen[key] = value


@dataclass(frozen=True, eq=False)
class Sweep(Versioned, Reported):
    """The finished cells of a sweep, in the order of the grid.

    `s[3]` is a cell, `s[10:20]` a sweep of some, `s + t` one of both, and `s.select(depth=8)` one of those that it
    names.

    Attributes:
        cells: One `Probe` a spec. Those of a store are read from its file each time that they are asked for.
        varied: The fields that the grid varied, slowest first.
        planned: Cells that the grid has; more than `cells` after an interrupt.
        failed: What went wrong, by the spec of each cell that could not be measured; in a sweep with a store alone.

    >>> import vgcore as vg
    >>> s = vg.sweep(vg.MLP(depth=2, width=32), depth=[4, 64], activation=["sigmoid", "relu"], seeds=2)
    >>> len(s), s.varied
    (4, ('depth', 'activation'))
    >>> [(p.spec.activation.name, vg.diagnose(p).verdict) for p in s.select(depth=64)]
    [('sigmoid', 'vanishing'), ('relu', 'healthy')]
    """

    #: An array of NumPy does not take a sweep for a list of numbers in `array + sweep`.
    __array_ufunc__: ClassVar[None] = None

    cells: Sequence[Probe]
    varied: tuple[str, ...]
    planned: int
    failed: Mapping[Spec, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.cells)

    @overload
    def __getitem__(self, index: int) -> Probe: ...
    @overload
    def __getitem__(self, index: slice) -> Sweep: ...
    def __getitem__(self, index: int | slice) -> Probe | Sweep:
        if isinstance(index, slice):
            return self._of(self.cells[index])
        return self.cells[index]

    def __iter__(self) -> Iterator[Probe]:
        return iter(self.cells)

    def __add__(self, other: Sweep) -> Sweep:
        if not isinstance(other, Sweep):
            return NotImplemented
        both = Cells((*entries_of(self.cells), *entries_of(other.cells)))
        varied = tuple(dict.fromkeys((*self.varied, *other.varied)))
        return Sweep(both, varied, self.planned + other.planned, {**self.failed, **other.failed})

    def select(self, **fields: Any) -> Sweep:
        """The cells whose fields have one of some values.

        Args:
            **fields: For any field of the specs, or any parameter of its kinds as FIELD_PARAM (`init_sigma_w=2`), a
                value, or a list of those that will do. An activation of your own answers to its name, as tables show
                it.

        Raises:
            ValueError: For what is no field of a spec, or no kind that this field can have.

        >>> import vgcore as vg
        >>> s = vg.sweep(vg.MLP(depth=1, width=8), depth=[2, 4, 8], activation=["relu", "leaky_relu"], seeds=1)
        >>> [cell.spec.depth for cell in s.select(depth=[2, 8], activation="leaky_relu(0.01)")]
        [2, 8]
        >>> len(s.select(activation_negative_slope=0.01))
        3
        """
        entries = entries_of(self.cells)
        sorts = sorts_of(entry.spec for entry in entries)
        names = fields_of_any(sorts)
        choices = (*names, *kind_parameters(sorts))
        for name in fields:
            if name not in choices:
                some = f"{', '.join(names)}, or a parameter of theirs such as init_gain"
                raise ValueError(f"unknown field {shown(name)}{hint(name, choices)}; choose from: {some}")
        wanted = {name: field_values(name, given, sorts) for name, given in fields.items()}

        def suits(spec: Spec) -> bool:
            return all(field_of(spec, name) in values for name, values in wanted.items())

        return self._of(Cells(entry for entry in entries if suits(entry.spec)))

    def _of(self, cells: Sequence[Probe]) -> Sweep:
        """Some of the cells."""
        return Sweep(cells, self.varied, len(cells))

    def table(self) -> list[dict[str, Any]]:
        """One row a cell: the varied fields, the three factors, the first layer's gradient, and the verdict.

        Values are text, numbers, bools and None. A factor stands in three columns: `backward`, and the ends of its 95 %
        interval as `backward_low` and `backward_high`. The gradient is a power of ten, of a tied or a recurrent net
        that of all its steps. `verdict`, `direction` and `conditions` are those of `diagnose`, several conditions with
        a comma between them.

        >>> import vgcore as vg
        >>> s = vg.sweep(vg.MLP(depth=1, width=8, activation="sigmoid"), depth=[2, 40], seeds=2)
        >>> [(row["depth"], row["verdict"], row["conditions"]) for row in s.table()]
        [(2, 'healthy', ''), (40, 'vanishing', 'collapsed')]
        """
        return [plain_row(row) for row in judged_rows(self)]

    def to_dict(self, rows: Rows = "layers") -> dict[str, NDArray[Any]]:
        """Tidy columns: what a cell is, how it was measured, and what was found.

        Args:
            rows: `"layers"`: a row a (cell, seed, layer), with all that was measured; `"cells"`: a row a cell, with the
                columns of `table()`.

        Returns:
            Layers are counted from 1, input side first. `first_nonfinite_layer` counts likewise: depth + 1 stands for
            readout or loss, 0 for none. Beside the text of a kind stand its numbers, those at their defaults too:
            `init_sigma_w`, `activation_negative_slope`, `norm_eps`; nan where a cell has no such number. Columns of
            which nothing is known in any row are left out.

        >>> import vgcore as vg
        >>> s = vg.sweep(vg.MLP(depth=3, width=8), activation=["relu", "leaky_relu"], seeds=1)
        >>> s.to_dict()["layer"].tolist()
        [1, 2, 3, 1, 2, 3]
        >>> s.to_dict(rows="cells")["activation_negative_slope"].tolist()
        [nan, 0.01]
        """
        if known("rows", rows, ("layers", "cells")) == "layers":
            return table.tidy(self.cells)
        cells = list(self.cells)
        if not cells:
            return {}
        judged = [table.worded(plain_row(judged_row(cell, ()))) for cell in cells]
        found = {name: table.column_of([row[name] for row in judged]) for name in judged[0]}
        return table.informative(table.key_table(cells) | found)

    def to_pandas(self, rows: Rows = "layers") -> pd.DataFrame:
        """The tidy columns of `to_dict` as a pandas frame (extra `pandas`); its `attrs` say how layers are counted."""
        return table.to_pandas(self.to_dict(rows))

    def to_polars(self, rows: Rows = "layers") -> pl.DataFrame:
        """The tidy columns of `to_dict` as a polars frame (extra `polars`)."""
        return table.to_polars(self.to_dict(rows))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The tidy columns as an Arrow stream, for what reads the PyCapsule interface (extra `parquet`)."""
        return table.to_arrow(self.to_dict()).__arrow_c_stream__(requested_schema)

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
        failed = f", {len(self.failed)} failed" if self.failed else ""
        varied = ", ".join(self.varied) or "nothing"
        return f"Sweep({len(self.cells)} of {self.planned} cells{failed}, varied: {varied})"

    def __str__(self) -> str:
        from vgcore.show import sweep

        return sweep.text(self)


#: What may stop a sweep: the user, the machine, an executor.
STOPS: Stops = (KeyboardInterrupt, MemoryError, OSError, BrokenExecutor)


@contextmanager
def leaving(so_far: Callable[[], object], stops: Stops = STOPS) -> Iterator[None]:
    """What stops a sweep has the finished cells as its attribute `sweep`."""
    try:
        yield
    except stops as error:
        if not hasattr(error, "sweep"):
            error.sweep = so_far()  # type: ignore[attr-defined]
        raise


def judged_rows(sweep: Sweep, judged: Sequence[Judged] = ()) -> list[dict[str, Any]]:
    """The rows of `Sweep.table` with what they are of: kinds, each `Factor` as one, and conditions as a tuple.

    Args:
        sweep: The cells.
        judged: What was judged of each of them, if that is known.
    """
    known = judged or (None,) * len(sweep)
    return [judged_row(cell, sweep.varied, each) for cell, each in zip(sweep, known, strict=True)]


def plain_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row without objects."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Factor):
            found |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        else:
            found[name] = ", ".join(value) if name == "conditions" else table.scalar(value)
    return found


def judged_row(cell: Probe, varied: tuple[str, ...], judged: Judged | None = None) -> dict[str, Any]:
    """A row of `judged_rows`."""
    names = cell.spec.row_names
    first = (cell.log10_summed_wgrad_norm if names.count(names[0]) > 1 else cell.log10_wgrad_norm)[:, 0]
    if judged is None:
        from vgcore.judge.evidence import Evidence
        from vgcore.judge.verdict import findings, verdict

        evidence = Evidence(cell)
        judged = verdict(evidence, findings(evidence))
    return {
        **{name: getattr(cell.spec, name, None) for name in varied},
        **{signal: cell.factor(signal) for signal in SIGNALS},
        "first_gradient": float(np.mean(first)),
        "verdict": judged.verdict,
        "direction": judged.direction,
        "conditions": judged.conditions,
    }


def sorts_of(specs: Iterable[Spec]) -> tuple[type[Spec], ...]:
    """The sorts of some nets that have fields; of none, the plainest."""
    found = dict.fromkeys(sort for sort in map(sort_of, specs) if sort is not None)
    return tuple(found) or (SORTS["MLP"],)


def fields_of_any(sorts: Iterable[type[Spec]]) -> tuple[str, ...]:
    """The fields that any of these sorts has."""
    return tuple(dict.fromkeys(name for sort in sorts for name in TYPES[sort]))


def field_of(spec: Spec, name: str) -> Any:
    """What a net has of a field, or of a parameter FIELD_PARAM; None if its kinds have none, or do not agree on it."""
    sort = sort_of(spec)
    return getattr(spec, name) if sort and name in TYPES[sort] else table.spec_parameters(spec).get(name)


def field_values(name: str, given: Any, sorts: Sequence[type[Spec]]) -> list[Any]:
    """The values that a field or a parameter may have, as checked specs of these sorts hold them: one, or one a layer.

    Raises:
        ValueError: For a value that none of the sorts can have.
    """
    several = given if isinstance(given, list | range | np.ndarray) else [given]
    first, *others = [sort for sort in sorts if name in TYPES[sort]] or sorts[:1]
    found: list[Any] = []
    for sort in others:
        with suppress(TypeError, ValueError):
            found += _values(sort, name, several)
    if not found:
        return _values(first, name, several)
    with suppress(TypeError, ValueError):
        found += _values(first, name, several)
    return found


def _values(sort: type[Spec], name: str, several: Iterable[Any]) -> list[Any]:
    """Values as a spec of a sort holds them."""
    return [
        tuple(_held(sort, name, each) for each in value)
        if isinstance(value, list | tuple)
        else _held(sort, name, value)
        for value in several
    ]


def _held(sort: type[Spec], name: str, value: Any) -> Any:
    """A value as a spec holds it, by the type of the field."""
    kind = TYPES[sort].get(name, "float | str")
    if (value is None and ("None" in kind or kind == "Any")) or (value == "auto" and kind == "Any"):
        return value
    if name in KINDS[sort]:
        if name == "bias" and value is False:
            return False
        own = name == "activation" and isinstance(value, str)
        return KINDS[sort][name](custom.spelled(value) if own else value)
    if kind.startswith("int"):
        return integer(name, value, least=0 if name == "stem" else 1)
    if kind.startswith("bool"):
        return boolean(name, value)
    return text(name, value) if isinstance(value, str) or "float" not in kind else number(name, value, Bounds())
