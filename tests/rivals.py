"""What others say: gradients by the autograd of other libraries in float64, and activations in many digits.

A rival writes the network in its own library and differentiates it there. Where the derivative of a
library loses its digits in saturation (1 - y^2 of tanh, 1 + erf of gelu, p - 1 of cross-entropy),
the same function is spelled so that autograd keeps them. Slopes at kinks are torch's.
"""

import importlib.util
import math
from collections.abc import Callable
from functools import partial, wraps
from importlib import import_module
from typing import Any, NamedTuple

import mpmath
import numpy as np
import numpy.typing as npt

import vgcore as vg
from vgcore import reference
from vgcore.reference import agreement

Array = npt.NDArray[Any]
State = dict[str, Array]
Function = Callable[..., Any]


class Answer(NamedTuple):
    """Gradients of one problem: of the parameters by name, and of the pre-activations, input side first."""

    parameters: dict[str, Array]
    preactivations: list[Array]
    input: Array
    loss: float | None


def error(measured: Any, expected: Any) -> float:
    """The largest |a - b|_F / |b|_F over gradients and loss; inf where shapes differ, refused where names do."""
    return max(each.worst for each in agreement.gradients(measured, expected))


class Library(NamedTuple):
    """What a network is written in."""

    numpy: Any  # functions of NumPy's names
    activations: dict[str, Function]
    largest_singular_value: Function


def by_layer(spec: vg.MLP, value: Any) -> list[Any]:
    """A value for each layer, of one, of one a layer or of a pattern of stem and block."""
    if not isinstance(value, tuple):
        return [value] * spec.depth
    repeats = (spec.depth - spec.stem) // spec.block
    return list(value if len(value) == spec.depth else value[: spec.stem] + value[spec.stem :] * repeats)


def network(spec: vg.MLP, library: Library, state: dict[str, Any], x: Any, seen: Function) -> Any:
    """The output in any array library; `seen(l, z)` gives back the z of a layer, or something added to it."""
    np_, activations, largest_singular_value = library
    skip = None if spec.skip is None else vg.Skip(str(spec.skip))
    order = "after" if skip is None else skip.params.get("order", "after")
    kinds, widths, norms, places = (
        by_layer(spec, each) for each in (spec.activation, spec.width, spec.norm, spec.norm_position)
    )
    kinds = [vg.Activation(kind) for kind in kinds]
    stem, block = (spec.depth, 1) if skip is None else (spec.stem, spec.block)
    blocks = (spec.depth - spec.stem) // spec.block
    scale = blocks**-0.5 if spec.branch_scale == "1/sqrt(L)" else spec.branch_scale

    def own(module: str, l: int, name: str) -> Any:
        return state.get(f"{module}.{0 if spec.tied else l}.{name}")

    def affine(h: Any, weight: Any, bias: Any) -> Any:
        return h @ weight.T if bias is None else h @ weight.T + bias

    def mapped(l: int, h: Any) -> Any:
        h = normed(l, h) if places[l] == "input" else h
        w = own("layers", l, "weight")
        if spec.weight_transform is not None:
            name, params = reference.parse(spec.weight_transform)
            gain = params.get("gain", 1.0)
            if name == "spectral_norm":
                w = gain * w / largest_singular_value(w)
            else:
                centre = w - w.mean(1)[:, None]
                variance = (centre**2).mean(1)[:, None] + params.get("eps", 0.0)
                w = gain * centre / np_.sqrt(variance * w.shape[1])
        z = affine(h, w, own("layers", l, "bias"))
        if spec.inputs == "every":
            z = z + x[:, l] @ state["inputs.weight"].T
        return seen(l, z)

    def normed(l: int, v: Any) -> Any:
        return v if norms[l] is None else by_norm(str(norms[l]), v, own("norms", l, "weight"), own("norms", l, "bias"))

    def by_norm(kind: str, v: Any, weight: Any, bias: Any) -> Any:
        norm = vg.Norm(kind)
        v = v.T if norm.name == "batch" else v
        centre = v if norm.name == "rms" else v - v.mean(1)[:, None]
        v = centre / np_.sqrt((centre**2).mean(1)[:, None] + norm.params["eps"])
        v = weight * (v.T if norm.name == "batch" else v)
        return v if norm.name == "rms" else v + bias

    def bent(l: int, v: Any, join: Function | None = None, *, linear: bool = False) -> Any:
        """The normalisation and the activation, and a sum before the latter."""
        kind = vg.Activation("linear") if linear else kinds[l]
        params = kind.params | ({"init": own("activations", l, "weight")} if kind.name == "prelu" else {})
        v = normed(l, v) if places[l] == "pre" else v
        v = activations[kind.name](v if join is None else join(v), **params)
        return normed(l, v) if places[l] == "post" else v

    def joined(l: int, entry: Any, branch: Any) -> Any:
        if skip is None:
            return branch
        if skip.name == "dense":
            return np_.concatenate([entry, branch], 1)
        if skip.name == "highway":
            t = activations["sigmoid"](affine(entry, own("gates", l, "weight"), own("gates", l, "bias")))
            return entry + t * (branch - entry)
        return entry + scale * (own("skips", l, "weight") if skip.name == "rezero" else 1) * branch

    def gives(l: int) -> int:
        """Features behind the last layer of a block, before the join."""
        double = {"crelu": 2.0, "glu": 0.5, "swiglu": 0.5, "geglu": 0.5}.get(kinds[l].name, 1.0)
        return int(widths[l] * (double if order == "after" else 1.0))

    h = x
    if spec.inputs == "every":
        double = {"crelu": 2.0, "glu": 0.5, "swiglu": 0.5, "geglu": 0.5}.get(kinds[0].name, 1.0)
        last = order == "pre" or (order == "linear" and block == 1)
        h = 0 * np_.concatenate([x[:, 0, :1]] * int(widths[0] * (1 if last else double)), 1)
    for l in range(stem):
        h = bent(l, mapped(l, h))
    for start in range(stem, spec.depth, block):
        entry, end = h, start + block - 1
        skips = skip is not None and (skip.name == "dense" or gives(end) == entry.shape[1])
        for l in range(start, end + 1):
            ends = skips and l == end
            if skips and order == "pre":
                h = mapped(l, bent(l, h))
            elif ends and order == "post":
                h = bent(l, mapped(l, h), lambda v, l=l, entry=entry: joined(l, entry, v))
            else:
                h = bent(l, mapped(l, h), linear=ends and order == "linear")
            if ends and order != "post":
                h = joined(l, entry, h)
    if spec.final_norm is not None:
        h = by_norm(str(spec.final_norm), h, state["final_norm.weight"], state.get("final_norm.bias"))
    return h if spec.out_features is None else affine(h, state["readout.weight"], state.get("readout.bias"))


def reduced(losses: dict[str, Function], loss: str, out: Any, y: Any) -> Any:
    """A loss of any kind from functions that give all its terms."""
    kind = vg.Loss(loss)
    params = dict(kind.params)
    over = params.pop("reduction")
    terms = losses[kind.name](out, y, **params)
    return terms.sum() if over == "sum" else terms.mean()


def shared(np_: Any, sigmoid: Function, tanh: Function, erf: Function, erfc: Function) -> dict[str, Function]:
    """Activations in the words of any array library: those whose derivative needs care, or that no library has."""
    where = np_.where

    def sigmoid_(z: Any) -> Any:
        return where(z < 0, sigmoid(z), 1 - sigmoid(-z))

    def tanh_(z: Any) -> Any:
        return where(abs(z) < 1, tanh(z), 2 * sigmoid_(2 * z) - 1)

    def gelu(z: Any, approximate: str) -> Any:
        if approximate == "none":
            return z * erfc(-z / math.sqrt(2)) / 2
        return z * sigmoid_(math.sqrt(8 / math.pi) * (z + 0.044715 * z**3))

    def silu(z: Any) -> Any:
        return z * sigmoid_(z)

    def softsign(z: Any) -> Any:
        return where(abs(z) < 1, z / (1 + abs(z)), np_.sign(z) * (1 - 1 / (1 + abs(z))))

    def tanhshrink(z: Any) -> Any:
        small = where(abs(z) < 1, z, 0 * z)
        q = 0 * z
        for odd in range(23, 1, -2):  # Lambert's continued fraction of tanh
            q = small**2 / (odd + q)
        return where(abs(z) < 1, small * q / (1 + q), z - tanh_(z))

    def squareplus(z: Any, b: float) -> Any:
        root = np_.sqrt(z**2 + b)
        return where(z >= 0, z + root, b / (root + abs(z))) / 2  # |z| has no slope at 0

    def gated(opening: Function) -> Function:
        def of_halves(z: Any, **params: Any) -> Any:
            half = z.shape[1] // 2
            return z[:, :half] * opening(z[:, half:], **params)

        return of_halves

    return {
        "linear": lambda z: z,
        "sigmoid": sigmoid_,
        "tanh": tanh_,
        "gelu": gelu,
        "silu": silu,
        "softsign": softsign,
        "tanhshrink": tanhshrink,
        "erf": erf,
        "sin": lambda z, omega: np_.sin(omega * z),
        "arctan": np_.arctan,
        "abs": np_.abs,
        "squareplus": squareplus,
        "snake": lambda z, alpha: z + np_.sin(alpha * z) ** 2 / alpha,
        "crelu": lambda z: np_.concatenate([where(z > 0, z, 0 * z), where(z < 0, -z, 0 * z)], 1),
        "glu": gated(sigmoid_),
        "swiglu": gated(silu),
        "geglu": gated(gelu),
    }


def in_float64(function: Callable[..., Answer]) -> Callable[..., Answer]:
    """A function of JAX in float64, for it alone: other tests in this process take JAX as it is."""

    @wraps(function)
    def switched(*args: Any, **options: Any) -> Answer:
        with import_module("jax").enable_x64(True):
            return function(*args, **options)

    return switched


@in_float64
def jax_gradients(
    spec: vg.MLP,
    state: State,
    x: Array,
    *,
    y: Array | None = None,
    loss: str | None = None,
    cotangent: Array | None = None,
) -> Answer:
    """By `jax.value_and_grad`; dL/dz_l is the gradient of a zero that is added to z_l."""
    jax = import_module("jax")
    jax.config.update("jax_disable_most_optimizations", True)  # every program runs once
    jnp, nn = jax.numpy, jax.nn

    def elu(z: Any, alpha: float) -> Any:
        low = jnp.where(z > 0, 0, z)  # the branch not taken must stay finite
        # The derivative of expm1 is expm1 + 1, which has no digits left far below 0.
        return jnp.where(z > 0, z, alpha * jnp.where(z < -1, jnp.exp(low) - 1, jnp.expm1(low)))

    def softplus(z: Any, beta: float, threshold: float) -> Any:
        return jnp.where(beta * z > threshold, z, nn.softplus(beta * z) / beta)

    def huber(out: Any, target: Any, delta: float) -> Any:
        size = abs(out - target)
        return jnp.where(size <= delta, size**2 / 2, delta * (size - delta / 2))

    def cross_entropy(out: Any, target: Any, label_smoothing: float) -> Any:
        is_target = jnp.arange(out.shape[1]) == target[:, None]
        margins = out - jnp.take_along_axis(out, target[:, None], axis=1)
        others = nn.logsumexp(jnp.where(is_target, -jnp.inf, margins), axis=1)
        return jnp.logaddexp(others, 0) - label_smoothing * margins.mean(axis=1)

    def leaky(z: Any, negative_slope: float) -> Any:
        return jnp.where(z > 0, z, negative_slope * z)

    activations = {
        "hardtanh": lambda z, min_val, max_val: jnp.minimum(jnp.maximum(z, min_val), max_val),
        "relu": nn.relu,
        "relu6": nn.relu6,
        "leaky_relu": leaky,
        "prelu": lambda z, init: leaky(z, negative_slope=init),
        "rrelu": lambda z, lower, upper: leaky(z, (lower + upper) / 2),
        "elu": elu,
        "celu": lambda z, alpha: alpha * elu(z / alpha, 1.0),
        "selu": lambda z: 1.0507009873554805 * elu(z, 1.6732632423543772),
        "mish": nn.mish,
        "softplus": softplus,
        "hardsigmoid": nn.hard_sigmoid,
        "hardswish": nn.hard_swish,
        "logsigmoid": nn.log_sigmoid,
        "softshrink": lambda z, lambd: jnp.sign(z) * jnp.maximum(abs(z) - lambd, 0),
        "hardshrink": lambda z, lambd: jnp.where(abs(z) > lambd, z, 0),
        "threshold": lambda z, threshold, value: jnp.where(z > threshold, z, value),
        **shared(jnp, nn.sigmoid, jnp.tanh, jax.scipy.special.erf, jax.scipy.special.erfc),
    }
    losses: dict[str, Function] = {
        "mse": lambda out, target: (out - target) ** 2,
        "half_mse": lambda out, target: ((out - target) ** 2).sum(axis=1) / 2,
        "mae": lambda out, target: abs(out - target),
        "huber": huber,
        "cross_entropy": cross_entropy,
        "bce_with_logits": lambda out, target: target * nn.softplus(-out) + (1 - target) * nn.softplus(out),
        "hinge": lambda out, target: nn.relu(1 - target * out),
        "output_sum": lambda out, _: out.sum(axis=1),
    }

    library = Library(jnp, activations, lambda w: jnp.linalg.norm(w, 2))

    def objective(state: Any, nudges: Any, x: Any) -> Any:
        out = network(spec, library, state, x, lambda l, z: z + nudges[l])
        return (out * cotangent).sum() if loss is None else reduced(losses, loss, out, y)

    nudges = [jnp.zeros((len(x), width)) for width in by_layer(spec, spec.width)]
    differentiate = jax.jit(jax.value_and_grad(objective, argnums=(0, 1, 2)))
    value, gradients = differentiate({name: jnp.asarray(v) for name, v in state.items()}, nudges, jnp.asarray(x))
    parameters, dz, dx = jax.tree.map(np.asarray, gradients)
    return Answer({name: parameters[name] for name in state}, dz, dx, None if loss is None else float(value))


def torch_gradients(
    spec: vg.MLP,
    state: State,
    x: Array,
    *,
    y: Array | None = None,
    loss: str | None = None,
    cotangent: Array | None = None,
) -> Answer:
    """By `Tensor.backward`, with the gradients of the pre-activations retained."""
    torch = import_module("torch")
    functional = torch.nn.functional

    def leaf(value: Array) -> Any:
        return torch.tensor(value, dtype=torch.float64, requires_grad=True)

    def cross_entropy(out: Any, target: Any, label_smoothing: float) -> Any:
        margins = out - out.gather(1, target[:, None])
        others = margins.scatter(1, target[:, None], -math.inf).logsumexp(1)
        return torch.logaddexp(others, torch.zeros_like(others)) - label_smoothing * margins.mean(1)

    named = (
        *("hardtanh", "relu", "relu6", "leaky_relu", "rrelu", "elu", "celu", "selu", "mish", "softplus"),
        *("hardswish", "logsigmoid", "softshrink", "hardshrink", "threshold"),
    )
    activations = {
        **{name: getattr(functional, name) for name in named},
        "prelu": lambda z, init: functional.prelu(z, weight=init),
        # torch's own has 1 / 6 in float32 on the way back.
        "hardsigmoid": lambda z: torch.clamp(z + 3, 0, 6) / 6,
        **shared(torch, torch.sigmoid, torch.tanh, torch.erf, torch.erfc),
    }
    losses: dict[str, Function] = {
        "mse": partial(functional.mse_loss, reduction="none"),
        "half_mse": lambda out, target: ((out - target) ** 2).sum(1) / 2,
        "mae": partial(functional.l1_loss, reduction="none"),
        "huber": partial(functional.huber_loss, reduction="none"),
        "cross_entropy": cross_entropy,
        "bce_with_logits": partial(functional.binary_cross_entropy_with_logits, reduction="none"),
        "hinge": lambda out, target: functional.relu(1 - target * out),
        "output_sum": lambda out, _: out.sum(1),
    }

    preactivations: dict[int, Any] = {}

    def seen(l: int, z: Any) -> Any:
        z.retain_grad()
        preactivations[l] = z
        return z

    library = Library(torch, activations, lambda w: torch.linalg.matrix_norm(w, 2))
    leaves, inputs = {name: leaf(value) for name, value in state.items()}, leaf(x)
    out = network(spec, library, leaves, inputs, seen)
    target = None if y is None else torch.tensor(y)
    value = (out * torch.tensor(cotangent)).sum() if loss is None else reduced(losses, loss, out, target)
    value.backward()

    def gradient(tensor: Any) -> Array:
        return np.zeros(tuple(tensor.shape)) if tensor.grad is None else tensor.grad.numpy()

    return Answer(
        {name: gradient(leaf) for name, leaf in leaves.items()},
        [gradient(preactivations[l]) for l in range(spec.depth)],
        gradient(inputs),
        None if loss is None else value.item(),
    )


def reference_gradients(
    spec: vg.MLP,
    state: State,
    x: Array,
    *,
    y: Array | None = None,
    loss: str | None = None,
    cotangent: Array | None = None,
) -> Answer:
    """By the package's own NumPy twin: no autograd, but the same question."""
    if loss is None:
        return Answer(*reference.backward(spec, state, x, np.asarray(cotangent)))
    return Answer(*reference.gradients(spec, state, x, y, loss))


RIVALS: list[Callable[..., Answer]] = [
    rival
    for library, rival in {"jax": jax_gradients, "torch": torch_gradients}.items()
    if importlib.util.find_spec(library)
]


# --- Activations in many digits ------------------------------------------------------------------

mp = mpmath.mp.clone()
mp.dps = 400  # 1 - tanh(350)^2 is 1e-304


def mp_elu(z: Any, alpha: float) -> Any:
    return z if z > 0 else alpha * mp.expm1(z)


def mp_gelu(z: Any) -> Any:
    return z * mp.erfc(-z / mp.sqrt(2)) / 2


# One call at least of every activation.
TRUTH: dict[str, Callable[[Any], Any]] = {
    "linear": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + mp.exp(-z)),
    "tanh": mp.tanh,
    "relu": lambda z: max(z, 0),
    "leaky_relu": lambda z: z if z > 0 else 0.01 * z,
    "leaky_relu(negative_slope=-0.3)": lambda z: z if z > 0 else -0.3 * z,
    "elu": lambda z: mp_elu(z, 1),
    "elu(alpha=1.7)": lambda z: mp_elu(z, 1.7),
    "selu": lambda z: 1.0507009873554805 * mp_elu(z, 1.6732632423543772),
    "gelu": mp_gelu,
    "gelu(approximate=tanh)": lambda z: z * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (z + 0.044715 * z**3))) / 2,
    "silu": lambda z: z / (1 + mp.exp(-z)),
    "softplus": lambda z: z if z > 20 else mp.log1p(mp.exp(z)),
    "softplus(beta=2, threshold=7)": lambda z: z if 2 * z > 7 else mp.log1p(mp.exp(2 * z)) / 2,
    "hardtanh(min_val=-1.2, max_val=0.5)": lambda z: min(max(z, mp.mpf(-1.2)), mp.mpf(0.5)),
    "relu6": lambda z: min(max(z, 0), 6),
    "prelu": lambda z: z if z > 0 else z / 4,
    "rrelu(lower=0.25, upper=0.5)": lambda z: z if z > 0 else 0.375 * z,
    "celu(alpha=0.5)": lambda z: z if z > 0 else mp.expm1(2 * z) / 2,
    "mish": lambda z: z * mp.tanh(mp.log1p(mp.exp(z))),
    "softsign": lambda z: z / (1 + abs(z)),
    "hardsigmoid": lambda z: min(max(z + 3, 0), 6) / 6,
    "hardswish": lambda z: z * min(max(z + 3, 0), 6) / 6,
    "logsigmoid": lambda z: -mp.log1p(mp.exp(-z)),
    "tanhshrink": lambda z: z - mp.tanh(z),
    "softshrink": lambda z: mp.sign(z) * max(abs(z) - mp.mpf(0.5), 0),
    "hardshrink": lambda z: z if abs(z) > 0.5 else 0 * z,
    "threshold(threshold=0.5, value=2)": lambda z: z if z > 0.5 else mp.mpf(2),
    "erf": mp.erf,
    "sin(omega=2)": lambda z: mp.sin(2 * z),
    "arctan": mp.atan,
    "abs": abs,
    "squareplus": lambda z: (z + mp.sqrt(z * z + 4)) / 2,
    "snake(alpha=2)": lambda z: z + mp.sin(2 * z) ** 2 / 2,
    "crelu": lambda z: max(z, 0),
    "glu": lambda z: 1 / (1 + mp.exp(-z)),
    "swiglu": lambda z: z / (1 + mp.exp(-z)),
    "geglu": mp_gelu,
}
