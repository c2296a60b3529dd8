"""Small pictures of numbers as SVG, in the colours of the page around: a curve, a chart with axes, a map of cells.

In Markdown a curve is a row of bars.
"""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vgcore.show.html.blocks import Html, code, escaped, joined, spread, toned
from vgcore.show.html.style import TONES
from vgcore.show.text import BARS
from vgcore.show.words import extent

Floats = NDArray[np.float64]

#: Bars of a curve in Markdown.
MOST_BARS = 24
#: Pixels of a chart, and of what stands to the left of its axes, above, to the right and below.
WIDTH, HEIGHT = 340, 190
LEFT, ABOVE, RIGHT, BELOW = 44, 8, 10, 34
#: Points of a line of a chart.
POINTS = 160


def means(values: Floats) -> Floats:
    """The mean over the runs of what is finite, layer by layer; nan where nothing is, -inf where all is 0."""
    finite = np.isfinite(values)
    count = finite.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(finite, values, 0).sum(axis=0) / count
    return np.where(count > 0, mean, np.where(np.isneginf(values).all(axis=0), -math.inf, math.nan))


def _pieces(known: NDArray[np.bool_]) -> Iterator[list[int]]:
    """Places in a row that are known, without the gaps between."""
    for there, run in itertools.groupby(range(len(known)), key=lambda i: bool(known[i])):
        if there:
            yield list(run)


def _line(across: Floats, down: Floats, known: NDArray[np.bool_], marks: str) -> str:
    """A line through places that are known, a point where one stands alone."""
    drawn = []
    for places in _pieces(known):
        if len(places) == 1:
            drawn.append(f'<circle cx="{across[places[0]]:.1f}" cy="{down[places[0]]:.1f}" r="1.5" {marks}/>')
        else:
            points = " ".join(f"{across[i]:.1f},{down[i]:.1f}" for i in places)
            drawn.append(f'<polyline points="{points}" {marks}/>')
    return "".join(drawn)


def _heights(values: Floats, low: float, high: float) -> Floats:
    """Where values lie between two ends, from 0 to 1; the middle where the ends are one or too far apart."""
    with np.errstate(over="ignore", invalid="ignore"):
        span = high - low if high > low else math.inf
        return np.where(np.isfinite(values), (values - low) / span if math.isfinite(span) else 0.5, 0.0)


def _svg(said: str, width: int, height: int, drawn: str) -> str:
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'<svg role="img" aria-label="{html.escape(said)}" {size}>{drawn}</svg>'


def _bars(values: Floats, low: float, high: float) -> str:
    """Values as a row of bars; blank where one is not known."""
    chosen = values[spread(len(values), MOST_BARS)]
    at = np.minimum((len(BARS) * _heights(chosen, low, high)).astype(int), len(BARS) - 1)
    return "".join(BARS[i] if known else "\xa0" for i, known in zip(at, np.isfinite(chosen), strict=True))


def curve(
    values: Sequence[float] | Floats, what: str, *, column: str | None = None, width: int = 150, height: int = 30
) -> Html:
    """A small curve of some numbers, the first on the left; a gap where one is not finite.

    Args:
        values: The numbers.
        what: Of what, for those who do not see it.
        column: The column that they are of, which says how much they span at least; `what` if None.
        width: Pixels.
        height: Pixels.
    """
    chosen = np.asarray(values, dtype=np.float64)[spread(len(values), width)]
    finite = np.isfinite(chosen)
    if not finite.any():
        return Html("")
    low, high = extent(column or what, float(chosen[finite].min()), float(chosen[finite].max()))
    across = np.linspace(2, width - 2, len(chosen)) if len(chosen) > 1 else np.array([width / 2])
    down = height - 3 - (height - 6) * _heights(chosen, low, high)
    said = f"{what}: from {chosen[finite][0]:.3g} to {chosen[finite][-1]:.3g}"
    marks = 'fill="none" stroke="currentColor" stroke-width="1.5"'
    return Html(_svg(said, width, height, _line(across, down, finite, marks)), _bars(chosen, low, high))


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers from one end to the other, at most so many.

    >>> ticks(-24.3, 0.4, 5), ticks(0, 1, 5)
    ([-20.0, -15.0, -10.0, -5.0, 0.0], [0.0, 0.5, 1.0])
    """
    if not high > low or not math.isfinite(high - low):
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (power * each for each in (1, 2, 5, 10, 20, 50)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [i * step + 0.0 for i in range(first, last + 1)]
    return [low]


def counted(first: int, last: int, most: int) -> list[int]:
    """The first thing that is counted, and round numbers up to the last.

    >>> counted(1, 20, 6), counted(1, 3, 6), counted(1, 30, 6)
    ([1, 5, 10, 15, 20], [1, 2, 3], [1, 5, 10, 15, 20, 25, 30])
    """
    step = next(
        step for step in (base * 10**k for k in range(18) for base in (1, 2, 5)) if (last - first) / step < most
    )
    rounded = [i for i in range(step * (first // step + 1), last + 1, step) if 2 * (i - first) >= step]
    return [first, *rounded]


def charts(*drawn: Html) -> Html:
    """Charts side by side, as many as there is room for."""
    made = joined(*drawn)
    return Html(f'<div class="charts">{made}</div>', made.markdown) if drawn else Html("")


def chart(
    values: Floats,
    title: str,
    *,
    column: str,
    along: str = "layer",
    at: NDArray[np.int64] | None = None,
    ends: tuple[int, int] | None = None,
    words: str = "",
    beside: tuple[NDArray[np.int64], Floats] | None = None,
) -> Html:
    """A chart of a column: its mean over the runs as a line, from the least to the greatest of them as a band.

    Args:
        values: `(runs, places)`; a gap where no run is finite.
        title: What is drawn.
        column: The column that it is of, which says how much it spans at least.
        along: What is counted from left to right.
        at: The numbers of the places; from 1 on if None.
        ends: The first and the last number of the axis; those of the places if None.
        words: What line and band are, to stand below the title.
        beside: Places and values of a second line, dashed: the mean over its runs.
    """
    at = np.arange(1, values.shape[1] + 1) if at is None else at
    others = np.empty(0) if beside is None else means(beside[1])
    stopped = ""
    if along == "step" and (last := _last(values)) < values.shape[1] - 1:  # a training that ended before its time
        values, at = values[:, : last + 1], at[: last + 1]
        told_to = int(at[-1]) if beside is None else int(max(at[-1], beside[0][: _last(beside[1]) + 1].max(initial=0)))
        ends, stopped = (int(at[0]) if ends is None else ends[0], told_to), f"no number after {along} {at[-1]}"
    chosen = spread(values.shape[1], POINTS)
    values, at = values[:, chosen], at[chosen]
    there = np.isfinite(values)
    line = means(values)
    known: NDArray[np.bool_] = np.logical_or.reduce(there, axis=0)
    if not known.any():  # also where there is no place
        return Html(
            f"<figure>{_caption(title, 'nowhere finite')}</figure>", f"{escaped(title).markdown}: nowhere finite"
        )
    least = np.where(there, values, math.inf).min(axis=0)
    most = np.where(there, values, -math.inf).max(axis=0)
    inside = np.concatenate([least[known], most[known], others[np.isfinite(others)]])
    frame = _Frame(*(ends or (int(at[0]), int(at[-1]))), *extent(column, float(inside.min()), float(inside.max())))
    drawn = [frame.axes(along)]
    if len(values) > 1:
        edges = frame.down(least), frame.down(most)
        drawn += [_band(frame.across(at), *edges, places) for places in _pieces(known)]
    drawn.append(_line(frame.across(at), frame.down(line), known, 'class="run"'))
    if beside is not None:
        drawn.append(_line(frame.across(beside[0]), frame.down(others), np.isfinite(others), 'class="beside"'))
    gaps = "" if known.all() else "gaps are 0 or not finite"
    part = _of_some(there, at, along)
    told = f"from {line[known][0]:.3g} to {line[known][-1]:.3g}"
    bars = _bars(line, frame.low, frame.high)
    if beside is not None:
        bars += f" dashed: {_bars(others, frame.low, frame.high)}"
    bars += f" ({part})" if part else ""
    return Html(
        f"<figure>{_caption(title, *filter(None, (words, gaps, stopped, part)))}"
        f"{_svg(f'{title} by {along}: {told}', WIDTH, HEIGHT, ''.join(drawn))}</figure>",
        f"{escaped(f'{title}, {along} {frame.first} to {frame.last}, {told}:').markdown} {bars}",
    )


def _last(values: Floats) -> int:
    """The last place of which anything is known; the very last where nothing is."""
    known = np.flatnonzero(np.isfinite(values).any(axis=0))
    return int(known[-1]) if known.size else values.shape[1] - 1


def _of_some(there: NDArray[np.bool_], at: NDArray[np.int64], along: str) -> str:
    """Where a mean is not of all runs, and of how many it is."""
    runs, count = len(there), there.sum(axis=0)
    some = np.flatnonzero((count > 0) & (count < runs))
    if not some.size:
        return ""
    low, high = count[some].min(), count[some].max()
    many = str(low) if low == high else f"{low} to {high}"
    first, last = at[some[0]], at[some[-1]]
    where = f"{along} {first}" if first == last else f"{len(some)} {along}s from {first} to {last}"
    return f"at {where} the mean is of {many} of {runs} alone: the others are 0 or not finite"


def _caption(title: str, *words: str) -> str:
    told = f'<br><span class="quiet">{escaped("; ".join(words))}</span>' if words else ""
    return f"<figcaption><b>{escaped(title)}</b>{told}</figcaption>"


def _band(across: Floats, low: Floats, high: Floats, places: list[int]) -> str:
    edge = [*((across[i], high[i]) for i in places), *((across[i], low[i]) for i in reversed(places))]
    return f'<polygon class="band" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in edge)}"/>'


class _Frame(NamedTuple):
    """The axes of a chart.

    Attributes:
        first: The number on the left.
        last: The number on the right.
        low: The number at the bottom.
        high: The number at the top.
    """

    first: int
    last: int
    low: float
    high: float

    def across(self, at: NDArray[np.int64]) -> Floats:
        """Where places stand, in pixels from the left."""
        span = self.last - self.first
        share = (at - self.first) / span if span else np.full(len(at), 0.5)
        return LEFT + (WIDTH - LEFT - RIGHT) * share

    def down(self, values: Floats) -> Floats:
        """Where numbers stand, in pixels from above."""
        return ABOVE + (HEIGHT - ABOVE - BELOW) * (1 - _heights(values, self.low, self.high))

    def axes(self, along: str) -> str:
        """Lines and numbers of both axes, and what is counted."""
        bottom, right, drawn = HEIGHT - BELOW, WIDTH - RIGHT, []
        numbers = ticks(self.low, self.high, 5)
        for tick, y in zip(numbers, self.down(np.array(numbers)), strict=True):
            drawn.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            drawn.append(_text(LEFT - 6, y + 4, f"{tick:.4g}".replace("-", "\u2212"), "end"))
        places = np.array(counted(self.first, self.last, 8))
        for place, x in zip(places, self.across(places), strict=True):
            drawn.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
            drawn.append(_text(min(x, WIDTH - LETTER * len(str(place)) / 2), bottom + 16, str(place)))
        drawn.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
        drawn.append(_text((LEFT + right) / 2, HEIGHT - 3, along))
        return "".join(drawn)


def _text(x: float, y: float, text: str, anchor: str = "middle", *, upright: bool = False) -> str:
    turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if upright else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turned}>{escaped(text)}</text>'


class Square(NamedTuple):
    """A cell of a map.

    Attributes:
        word: The verdict that gives it its colour.
        strength: How strong that is, from 0 to 1.
        told: What is told of it where one points at it.
    """

    word: str
    strength: float
    told: str


#: Pixels of a cell of a map at most and at least, and of the cells of a map from left to right where these are not too
#: many; cells of which more than a colour and a letter is told; pixels of a letter.
SIDE, LEAST, ACROSS, TOLD, LETTER = 34, 14, 620, 1000, 6.5


def squares(
    names: tuple[str, str],
    labels: tuple[Sequence[str], Sequence[str]],
    cells: Mapping[tuple[int, int], Square],
    strength: str = "",
) -> Html:
    """A map of cells by two things that vary: a letter a verdict, in its colour, stronger where more changes.

    In Markdown it is the letters.

    Args:
        names: What varies from row to row, and from column to column.
        labels: The values of both.
        cells: By row and column, counted from 0; blank where there is none.
        strength: What makes a colour strong.
    """
    rows, columns = labels
    label = round(LETTER * max(map(len, columns))) + 10
    wide = max(min(max(SIDE, label), ACROSS // len(columns)), LEAST)
    tall = max(min(SIDE, ACROSS // len(rows)), LEAST)
    upright = label > wide  # each column has its label: on its side where there is no room
    first = max(map(len, rows))
    left = max(round(LETTER * first) + 12, (label - wide) // 2)
    right, bottom = left + wide * len(columns), tall * len(rows)
    below = bottom + (label if upright else 16)
    across = [left + wide * (k + 0.5) for k in range(len(columns))]
    drawn = [
        _square(cell, (left + wide * k, tall * i, wide, tall), told=len(cells) <= TOLD)
        for (i, k), cell in cells.items()
    ]
    lines = []
    for i, name in enumerate(rows):
        row = {k: cells[i, k].word[0].upper() for k in range(len(columns)) if (i, k) in cells}
        lines.append(f"{name:>{first}} {''.join(row.get(k, ' ') for k in range(len(columns)))}".rstrip())
        middle = tall * (i + 0.5) + 4
        places = " ".join(f"{across[k]:g}" for k in row)
        marks = f'class="letters" x="{places}" y="{middle:g}" text-anchor="middle"'
        drawn += [f"<text {marks}>{''.join(row.values())}</text>", _text(left - 6, middle, name, "end")]
    drawn += [
        _text(x + 4, bottom + 6, text, "end", upright=True) if upright else _text(x, bottom + 16, text)
        for x, text in zip(across, columns, strict=True)
    ]
    drawn.append(_text((left + right) / 2, below + 18, names[1]))
    said = f"{names[0]} downward, {names[1]} to the right"
    words = dict.fromkeys(cell.word for cell in cells.values())
    told = escaped("; ".join(filter(None, (said, strength))))
    legend = " ".join(toned(f"■ {word[0].upper()} {word}", word) for word in words)
    caption = f'<figcaption>{legend}<br><span class="quiet">{told}</span></figcaption>'
    drawing = _svg(f"verdicts: {said}", right + 20, below + 24, "".join(drawn)).replace("<svg ", '<svg class="map" ', 1)
    key = ", ".join(f"{word[0].upper()} {word}" for word in words)
    plain = joined(f"{said}: {', '.join(columns)}. {key}.", code("\n".join(lines)))
    return Html(f'<figure>{caption}<div class="wide">{drawing}</div></figure>', plain.markdown)


def _square(cell: Square, place: tuple[int, int, int, int], *, told: bool) -> str:
    x, y, width, height = place
    shape = f'x="{x}" y="{y}" width="{width}" height="{height}" fill-opacity="{0.2 + 0.8 * cell.strength:.2f}"'
    title = f"<title>{escaped(cell.told)}</title>" if told else ""
    return f'<rect class="square {TONES.get(cell.word, "quiet")}" {shape}>{title}</rect>'
