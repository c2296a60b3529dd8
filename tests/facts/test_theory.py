"""Fixed points, the edge of chaos, finite width and spectra: published and independently computed numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

import vgcore as vg
from vgcore import theory

# A5: activation, sigma_w^2, q*, chi_1, without biases.
FIXED = [
    ("sigmoid", 1 / 3, 0.085033764875, 0.020007829338),
    ("sigmoid", 1.0, 0.264686875182, 0.055720706770),
    ("sigmoid", 2.0, 0.555289591373, 0.100977080692),
    ("tanh", 2.0, 0.617964769769, 1.105528820439),
    ("tanh", 25 / 9, 1.178480490386, 1.209831320383),
    ("erf", 1.0, 0.141923765314, 1.016902519950),
    ("erf", 2.0, 0.880750630396, 1.197365386447),
    ("hardtanh", 2.0, 1.052246632527, 1.340738301076),
    ("sin", 2.0, 0.796812130020, 1.203187869980),
    ("arctan", 2.0, 0.777211065788, 1.087627456055),
    ("selu", 1.0, 1.0, 1.071574992456),
    ("selu", 9 / 16, 0.023033784611, 1.003670350839),
    ("elu", 1.55051880807, 1.0, 1.035904718604),
    ("softplus", 1.0, 0.856305159645, 0.288721849003),
]

# A6: sigma_b^2, q*, sigma_w^2 of tanh on the edge of chaos.
EDGE = [
    *((0.01, 0.273300913, 1.424205290), (0.04, 0.512078504, 1.700796372), (0.05, 0.570047882, 1.760954640)),
    *((0.1, 0.805799182, 1.986072641), (0.2, 1.164496287, 2.285152474), (0.3, 1.461169447, 2.505127190)),
    *((0.5, 1.971030613, 2.843167460), (1.0, 3.036396395, 3.443210912)),
]

# B4: width, ReLU mean and variance of the log factor, linear mean and variance.
LOGS = [
    (16, -0.1763973244, 0.4195933941, -0.0638000637, 0.1331370147),
    (32, -0.0825402081, 0.1774977872, -0.0315753939, 0.0644937834),
    (64, -0.0401085988, 0.0829973506, -0.0157063723, 0.0317433665),
    (128, -0.0197864019, 0.0402339926, -0.0078328446, 0.0157477061),
    (256, -0.0098286594, 0.0198187089, -0.0039113362, 0.0078430971),
]


@pytest.mark.parametrize(("activation", "ww", "q", "chi"), FIXED)
def test_fixed_points_and_their_chi_are_the_computed_ones(activation: str, ww: float, q: float, chi: float) -> None:
    found = theory.q_star(activation, sigma_w=math.sqrt(ww))
    assert float(found) == pytest.approx(q, rel=1e-9)
    assert float(theory.chi(activation, q=found, sigma_w=math.sqrt(ww))) == pytest.approx(chi, rel=1e-9)


@pytest.mark.parametrize(("bb", "q", "ww"), EDGE)
def test_the_edge_of_chaos_of_tanh_is_the_computed_one(bb: float, q: float, ww: float) -> None:
    line = theory.critical_line("tanh", q=[q])
    assert float(line.sigma_w[0]) ** 2 == pytest.approx(ww, rel=1e-8)
    assert float(line.sigma_b[0]) ** 2 == pytest.approx(bb, rel=1e-7)  # q has 9 digits
    assert bool(line.attracts[0])


def test_scale_free_nets_have_no_fixed_variance() -> None:
    for activation, critical in (("linear", 1.0), ("relu", 2.0), ("leaky_relu(0.1)", 2 / 1.01)):
        below, at, above = theory.q_star(activation, sigma_w=np.sqrt(critical * np.array([0.9, 1.0, 1.1])))
        assert (below, at, above) == (0.0, 1.0, math.inf)


def test_critical_odd_activations_decay_as_a_power_law() -> None:
    # A8: tanh with sigma_w = 1 from q = 1.
    expected = {10: 5.22000828e-2, 100: 5.06901920e-3, 1000: 5.01163910e-4}
    slopes = {10: 7.136973e-2, 100: 7.134253e-3, 1000: 7.074821e-4}
    q, product = 1.0, 1.0
    for layer in range(1, 1001):
        product *= float(theory.chi("tanh", q=q, sigma_w=1.0))
        q = float(theory.q_map("tanh", q=q, sigma_w=1.0))
        if layer in expected:
            assert q == pytest.approx(expected[layer], rel=1e-8)
            assert product == pytest.approx(slopes[layer], rel=1e-6)
    assert float(theory.q_star("tanh", sigma_w=1.0)) == 0.0


def test_relu_collapses_as_the_arc_cosine_kernel_says() -> None:
    # A9.
    expected = {1: 0.3183098862, 2: 0.4937310902, 3: 0.6048257201, 5: 0.7359463506, 10: 0.8715355160}
    expected |= {20: 0.9484284792, 50: 0.9878619449, 100: 0.9964231467}
    c = 0.0
    for layer in range(1, 101):
        c = float(theory.c_map("relu", c=c, q=1.0, sigma_w=math.sqrt(2)))
        if layer in expected:
            assert c == pytest.approx(expected[layer], abs=1e-9)


def test_gradients_of_two_inputs_shatter_as_the_product_of_kernels() -> None:
    # E1: prod k0(c_l) from orthogonal inputs; k0 = 2 E phi'(u) phi'(v).
    expected = {1: 0.5, 2: 0.301557624, 3: 0.200345021, 5: 0.104558842, 10: 3.36521510e-2, 50: 9.12024220e-4}
    c, product = 0.0, 1.0
    for layer in range(1, 51):
        product *= 1 - math.acos(c) / math.pi
        c = float(theory.c_map("relu", c=c, q=1.0, sigma_w=math.sqrt(2)))
        if layer in expected:
            assert product == pytest.approx(expected[layer], rel=1e-7)


@pytest.mark.parametrize(("n", "relu_mean", "relu_variance", "linear_mean", "linear_variance"), LOGS)
def test_the_noise_of_a_width_is_the_exact_one(
    n: int, relu_mean: float, relu_variance: float, linear_mean: float, linear_variance: float
) -> None:
    for name, *expected in (("relu", relu_mean, relu_variance), ("linear", linear_mean, linear_variance)):
        sigma_w = math.sqrt(2) if name == "relu" else 1.0
        found = theory.gradient_noise(name, sigma_w=sigma_w, width=n)
        assert [float(v) for v in found] == pytest.approx(expected, abs=2e-10)


def test_typical_gradients_of_sigmoid_nets_are_what_the_width_makes_of_them() -> None:
    # B4: 20 layers of width 100 were measured at -2.89694(293) a layer; the sum over a layer alone makes it -2.89772.
    q = theory.q_star("sigmoid", sigma_w=1.0)
    drift, _ = theory.gradient_noise("sigmoid", sigma_w=1.0, width=100)
    m = theory.moments("sigmoid", q)
    chi = float(np.log(theory.chi("sigmoid", q=q, sigma_w=1.0)))
    assert chi - float(3 * m["slope_fourth"] / m["slope"] ** 2 - 1) / 200 == pytest.approx(-2.89772, abs=1e-5)
    assert chi + float(drift) == pytest.approx(-2.89694, abs=0.00293)


def test_moments_of_products_of_gaussian_matrices_are_fuss_catalan_numbers() -> None:
    assert [theory.fuss_catalan(k, 2) for k in (1, 2, 3, 4)] == [1, 3, 12, 55]
    assert [theory.fuss_catalan(k, 5) for k in (1, 2, 3, 4)] == [1, 6, 51, 506]
    expected = [4, 6.75, 14.92992, 28.5311670611]
    assert [theory.spectrum_edge(depth) for depth in (1, 2, 5, 10)] == pytest.approx(expected, rel=1e-11)


# Prediction against measurement: thirteen activations at five points, width 512, depth 30.
ACTIVATIONS = (
    *("relu", "leaky_relu(0.1)", "tanh", "sigmoid", "erf", "hardtanh", "elu", "selu", "gelu"),
    *("gelu(approximate=tanh)", "silu", "softplus", "mish"),
)
POINTS = ((0.8, 0.0), (1.0, 0.1), (1.3, 0.3), (1.6, 0.05), (2.0, 0.5))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_measured_factors_are_the_predicted_ones(activation: str) -> None:
    for sigma_w, sigma_b in POINTS:
        spec = vg.MLP(depth=30, width=512, activation=activation, init=f"mean_field({sigma_w}, {sigma_b})")
        p, t = vg.probe(spec, seeds=2, batch=32), theory.predict(spec, batch=32)
        measured = p.end_to_end("backward").mean() / 29
        predicted = (t.log10_delta_rms[0] - t.log10_delta_rms[-1]) / 29
        assert 10**measured == pytest.approx(10**predicted, rel=0.015), (sigma_w, sigma_b)
