"""Facts of training, each at a small size at which it held for eight seeds; `benches/trained_facts.py` has them whole.

Digits standardised by one mean and deviation, 1437 rows to train on, N(0, 1/n) readouts, zero biases, batches of 32,
cross-entropy, SGD with momentum 0.9 where nothing else is said. A blind guess loses ln 10 = 2.303.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import vgcore as vg

x, y = vg.data.digits()
order = np.random.default_rng(0).permutation(len(x))
rows, held_out = order[:1437], order[1437:]
momentum = partial(vg.SGD, momentum=0.9)


def net(depth: int, activation: str, init: str, **fields: Any) -> vg.MLP:
    given: dict[str, Any] = {"width": 32, "in_features": 64, "out_features": 10} | fields
    return vg.MLP(depth=depth, activation=activation, init=[init] * depth + ["lecun_normal"], **given)


def trained(spec: vg.MLP, optimizer: str, steps: int, **settings: Any) -> vg.Run:
    given: dict[str, Any] = {"loss": "cross_entropy", "batch": 32, "monitor": [], "seeds": 2} | settings
    return vg.train(spec, x[rows], y[rows], optimizer=optimizer, steps=steps, **given)


def final(*args: Any, **settings: Any) -> NDArray[np.float64]:
    """Mean of the last 20 losses, seed by seed."""
    losses: NDArray[np.float64] = trained(*args, **settings).loss[:, -20:].mean(axis=1)
    return losses


# He 2015, figure 3, has 30 layers; 20 of width 32 show it in 200 steps.
def test_a_deep_relu_net_trains_from_hes_weights_and_stalls_from_xaviers() -> None:
    assert final(net(20, "relu", "kaiming_normal"), momentum(lr=0.005), 200).max() < 1.8
    assert final(net(20, "relu", "xavier_normal"), momentum(lr=0.005), 200).min() > 2.2


def test_xaviers_first_relu_layer_gets_a_gradient_smaller_by_two_to_minus_half_the_depth() -> None:
    first = {
        init: trained(net(20, "relu", init), momentum(lr=0.005), 1, monitor=["log10_wgrad_norm"], seeds=16)
        for init in ("kaiming_normal", "xavier_normal")
    }
    apart = [run.log10_wgrad_norm[:, 0, 0].mean() for run in first.values()]
    assert apart[0] - apart[1] == pytest.approx(10 * math.log10(2), abs=0.3)


# Glorot and Bengio 2010: 2 layers train in 250 steps, 6 do not leave the blind guess.
def test_a_sigmoid_net_trains_while_it_is_shallow() -> None:
    assert final(net(2, "sigmoid", "xavier_normal"), momentum(lr=0.1), 250).max() < 0.5
    assert final(net(6, "sigmoid", "xavier_normal"), momentum(lr=0.1), 250).min() > 2.25
    assert final(net(5, "tanh", "xavier_normal"), momentum(lr=0.1), 100).max() < 1.2


# 6 layers of width 16, 100 steps.
def test_without_momentum_a_deep_sigmoid_net_stays_at_the_blind_guess() -> None:
    assert final(net(6, "sigmoid", "xavier_normal", width=16), vg.SGD(lr=0.1), 100).min() > 2.28


# Yang 2019, De and Smith 2020: 10, 50 and 50 layers of width 32, 150 steps.
def test_batch_norm_carries_a_deep_net_only_with_a_skip() -> None:
    def losses(depth: int, **fields: Any) -> NDArray[np.float64]:
        return final(net(depth, "relu", "kaiming_normal", norm="batch", **fields), momentum(lr=0.02), 150)

    assert losses(10).max() < 1.0
    assert losses(50).min() > 2.1
    assert losses(50, skip="residual(order=linear)", block=2).max() < 1.0


# Klambauer 2017 has 32 layers; 20 of width 32 show it in 200 steps.
def test_a_deep_selu_net_trains_without_a_norm() -> None:
    assert final(net(20, "selu", "lecun_normal"), momentum(lr=0.01), 200).max() < 1.2


# Pascanu 2013: 30 layers of width 32, 60 steps.
def test_clipping_keeps_finite_what_diverges_at_once_without_it() -> None:
    spec = net(30, "relu", "mean_field(sigma_w=2)")
    free, clipped = (trained(spec, momentum(lr=0.02), 60, clip=clip) for clip in (None, 1.0))
    assert set(free.stopped_by) == {"non_finite"}
    assert free.first_bad is not None
    assert (free.first_bad.step, free.first_bad.phase) == (2, "forward")
    assert set(clipped.stopped_by) == {"steps"}
    assert np.isfinite(clipped.loss).all()


# Schoenholz 2017: width 32, 200 steps.
@pytest.mark.parametrize(("square", "trains", "fails"), [(1.0, 10, 50), (1.5, 20, 100)])
def test_the_depth_that_trains_grows_toward_the_edge_of_chaos(square: float, trains: int, fails: int) -> None:
    init = f"mean_field(sigma_w={math.sqrt(square)}, sigma_b={math.sqrt(0.05)})"
    assert final(net(trains, "tanh", init), momentum(lr=0.01), 200).max() < 1.2
    assert final(net(fails, "tanh", init), momentum(lr=0.01), 200).min() > 2.2


# Sohl-Dickstein 2024: 32 x 32 of the rates.
def test_the_boundary_of_rates_that_train_is_more_than_a_line() -> None:
    found = vg.rate_fractal(np.geomspace(1, 1e5, 32), np.geomspace(5, 100, 32))
    assert 0.55 < found.converged.mean() < 0.75
    assert 1 < found.dimension < 2


def test_a_fractal_has_the_same_bits_on_one_thread_and_on_two() -> None:
    one, two = (vg.rate_fractal(np.geomspace(1e3, 1e5, 8), np.geomspace(5, 100, 8), threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one.measure, two.measure)


# Bachlechner 2020: 300 layers of width 16, 60 steps; the bench has 1000.
def test_a_rezero_net_of_hundreds_of_layers_learns_in_sixty_steps() -> None:
    spec = vg.MLP(depth=300, width=16, in_features=64, out_features=10, skip="rezero")
    run = trained(spec, vg.Adagrad(lr=0.01), 60)
    assert run.loss[:, -5:].mean(axis=1).max() < 1.0
    _, accuracy = run.evaluate(x[held_out], y[held_out])
    assert accuracy > 0.75


def full_batch(lr: float) -> vg.Run:
    spec = vg.MLP(depth=2, width=24, in_features=64, out_features=10, activation="tanh", init="lecun_normal")
    given: dict[str, Any] = {"loss": "half_mse", "batch": 100, "dtype": "float64", "monitor": [], "sharpness": 20}
    some = rows[:100]
    return vg.train(spec, x[some], np.eye(10)[y[some]], optimizer=vg.SGD(lr=lr), steps=1000, **given)


# Cohen 2021: 100 rows, width 24, 1000 steps.
def test_sharpness_rises_to_two_over_the_rate_and_stays_there() -> None:
    run = full_batch(0.2)
    ratio = run.sharpness[0] * 0.2 / 2
    assert ratio[1] < 0.9  # the first steps fall to where it is flat
    assert np.median(ratio[25:]) == pytest.approx(1, abs=0.03)
    assert run.loss[0, -1] < run.loss[0, 500]


def test_a_rate_above_two_over_the_sharpness_diverges_and_the_run_says_where() -> None:
    run = full_batch(0.3)
    assert run.stopped_by == ("non_finite",)
    assert run.first_bad is not None
    assert run.first_bad.step == run.steps_done[0] + 1


def quadratic(points: list[list[float]], start: list[float], optimizer: str, steps: int) -> NDArray[np.float64]:
    """Where an optimiser is after so many steps on the mean over points of (w . point)^2 / 2."""
    spec = vg.MLP(depth=1, width=1, in_features=len(start), activation="linear")
    network = vg.Network.from_state_dict(spec, {"layers.0.weight": np.array([start]), "layers.0.bias": np.zeros(1)})
    given: dict[str, Any] = {"loss": "half_mse", "frozen": "layers.0.bias", "monitor": []}
    run = vg.train(network, points, np.zeros(len(points)), optimizer=optimizer, steps=steps, **given)
    weight: NDArray[np.float64] = run.network.state_dict()["layers.0.weight"][0]
    return weight


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.99])
def test_momentum_is_stable_up_to_a_curvature_of_two_and_two_beta_over_the_rate(beta: float) -> None:
    def last(share: float) -> float:
        return abs(float(quadratic([[1.0]], [1.0], vg.SGD(lr=share * (2 + 2 * beta), momentum=beta), 2000)[0]))

    assert last(0.999) < 0.1
    assert last(1.001) > 10


# Of torch, on (w1^2 + 10 w2^2) / 2 from (1, -2); equal to optax where it has the form.
THIRD_ITERATES: dict[str, tuple[float, float]] = {
    "sgd(lr=0.05)": (0.857375, -0.25),
    "sgd(lr=0.05, momentum=0.9)": (0.731375, 1.46),
    "sgd(lr=0.05, momentum=0.9, nesterov=true)": (0.631462625, 0.80975),
    "sgd(lr=0.05, momentum=0.9, dampening=0.9)": (0.85097375, 0.8075),
    "sgd(lr=0.05, momentum=0.9, weight_decay=0.1)": (0.705803625, 1.47543525),
    "adam(lr=0.1)": (0.701586274504, -1.70062339143),
    "adam(lr=0.1, weight_decay=0.1)": (0.701586274221, -1.70062339143),
    "adam(lr=0.1, eps=0.1)": (0.729687567828, -1.70214670274),
    "adamw(lr=0.1, weight_decay=0.1)": (0.675101223189, -1.64436868295),
    "rmsprop(lr=0.1)": (5.0885e-12, -0.309687370167),
    "rmsprop(lr=0.1, momentum=0.9)": (-1.03732721286, 1.40754203577),
    "rmsprop(lr=0.1, eps=1)": (0.757370448655, -0.676584235015),
    "adagrad(lr=0.1)": (0.780456181366, -1.77582151501),
    "adagrad(lr=0.1, initial_accumulator=0.1, eps=1e-7)": (0.787512784166, -1.77584059027),
    "lion(lr=0.1)": (0.7, -1.7),
}


@pytest.mark.parametrize("optimizer", THIRD_ITERATES)
def test_an_optimiser_takes_torchs_steps(optimizer: str) -> None:
    found = quadratic([[math.sqrt(2), 0], [0, math.sqrt(20)]], [1.0, -2.0], optimizer, 3)
    np.testing.assert_allclose(found, THIRD_ITERATES[optimizer], rtol=0, atol=1e-10)


# 4 layers of width 32, 250 steps; the bench has 6 of width 64.
def test_adam_and_boosting_train_the_sigmoid_net_that_sgd_does_not() -> None:
    spec = net(4, "sigmoid", "xavier_normal")
    boost = vg.Clip(max_norm=None, min_norm=1.0)
    assert final(spec, momentum(lr=0.1), 250).min() > 2.25
    assert final(spec, momentum(lr=0.03), 250, clip=boost).max() < 1.0
    assert final(spec, vg.Adam(lr=0.01), 250).max() < 1.0
