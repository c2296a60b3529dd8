"""Titles that say what was measured and how, and labels that say why there are gaps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vgcore.measure.result import Floats, Probe
from vgcore.measure.trace import Trace
from vgcore.plot.axes import artists
from vgcore.plot.fields import Cell, Quantity, net_words, varied_words, words_of
from vgcore.train.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Panels whose gaps a label names.
MOST_GAPS = 4


def write_title(ax: Axes, parts: Sequence[Sequence[str]], left: float = 0) -> None:
    """Each part in lines of its own, broken where the axes end, from a share of their width on."""
    text = "\n".join(", ".join(words) for words in parts if words)
    title = ax.set_title(text, loc="left", x=left, fontsize=float(ax.xaxis.label.get_fontsize()))
    artists().within(title, ax, share=1 - left)


def write_common(ax: Axes, cells: Sequence[Cell], mean: str, left: float = 0, *, without: Iterable[str] = ()) -> None:
    """What all cells have in common, and how they were measured."""
    write_title(ax, common(cells, mean, without), left)


def write_figure(figure: Figure, cells: Sequence[Cell], mean: str, without: Iterable[str]) -> None:
    """What all cells have in common, over all panels of a figure."""
    text = "\n".join(", ".join(words) for words in common(cells, mean, without) if words)
    figure.suptitle(text, x=0.01, ha="left", fontsize="medium", wrap=True)


def common(cells: Sequence[Cell], mean: str, without: Iterable[str] = ()) -> list[list[str]]:
    """What all cells have in common, and how they were measured, in words."""
    left_out = {*without}
    varied = varied_words(cells, left_out)[0]
    shared = {name: word for name, word in words_of(cells[0], left_out).items() if name not in varied}
    net = net_words(shared, cells[0].spec)
    seeds = shared.get("seeds", "the seeds")
    how = [seeds if seeds == "1 seed" else f"{mean} {seeds}"]
    if isinstance(cells[0], Run):
        how = [*[shared[name] for name in ("optimizer", "steps") if name in shared], *how]
    how += [shared[name] for name in ("batch", "dtype", "loss") if name in shared]
    return [net, how]


def gap(values: Floats, cells: Sequence[Probe | Trace], at: str = "") -> str:
    """Why a line has gaps, and where if it is said, for its label; values are `(seeds, points)`."""
    diverged = np.stack([cell.first_nonfinite >= 0 for cell in cells]).any(axis=0)
    missing = ~np.isfinite(values).all(axis=1)
    counts = {"diverged": np.sum(missing & diverged), "exactly 0": np.sum(missing & ~diverged)}
    reasons = [f"{count} of {len(values)} runs {reason}" for reason, count in counts.items() if count]
    return f" (gap{at}: {', '.join(reasons)})" if reasons else ""


def gap_of_cells(missing: Sequence[Cell], count: int, quantity: Quantity, at: str) -> str:
    """Why some of so many cells are gaps in a line, and where."""
    reasons = Counter(quantity.lacks(cell) for cell in missing)
    told = [f"{number} of {count} cells {reason}" for reason, number in reasons.items()]
    return f" (gap{at}: {', '.join(told)})" if told else ""


def gaps_of_panels(gaps: Mapping[str, str]) -> str:
    """The gaps of a line in panels of these names, for its one label."""
    told = [f"in {panel}{found.removeprefix(' (gap').removesuffix(')')}" for panel, found in gaps.items()]
    if len(told) > MOST_GAPS:
        told[MOST_GAPS - 1 :] = [f"and in {len(told) - MOST_GAPS + 1} panels more"]
    return f" (gap {'; '.join(told)})" if told else ""


def height_of(labels: Iterable[str]) -> float:
    """Inches of a picture with these labels in its legend."""
    return 5 + 0.18 * max(0, sum(label.count("\n") + 1 for label in labels) - 12)
