"""Numbers that can be checked with a pencil: a chain of three sigmoids, two identities, and the slopes at kinks."""

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import vgcore as vg

Array: TypeAlias = npt.NDArray[Any]

# A 1-1-1 sigmoid chain, x = 1, W = 0.5, no bias, target 0.8, loss (y - t)^2 / 2, then one step of 0.1.
# Exact to the digits shown (computed with 34). Every number below is at most 1 in size and comes from a handful of
# float64 operations, each rounded by at most 1.1e-16: 1e-15 absolute.
CHAIN = vg.MLP(depth=3, width=1, activation="sigmoid", init="constant(0.5)")
Z = [0.5, 0.3112296656009272823195, 0.2885926900723261478356]
Y = [0.6224593312018545646389, 0.5771853801446522956713, 0.5716515653055907656492]
DELTA = [-0.0008016903743109073458734, -0.006822789025759635762993, -0.05591477995556516953149]
DW = [-0.0008016903743109073458734, -0.004246908693905695752254, -0.03227319352435746677333]
STEPPED = [0.5000801690374310907346, 0.5004246908693905695752, 0.5032273193524357466773]
LOSS = 0.02607150381369343946024
DX = -0.0004008451871554536729367
CLOSE = 1e-15


def chain_gradients() -> vg.Gradients:
    return CHAIN.init(dtype="float64").gradients([[1.0]], [[0.8]], loss="half_mse")


def chain_probe() -> vg.Probe:
    return vg.probe(CHAIN, x=[[1.0]], y=[[0.8]], loss="half_mse", seeds=1, dtype="float64")


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_the_chains_signals_are_exact(layer: int) -> None:
    # The output of the first layers alone, and the same before the sigmoid as a readout with the next weight.
    y = CHAIN.replace(depth=layer + 1).init(dtype="float64").forward([[1.0]])
    assert y.item() == pytest.approx(Y[layer], rel=0, abs=CLOSE)
    if layer:
        z = CHAIN.replace(depth=layer, out_features=1).init(dtype="float64").forward([[1.0]])
        assert z.item() == pytest.approx(Z[layer], rel=0, abs=CLOSE)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_the_chains_gradients_are_exact(layer: int) -> None:
    gradients = chain_gradients()
    assert gradients.preactivations[layer].item() == pytest.approx(DELTA[layer], rel=0, abs=CLOSE)
    assert gradients.weights[layer].item() == pytest.approx(DW[layer], rel=0, abs=CLOSE)
    # The bias stands beside the weight: dL/db is dL/dz.
    assert gradients.biases[layer].item() == gradients.preactivations[layer].item()


def test_the_chains_loss_and_input_gradient_are_exact() -> None:
    gradients = chain_gradients()
    assert gradients.loss == pytest.approx(LOSS, rel=0, abs=CLOSE)
    assert gradients.input.item() == pytest.approx(DX, rel=0, abs=CLOSE)


def test_the_chains_gradient_shrinks_by_at_most_an_eighth_a_layer() -> None:
    gradients = chain_gradients()
    g = [w.item() for w in gradients.weights]
    d = [p.item() for p in gradients.preactivations]
    # The absolute 1e-15 of a gradient of 8e-4 is 1e-12 relative; the two last ratios were written to ten digits.
    assert g[0] / g[2] == pytest.approx(0.02484075130977817770718, rel=1e-12)
    assert d[0] / d[1] == pytest.approx(0.1175018561, abs=5e-11)
    assert d[1] / d[2] == pytest.approx(0.1220212085, abs=5e-11)
    for layer in (0, 1):
        assert d[layer] / d[layer + 1] == pytest.approx(0.5 * Y[layer] * (1 - Y[layer]), rel=1e-12)
        assert d[layer] / d[layer + 1] <= 1 / 8


def test_the_chain_after_one_step_of_gradient_descent_is_exact() -> None:
    gradients = chain_gradients()
    state = CHAIN.init(dtype="float64").state_dict()
    for layer, expected in enumerate(STEPPED):
        state[f"layers.{layer}.weight"] = state[f"layers.{layer}.weight"] - 0.1 * gradients.weights[layer]
        assert state[f"layers.{layer}.weight"].item() == pytest.approx(expected, rel=0, abs=CLOSE)
    stepped = vg.Network.from_state_dict(CHAIN, state)
    assert stepped.forward([[1.0]]).item() == pytest.approx(0.572115862026370113, rel=0, abs=CLOSE)
    after = stepped.gradients([[1.0]], [[0.8]], loss="half_mse")
    assert after.loss == pytest.approx(0.0259655901699921915, rel=0, abs=CLOSE)


def test_a_probe_of_the_chain_shows_the_same_numbers() -> None:
    p = chain_probe()
    # A logarithm of up to 3.1 and its inverse: 3.1 ln 10 times 1.1e-16, and a few more roundings.
    for column, expected in (
        (p.z_rms, Z),
        (p.a_rms, Y),
        (p.delta_rms, DELTA),
        (p.wgrad_norm, DW),
        (p.bgrad_norm, DELTA),
    ):
        np.testing.assert_allclose(column[0], np.abs(expected), rtol=5e-15)


# Identities on small random nets. float64 sums of at most 16 terms: relative 1e-12.

NETS = [
    vg.MLP(depth=4, width=(7, 12, 5, 9), in_features=6, out_features=3, activation="tanh", bias="normal(std=0.3)"),
    vg.MLP(depth=3, width=10, in_features=6, activation="gelu", init="torch_default"),
    vg.MLP(depth=6, width=6, out_features=2, activation="elu", skip="residual", block=2, branch_scale="1/sqrt(L)"),
]


def hidden_inputs(spec: vg.MLP, state: dict[str, Array], x: Array) -> list[Array]:
    """The input of every hidden layer and of the readout, each the output of a net that ends there."""
    inputs = [x]
    for depth in range(1, spec.depth + 1):
        if spec.skip and depth % spec.block:
            # A net cannot end inside a block: there is no skip up to here but those of whole blocks.
            weight, bias = (state[f"layers.{depth - 1}.{part}"] for part in ("weight", "bias"))
            inputs.append(vg_activation(spec, inputs[-1] @ weight.T + bias))
            continue
        width = spec.width if isinstance(spec.width, int) else tuple(spec.width)[:depth]
        scale = 1 / math.sqrt(spec.depth / spec.block) if spec.skip else 1.0
        part = spec.replace(depth=depth, width=width, out_features=None, branch_scale=scale)
        keys = part.init().state_dict()
        inputs.append(vg.Network.from_state_dict(part, {key: state[key] for key in keys}).forward(x))
    return inputs


def vg_activation(spec: vg.MLP, z: Array) -> Array:
    """The activation of a spec, as a net of one layer with the identity as its weight."""
    width = z.shape[1]
    net = vg.Network.from_state_dict(
        vg.MLP(depth=1, width=width, activation=spec.activation),
        {"layers.0.weight": np.eye(width), "layers.0.bias": np.zeros(width)},
    )
    return net.forward(z)


def gradients_of(net: vg.Network, x: Array, cotangent: Array) -> tuple[list[Array], list[Array]]:
    """dL/dW and dL/dz of all layers; the readout's dL/dz is the cotangent."""
    got = net.backward(x, cotangent)
    deltas: list[Array] = [*got.preactivations, *([cotangent] if net.spec.out_features else [])]
    return list(got.weights), deltas


@pytest.mark.parametrize("spec", NETS)
def test_a_samples_weight_gradient_has_the_norm_of_its_input_times_that_of_its_delta(spec: vg.MLP) -> None:
    rng = np.random.default_rng(0)
    net = spec.init(seed=1, dtype="float64")
    x = rng.standard_normal((16, 6))
    y = net.forward(x)
    cotangent = rng.standard_normal(y.shape)
    inputs = hidden_inputs(spec, net.state_dict(), x)
    total: list[Any] = [0.0] * len(net.backward(x, cotangent).weights)
    for i in range(16):
        # A batch of one: its weight gradients are the sample's own.
        weights, deltas = gradients_of(net, x[i : i + 1], cotangent[i : i + 1])
        for l, (weight, delta) in enumerate(zip(weights, deltas, strict=True)):
            expected = np.linalg.norm(inputs[l][i]) * np.linalg.norm(delta)
            assert np.linalg.norm(weight) == pytest.approx(expected, rel=1e-12)
            total[l] = total[l] + weight
    for together, alone in zip(net.backward(x, cotangent).weights, total, strict=True):
        np.testing.assert_allclose(together, alone, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("spec", NETS)
def test_the_norm_of_a_weight_gradient_follows_from_two_gram_matrices(spec: vg.MLP) -> None:
    rng = np.random.default_rng(2)
    net = spec.init(seed=3, dtype="float64")
    x = rng.standard_normal((16, 6))
    weights, deltas = gradients_of(net, x, rng.standard_normal(net.forward(x).shape))
    for h, weight, delta in zip(hidden_inputs(spec, net.state_dict(), x), weights, deltas, strict=False):
        gram = ((h @ h.T) * (delta @ delta.T)).sum()
        assert (weight**2).sum() == pytest.approx(gram, rel=1e-12)


# Slopes at kinks, as torch has them.


def slope(activation: str, z: float) -> float:
    """phi'(z), through a net of one unit with weight 1."""
    net = vg.MLP(depth=1, width=1, activation=activation, init="constant(1)").init(dtype="float64")
    return float(net.backward([[z]], [[1.0]]).preactivations[0].item())


SELU = 1.7580993408473768  # lambda alpha


@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("relu", 0.0),
        ("leaky_relu", 0.01),
        ("leaky_relu(0.3)", 0.3),
        ("elu", 1.0),
        ("elu(2)", 2.0),
        ("selu", SELU),
    ],
)
def test_the_slope_at_a_kink_is_the_one_from_the_left(activation: str, expected: float, zero: float) -> None:
    assert slope(activation, zero) == pytest.approx(expected, rel=1e-15, abs=0)
    # And on the two sides of it.
    right = {"selu": 1.0507009873554805}.get(activation, 1.0)
    assert slope(activation, 5e-324) == pytest.approx(right, rel=1e-15)
    assert slope(activation, -5e-324) == pytest.approx(expected, rel=1e-15, abs=0)


@pytest.mark.parametrize(("activation", "end"), [("softplus", 20.0), ("softplus(2, 10)", 5.0)])
def test_softplus_has_slope_exactly_one_past_its_threshold_only(activation: str, end: float) -> None:
    below = slope(activation, end)
    assert below < 1
    assert below == pytest.approx(1 / (1 + math.exp(-(20 if end == 20 else 10))), rel=1e-15)
    assert slope(activation, np.nextafter(end, 100)) == 1
    net = vg.MLP(depth=1, width=1, activation=activation, init="constant(1)").init(dtype="float64")
    assert net.forward([[end + 0.5]]).item() == end + 0.5
