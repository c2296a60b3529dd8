"""The pictures hold what was measured, and say so in the project's words."""

import dataclasses
import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.text import Text

import vgcore as vg
from vgcore import plot
from vgcore.judge.rules import RULES
from vgcore.measure import table
from vgcore.measure.result import columns_of
from vgcore.plot.page import png

mpl.use("Agg")

NET = vg.MLP(depth=12, width=8, activation="tanh", init="xavier_normal")
DRAW: dict[str, Callable[..., Axes]] = {"layers": plot.layers, "depths": plot.depths, "heatmap": plot.heatmap}

GRID: dict[str, Any] = {
    "activation": ["sigmoid", "tanh", "relu"],
    "init": ["xavier_normal", "kaiming_normal"],
    "skip": [None, "residual"],
}
CONFIGURATIONS = [f"{a}, {i}, {s or 'no skip'}" for a, i, s in itertools.product(*GRID.values())]

each_picture = pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def probe() -> vg.Probe:
    return vg.probe(NET, seeds=4, batch=16)


@pytest.fixture(scope="module")
def sweep() -> vg.Sweep:
    return vg.sweep(NET, depth=[8, 2, 4], **GRID, seeds=3, batch=16)


@pytest.fixture(scope="module")
def diverged() -> vg.Probe:
    return vg.probe(NET.replace(depth=100, activation="relu", init="normal(std=9)", bias="constant(1)"), seeds=3)


@pytest.fixture(scope="module")
def dead() -> vg.Probe:
    return vg.probe(NET.replace(init="zeros"), seeds=3)


def configuration(cell: vg.Probe) -> str:
    return f"{cell.spec.activation}, {cell.spec.init}, {cell.spec.skip or 'no skip'}"


def labels(ax: Axes) -> list[str]:
    return [str(line.get_label()) for line in ax.get_lines()]


def heights(ax: Axes) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()]


def ticks(ax: Axes, axis: str = "y") -> list[str]:
    ax.figure.canvas.draw()
    return [label.get_text() for label in getattr(ax, f"get_{axis}ticklabels")()]


def grid(ax: Axes) -> Any:
    """The numbers of a heatmap, nan where there is none."""
    mesh: Any = ax.collections[0]
    return np.ma.filled(mesh.get_array(), np.nan)


def rows(ax: Axes) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def numbers(ax: Axes) -> list[str]:
    """Those that have room."""
    return [text.get_text() for text in ax.texts if text.fits()]  # type: ignore[attr-defined]


def with_changes(sweep: vg.Sweep, changes: dict[tuple[str, int], float]) -> list[vg.Probe]:
    """Cells whose backward signal changes by the given powers of ten, by activation and depth."""
    cells = {(str(cell.spec.activation), cell.spec.depth): cell for cell in sweep}
    return [
        dataclasses.replace(cells[at], log10_delta_rms=np.tile(np.linspace(change, 0, at[1]), (3, 1)))
        for at, change in changes.items()
    ]


# Spectra


def test_a_spectrum_is_drawn_in_order_against_rank_over_n() -> None:
    spec = NET.replace(depth=40)
    found = {init: vg.jacobian(spec.replace(init=init)) for init in ("lecun_normal", "orthogonal")}
    ax = plot.spectrum(found)
    assert ax.get_legend_handles_labels()[1] == ["lecun_normal", "orthogonal"]
    for line, each in zip(ax.get_lines(), found.values(), strict=False):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 9) / 8)
        np.testing.assert_array_equal(line.get_ydata(), each.log10_singular_values)
    assert ax.get_title(loc="left") == "tanh, depth 40, width 8"
    assert ax.get_ylabel() == "singular values of dy/dx"
    assert r"$\mathdefault{10^{0}}$" in ticks(ax)


def test_one_spectrum_needs_no_label() -> None:
    figure, ax = plt.subplots()
    j = vg.jacobian(NET.replace(activation="linear", init="orthogonal"))
    assert plot.spectrum(j, ax=ax) is ax
    assert ax.get_legend() is None
    assert ax.get_title(loc="left") == "linear, orthogonal, depth 12, width 8"
    low, high = ax.get_ylim()
    assert high - low >= 2  # rounding does not look like a trend
    figure.canvas.draw()


def test_a_spectrum_says_where_it_is_zero_or_diverged() -> None:
    off = vg.jacobian(NET.replace(init="constant(1)", activation="linear"))
    diverged = vg.jacobian(NET.replace(init="normal(std=1e100)", activation="softplus"))
    ax = plot.spectrum({"off": off, "lost": diverged})
    assert ax.get_legend_handles_labels()[1] == ["off (gap: 7 of 8 exactly 0)", "lost (gap: diverged)"]
    assert ax.get_xlim()[1] > 1
    assert plot.spectrum(off).get_legend() is not None


def test_only_jacobians_have_a_spectrum(probe: vg.Probe) -> None:
    for wrong in (probe, {"tanh": probe}, [vg.jacobian(NET)]):
        with pytest.raises(TypeError, match="must be a Jacobian or a mapping of labels to Jacobians, got "):
            plot.spectrum(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nothing to draw: no Jacobian is given"):
        plot.spectrum({})


# Layer by layer


def test_one_cell_shows_all_three_signals_from_the_input_on(probe: vg.Probe) -> None:
    ax = plot.layers(probe)
    assert labels(ax) == ["forward scale z (rms)", "backward signal dL/dz (rms)", "weight gradient dL/dW (norm)"]
    columns = probe.log10_z_rms, probe.log10_delta_rms, probe.log10_wgrad_norm
    for line, column in zip(ax.get_lines(), columns, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 13))
        np.testing.assert_array_equal(line.get_ydata(), column.mean(axis=0))
    assert ax.get_xlabel() == "layer (1 = input side)"
    assert ticks(ax, "x")[0] == "1"


def test_the_band_is_one_standard_deviation_over_seeds(probe: vg.Probe) -> None:
    ax = plot.layers(probe, signal="forward")
    (band,) = ax.collections
    points = np.asarray(band.get_paths()[0].vertices)
    mean, std = probe.log10_z_rms.mean(axis=0), probe.log10_z_rms.std(axis=0, ddof=1)
    for layer in range(12):
        at = points[points[:, 0] == layer + 1, 1]
        np.testing.assert_allclose([at.min(), at.max()], [(mean - std)[layer], (mean + std)[layer]])


def test_one_seed_has_no_band() -> None:
    ax = plot.layers(vg.probe(NET, seeds=1))
    assert not ax.collections
    assert "1 seed, " in ax.get_title("left")


def test_several_cells_show_the_backward_signal_named_by_what_varies(sweep: vg.Sweep) -> None:
    cells = [cell for cell in sweep if cell.spec.depth == 4 and cell.spec.init == "xavier_normal"]
    ax = plot.layers(cells)
    assert labels(ax)[:3] == ["sigmoid, no skip", "sigmoid, residual", "tanh, no skip"]
    for height, cell in zip(heights(ax), cells, strict=True):
        np.testing.assert_array_equal(height, cell.log10_delta_rms.mean(axis=0))
    assert ax.get_ylabel() == "backward signal dL/dz (rms)"
    assert ax.get_title("left").startswith("xavier_normal, depth 4, width 8\n")


@pytest.mark.parametrize(
    ("signal", "column", "label"),
    [
        ("forward", "log10_z_rms", "forward scale z (rms)"),
        ("backward", "log10_delta_rms", "backward signal dL/dz (rms)"),
        ("weight", "log10_wgrad_norm", "weight gradient dL/dW (norm)"),
    ],
)
def test_any_signal_can_be_chosen(sweep: vg.Sweep, signal: Any, column: str, label: str) -> None:
    ax = plot.layers(sweep, signal=signal)
    assert ax.get_ylabel() == label
    np.testing.assert_array_equal(heights(ax)[5], getattr(sweep[5], column).mean(axis=0))
    alone = plot.layers(sweep[5], signal=signal)
    assert labels(alone) == [label]
    np.testing.assert_array_equal(heights(alone)[0], heights(ax)[5])


def test_cells_may_differ_in_how_they_were_measured(probe: vg.Probe) -> None:
    y = np.zeros((16, 8))
    other = vg.probe(NET, x=np.ones((16, 8)), y=y, loss="mse", seeds=2, dtype="float64")
    assert labels(plot.layers([probe, other])) == [
        "4 seeds, float32, random cotangent, drawn data",
        f"2 seeds, float64, mse loss (mean over all elements),\ndata {table.data_id(other.x, y)}",
    ]


def test_cells_that_differ_in_nothing_are_numbered(probe: vg.Probe) -> None:
    assert labels(plot.layers([probe, probe])) == ["probe 1", "probe 2"]


def test_one_value_a_layer_is_named_in_short() -> None:
    mixed = NET.replace(depth=3, activation=["relu", "relu", "tanh"])
    probes = [vg.probe(spec, seeds=1) for spec in (mixed, mixed.replace(activation="relu", width=[8, 4, 4]))]
    assert labels(plot.layers(probes)) == ["width 8, relu x2 tanh", "width 8 4 x2, relu"]


def test_a_single_layer_is_a_point() -> None:
    ax = plot.layers(vg.probe(NET.replace(depth=1), seeds=2))
    assert [len(height) for height in heights(ax)] == [1, 1, 1]
    assert {line.get_marker() for line in ax.get_lines()}.isdisjoint({"", "None"})
    assert ticks(ax, "x") == ["1"]


def test_ticks_go_past_the_range_of_floats() -> None:
    ax = plot.layers(vg.probe(NET.replace(depth=2000, activation="sigmoid"), seeds=2, batch=4))
    assert ax.get_yscale() == "linear"
    assert r"$\mathdefault{10^{-1000}}$" in ticks(ax)


def test_the_limits_of_float32_are_drawn_only_where_they_are_in_view(probe: vg.Probe) -> None:
    lines = ["float32 max (3e38)", "float32 smallest normal (1e-38)"]

    def limits(level: float) -> list[str]:
        cell = dataclasses.replace(probe, log10_delta_rms=np.linspace(np.zeros(4), level, 12).T)
        ax = plot.layers(cell, signal="backward")
        for line in ax.get_lines()[1:]:
            assert ax.get_ylim()[0] < np.asarray(line.get_ydata())[0] < ax.get_ylim()[1]
        return labels(ax)[1:]

    assert limits(-30) == []
    assert limits(30) == []
    assert limits(-50) == lines[1:]
    assert limits(50) == lines[:1]


@pytest.mark.parametrize("draw", [plot.layers, plot.depths])
def test_noise_is_not_blown_up_to_a_trend(draw: Callable[..., Axes], sweep: vg.Sweep) -> None:
    low, high = draw(with_changes(sweep, {("tanh", 2): 0.01, ("tanh", 4): 0.02})).get_ylim()
    assert high - low >= 2


# End to end


def test_a_line_a_configuration_over_the_depths_in_order(sweep: vg.Sweep) -> None:
    ax = plot.depths(sweep)
    assert labels(ax)[:-1] == CONFIGURATIONS
    for name, line in zip(CONFIGURATIONS, ax.get_lines(), strict=False):
        cells = {cell.spec.depth: cell for cell in sweep if configuration(cell) == name}
        np.testing.assert_array_equal(line.get_xdata(), [2, 4, 8])
        expected = [cells[depth].end_to_end("backward").mean() for depth in (2, 4, 8)]
        np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float), expected, rtol=1e-13, atol=1e-13)
    assert ax.get_xlabel() == "depth (hidden layers)"
    assert ax.get_ylabel() == "end-to-end backward change of dL/dz"


def test_a_line_marks_where_the_signal_is_preserved(sweep: vg.Sweep) -> None:
    ax = plot.depths(sweep)
    assert labels(ax)[-1] == "preserved"
    assert set(heights(ax)[-1]) == {0.0}


@pytest.mark.parametrize(
    ("depths", "scale"),
    [([1, 2, 4, 8, 16], "log"), ([10, 20, 50, 100], "log"), ([2, 4, 6, 8], "linear"), ([5, 10], "linear")],
)
def test_depths_that_grow_by_factors_get_a_log_axis(depths: list[int], scale: str) -> None:
    ax = plot.depths(vg.sweep(NET, depth=depths, seeds=2, batch=4))
    assert ax.get_xscale() == scale
    assert [label for label in ticks(ax, "x") if label] == [str(depth) for depth in depths]
    assert labels(ax) == ["tanh, xavier_normal", "preserved"]


def look_of(line: Any) -> tuple[Any, ...]:
    return line.get_color(), line._unscaled_dash_pattern[1], line.get_marker()


def test_what_is_alike_looks_alike_and_in_grey_no_two_lines_do(sweep: vg.Sweep) -> None:
    lines = plot.depths(sweep).get_lines()[:-1]
    words = [name.split(", ") for name in CONFIGURATIONS]
    assert len({(word[0], line.get_color(), line.get_marker()) for word, line in zip(words, lines, strict=True)}) == 3
    others = {((word[1], word[2]), str(look_of(line)[1])) for word, line in zip(words, lines, strict=True)}
    assert len(others) == 4
    assert len({(str(look_of(line)[1]), line.get_marker()) for line in lines}) == 12


@pytest.mark.parametrize("count", [1, 2, 7, 8, 13, 30, 72])
def test_lines_without_a_pattern_differ_in_style_or_marker_too(probe: vg.Probe, count: int) -> None:
    lines = plot.layers([probe] * count, signal="backward").get_lines()[:count]
    assert len({(str(look_of(line)[1]), line.get_marker()) for line in lines}) == count
    assert len({line.get_color() for line in lines}) == min(count, 7)


# Heatmap


@pytest.mark.parametrize("value", ["forward", "backward", "weight"])
def test_every_cell_of_the_sweep_is_in_its_place(sweep: vg.Sweep, value: Any) -> None:
    ax = plot.heatmap(sweep, value=value)
    assert grid(ax).shape == (12, 3)
    assert ticks(ax, "x") == ["2", "4", "8"]
    for cell in sweep:
        place = rows(ax).index(configuration(cell)), [2, 4, 8].index(cell.spec.depth)
        assert grid(ax)[place] == pytest.approx(cell.end_to_end(value).mean(), abs=1e-12)


def test_rows_are_in_the_order_of_the_sweep_from_the_top(sweep: vg.Sweep) -> None:
    ax = plot.heatmap(sweep)
    assert rows(ax) == CONFIGURATIONS
    assert ax.get_ylim() == (12, 0)


def test_the_power_of_ten_is_written_into_its_cell(sweep: vg.Sweep) -> None:
    changes = {("tanh", 2): -0.04, ("tanh", 4): -9.96, ("relu", 2): 3.14, ("relu", 4): -700.0}
    ax = plot.heatmap(with_changes(sweep, changes))
    assert numbers(ax) == ["0.0", "−10", "3.1", "−700"]


def test_numbers_are_left_out_where_they_do_not_fit(sweep: vg.Sweep) -> None:
    ax = plot.heatmap(sweep)
    ax.figure.canvas.draw()
    assert len(numbers(ax)) == 36
    ax.figure.set_size_inches(4, 2.5)  # type: ignore[union-attr]
    ax.figure.canvas.draw()
    assert numbers(ax) == []


def test_colours_are_centred_and_a_vanished_cell_does_not_wash_out_the_rest(sweep: vg.Sweep) -> None:
    changes = {("tanh", 2): 0.0, ("tanh", 4): 2.0, ("relu", 2): -2.0, ("relu", 4): -700.0}
    mesh: Any = plot.heatmap(with_changes(sweep, changes)).collections[0]
    red, _, blue = np.asarray(mesh.cmap(mesh.norm([0.0, 2.0, -2.0])))[:, :3].T
    assert mesh.norm(0.0) == pytest.approx(0.5)
    assert red[0] == pytest.approx(blue[0], abs=0.01)
    assert red[1] > blue[1] + 0.1
    assert blue[2] > red[2] + 0.1


def test_the_colour_bar_reads_as_powers_of_ten(sweep: vg.Sweep) -> None:
    ax = plot.heatmap(with_changes(sweep, {("tanh", 2): 0.5, ("tanh", 4): -700.0}))
    (bar,) = (each for each in ax.child_axes if isinstance(each, Axes))
    assert ticks(bar) == [rf"$\mathdefault{{10^{{{k}}}}}$" for k in (-1000, -100, -10, -1, 0, 1, 10, 100, 1000)]
    assert bar.get_ylabel().startswith("end-to-end backward change of dL/dz")


def test_forty_configurations_stay_legible() -> None:
    varied: dict[str, Any] = {"activation": vg.ACTIVATIONS[:8], "bias": [f"constant({k})" for k in range(5)]}
    ax = plot.heatmap(vg.sweep(NET, depth=[1, 2], **varied, seeds=1, batch=2))
    ax.figure.canvas.draw()
    boxes = [label.get_window_extent() for label in ax.get_yticklabels()]
    assert len(boxes) == 40
    assert all(upper.y0 >= lower.y1 - 1 for upper, lower in itertools.pairwise(boxes))
    assert min(box.x0 for box in boxes) >= 0


def reasons(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def corners(ax: Axes, hatch: str) -> list[tuple[float, float]]:
    """The lower left corners of cells with a hatch."""
    boxes = [box for bars in ax.containers for box in bars if box.get_hatch() == hatch]
    return sorted((box.get_x(), box.get_y()) for box in boxes)


def test_cells_that_were_not_measured_are_hatched_and_named(sweep: vg.Sweep) -> None:
    ax = plot.heatmap(sweep.cells[:-1])
    assert np.isnan(grid(ax)).sum() == 1
    assert corners(ax, "xxxx") == [(1, 11)]
    assert reasons(ax) == ["not measured: the sweep has no such cell"]
    assert len(numbers(ax)) == 35


# Gaps


def test_a_run_that_diverged_leaves_a_gap_and_is_named(diverged: vg.Probe) -> None:
    ax = plot.layers(diverged)
    forward, backward, weight = heights(ax)[:3]
    assert np.isfinite(forward[0])
    assert np.isnan(forward[-1])
    assert np.isnan(backward).all()
    assert np.isnan(weight).all()
    assert labels(ax)[1] == "backward signal dL/dz (rms) (gap: 3 of 3 runs diverged)"
    assert ax.get_xlim()[1] > 100


def test_a_signal_that_is_exactly_zero_leaves_a_gap_and_is_named(dead: vg.Probe) -> None:
    ax = plot.layers(dead, signal="forward")
    assert labels(ax) == ["forward scale z (rms) (gap: 3 of 3 runs exactly 0)"]
    assert np.isnan(heights(ax)[0]).all()
    legend = ax.get_legend()
    assert legend is not None
    assert "gap" in legend.get_texts()[0].get_text()


def test_one_run_is_enough_for_a_gap(probe: vg.Probe) -> None:
    column = probe.log10_delta_rms.copy()
    column[2, :5] = -np.inf
    ax = plot.layers(dataclasses.replace(probe, log10_delta_rms=column), signal="backward")
    assert labels(ax) == ["backward signal dL/dz (rms) (gap: 1 of 4 runs exactly 0)"]
    np.testing.assert_array_equal(np.isnan(heights(ax)[0]), np.arange(12) < 5)


def test_gaps_over_depth_are_named(diverged: vg.Probe) -> None:
    shallow = vg.probe(diverged.spec.replace(depth=2), seeds=3)
    ax = plot.depths([shallow, diverged])
    assert labels(ax)[0] == "relu, normal(std=9) (gap at depth 100: 3 of 3 runs diverged)"
    np.testing.assert_array_equal(np.isnan(heights(ax)[0]), [False, True])


def test_cells_without_a_number_are_hatched_and_explained(diverged: vg.Probe, dead: vg.Probe) -> None:
    shallow = [vg.probe(cell.spec.replace(depth=2), seeds=3) for cell in (diverged, dead)]
    ax = plot.heatmap([diverged, dead, *shallow])
    assert ticks(ax, "x") == ["2", "12", "100"]
    assert corners(ax, "////") == [(2, 0)]
    assert corners(ax, "....") == [(0, 1), (1, 1)]
    assert corners(ax, "xxxx") == [(1, 0), (2, 1)]
    assert reasons(ax) == [
        "diverged: a value of a run is not finite",
        "dead: the signal of a run is exactly 0",
        "not measured: the sweep has no such cell",
    ]


# Columns


def shaded(ax: Axes) -> list[tuple[float, float]]:
    """Where layers are shaded, from and to."""
    boxes = [patch.get_extents().transformed(ax.transData.inverted()) for patch in ax.patches]
    return [(round(box.x0, 6), round(box.x1, 6)) for box in boxes]


def test_columns_are_drawn_as_they_were_measured(probe: vg.Probe) -> None:
    ax = plot.columns(probe, ["log10_z_rms", "log10_delta_rms", "log10_wgrad_norm"])
    assert labels(ax) == ["forward scale z (rms)", "backward signal dL/dz (rms)", "weight gradient dL/dW (norm)"]
    columns = probe.log10_z_rms, probe.log10_delta_rms, probe.log10_wgrad_norm
    for line, column in zip(ax.get_lines(), columns, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 13))
        np.testing.assert_array_equal(line.get_ydata(), column.mean(axis=0))
    assert all(re.fullmatch(r"\$\\mathdefault\{10\^\{-?\d+\}\}\$", label) for label in ticks(ax))
    assert ax.get_xlabel() == "layer (1 = input side)"
    assert ax.get_ylabel() == "size"
    assert (
        ax.get_title("left")
        .replace("\n", " ")
        .endswith("mean ± 1 std over 4 seeds, batch 16, float32, random cotangent")
    )


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("saturated", "share of (sample, unit) with a flat slope"),
        ("dead", "share of units that are 0 for all samples"),
        ("correlation", "mean cosine of two samples' z"),
        ("effective_rank", "effective rank of h"),
        ("log10_delta_rms", "backward signal dL/dz (rms)"),
        ("log10_bgrad_norm", "log10_bgrad_norm"),
    ],
)
def test_one_column_is_named_at_the_axis(probe: vg.Probe, name: str, label: str) -> None:
    ax = plot.columns(probe, [name])
    assert ax.get_ylabel() == label
    assert (r"\mathdefault{10^" in "".join(ticks(ax))) == name.startswith("log10_")
    np.testing.assert_array_equal(heights(ax)[0], getattr(probe, name).mean(axis=0))


def test_columns_that_are_no_powers_keep_plain_numbers(probe: vg.Probe) -> None:
    assert "mathdefault{10^" not in "".join(ticks(plot.columns(probe, ["correlation", "log10_z_rms"])))


@pytest.mark.parametrize(
    ("layers", "stretches"),
    [
        ((), []),
        ((0,), [(0.5, 1.5)]),
        ((11,), [(11.5, 12.5)]),
        ((0, 1, 2, 5, 7, 8), [(0.5, 3.5), (5.5, 6.5), (7.5, 9.5)]),
        (range(12), [(0.5, 12.5)]),
    ],
)
def test_the_layers_of_a_finding_are_shaded(probe: vg.Probe, layers: Any, stretches: list[tuple[float, float]]) -> None:
    ax = plot.columns(probe, ["correlation"], layers=layers)
    assert shaded(ax) == stretches
    assert all(patch.get_zorder() < ax.get_lines()[0].get_zorder() for patch in ax.patches)


def test_gaps_of_a_column_are_named(diverged: vg.Probe, dead: vg.Probe) -> None:
    assert labels(plot.columns(diverged, ["log10_delta_rms"])) == [
        "backward signal dL/dz (rms) (gap: 3 of 3 runs diverged)"
    ]
    assert labels(plot.columns(dead, ["log10_z_rms"])) == ["forward scale z (rms) (gap: 3 of 3 runs exactly 0)"]


def test_every_finding_has_a_picture_that_can_be_drawn(diverged: vg.Probe, dead: vg.Probe, probe: vg.Probe) -> None:
    narrow = vg.probe(NET.replace(depth=80, activation="relu", init="xavier_normal"), seeds=4)
    for cell in (diverged, dead, probe, narrow):
        for finding in vg.diagnose(cell, explain=True).findings:
            ax = plot.columns(cell, finding.picture, layers=finding.layers)
            assert len(ax.get_lines()) == len(finding.picture) > 0
            assert len(shaded(ax)) >= bool(finding.layers)
            plt.close("all")
    cells = [narrow, *(vg.probe(net, seeds=2) for net in (vg.RNN(4, 8, cell="lstm"), vg.Transformer(2, 8)))]
    for rule in RULES:
        cell = next(each for each in cells if {*rule.picture} <= {*columns_of(each)})
        assert len(plot.columns(cell, rule.picture).get_lines()) == len(rule.picture)
        plt.close("all")


def test_a_column_of_one_layer_is_a_point() -> None:
    ax = plot.columns(vg.probe(NET.replace(depth=1), seeds=2), ["correlation"], layers=[0])
    assert [len(height) for height in heights(ax)] == [1]
    assert ticks(ax, "x") == ["1"]


def test_columns_go_on_the_axes_given(probe: vg.Probe) -> None:
    figure, (left, right) = plt.subplots(1, 2)
    assert plot.columns(probe, ["dead"], ax=right) is right
    assert right.has_data()
    assert not left.has_data()
    assert plt.get_fignums() == [figure.number]


def test_columns_as_a_file_leave_no_figure_behind(probe: vg.Probe) -> None:
    assert png(lambda ax: plot.columns(probe, ["correlation"], layers=[3], ax=ax)).startswith(b"\x89PNG")
    assert plt.get_fignums() == []


def test_unknown_columns_are_refused_and_the_known_listed(probe: vg.Probe) -> None:
    message = r"unknown column 'corelation' \(did you mean 'correlation'\?\); choose from: log10_z_rms, "
    with pytest.raises(ValueError, match=message):
        plot.columns(probe, ["correlation", "corelation"])
    with pytest.raises(ValueError, match="unknown column 'first_nonfinite'"):
        plot.columns(probe, ["first_nonfinite"])
    with pytest.raises(ValueError, match="nothing to draw: no column is named"):
        plot.columns(probe, [])


@pytest.mark.parametrize("wrong", [NET, None, "tanh", 3], ids=str)
def test_columns_are_those_of_a_probe(wrong: Any) -> None:
    with pytest.raises(TypeError, match=rf"probe must be a Probe or a Trace, got .*\({type(wrong).__name__}\)"):
        plot.columns(wrong, ["correlation"])


def test_columns_without_matplotlib_name_the_extra(probe: vg.Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"matplotlib.*vgcore\[plot\]"):
        plot.columns(probe, ["correlation"])


# All pictures


@each_picture
def test_given_axes_are_used_and_returned(draw: Callable[..., Axes], sweep: vg.Sweep) -> None:
    figure, (left, right) = plt.subplots(1, 2)
    assert draw(sweep, ax=right) is right
    assert right.has_data()
    assert not left.has_data()
    assert plt.get_fignums() == [figure.number]


@each_picture
def test_titles_say_what_was_measured(draw: Callable[..., Axes], sweep: vg.Sweep) -> None:
    title = draw(sweep).get_title("left").replace("\n", " ")
    assert title.startswith("width 8 geometric mean ")
    assert title.endswith("over 3 seeds, batch 16, float32, random cotangent")


@pytest.mark.parametrize("draw", [plot.layers, plot.depths])
@pytest.mark.parametrize("count", [2, 12])
def test_a_legend_never_covers_data(draw: Callable[..., Axes], count: int, sweep: vg.Sweep) -> None:
    ax = draw([cell for cell in sweep if configuration(cell) in CONFIGURATIONS[:count]])
    ax.figure.canvas.draw()
    legend = ax.get_legend()
    assert legend is not None
    box, data = legend.get_window_extent(), ax.get_window_extent()
    assert box.x0 >= data.x1 or box.y1 <= data.y0
    assert box.x1 <= ax.figure.bbox.x1
    assert box.y0 >= 0


@each_picture
def test_nothing_is_shown_and_no_setting_is_changed(
    draw: Callable[..., Axes], sweep: vg.Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dict(mpl.rcParams)
    monkeypatch.setattr(plt, "show", lambda: pytest.fail("shown"))
    draw(sweep)
    assert dict(mpl.rcParams) == before


def test_the_package_is_imported_without_matplotlib() -> None:
    code = "import sys, vgcore.plot; sys.exit(any(name.startswith('matplotlib') for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)


@each_picture
def test_without_matplotlib_the_extra_is_named(
    draw: Callable[..., Axes], sweep: vg.Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"matplotlib.*vgcore\[plot\]"):
        draw(sweep)


# What is refused


@each_picture
@pytest.mark.parametrize("empty", [[], vg.Sweep((), ("depth",), 4)], ids=["list", "sweep"])
def test_nothing_measured_is_nothing_to_draw(draw: Callable[..., Axes], empty: Any) -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        draw(empty)


@each_picture
@pytest.mark.parametrize("wrong", [NET, [NET], "tanh", None, 3], ids=str)
def test_other_things_than_probes_are_refused(draw: Callable[..., Axes], wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"must be a Probe, a Sweep or a list of Probes.* got "):
        draw(wrong)


@pytest.mark.parametrize("draw", [plot.depths, plot.heatmap])
def test_one_depth_is_refused_with_advice(draw: Callable[..., Axes], probe: vg.Probe) -> None:
    with pytest.raises(ValueError, match=r"vary it: sweep\(spec, depth="):
        draw(probe)


def test_an_unknown_signal_is_refused_and_the_known_listed(sweep: vg.Sweep) -> None:
    wrong: Any = "delta"
    message = r"unknown signal 'delta' .*; choose from: forward, backward, weight, log10_z_rms"
    with pytest.raises(ValueError, match=message):
        plot.layers(sweep, signal=wrong)
    with pytest.raises(
        ValueError, match="unknown value 'delta'; choose from: forward, backward, weight, forward_factor"
    ):
        plot.heatmap(sweep, value=wrong)


def test_labels_name_what_varies_in_the_wider_model_space() -> None:
    def words(**grid: Any) -> list[str]:
        plt.close("all")
        return labels(plot.layers(vg.sweep(NET, **grid, seeds=2, batch=8)))

    assert words(norm=[None, "layer"], norm_position=["pre", "post"])[1:] == [
        "no norm, norm_position post",
        "layer norm, norm_position pre",
        "layer norm, norm_position post",
    ]
    assert words(skip=[None, "residual(order=pre)"]) == ["no skip", "residual(order=pre)"]
    assert words(weight_transform=[None, "spectral_norm"]) == ["no weight_transform", "spectral_norm"]
    assert words(tied=[False, True]) == ["untied", "tied"]
    mixed = ("xavier_normal",) * 11 + ("orthogonal",)
    assert words(init=["xavier_normal", mixed]) == ["xavier_normal", "xavier_normal x11 orthogonal"]
    every = NET.replace(tied=True)
    ax = plot.layers(vg.sweep(every, inputs=["first", "every"], seeds=2, batch=8))
    assert labels(ax) == ["inputs first", "inputs every"]
    assert "tied" in ax.get_title(loc="left").replace("\n", ", ").split(", ")


@pytest.mark.parametrize("name", ["layers", "depths", "heatmap"])
def test_long_labels_take_several_lines_and_leave_room_for_the_data(name: str) -> None:
    long = vg.sweep(
        NET.replace(norm="layer"),
        depth=[2, 4],
        activation=["leaky_relu(0.125)", "threshold(0.25, 0.125)"],
        init=["kaiming_normal(mode=fan_out)", "mean_field(1.5, 0.05)"],
        norm=["layer(eps=0.001)", "batch(eps=0.001)"],
        skip=["highway(gate_bias=-3)", "residual(order=pre)"],
        weight_transform=[None, "weight_standardization(gain=2)"],
        seeds=2,
        batch=8,
    )
    shown = [cell for cell in long if cell.spec.depth == 4] if name == "layers" else long
    ax = DRAW[name](shown)  # a picture without room would warn
    ax.figure.canvas.draw()
    texts = rows(ax) if name == "heatmap" else labels(ax)
    assert len({*texts} - {"preserved"}) == 32
    assert max(len(line) for text in texts for line in text.split("\n")) <= 62
    assert ax.bbox.width / ax.figure.dpi > 0.8
    assert ax.bbox.height / ax.figure.dpi > 2


# Words of users


def test_labels_and_names_of_layers_are_drawn_as_they_are() -> None:
    spec = NET.replace(depth=2)
    ax = plot.spectrum({label: vg.jacobian(spec) for label in (r"a$\b$", "_hidden", "50 $", r"\$x$")})
    trace = vg.Trace((r"a$\b$", "b$"), {"log10_forward": np.array([[0.0, 0.1]]), "log10_backward": np.zeros((1, 2))})
    seen = plot.columns(trace, ["log10_forward"])
    for each in (ax, seen):
        each.figure.canvas.draw()
    legend = ax.get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == [r"a\$\b\$", " _hidden", r"50 \$", r"\\$x\$"]
    assert [parse(text) for text in texts] == [r"a$\b$", " _hidden", "50 $", r"\$x$"]
    assert parse(seen.get_title("left")).startswith(r"a$\b$ to b$")


def parse(text: str) -> str:
    """What matplotlib draws letter by letter."""
    drawn, is_math = Text(text=text)._preprocess_math(text)  # type: ignore[attr-defined]
    assert not is_math
    return str(drawn)
