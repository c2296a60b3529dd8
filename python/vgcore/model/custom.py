"""Activations of a user's own: samples of a function, on grids fine enough for a stated error.

The core joins them by cubics (`src/activation/custom.rs`). Here a function is sampled, and what was sampled travels
with a spec.
"""

from __future__ import annotations

import base64
import itertools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from itertools import islice, pairwise
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from vgcore import _core
from vgcore.model.given import wrong_type

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
    """The text of an activation whose table is known, here and to the core, as long as there is this object.

    Attributes:
        owner: The name that its owner gave; `relu (custom)` where a kind of vgcore has it.
        label: What people read: that name, as `mine (2)` where another table of this process has it already.
    """

    table: Table
    held: _core.Table
    owner: str
    label: str


#: The tables of this process by the text of their activation.
KNOWN: WeakValueDictionary[str, Known] = WeakValueDictionary()


def register(table: Table) -> Known:
    """Make a table known to the core as long as the text of its activation is kept."""
    held = _core.custom_activation(table.name, table.borders, table.cells, table.values, table.slopes, table.kinks)
    known = Known(held.text)
    known.table, known.held = table, held
    known.owner = f"{table.name} (custom)" if _is_kind(table.name) else table.name
    taken = {other.label for other in KNOWN.values()}
    labels = itertools.chain([known.owner], (f"{known.owner} ({i})" for i in itertools.count(2)))
    known.label = next(label for label in labels if label not in taken)
    # One that is known already keeps its place: others may go by it.
    return KNOWN.setdefault(held.text, known)


def _is_kind(name: str) -> bool:
    """Is this the name of an activation of vgcore, or what others call one?"""
    try:
        _core.resolve("activation", name, {})
    except ValueError:
        return False
    return True


#: How a table is spelled: the name that its owner gave, and a hash of the samples.
_SPELLED = re.compile(r"custom\(table=(\w+)_x[0-9a-f]{16}\)")


def named(text: str) -> str:
    """A text for people: activations of one's own by the names that their owners gave, no number of many zeros.

    It names the same kinds, in a spelling that is read as the canonical one.

    >>> named("normal(std=100000000000000000000)"), named("adam(lr=0.000000000001)"), named("selu(x=0.00001)")
    ('normal(std=1e20)', 'adam(lr=1e-12)', 'selu(x=0.00001)')
    """

    def label(spelled: re.Match[str]) -> str:
        known = KNOWN.get(spelled[0])
        return spelled[1] if known is None else known.label

    return _LONG.sub(_short, _SPELLED.sub(label, text))


#: A parameter that is spelled out at such length that nobody counts its zeros.
_LONG = re.compile(r"(?<==)-?(?=[\d.]{12,})\d+(?:\.\d+)?(?=[,)])")


def _short(number: re.Match[str]) -> str:
    """A number by its power of ten, where that is shorter and the same number."""
    short = re.sub(r"e([+-])0*", lambda e: "e" + e[1].strip("+"), repr(float(number[0])))
    return short if "e" in short and len(short) < len(number[0]) else number[0]


def bare(code: str) -> str:
    """The `repr` of texts, where an activation of one's own stands as the variable that it most likely is."""
    return named(re.sub(rf"'({_SPELLED.pattern})'", r"\1", code))


def is_own(activations: str | Iterable[str]) -> bool:
    """Is any of these an activation of one's own?"""
    return any(text.startswith("custom(") for text in ([activations] if isinstance(activations, str) else activations))


def spelled(label: str) -> str:
    """The text of the activation that people read this for; what is no label of one's own as it is."""
    return next((str(known) for known in KNOWN.values() if known.label == label), label)


def spellings(label: str) -> list[str]:
    """The texts of the known tables that a label may mean, which may have got another number in another process."""
    owner = re.sub(r" \(\d+\)$", "", label)
    return [str(known) for known in KNOWN.values() if known.owner == owner]


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
    phi, slope = _over_arrays("f", f), None if df is None else _over_arrays("df", df)
    # A signal too small for phi to bend must find 0 itself, where phi goes through it.
    through_zero = low < 0 < high and phi(np.zeros(2))[0] == 0
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
                _check_slope(phi, slope, ends, cells, tolerance)
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
        true = _slope_between(phi, at, step) if slope is None else slope(at)
        slope_error = max(slope_error, float(np.abs(joined - true).max()))
    return values, slopes, (value_error, slope_error)


def _slope_between(phi: Function, at: Array, step: float) -> Array:
    """The slope of a function by differences of fourth order."""
    far, close = phi(at + 2 * step) - phi(at - 2 * step), phi(at + step) - phi(at - step)
    return np.asarray((8 * close - far) / (12 * step))


def _check_slope(
    phi: Function, slope: Function | None, ends: tuple[float, float], cells: int, tolerance: float
) -> None:
    """Refuse a `df` that is not the slope of `f`; a kink that nobody named is in a few cells alone."""
    if slope is None:
        return
    h = (ends[1] - ends[0]) / cells
    z = np.linspace(*ends, cells + 1)[:-1] + h / 2
    given, found = slope(z), _slope_between(phi, z, h / 10)
    rounding = 1e3 * np.finfo(np.float64).eps * np.abs(phi(z)).max() / h
    off = np.abs(given - found)
    if np.mean(off > tolerance + rounding) > 0.01:
        worst = int(off.argmax())
        raise ValueError(
            f"df is not the slope of f: at z = {z[worst]:.6g} it is {given[worst]:.6g}, differences of f give "
            f"{found[worst]:.6g}"
        )


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
    """Slopes on an even grid by differences of sixth order, of lower order where there are fewer than seven values.

    Of a line it is the slope of the line, and 0 where three values or more in a row are one: sums of weights would
    leave 1e-17, and a gradient that is 0 would be told as one that is small.
    """
    rise = _line(values)
    if rise is not None:
        return np.full_like(values, rise / step)
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
    level = values[1:] == values[:-1]
    middles = np.flatnonzero(level[1:] & level[:-1]) + 1
    slopes[np.concatenate([middles - 1, middles, middles + 1])] = 0
    return slopes


def _line(values: Array) -> float | None:
    """What values rise by from one to the next, if all lie on a line but for rounding."""
    count, places = len(values), np.arange(len(values))
    # At a kink the outermost value is taken beside it.
    found = []
    for i in (0, 1) if count > 3 else (0,):
        rise = float((values[-1 - i] - values[i]) / (count - 1 - 2 * i))
        off = np.abs(values - (values[i] + rise * (places - i)))
        found.append((float(off.sum()), float(off.max()), rise))
    _, worst, rise = min(found)
    return rise if worst <= 4 * np.finfo(np.float64).eps * np.abs(values).max() else None


def _numbers(given: Any) -> Array:
    """What a function gave; an integer beyond the range of floats is infinite, and refused as that."""
    try:
        return np.array(given, np.float64)
    except OverflowError:
        return np.array(np.inf)


def _over_arrays(name: str, f: Function) -> Callable[[Array], Array]:
    """A function of one number or of arrays as one of arrays, whose values are finite."""
    if not callable(f):
        raise wrong_type(name, "a function of an array, such as lambda z: z**2", f)

    def one_by_one(z: Array) -> Array:
        return _numbers([f(float(number)) for number in z])

    def over(z: Array) -> Array:
        try:
            values = _numbers(f(z))
        except (TypeError, ValueError):  # made for one number
            values = one_by_one(z)
        if values.shape == () and np.isfinite(values) and not (one_by_one(z) == values).all():
            raise ValueError(f"{name} must return an array of z's shape, {z.shape}, got one number, {float(values):g}")
        if values.shape not in {(), z.shape}:
            raise ValueError(f"{name} must return an array of z's shape, {z.shape}, got shape {values.shape}")
        values = np.broadcast_to(values, z.shape).copy()
        if not np.isfinite(values).all():
            raise ValueError(f"a custom activation must be finite, got {values[~np.isfinite(values)][0]}")
        return values

    return over
