"""Pictures of sweeps: any field on the axes, lines and maps, panels, what is allowed, what is missing."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

import vgcore as vg
from vgcore import plot
from vgcore.judge.rules import RULES, of_change
from vgcore.measure import table
from vgcore.model.mlp import KINDS
from vgcore.plot.fields import facts_of, is_number

mpl.use("Agg")

NET = vg.MLP(depth=6, width=8, activation="tanh", init="xavier_normal")
SCALES = [0.5, 1.0, 1.5, 2.0]
DEPTHS = [2, 6, 20]


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def sweep() -> vg.Sweep:
    init = [f"mean_field({scale}, 0.1)" for scale in SCALES]
    return vg.sweep(NET, depth=DEPTHS, init=init, activation=["tanh", "relu"], seeds=2, batch=8)


@pytest.fixture(scope="module")
def trained() -> vg.TrainSweep:
    x = np.random.default_rng(0).standard_normal((32, 4))
    spec = vg.MLP(depth=2, width=8, in_features=4, out_features=1, activation="tanh")
    return vg.train_sweep(spec, x, x[:, :1], steps=5, depth=[1, 2], optimizer=["sgd", "adam"], lr=[0.1, 0.01, 0.001])


def line(ax: Axes, label: str) -> Any:
    (found,) = [each for each in ax.get_lines() if each.get_label() == label]
    return found


def sigma_w(cell: vg.Probe) -> Any:
    assert isinstance(cell.spec.init, vg.Init)
    return cell.spec.init.params["sigma_w"]


def ticks(ax: Axes, axis: str) -> list[str]:
    ax.figure.canvas.draw()
    return [label.get_text() for label in getattr(ax, f"get_{axis}ticklabels")()]


def grid(ax: Axes) -> Any:
    mesh: Any = ax.collections[0]
    return np.ma.filled(mesh.get_array(), np.nan)


def reasons(ax: Any) -> list[str]:
    return [
        text.get_text()
        for legend in ([ax.get_legend()] if hasattr(ax, "get_legend") else ax.legends)
        for text in legend.get_texts()
    ]


# Any field on x


def test_a_parameter_of_a_kind_is_an_axis_and_the_other_fields_make_the_lines(sweep: vg.Sweep) -> None:
    ax = plot.lines(sweep, x="init_sigma_w")
    for cell in sweep:
        name = f"depth {cell.spec.depth}, {cell.spec.activation}"
        drawn = line(ax, name)
        at = list(drawn.get_xdata()).index(sigma_w(cell))
        assert drawn.get_ydata()[at] == pytest.approx(cell.end_to_end("backward").mean(), abs=1e-12)
    assert ax.get_xlabel() == "init_sigma_w"
    assert ax.get_title("left").startswith("mean_field(sigma_b=0.1), width 8\n")
    assert ticks(ax, "x") == ["0.5", "1", "1.5", "2"]


@pytest.mark.parametrize(
    ("x", "values", "field", "label"),
    [
        ("width", [4, 8, 16], "width", "width (units)"),
        ("branch_scale", [0.25, 0.5, 1.0], "branch_scale", "branch_scale"),
        ("dropout", [0.0, 0.1, 0.2], "dropout", "dropout"),
        ("skip_alpha", ["rezero(alpha=0.1)", "rezero(alpha=0.5)"], "skip", "skip_alpha"),
        (
            "activation_negative_slope",
            ["leaky_relu(0.1)", "leaky_relu(0.3)"],
            "activation",
            "activation_negative_slope",
        ),
        ("norm_eps", ["layer(eps=0.001)", "layer(eps=0.01)"], "norm", "norm_eps"),
    ],
)
def test_any_field_that_is_a_number_is_an_axis(x: str, values: list[Any], field: str, label: str) -> None:
    base = NET.replace(skip="residual") if x == "branch_scale" else NET
    grid: dict[str, Any] = {field: values}
    ax = plot.lines(vg.sweep(base, **grid, seeds=1, batch=4), x=x)
    assert ax.get_xlabel() == label
    assert len(ax.get_lines()[0].get_xdata()) == len(values)  # type: ignore[arg-type]
    assert [each.get_label() for each in ax.get_lines()[1:]] == ["preserved"]


def test_nets_trained_are_drawn_over_the_rate(trained: vg.TrainSweep) -> None:
    ax = plot.lines(trained, x="lr")
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "learning rate"
    drawn = line(ax, "depth 2, adam")
    for run in trained.select(depth=2, optimizer="adam"):
        at = list(drawn.get_xdata()).index(run.optimizer.lr)
        assert drawn.get_ydata()[at] == pytest.approx(np.log10(run.final_loss).mean())
    ax = plot.heatmap(trained.select(optimizer="sgd"), x="lr", y="depth", value="best_loss")
    assert (ticks(ax, "x"), ticks(ax, "y")) == (["0.001", "0.01", "0.1"], ["1", "2"])


def test_axes_of_parameters_have_the_names_of_frames(sweep: vg.Sweep, trained: vg.TrainSweep) -> None:
    mixed = ["relu", "leaky_relu", "relu"]
    cells = vg.sweep(NET.replace(depth=3, activation=mixed), init=["mean_field(1)", "mean_field(2)"], seeds=1, batch=4)
    kinds = tuple(f"{name}_" for name in (*KINDS, "optimizer", "schedule", "clip"))
    for s in (sweep, trained, cells):
        frame = {name for name in s.to_dict() if name.startswith(kinds) and name != "norm_position"}
        drawn = {name for each in facts_of(s.cells) for name, value in each.items() if is_number(value)}
        assert frame
        assert {name for name in drawn if name.startswith(kinds)} == frame
    assert "activation_negative_slope" in cells.to_dict()
    ax = plot.heatmap(cells, x="init_sigma_w", y="activation_negative_slope")
    assert ticks(ax, "y") == ["0.01"]


def test_a_rate_has_the_name_of_frames_and_its_short_one(trained: vg.TrainSweep) -> None:
    long, short = (plot.lines(trained, x=name) for name in ("optimizer_lr", "lr"))
    assert long.get_xlabel() == short.get_xlabel() == "learning rate"
    assert [each.get_label() for each in long.get_lines()] == [each.get_label() for each in short.get_lines()]
    with pytest.raises(ValueError, match="'optimizer_lr' is on two axes"):
        plot.heatmap(trained, x="lr", y="optimizer_lr")


@pytest.mark.parametrize("value", ["forward", "backward", "weight"])
def test_the_factor_a_layer_reads_as_a_number(sweep: vg.Sweep, value: Any) -> None:
    cells = list(sweep.select(activation="tanh"))
    ax = plot.heatmap(cells, x="init_sigma_w", y="depth", value=f"{value}_factor")
    for cell in cells:
        at = DEPTHS.index(cell.spec.depth), SCALES.index(sigma_w(cell))
        assert 10 ** grid(ax)[at] == pytest.approx(cell.factor(value).value)


def test_depth_limits_and_verdicts_are_those_of_a_diagnosis(sweep: vg.Sweep) -> None:
    cells = list(sweep.select(activation="relu"))
    limits = grid(plot.heatmap(cells, y="init_sigma_w", value="depth_limit"))
    ax = plot.heatmap(cells, y="init_sigma_w", value="verdict")
    letters = {text.get_position(): text.get_text() for text in ax.texts}
    for cell in cells:
        judged = vg.diagnose(cell)
        at = SCALES.index(sigma_w(cell)), DEPTHS.index(cell.spec.depth)
        assert letters[at[1] + 0.5, at[0] + 0.5] == judged.verdict[0]
        if judged.depth_limit is not None and np.isfinite(judged.depth_limit.value):
            assert 10 ** limits[at] == pytest.approx(judged.depth_limit.value)
    assert {word.partition(": ")[2] for word in reasons(ax)} == {vg.diagnose(cell).verdict for cell in cells}


# Maps and panels


def test_depth_by_sigma_w_is_a_map_that_grows_upward(sweep: vg.Sweep) -> None:
    ax = plot.heatmap(sweep.select(activation="tanh"), x="depth", y="init_sigma_w")
    assert (ticks(ax, "x"), ticks(ax, "y")) == (["2", "6", "20"], ["0.5", "1", "1.5", "2"])
    assert ax.get_ylim() == (0, 4)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("depth (hidden layers)", "init_sigma_w")


def test_names_are_an_axis_of_a_map(sweep: vg.Sweep) -> None:
    ax = plot.heatmap(sweep.select(depth=20), x="init_sigma_w", y="activation")
    assert ticks(ax, "y") == ["tanh", "relu"]
    assert ax.get_ylim() == (2, 0)


def test_cells_in_one_place_are_refused_with_what_tells_them_apart(sweep: vg.Sweep) -> None:
    with pytest.raises(ValueError, match=r"differ in activation; draw facet='activation', or choose: sweep\.select"):
        plot.heatmap(sweep, x="depth", y="init_sigma_w")


RNG = np.random.default_rng(0)
X, X2 = RNG.standard_normal((2, 16, 4))
TRAINED = NET.replace(depth=1, in_features=4, out_features=1)


def net(depth: int, seed: int) -> vg.Network:
    return NET.replace(depth=depth).init(seed=seed)


CLASHES: dict[str, tuple[str, Any]] = {
    "batch": ("batch", lambda depth: vg.probe(NET.replace(depth=depth), seeds=1, batch=7)),
    "data": ("data", lambda depth: vg.probe(NET.replace(depth=depth), x=np.ones((64, 8)), seeds=1)),
    "dtype": ("dtype", lambda depth: vg.probe(NET.replace(depth=depth), seeds=1, dtype="float64")),
    "first seed": ("seed", lambda depth: vg.probe(NET.replace(depth=depth), seeds=1, seed=3)),
    "own weights": ("init", lambda depth: vg.probe(net(depth, 0))),
    "seeds": ("seeds", lambda depth: vg.probe(NET.replace(depth=depth), seeds=2)),
}


@pytest.mark.parametrize("name", sorted(CLASHES))
def test_a_place_is_refused_to_cells_that_differ_in_anything(name: str) -> None:
    field, other = CLASHES[name]
    base = NET.replace(width=8)
    cells = [*vg.sweep(base, depth=[2, 4], seeds=1), other(2), other(4)]
    with pytest.raises(ValueError, match=rf"have depth 2 and width 8 and differ in .*\b{field}\b.*; draw facet='"):
        plot.heatmap(cells, x="depth", y="width")


def test_own_weights_are_told_apart_by_their_numbers() -> None:
    cells = [vg.probe(net(depth, seed)) for seed in (0, 1) for depth in (2, 4)]
    with pytest.raises(ValueError, match="differ in weights; draw facet='weights', or draw one weights at a time"):
        plot.heatmap(cells, x="depth", y="width")


def test_lines_are_told_apart_by_data_and_by_own_weights() -> None:
    x = RNG.standard_normal((16, 8))
    cells = [vg.probe(NET.replace(depth=d), x=scale * x, seeds=1) for scale in (1, 100) for d in (2, 4)]
    ax = plot.lines(cells)
    ids = [table.data_id(scale * x, None) for scale in (1, 100)]
    for k, data in enumerate(ids):
        expected = [cell.end_to_end("backward").mean() for cell in cells[2 * k : 2 * k + 2]]
        np.testing.assert_allclose(line(ax, f"data {data}").get_ydata(), expected)
    own = [vg.probe(net(2, seed), batch=batch) for seed in (0, 1) for batch in (4, 8)]
    ax = plot.lines(own, x="batch")
    for k in (0, 1):
        weights = own[2 * k].network
        assert weights is not None
        expected = [cell.end_to_end("backward").mean() for cell in own[2 * k : 2 * k + 2]]
        np.testing.assert_allclose(line(ax, f"weights {table.weights_id(weights)}").get_ydata(), expected)


def test_lines_refuse_seeds_that_would_hide_others() -> None:
    cells = [vg.probe(NET.replace(depth=d), seeds=2, seed=seed) for seed in (0, 2) for d in (2, 4)]
    with pytest.raises(ValueError, match="two cells or more have depth 2 and differ in seed; draw facet='seed'"):
        plot.lines(cells)


def test_cells_that_are_entirely_the_same_fall_together(sweep: vg.Sweep) -> None:
    cells = list(sweep.select(activation="tanh"))
    ax = plot.heatmap([*cells, *cells], x="depth", y="init_sigma_w")
    np.testing.assert_array_equal(grid(ax), grid(plot.heatmap(cells, x="depth", y="init_sigma_w")))


@pytest.mark.parametrize(
    ("field", "values", "told"),
    [
        ("clip", [None, 1.0], r"clip; draw facet='clip', or choose: sweep\.select\(clip="),
        ("clip", [2.0, 1.0], r"clip_max_norm; draw facet='clip_max_norm', or choose: sweep\.select\(clip="),
        ("frozen", [(), "readout"], r"frozen; draw facet='frozen', or choose: sweep\.select\(frozen="),
        ("momentum", [0.0, 0.9], r"optimizer_momentum; .*, or choose: sweep\.select\(momentum="),
        ("noise", [0.0, 0.1], r"noise; draw facet='noise'"),
        ("rates", [{}, {"readout": 0.5}], r"rates; draw facet='rates'"),
        ("schedule", ["constant", "cosine"], r"schedule; draw facet='schedule'"),
    ],
)
def test_no_cell_of_a_training_sweep_is_dropped(field: str, values: list[Any], told: str) -> None:
    grid_: dict[str, Any] = {"lr": [0.1, 0.01], "depth": [1, 2], field: values}
    s = vg.train_sweep(TRAINED, X, X[:, :1], steps=2, optimizer="sgd", **grid_)
    with pytest.raises(ValueError, match=f"have optimizer_lr 0.1 and depth 1 and differ in {told}"):
        plot.heatmap(s, x="lr", y="depth")
    name = told.partition("facet='")[2].partition("'")[0] or "optimizer_momentum"
    figure = plot.heatmap(s, x="lr", y="depth", facet=name)
    assert sum(np.isfinite(grid(ax)).sum() for ax in figure.axes[:2]) == len(s) == 8
    drawn = [each for each in plot.lines(s, x="lr").get_lines() if len(each.get_xdata()) == 2]  # type: ignore[arg-type]
    assert len(drawn) == 4


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("data", {"x": X2}),
        ("loss", {"loss": "mse(reduction=sum)"}),
        ("seed", {"seed": 1}),
        ("steps", {"steps": 3}),
        ("targets", {"y": X2[:, :1]}),
        ("validation", {"validation": 0.25}),
        ("weights", {"spec": None}),
    ],
)
def test_runs_of_one_net_that_were_trained_otherwise_have_no_place_in_common(field: str, more: dict[str, Any]) -> None:
    spec = NET.replace(depth=2, in_features=4, out_features=1)
    how: dict[str, Any] = {"x": X, "y": X[:, :1], "loss": "mse", "steps": 2}
    runs = [vg.train(spec, **how, optimizer=f"sgd(lr={lr})") for lr in (0.1, 0.01)]
    other: Any = spec.init(seed=0) if "spec" in more else spec
    how |= {name: value for name, value in more.items() if name != "spec"}
    runs += [vg.train(other, **how, optimizer=f"sgd(lr={lr})") for lr in (0.1, 0.01)]
    with pytest.raises(ValueError, match=rf"differ in .*\b{field}"):
        plot.heatmap(runs, x="lr", y="depth")


def test_panels_share_axes_colours_and_looks(sweep: vg.Sweep) -> None:
    figure = plot.heatmap(sweep, x="depth", y="init_sigma_w", facet="activation")
    left, right, _bar = figure.axes
    assert [ax.get_title("left") for ax in (left, right)] == ["tanh", "relu"]
    assert left.collections[0].norm.vmax == right.collections[0].norm.vmax
    every = np.concatenate([grid(ax).ravel() for ax in (left, right)])
    np.testing.assert_allclose(np.sort(every), sorted(cell.end_to_end("backward").mean() for cell in sweep), atol=1e-12)
    figure = plot.lines(sweep, x="init_sigma_w", facet="depth")
    assert [ax.get_title("left") for ax in figure.axes] == ["depth 2", "depth 6", "depth 20"]
    assert len({ax.get_ylim() for ax in figure.axes}) == 1
    for name in ("tanh", "relu"):
        assert len({line(ax, name).get_color() for ax in figure.axes}) == 1
    assert reasons(figure)[:2] == ["tanh", "relu"]
    with pytest.raises(ValueError, match="ax is one picture and facet draws several"):
        plot.lines(sweep, facet="activation", ax=figure.axes[0])  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"x": "init_sigma"}, r"unknown x 'init_sigma' \(did you mean 'init_sigma_[wb]'\?\); choose from: depth, "),
        ({"x": "activation"}, "x='activation' is no number in all cells; a heatmap has names on its axes"),
        ({"x": "width"}, r"width is the same in all cells; vary it: sweep\(spec, width=\[...\]\), or draw over x='dep"),
        ({"facet": "depth"}, "'depth' is on two axes; name another field"),
        ({"value": "verdict"}, "unknown value 'verdict'"),
    ],
)
def test_what_cannot_be_an_axis_is_refused_with_what_can(sweep: vg.Sweep, fields: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot.lines(sweep, **fields)


def test_cells_without_the_parameter_are_refused() -> None:
    mixed = vg.sweep(NET, init=["mean_field(1)", "mean_field(2)", "orthogonal"], seeds=1, batch=4)
    with pytest.raises(ValueError, match="x='init_sigma_w': 1 of 3 cells have no init_sigma_w") as refused:
        plot.lines(mixed, x="init_sigma_w")
    said = str(refused.value).rpartition("leave them out: sweep.")[2]
    assert said == "select(init_sigma_w=[1.0, 2.0])"
    assert plot.lines(mixed.select(init_sigma_w=[1.0, 2.0]), x="init_sigma_w").get_xlabel() == "init_sigma_w"


def test_one_depth_is_a_map_of_one_column_where_rows_vary(sweep: vg.Sweep) -> None:
    ax = plot.heatmap(sweep.select(depth=6, activation="tanh"), y="init_sigma_w")
    assert grid(ax).shape == (4, 1)


def test_a_map_of_a_thousand_cells_has_ticks_apart_and_no_number_on_another(sweep: vg.Sweep) -> None:
    few = {str(cell.spec.init): cell for cell in sweep if cell.spec.depth == 20 and cell.spec.activation == "tanh"}
    cells = [
        dataclasses.replace(
            next(iter(few.values())),
            spec=NET.replace(depth=depth, init=f"mean_field({scale}, 0.1)"),
            log10_delta_rms=np.tile(np.linspace(-depth * scale / 20, 0, depth), (2, 1)),
        )
        for depth in range(1, 101)
        for scale in np.linspace(0.1, 1, 10).round(1)
    ]
    ax = plot.heatmap(cells, y="init_sigma_w")
    ax.figure.canvas.draw()
    assert grid(ax).shape == (10, 100)
    boxes = sorted(label.get_window_extent().x0 for label in ax.get_xticklabels())
    ends = sorted(label.get_window_extent().x1 for label in ax.get_xticklabels())
    assert len(boxes) > 5
    assert all(start > end for start, end in zip(boxes[1:], ends, strict=False))
    assert (ticks(ax, "x")[0], ticks(ax, "x")[-1]) == ("1", "100")
    assert not any(text.fits() for text in ax.texts)  # type: ignore[attr-defined]


# What a verdict allows


def bands(ax: Axes) -> list[tuple[str, float, float]]:
    found = [(str(patch.get_label()), patch.get_extents().transformed(ax.transData.inverted())) for patch in ax.patches]
    return [(label, box.y0, box.y1) for label, box in found if "fold" in label]


def test_the_band_is_what_the_rules_allow_from_the_last_layer_on() -> None:
    probe = vg.probe(NET.replace(depth=30), seeds=3, batch=8)
    decades = of_change(RULES, "backward", -1).decisive
    ((label, low, high),) = bands(plot.layers(probe))
    start = probe.log10_delta_rms[:, -1].mean()
    assert (low, high) == pytest.approx((start - decades, start + decades))
    assert label == "32-fold dL/dz, the verdict's limit"
    ((label, low, high),) = bands(plot.layers(probe, signal="forward"))
    limit = of_change(RULES, "forward", 1).decisive
    start = probe.log10_z_rms[:, 0].mean()
    assert (low, high) == pytest.approx((start - limit, start + limit))
    assert label == "100-fold z, the verdict's limit"


def test_the_band_over_depth_is_about_no_change(sweep: vg.Sweep) -> None:
    ((label, low, high),) = bands(plot.depths(sweep))
    assert (low, high) == pytest.approx((-1.5, 1.5))
    assert label == "32-fold, the verdict's limit"
    assert bands(plot.lines(sweep, value="backward_factor")) == []


# Gaps


def test_what_is_no_number_is_named_in_lines_and_maps() -> None:
    s = vg.sweep(NET, depth=[1, 4], width=[4, 8], seeds=2, batch=4)
    assert all(
        "(gap at depth 1: 1 of 2 cells one layer)" in str(each.get_label())
        for each in plot.lines(s, value="backward_factor").get_lines()[:2]
    )
    ax = plot.heatmap(s, y="width", value="backward_factor")
    assert reasons(ax) == ["one layer: nothing is passed on"]
    assert np.isnan(grid(ax)[:, 0]).all()


@pytest.fixture(scope="module")
def unvalidated() -> vg.TrainSweep:
    x = np.random.default_rng(0).standard_normal((32, 4))
    spec = vg.MLP(depth=2, width=8, in_features=4, out_features=2, activation="tanh")
    return vg.train_sweep(spec, x, (x[:, 0] > 0).astype(int), steps=5, lr=[0.01, 0.1], depth=[1, 2])


@pytest.mark.parametrize("value", ["validation_accuracy", "validation_loss"])
def test_nets_that_were_not_validated_are_not_drawn_as_diverged(value: str, unvalidated: vg.TrainSweep) -> None:
    for draw in (plot.lines, plot.heatmap):
        with pytest.raises(ValueError, match=f"value='{value}': none of the nets was validated; train with validation"):
            draw(unvalidated, x="lr", value=value)
    x = np.random.default_rng(0).standard_normal((32, 4))
    one = vg.MLP(depth=1, width=8, in_features=4, out_features=2, activation="tanh")
    more = vg.train_sweep(one, x, (x[:, 0] > 0).astype(int), steps=5, lr=[0.02, 0.03], validation=0.25)
    cells = [*unvalidated.select(depth=1), *more]
    ax = plot.heatmap(cells, x="lr", y="depth", value=value)
    assert reasons(ax) == ["not validated: train with validation=0.2"]
    assert np.isnan(grid(ax)).tolist() == [[True, False, False, True]]
    drawn = plot.lines(cells, x="lr", value=value).get_lines()
    assert any("2 of 2 cells not validated" in str(each.get_label()) for each in drawn)


def test_an_accuracy_of_numbers_is_refused() -> None:
    x = np.random.default_rng(0).standard_normal((32, 4))
    spec = vg.MLP(depth=2, width=8, in_features=4, out_features=1, activation="tanh")
    found = vg.train_sweep(spec, x, x[:, :1], steps=5, lr=[0.01, 0.1], validation=0.25)
    with pytest.raises(ValueError, match="targets that are no classes have no accuracy; draw value='validation_loss'"):
        plot.lines(found, x="lr", value="validation_accuracy")


def test_a_loss_of_exactly_0_did_not_diverge() -> None:
    x = np.ones((8, 4))
    spec = vg.MLP(depth=1, width=8, in_features=4, out_features=1, init="zeros")
    found = vg.train_sweep(spec, x, np.zeros((8, 1)), loss="mse", steps=3, lr=[0.01, 0.1], monitor=[])
    ax = plot.heatmap(found, x="lr", y="depth")
    assert reasons(ax) == ["0 or below: a loss without a logarithm"]


def test_a_dead_net_has_no_depth_limit_and_is_not_limitless() -> None:
    s = vg.sweep(vg.MLP(depth=2, width=16), depth=[2, 8], init=["zeros", "kaiming_normal"], seeds=2)
    assert all(vg.diagnose(cell).depth_limit is None for cell in s.select(init="zeros"))
    assert "dead: the signal of a run is exactly 0" in reasons(plot.heatmap(s, value="depth_limit"))
    labels = [str(each.get_label()) for each in plot.lines(s, value="depth_limit").get_lines()]
    assert any("zeros" in label and "2 of 2 cells dead" in label for label in labels)
    assert not any("zeros" in label and "no limit" in label for label in labels)


def test_a_limit_that_a_diagnosis_does_not_know_is_not_infinite() -> None:
    s = vg.sweep(vg.MLP(depth=2, width=16, skip="residual", branch_scale="1/sqrt(L)"), depth=[1, 8], seeds=2)
    assert vg.diagnose(s[1]).depth_limit is None
    assert reasons(plot.heatmap(s, value="depth_limit")) == [
        "one layer: nothing is passed on",
        "not known: nets of other depths are other nets",
    ]
    orthogonal = vg.sweep(vg.MLP(depth=2, width=16, activation="linear", init="orthogonal"), depth=[4, 8], seeds=2)
    assert reasons(plot.heatmap(orthogonal, value="depth_limit")) == ["no limit: dL/dz stays within it at any depth"]


def test_names_are_never_left_out_of_an_axis() -> None:
    names = list(vg.ACTIVATIONS[:23])
    s = vg.sweep(vg.MLP(depth=2, width=8), activation=names, depth=[2, 4], seeds=1, batch=4)
    for ax in (None, plt.subplots(figsize=(6.4, 4.8))[1]):
        drawn = plot.heatmap(s, x="activation", y="depth", ax=ax)
        assert ticks(drawn, "x") == names
        drawn.figure.canvas.draw()
        boxes = sorted((box.x0, box.x1) for box in (each.get_window_extent() for each in drawn.get_xticklabels()))
        assert all(start >= end - 1 for (_, end), (start, _) in itertools.pairwise(boxes))
    figure, axes = plt.subplots(2, 2, figsize=(6.4, 4.8))
    assert ticks(plot.heatmap(s, x="depth", y="activation", ax=axes[0, 0]), "y") == names
    two = [*s, *vg.sweep(vg.MLP(depth=2, width=8, init="ones"), activation=names, depth=[2, 4], seeds=1, batch=4)]
    figure = plot.heatmap(two, x="activation", y="depth", facet="init")
    assert ticks(figure.axes[0], "x") == names


@pytest.mark.parametrize("size", [(4, 3), (7, 5)])
def test_ticks_of_numbers_that_have_no_room_are_round(size: tuple[float, float]) -> None:
    base = vg.probe(NET.replace(depth=2), seeds=1, batch=4)
    cells = [
        dataclasses.replace(base, spec=NET.replace(depth=depth), log10_delta_rms=np.zeros((1, depth)))
        for depth in range(1, 201)
    ]
    for draw in (plot.lines, plot.heatmap):
        first, *others = map(int, ticks(draw(cells, ax=plt.subplots(figsize=size)[1]), "x"))
        (step,) = set(np.diff(others).tolist())
        assert first == 1
        assert others[0] == step
        assert step in {5, 10, 20, 25, 50, 100}


@pytest.fixture(scope="module")
def broken_off() -> vg.Sweep:
    """Of which each narrowest relu net has a seed whose signal ends."""
    return vg.sweep(NET, activation=["tanh", "relu"], width=[1, 16, 64], depth=[12, 24], seeds=4, batch=8)


def test_a_gap_keeps_its_place_on_x_and_says_where_it_is(broken_off: vg.Sweep) -> None:
    assert any(not np.isfinite(cell.end_to_end("backward")).all() for cell in broken_off.select(activation="relu"))
    ax = plot.lines(broken_off.select(activation="relu", depth=12), x="width")
    low, high = ax.get_xlim()
    assert low <= 1
    assert high >= 64
    assert "(gap at width 1: " in str(ax.get_lines()[0].get_label())


def test_a_line_of_panels_has_one_label_that_names_the_panels_of_its_gaps(broken_off: vg.Sweep) -> None:
    labels = [label.replace("\n", " ") for label in reasons(plot.lines(broken_off, x="width", facet="depth"))]
    (relu,) = [label for label in labels if label.startswith("relu")]
    assert "(gap in depth 12 at width 1: " in relu
    assert "; in depth 24 at width 1: " in relu
    assert [label for label in labels if label.startswith("tanh")] == ["tanh"]


def test_numbers_of_many_digits_are_short_in_labels() -> None:
    tiny = ["normal(std=0.000000000000000000000000000001)", "normal(std=0.000000000000000000000000000002)"]
    s = vg.sweep(NET, init=tiny, depth=[2, 4], seeds=1, batch=4)
    assert ticks(plot.heatmap(s, x="depth", y="init"), "y") == ["normal(std=1e-30)", "normal(std=2e-30)"]
    assert [str(each.get_label()) for each in plot.lines(s).get_lines()[:2]] == [
        "normal(std=1e-30)",
        "normal(std=2e-30)",
    ]
    assert "normal(std=1e-30)" in plot.layers(s[0]).get_title("left")


def test_panels_of_one_figure_have_words_of_one_size() -> None:
    s = vg.sweep(NET, depth=[2, 4], init=["xavier_normal", "kaiming_normal"], seeds=1, batch=4)
    _, axes = plt.subplots(1, 3, figsize=(12, 4))
    plot.layers(s[0], ax=axes[0])
    plot.depths(s, ax=axes[1])
    plot.phase_diagram("tanh", ax=axes[2])
    assert len({ax.xaxis.label.get_fontsize() for ax in axes}) == 1
    assert len({ax.get_xticklabels()[0].get_fontsize() for ax in axes}) == 1
    assert len({ax.title.get_fontsize() for ax in axes}) == 1
    assert axes[0].xaxis.label.get_fontsize() == 10
    assert all(ax.get_legend().get_texts()[0].get_fontsize() >= 6 for ax in axes)


def test_an_own_activation_is_called_by_its_name_in_every_picture_of_a_sweep() -> None:
    own = vg.Activation.custom("picture_bump", lambda z: z * np.exp(-z * z))
    s = vg.sweep(vg.MLP(depth=2, width=4), depth=[2, 4], activation=[own, "tanh"], seeds=1)
    legend = plot.lines(s).get_legend()
    assert legend is not None
    words = [text.get_text() for text in legend.get_texts()]
    words += [label.get_text() for label in plot.heatmap(s).get_yticklabels()]
    assert sum("picture_bump" in word for word in words) == 2
    assert not any("custom(" in word for word in words)
