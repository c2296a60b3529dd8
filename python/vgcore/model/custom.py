"""Activations of a user's own: samples of a function, on grids fine enough for a stated error.

The core joins them by cubics (`src/activation/custom.rs`). Here a function is sampled, and what was sampled travels
with a spec.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from itertools import islice, pairwise
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from vgcore import _core

Array = npt.NDArray[np.float64]
Function = Callable[..., Any]

#: Cells of one piece, between which a grid is refined by halving.
FEWEST, MOST = 16, 2**17


@dataclass(eq=False)
class Table:
    """Samples of a function and of its slope in pieces, ascending; two at a border, where they may differ."""

    name: str
    borders: list[float]
    cells: list[int]
    values: Array
    slopes: Array
    kinks: list[float]
    error_bound: tuple[float, float] | None


class Known(str):  # noqa: SLOT000 (it keeps its table)
    """The text of an activation whose table is known, here and to the core, as long as there is this object."""

    table: Table
    held: _core.Table


#: The tables of this process by the text of their activation.
KNOWN: WeakValueDictionary[str, Known] = WeakValueDictionary()


def register(table: Table) -> Known:
    """Make a table known to the core as long as the text of its activation is kept."""
    held = _core.custom_activation(table.name, table.borders, table.cells, table.values, table.slopes, table.kinks)
    known = Known(held.text)
    known.table, known.held = table, held
    # One that is known already keeps its place: others may go by it.
    return KNOWN.setdefault(held.text, known)


def definition(text: str) -> dict[str, Any]:
    """A table as JSON can hold it."""
    table = vars(KNOWN[text].table)
    return {key: _packed(value) if isinstance(value, np.ndarray) else value for key, value in table.items()}


def restore(definition: dict[str, Any]) -> Known:
    """The text of the table that `definition` gave, known here as long as it is kept."""
    try:
        given = {field.name: definition[field.name] for field in fields(Table)}
        given["values"], given["slopes"] = _unpacked(given["values"]), _unpacked(given["slopes"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"this is no table of a custom activation: {error!r}") from None
    if given["error_bound"] is not None:
        given["error_bound"] = tuple(given["error_bound"])
    return register(Table(**given))


def _packed(numbers: Array) -> str:
    return base64.b64encode(numbers.astype("<f8").tobytes()).decode()


def _unpacked(text: str) -> Array:
    return np.frombuffer(base64.b64decode(text), "<f8").astype(np.float64)


def of_samples(name: str, z: npt.ArrayLike, values: npt.ArrayLike, slopes: npt.ArrayLike | None) -> Table:
    """The table through samples on an even grid."""
    z, values = _core.as_numbers("z", z), _core.as_numbers("values", values)
    if z.shape != values.shape or len(z) < 2:
        raise ValueError(f"z and values must be two lists of one length, 2 or more, got {z.shape} and {values.shape}")
    step = (z[-1] - z[0]) / (len(z) - 1)
    if not (step > 0 and np.abs(np.diff(z) - step).max() <= 1e-6 * step):
        raise ValueError("z must ascend in even steps")
    given = _differences(values, step) if slopes is None else _core.as_numbers("slopes", slopes)
    if given.shape != z.shape:
        raise ValueError(f"slopes must be as many as values, {len(z)}, got shape {given.shape}")
    zero = int(np.abs(z).argmin())
    borders, cuts = [float(z[0]), float(z[-1])], [0, len(z) - 1]
    if 0 < zero < len(z) - 1 and values[zero] == 0 and abs(z[zero]) < 1e-9 * step:
        borders, cuts = [borders[0], 0.0, borders[1]], [0, zero, len(z) - 1]
    pieces = [slice(first, last + 1) for first, last in pairwise(cuts)]
    values, given = (np.concatenate([part[piece] for piece in pieces]) for part in (values, given))
    return Table(name, borders, np.diff(cuts).tolist(), values, given, [], None)


def of_function(
    name: str, f: Function, df: Function | None, *, low: float, high: float, tolerance: float, kinks: Iterable[float]
) -> Table:
    """The table of a function, each piece between kinks as fine as the tolerance asks for."""
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, got {type(name).__name__}")
    low, high, tolerance = (
        _core.as_number(name, given) for name, given in (("low", low), ("high", high), ("tolerance", tolerance))
    )
    bends = sorted({*_core.as_numbers("kinks", list(islice(kinks, MOST))).tolist()})
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"low must be below high, both finite, got {low} and {high}")
    if not tolerance > 0:
        raise ValueError(f"tolerance must be above 0, got {tolerance}")
    if outside := [kink for kink in bends if not low < kink < high]:
        raise ValueError(f"kinks must lie between low and high, got {outside[0]}")
    phi, slope = _over_arrays(f), None if df is None else _over_arrays(df)
    # A signal too small for phi to bend must find 0 itself, where phi goes through it.
    through_zero = low < 0 < high and phi(np.zeros(1))[0] == 0
    borders = sorted({low, high, *bends, *([0.0] if through_zero else [])})
    parts = []
    for ends in pairwise(borders):
        cells = FEWEST
        while True:
            part = _piece(phi, slope, ends, cells, bends)
            if max(part[2]) <= tolerance:
                break
            if 2 * cells > MOST:
                value, steepness = part[2]
                raise ValueError(
                    f"custom activation {name[:80]!r}: between {ends[0]:g} and {ends[1]:g} {cells} cells reach an "
                    f"error of {value:.1e} in values and {steepness:.1e} in slopes, above the tolerance of "
                    f"{tolerance:g}; name the places where it bends or jumps in kinks, or raise the tolerance"
                )
            cells *= 2
        parts.append((cells, *part))
    counts, values, slopes, errors = zip(*parts, strict=True)
    bound = (max(error[0] for error in errors), max(error[1] for error in errors))
    return Table(name, borders, list(counts), np.concatenate(values), np.concatenate(slopes), bends, bound)


def _piece(
    phi: Function, slope: Function | None, ends: tuple[float, float], cells: int, kinks: Sequence[float]
) -> tuple[Array, Array, tuple[float, float]]:
    """Values and slopes on one grid, and the errors of value and slope where those of a cubic are largest."""
    z, h = np.linspace(*ends, cells + 1), (ends[1] - ends[0]) / cells
    # At a kink the side that the piece lies on counts.
    near = z.copy()
    near[0] = math.nextafter(ends[0], ends[1]) if ends[0] in kinks else ends[0]
    near[-1] = math.nextafter(ends[1], ends[0]) if ends[1] in kinks else ends[1]
    values = phi(near)
    values[np.abs(values) < 1e-300] = 0  # beside a kink at 0
    slopes = _differences(values, h) if slope is None else slope(near)
    middle = (values[1:] + values[:-1]) / 2 + h / 8 * (slopes[:-1] - slopes[1:])
    value_error = float(np.abs(middle - phi(z[:-1] + h / 2)).max())
    slope_error = 0.0
    for u in (0.5 - math.sqrt(1 / 12), 0.5 + math.sqrt(1 / 12)):
        rise = 6 * u * (1 - u) * np.diff(values) / h
        joined = rise + (1 - 4 * u + 3 * u * u) * slopes[:-1] + (3 * u * u - 2 * u) * slopes[1:]
        at, step = z[:-1] + u * h, h / 10
        if slope is None:
            far, close = phi(at + 2 * step) - phi(at - 2 * step), phi(at + step) - phi(at - step)
            true = (8 * close - far) / (12 * step)
        else:
            true = slope(at)
        slope_error = max(slope_error, float(np.abs(joined - true).max()))
    return values, slopes, (value_error, slope_error)


def _weights(points: int, place: int) -> list[float]:
    """Weights of values at 0, 1, ... whose sum is the slope at one of them, right for every polynomial through them.

    They are the slopes of Lagrange's polynomials, as fractions: a solver would round, and not everywhere alike, and the
    name of a table is a hash of its bits.
    """

    def weight(k: int) -> Fraction:
        others = [i for i in range(points) if i != k]
        if k == place:
            return sum((Fraction(1, place - i) for i in others), Fraction(0))
        parts = (Fraction(place - i, k - i) for i in others if i != place)
        return math.prod(parts, start=Fraction(1, k - place))

    return [float(weight(k)) for k in range(points)]


def _differences(values: Array, step: float) -> Array:
    """Slopes on an even grid by differences of sixth order, of lower order where there are fewer than seven values."""
    points = min(7, len(values))
    slopes = np.empty_like(values)
    for place, weights in enumerate(_weights(points, place) for place in range(points)):
        inner = place == points // 2
        start = 0 if place <= points // 2 else len(values) - points
        count = len(values) - points + 1 if inner else 1
        # One sum after the other, the same on every machine.
        sums = np.zeros(count)
        for k, weight in enumerate(weights):
            sums += weight * values[start + k : start + k + count]
        slopes[start + place : start + place + count] = sums / step
    return slopes


def _numbers(given: Any) -> Array:
    """What a function gave; an integer beyond the range of floats is infinite, and refused as that."""
    try:
        return np.array(given, np.float64)
    except OverflowError:
        return np.array(np.inf)


def _over_arrays(f: Function) -> Callable[[Array], Array]:
    """A function of one number or of arrays as one of arrays, whose values are finite."""

    def over(z: Array) -> Array:
        try:
            values = _numbers(f(z))
        except (TypeError, ValueError):  # made for one number
            values = _numbers([f(float(number)) for number in z])
        values = np.broadcast_to(values, z.shape).copy()
        if not np.isfinite(values).all():
            raise ValueError(f"a custom activation must be finite, got {values[~np.isfinite(values)][0]}")
        return values

    return over
