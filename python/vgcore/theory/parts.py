"""What each part of a layer does to a wide random signal, and to its gradient on the way back."""

from __future__ import annotations

import math
from typing import Any

from vgcore import _core
from vgcore.model.kind import Activation, Norm
from vgcore.model.plan import Block, Map, Plan, Step
from vgcore.model.spec import Spec
from vgcore.theory.maps import LEAST_BATCH, NODES, WEIGHTS, BatchRates, Floats, moments, pair_moments
from vgcore.theory.wave import Back, Split, Wave, refuse

#: Laws of weights that are independent, or nearly so in a wide net.
LAWS = ("constant", "uniform", "normal", "truncated_normal", "orthogonal")


class Net:
    """A spec on its way through: the parts of its layers, which leave their ways back."""

    def __init__(self, spec: Spec, batch: int) -> None:
        self.spec = spec
        self.batch = batch
        skip, transform = getattr(spec, "skip", None), getattr(spec, "weight_transform", None)
        if getattr(spec, "tied", False):
            raise refuse("tied weights, whose layers depend on each other")
        if skip is not None and skip.params.get("order") == "post":
            raise refuse(f"skip={skip}, whose activations see sums that are not normal")
        if transform is not None and transform.name == "spectral_norm":
            raise refuse("weight_transform=spectral_norm, whose largest singular value is slow to reach its limit")
        self.plan: Plan = Plan.of(spec)
        steps = [step for layer in self.plan.layers for step in layer.steps] + [*self.plan.ends]
        self.normed: bool = any(step.part == "norm" for step in steps)
        self.joins: bool = any(step.part == "join" for step in steps)
        # The gain of standardised weights: their rows have mean 0 and this length.
        self.standard: float | None = None if transform is None else float(transform.params["gain"])
        self.ww: list[float] = [self.weights(layer.map) for layer in self.plan.layers]
        self.bb: list[float] = [self.biases(layer.map) for layer in self.plan.layers]
        self.moments: dict[int, dict[str, float]] = {}  # of activations, by layer
        self.q: dict[int, float] = {}  # that these are at
        self.around: dict[int, tuple[Wave, int]] = {}  # what goes around parts, and how many features it has
        # Squares on the way forward are divided by this where only sizes matter, so that no depth leaves the range.
        self.log10_scale: float = 0.0
        self.apart: float = 0.0  # relative variance of q between nets, where powers of z make it grow
        self.straight: bool = not (self.normed or self.joins or any(self.bb))

    def kept(self, step: Step, v: Wave) -> Wave:
        """From here on v also goes around."""
        assert step.stream is not None  # noqa: S101 (every keep has one)
        self.around[step.stream] = v, step.inputs
        return v

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

    @staticmethod
    def normalised(norm: Norm, v: Wave) -> tuple[Wave, Back]:
        """Divided by its size, which in a wide net is a number."""
        if norm.name == "layer":
            v = v.centred()
        total = v.size + float(norm.params["eps"])
        if not total > 0:
            raise refuse(f"norm={norm} of zeros")
        return v.times(1 / total), lambda g: g.times(1 / total)

    def batch_normalised(self, l: int, norm: Norm, behind: Step | None, v: Wave) -> tuple[Wave, Back]:
        """Batch norm, and the activation behind it: what is normal in every direction is a direction of one length."""
        if behind is None or behind.part != "activation":
            raise refuse(f"norm={norm} without an activation right behind it")
        if self.batch < LEAST_BATCH:
            raise refuse(f"norm={norm} with a batch of {self.batch}: means of 1 / variance are carried by rare nets")
        if not v.normal:
            raise refuse(f"norm={norm} of features that are not normal")
        variance = v.size - v.pair
        if not float(norm.params["eps"]) < 1e-3 * variance or variance < 1e-9 * v.size:
            raise refuse(f"norm={norm} with an eps that is not small beside a variance of {variance:.3g}")
        kind, share = self.plan.layers[l].activation, self.share(l)
        if share < 1:
            raise refuse(f"norm={norm} before {kind}, which multiplies two signals")
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
        if self.apart > 0.3 and not self.normed:
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

    def joined(self, step: Step, f: Wave) -> tuple[Wave, Split]:
        """What a join makes of what went around and what came through; back to both, the former first."""
        assert step.stream is not None  # noqa: S101 (every join has one)
        x, features = self.around[step.stream]
        if step.kind == "concat":
            share = features / step.outputs
            size, pair, mean = (share * here + (1 - share) * there for here, there in zip(x[:3], f[:3], strict=True))
            return Wave(size, pair, mean), lambda g: (g, g)
        scale = step.factor
        if step.map is None:
            return x.plus(f, 1.0, scale), lambda g: (g, g.times(scale**2))
        ww, bb, at = self.weights(step.map), step.map.bias_variance, step.map
        if step.kind == "gate":
            return self.gated(ww, at.bias_mean, x, f)
        u = Wave(ww * x.size + bb, ww * x.pair + bb, 0.0, normal=True)
        return u.plus(f, 1.0, scale), lambda g: (g.times(ww * at.fan_out / at.fan_in), g.times(scale**2))

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

    def weights(self, at: Map) -> float:
        """fan_in times the variance of a weight."""
        return at.fan_in * variance_of(self.plan, self.spec, at)

    def biases(self, at: Map) -> float:
        """The variance of a bias."""
        if at.bias_mean != 0:
            raise refuse(f"biases {init_names(self.spec.bias)}, whose mean is not 0")
        return finite(at.bias_variance)


def init_names(inits: Any) -> str:
    """The inits of a field, one or several."""
    return ", ".join({init.name: None for init in (inits if isinstance(inits, tuple) else [inits]) if init})


def variance_of(plan: Plan, spec: Spec, at: Map, block: Block | None = None, *, source: str = "init") -> float:
    """The variance of a weight, of any or of those of a block; `source` is the field of the spec that draws it."""
    if plan.calibrates or at.weight_mean != 0 or at.law not in LAWS:
        raise refuse(f"{source}={init_names(getattr(spec, source))}, whose variance it does not know")
    return finite(at.weight_variance if block is None else block.weight_variance)


def finite(variance: float) -> float:
    """A variance that floats hold; else an OverflowError, of which `predict` says what it means."""
    if not math.isfinite(variance):
        raise OverflowError
    return variance


def _sigmoid(z: Floats) -> tuple[Floats, Floats]:
    """Values and slopes."""
    values, slopes = _core.activate("sigmoid", z.ravel().tolist()).T
    return values.reshape(z.shape), slopes.reshape(z.shape)
