"""Tables of samples from CSV and NPZ files."""

from __future__ import annotations

import csv
import itertools
import math
import operator
import os
import reprlib
import zipfile
import zlib
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vgcore.model.names import hint

Features: TypeAlias = NDArray[np.float64]
Targets: TypeAlias = NDArray[np.int64] | NDArray[np.float64]


def read(path: str | os.PathLike[str], *, target: str | int | None = None) -> tuple[Features, Targets]:
    r"""Read features and a target from a ``.csv`` or ``.npz`` file.

    A CSV file is UTF-8 with commas; every cell is a finite number. Its first line is a header
    unless it holds numbers only. Blank lines are skipped. An NPZ file holds the arrays ``x`` of
    shape (n, features) and ``y`` of shape (n,) or (n, k).

    Args:
        path: The file.
        target: CSV: the name of the target column or its index, negative from the right; by
            default the last column. NPZ: the name of the target array; by default ``"y"``.

    Returns:
        Features, float64 of shape (n, features), and targets: class ids, int64 of shape (n,), if
        there is one column of whole numbers, else float64 of shape (n, k), (n, 1) for a CSV file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file does not hold such a table; the message says where.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "points.csv")
        ...     _ = path.write_text("height,weight,kind\n1.5,60,0\n1.75,70.5,1\n")
        ...     x, y = read(path, target="kind")
        >>> x.tolist(), y.tolist()
        ([[1.5, 60.0], [1.75, 70.5]], [0, 1])
    """
    path = Path(path)
    match path.suffix.lower():
        case ".csv":
            return _read_csv(path, target)
        case ".npz":
            return _read_npz(path, target)
        case suffix:
            raise ValueError(f"{path}: unknown extension {suffix!r}; choose from: .csv, .npz")


def _read_csv(path: Path, target: str | int | None) -> tuple[Features, Targets]:
    rows = _rows(path)
    start, first = next(rows, (0, []))
    if not first:
        raise ValueError(f"{path} is empty")
    if len(first) < 2:
        raise ValueError(
            f"{path}, line {start}: one column; features and a target need two or more, separated by commas"
        )
    names: Sequence[str | int]
    if None in map(_number, first):
        names = [name.strip() for name in first]
    else:
        names = range(len(first))
        rows = itertools.chain([(start, first)], rows)
    column = _column(path, names, target)

    cells = array("d")
    for line, row in rows:
        if len(row) != len(names):
            raise ValueError(f"{path}, line {line}: {len(row)} cells, expected {len(names)} as in line {start}")
        for name, cell in zip(names, row, strict=True):
            number = _number(cell)
            if number is None or not math.isfinite(number):
                raise ValueError(f"{path}, line {line}, column {name!r}: {reprlib.repr(cell)} is not a finite number")
            cells.append(number)
    if not cells:
        raise ValueError(f"{path} has a header and no data")
    table = np.array(cells, dtype=np.float64).reshape(-1, len(names))
    return np.delete(table, column, axis=1), _classes_or_values(table[:, column])


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of every line that is not blank."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        try:
            for row in reader:
                if len(row) > 1 or "".join(row).strip():
                    yield reader.line_num, row
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise ValueError(f"{path} is not UTF-8 text: byte 0x{byte:02x}, {error.reason}") from error
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from error


def _number(cell: str) -> float | None:
    """Return the number that a cell holds, None for text."""
    try:
        return float(cell)
    except ValueError:
        return None


def _column(path: Path, names: Sequence[str | int], target: str | int | None) -> int:
    """Return the index of the target column; without a header the names are the indices."""
    if isinstance(target, str):
        if isinstance(names, range):
            raise ValueError(
                f"{path} has no header, its first line holds numbers only: "
                f"target must be a column index, got {target!r}"
            )
        if target not in names:
            raise ValueError(_missing(path, "column", target, names))
        if names.count(target) > 1:
            raise ValueError(f"{path} has {names.count(target)} columns {target!r}: give the index of one")
        return names.index(target)
    index = -1 if target is None else operator.index(target)
    if not -len(names) <= index < len(names):
        raise ValueError(f"{path}: target {index} is out of range, there are {len(names)} columns")
    return index


def _read_npz(path: Path, target: str | int | None) -> tuple[Features, Targets]:
    name = "y" if target is None else target
    if not isinstance(name, str):
        raise ValueError(f"{path}: target must be the name of an array, got {name!r}")
    try:
        with zipfile.ZipFile(path) as archive:
            x, y = _array(path, archive, "x"), _array(path, archive, name)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(f"{path} is not a sound .npz archive: {error}") from error
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"{path}: x must have the shape (n, features), got {x.shape}")
    if y.ndim not in {1, 2} or y.size == 0 or len(y) != len(x):
        raise ValueError(
            f"{path}: {name} must have the shape ({len(x)},) or ({len(x)}, k) as x has {len(x)} rows, got {y.shape}"
        )
    return x, y if y.size > len(y) else _classes_or_values(y.ravel())


def _array(path: Path, archive: zipfile.ZipFile, name: str) -> NDArray[np.float64]:
    """Read one array of finite numbers."""
    members = archive.namelist()
    names = [member.removesuffix(".npy") for member in members if member.endswith(".npy")]
    if name not in names:
        raise ValueError(_missing(path, "array", name, names))
    with archive.open(f"{name}.npy") as file:
        try:
            stored = np.lib.format.read_array(file, allow_pickle=False)
        except ValueError as error:
            raise ValueError(f"{path}, array {name!r}: {error}") from error
    if stored.dtype.kind not in "biuf":
        raise ValueError(f"{path}, array {name!r}: expected real numbers, got {stored.dtype}")
    values = np.asarray(stored, dtype=np.float64, order="C")
    if not np.isfinite(values).all():
        where = np.argwhere(~np.isfinite(values))[0].tolist()
        raise ValueError(f"{path}, array {name!r}, index {where}: {values[tuple(where)]} is not a finite number")
    return values


def _classes_or_values(target: NDArray[np.float64]) -> Targets:
    """Return class ids (n,) if all are whole numbers that float64 holds exactly, else (n, 1)."""
    if np.all((target == np.rint(target)) & (np.abs(target) < 2**53)):
        return target.astype(np.int64)
    return np.ascontiguousarray(target)[:, np.newaxis]


def _missing(path: Path, kind: str, given: str, names: Sequence[object]) -> str:
    choices = [str(name) for name in names]
    listed = ", ".join(choices[:20]) + (", ..." if len(choices) > 20 else "")
    return f"{path} has no {kind} {given!r}{hint(given, choices)}; it has: {listed}"
