"""The init that weights look like is the one that they were drawn from, or one of the same law on these shapes."""

from __future__ import annotations

import math
import os
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from vgcore.convert import infer
from vgcore.model.plan import Map, Plan

#: Inits that need a number, with one.
CALLS = {
    "constant": "constant(0.3)",
    "uniform": "uniform(a=-0.1, b=0.1)",
    "normal": "normal(std=0.04)",
    "trunc_normal": "trunc_normal(std=0.02)",
    "sparse": "sparse(0.3)",
    "mean_field": "mean_field(sigma_w=2)",
}


def spec(init: str, width: int = 64, **fields: Any) -> vg.MLP:
    name = init.partition("(")[0]
    if name in {"fixup", "depth_mup"}:
        fields = {"skip": "residual", "block": 2} | fields
    fields = {"activation": "crelu" if name == "looks_linear" else "tanh"} | fields
    return vg.MLP(depth=4, width=width, in_features=24, out_features=4, init=init, **fields)


def maps(of: vg.MLP) -> list[Map]:
    plan = Plan.of(of)
    return [*(layer.map for layer in plan.layers), *([plan.readout] if plan.readout else [])]


@pytest.mark.parametrize("width", [16, 64, 256])
@pytest.mark.parametrize("name", [name for name in vg.INITS if name != "lsuv"])
def test_a_fresh_net_is_named_by_an_init_of_the_same_law(name: str, width: int) -> None:
    drawn = spec(CALLS.get(name, name), width)
    for seed in range(3):
        found = vg.infer_init(drawn.init(seed=seed))
        assert isinstance(found, str)
        for ours, true in zip(maps(drawn.replace(init=found)), maps(drawn), strict=True):
            # A normal that is cut at 100 standard deviations is one that is not.
            assert ours.law == true.law or {ours.law, true.law} == {"normal", "truncated_normal"}
            assert math.isclose(
                ours.weight_mean, true.weight_mean, rel_tol=0.05, abs_tol=0.05 * true.weight_variance**0.5
            )
            assert math.isclose(ours.weight_variance, true.weight_variance, rel_tol=0.1)


@pytest.mark.parametrize(
    "init",
    [
        *("torch_default", "xavier_uniform", "kaiming_normal", "kaiming_uniform", "he_normal", "glorot_normal"),
        *("variance_scaling", "orthogonal", "fixup", "mup", "zeros", "eye", "looks_linear", "lecun_normal"),
    ],
)
def test_common_inits_are_named_by_their_own_names(init: str) -> None:
    assert vg.infer_init(spec(init).init(seed=5)) == init


def test_orthogonal_layers_of_many_gains_are_named_one_by_one() -> None:
    found = vg.infer_init(spec("lsuv").init(seed=0))
    assert isinstance(found, tuple)
    assert all(str(each).startswith("orthogonal") for each in found)
    assert spec("zeros").replace(init=list(found)).init


def test_a_readout_of_zeros_is_named_by_itself() -> None:
    mixed = spec("xavier_uniform").replace(init=["xavier_uniform"] * 4 + ["zeros"])
    assert vg.infer_init(mixed.init(seed=2)) == ("xavier_uniform",) * 4 + ("zeros",)


def test_weights_that_no_init_draws_have_no_name() -> None:
    net = spec("zeros")
    state = net.init().state_dict()
    draw = np.random.default_rng(0)
    heavy = {k: draw.standard_t(3, v.shape) if v.ndim == 2 else v for k, v in state.items()}
    assert vg.infer_init(vg.Network.from_state_dict(net, heavy)) is None


def test_a_trained_net_has_no_name_where_training_moved_it() -> None:
    x = np.random.default_rng(0).standard_normal((256, 24))
    y = (x[:, 0] > 0).astype(np.int64)
    run = vg.train(spec("kaiming_normal"), x=x, y=y, steps=200, optimizer=vg.Adam(lr=0.05), seeds=1)
    found = vg.infer_init(run.network)
    assert found is None or None in found


@pytest.mark.parametrize("skip", ["residual", "rezero", "highway", "dense"])
def test_ways_around_do_not_hide_an_init(skip: str) -> None:
    drawn = vg.MLP(depth=4, width=32, in_features=32, out_features=4, skip=skip, norm="layer", init="kaiming_normal")
    assert vg.infer_init(drawn.init(seed=1)) == "kaiming_normal"


def test_a_tied_net_and_a_list_of_parts_are_named_too() -> None:
    assert vg.infer_init(vg.MLP(depth=5, width=48, tied=True, init="he_normal").init(seed=1)) == "he_normal"
    parts = vg.Sequential(
        ["linear(32)", "tanh", "keep(a)", "linear(32)", "tanh", "add(a)", "linear(2)"],
        in_features=20,
        init="torch_default",
    )
    assert vg.infer_init(parts.init(seed=1)) == "torch_default"


# --- Fresh nets of frameworks ----------------------------------------------------------------------

SIZES = (20, 64, 64, 3)


def network(weights: list[Any], biases: list[Any]) -> vg.Network:
    """A net of float32 arrays, `(out, in)`."""
    net = vg.MLP(depth=2, width=64, in_features=20, out_features=3)
    names = ("layers.0", "layers.1", "readout")
    state = {f"{name}.weight": np.asarray(w, np.float32) for name, w in zip(names, weights, strict=True)}
    state |= {f"{name}.bias": np.asarray(b, np.float32) for name, b in zip(names, biases, strict=True)}
    return vg.Network.from_state_dict(net, state)


def test_torch_linear_is_torch_default() -> None:
    torch = pytest.importorskip("torch", reason="the default of torch.nn.Linear is asked of torch")
    layers = [torch.nn.Linear(fan_in, fan_out) for fan_in, fan_out in pairwise(SIZES)]
    found = network([each.weight.detach().numpy() for each in layers], [each.bias.detach().numpy() for each in layers])
    assert vg.infer_init(found) == "torch_default"


@pytest.mark.parametrize("init", ["he_normal", "he_uniform", "glorot_normal", "lecun_normal", "orthogonal", None])
def test_keras_dense_is_its_initializer(init: str | None) -> None:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    pytest.importorskip("jax", reason="Keras runs on JAX here")
    keras = pytest.importorskip("keras", reason="the initializers of Keras are asked of Keras")
    fields = {} if init is None else {"kernel_initializer": init}
    model = keras.Sequential([keras.Input((20,)), *(keras.layers.Dense(size, **fields) for size in SIZES[1:])])
    arrays = [np.asarray(each.value) for each in model.weights]
    names = {None: "xavier_uniform", "he_uniform": "kaiming_uniform", "lecun_normal": "variance_scaling"}
    assert vg.infer_init(network([w.T for w in arrays[::2]], arrays[1::2])) == names.get(init, init)


def test_flax_is_a_truncated_normal_of_the_fan_in() -> None:
    jax = pytest.importorskip("jax", reason="flax runs on JAX")
    nn = pytest.importorskip("flax.linen", reason="the default of flax.linen.Dense is asked of flax")
    net = nn.Sequential([nn.Dense(size) for size in SIZES[1:]])
    found = net.init(jax.random.key(0), np.zeros((1, 20), np.float32))["params"]
    layers = [found[f"layers_{k}"] for k in range(3)]
    assert (
        vg.infer_init(network([each["kernel"].T for each in layers], [each["bias"] for each in layers]))
        == "variance_scaling"
    )


def test_equinox_is_torch_default() -> None:
    jax = pytest.importorskip("jax", reason="equinox runs on JAX")
    equinox = pytest.importorskip("equinox", reason="the default of equinox.nn.Linear is asked of equinox")
    net = equinox.nn.MLP(20, 3, 64, 2, key=jax.random.key(0))
    assert (
        vg.infer_init(network([each.weight for each in net.layers], [each.bias for each in net.layers]))
        == "torch_default"
    )


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic"])
def test_sklearn_is_xavier_uniform(activation: str) -> None:
    neural = pytest.importorskip(
        "sklearn.neural_network", reason="the default of MLPRegressor is asked of scikit-learn"
    )
    draw = np.random.default_rng(0)
    net = neural.MLPRegressor(
        hidden_layer_sizes=(64, 64), activation=activation, random_state=0, learning_rate_init=1e-12
    )
    net.partial_fit(draw.standard_normal((50, 20)), draw.standard_normal((50, 3)))
    gain = "(gain=0.5773502691896258)" if activation == "logistic" else ""
    assert vg.infer_init(network([w.T for w in net.coefs_], net.intercepts_)) == f"xavier_uniform{gain}"


def test_maps_that_pass_alone_do_not_pass_together_if_their_size_grows() -> None:
    spec = vg.MLP(depth=200, width=4, in_features=4)
    draw = np.random.default_rng(0)
    state = {
        name: draw.normal(0, 0.5 + i / 400, array.shape) if array.ndim == 2 else array
        for i, (name, array) in enumerate(spec.init(seed=0).state_dict().items())
    }
    assert not isinstance(vg.infer_init(vg.Network.from_state_dict(spec, state)), str)


def test_a_deep_net_that_looks_like_no_init_is_seen_to_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    of = Plan.of

    def counted(spec: vg.MLP) -> Plan:
        made.append(str(spec.init))
        return of(spec)

    monkeypatch.setattr(Plan, "of", counted)
    spec = vg.MLP(depth=30, width=8, in_features=8)
    state = {name: array**3 for name, array in spec.init(seed=0).state_dict().items()}
    vg.infer_init(vg.Network.from_state_dict(spec, state))
    assert len(made) < 3 * len(infer._NAMED)  # a walk through the net for each init, not for each map too
