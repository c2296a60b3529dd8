"""Gradients without a backward pass: of a normalisation by its formula, of any function by differences.

Differences are of sixth order, and good to about 1e-12 of a slope where the function is smooth.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vgcore.convert.tape import Array, Norm


def through_norm(op: Norm, x: Array, c: Array) -> Array:
    """Of a normalisation, by its formula."""
    axis = 0 if op.kind == "batch" else 1
    middle = x if op.kind == "rms" else x - x.mean(axis=axis, keepdims=True)
    spread = np.sqrt((middle**2).mean(axis=axis, keepdims=True) + op.eps)
    normed, c = middle / spread, c if op.weight is None else c * op.weight
    inner = c - normed * (c * normed).mean(axis=axis, keepdims=True)
    found: Array = (inner if op.kind == "rms" else inner - c.mean(axis=axis, keepdims=True)) / spread
    return found


def only(f: Callable[..., Array], args: list[Array], i: int) -> Callable[[Array], Array]:
    """A function of one of its arguments, the others as often as it has rows."""

    def of_one(x: Array) -> Array:
        times = len(x) // len(args[i])
        return f(*(x if j == i else np.tile(each, (times, 1)) for j, each in enumerate(args)))

    return of_one


def _slope(f: Callable[[float], Array]) -> Array:
    """The derivative of `f(h)` at 0, entry by entry: by a finer step where two steps disagree, as near a kink."""

    def differences(h: float) -> Array:
        return (45 * (f(h) - f(-h)) - 9 * (f(2 * h) - f(-2 * h)) + (f(3 * h) - f(-3 * h))) / (60 * h)

    found = differences(2e-3)
    unsettled = np.ones(found.shape, dtype=bool)
    for h in (5e-4, 1e-5, 1e-7, 1e-9):
        finer = differences(h)
        unsettled &= np.abs(finer - found) > 1e-10 * np.maximum(np.abs(finer), 1)
        if not unsettled.any():
            break
        found = np.where(unsettled, finer, found)
    return found


def at_once(f: Callable[[Array], Array], x: Array, c: Array) -> Array:
    """Of a function entry by entry."""
    size = _sizes(x)
    return c * _moved(f, x, size) / size


def by_entry(f: Callable[[Array], Array], x: Array, c: Array) -> Array:
    """Of a function row by row: all rows once for each entry of a row, some entries at a time."""
    rows, columns = x.shape
    found = np.empty_like(x)
    some = max(1, 2**22 // x.size)  # of 32 MB
    for start in range(0, columns, some):
        entries = range(start, min(start + some, columns))
        size = _sizes(x[:, entries]).T.reshape(-1, 1)
        moves = np.repeat(np.eye(columns)[entries], rows, axis=0) * size
        many, weights = np.tile(x, (len(entries), 1)), np.tile(c, (len(entries), 1))
        slopes = _moved(f, many, moves) / size * weights
        found[:, entries] = slopes.sum(axis=1).reshape(len(entries), rows).T
    return found


def _sizes(x: Array) -> Array:
    """What a step is a share of: of a large number, a small step is lost in rounding."""
    return np.maximum(np.abs(x), 1)


def _moved(f: Callable[[Array], Array], x: Array, move: Array) -> Array:
    """The derivative of a function along a move."""
    return _slope(lambda h: f(x + h * move))
