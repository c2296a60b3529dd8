"""Fixed points, the edge of chaos, finite width and spectra: published and independently computed numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

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
    ("hardsigmoid", 1.0, 9 / 35, 0.0277777777),
]

# A2: E phi, E phi^2, E phi'^2 of unit signals, the rate behind rms and layer norm (C5), and behind batch norm (C1).
UNIT = {
    "relu": (0.3989422804, 0.5, 0.5, 1, 1.4669422069),
    "leaky_relu(0.1)": (0.3590480524, 0.505, 0.505, 1, 1.34278335),
    "tanh": (0, 0.3942944904, 0.4644029024, 1.17780723, 1.17780723),
    "sigmoid": (0.5, 0.2933790359, 0.0448362414, 0.15282701, 1.03359239),
    "erf": (0, 0.4645590544, 0.5694100347, 1.22570000, 1.22570000),
    "hardtanh": (0, 0.5160585510, 0.6826894921, 1.32289154, 1.32289154),
    "elu": (0.1605205723, 0.6449454175, 0.6681020012, 1.03590472, 1.07901346),
    "selu": (0, 1, 1.0715749925, 1.07157499, 1.07157499),
    "gelu": (0.2820947918, 0.4252214826, 0.4558508656, 1.07203160, 1.31884497),
    "gelu(approximate=tanh)": (0.2820385881, 0.4251937110, 0.4558178460, 1.07202396, 1.31873443),
    "silu": (0.2066209641, 0.3557755198, 0.3794823516, 1.06663424, 1.21208111),
    "softplus": (0.8060591833, 0.9212459089, 0.2933790359, 0.31845898, 1.08052805),
    "mish": (0.2404038884, 0.4523421924, 0.4790837584, 1.05911800, 1.21425926),
}

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


@pytest.mark.parametrize("activation", UNIT)
def test_moments_and_rates_behind_norms_are_the_computed_ones(activation: str) -> None:
    mean, value, slope, rms, batch = UNIT[activation]
    m = theory.moments(activation, 1.0)
    assert [float(m[name]) for name in ("mean", "value", "slope")] == pytest.approx([mean, value, slope], abs=1e-10)
    assert theory.norm_chi(activation, "rms") == theory.norm_chi(activation, "layer") == pytest.approx(rms, abs=6e-9)
    assert theory.norm_chi(activation, "batch") == pytest.approx(batch, abs=6e-9)


def test_batch_norm_of_a_finite_batch_has_the_computed_rates() -> None:
    # C2, exact, and C1: a ReLU net was measured at 1.497(9) with 64 samples.
    for batch, rate in ((6, 4 / 3), (8, 1.2), (16, 14 / 13), (32, 30 / 29)):
        assert theory.norm_chi("linear", "batch", batch=batch) == pytest.approx(rate, rel=1e-11)
    assert theory.norm_chi("relu", "batch", batch=64) == pytest.approx(1.49306, abs=5e-6)


def normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


# A3: E phi^2 and E phi'^2 by q (Williams 1997; Tsuchida 2021, arXiv:2002.08517).
CLOSED: dict[str, Callable[[float], tuple[float, float]]] = {
    "erf": lambda q: (2 / math.pi * math.asin(2 * q / (1 + 2 * q)), 4 / math.pi / math.sqrt(1 + 4 * q)),
    "hardtanh": lambda q: (
        q * math.erf(math.sqrt(0.5 / q))
        - 2 * math.sqrt(q) * math.exp(-0.5 / q) / math.sqrt(2 * math.pi)
        + 2 * normal_cdf(-1 / math.sqrt(q)),
        math.erf(math.sqrt(0.5 / q)),
    ),
    "elu": lambda q: (
        q / 2 + 0.5 + math.exp(2 * q) * normal_cdf(-2 * math.sqrt(q)) - 2 * math.exp(q / 2) * normal_cdf(-math.sqrt(q)),
        0.5 + math.exp(2 * q) * normal_cdf(-2 * math.sqrt(q)),
    ),
    "sin": lambda q: ((1 - math.exp(-2 * q)) / 2, (1 + math.exp(-2 * q)) / 2),
    "relu": lambda q: (q / 2, 0.5),
    "linear": lambda q: (q, 1.0),
}


@pytest.mark.parametrize("activation", CLOSED)
@pytest.mark.parametrize("q", [0.03, 0.3, 1.0, 4.0, 20.0])
def test_quadrature_is_the_closed_form(activation: str, q: float) -> None:
    m = theory.moments(activation, q)
    value, slope = CLOSED[activation](q)
    assert float(m["value"]) == pytest.approx(value, rel=1e-12, abs=1e-12)
    assert float(m["slope"]) == pytest.approx(slope, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("activation", "ww", "chi"), [("gelu", 2.0, 0.5), ("silu", 2.0, 0.5), ("mish", 2.0, 0.72)])
def test_small_signals_of_smooth_rectifiers_shrink_with_the_slope_at_zero(
    activation: str, ww: float, chi: float
) -> None:
    # A5: gelu and silu have chi_1 -> sigma_w^2 / 4, mish 0.36 sigma_w^2.
    assert float(theory.q_star(activation, sigma_w=math.sqrt(ww))) == 0.0
    assert float(theory.chi(activation, q=1e-12, sigma_w=math.sqrt(ww))) == pytest.approx(chi, rel=1e-5)


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


def test_the_weights_on_the_edge_of_chaos_are_found_for_given_biases() -> None:
    # A6, and Xiao et al. 2018, arXiv:1806.05393, who used (1.05, 2.01e-5).
    for bb, q, ww in [*EDGE, (2.010521e-5, None, 1.05)]:
        point = theory.critical_point("tanh", sigma_b=math.sqrt(bb))
        assert point.sigma_w**2 == pytest.approx(ww, rel=1e-7)
        assert q is None or point.q_star == pytest.approx(q, rel=1e-7)
    assert theory.critical_point("relu").sigma_w == pytest.approx(math.sqrt(2))
    assert theory.critical_point("tanh") == theory.CriticalPoint(1.0, 0.0, 0.0)


def test_smooth_rectifiers_have_a_half_stable_point() -> None:
    # Roberts, Yaida and Hanin 2022, arXiv:2106.10165, section 5.3.4: sigma_b^2 and sigma_w^2.
    for activation, bb, ww in (("gelu", 0.17292239, 1.98305826), ("silu", 0.55514317, 1.98800468)):
        (point,) = theory.half_stable_points(activation)
        assert point.sigma_b**2 == pytest.approx(bb, rel=1e-7)
        assert point.sigma_w**2 == pytest.approx(ww, rel=1e-7)
        m = theory.moments(activation, point.q_star)
        assert point.sigma_w**2 * float(m["growth"]) == pytest.approx(1, abs=1e-9)
        assert point.sigma_w**2 * float(m["slope"]) == pytest.approx(1, abs=1e-9)
    assert not any(theory.half_stable_points(activation) for activation in ("tanh", "relu", "erf", "sigmoid"))


# A8: activation, sigma_w^2, q after so many layers from q = 1.
POWER = [
    ("tanh", 1.0, {10: 5.22000828e-2, 100: 5.06901920e-3, 1000: 5.01163910e-4, 10000: 5.00164170e-5}),
    ("erf", math.pi / 4, {1000: 5.00347911e-4}),
    ("sin", 1.0, {1000: 9.96648896e-4}),
]


@pytest.mark.parametrize(("activation", "ww", "expected"), POWER)
def test_critical_odd_activations_decay_as_a_power_law(activation: str, ww: float, expected: dict[int, float]) -> None:
    slopes = {10: 7.136973e-2, 100: 7.134253e-3, 1000: 7.074821e-4} if activation == "tanh" else {}
    q, product = 1.0, 1.0
    passed = {}
    for layer in range(1, max(expected) + 1):
        m = theory.moments(activation, q)
        product *= ww * float(m["slope"])
        q = ww * float(m["value"])
        passed[layer] = q
        if layer in expected:
            assert q == pytest.approx(expected[layer], rel=1e-8)
        if layer in slopes:
            assert product == pytest.approx(slopes[layer], rel=1e-6)
    assert math.log(passed[1000] / passed[100]) / math.log(10) == pytest.approx(-1, abs=0.01)
    assert float(theory.q_star(activation, sigma_w=math.sqrt(ww))) == 0.0


@pytest.mark.parametrize(("bb", "rate"), [(0.05, 6.17112614), (0.04, 7.08373782), (0.25, 2.24209179)])
def test_inputs_collapse_on_the_edge_of_chaos_as_one_over_depth(bb: float, rate: float) -> None:
    # A11: l (1 - c_l) -> 2 E phi'^2 / (q E phi''^2) (Hayou et al. 2019, arXiv:1902.06853). Both from Hermite
    # coefficients: q E phi'^2 = sum k a_k^2 and q^2 E phi''^2 = sum k (k - 1) a_k^2.
    point = theory.critical_point("tanh", sigma_b=math.sqrt(bb))
    squares, k = theory.hermite("tanh", q=point.q_star, count=300) ** 2, np.arange(300)
    assert 2 * (squares @ k) / (squares @ (k * (k - 1))) == pytest.approx(rate, rel=1e-6)
    c = 0.5
    for _ in range(5000):
        c = (point.sigma_w**2 * float(squares @ c**k) + bb) / point.q_star
    assert 5000 * (1 - c) == pytest.approx(rate, rel=0.01)


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


# Skips, by the same recursion as any other net.


def test_residual_branches_of_mean_zero_double_the_square_at_every_block() -> None:
    # C6: (1 + a^2)^L, so 64 at L = 6; with a = 1 / sqrt(L) 2.653298 at 20 and 2.704814 at 100.
    fields: dict[str, Any] = {"activation": "relu", "init": "kaiming_normal", "skip": "residual(order=pre)"}
    spec = vg.MLP(depth=7, width=256, **fields)
    z = theory.predict(spec).log10_delta_rms
    assert 10 ** (2 * (z[0] - z[-1])) == pytest.approx(64, rel=1e-12)
    for blocks, expected in ((20, 2.653298), (100, 2.704814)):
        spec = vg.MLP(depth=blocks, width=256, branch_scale="1/sqrt(L)", **fields)
        z = theory.predict(spec).log10_delta_rms
        first = 10 ** (2 * (z[0] - z[-1]) * blocks / (blocks - 1))
        assert first == pytest.approx(expected, rel=1e-6)


def test_tanh_residual_nets_follow_their_recursion() -> None:
    # C7: sub-exponential, log E|Ju|^2 from p_0 = 1 of h + V tanh(W h), all variances 1.
    expected = {10: 2.643206, 50: 7.216100, 100: 10.545549, 1000: 34.265092}
    spec = vg.MLP(depth=2000, width=256, activation="tanh", init="lecun_normal", skip="residual(order=linear)", block=2)
    # Of block k the way from its end to its beginning: dL/dz of the last map of a block is dL/dh behind it.
    predicted = theory.predict(spec)
    z, forward = predicted.log10_delta_rms[1::2], predicted.log10_z_rms[0::2]
    total = math.log(100) * (z[0] - z)  # from behind block k back to behind block 1
    first = math.log(1 + float(theory.moments("tanh", 1.0)["slope"]))
    for blocks, log in expected.items():
        assert first + total[blocks - 1] == pytest.approx(log, abs=2e-6), blocks
    assert 10 ** (2 * forward[50]) == pytest.approx(39.593526, rel=1e-7)  # p_50


@pytest.mark.parametrize(("bias", "factor"), [(-1, 0.60677613), (-2, 0.79001283), (-3, 0.90964668), (-4, 0.96467459)])
def test_highways_with_closed_gates_carry_as_they_are_computed_to(bias: float, factor: float) -> None:
    # C10: (1 - T)^2 + T^2 chi with chi = 1.
    spec = vg.MLP(
        depth=21,
        width=256,
        activation="linear",
        init="lecun_normal",
        skip=f"highway(gate_bias={bias}, gate_gain=0)",
    )
    assert theory.predict(spec).factor("backward") ** 2 == pytest.approx(factor, rel=1e-8)
