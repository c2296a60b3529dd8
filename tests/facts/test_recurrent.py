"""Nets of one matrix, over and over, and of matrices that turn without stretching.

Facts are cited by their source: (R) was read in it; (M) is cited from memory, and was derived or measured anew.
"""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import vgcore as vg

Array: TypeAlias = npt.NDArray[Any]


def jacobian(net: vg.Network, x: Array) -> Array:
    """dy/dx at one x: a sample for each row of it."""
    outputs = net.forward(x[None]).shape[1]
    return net.backward(np.tile(x, (outputs, 1)), np.eye(outputs)).input


def test_an_orthogonal_linear_net_has_singular_values_of_one() -> None:
    """D5. Saxe et al. 2013, arXiv:1312.6120 (M); 2.0e-15 was measured elsewhere."""
    net = vg.MLP(depth=100, width=128, activation="linear", init="orthogonal").init(seed=0, dtype="float64")
    for found in (net.forward(np.eye(128)), jacobian(net, np.ones(128))):
        singular = np.linalg.svd(found, compute_uv=False)
        assert np.abs(singular - 1).max() <= 1e-12
    # And columns through which no singular value could be told from another.
    p = vg.probe(net.spec, seeds=2, dtype="float64")
    np.testing.assert_allclose(p.log10_delta_rms, p.log10_delta_rms[:, -1:].repeat(100, axis=1), rtol=0, atol=1e-13)
    assert p.factor("forward").value == pytest.approx(1, abs=1e-13)


STEEPEST = {"tanh": 1.0, "sigmoid": 0.25}


@pytest.mark.parametrize("activation", STEEPEST)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_recurrent_nets_jacobian_stays_below_its_bound_at_every_step(activation: str, seed: int) -> None:
    """F1. |dh_T / dh_0| <= (gamma s_max(W))^T; Pascanu et al. 2013, arXiv:1211.5063, sec. 2.1 (M)."""
    x = np.random.default_rng(seed).standard_normal(64) / 10
    for steps in (*range(1, 21), 50, 100):
        spec = vg.MLP(depth=steps, width=64, activation=activation, init="lecun_normal", tied=True)
        net = spec.init(seed=seed, dtype="float64")
        bound = STEEPEST[activation] * np.linalg.norm(net.state_dict()["layers.0.weight"], 2)
        ratio = np.linalg.norm(jacobian(net, x), 2) / bound**steps
        assert 0 < ratio <= 1 + 1e-12
        # One step of near-linear units comes close: the bound is no loose one.
        assert steps > 1 or ratio > 0.9


@pytest.mark.parametrize("activation", STEEPEST)
def test_a_gradient_through_time_stays_below_its_bound_from_every_step_to_every_other(activation: str) -> None:
    """F1 with inputs at every step. Pascanu et al. 2013, arXiv:1211.5063, sec. 2.1 (M)."""
    spec = vg.MLP(depth=30, width=16, in_features=3, activation=activation, tied=True, inputs="every")
    net = spec.init(seed=0, dtype="float64")
    rng = np.random.default_rng(0)
    x, cotangent = rng.standard_normal((5, 30, 3)), rng.standard_normal((5, 16))
    bound = STEEPEST[activation] * np.linalg.norm(net.state_dict()["layers.0.weight"], 2)
    norms = np.array([np.linalg.norm(delta, axis=1) for delta in net.backward(x, cotangent).preactivations])
    assert norms.all()
    for step in range(30):
        for later in range(step, 30):
            assert (norms[step] <= bound ** (later - step) * norms[later] * (1 + 1e-12)).all()


def powers(seed: int, steps: int, init: str) -> vg.Network:
    return vg.MLP(depth=steps, width=64, activation="linear", init=init, tied=True).init(seed=seed, dtype="float64")


@pytest.mark.parametrize("seed", range(3))
def test_a_linear_recurrent_net_grows_by_its_spectral_radius_and_not_its_largest_singular_value(seed: int) -> None:
    """F2. |W^k|^(1/k) -> rho (Gelfand); of one matrix 1.9840, 1.1932, 1.0549 at k = 1, 10, 100, rho 1.0432."""
    w = powers(seed, 1, "lecun_normal").state_dict()["layers.0.weight"]
    rho, largest = np.abs(np.linalg.eigvals(w)).max(), np.linalg.norm(w, 2)
    assert largest > 1.5 * rho
    roots = {}
    for k in (1, 10, 100, 2000):
        # Rows of the output are W^k e_i.
        norm = np.linalg.norm(powers(seed, k, "lecun_normal").forward(np.eye(64)), 2)
        roots[k] = norm ** (1 / k)
        assert roots[k] >= rho * (1 - 1e-12)
    assert roots[1] == pytest.approx(largest, rel=1e-12)
    assert roots[1] > roots[10] > roots[100] > roots[2000]
    assert roots[100] == pytest.approx(rho, rel=0.05)
    assert roots[2000] == pytest.approx(rho, rel=0.003)


def test_a_deep_probe_of_a_linear_recurrent_net_reads_the_spectral_radius() -> None:
    """F2 where powers leave the range of float64: over 20,000 steps the gradient changes by rho^20,000."""
    spec = vg.MLP(depth=20_001, width=8, activation="linear", init="normal(std=0.2)", tied=True)
    p = vg.probe(spec, seeds=4, batch=1, dtype="float64")
    for seed in range(4):
        w = spec.replace(depth=1).init(seed=seed, dtype="float64").state_dict()["layers.0.weight"]
        rho = np.abs(np.linalg.eigvals(w)).max()
        for change in (p.end_to_end("backward")[seed], p.end_to_end("forward")[seed]):
            assert change / 20_000 == pytest.approx(np.log10(rho), abs=2e-4)
        assert abs(p.end_to_end("backward")[seed]) > 2000


def test_an_orthogonal_linear_recurrent_net_keeps_its_singular_values_for_a_thousand_steps() -> None:
    """F2. 9.3e-14 was measured elsewhere."""
    singular = np.linalg.svd(jacobian(powers(0, 1000, "orthogonal"), np.ones(64)), compute_uv=False)
    assert np.abs(singular - 1).max() <= 1e-12


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_identity_relu_recurrent_net_has_the_identity_for_a_jacobian_bit_for_bit(dtype: str) -> None:
    """F2. IRNN of a positive state; Le et al. 2015, arXiv:1504.00941 (M)."""
    net = vg.MLP(depth=1000, width=16, activation="relu", init="eye", tied=True).init(dtype=dtype)
    x = np.random.default_rng(0).uniform(0.1, 3, 16).astype(dtype)
    np.testing.assert_array_equal(net.forward(x[None])[0], x)
    np.testing.assert_array_equal(jacobian(net, x), np.eye(16))
