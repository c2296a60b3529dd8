"""Losses: their formulas, kinks and reductions, against torch's definitions, the twin and other libraries."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vgcore as vg
from rivals import RIVALS, Answer, error, reference_gradients
from strategies import EXAMPLES, losses, over_examples
from vgcore import reference
from vgcore.measure import table
from vgcore.reference.cases import targets
from vgcore.shell import commands

Array = npt.NDArray[Any]

# One layer that hands its input on: what is fed in is what the loss sees, and dL/dx is dL/dy.
WIRE = vg.MLP(depth=1, width=2, activation="linear", init="orthogonal", bias="zeros")


def on_outputs(loss: str | vg.Loss, y: Any, t: Any) -> tuple[float, Array]:
    """Value and dL/dy of a loss at these outputs."""
    y = np.asarray(y, dtype=np.float64)
    state = {"layers.0.weight": np.eye(y.shape[1]), "layers.0.bias": np.zeros(y.shape[1])}
    net = vg.Network.from_state_dict(WIRE.replace(width=y.shape[1]), state)
    found = net.gradients(y, t, loss=loss)
    assert found.loss is not None
    return found.loss, found.preactivations[0]


# --- Formulas ------------------------------------------------------------------------------------

# By hand from the documentation of torch's losses; t = -1 or 1 serves all that take numbers.
Y = np.array([[0.5, -2.0], [3.0, 0.25]])
T = np.array([[1.0, -1.0], [1.0, -1.0]])


@pytest.mark.parametrize(
    ("loss", "terms", "slope"),
    [
        ("mse", [0.25, 1.0, 4.0, 1.5625], [[-1, -2], [4, 2.5]]),
        ("mae", [0.5, 1.0, 2.0, 1.25], [[-1, -1], [1, 1]]),
        ("l1", [0.5, 1.0, 2.0, 1.25], [[-1, -1], [1, 1]]),
        ("huber", [0.125, 0.5, 1.5, 0.75], [[-0.5, -1], [1, 1]]),
        ("huber(delta=0.5)", [0.125, 0.375, 0.875, 0.5], [[-0.5, -0.5], [0.5, 0.5]]),
        ("hinge", [0.5, 0.0, 0.0, 1.25], [[-1, 0], [0, 1]]),
    ],
)
def test_terms_by_element_have_their_textbook_values(loss: str, terms: list[float], slope: Any) -> None:
    value, gradient = on_outputs(vg.Loss(loss, reduction="sum"), Y, T)
    assert value == sum(terms)
    np.testing.assert_array_equal(gradient, slope)
    value, gradient = on_outputs(loss, Y, T)
    assert value == sum(terms) / 4
    np.testing.assert_array_equal(gradient, np.array(slope) / 4)


def test_half_mse_is_averaged_over_the_batch_alone() -> None:
    assert on_outputs("half_mse", Y, T)[0] == 6.8125 / 4
    assert on_outputs("half_mse(reduction=sum)", Y, T)[0] == 6.8125 / 2
    np.testing.assert_array_equal(on_outputs("half_mse", Y, T)[1], (Y - T) / 2)


def test_a_sum_of_outputs_has_the_same_slope_for_every_sample() -> None:
    for loss, value, slope in (("output_sum", 1.75 / 2, 0.5), ("output_sum(reduction=sum)", 1.75, 1.0)):
        found = on_outputs(loss, Y, None)
        assert found[0] == value
        np.testing.assert_array_equal(found[1], np.full((2, 2), slope))


def test_a_sum_of_outputs_starts_a_probe_with_samples_and_without() -> None:
    spec = vg.MLP(depth=4, width=6, out_features=3, activation="tanh")
    x = np.random.default_rng(0).standard_normal((20, 6))
    for batch in (20, 7):
        p = vg.probe(spec, x=x, loss="output_sum", batch=batch, seeds=2, seed=3, dtype="float64")
        assert (p.loss, p.batch, p.reduction) == ("output_sum", batch, "mean over the batch")
    drawn = vg.probe(spec, loss="output_sum", batch=20, seeds=1, seed=3, dtype="float64")
    same = vg.probe(
        spec, x=reference.samples(spec, 3, 20, "float64"), loss="output_sum", seeds=1, seed=3, dtype="float64"
    )
    np.testing.assert_allclose(drawn.log10_delta_rms, same.log10_delta_rms, rtol=1e-12)
    gradients = spec.init(seed=3, dtype="float64").gradients(
        reference.samples(spec, 3, 20, "float64"), loss="output_sum"
    )
    rms = [np.sqrt((g**2).mean()) for g in gradients.preactivations]
    np.testing.assert_allclose(drawn.delta_rms[0], rms, rtol=1e-11)
    cells = vg.sweep(
        spec, loss="output_sum", out_features=[1, 3], depth=[2, 4], batch=20, seeds=1, seed=3, dtype="float64"
    )
    np.testing.assert_array_equal(cells[-1].log10_delta_rms, drawn.log10_delta_rms)


@over_examples
@given(smoothing=st.integers(0, 10), seed=st.integers(0, 1000), over=st.sampled_from(["mean", "sum"]))
def test_smoothed_cross_entropy_is_that_of_the_smoothed_distribution(smoothing: int, seed: int, over: str) -> None:
    rng, eps = np.random.default_rng(seed), smoothing / 10
    batch, classes = int(rng.integers(1, 5)), int(rng.integers(1, 6))
    y, ids = rng.normal(size=(batch, classes)), rng.integers(classes, size=batch)
    q = (1 - eps) * np.eye(classes)[ids] + eps / classes
    p = np.exp(y) / np.exp(y).sum(axis=1, keepdims=True)
    count = batch if over == "mean" else 1
    value, gradient = on_outputs(vg.Loss("cross_entropy", label_smoothing=eps, reduction=over), y, ids)
    assert value == pytest.approx(-(q * np.log(p)).sum() / count, rel=1e-13, abs=1e-15)
    np.testing.assert_allclose(gradient, (p - q) / count, rtol=0, atol=1e-15)


@over_examples
@given(y=st.floats(-30, 30), t=st.floats(0, 1))
def test_bce_is_the_cross_entropy_of_a_sigmoid(y: float, t: float) -> None:
    p, q = 1 / (1 + np.exp(-y)), 1 / (1 + np.exp(y))
    value, gradient = on_outputs("bce_with_logits", [[y]], [[t]])
    assert value == pytest.approx(-t * np.log(p) - (1 - t) * np.log(q), rel=1e-13, abs=1e-15)
    assert gradient[0, 0] == pytest.approx((1 - t) * p - t * q, rel=1e-13, abs=1e-16)


@pytest.mark.parametrize(
    ("loss", "y", "t", "slope"),
    [("mae", 0.25, 0.25, 0.0), ("hinge", 1.0, 1.0, 0.0), ("hinge", -1.0, -1.0, 0.0), ("huber", 3.0, 2.0, 1.0)],
)
def test_slopes_at_kinks_are_the_smallest(loss: str, y: float, t: float, slope: float) -> None:
    assert on_outputs(loss, [[y]], [[t]])[1] == slope
    assert reference.evaluate(loss, np.array([[y]]), np.array([[t]]))[1] == slope


@pytest.mark.parametrize("y", [50.0, 700.0])
@pytest.mark.parametrize("evaluate", [on_outputs, reference.evaluate])
def test_a_nearly_certain_answer_keeps_its_digits(y: float, evaluate: Callable[..., tuple[float, Array]]) -> None:
    value, gradient = evaluate("bce_with_logits", np.array([[y]]), np.array([[1.0]]))
    np.testing.assert_allclose([value, -gradient[0, 0]], np.exp(-y), rtol=1e-13)
    value, gradient = evaluate("cross_entropy", np.array([[y, 0.0]]), np.array([0]))
    np.testing.assert_allclose([value, -gradient[0, 0], gradient[0, 1]], np.exp(-y), rtol=1e-13)


@pytest.mark.parametrize("loss", vg.LOSSES)
def test_huge_outputs_give_no_nan(loss: str) -> None:
    kind = vg.Loss(loss)
    t = (np.array([0]) if kind.takes_classes else np.array([[1.0, 1.0]])) if kind.takes_targets else None
    for y in (1e150, -1e150):
        value, gradient = on_outputs(loss, [[y, 0.0]], t)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


# --- Against twin and rivals ---------------------------------------------------------------------


@pytest.mark.parametrize("rival", [reference_gradients, *RIVALS])
@pytest.mark.parametrize("name", vg.LOSSES)
def test_gradients_of_every_loss_are_those_of_every_rival(name: str, rival: Callable[..., Answer]) -> None:
    @settings(max_examples=max(EXAMPLES // 10, 5))
    @given(loss=losses((name,)), seed=st.integers(0, 2**32))
    def each(loss: vg.Loss, seed: int) -> None:
        spec = vg.MLP(depth=2, width=6, out_features=3, activation="tanh", init="mean_field(1.5, 0.5)")
        net, rng = spec.init(seed=seed, dtype="float64"), np.random.default_rng(seed)
        x, y = rng.standard_normal((7, 6)), targets(str(loss), rng, 7, 3)
        expected = rival(spec, net.state_dict(), x, y=y, loss=str(loss))
        # An odd batch: slopes of one size do not cancel in the readout's bias.
        assert error(net.gradients(x, y, loss=loss), expected) < 1e-10

    each()


# --- Names, texts and reports --------------------------------------------------------------------


def test_a_loss_is_a_kind_like_any_other() -> None:
    loss = vg.Loss("huber", delta=0.5, reduction="sum")
    assert str(loss) == "huber(delta=0.5, reduction=sum)"
    assert loss.params == {"delta": 0.5, "reduction": "sum"}
    assert len({loss, vg.Loss("huber(0.5, sum)"), pickle.loads(pickle.dumps(loss))}) == 1
    assert vg.Loss("l1") == vg.Loss("mae(reduction=mean)")
    assert [vg.Loss(name).takes_classes for name in ("mse", "cross_entropy")] == [False, True]
    assert [name for name in vg.LOSSES if not vg.Loss(name).takes_targets] == ["output_sum"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hube", r"unknown loss 'hube' \(did you mean 'huber'\?\); choose from: mse, half_mse, mae"),
        ("mse(sun)", "loss mse: reduction must be one of mean, sum, got 'sun'"),
        ("huber(0)", "loss huber: delta must be a finite number above 0, got 0"),
        ("cross_entropy(1.5)", "label_smoothing must be a number from 0 to 1, got 1.5"),
        ("mse(reducton=sum)", r"unknown parameter of loss mse 'reducton' \(did you mean 'reduction'\?\)"),
    ],
)
def test_a_bad_loss_is_refused_wherever_it_is_named(text: str, message: str) -> None:
    x = np.ones((3, 2))
    for call in (
        lambda: vg.Loss(text),
        lambda: WIRE.init().gradients(x, x, loss=text),
        lambda: vg.probe(WIRE, x=x, y=x, loss=text),
        lambda: vg.sweep(WIRE, x=x, y=x, loss=text, depth=[1, 2]),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        ("bce_with_logits", [[0, 1], [0.5, 1.5]], r"y\[1, 1\] must be from 0 to 1 with loss bce_with_logits, got 1.5"),
        ("bce_with_logits", [[-0.1, 1], [0.5, 1]], r"y\[0, 0\] must be from 0 to 1 .*, got -0.1"),
        ("output_sum", Y, "loss='output_sum' takes no targets; leave y out"),
        ("hinge(reduction=sum)", [[-1, 1], [0, 1]], r"y\[1, 0\] must be -1 or 1 with loss hinge, got 0"),
    ],
)
def test_targets_that_a_loss_does_not_take_are_refused(loss: str, y: Any, message: str) -> None:
    for call in (
        lambda: WIRE.init().gradients(Y, y, loss=loss),
        lambda: vg.probe(WIRE, x=Y, y=y, loss=loss),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    ("loss", "text", "reduction"),
    [
        ("l1", "mae", "mean over all elements"),
        (vg.Loss("half_mse", reduction="sum"), "half_mse(reduction=sum)", "sum over the batch"),
    ],
)
def test_every_report_of_a_probe_says_loss_and_reduction(loss: Any, text: str, reduction: str) -> None:
    p = vg.probe(WIRE, x=Y, y=T, loss=loss, seeds=1)
    assert (p.loss, p.reduction) == (text, reduction)
    columns = p.to_dict()
    assert (columns["loss"][0], columns["reduction"][0]) == (text, reduction)
    assert table.start(p) == f"{text} loss ({reduction})"
    assert f"{text} loss ({reduction})" in " ".join(vg.plot.layers(p).get_title(loc="left").split())


def test_without_a_loss_there_is_no_reduction() -> None:
    p = vg.probe(WIRE, seeds=1)
    assert (p.loss, p.reduction) == (None, None)
    assert (p.to_dict()["loss"][0], p.to_dict()["reduction"][0]) == ("none", "none")


def test_a_sum_scales_the_gradients_of_a_mean() -> None:
    spec = vg.MLP(depth=3, width=4, out_features=2, activation="tanh")
    x, y = np.random.default_rng(0).standard_normal((16, 4)), np.arange(16) % 2
    mean, total = (vg.probe(spec, x=x, y=y, loss=f"cross_entropy(reduction={over})") for over in ("mean", "sum"))
    np.testing.assert_allclose(total.log10_wgrad_norm - mean.log10_wgrad_norm, np.log10(16), rtol=1e-5)


def test_the_shell_says_loss_and_reduction(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "d.csv"
    path.write_text("a,b\n" + "".join(f"{i},{(-1) ** i}\n" for i in range(9)))

    def run(*options: str) -> str:
        given = ["vgcore", "probe", "--data", str(path), "--depth", "2", "--width", "4", "--seeds", "1", *options]
        monkeypatch.setattr("sys.argv", given)
        with pytest.raises(SystemExit):
            commands.main()
        return capsys.readouterr().out

    assert "hinge(reduction=sum) loss (sum over all elements)" in run("--loss", "hinge(reduction=sum)")
    (cell,) = json.loads(run("--loss", "l1", "--json"))
    assert (cell["loss"], cell["reduction"]) == ("mae", "mean over all elements")
