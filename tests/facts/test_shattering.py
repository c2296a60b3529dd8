"""Shattered gradients: how the dL/dz of two samples that share one dL/dy lose each other on their way to the input.

Facts are cited by their source: (R) was read in it; (M) is cited from memory, and was derived or measured anew.
Balduzzi et al. 2017, arXiv:1702.08591, is where the name is from (R) and the rates of its theorems (M). They hold for
units that are active for two samples independently; those of a plain ReLU net are not.

A mean over independent nets must be within 5 standard errors of what is predicted, and its standard error below a
stated one.
"""

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import vgcore as vg

Array: TypeAlias = npt.NDArray[Any]

RELU = vg.MLP(depth=10, width=300, out_features=1, activation="relu", init="kaiming_normal")
SMALL = RELU.replace(depth=6, width=32)


def shared(net: vg.MLP | vg.Network, **options: Any) -> Array:
    """The column of a net whose samples share their dL/dy: one readout, the same for all."""
    return vg.probe(net, loss="output_sum", **options).gradient_correlation


def mean(values: Array) -> tuple[Array, Array]:
    """Over independent nets, with its standard error."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(len(values))


def orthogonal(width: int, samples: int = 32) -> Array:
    """Samples of squared length n."""
    return math.sqrt(width) * np.eye(width)[:samples]


def profile(depth: int) -> Array:
    """Of infinitely wide ReLU nets, from orthogonal samples: at layer l the product of k0(c) over the layers from l on.

    dL/dz is phi'(z) times what arrives from behind, which is independent of z, and two samples share a slope of 1 as
    often as k0(c) says, c the correlation of their z there. This goes through a layer as k1(c) (Cho & Saul 2009).
    """
    c, kept = 0.0, []
    for _ in range(depth):
        kept.append(1 - math.acos(c) / math.pi)
        c = (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / math.pi
    product: Array = np.cumprod(kept[::-1])[::-1]
    return product


def test_the_product_of_derivative_kernels_has_its_known_values() -> None:
    known = {1: 0.5, 2: 0.301557624, 3: 0.200345021, 5: 0.104558842, 10: 3.36521510e-2, 50: 9.12024220e-4}
    for depth, value in known.items():
        assert profile(depth)[0] == pytest.approx(value, rel=1e-8)


# Width 300 is 0.004 above its limit at the input, and in 20 layers 0.008: of the order of depth over width.
@pytest.mark.parametrize(("width", "depth", "nets"), [(300, 10, 60), (1000, 10, 40), (1000, 20, 40)])
def test_gradients_of_orthogonal_samples_in_relu_nets_keep_the_product_of_derivative_kernels(
    width: int, depth: int, nets: int
) -> None:
    found, se = mean(shared(RELU.replace(depth=depth, width=width), x=orthogonal(width), seeds=nets))
    assert se[0] <= 0.0015
    assert se.max() <= 0.008
    np.testing.assert_array_less(np.abs(found - profile(depth)), 5 * se)


def test_a_plain_relu_net_does_not_halve_the_correlation_of_gradients_at_every_layer() -> None:
    found, se = mean(shared(RELU, x=orthogonal(300), seeds=60))
    halved = 0.5 ** np.arange(10, 0, -1)
    assert (found - 5 * se > 1.5 * halved).all()  # 0.83 is left by the last layer, not 0.5
    assert found[0] - 5 * se[0] > 30 * halved[0]


def frozen(seed: int, depth: int = 6, width: int = 256, batch: int = 64) -> Array:
    """The column of a batch-normalised net whose statistics are constants, folded into weights and biases."""
    spec = RELU.replace(depth=depth, width=width, bias="zeros")
    state = spec.init(seed=seed, dtype="float64").state_dict()
    x = np.random.default_rng(seed).standard_normal((batch, width))
    h = x
    for l in range(depth):
        z = h @ state[f"layers.{l}.weight"].T
        centre, size = z.mean(axis=0), z.std(axis=0)
        state[f"layers.{l}.weight"] /= size[:, None]
        state[f"layers.{l}.bias"] = -centre / size
        h = np.maximum((z - centre) / size, 0)
    return shared(vg.Network.from_state_dict(spec, state), x=x, seeds=1)


def test_batch_norm_with_frozen_statistics_halves_it_at_every_layer() -> None:
    # Its z are uncorrelated on average: c = 0 in every layer, and k0(0) = 1/2.
    found, se = mean(np.concatenate([frozen(seed) for seed in range(40)]))
    assert se[0] <= 0.0028
    assert abs(found[0] - 2**-6) <= 5 * se[0]
    assert found[0] + 5 * se[0] < profile(6)[0] / 3


def test_the_gradients_of_a_batch_under_batch_norm_sum_to_zero_and_so_oppose_each_other() -> None:
    # Equal lengths would give -1 / (B - 1) exactly.
    found = shared(RELU.replace(depth=6, norm="batch"), batch=64, seeds=4)
    np.testing.assert_allclose(63 * found, -1, rtol=0, atol=0.1)


@pytest.mark.parametrize("depth", [16, 32])
def test_residual_nets_shatter_gradients_more_slowly_than_plain_ones(depth: int) -> None:
    plain, se = mean(shared(RELU.replace(depth=depth, width=128), batch=64, seeds=80)[:, 0])
    for skip in ("residual", "residual(order=pre)"):
        found, its = mean(shared(RELU.replace(depth=depth, width=128, skip=skip), batch=64, seeds=80)[:, 0])
        assert found - plain > 5 * math.hypot(se, its)


@pytest.mark.parametrize(
    "fields",
    [{"activation": "linear"}, {"activation": "crelu", "init": "looks_linear"}],
    ids=["linear", "looks linear"],
)
def test_a_linear_net_shatters_nothing(fields: dict[str, Any]) -> None:
    found = shared(SMALL.replace(**fields), batch=16, seeds=3, dtype="float64")
    np.testing.assert_allclose(found, 1, rtol=0, atol=1e-12)


def test_the_gradients_of_equal_samples_are_equal() -> None:
    x = np.repeat(np.random.default_rng(0).standard_normal((1, 32)), 5, axis=0)
    np.testing.assert_allclose(shared(SMALL, x=x, seeds=3, dtype="float64"), 1, rtol=0, atol=1e-12)


def test_one_sample_has_no_gradient_correlation() -> None:
    assert np.isnan(shared(SMALL, batch=1, seeds=2)).all()


def test_samples_without_a_gradient_are_left_out() -> None:
    # Of four samples two are dead in the one layer, and the others have one slope.
    spec = vg.MLP(depth=1, width=2, out_features=1, activation="relu", init="constant(1)")
    assert shared(spec, x=[[1, 1], [2, 1], [-1, -1], [-2, -1]], seeds=1)[0, 0] == pytest.approx(1, rel=1e-12)
    assert np.isnan(shared(spec, x=[[1, 1], [-1, -1]], seeds=1)).all()


@pytest.mark.parametrize("constant", [2.0**-40, 2.0**40, -1.0, 3.0])
def test_a_loss_times_a_constant_changes_nothing(constant: float) -> None:
    state = SMALL.init(seed=0, dtype="float64").state_dict()
    nets = [
        vg.Network.from_state_dict(SMALL, state | {"readout.weight": factor * state["readout.weight"]})
        for factor in (1.0, constant)
    ]
    plain, times = (shared(net, batch=16, seeds=1) for net in nets)
    np.testing.assert_allclose(times, plain, rtol=0, atol=1e-12)


def test_random_cotangents_have_nothing_in_common_in_any_net() -> None:
    for fields in ({}, {"activation": "linear"}, {"skip": "residual"}):
        p = vg.probe(RELU.replace(width=128, out_features=None, **fields), batch=64, seeds=40)
        found, se = mean(p.gradient_correlation)
        assert se.max() <= 0.002
        np.testing.assert_array_less(np.abs(found), 5 * se)


def test_a_sum_of_the_last_activations_themselves_leaves_more_in_common() -> None:
    # W^T phi'(W h) has a part along h, as phi'(z) z is of one sign; a readout's weights of random sign have none.
    found, se = mean(shared(RELU.replace(out_features=None), x=orthogonal(300), seeds=60))
    assert se[0] <= 0.003
    assert found[0] - 5 * se[0] > 3 * profile(10)[0]
