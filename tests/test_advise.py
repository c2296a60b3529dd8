"""What is advised was run, says what was measured, and comes in the order that it promises."""

import dataclasses
import functools
import json
import math
import re
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

import vgcore as vg
from strategies import fields, needs_samples, over_examples, valid
from vgcore import _core
from vgcore.cure.candidates import Candidates
from vgcore.cure.remedies import FAR
from vgcore.cure.scaling import scaled
from vgcore.cure.search import GRAZING, HARMLESS, SHOWN
from vgcore.judge.blind import blind_guess, first_loss
from vgcore.judge.evidence import Evidence
from vgcore.judge.margin import nearness, ratios
from vgcore.model.mlp import FIELDS
from vgcore.model.spec import Spec
from vgcore.shell import nets

Array: TypeAlias = npt.NDArray[Any]

#: Ten nets that textbooks warn of, with what is wrong with them.
SICK: dict[str, tuple[str, vg.MLP]] = {
    "sigmoid, Xavier": ("vanishing", vg.MLP(depth=50, width=64, activation="sigmoid", init="xavier_normal")),
    "relu, Xavier": ("vanishing", vg.MLP(depth=50, width=64, activation="relu", init="xavier_normal")),
    "relu, as in torch": ("vanishing", vg.MLP(depth=30, width=64, activation="relu", init="torch_default")),
    "relu, large weights": ("exploding", vg.MLP(depth=30, width=64, activation="relu", init="mean_field(sigma_w=2)")),
    "tanh, gain 5/3": ("exploding", vg.MLP(depth=50, width=64, activation="tanh", init="xavier_normal(gain=1.6667)")),
    "plain residual": ("exploding", vg.MLP(depth=100, width=64, skip="residual")),
    "batch norm, no skip": ("exploding", vg.MLP(depth=100, width=64, norm="batch")),
    "chaotic tanh": ("exploding", vg.MLP(depth=50, width=64, activation="tanh", init="mean_field(sigma_w=4)")),
    "dead relu": ("vanishing", vg.MLP(depth=30, width=64, bias="constant(-1)")),
    "narrow and deep": ("vanishing", vg.MLP(depth=200, width=32)),
}
FADING = SICK["relu, Xavier"][1].replace(depth=30)
#: Its weights saturate every step, and its branches add up: one change cures one of the two.
TWICE_SICK = vg.MLP(depth=60, width=32, activation="tanh", init="normal(std=1)", skip="residual", tied=True)
ODD = {
    "a width a layer": vg.MLP(depth=30, width=[32, 16] * 15, activation="sigmoid"),
    "an activation a layer": vg.MLP(depth=30, width=32, activation=["sigmoid", "tanh"] * 15),
    "an init a layer": vg.MLP(depth=30, width=32, init=["xavier_normal", "lecun_normal"] * 15),
    "a readout of zeros": vg.MLP(depth=30, width=32, out_features=3, init=["xavier_normal"] * 30 + ["zeros"]),
    "recurrent": vg.MLP(depth=60, width=32, activation="tanh", init="xavier_normal(gain=2)", tied=True),
    "an input at every step": vg.MLP(
        depth=60, width=32, in_features=3, activation="sigmoid", tied=True, inputs="every"
    ),
    "glu": vg.MLP(depth=40, width=32, activation="glu", init="xavier_normal"),
    "swiglu": vg.MLP(depth=40, width=32, activation="swiglu", init="xavier_normal"),
    "crelu": vg.MLP(depth=40, width=32, activation="crelu", init="xavier_normal"),
    "blocks of three": vg.MLP(depth=60, width=32, skip="residual", block=3),
    "dense": vg.MLP(depth=20, width=16, skip="dense", init="xavier_normal(gain=3)"),
    "spectral norm": vg.MLP(depth=60, width=16, weight_transform="spectral_norm"),
    "zeros": vg.MLP(depth=10, width=32, init="zeros"),
    "not finite": vg.MLP(depth=100, width=16, activation="softplus", init="normal(std=100)"),
    "one unit": vg.MLP(depth=50, width=1),
    # Signals that are 0 on the way, or not there at either end; changes past the range of floats.
    "0 on the way": vg.MLP(
        depth=60, width=1, activation="gelu", init="mean_field(sigma_w=4)", bias="normal(std=3)", skip="dense"
    ),
    "0 at both ends": vg.MLP(depth=60, width=1, out_features=1, activation="relu6", init="constant(0.1)"),
    "fixup": vg.MLP(depth=20, width=32, activation="sigmoid", init="fixup"),
}
each_sick = pytest.mark.parametrize("name", SICK)
each_net = pytest.mark.parametrize("name", [*SICK, *ODD, "twice sick"])


def net(name: str) -> vg.MLP:
    return TWICE_SICK if name == "twice sick" else ODD[name] if name in ODD else SICK[name][1]


@functools.cache
def advised(name: str) -> vg.Advised:
    a = vg.advise(net(name))
    assert len(a) or name in ODD  # else loops over advice would pass over nothing
    return a


def same(one: vg.Diagnosis, other: vg.Diagnosis) -> bool:
    """The same judgement of the same bits."""
    assert one.probe is not None
    assert other.probe is not None
    measured = [[getattr(d.probe, column).tobytes() for column in _core.COLUMNS] for d in (one, other)]
    return json.dumps(one.to_dict()) == json.dumps(other.to_dict()) and measured[0] == measured[1]


def changed(spec: Spec, other: Spec) -> dict[str, Any]:
    return {name: getattr(other, name) for name in FIELDS if getattr(other, name) != getattr(spec, name)}


def cost(names: set[str]) -> int:
    """Of one change that replaces these fields, as documented: numbers 1, layers 2, structure 3, size 4."""
    classes = {"activation": 2, "norm": 2, "skip": 3, "width": 4, "depth": 4}
    return max(classes.get(name, 1) for name in names)


def single(before: vg.Diagnosis) -> list[Spec]:
    """The nets that differ in one change from a net."""
    assert before.probe is not None
    return [candidate.spec for candidate in Candidates(before.probe, ()).singles(before)]


def decades(d: vg.Diagnosis) -> float:
    """By which a typical net's dL/dz moves."""
    assert d.probe is not None
    return abs(Evidence(d.probe).backward.typical)


def near(d: vg.Diagnosis) -> float:
    """How near a net is to a verdict."""
    assert d.evidence is not None
    return nearness(d.evidence)


def cured(before: vg.Diagnosis, after: vg.Diagnosis) -> bool:
    """Whether no rule is near its threshold now, but those that were as near before and said nothing."""
    assert before.evidence is not None
    assert after.evidence is not None
    old, new = ratios(before.evidence), ratios(after.evidence)
    return all(
        ratio <= GRAZING or (old.get(rule, 0) < 1 and ratio <= min(0.999, 1.1 * old.get(rule, 0)))
        for rule, ratio in new.items()
    )


def wrong(d: vg.Diagnosis) -> float:
    """All that is wrong, in thresholds."""
    assert d.evidence is not None
    return sum(max(0.0, ratio - HARMLESS) for ratio in ratios(d.evidence).values())


# The ten


@each_sick
def test_the_first_advice_cures_a_classic_sick_net(name: str) -> None:
    word, _ = SICK[name]
    a = advised(name)
    assert a.before.verdict == word
    assert a.before.severity == "critical" or name in {"tanh, gain 5/3", "narrow and deep"}
    assert a[0].after.word == "healthy"
    assert a[0].cures
    assert decades(a[0].after) < 1.5 < decades(a.before)


def test_a_remedy_is_what_the_textbook_says() -> None:
    assert "init=kaiming_normal" in {advice.change for advice in advised("relu, Xavier") if advice.cures}
    assert "bias=None" in {advice.change for advice in advised("dead relu") if advice.cures}
    assert "init=critical(sigma_b=0.2)" in {advice.change for advice in advised("chaotic tanh") if advice.cures}
    assert any("1/sqrt(L)" in advice.change for advice in advised("plain residual") if advice.cures)
    assert any("skip=" in advice.change for advice in advised("batch norm, no skip") if advice.cures)
    assert any("width" in changed(net("narrow and deep"), advice.spec) for advice in advised("narrow and deep"))


# What is said of an advice


@each_net
def test_nothing_is_advised_that_was_not_run(name: str) -> None:
    a = advised(name)
    assert same(a.before, vg.diagnose(net(name)))
    for advice in a:
        assert advice.before is a.before
        assert same(advice.after, vg.diagnose(advice.spec)), advice.change


@each_net
def test_what_is_advised_is_another_and_a_better_net_each_time(name: str) -> None:
    a = advised(name)
    assert len(a) <= SHOWN == 6
    assert len({net(name).id, *(advice.spec.id for advice in a)}) == len(a) + 1
    assert len({advice.change for advice in a}) == len(a)
    assert all(advice.cures or wrong(advice.after) < wrong(a.before) / 2 for advice in a)
    assert 1 <= a.tried <= 151


@each_net
def test_the_words_of_a_change_are_the_fields_that_differ(name: str) -> None:
    spec = net(name)
    for advice in advised(name):
        differ = changed(spec, advice.spec)
        assert advice.change == ", ".join(f"{field}={value}" for field, value in differ.items())
        assert spec.replace(**differ) == advice.spec


def test_the_words_of_a_change_make_the_net() -> None:
    for name in SICK:
        for advice in advised(name):
            given: dict[str, Any] = {}
            for part in nets.split(advice.change):
                field, _, text = part.partition("=")
                given[field] = (
                    None
                    if text == "None"
                    else int(text)
                    if text.isdigit()
                    else float(text)
                    if "0." in text[:2]
                    else text
                )
            assert net(name).replace(**given) == advice.spec


@each_net
def test_cures_come_first_and_among_them_what_changes_least(name: str) -> None:
    a = advised(name)
    cures = [advice.cures for advice in a]
    assert cures == sorted(cures, reverse=True)
    assert [advice.nearness for advice in a] == [near(advice.after) for advice in a]
    assert [advice.cures for advice in a] == [cured(a.before, advice.after) for advice in a]
    assert all(advice.after.word == "healthy" for advice in a if advice.cures)
    verdicts = [advice.after.verdict == "healthy" for advice in a]
    assert verdicts == sorted(verdicts, reverse=True)
    one_change = {spec.id for spec in single(a.before)}
    costs = [cost({*changed(net(name), advice.spec)}) for advice in a if advice.cures and advice.spec.id in one_change]
    assert costs == sorted(costs)


def test_of_equal_costs_what_is_farthest_from_any_threshold_is_first() -> None:
    compared = 0
    for name in SICK:
        cures = [advice for advice in advised(name) if advice.cures]
        for cheap in (1, 2, 3):
            left = [each.nearness for each in cures if cost({*changed(net(name), each.spec)}) == cheap]
            # In steps of a fifth of a threshold: what is closer is noise.
            steps = [int(np.ceil(5 * size)) for size in left]
            assert steps == sorted(steps), name
            compared += max(len(steps) - 1, 0)
    assert compared > len(SICK)


def test_of_one_kind_of_gain_only_the_best_is_shown() -> None:
    shown = 0
    for name in [*SICK, *ODD]:
        init = vg.Init(str(net(name).init)).name if isinstance(net(name).init, str) else ""
        gains = [a for a in advised(name) if re.fullmatch(rf"init={init}\(.*gain=[\d.e-]+\)", a.change)]
        assert len(gains) <= 1, name
        shown += len(gains)
    assert shown >= 4


# Two changes at once


def test_two_changes_are_tried_where_one_does_not_suffice() -> None:
    a = advised("twice sick")
    ones = {spec.id: spec for spec in single(a.before)}
    assert not any(cured(a.before, vg.diagnose(spec)) for spec in ones.values())
    cures = [advice for advice in a if advice.cures]
    assert cures
    assert a[0] is cures[0]
    for advice in cures:
        assert advice.spec.id not in ones
        whole = changed(TWICE_SICK, advice.spec)
        parts = [fields for spec in ones.values() if (fields := changed(TWICE_SICK, spec)).items() <= whole.items()]
        pairs = [(one, two) for one in parts for two in parts if not one.keys() & two.keys() and one | two == whole]
        assert pairs, advice.change


def test_pairs_are_left_out_where_two_single_changes_cure() -> None:
    cured = 0
    for name in SICK:
        ones = {spec.id for spec in single(advised(name).before)}
        if sum(advice.cures for advice in advised(name)) > 2:
            assert {advice.spec.id for advice in advised(name)} <= ones
            cured += 1
    assert cured > len(SICK) / 2


# Budget


@pytest.mark.parametrize("budget", [1, 2, 5, 20, 40, 60, 150, 10_000])
def test_no_more_nets_are_run_than_the_budget_allows(budget: int) -> None:
    whole = advised("twice sick").tried - 1
    a = vg.advise(TWICE_SICK, budget=budget)
    assert a.tried == 1 + min(budget, whole)
    assert len(a) <= budget


def test_a_budget_of_one_net_may_be_enough() -> None:
    a = vg.advise(FADING, budget=1)
    assert (a.tried, [advice.cures for advice in a]) == (2, [True])


def test_where_nothing_helps_it_says_so() -> None:
    # The scale of weights is divided out again, so that the one gain that is tried changes nothing.
    a = vg.advise(vg.MLP(depth=60, width=16, weight_transform="spectral_norm"), budget=1)
    assert (len(a), a.tried) == (0, 2)
    assert str(a).endswith("\nnone of 2 nets tried was better")


@pytest.mark.parametrize("budget", [0, -1])
def test_a_budget_of_nothing_is_refused(budget: int) -> None:
    with pytest.raises(ValueError, match=f"budget must be an integer from 1 to 1000000, got {budget}"):
        vg.advise(FADING, budget=budget)


@pytest.mark.parametrize("budget", [1.5, "3", None])
def test_a_budget_is_a_whole_number(budget: Any) -> None:
    with pytest.raises(TypeError, match="budget must be an integer from 1 to 1000000, got "):
        vg.advise(FADING, budget=budget)


# Nothing to do


def test_a_healthy_net_is_left_alone() -> None:
    spec = vg.MLP(depth=20, width=64)
    a = vg.advise(spec)
    assert (len(a), a.tried) == (0, 1)
    assert not a
    assert same(a.before, vg.diagnose(spec))
    assert str(a) == f"{a.before.summary}\nnothing to change"
    assert "nothing to change" in a._repr_html_()


def test_one_layer_has_nothing_to_cure() -> None:
    assert not vg.advise(vg.MLP(depth=1, width=1))


# Data


@functools.cache
def digits() -> tuple[Array, Array]:
    x, y = vg.data.digits()
    return x[:200], y[:200]


def test_classes_are_judged_by_cross_entropy() -> None:
    x, y = digits()
    spec = FADING.replace(in_features=64, out_features=10)
    a = vg.advise(spec, (x, y), batch=48, seeds=4)
    given: dict[str, Any] = {"x": x, "y": y, "loss": "cross_entropy", "batch": 48, "seeds": 4}
    assert a[0].cures
    assert same(a.before, vg.diagnose(spec, **given))
    for advice in a:
        assert same(advice.after, vg.diagnose(advice.spec, **given))


@pytest.mark.parametrize(("loss", "used"), [(None, "mse"), ("huber(0.5)", "huber(delta=0.5)")])
def test_numbers_are_judged_by_the_mean_squared_error_unless_a_loss_is_given(loss: str | None, used: str) -> None:
    x, y = digits()
    a = vg.advise(FADING.replace(in_features=64, out_features=1), (x, y[:, None] / 9), loss=loss, batch=48, seeds=4)
    assert a[0].cures
    assert a.before.probe is not None
    assert a.before.probe.loss == used


def test_samples_alone_get_a_random_cotangent() -> None:
    x, _ = digits()
    spec = FADING.replace(width=64)
    a = vg.advise(spec, x, seeds=4)
    assert a[0].cures
    assert a.before.probe is not None
    assert (a.before.probe.loss, a.before.probe.batch) == (None, 200)
    assert same(a[0].after, vg.diagnose(a[0].spec, x=x, seeds=4))


def test_the_data_keep_their_columns_where_layers_get_wider() -> None:
    spec = net("narrow and deep")
    x: Array = np.random.default_rng(0).standard_normal((64, 32))
    a = vg.advise(spec, x)
    wider = [advice for advice in a if "width" in changed(spec, advice.spec)]
    assert [advice.change for advice in wider] == [f"width={advice.spec.width}, in_features=32" for advice in wider]
    assert wider
    assert all(same(advice.after, vg.diagnose(advice.spec, x=x)) for advice in wider)


def test_targets_keep_their_columns_where_there_is_no_readout() -> None:
    rng = np.random.default_rng(0)
    for spec, outputs in [(net("narrow and deep"), 32), (net("glu"), 16), (net("crelu"), 64)]:
        y: Array = rng.standard_normal((40, outputs))
        x: Array = rng.standard_normal((40, 32))
        a = vg.advise(spec, (x, y), seeds=4)
        assert a[0].cures
        assert {advice.spec.init(seed=0).forward(x).shape for advice in a} == {(40, outputs)}


def test_the_steps_of_a_recurrent_net_stay_those_of_its_inputs() -> None:
    spec = net("an input at every step")
    assert any(advice.spec.depth != spec.depth for advice in advised("an input at every step"))
    x: Array = np.random.default_rng(0).standard_normal((40, spec.depth, 3))
    a = vg.advise(spec, x)
    assert a[0].cures
    assert {advice.spec.depth for advice in a} == {spec.depth}


@pytest.mark.parametrize("given", [{"batch": 1}, {"data": np.ones((1, 64))}], ids=["batch", "data"])
def test_one_sample_gets_no_batch_norm(given: dict[str, Any]) -> None:
    a = vg.advise(FADING, **given)
    assert a[0].cures
    assert all(advice.spec.norm != "batch" for advice in a)


X = np.zeros((5, 64))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.zeros((5, 3)), "x must be of shape (batch, in_features) = (batch, 64), got (5, 3)"),
        (np.zeros(5), "x must be of shape (batch, in_features), got shape (5,)"),
        (np.zeros((0, 64)), "x must be a batch of at least one sample"),
        (np.full((5, 64), np.nan), "x must be finite in float32, but x[0, 0] is nan"),
        ((X, np.zeros(4, int)), "y must be of shape (5,), one class id a sample of x, got (4,)"),
        ((X, np.full(5, 10)), "y"),
        ((X, np.zeros((5, 3))), "y must be of shape (batch, outputs) = (5, 10), got (5, 3)"),
        ((None, np.zeros(5, int)), "y is given without x"),
        ((X,), "data must be samples, or a pair of samples and targets, got a tuple of 1"),
        ((X, X, X), "data must be samples, or a pair of samples and targets, got a tuple of 3"),
    ],
)
def test_data_of_another_shape_are_refused(data: Any, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        vg.advise(FADING.replace(out_features=10), data)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"loss": "mse"}, ValueError, "needs targets; give y"),
        ({"seeds": 0}, ValueError, "seeds must be an integer from 1 to"),
        ({"seeds": "3"}, TypeError, "seeds must be an integer, got '3'"),
        ({"batch": "3"}, TypeError, "batch must be an integer, got '3'"),
        ({"batch": 0}, ValueError, "batch must be an integer from 1 to"),
        ({"dtype": "float16"}, ValueError, "dtype must be 'float32' or 'float64'"),
        ({"threads": 0}, ValueError, "threads must be an integer from 1 to"),
        ({"data": "digits"}, TypeError, "x must be an array of real numbers"),
    ],
)
def test_arguments_are_refused_as_a_probe_refuses_them(options: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        vg.advise(FADING, **options)


# Data of another scale

#: What a sigmoid net gets of bytes, with ten classes.
BYTES = vg.MLP(depth=2, width=64, out_features=10, activation="sigmoid", init="xavier_normal")


def in_bytes() -> tuple[Array, Array]:
    x, y = digits()
    return np.round(255 * (x - x.min()) / np.ptp(x)), y


def test_samples_of_another_scale_are_scaled_first() -> None:
    x, y = in_bytes()
    a = vg.advise(BYTES, x=x, y=y, seeds=4)
    assert a[0].cures
    assert a[0].spec == BYTES
    scaled = {advice.change: advice for advice in a if advice.x is not None}
    assert scaled["x=x / 255"].x is not None
    assert (scaled["x=x / 255"].x == x / 255).all()
    assert {*scaled} <= {"x=x / 255", "x=(x - mean) / std", "x=x - mean"}
    for advice in a:
        given: Array = x if advice.x is None else advice.x
        assert same(advice.after, vg.diagnose(advice.spec, x=given, y=y, seeds=4))
        assert advice.y is None


@pytest.mark.parametrize(
    ("x", "change", "expected"),
    [
        ([[0, 200], [100, 50]], "x / 255", [[0, 200 / 255], [100 / 255, 50 / 255]]),
        ([[0, 200], [-100, 50]], "x / 200", [[0, 1], [-0.5, 0.25]]),
        ([[0, 16], [8, 4]], "x / 16", [[0, 1], [0.5, 0.25]]),
        ([[3, 5], [3, 9]], "(x - mean) / std", [[0, -1], [0, 1]]),
        ([[3, 5], [3, 9]], "x - mean", [[0, -2], [0, 2]]),
    ],
)
def test_samples_are_divided_standardised_and_centred_by_column(x: Any, change: str, expected: Any) -> None:
    cell = vg.probe(vg.MLP(depth=2, width=2), x=x, seeds=1)
    found = {data.changes["x"]: np.asarray(data.x) for _, data in scaled(cell)}
    assert np.allclose(found[change], expected)


def test_series_are_standardised_over_samples_and_steps() -> None:
    spec = vg.MLP(depth=3, width=4, in_features=2, tied=True, inputs="every")
    cell = vg.probe(spec, x=100 + np.arange(30.0).reshape(5, 3, 2), seeds=1)
    (x,) = (np.asarray(data.x) for _, data in scaled(cell) if "std" in data.changes["x"])
    assert np.allclose(x.mean(axis=(0, 1)), 0)
    assert np.allclose(x.std(axis=(0, 1)), 1)


def test_data_that_stay_as_they_are_are_no_change() -> None:
    x: Array = np.array([[1.0, -1.0], [-1.0, 1.0]])
    spec = vg.MLP(depth=2, width=2, out_features=1)
    assert not list(scaled(vg.probe(spec, x=x, y=[1.0, -1.0], seeds=1)))
    assert not list(scaled(vg.probe(spec, seeds=1)))


@pytest.mark.parametrize(
    ("loss", "y", "changes"),
    [
        ("mse", [10.0, 20.0, 30.0], True),
        ("huber", [10.0, 20.0, 30.0], True),
        ("bce_with_logits", [0.0, 1.0, 1.0], False),
        ("hinge", [-1.0, 1.0, 1.0], False),
        ("cross_entropy", [0, 1, 1], False),
    ],
)
def test_only_targets_that_are_any_numbers_are_standardised(loss: str, y: Any, changes: bool) -> None:
    spec = vg.MLP(depth=2, width=2, out_features=2 if loss == "cross_entropy" else 1)
    cell = vg.probe(spec, x=[[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]], y=y, loss=loss, seeds=1)
    assert [data.changes["y"] for _, data in scaled(cell) if "y" in data.changes] == ["(y - mean) / std"] * changes


# The first loss


def test_targets_far_from_all_outputs_are_standardised() -> None:
    x, y = digits()
    spec = vg.MLP(depth=2, width=64, out_features=1)
    y = 3000 + 100.0 * y
    a = vg.advise(spec, x=x, y=y, seeds=4)
    assert a.first_loss is not None
    assert a.first_loss > 30
    assert (a[0].change, a[0].cures) == ("y=(y - mean) / std", True)
    assert a[0].y is not None
    assert np.allclose([a[0].y.mean(), a[0].y.std()], [0, 1])
    assert a[0].first_loss == pytest.approx(first_loss_of(spec, x, a[0].y))


def first_loss_of(spec: Spec, x: Array, y: Array, **options: Any) -> float:
    p = vg.probe(spec, x=x, y=y, seeds=4, **options)
    assert p.loss is not None
    return float(p.loss_value.mean() / np.float64(blind_guess(p.loss, y, 1 if y.dtype == float else 10)))


def test_outputs_far_above_a_blind_guess_get_a_smaller_readout() -> None:
    x, y = digits()
    spec = vg.MLP(depth=2, width=64, out_features=10, init=["kaiming_normal"] * 2 + ["normal(std=20)"])
    a = vg.advise(spec, x=x, y=y, seeds=4)
    (smaller,) = (advice for advice in a if advice.change.startswith("readout init=normal(std=20, gain="))
    assert smaller.spec.init[:2] == spec.init[:2]
    assert smaller.first_loss is not None
    assert a.first_loss is not None
    assert a.first_loss > FAR
    assert smaller.first_loss < FAR
    assert smaller.first_loss == pytest.approx(first_loss_of(smaller.spec, x, y))


def test_nothing_is_advised_whose_first_loss_is_far_above_a_blind_guess() -> None:
    x, y = digits()
    # Outputs of size 1 are far from targets that differ by 0.01.
    y = 0.01 * y
    spec = FADING.replace(in_features=64, out_features=1)
    a = vg.advise(spec, x=x, y=y, seeds=4)
    assert a[0].cures
    assert a.first_loss is not None
    limit = max(FAR, 1.1 * a.first_loss)
    plain = vg.diagnose(spec.replace(init="kaiming_normal"), x=x, y=y, seeds=4)
    assert plain.word == "healthy, off-scale"
    assert plain.probe is not None
    assert first_loss(plain.probe) > limit  # type: ignore[operator]
    for advice in a:
        assert advice.first_loss is not None
        assert advice.first_loss <= limit
        assert advice.first_loss == pytest.approx(first_loss_of(advice.spec, x, y if advice.y is None else advice.y))


# What must stay


def test_what_is_kept_stays() -> None:
    x, y = in_bytes()
    a = vg.advise(BYTES, x=x, y=y, keep=("activation", "x"), seeds=4)
    assert a
    for advice in a:
        assert advice.spec.activation == "sigmoid"
        assert advice.x is None
        assert "x=" not in advice.change


@pytest.mark.parametrize("name", ["activation", "init", "norm", "skip", "depth"])
def test_any_field_can_be_kept(name: str) -> None:
    a = vg.advise(FADING, keep=name, seeds=4)
    assert a
    assert all(getattr(advice.spec, name) == getattr(FADING, name) for advice in a)
    free = {field for advice in vg.advise(FADING, seeds=4) for field in changed(FADING, advice.spec)}
    assert {"activation", "init", "norm"} <= free


def test_a_readout_that_is_kept_stays_where_other_inits_change() -> None:
    x, y = digits()
    spec = FADING.replace(out_features=10)
    a = vg.advise(spec, x=x, y=y, keep="readout", seeds=4)
    assert all(
        str(vg.Init(str(advice.spec.init[-1] if isinstance(advice.spec.init, tuple) else advice.spec.init)))
        == "xavier_normal"
        for advice in a
    )
    assert a[0].cures
    assert re.fullmatch(r"init=xavier_normal\(gain=[\d.]+\), readout init=xavier_normal", a[0].change)


def test_a_name_that_cannot_be_kept_gets_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"unknown name to keep 'activations' \(did you mean 'activation'\?\)"):
        vg.advise(FADING, keep=["activations"])


@pytest.mark.parametrize(
    ("spec", "field", "foreign"), [(vg.RNN(3, 4), "recurrent_init", "tied"), (vg.Transformer(1, 4), "heads", "tied")]
)
def test_what_can_be_kept_of_a_net_is_told_by_its_own_fields(spec: Any, field: str, foreign: str) -> None:
    with pytest.raises(ValueError, match="unknown name to keep 'foo'") as raised:
        vg.advise(spec, keep="foo")
    assert field in str(raised.value)
    assert foreign not in str(raised.value)


# How near to a threshold


def test_a_change_that_grazes_a_threshold_is_no_cure() -> None:
    spec = vg.MLP(depth=2, width=64, activation="sigmoid", init="xavier_normal")
    x, _ = in_bytes()
    grazed = 0
    for gain in np.geomspace(1, 0.01, 12):
        a = vg.advise(spec.replace(init=f"xavier_normal(gain={gain:.3g})"), x=x, seeds=4, keep="x")
        for advice in a:
            barely = advice.after.word == "healthy" and not advice.cures
            assert barely <= (GRAZING < advice.nearness < 1)
            assert not (advice.cures and advice.nearness >= 1)
            if barely:
                grazed += 1
                assert "healthy, barely" in str(a)
        states = [advice.cures for advice in a]
        assert states == sorted(states, reverse=True)
    assert grazed


def test_a_net_that_is_healthy_is_nowhere_at_a_threshold() -> None:
    for name in [*SICK, *ODD]:
        for d in (advised(name).before, *(advice.after for advice in advised(name))):
            assert (near(d) < 1) == (d.word == "healthy"), name


# What is given


def test_a_probe_and_a_diagnosis_bring_all_of_their_measurement() -> None:
    x, y = in_bytes()
    given: dict[str, Any] = {"x": x, "y": y, "loss": "cross_entropy(0.1)", "batch": 50, "seeds": 3, "seed": 7}
    p = vg.probe(BYTES, **given, dtype="float64")
    plain = vg.advise(BYTES, **given, dtype="float64")
    for subject in (p, vg.diagnose(p)):
        a = vg.advise(subject, threads=1)
        assert a.before.probe is p
        assert json.dumps(a.to_dict()) == json.dumps(plain.to_dict())
        assert all(same(one.after, other.after) for one, other in zip(a, plain, strict=True))


def test_data_may_be_lists_words_and_a_pair() -> None:
    x, y = in_bytes()
    words = [f"class {i}" for i in y]
    one = vg.advise(BYTES, x=x.tolist(), y=words, seeds=2)
    other = vg.advise(BYTES, (x, y), seeds=2)
    assert json.dumps(one.to_dict()) == json.dumps(other.to_dict())


@pytest.mark.parametrize(
    ("subject", "options", "words"),
    [
        (vg.probe(FADING, seeds=1), {"x": np.zeros((5, 64)), "seeds": 2}, "x, seeds: this is measured already"),
        (vg.diagnose(FADING, seeds=1), {"dtype": "float64"}, "dtype: this is measured already"),
        (FADING, {"data": np.zeros((5, 64)), "x": np.zeros((5, 64))}, "give them or data, not both"),
        (vg.diagnose(vg.sweep(FADING, depth=[2, 3], seeds=1)), {}, "is of a sweep: give one of its cells"),
        (vg.diagnose(FADING, rules="sagemaker", seeds=1), {}, "a diagnosis by sagemaker keeps no probe: give the spec"),
    ],
)
def test_what_cannot_go_together_is_refused(subject: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        vg.advise(subject, **options)


def test_a_network_keeps_its_weights_where_data_alone_change() -> None:
    x, y = in_bytes()
    network = BYTES.init(seed=3)
    a = vg.advise(network, x=x, y=y, loss="cross_entropy")
    assert a.before.probe is not None
    assert a.before.probe.network is network
    assert same(a.before, vg.diagnose(network, x=x, y=y, loss="cross_entropy"))
    kept = [advice for advice in a if not advice.change.startswith("drawn anew")]
    assert kept[0] is a[0]
    assert a[0].cures
    for advice in a:
        assert advice.after.probe is not None
        given: Array = x if advice.x is None else advice.x
        if advice in kept:
            assert advice.x is not None
            assert same(advice.after, vg.diagnose(network, x=given, y=y, loss="cross_entropy"))
        else:
            assert advice.after.probe.network is None
            assert same(advice.after, vg.diagnose(advice.spec, x=given, y=y, loss="cross_entropy", seeds=8))


def test_a_network_whose_weights_are_at_fault_is_drawn_anew_first() -> None:
    spec = vg.MLP(depth=20, width=64)
    state = {name: 0.5 * value for name, value in spec.init(seed=0).state_dict().items()}
    a = vg.advise(vg.Network.from_state_dict(spec, state))
    assert (a[0].change, a[0].spec, a[0].cures) == ("drawn anew", spec, True)
    assert all(advice.change.startswith("drawn anew, ") for advice in a[1:])


@pytest.mark.parametrize("other", [vg.sweep(vg.MLP(depth=2, width=4), seeds=1), "relu", None])
def test_only_a_net_can_be_changed(other: Any) -> None:
    words = rf"subject must be a spec, a Network, a Probe or a Diagnosis, got .*\({type(other).__name__}\)"
    with pytest.raises(TypeError, match=words):
        vg.advise(other)


# How it is run


def test_the_advice_is_the_same_for_any_number_of_threads() -> None:
    for spec in (FADING, TWICE_SICK):
        one, *others = (vg.advise(spec, seeds=4, threads=threads) for threads in (1, 2, 3))
        for other in others:
            assert json.dumps(other.to_dict()) == json.dumps(one.to_dict())
            assert all(same(a.after, b.after) for a, b in zip(one, other, strict=True))


def test_seeds_and_dtype_are_those_asked_for() -> None:
    options: dict[str, Any] = {"seeds": 3, "seed": 5, "dtype": "float64", "batch": 20}
    a = vg.advise(FADING, **options)
    for d in (a.before, *(advice.after for advice in a)):
        assert d.probe is not None
        assert (d.probe.seeds.tolist(), d.probe.dtype, d.probe.batch) == ([5, 6, 7], "float64", 20)
    assert same(a[0].after, vg.diagnose(a[0].spec, **options))


@pytest.mark.parametrize("name", ODD)
def test_nets_of_every_shape_get_advice_or_an_honest_word(name: str) -> None:
    a = advised(name)
    assert a.before.word != "healthy"
    assert a
    if name not in {"one unit", "0 on the way", "0 at both ends"}:
        assert a[0].cures


def test_what_is_one_a_layer_gets_no_gain() -> None:
    assert not any("gain=" in advice.change for advice in advised("an init a layer"))


@over_examples
@given(
    given=fields(),
    init=st.none() | st.sampled_from(["xavier_normal(gain=4)", "xavier_normal(gain=0.1)", "normal(std=30)"]),
    bias=st.sampled_from([None, "constant(-3)"]),
    batch=st.integers(1, 8),
    seeds=st.integers(1, 3),
)
def test_no_net_is_too_odd_to_be_advised(
    given: dict[str, Any], init: str | None, bias: str | None, batch: int, seeds: int
) -> None:
    spec = valid(vg.MLP, **given)
    batch += needs_samples(spec)
    try:
        spec = spec.replace(**{name: value for name, value in {"init": init, "bias": bias}.items() if value})
    except ValueError:
        reject()
    a = vg.advise(spec, batch=batch, seeds=seeds, budget=60)
    assert len(a) <= 6
    assert a.tried <= 61
    assert bool(a) <= (a.before.word != "healthy")
    for advice in a:
        assert spec.replace(**changed(spec, advice.spec)) == advice.spec
    if a:
        assert same(a[-1].after, vg.diagnose(a[-1].spec, batch=batch, seeds=seeds))
    assert str(a).startswith(a.before.verdict)
    assert a._repr_html_().startswith("<div ")


# As values


def test_advice_is_a_sequence() -> None:
    a = advised("relu, Xavier")
    assert len(a) == len(a.items) == 6
    assert [*a] == [a[i] for i in range(6)]
    assert a[-1] is a.items[-1]
    assert a[1:3] == a.items[1:3]
    assert a.items[2] in a
    with pytest.raises(IndexError):
        a[6]
    with pytest.raises(dataclasses.FrozenInstanceError):
        a.tried = 3  # type: ignore[misc]


def test_advice_is_plain_values() -> None:
    a = advised("relu, Xavier")
    plain = json.loads(json.dumps(a.to_dict()))
    assert plain["tried"] == a.tried
    assert plain["before"]["verdict"] == "vanishing"
    for row, advice in zip(plain["advice"], a, strict=True):
        assert (row["change"], row["cures"]) == (advice.change, advice.cures)
        assert vg.MLP.from_json(json.dumps(row["after"]["spec"])) == advice.spec


def test_advice_reads_as_what_it_is() -> None:
    a = advised("relu, Xavier")
    assert repr(a[0]) == f"Advice({a[0].change!r}, 'vanishing (both)' -> 'healthy')"
    counts = f"{len(a)} changes of {a.tried} nets tried"
    assert repr(a) == f"Advised('vanishing (both)', {counts}, best {a[0].change!r} -> 'healthy')"


# Trained before and after

DIGITS, CLASSES = vg.data.digits()
STUCK = vg.MLP(depth=8, width=32, in_features=64, out_features=10, activation="sigmoid", init="xavier_normal")
SHORT: dict[str, Any] = {"steps": 100, "optimizer": "sgd(lr=0.1)"}


@functools.cache
def trained() -> vg.Advised:
    return vg.advise(STUCK, x=DIGITS, y=CLASSES, train=SHORT)


def test_what_is_advised_is_trained_before_and_after_and_the_lowest_loss_comes_first() -> None:
    a = trained()
    assert a.final_loss is not None
    assert a.final_loss > 2.2
    reached = [each.loss_after for each in a if each.loss_after is not None]
    assert len(reached) == len(a) > 2
    assert reached[0] < 1.0
    assert all(each.loss_before == a.final_loss for each in a)
    # What differs by less than noise stays in the order of what is changed.
    assert [float(f"{loss:.2g}") for loss in reached] == sorted(float(f"{loss:.2g}") for loss in reached)
    assert max(reached) < a.final_loss


def test_the_losses_that_were_reached_are_those_of_train() -> None:
    a = trained()
    options: dict[str, Any] = {"loss": a.before.probe.loss if a.before.probe else None, "seeds": 2}
    for spec, loss in ((STUCK, a.final_loss), (a[0].spec, a[0].loss_after)):
        run = vg.train(spec, DIGITS, CLASSES, **options, **SHORT)
        assert float(np.median(run.final_loss)) == loss


def test_losses_that_were_reached_stand_in_the_table_and_in_plain_values() -> None:
    a = trained()
    assert "loss trained" in str(a)
    assert f"{a[0].loss_after:.3g}" in str(a)
    assert "loss trained" in re.sub("<[^>]*>", "", a._repr_html_())
    plain = json.loads(json.dumps(a.to_dict()))
    assert plain["final_loss"] == a.final_loss
    assert plain["advice"][0]["loss_after"] == a[0].loss_after
    assert f"loss {a.final_loss:.3g} -> {a[0].loss_after:.3g}" in repr(a[0])
    assert "loss trained" not in str(advised("relu, Xavier"))


def test_what_breaks_like_the_net_as_it_is_is_not_advised() -> None:
    spec = vg.MLP(depth=30, width=16, in_features=64, out_features=10, init="xavier_normal")
    a = vg.advise(spec, x=DIGITS[:300], y=CLASSES[:300], train={"optimizer": "sgd(lr=1e9)", "steps": 20})
    assert a.final_loss == math.inf
    assert all(each.loss_after is not None and math.isfinite(each.loss_after) for each in a)


def test_a_net_with_nothing_to_cure_is_trained_alone() -> None:
    spec = STUCK.replace(activation="relu", init="kaiming_normal", depth=3)
    a = vg.advise(spec, x=DIGITS, y=CLASSES, train={"steps": 50})
    assert (len(a), a.tried) == (0, 1)
    assert a.final_loss is not None
    assert a.final_loss < 2


def test_a_network_is_trained_from_its_own_weights() -> None:
    net = STUCK.init(seed=5)
    a = vg.advise(net, x=DIGITS, y=CLASSES, train={**SHORT, "seeds": 1}, budget=20)
    run = vg.train(net, DIGITS, CLASSES, loss="cross_entropy", **SHORT)
    assert a.final_loss == run.final_loss[0]


def test_targets_of_another_scale_are_compared_in_blind_guesses() -> None:
    x = np.random.default_rng(0).standard_normal((128, 8))
    y = 1000 * np.sin(x[:, :1]) + 5000
    spec = vg.MLP(depth=2, width=16, in_features=8, out_features=1, activation="tanh", init="lecun_normal")
    a = vg.advise(spec, x=x, y=y, train={"steps": 100})
    assert a[0].change.startswith("y=(y - mean) / std")
    assert a[0].loss_after is not None
    assert a.final_loss is not None
    assert a[0].loss_after < 1
    assert a.final_loss > 1000


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"train": True}, ValueError, "train needs samples and targets"),
        ({"train": {"step": 3}}, ValueError, r"unknown setting of train 'step' \(did you mean 'steps'\?\)"),
        ({"train": 3}, TypeError, "train must be True, False or keywords of train"),
        ({"train": "yes"}, TypeError, "train must be True, False or keywords of train"),
        ({"x": DIGITS, "y": CLASSES, "train": {"steps": 0}}, ValueError, "steps must be an integer from 1"),
    ],
)
def test_a_training_that_cannot_be_is_refused(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        vg.advise(STUCK, **options)
