"""A sweep from a file that `Sweep.save` wrote: `read_sweep`."""

from __future__ import annotations

import csv
import itertools
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore._core import COLUMNS
from vgcore.measure import table
from vgcore.measure.cells import Sweep
from vgcore.measure.extra import EXTRA
from vgcore.measure.result import Probe
from vgcore.model import custom
from vgcore.model.given import out_of_bounds, printable, shown
from vgcore.model.given import path as as_path
from vgcore.model.kind import Loss
from vgcore.model.sorts import COLUMNS as COLUMN_OF
from vgcore.model.sorts import FIELDS, KINDS_OF_ANY, SORTS, TYPES, is_name
from vgcore.model.spec import Spec

Columns = dict[str, Any]

_INTEGERS = ("cell", "cells", "seeds", "batch", "layer")
_MEASURES = (*COLUMNS, *(name for name in table.OF_RUN if name not in table.FROM_1))
_KEYS = ("cell_id", "net", "dtype", "loss", "reduction", "data")
#: The columns that say what nets are, by their sort.
_FIELDS = {name: tuple(COLUMN_OF.get(field, field) for field in TYPES[sort]) for name, sort in SORTS.items()}
_TEXTS = {*_KEYS, *(column for columns in _FIELDS.values() for column in columns)}
_FLAGS = {name for types in TYPES.values() for name, kind in types.items() if kind == "bool"}
#: What is left out where nothing is known of it in any row.
_OMITTED = ("in_features", "out_features", "truncate", *_MEASURES)
#: Fields of nets that came later than the first saved sweeps, as files say their defaults.
_LATER = {"net": "MLP", "stem": "0", "final_norm": "none", "dropout": "0.0"}
#: The further columns of a layout. The first has all of them and counts layers from 0; the second says how many there
#: are.
_NAMES = {
    "1": ("gain", *_INTEGERS, table.LAYOUTS["1"], "seed", *_MEASURES),
    "2": (*_INTEGERS, table.LAYOUTS["2"], "columns", "seed", *_MEASURES),
}
#: Numbers of kinds, such as `init_sigma_w`, which files of the second layout have.
_PARAMETER = re.compile(rf"({'|'.join((*KINDS_OF_ANY, 'loss'))})_[A-Za-z]\w*")

#: Ways to read the names of own activations that are tried.
_MOST = 1000


def read_sweep(path: str | os.PathLike[str], *, x: ArrayLike | None = None, y: ArrayLike | None = None) -> Sweep:
    """Read back what `Sweep.save` wrote, every number to its last bit; it is drawn and judged as the sweep was.

    Files of older versions, which have a column `first_nonfinite` and count layers from 0, are read as what they are.

    Args:
        path: A `.csv`, `.json` or `.parquet` file (extra `parquet`) with all its rows and columns. Activations of your
            own stand there by name; make them before, as they were.
        x: The samples that it was measured on, where they were given. No file holds them: without them a sweep can be
            drawn, but not judged.
        y: The targets, likewise.

    Returns:
        The cells in the order of the file. `varied` are the fields that differ between them, the one that changes
        least often first; what was planned beside them, no file knows. A list of one value is read as the value.

    Raises:
        ValueError: For a file that is no saved sweep, that lacks rows or columns, or has others; for nets with
            weights of their own, which no file holds; for activations of your own that this process does not know;
            for x and y that no cell was measured on.
        OSError: Where the file cannot be read.

    >>> import tempfile, vgcore as vg
    >>> s = vg.sweep(vg.MLP(depth=1, width=8), depth=[4, 8], activation=["tanh", "relu"], seeds=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     s.save(f"{folder}/runs.csv")
    ...     again = vg.read_sweep(f"{folder}/runs.csv")
    >>> again
    Sweep(4 of 4 cells, varied: depth, activation)
    >>> bool((again[3].log10_delta_rms == s[3].log10_delta_rms).all())
    True
    """
    source = as_path("a saved sweep", path)
    reader = _READERS.get(source.suffix.lower())
    if reader is None:
        raise out_of_bounds("a saved sweep", f"a file that ends in {', '.join(_READERS)}", source.name)
    given = table.data_id(x, y)
    try:
        cells = _cells(_typed(reader(source)), given, x, y)
    except (csv.Error, ValueError) as error:
        raise ValueError(f"cannot read '{source}' as a saved sweep: {error}") from error
    return Sweep(tuple(cells), _varied([cell.spec for cell in cells]), len(cells))


# Files


def _read_csv(path: Path) -> Columns:
    with path.open("rb") as file:
        size = path.stat().st_size
        if not size:
            raise ValueError("it is empty")
        # A number that lost its last digits is a number still.
        file.seek(size - 1)
        if file.read() != b"\n":
            raise ValueError("it is not whole: its last line has no end")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = (row for row in csv.reader(file) if row)  # An editor may have left an empty line.
        names = next(reader, [])
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
        for first in itertools.count(2, table.SLICE):
            if not (rows := list(itertools.islice(reader, table.SLICE))):
                break
            if torn := next((i for i, row in enumerate(rows, first) if len(row) != len(names)), None):
                raise ValueError(f"line {torn} has {len(rows[torn - first])} of {len(names)} columns")
            for name, values in zip(names, zip(*rows, strict=True), strict=True):
                parts[name].append(_of_text(name, values))
    return {name: np.concatenate(found) if found else np.array([]) for name, found in parts.items()}


def _of_text(name: str, values: Sequence[str]) -> NDArray[Any]:
    """A column's values from what a csv file says; what is missing is empty there."""
    if _is_number(name):
        return np.array([value or "nan" for value in values], dtype=np.float64)
    if _is_whole(name):
        return np.array(list(map(int, values)), dtype=np.uint64 if name == "seed" else np.int64)
    if name in _FLAGS:
        return np.array([{"true": True, "false": False}.get(value.lower(), value) for value in values], dtype=object)
    return np.array([sys.intern(value) or None for value in values], dtype=object)


def _is_number(name: str) -> bool:
    """Has the column numbers, of which some may be unknown?"""
    return name in {*_MEASURES, *EXTRA, "gain"} or _is_parameter(name)


def _is_parameter(name: str) -> bool:
    """Has the column a number of a kind?"""
    return name not in _TEXTS and name not in _NAMES["2"] and _PARAMETER.fullmatch(name) is not None


def _is_whole(name: str) -> bool:
    """Has the column whole numbers?"""
    return name in {*_INTEGERS, *table.LAYOUTS.values(), "columns", "seed"}


def _read_json(path: Path) -> Columns:
    columns = json.loads(path.read_text(encoding="utf-8"))
    if not (isinstance(columns, dict) and all(isinstance(values, list) for values in columns.values())):
        raise ValueError("it is no object of columns")
    infinite = columns.pop("infinite", ())
    for name in filter(_is_number, columns):
        columns[name] = np.array(columns[name], dtype=np.float64)
    try:
        for row, words in enumerate(infinite):
            for word in words.split():
                columns[word[1:]][row] = float(f"{word[0]}inf")
    except (AttributeError, LookupError, TypeError):
        raise ValueError("its column infinite is no words of signs and columns") from None
    return columns


def _read_parquet(path: Path) -> Columns:
    parquet = table.optional("pyarrow.parquet", "parquet")
    with path.open("rb") as file:
        try:
            found = parquet.read_table(file)
        except OSError as error:  # of pages that are damaged, and names no file
            raise ValueError(printable(str(error), 240)) from error
    # What other libraries write says nothing of it.
    layout = (found.schema.metadata or {}).get(b"vgcore_layout", b"").decode()
    if layout not in {"", *table.LAYOUTS}:
        raise ValueError(f"its layout is {layout}, and this version of vgcore reads {', '.join(table.LAYOUTS)}")
    if layout and table.LAYOUTS[layout] not in found.column_names:
        raise ValueError(f"it has no column {table.LAYOUTS[layout]}")
    return {
        name: column.to_pylist() if name in _TEXTS else column.to_numpy()
        for name, column in zip(found.column_names, found.columns, strict=True)
    }


_READERS: dict[str, Callable[[Path], Columns]] = {".csv": _read_csv, ".json": _read_json, ".parquet": _read_parquet}


# Cells


def _typed(columns: Columns) -> Columns:
    """All columns, and no others, of equal length, as arrays of their types, layers counted from 1."""
    if "parts" in columns:
        raise ValueError("it is of a Sequential, which no sweep varies")
    rows, many = len(columns.get("cell", ())), len(columns)
    layout = _layout(columns)
    names = (*_KEYS, *_fields(columns.get("net", ["MLP"])), *_NAMES[layout])
    known = {*names} | {name for name in columns if layout == "2" and (name in EXTRA or _is_parameter(name))}
    if unknown := [name for name in columns if name not in known]:
        raise ValueError(f"it has unknown columns: {_some(list(map(shown, unknown)))}")
    later: Columns = {name: [default] * rows for name, default in _LATER.items() if name in names}
    columns = later | columns
    missing = [name for name in names if name not in columns]
    if layout == "2":
        if "columns" not in columns:
            raise ValueError(f"it has no column {'columns' if table.LAYOUTS['2'] in columns else table.LAYOUTS['2']}")
        if (written := next((count for count in columns["columns"] if count != many), many)) != many:
            raise ValueError(f"it is not whole: it has {many} of {written} columns")
        for name in filter(names.__contains__, _OMITTED):
            columns.setdefault(name, np.full(rows, math.nan) if name in _MEASURES else np.full(rows, None))
        missing = [name for name in missing if name not in _OMITTED]
    if missing:
        raise ValueError(f"it has no column {_some(missing)}")
    if len({len(values) for values in columns.values()}) != 1:
        raise ValueError("its columns differ in length")
    typed = {name: _as_array(name, values) for name, values in columns.items()}
    if layout == "1":
        del typed["gain"]  # which the text of the init says
        typed["layer"] += 1
        typed[table.LAYOUTS["2"]] = typed.pop(table.LAYOUTS["1"]) + 1
    return typed


def _fields(nets: Iterable[str | None]) -> tuple[str, ...]:
    """The columns that say what nets of these sorts are."""
    sorts = dict.fromkeys(nets)
    if unknown := [sort for sort in sorts if sort not in SORTS]:
        raise ValueError(f"it is of nets that this version of vgcore does not know: {_some(list(map(shown, unknown)))}")
    return tuple(dict.fromkeys(column for sort in SORTS if sort in sorts for column in _FIELDS[sort]))


def _layout(columns: Columns) -> str:
    """How layers are counted: the column that names one says it, which no file lacks and no file has twice."""
    found = [layout for layout, name in table.LAYOUTS.items() if name in columns]
    if len(found) > 1:
        raise ValueError(f"it has both columns {' and '.join(table.LAYOUTS.values())}, which count layers differently")
    return found[0] if found else "2"


def _as_array(name: str, values: Any) -> NDArray[Any]:
    """A column as an array of its type."""
    if _is_number(name):
        return np.asarray(values, dtype=np.float64)
    if not _is_whole(name):
        return np.array(values, dtype=object)
    if np.asarray(values).dtype.kind not in "iu" and not all(type(value) is int for value in values):
        raise ValueError(f"{name} is not all whole numbers")
    return np.array(values, dtype=np.uint64 if name == "seed" else np.int64)


def _some(names: Sequence[str]) -> str:
    """The first names of a list, which may be long."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _cells(columns: Columns, given: str, x: ArrayLike | None, y: ArrayLike | None) -> list[Probe]:
    """The cells, each with all its rows."""
    index = columns["cell"]
    if not len(index):
        raise ValueError("it has no rows")
    borders = [0, *(np.flatnonzero(np.diff(index)) + 1).tolist(), len(index)]
    count = int(columns["cells"][0])
    if index[borders[:-1]].tolist() != list(range(count)) or (columns["cells"] != count).any():
        raise ValueError(f"it is not whole: it has {len({*index.tolist()})} of {count} cells, or not in order")
    cells = [_cell(_rows(columns, *ends), i, given, x, y) for i, ends in enumerate(itertools.pairwise(borders))]
    if given not in {table.DRAWN, *columns["data"]}:
        raise ValueError("x and y are not those that it was measured on")
    return cells


def _rows(columns: Columns, first: int, end: int) -> Columns:
    """Some rows of all columns."""
    return {name: values[first:end] for name, values in columns.items()}


def _check_rows(part: Columns, cell: int, spec: Spec) -> None:
    """Refuse the rows of a cell that are not as many as its net has, seed after seed."""
    seeds, rows = int(part["seeds"][0]), spec.rows
    if len(part["layer"]) != seeds * rows:
        raise ValueError(f"it is not whole: cell {cell} has {len(part['layer'])} of {seeds * rows} rows")
    runs = part["seed"].reshape(seeds, rows)
    of_run = [table.FROM_1.get(name, name) for name in table.OF_RUN]
    once = [*filter(part.__contains__, _TEXTS), "seeds", "batch", *filter(_is_parameter, part)]
    if (
        (part["layer"] != np.tile(np.arange(1, rows + 1), seeds)).any()
        or (runs != runs[:, :1]).any()
        or any(not _equal(part[name], part[name][0]) for name in once)
        or any(not _equal(part[name].reshape(seeds, rows), part[name][::rows, None]) for name in of_run)
    ):
        raise ValueError(f"the rows of cell {cell} do not belong together")


def _equal(values: NDArray[Any], others: Any) -> bool:
    """Are these the same, nan as well?"""
    return bool(((values == others) | ((values != values) & (others != others))).all())  # noqa: PLR0124 (nan)


def _cell(part: Columns, index: int, given: str, x: ArrayLike | None, y: ArrayLike | None) -> Probe:
    said = {name: part[name][0] for name in part}
    if said["init"] == table.OWN:
        raise ValueError(f"cell {index} has {table.OWN}, which no file holds")
    try:
        spec = _spec(said)
        loss = None if said["loss"] == "none" else str(Loss(said["loss"]))
    except (TypeError, ValueError) as error:
        raise ValueError(f"cell {index}: {error}") from error
    _check_rows(part, index, spec)
    shape = (int(said["seeds"]), spec.rows)
    # A column that is nan in all rows is in no file, or in that of other cells: the net says that it has it.
    names = [name for name in part if name in EXTRA and not np.isnan(part[name]).all()]
    names += [name for name in spec.extra_columns if name not in names]
    extra = {name: part.get(name, np.full(shape, math.nan)).reshape(shape).copy() for name in names}
    if (data := said["data"]) not in {table.DRAWN, given}:
        takes = loss is not None and Loss(loss).takes_targets
        why = "no saved sweep holds them; give them, as in vg.read_sweep(path, x=x, y=y)"
        x, y = table.Unkept("x", data, why), table.Unkept("y", data, why) if takes else None
    elif data == table.DRAWN:
        x = y = None
    of_run = {name: part[table.FROM_1.get(name, name)][:: spec.rows] for name in table.OF_RUN}
    cell = Probe(
        spec,
        seeds=part["seed"][:: spec.rows].copy(),
        dtype=said["dtype"],
        batch=int(said["batch"]),
        loss=loss,
        **{name: part[name].reshape(shape).copy() for name in COLUMNS},
        **{name: values - 1 if name in table.FROM_1 else values.copy() for name, values in of_run.items()},
        x=x,
        y=y,
        extra=extra,
    )
    # What was made of the file must say of itself what the file says, its id first of all.
    ours: Columns = table.key_columns(cell, data)
    ours |= dict.fromkeys(filter(_is_parameter, said), math.nan)
    ours |= {name: value for name, value in table.parameters(cell).items() if name in said}
    for name, value in ours.items():
        # Labels of own activations are those of the process that wrote them; older files spell large numbers out.
        same = name == "activation" and custom.is_own(getattr(spec, "activation", ""))
        if not same and str(value) != custom.named(str(said[name])):
            raise ValueError(f"cell {index}: {name} is {said[name]} there, but of this net it is {value}")
    return cell


def _spec(said: Columns) -> Spec:
    """The net of a row. Where several activations of one's own have the name, it is the one that its id is of."""
    sort = SORTS[said["net"]]
    fields = {name: _field(sort, name, said[COLUMN_OF.get(name, name)]) for name in TYPES[sort]}
    if "activation" not in fields:
        return sort(**fields)
    named = fields["activation"]
    labels = dict.fromkeys(named if isinstance(named, list) else [named])
    meant = [custom.spellings(str(label)) or [label] for label in labels]
    tried = list(itertools.islice(itertools.product(*meant), _MOST))

    def spec(texts: tuple[str, ...]) -> Spec:
        text = dict(zip(labels, texts, strict=True))
        activation = [text[each] for each in named] if isinstance(named, list) else text[named]
        return sort(**fields | {"activation": activation})

    if not any(map(custom.spellings, map(str, labels))):
        return spec(tried[0])
    if found := next((found for found in map(spec, tried) if found.id == said["cell_id"]), None):
        return found
    raise ValueError(f"what is known here as activation {shown(said['activation'])} is not what was measured")


def _field(sort: type[Spec], name: str, value: Any) -> Any:
    """A field of a spec from what a file says: text, where any cell or the kind of file has text."""
    if not isinstance(value, str):
        return value
    if is_name(sort, name):
        parts = re.split(r" (?!\(|[^(]*\))", value)  # not within a call, nor before the number of a label
        return _one([{"none": None, "False": False}.get(part, part) for part in parts])
    if TYPES[sort][name].startswith("int"):
        return _one([int(part) for part in value.split()])
    if name == "dropout":
        return _one([float(part) for part in value.split()])
    return float(value) if name == "branch_scale" and re.fullmatch(r"[-+.\deE]+", value) else value


def _one(values: list[Any]) -> Any:
    """The value that a list of one holds, or the list."""
    return values[0] if len(values) == 1 else values


def _varied(specs: Sequence[Spec]) -> tuple[str, ...]:
    """The fields that differ, slowest first: the fewer changes from cell to cell, the slower."""

    def changes() -> Iterator[tuple[int, str]]:
        for name in FIELDS:
            values = [getattr(spec, name) for spec in specs if name in TYPES[type(spec)]]
            if count := sum(one != two for one, two in itertools.pairwise(values)):
                yield count, name

    return tuple(name for _, name in sorted(changes(), key=lambda change: change[0]))
