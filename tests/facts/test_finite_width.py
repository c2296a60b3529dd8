"""Exact laws of nets of any width: means of squared norms, and the statistics of their logarithms.

All nets here have batches of one sample. A mean over independent nets must be within 5 standard errors of what is
exact, and its standard error below a stated one.
"""

import math
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import vgcore as vg
from vgcore.model.spec import Spec

Array: TypeAlias = npt.NDArray[Any]


def agrees(values: Array, expected: float, *, relative_error: float) -> None:
    """Whether a mean over independent nets is what it should be, and known well enough to tell."""
    se = values.std(ddof=1) / math.sqrt(len(values))
    assert se <= relative_error * abs(expected)
    assert abs(values.mean() - expected) <= 5 * se


# Zero biases, symmetric weights of variance 2 / fan_in: E|h|^2 per unit and E|delta|^2 pass every ReLU layer unchanged,
# at every width.

NETS = 20_000
CHAINS = {
    "square": vg.MLP(depth=5, width=20, out_features=1, activation="relu", init="kaiming_normal"),
    "ragged": vg.MLP(
        depth=5, width=(20, 30, 10, 40, 25), in_features=16, out_features=1, activation="relu", init="kaiming_normal"
    ),
    "uniform": vg.MLP(depth=5, width=20, out_features=1, activation="relu", init="kaiming_uniform"),
}


def widths(spec: Spec) -> list[int]:
    hidden = (spec.width,) * spec.depth if isinstance(spec.width, int) else spec.width
    return [spec.in_features or hidden[0], *hidden]


@cache
def chain(name: str) -> vg.Probe:
    """Nets with a scalar readout of variance 2 / n, on an x of |x|^2 = n_0; their cotangent is one standard normal."""
    spec = CHAINS[name]
    return vg.probe(spec, x=np.ones((1, widths(spec)[0])), seeds=NETS)


@pytest.mark.parametrize("layer", range(5))
@pytest.mark.parametrize("name", CHAINS)
def test_he_relu_layers_preserve_the_mean_square_of_their_activations(name: str, layer: int) -> None:
    agrees(chain(name).a_rms[:, layer] ** 2, 1, relative_error=0.012)


@pytest.mark.parametrize("layer", range(5))
@pytest.mark.parametrize("name", CHAINS)
def test_he_relu_layers_preserve_the_mean_square_of_the_backward_signal(name: str, layer: int) -> None:
    # The readout's 2 / n over n units, of which a half are open, leaves E|delta|^2 = 1.
    units = widths(chain(name).spec)[layer + 1]
    agrees(units * chain(name).delta_rms[:, layer] ** 2, 1, relative_error=0.025)


@pytest.mark.parametrize("layer", range(5))
@pytest.mark.parametrize("name", CHAINS)
def test_he_relu_weight_gradients_have_the_mean_square_of_their_inputs(name: str, layer: int) -> None:
    # E|dL/dW|^2 = E|h|^2 E|delta|^2, exactly, though the two are not independent.
    fan_in = widths(chain(name).spec)[layer]
    agrees(chain(name).wgrad_norm[:, layer] ** 2, fan_in, relative_error=0.03)


def test_xavier_relu_layers_halve_the_mean_square() -> None:
    p = vg.probe(CHAINS["square"].replace(init="xavier_normal"), x=np.ones((1, 20)), seeds=NETS)
    for layer in range(5):
        agrees(p.a_rms[:, layer] ** 2, 2.0 ** -(layer + 1), relative_error=0.012)
        # The readout has variance 2 / 21 and not 2 / 20.
        agrees(20 * p.delta_rms[:, layer] ** 2, 20 / 21 * 2.0 ** -(5 - 1 - layer), relative_error=0.025)


def test_the_input_gradient_of_a_he_relu_net_has_a_mean_square_of_two() -> None:
    # E|grad_x f|^2 = 1 for a readout of variance 1 / n; here it is 2 / n. Explicit gradients are of one net at a time.
    spec = CHAINS["square"]
    squares = [
        float((spec.init(seed=seed).backward(np.ones((1, 20)), [[1.0]]).input ** 2).sum()) for seed in range(5000)
    ]
    agrees(np.array(squares), 2, relative_error=0.03)


# The logarithm of one layer's factor X of a squared norm, which is the same forward and backward: (2/n) chi^2_K with K
# open units of n, K binomial and not 0, for He ReLU; chi^2_n / n for a linear net. Layers are independent.


class Law(NamedTuple):
    """Exact mean and variance of log X."""

    width: int
    mean: float
    variance: float


RELU = [
    Law(16, -0.1763973244, 0.4195933941),
    Law(32, -0.0825402081, 0.1774977872),
    Law(64, -0.0401085988, 0.0829973506),
    Law(128, -0.0197864019, 0.0402339926),
    Law(256, -0.0098286594, 0.0198187089),
]
LINEAR = [
    Law(16, -0.0638000637, 0.1331370147),
    Law(32, -0.0315753939, 0.0644937834),
    Law(64, -0.0157063723, 0.0317433665),
    Law(128, -0.0078328446, 0.0157477061),
    Law(256, -0.0039113362, 0.0078430971),
]
DEPTH = 51
# A width of 256 would need 13,000 layers to tell its drift from none, which takes long to draw.
NETS_OF_WIDTH = {16: 1000, 32: 600, 64: 300, 128: 160}


@cache
def logs(activation: str, width: int) -> tuple[Array, Array]:
    """log X of every layer of many nets, forward and backward."""
    init = "kaiming_normal" if activation == "relu" else "lecun_normal"
    spec = vg.MLP(depth=DEPTH, width=width, activation=activation, init=init)
    p = vg.probe(spec, x=np.ones((1, width)), seeds=NETS_OF_WIDTH[width])
    factors = []
    for column in (p.log10_a_rms, -p.log10_delta_rms):
        # A net of width 16 may die (K = 0): from there on there is no signal and no factor.
        alive = np.isfinite(column).all(axis=1)
        assert alive.mean() > 0.99
        factors.append(2 * math.log(10) * np.diff(column[alive], axis=1).ravel())
    return factors[0], factors[1]


@pytest.mark.parametrize("way", [0, 1], ids=["forward", "backward"])
@pytest.mark.parametrize(
    ("activation", "law"),
    [
        (name, law)
        for name, table in (("relu", RELU), ("linear", LINEAR))
        for law in table
        if law.width in NETS_OF_WIDTH
    ],
    ids=lambda value: str(value.width) if isinstance(value, Law) else value,
)
def test_the_logarithm_of_a_layers_factor_has_its_exact_mean_and_variance(activation: str, law: Law, way: int) -> None:
    values = logs(activation, law.width)[way]
    mean, variance = values.mean(), values.var(ddof=1)
    se = math.sqrt(variance / len(values))
    # The drift stands out of the noise.
    assert se <= abs(law.mean) / 5
    assert abs(mean - law.mean) <= 5 * se
    fourth = ((values - mean) ** 4).mean()
    se = math.sqrt((fourth - variance**2) / len(values))
    assert se <= 0.02 * law.variance
    assert abs(variance - law.variance) <= 5 * se


@pytest.mark.parametrize("law", LINEAR, ids=lambda law: str(law.width))
def test_the_linear_law_is_that_of_a_chi_squared(law: Law) -> None:
    # psi(n/2) + log(2/n) and psi'(n/2), for even n by the sums over k < n/2 that they are. The table has ten digits.
    half = law.width // 2
    euler = 0.57721566490153286
    psi = -euler + sum(1 / k for k in range(1, half))
    assert psi - math.log(half) == pytest.approx(law.mean, abs=1e-10)
    assert math.pi**2 / 6 - sum(1 / k**2 for k in range(1, half)) == pytest.approx(law.variance, abs=1e-10)


@pytest.mark.parametrize(("activation", "extra"), [("relu", 5), ("linear", 2), ("leaky_relu(0.2)", 4.5562130)])
def test_the_second_moment_of_a_layers_factor_is_exact(activation: str, extra: float) -> None:
    # E X^2 / (E X)^2 = 1 + extra / n, here of the critical init, where E X = 1.
    init = {"relu": "kaiming_normal", "linear": "lecun_normal"}.get(activation, "kaiming_normal(a=0.2)")
    p = vg.probe(vg.MLP(depth=21, width=50, activation=activation, init=init), x=np.ones((1, 50)), seeds=2000)
    for column in (p.log10_a_rms, -p.log10_delta_rms):
        x = 10 ** (2 * np.diff(column, axis=1).ravel())
        agrees(x, 1, relative_error=0.005)
        agrees(x**2, 1 + extra / 50, relative_error=0.005)


@pytest.mark.parametrize(("activation", "width", "extra"), [("relu", 50, 5), ("linear", 20, 2)])
def test_layers_multiply_their_second_moments(activation: str, width: int, extra: float) -> None:
    """B2. E|J u|^4 = prod (1 + 5 / n_l), linear 2; 1.610510 twice. Hanin and Nica 2018, arXiv:1812.05994 (M)."""
    init = "kaiming_normal" if activation == "relu" else "lecun_normal"
    p = vg.probe(vg.MLP(depth=6, width=width, activation=activation, init=init), x=np.ones((1, width)), seeds=40_000)
    expected = (1 + extra / width) ** 5
    assert expected == pytest.approx(1.610510, abs=1e-12)
    # 0.045 is stated for 6000 nets.
    for fourth in (p.a_rms[:, 4] ** 4, 10 ** (4 * p.end_to_end("backward"))):
        agrees(fourth, expected, relative_error=0.02)


@pytest.mark.parametrize(
    ("width", "depth", "expected"),
    [
        (2, 10, 0.9436864853),
        (3, 10, 0.7369244238),
        (4, 20, 0.7249412101),
        (5, 50, 0.7955506304),
        (8, 100, 0.3238835349),
    ],
)
def test_a_narrow_relu_net_is_dead_at_a_point_as_often_as_a_layer_shuts_by_chance(
    width: int, depth: int, expected: float
) -> None:
    """X1. 1 - prod (1 - 2^-n_l); an upper bound for "born dead" nets: Lu et al. 2019, arXiv:1903.06733 (abstract R)."""
    assert 1 - (1 - 2.0**-width) ** depth == pytest.approx(expected, abs=5e-11)
    p = vg.probe(vg.MLP(depth=depth, width=width, init="kaiming_normal"), x=np.ones((1, width)), seeds=20_000)
    dead = p.dead[:, -1] == 1
    agrees(dead.astype(float), expected, relative_error=0.011)
    # Dead means exactly 0, forward and backward.
    np.testing.assert_array_equal(dead, p.a_rms[:, -1] == 0)
    np.testing.assert_array_equal(dead, p.wgrad_norm[:, -1] == 0)
