"""Tidy rows, frames and files."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore._core import COLUMNS
from vgcore.measure import files
from vgcore.model import custom, sorts
from vgcore.model.given import array as as_array
from vgcore.model.given import out_of_bounds
from vgcore.model.given import path as as_path
from vgcore.model.kind import Kind, Loss
from vgcore.model.optimizer import Optimizer, Schedule
from vgcore.model.spec import Spec

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from vgcore.measure.result import Probe
    from vgcore.model.network import Network

#: Values of parameters by FIELD_PARAM.
Parameters: TypeAlias = dict[str, "float | str"]


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
#: A column that counts layers from 1 has another name than what counts them from 0.
FROM_1 = {"first_nonfinite": "first_nonfinite_layer"}
#: What a frame of pandas and a Parquet file say beside their columns.
NOTES = {
    "layer": "hidden layers, counted from 1 at the input",
    "first_nonfinite_layer": "counted as layer is; one more than there are: readout or loss; 0: every value was finite",
}
#: What these columns are. Parquet files say it; others by the column that their layers go by.
LAYOUT = {"vgcore_layout": "2"}
LAYOUTS = {"1": "first_nonfinite", "2": "first_nonfinite_layer"}
#: Sorts of specs that frames and files name.
UNUSUAL = {"RNN", "Transformer"}
#: Rows that are written at once: an interrupt waits for no more.
SLICE = 1024


def tidy(cells: Sequence[Probe]) -> dict[str, NDArray[Any]]:
    """One row a (cell, seed, layer): what the cell is, then what was measured. Layers are counted from 1.

    A column of which nothing is known in any row is left out. Every row says how many cells, seeds and columns there
    are, so that what is lost is missed.
    """
    cells = list(cells)  # those of a store are read each time
    if not cells:
        return {}
    rows = [cell.log10_z_rms.size for cell in cells]
    columns = {name: np.repeat(column, rows) for name, column in key_table(cells).items()}
    columns["cell"] = np.repeat(np.arange(len(cells)), rows)
    columns["cells"] = np.full(sum(rows), len(cells))
    columns["seed"] = np.concatenate([np.repeat(cell.seeds, cell.spec.rows) for cell in cells])
    columns["layer"] = np.concatenate([np.tile(np.arange(1, cell.spec.rows + 1), len(cell.seeds)) for cell in cells])
    for name in COLUMNS:
        columns[name] = np.concatenate([getattr(cell, name).ravel() for cell in cells])
    for name in dict.fromkeys(name for cell in cells for name in cell.extra):
        lacking = [cell.extra.get(name, np.full_like(cell.log10_z_rms, math.nan)) for cell in cells]
        columns[name] = np.concatenate([column.ravel() for column in lacking])
    for name in OF_RUN:
        values = np.concatenate([np.repeat(getattr(cell, name), cell.spec.rows) for cell in cells])
        columns[FROM_1.get(name, name)] = values + (name in FROM_1)
    columns = informative(columns)
    return columns | {"columns": np.full(sum(rows), len(columns) + 1)}


def informative(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The columns that say something in some row."""

    def empty(column: NDArray[Any]) -> bool:
        if column.dtype == object:
            return all(value is None for value in column)
        return column.dtype.kind == "f" and bool(np.isnan(column).all())

    return {name: column for name, column in columns.items() if not empty(column)}


def key_table(cells: Sequence[Probe]) -> dict[str, NDArray[Any]]:
    """What cells are and how they were measured, a row a cell, and the parameters that any of them has."""
    keys = [key_columns(cell, data) for cell, data in zip(cells, data_ids(cells), strict=True)]
    return with_parameters(keys, [parameters(cell) for cell in cells])


def with_parameters(rows: Sequence[dict[str, Any]], params: Sequence[Parameters]) -> dict[str, NDArray[Any]]:
    """Rows as columns, each kind followed by those of its parameters that are numbers, nan in a row that lacks one.

    The column `net`, the sort of a spec, is left out where none is of an unusual sort.
    """
    names = dict.fromkeys(name for each in params for name, value in each.items() if not isinstance(value, str))
    fields = {column: field for field, column in sorts.COLUMNS.items()}
    columns: dict[str, NDArray[Any]] = {}
    for column in dict.fromkeys(column for row in rows for column in row):
        columns[column] = column_of([row.get(column) for row in rows])
        for name in names:
            if name.startswith(f"{fields.get(column, column)}_"):
                columns[name] = np.array([each.get(name, math.nan) for each in params])
    if not {*columns["net"]} & UNUSUAL:
        del columns["net"]
    return columns


def key_columns(cell: Probe, data: str) -> dict[str, Any]:
    """What a cell is and how it was measured, on data of this id."""
    keys = spec_columns(cell.spec)
    if cell.network is not None:
        keys |= {"init": OWN}
    start = {"loss": cell.loss or "none", "reduction": cell.reduction or "none", "data": data}
    return keys | {"dtype": cell.dtype, "batch": cell.batch} | start | {"seeds": len(cell.seeds)}


def parameters(cell: Probe) -> Parameters:
    """The parameters of the kinds of a cell, as `init_gain`."""
    found = spec_parameters(cell.spec, own=cell.network is not None)
    return found | (params_of("loss", cell.loss) if cell.loss else {})


def spec_columns(spec: Spec) -> dict[str, Any]:
    """What a net is, as text where a field has names; `None` is `none` there."""
    sort = sorts.sort_of(spec)
    keys: dict[str, Any] = {"cell_id": spec.id, "net": (sort or type(spec)).__name__}
    fields = spec.to_dict()
    fields.pop("tables", None)  # Samples of functions, whose names stand under "activation".
    if "parts" in fields:  # which say what an MLP has fields for
        fields = {"depth": spec.depth, "width": spec.width, "out_features": spec.out_features} | fields
    for name, value in fields.items():
        # A missing name would drop out of every group-by.
        named = value is None and sort is not None and sorts.is_name(sort, name)
        keys[sorts.COLUMNS.get(name, name)] = "none" if named else scalar(value)
    return keys


def scalar(value: Any) -> Any:
    """A value of a field as text, a number, a bool or None; several as text, with a space between.

    >>> import vgcore as vg
    >>> scalar((vg.Norm("layer"), None)), scalar(8), scalar(None)
    ('layer none', 8, None)
    """
    if isinstance(value, list | tuple):
        return " ".join("none" if each is None else custom.named(str(each)) for each in value)
    return custom.named(str(value)) if isinstance(value, str) else value


def worded(row: dict[str, Any]) -> dict[str, Any]:
    """A row of verdicts in which no word is missing: it would drop out of every group-by."""
    return row | {name: row[name] or "none" for name in ("direction", "conditions") if name in row}


def spec_parameters(spec: Spec, *, own: bool = False) -> Parameters:
    """The parameters of the kinds of a net, each under its field and its own name, those at their defaults too.

    Where the layers have several kinds, a value stands for all that have it, if they agree.

    Args:
        spec: The net.
        own: Whether its weights were given: no init has drawn them.

    >>> import vgcore as vg
    >>> spec = vg.MLP(depth=2, width=4, activation=["relu", "leaky_relu"], init="mean_field(1.5, 0.05)")
    >>> spec_parameters(spec)
    {'activation_negative_slope': 0.01, 'init_sigma_w': 1.5, 'init_sigma_b': 0.05, 'init_gain': 1.0}
    """
    found: Parameters = {}
    for name in sorts.KINDS_OF_ANY:
        if own and name == "init":
            continue
        value = getattr(spec, name, None)
        texts = dict.fromkeys(str(each) for each in _each(value) if isinstance(each, Kind))
        every = [params_of(name, text) for text in texts]
        for param in dict.fromkeys(param for each in every for param in each):
            values = {each[param] for each in every if param in each}
            if len(values) == 1:
                found |= {param: values.pop()}
    return found


def _each(value: Any) -> tuple[Any, ...]:
    """The values of layers, or the one of all."""
    return value if isinstance(value, tuple) else (value,)


@lru_cache(maxsize=4096)
def params_of(field: str, text: str) -> Parameters:
    """The parameters of a kind by field and name: numbers, and words for what is chosen."""
    kind = {"loss": Loss, "optimizer": Optimizer, "schedule": Schedule}.get(field) or sorts.KINDS_OF_ANY[field]
    params = kind.of_field(text).params
    return {f"{field}_{name}": v if isinstance(v, str) else float(v) for name, v in params.items()}


class Unkept:
    """Samples or targets of a sweep that was read back without them: their id is known, their numbers are not."""

    def __init__(self, name: str, data: str, why: str) -> None:
        self.name = name
        self.data = data
        self.why = why

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


def data_ids(cells: Sequence[Probe]) -> list[str]:
    """The id of the data of each cell, worked out once for those that share them."""
    given = {(id(cell.x), id(cell.y)): cell for cell in cells}
    data = {key: data_id(cell.x, cell.y) for key, cell in given.items()}
    return [data[id(cell.x), id(cell.y)] for cell in cells]


def weights_id(network: Network) -> str:
    """16 hex digits of the numbers of a net."""
    found = hashlib.sha256(network.dtype.encode())
    for part in network._weights.parts():  # noqa: SLF001 (its numbers, in few arrays)
        found.update(np.ascontiguousarray(part).data)
    return found.hexdigest()[:16]


def start(cell: Probe) -> str:
    """What the backward pass began with, in words: every norm of a gradient is relative to it."""
    return f"{cell.loss} loss ({cell.reduction})" if cell.loss else "random cotangent"


def column_of(values: list[Any]) -> NDArray[Any]:
    """An array of one type: text where any value is text, numbers otherwise; None stays None."""
    if any(isinstance(value, str) for value in values):
        values = [None if value is None else str(value) for value in values]
    known = {type(value) for value in values}
    return np.array(values, dtype=None if known <= {bool} or known <= {int, float} else object)


def to_pandas(columns: dict[str, NDArray[Any]]) -> pd.DataFrame:
    """Columns as a pandas frame, whose `attrs` say how layers are counted; whole numbers stay so where some lack."""
    pandas = optional("pandas", "pandas")
    frame: pd.DataFrame = pandas.DataFrame(
        {name: pandas.array(v.tolist(), dtype="Int64") if _are_whole(v) else v for name, v in columns.items()}
    )
    frame.attrs |= {name: note for name, note in NOTES.items() if name in columns}
    return frame


def _are_whole(column: NDArray[Any]) -> bool:
    """Are these whole numbers, of which some lack?"""
    return column.dtype == object and not any(isinstance(value, str) for value in column)


def to_polars(columns: dict[str, NDArray[Any]]) -> pl.DataFrame:
    """Columns as a polars frame."""
    polars = optional("polars", "polars")
    frame: pl.DataFrame = polars.DataFrame(
        {name: v.tolist() if v.dtype == object else v for name, v in columns.items()}
    )
    return frame


def to_arrow(columns: dict[str, NDArray[Any]]) -> Any:
    """Columns as a table of pyarrow, which says how layers are counted; a missing number is null."""
    arrow = optional("pyarrow", "parquet")
    notes = {f"vgcore_{name}": note for name, note in NOTES.items() if name in columns}
    arrays = {name: arrow.array(v.tolist() if v.dtype == object else v) for name, v in columns.items()}
    return arrow.table(arrays, metadata=LAYOUT | notes)


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
    def or_null(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    with path.open("w", encoding="utf-8") as file:
        opening = "{"
        for name, column in (columns | _infinite(columns)).items():
            file.write(f"{opening}{json.dumps(name)}: ")
            opening, between = ", ", "["
            for rows in _slices(columns):
                file.write(between + json.dumps([or_null(value) for value in column[rows].tolist()])[1:-1])
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
    table = to_arrow(columns)
    with optional("pyarrow.parquet", "parquet").ParquetWriter(path, table.schema) as file:
        for first in range(0, table.num_rows, 16 * SLICE):
            file.write_table(table.slice(first, 16 * SLICE))


_WRITERS = {".csv": _save_csv, ".json": _save_json, ".parquet": _save_parquet}
