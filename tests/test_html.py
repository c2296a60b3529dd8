"""What notebooks show: HTML that stands alone, readable in light and in dark; short reprs; a bar that goes on."""

import dataclasses
import functools
import importlib
import math
import pkgutil
import re
import subprocess
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from matplotlib import pyplot as plt

import vgcore as vg
from strategies import over_examples, sequentials, specs
from test_report import Page
from vgcore import theory
from vgcore.measure import progress
from vgcore.measure.result import SIGNALS
from vgcore.model.shown import Shown
from vgcore.show import html
from vgcore.show import sweep as sweep_text
from vgcore.show.html import blocks, charts, style
from vgcore.show.page import wrapped
from vgcore.train.run import size

mpl.use("Agg")

NET = vg.MLP(depth=30, width=16, in_features=64, out_features=10, activation="sigmoid")
SMALL = vg.MLP(depth=2, width=8, in_features=64, out_features=10)
DIGITS = vg.data.digits()
SIZES: dict[str, Any] = {"log10_forward": [[0.0, 0.1]], "log10_backward": [[-3.0, 0.0]], "zeros": [[0.5, 0.0]]}
TRACE = vg.Trace(
    ("stem", "head"),
    SIZES,
    steps=(7,),
    notes=("a note",),
)


@functools.cache
def a_probe() -> vg.Probe:
    return vg.probe(NET, x=DIGITS[0], y=DIGITS[1], batch=32, seeds=3)


@functools.cache
def a_sweep() -> vg.Sweep:
    kinds = ["tanh", "sigmoid", "leaky_relu(0.2)"]
    return vg.sweep(vg.MLP(depth=1, width=16), depth=[2, 40], activation=kinds, seeds=2)


@functools.cache
def a_run() -> vg.Run:
    return vg.train(SMALL, *DIGITS, steps=12, batch=32, seeds=2)


@functools.cache
def some_advice() -> vg.Advised:
    return vg.advise(NET, x=DIGITS[0], y=DIGITS[1], batch=32, seeds=3)


@functools.cache
def gradients() -> vg.Gradients:
    return NET.init().gradients(DIGITS[0][:8], DIGITS[1][:8])


def seen() -> Any:
    """A watch as one makes it, without torch."""
    watch: Any = vg.Watch.__new__(vg.Watch)
    vars(watch).update(every=100, _kept=[], _steps=0, _open=None, _watches=True, _closed=True)
    return watch


#: A recurrent net.
SERIES = vg.RNN(6, 8, cell="gru", recurrent_init="xavier_normal")


@functools.cache
def a_pretrained() -> vg.Pretrained:
    spec = vg.MLP(depth=2, width=8, in_features=64, out_features=10, activation="sigmoid")
    return vg.pretrain(spec, vg.data.digits(standardize=False)[0] / 16, epochs=2, held_out=0.1)


#: One of each public result, by the name of its class.
RESULTS: dict[str, Callable[[], Any]] = {
    "Advice": lambda: some_advice()[0],
    "Advised": some_advice,
    "Clipped": lambda: vg.clip_grad_norm(gradients(), 1e-3),
    "Comparison": lambda: vg.compare(a_probe(), vg.probe(NET, seeds=2)),
    "CriticalLine": lambda: theory.critical_line("tanh"),
    "CriticalPoint": lambda: theory.critical_point("tanh"),
    "DBN": lambda: a_pretrained().dbn,
    "DepthLimit": lambda: vg.diagnose(a_probe()).depth_limit,
    "DepthScales": lambda: theory.depth_scales("tanh", sigma_w=1.5, sigma_b=0.1),
    "Diagnosis": lambda: vg.diagnose(a_probe(), explain=True),
    "Explanation": lambda: vg.explain(SMALL.init(), np.ones((1, SMALL.in_features)), [1]),
    "Factor": lambda: a_probe().factor("backward"),
    "Finding": lambda: vg.diagnose(a_probe(), explain=True).findings[0],
    "Forward": lambda: NET.init().trace(np.ones((3, 64))),
    "Gradients": gradients,
    "Imported": lambda: vg.Imported(NET.init(), ("<dropout> is left out",)),
    "Jacobian": lambda: vg.jacobian(NET),
    "Kinds": vg.kinds,
    "MLP": lambda: NET,
    "Memory": lambda: theory.memory(SERIES),
    "Measured": lambda: vg.Measured(TRACE, np.array([1.5])),
    "Network": NET.init,
    "PhaseDiagram": lambda: theory.phase_diagram("tanh", sigma_w=[0.9, 1.5], sigma_b=[0.0, 0.1]),
    "Prediction": lambda: theory.predict(NET),
    "Pretrained": a_pretrained,
    "PretrainedLayer": lambda: a_pretrained().layers[0],
    "Probe": a_probe,
    "RBM": lambda: a_pretrained().machines[0],
    "RateFractal": lambda: vg.rate_fractal([1e-2, 1e4], [1.0, 1e6]),
    "RateMap": lambda: vg.rate_map(SMALL, lr=[1e-3, 1e9], depth=[1, 2], steps=20),
    "Refusal": lambda: vg.Refusal("layers.3", "Conv2d", "a convolution is no dense map"),
    "Replay": lambda: a_run().replay(3),
    "Run": a_run,
    "RunDiagnosis": lambda: vg.diagnose(a_run(), explain=True),
    "Transformer": lambda: vg.Transformer(2, 8, tokens=4, out_features=2, pool="mean"),
    "RNN": lambda: vg.RNN(4, 8, cell="lstm", out_features=2),
    "Sequences": lambda: vg.data.copy(5, 20),
    "Sequential": lambda: vg.Sequential(["keep(x)", "linear(8)", "relu", "add(x)", "linear(2)"], in_features=8),
    "Sweep": a_sweep,
    "Trace": lambda: TRACE,
    "TrainSweep": lambda: vg.train_sweep(SMALL, *DIGITS, steps=5, batch=32, lr=[0.1, 0.01]),
    "Trainability": lambda: vg.trainability("tanh", sigma_w=[1.0, 1.5], depth=[2, 8], steps=20, width=16),
    "Watch": seen,
}
made = functools.cache(lambda name: RESULTS[name]())
shown = functools.cache(lambda name: made(name)._repr_html_())
each_result = pytest.mark.parametrize("name", sorted(RESULTS))


def results() -> dict[str, type]:
    """Every class of the package that notebooks show."""
    for module in pkgutil.walk_packages(vg.__path__, "vgcore."):
        if "__main__" not in module.name and ".shell" not in module.name:
            importlib.import_module(module.name)
    found: list[type] = [Shown]
    for kind in found:
        found += kind.__subclasses__()
    return {kind.__name__: kind for kind in found if kind.__module__.startswith("vgcore.")}


# Every result


def test_every_result_has_html_of_its_own_and_is_tried_here() -> None:
    inner = {"Shown", "Reported", "Spec", "Mapped"}  # what these are made of
    assert {*results()} - inner == {*RESULTS}
    assert {*html.BY_CLASS} == {*RESULTS} - {"MLP", "RNN", "Sequential", "Transformer"} | {"Spec"}


@each_result
def test_html_is_well_formed_and_stands_alone(name: str) -> None:
    before = plt.get_fignums()  # of other tests
    page = Page(shown(name))
    assert (page.tags[0], page.attributes[0]) == ("div", {"class": "vgcore"})
    assert page.tags.count("style") == 1
    assert not {"script", "link", "iframe"} & {*page.tags}
    for attributes in page.attributes:
        for key in {"src", "href", "srcset"} & {*attributes}:
            assert str(attributes[key]).startswith("data:")
        assert not any(key.startswith("on") for key in attributes)
    assert not re.search(r"url\(|@import", shown(name))
    assert plt.get_fignums() == before


@each_result
def test_a_repr_is_one_short_line(name: str) -> None:
    told = repr(made(name))
    assert len(told) < 200
    assert "\n" not in told.removesuffix("\n  note: <dropout> is left out")
    assert "array(" not in told


def test_what_results_are_made_of_has_a_short_repr_too() -> None:
    run = vg.train(SMALL, *DIGITS, steps=3, batch=32, schedule=[1.0, 0.5, 0.1], clip=1.0)
    assert repr(run.training) == "Training(1797 rows, steps=3, batch=32, seeds=1)"
    assert repr(run.recipe) == "Recipe(adam, 3 rates, clip=Clip(max_norm=1.0))"
    assert "array" not in repr(vg.diagnose(a_probe()).told("backward"))


def test_html_of_a_subclass_is_that_of_what_it_inherits_from() -> None:
    @dataclasses.dataclass(frozen=True, repr=False)
    class Mine(vg.MLP):
        pass

    assert "Mine: 4 -&gt; 4 (2 layers), no readout" in Mine(depth=2, width=4)._repr_html_()


def test_a_picture_is_there_where_matplotlib_is(monkeypatch: pytest.MonkeyPatch) -> None:
    images = {name for name in RESULTS if "img" in Page(shown(name)).tags}
    assert images == {"PhaseDiagram", "RateFractal", "RateMap", "Trainability"}
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in sorted(images):
        assert "img" not in Page(made(name)._repr_html_()).tags


def test_a_probe_tells_factors_verdict_and_layers_counted_from_one() -> None:
    page = Page(shown("Probe"))
    p = a_probe()
    backward = p.factor("backward")
    for words in (f"{backward.value:.3g}", f"{backward.low:.3g} to {backward.high:.3g}", "at layer 30"):
        assert words in page.words
    assert vg.diagnose(p).summary in page.words
    assert f"{p.log10_delta_rms[:, 0].mean():.1f}" in page.words
    assert len(page.of("svg")) == 3
    assert page.tags.count("details") == 1


@pytest.mark.parametrize("make", [a_probe, lambda: theory.predict(NET)], ids=["measured", "predicted"])
def test_the_row_of_a_signal_has_the_ends_of_its_own_column(make: Callable[[], Any]) -> None:
    result = make()
    page = Page(result._repr_html_())
    for words, (column, _) in zip(("z, forward", "dL/dz, backward", "dL/dW"), SIGNALS.values(), strict=True):
        values = np.atleast_2d(getattr(result, column)).mean(axis=0)
        assert re.search(rf"{re.escape(words)}[\d.]+.*?{values[0]:.1f}{values[-1]:.1f}", page.words)


def test_a_sweep_tells_a_cell_a_row_and_how_many_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(shown("Sweep"))
    assert len(page.of("tr")) == 1 + len(a_sweep())
    for cell in a_sweep():
        assert vg.diagnose(cell).word in page.words
    monkeypatch.setattr(sweep_text, "SHOWN", 2)
    page = Page(a_sweep()._repr_html_())
    assert len(page.of("tr")) == 3
    assert "4 more cells; s.to_pandas() has them all" in page.words


def test_a_sweep_tells_what_failed() -> None:
    failed: dict[Any, str] = {vg.MLP(depth=i + 1, width=2): f"<no memory> {i}" for i in range(7)}
    page = Page(vg.Sweep((), ("depth",), 7, failed)._repr_html_())
    assert "failed: MLP(depth=1, width=2): <no memory> 0" in page.words
    assert "2 more failed" in page.words


def test_a_net_tells_its_layers_and_counts_its_parameters() -> None:
    net = vg.MLP(depth=9, width=[64, 128, 64], stem=1, block=2, in_features=10, out_features=3, skip="residual")
    net = net.replace(norm=[None, "layer", None], norm_position="input", final_norm="rms")
    page = Page(net._repr_html_())
    assert "readout643rms norm, map" in page.words
    total = sum(values.size for values in net.init().state_dict().values())
    assert f"{total:,} parameters" in page.words
    assert "1-30168 each" not in page.words
    assert "1-3044map, relu20 each" in Page(vg.MLP(depth=30, width=4)._repr_html_()).words


def test_gradients_are_a_row_a_tensor_and_long_tables_fold() -> None:
    g = gradients()
    page = Page(shown("Gradients"))
    folded = shown("Gradients").partition("<details>")[2]
    assert len(Page("<table>" + folded.split("<table>")[1].split("</table>")[0] + "</table>").of("tr")) == (
        1 + len(g.parameters) + len(g.preactivations) + 1
    )
    norm = math.log10(np.linalg.norm(g.parameters["layers.0.weight"].astype(float)))
    assert f"layer 1dL/dWparameters['layers.0.weight']16 x 64{norm:.1f}" in page.words
    assert "layer 1dL/dzpreactivations[0]8 x 16" in page.words
    assert "from layer 1 to readout" in page.words


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_norms_beyond_the_range_of_squares_are_told(size: float) -> None:
    told = vg.clip_grad_value([np.array([3 * size, 4 * size])], 1e300)._repr_html_()
    assert f"{math.log10(5 * size):.1f}</td>" in told


# Odd results


ODD: dict[str, Callable[[], Any]] = {
    "a net of one layer": lambda: vg.probe(vg.MLP(depth=1, width=1), seeds=1, batch=1),
    "a net that diverges": lambda: vg.probe(vg.MLP(depth=60, width=16, activation="softplus", init="normal(std=100)")),
    "a net of zeros": lambda: vg.probe(vg.MLP(depth=5, width=8, init="zeros"), seeds=2),
    "no cell": lambda: vg.Sweep((), (), 0),
    "nothing varied": lambda: vg.sweep(vg.MLP(depth=2, width=4), seeds=1),
    "lists varied": lambda: vg.sweep(vg.MLP(depth=2, width=4), width=[[4, 8], [8, 4]], bias=[None, False], seeds=1),
    "no trained cell": lambda: vg.TrainSweep((), ("lr",), 3),
    "a run that diverged": lambda: vg.train(SMALL, *DIGITS, optimizer="sgd(lr=1e9)", steps=20, batch=32),
    "a run without monitors": lambda: vg.train(SMALL, *DIGITS, steps=3, batch=32, monitor=[]),
    "a Jacobian of zeros": lambda: vg.jacobian(vg.MLP(depth=3, width=4, init="zeros")),
    "a Jacobian of one number": lambda: vg.jacobian(vg.MLP(depth=3, width=1)),
    "a prediction of one layer": lambda: theory.predict(vg.MLP(depth=1, width=4)),
    "scales that vanish": lambda: theory.depth_scales("tanh", sigma_w=0.5),
    "a grid of scales": lambda: theory.depth_scales("tanh", sigma_w=[0.5, 1.5], sigma_b=0.1),
    "gradients in a list": lambda: vg.clip_grad_norm([np.ones(3), np.array(math.nan)], 1.0),
    "gradients by name": lambda: vg.clip_grad_norm({"<w>": np.zeros((0, 3))}, 1.0),
    "an unknown size": lambda: vg.Trace(("a",), {"log10_forward": np.array([[math.nan], [-math.inf]])}),
    "healthy": lambda: vg.advise(vg.MLP(depth=3, width=32), seeds=3),
    "a tied net": lambda: vg.MLP(depth=20, width=4, in_features=4, tied=True, inputs="every"),
    "a cell of its own rules": lambda: vg.diagnose(NET, rules="sagemaker", seeds=2, explain=True),
}


@pytest.mark.parametrize("name", sorted(ODD))
@pytest.mark.filterwarnings("error")
def test_odd_results_are_shown_too(name: str) -> None:
    result = ODD[name]()
    page = Page(result._repr_html_())
    assert page.tags[0] == "div"
    assert len(str(result)) > 0
    assert "nan" not in page.words.split()


def test_text_of_users_is_escaped_wherever_it_stands() -> None:
    bad = "<script>alert(1)</script>&\"'"
    columns: dict[str, Any] = {"log10_forward": [[0.0]], "log10_backward": [[0.0]]}
    trace = vg.Trace((bad,), columns, notes=(bad,))
    finding = vg.Finding(bad, "critical", (0,), 1.0, 1.0, bad, bad, bad, explanation=bad)
    diagnosis = dataclasses.replace(vg.diagnose(trace), findings=(finding,), summary=bad, notes=(bad,))
    clipped = vg.clip_grad_norm({bad: np.ones(2)}, 1.0)
    for result in (trace, finding, diagnosis, vg.Imported(NET.init(), (bad,)), vg.Refusal(bad, bad, bad, bad), clipped):
        source: str = result._repr_html_()
        assert "<script" not in source
        assert bad in Page(source).words


# Style


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb` (WCAG 2.2)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def declared() -> dict[str, tuple[str, str]]:
    """The colours of the style by name, in light and in dark, as a browser reads them."""
    found = re.findall(r"--(\w+):light-dark\((#[0-9a-f]{6}),(#[0-9a-f]{6})\)", style.STYLE)
    return {name: (light, dark) for name, light, dark in found}


def rules() -> list[tuple[list[str], dict[str, str]]]:
    """Selectors and declarations of the style."""
    css = style.STYLE.removeprefix("<style>").removesuffix("</style>")
    found = []
    for head, body in re.findall(r"([^{}]+)\{([^{}]*)\}", css):
        pairs = (line.split(":", 1) for line in body.split(";") if line)
        found.append((re.split(r",(?![^()]*\))", head), dict(pairs)))
    return found


def test_the_contrast_is_computed_as_the_guidelines_do() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_text_is_readable_on_every_ground(scheme: int) -> None:
    colours = declared()
    texts = {body["color"][6:-1] for _, body in rules() if "color" in body}
    grounds = {body["background"][6:].split(")")[0] for _, body in rules() if "background" in body}
    assert texts == {*style.TEXTS}
    assert grounds == {*style.GROUNDS}
    pairs = {
        (text, ground): contrast(colours[text][scheme], colours[ground][scheme]) for text in texts for ground in grounds
    }
    assert min(pairs.values()) >= 4.5, pairs


@each_result
def test_no_colour_is_set_beside_the_style(name: str) -> None:
    source = shown(name)
    outside = source.replace(style.STYLE, "")
    if name != "PhaseDiagram":  # a picture is data
        assert not re.search(r"style=|color:|#[0-9a-f]{6}\b", outside)
    classes = {word for attributes in Page(source).attributes for word in str(attributes.get("class", "")).split()}
    drawn = {"charts", "grid", "axis", "run", "beside", "band", "square"}
    assert classes <= {"vgcore", "words", "long", "wide", "whole", "kept", *drawn, *style.TEXTS, ""} | {"None"}


def test_no_rule_leaks_into_the_page_around() -> None:
    for selectors, _ in rules():
        assert all(selector.startswith(".vgcore") for selector in selectors), selectors


def test_the_theme_of_a_notebook_wins_over_that_of_the_system() -> None:
    schemes = [(selectors[0], body["color-scheme"]) for selectors, body in rules() if "color-scheme" in body]
    assert [scheme for _, scheme in schemes] == ["light dark", "light", "dark"]
    _, (light, _), (dark, _) = schemes
    for mark in ('[data-jp-theme-light="{}"]', '[data-vscode-theme-kind$="{}"]', "html[theme={}]"):
        words = ("true", "false") if "jp" in mark else ("light", "dark")
        assert mark.format(words[0]) in light
        assert mark.format(words[1]) in dark


def test_a_verdict_is_a_word_and_never_a_colour_alone() -> None:
    for word, tone in style.TONES.items():
        assert blocks.toned(word, word) == f'<b class="{tone}">{word}</b>'
    for name in ("Sweep", "Probe", "Diagnosis", "Advised", "RunDiagnosis"):
        coloured = re.findall(r'<b class="\w+">([^<]*)</b>', shown(name))
        assert coloured
        assert all(any(word in text for word in style.TONES) for text in coloured)


def test_kinds_are_a_table_of_families_or_of_formulas() -> None:
    assert len(shown("Kinds")) < len(style.STYLE) + 8000
    assert len(Page(shown("Kinds")).of("tr")) == 1 + len(vg.kinds().families)
    page = Page(vg.kinds("norm")._repr_html_())
    assert len(page.of("tr")) == 1 + len(vg.kinds("norm"))
    assert all(kind.formula in page.words for kind in vg.kinds("norm"))


def test_a_finding_is_explained_over_the_width_of_its_table() -> None:
    source = shown("Diagnosis")
    for cell in re.findall(r"<td[^>]*>(?:(?!</td>).)*<figure", source):
        assert cell.startswith('<td class="whole" colspan="3"><details>')
    assert source.count('class="whole"') == len(vg.diagnose(a_probe()).findings) > 0


def test_a_diagnosis_names_the_net_and_how_many_runs_agree() -> None:
    words = Page(shown("Diagnosis")).words
    assert repr(NET) in words
    assert "all 3 runs agree" in words
    assert "sgd" in Page(vg.diagnose(vg.train(SMALL, *DIGITS, steps=3, batch=32, optimizer="sgd"))._repr_html_()).words


def test_short_words_of_a_table_stay_whole_and_sentences_have_room() -> None:
    sentence = "a sentence that is longer than a column of words may be"
    told = blocks.table(["a", "b", "c"], [["word", sentence, "1"]], words=(0, 1))
    assert re.findall(r"<td([^>]*)>", told) == [' class="words"', ' class="words long"', ""]
    declared = {selectors[0]: body for selectors, body in rules()}
    assert declared[".vgcore .words"]["white-space"] == "nowrap"
    assert declared[".vgcore .long"]["white-space"] == "normal"
    assert float(declared[".vgcore .long"]["min-width"].removesuffix("em")) >= 15
    wide = declared[".vgcore div.wide"]
    assert wide["overflow-x"] == "auto"
    assert wide["background-attachment"] == "local,local,scroll,scroll"  # a shadow where something is cut


def test_what_is_there_has_no_share_of_nothing() -> None:
    one = np.linspace(2.0, 3.0, 300)  # beside which one in 301 is few
    told = theory.phase_diagram("tanh", sigma_w=[0.5, *one], sigma_b=[0.1, 0.2])._repr_html_()
    assert "<td>under 1%</td>" in told
    assert "<td>0%</td>" not in told


def test_a_curve_of_what_hardly_moves_is_flat() -> None:
    def rise(values: list[float], column: str) -> float:
        heights = [float(y) for y in re.findall(r",(\d+\.\d)", charts.curve(values, "x", column=column))]
        return (heights[0] - heights[-1]) / 24

    assert rise([0.0, 0.15], "log10_z_rms") == pytest.approx(0.1, abs=0.01)  # of the 1.5 decades of 32-fold
    assert rise([0.0, 3.0], "log10_z_rms") == 1.0
    assert rise([0.1, 0.2], "dead") == pytest.approx(0.1, abs=0.01)
    assert rise([2.0, 1.0], "loss") == pytest.approx(-0.5, abs=0.01)
    healthy = vg.probe(vg.MLP(depth=20, width=128, activation="relu"), seeds=4)._repr_html_()
    for points in re.findall(r'points="([^"]*)"', healthy):
        heights = [float(pair.split(",")[1]) for pair in points.split()]
        assert max(heights) - min(heights) < 12  # of 24 pixels


# Reprs


@over_examples
@given(spec=specs())
def test_the_repr_of_a_spec_makes_an_equal_spec(spec: vg.MLP) -> None:
    assert eval(repr(spec), vars(vg)) == spec


@over_examples
@given(spec=sequentials())
def test_the_repr_of_a_list_of_parts_makes_an_equal_one(spec: vg.Sequential) -> None:
    assert eval(repr(spec), vars(vg)) == spec


def test_the_repr_of_a_spec_names_what_differs_from_the_defaults_alone() -> None:
    assert repr(vg.MLP(depth=2, width=4)) == "MLP(depth=2, width=4)"
    net = vg.MLP(depth=2, width=[4, 8], bias=False, activation=["tanh", "relu"], branch_scale=1.0, dropout=0.5)
    assert repr(net) == "MLP(depth=2, width=(4, 8), activation=('tanh', 'relu'), bias=False, dropout=0.5)"
    assert repr(vg.Sequential(["linear(4)", "relu"], in_features=2)) == (
        "Sequential(parts=('linear(4)', 'relu'), in_features=2)"
    )


def test_the_repr_of_kinds_makes_equal_kinds() -> None:
    for kind in (vg.Activation("leaky_relu", negative_slope=0.2), vg.Init("mean_field", sigma_w=2.0), vg.Norm("rms")):
        assert eval(repr(kind), vars(vg)) == kind


# A sweep in text


GRID: dict[str, Any] = {
    "activation": ["leaky_relu(0.123456)", "tanh"],
    "init": ["mean_field(1.5, 0.05)", "orthogonal"],
    "norm": ["layer(eps=0.001)", None],
    "skip": [None, "residual(order=pre)"],
    "depth": [2, 40],
}
GRIDS: dict[str, dict[str, Any]] = {
    "short": {"depth": GRID["depth"], "activation": ["tanh", "sigmoid", "leaky_relu(0.2)"]},
    "long": GRID,
    "a list": {"activation": [["relu", "tanh"] * 3 + ["elu"], "tanh"], "width": [4, 8]},
}


@functools.cache
def swept(name: str) -> vg.Sweep:
    return vg.sweep(vg.MLP(depth=7, width=16), seeds=2, **GRIDS[name])


@functools.cache
def trained_sweep(name: str) -> vg.TrainSweep:
    net = vg.MLP(depth=7, width=16, in_features=64, out_features=10)
    return vg.train_sweep(net, *DIGITS, steps=2, seeds=2, **GRIDS[name], clip=[None, vg.Clip(0.5)])


def read(lines: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The heads and the cells of a printed table, which a line of hyphens parts; each row is a line or several."""
    rule = next(i for i, line in enumerate(lines) if set(line.strip()) == {"-"})
    table = [f"{line:<{max(map(len, lines))}}" for line in lines]
    columns = zip(*table[:rule], *table[rule + 1 :], strict=True)
    used = "".join(" " if {*column} == {" "} else "x" for column in columns)
    spans = [match.span() for match in re.finditer(r"x+( x+)*", used)]  # two columns of blanks part them
    cut = [[line[a:b].strip() for a, b in spans] for line in table]
    rows: list[list[str]] = []
    for cells in cut[rule + 1 :]:
        if cells[0] and all(cells):
            rows.append(cells)
        else:  # what was folded goes on
            rows[-1] = [f"{old} {new}".strip() for old, new in zip(rows[-1], cells, strict=True)]
    return [" ".join(words).strip() for words in zip(*cut[:rule], strict=True)], rows


@pytest.mark.parametrize("made", [swept, trained_sweep], ids=["measured", "trained"])
@pytest.mark.parametrize("grid", sorted(GRIDS))
@pytest.mark.parametrize("width", [60, 80, 160])
def test_each_cell_of_a_printed_sweep_is_a_row_below_the_heads(made: Any, grid: str, width: int) -> None:
    s = made(grid)
    text = sweep_text.text(s, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert text.isascii()
    first = wrapped(repr(s), width, indent=4)
    assert text.splitlines()[: len(first)] == first
    notes = [line for note in sweep_text.notes(s) for line in wrapped(note, width, indent=4)]
    table = text.splitlines()[len(first) : -len(notes) or None]
    assert text.splitlines()[len(first) + len(table) :] == notes
    blocks = [block for block in "\n".join(table).split("\n\n") if "---" in block]
    assert len(blocks) in {1, 2}
    heads, rows = read(blocks[-1].splitlines())
    shown = s[: sweep_text.SHOWN]
    assert len(rows) == len(shown)
    at = heads.index("verdict")
    assert [row[at] for row in rows] == [vg.diagnose(cell).word for cell in shown]
    # What each row is stands in it, or above by its number.
    fields = [[*row] for row in rows]
    if len(blocks) == 2:
        names, fields = read(blocks[0].splitlines())
        assert names == ["cell", "net"]
        assert [row[0] for row in fields] == [row[0] for row in rows] == [str(i + 1) for i in range(len(shown))]
    for told, cell in zip(fields, shown, strict=True):
        for name, value in zip(s.varied, sweep_text.values(cell, s.varied), strict=True):
            assert (f"{name} {value}" if len(blocks) == 2 else value).replace(" ", "") in "".join(told).replace(" ", "")
    # What has no room is named.
    left_out = " ".join(text.partition("Left out: ")[2].split())
    assert all((name in heads) != (name in left_out) for name in sweep_text.head(s)[len(s.varied) + 1 :])


def test_what_a_printed_sweep_leaves_out_is_named_with_where_it_is() -> None:
    text = " ".join(sweep_text.text(swept("long"), width=36).split())
    assert "Left out: log10 dL/dW of layer 1; s.to_pandas() has all." in text
    assert "log10 dL/dW" not in text.partition("Left out")[0]


def test_a_printed_sweep_tells_the_medians_of_losses_where_those_of_all_seeds_have_no_room() -> None:
    s = trained_sweep("short")
    each = [", ".join(size(loss) for loss in run.final_loss) for run in s]
    medians = [size(np.median(run.final_loss)) for run in s]
    wide, narrow = (sweep_text.text(s, width=width) for width in (240, 80))
    assert all(losses in wide for losses in each)
    assert not any(losses in narrow for losses in each if ", " in losses)
    assert all(median in narrow for median in medians)
    assert "Left out: losses of seeds but for their median" in narrow


def test_what_is_printed_of_a_sweep_is_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    for s in (swept("short"), trained_sweep("short")):
        assert str(s) == sweep_text.text(s, width=80)
        assert "\x1b" not in str(s)
    assert str(vg.Sweep((), ("depth",), 3)) == "Sweep(0 of 3 cells, varied: depth)"
    assert str(vg.TrainSweep((), ("lr",), 3)) == "TrainSweep(0 of 3 cells, varied: lr)"


# Progress


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, str]]]:
    """What a notebook is told: an entry an output, which has an entry each time it is written."""
    found: list[list[dict[str, str]]] = []

    class Output:
        def __init__(self, data: dict[str, str]) -> None:
            found.append([data])
            self.writes = found[-1]

        def update(self, data: dict[str, str], *, raw: bool) -> None:
            assert raw
            self.writes.append(data)

    def display(data: dict[str, str], *, raw: bool, display_id: bool) -> Output:
        assert raw
        assert display_id
        return Output(data)

    module = types.SimpleNamespace(
        get_ipython=lambda: types.SimpleNamespace(kernel=object()), display=types.SimpleNamespace(display=display)
    )
    monkeypatch.setitem(sys.modules, "IPython", module)
    return found


def test_a_notebook_has_one_bar_that_is_written_anew(
    outputs: list[list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    vg.sweep(vg.MLP(depth=1, width=4), depth=[1, 2, 3], seeds=1, progress=True)
    (writes,) = outputs
    assert [write["text/plain"].split(",")[0] for write in writes] == [f"{i}/3 cells" for i in (0, 1, 2, 3, 3)]
    assert all("<progress" in write["text/html"] for write in writes[:-1])
    assert "left" in writes[-2]["text/plain"]
    assert writes[-1]["text/plain"] == "3/3 cells, 6 layers, done after 0:00"
    assert "<progress" not in writes[-1]["text/html"]
    assert capfd.readouterr() == ("", "")


def test_a_notebook_is_told_a_few_times_a_second_at_most(
    outputs: list[list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PAUSE", math.inf)
    with progress.progress_bar([1] * 10_000, show=True) as advance:
        for cell in range(10_000):
            advance(cell)
    assert [write["text/plain"] for write in outputs[0]] == [
        "0/10000 cells, 0:00 elapsed",
        "10000/10000 cells, 10,000 layers, done after 0:00",
    ]


def test_a_bar_that_is_interrupted_says_so(outputs: list[list[dict[str, str]]]) -> None:
    def stopped() -> None:
        with progress.progress_bar([5, 5], show=True) as advance:
            advance(0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert outputs[0][-1]["text/plain"] == "1/2 cells, 5 layers, stopped after 0:00"


def test_a_training_in_a_notebook_tells_step_and_loss(outputs: list[list[dict[str, str]]]) -> None:
    with progress.training_line(100, 2, show=True) as line:
        assert outputs == []
        assert line is not None
        line(0, 1, 50, 0.25)
    assert outputs[0][0]["text/plain"].startswith("step 50/100 of seed 2/2, loss 0.25, 0:00 elapsed")


@pytest.mark.parametrize(
    ("how", "last"),
    [
        ({}, "step 300/300, loss {loss:.4g}, done after 0:0"),
        ({"seeds": 2}, "step 300/300 of seed 2/2, loss {loss:.4g}, done after 0:0"),
        ({"optimizer": "sgd(lr=1e20)", "activation": "relu"}, "loss {loss:.4g}, not finite, done after 0:0"),
    ],
)
def test_the_last_that_is_told_of_a_training_is_where_it_ended(
    outputs: list[list[dict[str, str]]], how: dict[str, Any], last: str
) -> None:
    net = SMALL.replace(activation=how.pop("activation", "tanh"))
    run = vg.train(net, *DIGITS, steps=300, batch=32, progress=True, **how)
    (writes,) = outputs
    assert last.format(loss=run.loss[-1, run.steps_done[-1] - 1]) in writes[-1]["text/plain"]


def test_no_bar_is_shown_where_none_is_wanted_or_ipython_is_a_terminals(
    outputs: list[list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    vg.sweep(vg.MLP(depth=1, width=4), depth=[1, 2], seeds=1)
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", object)
    vg.sweep(vg.MLP(depth=1, width=4), depth=[1, 2], seeds=1, progress=True)
    assert outputs == []


def test_ipython_is_not_imported_to_look_for_a_notebook() -> None:
    code = (
        "import sys, vgcore as vg\n"
        "vg.sweep(vg.MLP(depth=1, width=4), depth=[1], seeds=1, progress=True)._repr_html_()\n"
        "sys.exit(any(name.startswith('IPython') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("spec", "row", "part"),
    [
        (vg.RNN(6, 8, cell="lstm"), "step", "lstm"),
        (vg.Transformer(2, 8, pool="mean", out_features=2), "map", "attention"),
        (vg.MLP(depth=6, width=8), "layer", "relu"),
    ],
)
def test_rows_and_parts_are_called_what_they_are(spec: Any, row: str, part: str) -> None:
    told = re.sub(r"<[^>]+>", "", vg.probe(spec, seeds=2, batch=4)._repr_html_())
    assert f"factor a {row}" in told
    assert f"all {row}s, means over the seeds" in told
    described = spec._repr_html_()
    assert part in described
    assert ", ," not in described
