"""Measured cells: `Sweep`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, overload

import numpy as np

from vgcore.measure import table
from vgcore.measure.result import SIGNALS, Probe
from vgcore.model.given import Bounds, boolean, integer, number, text
from vgcore.model.mlp import KINDS, MLP, check_names
from vgcore.model.versioned import Versioned

Stops: TypeAlias = tuple[type[BaseException], ...]

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


#: The annotation of each field of a spec.
TYPES = {field.name: str(field.type) for field in fields(MLP)}


class Stored(Protocol):
    """A cell that lies in a file."""

    @property
    def spec(self) -> MLP:
        """What was measured."""

    def read(self) -> Probe:
        """The cell."""


class Cells(Sequence[Probe]):
    """Cells of which some lie in a file, and are read each time that they are asked for."""

    def __init__(self, entries: Iterable[Probe | Stored]) -> None:
        self._entries = tuple(entries)

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> Probe: ...
    @overload
    def __getitem__(self, index: slice) -> Cells: ...
    def __getitem__(self, index: int | slice) -> Probe | Cells:
        if isinstance(index, slice):
            return Cells(self._entries[index])
        entry = self._entries[index]
        return entry if isinstance(entry, Probe) else entry.read()

    def __add__(self, other: Sequence[Probe]) -> Cells:
        return Cells((*self._entries, *_entries(other)))

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process may not have the file.
        return tuple, (list(self),)


def _entries(cells: Sequence[Probe]) -> Sequence[Probe | Stored]:
    return cells._entries if isinstance(cells, Cells) else cells  # noqa: SLF001


@dataclass(frozen=True, eq=False)
class Sweep(Versioned):
    """The finished cells of a sweep, in the order of the grid.

    `s[3]` is a cell, `s[10:20]` a sweep of some, `s + t` one of both, and `s.select(depth=8)` one of those that it
    names.

    Attributes:
        cells: One `Probe` a spec. Those of a store are read from its file each time that they are asked for.
        varied: The fields that the grid varied, slowest first.
        planned: Cells that the grid has; more than `cells` after an interrupt.
        failed: What went wrong, by the spec of each cell that could not be measured; in a sweep with a store alone.
    """

    #: An array of NumPy does not take a sweep for a list of numbers in `array + sweep`.
    __array_ufunc__: ClassVar[None] = None

    cells: Sequence[Probe]
    varied: tuple[str, ...]
    planned: int
    failed: Mapping[MLP, str] = field(default_factory=dict)

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
        both = Cells((*_entries(self.cells), *_entries(other.cells)))
        varied = tuple(dict.fromkeys((*self.varied, *other.varied)))
        return Sweep(both, varied, self.planned + other.planned, {**self.failed, **other.failed})

    def select(self, **fields: Any) -> Sweep:
        """The cells whose fields have one of some values.

        Args:
            **fields: For any field of `MLP` a value, or a list of those that will do.

        Raises:
            ValueError: For what is no field of a spec, or no kind that this field can have.

        >>> import vgcore as vg
        >>> s = vg.sweep(vg.MLP(depth=1, width=8), depth=[2, 4, 8], activation=["relu", "leaky_relu"], seeds=1)
        >>> [cell.spec.depth for cell in s.select(depth=[2, 8], activation="leaky_relu(0.01)")]
        [2, 8]
        """
        check_names(fields)
        wanted = {name: _values(name, given) for name, given in fields.items()}
        entries = _entries(self.cells)

        def suits(spec: MLP) -> bool:
            return all(getattr(spec, name) in values for name, values in wanted.items())

        return self._of(Cells(entry for entry in entries if suits(entry.spec)))

    def _of(self, cells: Sequence[Probe]) -> Sweep:
        """Some of the cells."""
        return Sweep(cells, self.varied, len(cells))

    def table(self) -> list[dict[str, Any]]:
        """One row a cell: the varied fields, the three factors, the first layer's gradient, and the verdict.

        The gradient is a power of ten, of a tied net that of all its steps. `verdict`, `direction` and `conditions` are
        those of `diagnose`.
        """
        return [_row(cell, self.varied) for cell in self]

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
        failed = f", {len(self.failed)} failed" if self.failed else ""
        varied = ", ".join(self.varied) or "nothing"
        return f"Sweep({len(self.cells)} of {self.planned} cells{failed}, varied: {varied})"


#: What may stop a sweep: the user, the machine, an executor.
STOPS: Stops = (KeyboardInterrupt, MemoryError, OSError, BrokenExecutor)


@contextmanager
def leaving(so_far: Callable[[], Sweep], stops: Stops = STOPS) -> Iterator[None]:
    """What stops a sweep has the finished cells as its attribute `sweep`."""
    try:
        yield
    except stops as error:
        if not hasattr(error, "sweep"):
            error.sweep = so_far()  # type: ignore[attr-defined]
        raise


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


def _values(name: str, given: Any) -> list[Any]:
    """The values that a field may have, as a checked spec holds them: one, or one a layer."""
    several = given if isinstance(given, list | range | np.ndarray) else [given]
    return [
        tuple(_held(name, each) for each in value) if isinstance(value, list | tuple) else _held(name, value)
        for value in several
    ]


def _held(name: str, value: Any) -> Any:
    """A value as a spec holds it, by the type of the field."""
    kind = TYPES[name]
    if value is None and "None" in kind:
        return None
    if name in KINDS:
        return KINDS[name].kind(value)
    if kind.startswith("int"):
        return integer(name, value, least=1)
    if kind.startswith("bool"):
        return boolean(name, value)
    return text(name, value) if isinstance(value, str) or "float" not in kind else number(name, value, Bounds())
