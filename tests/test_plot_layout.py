"""No word of a picture is cut or lies on another, in axes of any size; all is seen on dark paper and in grey."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

import vgcore as vg
from vgcore import plot
from vgcore.plot.axes import paper

mpl.use("Agg")

NET = vg.MLP(depth=12, width=8, activation="tanh", init="xavier_normal")


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def pictures() -> dict[str, Callable[..., Any]]:
    probe = vg.probe(NET, seeds=2, batch=8)
    sweep = vg.sweep(
        NET, depth=[2, 8, 32], activation=["sigmoid", "tanh"], init=["xavier_normal", "orthogonal"], seeds=2
    )
    scales = vg.sweep(NET, depth=[2, 8, 32], init=[f"mean_field({w}, 0.1)" for w in (0.5, 1.0, 1.5)], seeds=2, batch=8)
    found = vg.trainability("tanh", sigma_w=[1.0, 1.5], depth=[2, 40], steps=5, width=8)
    return {
        "layers": lambda ax: plot.layers(probe, ax=ax),
        "columns": lambda ax: plot.columns(probe, ["dead", "saturated"], layers=[1, 2], ax=ax),
        "depths": lambda ax: plot.depths(sweep, ax=ax),
        "lines": lambda ax: plot.lines(scales, x="init_sigma_w", value="backward_factor", ax=ax),
        "heatmap": lambda ax: plot.heatmap(sweep, ax=ax),
        "map": lambda ax: plot.heatmap(scales.cells[:-1], y="init_sigma_w", value="verdict", ax=ax),
        "phases": lambda ax: plot.phase_diagram(NET, ax=ax),
        "limits": lambda ax: plot.depth_limit("tanh", sigma_b=0.1, ax=ax),
        "trainability": lambda ax: plot.trainability(found, ax=ax),
    }


def words(figure: Figure) -> list[tuple[str, Any]]:
    """Each text that is drawn, and where."""
    found: list[tuple[str, Any]] = []
    plain = Text.draw

    def draw(self: Text, renderer: Any) -> None:
        plain(self, renderer)
        if self.get_visible() and self.get_text().strip():
            found.append((self.get_text(), self.get_window_extent(renderer)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", draw)
        figure.canvas.draw()
    return found


def faults(figure: Figure) -> list[str]:
    """Texts that are cut, or on each other by more than two pixels."""
    found = words(figure)
    assert len(found) > 5
    width, height = figure.bbox.width + 1, figure.bbox.height + 1
    cut = [text for text, box in found if box.x0 < -1 or box.y0 < -1 or box.x1 > width or box.y1 > height]
    over = [
        f"{text} / {other}"
        for (text, a), (other, b) in itertools.combinations(found, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 2 and min(a.y1, b.y1) - max(a.y0, b.y0) > 2
    ]
    return [f"cut: {text}" for text in cut] + over


GRIDS: dict[str, tuple[tuple[int, int], tuple[float, float], str | None]] = {
    "one": ((1, 1), (6.4, 4.8), None),
    "small": ((2, 2), (6.4, 4.8), None),
    "large": ((2, 2), (10, 8), None),
    "a row": ((1, 3), (13, 4), None),
    "tight": ((2, 2), (8, 6), "tight"),
    "constrained": ((2, 2), (8, 6), "constrained"),
    "tight_layout()": ((2, 2), (8, 6), "afterwards"),
}
SETS = {"first": ("layers", "depths", "heatmap", "phases"), "second": ("trainability", "map", "lines", "columns")}


@pytest.mark.parametrize("names", SETS.values(), ids=SETS)
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_no_word_is_cut_or_on_another(grid: Any, names: tuple[str, ...], pictures: dict[str, Any]) -> None:
    shape, size, layout = grid
    figure, axes = plt.subplots(*shape, figsize=size, layout=layout if layout != "afterwards" else None, squeeze=False)
    for name, ax in zip(names, axes.ravel(), strict=False):
        pictures[name](ax)
    if layout == "afterwards":
        figure.tight_layout()
    assert faults(figure) == []


def test_a_legend_of_thirty_entries_is_whole_or_says_how_many_it_leaves_out() -> None:
    cells = [vg.probe(NET.replace(width=width), seeds=1, batch=4) for width in range(1, 31)]
    ax = plot.layers(cells)
    assert len(ax.get_legend().get_texts()) >= 30  # type: ignore[union-attr]
    assert faults(ax.figure) == []  # type: ignore[arg-type]
    figure, axes = plt.subplots(2, 2, figsize=(6.4, 4.8))
    legend = plot.layers(cells, ax=axes[0, 0]).get_legend()
    assert legend is not None
    *entries, last = [text.get_text() for text in legend.get_texts()]
    assert last == "32-fold dL/dz, the verdict's limit" or last == f"and {31 - len(entries)} more"
    assert faults(figure) == []


@pytest.mark.parametrize("depths", [range(1, 201), [2**k for k in range(11)], [1, 2, 3, 200]])
def test_ticks_of_many_depths_do_not_pile_up(depths: Any) -> None:
    base = vg.probe(NET.replace(depth=2), seeds=1, batch=4)

    def cell(depth: int) -> vg.Probe:
        still = np.zeros((1, depth))
        return dataclasses.replace(base, spec=NET.replace(depth=depth), log10_delta_rms=still, log10_z_rms=still)

    cells = [cell(depth) for depth in depths]
    for draw in (plot.depths, plot.heatmap):
        assert faults(draw(cells).figure) == []  # type: ignore[arg-type]


def contrast(a: Any, b: Any) -> float:
    """Of WCAG 2: 1 for the same colour, 21 for black on white."""

    def luminance(color: Any) -> float:
        parts = np.array(to_rgb(color))
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    bright, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("style", ["default", "dark_background", "Solarize_Light2", "ggplot", "grayscale"])
def test_lines_and_words_are_seen_on_any_paper(style: str, pictures: dict[str, Any]) -> None:
    with plt.style.context(style):
        for name, draw in sorted(pictures.items()):
            ax: Axes = draw(plt.figure(layout="constrained").subplots())
            legend = ax.get_legend()
            assert (legend is None) == (name == "heatmap"), name
            for text in legend.get_texts() if legend is not None else []:
                assert contrast(text.get_color(), paper(ax)) > 4.5, (name, text)
            for each in ax.get_lines():
                if name not in {"trainability", "phases"}:  # whose lines are on colours, with a rim
                    assert contrast(each.get_color(), paper(ax)) > 1.8, (name, each)
            if name in {"heatmap", "map"}:
                ax.figure.canvas.draw()
                mesh: Any = ax.collections[0]
                faces = mesh.get_facecolors().reshape(*mesh.get_array().shape, 4)
                for number in ax.texts:
                    x, y = number.get_position()
                    assert contrast(number.get_color(), faces[int(y), int(x), :3]) > 3, (name, number)


def test_axes_of_a_dark_style_are_dark_also_after_it() -> None:
    with plt.style.context("dark_background"):
        ax = plt.figure().subplots()
    legend = plot.layers(vg.probe(NET, seeds=1, batch=4), ax=ax).get_legend()
    assert legend is not None
    assert {to_rgb(text.get_color()) for text in legend.get_texts()} == {(1.0, 1.0, 1.0)}
