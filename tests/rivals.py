"""Gradients by the autograd of other libraries, in float64, and the error they are compared by.

A rival writes the network in its own library and differentiates it there. Where the derivative of a
library loses its digits in saturation (1 - y^2 of tanh, 1 + erf of gelu, p - 1 of cross-entropy),
the same function is spelled so that autograd keeps them. Slopes at kinks are torch's.
"""

import importlib.util
import math
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import vgcore as vg
from vgcore import reference

Array = npt.NDArray[Any]
State = dict[str, Array]
Function = Callable[..., Any]


class Answer(NamedTuple):
    """Gradients of one problem, input side first; the readout is last in `weights` and `biases`."""

    weights: list[Array]
    biases: list[Array]
    preactivations: list[Array]
    input: Array
    loss: float | None


def error(measured: Any, expected: Any) -> float:
    """The largest |a - b|_F / |b|_F over gradients and loss; inf where shapes differ."""

    def parts(answer: Any) -> Iterator[Array]:
        yield from (*answer.weights, *answer.biases, *answer.preactivations, answer.input)
        if answer.loss is not None:
            yield np.array(answer.loss)

    def relative(a: Array, b: Array) -> float:
        # Below the floor a plain backward pass has met subnormal numbers, which have fewer digits.
        return float(np.linalg.norm(a - b)) / max(float(np.linalg.norm(b)), 1e-290)

    pairs = zip(parts(measured), parts(expected), strict=True)
    return max(relative(a, b) if a.shape == b.shape else math.inf for a, b in pairs)


def tensors(spec: vg.MLP, state: State, suffix: str) -> list[Array]:
    """Weights or biases of a state dict, input side first, the readout last."""
    modules = [f"layers.{l}" for l in range(spec.depth)]
    modules += [] if spec.out_features is None else ["readout"]
    return [state[f"{module}.{suffix}"] for module in modules]


def network(spec: vg.MLP, activations: dict[str, Function], affine: Function, x: Any) -> Any:
    """The output in any array library; `affine(i, h)` is the i-th affine map, the readout last."""
    kinds: Any = spec.activation
    kinds = [kinds] * spec.depth if isinstance(kinds, str) else kinds
    blocks = spec.depth // spec.block
    scale = blocks**-0.5 if spec.branch_scale == "1/sqrt(L)" else spec.branch_scale
    h = entry = x
    for l, kind in enumerate(map(vg.Activation, kinds)):
        h = activations[kind.name](affine(l, h), **kind.params)
        if spec.skip == "residual" and (l + 1) % spec.block == 0:
            entry = h = entry + scale * h if entry.shape == h.shape else h
    return h if spec.out_features is None else affine(spec.depth, h)


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
        return where(z > 0, z + root, b / (root + abs(z))) / 2

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
    jax.config.update("jax_enable_x64", True)
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
    }

    def objective(weights: Any, biases: Any, nudges: Any, x: Any) -> Any:
        def affine(i: int, h: Any) -> Any:
            z = h @ weights[i].T + biases[i]
            return z + nudges[i] if i < spec.depth else z

        out = network(spec, activations, affine, x)
        return (out * cotangent).sum() if loss is None else reduced(losses, loss, out, y)

    weights = [jnp.asarray(value) for value in tensors(spec, state, "weight")]
    biases = [jnp.asarray(value) for value in tensors(spec, state, "bias")]
    nudges = [jnp.zeros((len(x), len(bias))) for bias in biases[: spec.depth]]
    differentiate = jax.jit(jax.value_and_grad(objective, argnums=(0, 1, 2, 3)))
    value, gradients = differentiate(weights, biases, nudges, jnp.asarray(x))
    dw, db, dz, dx = jax.tree.map(np.asarray, gradients)
    return Answer(dw, db, dz, dx, None if loss is None else float(value))


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
        *("hardsigmoid", "hardswish", "logsigmoid", "softshrink", "hardshrink", "threshold"),
    )
    activations = {
        **{name: getattr(functional, name) for name in named},
        "prelu": lambda z, init: functional.leaky_relu(z, negative_slope=init),
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
    }

    weights = [leaf(value) for value in tensors(spec, state, "weight")]
    biases = [leaf(value) for value in tensors(spec, state, "bias")]
    preactivations = []

    def affine(i: int, h: Any) -> Any:
        z = functional.linear(h, weights[i], biases[i])
        z.retain_grad()
        preactivations.append(z)
        return z

    inputs = leaf(x)
    out = network(spec, activations, affine, inputs)
    value = (out * torch.tensor(cotangent)).sum() if loss is None else reduced(losses, loss, out, torch.tensor(y))
    value.backward()

    def gradients(tensors: list[Any]) -> list[Array]:
        return [tensor.grad.numpy() for tensor in tensors]

    return Answer(
        gradients(weights),
        gradients(biases),
        gradients(preactivations[: spec.depth]),
        inputs.grad.numpy(),
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
    return Answer(*reference.gradients(spec, state, x, np.asarray(y), loss))


RIVALS: list[Callable[..., Answer]] = [
    rival
    for library, rival in {"jax": jax_gradients, "torch": torch_gradients}.items()
    if importlib.util.find_spec(library)
]
