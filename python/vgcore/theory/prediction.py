"""What a probe will measure, without drawing a net: `predict` -> `Prediction`.

Layer by layer, part by part, as `vgcore.reference` states a net: what each part does to a wide random signal on the
way forward, and to its gradient on the way back. A signal is three numbers: in a wide net features are alike, samples
are alike, and parts whose weights are independent and of mean 0 add up in squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from vgcore import reference
from vgcore.finding import known
from vgcore.probe import SIGNALS, Signal
from vgcore.spec import MLP, Activation
from vgcore.theory.fixed import DepthScales, depth_scales
from vgcore.theory.maps import LEAST_BATCH, BatchRates, Floats, moments, pair_moments, whole
from vgcore.theory.width import MOST_CURVED, Layer, aligned, log_gradient

COVERED = (
    "wide untied nets of independent or orthogonal weights with mean 0, biases with mean 0, any activation, rms or "
    "layer norm, batch norm before an element-wise activation with 6 samples or more, residual, rezero, highway and "
    "dense skips but order=post, weight standardization, standard normal samples and a random cotangent"
)

PHASES = {
    "ordered": "ordered, gradients vanish and inputs become alike",
    "critical": "on the edge of chaos",
    "chaotic": "chaotic, gradients explode and inputs become unlike",
    "vanishing": "signals vanish",
    "exploding": "signals explode",
}

# Points for normal integrals of sigmoids, which are smooth.
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(64)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


class Wave(NamedTuple):
    """A wide random signal of several samples: features are alike, and so are samples.

    Attributes:
        size: Mean square of a feature of a sample.
        pair: Mean product of a feature of two samples.
        mean: Of the features of a sample.
        normal: Do features have a normal law? Then their mean is 0.
    """

    size: float
    pair: float
    mean: float = 0.0
    normal: bool = False

    def times(self, factor: float) -> Wave:
        """All squares times a factor."""
        return Wave(self.size * factor, self.pair * factor, self.mean * math.sqrt(factor), self.normal)

    def centred(self) -> Wave:
        """Less the mean of each sample's features."""
        if self.size - self.mean**2 < 1e-9 * self.size:
            raise _refuse("features that are alike but for rounding, whose mean is taken away")
        return self._replace(size=self.size - self.mean**2, pair=self.pair - self.mean**2, mean=0.0)

    def plus(self, other: Wave, here: float = 1.0, there: float = 1.0) -> Wave:
        """Features added, which are independent but for their means, times a number each."""
        both = 2 * here * there * self.mean * other.mean
        return Wave(
            here**2 * self.size + there**2 * other.size + both,
            here**2 * self.pair + there**2 * other.pair + both,
            here * self.mean + there * other.mean,
            self.normal and other.normal,
        )


Back = Callable[[Wave], Wave]  # from dL/d(output) of a part to dL/d(input), a feature each
Split = Callable[[Wave], tuple[Wave, Wave]]  # from dL/dh to what goes around a block, and through it


def _refuse(what: str) -> ValueError:
    return ValueError(f"theory does not cover {what}; it covers {COVERED}")


@dataclass(frozen=True, eq=False)
class Prediction:
    """Columns of a probe as mean field has them: log10 of root mean squares over many wide nets, each `(depth,)`.

    Attributes:
        spec: What it is of.
        batch: Samples that norms are of.
        sigma_w: Of each layer's weights: their standard deviation times sqrt(fan_in).
        sigma_b: Of each layer's biases.
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
        if signal not in SIGNALS:
            known("signal", signal, SIGNALS)
        column, backward = SIGNALS[signal]
        values = getattr(self, column)
        if len(values) < 2:
            return math.nan
        with np.errstate(invalid="ignore"):
            change = (values[0] - values[-1]) if backward else (values[-1] - values[0])
        return float(10 ** (change / (len(values) - 1)))

    @property
    def scales(self) -> DepthScales | None:
        """Fixed points and depth scales of a plain net whose layers are alike; None of any other."""
        first = self.sigma_w[1:], self.sigma_b[1:]  # the first layer may have another fan_in
        alike = all(len(each) and np.allclose(each, each[0], rtol=1e-12, atol=0) for each in first)
        extras = (self.spec.norm, self.spec.skip, self.spec.weight_transform)
        if not alike or any(extras) or not isinstance(self.spec.activation, str | Activation):
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


class _Net:
    """A spec on its way through: the parts of its layers, which leave their ways back."""

    def __init__(self, spec: MLP, batch: int) -> None:
        self.spec, self.batch = spec, batch
        self.plan = reference.Plan.of(spec)
        self.norm, self.norm_params = reference.parse(str(spec.norm)) if spec.norm else ("", {})
        self.eps = float(self.norm_params.get("eps", 1e-5))
        self.transform, self.transform_params = reference.parse(spec.weight_transform or "none")
        if spec.tied:
            raise _refuse("tied weights, whose layers depend on each other")
        if self.plan.skip[1]["order"] == "post" and spec.skip:
            raise _refuse(f"skip={spec.skip}, whose activations see sums that are not normal")
        if self.transform == "spectral_norm":
            raise _refuse("weight_transform=spectral_norm, whose largest singular value is slow to reach its limit")
        if self.norm == "batch" and spec.norm_position == "post":
            raise _refuse("norm=batch at norm_position=post")
        if self.norm == "batch" and batch < LEAST_BATCH:
            raise _refuse(f"norm={spec.norm} with a batch of {batch}: means of 1 / variance are carried by rare nets")
        self.places = [reference.Place.of(spec, self.plan, l) for l in range(spec.depth)]
        inits = self.plan.inits[: spec.depth]
        self.ww = [weights(kind, at) for kind, at in zip(inits, self.places, strict=True)]
        self.bb = [biases(spec, kind, at) for kind, at in zip(inits, self.places, strict=True)]
        self.moments: dict[int, dict[str, float]] = {}  # of activations, by layer
        self.q: dict[int, float] = {}  # that these are at
        # Squares on the way forward are divided by this where only sizes matter, so that no depth leaves the range.
        self.log10_scale = 0.0
        self.apart = 0.0  # relative variance of q between nets, where powers of z make it grow
        self.straight = spec.norm is None and spec.skip is None and not any(self.bb)

    def map(self, l: int, v: Wave) -> tuple[Wave, Back]:
        """The map z = W h + b."""
        layer, ww = self.plan.layers[l], self.ww[l]
        if self.transform == "weight_standardization":  # rows of mean 0 and of length `gain`
            ww, v = float(self.transform_params.get("gain", 1.0)) ** 2, v.centred()
        if not ww * v.size + self.bb[l] < 1e300:
            raise _refuse(f"signals that leave the range of numbers, as at layer {l + 1} here")
        z = Wave(ww * v.size + self.bb[l], ww * v.pair + self.bb[l], 0.0, normal=True)
        return z, lambda g: g.times(ww * layer.width / layer.fan_in)

    def weight_gradient(self, l: int, mapped: Wave, delta: Wave) -> float:
        """Squared norm of dL/dW: over all pairs of samples, the products of what is mapped times those of dL/dz."""
        layer, b, scale = self.plan.layers[l], self.batch, 1.0
        if self.transform == "weight_standardization":
            if not self.ww[l] > 0:
                raise _refuse("weight standardisation of equal weights")
            scale = float(self.transform_params.get("gain", 1.0)) ** 2 / self.ww[l]
            mapped = mapped.centred()
        pairs = b * delta.size * mapped.size + b * (b - 1) * delta.pair * mapped.pair
        return scale * layer.width * layer.fan_in * pairs

    def normalised(self, v: Wave) -> tuple[Wave, Back]:
        """Divided by its size, which in a wide net is a number."""
        if self.norm == "layer":
            v = v.centred()
        if not v.size + self.eps > 0:
            raise _refuse(f"norm={self.spec.norm} of zeros")
        scale = 1 / (v.size + self.eps)
        return v.times(scale), lambda g: g.times(scale)

    def batch_normalised(self, l: int, v: Wave) -> tuple[Wave, Back]:
        """Batch norm, and the activation behind it: what is normal in every direction is a direction of one length."""
        if not v.normal:
            raise _refuse(f"norm={self.spec.norm} of features that are not normal")
        variance = v.size - v.pair
        if not self.eps < 1e-3 * variance or variance < 1e-9 * v.size:
            raise _refuse(f"norm={self.spec.norm} with an eps that is not small beside a variance of {variance:.3g}")
        kind, share = self.plan.layers[l].kind, self.share(l)
        if share < 1:
            raise _refuse(f"norm={self.spec.norm} before {kind}, which multiplies two signals")
        rates = BatchRates.of(kind, self.batch)

        def back(g: Wave) -> Wave:
            size = rates.back(g.size, g.pair) * share / variance
            return Wave(size, -size / (self.batch - 1))

        return Wave(rates.value, rates.together, rates.mean), back

    def share(self, l: int) -> float:
        """Features of a to one of what is activated: gated activations give half as many, crelu twice as many."""
        layer = self.plan.layers[l]
        got = layer.reaches("activation")
        return reference.features(layer.kind, got) / got

    def activated(self, l: int, v: Wave) -> tuple[Wave, Back]:
        """The activation a = phi(v)."""
        layer = self.plan.layers[l]
        linear = reference.parse(layer.kind)[0] == "linear"
        if linear and not v.normal:
            return v, lambda g: g
        if not v.normal:
            raise _refuse(f"{layer.kind} of features that are not normal")
        q, m = self.at(layer.kind, v.size)
        self.q[l], self.moments[l] = q, m
        self.differ(l, q, m)
        share = self.share(l)
        if v.size == 0 and share >= 1:  # there is no averaging over a kink at 0
            flat = float(reference.activate(layer.kind, np.zeros(1))[1][0])
            return Wave(m["value"], m["value"], m["mean"]), lambda g: g.times(flat**2 * share)
        c = min(max(v.pair / v.size, -1.0), 1.0) if v.size > 0 else 0.0
        together, slopes = (float(value) for value in pair_moments(layer.kind, q=q, c=c))
        a = Wave(m["value"], together, m["mean"], linear).times(v.size / q if q > 0 else 1.0)
        return a, lambda g: Wave(g.size * m["slope"] * share, g.pair * slopes * share)

    def differ(self, l: int, q: float, m: dict[str, float]) -> None:
        """Refuse where nets of this width have little in common: powers of z multiply what they differ by."""
        power = m["growth"] * q / m["value"] if m["value"] > 0 else 0.0
        # A layer adds about 8 / width, the variance of the mean of products' squares.
        self.apart = self.apart * power**2 + 8 / self.plan.layers[l].width if power > 1.5 else 0.0
        if self.apart > 0.3 and self.spec.norm is None:
            raise _refuse(
                f"{self.plan.layers[l].kind} without a norm from layer {l + 1} on here: layer after layer squares what "
                "nets differ by, until no two are alike"
            )

    def at(self, kind: str, size: float) -> tuple[float, dict[str, float]]:
        """The variance that moments are taken at, and these; below 1e-140 and above 1e140 those of a line if phi is."""

        def expected(q: float) -> dict[str, float]:
            return {name: float(value) for name, value in moments(kind, q).items()}

        true = size * float(10 ** min(max(self.log10_scale, -400.0), 300.0))
        q = min(max(true, 1e-140), 1e140)
        m = expected(q)
        if q != true and not abs(m["growth"] * q - m["value"]) < 1e-6 * m["value"]:
            if true > 0:
                raise _refuse(f"{kind} of signals that leave the range of numbers")
            return 0.0, expected(0.0)
        return (q, m) if size > 0 else (0.0, expected(0.0))

    def joined(self, l: int, x: Wave, f: Wave) -> tuple[Wave, Split]:
        """What the skip makes of a block's input and output; back to both, the input's first."""
        name, p = self.plan.skip
        if name == "dense":
            source, layer = self.plan.layers[self.plan.layers[l].source or 0].input, self.plan.layers[l]
            share = source / layer.output
            size, pair, mean = (share * here + (1 - share) * there for here, there in zip(x[:3], f[:3], strict=True))
            return Wave(size, pair, mean), lambda g: (g, g)
        if name == "highway":
            return self.gated(l, x, f)
        scale = self.plan.branch_scale * (p["alpha"] if name == "rezero" else 1.0)
        return x.plus(f, 1.0, scale), lambda g: (g, g.times(scale**2))

    def gated(self, l: int, x: Wave, f: Wave) -> tuple[Wave, Split]:
        """A highway: (1 - T) x + T F with T = sigmoid of a normal of its own."""
        p, features = self.plan.skip[1], self.plan.layers[l].input
        at = self.places[l]._replace(fan_in=features, fan_out=features)
        ww = p["gate_gain"] ** 2 * weights(self.plan.inits[l], at)
        one, two = NODES[:, None], NODES
        c = x.pair / x.size if x.size > 0 else 0.0
        root = math.sqrt(ww * x.size)
        first = reference.activate("sigmoid", p["gate_bias"] + root * one)
        second = reference.activate("sigmoid", p["gate_bias"] + root * (c * one + math.sqrt(max(1 - c * c, 0)) * two))

        def mean(values: Floats) -> float:
            return float(WEIGHTS @ values @ WEIGHTS) if values.shape[1] > 1 else float(WEIGHTS @ values[:, 0])

        (t, slope), (u, other) = first, second
        both, closed = mean(t * u), mean((1 - t) * (1 - u))
        product, meant = x.mean * f.mean, mean(t)
        h = Wave(
            mean((1 - t) ** 2) * x.size + mean(t**2) * f.size + 2 * mean(t * (1 - t)) * product,
            closed * x.pair + both * f.pair + 2 * mean(t * (1 - u)) * product,
            (1 - meant) * x.mean + meant * f.mean,
        )

        def back(g: Wave) -> tuple[Wave, Wave]:
            alone = mean((1 - t) ** 2) + ww * mean(slope**2) * (x.size + f.size - 2 * product)
            shared = closed + ww * mean(slope * other) * (x.pair + f.pair - 2 * product)
            return Wave(g.size * alone, g.pair * shared), Wave(g.size * mean(t**2), g.pair * both)

        return h, back


def weights(kind: reference.Kind, at: reference.Place) -> float:
    """fan_in times the variance of a weight."""
    name, p = kind
    if name == "orthogonal":
        # Rows or columns of unit length, whichever are fewer.
        return float(p.get("gain", 1.0) ** 2 * min(1.0, at.fan_in / at.fan_out))
    if name == "zeros":
        return 0.0
    if name == "uniform" and p.get("a", 0.0) == -p.get("b", 1.0):
        return at.fan_in * float(p.get("gain", 1.0) * p.get("b", 1.0)) ** 2 / 3
    if name == "normal" and p.get("mean", 0.0) == 0:
        return at.fan_in * float(p.get("gain", 1.0) * p.get("std", 1.0)) ** 2
    try:
        return float(at.fan_in * reference.scale(kind, at)[1] ** 2)
    except ValueError:
        raise _refuse(f"init={name}, whose variance it does not know") from None


def biases(spec: MLP, kind: reference.Kind, at: reference.Place) -> float:
    """The variance of a bias."""
    name, p = reference.bias_kind(spec, kind, at)
    if name == "zeros":
        return 0.0
    if name == "uniform" and p.get("a", 0.0) == -p.get("b", 1.0):
        return float(p.get("b", 1.0) ** 2 / 3)
    if name == "normal" and p.get("mean", 0.0) == 0:
        return float(p.get("std", 1.0) ** 2)
    raise _refuse(f"biases {name}, whose mean is not 0")


def predict(spec: MLP, *, depth: int | None = None, batch: int = 128) -> Prediction:
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
        raise TypeError(f"expected an MLP, got {type(spec).__name__}")
    whole("batch", batch, least=1, most=2**31)
    try:
        net = _Net(spec if depth is None else spec.replace(depth=depth), batch)
        with np.errstate(divide="ignore", invalid="ignore"):
            return _propagate(net)
    except OverflowError:
        raise _refuse("weights or biases whose squares leave the range of numbers") from None


def _propagate(net: _Net) -> Prediction:
    spec, plan = net.spec, net.plan
    h = [Wave(1.0, 0.0, normal=True)]  # standard normal samples
    z, a, mapped = ([Wave(math.nan, math.nan)] * spec.depth for _ in range(3))
    scale = np.zeros(spec.depth)  # log10 of what their squares are to be multiplied by
    ways: list[list[tuple[str, Back]]] = []
    splits: dict[int, Split] = {}
    for l in range(spec.depth):
        v, way = h[l], list[tuple[str, Back]]()
        scale[l] = net.log10_scale
        for part in plan.layers[l].parts:
            if part == "map":
                mapped[l] = v
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
            raise _refuse(f"signals that leave the range of numbers, as at layer {l + 1} here")
        if net.straight and v.size > 0 and not 1e-99 < v.size < 1e99:
            net.log10_scale += math.log10(v.size)
            v = v.times(1 / v.size)
        h.append(v)
        ways.append(way)

    g = Wave(1.0 / net.batch, 0.0)
    if spec.out_features is not None:
        at = reference.Place.of(spec, plan, None)
        g = g.times(spec.out_features * weights(plan.inits[spec.depth], at) / at.fan_in)
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

    gradients = [net.weight_gradient(l, mapped[l], delta[l]) for l in range(spec.depth)]
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


def _wide(net: _Net) -> list[Layer]:
    return [
        Layer(net.ww[l], net.bb[l], net.q[l], layer.width, net.moments[l]) for l, layer in enumerate(net.plan.layers)
    ]


def _along(net: _Net, h: list[Wave]) -> Floats:
    """By what the squares of dL/dz exceed those of the widest nets, where that shows."""
    spec, (skip, params) = net.spec, net.plan.skip
    plain = spec.norm is None and spec.weight_transform is None and spec.block == 1 and params["order"] == "after"
    # A first layer that changes the number of features has no skip; behind it all blocks are equal.
    first = 0 if net.plan.layers[0].source is not None else 1
    rest = net.plan.layers[first:]
    equal = all(layer.source is not None and layer.output == layer.width == layer.input for layer in rest)
    excess = np.ones(spec.depth)
    if not (plain and equal and rest and skip in {"residual", "rezero"} and all(q > 0 for q in net.q.values())):
        return excess
    scale = net.plan.branch_scale * (params["alpha"] if skip == "rezero" else 1.0)
    excess[first:] = aligned(_wide(net)[first:], scale, start=(h[first].size, h[first].mean))
    if not np.isfinite(excess).all():
        raise _refuse("residual nets so deep that their signals leave the range of numbers")
    excess[:first] = excess[first]  # what reaches a layer without a skip goes through it as through any other
    return excess


def _finite_width(net: _Net) -> tuple[Floats, Floats, str]:
    """Drift and variance of ln |dL/dz|^2 of one sample, and why they are nan if they are."""
    spec, layers = net.spec, net.plan.layers
    gaps = {
        "with a normalisation": spec.norm is not None,
        "with a skip": spec.skip is not None,
        "with a weight transform": spec.weight_transform is not None,
        "of weights that depend on each other": any(kind[0] == "orthogonal" for kind in net.plan.inits[: spec.depth]),
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
