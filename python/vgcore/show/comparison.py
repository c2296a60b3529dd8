"""Two results side by side, as lines and tables: what text, HTML and Markdown have in common, and the text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vgcore.show.columns import Column, Columns
from vgcore.show.page import wrapped
from vgcore.show.words import exponent, number, said

if TYPE_CHECKING:
    from vgcore.report.comparison import Comparison, Measure

#: Columns of a page that a comparison is printed on.
WIDTH = 80
#: Layers that are told of two nets of one depth.
PLACES = 8
#: Cells that are told of two sweeps.
SHOWN = 40
#: Cells that only one has that are named.
LISTED = 5
#: What a difference is called that the noise of the seeds explains.
NONE = "none"
#: The tone of an outcome, as a verdict has it.
TONES = {"better": "healthy", "worse": "critical", "same": "text"}
Rows = list[tuple[str, ...]]


def difference(m: Measure) -> str:
    """What the second has more, with its sign.

    >>> from vgcore.report.comparison import Measure
    >>> [difference(Measure("z", -9.5, now, True, log10=True)) for now in (-0.25, -9.5, math.nan)]
    ['+9.2', 'none', '-']
    """
    if math.isnan(m.before) or math.isnan(m.after):
        return "-"
    if not m.differs:
        return NONE
    return (
        f"{m.difference:+.1f}" if m.log10 and abs(m.difference) >= 0.05 else f"{m.difference:+.{1 if m.log10 else 3}g}"
    )


def value(m: Measure, number_: float) -> str:
    """One side of a measure."""
    if m.log10:
        return exponent(number_)
    return "no limit" if m.name.endswith("limit") and math.isinf(number_) else number(number_, ".4g")


def fields(c: Comparison) -> Rows:
    """What sets the two apart, a row a field."""
    return [(name.replace("_", " "), said(before), said(after)) for name, (before, after) in c.fields.items()]


def measures(c: Comparison) -> Rows:
    """What both have, a row a measure; those of which nothing is known are left out."""
    told = [(("log10 " if m.log10 else "") + m.name, m) for m in c.measures if not math.isnan(m.before * m.after)]
    return [(name, value(m, m.before), value(m, m.after), difference(m)) for name, m in told]


def places(c: Comparison) -> tuple[tuple[str, ...], Rows]:
    """Columns side by side: a head, and a row a layer, evenly spread ones of many."""
    chosen = sorted({round(i) for i in np.linspace(0, len(c.places) - 1, min(len(c.places), PLACES)).tolist()})
    known = [name for name, column in c.columns.items() if any(not math.isnan(m.before * m.after) for m in column)]
    head = ("layer", *(f"{name}\n{side}" for name in known for side in ("before", "after", "diff.")))
    rows = []
    for at in chosen:
        told = [c.columns[name][at] for name in known]
        cells = (cell for m in told for cell in (value(m, m.before), value(m, m.after), difference(m)))
        rows.append((c.places[at], *cells))
    return head, rows if known else []


def ranked(c: Comparison) -> list[int]:
    """The cells that both of two sweeps have, from 0: those that are worse first, then those that are better."""
    return sorted(range(len(c.cells)), key=lambda i: ("worse", "better", "same").index(c.cells[i].verdict))


def cells(c: Comparison) -> tuple[tuple[str, ...], Rows]:
    """Two sweeps: a head, and a row a cell that both have, those that differ first."""
    told = [(c.names[i], c.cells[i]) for i in ranked(c)[:SHOWN]]
    what = next((cell.main for _, cell in told if cell.main is not None), None)
    name = "" if what is None else ("log10 " if what.log10 else "") + what.name.removesuffix(", end to end")
    head = ("cell", "before", "after", *((f"{name}\nbefore", f"{name}\nafter") if what else ()), "outcome")
    rows: Rows = []
    for label, cell in told:
        numbers = ("-", "-") if (m := cell.main) is None else (value(m, m.before), value(m, m.after))
        outcome = cell.before.verdict, cell.after.verdict, *(numbers if what else ()), cell.verdict
        rows.append((label, *outcome))
    return head, rows


def notes(c: Comparison) -> Iterator[str]:
    """What is found no more, what is found now, which cells only one has, and what a reader has to know."""
    for word, found in {"gone": c.gone, "new": c.new}.items():
        if found and not c.cells:
            yield f"{word}: {', '.join(f'{each.rule} ({each.severity})' for each in found)}"
    for which, names in zip(("first", "second"), c.only, strict=True):
        if names:
            more = "; ..." if len(names) > LISTED else ""
            yield f"only the {which} has {len(names)} of the cells: {'; '.join(names[:LISTED])}{more}"
    if len(c.cells) > SHOWN:
        yield f"{len(c.cells) - SHOWN} more cells; c.to_dict() has them all"
    yield from (f"note: {note}" for note in c.notes)


def parts(c: Comparison) -> Iterator[tuple[str, str | Columns]]:
    """The lines and tables of a comparison, each with what it is: the tone of its verdict, or `text`."""
    yield TONES[c.verdict], c.summary
    for name, before, after in fields(c):
        yield "text", f"{name}: {before} -> {after}"
    yield from (("text", line) for line in notes(c))
    if c.cells:
        yield "text", _table(*cells(c), words=3)
    if rows := measures(c):
        yield "text", _table(("", "before", "after", "difference"), rows)
    head, rows = places(c)
    if rows:
        yield "text", _table(head, rows)
        yield "text", c.caption


def _table(head: Sequence[str], rows: Rows, *, words: int = 1) -> Columns:
    """A table whose first columns are words."""
    columns = zip(head, zip(*rows, strict=True), strict=True)
    return Columns([Column(name, cells, left=i < words, block=(i + 2) // 3) for i, (name, cells) in enumerate(columns)])


def text(c: Comparison, *, width: int = WIDTH) -> str:
    """A comparison in plain text."""
    told = (part for _, part in parts(c))
    return "\n".join(
        "\n".join(wrapped(part, width, indent=4)) if isinstance(part, str) else f"\n{part.text(width)}" for part in told
    )
