"""Artists that fit themselves to their axes each time they are drawn, as axes shrink where a layout makes room."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.ticker import Locator

#: The width of a character over the size of its font, about.
CHARACTER = 0.6


def within(text: Text, ax: Axes, side: Literal["width", "height"] = "width", share: float = 1.0) -> None:
    """Break the lines of a text that would be longer than a side of the axes, or that share of it."""
    text.set_wrap(True)
    # By itself matplotlib wraps at the edge of the figure, which in a grid of axes is beyond the neighbours.
    text._get_wrap_line_width = functools.partial(_length, ax, side, share)  # type: ignore[attr-defined]  # noqa: SLF001


def _length(ax: Axes, side: str, share: float) -> float:
    return float(getattr(ax.bbox, side)) * share


class Number(Text):
    """A number in a cell of one unit by one, drawn only where `longest` characters have room."""

    def __init__(self, *args: Any, longest: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.longest = longest

    def fits(self) -> bool:
        """Whether there is room for it."""
        if self.axes is None or self.figure is None:
            return False
        low, high = self.axes.transData.transform([(0, 0), (1, 1)])
        width, height = np.abs(high - low) * 72 / self.figure.dpi
        size = float(self.get_fontsize())
        return bool(width > (self.longest + 0.5) * CHARACTER * size and height > 1.25 * size)

    def draw(self, renderer: Any) -> None:
        """Draw it where it fits."""
        if self.fits():
            super().draw(renderer)


class Places(Locator):
    """Ticks at given places: as many as have room for their labels.

    Of numbers that are spaced evenly those that are round, otherwise the first and the last before all others.
    """

    def __init__(self, at: Sequence[float], labels: Sequence[str], numbers: Sequence[float] = ()) -> None:
        self.at: list[float] = [float(each) for each in at]
        self.labels: list[str] = list(labels)
        self.numbers: list[float] = list(numbers)

    def tick_values(self, vmin: float, vmax: float) -> list[float]:  # noqa: ARG002 (matplotlib's signature)
        """All of them."""
        return list(self.at)

    def __call__(self) -> list[float]:
        """Those that have room."""
        axis: Any = self.axis
        ax, size = axis.axes, float(axis.label.get_fontsize())
        if axis.axis_name == "x":
            points = ax.get_xaxis_transform().transform(np.column_stack([self.at, np.zeros(len(self.at))]))[:, 0]
            lengths = [(max(map(len, label.split("\n"))) * CHARACTER + 0.8) * size for label in self.labels]
        else:
            points = ax.get_yaxis_transform().transform(np.column_stack([np.zeros(len(self.at)), self.at]))[:, 1]
            lengths = [1.15 * (label.count("\n") + 1) * size for label in self.labels]
        points = points * 72 / ax.figure.dpi
        last = len(points) - 1

        def apart(i: int, j: int) -> bool:
            return bool(abs(points[i] - points[j]) >= (lengths[i] + lengths[j]) / 2)

        taken = [0]
        for i in range(1, last):
            if apart(i, taken[-1]) and apart(i, last):
                taken.append(i)
        if last and apart(0, last):
            taken.append(last)
        if len(taken) < len(points):
            for some in self._round():
                if all(apart(i, j) for i, j in itertools.pairwise(some)):
                    # Where numbers lie unevenly, few of them are round.
                    taken = some if len(some) >= max(3, 0.4 * len(taken)) else taken
                    break
        return [self.at[i] for i in taken]

    def _round(self) -> Iterator[list[int]]:
        """The first number and the multiples of ever larger round steps, by their places in the list."""
        if len(self.numbers) < 3:
            return
        span = max(self.numbers) - min(self.numbers)
        step = 10.0 ** np.floor(np.log10(span / len(self.numbers)))
        for scale in (1, 10, 100, 1000):
            for part in (1, 2, 2.5, 5):
                multiples = np.array(self.numbers) / (step * scale * part)
                even = np.isclose(multiples, np.round(multiples), rtol=0, atol=1e-6)
                yield [0, *(i for i in np.flatnonzero(even).tolist() if i)]
