"""Reports: one file that asks for nothing, what is said in HTML is said in Markdown, and no name becomes markup."""

import contextlib
import dataclasses
import functools
import importlib
import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from test_cli import run
from test_report import Page
from vgcore.judge import diagnose
from vgcore.measure.progress import progress_bar
from vgcore.model.shown import Reported
from vgcore.report import context, island, swept, write
from vgcore.show.html import blocks, charts, columns, style
from vgcore.show.html.blocks import Html, escaped

DIGITS = vg.data.digits()
SICK = vg.MLP(depth=20, width=16, activation="sigmoid")
CLASSES = vg.MLP(depth=3, width=16, in_features=64, out_features=10, activation="tanh")
HOSTILE = "</script><b>x</b>|`a`|<!--"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@functools.cache
def a_diagnosis() -> vg.Diagnosis:
    return vg.diagnose(SICK, seeds=3, explain=True)


@functools.cache
def a_run() -> vg.Run:
    return vg.train(CLASSES, *DIGITS, steps=30, batch=32, seeds=2, validation=0.2)


@functools.cache
def a_sweep() -> vg.Sweep:
    return vg.sweep(SICK, depth=[2, 10, 30], activation=["tanh", "sigmoid"], seeds=2)


@functools.cache
def a_train_sweep() -> vg.TrainSweep:
    return vg.train_sweep(CLASSES, *DIGITS, steps=10, batch=32, lr=[0.1, 1e-4], depth=[2, 3])


def a_trace(name: str = "head", steps: tuple[int, ...] = (7,)) -> vg.Trace:
    columns: dict[str, Any] = {
        "log10_forward": [[0.0, 0.1]] * max(len(steps), 1),
        "log10_backward": [[-3.0, 0.0]] * max(len(steps), 1),
        "log10_weight": [[-3.0, 0.5]] * max(len(steps), 1),
    }
    return vg.Trace(("stem", name), columns, steps=steps, notes=(f"a note on {name}",))


class Seen(vg.Watch):
    """A watch that has seen three steps, without torch."""

    def __init__(self) -> None:
        vars(self).update(every=100, _kept=[0] * 3, _steps=3, _open=None, _watches=True, _closed=True)

    @property
    def history(self) -> vg.Trace:
        return a_trace(steps=(0, 100, 200))

    @property
    def trace(self) -> vg.Trace:
        return a_trace(steps=(200,))


#: One of each result that has a report, by the name of its class, and sorts of some that look otherwise.
RESULTS: dict[str, Callable[[], Any]] = {
    "Advised": lambda: vg.advise(SICK, seeds=2),
    "Comparison": lambda: vg.compare(SICK, SICK.replace(activation="relu"), seeds=2),
    "Diagnosis": a_diagnosis,
    "Probe": lambda: vg.probe(CLASSES, x=DIGITS[0], y=DIGITS[1], batch=32, seeds=2),
    "Run": a_run,
    "RunDiagnosis": lambda: vg.diagnose(a_run(), explain=True),
    "Sweep": a_sweep,
    "Trace": a_trace,
    "TrainSweep": a_train_sweep,
    "Watch": Seen,
    "a diagnosis of a sweep": lambda: vg.diagnose(a_sweep()),
    "a diagnosis of runs": lambda: vg.diagnose(a_train_sweep()),
    "a sweep of one field": lambda: vg.sweep(SICK, depth=[2, 10], seeds=1),
    "a sweep of nothing": lambda: vg.Sweep((), ("depth",), 3, {SICK: "<no memory>"}),
    "a training sweep of nothing": lambda: vg.TrainSweep((), ("lr",), 3),
    "healthy advice": lambda: vg.advise(vg.MLP(depth=3, width=32), seeds=3),
    "a net with skips": lambda: vg.probe(vg.MLP(depth=12, width=8, skip="residual", block=2), seeds=2),
    "a transformer": lambda: vg.probe(vg.Transformer(2, 8), seeds=2, batch=4),
    "a recurrent net": lambda: vg.diagnose(vg.RNN(12, 8), seeds=2, batch=4),
    "a net that is not finite": lambda: vg.probe(
        vg.MLP(depth=60, width=16, activation="softplus", init="normal(std=100)"), seeds=2
    ),
    "a net of zeros": lambda: vg.probe(vg.MLP(depth=5, width=8, init="zeros"), seeds=2),
    "one layer": lambda: vg.probe(vg.MLP(depth=1, width=1), seeds=1, batch=1),
    "a run that diverged": lambda: vg.train(CLASSES, *DIGITS, optimizer="sgd(lr=1e9)", steps=20, batch=32),
    "a run without monitors": lambda: vg.train(CLASSES, *DIGITS, steps=3, batch=32, monitor=[]),
    "another tool's rules": lambda: vg.diagnose(SICK, rules="sagemaker", seeds=2),
    "own weights": lambda: vg.diagnose(SICK.init(), seeds=1),
}
made = functools.cache(lambda name: RESULTS[name]())
html = functools.cache(lambda name: write.text(made(name), "html"))
markdown = functools.cache(lambda name: write.text(made(name), "md"))
each_result = pytest.mark.parametrize("name", sorted(RESULTS))


def data_of(source: str) -> Any:
    """What the island of a page holds."""
    (found,) = re.findall(r'<script type="application/json" id="vgcore-data">(.*?)</script>', source, re.DOTALL)
    return json.loads(found)


def unescaped(text: str) -> str:
    """Markdown as what it says, without its marks: to be compared with the words of a page."""
    text = re.sub(r"</?(?:details|summary|sub)>|<br>|\*\*|^#+ |\\$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\\([\\`*_\[\]|~$#>+=.)-])", r"\1", text)
    return text.replace("&lt;", "<").replace("&amp;", "&")


def squeezed(text: str) -> str:
    """A text without what Markdown may change of it: blanks, and the signs of headings."""
    return "".join(text.replace("#", "").split())


# Every result


def test_every_result_that_has_a_report_is_tried_here() -> None:
    public = [getattr(vg, name) for name in vg.__all__]
    names = {each.__name__ for each in public if isinstance(each, type) and issubclass(each, Reported)}
    assert names == {*context.BY_CLASS}
    assert names <= {*RESULTS}


@each_result
@pytest.mark.filterwarnings("error")
def test_a_page_is_well_formed_and_asks_for_nothing(name: str) -> None:
    page = Page(html(name))
    assert page.tags[:3] == ["html", "head", "meta"]
    metas = {str(each.get("http-equiv")): each.get("content") for each in page.of("meta")}
    assert metas["Content-Security-Policy"] == POLICY
    assert not {"link", "iframe", "object", "embed", "form", "base", "img", "a"} & {*page.tags}
    assert [each["type"] for each in page.of("script")] == ["application/json"]
    for attributes in page.attributes:
        assert not {"src", "href", "srcset", "style", "action", "data"} & {*attributes}
        assert not any(key.startswith("on") for key in attributes)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org)", html(name).split("<body")[0])
    assert len(page.of("h1")) == html(name).split("<body")[0].count("<title>") == 1


@each_result
def test_a_page_and_its_twin_say_the_same(name: str) -> None:
    found = context.report(made(name))(context.CELLS)
    assert Page(html(name)).words.count(found.title) >= 2  # in the tab and at the top
    assert markdown(name).startswith(f"# {escaped(found.title).markdown}\n")
    told = squeezed(unescaped(markdown(name)))
    for part in found.parts:
        page = Page(f"<div>{part}</div>")
        for words in re.split(r"<[^>]*>", re.sub(r"<svg.*?</svg>|<figure>.*?</figure>", "<br>", part, flags=re.DOTALL)):
            said = Page(f"<p>{words}</p>").words
            assert squeezed(said) in told, said
        assert part.markdown or "figure" in page.tags


@each_result
def test_no_report_is_larger_than_it_may_be(name: str) -> None:
    assert len(html(name).encode()) < 300_000
    assert len(markdown(name).encode()) < 60_000


@each_result
def test_a_report_is_the_same_every_time(name: str) -> None:
    assert write.text(made(name), "html") == html(name)


@each_result
def test_findings_verdict_and_remedy_stand_in_both(name: str) -> None:
    result = made(name)
    judged = result.before if isinstance(result, vg.Advised) else result
    if not isinstance(judged, vg.Diagnosis | vg.RunDiagnosis):
        return
    for source in (Page(html(name)).words, unescaped(markdown(name))):
        assert judged.summary in source
        for finding in judged.findings:
            assert finding.evidence in source
            assert finding.remedy in source


NETS = ["Diagnosis", "Probe", "a net with skips", "a transformer", "a recurrent net", "own weights", "one layer"]


@pytest.mark.parametrize("name", NETS)
def test_the_code_of_a_report_measures_the_same(name: str) -> None:
    code = re.findall(r"```python\n(import vgcore.*?)```", markdown(name), re.DOTALL)[-1]
    network = SICK.init() if name == "own weights" else None
    given = {"x": DIGITS[0], "y": DIGITS[1], "network": network}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, given)
    result = made(name)
    judged = result if isinstance(result, vg.Diagnosis) else vg.diagnose(result)
    assert squeezed(printed.getvalue()).startswith(squeezed(judged.summary))


@pytest.mark.parametrize(
    ("subject", "options"),
    [
        (CLASSES, {"seed": 3, "optimizer": "sgd(lr=0.1)", "schedule": "cosine", "clip": 1.0}),
        (
            CLASSES,
            {
                "loss": "cross_entropy(reduction=sum)",
                "noise": 0.1,
                "rates": {"readout": 0.5},
                "frozen": "layers.0",
                "monitor": "full",
            },
        ),
        (
            CLASSES,
            {"validation": 0.2, "validate_every": 5, "early_stopping": vg.EarlyStopping(0, 0.1), "record": "log"},
        ),
        (CLASSES.init(seed=7), {"schedule": np.linspace(2, 0, 20), "monitor": ["rounded"], "record": [1, 7]}),
        (CLASSES, {"validation": DIGITS, "loss": "cross_entropy(reduction=sum)", "dtype": "float64", "seeds": 2}),
    ],
    ids=["a schedule", "a recipe", "a validation", "own weights and rates", "other rows"],
)
def test_the_code_of_the_report_of_a_run_trains_the_same(subject: Any, options: dict[str, Any]) -> None:
    trained = vg.train(subject, *DIGITS, steps=20, batch=32, **options)
    (code,) = re.findall(r"```python\n(import vgcore.*?)```", write.text(trained, "md"), re.DOTALL)
    given = {"network": subject, "schedule": options.get("schedule"), "validation": options.get("validation")}
    call = code.splitlines()[-1].removeprefix("print(vg.diagnose(").removesuffix("))")
    again = eval(call, exec_lines(code, {"x": DIGITS[0], "y": DIGITS[1], **given}))
    assert np.array_equal(again.loss, trained.loss)
    assert (again.monitor, again.steps.tolist()) == (trained.monitor, trained.steps.tolist())
    assert np.array_equal(again.validation_loss, trained.validation_loss)
    assert vg.diagnose(again).summary == vg.diagnose(trained).summary


def code_of(result: Any) -> str:
    """The program of a report that makes it again."""
    *_, code = re.findall(r"```python\n(import vgcore.*?)```", write.text(result, "md"), re.DOTALL)
    assert isinstance(code, str)
    return code


def test_the_code_of_a_report_judges_with_the_same_thresholds() -> None:
    thresholds: dict[str, Any] = {"backward_vanishing": 0.5, "dead_units": {"warning": 0.9}}
    net = vg.MLP(depth=6, width=32, activation="relu", init="xavier_normal")
    judged = vg.diagnose(net, seeds=2, thresholds=thresholds)
    assert judged.verdict == "vanishing"
    assert json.loads(json.dumps(judged.to_dict()))["thresholds"] == judged.thresholds
    assert judged.probe is not None
    assert vg.diagnose(judged.probe).verdict == "healthy"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code_of(judged), {})
    assert squeezed(printed.getvalue()).startswith(squeezed(judged.summary))
    run = vg.diagnose(a_run(), thresholds={"not_trained": 0.3})
    assert f"thresholds={dict(run.thresholds)}))" in code_of(run)
    assert "thresholds" not in code_of(vg.diagnose(a_run()))


def test_a_report_by_another_tools_rules_says_what_its_code_is_without() -> None:
    source, code = markdown("another tool's rules"), code_of(made("another tool's rules"))
    assert "does not keep how the net was measured" in source
    assert "# weights and samples, loss, batch and seeds: give them as they were given" in code
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    assert "SageMaker Debugger would say vanishing" in printed.getvalue()
    assert "rules='sagemaker'" in code_of(vg.diagnose(a_run(), rules="sagemaker"))


def test_the_code_for_given_weights_makes_no_net_that_is_not_used() -> None:
    assert "spec =" not in code_of(made("own weights"))


def exec_lines(code: str, names: dict[str, Any]) -> dict[str, Any]:
    """The names that all lines of a program but the last one make."""
    exec(code.rsplit("\n", 2)[0], names)
    return names


def test_a_comparison_draws_both_nets_and_says_what_they_are_and_how_they_were_measured() -> None:
    result = made("Comparison")
    for source in (Page(html("Comparison")).words, unescaped(markdown("Comparison"))):
        assert f"first: {result.before.spec!r}" in source
        assert f"second: {result.after.spec!r}" in source
        assert "seeds 0 to 1; batch 128, float32; a random cotangent; drawn samples, drawn weights" in source
    assert html("Comparison").count('class="beside"') == 3
    lines = [line for line in markdown("Comparison").splitlines() if " dashed: " in line]
    assert len(lines) == 3
    bars = [re.findall("[▁-█]+", line) for line in lines]
    assert all(len(each) == 2 and len(each[0]) == len(each[1]) == SICK.depth for each in bars)


def test_a_comparison_of_trainings_draws_both_losses() -> None:
    other = vg.train(CLASSES, *DIGITS, steps=50, batch=32, seeds=2)
    source = write.text(vg.compare(a_run(), other), "html")
    assert "The line is the first, the dashed one the second." in Page(source).words
    assert source.count('class="beside"') == 1
    assert re.findall(r'text-anchor="middle">(\d+)<', source)[-1] == "50"  # where the longer one ends
    assert f"second: {other.spec!r}" in Page(source).words


def test_a_mean_that_is_not_of_all_runs_says_of_how_many_it_is() -> None:
    cell = vg.probe(vg.MLP(depth=3, width=4), seeds=2, batch=4)
    values = np.array([[-2.3, -1.0, 0.0], [-np.inf, -1.0, 0.0]])
    cell = dataclasses.replace(cell, log10_delta_rms=values)
    for form in ("html", "md"):
        source = write.text(cell, form)
        assert "at layer 1 the mean is of 1 of 2 alone: the others are 0 or not finite" in Page(source).words
        assert source.count("-2.3 (1 of 2)") == 1
    assert "of 2)" not in markdown("Probe")


def test_a_second_report_of_a_sweep_judges_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    s = vg.sweep(SICK, depth=[2, 10], seeds=2)
    first = write.text(s, "md")
    seen: list[bool] = []
    own = diagnose._judged

    def counted(cell: Any, rules: Any, *, explain: bool, threads: Any) -> vg.Diagnosis:
        seen.append(explain)
        return own(cell, rules, explain=explain, threads=threads)

    monkeypatch.setattr(diagnose, "_judged", counted)
    assert write.text(s, "md") == first
    assert seen == [True]  # the worst cell, with explanations
    vg.diagnose(s, thresholds={"dead_units": 0.9})
    assert seen == [True, False, False]  # other thresholds are judged by


def test_a_long_judging_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[bool] = []

    def seen(layers: Any, *, show: bool) -> Any:
        shown.append(show)
        return progress_bar(layers, show=show)

    monkeypatch.setattr(swept, "progress_bar", seen)
    monkeypatch.setattr(swept, "LONG", 6)
    write.text(a_sweep(), "md")
    write.text(vg.sweep(SICK, depth=[2, 10], seeds=1), "md")
    assert shown == [True, False]


def test_the_code_of_the_report_of_a_sweep_measures_its_cells() -> None:
    s = vg.sweep(SICK, init=["xavier_normal", "mean_field(2, 0.1)"], depth=[2, 9], seeds=2, seed=3, dtype="float64")
    for part in (s, s[:3]):
        code = re.findall(r"```python\n(import vgcore.*?)```", write.text(part, "md"), re.DOTALL)[0]
        names: dict[str, Any] = {}
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, names)
        assert names["s"].varied == s.varied
        assert [cell.spec for cell in names["s"]] == [cell.spec for cell in s]
        assert np.array_equal(names["s"][1].log10_z_rms, s[1].log10_z_rms)
        assert printed.getvalue()
        assert ("all combinations, of which 3 are here" in code) == (part is not s)


def test_the_cells_of_a_long_sweep_come_with_the_worst_first() -> None:
    s = vg.sweep(vg.MLP(depth=2, width=8, activation="sigmoid"), depth=[*range(2, 44)], seeds=1)
    data = data_of(write.text(s, "html"))
    judged = vg.diagnose(s)
    assert data["cell"][0] == max(range(len(s)), key=lambda i: diagnose.badness(judged.cells[i]))
    assert data["rows"][0]["depth"] == s[data["cell"][0]].spec.depth
    assert "<summary>42 cells, the worst first" in write.text(s, "md")
    assert data_of(html("Sweep"))["cell"] == [*range(6)]


def test_verdicts_are_counted_by_field_where_a_map_has_no_room() -> None:
    s = vg.sweep(SICK, depth=[2, 30], activation=["tanh", "sigmoid"], width=[16, 32], seeds=2)
    source = write.text(s, "md").split("## Verdicts by field")[1].split("##")[0]
    judged = vg.diagnose(s)
    words = list(dict.fromkeys(cell.verdict for cell in judged.cells))
    for name, value in (("depth", 30), ("activation", "sigmoid"), ("width", 16)):
        of = [cell.verdict for cell in judged.cells if getattr(cell.spec, name) == value]
        assert f"| {name} | {value} | {' | '.join(str(of.count(word)) for word in words)} |" in source
    assert "Verdicts by field" not in markdown("Sweep")


def test_the_table_of_a_net_that_breaks_shows_the_layers_where_it_does() -> None:
    cell = vg.probe(vg.MLP(depth=300, width=16, activation="softplus", init="mean_field(20,1)"), seeds=2)
    first = cell.first_nonfinite + 1
    table = write.text(cell, "md").split("## Layers")[1].split("<details>")[0]
    rows = {int(row) for row in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert {*range(first.min() - 1, first.min() + 2), first.max()} <= rows
    assert len(rows) < 16


def test_the_axis_of_a_training_ends_where_its_numbers_do() -> None:
    net = CLASSES.replace(activation="relu")
    run = vg.train(net, *DIGITS, optimizer="sgd(lr=1e9)", steps=3000, batch=32)
    done = int(np.flatnonzero(np.isfinite(run.loss[0]))[-1]) + 1
    loss = columns.loss_chart(run)
    assert f"no number after step {done}" in Page(loss).words
    assert f"step 1 to {done}, " in loss.markdown
    assert "no number" not in columns.loss_chart(a_run())


def test_the_last_number_of_an_axis_is_not_cut() -> None:
    made = charts.chart(np.zeros((1, 3000)), "loss", column="loss")
    places = re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="middle">(\d+)</text>', made)
    assert places[-1][1] == "3000"
    assert float(places[-1][0]) + charts.LETTER * 4 / 2 <= charts.WIDTH


# What users have named


def test_no_name_becomes_markup() -> None:
    finding = vg.Finding(HOSTILE, "critical", (0,), 1.0, 1.0, HOSTILE, HOSTILE, HOSTILE, explanation=HOSTILE)
    judged = vg.diagnose(a_trace(HOSTILE))
    judged = dataclasses.replace(judged, findings=(finding,), summary=HOSTILE, notes=(HOSTILE,))
    for result in (judged, a_trace(HOSTILE)):
        source, twin = write.text(result, "html"), write.text(result, "md")
        page = Page(source)
        assert len(page.of("script")) == 1
        assert all(text != "x" for text in re.findall(r"<b[^>]*>([^<]*)</b>", source))
        assert source.count("</script>") == 1
        assert HOSTILE in page.words
        assert HOSTILE in json.dumps(data_of(source)).replace('\\"', '"')
        assert not re.search(r"<b>|</script|<!--", twin)
        assert not re.search(r"(?<!\\)`", re.sub("<summary>.*</summary>", "", twin))  # which is HTML
        rows = [line for line in twin.splitlines() if line.startswith("| ")]
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in rows if r"\`a\`" in line}
        assert rows
        assert widths <= {len(re.findall(r"(?<!\\)\|", line)) for line in rows if ":--" in line or "--:" in line}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a|b", r"a\|b"),
        ("<b>", "&lt;b>"),
        ("`x` *y* _z_ a_b [c] $d$ ~e~", r"\`x\` \*y\* \_z\_ a_b \[c\] \$d\$ \~e\~"),
        ("two\nlines", "two lines"),
        ("&lt;", "&amp;lt;"),
        ("back\\slash", r"back\\slash"),
    ],
)
def test_text_is_text_in_markdown(text: str, told: str) -> None:
    assert escaped(text).markdown == told


@pytest.mark.parametrize("text", ["# a", "- a", "+ a", "> a", "1. a", "12) a", "=== a", "--- a"])
def test_no_line_of_text_begins_a_list_or_a_heading(text: str) -> None:
    sign = next(sign for sign in text if not sign.isdigit())
    told = text.replace(sign, f"\\{sign}", 1)
    assert blocks.paragraph(text).markdown == told
    assert blocks.titled("a", text).markdown == f"**a**\\\n{told}"


def test_code_is_fenced_by_more_backticks_than_it_has() -> None:
    assert blocks.code("a ``` b").markdown == "````\na ``` b\n````"


# The numbers


def test_the_island_holds_what_was_measured() -> None:
    probe = made("Probe")
    data = data_of(html("Probe"))
    for name in ("log10_z_rms", "log10_delta_rms", "log10_wgrad_norm", "correlation"):
        assert np.array_equal(np.array(data["columns"][name]), getattr(probe, name))
    assert data["seeds"] == probe.seeds.tolist()
    assert data["verdict"] == vg.diagnose(probe).verdict
    assert data["left_out"] == []


def test_the_island_of_a_run_holds_its_losses() -> None:
    data = data_of(html("Run"))
    assert np.array_equal(np.array(data["columns"]["loss"]), a_run().loss)
    assert np.array_equal(np.array(data["columns"]["validation_loss"]), a_run().validation_loss)


def test_the_island_of_a_sweep_holds_a_row_a_cell() -> None:
    data = data_of(html("Sweep"))
    assert data["cell"] == list(range(len(a_sweep())))
    assert [row["verdict"] for row in data["rows"]] == [vg.diagnose(cell).verdict for cell in a_sweep()]


def test_an_island_has_no_sign_that_ends_it_and_reads_back() -> None:
    given = {"</script>&\u2028\u2029": [math.nan, math.inf, -math.inf, 1.5, None, True, np.float64(2), np.array([1])]}
    made = island.island(given)
    assert made.isascii()
    assert not re.search("[<>&]", made)
    assert json.loads(made) == {"</script>&\u2028\u2029": [None, "inf", "-inf", 1.5, None, True, 2.0, [1]]}


def test_columns_that_have_no_room_are_means_or_left_out_by_name() -> None:
    wide = {name: np.ones((8, 1000)) for name in ("a", "b", "c", *"defghijk")} | {"none": np.full((8, 1000), math.nan)}
    found = island.fitting(wide, ("b", "a"))
    assert [*found["columns"]] == ["b", "a", *"cdefgh"]
    assert {values.shape for values in found["columns"].values()} == {(1, 1000)}
    assert found["left_out"] == [*"ijk"]


# Sizes


@functools.cache
def many() -> vg.Sweep:
    """A thousand cells, each of which is one of a few that were measured."""
    cells = [*vg.sweep(SICK, depth=[2, 30], activation=["tanh", "sigmoid", "relu"], seeds=1, batch=4)]
    return vg.Sweep(tuple(cells[i % 6] for i in range(1000)), ("depth", "activation"), 1000)


def test_a_thousand_cells_fit_and_a_sentence_tells_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    source = write.text(many(), "html")
    assert len(source.encode()) <= 2_000_000
    assert "around the median" not in source
    assert len(data_of(source)["cell"]) == 1000
    monkeypatch.setattr(write, "MOST", {"html": 200_000, "md": 20_000})
    for form, most in write.MOST.items():
        source = write.text(many(), form)
        assert len(source.encode()) <= most
        assert re.search(r"These are the \d+ worst of 1,000 cells and the \d+ around the median", source)
    kept = data_of(write.text(many(), "html"))["cell"]
    verdicts = [vg.diagnose(many()[i]).verdict for i in kept]
    assert verdicts.count("vanishing") >= len(kept) // 2 - 1
    assert "healthy" in verdicts


def test_a_deep_net_with_many_seeds_fits() -> None:
    probe = vg.probe(vg.MLP(depth=1000, width=8), seeds=8, batch=4)
    source = write.text(vg.diagnose(probe, explain=True), "html")
    assert len(source.encode()) < 300_000
    data = data_of(source)
    assert np.shape(data["columns"]["log10_delta_rms"]) == (1, 1000)
    assert "correlation" in {*data["columns"], *data["left_out"]}


def test_advice_and_comparisons_of_deep_nets_fit() -> None:
    deep = vg.MLP(depth=150, width=8, activation="sigmoid")
    for result in (vg.advise(deep, seeds=16), vg.compare(deep.replace(depth=1000), deep.replace(depth=1000), seeds=2)):
        assert len(write.text(result, "html").encode()) < 300_000


def test_a_comparison_of_a_thousand_cells_has_a_line_a_cell_the_worst_where_there_is_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = vg.compare(*(vg.sweep(net, depth=[2, 20, 30], seeds=2) for net in (SICK.replace(activation="relu"), SICK)))
    assert [cell.verdict for cell in few.cells] == ["same", "worse", "worse"]
    many = dataclasses.replace(few, cells=few.cells * 400, names=tuple(map(str, range(1200))))
    source = write.text(many, "html")
    assert len(source.encode()) < 2_000_000
    kept = data_of(source)["cells"]
    assert [cell["verdict"] for cell in kept].count("worse") == 800
    assert [int(cell["name"]) for cell in kept] == sorted(int(cell["name"]) for cell in kept)
    assert len(kept) == 1000
    monkeypatch.setattr(write, "MOST", {"html": 100_000, "md": 20_000})
    source = write.text(many, "html")
    assert len(source.encode()) <= 100_000
    assert {cell["verdict"] for cell in data_of(source)["cells"]} == {"worse"}
    assert data_of(source)["cells"][0]["summary"] == few.cells[1].summary


# Files


@pytest.mark.parametrize(
    ("ending", "first"), [("html", "<!DOCTYPE html>"), ("HTM", "<!"), ("md", "# "), ("markdown", "# ")]
)
def test_the_ending_says_what_is_written(ending: str, first: str, tmp_path: Path) -> None:
    path = tmp_path / f"net.{ending}"
    a_diagnosis().report(path)
    text = path.read_text(encoding="utf-8")
    assert text.startswith(first)
    assert text.endswith("\n")
    a_diagnosis().report(str(path))  # over itself
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", ["net.pdf", "net", "html", "net.html.gz"])
def test_another_ending_is_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a report is an \.html or \.md file, got"):
        a_diagnosis().report(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", [None, 3, "", "a\0.html"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="path must be the path of a file"):
        a_diagnosis().report(path)


def test_a_place_that_takes_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"cannot write '.*no/net\.html': No such file or directory"):
        a_diagnosis().report(tmp_path / "no" / "net.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(IsADirectoryError, match=r"cannot write '.*folder\.html'"):
        a_diagnosis().report(tmp_path / "folder.html")


# Notebooks


def test_a_bundle_has_what_was_shown_before_and_markdown() -> None:
    bundle = a_diagnosis()._repr_mimebundle_()
    assert bundle["text/plain"] == repr(a_diagnosis())
    assert bundle["text/html"] == a_diagnosis()._repr_html_()
    assert bundle["text/markdown"].startswith("**vanishing (backward), collapsed**: ")
    assert type(bundle["text/html"]) is str


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({}, {"text/plain", "text/html", "text/markdown"}),
        ({"include": {"text/html"}}, {"text/html"}),
        ({"include": ["text/plain", "image/png"]}, {"text/plain"}),
        ({"exclude": {"text/html"}}, {"text/plain", "text/markdown"}),
        ({"include": {"text/html"}, "exclude": {"text/html"}}, set()),
    ],
)
def test_a_bundle_has_what_is_asked_for(options: dict[str, Any], kinds: set[str]) -> None:
    assert {*a_diagnosis()._repr_mimebundle_(**options)} == kinds


def test_notebooks_load_no_templates_and_no_pictures() -> None:
    code = (
        "import sys, vgcore as vg\n"
        "d = vg.diagnose(vg.MLP(depth=20, width=16, activation='sigmoid'), seeds=2, explain=True)\n"
        "d._repr_mimebundle_()\n"
        "sys.exit(any(name.partition('.')[0] in {'jinja2', 'matplotlib'} for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Charts


def test_a_chart_has_axes_a_line_and_a_band_of_the_runs() -> None:
    values = np.array([[0.0, -2.0, -4.0], [0.0, -4.0, -8.0]])
    made = charts.chart(values, "log10 rms of dL/dz", column="log10_delta_rms", words="mean of 2 runs")
    page = Page(made)
    assert {"log10 rms of dL/dz", "mean of 2 runs", "layer"} <= {*re.findall(r">([^<]+)<", made)}
    assert re.findall(r">([−\d.]+)<", made) == ["−8", "−6", "−4", "−2", "0", "1", "2", "3"]
    assert len(page.of("polygon")) == 1
    (line,) = page.of("polyline")
    places = [tuple(map(float, pair.split(","))) for pair in str(line["points"]).split()]
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert [y for _, y in places] == pytest.approx([charts.ABOVE, 8 + 148 * 3 / 8, 8 + 148 * 6 / 8], abs=0.1)


def test_a_chart_says_where_nothing_is_known_and_draws_what_is() -> None:
    nan, inf = math.nan, math.inf
    lone = charts.chart(np.array([[nan, 1.0, nan, 2.0, 3.0, -inf]]), "x", column="x")
    assert lone.count("<circle") == lone.count("<polyline") == 1
    assert "gaps are 0 or not finite" in lone
    assert "nowhere finite" in charts.chart(np.array([[nan, inf]]), "x", column="x")
    assert "nowhere finite" in charts.chart(np.empty((1, 0)), "x", column="x").markdown


@pytest.mark.parametrize(
    ("low", "high"), [(-24.3, 0.4), (0, 1), (0.0, 2.3), (-1e-9, 1e-9), (3, 3), (-1e300, 1e300), (0, 1e7)]
)
def test_ticks_are_few_round_numbers_between_the_ends(low: float, high: float) -> None:
    found = charts.ticks(low, high, 5)
    assert 1 <= len(found) <= 5
    assert all(low - 1e-9 * abs(low) <= tick <= high + 1e-9 * abs(high) for tick in found)


def test_a_map_has_a_square_a_cell_in_the_colour_of_its_verdict() -> None:
    page = Page(html("Sweep"))
    squares = [str(each["class"]) for each in page.of("rect")]
    verdicts = [vg.diagnose(cell).verdict for cell in a_sweep()]
    assert sorted(squares) == sorted(f"square {style.TONES[verdict]}" for verdict in verdicts)
    assert not Page(html("a sweep of one field")).of("rect")


def test_verdicts_of_a_map_are_told_apart_without_colour() -> None:
    cells = {(0, k): charts.Square(word, 1.0, word) for k, word in enumerate(["exploding", "collapsed", "non-finite"])}
    cells[1, 1] = charts.Square("healthy", 0.4, "healthy")
    made = charts.squares(("depth", "init"), (["2", "30"], ["a", "b", "c"]), cells)
    rows = re.findall('<text class="letters"[^>]*>([A-Z]*)<', made)
    assert rows == ["ECN", "H"]
    assert "■ N non-finite" in Page(made).words
    assert made.markdown.endswith("```\n 2 ECN\n30  H\n```")


def test_a_map_has_room_for_every_label_and_scrolls() -> None:
    columns = [str(value) for value in range(100, 180)]
    cells = {(0, k): charts.Square("healthy", 1.0, "") for k in range(80)}
    made = charts.squares(("depth", "width"), (["2"], columns), cells)
    assert set(columns) <= {*re.findall(r'text-anchor="end" transform="rotate[^>]*>(\d+)<', made)}
    (width,) = re.findall(r'<div class="wide"><svg class="map" role="img" aria-label="[^"]*" width="(\d+)"', made)
    assert int(width) >= 80 * charts.LEAST
    assert ".vgcore svg.map{max-width:none}" in style.STYLE


@pytest.mark.parametrize("name", ["Sweep", "TrainSweep"])
def test_no_heading_of_a_report_in_markdown_is_empty(name: str) -> None:
    assert "## Map\n" in markdown(name)
    assert not re.search(r"^#+ [^\n]*\n+## ", markdown(name)[2:], re.MULTILINE)


def test_what_is_html_carries_its_markdown_and_jinja_leaves_it_alone() -> None:
    made = Html("<b>x</b>", "**x**")
    assert (made.__html__(), made.markdown, Html("<i>").markdown) == ("<b>x</b>", "**x**", "")
    assert blocks.joined(made, "a < b").markdown == "**x**\n\na &lt; b"


# The command

SICK_OPTIONS = ["--depth", "20", "--width", "16", "--activation", "sigmoid", "--seeds", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results in files: a sweep, a sweep of one cell, stores of cells and of trainings, a net and its spec."""
    path = tmp_path_factory.mktemp("results")
    vg.sweep(SICK, depth=[2, 20], seeds=2).save(path / "sweep.csv")
    (path / "empty.csv").touch()
    vg.sweep(SICK, seeds=2).save(path / "one.json")
    vg.sweep(SICK, depth=[2, 20], seeds=2, store=path / "sweep.vg")
    vg.train_sweep(CLASSES, *DIGITS, steps=5, batch=32, lr=[0.1, 0.01], store=path / "trained.vg")
    state: dict[str, Any] = SICK.init().state_dict()
    np.savez(path / "net.npz", **state)
    (path / "spec.json").write_text(SICK.to_json())
    (path / "net.md").write_text("what was there before")
    return path


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        (SICK_OPTIONS, lambda: vg.diagnose(SICK, seeds=2, explain=True)),
        (["--depth", "2,20", *SICK_OPTIONS[2:]], lambda: vg.sweep(SICK, depth=[2, 20], seeds=2)),
        (["sweep.csv"], lambda: vg.sweep(SICK, depth=[2, 20], seeds=2)),
        (["sweep.vg"], lambda: vg.sweep(SICK, depth=[2, 20], seeds=2)),
        (["one.json"], lambda: vg.probe(SICK, seeds=2)),
        (["trained.vg"], lambda: vg.train_sweep(CLASSES, *DIGITS, steps=5, batch=32, lr=[0.1, 0.01])),
        (
            ["net.npz", "--spec", "spec.json"],
            lambda: vg.diagnose(vg.from_arrays(SICK.init().state_dict(), spec=SICK), explain=True),
        ),
    ],
    ids=["a net", "nets", "a sweep", "a store", "a cell", "trainings", "a file of a net"],
)
def test_the_command_writes_what_the_python_call_does(
    folder: Path, tmp_path: Path, arguments: list[str], result: Callable[[], Any]
) -> None:
    done = run("report", *arguments, "--out", str(tmp_path / "a.md"), cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"wrote {tmp_path / 'a.md'}\n")
    assert (tmp_path / "a.md").read_text(encoding="utf-8") == write.text(result(), "md")
    assert run("report", *arguments, "--out", str(tmp_path / "a.html"), cwd=folder).returncode == 0
    assert (tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_the_summary_of_a_step_is_filled(folder: Path, tmp_path: Path) -> None:
    summary = tmp_path / "step_summary_1"
    summary.touch()  # as GitHub makes it
    assert run("report", "one.json", "--out", str(summary), "--format", "md", cwd=folder).returncode == 0
    assert summary.read_text(encoding="utf-8").startswith("# Probe: vanishing")


def test_a_dash_is_stdout(folder: Path, tmp_path: Path) -> None:
    source = str(folder / "one.json")
    for form in ("md", "html"):
        done = run("report", source, "--out", "-", "--format", form, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith({"md": "# Probe", "html": "<!DOCTYPE html>"}[form])
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (2, ["wrote a.md", "interrupted: 2 of 4 cells were finished"]),
        (0, ["interrupted: 0 of 4 cells were finished; 'a.md' is not written"]),
    ],
)
def test_an_interrupt_reports_the_cells_that_are_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: int, words: list[str]
) -> None:
    done = a_sweep()[:cells]

    def stopped(*_: Any, **__: Any) -> vg.Sweep:
        error = KeyboardInterrupt()
        error.sweep = dataclasses.replace(done, planned=4)  # type: ignore[attr-defined]  # as a sweep ends
        raise error

    monkeypatch.setattr(importlib.import_module("vgcore.measure.sweep"), "sweep", stopped)
    ran = run("report", "--depth", "2:5", "--width", "8", "--out", "a.md", cwd=tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr.splitlines()) == (130, "", words)
    assert [path.name for path in tmp_path.iterdir()] == ["a.md"] * bool(cells)
    if cells:
        assert (tmp_path / "a.md").read_text(encoding="utf-8").startswith("# Sweep of 2 cells")


def test_what_the_summary_of_a_step_has_already_stays_in_front(folder: Path, tmp_path: Path) -> None:
    summary = tmp_path / "step_summary_1"
    summary.write_text("# Tests\n\nall passed")
    done = run("report", "one.json", "--out", str(summary), "--format", "md", "--append", cwd=folder)
    assert (done.returncode, done.stderr) == (0, f"wrote {summary}\n")
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("# Tests\n\nall passed\n\n# Probe: vanishing")
    assert run("report", "one.json", "--out", str(tmp_path / "new.md"), "--append", cwd=folder).returncode == 0
    assert text.endswith((tmp_path / "new.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["one.json"], ["missing option '--out'"]),
        (["one.json", "--out", "-"], ["--out - is stdout, which has no ending: give --format html or md"]),
        (["one.json", "--out", "a.html", "--append"], ["--append puts Markdown behind", "--format md"]),
        (["one.json", "--out", "-", "--format", "md", "--append"], ["--append puts Markdown behind"]),
        (["one.json", "--out", "a.pdf"], ["a report is an .html or .md file", "--format html or md"]),
        (["one.json", "--out", "a", "--format", "pdf"], ["unknown format 'pdf'"]),
        (["one.json", "--out", "net.md"], ["'net.md' is there already; write over it with --force"]),
        (["nowhere.csv", "--out", "a.md"], ["cannot read 'nowhere.csv': there is no such file", "report takes what"]),
        (
            ["one.json", "--out", "a.md", "--depth", "3", "--seeds", "4"],
            ["measured already; leave out --depth, --seeds"],
        ),
        (["spec.json", "--out", "a.md"], ["spec.json is a spec; say what the net is by --depth"]),
        (["empty.csv", "--out", "a.md"], ["cannot read 'empty.csv' as a saved sweep: it is empty"]),
        (["notes.txt", "--out", "a.md"], [".onnx, .npz or .safetensors"]),
    ],
)
def test_the_command_refuses_what_it_cannot_report_in_one_line(
    folder: Path, arguments: list[str], words: list[str]
) -> None:
    done = run("report", *arguments, cwd=folder)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done
    assert all(word in done.stderr for word in words), done.stderr
    assert (folder / "net.md").read_text() == "what was there before"


def test_force_writes_over_what_is_there(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("old")
    assert run("report", "one.json", "--out", str(tmp_path / "a.md"), "--force", cwd=folder).returncode == 0
    assert (tmp_path / "a.md").read_text(encoding="utf-8").startswith("# Probe")
