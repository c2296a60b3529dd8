"""`Trace`: what is allowed of it, and what the judge says of it."""

from __future__ import annotations

import copy
import html
import json
import math
import pickle
import sys
from collections.abc import Sequence
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vgcore as vg
from vgcore.judge.evidence import Evidence
from vgcore.judge.rules import RULES
from vgcore.measure.trace import COLUMNS, Trace

NAMES = ("stem", "blocks.0", "blocks.1")
SIZES = {"log10_forward": np.zeros((2, 3)), "log10_backward": np.array([[-3.0, -2.0, 0.0], [-3.1, -2.1, 0.1]])}


def test_a_trace_has_runs_and_layers_and_read_only_columns_of_its_own() -> None:
    given = {name: values.copy() for name, values in SIZES.items()}
    trace = Trace(NAMES, given)
    given["log10_forward"][0, 0] = 7
    assert (trace.runs, trace.depth, trace.draws) == (2, 3, True)
    assert trace.columns["log10_forward"][0, 0] == 0
    assert trace.lost_below.tolist() == trace.first_nonfinite.tolist() == [-1, -1]
    with pytest.raises(ValueError, match="read-only"):
        trace.columns["log10_forward"][0, 0] = 1
    with pytest.raises(TypeError):
        trace.columns["zeros"] = np.zeros((2, 3))  # type: ignore[index]


def test_steps_make_the_runs_those_of_one_net() -> None:
    assert not Trace(NAMES, SIZES, steps=(0, 100)).draws
    assert Trace(NAMES, SIZES, steps=(0, 100)).steps == (0, 100)


def test_the_first_layer_that_is_not_finite_is_read_from_its_column() -> None:
    bad = np.array([[0, 1, 1], [0, 0, 0]], dtype=float)
    assert Trace(NAMES, SIZES | {"nonfinite": bad}).first_nonfinite.tolist() == [1, -1]
    assert Trace(NAMES, SIZES, first_nonfinite=np.array([3, -1])).first_nonfinite.tolist() == [3, -1]


def test_a_copy_and_a_pickle_say_the_same() -> None:
    trace = Trace(NAMES, SIZES, steps=(0, 5), lost_below=np.array([1, -1]), dtype="float16", batch=8, notes=("a",))
    for again in (copy.deepcopy(trace), pickle.loads(pickle.dumps(trace))):
        assert repr(again) == repr(trace)
        for name, values in trace.columns.items():
            np.testing.assert_array_equal(again.columns[name], values)
        assert again.lost_below.tolist() == [1, -1]
        assert (again.steps, again.dtype, again.batch, again.notes) == ((0, 5), "float16", 8, ("a",))


@pytest.mark.parametrize(
    ("names", "columns", "more", "error", "words"),
    [
        ((), SIZES, {}, ValueError, "one layer or more"),
        (("a", "", "b"), SIZES, {}, ValueError, "none of them empty"),
        (("a", "b", "a"), SIZES, {}, ValueError, "'a' twice: write the second use as a@2"),
        (("a", "b", 3), SIZES, {}, TypeError, "a name must be a string"),
        ("abc", SIZES, {}, TypeError, "names must be a list of names"),
        (NAMES, {}, {}, ValueError, "one or more, got none"),
        (NAMES, [1], {}, TypeError, "a mapping from names to arrays"),
        (NAMES, {"forward": np.zeros((2, 3))}, {}, ValueError, "unknown column"),
        (NAMES, {"log10_forward": np.zeros((2, 4))}, {}, ValueError, r"\(runs, 3 layers\), got shape \(2, 4\)"),
        (NAMES, {"log10_forward": np.zeros(3)}, {}, ValueError, r"got shape \(3,\)"),
        (NAMES, {"log10_forward": np.zeros((0, 3))}, {}, ValueError, r"got shape \(0, 3\)"),
        (NAMES, {"log10_forward": "sizes"}, {}, TypeError, "an array of numbers"),
        (NAMES, SIZES | {"zeros": np.zeros((1, 3))}, {}, ValueError, "the same number of runs"),
        (NAMES, SIZES | {"zeros": np.full((2, 3), 1.5)}, {}, ValueError, "shares from 0 to 1"),
        (NAMES, SIZES, {"steps": (1, 2, 3)}, ValueError, "one a run, 2 of them, or none; got 3"),
        (NAMES, SIZES, {"steps": (-1, 2)}, ValueError, "an integer from 0"),
        (NAMES, SIZES, {"lost_below": (3, 0)}, ValueError, "an integer from -1 to 2"),
        (NAMES, SIZES, {"lost_below": (1,)}, ValueError, "one a run, 2 of them"),
        (NAMES, SIZES, {"first_nonfinite": (4, 0)}, ValueError, "an integer from -1 to 3"),
        (NAMES, SIZES, {"dtype": "int8"}, ValueError, "dtype"),
        (NAMES, SIZES, {"batch": 0}, ValueError, "batch must be an integer from 1"),
        (NAMES, SIZES, {"notes": "one"}, TypeError, "a list of notes"),
        (NAMES, SIZES, {"facts": {}}, TypeError, "facts must be Facts or None"),
    ],
)
def test_what_is_no_trace_is_refused_with_what_is_allowed(
    names: Any, columns: Any, more: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Trace(names, columns, **more)


# The judge over traces

SIZES_OF = ("log10_forward", "log10_backward", "log10_weight")
NETS = {
    "sigmoid": vg.MLP(depth=30, width=64, activation="sigmoid"),
    "healthy relu": vg.MLP(depth=30, width=64),
    "relu that explodes": vg.MLP(depth=30, width=64, init="mean_field(sigma_w=2)"),
    "relu that vanishes": vg.MLP(depth=30, width=64, init="xavier_normal"),
    "narrow and deep": vg.MLP(depth=200, width=8),
    "residual": vg.MLP(depth=60, width=32, skip="residual"),
    "pre-norm blocks": vg.MLP(depth=40, width=32, skip="residual(order=pre)", norm="layer", block=2),
    "dense": vg.MLP(depth=6, width=16, skip="dense"),
    "widths that differ": vg.MLP(depth=12, width=[64, 8] * 6, activation="tanh"),
    "batch norm": vg.MLP(depth=50, width=32, norm="batch"),
    "one layer": vg.MLP(depth=1, width=32),
}


def looked(d: vg.Diagnosis) -> Evidence:
    assert d.evidence is not None
    return d.evidence


def bare(full: Trace, names: Sequence[str] = (), **more: Any) -> Trace:
    """The sizes of a probe's signals and nothing else."""
    names = names or [f"blocks.{i}" for i in range(full.depth)]
    return Trace(tuple(names), {name: full.columns[name] for name in SIZES_OF}, **more)


@pytest.mark.parametrize("net", NETS)
def test_sizes_alone_give_the_verdict_of_the_probe_and_the_numbers_of_its_findings(net: str) -> None:
    probe = vg.probe(NETS[net])
    by_probe, by_sizes = vg.diagnose(probe), vg.diagnose(bare(probe.trace))
    assert (by_sizes.verdict, by_sizes.direction, by_sizes.confidence) == (
        by_probe.verdict if by_probe.direction else "healthy",
        by_probe.direction,
        by_probe.confidence,
    )
    left_out = {rule for rule, _ in by_sizes.not_judged}
    found, expected = ({f.rule: f for f in d.findings if f.rule not in left_out} for d in (by_sizes, by_probe))
    for rule in ("float_range",):  # of z, a and the root mean square of dL/dz, where a trace has what layers give
        found.pop(rule, None)
        expected.pop(rule, None)
    assert {r: (f.severity, f.layers, f.confidence) for r, f in found.items()} == {
        r: (f.severity, f.layers, f.confidence) for r, f in expected.items()
    }
    for rule, finding in found.items():
        assert finding.value == pytest.approx(expected[rule].value, abs=1e-9)
    assert (by_sizes.spec, by_sizes.probe, by_sizes.depth_limit) == (None, None, None)


def test_the_trace_of_a_probe_is_judged_as_the_probe_but_for_what_only_weights_and_samples_tell() -> None:
    probe = vg.probe(NETS["sigmoid"])
    d = vg.diagnose(probe.trace)
    whole = vg.diagnose(probe)
    assert (d.word, d.depth_limit is None) == (whole.word, False)
    assert str(d.depth_limit) == str(whole.depth_limit)
    of_weights_and_samples = ["equal_units", "flat_rows", "first_loss", "small_outputs", "inputs"]
    assert [rule for rule, _ in d.not_judged] == [*of_weights_and_samples, "non_finite"]


def test_nothing_is_left_unjudged_of_a_probe() -> None:
    d = vg.diagnose(NETS["sigmoid"])
    assert d.not_judged == ()
    assert "not judged" not in str(d)
    assert "not_judged" not in d.to_dict()


def test_what_a_rule_lacks_is_said_in_text_in_html_and_in_plain_values() -> None:
    d = vg.diagnose(bare(vg.probe(NETS["sigmoid"], seeds=2).trace))
    said = dict(d.not_judged)
    assert said["saturation"] == "needs slopes of the activation, a spec"
    assert said["correlation_collapse"] == "needs cosines between samples"
    assert said["inputs"] == "needs the samples"
    assert not {"backward_vanishing", "forward_vanishing", "float_range", "finite_width", "seeds_disagree"} & {*said}
    flat = " ".join(str(d).split())
    assert "not judged: saturation (needs slopes of the activation, a spec); dead_units (needs" in flat
    assert "not judged: saturation" in d._repr_html_()
    assert d.to_dict()["not_judged"] == said
    assert json.loads(json.dumps(d.to_dict()))["layers"][3] == "blocks.3"


@pytest.mark.parametrize(
    ("column", "rules"),
    [
        ("log10_forward", {"forward_vanishing", "forward_exploding", "forward_backward_mismatch", "zero_readout"}),
        ("log10_backward", {"backward_vanishing", "backward_exploding", "weight_gradient_flat", "seeds_disagree"}),
        ("log10_weight", {"weight_gradient_flat"}),
    ],
)
def test_without_a_signal_no_rule_of_it_is_judged(column: str, rules: set[str]) -> None:
    full = vg.probe(NETS["relu that explodes"]).trace
    columns = {name: full.columns[name] for name in SIZES_OF if name != column}
    d = vg.diagnose(Trace(full.names, columns))
    assert rules <= {rule for rule, _ in d.not_judged}
    assert not rules & {finding.rule for finding in d.findings}


def test_layers_are_called_by_their_names() -> None:
    full = vg.probe(NETS["sigmoid"]).trace
    d = vg.diagnose(bare(full, ["stem", *(f"blocks.{i}" for i in range(29))]), explain=True)
    first = d.findings[0]
    assert "from blocks.28 to stem, x" in first.evidence
    flat = " ".join(str(d).split())
    assert "(stem to blocks.26)" in flat
    assert "| stem to blocks.28" in flat
    assert "stem to blocks.26" in d._repr_html_()
    assert "layer 1" not in str(d)


def test_names_are_shown_as_text() -> None:
    full = vg.probe(NETS["sigmoid"]).trace
    d = vg.diagnose(bare(full, [f"</script><b>{i}" for i in range(30)]), explain=True)
    shown = d._repr_html_()
    assert "</script" not in shown
    assert not any(f"<b>{i}" in shown for i in range(30))
    assert "</script><b>29" in html.unescape(shown)


def lost(last: int, *, value: float = math.nan, runs: int = 1, **more: Any) -> Trace:
    """A sigmoid net whose gradients end at a layer."""
    columns = {name: vg.probe(NETS["sigmoid"]).trace.columns[name][:runs].copy() for name in SIZES_OF[:2]}
    columns["log10_backward"][:, : last + 1] = value
    return Trace(tuple(f"conv.{i}" for i in range(30)), columns, lost_below=np.full(runs, last), **more)


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_lost_signal_counts_as_the_last_that_is_known_and_never_as_0(value: float) -> None:
    d = vg.diagnose(lost(8, value=value))
    assert (d.verdict, d.direction, d.confidence) == ("vanishing", "backward", 1.0)
    found = {finding.rule: finding for finding in d.findings}
    full = vg.diagnose(lost(-1))
    known = looked(full).sizes("backward")[0]
    assert found["backward_vanishing"].value == pytest.approx(known[29] - known[9])
    assert found["backward_vanishing"].value < {f.rule: f for f in full.findings}["backward_vanishing"].value
    assert "and is lost below" in found["backward_vanishing"].evidence
    assert (
        "dL/dh is lost below conv.9, at conv.0 to conv.8: it ends under the least float32"
        in found["float_range"].evidence
    )
    assert found["float_range"].severity == "critical"
    assert found["float_range"].layers[:9] == tuple(range(9))
    assert "over 21 layers" in d.summary
    assert "lost below conv.9" in d.summary
    assert "exactly 0" not in str(d)
    # A layer keeps the share that it has over the layers that are known.
    assert looked(d).factor(looked(d).backward, 20) == pytest.approx(
        looked(full).factor(looked(full).backward), rel=0.05
    )


def test_a_healthy_change_before_the_loss_of_the_signal_is_vanishing_all_the_same() -> None:
    flat = {
        "log10_forward": np.zeros((1, 6)),
        "log10_backward": np.array([[math.nan, -44.8, -44.75, -44.7, -44.65, -44.6]]),
    }
    d = vg.diagnose(Trace(tuple("abcdef"), flat, lost_below=np.array([0])))
    assert (d.verdict, d.direction) == ("vanishing", "backward")
    assert "dL/dh keeps its size over 5 layers, and is lost below b" in d.summary


def test_a_signal_that_is_lost_at_every_layer() -> None:
    nothing = {"log10_forward": np.zeros((1, 3)), "log10_backward": np.full((1, 3), math.nan)}
    d = vg.diagnose(Trace(NAMES, nothing, lost_below=np.array([2]), dtype="float16"))
    assert d.summary == "vanishing (backward): dL/dh is lost at every layer: it lies below the least float16"


def test_layers_of_runs_that_lost_more_are_unknown_for_all() -> None:
    trace = lost(8, runs=4)
    more = Trace(trace.names, trace.columns, lost_below=np.array([8, 3, -1, 5]))
    sizes = looked(vg.diagnose(more)).sizes("backward")
    assert (sizes[:, :9] == sizes[:, 9:10]).all()


def test_branches_that_the_loss_does_not_see_are_passed_over() -> None:
    full = vg.probe(NETS["sigmoid"]).trace
    columns = {name: full.columns[name].copy() for name in SIZES_OF[:2]}
    columns["log10_backward"][:, 7] = math.nan
    holes = vg.diagnose(Trace(full.names, columns))
    # What they would have added to the spread over nets is all that is missing.
    assert holes.findings[0].value == pytest.approx(vg.diagnose(bare(full)).findings[0].value, abs=1e-3)
    assert holes.findings[0].layers == vg.diagnose(bare(full)).findings[0].layers


def test_one_net_has_no_interval_and_says_so() -> None:
    full = vg.probe(NETS["narrow and deep"], seeds=8).trace
    one = Trace(full.names, {name: full.columns[name][:1] for name in SIZES_OF}, steps=(1200,))
    d = vg.diagnose(one)
    assert "step 1200: one net tells nothing of others: no interval over seeds" in str(d)
    assert math.isnan(looked(d).backward.low)
    assert dict(d.not_judged)["finite_width"] == dict(d.not_judged)["seeds_disagree"] == "needs nets of several seeds"


def test_steps_of_one_net_are_not_taken_for_nets() -> None:
    full = vg.probe(NETS["narrow and deep"], seeds=8).trace
    columns = {name: full.columns[name] for name in SIZES_OF}
    steps = vg.diagnose(Trace(full.names, columns, steps=tuple(range(0, 800, 100))))
    nets = vg.diagnose(Trace(full.names, columns))
    assert looked(steps).backward.rms == pytest.approx(looked(nets).backward.typical)
    assert looked(nets).backward.rms > looked(steps).backward.rms
    assert math.isnan(looked(steps).backward.low)
    assert "finite_width" in {f.rule for f in nets.findings}
    assert "finite_width" not in {f.rule for f in steps.findings}
    agree = round(8 * steps.confidence)
    said = "all 8" if agree == 8 else f"{agree} of 8"
    assert f"{said} steps agree, 0 to 700: one net tells nothing of others" in " ".join(str(steps).split())
    assert f"{round(8 * nets.confidence)} of 8 nets agree" in str(nets) or "all 8 nets agree" in str(nets)


def test_a_layer_that_is_not_finite_is_named() -> None:
    bad = np.array([[0, 0, 1]], dtype=float)
    columns = {"log10_forward": np.array([[0.0, 20.0, math.nan]]), "log10_backward": np.full((1, 3), math.nan)}
    d = vg.diagnose(Trace(NAMES, columns | {"nonfinite": bad}))
    assert (d.verdict, d.conditions) == ("exploding", ("non-finite",))
    assert d.findings[0].evidence == "h is not finite at blocks.1; a layer before, h has the rms 10^20.0"
    # A size beyond all numbers is no signal that does not arrive.
    beyond = vg.diagnose(Trace(NAMES, columns | {"log10_forward": np.array([[0.0, 20.0, math.inf]]), "nonfinite": bad}))
    assert beyond.summary == "exploding (forward), non-finite: 1 of 1 runs is not finite from blocks.1 on"
    # Where no size is near the end of its range, nothing has exploded.
    nan = vg.diagnose(Trace(NAMES, columns | {"log10_forward": np.array([[0.0, 0.0, math.nan]]), "nonfinite": bad}))
    assert (nan.word, nan.direction, nan.confidence) == ("non-finite", None, 1.0)
    assert "a nan came in by samples or weights, or was made of 0/0" in nan.findings[0].evidence
    back = columns | {"log10_forward": np.zeros((1, 3)), "nonfinite": np.array([[1, 0, 0]], dtype=float)}
    assert "dL/dh is not finite at stem, on its way back" in str(vg.diagnose(Trace(NAMES, back)))


def test_a_loss_that_gives_nothing_back_is_no_vanishing() -> None:
    columns = {"log10_forward": np.zeros((1, 3)), "log10_backward": np.full((1, 3), -math.inf)}
    d = vg.diagnose(Trace(NAMES, columns))
    assert d.summary == "healthy: what stands behind blocks.1 gives nothing back"
    assert [finding.rule for finding in d.findings] == ["zero_readout"]
    reached = columns | {"log10_backward": np.array([[-math.inf, -1.0, 0.0]])}
    assert vg.diagnose(Trace(NAMES, reached)).summary.startswith("vanishing (backward): dL/dh does not arrive")


def test_anything_that_has_a_trace_is_judged_by_it() -> None:
    full = bare(vg.probe(NETS["sigmoid"], seeds=2).trace, notes=("gradients were divided by 65536",))
    d = vg.diagnose(SimpleNamespace(trace=full))
    assert d.verdict == "vanishing"
    assert d.notes == ("gradients were divided by 65536",)
    assert str(d).endswith("note: gradients were divided by 65536")
    assert "note: gradients were" in d._repr_html_()
    again = pickle.loads(pickle.dumps(d))
    assert str(again) == str(d)


def test_a_trace_is_judged_by_thresholds_of_your_own_and_by_no_other_tool() -> None:
    full = bare(vg.probe(NETS["relu that vanishes"]).trace)
    assert vg.diagnose(full, thresholds={"backward_vanishing": 50, "forward_vanishing": 50}).verdict == "healthy"
    with pytest.raises(ValueError, match="looks at single gradients"):
        vg.diagnose(full, rules="sagemaker")
    with pytest.raises(ValueError, match="seeds: this is measured already"):
        vg.diagnose(full, seeds=3)


def test_columns_of_a_trace_are_drawn() -> None:
    plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")
    full = bare(vg.probe(NETS["sigmoid"], seeds=2).trace, steps=(0, 100))
    ax = vg.plot.columns(full, ["log10_backward"], layers=[0, 1])
    assert ax.get_title(loc="left") == "blocks.0 to blocks.29, mean ± 1 std over steps 0 to 100"
    plt.close(ax.figure)
    with pytest.raises(ValueError, match="unknown column"):
        vg.plot.columns(full, ["saturated"])


def test_the_trace_of_a_probe_holds_norms_of_one_sample_s_share() -> None:
    """`log10_backward` is the root mean square over samples of |dL/dz| of one sample, as gradients have it."""
    spec = vg.MLP(depth=5, width=[8, 16, 4, 8, 8], activation="tanh", in_features=6, out_features=2)
    net = spec.init(seed=0, dtype="float64")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((10, 6)), rng.standard_normal((10, 2))
    deltas = net.gradients(x, y, loss="mse").preactivations
    expected = [np.log10(np.sqrt(np.mean(np.sum(delta**2, axis=1)))) for delta in deltas]
    trace = vg.probe(net, x=x, y=y, loss="mse").trace
    np.testing.assert_allclose(trace.columns["log10_backward"][0], expected, atol=1e-12)
    assert trace.names == tuple(f"layer {i}" for i in range(1, 6))
    assert (trace.batch, trace.dtype) == (10, "float64")


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_any_trace_is_judged(depth: int, runs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.choice([math.nan, -math.inf, 0.0, 1.0, -30.0, 400.0], size=(2, runs, depth))
    lost_at = rng.integers(-1, depth, size=runs)
    bad = (rng.random((runs, depth)) < 0.1).astype(float)
    columns = {"log10_forward": values[0], "log10_backward": values[1], "nonfinite": bad}
    steps = tuple(range(runs)) if rng.random() < 0.5 else ()
    d = vg.diagnose(Trace(tuple(f"l{i}" for i in range(depth)), columns, steps=steps, lost_below=lost_at), explain=True)
    assert str(d)
    assert d.verdict in {"healthy", "vanishing", "exploding", "non-finite"}
    assert 0 <= d.confidence <= 1


@lru_cache
def small(net: str) -> Trace:
    return vg.probe(NETS[net], seeds=2, batch=8).trace


@settings(deadline=None)
@given(
    net=st.sampled_from(sorted(NETS)),
    names=st.sets(st.sampled_from(COLUMNS), min_size=1),
    facts=st.booleans(),
    steps=st.booleans(),
)
def test_rules_are_judged_or_listed_whatever_columns_a_trace_has(
    net: str, names: set[str], *, facts: bool, steps: bool
) -> None:
    full = small(net)
    columns = {name: full.columns[name] for name in (names & {*full.columns} or {"log10_forward"})}
    more: dict[str, Any] = {"facts": full.facts} if facts else {}
    d = vg.diagnose(Trace(full.names, columns, steps=(1, 2) if steps else (), **more))
    there = {*columns} | ({"spec"} if facts else set()) | (set() if steps else {"nets"})
    listed = {rule for rule, _ in d.not_judged}
    assert listed == {rule.id for rule in RULES if not {*rule.needs} <= there and not rule.nets}
    assert not listed & {finding.rule for finding in d.findings}
    assert str(d)
    assert d._repr_html_()


def test_a_list_of_parts_has_a_depth_limit_only_within_its_depth() -> None:
    parts = ["linear(32)", "sigmoid"]
    deep = vg.diagnose(vg.Sequential([*parts * 12, "linear(3)"], in_features=8))
    assert deep.depth_limit is not None
    assert deep.depth_limit.measured
    assert vg.diagnose(vg.Sequential([*parts * 2, "linear(3)"], in_features=8)).depth_limit is None


def test_modules_that_have_numbers_for_names_are_told_as_modules() -> None:
    d = vg.diagnose(bare(vg.probe(NETS["sigmoid"]).trace, [str(2 * i) for i in range(30)]))
    assert "from module 58 to module 0, x" in d.findings[0].evidence
    assert "(module 0 to module 54)" in " ".join(str(d).split())


def test_what_needs_torch_says_so_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"^vg\.watch needs torch: pip install torch$"):
        vg.watch(3)
    with pytest.raises(ImportError, match=r"^vg\.measure needs torch: pip install torch$"):
        vg.measure(lambda: 3, np.ones((2, 2)), np.ones((2, 2)), "mse")
