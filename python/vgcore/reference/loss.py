"""Losses: the terms of each, and their slopes by the output.

A loss has one term for each element or one for each sample; `mean` divides by as many as there are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vgcore.reference.activation import Pair
from vgcore.reference.kind import parse
from vgcore.reference.random import Array


def mse(y: Array, t: Array) -> Pair:
    """(y - t)^2."""
    return (y - t) ** 2, 2 * (y - t)


def half_mse(y: Array, t: Array) -> Pair:
    """(y - t)^2 / 2, summed over the outputs."""
    return ((y - t) ** 2 / 2).sum(axis=1), y - t


def mae(y: Array, t: Array) -> Pair:
    """|y - t|."""
    return np.abs(y - t), np.sign(y - t)


def huber(y: Array, t: Array, delta: float = 1.0) -> Pair:
    """(y - t)^2 / 2 up to |y - t| = delta, and straight on from there."""
    size = np.abs(y - t)
    return np.where(size <= delta, size**2 / 2, delta * (size - delta / 2)), np.clip(y - t, -delta, delta)


def cross_entropy(y: Array, t: Array, label_smoothing: float = 0.0) -> Pair:
    """-sum q log softmax(y), with q = 1 at class t, of which label_smoothing is spread over all classes."""
    rows, classes = np.arange(len(y)), y.shape[1]
    logits = y - y.max(axis=1, keepdims=True)
    weights = np.exp(logits)
    others = weights.copy()
    others[rows, logits.argmax(axis=1)] = 0  # the rest alone tells log(1 + others) from 0
    log_total = np.log1p(others.sum(axis=1))
    slope = weights / weights.sum(axis=1, keepdims=True)
    slope[rows, t] = 0
    slope[rows, t] = -slope.sum(axis=1)  # p - 1, without its cancellation near p = 1
    spread = np.full_like(slope, -1 / classes)
    spread[rows, t] = (classes - 1) / classes
    terms = log_total - (1 - label_smoothing) * logits[rows, t] - label_smoothing * logits.mean(axis=1)
    return terms, slope + label_smoothing * spread


def bce_with_logits(y: Array, t: Array) -> Pair:
    """-t log p - (1 - t) log(1 - p) with p = 1 / (1 + exp(-y))."""
    log_p, log_q = -np.logaddexp(0, -y), -np.logaddexp(0, y)
    return -t * log_p - (1 - t) * log_q, (1 - t) * np.exp(log_p) - t * np.exp(log_q)


def hinge(y: Array, t: Array) -> Pair:
    """max(0, 1 - t y) for t = -1 or 1."""
    return np.maximum(0, 1 - t * y), np.where(t * y < 1, -t, 0.0)


def output_sum(y: Array, _: Any) -> Pair:
    """y, summed over the outputs."""
    return y.sum(axis=1), np.ones_like(y)


LOSSES: dict[str, Callable[..., Pair]] = {
    "mse": mse,
    "half_mse": half_mse,
    "mae": mae,
    "huber": huber,
    "cross_entropy": cross_entropy,
    "bce_with_logits": bce_with_logits,
    "hinge": hinge,
    "output_sum": output_sum,
}


def evaluate(loss: str, y: Array, t: Array | None) -> tuple[float, Array]:
    """The value of a loss such as `"huber(delta=0.5, reduction=sum)"`, and dL/dy; t is None for `output_sum`."""
    name, params = parse(loss)
    over = params.pop("reduction", "mean")
    terms, slope = LOSSES[name](y, t, **params)
    count = 1 if over == "sum" else terms.size
    return float(terms.sum()) / count, slope / count
