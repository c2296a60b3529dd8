"""Source of a net in other frameworks: it builds the same function, and draws the same laws."""

import ast
import contextlib
import importlib.util
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given

import vgcore as vg
from strategies import over_examples, specs
from vgcore.convert.source import LINES, WIDE, source
from vgcore.model.plan import Plan

Array = npt.NDArray[Any]
State = dict[str, Array]
FRAMEWORKS = ("torch", "keras", "flax")
os.environ.setdefault("KERAS_BACKEND", "jax")

DEEP: dict[str, Any] = {"depth": 6, "width": 8, "in_features": 5, "out_features": 3}
NETS: dict[str, dict[str, Any]] = {
    "plain": {},
    "U(-1, 1) / sqrt(fan)": {"init": "torch_default"},
    "glorot_uniform": {"init": "glorot_uniform", "activation": "tanh"},
    "lecun_normal, truncated": {"init": "variance_scaling"},
    "no readout": {"out_features": None},
    "widths": {"depth": 4, "width": [16, 8, 8, 4]},
    **{
        f"norm {kind} {place}": {"norm": kind, "norm_position": place} for kind in vg.NORMS for place in ("pre", "post")
    },
    "another eps": {"norm": "layer(eps=0.01)"},
    **{
        f"sum {order}": {"skip": f"residual(order={order})", "block": 2, "in_features": 8, "norm": "layer"}
        for order in ("after", "linear", "post", "pre")
    },
    "first block without a skip": {"skip": "residual", "block": 2},
    "scaled branches": {"skip": "residual", "branch_scale": "1/sqrt(L)", "in_features": 8},
    "learned branches": {"skip": "rezero(alpha=0.5)", "in_features": 8, "branch_scale": 0.7},
    "learned branches from 0": {"skip": "rezero(order=pre)", "in_features": 8},
    "gates": {"skip": "highway(gate_bias=-2, gate_gain=0.5)", "in_features": 8, "init": "orthogonal"},
    "gates of U(-1, 1) / sqrt(fan)": {"skip": "highway", "in_features": 8, "init": "torch_default"},
    "side by side": {"skip": "dense", "depth": 4},
    "zeros at the end of branches": {"skip": "residual(order=linear)", "block": 2, "in_features": 8, "init": "fixup"},
    "standardised weights": {"weight_transform": "weight_standardization(gain=1.5, eps=0.1)"},
    "spectral norm": {"weight_transform": "spectral_norm(gain=1.5)", "init": "xavier_normal"},
    "tied": {"tied": True, "in_features": 8, "norm": "layer"},
    "tied, with ends of their own": {
        "tied": True,
        "in_features": 8,
        "out_features": 8,
        "norm": "rms",
        "final_norm": "rms",
    },
    "tied branches": {"tied": True, "in_features": 8, "skip": "residual(order=linear)", "block": 2},
    "biases": {"bias": "normal(std=0.1)"},
    "edge of chaos": {"activation": "tanh", "init": "critical(sigma_b=0.3)"},
    "two inits": {"init": ["kaiming_normal"] * 6 + ["normal(std=0.01)"]},
    "no biases": {"bias": False},
    "some biases": {"bias": ["zeros"] * 5 + [False] + ["zeros"]},
    "dropout": {"dropout": 0.5},
    "pre-norm blocks": {
        "depth": 1 + 2 * 3,
        "stem": 1,
        "block": 2,
        "width": [8, 16, 8],
        "activation": ["linear", "gelu", "gelu"],
        "norm": [None, "layer", None],
        "norm_position": "input",
        "skip": "residual(order=linear)",
        "final_norm": "rms",
    },
    "alternating": {"activation": ["tanh", "relu"] * 3},
}
LISTS: dict[str, list[str]] = {
    "input half-way": ["keep(x)", *["linear(8)", "relu"] * 3, "concat(x)", *["linear(8)", "relu"] * 2, "linear(3)"],
    "projections": ["keep(a)", "linear(8)", "tanh", "linear(6)", "project(a, 0.5)", "gelu", "linear(3)"],
    "ways within ways": [
        *("linear(8)", "keep(a)", "layer", "linear(8)", "keep(b)", "linear(8)", "silu", "add(b, 0.3)", "linear(8)"),
        *("rezero(a)", "rms", "dropout(0.1)", "linear(3)"),
    ],
    "long ways within ways": [
        *("linear(8)", "keep(a)", "linear(8)", "keep(b)", *["linear(8)", "tanh"] * 6, "add(b)", "linear(8)", "add(a)"),
        "linear(3)",
    ],
}
#: Activations with parameters of their own.
GIVEN = {
    "hardtanh": "hardtanh(min_val=-0.5, max_val=2)",
    "leaky_relu": "leaky_relu(0.2)",
    "prelu": "prelu(0.1)",
    "elu": "elu(1.5)",
    "celu": "celu(0.5)",
    "gelu": "gelu(tanh)",
    "softplus": "softplus(beta=2, threshold=1)",
    "softshrink": "softshrink(0.1)",
    "hardshrink": "hardshrink(0.1)",
    "threshold": "threshold(threshold=0.1, value=-0.5)",
    "sin": "sin(30)",
    "squareplus": "squareplus(1)",
    "snake": "snake(0.5)",
    "geglu": "geglu(tanh)",
}
ACTIVATIONS = [name for name in vg.ACTIVATIONS if name != "threshold"] + list(GIVEN.values())
CALLS = {"constant": "constant(0.1)", "sparse": "sparse(0.5, std=1)"}
WRITTEN = [name for name in vg.INITS if name not in {"lsuv", "looks_linear"}]
INITS = [
    *(CALLS.get(name, name) for name in WRITTEN),
    *("kaiming_uniform(a=0.5)", "kaiming_normal(mode=fan_out)", "kaiming_normal(nonlinearity=tanh)"),
    *("xavier_normal(gain=2)", "orthogonal(gain=1.5)", "uniform(a=-0.5, b=0.2)", "normal(mean=0.5, std=0.1)"),
    *("trunc_normal(std=0.5, a=-1, b=1)", "variance_scaling(scale=3, mode=fan_avg, distribution=uniform)"),
    *("mean_field(sigma_w=1.5, sigma_b=0.1)", "variance_scaling(mode=fan_out, distribution=untruncated_normal)"),
]


def net(name: str) -> vg.MLP:
    return vg.MLP(**DEEP | NETS[name])


def built(text: str, framework: str) -> Any:
    """The model that a snippet builds."""
    pytest.importorskip(framework, reason=f"{framework} is not installed")
    names: dict[str, Any] = {}
    exec(compile(text, "<snippet>", "exec"), names)
    return names["model"]


def written(spec: vg.MLP | vg.Sequential, framework: str) -> str | None:
    """The source of a spec; None where there is none, which is said in words."""
    try:
        return source(spec, framework)
    except ValueError as refusal:
        words = str(refusal)
    assert re.match(r"no source for|this net takes \d+ lines", words), words
    return None


def of(state: State, *modules: str) -> Iterator[tuple[str, Array, Array | None]]:
    """The tensors of modules in the order of a state dict: name, weight and bias."""
    for key, value in state.items():
        module, _, leaf = key.rpartition(".")
        if leaf == "weight" and module.split(".")[0] in modules:
            yield module, value, state.get(f"{module}.bias")


MAPS = ("layers", "gates", "projections", "readout")


# Each puts a state into a model, and gives a function of x and a cotangent: outputs, dx and gradients by the names of
# the state. The models are in training, but for dropout.


def in_torch(model: Any, state: State) -> Callable[[Array, Array], tuple[Array, Array, State]]:
    import torch
    from torch import nn

    model.double().train()
    tensors: dict[str, Any] = {}

    def fill(kind: Any, *modules: str) -> None:
        own = [module for module in model.modules() if isinstance(module, kind)]
        for module, (name, weight, bias) in zip(own, of(state, *modules), strict=True):
            for leaf, value in (("weight", weight), ("bias", bias)):
                if value is not None:
                    parameter = getattr(module, leaf)
                    assert parameter.shape == value.shape
                    parameter.data = torch.tensor(value)
                    tensors[f"{name}.{leaf}"] = parameter

    fill(nn.Linear, *MAPS)
    fill((nn.LayerNorm, nn.RMSNorm, nn.BatchNorm1d), "norms", "final_norm")
    fill(nn.PReLU, "activations")
    alphas = [module for module in model.modules() if hasattr(module, "alpha") and isinstance(module, nn.Sequential)]
    for module, (name, value, _) in zip(alphas, of(state, "skips"), strict=True):
        assert module.alpha.shape == value.shape
        module.alpha.data = torch.tensor(value)
        tensors[f"{name}.weight"] = module.alpha
    assert len(list(model.parameters())) == len(tensors) == len(state)

    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
        if isinstance(module, nn.Hardsigmoid):  # which has 1 / 6 in float32 on the way back
            module.forward = lambda z: torch.clamp(z + 3, 0, 6) / 6

    def numbers(x: Array, cotangent: Array) -> tuple[Array, Array, State]:
        given = torch.tensor(x, requires_grad=True)
        y = model(given)
        y.backward(torch.tensor(cotangent))
        slopes = {key: np.zeros_like(state[key]) if t.grad is None else t.grad.numpy() for key, t in tensors.items()}
        return y.detach().numpy(), given.grad.numpy(), slopes

    return numbers


def in_flax(model: Any, state: State) -> Callable[[Array, Array], tuple[Array, Array, State]]:
    import jax
    import jax.numpy as jnp
    from flax import nnx

    tensors: dict[str, Any] = {}
    found: dict[str, list[Any]] = {"maps": [], "norms": [], "slopes": [], "factors": []}

    def add(sort: str, module: Any) -> None:
        if not any(module is other for other in found[sort]):
            found[sort].append(module)

    def visit(module: Any) -> None:
        if isinstance(module, nnx.Linear):
            add("maps", module)
        elif isinstance(module, nnx.LayerNorm | nnx.RMSNorm | nnx.BatchNorm):
            add("norms", module)
        elif isinstance(module, nnx.PReLU):
            add("slopes", module)
        elif isinstance(module, nnx.Dropout):
            module.deterministic = True
        elif isinstance(module, nnx.Sequential):
            for layer in module.layers:
                visit(layer)
            if hasattr(module, "alpha"):
                add("factors", module.alpha)
        elif hasattr(module, "gate"):
            visit(module.branch)
            visit(module.gate)

    visit(model)

    def put(name: str, parameter: Any, value: Array) -> None:
        assert parameter[...].shape == value.shape, name
        parameter.set_value(jnp.asarray(value))
        tensors[name] = parameter

    for module, (name, weight, bias) in zip(found["maps"], of(state, *MAPS), strict=True):
        put(f"{name}.weight", module.kernel, weight.T)
        if bias is not None:
            put(f"{name}.bias", module.bias, bias)
    for module, (name, weight, bias) in zip(found["norms"], of(state, "norms", "final_norm"), strict=True):
        put(f"{name}.weight", module.scale, weight)
        if bias is not None:
            put(f"{name}.bias", module.bias, bias)
        if isinstance(module, nnx.BatchNorm):
            for statistic in (module.mean, module.var):
                statistic.set_value(jnp.asarray(statistic[...], dtype=jnp.float64))
    for module, (name, value, _) in zip(found["slopes"], of(state, "activations"), strict=True):
        module.negative_slope.set_value(jnp.asarray(value[0]))
        tensors[f"{name}.weight"] = module.negative_slope
    for alpha, (name, value, _) in zip(found["factors"], of(state, "skips"), strict=True):
        put(f"{name}.weight", alpha, value)
    assert len(tensors) == len(state)

    def numbers(x: Array, cotangent: Array) -> tuple[Array, Array, State]:
        graph, *states = nnx.split(model, nnx.Param, ...)
        parameters, rest = states

        def f(parameters: Any, x: Any) -> Any:
            return nnx.merge(graph, parameters, rest, copy=True)(x)

        y, back = jax.vjp(f, parameters, jnp.asarray(x))
        slopes, dx = back(jnp.asarray(cotangent))
        nnx.update(model, slopes)
        own = {key: np.asarray(t[...]) for key, t in tensors.items()}
        turned = {
            key: value.T if key.startswith(MAPS) else value.reshape(state[key].shape) for key, value in own.items()
        }
        return np.asarray(y), np.asarray(dx), turned

    return numbers


def in_keras(model: Any, state: State) -> Callable[[Array, Array], tuple[Array, Array, State]]:
    import jax
    import jax.numpy as jnp
    import keras
    from keras import layers

    def made(layer: Any) -> int:
        number = re.search(r"_(\d+)$", layer.name)
        return int(number[1]) if number else 0

    def all_of(*kinds: Any) -> list[Any]:
        return sorted((layer for layer in model.layers if isinstance(layer, kinds)), key=made)

    tensors: dict[str, Any] = {}

    def put(name: str, variable: Any, value: Array) -> None:
        assert variable.shape == value.shape, name
        variable.assign(value)
        tensors[name] = variable

    for layer, (name, weight, bias) in zip(all_of(layers.Dense), of(state, *MAPS), strict=True):
        put(f"{name}.weight", layer.kernel, weight.T)
        if bias is not None:
            put(f"{name}.bias", layer.bias, bias)
    kinds = layers.LayerNormalization, layers.BatchNormalization, layers.RMSNormalization
    norms = [layer for layer in model.layers if isinstance(layer, kinds)]  # of several counts of names
    for layer, (name, weight, bias) in zip(norms, of(state, "norms", "final_norm"), strict=True):
        put(f"{name}.weight", layer.scale if bias is None else layer.gamma, weight)
        if bias is not None:
            put(f"{name}.bias", layer.beta, bias)
    for layer, (name, value, _) in zip(all_of(layers.PReLU), of(state, "activations"), strict=True):
        put(f"{name}.weight", layer.alpha, value)
    scales = sorted((layer for layer in model.layers if type(layer).__name__.startswith("Scale")), key=made)
    for layer, (name, value, _) in zip(scales, of(state, "skips"), strict=True):
        put(f"{name}.weight", layer.alpha, value)
    assert len(tensors) == len(state) == len(model.trainable_variables)
    keys = {id(variable): key for key, variable in tensors.items()}
    drops = any(isinstance(layer, layers.Dropout) for layer in model.layers)

    def numbers(x: Array, cotangent: Array) -> tuple[Array, Array, State]:
        own = [variable.value for variable in model.trainable_variables]
        still = [variable.value for variable in model.non_trainable_variables]

        def f(own: Any, x: Any) -> Any:
            return model.stateless_call(own, still, x, training=not drops)[0]

        y, back = jax.vjp(f, own, jnp.asarray(x))
        slopes, dx = back(jnp.asarray(cotangent))
        named = {keys[id(v)]: np.asarray(s) for v, s in zip(model.trainable_variables, slopes, strict=True)}
        turned = {key: value.T if key.startswith(MAPS) else value for key, value in named.items()}
        return np.asarray(y), np.asarray(dx), turned

    assert keras.backend.backend() == "jax"
    return numbers


POUR = {"torch": in_torch, "flax": in_flax, "keras": in_keras}
#: Some operations of Keras are in float32, whatever they are given.
TOLERANCE = {"torch": 1e-10, "flax": 1e-10, "keras": 2e-5}
#: What errors of gradients are measured against at least, in the largest of all: that of a bias may be 0.
LEAST = {"torch": 1e-3, "flax": 1e-3, "keras": 1.0}


def away(a: Array, b: Array, size: float) -> float:
    """The largest difference, in units of size."""
    assert a.shape == b.shape
    return float(np.abs(a - b).max(initial=0.0)) / (size or 1.0)  # where all is 0, as it is


def holds(spec: vg.MLP | vg.Sequential, framework: str, text: str, seed: int = 0) -> None:
    """The model of a snippet gives what the net does: outputs and all gradients."""
    drawn = spec.init(seed, dtype="float64")
    rng = np.random.default_rng(seed)
    # What starts from 0 or 1 would hide where it stands.
    state = {key: value + 0.1 * rng.standard_normal(value.shape) for key, value in drawn.state_dict().items()}
    own = vg.Network.from_state_dict(spec, state)
    plan = Plan.of(spec)
    x, cotangent = rng.standard_normal((9, plan.columns)), rng.standard_normal((9, plan.outputs))
    with pytest.importorskip("jax").enable_x64(True) if framework == "flax" else contextlib.nullcontext():
        y, dx, slopes = POUR[framework](built(text, framework), state)(x, cotangent)
    expected = own.backward(x, cotangent)
    tolerance = TOLERANCE[framework]
    assert away(y, own.forward(x), np.abs(own.forward(x)).max()) < tolerance
    assert away(dx, expected.input, np.abs(expected.input).max()) < tolerance
    assert slopes.keys() == expected.parameters.keys()
    largest = max(float(np.abs(slope).max()) for slope in expected.parameters.values())
    for key, slope in expected.parameters.items():
        size = max(float(np.abs(slope).max()), LEAST[framework] * largest)
        assert away(slopes[key], slope, size) < tolerance, key


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", NETS)
def test_a_snippet_computes_what_the_net_does(name: str, framework: str) -> None:
    holds(net(name), framework, source(net(name), framework))


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_parts_is_written(name: str, framework: str) -> None:
    spec = vg.Sequential(LISTS[name], in_features=5, init="lecun_normal")
    holds(spec, framework, source(spec, framework))


def test_learned_factors_start_where_the_spec_says() -> None:
    spec = net("learned branches")
    for framework, start in (
        ("torch", "torch.full((1,), 0.5)"),
        ("flax", "jnp.full(1, 0.5)"),
        ("keras", "Constant(0.5)"),
    ):
        assert start in source(spec, framework)
        assert "0.7 * " in source(spec, framework)


def test_ways_around_that_cross_are_refused() -> None:
    parts = ["keep(a)", "linear(5)", "keep(b)", "linear(5)", "add(a)", "linear(5)", "add(b)"]
    with pytest.raises(ValueError, match=r"no source for ways around that cross.*to_torch"):
        source(vg.Sequential(parts, in_features=5), "torch")


def test_dropout_stands_before_a_skip_joins_and_drops_its_share_in_training() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    spec = vg.MLP(depth=1, width=64, in_features=64, activation="linear", skip="residual", init="eye", dropout=0.25)
    model = built(source(spec, "torch"), "torch")
    given, counts = np.unique(model(torch.ones(500, 64)).detach().numpy().round(5), return_counts=True)
    np.testing.assert_allclose(given, [1, 1 + 1 / 0.75], rtol=1e-5)
    assert abs(counts[0] / counts.sum() - 0.25) < 0.02


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_written(activation: str, framework: str) -> None:
    # Numbers of a wide range, so that bends far from 0 count; waves of 30 would be noise in float32.
    init = "normal(std=0.1)" if activation == "sin(30)" else "normal(std=2)"
    spec = vg.MLP(depth=1, width=8, in_features=4, out_features=3, activation=activation, init=init)
    holds(spec, framework, source(spec, framework))


@pytest.mark.parametrize("framework", ["torch", "flax"])
@over_examples
@given(spec=specs())
def test_any_net_is_written_or_refused_in_words(spec: vg.MLP, framework: str) -> None:
    if (text := written(spec, framework)) is not None:
        holds(spec, framework, text)


# What weights are drawn from.


def weights_of(model: Any, framework: str) -> list[tuple[Array, Array | None]]:
    """The maps of a model without gates, input side first, as (out, in)."""
    if framework == "torch":
        own = [module for module in model.modules() if hasattr(module, "in_features")]
        return [(m.weight.detach().numpy(), None if m.bias is None else m.bias.detach().numpy()) for m in own]
    if framework == "flax":
        own = [module for module in model.layers if hasattr(module, "kernel")]
        return [(np.asarray(m.kernel[...]).T, None if m.bias is None else np.asarray(m.bias[...])) for m in own]
    own = [layer for layer in model.layers if hasattr(layer, "kernel")]
    return [(np.asarray(m.kernel.value).T, None if m.bias is None else np.asarray(m.bias.value)) for m in own]


def tensors(net: vg.Network) -> tuple[list[Array], list[Array]]:
    """Weights and biases of the maps, input side first."""
    maps = list(of(net.state_dict(), "layers", "readout"))
    return [weight for _, weight, _ in maps], [bias for _, _, bias in maps if bias is not None]


def apart(a: Array, b: Array) -> float:
    """The largest distance of two empirical distribution functions, in units of its size under one law.

    Above 2.7 it is by chance once in a million times (Smirnov 1939).
    """
    values = np.concatenate([a.ravel(), b.ravel()])
    counts = [np.searchsorted(np.sort(each.ravel()), values, side="right") / each.size for each in (a, b)]
    return float(np.abs(counts[0] - counts[1]).max() * math.sqrt(a.size * b.size / (a.size + b.size)))


def alike(drawn: Array, expected: Array) -> None:
    """Both tensors are of one law."""
    if np.ptp(expected) == 0:
        np.testing.assert_allclose(drawn, expected, rtol=1e-6)
        return
    std, count = float(expected.std()), expected.size
    # Of any law here the fourth moment is below 9 std^4, or of a share of zeros, which the distance below sees.
    assert abs(drawn.mean() - expected.mean()) < 5 * std * math.sqrt(2 / count)
    assert abs(drawn.std() / std - 1) < 10 * math.sqrt(2 / count)
    # Rounding apart.
    assert apart(np.round(drawn, 6), np.round(expected, 6)) < 2.7


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("init", INITS)
def test_weights_are_drawn_from_the_law_of_the_spec(init: str, framework: str) -> None:
    spec = vg.MLP(depth=3, width=64, in_features=48, out_features=96, activation="tanh", init=init)
    text = written(spec, framework)
    if text is None:
        assert init in {"torch": {"eye"}, "keras": {CALLS["sparse"], "trunc_normal(std=0.5, a=-1, b=1)"}}.get(
            framework, {CALLS["sparse"]}
        )
        return
    seeded = {"torch": "torch.manual_seed(0)", "keras": "keras.utils.set_random_seed(0)", "flax": ""}[framework]
    model = built(f"import {framework}\n{seeded}\n{text}", framework)
    expected = spec.init(seed=1)
    maps = weights_of(model, framework)
    for (weight, bias), w, b in zip(maps, *tensors(expected), strict=True):
        assert weight.shape == w.shape
        assert bias is not None
        alike(weight, w)
        alike(bias, b)
        if "orthogonal" in init:
            gram, ours = ((m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m) for m in (weight, w))
            np.testing.assert_allclose(gram, ours, atol=1e-5)
    if np.ptp(maps[1][0]) > 0 and init != "eye":  # initializers of Keras repeat themselves
        assert not np.array_equal(maps[1][0], maps[2][0])


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("bias", ["ones", "normal(std=0.1)", "uniform(a=-1, b=1)", "torch_default", "constant(-2)"])
def test_biases_are_drawn_from_the_law_of_the_spec(bias: str, framework: str) -> None:
    spec = vg.MLP(depth=2, width=512, in_features=8, out_features=256, bias=bias, init="normal(std=0.1)")
    model = built(source(spec, framework), framework)
    for (weight, drawn), w, b in zip(weights_of(model, framework), *tensors(spec.init(seed=1)), strict=True):
        assert drawn is not None
        alike(weight, w)
        alike(drawn, b)


# What the text is, wherever it runs.


def lines_of(text: str) -> int:
    return sum(map(bool, text.splitlines()))


def checked(text: str, framework: str) -> None:
    """A short text that parses, imports its framework alone, and names nothing of others' own."""
    assert lines_of(text) <= LINES
    assert max(map(len, text.splitlines())) <= WIDE
    tree = ast.parse(text)
    imported = {
        alias.name.split(".")[0] if isinstance(node, ast.Import) else str(node.module).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    allowed = {"torch": {"torch"}, "keras": {"keras"}, "flax": {"flax", "jax"}}[framework]
    assert imported - {"functools"} <= allowed
    assert imported & allowed
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not {name for name in attributes if name.startswith("_")} - {"__init__", "__call__"}
    assert "vgcore" not in text


@pytest.mark.parametrize("framework", FRAMEWORKS)
@over_examples
@given(spec=specs())
def test_a_snippet_is_short_and_stands_by_itself(spec: vg.MLP, framework: str) -> None:
    if (text := written(spec, framework)) is not None:
        checked(text, framework)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_snippets_of_the_table_have_nothing_that_ruff_finds(framework: str, tmp_path: Path) -> None:
    specs = [net(name) for name in NETS] + [vg.MLP(depth=1, width=4, activation=name) for name in ACTIVATIONS]
    for number, spec in enumerate(specs):
        text = source(spec, framework)
        checked(text, framework)
        (tmp_path / f"{number}.py").write_text(text + "\n")
    if importlib.util.find_spec("ruff") is None:
        pytest.skip("ruff is not installed")
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--quiet", "--select=E,F,I,B", "--line-length=100"]
    done = subprocess.run([*ruff, str(tmp_path)], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


# Advice as code.


@pytest.fixture(scope="module")
def advised() -> vg.Advised:
    """A net on bytes, some columns of which do not vary."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (64, 8)).astype(float)
    x[:, 3] = 0
    spec = vg.MLP(depth=12, width=16, in_features=8, out_features=2, activation="tanh", init="normal(std=0.25)")
    return vg.advise(spec, x=x, y=rng.integers(0, 2, 64))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_advice_is_code_of_the_changed_net_and_of_what_is_done_to_the_data(advised: vg.Advised, framework: str) -> None:
    assert any(advice.data for advice in advised)
    for advice in advised:
        text = advice.code(framework)
        checked(text, framework)
        assert isinstance(advice.spec, vg.MLP)
        assert text.startswith(source(advice.spec, framework))
        behind = text[len(source(advice.spec, framework)) :].strip()
        assert bool(behind) == bool(advice.data)
        if not advice.data:
            continue
        assert advised.before.probe is not None
        assert advice.x is not None
        given: dict[str, Any] = {"x": np.array(advised.before.probe.x)}
        if framework == "torch":
            torch = pytest.importorskip("torch", reason="torch is not installed")
            given["x"] = torch.tensor(given["x"])
        exec(behind, given)
        np.testing.assert_allclose(np.asarray(given["x"]), advice.x, atol=1e-12)


def test_advice_for_an_unknown_framework_is_refused_with_the_nearest(advised: vg.Advised) -> None:
    with pytest.raises(ValueError, match=r"torhc.*torch"):
        advised[0].code("torhc")
