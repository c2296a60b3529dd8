"""What a probe will measure, without drawing a net: `predict` -> `Prediction`.

Layer by layer, part by part, as the core's plan states a net: what each part does to a wide random signal on the way
forward, and to its gradient on the way back. A signal is three numbers: in a wide net features are alike, samples are
alike, and parts whose weights are independent and of mean 0 add up in squares.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vgcore import _core
from vgcore.measure.extra import Further
from vgcore.measure.result import SIGNALS, Signal
from vgcore.measure.trace import first_row
from vgcore.model.given import integer, wrong_type
from vgcore.model.kind import Norm
from vgcore.model.mlp import MLP
from vgcore.model.names import known
from vgcore.model.plan import Plan, Step
from vgcore.model.rnn import RNN
from vgcore.model.shown import Shown
from vgcore.model.spec import Spec
from vgcore.theory import recurrent, transformer
from vgcore.theory.columns import Columns
from vgcore.theory.fixed import DepthScales, depth_scales
from vgcore.theory.maps import Floats, ranging
from vgcore.theory.parts import Net
from vgcore.theory.wave import Back, Split, Wave, refuse
from vgcore.theory.width import MOST_CURVED, Layer, aligned, log_gradient

PHASES = {
    "ordered": "ordered, gradients vanish and inputs become alike",
    "critical": "on the edge of chaos",
    "chaotic": "chaotic, gradients explode and inputs become unlike",
    "vanishing": "signals vanish",
    "exploding": "signals explode",
}


@dataclass(frozen=True, eq=False)
class Prediction(Further, Shown):
    """Columns of a probe as mean field has them: log10 of root mean squares over many wide nets, each `(rows,)`.

    Attributes:
        spec: The net that is predicted.
        batch: Samples that norms are of.
        sigma_w: Scale of each layer's weights: their standard deviation times sqrt(fan_in).
        sigma_b: Standard deviation of each layer's biases.
        log10_z_rms: As in a `Probe`; so are the next four.
        log10_a_rms: Activations.
        log10_delta_rms: Backward signal.
        log10_wgrad_norm: Weight gradients.
        correlation: Mean cosine of two samples' z.
        delta_drift: Decades by which dL/dz of one sample of a typical net lies above the column, most often below 0, by
            the width and to its first order. The mean square over samples lies less below, the more they differ.
        delta_std: Decades by which nets differ in it, 1 std.
        uncovered: Why the two before are nan, where they are; empty otherwise.
        extra: Columns that theory has of recurrent nets and transformers alone, by their names in a probe:
            `log10_h_rms`, `log10_dh_rms`, and those of cells, gates and tokens. Each is also an attribute; nan in rows
            of which theory knows none. Of these nets it has no correlation.
        doubt: Why theory is not to be relied on here; empty where nothing is known to be left out that matters.

    >>> import vgcore as vg
    >>> p = predict(vg.MLP(depth=30, width=512, activation="relu", init="kaiming_normal"))
    >>> p.log10_delta_rms.shape, round(p.factor("backward"), 6)
    ((30,), 1.0)
    """

    spec: Spec
    batch: int
    sigma_w: Floats
    sigma_b: Floats
    log10_z_rms: Floats
    log10_a_rms: Floats
    log10_delta_rms: Floats
    log10_wgrad_norm: Floats
    correlation: Floats
    delta_drift: Floats
    delta_std: Floats
    uncovered: str
    extra: Mapping[str, Floats] = field(default_factory=dict)
    doubt: str = ""

    def factor(self, signal: Signal) -> float:
        """Geometric mean multiplier a layer in the signal's direction of travel, as of a probe; nan of one layer.

        >>> import vgcore as vg
        >>> p = predict(vg.MLP(depth=30, width=512, activation="relu", init="xavier_normal"))
        >>> round(p.factor("backward"), 4)
        0.7071
        """
        known("signal", signal, SIGNALS)
        column, backward = SIGNALS[signal]
        values = getattr(self, column)[first_row(self.spec, signal) :]
        if len(values) < 2:
            return math.nan
        with ranging():
            change = (values[0] - values[-1]) if backward else (values[-1] - values[0])
            return float(10 ** (change / (len(values) - 1)))

    @property
    def scales(self) -> DepthScales | None:
        """Fixed points and depth scales of a plain net whose layers are alike; None of any other."""
        first = self.sigma_w[1:], self.sigma_b[1:]  # the first layer may have another fan_in
        if self.extra:  # of another sort than plain nets
            return None
        alike = all(len(each) and np.allclose(each, each[0], rtol=1e-12, atol=0) for each in first)
        plan = Plan.of(self.spec)
        kinds = {layer.activation for layer in plan.layers}
        plain = all(names_of(layer.steps) == ["map", "activation"] for layer in plan.layers)
        plain = plain and names_of(plan.ends) in ([], ["map"])
        if not (alike and plain and len(kinds) == 1) or getattr(self.spec, "weight_transform", None) is not None:
            return None
        return depth_scales(kinds.pop(), sigma_w=self.sigma_w[-1], sigma_b=self.sigma_b[-1])

    def to_dict(self) -> dict[str, Any]:
        """All of it, and the scales and factors, as plain values."""
        arrays = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        scales = self.scales
        return {
            "spec": self.spec.to_dict(),
            "batch": self.batch,
            "factors": {signal: self.factor(signal) for signal in SIGNALS},
            "scales": None if scales is None else {name: float(each) for name, each in vars(scales).items()},
            "phase": None if scales is None else str(scales.phase),
            **{name: values.tolist() for name, values in arrays.items()},
            "extra": {name: column.tolist() for name, column in self.extra.items()},
            "uncovered": self.uncovered,
            "doubt": self.doubt,
        }

    def __str__(self) -> str:
        lines = []
        scales = self.scales
        if scales is not None:
            w, b = self.sigma_w[-1], self.sigma_b[-1]
            kind = Plan.of(self.spec).layers[0].activation
            lines.append(f"{kind.label} with sigma_w={w:.4g}, sigma_b={b:.4g}: {PHASES[str(scales.phase)]}")
            if not math.isnan(scales.chi_1):
                root = math.sqrt(scales.chi_1)
                lines.append(
                    f"q* = {scales.q_star:.6g}, c* = {scales.c_star:.6g}, chi_1 = {scales.chi_1:.6g}: dL/dz times "
                    f"{root:.4f} a layer at the fixed point"
                )
                lines.append(
                    f"depth scales in layers: xi_q = {scales.xi_q:.4g}, xi_c = {scales.xi_c:.4g}, "
                    f"xi_grad = {scales.xi_grad:.4g}"
                )
        elif self.spec.rows > 1:
            forth, back, weight = (f"{self.factor(signal):.4g}" for signal in SIGNALS)
            lines.append(f"a layer multiplies z by {forth}, and on the way back dL/dz by {back} and dL/dW by {weight}")
        if self.doubt:
            lines.append(f"not to be relied on: {self.doubt}.")
        if self.uncovered:
            lines.append(f"{self.uncovered}.")
        elif self.spec.rows > 1:
            lines.append(
                f"width: dL/dz of one sample at the first layer lies 10^{self.delta_drift[0]:.2f} times theory's in "
                f"typical nets, ± 10^{self.delta_std[0]:.2f} between them"
            )
        return "\n".join(lines) or repr(self)

    def __repr__(self) -> str:
        return f"Prediction({self.spec!r}, batch={self.batch})"


def predict(spec: Spec, *, depth: int | None = None, batch: int = _core.BATCH) -> Prediction:
    """What `probe(spec, batch=batch)` measures in the limit of wide layers, and what a finite width does to it.

    Sources: Poole et al. 2016, arXiv:1606.05340, and Schoenholz et al. 2017, arXiv:1611.01232 (plain nets); Yang and
    Schoenholz 2017, arXiv:1712.08969 (residual nets); Yang et al. 2019, arXiv:1902.08129 (batch norm); Hanin and Nica
    2018, arXiv:1812.05994, and Roberts et al. 2022, arXiv:2106.10165 (finite width).

    Args:
        spec: The net: an `MLP`, a `Sequential` of parts that theory knows, an `RNN` of one layer, or a `Transformer`
            that is not causal.
        depth: In place of an `MLP`'s own.
        batch: Samples that norms are of.

    Raises:
        ValueError: For what mean field as it stands here does not cover, with the reason and with what it does.

    >>> import vgcore as vg
    >>> p = vg.theory.predict(vg.MLP(depth=30, width=512, activation="sigmoid", init="xavier_normal"))
    >>> round(10 ** float(p.log10_delta_rms[4] - p.log10_delta_rms[5]), 4)  # sqrt(0.0557)
    0.2361
    """
    if not isinstance(spec, Spec):
        raise wrong_type("spec", "an MLP, a Sequential, an RNN or a Transformer", spec)
    if depth is not None and not isinstance(spec, MLP):
        raise ValueError("depth goes with an MLP: other nets have it among their fields")
    batch = integer("batch", batch, least=1, most=2**31)
    try:
        net = spec if depth is None else spec.replace(depth=depth)
        if isinstance(net, RNN):
            return _of_columns(net, batch, recurrent.columns_of(net, batch))
        if any(step.part == "attention" for layer in Plan.of(net).layers for step in layer.steps):
            return _of_columns(net, batch, transformer.columns_of(net, batch))
        with ranging():
            return _propagate(Net(net, batch))
    except OverflowError:
        raise refuse("weights or biases whose squares leave the range of numbers") from None


def _of_columns(spec: Spec, batch: int, columns: Columns) -> Prediction:
    """What was worked out of another sort of net than plain layers."""
    none = np.full(spec.rows, math.nan)
    further = {"log10_h_rms": columns.log10_h_rms, "log10_dh_rms": columns.log10_dh_rms, **columns.extra}
    return Prediction(
        spec,
        batch,
        columns.sigma_w,
        columns.sigma_b,
        columns.log10_z_rms,
        columns.log10_a_rms,
        columns.log10_delta_rms,
        columns.log10_wgrad_norm,
        correlation=none,
        delta_drift=none,
        delta_std=none,
        uncovered="theory has no finite-width band of gates and attention",
        extra=further,
        doubt=columns.doubt,
    )


def _propagate(net: Net) -> Prediction:
    spec, plan = net.spec, net.plan
    h = [Wave(1.0, 0.0, normal=True)]  # standard normal samples
    z, a, map_input = ([Wave(math.nan, math.nan)] * spec.rows for _ in range(3))
    scale = np.zeros(spec.rows)  # log10 of what their squares are to be multiplied by
    ways: list[list[tuple[Step, Back | Split]]] = []
    for l in range(spec.rows):
        v, way, steps = h[l], list[tuple[Step, Back | Split]](), active(plan.layers[l].steps)
        scale[l] = net.log10_scale
        bent = False  # are these the activations, normalised or not?
        for i, step in enumerate(steps):
            back: Back | Split = unchanged
            if step.part == "map":
                map_input[l] = v
                v, back = net.map(l, v)
                z[l] = v
            elif step.part == "norm" and (norm := Norm(step.kind)).name == "batch":
                v, back = net.batch_normalised(l, norm, next(iter(steps[i + 1 :]), None), v)
            elif step.part == "norm":
                v, back = net.normalised(norm, v)
            elif step.part == "activation" and not (i and is_batch_norm(steps[i - 1])):  # which has done it
                v, back = net.activated(l, v)
            elif step.part == "keep":
                v = net.kept(step, v)
            elif step.part == "join":
                v, back = net.joined(step, v)
            bent = step.part == "activation" or (bent and step.part == "norm")
            if bent:
                a[l] = v
            way.append((step, back))
        if not math.isfinite(v.size):
            raise refuse(f"signals that leave the range of numbers, as at layer {l + 1} here")
        if net.straight and v.size > 0 and not 1e-99 < v.size < 1e99:
            net.log10_scale += math.log10(v.size)
            v = v.times(1 / v.size)
        h.append(v)
        ways.append(way)

    g = _from_the_end(net, h[-1])
    delta, lost = list(z), np.zeros(spec.rows)  # log10 of what dL/dz's squares are to be multiplied by
    around: dict[int | None, Wave] = {}
    carried = 0.0
    for l in reversed(range(spec.rows)):
        for step, back in reversed(ways[l]):
            if step.part == "map":
                delta[l], lost[l] = g, carried
            if step.part == "keep":
                g = g.plus(around.pop(step.stream))
                continue
            found = back(g)
            if isinstance(found, Wave):
                g = found
            else:
                reached, g = found
                around[step.stream] = around[step.stream].plus(reached) if step.stream in around else reached
        if g.size > 0 and not 1e-99 < g.size < 1e99:
            carried += math.log10(g.size)
            around = {stream: wave.times(1 / g.size) for stream, wave in around.items()}
            g = g.times(1 / g.size)
    for l, excess in enumerate(_along(net, h)):
        delta[l] = delta[l].times(excess)

    def log10(squares: list[float], factors: Floats) -> Floats:
        return (np.log10(np.maximum(squares, 0.0)) + factors) / 2

    gradients = [net.weight_gradient(l, map_input[l], delta[l]) for l in range(spec.rows)]
    drift, variance, uncovered = _finite_width(net)
    return Prediction(
        spec,
        net.batch,
        np.sqrt(net.ww),
        np.sqrt(net.bb),
        log10([each.size for each in z], scale),
        log10([each.size for each in a], scale),
        log10([each.size for each in delta], lost),
        log10(gradients, scale + lost),
        np.array([each.pair for each in z]) / np.array([each.size for each in z]),
        drift / math.log(100),
        np.sqrt(np.maximum(variance, 0)) / math.log(100),
        uncovered,
    )


def active(steps: Sequence[Step]) -> list[Step]:
    """The parts but dropout, which drops nothing outside of training."""
    return [step for step in steps if step.part != "dropout"]


def names_of(steps: Sequence[Step]) -> list[str]:
    """The names of these."""
    return [step.part for step in active(steps)]


def unchanged(g: Wave) -> Wave:
    """The way back of what does nothing."""
    return g


def is_batch_norm(step: Step) -> bool:
    """Is it one?"""
    return step.part == "norm" and Norm(step.kind).name == "batch"


def _from_the_end(net: Net, v: Wave) -> Wave:
    """The gradient of what the last layer hands on: the cotangent, through what stands behind it."""
    ways: list[Back] = []
    for step in active(net.plan.ends):
        if step.part == "norm" and not is_batch_norm(step):
            v, back = net.normalised(Norm(step.kind), v)
        elif step.part == "map" and net.plan.readout is not None:
            readout = net.plan.readout
            factor = readout.fan_out * net.weights(readout) / readout.fan_in
            back = functools.partial(Wave.times, factor=factor)
        else:
            raise refuse(f"{step.kind or step.part} behind the last layer")
        ways.append(back)
    g = Wave(1.0 / net.batch, 0.0)
    for back in reversed(ways):
        g = back(g)
    return g


def _wide(net: Net) -> list[Layer]:
    return [
        Layer(net.ww[l], net.bb[l], net.q[l], layer.width, net.moments[l]) for l, layer in enumerate(net.plan.layers)
    ]


def _along(net: Net, h: list[Wave]) -> Floats:
    """The factors by which the squares of dL/dz exceed those of the widest nets: 1 where nothing shows."""
    excess = np.ones(net.spec.rows)
    # A first layer that changes the number of features has no skip; behind it all blocks are equal.
    layers = [active(layer.steps) for layer in net.plan.layers]
    first = 0 if layers[0][0].part == "keep" else 1
    rest = layers[first:]
    joins = {(steps[-1].kind, steps[-1].factor) for steps in rest}
    alike = all([step.part for step in steps] == ["keep", "map", "activation", "join"] for steps in rest)
    alike = alike and len(joins) == 1 and {kind for kind, _ in joins} <= {"add", "rezero"}
    equal = all(layer.output == layer.width == layer.input for layer in net.plan.layers[first:])
    if not (alike and equal and net.standard is None and all(q > 0 for q in net.q.values())):
        return excess
    scale = joins.pop()[1]
    excess[first:] = aligned(_wide(net)[first:], scale, start=(h[first].size, h[first].mean))
    if not np.isfinite(excess).all():
        raise refuse("residual nets so deep that their signals leave the range of numbers")
    excess[:first] = excess[first]  # what reaches a layer without a skip goes through it as through any other
    return excess


def _finite_width(net: Net) -> tuple[Floats, Floats, str]:
    """Drift and variance of ln |dL/dz|^2 of one sample, and why they are nan if they are."""
    spec, layers = net.spec, net.plan.layers
    gaps = {
        "with a normalisation": net.normed,
        "with a skip": net.joins,
        "with a weight transform": net.standard is not None,
        "of weights that depend on each other": any(layer.map.law == "orthogonal" for layer in layers),
        "of activations that change the number of features": any(layer.output != layer.width for layer in layers),
    }
    none = np.full(spec.rows, math.nan)
    for words, there in gaps.items():
        if there:
            return none, none, f"theory has no finite-width band {words}"
    if not all(m["value"] * m["slope"] > 0 for m in net.moments.values()):
        return none, none, "theory has no finite-width band where signals end"
    if not all(layer.made > 0 for layer in _wide(net)):
        return none, none, "theory has no finite-width band of weights that are 0"
    drift, variance, most = log_gradient(_wide(net), inputs=2 / layers[0].input)
    if most > MOST_CURVED:
        return none, none, "theory has no finite-width band of layers so narrow that first order is not enough"
    return drift, variance, ""
