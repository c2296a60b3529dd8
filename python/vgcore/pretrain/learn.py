"""How a layer learns by itself: `Pace`, `learn`, and what is seen of it by epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore import _core
from vgcore.model.given import Bounds, array, integer, items, number, shown
from vgcore.model.kind import Kind

Floats = NDArray[np.float64]

#: Epochs with the first momentum, as in Hinton's guide.
FIRST = 5
#: Rows that monitors look at, of each sort.
SEEN = 1000
POSITIVE, AT_LEAST_ZERO, MOMENTUM = Bounds(above=0.0), Bounds(least=0.0), Bounds(least=0.0, most=0.999)


class Method(Kind):
    """A way to pretrain: a string, its canonical spelling, with its `name` and `params`."""

    _kind = "pretraining"


class Pair(NamedTuple):
    """The numbers of a layer that is used in both directions.

    Attributes:
        weight: `(hidden, visible)`.
        visible: Biases of the visible side.
        hidden: Biases of the hidden side.
    """

    weight: NDArray[Any]
    visible: NDArray[Any]
    hidden: NDArray[Any]


@dataclass(frozen=True)
class Pace:
    """How layers take their steps; `of` checks what a caller gives."""

    epochs: int
    lr: float
    batch: int
    momentum: tuple[float, float]
    decay: float
    seed: int

    @classmethod
    def of(cls, *, epochs: Any, lr: Any, batch: Any, momentum: Any, decay: Any, seed: Any) -> Pace:
        """What is allowed of what was given."""
        pair = (momentum, momentum)
        if isinstance(momentum, tuple | list):
            pair = tuple(items("momentum", momentum, "a number, or a pair of them", most=2))
            if len(pair) != 2:
                raise ValueError(f"momentum must be a number, or a pair of them, got {shown(momentum)}")
        return cls(
            integer("epochs", epochs, least=1, most=100_000),
            number("lr", lr, POSITIVE),
            integer("batch", batch, least=1),
            (number("momentum", pair[0], MOMENTUM), number("momentum", pair[1], MOMENTUM)),
            number("decay", decay, AT_LEAST_ZERO),
            integer("seed", seed, least=0, most=2**64 - 1),
        )

    def momenta(self) -> Iterator[float]:
        """The momentum of each epoch."""
        for epoch in range(self.epochs):
            yield self.momentum[epoch >= FIRST]


def learn(
    method: Method,
    start: Pair,
    rows: Floats,
    pace: Pace,
    *,
    layer: int = 0,
    activation: str = "sigmoid",
    probabilities: bool = True,
    seen: Callable[[int, Pair], None],
) -> Pair:
    """What a layer has learnt from rows; `seen(epoch, numbers)` is called after each epoch, from 0 on."""
    core = _core.Learner(
        method,
        start.weight,
        start.visible,
        start.hidden,
        rows,
        activation=activation,
        probabilities=probabilities,
        lr=pace.lr,
        decay=pace.decay,
        batch=pace.batch,
        seed=pace.seed,
        layer=layer,
    )
    found = start
    for epoch, momentum in enumerate(pace.momenta()):
        core.epoch(momentum)
        found = Pair(*core.numbers())
        if not all(np.isfinite(each).all() for each in found):
            raise ValueError(f"layer {layer + 1} diverged in epoch {epoch + 1}: give a smaller lr than {pace.lr:g}")
        seen(epoch, found)
    return found


def up(pair: Pair, rows: ArrayLike, activation: str = "sigmoid") -> Floats:
    """`phi(W v + c)` of rows."""
    return _core.half_pass(pair.weight, pair.hidden, rows, False, activation)


def down(pair: Pair, rows: ArrayLike, activation: str = "sigmoid") -> Floats:
    """`phi(W^T h + b)` of rows."""
    return _core.half_pass(pair.weight, pair.visible, rows, True, activation)


def error(pair: Pair, rows: Floats, activation: str = "sigmoid", *, probabilities: bool = True) -> float:
    """The mean squared difference of what goes up and comes down again, without anything drawn; nan without rows."""
    if not len(rows):
        return math.nan
    back = down(pair, up(pair, rows, activation), "sigmoid" if probabilities else "linear")
    return float(np.mean((back - rows) ** 2))


def in_unit_interval(rows: NDArray[Any]) -> bool:
    """Whether all values are from 0 to 1, as probabilities are."""
    return bool(rows.size == 0 or (rows.min() >= 0 and rows.max() <= 1))


def samples(name: str, x: Any, columns: int | None = None) -> Floats:
    """Rows of finite numbers, `(rows, columns)`, at least one."""
    with np.errstate(over="ignore"):  # of longer floats, which are infinite then
        found = array(name, x, kinds="biuf").astype(np.float64)
    if found.ndim != 2 or not found.size or (columns is not None and found.shape[1] != columns):
        wanted = f"(rows, {'units' if columns is None else columns})"
        raise ValueError(f"{name} must be of shape {wanted}, got {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} must be finite numbers")
    return found


def chances(name: str, x: Any, columns: int | None = None) -> Floats:
    """Rows of probabilities, or advice how to make some."""
    found = samples(name, x, columns)
    if not in_unit_interval(found):
        low, high = found.min(), found.max()
        raise ValueError(
            f"{name} must be from 0 to 1, probabilities of units that are on, got {low:.4g} to {high:.4g}; "
            f"scale it, as in ({name} - {name}.min()) / ({name}.max() - {name}.min()), or take method='dae'"
        )
    return found


def to_unit_interval(x: Any) -> tuple[Floats, str | None]:
    """Samples scaled to 0 to 1 by their least and largest value, and what was done to them, if anything.

    >>> to_unit_interval([[0.0, 4.0]])
    (array([[0., 1.]]), 'samples from 0 to 4 were scaled to 0 to 1')
    """
    found = samples("x", x)
    if in_unit_interval(found):
        return found, None
    low, high = float(found.min()), float(found.max())
    scaled = (found - low) / (high - low) if high > low else np.zeros_like(found)
    return scaled, f"samples from {low:.3g} to {high:.3g} were scaled to 0 to 1"


def apart(x: Floats, held_out: Any, seed: int) -> tuple[NDArray[np.intp], Floats]:
    """The rows that are learnt from, by index, and those that are held out: none, a share of all, or others."""
    every = np.arange(len(x))
    if held_out is None:
        return every, x[:0]
    if not isinstance(held_out, list | tuple) and getattr(held_out, "ndim", 0) == 0:
        share = number("held_out", held_out, Bounds(above=0.0, most=0.9))
        count = min(max(1, round(share * len(x))), len(x) - 1)
        if count < 1:
            raise ValueError("held_out needs more than one row of x")
        chosen = np.asarray(_core.batch_rows(seed, len(x), count, 1))
        return np.setdiff1d(every, chosen), x[chosen]
    return every, samples("held_out", held_out, x.shape[1])
