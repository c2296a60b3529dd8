"""What pictures have in common: colours, axes, legends. matplotlib is loaded when the first one is drawn."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vgcore.measure import table
from vgcore.measure.result import Floats
from vgcore.model.given import wrong_type

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which every kind of colour vision tells apart; their yellow is too pale for lines on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LOOKS = {"color": COLORS, "linestyle": STYLES, "marker": MARKERS}
STEPS = (1, 2, 2.5, 5, 10)
REFERENCE: dict[str, Any] = {"color": "0.5", "linewidth": 0.8}
QUIET: dict[str, Any] = {"frameon": False, "fontsize": "small"}
BELOW = QUIET | {"borderaxespad": 4.5}  # in font sizes: under the tick labels and the axis label


def new_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The axes given, or those of a new figure of so many inches; open at the top and on the right."""
    if ax is None:
        ax = table.optional("matplotlib.pyplot", "plot").subplots(figsize=(width, height), layout="constrained")[1]
    elif not isinstance(ax, table.optional("matplotlib.axes", "plot").Axes) or ax.name != "rectilinear":
        raise wrong_type("ax", "plain matplotlib Axes with an x and a y, as of plt.subplots()", ax)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def looks_of(words: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    """Colour, line style and marker of each line.

    One of them for each varied field, where they suffice, so that what is alike looks alike; all in turn otherwise.
    """
    kinds = {name: list(dict.fromkeys(row[name] for row in words)) for name in words[0]}
    fields = sorted(kinds, key=lambda name: -len(kinds[name]))
    uses = dict(zip(fields, LOOKS, strict=False))
    if 1 < len(fields) <= len(LOOKS) and all(len(kinds[name]) <= len(LOOKS[look]) for name, look in uses.items()):
        first = {look: choices[0] for look, choices in LOOKS.items()}
        return [
            first | {look: LOOKS[look][kinds[name].index(row[name])] for name, look in uses.items()} for row in words
        ]
    turns = [(color, style, marker) for style in STYLES for color, marker in zip(COLORS, MARKERS, strict=True)]
    return [dict(zip(LOOKS, turn, strict=True)) for turn in itertools.islice(itertools.cycle(turns), len(words))]


def line(ax: Axes, x: NDArray[Any], values: Floats, *, label: str, look: dict[str, Any], start: float = 0) -> None:
    """The mean over seeds with a band of one standard deviation either way; values are `(seeds, points)`.

    Markers begin at the share `start` of their distance, so that of two lines in one place both are seen.
    """
    mean = average(values)
    step = -(-len(x) // 10)
    ax.plot(x, mean, label=label, markersize=4.5, markevery=(int(start * step), step), linewidth=1.6, **look)
    if len(values) > 1:
        std = np.where(np.isfinite(values), values, np.nan).std(axis=0, ddof=1)
        ax.fill_between(x, mean - std, mean + std, color=look["color"], alpha=0.2, linewidth=0)


def layer_axis(ax: Axes) -> None:
    """All layers in view, also those of gaps."""
    last = max(int(np.max(line.get_xdata())) for line in ax.get_lines())
    ticks = ticker().MaxNLocator(9, integer=True, steps=STEPS).tick_values(1, last)
    ax.set_xticks([1, *(int(tick) for tick in ticks if 1 < tick <= last)])
    ax.update_datalim([(1, 0), (last, 0)], updatey=False)
    ax.margins(x=0.02)
    ax.set_xlabel("layer (1 = input side)")


def depth_axis(ax: Axes, depths: Sequence[int]) -> None:
    """Depths that are spaced more evenly in their logarithms get a log2 axis."""
    even, geometric = (np.std(steps) / np.mean(steps) for steps in (np.diff(depths), np.diff(np.log2(depths))))
    if geometric < even:
        ax.set_xscale("log", base=2)
        ax.xaxis.set_minor_locator(ticker().NullLocator())
    ax.xaxis.set_major_locator(ticker().FixedLocator(depths, nbins=10))
    ax.xaxis.set_major_formatter(ticker().FuncFormatter(lambda depth, _: f"{depth:g}"))
    ax.set_xlabel("depth (hidden layers)")


def power(exponent: float, _: Any = None) -> str:
    """A tick in log10, written as the power of ten it stands for."""
    return rf"$\mathdefault{{10^{{{exponent:g}}}}}$"


def power_axis(ax: Axes) -> None:
    """Let y read as powers of ten, two or more in view: less would make noise look like a trend."""
    low, high = ax.get_ylim()
    if high - low < 2:
        ax.update_datalim([(1, (low + high) / 2 + sign) for sign in (-1, 1)], updatex=False)
        ax.autoscale_view()
    ax.yaxis.set_major_locator(ticker().MaxNLocator(9, integer=True, steps=STEPS))
    ax.yaxis.set_major_formatter(ticker().FuncFormatter(power))
    ax.grid(axis="y", color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)


def ticker() -> Any:
    """The module `matplotlib.ticker`."""
    return table.optional("matplotlib.ticker", "plot")


def room(ax: Axes) -> float:
    """About how many characters fit across."""
    return 13 * ax.bbox.width / ax.figure.dpi


def legend(ax: Axes) -> None:
    """Under the axes where it is low or wide, beside them otherwise: never over the data."""
    labels = ax.get_legend_handles_labels()[1]
    if not labels:  # those that begin with an underscore are not shown
        return
    longest = longest_line(labels) + 6
    columns = min(max(1, int(1.4 * room(ax) / longest)), len(labels))
    if len(labels) > 4 * columns and longest < 0.75 * room(ax):
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, **QUIET)
    elif len(labels) > 1 or "(gap" in labels[0]:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=columns, **BELOW)


def average(values: Floats) -> Floats:
    """The mean over seeds; nan where any is not finite."""
    mean: Floats = np.where(np.isfinite(values), values, np.nan).mean(axis=0)
    return mean


def longest_line(labels: Iterable[str]) -> int:
    """Characters of the longest line."""
    return max(len(line) for label in labels for line in label.split("\n"))
