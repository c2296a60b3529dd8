"""Where floats end: the depth at which true gradients become zero, and that the measures go on as if nothing was."""

import math
from bisect import bisect_left
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import vgcore as vg
from vgcore.model.spec import Spec

Array: TypeAlias = npt.NDArray[Any]

# sqrt(chi_1), the factor per layer of the gradient norm of an infinitely wide sigmoid net with weight variance 1/n
# and with that of torch's default weights, 1/(3 n).
XAVIER = math.log10(math.sqrt(0.055720706770))
TORCH = math.log10(math.sqrt(0.020007829338))


def sigmoid(depth: int, width: int = 64, init: str = "xavier_uniform") -> vg.MLP:
    return vg.MLP(depth=depth, width=width, activation="sigmoid", init=init, bias="zeros")


def first_gradient(spec: Spec, seed: int, dtype: str) -> Array:
    """dL/dW of the first layer as true values, of 16 normal samples and targets within a sigmoid's reach."""
    rng = np.random.default_rng(seed)
    shape = (16, int(np.max(spec.width)))
    x, target = rng.standard_normal(shape), rng.uniform(size=shape)
    return spec.init(seed=seed, dtype=dtype).gradients(x, target, loss="half_mse").weights[0]


def ends(init: str, dtype: str, width: int, seed: int, depths: range) -> tuple[int, int]:
    """The first depth whose gradient has no normal number, and the first where all of it is zero."""

    @cache
    def largest(depth: int) -> float:
        return float(np.abs(first_gradient(sigmoid(depth, width, init), seed, dtype)).max())

    tiny = float(np.finfo(dtype).tiny)
    # A layer is a factor 4 or 7: what is gone at one depth is gone at all larger ones.
    subnormal = bisect_left(depths, True, key=lambda depth: largest(depth) < tiny)
    zero = bisect_left(depths, True, key=lambda depth: largest(depth) == 0)
    return depths[subnormal], depths[zero]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("net", "subnormal", "zero"),
    [
        (("xavier_uniform", "float32", 64), (60, 61), (70, 71)),
        (("xavier_uniform", "float32", 128), (60, 61), (71, 71)),
        (("xavier_uniform", "float32", 256), (60, 61), (70, 70)),
        (("mean_field", "float32", 64), (60, 61), (70, 72)),
        (("mean_field", "float32", 128), (60, 61), (70, 71)),
        (("torch_default", "float32", 64), (45, 45), (52, 52)),
        (("torch_default", "float32", 128), (45, 45), (52, 52)),
        (("xavier_uniform", "float64", 64), (489, 491), (513, 514)),
        (("mean_field", "float64", 64), (489, 491), (513, 514)),
        (("torch_default", "float64", 64), (362, 362), (380, 380)),
    ],
)
def test_true_gradients_become_zero_at_the_depth_where_torchs_do(
    net: tuple[str, str, int], subnormal: tuple[int, int], zero: tuple[int, int], seed: int
) -> None:
    # Tolerances are the table's own: a factor 4.2 (or 7) a layer, and gradients of different seeds differ by as much.
    # A product that flushed subnormals would be 10 layers (float32) or 25 (float64) early.
    tolerance = 2 if "float32" in net else 4
    low, high = subnormal[0] - tolerance - 1, zero[1] + tolerance + 2
    first_subnormal, first_zero = ends(*net, seed, range(low, high))
    assert subnormal[0] - tolerance <= first_subnormal <= subnormal[1] + tolerance
    assert zero[0] - tolerance <= first_zero <= zero[1] + tolerance


@pytest.mark.parametrize(("init", "per_layer"), [("xavier_uniform", XAVIER), ("torch_default", TORCH)])
def test_the_measured_gradient_goes_on_in_a_straight_line_where_the_true_one_is_zero(
    init: str, per_layer: float
) -> None:
    depths = range(76, 301, 32)
    s = vg.sweep(sigmoid(76, 128, init), depth=depths, batch=16, seeds=8, dtype="float32")
    for cell in s:
        assert not first_gradient(cell.spec, 0, "float32").any()
        assert np.isfinite(cell.log10_wgrad_norm).all()
        assert cell.first_nonfinite.max() == -1
    first = np.array([cell.log10_wgrad_norm[:, 0].mean() for cell in s])
    slope, start = np.polyfit(depths, first, 1)
    # A net of width n loses (3 m_2 / m_1^2 - 1) / 2n more a layer in the mean logarithm, 0.3 % at n = 128; the noise of
    # the two ends, 0.1 each, adds 0.1 % over the 192 layers between.
    assert slope == pytest.approx(per_layer, rel=0.01)
    # The walk of 8 seeds around the line. One layer is 0.63 or more: none is missed or counted twice.
    np.testing.assert_allclose(first, start + slope * np.array(depths), rtol=0, atol=0.3)


def test_the_measured_gradient_meets_the_true_one_where_that_still_exists() -> None:
    # Float64 holds what the float32 measure says at 300 layers, 10^-188.
    spec = sigmoid(300)
    x, y = np.random.default_rng(0).standard_normal((2, 16, 64))
    p = vg.probe(spec, x=x, y=y, loss="half_mse", seeds=2, dtype="float32")
    for i, seed in enumerate(p.seeds):
        true = spec.init(seed=int(seed), dtype="float64").gradients(x, y, loss="half_mse").weights
        logs = [math.log10(float(np.linalg.norm(w / np.abs(w).max())) * np.abs(w).max()) for w in true]
        assert logs[0] < -180
        # 300 float32 layers, each a relative 1e-7 or so off, times what cancels in a sum over samples.
        np.testing.assert_allclose(p.log10_wgrad_norm[i], logs, rtol=0, atol=1e-4)


def test_the_linear_view_ends_where_float64_ends_and_the_logarithm_does_not() -> None:
    p = vg.probe(sigmoid(600), batch=16, seeds=4)
    assert np.isfinite(p.log10_wgrad_norm).all()
    # 10^-323.3 is the smallest float64, at a distance of 515.65 layers.
    assert (p.wgrad_norm[:, 0] == 0).all()
    assert (p.wgrad_norm[:, -1] > 0).all()
    alive = (p.wgrad_norm > 0).sum(axis=1)
    assert np.abs(alive - 515.65).max() < 6
    assert (p.wgrad_norm[p.log10_wgrad_norm > -323] > 0).all()
    assert (p.wgrad_norm[p.log10_wgrad_norm < -324] == 0).all()


def test_ten_thousand_float32_layers_are_those_of_float64() -> None:
    spec = vg.MLP(depth=10_000, width=64, activation="sigmoid", init="xavier_normal")
    single, double = (vg.probe(spec, batch=16, seeds=2, dtype=dtype) for dtype in ("float32", "float64"))
    assert (double.log10_wgrad_norm[:, 0] < -6000).all()
    for name in ("log10_z_rms", "log10_a_rms", "log10_delta_rms", "log10_wgrad_norm", "log10_bgrad_norm"):
        a, b = getattr(single, name), getattr(double, name)
        assert a.shape == (2, 10_000)
        assert np.isfinite(a).all()
        # Of every layer and seed. A layer's float32 roundings are 1e-7 relative; over 10^4 layers they add up to 1e-5
        # as a random walk and 1e-3, or 4e-4 in log10, if they all went one way.
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-3)
