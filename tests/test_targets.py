"""Targets as callers write them: numbers, class ids, names of classes, one-hot rows, and the loss that they are for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import vgcore as vg
from vgcore.judge.foreign import PRESETS

X = np.random.default_rng(0).standard_normal((12, 6))
NUMBERS = np.linspace(-1, 1, 12)
IDS = np.arange(12) % 3
NAMES = np.array(["cat", "dog", "owl"])[IDS]
HOT = np.eye(3)[IDS]


def net(outputs: int) -> vg.MLP:
    return vg.MLP(depth=3, width=6, out_features=outputs, activation="tanh")


def measured(outputs: int, y: Any, loss: str | None = None) -> vg.Probe:
    return vg.probe(net(outputs), x=X, y=y, loss=loss, seeds=2, batch=9)


def same(one: vg.Probe, other: vg.Probe) -> bool:
    columns = ("log10_z_rms", "log10_delta_rms", "log10_wgrad_norm")
    return one.loss == other.loss and all(np.array_equal(getattr(one, c), getattr(other, c)) for c in columns)


# Numbers


@pytest.mark.parametrize(
    "written",
    [
        NUMBERS,
        NUMBERS.astype("float32").astype("float64"),
        NUMBERS.tolist(),
        NUMBERS[::-1][::-1],
        pd.Series(NUMBERS),
        pd.Series(NUMBERS, dtype="Float64"),
        pd.DataFrame({"price": NUMBERS}),
        pl.Series(NUMBERS),
    ],
)
def test_floats_without_a_loss_are_numbers_for_the_mean_squared_error(written: Any) -> None:
    column = np.asarray(written, dtype=np.float64).reshape(-1, 1)
    assert same(measured(1, written), measured(1, column, "mse"))


@pytest.mark.parametrize("loss", ["mse", "half_mse", "mae", "huber(0.5)"])
def test_one_number_a_sample_is_for_one_output(loss: str) -> None:
    assert same(measured(1, NUMBERS, loss), measured(1, NUMBERS[:, None], loss))
    assert same(measured(1, IDS, loss), measured(1, IDS[:, None].astype(float), loss))


def test_truth_is_a_number_or_a_class_as_the_loss_says() -> None:
    truth = IDS > 0
    assert same(measured(1, truth, "bce_with_logits"), measured(1, truth[:, None].astype(float), "bce_with_logits"))
    assert same(measured(2, truth), measured(2, truth.astype(int), "cross_entropy"))


@pytest.mark.parametrize("y", [NUMBERS, IDS.astype(float), IDS.astype("float32")])
def test_floats_for_several_outputs_are_refused_with_what_to_do(y: Any) -> None:
    message = r"y must be of shape \(batch, outputs\) = \(12, 3\), got shape \(12,\).*out_features=1.*cross_entropy"
    with pytest.raises(ValueError, match=message):
        measured(3, y)
    with pytest.raises(ValueError, match=message):
        net(3).init().gradients(X, y)


def test_one_number_too_few_is_refused() -> None:
    with pytest.raises(ValueError, match=r"y must be of shape .* = \(12, 1\), got \(11, 1\)"):
        measured(1, NUMBERS[:-1])


# Classes


@pytest.mark.parametrize(
    "written",
    [
        IDS.astype(float),
        IDS.astype("float32"),
        IDS.astype("uint8"),
        IDS[:, None],
        IDS.astype(object),
        HOT,
        HOT.astype(int),
        HOT.astype(bool),
        HOT.tolist(),
        pd.Series(IDS),
        pd.Series(IDS, dtype="Int64"),
        pd.DataFrame({"kind": IDS}),
        pd.get_dummies(pd.Series(NAMES)),
        pl.Series(IDS),
        NAMES,
        NAMES[:, None],
        NAMES.astype("S"),
        NAMES.astype(object),
        NAMES.tolist(),
        pd.Series(NAMES),
        pd.Series(NAMES, dtype="category"),
        pl.Series(NAMES.tolist()),
    ],
)
def test_classes_are_the_same_however_they_are_written(written: Any) -> None:
    assert same(measured(3, written, "cross_entropy"), measured(3, IDS, "cross_entropy"))


@pytest.mark.parametrize("y", [IDS, IDS.tolist(), NAMES, NAMES.tolist(), HOT, HOT.astype(bool), IDS > 0])
def test_classes_without_a_loss_are_for_cross_entropy(y: Any) -> None:
    assert same(measured(3, y), measured(3, y, "cross_entropy"))


@pytest.mark.parametrize("y", [HOT * 0.5, HOT + np.roll(HOT, 1, axis=1), np.zeros((12, 3)), HOT * 1.5 - 0.5])
def test_rows_that_are_not_one_hot_are_numbers(y: Any) -> None:
    assert measured(3, y).loss == "mse"
    with pytest.raises(ValueError, match=r"y must be one-hot .* a single 1 .* but y\[0\] is \[.*give class ids"):
        measured(3, y, "cross_entropy")


def test_names_get_ids_in_their_sorted_order() -> None:
    y, ids = ["b", "B", "a", "10", "9", "b"], [4, 2, 3, 0, 1, 4]
    start = net(5).init()
    np.testing.assert_array_equal(
        start.gradients(X[:6], y).preactivations[0], start.gradients(X[:6], ids, loss="cross_entropy").preactivations[0]
    )


@pytest.mark.parametrize(
    ("outputs", "y", "error", "message"),
    [
        (2, NAMES, ValueError, r"y names 3 classes, but the net has outputs=2; set out_features=3"),
        (
            2,
            IDS,
            ValueError,
            r"y\[2\] must be a class id below 2, .* got 2; set out_features=3, or choose another loss",
        ),
        (
            1,
            IDS,
            ValueError,
            r"y\[1\] must be a class id below 1, .*'mse' for numbers or 'bce_with_logits' for 0 and 1",
        ),
        (3, NAMES[:-1], ValueError, r"y must be of shape \(12,\), one class id a sample of x, got \(11,\)"),
        (3, [*NAMES[:-1], None], TypeError, r"classes by name must all be words, but y\[11\] is None"),
        (3, [*NAMES[:-1], 3], TypeError, r"classes by name must all be words, but y\[11\] is 3"),
        (3, pd.Series([*NAMES[:-1], None]), TypeError, r"classes by name must all be words, but y\[11\] is "),
        (
            3,
            np.array([NAMES, NAMES]).T,
            ValueError,
            r"y must be of shape \(batch,\), one class id a sample.* \(12, 2\)",
        ),
        (3, IDS.astype("M8[D]"), TypeError, r"y must be an array of .*, got dtype datetime64\[D\]"),
        (3, [[1], [1, 2]], ValueError, r"y must be an array: "),
    ],
)
def test_classes_that_a_net_cannot_have_are_refused(outputs: int, y: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        measured(outputs, y)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (NUMBERS, ValueError, r"y must be class ids, whole numbers, with loss='cross_entropy', but y\[1\] is -0\.8"),
        (np.where(IDS == 1, np.nan, IDS), ValueError, r"whole numbers, .* but y\[1\] is NaN"),
        (np.where(IDS == 1, np.inf, IDS), ValueError, r"whole numbers, .* but y\[1\] is inf"),
        (-IDS.astype(float), ValueError, r"y\[1\] must be an integer from 0 to .*, got -1"),
        (np.eye(4)[IDS], ValueError, r"one-hot, \(12, 3\), got shape \(12, 4\)"),
        (HOT[:-1], ValueError, r"one-hot, \(12, 3\), got shape \(11, 3\)"),
    ],
)
def test_what_names_no_classes_is_refused_by_cross_entropy(y: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        measured(3, y, "cross_entropy")


@pytest.mark.parametrize("y", [NAMES, NAMES.astype(object), NAMES.tolist()])
def test_names_are_no_numbers(y: Any) -> None:
    with pytest.raises(
        TypeError, match=r"y must be an array of real numbers, .* classes by name go with .*cross_entropy"
    ):
        measured(3, y, "mse")


def test_columns_of_words_in_x_are_refused_with_what_to_do() -> None:
    frame = pd.DataFrame({"size": [1.0, 2.0], "colour": ["red", "blue"]})
    with pytest.raises(TypeError, match=r"x must be an array of real numbers, got dtype object; .* one-hot"):
        vg.probe(vg.MLP(depth=1, width=2), x=frame)


# Whoever is asked


@pytest.mark.parametrize(
    ("outputs", "y", "loss"), [(1, NUMBERS, "mse"), (3, NAMES, "cross_entropy"), (3, HOT, "cross_entropy")]
)
@pytest.mark.parametrize(
    "used",
    [
        lambda spec, y: vg.probe(spec, x=X, y=y, seeds=2),
        lambda spec, y: vg.probe(spec.init(), x=X, y=y, seeds=1),
        lambda spec, y: vg.sweep(spec, depth=[2, 3], x=X, y=y, seeds=2)[1],
        lambda spec, y: vg.diagnose(spec, x=X, y=y, seeds=2).probe,
        lambda spec, y: vg.advise(spec, (X, y), seeds=2).before.probe,
        lambda spec, y: vg.testing.assert_trainable(spec, x=X, y=y, seeds=2, fail_on="critical").probe,
    ],
)
def test_a_loss_may_be_left_out_everywhere(
    used: Callable[[vg.MLP, Any], vg.Probe], outputs: int, y: Any, loss: str
) -> None:
    assert used(net(outputs), y).loss == loss


@pytest.mark.parametrize("rules", PRESETS)
def test_other_tools_see_the_classes_of_all_rows_in_every_batch(rules: str) -> None:
    given: dict[str, Any] = {"x": X, "rules": rules, "seeds": 3, "batch": 2}
    by_name, by_id = (vg.diagnose(net(3), y=y, **given) for y in (NAMES, IDS))
    assert by_name.to_dict() == by_id.to_dict()


def test_gradients_take_what_a_probe_takes() -> None:
    one, several = net(1).init(), net(3).init()
    assert one.gradients(X, NUMBERS).loss == one.gradients(X, NUMBERS[:, None], loss="mse").loss
    assert several.gradients(X, NAMES).loss == several.gradients(X, IDS, loss="cross_entropy").loss
    assert several.gradients(X, HOT).loss == several.gradients(X, IDS).loss
