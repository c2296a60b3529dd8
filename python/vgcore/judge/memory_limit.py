"""How far back a recurrent net sees: `memory_limit` -> `MemoryLimit`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vgcore.judge.depth_limit import within
from vgcore.judge.rules import RULES
from vgcore.measure.probe import probe
from vgcore.measure.result import Probe
from vgcore.model.rnn import RNN
from vgcore.model.shown import Shown
from vgcore.model.versioned import Versioned
from vgcore.show.words import count, fold

#: What is smaller counts as this power of ten: a gradient that is cut, or exactly 0.
LEAST = -1e6


@dataclass(frozen=True)
class MemoryLimit(Versioned, Shown):
    """How many steps a series can have before the gradient of the state has changed by a factor from end to end.

    Attributes:
        value: The largest number of steps that stays within the factor; inf where nothing limits it.
        low: Lower end of its 95 % interval over seeds; nan for one seed.
        high: Upper end of the interval.
        factor: The change that is allowed, either way.
        measured: Whether the net had that many steps; otherwise the change a step is carried on.
        signal: `"dL/dc"` of a cell that has a c, else `"dL/dh"`.

    >>> import vgcore as vg
    >>> net = vg.RNN(40, 64, cell="lstm(forget_bias=0)", init="torch_rnn", recurrent_init="torch_rnn")
    >>> print(vg.memory_limit(net))
    7 steps (7 to 7) keep dL/dc within 32-fold
    """

    value: float
    low: float
    high: float
    factor: float
    measured: bool
    signal: str

    def __str__(self) -> str:
        known = math.isfinite(self.low)  # nan for one seed; inf where nothing limits any of them
        interval = f" ({count(self.low)} to {count(self.high)})" if known else ""
        if math.isinf(self.value):
            return f"no limit{interval}; series of any length keep {self.signal} within {fold(self.factor)}"
        steps, keep = ("step", "keeps") if self.value == 1 else ("steps", "keep")
        how = "" if self.measured else ", carried on from the steps measured"
        return f"{count(self.value)} {steps}{interval} {keep} {self.signal} within {fold(self.factor)}{how}"


def memory_limit(subject: Any) -> MemoryLimit:
    """How far back the gradient of a loss at the last step gets, as `depth_limit` says how deep a net can go.

    It is told of dL/dc where the cell has a c, else of dL/dh, of the layer next to the readout: from the last step
    back, as far as it stays within 32-fold of what it is there.

    Args:
        subject: A `Probe` of an `RNN`; or what `probe` takes, which is measured first.

    Raises:
        ValueError: Where the net is not an `RNN`, has a readout at every step, whose gradients add up, or where no run
            was finite.

    >>> import vgcore as vg
    >>> limit = memory_limit(vg.probe(vg.RNN(60, 64, cell="tanh", recurrent_init="normal(std=0.06)"), seeds=4))
    >>> limit.signal, limit.measured
    ('dL/dh', True)
    """
    p = subject if isinstance(subject, Probe) else probe(subject)
    spec = p.spec
    if not isinstance(spec, RNN):
        raise ValueError(f"memory_limit is told of an RNN, got {spec!r}; of other nets diagnose tells the depth_limit")
    if spec.outputs != "last":
        raise ValueError("memory_limit is told of a loss at the last step: outputs='every' has one at each")
    name, signal = ("log10_dc_rms", "dL/dc") if "log10_dc_rms" in p.extra else ("log10_dh_rms", "dL/dh")
    back = getattr(p, name)[:, spec.layers - 1 :: spec.layers][:, ::-1]
    runs = back - back[:, :1]
    runs = runs[~np.isnan(runs).any(axis=1)]
    if not len(runs):
        raise ValueError(f"no run of {spec!r} has a gradient at every step")
    if spec.steps == 1:
        raise ValueError("a series of one step has no memory to be measured; give the net more steps")
    value, low, high, factor = within(np.maximum(runs, LEAST), RULES, drift=False)
    return MemoryLimit(value, low, high, factor=factor, measured=value < spec.steps, signal=signal)
