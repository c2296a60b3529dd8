"""What a training may be asked for, and what comes of it; the optimisers' own digits are in test_optimizers."""

import _thread
import dataclasses
import io
import json
import math
import pickle
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vgcore as vg
from vgcore import _core
from vgcore.measure.progress import training_line
from vgcore.measure.store import Store
from vgcore.shell import commands
from vgcore.show.training import spark
from vgcore.train import data, settings, steps

RNG = np.random.default_rng(7)
X = RNG.standard_normal((96, 6))
Y = (X[:, 0] + X[:, 1] > 0).astype(int)
SPEC = vg.MLP(depth=3, width=8, in_features=6, out_features=2, activation="tanh", init="xavier_normal")
NAMES = ["layers.0", "layers.1", "layers.2", "readout"]


def small(spec: vg.MLP | vg.Network = SPEC, **options: Any) -> vg.Run:
    return vg.train(spec, X, Y, **{"steps": 20, "batch": 16} | options)


def same(one: vg.Run, two: vg.Run) -> bool:
    """Whether two runs are equal to the bit."""
    arrays = [name for name, value in vars(one).items() if isinstance(value, np.ndarray)]
    return (
        all(np.array_equal(getattr(one, name), getattr(two, name), equal_nan=True) for name in arrays)
        and (one.stopped_by, one.first_bads, one.layers) == (two.stopped_by, two.first_bads, two.layers)
        and all(
            np.array_equal(a, b)
            for mine, yours in zip(one.networks, two.networks, strict=True)
            for a, b in zip(mine.state_dict().values(), yours.state_dict().values(), strict=True)
        )
    )


# Optimisers and schedules as kinds


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (vg.SGD(lr=0.1, momentum=0.9, nesterov=True), "sgd(lr=0.1, momentum=0.9, nesterov=true)"),
        (vg.Adam(betas=(0.8, 0.99)), "adam(beta1=0.8, beta2=0.99)"),
        (vg.AdamW(weight_decay=0.1, scale_free=True), "adamw(weight_decay=0.1, scale_free=true)"),
        (vg.RMSprop(centered=True, alpha=0.9), "rmsprop(alpha=0.9, centered=true)"),
        (vg.Adagrad(initial_accumulator_value=0.1), "adagrad(initial_accumulator=0.1)"),
        (vg.Lion(lr=1e-3), "lion(lr=0.001)"),
        (vg.Muon(nesterov=False, adjust_lr_fn="original"), "muon(nesterov=false)"),
    ],
)
def test_the_arguments_of_torch_make_the_kind_of_that_text(made: vg.Optimizer, text: str) -> None:
    assert str(made) == text
    assert made == vg.Optimizer(text)
    assert repr(made) == f"Optimizer({text!r})"
    again = pickle.loads(pickle.dumps(made))
    assert (type(again), again) == (type(made), made)


def test_what_no_optimiser_is_has_an_error_with_its_name() -> None:
    for call, said in (
        (lambda: vg.SGD(lr=-1.0), "lr must be"),
        (lambda: vg.Adam(betas=(0.9,)), "betas must be two numbers"),  # type: ignore[arg-type]
        (lambda: vg.Adam(betas=(0.9, 1.0)), "beta2 must be"),
        (lambda: vg.SGD(nesterov="yes"), "nesterov must be True or False"),  # type: ignore[arg-type]
        (lambda: vg.Optimizer("adan"), "did you mean 'adam'"),
        (lambda: vg.Schedule("cosin"), "did you mean 'cosine'"),
    ):
        with pytest.raises((TypeError, ValueError), match=said):
            call()


# Settings


def test_a_clip_says_what_it_does_and_refuses_the_rest() -> None:
    assert repr(vg.Clip(0.5, min_norm=1e-3, per="tensor")) == "Clip(max_norm=0.5, min_norm=0.001, per='tensor')"
    assert vg.Clip(1) == settings.clip_of(1.0) != vg.Clip(2.0)
    for arguments in ({"max_norm": 0}, {"min_norm": -1}, {"per": "unit"}, {"max_boost": 0.5}, {"eps": 0.0}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            vg.Clip(**arguments)


def test_a_number_is_the_patience_of_early_stopping() -> None:
    assert settings.early_stopping_of(3) == vg.EarlyStopping(patience=3)
    with pytest.raises(ValueError, match="early_stopping must be an integer from 0"):
        small(early_stopping=-1)


def test_the_longest_name_that_fits_a_tensor_sets_its_rate() -> None:
    names = settings.tensors(vg.MLP(depth=2, width=4, norm="layer", skip="rezero", out_features=3))
    found = dict(zip(names, settings.multipliers(names, {"layers": 2, "layers.1.bias": 3}, ["norms"]), strict=True))
    assert found["layers.0.weight"] == found["layers.1.weight"] == 2
    assert found["layers.1.bias"] == 3
    assert found["norms.0.weight"] == found["norms.1.bias"] == 0
    assert found["readout.weight"] == found["skips.0.weight"] == 1


def test_a_name_that_fits_no_tensor_is_answered_by_the_nearest() -> None:
    for options, said in (
        ({"rates": {"layer.0": 1.0}}, r"rates must name modules or tensors of the net, got 'layer.0' \(did you mean"),
        ({"frozen": "layers.3"}, "frozen must name modules or tensors of the net, got 'layers.3'"),
    ):
        with pytest.raises(ValueError, match=said):
            small(**options)


@given(st.integers(1, 5000), st.one_of(st.none(), st.just("log"), st.integers(1, 6000)))
def test_the_first_and_the_last_step_are_always_recorded(count: int, rule: Any) -> None:
    found = steps.recorded(rule, count)
    assert (found[0], found[-1]) == (1, count)
    assert (np.diff(found) > 0).all()
    if rule is None:
        assert len(found) == count if count <= 256 else 100 < len(found) <= 217
        # Those that are evenly spread begin at 1 too, and the last step ends them.
        assert (found[:16] == np.arange(1, count + 1)[:16]).all()
        assert len(set(np.diff(found)[16:-1])) <= 1


@given(st.integers(1, 5000), st.integers(0, 40), st.integers(1, 1 << 30))
def test_checkpoints_are_spread_from_the_first_step_on_and_fit_into_memory(count: int, asked: int, size: int) -> None:
    found, suited = steps.kept(asked, count, size), steps.kept(None, count, size)
    assert len(found) == min(asked, count)
    assert not asked or found[0] == 1
    assert (np.diff(found) > 0).all()
    assert len(suited) <= 16
    assert len(suited) * size <= 256 << 20


@given(st.integers(2, 300), st.floats(0.05, 0.9), st.integers(0, 2**64 - 1))
def test_a_share_is_drawn_once_a_seed_and_never_trained_on(count: int, share: float, seed: int) -> None:
    x = np.arange(count)
    if not 0 < round(share * count) < count:
        with pytest.raises(ValueError, match="validation must leave rows on both sides"):
            data.rows_of(x, x, share, seed)
        return
    one, two = (data.rows_of(x, x, share, seed) for _ in range(2))
    assert one.validation is not None
    assert two.validation is not None
    assert sorted([*one.x, *one.validation[0]]) == list(range(count))
    assert one.validation[0].tolist() == two.validation[0].tolist()
    assert len(one.validation[0]) == round(share * count)
    assert (one.x == one.y).all()
    assert one.places is not None
    assert (x[one.places] == one.x).all()


def test_names_of_classes_keep_their_ids_in_every_part_of_the_data() -> None:
    y = np.array(["cat", "ant", "dog", "cat"], dtype=object)
    rows = data.rows_of(np.eye(4), y, (np.eye(1, 4), ["dog"]), 0)
    assert rows.names == ("ant", "cat", "dog")
    assert rows.y.tolist() == [1, 0, 2, 1]
    assert rows.validation is not None
    assert rows.validation[1].tolist() == [2]
    with pytest.raises(
        ValueError, match=r"y must be classes that the net is trained on, got 'dgo' \(did you mean 'dog'"
    ):
        data.rows_of(np.eye(4), y, (np.eye(1, 4), ["dgo"]), 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "steps must be an integer from 1"),
        ({"batch": 0}, "batch must be an integer from 1"),
        ({"validation": 1.5}, "validation must be a number above 0 and up to 0.9"),
        ({"validation": (X,)}, "validation must be None, samples and targets"),
        ({"validation": "all"}, "validation must be None, samples and targets"),
        ({"monitor": "everything"}, "unknown monitor 'everything'"),
        ({"monitor": ["update_ratio"]}, "unknown monitor 'update_ratio' .did you mean 'log10_update_ratio'"),
        ({"record": [0]}, "record must be an integer from 1 to 20"),
        ({"record": "lin"}, "record must be None, a number of steps, a list of steps or 'log'"),
        ({"nonfinite": "ignore"}, "unknown nonfinite 'ignore'"),
        ({"schedule": [1.0, 1.0]}, "schedule must be a name or 20 numbers, one a step"),
        ({"schedule": [-1.0] * 20}, "schedule must be numbers of 0 or more"),
        ({"noise": -0.1}, "noise must be a number of 0 or more"),
        ({"clip": 0}, "clip must be a number above 0"),
        ({"rates": {"layers": 1, "readout": -1}}, r"rates\['readout'\] must be a number of 0 or more"),
        ({"record": []}, "record must list one step or more, got none"),
        ({"monitor": "rounded"}, r"monitor must be a list of columns, such as \['rounded'\], got 'rounded'"),
        ({"validation": (X[:2], ["a", "b"]), "y": ["c", "d"] * 48}, "validation y must be classes that the net"),
        ({"seeds": 0}, "seeds must be an integer from 1"),
        ({"dtype": "float16"}, "dtype"),
    ],
)
def test_what_is_not_allowed_is_refused_before_anything_runs(options: dict[str, Any], said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        vg.train(SPEC, X, options.pop("y", Y), **{"steps": 20, "batch": 16} | options)


@pytest.mark.parametrize("given", [np.float64, np.dtype("float64"), float])
def test_a_dtype_of_numpy_is_its_name(given: Any, tmp_path: Path) -> None:
    run = small(dtype=given)
    assert run.dtype == "float64"
    assert same(run, small(dtype="float64"))
    assert small(SPEC.init(dtype="float64"), dtype=given).dtype == "float64"
    (cell,) = vg.train_sweep(SPEC, X, Y, steps=2, dtype=given)
    assert cell.dtype == "float64"
    run.report(tmp_path / "run.html")
    assert "float64</p>" in (tmp_path / "run.html").read_text(encoding="utf-8")


# Runs


def test_every_array_has_the_shape_that_its_description_says() -> None:
    run = small(seeds=3, monitor="full", validation=(X[:10], Y[:10]), validate_every=7, sharpness=10, record=[1, 5, 20])
    shapes = {name: getattr(run, name).shape for name in ("loss", "lr", "log10_grad_norm", "clip_coef", "clipped")}
    assert set(shapes.values()) == {(3, 20)}
    assert run.steps.tolist() == [1, 5, 20]
    assert all(getattr(run, name).shape == (3, 3, 4) for name in settings.FULL)
    assert run.layers == tuple(NAMES)
    assert run.validation_steps.tolist() == [7, 14, 20]
    assert run.validation_loss.shape == run.validation_accuracy.shape == (3, 3)
    assert run.sharpness_steps.tolist() == [1, 11, 20]
    assert run.sharpness.shape == (3, 3)
    assert run.seeds.tolist() == [0, 1, 2]
    assert run.steps_done.tolist() == [20, 20, 20]
    assert run.stopped_by == ("steps",) * 3
    assert len(run.networks) == len(run.statistics) == 3
    assert run.first_bad is None
    assert run.loss_name == "cross_entropy"


def test_the_first_loss_and_norm_are_those_of_the_net_as_it_was_drawn() -> None:
    run = small(batch=96, dtype="float64", seed=3)
    p = vg.probe(SPEC, x=X, y=Y, seeds=1, seed=3, dtype="float64")
    assert run.first_loss[0] == pytest.approx(p.loss_value[0], rel=1e-12)
    assert run.log10_grad_norm[0, 0] == pytest.approx(p.log10_total_grad_norm[0], abs=1e-12)


def test_one_step_of_sgd_is_the_rate_times_the_gradient() -> None:
    run = small(optimizer="sgd(lr=0.5)", steps=1, batch=96, dtype="float64")
    net = SPEC.init(seed=0, dtype="float64")
    before, after = net.state_dict(), run.network.state_dict()
    for name, gradient in net.gradients(X, Y).parameters.items():
        np.testing.assert_allclose(after[name], before[name] - 0.5 * gradient, rtol=1e-12, atol=1e-15)


def test_a_net_learns_what_it_can_and_says_so() -> None:
    run = small(steps=300, optimizer=vg.Adam(lr=0.01), validation=0.25)
    assert run.final_loss[0] < 0.3 < run.first_loss[0]
    assert run.best_loss[0] <= run.final_loss[0]
    found = run.evaluate(X, Y)
    assert found.accuracy > 0.9
    assert found.loss < 0.4


def test_a_run_is_the_same_for_any_number_of_threads() -> None:
    one, two = (small(seeds=3, monitor="full", noise=0.01, clip=0.5, threads=threads) for threads in (1, 2))
    assert same(one, two)


def test_a_seed_alone_is_the_seed_among_others() -> None:
    together, alone = small(seeds=3), small(seed=2)
    np.testing.assert_array_equal(together.loss[2:], alone.loss)
    np.testing.assert_array_equal(together.log10_update_ratio[2:], alone.log10_update_ratio)


def test_seeds_of_a_network_start_from_its_weights_and_differ_by_their_batches() -> None:
    net = SPEC.init(seed=9, dtype="float64")
    run = small(net, seeds=2, batch=96)
    assert run.dtype == "float64"
    assert run.network0 is net
    assert run.loss[0, 0] == run.loss[1, 0] == pytest.approx(net.gradients(X, Y).loss, rel=1e-12)
    apart = small(net, seeds=2, batch=16)
    assert apart.loss[0, 0] != apart.loss[1, 0]
    with pytest.raises(ValueError, match="dtype must be that of the network, 'float64'"):
        small(net, dtype="float32")


def test_what_is_recorded_of_few_steps_is_what_is_recorded_of_all() -> None:
    every, some = small(), small(record=[2, 3, 19])
    for name in settings.CHEAP:
        np.testing.assert_array_equal(getattr(some, name), getattr(every, name)[:, [1, 2, 18]])
    assert np.isnan(every.dead).all()
    assert every.monitor == settings.CHEAP


def test_a_frozen_layer_never_moves_and_the_others_do() -> None:
    run = small(frozen=["layers.1", "readout.bias"], optimizer="adamw(lr=0.01, weight_decay=0.1)")
    before, after = SPEC.init(seed=0).state_dict(), run.network.state_dict()
    still = {name for name in before if (before[name] == after[name]).all()}
    assert still == {"layers.1.weight", "layers.1.bias", "readout.bias"}
    assert np.isnan(run.log10_update_norm[0, :, 1]).all()
    assert np.isfinite(run.log10_update_norm[0, :, [0, 2, 3]]).all()


def test_a_rate_by_layer_multiplies_the_step_of_that_layer() -> None:
    one, two = (
        small(rates=rates, steps=1, optimizer="sgd(lr=0.1)", dtype="float64") for rates in (None, {"layers.1": 3})
    )
    moved = two.log10_update_norm[0, 0] - one.log10_update_norm[0, 0]
    np.testing.assert_allclose(moved, [0, math.log10(3), 0, 0], atol=1e-12)


def test_norms_are_recorded_before_clipping_and_the_factor_beside_them() -> None:
    free, bound = small(steps=1, optimizer="sgd(lr=0.1)"), small(steps=1, optimizer="sgd(lr=0.1)", clip=1e-3)
    np.testing.assert_array_equal(free.log10_grad_norm, bound.log10_grad_norm)
    np.testing.assert_array_equal(free.log10_wgrad_norm, bound.log10_wgrad_norm)
    coef = 1e-3 / (10 ** free.log10_grad_norm[0, 0] + 1e-6)
    assert bound.clip_coef[0, 0] == pytest.approx(coef, rel=1e-6)
    assert (free.clip_coef[0, 0], free.clipped[0, 0], bound.clipped[0, 0]) == (1, 0, 1)
    np.testing.assert_allclose(bound.log10_update_norm - free.log10_update_norm, math.log10(coef), atol=1e-5)


def test_a_gradient_below_the_least_norm_is_raised_to_it() -> None:
    deep = SPEC.replace(depth=30, activation="sigmoid")
    run = small(deep, steps=1, optimizer="sgd(lr=1)", clip=vg.Clip(max_norm=None, min_norm=1.0, max_boost=1e300))
    assert run.log10_wgrad_norm[0, 0, 0] < -10
    assert run.log10_boost[0, 0] > 10
    assert run.log10_update_norm[0, 0, 0] >= 0  # weight and bias are raised each by itself
    capped = small(deep, steps=1, optimizer="sgd(lr=1)", clip=vg.Clip(None, min_norm=1.0, max_boost=10))
    assert capped.log10_boost[0, 0] == pytest.approx(1)


def test_the_rate_that_was_used_is_the_schedules() -> None:
    warmed = small(schedule="warmup(steps=10)", optimizer="sgd(lr=0.1)")
    np.testing.assert_allclose(warmed.lr[0], 0.1 * np.minimum(np.arange(1, 21) / 10, 1), rtol=1e-12)
    own = small(schedule=np.linspace(1, 0, 20), optimizer="sgd(lr=0.1)")
    np.testing.assert_allclose(own.lr[0], 0.1 * np.linspace(1, 0, 20), atol=1e-15)


def test_the_readout_is_called_so_where_its_value_is_the_first_bad_one(tmp_path: Path) -> None:
    net = vg.MLP(depth=3, width=8, in_features=4, out_features=2, init="normal(std=1e9)")
    x, y = np.full((8, 4), 1e2), np.zeros((8, 2))
    run = vg.train(net, x, y, loss="mse", optimizer="sgd", steps=3, store=tmp_path / "runs.vg")
    bad = run.first_bad
    assert bad is not None
    assert (bad.layer, bad.tensor) == (3, "z")  # of three hidden layers
    told = "step 1: readout, z, in the forward pass"
    assert str(bad) == told
    assert told in repr(run)
    (finding,) = (each for each in vg.diagnose(run).findings if each.rule == "not_finite")
    assert "z of the readout " in finding.evidence
    for words in (str(bad), repr(run), run._repr_html_(), repr(finding), finding._repr_html_(), str(vg.diagnose(run))):
        assert "layer 4" not in words
        assert "layers 4" not in words
    (kept,) = vg.open_train_sweep(tmp_path / "runs.vg")
    assert kept.first_bad == bad == pickle.loads(pickle.dumps(bad))
    # One of an older pickle does not know what its layer is called; its run does.
    old = vg.FirstBad(*bad[:4])
    assert str(old) == "step 1: run.layers[3], z, in the forward pass"
    assert told in repr(dataclasses.replace(run, first_bads=(old,)))


def test_a_rate_too_large_stops_the_run_at_the_first_bad_step_and_names_its_producer() -> None:
    run = small(SPEC.replace(activation="relu"), optimizer="sgd(lr=1e20)", steps=30)
    assert run.stopped_by == ("non_finite",)
    bad = run.first_bad
    assert bad is not None
    assert bad == run.first_bads[0]
    assert bad.phase in {"forward", "loss", "backward", "moment", "update"}
    assert run.steps_done[0] == bad.step - 1
    assert str(bad).startswith(f"step {bad.step}: layer {bad.layer + 1}, ")
    assert str(vg.FirstBad(3, 1, "layers.1.weight", "update")) == "step 3: layer 2, weight, in the update"
    assert str(vg.FirstBad(3, 2, "loss", "loss")) == "step 3: in the loss"
    assert np.isnan(run.loss[0, bad.step :]).all()
    assert run.final_loss[0] == math.inf
    assert all(np.isfinite(array).all() for array in run.network.state_dict().values())
    assert "stopped: not finite" in repr(run)


def test_skipped_steps_leave_the_weights_and_go_on() -> None:
    run = small(SPEC.replace(activation="relu"), optimizer="sgd(lr=1e20)", steps=30, nonfinite="skip")
    assert run.stopped_by == ("steps",)
    assert run.first_bad is not None
    assert run.final_loss.tolist() == [math.inf]  # not one of its last steps was taken


def test_a_skipped_step_is_left_out_of_the_final_loss() -> None:
    bad = X.copy()
    bad[7] = 3e38
    run = vg.train(SPEC.replace(activation="relu"), bad, Y, steps=60, batch=16, nonfinite="skip")
    last = run.loss[0, -3:]
    assert np.isnan(last).sum() == 1
    assert run.final_loss[0] == last[~np.isnan(last)].mean()
    assert "nan" not in repr(run)


def test_early_stopping_ends_a_run_that_no_longer_gets_better_and_keeps_the_best_weights() -> None:
    run = small(
        optimizer="adam(lr=0.05)", steps=500, validation=(X[:20], 1 - Y[:20]), validate_every=5, early_stopping=3
    )
    assert run.stopped_by == ("early_stopping",)
    assert run.steps_done[0] < 500
    best = int(np.nanargmin(run.validation_loss[0]))
    assert run.best_step[0] == run.validation_steps[best]
    assert run.evaluate(X[:20], 1 - Y[:20]).loss == pytest.approx(run.validation_loss[0, best], rel=1e-6)


def test_without_validation_the_last_weights_are_kept() -> None:
    assert small().best_step.tolist() == [20]
    assert small().validation_loss.shape == (1, 0)


# Replay and resume


@pytest.mark.parametrize("checkpoints", [0, 3, None])
def test_any_step_is_replayed_to_the_bit(checkpoints: int | None) -> None:
    run = small(seeds=2, optimizer="adam(lr=0.01)", clip=0.5, noise=0.01, checkpoints=checkpoints, monitor="full")
    for seed in (0, 1):
        for step in (1, 8, 20):
            again = run.replay(step, seed=seed)
            assert again.loss == run.loss[seed, step - 1]
            assert (again.step, again.seed) == (step, seed)
            for name in ("log10_weight_norm", "log10_update_ratio", "log10_z_rms", "saturated"):
                np.testing.assert_array_equal(again.columns[name], getattr(run, name)[seed, step - 1])
            found = again.network.gradients(X[again.rows], Y[again.rows])
            assert found.loss == pytest.approx(again.loss, rel=1e-6)
            assert again.gradients.loss == pytest.approx(again.loss, rel=1e-6)


def test_a_replay_measures_the_batch_of_the_step() -> None:
    run = small()
    again = run.replay(13)
    assert again.probe.log10_total_grad_norm[0] == pytest.approx(run.log10_grad_norm[0, 12], abs=1e-6)
    assert again.probe.loss_value[0] == pytest.approx(again.loss, rel=1e-6)
    assert again.probe.log10_delta_rms.shape == (1, 3)
    assert [*again.columns] == [*settings.FULL]
    assert [*run.replay(13, columns=["dead"]).columns] == ["dead"]


def test_a_bad_step_is_replayed_too() -> None:
    run = small(SPEC.replace(activation="relu"), optimizer="sgd(lr=1e20)", steps=30)
    assert run.first_bad is not None
    again = run.replay(run.first_bad.step)
    assert again.step == run.first_bad.step
    assert math.isnan(again.loss) or again.loss > 1e3


def test_the_rows_of_a_replay_are_those_of_the_data_as_it_was_given() -> None:
    run = small(validation=0.5, dtype="float64")
    again = run.replay(2)
    assert {*again.rows} <= {*range(len(X))}
    assert again.network.gradients(X[again.rows], Y[again.rows]).loss == pytest.approx(again.loss, rel=1e-12)


def test_a_step_that_never_was_cannot_be_replayed() -> None:
    for step, seed in ((21, None), (0, None), (1, 5)):
        with pytest.raises(ValueError, match="step must be" if seed is None else "seed must be"):
            small().replay(step, seed=seed)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adam(lr=0.01)", "noise": 0.01},
        {"optimizer": "sgd(lr=0.1, momentum=0.9)", "schedule": "warmup(steps=15)", "clip": 0.5},
        {"optimizer": "rmsprop", "validation": 0.25, "validate_every": 5, "monitor": ["dead", "rounded"]},
        {"optimizer": "sgd(lr=0.1)", "schedule": "plateau(patience=0)", "validate_every": 2, "early_stopping": 9},
        {"optimizer": "muon", "seeds": 2, "record": 5},
    ],
)
def test_a_run_that_goes_on_is_the_run_that_never_stopped(options: dict[str, Any]) -> None:
    whole, halves = small(steps=20, **options), small(steps=10, **options).resume(10)
    for name in ("loss", "lr", "log10_grad_norm", "clip_coef", "steps_done", "best_step"):
        np.testing.assert_array_equal(getattr(halves, name), getattr(whole, name))
    both = np.isin(halves.steps, whole.steps)
    assert both.sum() == len(whole.steps)
    for name in whole.monitor:
        np.testing.assert_array_equal(getattr(halves, name)[:, both], getattr(whole, name))
    for one, two in zip(halves.networks, whole.networks, strict=True):
        for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
            np.testing.assert_array_equal(a, b)
    assert halves.replay(15).loss == whole.loss[0, 14]


def test_a_seed_that_ended_at_a_bad_value_stays_there_while_others_go_on() -> None:
    options: dict[str, Any] = {"optimizer": "sgd(lr=3.5)", "seeds": 4, "checkpoints": 0, "batch": 96}
    spec = SPEC.replace(activation="relu", depth=8, init="kaiming_normal(gain=2)")
    halves, whole = small(spec, steps=12, **options), small(spec, steps=24, **options)
    assert {*halves.stopped_by} == {"steps", "non_finite"}
    later = halves.resume(12)
    assert same(later, whole)


def test_a_run_that_ended_at_a_bad_value_cannot_go_on() -> None:
    with pytest.raises(ValueError, match="this run cannot go on: it ended at a bad value"):
        small(SPEC.replace(activation="relu"), optimizer="sgd(lr=1e20)", steps=30).resume(1)


def test_the_best_weights_outlive_a_worse_end() -> None:
    options: dict[str, Any] = {"optimizer": "adam(lr=0.05)", "validation": (X[:20], 1 - Y[:20]), "validate_every": 5}
    whole, halves = small(steps=60, **options), small(steps=30, **options).resume(30)
    assert whole.best_step[0] < 30
    assert same(whole, halves)


@pytest.mark.parametrize("schedule", [np.ones(20), "cosine", "one_cycle", "wsd(warmup=2, decay=5)"])
def test_a_schedule_that_ends_with_its_steps_has_no_more(schedule: Any) -> None:
    with pytest.raises(ValueError, match=r"this run has a schedule, .*that ends with its 20 steps: it has no more"):
        small(schedule=schedule).resume(1)


def test_any_step_of_a_run_that_went_on_is_replayed_to_the_bit() -> None:
    options: dict[str, Any] = {"schedule": "plateau(patience=0)", "validate_every": 3, "validation": 0.3}
    run = small(optimizer="sgd(lr=0.3)", steps=10, checkpoints=0, **options).resume(7).resume(8)
    assert run.training.validated.tolist() == [3, 6, 9, 10, 12, 15, 17, 18, 21, 24, 25]
    assert len({*run.lr[0]}) > 1
    for step in (9, 11, 17, 18, 25):
        assert run.replay(step).loss == run.loss[0, step - 1]


def interrupted(at: int, **options: Any) -> vg.Run:
    """A run that an interrupt has ended behind a step."""
    core = _core.train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_core, "train", lambda *given, **told: core(*given, **told | {"until": at}))
        run = small(**options)
    return replace(run, stopped_by=("interrupted",) * len(run.seeds))


def test_a_run_does_so_many_steps_more_as_it_is_asked_for() -> None:
    whole = small(steps=30, seeds=2)
    run = interrupted(8, steps=30, seeds=2).resume(5)
    assert run.steps_done.tolist() == [13, 13]
    np.testing.assert_array_equal(run.loss[:, :13], whole.loss[:, :13])
    assert np.isnan(run.loss[:, 13:]).all()
    assert run.resume(10).steps_done.tolist() == [23, 23]
    assert same(run.resume(), whole)
    assert run.resume(20).loss.shape == (2, 33)


def test_a_schedule_that_ends_with_its_steps_has_those_that_an_interrupt_has_left() -> None:
    run = interrupted(8, steps=30, schedule="cosine")
    assert same(run.resume(10).resume(12), small(steps=30, schedule="cosine"))
    with pytest.raises(ValueError, match="it has no more"):
        run.resume(23)


def test_the_best_weights_are_had_of_a_run_that_went_on_by_some_of_its_steps() -> None:
    options: dict[str, Any] = {"optimizer": "adam(lr=0.05)", "validation": (X[:20], 1 - Y[:20]), "validate_every": 5}
    options |= {"spec": SPEC.replace(norm="batch"), "seed": 3}
    run = interrupted(4, steps=400, **options).resume(26)
    best = run.validation_steps[np.nanargmin(run.validation_loss[0])]
    assert 4 < best < 30
    assert run.best_step[0] == best
    assert run.evaluate(X[:20], 1 - Y[:20]).loss == pytest.approx(np.nanmin(run.validation_loss), rel=1e-6)


#: Three seeds that early stopping ends behind different steps.
STOPPED: dict[str, Any] = {"optimizer": "adam(lr=0.1)", "validation": (X[:20] + 1, Y[:20]), "validate_every": 5}
STOPPED |= {"early_stopping": 2, "steps": 500, "seeds": 3, "checkpoints": 0}


def test_a_run_goes_on_after_early_stopping() -> None:
    run = small(**STOPPED)
    assert {*run.stopped_by} == {"early_stopping"}
    assert len({*run.steps_done.tolist()}) > 1
    later = run.resume(12)  # two readings or three, and one more than three would be too many
    assert (later.steps_done - run.steps_done).tolist() == [12, 12, 12]
    assert {*later.stopped_by} == {"steps"}
    for seed, (before, after) in enumerate(zip(run.steps_done.tolist(), later.steps_done.tolist(), strict=True)):
        np.testing.assert_array_equal(later.loss[seed, :before], run.loss[seed, :before])
        assert np.isfinite(later.loss[seed, :after]).all()
        assert later.replay(after, seed=seed).loss == later.loss[seed, after - 1]
    # Readings are counted anew: their patience ends once more.
    assert {*run.resume(400).stopped_by} == {"early_stopping"}


def test_seeds_that_early_stopping_has_ended_stay_while_an_interrupt_is_made_up_for() -> None:
    run = small(**STOPPED)
    assert same(run.resume(), run)
    first = int(run.steps_done.min())
    half = interrupted(first, **STOPPED)
    words = tuple("early_stopping" if done == first else "interrupted" for done in run.steps_done.tolist())
    later = replace(half, stopped_by=words).resume()
    np.testing.assert_array_equal(later.steps_done, run.steps_done)
    np.testing.assert_array_equal(later.loss, run.loss)


def test_an_interrupted_run_is_kept_and_goes_on() -> None:
    timer = threading.Timer(0.8, _thread.interrupt_main)
    started = time.perf_counter()
    timer.start()
    with pytest.raises(KeyboardInterrupt) as stop:
        vg.train(SPEC.replace(depth=20, width=64), X, Y, steps=400_000, record=[1], checkpoints=0, threads=1)
    assert time.perf_counter() - started < 5
    run = stop.value.run  # type: ignore[attr-defined]
    assert run.stopped_by == ("interrupted",)
    done = int(run.steps_done[0])
    assert 0 < done < 400_000
    again = vg.train(SPEC.replace(depth=20, width=64), X, Y, steps=done, record=[1], checkpoints=0)
    np.testing.assert_array_equal(again.loss[0], run.loss[0, :done])


# Frames, files, words


def test_frames_have_a_row_a_seed_step_and_layer_or_a_row_a_step() -> None:
    run = small(seeds=2, validation=0.25, validate_every=10)
    tidy = run.to_dict()
    assert list(tidy)[:4] == ["seed", "step", "layer", "name"]
    assert len(tidy["seed"]) == 2 * 20 * 4
    assert {*tidy} - {"seed", "step", "layer", "name"} == {*settings.CHEAP}
    assert tidy["layer"][:4].tolist() == [1, 2, 3, 4]
    assert list(run.layers) == ["layers.0", "layers.1", "layers.2", "readout"]
    assert tidy["name"][:4].tolist() == ["layer 1", "layer 2", "layer 3", "readout"]  # as `layer` counts
    at = (tidy["seed"] == 1) & (tidy["step"] == 7) & (tidy["name"] == "readout")
    assert tidy["log10_update_ratio"][at] == run.log10_update_ratio[1, 6, 3]
    stepwise = run.to_dict("steps")
    assert len(stepwise["loss"]) == 40
    assert (~np.isnan(stepwise["validation_loss"])).sum() == 4


def test_frames_of_pandas_and_polars_are_the_tidy_columns() -> None:
    run = small()
    for library in ("pandas", "polars"):
        pytest.importorskip(library)
        frame = getattr(run, f"to_{library}")()
        assert list(frame.columns) == [*run.to_dict()]
        assert len(frame) == 80


def test_a_run_is_saved_as_its_ending_says(tmp_path: Path) -> None:
    run = small()
    run.save(tmp_path / "run.csv", "steps")
    first, *rows = (tmp_path / "run.csv").read_text().splitlines()
    assert first.startswith("seed,step,loss")
    assert len(rows) == 20
    with pytest.raises(ValueError, match="the output file must be one that ends in"):
        run.save(tmp_path / "run.txt")


def test_a_run_says_in_a_line_what_was_trained_and_what_came_of_it() -> None:
    run = small(optimizer=vg.SGD(lr=0.1), clip=1.0, seeds=2)
    assert repr(run) == (
        "Run(6 -> 8 (3 layers) -> 2, sgd(lr=0.1), Clip(max_norm=1.0), batch 16, cross_entropy, float32; "
        f"seed 0: loss {run.first_loss[0]:.4g} -> {run.final_loss[0]:.4g} in 20 steps and 1 more)"
    )
    assert run._repr_html_().partition("</table>")[0].count("<tr>") == 3  # a head and two seeds


def test_a_pickled_run_replays_and_resumes() -> None:
    run = small(monitor="full", validation=0.25)
    again = pickle.loads(pickle.dumps(run))
    assert same(run, again)
    assert again.replay(13).loss == run.loss[0, 12]
    assert same(again.resume(3), run.resume(3))


@pytest.mark.parametrize(("columns", "said"), [("foo", "choose from: all"), ("dead", "a list of columns, such as")])
def test_a_replay_takes_all_columns_or_a_list(columns: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        small().replay(3, columns=columns)
    assert [*small().replay(3, columns=["dead"]).columns] == ["dead"]


def test_a_picture_of_validation_says_where_there_is_none() -> None:
    assert spark(small(), "validation_loss") == "validation_loss: no validation"
    assert spark(small(validation=0.2), "validation_loss").startswith("validation_loss, 0")


# Stores


def test_ctrl_c_within_the_commit_of_a_store_leaves_the_run(tmp_path: Path) -> None:
    put = Store.put

    def interrupted_put(store: Store, rows: Any) -> None:
        put(store, rows)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "put", interrupted_put)
        with pytest.raises(KeyboardInterrupt) as stop:
            small(store=tmp_path / "runs.vg")
    assert same(stop.value.run, small())  # type: ignore[attr-defined]
    assert same(small(store=tmp_path / "runs.vg"), small())


def test_ctrl_c_within_a_long_step_keeps_the_steps_before_it() -> None:
    # About 30 GFLOP a step, far longer than anything that looks for Ctrl-C.
    x = np.random.default_rng(0).normal(size=(1024, 512)).astype(np.float32)
    spec = vg.MLP(depth=20, width=512, out_features=1)
    timer = threading.Timer(1.0, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt) as stop:
        vg.train(spec, x, x[:, :1], steps=10_000, batch=1024, monitor=[])
    run = stop.value.run  # type: ignore[attr-defined]
    assert run.stopped_by == ("interrupted",)
    assert run.steps_done[0] < 10_000


def test_the_same_call_with_a_store_gives_the_run_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"store": tmp_path / "runs.vg", "seeds": 2, "validation": 0.25, "monitor": "full"}
    spec = SPEC.replace(norm="batch")
    first = small(spec, **options)
    with monkeypatch.context() as patch:
        patch.setattr("vgcore._core.train", lambda *_, **__: pytest.fail("it was trained again"))
        again = small(spec, **options)
    assert same(first, again)
    assert again.replay(13, seed=1).loss == first.loss[1, 12]
    assert again.evaluate(X, Y) == first.evaluate(X, Y)


def test_the_same_call_with_a_store_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 60_000, "record": [1], "checkpoints": 0, "monitor": [], "batch": 96}
    store, spec = tmp_path / "runs.vg", SPEC.replace(depth=1)
    timer = threading.Timer(0.1, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt) as stop:
        small(spec, **options, store=store)
    first = int(stop.value.run.steps_done[0])  # type: ignore[attr-defined]
    assert first < 60_000
    assert vg.open_train_sweep(store)[0].steps_done.tolist() == [first]
    again = small(spec, **options, store=store)
    assert again.stopped_by == ("steps",)
    np.testing.assert_array_equal(again.loss, small(spec, **options).loss)
    assert len(vg.open_train_sweep(store)) == 1


def test_another_call_is_another_run_in_the_same_store(tmp_path: Path) -> None:
    store = tmp_path / "runs.vg"
    one, two = (small(optimizer=vg.SGD(lr=lr), store=store) for lr in (0.1, 0.2))
    net = small(SPEC.init(seed=1), store=store)
    assert [run.final_loss[0] for run in (one, two, net)] == [
        run.final_loss[0] for run in vg.open_train_sweep(store).cells
    ]


def test_a_run_of_a_store_knows_how_it_came_about(tmp_path: Path) -> None:
    options: dict[str, Any] = {"clip": vg.Clip(0.5, min_norm=1e-3), "rates": {"readout": 0.5}, "frozen": ["layers.0"]}
    made = small(SPEC.init(seed=1), store=tmp_path / "runs.vg", early_stopping=5, **options)
    (read,) = vg.open_train_sweep(tmp_path / "runs.vg")
    assert same(made, read)
    assert (read.clip, read.rates, read.frozen) == (options["clip"], options["rates"], ("layers.0",))
    assert read.training.early_stopping == vg.EarlyStopping(5)
    assert read.replay(5).loss == made.loss[0, 4]
    assert same(read.resume(5), made.resume(5))


# The shell


def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    """What `vgcore train` returns and prints."""
    monkeypatch.setattr(sys, "argv", ["vgcore", "train", "--depth", "3", "--width", "16", *arguments])
    code = 0
    try:
        commands.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


def test_the_command_prints_ten_steps_within_80_columns_and_what_came_of_each_seed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--optimizer", "sgd(lr=0.05, momentum=0.9)", "--steps", "60", "--seeds", "2", "--clip", "1.0"]
    code, out, _ = shell(capsys, monkeypatch, *options)
    assert code == 0
    rows = [line.split() for line in out.splitlines() if line[:6].strip().isdecimal()]
    assert [int(row[0]) for row in rows] == [1, 8, 14, 21, 27, 34, 40, 47, 53, 60]
    assert max(map(len, out.splitlines())) <= 80
    x, y = vg.data.digits()
    spec = vg.MLP(depth=3, width=16, in_features=64, out_features=10)
    run = vg.train(spec, x, y, optimizer=vg.SGD(lr=0.05, momentum=0.9), steps=60, seeds=2, clip=1.0)
    assert rows[-1][1] == f"{run.loss[:, -1].mean():.4g}"
    for index in (0, 1):
        assert f"seed {index}: loss {run.first_loss[index]:.4g} -> {run.final_loss[index]:.4g} in 60 steps" in out


def test_the_command_writes_what_it_is_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = str(tmp_path / "run.csv")
    options = [
        "--steps",
        "20",
        "--freeze",
        "layers.0",
        "--rate",
        "readout=0.5",
        "--validation",
        "0.2",
        "--record",
        "10",
    ]
    code, printed, told = shell(capsys, monkeypatch, *options, "--monitor", "rounded,dead", "--json", "--out", out)
    assert code == 0
    assert told == f"wrote {out}\n"
    found = json.loads(printed)
    assert (found["rates"], found["frozen"], found["optimizer"]) == ({"readout": 0.5}, ["layers.0"], "adam")
    assert [seed["stopped_by"] for seed in found["seeds"]] == ["steps"]
    head, *rows = Path(out).read_text().splitlines()
    assert head == "seed,step,layer,name,rounded,dead"
    assert [row.split(",")[1] for row in rows[::4]] == ["1", "11", "20"]


@pytest.mark.parametrize(("given", "steps"), [("2,3", "23"), ("1:5:2", "135"), ("4", "15")])
def test_the_command_records_the_steps_of_a_list(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str, steps: str
) -> None:
    out = tmp_path / "run.csv"
    assert shell(capsys, monkeypatch, "--steps", "5", "--record", given, "--out", str(out))[0] == 0
    assert [row.split(",")[1] for row in out.read_text().splitlines()[1::4]] == [*steps]


def test_the_command_returns_1_where_a_value_was_not_finite(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = shell(capsys, monkeypatch, "--optimizer", "sgd(lr=1e20)", "--steps", "30")
    assert code == 1
    assert "stopped: not finite, first bad at step" in " ".join(out.split())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--depth", "4"], "train takes one value for --depth; use vg.train_sweep to try several"),
        (["--rate", "readout"], "--rate takes NAME=VALUE, as in readout=0.1, got 'readout'"),
        (["--optimizer", "adan"], "did you mean 'adam'"),
        (["--out", "run.txt"], "the output file must be one that ends in"),
        (["--record", "often"], "record must be None, a number of steps, a list of steps or 'log'"),
        (["--record", "3:1"], "--record: the range '3:1' is empty"),
        (["--clip-per", "layer"], "--clip-per says what is clipped together; give --clip"),
        (["--clip-per", "layer", "--min-norm", "1"], "--clip-per says what is clipped together; give --clip"),
        (["--data", "nofile.csv"], "error: cannot read 'nofile.csv': there is no such file; --data takes digits"),
    ],
)
def test_the_command_refuses_in_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: list[str], said: str
) -> None:
    code, out, told = shell(capsys, monkeypatch, "--steps", "5", *options)
    assert (code, out) == (2, "")
    assert said in told
    assert len(told.splitlines()) == 1


# Progress


class Terminal(io.StringIO):
    """A stream that is taken for a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_line_on_a_terminal_tells_step_and_loss_and_nothing_is_told_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for stream, told in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("TERM", "xterm")
        with training_line(100, 2, show=True) as line:
            assert (line is not None) == told
            if line is not None:
                line(0, 1, 50, 0.25)
        assert ("step 50/100 of seed 2/2, loss 0.25" in stream.getvalue()) == told


def test_a_terminal_shows_no_line_of_a_training_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(ValueError, match="rates must name modules"):
        small(rates={"foo": 1.0}, progress=True)
    assert shown.getvalue() == ""


@pytest.mark.parametrize("activation", ["tanh", "prelu"])
def test_the_sharpness_is_the_largest_eigenvalue_of_the_hessian(activation: str) -> None:
    spec = vg.MLP(depth=2, width=4, in_features=3, out_features=2, activation=activation)
    x, y = np.random.default_rng(2).standard_normal((2, 16, 3))
    run = vg.train(spec, x, y[:, :2], loss="mse", steps=1, batch=16, sharpness=1, seeds=6, dtype="float64")
    for seed in range(6):
        state = spec.init(seed, dtype="float64").state_dict()

        def gradient(along: int, step: float, state: dict[str, Any] = state) -> Any:
            moved, at = {name: value.copy() for name, value in state.items()}, along
            for value in moved.values():
                if 0 <= at < value.size:
                    value.flat[at] += step
                at -= value.size
            found = vg.Network.from_state_dict(spec, moved).gradients(x, y[:, :2], loss="mse").parameters
            return np.concatenate([found[name].ravel() for name in state])

        count = sum(value.size for value in state.values())
        hessian = np.array([(gradient(i, 1e-5) - gradient(i, -1e-5)) / 2e-5 for i in range(count)])
        largest = np.linalg.eigvalsh((hessian + hessian.T) / 2)[-1]
        assert run.sharpness[seed, 0] == pytest.approx(largest, rel=1e-3), seed


def test_births_and_revivals_are_of_units_that_died_and_came_back_between_two_records() -> None:
    x, y = vg.data.digits()
    spec = vg.MLP(depth=3, width=24, in_features=64, out_features=10, activation="relu")
    record = [1, 3, 6, 12, 20, 40]
    run = vg.train(spec, x, y, optimizer="sgd(lr=0.05, momentum=0.9)", steps=40, monitor="full", record=record)

    def dead(step: int) -> Any:
        """Is a unit 0 for each of the first 256 rows, before this step? `(layers, units)`."""
        signals = run.replay(step).network._weights.signals(x[:256])
        return np.array([(a == 0).all(axis=0) for a in signals["a"]])

    before = dead(1)
    np.testing.assert_array_equal(run.dead[0, 0, :3], before.mean(axis=1))
    assert np.isnan(run.births[0, 0]).all()
    seen = np.zeros(2)
    for index, step in enumerate(record[1:], 1):
        now = dead(step)
        born, revived = (now & ~before).mean(axis=1), (before & ~now).mean(axis=1)
        np.testing.assert_allclose(run.births[0, index, :3], born, rtol=1e-12)
        np.testing.assert_allclose(run.revivals[0, index, :3], revived, rtol=1e-12)
        seen += born.sum(), revived.sum()
        before = now
    assert (seen > 0).all(), "no unit died or came back: the test sees nothing"


def test_the_rounded_share_counts_weights_with_a_gradient_that_stay_the_same_number() -> None:
    x, y = vg.data.digits()
    spec = vg.MLP(depth=3, width=16, in_features=64, out_features=10, activation="sigmoid")
    run = vg.train(spec, x, y, optimizer="sgd(lr=0.0001)", steps=3)
    for step in (1, 2):
        here, there = run.replay(step), run.replay(step + 1).network.state_dict()
        for layer, name in enumerate(run.layers):
            weight, gradient = here.network.state_dict()[f"{name}.weight"], here.gradients.parameters[f"{name}.weight"]
            stays = (weight == there[f"{name}.weight"])[gradient != 0]
            assert run.rounded[0, step - 1, layer] == pytest.approx(stays.mean(), abs=1e-12), name
    assert 0.01 < run.rounded[0, 0, 0] < 0.99


def test_norms_of_numbers_whose_squares_float32_lacks_are_recorded_all_the_same() -> None:
    x, y = vg.data.digits()
    spec = vg.MLP(depth=2, width=16, in_features=64, out_features=10, activation="tanh")
    state = spec.init().state_dict()
    state["layers.0.weight"] *= np.float32(1e-23)
    network = vg.Network.from_state_dict(spec, state)
    run = vg.train(network, x, y, optimizer="sgd(lr=0.01, momentum=0.9)", steps=1)
    expected = np.log10(np.linalg.norm(state["layers.0.weight"].astype(float)))
    assert run.log10_weight_norm[0, 0, 0] == pytest.approx(expected, abs=1e-6)
    small = vg.train(spec, x, y, optimizer="sgd(lr=1e-11, momentum=0.9)", clip=1e-11, steps=1)
    wide = vg.train(spec, x, y, optimizer="sgd(lr=1e-11, momentum=0.9)", clip=1e-11, steps=1, dtype="float64")
    np.testing.assert_allclose(small.log10_update_norm, wide.log10_update_norm, atol=1e-5)
