"""Pictures of theory hold what theory says, and what was measured over it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

import vgcore as vg
from vgcore import plot, theory

mpl.use("Agg")

NET = vg.MLP(depth=12, width=64, activation="tanh", init="mean_field(1.5, 0.1)")


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def lines(ax: Axes, label: str) -> list[Any]:
    return [line for line in ax.get_lines() if str(line.get_label()).startswith(label)]


def legend(ax: Axes) -> list[str]:
    found = ax.get_legend()
    assert found is not None
    return [text.get_text().replace("\n", " ") for text in found.get_texts()]  # in lines where it has little room


# Over what was measured


def test_theory_is_drawn_over_the_three_signals_of_a_cell() -> None:
    p, t = vg.probe(NET, seeds=3, batch=16), theory.predict(NET, batch=16)
    ax = plot.layers(p, theory=t)
    drawn = {tuple(np.asarray(line.get_ydata())) for line in ax.get_lines()}
    for column in ("log10_z_rms", "log10_delta_rms", "log10_wgrad_norm"):
        assert tuple(getattr(t, column)) in drawn
    middle = t.log10_delta_rms + t.delta_drift
    for sign in (-1, 1):
        assert tuple(middle + sign * t.delta_std) in drawn
    assert legend(ax).count("theory") == 1
    assert "theory, one sample in a net of this width, ±1 std" in legend(ax)


def test_theory_takes_the_colour_of_what_it_is_of() -> None:
    specs = [NET.replace(init=f"mean_field({w}, 0.1)") for w in (0.9, 1.2)]
    ax = plot.layers([vg.probe(s, seeds=2) for s in specs], theory=[theory.predict(s) for s in specs])
    measured = [line for line in ax.get_lines() if "mean_field" in str(line.get_label())]
    predicted = [theory.predict(s).log10_delta_rms for s in specs]
    for line, values in zip(measured, predicted, strict=True):
        (match,) = [other for other in ax.get_lines() if np.array_equal(np.asarray(other.get_ydata()), values)]
        assert match.get_color() == line.get_color()


def test_a_prediction_without_a_band_is_a_line_only() -> None:
    spec = NET.replace(norm="layer")
    ax = plot.layers(vg.probe(spec, seeds=2), theory=theory.predict(spec))
    assert "theory" in legend(ax)
    assert not [label for label in legend(ax) if "one sample" in label]


def test_a_prediction_of_something_else_is_refused() -> None:
    p = vg.probe(NET, seeds=2, batch=16)
    for other in (theory.predict(NET, batch=8), theory.predict(NET.replace(width=32), batch=16)):
        with pytest.raises(ValueError, match=r"use predict\(spec, batch=16\)"):
            plot.layers(p, theory=other)
    with pytest.raises(ValueError, match="a prediction for each of 2 cells, got 1"):
        plot.layers([p, p], theory=theory.predict(NET, batch=16))


def test_theory_knows_no_loss() -> None:
    x = np.random.default_rng(0).standard_normal((16, 64))
    p, t = vg.probe(NET, x=x, y=x, loss="mse", seeds=2), theory.predict(NET, batch=16)
    with pytest.raises(ValueError, match="random cotangent"):
        plot.layers(p, theory=t)
    plot.layers(p, signal="forward", theory=t)


# Phases


def test_a_phase_diagram_shows_phases_the_edge_and_measured_nets() -> None:
    points = [vg.probe(NET.replace(init=f"mean_field({w}, 0.3)", depth=30), seeds=3, batch=8) for w in (0.9, 1.1, 2.0)]
    ax = plot.phase_diagram("tanh", points=points)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("sigma_w", "sigma_b")
    (edge,) = lines(ax, "edge of chaos")
    w, b = (np.asarray(values) for values in edge.get_data())
    there = (b > 0.05) & (b < 0.9)
    for weight, bias in zip(w[there][::20], b[there][::20], strict=True):
        assert weight == pytest.approx(theory.critical_point("tanh", sigma_b=bias).sigma_w, rel=1e-6)
    (grows,), (shrinks,) = lines(ax, "measured: dL/dz grows"), lines(ax, "measured: dL/dz shrinks")
    assert list(grows.get_xdata()) == [2.0]
    assert list(shrinks.get_xdata()) == [0.9, 1.1]
    assert {"ordered: gradients vanish", "chaotic: gradients explode"} <= {*legend(ax)}


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "gelu", "swiglu", "abs", "linear", "hardshrink"])
def test_a_phase_diagram_of_any_activation_is_drawn(activation: str) -> None:
    diagram = theory.phase_diagram(activation, sigma_w=np.linspace(0.5, 3, 12), sigma_b=np.linspace(0, 1, 9))
    ax = plot.phase_diagram(diagram)
    assert ax.get_title(loc="left") == f"{activation}: phases of wide nets"
    assert ax.get_xlim() == (0.5, 3)
    ax.figure.canvas.draw()


def test_points_of_other_nets_have_no_place_in_a_phase_diagram() -> None:
    for other in (
        NET.replace(activation="relu"),
        NET.replace(norm="layer"),
        NET.replace(skip="residual"),
        NET.replace(init="xavier_normal"),
    ):
        with pytest.raises(ValueError, match="expected a net of activation='tanh'"):
            plot.phase_diagram("tanh", points=[vg.probe(other, seeds=1, batch=4)])
    with pytest.raises(ValueError, match="two sigma_w"):
        plot.phase_diagram(theory.phase_diagram("tanh", sigma_w=[1.0], sigma_b=[0.0, 0.1]))


def test_the_net_asked_about_is_marked_whatever_its_init() -> None:
    for init, sigma_w in {"xavier_normal": 1.0, "kaiming_normal": 2**0.5, "mean_field(1.7, 0.3)": 1.7}.items():
        ax = plot.phase_diagram(NET.replace(init=init))
        (star,) = lines(ax, "the net: sigma_w ")
        assert star.get_xdata() == pytest.approx([sigma_w])
        assert star.get_ydata() == pytest.approx([0.3 if "mean" in init else 0.0])
        assert str(star.get_label()) in legend(ax)
        assert ax.get_xlim() == (0.5, 3)


def test_several_nets_are_numbered_and_the_picture_is_wide_enough() -> None:
    nets = [NET.replace(init=f"mean_field({w}, {b})") for w, b in ((1.5, 0.1), (4.0, 2.0), (0.1, 0.5))]
    ax = plot.phase_diagram("tanh", nets=nets)
    stars = lines(ax, "net ")
    assert [tuple(star.get_xydata()[0]) for star in stars] == [(1.5, 0.1), (4.0, 2.0), (0.1, 0.5)]
    assert ax.get_xlim()[0] <= 0.1
    assert ax.get_xlim()[1] > 4
    assert ax.get_ylim()[1] > 2
    given = theory.phase_diagram("tanh", sigma_w=[1.0, 2.0], sigma_b=[0.0, 1.0])
    (beyond,) = lines(plot.phase_diagram(given, nets=nets[1:2]), "the net: sigma_w 4, sigma_b 2 (beyond the picture)")
    assert beyond.get_xydata().tolist() == [[2.0, 1.0]]


def test_nets_without_a_place_in_a_phase_diagram_are_refused() -> None:
    for other in (NET.replace(norm="layer"), NET.replace(skip="residual")):
        with pytest.raises(ValueError, match="expected a net of activation='tanh' without norm or skip"):
            plot.phase_diagram(other)
    with pytest.raises(ValueError, match="expected a net of activation='relu'"):
        plot.phase_diagram("relu", nets=[NET])
    with pytest.raises(ValueError, match="of one activation, got a net of several"):
        plot.phase_diagram(NET.replace(depth=2, activation=["relu", "tanh"]))


# Depth limits


def test_depth_limits_are_those_of_the_scales_and_of_diagnoses() -> None:
    judged = [vg.diagnose(NET.replace(init=f"mean_field({w}, 0.3)", depth=40), seeds=4, batch=8) for w in (0.9, 2.2)]
    ax = plot.depth_limit("tanh", sigma_b=0.3, sigma_w=[0.9, 2.2], points=judged)
    scales = theory.depth_scales("tanh", sigma_w=[0.9, 2.2], sigma_b=0.3)
    (gradient,), (inputs,) = lines(ax, "dL/dz changes 32-fold"), lines(ax, "6 xi_c")
    assert np.asarray(gradient.get_ydata()) == pytest.approx(1.5 * math.log(100) * np.abs(scales.xi_grad))
    assert np.asarray(inputs.get_ydata()) == pytest.approx(6 * scales.xi_c)
    assert "measured: 32-fold, 95 %" in legend(ax)
    for diagnosis, depth in zip(judged, gradient.get_ydata(), strict=True):
        assert diagnosis.depth_limit is not None
        assert diagnosis.depth_limit.factor == pytest.approx(10**1.5)
        assert diagnosis.depth_limit.value == pytest.approx(float(depth), rel=0.35)


def test_depth_limits_of_other_nets_are_refused() -> None:
    judged = vg.diagnose(NET, seeds=2, batch=8)
    with pytest.raises(ValueError, match=r"expected sigma_b=0\.5, got a net with 0\.1"):
        plot.depth_limit("tanh", sigma_b=0.5, points=[judged])
    foreign = vg.diagnose(NET, seeds=2, batch=8, rules="sagemaker")
    with pytest.raises(ValueError, match="no measured depth limit"):
        plot.depth_limit("tanh", sigma_b=0.1, points=[foreign])
