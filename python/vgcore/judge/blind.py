"""What a loss costs a net that does not look: `blind_guess`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore import _core
from vgcore.measure.result import Probe
from vgcore.model.kind import Loss
from vgcore.model.plan import Plan
from vgcore.model.spec import Spec

Floats = NDArray[np.float64]
Params = Mapping[str, Any]

#: Halvings of the range of targets: a huber loss is as exact as float64 long before, for it is flat at its least.
HALVINGS = 40


def _entropy(shares: Floats) -> Floats:
    """-p log p, and 0 for a share of 0."""
    terms: Floats = -shares * np.log(np.where(shares > 0, shares, 1.0))
    return terms


def _cross_entropy(t: NDArray[Any], params: Params, outputs: int) -> float:
    smoothing = params["label_smoothing"]
    shares = (1 - smoothing) * np.bincount(t, minlength=outputs) / len(t) + smoothing / outputs
    return float(_entropy(shares).sum())


def _mse(t: Floats, _: Params, __: int) -> float:
    return float(t.var(axis=0).mean())


def _half_mse(t: Floats, _: Params, __: int) -> float:
    return float(t.var(axis=0).sum() / 2)


def _mae(t: Floats, _: Params, __: int) -> float:
    return float(np.abs(t - np.median(t, axis=0)).mean())


def _huber(t: Floats, params: Params, _: int) -> float:
    delta = params["delta"]
    low, high = t.min(axis=0), t.max(axis=0)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = np.clip(middle - t, -delta, delta).sum(axis=0) > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    size = np.abs(low - t)
    return float(np.where(size <= delta, size**2 / 2, delta * (size - delta / 2)).mean())


def _bce(t: Floats, _: Params, __: int) -> float:
    share = t.mean(axis=0)
    return float((_entropy(share) + _entropy(1 - share)).mean())


def _hinge(t: Floats, _: Params, __: int) -> float:
    share = (t > 0).mean(axis=0)
    return float(2 * np.minimum(share, 1 - share).mean())


#: The mean loss of the best outputs that are the same for every sample, for targets as the core reads them.
LEAST: dict[str, Callable[[NDArray[Any], Params, int], float]] = {
    "mse": _mse,
    "half_mse": _half_mse,
    "mae": _mae,
    "huber": _huber,
    "cross_entropy": _cross_entropy,
    "bce_with_logits": _bce,
    "hinge": _hinge,
}


def blind_guess(
    loss: str, y: ArrayLike | None, outputs: int, *, places: int = 1, batch: int | None = None
) -> float | None:
    """The loss of the best constant output, which knows the targets and nothing of the samples.

    Args:
        loss: One of `LOSSES`, a call, or a `Loss`.
        y: Targets of all samples, as `probe` takes them.
        outputs: Columns of the output, of all places.
        places: Places of a sample that have an output each, the steps of an `RNN` or the tokens of a `Transformer`: the
            best output of each is its own.
        batch: Samples of a run, whose terms a sum adds up; all of y if None.

    Returns:
        ln K for K classes of equal size, the variance of y for `mse`. None where there is nothing to guess: a loss
        without targets, or targets that are the same for every sample.

    Raises:
        ValueError: For targets that do not fit.

    >>> round(blind_guess("cross_entropy", ["cat", "dog", "dog", "cat"], 2), 4)  # ln 2
    0.6931
    >>> blind_guess("mse(reduction=sum)", [1.0, 3.0], 1, batch=10)
    10.0
    """
    kind = Loss(loss)
    if not kind.takes_targets or y is None:
        return None
    rows = np.shape(y)[0]
    targets = _core.targets(kind, y, rows, outputs, places)
    assert targets is not None  # noqa: S101 (of a loss that takes them)
    if (targets == targets[0]).all():
        return None
    each = outputs // places
    terms = 1
    if kind.params["reduction"] == "sum":
        terms = (batch or rows) * places * (each if kind.reduction.endswith("elements") else 1)
    of_place = np.moveaxis(targets.reshape(rows, places, *(() if kind.takes_classes else (each,))), 1, 0)
    with np.errstate(over="ignore"):  # A loss may be infinite.
        return terms * float(np.mean([LEAST[kind.name](t, kind.params, each) for t in of_place]))


def blind_guess_of(spec: Spec, loss: str, y: ArrayLike | None, *, batch: int | None = None) -> float | None:
    """`blind_guess` at the outputs of a net."""
    plan = Plan.of(spec)
    return blind_guess(loss, y, plan.outputs, places=plan.places, batch=batch)


def first_loss(cell: Probe) -> float | None:
    """The loss at the start, its mean over the runs, in units of a blind guess; None where nothing is to guess."""
    if cell.loss is None:
        return None
    blind = blind_guess_of(cell.spec, cell.loss, cell.y, batch=cell.batch)
    return None if blind is None else float(np.mean(cell.loss_value)) / blind


#: Losses whose targets are numbers of any size.
OF_NUMBERS = ("mse", "half_mse", "mae", "huber")


def spread(cell: Probe) -> float | None:
    """Standard deviation of the targets, root mean square over their columns; None where they are no plain numbers."""
    if cell.loss is None or cell.y is None or Loss(cell.loss).name not in OF_NUMBERS:
        return None
    plan = Plan.of(cell.spec)
    targets = _core.targets(Loss(cell.loss), cell.y, np.shape(cell.y)[0], plan.outputs, plan.places)
    assert targets is not None  # noqa: S101 (of a loss that takes them)
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(np.mean(np.var(targets, axis=0))))
