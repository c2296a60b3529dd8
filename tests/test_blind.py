"""A blind guess is the least loss that a constant output can have, for every loss."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vgcore as vg
from strategies import over_examples
from vgcore.judge.blind import LEAST, blind_guess, first_loss
from vgcore.reference.cases import targets
from vgcore.reference.loss import evaluate

Array: TypeAlias = npt.NDArray[Any]
CALLS = (
    *(name for name in vg.LOSSES if vg.Loss(name).takes_targets),
    *("huber(delta=0.1)", "huber(delta=5)", "cross_entropy(label_smoothing=0.2)"),
)


def least(loss: str, t: Array, outputs: int) -> float:
    """The least loss of a constant output, by descent along its coordinates in ever smaller steps."""

    def at(constant: Array) -> float:
        return evaluate(loss, np.tile(constant, (len(t), 1)), t)[0]

    best = np.zeros(outputs)
    value, step = at(best), 2.0
    while step > 1e-5:
        for column in np.eye(outputs):
            for tried in (best - step * column, best + step * column):
                if at(tried) < value - 1e-15:
                    best, value = tried, at(tried)
                    break
            else:
                continue
            break
        else:
            step /= 2
    return value


def test_every_loss_with_targets_has_a_blind_guess() -> None:
    assert {*LEAST} == {name for name in vg.LOSSES if vg.Loss(name).takes_targets}


@over_examples
@given(
    loss=st.sampled_from(CALLS),
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(2, 12),
    outputs=st.integers(2, 3),
)
def test_no_constant_output_has_a_smaller_loss(loss: str, seed: int, rows: int, outputs: int) -> None:
    t = targets(loss, np.random.default_rng(seed), rows, outputs)
    assert t is not None
    found = blind_guess(loss, t, outputs)
    if found is None:
        assert (t == t[0]).all()
    else:
        assert found == pytest.approx(least(loss, t, outputs), rel=1e-3, abs=1e-4)
        assert found < least(loss, t, outputs) + 1e-12


@pytest.mark.parametrize("loss", CALLS)
def test_a_sum_is_of_the_terms_of_a_run(loss: str) -> None:
    t = targets(loss, np.random.default_rng(0), 12, 3)
    summed = vg.Loss(loss, reduction="sum")
    mean, whole = blind_guess(loss, t, 3), blind_guess(summed, t, 3)
    assert mean is not None
    assert whole is not None
    constant = np.full((12, 3), 0.3)
    terms = evaluate(str(summed), constant, t)[0] / evaluate(loss, constant, t)[0]
    assert whole == pytest.approx(terms * mean)
    assert blind_guess(summed, t, 3, batch=24) == pytest.approx(2 * whole)
    assert blind_guess(loss, t, 3, batch=24) == mean


def test_textbook_values() -> None:
    classes = np.arange(40) % 10
    assert blind_guess("cross_entropy", classes, 10) == pytest.approx(np.log(10))
    assert blind_guess("cross_entropy", classes, 20) == pytest.approx(np.log(10))
    assert blind_guess("bce_with_logits", [0, 1, 1, 0], 1) == pytest.approx(np.log(2))
    assert blind_guess("hinge", [-1, 1, 1, -1], 1) == 1
    assert blind_guess("mse", [1.0, 3.0], 1) == 1


def test_targets_are_read_as_a_probe_reads_them() -> None:
    expected = blind_guess("cross_entropy", [0, 1, 1], 2)
    for y in (["cat", "dog", "dog"], np.array([[1, 0], [0, 1], [0, 1]]), np.array([0.0, 1.0, 1.0]), [[0], [1], [1]]):
        assert blind_guess("cross_entropy", y, 2) == expected
    with pytest.raises(ValueError, match="class id"):
        blind_guess("cross_entropy", [0, 5], 2)


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        ("output_sum", None),
        ("mse", [0.1, 0.1, 0.1]),
        ("cross_entropy", [1, 1, 1]),
        ("cross_entropy(0.1)", [1, 1, 1]),
        ("bce_with_logits", [1, 1, 1]),
        ("hinge", [-1, -1, -1]),
    ],
)
def test_where_nothing_is_to_guess_there_is_no_blind_guess(loss: str, y: Any) -> None:
    outputs = 2 if loss.startswith("cross_entropy") else 1
    assert blind_guess(loss, y, outputs) is None


def test_targets_of_any_size_have_a_blind_guess() -> None:
    assert blind_guess("huber(1e-3)", [0.0, 0.0, 1e12], 1) == pytest.approx(1e-3 * 1e12 / 3)
    assert blind_guess("mse", [1e200, -1e200], 1) == np.inf
    assert blind_guess("mae", [1e-200, -1e-200], 1) == 1e-200


def test_the_first_loss_of_a_probe_is_in_units_of_a_blind_guess() -> None:
    x, y = vg.data.digits()
    spec = vg.MLP(depth=2, width=16, in_features=64, out_features=10)
    for loss in ("cross_entropy", "cross_entropy(reduction=sum)"):
        p = vg.probe(spec, x=x, y=y, loss=loss, batch=50, seeds=3)
        blind = blind_guess(loss, y, 10, batch=50)
        assert first_loss(p) == pytest.approx(p.loss_value.mean() / blind)
    assert first_loss(vg.probe(spec, x=x, batch=50, seeds=1)) is None
    zero = vg.probe(spec.replace(init=["kaiming_normal"] * 2 + ["zeros"]), x=x, y=y, batch=50, seeds=1)
    assert first_loss(zero) == pytest.approx(1, rel=1e-3)
