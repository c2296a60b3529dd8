"""Tables in long form: a line a step of a sequence, in any order."""

from __future__ import annotations

import itertools
import math
import reprlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import numpy as np

from vgcore.data.table import Table, column_of, number_of, rows_of, table_of
from vgcore.model.given import printable, shown

#: By the number of a step, its row.
Steps: TypeAlias = dict[int, int]
#: The last step that a float64 holds exactly.
LAST = 2**53


def read_long(source: str, lines: Iterable[str], target: str | int | None, sequence: str, step: str) -> Table:
    """Sequences `(n, steps, features)` of the lines of a table, and their targets.

    Args:
        source: What errors call it.
        lines: Its lines.
        target: The column of the target; the last of those that are left by default.
        sequence: The column that says which sequence a line is of.
        step: The column that says which step it is.
    """
    rows = rows_of(source, lines)
    start, first = next(rows, (0, []))
    if not first:
        raise ValueError(f"{source} is empty")
    header = [name.strip() for name in first]
    apart = [column_of(source, header, name) for name in (sequence, step)]
    left = [i for i in range(len(header)) if i not in apart]
    if len({*apart}) < 2 or len(left) < 2:
        raise ValueError(
            f"{source}, line {start}: long form needs a column of the sequence, one of the step, features and a "
            f"target, all of them different; got {printable(', '.join(header))} with sequence={shown(sequence)}, "
            f"step={shown(step)}"
        )
    wanted = left[-1] if target is None else column_of(source, header, target)
    if wanted in apart:
        raise ValueError(f"{source}: target must be another column than sequence and step, got {shown(target)}")
    found: dict[str, Steps] = defaultdict(dict)

    def features() -> Iterator[tuple[int, list[str]]]:
        """The lines without the two columns, which are noted on the way."""
        yield start, [first[i] for i in left]
        lines = list[int]()
        for line, row in rows:
            if len(row) != len(header):
                raise ValueError(f"{source}, line {line}: {len(row)} cells, expected {len(header)} as in line {start}")
            name, number = row[apart[0]].strip(), number_of(row[apart[1]])
            if not name:
                raise ValueError(f"{source}, line {line}, column {shown(sequence)}: it names no sequence")
            if number is None or not abs(number) < LAST or number != round(number):
                given = reprlib.repr(row[apart[1]])
                raise ValueError(f"{source}, line {line}, column {shown(step)}: {given} is no step, a whole number")
            if int(number) in found[name]:
                other = lines[found[name][int(number)]]
                raise ValueError(
                    f"{source}, line {line}: sequence {shown(name)} has step {int(number)} twice, in line {other} too"
                )
            found[name][int(number)] = len(lines)
            lines.append(line)
            yield line, [row[i] for i in left]

    flat = table_of(source, features(), left.index(wanted), headed=True)
    check_steps(source, found)
    places = np.array([[row for _, row in sorted(found[name].items())] for name in in_order(found)])
    cells, targets = flat.cells[places], flat.y[places]
    one = (cells == cells[:, :1]).all()  # for all steps of a sequence
    return flat._replace(x=flat.x[places], y=targets[:, 0] if one else targets, lines=flat.lines[places], cells=cells)


def in_order(names: Iterable[str]) -> list[str]:
    """Names of sequences sorted, by their numbers where all are numbers.

    >>> in_order(["10", "9", "1"]), in_order(["b", "10", "9"])
    (['1', '9', '10'], ['10', '9', 'b'])
    """
    numbers = {name: number_of(name) for name in names}
    if all(number is not None and math.isfinite(number) for number in numbers.values()):
        return sorted(numbers, key=lambda name: (numbers[name], name))
    return sorted(numbers)


def check_steps(source: str, found: dict[str, Steps]) -> None:
    """Refuse steps that are missing, and sequences of different lengths."""
    ends = [each for steps in found.values() for each in (min(steps), max(steps))]
    first, last = min(ends), max(ends)
    for name, steps in found.items():
        ordered = sorted(steps)
        for one, other in itertools.pairwise(ordered):
            if other > one + 1:
                gap = f"step {one + 1}" if other == one + 2 else f"steps {one + 1} to {other - 1}"
                raise ValueError(f"{source}: sequence {shown(name)} lacks {gap}; steps are whole numbers without a gap")
        if (ordered[0], ordered[-1]) != (first, last):
            raise ValueError(
                f"{source}: sequence {shown(name)} has steps {ordered[0]} to {ordered[-1]}, where the table has steps "
                f"{first} to {last}; the sequences of a batch must be of one length: leave out the steps that not all "
                "have, or add lines of zeros, before the first step where the target is that of the whole sequence"
            )
