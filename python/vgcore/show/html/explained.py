"""An explanation of a small net as HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vgcore.measure.derivation import Line, number
from vgcore.show import lecture
from vgcore.show.html.blocks import Html, code, joined, kept, stacked, table, titled

if TYPE_CHECKING:
    from vgcore.measure.explain import Explanation

Array = NDArray[np.floating[Any]]


def explanation(e: Explanation) -> Html:
    """An explanation as tables."""
    parts: list[object] = [titled(lecture.headline(e), *lecture.notation(e))]
    for section in e.sections:
        parts.append(titled(section.title, kept(lecture.words(section.words))))
        head = [lecture.plain(cell) for cell in section.head]
        if section.rows:
            rows = [[number(cell, e.digits) for cell in row] or ["⋮"] * len(head) for row in section.rows]
            parts.append(table(head, rows, words=()))
        if section.lines:
            cells = [["⋮", line, "", ""] if isinstance(line, str) else _cells(line, e.digits) for line in section.lines]
            given = not any(isinstance(line, str) or line.formula for line in section.lines)
            heads = ["", "formula", "with numbers", "value"]
            chosen = (0, 3) if given else range(4)
            parts.append(
                table([heads[i] for i in chosen], [[row[i] for i in chosen] for row in cells], words=chosen[:-1])
            )
    return joined(*parts)


def _cells(line: Line, digits: int) -> list[Html]:
    """The name, the formula, the formula with numbers, and the value: none is broken within a symbol or a number."""

    def matrix(values: Array) -> str:
        return lecture.whole(lecture.in_characters(values, digits))

    name, *found = (
        lecture.plain(each)
        for each in (
            f"{line.symbol} {line.relation}",
            lecture.symbols(line.formula),
            lecture.put_in(line.formula, matrix),
            lecture.told(line.value, digits, matrix),
        )
    )
    cells = [kept(lecture.whole(name)), *map(kept, found)]
    rows = lecture.in_rows(line.value, digits)
    if rows:
        written = "\n".join("[" + " ".join(row) + "]" for row in rows)
        cells[-1] = Html(code(written), stacked(*written.splitlines()).markdown)
    return cells
