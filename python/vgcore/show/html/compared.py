"""Two results side by side as HTML."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from vgcore.show import comparison as told
from vgcore.show.html.blocks import Html, folded, joined, quiet, said, table, toned

if TYPE_CHECKING:
    from vgcore.report.comparison import Comparison


def comparison(c: Comparison) -> Html:
    """What is better or worse, what differs, and the numbers of both."""
    parts: list[Html] = [said(c.verdict, told.TONES[c.verdict], c.summary)]
    if fields := told.fields(c):
        parts.append(table(("differs in", "before", "after"), fields, words=(0, 1, 2)))
    parts += map(quiet, told.notes(c))
    if c.cells:
        head, cells = told.cells(c)
        rows = [(*row, toned(outcome, told.TONES[outcome])) for *row, outcome in cells]
        parts.append(table(_lines(head), rows, words=(0, 1, 2, len(head) - 1)))
    if measures := told.measures(c):
        parts.append(table(("measure", "before", "after", "difference"), measures))
    head, places = told.places(c)
    if places:
        parts.append(folded(c.caption, table(_lines(head), places)))
    return joined(*parts)


def _lines(head: Iterable[str]) -> list[str]:
    """Heads that are broken where there is no room, and not before."""
    return [name.replace("\n", " ") for name in head]
