"""Tidy rows, frames and files."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore._core import COLUMNS
from vgcore.measure import files
from vgcore.model.given import array as as_array
from vgcore.model.given import out_of_bounds
from vgcore.model.given import path as as_path
from vgcore.model.kind import Init
from vgcore.model.mlp import KINDS

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from vgcore.measure.result import Probe


def optional(module: str, extra: str) -> Any:
    """Import a library that only some uses need; say which extra brings it."""
    try:
        return import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise ImportError(f"this needs {name}; install it with: pip install 'vgcore[{extra}]'") from error


#: Where the weights of every run were given.
OWN = "own weights"
#: Where samples were drawn and there are no targets.
DRAWN = "none"
#: What was measured of a run, which stands in the row of each of its layers.
OF_RUN = ("first_nonfinite", "log10_total_grad_norm", "log10_output_rms", "loss_value")
#: What these columns are; Parquet files say it, others by the names of their columns.
LAYOUT = {"vgcore_layout": "1"}
#: Rows that are written at once: an interrupt waits for no more.
SLICE = 1024


def tidy(cells: Sequence[Probe]) -> dict[str, NDArray[Any]]:
    """One row a (cell, seed, layer): what the cell is, then what was measured.

    Every row says how many cells and how many seeds there are, so that rows which are lost are missed.
    """
    cells = list(cells)  # those of a store are read each time
    if not cells:
        return {}
    given = {(id(cell.x), id(cell.y)): cell for cell in cells}
    data = {key: data_id(cell.x, cell.y) for key, cell in given.items()}
    keys = [key_columns(cell, data[id(cell.x), id(cell.y)]) for cell in cells]
    rows = [cell.log10_z_rms.size for cell in cells]
    columns = {name: np.repeat(_column([key[name] for key in keys]), rows) for name in keys[0]}
    columns["cell"] = np.repeat(np.arange(len(cells)), rows)
    columns["cells"] = np.full(sum(rows), len(cells))
    columns["seed"] = np.concatenate([np.repeat(cell.seeds, cell.spec.depth) for cell in cells])
    columns["layer"] = np.concatenate([np.tile(np.arange(cell.spec.depth), len(cell.seeds)) for cell in cells])
    for name in COLUMNS:
        columns[name] = np.concatenate([getattr(cell, name).ravel() for cell in cells])
    for name in OF_RUN:
        columns[name] = np.concatenate([np.repeat(getattr(cell, name), cell.spec.depth) for cell in cells])
    return columns


def key_columns(cell: Probe, data: str) -> dict[str, Any]:
    """What a cell is and how it was measured, on data of this id."""
    keys: dict[str, Any] = {"cell_id": cell.spec.id}
    for name, value in cell.spec.to_dict().items():
        if name == "tables":  # Samples of functions, whose names stand under "activation".
            continue
        keys[name] = " ".join(map(str, value)) if isinstance(value, list) else value
        # A missing name would drop out of every group-by.
        if value is None and name in KINDS:
            keys[name] = "none"
        if name == "init":
            # Several inits have no gain in common.
            inits = [value] if isinstance(value, str) else value
            keys["gain"] = Init(inits[0]).params.get("gain", math.nan) if len(inits) == 1 else math.nan
    if cell.network is not None:
        keys |= {"init": OWN, "gain": math.nan}
    start = {"loss": cell.loss or "none", "reduction": cell.reduction or "none", "data": data}
    return keys | {"dtype": cell.dtype, "batch": cell.batch} | start | {"seeds": len(cell.seeds)}


class Unkept:
    """Samples or targets of a sweep that was read back without them: their id is known, their numbers are not."""

    def __init__(self, name: str, data: str, why: str) -> None:
        self.name, self.data, self.why = name, data, why

    def __array__(self, *_: object, **__: object) -> NDArray[Any]:
        raise ValueError(f"this needs {self.name}, the data that it was measured on (id {self.data}): {self.why}")


def data_id(x: ArrayLike | None, y: ArrayLike | None) -> str:
    """16 hex digits of given samples and targets, by shape and values; `DRAWN` without any.

    >>> data_id([[1, 2]], None) == data_id(np.array([[1.0, 2.0]]), None) != data_id([[1], [2]], None)
    True
    """
    if x is None and y is None:
        return DRAWN
    for given in (x, y):
        if isinstance(given, Unkept):
            return given.data
    found = hashlib.sha256()
    for name, given in (("x", x), ("y", y)):
        if given is not None:
            array = as_array(name, given, kinds="biufUSTO")
            found.update(f"{array.shape}".encode())
            # Names of classes are text, or objects; numbers count by value, not by dtype.
            if array.dtype.kind in "biuf":
                with np.errstate(over="ignore"):  # The core says what is not finite.
                    found.update(np.ascontiguousarray(array, "<f8").data)
            else:
                found.update("\0".join(map(str, array.ravel())).encode(errors="surrogatepass"))
        found.update(b";")
    return found.hexdigest()[:16]


def start(cell: Probe) -> str:
    """What the backward pass began with, in words: every norm of a gradient is relative to it."""
    return f"{cell.loss} loss ({cell.reduction})" if cell.loss else "random cotangent"


def _column(values: list[Any]) -> NDArray[Any]:
    """An array of one type: text where any value is text, numbers otherwise; None stays None."""
    if any(isinstance(value, str) for value in values):
        values = [None if value is None else str(value) for value in values]
    known = {type(value) for value in values}
    return np.array(values, dtype=None if known <= {bool} or known <= {int, float} else object)


def to_pandas(cells: Sequence[Probe]) -> pd.DataFrame:
    """The tidy columns as a pandas frame."""
    frame: pd.DataFrame = optional("pandas", "pandas").DataFrame(tidy(cells))
    return frame


def to_polars(cells: Sequence[Probe]) -> pl.DataFrame:
    """The tidy columns as a polars frame."""
    polars = optional("polars", "polars")
    columns = {name: v.tolist() if v.dtype == object else v for name, v in tidy(cells).items()}
    frame: pl.DataFrame = polars.DataFrame(columns)
    return frame


def to_arrow(cells: Sequence[Probe]) -> Any:
    """The tidy columns as a table of pyarrow; a missing number is null."""
    return _arrow_table(tidy(cells))


def _arrow_table(columns: dict[str, NDArray[Any]]) -> Any:
    arrow = optional("pyarrow", "parquet")

    def array(column: NDArray[Any]) -> Any:
        if column.dtype != object:
            return arrow.array(column)
        values = column.tolist()
        # Where no cell has a number there is nothing to tell its type from: what may lack are whole numbers.
        return arrow.array(values, arrow.int64() if all(value is None for value in values) else None)

    return arrow.table({name: array(column) for name, column in columns.items()}, metadata=LAYOUT)


def writer(path: str | os.PathLike[str]) -> Callable[[Path, dict[str, NDArray[Any]]], None]:
    """What writes a file of this ending; an error before any work where nothing does."""
    target = as_path("the output file", path)
    if target.suffix.lower() not in _WRITERS:
        raise out_of_bounds("the output file", f"one that ends in {', '.join(_WRITERS)}", target.name)
    if target.suffix.lower() == ".parquet":
        optional("pyarrow", "parquet")
    return _WRITERS[target.suffix.lower()]


def save(cells: Sequence[Probe], path: str | os.PathLike[str]) -> None:
    """Write the tidy columns as csv, json or parquet, chosen by the ending."""
    write = writer(path)
    if not cells:
        raise ValueError("there is no cell to save")
    target = Path(path)
    if target.is_file():
        with files.naming(path), target.open("rb") as file:
            if file.read(16) == b"SQLite format 3\0":
                raise ValueError(f"'{target}' is a store, which a table would take the place of; choose another name")
    columns = tidy(cells)
    with files.replacing(path) as temporary:
        write(temporary, columns)


def _slices(columns: dict[str, NDArray[Any]]) -> Iterator[slice]:
    """Rows, some at a time."""
    rows = len(next(iter(columns.values()), ()))
    return (slice(first, first + SLICE) for first in range(0, rows, SLICE))


def _save_csv(path: Path, columns: dict[str, NDArray[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for rows in _slices(columns):
            writer.writerows(zip(*(column[rows].tolist() for column in columns.values()), strict=True))


def _save_json(path: Path, columns: dict[str, NDArray[Any]]) -> None:
    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    with path.open("w", encoding="utf-8") as file:
        opening = "{"
        for name, column in (columns | _infinite(columns)).items():
            file.write(f"{opening}{json.dumps(name)}: ")
            opening, between = ", ", "["
            for rows in _slices(columns):
                file.write(between + json.dumps([plain(value) for value in column[rows].tolist()])[1:-1])
                between = ", "
            file.write("]")
        file.write("}")


def _infinite(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Which columns of a row are infinite, as in "-log10_delta_rms": JSON has null for both them and nan."""
    words = np.full(len(next(iter(columns.values()))), "", dtype=object)
    for name, column in columns.items():
        if column.dtype.kind == "f":
            words[np.isposinf(column)] += f" +{name}"
            words[np.isneginf(column)] += f" -{name}"
    return {"infinite": words} if words.any() else {}


def _save_parquet(path: Path, columns: dict[str, NDArray[Any]]) -> None:
    table = _arrow_table(columns)
    with optional("pyarrow.parquet", "parquet").ParquetWriter(path, table.schema) as file:
        for first in range(0, table.num_rows, 16 * SLICE):
            file.write_table(table.slice(first, 16 * SLICE))


_WRITERS = {".csv": _save_csv, ".json": _save_json, ".parquet": _save_parquet}
