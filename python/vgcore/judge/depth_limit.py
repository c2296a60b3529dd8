"""How deep a recipe can go, or how far back a recurrent net learns: `DepthLimit`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vgcore.judge.evidence import Evidence, Floats, drifts, ten_to
from vgcore.judge.rule import Rule
from vgcore.judge.rules import of_change
from vgcore.judge.rules.numbers import FINITE_WIDTH
from vgcore.measure.result import student
from vgcore.model.given import LONGEST
from vgcore.model.shown import Shown
from vgcore.model.versioned import Versioned
from vgcore.show.words import count, fold

#: The power of ten that a gradient of exactly 0 counts as.
LEAST = -1e6


@dataclass(frozen=True)
class DepthLimit(Versioned, Shown):
    """How many layers a recipe can have before dL/dz has changed by a factor from end to end.

    Of a recurrent net how many steps its gradient can go back from the last one, and of a transformer how many blocks.

    Attributes:
        value: The largest depth that stays within the factor; inf where nothing limits it.
        low: Lower end of its 95 % interval over seeds; nan for one seed.
        high: Upper end of the interval.
        factor: The change that is allowed, either way.
        measured: Whether the net was that deep; otherwise the change a layer is carried on.
        unit: What is counted: `"layer"`, `"step"` or `"block"`.
        signal: What keeps its size: `"dL/dz"`; of nets with skips, recurrent nets and transformers `"dL/dh"`, of an
            LSTM `"dL/dc"`.
        cut: Whether it is truncated backpropagation that ends it.

    >>> import vgcore as vg
    >>> print(vg.diagnose(vg.MLP(depth=20, width=64, activation="sigmoid"), seeds=4).depth_limit)
    3 layers (3 to 3) keep dL/dz within 32-fold
    """

    value: float
    low: float
    high: float
    factor: float
    measured: bool
    unit: str = "layer"
    signal: str = "dL/dz"
    cut: bool = False

    @property
    def name(self) -> str:
        """What it limits."""
        return "memory limit" if self.unit == "step" else "depth limit"

    @property
    def units(self) -> str:
        """The value in words: `3 layers`."""
        told = count(self.value)
        return told if math.isinf(self.value) else f"{told} {self.unit}{'s' * (self.value != 1)}"

    def __str__(self) -> str:
        known = math.isfinite(self.low)  # nan for one seed; inf where nothing limits any of them
        interval = f" ({count(self.low)} to {count(self.high)})" if known else ""
        if math.isinf(self.value):
            if math.isinf(self.factor):
                return f"no limit; {self.signal} may change by any factor"
            nets = "any number of steps keeps" if self.unit == "step" else "nets of any depth keep"
            return f"no limit{interval}; {nets} {self.signal} within {fold(self.factor)}"
        keep = "keeps" if self.value == 1 else "keep"
        how = "" if self.measured else f", carried on from the {'steps' if self.unit == 'step' else 'depth'} measured"
        how += ", where truncation cuts it" * self.cut
        return f"{self.units}{interval} {keep} {self.signal} within {fold(self.factor)}{how}"


def depth_limit(e: Evidence, rules: Sequence[Rule]) -> DepthLimit | None:
    """How deep the recipe of a measured net can go.

    Each net is the beginning of a deeper one, so the signal's rise from layer 1 says what shallower nets would see.

    As in the verdict, a net is too deep where the root mean square has changed too much, or where a typical net has
    lost as much and the drift counts.

    The steps of a recurrent net share their weights and the last one has the loss, so there it is how far back the
    gradient of the state goes from the last step, in the last layer; no farther than truncation lets it.
    """
    if e.facts is None or e.facts.knows_depth or e.trace.steps:
        return None  # A shallower net is not the beginning of a deeper one, or is not known to be.
    deltas = e.sizes("backward")[:, e.cut :]
    if e.shared:
        # A gradient that is exactly 0 has gone no farther than this, whatever it was before.
        deltas = np.where(np.isneginf(deltas), LEAST, deltas)[:, e.per - 1 :: e.per]
    deltas = deltas[np.isfinite(deltas).all(axis=1)]
    if deltas.shape[1] < 2 or not len(deltas) or math.isnan(e.backward.rms):
        return None
    if not e.shared and math.isinf(e.backward.rms):
        return None
    runs = (deltas - deltas[:, -1:])[:, ::-1] if e.shared else deltas[:, :1] - deltas
    value, low, high, factor = within(runs, rules, drift=not e.shared)
    measured, cut = value < runs.shape[1], False
    if e.cut:
        most = float(runs.shape[1])
        measured, cut = True, value >= most
        value, low, high = (min(end, most) for end in (value, low, high))
    if not e.shared and e.per > 1:
        value, low, high = (end // e.per if math.isfinite(end) else end for end in (value, low, high))
    if not measured and not e.facts.goes_on:
        return None
    signal = e.name("backward")
    return DepthLimit(value, low, high, factor=factor, measured=measured, unit=e.unit, signal=signal, cut=cut)


def within(runs: Floats, rules: Sequence[Rule], *, drift: bool = True) -> tuple[float, float, float, float]:
    """How many of the places that a gradient passes keep it within a factor, the ends of its interval, and the factor.

    Args:
        runs: log10 of its change on the way to every place, 0 at the first, `(runs, places)`.
        rules: Which say how much is allowed.
        drift: Whether a place draws weights of its own, so that a typical net loses more than the mean of squares.
    """
    mean = runs.mean(axis=0)
    drifted = drifts(runs) if drift and len(runs) > 1 else np.zeros(runs.shape[1])
    down, up = (of_change(rules, "backward", sign).decisive for sign in (-1, 1))
    wide = next(rule for rule in rules if rule.id == FINITE_WIDTH.id)
    faded = np.maximum(mean, -drifted * down / wide.decisive) if drift else mean
    ways = [_reach(curve, runs, down, up) for curve in (mean + drifted, np.minimum(faded, 0))]
    value, low, high = (min(ends) for ends in zip(*ways, strict=True))
    return value, low, high, ten_to(up if mean[-1] + drifted[-1] > 0 else down)


def _reach(curve: Floats, runs: Floats, down: float, up: float) -> tuple[float, float, float]:
    """The largest depth before a change passes a limit, and the ends of its 95 % interval.

    `curve` is the change at every depth measured. Beyond, the pace of the second half of the layers is carried on: the
    first layers take the data to the scale of the net and tell less of what comes.
    """
    depth, count = len(curve), len(runs)
    middle = (depth - 1) // 2
    pace = float(curve[-1] - curve[middle]) / (depth - 1 - middle)

    def ahead(at: float, pace: float) -> float:
        """Where a line from here meets the limit that it runs toward."""
        if pace == 0:
            return math.inf
        more = max((up - at) / pace if pace > 0 else -(at + down) / pace, 0)
        # What no net can be as deep as is no limit: a pace so small is rounding.
        return depth + math.floor(more) if more < LONGEST else math.inf

    def first(beyond: NDArray[np.bool_], *lines: tuple[float, float]) -> float:
        return float(np.flatnonzero(beyond)[0]) if beyond.any() else min(ahead(*line) for line in lines)

    last = float(curve[-1])
    value = first((curve >= up) | (curve <= -down), (last, pace))
    if count < 2:
        return value, math.nan, math.nan
    wide = student(count - 1) / math.sqrt(count)
    half = wide * runs.std(axis=0, ddof=1)
    doubt = wide * float(np.std(runs[:, -1] - runs[:, middle], ddof=1)) / (depth - 1 - middle)
    above, below = (last + float(half[-1]), pace + doubt), (last - float(half[-1]), pace - doubt)
    low = first((curve + half >= up) | (curve - half <= -down), above, below)
    # Where it is open to which side the signal runs, it may run to neither.
    high = first((curve - half >= up) | (curve + half <= -down), (last, 0.0))
    if math.isinf(high) and abs(pace) > doubt:
        high = max(value, ahead(*above), ahead(*below))
    return value, min(low, value), max(high, value)
