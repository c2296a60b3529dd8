"""Training of recurrent nets and transformers: a target a step, rows that share weights, every way to train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vgcore as vg
from vgcore import _core, reference
from vgcore.judge.blind import blind_guess, blind_guess_of, first_loss
from vgcore.model.spec import Spec

Array = np.ndarray[Any, Any]

COPY = vg.data.copy(2, 96)
ORDER = vg.data.temporal_order(12, 96)
ADDING = vg.data.adding(10, 96)
ROWS = vg.data.sequential_digits(by="row")

EVERY = vg.RNN(22, 6, in_features=10, out_features=9, cell="lstm", outputs="every")
TWO = vg.RNN(12, 6, in_features=6, out_features=4, cell="gru", layers=2, truncate=5)
PLAIN = vg.RNN(10, 6, in_features=2, out_features=1)
BLOCKS = vg.Transformer(2, 8, tokens=12, in_features=6, out_features=4, pool="mean")
TOKENS = vg.Transformer(1, 8, tokens=22, in_features=10, out_features=9, causal=True)
#: Nets, each with a problem that it can be trained on.
NETS: dict[str, tuple[Spec, vg.data.Sequences]] = {
    "lstm, every step": (EVERY, COPY),
    "gru of two layers, truncated": (TWO, ORDER),
    "tanh": (PLAIN, ADDING),
    "transformer, pooled": (BLOCKS, ORDER),
    "transformer, every token": (TOKENS, COPY),
}
nets = pytest.mark.parametrize(("spec", "problem"), NETS.values(), ids=NETS)


def small(spec: Any, problem: vg.data.Sequences, **options: Any) -> vg.Run:
    return vg.train(spec, *problem, **{"steps": 8, "batch": 32} | options)


# Targets


@nets
def test_a_problem_trains_straight_with_the_loss_that_it_is_for(spec: Spec, problem: vg.data.Sequences) -> None:
    run = small(spec, problem, validation=0.25)
    assert run.loss_name == problem.loss
    assert np.isfinite(run.loss).all()
    assert np.isfinite(run.validation_accuracy).all() == (problem.loss == "cross_entropy")


IDS = COPY.y
HOT = np.eye(9)[IDS]
NAMES = np.array(list("abcdefghi"))[IDS]


@pytest.mark.parametrize(
    "written", [IDS, IDS.tolist(), IDS.astype("uint8"), pd.DataFrame(IDS), HOT, HOT.astype(int), HOT > 0, NAMES]
)
@pytest.mark.parametrize("spec", [EVERY, TOKENS])
def test_classes_of_every_step_are_for_cross_entropy_however_they_are_written(spec: Spec, written: Any) -> None:
    expected = vg.train(spec, COPY.x, IDS, loss="cross_entropy", steps=2)
    found = vg.train(spec, COPY.x, written, steps=2)
    assert found.loss_name == "cross_entropy"
    assert (found.loss == expected.loss).all()
    assert vg.probe(spec, x=COPY.x, y=written, seeds=1).loss == "cross_entropy"
    assert (
        spec.init(seed=0).gradients(COPY.x, written).loss
        == spec.init(seed=0).gradients(COPY.x, IDS, loss="cross_entropy").loss
    )


def test_flat_targets_are_those_of_every_step_in_their_order() -> None:
    flat = vg.train(EVERY, COPY.x, HOT.reshape(len(HOT), -1), steps=2)
    assert (flat.loss == vg.train(EVERY, COPY.x, IDS, steps=2).loss).all()
    numbers = np.random.default_rng(0).standard_normal((96, 22, 9))
    one, other = (vg.train(EVERY, COPY.x, y, steps=2) for y in (numbers, numbers.reshape(96, -1)))
    assert one.loss_name == "mse"
    assert (one.loss == other.loss).all()


def test_one_number_a_step_is_for_one_output() -> None:
    spec = EVERY.replace(out_features=1)
    y = COPY.x.argmax(axis=2).astype(float)
    one, other = (vg.train(spec, COPY.x, each, steps=2) for each in (y, y[..., None]))
    assert (one.loss == other.loss).all()
    mean = np.mean((spec.init(seed=0).forward(COPY.x) - y) ** 2)
    whole = vg.train(spec, COPY.x, y, steps=1, batch=96)
    assert whole.loss[0, 0] == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize(
    ("y", "loss", "message"),
    [
        (np.where(np.arange(22) == 7, 9, IDS), None, r"y\[0, 7\] must be a class id below 9, .* got 9; .*=10"),
        (np.where(np.arange(22) == 7, -1, IDS), None, r"y\[0, 7\] must be an integer from 0"),
        (np.where(np.arange(22) == 7, 0.5, IDS), "cross_entropy", r"whole numbers, .* but y\[0, 7\] is 0\.5"),
        (np.where(np.arange(22)[:, None] == 7, 0.0, HOT), "cross_entropy", r"y must be one-hot .* but y\[0, 7\] is"),
        (np.where(np.arange(22)[:, None] == 7, np.nan, HOT), "mse", r"but y\[0, 7, 0\] is nan"),
        (np.where(np.arange(22)[:, None] == 7, 2.0, HOT), "bce_with_logits", r"y\[0, 7, 0\] must be .* got 2"),
        (IDS.astype(float), None, r"\(batch, places, outputs\) = \(96, 22, 9\), got shape \(96, 22\); .*cross_entropy"),
        (
            IDS[:, :20],
            None,
            r"\(batch, places\) = \(96, 22\) .* a target for every row of the output, got .*\(96, 20\)",
        ),
        (IDS[:, 0], None, r"\(batch, places\) = \(96, 22\)"),
    ],
)
def test_a_target_that_cannot_be_is_refused_by_its_sample_and_step(y: Array, loss: str | None, message: str) -> None:
    for called in (vg.train, vg.probe):
        with pytest.raises(ValueError, match=message):
            called(EVERY, x=COPY.x, y=y, loss=loss)


def test_names_of_every_step_must_all_be_names() -> None:
    mixed = NAMES.astype(object)
    mixed[1, 3] = None
    with pytest.raises(TypeError, match=r"classes by name must all be words, but y\[1, 3\] is None"):
        vg.probe(EVERY, x=COPY.x, y=mixed)


def test_the_accuracy_of_a_net_with_a_class_at_every_step_is_over_all_of_them() -> None:
    run = small(EVERY, COPY, steps=20)
    outputs = run.network.forward(COPY.x).reshape(len(IDS), 22, 9)
    found = run.evaluate(*COPY)
    assert found.accuracy == pytest.approx(np.mean(outputs.argmax(axis=2) == IDS), abs=1e-12)
    logs = outputs - np.log(np.exp(outputs).sum(axis=2, keepdims=True))
    assert found.loss == pytest.approx(-np.take_along_axis(logs, IDS[..., None], axis=2).mean(), rel=1e-5)


# Blind guesses


def test_a_blind_guess_at_the_copy_problem_is_its_chance() -> None:
    problem = vg.data.copy(5, 40_000)
    found = blind_guess("cross_entropy", problem.y, 9 * problem.steps, places=problem.steps)
    assert found == pytest.approx(problem.chance, rel=1e-3)
    told = blind_guess_of(EVERY, "cross_entropy", IDS)
    assert f"a blind guess: {told:.4g}" in vg.diagnose(small(EVERY, COPY)).summary


@given(
    kind=st.sampled_from(["mse", "half_mse", "mae", "huber(0.5)", "bce_with_logits", "hinge", "cross_entropy"]),
    reduction=st.sampled_from(["mean", "sum"]),
    places=st.integers(2, 4),
    seed=st.integers(0, 99),
)
def test_a_blind_guess_is_the_mean_of_those_of_each_step(kind: str, reduction: str, places: int, seed: int) -> None:
    draw, rows, outputs = np.random.default_rng(seed), 7, 3
    loss = str(vg.Loss(kind, reduction=reduction))
    if kind == "cross_entropy":
        y: Array = draw.integers(outputs, size=(rows, places))
    elif kind in {"bce_with_logits", "hinge"}:
        y = draw.integers(2, size=(rows, places, outputs)) * 1.0
        y = y if kind == "bce_with_logits" else 2 * y - 1
    else:
        y = draw.standard_normal((rows, places, outputs))
    found = blind_guess(loss, y, places * outputs, places=places)
    each = [blind_guess(loss, y[:, t], outputs) or 0.0 for t in range(places)]
    assert found == pytest.approx(np.mean(each) if reduction == "mean" else np.sum(each), rel=1e-9)


def test_the_first_loss_of_a_fresh_net_is_in_units_of_a_blind_guess_step_by_step() -> None:
    cell = vg.probe(EVERY, x=COPY.x, y=COPY.y, seeds=2)
    chance = blind_guess_of(EVERY, "cross_entropy", IDS)
    assert first_loss(cell) == pytest.approx(float(np.mean(cell.loss_value)) / (chance or 0), rel=1e-9)


# Rows of a run


def test_rows_of_a_recurrent_net_are_steps_of_layers_and_the_readout_stands_last() -> None:
    run = small(TWO, ORDER)
    assert run.labels[:3] == ("step 1 layer 1", "step 1 layer 2", "step 2 layer 1")
    assert run.layers[:3] == ("layers.0", "layers.1", "layers.0")
    assert len(run.layers) == len(run.labels) == TWO.rows + 1
    every = small(EVERY, COPY)
    assert every.labels == (*(f"step {t + 1}" for t in range(22)), "readout")
    assert every.to_dict()["name"][:23].tolist() == list(every.labels)
    assert small(BLOCKS, ORDER).labels == (*BLOCKS.row_names, "readout")


@nets
def test_rows_that_share_a_matrix_have_its_norms(spec: Spec, problem: vg.data.Sequences) -> None:
    run = small(spec, problem, record=1, dtype="float64", clip=0.1)
    before = run.replay(3)
    state, after = before.network.state_dict(), run.replay(4).network.state_dict()
    for row, name in enumerate(run.layers):
        key = f"{name}.weight"
        size, moved = np.linalg.norm(state[key]), np.linalg.norm(after[key] - state[key])
        assert run.log10_weight_norm[0, 2, row] == pytest.approx(np.log10(size), abs=1e-9)
        gradient = np.linalg.norm(before.gradients.parameters[key])
        assert run.log10_wgrad_norm[0, 2, row] == pytest.approx(np.log10(gradient), abs=1e-9)
        assert run.log10_update_norm[0, 2, row] == pytest.approx(np.log10(moved), abs=1e-6)
        assert run.log10_update_ratio[0, 2, row] == pytest.approx(np.log10(moved / size), abs=1e-6)


@nets
def test_what_units_do_is_told_of_each_step(spec: Spec, problem: vg.data.Sequences) -> None:
    run = small(spec, problem, monitor="full", record=1)
    first = vg.probe(spec.init(seed=0), x=problem.x, y=problem.y, loss=problem.loss)
    for name in ("log10_z_rms", "log10_delta_rms", "saturated", "correlation"):
        np.testing.assert_allclose(getattr(run, name)[0, 0, : spec.rows], getattr(first, name)[0], rtol=1e-5, atol=1e-5)
        assert np.isnan(getattr(run, name)[0, :, spec.rows :]).all()


# Steps


@nets
@pytest.mark.parametrize(
    "optimizer",
    ["sgd(lr=0.1, momentum=0.9, nesterov=true)", "adam", "adamw(lr=0.01)", "lion(weight_decay=0.1)", "muon(lr=0.02)"],
)
def test_steps_are_those_of_the_twin_in_numpy(spec: Spec, problem: vg.data.Sequences, optimizer: str) -> None:
    x, y = (part[:6] for part in problem)
    run = vg.train(spec, x, y, loss=problem.loss, optimizer=optimizer, steps=3, dtype="float64", clip=0.5)
    start = spec.init(seed=0, dtype="float64").state_dict()
    kept: dict[str, Any] = {}
    for t in range(1, 4):
        found = vg.Network.from_state_dict(spec, start).gradients(x, y, loss=problem.loss).parameters
        norm = np.sqrt(sum(float(np.sum(g**2)) for g in found.values()))
        coef = min(1.0, 0.5 / (norm + 1e-6))
        scaled = {name: reference.Scaled(g * coef) for name, g in found.items()}
        lr = float(reference.parse(optimizer)[1].get("lr", run.optimizer.params["lr"]))
        start = reference.updated(optimizer, start, scaled, kept, t=t, lr=lr)
    for name, value in run.network.state_dict().items():
        # The bias of keys learns nothing: what it has for a gradient is rounding.
        assert isinstance(spec.width, int)
        keys = slice(spec.width, 2 * spec.width) if name.endswith("in_proj.bias") else slice(0)
        ours, twins = (np.delete(each, keys, axis=0) for each in (value, start[name]))
        np.testing.assert_allclose(ours, twins, rtol=1e-9, atol=1e-12, err_msg=name)


@nets
@pytest.mark.parametrize(
    "options",
    [
        {"clip": vg.Clip(0.01, per="layer"), "schedule": "one_cycle"},
        {"clip": vg.Clip(0.01, per="agc"), "optimizer": "muon"},
        {"noise": 0.01, "optimizer": "rmsprop", "frozen": ["readout"]},
    ],
)
def test_a_run_goes_on_and_is_replayed_to_the_bit_on_any_number_of_threads(
    spec: Spec, problem: vg.data.Sequences, options: dict[str, Any]
) -> None:
    ends = "one_cycle" in str(options)  # whose curve knows its steps
    whole = small(spec, problem, **options, seeds=2, checkpoints=2)
    if not ends:
        assert (small(spec, problem, **options, seeds=2, steps=5).resume(3).loss == whole.loss).all()
    assert whole.replay(6).loss == whole.loss[0, 5]
    assert (small(spec, problem, **options, seeds=2, threads=2).loss == whole.loss).all()


def test_truncation_is_that_of_the_explicit_gradients_in_every_step() -> None:
    for truncate in (None, 5):
        run = small(TWO.replace(truncate=truncate), ORDER, dtype="float64")
        gradients = run.replay(4).gradients.parameters
        norm = np.sqrt(sum(float(np.sum(g**2)) for g in gradients.values()))
        assert run.log10_grad_norm[0, 3] == pytest.approx(np.log10(norm), abs=1e-9)
    cut, whole = (small(TWO.replace(truncate=k), ORDER, steps=1).log10_grad_norm[0, 0] for k in (1, None))
    assert cut != whole


def test_early_stopping_keeps_the_best_weights_of_every_step() -> None:
    run = small(EVERY, COPY, steps=200, optimizer=vg.SGD(lr=200.0), validation=0.25, early_stopping=2, validate_every=2)
    assert run.stopped_by == ("early_stopping",)
    assert run.best_step[0] < run.steps_done[0]


def test_the_readout_of_every_step_is_named_where_it_first_is_not_finite() -> None:
    run = small(EVERY, COPY, optimizer=vg.SGD(lr=3e38))
    assert run.first_bad is not None
    assert (run.first_bad.name, run.first_bad.tensor, run.first_bad.phase) == ("readout", "z", "forward")


def test_a_step_and_a_map_of_a_block_are_named_where_they_first_are_not_finite() -> None:
    x = ADDING.x.copy()
    net = PLAIN.replace(cell="relu").init(seed=0)
    state = net.state_dict()
    state["layers.0.weight"] = state["layers.0.weight"] * np.float32(1e9)
    grown = vg.Network.from_state_dict(net.spec, state)
    run = vg.train(grown, x, ADDING.y, steps=2)
    assert run.first_bad is not None
    assert run.first_bad.phase == "forward"
    assert f"first bad at step 1: step {run.first_bad.layer + 1}, z" in repr(run)


# What is made of a run


@nets
def test_a_run_is_diagnosed_drawn_and_reported(spec: Spec, problem: vg.data.Sequences, tmp_path: Path) -> None:
    run = small(spec, problem, monitor="full", sharpness=4)
    assert vg.diagnose(run).verdict in {"learning", "stuck", "trained"}
    assert np.isfinite(run.sharpness).all()
    run.report(tmp_path / "run.html")
    text = (tmp_path / "run.html").read_text()
    assert run.labels[0] in text
    assert run.labels[-1] in text
    assert run.labels[0] in run.replay(2)._repr_html_()


@pytest.mark.parametrize(
    ("spec", "grid"),
    [
        (TWO, {"cell": ["tanh", "lstm(forget_bias=2)"], "lr": [0.1, 0.01]}),
        (BLOCKS, {"depth": [1, 2], "skip": ["residual", "rezero"]}),
    ],
)
def test_fields_of_any_net_are_varied_kept_in_a_store_and_selected(
    spec: Spec, grid: dict[str, Any], tmp_path: Path
) -> None:
    given: dict[str, Any] = {"steps": 3, **grid}
    made = vg.train_sweep(spec, *ORDER, **given, store=tmp_path / "runs.vg")
    found = vg.open_train_sweep(tmp_path / "runs.vg")
    assert len(made) == len(found) == 4
    for one, other in zip(vg.train_sweep(spec, *ORDER, **given), found, strict=True):
        assert one.spec == other.spec
        assert (one.loss == other.loss).all()
    for name, values in grid.items():
        assert len(found.select(**{name: values[0]})) == 2
        assert len(found.select(**{name: values})) == 4
    frame = found.to_dict(rows="cells")
    assert frame["steps"].tolist() == [3] * 4
    assert next(iter(grid)) in frame


def test_parameters_of_cells_are_columns_and_answer_to_their_names() -> None:
    made = vg.sweep(TWO, cell=["lstm", "lstm(forget_bias=2)", "tanh"], steps=[4, 6], seeds=1)
    assert len(made.select(cell_forget_bias=2)) == 2
    assert len(made.select(steps=6)) == 3
    assert made.to_dict(rows="cells")["cell_forget_bias"].tolist()[:4] == [1, 1, 2, 2]
    both = made + vg.sweep(BLOCKS.replace(norm_position="post"), skip=["deepnorm", "residual"], seeds=1)
    assert len(both.select(skip="deepnorm")) == 1
    assert len(both.select(init="xavier_uniform")) == 8
    assert len(both.table()) == 8


def test_what_no_net_of_the_sort_has_is_refused_with_its_fields() -> None:
    with pytest.raises(ValueError, match=r"unknown field 'depth'.*choose from: steps, width"):
        vg.sweep(TWO, depth=[1])
    with pytest.raises(ValueError, match=r"unknown field 'cell'.*choose from: depth, width, heads"):
        vg.train_sweep(BLOCKS, *ORDER, cell=["tanh"])
    with pytest.raises(TypeError, match=r"spec must be an MLP, an RNN or a Transformer, whose fields a sweep varies"):
        vg.sweep(vg.Sequential(["linear(3)"], in_features=2), depth=[1])
    with pytest.raises(ValueError, match=r"select|unknown"):
        vg.sweep(TWO, steps=[4], seeds=1).select(nothing=1)


def test_nets_of_one_sweep_must_have_their_outputs_at_the_same_places() -> None:
    wide = TWO.replace(layers=1, truncate=None, out_features=12)
    with pytest.raises(ValueError, match=r"must all have an output at 1 places of a sample, got one with 12"):
        _core.train(
            [wide, wide.replace(outputs="every", out_features=1)],
            [{"optimizer": "adam"}] * 2,
            lambda *_: None,
            x=ORDER.x,
            y=np.zeros((96, 12)),
            loss="mse",
            validation=None,
            steps=1,
            until=None,
            batch=4,
            record=[],
            columns=[],
            sharpness=[],
            validate=[],
            checkpoints=[],
            nonfinite="stop",
            patience=None,
            keep_weights=False,
            resume=None,
            seeds=1,
            seed=0,
            dtype="float32",
            threads=1,
            progress=None,
        )
