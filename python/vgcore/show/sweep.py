"""Sweeps as tables: the rows that text and HTML have in common, and the text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from vgcore.measure.cells import Judged, Sweep, judged_rows
from vgcore.model.sorts import FIELDS
from vgcore.show.columns import Column, Columns
from vgcore.show.page import wrapped
from vgcore.show.words import exponent, number, said
from vgcore.train.many import ARGUMENTS
from vgcore.train.run import ended, size

if TYPE_CHECKING:
    from vgcore.measure.result import Probe
    from vgcore.train.many import TrainSweep
    from vgcore.train.run import Run

#: Cells that are shown of a sweep.
SHOWN = 40
#: Cells that failed that are told of.
FAILED = 5
#: Columns of a page that a sweep is printed on.
WIDTH = 80
#: What is told of a measured cell behind its verdict, as heads; the last make room first.
MEASURED = ("dL/dz\nx per layer", "z\nx per layer", "log10 dL/dW\nof layer 1")
#: What is told of a trained cell.
TRAINED = ("final loss", "steps", "stopped by")


class Row(NamedTuple):
    """A cell in words.

    Attributes:
        verdict: Its verdict alone, which has a colour.
        cells: What the grid varied, the verdict with what holds beside it, then what `MEASURED` or `TRAINED` names.
        loss: The median of the final losses of several seeds, where `cells` have each of them.
    """

    verdict: str
    cells: tuple[str, ...]
    loss: str = ""


def head(s: Sweep | TrainSweep) -> tuple[str, ...]:
    """What stands over the columns."""
    return (*s.varied, "verdict", *(" ".join(name.split()) for name in _told(s)))


def _told(s: Sweep | TrainSweep) -> tuple[str, ...]:
    return MEASURED if isinstance(s, Sweep) else TRAINED


def rows(s: Sweep | TrainSweep, judged: Sequence[Judged] = ()) -> list[Row]:
    """The cells, judged as `diagnose` does, if it is not known what was judged of them."""
    return [*(_measured(s, judged) if isinstance(s, Sweep) else _trained(s))]


def notes(s: Sweep | TrainSweep) -> list[str]:
    """How many cells are not shown, and what went wrong in the first of those that failed."""
    more = [f"{len(s) - SHOWN} more cells; s.to_pandas() has them all"] if len(s) > SHOWN else []
    return [*more, *failures(s)]


def failures(s: Sweep | TrainSweep) -> list[str]:
    """What went wrong in the first of the cells that failed."""
    failed = [f"failed: {what!r}: {why}" for what, why in list(s.failed.items())[:FAILED]]
    rest = [f"{len(s.failed) - FAILED} more failed"] if len(s.failed) > FAILED else []
    return [*failed, *rest]


def values(cell: Probe | Run, varied: Iterable[str]) -> list[str]:
    """What a cell has of that which was varied, in words."""
    return [said(_held(cell, name)) for name in varied]


def _held(cell: Any, name: str) -> Any:
    if name in FIELDS:
        return getattr(cell.spec, name, None)
    found = getattr(cell, name) if name in ARGUMENTS else cell.optimizer.params.get(name)
    return found.tolist() if hasattr(found, "tolist") else found


def _measured(s: Sweep, judged: Sequence[Judged]) -> Iterator[Row]:
    from vgcore.judge.verdict import Verdict

    for cell, found in zip(s, judged_rows(s, judged), strict=True):
        word = Verdict(found["verdict"], found["direction"], found["conditions"])
        factors = (number(found[signal].value) for signal in ("backward", "forward"))
        yield Row(word.verdict, (*values(cell, s.varied), str(word), *factors, exponent(found["first_gradient"])))


def _trained(s: TrainSweep) -> Iterator[Row]:
    """Where seeds differ, all are told."""
    for run, found in zip(s, s.table(), strict=True):
        word = ", ".join(filter(None, (found["verdict"], found["conditions"])))
        of_seeds = (map(size, run.final_loss), run.steps_done.tolist(), map(ended, run.stopped_by))
        told = (", ".join(dict.fromkeys(map(str, each))) for each in of_seeds)
        median = size(found["final_loss"]) if len(run.seeds) > 1 else ""
        yield Row(found["verdict"], (*values(run, s.varied), word, *told), median)


def varied_columns(names: Sequence[str], told: Sequence[Sequence[str]]) -> list[Column]:
    """What was varied as columns, of a list of values a cell; they move above where there is no room beside others."""
    columns = [list(column) for column in zip(*told, strict=True)]
    return [
        Column(name.replace("_", " "), cells, left=not all(map(_is_number, cells)), moves=True)
        for name, cells in zip(names, columns, strict=True)
    ]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def table(s: Sweep | TrainSweep) -> Columns:
    """The first cells, a row each."""
    found = rows(s[:SHOWN])
    at = len(s.varied)
    verdicts, *outcomes = zip(*(row.cells[at:] for row in found), strict=True)
    told = [
        Column(name, cells, left=name == "stopped by", rank=rank)
        for rank, (name, cells) in enumerate(zip(_told(s), outcomes, strict=True), 1)
    ]
    if any(row.loss for row in found):
        told[0] = replace(told[0], brief=[row.loss for row in found], details="losses of seeds but for their median")
    return Columns(
        [*varied_columns(s.varied, [row.cells[:at] for row in found]), Column("verdict", verdicts, left=True), *told],
        numbers=Column("cell", [str(i + 1) for i in range(len(found))]),
        elsewhere="s.to_pandas() has all",
    )


def text(s: Sweep | TrainSweep, *, width: int = WIDTH) -> str:
    """A sweep as lines of plain text that fit a page."""
    said_of, *rest = ("\n".join(wrapped(line, width, indent=4)) for line in (repr(s), *notes(s)))
    return "\n".join([said_of, *([table(s).text(width)] if len(s) else []), *rest])
