"""A diagnosis: verdicts that hold over seeds, widths, batches, dtypes and loss scales, and how deep a recipe can go."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

import strategies
import vgcore as vg
from vgcore.judge import foreign
from vgcore.judge.depth_limit import DepthLimit
from vgcore.judge.evidence import Evidence
from vgcore.judge.finding import SEVERITIES, Finding
from vgcore.judge.rules import RULES
from vgcore.reference.cases import targets

Array: TypeAlias = npt.NDArray[Any]

BY_ID = {rule.id: rule for rule in RULES}
TANH_GAIN = "xavier_normal(gain=1.6666666666666667)"


def net(**fields: Any) -> vg.MLP:
    given_: dict[str, Any] = {"depth": 30, "width": 64, "activation": "relu", "init": "kaiming_normal"}
    return vg.MLP(**(given_ | fields))


def limit(d: vg.Diagnosis) -> DepthLimit:
    assert d.depth_limit is not None
    return d.depth_limit


# The measured table of nets whose truth is known


@dataclass(frozen=True)
class Row:
    """A net, what is true of it, and the highest severities that may be found."""

    fields: dict[str, Any]
    verdict: str
    direction: str | None
    conditions: tuple[str, ...] = ()
    findings: dict[str, str] = dataclasses.field(default_factory=dict)  # these at least, and none as severe besides


TABLE = {
    "ReLU at torch's scale": Row(
        {"depth": 30, "init": f"mean_field(sigma_w={math.sqrt(1 / 3)})"},
        "vanishing",
        "both",
        findings={"backward_vanishing": "critical", "forward_vanishing": "critical", "weight_gradient_flat": "info"},
    ),
    "ReLU at torch's scale with its biases": Row(
        {"depth": 30, "init": "torch_default", "bias": "torch_default"},
        "vanishing",
        "backward",
        ("collapsed",),
        {"backward_vanishing": "critical", "correlation_collapse": "critical", "forward_backward_mismatch": "info"},
    ),
    "ReLU, Xavier": Row(
        {"depth": 50, "init": "xavier_normal"},
        "vanishing",
        "both",
        findings={"backward_vanishing": "critical", "forward_vanishing": "critical", "weight_gradient_flat": "info"},
    ),
    "ReLU, Kaiming": Row({"depth": 50, "init": "kaiming_normal"}, "healthy", None),
    "ReLU at 2/sqrt(n)": Row(
        {"depth": 30, "init": "mean_field(sigma_w=2)"},
        "exploding",
        "both",
        findings={"backward_exploding": "critical", "forward_exploding": "critical", "weight_gradient_flat": "info"},
    ),
    "tanh, Xavier": Row(
        {"depth": 50, "activation": "tanh", "init": "xavier_normal"},
        "healthy",
        None,
        findings={"backward_vanishing": "info"},  # mild decay
    ),
    "tanh at torch's gain": Row(
        {"depth": 50, "activation": "tanh", "init": TANH_GAIN},
        "exploding",
        "backward",
        findings={"backward_exploding": "warning", "forward_backward_mismatch": "info"},  # slow explosion
    ),
    "sigmoid, Xavier": Row(
        {"depth": 8, "activation": "sigmoid", "init": "xavier_normal"},
        "vanishing",
        "backward",
        ("collapsed",),
        {"backward_vanishing": "critical", "forward_backward_mismatch": "info"},
    ),
}
each_row = pytest.mark.parametrize("row", TABLE.values(), ids=list(TABLE))


@each_row
def test_every_net_of_the_table_is_judged_right_over_20_blocks_of_seeds(row: Row) -> None:
    for block in range(20):
        d = vg.diagnose(net(width=128, **row.fields), batch=128, seeds=8, seed=8 * block)
        assert (d.verdict, d.direction, d.conditions) == (row.verdict, row.direction, row.conditions)
        found = {finding.rule: finding.severity for finding in d.findings}
        assert {rule: found.get(rule) for rule in row.findings} == row.findings
        others = {severity for rule, severity in found.items() if rule not in row.findings}
        assert others <= ({"info", "warning", "critical"} if row.conditions else {"info"})
        if row.verdict == "healthy":
            assert {*found} == {*row.findings}


@pytest.mark.parametrize(("width", "blocks"), [(32, 20), (64, 10), (512, 2)])
@each_row
def test_a_verdict_does_not_depend_on_the_width(row: Row, width: int, blocks: int) -> None:
    for block in range(blocks):
        d = vg.diagnose(net(width=width, **row.fields), seed=8 * block)
        assert (d.verdict, d.direction, d.conditions) == (row.verdict, row.direction, row.conditions)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [8, 64, 512])
@each_row
def test_a_verdict_depends_on_neither_batch_nor_dtype(row: Row, batch: int, dtype: str) -> None:
    for block in range(2):
        d = vg.diagnose(net(width=64, **row.fields), batch=batch, dtype=dtype, seed=8 * block)
        assert (d.verdict, d.direction, d.conditions) == (row.verdict, row.direction, row.conditions)


@each_row
def test_both_dtypes_measure_the_same_net(row: Row) -> None:
    single, double = (vg.diagnose(net(width=64, **row.fields), dtype=dtype) for dtype in ("float32", "float64"))
    assert evidence(single).backward.rms == pytest.approx(evidence(double).backward.rms, abs=0.5)


def evidence(d: vg.Diagnosis) -> Evidence:
    assert d.probe is not None
    return Evidence(d.probe)


# The scale of the loss


def facts(d: vg.Diagnosis) -> tuple[Any, ...]:
    """All that is judged, without numbers that rounding may touch."""
    found = [(f.rule, f.severity, f.layers, f.threshold, f.confidence) for f in d.findings]
    limit_ = d.depth_limit and (d.depth_limit.value, d.depth_limit.measured)
    return d.verdict, d.direction, d.conditions, d.confidence, limit_, found


def numbers(d: vg.Diagnosis) -> list[float]:
    return [finding.value for finding in d.findings]


SCALED = ("ReLU at torch's scale", "ReLU, Kaiming", "tanh at torch's gain", "sigmoid, Xavier")
each_scaled = pytest.mark.parametrize("row", [TABLE[name] for name in SCALED], ids=SCALED)


def samples(spec: vg.MLP, loss: str = "mse") -> dict[str, Any]:
    rng = np.random.default_rng(0)
    assert isinstance(spec.width, int)
    assert spec.out_features is not None
    return {
        "x": rng.standard_normal((256, spec.width)),
        "y": targets(loss, rng, 256, spec.out_features),
        "loss": loss,
        "batch": 128,
    }


@pytest.mark.parametrize("power", [-20, -10, 10, 20])
@each_scaled
def test_a_loss_from_a_millionth_to_a_million_times_as_large_changes_nothing(row: Row, power: int) -> None:
    # y and the targets times s: mse times s^2, dL/dz of the last layer too. Powers of two change no bit.
    spec = net(out_features=10, **row.fields)
    data, scale = samples(spec), 2.0 ** (power / 2)
    state = spec.init(seed=3).state_dict()
    plain = vg.diagnose(vg.Network.from_state_dict(spec, state), **data)
    scaled = vg.diagnose(
        vg.Network.from_state_dict(spec, state | {"readout.weight": np.float32(scale) * state["readout.weight"]}),
        **(data | {"y": scale * data["y"]}),
    )
    assert plain.probe is not None
    assert scaled.probe is not None
    moved = scaled.probe.log10_delta_rms - plain.probe.log10_delta_rms
    np.testing.assert_allclose(moved, power * math.log10(2), atol=1e-9)
    assert facts(scaled) == facts(plain)
    assert numbers(scaled) == pytest.approx(numbers(plain), abs=1e-9)
    assert (plain.verdict, plain.direction) == (row.verdict, row.direction)


@pytest.mark.parametrize("loss", vg.LOSSES)
@each_scaled
def test_a_sum_is_judged_as_the_mean_is(row: Row, loss: str) -> None:
    spec = net(out_features=10, **row.fields)
    data = samples(spec, loss)
    mean, summed = (vg.diagnose(spec, **(data | {"loss": vg.Loss(loss, reduction=r)})) for r in ("mean", "sum"))
    assert mean.probe is not None
    assert summed.probe is not None
    ratio = summed.probe.log10_delta_rms - mean.probe.log10_delta_rms
    count = 128 if loss in {"cross_entropy", "half_mse", "output_sum"} else 1280
    np.testing.assert_allclose(ratio, math.log10(count), atol=1e-5)
    assert facts(summed) == facts(mean)
    assert numbers(summed) == pytest.approx(numbers(mean), abs=1e-5)


@pytest.mark.parametrize("loss", vg.LOSSES)
@each_row
def test_every_loss_gets_the_verdict_of_the_net(row: Row, loss: str) -> None:
    spec = net(out_features=10, **row.fields)
    d = vg.diagnose(spec, **samples(spec, loss))
    assert (d.verdict, d.direction, d.conditions) == (row.verdict, row.direction, row.conditions)


def test_rules_of_other_tools_follow_the_scale_of_the_loss_and_ours_do_not() -> None:
    spec = net(depth=8, activation="sigmoid", init="xavier_normal", out_features=10)
    data = samples(spec)
    said = {
        rules: [
            vg.diagnose(spec, rules=rules, seeds=2, **(data | {"loss": f"mse(reduction={r})"})).verdict
            for r in ("mean", "sum")
        ]
        for rules in ("vgcore", "sagemaker", "autotrainer")
    }
    assert said["vgcore"] == ["vanishing", "vanishing"]
    assert said["autotrainer"] == ["vanishing", "healthy"]


# How deep


def chain(depth: int, factor: float) -> vg.MLP:
    """A net that multiplies by a factor a layer, both ways."""
    return net(depth=depth, width=4, activation="linear", init=vg.Init("eye", gain=factor))


FACTORS = [0.02, 0.3, 0.5, 0.9, 0.99, 1.01, 1.1, 2.0, 3.0, 40.0]


def reaches(factor: float, decades: float = 1.5) -> int:
    """The largest depth at which a factor a layer stays below so many decades."""
    depth = 1
    while abs(math.log10(factor)) * depth < decades:
        depth += 1
    return depth


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("depth", [2, 5, 40, 400])
@pytest.mark.parametrize("given_x", [False, True])
def test_the_depth_limit_of_a_linear_chain_is_exact(factor: float, depth: int, given_x: bool) -> None:
    x = np.random.default_rng(0).standard_normal((16, 4)) if given_x else None
    found = limit(vg.diagnose(chain(depth, factor), x=x, dtype="float64", seeds=3))
    expected = reaches(factor)
    assert (found.value, found.low, found.high) == (expected, expected, expected)
    assert found.factor == pytest.approx(10**1.5)
    assert found.measured == (expected < depth)


def test_a_net_that_keeps_its_signal_has_no_limit() -> None:
    found = limit(vg.diagnose(chain(10, 1.0), dtype="float64"))
    assert (found.value, found.low, found.high, found.measured) == (math.inf, math.inf, math.inf, False)
    assert str(found) == "no limit; nets of any depth keep dL/dz within 32-fold"


@pytest.mark.parametrize(
    ("decades", "told"),
    [
        (0.01, "within 1.02-fold"),
        (3, "within 1000-fold"),
        (30, "within 10^30-fold"),
        (1e30, "no limit; dL/dz may change by any factor"),
    ],
)
def test_a_change_that_is_allowed_is_told_at_any_size(decades: float, told: str) -> None:
    d = vg.diagnose(chain(20, 0.5), thresholds={"backward_vanishing": decades}, dtype="float64")
    assert told in str(limit(d))
    assert max(map(len, str(limit(d)).split())) < 12


@pytest.mark.parametrize(("decades", "expected"), [(0.5, 2), (1.5, 5), (3.1, 11)])
def test_the_depth_limit_follows_the_threshold_of_vanishing(decades: float, expected: int) -> None:
    d = vg.diagnose(chain(20, 0.5), thresholds={"backward_vanishing": decades}, dtype="float64")
    assert limit(d).value == reaches(0.5, decades) == expected
    assert limit(d).factor == pytest.approx(10**decades)


def test_of_a_net_with_skips_the_limit_names_the_signal_that_it_is_of() -> None:
    told = str(limit(vg.diagnose(net(skip="residual", branch_scale=1.0), seeds=2)))
    assert "dL/dh within 32-fold" in told
    assert "dL/dz" not in told


def test_one_seed_has_a_limit_without_an_interval() -> None:
    found = limit(vg.diagnose(net(init="xavier_normal"), seeds=1))
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.value == pytest.approx(reaches(math.sqrt(0.5)), abs=1)
    assert str(found) == f"{found.value:.0f} layers keep dL/dz within 32-fold"


@pytest.mark.parametrize(
    "fields",
    [
        {"depth": 1},
        {"skip": "residual", "branch_scale": "1/sqrt(L)"},
        {"skip": "residual", "init": "fixup"},
        {"init": "depth_mup"},
        {"init": "zeros"},
        {"depth": 40, "activation": "elu", "init": "mean_field(sigma_w=100)"},
    ],
)
def test_there_is_no_limit_to_name_where_layers_know_the_depth_or_nothing_arrives(fields: dict[str, Any]) -> None:
    d = vg.diagnose(net(**fields))
    assert d.depth_limit is None
    assert "depth limit" not in str(d)


NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(201)


def mean_of(f: Array) -> float:
    """The mean of a function of a standard normal number, given at the nodes."""
    return float(WEIGHTS @ f / WEIGHTS.sum())


def mean_field_factor(activation: str, sigma_w: float) -> float:
    """What a layer of a wide net multiplies dL/dz by, once z has its own scale (Schoenholz et al. 2017)."""
    q = 1.0
    for _ in range(2000):
        z = math.sqrt(q) * NODES
        a = np.tanh(z) if activation == "tanh" else 1 / (1 + np.exp(-z))
        q = sigma_w**2 * mean_of(a**2)
    slope = 1 - a**2 if activation == "tanh" else a * (1 - a)
    return sigma_w * math.sqrt(mean_of(slope**2))


def test_the_limit_of_sigmoid_is_that_of_its_mean_field_factor() -> None:
    factor = mean_field_factor("sigmoid", 1)
    assert factor == pytest.approx(0.236, abs=1e-3)  # z is about 0.5 on average in each unit
    for depth in (2, 8, 30):
        for block in range(5):
            found = limit(vg.diagnose(net(depth=depth, activation="sigmoid", init="xavier_normal"), seed=8 * block))
            assert found.value == reaches(factor) == 3
            assert found.measured == (depth > 3)


@pytest.mark.parametrize("sigma_w", [5 / 3, 2.0, 3.0])
def test_the_limit_of_tanh_is_that_of_its_mean_field_factor(sigma_w: float) -> None:
    expected = reaches(mean_field_factor("tanh", sigma_w))
    d = vg.diagnose(net(depth=60, width=512, activation="tanh", init=f"mean_field(sigma_w={sigma_w})"))
    found = limit(d)
    assert found.measured
    assert found.value == pytest.approx(expected, abs=max(1, 0.1 * expected))
    assert evidence(d).factor(evidence(d).backward) == pytest.approx(mean_field_factor("tanh", sigma_w), rel=0.01)


@pytest.mark.parametrize(
    ("fields", "shallow", "deep"),
    [
        ({"init": "xavier_normal"}, 5, 40),
        ({"init": "mean_field(sigma_w=1.3)"}, 20, 120),
        ({"init": "mean_field(sigma_w=1.6)"}, 15, 120),
        ({"activation": "tanh", "init": TANH_GAIN}, 30, 80),
        ({"activation": "tanh", "init": "mean_field(sigma_w=0.9)"}, 20, 80),
        ({"activation": "elu", "init": "lecun_normal"}, 60, 120),
    ],
)
def test_a_limit_carried_on_from_where_layers_have_settled_is_what_a_deeper_net_measures(
    fields: dict[str, Any], shallow: int, deep: int
) -> None:
    far = limit(vg.diagnose(net(width=256, depth=deep, **fields)))
    near = limit(vg.diagnose(net(width=256, depth=shallow, **fields)))
    assert (near.measured, far.measured) == (False, True)
    assert shallow <= near.value
    assert near.value == pytest.approx(far.value, rel=0.25)
    assert near.low <= near.value <= near.high
    assert "carried on from the depth measured" in str(near)
    assert "carried on" not in str(far)


@pytest.mark.parametrize("fields", [TABLE[name].fields for name in TABLE if name != "tanh, Xavier"], ids=str)
def test_a_net_is_unhealthy_just_where_its_depth_limit_is_passed(fields: dict[str, Any]) -> None:
    d = vg.diagnose(net(width=256, **fields))
    assert (d.verdict != "healthy") == (limit(d).value < d.spec.depth)
    within = d.spec.replace(depth=max(2, int(limit(d).value * 0.9)))
    beyond = d.spec.replace(depth=math.ceil(limit(d).value * 1.1))
    if limit(d).measured:
        assert "backward" not in str(vg.diagnose(within).direction)
        assert vg.diagnose(within).direction != "both"
        assert vg.diagnose(beyond).direction in {"backward", "both"}


# Change, corrected for the width


@pytest.mark.parametrize("width", [32, 128])
def test_he_relu_nets_keep_their_gradient_in_the_root_mean_square_at_any_width(width: int) -> None:
    # Of one sample the mean square is kept exactly: E |W^T (d * mask)|^2 = |d|^2. The interval is a 95 % one.
    inside = 0
    for block in range(40):
        change = Evidence(vg.probe(net(depth=50, width=width), batch=1, seed=8 * block)).backward
        inside += change.low <= 0 <= change.high
        assert change.typical < change.rms
    assert inside >= 36


# What may be judged


def same(a: vg.Diagnosis, b: vg.Diagnosis) -> bool:
    return repr(a.to_dict()) == repr(b.to_dict())  # nan is equal to itself there


def test_a_spec_is_judged_as_its_probe_is() -> None:
    spec = net(activation="tanh", init=TANH_GAIN, depth=50)
    options: dict[str, Any] = {"seeds": 3, "seed": 7, "batch": 33, "dtype": "float64"}
    probe = vg.probe(spec, **options)
    d = vg.diagnose(probe)
    assert d.probe is probe
    assert same(d, vg.diagnose(spec, **options))
    assert d.spec == spec
    assert d.rules == "vgcore"
    assert d.cells == ()


def test_data_and_loss_reach_the_probe() -> None:
    spec = net(out_features=10)
    data = samples(spec, "cross_entropy")
    d = vg.diagnose(spec, **data)
    assert d.probe is not None
    assert (d.probe.loss, d.probe.batch) == ("cross_entropy", 128)
    assert same(d, vg.diagnose(vg.probe(spec, **data)))


def test_the_number_of_threads_changes_no_bit() -> None:
    spec = net(depth=50, activation="tanh", init=TANH_GAIN)
    first, *others = (vg.diagnose(spec, threads=threads, explain=True) for threads in (1, 2, 4))
    assert all(same(first, other) for other in others)


def test_a_drawn_network_is_judged_by_its_own_weights() -> None:
    spec = net(init="xavier_normal")
    network = spec.init(seed=3)
    d = vg.diagnose(network, seeds=4)
    assert (d.verdict, d.direction) == ("vanishing", "both")
    assert same(d, vg.diagnose(vg.probe(network, seeds=4)))


def edited(factor: float, layers: range) -> vg.Network:
    spec = net(depth=20)
    state = spec.init(seed=0).state_dict()
    for layer in layers:
        state[f"layers.{layer}.weight"] *= np.float32(factor)
    return vg.Network.from_state_dict(spec, state)


@pytest.mark.parametrize(("factor", "word"), [(1.0, "healthy"), (0.5, "vanishing (both)"), (2.0, "exploding (both)")])
def test_a_network_edited_by_hand_is_judged_as_it_is(factor: float, word: str) -> None:
    assert vg.diagnose(edited(factor, range(20))).word == word


def test_one_layer_of_zeros_stops_both_signals() -> None:
    d = vg.diagnose(edited(0.0, range(9, 10)))
    assert (d.verdict, d.direction) == ("vanishing", "both")
    assert "dead" in d.conditions
    assert "does not arrive" in d.summary
    assert {f.rule: f.value for f in d.findings}["backward_vanishing"] == math.inf


def test_a_sweep_is_judged_cell_by_cell_and_by_its_worst() -> None:
    sweep = vg.sweep(
        net(width=32), depth=[2, 20, 40], init=["kaiming_normal", "xavier_normal", "mean_field(sigma_w=2)"]
    )
    d = vg.diagnose(sweep)
    assert len(d.cells) == 9
    for cell, probe in zip(d.cells, sweep, strict=True):
        assert cell.probe is probe
        assert same(cell, vg.diagnose(probe))
    assert [cell.verdict for cell in d.cells] == [row["verdict"] for row in sweep.table()]
    assert [cell.direction for cell in d.cells] == [row["direction"] for row in sweep.table()]
    counts = {word: sum(cell.verdict == word for cell in d.cells) for word in ("healthy", "vanishing", "exploding")}
    assert counts == {"healthy": 5, "vanishing": 2, "exploding": 2}
    assert d.summary.startswith("of 9 cells 5 healthy, 2 vanishing, 2 exploding; worst: ")
    # 40 layers either way move dL/dz by 6 decades, and no other cell by as much.
    assert (d.spec.depth, str(d.spec.init) != "kaiming_normal") == (40, True)
    assert d.severity == "critical"
    for text in (str(d), d._repr_html_()):
        assert text.count("healthy") >= 5
    assert len(d.to_dict()["cells"]) == 9


def test_the_worst_cell_is_never_a_healthy_one_beside_a_sick_one() -> None:
    sweep = vg.sweep(net(width=64), depth=[50], activation=["tanh", "sigmoid", "relu"], init=["xavier_normal"])
    d = vg.diagnose(sweep)
    assert d.spec.activation == "sigmoid"
    assert d.verdict == "vanishing"


def test_the_worst_cell_is_a_sick_one_even_beside_a_more_severe_finding() -> None:
    saturated = vg.probe(net(depth=1, activation="tanh", init="mean_field(sigma_w=30)"))
    slow = vg.probe(net(depth=50, activation="tanh", init=TANH_GAIN))
    d = vg.diagnose(vg.Sweep((saturated, slow), (), 2))
    assert [cell.verdict for cell in d.cells] == ["healthy", "exploding"]
    assert [cell.severity for cell in d.cells] == ["critical", "warning"]
    assert d.probe is slow
    assert d.severity == "critical"


def test_a_sweep_without_cells_has_nothing_to_diagnose() -> None:
    with pytest.raises(ValueError, match="a sweep without cells"):
        vg.diagnose(vg.Sweep((), (), 0))


@pytest.mark.parametrize("wrong", ["relu", None, 3, [net()], {"depth": 3}])
def test_what_is_no_net_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=rf"a Run, a TrainSweep or runs, got .*\({type(wrong).__name__}\)"):
        vg.diagnose(wrong)


@pytest.mark.parametrize(
    "options",
    [{"x": np.ones((4, 64))}, {"y": [1]}, {"loss": "mse"}, {"seeds": 3}, {"dtype": "float64"}, {"threads": 1}],
)
def test_what_is_measured_already_takes_no_data(options: dict[str, Any]) -> None:
    spec = net(depth=2)
    for measured in (vg.probe(spec), vg.sweep(spec, depth=[2])):
        with pytest.raises(ValueError, match=f"{next(iter(options))}: this is measured already"):
            vg.diagnose(measured, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "seeds must be an integer from 1"),
        ({"batch": 0}, "batch must be an integer from 1"),
        ({"threads": 0}, "threads must be an integer from 1"),
        ({"dtype": "float16"}, "dtype must be 'float32' or 'float64'"),
        ({"x": np.ones((4, 3))}, r"x must be of shape .* = \(batch, 64\), got \(4, 3\)"),
        ({"x": np.full((4, 64), math.nan)}, r"x must be finite .* x\[0, 0\]"),
        ({"loss": "mse"}, "loss='mse' needs targets; give y"),
        ({"loss": "msee", "x": np.ones((4, 64)), "y": np.ones((4, 64))}, "did you mean 'mse'"),
        ({"y": np.ones((4, 64)), "loss": "mse"}, "y is given without x"),
    ],
)
@pytest.mark.parametrize("rules", ["vgcore", "dlcheck"])
def test_what_a_probe_refuses_is_refused_whoever_judges(rules: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vg.diagnose(net(depth=2), rules=rules, **options)


# Other tools' rules


@pytest.mark.parametrize("rules", foreign.PRESETS)
@pytest.mark.parametrize("subject", ["spec", "network"])
def test_other_tools_rules_judge_a_spec_or_a_network(rules: str, subject: str) -> None:
    spec = net(depth=8, activation="sigmoid", init="xavier_normal", out_features=10)
    given_ = spec if subject == "spec" else spec.init(seed=0, dtype="float64")
    d = vg.diagnose(given_, rules=rules, seeds=2, **samples(spec), explain=True)
    assert (d.rules, d.probe, d.depth_limit) == (rules, None, None)
    assert math.isnan(d.confidence)
    assert (d.direction is None) == (d.verdict == "healthy")
    assert all(finding.rule.startswith(f"{rules}.") for finding in d.findings)
    assert d.summary.startswith(foreign.PRESETS[rules].title)
    assert "not by vgcore's" in str(d)
    assert foreign.PRESETS[rules].title in d._repr_html_()
    plain(d)


@pytest.mark.parametrize(("rules", "near"), [("sagemakr", "sagemaker"), ("vgcor", "vgcore"), ("DLCheck", None)])
def test_rules_that_are_not_known_are_refused(rules: str, near: str | None) -> None:
    hint = rf" \(did you mean '{near}'\?\)" if near else ".*"
    with pytest.raises(ValueError, match=f"unknown rule set '{rules}'{hint}; choose from: vgcore, sagemaker"):
        vg.diagnose(net(depth=2), rules=rules)


def test_other_tools_rules_need_the_spec_and_have_their_own_thresholds() -> None:
    spec = net(depth=2)
    for measured in (vg.probe(spec), vg.sweep(spec, depth=[2])):
        with pytest.raises(ValueError, match="sagemaker looks at single gradients, which a probe does not keep"):
            vg.diagnose(measured, rules="sagemaker")
    with pytest.raises(ValueError, match="thresholds are those of vgcore's rules, not of dlcheck"):
        vg.diagnose(spec, rules="dlcheck", thresholds={"saturation": 0.7})


def test_a_loss_has_its_aliases_for_other_tools_too() -> None:
    spec = net(depth=3, out_features=10)
    data = samples(spec)
    named, alias = (vg.diagnose(spec, rules="dlcheck", seeds=1, **(data | {"loss": loss})) for loss in ("mae", "l1"))
    assert same(named, alias)


# Odd nets


def plain(d: vg.Diagnosis) -> dict[str, Any]:
    """The diagnosis as it comes back from JSON, with None for what is not finite."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: finite(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [finite(each) for each in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    back: dict[str, Any] = json.loads(json.dumps(finite(d.to_dict()), allow_nan=False))
    return back


def consistent(d: vg.Diagnosis) -> None:
    """What holds of every diagnosis."""
    assert d.verdict in {"healthy", "vanishing", "exploding", "symmetric", "collapsed"}
    assert (d.direction is None) == (d.verdict not in {"vanishing", "exploding"})
    assert d.direction in {None, "forward", "backward", "both"}
    assert d.conditions == tuple(dict.fromkeys(rule.condition for rule in RULES if rule.condition in d.conditions))
    assert 0 <= d.confidence <= 1
    assert d.summary.startswith(d.word + ": ")
    ranks = [SEVERITIES.index(finding.severity) for finding in d.findings]
    assert ranks == sorted(ranks, reverse=True)
    assert d.severity == (d.findings[0].severity if d.findings else None)
    assert len({finding.rule for finding in d.findings}) == len(d.findings)
    for finding in d.findings:
        check(finding, d.spec.depth)
    by_rule = {finding.rule: finding for finding in d.findings}
    assert not {"backward_vanishing", "backward_exploding"} <= {*by_rule}
    assert not {"forward_vanishing", "forward_exploding"} <= {*by_rule}
    # Every signal that moves as the verdict says is named in it.
    counts = {rule for rule, finding in by_rule.items() if finding.value >= BY_ID[rule].decisive}
    for signal in ("forward", "backward"):
        if f"{signal}_{d.verdict}" in counts:
            assert d.direction in {signal, "both"}
    if d.verdict == "healthy":
        assert not counts & {f"{s}_{v}" for s in ("forward", "backward") for v in ("vanishing", "exploding")}
    if d.depth_limit is not None:
        found = d.depth_limit
        assert found.value >= 1
        assert found.factor == pytest.approx(10**1.5)
        assert math.isnan(found.low) or 1 <= found.low <= found.value <= found.high
        assert not (found.measured and found.value >= d.spec.depth)
    read = plain(d)
    assert (read["verdict"], read["direction"], read["summary"]) == (d.verdict, d.direction, d.summary)
    assert [each["rule"] for each in read["findings"]] == [finding.rule for finding in d.findings]
    assert vg.MLP(**read["spec"]) == d.spec if "tables" not in read["spec"] else True
    text, html = str(d), d._repr_html_().replace("<wbr>", "")
    assert d.word in html
    assert all(finding.rule in text and finding.rule in html for finding in d.findings)
    assert repr(d).startswith("Diagnosis(")


def check(finding: Finding, depth: int) -> None:
    rule = BY_ID[finding.rule]
    assert finding.value >= finding.threshold
    assert finding.threshold == rule.thresholds[finding.severity]
    assert list(finding.layers) == sorted({*finding.layers})
    assert all(0 <= layer < depth for layer in finding.layers)
    assert 0 <= finding.confidence <= 1 or finding.rule in {
        "finite_width",
        "equal_units",
        "first_loss",
        "small_outputs",
    }
    assert finding.evidence
    assert "nan" not in finding.evidence.split()


X = np.random.default_rng(0).standard_normal((16, 8))
ODD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one layer": ({"depth": 1}, {}),
    "one layer of zeros": ({"depth": 1, "init": "zeros", "out_features": 2}, {}),
    "two layers": ({"depth": 2}, {}),
    "one unit": ({"width": 1}, {}),
    "one seed": ({}, {"seeds": 1}),
    "one sample": ({}, {"batch": 1}),
    "one sample and one seed": ({"activation": "tanh"}, {"batch": 1, "seeds": 1}),
    "two samples": ({}, {"batch": 2}),
    "three samples": ({}, {"batch": 3}),
    "zero weights": ({"init": "zeros"}, {}),
    "zero weights with biases": ({"init": "zeros", "bias": "ones", "activation": "tanh"}, {}),
    "zero samples": ({"width": 8}, {"x": 0 * X}),
    "equal samples": ({"width": 8}, {"x": np.ones((16, 8))}),
    "huge samples": ({"width": 8, "activation": "tanh"}, {"x": 1e38 * X}),
    "tiny samples": ({"width": 8, "activation": "tanh"}, {"x": 1e-38 * X}),
    "no gradient": (
        {"width": 8, "out_features": 2},
        {"x": X, "y": np.full((16, 2), 1e3), "loss": "huber(delta=1e-30)"},
    ),
    "tied": ({"tied": True, "activation": "tanh", "init": "mean_field(sigma_w=1.5)"}, {}),
    "an input at every step": ({"tied": True, "inputs": "every", "in_features": 3, "activation": "tanh"}, {}),
    "an activation a layer": ({"depth": 3, "activation": ("relu", "tanh", "sigmoid")}, {}),
    "an init and a width a layer": ({"depth": 3, "width": (4, 5, 6), "init": ("xavier_normal", "zeros", "ones")}, {}),
    "a gated activation": ({"activation": "swiglu", "width": 16}, {}),
    "a learnable slope": ({"activation": "prelu"}, {}),
    "batch norm": ({"norm": "batch"}, {}),
    "layer norm behind": ({"norm": "layer", "norm_position": "post"}, {}),
    "residual": ({"skip": "residual"}, {}),
    "rezero": ({"skip": "rezero"}, {}),
    "dense": ({"skip": "dense", "depth": 5}, {}),
    "highway": ({"skip": "highway"}, {}),
    "overflow": ({"activation": "elu", "init": "mean_field(sigma_w=100)", "depth": 40}, {}),
    "some overflow": ({"activation": "elu", "init": "mean_field(sigma_w=100)", "depth": 21}, {}),
    "one of one overflows": ({"activation": "elu", "init": "mean_field(sigma_w=100)", "depth": 40}, {"seeds": 1}),
    "saturated": ({"activation": "sigmoid", "init": "mean_field(sigma_w=1000)"}, {}),
    "no slope at all": ({"activation": "threshold(threshold=9, value=0.5)"}, {}),
    "4000 layers": ({"depth": 4000, "activation": "sigmoid", "width": 4}, {"seeds": 2, "batch": 2}),
}


@pytest.mark.parametrize(("fields", "options"), ODD.values(), ids=list(ODD))
def test_an_odd_net_gets_a_diagnosis(fields: dict[str, Any], options: dict[str, Any]) -> None:
    spec = net(**({"width": 8, "depth": 12} | fields))
    consistent(vg.diagnose(spec, **options))
    assert str(vg.diagnose(spec, **options, explain=True))


def test_one_layer_has_nothing_to_compare_and_all_runs_agree_on_that() -> None:
    d = vg.diagnose(net(depth=1, out_features=2))
    assert (d.verdict, d.direction, d.confidence, d.depth_limit) == ("healthy", None, 1, None)
    assert "one layer has no factor" in d.summary
    assert "all 8 runs agree" in str(d)


def test_weights_of_zero_pass_nothing_either_way() -> None:
    d = vg.diagnose(net(init="zeros"))
    assert (d.verdict, d.direction, d.confidence) == ("vanishing", "both", 1)
    assert {"backward_vanishing", "forward_vanishing"} <= {finding.rule for finding in d.findings}
    assert "dead" in d.conditions


def test_a_single_sample_has_no_correlation_and_is_judged_by_its_factors() -> None:
    d = vg.diagnose(net(activation="sigmoid", init="xavier_normal"), batch=1)
    assert (d.word, d.confidence) == ("vanishing (backward)", 1)


def test_a_run_that_is_not_finite_has_exploded() -> None:
    d = vg.diagnose(net(depth=40, activation="elu", init="mean_field(sigma_w=100)"))
    assert (d.verdict, d.confidence) == ("exploding", 1)
    assert "8 of 8 runs are not finite" in d.summary


def test_a_tied_net_is_judged_by_dl_dz_of_its_steps() -> None:
    spec = net(depth=40, tied=True, activation="linear", init=vg.Init("eye", gain=0.5), width=4)
    d = vg.diagnose(spec, dtype="float64")
    assert (d.verdict, d.direction) == ("vanishing", "both")
    value = next(finding.value for finding in d.findings if finding.rule == "backward_vanishing")
    assert value == pytest.approx(39 * math.log10(2), abs=1e-9)


def test_an_activation_of_your_own_is_judged_as_the_one_that_it_is() -> None:
    own = vg.Activation.custom("own_tanh", math.tanh)
    spec = net(depth=50, activation="tanh", init=TANH_GAIN)
    built_in, mine = vg.diagnose(spec), vg.diagnose(spec.replace(activation=own))
    assert facts(mine)[:3] == facts(built_in)[:3]
    assert [finding.rule for finding in mine.findings] == [finding.rule for finding in built_in.findings]
    assert numbers(mine) == pytest.approx(numbers(built_in), rel=1e-3)
    consistent(mine)


@st.composite
def cases(draw: st.DrawFn) -> tuple[vg.MLP, dict[str, Any]]:
    try:
        spec = vg.MLP(**draw(strategies.fields()))
    except ValueError as error:
        # Which features a gated or doubled activation leaves in a first block without a skip is the core's to say.
        if "needs as many features" not in str(error):
            raise
        reject()
    batch = draw(st.integers(1 + strategies.needs_samples(spec), 9))
    options = {"seeds": draw(st.integers(1, 3)), "seed": draw(st.integers(0, 2**32)), "batch": batch}
    return spec, options | {"dtype": draw(st.sampled_from(["float32", "float64"]))}


@strategies.over_examples
@given(case=cases())
def test_every_net_gets_a_diagnosis_that_agrees_with_itself(case: tuple[vg.MLP, dict[str, Any]]) -> None:
    spec, options = case
    d = vg.diagnose(spec, threads=1, **options)
    consistent(d)
    assert same(d, vg.diagnose(spec, threads=2, **options))
    opened = vg.diagnose(spec, **options, explain=True)
    assert str(opened)
    closed = [dataclasses.replace(finding, explanation="", picture=()) for finding in opened.findings]
    assert closed == list(d.findings)
    assert all(finding.explanation and finding.picture for finding in opened.findings)


# Branches that start closed


@pytest.mark.parametrize(
    "fields",
    [
        {"skip": "rezero"},
        {"skip": "residual(order=linear)", "init": "fixup"},
        {"skip": "residual(order=linear)", "init": "fixup", "block": 2},
    ],
)
def test_branches_that_start_closed_and_learn_are_healthy(fields: dict[str, Any]) -> None:
    d = vg.diagnose(vg.MLP(depth=40, width=32, **fields))
    assert (d.word, d.findings) == ("healthy", ())


@pytest.mark.parametrize(
    "fields",
    [
        {"skip": "residual", "init": "fixup", "block": 2},  # the slope of relu at 0 is 0
        {"skip": "residual", "branch_scale": 0.0},
        {"skip": "residual", "init": "zeros"},
        {"init": "zeros"},
    ],
)
def test_branches_that_nothing_opens_are_not(fields: dict[str, Any]) -> None:
    d = vg.diagnose(vg.MLP(depth=40, width=32, **fields))
    assert d.verdict == "vanishing"
    assert d.severity == "critical"


@pytest.mark.parametrize("block", [1, 2])
def test_closed_branches_vanish_where_the_activation_stands_on_the_way_around(block: int) -> None:
    # A sigmoid of LeCun's weights after every sum: dL/dz within the branches is 0, dL/dh of the stream falls.
    fields: dict[str, Any] = {"activation": "sigmoid", "init": "xavier_normal", "skip": "rezero(order=post)"}
    d = vg.diagnose(vg.MLP(depth=48, width=64, block=block, **fields))
    assert (d.verdict, d.direction) == ("vanishing", "backward")
    assert d.probe is not None
    stream = d.probe.log10_dh_rms[:, block - 1 :: block].mean(axis=0)
    hit = next(f for f in d.findings if f.rule == "backward_vanishing")
    assert hit.value == pytest.approx(stream[-1] - stream[0], abs=0.01)
    assert hit.value > 10
    assert "weight_gradient_flat" not in [f.rule for f in d.findings]  # dL/dW is 0, and no plot of it looks healthy


def test_where_runs_break_is_told_from_the_first_to_the_last_of_them() -> None:
    d = vg.diagnose(vg.MLP(depth=300, width=16, activation="softplus", init="mean_field(20,1)"))
    assert d.probe is not None
    first = d.probe.first_nonfinite
    assert (first.min(), first.max()) == (32, 34)
    assert d.summary.endswith(": 8 of 8 runs are not finite from layer 33 to layer 35 on")


def test_the_runs_in_which_a_gradient_is_0_are_counted() -> None:
    d = vg.diagnose(vg.MLP(depth=67, width=8), seeds=2)
    assert d.probe is not None
    assert np.isneginf(d.probe.log10_delta_rms[:, 0]).tolist() == [False, True]
    assert d.findings[0].evidence == "dL/dz does not arrive: it is exactly 0 at layer 1 in 1 of 2 runs"
