"""What the rules look at, worked out of a trace: changes of signals that do not depend on the width.

No absolute size of a gradient is among it: a loss times a constant changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vgcore.judge.inputs import Inputs
from vgcore.judge.replay import twins
from vgcore.measure.result import Probe, Signal, student
from vgcore.measure.trace import Facts, Trace
from vgcore.model.plan import Map, Plan
from vgcore.model.versioned import Versioned
from vgcore.show.words import own, places, row

Floats = NDArray[np.float64]

LN10 = math.log(10)
#: The columns of a trace that are sizes of signals.
SIZES: dict[Signal, str] = {"forward": "log10_forward", "backward": "log10_backward", "weight": "log10_weight"}


@dataclass(frozen=True)
class Change(Versioned):
    """What happens to a signal from end to end, in its direction of travel, in powers of ten.

    Attributes:
        rms: log10 of the root mean square over nets: what mean field predicts, at any width. Of one net, its own.
        low: Lower end of its 95 % interval over seeds; nan for one seed.
        high: The upper end.
        typical: Mean over runs of log10: that of a typical net, lower than `rms` in narrow deep nets.
        runs: The change of each run: -inf where the signal does not arrive, nan where the run was not finite.
    """

    rms: float
    low: float
    high: float
    typical: float
    runs: Floats = field(repr=False)

    @property
    def shown(self) -> float:
        """The root mean square; of growth, no more than most runs show: few nets can make a large mean."""
        if not self.rms > 0 or math.isinf(self.rms):
            return self.rms
        return min(self.rms, max(0.0, self.typical, float(np.median(self.runs[~np.isnan(self.runs)]))))

    @property
    def drift(self) -> float:
        """Decades by which a typical net lies below the root mean square."""
        return self.rms - self.typical if math.isfinite(self.rms) else 0.0


def _starts_at_zero(p: Probe) -> bool:
    """Whether the weights of the readout are 0: a norm before it may give 0 too, which no step changes."""
    if p.network is not None:
        return not p.network.state_dict()["readout.weight"].any()
    drawn = Plan.of(p.spec).readout
    return drawn is not None and drawn.weight_mean == drawn.weight_variance == 0


class Evidence:
    """What the rules look at, worked out once of a trace, and of weights and samples, which a probe alone knows."""

    def __init__(self, measured: Probe | Trace, threads: int | None = None) -> None:
        #: For what a rule has to measure besides.
        self.threads = threads
        self.trace: Trace = measured.trace
        self.probe: Probe | None = measured if isinstance(measured, Probe) else None
        self.facts: Facts | None = self.trace.facts
        self.depth: int = self.trace.depth
        self.steps: int = self.depth - 1
        self.runs: int = self.trace.runs
        #: Of the layers, as they are told; empty where they have numbers alone.
        self.names: tuple[str, ...] = own(self.trace.names)
        #: What that is called which has a number in place of a name.
        self.row: str = row(self.trace.names)
        #: What repeats in the net and how many layers it has: a change is told as a factor of one.
        self.unit: str
        self.per: int
        self.unit, self.per = (self.row, 1) if self.facts is None else (self.facts.unit, self.facts.per)
        #: The kind of its spec; empty where there is none.
        self.kind: str = "" if self.facts is None else self.facts.kind
        #: Tokens of a sample.
        self.tokens: int = 1 if self.facts is None else self.facts.tokens
        #: Whether all layers share their weights, so that nothing averages out along them.
        self.shared: bool = self.facts is not None and self.facts.shared
        #: Whether the signals are those of what layers hand on, which may pass around branches.
        self.streams: bool = self.facts is None or self.facts.streams
        #: The last layer whose backward signal is lost in some run, counted from the input; -1 where none is.
        self.lost: int = int(self.trace.lost_below.max())
        #: The first layer behind the last cut of truncated backpropagation; 0 where nothing is cut.
        self.cut: int = 0 if self.facts is None else self.facts.cut

    def layer(self, index: int) -> str:
        """A layer by its name, or its number."""
        return self.names[index] if self.names else f"{self.row} {index + 1}"

    def layers(self, indices: Sequence[int]) -> str:
        """Some layers by their names or numbers."""
        return places(indices, self.names, self.row)

    def name(self, signal: Signal) -> str:
        """What a signal is called."""
        plain: dict[Signal, str] = {"forward": "z", "backward": "dL/dz", "weight": "dL/dW"}
        state = "h" if self.facts is None else self.facts.state
        streams: dict[Signal, str] = {"forward": "h", "backward": f"dL/d{state}", "weight": "dL/dW"}
        return (streams if self.streams else plain)[signal]

    def first(self, signal: Signal) -> int:
        """The first layer whose signal is judged: before it a gradient is lost, cut, or 0 whatever the net is like."""
        own = 0 if self.facts is None else self.facts.first(signal)
        return own if signal == "forward" else max(self.lost + 1, own)

    def values(self, name: str) -> Floats:
        """A column `(runs, layers)`; nan where the trace lacks it."""
        found = self.trace.columns.get(name)
        return np.full((self.runs, self.depth), math.nan) if found is None else found

    @property
    def reached(self) -> Floats:
        """Sizes on the way forward, `(runs, layers)`: of z, or of what a layer gives where z is not known."""
        return self.values("log10_z_rms" if "log10_z_rms" in self.trace.columns else "log10_forward")

    def column(self, name: str) -> Floats:
        """Mean over the runs that have a value, `(depth,)`; nan where none has."""
        values = self.values(name)
        there = ~np.isnan(values)
        count = there.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            means: Floats = np.where(there, values, 0).sum(axis=0) / count
        return means

    def sizes(self, signal: Signal) -> Floats:
        """log10 sizes of a signal, `(runs, layers)`.

        Like is compared with like: a layer within a block, or a branch that the loss does not see, counts as what comes
        next. Forward it is what a unit gets, the root mean square. Backward it is the norm: behind 2 units, 4096 share
        the same norm, which is what a step of gradient descent takes off the loss. Where it is lost or cut it counts
        as the last that is known, so that its change is no more than what is sure.
        """
        values = self.values(SIZES[signal])
        if first := self.first(signal):
            values = values.copy()
            values[:, :first] = math.nan
        there = np.flatnonzero(~np.isnan(values).all(axis=0))
        # Without a spec, layers behind a value that is not finite are not within a block.
        passes_by = self.streams and (self.facts is not None or len(self.nonfinite) < self.runs)
        if signal == "weight" or not (passes_by or (signal == "backward" and first)) or not len(there):
            return values
        at = np.searchsorted(there, np.arange(self.depth))
        return values[:, there[np.minimum(at, len(there) - 1)]]

    def steps_of(self, signal: Signal) -> int:
        """Steps from layer to layer over which the change of a signal is known."""
        return max(self.steps - self.first(signal), 0)

    @property
    def ends(self) -> str:
        """Where the backward signal ends before the first layer, to be added to what is said of it."""
        if self.lost >= self.cut:
            return f", and is lost below {self.layer(self.lost + 1)}"
        return f", and truncation cuts it below {self.layer(self.cut)}" if self.cut else ""

    def blocks(self, rows: Iterable[int]) -> tuple[int, ...]:
        """All layers of the blocks that begin at these."""
        return tuple(layer for row in rows for layer in range(row, min(row + self.per, self.depth)))

    def units(self, steps: int) -> str:
        """So many steps from layer to layer as layers, steps in time or blocks, in words."""
        many = max(round((steps + 1) / self.per), 1)
        return f"1 {self.unit}" if many == 1 else f"{many} {self.unit}s"

    @cached_property
    def inputs(self) -> Inputs:
        """What the samples are like."""
        if self.probe is None:
            return Inputs(math.nan, 0.0)
        x, plan = self.probe.x, Plan.of(self.probe.spec)
        if x is not None:
            return Inputs.of(plan.folded(x))
        return Inputs.drawn(plan.columns) if plan.series is None else Inputs(math.nan, 0.0)

    @cached_property
    def equal_units(self) -> Floats:
        """Share of a layer's units that learn and have a twin, which they stay equal to; `(depth,)`.

        Of the first run, and 0 where units are drawn at random, which makes no two alike.
        """

        def fixed(drawn: Map) -> bool:
            return drawn.weight_variance == 0 and drawn.bias_variance == 0 and drawn.law != "eye"

        assert self.probe is not None  # noqa: S101 (the rule needs weights)
        if self.probe.network is None and not any(fixed(layer.map) for layer in Plan.of(self.probe.spec).layers):
            return np.zeros(self.depth)
        return twins(self.probe)

    @cached_property
    def learns(self) -> NDArray[np.bool_]:
        """Whether any parameter of a layer has a gradient that is not 0, or none is known, run by run; `(runs,)`."""
        norms = np.hstack([self.values(name) for name in ("log10_weight", "log10_bgrad_norm", "log10_gate_grad_norm")])
        some: NDArray[np.bool_] = np.logical_or(np.isfinite(norms).any(axis=1), np.isnan(norms).all(axis=1))
        return some

    @property
    def passes(self) -> bool:
        """Whether a backward signal gets to the first layer in most runs, whatever learns from it."""
        return 2 * int(np.isfinite(self.sizes("backward")[:, 0]).sum()) > self.runs

    @cached_property
    def zero_layer(self) -> int | None:
        """The first layer whose z is exactly 0 in every run, if its weights have a gradient: one step opens it."""
        at_zero = np.flatnonzero(np.isneginf(self.values("log10_z_rms")).all(axis=0))
        if self.streams or not len(at_zero):
            return None
        first = int(at_zero[0])
        return first if np.isfinite(self.values("log10_weight")[:, first]).all() else None

    @cached_property
    def waits(self) -> bool:
        """Whether layers wait for a layer or a readout that starts at exactly 0 (fixup, arXiv:1901.09321).

        It has a gradient, and after one step it hands signals on. Where what stands behind the layers is not known,
        they wait for it if it gives nothing back to the last of them.
        """
        if self.zero_layer is not None:
            return True
        p = self.probe
        if p is None or self.facts is None:
            reached, back = self.sizes("forward"), self.sizes("backward")
            return bool((np.isfinite(reached[:, -1:]) & np.isneginf(back)).all())
        reached = p.log10_h_rms if self.streams else p.log10_a_rms
        passes = np.isneginf(p.log10_dh_rms[:, -1]) if self.streams else p.saturated[:, -1] < 1
        moves = np.isfinite(p.log10_total_grad_norm) & np.isfinite(reached[:, -1])
        return self.facts.readout and bool((moves & passes & ~self.learns).all()) and _starts_at_zero(p)

    @cached_property
    def closed(self) -> NDArray[np.bool_]:
        """Layers that start at exactly 0 and have a gradient: closed, not dead; `(depth,)`."""
        at_zero = np.isneginf(self.values("log10_z_rms")).all(axis=0)
        return np.logical_and(at_zero, np.isfinite(self.values("log10_weight")).any(axis=0))

    def profile(self, signal: Signal) -> Floats:
        """log10 of the change of a signal from where it starts, `(seeds, depth)`."""
        values = self.sizes(signal)
        start = values[:, :1] if signal == "forward" else values[:, -1:]
        with np.errstate(invalid="ignore"):
            return values - start

    def change(self, signal: Signal) -> Change:
        """The change of a signal over all layers."""
        values = self.sizes(signal)
        if self.facts is not None and signal == "weight":
            values = values[:, self.facts.first(signal) :]
        return self._change(values if signal == "forward" else values[:, ::-1])

    def _change(self, sizes: Floats) -> Change:
        """Of log10 sizes in order of travel; of steps of one net their mean, which says nothing of other nets.

        Of one matrix at every step, too, the mean: the law of random products does not hold for its powers.
        """
        found = _change(sizes)
        if self.shared:
            half = found.high - found.rms
            return Change(found.typical, found.typical - half, found.typical + half, found.typical, found.runs)
        if not self.trace.steps:
            return found
        return Change(found.typical, math.nan, math.nan, found.typical, found.runs)

    @cached_property
    def backward(self) -> Change:
        """The change of the backward signal from the last layer to the first; unknown where all layers wait."""
        if self.waits:
            return _unknown(self.runs)
        values = self.sizes("backward")[:, ::-1].copy()
        # A signal that nothing learns from does not arrive.
        values[~self.learns & (self.trace.first_nonfinite < 0)] = -math.inf
        return self._change(values)

    @cached_property
    def forward(self) -> Change:
        """The change of the forward signal from the first layer to the last; unknown where a layer starts at 0.

        Where the second half of the layers changes less than the first, twice the change of the second half: on its
        first layers a net takes the data to its own scale, which is no vanishing. So a power law counts little, and a
        constant factor in full.
        """
        if self.zero_layer is not None:
            return _unknown(self.runs)
        whole = self.change("forward")
        if self.steps < 4:
            return whole
        half = self._change(self.sizes("forward")[:, self.steps // 2 :])
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
        return self.trace.first_nonfinite[self.trace.first_nonfinite >= 0]

    def factor(self, change: Change, steps: int | None = None) -> float:
        """The share that one layer, step in time or block has in a change, over all steps or so many."""
        steps = self.steps if steps is None else steps
        return ten_to(change.rms * self.per / steps) if steps and math.isfinite(change.rms) else math.nan

    def beyond(self, signal: Signal, sign: int, decades: float) -> tuple[int, ...]:
        """The layers at which a signal has moved by more than so many decades, up (sign 1) or down (-1)."""
        with np.errstate(invalid="ignore"):
            moved = sign * mean_log(self.profile(signal)) >= decades
        least = 0 if signal == "forward" else self.cut
        return tuple(at for at in np.flatnonzero(moved).tolist() if at >= least)


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
    themselves would be ruled by the largest net. But the law holds for wide nets: where norms are taken over two
    samples, or three units decide, that sum names sizes that no net has. So it ends at the largest run; or, where
    nets differ by less than a decade, half a standard deviation beyond it, where the largest of twenty nets lies.
    """
    lost = np.isneginf(sizes[:, -1])
    with np.errstate(invalid="ignore"):
        moved = sizes[:, -1] - sizes[:, 0]
    # A size beyond all numbers, or one that was 0 before, has no factor.
    runs: Floats = np.where(lost, -math.inf, np.where(np.isposinf(moved), math.nan, moved))
    seen = runs[~np.isnan(runs)]
    there = np.isfinite(runs)
    count = int(there.sum())
    if not len(seen):
        return _unknown(len(runs))
    if 2 * count <= len(seen):
        return Change(-math.inf, -math.inf, -math.inf, -math.inf, runs)
    typical, rms, half = float(np.mean(runs[there])), float(np.mean(runs[there])), math.nan
    if count > 1:
        std = float(np.std(runs[there], ddof=1))
        most = float(np.max(runs[there])) + (std / 2 if std < 1 else 0)
        rms = min(typical + float(drifts(sizes[there])[-1]), most)
        half = student(count - 1) * std / math.sqrt(count)
    return Change(rms, rms - half, rms + half, typical, runs)


def _unknown(runs: int) -> Change:
    return Change(math.nan, math.nan, math.nan, math.nan, np.full(runs, math.nan))


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
