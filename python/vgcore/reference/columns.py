"""The columns of a probe: a number for each layer, of what both passes leave."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from vgcore.reference.activation import steepest
from vgcore.reference.init import init, samples
from vgcore.reference.loss import evaluate
from vgcore.reference.net import Signals, Trace, backpropagate, by_row, propagate, summed
from vgcore.reference.part import State
from vgcore.reference.plan import Plan
from vgcore.reference.random import COTANGENT, Array, Stream
from vgcore.reference.scaled import Scaled

if TYPE_CHECKING:
    from vgcore.model.spec import Spec


def correlation(z: Scaled) -> float:
    """Mean cosine of pairs of the B nonzero rows: (|sum of unit rows|^2 - B) / (B (B - 1))."""
    rows = z.wide()
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = (rows / length)[length[:, 0] != 0]
    b = len(unit)
    return float((unit.sum(axis=0) ** 2).sum() - b) / (b * (b - 1)) if b > 1 else math.nan


def effective_rank(h: Scaled) -> float:
    """Participation ratio (tr G)^2 / |G|_F^2 of the Gram matrix G = H H^T."""
    gram = h.wide() @ h.wide().T
    return float(np.trace(gram) ** 2 / (gram**2).sum())


def log10_sample_rms(h: Scaled, delta: Scaled) -> float:
    """log10 of the root mean square of |h_b||delta_b|, the norm of sample b's share of dL/dW."""
    one, two = h.rescaled(), delta.rescaled()
    squares = (one.wide() ** 2).sum(axis=1) * (two.wide() ** 2).sum(axis=1)
    return float(np.log10(squares.mean())) / 2 + (one.exponent + two.exponent) * math.log10(2)


def log10_together(found: list[Scaled]) -> float:
    """log10 of the norm of some gradients as one vector; nan of none."""
    norms = [gradient.log10_norm() for gradient in found]
    if not norms:
        return math.nan
    top = max(norms)
    return top if math.isinf(top) else top + math.log10(sum(100 ** (n - top) for n in norms)) / 2


def log10_summed_norm(trace: Trace, signals: Signals, l: int) -> float:
    """log10 of the norm of dL/dW of this step of a tied net and of all later ones; nan of a net that is not tied."""
    if not trace.at.plan.tied or trace.at.plan.depth == 1:
        return math.nan
    return summed(signals.found[l : trace.at.plan.depth])[
        f"layers.{l % trace.at.plan.layers_of_step}.weight"
    ].log10_norm()


def of_activation(column: Callable[[Trace, int, int], float]) -> Callable[[Trace, int], float]:
    """A column of layers that have an activation, by the layer and the number of the activation; nan of others."""

    def at(trace: Trace, l: int) -> float:
        kinds = [layer.kind for layer in trace.at.plan.layers[: l + 1]]
        return column(trace, l, sum(map(bool, kinds)) - 1) if kinds[l] else math.nan

    return at


def saturated(trace: Trace, l: int, i: int) -> float:
    """The share of slopes that are below 1 % of the steepest."""
    return float((np.abs(trace.slopes[i]) < 0.01 * steepest(trace.at.plan.layers[l].kind)).mean())


FORWARD: dict[str, Callable[[Trace, int], float]] = {
    "log10_z_rms": lambda t, l: t.z[l].log10_rms(),
    "log10_a_rms": of_activation(lambda t, _, i: t.a[i].log10_rms()),
    "log10_h_rms": lambda t, l: t.h[l + 1].log10_rms() if t.at.plan.on_stream(l) else math.nan,
    "saturated": of_activation(saturated),
    "dead": of_activation(lambda t, _, i: float((t.a[i].value == 0).all(axis=0).mean())),
    "correlation": lambda t, l: correlation(t.z[l]),
    "effective_rank": lambda t, l: effective_rank(t.h[l + 1]),
}
GRADIENT_NORMS = {  # of which parameters
    "log10_wgrad_norm": ({"layers"}, {"weight"}),
    "log10_bgrad_norm": ({"layers", "inputs"}, {"bias"}),
    "log10_affine_grad_norm": ({"norms"}, {"weight", "bias"}),
    "log10_slope_grad_norm": ({"activations"}, {"weight"}),
    "log10_gate_grad_norm": ({"gates", "projections", "skips"}, {"weight", "bias"}),
}
BACKWARD: dict[str, Callable[[Trace, Signals, int], float]] = {
    "log10_delta_rms": lambda _, s, l: s.delta[l].log10_rms(),
    "log10_dh_rms": lambda t, s, l: s.dh[l + 1].log10_rms() if t.at.plan.on_stream(l) else math.nan,
    "gradient_correlation": lambda _, s, l: correlation(s.delta[l]),
    "log10_sample_wgrad_rms": lambda t, s, l: log10_sample_rms(t.map_input[l], s.delta[l]),
    "log10_summed_wgrad_norm": log10_summed_norm,
}
COLUMNS = (*FORWARD, *GRADIENT_NORMS, *BACKWARD)


@np.errstate(all="ignore")
def probe(
    spec: Spec,
    *,
    x: Array | None = None,
    y: Array | None = None,
    loss: str | None = None,
    batch: int = 128,
    seeds: int = 8,
    seed: int = 0,
    dtype: str = "float64",
    state: State | None = None,
) -> dict[str, Array]:
    """Every column `(seeds, rows)`, and four numbers a seed; run r is drawn from seed + r.

    Without `x` the input is standard normal; without a loss the cotangent at the output is standard normal divided by
    sqrt(batch). A `state` gives the parameters of every run.
    """
    rows = Plan.of(spec).depth
    columns = {name: np.full((seeds, rows), math.nan) for name in COLUMNS}
    first_nonfinite = np.full(seeds, -1)
    total, output, losses = np.full((3, seeds), math.nan)

    def run(r: int) -> int:
        """Fill row r of every column; return where a value was first not finite, or -1."""
        given = samples(spec, seed + r, batch, dtype) if x is None else x
        trace = propagate(spec, init(spec, seed + r, dtype, given) if state is None else state, given)
        for l in range(rows):
            for name, column in FORWARD.items():
                columns[name][r, l] = column(trace, l)
            if not (all(step.value.finite() for step in trace.steps[l]) and trace.h[l + 1].finite()):
                return l
        value = 0.0
        if loss is None:
            stream = Stream(seed + r, COTANGENT, dtype=dtype)
            cotangent = stream.normal(trace.y.value.shape) / math.sqrt(len(given))
        else:
            outputs = trace.y.true().astype(np.float64)
            value, cotangent = evaluate(loss, outputs, None if y is None else by_row(np.asarray(y), outputs))
            losses[r] = value
        if trace.y.finite():
            output[r] = trace.y.log10_rms()
        if not (trace.y.finite() and math.isfinite(value)):
            return rows
        signals = backpropagate(trace, cotangent)
        for l in reversed(range(rows)):
            for name, at in BACKWARD.items():
                columns[name][r, l] = at(trace, signals, l)
            parts = trace.at.plan.layers[l].parts
            module = {part.key: part.module for part in parts} | {part.fed: "inputs" for part in parts if part.fed}
            for name, (modules, tensors) in GRADIENT_NORMS.items():
                named = ((key.rpartition("."), gradient) for key, gradient in signals.found[l].items())
                ours = [g for (key, _, tensor), g in named if module.get(key) in modules and tensor in tensors]
                columns[name][r, l] = log10_together(ours)
            if not all(each.finite() for each in (signals.delta[l], *signals.found[l].values())):
                return l
        total[r] = log10_together(list(summed(signals.found).values()))
        return -1

    for r in range(seeds):
        first_nonfinite[r] = run(r)
    return columns | {
        "first_nonfinite": first_nonfinite,
        "log10_total_grad_norm": total,
        "log10_output_rms": output,
        "loss_value": losses,
    }
