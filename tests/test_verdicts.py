"""Verdicts on nets as other people build them: one test a kind of fault, each with nets of its own."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from vgcore.judge.diagnose import worst
from vgcore.judge.evidence import Change, Evidence
from vgcore.judge.finding import Finding
from vgcore.judge.training.diagnosis import OUTCOMES
from vgcore.judge.verdict import VERDICTS
from vgcore.model.plan import Plan
from vgcore.plot.sweeps import FATES
from vgcore.shell.tables import STYLES
from vgcore.show.html.style import TONES
from vgcore.show.training import OUTCOME


@pytest.fixture
def rng() -> np.random.Generator:
    """Of every test its own: their order changes nothing."""
    return np.random.default_rng(0)


def judged(depth: int, width: Any, options: dict[str, Any] | None = None, **fields: Any) -> vg.Diagnosis:
    return vg.diagnose(vg.MLP(depth=depth, width=width, **fields), **(options or {}))


def finding(d: vg.Diagnosis, rule: str) -> Finding:
    return next(found for found in d.findings if found.rule == rule)


def rules(d: vg.Diagnosis, *severities: str) -> set[str]:
    return {found.rule for found in d.findings if found.severity in severities}


# Words


def test_every_word_of_a_verdict_has_its_colours_and_its_letter() -> None:
    assert {*FATES} == {*VERDICTS}
    assert len({word[0] for word in VERDICTS}) == len({*FATES.values()}) == len(VERDICTS)
    assert {*VERDICTS, *OUTCOMES} <= {*TONES}
    assert {*VERDICTS} <= {*STYLES}
    assert {*OUTCOME} == {*OUTCOMES}
    assert {*OUTCOME.values()} <= {*STYLES}


@pytest.mark.parametrize("word", VERDICTS)
def test_a_sweep_counts_cells_of_every_verdict(word: str) -> None:
    cell = dataclasses.replace(judged(2, 4), verdict=word)
    assert worst([cell, cell]).summary.startswith(f"of 2 cells 2 {word}; worst: ")


# Sameness


@pytest.mark.parametrize(
    "fields",
    [
        {"activation": "tanh", "init": "constant(0.1)", "in_features": 8, "out_features": 1},
        {"activation": "relu", "init": "ones", "in_features": 8, "out_features": 1},
        {"activation": "sigmoid", "init": "constant(-0.2)", "bias": "constant(0.3)", "out_features": 10},
        {"activation": "tanh", "init": "constant(0.1)", "skip": "residual", "in_features": 8, "out_features": 2},
    ],
)
def test_units_that_stay_equal_make_a_verdict(fields: dict[str, Any]) -> None:
    d = judged(3, 16, **fields)
    assert "symmetric" in (d.verdict, *d.conditions)
    assert d.verdict != "healthy"
    assert finding(d, "equal_units").value == 1
    with pytest.raises(AssertionError, match="stay equal"):
        vg.testing.assert_trainable(d.spec)


def test_equal_rows_whose_gradients_differ_are_not_symmetric() -> None:
    # Only the first layer has equal rows: the columns of the second one are drawn, and part its units at once.
    d = judged(3, 16, activation="tanh", init=["constant(0.1)", "xavier_normal", "xavier_normal"])
    assert "equal_units" not in rules(d, "warning", "critical")


def test_half_of_the_units_of_given_weights_may_be_equal() -> None:
    spec = vg.MLP(depth=2, width=8, activation="tanh", out_features=2)
    state = spec.init(dtype="float64").state_dict()
    state["layers.0.weight"][4:] = state["layers.0.weight"][0]
    state["layers.1.weight"][:, 4:] = state["layers.1.weight"][:, :1]
    d = vg.diagnose(vg.Network.from_state_dict(spec, state))
    assert finding(d, "equal_units").value == 5 / 8
    assert finding(d, "equal_units").layers == (0,)


@pytest.mark.parametrize("act", ["sigmoid", "tanh", "relu"])
def test_samples_that_the_first_layer_makes_one_are_measured_from_x_on(act: str, rng: np.random.Generator) -> None:
    # Positive weights on positive inputs: z_1 is almost the mean of x times the sum of the weights.
    x = 0.9 + 0.2 * rng.random((64, 256))
    d = judged(2, 256, {"x": x}, activation=act, init="uniform(0, 1)")
    assert d.probe is not None
    c = d.probe.correlation.mean(axis=0)
    start = Evidence(d.probe).inputs.correlation
    assert 0.98 < start < c[0]
    spread = rng.standard_normal((64, 256))
    centred = judged(2, 256, {"x": spread}, activation=act, init="lecun_normal")
    assert "correlation_collapse" not in rules(centred, "info", "warning", "critical")


def test_a_first_layer_of_one_row_puts_all_samples_on_a_line(rng: np.random.Generator) -> None:
    spec = vg.MLP(depth=3, width=32, activation="linear", init="orthogonal")
    state = spec.init(dtype="float64").state_dict()
    state["layers.0.weight"] = np.outer(rng.standard_normal(32), rng.standard_normal(32))
    d = vg.diagnose(vg.Network.from_state_dict(spec, state))
    assert (d.verdict, d.conditions) == ("collapsed", ("collapsed",))
    assert "on one line" in d.summary


@pytest.mark.parametrize(
    ("depth", "fields"),
    [
        (1, {"init": ("constant(0.1)", "zeros")}),
        (2, {"init": ("constant(0.1)", "constant(0.1)", "zeros")}),
        (2, {"init": "zeros", "activation": "sigmoid"}),
    ],
)
def test_units_stay_equal_behind_a_readout_that_starts_at_zero(depth: int, fields: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"in_features": 8, "out_features": 1, "activation": "tanh"}
    d = judged(depth, 16, **(usual | fields))
    assert "symmetric" in (d.verdict, *d.conditions)


def test_series_are_run_again_as_series() -> None:
    d = judged(4, 8, in_features=3, out_features=2, activation="tanh", init="constant(0.1)", tied=True, inputs="every")
    assert "symmetric" in (d.verdict, *d.conditions)


def test_a_stream_that_parts_equal_units_breaks_their_symmetry() -> None:
    fields: dict[str, Any] = {"in_features": 8, "out_features": 1, "activation": "tanh", "init": "constant(0.1)"}
    d = judged(3, 8, skip="residual", **fields)
    assert "symmetric" not in (d.verdict, *d.conditions)


def test_a_layer_of_one_unit_is_a_line_by_itself() -> None:
    d = judged(3, (32, 1, 32), in_features=32, out_features=32, activation="tanh", init="xavier_normal")
    assert "rank_collapse" not in rules(d, "info", "warning", "critical")


# Like with like


@pytest.mark.parametrize("in_features", [40, 100, 7])
@pytest.mark.parametrize(
    "fields",
    [
        {"skip": "residual", "branch_scale": 0.02},
        {"skip": "residual(order=pre)", "norm": "layer", "branch_scale": "1/sqrt(L)"},
        {"skip": "highway(gate_bias=-6)"},
        {"skip": "rezero(alpha=0.01)"},
        {"skip": "rezero"},
        {"skip": "residual(order=linear)", "block": 2, "init": "fixup"},
    ],
)
def test_a_branch_that_is_scaled_or_closed_is_no_loss(fields: dict[str, Any], in_features: int) -> None:
    d = judged(50, 40, in_features=in_features, **fields)
    assert (d.verdict, rules(d, "warning", "critical")) == ("healthy", set())


def test_a_stream_that_grows_is_seen_by_the_columns_of_the_stream() -> None:
    d = judged(50, 64, skip="residual")
    assert (d.verdict, d.direction) == ("exploding", "both")
    assert d.probe is not None
    grown = d.probe.log10_dh_rms[:, 0] - d.probe.log10_dh_rms[:, -1]
    assert finding(d, "backward_exploding").value == pytest.approx(grown.mean(), abs=0.3)
    assert "dL/dh grows" in d.summary


# A readout that starts at zero


def test_a_readout_at_zero_costs_a_step_and_no_verdict() -> None:
    d = judged(8, 32, out_features=10, skip="residual(order=linear)", block=2, init="fixup")
    assert (d.word, [found.rule for found in d.findings]) == ("healthy", ["zero_readout"])
    spec = vg.MLP(depth=6, width=32, out_features=10, activation="tanh", init="xavier_normal")
    state = spec.init().state_dict()
    state["readout.weight"][:] = 0
    given = vg.diagnose(vg.Network.from_state_dict(spec, state))
    assert (given.word, rules(given, "warning", "critical")) == ("healthy", set())


def test_a_readout_at_zero_behind_units_that_are_dead_is_no_excuse() -> None:
    d = judged(4, 32, out_features=10, init="zeros")
    assert (d.verdict, d.severity) == ("vanishing", "critical")


@pytest.mark.parametrize(
    "init",
    [("zeros", "xavier_normal", "xavier_normal"), ("xavier_normal", "zeros", "xavier_normal")],
)
def test_a_layer_at_zero_that_learns_costs_a_step_too(init: tuple[str, ...]) -> None:
    d = judged(2, 16, in_features=8, out_features=1, activation="tanh", init=init)
    assert (d.verdict, rules(d, "warning", "critical")) == ("healthy", set())
    assert finding(d, "zero_readout").layers == (init.index("zeros"),)


def test_a_layer_at_zero_on_a_flat_slope_does_not() -> None:
    d = judged(
        2, 16, in_features=8, out_features=1, activation="relu", init=("xavier_normal", "zeros", "xavier_normal")
    )
    assert (d.verdict, d.severity) == ("vanishing", "critical")


def test_a_unit_that_is_zero_on_a_slope_is_not_dead() -> None:
    d = judged(1, 16, in_features=4, out_features=2, activation="tanh", init=("eye", "xavier_normal"))
    assert "dead" not in d.conditions


# Widths that differ


@pytest.mark.parametrize("widths", [(4096, 2), (512, 128, 32, 8), (8, 32, 128, 512), (256, 16, 2, 16, 256)])
def test_layers_of_many_widths_are_compared_by_norms(widths: tuple[int, ...]) -> None:
    d = judged(len(widths), widths, in_features=16, out_features=2, activation="linear", init="lecun_normal")
    assert d.probe is not None
    sizes = Evidence(d.probe).sizes("backward")
    norms = d.probe.log10_delta_rms + np.log10([layer.width for layer in Plan.of(d.spec).layers]) / 2
    np.testing.assert_allclose(sizes - sizes[:, -1:], norms - norms[:, -1:], atol=1e-12)
    pair = judged(2, (4096, 2), in_features=16, out_features=2)
    assert pair.word == "healthy"


# The far end


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
def test_a_first_loss_is_judged_free_of_scale(factor: float, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((64, 8)), factor * rng.standard_normal(64)
    net = vg.MLP(depth=1, width=32, in_features=8, out_features=1).init(seed=0, dtype="float64")
    state = net.state_dict()
    state["readout.weight"] *= 100 * factor
    far = vg.diagnose(vg.Network.from_state_dict(net.spec, state), x=x, y=y, loss="mse")
    assert far.conditions == ("off-scale",)
    ratio = float(np.mean((net.forward(x)[:, 0] * 100 * factor - y) ** 2) / y.var())
    assert finding(far, "first_loss").value == pytest.approx(ratio)
    state["readout.weight"] /= 100
    near = vg.diagnose(vg.Network.from_state_dict(net.spec, state), x=x, y=y, loss="mse")
    assert near.conditions == ()


@pytest.mark.parametrize("factor", [1e4, 1e-4, 1.0])
def test_targets_far_above_the_outputs_are_off_scale_and_standardised(factor: float, rng: np.random.Generator) -> None:
    x = rng.standard_normal((64, 8))
    spec = vg.MLP(depth=2, width=32, in_features=8, out_features=1)
    d = vg.diagnose(spec, x=x, y=factor * x[:, 0])
    assert ("off-scale" in d.conditions) == (factor != 1)
    if factor == 1e4:
        assert d.probe is not None
        decades = math.log10(factor * x[:, 0].std()) - d.probe.log10_output_rms.mean()
        assert finding(d, "small_outputs").value == pytest.approx(decades)
        assert vg.advise(d)[0].change.startswith("y=(y - mean) / std")


def told(runs: list[float]) -> Change:
    """A net of two layers whose dL/dz changes so, run by run."""
    p = vg.probe(vg.MLP(depth=2, width=8, activation="linear"), seeds=len(runs))
    moved = dataclasses.replace(p, log10_delta_rms=np.column_stack((runs, np.zeros(len(runs)))))
    return Evidence(moved).backward


def test_growth_is_told_as_far_as_most_runs_show_it() -> None:
    runs = [0.1, 0.2, 0.1, 0.3, 0.2, 0.1, 4.0, 3.0]
    few = told(runs)
    assert few.rms > 2
    assert few.shown == pytest.approx(np.mean(runs))
    assert told([-2.0, -1.9, -2.1, -2.0, -2.2, -1.8, 4.0, 3.0]).shown == 0
    assert told([2.0, 2.1, 1.9, 2.0]).shown == pytest.approx(2, abs=0.1)


def test_a_net_that_most_runs_lose_fades_whatever_its_mean() -> None:
    runs = [-1.6] * 6 + [-1.3] * 2
    assert told(runs).rms > -1.5
    p = vg.probe(vg.MLP(depth=2, width=8, activation="linear"))
    d = vg.diagnose(dataclasses.replace(p, log10_delta_rms=np.column_stack((runs, np.zeros(8)))))
    assert (d.verdict, d.confidence) == ("vanishing", 6 / 8)
    assert "in a typical net" in d.summary


def test_a_signal_within_a_scaled_branch_leaves_no_format_for_that_around_it() -> None:
    d = judged(2, 32, in_features=10, out_features=1, skip="residual", branch_scale=1e-6)
    assert d.verdict == "healthy"
    assert not any("inf in" in found.evidence for found in d.findings)


def test_a_first_loss_beyond_all_numbers_is_critical(rng: np.random.Generator) -> None:
    d = judged(
        2, 32, {"x": rng.standard_normal((50, 8)), "y": 1e200 * rng.standard_normal(50)}, out_features=1, in_features=8
    )
    assert finding(d, "first_loss").severity == "critical"


def test_one_layer_that_is_flat_vanishes() -> None:
    d = judged(1, 16, in_features=8, out_features=2, activation="sigmoid", bias="constant(50)")
    assert (d.verdict, d.confidence) == ("vanishing", 1)
    assert "its one layer is flat" in d.summary


# No invented sizes


@pytest.mark.parametrize("fields", [{"skip": "rezero"}, {"skip": "residual", "branch_scale": 1e-9}])
def test_a_pace_that_is_rounding_sets_no_limit_to_the_depth(fields: dict[str, Any]) -> None:
    d = judged(50, 32, **fields)
    assert d.depth_limit is not None
    assert d.depth_limit.value == math.inf


def test_closed_branches_that_nothing_opens_have_no_limit_and_say_what_is_missing() -> None:
    d = judged(20, 32, skip="residual", branch_scale=0.0)
    assert (d.verdict, d.depth_limit) == ("vanishing", None)
    assert "no hidden layer has a gradient" in d.summary


def test_the_table_of_advice_tells_what_the_summary_tells() -> None:
    a = vg.advise(vg.MLP(depth=60, width=8, init="xavier_normal"), budget=2)
    told = a.before.told("backward")
    assert told is not None
    assert f"10^{abs(told.rms):.1f}-fold" in a.before.summary
    assert f" {told.rms:.1f} " in str(a)


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"depth": 6, "width": 32, "in_features": 16, "norm": "batch"}, {"batch": 2}),
        ({"depth": 20, "width": 64, "norm": "batch"}, {"batch": 3}),
        ({"depth": 20, "width": 3, "activation": "tanh", "init": "normal(std=1)"}, {}),
        ({"depth": 40, "width": 5, "activation": "tanh", "init": "mean_field(sigma_w=2)"}, {}),
        ({"depth": 50, "width": 32, "tied": True}, {}),
    ],
)
def test_no_size_is_told_that_no_net_has(fields: dict[str, Any], options: dict[str, Any]) -> None:
    for seed in range(0, 80, 8):
        change = Evidence(vg.probe(vg.MLP(**fields), seed=seed, **options)).backward
        if math.isfinite(change.rms):
            seen = float(np.max(change.runs[np.isfinite(change.runs)]))
            assert change.rms <= seen + 0.5


# Exact zeros


@pytest.mark.parametrize("fields", [{"init": "zeros"}, {"init": "zeros", "activation": "tanh"}])
def test_one_layer_whose_gradient_is_exactly_zero_vanishes(fields: dict[str, Any]) -> None:
    d = judged(1, 32, in_features=4, out_features=3, **fields)
    assert (d.verdict, d.severity) == ("vanishing", "critical")
    assert "does not arrive" in d.summary


def test_zeros_by_construction_leave_no_number_format() -> None:
    closed: tuple[dict[str, Any], ...] = ({"skip": "rezero"}, {"init": "zeros"}, {"bias": "constant(-3)"})
    for fields in closed:
        assert "float_range" not in rules(judged(30, 32, **fields), "info", "warning", "critical")


def test_rows_that_standardisation_makes_zero_are_named() -> None:
    assert finding(judged(2, 16, in_features=2, weight_transform="weight_standardization"), "flat_rows").layers == (0,)
    d = judged(4, 16, in_features=1, weight_transform="weight_standardization", activation="tanh")
    assert finding(d, "flat_rows").layers == (0,)
    assert finding(d, "flat_rows").severity == "critical"
    assert finding(judged(4, 16, init="ones", weight_transform="weight_standardization"), "flat_rows").layers == (
        0,
        1,
        2,
        3,
    )


# Weights of one's own


def test_given_weights_on_given_data_are_one_run_and_said_to_be_ones_own(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((40, 6)), rng.integers(0, 3, 40)
    net = vg.MLP(depth=4, width=12, in_features=6, out_features=3, activation="sigmoid").init(seed=5)
    p = vg.probe(net, x=x, y=y)
    assert len(p.seeds) == len(vg.probe(net, x=x, y=y, loss="cross_entropy").seeds) == 1
    assert "own weights" in repr(p)
    assert "kaiming" not in repr(p) + str(vg.diagnose(p)) + "".join(vg.plot.layers(p).get_title().split())
    assert set(p.to_dict()["init"].tolist()) == {"own weights"}
    d = vg.diagnose(p)
    assert "own weights: one run" in str(d)
    assert "recipe" not in str(d)
    assert "interval" not in vg.diagnose(p, explain=True).findings[0].explanation
    assert vg.diagnose(net, x=x, y=y, loss="cross_entropy").summary == d.summary


def test_given_weights_on_drawn_samples_have_as_many_runs_as_before() -> None:
    net = vg.MLP(depth=4, width=12).init(seed=5)
    assert len(vg.probe(net).seeds) == 8
    assert "own weights: all 8 runs agree" in str(vg.diagnose(net))
    assert "finite_width" not in rules(vg.diagnose(vg.MLP(depth=100, width=8).init()), "info", "warning")
