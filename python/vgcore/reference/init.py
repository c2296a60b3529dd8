"""Initial weights and biases, by published formulas; lsuv and its forward pass."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from vgcore.reference.activation import activate
from vgcore.reference.kind import Kind, parse
from vgcore.reference.net import propagate
from vgcore.reference.part import State, learns
from vgcore.reference.plan import Part, Place, Plan
from vgcore.reference.random import (
    BIAS,
    GATE_BIAS,
    GATE_WEIGHT,
    INPUT,
    INPUT_BIAS,
    INPUT_WEIGHT,
    PROJECTION_BIAS,
    PROJECTION_WEIGHT,
    READOUT_BIAS,
    READOUT_WEIGHT,
    WEIGHT,
    Array,
    Stream,
)

if TYPE_CHECKING:
    from vgcore.model.spec import Spec


TORCH_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}


def kaiming_gain(p: dict[str, Any]) -> float:
    """The `gain`, or what `torch.nn.init.calculate_gain` says of `nonlinearity` and `a`."""
    leaky = math.sqrt(2 / (1 + p.get("a", 0.0) ** 2))
    gain: float = p.get("gain", TORCH_GAINS.get(p.get("nonlinearity", "leaky_relu"), leaky))
    return gain


@cache
def critical_sigma_w(kind: str, sigma_b: float) -> float:
    """The sigma_w of the edge of chaos (Schoenholz et al. 2016).

    There chi_1 = sigma_w^2 E phi'(sqrt(q) z)^2 = 1 at the fixed point q = sigma_w^2 E phi(sqrt(q) z)^2 + sigma_b^2.
    """
    x, w = np.polynomial.legendre.leggauss(40)
    ends = np.geomspace(1e-5, 12, 60)
    ends = np.concatenate([-ends[::-1], [0], ends])  # a kink at 0 lies between two pieces
    half, middle = np.diff(ends)[:, None] / 2, (ends[1:] + ends[:-1])[:, None] / 2
    z = (middle + half * x).ravel()
    density = (half * w).ravel() * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)

    def moments(q: float) -> list[float]:
        return [float(density @ values**2) for values in activate(kind, math.sqrt(q) * z)]

    def excess(log_q: float) -> float:
        """The variance of biases that makes q a fixed point at chi_1 = 1, less sigma_b^2."""
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
        case "torch_transformer" | "torch_encoder":  # torch.nn.TransformerEncoderLayer: q, k and v are one matrix
            std = gain * (math.sqrt(2 / (fan_in + 3 * at.fan_out)) if at.stands == "qkv" else 1 / math.sqrt(3 * fan_in))
            return "uniform", std
        case "gpt2":  # Radford et al. 2019
            std = gain * p.get("std", 0.02) / (math.sqrt(at.blocks) if at.ends_branch else 1)
        case "deepnorm":  # Wang et al. 2022: N blocks have 2 N branches
            beta = (4 * at.blocks) ** -0.25 if at.stands in {"out", "up", "down"} else 1
            std = gain * beta * math.sqrt(2 / (fan_in + at.fan_out))
        case "torch_default":  # torch.nn.Linear: U(-1 / sqrt(fan_in), 1 / sqrt(fan_in))
            std = gain / math.sqrt(3 * fan_in)
        case "mean_field":  # Poole et al. 2016
            std = gain * p.get("sigma_w", 1.0) / math.sqrt(fan_in)
        case "critical":  # mean_field on the edge of chaos; a readout is linear
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
        case "torch_rnn":  # torch.nn.RNNBase: uniform up to 1 / sqrt(hidden_size)
            std = gain / math.sqrt(3 * (fan_in if at.layer is None else at.fan_out))
        case "lecun_uniform" | "lecun_normal":  # LeCun et al. 1998
            std = gain / math.sqrt(fan_in)
        case _:
            raise ValueError(f"unknown init {name!r}")
    if name in {"he_normal", "glorot_normal"}:
        return "truncated_normal", std
    return ("uniform" if name.endswith(("uniform", "default", "torch_rnn")) else "normal"), std


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
    """Draw one tensor of an init, in float64; a weight is `(fan_out, fan_in)`."""
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
            # Of numbers times the gain: which tail a symmetric interval is drawn from is a matter of their rounding.
            mean, std, low, high = (gain * float(p[name]) for name in ("mean", "std", "a", "b"))
            return truncated(mean, std, low, high, stream.uniform(shape))
        case "eye":
            return gain * np.eye(rows, columns)
        case "sparse":  # zeros where a column has its smallest keys
            keys = stream.companion().uniform((columns, -(-rows // 4) * 4))
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
    if law_name == "truncated_normal" and std > 0:  # cut at two standard deviations, and widened to have `std` again
        wide = std / 0.87962566103423978
        return truncated(0, wide, -2 * wide, 2 * wide, stream.uniform(shape))
    return std * stream.normal(shape)


def weight(at: Place, stream: Stream) -> Array:
    """A weight `(fan_out, fan_in)`: blocks of rows, each drawn as a map of its own shape, times its factor.

    Blocks follow each other in one stream, as if each had a multiple of four rows.
    """
    block = at._replace(fan_out=at.fan_out // len(at.factors))
    shape, length = (block.fan_out, at.fan_in), at.fan_in * -(-block.fan_out // 4) * 4
    drawn = (draw(at.init, shape, stream.after(i * length), block) for i in range(len(at.factors)))
    return np.concatenate(
        [(factor * w.astype(stream.dtype)).astype(stream.dtype) for factor, w in zip(at.factors, drawn, strict=True)]
    )


def bias_kind(at: Place) -> Kind:
    """The init of biases: the spec's `bias`, else what the weights' init brings, else zeros."""
    name, p = parse(str(at.bias)) if at.bias else at.init
    if name in {"torch_transformer", "torch_encoder"}:
        bound = 0.0 if at.stands in {"qkv", "out"} else 1 / math.sqrt(at.fan_in)
        return "uniform", {"a": -bound, "b": bound}
    if name == "torch_default":
        bound = (p.get("gain", 1.0) if at.bias else 1.0) / math.sqrt(at.fan_in)
        return "uniform", {"a": -bound, "b": bound}
    if name == "torch_rnn":
        bound = 1 / math.sqrt(at.fan_in if at.layer is None else at.fan_out // len(at.factors))
        return "uniform", {"a": -bound, "b": bound}
    if name == "mean_field" or (name == "critical" and at.layer is not None):
        return "normal", {"std": p.get("sigma_b", 0.0)}
    return (name, p) if at.bias else ("zeros", {})


def biases(at: Place, stream: Stream) -> Array:
    """The biases of a map; those of a cell's gates with what the cell adds to one of them."""
    kind, gates = bias_kind(at), len(at.factors)
    rows = at.fan_out // gates
    if kind[0] == "chrono":  # Tallec and Ollivier 2018
        found = np.zeros((gates, rows))
        if at.cell[0]:
            found[1] = np.log(1 + (kind[1]["T"] - 2) * stream.uniform((rows,)))
        if at.cell[0] == "lstm":
            found[0] = -found[1]
        return found.ravel()
    found = draw(kind, (at.fan_out,), stream, at)
    added = {"lstm": ("forget_bias", 1.0), "gru": ("update_bias", 0.0)}
    if at.cell[0] in added:
        name, default = added[at.cell[0]]
        found[rows : 2 * rows] += at.cell[1].get(name, default)
    return found


ROLES = {
    "layers": (WEIGHT, BIAS),
    "readout": (READOUT_WEIGHT, READOUT_BIAS),
    "gates": (GATE_WEIGHT, GATE_BIAS),
    "inputs": (INPUT_WEIGHT, INPUT_BIAS),  # an MLP's have no biases
    "projections": (PROJECTION_WEIGHT, PROJECTION_BIAS),
}


def init(spec: Spec, seed: int = 0, dtype: str = "float64", x: Array | None = None) -> State:
    """Every parameter by its name in torch's manner; weights are `(out, in)`. Only `lsuv` looks at x."""
    plan = Plan.of(spec)
    state: State = {}

    def linear(part: Part, at: Place) -> None:
        of_weight, of_bias = ROLES[part.module]
        gate = {"gate_gain": 1.0, "gate_bias": -1.0} | parse(part.kind)[1]
        drawn = weight(at, Stream(seed, of_weight, at.stream, dtype))
        if part.module == "gates":
            drawn = (gate["gate_gain"] * drawn).astype(dtype)
        state[f"{part.key}.weight"] = drawn
        if part.module == "gates":
            state[f"{part.key}.bias"] = np.full(at.fan_out, gate["gate_bias"], dtype)
        elif at.bias is not False:
            stream = Stream(seed, of_bias, at.stream, dtype)
            state[f"{part.key}.bias"] = biases(at, stream).astype(dtype)

    for part in plan.learners():
        if part.place is not None:
            linear(part, part.place)
        else:
            state |= {name: np.full(count, start, dtype) for name, (count, start) in learns(part).items()}
    if plan.calibrates:
        calibrate(spec, state, samples(spec, seed, 128, dtype) if x is None else x)
    return state


def samples(spec: Spec, seed: int, batch: int, dtype: str) -> Array:
    """The standard normal samples of a run, `(batch, in_features)`; of `depth` steps if each has an input."""
    plan = Plan.of(spec)
    columns = spec.in_features or (plan.layers[0].input if plan.tokens else plan.layers[0].map.outputs)
    steps = plan.depth // plan.layers_of_step
    each = (steps, columns) if plan.fed else (plan.tokens, columns) if plan.tokens else (columns,)
    return Stream(seed, INPUT, dtype=dtype).normal((batch, *each))


def calibrate(spec: Spec, state: State, x: Array) -> None:
    """Scale the weights of each layer so that its z have unit variance on x (Mishkin & Matas 2015); biases stay."""
    plan = Plan.of(spec)

    def scale(name: str, z: Array) -> None:
        b = np.broadcast_to(state.get(f"{name}.bias", np.zeros(1)).astype(np.float64), z.shape)
        ours, both, theirs = (z - b).var(), ((z - b) * (b - b.mean())).mean(), b.var()
        with np.errstate(all="ignore"):  # ours c^2 + 2 both c + theirs = 1
            c = (np.sqrt(both**2 - ours * (theirs - 1)) - both) / ours
        if np.isfinite(c) and c > 0:
            state[f"{name}.weight"] = state[f"{name}.weight"] * state[f"{name}.weight"].dtype.type(c)

    for l, layer in enumerate(plan.layers[: plan.depth]):
        scale(layer.map.key, propagate(spec, state, x).z[l].true().astype(np.float64))
    if "readout.weight" in state:
        scale("readout", propagate(spec, state, x).y.true().astype(np.float64))
