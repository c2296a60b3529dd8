"""Nets as modules of torch: the same numbers under the same names, and the same gradients."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import vgcore as vg
from strategies import specs
from vgcore.convert.to_torch import to_torch
from vgcore.reference.cases import PARTS

torch = pytest.importorskip("torch", reason="torch is not installed: `make test-torch` installs it")

Array = np.ndarray[Any, np.dtype[Any]]
BASE: dict[str, Any] = {"depth": 4, "width": 6, "in_features": 6, "out_features": 3, "activation": "tanh"}
# An activation by the shortest text that it has.
ACTIVATIONS = {name: {"threshold": "threshold(threshold=0.2, value=0.1)"}.get(name, name) for name in vg.ACTIVATIONS}
BLOCKS: dict[str, Any] = {
    "depth": 5, "stem": 1, "block": 2, "width": [8, 32, 8], "in_features": 5, "out_features": 3,
    "activation": ["linear", "gelu", "gelu"], "norm": [None, "layer", None], "norm_position": "input",
    "skip": "residual(order=linear)", "final_norm": "rms", "dropout": [0.0, 0.1, 0.2], "bias": [None, False, None],
}  # fmt: skip
LISTS = {
    "an input that joins again": [
        *("keep(x)", "linear(8)", "relu", "linear(8)", "relu", "concat(x)", "linear(8)", "relu", "linear(4)")
    ],
    "projections and learned factors": [
        *("linear(8)", "keep(a)", "layer", "gelu", "linear(6)", "dropout(0.1)", "project(a, 0.5)", "keep(b)", "tanh"),
        *("linear(6)", "batch", "rezero(b)", "rms", "linear(3)"),
    ],
}  # fmt: skip
SPECS: dict[str, Any] = {
    **{name: vg.MLP(**BASE | given) for name, given in PARTS.items()},
    **{f"{name} as activation": vg.MLP(**BASE | {"activation": text}) for name, text in ACTIVATIONS.items()},
    "blocks between a stem and a final norm": vg.MLP(**BLOCKS),
    **{name: vg.Sequential(parts, in_features=6) for name, parts in LISTS.items()},
}


def samples(spec: Any, rows: int = 9) -> Array:
    columns = spec.in_features or (spec.width if isinstance(spec.width, int) else spec.width[0])
    steps = (spec.depth,) if getattr(spec, "inputs", "first") == "every" else ()
    return np.random.default_rng(3).standard_normal((rows, *steps, columns))


@pytest.mark.parametrize("name", SPECS)
def test_outputs_and_gradients_are_those_of_the_net(name: str) -> None:
    spec = SPECS[name]
    net = spec.init(seed=1, dtype="float64")
    module = to_torch(net).eval()
    x = samples(spec)
    leaf = torch.tensor(x, requires_grad=True)
    theirs = module(leaf)
    cotangent = np.random.default_rng(4).standard_normal(tuple(theirs.shape))
    (theirs * torch.tensor(cotangent)).sum().backward()
    ours = net.backward(x, cotangent)
    assert np.abs(theirs.detach().numpy() - net.forward(x)).max() <= 1e-12 * np.abs(net.forward(x)).max()
    assert np.abs(leaf.grad.numpy() - ours.input).max() <= 1e-12 * np.abs(ours.input).max()
    # A gradient that cancels is measured against the others.
    largest = max(float(np.abs(g).max()) for g in ours.parameters.values())
    for key, parameter in module.named_parameters():
        expected = ours.parameters[key]
        found = np.zeros(expected.shape) if parameter.grad is None else parameter.grad.numpy()
        assert np.abs(found - expected).max() <= 1e-12 * max(float(np.abs(expected).max()), 1e-2 * largest), key


@given(specs())
def test_any_net_gives_its_outputs_there_too(spec: vg.MLP) -> None:
    net = spec.init(seed=0, dtype="float64")
    x = samples(spec)
    expected = net.forward(x)
    with torch.no_grad():
        found = to_torch(net).eval()(torch.tensor(x)).numpy()
    assert np.abs(found - expected).max() <= 1e-9 * np.abs(expected).max()


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if getattr(spec, "inputs", "first") == "first"])
def test_a_net_that_went_to_torch_and_back_computes_the_same(name: str) -> None:
    spec = SPECS[name]
    net = spec.init(seed=1, dtype="float64")
    found = vg.from_torch(to_torch(net))
    x = samples(spec)
    expected = net.forward(x)
    assert np.abs(found.network.forward(x) - expected).max() <= 1e-10 * np.abs(expected).max()
    # Weights as they are used, a mean of slopes, and learned numbers at any value are other ways to say the same net.
    respelled = {
        *("standardised weights", "spectral norm", "tied gate", "rrelu as activation", "celu as activation"),
        *("learned branch", "tied", "gate", "first block without a skip", "linear sum", "pre sum"),
        *("prelu as activation", *LISTS),
        "norms and biases by layer",  # a norm before a map is one behind the map before
    }
    if name not in respelled:
        assert found.spec.replace(init=spec.init).id == spec.id
        state = net.state_dict()
        assert list(state) == list(found.network.state_dict())
        assert all(np.array_equal(state[key], value) for key, value in found.network.state_dict().items())


def test_names_shapes_and_types_are_those_of_the_state_dict() -> None:
    spec = vg.MLP(**BLOCKS)
    for dtype in ("float32", "float64"):
        net = spec.init(seed=2, dtype=dtype)
        found = to_torch(net).state_dict()
        assert set(found) == set(net.state_dict())
        for name, value in net.state_dict().items():
            assert str(found[name].dtype) == f"torch.{dtype}"
            assert np.array_equal(found[name].numpy(), value)
    back = vg.Network.from_state_dict(spec, {name: value.numpy() for name, value in found.items()})
    assert np.array_equal(back.forward(samples(spec)), net.forward(samples(spec)))


def test_a_spec_is_drawn_with_seed_0() -> None:
    spec = vg.MLP(depth=3, width=8)
    state = spec.init(seed=0).state_dict()
    for module in (spec.to_torch(), spec.init(seed=0).to_torch()):
        assert all(np.array_equal(state[name], value.numpy()) for name, value in module.state_dict().items())


def test_the_module_has_numbers_of_its_own() -> None:
    net = vg.MLP(depth=2, width=4).init(seed=0)
    module = to_torch(net)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert all(value.any() for name, value in net.state_dict().items() if name.endswith("weight"))


def test_dropout_drops_in_training_alone() -> None:
    module = to_torch(vg.MLP(depth=1, width=1000, dropout=0.3, activation="linear", init="ones", bias="ones"))
    x = torch.ones(1, 1000)
    assert module.training
    share = float((module(x) == 0).float().mean())
    assert abs(share - 0.3) < 0.06
    assert not (module.eval()(x) == 0).any()


def test_a_custom_activation_goes_along() -> None:
    own = vg.Activation.custom("bent", lambda z: np.maximum(z, 0.3 * z) + 0.1 * np.sin(z), kinks=[0.0], tolerance=1e-8)
    spec = vg.MLP(depth=3, width=6, activation=own)
    net = spec.init(seed=0, dtype="float64")
    x = torch.tensor(20 * samples(spec), requires_grad=True)
    y = to_torch(net)(x)
    y.sum().backward()
    expected, ours = net.forward(x.detach().numpy()), net.backward(x.detach().numpy(), np.ones(tuple(y.shape)))
    assert np.abs(y.detach().numpy() - expected).max() <= 1e-12 * np.abs(expected).max()
    assert np.abs(x.grad.numpy() - ours.input).max() <= 1e-11 * np.abs(ours.input).max()


def test_copies_and_pickles_are_modules_of_their_own() -> None:
    module = to_torch(vg.MLP(**BLOCKS)).eval()
    x = torch.randn(4, 5)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(x), module(x))
        next(twin.parameters()).data.zero_()
        assert next(module.parameters()).any()


def test_a_step_of_torchs_optimiser_is_a_step_here() -> None:
    spec = vg.MLP(depth=3, width=8, in_features=4, out_features=2, activation="gelu")
    net = spec.init(seed=0, dtype="float64")
    x, y = samples(spec), np.random.default_rng(8).standard_normal((9, 2))
    module = to_torch(net)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    torch.nn.functional.mse_loss(module(torch.tensor(x)), torch.tensor(y)).backward()
    optimiser.step()
    gradients = net.gradients(x, y, loss="mse").parameters
    for name, value in net.state_dict().items():
        np.testing.assert_allclose(module.state_dict()[name].numpy(), value - 0.1 * gradients[name], rtol=0, atol=1e-14)


@pytest.mark.parametrize("given", [3, {"depth": 3}, vg.MLP])
def test_what_is_no_net_is_a_type_error(given: Any) -> None:
    with pytest.raises(TypeError, match="net must be a spec or a Network"):
        to_torch(given)
