"""The rules of torchmortem, whose gradients are those of a module's output, and which compares only two modules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from vgcore.judge.foreign.course import Course, Floats, each_layer_of
from vgcore.judge.foreign.quantities import norm, of_each
from vgcore.judge.foreign.rule import ForeignRule, Preset, TimeRule, Value, Values
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


def _update_ratio(c: Course) -> Iterator[Value]:
    """The median of each layer's update ratio over the second half of the recorded steps, the first one left out."""
    ratios = c.norms("log10_update_ratio")[1:]
    late = ratios[len(ratios) // 2 :]
    for layer, own in enumerate(late.T):
        some = own[own > 0]
        if len(some):
            yield float(np.median(some)), (layer,)


def _ends(c: Course) -> tuple[Floats, Floats]:
    """The norms of the layers' weights at both ends; nothing of fewer than four steps."""
    norms = c.norms("log10_weight_norm")
    return (norms[0], norms[-1]) if len(norms) > 3 else (np.array([]), np.array([]))


def _growth(c: Course) -> Iterator[Value]:
    first, last = _ends(c)
    return each_layer_of(np.where(first < 1e-30, math.nan, last / first))


def _change(c: Course) -> Iterator[Value]:
    first, last = _ends(c)
    return each_layer_of(np.where(first < 1e-30, math.nan, np.abs(last - first) / first))


def _imbalance(c: Course) -> Iterator[Value]:
    _, last = _ends(c)
    some = last[last > 1e-30]
    if len(some) > 1:
        yield (
            float(some.max() / some.min()),
            (int(np.argmax(last)), int(np.argmin(np.where(last > 1e-30, last, np.inf)))),
        )


def _smoothed(c: Course) -> Floats:
    """The moving mean of the loss."""
    found = c.loss.copy()
    for i in range(1, len(found)):
        found[i] = 0.1 * found[i] + 0.9 * found[i - 1]
    return found


def _divergence(c: Course) -> Iterator[Value]:
    losses = _smoothed(c)
    tail = losses[-min(20, len(losses) // 2) :] if len(losses) >= 10 else losses[:0]
    if len(tail) >= 5 and (np.diff(tail) > 0).mean() >= 0.8:
        yield float(tail[-1] / tail[0]), ()


def _plateau(c: Course) -> Iterator[Value]:
    losses = _smoothed(c)
    n = len(losses)
    for start in range(n // 2, n - 20, 20) if n >= 40 else ():
        part = losses[start : start + 20]
        yield float((part.max() - part.min()) / abs(part.mean())), ()


def _near_edge(c: Course) -> Iterator[Value]:
    sharp = c.run.sharpness[c.seed] if c.run.sharpness.size else np.array([])
    if len(sharp) >= 5:
        limit = 2 / c.run.lr[c.seed, c.run.sharpness_steps - 1]
        yield float((np.abs(sharp - limit) / limit < 0.3).mean()), ()


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
    ), "Over training: rank collapse, gradient noise. That a module stalls for 0.3 of the steps, or is dead or "
       "saturated for half of them, is judged by one step. Modules are the linear maps and the activations; outputs "
       "of normalisations and of the readout are not looked at here.",
    (
        TimeRule("update_ratio.low_threshold", "stuck",
                 "median over the second half of the run of a layer's ratio of update to weights, where not 0",
                 "<", 1e-5, _update_ratio, "src", "detectors/update_ratio.py"),
        TimeRule("update_ratio.high_threshold", "unstable",
                 "median over the second half of the run of a layer's ratio of update to weights, where not 0",
                 ">", 0.1, _update_ratio, "src", "detectors/update_ratio.py", "critical"),
        TimeRule("weight_norm.explosion_factor", "exploding", "norm of a layer's weights at the end over that at the "
                 "start",
                 ">", 10, _growth, "src", "detectors/weight_norm.py"),
        TimeRule("weight_norm.stagnation_threshold", "stuck", "relative change of the norm of a layer's weights over "
                 "the run",
                 "<", 1e-4, _change, "src", "detectors/weight_norm.py"),
        TimeRule("weight_norm.imbalance_factor", "unstable", "largest over smallest norm of a layer's weights at the "
                 "end",
                 ">=", 100, _imbalance, "src", "detectors/weight_norm.py"),
        TimeRule("loss_dynamics.divergence", "unstable",
                 "growth of the smoothed loss over the last 20 steps, where it rises in 80 % of them",
                 ">=", 1.5, _divergence, "src", "detectors/loss_dynamics.py", "critical"),
        TimeRule("loss_dynamics.plateau_threshold", "stuck",
                 "least range of the smoothed loss over 20 steps of the second half, relative to its mean",
                 "<", 1e-5, _plateau, "src", "detectors/loss_dynamics.py"),
        TimeRule("loss_dynamics.edge_of_stability", "edge", "share of the measurements of sharpness within 30 % of "
                 "2/lr",
                 ">=", 0.3, _near_edge, "src", "detectors/loss_dynamics.py", "info"),
    ), "Its layers are tensors, here weight and bias together; its smoothed loss is a moving mean with alpha 0.1. Its "
       "edge of stability is 2/lr whatever the momentum. Left out: the catapult, which it calls harmless.")
# fmt: on
