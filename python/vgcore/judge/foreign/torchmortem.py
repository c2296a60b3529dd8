"""The rules of torchmortem, whose gradients are those of a module's output, and which compares only two modules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from vgcore.judge.foreign.quantities import norm, of_each
from vgcore.judge.foreign.rule import ForeignRule, Preset, Value, Values
from vgcore.judge.foreign.seen import Array, Pass


def _last_to_first(p: Pass) -> Iterator[Value]:
    """Norm of the gradient at the last linear map over that at the first one."""
    norms = [norm(delta) for delta in p.backward.values()]
    if len(norms) > 1 and norms[0] < 1e-30:
        yield math.inf, (0,)
    elif len(norms) > 1 and norms[-1] >= 1e-30:
        yield norms[-1] / norms[0], (0,)


def _each_backward(p: Pass) -> Iterator[Value]:
    """Norm of the gradient at every linear map."""
    return of_each(norm, p.backward if len(p.backward) > 1 else {})


def _each_module(share: Callable[[Array], npt.NDArray[np.bool_]]) -> Values:
    """Share of what every hidden linear map and every activation gives, be it of whatever kind."""

    def values(p: Pass) -> Iterator[Value]:
        for signal in (p.z, p.a):
            yield from ((float(share(v).mean()), (l,)) for l, v in enumerate(signal))

    return values


_FLOW = "detectors/gradient_flow.py"


# fmt: off
TORCHMORTEM = Preset("torchmortem", "github.com/sebseager/torchmortem", (
        ForeignRule("gradient_flow.vanishing", "vanishing",
                    "norm of dL/d(output) of the last linear map over the first one's",
                    ">=", 100, _last_to_first, "src", _FLOW),
        ForeignRule("gradient_flow.exploding", "exploding", "norm of dL/d(output) of a linear map",
                    ">", 1000, _each_backward, "src", _FLOW, "critical"),
        ForeignRule("gradient_flow.stalling", "vanishing", "norm of dL/d(output) of a linear map",
                    "<", 1e-8, _each_backward, "src", _FLOW),
        ForeignRule("dead_units", "dead", "share of a module's output elements with |output| below 1e-6",
                    ">", 0.5, _each_module(lambda v: np.abs(v) < 1e-6), "src", "detectors/dead_units.py"),
        ForeignRule("saturation", "saturated", "share of a module's output elements with |output| above 0.95",
                    ">", 0.5, _each_module(lambda v: np.abs(v) > 0.95), "src", "detectors/saturation.py"),
    ), "Over training: update ratios, weight norms, rank collapse, gradient noise, loss dynamics. That a module stalls "
       "for 0.3 of the steps, or is dead or saturated for half of them, is judged by one step. Modules are the linear "
       "maps and the activations; outputs of normalisations and of the readout are not looked at here.")
# fmt: on
