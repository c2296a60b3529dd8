"""Singular values of the input-output Jacobian: right one by one, at any depth, for every part of a net."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import textwrap
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given

import vgcore as vg
from strategies import EVERY_ACTIVATION, needs_samples, norms_of, specs
from vgcore import _core, reference, theory
from vgcore.reference.cases import PARTS

Floats = npt.NDArray[np.float64]


def rotation(rng: np.random.Generator, n: int) -> Floats:
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def linear_net(weights: list[Floats], activation: str = "linear") -> vg.Network:
    """A net of these matrices, without biases."""
    width = tuple(len(weight) for weight in weights)
    spec = vg.MLP(depth=len(weights), width=width, in_features=weights[0].shape[1], activation=activation)
    state: dict[str, Floats] = {}
    for l, weight in enumerate(weights):
        state |= {f"layers.{l}.weight": weight, f"layers.{l}.bias": np.zeros(len(weight))}
    return vg.Network.from_state_dict(spec, state)


def explicit(net: vg.Network, x: Floats) -> Floats:
    """The singular values of the Jacobian that gradients of unit cotangents make, by LAPACK."""
    outputs = net.forward(x[np.newaxis]).shape[1]
    j = net.backward(np.repeat(x[np.newaxis], outputs, axis=0), np.eye(outputs)).input
    return np.linalg.svd(np.asarray(j, np.float64), compute_uv=False)


def samples(spec: vg.MLP) -> Floats:
    return np.asarray(reference.samples(spec, 0, 1, "float64")[0])


def relative_errors(found: Floats, expected: Floats) -> Floats:
    """From log10 values."""
    return np.abs(found - expected) * math.log(10)


def in_digits(net: vg.Network, x: Floats, digits: int = 1200) -> Floats:
    """log10 singular values of the product of `diag(phi') W`, plus 1 in residual nets, in as many decimal digits."""
    state = net.state_dict()
    trace = reference.propagate(net.spec, state, x[np.newaxis])
    with mpmath.workdps(digits):
        product = mpmath.eye(len(x))
        for l, slopes in enumerate(trace.slopes):
            branch = mpmath.diag(slopes[0].tolist()) * (mpmath.matrix(state[f"layers.{l}.weight"].tolist()) * product)
            product = product + branch if net.spec.skip else branch
        values = mpmath.svd_r(product, compute_uv=False)
        return np.array(sorted((float(mpmath.log10(value)) for value in values), reverse=True))


# Accuracy


def test_known_singular_values_across_600_decades_come_out_one_by_one() -> None:
    rng = np.random.default_rng(0)
    n, depth, decades = 16, 400, 1.5
    bases = [rotation(rng, n) for _ in range(depth + 1)]
    scales = 10 ** -np.linspace(0, decades, n)
    net = linear_net([bases[l + 1] * scales @ bases[l].T for l in range(depth)])
    found = vg.jacobian(net).log10_singular_values
    expected = depth * np.log10(scales)
    assert expected[0] - expected[-1] == pytest.approx(600)
    assert relative_errors(found, expected).max() < 1e-11


def test_rows_and_columns_of_very_different_sizes_keep_their_singular_values() -> None:
    rng = np.random.default_rng(1)
    sizes = 10.0 ** rng.permutation(np.linspace(-150, 140, 30))
    turns = [rotation(rng, 30) for _ in range(3)]
    expected = np.sort(np.log10(sizes))[::-1]
    for weights in ([turns[0], turns[1], sizes[:, np.newaxis] * turns[2]], [turns[0] * sizes, turns[1], turns[2]]):
        assert relative_errors(vg.jacobian(linear_net(weights)).log10_singular_values, expected).max() < 1e-12


def test_inputs_and_outputs_of_very_different_sizes_agree_with_arithmetic_of_many_digits() -> None:
    rng = np.random.default_rng(4)
    weights = [rng.standard_normal((9, 9)) for _ in range(3)]
    weights[0] *= 10.0 ** rng.permutation(np.linspace(-150, 140, 9))
    weights[2] *= 10.0 ** rng.permutation(np.linspace(-140, 150, 9))[:, np.newaxis]
    net = linear_net(weights)
    found = vg.jacobian(net, np.ones(9)).log10_singular_values
    assert relative_errors(found, in_digits(net, np.ones(9))).max() < 1e-12


@pytest.mark.parametrize(
    ("activation", "sigma_w", "depth"),
    [("tanh", 1.0, 120), ("tanh", 12.0, 50), ("sigmoid", 30.0, 50), ("sigmoid", 100.0, 20), ("linear", 1.0, 120)],
)
def test_deep_nets_agree_with_arithmetic_of_many_digits(activation: str, sigma_w: float, depth: int) -> None:
    # With large weights many slopes are 1e-10 and less, which makes rows of very different size in every layer.
    spec = vg.MLP(depth=depth, width=8, activation=activation, init=f"mean_field(sigma_w={sigma_w})")
    net, x = spec.init(seed=3, dtype="float64"), samples(spec)
    found = vg.jacobian(net, x).log10_singular_values
    expected = in_digits(net, x)
    assert expected[0] - expected[-1] > 50
    assert relative_errors(found, expected).max() < 1e-10


def test_the_singular_values_multiply_to_the_determinant() -> None:
    spec = vg.MLP(depth=50, width=128, activation="linear", init="xavier_normal")
    net = spec.init(seed=0, dtype="float64")
    logs = sum(np.linalg.slogdet(weight)[1] for name, weight in net.state_dict().items() if name.endswith("weight"))
    assert vg.jacobian(net).log10_singular_values.sum() * math.log(10) == pytest.approx(logs, rel=1e-12)


def test_the_transposed_net_has_the_same_singular_values() -> None:
    rng = np.random.default_rng(2)
    weights = [rng.standard_normal((96, 96)) / math.sqrt(96) for _ in range(60)]
    one = vg.jacobian(linear_net(weights)).log10_singular_values
    two = vg.jacobian(linear_net([weight.T.copy() for weight in reversed(weights)])).log10_singular_values
    assert one[0] - one[-1] > 40
    assert relative_errors(one, two).max() < 1e-10


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_deep_residual_nets_agree_with_arithmetic_of_many_digits(activation: str) -> None:
    spec = vg.MLP(depth=150, width=10, activation=activation, init="he_normal", skip="residual")
    net, x = spec.init(seed=0, dtype="float64"), samples(spec)
    found = vg.jacobian(net, x).log10_singular_values
    expected = in_digits(net, x, 500)
    assert expected[0] - expected[-1] > 12
    assert relative_errors(found, expected).max() < 1e-10


@pytest.mark.parametrize("power", [-700, 650])
def test_scaled_weights_shift_log10_values_exactly(power: int) -> None:
    rng = np.random.default_rng(3)
    weights = [rng.standard_normal((12, 12)) for _ in range(1000)]
    one = vg.jacobian(linear_net(weights)).log10_singular_values
    two = vg.jacobian(linear_net([weight * 2.0**power for weight in weights])).log10_singular_values
    assert two == pytest.approx(one + 1000 * power * math.log10(2), rel=1e-15)
    three = vg.jacobian(linear_net([weight * 1e-200 for weight in weights])).log10_singular_values
    assert three == pytest.approx(one - 200_000, rel=1e-14)


# Agreement with the explicit Jacobian


def assert_agrees(net: vg.Network, x: Floats) -> None:
    expected = explicit(net, x)
    found = vg.jacobian(net, x).log10_singular_values
    assert found.shape == expected.shape
    assert (np.diff(found[np.isfinite(found)]) <= 0).all()
    assert 10**found == pytest.approx(expected, rel=0, abs=1e-12 * max(expected[0], 1e-300))


@pytest.mark.parametrize("activation", EVERY_ACTIVATION)
@pytest.mark.parametrize("skip", [None, "residual(order=pre)", "highway"])
def test_every_activation_agrees_with_the_explicit_jacobian(activation: str, skip: str | None) -> None:
    shaped = activation in {"crelu", "glu", "swiglu", "geglu"}
    if shaped and skip == "highway":
        pytest.skip("a highway keeps the number of features")
    spec = vg.MLP(depth=3, width=6, activation=activation, init="normal(std=0.6)", bias="normal(std=0.5)", skip=skip)
    assert_agrees(spec.init(seed=1, dtype="float64"), samples(spec))


@pytest.mark.parametrize("norm", [None, "layer", "rms"])
@pytest.mark.parametrize("position", ["pre", "post"])
@pytest.mark.parametrize(
    "skip", [None, *vg.SKIPS, *(f"residual(order={order})" for order in ("linear", "post", "pre"))]
)
@pytest.mark.parametrize("block", [1, 2])
def test_every_norm_and_skip_agrees_with_the_explicit_jacobian(
    norm: str | None, position: Any, skip: str | None, block: int
) -> None:
    spec = vg.MLP(
        depth=4,
        width=6,
        out_features=5,
        activation="gelu",
        init="normal(std=0.6)",
        norm=norm,
        norm_position=position,
        skip=skip,
        block=block if skip else 1,
    )
    net, x = spec.init(seed=1, dtype="float64"), samples(spec)
    assert_agrees(net, x)
    outputs = np.eye(5)
    of_twin = reference.backward(spec, net.state_dict(), np.repeat(x[np.newaxis], len(outputs), axis=0), outputs).input
    expected = np.linalg.svd(of_twin, compute_uv=False)
    assert 10 ** vg.jacobian(net, x).log10_singular_values == pytest.approx(expected, rel=0, abs=1e-12 * expected[0])


@pytest.mark.parametrize("part", [part for part in PARTS if "batch" not in str(PARTS[part]) and "every" not in part])
def test_every_part_agrees_with_the_explicit_jacobian(part: str) -> None:
    given: dict[str, Any] = {"depth": 4, "width": 6, "activation": "tanh", "init": "normal(std=0.6)"}
    spec = vg.MLP(**(given | PARTS[part]))
    assert_agrees(spec.init(seed=2, dtype="float64"), samples(spec))


@given(specs())
def test_any_small_net_agrees_with_the_explicit_jacobian(spec: vg.MLP) -> None:
    assume(not needs_samples(spec) and spec.inputs == "first")
    net, x = spec.init(seed=0, dtype="float64"), samples(spec)
    # Where one unit alone is alive, a norm takes away all that its input changes but for its eps: of a difference of
    # two numbers near 1 both sides have the rounding, 1e-16 beside 1e-9.
    assume(not norms_of(spec) or explicit(net, x)[0] > 1e-6)
    assert_agrees(net, x)


def test_a_net_fed_at_every_step_has_the_jacobian_of_its_first_state() -> None:
    spec = vg.MLP(depth=5, width=6, in_features=3, activation="tanh", init="orthogonal", tied=True, inputs="every")
    net = spec.init(seed=0, dtype="float64")
    x = samples(spec)
    assert x.shape == (5, 3)
    state = net.state_dict()
    trace = reference.propagate(spec, state, x[np.newaxis])
    j = np.eye(6)
    for slopes in trace.slopes:
        j = slopes[0][:, np.newaxis] * (state["layers.0.weight"] @ j)
    assert 10 ** vg.jacobian(net, x).log10_singular_values == pytest.approx(np.linalg.svd(j, compute_uv=False))


# Rank


def test_relu_units_that_are_off_end_the_rank() -> None:
    spec = vg.MLP(depth=10, width=64, activation="relu", init="he_normal")
    net, x = spec.init(seed=0, dtype="float64"), samples(spec)
    j = vg.jacobian(net, x)
    trace = reference.propagate(spec, net.state_dict(), x[np.newaxis])
    assert j.rank <= min(int((slopes > 0).sum()) for slopes in trace.slopes)
    assert j.rank == np.linalg.matrix_rank(explicit_matrix(net, x))
    assert (j.log10_singular_values[j.rank :] == -math.inf).all()
    assert j.log10_condition == math.inf


def explicit_matrix(net: vg.Network, x: Floats) -> Floats:
    outputs = net.forward(x[np.newaxis]).shape[1]
    return np.asarray(net.backward(np.repeat(x[np.newaxis], outputs, axis=0), np.eye(outputs)).input, np.float64)


def test_deep_relu_nets_agree_with_arithmetic_of_many_digits() -> None:
    spec = vg.MLP(depth=12, width=24, activation="relu", init="he_normal")
    net, x = spec.init(seed=0, dtype="float64"), samples(spec)
    found = vg.jacobian(net, x)
    expected = in_digits(net, x, 200)
    assert 3 <= found.rank < 24
    assert relative_errors(found.log10_singular_values[: found.rank], expected[: found.rank]).max() < 1e-10
    assert expected[found.rank] < -100


@pytest.mark.parametrize(
    ("fields", "rank"),
    [
        ({"init": "constant(value=1)"}, 1),
        ({"init": "zeros"}, 0),
        ({"init": "looks_linear", "activation": "tanh"}, 10),
        ({"init": "eye"}, 20),
        ({"init": "eye", "out_features": 7}, 7),
        ({"norm": "layer(eps=0)", "init": "orthogonal"}, 18),  # without mean and length
        ({"in_features": 4}, 4),
        ({"width": (20, 5, 20)}, 5),
    ],
)
def test_weights_of_lesser_rank_end_the_rank(fields: dict[str, Any], rank: int) -> None:
    given: dict[str, Any] = {"depth": 3, "width": 20, "activation": "linear", "init": "xavier_normal"}
    spec = vg.MLP(**(given | fields))
    assert vg.jacobian(spec).rank == rank


@pytest.mark.parametrize("width", [20, 64, 200])
def test_mirrored_weights_have_half_the_rank_whatever_the_seed_and_the_order_of_units(width: int) -> None:
    spec = vg.MLP(depth=3, width=width, activation="tanh", init="looks_linear")
    for seed in range(5):
        state = spec.init(seed=seed, dtype="float64").state_dict()
        rng = np.random.default_rng(seed)
        for l in range(2):
            order = rng.permutation(width)
            state[f"layers.{l}.weight"] = state[f"layers.{l}.weight"][order]
            state[f"layers.{l + 1}.weight"] = state[f"layers.{l + 1}.weight"][:, order]
        assert vg.jacobian(vg.Network.from_state_dict(spec, state)).rank == width // 2


def test_dependent_columns_that_do_not_come_last_end_the_rank_too() -> None:
    # Two large equal columns and small ones: without another order of columns the second pivot is rounding alone.
    rng = np.random.default_rng(5)
    column = rng.standard_normal((6, 1))
    late = np.hstack([column, 3 * column, 1e-40 * rng.standard_normal((6, 4))])
    values = vg.jacobian(linear_net([np.eye(6), late.T.copy()])).log10_singular_values
    assert np.isfinite(values).tolist() == [True] * 5 + [False]
    rest = late[:, 2:] - column @ (column.T @ late[:, 2:]) / (column.T @ column)
    expected = np.log10(np.linalg.svd(1e40 * rest, compute_uv=False)) - 40
    assert relative_errors(values[1:5], expected).max() < 1e-12


# Published numbers


def test_orthogonal_linear_nets_are_isometries() -> None:
    # D5.
    j = vg.jacobian(vg.MLP(depth=100, width=128, activation="linear", init="orthogonal"))
    assert np.abs(10**j.log10_singular_values - 1).max() < 1e-12
    assert j.moment(3) == pytest.approx(1, abs=1e-12)
    assert j.log10_condition < 1e-12


def accept(values: list[float], prediction: float, largest: float) -> None:
    """The Monte-Carlo rule: within 5 standard errors, which are no larger than stated."""
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    assert error <= largest
    assert abs(float(np.mean(values)) - prediction) <= 5 * error


@pytest.mark.parametrize(("depth", "k", "largest"), [(2, 2, 0.02), (2, 3, 0.2), (5, 2, 0.09), (5, 3, 1.6)])
def test_moments_of_linear_gaussian_nets_are_fuss_catalan_numbers(depth: int, k: int, largest: float) -> None:
    # D2.
    spec = vg.MLP(depth=depth, width=150, activation="linear", init="xavier_normal")
    values = [vg.jacobian(spec, seed=seed).moment(k) for seed in range(16)]
    accept(values, theory.fuss_catalan(k, depth), largest)


@pytest.mark.parametrize("orthogonal", [False, True])
def test_the_variance_of_relu_spectra_grows_with_depth_as_predicted(*, orthogonal: bool) -> None:
    # D3: 2 L for Gaussian weights, L for orthogonal ones; 20 % with 2 nets of width 400.
    init = "orthogonal(gain=1.4142135623730951)" if orthogonal else "kaiming_normal(nonlinearity=relu)"
    spec = vg.MLP(depth=10, width=400, activation="relu", init=init)
    variance = np.mean([vg.jacobian(spec, seed=seed).moment(2) - 1 for seed in range(2)])
    expected = theory.jacobian_variance("relu", q=1.0, depth=10, orthogonal=orthogonal)
    assert variance == pytest.approx(expected, rel=0.2)


def test_lyapunov_exponents_of_linear_gaussian_nets_are_newmans() -> None:
    n, depth = 6, 2000
    spec = vg.MLP(depth=depth, width=n, activation="linear", init="xavier_normal")
    found = np.array([vg.jacobian(spec, seed=seed).exponents for seed in range(20)])
    expected = theory.lyapunov_exponents(n)
    for i, largest in enumerate([0.003, 0.003, 0.003, 0.004, 0.005, 0.008]):
        accept(found[:, i].tolist(), expected[i], largest)
    accept(found.sum(axis=1).tolist(), float(expected.sum()), 0.012)


def test_a_sigmoid_net_of_3000_layers_has_finite_values() -> None:
    j = vg.jacobian(vg.MLP(depth=3000, width=16, activation="sigmoid", init="xavier_normal"))
    assert np.isfinite(j.log10_singular_values).all()
    factor = theory.chi("sigmoid", q=theory.q_star("sigmoid", sigma_w=1.0), sigma_w=1.0)
    assert j.exponents[0] == pytest.approx(math.log(factor) / 2, rel=0.1)
    assert j.log10_condition > 1000


# What one may give, and what comes back


def test_a_spec_is_drawn_from_its_seed_and_so_is_its_input() -> None:
    spec = vg.MLP(depth=3, width=5, activation="tanh")
    net = spec.init(seed=7, dtype="float64")
    expected = vg.jacobian(net, _core.samples(spec, 7, 1, "float64")[0]).log10_singular_values
    assert vg.jacobian(spec, seed=7).log10_singular_values.tolist() == expected.tolist()
    assert vg.jacobian(net, seed=7).log10_singular_values.tolist() == expected.tolist()
    assert vg.jacobian(spec).log10_singular_values.tolist() != expected.tolist()


def test_every_instruction_set_gives_the_same_spectrum() -> None:
    # Bit for bit where a set fuses multiplications with additions, to rounding where it does not.
    code = """
    import json, vgcore as vg
    nets = [
        vg.MLP(depth=30, width=24, activation="tanh", init="xavier_normal", norm="layer"),
        vg.MLP(depth=20, width=100, activation="gelu", init="he_normal", skip="residual", block=2),
        vg.MLP(depth=6, width=20, activation="tanh", init="looks_linear"),
    ]
    print(json.dumps([vg.build_info()["isa"], [vg.jacobian(net).log10_singular_values.tolist() for net in nets]]))
    """
    spectra = {}
    for forced in ("", "avx2", "scalar"):
        environment = os.environ | {"VGCORE_ISA": forced}
        command = [sys.executable, "-c", textwrap.dedent(code)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if forced == "avx2" and "VGCORE_ISA must be one of" in done.stderr:
            continue
        assert done.returncode == 0, done.stderr
        isa, spectra[forced] = json.loads(done.stdout)
        assert forced in {"", isa}
    for scalar, best in zip(spectra["scalar"], spectra[""], strict=True):
        np.testing.assert_allclose(scalar, best, rtol=1e-10, atol=1e-10)
    assert spectra.get("avx2", spectra[""]) == spectra[""]


def test_a_float32_network_has_the_spectrum_of_its_weights() -> None:
    net = vg.MLP(depth=3, width=5, activation="tanh").init(seed=0)
    assert net.dtype == "float32"
    wide = vg.Network.from_state_dict(net.spec, {k: v.astype(np.float64) for k, v in net.state_dict().items()})
    assert vg.jacobian(net).log10_singular_values.tolist() == vg.jacobian(wide).log10_singular_values.tolist()


def test_sums_of_the_spectrum_are_what_they_say() -> None:
    s = np.array([8.0, 2.0, 1.0])
    j = vg.jacobian(linear_net([np.diag(s)]))
    assert 10**j.log10_singular_values == pytest.approx(s)
    assert (j.log10_norm, j.log10_condition) == pytest.approx((math.log10(8), math.log10(8)))
    assert j.exponents == pytest.approx(np.log(s))
    assert (j.rank, j.moment(1)) == (3, 1.0)
    assert j.moment(2) == pytest.approx(np.mean(s**4) / np.mean(s**2) ** 2)
    assert "rank 3 of 3, log10 singular values 0.9031 to 0" in repr(j)


def test_a_jacobian_of_zeros_has_neither_norm_nor_moments() -> None:
    j = vg.jacobian(vg.MLP(depth=2, width=3, init="zeros"))
    assert (j.log10_norm, j.log10_condition, j.rank) == (-math.inf, math.inf, 0)
    assert math.isnan(j.moment(2))
    with pytest.raises(ValueError, match="k must be an integer from 1 to 1000000, got 0"):
        j.moment(0)


def test_a_forward_pass_that_leaves_float64_gives_nan() -> None:
    spec = vg.MLP(depth=8, width=4, activation="softplus", init="normal(std=1e100)")
    assert np.isnan(vg.jacobian(spec).log10_singular_values).all()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([1.0, 2.0], r"x must be real numbers of shape \(in_features,\) = \(5,\), got float64 \(2,\)"),
        (np.ones((1, 5)), r"x must be real numbers of shape \(in_features,\) = \(5,\), got float64 \(1, 5\)"),
        (["a"] * 5, r"x must be real numbers"),
        ([1.0, 2.0, math.nan, 4.0, 5.0], "x must be finite"),
    ],
)
def test_a_wrong_input_is_an_error_that_says_what_is_wanted(x: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vg.jacobian(vg.MLP(depth=2, width=5), x)


def test_batch_norm_is_refused_with_a_way_out() -> None:
    with pytest.raises(ValueError, match=r"ties the samples of a batch together.* take norm='layer' or 'rms'"):
        vg.jacobian(vg.MLP(depth=2, width=5, norm="batch"))


def test_an_unknown_subject_is_refused() -> None:
    with pytest.raises(TypeError, match="subject must be a spec or a Network, got 'tanh'"):
        vg.jacobian("tanh")
