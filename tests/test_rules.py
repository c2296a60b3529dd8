"""The rules one by one: what each is for, what it leaves alone, its number where that is known, and its thresholds."""

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import vgcore as vg
from vgcore.judge.evidence import drifts
from vgcore.judge.finding import SEVERITIES, Finding
from vgcore.judge.rule import Rule
from vgcore.judge.rules import RULES, with_thresholds
from vgcore.judge.rules.numbers import FORMATS
from vgcore.measure.extra import EXTRA

Array: TypeAlias = npt.NDArray[Any]

BY_ID = {rule.id: rule for rule in RULES}
each_rule = pytest.mark.parametrize("rule", RULES, ids=[rule.id for rule in RULES])


def net(**fields: Any) -> vg.MLP:
    given: dict[str, Any] = {"depth": 30, "width": 64, "activation": "relu", "init": "kaiming_normal"}
    return vg.MLP(**(given | fields))


def steps(**fields: Any) -> vg.RNN:
    return vg.RNN(60, 32, in_features=8, **fields)


def blocks(**fields: Any) -> vg.Transformer:
    return vg.Transformer(6, 32, tokens=8, **fields)


def found(d: vg.Diagnosis, rule: str) -> Finding | None:
    return next((finding for finding in d.findings if finding.rule == rule), None)


def finding(d: vg.Diagnosis, rule: str) -> Finding:
    hit = found(d, rule)
    assert hit is not None, f"{rule} is silent: {d}"
    return hit


# What fires and what does not


@dataclass(frozen=True)
class Case:
    """A net made for a rule, and a sibling that the rule has to leave alone; `of` makes both."""

    severity: str
    sick: dict[str, Any]
    well: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    well_options: dict[str, Any] = field(default_factory=dict)
    of: Callable[..., vg.MLP | vg.RNN | vg.Transformer] = net


SAMPLES = np.random.default_rng(0).standard_normal((64, 64))
TARGETS = np.random.default_rng(1).standard_normal(64)


CASES = {
    "backward_vanishing": Case("critical", {"init": "mean_field(sigma_w=1)"}, {}),
    "backward_exploding": Case("critical", {"init": "mean_field(sigma_w=2)"}, {}),
    "forward_vanishing": Case("critical", {"init": "mean_field(sigma_w=1)"}, {}),
    "forward_exploding": Case("critical", {"init": "mean_field(sigma_w=2)"}, {}),
    "forward_backward_mismatch": Case(
        "info", {"depth": 50, "activation": "tanh", "init": "xavier_normal(gain=1.6666666666666667)"}, {"depth": 50}
    ),
    # With torch's biases z keeps its size, so dL/dW shrinks as dL/dz does.
    "weight_gradient_flat": Case("info", {"init": "mean_field(sigma_w=1)"}, {"init": "torch_default"}),
    "saturation": Case(
        "critical",
        {"activation": "tanh", "init": "mean_field(sigma_w=30)"},
        {"activation": "tanh", "init": "mean_field(sigma_w=1)"},
    ),
    "dead_units": Case("critical", {"bias": "constant(value=-3)"}, {}),
    "first_loss": Case(
        "warning",
        {"depth": 2, "out_features": 1},
        {"depth": 2, "out_features": 1, "init": "xavier_normal"},
        {"x": SAMPLES, "y": 5 + TARGETS / 5, "loss": "mse"},
        {"x": SAMPLES, "y": TARGETS, "loss": "mse"},
    ),
    "small_outputs": Case(
        "warning",
        {"depth": 2, "out_features": 1},
        {"depth": 2, "out_features": 1},
        {"x": SAMPLES, "y": 1000 * TARGETS, "loss": "mse"},
        {"x": SAMPLES, "y": TARGETS, "loss": "mse"},
    ),
    "inputs": Case("info", {"depth": 4}, {"depth": 4}, {"x": SAMPLES + 3}, {"x": SAMPLES}),
    "flat_rows": Case(
        "critical",
        {"in_features": 1, "weight_transform": "weight_standardization"},
        {"in_features": 3, "weight_transform": "weight_standardization"},
    ),
    "equal_units": Case("critical", {"activation": "tanh", "init": "constant(value=0.1)"}, {}),
    "zero_readout": Case(
        "info",
        {"skip": "residual(order=linear)", "block": 2, "init": "fixup", "out_features": 10},
        {"skip": "residual(order=linear)", "block": 2, "init": "fixup"},
    ),
    "correlation_collapse": Case(
        "critical",
        {"activation": "tanh", "init": "mean_field(sigma_w=1, sigma_b=0.5)"},
        {"activation": "tanh", "init": "mean_field(sigma_w=1)"},
    ),
    "rank_collapse": Case(
        "critical",
        {"depth": 50, "width": 8, "in_features": 64, "activation": "linear", "init": "lecun_normal"},
        {"depth": 50, "width": 8, "in_features": 64, "activation": "linear", "init": "orthogonal"},
    ),
    "non_finite": Case(
        "critical",
        {"depth": 40, "activation": "elu", "init": "mean_field(sigma_w=100)"},
        {"depth": 40, "activation": "elu", "init": "lecun_normal"},
    ),
    "finite_width": Case("warning", {"depth": 100, "width": 16}, {"depth": 100, "width": 256}),
    "float_range": Case("info", {"depth": 40, "init": "mean_field(sigma_w=0.5)"}, {"depth": 40}),
    "forgetting": Case("warning", {"cell": "lstm(forget_bias=0)"}, {"cell": "lstm", "bias": "chrono(T=60)"}, of=steps),
    "saturated_gates": Case("critical", {"cell": "lstm", "init": "normal(std=30)"}, {"cell": "lstm"}, of=steps),
    "gate_shut": Case("critical", {"cell": "gru(update_bias=10)"}, {"cell": "gru"}, of=steps),
    "gate_paths": Case("info", {"cell": "lstm(forget_bias=-4)"}, {"cell": "lstm"}, of=steps),
    "hidden_vanishing": Case("warning", {"outputs": "every", "out_features": 2}, {}, of=steps),
    "one_hot_attention": Case("critical", {"init": "normal(std=1)"}, {}, of=blocks),
    "uniform_attention": Case("info", {"init": "gpt2"}, {}, of=blocks),
    "no_final_norm": Case("info", {"final_norm": None}, {}, of=blocks),
    "deep_post_norm": Case("info", {"norm_position": "post"}, {}, of=blocks),
    "seeds_disagree": Case(
        "info",
        {"depth": 40, "activation": "tanh", "init": "xavier_normal(gain=1.6666666666666667)"},
        {"depth": 20, "activation": "tanh", "init": "xavier_normal(gain=1.6666666666666667)"},
    ),
}


def test_every_rule_has_a_case() -> None:
    assert set(CASES) == set(BY_ID)


@each_rule
def test_a_rule_fires_on_the_net_made_for_it(rule: Rule) -> None:
    case = CASES[rule.id]
    d = vg.diagnose(case.of(**case.sick), **case.options)
    hit = finding(d, rule.id)
    assert hit.severity == case.severity
    assert hit.value >= hit.threshold == rule.thresholds[case.severity]
    assert (hit.remedy, hit.reference) == (rule.remedies.get(type(d.spec).__name__, rule.remedy), rule.reference)
    assert all(0 <= layer < d.spec.rows for layer in hit.layers)
    assert math.isnan(hit.confidence) == (
        rule.id in {"finite_width", "equal_units", "first_loss", "small_outputs"}
    )  # of many, or of one
    assert not hit.confidence <= 0
    assert not hit.confidence > 1
    assert str(hit) == f"{hit.severity}: {rule.id}: {hit.evidence}"
    if rule.condition:
        assert rule.condition in d.conditions


@each_rule
def test_a_rule_is_silent_on_the_healthy_sibling(rule: Rule) -> None:
    case = CASES[rule.id]
    for seed in (0, 8, 16):
        d = vg.diagnose(case.of(**case.well), seed=seed, **(case.well_options or case.options))
        assert found(d, rule.id) is None
        assert rule.condition not in d.conditions


@each_rule
def test_a_row_says_why_and_orders_its_thresholds(rule: Rule) -> None:
    texts = (rule.id, rule.quantity, rule.why, rule.reference, rule.remedy, rule.formula)
    assert all(text.strip() == text != "" for text in texts)
    levels = [rule.thresholds[s] for s in SEVERITIES if s in rule.thresholds]
    assert len(levels) == len(rule.thresholds) > 0
    assert 0 < levels[0] <= levels[-1]
    assert levels == sorted(levels)
    columns = {*(each.name for each in dataclasses.fields(vg.Probe)), *EXTRA}
    assert rule.picture
    assert set(rule.picture) <= columns


def test_names_of_rules_are_all_different() -> None:
    assert len(BY_ID) == len(RULES)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.condition], ids=lambda rule: rule.id)
def test_a_condition_has_the_word_of_its_rule(rule: Rule) -> None:
    d = vg.diagnose(CASES[rule.id].of(**CASES[rule.id].sick), **CASES[rule.id].options)
    assert str(rule.condition) in str(d).splitlines()[0]


# Explained


@each_rule
def test_an_explanation_has_formula_numbers_and_reason_and_its_picture_is_columns(rule: Rule) -> None:
    case = CASES[rule.id]
    d = vg.diagnose(case.of(**case.sick), **case.options, explain=True)
    hit = finding(d, rule.id)
    formula, *working, why, wrong = hit.explanation.splitlines()
    assert (formula, why) == (f"{rule.formula}.", rule.why)
    assert wrong == f"When this is wrong: {rule.wrong}"
    assert hit.picture == rule.picture
    for name in hit.picture:
        assert getattr(d.probe, name).shape == (8, d.spec.rows)
    numbers = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", " ".join(working))]
    runs = d.probe.end_to_end("backward") if d.probe else np.array([])
    expected = {
        "non_finite": [8, 8],  # 8 of 8 runs
        "float_range": [65504],
        "seeds_disagree": [10 ** runs.min(), 10 ** runs.max()],
    }.get(rule.id, [hit.value])
    for value in expected:
        assert any(abs(abs(n) - value) <= 0.01 * value for n in numbers), (value, working)


@each_rule
def test_nothing_is_explained_unasked(rule: Rule) -> None:
    case = CASES[rule.id]
    plain = vg.diagnose(case.of(**case.sick), **case.options).findings
    opened = vg.diagnose(case.of(**case.sick), **case.options, explain=True).findings
    assert all((each.explanation, each.picture) == ("", ()) for each in plain)
    assert [dataclasses.replace(each, explanation="", picture=()) for each in opened] == list(plain)


def test_each_finding_opens_into_a_picture_that_leaves_nothing_behind() -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    d = vg.diagnose(net(activation="sigmoid", init="xavier_normal", depth=8), explain=True)
    html = d._repr_html_()
    assert len(d.findings) >= 3
    opened = html.split("<details>")[1:]
    assert len(opened) == len(d.findings)
    assert all("<svg" in each for each in opened)
    assert plt.get_fignums() == before
    text = str(d)
    for each in d.findings:
        assert all(f"{name}, " in text for name in each.picture)


# Changes whose size is known


def chain(depth: int, factor: float, **fields: Any) -> vg.MLP:
    """A net that multiplies by a factor a layer, both ways."""
    init = vg.Init("eye", gain=factor)
    return net(depth=depth, width=4, activation="linear", init=init, **fields)


@pytest.mark.parametrize("factor", [0.5, 0.11, 0.9, 1.1, 2.0, 9.0])
@pytest.mark.parametrize("depth", [2, 3, 9, 30])
def test_the_change_of_a_linear_chain_is_its_factor_to_the_power_of_the_steps(factor: float, depth: int) -> None:
    decades = abs(math.log10(factor)) * (depth - 1)
    word = "vanishing" if factor < 1 else "exploding"
    other = "exploding" if factor < 1 else "vanishing"
    d = vg.diagnose(chain(depth, factor), dtype="float64", seeds=3)
    for signal in ("backward", "forward"):
        rule = BY_ID[f"{signal}_{word}"]
        hit = found(d, rule.id)
        reached = rule.reached(decades)
        assert (hit is not None) == bool(reached)
        if hit is not None:
            assert hit.value == pytest.approx(decades, abs=1e-9)
            assert hit.severity == reached[-1]
            # The layers that have moved by as much as counts at all, from where the signal starts.
            steps = math.ceil(rule.least / abs(math.log10(factor)))
            moved = range(steps, depth) if signal == "forward" else range(depth - steps)
            assert hit.layers == tuple(moved)
            assert hit.confidence == 1
        assert found(d, f"{signal}_{other}") is None


def test_both_signals_of_a_chain_cancel_in_its_weight_gradient() -> None:
    d = vg.diagnose(chain(30, 0.5), dtype="float64")
    assert finding(d, "weight_gradient_flat").value == pytest.approx(29 * math.log10(2), abs=1e-9)
    assert found(d, "forward_backward_mismatch") is None


def test_a_mismatch_is_what_lies_between_the_two_changes() -> None:
    spec = net(activation="tanh", init="xavier_normal(gain=1.6666666666666667)", depth=60, width=256)
    probe = vg.probe(spec)
    back, z = float(np.mean(probe.end_to_end("backward"))), probe.log10_z_rms.mean(axis=0)
    # The first layers take z to its own scale; then it stays there.
    assert z[10:] == pytest.approx(z[-1], abs=0.02)
    assert finding(vg.diagnose(probe), "forward_backward_mismatch").value == pytest.approx(back, abs=0.1)


def layered(gains: Iterable[float]) -> vg.MLP:
    inits = tuple(vg.Init("eye", gain=gain) for gain in gains)
    return net(depth=len(inits), width=4, activation="linear", init=inits)


def test_what_the_first_layers_do_to_the_scale_of_data_is_no_vanishing_of_z() -> None:
    d = vg.diagnose(layered([1, 0.01, 0.01, *[1.0] * 27]), dtype="float64")
    assert found(d, "forward_vanishing") is None
    assert finding(d, "backward_vanishing").value == pytest.approx(4, abs=1e-9)
    assert (d.verdict, d.direction) == ("vanishing", "backward")


def test_the_second_half_of_the_layers_counts_twice_where_it_changes_less_than_the_first() -> None:
    # 40 steps: the first 20 halve, the others multiply by 0.8; and the other way round, where all of it counts.
    slower = vg.diagnose(layered([1, *[0.5] * 20, *[0.8] * 20]), dtype="float64")
    assert finding(slower, "forward_vanishing").value == pytest.approx(-40 * math.log10(0.8), abs=1e-9)
    faster = vg.diagnose(layered([1, *[0.8] * 20, *[0.5] * 20]), dtype="float64")
    assert finding(faster, "forward_vanishing").value == pytest.approx(-20 * math.log10(0.8 * 0.5), abs=1e-9)
    for d in (slower, faster):
        assert finding(d, "backward_vanishing").value == pytest.approx(-20 * math.log10(0.8 * 0.5), abs=1e-9)


def test_z_that_turns_round_halfway_has_no_direction() -> None:
    d = vg.diagnose(layered([1, *[0.1] * 20, *[1.5] * 20]), dtype="float64")
    assert not [each for each in d.findings if each.rule.startswith("forward_v") or each.rule.startswith("forward_e")]
    assert d.direction == "backward"


def test_large_data_that_a_net_takes_to_its_own_scale_is_no_vanishing_of_z() -> None:
    x = 1e4 * np.random.default_rng(0).standard_normal((128, 64))
    d = vg.diagnose(net(activation="tanh", init="lecun_normal"), x=x)
    assert d.probe is not None
    assert float(np.mean(d.probe.end_to_end("forward"))) < -4
    assert found(d, "forward_vanishing") is None
    assert "saturated" in d.conditions


# Shares whose size is known


def erf_share(limit: float, sigma: float) -> float:
    return math.erf(limit / sigma / math.sqrt(2))


@pytest.mark.parametrize("sigma", [3.0, 10.0, 100.0])
def test_lost_slopes_of_tanh_are_those_of_the_normal_distribution(sigma: float) -> None:
    # |tanh'| < 0.01 beyond atanh(sqrt(0.99)); z of the only layer is normal with standard deviation sigma.
    limit = math.atanh(math.sqrt(0.99))
    lost = 1 - erf_share(limit, sigma) / erf_share(limit, 1)
    spec = net(depth=1, width=512, activation="tanh", init=f"mean_field(sigma_w={sigma})")
    d = vg.diagnose(spec, batch=512, seeds=4)
    hit = found(d, "saturation")
    if lost < 0.5:
        assert hit is None
    else:
        assert hit is not None
        assert hit.value == pytest.approx(lost, abs=0.005)
        assert hit.severity == ("critical" if lost >= 0.9 else "warning")
        assert hit.layers == (0,)


def test_the_flat_half_of_relu_is_no_saturation() -> None:
    d = vg.diagnose(net(depth=3))
    assert d.probe is not None
    assert d.probe.saturated.mean() == pytest.approx(0.5, abs=0.02)
    assert found(d, "saturation") is None


def test_saturation_names_the_layers_that_are_flat() -> None:
    inits = ("kaiming_normal", "mean_field(sigma_w=100)", "mean_field(sigma_w=1)")
    d = vg.diagnose(net(depth=3, activation=("relu", "tanh", "relu"), init=inits))
    assert finding(d, "saturation").layers == (1,)


def test_an_activation_that_has_no_slope_at_unit_z_is_not_called_saturated() -> None:
    d = vg.diagnose(net(depth=5, activation="threshold(threshold=9, value=0.5)"))
    assert found(d, "saturation") is None


def with_dead(count: int, layer: int = 1) -> vg.Network:
    """A net of 32 ReLUs a layer, so many of which are off for all samples in one of them and all others on."""
    spec = net(depth=3, width=32, bias="constant(value=100)")
    state = spec.init(seed=0).state_dict()
    state[f"layers.{layer}.weight"] *= np.float32(0.01)
    state[f"layers.{layer}.bias"][:count] = -1e5
    return vg.Network.from_state_dict(spec, state)


@pytest.mark.parametrize(
    ("count", "severity"), [(0, None), (16, None), (23, None), (24, "warning"), (31, "warning"), (32, "critical")]
)
def test_dead_units_are_counted(count: int, severity: str | None) -> None:
    d = vg.diagnose(with_dead(count), seeds=2)
    hit = found(d, "dead_units")
    assert (hit and hit.severity) == severity
    assert ("dead" in d.conditions) == (severity is not None)
    if hit:
        assert hit.value == count / 32
        assert hit.layers[0] == 1
        assert hit.confidence == 1


def test_units_that_are_zero_for_some_samples_are_not_dead() -> None:
    # Half of ReLU's outputs are 0 by design.
    d = vg.diagnose(net(depth=50, width=128))
    assert found(d, "dead_units") is None


# Likeness of samples, known exactly


def biased(depth: int, factor: float) -> tuple[vg.Network, Array]:
    """z_l of sample i is factor^l e_i + (1 + factor + ... + factor^(l-1)) e_8, with the eight samples e_0 to e_7."""
    spec = net(depth=depth, width=9, activation="linear", init=vg.Init("eye", gain=factor), bias="zeros")
    state = spec.init(dtype="float64").state_dict()
    for layer in range(depth):
        state[f"layers.{layer}.bias"][8] = 1.0
    return vg.Network.from_state_dict(spec, state), np.eye(9)[:8]


@pytest.mark.parametrize("factor", [0.5, 0.8, 0.95, 1.0, 2.0])
@pytest.mark.parametrize("depth", [2, 10, 40])
def test_folds_of_correlation_are_those_of_a_bias_that_all_samples_share(factor: float, depth: int) -> None:
    def apart(layer: int) -> float:  # 1 - cosine
        own = factor ** (2 * layer)
        shared = sum(factor**k for k in range(layer)) ** 2
        return own / (own + shared)

    # Two of the samples in x are at right angles.
    folds = math.log(1 / apart(depth))
    network, x = biased(depth, factor)
    d = vg.diagnose(network, x=x, seeds=2)
    hit = found(d, "correlation_collapse")
    # Rounding of float64 hides what is closer to 1 than 1e-13.
    seen = min(folds, math.log(1 / 1e-13))
    assert (hit is not None) == (seen >= 6)
    if hit:
        assert hit.value == pytest.approx(seen, rel=1e-3)
        assert hit.layers == tuple(layer for layer in range(depth) if math.log(1 / max(apart(layer + 1), 1e-13)) >= 6)
        assert hit.severity == ("critical" if seen >= 10 else "warning")


def test_samples_that_are_alike_from_the_start_cannot_collapse() -> None:
    d = vg.diagnose(net(), x=np.ones((16, 64)))
    assert "collapsed" not in d.conditions


def test_rank_is_judged_beyond_what_all_samples_have_in_common() -> None:
    spec = net(depth=3, width=8, activation="linear", init="eye")
    along = np.array([1.0, -2, 3, -4, 5, -6, 7, -8])
    state = spec.init(dtype="float64").state_dict()
    state["layers.0.weight"] = np.outer(np.ones(8), along)  # sample i becomes along[i] times a row of ones
    x = np.eye(8)
    hit = finding(vg.diagnose(vg.Network.from_state_dict(spec, state), x=x, seeds=1), "rank_collapse")
    # All cosines are 1 or -1, as many signs each way: their mean is -1/7.
    cosines = np.sign(np.outer(along, along))[~np.eye(8, dtype=bool)]
    rank = (along**2).sum() ** 2 / np.square(np.outer(along, along)).sum()
    aligned = (8 / rank - 1) / 7 - cosines.mean() ** 2
    # Eight units leave samples a mean squared cosine of 1/8.
    assert hit.value == pytest.approx((aligned - 1 / 8) / (1 - 1 / 8), abs=1e-9)
    assert hit.layers == (0, 1)
    # What lies on a line in x already has lost nothing; neither have samples that are all alike.
    for harmless in (np.eye(8), np.ones((8, 8)), np.outer(along, np.arange(1, 9.0))):
        assert found(vg.diagnose(spec, x=harmless, dtype="float64"), "rank_collapse") is None


# What is not finite: where, and why


def cause(d: vg.Diagnosis) -> str:
    hit = finding(d, "non_finite")
    assert hit.severity == "critical"
    assert d.verdict == "exploding"
    assert "non-finite" in d.conditions
    return hit.evidence


def test_a_forward_pass_that_overflows_is_named_with_its_layer() -> None:
    d = vg.diagnose(net(depth=40, width=32, activation="elu", init="mean_field(sigma_w=100)"))
    assert d.probe is not None
    first = int(np.median(d.probe.first_nonfinite))
    assert finding(d, "non_finite").layers == (first,)
    assert f"z or a is not finite at layer {first + 1};" in cause(d)
    size = re.search(r"a layer before, z has the rms 10\^(\d+\.\d)", cause(d))
    assert size is not None
    assert 30 < float(size[1]) < math.log10(np.finfo(np.float32).max)
    assert d.direction == "forward"


def overflowing() -> vg.Network:
    """A net whose readout multiplies by nearly the largest float32."""
    network = net(depth=5, width=8, out_features=3).init(seed=0)
    state = network.state_dict()
    state["readout.weight"] *= np.float32(3e38 / np.abs(state["readout.weight"]).max())
    return vg.Network.from_state_dict(network.spec, state)


def test_a_readout_that_overflows_is_named() -> None:
    x = 10 * np.random.default_rng(0).standard_normal((16, 8))
    d = vg.diagnose(overflowing(), x=x)
    assert "the readout or the loss is not finite" in cause(d)
    assert finding(d, "non_finite").layers == ()
    assert d.confidence == 1


def test_a_loss_that_overflows_is_named() -> None:
    x = np.random.default_rng(0).standard_normal((16, 8))
    spec = net(depth=5, width=8, out_features=3)
    d = vg.diagnose(spec, x=x, y=np.full((16, 3), -1.7e308), loss="mse(reduction=sum)", dtype="float64")
    assert "the readout or the loss is not finite" in cause(d)
    assert d.confidence == 1


def test_a_backward_pass_that_overflows_is_named_with_its_layer() -> None:
    x = 1e-3 * np.random.default_rng(0).standard_normal((16, 8))
    d = vg.diagnose(overflowing(), x=x)
    assert "dL/dz is not finite at layer 5" in cause(d)
    assert finding(d, "non_finite").layers == (4,)
    assert d.direction == "backward"


@pytest.mark.parametrize("sigma", [90, 100, 110])
def test_runs_that_are_not_finite_are_counted(sigma: int) -> None:
    d = vg.diagnose(net(depth=21, width=8, activation="elu", init=f"mean_field(sigma_w={sigma})"))
    assert d.probe is not None
    lost = int((d.probe.first_nonfinite >= 0).sum())
    assert 0 < lost < 8
    hit = finding(d, "non_finite")
    assert (hit.value, hit.confidence) == (lost / 8, lost / 8)
    # z grows by 37 decades too, whether or not most runs are lost on their way back.
    assert (d.verdict, d.direction, d.confidence) == ("exploding", "both", 1)
    assert d.summary.startswith("exploding (both)")
    assert f"{lost} of 8 runs are not finite" in d.summary


def test_a_net_has_exploded_where_half_of_its_runs_are_not_finite() -> None:
    # Of the two samples one overflows, and each run draws one of them.
    spec = net(depth=5, width=8, activation="elu", init="lecun_normal")
    state = spec.init(seed=0).state_dict()
    state["layers.0.weight"] *= np.float32(1e30)
    network, x = vg.Network.from_state_dict(spec, state), np.outer([1e-30, 1e10], np.ones(8))
    seen = set()
    for seed in range(0, 80, 8):
        d = vg.diagnose(network, x=x, batch=1, seed=seed)
        assert d.probe is not None
        lost = int((d.probe.first_nonfinite >= 0).sum())
        assert ("non-finite" in d.conditions) == (lost > 0)
        assert (d.verdict, d.direction) == (("exploding", "forward") if lost >= 4 else ("healthy", None))
        assert d.confidence == (lost if lost >= 4 else 8 - lost) / 8
        seen.add(lost)
    assert {3, 4, 5} <= seen


# Number formats

BFLOAT16_MAX = 3.3895313892515355e38


def bfloat16(value: float) -> float:
    """The nearest bfloat16, ties to even: float32 without its lower 16 bits."""
    if value >= BFLOAT16_MAX * (1 + 2.0**-9):
        return math.inf
    least = 2.0**-133
    if value < 2.0**-126:
        return round(value / least) * least
    step = 2.0 ** (math.floor(math.log2(value)) - 7)
    return round(value / step) * step


ROUND: dict[str, Callable[[float], float]] = {"bfloat16": bfloat16}
LEAST_NORMAL = {"float16": 2.0**-14, "float32": 2.0**-126, "bfloat16": 2.0**-126}


def kind_of(value: float, form: str) -> str | None:
    """What becomes of a number in a format, by a cast."""
    with np.errstate(over="ignore", under="ignore"):
        cast = ROUND[form](value) if form in ROUND else float(np.dtype(form).type(value))
    if math.isinf(cast):
        return "inf"
    if cast == 0:
        return "0"
    return "subnormal" if value < LEAST_NORMAL[form] else None


def said(evidence: str) -> dict[tuple[str, str, str], set[int]]:
    """(signal, what it would be, format) -> layers, as written."""
    told: dict[tuple[str, str, str], set[int]] = {}
    for part in evidence.split("; "):
        match = re.fullmatch(r"(z|a|dL/dz) would be (0|inf|subnormal) in (.+) at layers? ([-\d, ]+)", part)
        assert match is not None, part
        spans = [[int(n) for n in span.split("-")] for span in match[4].split(", ")]
        layers = {layer for span in spans for layer in range(span[0] - 1, span[-1])}
        for form in match[3].split(" and "):
            assert (match[1], match[2], form) not in told
            told[match[1], match[2], form] = layers
    return told


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "fields",
    [
        {"depth": 40, "init": "mean_field(sigma_w=0.5)"},
        {"depth": 90, "init": "mean_field(sigma_w=0.5)"},
        {"depth": 200, "init": "mean_field(sigma_w=0.5)"},
        {"depth": 120, "init": "mean_field(sigma_w=5)"},
        {"depth": 20, "activation": "sigmoid", "init": "xavier_normal"},
        {"depth": 14, "activation": "tanh", "init": "mean_field(sigma_w=30)"},
    ],
)
def test_formats_lose_what_a_cast_loses(fields: dict[str, Any], dtype: str) -> None:
    d = vg.diagnose(net(**fields), seeds=1, dtype=dtype)
    probe = d.probe
    assert probe is not None
    back = probe.log10_delta_rms[0]
    sizes = {"z": probe.log10_z_rms[0], "a": probe.log10_a_rms[0], "dL/dz": back - back[-1]}
    expected: dict[tuple[str, str, str], set[int]] = {}
    for signal, values in sizes.items():
        for form in FORMATS:
            for layer, size in enumerate(values):
                kind = kind_of(10.0**size, form)
                if kind is not None:
                    expected.setdefault((signal, kind, form), set()).add(layer)
    hit = finding(d, "float_range")
    assert said(hit.evidence) == expected
    forms = {form for _, _, form in expected}
    assert hit.value == len(forms)
    own = {kind for _, kind, form in expected if form == dtype}
    severity = "info" if not own else "warning" if own == {"subnormal"} else "critical"
    assert hit.severity == severity
    shown = {layer for (_, _, form), layers in expected.items() if form == dtype or not own for layer in layers}
    assert set(hit.layers) == shown


def test_a_loss_scale_moves_no_number_out_of_a_format() -> None:
    x, y = np.random.default_rng(0).standard_normal((32, 64)), np.zeros((32, 64))
    d = vg.diagnose(net(), x=x, y=y + 1e-20, loss="mse")
    assert found(d, "float_range") is None


# Width


def digamma(count: int) -> tuple[dict[int, float], dict[int, float]]:
    """psi(k/2) and psi'(k/2) for k up to count, by their recurrences."""
    psi = {1: -np.euler_gamma - 2 * math.log(2), 2: -np.euler_gamma}
    slope = {1: math.pi**2 / 2, 2: math.pi**2 / 6}
    for k in range(3, count + 1):
        psi[k] = psi[k - 2] + 2 / (k - 2)
        slope[k] = slope[k - 2] - 4 / (k - 2) ** 2
    return psi, slope


def of_a_layer(width: int) -> tuple[float, float]:
    """Mean and variance of ln of 2/width chi^2_k, k ~ Bin(width, 1/2), by which He ReLUs multiply |dL/dz|^2."""
    psi, slope = digamma(width)
    share = {k: math.comb(width, k) / 2**width for k in psi}
    mean = sum(p * psi[k] for k, p in share.items())
    variance = sum(p * (slope[k] + (psi[k] - mean) ** 2) for k, p in share.items())
    return mean + math.log(4 / width), variance


def test_a_layer_of_relus_varies_by_hanins_5_over_width() -> None:
    mean, variance = of_a_layer(1000)
    assert variance == pytest.approx(5 / 1000, rel=0.01)
    assert mean == pytest.approx(-variance / 2, rel=0.01)


@pytest.mark.parametrize(("width", "depth"), [(32, 50), (64, 50), (128, 100)])
def test_the_drift_of_relus_is_that_of_hanin_and_nica(width: int, depth: int) -> None:
    # ln |J|^2 has the variance v: the typical |J|^2 is exp(-v/2) of the mean one, |J| is v / (4 ln 10) decades lower.
    mean, variance = of_a_layer(width)
    drift, typical = (depth - 1) * variance / (4 * math.log(10)), (depth - 1) * mean / (2 * math.log(10))
    d = vg.diagnose(net(width=width, depth=depth), batch=1, seeds=256, thresholds={"finite_width": {"info": 1e-6}})
    hit = finding(d, "finite_width")
    assert hit.value == pytest.approx(drift, rel=0.05)
    assert d.probe is not None
    changes = d.probe.end_to_end("backward")
    assert float(np.mean(changes)) == pytest.approx(typical, abs=3 * float(np.std(changes)) / math.sqrt(256))
    # The root mean square over nets is free of the width.
    assert found(d, "backward_vanishing") is None


@pytest.mark.parametrize(
    ("steps", "shares"),
    [
        ("walk", lambda layers: layers),  # each layer's factor by itself
        ("still", lambda _: 2),  # the size of each layer by itself, as behind a normalisation
        ("slow", lambda layers: 9 * layers - 12),  # each factor the sum of three shocks that the next two share
    ],
)
def test_drifts_add_up_what_layers_near_each_other_share(steps: str, shares: Callable[[int], int]) -> None:
    shocks = 0.1 * np.random.default_rng(0).standard_normal((4000, 102))
    sizes = {
        "walk": shocks.cumsum(axis=1),
        "still": shocks,
        "slow": (shocks[:, 2:] + shocks[:, 1:-1] + shocks[:, :-2]).cumsum(axis=1),
    }[steps]
    layers = sizes.shape[1] - 1
    got = drifts(sizes)
    assert got.shape == (layers + 1,)
    assert got[0] == 0
    assert got[-1] == pytest.approx(math.log(10) * 0.01 * shares(layers), rel=0.03, abs=0.01)


def test_orthogonal_weights_do_not_drift() -> None:
    d = vg.diagnose(net(width=16, depth=100, activation="linear", init="orthogonal"))
    assert found(d, "finite_width") is None
    assert d.verdict == "healthy"


def test_nets_that_fade_by_their_width_alone_vanish_in_a_typical_net() -> None:
    d = vg.diagnose(net(depth=100, width=16))
    assert (d.verdict, d.direction) == ("vanishing", "backward")
    # Their root mean square is kept (Hanin and Nica 2018), by nets so rare that none is among 8: no such size is told.
    hit = found(d, "backward_vanishing")
    assert d.probe is not None
    assert hit is None or hit.value <= -d.probe.end_to_end("backward").max() + 1e-9
    assert d.depth_limit is not None
    assert d.depth_limit.value < 100


# Seeds


def test_seeds_that_disagree_are_counted() -> None:
    d = vg.diagnose(net(**CASES["seeds_disagree"].sick))
    assert d.probe is not None
    changes = d.probe.end_to_end("backward")
    exploding, healthy = int((changes >= 1.5).sum()), int((np.abs(changes) < 1.5).sum())
    assert exploding + healthy == 8
    hit = finding(d, "seeds_disagree")
    assert hit.value == min(exploding, healthy) / 8
    assert hit.layers == ()
    assert f"{exploding} explode" in hit.evidence
    assert f"{healthy} are healthy" in hit.evidence
    assert d.confidence == (exploding if d.verdict == "exploding" else healthy) / 8
    assert f"{round(8 * d.confidence)} of 8 runs agree" in str(d)


def test_the_confidence_of_a_finding_is_the_share_of_runs_that_show_it_by_themselves() -> None:
    d = vg.diagnose(net(**CASES["seeds_disagree"].sick))
    assert d.probe is not None
    hit = finding(d, "backward_exploding")
    assert 0 < hit.confidence < 1
    assert hit.confidence == np.mean(d.probe.end_to_end("backward") >= hit.threshold)


def test_a_signal_is_lost_where_it_arrives_in_no_more_than_half_of_the_runs() -> None:
    seen = set()
    for width, seed in itertools.product((2, 3, 4), range(0, 80, 8)):
        d = vg.diagnose(net(width=width, depth=10), seed=seed)
        assert d.probe is not None
        nothing = np.isneginf(d.probe.log10_delta_rms[:, 0])
        lost = int(nothing.sum())
        hit = found(d, "backward_vanishing")
        assert (hit is not None and hit.value == math.inf) == (lost >= 4)
        if lost >= 4:
            shown = nothing | (d.probe.end_to_end("backward") <= -1.5)
            assert finding(d, "backward_vanishing").confidence == np.mean(shown)
            assert "does not arrive" in finding(d, "backward_vanishing").evidence
        seen.add(lost)
    assert {3, 4, 5} <= seen


def test_the_confidence_of_a_range_is_the_share_of_runs_that_leave_it() -> None:
    # Some runs grow beyond float16 and some do not.
    d = vg.diagnose(net(depth=40, width=64, init="mean_field(sigma_w=1.9)"))
    hit = finding(d, "float_range")
    assert d.probe is not None
    with np.errstate(invalid="ignore"):
        deltas = d.probe.log10_delta_rms - d.probe.log10_delta_rms[:, -1:]
    sizes = np.concatenate([d.probe.log10_z_rms, d.probe.log10_a_rms, deltas], axis=1)
    top, normal, _ = FORMATS["float16"]
    assert hit.confidence == ((sizes > top) | (sizes < normal)).any(axis=1).mean()
    assert 0 < hit.confidence < 1


def test_one_seed_cannot_disagree() -> None:
    assert found(vg.diagnose(net(**CASES["seeds_disagree"].sick), seeds=1), "seeds_disagree") is None


# Thresholds

MILD = {"depth": 12, "init": "mean_field(sigma_w=1)"}  # 1.66 decades both ways: vanishing backward alone


def judged(thresholds: Mapping[str, float | Mapping[str, float]] | None, **fields: Any) -> vg.Diagnosis:
    return vg.diagnose(net(**(MILD | fields)), thresholds=thresholds)


@each_rule
def test_a_number_moves_all_levels_in_proportion(rule: Rule) -> None:
    decisive = rule.thresholds.get("warning", max(rule.thresholds.values()))
    changed = {each.id: each for each in with_thresholds({rule.id: 3 * decisive})}
    assert changed[rule.id].thresholds == pytest.approx({s: 3 * v for s, v in rule.thresholds.items()})
    assert changed[rule.id] == dataclasses.replace(rule, thresholds=changed[rule.id].thresholds)
    assert all(changed[each.id] is each for each in RULES if each is not rule)
    assert list(changed) == list(BY_ID)


@each_rule
def test_a_mapping_takes_the_place_of_all_levels(rule: Rule) -> None:
    changed = {each.id: each for each in with_thresholds({rule.id: {"critical": 7}})}
    assert changed[rule.id].thresholds == {"critical": 7.0}


@pytest.mark.parametrize("thresholds", [None, {}])
def test_no_thresholds_are_the_table(thresholds: Any) -> None:
    assert with_thresholds(thresholds) == RULES


@each_rule
def test_a_threshold_beyond_the_value_silences_a_rule_and_one_at_it_does_not(rule: Rule) -> None:
    case = CASES[rule.id]
    spec = case.of(**case.sick)
    value = finding(vg.diagnose(spec, **case.options), rule.id).value

    def with_level(level: float) -> Finding | None:
        d = vg.diagnose(spec, **case.options, thresholds={rule.id: {"info": level}})
        if found(d, rule.id) is None:
            assert rule.condition not in d.conditions
        return found(d, rule.id)

    assert with_level(value * 1.001) is None
    hit = with_level(value)
    assert hit is not None
    assert (hit.severity, hit.threshold, hit.value) == ("info", value, value)


def test_the_verdict_follows_the_thresholds() -> None:
    assert str(judged(None).word) == "vanishing (backward)"
    value = finding(judged(None), "backward_vanishing").value
    assert 1.5 < value < 2
    assert judged({"backward_vanishing": 2}).word == "healthy"
    assert judged({"forward_vanishing": 1.5}).word == "vanishing (both)"
    assert judged({"backward_vanishing": 2, "forward_vanishing": 1.5}).word == "vanishing (forward)"
    assert finding(judged({"backward_vanishing": 2}), "backward_vanishing").severity == "info"
    assert finding(judged({"backward_vanishing": 0.6}), "backward_vanishing").severity == "critical"
    # What is only worth knowing decides nothing, unless there is no other level.
    assert judged({"backward_vanishing": {"info": 1, "warning": 2}}).word == "healthy"
    assert judged({"backward_vanishing": {"info": 1}}).word == "vanishing (backward)"


def test_other_thresholds_of_other_rules_change_nothing() -> None:
    assert judged({"saturation": 0.1, "dead_units": 0.99}).findings == judged(None).findings


def test_a_stricter_threshold_finds_what_is_healthy_by_default() -> None:
    spec = net(activation="tanh", init="xavier_normal", depth=50, width=128)
    assert vg.diagnose(spec).word == "healthy"
    assert vg.diagnose(spec, thresholds={"backward_vanishing": 0.5}).word == "vanishing (backward)"


def test_conditions_follow_the_thresholds() -> None:
    sick = CASES["saturation"].sick
    assert "saturated" in vg.diagnose(net(**sick)).conditions
    assert "saturated" not in vg.diagnose(net(**sick), thresholds={"saturation": {"warning": 0.999}}).conditions


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ({"saturatoin": 1}, r"unknown rule 'saturatoin' \(did you mean 'saturation'\?\); choose from: backward_"),
        ({"saturation": {"warnin": 1}}, r"unknown severity 'warnin' \(did you mean 'warning'\?\); choose from: info"),
        *(
            ({"saturation": wrong}, "a threshold of saturation must be a number above 0, and finite, got ")
            for wrong in (
                -1,
                0,
                0.0,
                math.nan,
                math.inf,
                -math.inf,
                None,
                "0.5",
                [1],
                {},
                {"warning": -1},
                True,
                np.True_,
            )
        ),
        ({"dead_units": {"warning": math.nan}}, "a threshold of dead_units must be a number above 0, and finite, got "),
        ({"dead_units": {"warning": None}}, "a threshold of dead_units must be a number above 0, and finite, got "),
        ([1], r"thresholds must be given by rule, such as \{'saturation': 0.7\}, got \[1\]"),
        ("saturation", "thresholds must be given by rule"),
    ],
)
def test_thresholds_that_are_none_are_refused(thresholds: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        vg.diagnose(net(depth=2), thresholds=thresholds)


def test_numpy_numbers_are_thresholds() -> None:
    given: dict[str, Any] = {"saturation": np.float32(0.25), "dead_units": np.int64(3)}
    changed = {each.id: each for each in with_thresholds(given)}
    assert changed["saturation"].thresholds["warning"] == 0.25
    assert changed["dead_units"].thresholds["warning"] == 3
