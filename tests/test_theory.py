"""Theory against itself, iteration and measured nets, for every activation, norm and skip that it covers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vgcore as vg
from vgcore import reference, theory
from vgcore.theory.width import Layer, aligned

Floats = npt.NDArray[np.float64]

SMOOTH = ("tanh", "sigmoid", "erf", "gelu", "silu", "mish", "softplus", "arctan", "sin", "softsign")
KINKED = ("relu", "leaky_relu(0.1)", "elu", "selu", "hardtanh", "relu6", "hardswish", "celu(alpha=0.5)")
#: sigma_w and sigma_b with a fixed variance, on both sides of the edge where there is one.
POINTS = ((0.8, 0.3), (1.2, 0.1), (1.3, 0.5))


# Maps


@given(st.sampled_from(SMOOTH + KINKED), st.floats(-6, 2))
def test_moments_are_those_of_a_plain_quadrature_of_the_twins_activation(activation: str, log_q: float) -> None:
    q = 10**log_q
    x, w = np.polynomial.legendre.leggauss(40)
    kinks = np.array([-3, -1, 0, 1, 3, 6]) / math.sqrt(q)
    ends = np.unique(np.concatenate([np.linspace(-12, 12, 97), kinks[np.abs(kinks) < 12]]))
    half, middle = np.diff(ends)[:, None] / 2, (ends[1:] + ends[:-1])[:, None] / 2
    z = (middle + half * x).ravel()
    density = (half * w).ravel() * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    phi, slope = reference.activate(reference_kind(activation), math.sqrt(q) * z)
    m = theory.moments(activation, q)
    expected = {
        "mean": density @ phi,
        "value": density @ phi**2,
        "slope": density @ slope**2,
        "growth": density @ (phi**2 * (z**2 - 1)) / (2 * q),
        "slope_growth": density @ (slope**2 * (z**2 - 1)) / (2 * q),
        "value_fourth": density @ phi**4,
        "slope_fourth": density @ slope**4,
        "mixed": density @ (phi**2 * slope**2),
    }
    for name, value in expected.items():
        # Derivatives of what hardly changes are differences of numbers that are alike.
        rounding = 1e-13 / q if name.endswith("growth") else 0.0
        assert float(m[name]) == pytest.approx(float(value), rel=1e-9, abs=1e-11 + rounding), name


def reference_kind(activation: str) -> str:
    """In the twin's spelling, with all parameters by name."""
    return str(vg.MLP(depth=1, width=1, activation=activation).activation)


def test_maps_take_arrays_of_any_shape() -> None:
    q, w, b = np.array([[0.5], [1.0]]), np.array([0.8, 1.2, 1.6]), 0.1
    mapped = theory.q_map("tanh", q=q, sigma_w=w, sigma_b=b)
    assert mapped.shape == (2, 3)
    assert mapped[1, 2] == theory.q_map("tanh", q=1.0, sigma_w=1.6, sigma_b=b)
    assert theory.c_map("tanh", c=[0.1, 0.2], q=1.0, sigma_w=1.5).shape == (2,)
    assert theory.q_star("tanh", sigma_w=w[:, None], sigma_b=[0.0, 0.3]).shape == (3, 2)
    assert theory.hermite("tanh", q=[1.0, 2.0], count=5).shape == (2, 5)
    assert theory.moments("relu", [])["value"].shape == (0,)


def test_custom_activations_have_theory_as_built_in_ones_do() -> None:
    mine = vg.Activation.custom("bent", np.tanh, lambda z: 1 / np.cosh(z) ** 2)
    ours, built = (theory.depth_scales(a, sigma_w=1.5, sigma_b=0.1) for a in (mine, "tanh"))
    assert float(ours.q_star) == pytest.approx(float(built.q_star), rel=1e-5)
    assert float(ours.xi_c) == pytest.approx(float(built.xi_c), rel=1e-3)


@pytest.mark.parametrize("activation", ["glu", "swiglu", "geglu"])
def test_gated_activations_have_the_moments_of_samples(activation: str) -> None:
    z = np.random.default_rng(0).standard_normal((200_000, 2)) * math.sqrt(0.7)
    values, slopes = reference.outputs(activation, z)
    m = theory.moments(activation, 0.7)
    assert float(m["value"]) == pytest.approx(float((values**2).mean()), rel=0.02)
    assert float(m["slope"]) == pytest.approx(float((slopes**2).sum(axis=1).mean()), rel=0.02)
    assert math.isnan(float(m["slope_fourth"]))


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "hardtanh", "crelu"])
@pytest.mark.parametrize("c", [-0.5, 0.0, 1e-13, 0.3, 0.999])
def test_pairs_are_the_moments_of_correlated_samples(activation: str, c: float) -> None:
    u, w = np.random.default_rng(1).standard_normal((2, 400_000))
    v = c * u + math.sqrt(1 - c * c) * w
    kind = "relu" if activation == "crelu" else activation  # two halves, and both alike
    (phi, slope), (other, steep) = (reference.activate(reference_kind(kind), each) for each in (u, v))
    value, bent = theory.pair_moments(activation, q=1.0, c=c)
    assert float(value) == pytest.approx(float((phi * other).mean()), abs=5e-3)
    assert float(bent) == pytest.approx(float((slope * steep).mean()), abs=5e-3)


def test_norm_rates_do_not_depend_on_large_batches() -> None:
    for activation in ("relu", "tanh", "gelu"):
        limit = theory.norm_chi(activation, "batch")
        rates = [theory.norm_chi(activation, "batch", batch=batch) for batch in (8, 64, 4096)]
        assert rates[0] > rates[1] > rates[2] > limit > 1
        assert rates[2] == pytest.approx(limit, rel=2e-3)


# Fixed points


def iterated(activation: str, sigma_w: float, sigma_b: float) -> tuple[float, float]:
    """q and c after many layers, from 1 and 0.5."""
    q = 1.0
    for _ in range(400):
        q = float(theory.q_map(activation, q=q, sigma_w=sigma_w, sigma_b=sigma_b))
    c = 0.5
    for _ in range(150):
        c = float(theory.c_map(activation, c=c, q=q, sigma_w=sigma_w, sigma_b=sigma_b))
    return q, c


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "gelu", "hardtanh", "elu"])
@pytest.mark.parametrize(("sigma_w", "sigma_b"), [(0.8, 0.3), (1.1, 0.5)])
def test_fixed_points_are_where_the_maps_lead(activation: str, sigma_w: float, sigma_b: float) -> None:
    d = theory.depth_scales(activation, sigma_w=sigma_w, sigma_b=sigma_b)
    q, c = iterated(activation, sigma_w, sigma_b)
    assert float(d.q_star) == pytest.approx(q, rel=1e-9)
    assert float(d.c_star) == pytest.approx(c, abs=1e-6)
    assert float(theory.q_star(activation, sigma_w=sigma_w, sigma_b=sigma_b)) == float(d.q_star)


@pytest.mark.parametrize(("activation", "c_star"), [("tanh", 0.263895), ("hardtanh", None), ("erf", None)])
def test_inputs_become_unlike_in_chaos(activation: str, c_star: float | None) -> None:
    d = theory.depth_scales(activation, sigma_w=2.0, sigma_b=0.3)
    c = float(d.c_star)
    assert float(theory.c_map(activation, c=c, q=d.q_star, sigma_w=2.0, sigma_b=0.3)) == pytest.approx(c, abs=1e-9)
    assert 0 < c < 1 < float(d.chi_1)
    assert c_star is None or c == pytest.approx(c_star, abs=1e-6)
    assert str(d.phase) == "chaotic"


@pytest.mark.parametrize(("sigma_w", "sigma_b"), [(1.1, 0.0), (1.15, 0.05), (1.6, 0.6)])
def test_correlations_with_kinks_are_fixed_points_next_to_the_edge_too(sigma_w: float, sigma_b: float) -> None:
    d = theory.depth_scales("hardtanh", sigma_w=sigma_w, sigma_b=sigma_b)
    found = theory.c_map("hardtanh", c=d.c_star, q=d.q_star, sigma_w=sigma_w, sigma_b=sigma_b)
    assert float(found) == pytest.approx(float(d.c_star), abs=1e-9)


def test_correlations_keep_their_sign() -> None:
    assert float(theory.c_map("linear", c=-0.5, q=1.0, sigma_w=1.0)) == pytest.approx(-0.5)


def test_what_is_a_little_off_the_edge_is_not_on_it() -> None:
    assert str(theory.depth_scales("linear", sigma_w=1.0).phase) == "critical"
    assert float(theory.q_star("linear", sigma_w=1 + 1e-8)) == math.inf
    point = theory.critical_point("tanh", sigma_b=0.3)
    phases = theory.depth_scales("tanh", sigma_w=point.sigma_w * np.array([1 - 1e-5, 1, 1 + 1e-5]), sigma_b=0.3).phase
    assert phases.tolist() == ["ordered", "critical", "chaotic"]


@pytest.mark.parametrize(("sigma_w", "sigma_b"), [(0.9, 0.2), (1.7, 0.3)])
def test_deviations_shrink_e_fold_within_the_depth_scales(sigma_w: float, sigma_b: float) -> None:
    d = theory.depth_scales("tanh", sigma_w=sigma_w, sigma_b=sigma_b)
    q, c, small = float(d.q_star), float(d.c_star), 1e-4
    step = float(theory.q_map("tanh", q=q + small, sigma_w=sigma_w, sigma_b=sigma_b)) - q
    assert -1 / math.log(step / small) == pytest.approx(float(d.xi_q), rel=1e-3)
    below = c - float(theory.c_map("tanh", c=c - small, q=q, sigma_w=sigma_w, sigma_b=sigma_b))
    assert -1 / math.log(below / small) == pytest.approx(float(d.xi_c), rel=1e-3)
    assert 1 / math.log(float(theory.chi("tanh", q=q, sigma_w=sigma_w))) == pytest.approx(float(d.xi_grad), rel=1e-9)


def test_a_net_that_keeps_everything_has_scales_without_end() -> None:
    d = theory.depth_scales("relu", sigma_w=math.sqrt(2))
    assert (float(d.xi_q), float(d.xi_c), float(d.xi_grad)) == (math.inf, math.inf, math.inf)
    assert str(d.phase) == "critical"


def test_phases_are_named() -> None:
    d = theory.depth_scales("relu", sigma_w=[1.0, 2.0, 1.0], sigma_b=[0.0, 0.0, 0.5])
    assert d.phase.tolist() == ["vanishing", "exploding", "ordered"]
    assert np.isnan(d.xi_c[:2]).all()


@pytest.mark.parametrize("activation", ["tanh", "erf", "gelu", "sin", "hardtanh"])
def test_phase_diagrams_are_depth_scales_on_a_grid(activation: str) -> None:
    diagram = theory.phase_diagram(activation, sigma_w=np.linspace(0.6, 2.4, 7), sigma_b=np.linspace(0, 0.9, 4))
    assert repr(diagram) == f"PhaseDiagram({activation}, 4 x 7)"
    exact = theory.depth_scales(activation, sigma_w=diagram.sigma_w, sigma_b=diagram.sigma_b[:, None])
    assert (diagram.phase == exact.phase).all()
    found = diagram.scales
    kept = np.isfinite(exact.q_star) & (exact.q_star > 0)
    assert found.q_star[kept] == pytest.approx(exact.q_star[kept], rel=1e-5)
    assert found.chi_1[kept] == pytest.approx(exact.chi_1[kept], rel=1e-5)
    assert found.c_star[kept] == pytest.approx(exact.c_star[kept], abs=3e-3 if activation == "hardtanh" else 1e-6)
    off = 0.2 if activation == "hardtanh" else 1e-3
    assert found.xi_c[kept] == pytest.approx(exact.xi_c[kept], rel=off)


def test_points_of_the_critical_line_are_critical() -> None:
    for activation in ("tanh", "erf", "gelu", "silu"):
        line = theory.critical_line(activation, q=np.geomspace(0.01, 50, 9))
        there = line.attracts & ~np.isnan(line.sigma_b)
        scales = theory.depth_scales(activation, sigma_w=line.sigma_w[there], sigma_b=line.sigma_b[there])
        # Another fixed point may lie on the way from 1.
        same = np.abs(scales.q_star / line.q[there] - 1) < 1e-4
        assert same.any()
        assert scales.chi_1[same] == pytest.approx(1, abs=1e-4)


def test_an_init_on_the_edge_of_chaos_draws_what_critical_point_says() -> None:
    point = theory.critical_point("tanh", sigma_b=0.2)
    p = theory.predict(vg.MLP(depth=60, width=32, activation="tanh", init="critical(0.2)"))
    assert p.sigma_w == pytest.approx(point.sigma_w, rel=1e-9)
    assert p.sigma_b == pytest.approx(0.2)
    assert 10 ** (2 * p.log10_z_rms[-1]) == pytest.approx(point.q_star, rel=1e-3)
    assert p.scales is not None
    assert float(p.scales.chi_1) == pytest.approx(1, abs=1e-6)


# Finite width


@pytest.mark.parametrize(
    ("activation", "sigma_w", "sigma_b", "width"),
    [
        ("tanh", 1.5, 0.1, 128),
        ("tanh", 1.0, 0.3, 64),
        ("sigmoid", 1.0, 0.1, 64),
        ("erf", 2.0, 0.05, 128),
        ("selu", 1.0, 0.0, 64),
        ("elu", 1.2, 0.1, 64),
        ("relu", math.sqrt(2), 0.0, 128),
        ("softplus", 1.0, 0.1, 256),
    ],
)
def test_typical_gradients_drift_and_vary_as_the_width_says(
    activation: str, sigma_w: float, sigma_b: float, width: int
) -> None:
    # 3000 nets of 24 layers: the standard error of the drift is 2 % of the variance's root.
    spec = vg.MLP(
        depth=24, width=width, activation=activation, init=vg.Init("mean_field", sigma_w=sigma_w, sigma_b=sigma_b)
    )
    p, t = vg.probe(spec, batch=1, seeds=3000), theory.predict(spec, batch=1)
    logs = (p.log10_delta_rms[:, 0] - p.log10_delta_rms[:, -1]) * math.log(100)
    change = (t.log10_delta_rms[0] - t.log10_delta_rms[-1]) * math.log(100)
    drift, variance = t.delta_drift[0] * math.log(100), (t.delta_std[0] * math.log(100)) ** 2
    error = float(logs.std()) / math.sqrt(len(logs))
    assert error < 0.03
    # What is left are terms of second order: squares of the first.
    assert abs(logs.mean() - change - drift) <= 4 * error + variance**2 / 8
    assert float(logs.var()) == pytest.approx(variance, rel=4 * math.sqrt(2 / len(logs)) + variance / 25)


def test_nets_too_narrow_for_the_first_order_have_no_band() -> None:
    spec = vg.MLP(depth=20, width=64, activation="gelu", init="mean_field(1.4, 0.3)")
    p = theory.predict(spec)
    assert np.isnan(p.delta_std).all()
    assert "narrow" in p.uncovered
    assert np.isnan(theory.gradient_noise("gelu", sigma_w=1.4, sigma_b=0.3, width=[4, 10_000])).tolist() == [
        [True, False],
        [True, False],
    ]


def test_chi_squared_laws_are_those_of_many_draws() -> None:
    logs = np.log(np.random.default_rng(0).chisquare(20, 200_000) / 20)
    drift, variance = theory.gradient_noise("linear", sigma_w=1.0, width=20)
    assert float(drift) == pytest.approx(float(logs.mean()), abs=3e-3)
    assert float(variance) == pytest.approx(float(logs.var()), rel=0.02)


def test_lyapunov_exponents_add_up_to_determinants() -> None:
    # ln |det W| of 4 x 4 matrices, and of one number -(gamma + ln 2) / 2.
    assert theory.lyapunov_exponents(1)[0] == pytest.approx(-(np.euler_gamma + math.log(2)) / 2, rel=1e-12)
    drawn = np.random.default_rng(0).standard_normal((100_000, 4, 4)) * (1.5 / 2)
    logs = np.linalg.slogdet(drawn).logabsdet
    error = float(logs.std()) / math.sqrt(len(logs))
    assert abs(logs.mean() - theory.lyapunov_exponents(4, sigma_w=1.5).sum()) < 4 * error < 0.02


def test_orthogonal_weights_leave_half_the_variance_of_relu_spectra() -> None:
    # D3: 2 L and L.
    for orthogonal, expected in ((False, 20), (True, 10)):
        assert theory.jacobian_variance("relu", q=1.0, depth=10, orthogonal=orthogonal) == pytest.approx(expected)


# Predictions

COVERED: dict[str, dict[str, Any]] = {
    "rms": {"norm": "rms"},
    "layer": {"norm": "layer"},
    "batch": {"norm": "batch"},
    "post rms": {"norm": "rms", "norm_position": "post"},
    "post layer": {"norm": "layer", "norm_position": "post"},
    "residual": {"skip": "residual"},
    "residual layer": {"skip": "residual", "norm": "layer"},
    "residual batch": {"skip": "residual", "norm": "batch"},
    "linear": {"skip": "residual(order=linear)", "block": 2},
    "pre": {"skip": "residual(order=pre)"},
    "pre batch": {"skip": "residual(order=pre)", "norm": "batch"},
    "scaled": {"skip": "residual(order=linear)", "branch_scale": "1/sqrt(L)"},
    "rezero": {"skip": "rezero(alpha=0.5)", "block": 2},
    "highway": {"skip": "highway"},
    "highway layer": {"skip": "highway", "norm": "layer"},
    "dense": {"skip": "dense", "depth": 8, "width": 64, "in_features": 256},
    "dense batch": {"skip": "dense", "norm": "batch", "depth": 8, "width": 64, "in_features": 256},
    "standardised": {"weight_transform": "weight_standardization"},
    "readout": {"out_features": 200},
    "before the map": {"norm": "rms", "norm_position": "input", "skip": "residual(order=linear)", "block": 2},
    "by layer": {"norm": [None, "layer"] * 6, "norm_position": ["pre", "post", "pre", "input"] * 3},
    "end": {"final_norm": "layer", "out_features": 200, "dropout": 0.5, "bias": [False, None] * 6},
}


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("kind", COVERED)
def test_predictions_are_what_wide_nets_measure(kind: str, activation: str) -> None:
    fields: dict[str, Any] = {"depth": 12, "width": 400, "init": "mean_field(1.3, 0.1)", "activation": activation}
    spec = vg.MLP(**(fields | COVERED[kind]))
    assert_predicted(spec)


#: Blocks of transformers without attention: x + V gelu(U LN(x)), four times as wide within, behind a stem.
BLOCKS: dict[str, Any] = {
    "stem": 1,
    "block": 2,
    "activation": ["linear", "gelu", "gelu"],
    "norm": [None, "layer", None],
    "norm_position": "input",
    "skip": "residual(order=linear)",
    "final_norm": "layer",
}
LISTS: dict[str, list[str]] = {
    "pre-norm block": ["linear(512)", "keep(a)", "layer", "linear(900)", "gelu", "linear(512)", "add(a, 0.7)", "rms"],
    "projection": ["linear(512)", "tanh", "keep(a)", "linear(512)", "gelu", "linear(300)", "project(a)", "linear(200)"],
    "input again": ["keep(x)", "linear(512)", "tanh", "linear(512)", "tanh", "concat(x)", "linear(512)", "tanh"],
    "over one another": [
        *("linear(512)", "keep(a)", "tanh", "linear(512)", "keep(b)", "tanh", "linear(512)"),
        *("add(a)", "rms", "linear(512)", "dropout(0.2)", "add(b)", "rms", "linear(100)"),
    ],
}


def assert_predicted(spec: vg.MLP | vg.Sequential) -> None:
    p, t = vg.probe(spec, seeds=6, batch=64), theory.predict(spec, batch=64)
    for column in ("log10_z_rms", "log10_a_rms", "log10_delta_rms", "log10_wgrad_norm"):
        measured = np.log10(np.mean(10 ** (2 * getattr(p, column)), axis=0)) / 2
        # 0.06 decades over 12 layers are 1.2 % a layer; typical gelu nets without a norm are that far off themselves.
        assert getattr(t, column) == pytest.approx(measured, abs=0.06), column
    assert t.correlation == pytest.approx(p.correlation.mean(axis=0), abs=0.04)


def test_blocks_behind_a_stem_measure_what_is_predicted_at_any_number_of_them() -> None:
    spec = vg.MLP(depth=1 + 2 * 12, width=[512, 2048, 512], in_features=400, out_features=200, **BLOCKS)
    assert_predicted(spec)
    assert_predicted(spec.replace(depth=1 + 2 * 3))
    # What adds up block by block grows as a power of the depth: it neither vanishes nor explodes.
    deep = theory.predict(spec, depth=1 + 2 * 1000)
    assert 1 < float(deep.log10_delta_rms[0] - deep.log10_delta_rms[-1]) < 3


@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_parts_measure_what_is_predicted(kind: str) -> None:
    assert_predicted(vg.Sequential(LISTS[kind], in_features=400, init="mean_field(1.3, 0.1)"))


def test_a_list_of_the_parts_of_an_mlp_is_predicted_as_the_mlp_is() -> None:
    fields: dict[str, Any] = {"depth": 8, "width": 64, "activation": "relu", "out_features": 3, "skip": "residual"}
    given: dict[str, Any] = {"in_features": 64, "init": "mean_field(1.3, 0.1)"}
    for mlp, block in (
        (vg.MLP(**fields, **given), ["keep({0})", "linear(64)", "relu", "add({0})"]),
        (vg.MLP(**fields | {"skip": None}, **given), ["linear(64)", "relu"]),
    ):
        parts = [part.format(f"x{i}") for i in range(8) for part in block]
        ours, theirs = theory.predict(vg.Sequential([*parts, "linear(3)"], **given)), theory.predict(mlp)
        for column in ("log10_z_rms", "log10_delta_rms", "log10_wgrad_norm", "correlation", "delta_std"):
            assert np.array_equal(getattr(ours, column), getattr(theirs, column), equal_nan=True), column
        assert str(ours) == str(theirs)


GRID = ((0.8, 0.0), (1.0, 0.2), (1.4, 0.3))
#: Products of two signals vanish or explode like exponentials of exponentials without a norm.
GATED = {"glu", "swiglu", "geglu"}
#: Of these nothing is left of small signals.
SHRINKING = {"softshrink", "hardshrink", "tanhshrink"}


@pytest.mark.parametrize("activation", sorted({*vg.ACTIVATIONS} - {"threshold"} | {"threshold(-0.5, 0.3)"}))
def test_every_activation_is_predicted_on_a_grid_of_weights_and_biases(activation: str) -> None:
    norm = "rms" if activation in GATED else None
    for sigma_w, sigma_b in ((3.0, 1.0),) if activation in SHRINKING else GRID:
        init = vg.Init("mean_field", sigma_w=sigma_w, sigma_b=sigma_b)
        spec = vg.MLP(depth=10, width=512, activation=activation, init=init, norm=norm)
        p, t = vg.probe(spec, seeds=8, batch=32, dtype="float64"), theory.predict(spec, batch=32)
        change = p.log10_delta_rms[:, 0] - p.log10_delta_rms[:, -1]
        expected = t.log10_delta_rms[0] - t.log10_delta_rms[-1]
        error = float(change.std(ddof=1)) / math.sqrt(len(change))
        assert error < 0.04, (sigma_w, sigma_b)
        # Samples of one net share its weights: of the drift of one sample they keep a part. Where theory has none, a
        # hundredth of a decade a layer is left to it.
        drift = -0.1 if t.uncovered else t.delta_drift[0]
        low, high = sorted((expected, expected + drift))
        assert low - 5 * error - 0.01 <= change.mean() <= high + 5 * error + 0.01, (sigma_w, sigma_b)


def test_residual_relu_nets_have_a_direction_in_common() -> None:
    spec = vg.MLP(depth=20, width=256, activation="relu", init="mean_field(1.3, 0.1)", skip="residual")
    p, t = vg.probe(spec, seeds=60, batch=1), theory.predict(spec, batch=1)
    squares = 10 ** (2 * (p.log10_delta_rms - t.log10_delta_rms))
    mean, error = squares.mean(axis=0), squares.std(axis=0, ddof=1) / math.sqrt(len(squares))
    assert (np.abs(mean - 1) < 5 * error).all()
    assert error.max() < 0.2
    wide = theory.predict(spec.replace(width=100_000, in_features=100_000), batch=1)
    # It is a fourth of the root mean square at width 256, and nothing at none.
    assert t.log10_delta_rms[0] - wide.log10_delta_rms[0] > 0.3


def test_inits_are_predicted_by_the_sizes_of_their_weights_and_biases() -> None:
    net = vg.MLP(depth=4, width=(64, 256, 64, 128), in_features=100, activation="relu")
    drawn = theory.predict(net.replace(init="torch_default"))  # weights and biases U(-1 / sqrt(fan_in), ...)
    fans = np.array([100, 64, 256, 64])
    assert drawn.sigma_w == pytest.approx(math.sqrt(1 / 3))
    assert drawn.sigma_b == pytest.approx(1 / np.sqrt(3 * fans))
    # Orthogonal: the fewer of rows and columns have unit length.
    assert theory.predict(net.replace(init="orthogonal(2)")).sigma_w == pytest.approx(
        2 * np.sqrt([1.0, 0.25, 1.0, 0.5])
    )
    assert theory.predict(net.replace(init="xavier_normal")).sigma_w == pytest.approx(
        np.sqrt(2 * fans / (fans + np.array([64, 256, 64, 128])))
    )
    p, t = vg.probe(net.replace(init="orthogonal"), seeds=20, batch=16), theory.predict(net.replace(init="orthogonal"))
    assert t.log10_z_rms == pytest.approx(p.log10_z_rms.mean(axis=0), abs=0.03)


def test_signals_of_zeros_have_the_slope_that_nets_have_at_zero() -> None:
    for activation in ("abs", "relu", "tanh"):
        spec = vg.MLP(depth=3, width=64, activation=activation, init="mean_field(0)")
        p, t = vg.probe(spec, seeds=2, batch=8), theory.predict(spec, batch=8)
        assert t.log10_delta_rms[-1] == pytest.approx(p.log10_delta_rms.mean(axis=0)[-1], abs=0.05)


def test_gated_nets_have_one_correlation_in_pictures_and_in_depth_scales() -> None:
    exact = theory.depth_scales("glu", sigma_w=1.3, sigma_b=2.0)
    found = theory.phase_diagram("glu", sigma_w=[1.3], sigma_b=[2.0]).scales.c_star[0, 0]
    assert float(found) == pytest.approx(float(exact.c_star), abs=1e-4)
    assert theory.c_map("glu", c=exact.c_star, q=exact.q_star, sigma_w=1.3, sigma_b=2.0) == pytest.approx(exact.c_star)


@pytest.mark.parametrize("unit", [1e-20, 1e8, 1e40])
def test_what_relu_nets_have_in_common_does_not_depend_on_the_unit_of_signals(unit: float) -> None:
    q = [2.0 * 2.5**l for l in range(20)]

    def found(scale: float) -> Floats:
        layers = [Layer.of("relu", ww=2.0, bb=0.0, q=each * scale, width=64) for each in q]
        return aligned(layers, 1.0, start=(scale, 0.0))

    np.testing.assert_allclose(found(unit), found(1.0), rtol=1e-12)


def test_a_residual_net_behind_a_layer_of_another_size_has_the_same_direction_in_common() -> None:
    spec = vg.MLP(depth=12, width=512, in_features=100, activation="abs", init="critical", skip="residual")
    p, t = vg.probe(spec, seeds=12, batch=24), theory.predict(spec, batch=24)
    measured = np.log10(np.mean(100**p.log10_delta_rms, axis=0)) / 2
    assert t.log10_delta_rms == pytest.approx(measured, abs=0.06)


def test_a_first_layer_of_another_size_leaves_a_net_its_scales() -> None:
    p = theory.predict(vg.MLP(depth=5, width=64, in_features=10, activation="tanh", init="xavier_normal"))
    assert p.sigma_w[0] != p.sigma_w[1]
    assert p.scales is not None
    assert theory.predict(vg.MLP(depth=3, width=(64, 32, 64), init="xavier_normal")).scales is None


def test_no_depth_leaves_the_range_of_numbers() -> None:
    for activation in ("sigmoid", "relu", "tanh", "crelu"):
        p = theory.predict(vg.MLP(depth=2000, width=4096, activation=activation, init="mean_field(0.8)"))
        for column in ("log10_z_rms", "log10_delta_rms", "log10_wgrad_norm"):
            assert np.isfinite(getattr(p, column)).all(), (activation, column)
        assert p.factor("backward") == pytest.approx(
            {"sigmoid": 0.1922, "relu": 0.8 / math.sqrt(2), "crelu": 0.8 / math.sqrt(2)}.get(activation, 0.8), rel=2e-3
        )


def test_depth_takes_the_place_of_the_specs_own() -> None:
    spec = vg.MLP(depth=3, width=64, activation="tanh")
    assert theory.predict(spec, depth=7).log10_z_rms.shape == (7,)
    assert theory.predict(spec, depth=7).spec == spec.replace(depth=7)


def test_predictions_print_what_they_say() -> None:
    p = theory.predict(vg.MLP(depth=30, width=512, activation="tanh", init="mean_field(1.5, 0.05)"))
    text = str(p)
    assert "sigma_w=1.5, sigma_b=0.05: chaotic" in text
    assert "q* = 0.798" in text
    assert "chi_1 = 1.13671: dL/dz times 1.0662 a layer at the fixed point" in text
    plain = p.to_dict()
    assert plain["phase"] == "chaotic"
    assert plain["factors"]["backward"] == p.factor("backward")
    assert len(plain["log10_z_rms"]) == 30
    skipped = theory.predict(vg.MLP(depth=30, width=512, skip="residual"))
    assert skipped.scales is None
    first, last = str(skipped).splitlines()
    assert last == "theory has no finite-width band with a skip."
    forth, back, weight = (f"{skipped.factor(signal):.4g}" for signal in ("forward", "backward", "weight"))
    assert first == f"a layer multiplies z by {forth}, and on the way back dL/dz by {back} and dL/dW by {weight}"
    assert math.isnan(theory.predict(vg.MLP(depth=1, width=8)).factor("backward"))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tied": True}, "tied weights"),
    ({"skip": "residual(order=post)"}, "order=post"),
    ({"weight_transform": "spectral_norm"}, "spectral_norm"),
    ({"norm": "batch", "norm_position": "post"}, "norm=batch"),
    ({"norm": "batch(eps=10)"}, "eps"),
    ({"norm": "batch", "activation": "swiglu"}, "multiplies two signals"),
    ({"init": "eye"}, "init=eye"),
    ({"init": "lsuv"}, "init=lsuv"),
    ({"bias": "ones"}, "biases ones"),
    ({"activation": "geglu", "init": "mean_field(2)", "depth": 60}, "no two are alike"),
    ({"activation": "tanhshrink", "depth": 7}, "no two are alike"),
    ({"bias": "normal(std=0.1)", "init": "mean_field(3)", "depth": 2000}, "leave the range"),
    ({"skip": "residual", "init": "mean_field(1e100)"}, "leave the range"),
    ({"init": "mean_field(1e160)"}, "leave the range"),
    (
        {"activation": "sigmoid", "depth": 24, "width": 256, "weight_transform": "weight_standardization"},
        "alike but for rounding",
    ),
    ({"init": "zeros", "weight_transform": "weight_standardization"}, "equal weights"),
    ({"norm": "batch", "norm_position": "input"}, "norm=batch without an activation right behind it"),
    ({"final_norm": "batch"}, "batch behind the last layer"),
]


@pytest.mark.parametrize(("fields", "words"), REFUSED)
def test_what_theory_does_not_cover_is_refused_with_the_reason(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as refusal:
        theory.predict(vg.MLP(**({"depth": 10, "width": 32} | fields)))
    assert "it covers wide untied nets" in str(refusal.value)


def test_parts_that_theory_does_not_know_are_refused_by_name() -> None:
    for parts, words in (
        (["linear(8)", "tanh", "keep(a)", "linear(8)", "add(a)", "tanh"], "tanh of features that are not normal"),
        (["linear(8)", "tanh", "linear(8)", "tanh", "gelu", "linear(2)"], "gelu behind the last layer"),
    ):
        with pytest.raises(ValueError, match=words):
            theory.predict(vg.Sequential(parts, in_features=8))
    with pytest.raises(ValueError, match="depth goes with an MLP"):
        theory.predict(vg.Sequential(["linear(8)", "tanh"], in_features=8), depth=3)
    with pytest.raises(TypeError, match="an MLP, a Sequential, an RNN or a Transformer"):
        theory.predict("relu")  # type: ignore[arg-type]


def test_a_batch_of_five_under_batch_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="batch of 5"):
        theory.predict(vg.MLP(depth=10, width=32, norm="batch"), batch=5)
    with pytest.raises(ValueError, match="6 or more"):
        theory.norm_chi("relu", "batch", batch=5)


WRONG: list[tuple[Any, str]] = [
    (lambda: theory.moments("tanh", -1.0), "q must be numbers of 0 or more, and finite"),
    (lambda: theory.moments("tanh", math.nan), "q must be numbers of 0 or more, and finite"),
    (lambda: theory.moments("tahn", 1.0), "tanh"),
    (lambda: theory.q_star("tanh", sigma_w="wide"), "sigma_w must be a number or an array of numbers"),
    (lambda: theory.q_star("tanh", sigma_w=[1.0, -1.0]), "sigma_w must be numbers from 0 to 1e"),
    (lambda: theory.c_map("tanh", c=1.5, q=1.0, sigma_w=1.0), "c must be numbers from -1 to 1"),
    (lambda: theory.chi("tanh", q=1.0, sigma_w=math.inf), "sigma_w must be numbers from 0 to 1e"),
    (lambda: theory.critical_point("relu", sigma_b=0.3), "no edge of chaos"),
    (lambda: theory.phase_diagram("tanh", sigma_w=[2.0, 1.0]), "ascending"),
    (lambda: theory.norm_chi("relu", "group"), "unknown norm"),
    (lambda: theory.hermite("relu", q=1.0, count=0), "count must be an integer from 1"),
    (lambda: theory.gradient_noise("relu", sigma_w=1.0, width=0), "width must be numbers from 1 to 1e"),
    (lambda: theory.hermite("tanh", q=1.0, count=10**12), "count must be an integer from 1 to 10000"),
    (lambda: theory.hermite("swiglu", q=1.0), "multiplies two signals"),
    (lambda: theory.norm_chi("swiglu", "batch"), "multiplies two signals"),
    (lambda: theory.norm_chi("relu", "batch", batch=math.nan), "batch must be a number of 1 or more, or inf"),
    (lambda: theory.moments("tanh", True), "q must be a number or an array of numbers"),
    (lambda: theory.q_star("tanh", sigma_w=1e200), "sigma_w must be numbers from 0 to 1e"),
    (lambda: theory.gradient_noise("tanh", sigma_w=[1.0], width=64), "sigma_w must be a number from 0"),  # type: ignore[arg-type]
    (lambda: theory.gradient_noise("relu", sigma_w=1.0, width=64.5), "width must be whole numbers"),
    (lambda: theory.critical_point("tanh", sigma_b=[0.1]), "sigma_b must be a number from 0"),  # type: ignore[arg-type]
    (lambda: theory.critical_line("tanh", q=[3.0, 1.0]), "ascending"),
    (lambda: theory.lyapunov_exponents(0), "width must be an integer"),
    (lambda: theory.fuss_catalan(2, -1), "depth must be an integer"),
    (lambda: theory.predict(vg.MLP(depth=2, width=4)).factor("sideways"), "unknown signal"),  # type: ignore[arg-type]
    (lambda: theory.predict(vg.MLP(depth=2, width=4), batch=True), "batch must be an integer"),
    (lambda: theory.predict(vg.MLP(depth=2, width=4), batch=0), "batch must be an integer from 1"),
]


@pytest.mark.parametrize(("call", "words"), WRONG)
def test_wrong_arguments_are_named(call: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        call()


SHAPE: dict[str, Any] = {"stem": 1, "block": 2, "width": [256, 1024, 256], "activation": ["linear", "gelu", "gelu"]}
PATTERNS: dict[str, dict[str, Any]] = {
    "feed-forward half of a transformer": {
        "depth": 13,
        "in_features": 64,
        "skip": "residual(order=linear)",
        "final_norm": "layer",
        "norm": [None, "layer", None],
        "norm_position": "input",
        **SHAPE,
    },
    "norms in every other layer": {
        "depth": 8,
        "width": 512,
        "norm": ["rms", None],
        "norm_position": "post",
        "block": 2,
    },
    "batch norm in every other layer": {"depth": 8, "width": 512, "norm": ["batch", None], "block": 2},
    "norms at two places": {
        "depth": 8,
        "width": 512,
        "norm": [None, "layer"],
        "norm_position": ["pre", "input"],
        "block": 2,
        "skip": "residual",
    },
    "a final norm": {"depth": 6, "width": 512, "activation": "tanh", "init": "xavier_normal", "final_norm": "rms"},
    "a stem of three": {"depth": 7, "stem": 3, "width": 512, "skip": "residual"},
    "no biases": {"depth": 8, "width": 512, "activation": "tanh", "bias": False},
    "inits by pattern": {
        "depth": 7,
        "stem": 1,
        "block": 2,
        "width": [512, 1024, 512],
        "init": ["lecun_normal", "kaiming_normal", "xavier_normal", "lecun_normal"],
    },
}


@pytest.mark.parametrize("net", PATTERNS)
def test_fields_by_layer_stems_and_final_norms_are_followed(net: str) -> None:
    spec = vg.MLP(out_features=32, **PATTERNS[net])
    measured, predicted = vg.probe(spec, seeds=8, batch=64), theory.predict(spec, batch=64)
    for name in ("log10_z_rms", "log10_a_rms", "log10_delta_rms", "log10_wgrad_norm", "correlation"):
        means = getattr(measured, name).mean(axis=0)
        np.testing.assert_allclose(getattr(predicted, name), means, atol=0.04, err_msg=name)


def test_predict_takes_specs_only() -> None:
    wrong: Any = "tanh"
    with pytest.raises(TypeError, match="spec must be an MLP, a Sequential, an RNN or a Transformer, got 'tanh'"):
        theory.predict(wrong)
