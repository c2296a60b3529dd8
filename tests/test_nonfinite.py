"""Weights that are not finite: what is concluded of them is what was done to them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import vgcore as vg
from vgcore.convert.imported import NonFinite
from vgcore.judge.nonfinite import NONFINITE_RULES, of_error

Array = NDArray[np.float32]
State = dict[str, Array]

RNG = np.random.default_rng(1)
X = RNG.standard_normal((32, 8)).astype(np.float32)
Y = RNG.standard_normal((32, 3)).astype(np.float32)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def drawn(depth: int = 4, width: int = 16, *, scale: float = 1.0) -> State:
    """Weights of a net of so many hidden layers, He's times a scale."""
    rng, sizes, state = np.random.default_rng(0), [8, *[width] * depth, 3], {}
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        state[f"layers.{i}.weight"] = (scale * np.sqrt(2 / a) * rng.standard_normal((b, a))).astype(np.float32)
        state[f"layers.{i}.bias"] = np.zeros(b, np.float32)
    return state


def mse(outputs: Array) -> Array:
    return (2 * (outputs - Y) / Y.size).astype(np.float32)


def gradients(state: State, x: Array, cotangent: Callable[[Array], Array] = mse, *, kind: str = "relu") -> State:
    """Backpropagation as frameworks do it: relu hands nan on, and back a mask picks and multiplies nothing."""
    count, inputs, zs, h = len(state) // 2, list[Array](), list[Array](), x
    for i in range(count):
        inputs.append(h)
        zs.append(h @ state[f"layers.{i}.weight"].T + state[f"layers.{i}.bias"])
        h = zs[-1] if i == count - 1 else np.maximum(zs[-1], 0) if kind == "relu" else np.tanh(zs[-1])
    delta, found = cotangent(h), State()
    for i in reversed(range(count)):
        if i < count - 1:
            delta = np.where(zs[i] <= 0, np.float32(0), delta) if kind == "relu" else delta * (1 - np.tanh(zs[i]) ** 2)
        found |= {f"layers.{i}.weight": delta.T @ inputs[i], f"layers.{i}.bias": delta.sum(axis=0)}
        delta = delta @ state[f"layers.{i}.weight"]
    return {name: found[name] for name in state}


def clipped(grads: State, most: float) -> State:
    """By one norm of all, as torch, optax and Keras do it: all are multiplied, also by nan and by 0."""
    total = np.sqrt(sum((g**2).sum() for g in grads.values()))
    coef = np.float32(most) / (total + np.float32(1e-6))
    return {name: g * (coef if not coef > 1 else np.float32(1)) for name, g in grads.items()}


def sgd(state: State, grads: State, lr: float = 0.1) -> State:
    return {name: state[name] - np.float32(lr) * grads[name] for name in state}


def adam(state: State, grads: State, lr: float = 0.001) -> State:
    """Its first step, in which m/(1 - b1) = g and v/(1 - b2) = g^2."""
    return {name: state[name] - np.float32(lr) * g / (np.sqrt(g * g) + np.float32(1e-8)) for name, g in grads.items()}


def rules(subject: Any) -> list[str]:
    d = vg.diagnose(subject)
    assert (d.verdict, d.word, d.conditions, d.direction) == ("non-finite", "non-finite", ("non-finite",), None)
    assert d.findings[0].rule == "weights_not_finite"
    return [finding.rule for finding in d.findings[1:]]


def evidence(subject: Any, rule: str) -> str:
    found: list[str] = [finding.evidence for finding in vg.diagnose(subject).findings if finding.rule == rule]
    return found[0]


def nowhere(outputs: Array) -> Array:
    return np.full_like(outputs, np.nan)


def in_one_sample(outputs: Array) -> Array:
    return np.where(np.arange(len(outputs))[:, None] == 0, np.float32(np.nan), mse(outputs))


# What every tensor tells


def test_a_loss_that_is_nan_makes_nan_of_every_tensor() -> None:
    state = drawn()
    broken = sgd(state, gradients(state, X, nowhere, kind="tanh"))
    assert all(np.isnan(tensor).all() for tensor in broken.values())
    assert rules(broken) == ["every_tensor"]
    assert "the loss was nan or infinite, or the one norm that all gradients are clipped by" in evidence(
        broken, "every_tensor"
    )


def test_units_that_were_off_keep_their_rows_unless_all_is_clipped_by_one_norm() -> None:
    state = drawn()
    grads = gradients(state, X, in_one_sample)
    assert all(np.isnan(g).any() and not np.isnan(g).all() for g in list(grads.values())[:-2])
    assert "units that were off kept their rows" in evidence(sgd(state, grads), "every_tensor")
    assert "nan throughout" in evidence(sgd(state, clipped(grads, 1.0)), "every_tensor")


def test_training_here_stops_before_the_step_that_breaks_and_keeps_what_is_finite() -> None:
    spec = vg.MLP(depth=4, width=16, in_features=8, out_features=3)
    run = vg.train(spec, X, Y, loss="mse", optimizer=vg.SGD(lr=1e4), steps=20)
    assert run.stopped_by == ("non_finite",)
    assert vg.diagnose(run.network).verdict != "non-finite"
    for clip in (None, vg.Clip(max_norm=1.0)):
        finite = vg.train(spec, X, Y, loss="mse", optimizer=vg.SGD(lr=1e-2), clip=clip, steps=20)
        assert vg.diagnose(finite.network).verdict == "healthy"


def test_two_steps_of_a_rate_far_too_large_leave_nothing_to_tell() -> None:
    state = drawn()
    for _ in range(4):
        state = sgd(state, gradients(state, X), lr=1e4)
    assert rules(state) == ["every_tensor"]
    assert "Of the second bad step on all is nan whatever was nan first" in str(vg.diagnose(state, explain=True))


@pytest.mark.parametrize("frozen", [("layers.0", "layers.1"), ("layers.2",), ("layers.4",)])
def test_tensors_that_are_frozen_stay_finite_and_are_named(frozen: tuple[str, ...]) -> None:
    state = drawn()
    grads = gradients(state, X, nowhere, kind="tanh")
    broken = sgd(state, {name: g * 0 if np.isfinite(g).all() else g for name, g in grads.items()})
    broken |= {name: tensor for name, tensor in state.items() if name.startswith(frozen)}
    if frozen == (
        "layers.4",
    ):  # A readout that is frozen looks as if dL/dz had exploded, which the rule says of itself.
        assert rules(broken) == ["overflow_on_the_way_back"]
        assert "frozen look so too" in str(vg.diagnose(broken, explain=True))
    else:
        assert rules(broken) == ["untouched_tensors"]
        assert f"{frozen[0]}.weight, {frozen[0]}.bias" in evidence(broken, "untouched_tensors")


# What place tells


@pytest.mark.parametrize("step", [sgd, adam])
def test_gradients_that_overflow_on_their_way_back_break_the_input_side_alone(step: Callable[..., State]) -> None:
    state = drawn(60, scale=4.5)
    grads = gradients(state, X * np.float32(1e-30))
    assert np.isfinite(grads["layers.60.weight"]).all()
    assert not np.isfinite(grads["layers.0.weight"]).any()
    broken = step(state, grads)
    assert "overflow_on_the_way_back" in rules(broken)
    first = next(name for name, tensor in broken.items() if np.isfinite(tensor).all())
    assert f"on its way back, before {first}" in evidence(broken, "overflow_on_the_way_back")
    # Clipped by one norm, which is nan then, nothing of this is left.
    assert rules(step(state, clipped(grads, 1.0))) == ["every_tensor"]


def test_weights_are_judged_by_rows_where_some_units_alone_were_nan() -> None:
    state = drawn(60, scale=4.5)
    broken = adam(state, gradients(state, X * np.float32(1e-30)))
    last = [name for name, tensor in broken.items() if np.isnan(tensor).any() and name.endswith("weight")][-1]
    rows = [bool(np.isnan(row).all()) for row in broken[last]]
    assert 0 < sum(rows) < len(rows)
    assert f"{sum(rows)} of {len(rows)} rows of {last} are nan throughout" in evidence(broken, "rows")


def test_one_tensor_with_a_gradient_of_its_own_that_is_nan() -> None:
    state = drawn()
    grads = gradients(state, X)
    grads["layers.2.weight"][:] = 0.0 / np.zeros(1)  # as of a penalty of its own, |W| at 0
    broken = sgd(state, grads)
    assert rules(broken) == ["one_tensor"]
    assert "layers.2.bias is finite, so dL/dz was" in evidence(broken, "one_tensor")


def test_an_infinite_feature_behind_flat_units_breaks_its_column_of_the_first_layer() -> None:
    x, state = X.copy(), drawn()
    x[0, 2] = np.inf
    broken = sgd(state, gradients(state, x, kind="tanh"))
    assert [name for name, tensor in broken.items() if not np.isfinite(tensor).all()] == ["layers.0.weight"]
    assert np.isnan(broken["layers.0.weight"]).all(axis=0).tolist() == [i == 2 for i in range(8)]
    assert rules(broken) == ["columns"]
    assert "column 2 is nan throughout in layers.0.weight (from 0): that feature of x was not" in evidence(
        broken, "columns"
    )


def test_biases_alone_with_a_rate_of_their_own() -> None:
    state = drawn()
    grads = gradients(state, X)
    broken = {
        name: tensor - (np.float32(3e38) * 10 if name.endswith("bias") else np.float32(0.1)) * grads[name]
        for name, tensor in state.items()
    }
    assert rules(broken)[0] == "biases_alone"


def test_gradients_of_vgcore_that_left_float32_in_biases_alone() -> None:
    # With exponents carried dL/dW = dL/dz h^T is finite where dL/dz is not, for h small enough.
    spec = vg.MLP(depth=60, width=16, in_features=8, out_features=3, init="kaiming_normal(gain=6)")
    net = spec.init(seed=0)
    grads = net.gradients(X * 1e-30, Y, loss="mse").parameters
    broken: State = {name: tensor - np.float32(0.1) * grads[name] for name, tensor in net.state_dict().items()}
    assert {name.split(".")[-1] for name, tensor in broken.items() if not np.isfinite(tensor).all()} == {"bias"}
    assert rules(broken) == ["biases_alone", "infinite_weights"]
    assert "too large where h is so small that dL/dW was not" in evidence(broken, "biases_alone")


# What kind tells


def test_a_step_out_of_range_leaves_infinite_weights_for_one_step() -> None:
    spec = vg.MLP(depth=6, width=16, in_features=8, out_features=3)
    state: State = dict(spec.init(seed=0).state_dict())
    while all(np.isfinite(tensor).all() for tensor in state.values()):
        grads = vg.Network.from_state_dict(spec, state).gradients(X, Y, loss="mse").parameters
        state = {name: tensor - np.float32(1e4) * grads[name] for name, tensor in state.items()}
    assert "infinite_weights" in rules(state)
    assert "a step, rate times gradient, left the range of the dtype" in evidence(state, "infinite_weights")
    again = {name.replace("readout", "layers.6"): tensor for name, tensor in state.items()}
    broken = sgd(again, gradients(again, X))
    assert "infinite_weights" not in rules(broken)


def test_a_cast_to_float16_is_told_from_a_step() -> None:
    state = drawn(scale=1e5)
    cast = {name: tensor.astype(np.float16) for name, tensor in state.items()}
    for stored in (cast, {name: tensor.astype(np.float32) for name, tensor in cast.items()}):
        assert rules(stored) == ["infinite_weights"]
        assert "a cast made them so, beyond 65504" in evidence(stored, "infinite_weights")


def test_numbers_that_bfloat16_has_too_say_nothing_of_a_cast_to_float16() -> None:
    state = {
        name: (tensor.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32) for name, tensor in drawn().items()
    }
    state["layers.1.weight"][3, 3] = np.inf
    assert "left the range of the dtype" in evidence(state, "infinite_weights")


@pytest.mark.parametrize("how", ["clipping", "adam"])
def test_infinite_gradients_of_single_weights_become_nan_in_clipping_and_in_adam(how: str) -> None:
    state = drawn()
    grads = gradients(state, X)
    # dL/dW = dL/dz h^T leaves the range where both are large, and nowhere else.
    grads["layers.4.weight"] = np.outer(*(np.array(each, np.float32) for each in ([1, 1e20, 1e-3], [1e20, *[1] * 15])))
    assert np.isinf(grads["layers.4.weight"]).sum() == 1
    broken = sgd(state, clipped(grads, 1.0)) if how == "clipping" else adam(state, grads)
    if how == "adam":  # g^2 of other entries is infinite too, whose step is 0.
        assert np.isnan(broken["layers.4.weight"]).sum() == 1
    assert rules(broken) == ["one_tensor", "single_entries"]
    assert "inf/inf in a step of Adam or 0 inf in clipping" in evidence(broken, "single_entries")


# Running statistics


def test_running_statistics_alone_say_that_no_step_was_taken() -> None:
    state = drawn() | {"norms.0.running_mean": np.zeros(16, np.float32), "norms.0.running_var": np.ones(16, np.float32)}
    z = (X * np.float32(1e25)) @ state["layers.0.weight"].T  # of a batch that was not normalised
    mean, variance = z.mean(axis=0), z.var(axis=0)
    assert np.isfinite(mean).all()
    assert np.isinf(variance).all()
    state["norms.0.running_mean"] = 0.9 * state["norms.0.running_mean"] + 0.1 * mean
    state["norms.0.running_var"] = 0.9 * state["norms.0.running_var"] + 0.1 * variance
    d = vg.diagnose(state)
    assert [finding.rule for finding in d.findings] == ["running_statistics"]
    assert "all weights are finite" in d.summary


def test_finite_running_statistics_date_the_step() -> None:
    state = drawn()
    broken = sgd(state, gradients(state, X, nowhere, kind="tanh"))
    broken |= {"norms.0.running_mean": np.zeros(16, np.float32), "norms.0.running_var": np.ones(16, np.float32)}
    assert rules(broken) == ["every_tensor", "last_step"]
    broken["norms.0.running_var"] = np.full(16, np.nan, np.float32)
    assert rules(broken) == ["every_tensor"]


# Where weights come from


def test_numbers_that_are_finite_are_no_finding() -> None:
    with pytest.raises(TypeError, match=r"subject must be a Probe.* models of torch, Keras"):
        vg.diagnose({"epoch": 3, "loss": float("nan")})


def test_mappings_may_be_nested_and_hold_other_things() -> None:
    weights = np.full((2, 3), np.nan, np.float32)
    state = {"epoch": 3, "params": {"Dense_0": {"kernel": weights, "bias": np.zeros(2, np.float32)}}, "name": "x"}
    state["ids"] = np.arange(3)
    assert rules(state) == ["one_tensor"]
    assert "params.Dense_0.kernel (nan throughout)" in str(vg.diagnose(state))


def test_kernels_of_inputs_by_outputs_have_their_units_in_columns() -> None:
    kernel = np.ones((3, 4), np.float32)
    kernel[:, 2] = np.nan
    state = {
        "Dense_0": {"bias": np.array([0, 0, np.nan, 0], np.float32), "kernel": kernel},
        "Dense_1": {"kernel": np.ones((4, 2))},
    }
    assert "1 of 4 rows of Dense_0.kernel are nan throughout" in evidence(state, "rows")


def test_layers_in_the_order_of_text_are_put_in_the_order_of_numbers() -> None:
    state = {f"Dense_{i}": {"kernel": np.full((2, 2), np.nan if i < 9 else 1.0)} for i in sorted(range(12), key=str)}
    assert rules(state) == ["overflow_on_the_way_back"]
    assert "before Dense_9.kernel" in evidence(state, "overflow_on_the_way_back")


def test_a_model_of_scikit_learn_tells_its_weights() -> None:
    fitted = SimpleNamespace(coefs_=[np.ones((4, 3)), np.full((3, 1), np.nan)], intercepts_=[np.zeros(3), np.zeros(1)])
    assert rules(fitted) == ["one_tensor"]
    assert "coefs_.1 (nan throughout)" in str(vg.diagnose(fitted))


def test_what_a_conversion_found_is_judged_by_its_counts() -> None:
    d = of_error(NonFinite({"a.weight": ((2, 3), 6, 0, 6), "a.bias": ((2,), 2, 0, 2)}))
    assert [finding.rule for finding in d.findings] == ["weights_not_finite", "every_tensor"]


def test_the_diagnosis_is_shown_and_kept_as_any_other() -> None:
    d = vg.diagnose({"w.weight": np.full((2, 2), np.nan), "w.bias": np.zeros(2)}, explain=True)
    assert str(d).startswith("non-finite: 1 of 2 tensors are not finite")
    assert "color" in d._repr_html_()
    told = json.loads(json.dumps(d.to_dict(), allow_nan=True))
    assert (told["verdict"], told["spec"]) == ("non-finite", None)
    assert d.reaches("critical")
    assert repr(d).startswith("Diagnosis('non-finite'")


def test_every_rule_says_why_and_when_it_is_wrong() -> None:
    names = [rule.id for rule in NONFINITE_RULES]
    assert len(set(names)) == len(names)
    for rule in NONFINITE_RULES:
        assert all((rule.why, rule.wrong, rule.remedy, rule.formula, rule.quantity, rule.reference))


# Against torch


def test_torch_breaks_weights_as_said() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 2)
    )
    x = torch.randn(8, 1, 8, 8)
    model(x).sqrt().mean().backward()  # of negative numbers: nan
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert rules(model) == rules(model.state_dict()) == ["every_tensor", "last_step"]
    model(x)
    assert rules(model) == ["every_tensor"]


@pytest.mark.parametrize("subject", ["weights", "a net"])
@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"rules": "vgcor"}, "unknown rule set 'vgcor'"),
        ({"thresholds": {"nope": 1}}, "unknown rule 'nope'"),
        ({"thresholds": {"saturation": -1}}, "a threshold of saturation"),
        ({"rules": "sagemaker", "thresholds": {"saturation": 0.5}}, "thresholds are those of vgcore's rules"),
    ],
)
def test_arguments_are_looked_at_before_weights_are(subject: str, given: dict[str, Any], match: str) -> None:
    broken = {name: values * np.nan for name, values in drawn().items()}
    with pytest.raises(ValueError, match=match):
        vg.diagnose(broken if subject == "weights" else vg.MLP(depth=3, width=4), **given)


class OfKeras:
    """As a model of Keras on torch is: its weights by path, and twice over in a state dict."""

    class Weight:
        def __init__(self, path: str, values: Array) -> None:
            self.path, self.values, self.shape = path, values, values.shape

        def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
            return np.asarray(self.values, dtype)

    def __init__(self, state: State) -> None:
        self.state = state
        self.weights = [self.Weight(name.replace(".", "/"), values) for name, values in state.items()]

    def state_dict(self) -> State:
        return self.state | {f"_functional._torch_params.{name}": values for name, values in self.state.items()}


def test_a_model_that_is_of_two_libraries_has_its_weights_once() -> None:
    broken = {name: values * np.nan for name, values in drawn().items()}
    diagnosis = vg.diagnose(OfKeras(broken))
    assert diagnosis.findings[0].evidence.startswith(f"{len(broken)} of {len(broken)} tensors are not finite")
    assert rules(OfKeras(broken)) == rules(broken)


def test_a_class_is_no_model() -> None:
    class Model:
        def state_dict(self) -> State:
            raise AssertionError

    with pytest.raises(TypeError, match=r"subject must be .* a class is no model: make one of it"):
        vg.diagnose(Model)
