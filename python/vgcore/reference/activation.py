"""The whole network in NumPy: slow, short, and meant to be read.

It states the same formulas, random stream and columns as the Rust core and shares none of its code,
so that a student can read it and a test can trust it. Layers are numbered from 0 here. A plain net is

    z_l = W_l h_l + b_l              pre-activation, (batch, width); h_0 is the input
    h_{l+1} = a_l = phi(z_l)
    y = W_out h_depth + b_out        only with a readout, else y = h_depth
    delta_l = dL/dz_l                the backward signal

and every other net has more parts: a normalisation, a skip around some layers, an input at every step.
`parts` says which parts a layer has and in what order. Each part is a function that returns what it
makes of its input, and another function that takes a gradient back.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .spec import MLP

Array = npt.NDArray[Any]
State = dict[str, Array]
Kind = tuple[str, dict[str, Any]]


# --- What a spec says ----------------------------------------------------------------------------


def parse(text: str) -> Kind:
    """Split `"leaky_relu(negative_slope=0.1)"` into a name and parameters."""

    def value(text: str) -> float | str:
        try:
            return float(text)
        except ValueError:
            return text

    name, _, inside = text.rstrip(")").partition("(")
    items = (item.split("=") for item in inside.split(", ") if item)
    return name, {key: value(text) for key, text in items}


class Layer(NamedTuple):
    """The shape of a layer, and where its activation stands."""

    input: int  # features of h_l
    fan_in: int  # columns of W_l: those features, or what an activation before the map makes of them
    width: int  # rows of W_l: features of z_l
    output: int  # features of h_{l+1}
    kind: str  # the activation
    order: str  # it comes "after" the map, before it ("pre"), or after the sum at the end of a block ("post")
    source: int | None  # the h that goes around the block which ends here


class Plan(NamedTuple):
    """A spec layer by layer."""

    layers: list[Layer]
    skip: Kind  # with all its parameters; "none" without one
    branch_scale: float
    inits: list[Kind]  # of each layer and of the readout

    @classmethod
    def of(cls, spec: MLP) -> Plan:
        """Spread what a spec says once over its layers."""

        def spread(value: Any) -> list[Any]:
            return list(value) if isinstance(value, tuple) else [value] * spec.depth

        widths, kinds, inits = (spread(value) for value in (spec.width, spec.activation, spec.init))
        name, given = parse(str(spec.skip or "none"))
        params: dict[str, Any] = {"order": "after", "alpha": 0.0, "gate_bias": -1.0, "gate_gain": 1.0} | given
        block = spec.block if spec.skip else 1

        def chain(start: int, order: str, *, skips: bool) -> list[Layer]:
            """The layers of a block, which begins with h features."""
            found: list[Layer] = []
            for l in range(start, start + block):
                input_ = found[-1].output if found else h
                ends = skips and l == start + block - 1
                kind = "linear" if ends and order == "linear" else kinds[l]
                here = order if order == "pre" or (ends and order == "post") else "after"
                fan_in = features(kind, input_) if here == "pre" else input_
                output = widths[l] if here == "pre" else features(kind, widths[l])
                found.append(Layer(input_, fan_in, widths[l], output, kind, here, start if ends else None))
            return found

        layers: list[Layer] = []
        h = spec.in_features or widths[0]
        if spec.inputs == "every":  # h_0 is zeros, of the size of what a layer gives
            h = widths[0] if params["order"] == "pre" else features(kinds[0], widths[0])
        for start in range(0, spec.depth, block):
            found = chain(start, params["order"], skips=spec.skip is not None)
            last = found[-1]
            if name == "dense":
                found[-1] = last._replace(output=h + last.output)
            elif spec.skip and h != (last.width if last.order == "post" else last.output):
                found = chain(start, "after", skips=False)  # a first block that changes the number of features
            layers += found
            h = layers[-1].output
        scale = spec.branch_scale
        if isinstance(scale, str):  # "1/sqrt(L)", L the number of blocks
            scale = 1 / math.sqrt(spec.depth / spec.block)
        if len(inits) == spec.depth:  # the readout has the last layer's, unless it has its own
            inits.append(inits[-1])
        return cls(layers, (name, params), scale, [parse(str(init)) for init in inits])


def tensor(spec: MLP, module: str, l: int, name: str) -> str:
    """The state-dict name of what belongs to layer l; a tied net has one layer's parameters for all."""
    return f"{module}.{0 if spec.tied else l}.{name}"


# --- Random numbers ------------------------------------------------------------------------------

WEIGHT, BIAS, INPUT, COTANGENT, READOUT_WEIGHT, READOUT_BIAS = range(6)  # roles of a stream
GATE_WEIGHT, GATE_BIAS, INPUT_WEIGHT = range(8, 11)
COMPANION = 32  # added to a role: the stream that says which elements count
LOW_BITS = 16  # added to a role: the companion stream that extends 32 bits to 53


def philox(counter: Array, seed: int) -> Array:
    """Philox4x32-10 of a (4, n) counter under a 64-bit key (Salmon et al. 2011, Random123)."""
    mask = np.uint64(0xFFFFFFFF)
    c0, c1, c2, c3 = counter.astype(np.uint64)
    for i in range(10):
        k0 = np.uint64((seed + i * 0x9E3779B9) & 0xFFFFFFFF)
        k1 = np.uint64(((seed >> 32) + i * 0xBB67AE85) & 0xFFFFFFFF)
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & mask, (p0 >> 32) ^ c3 ^ k1, p0 & mask
    return np.stack([c0, c1, c2, c3])


@dataclass(frozen=True)
class Stream:
    """The numbers of one tensor: element i depends on (seed, role, layer, i) and nothing else."""

    seed: int
    role: int
    layer: int = 0
    dtype: str = "float64"

    def words(self, count: int, role: int) -> Array:
        """32-bit words: element i is word i % 4 of block i // 4."""
        block = np.arange(-(-count // 4), dtype=np.uint64)
        layer, role_ = np.full_like(block, self.layer), np.full_like(block, role)
        counter = np.stack([block & np.uint64(0xFFFFFFFF), block >> 32, layer, role_])
        return philox(counter, self.seed).T.ravel()[:count]

    def uniform(self, shape: tuple[int, ...]) -> Array:
        """U(0, 1), never 0: made of 32 bits for float32, of 53 for float64."""
        high = self.words(math.prod(shape), self.role).reshape(shape)
        if self.dtype == "float32":
            return (high + 0.5) * 2.0**-32
        low = self.words(math.prod(shape), self.role + LOW_BITS).reshape(shape)
        return ((high << 21) + (low >> 11) + 0.5) * 2.0**-53

    def normal(self, shape: tuple[int, ...]) -> Array:
        """N(0, 1), made in pairs (Box & Muller 1958): sqrt(-2 ln u1) (cos, sin)(2 pi u2)."""
        count = math.prod(shape)
        u1, u2 = self.uniform((-(-count // 2), 2)).T
        radius, angle = np.sqrt(-2 * np.log(u1)), 2 * np.pi * u2
        pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        return pairs.ravel()[:count].reshape(shape)


# --- Initial weights -----------------------------------------------------------------------------


class Place(NamedTuple):
    """A linear map's place in a net."""

    fan_in: int
    fan_out: int
    layer: int | None  # 0-based; None for the readout
    activation: str | None  # that the map feeds
    blocks: int  # of the net; its depth without a skip
    block: int  # layers of the residual branch that the map is in, 0 outside
    ends_branch: bool

    @classmethod
    def of(cls, spec: MLP, plan: Plan, layer: int | None) -> Place:
        """The place of a hidden layer or, for None, of the readout."""
        scaled = plan.skip[0] in {"residual", "rezero"}
        blocks = spec.depth // spec.block if scaled else spec.depth
        if layer is None:
            return cls(plan.layers[-1].output, spec.out_features or 0, None, None, blocks, 0, False)
        end = layer - layer % spec.block + spec.block - 1
        inside = scaled and plan.layers[end].source is not None
        here = plan.layers[layer]
        fans = here.fan_in, here.width
        return cls(*fans, layer, here.kind, blocks, spec.block if inside else 0, inside and layer == end)


TORCH_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}


def kaiming_gain(p: dict[str, Any]) -> float:
    """The `gain`, or what `torch.nn.init.calculate_gain` says of `nonlinearity` and `a`."""
    leaky = math.sqrt(2 / (1 + p.get("a", 0.0) ** 2))
    gain: float = p.get("gain", TORCH_GAINS.get(p.get("nonlinearity", "leaky_relu"), leaky))
    return gain


def scale(kind: Kind, at: Place) -> tuple[str, float]:
    """The shape of the distribution of an init with mean 0, and its standard deviation."""
    name, p = kind
    gain: float = p.get("gain", 1.0)
    fan_in = at.fan_in
    match name:
        case "xavier_uniform" | "xavier_normal" | "glorot_normal":  # Glorot & Bengio 2010
            std = gain * math.sqrt(2 / (fan_in + at.fan_out))
        case "kaiming_uniform" | "kaiming_normal":  # He et al. 2015
            std = kaiming_gain(p) / math.sqrt(at.fan_out if p.get("mode") == "fan_out" else fan_in)
        case "he_normal":  # Keras
            std = gain * math.sqrt(2 / fan_in)
        case "variance_scaling":  # Keras
            fans = {"fan_in": fan_in, "fan_out": at.fan_out, "fan_avg": (fan_in + at.fan_out) / 2}
            std = gain * math.sqrt(p.get("scale", 1.0) / fans[p.get("mode", "fan_in")])
            return p.get("distribution", "truncated_normal"), std
        case "torch_default":  # torch.nn.Linear: U(-1 / sqrt(fan_in), 1 / sqrt(fan_in))
            std = gain / math.sqrt(3 * fan_in)
        case "mean_field":  # Poole et al. 2016
            std = gain * p.get("sigma_w", 1.0) / math.sqrt(fan_in)
        case "critical":  # the same on the edge of chaos; a readout is linear
            std = gain / math.sqrt(fan_in)
            if at.activation is not None:
                std *= critical_sigma_w(at.activation, p.get("sigma_b", 0.0))
        case "fixup":  # Zhang et al. 2019
            std = gain * math.sqrt(2 / fan_in)
            if at.block > 1:
                std *= at.blocks ** (-1 / (2 * at.block - 2))
            if at.ends_branch or at.layer is None:
                std = 0.0
        case "mup" | "depth_mup":  # Yang et al. 2022, table 3; Yang et al. 2023
            std = gain / (fan_in if at.layer is None else math.sqrt(fan_in))
            if name == "depth_mup" and at.ends_branch:
                std /= math.sqrt(at.blocks)
        case "lecun_uniform" | "lecun_normal":  # LeCun et al. 1998
            std = gain / math.sqrt(fan_in)
        case _:
            raise ValueError(f"unknown init {name!r}")
    if name in {"he_normal", "glorot_normal"}:
        return "truncated_normal", std
    return ("uniform" if name.endswith(("uniform", "default")) else "normal"), std


def truncated(mean: float, std: float, low: float, high: float, uniform: Array) -> Array:
    """A normal between two bounds, from uniforms: the inverse of its distribution function."""
    if low + high > 2 * mean:  # by symmetry: probabilities near 1 have few digits
        return -truncated(-mean, std, -high, -low, uniform)
    below, above = (math.erfc((mean - x) / std / math.sqrt(2)) / 2 for x in (low, high))
    quantile = np.vectorize(NormalDist().inv_cdf, otypes=[np.float64])
    cut: Array = np.clip(mean + std * quantile(below + (above - below) * uniform), low, high)
    return cut


def orthogonal(shape: tuple[int, ...], stream: Stream) -> Array:
    """Orthonormal on its shorter side (Saxe et al. 2013); positive diag(R) makes it Haar (Mezzadri 2007)."""
    q, r = np.linalg.qr(stream.normal((max(shape), min(shape))))
    q *= np.sign(np.diag(r))
    return q if shape[0] >= shape[1] else q.T


def draw(kind: Kind, shape: tuple[int, ...], stream: Stream, at: Place) -> Array:
    """One tensor of an init, in float64; a weight is `(fan_out, fan_in)`."""
    name, p = kind
    gain = float(p.get("gain", 1.0))
    rows, columns = shape[0], shape[-1]
    match name:
        case "zeros":
            return np.zeros(shape)
        case "ones":
            return np.full(shape, gain)
        case "constant":
            return np.full(shape, gain * p["value"])
        case "uniform":
            low, high = float(p.get("a", 0.0)), float(p.get("b", 1.0))
            return gain * (low + (high - low) * stream.uniform(shape))
        case "normal":
            return gain * (float(p.get("mean", 0.0)) + float(p.get("std", 1.0)) * stream.normal(shape))
        case "trunc_normal":  # torch: bounds are numbers, not multiples of std
            p = {"mean": 0.0, "std": 1.0, "a": -2.0, "b": 2.0} | p
            return gain * truncated(p["mean"], p["std"], p["a"], p["b"], stream.uniform(shape))
        case "eye":
            return gain * np.eye(rows, columns)
        case "sparse":  # of each column the entries with the smallest keys
            keys = Stream(stream.seed, stream.role + COMPANION, stream.layer).uniform((columns, -(-rows // 4) * 4))
            order = np.argsort(keys[:, :rows].T, axis=0, kind="stable")
            drawn: Array = gain * p.get("std", 0.01) * stream.normal(shape)
            np.put_along_axis(drawn, order[: math.ceil(p["sparsity"] * rows)], 0, axis=0)
            return drawn
        case "orthogonal" | "lsuv":
            return gain * orthogonal(shape, stream)
        case "scaled_uniform_orthogonal":  # Martens et al. 2021
            return gain * max(1, math.sqrt(rows / columns)) * orthogonal(shape, stream)
        case "looks_linear":  # Balduzzi et al. 2017: units in pairs of opposite sign
            left = np.array([[1]] if at.layer is None else [[1], [-1]])
            top = np.array([[1]] if at.layer == 0 else [[1, -1]])
            return gain * np.kron(left @ top, orthogonal((rows // left.size, columns // top.size), stream))
    law_name, std = scale(kind, at)
    if law_name == "uniform":
        return math.sqrt(3) * std * (2 * stream.uniform(shape) - 1)
    if law_name == "truncated_normal" and std > 0:  # at 2 of its standard deviations, then widened
        wide = std / 0.87962566103423978
        return truncated(0, wide, -2 * wide, 2 * wide, stream.uniform(shape))
    return std * stream.normal(shape)


def bias_kind(spec: MLP, init: Kind, at: Place) -> Kind:
    """What biases are drawn from: the spec's `bias`, else what the weights' init brings, else zeros."""
    name, p = parse(str(spec.bias)) if spec.bias else init
    if name == "torch_default":
        bound = (p.get("gain", 1.0) if spec.bias else 1.0) / math.sqrt(at.fan_in)
        return "uniform", {"a": -bound, "b": bound}
    if name == "mean_field" or (name == "critical" and at.layer is not None):
        return "normal", {"std": p.get("sigma_b", 0.0)}
    return (name, p) if spec.bias else ("zeros", {})


def init(spec: MLP, seed: int = 0, dtype: str = "float64", x: Array | None = None) -> State:
    """Every parameter by its name in torch's manner; weights are `(out, in)`. Only `lsuv` looks at x."""
    plan = Plan.of(spec)
    state: State = {}

    def weight(name: str, at: Place, role: int, gain: float = 1.0) -> None:
        stream = Stream(seed, role, at.layer or 0, dtype)
        drawn = draw(plan.inits[-1 if at.layer is None else at.layer], (at.fan_out, at.fan_in), stream, at)
        state[f"{name}.weight"] = (gain * drawn.astype(dtype)).astype(dtype)

    def bias(name: str, at: Place, role: int) -> None:
        kind = bias_kind(spec, plan.inits[-1 if at.layer is None else at.layer], at)
        state[f"{name}.bias"] = draw(kind, (at.fan_out,), Stream(seed, role, at.layer or 0, dtype), at).astype(dtype)

    def vector(name: str, count: int, value: float) -> None:
        state[name] = np.full(count, value, dtype)

    for l, layer in enumerate(plan.layers[: 1 if spec.tied else None]):
        at = Place.of(spec, plan, l)
        weight(f"layers.{l}", at, WEIGHT)
        bias(f"layers.{l}", at, BIAS)
        if spec.norm:
            bent = layer.fan_in if layer.order == "pre" else features(layer.kind, layer.width)
            straight_ = layer.input if layer.order == "pre" else layer.width
            count = bent if spec.norm_position == "post" else straight_
            vector(f"norms.{l}.weight", count, 1)
            if parse(str(spec.norm))[0] != "rms":
                vector(f"norms.{l}.bias", count, 0)
        if parse(layer.kind)[0] == "prelu":
            vector(f"activations.{l}.weight", 1, parse(layer.kind)[1].get("init", 0.25))
        name, params = plan.skip
        joins = any(layer.source is not None for layer in plan.layers[l : None if spec.tied else l + 1])
        if joins and name == "rezero":
            vector(f"skips.{l}.weight", 1, params["alpha"])
        if joins and name == "highway":
            fan_in = plan.layers[l if layer.source is None else layer.source].input
            gate = at._replace(fan_in=fan_in, fan_out=layer.output)
            weight(f"gates.{l}", gate, GATE_WEIGHT, params["gate_gain"])
            vector(f"gates.{l}.bias", layer.output, params["gate_bias"])
    if spec.inputs == "every":
        fan_in = spec.in_features or plan.layers[0].width
        weight("inputs", Place.of(spec, plan, 0)._replace(fan_in=fan_in), INPUT_WEIGHT)
    if spec.out_features is not None:
        at = Place.of(spec, plan, None)
        weight("readout", at, READOUT_WEIGHT)
        bias("readout", at, READOUT_BIAS)
    if plan.inits[0][0] == "lsuv":
        calibrate(spec, state, samples(spec, seed, 128, dtype) if x is None else x)
    return state


def samples(spec: MLP, seed: int, batch: int, dtype: str) -> Array:
    """The standard normal samples of a run, `(batch, in_features)`; of `depth` steps if each has an input."""
    columns = spec.in_features or Plan.of(spec).layers[0].width
    each = (spec.depth, columns) if spec.inputs == "every" else (columns,)
    return Stream(seed, INPUT, dtype=dtype).normal((batch, *each))


def calibrate(spec: MLP, state: State, x: Array) -> None:
    """Scale the weights of each layer so that its z have unit variance on x (Mishkin & Matas 2015); biases stay."""

    def scale(name: str, z: Array) -> None:
        b = np.broadcast_to(state[f"{name}.bias"].astype(np.float64), z.shape)
        ours, both, theirs = (z - b).var(), ((z - b) * (b - b.mean())).mean(), b.var()
        with np.errstate(all="ignore"):  # ours c^2 + 2 both c + theirs = 1
            c = (np.sqrt(both**2 - ours * (theirs - 1)) - both) / ours
        if np.isfinite(c) and c > 0:
            state[f"{name}.weight"] = state[f"{name}.weight"] * state[f"{name}.weight"].dtype.type(c)

    for l in range(spec.depth):
        scale(f"layers.{l}", propagate(spec, state, x).z[l].true().astype(np.float64))
    if spec.out_features is not None:
        scale("readout", propagate(spec, state, x).y.true().astype(np.float64))


# --- Activations: phi(z) and its slope phi'(z) ---------------------------------------------------
# The slope comes from z, never from the output: where tanh(z) is 1, 1 - tanh(z)^2 has no digits.

Pair = tuple[Array, Array]


def sigmoid(z: Array) -> Pair:
    """1 / (1 + exp(-z)) without overflow; the slope exp(-z) / (1 + exp(-z))^2 is even in z."""
    e = np.exp(-np.abs(z))
    return np.where(z < 0, e, 1) / (1 + e), e / (1 + e) ** 2


def tanh(z: Array) -> Pair:
    """Slope 1 / cosh(z)^2, which is 4 sigmoid'(2 z)."""
    return np.tanh(z), 4 * sigmoid(2 * z)[1]


def leaky_relu(z: Array, negative_slope: float = 0.01) -> Pair:
    """Slope 1 above 0 and `negative_slope` from 0 down (Maas et al. 2013)."""
    return np.where(z > 0, z, negative_slope * z), np.where(z > 0, 1.0, negative_slope)


def elu(z: Array, alpha: float = 1.0) -> Pair:
    """Linear above 0 and alpha (exp(z) - 1) below (Clevert et al. 2015)."""
    low = np.minimum(z, 0)
    return np.where(z > 0, z, alpha * np.expm1(low)), np.where(z > 0, 1, alpha * np.exp(low))


def selu(z: Array) -> Pair:
    """Elu scaled so that mean 0 and variance 1 are a fixed point (Klambauer et al. 2017)."""
    value, slope = elu(z, 1.6732632423543772)
    return 1.0507009873554805 * value, 1.0507009873554805 * slope


def gelu(z: Array, approximate: str = "none") -> Pair:
    """Gate z by P(N(0, 1) < z), or by a sigmoid close to it (Hendrycks & Gimpel 2016)."""
    near = np.clip(z, -100, 100)  # beyond, the gate is 0 or 1
    if approximate == "none":  # erfc keeps the digits of the lower tail, 1 + erf does not
        erfc = np.vectorize(math.erfc, otypes=[np.float64])
        gate = erfc(-near / math.sqrt(2)) / 2
        gate_slope = np.exp(-(near**2) / 2) / math.sqrt(2 * math.pi)
    else:  # (1 + tanh(u)) / 2 = sigmoid(2 u) with u = sqrt(2 / pi) (z + 0.044715 z^3)
        gate, gate_slope = sigmoid(math.sqrt(8 / math.pi) * (near + 0.044715 * near**3))
        gate_slope *= math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * near**2)
    return z * gate, gate + near * gate_slope


def silu(z: Array) -> Pair:
    """Gate z by sigmoid(z) (Elfwing et al. 2017)."""
    gate, gate_slope = sigmoid(z)
    return z * gate, gate + z * gate_slope


def softplus(z: Array, beta: float = 1.0, threshold: float = 20.0) -> Pair:
    """log(1 + exp(beta z)) / beta, and z itself where beta z > threshold."""
    linear = beta * z > threshold
    value = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(beta * z))) / beta
    return np.where(linear, z, value), np.where(linear, 1, sigmoid(beta * z)[0])


def hardtanh(z: Array, min_val: float = -1.0, max_val: float = 1.0) -> Pair:
    """Clip z; slope 0 from the bounds on."""
    return np.clip(z, min_val, max_val), ((min_val < z) & (z < max_val)).astype(float)


def rrelu(z: Array, lower: float = 1 / 8, upper: float = 1 / 3) -> Pair:
    """As in evaluation: the mean of the slopes that training draws (Xu et al. 2015)."""
    return leaky_relu(z, (lower + upper) / 2)


def celu(z: Array, alpha: float = 1.0) -> Pair:
    """Scale elu to alpha elu(z / alpha), whose slope has no jump (Barron 2017)."""
    value, slope = elu(z / alpha)
    return alpha * value, slope


def mish(z: Array) -> Pair:
    """Gate z by tanh(softplus(z)) (Misra 2019)."""
    gate = np.tanh(np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))))
    return z * gate, gate + z * (1 - gate**2) * sigmoid(z)[0]


def softsign(z: Array) -> Pair:
    """The rational z / (1 + |z|)."""
    return z / (1 + np.abs(z)), (1 / (1 + np.abs(z))) ** 2


def hardsigmoid(z: Array) -> Pair:
    """A line from (-3, 0) to (3, 1); slope 0 from there on."""
    return np.clip(z + 3, 0, 6) / 6, np.where(np.abs(z) < 3, 1 / 6, 0)


def hardswish(z: Array) -> Pair:
    """Gate z by hardsigmoid(z) (Howard et al. 2019); slope 0 at -3 and 1 at 3, as in torch."""
    inside = np.where(z < 3, (2 * z + 3) / 6, 1)
    return z * np.clip(z + 3, 0, 6) / 6, np.where(z <= -3, 0, inside)


def logsigmoid(z: Array) -> Pair:
    """log(sigmoid(z)) without overflow."""
    return np.minimum(z, 0) - np.log1p(np.exp(-np.abs(z))), sigmoid(-z)[0]


def tanhshrink(z: Array) -> Pair:
    """The rest z - tanh(z), whose two terms cancel near 0."""
    small = np.clip(z, -1, 1)
    q = np.zeros_like(z)  # tanh(z) = z / (1 + q) with q = z^2 / (3 + z^2 / (5 + ...)) (Lambert)
    for odd in range(23, 1, -2):
        q = small**2 / (odd + q)
    return np.where(np.abs(z) < 1, z * q / (1 + q), z - np.tanh(z)), np.tanh(z) ** 2


def softshrink(z: Array, lambd: float = 0.5) -> Pair:
    """Bring z nearer to 0 by lambd; 0 within lambd of it."""
    return np.sign(z) * np.maximum(np.abs(z) - lambd, 0), (np.abs(z) > lambd).astype(float)


def hardshrink(z: Array, lambd: float = 0.5) -> Pair:
    """Keep z; 0 within lambd of 0."""
    return np.where(np.abs(z) <= lambd, 0, z), (np.abs(z) > lambd).astype(float)


def threshold(z: Array, threshold: float, value: float) -> Pair:
    """Keep z above the threshold; `value` up to it."""
    return np.where(z <= threshold, value, z), (z > threshold).astype(float)


def erf(z: Array) -> Pair:
    """The error function."""
    near = np.clip(z, -100, 100)  # beyond, the slope is 0
    return np.vectorize(math.erf, otypes=[np.float64])(z), 2 / math.sqrt(math.pi) * np.exp(-(near**2))


def squareplus(z: Array, b: float = 4.0) -> Pair:
    """(z + sqrt(z^2 + b)) / 2, whose two terms cancel below 0 (Barron 2021)."""
    root = np.hypot(z, math.sqrt(b))
    value = np.where(z > 0, root + z, b / (root + np.abs(z))) / 2
    return value, value / root


def snake(z: Array, alpha: float = 1.0) -> Pair:
    """A rising wave, z + sin(alpha z)^2 / alpha (Ziyin et al. 2020)."""
    return z + np.sin(alpha * z) ** 2 / alpha, 1 + np.sin(2 * alpha * z)


TABLES: dict[str, tuple[list[float], list[int], Array, Array]] = {}  # borders, cells, values, slopes


def custom(z: Array, table: str) -> Pair:
    """A user's own function: cubics through its samples (Hermite), lines beyond their ends."""
    borders, cells, values, slopes = TABLES[table]
    inside = np.clip(z, borders[0], borders[-1])
    value, slope = np.full_like(z, math.nan), np.full_like(z, math.nan)
    for low, high, n in zip(borders, borders[1:], cells, strict=False):
        ends, values = np.split(values, [n + 1])
        tangents, slopes = np.split(slopes, [n + 1])
        start, h = low, (high - low) / n
        if high <= 0:  # from the end nearer to 0, where a small z keeps its digits
            start, h, ends, tangents = high, -h, ends[::-1], tangents[::-1]
        here = (inside <= high) & np.isnan(value)
        cell = np.clip(((inside[here] - start) / h).astype(int), 0, n - 1)
        u = (inside[here] - start) / h - cell
        v0, v1, s0, s1 = ends[cell], ends[cell + 1], tangents[cell], tangents[cell + 1]
        value[here] = v0 + u * h * s0 + u**2 * (3 * (v1 - v0) - h * (2 * s0 + s1) + u * (2 * (v0 - v1) + h * (s0 + s1)))
        slope[here] = s0 + 2 * u * (3 * (v1 - v0) / h - 2 * s0 - s1) + 3 * u**2 * (2 * (v0 - v1) / h + s0 + s1)
    return value + np.where(slope == 0, 0, slope) * np.where(slope == 0, 0, z - inside), slope


ACTIVATIONS: dict[str, Callable[..., Pair]] = {
    "linear": lambda z: (z, np.ones_like(z)),
    "sigmoid": sigmoid,
    "tanh": tanh,
    "hardtanh": hardtanh,
    "relu": lambda z: leaky_relu(z, 0.0),
    "relu6": lambda z: hardtanh(z, 0.0, 6.0),
    "leaky_relu": leaky_relu,
    "prelu": lambda z, init=0.25: leaky_relu(z, init),
    "rrelu": rrelu,
    "elu": elu,
    "celu": celu,
    "selu": selu,
    "gelu": gelu,
    "silu": silu,
    "mish": mish,
    "softplus": softplus,
    "softsign": softsign,
    "hardsigmoid": hardsigmoid,
    "hardswish": hardswish,
    "logsigmoid": logsigmoid,
    "tanhshrink": tanhshrink,
    "softshrink": softshrink,
    "hardshrink": hardshrink,
    "threshold": threshold,
    "erf": erf,
    "sin": lambda z, omega=1.0: (np.sin(omega * z), omega * np.cos(omega * z)),
    "arctan": lambda z: (np.arctan(z), (1 / np.hypot(1, z)) ** 2),
    "abs": lambda z: (np.abs(z), np.sign(z)),
    "squareplus": squareplus,
    "snake": snake,
    "crelu": lambda z: leaky_relu(z, 0.0),
    "glu": sigmoid,
    "swiglu": silu,
    "geglu": gelu,
    "custom": custom,
}
HOMOGENEOUS = {"linear", "relu", "leaky_relu", "prelu", "rrelu", "abs", "crelu"}  # phi(c z) = c phi(z) for every c > 0
DOUBLED = {"crelu"}  # a = [phi(z), phi(-z)], of twice the width (Shang et al. 2016)
GATED = {"glu", "swiglu", "geglu"}  # a = value * phi(gate) of the halves of z (Dauphin et al. 2016; Shazeer 2020)


def activate(kind: str, z: Array) -> Pair:
    """(phi(z), phi'(z)), evaluated in float64 and rounded once to the dtype of z."""
    name, params = parse(kind)
    value, slope = ACTIVATIONS[name](z.astype(np.float64), **params)
    return value.astype(z.dtype), slope.astype(z.dtype)


def halves(z: Array) -> Pair:
    """The left and the right half of the columns."""
    half = z.shape[1] // 2
    return z[:, :half], z[:, half:]


def features(kind: str, width: int) -> int:
    """How many outputs an activation has for so many pre-activations."""
    name = parse(kind)[0]
    return width // 2 if name in GATED else 2 * width if name in DOUBLED else width


def outputs(kind: str, z: Array) -> Pair:
    """The outputs of a layer, which may be wider or narrower than z, and what they change by as z does.

    The slopes have an entry for each of z, or two where each z has two outputs.
    """
    name = parse(kind)[0]
    if name in GATED:
        value, gate = halves(z)
        opening, slope = activate(kind, gate)
        return value * opening, np.hstack([opening, value * slope])
    if name in DOUBLED:
        (one, up), (two, down) = activate(kind, z), activate(kind, -z)
        return np.hstack([one, two]), np.hstack([up, -down])
    return activate(kind, z)


def pulled_back(kind: str, slopes: Array, da: Array) -> Array:
    """dL/dz from dL/da, by the slopes of `outputs`."""
    name = parse(kind)[0]
    if name in GATED:
        return np.hstack([da, da]) * slopes
    if name in DOUBLED:
        one, two = halves(da * slopes)
        dz: Array = one + two
        return dz
    return da * slopes


def straight(kind: str) -> bool:
    """Is phi(z) = phi'(0) z to the last bit for a z that is small enough?"""
    tiny = np.array([-(2.0**-60), 2.0**-60])
    value, slope = activate(kind, tiny)
    through_zero = not activate(kind, np.zeros(1))[0].any()
    return parse(kind)[0] not in GATED and through_zero and np.allclose(value, slope * tiny, rtol=1e-14, atol=0)


@cache
def steepest(kind: str) -> float:
    """The largest |phi'|, on a grid fine enough for its one use, a threshold at 1 % of it."""
    z = np.geomspace(1e-6, 1e6, 20_001)
    return float(np.abs(activate(kind, np.concatenate([-z, [0.0], z]))[1]).max())


@cache
def critical_sigma_w(kind: str, sigma_b: float) -> float:
    """The sigma_w of the edge of chaos (Schoenholz et al. 2016).

    There chi_1 = sigma_w^2 E phi'(sqrt(q) z)^2 = 1 at the fixed point q = sigma_w^2 E phi(sqrt(q) z)^2 + sigma_b^2.
    """
    x, w = np.polynomial.legendre.leggauss(40)
    ends = np.geomspace(1e-5, 12, 60)
    ends = np.concatenate([-ends[::-1], [0], ends])  # of pieces, kinks at 0 between them
    half, middle = np.diff(ends)[:, None] / 2, (ends[1:] + ends[:-1])[:, None] / 2
    z = (middle + half * x).ravel()
    density = (half * w).ravel() * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)

    def moments(q: float) -> list[float]:
        return [float(density @ values**2) for values in activate(kind, math.sqrt(q) * z)]

    def excess(log_q: float) -> float:  # of the variance of the biases that make q a fixed point of chi_1 = 1
        value, slope = moments(math.exp(log_q))
        return math.exp(log_q) - value / slope - sigma_b**2

    if sigma_b == 0 and activate(kind, np.zeros(1))[0] == 0:  # the limit of small q
        below, above = activate(kind, np.array([-1e-300, 1e-300]))[1]
        return math.sqrt(2 / (below**2 + above**2))
    low = next(log_q for log_q in np.arange(-20, 12, 0.1) if excess(log_q) < 0 <= excess(log_q + 0.1))
    high = low + 0.1
    for _ in range(60):
        middle_q = (low + high) / 2
        low, high = (middle_q, high) if excess(middle_q) < 0 else (low, middle_q)
    return 1 / math.sqrt(moments(math.exp(high))[1])


# --- Numbers that no depth can make underflow or overflow ----------------------------------------


OF_ZERO = -(10**8)  # the exponent of zeros: below every other, so that adding them changes nothing


@dataclass(frozen=True)
class Scaled:
    """The array `value * 2**exponent`."""

    value: Array
    exponent: int = 0

    def rescaled(self) -> Scaled:
        """Bring max|value| into [1, 2), which is exact."""
        peak = float(np.abs(self.value).max(initial=0))
        if peak == 0:
            return Scaled(self.value, OF_ZERO)
        if not math.isfinite(peak):
            return self
        shift = math.frexp(peak)[1] - 1
        return Scaled(np.ldexp(self.value, -shift), self.exponent + shift)

    def __matmul__(self, matrix: Array) -> Scaled:
        return Scaled(self.value @ matrix, self.exponent)

    def __mul__(self, factor: Array | float) -> Scaled:
        return Scaled(self.value * factor, self.exponent)

    def aligned(self, other: Scaled) -> tuple[Array, Array, int]:
        """Both values over the larger of the two exponents."""
        one, two = self.rescaled(), other.rescaled()
        top = max(one.exponent, two.exponent)
        left, right = (np.ldexp(term.value, term.exponent - top) for term in (one, two))
        return left, right, top

    def __add__(self, other: Scaled) -> Scaled:
        if self.exponent == other.exponent:
            return Scaled(self.value + other.value, self.exponent)
        one, two, top = self.aligned(other)
        return Scaled(one + two, top)

    @np.errstate(all="ignore")
    def true(self) -> Array:
        """The plain array: 0 or inf where its dtype ends."""
        return np.ldexp(self.value, self.exponent)

    def finite(self) -> bool:
        """Is no element infinite or nan?"""
        return bool(np.isfinite(self.value).all())

    def wide(self) -> Array:
        """The value in float64, rescaled so that its squares are in range."""
        return self.rescaled().value.astype(np.float64)

    def log10_norm(self) -> float:
        """log10 of the Frobenius norm, -inf for zeros."""
        norm = np.linalg.norm(self.wide())
        return float(np.log10(norm)) + self.rescaled().exponent * math.log10(2)

    def log10_rms(self) -> float:
        """log10 of the root mean square."""
        return self.log10_norm() - math.log10(self.value.size) / 2


# --- Losses: every term, and its slope by the output ---------------------------------------------

# One term an element, or one a sample; `mean` divides by as many as there are.


def mse(y: Array, t: Array) -> Pair:
    """(y - t)^2."""
    return (y - t) ** 2, 2 * (y - t)


def half_mse(y: Array, t: Array) -> Pair:
    """(y - t)^2 / 2, summed over the outputs."""
    return ((y - t) ** 2 / 2).sum(axis=1), y - t


def mae(y: Array, t: Array) -> Pair:
    """|y - t|."""
    return np.abs(y - t), np.sign(y - t)


def huber(y: Array, t: Array, delta: float = 1.0) -> Pair:
    """(y - t)^2 / 2 up to |y - t| = delta, and straight on from there."""
    size = np.abs(y - t)
    return np.where(size <= delta, size**2 / 2, delta * (size - delta / 2)), np.clip(y - t, -delta, delta)


def cross_entropy(y: Array, t: Array, label_smoothing: float = 0.0) -> Pair:
    """-sum q log softmax(y), with q = 1 at class t, of which label_smoothing is spread over all classes."""
    rows, classes = np.arange(len(y)), y.shape[1]
    logits = y - y.max(axis=1, keepdims=True)
    weights = np.exp(logits)
    others = weights.copy()
    others[rows, logits.argmax(axis=1)] = 0  # they alone tell log(1 + others) from 0
    log_total = np.log1p(others.sum(axis=1))
    slope = weights / weights.sum(axis=1, keepdims=True)
    slope[rows, t] = 0
    slope[rows, t] = -slope.sum(axis=1)  # p - 1, without its cancellation near p = 1
    spread = np.full_like(slope, -1 / classes)
    spread[rows, t] = (classes - 1) / classes
    terms = log_total - (1 - label_smoothing) * logits[rows, t] - label_smoothing * logits.mean(axis=1)
    return terms, slope + label_smoothing * spread


def bce_with_logits(y: Array, t: Array) -> Pair:
    """-t log p - (1 - t) log(1 - p) with p = 1 / (1 + exp(-y))."""
    log_p, log_q = -np.logaddexp(0, -y), -np.logaddexp(0, y)
    return -t * log_p - (1 - t) * log_q, (1 - t) * np.exp(log_p) - t * np.exp(log_q)


def hinge(y: Array, t: Array) -> Pair:
    """max(0, 1 - t y) for t = -1 or 1."""
    return np.maximum(0, 1 - t * y), np.where(t * y < 1, -t, 0.0)


def output_sum(y: Array, _: Any) -> Pair:
    """y, summed over the outputs."""
    return y.sum(axis=1), np.ones_like(y)


LOSSES: dict[str, Callable[..., Pair]] = {
    "mse": mse,
    "half_mse": half_mse,
    "mae": mae,
    "huber": huber,
    "cross_entropy": cross_entropy,
    "bce_with_logits": bce_with_logits,
    "hinge": hinge,
    "output_sum": output_sum,
}


def evaluate(loss: str, y: Array, t: Array | None) -> tuple[float, Array]:
    """The value of a loss such as `"huber(delta=0.5, reduction=sum)"`, and dL/dy; t is None for `output_sum`."""
    name, params = parse(loss)
    over = params.pop("reduction", "mean")
    terms, slope = LOSSES[name](y, t, **params)
    count = 1 if over == "sum" else terms.size
    return float(terms.sum()) / count, slope / count


# --- Forward and backward ------------------------------------------------------------------------


Found = dict[str, Scaled]  # gradients of parameters
Back = Callable[[Scaled, Found], Scaled]  # from dL/d(output) to dL/d(input); those of parameters go into the dict


def parts(spec: MLP, layer: Layer) -> list[str]:
    """What a layer does, in order."""
    bend = ["norm", "activation"] if spec.norm_position == "pre" else ["activation", "norm"]
    if layer.order == "pre":
        found = [*bend, "map", "join"]
    elif layer.order == "post":
        found = ["map", *bend]
        found.insert(found.index("activation"), "join")
    else:
        found = ["map", *bend, "join"]
    missing = {"norm"} if spec.norm is None else set()
    missing |= {"join"} if layer.source is None else set()
    return [part for part in found if part not in missing]


def affine(state: State, name: str, h: Scaled) -> tuple[Scaled, Back]:
    """W h + b; without b where the state has none."""
    weight = state[f"{name}.weight"]
    z = h @ weight.T
    if f"{name}.bias" in state:
        # Adding the bias to the value is right in both: an exponent is carried, or the bias is not 0.
        z = Scaled(z.value + state[f"{name}.bias"], z.exponent)

    def back(delta: Scaled, found: Found) -> Scaled:
        near = h.rescaled() if h.value.any() else h
        # One sample may meet many gradients, as in `vg.jacobian`.
        total = delta.value if len(near.value) > 1 else delta.value.sum(axis=0, keepdims=True)
        found[f"{name}.weight"] = Scaled(total.T @ near.value, delta.exponent + near.exponent)
        if f"{name}.bias" in state:
            found[f"{name}.bias"] = Scaled(delta.value.sum(axis=0), delta.exponent)
        return (delta @ weight).rescaled()

    return z, back


def transform(kind: Kind, weight: Array) -> tuple[Array, Callable[[Array], Array]]:
    """What weights become before they are used, and dL/dW from dL/dW_hat."""
    name, p = kind
    gain = float(p.get("gain", 1.0))
    w = weight.astype(np.float64)
    if name == "weight_standardization":  # Qiao et al. 2019; Brock et al. 2021
        # Equal weights have no direction but the rounding of their mean: they count as zeros.
        w = np.where(np.ptp(w, axis=1, keepdims=True) > 0, w, 0)
        scale = gain / math.sqrt(w.shape[1])
        xhat, pull = standardise(w, axis=1, centred=True, eps=float(p.get("eps", 0.0)))
        return (scale * xhat).astype(weight.dtype), lambda g: scale * pull(g)
    # spectral_norm, Miyato et al. 2018: s = u^T W v, so ds = u^T dW v.
    left, values, right = np.linalg.svd(w)
    top, u, v = float(values[0]), left[:, 0], right[0]
    if top == 0:
        return weight, np.zeros_like
    return (gain * w / top).astype(weight.dtype), lambda g: gain * (g - (g * w).sum() / top * np.outer(u, v)) / top


def standardise(v: Array, axis: int, *, centred: bool, eps: float) -> tuple[Array, Callable[[Array], Array]]:
    """(v - mean) / sqrt(var + eps) along an axis, or v / sqrt(mean v^2 + eps), and the way back."""

    def mean(v: Array) -> Array:
        average: Array = v.mean(axis=axis, keepdims=True)
        return average

    centre = v - mean(v) if centred else v
    root = np.sqrt(mean(centre**2) + eps)
    inverse = np.where(root > 0, 1 / np.where(root > 0, root, 1), 0)  # of equal numbers nothing is left
    xhat = centre * inverse

    def back(g: Array) -> Array:
        dv: Array = (g - xhat * mean(g * xhat) - (mean(g) if centred else 0)) * inverse
        return dv

    return xhat, back


def linear(spec: MLP, state: State, l: int, h: Scaled, x: Array) -> tuple[Scaled, Back]:
    """The map of a layer, with its transform and an input of its own; dL/dx_t is left as `x`."""
    name = tensor(spec, "layers", l, "")[:-1]
    if spec.weight_transform:
        weight, pull = transform(parse(spec.weight_transform), state[f"{name}.weight"])
        z, through = affine(state | {f"{name}.weight": weight}, name, h)
    else:
        z, through = affine(state, name, h)
    feed: Back | None = None
    if spec.inputs == "every":
        u, feed = affine(state, "inputs", Scaled(x[:, l].astype(h.value.dtype)))
        z += u

    def back(delta: Scaled, found: Found) -> Scaled:
        dh = through(delta, found)
        if spec.weight_transform:
            g = found[f"{name}.weight"]
            found[f"{name}.weight"] = Scaled(pull(g.value.astype(np.float64)).astype(g.value.dtype), g.exponent)
        if feed:
            found["x"] = feed(delta, found)
        return dh

    return z, back


def norm(spec: MLP, state: State, l: int, v: Scaled) -> tuple[Scaled, Back]:
    """Mean 0 and variance 1 over samples (batch) or features (layer, rms), then times a weight plus a bias."""
    kind, p = parse(str(spec.norm))
    names = [tensor(spec, "norms", l, name) for name in ("weight", "bias")]
    dtype, weight = v.value.dtype, state[names[0]].astype(np.float64)
    axis, centred = (0 if kind == "batch" else 1), kind != "rms"
    xhat, pull = standardise(v.true().astype(np.float64), axis, centred=centred, eps=float(p.get("eps", 1e-5)))
    n = weight * xhat + (state[names[1]] if centred else 0)

    def back(dn: Scaled, found: Found) -> Scaled:
        g = dn.wide()
        exponent = dn.rescaled().exponent
        found[names[0]] = Scaled((g * xhat).sum(axis=0), exponent)
        if centred:
            found[names[1]] = Scaled(g.sum(axis=0), exponent)
        return Scaled(pull(g * weight).astype(dtype), exponent).rescaled()

    return Scaled(n.astype(dtype)), back


def bend(kind: str, z: Scaled) -> tuple[Scaled, Scaled, Array]:
    """z, a = phi(z) and its slopes; a z that carries an exponent is spelled out where phi bends it."""
    if z.exponent and parse(kind)[0] not in HOMOGENEOUS:
        if z.rescaled().exponent < -60:  # there phi(z) = phi'(0) z to the last bit of float64
            tiny = np.where(z.value > 0, 2.0**-60, -(2.0**-60))
            slope = activate(kind, tiny)[1].astype(z.value.dtype)
            return z, z * slope, slope
        z = Scaled(z.true())
    value, slope = outputs(kind, z.value)
    return z, Scaled(value, z.exponent), slope


def learned_kind(spec: MLP, state: State, l: int, kind: str) -> str:
    """The activation of a layer with the slope that it has learned."""
    return f"prelu(init={state[tensor(spec, 'activations', l, 'weight')][0]})" if parse(kind)[0] == "prelu" else kind


def activation(spec: MLP, state: State, l: int, kind: str, z: Scaled) -> tuple[Scaled, Array, Back]:
    """phi(z) and its slopes."""
    kind = learned_kind(spec, state, l, kind)
    z, a, slopes = bend(kind, z)

    def back(da: Scaled, found: Found) -> Scaled:
        if parse(kind)[0] == "prelu":  # d phi / d slope = min(z, 0)
            near = z.rescaled()
            total = (da.value * np.minimum(near.value, 0)).sum(dtype=np.float64)
            found[tensor(spec, "activations", l, "weight")] = Scaled(np.array([total]), da.exponent + near.exponent)
        return Scaled(pulled_back(kind, slopes, da.value), da.exponent).rescaled()

    return a, slopes, back


Around = Callable[[Scaled, Found], tuple[Scaled, Scaled]]  # gradients around a block, and through it


def join(spec: MLP, state: State, l: int, x: Scaled, branch: Scaled) -> tuple[Scaled, Around]:
    """What goes around a block and what comes through it, put together."""
    plan = Plan.of(spec)
    name = plan.skip[0]
    if name == "dense":  # Huang et al. 2016: side by side
        one, two, exponent = x.aligned(branch) if x.exponent != branch.exponent else (x.value, branch.value, x.exponent)
        columns = one.shape[1]

        def split(dh: Scaled, _: Found) -> tuple[Scaled, Scaled]:
            return Scaled(dh.value[:, :columns], dh.exponent), Scaled(dh.value[:, columns:], dh.exponent)

        return Scaled(np.hstack([one, two]), exponent), split
    if name == "highway":  # Srivastava et al. 2015: (1 - T) x + T F(x) with T = sigmoid(W_T x + b_T)
        t, through_gate = affine(state, tensor(spec, "gates", l, "")[:-1], x)
        opening, slope = activate("sigmoid", t.true())
        closing = activate("sigmoid", -t.true())[0]

        def mix(dh: Scaled, found: Found) -> tuple[Scaled, Scaled]:
            dt = (dh * (slope * (branch.value - x.value))).rescaled()
            return dh * closing + through_gate(dt, found), dh * opening

        return x * closing + branch * opening, mix
    scale, key = plan.branch_scale, tensor(spec, "skips", l, "weight")  # He et al. 2015; Bachlechner et al. 2020
    factor = scale * float(state[key][0]) if name == "rezero" else scale

    def add(dh: Scaled, found: Found) -> tuple[Scaled, Scaled]:
        if name == "rezero":
            near = branch.rescaled()
            total = scale * (dh.value * near.value).sum(dtype=np.float64)
            found[key] = Scaled(np.array([total]), dh.exponent + near.exponent)
        return dh, dh * factor

    return x + branch * factor, add


class Trace(NamedTuple):
    """What the forward pass leaves for the backward pass."""

    z: list[Scaled]  # what the maps give
    a: list[Scaled]  # what activations give, after a normalisation behind them
    slope: list[Array]
    mapped: list[Scaled]  # what the maps get
    bent: list[Scaled]  # what the activations get
    h: list[Scaled]
    y: Scaled
    back: list[list[Any]]  # the ways back of each layer's parts
    readout: Back | None


class Gradients(NamedTuple):
    """True gradients: of the parameters by name, and of the pre-activations, input side first."""

    parameters: State
    preactivations: list[Array]
    input: Array
    loss: float | None = None


@np.errstate(all="ignore")  # a value that is not finite is a result
def propagate(spec: MLP, state: State, x: Array) -> Trace:
    """The forward pass."""
    plan = Plan.of(spec)
    # Where phi is a line near 0 and no bias is added, a signal of any size stays in proportion and can
    # carry an exponent. Elsewhere the exponent stays 0.
    unbiased = not any(state[key].any() for key in state if key.endswith("bias"))
    bends = spec.norm is not None or spec.inputs == "every" or plan.skip[0] == "highway"
    carried = unbiased and not bends and all(straight(layer.kind) for layer in plan.layers)

    def kept(h: Scaled) -> Scaled:
        return h.rescaled() if carried else h if h.exponent == 0 else Scaled(h.true())

    dtype = state["layers.0.weight"].dtype
    first = np.zeros((len(x), plan.layers[0].input)) if spec.inputs == "every" else x
    trace = Trace([], [], [], [], [], [kept(Scaled(np.asarray(first, dtype)))], Scaled(np.zeros(0)), [], None)
    for l, layer in enumerate(plan.layers):
        v, backs, named = trace.h[l], [], parts(spec, layer)
        for part in named:
            back: Any
            if part == "map":
                trace.mapped.append(v)
                v, back = linear(spec, state, l, v, x)
                trace.z.append(v)
            elif part == "norm":
                v, back = norm(spec, state, l, v)
            elif part == "activation":
                trace.bent.append(v)
                v, slopes, back = activation(spec, state, l, layer.kind, v)
                trace.slope.append(slopes)
            else:
                v, back = join(spec, state, l, trace.h[layer.source or 0], v)
                v = kept(v)
            backs.append((part, back))
            if part == "activation" or (part == "norm" and spec.norm_position == "post"):
                trace.a[l:] = [v]
        trace.h.append(kept(v))
        trace.back.append(backs)
    if spec.out_features is None:
        return trace._replace(y=trace.h[-1])
    y, readout = affine(state, "readout", trace.h[-1])
    return trace._replace(y=y, readout=readout)


@np.errstate(all="ignore")
def backpropagate(spec: MLP, trace: Trace, cotangent: Array) -> tuple[list[Found], list[Scaled], Scaled]:
    """Gradients of parameters, layer by layer and the readout's last, of pre-activations, and of the input."""
    plan = Plan.of(spec)
    dh = Scaled(np.asarray(cotangent, np.float64)).rescaled()
    dh = Scaled(dh.value.astype(trace.y.value.dtype), dh.exponent)
    found: list[Found] = [{} for _ in range(spec.depth + 1)]
    deltas: list[Scaled] = []
    if trace.readout:
        dh = trace.readout(dh, found[-1])
    skipped: dict[int, Scaled] = {}  # what reaches an h around its block
    for l in reversed(range(spec.depth)):
        for part, back in reversed(trace.back[l]):
            if part == "join":
                source = plan.layers[l].source or 0
                skipped[source], dh = back(dh, found[l])
            else:
                if part == "map":
                    deltas.insert(0, dh.rescaled())
                dh = back(dh.rescaled(), found[l])
        if l in skipped:
            dh = (dh + skipped[l]).rescaled()
    if spec.inputs == "every":
        steps = [each.pop("x") for each in found[:-1]]
        top = max(step.exponent for step in steps)
        dh = Scaled(np.stack([np.ldexp(step.value, step.exponent - top) for step in steps], axis=1), top)
    return found, deltas, dh


def summed(found: list[Found]) -> Found:
    """Gradients of the parameters: sums over the layers that share them."""
    total: Found = {}
    for each in found:
        for name, gradient in each.items():
            total[name] = total[name] + gradient if name in total else gradient
    return total


def forward(spec: MLP, state: State, x: Array) -> Array:
    """The readout, or the last hidden output without one: `(batch, out)`."""
    return propagate(spec, state, x).y.true()


def backward(spec: MLP, state: State, x: Array, cotangent: Array) -> Gradients:
    """Gradients of `sum(cotangent * y)`."""
    found, deltas, dx = backpropagate(spec, propagate(spec, state, x), cotangent)
    parameters = summed(found)
    return Gradients({name: parameters[name].true() for name in state}, [d.true() for d in deltas], dx.true())


@np.errstate(all="ignore")
def gradients(spec: MLP, state: State, x: Array, y: Array | None, loss: str) -> Gradients:
    """Gradients of a loss between the output and the targets y, and its value."""
    value, cotangent = evaluate(loss, forward(spec, state, x).astype(np.float64), y)
    return backward(spec, state, x, cotangent)._replace(loss=value)


# --- The columns of a probe ----------------------------------------------------------------------


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


FORWARD: dict[str, Callable[[Trace, str, int], float]] = {
    "log10_z_rms": lambda t, _, l: t.z[l].log10_rms(),
    "log10_a_rms": lambda t, _, l: t.a[l].log10_rms(),
    "saturated": lambda t, kind, l: (np.abs(t.slope[l]) < 0.01 * steepest(kind)).mean(),
    "dead": lambda t, _, l: (t.a[l].value == 0).all(axis=0).mean(),
    "correlation": lambda t, _, l: correlation(t.z[l]),
    "effective_rank": lambda t, _, l: effective_rank(t.h[l + 1]),
}
BACKWARD = {
    "log10_wgrad_norm": r"layers\.\d+\.weight",
    "log10_bgrad_norm": r"layers\.\d+\.bias",
    "log10_affine_grad_norm": r"norms\..*",
    "log10_slope_grad_norm": r"activations\..*",
    "log10_gate_grad_norm": r"(gates|skips)\..*",
}
COLUMNS = (
    *FORWARD,
    *BACKWARD,
    *("log10_delta_rms", "gradient_correlation", "log10_sample_wgrad_rms", "log10_summed_wgrad_norm"),
)


@np.errstate(all="ignore")
def probe(
    spec: MLP,
    *,
    x: Array | None = None,
    y: Array | None = None,
    loss: str | None = None,
    batch: int = 128,
    seeds: int = 8,
    seed: int = 0,
    dtype: str = "float64",
) -> dict[str, Array]:
    """Every column `(seeds, depth)`, and two numbers a seed; run r is drawn from seed + r.

    Without `x` the input is standard normal; without a loss the cotangent at the output is standard
    normal divided by sqrt(batch).
    """
    plan = Plan.of(spec)
    columns = {name: np.full((seeds, spec.depth), math.nan) for name in COLUMNS}
    first_nonfinite, total = np.full(seeds, -1), np.full(seeds, math.nan)

    def run(r: int) -> int:
        """Fill row r of every column; return where a value was first not finite, or -1."""
        given = samples(spec, seed + r, batch, dtype) if x is None else x
        state = init(spec, seed + r, dtype, given)
        trace = propagate(spec, state, given)
        for l, layer in enumerate(plan.layers):
            for name, column in FORWARD.items():
                columns[name][r, l] = column(trace, layer.kind, l)
            if not (trace.z[l].finite() and trace.a[l].finite() and trace.h[l + 1].finite()):
                return l
        value = 0.0
        if loss is None:
            stream = Stream(seed + r, COTANGENT, dtype=dtype)
            cotangent = stream.normal(trace.y.value.shape) / math.sqrt(len(given))
        else:
            value, cotangent = evaluate(loss, trace.y.true().astype(np.float64), None if y is None else np.asarray(y))
        if not (trace.y.finite() and math.isfinite(value)):
            return spec.depth
        found, deltas, _ = backpropagate(spec, trace, cotangent)
        for l in reversed(range(spec.depth)):
            columns["log10_delta_rms"][r, l] = deltas[l].log10_rms()
            columns["gradient_correlation"][r, l] = correlation(deltas[l])
            columns["log10_sample_wgrad_rms"][r, l] = log10_sample_rms(trace.mapped[l], deltas[l])
            for name, pattern in BACKWARD.items():
                ours = [gradient for key, gradient in found[l].items() if re.fullmatch(pattern, key)]
                columns[name][r, l] = log10_together(ours)
            if spec.tied and spec.depth > 1:  # of this step and all later ones
                columns["log10_summed_wgrad_norm"][r, l] = summed(found[l:-1])["layers.0.weight"].log10_norm()
            if not all(each.finite() for each in (deltas[l], *found[l].values())):
                return l
        total[r] = log10_together(list(summed(found).values()))
        return -1

    for r in range(seeds):
        first_nonfinite[r] = run(r)
    return columns | {"first_nonfinite": first_nonfinite, "log10_total_grad_norm": total}
