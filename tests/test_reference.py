"""The NumPy reference against published numbers, other libraries' autograd, and itself."""

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given

import vgcore as vg
from rivals import RIVALS, Answer, error
from strategies import Problem, over_examples, problems
from vgcore import reference
from vgcore.reference import Stream

# --- Random numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_known_answers_of_random123(counter: str, key: str, answer: str) -> None:
    low, high = (int(word, 16) for word in key.split())
    words = np.array([[int(word, 16)] for word in counter.split()])
    result = reference.philox(words, low | high << 32)
    assert [f"{word:08x}" for word in result[:, 0]] == answer.split()


def test_a_block_is_counted_by_index_layer_and_role_under_the_key_of_the_seed() -> None:
    seed = 0x299F31D0A4093822
    words = Stream(seed, role=2, layer=5).words(10, role=2)
    blocks = np.array([[0, 1, 2], [0, 0, 0], [5, 5, 5], [2, 2, 2]])
    assert (words == reference.philox(blocks, seed).T.ravel()[:10]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_drawn_normals_have_the_moments_of_a_normal(dtype: str) -> None:
    n = Stream(7, reference.WEIGHT, 3, dtype).normal((1000, 1000))
    for power, (moment, variance) in {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96)}.items():
        assert abs((n**power).mean() - moment) < 5 * math.sqrt(variance / n.size)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_drawn_uniforms_fill_the_open_interval_evenly(dtype: str) -> None:
    u = Stream(7, reference.WEIGHT, 3, dtype).uniform((100_000,))
    counts, _ = np.histogram(u, bins=100, range=(0, 1))
    assert u.min() > 0
    assert ((counts - 1000) ** 2 / 1000).sum() < 99 + 5 * math.sqrt(2 * 99)


def test_numbers_of_both_dtypes_differ_by_the_bits_of_a_float32_uniform() -> None:
    single, double = (Stream(1, 0, 0, dtype).uniform((10_000,)) for dtype in ("float32", "float64"))
    assert 0 < np.abs(single - double).max() <= 2.0**-32


def test_streams_of_other_seeds_layers_and_roles_are_uncorrelated() -> None:
    streams = [Stream(0, 0), Stream(1, 0), Stream(1 << 32, 0), Stream(0, 0, 1), Stream(0, 1)]
    correlations = np.corrcoef([stream.normal((10_000,)) for stream in streams])
    assert np.abs(correlations - np.eye(len(streams))).max() < 5 / math.sqrt(10_000)


# --- Initial weights -----------------------------------------------------------------------------

STDS = {
    "zeros": 0,
    "uniform(a=-1, b=2, gain=0.5)": 0.5 * 3 / math.sqrt(12),
    "normal(std=0.3, gain=2)": 0.6,
    "xavier_uniform(gain=2)": 2 * math.sqrt(2 / 500),
    "xavier_normal(gain=2)": 2 * math.sqrt(2 / 500),
    "kaiming_uniform": math.sqrt(2 / 300),
    "kaiming_normal(a=2)": math.sqrt(2 / 5 / 300),
    "kaiming_normal(mode=fan_out)": math.sqrt(2 / 200),
    "kaiming_normal(a=2, gain=0.7)": 0.7 / math.sqrt(300),
    "lecun_normal(gain=2)": 2 / math.sqrt(300),
    "orthogonal(gain=2)": 2 / math.sqrt(300),
    "mean_field(sigma_w=1.5, sigma_b=0.3, gain=2)": 3 / math.sqrt(300),
    "torch_default": 1 / math.sqrt(3 * 300),
}


@pytest.mark.parametrize("init", STDS)
def test_weights_have_the_published_standard_deviation(init: str) -> None:
    # A quarter of a million normals know their standard deviation to 0.15 %.
    state = reference.init(vg.MLP(depth=8, width=(300, 200) * 4, in_features=300, init=init))
    tall = [state[f"layers.{l}.weight"] for l in range(8) if l % 2]
    assert tall[0].shape == (200, 300)
    assert np.std(tall) == pytest.approx(STDS[init], rel=0.01)


@pytest.mark.parametrize(
    ("init", "bias", "std"),
    [
        ("mean_field(sigma_b=0.3, gain=2)", None, 0.3),
        ("torch_default(gain=2)", None, 1 / math.sqrt(3 * 4)),
        ("kaiming_normal", "torch_default", 1 / math.sqrt(3 * 4)),
        ("mean_field(sigma_b=0.3)", "normal(std=2)", 2),
        ("torch_default", "zeros", 0),
        ("xavier_normal", None, 0),
        ("zeros", "constant(value=3, gain=2)", 0),
    ],
)
def test_biases_come_from_the_bias_init_or_the_init_or_are_zero(init: str, bias: str | None, std: float) -> None:
    spec = vg.MLP(depth=1, width=250_000, in_features=4, init=init, bias=bias)
    drawn = reference.init(spec)["layers.0.bias"]
    assert np.std(drawn) == pytest.approx(std, rel=0.01, abs=1e-15)
    assert drawn.mean() == pytest.approx(6 if bias and "constant" in bias else 0, abs=0.02)


@pytest.mark.parametrize(
    ("init", "bound"),
    [
        ("xavier_uniform(gain=2)", 2 * math.sqrt(6 / 500)),
        ("kaiming_uniform(a=2)", math.sqrt(6 / 5 / 200)),
        ("torch_default(gain=2)", 2 / math.sqrt(200)),
        ("uniform(a=-0.5, b=0.5)", 0.5),
    ],
)
def test_uniform_weights_fill_their_bounds(init: str, bound: float) -> None:
    w = reference.init(vg.MLP(depth=1, width=300, in_features=200, init=init))["layers.0.weight"]
    assert 0.999 * bound < -w.min() < bound
    assert 0.999 * bound < w.max() < bound


@pytest.mark.parametrize(("fan_out", "fan_in"), [(7, 7), (12, 5), (5, 12), (1, 9)])
def test_orthogonal_weights_are_the_q_of_their_normals_with_a_positive_diagonal_of_r(fan_out: int, fan_in: int) -> None:
    spec = vg.MLP(depth=1, width=fan_out, in_features=fan_in, init="orthogonal(gain=2)")
    w = reference.init(spec, seed=3)["layers.0.weight"]
    q = w / 2 if fan_out >= fan_in else w.T / 2
    r = q.T @ Stream(3, reference.WEIGHT).normal(q.shape)
    assert w.shape == (fan_out, fan_in)
    assert np.abs(q.T @ q - np.eye(len(q.T))).max() < 1e-14
    assert np.abs(np.tril(r, -1)).max() < 1e-13
    assert (np.diag(r) > 0).all()


@pytest.mark.parametrize("init", ["torch_default", "orthogonal"])
def test_a_layer_has_the_same_numbers_at_every_depth(init: str) -> None:
    shallow, deep = (
        reference.init(vg.MLP(depth=depth, width=8, out_features=3, init=init), seed=2**64 - 1) for depth in (2, 20)
    )
    assert shallow.keys() < deep.keys()
    assert all((shallow[key] == deep[key]).all() for key in shallow)


# --- Activations ---------------------------------------------------------------------------------

mp = mpmath.mp.clone()
mp.dps = 800  # 1 - tanh(350)^2 is 1e-304


def mp_elu(z: Any, alpha: float) -> Any:
    return z if z > 0 else alpha * mp.expm1(z)


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
    "gelu": lambda z: z * mp.erfc(-z / mp.sqrt(2)) / 2,
    "gelu(approximate=tanh)": lambda z: z * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (z + 0.044715 * z**3))) / 2,
    "silu": lambda z: z / (1 + mp.exp(-z)),
    "softplus": lambda z: z if z > 20 else mp.log1p(mp.exp(z)),
    "softplus(beta=2, threshold=7)": lambda z: z if 2 * z > 7 else mp.log1p(mp.exp(2 * z)) / 2,
}
POINTS = (1e-8, 1e-3, 0.3, 1.0, 1.4, 3.1, 3.6, 8.0, 12.0, 19.0, 21.0, 40.0, 350.0, 700.0)


def test_every_activation_has_a_truth() -> None:
    assert {kind.partition("(")[0] for kind in TRUTH} == set(vg.ACTIVATIONS)


@pytest.mark.parametrize("kind", TRUTH)
def test_values_and_slopes_keep_fourteen_digits_into_the_tails(kind: str) -> None:
    z = np.array([-point for point in POINTS] + list(POINTS))
    for order, measured in enumerate(reference.activate(kind, z)):
        for point, value in zip(z, measured, strict=True):
            truth, change = (mp.diff(TRUTH[kind], point, order + k) for k in (0, 1))
            tolerance = 1e-14 * abs(truth)
            if kind.startswith("gelu"):  # exp(-z^2 / 2) multiplies the rounding of its exponent
                tolerance = max(tolerance, 1e-15 * abs(point * change))
            assert abs(value - truth) <= max(tolerance, 1e-307), (point, value, float(truth))


@pytest.mark.parametrize(
    ("kind", "z", "slope"),
    [
        ("relu", 0, 0),
        ("leaky_relu(negative_slope=0.2)", 0, 0.2),
        ("elu(alpha=1.7)", 0, 1.7),
        ("selu", 0, 1.0507009873554805 * 1.6732632423543772),
        ("softplus", 20.0, 1 / (1 + math.exp(-20))),
        ("softplus", math.nextafter(20, 21), 1),
    ],
)
def test_slopes_at_kinks_are_those_of_torch(kind: str, z: float, slope: float) -> None:
    assert reference.activate(kind, np.array([z], dtype=np.float64))[1] == slope


@pytest.mark.parametrize(
    ("kind", "largest"),
    [
        ("sigmoid", 0.25),
        ("tanh", 1),
        ("leaky_relu(negative_slope=-1.5)", 1.5),
        ("elu(alpha=2)", 2),
        ("gelu", math.erfc(-1) / 2 + math.exp(-1) / math.sqrt(math.pi)),  # at sqrt(2)
        ("softplus(beta=0.1)", 1),
    ],
)
def test_the_steepest_slope_is_found(kind: str, largest: float) -> None:
    assert reference.steepest(kind) == pytest.approx(largest, rel=1e-5)


# --- Gradients -----------------------------------------------------------------------------------


def answer(problem: Problem, state: reference.State) -> reference.Gradients:
    solve = reference.gradients if "loss" in problem.start else reference.backward
    return solve(problem.spec, state, problem.x, **problem.start)


@pytest.mark.parametrize("rival", RIVALS)
@over_examples
@given(problem=problems())
def test_gradients_are_those_of_autograd(rival: Callable[..., Answer], problem: Problem) -> None:
    state = reference.init(problem.spec, problem.seed)
    expected = rival(problem.spec, state, problem.x, **problem.start)
    measured = answer(problem, state)
    assert error(measured, expected) < 1e-10
    assert measured.loss == pytest.approx(expected.loss, rel=1e-10)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "elu", "gelu", "silu", "softplus"])
@pytest.mark.parametrize("skip", [None, "residual"])
@pytest.mark.parametrize("loss", vg.LOSSES)
def test_gradients_are_the_central_differences_of_the_loss(activation: str, skip: str | None, loss: str) -> None:
    spec = vg.MLP(depth=2, width=4, out_features=3, activation=activation, init="torch_default", skip=skip)
    state = reference.init(spec)
    x, numbers = (Stream(0, role).normal((5, size)) for role, size in ((2, 4), (3, 3)))
    y = np.array([0, 2, 1, 1, 0]) if loss == "cross_entropy" else numbers
    gradients = reference.gradients(spec, state, x, y, loss)
    tensors = [*(state[f"{name}.weight"] for name in ("layers.0", "layers.1", "readout")), x]
    tensors += [state[f"{name}.bias"] for name in ("layers.0", "layers.1", "readout")]
    exact = [*gradients.weights, gradients.input, *gradients.biases]

    def loss_with(tensor: reference.Array, index: tuple[int, ...], step: float) -> float:
        kept = tensor[index]
        tensor[index] = kept + step
        value = reference.gradients(spec, state, x, y, loss).loss
        tensor[index] = kept
        assert value is not None
        return value

    for tensor, gradient in zip(tensors, exact, strict=True):
        numeric = np.zeros_like(tensor)
        for index in np.ndindex(tensor.shape):
            numeric[index] = (loss_with(tensor, index, 1e-5) - loss_with(tensor, index, -1e-5)) / 2e-5
        assert np.linalg.norm(gradient - numeric) < 1e-6 * np.linalg.norm(numeric)


def test_the_sigmoid_chain_has_the_digits_of_the_worked_example() -> None:
    spec = vg.MLP(depth=3, width=1, activation="sigmoid", init="constant(value=0.5)")
    state, x, y = reference.init(spec), np.ones((1, 1)), np.full((1, 1), 0.8)
    trace = reference.propagate(spec, state, x)
    g = reference.gradients(spec, state, x, y, "half_mse")
    measured = [*(z.true() for z in trace.z), *(a.true() for a in trace.a)]
    measured += [*g.preactivations, *g.weights, g.input, np.array(g.loss)]
    # By mpmath with 34 digits, and torch.
    expected = [
        *(0.5, 0.3112296656009272823195, 0.2885926900723261478356),
        *(0.6224593312018545646389, 0.5771853801446522956713, 0.5716515653055907656492),
        *(-0.0008016903743109073458734, -0.006822789025759635762993, -0.05591477995556516953149),
        *(-0.0008016903743109073458734, -0.004246908693905695752254, -0.03227319352435746677333),
        *(-0.0004008451871554536729367, 0.02607150381369343946024),
    ]
    assert np.abs(np.hstack([np.ravel(value) for value in measured]) - expected).max() < 1e-15
