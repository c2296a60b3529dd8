"""Sequences as data: problems with their chance levels, tables in long form, and samples by steps or flat."""

from __future__ import annotations

import itertools
import math
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vgcore as vg
from test_cli import run, strict_json
from vgcore import _core, data
from vgcore.judge.inputs import Inputs
from vgcore.model.plan import Plan

SEEDS = st.integers(0, 2**64 - 1)


def loss_of(problem: data.Sequences, outputs: Any) -> float:
    """The loss of outputs that are the same for every sequence, as the core works it out, step by step."""
    y = problem.y.reshape(-1) if problem.y.dtype.kind == "i" else problem.y
    rows = np.broadcast_to(outputs, (len(problem.x), *np.shape(outputs))).reshape(len(y), -1)
    value: float = _core.loss_gradient(problem.loss, rows.astype(np.float64), y)[0]
    return value


# Chance levels


@pytest.mark.parametrize(("target", "best", "chance"), [("sum", 1.0, 1 / 6), ("mean", 0.5, 1 / 24)])
def test_chance_of_adding_is_the_variance_of_the_target(target: Any, best: float, chance: float) -> None:
    problem = data.adding(4, 40_000, seed=1, target=target)
    assert problem.chance == chance
    squares = (problem.y - best) ** 2
    assert abs(loss_of(problem, [best]) - chance) < 5 * squares.std() / math.sqrt(len(squares))
    # Of the law: the sum of two numbers has the variance 2/12, their mean a quarter of it.
    assert problem.chance == pytest.approx(2 / 12 / (1 if target == "sum" else 4), rel=1e-15)


@pytest.mark.parametrize(("delay", "chance"), [(100, 0.173287), (500, 0.039989), (2000, 0.010294)])
def test_chance_of_copying_is_that_of_the_paper(delay: int, chance: float) -> None:
    assert round(data.copy(delay, 1).chance, 6) == chance


def test_chance_of_copying_is_reached_by_blanks_and_a_guess() -> None:
    problem = data.copy(7, 50)
    logits = np.full((27, 9), -1000.0)
    logits[:-10, 8] = logits[-10:, :8] = 0.0
    assert loss_of(problem, logits) == pytest.approx(problem.chance, rel=1e-12)


@pytest.mark.parametrize("convention", ["code", "paper"])
@pytest.mark.parametrize(("bits", "chance"), [(2, math.log(4)), (3, math.log(8))])
def test_chance_of_temporal_order_is_an_even_guess(bits: Any, chance: float, convention: Any) -> None:
    problem = data.temporal_order(20, 50, bits=bits, convention=convention)
    assert problem.chance == pytest.approx(chance, rel=1e-15)
    assert loss_of(problem, np.zeros(2**bits)) == pytest.approx(problem.chance, rel=1e-12)
    assert problem.outputs == 2**bits


def test_classes_of_temporal_order_are_all_as_likely() -> None:
    for bits in (2, 3):
        found = np.bincount(data.temporal_order(10, 8000, seed=3, bits=bits).y, minlength=2**bits)
        share = 2.0**-bits
        assert (abs(found - 8000 * share) < 5 * math.sqrt(8000 * share * (1 - share))).all()


def test_chance_of_the_digits_is_the_entropy_of_their_classes() -> None:
    problem = data.sequential_digits()
    shares = np.bincount(problem.y) / 1797
    assert problem.chance == pytest.approx(loss_of(problem, np.log(shares)), rel=1e-12)
    assert problem.chance < math.log(10)


@given(seed=SEEDS, steps=st.integers(2, 12), shift=st.floats(-1, 1))
def test_no_constant_is_expected_to_do_better_than_chance(seed: int, steps: int, shift: float) -> None:
    problem = data.adding(steps, 2000, seed)
    loss = loss_of(problem, [1.0 + shift])
    # The mean square about 1 + shift is that about 1, and shift^2, less twice the shift of the mean.
    drift = 2 * shift * float(problem.y.mean() - 1)
    assert loss == pytest.approx(loss_of(problem, [1.0]) + shift**2 - drift, rel=1e-9, abs=1e-12)


# What the sequences are


@given(seed=SEEDS, steps=st.integers(2, 60))
def test_of_adding_one_number_is_marked_in_each_half(seed: int, steps: int) -> None:
    x, y = data.adding(steps, 20, seed)
    marks = x[..., 1]
    assert {*np.unique(marks)} <= {0.0, 1.0}
    assert (marks[:, : steps // 2].sum(axis=1) == 1).all()
    assert (marks.sum(axis=1) == 2).all()
    assert (x[..., 0] >= 0).all()
    assert (x[..., 0] < 1).all()
    np.testing.assert_array_equal((marks * x[..., 0]).sum(axis=1), y[:, 0])


@given(seed=SEEDS, delay=st.integers(1, 40))
def test_of_copying_the_symbols_come_again_after_the_delimiter(seed: int, delay: int) -> None:
    problem = data.copy(delay, 9, seed)
    ids = problem.x.argmax(axis=2)
    assert problem.steps == delay + 20
    assert (problem.x.sum(axis=2) == 1).all()
    assert (ids[:, :10] < 8).all()
    assert (ids[:, 10 : 9 + delay] == 8).all()
    assert (ids[:, 9 + delay] == 9).all()
    assert (ids[:, 10 + delay :] == 8).all()
    np.testing.assert_array_equal(problem.y[:, -10:], ids[:, :10])
    assert (problem.y[:, :-10] == 8).all()


@pytest.mark.parametrize(
    ("bits", "convention", "windows"),
    [(2, "code", (10, 50)), (2, "paper", (10, 40)), (3, "code", (10, 30, 60)), (3, "paper", (10, 30, 60))],
)
def test_of_temporal_order_the_marks_stand_in_their_windows(bits: Any, convention: Any, windows: Any) -> None:
    problem = data.temporal_order(100, 3000, seed=5, bits=bits, convention=convention)
    ids = problem.x.argmax(axis=2)
    places = np.nonzero(ids < 2)[1].reshape(-1, bits)
    for place, first in zip(places.T, windows, strict=True):
        assert {*place.tolist()} == {*range(first, first + 10)}
    marks = ids[np.arange(len(ids))[:, np.newaxis], places]
    np.testing.assert_array_equal(problem.y, sum(marks[:, bit] << bit for bit in range(bits)))
    assert {*ids[ids >= 2].tolist()} == {2, 3, 4, 5}


def test_digits_come_by_pixels_by_rows_and_in_another_order() -> None:
    pixels, classes = data.digits()
    shapes: dict[Any, tuple[int, ...]] = {"pixel": (1797, 64, 1), "row": (1797, 8, 8)}
    for by, shape in shapes.items():
        x, y = data.sequential_digits(by=by)
        assert x.shape == shape
        np.testing.assert_array_equal(x.reshape(1797, 64), pixels)
        np.testing.assert_array_equal(y, classes)
    one, other = (data.sequential_digits(permuted=seed).x[..., 0] for seed in (0, 1))
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(np.sort(one, axis=1), np.sort(pixels, axis=1))


def test_the_numbers_of_a_seed_stay_as_they_are() -> None:
    assert data.adding(4, 1, seed=7).y.tolist() == [[1.0987606353868538]]
    assert data.copy(1, 1, seed=7).y[0, -10:].tolist() == [5, 7, 6, 1, 2, 6, 0, 6, 6, 3]
    assert data.temporal_order(10, 6, seed=7).y.tolist() == [3, 3, 3, 3, 1, 1]


@pytest.mark.parametrize("make", [data.adding, data.copy, data.temporal_order])
def test_more_sequences_begin_with_the_same_ones(make: Any) -> None:
    few, many = make(12, 3, 9), make(12, 30, 9)
    np.testing.assert_array_equal(many.x[:3], few.x)
    np.testing.assert_array_equal(many.y[:3], few.y)
    assert not np.array_equal(make(12, 3, 10).x, few.x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.adding(1, 5), "steps must be an integer from 2 to"),
        (lambda: data.adding(5, 0), "n must be an integer from 1 to"),
        (lambda: data.adding(5, 1, -1), "seed must be an integer from 0 to"),
        (lambda: data.adding(5, 1, target="product"), "unknown target 'product'; choose from: sum, mean"),  # type: ignore[arg-type]
        (lambda: data.copy(0, 5), "delay must be an integer from 1 to"),
        (lambda: data.temporal_order(9, 5), "steps must be an integer from 10 to"),
        (lambda: data.temporal_order(10, 5, bits=4), "bits must be an integer from 2 to 3, got 4"),  # type: ignore[arg-type]
        (lambda: data.temporal_order(10, 5, convention="pape"), "unknown convention 'pape' (did you mean 'paper'?)"),  # type: ignore[arg-type]
        (lambda: data.sequential_digits(by="column"), "unknown by 'column'; choose from: pixel, row"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_problem_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_more_than_there_is_memory_for_is_refused_first() -> None:
    with pytest.raises(MemoryError, match="sequences"):
        data.copy(100_000, 10_000_000)


# Samples by steps, and flat

SPEC = vg.MLP(depth=6, width=8, in_features=2, out_features=1, tied=True, inputs="every", activation="tanh")


@pytest.fixture(name="both", scope="module")
def both_fixture() -> tuple[Any, Any, Any]:
    """Sequences as they are, the same flat, and their targets."""
    x, y = data.adding(6, 40)
    return x, x.reshape(40, 12), y


def test_a_probe_of_sequences_is_that_of_the_same_numbers_flat(both: Any) -> None:
    x, flat, y = both
    one, other = vg.probe(SPEC, x=x, y=y), vg.probe(SPEC, x=flat, y=y)
    for name in ("log10_z_rms", "log10_delta_rms", "log10_wgrad_norm", "loss_value"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_training_on_sequences_is_that_on_the_same_numbers_flat(both: Any) -> None:
    x, flat, y = both
    one, other = (vg.train(SPEC, given, y, steps=4, batch=8, validation=0.25) for given in (x, flat))
    np.testing.assert_array_equal(one.loss, other.loss)
    assert one.evaluate(x, y).loss == other.evaluate(flat, y).loss
    for name, tensor in one.replay(3).gradients.parameters.items():
        np.testing.assert_array_equal(tensor, other.replay(3).gradients.parameters[name])
    sweeps = [vg.train_sweep(SPEC, given, y, steps=2, lr=[0.1, 0.01]) for given in (x, flat)]
    for cell, same in zip(*sweeps, strict=True):
        np.testing.assert_array_equal(cell.loss, same.loss)


@pytest.mark.parametrize("rules", ["vgcore", "sagemaker", "neuroscope"])
def test_sequences_are_judged_as_the_same_numbers_flat(both: Any, rules: str) -> None:
    x, flat, y = both
    one, other = (vg.diagnose(SPEC, x=given, y=y, rules=rules) for given in (x, flat))
    assert one.summary == other.summary
    assert [finding.evidence for finding in one.findings] == [finding.evidence for finding in other.findings]


def test_advice_on_sequences_is_that_on_the_same_numbers_flat(both: Any) -> None:
    x, flat, y = both
    large = SPEC.replace(init="normal(1.0)", depth=6)
    one, other = (vg.advise(large, (100 * given + 500, y), budget=30) for given in (x, flat))
    assert [each.change for each in one] == [each.change for each in other]
    scaled = [each for each in one if each.x is not None and "std" in each.change]
    for each in scaled:  # a feature is a column over all of its steps
        np.testing.assert_allclose(np.mean(each.x, axis=(0, 1)), 0, atol=1e-9)  # type: ignore[arg-type]


def test_a_net_and_its_jacobian_take_sequences_or_the_same_numbers_flat(both: Any) -> None:
    x, flat, _ = both
    net = SPEC.init(seed=1)
    np.testing.assert_array_equal(net.forward(x), net.forward(flat))
    one, other = vg.jacobian(net, x=x[0]), vg.jacobian(net, x=flat[0])
    np.testing.assert_array_equal(one.log10_singular_values, other.log10_singular_values)


def test_a_store_keeps_sequences_as_they_were_given(both: Any, tmp_path: Path) -> None:
    x, flat, y = both
    path = tmp_path / "cells.vg"
    made = vg.sweep(SPEC, x=x, y=y, width=[4, 8], seeds=2, store=path)
    again = vg.open_sweep(path)
    np.testing.assert_array_equal(np.asarray(again.cells[0].x), x)
    # The id of data is of their shape too, so flat ones are others.
    other = vg.sweep(SPEC, x=flat, y=y, width=[4, 8], seeds=2, store=path)
    for one, two in zip(made.cells, other.cells, strict=True):
        np.testing.assert_array_equal(one.log10_z_rms, two.log10_z_rms)


def test_a_sequence_of_another_shape_is_refused(both: Any) -> None:
    x, flat, _ = both
    for wrong in (x[:, :3], x.reshape(40, 2, 6), flat[:, :2], x[0, 0]):
        with pytest.raises(ValueError, match=re.escape("(batch, 6, 2), or flat, (batch, 12), got shape")):
            vg.probe(SPEC, x=wrong)
    plain = vg.MLP(depth=2, width=4, in_features=12)
    with pytest.raises(ValueError, match=re.escape("a net without steps takes them flat, as .reshape(40, 12)")):
        vg.probe(plain, x=x)


def test_features_are_judged_as_columns_over_all_steps() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 6, 2)) * [1.0, 500.0]
    (remark, uneven) = Inputs.of(x).remarks
    assert "rms is" in remark
    assert uneven.startswith("the spread of its columns differs")
    x = np.concatenate([rng.normal(size=(50, 6, 1)), np.ones((50, 6, 1))], axis=2)
    x[1] = x[0]
    assert Inputs.of(x).remarks == ("1 of 2 columns is constant", "1 of 50 sequences is a duplicate")
    assert Inputs.of(data.copy(5, 50).x).remarks == (
        "steps are one-hot: the first layer sees one column at a time, of rms 0.316",
    )


def test_a_plan_says_the_steps_of_samples() -> None:
    assert Plan.of(SPEC).series == (6, 2)
    assert Plan.of(vg.MLP(depth=2, width=4)).series is None


def test_evidence_of_drawn_sequences_says_nothing_of_them() -> None:
    found = vg.diagnose(SPEC, seeds=2).evidence.inputs  # type: ignore[union-attr]
    assert math.isnan(found.correlation)
    assert found.remarks == ()


# Tables in long form

LONG = """id,step,size,age,kind
b,1,1.5,2,cat
a,2,3,4,dog
a,1,5,6,dog
b,2,7,8,cat
"""


def write(folder: Path, content: str, name: str = "long.csv") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_long_form_gives_sequences_in_the_order_of_their_names(tmp_path: Path) -> None:
    x, y = data.read(write(tmp_path, LONG), sequence="id", step="step")
    assert x.tolist() == [[[5, 6], [3, 4]], [[1.5, 2], [7, 8]]]
    assert y.tolist() == [1, 0]


@given(order=st.randoms(use_true_random=False))
def test_lines_of_long_form_may_stand_in_any_order(order: random.Random, tmp_path_factory: Any) -> None:
    head, *lines = LONG.splitlines()
    order.shuffle(lines)
    path = write(tmp_path_factory.mktemp("long"), "\n".join([head, *lines]))
    x, y = data.read(path, sequence="id", step="step")
    assert x.tolist() == [[[5, 6], [3, 4]], [[1.5, 2], [7, 8]]]
    assert y.tolist() == [1, 0]


def test_numbers_of_sequences_are_sorted_as_numbers(tmp_path: Path) -> None:
    rows = "".join(f"{number};{step};{number};{number / 2}\n" for number, step in itertools.product((10, 9), (0, 1)))
    x, y = data.read(write(tmp_path, "n;t;x;y\n" + rows), sequence="n", step="t")
    assert x.tolist() == [[[9], [9]], [[10], [10]]]
    assert y.tolist() == [[4.5], [5.0]]


def test_a_target_that_differs_within_a_sequence_is_one_a_step(tmp_path: Path) -> None:
    text = "id,t,x,y\n1,1,0,5\n1,2,0,6\n2,1,0,7\n2,2,0,5\n"
    assert data.read(write(tmp_path, text), sequence="id", step="t")[1].tolist() == [[5, 6], [7, 5]]
    text = text.replace(",6", ",6.5")
    assert data.read(write(tmp_path, text), sequence="id", step="t")[1].tolist() == [[[5], [6.5]], [[7], [5]]]
    words = "id,t,x,y\n1,1,0,b\n1,2,0,a\n2,1,0,c\n2,2,0,a\n"
    assert data.read(write(tmp_path, words), sequence="id", step="t")[1].tolist() == [[1, 0], [2, 0]]


@pytest.mark.parametrize("target", ["age", 3, -2])
def test_the_target_of_long_form_is_any_other_column(tmp_path: Path, target: Any) -> None:
    x, y = data.read(
        write(tmp_path, LONG.replace("cat", "0").replace("dog", "1")), target=target, sequence="id", step="step"
    )
    assert x.tolist() == [[[5, 1], [3, 1]], [[1.5, 0], [7, 0]]]
    assert y.tolist() == [[6, 4], [2, 8]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("id,step,x,y\n", "has a header and no data"),
        ("id,step,x,y\na,1,0,0\na,2,0,0\nb,1,0,0\n", "'b' has steps 1 to 1, where the table has steps 1 to 2; the seq"),
        ("id,step,x,y\na,1,0,0\na,2,0,0\nb,2,0,0\nb,3,0,0\n", "'a' has steps 1 to 2, where the table has steps 1 to 3"),
        ("id,step,x,y\na,1,0,0\na,3,0,0\n", "sequence 'a' lacks step 2; steps are whole numbers without a gap"),
        ("id,step,x,y\na,1,0,0\na,90,0,0\n", "sequence 'a' lacks steps 2 to 89"),
        ("id,step,x,y\na,1,0,0\nb,1,0,0\na,1,2,0\n", "line 4: sequence 'a' has step 1 twice, in line 2 too"),
        ("id,step,x,y\na,1.5,0,0\n", "line 2, column 'step': '1.5' is no step, a whole number"),
        ("id,step,x,y\na,one,0,0\n", "line 2, column 'step': 'one' is no step"),
        ("id,step,x,y\na,inf,0,0\n", "line 2, column 'step': 'inf' is no step"),
        ("id,step,x,y\n ,1,0,0\n", "line 2, column 'id': it names no sequence"),
        ("id,step,x,y\na,1,0\n", "line 2: 3 cells, expected 4 as in line 1"),
        ("id,step,x,y\na,1,red,0\n", "line 2, column 'x': 'red' is not a finite number"),
        ("id,stop,x,y\na,1,0,0\n", "has no column 'step' (did you mean 'stop'?); it has: id, stop, x, y"),
        ("1,2,3,4\n1,3,3,4\n", "has no column 'id'"),
        ("id,step,y\na,1,0\n", "line 1: long form needs a column of the sequence, one of the step, features and a"),
    ],
)
def test_a_bad_table_in_long_form_is_refused_and_the_place_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        data.read(path, sequence="id", step="step")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sequence": "id"}, "sequence and step go together, the columns of long form; got 'id' and None"),
        ({"step": "step"}, "sequence and step go together"),
        ({"sequence": "id", "step": "id"}, "all of them different; got id, step, size, age, kind with sequence='id'"),
        ({"sequence": "id", "step": "step", "target": "id"}, "target must be another column than sequence and step"),
        ({"sequence": "id", "step": "step", "target": 9}, "target must be an integer from -5 to 4, got 9"),
    ],
)
def test_columns_of_long_form_that_do_not_go_together_are_refused(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        data.read(write(tmp_path, LONG), **options)


def test_an_archive_may_hold_sequences(tmp_path: Path) -> None:
    x, path = np.arange(24.0).reshape(4, 3, 2), tmp_path / "series.npz"
    for y, shape in (
        (np.arange(4), (4,)),
        (np.arange(12).reshape(4, 3), (4, 3)),
        (np.arange(12).reshape(4, 3) / 2, (4, 3, 1)),
        (np.ones((4, 3, 2)), (4, 3, 2)),
        (np.ones((4, 2)), (4, 2)),
        (np.array([["a", "b", "a"]] * 4), (4, 3)),
    ):
        np.savez(path, x=x, y=y)
        found = data.read(path)
        np.testing.assert_array_equal(found[0], x)
        assert found[1].shape == shape
    np.savez(path, x=x, y=np.ones((4, 2, 2)))
    with pytest.raises(ValueError, match=r"or a step, \(4, 3\) or \(4, 3, 'k'\) as x has 4 rows, got \(4, 2, 2\)"):
        data.read(path)
    with pytest.raises(ValueError, match="sequence and step name columns of a CSV file in long form"):
        data.read(path, sequence="id", step="step")


# In the shell

FED = ["--tied", "--inputs", "every", "--width", "8", "--seeds", "1"]
COLUMNS = ["--sequence", "id", "--step", "step"]


def test_the_shell_takes_a_table_in_long_form(tmp_path: Path) -> None:
    path = write(tmp_path, LONG)
    done = run("probe", "--data", str(path), *COLUMNS, *FED, "--json")
    assert done.returncode == 0, done.stderr
    (cell,) = strict_json(done.stdout)
    x, y = data.read(path, sequence="id", step="step")
    spec = vg.MLP(depth=2, width=8, in_features=2, out_features=2, tied=True, inputs="every")
    assert cell["log10_delta_rms"] == vg.probe(spec, x=x, y=y, seeds=1).log10_delta_rms.tolist()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([*COLUMNS], ["sequences, 2 steps of 2", "--tied --inputs every"]),
        (["--sequence", "id", *FED], ["sequence and step go together"]),
        ([*COLUMNS, *FED, "--depth", "3"], ["(batch, 3, 2), or flat", "(2, 2, 2)"]),
        (
            [*COLUMNS, *FED, "--target", "size", "--loss", "bce_with_logits"],
            ["line 4, column 'size': the target must be from 0 to 1"],
        ),
    ],
)
def test_the_shell_says_what_sequences_need(tmp_path: Path, options: list[str], said: list[str]) -> None:
    done = run("probe", "--data", str(write(tmp_path, LONG.replace("cat", "0").replace("dog", "1"))), *options)
    assert done.returncode == 2
    for words in said:
        assert words in " ".join(done.stderr.split())


def test_the_shell_names_the_line_of_a_number_that_is_too_large(tmp_path: Path) -> None:
    done = run("probe", "--data", str(write(tmp_path, LONG.replace("a,1,5", "a,1,1e39"))), *COLUMNS, *FED)
    assert done.returncode == 2
    assert "line 4, column 'size': 1e+39 is beyond the range of float32" in " ".join(done.stderr.split())


def test_the_columns_of_long_form_go_with_a_file() -> None:
    for source in ([], ["--data", "digits"]):
        done = run("probe", *COLUMNS, *source, *FED)
        assert done.returncode == 2
        assert "--sequence and --step" in done.stderr
