"""The whole network in NumPy: slow, short, and meant to be read.

It states the same formulas, random stream and columns as the Rust core and shares none of its code,
so that a student can read it and a test can trust it. Layers are numbered from 0 here:

    z_l = W_l h_l + b_l              pre-activation, (batch, width); h_0 is the input
    a_l = phi(z_l)
    h_{l+1} = a_l                    or h_{l+1-block} + branch_scale a_l where a residual block ends
    y = W_out h_depth + b_out        only with a readout, else y = h_depth
    delta_l = dL/dz_l                the backward signal
"""

from __future__ import annotations

import math
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


class Plan(NamedTuple):
    """A spec layer by layer."""

    sizes: list[int]  # of h_0, h_1, ..., h_depth
    kinds: list[str]  # the activation of each layer
    sources: list[int | None]  # the h that a skip adds to the output of each layer
    branch_scale: float

    @classmethod
    def of(cls, spec: MLP) -> Plan:
        """Spread what a spec says once over its layers."""
        widths = [spec.width] * spec.depth if isinstance(spec.width, int) else list(spec.width)
        sizes = [spec.in_features or widths[0], *widths]
        kinds: Any = spec.activation
        kinds = [kinds] * spec.depth if isinstance(kinds, str) else list(kinds)
        sources: list[int | None] = [None] * spec.depth
        if spec.skip == "residual":
            for end in range(spec.block, spec.depth + 1, spec.block):
                source = end - spec.block
                sources[end - 1] = source if sizes[source] == sizes[end] else None
        scale = spec.branch_scale
        if isinstance(scale, str):  # "1/sqrt(L)", L the number of blocks
            scale = 1 / math.sqrt(spec.depth / spec.block)
        return cls(sizes, kinds, sources, scale)


# --- Random numbers ------------------------------------------------------------------------------

WEIGHT, BIAS, INPUT, COTANGENT, READOUT_WEIGHT, READOUT_BIAS = range(6)  # roles of a stream
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
        blocks = spec.depth // spec.block if spec.skip else spec.depth
        if layer is None:
            return cls(plan.sizes[-1], spec.out_features or 0, None, None, blocks, 0, False)
        end = layer - layer % spec.block + spec.block - 1
        inside = end < spec.depth and plan.sources[end] is not None
        fans = plan.sizes[layer], plan.sizes[layer + 1]
        return cls(*fans, layer, plan.kinds[layer], blocks, spec.block if inside else 0, inside and layer == end)


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


def bias_kind(spec: MLP, at: Place) -> Kind:
    """What biases are drawn from: the spec's `bias`, else what its `init` brings, else zeros."""
    name, p = parse(str(spec.bias or spec.init))
    if name == "torch_default":
        bound = (p.get("gain", 1.0) if spec.bias else 1.0) / math.sqrt(at.fan_in)
        return "uniform", {"a": -bound, "b": bound}
    if name == "mean_field" or (name == "critical" and at.layer is not None):
        return "normal", {"std": p.get("sigma_b", 0.0)}
    return (name, p) if spec.bias else ("zeros", {})


def init(spec: MLP, seed: int = 0, dtype: str = "float64") -> State:
    """Weights `(out, in)` and biases `(out,)` under torch's key names."""
    plan = Plan.of(spec)
    state: State = {}

    def add(name: str, layer: int | None, roles: tuple[int, int]) -> None:
        at = Place.of(spec, plan, layer)
        weight, bias = (Stream(seed, role, layer or 0, dtype) for role in roles)
        drawn = draw(parse(str(spec.init)), (at.fan_out, at.fan_in), weight, at)
        state[f"{name}.weight"] = drawn.astype(dtype)
        state[f"{name}.bias"] = draw(bias_kind(spec, at), (at.fan_out,), bias, at).astype(dtype)

    for l in range(spec.depth):
        add(f"layers.{l}", l, (WEIGHT, BIAS))
    if spec.out_features is not None:
        add("readout", None, (READOUT_WEIGHT, READOUT_BIAS))
    return state


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


def outputs(kind: str, z: Array) -> Array:
    """The output of a layer with pre-activations z, which may be wider or narrower than z."""
    name = parse(kind)[0]
    if name in GATED:
        value, gate = halves(z)
        return value * activate(kind, gate)[0]
    if name in DOUBLED:
        return np.hstack([activate(kind, z)[0], activate(kind, -z)[0]])
    return activate(kind, z)[0]


def pulled_back(kind: str, z: Array, da: Array) -> Array:
    """dL/dz from dL/da, where a = outputs(kind, z)."""
    name = parse(kind)[0]
    if name in GATED:
        value, gate = halves(z)
        opening, slope = activate(kind, gate)
        return np.hstack([da * opening, da * value * slope])
    if name in DOUBLED:
        upper, lower = halves(da)
        return upper * activate(kind, z)[1] - lower * activate(kind, -z)[1]
    return da * activate(kind, z)[1]


def straight(kind: str) -> bool:
    """Is phi(z) = phi'(0) z to the last bit for a z that is small enough?"""
    tiny = np.array([-(2.0**-60), 2.0**-60])
    value, slope = activate(kind, tiny)
    through_zero = not activate(kind, np.zeros(1))[0].any()
    return through_zero and np.allclose(value, slope * tiny, rtol=1e-14, atol=0)


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


@dataclass(frozen=True)
class Scaled:
    """The array `value * 2**exponent`."""

    value: Array
    exponent: int = 0

    def rescaled(self) -> Scaled:
        """Bring max|value| into [1, 2), which is exact."""
        peak = float(np.abs(self.value).max())
        if peak == 0 or not math.isfinite(peak):
            return self
        shift = math.frexp(peak)[1] - 1
        return Scaled(np.ldexp(self.value, -shift), self.exponent + shift)

    def __matmul__(self, matrix: Array) -> Scaled:
        return Scaled(self.value @ matrix, self.exponent)

    def __mul__(self, factor: Array | float) -> Scaled:
        return Scaled(self.value * factor, self.exponent)

    def __add__(self, other: Scaled) -> Scaled:
        top = max(self.exponent, other.exponent)
        one, two = (np.ldexp(term.value, term.exponent - top) for term in (self, other))
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


LOSSES: dict[str, Callable[..., Pair]] = {
    "mse": mse,
    "half_mse": half_mse,
    "mae": mae,
    "huber": huber,
    "cross_entropy": cross_entropy,
    "bce_with_logits": bce_with_logits,
    "hinge": hinge,
}


def evaluate(loss: str, y: Array, t: Array) -> tuple[float, Array]:
    """The value of a loss such as `"huber(delta=0.5, reduction=sum)"`, and dL/dy."""
    name, params = parse(loss)
    over = params.pop("reduction", "mean")
    terms, slope = LOSSES[name](y, t, **params)
    count = 1 if over == "sum" else terms.size
    return float(terms.sum()) / count, slope / count


# --- Forward and backward ------------------------------------------------------------------------


class Trace(NamedTuple):
    """What the forward pass leaves for the backward pass."""

    z: list[Scaled]
    a: list[Scaled]
    slope: list[Array]
    h: list[Scaled]
    y: Scaled


class Gradients(NamedTuple):
    """True gradients, input side first; the readout is last in `weights` and `biases`."""

    weights: list[Array]
    biases: list[Array]
    preactivations: list[Array]
    input: Array
    loss: float | None = None


def bend(kind: str, z: Scaled) -> tuple[Scaled, Scaled, Array]:
    """z, a = phi(z) and phi'(z); a z that carries an exponent is spelled out where phi bends it."""
    if z.exponent and parse(kind)[0] not in HOMOGENEOUS:
        if z.rescaled().exponent < -60:  # there phi(z) = phi'(0) z to the last bit of float64
            tiny = np.where(z.value > 0, 2.0**-60, -(2.0**-60))
            slope = activate(kind, tiny)[1].astype(z.value.dtype)
            return z, z * slope, slope
        z = Scaled(z.true())
    value, slope = activate(kind, z.value)
    return z, Scaled(value, z.exponent), slope


@np.errstate(all="ignore")  # a value that is not finite is a result
def propagate(spec: MLP, state: State, x: Array) -> Trace:
    """The forward pass."""
    plan = Plan.of(spec)
    # Where phi is a line near 0 and no bias is added, a signal of any size stays in proportion and can
    # carry an exponent. Elsewhere the exponent stays 0.
    unbiased = not any(state[key].any() for key in state if key.endswith("bias"))
    carried = unbiased and all(map(straight, plan.kinds))

    def kept(h: Scaled) -> Scaled:
        return h.rescaled() if carried else h

    def affine(name: str, h: Scaled) -> Scaled:
        # Adding the bias to the value is right in both: an exponent is carried, or the bias is not 0.
        z = h @ state[f"{name}.weight"].T
        return Scaled(z.value + state[f"{name}.bias"], z.exponent)

    bent = []
    h = [kept(Scaled(np.asarray(x, state["layers.0.weight"].dtype)))]
    for l, kind in enumerate(plan.kinds):
        bent.append(bend(kind, affine(f"layers.{l}", h[l])))
        a, source = bent[l][1], plan.sources[l]
        h.append(kept(a if source is None else h[source] + a * plan.branch_scale))
    z, activations, slopes = map(list, zip(*bent, strict=True))
    y = h[-1] if spec.out_features is None else affine("readout", h[-1])
    return Trace(z, activations, slopes, h, y)


@np.errstate(all="ignore")
def backpropagate(
    spec: MLP, state: State, trace: Trace, cotangent: Array
) -> tuple[list[Scaled], list[Scaled], list[Scaled], Scaled]:
    """Gradients of weights, biases, pre-activations and input, each with its exponent."""
    plan = Plan.of(spec)
    weights: list[Scaled] = []
    biases: list[Scaled] = []
    deltas: list[Scaled] = []

    def through(name: str, delta: Scaled, h: Scaled) -> Scaled:
        """From dL/dz of z = W h + b to dL/dh, leaving dL/dW and dL/db on the way."""
        h = h.rescaled()
        weights.insert(0, Scaled(delta.value.T @ h.value, delta.exponent + h.exponent))
        biases.insert(0, Scaled(delta.value.sum(axis=0), delta.exponent))
        return (delta @ state[f"{name}.weight"]).rescaled()

    dh = Scaled(np.asarray(cotangent, np.float64)).rescaled()
    dh = Scaled(dh.value.astype(trace.y.value.dtype), dh.exponent)
    if spec.out_features is not None:
        dh = through("readout", dh, trace.h[-1])
    skipped: dict[int, Scaled] = {}  # what reaches an h along its skip
    for l in reversed(range(spec.depth)):
        da, source = dh, plan.sources[l]
        if source is not None:
            skipped[source], da = dh, dh * plan.branch_scale
        deltas.insert(0, (da * trace.slope[l]).rescaled())
        dh = through(f"layers.{l}", deltas[0], trace.h[l])
        if l in skipped:
            dh = (dh + skipped[l]).rescaled()
    return weights, biases, deltas, dh


def forward(spec: MLP, state: State, x: Array) -> Array:
    """The readout, or the last hidden output without one: `(batch, out)`."""
    return propagate(spec, state, x).y.true()


def backward(spec: MLP, state: State, x: Array, cotangent: Array) -> Gradients:
    """Gradients of `sum(cotangent * y)`."""
    *parts, dx = backpropagate(spec, state, propagate(spec, state, x), cotangent)
    weights, biases, deltas = ([scaled.true() for scaled in part] for part in parts)
    return Gradients(weights, biases, deltas, dx.true())


@np.errstate(all="ignore")
def gradients(spec: MLP, state: State, x: Array, y: Array, loss: str) -> Gradients:
    """Gradients of a loss between the output and the targets y, and its value."""
    value, cotangent = evaluate(loss, forward(spec, state, x).astype(np.float64), y)
    return backward(spec, state, x, cotangent)._replace(loss=value)


# --- The columns of a probe ----------------------------------------------------------------------


def correlation(z: Scaled) -> float:
    """Mean cosine of pairs of the B nonzero rows: (|sum of unit rows|^2 - B) / (B (B - 1))."""
    rows = z.wide()
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = (rows / length)[length[:, 0] > 0]
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


FORWARD: dict[str, Callable[[Trace, str, int], float]] = {
    "log10_z_rms": lambda t, _, l: t.z[l].log10_rms(),
    "log10_a_rms": lambda t, _, l: t.a[l].log10_rms(),
    "saturated": lambda t, kind, l: (np.abs(t.slope[l]) < 0.01 * steepest(kind)).mean(),
    "dead": lambda t, _, l: (t.a[l].value == 0).all(axis=0).mean(),
    "correlation": lambda t, _, l: correlation(t.z[l]),
    "effective_rank": lambda t, _, l: effective_rank(t.h[l + 1]),
}
BACKWARD = ("log10_delta_rms", "log10_wgrad_norm", "log10_bgrad_norm", "log10_sample_wgrad_rms")


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
    """Every column `(seeds, depth)` and `first_nonfinite` `(seeds,)`; run r is drawn from seed + r.

    Without `x` the input is standard normal; without a loss the cotangent at the output is standard
    normal divided by sqrt(batch).
    """
    sizes = Plan.of(spec).sizes
    inputs = (batch, sizes[0]) if x is None else np.shape(x)
    outputs = (inputs[0], spec.out_features or sizes[-1])
    columns = {name: np.full((seeds, spec.depth), math.nan) for name in (*FORWARD, *BACKWARD)}
    first_nonfinite = np.full(seeds, -1)

    def run(r: int) -> int:
        """Fill row r of every column; return where a value was first not finite, or -1."""
        state = init(spec, seed + r, dtype)
        given = Stream(seed + r, INPUT, dtype=dtype).normal(inputs) if x is None else x
        trace = propagate(spec, state, given)
        for l, kind in enumerate(Plan.of(spec).kinds):
            for name, column in FORWARD.items():
                columns[name][r, l] = column(trace, kind, l)
            if not (trace.z[l].finite() and trace.a[l].finite() and trace.h[l + 1].finite()):
                return l
        value = 0.0
        if loss is None:
            stream = Stream(seed + r, COTANGENT, dtype=dtype)
            cotangent = stream.normal(outputs) / math.sqrt(outputs[0])
        else:
            value, cotangent = evaluate(loss, trace.y.true().astype(np.float64), np.asarray(y))
        if not (trace.y.finite() and math.isfinite(value)):
            return spec.depth
        weights, biases, deltas, _ = backpropagate(spec, state, trace, cotangent)
        for l in reversed(range(spec.depth)):
            shares = log10_sample_rms(trace.h[l], deltas[l])
            norms = deltas[l].log10_rms(), weights[l].log10_norm(), biases[l].log10_norm(), shares
            for name, norm in zip(BACKWARD, norms, strict=True):
                columns[name][r, l] = norm
            if not deltas[l].finite():
                return l
        return -1

    for r in range(seeds):
        first_nonfinite[r] = run(r)
    return columns | {"first_nonfinite": first_nonfinite}
