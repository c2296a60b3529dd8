"""What pictures have in common: colours, axes, legends. matplotlib is loaded when the first one is drawn."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vgcore.measure import table
from vgcore.measure.result import Floats
from vgcore.model.given import wrong_type

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which every kind of colour vision tells apart, and which are seen on black as on white; their
# yellow is too pale for lines on white, and their black is a grey here.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#808080")
STYLES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (8, 2, 1, 2, 1, 2)), (0, (1, 4)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*", "d")
LOOKS: dict[str, tuple[Any, ...]] = {"color": COLORS, "linestyle": STYLES, "marker": MARKERS}
STEPS = (1, 2, 2.5, 5, 10)
REFERENCE: dict[str, Any] = {"color": "0.5", "linewidth": 0.8}
#: The least size of words, in points, and how much of axes a legend below or beside them may take.
SMALLEST, SHARE = 5.0, 0.4
#: Axes of so many inches have words of full size, and those of more have room for more of them.
FULL_WORDS, FULL = (4.0, 3.9), (4.2, 2.8)
#: What a layout leaves of the sides of axes, about; the characters of a line of a name, along an axis and turned.
LEFT, NAME, TURNED = 0.8, 12, 40


# Text


def verbatim(text: str) -> str:
    """A user's text, drawn as it is: to matplotlib `$` begins a formula, and a label that begins with `_` is no label.

    Names of activations of one's own need none of this: they are letters, digits and underscores.
    """
    spelled = text.replace("$", r"\$")
    return f" {spelled}" if spelled.startswith("_") else spelled


# Axes


def new_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The axes given, or those of a new figure of so many inches; open at the top and on the right.

    Words have the size of matplotlib's settings, smaller in a figure whose axes are all small. A figure without a
    layout gets one, so that none of them is cut or on its neighbour.
    """
    if ax is None:
        ax = table.optional("matplotlib.pyplot", "plot").subplots(figsize=(width, height), layout="constrained")[1]
    elif not isinstance(ax, table.optional("matplotlib.axes", "plot").Axes) or ax.name != "rectilinear":
        raise wrong_type("ax", "plain matplotlib Axes with an x and a y, as of plt.subplots()", ax)
    else:
        _lay_out(ax.figure.canvas.figure)
        scale = _scale(ax)
        for axis in (ax.xaxis, ax.yaxis):
            size = max(SMALLEST, scale * points("axes.labelsize"))
            axis.label.set_size(size)
            axis.set_tick_params(labelsize=max(SMALLEST, scale * points(f"{axis.axis_name}tick.labelsize")))
    return opened(ax)


def _scale(ax: Axes) -> float:
    """What words are multiplied by: the same in all axes of a grid, however a layout has shrunk some of them."""
    place = ax.get_subplotspec()
    if place is None:
        width, height = ax.bbox.width / ax.figure.dpi, ax.bbox.height / ax.figure.dpi
    else:
        down, across = place.get_gridspec().get_geometry()
        width, height = ax.figure.bbox.width / ax.figure.dpi / across, ax.figure.bbox.height / ax.figure.dpi / down
    return max(0.6, min(1.0, width / FULL_WORDS[0], height / FULL_WORDS[1]))


def opened(ax: Axes) -> Axes:
    """Axes without lines at the top and on the right, whose labels end where they end."""
    ax.spines[["top", "right"]].set_visible(False)
    artists().within(ax.xaxis.label, ax)
    artists().within(ax.yaxis.label, ax, "height")
    return ax


def _lay_out(figure: Figure) -> None:
    """Of the two layouts the one that `tight_layout()` and colour bars of others go along with, where it can be."""
    if figure.get_layout_engine() is None:
        figure.set_layout_engine("constrained" if figure.subfigs else "tight")


def finished(ax: Axes) -> Axes:
    """The axes, in their place: a tight layout goes by the lines that titles were broken into before it."""
    figure = ax.figure.canvas.figure
    engine = figure.get_layout_engine()
    if isinstance(engine, table.optional("matplotlib.layout_engine", "plot").TightLayoutEngine):
        for _ in range(2):
            engine.execute(figure)
    return ax


def artists() -> Any:
    """The module `vgcore.plot.artists`, which needs matplotlib."""
    table.optional("matplotlib", "plot")
    from vgcore.plot import artists as found

    return found


def points(name: str) -> float:
    """A size of the settings of matplotlib, in points."""
    size = table.optional("matplotlib", "plot").rcParams[name]
    return float(table.optional("matplotlib.font_manager", "plot").FontProperties(size=size).get_size_in_points())


def small(ax: Axes) -> float:
    """The size of small words beside labels of its axes, in points."""
    return max(SMALLEST, 0.833 * float(ax.xaxis.label.get_fontsize()))


def room(ax: Axes, size: float | None = None) -> float:
    """About how many characters fit across, of small words if no size is said."""
    return float(ax.bbox.width) / ax.figure.dpi * 72 / (0.58 * (size or small(ax)))


def ticker() -> Any:
    """The module `matplotlib.ticker`."""
    return table.optional("matplotlib.ticker", "plot")


# Colours that are seen on any paper


def paper(ax: Axes) -> tuple[float, float, float]:
    """What is behind the axes."""
    to_rgba = table.optional("matplotlib.colors", "plot").to_rgba
    shown = np.ones(3)
    for face in (ax.figure.get_facecolor(), ax.get_facecolor()):
        *color, alpha = to_rgba(face)
        shown = alpha * np.array(color) + (1 - alpha) * shown
    red, green, blue = shown.tolist()
    return red, green, blue


def is_dark(color: Any) -> bool:
    """Whether white is seen better on a colour than black is."""
    return bool(np.dot(np.asarray(color)[:3], (0.3, 0.59, 0.11)) < 0.5)


def ink(ax: Axes) -> str:
    """Black or white, what is seen best."""
    return "w" if is_dark(paper(ax)) else "k"


def shade(ax: Axes, share: float, color: Any = None) -> tuple[float, float, float]:
    """A share of ink, or of a colour, on the paper."""
    full = np.array(table.optional("matplotlib.colors", "plot").to_rgb(color or ink(ax)))
    red, green, blue = (share * full + (1 - share) * np.array(paper(ax))).tolist()
    return red, green, blue


def note(ax: Axes) -> dict[str, Any]:
    """Of small words within the axes."""
    return {"fontsize": small(ax), "color": shade(ax, 0.7)}


def outlined(ax: Axes, width: float, color: Any = None) -> list[Any]:
    """What makes a line of so many points' width seen on any colour: a rim in that of the paper, or another."""
    effects = table.optional("matplotlib.patheffects", "plot")
    return [effects.withStroke(linewidth=width + 2, foreground=color or paper(ax))]


def hatched(ax: Axes) -> dict[str, Any]:
    """Of cells that have no number."""
    return {"color": shade(ax, 0.07), "edgecolor": shade(ax, 0.45), "linewidth": 0}


# Lines


def looks_of(words: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    """Colour, line style and marker of each line; in grey, style and marker tell up to 72 lines apart.

    Where two fields suffice, the one with more values has the colours and markers, and the other the styles, so that
    what is alike looks alike; all in turn otherwise.
    """
    kinds = {name: list(dict.fromkeys(row[name] for row in words)) for name in words[0]}
    first, *others = sorted(kinds, key=lambda name: -len(kinds[name])) or [""]
    rest = list(dict.fromkeys(tuple(row[name] for name in others) for row in words))
    if others and len(kinds[first]) <= len(COLORS) and len(rest) <= len(STYLES):
        places = [(kinds[first].index(row[first]), rest.index(tuple(row[name] for name in others))) for row in words]
    else:
        places = [(i, i // len(MARKERS)) for i in range(len(words))]
    return [
        {
            "color": COLORS[i % len(COLORS)],
            "linestyle": STYLES[turn % len(STYLES)],
            "marker": MARKERS[i % len(MARKERS)],
        }
        for i, turn in places
    ]


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


def average(values: Floats) -> Floats:
    """The mean over seeds; nan where any is not finite."""
    mean: Floats = np.where(np.isfinite(values), values, np.nan).mean(axis=0)
    return mean


# Axes of numbers


def layer_axis(ax: Axes, word: str = "layer (1 = input side)") -> None:
    """All layers in view, or what else the words say, also those of gaps."""
    last = max(int(np.max(line.get_xdata())) for line in ax.get_lines())
    ax.xaxis.set_major_locator(ticker().MaxNLocator("auto", integer=True, steps=STEPS))
    ax.update_datalim([(1, 0), (last, 0)], updatey=False)
    ax.margins(x=0.02)
    ticks = ticker().MaxNLocator(_ticks(ax, last), integer=True, steps=STEPS).tick_values(1, last)
    ax.set_xticks([1, *(int(tick) for tick in ticks if 1 < tick <= last)])
    ax.set_xlabel(word)


def _ticks(ax: Axes, last: int) -> int:
    """How many numbers up to the last have room."""
    return min(9, max(2, int(0.7 * room(ax) / (len(str(last)) + 2))))


def number_axis(ax: Axes, values: Sequence[float], label: str) -> None:
    """Numbers on x that are spaced more evenly in their logarithms get a log axis."""
    whole = all(float(value).is_integer() for value in values)
    if len(values) > 1 and values[0] > 0:
        even, geometric = (np.std(steps) / np.mean(steps) for steps in (np.diff(values), np.diff(np.log2(values))))
        if geometric < even:
            ax.set_xscale("log", base=2 if whole else 10)
            ax.xaxis.set_minor_locator(ticker().NullLocator())
    # All values in view, also those at which no line has a number.
    ax.update_datalim([(values[0], 0), (values[-1], 0)], updatey=False)
    ax.autoscale_view(scaley=False)
    ax.xaxis.set_major_locator(artists().Places(values, [plain(value) for value in values], values))
    ax.xaxis.set_major_formatter(ticker().FuncFormatter(plain))
    ax.set_xlabel(label)


def place_axis(axis: Any, labels: Sequence[str], numbers: Sequence[float] = ()) -> None:
    """Label places of one by one: numbers as far as they have room, names all of them.

    A column whose name is not there says nothing, so names that have no room beside each other are turned, and smaller.
    """
    ax = axis.axes
    middles = [i + 0.5 for i in range(len(labels))]
    locator = artists().Places(middles, labels, numbers) if numbers else ticker().FixedLocator(middles)
    if not numbers:
        size = float(points(f"{axis.axis_name}tick.labelsize")) * (_scale(ax) if ax.figure is not None else 1)
        if axis.axis_name == "x":
            each = LEFT * ax.bbox.width * 72 / ax.figure.dpi / len(labels)
            turned = are_turned(labels, each, size)
            labels = [broken(label, TURNED if turned else NAME) for label in labels]
            look: dict[str, Any] = {"labelrotation": 90} if turned else {}
        else:
            each = LEFT * ax.bbox.height * 72 / ax.figure.dpi / len(labels)
            turned, look = True, {}
        if turned:
            look["labelsize"] = min(size, each / (1.2 * max(label.count("\n") + 1 for label in labels)))
        axis.set_tick_params(**look)
    ticks = dict(zip(middles, labels, strict=True))
    axis.set_major_locator(locator)
    axis.set_major_formatter(ticker().FuncFormatter(lambda at, _: ticks.get(at, "")))


def are_turned(labels: Sequence[str], each: float, size: float) -> bool:
    """Whether names below columns of so many points each are to be read from below."""
    return bool((longest_line(broken(label, NAME) for label in labels) * artists().CHARACTER + 0.8) * size > each)


def turned_height(labels: Sequence[str]) -> float:
    """About the inches that names take which are read from below."""
    return longest_line(broken(label, TURNED) for label in labels) * 0.6 * points("xtick.labelsize") / 72


def plain(value: float, _: Any = None) -> str:
    """A number as short as it is told apart."""
    return f"{value:g}"


def power(exponent: float, _: Any = None) -> str:
    """A tick in log10, written as the power of ten it stands for."""
    return rf"$\mathdefault{{10^{{{exponent:g}}}}}$"


def power_axis(ax: Axes) -> None:
    """Let y read as powers of ten, two or more in view: less would make noise look like a trend."""
    _in_view(ax, 2)
    ax.yaxis.set_major_locator(ticker().MaxNLocator(9, integer=True, steps=STEPS))
    ax.yaxis.set_major_formatter(ticker().FuncFormatter(power))
    y_grid(ax)


def factor_axis(ax: Axes) -> None:
    """Let logarithms on y read as the numbers that they are of: 0.5, 1, 2."""
    _in_view(ax, 0.1)
    at = round_numbers(*ax.get_ylim())
    ax.yaxis.set_major_locator(artists().Places(at, [ten_to(each) for each in at]))
    ax.yaxis.set_major_formatter(ticker().FuncFormatter(ten_to))
    y_grid(ax)


def ten_to(exponent: float, _: Any = None) -> str:
    """A tick in log10, written as the number that it stands for."""
    return f"{10**exponent:.4g}"


def round_numbers(low: float, high: float) -> list[float]:
    """Logarithms of short numbers between two logarithms."""
    parts: tuple[float, ...] = (1, 2, 5)
    if high - low > 4:
        parts = (1,)
    elif high - low < 0.25:
        parts = tuple(k / 20 for k in range(20, 200))
    elif high - low < 1.2:
        parts = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
    at = (e + math.log10(part) for e in range(math.floor(low), math.ceil(high) + 1) for part in parts)
    return [each for each in at if low - 1e-9 <= each <= high + 1e-9]


def _in_view(ax: Axes, decades: float) -> None:
    low, high = ax.get_ylim()
    if high - low < decades:
        ax.update_datalim([(1, (low + high) / 2 + sign * decades / 2) for sign in (-1, 1)], updatex=False)
        ax.autoscale_view()


def y_grid(ax: Axes) -> None:
    """Pale lines behind the data."""
    ax.grid(axis="y", color=shade(ax, 0.1), linewidth=0.6)
    ax.set_axisbelow(True)


def allowed(ax: Axes, starts: tuple[float, float], decades: float, of: str = "") -> None:
    """The band within which a verdict does not count a change from the starts of lines."""
    ax.axhspan(
        starts[0] - decades,
        starts[1] + decades,
        facecolor=shade(ax, 0.05),
        edgecolor=shade(ax, 0.5),
        linewidth=0.7,
        linestyle=":",
        zorder=0.5,
        label=f"{10**decades:.0f}-fold{of}, the verdict's limit",
    )


def colour_bar(
    ax: Axes,
    mesh: Any,
    *,
    label: str,
    ticks: Sequence[float] | None = None,
    words: Callable[[float], str] | None = None,
    place: Mapping[str, Any] | None = None,
    extend: str = "neither",
) -> None:
    """A bar beside the axes and part of them, so that every layout gives it room; or elsewhere, in panels."""
    bar: Any = ax.figure.colorbar(mesh, extend=extend, **(place or {"cax": ax.inset_axes((1.03, 0.0, 0.035, 1.0))}))
    bar.outline.set_visible(False)
    bar.minorticks_off()
    bar.ax.yaxis.label.set_size(small(ax))
    bar.ax.tick_params(labelsize=small(ax), color=ink(ax), labelcolor=ink(ax))
    if ticks is not None and words is not None:
        told = words
        bar.ax.yaxis.set_major_locator(artists().Places(ticks, [told(tick) for tick in ticks]))
        bar.ax.yaxis.set_major_formatter(ticker().FuncFormatter(lambda tick, _: told(tick)))
    bar.set_label(label, fontsize=small(ax), color=ink(ax))
    artists().within(bar.ax.yaxis.label, bar.ax, "height")


# Legends


class _Place(NamedTuple):
    """Where a legend is, and how."""

    beside: bool
    columns: int
    size: float
    labels: list[str]
    fits: bool = True

    @property
    def tall(self) -> float:
        """About its height in inches."""
        return math.ceil(sum(label.count("\n") + 1 for label in self.labels) / self.columns) * 1.3 * self.size / 72


def legend(ax: Axes, handles: Sequence[Any] | None = None, *, most: int = 1) -> None:
    """Under the axes where it is low or wide, beside them otherwise: never over the data.

    There is none of `most` lines, which the axis names, unless one has a gap. Where there is no room for all labels,
    the last entry says how many are left out.
    """
    given = ax.get_legend_handles_labels()[0] if handles is None else [*handles]
    labels = [str(handle.get_label()) for handle in given]
    if len(labels) <= most and not any("(gap" in label for label in labels):
        return
    place = _place(ax, labels)
    shown = given[: len(place.labels)]
    if len(shown) < len(given):
        shown[-1] = ax.plot([], [], linestyle="")[0]
        place.labels[-1] = f"and {len(given) - len(shown) + 1} more"
    at: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "borderaxespad": 0}
    if not place.beside:
        at = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "borderaxespad": _under(ax) / place.size}
    look: dict[str, Any] = {"frameon": False, "fontsize": place.size, "labelcolor": ink(ax)}
    ax.legend(shown, place.labels, ncols=place.columns, **at, **look)


def legend_of(figure: Figure, ax: Axes, handles: Mapping[str, Any]) -> None:
    """One legend under all panels of a figure, by labels."""
    across = int(figure.get_figwidth() * 72 / (0.58 * small(ax)))
    labels = [broken(label, across - 6, hard=True) for label in handles]
    columns = min(len(labels), max(1, int(across / (longest_line(labels) + 6))))
    look: dict[str, Any] = {"frameon": False, "fontsize": small(ax), "labelcolor": ink(ax)}
    figure.legend([*handles.values()], labels, loc="outside lower center", ncols=columns, **look)


def _under(ax: Axes) -> float:
    """How far the labels of x reach below the axes, in points."""
    size, label = float(ax.xaxis.label.get_fontsize()), ax.get_xlabel()
    return 11 + 1.3 * size * (1 + math.ceil(len(label) / room(ax, size)))


def _place(ax: Axes, labels: list[str]) -> _Place:
    """The first place with room for a legend, in words as large as can be."""
    height = float(ax.bbox.height) / ax.figure.dpi
    most = {False: height - min(2.2, (1 - SHARE) * height), True: height}
    size = small(ax)
    least = max(SMALLEST, 0.75 * size)
    while True:
        below, beside = (_placed(ax, labels, size, beside=each) for each in (False, True))
        many = below.tall > 5 * 1.3 * size / 72 and longest_line(labels) < SHARE * room(ax, size)
        for place in (beside, below) if many else (below, beside):
            if place.fits and place.tall < most[place.beside]:
                return place
        if size <= least:
            break
        size = max(least, size - 0.5)
    while len(below.labels) > 2 and below.tall > most[False]:
        below.labels.pop()
    return below


def _placed(ax: Axes, labels: list[str], size: float, *, beside: bool) -> _Place:
    """A legend in words of a size, in as many columns as make it low."""
    across = 0.9 * room(ax, size) * (SHARE if beside else 1)
    places = []
    for columns in range(1, 2 if beside else len(labels) + 1):
        width = int(across / columns) - 6
        told = [broken(label, max(12, width), hard=not beside) for label in labels]
        if columns == 1 or longest_line(told) <= width:
            places.append(_Place(beside, columns, size, told, longest_line(told) <= max(12, width)))
    return min(places, key=lambda place: place.tall)


def broken(label: str, width: int, *, hard: bool = False) -> str:
    """A label in lines of at most so many characters, where it has places to break; anywhere if it must."""
    lines = (textwrap.fill(each, width, break_long_words=hard, break_on_hyphens=False) for each in label.split("\n"))
    return "\n".join(lines)


def longest_line(labels: Iterable[str]) -> int:
    """Characters of the longest line."""
    return max(len(line) for label in labels for line in label.split("\n"))
