"""The picture and the report of a run show what it recorded, also where it broke."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import vgcore as vg
from test_report import Page
from vgcore import plot
from vgcore.report.write import text
from vgcore.show import training

mpl.use("Agg")

X, Y = vg.data.digits()
NET = vg.MLP(depth=4, width=16, in_features=64, out_features=10, activation="tanh", init="xavier_normal")
HOW: dict[str, Any] = {"loss": "cross_entropy", "optimizer": "sgd(lr=0.1)", "batch": 64}


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def run() -> vg.Run:
    held = X[:200], Y[:200]
    return vg.train(
        NET, X[200:], Y[200:], **HOW, steps=40, seeds=3, validation=held, clip=vg.Clip(1.0), schedule="cosine"
    )


@pytest.fixture(scope="module")
def broken() -> vg.Run:
    """Every seed of it breaks within a few steps."""
    relu = NET.replace(activation="relu", init="kaiming_normal")
    return vg.train(relu, X, Y, **HOW | {"optimizer": "sgd(lr=1e12)"}, steps=40, seeds=2)


def axes(figure: Figure) -> dict[str, Axes]:
    return {ax.get_ylabel(): ax for ax in figure.axes}


def labels(ax: Axes) -> list[str]:
    return ax.get_legend_handles_labels()[1]


def drawn(ax: Axes, values: Any) -> bool:
    """Whether a line has these heights."""
    return any(np.array_equal(np.asarray(line.get_ydata()), values, equal_nan=True) for line in ax.get_lines())


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for ax in figure.axes for text in ax.texts)


def test_every_seed_is_a_thin_line_and_their_median_a_thick_one(run: vg.Run) -> None:
    ax = axes(plot.training(run))["loss"]
    for seed in run.loss:
        assert drawn(ax, seed)
    assert drawn(ax, np.median(run.loss, axis=0))
    assert labels(ax)[0] == "training, median of 3 seeds"


def test_the_losses_of_minibatches_are_smoothed_in_long_runs_and_whole_batches_are_not() -> None:
    scattered = vg.train(NET, X, Y, **HOW, steps=300)
    ax = axes(plot.training(scattered))["loss"]
    assert labels(ax)[0] == "training, mean of 3 steps"
    thick = np.asarray(ax.get_lines()[1].get_ydata())
    assert len(thick) == 300
    assert thick[299] == pytest.approx(scattered.loss[0, 297:].mean())
    assert thick[0] == scattered.loss[0, 0]
    whole = vg.train(NET, X[:50], Y[:50], **HOW | {"batch": 50}, steps=200)
    assert labels(axes(plot.training(whole))["loss"])[0] == "training"


def test_a_long_run_has_some_hundreds_of_points_and_the_last_step_is_one_of_them() -> None:
    long = vg.train(NET.replace(depth=1, width=4), X[:40], Y[:40], **HOW | {"batch": 10}, steps=5000, seeds=2)
    thick = next(
        line for line in axes(plot.training(long))["loss"].get_lines() if "mean of 50" in str(line.get_label())
    )
    x, y = np.asarray(thick.get_xdata()), np.asarray(thick.get_ydata())
    assert 200 < len(x) < 800
    assert x[-1] == 5000
    assert y[-1] == pytest.approx(np.median(long.loss, axis=0)[-50:].mean())


def test_losses_next_to_the_end_of_floats_are_drawn(broken: vg.Run) -> None:
    huge = np.full_like(broken.loss, np.nan)
    huge[:, :3] = 1.0, 1e200, 1e308
    figure = plot.training(dataclasses.replace(broken, loss=huge))
    figure.draw_without_rendering()
    assert axes(figure)["loss"].get_ylim()[1] == 1e100


def test_validation_and_the_blind_guess_are_drawn_and_named(run: vg.Run) -> None:
    ax = axes(plot.training(run))["loss"]
    assert drawn(ax, np.median(run.validation_loss, axis=0))
    shares = np.bincount(Y[200:]) / len(Y[200:])
    assert f"blind guess {-(shares * np.log(shares)).sum():.4g}" in labels(ax)
    accuracy = np.median(run.validation_accuracy[:, -1])
    assert f"validation (accuracy {accuracy:.3f})" in labels(ax)


def test_the_blind_guess_is_that_of_the_rows_that_are_trained_on() -> None:
    run = vg.train(NET, X[:300], Y[:300], **HOW, steps=2, validation=0.3)
    shares = np.bincount(run.training.rows.y) / 210
    assert f"blind guess {-(shares * np.log(shares)).sum():.4g}" in labels(axes(plot.training(run))["loss"])


def test_layers_are_medians_of_seeds_from_dark_to_bright(run: vg.Run) -> None:
    figure = plot.training(run)
    for name, column in {
        "gradient dL/dW (norm)": run.log10_wgrad_norm,
        "update / weight (norms)": run.log10_update_ratio,
    }.items():
        ax = axes(figure)[name]
        layers = [line for line in ax.get_lines() if np.array_equal(np.asarray(line.get_xdata()), run.steps)]
        layers = layers[-5:]
        for i, line in enumerate(layers):
            np.testing.assert_array_equal(np.asarray(line.get_ydata()), np.median(column, axis=0)[:, i])
        bright = [np.dot(mpl.colors.to_rgb(line.get_color()), (0.3, 0.59, 0.11)) for line in layers[:-1]]
        assert bright == sorted(bright)
        assert layers[-1].get_label() == "readout"
    assert drawn(axes(figure)["gradient dL/dW (norm)"], np.median(run.log10_grad_norm, axis=0))
    assert "layer (1 = input side)" in axes(figure)


def test_the_rate_and_what_clipping_did_are_there(run: vg.Run) -> None:
    found = axes(plot.training(run))
    assert drawn(found["learning rate"], run.lr[0])
    assert drawn(found["factor"], np.median(np.log10(run.clip_coef), axis=0))
    often = 100 * np.mean(run.clipped > 0)
    assert found["factor"].get_title("left") == f"clipped in {often:.3g} % of steps"
    assert "max_norm" in labels(found["gradient dL/dW (norm)"])


def test_a_run_without_clipping_has_no_panel_for_it() -> None:
    assert "factor" not in axes(plot.training(vg.train(NET, X, Y, **HOW, steps=5)))


def test_boosting_is_drawn_beside_clipping_and_single_values_as_their_share() -> None:
    boosted = vg.train(NET, X, Y, **HOW, steps=5, clip=vg.Clip(max_norm=None, min_norm=1.0))
    ax = axes(plot.training(boosted))["factor"]
    assert labels(ax) == ["boosting"]
    assert drawn(ax, boosted.log10_boost[0])
    assert ax.get_title("left") == "boosted in 100 % of steps"
    both = vg.train(NET, X, Y, **HOW, steps=5, clip=vg.Clip(max_norm=1.0, min_norm=1.0))
    assert labels(axes(plot.training(both))["factor"]) == ["clipping", "boosting"]
    entries = vg.train(NET, X, Y, **HOW, steps=5, clip=vg.Clip(1e-3, per="value"))
    ax = axes(plot.training(entries))["clipped"]
    assert drawn(ax, entries.clipped[0])
    assert ax.get_ylim() == (0, 1)


def test_the_first_bad_step_is_marked_in_every_panel_and_named(broken: vg.Run) -> None:
    assert broken.first_bad is not None
    figure = plot.training(broken)
    bar = axes(figure)["layer (1 = input side)"]
    for ax in figure.axes:
        marks = [np.asarray(line.get_xdata())[0] for line in ax.get_lines() if line.get_linestyle() == ":"]
        assert marks == ([] if ax is bar else [bad.step for bad in broken.first_bads if bad is not None])
    assert str(broken.first_bad) in texts(figure)  # as the table has it, whose layers count from 1
    assert "stopped: not finite (2)" in axes(figure)["loss"].get_title("left")
    ends = axes(figure)["loss"].get_xlim()
    assert ends[1] < 15  # the steps that never were take no room


def test_a_run_without_any_finite_gradient_says_so(broken: vg.Run) -> None:
    columns = ("log10_wgrad_norm", "log10_update_ratio", "log10_grad_norm", "loss")
    empty = {name: np.full_like(getattr(broken, name), np.nan) for name in columns}
    said = texts(plot.training(dataclasses.replace(broken, **empty)))
    assert said.count("no finite value") == 2
    assert "no step had a finite loss" in said


def test_gradients_that_are_exactly_zero_are_gaps_with_a_reason(run: vg.Run) -> None:
    dead = run.log10_wgrad_norm.copy()
    dead[:, 10:, :2] = -np.inf
    figure = plot.training(dataclasses.replace(run, log10_wgrad_norm=dead))
    assert "gaps: exactly 0 in layers 1-2" in texts(figure)


def test_what_was_not_monitored_is_not_said_to_be_zero() -> None:
    few = vg.train(NET, X, Y, **HOW, steps=5, monitor=["log10_wgrad_norm"])
    assert texts(plot.training(few)) == "not monitored"


def test_what_is_frozen_is_said_to_be(run: vg.Run) -> None:
    how: dict[str, Any] = {**HOW, "steps": 5}
    still = vg.train(NET, X, Y, **how, frozen=["layers", "readout"])
    assert texts(plot.training(still)).split(" ") == ["frozen", "frozen"]
    assert training.spark(still, "log10_update_ratio") == "log10_update_ratio: frozen"
    part = vg.train(NET, X, Y, **how, frozen=["layers.0", "layers.1", "readout"])
    assert texts(plot.training(part)).count("frozen: layers 1-2, readout") == 2
    assert "frozen" not in texts(plot.training(run))


def test_what_was_not_looked_at_is_not_said_to_be_nowhere_finite() -> None:
    bare = vg.train(NET, X, Y, **HOW, steps=5, monitor=["log10_wgrad_norm"])
    said = {name: training.spark(bare, name) for name in ("validation_loss", "sharpness", "dead")}
    words = {"validation_loss": "no validation", "sharpness": "not measured", "dead": "not monitored"}
    assert said == {name: f"{name}: {why}" for name, why in words.items()}


def test_every_skipped_step_is_marked_and_all_are_counted(run: vg.Run) -> None:
    x = X[:300].copy()
    x[7] = 3e38
    relu = NET.replace(activation="relu", init="kaiming_normal")
    skips = vg.train(relu, x, Y[:300], **HOW | {"optimizer": "adam", "batch": 50}, steps=60, seeds=2, nonfinite="skip")
    ax = axes(plot.training(skips))["loss"]
    (ticks,) = (line for line in ax.get_lines() if line.get_marker() == "|")
    gone = np.isnan(skips.loss)
    assert gone.sum() == 20
    np.testing.assert_array_equal(np.asarray(ticks.get_xdata()), np.flatnonzero(gone.any(axis=0)) + 1)
    assert "20 steps skipped by 2 seeds" in labels(ax)
    assert not any("skipped" in label for label in labels(axes(plot.training(run))["loss"]))


@pytest.mark.parametrize("depth", [1, 100])
def test_any_depth_has_its_layers_named_on_the_bar(depth: int) -> None:
    figure = plot.training(vg.train(NET.replace(depth=depth), X, Y, **HOW, steps=3))
    bar = axes(figure)["layer (1 = input side)"]
    figure.draw_without_rendering()
    shown = [int(tick.get_text()) for tick in bar.get_yticklabels()]
    assert shown[0] == 1
    assert shown[-1] <= depth
    assert len(shown) == min(depth, len(shown)) < 10


def test_a_net_without_a_readout_and_a_loss_without_targets_are_drawn_too() -> None:
    alone = vg.train(NET.replace(out_features=None), X, loss="output_sum", steps=5, optimizer="sgd(lr=1e-3)")
    figure = plot.training(alone)
    assert "readout" not in labels(axes(figure)["gradient dL/dW (norm)"])
    assert labels(axes(figure)["loss"]) == ["training"]


def test_a_figure_that_is_given_is_drawn_on_if_it_is_empty(run: vg.Run) -> None:
    figure = plt.figure()
    assert plot.training(run, figure=figure) is figure
    with pytest.raises(ValueError, match="figure must be empty, got one of 6 axes"):
        plot.training(run, figure=figure)


# Pages


def test_the_svg_is_one_element_without_a_date_and_the_same_every_time(run: vg.Run) -> None:
    svg = plot.training_svg(run)
    root = ET.fromstring(svg)
    assert root.tag.endswith("svg")
    assert svg == plot.training_svg(run)
    assert not re.search(r"dc:date|href=\"http", svg)
    assert "blind guess" in svg  # text stays text
    assert plt.get_fignums() == []


def test_the_report_says_what_came_of_each_seed(run: vg.Run) -> None:
    source = text(run, "html")
    page = Page(source)
    for i, seed in enumerate(run.seeds):
        row = (
            f"<td>{seed}</td><td>40</td><td>steps</td><td>{run.first_loss[i]:.4g}</td><td>{run.final_loss[i]:.4g}</td>"
        )
        assert row in source.replace(' class="words"', "")
    assert "layer 4" in page.words
    assert "layers." not in page.words


def test_the_report_of_a_broken_run_names_where_it_broke(broken: vg.Run) -> None:
    source = text(broken, "html")
    assert source.count(f">{broken.first_bad}<") == len(broken.seeds)
    assert "<td>not finite</td>" in source


# Maps


def test_a_map_shows_losses_lines_and_what_diverged() -> None:
    found = vg.trainability("tanh", sigma_w=[0.8, 1.2, 1.6], depth=[2, 5, 12], sigma_b=0.2, width=16, steps=10)
    torn = found.final_loss.copy()
    torn[2, 1:] = np.nan
    ax = plot.trainability(dataclasses.replace(found, final_loss=torn))
    mesh = ax.collections[0]
    shown: Any = np.ma.filled(np.ma.asarray(mesh.get_array()), np.nan)
    np.testing.assert_array_equal(shown.ravel(), torn.T.ravel())
    assert labels(ax) == [
        "6 xi_c, theory",
        "dL/dz within 32-fold, theory",
        "dL/dz within 32-fold, measured at the start",
        "diverged: a value of a run is not finite",
    ]
    scales = vg.theory.depth_scales("tanh", sigma_w=np.linspace(0.8, 1.6, 201), sigma_b=0.2)
    assert drawn(ax, 6 * scales.xi_c)
    assert len(ax.patches) == 2
    assert ax.get_ylim()[0] < 2
    assert mesh.get_clim() == (0, found.blind)


def test_a_rate_map_marks_the_best_rate_of_each_depth() -> None:
    found = vg.rate_map(NET, lr=[1e-4, 1e-2, 1.0], depth=[1, 4], steps=20)
    ax = plot.rate_map(found)
    (line,) = ax.get_lines()
    np.testing.assert_array_equal(np.asarray(line.get_xdata()), found.best_lr)
    np.testing.assert_array_equal(np.asarray(line.get_ydata()), found.depth)
    assert "depth" not in ax.get_title("left")
    with pytest.raises(ValueError, match="two values or more of each axis, got one of depths"):
        plot.rate_map(vg.rate_map(NET, lr=[1e-2, 1.0], depth=[1], steps=2))


def test_a_fractal_is_blue_where_it_converges_and_palest_at_the_slowest() -> None:
    found = vg.rate_fractal(np.geomspace(1, 1e5, 12), np.geomspace(5, 100, 12))
    ax = plot.rate_fractal(found)
    shade = np.asarray(ax.collections[0].get_array()).reshape(12, 12).T
    np.testing.assert_array_equal(shade > 0, found.converged)
    assert (np.abs(shade) > 0.25).all()
    fast = found.measure[found.converged].max()  # the least sum of losses
    assert shade[found.converged].max() == shade[found.measure == fast][0]
    assert "dimension" in ax.get_title("left")
