"""Clipping as functions of gradients: nothing is changed in place, and what was done is said.

Gradients are a `vg.Gradients`, of which the parameters' count, a dict of arrays by name, or a list of arrays; the
same kind comes back. Arithmetic is in float64, the arrays keep their dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore.model.given import Bounds, array, boolean, items, number, shown, text, wrong_type
from vgcore.model.names import listing
from vgcore.model.network import Array, Gradients, Network
from vgcore.model.shown import Shown
from vgcore.model.versioned import Versioned

Floats = NDArray[np.float64]
Grads = TypeVar("Grads", bound=Gradients | Mapping[str, Any] | Sequence[Any])

#: torch adds this to a norm before it divides by it.
EPS = 1e-6
AT_LEAST_ZERO, POSITIVE = Bounds(least=0, finite=False), Bounds(above=0, finite=False)
#: Numbers that NumPy works on at a time.
BLOCK = 2**20
#: Up to this p a number from 1/2 to 1 has a p-th power in float64's normal range.
_POWERS = 500


@dataclass(frozen=True, eq=False)
class Clipped(Versioned, Shown, Generic[Grads]):
    """Gradients after clipping, and what it did; unpacks as `grads, total`.

    The gradients are the caller's own to write to, as those that were given.

    Attributes:
        grads: The clipped gradients.
        total: The norm of all gradients before, as `get_total_norm`.
        coef: What they were multiplied by; the smallest factor where layers or units have their own, nan where entries
            are clipped one by one.
        fraction: Share that was clipped, of what is judged: all as one, layers, units or entries.
        nonfinite: Names of the tensors whose norm is not finite; a list's are its indices.
        layers: The factor of every layer after `clip_grad_norm(..., per_layer=True)`; empty otherwise.

    >>> import numpy as np
    >>> grads, total = clipped = clip_grad_norm([np.array([3.0, 4.0])], max_norm=1.0)
    >>> total, round(float(clipped.coef), 4), grads[0].round(4).tolist()
    (5.0, 0.2, [0.6, 0.8])
    """

    grads: Grads
    total: float
    coef: float
    fraction: float
    nonfinite: tuple[str, ...]
    layers: dict[str, float]

    def __repr__(self) -> str:
        bad = f", {len(self.nonfinite)} tensors not finite" if self.nonfinite else ""
        return f"Clipped(total {self.total:.4g}, coef {self.coef:.4g}, {self.fraction:.0%} clipped{bad})"

    def __iter__(self) -> Iterator[Any]:
        yield self.grads
        yield self.total


def get_total_norm(grads: Gradients | Mapping[str, Any] | Sequence[Any], norm_type: float = 2.0) -> float:
    """The norm of all gradients as one vector; nothing is clipped.

    Args:
        grads: Gradients of any kind; of a `Gradients`, those of the parameters.
        norm_type: p of the p-norm, above 0; `math.inf` for the largest entry.

    >>> get_total_norm([np.array([3e-200, 4e-200]), np.array([12e-200])])
    1.3e-199
    """
    norm_type = number("norm_type", norm_type, POSITIVE)
    return _total(_norms(_named(grads), norm_type), norm_type)


def clip_grad_norm(
    grads: Grads,
    max_norm: float,
    norm_type: float = 2.0,
    *,
    per_layer: bool = False,
    error_if_nonfinite: bool = False,
) -> Clipped[Grads]:
    """Scale gradients by `min(1, max_norm / (total + 1e-6))`, as torch does.

    The total is one norm over all parameters, biases too. Where it is not finite the gradients are left as they are and
    `nonfinite` names the culprits; torch makes zeros of all that is finite.

    Args:
        grads: Gradients of any kind.
        max_norm: 0 or more; `math.inf` clips nothing.
        norm_type: p of the p-norm, above 0; `math.inf` for the largest entry.
        per_layer: Judge every layer, its weight and bias together, by its own norm: another rule than torch's. A layer
            is what precedes the last dot of a name, so the arrays of a list are layers of their own.
        error_if_nonfinite: Raise a ValueError instead of leaving such gradients as they are.

    >>> clipped, total = clip_grad_norm({"a.weight": np.array([[3.0, 4.0]]), "a.bias": np.array([12.0])}, 1.3)
    >>> total, get_total_norm(clipped) < 1.3
    (13.0, True)
    """
    max_norm, norm_type = number("max_norm", max_norm, AT_LEAST_ZERO), number("norm_type", norm_type, POSITIVE)
    per_layer, error_if_nonfinite = boolean("per_layer", per_layer), boolean("error_if_nonfinite", error_if_nonfinite)
    arrays = _named(grads)
    norms = _norms(arrays, norm_type)
    total = _total(norms, norm_type)
    groups = {name: _layer(name) if per_layer else "" for name in arrays}
    totals = {
        group: _total({name: norms[name] for name in norms if groups[name] == group}, norm_type)
        for group in dict.fromkeys(groups.values())
    }
    nonfinite = tuple(name for name, norm in norms.items() if not math.isfinite(norm))
    if error_if_nonfinite and not math.isfinite(total):
        raise ValueError(f"the norm of the gradients is {total}, for {', '.join(nonfinite) or 'all of them together'}")
    coefs = {group: min(1.0, max_norm / (t + EPS)) if math.isfinite(t) else 1.0 for group, t in totals.items()}
    return Clipped(
        _like(grads, {name: _scaled(array, coefs[groups[name]]) for name, array in arrays.items()}),
        total,
        coef=min(coefs.values(), default=1.0),
        fraction=_share(sum(coef < 1 for coef in coefs.values()), len(coefs)),
        nonfinite=nonfinite,
        layers=coefs if per_layer else {},
    )


def clip_grad_value(grads: Grads, clip_value: float) -> Clipped[Grads]:
    """Clamp every entry to `[-clip_value, clip_value]`, as torch does: an infinite one too, and nan stays nan.

    Args:
        grads: Gradients of any kind.
        clip_value: 0 or more.

    >>> clip_grad_value([np.array([-3.0, 0.5])], 1).fraction
    0.5
    """
    clip_value = number("clip_value", clip_value, AT_LEAST_ZERO)
    arrays = _named(grads)
    norms = _norms(arrays, 2.0)
    beyond = sum(_beyond(array, clip_value) for array in arrays.values())
    return Clipped(
        _like(grads, {name: _clamped(array, clip_value) for name, array in arrays.items()}),
        _total(norms, 2.0),
        coef=math.nan,
        fraction=_share(beyond, sum(array.size for array in arrays.values())),
        nonfinite=tuple(name for name, norm in norms.items() if not math.isfinite(norm)),
        layers={},
    )


def clip_adaptive(
    grads: Grads,
    params: Network | Mapping[str, Any] | Sequence[Any],
    clipping: float = 0.01,
    eps: float = 1e-3,
    *,
    skip: str | Collection[str] = ("readout",),
) -> Clipped[Grads]:
    """Adaptive clipping (Brock et al. 2021, arXiv:2102.06171, eq. 3): no unit's gradient outgrows its weights.

    A unit is a row of a weight matrix; a bias vector is one unit, as in the authors' code, for the paper leaves it
    open. Where `|G| > clipping * max(|W|, eps)`, G is scaled down to that. A unit whose norm is not finite is left as
    it is.

    Args:
        grads: Gradients of any kind.
        params: What they are gradients of: the `Network`, its state dict, or arrays in the order of a list.
        clipping: Largest ratio of the two norms, 0 or more.
        eps: Least norm of a unit's weights, above 0: weights of 0 must be able to move.
        skip: Layers or tensors left alone, by name, or one name; the last layer, as in the paper.

    >>> g = clip_adaptive([np.array([[3.0, 4.0], [0.0, 0.01]])], [np.array([[0.6, 0.8], [0.0, 2.0]])]).grads[0]
    >>> g.round(12).tolist()
    [[0.006, 0.008], [0.0, 0.01]]
    """
    clipping, eps = number("clipping", clipping, AT_LEAST_ZERO), number("eps", eps, POSITIVE)
    arrays = _named(grads)
    given = _named(params.state_dict() if isinstance(params, Network) else params)
    skipped = (
        {skip}
        if isinstance(skip, str)
        else {text("skip", name) for name in items("skip", skip, "a name or a list of names", ordered=False)}
    )
    known = {*arrays, *map(_layer, arrays), "readout"}
    if unknown := sorted(skipped - known):
        raise ValueError(f"skip names {listing(unknown)}, but there are only: {listing(sorted(known))}")
    norms = _norms(arrays, 2.0)
    clipped: dict[str, Array] = {}
    coefs: list[Floats] = [np.ones(0)]
    for name, grad in arrays.items():
        if name not in given or given[name].shape != grad.shape:
            found = f"shape {given[name].shape}" if name in given else f"only {listing(given) or 'nothing'}"
            raise ValueError(f"params must hold {shown(name)} of shape {grad.shape}, got {found}")
        if name in skipped or _layer(name) in skipped:
            clipped[name] = grad.copy()
            continue
        unit, limit = (_by_rows(_of_units, _units(tensor)) for tensor in (grad, given[name]))
        limit = clipping * np.maximum(limit, eps)
        over = np.isfinite(unit) & (unit > limit)
        coef = np.where(over, limit / np.where(over, unit, 1.0), 1.0)
        clipped[name] = _scaled(grad, coef.reshape(-1, *[1] * (grad.ndim - 1)))
        coefs.append(coef)
    every = np.concatenate(coefs)
    return Clipped(
        _like(grads, clipped),
        _total(norms, 2.0),
        coef=float(every.min(initial=1.0)),
        fraction=_share(int(np.count_nonzero(every < 1)), every.size),
        nonfinite=tuple(name for name, norm in norms.items() if not math.isfinite(norm)),
        layers={},
    )


def log10_coef(log10_total: Floats, max_norm: float) -> Floats:
    """log10 of `min(1, max_norm / (total + 1e-6))` for norms of any size; nan for one that is not finite."""
    max_norm = number("max_norm", max_norm, AT_LEAST_ZERO)
    if max_norm == math.inf:
        return np.zeros_like(log10_total)
    with np.errstate(divide="ignore", invalid="ignore"):
        below = np.logaddexp(log10_total * math.log(10), math.log(EPS)) / math.log(10)
        coef: Floats = np.minimum(0.0, np.log10(np.float64(max_norm)) - below)
    return np.where(log10_total < math.inf, coef, math.nan)


def log10_hypot(a: Floats, b: Floats) -> Floats:
    """log10 of the norm of two parts, from those of their norms."""
    both: Floats = np.logaddexp(2 * math.log(10) * a, 2 * math.log(10) * b) / (2 * math.log(10))
    return both


# Gradients of any kind as arrays by name, and back


def _named(grads: Any) -> dict[str, Array]:
    """The arrays by name: those of a state dict, a mapping's own, or indices."""
    if isinstance(grads, Gradients):
        return grads.parameters
    if isinstance(grads, Mapping):
        pairs = items("gradients", grads.items(), "arrays by name", ordered=False)
        return {text("the name of a gradient", name): _array(shown(name), value) for name, value in pairs}
    if isinstance(grads, list | tuple):
        return {str(i): _array(f"'{i}'", value) for i, value in enumerate(grads)}
    raise wrong_type("gradients", "a Gradients, a dict or a list of arrays", grads)


def _like(grads: Any, arrays: dict[str, Array]) -> Any:
    """The arrays as what the caller gave."""
    values = list(arrays.values())
    if isinstance(grads, Gradients):
        return replace(grads, parameters=arrays)
    return dict(zip(grads, values, strict=True)) if isinstance(grads, Mapping) else values


def _array(name: str, value: ArrayLike) -> Array:
    found = array(name, value, kinds="biuf")
    return found if found.dtype.kind == "f" else found.astype(np.float64)


def _layer(name: str) -> str:
    """`layers.0` of `layers.0.weight`; a name without a dot is its own."""
    return name.rpartition(".")[0] or name


def _units(array: Array) -> Array:
    """One row a unit; a vector is one."""
    return array.reshape(len(array), math.prod(array.shape[1:])) if array.ndim > 1 else array.reshape(1, -1)


# Numbers


def _wide(array: Array) -> Floats:
    with np.errstate(over="ignore"):  # What a wider type holds and float64 does not is infinite.
        return array.astype(np.float64, copy=False)


def _cast(wide: Floats, like: Array) -> Array:
    return wide.astype(like.dtype).reshape(like.shape)


def _by_rows(work: Callable[..., Array], array: Array, *columns: Array) -> Array:
    """What work makes of an array and of columns beside it, some rows at a time, so that Ctrl-C is heard in between."""
    if array.size <= BLOCK:
        return work(array, *columns)
    rows = max(1, BLOCK * len(array) // array.size)
    blocks = [slice(i, i + rows) for i in range(0, len(array), rows)]
    beside = [[each if len(each) == 1 else each[block] for each in columns] for block in blocks]
    return np.concatenate([work(array[block], *some) for block, some in zip(blocks, beside, strict=True)])


def _scaled(array: Array, coef: float | Floats) -> Array:
    def scaled(some: Array, by: float | Floats = coef) -> Array:
        # In float64: a factor below float32's range may still leave entries within it.
        with np.errstate(invalid="ignore"):
            return _cast(_wide(some) * by, some)

    return _by_rows(scaled, array, *([coef] if isinstance(coef, np.ndarray) else []))


def _clamped(array: Array, limit: float) -> Array:
    return _by_rows(lambda some: _cast(np.clip(_wide(some), -limit, limit), some), array)


def _beyond(array: Array, limit: float) -> int:
    """How many entries are larger than a limit."""
    blocks = range(0, array.size, BLOCK)
    return sum(int(np.count_nonzero(np.abs(_wide(array.flat[i : i + BLOCK])) > limit)) for i in blocks)


def _norm(array: Array, p: float, axis: int | None = None) -> Floats:
    """The p-norm, all of it or along an axis; inf or nan where an entry is."""
    if axis is None and array.size > BLOCK:  # A norm of norms is the norm of all.
        blocks = range(0, array.size, BLOCK)
        return _norm(np.array([float(_norm(array.flat[i : i + BLOCK], p)) for i in blocks]), p)
    wide = np.abs(_wide(array))
    largest = wide.max(axis=axis, keepdims=True, initial=0.0)
    norm: Floats = largest
    if p == math.inf:
        return norm.squeeze(axis)
    finite = np.where(np.isfinite(largest), largest, 1.0)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if p > _POWERS:  # Of so high a power only the largest is sure to stay in the range, as 1.
            shares = wide / np.where(finite > 0, finite, 1.0)
            norm = largest * (shares**p).sum(axis=axis, keepdims=True) ** (1 / p)
            return norm.squeeze(axis)
        # Divided by a power of two, which rounds nothing, so that no power of an entry that counts leaves the range.
        exponent = np.frexp(finite)[1]
        powers = np.ldexp(wide, -exponent) ** p
        norm = np.ldexp(powers.sum(axis=axis, keepdims=True) ** (1 / p), exponent)
    return norm.squeeze(axis)


def _of_units(rows: Array) -> Floats:
    return _norm(rows, 2.0, axis=1)


def _norms(arrays: dict[str, Array], p: float) -> dict[str, float]:
    return {name: float(_norm(array, p)) for name, array in arrays.items()}


def _total(norms: dict[str, float], p: float) -> float:
    """A norm of norms is the norm of all."""
    return float(_norm(np.array([*norms.values()], dtype=np.float64), p))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
