"""Maps of training say what single runs say, and hold the facts of their papers."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vgcore as vg
from vgcore import _core, plot
from vgcore.maps.grid import samples, sizes
from vgcore.maps.rates import box_dimension, how_it_went
from vgcore.theory.fixed import depth_scales

X, Y = vg.data.digits()
NET = vg.MLP(depth=1, width=16, in_features=64, out_features=10, activation="tanh", init="mean_field(1.3, 0.2)")
UNBOUNDED = NET.replace(activation="relu", init="kaiming_normal")  # tanh does not let a loss become infinite


# Trainability


@pytest.fixture(scope="module")
def trained() -> vg.Trainability:
    return vg.trainability("tanh", sigma_w=[1.0, 1.5], depth=[2, 8, 40], sigma_b=0.2, width=16, steps=60)


def test_a_cell_of_the_map_is_a_run_of_its_net(trained: vg.Trainability) -> None:
    spec = NET.replace(depth=8, init="mean_field(1.5, 0.2)")
    run = vg.train(spec, X, Y, loss="cross_entropy", optimizer="sgd(lr=0.005, momentum=0.9)", steps=60, batch=64)
    assert trained.final_loss[1, 1] == run.final_loss[0]
    assert trained.first_loss[1, 1] == run.loss[0, 0]


def test_the_lines_are_those_of_theory_and_of_a_diagnosis(trained: vg.Trainability) -> None:
    scales = depth_scales("tanh", sigma_w=[1.0, 1.5], sigma_b=0.2)
    np.testing.assert_array_equal(trained.xi_c, scales.xi_c)
    np.testing.assert_array_equal(trained.xi_grad, scales.xi_grad)
    for limit, scale in zip(trained.depth_limit, (1.0, 1.5), strict=True):
        judged = vg.diagnose(NET.replace(depth=40, init=f"mean_field({scale}, 0.2)"), x=X, seeds=4)
        assert judged.depth_limit is not None
        assert limit == judged.depth_limit.value


def test_the_blind_guess_of_the_digits_is_the_entropy_of_their_classes(trained: vg.Trainability) -> None:
    shares = np.bincount(Y) / len(Y)
    assert trained.blind == pytest.approx(-(shares * np.log(shares)).sum())


def test_nets_train_within_the_gradients_depth_and_not_far_beyond() -> None:
    # Training facts P1: losses after 250 steps at width 64, where 6 xi_c are 22 and 95 layers.
    how: dict[str, Any] = {"sigma_b": 0.05**0.5, "width": 64, "steps": 250}
    ordered = vg.trainability("tanh", sigma_w=[1.0], depth=[10, 40], **how)
    closer = vg.trainability("tanh", sigma_w=[1.5**0.5], depth=[40, 80], **how)
    assert ordered.final_loss[0, 0] < 0.4
    assert ordered.final_loss[0, 1] > 1.5
    assert closer.final_loss[0, 0] < 0.8
    assert closer.final_loss[0, 1] > 2.2
    np.testing.assert_allclose(6 * ordered.xi_c, 21.76, rtol=1e-3)
    np.testing.assert_allclose(6 * closer.xi_c, 94.75, rtol=1e-3)


def test_more_seeds_make_a_median_in_which_what_diverged_is_largest() -> None:
    how: dict[str, Any] = {"lr": [0.001, 1e9], "depth": [1, 3], "steps": 25, "seeds": 3}
    found = vg.rate_map(UNBOUNDED, **how)
    single = [vg.rate_map(UNBOUNDED, **how | {"seeds": 1, "seed": seed}).final_loss for seed in range(3)]
    np.testing.assert_array_equal(found.final_loss[0], np.median(single, axis=0)[0])
    assert np.isnan(found.final_loss[1]).all()
    np.testing.assert_array_equal(found.diverged, [[False, False], [True, True]])


# Rates and depths


def test_the_best_rate_of_a_depth_is_that_of_the_least_loss() -> None:
    found = vg.rate_map(NET, lr=[1e-4, 1e-2, 1e9], depth=[1, 2], steps=40)
    assert found.best_lr.tolist() == [0.01, 0.01]
    run = vg.train(NET, X, Y, loss="cross_entropy", optimizer="sgd(lr=0.01, momentum=0.9)", steps=40, batch=64)
    assert found.final_loss[1, 0] == run.final_loss[0]


def test_where_every_rate_diverges_none_is_the_best() -> None:
    found = vg.rate_map(UNBOUNDED, lr=[1e8, 1e9], depth=[1, 2], steps=25)
    assert np.isnan(found.best_lr).all()


def test_other_samples_give_a_net_of_their_columns_and_classes() -> None:
    assert sizes(X, Y, "cross_entropy") == (64, 10)
    assert sizes(X, ["a", "b"] * 10, "cross_entropy") == (64, 2)
    assert sizes(X, X[:, :3], "mse") == (64, 3)
    found = vg.trainability("relu", sigma_w=[1.4], depth=[1], x=X, y=X[:, :3], loss="mse", steps=5)
    assert found.loss == "mse"
    with pytest.raises(ValueError, match="y is given without x"):
        samples(None, Y)


@pytest.mark.parametrize(("depth", "words"), [([2, 1], "ascending"), ([1.5], "whole numbers"), ([], "ascending")])
def test_depths_are_whole_and_ascend(depth: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        vg.rate_map(NET, lr=[0.1], depth=depth)


# The fractal


SMALL: dict[str, Any] = {"lr0": np.geomspace(1, 1e5, 33), "lr1": np.geomspace(5, 100, 33)}


@pytest.fixture(scope="module")
def fractal() -> vg.RateFractal:
    return vg.rate_fractal(**SMALL)


def mean_field(found: vg.RateFractal, lr0: float, lr1: float) -> list[float]:
    """Losses of the net in the form of the source: y = v1 . tanh(sqrt(2 / n) v0 x) / n, one rate for v0, one for v1."""
    state = found.spec.init(seed=found.seed, dtype="float64").state_dict()
    n = len(state["layers.0.weight"])
    v0, v1 = math.sqrt(n / 2) * state["layers.0.weight"], n * state["readout.weight"][0]
    x, y = found.x, found.y[:, 0]
    losses = []
    for _ in range(found.steps):
        h = np.tanh(math.sqrt(2 / n) * x @ v0.T)
        error = h @ v1 / n - y
        losses.append(float(np.mean(error**2)))
        back = 2 * error / len(y)
        dz = back[:, None] * v1 / n * (1 - h**2)
        v0, v1 = v0 - lr0 * math.sqrt(2 / n) * dz.T @ x, v1 - lr1 * h.T @ back / n
    return losses


@pytest.mark.parametrize(("i", "j"), [(0, 0), (4, 3), (1, 14), (3, 32)])
def test_a_cell_is_the_net_of_the_source_in_its_mean_field_form(fractal: vg.RateFractal, i: int, j: int) -> None:
    losses = mean_field(fractal, fractal.lr0[i], fractal.lr1[j])
    assert fractal.measure[i, j] == pytest.approx(how_it_went(np.array([losses]))[0], rel=1e-6)


def test_it_has_as_many_samples_as_weights_and_no_biases(fractal: vg.RateFractal) -> None:
    assert fractal.x.shape == (72, 8)
    assert fractal.y.shape == (72, 1)
    assert np.abs([fractal.x.mean(), fractal.y.mean(), fractal.x.std() - 1, fractal.y.std() - 1]).max() < 0.35
    assert vg.rate_fractal([1.0, 2.0], [1.0, 2.0], width=16, steps=20).x.shape == (272, 16)


def test_the_boundary_is_rougher_than_a_line(fractal: vg.RateFractal) -> None:
    assert 0.3 < fractal.converged.mean() < 0.9
    assert 1.1 < fractal.dimension < 2


def test_the_window_that_is_shown_by_default_has_the_boundary_in_it_at_any_width() -> None:
    small = vg.rate_fractal(width=4, steps=30)
    assert small.measure.shape == (64, 64)
    assert 0.3 < small.converged.mean() < 0.9
    np.testing.assert_allclose([small.lr0[0], small.lr1[-1]], [0.25, 25.0])


def test_threads_do_not_change_a_bit(fractal: vg.RateFractal) -> None:
    few: dict[str, Any] = {"lr0": fractal.lr0[::3], "lr1": fractal.lr1[::3]}
    for threads in (1, 2):
        np.testing.assert_array_equal(vg.rate_fractal(**few, threads=threads).measure, fractal.measure[::3, ::3])


def test_with_a_hidden_layer_that_hardly_moves_the_readout_diverges_beyond_two_over_its_curvature() -> None:
    # Then it is linear regression on h / n: gradient descent on a quadratic.
    found = vg.rate_fractal([1e-250, 2e-250], np.geomspace(30, 80, 60), steps=300)
    h = np.tanh(found.x @ found.spec.init(seed=0, dtype="float64").state_dict()["layers.0.weight"].T)
    curvature = 2 * np.linalg.eigvalsh(h.T @ h / len(h) / 64)[-1]
    last = found.lr1[found.converged[0]][-1]
    assert last == pytest.approx(2 / curvature, rel=0.03)


def test_it_is_a_record_that_can_be_kept(fractal: vg.RateFractal) -> None:
    again = pickle.loads(pickle.dumps(fractal))
    np.testing.assert_array_equal(again.measure, fractal.measure)
    with pytest.raises(ValueError, match="read-only"):
        fractal.measure[0, 0] = 1.0
    with pytest.raises(ValueError, match="activation must be element-wise"):
        vg.rate_fractal([1.0, 2.0], [1.0, 2.0], activation="glu")


def test_an_interrupt_leaves_what_was_finished(monkeypatch: pytest.MonkeyPatch, fractal: vg.RateFractal) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    few: dict[str, Any] = {"lr0": fractal.lr0[::4], "lr1": fractal.lr1[::4]}
    train = _core.train

    def interrupted(*args: Any, **how: Any) -> None:
        """The core after an interrupt: of 9 x 9 nets it has done 40, and the first step of another."""
        specs, recipes, report = args

        def some(index: int, found: dict[str, Any]) -> None:
            if index < 40:
                report(index, found)
            elif index == 40:
                report(index, found | {"stopped_by": ["interrupted"]})

        train(specs, recipes, some, **how)
        raise KeyboardInterrupt

    monkeypatch.setattr(_core, "train", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        vg.rate_fractal(**few)
    found = caught.value.sweep  # type: ignore[attr-defined]
    measure = fractal.measure[::4, ::4].copy()
    measure.ravel()[40:] = np.nan
    np.testing.assert_array_equal(found.measure, measure)
    assert found.boundary.any()
    assert not found.boundary[4:].any()
    assert not found.boundary[3, 3:].any()
    shown = plot.rate_fractal(found).collections[0].get_array()
    assert shown is not None
    colours = np.ma.filled(shown, np.nan)
    np.testing.assert_array_equal(np.isnan(colours).T, np.isnan(measure))


def test_an_activation_that_learns_has_no_rate_of_its_own() -> None:
    with pytest.raises(ValueError, match=r"activation must be without parameters, .* got 'prelu'"):
        vg.rate_fractal([1.0, 2.0], [1.0, 2.0], activation="prelu")


# Runs as one number


def test_a_run_converged_if_its_last_losses_are_below_the_first() -> None:
    falls, rises = np.linspace(2, 1, 50), np.linspace(1, 2, 50)
    broken = np.where(np.arange(50) < 30, rises, np.nan)
    huge = np.where(np.arange(50) < 1, 1.0, 1e200)
    fall, rise, broke, grew = how_it_went(np.array([falls, rises, broken, huge]))
    assert fall == pytest.approx(-np.sum(falls / 2))
    assert rise == pytest.approx(np.sum(1 / rises))
    assert broke == pytest.approx(np.sum(1 / rises[:30]) + 20e-6)
    assert grew == pytest.approx(1 + 49e-6)


def test_one_that_oscillates_is_judged_by_its_mean() -> None:
    swings = np.tile([0.5, 1.4], 30)
    swings[0] = 1.0
    assert how_it_went(swings[None])[0] < 0
    assert how_it_went(2 - swings[None])[0] > 0


# Box counting


def pascal(size: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Odd entries of Pascal's triangle, the gasket of Sierpinski: k is within n bit by bit (Lucas)."""
    n, k = np.indices((size, size))
    return np.asarray((n & k) == k)


def test_the_gasket_of_sierpinski_has_its_dimension() -> None:
    assert box_dimension(pascal(256)) == pytest.approx(math.log2(3), abs=1e-12)


def test_cantor_dust_in_quarters_has_its_dimension() -> None:
    line = np.array([set(np.base_repr(i, 4)) <= {"0", "3"} for i in range(256)])  # 2 of 4 parts a level
    assert box_dimension(np.outer(line, line)[:256]) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("slope", "size"), [(1, 64), (2, 128)])
def test_a_line_has_dimension_one(slope: int, size: int) -> None:
    points = np.zeros((size, size), dtype=bool)
    points[np.arange(size), np.arange(size) // slope] = True
    assert box_dimension(points) == pytest.approx(1, abs=0.06)


@given(st.integers(0, 63), st.integers(0, 63))
def test_a_point_has_dimension_zero_and_nothing_has_none(i: int, j: int) -> None:
    points = np.zeros((64, 64), dtype=bool)
    assert math.isnan(box_dimension(points))
    points[i, j] = True
    assert box_dimension(points) == 0


@given(st.integers(0, 2**32 - 1))
def test_a_dimension_does_not_hang_on_the_way_a_picture_is_held(seed: int) -> None:
    points = np.random.default_rng(seed).random((64, 64)) < 0.1
    assert box_dimension(points.T) == box_dimension(points[::-1]) == box_dimension(points)


def test_a_picture_must_be_one() -> None:
    with pytest.raises(ValueError, match="8 rows and 8 columns or more"):
        box_dimension(np.ones((4, 100), dtype=bool))
