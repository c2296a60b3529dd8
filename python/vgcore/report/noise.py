"""Whether two numbers differ by more than the noise of the seeds, and where along two nets they are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vgcore.measure.result import student
from vgcore.report.comparison import Measure
from vgcore.show.words import own, row

Floats = NDArray[np.float64]

#: Where along nets of different depth their columns are compared, as shares of the way.
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def half_width(runs: Floats) -> float:
    """Half the 95 % interval of the mean of the runs, by Student's t; nan where fewer than two are finite.

    >>> round(half_width(np.array([1.0, 2.0, 3.0])), 3), half_width(np.array([1.0]))
    (2.484, nan)
    """
    finite = runs[np.isfinite(runs)]
    if len(finite) < 2:
        return math.nan
    return student(len(finite) - 1) * float(np.std(finite, ddof=1)) / math.sqrt(len(finite))


def mean(runs: Floats) -> float:
    """The mean of what is finite, where that is the most of what is known; else the infinity, or nan.

    >>> mean(np.array([1.0, 3.0, np.inf])), mean(np.array([1.0, np.inf])), mean(np.array([np.nan]))
    (2.0, inf, nan)
    """
    known = runs[~np.isnan(runs)]
    finite = known[np.isfinite(known)]
    if 2 * len(finite) > len(known):
        return float(finite.mean())
    return float(known[~np.isfinite(known)][0]) if len(known) else math.nan


def beyond(before: float, after: float, *halves: float) -> bool | None:
    """Whether two intervals do not overlap; None where one of them is not known.

    >>> beyond(1.0, 2.0, 0.2, 0.3), beyond(1.0, 2.0, 0.6, 0.6), beyond(1.0, 2.0, 0.2, math.nan)
    (True, False, None)
    """
    if math.isnan(before) or math.isnan(after):
        return None
    if math.isinf(before) or math.isinf(after):
        return before != after
    return None if any(map(math.isnan, halves)) else abs(after - before) > sum(halves)


def measured(name: str, before: Floats, after: Floats, *, log10: bool = False) -> Measure:
    """A number that each run of both has: its means over the runs, and whether they differ by more than noise.

    >>> measured("loss", np.array([1.0, 1.2]), np.array([1.5, 1.6]))
    Measure(name='loss', before=1.1, after=1.55, beyond=False, log10=False)
    """
    one, other = mean(before), mean(after)
    return Measure(name, one, other, beyond(one, other, half_width(before), half_width(after)), log10)


def along(before: Sequence[str], after: Sequence[str]) -> tuple[tuple[str, ...], list[list[int]], str]:
    """Where the layers of two nets are compared, from their names.

    Returns:
        The places by name, the rows of both there, and what a reader has to know of it: nets of different depth are
        compared at the same share of their way.

    >>> along(["layer 1", "layer 2"], ["layer 1", "layer 2"])
    (('1', '2'), [[0, 1], [0, 1]], '')
    >>> places, rows, note = along(["layer 1", "layer 2"], [f"layer {i + 1}" for i in range(9)])
    >>> places, rows
    (('0 %', '25 %', '50 %', '75 %', '100 %'), [[0, 0, 0, 1, 1], [0, 2, 4, 6, 8]])
    >>> note
    '2 and 9 layers are compared at relative depth: 0 % is the first, 100 % the last'
    """
    if len(before) == len(after):
        names = own(before) if before == after else ()
        rows = list(range(len(before)))
        return names or tuple(str(i + 1) for i in rows), [rows, rows], ""
    shares = [[round(share * (len(names) - 1)) for share in SHARES] for names in (before, after)]
    both = f"{len(before)} and {len(after)} {row(before)}s"
    note = f"{both} are compared at relative depth: 0 % is the first, 100 % the last"
    return tuple(f"{share:.0%}".replace("%", " %") for share in SHARES), shares, note
