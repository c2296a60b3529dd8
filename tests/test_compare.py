"""Two results side by side: what is better, by how much, and what is noise."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vgcore as vg
from test_cli import run, strict_json
from vgcore.measure.result import student
from vgcore.report import github, noise
from vgcore.shell import outputs

SIGMOID = vg.MLP(depth=20, width=32, activation="sigmoid")
RELU = SIGMOID.replace(activation="relu")
TANH = vg.MLP(depth=4, width=16, in_features=64, out_features=10, activation="tanh")
WEAK = RELU.replace(init="xavier_normal")


@functools.cache
def nets() -> vg.Comparison:
    return vg.compare(SIGMOID, RELU, seeds=4)


@functools.cache
def a_run(activation: str = "tanh", seed: int = 0, steps: int = 150) -> vg.Run:
    x, y = vg.data.digits()
    return vg.train(TANH.replace(activation=activation), x, y, steps=steps, seeds=3, seed=seed)


def grid(**changes: Any) -> vg.Sweep:
    return vg.sweep(vg.MLP(depth=2, width=16, **changes), depth=[2, 30], activation=["relu", "tanh"], seeds=4)


def measure(c: vg.Comparison, name: str) -> Any:
    return next(each for each in c.measures if each.name == name)


# Nets


def test_a_cure_is_better_and_its_opposite_is_worse() -> None:
    better, worse = nets(), vg.compare(RELU, SIGMOID, seeds=4)
    assert (better.verdict, worse.verdict) == ("better", "worse")
    assert better.fields == {"activation": ("sigmoid", "relu")}
    assert worse.fields == {"activation": ("relu", "sigmoid")}
    assert [f.rule for f in better.gone] == [f.rule for f in worse.new]
    assert "backward_vanishing" in [f.rule for f in better.gone]
    assert better.summary.startswith("better: vanishing (backward), collapsed -> healthy; dL/dz shrinks 10^")
    assert worse.summary.startswith("worse: healthy -> vanishing (backward), collapsed; dL/dz ")


def test_the_numbers_are_those_of_the_diagnoses() -> None:
    c = nets()
    before, after = (vg.diagnose(spec, seeds=4) for spec in (SIGMOID, RELU))
    assert (c.before.summary, c.after.summary) == (before.summary, after.summary)
    whole = measure(c, "dL/dz, end to end")
    for number, d in ((whole.before, before), (whole.after, after)):
        told = d.told("backward")
        assert told is not None
        assert number == told.rms
    each = measure(c, "dL/dz a layer")
    assert each.before == pytest.approx(10 ** (whole.before / 19), rel=1e-12)
    assert before.depth_limit is not None
    assert measure(c, "depth limit").before == before.depth_limit.value


def test_columns_are_means_over_the_seeds_with_the_overlap_of_their_intervals() -> None:
    c = vg.compare(SIGMOID, RELU, seeds=4)
    probes = [vg.probe(spec, seeds=4) for spec in (SIGMOID, RELU)]
    assert c.places == tuple(str(i + 1) for i in range(20))
    columns = {"z": "log10_z_rms", "dL/dW": "log10_wgrad_norm"}
    for name, column in columns.items():
        one, other = (getattr(p, column) for p in probes)
        differences = [m.difference for m in c.columns[name]]
        np.testing.assert_allclose(differences, other.mean(axis=0) - one.mean(axis=0), rtol=1e-9)
        half = [student(3) * values.std(axis=0, ddof=1) / 2 for values in (one, other)]
        apart = np.abs(other.mean(axis=0) - one.mean(axis=0)) > half[0] + half[1]
        assert [m.beyond for m in c.columns[name]] == apart.tolist()
        assert {True, False} == {*apart.tolist()} or name == "dL/dW"


def test_a_net_beside_itself_is_the_same_and_every_difference_is_none() -> None:
    c = vg.compare(SIGMOID, SIGMOID, seeds=4)
    assert (c.verdict, c.fields, c.gone, c.new) == ("same", {}, (), ())
    assert not any(m.differs for m in (*c.measures, *(m for column in c.columns.values() for m in column)))
    assert c.summary.endswith("no difference beyond the noise of the seeds")


def test_other_seeds_of_one_net_are_no_difference() -> None:
    for spec in (SIGMOID, WEAK):
        c = vg.compare(vg.probe(spec, seeds=4), vg.probe(spec, seeds=4, seed=4))
        assert c.verdict == "same"
        assert "measured over seeds 0 to 3 and seeds 4 to 7" in c.notes


def test_a_rule_that_speaks_by_chance_makes_no_net_worse() -> None:
    spec = vg.MLP(depth=32, width=16, activation="gelu", init="lecun_normal", norm="layer")
    one, other = (vg.diagnose(spec, seeds=8, seed=seed) for seed in (0, 100))
    assert vg.compare(one, other).verdict == "same"
    found = [vg.compare(vg.probe(WEAK, seeds=8), vg.probe(WEAK, seeds=8, seed=8 * i)) for i in range(1, 5)]
    differ = [m.differs for c in found for column in c.columns.values() for m in column]
    assert sum(differ) < 0.05 * len(differ)


def test_a_signal_that_keeps_its_size_by_chance_differs_from_itself_no_more_than_another() -> None:
    spec = vg.MLP(depth=5, width=32, activation="sigmoid", init="xavier_normal")
    judged = [vg.diagnose(spec, seeds=8, seed=8 * i) for i in range(6)]
    assert len({d.evidence.forward.rms == 0 for d in judged if d.evidence}) == 2  # of some the halves move both ways
    for one, other in itertools.pairwise(judged):
        assert measure(vg.compare(one, other), "z a layer").beyond is False


def test_of_two_nets_of_one_verdict_the_severest_finding_decides_and_is_named() -> None:
    spec = SIGMOID.replace(skip="residual")
    c = vg.compare(spec, spec.replace(activation="relu", branch_scale=0.1), seeds=4)
    assert (c.before.verdict, c.after.verdict, c.verdict) == ("healthy", "healthy", "better")
    assert c.summary.startswith("better: healthy, saturated -> healthy; saturation warning -> not found")


def test_two_healthy_nets_are_the_same_however_far_their_signals_move() -> None:
    one, other = (vg.diagnose(RELU.replace(depth=depth), seeds=4) for depth in (2, 10))
    assert one.verdict == other.verdict == "healthy"
    assert vg.compare(one, other).verdict == "same"


def test_of_two_bad_nets_the_one_that_moves_less_is_better() -> None:
    c = vg.compare(WEAK.replace(depth=40), WEAK.replace(depth=25), seeds=4)
    assert c.before.verdict == c.after.verdict == "vanishing"
    assert c.verdict == "better"
    assert re.search(
        r"; dL/dz shrinks 10\^[\d.]+-fold before and shrinks [\d.^]+-fold after, [\d.]+ decades less", c.summary
    )


def test_nets_of_different_depth_are_compared_at_relative_depth_and_it_says_so() -> None:
    c = vg.compare(SIGMOID, SIGMOID.replace(depth=9), seeds=2)
    assert c.places == ("0 %", "25 %", "50 %", "75 %", "100 %")
    p = vg.probe(SIGMOID, seeds=2)
    chosen = [0, 5, 10, 14, 19]
    assert [m.before for m in c.columns["z"]] == pytest.approx(p.log10_z_rms.mean(axis=0)[chosen].tolist())
    assert c.notes == ("20 and 9 layers are compared at relative depth: 0 % is the first, 100 % the last",)
    assert c.notes[0] in " ".join(str(c).split())


def test_a_spec_beside_a_probe_is_measured_as_that_one_was() -> None:
    p = vg.probe(SIGMOID, seeds=3, seed=5, batch=16, dtype="float64")
    for c in (vg.compare(p, RELU), vg.compare(RELU, vg.diagnose(p)), vg.compare(vg.Sweep((p,), (), 1), RELU)):
        for judged in (c.before, c.after):
            assert isinstance(judged, vg.Diagnosis)
            assert judged.probe is not None
            assert judged.probe.seeds.tolist() == [5, 6, 7]
            assert (judged.probe.batch, judged.probe.dtype) == (16, "float64")
        assert c.notes == ()


def test_a_network_beside_its_spec_says_whose_weights_it_has() -> None:
    c = vg.compare(SIGMOID, SIGMOID.init(seed=3))
    assert c.fields == {}
    assert "the second has weights of its own, the other has them drawn" in c.notes
    assert all(len(d.probe.seeds) == 8 for d in (c.before, c.after) if isinstance(d, vg.Diagnosis) and d.probe)


def test_signals_of_different_names_are_told_by_both() -> None:
    c = vg.compare(SIGMOID, SIGMOID.replace(skip="residual"), seeds=4)
    assert [*c.columns] == ["z, h", "dL/dz, dL/dh", "dL/dW"]
    assert "and dL/dh keeps its size after" in c.summary


def test_one_run_has_no_noise_and_counts_from_two_fold() -> None:
    c = vg.compare(SIGMOID, SIGMOID.replace(depth=21), seeds=1)
    assert {m.beyond for m in c.measures} == {None}
    assert (c.verdict, vg.compare(SIGMOID, SIGMOID, seeds=1).verdict) == ("worse", "same")
    assert any(note.startswith("one run has no interval") for note in c.notes)


def test_weights_that_are_not_finite_are_worse_than_anything() -> None:
    broken = vg.diagnose({"w0": np.full((4, 4), math.nan), "w1": np.eye(4)})
    c = vg.compare(SIGMOID, broken, seeds=2)
    assert (c.before.verdict, c.after.verdict, c.measures, c.columns) == ("vanishing", "non-finite", (), {})
    assert (c.verdict, vg.compare(broken, SIGMOID, seeds=2).verdict) == ("worse", "better")
    assert vg.compare(RELU, broken, seeds=2).verdict == "worse"
    assert str(c)


# Sweeps


def test_cells_are_paired_by_what_was_varied_whatever_their_order() -> None:
    one = grid()
    other = vg.sweep(
        vg.MLP(depth=2, width=16, init="xavier_normal"), activation=["tanh", "relu"], depth=[30, 2], seeds=4
    )
    c = vg.compare(one, other)
    assert len(c.cells) == 4
    for name, cell in zip(c.names, c.cells, strict=True):
        assert cell.before.spec.replace(init="xavier_normal") == cell.after.spec
        assert name == f"depth {cell.before.spec.depth}, activation {cell.before.spec.activation}"
    assert c.fields == {"init": ("kaiming_normal", "xavier_normal")}
    outcomes = dict(zip(c.names, c.cells, strict=True))
    assert outcomes["depth 30, activation relu"].verdict == c.verdict == "worse"
    told = outcomes["depth 30, activation relu"].summary.removeprefix("worse: ")
    assert c.summary == f"worse: of 4 cells 1 worse, 3 same; such as depth 30, activation relu: {told}"
    assert told.startswith("healthy -> vanishing (both)")
    assert vg.compare(one, one).summary == "same: of 4 cells 4 same"


def test_cells_that_only_one_sweep_has_are_named() -> None:
    c = vg.compare(grid(), grid() + vg.sweep(vg.MLP(depth=7, width=16), activation=["relu"], depth=[7], seeds=4))
    assert c.only == ((), ("depth 7, activation relu",))
    assert (c.verdict, len(c.cells)) == ("same", 4)
    assert "only the second has 1 of the cells: depth 7, activation relu" in " ".join(str(c).split())


def test_diagnoses_of_sweeps_are_compared_as_the_sweeps() -> None:
    one, other = grid(), grid(init="xavier_normal")
    assert str(vg.compare(vg.diagnose(one), vg.diagnose(other))) == str(vg.compare(one, other))


# Trainings


def test_a_lower_final_loss_is_better_and_the_faster_one_is_told() -> None:
    c = vg.compare(a_run("sigmoid"), a_run())
    assert (c.verdict, c.fields) == ("better", {"activation": ("sigmoid", "tanh")})
    final = measure(c, "final loss")
    assert final.before == pytest.approx(a_run("sigmoid").final_loss.mean(), rel=1e-12)
    assert final.beyond
    speed = next(m for m in c.measures if m.name.startswith("steps to a loss of "))
    assert speed.after < speed.before <= 150
    assert f"final loss {final.before:.4g} before and {final.after:.4g} after" in c.summary
    assert f"is reached in {speed.after:.0f} steps instead of {speed.before:.0f}" in c.summary


def test_other_seeds_of_one_training_are_no_difference() -> None:
    c = vg.compare(a_run(), a_run(seed=3))
    assert c.verdict == "same"
    assert "noise of the seeds" in c.summary
    assert "trained with seeds 0 to 2 and seeds 3 to 5" in c.notes


def test_a_recipe_is_compared_field_by_field_and_the_verdict_comes_first() -> None:
    x, y = vg.data.digits()
    bad = vg.train(TANH, x, y, steps=150, seeds=3, optimizer="sgd(lr=1e6)", clip=None)
    c = vg.compare(a_run(), vg.diagnose(bad))
    assert c.fields == {"optimizer": ("adam", "sgd(lr=1000000)")}
    assert c.verdict == "worse"
    assert vg.compare(bad, a_run()).verdict == "better"


def test_losses_that_diverge_differ_however_far_apart_their_seeds_are() -> None:
    x, y = vg.data.digits()
    rates = (f"sgd(lr={rate})" for rate in (1e9, 0.1))
    bad, good = (vg.train(TANH.replace(depth=3), x, y, steps=30, seeds=3, optimizer=rate) for rate in rates)
    c = vg.compare(bad, good)
    assert noise.measured("loss", bad.final_loss, good.final_loss).beyond is False  # by the losses themselves
    assert measure(c, "final loss").differs
    assert re.search(r"final loss [\d.e+]+ before and [\d.]+ after, .* less", c.summary)


def test_losses_of_different_data_are_not_compared() -> None:
    x, y = vg.data.digits()
    c = vg.compare(a_run(), vg.train(TANH, x / 2, y, steps=150, seeds=3))
    assert "trained on different data: their losses are not compared" in c.notes
    assert not any(m.name.startswith("steps to") for m in c.measures)
    assert "final loss" not in c.summary


def test_sweeps_of_trainings_are_compared_cell_by_cell() -> None:
    x, y = vg.data.digits()
    one, other = (
        vg.train_sweep(TANH.replace(depth=depth), x, y, steps=60, optimizer="sgd", lr=[1e-5, 0.1]) for depth in (2, 3)
    )
    c = vg.compare(one, other)
    assert c.names == ("lr 1e-05", "lr 0.1")
    assert c.fields == {"depth": (2, 3)}


# What is refused


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: vg.compare(SIGMOID, grid(), seeds=2), "one kind: a is a net, and b is a sweep of nets"),
        (lambda: vg.compare(a_run(), SIGMOID), "one kind: a is a training, and b is a net"),
        (lambda: vg.compare(vg.probe(SIGMOID), vg.probe(SIGMOID), seeds=3), "seeds: a and b are measured already"),
        (lambda: vg.compare(SIGMOID, RELU, sedes=3), "unknown option 'sedes' (did you mean 'seeds'?)"),
        (
            lambda: vg.compare(SIGMOID, vg.diagnose(RELU, rules="sagemaker")),
            "b was judged by the rules of sagemaker, and compare takes vgcore's",
        ),
        (
            lambda: vg.compare(grid(), vg.sweep(SIGMOID, depth=[7, 8], seeds=2)),
            "no cell in common: a has 4, such as depth 2, activation relu, and b 2, such as depth 7, activation sig",
        ),
        (lambda: vg.compare(SIGMOID, 3), "b: subject must be a Probe"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(make: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(words)):
        make()


# As text, as data, as a file


def every() -> list[vg.Comparison]:
    return [
        nets(),
        vg.compare(SIGMOID, SIGMOID.replace(depth=9, skip="residual"), seeds=2),
        vg.compare(grid(), grid(init="xavier_normal")),
        vg.compare(a_run("sigmoid"), a_run()),
        vg.compare(vg.RNN(6, 8, cell="lstm"), vg.RNN(9, 8), seeds=2),
        vg.compare(vg.Transformer(2, 8, tokens=4), vg.Transformer(2, 8, tokens=4, norm=None), seeds=2),
    ]


def test_what_is_printed_fits_80_columns_and_what_is_handed_on_is_plain() -> None:
    for c in every():
        lines = str(c).splitlines()
        assert max(map(len, lines)) <= 80, str(c)
        assert "Left out" not in str(c)
        assert repr(c).startswith(f"Comparison('{c.verdict}', ")
        plain = json.loads(json.dumps(outputs.plain(c.to_dict())))
        assert (plain["verdict"], plain["summary"]) == (c.verdict, c.summary)
        again = pickle.loads(pickle.dumps(c))
        assert str(again) == str(c)


@pytest.mark.parametrize("ending", [".html", ".md"])
def test_a_report_says_what_is_printed(ending: str, tmp_path: Path) -> None:
    for i, c in enumerate(every()):
        c.report(tmp_path / f"{i}{ending}")
        text = (tmp_path / f"{i}{ending}").read_text(encoding="utf-8")
        assert c.summary.partition(";")[2].split(";")[0].replace("->", "-&gt;" if ending == ".html" else "->") in text


# GitHub


def unescaped(text: str) -> str:
    for sign, escape in reversed(github.IN_PROPERTIES.items()):
        text = text.replace(escape, sign)
    return text


@given(st.text(), st.text(), st.text(min_size=1))
def test_an_annotation_is_one_line_whose_parts_come_back(title: str, sentence: str, file: str) -> None:
    line = github.annotation("warning", title, sentence, file)
    assert "\n" not in line
    assert "\r" not in line
    found = re.fullmatch(r"::warning file=([^,:]*),title=([^,:]*)::(.*)", line, re.DOTALL)
    assert found is not None
    assert [unescaped(part) for part in found.groups()] == [file, title, sentence]


def test_annotations_of_a_diagnosis_have_the_levels_of_its_findings() -> None:
    d = vg.diagnose(SIGMOID, seeds=4)
    head, *lines = github.diagnosis(d, "nets/a.onnx")
    assert head.startswith("::error file=nets/a.onnx,title=vgcore%3A vanishing (backward)%2C collapsed::")
    levels = {"critical": "error", "warning": "warning", "info": "notice"}
    assert [line.split()[0] for line in lines] == [f"::{levels[f.severity]}" for f in d.findings]
    assert "%0Aremedy: " in lines[0]
    assert [*github.diagnosis(vg.diagnose(RELU, seeds=4))] == [
        f"::notice title=vgcore%3A healthy::{vg.diagnose(RELU, seeds=4).summary}"
    ]


def test_a_sweep_has_an_annotation_for_each_cell_with_a_finding() -> None:
    d = vg.diagnose(grid(init="xavier_normal"))
    _, *lines = github.diagnosis(d)
    assert len(lines) == sum(cell.severity is not None for cell in d.cells)
    assert any(line.startswith("::error title=vgcore%3A depth 30%2C activation relu::") for line in lines)


# In a shell


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("results")
    grid().save(found / "before.csv")
    grid(init="xavier_normal").save(found / "after.json")
    vg.sweep(vg.MLP(depth=2, width=16), depth=[2, 30], activation=["relu", "tanh"], seeds=4, store=found / "before.vg")
    x, y = vg.data.digits()
    for name, steps in (("few.vg", 20), ("many.vg", 150)):
        vg.train_sweep(TANH, x, y, steps=steps, lr=[0.01], seeds=4, store=found / name)
    for name, spec in (("sigmoid", SIGMOID), ("relu", RELU)):
        (found / f"{name}.json").write_text(spec.to_json())
        arrays: dict[str, Any] = spec.init(seed=0).state_dict()
        np.savez(found / f"{name}.npz", **arrays)
        vg.sweep(spec.replace(in_features=64, out_features=10), seeds=2, x=x, y=y).save(found / f"{name}-digits.csv")
    few: dict[str, Any] = spec.replace(depth=6, in_features=9, out_features=2).init(seed=0).state_dict()
    np.savez(found / "few.npz", **few)
    a_run().save(found / "run.csv")
    (found / "wide.json").write_text('{"depth": 3}')
    (found / "latin.json").write_bytes(b'{"net": "\xe9"}')
    return found


def unruled(text: str) -> list[str]:
    """The lines of a text without the rules of its tables, and without indents."""
    return [line.strip() for line in text.splitlines() if line.strip(" -─")]


FILES = ("before.csv", "after.json")


def of_files(a: Any, b: Any, *, names: tuple[str, str]) -> vg.Comparison:
    """A comparison that says which files it is of."""
    found = vg.compare(a, b)
    return dataclasses.replace(found, notes=(f"the first is {names[0]}, the second {names[1]}", *found.notes))


def test_the_shell_compares_what_it_wrote_and_returns_1_where_it_is_worse(folder: Path) -> None:
    worse = run("compare", *FILES, cwd=folder)
    expected = of_files(*(vg.read_sweep(folder / name) for name in FILES), names=FILES)
    assert (worse.returncode, unruled(worse.stdout)) == (1, unruled(str(expected)))
    better = run("compare", "after.json", "before.vg", cwd=folder)
    assert (better.returncode, better.stdout.split(":")[0]) == (0, "better")
    assert run("compare", "before.csv", "before.vg", cwd=folder).returncode == 0


def test_the_shell_compares_trainings_specs_and_nets(folder: Path) -> None:
    assert run("compare", "few.vg", "many.vg", cwd=folder).stdout.startswith("better: ")
    specs = run("compare", "relu.json", "sigmoid.json", cwd=folder)
    assert unruled(specs.stdout) == unruled(str(of_files(RELU, SIGMOID, names=("relu.json", "sigmoid.json"))))
    arrays = run("compare", "few.npz", "few.npz", "--activation", "relu", cwd=folder)
    assert (arrays.returncode, arrays.stdout.split(";")[0]) == (0, "same: healthy")
    assert run("compare", "relu.npz", "relu.npz", "--spec", "relu.json", cwd=folder).stdout.startswith("same: ")


def test_the_shell_judges_what_was_measured_on_data_with_the_data(folder: Path) -> None:
    files = ["relu-digits.csv", "sigmoid-digits.csv"]
    without = run("compare", *files, cwd=folder)
    assert without.returncode == 2
    assert "give --data" in without.stderr
    done = run("compare", *files, "--data", "digits", cwd=folder)
    assert (done.returncode, done.stdout.split(":")[0]) == (1, "worse")
    assert "first loss" in done.stdout


def test_the_shell_writes_a_page_json_and_annotations(folder: Path) -> None:
    files = ["before.csv", "after.json"]
    done = run("compare", *files, "--out", "page.html", cwd=folder)
    assert (done.returncode, done.stderr) == (1, "wrote page.html\n")
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert "<table>" in page
    assert "the first is before.csv, the second after.json" in page
    again = run("compare", *files, "--out", "page.html", cwd=folder)
    assert (again.returncode, again.stdout) == (2, "")
    assert "'page.html' is there already" in again.stderr
    for form in (["--json"], ["--format", "json"]):
        assert strict_json(run("compare", *files, *form, cwd=folder).stdout)["verdict"] == "worse"
    head, *cells = run("compare", *files, "--format", "github", cwd=folder).stdout.splitlines()
    assert head.startswith("::error file=after.json,title=vgcore compare%3A worse::worse: of 4 cells ")
    assert all(line.startswith("::error file=after.json,title=vgcore compare%3A depth ") for line in cells)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["before.csv"], ["missing argument 'B'"]),
        (["before.csv", "nowhere.csv"], ["cannot read 'nowhere.csv': there is no such file", "wrote by --out"]),
        (["before.csv", "notes.txt"], ["cannot compare 'notes.txt'", ".csv, .json, .parquet", ".onnx"]),
        (["before.csv", "run.csv"], ["cannot read 'run.csv' as a saved sweep", "wrote by --out"]),
        (["before.csv", "relu.json"], ["a is a sweep of nets, and b is a net"]),
        (["before.csv", "few.vg"], ["a is a sweep of nets, and b is a training"]),
        (["before.csv", "after.json", "--out", "page.pdf"], [".html or .md", "page.pdf"]),
        (["before.csv", "after.json", "--format", "githb"], ["unknown format 'githb'", "'github'"]),
        (["before.csv", "after.json", "--json", "--format", "github"], ["--json and --format github are forms"]),
        (["before.csv", "after.json", "--activation", "relu"], ["go with arrays, .npz or .safetensors"]),
        (["before.csv", "after.json", "--spec", "relu.json"], ["go with arrays, .npz or .safetensors"]),
        (["before.csv", "wide.json"], ["wide.json holds no spec", "spec.to_json() writes one"]),
        (["before.csv", "latin.json"], ["cannot read 'latin.json' as a saved sweep", "wrote by --out"]),
        (["relu.npz", "relu.npz", "--target", "y"], ["--target is a column of --data"]),
    ],
)
def test_the_shell_refuses_what_it_cannot_compare_in_one_line(
    folder: Path, arguments: list[str], words: list[str]
) -> None:
    done = run("compare", *arguments, cwd=folder)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done
    for word in words:
        assert word in done.stderr


def test_diagnose_prints_annotations(folder: Path) -> None:
    options = ["--depth", "20", "--width", "32", "--activation", "sigmoid", "--seeds", "4"]
    done = run("diagnose", *options, "--format", "github")
    assert (done.returncode, done.stdout.splitlines()) == (1, [*github.diagnosis(vg.diagnose(SIGMOID, seeds=4))])
    of_file = run("diagnose", "sigmoid.npz", "--spec", "sigmoid.json", "--format", "github", cwd=folder)
    assert of_file.stdout.startswith("::error file=sigmoid.npz,title=vgcore%3A vanishing")
    assert run("diagnose", *options, "--format", "json") == run("diagnose", *options, "--json")
    assert run("diagnose", *options, "--format", "text") == run("diagnose", *options)
    refused = run("diagnose", *options, "--json", "--format", "github")
    assert refused.returncode == 2
    assert "--json and --format github are forms of one thing; give one of them" in refused.stderr
