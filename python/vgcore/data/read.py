"""Tables of samples from CSV and NPZ files."""

from __future__ import annotations

import io
import math
import os
import struct
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from vgcore import _core
from vgcore.data.long import read_long
from vgcore.data.table import Features, Table, Targets, class_ids, classes_or_values, missing, of_shape, read_csv
from vgcore.model.given import printable, shown, text, wrong_type

#: The path of standard input.
STDIN = "-"


def read(
    path: str | os.PathLike[str],
    *,
    target: str | int | None = None,
    sequence: str | None = None,
    step: str | None = None,
) -> tuple[Features, Targets]:
    r"""Read features and a target from a ``.csv``, ``.tsv`` or ``.npz`` file, or CSV from standard input.

    A CSV file is UTF-8, separated by commas, semicolons or tabs, whichever suit its first two
    lines; every cell is a finite number with a decimal point, but the target may hold names of
    classes. Its first line is a header unless it holds numbers only, or numbers and a class that
    other lines have too. Blank lines are skipped. An NPZ file holds the arrays ``x`` of shape
    (n, features) and ``y``, numbers or names, of shape (n,) or (n, k).

    Sequences come from a CSV file in long form, a line a step in any order, if the columns are
    named that say which sequence and which step it is; or from an NPZ file whose ``x`` has the
    shape (n, steps, features), and whose ``y`` may have the shape (n, steps) or (n, steps, k) too.
    All sequences have the same steps, which are whole numbers without a gap.

    Args:
        path: The file, or ``"-"`` for CSV from standard input.
        target: CSV: the name of the target column or its index, negative from the right; by
            default the last column, of long form the last that is left. NPZ: the name of the target
            array; by default ``"y"``.
        sequence: CSV in long form: the column with the number or name of the sequence.
        step: CSV in long form: the column with the number of the step.

    Returns:
        Features, float64 of shape (n, features), and targets: class ids, int64 of shape (n,), if
        there is one column of whole numbers or of names, whose ids follow their sorted order; else
        float64 of shape (n, k), (n, 1) for a CSV file.

        Of sequences features of shape (n, steps, features), by the sorted order of their numbers or
        names, and such targets; a target that differs within a sequence is one a step, of shape
        (n, steps) for class ids and (n, steps, k) for numbers.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file does not hold such a table; the message says where. So for sequences of
            different lengths, and for a step that is missing or there twice.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "points.csv")
        ...     _ = path.write_text("height;weight;kind\n1.5;60;dog\n1.75;70.5;cat\n")
        ...     x, y = read(path, target="kind")
        ...     _ = path.write_text("name,day,size,grown\na,1,3,1\na,2,4,1\nb,2,6,0\nb,1,6,0\n")
        ...     series, grown = read(path, sequence="name", step="day")
        >>> x.tolist(), y.tolist()
        ([[1.5, 60.0], [1.75, 70.5]], [1, 0])
        >>> series.tolist(), grown.tolist()
        ([[[3.0], [4.0]], [[6.0], [6.0]]], [1, 0])
    """
    return read_table(path, target, sequence, step)[:2]


def read_table(
    path: str | os.PathLike[str],
    target: str | int | None = None,
    sequence: str | None = None,
    step: str | None = None,
) -> Table:
    """What `read` reads, with the places of the numbers."""
    if not isinstance(path, str | os.PathLike):
        raise wrong_type("path", "the path of a file", path)
    series = _series(sequence, step)
    if path == STDIN:
        if sys.stdin is None:
            raise ValueError("there is no standard input to read from; give the path of a file")
        # What stands in for standard input may be text alone.
        piped = sys.stdin.buffer.read() if hasattr(sys.stdin, "buffer") else sys.stdin.read().encode()
        lines = io.TextIOWrapper(io.BytesIO(piped), encoding="utf-8-sig", newline="")
        return _read_lines("standard input", lines, target, series)
    path = Path(path)
    match path.suffix.lower():
        case ".csv" | ".tsv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                return _read_lines(str(path), file, target, series)
        case ".npz":
            if series is not None:
                raise ValueError(
                    f"{path}: sequence and step name columns of a CSV file in long form; in an NPZ file x has the "
                    "shape (n, steps, features)"
                )
            return _read_npz(path, target)
        case suffix:
            said = f"{shown(str(path))}: unknown extension {shown(suffix)}"
            raise ValueError(f"{said}; choose from: .csv, .tsv, .npz")


def _series(sequence: str | None, step: str | None) -> tuple[str, str] | None:
    """The columns of long form, both or neither."""
    names = [None if name is None else text(key, name) for key, name in (("sequence", sequence), ("step", step))]
    match names:
        case [None, None]:
            return None
        case [str(one), str(other)]:
            return one, other
    raise ValueError(
        f"sequence and step go together, the columns of long form; got {shown(names[0])} and {shown(names[1])}"
    )


def _read_lines(source: str, lines: Iterable[str], target: str | int | None, series: tuple[str, str] | None) -> Table:
    return read_csv(source, lines, target) if series is None else read_long(source, lines, target, *series)


#: How NumPy packs arrays.
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: What a damaged archive makes of the libraries that read it: they trust its numbers and its headers.
DAMAGES = (
    *(zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, struct.error, tokenize.TokenError, SyntaxError),
    *(TypeError, LookupError, AttributeError, OverflowError, UnicodeError),
)


def _read_npz(path: Path, target: str | int | None) -> Table:
    name = "y" if target is None else target
    if not isinstance(name, str):
        raise ValueError(f"{path}: target must be the name of an array, got {shown(name)}")
    try:
        with zipfile.ZipFile(path) as archive:
            x, y = _array(path, archive, "x", "biuf"), _array(path, archive, name, "biufUS")
    except DAMAGES as error:
        raise ValueError(f"{path} is not a sound .npz archive: {printable(str(error))}") from error
    if x.ndim not in {2, 3} or x.size == 0:
        raise ValueError(f"{path}: x must have the shape (n, features) or (n, steps, features), got {x.shape}")
    each = x.ndim == 3 and y.ndim > 1 and y.shape[:2] == x.shape[:2]  # a target a step
    if y.ndim not in {1, 2, 2 + each} or y.size == 0 or len(y) != len(x):
        per_step = f", or a step, {x.shape[:2]} or {(*x.shape[:2], 'k')}" if x.ndim == 3 else ""
        raise ValueError(
            f"{path}: {name} must have the shape ({len(x)},) or ({len(x)}, k){per_step} as x has {len(x)} rows, got "
            f"{y.shape}"
        )
    words = y.dtype.kind in "US"
    shape = y.shape[: 1 + each]
    if y.size == math.prod(shape):
        targets = class_ids(y.ravel().tolist()) if words else classes_or_values(y.ravel())
        return Table(x, of_shape(targets, shape), str(path), ["x", name])
    if words:
        raise ValueError(f"{path}: {name} must have one name of a class a row, got {y.shape}")
    return Table(x, y, str(path), ["x", name])


def _array(path: Path, archive: zipfile.ZipFile, name: str, kinds: str) -> NDArray[Any]:
    """Read one array of finite numbers, or of words where their kinds of dtype are allowed."""
    members = {member.filename: member for member in archive.infolist() if member.filename.endswith(".npy")}
    names = [member.removesuffix(".npy") for member in members]
    if name not in names:
        raise ValueError(missing(str(path), "array", name, names))
    member = members[f"{name}.npy"]
    if member.compress_type not in PACKED:
        raise zipfile.BadZipFile("it is not packed as NumPy packs")
    where = f"{path}, array {shown(name)}"
    try:
        with archive.open(member) as file:
            shape, dtype = _header(file)
            there = member.file_size - file.tell()
    except ValueError as error:
        raise ValueError(f"{where}: {printable(str(error))}") from error
    if dtype.kind not in kinds:
        allowed = "real numbers or names" if "U" in kinds else "real numbers"
        raise ValueError(f"{where}: expected {allowed}, got {dtype}")
    # Zeros are packed a thousand to one: what there is no memory for is refused before it is unpacked.
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize > there:
        raise ValueError(f"{where}: {count * dtype.itemsize} bytes of shape {shape} are not in the {there} it has")
    _core.check_memory(f"array {shown(name)} of {path}", count * (dtype.itemsize + 8))
    with archive.open(member) as file:
        stored: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    if stored.dtype.kind in "US":
        return stored
    with np.errstate(over="ignore"):  # a longer float may be beyond the range of float64
        values = np.asarray(stored, dtype=np.float64, order="C")
    if not np.isfinite(values).all():
        at = np.argwhere(~np.isfinite(values))[0].tolist()
        raise ValueError(f"{where}, index {at}: {values[tuple(at)]} is not a finite number")
    return values


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of a stored array, of which nothing else is read."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype
