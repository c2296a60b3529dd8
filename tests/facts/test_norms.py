"""What a normalisation before the activation does to gradients, and what it leaves of weights' scales.

Facts are cited by their source: (R) was read in it; (M) is cited from memory, and was derived or measured anew.

A Monte-Carlo check must be able to fail: a mean over independent nets is within 5 standard errors of the prediction,
and the standard error itself is below a stated one.
"""

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import vgcore as vg

Array: TypeAlias = npt.NDArray[Any]

LAYERS = 8


def factor_agrees(p: vg.Probe, expected: float, *, se: float) -> None:
    """Whether the squared gradient changes by this factor a layer, in a ratio of means over nets.

    The first layer divides by the deviation of what x makes, every other one by that of what an activation makes: the
    first is left out.
    """
    squares = p.delta_rms**2
    first, last = squares[:, 1], squares[:, -1]
    layers = p.spec.depth - 2
    factor = (first.mean() / last.mean()) ** (1 / layers)
    found = factor * (first / first.mean() - last / last.mean()).std(ddof=1) / math.sqrt(len(squares)) / layers
    assert found <= se
    assert abs(factor - expected) <= 5 * found


def batch_normed(activation: str, batch: int, *, width: int, nets: int, sigma_w: float = 1.0) -> vg.Probe:
    """Batch norm before the activation, on orthogonal samples: what wide nets make of any others in a few layers."""
    init = vg.Init("mean_field", sigma_w=sigma_w)
    spec = vg.MLP(depth=LAYERS + 2, width=width, activation=activation, init=init, norm="batch(eps=0)")
    return vg.probe(spec, x=math.sqrt(width) * np.eye(width)[:batch], seeds=nets)


# Infinite width, a batch of B. The samples of a unit, centred and divided by their deviation, are a direction x of
# length sqrt(B) in the B - 1 dimensions across (1, ..., 1). Their squared length before is independent of it:
# sw2 (q - c) chi2_{B-1} with q = E phi(x_1)^2 and c = E phi(x_1) phi(x_2), so that 1 / deviation^2 has the mean
# B / (sw2 (q - c) (B - 3)). The way back is D = diag phi'(x), then Q, which takes away the parts along (1, ..., 1) and
# x; it starts from a gradient of equal variance in all directions across (1, ..., 1), and ends with one.


def factor_of_finite_batch(moments: Array, batch: int) -> float:
    """The factor of the squared gradient.

    Args:
        moments: E phi phi, E phi' phi' and E x phi' x phi', each of one sample twice, then of two samples.
        batch: B.
    """
    q, c, same, other, same_x, other_x = moments
    # tr Q D^2, and 1^T D Q D 1 / B; Q_ij = [i = j] - 1/B - x_i x_j / B.
    trace = (batch - 1) * same - same_x
    ones = same - (same + (batch - 1) * other) / batch - (same_x + (batch - 1) * other_x) / batch
    return float(batch / ((q - c) * (batch - 3)) * (trace - ones) / (batch - 1))


def relu_moments(batch: int) -> Array:
    """Those of two samples at the correlation -1 / (B - 1), by the arc-cosine kernels."""
    c = -1 / (batch - 1)
    k0, k1 = 1 - math.acos(c) / math.pi, (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / math.pi
    return np.array([1, k1, 1, k0, 1, k1]) / 2


def linear_moments(batch: int) -> Array:
    c = -1 / (batch - 1)
    return np.array([1, c, 1, 1, 1, c])


def tanh_moments(batch: int) -> Array:
    """By drawing: all samples of a direction take part, so few are needed."""
    z = np.random.default_rng(0).standard_normal((500_000 // batch, batch))
    z -= z.mean(axis=1, keepdims=True)
    x = z / z.std(axis=1, keepdims=True)

    def pair(values: Array) -> tuple[float, float]:
        same = (values**2).sum(axis=1)
        other = values.sum(axis=1) ** 2 - same
        return same.mean() / batch, other.mean() / (batch * (batch - 1))

    slope = 1 - np.tanh(x) ** 2
    return np.array([*pair(np.tanh(x)), *pair(slope), *pair(x * slope)])


MOMENTS = {"relu": relu_moments, "linear": linear_moments, "tanh": tanh_moments}


@pytest.mark.parametrize(
    ("activation", "expected"), [("relu", 1.4669422069), ("linear", 1.0), ("tanh", 1.17780723)], ids=str
)
def test_a_large_batch_explodes_by_the_slope_over_the_variance_of_what_comes_out(
    activation: str, expected: float
) -> None:
    """C1. E phi'^2 / Var phi >= 1 for B -> inf; Yang et al. 2019, arXiv:1902.08129 (abstract R, 1.467 M)."""
    batch = 4096 if activation == "tanh" else 10**7
    # 500,000 drawn numbers are known to about a thousandth.
    assert factor_of_finite_batch(MOMENTS[activation](batch), batch) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(
    ("activation", "batch", "width", "nets", "sigma_w"),
    [
        ("relu", 64, 512, 80, 1.0),
        ("relu", 16, 256, 240, 3.0),
        ("tanh", 64, 512, 80, 1.0),
        ("tanh", 16, 256, 240, 1.0),
    ],
)
def test_batch_norm_before_the_activation_explodes_at_any_weight_scale(
    activation: str, batch: int, width: int, nets: int, sigma_w: float
) -> None:
    """C1 at a finite batch. Yang et al. 2019, arXiv:1902.08129 (M); ReLU 1.49306 at B = 64."""
    expected = factor_of_finite_batch(MOMENTS[activation](batch), batch)
    factor_agrees(batch_normed(activation, batch, width=width, nets=nets, sigma_w=sigma_w), expected, se=0.003)


@pytest.mark.parametrize(("batch", "expected"), [(8, 1.2), (16, 1.076923), (32, 1.034483)])
def test_linear_batch_norm_of_a_finite_batch_explodes_by_the_samples_it_takes_away(batch: int, expected: float) -> None:
    """C2. (B - 2) / (B - 3) at infinite width (derived)."""
    assert factor_of_finite_batch(linear_moments(batch), batch) == pytest.approx(expected, rel=1e-6)
    factor_agrees(batch_normed("linear", batch, width=400, nets=200), expected, se=0.003)


@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize(("activation", "expected"), [("relu", 1.0), ("tanh", 1.17780723), ("gelu", 1.07203160)])
def test_norms_over_features_explode_by_the_slope_over_the_square_of_what_comes_out(
    norm: str, activation: str, expected: float
) -> None:
    """C5. E phi'^2 / E phi^2, exactly 1 for ReLU (derived)."""
    spec = vg.MLP(depth=LAYERS + 2, width=400, activation=activation, init="lecun_normal", norm=norm)
    factor_agrees(vg.probe(spec, x=np.ones((1, 400)), seeds=250), expected, se=0.005)


def test_batch_norm_makes_the_scale_of_weights_invisible_to_the_loss() -> None:
    """C11. With eps = 0, <w_i, dL/dw_i> = 0 for every row, and c W has 1 / c of the gradient (derived)."""
    spec = vg.MLP(depth=4, width=12, in_features=7, activation="tanh", norm="batch(eps=0)", out_features=3)
    state = spec.init(seed=0, dtype="float64").state_dict()
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((9, 7)), rng.standard_normal((9, 3))
    gradients = vg.Network.from_state_dict(spec, state).gradients(x, y, loss="mse")
    scaled = dict(state)
    for layer, factor in enumerate((3.0, 0.01, 170.0, 1e-6)):
        scaled[f"layers.{layer}.weight"] = factor * state[f"layers.{layer}.weight"]
    others = vg.Network.from_state_dict(spec, scaled).gradients(x, y, loss="mse")
    assert others.loss == pytest.approx(gradients.loss, rel=1e-12)
    for layer, factor in enumerate((3.0, 0.01, 170.0, 1e-6)):
        w, dw = state[f"layers.{layer}.weight"], gradients.weights[layer]
        along = (w * dw).sum(axis=1)
        assert (np.abs(along) <= 1e-13 * np.linalg.norm(w, axis=1) * np.linalg.norm(dw, axis=1)).all()
        np.testing.assert_allclose(factor * others.weights[layer], dw, rtol=0, atol=1e-12 * np.abs(dw).max())
