"""What a probe will measure, without drawing a net: `predict` -> `Prediction`.

Layer by layer, part by part, as the core's plan states a net: what each part does to a wide random signal on the way
forward, and to its gradient on the way back. A signal is three numbers: in a wide net features are alike, samples are
alike, and parts whose weights are independent and of mean 0 add up in squares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vgcore import _core
from vgcore.measure.result import SIGNALS, Signal
from vgcore.model.given import integer, wrong_type
from vgcore.model.mlp import MLP
from vgcore.model.names import known
from vgcore.model.versioned import Versioned
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
class Prediction(Versioned):
    """Columns of a probe as mean field has them: log10 of root mean squares over many wide nets, each `(depth,)`.

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
    """

    spec: MLP
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

    def factor(self, signal: Signal) -> float:
        """Geometric mean multiplier a layer in the signal's direction of travel, as of a probe; nan of one layer.

        >>> import vgcore as vg
        >>> p = predict(vg.MLP(depth=30, width=512, activation="relu", init="xavier_normal"))
        >>> round(p.factor("backward"), 4)
        0.7071
        """
        known("signal", signal, SIGNALS)
        column, backward = SIGNALS[signal]
        values = getattr(self, column)
        if len(values) < 2:
            return math.nan
        with ranging():
            change = (values[0] - values[-1]) if backward else (values[-1] - values[0])
            return float(10 ** (change / (len(values) - 1)))

    @property
    def scales(self) -> DepthScales | None:
        """Fixed points and depth scales of a plain net whose layers are alike; None of any other."""
        first = self.sigma_w[1:], self.sigma_b[1:]  # the first layer may have another fan_in
        alike = all(len(each) and np.allclose(each, each[0], rtol=1e-12, atol=0) for each in first)
        extras = (self.spec.norm, self.spec.skip, self.spec.weight_transform)
        if not alike or any(extras) or not isinstance(self.spec.activation, str):
            return None
        return depth_scales(self.spec.activation, sigma_w=self.sigma_w[-1], sigma_b=self.sigma_b[-1])

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
            "uncovered": self.uncovered,
        }

    def __str__(self) -> str:
        lines = []
        scales = self.scales
        if scales is not None:
            w, b = self.sigma_w[-1], self.sigma_b[-1]
            lines.append(f"{self.spec.activation} with sigma_w={w:.4g}, sigma_b={b:.4g}: {PHASES[str(scales.phase)]}")
            if not math.isnan(scales.chi_1):
                root = math.sqrt(scales.chi_1)
                lines.append(
                    f"q* = {scales.q_star:.6g}, c* = {scales.c_star:.6g}, chi_1 = {scales.chi_1:.6g}: dL/dz times "
                    f"{root:.4f} a layer"
                )
                lines.append(
                    f"depth scales in layers: xi_q = {scales.xi_q:.4g}, xi_c = {scales.xi_c:.4g}, "
                    f"xi_grad = {scales.xi_grad:.4g}"
                )
        if self.uncovered:
            lines.append(f"{self.uncovered}.")
        elif self.spec.depth > 1:
            lines.append(
                f"width: dL/dz of one sample at the first layer lies 10^{self.delta_drift[0]:.2f} times theory's in "
                f"typical nets, ± 10^{self.delta_std[0]:.2f} between them"
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Prediction({self.spec!r}, batch={self.batch})"


def predict(spec: MLP, *, depth: int | None = None, batch: int = _core.BATCH) -> Prediction:
    """What `probe(spec, batch=batch)` measures in the limit of wide layers, and what a finite width does to it.

    Sources: Poole et al. 2016, arXiv:1606.05340, and Schoenholz et al. 2017, arXiv:1611.01232 (plain nets); Yang and
    Schoenholz 2017, arXiv:1712.08969 (residual nets); Yang et al. 2019, arXiv:1902.08129 (batch norm); Hanin and Nica
    2018, arXiv:1812.05994, and Roberts et al. 2022, arXiv:2106.10165 (finite width).

    Args:
        spec: The net.
        depth: In place of the spec's own.
        batch: Samples that norms are of.

    Raises:
        ValueError: For what mean field as it stands here does not cover, with the reason and with what it does.

    >>> import vgcore as vg
    >>> p = vg.theory.predict(vg.MLP(depth=30, width=512, activation="sigmoid", init="xavier_normal"))
    >>> round(10 ** float(p.log10_delta_rms[4] - p.log10_delta_rms[5]), 4)  # sqrt(0.0557)
    0.2361
    """
    if not isinstance(spec, MLP):
        raise wrong_type("spec", "an MLP", spec)
    batch = integer("batch", batch, least=1, most=2**31)
    try:
        net = Net(spec if depth is None else spec.replace(depth=depth), batch)
        with ranging():
            return _propagate(net)
    except OverflowError:
        raise refuse("weights or biases whose squares leave the range of numbers") from None


def _propagate(net: Net) -> Prediction:
    spec, plan = net.spec, net.plan
    h = [Wave(1.0, 0.0, normal=True)]  # standard normal samples
    z, a, map_input = ([Wave(math.nan, math.nan)] * spec.depth for _ in range(3))
    scale = np.zeros(spec.depth)  # log10 of what their squares are to be multiplied by
    ways: list[list[tuple[str, Back]]] = []
    splits: dict[int, Split] = {}
    for l in range(spec.depth):
        v, way = h[l], list[tuple[str, Back]]()
        scale[l] = net.log10_scale
        for part in plan.layers[l].parts:
            if part == "map":
                map_input[l] = v
                v, back = net.map(l, v)
                z[l] = v
            elif part == "norm" and net.norm == "batch":
                v, back = net.batch_normalised(l, v)
            elif part == "norm":
                v, back = net.normalised(v)
            elif part == "activation" and net.norm == "batch":
                continue  # done with the norm
            elif part == "activation":
                v, back = net.activated(l, v)
            else:  # the last part of a layer, as order=post is refused
                v, splits[l] = net.joined(l, h[plan.layers[l].source or 0], v)
                continue
            if part == "activation" or (part == "norm" and (net.norm == "batch" or spec.norm_position == "post")):
                a[l] = v
            way.append((part, back))
        if not math.isfinite(v.size):
            raise refuse(f"signals that leave the range of numbers, as at layer {l + 1} here")
        if net.straight and v.size > 0 and not 1e-99 < v.size < 1e99:
            net.log10_scale += math.log10(v.size)
            v = v.times(1 / v.size)
        h.append(v)
        ways.append(way)

    g = Wave(1.0 / net.batch, 0.0)
    if plan.readout is not None:
        g = g.times(plan.readout.fan_out * net.weights(plan.readout, None) / plan.readout.fan_in)
    delta, lost = list(z), np.zeros(spec.depth)  # log10 of what dL/dz's squares are to be multiplied by
    around: dict[int, Wave] = {}
    carried = 0.0
    for l in reversed(range(spec.depth)):
        if l in splits:
            around[plan.layers[l].source or 0], g = splits[l](g)
        for part, back in reversed(ways[l]):
            if part == "map":
                delta[l], lost[l] = g, carried
            g = back(g)
        if l in around:
            g = g.plus(around.pop(l))
        if g.size > 0 and not 1e-99 < g.size < 1e99:
            carried += math.log10(g.size)
            around = {source: wave.times(1 / g.size) for source, wave in around.items()}
            g = g.times(1 / g.size)
    for l, excess in enumerate(_along(net, h)):
        delta[l] = delta[l].times(excess)

    def log10(squares: list[float], factors: Floats) -> Floats:
        return (np.log10(np.maximum(squares, 0.0)) + factors) / 2

    gradients = [net.weight_gradient(l, map_input[l], delta[l]) for l in range(spec.depth)]
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


def _wide(net: Net) -> list[Layer]:
    return [
        Layer(net.ww[l], net.bb[l], net.q[l], layer.width, net.moments[l]) for l, layer in enumerate(net.plan.layers)
    ]


def _along(net: Net, h: list[Wave]) -> Floats:
    """The factors by which the squares of dL/dz exceed those of the widest nets: 1 where nothing shows."""
    spec, skip = net.spec, net.spec.skip
    excess = np.ones(spec.depth)
    if skip is None or skip.params.get("order") != "after":
        return excess
    plain = spec.norm is None and spec.weight_transform is None and spec.block == 1
    # A first layer that changes the number of features has no skip; behind it all blocks are equal.
    first = 0 if net.plan.layers[0].source is not None else 1
    rest = net.plan.layers[first:]
    equal = all(layer.source is not None and layer.output == layer.width == layer.input for layer in rest)
    if not (plain and equal and rest and all(q > 0 for q in net.q.values())):
        return excess
    scale = net.plan.branch_scale * float(skip.params.get("alpha", 1.0))
    excess[first:] = aligned(_wide(net)[first:], scale, start=(h[first].size, h[first].mean))
    if not np.isfinite(excess).all():
        raise refuse("residual nets so deep that their signals leave the range of numbers")
    excess[:first] = excess[first]  # what reaches a layer without a skip goes through it as through any other
    return excess


def _finite_width(net: Net) -> tuple[Floats, Floats, str]:
    """Drift and variance of ln |dL/dz|^2 of one sample, and why they are nan if they are."""
    spec, layers = net.spec, net.plan.layers
    gaps = {
        "with a normalisation": spec.norm is not None,
        "with a skip": spec.skip is not None,
        "with a weight transform": spec.weight_transform is not None,
        "of weights that depend on each other": any(layer.map.law == "orthogonal" for layer in layers),
        "of activations that change the number of features": any(layer.output != layer.width for layer in layers),
    }
    none = np.full(spec.depth, math.nan)
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
