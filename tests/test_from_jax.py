"""Nets of JAX, flax and equinox: read, proved, or refused with a reason."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="nets of JAX need JAX")
import jax.numpy as jnp  # noqa: E402 (only where JAX is)

from vgcore.convert.imported import NonFinite, Refusal  # noqa: E402
from vgcore.convert.jax import from_jax  # noqa: E402
from vgcore.convert.jaxpr import Model, Recording, traced  # noqa: E402
from vgcore.convert.tape import Linear  # noqa: E402

Case = tuple[Any, ...]  # f, params, x
KEYS = jax.random.split(jax.random.key(20), 40)


def normal(number: int, *shape: int) -> Any:
    """Weights as wide as they are many, so that signals neither vanish nor explode."""
    return jax.random.normal(KEYS[number], shape) / np.sqrt(shape[0])


def weights(*widths: int, bias: bool = True) -> list[dict[str, Any]]:
    """Maps from each width to the next, `(in, out)`."""
    layers = []
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        layers.append({"w": normal(i, fan_in, fan_out)} | ({"b": 0.1 * normal(i + 20, fan_out)} if bias else {}))
    return layers


def plain(phi: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    def f(params: Any, x: Any) -> Any:
        for layer in params[:-1]:
            x = phi(x @ layer["w"] + layer["b"])
        return x @ params[-1]["w"] + params[-1]["b"]

    return f


X = np.zeros((2, 4), np.float32)
FOUR = weights(4, 6, 6, 6, 3)


# Functions


def of_one_sample() -> Case:
    def f(params: Any, x: Any) -> Any:
        for layer in params[:-1]:
            x = jnp.tanh(layer["w"].T @ x + layer["b"])
        return params[-1]["w"].T @ x

    return f, FOUR, np.zeros(4, np.float32)


def with_einsum() -> Case:
    def f(params: Any, x: Any) -> Any:
        x = jax.nn.elu(jnp.einsum("ni,io->no", x, params["a"]) + params["c"])
        return jnp.einsum("oi,ni->no", params["b"], x)

    return f, {"a": normal(0, 4, 5), "b": normal(1, 3, 5), "c": normal(2, 5)}, X


def with_dot_and_no_bias() -> Case:
    return lambda p, x: jnp.dot(jax.nn.silu(jnp.dot(x, p[0])), p[1]), (normal(0, 4, 6), normal(1, 6, 3)), X


def with_a_residual() -> Case:
    def f(params: Any, x: Any) -> Any:
        x = jnp.tanh(x @ params[0]["w"] + params[0]["b"])
        for layer in params[1:-1]:
            x = x + jnp.tanh(x @ layer["w"] + layer["b"])
        return x @ params[-1]["w"] + params[-1]["b"]

    return f, FOUR, X


def with_a_scaled_residual() -> Case:
    def f(params: Any, x: Any) -> Any:
        x = x @ params[0]["w"]
        for layer in params[1:-1]:
            x = x + 0.25 * jax.nn.relu(x @ layer["w"] + layer["b"])
        return x @ params[-1]["w"]

    return f, FOUR, X


def rezero() -> Case:
    def f(params: Any, x: Any) -> Any:
        x = jnp.tanh(x @ params["maps"][0]["w"])
        for layer, alpha in zip(params["maps"][1:-1], params["alphas"], strict=True):
            x = x + alpha * jnp.tanh(x @ layer["w"] + layer["b"])
        return x @ params["maps"][-1]["w"]

    return f, {"maps": FOUR, "alphas": [jnp.float32(0.3), jnp.float32(-0.2)]}, X


def dense() -> Case:
    def f(params: Any, x: Any) -> Any:
        for w in params[:-1]:
            x = jnp.concatenate([x, jax.nn.relu(x @ w)], axis=-1)
        return x @ params[-1]

    return f, [normal(0, 4, 6), normal(1, 10, 6), normal(2, 16, 3)], X


def gated() -> Case:
    return lambda p, x: jax.nn.glu(x @ p[0] + p[1]) @ p[2], (normal(0, 4, 12), normal(1, 12), normal(2, 6, 3)), X


def gated_by_two_maps() -> Case:
    return (
        lambda p, x: (jax.nn.silu(x @ p["gate"]) * (x @ p["up"])) @ p["down"],
        {"gate": normal(0, 4, 6), "up": normal(1, 4, 6), "down": normal(2, 6, 3)},
        X,
    )


def with_shared_weights() -> Case:
    def f(params: Any, x: Any) -> Any:
        turn = lambda _, h: jnp.tanh(h @ params["core"] + params["b"])  # noqa: E731 (as JAX's loops are written)
        return jax.lax.fori_loop(0, 3, turn, x) @ params["out"]

    return f, {"core": normal(1, 6, 6), "b": normal(2, 6), "out": normal(3, 6, 3)}, np.zeros((2, 6), np.float32)


def scanned_over_layers() -> Case:
    def f(params: Any, x: Any) -> Any:
        x = jnp.tanh(x @ params["in"])
        x, _ = jax.lax.scan(lambda h, p: (jnp.tanh(h @ p["w"] + p["b"]), None), x, params["stack"])
        return x @ params["out"]

    stack = {"w": jnp.stack([normal(i, 6, 6) for i in range(4)]), "b": jnp.stack([normal(i, 6) for i in range(4)])}
    return f, {"in": normal(5, 4, 6), "stack": stack, "out": normal(6, 6, 3)}, X


def of_a_closure() -> Case:
    first, second = normal(0, 4, 6), np.asarray(normal(1, 6, 3))
    return lambda x: jnp.sin(x @ first) @ second, None, X


def compiled() -> Case:
    return jax.jit(plain(jax.nn.gelu)), FOUR, X


def with_a_softmax_at_the_end() -> Case:
    return lambda p, x: jax.nn.softmax(plain(jnp.tanh)(p, x)), FOUR, X


def with_a_log_softmax_at_the_end() -> Case:
    return lambda p, x: jax.nn.log_softmax(plain(jnp.tanh)(p, x)), FOUR, X


def in_half_precision() -> Case:
    return plain(jnp.tanh), jax.tree.map(lambda a: a.astype(jnp.bfloat16), FOUR), X


def with_a_norm_written_out() -> Case:
    def norm(x: Any) -> Any:
        return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)

    def f(params: Any, x: Any) -> Any:
        for layer in params[:-1]:
            x = jax.nn.relu(norm(x @ layer["w"] + layer["b"]))
        return x @ params[-1]["w"]

    return f, FOUR, X


def with_its_own_activation() -> Case:
    return plain(lambda h: h * jax.nn.sigmoid(1.702 * h)), FOUR, X


def with_normalised_weights() -> Case:
    def f(params: Any, x: Any) -> Any:
        for p in params[:-1]:
            x = jnp.tanh(x @ (p["g"] * p["v"] / jnp.linalg.norm(p["v"], axis=0)))
        return x @ params[-1]["v"]

    sizes = ((4, 6), (6, 6), (6, 3))
    return f, [{"v": normal(i, *size), "g": 1 + 0.1 * normal(i + 9, size[1])} for i, size in enumerate(sizes)], X


# Modules


def linen(body: Callable[[Any, Any, Any], Any], **given: Any) -> Case:
    """A linen module whose call does what `body` does with `nn` and x."""
    pytest.importorskip("flax", reason="needs flax")
    from flax import linen as nn

    class Net(nn.Module):  # type: ignore[misc]  # flax may not be there
        @nn.compact  # type: ignore[untyped-decorator]
        def __call__(self, x: Any, train: bool = False) -> Any:
            return body(nn, x, train)

    net = Net(**given)
    return net, net.init(KEYS[0], jnp.zeros((2, 4))), None


def linen_plain() -> Case:
    return linen(lambda nn, x, _: nn.Dense(3)(nn.swish(nn.Dense(6)(nn.swish(nn.Dense(6)(x))))))


def linen_normed() -> Case:
    def body(nn: Any, x: Any, _train: bool) -> Any:
        for _ in range(3):
            x = nn.gelu(nn.LayerNorm()(nn.Dense(6)(x)))
        return nn.Dense(3)(x)

    return linen(body)


def linen_rms() -> Case:
    return linen(lambda nn, x, _: nn.Dense(3)(jnp.tanh(nn.RMSNorm()(nn.Dense(6)(x)))))


def linen_batch() -> Case:
    def body(nn: Any, x: Any, train: bool) -> Any:
        for _ in range(2):
            x = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Dense(6)(x)))
        return nn.Dense(3)(x)

    return linen(body)


def linen_dropped() -> Case:
    def body(nn: Any, x: Any, train: bool) -> Any:
        for _ in range(2):
            x = nn.Dropout(0.25, deterministic=not train)(nn.relu(nn.Dense(6)(x)))
        return nn.Dense(3)(x)

    return linen(body)


def linen_modern() -> Case:
    """Stem, blocks x + V phi(U LN(x)), norm, readout."""

    def body(nn: Any, x: Any, _train: bool) -> Any:
        x = nn.Dense(6)(x)
        for _ in range(3):
            x = x + nn.Dense(6)(nn.gelu(nn.Dense(24)(nn.LayerNorm()(x))))
        return nn.Dense(3)(nn.LayerNorm()(x))

    return linen(body)


def linen_in_float32() -> Case:
    return linen(lambda nn, x, _: nn.Dense(3, dtype=jnp.float32)(nn.tanh(nn.Dense(6, dtype=jnp.float32)(x))))


def nnx(build: Callable[[Any, Any], Any]) -> Case:
    """The nnx module that is built with `nnx` and its `Rngs`."""
    library = pytest.importorskip("flax.nnx", reason="needs flax")
    return build(library, library.Rngs(0)), None, None


def nnx_plain() -> Case:
    def build(nnx: Any, rngs: Any) -> Any:
        relu = lambda x: jax.nn.leaky_relu(x)  # noqa: E731, PLW0108 (nnx takes functions as modules)
        return nnx.Sequential(
            nnx.Linear(4, 6, rngs=rngs), relu, nnx.Linear(6, 6, rngs=rngs), relu, nnx.Linear(6, 3, rngs=rngs)
        )

    return nnx(build)


def nnx_normed() -> Case:
    def build(nnx: Any, rngs: Any) -> Any:
        maps = [nnx.Linear(4, 6, rngs=rngs), nnx.Linear(6, 6, rngs=rngs)]
        between = [[nnx.LayerNorm(6, rngs=rngs), jnp.tanh, nnx.Dropout(0.1, rngs=rngs)] for _ in maps]
        parts = [part for m, rest in zip(maps, between, strict=True) for part in (m, *rest)]
        return nnx.Sequential(*parts, nnx.Linear(6, 3, rngs=rngs))

    return nnx(build)


def nnx_batch() -> Case:
    return nnx(
        lambda nnx, rngs: nnx.Sequential(
            nnx.Linear(4, 6, rngs=rngs), nnx.BatchNorm(6, rngs=rngs), jax.nn.relu, nnx.Linear(6, 3, rngs=rngs)
        )
    )


def equinox(build: Callable[[Any, Any], Any]) -> Case:
    eqx = pytest.importorskip("equinox", reason="needs equinox")
    return build(eqx, KEYS[0]), None, None


def equinox_mlp() -> Case:
    return equinox(lambda eqx, key: eqx.nn.MLP(4, 3, 6, 3, activation=jax.nn.softplus, key=key))


def equinox_sequential() -> Case:
    def build(eqx: Any, key: Any) -> Any:
        a, b = jax.random.split(key)
        parts = [eqx.nn.Linear(4, 6, key=a), eqx.nn.LayerNorm(6), eqx.nn.Lambda(jax.nn.relu), eqx.nn.Dropout(0.5)]
        return eqx.nn.Sequential([*parts, eqx.nn.Linear(6, 3, use_bias=False, key=b)])

    return equinox(build)


ACCEPTED: dict[Callable[[], Case], dict[str, Any]] = {
    of_one_sample: {"depth": 3, "width": 6, "activation": "tanh", "in_features": 4, "out_features": 3},
    with_einsum: {"depth": 1, "width": 5, "activation": "elu"},
    with_dot_and_no_bias: {"depth": 1, "activation": "silu", "bias": False},
    with_a_residual: {"depth": 3, "skip": "residual", "stem": 1},
    with_a_scaled_residual: {"skip": "residual", "branch_scale": 0.25},
    rezero: {"skip": "rezero"},
    dense: {"skip": "dense"},
    gated: {"activation": "glu"},
    gated_by_two_maps: {"activation": "swiglu"},
    with_shared_weights: {"tied": True, "depth": 3},
    scanned_over_layers: {"depth": 5},
    of_a_closure: {"activation": "sin"},
    compiled: {"activation": "gelu(approximate=tanh)"},
    with_a_softmax_at_the_end: {"activation": "tanh", "out_features": 3},
    with_a_log_softmax_at_the_end: {"activation": "tanh", "out_features": 3},
    in_half_precision: {"activation": "tanh"},
    with_a_norm_written_out: {"norm": "layer", "norm_position": "pre"},
    with_its_own_activation: {},
    with_normalised_weights: {"activation": "tanh", "bias": False},
    linen_plain: {"depth": 2, "activation": "silu"},
    linen_normed: {"depth": 3, "norm": "layer(eps=0.000001)", "activation": "gelu(approximate=tanh)"},
    linen_rms: {"norm": "rms(eps=0.000001)"},
    linen_batch: {"norm": "batch", "activation": "relu"},
    linen_dropped: {"dropout": 0.25},
    linen_modern: {"depth": 7, "stem": 1, "block": 2, "norm_position": "input", "final_norm": "layer(eps=0.000001)"},
    linen_in_float32: {"activation": "tanh"},
    nnx_plain: {"activation": "leaky_relu", "depth": 2},
    nnx_normed: {"norm": "layer(eps=0.000001)", "dropout": 0.1},
    nnx_batch: {"norm": "batch"},
    equinox_mlp: {"depth": 3, "activation": "softplus(threshold=700)"},
    equinox_sequential: {"norm": "layer", "activation": "relu", "dropout": 0.5},
}


# Refused


def two(f: Callable[[Any, Any, Any], Any], x: Any = X) -> Case:
    """A function of x and two square matrices."""
    size = x.shape[-1]
    return lambda p, x: f(x, *p), (normal(0, size, size), normal(1, size, size)), x


SEQUENCE = np.zeros((2, 5, 4), np.float32)


@jax.custom_vjp  # type: ignore[untyped-decorator]  # jax may not be there
def squashed(x: Any) -> Any:
    return jnp.tanh(x)


squashed.defvjp(lambda x: (jnp.tanh(x), x), lambda _, g: (0.5 * g,))


@jax.custom_jvp  # type: ignore[untyped-decorator]
def straight(x: Any) -> Any:
    return jnp.tanh(x)


straight.defjvp(lambda x, dx: (straight(x[0]), dx[0]))


def recurrent(x: Any, a: Any, b: Any) -> Any:
    step = lambda h, row: (jnp.tanh(row @ a + h @ b), None)  # noqa: E731 (as scans are written)
    return jax.lax.scan(step, jnp.zeros((len(x), 4)), x.swapaxes(0, 1))[0]


def until(x: Any, a: Any, b: Any) -> Any:
    return jax.lax.while_loop(lambda h: (h**2).sum() > 1, lambda h: 0.5 * jnp.tanh(h @ a), x) @ b


def of_large_batches(x: Any, a: Any, b: Any) -> Any:
    return jnp.tanh(x @ a) @ b if len(x) > 9 else x @ a @ b


def linen_module(make: Callable[[Any], Any], x: Any) -> Case:
    nn = pytest.importorskip("flax.linen", reason="needs flax")
    net = make(nn)
    return net, net.init(KEYS[0], x), x


def equinox_of(make: Callable[[Any, Any], Any], x: Any) -> Case:
    return (*equinox(make)[:2], x)


NOISE = jax.random.key(3)

#: The case, and where in the refusal stand its path, operation and reason.
REFUSED: dict[str, tuple[Callable[[], Case], str, str, str]] = {
    "a product of two rows of the batch": (
        lambda: two(lambda x, a, b: jax.nn.softmax((x @ a) @ (x @ b).T) @ x),
        *("test_from_jax.py", "dot_general", "both depend on the input"),
    ),
    "a map of each position": (
        lambda: two(lambda x, a, b: jnp.tanh(x @ a) @ b, SEQUENCE),
        "",
        "dot_general",
        "one of several axes",
    ),
    "a matrix for each position": (
        lambda: (lambda p, x: jnp.einsum("nti,tio->nto", x, p), normal(0, 5, 4, 3), SEQUENCE),
        *("", "dot_general", "a matrix for each position"),
    ),
    "a recurrent net": (lambda: two(recurrent, SEQUENCE), "test_from_jax.py", "scan", "along an axis of the input"),
    "a branch on the data": (
        lambda: (lambda p, x: jax.lax.cond(x[0] > 0, lambda: x @ p[0], lambda: x @ p[1]), [normal(0, 4, 4)] * 2, X[0]),
        *("test_from_jax.py", "", ""),
    ),
    "a loop that ends by the data": (lambda: two(until), "test_from_jax.py", "while", "depends on the data"),
    "a sort": (lambda: two(lambda x, a, b: jnp.sort(x @ a) @ b), "test_from_jax.py", "sort", "it sorts"),
    "an argmax": (lambda: two(lambda x, a, b: a[jnp.argmax(x @ b, axis=-1)]), "", "argmax", "an index has no gradient"),
    "the largest few": (
        lambda: two(lambda x, a, b: jax.lax.top_k(x @ a, 2)[0] @ b[:2]),
        "",
        "top_k",
        "by their values",
    ),
    "random noise": (
        lambda: two(lambda x, a, b: jnp.tanh(x @ a + 0.1 * jax.random.normal(NOISE, (4,))) @ b),
        *("test_from_jax.py", "add", "random numbers"),
    ),
    "dropout by hand": (
        lambda: two(lambda x, a, b: jnp.where(jax.random.bernoulli(NOISE, 0.5, (4,)), jnp.tanh(x @ a), 0) @ b),
        *("test_from_jax.py", "select_n", "random numbers"),
    ),
    "a softmax over the batch": (
        lambda: two(lambda x, a, b: jax.nn.softmax(x @ a, axis=0) @ b),
        *("test_from_jax.py", "over the batch", ""),
    ),
    "the mean of everything": (
        lambda: two(lambda x, a, b: (x @ a - x.mean()) @ b),
        "",
        "reduce_sum",
        "it mixes samples",
    ),
    "features by an index": (
        lambda: two(lambda x, a, b: (x @ a)[:, jnp.array([0, 2, 1, 3])] @ b),
        "",
        "gather",
        "by an index",
    ),
    "some of the features": (lambda: two(lambda x, a, b: jnp.tanh(x @ a)[:, ::2] @ b[:2]), "", "slice", ""),
    "the features turned around": (
        lambda: two(lambda x, a, b: (x @ a)[:, ::-1] @ b),
        "",
        "rev",
        "order of the features",
    ),
    "the features in another order": (
        lambda: two(lambda x, a, b: (x @ a).reshape(-1, 2, 2).swapaxes(1, 2).reshape(-1, 4) @ b),
        *("test_from_jax.py", "reshape", "another order"),
    ),
    "the largest of each pair": (
        lambda: two(lambda x, a, b: (x @ a).reshape(-1, 2, 2).max(-1) @ b[:2]),
        *("test_from_jax.py", "reduce_max", "some features"),
    ),
    "a stopped gradient": (
        lambda: two(lambda x, a, b: jax.lax.stop_gradient(jnp.tanh(x @ a)) @ b),
        *("test_from_jax.py", "stop_gradient", "gradients are stopped"),
    ),
    "a gradient of its own": (
        lambda: two(lambda x, a, b: squashed(x @ a) @ b),
        *("test_from_jax.py", "custom_vjp_call", "author's own"),
    ),
    "a tangent of its own": (lambda: two(lambda x, a, b: straight(x @ a) @ b), "", "dL/dx", "a rule of its own"),
    "a branch on the batch": (lambda: two(of_large_batches), "", "outputs", "a branch on the shape of the batch"),
    "complex numbers": (lambda: two(lambda x, a, b: jnp.fft.fft(x @ a).real @ b), "", "", "complex numbers"),
    "integers": (
        lambda: two(lambda x, a, b: a[x] @ b, np.zeros((2, 4), np.int32)),
        "",
        "an input of int32",
        "integers name",
    ),
    "two outputs": (lambda: two(lambda x, a, b: (x @ a, x @ b)), "", "2 outputs", "a net here has one"),
    "no output of x": (lambda: two(lambda _, a, b: a @ b), "", "the output", "does not depend on x"),
    "one output of a batch": (lambda: two(lambda x, a, b: ((x @ a) @ b).sum()), "", "reduce_sum", "mixes samples"),
    "a product of two branches": (
        lambda: two(lambda x, a, b: jnp.tanh(x @ a) * jnp.sin(x @ b)),
        "",
        "mul",
        "it joins 2 ways",
    ),
    "no map at all": (lambda: two(lambda x, *_: jnp.tanh(x)), "", "the model", "no linear map"),
    "a running sum": (lambda: two(lambda x, a, b: jnp.cumsum(x @ a, axis=1) @ b), "", "cumsum", "those before it"),
    "padding": (lambda: two(lambda x, a, b: jnp.pad((x @ a)[:, :2], ((0, 0), (1, 1))) @ b), "", "pad", "pads a sample"),
    "a column of ones": (
        lambda: two(lambda x, a, b: jnp.concatenate([x @ a[:, :3], jnp.ones((len(x), 1))], axis=1) @ b),
        *("test_from_jax.py", "concatenate", "constants beside the features"),
    ),
    "a slope a feature": (
        lambda: (lambda p, x: jnp.where((h := x @ p[0]) > 0, h, p[1] * h) @ p[0], (normal(0, 4, 4), normal(1, 4)), X),
        *("", "", "feature"),
    ),
    "a softmax between layers": (lambda: two(lambda x, a, b: jax.nn.softmax(x @ a) @ b), "test_from_jax.py", "", ""),
    "a convolution of linen": (
        lambda: linen_module(lambda nn: nn.Sequential([nn.Conv(3, (3,)), nn.Dense(2)]), SEQUENCE),
        *("layers_0", "conv_general_dilated", "convolution"),
    ),
    "attention of linen": (
        lambda: linen_module(lambda nn: nn.MultiHeadDotProductAttention(2), SEQUENCE),
        *("MultiHeadDotProductAttention", "dot_general", "one of several axes"),
    ),
    "a norm of groups": (
        lambda: linen_module(lambda nn: nn.Sequential([nn.Dense(8), nn.GroupNorm(2), nn.Dense(3)]), X),
        *("layers_1", "reduce_sum", "some features"),
    ),
    "a convolution of equinox": (
        lambda: equinox_of(lambda eqx, key: eqx.nn.Conv1d(4, 3, 2, key=key), np.zeros((2, 4, 5), np.float32)),
        *("Conv", "conv_general_dilated", "convolution"),
    ),
}


REFUSED |= {
    "a slope a feature": (lambda: sloped(jnp.full(4, 0.25)), "", "", "a number a feature"),
    "features times features": (
        lambda: two(lambda x, a, b: (x[:, :, None] * x[:, None, :]).reshape(len(x), -1) @ jnp.tile(a, (4, 1)) @ b),
        *("test_from_jax.py", "mul", "an outer product"),
    ),
}


@jax.custom_jvp  # type: ignore[untyped-decorator]
def steep(x: Any) -> Any:
    return jnp.tanh(x)


steep.defjvp(lambda primals, tangents: (steep(*primals), 1.05 * (1 - jnp.tanh(primals[0]) ** 2) * tangents[0]))


@jax.custom_jvp  # type: ignore[untyped-decorator]
def proper(x: Any) -> Any:
    return jnp.tanh(x)


proper.defjvp(lambda primals, tangents: (proper(*primals), (1 - jnp.tanh(primals[0]) ** 2) * tangents[0]))


def sloped(slope: Any) -> Case:
    """A net whose slope for negative values is a parameter."""
    params = {"a": normal(0, 4, 4), "b": normal(1, 4, 4), "slope": slope}
    return (lambda p, x: jax.nn.leaky_relu(x @ p["a"], p["slope"]) @ p["b"]), params, X


def cast(phi: Callable[[Any], Any], dtype: Any) -> Case:
    """A net that computes its activation in another type, in a loop over its layers."""
    layers = jnp.stack([normal(i, 4, 4) for i in range(3)])

    def f(params: Any, x: Any) -> Any:
        def step(h: Any, w: Any) -> Any:
            return phi((h @ w).astype(dtype)).astype(h.dtype), None

        return jax.lax.scan(step, x, params)[0]

    return f, layers, X


# Tests


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32, jnp.bfloat16, jnp.float16])
def test_a_gradient_of_its_own_that_is_off_is_refused_in_every_type(dtype: Any) -> None:
    with pytest.raises(Refusal, match="a rule of its own for gradients"):
        from_jax(*cast(steep, dtype))
    found = from_jax(*cast(proper, dtype))
    assert (found.spec.activation, found.spec.depth) == ("tanh", 3)


def test_a_slope_that_learns_is_that_of_a_prelu() -> None:
    assert from_jax(*sloped(jnp.full((), 0.5))).spec.activation == "prelu(init=0.5)"
    assert from_jax(*sloped(0.5)).spec.activation == "leaky_relu(negative_slope=0.5)"


def test_a_parameter_without_a_gradient_is_marked_as_stopped() -> None:
    stop = jax.lax.stop_gradient

    def stopped(f: Callable[..., Any]) -> list[bool]:
        leaves, shape = [normal(0, 4, 4), normal(1, 4), normal(2, 4, 3)], (4,)
        with jax.enable_x64(True):
            model = Model(lambda leaves, x: f(x, *leaves), leaves, ["a", "b", "c"])
            tape = Recording(model, shape, traced(model, shape, per_sample=False), per_sample=False).tape()
        return [op.stopped for op in tape.ops if isinstance(op, Linear)]

    assert stopped(lambda x, a, b, c: jnp.tanh(x @ a + b) @ c) == [False, False]
    assert stopped(lambda x, a, b, c: jnp.tanh(x @ stop(a) + b) @ c) == [True, False]
    assert stopped(lambda x, a, b, c: jnp.tanh(x @ stop(a).T + b) @ c) == [True, False]
    assert stopped(lambda x, a, b, c: jnp.tanh(x @ a + stop(b)) @ c) == [True, False]
    assert stopped(lambda x, a, b, c: jnp.tanh(x @ a + b) @ (c * stop(c))) == [False, False]


def test_a_function_of_one_sample_that_takes_a_batch_too_is_told_apart_by_x() -> None:
    def f(params: Any, x: Any) -> Any:
        h = x @ params[0]
        return jnp.tanh((h - h.mean()) / jnp.sqrt(h.var() + 1e-5)) @ params[1]

    params = [normal(0, 4, 4), normal(1, 4, 4)]
    with pytest.raises(Refusal, match=r"mixes samples.*one sample as x"):
        from_jax(f, params)
    assert from_jax(f, params, np.zeros(4, np.float32)).spec.norm == "layer"


def test_nothing_of_a_net_is_kept_after_it_is_read() -> None:
    a, b = normal(0, 4, 6), normal(1, 6, 3)

    class Function:
        def __call__(self, x: Any) -> Any:
            return jnp.tanh(x @ a) @ b

    f = Function()
    gone = weakref.ref(f)
    from_jax(f, None, X)
    del f
    jax.clear_caches()
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.__name__)
def test_a_net_is_read_as_what_it_is(case: Callable[[], Case]) -> None:
    """The proof against the user's function is part of reading it."""
    found = from_jax(*case())
    spec = found.spec.to_dict()
    expected = ACCEPTED[case]
    assert {name: spec[name] for name in expected} == expected


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_equal_is_refused_with_place_operation_and_reason(name: str) -> None:
    make, path, operation, reason = REFUSED[name]
    with pytest.raises(Refusal) as caught:
        from_jax(*make())
    found = caught.value
    assert path in found.path
    assert operation in found.operation
    assert reason in found.reason


@pytest.mark.parametrize(
    "case", [with_a_residual, of_a_closure, of_one_sample, equinox_mlp], ids=lambda case: case.__name__
)
def test_outputs_are_those_that_the_user_gets_in_float32(case: Callable[[], Case]) -> None:
    f, params, x = case()
    rows = np.random.default_rng(1).standard_normal((7, 4)).astype(np.float32)
    network = from_jax(f, params, x).network
    call = f if params is None else lambda x: f(params, x)
    batched = case in {with_a_residual, of_a_closure}
    theirs = np.asarray(call(rows) if batched else jax.vmap(call)(rows))
    np.testing.assert_allclose(network.forward(rows), theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def test_a_batch_normalisation_is_that_of_training() -> None:
    net, variables, _ = linen_batch()
    rows = np.random.default_rng(1).standard_normal((7, 4)).astype(np.float32)
    found = from_jax(net, variables)
    theirs, _ = net.apply(variables, rows, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(found.network.forward(rows), theirs, rtol=0, atol=1e-5)
    assert any("running ones are dropped" in note for note in found.notes)
    alone = from_jax(net, variables["params"]).network  # no statistics are needed
    np.testing.assert_array_equal(alone.forward(rows), found.network.forward(rows))


def test_a_net_is_left_as_it_was() -> None:
    library = pytest.importorskip("flax.nnx", reason="needs flax")
    net, _, _ = nnx_batch()
    before = jax.tree.map(np.array, library.to_pure_dict(library.state(net)))
    from_jax(net)
    jax.tree.map(np.testing.assert_array_equal, before, library.to_pure_dict(library.state(net)))
    assert not net.layers[1].use_running_average


def test_reading_leaves_the_precision_of_jax_alone() -> None:
    from_jax(*of_a_closure())
    assert jnp.ones(1).dtype == np.float32
    assert not jax.config.jax_enable_x64


def test_the_width_of_samples_is_found_where_one_fits() -> None:
    assert from_jax(plain(jnp.tanh), FOUR).spec.in_features == 4
    with pytest.raises(ValueError, match="x must be given"):
        from_jax(lambda x: x @ np.eye(4))
    with pytest.raises(ValueError, match="4 or 6 features"):
        from_jax(lambda _, x: x - x.mean(axis=1, keepdims=True), normal(0, 4, 6))


def test_a_sample_of_two_axes_is_flattened_as_the_net_does() -> None:
    params = [normal(0, 12, 5), normal(1, 5, 3)]
    found = from_jax(
        lambda p, x: jnp.tanh(x.reshape(len(x), -1) @ p[0]) @ p[1], params, np.zeros((2, 3, 4), np.float32)
    )
    assert (found.spec.in_features, found.spec.width) == (12, 5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named_in_the_order_of_the_net(bad: float) -> None:
    params = {"b": normal(0, 4, 6), "a": normal(1, 6, 3), "fine": normal(2, 3, 3)}
    params = {name: value if name == "fine" else value.at[0, :2].set(bad) for name, value in params.items()}
    with pytest.raises(NonFinite) as caught:
        from_jax(lambda p, x: jnp.tanh(x @ p["b"]) @ p["a"] @ p["fine"], params, X)
    nan, inf = (2, 0) if np.isnan(bad) else (0, 2)
    assert list(caught.value.tensors.items()) == [("b", ((4, 6), nan, inf, 24)), ("a", ((6, 3), nan, inf, 18))]


def test_a_wrong_argument_is_said() -> None:
    with pytest.raises(TypeError, match="f must be a function or a module of flax or equinox"):
        from_jax(3)
    with pytest.raises(TypeError, match="holds its parameters"):
        from_jax(equinox_mlp()[0], {})
    with pytest.raises(TypeError, match="variables that init gave"):
        from_jax(linen_plain()[0])
    with pytest.raises(ValueError, match=r"takes no x of shape \(2, 7\)"):
        from_jax(plain(jnp.tanh), FOUR, np.zeros((2, 7)))


def test_fresh_nets_are_named_by_the_default_init_of_their_library() -> None:
    def deep(nn: Any, x: Any, _train: bool) -> Any:
        for _ in range(3):
            x = nn.tanh(nn.Dense(64)(x))
        return nn.Dense(10)(x)

    # Normal, cut at two standard deviations and widened to variance 1 / fan_in again.
    lecun = {"variance_scaling", "he_normal(gain=0.7071067811865476)"}  # two names of one law
    assert from_jax(*linen(deep)).init in lecun
    wide = nnx(
        lambda nnx, rngs: nnx.Sequential(
            nnx.Linear(20, 64, rngs=rngs),
            jnp.tanh,
            nnx.Linear(64, 64, rngs=rngs),
            jnp.tanh,
            nnx.Linear(64, 10, rngs=rngs),
        )
    )
    assert from_jax(*wide).init in lecun
    # Weights and biases uniform up to 1 / sqrt(fan_in).
    assert from_jax(*equinox(lambda eqx, key: eqx.nn.MLP(20, 10, 64, 3, key=key))).init == "torch_default"
