"""Pictures of sweeps: a quantity against any field, as lines or as a map, and small multiples of both."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from vgcore.judge.verdict import VERDICTS
from vgcore.measure import table
from vgcore.measure.result import Floats
from vgcore.model.sorts import FIELDS, KINDS_OF_ANY
from vgcore.plot.axes import (
    COLORS,
    REFERENCE,
    allowed,
    artists,
    average,
    colour_bar,
    factor_axis,
    finished,
    hatched,
    is_dark,
    legend,
    legend_of,
    line,
    longest_line,
    looks_of,
    new_axes,
    number_axis,
    opened,
    paper,
    place_axis,
    plain,
    power,
    power_axis,
    round_numbers,
    small,
    ten_to,
    turned_height,
    y_grid,
)
from vgcore.plot.fields import (
    GAPS,
    HATCHES,
    MAPPED,
    MEASURED,
    AnyCells,
    Cell,
    Quantity,
    allowed_change,
    along,
    apart,
    axis_words,
    cells_of,
    check_field,
    facts_of,
    is_number,
    label_of,
    quantity_of,
    spelled,
    varied_words,
    varying,
    words_of,
)
from vgcore.plot.titles import gap, gap_of_cells, gaps_of_panels, height_of, write_common, write_figure, write_title
from vgcore.train.many import ARGUMENTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours of numbers above 0, dark to bright, told apart in grey and by every kind of colour vision.
SIZES = "viridis"
#: Of the words of a verdict: green, and blue and vermilion as in diagrams of phases. Their first letters differ too.
FATES = {
    "healthy": COLORS[2],
    "vanishing": COLORS[0],
    "exploding": COLORS[1],
    "symmetric": COLORS[3],
    "collapsed": COLORS[4],
    "non-finite": COLORS[6],
}
#: Values that say nothing without the name of their field.
PLAIN = {"none", "True", "False"}
#: Handles of a legend; what a colour bar is made of, if there is one; and gaps of lines, by their labels.
Drawn: TypeAlias = tuple[list[Any], "dict[str, Any] | None", dict[str, str]]
#: Places of gaps that a label lists.
MOST_PLACES = 3
#: Panels in a row, and the inches of each.
ACROSS, PANEL = 3, (3.6, 3.0)
#: More numbers than these are never read, and a higher picture is not seen.
MOST_NUMBERS, MOST_INCHES = 2500, 60


@overload
def lines(
    sweep: AnyCells, *, x: str | None = None, value: str | None = None, facet: None = None, ax: Axes | None = None
) -> Axes: ...
@overload
def lines(
    sweep: AnyCells, *, x: str | None = None, value: str | None = None, facet: str, ax: None = None
) -> Figure: ...
def lines(
    sweep: AnyCells,
    *,
    x: str | None = None,
    value: str | None = None,
    facet: str | None = None,
    ax: Axes | None = None,
) -> Axes | Figure:
    """Draw a quantity against any field that is a number, a line a configuration of the other fields.

    The band is what a verdict allows a signal to change: 32-fold for dL/dz.

    Args:
        sweep: A `Sweep` or a `TrainSweep` (or a list of their cells) over two values of `x` or more.
        x: A field (`"depth"`, `"width"`, `"branch_scale"`, `"batch"`), a parameter of a kind as FIELD_PARAM
            (`"init_sigma_w"`, `"activation_negative_slope"`), of the optimiser too (`"optimizer_lr"`, or `"lr"`
            in short). If None the depth, of measured recurrent nets their `"steps"`.
        value: Of nets measured: the change from end to end of `"forward"` (z), `"backward"` (dL/dz, the default) or
            `"weight"` (dL/dW), that change a layer (`"backward_factor"`), or `"depth_limit"`. Of nets trained:
            `"final_loss"` (the default), `"best_loss"`, `"validation_loss"` or `"validation_accuracy"`.
        facet: A further field: a panel for each of its values, with the same axes and looks.
        ax: Where to draw; a new figure if None.

    Returns:
        The axes; the figure of all panels where `facet` is given.

    Raises:
        ValueError: Where `x` is no number of all cells, or the same in all, or where two cells that are not the same
            have one place on a line.

    >>> import vgcore as vg
    >>> s = vg.sweep(vg.MLP(depth=8, width=16), init=["mean_field(0.5)", "mean_field(1)", "mean_field(2)"], seeds=2)
    >>> lines(s, x="init_sigma_w").get_xlabel()
    'init_sigma_w'
    """
    cells = cells_of(sweep, runs=True)
    x = along(cells) if x is None else x
    quantity = quantity_of(value, cells, MEASURED)
    told = facts_of(cells)
    x, facet = _fields(told, ax, x=x, facet=facet)
    if not all(is_number(each[x]) for each in told):
        raise ValueError(f"x={x!r} is no number in all cells; a heatmap has names on its axes")
    if len({each[x] for each in told}) < 2:
        raise ValueError(_alike(x, told))
    drawn = [x] if facet is None else [x, facet]
    words = varied_words(cells, drawn)
    keys = list(dict.fromkeys(tuple(row.items()) for row in words))
    looks = dict(zip(keys, looks_of([dict(key) for key in keys]), strict=True))
    names = _distinct([_name(dict(key), cells, drawn) for key in keys])
    labels = dict(zip(keys, names, strict=True))
    places = [(str(each.get(facet)), each[x], *row.items()) for each, row in zip(told, words, strict=True)]
    _check_places(drawn, told, places)

    def draw(ax: Axes, shown: Sequence[int]) -> Drawn:
        gaps = {}
        for key in keys:
            at = dict(sorted((told[i][x], i) for i in shown if tuple(words[i].items()) == key))
            if at:
                drawn = {n: cells[i] for n, i in at.items()}
                gaps[labels[key]] = _line(ax, drawn, quantity, label=labels[key], look=looks[key], x=x)
        number_axis(ax, sorted({each[x] for each in told}), axis_words(x, cells))
        _value_axis(ax, quantity)
        return ax.get_legend_handles_labels()[0], None, {label: found for label, found in gaps.items() if found}

    mean = "mean ± 1 std over" if quantity.scale == "share" else "geometric mean ± 1 std over"
    if facet is not None:
        return _panels(cells, _axis_of(facet, told), draw, name=facet, mean=mean, without=[x])
    ax = new_axes(ax, 8, height_of(names))
    for handle in (found := draw(ax, range(len(cells))))[0]:
        handle.set_label(f"{handle.get_label()}{found[2].get(handle.get_label(), '')}")
    write_common(ax, cells, mean, without=[x])
    legend(ax)
    return finished(ax)


def depths(sweep: AnyCells, *, ax: Axes | None = None) -> Axes:
    """Draw the change of the backward signal from the last layer to the first against depth: `lines` as it comes.

    Args:
        sweep: A `Sweep` (or a list of probes) over two depths or more.
        ax: Where to draw; a new figure if None.
    """
    return lines(sweep, ax=ax)


@overload
def heatmap(
    sweep: AnyCells,
    *,
    x: str | None = None,
    y: str | None = None,
    value: str | None = None,
    facet: None = None,
    ax: Axes | None = None,
) -> Axes: ...
@overload
def heatmap(
    sweep: AnyCells,
    *,
    x: str | None = None,
    y: str | None = None,
    value: str | None = None,
    facet: str,
    ax: None = None,
) -> Figure: ...
def heatmap(
    sweep: AnyCells,
    *,
    x: str | None = None,
    y: str | None = None,
    value: str | None = None,
    facet: str | None = None,
    ax: Axes | None = None,
) -> Axes | Figure:
    """Draw a quantity as a map over two fields, or with a row a configuration of all fields but `x`.

    Colours of changes are linear to one power of ten and logarithmic beyond, so that 10^-700 leaves 10^-2 its colour.
    Numbers are written into cells that have room for them; cells without a number are hatched, each hatch with its
    reason.

    Args:
        sweep: A `Sweep` or a `TrainSweep` (or a list of their cells).
        x: The field of the columns, as in `lines`; a field of names has a column a name.
        y: The field of the rows; None for a row a configuration.
        value: As in `lines`, or `"verdict"` of nets measured.
        facet: A further field: a panel for each of its values, with the same axes and colours.
        ax: Where to draw; a new figure if None.

    Returns:
        The axes; the figure of all panels where `facet` is given.

    Raises:
        ValueError: Where two cells have one place, with the field that tells them apart.

    >>> import vgcore as vg
    >>> s = vg.sweep(vg.MLP(depth=1, width=16), depth=[4, 16], init=["mean_field(1)", "mean_field(2)"], seeds=2)
    >>> ax = heatmap(s, x="depth", y="init_sigma_w")
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['1', '2']
    """
    cells = cells_of(sweep, runs=True)
    x = along(cells) if x is None else x
    quantity = quantity_of(value, cells, MAPPED)
    told = facts_of(cells)
    x, y, facet = _fields(told, ax, x=x, y=y, facet=facet)
    columns = _axis_of(x, told)
    drawn = [name for name in (x, y, facet) if name is not None]
    if y is None:
        words = varied_words(cells, drawn)
        keys = [tuple(row.items()) for row in words]
        order = list(dict.fromkeys(keys))
        names = _distinct([_name(dict(key), cells, drawn) for key in order])
        rows = _Axis(names, [order.index(key) for key in keys])
    else:
        rows = _axis_of(y, told)
    shape = len(rows.labels), len(columns.labels)
    if shape[1] < 2 and (y is None or shape[0] < 2):
        raise ValueError(_alike(x, told))
    panels = [_word(each.get(facet)) for each in told]
    _check_places(drawn, told, list(zip(panels, rows.index, columns.index, strict=True)))
    numbers = [float(average(quantity.of(cell))) for cell in cells]

    def draw(ax: Axes, shown: Sequence[int]) -> Drawn:
        at = {(rows.index[i], columns.index[i]): i for i in shown}
        ax.set_xlabel(axis_words(x, cells))
        ax.set_ylabel("" if y is None else axis_words(y, cells))
        _grid(ax, rows, columns)
        empty = {"missing": [place for place in np.ndindex(*shape) if place not in at]}
        values = np.full(shape, np.nan)
        for place, i in at.items():
            if math.isfinite(numbers[i]):
                values[place] = numbers[i]
            else:
                empty.setdefault(quantity.lacks(cells[i]), []).append(place)
        hatches = _hatches(ax, empty)
        if quantity.scale == "word":
            return [*_words(ax, values), *hatches], None, {}
        mesh = _colours(ax, values, quantity, numbers)
        return hatches, {"mesh": mesh, **_scale(quantity, mesh.norm)}, {}

    mean = "mean over" if quantity.scale == "share" else "geometric mean over"
    without = [name for name in (x, y) if name is not None]
    if facet is not None:
        return _panels(cells, _axis_of(facet, told), draw, name=facet, mean=mean, without=without, under=columns)
    beside = 2.5 + 0.075 * longest_line(rows.labels)
    wide = min(max(beside + 0.4 * len(columns.labels), 7), 14)
    if not columns.numbers:
        wide = min(max(wide, beside + 0.25 * len(columns.labels)), MOST_INCHES)
    tall = 0.1 + 0.16 * max(label.count("\n") + 1 for label in rows.labels)
    under = turned_height(columns.labels) * (not columns.numbers)
    ax = new_axes(ax, wide, min(max(2 + tall * len(rows.labels), 3.6) + under, MOST_INCHES))
    handles, bar, _ = draw(ax, range(len(cells)))
    legend(ax, handles, most=0)
    if bar is not None:
        colour_bar(ax, **bar)
    left = 0.0
    for _ in range(3):  # how wide the labels of rows are is known once they are drawn, and a title moves the axes
        ax.figure.canvas.figure.draw_without_rendering()
        names, _ = ax.transAxes.inverted().transform((ax.yaxis.get_tightbbox() or ax.bbox).min)
        edge, _ = ax.transAxes.inverted().transform(ax.figure.bbox.min)
        left = min(float(max(names, edge)), 0.0)
        write_common(ax, cells, mean, left, without=without)
    return finished(ax)


# Axes of cells


@dataclass(frozen=True)
class _Axis:
    """The values of an axis as labels, and which of them each cell has."""

    labels: list[str]
    index: list[int]
    numbers: Sequence[float] = ()  # none of names


def _axis_of(name: str, told: Sequence[Mapping[str, Any]]) -> _Axis:
    """Numbers in their order, names as they come."""
    values = [each[name] for each in told]
    if all(map(is_number, values)):
        order = sorted(set(values))
        return _Axis([plain(value) for value in order], [order.index(value) for value in values], order)
    words = [_word(value) for value in values]
    names = list(dict.fromkeys(words))
    return _Axis(names, [names.index(each) for each in words])


def _word(value: Any) -> str:
    if value is None:
        return "none"
    return spelled(" ".join(map(str, value)) if isinstance(value, tuple | list) else str(value))


def _fields(told: Sequence[Mapping[str, Any]], ax: Axes | None, **fields: str | None) -> list[Any]:
    """What is on each axis, by the name of frames."""
    found = [None if name is None else check_field(argument, name, told) for argument, name in fields.items()]
    twice = [name for name, count in Counter(filter(None, found)).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} is on two axes; name another field")
    if fields["facet"] is not None and ax is not None:
        raise ValueError("ax is one picture and facet draws several, in a figure of their own; leave one of them out")
    return found


def _alike(x: str, told: Sequence[Mapping[str, Any]]) -> str:
    others = [name for name in varying(told, numbers=True) if name != x]
    value = "[2, 4, 8, 16]" if x in {"depth", "steps"} else "[...]"
    vary = f"vary it: sweep(spec, {x}={value})"
    return f"{x} is the same in all cells; {vary}" + (
        f", or draw over x={' or '.join(map(repr, others))}" if others else ""
    )


def _check_places(drawn: Sequence[str], told: Sequence[Mapping[str, Any]], places: Sequence[Hashable]) -> None:
    """Refuse cells that have one place and are not the same: one would hide the other."""
    taken: dict[Hashable, int] = {}
    for i, (each, place) in enumerate(zip(told, places, strict=True)):
        other = told[taken.setdefault(place, i)]
        if found := [name for name in apart(other, each) if name not in drawn]:
            at = " and ".join(f"{name} {_word(each[name])}" for name in drawn)
            raise ValueError(f"two cells or more have {at} and differ in {', '.join(found)}; {_choice(found[0], told)}")


def _choice(name: str, told: Sequence[Mapping[str, Any]]) -> str:
    """How to draw cells that differ in a field."""
    field = next((kind for kind in (*KINDS_OF_ANY, *ARGUMENTS, "loss") if name.startswith(f"{kind}_")), name)
    asked = name.removeprefix("optimizer_") if field == "optimizer" else field
    selected = f"choose: sweep.select({asked}=...)" if field in {*FIELDS, *ARGUMENTS} else f"draw one {field} at a time"
    facet = f"draw facet={name!r}, or " if all(name in each for each in told) else ""
    return f"{facet}{selected}"


def _distinct(labels: Sequence[str]) -> list[str]:
    """Labels that were shortened to the same, numbered."""
    count, seen = Counter(labels), Counter[str]()
    found = []
    for label in labels:
        seen[label] += 1
        found.append(f"{label} ({seen[label]})" if count[label] > 1 else label)
    return found


def _name(words: Mapping[str, str], cells: Sequence[Cell], without: Sequence[str]) -> str:
    """The label of a configuration; where all cells are of one, what it is."""
    if words:
        return label_of(words)
    every = words_of(cells[0], without)
    return label_of({name: every[name] for name in ("activation", "init", "parts") if name in every})


def _line(ax: Axes, cells: Mapping[float, Any], quantity: Quantity, *, label: str, look: dict[str, Any], x: str) -> str:
    """A configuration: over seeds where all cells have as many, else over the means of cells; and what gaps it has."""
    values = [quantity.of(cell) for cell in cells.values()]
    alike = len({len(each) for each in values}) == 1
    if not alike:
        values = [average(each[:, np.newaxis]) for each in values]
    stacked = np.stack(values, axis=1)
    line(ax, np.array(list(cells), dtype=np.float64), stacked, label=label, look=look)
    lost = [at for at, each in zip(cells, values, strict=True) if not np.isfinite(each).all()]
    if len(lost) > MOST_PLACES:
        where = f" at {len(lost)} of {len(cells)} values of {x}"
    else:
        where = f" at {x} {', '.join(map(plain, lost))}"
    if alike and quantity.scale == "change":
        return gap(stacked, list(cells.values()), where)
    return gap_of_cells([cells[at] for at in lost], len(cells), quantity, where)


def _value_axis(ax: Axes, quantity: Quantity) -> None:
    """What is drawn, where it is preserved, and what a verdict allows."""
    ax.set_ylabel(quantity.label)
    if quantity.scale == "change" and (limit := allowed_change(quantity.signal)):
        allowed(ax, (0.0, 0.0), limit)
    if quantity.diverging:
        ax.axhline(0, label="preserved", zorder=1, **REFERENCE)
    if quantity.scale == "share":
        y_grid(ax)
    elif quantity.scale == "change":
        power_axis(ax)
    else:
        factor_axis(ax)


# Maps


def _grid(ax: Axes, rows: _Axis, columns: _Axis) -> None:
    """Cells of one by one, from the top where rows are names, from below where they are numbers."""
    for axis, each in ((ax.xaxis, columns), (ax.yaxis, rows)):
        place_axis(axis, each.labels, each.numbers)
    ax.set_xlim(0, len(columns.labels))
    ax.set_ylim(*((0, len(rows.labels)) if rows.numbers else (len(rows.labels), 0)))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _hatches(ax: Axes, places: Mapping[str, Sequence[tuple[int, int]]]) -> list[Any]:
    """Cells without a number, each with its reason."""
    handles = []
    for word in [word for word in GAPS if places.get(word)]:
        i, j = np.transpose(places[word])
        handles.append(ax.bar(j + 0.5, 1, 1, i, hatch=HATCHES[word], label=GAPS[word], **hatched(ax)))
    return handles


def _words(ax: Axes, values: Floats) -> list[Any]:
    """A colour and a letter for each word."""
    colors = table.optional("matplotlib.colors", "plot")
    cmap, norm = colors.ListedColormap([FATES[word] for word in VERDICTS]), colors.Normalize(-0.5, len(VERDICTS) - 0.5)
    look: dict[str, Any] = {"edgecolors": paper(ax), "linewidth": _lines(values.shape)}
    ax.pcolormesh(np.ma.masked_invalid(values), cmap=cmap, norm=norm, **look)
    words = {at: VERDICTS[int(each)] for at, each in np.ndenumerate(values) if np.isfinite(each)}
    _write(ax, {at: word[0] for at, word in words.items()}, lambda at: cmap(norm(values[at])))
    found = [(i, word) for i, word in enumerate(VERDICTS) if word in words.values()]
    return [ax.fill([], [], color=cmap(norm(i)), label=f"{word[0]}: {word}")[0] for i, word in found]


def _lines(shape: tuple[int, int]) -> float:
    """The width of lines between so many cells."""
    return 1.0 if max(shape) <= 40 else 0.0


def _colours(ax: Axes, values: Floats, quantity: Quantity, every: Sequence[float]) -> Any:
    """Colour a grid of logarithms by the range of all that are drawn, and write the numbers in where they fit."""
    norm = _norm(quantity, np.array(every))
    cmap = "RdBu_r" if quantity.diverging else SIZES
    look: dict[str, Any] = {"edgecolors": paper(ax), "linewidth": _lines(values.shape)}
    mesh = ax.pcolormesh(np.ma.masked_invalid(values), cmap=cmap, norm=norm, **look)
    texts = {at: _number(each, quantity) for at, each in np.ndenumerate(values) if np.isfinite(each)}
    _write(ax, texts, lambda at: mesh.cmap(norm(values[at])))
    return mesh


def _scale(quantity: Quantity, norm: Any) -> dict[str, Any]:
    """What a colour bar says: its label, ticks and their words."""
    label = quantity.label + "\n(numbers: its power of ten)" * (quantity.scale == "change")
    if quantity.scale == "change":
        ticks = [10**e for e in range(6) if 10**e < norm.vmax] + [norm.vmax]
        return {"label": label, "ticks": [*(-tick for tick in reversed(ticks)), 0, *ticks], "words": power}
    if quantity.scale == "share":
        return {"label": label, "ticks": [0, 0.25, 0.5, 0.75, 1], "words": plain}
    return {"label": label, "ticks": round_numbers(norm.vmin, norm.vmax), "words": ten_to}


def _norm(quantity: Quantity, every: Floats) -> Any:
    """The range of colours."""
    colors = table.optional("matplotlib.colors", "plot")
    finite = every[np.isfinite(every)]
    if quantity.scale == "change":
        peak = np.max(np.abs(finite), initial=3.0)  # a grid of small changes keeps pale colours
        limit = next(m * 10**e for e in itertools.count() for m in (1, 2, 5) if m * 10**e >= peak)
        return colors.SymLogNorm(linthresh=1, vmin=-limit, vmax=limit, base=10)
    if quantity.diverging:
        peak = float(np.max(np.abs(finite), initial=math.log10(2)))
        return colors.Normalize(-peak, peak)
    if quantity.scale == "share" or not len(finite):
        return colors.Normalize(0, 1)
    middle, half = (finite.max() + finite.min()) / 2, max((finite.max() - finite.min()) / 2, 0.05)
    return colors.Normalize(middle - half, middle + half)


def _write(ax: Axes, texts: Mapping[tuple[int, ...], str], color: Any) -> None:
    """Words in cells, in black or white, what is seen on its colour."""
    if not 0 < len(texts) <= MOST_NUMBERS:
        return
    longest = max(map(len, texts.values()))
    for (i, j), text in texts.items():
        look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": small(ax), "clip_on": True}
        look["color"] = "w" if is_dark(color((i, j))) else "k"
        ax.add_artist(artists().Number(j + 0.5, i + 0.5, text, longest=longest, **look))


def _number(value: float, quantity: Quantity) -> str:
    """Two digits, or all before the point, of a change its power of ten."""
    if quantity.scale != "change":
        value = value if quantity.scale == "share" else 10**value
        return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"
    text = f"{value:.0f}" if abs(value) >= 9.95 else f"{round(value, 1) + 0:.1f}"  # + 0 makes -0.0 plain 0.0
    return text.replace("-", "−")


# Panels


def _panels(
    cells: Sequence[Cell],
    panels: _Axis,
    draw: Callable[[Axes, Sequence[int]], Drawn],
    *,
    name: str,
    mean: str,
    without: Sequence[str],
    under: _Axis | None = None,
) -> Figure:
    """A picture for each value of a field, in the order of an axis, with one title, legend and colour bar."""
    count = len(panels.labels)
    across = min(ACROSS, count)
    down = -(-count // across)
    look: dict[str, Any] = {"sharex": True, "sharey": True, "squeeze": False, "layout": "constrained"}
    names = [] if under is None or under.numbers else under.labels
    look["figsize"] = PANEL[0] * across + 1, PANEL[1] * down + 1.4 + (turned_height(names) if names else 0)
    figure, grid = table.optional("matplotlib.pyplot", "plot").subplots(down, across, **look)
    axes: list[Axes] = [opened(ax) for ax in grid.ravel()]
    handles: dict[str, Any] = {}
    gaps: dict[str, dict[str, str]] = {}
    bar = None
    for i, label in enumerate(panels.labels):
        ax = axes[i]
        found, bar, lost = draw(ax, [j for j, index in enumerate(panels.index) if index == i])
        handles |= {str(handle.get_label()): handle for handle in found}
        panel = f"{name} {label}" if panels.numbers or label in PLAIN else label
        for each, why in lost.items():
            gaps.setdefault(each, {})[panel] = why
        write_title(ax, [[panel]])
        if i % across:
            ax.set_ylabel("")
        if i + across < count:
            ax.set_xlabel("")
        else:
            ax.xaxis.set_tick_params(labelbottom=True)  # also above a place that stays empty
    for ax in axes[count:]:
        ax.remove()
    if bar is not None:
        colour_bar(axes[0], place={"ax": axes[:count], "aspect": 30, "pad": 0.02}, **bar)
    if handles:
        legend_of(figure, axes[0], {f"{each}{gaps_of_panels(gaps.get(each, {}))}": handles[each] for each in handles})
    write_figure(figure, cells, mean, [*without, name])
    found_figure: Figure = figure
    return found_figure
