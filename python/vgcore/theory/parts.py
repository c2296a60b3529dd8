"""What each part of a layer does to a wide random signal, and to its gradient on the way back."""

from __future__ import annotations

import math

import numpy as np

from vgcore import _core
from vgcore.model.kind import Activation, Init
from vgcore.model.mlp import MLP
from vgcore.model.plan import Map, Plan
from vgcore.theory.maps import LEAST_BATCH, BatchRates, Floats, moments, pair_moments
from vgcore.theory.wave import Back, Split, Wave, refuse

#: Laws of weights that are independent, or nearly so in a wide net.
LAWS = ("constant", "uniform", "normal", "truncated_normal", "orthogonal")
# Points for normal integrals of sigmoids, which are smooth.
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(64)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


class Net:
    """A spec on its way through: the parts of its layers, which leave their ways back."""

    def __init__(self, spec: MLP, batch: int) -> None:
        self.spec, self.batch = spec, batch
        self.norm = "" if spec.norm is None else spec.norm.name
        self.eps = 0.0 if spec.norm is None else float(spec.norm.params["eps"])
        if spec.tied:
            raise refuse("tied weights, whose layers depend on each other")
        if spec.skip is not None and spec.skip.params.get("order") == "post":
            raise refuse(f"skip={spec.skip}, whose activations see sums that are not normal")
        transform = spec.weight_transform
        if transform is not None and transform.name == "spectral_norm":
            raise refuse("weight_transform=spectral_norm, whose largest singular value is slow to reach its limit")
        if self.norm == "batch" and spec.norm_position == "post":
            raise refuse("norm=batch at norm_position=post")
        if self.norm == "batch" and batch < LEAST_BATCH:
            raise refuse(f"norm={spec.norm} with a batch of {batch}: means of 1 / variance are carried by rare nets")
        self.plan = Plan.of(spec)
        # The gain of standardised weights: their rows have mean 0 and this length.
        self.standard = None if transform is None else float(transform.params["gain"])
        self.ww = [self.weights(layer.map, l) for l, layer in enumerate(self.plan.layers)]
        self.bb = [self.biases(layer.map) for layer in self.plan.layers]
        self.moments: dict[int, dict[str, float]] = {}  # of activations, by layer
        self.q: dict[int, float] = {}  # that these are at
        # Squares on the way forward are divided by this where only sizes matter, so that no depth leaves the range.
        self.log10_scale = 0.0
        self.apart = 0.0  # relative variance of q between nets, where powers of z make it grow
        self.straight = spec.norm is None and spec.skip is None and not any(self.bb)

    def map(self, l: int, v: Wave) -> tuple[Wave, Back]:
        """The map z = W h + b."""
        layer, ww = self.plan.layers[l], self.ww[l]
        if self.standard is not None:
            ww, v = self.standard**2, v.centred()
        if not ww * v.size + self.bb[l] < 1e300:
            raise refuse(f"signals that leave the range of numbers, as at layer {l + 1} here")
        z = Wave(ww * v.size + self.bb[l], ww * v.pair + self.bb[l], 0.0, normal=True)
        return z, lambda g: g.times(ww * layer.width / layer.map.fan_in)

    def weight_gradient(self, l: int, map_input: Wave, delta: Wave) -> float:
        """Squared norm of dL/dW: over all pairs of samples, the products of what the map gets times those of dL/dz."""
        layer, b, scale = self.plan.layers[l], self.batch, 1.0
        if self.standard is not None:
            if not self.ww[l] > 0:
                raise refuse("weight standardisation of equal weights")
            scale = self.standard**2 / self.ww[l]
            map_input = map_input.centred()
        pairs = b * delta.size * map_input.size + b * (b - 1) * delta.pair * map_input.pair
        return scale * layer.width * layer.map.fan_in * pairs

    def normalised(self, v: Wave) -> tuple[Wave, Back]:
        """Divided by its size, which in a wide net is a number."""
        if self.norm == "layer":
            v = v.centred()
        if not v.size + self.eps > 0:
            raise refuse(f"norm={self.spec.norm} of zeros")
        scale = 1 / (v.size + self.eps)
        return v.times(scale), lambda g: g.times(scale)

    def batch_normalised(self, l: int, v: Wave) -> tuple[Wave, Back]:
        """Batch norm, and the activation behind it: what is normal in every direction is a direction of one length."""
        if not v.normal:
            raise refuse(f"norm={self.spec.norm} of features that are not normal")
        variance = v.size - v.pair
        if not self.eps < 1e-3 * variance or variance < 1e-9 * v.size:
            raise refuse(f"norm={self.spec.norm} with an eps that is not small beside a variance of {variance:.3g}")
        kind, share = self.plan.layers[l].activation, self.share(l)
        if share < 1:
            raise refuse(f"norm={self.spec.norm} before {kind}, which multiplies two signals")
        rates = BatchRates.of(kind, self.batch)

        def back(g: Wave) -> Wave:
            size = rates.back(g.size, g.pair) * share / variance
            return Wave(size, -size / (self.batch - 1))

        return Wave(rates.value, rates.together, rates.mean), back

    def share(self, l: int) -> float:
        """Features of a to one of what is activated: gated activations give half as many, crelu twice as many."""
        return _core.activation_outputs(self.plan.layers[l].activation)

    def activated(self, l: int, v: Wave) -> tuple[Wave, Back]:
        """The activation a = phi(v)."""
        phi = self.plan.layers[l].activation
        linear = phi.name == "linear"
        if linear and not v.normal:
            return v, lambda g: g
        if not v.normal:
            raise refuse(f"{phi} of features that are not normal")
        q, m = self.at(phi, v.size)
        self.q[l], self.moments[l] = q, m
        self.differ(l, q, m)
        share = self.share(l)
        if v.size == 0 and share >= 1:  # there is no averaging over a kink at 0
            flat = float(_core.activate(phi, [0.0])[0, 1])
            return Wave(m["value"], m["value"], m["mean"]), lambda g: g.times(flat**2 * share)
        c = min(max(v.pair / v.size, -1.0), 1.0) if v.size > 0 else 0.0
        together, slopes = (float(value) for value in pair_moments(phi, q=q, c=c))
        a = Wave(m["value"], together, m["mean"], linear).times(v.size / q if q > 0 else 1.0)
        return a, lambda g: Wave(g.size * m["slope"] * share, g.pair * slopes * share)

    def differ(self, l: int, q: float, m: dict[str, float]) -> None:
        """Refuse where nets of this width have little in common: powers of z multiply what they differ by."""
        power = m["growth"] * q / m["value"] if m["value"] > 0 else 0.0
        # A layer adds about 8 / width, the variance of the mean of products' squares.
        self.apart = self.apart * power**2 + 8 / self.plan.layers[l].width if power > 1.5 else 0.0
        if self.apart > 0.3 and self.spec.norm is None:
            raise refuse(
                f"{self.plan.layers[l].activation} without a norm from layer {l + 1} on here: layer after layer "
                "squares what nets differ by, until no two are alike"
            )

    def at(self, kind: Activation, size: float) -> tuple[float, dict[str, float]]:
        """The variance that moments are taken at, and these; below 1e-140 and above 1e140 those of a line if phi is."""

        def expected(q: float) -> dict[str, float]:
            return {name: float(value) for name, value in moments(kind, q).items()}

        true = size * float(10 ** min(max(self.log10_scale, -400.0), 300.0))
        q = min(max(true, 1e-140), 1e140)
        m = expected(q)
        if q != true and not abs(m["growth"] * q - m["value"]) < 1e-6 * m["value"]:
            if true > 0:
                raise refuse(f"{kind} of signals that leave the range of numbers")
            return 0.0, expected(0.0)
        return (q, m) if size > 0 else (0.0, expected(0.0))

    def joined(self, l: int, x: Wave, f: Wave) -> tuple[Wave, Split]:
        """What the skip makes of a block's input and output; back to both, the input's first."""
        skip = self.spec.skip
        assert skip is not None  # noqa: S101 (a layer without one joins nothing)
        if skip.name == "dense":
            source, layer = self.plan.layers[self.plan.layers[l].source or 0].input, self.plan.layers[l]
            share = source / layer.output
            size, pair, mean = (share * here + (1 - share) * there for here, there in zip(x[:3], f[:3], strict=True))
            return Wave(size, pair, mean), lambda g: (g, g)
        gate = self.plan.layers[l].gate
        if gate is not None:
            return self.gated(self.weights(gate, l), gate.bias_mean, x, f)
        scale = self.plan.branch_scale * float(skip.params.get("alpha", 1.0))
        return x.plus(f, 1.0, scale), lambda g: (g, g.times(scale**2))

    @staticmethod
    def gated(ww: float, bias: float, x: Wave, f: Wave) -> tuple[Wave, Split]:
        """A highway: (1 - T) x + T F with T = sigmoid of a normal of its own."""
        one, two = NODES[:, None], NODES
        c = x.pair / x.size if x.size > 0 else 0.0
        root = math.sqrt(ww * x.size)
        first = _sigmoid(bias + root * one)
        second = _sigmoid(bias + root * (c * one + math.sqrt(max(1 - c * c, 0)) * two))

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

    def weights(self, at: Map, l: int | None) -> float:
        """fan_in times the variance of a weight of a hidden layer, or for None of the readout."""
        inits = self.spec.init
        name = (inits if isinstance(inits, Init) else inits[-1 if l is None else l]).name
        if self.plan.calibrates or at.weight_mean != 0 or at.law not in LAWS:
            raise refuse(f"init={name}, whose variance it does not know")
        return at.fan_in * _finite(at.weight_variance)

    def biases(self, at: Map) -> float:
        """The variance of a bias."""
        if at.bias_mean != 0:
            raise refuse(f"biases {self.spec.bias and self.spec.bias.name}, whose mean is not 0")
        return _finite(at.bias_variance)


def _finite(variance: float) -> float:
    if not math.isfinite(variance):
        raise OverflowError
    return variance


def _sigmoid(z: Floats) -> tuple[Floats, Floats]:
    """Values and slopes."""
    values, slopes = _core.activate("sigmoid", z.ravel().tolist()).T
    return values.reshape(z.shape), slopes.reshape(z.shape)
