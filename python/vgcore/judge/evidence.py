"""What the rules look at, worked out of a probe: changes of signals that do not depend on the width.

No absolute size of a gradient is among it: a loss times a constant changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vgcore.measure.result import SIGNALS, Probe, Signal, student

Floats = NDArray[np.float64]

LN10 = math.log(10)


@dataclass(frozen=True)
class Change:
    """What happens to a signal from end to end, in its direction of travel, in powers of ten.

    Attributes:
        rms: log10 of the root mean square over nets: what mean field predicts, at any width.
        low: Lower end of its 95 % interval over seeds; nan for one seed.
        high: The upper end.
        typical: Mean over runs of log10: that of a typical net, lower than `rms` in narrow deep nets.
        runs: The change of each run: -inf where the signal does not arrive, nan where the run was not finite.
    """

    rms: float
    low: float
    high: float
    typical: float
    runs: Floats

    @property
    def drift(self) -> float:
        """Decades by which a typical net lies below the root mean square."""
        return self.rms - self.typical if math.isfinite(self.rms) else 0.0


class Evidence:
    """What the rules look at, worked out of a probe once."""

    def __init__(self, cell: Probe) -> None:
        self.probe = cell
        self.depth = cell.spec.depth
        self.steps = cell.spec.depth - 1

    def column(self, name: str) -> Floats:
        """Mean over the seeds that have a value, `(depth,)`; nan where none has."""
        values: Floats = getattr(self.probe, name)
        there = ~np.isnan(values)
        count = there.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            means: Floats = np.where(there, values, 0).sum(axis=0) / count
        return means

    def sizes(self, signal: Signal) -> Floats:
        """log10 sizes of a signal, `(seeds, depth)`.

        Branches may start closed (rezero, arXiv:2003.04887; fixup, arXiv:1901.09321): a signal is exactly 0 in some
        layers of every run, and training opens them. What passes around them is not lost, so a layer without the
        signal counts as the one that it comes from. Where dL/dz is 0 in all of them, the gradients of the factors that
        open them tell its size, on average over seeds: each is a sum of products of random signs. Where z is 0 in all
        of them, nothing is known to change.
        """
        values: Floats = getattr(self.probe, SIGNALS[signal][0])
        closed = np.isneginf(values).all(axis=0)
        if signal == "weight" or not closed.any() or not self.opens:
            return values
        if closed.all():
            gates = self.column("log10_gate_grad_norm")
            factors = np.flatnonzero(~np.isnan(gates))  # one a block, at its end
            if signal == "forward" or not len(factors):
                return np.zeros_like(values)
            at = factors[np.minimum(np.searchsorted(factors, np.arange(self.depth)), len(factors) - 1)]
            return np.broadcast_to(gates[at], values.shape)
        there = np.flatnonzero(~closed)
        at = np.arange(self.depth)
        before = there[np.maximum(np.searchsorted(there, at, "right") - 1, 0)]
        behind = there[np.minimum(np.searchsorted(there, at), len(there) - 1)]
        return values[:, before if signal == "forward" else behind]

    @cached_property
    def opens(self) -> bool:
        """Whether a net with branches has a gradient for what would open those that are closed."""
        gradients = (self.probe.log10_wgrad_norm, self.probe.log10_gate_grad_norm)
        return self.probe.spec.skip is not None and any(np.isfinite(each).any() for each in gradients)

    @cached_property
    def closed(self) -> NDArray[np.bool_]:
        """Layers that start at exactly 0 and have a gradient: closed, not dead; `(depth,)`."""
        at_zero = np.isneginf(self.probe.log10_z_rms).all(axis=0)
        learning = np.isfinite(self.probe.log10_wgrad_norm).any(axis=0)
        return np.logical_and(at_zero, learning)

    def profile(self, signal: Signal) -> Floats:
        """log10 of the change of a signal from where it starts, `(seeds, depth)`."""
        values = self.sizes(signal)
        start = values[:, :1] if signal == "forward" else values[:, -1:]
        with np.errstate(invalid="ignore"):
            return values - start

    def change(self, signal: Signal) -> Change:
        """The change of a signal over all layers."""
        values = self.sizes(signal)
        return _change(values if signal == "forward" else values[:, ::-1])

    @cached_property
    def backward(self) -> Change:
        """The change of dL/dz from the last layer to the first."""
        return self.change("backward")

    @cached_property
    def forward(self) -> Change:
        """The change of z from the first layer to the last.

        Where the second half of the layers changes less than the first, twice the change of the second half: on its
        first layers a net takes the data to its own scale, which is no vanishing. So a power law counts little, and a
        constant factor in full.
        """
        whole = self.change("forward")
        if self.steps < 4:
            return whole
        half = _change(self.sizes("forward")[:, self.steps // 2 :])
        bulk = self.steps / (self.steps - self.steps // 2)
        low, high, typical = (bulk * v for v in (half.low, half.high, half.typical))
        steady = Change(bulk * half.rms, low, high, typical, bulk * half.runs)
        if math.isfinite(whole.rms) and whole.rms * steady.rms <= 0:
            return Change(0.0, whole.low, whole.high, 0.0, np.zeros_like(whole.runs))
        return steady if abs(steady.rms) < abs(whole.rms) else whole

    @cached_property
    def weight(self) -> Change:
        """The change of dL/dW from the last layer to the first."""
        return self.change("weight")

    @cached_property
    def nonfinite(self) -> NDArray[np.int64]:
        """The layers where runs were first not finite, one for each such run."""
        return self.probe.first_nonfinite[self.probe.first_nonfinite >= 0]

    def factor(self, change: Change) -> float:
        """A layer's share of a change."""
        return ten_to(change.rms / self.steps) if self.steps and math.isfinite(change.rms) else math.nan

    def beyond(self, signal: Signal, sign: int, decades: float) -> tuple[int, ...]:
        """The layers at which a signal has moved by more than so many decades, up (sign 1) or down (-1)."""
        with np.errstate(invalid="ignore"):
            moved = sign * mean_log(self.profile(signal)) >= decades
        return tuple(np.flatnonzero(moved).tolist())


def ten_to(log10: float) -> float:
    """A size whose logarithm is given; 0 or inf where float64 ends."""
    return 10**log10 if log10 < 308 else math.inf


def mean_log(values: Floats) -> Floats:
    """Mean over seeds of what is finite; -inf where most are, nan where none is known."""
    known_ = ~np.isnan(values)
    lost = np.isneginf(values)
    fine = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(fine, values, 0).sum(axis=0) / fine.sum(axis=0)
    result: Floats = np.where(2 * lost.sum(axis=0) >= known_.sum(axis=0), -math.inf, means)
    return np.where(known_.any(axis=0), result, math.nan)


def _change(sizes: Floats) -> Change:
    """Of log10 sizes `(seeds, layers)` in order of travel.

    Squared norms of random nets have mean values free of the width, while the logarithm of each layer's factor varies
    by about 1/width around a mean that lies half its variance lower (Hanin and Nica 2018, arXiv:1812.05994). So
    log10 of the root mean square is the mean log10 plus ln(10) times the variance of log10. A mean over the squares
    themselves would be ruled by the largest net.
    """
    lost = np.isneginf(sizes[:, -1]) & (sizes.shape[1] > 1)  # One layer alone changes nothing.
    with np.errstate(invalid="ignore"):
        runs: Floats = np.where(lost, -math.inf, sizes[:, -1] - sizes[:, 0])
    seen = runs[~np.isnan(runs)]
    there = np.isfinite(runs)
    count = int(there.sum())
    if not len(seen):
        return Change(math.nan, math.nan, math.nan, math.nan, runs)
    if 2 * count <= len(seen):
        return Change(-math.inf, -math.inf, -math.inf, -math.inf, runs)
    typical, drift, half = float(np.mean(runs[there])), 0.0, math.nan
    if count > 1:
        drift = float(drifts(sizes[there])[-1])
        half = student(count - 1) * float(np.std(runs[there], ddof=1)) / math.sqrt(count)
    rms = typical + drift
    return Change(rms, rms - half, rms + half, typical, runs)


def drifts(sizes: Floats) -> Floats:
    """ln(10) times the variance over seeds of log10 changes, from the first layer to each layer, `(layers,)`.

    Summed over the layers' steps, and the covariances of those up to two layers apart, which are nearly all there are:
    far less noisy than the variance of the whole. The steps alone are not enough: behind a normalisation the size of
    every layer varies about the same mean, and what one step gains the next one loses.
    """
    with np.errstate(invalid="ignore"):  # -inf - -inf: a signal may be 0 on the way and arrive all the same
        steps = np.diff(sizes, axis=1)
    steps = np.where(np.isfinite(steps), steps, 0)
    steps -= steps.mean(axis=0)
    sums = (steps**2).sum(axis=0)
    for lag in (1, 2):
        sums[lag:] += 2 * (steps[:, lag:] * steps[:, :-lag]).sum(axis=0)
    variances = np.append(0.0, sums.cumsum()) / max(len(sizes) - 1, 1)
    result: Floats = LN10 * np.maximum(variances, 0)
    return result
