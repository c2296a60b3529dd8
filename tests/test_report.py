"""A diagnosis and some advice, as text and as HTML that any page can take."""

import dataclasses
import functools
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import vgcore as vg
from vgcore.show import html
from vgcore.show import text as report
from vgcore.show.html.columns import title

Array: TypeAlias = npt.NDArray[Any]

SICK = vg.MLP(depth=30, width=32, activation="sigmoid")
SPECS = {
    "healthy": vg.MLP(depth=5, width=32),
    "sick": SICK,
    "saturated": vg.MLP(depth=10, width=32, activation="tanh", init="mean_field(sigma_w=30)"),
    "zeros": vg.MLP(depth=5, width=32, init="zeros"),
    "not finite": vg.MLP(depth=60, width=16, activation="softplus", init="normal(std=100)"),
    "narrow": vg.MLP(depth=200, width=16),
    "one layer": vg.MLP(depth=1, width=4),
}
each_spec = pytest.mark.parametrize("name", SPECS)


@functools.cache
def diagnosis(name: str, *, explain: bool = False) -> vg.Diagnosis:
    return vg.diagnose(SPECS[name], seeds=3, explain=explain)


class Page(HTMLParser):
    """HTML whose tags are checked to match."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[dict[str, str | None]] = []
        self.words = ""
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append(dict(attrs))
        if tag not in {"br", "img", "meta", "wbr"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [found for name, found in zip(self.tags, self.attributes, strict=True) if name == tag]


def with_column(**columns: Any) -> vg.Probe:
    """A probe of as many layers as the columns have, which it is given."""
    depth = len(next(iter(columns.values()))[0])
    cell = vg.probe(vg.MLP(depth=depth, width=4), seeds=len(next(iter(columns.values()))), batch=4)
    given: dict[str, Any] = {name: np.array(column, float) for name, column in columns.items()}
    return dataclasses.replace(cell, **given)


# HTML


@each_spec
@pytest.mark.parametrize("explain", [False, True])
def test_html_is_well_formed_and_says_what_the_text_says(name: str, explain: bool) -> None:
    d = diagnosis(name, explain=explain)
    page = Page(d._repr_html_())
    assert page.tags[0] == "div"
    assert d.word in page.words
    assert d.summary in page.words
    assert (str(d.depth_limit) in page.words) == (d.depth_limit is not None)
    for finding in d.findings:
        for words in (finding.rule, finding.severity, finding.evidence, finding.remedy):
            assert words in page.words
        for line in finding.explanation.splitlines():
            assert line in page.words
    assert len(page.of("tr")) == (1 + len(d.findings) * (1 + explain) if d.findings else 0)  # why has a row of its own


def test_html_of_a_sweep_lists_its_cells() -> None:
    d = vg.diagnose(vg.sweep(SICK, depth=[2, 30], activation=["sigmoid", "relu"], seeds=2))
    page = Page(d._repr_html_())
    assert "4 cells" in page.words
    for cell, name in zip(d.cells, report.labels(d.cells), strict=True):
        assert f"{cell.word}{name}" in page.words
    assert report.labels(d.cells)[:2] == ["depth 2, activation sigmoid", "depth 2, activation relu"]


def test_html_of_another_tools_rules_names_the_tool() -> None:
    page = Page(vg.diagnose(SICK, rules="sagemaker", seeds=2, explain=True)._repr_html_())
    assert "SageMaker Debugger would say vanishing" in page.words
    assert not page.of("svg")


def test_html_escapes_what_it_is_given() -> None:
    bad = "<script>alert('&')</script>"
    d = diagnosis("sick", explain=True)
    changes: dict[str, Any] = dict.fromkeys(("rule", "evidence", "remedy", "explanation"), bad)
    found = tuple(dataclasses.replace(finding, **changes) for finding in d.findings)
    html = dataclasses.replace(d, summary=bad, findings=found)._repr_html_()
    assert "<script" not in html
    assert Page(html).words.count(bad) >= 4 * len(found) + 1
    # Formulas have such signs.
    formula = "|phi'(z)| < 0.01 max|phi'|"
    html = diagnosis("saturated", explain=True)._repr_html_()
    assert formula not in html
    assert formula in Page(html).words


def test_html_of_advice_is_a_table_of_before_and_after() -> None:
    a = vg.advise(SICK, seeds=3)
    page = Page(a._repr_html_())
    assert len(page.of("tr")) == 2 + len(a)
    assert "as it is" in page.words
    assert a.before.summary in page.words
    for row in report.advice_rows(a)[1:]:
        assert "".join(row) in page.words
    bad = dataclasses.replace(a[0], change="<i>x</i>")
    assert "<i>" not in html.of(dataclasses.replace(a, items=(bad,)))
    Page(vg.advise(SPECS["healthy"], seeds=3)._repr_html_())


# Pictures


@each_spec
def test_each_explained_finding_has_a_chart_of_each_of_its_columns(name: str) -> None:
    d = diagnosis(name, explain=True)
    page = Page(d._repr_html_())
    drawn = [column for finding in d.findings for column in finding.picture]
    assert len(page.of("figure")) == len(drawn)
    assert all(title(column) in page.words for column in drawn)
    assert not page.of("img")


def test_findings_that_are_not_explained_have_no_chart() -> None:
    assert not Page(diagnosis("sick")._repr_html_()).of("svg")


def test_matplotlib_is_not_imported_for_diagnoses_and_advice() -> None:
    code = (
        "import sys, vgcore as vg\n"
        "spec = vg.MLP(depth=30, width=32, activation='sigmoid')\n"
        "vg.diagnose(spec, seeds=2, explain=True)._repr_html_(), vg.advise(spec, seeds=2)._repr_html_()\n"
        "sys.exit(any(name.startswith(('matplotlib', 'jinja2')) for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Text


@each_spec
@pytest.mark.parametrize("width", [60, 80, 110, 200])
def test_no_line_is_longer_than_the_page(name: str, width: int) -> None:
    for _, text in report.lines(diagnosis(name, explain=True), width=width):
        longest = max(text.splitlines(), key=len)
        bars = "| layer 1 to " in longest  # at least 10 of them
        assert len(longest) <= max(min(width, report.WIDTH), 80 if bars else 0), longest


def test_the_lines_of_a_diagnosis_say_what_they_are() -> None:
    d = diagnosis("sick", explain=True)
    kinds = [kind for kind, _ in report.lines(d)]
    assert kinds[0] == "vanishing"
    assert [kind for kind in kinds if kind in {"critical", "warning", "info"}] == [f.severity for f in d.findings]
    assert kinds.count("remedy") == len(d.findings)
    text = str(d)
    assert text.startswith("vanishing (backward), collapsed: dL/dz shrinks 10^")
    assert "\nall 3 runs agree\n" in text
    assert "\ncritical backward_vanishing: dL/dz shrinks" in text
    assert "\n         log10_delta_rms, " in text


def test_two_runs_that_agree_are_both() -> None:
    assert report.agreement(vg.diagnose(SICK, seeds=2)) == "both runs agree"
    assert report.agreement(vg.diagnose(vg.MLP(depth=67, width=8), seeds=2)) == "1 of 2 runs agree"


def test_advice_shows_the_first_loss_where_there_is_one() -> None:
    x, y = vg.data.digits()
    a = vg.advise(SICK.replace(in_features=64, out_features=10), x=x, y=y, batch=64, seeds=3)
    head, before, *rows = report.advice_rows(a)
    assert head[-1] == "loss/blind"
    assert before[-1] == f"{a.first_loss:.3g}"
    assert rows
    assert [row[-1] for row in rows] == [f"{advice.first_loss:.3g}" for advice in a]
    assert "loss/blind" in a._repr_html_()
    assert a.to_dict()["advice"][0]["first_loss"] == a[0].first_loss
    assert "loss/blind" not in report.advice_rows(vg.advise(SICK, seeds=3))[0]


def test_advice_in_text_puts_before_and_after_side_by_side() -> None:
    a = vg.advise(SICK, seeds=3)
    lines = str(a).splitlines()
    start = next(i for i, line in enumerate(lines) if line.lstrip().startswith("change"))
    assert lines[start - 1] == f"{a.tried} nets were run on the same seeds and samples; what helps, the best first:"
    assert lines[start + 1].startswith("   as it is ")
    assert len(lines) == start + 2 + len(a)
    for i, advice in enumerate(a, 1):
        line = lines[start + 1 + i]
        assert line.startswith(f"{i}  {advice.change} ")
        at = lines[start].index("verdict")
        assert line[at:].startswith(advice.after.word)


def test_a_correlation_of_nothing_has_no_sign() -> None:
    a = vg.advise(SICK.replace(activation="tanh", init="mean_field(sigma_w=4)"), seeds=3)
    assert not any("-0.000" in cell for row in report.advice_rows(a) for cell in row)


# Bars


def test_bars_rise_from_the_lowest_layer_to_the_highest() -> None:
    cell = with_column(correlation=[np.linspace(0, 1, 8)] * 2)
    assert report.spark(cell, "correlation") == "correlation, 0 to 1: |▁▂▃▄▅▆▇█| layer 1 to 8"


def test_a_constant_column_is_flat() -> None:
    cell = with_column(dead=[[0.25] * 5] * 2)
    assert report.spark(cell, "dead") == "dead, 0.25 to 0.25: |▃▃▃▃▃| layer 1 to 5"


def test_layers_without_a_value_are_blank() -> None:
    nan, inf = np.nan, np.inf
    cell = with_column(correlation=[[0, nan, 1], [0, nan, 1]], log10_z_rms=[[0, 1, inf], [0, nan, -inf]])
    assert report.spark(cell, "correlation") == "correlation, 0 to 1: |▁ █| layer 1 to 3"
    assert report.spark(cell, "log10_z_rms") == "log10_z_rms, 0 to 1: |▂▇ | layer 1 to 3"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_column_without_a_value_says_so(value: float) -> None:
    cell = with_column(log10_delta_rms=[[value] * 5] * 2)
    assert report.spark(cell, "log10_delta_rms") == "log10_delta_rms: nowhere finite"


def test_one_layer_is_one_bar() -> None:
    cell = with_column(saturated=[[0.5], [0.5]])
    assert report.spark(cell, "saturated") == "saturated, 0.5 to 0.5: |▅| layer 1 to 1"


@pytest.mark.parametrize("width", [40, 80, 110])
def test_many_layers_are_thinned_to_the_width_and_keep_both_ends(width: int) -> None:
    values: Array = np.sin(np.arange(1000) / 159)
    values[0], values[-1] = -2, 2
    cell = with_column(correlation=[values] * 2)
    shown = report.spark(cell, "correlation", width=width)
    between = r"\n" if width == 40 else " "  # where the bars have no room beside words, they have a line
    assert (found := re.fullmatch(rf"correlation, -2 to 2:{between}\|(.*)\|{between}layer 1 to 1000", shown))
    assert max(map(len, shown.split("\n"))) == width
    assert (found[1][0], found[1][-1]) == ("▁", "█")
