"""How much of a signal and of its gradient different skips let through.

Facts are cited by their source: (R) was read in it; (M) is cited from memory, and was derived or measured anew.

A Monte-Carlo check must be able to fail: a mean over independent nets is within 5 standard errors of the prediction,
and the standard error itself is below a stated one.
"""

import math
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import vgcore as vg

Array: TypeAlias = npt.NDArray[Any]


def agrees(values: Array, expected: float, *, relative_error: float) -> None:
    """Whether a mean over independent nets is what it should be, and known well enough to tell."""
    se = values.std(ddof=1) / math.sqrt(len(values))
    assert se <= relative_error * abs(expected)
    assert abs(values.mean() - expected) <= 5 * se


# x + a V phi(W x) with a zero-mean V: what is added stands across x, on average over V.


def branched(blocks: int, width: int, activation: str, init: str, scale: float | str) -> vg.MLP:
    return vg.MLP(
        depth=2 * blocks,
        width=width,
        activation=activation,
        init=[init, "lecun_normal"] * blocks,
        skip="residual(order=linear)",
        block=2,
        branch_scale=scale,
    )


@pytest.mark.parametrize("width", [8, 20])
@pytest.mark.parametrize(
    ("blocks", "scale", "whole", "relative_error"),
    [(6, 1.0, 64, 0.02), (20, "1/sqrt(L)", 2.653298, 0.01), (100, "1/sqrt(L)", 2.704814, 0.02)],
)
def test_a_branch_of_zero_mean_adds_the_square_of_its_scale_at_every_width(
    blocks: int, scale: float | str, whole: float, relative_error: float, width: int
) -> None:
    """C6. E|x_L|^2 and E|J u|^2 = (1 + a^2)^L; Balduzzi et al. 2017, De and Smith 2020, arXiv:2002.10444 (M).

    Seen from inside the branches, at whose ends the columns are: of L blocks, L - 1 lie between.
    """
    p = vg.probe(
        branched(blocks, width, "relu", "kaiming_normal", scale),
        x=np.ones((1, width)),
        seeds=20_000 if blocks < 100 else 6000,
    )
    squared = 1.0 if scale == 1.0 else 1 / blocks
    assert (1 + squared) ** blocks == pytest.approx(whole, rel=1e-6)
    grows = whole / (1 + squared)
    # W x has the variance 2 |x|^2 / n, and the gradient of V's output is a times that of the sum.
    agrees(p.z_rms[:, -2] ** 2 / 2, grows, relative_error=relative_error)
    agrees(p.delta_rms[:, 1] ** 2 / squared, grows, relative_error=relative_error)


def test_a_branch_of_positive_mean_adds_more_than_its_square() -> None:
    """C6, its limit. x + relu(W x) has a branch that adds up along (1, ..., 1)."""
    spec = vg.MLP(depth=7, width=20, activation="relu", init="kaiming_normal", skip="residual")
    z = vg.probe(spec, x=np.ones((1, 20)), seeds=4000).z_rms[:, -1] ** 2 / 2
    assert z.mean() - 5 * z.std(ddof=1) / math.sqrt(len(z)) > 64 * 1.2


TANH = {10: 2.643206, 50: 7.216100, 100: 10.545549, 1000: 34.265092}


@cache
def tanh_recursion(blocks: int) -> tuple[list[float], list[float]]:
    """|x|^2 / n after so many blocks x + V tanh(W x), and the logarithm of E|J u|^2, from |x|^2 = n."""
    # The trapezoid rule: tanh(30 z) is too steep for Gauss's.
    nodes = np.linspace(-12, 12, 10_001)
    weights = np.exp(-(nodes**2) / 2)
    weights /= weights.sum()
    p, log = [1.0], [0.0]
    for _ in range(blocks):
        t = np.tanh(math.sqrt(p[-1]) * nodes)
        log.append(log[-1] + math.log1p(float(weights @ (1 - t**2) ** 2)))
        p.append(p[-1] + float(weights @ t**2))
    return p, log


def test_a_tanh_residual_net_grows_slower_than_any_exponential() -> None:
    """C7. log E|J u|^2 ~ (8/3) sqrt(L / (2 pi)); Yang and Schoenholz 2017, arXiv:1712.08969 (M)."""
    p, log = tanh_recursion(1000)
    for blocks, expected in TANH.items():
        assert log[blocks] == pytest.approx(expected, abs=1e-6)
    assert p[50] == pytest.approx(39.593526, abs=1e-6)
    # Its corrections are of relative order 1 / sqrt(L).
    assert (log[1000] - log[500]) / (math.sqrt(1000) - math.sqrt(500)) == pytest.approx(1.0638, rel=0.03)


@pytest.mark.parametrize("blocks", [11, 51])
def test_tanh_residual_nets_follow_their_recursion(blocks: int) -> None:
    """C7, measured: 7.24 of 12 nets and |x|^2 / n = 39.4(1.6) were found elsewhere at L = 50."""
    nets = 300 if blocks == 51 else 1000
    probe = vg.probe(branched(blocks, 200, "tanh", "lecun_normal", 1.0), x=np.ones((1, 200)), seeds=nets)
    p, log = tanh_recursion(blocks)
    agrees(probe.z_rms[:, -2] ** 2, p[blocks - 1], relative_error=0.01)
    # From after the first block to the end.
    agrees(probe.delta_rms[:, 1] ** 2, math.exp(log[blocks] - log[1]), relative_error=0.05)


# Branches that start as zero.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("changes", "zero", "moves"),
    [
        ({"skip": "rezero", "activation": "tanh"}, ["layers.{}.weight", "layers.{}.bias"], ["skips.{}.weight"]),
        ({"skip": "rezero(order=pre)"}, ["layers.{}.weight", "layers.{}.bias"], ["skips.{}.weight"]),
        (
            {"skip": "residual(order=linear)", "block": 2, "init": ["kaiming_normal", "zeros"] * 4},
            ["layers.{even}.weight", "layers.{even}.bias"],
            ["layers.{odd}.weight", "layers.{odd}.bias"],
        ),
        (
            {"skip": "residual(order=linear)", "block": 2, "init": "fixup"},
            ["layers.{even}.weight", "layers.{even}.bias"],
            ["layers.{odd}.weight", "layers.{odd}.bias"],
        ),
    ],
    ids=["rezero", "rezero-pre", "zeros", "fixup"],
)
def test_branches_that_are_zero_let_the_gradient_through_bit_for_bit(
    changes: dict[str, Any], zero: list[str], moves: list[str], dtype: str
) -> None:
    """C9. ReZero arXiv:2003.04887, Fixup arXiv:1901.09321, SkipInit arXiv:2002.10444 (M)."""
    net = vg.MLP(depth=8, width=16, **changes).init(seed=0, dtype=dtype)
    rng = np.random.default_rng(0)
    x, cotangent = (rng.standard_normal((5, 16)).astype(dtype) for _ in range(2))
    np.testing.assert_array_equal(net.forward(x), x)
    gradients = net.backward(x, cotangent)
    np.testing.assert_array_equal(gradients.input, cotangent)

    def named(patterns: list[str]) -> set[str]:
        return {p.format(l, even=l - l % 2, odd=l - l % 2 + 1) for p in patterns for l in range(8)}

    assert named(zero) | named(moves) == set(gradients.parameters)
    for name in named(zero):
        assert not gradients.parameters[name].any()
    for name in named(moves):
        assert gradients.parameters[name].any()


# (1 - T) x + T W x with a gate T = sigmoid(b) that looks at nothing.

HIGHWAY = {-1: 0.60677613, -2: 0.79001283, -3: 0.90964668, -4: 0.96467459}


@pytest.mark.parametrize("bias", HIGHWAY)
def test_a_highway_lets_through_what_its_gates_say(bias: int) -> None:
    """C10. E|J u|^2 = ((1 - T)^2 + T^2)^L of linear layers; Srivastava et al. 2015, arXiv:1505.00387 (M)."""
    skip = vg.Skip("highway", gate_gain=0, gate_bias=bias)
    spec = vg.MLP(depth=21, width=50, activation="linear", init="lecun_normal", skip=skip)
    p = vg.probe(spec, x=np.ones((1, 50)), seeds=4000)
    t = 1 / (1 + math.exp(-bias))
    assert (1 - t) ** 2 + t**2 == pytest.approx(HIGHWAY[bias], abs=5e-9)
    assert bias != -2 or HIGHWAY[bias] ** 20 == pytest.approx(0.00896774, rel=1e-5)
    agrees(p.z_rms[:, -1] ** 2, HIGHWAY[bias] ** 20, relative_error=0.01)
    # dL/dz is T times the gradient of the sum.
    agrees(p.delta_rms[:, 0] ** 2 / t**2, HIGHWAY[bias] ** 20, relative_error=0.01)
