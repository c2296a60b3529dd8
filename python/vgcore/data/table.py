"""Tables in CSV: separated by commas, semicolons or tabs, of numbers and, in the target, names of classes."""

from __future__ import annotations

import csv
import itertools
import math
import re
import reprlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vgcore.model.given import integer, printable, shown
from vgcore.model.names import hint, listing

Features: TypeAlias = NDArray[np.float64]
Targets: TypeAlias = NDArray[np.int64] | NDArray[np.float64]

#: The first that suits: a comma may be a decimal one, and a semicolon part of a text between tabs.
SEPARATORS = ("\t", ";", ",")
DECIMAL_COMMA = re.compile(r"\s*[+-]?\d[\d.]*,\d+(?:[eE][+-]?\d+)?\s*")


class Table(NamedTuple):
    """Features and targets, and where they stand.

    Attributes:
        x: The features.
        y: The targets.
        source: What errors call the file.
        columns: Of a CSV file the columns of the features, then that of the target; of others their arrays.
        lines: Of a CSV file the line of each sample, or `(n, steps)` of each step; else empty.
        cells: Of a CSV file the target in each of these lines, as it stands there; else empty.
    """

    x: Features
    y: Targets
    source: str
    columns: Sequence[str | int]
    lines: NDArray[np.int64] = np.empty(0, np.int64)
    cells: NDArray[np.object_] = np.empty(0, object)

    def place(self, at: tuple[int, ...], column: int = -1) -> str:
        """Where a number stands, by its row, or its sequence and step, and the column of the features.

        Column -1 is the target: of a sequence that has one for all its steps, that of the first.
        """
        if not self.lines.size:
            step = "".join(f", step {step + 1}" for step in at[1:])
            return f"{self.source}, array {self.columns[min(column, 0)]!r}, row {at[0] + 1}{step}"
        return f"{self.source}, line {self.lines[at].flat[0]}, column {self.columns[column]!r}"


def read_csv(source: str, lines: Iterable[str], target: str | int | None) -> Table:
    """Features and target of the lines of a table; `source` is what errors call it."""
    return table_of(source, rows_of(source, lines), target)


def table_of(
    source: str, rows: Iterator[tuple[int, list[str]]], target: str | int | None, *, headed: bool = False
) -> Table:
    """Features and target of numbered rows of cells, of which the first is a header where it is known to be one."""
    start, first = next(rows, (0, []))
    if not first:
        raise ValueError(f"{source} is empty")
    if len(first) < 2:
        raise ValueError(
            f"{source}, line {start}: one column; features and a target need two or more, separated by commas, "
            "semicolons or tabs"
        )
    # Only a target of words is not a number: a header that is short of names, or a sample with its class.
    words = [i for i, cell in enumerate(first) if number_of(cell) is None and DECIMAL_COMMA.fullmatch(cell) is None]
    unclear = not (headed or isinstance(target, str)) and words == [column_of(source, range(len(first)), target)]
    names: Sequence[str | int] = range(len(first))
    if not words and not headed:
        rows = itertools.chain([(start, first)], rows)
    elif not unclear:
        names = [name.strip() for name in first]
    column = column_of(source, names, target)

    cells, labels, places = array("d"), list[float | str](), array("q")
    for line, row in rows:
        if len(row) != len(names):
            raise ValueError(f"{source}, line {line}: {len(row)} cells, expected {len(names)} as in line {start}")
        for i, cell in enumerate(row):
            number, by_name = number_of(cell), i == column and bool(labels) and isinstance(labels[0], str)
            if i == column and number is None and (by_name or not labels) and _is_name(cell):
                labels.append(cell.strip())
            elif number is None or not math.isfinite(number) or by_name:
                fault = f"is no name of a class as {labels[0]!r} is" if by_name else _fault(cell, feature=i != column)
                raise ValueError(f"{source}, line {line}, column {names[i]!r}: {reprlib.repr(cell)} {fault}")
            else:
                (labels if i == column else cells).append(number)
        places.append(line)
    # A class has more samples than one; the name of a column stands once.
    if unclear and (label := first[column].strip()) in labels:
        labels.insert(0, label)
        places.insert(0, start)
        cells = array("d", [float(cell) for i, cell in enumerate(first) if i != column]) + cells
    if not labels:
        raise ValueError(f"{source} has a header and no data")
    classes = [label for label in labels if isinstance(label, str)]
    targets = class_ids(classes) if classes else classes_or_values(np.array(labels, dtype=np.float64))
    x = np.array(cells, dtype=np.float64).reshape(len(labels), -1)
    columns = [name for i, name in enumerate(names) if i != column]
    return Table(x, targets, source, [*columns, names[column]], np.array(places), np.array(labels, dtype=object))


def rows_of(source: str, lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of every line that is not blank."""
    remaining = iter(lines)
    head, told = list[str](), list[str]()
    at = 1
    try:
        for line in remaining:
            head.append(line)
            told += [line] * bool(line.strip())
            if len(told) == 2:
                break
        reader = csv.reader(itertools.chain(head, remaining), strict=True, delimiter=_separator(told))
        for row in reader:
            at = reader.line_num
            if len(row) > 1 or "".join(row).strip():
                yield at, row
            at += 1
    except csv.Error as error:
        raise ValueError(f"{source}, line {at}: {printable(str(error))}") from error
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(f"{source} is not UTF-8 text: byte 0x{byte:02x}, {error.reason}") from error


def _separator(head: Sequence[str]) -> str:
    """What cuts the first lines into as many cells, two or more; where nothing does, what cuts the first most often."""
    counts = {each: [len(next(csv.reader([line], delimiter=each))) for line in head] for each in SEPARATORS}
    suiting = (each for each, cells in counts.items() if len(set(cells)) == 1 and cells[0] > 1)
    return next(suiting, max(SEPARATORS, key=lambda each: counts[each][:1]))


def number_of(cell: str) -> float | None:
    """Return the number that a cell holds, None for text."""
    try:
        return float(cell)
    except ValueError:
        return None


def _is_name(cell: str) -> bool:
    return bool(cell.strip()) and DECIMAL_COMMA.fullmatch(cell) is None


def _fault(cell: str, *, feature: bool) -> str:
    """What is wrong with a cell that should be a finite number."""
    if DECIMAL_COMMA.fullmatch(cell):
        return "has a decimal comma; write a point"
    advice = "; write a column of words as numbers, one-hot for one, leave it out, or make it the target"
    return "is not a finite number" + advice * (feature and number_of(cell) is None and bool(cell.strip()))


def column_of(source: str, names: Sequence[str | int], target: str | int | None) -> int:
    """Return the index of the target column; without a header the names are the indices."""
    if isinstance(target, str):
        if isinstance(names, range):
            raise ValueError(
                f"{source} has no header, its first line holds numbers only: "
                f"target must be a column index, got {shown(target)}"
            )
        if target not in names:
            raise ValueError(missing(source, "column", target, names))
        if names.count(target) > 1:
            raise ValueError(f"{source} has {names.count(target)} columns {shown(target)}: give the index of one")
        return names.index(target)
    columns = len(names)
    try:
        index = -1 if target is None else integer(f"{source}: target", target, least=-columns, most=columns - 1)
    except ValueError as error:
        raise ValueError(f"{error}; an index counts from 0, the first column, or from -1, the last") from None
    return index % columns


def class_ids(names: Sequence[str] | Sequence[bytes]) -> NDArray[np.int64]:
    """The places of names in their sorted order, `(n,)`."""
    ids = {name: i for i, name in enumerate(sorted({*names}))}
    return np.array([ids[name] for name in names], dtype=np.int64)


def classes_or_values(values: NDArray[np.float64]) -> Targets:
    """Class ids (n,) where all are whole numbers that float64 holds exactly; else values (n, 1)."""
    if np.all((values == np.rint(values)) & (np.abs(values) < 2**53)):
        return values.astype(np.int64)
    return np.ascontiguousarray(values)[:, np.newaxis]


def of_shape(targets: Targets, shape: tuple[int, ...]) -> Targets:
    """Class ids or single numbers one after the other as an array: of this shape, and one axis more for numbers."""
    return targets.reshape(*shape, *targets.shape[1:])


def missing(source: str, kind: str, given: str, names: Sequence[object]) -> str:
    """The error of a name that is not there, with the nearest one."""
    choices = [str(name) for name in names]
    return f"{source} has no {kind} {shown(given)}{hint(given, choices)}; it has: {listing(choices, 20)}"
