"""What a piece of a net computes, read off its values: activations, norms, factors and gates by what they do.

A name says little: `gelu` is one function in torch and another in JAX, a slope of `leaky_relu` is 0.01, 0.2 or 0.3, and
`h * sigmoid(h)` has no name at all. So a piece is replayed in float64 on a grid, and what agrees with a row of the
catalogue to 1e-9 is that row. The grid is fine from -12 to 12 and goes on in steps of a fourth of an octave to eight
million, as a bound shows only beyond itself: up to 5 relu is relu6, and up to 19 it is a clip from 0 to 20.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vgcore import _core
from vgcore.convert.chain import activated
from vgcore.convert.tape import Array
from vgcore.model.kind import Activation

Function = Callable[[Array], Array]

#: How near values must be to those of a row of the catalogue, as a share of their size.
NEAR = 1e-9
LOW, HIGH = -12.0, 12.0
#: A power of two, so that a factor which is found from what it makes of this is exact.
FAR = 2.0**23
#: Evenly, so that no kink hides, and finely around 0, where most kinks are.
_INNER: Array = np.array(
    sorted({*np.linspace(LOW, HIGH, 2401), *np.linspace(-0.05, 0.05, 101), -math.pi, -math.e, math.e, math.pi})
)
_OUTER: Array = np.concatenate([np.geomspace(16, FAR, 77), [20.0, 50.0, 1e2, 1e3, 1e6]])
GRID: Array = np.sort(np.concatenate([_INNER, _OUTER, -_OUTER]))
_IS_INNER = np.abs(GRID) <= HIGH
#: What rows are multiplied by in turn, so that a bound of any size shows.
SCALES: Array = np.array([1.0, 30.0, 1e3, FAR])
#: Rows that a piece is tried on: as few shapes as can be, as some frameworks compile for each.
ROWS = 64
#: Numbers are drawn from one seed, so that the same net is read the same way every time.
_SEED = 20_180_427


@dataclass(frozen=True, eq=False)
class Curve:
    """One function of one number, the same for every feature: the text of an activation.

    The text of a sampled one is an `Activation`, which holds its table.
    """

    text: str
    note: str = ""


@dataclass(frozen=True, eq=False)
class Affine:
    """`scale x + shift`, a number a feature."""

    scale: Array
    shift: Array


@dataclass(frozen=True, eq=False)
class Normal:
    """A normalisation: the text of its kind, its weight and its bias."""

    text: str
    weight: Array
    bias: Array


@dataclass(frozen=True, eq=False)
class Paired:
    """An activation of pairs, which takes the features in the order `order`: `activation(x[:, order])`."""

    text: str
    order: tuple[int, ...]


Piece = Curve | Affine | Normal | Paired


def recognised(f: Function, features: int, *, learned: int = 0, custom: bool = True) -> Piece | str:
    """What a function of rows is, or why it is nothing that a net here has.

    Args:
        f: From `(n, features)` to `(n, any)`, for any n.
        features: Numbers of a row.
        learned: How many numbers of it training changes.
        custom: Whether an activation may be one of its own, sampled, where the catalogue has none.
    """
    with np.errstate(all="ignore"):
        try:
            made = np.asarray(f(_rows(features)))
        except (ValueError, IndexError, TypeError) as error:
            return f"it cannot be replayed on other rows ({error})"
        if made.ndim != 2 or len(made) != ROWS:
            return f"it makes an array of shape {made.shape} of {ROWS} rows of {features} numbers"
        if not np.isfinite(made).all():
            return "it gives values that are not finite"
        if made.shape[1] != features:
            return _paired(f, features, made.shape[1])
        if (line := _affine(f, features)) is not None:
            return line
        curve = _curve(f, features)
        values = curve(GRID)
        if not _is_of_all(f, features, values):
            if _elementwise(f, features):
                return "it is not one curve for all features"
            if (normal := _normal(f, features)) is not None:
                return normal
            mixed = "features" if _acts_on_samples(f, features) else "the samples of a batch"
            return f"it mixes {mixed} in another way than layer, rms and batch normalisation do"
        if not np.isfinite(values[_IS_INNER]).all():
            return "it is not finite between -12 and 12"
        if learned > 1:
            return "it has a number a feature that training changes, and is neither a norm nor a factor"
        if (text := named(curve, learned=bool(learned))) is not None:
            return Curve(text)
        if learned:
            return "it has a parameter that learns, and is no prelu"
        return sampled(curve) if custom else "it is no activation of the catalogue"


def _rows(features: int) -> Array:
    return np.random.default_rng(_SEED).standard_normal((ROWS, features))


def scaled_rows(features: int) -> Array:
    """Rows of several sizes, from 1 to `FAR`."""
    return _rows(features) * np.resize(SCALES, ROWS)[:, None]


def agree(found: Array, expected: Array) -> bool:
    """Are numbers the same to `NEAR` of their size, where neither is beyond what floating point has?"""
    known = np.isfinite(found) & np.isfinite(expected)
    return bool((np.abs(found - expected)[known] <= 1e-3 * NEAR * (1 + np.abs(expected[known]))).all())


def _curve(f: Function, features: int) -> Function:
    """A function that is the same for all features, as one of a list of numbers, which fill rows."""

    def curve(z: Array) -> Array:
        z = np.asarray(z, np.float64)
        rows = np.resize(z, (-(-len(z) // features), features)) if len(z) else np.zeros((0, features))
        return np.asarray(f(rows), np.float64).ravel()[: len(z)]

    return curve


def _is_of_all(f: Function, features: int, values: Array) -> bool:
    """Does every feature follow the one curve that has these values on the grid, whatever the other features are?"""
    picks = np.random.default_rng(_SEED).integers(len(GRID), size=(ROWS, features))
    mixed, expected = np.asarray(f(GRID[picks])), values[picks]
    return agree(mixed, expected)


def _acts_on_samples(f: Function, features: int) -> bool:
    """Does a sample give the same whatever the others are?"""
    x = _rows(features)
    return np.allclose(np.asarray(f(x))[:2], f(np.concatenate([x[:2], 2 * x[2:]]))[:2], rtol=0, atol=1e-12)


def _elementwise(f: Function, features: int) -> bool:
    """Does each number of the output depend on the one in its place alone?"""
    x = 3 * _rows(features)
    changed = x.copy()
    column = features // 2
    changed[3, column] += 1.0
    moved = np.abs(np.asarray(f(changed)) - np.asarray(f(x))) > 1e-13
    moved[3, column] = False
    return not moved.any()


def _affine(f: Function, features: int) -> Affine | None:
    """A line for each feature, if it is that."""
    x = scaled_rows(features)
    x[0], x[1] = 0.0, FAR
    made = np.asarray(f(x))
    shift, scale = made[0], (made[1] - made[0]) / FAR
    # Once more on other rows: with the statistics of one batch, a batch normalisation is a line too.
    for rows, found in ((x, made), (x / 3 + 1, np.asarray(f(x / 3 + 1)))):
        line = rows * scale + shift
        size = 1 + np.abs(rows) + np.abs(line)
        if not (np.isfinite(line).all() and (np.abs(line - found) <= 1e-3 * NEAR * size).all()):
            return None
    return Affine(scale, shift)


# --- Activations ---------------------------------------------------------------------------------


def named(curve: Function, *, learned: bool = False) -> str | None:
    """The activation of the catalogue that a function of a list of numbers is, if any.

    >>> import numpy as np
    >>> named(lambda z: z / (1 + np.exp(-z))), named(lambda z: np.maximum(z, 0.2 * z))
    ('silu', 'leaky_relu(negative_slope=0.2)')
    """
    with np.errstate(all="ignore"):
        values = curve(GRID)
        known = np.isfinite(values)  # far out a formula may overflow where the function does not
        largest = np.abs(values[_IS_INNER]).max()
        near = NEAR * min(1.0, float(largest)) * np.where(_IS_INNER, 1, np.abs(GRID) + np.abs(values))
        for text in _candidates(curve, learned=learned):
            try:
                candidate = Activation(text)
            except ValueError:  # a parameter beyond what is allowed
                continue
            if (np.abs(_on_grid(str(candidate)) - values) <= near)[known].all():
                return str(candidate)
    return None


@functools.lru_cache(maxsize=64)
def _on_grid(text: str) -> Array:
    """An activation of the catalogue on the grid, which all layers of a net ask for."""
    return _core.activate(text, GRID)[:, 0]


#: Rows of the catalogue that have no parameter, or one word; the plainest first.
_PLAIN = (
    *(
        "linear",
        "relu",
        "tanh",
        "sigmoid",
        "gelu",
        "gelu(tanh)",
        "silu",
        "relu6",
        "hardtanh",
        "selu",
        "mish",
        "softsign",
    ),
    *("hardsigmoid", "hardswish", "logsigmoid", "tanhshrink", "erf", "arctan", "abs"),
)


def _candidates(curve: Function, *, learned: bool) -> Iterator[str]:
    """Texts that the function may be: parameters are solved for at places where they show."""

    def at(z: float) -> float:
        return float(curve(np.array([z]))[0])

    if learned:
        yield f"prelu(init={-at(-1.0)!r})"  # a weight, which is never rounded
        return
    yield from _PLAIN
    low, high, below, middle = at(-FAR), at(FAR), at(-1.0), at(0.0)
    for slope in _spellings(-below):
        yield f"leaky_relu({slope})"
    for alpha in _spellings(at(LOW) / math.expm1(LOW)):
        yield f"elu({alpha})"
    for alpha in _spellings(_root(lambda alpha: alpha * math.expm1(-1 / alpha) - below, 1e-3, 1e3)):
        yield f"celu({alpha})"
    if low > -FAR and high < FAR:
        for least, most in zip(_spellings(low), _spellings(high), strict=False):
            yield f"hardtanh({least}, {most})"
    if middle > 0:
        for beta in _spellings(math.log(2) / middle):
            # Frameworks cut at 20 or never; the two differ by 2e-9, and by no rounding.
            past = 20.5 / float(beta)
            yield f"softplus(beta={beta})" if at(past) == past else f"softplus(beta={beta}, threshold=700)"
        for b in _spellings(4 * middle * middle):
            yield f"squareplus({b})"
    for lambd in _spellings(1024 - at(1024.0)):
        yield f"softshrink({lambd})"
    for edge in _spellings(_jump(lambda z: at(z) == z, 1e-9, FAR)):
        yield f"hardshrink({edge})"
    for edge in _spellings(_jump(lambda z: at(z) != low, -FAR, FAR)):
        for value in _spellings(low):
            yield f"threshold({edge}, {value})"
    if abs(at(1e-4)) <= 1:
        for omega in _spellings(math.asin(at(1e-4)) / 1e-4):
            yield f"sin({omega})"
    rise = at(0.05) - 0.05
    for alpha in _spellings(_root(lambda alpha: math.sin(0.05 * alpha) ** 2 / alpha - rise, 1e-3, 23.0)):
        yield f"snake({alpha})"


def _spellings(number: float | None) -> Iterator[str]:
    """A number as a person would have written it, then as it was found."""
    if number is not None and math.isfinite(number):
        for digits in (3, 6):
            if math.isclose(short := float(f"{number:.{digits}g}"), number, rel_tol=1e-8, abs_tol=1e-10):
                yield repr(short)
                break
        yield repr(number)


def _root(f: Callable[[float], float], low: float, high: float) -> float | None:
    """Where a monotone function is 0, by halving, if that is between two ends."""
    up = f(high) > 0
    if (f(low) > 0) == up:
        return None
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if (f(middle) > 0) == up else (middle, high)
    return (low + high) / 2


def _jump(holds: Callable[[float], bool], low: float, high: float) -> float | None:
    """The last place at which something does not hold yet, if it holds at the upper end and not at the lower."""
    if holds(low) or not holds(high):
        return None
    while low < (middle := (low + high) / 2) < high:
        low, high = (low, middle) if holds(middle) else (middle, high)
    return low


#: How far samples may reach; beyond, a sampled function is a line, as it must be there.
_REACHES = tuple(2.0**k for k in range(4, 11))


def sampled(curve: Function) -> Curve | str:
    """An activation of its own for a function that the catalogue lacks."""
    with np.errstate(all="ignore"):
        low, high = _end(curve, -1.0), _end(curve, 1.0)
        largest = float(np.abs(curve(_INNER)).max())
    if low is None or high is None:
        return f"it is none of the catalogue, and no samples follow it: beyond {_REACHES[-1]:g} it is no line yet"
    kinks, reason = _kinks(curve, low, high), ""
    for tolerance in (1e-10, 1e-9):
        near = tolerance * min(1.0, largest)
        try:
            found = Activation.custom("imported", curve, low=low, high=high, kinks=kinks, tolerance=near)
        except ValueError as error:
            reason = str(error)
            continue
        errors = found.error_bound or (0.0, 0.0)
        return Curve(
            found,
            f"an activation that the catalogue lacks was sampled from {low:g} to {high:g}: {found}, with errors of at "
            f"most {errors[0]:.0e} in values and {errors[1]:.0e} in slopes",
        )
    return f"no samples follow it closely enough: {reason}"


def _end(curve: Function, sign: float) -> float | None:
    """The place beyond which a function is a line, towards one side."""
    places = sign * np.sort(_OUTER)
    values = curve(places)
    for reach in _REACHES:
        start, to = curve(sign * np.array([reach, 1.125 * reach]))
        line = start + (to - start) / (0.125 * reach) * (np.abs(places) - reach)
        beyond = (np.abs(places) >= reach) & np.isfinite(values)
        if (np.abs(values - line)[beyond] <= NEAR * (np.abs(places) + np.abs(values))[beyond]).all():
            return sign * reach
    return None


def _kinks(curve: Function, low_end: float, high_end: float) -> list[float]:
    """Places where a function or its slope jumps.

    A smooth bend is a step times a curvature, and goes with the step; a kink is a jump of the slope, and stays. So each
    bend is halved down to a step of 1e-6 at the half that bends more, and what is left of it then is a kink.
    """

    def bends(z: Array) -> Array:  # of five places, the three second differences
        values = curve(z.ravel()).reshape(z.shape)
        return np.abs(np.diff(values, 2, axis=1)) / np.diff(z, axis=1)[:, :1]

    # Steps of at most 0.01, and never one at 0, where kinks are.
    z = np.linspace(low_end, high_end, int(100 * (high_end - low_end)) + 2)
    low, high = z[:-2], z[2:]
    fifths = np.linspace(0, 1, 5)
    while len(low) and high[0] - low[0] > 4e-6:
        places = low[:, None] + (high - low)[:, None] * fifths
        worst = bends(places).argmax(axis=1)
        rows = np.arange(len(low))
        low, high = places[rows, worst], places[rows, worst + 2]
    jump = bends(low[:, None] + (high - low)[:, None] * fifths).max(axis=1) > 1e-3
    low, high = low[jump], high[jump]
    found: list[float] = []
    for start, end in sorted({(round(a, 9), round(b, 9)) for a, b in zip(low, high, strict=True)}):
        at, to = start - 1e-6, end + 1e-6
        while to - at > 1e-13 * max(1.0, abs(at)):
            places = at + (to - at) * fifths
            worst = int(bends(places[None]).argmax())
            if to - at < 1e-8 and bends(places[None]).max() < 1e-3:
                break
            at, to = float(places[worst]), float(places[worst + 2])
        place = (at + to) / 2
        place = float(f"{place:.6f}") if abs(place - float(f"{place:.6f}")) < 1e-8 else place
        if not found or abs(place - found[-1]) > 1e-5:
            found.append(place)
    return found


# --- Norms ---------------------------------------------------------------------------------------


def _normal(f: Function, features: int) -> Normal | None:
    """The normalisation that a function is, if any: its eps, weight and bias solved for, then all of it compared."""
    x = _rows(features)
    bias = ((f(x) + f(-x)) / 2)[0]  # what is normalised is odd
    moved = np.allclose(f(x + 0.5), f(x), rtol=0, atol=1e-9)
    alone = np.allclose(f(x[:1]), f(x)[:1], rtol=0, atol=1e-9)
    kind = "batch" if not alone else "layer" if moved else "rms"
    axis = 0 if kind == "batch" else 1

    def parts(x: Array) -> tuple[Array, Array]:
        centre = x if kind == "rms" else x - x.mean(axis=axis, keepdims=True)
        return centre, np.mean(centre**2, axis=axis, keepdims=True)

    # At a large scale eps is nothing, which leaves the weight; at a small one it shows.
    centre, variance = parts(1e6 * x)
    strong = np.abs(centre).argmax(axis=0)
    columns = np.arange(features)
    weight = ((f(1e6 * x) - bias) * np.sqrt(variance) / centre)[strong, columns]
    used = int(np.abs(weight).argmax())
    if not np.isfinite(weight).all() or weight[used] == 0:
        return None
    small = 1e-3 * x
    for _ in range(3):
        centre, variance = parts(small)
        row = int(strong[used])
        spread = float(np.broadcast_to(variance, centre.shape)[row, used])
        root = weight[used] * centre[row, used] / (f(small)[row, used] - bias[used])
        eps = float(root * root - spread)
        small = x * math.sqrt(max(abs(eps), 1e-24))

    def agrees(eps: float, scale: float) -> bool:
        rows = scale * (_rows(features) + 0.1)
        centre, variance = parts(rows)
        ours = weight * centre / np.sqrt(variance + eps) + bias
        return bool(np.abs(ours - f(rows)).max() <= NEAR * (1 + np.abs(ours).max()))

    for likely in [0.0] if abs(eps) < 1e-11 * spread else map(float, _spellings(eps)):
        if likely >= 0 and all(agrees(likely, scale) for scale in (1.0, 30.0, max(math.sqrt(likely), 1e-8))):
            return Normal(f"{kind}(eps={likely!r})", weight, bias)
    return None


# --- Pairs ---------------------------------------------------------------------------------------


def _paired(f: Function, features: int, outputs: int) -> Paired | str:
    """An activation that halves or doubles the width, if it is one."""
    draw = np.random.default_rng(_SEED)
    x = draw.choice(GRID, size=(ROWS, features))
    theirs = np.asarray(f(x))
    if outputs == 2 * features:
        order = tuple(range(features))
        if _are_near(theirs, activated("crelu", x)[0]):
            return Paired("crelu", order)
    elif features == 2 * outputs:
        left, right = tuple(range(outputs)), tuple(range(outputs, features))
        even, odd = tuple(range(0, features, 2)), tuple(range(1, features, 2))
        for order in (left + right, right + left, even + odd, odd + even):
            for text in ("glu", "swiglu", "geglu", "geglu(tanh)"):
                if _are_near(theirs, activated(text, x[:, order])[0]):
                    return Paired(str(Activation(text)), order)
    return f"it makes {outputs} features of {features}, and is neither glu, swiglu, geglu nor crelu"


def _are_near(theirs: Array, ours: Array) -> bool:
    known = np.isfinite(theirs)
    return bool((np.abs(theirs - ours) <= NEAR * (1 + np.abs(ours)))[known].all())
